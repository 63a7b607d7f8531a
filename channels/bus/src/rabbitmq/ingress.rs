//! The ingress direction, read: shard queues with manual acknowledgement, made anew with each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, SelectAll};
use lapin::Acker;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, message};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::link::{Link, Live};
use super::stall::{Held, Watch};
use super::{Broker, Shared, connect, wire};
use crate::limits::{COMMAND_TIMEOUT, PREFETCH, STALL_CHECK};
use crate::{Answer, BusError, Delivery, IngressFeed, Settle, Shard, Verdict};

/// Deliveries between the task and its reader; the broker keeps the rest back.
const HAND: usize = 64;

/// A reader's end; dropping it closes the channel.
pub(super) struct RabbitIngress {
    deliveries: mpsc::Receiver<(u64, Delivery)>,
    /// The channel of now: deliveries of an older one are no more this reader's.
    current: Arc<AtomicU64>,
}

impl RabbitIngress {
    pub(super) fn start(shared: Arc<Shared>, link: Link, shards: Vec<Shard>) -> Self {
        let (hand, deliveries) = mpsc::channel(HAND);
        let current = Arc::new(AtomicU64::new(0));
        let watches = shards.iter().map(|&shard| (shard, Watch::default())).collect();
        let task = Task { shared, link, shards, hand, current: Arc::clone(&current), watches };
        tokio::spawn(task.run());
        Self { deliveries, current }
    }
}

impl IngressFeed for RabbitIngress {
    fn next(&mut self) -> Answer<'_, Option<Delivery>> {
        Box::pin(async move {
            loop {
                let (generation, delivery) = self.deliveries.recv().await?;
                if generation == self.current.load(Ordering::Acquire) {
                    return Some(delivery);
                }
            }
        })
    }
}

type Shards = SelectAll<stream::BoxStream<'static, (Shard, Option<lapin::Result<message::Delivery>>)>>;

struct Task {
    shared: Arc<Shared>,
    link: Link,
    shards: Vec<Shard>,
    hand: mpsc::Sender<(u64, Delivery)>,
    current: Arc<AtomicU64>,
    watches: Vec<(Shard, Watch)>,
}

impl Task {
    async fn run(mut self) {
        let hand = self.hand.clone();
        while let Some(live) = tokio::select! { live = self.link.up() => live, () = hand.closed() => None } {
            let mut link = self.link.clone();
            let ended = tokio::select! {
                ended = self.open_and_read(&live) => ended,
                () = link.gone(live.generation) => Ok(()),
                () = hand.closed() => break,
            };
            // Whatever is in a reader's hands from now on is late.
            self.watches.iter_mut().for_each(|(_, watch)| watch.anew(false));
            self.current.fetch_add(1, Ordering::AcqRel);
            let Err(error) = ended else { continue };
            tracing::warn!(%error, "the channel of the shards is made anew");
            if let BusError::Stalled { .. } = error {
                self.shared.counters.stalls.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let dead = matches!(error, BusError::Unreachable { .. }) || !live.connection.status().connected();
            if dead || self.shared.prepare(&live.broker, &live.connection).await.is_err() {
                self.link.report_dead(live.generation);
                self.link.gone(live.generation).await;
            }
        }
        self.current.fetch_add(1, Ordering::AcqRel);
    }

    async fn open_and_read(&mut self, live: &Live) -> Result<(), BusError> {
        let channel = connect::channel(&live.broker, &live.connection).await?;
        // Until the end of this function, also when it is dropped: then the broker gives to the next reader.
        let _closed_at_the_end = CloseAtTheEnd(Some(channel.clone()));
        // Not global: it counts for each shard by itself.
        let qos = channel.basic_qos(PREFETCH, BasicQosOptions { global: false });
        connect::timed(&live.broker, COMMAND_TIMEOUT, qos).await?;
        let mut shards: Shards = SelectAll::new();
        for &shard in &self.shards {
            let queue = self.shared.topology.shard_queue(shard);
            let options = BasicConsumeOptions::default();
            let consume =
                channel.basic_consume(queue.as_str().into(), shard.to_string().into(), options, FieldTable::default());
            let consumer = connect::timed(&live.broker, COMMAND_TIMEOUT, consume).await?;
            let ended = stream::once(std::future::ready((shard, None)));
            shards.push(consumer.map(move |delivery| (shard, Some(delivery))).chain(ended).boxed());
        }
        let generation = self.current.load(Ordering::Acquire);
        let mut checks = tokio::time::interval(STALL_CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset();
        loop {
            let given = tokio::select! {
                biased;
                given = shards.next() => given,
                _ = checks.tick() => {
                    self.look_for_stalls(&live.broker, &channel).await?;
                    continue;
                }
            };
            let Some((shard, delivery)) = given else { return Ok(()) };
            let delivery = match delivery {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Err(connect::explain(&error, &live.broker)),
                None => return Err(BusError::Broker(format!("the queue of shard {shard} is gone"))),
            };
            self.pass_on(shard, delivery, generation).await;
        }
    }

    /// Asks for the shards that give nothing whether messages wait in them.
    async fn look_for_stalls(&mut self, broker: &Broker, channel: &Channel) -> Result<(), BusError> {
        let mut stalled = None;
        for (shard, watch) in &mut self.watches {
            if !watch.tick() {
                continue;
            }
            let queue = self.shared.topology.shard_queue(*shard);
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declare = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
            let messages = connect::timed(broker, COMMAND_TIMEOUT, declare).await?.message_count();
            if watch.waiting(messages) {
                stalled = Some(BusError::Stalled { shard: *shard, messages });
                watch.anew(true);
            }
        }
        stalled.map_or(Ok(()), Err)
    }

    async fn pass_on(&mut self, shard: Shard, delivery: message::Delivery, generation: u64) {
        let held = self.watches.iter_mut().find(|(of, _)| *of == shard).map(|(_, watch)| watch.gave());
        let deliveries = wire::deliveries_before(&delivery.properties) + 1;
        match wire::read_wake_up(&delivery.data) {
            Some(wake_up) => {
                let settle = RabbitSettle {
                    shared: Arc::clone(&self.shared),
                    acker: delivery.acker,
                    generation,
                    current: Arc::clone(&self.current),
                    _held: held,
                };
                let delivery = Delivery::new(wake_up, shard, deliveries, Box::new(settle));
                let _ = self.hand.send((generation, delivery)).await;
            }
            None => {
                self.shared.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%shard, "a wake-up that nobody can read was parked: ark bus dead shows it");
                let _ = delivery.acker.reject(BasicRejectOptions { requeue: false }).await;
            }
        }
    }
}

/// Closes a channel in the background.
pub(super) struct CloseAtTheEnd(pub(super) Option<Channel>);

impl Drop for CloseAtTheEnd {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { tokio::time::timeout(COMMAND_TIMEOUT, channel.close(200, "bye".into())).await });
        }
    }
}

/// Whether the broker's connection took a verdict. One that dies at this moment may answer never: then it did not.
pub(super) async fn taken(saying: impl Future<Output = lapin::Result<bool>>) -> bool {
    matches!(tokio::time::timeout(COMMAND_TIMEOUT, saying).await, Ok(Ok(true)))
}

struct RabbitSettle {
    shared: Arc<Shared>,
    acker: Acker,
    generation: u64,
    current: Arc<AtomicU64>,
    _held: Option<Held>,
}

impl Settle for RabbitSettle {
    fn settle(self: Box<Self>, verdict: Verdict) -> Answer<'static, bool> {
        Box::pin(async move {
            // A tag of an older channel means another message on this one.
            let in_time = self.generation == self.current.load(Ordering::Acquire);
            let saying = async {
                match verdict {
                    Verdict::Ack => self.acker.ack(BasicAckOptions::default()).await,
                    Verdict::Again => self.acker.nack(BasicNackOptions { requeue: true, multiple: false }).await,
                    Verdict::Park => self.acker.reject(BasicRejectOptions { requeue: false }).await,
                }
            };
            let settled = in_time && taken(saying).await;
            if !settled {
                self.shared.counters.late_acks.fetch_add(1, Ordering::Relaxed);
            }
            settled
        })
    }
}
