//! Messages on their way out: one after the other, each piece in as many calls as its provider needs.
//!
//! A provider knows no key that would make a second try harmless. So: what certainly did not arrive is
//! [`Outcome::Retry`]; what may have arrived is [`Outcome::Unknown`]; once one piece of a message has arrived, the rest is
//! tried again in here and never from the start, and when it does not come through the message is `partly_sent`.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_conversation::Event;
use ark_conversation::channel::{CallId, DeliveryId, HttpCall, HttpFailure, HttpReply, Out, Outbound, Outcome};
use ark_conversation::event::Part;
use jiff::{SignedDuration, Timestamp};

use crate::base::Base;
use crate::limits::{DELIVERIES_MAX, PIECE_TRIES_MAX, TOKEN_WAIT};
use crate::tokens::Tokens;

/// What a call of a delivery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Brings a file to the provider: twice does no harm.
    Upload,
    /// Sends a piece: twice is twice.
    Send,
    /// Asks or changes something before a piece is sent: twice does no harm.
    Prepare(&'static str),
}

/// What is to be done next for a piece.
pub(crate) enum Plan {
    Call(Step, HttpCall),
    NeedToken,
    Fail { code: &'static str, text: &'static str },
}

/// What a provider's answer means.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The piece is sent.
    Sent { native_id: Option<String> },
    /// The file is there.
    Uploaded(String),
    /// Something has changed: plan again.
    Again,
    /// The token was refused.
    Stale,
    /// Not taken, and may be later.
    Retry { code: &'static str, after: Option<Duration> },
    /// Not taken, and never will be.
    Failed { code: String, text: Option<String> },
    /// Perhaps taken.
    Unknown,
}

impl Verdict {
    pub(crate) fn failed(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), text: Some(text.into()) }
    }

    pub(crate) const fn retry(code: &'static str) -> Self {
        Self::Retry { code, after: None }
    }
}

/// A message under way.
pub(crate) struct Delivery {
    id: DeliveryId,
    /// The message's key.
    pub(crate) key: String,
    pub(crate) thread: String,
    pub(crate) pieces: Vec<Part>,
    /// Which piece is next.
    pub(crate) at: usize,
    /// The provider's name of this piece's file.
    pub(crate) uploaded: Option<String>,
    /// How often [`Verdict::Again`] was said of this piece, for the vendor's own bounds.
    pub(crate) again: u32,
    tries: u32,
    native_id: Option<String>,
    stage: Stage,
}

impl Delivery {
    pub(crate) fn piece(&self) -> &Part {
        &self.pieces[self.at]
    }
}

enum Stage {
    Token { until: Timestamp },
    Pause { until: Timestamp },
    Call { step: Step, token: Option<String> },
}

/// What a provider's side of sending is.
pub(crate) trait Vendor {
    fn plan(&mut self, now: Timestamp, delivery: &Delivery, token: Option<&str>) -> Plan;
    fn read(&mut self, now: Timestamp, delivery: &mut Delivery, step: Step, reply: &HttpReply) -> Verdict;
}

/// Messages under way.
#[derive(Default)]
pub(crate) struct Outbox {
    running: BTreeMap<DeliveryId, Delivery>,
    calls: BTreeMap<CallId, DeliveryId>,
}

/// What sending borrows of its channel.
pub(crate) struct With<'a, V> {
    pub(crate) base: &'a mut Base,
    pub(crate) tokens: &'a mut Tokens,
    pub(crate) vendor: &'a mut V,
}

/// [`With`] of a channel whose fields are called `base`, `tokens` and `sender`.
macro_rules! with {
    ($channel:ident) => {
        $crate::outbox::With { base: &mut $channel.base, tokens: &mut $channel.tokens, vendor: &mut $channel.sender }
    };
}
pub(crate) use with;

impl Outbox {
    /// Begins to send. `merge`: the most characters in one text; neighbouring texts that fit in it become one.
    pub(crate) fn send<V: Vendor>(&mut self, mut with: With<'_, V>, now: Timestamp, out: Outbound, merge: usize) {
        let Outbound { delivery: id, event, in_doubt, .. } = out;
        let settle = |outcome| Out::Settle { delivery: id, outcome };
        let Event::MessageOut(message) = event.event else {
            let text = Some("only messages are sent by a channel".to_owned());
            with.base.push(settle(Outcome::Failed { code: "malformed".to_owned(), text }));
            return;
        };
        if message.parts.is_empty() {
            let text = Some("the message has no parts".to_owned());
            with.base.push(settle(Outcome::Failed { code: "malformed".to_owned(), text }));
            return;
        }
        if in_doubt {
            with.base.push(settle(Outcome::Unknown));
            return;
        }
        if self.running.len() >= DELIVERIES_MAX || self.running.contains_key(&id) {
            with.base.push(settle(Outcome::Retry { code: "busy".to_owned(), after: None }));
            return;
        }
        let delivery = Delivery {
            id,
            key: event.id,
            thread: message.thread,
            pieces: merged(message.parts, merge),
            at: 0,
            uploaded: None,
            again: 0,
            tries: 0,
            native_id: None,
            stage: Stage::Pause { until: now },
        };
        self.advance(&mut with, now, delivery);
    }

    pub(crate) fn is_mine(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    fn advance<V: Vendor>(&mut self, with: &mut With<'_, V>, now: Timestamp, mut delivery: Delivery) {
        let token = with.tokens.get(now).map(str::to_owned);
        match with.vendor.plan(now, &delivery, token.as_deref()) {
            Plan::Call(step, http) => {
                let call = with.base.call(http);
                self.calls.insert(call, delivery.id);
                delivery.stage = Stage::Call { step, token };
                self.running.insert(delivery.id, delivery);
            }
            Plan::NeedToken => {
                with.tokens.need(with.base, now);
                delivery.stage = Stage::Token { until: now + TOKEN_WAIT };
                self.running.insert(delivery.id, delivery);
            }
            Plan::Fail { code, text } => fail(with.base, &delivery, code.to_owned(), Some(text.to_owned())),
        }
    }

    /// The answer to one of its calls.
    pub(crate) fn answer<V: Vendor>(
        &mut self,
        mut with: With<'_, V>,
        now: Timestamp,
        call: CallId,
        answer: Result<HttpReply, HttpFailure>,
    ) {
        let Some(mut delivery) = self.calls.remove(&call).and_then(|id| self.running.remove(&id)) else { return };
        let Stage::Call { step, ref mut token } = delivery.stage else { return };
        let token = token.take();
        let verdict = match answer {
            Ok(reply) => with.vendor.read(now, &mut delivery, step, &reply),
            Err(HttpFailure::NoAnswer(_)) if step == Step::Send => Verdict::Unknown,
            Err(_) => Verdict::retry("busy"),
        };
        match verdict {
            Verdict::Sent { native_id } => self.sent(&mut with, now, delivery, native_id),
            Verdict::Uploaded(name) => {
                delivery.uploaded = Some(name);
                self.advance(&mut with, now, delivery);
            }
            Verdict::Again => {
                delivery.again += 1;
                self.advance(&mut with, now, delivery);
            }
            Verdict::Stale => {
                if let Some(token) = token {
                    with.tokens.refused(with.base, now, &token);
                }
                self.retry(with.base, now, delivery, "token", None);
            }
            Verdict::Retry { code, after } => self.retry(with.base, now, delivery, code, after),
            Verdict::Failed { code, text } => fail(with.base, &delivery, code, text),
            Verdict::Unknown => with.base.push(Out::Settle { delivery: delivery.id, outcome: Outcome::Unknown }),
        }
    }

    fn sent<V: Vendor>(
        &mut self,
        with: &mut With<'_, V>,
        now: Timestamp,
        mut delivery: Delivery,
        native_id: Option<String>,
    ) {
        delivery.native_id = delivery.native_id.or(native_id);
        delivery.at += 1;
        (delivery.uploaded, delivery.again, delivery.tries) = (None, 0, 0);
        if delivery.at < delivery.pieces.len() {
            self.advance(with, now, delivery);
        } else {
            let outcome = Outcome::Sent { native_id: delivery.native_id };
            with.base.push(Out::Settle { delivery: delivery.id, outcome });
        }
    }

    /// Before the first piece the host tries again; later ones are tried again in here.
    fn retry(&mut self, base: &mut Base, now: Timestamp, mut delivery: Delivery, code: &str, after: Option<Duration>) {
        if delivery.at == 0 {
            let outcome = Outcome::Retry { code: code.to_owned(), after };
            base.push(Out::Settle { delivery: delivery.id, outcome });
            return;
        }
        delivery.tries += 1;
        if delivery.tries >= PIECE_TRIES_MAX {
            fail(base, &delivery, code.to_owned(), None);
            return;
        }
        let asked = after.and_then(|after| SignedDuration::try_from(after).ok()).unwrap_or_default();
        let until = now + base.random.backoff(delivery.tries - 1).max(asked.min(SignedDuration::from_mins(5)));
        delivery.stage = Stage::Pause { until };
        self.running.insert(delivery.id, delivery);
    }

    /// A token has come, or time has passed.
    pub(crate) fn tick<V: Vendor>(&mut self, mut with: With<'_, V>, now: Timestamp) {
        let there = with.tokens.get(now).is_some();
        let due = self.running.values().filter(|delivery| match delivery.stage {
            Stage::Token { until } => there || until <= now,
            Stage::Pause { until } => until <= now,
            Stage::Call { .. } => false,
        });
        let due: Vec<DeliveryId> = due.map(|delivery| delivery.id).collect();
        for id in due {
            let Some(delivery) = self.running.remove(&id) else { continue };
            match delivery.stage {
                Stage::Token { .. } if !there => self.retry(with.base, now, delivery, "token", None),
                _ => self.advance(&mut with, now, delivery),
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let times = self.running.values().filter_map(|delivery| match delivery.stage {
            Stage::Token { until } | Stage::Pause { until } => Some(until),
            Stage::Call { .. } => None,
        });
        times.min()
    }
}

fn fail(base: &mut Base, delivery: &Delivery, code: String, text: Option<String>) {
    let outcome = if delivery.at == 0 {
        Outcome::Failed { code, text }
    } else {
        let text = text.map(|text| format!(", {text}")).unwrap_or_default();
        let text = format!("{} of {} parts arrived, then: {code}{text}", delivery.at, delivery.pieces.len());
        Outcome::Failed { code: "partly_sent".to_owned(), text: Some(text) }
    };
    base.push(Out::Settle { delivery: delivery.id, outcome });
}

/// Neighbouring texts in one, where they fit: each message counts in a provider's windows and rates.
fn merged(parts: Vec<Part>, most: usize) -> Vec<Part> {
    let mut pieces: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        if let (Some(Part::Text { text: before }), Part::Text { text }) = (pieces.last_mut(), &part) {
            let chars = before.reveal().chars().count() + 1 + text.reveal().chars().count();
            if chars <= most {
                *before = ark_conversation::Content::new(format!("{}\n{}", before.reveal(), text.reveal()));
                continue;
            }
        }
        pieces.push(part);
    }
    pieces
}

/// What a status says by itself, before the body is read; none: the body decides.
pub(crate) fn by_status(step: Step, reply: &HttpReply) -> Option<Verdict> {
    let after = || reply.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match (reply.status, step) {
        (429, _) => Some(Verdict::Retry { code: "rate", after: after() }),
        (503, _) => Some(Verdict::Retry { code: "busy", after: after() }),
        (500.., Step::Send) => Some(Verdict::Unknown),
        (500.., _) => Some(Verdict::retry("busy")),
        _ => None,
    }
}
