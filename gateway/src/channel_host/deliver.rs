//! Messages of the house on their way out: claimed, made to fit, sent, and what came of them written back to the log.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ark_conversation::channel::{OUTCOME_UNKNOWN, Outbound, Outcome};
use ark_conversation::event::{MessageOut, Receipt, ReceiptReason, ReceiptState};
use ark_conversation::{CloudEvent, Event, ThreadSource};
use ark_store::{Delivery, LAPSED, Outcome as Settled, Store};
use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::account::{Inputs, Said, Shared};
use super::limits::*;
use crate::retry::wait;

/// One account, as its messages see it.
pub(super) struct Target {
    pub(super) shared: Arc<Shared>,
    pub(super) inputs: Inputs,
    pub(super) pace: tokio::sync::Mutex<Pace>,
    pub(super) places: Arc<Semaphore>,
}

/// How fast an account may send.
pub(super) struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(out_per_s: Option<f64>) -> Self {
        let every =
            out_per_s.filter(|rate| *rate > 0.0).map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Self { every, next: Instant::now() }
    }

    /// The provider says that the account is too fast.
    fn hold(&mut self, now: Instant, after: Option<Duration>) {
        self.next = self.next.max(now + after.unwrap_or(RATE_PAUSE).min(RATE_PAUSE_MAX));
    }

    /// When the next one may go.
    fn take(&mut self, now: Instant) -> Instant {
        let at = self.next.max(now);
        self.next = at + self.every;
        at
    }
}

/// Sends what is due for all accounts of one adapter, until `stop`.
pub(super) async fn run(
    adapter: String,
    gateway: String,
    store: Arc<dyn Store>,
    targets: BTreeMap<String, Arc<Target>>,
    wake: Arc<tokio::sync::Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let places: usize = targets.len() * SENDS_MAX;
    let under_way = Arc::new(Semaphore::new(places));
    loop {
        let free = under_way.available_permits();
        let claimed = if free == 0 {
            Vec::new()
        } else {
            match store.claim_deliveries(&adapter, &gateway, CLAIM, free.min(SENDS_MAX)).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::debug!(%adapter, %error, "what is due cannot be read now");
                    Vec::new()
                }
            }
        };
        let idle = claimed.is_empty();
        for delivery in claimed {
            let Ok(place) = Arc::clone(&under_way).acquire_owned().await else { return };
            let (store, wake, target) = (Arc::clone(&store), Arc::clone(&wake), target_of(&targets, &delivery));
            tokio::spawn(async move {
                let _place = place;
                let settled = match target {
                    Ok((target, event)) => send(&target, event, &delivery).await,
                    Err(error) => Some(Settled::Retry { error, after: RETRY_MAX }),
                };
                if let Some(settled) = settled {
                    settle(&*store, &delivery, settled).await;
                }
                // The next one of its thread may be due now.
                wake.notify_one();
            });
        }
        if idle {
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            }
        } else if *stop.borrow() {
            break;
        }
    }
    let _ = tokio::time::timeout(STOP_MAX, under_way.acquire_many(u32::try_from(places).unwrap_or(u32::MAX))).await;
}

/// Whose message it is, and what it says.
fn target_of(
    targets: &BTreeMap<String, Arc<Target>>,
    delivery: &Delivery,
) -> Result<(Arc<Target>, CloudEvent), String> {
    let event: CloudEvent = serde_json::from_value(delivery.what.body.clone())
        .map_err(|error| format!("the message cannot be read: {error}"))?;
    let source: ThreadSource = event.source.parse().map_err(|error| format!("the message's thread: {error}"))?;
    let target = targets.get(&source.account);
    let target = target.ok_or_else(|| format!("no [[channel]] of this gateway is called `{}`", source.account))?;
    Ok((Arc::clone(target), event))
}

/// Whether an earlier try may have arrived: it was met with silence, or whoever made it died. What is refused from then on is not known
/// not to have arrived.
fn may_be_there(delivery: &Delivery) -> bool {
    delivery.error.as_deref().is_some_and(|error| error == LAPSED || error == OUTCOME_UNKNOWN)
}

/// Sends one message and writes what came of it to the log; then what the store is told. None: what came of it could not be
/// written, and is not known from now on.
async fn send(target: &Target, mut event: CloudEvent, delivery: &Delivery) -> Option<Settled> {
    let outcome = match &mut event.event {
        Event::MessageOut(message) => match fit(target, message) {
            Ok(()) => hand_over(target, event.clone(), delivery).await,
            Err(text) => Outcome::Failed { code: "unsupported".to_owned(), text: Some(text) },
        },
        _ => Outcome::Failed { code: "malformed".to_owned(), text: Some("it is no message".to_owned()) },
    };
    let numbers = &target.shared.numbers;
    let (state, reason, native_id, settled) = match outcome {
        Outcome::Retry { code, after } if delivery.attempts < ATTEMPTS_MAX => {
            if code == "rate" {
                // Too fast is the account's fault, not this message's: the others wait too.
                target.pace.lock().await.hold(Instant::now(), after);
            }
            let error = if may_be_there(delivery) { OUTCOME_UNKNOWN.to_owned() } else { code };
            return Some(Settled::Retry { error, after: until_next(after, delivery.attempts) });
        }
        Outcome::Accepted { native_id } => (ReceiptState::Accepted, None, native_id, Settled::Delivered),
        Outcome::Sent { native_id } => (ReceiptState::Sent, None, native_id, Settled::Delivered),
        Outcome::Retry { code, .. } => {
            let code = if may_be_there(delivery) { OUTCOME_UNKNOWN } else { &code };
            failed(code, Some("given up after many tries".to_owned()))
        }
        Outcome::Failed { code, text } => failed(&code, text),
        Outcome::Unknown => failed(OUTCOME_UNKNOWN, None),
    };
    let number = if settled == Settled::Delivered { &numbers.sent } else { &numbers.failed };
    number.fetch_add(1, Ordering::Relaxed);
    match receipt(target, &event, state, native_id, reason).await {
        Ok(()) => Some(settled),
        // Its claim runs out, and whoever has it next knows that nobody knows.
        Err(error) => {
            tracing::error!(channel = %target.shared.who.account, %error, "what came of a message could not be written to the log");
            None
        }
    }
}

/// How long a message waits for its next try: what the provider asks for, up to our own bound, since its thread waits behind it.
fn until_next(asked: Option<Duration>, attempts: u32) -> Duration {
    asked.map_or_else(|| wait(RETRY_FIRST, RETRY_MAX, attempts, rand::random()), |asked| asked.min(RETRY_MAX))
}

fn failed(code: &str, text: Option<String>) -> (ReceiptState, Option<ReceiptReason>, Option<String>, Settled) {
    let error = text.clone().map_or_else(|| code.to_owned(), |text| format!("{code}: {text}"));
    let reason = ReceiptReason { code: code.to_owned(), text, retriable: false };
    (ReceiptState::Failed, Some(reason), None, Settled::GiveUp { error })
}

/// Makes a message what its channel can carry.
fn fit(target: &Target, message: &mut MessageOut) -> Result<(), String> {
    let manifest = target.shared.manifest.lock().unwrap_or_else(PoisonError::into_inner);
    let degraded = manifest.degrade(&message.parts, |_| None).map_err(|error| error.to_string())?;
    message.parts = degraded.parts;
    Ok(())
}

/// Gives a message to the machine, at the account's pace, and waits for what comes of it.
async fn hand_over(target: &Target, event: CloudEvent, delivery: &Delivery) -> Outcome {
    let _place = target.places.acquire().await;
    let at = target.pace.lock().await.take(Instant::now());
    tokio::time::sleep_until(at).await;
    let (settled, outcome) = oneshot::channel();
    let in_doubt = delivery.error.as_deref() == Some(LAPSED);
    let message = Box::new(Outbound { delivery: delivery.id, attempt: delivery.attempts, event, in_doubt });
    if target.inputs.try_say(Said::Send { message, settled }).is_err() {
        return Outcome::Retry { code: "busy".to_owned(), after: None };
    }
    match tokio::time::timeout(SETTLE_MAX, outcome).await {
        Ok(Ok(outcome)) => outcome,
        // The machine is gone, or says nothing: it may have been sent.
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    }
}

async fn receipt(
    target: &Target,
    event: &CloudEvent,
    state: ReceiptState,
    native_id: Option<String>,
    reason: Option<ReceiptReason>,
) -> Result<(), String> {
    let Event::MessageOut(message) = &event.event else { return Ok(()) };
    let receipt = Receipt { thread: message.thread.clone(), message: event.id.clone(), state, native_id, reason };
    let id = format!("{}:{}", event.id, state.as_str());
    let receipt = CloudEvent::new(id, event.source.clone(), Timestamp::now(), receipt);
    let mut attempt = 1;
    loop {
        match target.shared.inlet.take(&target.shared.who.tenant, receipt.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt >= 5 => return Err(error),
            Err(_) => tokio::time::sleep(wait(RETRY_FIRST, RETRY_MAX, attempt, rand::random())).await,
        }
        attempt += 1;
    }
}

async fn settle(store: &dyn Store, delivery: &Delivery, outcome: Settled) {
    for attempt in 1..=5 {
        match store.settle_delivery(delivery.id, delivery.attempts, outcome.clone()).await {
            Ok(_) => return,
            Err(error) if attempt == 5 => {
                tracing::error!(delivery = delivery.id, %error, "what came of a message could not be settled; it is tried again");
            }
            Err(_) => tokio::time::sleep(wait(RETRY_FIRST, RETRY_MAX, attempt, rand::random())).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn an_account_that_is_too_fast_waits_with_all_its_messages() {
        let (mut pace, now) = (Pace::new(Some(10.0)), Instant::now());
        let first = pace.take(now);
        assert!(pace.take(now) >= first + Duration::from_millis(100), "ten a second");
        pace.hold(now, Some(Duration::from_secs(7)));
        assert_eq!(pace.take(now), now + Duration::from_secs(7));
        assert_eq!(pace.take(now), now + Duration::from_millis(7_100));
        pace.hold(now, Some(Duration::from_secs(86_400)));
        assert_eq!(pace.take(now), now + RATE_PAUSE_MAX);
    }

    #[test]
    fn a_provider_cannot_ask_for_a_year() {
        assert_eq!(until_next(Some(Duration::from_secs(7)), 1), Duration::from_secs(7));
        assert_eq!(until_next(Some(Duration::from_secs(31_536_000)), 1), RETRY_MAX);
        assert!(until_next(None, u32::MAX) <= RETRY_MAX);
    }

    /// In virtual time, and whatever is drawn: after an hour's outage every message still has tries left, and has one soon.
    #[test]
    fn a_provider_that_is_away_for_an_hour_costs_no_message() {
        let hour = Duration::from_secs(3_600);
        for seed in 0..2_000 {
            let mut draws = ChaCha8Rng::seed_from_u64(seed);
            let (mut at, mut attempts) = (Duration::ZERO, 1);
            while at <= hour {
                at += wait(RETRY_FIRST, RETRY_MAX, attempts, draws.random());
                attempts += 1;
            }
            assert!(attempts < ATTEMPTS_MAX, "seed {seed}: given up after {at:?}");
            assert!(at <= hour + RETRY_MAX, "seed {seed}: tried again after {at:?} only");
        }
    }
}
