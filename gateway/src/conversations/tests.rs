//! The road while its store is away, over a real store behind a switch.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ark_bus::EmbeddedBus;
use ark_conversation::samples;
use ark_store::SqliteStore;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A store that can be away, or let its caller wait.
struct Door {
    store: SqliteStore,
    away: AtomicBool,
    hangs: AtomicBool,
    answers: Notify,
}

impl Append for Door {
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>> {
        if self.away.load(Ordering::Relaxed) {
            let error = StoreError::Away { place: "here".to_owned(), detail: "a test".to_owned() };
            return Box::pin(async move { Err(error) });
        }
        Box::pin(async move {
            while self.hangs.load(Ordering::Relaxed) {
                self.answers.notified().await;
            }
            self.store.append(events).await
        })
    }
}

impl Append for Arc<Door> {
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>> {
        (**self).append(events)
    }
}

struct Rig {
    folder: PathBuf,
    door: Arc<Door>,
    conversations: Vec<ConversationId>,
}

impl Rig {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ark-spool-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let store = SqliteStore::open(folder.join("ark.db")).unwrap();
        let conversations = (1..4).map(|n| ConversationId::new(1_795_516_200_000, n)).collect();
        Self {
            folder,
            door: Arc::new(Door {
                store,
                away: AtomicBool::new(true),
                hangs: AtomicBool::new(false),
                answers: Notify::new(),
            }),
            conversations,
        }
    }

    fn spool(&self, bytes_max: u64) -> Spool {
        Spool::open(self.folder.join("spool"), bytes_max).unwrap()
    }

    async fn start(&self, spool: Spool, queue: usize) -> (LogSink, LogWriter) {
        let onward = Onward::Direct(Arc::new(EmbeddedBus::new()));
        let writer = Writer { tenant: Tenant::MAIN, gateway: "gw1".to_owned() };
        let (spool_after, flush) = (Duration::from_millis(20), Duration::from_millis(100));
        let bounds = Bounds { queue, spool_after, flush };
        start_with(Arc::new(Arc::clone(&self.door)), onward, writer, spool, &bounds).await
    }

    fn away(&self, away: bool) {
        self.door.away.store(away, Ordering::Relaxed);
    }

    /// Events of these numbers, of the three conversations in turn. How many were taken.
    fn push(&self, log: &LogSink, numbers: std::ops::Range<u64>) -> u64 {
        numbers.filter(|n| log.push(self.event(*n))).count() as u64
    }

    fn event(&self, n: u64) -> NewEvent {
        let conversation = self.conversations[usize::try_from(n % 3).unwrap()];
        let story = samples::story();
        samples::new_event(conversation, n, story[0].clone())
    }

    /// The ids in the log of all three, and whether each has its own in order.
    async fn ids(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for conversation in &self.conversations {
            let records = self.door.store.read(&Tenant::MAIN, *conversation, 0, 1_000).await.unwrap();
            all.push(records.into_iter().map(|record| record.event.id).collect());
        }
        all
    }

    fn expected(&self, numbers: std::ops::Range<u64>) -> Vec<Vec<String>> {
        let of = |which: u64| numbers.clone().filter(move |n| n % 3 == which).map(|n| self.event(n).event.id).collect();
        (0..3).map(of).collect()
    }

    async fn gaps(&self) -> Vec<u64> {
        let records = self.door.store.read(&Tenant::MAIN, ConversationId::SYSTEM, 0, 1_000).await.unwrap();
        let gap = |record: Record| match record.event.event {
            Event::LogGap(gap) => Some(gap.dropped_events),
            _ => None,
        };
        records.into_iter().filter_map(gap).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    let mut every = tokio::time::interval(Duration::from_millis(2));
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        every.tick().await;
    }
}

#[tokio::test]
async fn what_happens_while_the_store_is_away_is_in_the_log_in_order_and_once() {
    let rig = Rig::new("away");
    let (log, writer) = rig.start(rig.spool(1 << 20), 256).await;
    let stats = Arc::clone(log.stats());
    assert_eq!(rig.push(&log, 0..100), 100);
    wait_for("they are on disk", || stats.spool_events.load(Ordering::Relaxed) == 100).await;
    // Those that come later wait behind them.
    assert_eq!(rig.push(&log, 100..200), 100);
    wait_for("all are on disk", || stats.spool_events.load(Ordering::Relaxed) == 200).await;
    rig.away(false);
    assert_eq!(rig.push(&log, 200..260), 60);
    wait_for("all are in the log", || stats.committed.load(Ordering::Relaxed) == 260).await;
    wait_for("the spool is empty", || stats.spool_bytes.load(Ordering::Relaxed) == 0).await;
    // The direct road again.
    assert_eq!(rig.push(&log, 260..300), 40);
    drop(log);
    writer.finish().await;
    assert_eq!(rig.ids().await, rig.expected(0..300));
    assert_eq!(rig.gaps().await, Vec::<u64>::new());
    assert_eq!(fs::read_dir(rig.folder.join("spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn beyond_the_bound_events_are_counted_and_one_event_says_so() {
    let rig = Rig::new("full");
    let (log, writer) = rig.start(rig.spool(20_000), 16).await;
    let stats = Arc::clone(log.stats());
    let mut taken = 0;
    for n in 0..400 {
        taken += rig.push(&log, n..n + 1);
        tokio::task::yield_now().await;
    }
    wait_for("something is on disk", || stats.spool_events.load(Ordering::Relaxed) > 0).await;
    let dropped = stats.dropped.load(Ordering::Relaxed);
    assert!(dropped > 0 && taken > 16, "{dropped} dropped, {taken} taken");
    assert!(stats.spool_bytes.load(Ordering::Relaxed) <= 20_000);
    rig.away(false);
    wait_for("all that fitted is in the log, and one more", || stats.committed.load(Ordering::Relaxed) == taken + 1)
        .await;
    drop(log);
    writer.finish().await;
    assert_eq!(rig.gaps().await, [400 - taken]);
    assert_eq!(dropped, 400 - taken);
    assert_eq!(rig.ids().await.iter().map(Vec::len).sum::<usize>() as u64, taken);
}

/// What the store is asked to take goes to disk while it does not answer, and others behind it fit there no more: when it
/// answers, each is in the log in its place.
#[tokio::test]
async fn what_is_on_its_way_to_a_store_that_hangs_is_not_taken_for_what_came_behind_it() {
    let rig = Rig::new("hangs");
    rig.away(false);
    rig.door.hangs.store(true, Ordering::Relaxed);
    let (log, writer) = rig.start(rig.spool(20_000), 256).await;
    let stats = Arc::clone(log.stats());
    assert_eq!(rig.push(&log, 0..10), 10);
    wait_for("the first are on disk", || stats.spool_events.load(Ordering::Relaxed) == 10).await;
    assert_eq!(rig.push(&log, 10..100), 90);
    wait_for("the writer holds the others", || log.queue.capacity() == log.queue.max_capacity()).await;
    assert_eq!(stats.spool_events.load(Ordering::Relaxed), 10, "the spool has no room for them");
    rig.door.hangs.store(false, Ordering::Relaxed);
    rig.door.answers.notify_one();
    wait_for("all are in the log", || stats.committed.load(Ordering::Relaxed) == 100).await;
    drop(log);
    writer.finish().await;
    assert_eq!(rig.ids().await, rig.expected(0..100));
    assert_eq!(stats.dropped.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_leaves_events_in_memory() {
    let rig = Rig::new("nodisk");
    // Its place is taken by a file.
    let spool = rig.spool(1 << 20);
    fs::write(rig.folder.join("spool"), "").unwrap();
    let (log, writer) = rig.start(spool, 256).await;
    let stats = Arc::clone(log.stats());
    assert_eq!(rig.push(&log, 0..200), 200);
    wait_for("the store was asked again", || stats.retries.load(Ordering::Relaxed) > 3).await;
    rig.away(false);
    // Not before: the end waits for the store a moment only.
    wait_for("all are in the log", || stats.committed.load(Ordering::Relaxed) == 200).await;
    drop(log);
    writer.finish().await;
    assert_eq!(rig.ids().await, rig.expected(0..200));
    assert_eq!(stats.dropped.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_the_end_leaves_is_written_at_the_next_start_but_for_a_torn_line() {
    let rig = Rig::new("again");
    let (log, writer) = rig.start(rig.spool(1 << 20), 2_000).await;
    assert_eq!(rig.push(&log, 0..1_200), 1_200);
    drop(log);
    // Not [`LogWriter::finish`], which gives up waiting: the writer itself has to leave.
    tokio::time::timeout(SOON, writer.task)
        .await
        .expect("the end waits for the store as long as it was told to")
        .unwrap();
    assert_eq!(rig.ids().await, vec![Vec::<String>::new(); 3], "the store is away");
    // A crash in the middle of a line.
    let line = spool::encode(&[rig.event(5_000)]).unwrap();
    let file = fs::read_dir(rig.folder.join("spool")).unwrap().next().unwrap().unwrap().path();
    fs::File::options().append(true).open(file).unwrap().write_all(&line[..line.len() / 2]).unwrap();
    // And one start with the store still away.
    let (log, writer) = rig.start(rig.spool(1 << 20), 256).await;
    assert_eq!(rig.push(&log, 1_200..1_230), 30);
    drop(log);
    writer.finish().await;
    rig.away(false);
    let (log, writer) = rig.start(rig.spool(1 << 20), 256).await;
    assert_eq!(rig.ids().await, rig.expected(0..1_230), "before the start is over");
    assert_eq!(log.stats().dropped.load(Ordering::Relaxed), 0);
    drop(log);
    writer.finish().await;
    assert_eq!(rig.gaps().await, Vec::<u64>::new());
}

#[test]
fn a_damaged_line_costs_itself_alone_and_a_file_is_gone_when_it_is_done() {
    let rig = Rig::new("lines");
    let events: Vec<NewEvent> = samples::story()
        .into_iter()
        .zip(0..)
        .map(|(event, n)| samples::new_event(rig.conversations[0], n, event))
        .collect();
    let mut spool = rig.spool(1 << 20);
    let mut lines = spool::encode(&events).unwrap();
    lines[40] ^= 1;
    spool.push(&lines, events.len() as u64).unwrap();
    let head = rig.spool(1 << 20).head(usize::MAX).unwrap();
    assert_eq!((&head.events[..], head.damaged, head.torn), (&events[1..], 1, false));
    assert_eq!(spool.push(&vec![0; 1 << 20], 1).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    let first = spool.head(2).unwrap();
    spool.advance(first.bytes, 3);
    assert_eq!(spool.head(usize::MAX).unwrap().events, events[3..]);
    spool.advance(head.bytes - first.bytes, events.len() as u64 - 3);
    assert!(spool.is_empty() && spool.bytes() == 0 && spool.events() == 0);
}
