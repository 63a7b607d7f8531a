//! Listening for keys in the audio itself, only where it is asked for or nothing else was agreed.

use std::time::Instant;

use super::{Session, SessionEvent};
use crate::codec::{CodecRef, Decoder};
use crate::dtmf::inband::Detector;
use crate::dtmf::{self, Road};
use crate::limits::PACKET_AUDIO_MAX;
use crate::sdp::Negotiated;

/// Which roads of a leg's keys count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtmfRoads {
    /// Telephone-events and SIP INFO; tones in the audio when no telephone-event was agreed.
    #[default]
    Auto,
    /// Telephone-events alone.
    Rfc4733,
    /// SIP INFO alone.
    Info,
    /// All three: tones in the audio whatever was agreed.
    Inband,
}

impl DtmfRoads {
    /// Whether a key that came by `road` counts.
    pub fn counts(self, road: Road) -> bool {
        match self {
            Self::Auto | Self::Inband => true,
            Self::Rfc4733 => road == Road::Rtp,
            Self::Info => road == Road::Info,
        }
    }

    /// Whether the audio must be decoded and searched for tones.
    pub fn listens(self, negotiated: &Negotiated) -> bool {
        match self {
            Self::Auto => negotiated.receive_dtmf_payload_type.is_none(),
            Self::Inband => true,
            Self::Rfc4733 | Self::Info => false,
        }
    }
}

/// A decoder and a detector; made when a leg begins or is agreed on anew.
pub(super) struct Ear {
    codec: CodecRef,
    ssrc: Option<u32>,
    decoder: Box<dyn Decoder>,
    detector: Detector,
    pcm: Box<[i16]>,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Ear {
    fn new(codec: CodecRef) -> Box<Self> {
        Box::new(Self {
            codec,
            ssrc: None,
            decoder: codec.decoder(),
            detector: Detector::new(codec.sample_rate_hz()),
            pcm: vec![0; codec.samples(PACKET_AUDIO_MAX)].into_boxed_slice(),
        })
    }
}

impl Session {
    /// Begins or ends to listen, as the agreement asks.
    pub(super) fn tune_ear(&mut self) {
        let codec = self.negotiated.codec;
        if !self.roads.listens(&self.negotiated) {
            self.ear = None;
        } else if self.ear.as_ref().is_none_or(|ear| ear.codec != codec) {
            self.ear = Some(Ear::new(codec));
        }
    }

    /// Whether the audio of this leg is decoded and searched for tones of keys.
    pub fn listens_for_tones(&self) -> bool {
        self.ear.is_some()
    }

    /// Searches a packet's audio for keys. Packets are taken as they come: one that comes out of order or is lost
    /// breaks a tone no longer than it lasts, which the detector bridges.
    pub(super) fn listen(&mut self, now: Instant, ssrc: u32, payload: &[u8]) {
        // Out of its place while it speaks: a pointer is moved, nothing else.
        let Some(mut ear) = self.ear.take() else { return };
        let Ear { codec, ssrc: speaker, decoder, detector, pcm } = &mut *ear;
        if speaker.replace(ssrc).is_some_and(|before| before != ssrc) {
            *decoder = codec.decoder();
        }
        let samples = decoder.decode(payload, pcm).min(pcm.len());
        detector.feed(&pcm[..samples], |event| match event {
            dtmf::Event::Start(digit) => self.press(now, digit, Road::Inband),
            dtmf::Event::Held(digit) => self.merger.hold(now, digit, Road::Inband),
            dtmf::Event::End(digit, held) => {
                self.merger.hold(now, digit, Road::Inband);
                // Where telephone-events are agreed their end is the better one.
                if self.negotiated.receive_dtmf_payload_type.is_none() {
                    self.note(SessionEvent::DigitEnded { digit, held });
                }
            }
        });
        self.ear = Some(ear);
    }
}
