//! What stands on a broker beside what the topology says: `ark bus plan`. AMQP can ask whether an object is there and
//! whether it is the same; it cannot list bindings, which are declared anew at each connection.

use futures_util::StreamExt as _;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind, Event};
use serde::Serialize;

use super::connect::{self, Identity};
use super::manage::Manager;
use crate::BusError;
use crate::limits::{COMMAND_TIMEOUT, PROBE_WAIT};
use crate::topology::{IDENTITY, LIVE};

/// How an object of the topology stands on the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// There, and the same.
    Same,
    /// Not there: a gateway that connects declares it.
    Missing,
    /// There with other arguments: no gateway can use this broker. The broker's words.
    Conflict(String),
    /// There; whether it is the same this user may not ask. The broker's words.
    Unknown(String),
}

/// One object of the topology, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// `exchange` or `queue`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
}

/// The topology, compared with a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Every exchange and queue, in the order in which they are declared.
    pub objects: Vec<Compared>,
    /// The id of the store that the broker serves; none when it serves none yet.
    pub store: Option<String>,
    /// Why this site's gateways would refuse the broker, whatever its objects are: another store, another number of
    /// shards.
    pub refused: Option<String>,
}

impl Comparison {
    /// Whether a gateway of this site could not use the broker.
    #[must_use]
    pub fn conflicts(&self) -> bool {
        self.refused.is_some() || self.objects.iter().any(|one| matches!(one.standing, Standing::Conflict(_)))
    }
}

impl Manager {
    /// Compares every exchange and queue of the topology, and the store that the broker serves. Makes and changes
    /// nothing.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] when the broker goes away meanwhile; [`BusError::NoPermission`] when this user may not
    /// read the broker's identity.
    pub async fn compare(&self) -> Result<Comparison, BusError> {
        let mut objects = Vec::new();
        let mut channel = self.channel().await?;
        for exchange in &self.topology.exchanges {
            let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let kind = lapin::ExchangeKind::Direct;
            let ask = channel.exchange_declare(exchange.name.as_str().into(), kind, passive, FieldTable::default());
            let standing = self.stands(ask, connect::declare_exchange(&self.broker, &channel, exchange)).await?;
            if standing != Standing::Same {
                // That answer closed the channel.
                channel = self.channel().await?;
            }
            objects.push(Compared { what: "exchange", name: exchange.name.clone(), standing });
        }
        let mut identity = None;
        for queue in &self.topology.queues {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let ask = channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default());
            let standing = self.stands(ask, connect::declare_queue(&self.broker, &channel, queue)).await?;
            if standing != Standing::Same {
                channel = self.channel().await?;
            }
            // One that conflicts is no stream of Ark's: what is in it is not read, and nothing of it acknowledged.
            if queue.name == IDENTITY && matches!(standing, Standing::Same | Standing::Unknown(_)) {
                identity = connect::first_identity(&self.broker, &channel).await?;
            }
            objects.push(Compared { what: "queue", name: queue.name.clone(), standing });
        }
        let refused = identity.as_ref().and_then(|theirs| self.ours().agree(theirs).err());
        let (store, refused) = (identity.map(|theirs| theirs.store), refused.map(|error| error.to_string()));
        Ok(Comparison { objects, store, refused })
    }

    /// Sends a message that nobody gets, to see whether the broker takes any: under a memory or disk alarm it reads
    /// nothing. Answers why not; none: it takes messages.
    ///
    /// # Errors
    /// [`BusError::NoPermission`] when this user may not publish; [`BusError::Unreachable`].
    pub async fn alarm(&self) -> Result<Option<String>, BusError> {
        let mut events = self.connection.events_listener();
        let channel = self.channel().await?;
        connect::timed(&self.broker, COMMAND_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let sent = async {
            // No queue has this name: a mandatory message comes back and is gone.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default();
            channel.basic_publish("".into(), "ark.nobody".into(), options, b"probe", properties).await?.await
        };
        let blocked = async {
            while let Some(event) = events.next().await {
                if let Event::ConnectionBlocked(reason) = event {
                    return reason;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            sent = sent => match sent {
                Ok(_) => Ok(None),
                Err(error) => Err(connect::explain(&error, &self.broker)),
            },
            reason = blocked => Ok(Some(reason)),
            () = tokio::time::sleep(PROBE_WAIT) => Ok(Some(format!("no confirm within {PROBE_WAIT:?}"))),
        }
    }

    /// Whether any gateway hears live events: says nothing on their road and looks whether somebody was there to hear it. None: the
    /// road is not laid, or this user may not know.
    ///
    /// # Errors
    /// [`BusError::Unreachable`].
    pub async fn live_is_heard(&self) -> Result<Option<bool>, BusError> {
        let channel = self.channel().await?;
        connect::timed(&self.broker, COMMAND_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let sent = async {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            channel.basic_publish(LIVE.into(), "".into(), options, b"[]", BasicProperties::default()).await?.await
        };
        match connect::timed(&self.broker, COMMAND_TIMEOUT, sent).await {
            Ok(confirmed) => Ok(Some(matches!(confirmed, Confirmation::Ack(None)))),
            Err(error @ BusError::Unreachable { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What this site's gateways are to the broker.
    fn ours(&self) -> Identity {
        let (topology, shards) = (self.topology.topology, self.topology.shards);
        Identity { store: self.store_id.clone(), topology, shards }
    }

    async fn channel(&self) -> Result<Channel, BusError> {
        connect::channel(&self.broker, &self.connection).await
    }

    /// How an object stands: `ask` declares it passively; `declare` as the topology has it, once it is there.
    async fn stands<T, D>(
        &self,
        ask: impl Future<Output = lapin::Result<T>>,
        declare: impl Future<Output = Result<D, BusError>>,
    ) -> Result<Standing, BusError> {
        let there = async {
            match ask.await {
                Err(error) if is_not_found(&error) => Ok(false),
                asked => asked.map(|_| true),
            }
        };
        if !connect::timed(&self.broker, COMMAND_TIMEOUT, there).await? {
            return Ok(Standing::Missing);
        }
        match declare.await {
            Ok(_) => Ok(Standing::Same),
            Err(BusError::Conflict { detail }) => Ok(Standing::Conflict(detail)),
            Err(BusError::NoPermission { detail, .. }) => Ok(Standing::Unknown(detail)),
            Err(error) => Err(error),
        }
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => matches!(amqp.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)),
        _ => false,
    }
}
