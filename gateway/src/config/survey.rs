//! `[survey]`: whether customers were content.

use ark_conversation::limits::CARD_ACTIONS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Span;

/// `[survey]`: customers who wrote are asked once, by a message with buttons, when an agent has settled their conversation. Left out: they
/// are not. Callers are asked by their plan: `do = "survey"`; with `sms`, those whom it did not ask get a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Survey {
    /// The question.
    pub question: String,
    /// The answers from the worst to the best, 2 to 8. Each is shown behind its number, and the number alone is an answer, too.
    pub answers: Vec<String>,
    /// What is said to who answered; empty: nothing.
    pub thanks: String,
    /// For how long a message of the customer is taken for an answer; after that it opens the conversation again. A link is good as long.
    pub window: Span,
    /// Callers who talked with a person and were not asked by their plan get a link to a page by `[sms]` when the call is over.
    pub sms: bool,
    /// The words of that short message; `{url}` becomes the link.
    pub sms_text: String,
}

impl Default for Survey {
    fn default() -> Self {
        let answers = ["很不满意 very poor", "不满意 poor", "一般 fair", "满意 good", "非常满意 very good"];
        Self {
            question: "您对这次服务满意吗？How was our service?".to_owned(),
            answers: answers.map(str::to_owned).to_vec(),
            thanks: "谢谢您的评价！Thank you!".to_owned(),
            window: Span::from_secs(24 * 3_600),
            sms: false,
            sms_text: "感谢来电，请评价本次服务 / How was our service? {url}".to_owned(),
        }
    }
}

impl Survey {
    /// What is wrong with it: the field, what, and what to do.
    pub(super) fn wrong(&self) -> Option<(&'static str, String)> {
        if !(2..=CARD_ACTIONS_MAX).contains(&self.answers.len()) {
            return Some((
                "answers",
                format!("a survey has 2 to {CARD_ACTIONS_MAX} answers, not {}", self.answers.len()),
            ));
        }
        if self.question.trim().is_empty() || self.answers.iter().any(|answer| answer.trim().is_empty()) {
            return Some(("question", "the question and each answer need words".to_owned()));
        }
        if !self.sms_text.contains("{url}") {
            return Some((
                "sms_text",
                "the short message does not hold the link: write {url} where it belongs".to_owned(),
            ));
        }
        None
    }
}
