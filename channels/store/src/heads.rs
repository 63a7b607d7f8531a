//! What the writer remembers of the conversations that it wrote to last.

use std::collections::HashMap;

use ark_conversation::{ConversationId, ConversationState, Tenant};

use crate::limits::{APPEND_EVENTS_MAX, COMMIT_EVENTS_MAX, HEADS_MAX, THREADS_MAX};

pub(crate) type Key = (Tenant, ConversationId);

/// The end of a conversation's log, and whether its row must be written in this transaction.
pub(crate) struct Head {
    pub(crate) state: ConversationState,
    pub(crate) dirty: bool,
    /// Channels that the index is known to have; the others are written, which a second time changes nothing.
    pub(crate) channels: Vec<String>,
    /// First and last number of what this transaction appended and the outbox does not have yet.
    pub(crate) outgoing: Option<(u64, u64)>,
    /// How often the row was erased when it was read: a state of before must not be written back (PostgreSQL, where
    /// another gateway may erase).
    pub(crate) version: i32,
}

impl Head {
    pub(crate) fn new(state: ConversationState) -> Self {
        Self { state, dirty: false, channels: Vec::new(), outgoing: None, version: 0 }
    }
}

/// The most recently used heads, in two generations: when the young one is full, the old one is forgotten and they
/// change places. Never more than [`HEADS_MAX`], no list to keep in order, and nothing used since the last change is
/// forgotten.
#[derive(Default)]
pub(crate) struct Heads {
    young: HashMap<Key, Head>,
    old: HashMap<Key, Head>,
}

// What one transaction touches survives one change of places, so that its dirty heads can still be written at its end.
const _: () = assert!(COMMIT_EVENTS_MAX + APPEND_EVENTS_MAX < HEADS_MAX / 2);

impl Heads {
    pub(crate) fn get(&mut self, key: &Key) -> Option<&mut Head> {
        if !self.old.is_empty()
            && let Some(head) = self.old.remove(key)
        {
            self.put(key.clone(), head);
        }
        self.young.get_mut(key)
    }

    /// Remembers a head, in the place of what is remembered of its conversation.
    pub(crate) fn put(&mut self, key: Key, head: Head) {
        if self.young.len() >= HEADS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        // What is older would come back.
        if !self.old.is_empty() {
            self.old.remove(&key);
        }
        self.young.insert(key, head);
    }

    /// Forgets a conversation that is over, when its transaction is written: hardly anything follows, and what does finds
    /// its state in the store.
    pub(crate) fn let_go_of_ended(&mut self, key: &Key) {
        if self.young.get(key).is_some_and(|head| !head.state.is_open()) {
            self.young.remove(key);
        }
    }

    /// Forgets everything: what is remembered may belong to a transaction that was rolled back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Which open conversations the threads belong to that the only writer saw last: what it remembers, nobody else can have
/// changed. Never more than [`THREADS_MAX`].
#[derive(Default)]
pub(crate) struct Threads {
    to: HashMap<Tenant, HashMap<String, ConversationId>>,
    of: HashMap<(Tenant, ConversationId), Vec<String>>,
    count: usize,
}

impl Threads {
    pub(crate) fn get(&self, tenant: &Tenant, source: &str) -> Option<ConversationId> {
        self.to.get(tenant)?.get(source).copied()
    }

    pub(crate) fn put(&mut self, tenant: &Tenant, source: &str, conversation: ConversationId) {
        if self.count >= THREADS_MAX {
            self.clear();
        }
        let old = self.to.entry(tenant.clone()).or_default().insert(source.to_owned(), conversation);
        if old != Some(conversation) {
            self.count += 1;
            self.of.entry((tenant.clone(), conversation)).or_default().push(source.to_owned());
        }
    }

    /// A conversation has ended: what comes next in its threads goes elsewhere.
    pub(crate) fn forget(&mut self, key: &Key) {
        for source in self.of.remove(key).unwrap_or_default() {
            self.count -= 1;
            let threads = self.to.get_mut(&key.0);
            // It may be another conversation's since.
            if let Some(threads) = threads
                && threads.get(&source) == Some(&key.1)
            {
                threads.remove(&source);
            }
        }
    }

    /// Forgets everything: what is remembered may belong to a transaction that was rolled back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::samples;

    #[test]
    fn heads_stay_within_their_bound_and_the_ones_in_use_stay() {
        let mut heads = Heads::default();
        let key = |n: usize| (Tenant::MAIN, ConversationId::new(n as u64, 0));
        let record = samples::new_event(key(0).1, 1, samples::story()[0].clone()).into_record(1);
        let state = ConversationState::begin(&record);
        for n in 0..3 * HEADS_MAX {
            heads.put(key(n), Head::new(state.clone()));
            assert!(heads.get(&key(0)).is_some(), "used all the time, forgotten at {n}");
            assert!(heads.young.len() + heads.old.len() <= HEADS_MAX);
        }
        assert!(heads.get(&key(1)).is_none());
        let newer = ConversationState { last_seq: 7, ..state };
        let old = (0..3 * HEADS_MAX).map(key).find(|key| heads.old.contains_key(key)).expect("one is old");
        heads.put(old.clone(), Head::new(newer));
        assert_eq!(heads.get(&old).expect("it was put").state.last_seq, 7, "the newer one stays");
        heads.let_go_of_ended(&key(0));
        assert!(heads.get(&key(0)).is_some(), "it is open");
        let head = heads.get(&key(0)).expect("it is there");
        head.state.ended = Some(head.state.last_at);
        heads.let_go_of_ended(&key(0));
        assert!(heads.get(&key(0)).is_none());
    }

    #[test]
    fn threads_are_remembered_until_their_conversation_ends_and_stay_within_their_bound() {
        let mut threads = Threads::default();
        let (a, b) = (ConversationId::new(1, 1), ConversationId::new(1, 2));
        let other = Tenant::new("other").unwrap();
        threads.put(&Tenant::MAIN, "t1", a);
        threads.put(&Tenant::MAIN, "t1", a);
        threads.put(&Tenant::MAIN, "t2", a);
        threads.put(&other, "t1", a);
        threads.put(&Tenant::MAIN, "t2", b);
        threads.forget(&(Tenant::MAIN, a));
        assert_eq!(threads.get(&Tenant::MAIN, "t1"), None);
        assert_eq!(threads.get(&Tenant::MAIN, "t2"), Some(b), "it had moved on");
        assert_eq!(threads.get(&other, "t1"), Some(a), "another tenant's");
        for n in 0..2 * THREADS_MAX {
            threads.put(&Tenant::MAIN, &n.to_string(), a);
            assert!(threads.count <= THREADS_MAX);
        }
        threads.clear();
        assert_eq!(threads.get(&Tenant::MAIN, "1"), None);
    }
}
