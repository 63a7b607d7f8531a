//! From the store's outbox to the broker: what is committed is carried, in order, until the broker has confirmed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_bus::{Bus, BusError};
use ark_conversation::Record;
use ark_store::{Outgoing, Store};
use tokio::sync::{Notify, watch};

use super::shards::OwnShards;

/// Rows of the outbox in one go; a row holds a stretch of one conversation.
const ROWS: usize = 256;
/// How often it is looked for rows that nobody woke the relay for: those of a gateway that is gone, of conversations that
/// another gateway writes to.
const POLL: Duration = Duration::from_millis(500);
/// Pause after something failed, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Numbers of the relay, for metrics.
#[derive(Debug, Default)]
pub struct RelayStats {
    /// Events that the broker has confirmed.
    pub relayed: AtomicU64,
    /// Times that something failed and was tried again.
    pub retries: AtomicU64,
}

/// Carries the outbox of this gateway's shards.
pub struct Relay {
    /// Whose outbox.
    pub store: Arc<dyn Store>,
    /// Where to.
    pub bus: Arc<dyn Bus>,
    /// The shards.
    pub own: Arc<OwnShards>,
    /// Woken when there is something.
    pub wake: Arc<Notify>,
    /// Its numbers.
    pub stats: Arc<RelayStats>,
}

impl Relay {
    /// Carries until told to stop, then until nothing waits.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        // Confirmed, and still in the store.
        let mut done: Vec<u64> = Vec::new();
        loop {
            // Whoever would tell is gone: that tells it too.
            let stopping = *stop.borrow() || stop.has_changed().is_err();
            match self.step(&mut done).await {
                Ok(0) if stopping => return,
                Ok(0) => {
                    pause = PAUSE_MIN;
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(POLL) => {}
                        _ = stop.changed() => {}
                    }
                }
                Ok(events) => {
                    pause = PAUSE_MIN;
                    self.stats.relayed.fetch_add(events, Ordering::Relaxed);
                }
                Err(error) => {
                    if self.stats.retries.fetch_add(1, Ordering::Relaxed) == 0 || pause == PAUSE_MIN {
                        tracing::warn!(%error, "committed events wait in the outbox");
                    }
                    if stopping {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Carries what waits, as much as fits in one go; gives how many events it was.
    async fn step(&self, done: &mut Vec<u64>) -> Result<u64, String> {
        if !done.is_empty() {
            self.store.outbox_done(done.clone()).await.map_err(|error| error.to_string())?;
            done.clear();
        }
        let shards = self.own.held();
        // To the store, no shard means every shard.
        if shards.is_empty() {
            return Ok(0);
        }
        let rows = self.store.outbox(&shards, ROWS).await.map_err(|error| error.to_string())?;
        if rows.is_empty() {
            return Ok(0);
        }
        let numbers: Vec<u64> = rows.iter().map(|row| row.row).collect();
        let events = self.carry(rows).await.map_err(|error| error.to_string())?;
        done.extend(numbers);
        self.store.outbox_done(done.clone()).await.map_err(|error| error.to_string())?;
        done.clear();
        Ok(events)
    }

    async fn carry(&self, rows: Vec<Outgoing>) -> Result<u64, BusError> {
        let records: Vec<Arc<Record>> = rows.into_iter().flat_map(|row| row.records).map(Arc::new).collect();
        let events = records.len() as u64;
        match self.bus.carry(records.clone()) {
            Ok(receipt) => receipt.await?,
            // One that no broker takes must not hold up those behind it: readers find it in the store.
            Err(BusError::TooLarge { .. }) => {
                for record in records {
                    let (conversation, seq) = (record.conversation, record.seq);
                    match self.bus.carry(vec![record]) {
                        Ok(receipt) => receipt.await?,
                        Err(error @ BusError::TooLarge { .. }) => {
                            tracing::error!(%conversation, seq, %error, "an event is not carried");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use ark_bus::{EmbeddedBus, Filter};
    use ark_conversation::samples;
    use ark_conversation::{CloudEvent, ConversationId, NewEvent, Tenant};
    use ark_store::{Options, SqliteStore};

    use super::*;

    fn event(conversation: ConversationId, n: u32) -> NewEvent {
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let event = samples::ringing(ark_conversation::LegId(n), ark_conversation::event::Role::Customer);
        let event = CloudEvent::new(format!("{conversation}-{n}"), "/ark/main/sip/local/1", at, event);
        NewEvent { tenant: Tenant::MAIN, conversation, epoch: 1, at, event }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_outbox_of_own_shards_is_carried_in_order_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("ark-relay-{}", std::process::id()));
        let options = Options { outbox: true, ..Options::new(folder.join("ark.db")) };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with(&options).unwrap());
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let own = Arc::new(OwnShards::new(store.topology()));
        let (ours, theirs) = (ConversationId::new(1, 1), ConversationId::new(1, 2));
        assert_ne!(store.topology().shard(ours), store.topology().shard(theirs));
        own.set(store.topology().shard(ours), true);
        let mut seen = bus.subscribe(Filter::default()).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let (wake, stats) = (Arc::new(Notify::new()), Arc::new(RelayStats::default()));
        let relay = Relay {
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            own: Arc::clone(&own),
            wake: Arc::clone(&wake),
            stats: Arc::clone(&stats),
        };
        let relaying = tokio::spawn(relay.run(stopped));
        store.append(vec![event(theirs, 1), event(ours, 1), event(ours, 2)]).await.unwrap();
        store.append(vec![event(ours, 3)]).await.unwrap();
        wake.notify_one();
        for seq in 1..=3 {
            let record = seen.next().await.unwrap();
            assert_eq!((record.conversation, record.seq), (ours, seq));
        }
        stop.send_replace(true);
        relaying.await.unwrap();
        assert_eq!(stats.relayed.load(Ordering::Relaxed), 3);
        assert_eq!(store.backlog().await.unwrap().outbox, 1, "the other shard's row waits for its owner");
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
