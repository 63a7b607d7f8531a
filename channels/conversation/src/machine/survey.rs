//! Whether the customer was content: asked by message once per conversation, when an agent has settled it.

use jiff::Timestamp;

use super::messages::best_leg;
use super::{Conversation, Delivery, Effect, OWN_ID_PREFIX, Survey};
use crate::cloud_event::CloudEvent;
use crate::digest::Hash;
use crate::event::{Action, Event, MessageOut, Part, Party, PartyRole, SurveyAnswered, SurveyAsked, SurveyWay};
use crate::id::LegId;
use crate::limits::CARD_ACTIONS_MAX;
use crate::owner::Owner;
use crate::pii::{Content, Pii};
use crate::source;
use crate::state::LegState;

impl Conversation {
    /// Asks, with the agent's last word still in force, a customer who can be written to and was not asked before.
    pub(super) fn ask_whether_content(&mut self, now: Timestamp) {
        let Some(survey) = self.policy.survey.clone() else { return };
        let Some(state) = &self.state else { return };
        let by_agent = matches!(state.owner, Some(Owner::Agent(_)));
        let Some(scale) = scale(&survey).filter(|_| by_agent && state.survey.is_none()) else { return };
        let (Some(leg), Some(session)) = (best_leg(state).cloned(), state.session.as_ref()) else { return };
        let key = format!("{OWN_ID_PREFIX}survey:{}", session.session);
        let until = now.saturating_add(survey.window).ok().map(crate::cloud_event::whole_microseconds);
        let source = leg.source.as_deref().and_then(|source| source.parse::<source::ThreadSource>().ok());
        let page = survey.link.as_ref().zip(source);
        let page =
            page.filter(|(link, thread)| link.accounts.contains(&(thread.adapter.clone(), thread.account.clone())));
        let (way, part, link) = match page {
            Some((link, _)) => {
                let secret = link.token(self.id);
                let address = format!("{}{}{secret}", link.address, self.id.to_string().to_lowercase());
                let part = Part::text(format!("{}\n{address}", survey.question));
                (SurveyWay::Link, part, Some(Hash::of(secret.as_bytes())))
            }
            None => (SurveyWay::Buttons, question(&survey), None),
        };
        self.write(now, &leg, &key, part);
        self.push(now, SurveyAsked { leg: leg.leg, way, scale, message: Some(key), until, link });
    }

    /// The score that a message is, when the conversation is closed and waits for one. Anything else opens it again.
    pub(super) fn answer_to_survey(&self, now: Timestamp, event: &CloudEvent) -> Option<u8> {
        let Event::MessageIn(message) = &event.event else { return None };
        let scale_asked = self.awaits_score(now, &event.source)?;
        let [Part::Text { text }] = &message.parts[..] else { return None };
        let survey = self.policy.survey.as_ref().filter(|survey| scale(survey) == Some(scale_asked));
        score(text.reveal(), scale_asked, survey.map_or(&[], |survey| &survey.answers))
    }

    /// The best score, while the conversation is closed and its customer may say on that thread how content they were. That their page
    /// is there opens nothing then: what they say does, or is the score.
    pub(super) fn awaits_score(&self, now: Timestamp, source: &str) -> Option<u8> {
        let state = self.state.as_ref().filter(|state| !state.is_open())?;
        let asked = state.survey.as_ref().filter(|asked| asked.score.is_none())?;
        state.leg_of(source)?;
        asked.until.filter(|until| now <= *until)?;
        Some(asked.scale)
    }

    /// The answer is in the log as the customer gave it, and opens nothing.
    pub(super) fn take_answer(&mut self, now: Timestamp, event: CloudEvent, score: u8) {
        let found = self.state.as_ref().and_then(|state| {
            let leg = state.leg(state.leg_of(&event.source)?)?.clone();
            Some((leg, state.survey.as_ref()?.scale))
        });
        let key = format!("{OWN_ID_PREFIX}thanks:{}", self.last_seq() + 1);
        self.append(now, self.epoch(), event);
        let Some((leg, scale)) = found else { return };
        self.push(now, SurveyAnswered { leg: leg.leg, way: SurveyWay::Buttons, score, scale, comment: None });
        let thanks = self.policy.survey.as_ref().map(|survey| survey.thanks.clone()).unwrap_or_default();
        if !thanks.is_empty() {
            self.write(now, &leg, &key, Part::text(thanks));
        }
    }

    /// A message of the house itself.
    fn write(&mut self, now: Timestamp, leg: &LegState, key: &str, part: Part) {
        let (conversation, epoch, thread) = (self.id, self.epoch(), leg.call_id.clone());
        let (leg, source): (LegId, String) = (leg.leg, leg.source.clone().unwrap_or_default());
        let sender = Party { role: PartyRole::System, id: Pii::new("survey"), kind: None, display: None };
        let (parts, reply_to) = (vec![part], None);
        let message =
            MessageOut { thread: thread.clone(), conversation, epoch, sender, parts, reply_to, leg: Some(leg) };
        let own = source::conversation(&self.tenant, self.id);
        self.append(now, epoch, CloudEvent::new(key, own, now, message));
        let seq = self.last_seq();
        self.effect(Effect::Deliver(Delivery { leg, source, key: key.to_owned(), attempt: 1, seq, epoch, thread }));
    }
}

/// The best score, when there are answers to press.
fn scale(survey: &Survey) -> Option<u8> {
    u8::try_from(survey.answers.len()).ok().filter(|scale| (2..=CARD_ACTIONS_MAX).contains(&usize::from(*scale)))
}

/// The best answer stands first, each behind its number, which is what channels without buttons are answered with.
fn question(survey: &Survey) -> Part {
    let answers = || survey.answers.iter().enumerate().rev().map(|(at, words)| (at + 1, label(at + 1, words)));
    let mut fallback = survey.question.clone();
    for (_, label) in answers() {
        fallback.push('\n');
        fallback.push_str(&label);
    }
    let action = |(score, label)| Action { id: format!("score-{score}"), label: Content::new(label), url: None };
    Part::Card {
        title: Content::new(survey.question.as_str()),
        body: None,
        actions: answers().map(action).collect(),
        fallback_text: Content::new(fallback),
    }
}

fn label(score: usize, words: &str) -> String {
    format!("{score} {words}").trim_end().to_owned()
}

/// The score that these words are: an answer or its label, a number with nothing else but `分` or `星`, or so many stars.
fn score(text: &str, scale: u8, answers: &[String]) -> Option<u8> {
    let text = text.trim();
    let as_score = |at: usize| u8::try_from(at + 1).ok();
    let says = |(at, words): (usize, &String)| (text == words || text == label(at + 1, words)).then(|| as_score(at));
    if let Some(found) = answers.iter().enumerate().find_map(says) {
        return found;
    }
    let stars = text.chars().filter(|c| matches!(c, '\u{2b50}' | '\u{2605}')).count();
    if stars > 0 && text.chars().all(|c| matches!(c, '\u{2b50}' | '\u{2605}' | '\u{fe0f}')) {
        return u8::try_from(stars).ok().filter(|score| *score <= scale);
    }
    let number = text.trim_end_matches(['分', '星', '.', '。', '!', '！']);
    let mut digits = number.chars();
    let digit = match (digits.next()?, digits.next()) {
        (c @ '0'..='9', None) => u32::from(c) - u32::from('0'),
        (c @ '０'..='９', None) => u32::from(c) - u32::from('０'),
        (c, None) => u32::try_from("一二三四五六七八九".chars().position(|one| one == c)? + 1).ok()?,
        _ => return None,
    };
    u8::try_from(digit).ok().filter(|score| (1..=scale).contains(score))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::*;
    use crate::event::SessionCloseReason;
    use crate::machine::{Commit, Input, Policy};
    use crate::{ConversationId, Tenant, samples};

    fn survey() -> Survey {
        let answers = ["很不满意", "不满意", "一般", "满意", "非常满意"].map(str::to_owned).to_vec();
        let (question, thanks) = ("您对这次服务满意吗？".to_owned(), "谢谢！".to_owned());
        Survey { question, answers, thanks, window: SignedDuration::from_hours(24), link: None }
    }

    struct Chat {
        machine: Conversation,
        at: i64,
        asked: Vec<Commit>,
        said: u32,
    }

    impl Chat {
        fn settled() -> Self {
            Self::settled_with(survey())
        }

        fn settled_with(survey: Survey) -> Self {
            let policy = Policy { survey: Some(survey), ..Policy::default() };
            let machine = Conversation::new(Arc::new(policy), Tenant::MAIN, ConversationId::new(1, 1));
            let mut chat = Self { machine, at: 0, asked: Vec::new(), said: 0 };
            chat.says("你好");
            chat.settle("anna");
            chat
        }

        fn does(&mut self, input: Input) {
            self.at += 1;
            self.machine.handle(samples::at(self.at), input).unwrap();
            self.asked.extend(self.machine.poll());
        }

        fn says(&mut self, text: &str) {
            self.said += 1;
            let source = source::thread(&Tenant::MAIN, "web", "shop", "visitor-1");
            let message = samples::message_in("visitor-1", text);
            let event = CloudEvent::new(format!("web:{}", self.said), source, samples::at(self.at), message);
            self.does(Input::Inbound(event));
        }

        fn settle(&mut self, agent: &str) {
            let (by, epoch) = (Owner::Agent(agent.to_owned()), self.machine.state().unwrap().epoch);
            self.does(Input::Take { by: by.clone(), expected_epoch: epoch });
            let (expected_epoch, reason) = (epoch + 1, SessionCloseReason::Resolved);
            self.does(Input::Close { by, expected_epoch, reason, disposition: None, note: None });
        }

        fn types(&self) -> Vec<&str> {
            let events = self.asked.iter().flat_map(|commit| &commit.events);
            events.map(|event| event.event.event.type_name()).collect()
        }

        fn count(&self, name: &str) -> usize {
            self.types().iter().filter(|one| **one == name).count()
        }

        fn score(&self) -> Option<u8> {
            self.machine.state().unwrap().survey.as_ref().unwrap().score
        }
    }

    #[test]
    fn a_settled_chat_is_asked_and_its_answer_opens_nothing() {
        let mut chat = Chat::settled();
        let types = chat.types();
        assert_eq!(types[types.len() - 3..], ["ark.message.out.v1", "ark.survey.asked.v1", "ark.session.closed.v1"]);
        let sent = chat.asked.last().unwrap().effects.iter().filter(|one| matches!(one, Effect::Deliver(_))).count();
        assert_eq!(sent, 1, "the question goes out");
        chat.says("4 满意");
        assert_eq!(chat.score(), Some(4));
        assert!(!chat.machine.state().unwrap().is_open());
        assert_eq!(chat.types().last(), Some(&"ark.message.out.v1"), "thanks");
        chat.says("5");
        assert!(chat.machine.state().unwrap().is_open(), "who was asked and answered is asked no more");
        assert_eq!(chat.score(), Some(4));
        chat.settle("ben");
        assert_eq!(chat.count("ark.survey.asked.v1"), 1, "once per conversation");
    }

    #[test]
    fn a_channel_without_buttons_gets_a_link_and_a_number_will_do_all_the_same() {
        let accounts = [("web".to_owned(), "shop".to_owned())].into();
        let link =
            crate::machine::SurveyLink { address: "https://ark.example/s/".to_owned(), secret: [7; 16], accounts };
        let mut chat = Chat::settled_with(Survey { link: Some(link.clone()), ..survey() });
        let events: Vec<_> = chat.asked.iter().flat_map(|commit| &commit.events).map(|one| &one.event.event).collect();
        let [.., Event::MessageOut(message), Event::SurveyAsked(asked), Event::SessionClosed(_)] = &events[..] else {
            panic!("{:?}", chat.types());
        };
        let [Part::Text { text }] = &message.parts[..] else { panic!("{message:?}") };
        let token = text.reveal().rsplit('/').next().unwrap();
        assert_eq!((token.len(), asked.way), (52, SurveyWay::Link));
        assert_eq!(asked.link, Some(Hash::of(&token.as_bytes()[26..])), "the log has the hash alone");
        assert_eq!(chat.machine.state().unwrap().survey.as_ref().unwrap().link, asked.link);
        assert!(!format!("{link:?}").contains('7'), "secrets are not shown");
        chat.says("4");
        assert_eq!(chat.score(), Some(4));

        let elsewhere = crate::machine::SurveyLink { accounts: Default::default(), ..link };
        let chat = Chat::settled_with(Survey { link: Some(elsewhere), ..survey() });
        assert_eq!(chat.machine.state().unwrap().survey.as_ref().unwrap().link, None, "it has buttons");
    }

    #[test]
    fn a_page_that_is_there_again_opens_nothing_before_the_score() {
        let mut chat = Chat::settled();
        let source = source::thread(&Tenant::MAIN, "web", "shop", "visitor-1");
        let opened = crate::event::Thread {
            thread: "visitor-1".to_owned(),
            state: crate::event::ThreadState::Opened,
            entry: None,
            window: None,
        };
        chat.does(Input::Inbound(CloudEvent::new("e-2", source, samples::at(chat.at), opened)));
        assert!(!chat.machine.state().unwrap().is_open());
        chat.says("5 非常满意");
        assert_eq!((chat.score(), chat.machine.state().unwrap().is_open()), (Some(5), false));
    }

    #[test]
    fn what_is_no_answer_opens_the_conversation_again() {
        for text in ["还有一个问题", "5号的快递呢", "55", "0", "6", ""] {
            let mut chat = Chat::settled();
            if !text.is_empty() {
                chat.says(text);
                assert!(chat.machine.state().unwrap().is_open(), "{text}");
            }
            assert_eq!(chat.score(), None, "{text}");
        }
        let mut late = Chat::settled();
        late.at += 25 * 3_600_000;
        late.says("5");
        assert!(late.machine.state().unwrap().is_open(), "a day later it is a message");
    }

    #[test]
    fn scores_are_said_in_many_ways() {
        let answers = survey().answers;
        for (text, expected) in [
            ("5", Some(5)),
            (" 3 ", Some(3)),
            ("４", Some(4)),
            ("五", Some(5)),
            ("2分", Some(2)),
            ("5星。", Some(5)),
            ("非常满意", Some(5)),
            ("1 很不满意", Some(1)),
            ("⭐⭐⭐⭐", Some(4)),
            ("⭐️⭐️", Some(2)),
            ("⭐⭐⭐⭐⭐⭐", None),
            ("9", None),
            ("很好", None),
            ("", None),
        ] {
            assert_eq!(score(text, 5, &answers), expected, "{text}");
        }
    }

    #[test]
    fn a_plan_that_ends_or_a_customer_of_calls_only_is_not_asked() {
        let policy = Policy { survey: Some(survey()), ..Policy::default() };
        let mut machine = Conversation::new(Arc::new(policy), Tenant::MAIN, ConversationId::new(2, 2));
        machine.ask_whether_content(samples::at(0));
        assert!(machine.poll().is_none());
    }

    #[test]
    fn a_log_with_a_survey_folds_to_the_same() {
        let mut chat = Chat::settled();
        chat.says("5");
        let records: Vec<_> = (1..)
            .zip(chat.asked.iter().flat_map(|commit| commit.events.clone()))
            .map(|(seq, event)| event.into_record(seq))
            .collect();
        let policy = Arc::new(Policy { survey: Some(survey()), ..Policy::default() });
        let again = Conversation::from_log(policy, Tenant::MAIN, ConversationId::new(1, 1), &records).unwrap();
        assert_eq!(again.hash(), chat.machine.hash());
    }
}
