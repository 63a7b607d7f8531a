//! Commands for conversations that another gateway owns: they travel by the inbox, their answers by the store.
//!
//! A command is a row of the inbox like a message (source `/ark/{tenant}/desk/{gateway}/{conversation}`): durable, in order with the
//! customer's messages, and taken by whoever owns the shard when it is read. The owner writes its answer in the transaction in which
//! it marks the row as done: as a delivery for the gateway that asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_conversation::event::OtherEvent;
use ark_conversation::{CloudEvent, Event, EventId, source};
use ark_store::{DeliveryState, Inbound, Join, NewDelivery, NewInbound, Store};
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::command::{Command, CommandError, Outcome};
use super::ingest::{DESK, Ingest};
use super::limits::{ANSWER_EVERY, ASKED_ELSEWHERE, FORGET_AFTER};

/// The type of a command's event in the inbox. It is never in a log.
pub(super) const COMMAND_TYPE: &str = "ark.desk.command.v1";
/// How long an answer is held by the one who fetches it before it may be fetched again.
const CLAIM: Duration = Duration::from_secs(10);
/// Answers in one look.
const PAGE: usize = 64;

/// The name under which a gateway's answers lie in the store.
fn adapter(gateway: &str) -> String {
    format!("ark.answer:{gateway}")
}

/// Those who wait for another gateway's answer.
#[derive(Default)]
pub(super) struct Waiting {
    all: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    some: Notify,
}

impl Waiting {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a command to the owner of its conversation and waits for the answer, as long as the caller lets it.
pub(super) async fn ask(
    ingest: &Ingest,
    waiting: &Waiting,
    gateway: &str,
    now: Timestamp,
    command: Command,
) -> Outcome {
    let unix_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let id = EventId::new(unix_ms, rand::random()).to_string();
    let (tenant, conversation) = (command.tenant.clone(), command.conversation);
    let data = serde_json::to_value(&command).map_err(|error| CommandError::Refused(error.to_string()))?;
    let event = Event::Other(OtherEvent { type_name: COMMAND_TYPE.to_owned(), data });
    let source = source::thread(&tenant, DESK, gateway, &conversation.to_string());
    let event = CloudEvent::new(id.clone(), source, now, event);
    let (reply, answer) = oneshot::channel();
    {
        let mut all = waiting.all();
        all.retain(|_, reply| !reply.is_closed());
        if all.len() >= ASKED_ELSEWHERE {
            return Err(CommandError::Unavailable("too many commands wait for other gateways; try again".to_owned()));
        }
        all.insert(id.clone(), reply);
        waiting.some.notify_one();
    }
    // With its own conversation as the one to begin, it goes there also when that has ended, or never was.
    let new = NewInbound { tenant, at: now, event, begin: conversation, join: Join::Conversation(conversation) };
    if let Err(error) = ingest.put(new).await {
        waiting.all().remove(&id);
        return Err(CommandError::Unavailable(error.to_string()));
    }
    answer.await.unwrap_or_else(|_| Err(CommandError::Unavailable("the gateway ends".to_owned())))
}

/// The command in a row of the inbox, when it is one, and the gateway that asks.
pub(super) fn command(row: &Inbound) -> Option<(String, Result<Command, String>)> {
    let Event::Other(other) = &row.event.event else { return None };
    let source: ark_conversation::ThreadSource = row.event.source.parse().ok()?;
    if other.type_name != COMMAND_TYPE || source.adapter != DESK {
        return None;
    }
    let command = serde_json::from_value::<Command>(other.data.clone()).map_err(|error| error.to_string());
    let fits = |command: &Command| command.conversation == row.conversation && command.tenant == row.tenant;
    let command = command.and_then(|one| if fits(&one) { Ok(one) } else { Err("another conversation".to_owned()) });
    Some((source.account, command))
}

/// The answer to a row's command, as it is written with the row.
pub(super) fn answer(row: &Inbound, gateway: &str, outcome: &Outcome) -> NewDelivery {
    let body = match outcome {
        Ok(done) => serde_json::json!({ "done": done }),
        Err(error) => serde_json::json!({ "error": error }),
    };
    NewDelivery {
        tenant: row.tenant.clone(),
        adapter: adapter(gateway),
        key: row.event.id.clone(),
        order_key: row.event.id.clone(),
        conversation: row.conversation,
        body,
        not_before: None,
    }
}

fn read(body: &serde_json::Value) -> Outcome {
    let unreadable = |error: serde_json::Error| CommandError::Unavailable(format!("the answer is unreadable: {error}"));
    match (body.get("done"), body.get("error")) {
        (Some(done), _) => serde_json::from_value(done.clone()).map_err(unreadable),
        (_, Some(error)) => Err(serde_json::from_value(error.clone()).map_err(unreadable)?),
        _ => Err(CommandError::Unavailable("the answer is empty".to_owned())),
    }
}

/// Fetches answers for as long as somebody waits for one.
pub(super) async fn fetch(store: Arc<dyn Store>, waiting: Arc<Waiting>, gateway: String) {
    let (adapter, tenant) = (adapter(&gateway), ark_conversation::Tenant::MAIN);
    let mut every = tokio::time::interval(ANSWER_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut forgot = tokio::time::Instant::now();
    loop {
        every.tick().await;
        if forgot.elapsed() >= FORGET_AFTER {
            forgot = tokio::time::Instant::now();
            for name in [adapter.as_str(), super::batch::PARKED] {
                let _ = store.forget_deliveries(&tenant, name, DeliveryState::Done, FORGET_AFTER).await;
            }
        }
        if waiting.all().is_empty() {
            let _ = tokio::time::timeout(FORGET_AFTER, waiting.some.notified()).await;
            continue;
        }
        let Ok(found) = store.claim_deliveries(&adapter, &gateway, CLAIM, PAGE).await else { continue };
        for one in found {
            // One that nobody waits for any more is over as well.
            if let Some(reply) = waiting.all().remove(&one.what.key) {
                let _ = reply.send(read(&one.what.body));
            }
            let _ = store.settle_delivery(one.id, one.attempts, ark_store::Outcome::Delivered).await;
        }
        waiting.all().retain(|_, reply| !reply.is_closed());
    }
}
