//! The durable parts of a house, as a value: they outlive every gateway. The same rules as `ark_store`'s, which has its own proofs.

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::event::PersonMerged;
use ark_conversation::machine::Conversation;
use ark_conversation::person::Registry;
use ark_conversation::{CloudEvent, ConversationId, Event, IdentityKey, MergeId, NewEvent, Record, Tenant};
use jiff::{SignedDuration, Timestamp};

/// Shards of conversations.
pub const SHARDS: usize = 2;
/// How long a gateway that is not heard keeps its leases.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// How long a claimed message is another gateway's.
const CLAIM: SignedDuration = SignedDuration::from_secs(180);

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// The store is away.
    Away,
    /// The lease has passed on.
    Fenced,
    /// The log has gone on.
    GoneOn,
}

/// A message that waits for its conversation's owner.
#[derive(Clone, Debug)]
pub struct Row {
    pub conversation: ConversationId,
    pub event: CloudEvent,
}

/// Where a message for a channel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Waiting,
    Claimed,
    Over,
}

/// A message for a channel.
#[derive(Clone, Debug)]
pub struct Sending {
    pub id: u64,
    pub key: String,
    pub event: CloudEvent,
    pub life: Life,
    pub attempts: u32,
    pub not_before: Timestamp,
    /// An earlier claim ran out: nobody knows what came of it.
    pub in_doubt: bool,
    /// What the last try said.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    fence: u64,
    holder: usize,
    until: Option<Timestamp>,
}

/// What one transaction of an owner writes.
#[derive(Default)]
pub struct Commit {
    pub shard: usize,
    pub fence: u64,
    pub conversation: Option<ConversationId>,
    pub after: u64,
    pub row: Option<u64>,
    pub events: Vec<NewEvent>,
    pub sendings: Vec<(String, CloudEvent)>,
    pub merges: Vec<PersonMerged>,
}

#[derive(Default)]
pub struct Store {
    pub away: bool,
    /// A mutant: commits are written whoever has the lease and wherever the log is.
    pub lawless: bool,
    known: BTreeMap<(String, String), u64>,
    pub waiting: BTreeMap<u64, Row>,
    threads: BTreeMap<String, ConversationId>,
    pub logs: BTreeMap<ConversationId, Vec<Record>>,
    written: BTreeSet<(ConversationId, String, String)>,
    tenants: BTreeMap<ConversationId, Tenant>,
    pub sendings: Vec<Sending>,
    leases: [Lease; SHARDS],
    pub people: Registry,
    /// Keys that were ever claimed.
    pub known_keys: BTreeSet<IdentityKey>,
    /// Merges that were written.
    pub merges: BTreeSet<MergeId>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// By gateway and account: what machines saved. A gateway's own disk, which outlives its process.
    pub saved: BTreeMap<(usize, usize), BTreeMap<String, String>>,
    begun: u64,
    rows: u64,
}

impl Store {
    pub fn shard(conversation: ConversationId) -> usize {
        usize::from(conversation.to_bytes()[15]) % SHARDS
    }

    pub fn tenant(&self, conversation: ConversationId) -> Tenant {
        self.tenants.get(&conversation).cloned().unwrap_or(Tenant::MAIN)
    }

    pub fn conversations(&self) -> Vec<ConversationId> {
        self.tenants.keys().copied().collect()
    }

    pub fn conversation_of(&self, source: &str) -> Option<ConversationId> {
        self.threads.get(source).copied()
    }

    fn is_over(&self, conversation: ConversationId) -> bool {
        self.logs.get(&conversation).is_some_and(|log| {
            let machine = Conversation::from_log(Default::default(), self.tenant(conversation), conversation, log);
            machine.is_ok_and(|machine| machine.state().is_some_and(|state| !state.is_open()))
        })
    }

    /// Puts a message into the inbox, once; `join`: where a thread goes that belongs to nothing open.
    pub fn ingest(&mut self, event: CloudEvent, tenant: &Tenant, join: Option<ConversationId>) -> Result<bool, No> {
        if self.away {
            return Err(No::Away);
        }
        let key = (event.source.clone(), event.id.clone());
        if self.known.contains_key(&key) {
            return Ok(true);
        }
        let conversation = match self.threads.get(&event.source) {
            Some(there) => *there,
            None => join.filter(|id| !self.is_over(*id)).unwrap_or_else(|| {
                self.begun += 1;
                ConversationId::new(1_795_516_200_000, u128::from(self.begun))
            }),
        };
        self.threads.insert(event.source.clone(), conversation);
        self.tenants.entry(conversation).or_insert_with(|| tenant.clone());
        self.rows += 1;
        self.known.insert(key, self.rows);
        self.waiting.insert(self.rows, Row { conversation, event });
        Ok(false)
    }

    /// The lease of a shard, prolonged or taken over when it is free.
    pub fn claim(&mut self, now: Timestamp, shard: usize, gateway: usize, anew: bool) -> Option<u64> {
        let lease = &mut self.leases[shard];
        let free = lease.until.is_none_or(|until| until <= now);
        if self.away || !(free || lease.holder == gateway) {
            return None;
        }
        if free || anew {
            lease.fence += 1;
        }
        (lease.holder, lease.until) = (gateway, Some(now + LEASE));
        Some(lease.fence)
    }

    pub fn commit(&mut self, now: Timestamp, commit: Commit) -> Result<Vec<Record>, No> {
        let Commit { shard, fence, conversation, after, row, events, sendings, merges } = commit;
        let Some(conversation) = conversation else { return Ok(Vec::new()) };
        if self.away {
            return Err(No::Away);
        }
        if self.leases[shard].fence != fence && !self.lawless {
            return Err(No::Fenced);
        }
        let log = self.logs.entry(conversation).or_default();
        if log.len() as u64 != after && !self.lawless {
            return Err(No::GoneOn);
        }
        let mut records = Vec::new();
        for event in events {
            let key = (conversation, event.event.source.clone(), event.event.id.clone());
            if !self.written.insert(key.clone()) {
                assert!(self.lawless, "the machine wrote {key:?} twice");
                continue;
            }
            let record = event.into_record(log.len() as u64 + 1);
            log.push(record.clone());
            records.push(record);
        }
        if let Some(row) = row {
            self.waiting.remove(&row);
        }
        for one in merges {
            // Those who are one already are passed over.
            if self.people.merge(one.merge, one.into, one.from, one.reason, &one.by).is_ok() {
                self.merges.insert(one.merge);
            }
        }
        for (key, event) in sendings {
            if self.sendings.iter().any(|one| one.key == key) {
                continue;
            }
            let id = self.sendings.len() as u64 + 1;
            let (life, attempts, not_before) = (Life::Waiting, 0, now);
            self.sendings.push(Sending { id, key, event, life, attempts, not_before, in_doubt: false, error: None });
        }
        Ok(records)
    }

    /// Claims the oldest message of each thread that is due.
    pub fn claim_sendings(&mut self, now: Timestamp) -> Vec<Sending> {
        if self.away {
            return Vec::new();
        }
        let (mut held, mut claimed) = (BTreeSet::new(), Vec::new());
        for one in self.sendings.iter_mut().filter(|one| one.life != Life::Over) {
            if held.insert(one.event.source.clone()) && one.not_before <= now {
                one.in_doubt = one.life == Life::Claimed;
                one.life = Life::Claimed;
                one.attempts += 1;
                one.not_before = now + CLAIM;
                claimed.push(one.clone());
            }
        }
        claimed
    }

    /// Ends an attempt: for good, or until then.
    pub fn settle(&mut self, id: u64, attempt: u32, again: Option<(Timestamp, String)>) -> Result<(), No> {
        if self.away {
            return Err(No::Away);
        }
        let found = self.sendings.iter_mut().find(|one| one.id == id);
        if let Some(one) = found.filter(|one| one.attempts == attempt && one.life == Life::Claimed) {
            match again {
                Some((at, error)) => (one.life, one.not_before, one.error) = (Life::Waiting, at, Some(error)),
                None => one.life = Life::Over,
            }
        }
        Ok(())
    }

    /// Every message that a customer is known to have written, in its log.
    pub fn messages_in(&self) -> impl Iterator<Item = &Record> {
        self.logs.values().flatten().filter(|record| matches!(record.event.event, Event::MessageIn(_)))
    }
}
