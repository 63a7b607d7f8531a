//! The relay: from an outbox of committed records to the bus, in order, until the carrier has confirmed them.
//!
//! It reads ahead: while stretches are on their way the next ones are read, and rows that were confirmed are forgotten
//! many at a time. A record may be carried twice (after a crash, after an error), and readers tell by its `seq`; one that
//! is not confirmed is never forgotten.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_conversation::Record;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::limits::{
    RELAY_AHEAD_RECORDS, RELAY_FORGET_AFTER, RELAY_FORGET_ROWS, RELAY_PAUSE_MAX, RELAY_PAUSE_MIN, RELAY_POLL,
};
use crate::{Answer, Bus, BusError, Receipt};

/// A row of an outbox: a stretch of one conversation's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Its number.
    pub row: u64,
    /// Its records, in order.
    pub records: Vec<Arc<Record>>,
}

/// Committed records that are yet to be carried.
pub trait Outbox: Send + Sync + 'static {
    /// The oldest rows that this relay may carry, without those of these numbers (they are under way), in order; as many
    /// as make a page. Empty: there are none now.
    ///
    /// # Errors
    /// In words, why it cannot be read.
    fn page(&self, without: Vec<u64>) -> Answer<'_, Result<Vec<Stretch>, String>>;

    /// Forgets rows: the carrier has confirmed them. Rows that are gone already are no error.
    ///
    /// # Errors
    /// In words, why they cannot be forgotten.
    fn done(&self, rows: Vec<u64>) -> Answer<'_, Result<(), String>>;
}

/// Numbers of a relay, for metrics.
#[derive(Debug, Default)]
pub struct RelayStats {
    /// Events that the carrier has confirmed.
    pub relayed: AtomicU64,
    /// Times that something failed and was tried again.
    pub retries: AtomicU64,
}

/// Carries an outbox.
pub struct Relay {
    /// What is to be carried.
    pub outbox: Arc<dyn Outbox>,
    /// Where to.
    pub bus: Arc<dyn Bus>,
    /// Woken when there is something.
    pub wake: Arc<Notify>,
    /// Its numbers.
    pub stats: Arc<RelayStats>,
}

type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = Result<Vec<Stretch>, String>;
type Marked = (Vec<u64>, Result<(), String>);

/// A page that was handed over and is not confirmed.
struct Batch {
    rows: Vec<u64>,
    events: u64,
    carried: Doing<Result<(), BusError>>,
}

/// Where a relay is.
struct Work {
    relay: Relay,
    /// Rows that are under way, or confirmed and not yet forgotten.
    flying: HashSet<u64>,
    batches: VecDeque<Batch>,
    /// Events in the batches.
    ahead: u64,
    /// Confirmed, and to be forgotten.
    done: Vec<u64>,
    /// When they are forgotten at the latest: each time is a commit of the store's.
    forget_at: Option<Instant>,
    /// There may be something to read.
    hungry: bool,
    /// A batch was given up: what went behind it goes again, so that the order holds.
    failed: bool,
    pause: Duration,
    rest_until: Option<Instant>,
}

impl Relay {
    /// Carries until told to stop, then until nothing waits or something fails.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let (flying, batches, done) = (HashSet::new(), VecDeque::new(), Vec::new());
        let (ahead, hungry, failed, pause) = (0, true, false, RELAY_PAUSE_MIN);
        let (forget_at, rest_until) = (None, None);
        Work { relay: self, flying, batches, ahead, done, forget_at, hungry, failed, pause, rest_until }
            .run(stop)
            .await;
    }
}

impl Work {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (outbox, wake) = (Arc::clone(&self.relay.outbox), Arc::clone(&self.relay.wake));
        let mut reading: Option<Doing<Read>> = None;
        let mut marking: Option<Doing<Marked>> = None;
        // Whoever would tell is gone: that tells it too.
        let mut stopping = *stop.borrow();
        loop {
            if reading.is_none() && self.reads() {
                let (outbox, without) = (Arc::clone(&outbox), self.flying.iter().copied().collect());
                reading = Some(Box::pin(async move { outbox.page(without).await }));
            }
            if marking.is_none() && self.forgets(stopping) {
                self.forget_at = None;
                let (outbox, rows) = (Arc::clone(&outbox), std::mem::take(&mut self.done));
                marking = Some(Box::pin(async move {
                    let marked = outbox.done(rows.clone()).await;
                    (rows, marked)
                }));
            }
            let idle = reading.is_none() && marking.is_none() && self.batches.is_empty() && self.done.is_empty();
            if stopping && idle && !self.hungry {
                return;
            }
            let waits = !self.hungry && reading.is_none();
            let failed = tokio::select! {
                page = running(&mut reading) => { reading = None; self.take(page) }
                marked = running(&mut marking) => { marking = None; self.marked(marked) }
                carried = first(&mut self.batches) => self.settle(carried),
                () = wake.notified(), if waits => { self.hungry = true; Ok(()) }
                () = tokio::time::sleep(RELAY_POLL), if waits => { self.hungry = true; Ok(()) }
                () = until(self.forget_at), if marking.is_none() => { self.forget_at = None; Ok(()) }
                () = until(self.rest_until), if self.rest_until.is_some() => { self.rest_until = None; Ok(()) }
                _ = stop.wait_for(|stop| *stop), if !stopping => { (stopping, self.hungry) = (true, true); Ok(()) }
            };
            if let Err(error) = failed {
                // It was read as if what failed were under way.
                reading = None;
                self.rest(&error);
                if stopping {
                    return;
                }
            }
        }
    }

    /// Whether the next page may be read now.
    const fn reads(&self) -> bool {
        self.hungry && !self.failed && self.rest_until.is_none() && self.ahead < RELAY_AHEAD_RECORDS
    }

    /// Whether what is confirmed is forgotten now.
    fn forgets(&self, stopping: bool) -> bool {
        let due = stopping || self.forget_at.is_none() || self.done.len() >= RELAY_FORGET_ROWS;
        due && !self.done.is_empty() && self.rest_until.is_none()
    }

    /// Hands a page over.
    fn take(&mut self, page: Read) -> Result<(), String> {
        let page = page?;
        // A short page is followed by a look when the batch is confirmed, or at the next wake-up.
        self.hungry = page.len() >= PAGE_FULL;
        if page.is_empty() || self.failed {
            return Ok(());
        }
        let rows: Vec<u64> = page.iter().map(|stretch| stretch.row).collect();
        let records: Vec<Arc<Record>> = page.into_iter().flat_map(|stretch| stretch.records).collect();
        let events = records.len() as u64;
        let carried = carry(&*self.relay.bus, records).map_err(|error| error.to_string())?;
        self.flying.extend(&rows);
        self.ahead += events;
        self.batches.push_back(Batch { rows, events, carried });
        Ok(())
    }

    /// The oldest batch is confirmed, or given up.
    fn settle(&mut self, carried: Result<(), BusError>) -> Result<(), String> {
        let Some(batch) = self.batches.pop_front() else { return Ok(()) };
        self.ahead -= batch.events;
        self.hungry = true;
        self.failed |= carried.is_err();
        if self.failed {
            batch.rows.iter().for_each(|row| _ = self.flying.remove(row));
            // What went behind it is let out of hand first.
            self.failed = !self.batches.is_empty();
        } else {
            if self.done.is_empty() {
                self.forget_at = Some(Instant::now() + RELAY_FORGET_AFTER);
            }
            self.done.extend(batch.rows);
            self.pause = RELAY_PAUSE_MIN;
            self.relay.stats.relayed.fetch_add(batch.events, Ordering::Relaxed);
        }
        carried.map_err(|error| error.to_string())
    }

    /// Rows are forgotten, or stay to be.
    fn marked(&mut self, (rows, marked): Marked) -> Result<(), String> {
        match marked {
            Ok(()) => {
                rows.iter().for_each(|row| _ = self.flying.remove(row));
                Ok(())
            }
            Err(error) => {
                self.done.extend(rows);
                Err(error)
            }
        }
    }

    /// After an error: a pause, before anything is read or forgotten again.
    fn rest(&mut self, error: &str) {
        if self.relay.stats.retries.fetch_add(1, Ordering::Relaxed) == 0 || self.pause == RELAY_PAUSE_MIN {
            tracing::warn!(error, "committed events wait in the outbox");
        }
        self.hungry = true;
        self.rest_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RELAY_PAUSE_MAX);
    }
}

/// Rows after which a page is taken for full: there is more behind it.
const PAGE_FULL: usize = 64;

/// Hands records over; the future tells when the carrier has all of them. One that no carrier takes must not hold up those
/// behind it: readers find it in the store.
fn carry(bus: &dyn Bus, records: Vec<Arc<Record>>) -> Result<Doing<Result<(), BusError>>, BusError> {
    let receipts: Vec<Receipt> = match bus.carry(records.clone()) {
        Ok(receipt) => return Ok(Box::pin(receipt)),
        Err(BusError::TooLarge { .. }) => {
            let mut receipts = Vec::with_capacity(records.len());
            for record in records {
                let (conversation, seq) = (record.conversation, record.seq);
                match bus.carry(vec![record]) {
                    Ok(receipt) => receipts.push(receipt),
                    Err(error @ BusError::TooLarge { .. }) => {
                        tracing::error!(%conversation, seq, %error, "an event is not carried");
                    }
                    Err(error) => return Err(error),
                }
            }
            receipts
        }
        Err(error) => return Err(error),
    };
    Ok(Box::pin(async move {
        for receipt in receipts {
            receipt.await?;
        }
        Ok(())
    }))
}

/// What is under way; for ever, when nothing is.
async fn running<T>(doing: &mut Option<Doing<T>>) -> T {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

async fn first(batches: &mut VecDeque<Batch>) -> Result<(), BusError> {
    match batches.front_mut() {
        Some(batch) => (&mut batch.carried).await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use ark_conversation::samples::{ended, new_event};
    use ark_conversation::{ConversationId, LegId};

    use super::*;
    use crate::{BusHealth, DeadLetter, Filter, Ingress, Shard, Subscription, WakeUp, Which};

    /// An outbox in memory, and a carrier that keeps its receipts until it is told.
    #[derive(Default)]
    struct Both {
        rows: Mutex<BTreeMap<u64, Stretch>>,
        carried: Mutex<Vec<(Vec<u64>, Vec<crate::receipt::Stub>)>>,
        news: Notify,
        refuse: Mutex<Option<BusError>>,
    }

    impl Both {
        fn put(&self, rows: std::ops::Range<u64>) {
            let record =
                |row| Arc::new(new_event(ConversationId::new(1, 1), row, ended(LegId(1)).into()).into_record(row + 1));
            self.rows.lock().unwrap().extend(rows.map(|row| (row, Stretch { row, records: vec![record(row)] })));
        }

        async fn until<T>(&self, mut what: impl FnMut(&Self) -> Option<T>) -> T {
            loop {
                let news = self.news.notified();
                if let Some(found) = what(self) {
                    return found;
                }
                tokio::time::timeout(Duration::from_secs(20), news).await.expect("it comes");
            }
        }

        fn seqs(&self) -> Vec<u64> {
            self.carried.lock().unwrap().iter().flat_map(|(seqs, _)| seqs).copied().collect()
        }
    }

    impl Outbox for Both {
        fn page(&self, without: Vec<u64>) -> Answer<'_, Read> {
            let rows = self.rows.lock().unwrap();
            let page: Vec<Stretch> =
                rows.values().filter(|one| !without.contains(&one.row)).take(PAGE_FULL).cloned().collect();
            Box::pin(std::future::ready(Ok(page)))
        }

        fn done(&self, done: Vec<u64>) -> Answer<'_, Result<(), String>> {
            self.rows.lock().unwrap().retain(|row, _| !done.contains(row));
            self.news.notify_one();
            Box::pin(std::future::ready(Ok(())))
        }
    }

    impl Bus for Both {
        fn carry(&self, records: Vec<Arc<Record>>) -> Result<Receipt, BusError> {
            if let Some(error) = self.refuse.lock().unwrap().take() {
                self.news.notify_one();
                return Err(error);
            }
            let (receipt, stubs) = Receipt::of(records.len());
            self.carried.lock().unwrap().push((records.iter().map(|record| record.seq).collect(), stubs));
            self.news.notify_one();
            Ok(receipt)
        }

        fn wake(&self, _: WakeUp) -> Result<Receipt, BusError> {
            Err(BusError::Closed)
        }

        fn subscribe(&self, _: Filter) -> Answer<'_, Result<Subscription, BusError>> {
            Box::pin(std::future::ready(Err(BusError::Closed)))
        }

        fn ingress(&self, _: Vec<Shard>) -> Result<Ingress, BusError> {
            Err(BusError::Closed)
        }

        fn announce(&self, _: Vec<ark_conversation::LiveEvent>) {}

        fn overhear(&self) -> Result<crate::Overheard, BusError> {
            Err(BusError::Closed)
        }

        fn shards(&self) -> u16 {
            1
        }

        fn dead(&self, _: usize) -> Answer<'_, Result<Vec<DeadLetter>, BusError>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn replay(&self, _: Which) -> Answer<'_, Result<usize, BusError>> {
            Box::pin(std::future::ready(Ok(0)))
        }

        fn health(&self) -> Answer<'_, BusHealth> {
            Box::pin(std::future::ready(BusHealth::default()))
        }
    }

    fn start(both: &Arc<Both>) -> (watch::Sender<bool>, Arc<RelayStats>, tokio::task::JoinHandle<()>) {
        let (stop, stopped) = watch::channel(false);
        let stats = Arc::new(RelayStats::default());
        let relay = Relay {
            outbox: Arc::clone(both) as Arc<dyn Outbox>,
            bus: Arc::clone(both) as Arc<dyn Bus>,
            wake: Arc::default(),
            stats: Arc::clone(&stats),
        };
        (stop, stats, tokio::spawn(relay.run(stopped)))
    }

    #[tokio::test]
    async fn it_reads_on_while_nothing_is_confirmed_and_forgets_what_is() {
        let both = Arc::new(Both::default());
        both.put(0..200);
        let (stop, stats, relaying) = start(&both);
        both.until(|both| (both.seqs().len() == 200).then_some(())).await;
        assert!(both.carried.lock().unwrap().len() > 1, "the next page went before the first was confirmed");
        assert_eq!(both.rows.lock().unwrap().len(), 200, "nothing is forgotten that is not confirmed");
        assert_eq!(both.seqs(), (1..=200).collect::<Vec<_>>(), "in order, once");
        for (_, stubs) in std::mem::take(&mut *both.carried.lock().unwrap()) {
            stubs.into_iter().for_each(crate::receipt::Stub::carried);
        }
        both.until(|both| both.rows.lock().unwrap().is_empty().then_some(())).await;
        stop.send_replace(true);
        relaying.await.unwrap();
        assert_eq!(stats.relayed.load(Ordering::Relaxed), 200);
    }

    #[tokio::test]
    async fn what_is_given_up_goes_again_with_all_that_went_behind_it() {
        let both = Arc::new(Both::default());
        both.put(0..150);
        let (stop, stats, relaying) = start(&both);
        both.until(|both| (both.seqs().len() == 150).then_some(())).await;
        let mut batches = std::mem::take(&mut *both.carried.lock().unwrap()).into_iter();
        let (first, stubs) = batches.next().unwrap();
        stubs.into_iter().for_each(crate::receipt::Stub::carried);
        let (_, stubs) = batches.next().unwrap();
        stubs.into_iter().for_each(|stub| stub.failed(BusError::Closed));
        for (_, stubs) in batches {
            stubs.into_iter().for_each(crate::receipt::Stub::carried);
        }
        let after: Vec<u64> = (first.len() as u64 + 1..=150).collect();
        both.until(|both| (both.seqs().len() >= after.len()).then_some(())).await;
        assert_eq!(both.seqs(), after, "in order again");
        assert!(stats.retries.load(Ordering::Relaxed) >= 1);
        // What is offered once more is refused: whether it is depends on what the relay hears of first.
        *both.refuse.lock().unwrap() = Some(BusError::Closed);
        drop(std::mem::take(&mut *both.carried.lock().unwrap()));
        stop.send_replace(true);
        relaying.await.unwrap();
        assert!(!both.rows.lock().unwrap().is_empty(), "an end with errors forgets nothing");
    }

    #[tokio::test]
    async fn a_full_carrier_is_offered_it_again() {
        let both = Arc::new(Both::default());
        both.put(0..10);
        *both.refuse.lock().unwrap() = Some(BusError::Full { waiting: 1 });
        let (stop, _, relaying) = start(&both);
        both.until(|both| (both.seqs().len() == 10).then_some(())).await;
        for (_, stubs) in std::mem::take(&mut *both.carried.lock().unwrap()) {
            stubs.into_iter().for_each(crate::receipt::Stub::carried);
        }
        stop.send_replace(true);
        relaying.await.unwrap();
        assert!(both.rows.lock().unwrap().is_empty(), "the end waits for what is under way");
    }
}
