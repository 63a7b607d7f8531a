//! Which legs are listened to, and what comes of it: the switch says so after each thing that happens in a call, by what the call
//! is then, so that no road through it can forget.

use ark_conversation::LegId as LegNumber;
use ark_conversation::event::Role;
use ark_dialplans::{Confidence, Heard as PlanHeard, Listen, Now, Run};
use ark_transcribe::Language;

use super::state::{Call, Keeping, Leg, Purpose};
use super::switch::{Output, Switch};
use crate::media::{self, Command, MediaPort};
use crate::speech::{Ask, Heard, LegInfo, Order};

/// How far what is said in a call is read.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Legs that are listened to.
    legs: Vec<media::LegId>,
    /// What is expected of the caller, and by which of the plan's questions.
    ask: Ask,
    question: Option<u64>,
    /// The question that was asked when the caller began to speak.
    answering: Option<u64>,
    /// The call came by a queue that is not read.
    off: bool,
}

impl<M: MediaPort> Switch<M> {
    /// Begins and ends listening as the call is now.
    pub(super) fn settle_listening(&mut self, call: &mut Call) {
        let Some(off_queues) = &self.config.unread_queues else { return };
        if let Some(waiting) = &call.waiting {
            call.listening.off = off_queues.iter().any(|queue| **queue == *waiting.queue);
        } else if call.other.is_none() {
            call.listening.off = false;
        }
        let Some(zero) = call.customer.answered else { return };
        let asked = call.run.as_ref().filter(|_| !call.is_talking()).and_then(|run| run.listening());
        let question = asked.map(|listen| listen.id);
        let anew = question != call.listening.question || question.is_none();
        let mut ask = if anew { ask_of(&call.lang, asked) } else { call.listening.ask.clone() };
        // Also what is said while a plan that does not listen waits for secret keys.
        let secret_keys = call.run.as_ref().is_some_and(|run| !call.is_talking() && run.hears_secret());
        // Without the caller's consent what they say is the plan's alone, and nobody else is listened to.
        let kept = call.keeping == Keeping::Yes;
        ask.secret = !kept || secret_keys || asked.is_some_and(|listen| listen.secret);
        let listened = |leg: &Leg| leg.is_up() && leg.held_since.is_none();
        let wanted: Vec<(media::LegId, LegNumber, Role)> =
            if call.listening.off || call.forget_at.is_some() || !(kept || asked.is_some()) {
                Vec::new()
            } else {
                call.legs()
                    .filter(|leg| listened(leg) && !call.is_aside(leg.number))
                    .filter(|leg| kept || leg.number == call.customer.number)
                    .map(|leg| (leg.media, leg.number, role_of(call, leg.number)))
                    .collect()
            };
        let gone: Vec<media::LegId> =
            call.listening.legs.iter().copied().filter(|leg| !wanted.iter().any(|(media, ..)| media == leg)).collect();
        for leg in gone {
            call.listening.legs.retain(|one| *one != leg);
            self.tell_media(leg, Command::Listen { on: false });
            self.out.push_back(Output::Speech(Order::End { leg }));
        }
        for (leg, number, speaker) in wanted {
            if call.listening.legs.contains(&leg) {
                continue;
            }
            call.listening.legs.push(leg);
            let info = LegInfo {
                leg,
                tenant: self.config.tenant.clone(),
                conversation: call.conversation,
                source: call.source.clone(),
                number,
                speaker,
                zero,
                ask: if speaker == Role::Customer { ask.clone() } else { ask_of(&call.lang, None) },
            };
            self.out.push_back(Output::Speech(Order::Begin(Box::new(info))));
            self.tell_media(leg, Command::Listen { on: true });
        }
        call.listening.question = question;
        if call.listening.ask != ask {
            call.listening.ask = ask.clone();
            let leg = call.customer.media;
            self.out.push_back(Output::Speech(Order::Ask { leg, ask: Box::new(ask) }));
        }
    }

    /// Something was heard on a leg.
    pub fn heard(&mut self, now: Now, leg: media::LegId, heard: &Heard) {
        if let Some(id) = self.by_leg.get(&leg).copied() {
            self.with(now, id, |_, call| Self::on_heard(call, leg, heard));
        }
        self.settle(now);
    }

    /// What the caller says is for the plan, while nobody else talks with them.
    fn on_heard(call: &mut Call, leg: media::LegId, heard: &Heard) {
        if leg != call.customer.media || call.is_talking() {
            return;
        }
        let question = call.run.as_ref().and_then(Run::listening).map(|listen| listen.id);
        if *heard == Heard::Began {
            call.listening.answering = question;
            call.heard.extend(question.map(|id| PlanHeard::SpeechStarted { id }));
            return;
        }
        let Some(id) = call.listening.answering.take() else { return };
        let (text, confidence) = match heard {
            Heard::Said { text, confidence, .. } => (text.clone(), confidence.map_or(UNSAID, Confidence::of)),
            Heard::Began | Heard::NotUnderstood => (String::new(), Confidence::FULL),
        };
        call.heard.push_back(PlanHeard::Said { id: Some(id), text, confidence });
    }
}

/// Of an engine that does not say how sure it is.
const UNSAID: Confidence = Confidence::percent(85);

/// What is expected while the plan asks that, or while nobody asks.
fn ask_of(lang: &str, asked: Option<&Listen>) -> Ask {
    let Some(listen) = asked else { return Ask { language: Language::parse(lang), ..Ask::default() } };
    let (ends, language) = (listen.endpointing, Language::parse(listen.lang.as_str()));
    Ask {
        // A caller who may fall into another language is listened to as both.
        language: language.filter(|_| listen.others.is_empty()),
        endpointing: Some((ends.pre_roll, ends.hangover, ends.longest)),
        hints: listen.hints.iter().map(|hint| hint.to_string()).collect(),
        secret: listen.secret,
    }
}

fn role_of(call: &Call, number: LegNumber) -> Role {
    if call.customer.number == number {
        return Role::Customer;
    }
    let beside = call.beside().filter(|beside| beside.leg.number == number);
    match call.other.as_ref().filter(|other| other.leg.number == number).or(beside).map(|other| &other.purpose) {
        Some(Purpose::Operator(_) | Purpose::Agent) => Role::Agent,
        Some(Purpose::Target { .. }) => Role::External,
        Some(Purpose::Supervisor) | None => Role::Supervisor,
    }
}
