//! What the house writes to a page: it is in the log, where the page reads it. What is left to do is to say so.

use std::sync::Arc;

use ark_conversation::event::{Receipt, ReceiptState};
use ark_conversation::{CloudEvent, Event, source};
use ark_store::{Delivery, Outcome};
use tokio::sync::watch;

use super::Companion;
use super::limits::{CARRY_CLAIM, CARRY_EVERY, CARRY_PAGE};

impl Companion {
    /// Settles messages for pages until `stop`: each is `sent` when it can be seen; `delivered` says the page.
    pub async fn carry(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let claimed = self.store.claim_deliveries(source::COMPANION, &self.gateway, CARRY_CLAIM, CARRY_PAGE).await;
            let claimed = claimed.unwrap_or_else(|error| {
                tracing::debug!(%error, "what pages are to show cannot be read now");
                Vec::new()
            });
            if claimed.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(CARRY_EVERY) => {}
                    () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
                }
            }
            for delivery in claimed {
                let outcome = match self.say_sent(&delivery).await {
                    Ok(()) => Outcome::Delivered,
                    Err(error) => Outcome::Retry { error, after: CARRY_EVERY },
                };
                if let Err(error) = self.store.settle_delivery(delivery.id, delivery.attempts, outcome).await {
                    tracing::debug!(%error, "a page's message is settled later");
                }
            }
        }
    }

    async fn say_sent(&self, delivery: &Delivery) -> Result<(), String> {
        let event: CloudEvent =
            serde_json::from_value(delivery.what.body.clone()).map_err(|error| error.to_string())?;
        let Event::MessageOut(message) = event.event else { return Ok(()) };
        let state = ReceiptState::Sent;
        let receipt =
            Receipt { thread: message.thread, message: event.id.clone(), state, native_id: None, reason: None };
        let id = format!("{}:sent", event.id);
        self.keep(delivery.what.conversation, event.source, &id, receipt)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
