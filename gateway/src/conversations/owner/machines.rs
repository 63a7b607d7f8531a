//! The conversations that are open in memory, and when each wants to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ark_conversation::machine::{Conversation, LogError, Policy};
use ark_conversation::{ConversationId, Tenant};
use ark_store::limits::READ_RECORDS_MAX;
use ark_store::{Store, StoreError};
use jiff::Timestamp;

use super::limits::{DEADLINES_MAX, MACHINES_MAX};
use crate::conversations::shards::Right;

/// Which conversation.
pub(super) type Key = (Tenant, ConversationId);

/// Why a conversation cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// Not now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Never: its log is damaged.
    #[error("its log cannot be read: {0}")]
    Log(#[from] LogError),
}

/// Opens a conversation from its log, page by page; one that has none is new.
pub(super) async fn open(
    store: Arc<dyn Store>,
    policy: Arc<Policy>,
    (tenant, id): Key,
) -> Result<Conversation, OpenError> {
    let mut machine = Conversation::new(policy, tenant.clone(), id);
    catch_up(&*store, &mut machine, (tenant, id)).await?;
    Ok(machine)
}

/// Reads on to the end of the log.
pub(super) async fn catch_up(store: &dyn Store, machine: &mut Conversation, key: Key) -> Result<(), OpenError> {
    loop {
        let after = machine.state().map_or(0, |state| state.last_seq);
        let page = store.read(&key.0, key.1, after, READ_RECORDS_MAX).await?;
        if page.is_empty() {
            return Ok(());
        }
        for record in &page {
            machine.catch_up(record)?;
        }
    }
}

/// One that is open.
pub(super) struct Open {
    pub(super) machine: Conversation,
    /// By what right it was opened: under another lease it is another's log meanwhile.
    pub(super) right: Right,
    used: u64,
    /// The turn in which it was opened.
    turn: u64,
}

/// The most recently used, at most [`MACHINES_MAX`].
#[derive(Default)]
pub(super) struct Machines {
    open: HashMap<Key, Open>,
    uses: u64,
    turn: u64,
}

impl Machines {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// One that was opened by this right.
    pub(super) fn get(&mut self, key: &Key, right: &Right) -> Option<&mut Open> {
        if self.open.get(key).is_some_and(|open| open.right != *right) {
            self.open.remove(key);
        }
        self.uses += 1;
        let open = self.open.get_mut(key)?;
        open.used = self.uses;
        Some(open)
    }

    /// What is opened from now on is fresh until the next turn.
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    /// Whether one was opened in this turn: its state is the log's.
    pub(super) fn is_fresh(&self, key: &Key) -> bool {
        self.open.get(key).is_none_or(|open| open.turn == self.turn)
    }

    /// One, whatever its right; this counts as no use.
    pub(super) fn peek(&self, key: &Key) -> Option<&Conversation> {
        self.open.get(key).map(|open| &open.machine)
    }

    pub(super) fn put(&mut self, key: Key, right: Right, machine: Conversation) {
        if self.open.len() >= MACHINES_MAX {
            self.make_room();
        }
        self.uses += 1;
        self.open.insert(key, Open { machine, right, used: self.uses, turn: self.turn });
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.open.remove(key);
    }

    /// Lets go of those of shards that are another's now.
    pub(super) fn keep(&mut self, still: impl Fn(ConversationId, &Right) -> bool) {
        self.open.retain(|key, open| still(key.1, &open.right));
    }

    /// Lets go of the eighth that was not used for longest.
    fn make_room(&mut self) {
        let mut used: Vec<u64> = self.open.values().map(|open| open.used).collect();
        let cut = (MACHINES_MAX / 8).min(used.len());
        if cut == 0 {
            return;
        }
        let (_, oldest, _) = used.select_nth_unstable(cut - 1);
        let oldest = *oldest;
        self.open.retain(|_, open| open.used > oldest);
    }
}

/// When which conversation wants [`ark_conversation::machine::Input::Tick`].
#[derive(Default)]
pub(super) struct Deadlines {
    of: HashMap<Key, Timestamp>,
    order: BTreeSet<(Timestamp, Key)>,
}

impl Deadlines {
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn set(&mut self, key: &Key, at: Option<Timestamp>) {
        if let Some(old) = self.of.remove(key) {
            self.order.remove(&(old, key.clone()));
        }
        let Some(at) = at else { return };
        self.of.insert(key.clone(), at);
        self.order.insert((at, key.clone()));
        if self.of.len() > DEADLINES_MAX
            && let Some((_, latest)) = self.order.pop_last()
        {
            self.of.remove(&latest);
        }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes those that are due, the earliest first.
    pub(super) fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<Key> {
        let mut due = Vec::new();
        while due.len() < limit && self.order.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.order.pop_first() else { break };
            self.of.remove(&key);
            due.push(key);
        }
        due
    }

    /// Forgets those of shards that are another's now.
    pub(super) fn keep(&mut self, still: impl Fn(ConversationId) -> bool) {
        self.of.retain(|key, _| still(key.1));
        self.order.retain(|(_, key)| still(key.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        (Tenant::MAIN, ConversationId::new(1, n))
    }

    #[test]
    fn the_machines_in_memory_are_the_last_used() {
        let mut machines = Machines::default();
        let policy = Arc::new(Policy::default());
        for n in 0..MACHINES_MAX as u128 {
            machines.put(key(n), Right::Alone, Conversation::new(Arc::clone(&policy), Tenant::MAIN, key(n).1));
        }
        machines.get(&key(0), &Right::Alone).unwrap();
        machines.get(&key(1), &Right::Alone).unwrap();
        for n in 0..MACHINES_MAX as u128 {
            let n = n + (1 << 40);
            machines.put(key(n), Right::Alone, Conversation::new(Arc::clone(&policy), Tenant::MAIN, key(n).1));
            machines.get(&key(0), &Right::Alone).unwrap();
        }
        assert!(machines.len() <= MACHINES_MAX);
        assert!(machines.peek(&key(0)).is_some() && machines.peek(&key(2)).is_none());
        let fence = ark_store::Fence { shard: 1, gateway: "gw1".to_owned(), number: 1 };
        assert!(machines.get(&key(0), &Right::Lease(fence)).is_none(), "opened under another lease");
    }

    #[test]
    fn deadlines_come_in_their_order_and_are_replaced() {
        let mut deadlines = Deadlines::default();
        let at = |s| Timestamp::from_second(s).unwrap();
        deadlines.set(&key(1), Some(at(30)));
        deadlines.set(&key(2), Some(at(20)));
        deadlines.set(&key(1), Some(at(10)));
        assert_eq!((deadlines.next(), deadlines.len()), (Some(at(10)), 2));
        assert_eq!(deadlines.take_due(at(9), 8), []);
        assert_eq!(deadlines.take_due(at(25), 1), [key(1)]);
        assert_eq!(deadlines.take_due(at(25), 8), [key(2)]);
        assert_eq!(deadlines.next(), None);
    }
}
