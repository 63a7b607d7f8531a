//! The link of adapters outside to the broker (`kind = "amqp"`): one reader of `ark.in` for all accounts of the gateway, and to
//! each account's machine a socket that brings it what its own user signed and takes what is for its adapter's queue.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ark_bus::{BusError, ForAdapter, RabbitBus};
use ark_channels::{FromBroker, Sent, ToBroker};
use ark_conversation::channel::{Frame, In, SocketId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::account::{Inputs, Said};
use super::limits::{BROKER_LOOK, BROUGHT_IN_HAND, TYPING_TTL};
use super::socket::Do;

/// A message that an adapter brought, and its place on the broker.
type Brought = ark_bus::Brought;

/// What an account has of the broker.
pub(super) struct Road {
    bus: Arc<RabbitBus>,
    /// Its queue is `ark.out.{account}`.
    account: String,
    /// What its user signed. One socket at a time reads it.
    brought: Mutex<mpsc::Receiver<Brought>>,
}

/// Whose messages go where, by the broker's user.
#[derive(Default)]
pub(super) struct Signers(BTreeMap<String, mpsc::Sender<Brought>>);

impl Signers {
    /// An account's end, when it has a user on the broker.
    pub(super) fn join(&mut self, bus: Option<&Arc<RabbitBus>>, account: &str, user: Option<String>) -> Option<Road> {
        let (bus, user) = (Arc::clone(bus?), user?);
        let (sender, brought) = mpsc::channel(BROUGHT_IN_HAND);
        self.0.insert(user, sender);
        Some(Road { bus, account: account.to_owned(), brought: Mutex::new(brought) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives each message to whom its signer speaks for, until `stop`.
    pub(super) async fn distribute(self, bus: Arc<RabbitBus>, mut stop: watch::Receiver<bool>) {
        let mut inbound = bus.inbound();
        drop(bus);
        loop {
            let brought = tokio::select! {
                brought = inbound.next() => brought,
                () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
            };
            let Some(brought) = brought else { return };
            let whose = brought.signer.as_ref().and_then(|user| self.0.get(user));
            let Some(whose) = whose else {
                let why = match &brought.signer {
                    None => {
                        "signer: the property `user_id` is missing: set it to the adapter's own broker user".to_owned()
                    }
                    Some(user) => format!("signer: no [[channel]] of kind \"amqp\" that is on has user = \"{user}\""),
                };
                park(brought, &why, "ark.in").await;
                continue;
            };
            // An account that is over takes nothing more: the broker gives it again.
            if let Err(mpsc::error::SendError(brought)) = whose.send(brought).await {
                brought.again().await;
            }
        }
    }
}

/// To the dead letters, where people see it.
async fn park(brought: Brought, why: &str, channel: &str) {
    tracing::error!(%channel, id = %brought.id, %why, "an adapter's message cannot be used and was parked: ark bus dead shows it");
    brought.park(why).await;
}

/// Something that came to its end.
enum Done {
    /// An acknowledgement or a parking.
    Settled,
    Sent(u64, Sent),
    Looked(FromBroker),
}

type Doing = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One socket of an account's machine to the broker.
struct Link<'a> {
    road: &'a Road,
    socket: SocketId,
    inputs: &'a Inputs,
    hand: BTreeMap<u64, Brought>,
    last_tag: u64,
    doing: FuturesUnordered<Doing>,
}

/// Serves an account's machine until the machine closes its socket or the gateway stops.
pub(super) async fn run(road: Option<Arc<Road>>, socket: SocketId, todo: mpsc::Receiver<Do>, inputs: Inputs) {
    let why = match &road {
        Some(road) => serve(road, socket, todo, &inputs).await,
        None => "there is no broker: set [bus] url to RabbitMQ's address",
    };
    inputs.say(Said::SocketOver { socket, why: why.to_owned() }).await;
}

async fn serve(road: &Road, socket: SocketId, mut todo: mpsc::Receiver<Do>, inputs: &Inputs) -> &'static str {
    let mut brought = road.brought.lock().await;
    inputs.say(Said::Input(In::SocketOpen { socket, asked: None })).await;
    let (hand, doing) = (BTreeMap::new(), FuturesUnordered::new());
    let mut link = Link { road, socket, inputs, hand, last_tag: 0, doing };
    let mut look = tokio::time::interval(BROKER_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = false;
    let why = loop {
        tokio::select! {
            next = brought.recv(), if link.hand.len() < BROUGHT_IN_HAND => match next {
                Some(brought) => link.take(brought).await,
                None => break "the gateway stops",
            },
            next = todo.recv() => match next {
                Some(Do::Send(Frame::Text(text))) => link.obey(&text),
                Some(Do::Send(Frame::Binary(_))) => {}
                Some(Do::Close { .. }) => break "it was closed here",
                None => break "the link to the broker was given up",
            },
            Some(done) = link.doing.next() => match done {
                Done::Settled => {}
                Done::Sent(number, how) => say(inputs, socket, &FromBroker::Sent { number, how }).await,
                Done::Looked(what) => {
                    looking = false;
                    say(inputs, socket, &what).await;
                }
            },
            _ = look.tick(), if !looking => {
                looking = true;
                link.look();
            }
        }
    };
    // In their order: the queue gives them again.
    for brought in link.hand.into_values() {
        brought.again().await;
    }
    why
}

async fn say(inputs: &Inputs, socket: SocketId, what: &FromBroker) {
    if let Ok(text) = serde_json::to_string(what) {
        inputs.say(Said::Input(In::Frame { socket, frame: Frame::Text(text) })).await;
    }
}

impl Link<'_> {
    async fn take(&mut self, brought: Brought) {
        let Ok(body) = std::str::from_utf8(&brought.body) else {
            let account = self.road.account.clone();
            self.settle(async move { park(brought, "encoding: the body is not UTF-8", &account).await });
            return;
        };
        self.last_tag += 1;
        let what = FromBroker::Brought { tag: self.last_tag, body: body.to_owned() };
        self.hand.insert(self.last_tag, brought);
        say(self.inputs, self.socket, &what).await;
    }

    fn settle(&self, doing: impl Future<Output = ()> + Send + 'static) {
        self.doing.push(Box::pin(async move {
            doing.await;
            Done::Settled
        }));
    }

    fn obey(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ToBroker::Ack { tag }) => {
                if let Some(brought) = self.hand.remove(&tag) {
                    self.settle(async move { _ = brought.ack().await });
                }
            }
            Ok(ToBroker::Park { tag, why }) => {
                if let Some(brought) = self.hand.remove(&tag) {
                    let account = self.road.account.clone();
                    self.settle(async move { park(brought, &why, &account).await });
                }
            }
            Ok(ToBroker::Send { number, id, kind, conversation, epoch, attempt, body }) => {
                let (conversation, epoch) = (Some(conversation), Some(epoch));
                let to = self.to(id, kind);
                self.send(number, ForAdapter { conversation, epoch, attempt, ..to }, body);
            }
            Ok(ToBroker::Show { id, kind, body }) => {
                let to = ForAdapter { expires: Some(TYPING_TTL), ..self.to(id, kind) };
                // Nobody waits for what comes of it.
                drop(self.road.bus.deliver(to, body.into_bytes()));
            }
            Err(error) => tracing::error!(%error, "a machine told the broker what cannot be read"),
        }
    }

    fn to(&self, id: String, kind: String) -> ForAdapter {
        let adapter = self.road.account.clone();
        ForAdapter { adapter, id, kind, conversation: None, epoch: None, attempt: 1, expires: None }
    }

    fn send(&self, number: u64, to: ForAdapter, body: String) {
        let handed = self.road.bus.deliver(to, body.into_bytes());
        self.doing.push(Box::pin(async move {
            let done = match handed {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            };
            let how = match done {
                Ok(()) => Sent::Confirmed,
                Err(error @ (BusError::TooLarge { .. } | BusError::Config(_))) => Sent::Never(error.to_string()),
                Err(error) => Sent::Refused(error.to_string()),
            };
            Done::Sent(number, how)
        }));
    }

    fn look(&self) {
        let (bus, account) = (Arc::clone(&self.road.bus), self.road.account.clone());
        self.doing.push(Box::pin(async move {
            Done::Looked(match bus.adapter_queue(&account).await {
                Ok(queue) => FromBroker::Queue { waiting: queue.waiting, readers: queue.readers },
                Err(error) => FromBroker::Away { why: error.to_string() },
            })
        }));
    }
}
