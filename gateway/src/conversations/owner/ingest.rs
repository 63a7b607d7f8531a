//! How messages come in: durable first, then their owner is told.

use std::sync::Arc;

use ark_bus::{Bus, BusError, WakeUp};
use ark_conversation::{ConversationId, Tenant, source};
use ark_store::{Ingested, NewInbound, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::direct::ShortRoad;
use super::failpoint::{self, Point};
use crate::conversations::shards::OwnShards;

/// Names that no adapter may have: what Ark itself writes by.
const OWN_NAMES: &[&str] = &["sip", "webrtc", "gateway", "conversation", source::COMPANION, DESK];
/// The adapter's name in the source of a command that travels by the inbox.
pub(super) const DESK: &str = "desk";

/// Where whoever receives messages from channels leaves them. Cheap to clone.
///
/// [`Ingest::take`] answers when the message is committed, to its conversation's log when that lives here ([`super::direct`]), else
/// to the inbox: only then may it be acknowledged to its sender. Of a message in the inbox the owner of its conversation is told at
/// once, here or over the bus; when that word is lost, it finds the message within a second.
#[derive(Clone)]
pub struct Ingest {
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) own: Arc<OwnShards>,
    pub(super) wake: Arc<Notify>,
    pub(super) short: Arc<ShortRoad>,
}

impl Ingest {
    /// Makes a message durable and tells its conversation's owner. The same (tenant, source, id) again is answered with the row
    /// that is there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a source that is no adapter's thread (`/ark/{tenant}/{adapter}/{account}/{thread}`), or that no
    /// store takes; otherwise what the store says: it was not acknowledged, the sender is to try again.
    pub async fn take(&self, new: NewInbound) -> Result<Ingested, StoreError> {
        let refused = |why: &str| StoreError::Refused(format!("a message from outside: {why}"));
        let source: ark_conversation::ThreadSource =
            new.event.source.parse().map_err(|error: source::SourceError| refused(&error.to_string()))?;
        if source.tenant != new.tenant {
            return Err(refused("its source names another tenant"));
        }
        if OWN_NAMES.contains(&source.adapter.as_str()) || source.adapter.starts_with("ark.") {
            return Err(refused("no adapter may be called so; its name stands for what Ark writes itself"));
        }
        let new = match self.short.take(&*self.store, &self.own, new).await {
            Ok(answer) => return answer,
            Err(new) => new,
        };
        let thread = new.event.source.clone();
        let taken = self.put(new).await?;
        self.short.knows(&thread, taken.conversation);
        Ok(taken)
    }

    /// By the inbox: what Ark itself sends, and what does not go straight to its log.
    pub(crate) async fn put(&self, new: NewInbound) -> Result<Ingested, StoreError> {
        let (tenant, source, id) = (new.tenant.clone(), new.event.source.clone(), new.event.id.clone());
        let taken = self.store.ingest(new).await?;
        failpoint::at(Point::Taken);
        if self.own.holds(taken.shard) {
            self.wake.notify_one();
        } else {
            let wake_up = WakeUp { tenant, conversation: taken.conversation, source, id, event: None };
            match self.bus.wake(wake_up) {
                // It may be lost: the owner looks by itself.
                Ok(receipt) => drop(receipt),
                Err(BusError::ShardFull { .. }) => {}
                Err(error) => tracing::debug!(%error, "no wake-up was sent; the owner finds the message by itself"),
            }
        }
        Ok(taken)
    }

    /// An id for a conversation that begins: in a shard of this gateway's, so that what comes in here is worked on here.
    #[must_use]
    pub fn new_conversation(&self, now: Timestamp) -> ConversationId {
        let unix_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        self.own.draw(|| ConversationId::new(unix_ms, rand::random()))
    }

    /// The conversation that a thread belongs to; none when it was never seen.
    ///
    /// # Errors
    /// What the store says.
    pub async fn conversation(&self, tenant: &Tenant, source: &str) -> Result<Option<ConversationId>, StoreError> {
        self.store.thread(tenant, source).await
    }
}
