//! The types of the media crate that the engine speaks in, by the shape agreed on; replaced by `ark_media`'s own.

use std::{net::SocketAddr, time::Duration};

/// A key of a telephone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digit(pub u8);

/// A prompt encoded for one codec.
#[derive(Debug, Default)]
pub struct EncodedPrompt;

/// What offer and answer agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Payload type of the audio.
    pub payload_type: u8,
    /// Payload type of RFC 4733 events.
    pub dtmf_payload_type: Option<u8>,
    /// Packet time.
    pub ptime: Duration,
    /// Where RTP goes.
    pub remote: SocketAddr,
    /// Where RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
}

/// How a leg sounded.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Quality;
