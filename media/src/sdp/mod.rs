//! Session descriptions (RFC 8866) read leniently, and offer/answer (RFC 3264) for one audio stream.

mod negotiate;
mod parse;

use std::net::IpAddr;

pub use negotiate::{Local, Negotiated, Negotiator, Preference};
pub use parse::parse;

/// Which way media flows, seen from whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The writer only sends.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Nobody sends.
    Inactive,
}

impl Direction {
    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }
    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
    /// The same, seen from the other side.
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }
    /// The attribute name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
    fn from_parts(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// A body as read: what offer/answer needs of it. Text borrows from the body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description<'a> {
    /// `o=`: session id and version, when they are numbers.
    pub origin: Option<(u64, u64)>,
    /// Session-level `c=`.
    pub connection: Option<Connection<'a>>,
    /// Session-level direction attribute.
    pub direction: Option<Direction>,
    /// Session-level `a=ptime`, milliseconds: not in the RFC, but in the wild.
    pub ptime_ms: Option<u32>,
    /// Session-level `a=rtcp-xr` with `voip-metrics` (RFC 3611 5.1): for every line.
    pub rtcp_xr: bool,
    /// The media lines in order.
    pub media: Vec<Media<'a>>,
}

/// The address of a `c=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection<'a> {
    /// An address; `0.0.0.0` and `::` mean hold.
    Address(IpAddr),
    /// A host name, or a network type that Ark does not know.
    Other(&'a str),
}

/// One `m=` line and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`...
    pub kind: &'a str,
    /// 0: refused or disabled.
    pub port: u16,
    /// `RTP/AVP`...
    pub protocol: &'a str,
    /// Payload types, or whatever the protocol lists.
    pub formats: Vec<&'a str>,
    /// Media-level `c=`.
    pub connection: Option<Connection<'a>>,
    /// Media-level direction attribute.
    pub direction: Option<Direction>,
    /// `a=rtpmap` lines.
    pub rtpmaps: Vec<RtpMap<'a>>,
    /// `a=fmtp` lines: payload type and parameters.
    pub fmtps: Vec<(u8, &'a str)>,
    /// `a=ptime`, milliseconds.
    pub ptime_ms: Option<u32>,
    /// `a=maxptime`, milliseconds.
    pub maxptime_ms: Option<u32>,
    /// `a=rtcp` (RFC 3605): port and, maybe, address.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-xr` with `voip-metrics` (RFC 3611 5.1).
    pub rtcp_xr: bool,
}

impl<'a> Media<'a> {
    /// What `a=fmtp` says of a payload type; empty if nothing.
    pub fn fmtp(&self, payload_type: u8) -> &'a str {
        self.fmtps.iter().find(|(number, _)| *number == payload_type).map_or("", |(_, parameters)| parameters)
    }

    /// The payload types that the line lists, in its order, each with its `a=rtpmap` if there is one.
    pub fn payload_types(&self) -> impl Iterator<Item = (u8, Option<&RtpMap<'a>>)> {
        let numbers = self.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|n| *n < 128);
        numbers.map(|number| (number, self.rtpmaps.iter().find(|map| map.payload_type == number)))
    }
}

/// One `a=rtpmap` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name.
    pub name: &'a str,
    /// RTP clock.
    pub clock_hz: u32,
    /// Channels, 1 unless written.
    pub channels: u8,
}

/// Why a description leads to no audio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// A line that must be understood is not.
    #[error("line {line} of the SDP: {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Beyond the bounds of [`crate::limits`].
    #[error("the SDP has too many {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
    },
    /// No audio line that Ark can use: none at all, port 0, or only protocols that Ark does not speak.
    #[error("the SDP has no usable audio line: {why}")]
    NoAudio {
        /// Why the best candidate was refused.
        why: &'static str,
    },
    /// There is audio, but in none of the codecs that are configured.
    #[error("no codec in common")]
    NoCommonCodec,
    /// An answer that does not fit the offer.
    #[error("the answer does not fit the offer: {why}")]
    WrongAnswer {
        /// What does not fit.
        why: &'static str,
    },
}

impl SdpError {
    /// The SIP status that refuses an offer for this reason.
    pub fn sip_status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::TooLarge { .. } => 413,
            Self::NoAudio { .. } | Self::NoCommonCodec | Self::WrongAnswer { .. } => 488,
        }
    }
}
