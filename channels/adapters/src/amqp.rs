//! Adapters of others: a channel by the adapter standard's AMQP form (ADAPTERS.md, section 7).
//!
//! The adapter publishes events to `ark.in`, one a message, and takes those of the house from `ark.out.{account}`. Whose a message is
//! the broker says (`user_id`); the host gives each account's machine those of its own user, and this machine looks whether they
//! speak of its own threads. The link to the broker is a socket to it, at [`BROKER_URL`], with frames of JSON: [`FromBroker`] and
//! [`ToBroker`].
//!
//! A delivery is acknowledged when what it brought is committed. While that cannot be it is kept here and offered again, and those
//! behind it in its thread wait: handed back to the queue they would change places.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ark_conversation::channel::{
    Ack, Capabilities, Capability, Channel, DeliveryId, Frame, Health, HttpReply, HttpRequest, In, Ingest, Limits,
    Manifest, MarkId, Method, OUTCOME_UNKNOWN, Out, Outbound, Outcome, RequestId, SocketId, TransportMode,
};
use ark_conversation::event::Typing;
use ark_conversation::{CloudEvent, Event, ThreadSource};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::Base;
use crate::crypto::webhook::WebhookSecrets;
use crate::limits::{ACCOUNT_BYTES_MAX, BROUGHT_MAX, CONFIRM_MAX, DELIVERIES_MAX, KEEP_AGAIN_FIRST, KEEP_AGAIN_MAX};
use crate::outside::{self, FileDoor, Taken};
use crate::settings::{Account, Secrets, SettingsError, filled, read};
use crate::wire;

/// The name of this kind of channel.
pub const AMQP: &str = "amqp";

/// Where its machine opens its socket: the host's own link to the broker.
pub const BROKER_URL: &str = "ark-bus:";

const SECRETS: &[&str] = &["secret", "old_secret"];

/// What the broker's side says to the machine, as the text of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromBroker {
    /// The adapter brought this.
    Brought {
        /// To settle it by.
        tag: u64,
        /// What: an event in JSON, if it is one.
        body: String,
    },
    /// What became of [`ToBroker::Send`].
    Sent {
        /// Which.
        number: u64,
        /// How.
        how: Sent,
    },
    /// How the adapter's queue is now.
    Queue {
        /// Messages in it.
        waiting: u32,
        /// Who reads it.
        readers: u32,
    },
    /// The broker is away, and why.
    Away {
        /// In words.
        why: String,
    },
}

/// What became of a message for the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// The broker has it, durably, in the adapter's queue.
    Confirmed,
    /// The broker has no room, or no such queue, or is not there: in words.
    Refused(String),
    /// It can never be sent: in words.
    Never(String),
}

/// What the machine says to the broker's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToBroker {
    /// What this brought is durable.
    Ack {
        /// Which.
        tag: u64,
    },
    /// Nobody can use this: to the dead letters with it.
    Park {
        /// Which.
        tag: u64,
        /// Why, in a sentence.
        why: String,
    },
    /// For the adapter's queue.
    Send {
        /// To answer it by.
        number: u64,
        /// The event's id.
        id: String,
        /// The event's type.
        kind: String,
        /// Its conversation.
        conversation: String,
        /// Under which ownership it was written.
        epoch: u64,
        /// Which try this is.
        attempt: u32,
        /// The event in JSON.
        body: String,
    },
    /// For the adapter's queue, worth nothing in a moment, and nobody waits for what comes of it.
    Show {
        /// The event's id.
        id: String,
        /// The event's type.
        kind: String,
        /// The event in JSON.
        body: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The adapter's user on the broker.
    user: String,
    /// What it can carry, as the adapter's author says: the host has read the file that the site's file names.
    manifest: Option<Manifest>,
}

/// The broker user of an account; none: it is of another kind, or has none.
#[must_use]
pub fn signer(kind: &str, settings: &Value) -> Option<String> {
    let user = settings.get("user").and_then(Value::as_str);
    user.filter(|_| kind == AMQP).map(str::to_owned)
}

/// A message that waits to be kept.
struct Held {
    tag: u64,
    event: CloudEvent,
    attempt: u32,
    /// While it pauses.
    until: Option<Timestamp>,
}

/// What is told when the store has answered.
struct Asked {
    source: String,
    durable: bool,
    /// Its twin for the other answer.
    other: MarkId,
}

/// A message under way to the broker.
struct Sending {
    delivery: DeliveryId,
    until: Timestamp,
}

/// An adapter of others, over the broker.
struct AmqpAdapter {
    manifest: Manifest,
    base: Base,
    own: ThreadSource,
    secrets: Option<WebhookSecrets>,
    files: FileDoor,
    socket: Option<SocketId>,
    open: bool,
    open_at: Option<Timestamp>,
    failures: u32,
    /// Messages that are not kept yet, by thread; the first of each is with the store, or pauses.
    threads: BTreeMap<String, VecDeque<Held>>,
    marks: BTreeMap<MarkId, Asked>,
    held: usize,
    sending: BTreeMap<u64, Sending>,
}

pub(crate) fn build(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    secrets.only(SECRETS)?;
    let Settings { user, manifest } = read(settings)?;
    filled("user", &user)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if account.name.len() > ACCOUNT_BYTES_MAX || !account.name.bytes().all(plain) {
        let why = "its queue is `ark.out.NAME`: use letters, digits, `-` and `_`".to_owned();
        return Err(SettingsError::Value { key: "name", why });
    }
    if let Some(manifest) = &manifest {
        let wrong = |why: String| SettingsError::Value { key: "manifest", why };
        manifest.check().map_err(|error| wrong(error.to_string()))?;
        let queue = format!("ark.out.{}", account.name);
        if manifest.transport.mode != TransportMode::Amqp || manifest.transport.queue.as_ref() != Some(&queue) {
            return Err(wrong(format!("its transport must be {{\"mode\": \"amqp\", \"queue\": \"{queue}\"}}")));
        }
    }
    let secrets = outside::secrets(secrets)?;
    let capabilities = Capabilities { text: Some(Capability::BOTH), ..Capabilities::default() };
    let limits = Limits { ack_deadline_ms: None, out_per_s: None, reply_window_s: None, replies_per_window: None };
    let manifest = manifest.unwrap_or_else(|| wire::manifest((AMQP, AMQP), capabilities, &["custom"], limits));
    Ok(Box::new(AmqpAdapter {
        manifest,
        own: outside::own(AMQP, &account),
        base: Base::new(AMQP, account, seed),
        secrets,
        files: FileDoor::default(),
        socket: None,
        open: false,
        open_at: None,
        failures: 0,
        threads: BTreeMap::new(),
        marks: BTreeMap::new(),
        held: 0,
        sending: BTreeMap::new(),
    }))
}

impl Channel for AmqpAdapter {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => self.connect(),
            In::SocketOpen { socket, .. } if Some(socket) == self.socket => {
                (self.open, self.failures) = (true, 0);
            }
            In::SocketClosed { socket, why } if Some(socket) == self.socket => self.closed(now, why),
            In::Frame { socket, frame } if Some(socket) == self.socket => self.heard(&frame),
            In::Told { mark } => self.told(now, mark),
            In::Send(message) => self.send(now, &message),
            In::Live(event) => self.show(&event),
            In::HttpRequest { request, http } => self.asked(now, request, &http),
            In::Fetched { fetch, answer } => self.files.kept(&mut self.base, fetch, answer),
            In::Tick => self.tick(now),
            In::SocketOpen { .. }
            | In::SocketClosed { .. }
            | In::Frame { .. }
            | In::HttpResponse { .. }
            | In::Token { .. }
            | In::RefreshToken { .. } => {}
        }
        let pauses = self.threads.values().filter_map(|held| held.front()?.until).min();
        let confirms = self.sending.values().map(|sending| sending.until).min();
        self.base.wake_at([self.open_at, pauses, confirms]);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

impl AmqpAdapter {
    fn connect(&mut self) {
        let socket = self.base.next_id();
        self.socket = Some(socket);
        self.base.push(Out::OpenSocket { socket, url: BROKER_URL.to_owned() });
    }

    /// What was in hand comes again from the queue; what was being sent is sent again: the adapter tells copies.
    fn closed(&mut self, now: Timestamp, why: String) {
        (self.socket, self.open) = (None, false);
        self.threads.clear();
        self.marks.clear();
        self.held = 0;
        for sending in std::mem::take(&mut self.sending).into_values() {
            self.settle(sending.delivery, retry(OUTCOME_UNKNOWN));
        }
        self.base.health(Health::Down { why });
        self.open_at = Some(now + self.base.random.backoff(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    fn say(&mut self, what: &ToBroker) {
        let Some(socket) = self.socket else { return };
        if let Ok(text) = serde_json::to_string(what) {
            self.base.push(Out::Frame { socket, frame: Frame::Text(text) });
        }
    }

    fn settle(&mut self, delivery: DeliveryId, outcome: Outcome) {
        self.base.push(Out::Settle { delivery, outcome });
    }

    fn heard(&mut self, frame: &Frame) {
        let Frame::Text(text) = frame else { return };
        match serde_json::from_str(text) {
            Ok(FromBroker::Brought { tag, body }) => self.brought(tag, &body),
            Ok(FromBroker::Sent { number, how }) => self.sent(number, how),
            Ok(FromBroker::Queue { waiting, readers }) => {
                let account = &self.own.account;
                self.base.health(if waiting > 0 && readers == 0 {
                    let why = format!("nobody reads ark.out.{account}: start the adapter");
                    Health::Down { why }
                } else {
                    Health::Up
                });
            }
            Ok(FromBroker::Away { why }) => self.base.health(Health::Down { why }),
            Err(error) => self.base.note(format!("the link to the broker said what cannot be read: {error}")),
        }
    }

    /// A message of the adapter: kept, in its place behind those of its thread, or parked.
    fn brought(&mut self, tag: u64, body: &str) {
        if body.trim_start().starts_with('[') {
            let why = "schema: one event a message is expected, not a list of them".to_owned();
            return self.say(&ToBroker::Park { tag, why });
        }
        match outside::read(&self.own, body) {
            Ok(Taken::Live(event)) => {
                self.base.push(Out::Live(Box::new(event)));
                self.say(&ToBroker::Ack { tag });
            }
            Ok(Taken::Kept(event)) if self.held < BROUGHT_MAX => {
                let source = event.source.clone();
                let thread = self.threads.entry(source.clone()).or_default();
                thread.push_back(Held { tag, event, attempt: 0, until: None });
                self.held += 1;
                if thread.len() == 1 {
                    self.keep(&source);
                }
            }
            // The host hands over no more than that; whatever did is told by the queue's own count.
            Ok(Taken::Kept(_)) => self.base.note("more came from the broker than may be in hand"),
            Err(rejected) => {
                let why = format!("{}: {}", rejected.code, rejected.why);
                self.say(&ToBroker::Park { tag, why });
            }
        }
    }

    /// Offers the first message of a thread to the store.
    fn keep(&mut self, source: &str) {
        let Some(held) = self.threads.get_mut(source).and_then(VecDeque::front_mut) else { return };
        held.until = None;
        let events = vec![held.event.clone()];
        let (durable, refused) = (self.base.next_id(), self.base.next_id());
        for (mark, other, is) in [(durable, refused, true), (refused, durable, false)] {
            self.marks.insert(mark, Asked { source: source.to_owned(), durable: is, other });
        }
        let tell = |mark| vec![Ack::Tell { mark }];
        let ingest = Ingest { events, durable: tell(durable), refused: tell(refused), save: None };
        self.base.push(Out::Ingest(ingest));
    }

    /// The store has answered.
    fn told(&mut self, now: Timestamp, mark: MarkId) {
        let Some(Asked { source, durable, other }) = self.marks.remove(&mark) else { return };
        self.marks.remove(&other);
        let Some(thread) = self.threads.get_mut(&source) else { return };
        if !durable {
            if let Some(held) = thread.front_mut() {
                let pause = KEEP_AGAIN_FIRST.saturating_mul(1 << held.attempt.min(10)).min(KEEP_AGAIN_MAX);
                held.attempt = held.attempt.saturating_add(1);
                held.until = Some(now + pause);
            }
            return;
        }
        let Some(held) = thread.pop_front() else { return };
        self.held -= 1;
        if thread.is_empty() {
            self.threads.remove(&source);
        }
        self.say(&ToBroker::Ack { tag: held.tag });
        self.keep(&source);
    }

    fn tick(&mut self, now: Timestamp) {
        self.base.woken();
        if self.open_at.is_some_and(|at| at <= now) {
            self.open_at = None;
            self.connect();
        }
        let due = |held: &&VecDeque<Held>| held.front().is_some_and(|held| held.until.is_some_and(|at| at <= now));
        let due: Vec<String> =
            self.threads.iter().filter(|(_, held)| due(held)).map(|(source, _)| source.clone()).collect();
        for source in due {
            self.keep(&source);
        }
        let late: BTreeSet<u64> =
            self.sending.iter().filter(|(_, sending)| sending.until <= now).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(sending) = self.sending.remove(&number) {
                self.settle(sending.delivery, retry(OUTCOME_UNKNOWN));
            }
        }
    }

    fn send(&mut self, now: Timestamp, message: &Outbound) {
        let delivery = message.delivery;
        if !self.open || self.sending.len() >= DELIVERIES_MAX {
            return self.settle(delivery, retry(if self.open { "busy" } else { "unreachable" }));
        }
        let event = &message.event;
        let (Event::MessageOut(out), Ok(body)) = (&event.event, serde_json::to_string(event)) else {
            let text = Some("only messages are sent by a channel".to_owned());
            return self.settle(delivery, Outcome::Failed { code: "malformed".to_owned(), text });
        };
        let number = self.base.next_id();
        let send = ToBroker::Send {
            number,
            id: event.id.clone(),
            kind: event.type_name().to_owned(),
            conversation: out.conversation.to_string(),
            epoch: out.epoch,
            attempt: message.attempt,
            body,
        };
        self.sending.insert(number, Sending { delivery, until: now + CONFIRM_MAX });
        self.say(&send);
    }

    fn sent(&mut self, number: u64, how: Sent) {
        // One that was given up meanwhile: it goes again, under the same id.
        let Some(sending) = self.sending.remove(&number) else { return };
        let outcome = match how {
            Sent::Confirmed => Outcome::Accepted { native_id: None },
            Sent::Refused(why) => {
                self.base.health(Health::Down { why });
                retry("unavailable")
            }
            Sent::Never(why) => Outcome::Failed { code: "refused".to_owned(), text: Some(why) },
        };
        self.settle(sending.delivery, outcome);
    }

    fn show(&mut self, event: &CloudEvent) {
        let typing = self.manifest.capabilities.typing.as_ref().is_some_and(|one| one.outbound);
        if let (true, true, Event::Typing(Typing { .. }), Ok(body)) =
            (self.open, typing, &event.event, serde_json::to_string(event))
        {
            let kind = event.type_name().to_owned();
            self.say(&ToBroker::Show { id: event.id.clone(), kind, body });
        }
    }

    /// Files come and go by HTTP, when the account has a secret to sign with.
    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        let health = http.path == "/ark/v1/health" && http.method == Method::Get;
        let done = match &self.secrets {
            _ if health => Err(HttpReply::json(200, &json!({"status": "ok"}))),
            Some(secrets) => {
                let done = self.files.asked(&mut self.base, (now, secrets), request, http);
                let nothing = "this adapter publishes its events to `ark.in` on the broker; files go to `ark/v1/media`";
                done.unwrap_or_else(|| Err(HttpReply::text(404, nothing)))
            }
            None => {
                let nothing = "this adapter publishes its events to `ark.in` on the broker; for files its [[channel]] needs `secret`";
                Err(HttpReply::text(404, nothing))
            }
        };
        if let Err(reply) = done {
            self.base.reply(request, reply);
        }
    }
}

fn retry(code: &str) -> Outcome {
    Outcome::Retry { code: code.to_owned(), after: None }
}

#[cfg(test)]
mod tests {
    use ark_conversation::event::{MessageOut, Part};
    use ark_conversation::{Tenant, samples};
    use jiff::SignedDuration;

    use super::*;
    use crate::settings::Secret;

    fn at(ms: i64) -> Timestamp {
        samples::at(0) + SignedDuration::from_millis(ms)
    }

    fn adapter(settings: &Value) -> Result<Box<dyn Channel>, SettingsError> {
        let account = Account { tenant: Tenant::MAIN, name: "shop".to_owned() };
        build(account, settings, &Secrets::new([]), 1)
    }

    /// An adapter whose socket is open, and its number.
    fn joined() -> (Box<dyn Channel>, SocketId) {
        let mut channel = adapter(&json!({"user": "ark-shop"})).unwrap();
        channel.handle(at(0), In::Begin { saved: BTreeMap::new() });
        let Some(Out::OpenSocket { socket, url }) = channel.poll() else { panic!() };
        assert_eq!(url, BROKER_URL);
        channel.handle(at(0), In::SocketOpen { socket, asked: None });
        (channel, socket)
    }

    fn drain(channel: &mut dyn Channel) -> Vec<Out> {
        std::iter::from_fn(|| channel.poll()).collect()
    }

    fn hear(channel: &mut dyn Channel, now: Timestamp, socket: SocketId, what: &FromBroker) -> Vec<Out> {
        let frame = Frame::Text(serde_json::to_string(what).unwrap());
        channel.handle(now, In::Frame { socket, frame });
        drain(channel)
    }

    fn brought(tag: u64, id: &str, source: &str) -> FromBroker {
        let event = CloudEvent::new(id, source, samples::at(0), samples::message_in("t1", "你好"));
        FromBroker::Brought { tag, body: serde_json::to_string(&event).unwrap() }
    }

    fn said(out: &[Out]) -> Vec<ToBroker> {
        let text = |out: &Out| match out {
            Out::Frame { frame: Frame::Text(text), .. } => serde_json::from_str(text).ok(),
            _ => None,
        };
        out.iter().filter_map(text).collect()
    }

    /// The events that are offered to the store, and the marks for yes and no.
    fn offered(out: &[Out]) -> Vec<(String, MarkId, MarkId)> {
        let one = |out: &Out| match out {
            Out::Ingest(Ingest { events, durable, refused, .. }) => {
                let ([Ack::Tell { mark: yes }], [Ack::Tell { mark: no }]) = (durable.as_slice(), refused.as_slice())
                else {
                    panic!()
                };
                Some((events[0].id.clone(), *yes, *no))
            }
            _ => None,
        };
        out.iter().filter_map(one).collect()
    }

    #[test]
    fn a_delivery_is_acknowledged_after_its_commit_and_a_thread_keeps_its_order() {
        let (mut channel, socket) = joined();
        let channel = channel.as_mut();
        let own = "/ark/main/amqp/shop/t1";
        let first = offered(&hear(channel, at(0), socket, &brought(1, "m1", own)));
        assert_eq!(hear(channel, at(0), socket, &brought(2, "m2", own)), [], "behind the one before it");
        let beside = offered(&hear(channel, at(0), socket, &brought(3, "m3", "/ark/main/amqp/shop/t2")));
        assert_eq!((first[0].0.as_str(), beside[0].0.as_str()), ("m1", "m3"));
        // The store is away: nothing is acknowledged, nothing overtakes.
        channel.handle(at(0), In::Told { mark: first[0].2 });
        let out = drain(channel);
        let [Out::WakeAt(again)] = out.as_slice() else { panic!("{out:?}") };
        channel.handle(*again, In::Tick);
        let out = drain(channel);
        assert_eq!(said(&out), []);
        let first = offered(&out);
        assert_eq!(first[0].0, "m1");
        channel.handle(*again, In::Told { mark: first[0].1 });
        let out = drain(channel);
        assert_eq!(said(&out), [ToBroker::Ack { tag: 1 }]);
        assert_eq!(offered(&out)[0].0, "m2");
        channel.handle(*again, In::Told { mark: beside[0].1 });
        assert_eq!(said(&drain(channel)), [ToBroker::Ack { tag: 3 }]);
    }

    #[test]
    fn what_is_not_the_signers_own_or_no_event_is_parked_with_its_reason() {
        let (mut channel, socket) = joined();
        let mut parked = Vec::new();
        for (tag, what) in [
            (1, brought(1, "m1", "/ark/main/amqp/bank/t1")),
            (2, brought(2, "m1", "/ark/main/http/shop/t1")),
            (3, brought(3, "m1", "/ark/other/amqp/shop/t1")),
            (4, FromBroker::Brought { tag: 4, body: "{\"id\": 1}".to_owned() }),
            (5, FromBroker::Brought { tag: 5, body: "[]".to_owned() }),
            (6, FromBroker::Brought { tag: 6, body: "x".repeat(crate::limits::EVENT_BYTES_MAX + 1) }),
        ] {
            let out = hear(channel.as_mut(), at(0), socket, &what);
            let heard = said(&out);
            let [ToBroker::Park { tag: of, why }] = heard.as_slice() else { panic!("{out:?}") };
            assert_eq!(*of, tag);
            parked.push(why.split(':').next().unwrap().to_owned());
        }
        assert_eq!(parked, ["source", "source", "source", "schema", "schema", "schema"]);
    }

    #[test]
    fn a_message_out_is_accepted_when_the_broker_has_it_and_tried_again_when_not() {
        let (mut channel, socket) = joined();
        let channel = channel.as_mut();
        let conversation = ark_conversation::ConversationId::new(1, 2);
        let event = CloudEvent::new(
            "k1",
            "/ark/main/amqp/shop/t1",
            samples::at(0),
            MessageOut {
                thread: "t1".to_owned(),
                conversation,
                epoch: 3,
                sender: samples::customer(),
                parts: vec![Part::text("您好")],
                reply_to: None,
                leg: None,
            },
        );
        let cases: [(Option<Sent>, Outcome); 4] = [
            (Some(Sent::Confirmed), Outcome::Accepted { native_id: None }),
            (Some(Sent::Refused("full".to_owned())), retry("unavailable")),
            (
                Some(Sent::Never("too large".to_owned())),
                Outcome::Failed { code: "refused".to_owned(), text: Some("too large".to_owned()) },
            ),
            (None, retry(OUTCOME_UNKNOWN)),
        ];
        for (how, expected) in cases {
            channel.handle(
                at(0),
                In::Send(Box::new(Outbound { delivery: 7, attempt: 2, event: event.clone(), in_doubt: false })),
            );
            let out = said(&drain(channel));
            let [ToBroker::Send { number, id, epoch, attempt: 2, .. }] = out.as_slice() else { panic!("{out:?}") };
            assert_eq!((id.as_str(), *epoch), ("k1", 3));
            let out = match how {
                Some(how) => hear(channel, at(0), socket, &FromBroker::Sent { number: *number, how }),
                None => {
                    channel.handle(at(0) + CONFIRM_MAX, In::Tick);
                    drain(channel)
                }
            };
            assert!(out.contains(&Out::Settle { delivery: 7, outcome: expected.clone() }), "{expected:?}: {out:?}");
        }
    }

    #[test]
    fn a_lost_link_is_opened_again_and_what_was_in_hand_comes_again() {
        let (mut channel, socket) = joined();
        let channel = channel.as_mut();
        let old = offered(&hear(channel, at(0), socket, &brought(1, "m1", "/ark/main/amqp/shop/t1")));
        channel.handle(at(0), In::SocketClosed { socket, why: "gone".to_owned() });
        let out = drain(channel);
        let [Out::Health(Health::Down { .. }), Out::WakeAt(again)] = out.as_slice() else { panic!("{out:?}") };
        channel.handle(*again, In::Tick);
        let Some(Out::OpenSocket { socket, .. }) = channel.poll() else { panic!() };
        channel.handle(*again, In::SocketOpen { socket, asked: None });
        // What the store says of the old one is nobody's any more; the queue gives it again.
        channel.handle(*again, In::Told { mark: old[0].1 });
        assert_eq!(drain(channel), []);
        assert_eq!(offered(&hear(channel, *again, socket, &brought(9, "m1", "/ark/main/amqp/shop/t1"))).len(), 1);
    }

    #[test]
    fn the_manifest_of_the_operator_counts_and_must_be_of_this_queue() {
        let mut manifest = wire::manifest(
            ("shop-adapter", "shop"),
            Capabilities { text: Some(Capability::BOTH), image: Some(Capability::BOTH), ..Capabilities::default() },
            &["custom"],
            Limits { ack_deadline_ms: None, out_per_s: Some(5.0), reply_window_s: None, replies_per_window: None },
        );
        manifest.transport.mode = TransportMode::Amqp;
        manifest.transport.queue = Some("ark.out.shop".to_owned());
        let good = adapter(&json!({"user": "ark-shop", "manifest": manifest})).unwrap();
        assert_eq!(good.manifest().limits.out_per_s, Some(5.0));
        manifest.transport.queue = Some("ark.out.bank".to_owned());
        let wrong = adapter(&json!({"user": "ark-shop", "manifest": manifest})).err().unwrap();
        assert!(wrong.to_string().contains("ark.out.shop"), "{wrong}");
        assert!(adapter(&json!({"user": " "})).is_err());
        assert!(adapter(&json!({})).is_err());
        assert_eq!(signer(AMQP, &json!({"user": "u"})).as_deref(), Some("u"));
        assert_eq!(signer("http", &json!({"user": "u"})), None);
    }

    #[test]
    fn files_come_by_http_when_there_is_a_secret() {
        let account = Account { tenant: Tenant::MAIN, name: "shop".to_owned() };
        let secret = Secret::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let secrets = Secrets::new([("secret".to_owned(), secret.clone())]);
        let mut channel = build(account, &json!({"user": "ark-shop"}), &secrets, 1).unwrap();
        let keys = WebhookSecrets::new(&[secret]).unwrap();
        let body = b"bytes".to_vec();
        let headers = vec![
            ("webhook-id".to_owned(), "f1".to_owned()),
            ("webhook-timestamp".to_owned(), at(0).as_second().to_string()),
            ("webhook-signature".to_owned(), keys.sign("f1", at(0), &body)),
        ];
        let (method, path, query) =
            (Method::Post, "/ark/v1/media".to_owned(), vec![("kind".to_owned(), "image".to_owned())]);
        let mut http = HttpRequest { method, path, query, headers, body };
        channel.handle(at(0), In::HttpRequest { request: 1, http: http.clone() });
        assert!(matches!(drain(channel.as_mut()).as_slice(), [Out::Keep { .. }]));
        http.path = "/ark/v1/ingest".to_owned();
        channel.handle(at(0), In::HttpRequest { request: 2, http });
        let out = drain(channel.as_mut());
        assert!(matches!(out.as_slice(), [Out::HttpReply { reply, .. }] if reply.status == 404), "{out:?}");
    }
}
