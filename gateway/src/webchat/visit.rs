//! One page's visit as a machine: what it says and what its log says go in, with the time; what it is told and what is to be kept
//! come out. No socket, no clock, no store.
//!
//! The order is the promise: a message is acknowledged when it was kept ([`Visit::kept`]), and never before. A message that comes
//! again has the same id, whatever connection it comes by, so that the store keeps it once. What belongs to it and is told once in a
//! visit (where the visitor came from, who their site says that they are) goes before it in the same [`Do::Keep`], under ids that
//! are made of the visit's: told again after a break, they are there once too.

use ark_conversation::event::{
    AdapterCall, CallMode, CallOp, Identity, MessageIn, Part, Party, PartyRole, Receipt, ReceiptState, Thread,
    ThreadState, Typing,
};
use ark_conversation::{CloudEvent, ConversationId, Event, Hash, IdentityKey, KeyKind, Pii, Record};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

use crate::conversations::owner::{WANTS, WANTS_PERSON};

use super::limits::{HISTORY_ITEMS, ID_BYTES_MAX, IDS_MAX, PAGE_CHARS_MAX, TEXT_CHARS_MAX};
use super::proto::{After, Hello, Item, Known, Phase, Said, Standing, Tell, Trail};
use super::settings::Site;
use super::token::{self, Person, plain};
use super::view::{Place, View};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Do {
    /// Tell the page.
    Tell(Tell),
    /// Keep events, one after the other; then [`Visit::kept`].
    Keep {
        /// In their order.
        events: Vec<CloudEvent>,
        /// The id of the page's message, when it waits for an acknowledgement.
        ack: Option<String>,
    },
    /// Pass on what is never kept.
    Pass(Box<CloudEvent>),
    /// Make a token for a call of this visitor, into the conversation that the thread belongs to.
    Call {
        /// Who calls.
        from: String,
        /// What they are called.
        name: Option<String>,
    },
}

/// One page's visit.
pub(super) struct Visit {
    site: Arc<Site>,
    source: String,
    thread: String,
    visit: String,
    trail: Trail,
    person: Option<Person>,
    /// What was told of the person and the way here, and in which opening of the thread.
    told: Option<String>,
    /// The conversation before this one, when it ended in this visit.
    ended: Option<ConversationId>,
    view: Option<View>,
    /// The one that the thread belongs to by now: it is shown when the log of the one before was told to its end.
    next: Option<ConversationId>,
    after: Option<After>,
    standing: Option<Standing>,
    caught_up: bool,
}

impl Visit {
    /// A page that has said hello and whose token opened `thread`. `fresh`: the token, when it was made just now.
    pub(super) fn begin(
        now: Timestamp,
        site: Arc<Site>,
        thread: String,
        hello: Hello,
        fresh: Option<String>,
    ) -> (Self, Vec<Do>) {
        let Hello { after, visit, page, identify, .. } = hello;
        let mut told = Vec::new();
        let person = identify.and_then(|token| match identified(&site, &token, now) {
            Ok(person) => Some(person),
            Err(error) => {
                told.push(Do::Tell(Tell::Identified { person: None, error: Some(error) }));
                None
            }
        });
        let welcome = Tell::Welcome { token: fresh, person: person.as_ref().map(known) };
        told.insert(0, Do::Tell(welcome));
        let visit = if is_id(&visit) { visit } else { "v".to_owned() };
        let source = site.source(&thread);
        let visit = Self {
            site,
            source,
            thread,
            visit,
            trail: page,
            person,
            told: None,
            ended: None,
            view: None,
            next: None,
            after,
            standing: None,
            caught_up: false,
        };
        (visit, told)
    }

    /// The source of its events.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The conversation that it shows, and the last record that it looked at.
    pub(super) fn position(&self) -> Option<(ConversationId, u64)> {
        self.view.as_ref().map(|view| (view.conversation, view.seq))
    }

    /// The place in line, while the visitor waits.
    pub(super) fn place(&self) -> Option<&Place> {
        self.view.as_ref()?.place()
    }

    /// The page says something.
    pub(super) fn said(&mut self, now: Timestamp, said: Said) -> Vec<Do> {
        match said {
            Said::Hello(_) => {
                let message = "`hello` is said once".to_owned();
                vec![Do::Tell(Tell::Error { code: "hello", again: false, message })]
            }
            Said::Send { id, text } => self.send(now, id, text, false),
            Said::Person { id, text } => self.send(now, id, text, true),
            Said::Typing { on } => self.typing(now, on),
            Said::Got { ids } => self.receive(now, &ids, ReceiptState::Delivered),
            Said::Read { ids } => self.receive(now, &ids, ReceiptState::Read),
            Said::Identify { token } => self.identify(now, &token),
            Said::Call => self.call(now),
            Said::Ping => vec![Do::Tell(Tell::Pong)],
        }
    }

    fn send(&mut self, now: Timestamp, id: String, text: String, person: bool) -> Vec<Do> {
        let nack = |code| vec![Do::Tell(Tell::Nack { id: id.clone(), code, again: false, after_ms: None })];
        if !is_id(&id) {
            return nack("bad_id");
        }
        if text.trim().is_empty() {
            return nack("empty");
        }
        if text.chars().count() > TEXT_CHARS_MAX {
            return nack("too_long");
        }
        let mut todo = self.message(now, id, vec![Part::text(text)]);
        if let (true, Some(Do::Keep { events, .. })) = (person, todo.last_mut())
            && let Some(message) = events.last_mut()
        {
            message.extensions.insert(WANTS.to_owned(), WANTS_PERSON.into());
        }
        todo
    }

    /// A message of the visitor, with what belongs before it.
    pub(super) fn message(&mut self, now: Timestamp, id: String, parts: Vec<Part>) -> Vec<Do> {
        let mut events = self.opening(now);
        let sender = self.party();
        let message = MessageIn {
            thread: self.thread.clone(),
            sender,
            parts,
            reply_to: None,
            native_id: Some(id.clone()),
            window: None,
        };
        events.push(CloudEvent::new(id.clone(), self.source.clone(), now, message));
        vec![Do::Keep { events, ack: Some(id) }]
    }

    /// What goes before the first message of a visit, and of each conversation in it.
    fn opening(&mut self, now: Timestamp) -> Vec<CloudEvent> {
        let mut key = self.visit.clone();
        // The message begins another conversation when this one is over.
        let over = self.view.as_ref().filter(|view| view.seq > 0 && !view.is_open()).map(|view| view.conversation);
        if let Some(ended) = over.or(self.ended) {
            // Base 32, the last letters are random.
            let ended = ended.to_string();
            key.push('-');
            key.push_str(ended.get(14..).unwrap_or(&ended));
        }
        if self.told.as_ref() == Some(&key) {
            return Vec::new();
        }
        let thread = Thread {
            thread: self.thread.clone(),
            state: ThreadState::Opened,
            entry: Some(entry(&self.trail)),
            window: None,
        };
        let mut events = vec![CloudEvent::new(format!("e-{key}"), self.source.clone(), now, thread)];
        events.extend(self.identity(now, &key));
        self.told = Some(key);
        events
    }

    fn identity(&self, now: Timestamp, key: &str) -> Option<CloudEvent> {
        let person = self.person.as_ref()?;
        let mut keys = vec![IdentityKey::new(KeyKind::WebVisitor, format!("{}:{}", self.site.realm, person.user))];
        keys.retain(IdentityKey::fits);
        keys.extend(person.phone.as_deref().and_then(|number| IdentityKey::phone(number, "86")));
        if keys.is_empty() {
            return None;
        }
        let told = serde_json::to_value(&keys).unwrap_or_default();
        let id = format!("i-{key}-{}", Hash::of_json(&told).to_string().get(..12).unwrap_or_default());
        let identity = Identity { thread: self.thread.clone(), keys, assurance: self.site.assurance, link_token: None };
        Some(CloudEvent::new(id, self.source.clone(), now, identity))
    }

    fn party(&self) -> Party {
        let name = self.person.as_ref().and_then(|person| person.name.clone());
        Party {
            role: PartyRole::Customer,
            id: Pii::new(self.thread.as_str()),
            kind: Some("web_visitor".to_owned()),
            display: name.map(Pii::new),
        }
    }

    fn typing(&self, now: Timestamp, on: bool) -> Vec<Do> {
        if self.view.as_ref().is_none_or(|view| !view.is_open()) {
            return Vec::new();
        }
        let typing = Typing { thread: self.thread.clone(), sender: self.party(), on };
        let event = CloudEvent::new("typing", self.source.clone(), now, Event::Typing(typing));
        vec![Do::Pass(Box::new(event))]
    }

    fn receive(&mut self, now: Timestamp, ids: &[String], state: ReceiptState) -> Vec<Do> {
        let Some(view) = &mut self.view else { return Vec::new() };
        let news = ids.iter().take(IDS_MAX).filter(|id| view.receive(id, state == ReceiptState::Read));
        let events: Vec<CloudEvent> = news
            .map(|id| {
                let (thread, message) = (self.thread.clone(), id.clone());
                let receipt = Receipt { thread, message, state, native_id: None, reason: None };
                CloudEvent::new(format!("{id}:{state}"), self.source.clone(), now, receipt)
            })
            .collect();
        if events.is_empty() { Vec::new() } else { vec![Do::Keep { events, ack: None }] }
    }

    fn identify(&mut self, now: Timestamp, token: &str) -> Vec<Do> {
        let person = match identified(&self.site, token, now) {
            Ok(person) => person,
            Err(error) => return vec![Do::Tell(Tell::Identified { person: None, error: Some(error) })],
        };
        let mut todo = vec![Do::Tell(Tell::Identified { person: Some(known(&person)), error: None })];
        let news = self.person.as_ref() != Some(&person);
        self.person = Some(person);
        // A conversation that is open is told at once; another one with its first message.
        if news && self.view.as_ref().is_some_and(View::is_open) {
            let key = self.told.clone().unwrap_or_else(|| self.visit.clone());
            let events: Vec<CloudEvent> = self.identity(now, &key).into_iter().collect();
            if !events.is_empty() {
                todo.push(Do::Keep { events, ack: None });
            }
        } else if news {
            self.told = None;
        }
        todo
    }

    /// The visitor calls. The thread says so first: it belongs to the call's conversation from now on, whether that is open, or begins
    /// with the call or with what is written before it.
    fn call(&self, now: Timestamp) -> Vec<Do> {
        if self.site.call.is_none() {
            return vec![Do::Tell(Tell::Call { token: None })];
        }
        let from = format!("web:{}", self.thread);
        let name = self.person.as_ref().and_then(|person| person.name.clone());
        let call = AdapterCall {
            thread: self.thread.clone(),
            op: CallOp::Offer,
            leg: None,
            mode: Some(CallMode::Webrtc),
            sdp: None,
            address: Some(Pii::new(from.as_str())),
            reason: None,
        };
        let id = format!("c-{}-{}", self.visit, now.as_millisecond());
        let events = vec![CloudEvent::new(id, self.source.clone(), now, call)];
        vec![Do::Keep { events, ack: None }, Do::Call { from, name }]
    }

    /// What came of a [`Do::Keep`]: whether its last event was there before; none: nothing was kept.
    pub(super) fn kept(&mut self, ack: Option<String>, duplicate: Option<bool>) -> Option<Tell> {
        if duplicate.is_none() {
            // What should have gone before may not be there either.
            self.told = None;
        }
        let id = ack?;
        Some(match duplicate {
            Some(duplicate) => Tell::Ack { id, duplicate },
            None => Tell::Nack { id, code: "busy", again: true, after_ms: Some(2_000) },
        })
    }

    /// The conversation that the thread belongs to now; none: it has none yet.
    pub(super) fn belongs(&mut self, conversation: Option<ConversationId>) {
        let Some(conversation) = conversation else { return };
        match &self.view {
            Some(view) if view.conversation == conversation => self.next = None,
            // Its last words may have been written in the same moment: they are told first.
            Some(_) => self.next = Some(conversation),
            None => self.view = Some(View::new(conversation)),
        }
    }

    /// Goes on to the thread's next conversation, when there is one.
    fn go_on(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        self.ended = self.view.as_ref().map(|view| view.conversation).or(self.ended);
        self.view = Some(View::new(next));
        self.caught_up = false;
        true
    }

    /// What the store knows of the conversation; nothing of it is told.
    pub(super) fn knows(&mut self, view: View) {
        (self.view, self.next, self.caught_up) = (Some(view), None, false);
    }

    /// The next records of the conversation's log, in order. `end`: there is nothing more now, unless [`Visit::position`] is another
    /// conversation's after it.
    pub(super) fn records(&mut self, now: Timestamp, records: &[Record], end: bool, ahead: Option<usize>) -> Vec<Tell> {
        let mut told = Vec::new();
        if let Some(view) = &mut self.view {
            let first = view.seq == 0 && !records.is_empty();
            let known = self.after.filter(|after| after.conversation == view.conversation).map(|after| after.seq);
            if first && known.is_none() {
                told.push(Tell::Begin { conversation: view.conversation });
            }
            let (site, source, thread) = (&self.site, self.source.as_str(), self.thread.as_str());
            let mut items: Vec<Item> =
                records.iter().filter_map(|record| view.apply(record, site, source, thread)).collect();
            items.retain(|item| known.is_none_or(|seq| item.seq > seq));
            if known.is_none() && !self.caught_up && items.len() > HISTORY_ITEMS {
                items.drain(..items.len() - HISTORY_ITEMS);
            }
            told.extend(items.into_iter().map(|item| Tell::Item(Box::new(item))));
        }
        if end && !self.go_on() {
            if !std::mem::replace(&mut self.caught_up, true) {
                told.push(Tell::Live);
            }
            told.extend(self.stands(now, ahead));
        }
        told
    }

    /// How things stand, when that changed. `ahead`: how many are before the visitor.
    pub(super) fn stands(&mut self, now: Timestamp, ahead: Option<usize>) -> Option<Tell> {
        let (open, opens) = self.site.opening(now);
        let view = self.view.as_ref();
        let phase = view.map_or(Phase::None, View::phase);
        let standing = Standing {
            phase,
            name: view.and_then(|view| view.name(&self.site)),
            ahead: ahead.filter(|_| phase == Phase::Waiting),
            open,
            opens: opens.map(|at| at.to_string()),
        };
        let news = self.standing.as_ref() != Some(&standing);
        self.standing = Some(standing.clone());
        news.then_some(Tell::State(standing))
    }
}

fn identified(site: &Site, token: &str, now: Timestamp) -> Result<Person, String> {
    let key = site.key().ok_or(token::IdentityError::NoKey);
    key.and_then(|key| token::identify(key, &site.name, token, now)).map_err(|error| error.to_string())
}

fn known(person: &Person) -> Known {
    Known { user: person.user.clone(), name: person.name.clone() }
}

/// Whether that may be the id of a page's message, or a visit's name.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain)
}

fn entry(trail: &Trail) -> Map<String, Value> {
    let Trail { url, title, entrance, referrer, language } = trail;
    let fields =
        [("page", url), ("title", title), ("entrance", entrance), ("referrer", referrer), ("language", language)];
    fields
        .into_iter()
        .map(|(name, text)| (name, plain(text, PAGE_CHARS_MAX)))
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), Value::String(text)))
        .collect()
}
