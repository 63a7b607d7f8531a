//! A gateway, as small as it can be: it does what its machines say, step by step, so that it can die between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ark_conversation::channel::*;
use ark_conversation::machine::{Conversation, Effect};
use ark_conversation::{CloudEvent, ConversationId, NewEvent};
use jiff::Timestamp;

use super::provider::{Provider, Said};
use super::store::SHARDS;

/// One thing that a gateway is about to do.
pub enum Task {
    /// Events on their way into the store.
    Keep(Keep),
    /// A call on its way to the provider.
    Call { account: usize, call: CallId, http: HttpCall },
    /// Its answer on its way back.
    Answer { account: usize, call: CallId, said: Said },
    /// A file on its way from the provider.
    Fetch { account: usize, fetch: FetchId, url: String },
    /// A socket that opens.
    Open { account: usize, socket: SocketId },
    /// A claimed message that its machine is to be given.
    Send { account: usize, id: u64, attempt: u32, in_doubt: bool, error: Option<String>, event: Box<CloudEvent> },
    /// What came of a message, on its way into the log.
    Receipt { account: usize, id: u64, attempt: u32, event: Box<CloudEvent> },
    /// What came of a message, for the outbox.
    Settle { id: u64, attempt: u32, again: Option<(Timestamp, String)> },
}

impl Task {
    /// Whether a message hangs on it; calls are made for ever.
    pub const fn matters(&self) -> bool {
        matches!(self, Self::Keep(_) | Self::Send { .. } | Self::Receipt { .. } | Self::Settle { .. })
    }
}

/// Events that a machine wants kept.
pub struct Keep {
    pub account: usize,
    pub ingest: Ingest,
    /// How many of them are in the store.
    pub done: usize,
    /// One before it in its thread could not be kept: nor can this be.
    pub refused: bool,
}

/// A message that a machine is sending.
pub struct Sent {
    pub attempt: u32,
    pub event: CloudEvent,
    pub error: Option<String>,
}

/// An account's machine and what is under way for it.
pub struct Line {
    pub channel: Box<dyn Channel>,
    pub wake: Option<Timestamp>,
    pub token: Option<Token>,
    pub refreshing: bool,
    pub sends: BTreeMap<DeliveryId, Sent>,
    /// What its requests brought: the messages' numbers.
    pub asked: BTreeMap<RequestId, Vec<u64>>,
    pub requests: u64,
    pub sockets: BTreeSet<SocketId>,
    pub due: VecDeque<In>,
}

/// What a conversation decided and nobody has written yet.
pub struct Decided {
    pub after: u64,
    pub row: Option<u64>,
    pub events: Vec<NewEvent>,
    pub effects: Vec<Effect>,
    pub merges: Vec<ark_conversation::event::PersonMerged>,
}

/// A life of a gateway.
pub struct Gateway {
    pub life: u64,
    pub lines: Vec<Line>,
    pub tasks: Vec<Task>,
    pub fences: [Option<u64>; SHARDS],
    pub machines: BTreeMap<ConversationId, Conversation>,
    pub decided: BTreeMap<ConversationId, Decided>,
    /// It hears nothing and does nothing for a while, and does not know it.
    pub stalled: bool,
}

impl Gateway {
    pub fn new(life: u64, providers: &[Provider]) -> Self {
        let line = |provider: &Provider| Line {
            channel: provider.machine(life),
            wake: None,
            token: None,
            refreshing: false,
            sends: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            sockets: BTreeSet::new(),
            due: VecDeque::new(),
        };
        Self {
            life,
            lines: providers.iter().map(line).collect(),
            tasks: Vec::new(),
            fences: [None; SHARDS],
            machines: BTreeMap::new(),
            decided: BTreeMap::new(),
            stalled: false,
        }
    }

    /// Tasks that may be done now: of a thread's events only the first.
    pub fn ready(&self) -> Vec<usize> {
        let mut held = BTreeSet::new();
        let mut ready = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            if let Task::Keep(keep) = task {
                let sources: BTreeSet<&str> = keep.ingest.events.iter().map(|event| event.source.as_str()).collect();
                let free = sources.is_disjoint(&held);
                held.extend(sources);
                if !free {
                    continue;
                }
            }
            ready.push(index);
        }
        ready
    }
}
