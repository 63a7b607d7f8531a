//! Seeded attacks: ordinary functions that panic with their seed when an invariant breaks.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use ark_conversation::{ConversationId, ConversationState, Event, NewEvent, Record, Tenant, samples};

use crate::{Appended, ListFilter, Openness, Options, SqliteStore, Store, StoreError};

/// Conversations in play.
const CONVERSATIONS: u64 = 6;
/// A file this small is full now and then.
const SMALL_FILE_BYTES: u64 = 384 * 1024;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What the store must hold: the records by conversation, and by (source, id) where each event is.
#[derive(Default)]
struct Model {
    logs: BTreeMap<ConversationId, Vec<Record>>,
    ids: BTreeMap<(String, String), (ConversationId, u64)>,
}

impl Model {
    /// What the store must answer for an event, and what is in the log afterwards.
    fn append(&mut self, event: NewEvent) -> Appended {
        let key = (event.event.source.clone(), event.event.id.clone());
        if let Some((conversation, seq)) = self.ids.get(&key) {
            let record = self.logs.get(conversation).and_then(|log| log.get(*seq as usize - 1));
            return Appended { record: record.expect("an id that is in the log").clone(), duplicate: true };
        }
        let log = self.logs.entry(event.conversation).or_default();
        let mut record = event.into_record(log.len() as u64 + 1);
        // An epoch never goes back.
        record.epoch = record.epoch.max(log.last().map_or(1, |last| last.epoch));
        self.ids.insert(key, (record.conversation, record.seq));
        log.push(record.clone());
        Appended { record, duplicate: false }
    }

    fn state(&self, conversation: ConversationId) -> Option<ConversationState> {
        let (first, rest) = self.logs.get(&conversation)?.split_first()?;
        let mut state = ConversationState::begin(first);
        for record in rest {
            state.apply(record);
        }
        Some(state)
    }
}

/// A folder that goes with its owner, also when a law breaks.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ark-store-fuzz-{}-{number}-{seed:x}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Random stories (appends in groups, duplicates, reads, lists, reopening, a full file) against a model of the store.
///
/// # Panics
/// With the seed, when the store and the model differ.
pub fn stories(seed: u64, iterations: u64) {
    let mut random = Random(seed);
    let folder = Folder::new(seed);
    let path = folder.0.join("ark.db");
    let small = random.below(4) == 0;
    let open = |bytes_max| {
        let options = Options { bytes_max, ..Options::new(&path) };
        SqliteStore::open_with(&options).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
    };
    let mut store = Some(open(small.then_some(SMALL_FILE_BYTES)));
    let mut model = Model::default();
    let story = samples::story();
    for iteration in 0..iterations {
        let told = format!("seed {seed}, iteration {iteration}");
        let now = store.as_ref().expect("a store is open between iterations");
        match random.below(20) {
            0 => {
                // Without its bound from now on: what did not fit before fits.
                drop(store.take());
                store = Some(open(None));
            }
            1..=3 => look(now, &model, &mut random, &told),
            _ => add(now, &mut model, &mut random, &story, &told),
        }
    }
    let now = store.as_ref().expect("a store is open at the end");
    for conversation in (0..CONVERSATIONS).map(conversation) {
        check(now, &model, conversation, &format!("seed {seed}, at the end"));
    }
}

fn conversation(n: u64) -> ConversationId {
    ConversationId::new(1_000 + n, u128::from(n))
}

/// A few events in one append, some of them duplicates.
fn add(store: &SqliteStore, model: &mut Model, random: &mut Random, story: &[Event], told: &str) {
    let events: Vec<NewEvent> = (0..=random.below(6))
        .map(|_| {
            // Few numbers, so that many come twice: also from another conversation, which must not matter.
            let n = random.below(4_000);
            let event =
                story.get(random.below(story.len() as u64) as usize).expect("an index below the length").clone();
            let mut new = samples::new_event(conversation(n % CONVERSATIONS), n, event);
            new.conversation = conversation(random.below(CONVERSATIONS));
            new.epoch = 1 + random.below(3);
            new
        })
        .collect();
    match wait(store.append(events.clone())) {
        Ok(appended) => {
            let expected: Vec<Appended> = events.into_iter().map(|event| model.append(event)).collect();
            assert!(appended == expected, "{told}: the store answered {appended:#?}, not {expected:#?}");
        }
        // Absent, as the model has it: the next look at the log finds out.
        Err(StoreError::Full { .. }) => {}
        Err(error) => panic!("{told}: {error}"),
    }
}

fn look(store: &SqliteStore, model: &Model, random: &mut Random, told: &str) {
    check(store, model, conversation(random.below(CONVERSATIONS)), told);
    let openness = if random.below(2) == 0 { Openness::Open } else { Openness::Ended };
    let open = openness == Openness::Open;
    let (filter, limit) = (ListFilter { openness, ..ListFilter::default() }, 1 + random.below(8) as usize);
    let page = wait(store.list(&Tenant::MAIN, filter, limit)).unwrap_or_else(|error| panic!("{told}: {error}"));
    let expected: Vec<ConversationState> = (0..CONVERSATIONS)
        .rev()
        .filter_map(|n| model.state(conversation(n)))
        .filter(|state| state.is_open() == open)
        .take(limit)
        .collect();
    assert!(page.conversations == expected, "{told}: listed {:#?}, not {expected:#?}", page.conversations);
}

fn check(store: &SqliteStore, model: &Model, conversation: ConversationId, told: &str) {
    let state = wait(store.summary(&Tenant::MAIN, conversation)).unwrap_or_else(|error| panic!("{told}: {error}"));
    assert!(state == model.state(conversation), "{told}: the state of {conversation} differs: {state:#?}");
    let mut after = 0;
    let expected = model.logs.get(&conversation).map_or(&[][..], Vec::as_slice);
    loop {
        let page =
            wait(store.read(&Tenant::MAIN, conversation, after, 64)).unwrap_or_else(|error| panic!("{told}: {error}"));
        let rest = expected.get(after as usize..).unwrap_or(&[]);
        assert!(page == rest.get(..64).unwrap_or(rest), "{told}: the log of {conversation} after {after} differs");
        if page.is_empty() {
            return;
        }
        after += page.len() as u64;
    }
}

/// Waits for a future on this thread: the answers come from the store's own threads, so no runtime is needed.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn random_stories_agree_with_the_model() {
        for seed in 0..8 {
            super::stories(seed, 60);
        }
    }
}
