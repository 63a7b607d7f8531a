//! What waits in the inbox, as the process remembers it that took it in: its owner reads it from here, and the table is
//! read only for what is older.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ark_conversation::{CloudEvent, ConversationId, Tenant};
use jiff::Timestamp;

use crate::inbox::Inbound;
use crate::limits::{INBOX_HELD_BYTES_MAX, INBOX_HELD_ROWS_MAX, PAGE_ROWS_MAX, READ_BYTES_MAX};

/// A row of the inbox that is remembered.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) shard: u16,
    pub(crate) tenant: Tenant,
    pub(crate) conversation: ConversationId,
    pub(crate) at: Timestamp,
    pub(crate) event: Arc<CloudEvent>,
    /// Its size as JSON.
    pub(crate) bytes: usize,
}

/// What a transaction did to the rows that wait.
pub(crate) enum Change {
    Came(u64, Held),
    /// These rows are done, the first and the last with all between them; and how many of them had been waiting.
    Done(u64, u64, u64),
}

/// The rows that wait, of a store that nobody else writes to. It begins knowing nothing.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    /// None: nothing is known, the table has to be read.
    older: Option<u64>,
    /// All that wait with a number after this one are in `rows`; the `older` others are in the table alone.
    floor: u64,
    rows: BTreeMap<u64, Held>,
    bytes: usize,
}

impl Waiting {
    /// What the table says: how many rows wait, and the last number that was given.
    pub(crate) fn begin(&self, waiting: u64, last: u64) {
        let mut state = self.state();
        *state = State { older: Some(waiting), floor: last, ..State::default() };
    }

    /// Whether it has begun.
    pub(crate) fn knows(&self) -> bool {
        self.state().older.is_some()
    }

    /// Whether nothing waits; false when that is not known.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.older == Some(0) && state.rows.is_empty()
    }

    /// Forgets everything, until the table has been asked again: after a transaction that failed.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    /// Takes over what a committed transaction did.
    pub(crate) fn committed(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.state();
        for change in changes {
            state.take(change);
        }
    }

    /// A page as [`crate::Store::inbox`] answers it; none when the table has to be asked.
    pub(crate) fn page(&self, shards: &[u16], after: u64, limit: usize) -> Option<Vec<Inbound>> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let mut bytes = 0;
        let found: Vec<(u64, Held)> = {
            let state = self.state();
            let all = state.older? == 0;
            if !all && after < state.floor {
                return None;
            }
            let Some(first) = after.checked_add(1) else { return Some(Vec::new()) };
            let of_shards =
                state.rows.range(first..).filter(|(_, held)| shards.is_empty() || shards.contains(&held.shard));
            let within = of_shards.take(limit).take_while(|(_, held)| {
                let room = bytes < READ_BYTES_MAX;
                bytes += held.bytes;
                room
            });
            within.map(|(row, held)| (*row, held.clone())).collect()
        };
        // The events are copied when the writer can go on.
        Some(found.into_iter().map(|(row, held)| held.inbound(row)).collect())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, change: Change) {
        let Some(mut older) = self.older else { return };
        match change {
            Change::Came(row, held) => {
                self.bytes += held.bytes;
                self.rows.insert(row, held);
                while self.rows.len() > INBOX_HELD_ROWS_MAX || self.bytes > INBOX_HELD_BYTES_MAX {
                    let Some((row, held)) = self.rows.pop_first() else { break };
                    self.bytes -= held.bytes;
                    self.floor = self.floor.max(row);
                    older += 1;
                }
            }
            Change::Done(first, last, mut waited) => {
                if first == last {
                    waited -= u64::from(self.remove(first));
                } else {
                    while waited > 0
                        && let Some((&row, _)) = self.rows.range(first..=last).next()
                    {
                        waited -= u64::from(self.remove(row));
                    }
                }
                older -= waited;
            }
        }
        self.older = Some(older);
    }

    fn remove(&mut self, row: u64) -> bool {
        let held = self.rows.remove(&row);
        self.bytes -= held.as_ref().map_or(0, |held| held.bytes);
        held.is_some()
    }
}

impl Held {
    fn inbound(self, row: u64) -> Inbound {
        let Self { shard, tenant, conversation, at, event, .. } = self;
        Inbound { row, shard, tenant, conversation, at, event: Arc::unwrap_or_clone(event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::samples;

    fn held(n: u64) -> Held {
        let new = samples::new_event(ConversationId::new(n, 0), n, samples::story()[0].clone());
        let shard = u16::from(n.is_multiple_of(2));
        Held {
            shard,
            tenant: new.tenant,
            conversation: new.conversation,
            at: new.at,
            event: Arc::new(new.event),
            bytes: 100,
        }
    }

    fn rows(waiting: &Waiting, shards: &[u16], after: u64, limit: usize) -> Option<Vec<u64>> {
        waiting.page(shards, after, limit).map(|page| page.iter().map(|one| one.row).collect())
    }

    #[test]
    fn what_came_is_answered_and_what_is_older_is_the_tables() {
        let waiting = Waiting::default();
        assert!(rows(&waiting, &[], 0, 10).is_none() && !waiting.knows(), "nothing is known");
        waiting.committed(vec![Change::Came(1, held(1))]);
        waiting.begin(2, 9);
        assert!(rows(&waiting, &[], 8, 10).is_none(), "two are older");
        assert_eq!(rows(&waiting, &[], 9, 10), Some(vec![]), "none is newer");
        waiting.committed((10..15).map(|n| Change::Came(n, held(n))).collect());
        assert_eq!(rows(&waiting, &[], 9, 3), Some(vec![10, 11, 12]));
        assert_eq!(rows(&waiting, &[1], 10, 3), Some(vec![12, 14]));
        assert_eq!(rows(&waiting, &[], u64::MAX, 3), Some(vec![]));
        waiting.committed(vec![Change::Done(5, 11, 3), Change::Done(13, 13, 1), Change::Done(13, 13, 0)]);
        assert!(rows(&waiting, &[], 0, 10).is_none(), "one is older");
        waiting.committed(vec![Change::Done(2, 2, 1)]);
        assert_eq!(rows(&waiting, &[], 0, 10), Some(vec![12, 14]), "all are known");
        waiting.forget();
        assert!(rows(&waiting, &[], 12, 10).is_none());
    }

    #[test]
    fn it_stays_within_its_bounds_and_says_what_it_let_go() {
        let waiting = Waiting::default();
        waiting.begin(0, 0);
        let one = held(1);
        let max = INBOX_HELD_ROWS_MAX as u64;
        waiting.committed((1..=max + 7).map(|n| Change::Came(n, one.clone())).collect());
        assert!(rows(&waiting, &[], 6, 1).is_none(), "seven are in the table alone");
        assert_eq!(rows(&waiting, &[], 7, 1), Some(vec![8]));
        waiting.committed(vec![Change::Done(1, 8, 8)]);
        assert_eq!(rows(&waiting, &[], 0, 1), Some(vec![9]), "they are done");
        let large = Held { bytes: INBOX_HELD_BYTES_MAX, ..one };
        waiting.committed(vec![Change::Came(max + 8, large)]);
        assert!(rows(&waiting, &[], max + 6, 1).is_none());
        let page = rows(&waiting, &[], max + 7, 2);
        assert_eq!(page, Some(vec![max + 8]));
    }

    #[test]
    fn a_page_has_a_bound_in_bytes() {
        let waiting = Waiting::default();
        waiting.begin(0, 0);
        let half = Held { bytes: READ_BYTES_MAX / 2 + 1, ..held(1) };
        waiting.committed((1..=2).map(|n| Change::Came(n, half.clone())).collect());
        waiting.committed(vec![Change::Came(3, held(3))]);
        assert_eq!(rows(&waiting, &[], 0, 10), Some(vec![1, 2]), "the one that passes it is the last");
    }
}
