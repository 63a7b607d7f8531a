//! Who waits for a page: a plan whose caller was sent a link.

use std::time::Duration;

use ark_bus::{Filter, Missed, Subscription};
use ark_conversation::event::Part;
use ark_conversation::{ConversationId, Event, Hash, source};
use tokio::sync::OwnedSemaphorePermit;

use super::{Companion, LinkError};

/// The id of the event that says that a link's short message did not arrive, after it had gone out.
pub(super) const RECEIPT: &str = "receipt:sms";

/// What happened on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A device took the link.
    Joined,
    /// A picture came.
    Uploaded,
    /// A short message that had gone out did not arrive.
    Undelivered,
}

/// A place from which one link is watched.
pub struct Watch {
    subscription: Subscription,
    source: String,
    _place: OwnedSemaphorePermit,
}

impl Companion {
    /// Watches a conversation's links from now on: begin before the link is made.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when too many are watched.
    pub async fn watch(&self, conversation: ConversationId) -> Result<Watch, LinkError> {
        let busy = || LinkError::Unavailable("too many plans wait for pages".to_owned());
        let place = std::sync::Arc::clone(&self.watches).try_acquire_owned().map_err(|_| busy())?;
        let filter = Filter::conversation(&self.tenant, conversation);
        let subscription =
            self.bus.subscribe(filter).await.map_err(|error| LinkError::Unavailable(error.to_string()))?;
        Ok(Watch { subscription, source: String::new(), _place: place })
    }

    /// Which link a watch is for.
    pub fn watched(&self, watch: &mut Watch, link: Hash) {
        watch.source = source::link(&self.tenant, link);
    }
}

impl Watch {
    /// The next thing that happens on the page within a time; none: nothing, or nothing can be seen any more.
    pub async fn next(&mut self, within: Duration) -> Option<Seen> {
        let next = async {
            loop {
                let record = match self.subscription.next().await {
                    Ok(record) => record,
                    // What was missed is seen with the next: a plan waits for one picture of several.
                    Err(Missed::Lagged { .. }) => continue,
                    Err(Missed::Closed) => return None,
                };
                if record.event.source != self.source {
                    continue;
                }
                match &record.event.event {
                    Event::LinkJoined(_) => return Some(Seen::Joined),
                    Event::LinkSent(sent) if sent.failed.is_some() && record.event.id == RECEIPT => {
                        return Some(Seen::Undelivered);
                    }
                    Event::MessageIn(message)
                        if message.parts.iter().any(|part| matches!(part, Part::Image { .. })) =>
                    {
                        return Some(Seen::Uploaded);
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(within, next).await.ok().flatten()
    }
}
