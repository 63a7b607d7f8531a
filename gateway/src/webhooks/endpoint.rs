//! One webhook at work: it reads the log, leaves a delivery for each event that is wanted, and sends what is due.
//!
//! The place up to which it has read stands in the store and moves in one transaction with the deliveries that it leaves.
//! So nothing that was committed is missed, whatever is killed, and each event has one delivery with one id. Several
//! gateways share the work: the one that moves the place leaves the deliveries, and each claims what it sends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_conversation::{Record, Tenant};
use ark_store::{Advance, Delivery, DeliveryState, NewDelivery, Outcome, Positioned, Store, StoreError};
use http::HeaderMap;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::limits::*;
use super::reach::{Answer, Client, value};
use super::sign::{Key, signature};
use crate::http::mask;
use crate::retry::wait;

/// What a test may shorten; otherwise [`super::limits`].
#[derive(Clone, Debug)]
pub struct Bounds {
    /// [`RETRY_FIRST`].
    pub retry_first: Duration,
    /// [`RETRY_MAX`].
    pub retry_max: Duration,
    /// [`ATTEMPTS_MAX`].
    pub attempts_max: u32,
    /// [`WAITING_MAX`].
    pub waiting_max: u64,
    /// [`POLL`].
    pub poll: Duration,
    /// [`CLAIM_BEYOND`].
    pub claim_beyond: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            retry_first: RETRY_FIRST,
            retry_max: RETRY_MAX,
            attempts_max: ATTEMPTS_MAX,
            waiting_max: WAITING_MAX,
            poll: POLL,
            claim_beyond: CLAIM_BEYOND,
        }
    }
}

/// One webhook.
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) types: Vec<String>,
    pub(super) enabled: bool,
    pub(super) numbers: bool,
    pub(super) keys: Vec<Key>,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    pub(super) gateway: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) bounds: Bounds,
    /// Something was committed.
    pub(super) wake: Notify,
    /// Something is due that was not before.
    pub(super) again: Notify,
    pub(super) stats: Stats,
}

/// Numbers since the start, and how it is.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) delivered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) given_up: AtomicU64,
    /// It answered 410: nothing is sent until somebody says so. As the store had it last, for all gateways.
    pub(super) gone: AtomicBool,
    /// It answered 410, and the store does not know it yet.
    unwritten: AtomicBool,
    pub(super) last_error: Mutex<Option<String>>,
}

impl Stats {
    fn failed_with(&self, error: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }
}

/// What is said of a delivery that waits because of a 410.
const GONE: &str = "status 410";

/// Where the reading is.
#[derive(Default)]
struct Reading {
    /// As the store has it; none until it was asked.
    written: Option<u64>,
    /// How far it was looked, finding nothing to leave.
    seen: u64,
    /// There was no room for more deliveries.
    full: bool,
}

impl Endpoint {
    /// Who claims and what the log's reader is called.
    pub(super) fn adapter(&self) -> String {
        adapter(&self.name)
    }

    pub(super) fn is_on(&self) -> bool {
        self.enabled && !self.stats.gone.load(Ordering::Relaxed)
    }

    /// Where the store keeps whether it is gone: a place of the log's readers that counts up with each 410 and with each time that
    /// it is enabled again. It is odd while nothing is to be sent.
    fn switch(&self) -> String {
        format!("{}:gone", self.adapter())
    }

    /// Asks the store whether anything is to be sent: another gateway may have heard the 410, or been told to go on.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        if self.stats.unwritten.load(Ordering::Relaxed) {
            return self.set_gone(true).await;
        }
        let switch = self.store.reader(&Tenant::default(), &self.switch()).await?;
        self.stats.gone.store(switch.is_some_and(|switch| switch % 2 == 1), Ordering::Relaxed);
        Ok(())
    }

    /// Writes down, for every gateway and every later process, that it is gone or that it is not any more.
    pub(super) async fn set_gone(&self, gone: bool) -> Result<(), StoreError> {
        let tenant = Tenant::default();
        if gone {
            self.stats.gone.store(true, Ordering::Relaxed);
            self.stats.unwritten.store(true, Ordering::Relaxed);
        }
        loop {
            let from = self.store.reader(&tenant, &self.switch()).await?;
            if (from.unwrap_or(0) % 2 == 1) != gone {
                let to = from.unwrap_or(0) + 1;
                let reader = self.switch();
                let step = Advance { tenant: tenant.clone(), reader, from, to, deliveries: Vec::new() };
                match self.store.advance(step).await {
                    // Another gateway was here first: perhaps with the same.
                    Err(StoreError::Conflict(_)) => continue,
                    moved => drop(moved?),
                }
            }
            self.stats.unwritten.store(false, Ordering::Relaxed);
            self.stats.gone.store(gone, Ordering::Relaxed);
            return Ok(());
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut sending = JoinSet::new();
        let mut reading = Reading::default();
        let mut forgotten = Instant::now();
        let mut due = true;
        let mut said: Option<Instant> = None;
        loop {
            let mut pause = self.bounds.poll;
            if self.enabled {
                match self.step(&mut reading, &mut sending, due).await {
                    Ok(soon) => pause = soon.unwrap_or(pause),
                    Err(error) => {
                        reading = Reading::default();
                        if said.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                            tracing::warn!(webhook = self.name, %error, "the store does not answer; it is tried again");
                            said = Some(Instant::now());
                        }
                    }
                }
            }
            if forgotten.elapsed() >= FORGET_EVERY {
                forgotten = Instant::now();
                self.forget().await;
            }
            due = tokio::select! {
                () = self.wake.notified() => false,
                () = self.again.notified() => true,
                Some(_) = sending.join_next(), if !sending.is_empty() => true,
                () = tokio::time::sleep(pause) => true,
                _ = stop.wait_for(|stop| *stop) => break,
            };
        }
        // What is cut here was not settled: it is claimed again when its claim has run out.
        let _ = tokio::time::timeout(STOP_MAX, async { while sending.join_next().await.is_some() {} }).await;
        sending.shutdown().await;
    }

    /// Reads on, and begins to send what is due. Answers when to come back, when that is sooner than usual.
    async fn step(
        self: &Arc<Self>,
        reading: &mut Reading,
        sending: &mut JoinSet<()>,
        due: bool,
    ) -> Result<Option<Duration>, StoreError> {
        if !self.is_on() {
            self.look().await?;
            if !self.is_on() {
                return Ok(None);
            }
        }
        let read = self.read_on(reading).await?;
        let free = IN_FLIGHT.saturating_sub(sending.len());
        if free > 0 && (due || read.left) {
            // Another gateway may have heard the 410, or an earlier process.
            self.look().await?;
            if !self.is_on() {
                return Ok(None);
            }
            let ttl = self.timeout + self.bounds.claim_beyond;
            for delivery in self.store.claim_deliveries(&self.adapter(), &self.gateway, ttl, free).await? {
                let endpoint = Arc::clone(self);
                sending.spawn(async move { endpoint.deliver(delivery).await });
            }
        }
        Ok(match read {
            Read { more: true, .. } => Some(Duration::ZERO),
            Read { held: true, .. } => Some(HELD_PAUSE),
            _ => None,
        })
    }

    /// Looks at one page of the log and leaves a delivery for each event that is wanted.
    async fn read_on(&self, reading: &mut Reading) -> Result<Read, StoreError> {
        let tenant = Tenant::default();
        let written = match reading.written {
            Some(written) => written,
            None => {
                let written = self.place(&tenant).await?;
                *reading = Reading { written: Some(written), seen: written, full: false };
                written
            }
        };
        if reading.full
            && self.store.delivery_counts(&tenant, &self.adapter()).await?.waiting >= self.bounds.waiting_max
        {
            return Ok(Read::default());
        }
        reading.full = false;
        let page = self.store.feed(&tenant, reading.seen, PAGE).await?;
        let deliveries: Vec<NewDelivery> =
            page.records.iter().filter(|one| self.wants(one)).map(|one| self.delivery(one)).collect();
        let read = Read { left: !deliveries.is_empty(), more: !page.records.is_empty(), held: page.held };
        if deliveries.is_empty() && page.next - written < UNWRITTEN_MAX {
            reading.seen = page.next;
            return Ok(read);
        }
        if self.store.delivery_counts(&tenant, &self.adapter()).await?.waiting >= self.bounds.waiting_max {
            *reading = Reading { written: Some(written), seen: written, full: true };
            return Ok(Read::default());
        }
        let step = Advance { tenant, reader: self.adapter(), from: Some(written), to: page.next, deliveries };
        match self.store.advance(step).await {
            Ok(_) => *reading = Reading { written: Some(page.next), seen: page.next, full: false },
            // Another gateway was here first.
            Err(StoreError::Conflict(_)) => *reading = Reading::default(),
            Err(error) => return Err(error),
        }
        Ok(read)
    }

    /// Where it is; a webhook that is new begins now.
    async fn place(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        loop {
            if let Some(place) = self.store.reader(tenant, &self.adapter()).await? {
                return Ok(place);
            }
            let to = self.store.feed_end().await?;
            let begin =
                Advance { tenant: tenant.clone(), reader: self.adapter(), from: None, to, deliveries: Vec::new() };
            match self.store.advance(begin).await {
                Ok(_) => return Ok(to),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wants(&self, one: &Positioned) -> bool {
        wants(&self.types, one.record.event.type_name())
    }

    /// A delivery names its record: the log keeps the body, and what is erased there is not sent later.
    fn delivery(&self, one: &Positioned) -> NewDelivery {
        let record = &one.record;
        NewDelivery {
            tenant: record.tenant.clone(),
            adapter: self.adapter(),
            key: message_id(record),
            order_key: record.conversation.to_string(),
            conversation: record.conversation,
            body: json!({ "seq": record.seq }),
            not_before: None,
        }
    }

    /// One attempt, from the log to what came of it.
    async fn deliver(&self, delivery: Delivery) {
        if !self.is_on() {
            // It answered 410 to another one since this was claimed.
            return self.settle(&delivery, Outcome::Retry { error: GONE.to_owned(), after: Duration::ZERO }).await;
        }
        let outcome = match self.record_of(&delivery).await {
            Ok(Some(record)) => {
                let body = body(record, self.numbers);
                let answer = self.post(&delivery.what.key, body).await;
                self.judge(&delivery, answer).await
            }
            Ok(None) => Outcome::GiveUp { error: "its record is not in the log".to_owned() },
            Err(error) => Outcome::Retry { error: error.to_string(), after: self.bounds.retry_first },
        };
        match &outcome {
            Outcome::Delivered => drop(self.stats.delivered.fetch_add(1, Ordering::Relaxed)),
            Outcome::Retry { error, .. } => {
                self.stats.failed_with(error);
                tracing::debug!(webhook = self.name, id = delivery.what.key, error, "a delivery is tried again later");
            }
            Outcome::GiveUp { error } => {
                self.stats.failed_with(error);
                self.stats.given_up.fetch_add(1, Ordering::Relaxed);
                let (webhook, delivery, id) = (&self.name, delivery.id, &delivery.what.key);
                tracing::warn!(
                    webhook,
                    delivery,
                    id,
                    error,
                    "a delivery was given up: `ark webhook replay` takes it up"
                );
            }
        }
        self.settle(&delivery, outcome).await;
    }

    /// Writes down what became of it. When that fails, the claim runs out and the same id is sent again: at least once.
    async fn settle(&self, delivery: &Delivery, outcome: Outcome) {
        if let Err(error) = self.store.settle_delivery(delivery.id, delivery.attempts, outcome).await {
            tracing::debug!(webhook = self.name, %error, "what became of a delivery could not be written down");
        }
    }

    async fn record_of(&self, delivery: &Delivery) -> Result<Option<Record>, StoreError> {
        let Some(seq) = delivery.what.body.get("seq").and_then(Value::as_u64) else { return Ok(None) };
        let what = &delivery.what;
        let found = self.store.read(&what.tenant, what.conversation, seq.saturating_sub(1), 1).await?;
        Ok(found.into_iter().next().filter(|record| record.seq == seq))
    }

    /// Signs and sends.
    pub(super) async fn post(&self, id: &str, body: Vec<u8>) -> Result<Answer, String> {
        let now = Timestamp::now().as_second();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", value("application/cloudevents+json; charset=utf-8"));
        headers.insert("user-agent", value(concat!("Ark/", env!("CARGO_PKG_VERSION"))));
        headers.insert("webhook-id", value(id));
        headers.insert("webhook-timestamp", value(&now.to_string()));
        headers.insert("webhook-signature", value(&signature(&self.keys, id, now, &body)));
        self.client.post(&headers, &Bytes::from(body)).await
    }

    /// What an answer means.
    async fn judge(&self, delivery: &Delivery, answer: Result<Answer, String>) -> Outcome {
        let (error, asked) = match answer {
            Ok(Answer { status: 200..=299, .. }) => return Outcome::Delivered,
            Ok(Answer { status: 410, .. }) => {
                let news = !self.stats.gone.load(Ordering::Relaxed);
                if let Err(error) = self.set_gone(true).await {
                    let webhook = &self.name;
                    tracing::warn!(webhook, %error, "that the webhook answered 410 cannot be written down yet; it is tried again");
                }
                if news {
                    let webhook = &self.name;
                    tracing::warn!(
                        webhook,
                        "the webhook answered 410 and is sent nothing any more; `ark webhook enable {webhook}` takes it up"
                    );
                }
                return Outcome::Retry { error: GONE.to_owned(), after: Duration::ZERO };
            }
            Ok(Answer { status, retry_after }) => (format!("status {status}"), retry_after),
            Err(error) => (error, None),
        };
        if delivery.attempts >= self.bounds.attempts_max {
            return Outcome::GiveUp { error: format!("{error}, after {} attempts", delivery.attempts) };
        }
        let own = wait(self.bounds.retry_first, self.bounds.retry_max, delivery.attempts, rand::random());
        let after = asked.map_or(own, |asked| asked.min(self.bounds.retry_max).max(own));
        Outcome::Retry { error, after }
    }

    /// Forgets what is over and old.
    async fn forget(&self) {
        for (state, age) in [(DeliveryState::Done, DONE_KEPT), (DeliveryState::Dead, DEAD_KEPT)] {
            while self
                .store
                .forget_deliveries(&Tenant::default(), &self.adapter(), state, age)
                .await
                .is_ok_and(|gone| gone > 0)
            {}
        }
    }
}

/// What a look at the log found.
#[derive(Default)]
struct Read {
    /// Deliveries were left.
    left: bool,
    /// There may be more.
    more: bool,
    /// A transaction under way holds something back.
    held: bool,
}

/// Whether a type is wanted: one of the list, or below one (`ark.call` wants `ark.call.ringing.v1`); an empty list wants
/// all.
pub(crate) fn wants(types: &[String], name: &str) -> bool {
    let below = |prefix: &str| {
        let prefix = prefix.trim_end_matches('*').trim_end_matches('.');
        prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    types.is_empty() || types.iter().any(|prefix| below(prefix))
}

/// The name under which a webhook claims its deliveries and reads the log.
pub(super) fn adapter(name: &str) -> String {
    format!("webhook:{name}")
}

/// The id that a receiver tells duplicates by: the record's place. The same for each attempt, each replay and each webhook.
pub(super) fn message_id(record: &Record) -> String {
    format!("{}-{}", record.conversation, record.seq)
}

/// The CloudEvent in structured mode, with its record's place as extension attributes.
pub(super) fn body(record: Record, numbers: bool) -> Vec<u8> {
    let mut record = mask::record(record, numbers);
    let place = [
        ("arkconversation", Value::from(record.conversation.to_string())),
        ("arkseq", Value::from(record.seq)),
        ("arkepoch", Value::from(record.epoch)),
        ("arktenant", Value::from(record.tenant.to_string())),
    ];
    record.event.extensions.extend(place.map(|(name, value)| (name.to_owned(), value)));
    serde_json::to_vec(&record.event).expect("an event's keys are strings and its numbers finite")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_or_named_by_what_they_are_below() {
        let list = |types: &[&str]| types.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(wants(&[], "ark.call.ringing.v1"));
        for prefix in ["ark.call", "ark.call.", "ark.call.*", "ark.call.ringing.v1", "ark", "*"] {
            assert!(wants(&list(&[prefix]), "ark.call.ringing.v1"), "{prefix}");
        }
        for prefix in ["ark.cal", "ark.call.ring", "ark.message", "ark.call.ringing.v1.x"] {
            assert!(!wants(&list(&[prefix]), "ark.call.ringing.v1"), "{prefix}");
        }
        assert!(wants(&list(&["ark.message", "ark.dtmf.v1"]), "ark.dtmf.v1"));
    }

    #[test]
    fn a_webhook_is_given_up_after_the_time_that_its_limit_says() {
        let most: Duration = (1..ATTEMPTS_MAX).map(|attempt| wait(RETRY_FIRST, RETRY_MAX, attempt, 1.0)).sum();
        let hours = most.as_secs() / 3_600;
        assert!((26..27).contains(&hours), "{hours} hours at most, as the limit's words say");
    }
}
