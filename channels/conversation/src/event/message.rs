//! Messages and what adapters say of them: the bodies of the adapter standard.

use jiff::Timestamp;
use serde::Serializer;

use crate::digest::Hash;
use crate::event::{data, words};
use crate::id::{ConversationId, LegId};
use crate::identity::{Assurance, IdentityKey};
use crate::pii::{Content, Pii};

words! {
    /// Who a message is from.
    pub enum PartyRole {
        /// The one whose conversation it is.
        Customer = "customer",
        /// A person of the house.
        Agent = "agent",
        /// A plan.
        Bot = "bot",
        /// The house itself: a notice.
        System = "system",
    }

    /// What became of a message that was sent.
    pub enum ReceiptState {
        /// The adapter has it durably.
        Accepted = "accepted",
        /// The channel took it.
        Sent = "sent",
        /// The customer's device has it.
        Delivered = "delivered",
        /// The customer opened it.
        Read = "read",
        /// It did not arrive; `reason` says why.
        Failed = "failed",
        /// Nobody fetched it for as long as the channel keeps it.
        Expired = "expired",
        /// It was taken back.
        Recalled = "recalled",
    }

    /// What happens to a message that was sent before.
    pub enum EditOp {
        /// Its parts are replaced.
        Edit = "edit",
        /// It is taken back.
        Recall = "recall",
    }

    /// What became of a thread.
    pub enum ThreadState {
        /// The customer entered.
        Opened = "opened",
        /// The channel closed it.
        Closed = "closed",
        /// Nothing came for a while.
        Idle = "idle",
    }

    /// What happens to a call that goes through an adapter.
    pub enum CallOp {
        /// It is offered.
        Offer = "offer",
        /// It rings.
        Ringing = "ringing",
        /// It was answered.
        Answered = "answered",
        /// It is over.
        Ended = "ended",
        /// It did not come about.
        Failed = "failed",
    }

    /// How a customer's call is made.
    pub enum CallMode {
        /// In the page or app.
        Webrtc = "webrtc",
        /// Ark calls their phone.
        PstnCallback = "pstn_callback",
        /// By SIP.
        Sip = "sip",
    }
}

data! {
    /// Who a message is from.
    pub struct Party {
        /// What they are.
        pub role: PartyRole,
        /// Their id: of a customer the channel's, of an agent or a plan its name.
        pub id: Pii,
        /// What kind of id it is, such as an identity key's kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub kind: Option<String>,
        /// The name to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub display: Option<Pii>,
    }

    /// A file that a message refers to; the bytes are never in the log.
    pub struct Media {
        /// Where it is fetched.
        #[serde(rename = "ref")]
        #[schemars(regex(pattern = "^ark-media:[0-9A-Za-z_-]{8,}$"))]
        pub reference: String,
        /// Its MIME type.
        pub mime: String,
        /// Its size in bytes.
        pub size: u64,
        /// SHA-256 of the file.
        pub sha256: Hash,
        /// Its name, as the sender called it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub name: Option<Content>,
        /// Length of audio and video in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub duration_ms: Option<u64>,
        /// Width in pixels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub width: Option<u32>,
        /// Height in pixels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub height: Option<u32>,
    }

    /// What can be pressed on a card.
    pub struct Action {
        /// What comes back when it is pressed.
        pub id: String,
        /// What stands on it.
        pub label: Content,
        /// Where it leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub url: Option<String>,
    }

    /// How much the channel still lets the house say.
    pub struct Window {
        /// Messages left.
        pub replies_left: i64,
        /// Until when.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub closes_at: Timestamp,
    }

    /// A customer wrote.
    pub struct MessageIn {
        /// The channel's thread.
        pub thread: String,
        /// Who wrote.
        pub sender: Party,
        /// What: 1 to 16 parts.
        #[schemars(length(min = 1, max = 16))]
        pub parts: Vec<Part>,
        /// The id of the message that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reply_to: Option<String>,
        /// The channel's own id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub native_id: Option<String>,
        /// How much the house may answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub window: Option<Window>,
    }

    /// The house wrote. The event's id is the author's key: of several with one key, one is sent.
    pub struct MessageOut {
        /// The channel's thread that it goes to first.
        pub thread: String,
        /// The conversation.
        pub conversation: ConversationId,
        /// Ownership under which it was written: of another epoch it is refused.
        #[schemars(range(min = 1))]
        pub epoch: u64,
        /// Who wrote.
        pub sender: Party,
        /// What: 1 to 16 parts.
        #[schemars(length(min = 1, max = 16))]
        pub parts: Vec<Part>,
        /// The id of the message that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reply_to: Option<String>,
        /// In the log: the leg that it goes by first. The adapter's event has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub leg: Option<LegId>,
    }

    /// A message that could not be delivered goes another way, under the same key.
    pub struct MessageRerouted {
        /// The message's key.
        pub message: String,
        /// The leg that failed.
        pub from: LegId,
        /// The leg that it goes to now.
        pub leg: LegId,
        /// That leg's thread.
        pub thread: String,
        /// 2 for the second way, and so on.
        #[schemars(range(min = 2))]
        pub attempt: u32,
        /// The code of the failure.
        pub code: String,
    }

    /// Why a message failed.
    pub struct ReceiptReason {
        /// One word: `window_closed`, `blocked`, `outcome_unknown` ...
        pub code: String,
        /// What the channel said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// Whether trying again can help.
        pub retriable: bool,
    }

    /// What became of a message that was sent.
    pub struct Receipt {
        /// The channel's thread.
        pub thread: String,
        /// The message's key: the id of its `ark.message.out.v1`.
        pub message: String,
        /// What became of it.
        pub state: ReceiptState,
        /// The channel's own id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub native_id: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<ReceiptReason>,
    }

    /// Somebody is typing. Live only: it is never written to a log.
    pub struct Typing {
        /// The channel's thread.
        pub thread: String,
        /// Who.
        pub sender: Party,
        /// Whether they began or stopped.
        pub on: bool,
    }

    /// A message was changed or taken back.
    pub struct Edit {
        /// The channel's thread.
        pub thread: String,
        /// The message's id.
        pub message: String,
        /// What happens to it.
        pub op: EditOp,
        /// What it says now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub parts: Vec<Part>,
    }

    /// A thread was opened, closed, or fell silent.
    pub struct Thread {
        /// The channel's thread.
        pub thread: String,
        /// What happened.
        pub state: ThreadState,
        /// Where the customer came from: a page, a scene, a scanned code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub entry: Option<serde_json::Map<String, serde_json::Value>>,
        /// How much the house may say to a customer who entered and has not written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub window: Option<Window>,
    }

    /// Keys of the person at the other end of a thread.
    pub struct Identity {
        /// The channel's thread.
        pub thread: String,
        /// The keys.
        #[schemars(length(min = 1))]
        pub keys: Vec<IdentityKey>,
        /// How sure the adapter is.
        pub assurance: Assurance,
        /// The token of a companion link (`/u/{token}`) that was opened on this thread: with verified keys, the conversation of the
        /// call becomes this person's. A secret: it reaches the machine and never the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub link_token: Option<Content>,
    }

    /// A call by way of an adapter.
    pub struct AdapterCall {
        /// The channel's thread.
        pub thread: String,
        /// What happens.
        pub op: CallOp,
        /// The leg, once there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub leg: Option<LegId>,
        /// How the call is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mode: Option<CallMode>,
        /// Session description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sdp: Option<String>,
        /// Number or address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub address: Option<Pii>,
        /// Why it ended or failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
    }
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// 1 to 20,000 characters.
        #[schemars(length(min = 1, max = 20_000))]
        text: Content,
    },
    /// A picture.
    Image {
        /// The file.
        media: Media,
        /// What to show where there are no pictures.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback_text: Option<Content>,
    },
    /// Spoken words.
    VoiceNote {
        /// The file.
        media: Media,
        /// What to show where there is no sound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback_text: Option<Content>,
    },
    /// A document.
    File {
        /// The file.
        media: Media,
        /// What to show where there are no files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback_text: Option<Content>,
    },
    /// A film.
    Video {
        /// The file.
        media: Media,
        /// What to show where there is no video.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback_text: Option<Content>,
    },
    /// A card with buttons.
    Card {
        /// Its heading.
        title: Content,
        /// Its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Content>,
        /// Its buttons, 8 at most.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 8))]
        actions: Vec<Action>,
        /// The same in words, for channels without cards.
        #[schemars(length(min = 1))]
        fallback_text: Content,
    },
    /// A place.
    Location {
        /// Degrees north.
        #[serde(serialize_with = "finite")]
        lat: f64,
        /// Degrees east.
        #[serde(serialize_with = "finite")]
        lon: f64,
        /// What it is called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Content>,
    },
    /// Something that the adapter cannot translate: shown in words, kept by reference, never dropped.
    Unsupported {
        /// What the channel calls it.
        native_type: String,
        /// What to show.
        #[schemars(length(min = 1))]
        fallback_text: Content,
        /// Where the original is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raw_ref: Option<String>,
    },
}

impl Part {
    /// Words alone.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: Content::new(text) }
    }

    /// The file that it refers to.
    #[must_use]
    pub fn media(&self) -> Option<&Media> {
        match self {
            Self::Image { media, .. }
            | Self::VoiceNote { media, .. }
            | Self::File { media, .. }
            | Self::Video { media, .. } => Some(media),
            Self::Text { .. } | Self::Card { .. } | Self::Location { .. } | Self::Unsupported { .. } => None,
        }
    }
}

/// JSON has no NaN: a place that is nowhere is written as 0, so that what is written can be read.
fn finite<S: Serializer>(degrees: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(if degrees.is_finite() { *degrees } else { 0.0 })
}
