//! A host in a test: it gives inputs in virtual time and looks at what comes out.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod fakes;

use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::channel::*;
use ark_conversation::event::{Media, MessageIn, MessageOut, Part, Party, PartyRole};
use ark_conversation::{CloudEvent, Content, ConversationId, Event, Hash, Pii, Tenant, source};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn s<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

pub fn secrets(list: &[(&str, &str)]) -> Secrets {
    Secrets::new(list.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))))
}

pub fn account() -> Account {
    Account { tenant: Tenant::MAIN, name: "shop".to_owned() }
}

pub struct Rig {
    pub channel: Box<dyn Channel>,
    pub now: Timestamp,
    wake: Option<Timestamp>,
    last_request: u64,
    last_delivery: u64,
    sent_at: Timestamp,
}

impl Rig {
    pub fn new(kind: &str, settings: &Value, list: &[(&str, &str)], now_ms: i64) -> Self {
        let channel = ark_channels::build(kind, account(), settings, &secrets(list), 7).unwrap();
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

    pub fn begin(&mut self) -> Vec<Out> {
        self.give(In::Begin { saved: Default::default() })
    }

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

    pub fn wakes_in(&self) -> Option<i64> {
        self.wake.map(|at| at.duration_since(self.now).as_secs())
    }

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

    pub fn answer(&mut self, call: CallId, status: u16, body: Value) -> Vec<Out> {
        self.give(In::HttpResponse { call, answer: Ok(HttpReply::json(status, &body)) })
    }

    pub fn no_answer(&mut self, call: CallId) -> Vec<Out> {
        self.give(In::HttpResponse { call, answer: Err(HttpFailure::NoAnswer("timeout".to_owned())) })
    }

    pub fn token(&mut self, value: &str) -> Vec<Out> {
        let token = Token { value: value.to_owned(), expires_at: self.now + SignedDuration::from_secs(7_200) };
        self.give(In::Token { name: "access_token", token })
    }

    /// What the next message out is settled by.
    pub fn next_delivery(&self) -> u64 {
        self.last_delivery + 1
    }

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

pub fn body(http: &HttpCall) -> &Value {
    match &http.body {
        Body::Json(body) => body,
        other => panic!("no JSON: {other:?}"),
    }
}

pub fn outcome(outs: &[Out]) -> Outcome {
    let all: Vec<_> = outs
        .iter()
        .filter_map(|out| if let Out::Settle { outcome, .. } = out { Some(outcome) } else { None })
        .collect();
    assert_eq!(all.len(), 1, "{outs:?}");
    all[0].clone()
}

pub fn retry(code: &str) -> Outcome {
    Outcome::Retry { code: code.to_owned(), after: None }
}

pub fn failed_code(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { code, .. } => code,
        other => panic!("not failed: {other:?}"),
    }
}

pub fn ingest(outs: Vec<Out>) -> Ingest {
    let mut all: Vec<Ingest> =
        outs.into_iter().filter_map(|out| if let Out::Ingest(one) = out { Some(one) } else { None }).collect();
    assert_eq!(all.len(), 1, "not one ingest");
    all.remove(0)
}

pub fn status(ack: &Ack) -> u16 {
    match ack {
        Ack::Reply { reply, .. } => reply.status,
        Ack::Frame { frame: Frame::Text(text), .. } => {
            u16::try_from(serde_json::from_str::<Value>(text).unwrap()["code"].as_u64().unwrap()).unwrap()
        }
        other => panic!("no status: {other:?}"),
    }
}

pub fn message(event: &CloudEvent) -> &MessageIn {
    match &event.event {
        Event::MessageIn(message) => message,
        other => panic!("no message: {}", other.type_name()),
    }
}

pub fn words(part: &Part) -> &str {
    match part {
        Part::Text { text } => text.reveal(),
        Part::Unsupported { fallback_text, .. } | Part::Card { fallback_text, .. } => fallback_text.reveal(),
        other => panic!("no words: {other:?}"),
    }
}

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

pub fn image() -> Part {
    Part::Image { media: media("image/png"), fallback_text: None }
}

pub fn fetch(outs: &[Out]) -> (FetchId, &HttpCall, FileKind) {
    let one = outs.iter().find_map(|out| match out {
        Out::Fetch { fetch, from, what, .. } => Some((*fetch, from.as_ref(), *what)),
        _ => None,
    });
    one.unwrap_or_else(|| panic!("no fetch in {outs:?}"))
}

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
