//! Law L6 for any store and any bus: a reader of the store that goes on with the bus sees each record once, in order,
//! however slow it is and whenever it joins. The order of the steps is drawn.

use std::sync::Arc;
use std::time::Duration;

use ark_bus::limits::SUBSCRIPTION_RECORDS;
use ark_bus::{Bus, Cursor, Filter, Missed, Seen, Subscription};
use ark_conversation::samples::{new_event, story};
use ark_conversation::{ConversationId, Record, Tenant};
use ark_store::Store;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// How long the last record may be under way.
const SOON: Duration = Duration::from_secs(30);

/// A pair of store and bus under test. `carrier` hands over, `reader` reads: the same bus, or two gateways.
pub(crate) struct Pair {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) carrier: Arc<dyn Bus>,
    pub(crate) reader: Arc<dyn Bus>,
}

/// The gateway's road: append, then carry what was committed, in order.
struct House {
    pair: Pair,
    /// Tells the conversations of this story from those of others.
    base: u128,
    /// Committed and not carried yet: the relay may be late.
    late: Vec<Arc<Record>>,
    next: u64,
}

impl House {
    fn conversation(&self, which: usize) -> ConversationId {
        ConversationId::new(1, self.base * 16 + which as u128)
    }

    async fn append(&mut self, which: usize, count: usize) {
        let (story, conversation) = (story(), self.conversation(which));
        let events = (0..count).map(|_| {
            self.next += 1;
            new_event(conversation, self.next, story[self.next as usize % story.len()].clone())
        });
        let appended = self.pair.store.append(events.collect()).await.unwrap();
        self.late.extend(appended.into_iter().map(|one| Arc::new(one.record)));
    }

    async fn relay(&mut self) {
        self.pair.carrier.carry(std::mem::take(&mut self.late)).unwrap().await.unwrap();
    }
}

/// A reader as a page or a tail is one.
struct Reader {
    conversation: ConversationId,
    feed: Subscription,
    cursor: Cursor,
    shown: Vec<u64>,
}

impl Reader {
    /// Subscribes first, then reads the history.
    async fn join(house: &House, which: usize) -> Self {
        let conversation = house.conversation(which);
        let feed = house.pair.reader.subscribe(Filter::conversation(&Tenant::MAIN, conversation)).await.unwrap();
        let mut reader = Self { conversation, feed, cursor: Cursor::default(), shown: Vec::new() };
        reader.catch_up(&*house.pair.store).await;
        reader
    }

    async fn catch_up(&mut self, store: &dyn Store) {
        loop {
            let page = store.read(&Tenant::MAIN, self.conversation, self.cursor.seen(), 7).await.unwrap();
            if page.is_empty() {
                return;
            }
            for record in page {
                assert_eq!(self.cursor.accept(record.seq), Seen::Next, "the store has no gaps");
                self.shown.push(record.seq);
            }
        }
    }

    async fn take(&mut self, store: &dyn Store, taken: Result<Arc<Record>, Missed>) {
        match taken {
            Err(Missed::Closed) => panic!("the bus is open"),
            Err(Missed::Lagged { .. }) => self.catch_up(store).await,
            Ok(record) => match self.cursor.accept(record.seq) {
                Seen::Next => self.shown.push(record.seq),
                Seen::Old => {}
                Seen::Gap { .. } => {
                    self.catch_up(store).await;
                    let now = self.cursor.accept(record.seq);
                    assert_eq!(now, Seen::Old, "it was in the store before it was carried");
                }
            },
        }
    }

    /// Takes up to `count` records that are there now.
    async fn follow(&mut self, store: &dyn Store, count: usize) {
        for _ in 0..count {
            let Some(taken) = self.feed.try_next() else { return };
            self.take(store, taken).await;
        }
    }

    /// Follows the bus, and nothing else, until it has seen record `last`.
    async fn follow_to(&mut self, store: &dyn Store, last: u64) {
        while self.cursor.seen() < last {
            let taken = tokio::time::timeout(SOON, self.feed.next()).await.expect("the rest comes, or word of a hole");
            self.take(store, taken).await;
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

async fn play(pair: Pair, base: u128, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut house = House { pair, base, late: Vec::new(), next: 0 };
    let mut readers: Vec<Reader> = Vec::new();
    for step in steps {
        match step {
            Step::Append { which, count } => house.append(which, count).await,
            Step::Relay => house.relay().await,
            Step::Join { which } => readers.push(Reader::join(&house, which).await),
            Step::Follow { reader, count } => {
                if let Some(reader) = readers.get_mut(reader) {
                    reader.follow(&*house.pair.store, count).await;
                }
            }
        }
    }
    house.relay().await;
    for reader in &mut readers {
        let state = house.pair.store.summary(&Tenant::MAIN, reader.conversation).await.unwrap();
        let last = state.map_or(0, |state| state.last_seq);
        reader.follow_to(&*house.pair.store, last).await;
        prop_assert_eq!(&reader.shown, &(1..=last).collect::<Vec<_>>(), "each once, in order, and all of them");
    }
    Ok(())
}

/// Plays `cases` drawn stories; `make` gives the pair of each.
pub(crate) fn history_and_the_live_feed_join(
    runtime: &tokio::runtime::Runtime,
    cases: u32,
    mut make: impl AsyncFnMut() -> Pair,
) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut base = 0;
    let make = std::cell::RefCell::new(move || {
        base += 1;
        (base, runtime.block_on(make()))
    });
    let story = prop::collection::vec(step(), 1..40);
    let result = TestRunner::new(config).run(&story, |steps| {
        let (base, pair) = (make.borrow_mut())();
        runtime.block_on(play(pair, base, steps))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
