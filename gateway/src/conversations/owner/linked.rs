//! Link tokens: who opened a companion link is known by another channel, which says so with the link's token.

use ark_conversation::event::{Identity, Medium};
use ark_conversation::{Assurance, CloudEvent, Content, Hash, IdentityKey, LegPhase, source};
use ark_store::{Join, NewInbound, StoreError};

use super::machines::Key;
use super::run::Owner;

impl Owner {
    /// Gives verified keys that came with a companion link's token to the conversation that the link was made in: it is this
    /// person's too. A token that is none, or whose link is over, does nothing. Told again, it is there once.
    pub(super) async fn pass_on_keys(
        &mut self,
        key: &Key,
        (keys, assurance): (&[IdentityKey], Assurance),
        token: &Content,
    ) -> Result<(), StoreError> {
        let link = Hash::of(token.reveal().as_bytes());
        let place = source::link(&key.0, link);
        if !assurance.is_verified() || keys.is_empty() {
            return Ok(());
        }
        let Some(conversation) = self.store.thread(&key.0, &place).await?.filter(|other| *other != key.1) else {
            return Ok(());
        };
        let state = self.store.summary(&key.0, conversation).await?;
        let alive = state.is_some_and(|state| {
            let of_link = |leg: &&ark_conversation::LegState| {
                leg.medium == Medium::Companion && leg.source.as_deref() == Some(place.as_str())
            };
            state.legs.iter().find(of_link).is_some_and(|leg| leg.phase != LegPhase::Ended)
        });
        if !alive {
            return Ok(());
        }
        let at = (self.clock)();
        let identity = Identity { thread: link.to_string(), keys: keys.to_vec(), assurance, link_token: None };
        let event = CloudEvent::new(format!("identity:{}", key.1), place, at, identity);
        let join = Join::Conversation(conversation);
        let new = NewInbound { tenant: key.0.clone(), at, event, begin: conversation, join };
        self.store.ingest(new).await?;
        // Whoever owns that conversation looks by itself; when it is here, at once.
        self.wake.notify_one();
        Ok(())
    }
}
