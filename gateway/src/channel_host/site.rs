//! The host within its gateway: the conversations' owner takes what came, the bus tells what is due and who types.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ark_bus::{Bus, Filter, Missed};
use ark_conversation::event::{PartyRole, Typing};
use ark_conversation::live::{Live as LiveKind, LiveEvent, LiveTyping};
use ark_conversation::{CloudEvent, Event, Tenant, ThreadSource};
use ark_store::{Join, NewInbound};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::{ChannelHost, Inlet, Live};
use crate::conversations::owner::Ingest;

/// Words of typing that wait to be passed on; more are left out.
const TYPING_MAX: usize = 256;

/// Gives what came to the conversations' owner.
pub struct ToOwner(pub Ingest);

impl Inlet for ToOwner {
    fn take<'a>(
        &'a self,
        tenant: &'a Tenant,
        event: CloudEvent,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(async move {
            let at = Timestamp::now();
            let new =
                NewInbound { tenant: tenant.clone(), at, event, begin: self.0.new_conversation(at), join: Join::Begin };
            self.0.take(new).await.map(|taken| taken.duplicate).map_err(|error| error.to_string())
        })
    }
}

/// Tells the site who types.
pub struct Typists(mpsc::Sender<CloudEvent>);

impl Typists {
    /// Looks the conversation of each up and announces it, until nobody says anything more.
    #[must_use]
    pub fn start(ingest: Ingest, bus: Arc<dyn Bus>, tenant: Tenant, gateway: String) -> Self {
        let (sender, mut events) = mpsc::channel::<CloudEvent>(TYPING_MAX);
        tokio::spawn(async move {
            while let Some(CloudEvent { source, event, .. }) = events.recv().await {
                let Event::Typing(typing) = event else { continue };
                // Who types before they ever wrote has no conversation yet.
                let Ok(Some(conversation)) = ingest.conversation(&tenant, &source).await else { continue };
                let typing = LiveTyping { conversation, source, sender: typing.sender, on: typing.on };
                let (tenant, gateway) = (tenant.clone(), gateway.clone());
                bus.announce(vec![LiveEvent {
                    tenant,
                    gateway,
                    at: Timestamp::now(),
                    event: LiveKind::Typing(typing),
                }]);
            }
        });
        Self(sender)
    }
}

impl Live for Typists {
    fn pass_on(&self, event: CloudEvent) {
        let _ = self.0.try_send(event);
    }
}

/// Wakes the host when a message of the house was committed, until `stop`. What is missed here is found by looking.
pub(super) async fn listen(bus: Arc<dyn Bus>, host: Arc<ChannelHost>, mut stop: watch::Receiver<bool>) {
    let Ok(mut subscription) = bus.subscribe(Filter::default()).await else { return };
    drop(bus);
    loop {
        tokio::select! {
            next = subscription.next() => match next {
                Ok(record) => {
                    if matches!(record.event.event, Event::MessageOut(_) | Event::MessageRerouted(_)) {
                        host.wake();
                    }
                }
                Err(Missed::Lagged { .. }) => host.wake(),
                Err(Missed::Closed) => return,
            },
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
        }
    }
}

/// Tells channels that can show it that an agent types, until `stop`. Every gateway has every account, so the one does where it was
/// said.
pub(super) async fn show_typing(
    bus: Arc<dyn Bus>,
    host: Arc<ChannelHost>,
    gateway: String,
    mut stop: watch::Receiver<bool>,
) {
    let Ok(mut overheard) = bus.overhear() else { return };
    drop(bus);
    loop {
        let said = tokio::select! {
            said = overheard.next() => said,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
        };
        let said = match said {
            Ok(said) if said.gateway == gateway => said,
            Ok(_) | Err(Missed::Lagged { .. }) => continue,
            Err(Missed::Closed) => return,
        };
        let LiveKind::Typing(typing) = &said.event else { continue };
        let Ok(source) = typing.source.parse::<ThreadSource>() else { continue };
        if typing.sender.role == PartyRole::Agent {
            let shown = Typing { thread: source.thread, sender: typing.sender.clone(), on: typing.on };
            let id = format!("typing:{}", said.at.as_microsecond());
            host.show(&source.adapter, &source.account, CloudEvent::new(id, typing.source.as_str(), said.at, shown));
        }
    }
}
