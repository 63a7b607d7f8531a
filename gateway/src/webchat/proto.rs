//! What a page and the gateway say to each other: JSON with a `type`, one message a frame. docs/webchat.md describes it.

use ark_conversation::ConversationId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a page says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Said {
    /// The first message: who it is, and what it has already.
    Hello(Hello),
    /// A message of the visitor. The page chooses the id and sends it again until it is acknowledged: it is kept once.
    Send {
        /// 1 to 64 letters, digits, `-` and `_`.
        id: String,
        /// The words.
        text: String,
    },
    /// The visitor wants a person, by the button that says so: a message like another one, which a plan takes for its way to a person.
    Person {
        /// As of `send`.
        id: String,
        /// What stands on the button.
        text: String,
    },
    /// The visitor types, or has stopped.
    Typing {
        /// Whether they do.
        on: bool,
    },
    /// Messages of the house are on the page.
    Got {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Messages of the house were seen.
    Read {
        /// Their ids.
        ids: Vec<String>,
    },
    /// The site says who the visitor is.
    Identify {
        /// A JWT that its server signed.
        token: String,
    },
    /// The visitor wants to call: a token for it.
    Call,
    /// The visitor wants to be called by telephone, when their turn comes.
    Callback,
    /// It is still there.
    Ping,
}

/// A page's first message.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "ChatHello")]
pub(crate) struct Hello {
    /// The browser's token; none: it is new and is given one.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// What the page has.
    #[serde(default)]
    pub(crate) after: Option<After>,
    /// This visit: a random word of the page's, 1 to 64 letters, digits, `-` and `_`.
    #[serde(default)]
    pub(crate) visit: String,
    /// Where the visitor is and where they came from.
    #[serde(default)]
    pub(crate) page: Trail,
    /// What the site says of the visitor: a JWT.
    #[serde(default)]
    pub(crate) identify: Option<String>,
}

/// What a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ChatAfter")]
pub(crate) struct After {
    /// Of which conversation.
    pub(crate) conversation: ConversationId,
    /// Up to which record.
    pub(crate) seq: u64,
}

/// Where a visitor is and where they came from; kept as the thread's entry when they write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ChatTrail")]
pub(crate) struct Trail {
    /// The page's address.
    #[serde(default)]
    pub(crate) url: String,
    /// Its title.
    #[serde(default)]
    pub(crate) title: String,
    /// The first page of the visit.
    #[serde(default)]
    pub(crate) entrance: String,
    /// The site that it was come from.
    #[serde(default)]
    pub(crate) referrer: String,
    /// The visitor's language.
    #[serde(default)]
    pub(crate) language: String,
}

/// What the gateway says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Tell {
    /// The page is known.
    Welcome {
        /// The token to keep, when the page came without one.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// Whether the site said who the visitor is, and what they are called.
        #[serde(skip_serializing_if = "Option::is_none")]
        person: Option<Known>,
    },
    /// What follows is of this conversation, from its beginning: another one than the page had.
    Begin {
        /// Which.
        conversation: ConversationId,
    },
    /// Something on the timeline.
    Item(Box<Item>),
    /// All that was there is told; what comes from now on is new.
    Live,
    /// How things stand.
    State(Standing),
    /// A message of the page is durable.
    Ack {
        /// Which.
        id: String,
        /// Whether it was there already.
        duplicate: bool,
    },
    /// A message of the page was not taken.
    Nack {
        /// Which.
        id: String,
        /// `busy`, `pace`, `too_long`, `empty`, `bad_id`, `file`.
        code: &'static str,
        /// Whether the same message may be taken later.
        again: bool,
        /// Not before so many milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
    /// Somebody of the house types, or has stopped.
    Typing {
        /// Whether they do.
        on: bool,
    },
    /// What became of `identify`.
    Identified {
        /// Who; none: the token was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        person: Option<Known>,
        /// Why, for the site's developer.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The call that was asked for; `token` as docs/webrtc.md says.
    Call {
        /// For `/rtc`; none: it cannot be called now.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// Whether the visitor will be called: the number, masked, or why not.
    Callback {
        /// They will be called there when it is their turn.
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<String>,
        /// `no_phone`: no number of theirs is known for sure, or none that can be called; `busy`: a call of theirs is up, or they ask
        /// too often; `closed`: nobody is there; `unavailable`: not now.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'static str>,
    },
    /// The answer to `ping`.
    Pong,
    /// The connection ends.
    Error {
        /// `hello`, `token`, `form`, `pace`, `full`, `slow`, `end`.
        code: &'static str,
        /// Whether coming again later helps.
        again: bool,
        /// For the site's developer.
        message: String,
    },
}

/// Who a visitor is, as their site says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ChatKnown")]
pub(crate) struct Known {
    /// Their id at the site.
    pub(crate) user: String,
    /// What they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// Something on the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatItem")]
pub(crate) struct Item {
    /// The conversation.
    pub(crate) conversation: ConversationId,
    /// Where in it.
    pub(crate) seq: u64,
    /// When, RFC 3339.
    pub(crate) at: String,
    /// What.
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatWhat")]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    /// A message.
    Message {
        /// Its id: of the visitor's own the page's.
        id: String,
        /// Who wrote it.
        from: Author,
        /// What they are called, where the site shows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What it says.
        parts: Vec<Shown>,
    },
    /// A person has come.
    Joined {
        /// What they are called, where the site shows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The conversation is over; the next message begins another one.
    Ended,
}

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ChatAuthor")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Author {
    /// The visitor.
    You,
    /// A person of the house.
    Agent,
    /// A plan.
    Bot,
    /// The house itself.
    System,
}

/// A part of a message as a page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatShown")]
#[serde(tag = "part", rename_all = "snake_case")]
pub(crate) enum Shown {
    /// Words.
    Text {
        /// They.
        text: String,
    },
    /// A picture.
    Image {
        /// What follows `/chat/NAME/files/`.
        file: String,
        /// Width and height in pixels.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<(u32, u32)>,
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Another file.
    File {
        /// What follows `/chat/NAME/files/`.
        file: String,
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Bytes.
        bytes: u64,
    },
    /// A card: its buttons lead somewhere, or their words are sent as the visitor's answer.
    Card {
        /// Its heading.
        title: String,
        /// Its text.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// Its buttons.
        actions: Vec<Button>,
    },
}

/// A button of a card.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatButton")]
pub(crate) struct Button {
    /// What stands on it.
    pub(crate) label: String,
    /// Where it leads, `https:` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// How things stand for the visitor.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatStanding")]
pub(crate) struct Standing {
    /// Where the conversation is.
    pub(crate) phase: Phase,
    /// What the one who serves is called, where the site shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// How many are before the visitor, while they wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<usize>,
    /// Whether people are there now.
    pub(crate) open: bool,
    /// When they come, while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opens: Option<String>,
}

/// Where a conversation is, as the visitor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ChatPhase")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Nothing was written yet, or it is over.
    None,
    /// In a queue.
    Waiting,
    /// A person has it.
    Person,
    /// A plan has it.
    Plan,
}
