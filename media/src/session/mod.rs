//! One RTP leg as a value: who may send to it, what it plays, what it hears, what it relays, how it sounds.
//!
//! The driver calls [`Session::next_frame`] each 20 ms, [`Session::receive_rtp`] and [`Session::receive_rtcp`] for each
//! datagram, and after any call drains [`Session::poll`]. Nothing here allocates once the session is made.

mod ear;
mod receive;
mod report;
mod send;
mod source;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dtmf::{self, Digit, Merger, Road};
use crate::limits::{DIGIT_QUEUE_MAX, PLAYLIST_ITEMS_MAX, SESSION_EVENTS_MAX};
use crate::prompt::EncodedPrompt;
use crate::quality::Quality;
use crate::sdp::Negotiated;

pub use ear::DtmfRoads;
pub use receive::{Dropped, Kind, Media, Received};
pub use send::RelayKeys;
pub use source::SourcePolicy;

/// What a session is made of.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// What offer and answer agreed on.
    pub negotiated: Negotiated,
    /// Whose packets count.
    pub source: SourcePolicy,
    /// Our stream: random for each call.
    pub ssrc: u32,
    /// First sequence number: random.
    pub sequence: u16,
    /// First timestamp: random.
    pub timestamp: u32,
    /// Our name in RTCP (RFC 3550 6.5.1), without anything personal.
    pub cname: String,
    /// Send silence when nothing plays, so that NATs stay open and nobody takes the line for dead. Default: yes.
    pub comfort_silence: bool,
    /// Take telephone-events of a payload type that was never agreed (101 or 96, four bytes). Default: yes.
    pub tolerate_foreign_events: bool,
    /// Which roads of keys count. Default: [`DtmfRoads::Auto`].
    pub dtmf: DtmfRoads,
}

impl SessionConfig {
    /// The defaults: strict source, comfort silence, foreign telephone-events taken. `seed` must be random: SSRC, first
    /// sequence number and first timestamp come from it (RFC 3550 5.1 wants them unguessable).
    pub fn new(negotiated: Negotiated, seed: u64) -> Self {
        let spread = |salt: u64| {
            // splitmix64
            let mut z = seed.wrapping_add(salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self {
            negotiated,
            source: SourcePolicy::Strict,
            ssrc: spread(1) as u32,
            // The lower half, as libsrtp asks: no wrap in the first minutes.
            sequence: (spread(2) as u16) & 0x7FFF,
            timestamp: spread(3) as u32,
            cname: format!("{:016x}", spread(4)),
            comfort_silence: true,
            tolerate_foreign_events: true,
            dtmf: DtmfRoads::default(),
        }
    }
}

/// What to play.
#[derive(Debug, Clone)]
pub struct Playlist {
    /// Comes back in [`PlayEnded`].
    pub id: u64,
    /// Played back to back without a gap.
    pub items: Vec<Arc<EncodedPrompt>>,
    /// Whether a key stops it.
    pub barge_in: bool,
    /// Begin again at the end (music on hold).
    pub repeat: bool,
}

/// Why a playlist is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayCause {
    /// Its last frame was sent.
    End,
    /// This key stopped it.
    Barge(Digit),
    /// [`Session::stop`], or the leg was closed.
    Stopped,
    /// Another playlist took its place.
    Replaced,
    /// A re-INVITE changed the codec, and these frames are of the old one.
    CodecChanged,
}

/// The end of a playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayEnded {
    /// That of the [`Playlist`].
    pub id: u64,
    /// How much of it was sent.
    pub heard: Duration,
    /// Why.
    pub cause: PlayCause,
}

/// Why a playlist cannot be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// One of its items is encoded with another codec, or in frames that do not fit the packet time.
    #[error("a prompt is not encoded for this leg's codec and packet time")]
    WrongCodec,
    /// There is nothing in it.
    #[error("the playlist is empty")]
    Empty,
    /// More than [`PLAYLIST_ITEMS_MAX`] items.
    #[error("the playlist has too many items")]
    TooMany,
}

/// What happened, in order; fetch with [`Session::poll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// A key was pressed, counted once over all roads.
    Digit {
        /// The key.
        digit: Digit,
        /// The road it came by first.
        road: Road,
    },
    /// The key of an RFC 4733 press or of a tone was released, or its end was lost.
    DigitEnded {
        /// The key.
        digit: Digit,
        /// How long it was held.
        held: Duration,
    },
    /// A playlist is over.
    PlayEnded(PlayEnded),
    /// Packets come from this address, not from that of the SDP, and the session has locked to it.
    SourceLearned(SocketAddr),
    /// The peer said BYE in RTCP. Signalling decides; this is a hint.
    PeerLeft,
}

/// One leg.
#[derive(Debug)]
pub struct Session {
    negotiated: Negotiated,
    events: VecDeque<SessionEvent>,
    receive: receive::Receive,
    send: send::Send,
    report: report::Reporter,
    merger: Merger,
    roads: DtmfRoads,
    ear: Option<Box<ear::Ear>>,
    quality: Quality,
}

impl Session {
    /// A leg that begins `now`.
    pub fn new(now: Instant, config: SessionConfig) -> Self {
        let mut session = Self {
            events: VecDeque::with_capacity(SESSION_EVENTS_MAX),
            receive: receive::Receive::new(now, &config),
            send: send::Send::new(now, &config),
            report: report::Reporter::new(now, config.ssrc, config.cname),
            merger: Merger::new(),
            roads: config.dtmf,
            ear: None,
            quality: Quality::default(),
            negotiated: config.negotiated,
        };
        session.send.adopt(&session.negotiated);
        session.tune_ear();
        session
    }

    /// What this leg speaks.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// A new agreement (re-INVITE, hold, resume, a fork's answer). Sequence numbers and timestamps go on; the source
    /// lock stays unless the peer's address changed; a playlist of another codec ends.
    pub fn update(&mut self, now: Instant, negotiated: Negotiated) {
        self.receive.adopt(now, &self.negotiated, &negotiated);
        self.negotiated = negotiated;
        self.tune_ear();
        if let Some(ended) = self.send.adopt(&self.negotiated) {
            self.note(SessionEvent::PlayEnded(ended));
        }
    }

    /// The next thing that happened.
    pub fn poll(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Plays from the next tick on; a playlist that is playing is replaced.
    pub fn play(&mut self, playlist: Playlist) -> Result<(), PlayError> {
        if playlist.items.iter().all(|item| item.payload().is_empty()) {
            return Err(PlayError::Empty);
        }
        if playlist.items.len() > PLAYLIST_ITEMS_MAX {
            return Err(PlayError::TooMany);
        }
        if !playlist.items.iter().all(|item| send::fits(item, &self.negotiated)) {
            return Err(PlayError::WrongCodec);
        }
        if let Some(ended) = self.send.play(playlist) {
            self.note(SessionEvent::PlayEnded(ended));
        }
        Ok(())
    }

    /// Stops the playlist with this id, or any with `None`. [`SessionEvent::PlayEnded`] follows if one was playing.
    pub fn stop(&mut self, id: Option<u64>) {
        if let Some(ended) = self.send.stop(id, PlayCause::Stopped) {
            self.note(SessionEvent::PlayEnded(ended));
        }
    }

    /// The id of what plays.
    pub fn playing(&self) -> Option<u64> {
        self.send.playing()
    }

    /// Sends a key as telephone-event, after those that wait. False: the peer takes no telephone-events (send SIP
    /// INFO instead) or too many wait.
    pub fn send_digit(&mut self, digit: Digit, duration: Duration) -> bool {
        self.negotiated.dtmf_payload_type.is_some() && self.send.queue_digit(digit, duration)
    }

    /// Keys that wait to be sent, the one being sent included.
    pub fn digits_waiting(&self) -> usize {
        self.send.digits_waiting()
    }

    /// A key came by SIP INFO. It counts unless its twin by another road has; then [`SessionEvent::Digit`] follows.
    pub fn info_digit(&mut self, now: Instant, digit: Digit) {
        self.press(now, digit, Road::Info);
    }

    /// Where RTP goes: the address of the SDP, or the one that was learned.
    pub fn remote(&self) -> SocketAddr {
        self.receive.remote(&self.negotiated)
    }

    /// Where RTCP goes.
    pub fn remote_rtcp(&self) -> SocketAddr {
        self.receive.remote_rtcp(&self.negotiated)
    }

    /// When the last packet of the peer was accepted.
    pub fn last_received(&self) -> Option<Instant> {
        self.receive.last_received()
    }

    /// Counters, loss, jitter and round-trip time so far.
    pub fn quality(&self) -> Quality {
        let mut quality = self.quality;
        self.receive.measure(&self.negotiated, &mut quality);
        self.report.measure(&mut quality);
        self.send.measure(&mut quality);
        quality
    }

    fn note(&mut self, event: SessionEvent) {
        if self.events.len() == SESSION_EVENTS_MAX {
            self.events.pop_front();
            self.quality.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    fn press(&mut self, now: Instant, digit: Digit, road: Road) {
        if !self.roads.counts(road) || !self.merger.press(now, digit, road) {
            return;
        }
        self.note(SessionEvent::Digit { digit, road });
        if let Some(ended) = self.send.barge(digit) {
            self.note(SessionEvent::PlayEnded(ended));
        }
    }

    fn heard(&mut self, now: Instant, event: dtmf::Event) {
        match event {
            dtmf::Event::Start(digit) => self.press(now, digit, Road::Rtp),
            dtmf::Event::Held(digit) => self.merger.hold(now, digit, Road::Rtp),
            dtmf::Event::End(digit, held) => {
                self.merger.hold(now, digit, Road::Rtp);
                if self.roads.counts(Road::Rtp) {
                    self.note(SessionEvent::DigitEnded { digit, held });
                }
            }
        }
    }
}

const _: () = assert!(DIGIT_QUEUE_MAX > 0 && SESSION_EVENTS_MAX > 8);
