//! A host in virtual time: it gives inputs and looks at what comes out. It panics with what is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc,
    reason = "what is not as it should be is said by panicking"
)]

use ark_conversation::channel::*;
use ark_conversation::event::{Media, MessageIn, MessageOut, Part, Party, PartyRole};
use ark_conversation::{CloudEvent, Content, ConversationId, Event, Hash, Pii, Tenant, source};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::settings::{Account, Secret, Secrets};

/// The text of a field.
pub fn s<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

/// Secrets by name.
pub fn secrets(list: &[(&str, &str)]) -> Secrets {
    Secrets::new(list.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))))
}

/// The account `shop` of the first tenant.
pub fn account() -> Account {
    Account { tenant: Tenant::MAIN, name: "shop".to_owned() }
}

/// A machine, and the time that it is told.
pub struct Rig {
    /// The machine.
    pub channel: Box<dyn Channel>,
    /// The time that it is told.
    pub now: Timestamp,
    wake: Option<Timestamp>,
    last_request: u64,
    last_delivery: u64,
    sent_at: Timestamp,
}

impl Rig {
    /// Builds a machine; it has not begun.
    pub fn new(kind: &str, settings: &Value, list: &[(&str, &str)], now_ms: i64) -> Self {
        let channel = crate::build(kind, account(), settings, &secrets(list), 7).unwrap();
        channel.manifest().check().unwrap();
        let now = Timestamp::from_millisecond(now_ms).unwrap();
        Self { channel, now, wake: None, last_request: 0, last_delivery: 0, sent_at: now }
    }

    /// Gives an input; all that comes of it but `WakeAt`, which is remembered.
    pub fn give(&mut self, input: In) -> Vec<Out> {
        self.channel.handle(self.now, input);
        let mut outs = Vec::new();
        while let Some(out) = self.channel.poll() {
            match out {
                Out::WakeAt(at) => self.wake = Some(at),
                other => outs.push(other),
            }
        }
        outs
    }

    /// Its first input, with nothing saved.
    pub fn begin(&mut self) -> Vec<Out> {
        self.give(In::Begin { saved: Default::default() })
    }

    /// Lets time pass.
    pub fn after(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Goes to the times that are asked for, until something comes of it.
    pub fn wake(&mut self) -> Vec<Out> {
        for _ in 0..20 {
            let at = self.wake.take().expect("no time was asked for");
            self.now = self.now.max(at);
            let outs = self.give(In::Tick);
            if !outs.is_empty() {
                return outs;
            }
        }
        panic!("nothing ever comes of it")
    }

    /// In how many seconds it wants to be woken.
    pub fn wakes_in(&self) -> Option<i64> {
        self.wake.map(|at| at.duration_since(self.now).as_secs())
    }

    /// A provider asks: the request's number, and what comes of it.
    pub fn request(&mut self, http: HttpRequest) -> (u64, Vec<Out>) {
        self.last_request += 1;
        let request = self.last_request;
        (request, self.give(In::HttpRequest { request, http }))
    }

    /// The status of a request that is refused at once.
    pub fn refused(&mut self, http: HttpRequest) -> u16 {
        let (request, outs) = self.request(http);
        match &outs[..] {
            [Out::HttpReply { request: of, reply }] if *of == request => reply.status,
            other => panic!("not one refusal: {other:?}"),
        }
    }

    /// A provider answers a call.
    pub fn answer(&mut self, call: CallId, status: u16, body: Value) -> Vec<Out> {
        self.give(In::HttpResponse { call, answer: Ok(HttpReply::json(status, &body)) })
    }

    /// A call has no answer.
    pub fn no_answer(&mut self, call: CallId) -> Vec<Out> {
        self.give(In::HttpResponse { call, answer: Err(HttpFailure::NoAnswer("timeout".to_owned())) })
    }

    /// A token is there.
    pub fn token(&mut self, value: &str) -> Vec<Out> {
        let token = Token { value: value.to_owned(), expires_at: self.now + SignedDuration::from_secs(7_200) };
        self.give(In::Token { name: "access_token", token })
    }

    /// What the next message out is settled by.
    pub fn next_delivery(&self) -> u64 {
        self.last_delivery + 1
    }

    /// A message of the house: its delivery's number, and what comes of it.
    pub fn send(&mut self, thread: &str, parts: Vec<Part>) -> (u64, Vec<Out>) {
        self.last_delivery += 1;
        let delivery = self.last_delivery;
        let event = self.out(thread, parts, delivery);
        (delivery, self.give(In::Send(Box::new(Outbound { delivery, attempt: 1, event, in_doubt: false }))))
    }

    /// The last message again, as the host tries it: a delivery of its own, the same event.
    pub fn send_again(&mut self, thread: &str, parts: Vec<Part>) -> Vec<Out> {
        let event = self.out(thread, parts, self.last_delivery);
        self.last_delivery += 1;
        self.give(In::Send(Box::new(Outbound { delivery: self.last_delivery, attempt: 2, event, in_doubt: false })))
    }

    /// A message whose first try was given to a gateway that died.
    pub fn send_in_doubt(&mut self, thread: &str, parts: Vec<Part>) -> Vec<Out> {
        self.last_delivery += 1;
        let event = self.out(thread, parts, self.last_delivery);
        let message = Outbound { delivery: self.last_delivery, attempt: 2, event, in_doubt: true };
        self.give(In::Send(Box::new(message)))
    }

    fn out(&self, thread: &str, parts: Vec<Part>, n: u64) -> CloudEvent {
        let conversation = ConversationId::new(1, 1);
        let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
        let data =
            MessageOut { thread: thread.to_owned(), conversation, epoch: 1, sender, parts, reply_to: None, leg: None };
        CloudEvent::new(format!("01JKEY{n}"), source::conversation(&Tenant::MAIN, conversation), self.sent_at, data)
    }
}

/// The one call among these, to be answered.
pub fn call(outs: &[Out]) -> (CallId, &HttpCall) {
    let mut calls = outs.iter().filter_map(|out| match out {
        Out::HttpCall { call, http } => Some((*call, http.as_ref())),
        _ => None,
    });
    let one = calls.next().unwrap_or_else(|| panic!("no call in {outs:?}"));
    assert!(calls.next().is_none(), "several calls in {outs:?}");
    one
}

/// A call's body as JSON.
pub fn body(http: &HttpCall) -> &Value {
    match &http.body {
        Body::Json(body) => body,
        other => panic!("no JSON: {other:?}"),
    }
}

/// What came of the one message that is settled.
pub fn outcome(outs: &[Out]) -> Outcome {
    let all: Vec<_> = outs
        .iter()
        .filter_map(|out| if let Out::Settle { outcome, .. } = out { Some(outcome) } else { None })
        .collect();
    assert_eq!(all.len(), 1, "{outs:?}");
    all[0].clone()
}

/// Try again, at the host's pace.
pub fn retry(code: &str) -> Outcome {
    Outcome::Retry { code: code.to_owned(), after: None }
}

/// The word of a failure.
pub fn failed_code(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { code, .. } => code,
        other => panic!("not failed: {other:?}"),
    }
}

/// The one ingest among these.
pub fn ingest(outs: Vec<Out>) -> Ingest {
    let mut all: Vec<Ingest> =
        outs.into_iter().filter_map(|out| if let Out::Ingest(one) = out { Some(one) } else { None }).collect();
    assert_eq!(all.len(), 1, "not one ingest");
    all.remove(0)
}

/// The status of an acknowledgement.
pub fn status(ack: &Ack) -> u16 {
    match ack {
        Ack::Reply { reply, .. } => reply.status,
        Ack::Frame { frame: Frame::Text(text), .. } => {
            u16::try_from(serde_json::from_str::<Value>(text).unwrap()["code"].as_u64().unwrap()).unwrap()
        }
        other => panic!("no status: {other:?}"),
    }
}

/// A customer's message.
pub fn message(event: &CloudEvent) -> &MessageIn {
    match &event.event {
        Event::MessageIn(message) => message,
        other => panic!("no message: {}", other.type_name()),
    }
}

/// The words of a part.
pub fn words(part: &Part) -> &str {
    match part {
        Part::Text { text } => text.reveal(),
        Part::Unsupported { fallback_text, .. } | Part::Card { fallback_text, .. } => fallback_text.reveal(),
        other => panic!("no words: {other:?}"),
    }
}

/// A stored file.
pub fn media(mime: &str) -> Media {
    Media {
        reference: "ark-media:01JABCDEF0".to_owned(),
        mime: mime.to_owned(),
        size: 10,
        sha256: Hash::of(b"x"),
        name: Some(Content::new("a.pdf")),
        duration_ms: None,
        width: None,
        height: None,
    }
}

/// A stored picture.
pub fn image() -> Part {
    Part::Image { media: media("image/png"), fallback_text: None }
}

/// The one file that is to be fetched.
pub fn fetch(outs: &[Out]) -> (FetchId, &HttpCall, FileKind) {
    let one = outs.iter().find_map(|out| match out {
        Out::Fetch { fetch, from, what, .. } => Some((*fetch, from.as_ref(), *what)),
        _ => None,
    });
    one.unwrap_or_else(|| panic!("no fetch in {outs:?}"))
}

/// A POST request; `query` is `name=value` with `&` between.
pub fn post(path: &str, query: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> HttpRequest {
    let pairs = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
    HttpRequest {
        method: Method::Post,
        path: path.to_owned(),
        query: query.split('&').filter(|pair| !pair.is_empty()).map(pairs).collect(),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        body: body.into(),
    }
}
