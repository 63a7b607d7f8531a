//! From the store's outbox to the broker: what is committed is carried, in order, until the broker has confirmed it.

use std::sync::Arc;

use ark_bus::{Answer, Bus, Outbox, Relay, Stretch};
use ark_store::Store;
use tokio::sync::Notify;

pub use ark_bus::RelayStats;

use super::shards::OwnShards;

/// Rows of the outbox in one go; a row holds a stretch of one conversation.
const ROWS: usize = 256;

/// The outbox of the shards whose lease this gateway has.
struct OfOwnShards {
    store: Arc<dyn Store>,
    own: Arc<OwnShards>,
}

impl Outbox for OfOwnShards {
    fn page(&self, without: Vec<u64>) -> Answer<'_, Result<Vec<Stretch>, String>> {
        Box::pin(async move {
            let shards = self.own.held();
            // To the store, no shard means every shard.
            if shards.is_empty() {
                return Ok(Vec::new());
            }
            let rows = self.store.outbox(&shards, &without, ROWS).await.map_err(|error| error.to_string())?;
            // A lease may have gone while it was read: its new holder carries the rest.
            let held = rows.into_iter().filter(|row| self.own.holds(row.shard));
            let stretch = |row: ark_store::Outgoing| Stretch {
                row: row.row,
                records: row.records.into_iter().map(Arc::new).collect(),
            };
            Ok(held.map(stretch).collect())
        })
    }

    fn done(&self, rows: Vec<u64>) -> Answer<'_, Result<(), String>> {
        Box::pin(async move { self.store.outbox_done(rows).await.map_err(|error| error.to_string()) })
    }
}

/// Carries the outbox of this gateway's shards to the bus; `wake` tells that there is something.
pub fn relay(
    store: &Arc<dyn Store>,
    bus: &Arc<dyn Bus>,
    own: &Arc<OwnShards>,
    wake: Arc<Notify>,
    stats: &Arc<RelayStats>,
) -> Relay {
    let outbox = Arc::new(OfOwnShards { store: Arc::clone(store), own: Arc::clone(own) });
    Relay { outbox, bus: Arc::clone(bus), wake, stats: Arc::clone(stats) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use ark_bus::{EmbeddedBus, Filter};
    use ark_conversation::samples;
    use ark_conversation::{CloudEvent, ConversationId, NewEvent, Tenant};
    use ark_store::{Options, SqliteStore};
    use tokio::sync::watch;

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
        let relay = relay(&store, &bus, &own, Arc::clone(&wake), &stats);
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
