//! What people ask of a broker: how deep its queues are, what lies among the dead letters, and to send it again.

use std::time::Duration;

use jiff::Timestamp;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use serde::Serialize;

use super::address::Broker;
use super::link::worst;
use super::{RabbitConfig, adapters, connect, wire};
use crate::limits::{COMMAND_TIMEOUT, DEAD_SCAN_MAX};
use crate::topology::{DEAD, Queue, QueueKind, Topology, UNROUTED};
use crate::{BusError, DeadLetter, Which};

/// How long a connection for a person may take to close.
const CLOSE: Duration = Duration::from_secs(2);

/// One queue as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueDepth {
    /// Its name.
    pub name: String,
    /// How it keeps messages.
    pub kind: QueueKind,
    /// Messages ready to be given; none: the queue is missing. A stream counts what it holds.
    pub messages: Option<u32>,
    /// Who reads it.
    pub consumers: u32,
    /// What it is for.
    pub purpose: &'static str,
    /// What is wrong with it and what to do.
    pub alarm: Option<String>,
}

/// A connection of a person's: for `ark bus status|dead|replay`.
pub struct Manager {
    pub(super) connection: Connection,
    pub(super) broker: Broker,
    pub(super) topology: Topology,
    /// The store of this site, for [`Manager::compare`].
    pub(super) store_id: String,
}

impl Manager {
    /// Connects to the first broker that answers. Declares nothing.
    ///
    /// # Errors
    /// What needs a person ([`BusError::WrongPassword`], [`BusError::WrongVhost`], [`BusError::Tls`]), else
    /// [`BusError::Unreachable`] with every address.
    pub async fn connect(config: &RabbitConfig) -> Result<Self, BusError> {
        config.check()?;
        let topology = Topology::new(&config.topology).map_err(|error| BusError::Config(error.to_string()))?;
        let tls = config.tls.read()?;
        let mut failures = Vec::new();
        for broker in &config.brokers {
            match connect::open(broker, &tls, "ark bus").await {
                Ok(connection) => {
                    let (broker, store_id) = (broker.clone(), config.store_id.clone());
                    return Ok(Self { connection, broker, topology, store_id });
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(worst(failures))
    }

    /// The broker that answered.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Every queue of the topology with its depth, in the order of `ark bus plan`.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] when the broker goes away meanwhile.
    pub async fn status(&self) -> Result<Vec<QueueDepth>, BusError> {
        let mut depths = Vec::new();
        let mut channel = connect::channel(&self.broker, &self.connection).await?;
        for queue in &self.topology.queues {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declare = channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default());
            let depth = match tokio::time::timeout(COMMAND_TIMEOUT, declare).await {
                Ok(Ok(found)) => Some((found.message_count(), found.consumer_count())),
                Ok(Err(error)) if error.is_amqp_soft_error() => {
                    // The question closed the channel.
                    channel = connect::channel(&self.broker, &self.connection).await?;
                    None
                }
                Ok(Err(error)) => return Err(connect::explain(&error, &self.broker)),
                Err(_) => None,
            };
            depths.push(judge(queue, depth));
        }
        Ok(depths)
    }

    /// The oldest dead letters, `limit` at most; they stay where they are.
    ///
    /// # Errors
    /// [`BusError::NoPermission`], [`BusError::Unreachable`].
    pub async fn dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        peek(&self.broker, &self.connection, limit).await
    }

    /// Sends dead letters back to the queue in which they died. Gives how many went.
    ///
    /// # Errors
    /// As [`Manager::dead`]; what was sent before the error is gone from the dead letters.
    pub async fn replay(&self, which: &Which) -> Result<usize, BusError> {
        replay(&self.broker, &self.connection, which).await
    }

    /// Says goodbye.
    pub async fn close(self) {
        let _ = tokio::time::timeout(CLOSE, self.connection.close(200, "bye".into())).await;
    }
}

/// What a depth means.
fn judge(queue: &Queue, depth: Option<(u32, u32)>) -> QueueDepth {
    let (messages, consumers) = (depth.map(|(messages, _)| messages), depth.map_or(0, |(_, consumers)| consumers));
    let alarm = match (queue.name.as_str(), messages) {
        (_, None) => Some("missing, or its node is down: start a gateway to declare it".to_owned()),
        (UNROUTED, Some(1..)) => Some("messages that no queue wanted: the topology is damaged".to_owned()),
        (DEAD, Some(1..)) => Some("messages were given up: ark bus dead shows them".to_owned()),
        (_, Some(1..)) if queue.kind == QueueKind::Quorum && consumers == 0 && queue.name.contains(".conv.") => {
            Some("nobody reads it: no gateway holds this shard".to_owned())
        }
        _ => None,
    };
    QueueDepth { name: queue.name.clone(), kind: queue.kind, messages, consumers, purpose: queue.purpose, alarm }
}

async fn get(broker: &Broker, channel: &Channel) -> Result<Option<BasicGetMessage>, BusError> {
    let get = channel.basic_get(DEAD.into(), BasicGetOptions::default());
    connect::timed(broker, COMMAND_TIMEOUT, get).await
}

/// Puts everything back that this channel has taken and not acknowledged.
async fn put_back(channel: &Channel, last: Option<u64>) {
    if let Some(tag) = last {
        let all = BasicNackOptions { requeue: true, multiple: true };
        let _ = tokio::time::timeout(COMMAND_TIMEOUT, channel.basic_nack(tag, all)).await;
    }
    let _ = tokio::time::timeout(COMMAND_TIMEOUT, channel.close(200, "bye".into())).await;
}

pub(super) async fn peek(broker: &Broker, connection: &Connection, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
    let channel = connect::channel(broker, connection).await?;
    let (mut letters, mut last) = (Vec::new(), None);
    while letters.len() < limit.min(DEAD_SCAN_MAX) {
        match get(broker, &channel).await {
            Ok(Some(message)) => {
                last = Some(message.delivery.delivery_tag);
                letters.push(letter(message));
            }
            Ok(None) => break,
            Err(error) => {
                put_back(&channel, last).await;
                return Err(error);
            }
        }
    }
    put_back(&channel, last).await;
    Ok(letters)
}

pub(super) async fn replay(broker: &Broker, connection: &Connection, which: &Which) -> Result<usize, BusError> {
    let channel = connect::channel(broker, connection).await?;
    let confirm = channel.confirm_select(ConfirmSelectOptions::default());
    connect::timed(broker, COMMAND_TIMEOUT, confirm).await?;
    let (mut sent, mut last, mut result) = (0, None, Ok(()));
    for _ in 0..DEAD_SCAN_MAX {
        let message = match get(broker, &channel).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        };
        let tag = message.delivery.delivery_tag;
        let meant = match which {
            Which::All => true,
            Which::Id(id) => message_id(&message.delivery.properties) == *id,
        };
        if !meant {
            last = Some(tag);
            continue;
        }
        if let Err(error) = send_again(broker, &channel, &message).await {
            (last, result) = (Some(tag), Err(error));
            break;
        }
        let _ = message.delivery.acker.ack(BasicAckOptions::default()).await;
        sent += 1;
    }
    put_back(&channel, last).await;
    result.map(|()| sent)
}

/// Publishes a dead letter to the queue in which it died, without the history of its death.
async fn send_again(broker: &Broker, channel: &Channel, message: &BasicGetMessage) -> Result<(), BusError> {
    let properties = &message.delivery.properties;
    let queue = died_in(properties);
    let mut headers = FieldTable::default();
    let kept = properties.headers().iter().flat_map(|headers| headers.inner());
    for (name, value) in kept.filter(|(name, _)| name.as_str().starts_with("x-ark-") || name.as_str() == "traceparent")
    {
        if ![wire::SIGNER, wire::DEAD_QUEUE, wire::DEAD_REASON, wire::DEAD_AT].contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.insert("x-ark-replayed".into(), AMQPValue::Boolean(true));
    // The broker takes a message with our own name only; whose it was goes along.
    if let Some(signer) = adapters::signer(properties, broker) {
        headers.insert(wire::SIGNER.into(), wire::text(&signer));
    }
    let properties = wire::again(properties, headers, broker.signs_as());
    let sent = async {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let data = &message.delivery.data;
        channel.basic_publish("".into(), wire::short(&queue), options, data, properties).await?.await
    };
    match connect::timed(broker, COMMAND_TIMEOUT, sent).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Nack(_) => Err(BusError::Broker(format!("{queue} is full; the letter stays"))),
        _ => Err(BusError::Unroutable { exchange: "(default)".to_owned(), key: queue }),
    }
}

fn message_id(properties: &BasicProperties) -> String {
    properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
}

fn died_in(properties: &BasicProperties) -> String {
    let by_broker = wire::header_text(properties, "x-first-death-queue");
    by_broker.or_else(|| wire::header_text(properties, wire::DEAD_QUEUE)).unwrap_or_default()
}

fn letter(message: BasicGetMessage) -> DeadLetter {
    let delivery = message.delivery;
    let properties = &delivery.properties;
    let by_broker = wire::death(properties).and_then(|death| wire::integer(death.inner().get("time")?));
    let time = by_broker.or_else(|| wire::header_number(properties, wire::DEAD_AT));
    DeadLetter {
        id: message_id(properties),
        queue: died_in(properties),
        reason: wire::header_text(properties, "x-first-death-reason")
            .or_else(|| wire::header_text(properties, wire::DEAD_REASON))
            .unwrap_or_default(),
        conversation: wire::header_text(properties, "x-ark-conv"),
        at: time.and_then(|unix_s| Timestamp::from_second(i64::try_from(unix_s).ok()?).ok()),
        bytes: delivery.data.len(),
        body: delivery.data,
    }
}
