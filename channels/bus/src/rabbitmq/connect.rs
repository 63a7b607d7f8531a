//! One connection to one broker: opened, laid out, and known to serve this store.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionBuilder, ConnectionProperties, ErrorKind};

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::address::Broker;
use crate::BusError;
use crate::limits::{COMMAND_TIMEOUT, CONNECT_TIMEOUT};
use crate::topology::{Argument, Exchange, ExchangeKind, IDENTITY, Queue, QueueKind, Topology};

/// How long a stream that should hold the identity may take to give it.
const IDENTITY_WAIT: Duration = Duration::from_millis(500);

/// Which store, and how many shards, a broker serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) store: String,
    pub(super) topology: u16,
    pub(super) shards: u16,
}

/// What lapin said, as what a person can do about it.
pub(super) fn explain(error: &lapin::Error, broker: &Broker) -> BusError {
    let detail = error.to_string();
    let (address, user) = (broker.address(), broker.user().to_owned());
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => {
            let said = amqp.get_message().to_string();
            match amqp.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) if said.contains("Login was refused") => {
                    BusError::WrongPassword { address, user }
                }
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => BusError::NoPermission { user, detail: said },
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) if said.contains("vhost") => {
                    BusError::WrongVhost { address, vhost: broker.vhost().to_owned(), user }
                }
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => BusError::Conflict { detail: said },
                _ => BusError::Broker(format!("{address}: {said}")),
            }
        }
        // What the TLS library refuses comes as an I/O error with its words inside.
        ErrorKind::IOError(io) if broker.is_tls() && io.kind() == std::io::ErrorKind::InvalidData => {
            BusError::Tls { address, detail: io.to_string() }
        }
        ErrorKind::IOError(io) if broker.is_tls() && io.kind() == std::io::ErrorKind::Other => {
            BusError::Tls { address, detail: io.to_string() }
        }
        ErrorKind::IOError(io) => BusError::Unreachable { detail: format!("{address}: {io}") },
        _ => BusError::Unreachable { detail: format!("{address}: {detail}") },
    }
}

/// Runs one command and gives up after `within`.
pub(super) async fn timed<T>(
    broker: &Broker,
    within: Duration,
    what: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BusError> {
    match tokio::time::timeout(within, what).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(explain(&error, broker)),
        Err(_) => Err(BusError::Unreachable { detail: format!("{}: no answer within {within:?}", broker.address()) }),
    }
}

/// Opens a connection. Nothing of it recovers by itself: whoever holds it opens another one.
pub(super) async fn open(broker: &Broker, tls: &OwnedTLSConfig, name: &str) -> Result<Connection, BusError> {
    let runtime = lapin::runtime::default_runtime().map_err(|error| BusError::Config(error.to_string()))?;
    let builder = ConnectionBuilder::new_with_runtime(runtime)
        .with_uri(broker.uri().clone())
        .with_properties(ConnectionProperties::default().with_connection_name(name.into()))
        .with_tls_config(tls.clone());
    timed(broker, CONNECT_TIMEOUT, builder.connect()).await
}

pub(super) async fn channel(broker: &Broker, connection: &Connection) -> Result<Channel, BusError> {
    timed(broker, COMMAND_TIMEOUT, connection.create_channel()).await
}

fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
            Argument::Number(number) => AMQPValue::LongLongInt(i64::try_from(*number).unwrap_or(i64::MAX)),
            Argument::Text(text) => super::wire::text(text),
        };
        table.insert((*name).into(), value);
    }
    table
}

/// Declares one queue as the topology has it.
pub(super) async fn declare_queue(broker: &Broker, channel: &Channel, queue: &Queue) -> Result<lapin::Queue, BusError> {
    let options = match queue.kind {
        QueueKind::Quorum | QueueKind::Stream => QueueDeclareOptions::durable(),
        QueueKind::Exclusive => QueueDeclareOptions::exclusive().auto_delete(),
    };
    let declare = channel.queue_declare(queue.name.as_str().into(), options, table(&queue.arguments));
    timed(broker, COMMAND_TIMEOUT, declare).await
}

/// Declares one exchange as the topology has it.
pub(super) async fn declare_exchange(broker: &Broker, channel: &Channel, exchange: &Exchange) -> Result<(), BusError> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), super::wire::text(alternate));
    }
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declare = channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments);
    timed(broker, COMMAND_TIMEOUT, declare).await
}

/// Declares everything that stands on the broker. What stands already is left as it is.
pub(super) async fn declare(broker: &Broker, channel: &Channel, topology: &Topology) -> Result<(), BusError> {
    for exchange in &topology.exchanges {
        declare_exchange(broker, channel, exchange).await?;
    }
    for queue in &topology.queues {
        declare_queue(broker, channel, queue).await?;
    }
    for binding in &topology.bindings {
        let [queue, exchange, key] =
            [&binding.queue, &binding.exchange, &binding.key].map(|name| ShortString::from(name.as_str()));
        let bind = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        timed(broker, COMMAND_TIMEOUT, bind).await?;
    }
    Ok(())
}

/// Makes sure that the broker serves this store: says so when nobody has, and refuses when somebody else has.
pub(super) async fn identify(broker: &Broker, channel: &Channel, ours: &Identity) -> Result<(), BusError> {
    let theirs = match first_identity(broker, channel).await? {
        Some(theirs) => theirs,
        None => {
            claim(broker, channel, ours).await?;
            // Two gateways may have claimed at once: the first message counts, for both.
            let found = first_identity(broker, channel).await?;
            found.ok_or_else(|| BusError::Broker(format!("{IDENTITY} keeps nothing: look at the broker's log")))?
        }
    };
    ours.agree(&theirs)
}

impl Identity {
    /// Whether a broker that serves `theirs` may carry ours.
    pub(super) fn agree(&self, theirs: &Self) -> Result<(), BusError> {
        if theirs.store != self.store {
            return Err(BusError::OtherStore { ours: self.store.clone(), theirs: theirs.store.clone() });
        }
        if theirs != self {
            let words = |identity: &Self| format!("{}/{}", identity.topology, identity.shards);
            return Err(BusError::OtherTopology { ours: words(self), theirs: words(theirs) });
        }
        Ok(())
    }
}

pub(super) async fn first_identity(broker: &Broker, channel: &Channel) -> Result<Option<Identity>, BusError> {
    let qos = channel.basic_qos(1, BasicQosOptions { global: false });
    timed(broker, COMMAND_TIMEOUT, qos).await?;
    let mut from_first = FieldTable::default();
    from_first.insert("x-stream-offset".into(), super::wire::text("first"));
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(IDENTITY.into(), "identity".into(), options, from_first);
    let mut consumer = timed(broker, COMMAND_TIMEOUT, consume).await?;
    let first = tokio::time::timeout(IDENTITY_WAIT, consumer.next()).await;
    let found = match first {
        Err(_) | Ok(None) => None,
        Ok(Some(Err(error))) => return Err(explain(&error, broker)),
        Ok(Some(Ok(delivery))) => {
            let _ = delivery.acker.ack(BasicAckOptions::default()).await;
            let read = serde_json::from_slice(&delivery.data);
            Some(read.map_err(|_| BusError::Conflict { detail: format!("{IDENTITY} holds something else") })?)
        }
    };
    let cancel = channel.basic_cancel("identity".into(), BasicCancelOptions::default());
    timed(broker, COMMAND_TIMEOUT, cancel).await?;
    Ok(found)
}

async fn claim(broker: &Broker, channel: &Channel, ours: &Identity) -> Result<(), BusError> {
    timed(broker, COMMAND_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let body = serde_json::to_vec(ours).map_err(|error| BusError::Config(error.to_string()))?;
    let sent = async {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        channel.basic_publish("".into(), IDENTITY.into(), options, &body, properties).await?.await
    };
    match timed(broker, COMMAND_TIMEOUT, sent).await? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(BusError::Broker(format!("{IDENTITY} was not taken"))),
    }
}
