//! What came in and is durable, before its conversation's owner has read it.

use ark_conversation::event::OtherEvent;
use ark_conversation::{CloudEvent, ConversationId, Event, PersonId, Tenant};
use jiff::Timestamp;

/// A message from outside on its way into the inbox. When [`crate::Store::ingest`] has answered, it is durable and
/// may be acknowledged to whoever sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewInbound {
    /// Whose data it is.
    pub tenant: Tenant,
    /// When Ark accepted it; cut to whole microseconds.
    pub at: Timestamp,
    /// The message. Its `source` is the thread (`/ark/{tenant}/{adapter}/{account}/{thread}`), its `id` the
    /// provider's.
    pub event: CloudEvent,
    /// The conversation that begins when the thread belongs to none that is open.
    pub begin: ConversationId,
    /// Where a thread that belongs to no open conversation goes.
    pub join: Join,
}

/// Where a thread that belongs to no open conversation goes. What follows something ([`Event::follows`]) leaves its thread where it is,
/// though its conversation has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// To a conversation of its own.
    #[default]
    Begin,
    /// To the newest open conversation of this person, or of the person that they were merged into.
    Person(PersonId),
    /// To this conversation, if it has not ended.
    Conversation(ConversationId),
}

/// What became of a [`NewInbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Its row in the inbox; for a duplicate the row that was there.
    pub row: u64,
    /// The conversation to which its thread belongs.
    pub conversation: ConversationId,
    /// That conversation's shard: where the wake-up goes.
    pub shard: u16,
    /// Whether the thread was pointed to this conversation just now.
    pub joined: bool,
    /// Whether the (tenant, source, id) was there before; nothing was written then.
    pub duplicate: bool,
}

/// A row of the inbox that its conversation's owner has not applied yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// The row, for [`crate::Commit::applied`]. Rows of one thread are in the order in which they came.
    pub row: u64,
    /// The shard.
    pub shard: u16,
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// When Ark accepted it.
    pub at: Timestamp,
    /// The message.
    pub event: CloudEvent,
}

/// How much waits in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows of the inbox that are not applied.
    pub inbox: u64,
    /// Rows of the outbox that the relay has not confirmed.
    pub outbox: u64,
    /// Deliveries that wait or are under way.
    pub deliveries: u64,
    /// Deliveries that were given up.
    pub dead: u64,
}

/// An event as its row has it: whole, with its type. Data that does not fit its type is carried as it is.
pub(crate) fn event(text: &str) -> Result<CloudEvent, serde_json::Error> {
    serde_json::from_str::<CloudEvent>(text).or_else(|_| {
        let mut whole: serde_json::Value = serde_json::from_str(text)?;
        let kind = whole.get("type").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
        let data = whole.get_mut("data").map(serde_json::Value::take).unwrap_or_default();
        // Any name that no type has lets the envelope be read alone.
        if let Some(map) = whole.as_object_mut() {
            map.insert("type".to_owned(), "ark.unread".into());
        }
        let mut event: CloudEvent = serde_json::from_value(whole)?;
        event.event = Event::Other(OtherEvent { type_name: kind, data });
        Ok(event)
    })
}
