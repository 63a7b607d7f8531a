//! Adapters on the broker: what they bring to `ark.in`, and what is left for them at `ark.out.{adapter}`.
//!
//! Who signed a message is what the broker says: it refuses a `user_id` that is not the user of the connection. A message
//! that was given up and sent again comes from a gateway, which then says in a header whose it was.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, message};
use tokio::sync::mpsc;

use super::address::Broker;
use super::ingress::{CloseAtTheEnd, taken};
use super::link::{Link, Live};
use super::outbox::{OnRefusal, Outgoing, What};
use super::{RabbitBus, Shared, connect, wire};
use crate::limits::{COMMAND_TIMEOUT, INBOUND_PREFETCH, MESSAGE_BYTES_MAX};
use crate::receipt::Receipt;
use crate::topology::{INBOUND, OUTBOUND, check_name};
use crate::{BusError, Shard};

/// Deliveries between the task and its reader; the broker keeps the rest back.
const HAND: usize = 16;

/// A message that an adapter brought to `ark.in`, in the hands of its reader until it is settled.
pub struct Brought {
    /// The broker user that published it, as the broker has checked; none: it did not say, and nobody may be believed.
    pub signer: Option<String>,
    /// The property `message_id`; may be empty.
    pub id: String,
    /// The property `content_type`; may be empty.
    pub content_type: String,
    /// What it says.
    pub body: Arc<Vec<u8>>,
    /// How often it has been given, this time included: from 1.
    pub deliveries: u32,
    place: Place,
}

/// Where a delivery stands on the broker.
struct Place {
    shared: Arc<Shared>,
    acker: Acker,
    generation: u64,
    current: Arc<AtomicU64>,
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Brought({} by {:?}, {} bytes)", self.id, self.signer, self.body.len())
    }
}

impl Place {
    /// A tag of an older channel means another message on this one.
    fn in_time(&self) -> bool {
        self.generation == self.current.load(Ordering::Acquire)
    }

    fn settled(&self, settled: bool) -> bool {
        if !settled {
            self.shared.counters.late_acks.fetch_add(1, Ordering::Relaxed);
        }
        settled
    }
}

impl Brought {
    /// To be called after the commit of what it brought. `false`: too late, it is given again, here or elsewhere.
    pub async fn ack(self) -> bool {
        let acked = self.place.in_time() && taken(self.place.acker.ack(BasicAckOptions::default())).await;
        self.place.settled(acked)
    }

    /// Gives it back to the queue, to be given again.
    pub async fn again(self) -> bool {
        let back = BasicNackOptions { requeue: true, multiple: false };
        let given = self.place.in_time() && taken(self.place.acker.nack(back)).await;
        self.place.settled(given)
    }

    /// Lays it among the dead letters, with the reason, and lets go of it once the broker has it there.
    ///
    /// When that does not come through it is rejected, and the broker lays it there itself, without the reason.
    pub async fn park(self, why: &str) -> bool {
        if !self.place.in_time() {
            return self.place.settled(false);
        }
        if self.body.len() <= MESSAGE_BYTES_MAX && self.lay_down(why).await.is_ok() {
            return self.ack().await;
        }
        let rejected = taken(self.place.acker.reject(BasicRejectOptions { requeue: false })).await;
        self.place.settled(rejected)
    }

    async fn lay_down(&self, why: &str) -> Result<(), BusError> {
        let parked = Parked {
            id: self.id.clone(),
            signer: self.signer.clone(),
            content_type: self.content_type.clone(),
            why: why.to_owned(),
            unix_s: Timestamp::now().as_second(),
        };
        let what = What::Parked(Box::new(parked));
        let receipt = put(&self.place.shared, what, Arc::clone(&self.body), OnRefusal::Say)?;
        match tokio::time::timeout(COMMAND_TIMEOUT, receipt).await {
            Ok(done) => done,
            Err(_) => Err(BusError::Unreachable { detail: format!("no confirm within {COMMAND_TIMEOUT:?}") }),
        }
    }
}

/// A message of an adapter that was given up, beside its body.
pub(super) struct Parked {
    pub(super) id: String,
    pub(super) signer: Option<String>,
    pub(super) content_type: String,
    pub(super) why: String,
    pub(super) unix_s: i64,
}

/// A message for an adapter, beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForAdapter {
    /// The adapter's queue is `ark.out.{adapter}`.
    pub adapter: String,
    /// The event's id: the property `message_id`.
    pub id: String,
    /// The event's type: the property `type`.
    pub kind: String,
    /// Of which conversation it is.
    pub conversation: Option<String>,
    /// Under which ownership it was written.
    pub epoch: Option<u64>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What is worth nothing after this time is not kept: typing.
    pub expires: Option<Duration>,
}

/// How an adapter's queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterQueue {
    /// Messages that wait in it.
    pub waiting: u32,
    /// Who reads it: more than one stand in line.
    pub readers: u32,
}

fn put(shared: &Shared, what: What, body: Arc<Vec<u8>>, on_refusal: OnRefusal) -> Result<Receipt, BusError> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(BusError::TooLarge { bytes: body.len() });
    }
    let (receipt, stubs) = Receipt::of(1);
    let stub = stubs.into_iter().next().unwrap_or_else(Receipt::stray);
    let message = Outgoing { what, shard: Shard(0), body, attempts: 0, on_refusal, stub };
    shared.outbox.put(vec![message], |waiting| BusError::Full { waiting })?;
    Ok(receipt)
}

impl RabbitBus {
    /// Begins to read what adapters bring. Of all readers of a site the broker gives to one at a time, in the order in which
    /// the queue got it; another one follows when it goes, with what it had not settled.
    pub fn inbound(&self) -> Inbound {
        let (hand, brought) = mpsc::channel(HAND);
        let current = Arc::new(AtomicU64::new(0));
        let task =
            Task { shared: Arc::clone(&self.shared), link: self.consume.clone(), hand, current: Arc::clone(&current) };
        tokio::spawn(task.run());
        Inbound { brought, current }
    }

    /// Hands an event over for an adapter's queue. Never waits; the receipt tells when the broker has it.
    ///
    /// # Errors
    /// [`BusError::Config`] for a name that does not fit, [`BusError::Away`] without a broker, [`BusError::TooLarge`],
    /// [`BusError::Full`]; in the receipt [`BusError::Broker`] when the queue is full. Without such a queue the broker lays the
    /// event among the unrouted ([`crate::topology::UNROUTED`]).
    pub fn deliver(&self, to: ForAdapter, body: Vec<u8>) -> Result<Receipt, BusError> {
        check_name(&to.adapter).map_err(|error| BusError::Config(error.to_string()))?;
        if self.publish.live().is_none() {
            let detail = self.why_away().map_or_else(|| BusError::Closed.to_string(), |error| error.to_string());
            return Err(BusError::Away { detail, waiting: self.shared.outbox.count() });
        }
        if let Some(reason) = self.blocked() {
            return Err(BusError::Blocked { reason, waiting: self.shared.outbox.count() });
        }
        let on_refusal = if to.expires.is_some() { OnRefusal::Drop } else { OnRefusal::Say };
        put(&self.shared, What::ForAdapter(Box::new(to)), Arc::new(body), on_refusal)
    }

    /// Looks at an adapter's queue, and declares it anew when it is missing.
    ///
    /// # Errors
    /// [`BusError::Away`] and its kind when the broker cannot be asked.
    pub async fn adapter_queue(&self, adapter: &str) -> Result<AdapterQueue, BusError> {
        let live = self.ask()?;
        let channel = connect::channel(&live.broker, &live.connection).await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{OUTBOUND}.{adapter}");
        let declare = channel.queue_declare(name.as_str().into(), passive, FieldTable::default());
        let found = match tokio::time::timeout(COMMAND_TIMEOUT, declare).await {
            Ok(Ok(found)) => AdapterQueue { waiting: found.message_count(), readers: found.consumer_count() },
            // Somebody took it away (the question closed the channel): what is for it would lie among the unrouted.
            Ok(Err(error)) if error.is_amqp_soft_error() => {
                tracing::warn!(queue = %name, "an adapter's queue is missing and declared anew");
                self.shared.prepare(&live.broker, &live.connection).await?;
                return Ok(AdapterQueue { waiting: 0, readers: 0 });
            }
            Ok(Err(error)) => return Err(connect::explain(&error, &live.broker)),
            Err(_) => return Err(BusError::Unreachable { detail: format!("no answer within {COMMAND_TIMEOUT:?}") }),
        };
        let _ = tokio::time::timeout(COMMAND_TIMEOUT, channel.close(200, "bye".into())).await;
        Ok(found)
    }
}

/// A reader of what adapters bring; dropping it gives what it had not settled to the next one.
pub struct Inbound {
    brought: mpsc::Receiver<(u64, Brought)>,
    current: Arc<AtomicU64>,
}

impl Inbound {
    /// The next message, waiting for it; none: the bus was closed. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Option<Brought> {
        loop {
            let (generation, brought) = self.brought.recv().await?;
            if generation == self.current.load(Ordering::Acquire) {
                return Some(brought);
            }
        }
    }
}

struct Task {
    shared: Arc<Shared>,
    link: Link,
    hand: mpsc::Sender<(u64, Brought)>,
    current: Arc<AtomicU64>,
}

impl Task {
    async fn run(mut self) {
        let hand = self.hand.clone();
        while let Some(live) = tokio::select! { live = self.link.up() => live, () = hand.closed() => None } {
            let mut link = self.link.clone();
            let ended = tokio::select! {
                ended = self.read(&live) => ended,
                () = link.gone(live.generation) => Ok(()),
                () = hand.closed() => break,
            };
            // Whatever is in a reader's hands from now on is late.
            self.current.fetch_add(1, Ordering::AcqRel);
            let Err(error) = ended else { continue };
            tracing::warn!(%error, "the channel of what adapters bring is made anew");
            let dead = matches!(error, BusError::Unreachable { .. }) || !live.connection.status().connected();
            if dead || self.shared.prepare(&live.broker, &live.connection).await.is_err() {
                self.link.report_dead(live.generation);
                self.link.gone(live.generation).await;
            }
        }
        self.current.fetch_add(1, Ordering::AcqRel);
    }

    async fn read(&self, live: &Live) -> Result<(), BusError> {
        let channel = connect::channel(&live.broker, &live.connection).await?;
        let _closed_at_the_end = CloseAtTheEnd(Some(channel.clone()));
        let qos = channel.basic_qos(INBOUND_PREFETCH, BasicQosOptions { global: false });
        connect::timed(&live.broker, COMMAND_TIMEOUT, qos).await?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(INBOUND.into(), "adapters".into(), options, FieldTable::default());
        let mut consumer = connect::timed(&live.broker, COMMAND_TIMEOUT, consume).await?;
        let generation = self.current.load(Ordering::Acquire);
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery.map_err(|error| connect::explain(&error, &live.broker))?;
            let brought = self.brought(delivery, &live.broker, generation);
            let _ = self.hand.send((generation, brought)).await;
        }
        Err(BusError::Broker(format!("{INBOUND} is gone")))
    }

    fn brought(&self, delivery: message::Delivery, broker: &Broker, generation: u64) -> Brought {
        let properties = &delivery.properties;
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        Brought {
            signer: signer(properties, broker),
            id: text(properties.message_id()).unwrap_or_default(),
            content_type: text(properties.content_type()).unwrap_or_default(),
            deliveries: wire::deliveries_before(properties) + 1,
            body: Arc::new(delivery.data),
            place: Place {
                shared: Arc::clone(&self.shared),
                acker: delivery.acker,
                generation,
                current: Arc::clone(&self.current),
            },
        }
    }
}

/// Whose a message is: the user that the broker has checked; of one that a gateway sent again, whom it names.
pub(super) fn signer(properties: &BasicProperties, broker: &Broker) -> Option<String> {
    let user = properties.user_id().as_ref()?.to_string();
    if broker.signs_as() == Some(user.as_str()) {
        return wire::header_text(properties, wire::SIGNER);
    }
    Some(user)
}
