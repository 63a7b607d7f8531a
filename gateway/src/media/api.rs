//! What the call core says to the media engine, and what it hears back.
//!
//! Plain data: the core can be driven in a test by a double of [`MediaPort`] without one socket or thread.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::pipe::Pipe;

pub use ark_media::{
    dtmf::{Digit, Road},
    prompt::EncodedPrompt,
    quality::Quality,
    record::{Layout, Side},
    sdp::Negotiated,
    session::DtmfRoads,
    tone::Repeated,
};

/// One RTP leg: a pair of sockets and all that is played, heard, bridged and recorded on it.
///
/// Never used twice within a process: a leg that reuses the ports of an ended one has another id, so a command or an
/// event that comes late cannot reach the wrong call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LegId(pub u64);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg {}", self.0)
    }
}

/// A reserved leg: its sockets are bound and packets that arrive are counted, nothing is sent before
/// [`Command::Start`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leg {
    /// The name under which commands reach it.
    pub id: LegId,
    /// The bound RTP address; the port is even. The address is the one the engine was told to bind (it may be
    /// unspecified): what the SDP says is the business of the call core.
    pub rtp: SocketAddr,
    /// The bound RTCP address: the same, one port higher.
    pub rtcp: SocketAddr,
}

/// Why the engine could not take a leg or a command. The call is refused with 503 and nothing else suffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Full {
    /// Every port pair of the range is in use or in quarantine.
    #[error("no RTP port is free: every pair of the range is in use or in quarantine; widen [rtp] ports")]
    Ports,
    /// As many legs without sockets as there may be.
    #[error("no room for another browser's leg")]
    Pipes,
    /// The process may not open more files.
    #[error("no file descriptor is free for an RTP socket; raise the limit (ulimit -n)")]
    Files,
    /// The address cannot be bound.
    #[error("the RTP address cannot be bound; check [rtp] address")]
    Address,
    /// The queue of commands to the leg's thread is full.
    #[error("the media thread is too far behind to take a command")]
    Queue,
    /// The engine has stopped.
    #[error("the media engine has stopped")]
    Stopped,
}

/// What a leg is told to do. Commands to one leg are carried out in the order in which they were given.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin: what the offer and the answer agreed on. A second `Start` is an `Update`.
    Start {
        /// Codec, payload types, addresses, direction.
        negotiated: Negotiated,
        /// Where the signalling of a peer comes from that may stand behind a NAT: when its SDP names another host, its
        /// media may be learned from this one, once. `None`: only the address of the SDP is believed.
        signalled_from: Option<IpAddr>,
        /// Which roads of the peer's keys count.
        dtmf: DtmfRoads,
    },
    /// A re-INVITE was agreed on: hold, resume, another address, another codec.
    Update {
        /// What holds from now on.
        negotiated: Negotiated,
    },
    /// Play the items one after the other, without a gap. Replaces what is being played (which ends as `Stopped`).
    /// No items at all end at once, as `End`.
    Play {
        /// Comes back in [`Event::PlayFinished`].
        id: u64,
        /// Prompts that are already encoded for the codec of the leg.
        items: Vec<Arc<EncodedPrompt>>,
        /// Whether a digit stops it.
        barge_in: bool,
        /// Begin again at the end: music for those who wait.
        repeat: bool,
    },
    /// Stop that play, if it is still the one being played.
    StopPlay {
        /// The play to stop.
        id: u64,
    },
    /// Let this leg and the other hear each other, from the next packet on. Each leg has at most one other: an older
    /// bridge of either ends. What was being played to either side is stopped.
    Bridge {
        /// The other leg.
        other: LegId,
    },
    /// End the bridge, for both sides; a leg in a room leaves it.
    Unbridge,
    /// Come into the room in which `with` is, or take another part in it. Where there is no room, one is made of `with`
    /// and whoever is bridged to it, who go on hearing each other. When two are left who talk, they are a bridge again.
    Join {
        /// A leg that is there.
        with: LegId,
        /// What this leg does there.
        part: RoomPart,
    },
    /// Keep what this leg says from all others, or let it through again; recordings of the leg have it all the same.
    Mute {
        /// Whether.
        muted: bool,
    },
    /// Write what is heard and what is said to a file. Replaces a running recording of the same kind; one of the other kind
    /// goes on.
    RecordStart {
        /// Which of the leg's recordings it is.
        of: RecordOf,
        /// The file, made anew; the directory must exist.
        path: PathBuf,
        /// As which file, and what in which channel.
        how: RecordAs,
        /// End by itself after this long.
        limit: Option<Duration>,
        /// End by itself after the caller has been silent for this long.
        silence: Option<Duration>,
    },
    /// Write silence from now on, or what is said again, in every recording of the leg that runs: nothing of what was said in
    /// between is kept.
    RecordPause {
        /// Whether.
        paused: bool,
    },
    /// What this leg says is kept, too, in recordings of the leg `of` that have a channel for it ([`Layout::Legs`]), from now
    /// until the leg ends or is told otherwise. Only while both are bridged or in one room is there something to keep.
    RecordInto {
        /// The leg whose recordings it is kept in.
        of: LegId,
        /// Whose voice it is there.
        side: Side,
    },
    /// Close the file; [`Event::Recorded`] follows when all of it is on disk.
    RecordStop {
        /// Of which recording.
        of: RecordOf,
    },
    /// Send a digit to the far side as RFC 4733 events (ignored when the answer had no telephone-event).
    SendDtmf {
        /// The digit.
        digit: Digit,
        /// How long the key is held down.
        duration: Duration,
    },
    /// A digit came by SIP INFO: merged with RFC 4733, so that a phone that sends both counts once.
    InfoDigit {
        /// The digit.
        digit: Digit,
    },
    /// Copy what this leg says to whoever reads along, or cease to. What is muted is not copied.
    Listen {
        /// Whether.
        on: bool,
    },
    /// End the leg: recordings are closed, sockets closed, [`Event::Closed`] is its last event. Never refused as full.
    Close,
}

/// The recordings of a leg that may run at the same time, one of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordOf {
    /// The call.
    Call,
    /// A message that the caller leaves; a recording of the call has it, too.
    Message,
}

impl RecordOf {
    /// All there are.
    pub(crate) const ALL: [Self; 2] = [Self::Call, Self::Message];
}

/// How a recording is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordAs {
    /// The kind of file.
    pub format: RecordFormat,
    /// What in which channel.
    pub layout: Layout,
    /// Heard by all who talk in the call for as long as it is recorded and not paused.
    pub tone: Option<Repeated>,
}

/// The kind of file that a recording is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordFormat {
    /// WAV, 16 bits, 8 kHz: 16 kB a second for each channel.
    #[default]
    Wav,
    /// Ogg/Opus: about 2 kB a second for each channel in which somebody speaks.
    Opus,
}

impl RecordFormat {
    /// The end of the file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }
}

/// What a leg does in a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomPart {
    /// Talks with all.
    Speaks,
    /// Hears all and is heard by nobody.
    Listens,
    /// Hears all and is heard by this leg alone.
    Whispers {
        /// The leg.
        to: LegId,
    },
    /// Neither hears nor is heard; what is played to it is heard.
    Held,
}

/// Why a play ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlayEnd {
    /// All of it was sent.
    End,
    /// This digit stopped it.
    Barge(Digit),
    /// `StopPlay`, another `Play` or a `Bridge` stopped it.
    Stopped,
    /// The leg was closed.
    Closed,
    /// A re-INVITE changed the codec, and the prompts are of the old one: play them again in the new one.
    CodecChanged,
    /// The prompts are of another codec than the leg, or the leg has not begun: nothing was sent.
    Refused,
}

/// Why a recording ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordEnd {
    /// `RecordStop`, or another recording of its kind began.
    Stopped,
    /// The limit was reached.
    Limit,
    /// The caller was silent for as long as was asked.
    Silence,
    /// The leg was closed.
    Closed,
}

/// What happened on a leg.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key was pressed. Each press once, whether it came by RFC 4733, by INFO or by both.
    Digit {
        /// The leg.
        leg: LegId,
        /// The key.
        digit: Digit,
        /// How it came first.
        road: Road,
        /// When it was heard.
        at: Instant,
    },
    /// A play has ended; exactly one for each `Play`.
    PlayFinished {
        /// The leg.
        leg: LegId,
        /// The id given with `Play`.
        id: u64,
        /// How much of it was sent.
        heard: Duration,
        /// Why.
        cause: PlayEnd,
    },
    /// No RTP came for the configured time, although the far side may send. Said once for each silence.
    RtpTimeout {
        /// The leg.
        leg: LegId,
    },
    /// A recording is complete and on disk.
    Recorded {
        /// The leg.
        leg: LegId,
        /// The file.
        path: PathBuf,
        /// Its length.
        duration: Duration,
        /// Its size.
        bytes: u64,
        /// Why it ended.
        cause: RecordEnd,
    },
    /// A recording could not be made or not be finished; what was written up to here is a playable file.
    RecordFailed {
        /// The leg.
        leg: LegId,
        /// The file.
        path: PathBuf,
        /// What went wrong, in words.
        error: String,
    },
    /// The leg has ended; its last event (a recording's end may follow, when the disk is slower).
    Closed {
        /// The leg.
        leg: LegId,
        /// How it sounded.
        quality: Quality,
    },
}

impl Event {
    /// The leg it happened on.
    #[must_use]
    pub fn leg(&self) -> LegId {
        match self {
            Self::Digit { leg, .. }
            | Self::PlayFinished { leg, .. }
            | Self::RtpTimeout { leg }
            | Self::Recorded { leg, .. }
            | Self::RecordFailed { leg, .. }
            | Self::Closed { leg, .. } => *leg,
        }
    }
}

/// Where the call core meets the media: implemented by the engine's handle, and by a double in the tests of the core.
pub trait MediaPort {
    /// Binds the sockets of a new leg.
    ///
    /// # Errors
    /// [`Full`]: no port, no file descriptor, or no room at the media threads. Nothing is held then.
    fn reserve(&self) -> Result<Leg, Full>;

    /// A new leg whose packets the caller of this carries, through the [`Pipe`]. Its [`Negotiated`] names
    /// [`super::PIPE_REMOTE`] as the far side's addresses.
    ///
    /// # Errors
    /// [`Full::Pipes`], or no room at the media threads. Nothing is held then.
    fn reserve_pipe(&self) -> Result<(LegId, Pipe), Full>;

    /// Hands a command to the thread that owns the leg. Does not wait.
    ///
    /// A command for a leg that has ended is dropped and counted: that is a race, not an error.
    ///
    /// # Errors
    /// [`Full::Queue`] or [`Full::Stopped`]; the command was not carried out. [`Command::Close`] is never refused
    /// as full.
    fn command(&self, leg: LegId, command: Command) -> Result<(), Full>;
}
