//! Webhooks out: committed events, POSTed to the site's own systems (Standard Webhooks, CloudEvents 1.0 in structured mode).
//!
//! Each event that a webhook wants is sent at least once, always with the same `webhook-id`. Within one conversation a
//! webhook gets events in the order of their `seq`: the next is sent when the one before was taken or given up. Between
//! conversations there is no order.

mod endpoint;
pub mod limits;
pub mod reach;
pub mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ark_bus::{Bus, Filter, Missed};
use ark_conversation::event::OtherEvent;
use ark_conversation::{CloudEvent, Event, EventId, Tenant, source};
use ark_store::{Delivery, DeliveryState, Store, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use utoipa::ToSchema;

use crate::config::Webhook;
use crate::telemetry::{Sample, SampleKind};
use endpoint::{Endpoint, Stats};
use reach::{Client, Place};
use sign::Key;

pub use endpoint::Bounds;
pub(crate) use endpoint::wants;

/// The type of the event that `ark webhook test` sends. It is in no log.
pub const TEST_TYPE: &str = "ark.webhook.test.v1";

/// How a webhook is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Its name.
    pub name: String,
    /// Where it goes, without what follows a `?`.
    pub url: String,
    /// Whether anything is sent.
    pub state: WebhookState,
    /// The event types, or what they are below; empty: all.
    pub types: Vec<String>,
    /// Deliveries that wait or are under way.
    pub waiting: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Deliveries that this gateway made since its start.
    pub delivered: u64,
    /// Attempts of this gateway that failed since its start.
    pub failed: u64,
    /// What the last failed attempt of this gateway said.
    pub last_error: Option<String>,
}

/// Whether a webhook is sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// Events are sent.
    On,
    /// `enabled = false`: nothing is sent; the log keeps what is to be sent later.
    Off,
    /// It answered 410: no gateway sends anything until `ark webhook enable`.
    Gone,
}

/// A delivery as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Its number, which `ark webhook replay` takes.
    pub id: u64,
    /// The webhook.
    pub webhook: String,
    /// The `webhook-id`: the same at each attempt.
    pub webhook_id: String,
    /// The conversation.
    pub conversation: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last failed attempt said.
    pub error: Option<String>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestView {
    /// Whether it was taken: a status of 200 to 299.
    pub ok: bool,
    /// The status, when there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The webhooks of a running gateway.
pub struct Webhooks {
    endpoints: Vec<Arc<Endpoint>>,
    store: Arc<dyn Store>,
    gateway: String,
}

/// The tasks behind [`Webhooks`]; ending them loses nothing.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends them: requests under way have [`limits::STOP_MAX`], the others are made after the next start.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts the webhooks of a site.
///
/// # Errors
/// A sentence: which webhook's url or secret cannot be used. [`crate::config::Config::load`] has found these before.
pub fn start(
    config: &[Webhook],
    gateway: &str,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    bounds: &Bounds,
) -> Result<(Arc<Webhooks>, Running), String> {
    let mut endpoints = Vec::new();
    for webhook in config {
        let wrong = |error: String| format!("[[webhook]] {}: {error}", webhook.name);
        let keys = webhook.keys().map_err(wrong)?;
        let place = Place::parse(&webhook.url).map_err(wrong)?;
        let timeout = webhook.timeout.0;
        endpoints.push(Arc::new(Endpoint {
            name: webhook.name.clone(),
            types: webhook.types.clone(),
            enabled: webhook.enabled,
            numbers: webhook.numbers,
            keys,
            client: Client::new(place, webhook.allow_private, timeout),
            timeout,
            gateway: gateway.to_owned(),
            store: Arc::clone(&store),
            bounds: bounds.clone(),
            wake: Notify::new(),
            again: Notify::new(),
            stats: Stats::default(),
        }));
    }
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    if endpoints.iter().any(|one| one.enabled) {
        tasks.spawn(listen(bus, endpoints.clone(), stopped.clone()));
    }
    for endpoint in &endpoints {
        tasks.spawn(Arc::clone(endpoint).run(stopped.clone()));
    }
    Ok((Arc::new(Webhooks { endpoints, store, gateway: gateway.to_owned() }), Running { stop, tasks }))
}

/// Says that something was committed. What is missed here is found by looking every [`limits::POLL`].
async fn listen(bus: Arc<dyn Bus>, endpoints: Vec<Arc<Endpoint>>, mut stop: watch::Receiver<bool>) {
    let Ok(mut subscription) = bus.subscribe(Filter::default()).await else { return };
    drop(bus);
    loop {
        tokio::select! {
            next = subscription.next() => match next {
                Ok(_) | Err(Missed::Lagged { .. }) => endpoints.iter().for_each(|one| one.wake.notify_one()),
                Err(Missed::Closed) => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Webhook {
    /// The keys of its secrets, in their order.
    ///
    /// # Errors
    /// A sentence: which secret cannot be read or used.
    pub fn keys(&self) -> Result<Vec<Key>, String> {
        self.secrets.iter().map(|secret| secret.read().and_then(|text| Key::parse(&text))).collect()
    }
}

impl Webhooks {
    /// How they are.
    ///
    /// # Errors
    /// What the store says.
    pub async fn views(&self) -> Result<Vec<WebhookView>, StoreError> {
        let mut views = Vec::new();
        for endpoint in &self.endpoints {
            endpoint.look().await?;
            let counts = self.store.delivery_counts(&Tenant::default(), &endpoint.adapter()).await?;
            let stats = &endpoint.stats;
            let last_error = stats.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            views.push(WebhookView {
                name: endpoint.name.clone(),
                url: endpoint.client.place.shown(),
                state: state(endpoint),
                types: endpoint.types.clone(),
                waiting: counts.waiting,
                dead: counts.dead,
                delivered: stats.delivered.load(Ordering::Relaxed),
                failed: stats.failed.load(Ordering::Relaxed),
                last_error,
            });
        }
        Ok(views)
    }

    fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|one| one.name == name)
    }

    /// Whether there is one of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.endpoint(name).is_some()
    }

    /// Deliveries of a webhook in one state, the oldest first, with a number above `after`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn deliveries(
        &self,
        name: &str,
        state: DeliveryState,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeliveryView>, StoreError> {
        let adapter = endpoint::adapter(name);
        let found = self.store.deliveries(&Tenant::default(), &adapter, state, after, limit).await?;
        Ok(found.into_iter().map(|one| view(name, one)).collect())
    }

    /// Takes up again one delivery that is dead or done. Answers its webhook, or nothing when no webhook has it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn replay(&self, id: u64) -> Result<Option<String>, StoreError> {
        let tenant = Tenant::default();
        for endpoint in &self.endpoints {
            for state in [DeliveryState::Dead, DeliveryState::Done] {
                let found = self.store.deliveries(&tenant, &endpoint.adapter(), state, id.saturating_sub(1), 1).await?;
                if found.first().is_some_and(|one| one.id == id) && self.store.replay_delivery(&tenant, id).await? {
                    endpoint.again.notify_one();
                    return Ok(Some(endpoint.name.clone()));
                }
            }
        }
        Ok(None)
    }

    /// Takes up again the oldest dead deliveries of a webhook with a number above `after`, at most [`limits::REPLAY_MAX`].
    /// Answers how many, and the number up to which it looked; none when there is nothing above `after`. Going on from there
    /// comes to an end, also when one dies again at once.
    ///
    /// # Errors
    /// What the store says.
    pub async fn replay_dead(&self, name: &str, after: u64) -> Result<(usize, Option<u64>), StoreError> {
        let (tenant, adapter) = (Tenant::default(), endpoint::adapter(name));
        let found = self.store.deliveries(&tenant, &adapter, DeliveryState::Dead, after, limits::REPLAY_MAX).await?;
        let last = found.last().map(|one| one.id);
        let mut replayed = 0;
        for one in found {
            replayed += usize::from(self.store.replay_delivery(&tenant, one.id).await?);
        }
        if let Some(endpoint) = self.endpoint(name) {
            endpoint.again.notify_one();
        }
        Ok((replayed, last))
    }

    /// Sends one event of type [`TEST_TYPE`], whatever the webhook's state, and says what came of it. None: there is no
    /// such webhook.
    pub async fn test(&self, name: &str) -> Option<TestView> {
        let endpoint = self.endpoint(name)?;
        let now = Timestamp::now();
        let id = EventId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), rand::random());
        let data = serde_json::json!({ "webhook": name, "gateway": self.gateway });
        let event = Event::Other(OtherEvent { type_name: TEST_TYPE.to_owned(), data });
        let source = source::gateway(&Tenant::default(), &self.gateway, "webhook");
        let event = CloudEvent::new(id.to_string(), source, now, event);
        let body = serde_json::to_vec(&event).unwrap_or_default();
        let began = Instant::now();
        let answer = endpoint.post(&format!("test-{id}"), body).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(match answer {
            Ok(answer) => {
                let ok = (200..300).contains(&answer.status);
                TestView { ok, status: Some(answer.status), error: None, took_ms }
            }
            Err(error) => TestView { ok: false, status: None, error: Some(error), took_ms },
        })
    }

    /// Takes up a webhook again that answered 410, at every gateway; what happened meanwhile is sent. False: there is no such
    /// webhook.
    ///
    /// # Errors
    /// What the store says.
    pub async fn enable(&self, name: &str) -> Result<bool, StoreError> {
        let Some(endpoint) = self.endpoint(name) else { return Ok(false) };
        endpoint.set_gone(false).await?;
        tracing::info!(webhook = name, "the webhook is sent events");
        endpoint.again.notify_one();
        Ok(true)
    }

    /// For `/metrics`.
    pub async fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let Ok(views) = self.views().await else { return samples };
        #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
        let mut family = |name, help, kind, of: &dyn Fn(&WebhookView) -> u64| {
            for view in &views {
                let label = Some(("webhook", view.name.clone()));
                samples.push(Sample { name, help, kind, label, value: of(view) as f64 });
            }
        };
        let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
        let on = |view: &WebhookView| u64::from(view.state == WebhookState::On);
        family("ark_webhook_on", "Whether a webhook is sent events: 0 when it is off or answered 410.", gauge, &on);
        family("ark_webhook_waiting", "Deliveries that wait or are under way.", gauge, &|view| view.waiting);
        family("ark_webhook_dead", "Deliveries that were given up.", gauge, &|view| view.dead);
        family("ark_webhook_delivered_total", "Deliveries that were taken.", counter, &|view| view.delivered);
        family("ark_webhook_failed_total", "Attempts that failed.", counter, &|view| view.failed);
        samples
    }
}

fn state(endpoint: &Endpoint) -> WebhookState {
    match (endpoint.enabled, endpoint.is_on()) {
        (false, _) => WebhookState::Off,
        (true, true) => WebhookState::On,
        (true, false) => WebhookState::Gone,
    }
}

fn view(webhook: &str, delivery: Delivery) -> DeliveryView {
    DeliveryView {
        id: delivery.id,
        webhook: webhook.to_owned(),
        webhook_id: delivery.what.key,
        conversation: delivery.what.conversation.to_string(),
        attempts: delivery.attempts,
        error: delivery.error,
    }
}
