//! Law L6: a reader of the store that goes on with the bus sees each record once, in order, however slow it is and
//! whenever it joins. Real store, real bus; the order of their steps is drawn.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::sync::Arc;

use ark_bus::limits::SUBSCRIPTION_RECORDS;
use ark_bus::{Bus, Cursor, EmbeddedBus, Filter, Missed, Seen, Subscription};
use ark_conversation::samples::{new_event, story};
use ark_conversation::{ConversationId, Record, Tenant};
use ark_store::{SqliteStore, Store};
use proptest::prelude::*;

fn conversation(n: usize) -> ConversationId {
    ConversationId::new(1, n as u128)
}

/// The gateway's road: append, then publish what was committed, in order.
struct House {
    store: SqliteStore,
    bus: EmbeddedBus,
    /// Committed and not published yet: the relay may be late.
    late: Vec<Arc<Record>>,
    next: u64,
}

impl House {
    async fn append(&mut self, which: usize, count: usize) {
        let story = story();
        let events = (0..count).map(|_| {
            self.next += 1;
            new_event(conversation(which), self.next, story[self.next as usize % story.len()].clone())
        });
        let appended = self.store.append(events.collect()).await.unwrap();
        self.late.extend(appended.into_iter().map(|one| Arc::new(one.record)));
    }

    async fn relay(&mut self) {
        self.bus.publish(std::mem::take(&mut self.late)).await.unwrap();
    }
}

/// A reader as a page or a tail is one.
struct Reader {
    which: usize,
    feed: Subscription,
    cursor: Cursor,
    shown: Vec<Record>,
}

impl Reader {
    /// Subscribes first, then reads the history.
    async fn join(house: &House, which: usize) -> Self {
        let feed = house.bus.subscribe(Filter::conversation(&Tenant::MAIN, conversation(which))).await.unwrap();
        let mut reader = Self { which, feed, cursor: Cursor::default(), shown: Vec::new() };
        reader.catch_up(&house.store).await;
        reader
    }

    async fn catch_up(&mut self, store: &SqliteStore) {
        loop {
            let page = store.read(&Tenant::MAIN, conversation(self.which), self.cursor.seen(), 7).await.unwrap();
            if page.is_empty() {
                return;
            }
            for record in page {
                assert_eq!(self.cursor.accept(record.seq), Seen::Next, "the store has no gaps");
                self.shown.push(record);
            }
        }
    }

    /// Takes up to `count` records from the bus.
    async fn follow(&mut self, store: &SqliteStore, count: usize) {
        for _ in 0..count {
            match self.feed.try_next() {
                None => return,
                Some(Err(Missed::Closed)) => panic!("the bus is open"),
                Some(Err(Missed::Lagged { .. })) => self.catch_up(store).await,
                Some(Ok(record)) => match self.cursor.accept(record.seq) {
                    Seen::Next => self.shown.push(Record::clone(&record)),
                    Seen::Old => {}
                    Seen::Gap { .. } => {
                        self.catch_up(store).await;
                        let now = self.cursor.accept(record.seq);
                        assert_eq!(now, Seen::Old, "it was in the store before it was published");
                    }
                },
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { which: usize, count: usize },
    Relay,
    Join { which: usize },
    Follow { reader: usize, count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 1..30_usize).prop_map(|(which, count)| Step::Append { which, count }),
        // Enough at once to overrun a reader that sleeps.
        1 => (0..2_usize).prop_map(|which| Step::Append { which, count: SUBSCRIPTION_RECORDS }),
        4 => Just(Step::Relay),
        2 => (0..2_usize).prop_map(|which| Step::Join { which }),
        4 => (0..8_usize, 1..600_usize).prop_map(|(reader, count)| Step::Follow { reader, count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn history_and_the_live_feed_join_without_gap_or_overlap(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::open(folder.path().join("ark.db")).unwrap();
            let mut house = House { store, bus: EmbeddedBus::new(), late: Vec::new(), next: 0 };
            let mut readers: Vec<Reader> = Vec::new();
            for step in steps {
                match step {
                    Step::Append { which, count } => house.append(which, count).await,
                    Step::Relay => house.relay().await,
                    Step::Join { which } => readers.push(Reader::join(&house, which).await),
                    Step::Follow { reader, count } => {
                        if let Some(reader) = readers.get_mut(reader) {
                            reader.follow(&house.store, count).await;
                        }
                    }
                }
            }
            house.relay().await;
            for reader in &mut readers {
                reader.follow(&house.store, usize::MAX).await;
                let seqs: Vec<u64> = reader.shown.iter().map(|record| record.seq).collect();
                prop_assert_eq!(&seqs, &(1..=seqs.len() as u64).collect::<Vec<_>>(), "each once, in order");
                let last = house.store.summary(&Tenant::MAIN, conversation(reader.which)).await.unwrap();
                prop_assert_eq!(seqs.len() as u64, last.map_or(0, |state| state.last_seq), "and all of them");
            }
            Ok(())
        })?;
    }
}
