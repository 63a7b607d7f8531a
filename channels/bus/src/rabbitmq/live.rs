//! The live road: one lossy message after another to every gateway, on channels of its own, without confirms.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ark_conversation::LiveEvent;
use futures_util::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueBindOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;

use super::link::{Link, Live};
use super::{Shared, connect, wire};
use crate::BusError;
use crate::limits::{COMMAND_TIMEOUT, LIVE_AGAIN, MESSAGE_BYTES_MAX};
use crate::topology::{LIVE, Topology};

/// Messages that may be under way to this process unacknowledged: what is behind them waits, and is lost, on the broker.
const PREFETCH: u16 = 64;

/// Sends what is announced here to the other gateways, until the bus is gone. What cannot be sent at once is lost.
pub(super) async fn speak(shared: Arc<Shared>, link: Link, mut said: mpsc::Receiver<Vec<Arc<LiveEvent>>>) {
    let mut open: Option<(u64, Channel)> = None;
    while let Some(events) = said.recv().await {
        open = match link.live() {
            // A broker that takes nothing does not read what is sent either: it would lie in front of everything durable.
            Some(live) if live.blocked.borrow().is_none() => send(&shared, &live, open, &events).await,
            _ => None,
        };
        if open.is_none() {
            shared.counters.unheard.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Sends one message; none: it is lost, and the next one needs a new channel.
async fn send(
    shared: &Shared,
    live: &Live,
    open: Option<(u64, Channel)>,
    events: &[Arc<LiveEvent>],
) -> Option<(u64, Channel)> {
    let channel = match open {
        Some((generation, channel)) if generation == live.generation && channel.status().connected() => channel,
        _ => open_channel(shared, live).await.ok()?,
    };
    let events: Vec<&LiveEvent> = events.iter().map(Arc::as_ref).collect();
    let body = serde_json::to_vec(&events).ok().filter(|body| body.len() <= MESSAGE_BYTES_MAX)?;
    let properties = wire::live_properties(&shared.from);
    let publish = channel.basic_publish(LIVE.into(), "".into(), BasicPublishOptions::default(), &body, properties);
    connect::timed(&live.broker, COMMAND_TIMEOUT, publish).await.ok()?;
    Some((live.generation, channel))
}

async fn open_channel(shared: &Shared, live: &Live) -> Result<Channel, BusError> {
    let channel = connect::channel(&live.broker, &live.connection).await?;
    // Whoever deleted it closed the channel before.
    for exchange in shared.topology.exchanges.iter().filter(|exchange| exchange.name == LIVE) {
        connect::declare_exchange(&live.broker, &channel, exchange).await?;
    }
    Ok(channel)
}

/// Hears what other gateways announce, for as long as the bus is open.
pub(super) async fn listen(shared: Arc<Shared>, mut link: Link) {
    let mut incarnation = 0_u64;
    while let Some(live) = link.up().await {
        incarnation += 1;
        let mut gone = link.clone();
        tokio::select! {
            ended = hear(&shared, &live, incarnation) => {
                let Err(error) = ended;
                tracing::debug!(%error, "the live road is opened again");
                tokio::select! {
                    () = tokio::time::sleep(LIVE_AGAIN) => {}
                    () = gone.gone(live.generation) => {}
                }
            }
            () = gone.gone(live.generation) => {}
        }
    }
}

async fn hear(shared: &Shared, live: &Live, incarnation: u64) -> Result<std::convert::Infallible, BusError> {
    let channel = open_channel(shared, live).await?;
    let instance = format!("{}-{incarnation}", shared.instance);
    let [.., queue] =
        Topology::gateway_queues(&shared.gateway, &instance).map_err(|error| BusError::Config(error.to_string()))?;
    let qos = channel.basic_qos(PREFETCH, BasicQosOptions { global: false });
    connect::timed(&live.broker, COMMAND_TIMEOUT, qos).await?;
    connect::declare_queue(&live.broker, &channel, &queue).await?;
    let name = || queue.name.as_str().into();
    let bind = channel.queue_bind(name(), LIVE.into(), "".into(), QueueBindOptions::default(), FieldTable::default());
    connect::timed(&live.broker, COMMAND_TIMEOUT, bind).await?;
    let consume = channel.basic_consume(name(), name(), BasicConsumeOptions::default(), FieldTable::default());
    let mut heard = connect::timed(&live.broker, COMMAND_TIMEOUT, consume).await?;
    shared.local.live().tell_of_a_hole();
    while let Some(message) = heard.next().await {
        let message = message.map_err(|error| connect::explain(&error, &live.broker))?;
        // This gateway's own listeners had it before the broker.
        let own = message.properties.app_id().as_ref().is_some_and(|from| from.as_str() == shared.from);
        if !own {
            shared.local.live().give(wire::read_live(&message.data));
        }
        let acknowledged = message.acker.ack(BasicAckOptions::default()).await;
        acknowledged.map_err(|error| connect::explain(&error, &live.broker))?;
    }
    Err(BusError::Broker(format!("{}: the queue is gone", live.broker.address())))
}
