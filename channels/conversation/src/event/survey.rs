//! Whether the customer was content: asked once per conversation.

use jiff::Timestamp;

use crate::digest::Hash;
use crate::event::{data, words};
use crate::id::LegId;
use crate::pii::Content;

words! {
    /// How a customer is asked whether they were content.
    pub enum SurveyWay {
        /// By keys or words in a call.
        Keys = "keys",
        /// By a message with buttons.
        Buttons = "buttons",
        /// By a link to a page.
        Link = "link",
    }
}

data! {
    /// The customer was asked whether they were content.
    pub struct SurveyAsked {
        /// Where.
        pub leg: LegId,
        /// How.
        pub way: SurveyWay,
        /// The best score; 1 is the worst.
        #[schemars(range(min = 2, max = 9))]
        pub scale: u8,
        /// The key of the message that asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message: Option<String>,
        /// Until when a message is taken for an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        pub until: Option<Timestamp>,
        /// Of a link: the hash of its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub link: Option<Hash>,
    }

    /// The customer said how content they were.
    pub struct SurveyAnswered {
        /// Where.
        pub leg: LegId,
        /// How.
        pub way: SurveyWay,
        /// From 1, the worst, to `scale`.
        #[schemars(range(min = 1, max = 9))]
        pub score: u8,
        /// The best score.
        #[schemars(range(min = 2, max = 9))]
        pub scale: u8,
        /// What else they wrote on the page of a link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub comment: Option<Content>,
    }
}
