//! What the owner is told beside the inbox: wake-ups over the bus, ends of calls, deadlines of conversations that come to it.

use std::sync::Arc;

use ark_bus::{Bus, Filter, Missed, Shard, Subscription, WakeUp};
use ark_conversation::machine::{self, Policy};
use ark_conversation::{ConversationId, Tenant};
use ark_store::{ListFilter, Openness, Store, StoreError};
use tokio::sync::{Notify, broadcast, mpsc};

use super::Note;
use super::limits::*;
use super::machines::Key;
use crate::conversations::Onward;
use crate::conversations::shards::OwnShards;

/// Wake-ups of this gateway's shards over the bus. They say only that there is something: it is in the inbox, or a call is over.
pub(super) async fn wake_ups(
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    own: Arc<OwnShards>,
    wake: Arc<Notify>,
    notes: mpsc::Sender<Note>,
) {
    let mut changed = own.changed();
    loop {
        changed.borrow_and_update();
        let shards: Vec<Shard> = own.held().into_iter().filter(|shard| *shard < bus.shards()).map(Shard).collect();
        let reader = if shards.is_empty() { None } else { bus.ingress(shards).ok() };
        let Some(mut reader) = reader else {
            tokio::select! {
                said = changed.changed() => if said.is_err() { return },
                () = tokio::time::sleep(BUS_AGAIN) => {}
            }
            continue;
        };
        loop {
            tokio::select! {
                delivery = reader.next() => match delivery {
                    Some(delivery) => {
                        wake.notify_one();
                        if delivery.wake_up.source == CALL_OVER {
                            let key = (delivery.wake_up.tenant.clone(), delivery.wake_up.conversation);
                            call_over(&*store, &notes, key).await;
                        }
                        delivery.ack().await;
                    }
                    None => return,
                },
                said = changed.changed() => match said {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
        drop(reader);
        tokio::time::sleep(SHARDS_SETTLE).await;
    }
}

/// The source of a wake-up that says that a call is over.
const CALL_OVER: &str = "/ark/call-over";

/// Tells the owner of a call's end in a conversation with an open session: the others need nobody.
async fn call_over(store: &dyn Store, notes: &mpsc::Sender<Note>, key: Key) {
    let state = store.summary(&key.0, key.1).await.ok().flatten();
    if state.is_some_and(|state| state.session.is_some()) {
        // An owner that is gone needs no word.
        let _ = notes.send(Note::CallOver(key)).await;
    }
}

/// Follows the ends of calls that this gateway wrote: to the owner here, or to the one that has the shard. What is lost of it is found
/// by the deadline that it brings.
pub(super) async fn follow_calls(
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    own: Arc<OwnShards>,
    mut ended: Ended,
    notes: mpsc::Sender<Note>,
) {
    while let Some(key) = ended.next().await {
        if own.holds(own.topology().shard(key.1)) {
            call_over(&*store, &notes, key).await;
            continue;
        }
        let (tenant, conversation) = key;
        let id = conversation.to_string();
        let wake_up = WakeUp { tenant, conversation, source: CALL_OVER.to_owned(), id, event: None };
        if let Ok(receipt) = bus.wake(wake_up) {
            drop(receipt);
        }
    }
}

/// Where the ends of calls are heard of.
pub(super) enum Ended {
    /// On the bus of this process: every record that is committed here.
    Bus(Subscription),
    /// From the log's writers.
    Writers(broadcast::Receiver<(Tenant, ConversationId)>),
}

impl Ended {
    pub(super) async fn of(onward: &Onward) -> Option<Self> {
        match onward {
            Onward::Direct(bus) => {
                let types =
                    ["ark.call.ended.v1", "ark.call.lost.v1", "ark.transfer.finished.v1"].map(str::to_owned).to_vec();
                bus.subscribe(Filter { types, ..Filter::default() }).await.ok().map(Self::Bus)
            }
            Onward::Relay(_, ends) => Some(Self::Writers(ends.subscribe())),
        }
    }

    async fn next(&mut self) -> Option<Key> {
        loop {
            return match self {
                Self::Bus(records) => match records.next().await {
                    Ok(record) => Some((record.tenant.clone(), record.conversation)),
                    Err(Missed::Lagged { .. }) => continue,
                    Err(Missed::Closed) => None,
                },
                Self::Writers(ends) => match ends.recv().await {
                    Ok(key) => Some(key),
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => None,
                },
            };
        }
    }
}

/// Finds the deadlines of conversations whose shards come to this gateway: at its start, and from those that have died.
pub(super) async fn find_deadlines(
    store: Arc<dyn Store>,
    own: Arc<OwnShards>,
    policy: Arc<Policy>,
    notes: mpsc::Sender<Note>,
    tenant: Tenant,
) {
    let mut changed = own.changed();
    let mut known = Vec::new();
    loop {
        changed.borrow_and_update();
        let held: Vec<_> =
            own.held().into_iter().filter_map(|shard| own.right(shard).map(|right| (shard, right))).collect();
        let new: Vec<u16> = held.iter().filter(|one| !known.contains(*one)).map(|(shard, _)| *shard).collect();
        let looked = if new.is_empty() { Ok(()) } else { look_at(&*store, &own, &policy, &notes, &tenant, &new).await };
        match looked {
            Ok(()) => {
                known = held;
                match tokio::time::timeout(LOOK_OVER, changed.changed()).await {
                    Ok(Ok(())) => tokio::time::sleep(SHARDS_SETTLE).await,
                    Ok(Err(_)) => return,
                    // Everything once more: what was said of it may have been lost.
                    Err(_) => known.clear(),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the open conversations cannot be looked at; again in a moment");
                tokio::time::sleep(RETRY_MAX).await;
            }
        }
    }
}

async fn look_at(
    store: &dyn Store,
    own: &OwnShards,
    policy: &Policy,
    notes: &mpsc::Sender<Note>,
    tenant: &Tenant,
    shards: &[u16],
) -> Result<(), StoreError> {
    let mut before = None;
    loop {
        let filter = ListFilter { openness: Openness::Open, before, ..ListFilter::default() };
        let page = store.list(tenant, filter, LOOK_PAGE).await?;
        for state in &page.conversations {
            let at = machine::deadline(state, policy);
            if let Some(at) = at.filter(|_| shards.contains(&own.topology().shard(state.conversation))) {
                let key = (state.tenant.clone(), state.conversation);
                if notes.send(Note::Deadline(key, at)).await.is_err() {
                    return Ok(());
                }
            }
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(()),
        }
    }
}
