//! The log direction, read: one queue of this gateway for the shards in which it has readers, given to them here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use ark_conversation::Record;

use super::link::{Link, Live};
use super::{Shared, connect, wire};
use crate::limits::{BIND_TIMEOUT, COMMAND_TIMEOUT, GATEWAY_QUEUE_RECORDS, LAG_CHECK};
use crate::topology::{EVENTS, GATEWAYS, Queue, Topology};
use crate::{Answer, BusError, Feed, Missed, Shard, Subscription};

/// Records that may be under way to this process unacknowledged.
const PREFETCH: u16 = 512;
/// Records that are given to the readers and acknowledged in one go.
const BATCH: usize = 256;
/// A look at the queue that comes this late tells that the process stood still: records may be lost.
const STOOD_STILL: Duration = Duration::from_secs(4);

/// In which shards there are readers; `None` is all of them.
#[derive(Default)]
pub(super) struct Interest {
    wanted: Mutex<Wanted>,
    changed: Notify,
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Wanted {
    counts: HashMap<Option<Shard>, usize>,
    /// Counts up with each change.
    version: u64,
    /// Readers of these gave up waiting for the broker: once it routes to them they are told of a hole.
    owed: HashSet<Option<Shard>>,
}

impl Interest {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more reader.
    pub(super) fn add(self: &Arc<Self>, shard: Option<Shard>) -> (Interested, u64) {
        let mut wanted = self.lock();
        let count = wanted.counts.entry(shard).or_default();
        *count += 1;
        if *count == 1 {
            wanted.version += 1;
            self.changed.notify_one();
        }
        let version = wanted.version;
        drop(wanted);
        (Interested { interest: Arc::clone(self), shard }, version)
    }

    /// Waits until the broker routes as wanted in that version; after [`BIND_TIMEOUT`] the readers of `shard` are owed
    /// word of a hole instead.
    pub(super) async fn wait(&self, shard: Option<Shard>, version: u64) {
        let mut done = self.done.subscribe();
        let in_time = tokio::time::timeout(BIND_TIMEOUT, done.wait_for(|done| *done >= version)).await.is_ok();
        let mut wanted = self.lock();
        if !in_time && *done.borrow() < version {
            wanted.owed.insert(shard);
        }
    }
}

/// One reader's part of the interest.
pub(super) struct Interested {
    interest: Arc<Interest>,
    shard: Option<Shard>,
}

impl Drop for Interested {
    fn drop(&mut self) {
        let mut wanted = self.interest.lock();
        if let Some(count) = wanted.counts.get_mut(&self.shard) {
            *count -= 1;
            if *count == 0 {
                wanted.counts.remove(&self.shard);
                wanted.version += 1;
                self.interest.changed.notify_one();
            }
        }
    }
}

/// A reader here, and its part of the interest.
pub(super) struct RabbitFeed {
    pub(super) local: Subscription,
    pub(super) _interested: Interested,
}

impl Feed for RabbitFeed {
    fn next(&mut self) -> Answer<'_, Result<Arc<Record>, Missed>> {
        Box::pin(self.local.next())
    }

    fn try_next(&mut self) -> Option<Result<Arc<Record>, Missed>> {
        self.local.try_next()
    }
}

/// The task that reads this gateway's queues.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Link,
    pub(super) commands: tokio::sync::mpsc::Sender<Vec<u8>>,
}

/// One generation of this gateway's queues.
struct Queues {
    channel: Channel,
    records: Consumer,
    commands: Consumer,
    name: String,
    bound: HashSet<Option<Shard>>,
}

impl Reader {
    /// Runs until the bus is closed.
    pub(super) async fn run(mut self) {
        let mut incarnation = 0_u64;
        while let Some(live) = self.link.up().await {
            incarnation += 1;
            let (mut link, mut gone) = (self.link.clone(), self.link.clone());
            let read = async {
                let queues = self.open(&live, incarnation).await?;
                self.read(&live, queues).await
            };
            tokio::select! {
                ended = read => {
                    // The channel only: it is made anew on the same connection, unless that does not answer.
                    let Err(error) = ended;
                    tracing::warn!(%error, "this gateway's queue is made anew");
                    let dead = matches!(error, BusError::Unreachable { .. }) || !live.connection.status().connected();
                    if dead || self.shared.prepare(&live.broker, &live.connection).await.is_err() {
                        link.report_dead(live.generation);
                        link.gone(live.generation).await;
                    }
                }
                () = gone.gone(live.generation) => {}
            }
        }
    }

    async fn open(&self, live: &Live, incarnation: u64) -> Result<Queues, BusError> {
        let channel = connect::channel(&live.broker, &live.connection).await?;
        // A name of its own each time: the old queue may live until the broker misses its heartbeats.
        let instance = format!("{}-{incarnation}", self.shared.instance);
        let [records, commands, _] = Topology::gateway_queues(&self.shared.gateway, &instance)
            .map_err(|error| BusError::Config(error.to_string()))?;
        let qos = channel.basic_qos(PREFETCH, BasicQosOptions { global: false });
        connect::timed(&live.broker, COMMAND_TIMEOUT, qos).await?;
        for queue in [&records, &commands] {
            connect::declare_queue(&live.broker, &channel, queue).await?;
        }
        bind(live, &channel, &commands.name, GATEWAYS, &self.shared.gateway).await?;
        let records_in = consume(live, &channel, &records).await?;
        let commands_in = consume(live, &channel, &commands).await?;
        let mut queues =
            Queues { channel, records: records_in, commands: commands_in, name: records.name, bound: HashSet::new() };
        self.reconcile(live, &mut queues, true).await?;
        Ok(queues)
    }

    /// Makes the broker route what is wanted, and no more. With a new queue everybody is told of a hole.
    async fn reconcile(&self, live: &Live, queues: &mut Queues, new: bool) -> Result<(), BusError> {
        let (wanted, version, owed) = {
            let mut wanted = self.shared.interest.lock();
            let keys: HashSet<Option<Shard>> = wanted.counts.keys().copied().collect();
            (keys, wanted.version, std::mem::take(&mut wanted.owed))
        };
        for &shard in wanted.difference(&queues.bound) {
            bind(live, &queues.channel, &queues.name, EVENTS, &pattern(shard)).await?;
        }
        for &shard in queues.bound.difference(&wanted) {
            let key = pattern(shard);
            let unbind = queues.channel.queue_unbind(
                queues.name.as_str().into(),
                EVENTS.into(),
                key.as_str().into(),
                FieldTable::default(),
            );
            connect::timed(&live.broker, COMMAND_TIMEOUT, unbind).await?;
        }
        queues.bound = wanted;
        if new {
            self.shared.local.tell_of_a_hole(None, self.shared.shards);
        } else {
            owed.into_iter().for_each(|shard| self.shared.local.tell_of_a_hole(shard, self.shared.shards));
        }
        let late = {
            let mut wanted = self.shared.interest.lock();
            self.shared.interest.done.send_replace(version);
            // Whoever gave up between the look above and this one.
            if wanted.version == version { std::mem::take(&mut wanted.owed) } else { HashSet::new() }
        };
        late.into_iter().for_each(|shard| self.shared.local.tell_of_a_hole(shard, self.shared.shards));
        Ok(())
    }

    async fn read(&self, live: &Live, mut queues: Queues) -> Result<std::convert::Infallible, BusError> {
        let mut look = tokio::time::interval(LAG_CHECK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                delivery = queues.records.next() => self.give(delivery, &mut queues.records, live).await?,
                command = queues.commands.next() => self.command(command, live).await?,
                () = self.shared.interest.changed.notified() => self.reconcile(live, &mut queues, false).await?,
                _ = look.tick() => {
                    let late = looked.elapsed() > LAG_CHECK + STOOD_STILL;
                    self.look(live, &queues, late).await?;
                    looked = Instant::now();
                }
            }
        }
    }

    /// Gives what has come to the readers, then acknowledges all of it at once.
    async fn give(
        &self,
        first: Option<lapin::Result<Delivery>>,
        records: &mut Consumer,
        live: &Live,
    ) -> Result<(), BusError> {
        let mut last = delivery(first, live)?;
        let mut batch = Vec::new();
        loop {
            self.read_record(&last, &mut batch);
            if batch.len() >= BATCH {
                break;
            }
            let Some(next) = records.next().now_or_never() else { break };
            last = delivery(next, live)?;
        }
        if !batch.is_empty() {
            let _ = self.shared.local.publish_now(&batch);
        }
        let acknowledged = last.acker.ack(BasicAckOptions { multiple: true }).await;
        acknowledged.map(drop).map_err(|error| connect::explain(&error, &live.broker))
    }

    fn read_record(&self, delivery: &Delivery, batch: &mut Vec<Arc<Record>>) {
        // This gateway's own readers had it before the broker.
        if delivery.properties.app_id().as_ref().is_some_and(|from| from.as_str() == self.shared.from) {
            return;
        }
        match wire::read_record(&delivery.data) {
            Some(record) => batch.push(record),
            None => {
                self.shared.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(key = %delivery.routing_key, "a record that this Ark cannot read; readers find it in the store");
                let shard = delivery.routing_key.as_str().split('.').next().and_then(Shard::parse);
                self.shared.local.tell_of_a_hole(shard, self.shared.shards);
            }
        }
    }

    async fn command(&self, command: Option<lapin::Result<Delivery>>, live: &Live) -> Result<(), BusError> {
        let command = delivery(command, live)?;
        // Nobody listens, or not fast enough: commands may be lost.
        let _ = self.commands.try_send(command.data);
        let acknowledged = command.acker.ack(BasicAckOptions::default()).await;
        acknowledged.map(drop).map_err(|error| connect::explain(&error, &live.broker))
    }

    /// When the queue has grown far, or this process stood still, what waits there is dropped and the readers are sent
    /// to the store, which has it all: better than losing the oldest without a word.
    async fn look(&self, live: &Live, queues: &Queues, late: bool) -> Result<(), BusError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declare = queues.channel.queue_declare(queues.name.as_str().into(), passive, FieldTable::default());
        let depth = connect::timed(&live.broker, COMMAND_TIMEOUT, declare).await?.message_count();
        if !late && depth < GATEWAY_QUEUE_RECORDS / 2 {
            return Ok(());
        }
        tracing::warn!(depth, late, "this gateway did not keep up; its readers go to the store");
        let purge = queues.channel.queue_purge(queues.name.as_str().into(), QueuePurgeOptions::default());
        connect::timed(&live.broker, COMMAND_TIMEOUT, purge).await?;
        self.shared.local.tell_of_a_hole(None, self.shared.shards);
        Ok(())
    }
}

async fn consume(live: &Live, channel: &Channel, queue: &Queue) -> Result<Consumer, BusError> {
    let [name, tag] = [queue.name.as_str(); 2].map(Into::into);
    let consume = channel.basic_consume(name, tag, BasicConsumeOptions::default(), FieldTable::default());
    connect::timed(&live.broker, COMMAND_TIMEOUT, consume).await
}

fn pattern(shard: Option<Shard>) -> String {
    shard.map_or_else(|| "#".to_owned(), |shard| format!("{shard}.#"))
}

async fn bind(live: &Live, channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), BusError> {
    let options = QueueBindOptions::default();
    let bind = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default());
    connect::timed(&live.broker, COMMAND_TIMEOUT, bind).await
}

/// A delivery, or why there are no more.
fn delivery(next: Option<lapin::Result<Delivery>>, live: &Live) -> Result<Delivery, BusError> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(connect::explain(&error, &live.broker)),
        None => Err(BusError::Broker(format!("{}: the queue is gone", live.broker.address()))),
    }
}
