//! A channel as a machine: what an adapter inside Ark is.
//!
//! A [`Channel`] translates between one account at a provider (a robot, an app, a page) and the events of the adapter
//! standard. It does no I/O and knows no clock: the **host** does every byte, gives it what came ([`In`]) and carries out
//! what it answers ([`Out`]), as the other machines of Ark. The host also does what all channels need and none may get
//! wrong: it stores before it acknowledges, refuses addresses that are not the channel's ([`Hosts`]), checks and
//! re-encodes pictures, keeps secrets, tokens and cursors, counts rates, tries again.
//!
//! The rules, which `ADAPTERS.md` states for adapters of every form and the conformance kit checks:
//!
//! - a request or frame is acknowledged only after what it brought is durable: the answer goes out with
//!   [`Out::Ingest`], never before it;
//! - the same message has the same id, whoever delivers it and however often;
//! - what cannot be translated becomes [`crate::event::Part::Unsupported`] with words, and is never dropped;
//! - each [`In::Send`] ends in exactly one [`Out::Settle`]; when it is not known whether the provider took it, the outcome
//!   is [`Outcome::Unknown`] and never a second try;
//! - of one thread, what stands behind a message that could not be kept is not kept either: it would be logged before it.

mod hosts;
mod http;
mod manifest;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

pub use hosts::Hosts;
pub use http::{Body, Frame, HttpCall, HttpFailure, HttpReply, HttpRequest, Method, PartSource};
pub use manifest::{
    Capabilities, Capability, Dedup, Degraded, Fallback, IdentityCaps, InboundId, Limits, Manifest, ManifestError,
    Ordering, Testing, Transport, TransportMode, Undeliverable,
};

use crate::cloud_event::CloudEvent;
use crate::event::{Media, Part};

/// Names one request that the host was asked, within this machine's life.
pub type RequestId = u64;
/// Names one call that the machine asked for; the machine chooses it.
pub type CallId = u64;
/// Names one socket that the machine opened or that a customer opened; the opener chooses it.
pub type SocketId = u64;
/// Names one file that the machine asked for; the machine chooses it.
pub type FetchId = u64;
/// Names one attempt to deliver a message; the host chooses it.
pub type DeliveryId = u64;
/// Names what a machine is told of its own events; the machine chooses it.
pub type MarkId = u64;

/// One account at a provider, as a machine.
///
/// The host calls [`Self::handle`], then [`Self::poll`] until it is empty. Every queue within is bounded; a machine that
/// is asked too much answers 503, [`Outcome::Retry`], or closes a socket, and says so.
pub trait Channel: Send {
    /// What it can do. When that changes it says so by [`Out::Manifest`].
    fn manifest(&self) -> &Manifest;

    /// Takes an input in.
    fn handle(&mut self, now: Timestamp, input: In);

    /// What is to be done next; none: nothing for now.
    fn poll(&mut self) -> Option<Out>;
}

/// What happens to a channel.
#[derive(Debug)]
pub enum In {
    /// It begins: what it left with [`Ingest::save`] in earlier lives. Always first.
    Begin {
        /// By the names it was saved under.
        saved: BTreeMap<String, String>,
    },
    /// A provider or customer asks.
    HttpRequest {
        /// To answer it by.
        request: RequestId,
        /// What was asked.
        http: HttpRequest,
    },
    /// The answer to [`Out::HttpCall`].
    HttpResponse {
        /// Which call.
        call: CallId,
        /// What came of it.
        answer: Result<HttpReply, HttpFailure>,
    },
    /// A socket is open: one that was asked for, or a customer's.
    SocketOpen {
        /// Which.
        socket: SocketId,
        /// A customer's socket: the request that opened it. None of one that was asked for.
        asked: Option<HttpRequest>,
    },
    /// A frame came.
    Frame {
        /// On which socket.
        socket: SocketId,
        /// What.
        frame: Frame,
    },
    /// A socket is closed, or did not open.
    SocketClosed {
        /// Which.
        socket: SocketId,
        /// Why, in words for the operator.
        why: String,
    },
    /// A message of the house is to be sent.
    Send(Box<Outbound>),
    /// What became of [`Out::Fetch`].
    Fetched {
        /// Which.
        fetch: FetchId,
        /// The stored file, or why there is none.
        answer: Result<Media, FetchFailure>,
    },
    /// A token is there: after [`Out::Token`], of this gateway or of another one.
    Token {
        /// Which.
        name: &'static str,
        /// Its value.
        token: Token,
    },
    /// The token of this name is to be fetched anew, by a call of the machine's own; [`Out::Token`] gives it. The host
    /// says this to one gateway at a time.
    RefreshToken {
        /// Which.
        name: &'static str,
    },
    /// [`Ack::Tell`] came due: what it was asked with is durable, or could not be kept, whichever list it stood in.
    Told {
        /// As the machine named it.
        mark: MarkId,
    },
    /// Something of the house that is shown and never kept: somebody is typing. A channel that cannot show it passes over
    /// it; nothing is answered.
    Live(Box<CloudEvent>),
    /// The time that [`Out::WakeAt`] asked for has come.
    Tick,
}

/// A message of the house on its way to a customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// To settle it by.
    pub delivery: DeliveryId,
    /// 1 for the first try.
    pub attempt: u32,
    /// `ark.message.out.v1`, degraded to what the manifest can already; its id is the key that copies are told by.
    pub event: CloudEvent,
    /// An earlier try was given to a gateway that died before it said what came of it: the message may have arrived. Where its
    /// provider tells no copies it is settled as [`Outcome::Unknown`] and not sent.
    pub in_doubt: bool,
}

/// What a provider's token is and how long it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// A secret.
    pub value: String,
    /// When it ends; a new one is asked for before.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(***, until {})", self.expires_at)
    }
}

/// Why a file could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// Its address is not on one of the channel's hosts, or leads into the house.
    #[error("the file's address is not one that this channel may fetch from")]
    Forbidden,
    /// Larger than the channel or the house allows.
    #[error("the file is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound that it broke.
        bytes_max: u64,
    },
    /// It is not what it says, or cannot be decoded.
    #[error("the file cannot be shown: {0}")]
    Broken(String),
    /// Its host did not give it; tried several times.
    #[error("the file could not be fetched: {0}")]
    Away(String),
}

/// What a channel wants done.
#[derive(Debug, PartialEq)]
pub enum Out {
    /// Answer a request that brought nothing to keep: a challenge, a refusal.
    HttpReply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: HttpReply,
    },
    /// Ask the provider.
    HttpCall {
        /// To tell the answer by.
        call: CallId,
        /// What.
        http: Box<HttpCall>,
    },
    /// Open a WebSocket at the provider.
    OpenSocket {
        /// To tell it by.
        socket: SocketId,
        /// `wss:` address, secrets and all: never logged.
        url: String,
    },
    /// Send a frame.
    Frame {
        /// On which socket.
        socket: SocketId,
        /// What.
        frame: Frame,
    },
    /// Close a socket, after what was sent on it.
    CloseSocket {
        /// Which.
        socket: SocketId,
        /// WebSocket close code.
        code: u16,
        /// A word on why.
        reason: String,
    },
    /// Keep events, all in one go, then acknowledge.
    Ingest(Ingest),
    /// Pass an event on that is never kept: typing.
    Live(Box<CloudEvent>),
    /// Fetch a file of the customer, check it, keep it: [`In::Fetched`].
    Fetch {
        /// To tell the answer by.
        fetch: FetchId,
        /// How to get it: always a GET or POST to one of the channel's hosts.
        from: Box<HttpCall>,
        /// What it is said to be.
        what: FileKind,
        /// Its name, as the sender called it.
        name: Option<String>,
    },
    /// Check and keep a file that came in a request: [`In::Fetched`].
    Keep {
        /// To tell the answer by.
        fetch: FetchId,
        /// The file.
        bytes: Vec<u8>,
        /// What it is said to be.
        what: FileKind,
        /// Its name, as the sender called it.
        name: Option<String>,
    },
    /// Answer a request with a stored file, 404 when there is none.
    ReplyFile {
        /// Which.
        request: RequestId,
        /// `ark-media:` and an id.
        reference: String,
    },
    /// What came of a message.
    Settle {
        /// Which.
        delivery: DeliveryId,
        /// What came of it.
        outcome: Outcome,
    },
    /// A token is needed; `stale`: the one at hand was refused.
    NeedToken {
        /// Which.
        name: &'static str,
        /// The value that was refused.
        stale: Option<String>,
    },
    /// A token was fetched.
    Token {
        /// Which.
        name: &'static str,
        /// What it is.
        token: Token,
    },
    /// Wake me then, not before; the latest one counts.
    WakeAt(Timestamp),
    /// What it can do from now on: an adapter outside has told it.
    Manifest(Box<Manifest>),
    /// How the account is, when that changed.
    Health(Health),
    /// Something an operator should know of one message or request. Never with secrets or what people wrote.
    Note(String),
}

/// Events to keep.
#[derive(Debug, PartialEq)]
pub struct Ingest {
    /// In the order of the channel; may be empty, when only `save` or an acknowledgement matters.
    pub events: Vec<CloudEvent>,
    /// What goes out once they are durable (or were there before).
    pub durable: Vec<Ack>,
    /// What goes out when they cannot be kept now: providers then try again.
    pub refused: Vec<Ack>,
    /// A cursor to save after the events are durable, never before.
    pub save: Option<(String, String)>,
}

/// How something that came is answered.
#[derive(Debug, PartialEq)]
pub enum Ack {
    /// A request.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: HttpReply,
    },
    /// A frame.
    Frame {
        /// On which socket.
        socket: SocketId,
        /// What.
        frame: Frame,
    },
    /// The machine itself, by [`In::Told`]: one that pulls from a provider goes on only after what it pulled is durable, or
    /// pulls it again.
    Tell {
        /// To tell it by.
        mark: MarkId,
    },
}

/// What a file is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A picture: decoded, re-encoded, its place stripped.
    Image,
    /// A spoken message.
    VoiceNote,
    /// A film.
    Video,
    /// Anything else.
    File,
}

impl FileKind {
    /// The part of a message that shows such a file.
    #[must_use]
    pub const fn part(self, media: Media) -> Part {
        match self {
            Self::Image => Part::Image { media, fallback_text: None },
            Self::VoiceNote => Part::VoiceNote { media, fallback_text: None },
            Self::Video => Part::Video { media, fallback_text: None },
            Self::File => Part::File { media, fallback_text: None },
        }
    }
}

/// The code of a message of which it is not known whether it arrived, in [`Outcome::Retry`] and in receipts: no other leg is tried, an
/// agent decides.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// What came of a try to send a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An adapter has it durably and will tell more by receipts of its own.
    Accepted {
        /// The adapter's own id.
        native_id: Option<String>,
    },
    /// The provider took it.
    Sent {
        /// The provider's own id, to tell receipts and recalls by.
        native_id: Option<String>,
    },
    /// It did not take it, and nothing of it arrived: try again, no sooner than this.
    Retry {
        /// One word: `rate`, `busy`, `token`.
        code: String,
        /// What the provider asks for; none: the host's own pace.
        after: Option<Duration>,
    },
    /// It never will.
    Failed {
        /// One word of [`crate::failure::Failure`] where one fits: `window_closed`, `blocked`; else the channel's own.
        code: String,
        /// What the provider said, without secrets.
        text: Option<String>,
    },
    /// It is not known whether it arrived: an agent decides.
    Unknown,
}

/// How an account is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All well.
    Up,
    /// It does not work now; the host and the machine go on trying.
    Down {
        /// Why, and what to do, in a sentence for the operator.
        why: String,
    },
    /// It will not work until the operator changes something: a wrong secret, a closed account.
    Broken {
        /// What to do.
        why: String,
    },
}
