//! Key presses: by RTP telephone-event (RFC 4733), by SIP INFO, as tones in the audio, and all of these together without
//! counting one twice.

pub mod inband;
pub mod info;
mod merge;
mod receive;
mod send;

use std::fmt;

pub use merge::{Merger, Road};
pub(crate) use receive::looks_like_event;
pub use receive::{Event, Receiver};
pub use send::{Next, Sender};

/// One key of a telephone: `0` to `9`, `*`, `#`, `A` to `D`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digit(u8);

const CHARS: &[u8; 16] = b"0123456789*#ABCD";

impl Digit {
    /// The digit with this character (letters in either case).
    pub fn from_char(c: char) -> Option<Self> {
        let c = c.to_ascii_uppercase();
        CHARS.iter().position(|d| char::from(*d) == c).map(|at| Self(at as u8))
    }
    /// The digit with this event code (RFC 4733 3.2: 0 to 15); other events are no keys.
    pub fn from_event(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }
    /// The character.
    pub fn as_char(self) -> char {
        char::from(CHARS[usize::from(self.0)])
    }
    /// The event code of RFC 4733.
    pub fn event(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// The four bytes of a telephone-event (RFC 4733 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Event code; 0 to 15 are keys.
    pub event: u8,
    /// The key was released.
    pub end: bool,
    /// Power as -dBm0, 0 to 63.
    pub volume: u8,
    /// Time since the packet's timestamp, in clock units.
    pub duration: u16,
}

impl Payload {
    /// Reads the first event of a payload; `None` if it is shorter than four bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [event, flags, high, low, ..] = *bytes else { return None };
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3F, duration: u16::from_be_bytes([high, low]) })
    }

    /// The four bytes.
    pub fn to_bytes(self) -> [u8; 4] {
        let duration = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3F), duration[0], duration[1]]
    }
}
