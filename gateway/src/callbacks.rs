//! Who may be called back, and where they wait for it: for the API, and for visitors of web pages.
//!
//! The place itself is the conversation's (a leg that is offered, in its log); the desk finds it there and asks agents
//! ([`crate::desk`]), and the switch makes the call.

use std::sync::Arc;

use ark_conversation::{ConversationId, ConversationState, Owner, Pii, Tenant};
use ark_store::{Store, StoreError};
use jiff::Timestamp;

use crate::call::Site;
use crate::conversations::callback::{is_number, number_of, verified_phone};
use crate::conversations::owner::{Command, CommandError, Conversations, Hand, Wish};

/// Puts customers in line for a call. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks {
    store: Arc<dyn Store>,
    conversations: Conversations,
    /// Trunks and routes: numbers that none leads to are not promised a call.
    roads: Arc<Site>,
    queues: Arc<[String]>,
    tenant: Tenant,
}

/// Somebody who waits for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The number; mask it before it is shown.
    pub number: String,
    /// In which queue.
    pub queue: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether they did already.
    pub duplicate: bool,
}

/// Why somebody cannot be called back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotCallBack {
    /// No such conversation.
    #[error("there is no conversation {0}")]
    NoConversation(ConversationId),
    /// No number of theirs is known for sure.
    #[error(
        "no number of this customer is known for sure: they have not called, and no verified phone is linked to them; \
         link one (docs/accounts.md), or call them by POST /api/v1/calls"
    )]
    NoPhone,
    /// The number leads nowhere.
    #[error("their number cannot be called: {0}")]
    NoWay(String),
    /// A call of theirs is up.
    #[error("a call of theirs is up")]
    CallUp,
    /// No queue of that name.
    #[error("there is no [[queue]] `{0}`")]
    NoQueue(String),
    /// The conversation's owner said no.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store is away.
    #[error("{0}")]
    Store(String),
}

impl From<StoreError> for CannotCallBack {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl Callbacks {
    /// Of a site with these roads and queues.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, conversations: Conversations, roads: Site, queues: Vec<String>) -> Self {
        Self { store, conversations, roads: Arc::new(roads), queues: queues.into(), tenant: Tenant::default() }
    }

    /// Whether anybody can be called at all: there is a way out, and a queue whose agents call.
    #[must_use]
    pub fn can(&self) -> bool {
        !self.roads.routes.is_empty() && !self.queues.is_empty()
    }

    /// Puts the customer of a conversation in line for a call. `known`: a number that is for sure theirs; else it is the one by which
    /// they called, or a verified one of theirs. `queue`: whose agents call; else where they wait, or waited last.
    ///
    /// # Errors
    /// [`CannotCallBack`]; nothing has changed then.
    pub async fn ask(
        &self,
        conversation: ConversationId,
        by: Owner,
        (known, queue): (Option<String>, Option<String>),
    ) -> Result<Asked, CannotCallBack> {
        let state = self.state(conversation).await?;
        if state.customer_calls() {
            return Err(CannotCallBack::CallUp);
        }
        let number = match known.or_else(|| number_of(&state)) {
            Some(number) => Some(number),
            None => self.phone_of(&state).await?,
        };
        let number = number.filter(|number| is_number(number)).ok_or(CannotCallBack::NoPhone)?;
        self.roads.way_for_operators(&number).map_err(|error| CannotCallBack::NoWay(error.to_string()))?;
        let queue = self.queue_of(&state, queue)?;
        let wish = Wish::Hand(Hand::CallBack { queue, to: Pii::new(number), since: None });
        let done = self.conversations.command(self.command(conversation, by, wish)).await?;
        let state = self.state(conversation).await?;
        let leg = state.waiting_callback().ok_or(CannotCallBack::CallUp)?;
        let place = leg.callback.as_ref().ok_or(CannotCallBack::CallUp)?;
        let (number, since) = (leg.to.reveal().to_owned(), place.waiting_since);
        Ok(Asked { number, queue: place.queue.clone(), since, duplicate: done.duplicate })
    }

    /// They wait for it no longer.
    ///
    /// # Errors
    /// [`CannotCallBack`]; nobody waited, say.
    pub async fn cancel(&self, conversation: ConversationId, by: Owner) -> Result<(), CannotCallBack> {
        let command = self.command(conversation, by, Wish::Hand(Hand::CancelCallback));
        self.conversations.command(command).await?;
        Ok(())
    }

    /// A verified phone of whoever the conversation is with.
    ///
    /// # Errors
    /// [`CannotCallBack::Store`].
    pub async fn phone_of(&self, state: &ConversationState) -> Result<Option<String>, CannotCallBack> {
        let Some(person) = state.person else { return Ok(None) };
        Ok(verified_phone(&*self.store, &self.tenant, person).await?)
    }

    async fn state(&self, id: ConversationId) -> Result<ConversationState, CannotCallBack> {
        let state = self.store.summary(&self.tenant, id).await?;
        state.ok_or(CannotCallBack::NoConversation(id))
    }

    fn queue_of(&self, state: &ConversationState, named: Option<String>) -> Result<String, CannotCallBack> {
        if let Some(named) = named {
            return if self.queues.contains(&named) { Ok(named) } else { Err(CannotCallBack::NoQueue(named)) };
        }
        let place = state.place.as_ref().map(|place| &place.queue);
        let last = state.queue.as_ref().or(place).or(state.last_queue.as_ref());
        let last = last.filter(|queue| self.queues.contains(queue)).or(self.queues.first());
        last.cloned().ok_or_else(|| CannotCallBack::NoQueue(String::new()))
    }

    fn command(&self, conversation: ConversationId, by: Owner, wish: Wish) -> Command {
        Command { tenant: self.tenant.clone(), conversation, by, wish }
    }
}
