//! One codec into another while a bridge is up: what a leg sends is played out ([`crate::playout`]: an adaptive jitter
//! buffer, losses made up for, its clock followed) and encoded anew in the other leg's codec and packet time.
//!
//! What comes in when it comes goes out with the ticks of the listener: one frame of 20 ms each, whatever the network did,
//! with numbers and timestamps without a hole. A pause is sent as what it sounds like.
//!
//! ```
//! use ark_media::{codec, codec::Tuning, limits::TICK, transcode::{Conversion, Transcoder}};
//! # let now = ark_media::fuzz::start();
//! let conversion = Conversion { from: codec::ALL[0], to: codec::ALL[1], tuning: Tuning::default(), ptime: TICK };
//! let mut transcoder = Transcoder::new(now, conversion, 1).expect("rates of telephony");
//! let mut payload = [0; 1500];
//! // For each packet: transcoder.push(now, &media). For each tick of 20 ms:
//! transcoder.frame(now);
//! while let Some(coded) = transcoder.pull(&mut payload) {
//!     // A packet of `coded.bytes` goes to the listener.
//! }
//! ```

use std::time::{Duration, Instant};

use crate::codec::{CodecRef, Tuning};
use crate::limits::{MIX_SAMPLES_MAX, PTIME_MAX, TRANSCODE_KEY_MAX};
use crate::outlet::Outlet;
use crate::playout::{Playout, PlayoutConfig, PlayoutStats};
use crate::session::Media;
use crate::tone::{Overlay, Repeated};

/// Numbers between the streams of two transcoders of one bridge.
pub(crate) const NUMBERS_APART: u64 = 30_000;

/// A packet of the outgoing stream; its payload stands in the buffer that was given to [`Transcoder::pull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded {
    /// Bytes of payload.
    pub bytes: usize,
    /// It begins a talkspurt.
    pub marker: bool,
    /// In the clock of the outgoing codec.
    pub timestamp: u32,
    /// Counts the packets of the outgoing stream.
    pub sequence: u64,
}

/// What a transcoder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// What the speaker sends to begin with; another codec in [`Media::codec`] takes its place when it comes.
    pub from: CodecRef,
    /// What the listener hears.
    pub to: CodecRef,
    /// How the listener wants its encoder set.
    pub tuning: Tuning,
    /// The listener's packet time, up to 60 ms.
    pub ptime: Duration,
}

impl Conversion {
    /// Whether the listener's side is the same.
    fn speaks(&self, to: &Self) -> bool {
        (self.to, self.tuning, self.ptime.min(PTIME_MAX)) == (to.to, to.tuning, to.ptime.min(PTIME_MAX))
    }

    fn outlet(&self, rate_hz: u32) -> Option<Outlet> {
        Outlet::new(rate_hz, self.to, self.tuning, self.ptime)
    }
}

/// A telephone-event that goes through.
#[derive(Debug, Clone, Copy)]
struct Key {
    ssrc: u32,
    /// Timestamp there, and here.
    theirs: u32,
    ours: u32,
    /// Until when the voice keeps silent for it.
    until: Option<Instant>,
}

/// One direction of a bridge between two codecs.
pub struct Transcoder {
    conversion: Conversion,
    noise_seed: u32,
    playout: Playout,
    outlet: Outlet,
    pcm: Box<[i16; MIX_SAMPLES_MAX]>,
    /// What is heard over the voice.
    overlay: Option<Overlay>,
    tone: Option<Repeated>,
    sounding: bool,
    /// Something was heard, or there was a tone: from then on every frame is sent.
    begun: bool,
    /// Something was heard that is not forgotten.
    heard: bool,
    /// Of the tick that is being pulled: the voice gives way to a key.
    yields: bool,
    /// Of the next packet.
    sequence: u64,
    marker: bool,
    /// Timestamp of the outlet's beginning.
    base: u32,
    key: Option<Key>,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transcoder({:?})", self.conversion)
    }
}

impl Transcoder {
    /// A transcoder that has heard nothing; its time begins `now`. It allocates here, and when a codec or packet time
    /// changes. `noise_seed`: any number, two of different numbers have different comfort noise. `None`: the rates are
    /// not those of telephony.
    pub fn new(now: Instant, conversion: Conversion, noise_seed: u32) -> Option<Self> {
        let codec = conversion.from;
        Some(Self {
            conversion,
            noise_seed,
            playout: Playout::new(now, PlayoutConfig { codec, noise_seed }),
            outlet: conversion.outlet(codec.sample_rate_hz())?,
            pcm: Box::new([0; MIX_SAMPLES_MAX]),
            overlay: None,
            tone: None,
            sounding: false,
            begun: false,
            heard: false,
            yields: false,
            sequence: 0,
            marker: true,
            base: 0,
            key: None,
        })
    }

    /// The listener agreed on something else: what was heard is kept, and the stream goes on with numbers so far ahead that
    /// nobody takes the new stretch for packets of the old one. The same as before changes nothing.
    pub fn settle(&mut self, conversion: Conversion) {
        if self.conversion.speaks(&conversion) {
            return;
        }
        let Some(outlet) = conversion.outlet(self.playout.rate_hz()) else { return };
        self.conversion = conversion;
        self.renew(outlet);
        self.sequence += NUMBERS_APART;
    }

    /// Another outlet goes on where the last one is.
    fn renew(&mut self, outlet: Outlet) {
        self.base = self.timestamp();
        self.outlet = outlet;
        self.marker = true;
    }

    /// What is heard of the speaker is forgotten: it may not be heard any more.
    pub fn hush(&mut self, now: Instant) {
        if !std::mem::take(&mut self.heard) {
            return;
        }
        let config = PlayoutConfig { codec: self.playout.codec(), noise_seed: self.noise_seed };
        self.playout = Playout::new(now, config);
    }

    /// A tone that the listener hears over the voice from the next frame on, or none; not `sounding`, it is silent for now.
    pub fn set_tone(&mut self, tone: Option<Repeated>, sounding: bool) {
        (self.tone, self.sounding) = (tone, sounding);
        self.begun |= tone.is_some();
    }

    /// Takes a packet of the speaker that [`crate::session::Session::receive_rtp`] accepted, of any kind: keys and comfort
    /// noise tell that no audio is lost.
    pub fn push(&mut self, now: Instant, media: &Media<'_>) {
        (self.begun, self.heard) = (true, true);
        self.playout.push(now, media);
    }

    /// The tick: makes the next 20 ms. Take what comes of it with [`Transcoder::pull`] until that gives `None`, before the
    /// next one. Call it each 20 ms, also while nothing comes.
    pub fn frame(&mut self, now: Instant) {
        if !self.begun {
            return;
        }
        let frame = self.playout.frame(now, &mut self.pcm[..]);
        let (rate_hz, Conversion { to, tuning, ptime, .. }) = (self.playout.rate_hz(), self.conversion);
        if !self.outlet.is_for(rate_hz, to, tuning, ptime) {
            // The speaker has another codec.
            let Some(outlet) = self.conversion.outlet(rate_hz) else { return };
            self.renew(outlet);
        }
        let pcm = &mut self.pcm[..frame.samples];
        if self.overlay.as_ref().is_none_or(|overlay| self.tone.is_none_or(|tone| !overlay.is_for(tone, rate_hz))) {
            self.overlay = self.tone.map(|tone| Overlay::new(tone, rate_hz));
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.add(pcm, self.sounding);
        }
        self.outlet.push(pcm);
        self.yields = self.key.is_some_and(|key| key.until.is_some_and(|until| now < until));
    }

    /// The next whole packet, its payload written to `out`.
    pub fn pull(&mut self, out: &mut [u8]) -> Option<Coded> {
        loop {
            let spoken = self.outlet.pull(out)?;
            if self.yields {
                // Its time goes by.
                self.marker = true;
                continue;
            }
            let timestamp = self.base.wrapping_add(spoken.timestamp);
            let coded = Coded { bytes: spoken.bytes, marker: self.marker, timestamp, sequence: self.sequence };
            self.marker = false;
            self.sequence += 1;
            return Some(coded);
        }
    }

    /// Number and timestamp, in the outgoing stream, of a telephone-event's packet that goes to the listener as it comes.
    pub fn place_event(&mut self, media: &Media<'_>) -> (u64, u32) {
        let sequence = self.sequence;
        self.sequence += 1;
        // All packets of an event have one timestamp (RFC 4733 2.5.1.2).
        let known = self.key.filter(|key| (key.ssrc, key.theirs) == (media.ssrc, media.timestamp));
        let key = known.unwrap_or_else(|| Key {
            ssrc: media.ssrc,
            theirs: media.timestamp,
            ours: self.timestamp(),
            until: None,
        });
        self.key = Some(key);
        (sequence, key.ours)
    }

    /// A packet of the last event placed was sent: the voice keeps silent until the event is `over`, or was not heard of for
    /// 100 ms.
    pub fn give_way(&mut self, now: Instant, over: bool) {
        if let Some(key) = &mut self.key {
            key.until = (!over).then(|| now + TRANSCODE_KEY_MAX);
        }
    }

    /// Of the playout: losses, delay, what was made up.
    pub fn stats(&self) -> PlayoutStats {
        self.playout.stats()
    }

    /// Of the next packet.
    fn timestamp(&self) -> u32 {
        self.base.wrapping_add(self.outlet.timestamp())
    }
}
