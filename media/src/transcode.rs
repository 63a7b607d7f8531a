//! One codec into another while a bridge is up: decode, change the rate, gather samples, encode in the other leg's
//! packet time, with numbers and timestamps of a stream of its own.
//!
//! What comes in order goes out in order. A short loss is mended by the codec that lost it, where it can; a longer one,
//! or one of a codec that cannot, stays a loss that the listener's phone conceals. A pause stays a pause.

use std::time::Duration;

use crate::codec::{CodecRef, Decoder, Encoder, Tuning};
use crate::limits::{DATAGRAM_BYTES_MAX, PTIME_MAX, TRANSCODE_CONCEAL_MAX, TRANSCODE_JUMP_MAX};
use crate::resample::Resampler;
use crate::session::Media;
use crate::tone::{Overlay, Repeated};

/// Samples of the longest packet: a datagram full of G.711, or 120 ms at 16 kHz.
const PACKET_SAMPLES_MAX: usize = 1920;
const _: () = assert!(PACKET_SAMPLES_MAX >= DATAGRAM_BYTES_MAX);
/// Samples that wait at most: a mended loss, the longest packet and what did not fill a frame before it, at 16 kHz.
const WAITING_MAX: usize =
    PACKET_SAMPLES_MAX * 2 + (TRANSCODE_CONCEAL_MAX.as_millis() + 2 * PTIME_MAX.as_millis()) as usize * 16;

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
    /// Counts the packets of the outgoing stream, and those that are lost in it.
    pub sequence: u64,
    /// That of the incoming stream: another one begins anew.
    pub ssrc: u32,
}

/// Where the incoming stream stands.
#[derive(Debug, Clone, Copy)]
struct Heard {
    ssrc: u32,
    /// Timestamp of the sample after the last one.
    next: u32,
    sequence: u64,
}

/// Frames of nothing between waiting samples.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// Samples that wait before it: whole frames.
    after: usize,
    frames: u32,
    /// Packets were lost, and so shall the listener see it; else the speaker paused.
    lost: bool,
}

/// One direction of a bridge between two codecs.
pub struct Transcoder {
    from: CodecRef,
    to: CodecRef,
    tuning: Tuning,
    ptime: Duration,
    decoder: Box<dyn Decoder>,
    resampler: Resampler,
    encoder: Box<dyn Encoder>,
    pcm: Box<[i16; PACKET_SAMPLES_MAX]>,
    /// At the outgoing rate.
    waiting: Box<[i16; WAITING_MAX]>,
    begin: usize,
    end: usize,
    gap: Option<Gap>,
    heard: Option<Heard>,
    /// Of the next packet.
    timestamp: u32,
    sequence: u64,
    marker: bool,
    /// What is heard over the voice.
    overlay: Option<Overlay>,
    sounding: bool,
    /// The last telephone-event: its stream, its timestamp there and here.
    event: Option<(u32, u32, u32)>,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transcoder({} to {}, {:?})", self.from.name(), self.to.name(), self.ptime)
    }
}

impl Transcoder {
    /// From one codec to another in packets of `ptime`, for a peer that wants its encoder set like this. Allocates here
    /// and nowhere else. `None`: their rates are not those of telephony.
    pub fn new(from: CodecRef, to: CodecRef, tuning: Tuning, ptime: Duration) -> Option<Self> {
        Some(Self {
            from,
            to,
            tuning,
            ptime: ptime.min(PTIME_MAX),
            decoder: from.decoder(),
            resampler: Resampler::new(from.sample_rate_hz(), to.sample_rate_hz())?,
            encoder: to.encoder_with(tuning),
            pcm: Box::new([0; PACKET_SAMPLES_MAX]),
            waiting: Box::new([0; WAITING_MAX]),
            begin: 0,
            end: 0,
            gap: None,
            heard: None,
            timestamp: 0,
            sequence: 0,
            marker: true,
            overlay: None,
            sounding: false,
            event: None,
        })
    }

    /// Goes on after another one of the same bridge (a codec or packet time was agreed on anew), with numbers so far
    /// ahead that nobody takes the new stretch for packets of the old one.
    #[must_use]
    pub fn after(mut self, old: &Self) -> Self {
        self.sequence = old.sequence + NUMBERS_APART;
        self.timestamp = old.timestamp;
        self
    }

    /// Whether it does just this.
    pub fn is_for(&self, from: CodecRef, to: CodecRef, tuning: Tuning, ptime: Duration) -> bool {
        (self.from, self.to, self.tuning, self.ptime) == (from, to, tuning, ptime.min(PTIME_MAX))
    }

    /// A tone that the listener hears over the voice from the next packet on, or none; not `sounding`, it is silent for now.
    pub fn set_tone(&mut self, tone: Option<Repeated>, sounding: bool) {
        let rate_hz = self.to.sample_rate_hz();
        if self.overlay.as_ref().is_none_or(|overlay| tone.is_none_or(|tone| !overlay.is_for(tone, rate_hz))) {
            self.overlay = tone.map(|tone| Overlay::new(tone, rate_hz));
        }
        self.sounding = sounding;
    }

    /// Takes an audio packet of the incoming codec. Take what comes of it with [`Transcoder::pull`] until that gives
    /// `None`, before the next packet.
    pub fn push(&mut self, media: &Media<'_>) {
        self.waiting.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if !self.bridge_gap(media) {
            return;
        }
        let samples = self.decoder.decode(media.payload, &mut self.pcm[..]);
        self.append(samples);
        let units = samples as u64 * u64::from(self.from.rtp_clock_hz()) / u64::from(self.from.sample_rate_hz());
        let next = media.timestamp.wrapping_add(units as u32);
        self.heard = Some(Heard { ssrc: media.ssrc, next, sequence: media.sequence });
    }

    /// The next whole packet, its payload written to `out`.
    pub fn pull(&mut self, out: &mut [u8]) -> Option<Coded> {
        self.pass_gap();
        let frame = self.frame();
        if self.end - self.begin < frame {
            return None;
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.add(&mut self.waiting[self.begin..self.begin + frame], self.sounding);
        }
        let bytes = self.encoder.encode(&self.waiting[self.begin..self.begin + frame], out);
        self.begin += frame;
        if let Some(gap) = &mut self.gap {
            gap.after = gap.after.saturating_sub(frame);
        }
        let ssrc = self.heard.map_or(0, |heard| heard.ssrc);
        let coded = Coded { bytes, marker: self.marker, timestamp: self.timestamp, sequence: self.sequence, ssrc };
        self.marker = false;
        self.timestamp = self.timestamp.wrapping_add(self.step());
        self.sequence += 1;
        Some(coded)
    }

    /// Number and timestamp, in the outgoing stream, of a telephone-event's packet that came between the audio.
    pub fn place_event(&mut self, media: &Media<'_>) -> (u64, u32) {
        let sequence = self.sequence;
        self.sequence += 1;
        if let Some(heard) = &mut self.heard {
            // Its number is no gap in the audio.
            heard.sequence = heard.sequence.max(media.sequence);
        }
        // All packets of an event have one timestamp.
        let known = self.event.filter(|(ssrc, theirs, _)| (*ssrc, *theirs) == (media.ssrc, media.timestamp));
        let ours = known.map_or_else(|| self.translated(media), |(_, _, ours)| ours);
        self.event = Some((media.ssrc, media.timestamp, ours));
        (sequence, ours)
    }

    /// A timestamp of the incoming stream as one of the outgoing.
    fn translated(&self, media: &Media<'_>) -> u32 {
        let (to, from) = (i64::from(self.to.rtp_clock_hz()), i64::from(self.from.rtp_clock_hz()));
        let waiting = (self.end - self.begin) as i64 * to / i64::from(self.to.sample_rate_hz());
        let skipped = self.gap.map_or(0, |gap| i64::from(self.step()) * i64::from(gap.frames));
        let ahead = self.heard.filter(|heard| heard.ssrc == media.ssrc).map_or(0, |heard| {
            let units = i64::from(media.timestamp.wrapping_sub(heard.next) as i32);
            units * to / from
        });
        self.timestamp.wrapping_add((waiting + skipped + ahead) as u32)
    }

    /// Samples of a packet.
    fn frame(&self) -> usize {
        self.to.samples(self.ptime).max(1)
    }

    /// Clock units of a packet.
    fn step(&self) -> u32 {
        self.to.clock_units(self.ptime)
    }

    /// Deals with what lies between the last packet and this one. False: this one comes too late.
    fn bridge_gap(&mut self, media: &Media<'_>) -> bool {
        let Some(heard) = self.heard.filter(|heard| heard.ssrc == media.ssrc) else {
            // Another voice: what is left of the old one is no part of it.
            (self.end, self.gap, self.marker) = (self.begin, None, true);
            return true;
        };
        let units = i64::from(media.timestamp.wrapping_sub(heard.next) as i32);
        let clock = i64::from(self.from.rtp_clock_hz());
        let jump = TRANSCODE_JUMP_MAX.as_secs() as i64 * clock;
        if units.abs() > jump {
            self.hole(0, false);
            return true;
        }
        if units <= 0 {
            // Seen already, or so late that it was taken for lost.
            return units == 0;
        }
        let samples = (units * i64::from(self.from.sample_rate_hz()) / clock) as usize;
        let lost = media.sequence != heard.sequence + 1;
        if lost && samples <= self.from.samples(TRANSCODE_CONCEAL_MAX) && self.mend(samples, media.payload) {
            return true;
        }
        let out = samples as u64 * u64::from(self.to.sample_rate_hz()) / u64::from(self.from.sample_rate_hz());
        self.hole(out as usize, lost);
        true
    }

    /// Lets the codec fill a short loss.
    fn mend(&mut self, samples: usize, next: &[u8]) -> bool {
        let Some(place) = self.pcm.get_mut(..samples) else { return false };
        let written = match self.decoder.recover(next, place) {
            0 => self.decoder.conceal(place),
            written => written,
        };
        self.pcm[written..samples].fill(0);
        if written > 0 {
            self.append(samples);
        }
        written > 0
    }

    /// So many samples of `pcm` wait, at the outgoing rate.
    fn append(&mut self, samples: usize) {
        let room = &mut self.waiting[self.end..];
        self.end += self.resampler.process(&self.pcm[..samples], room);
    }

    /// So many samples of nothing, at the outgoing rate: silence up to the end of a frame, frames that are not sent, and
    /// silence again.
    fn hole(&mut self, samples: usize, lost: bool) {
        let frame = self.frame();
        let before = (frame - (self.end - self.begin) % frame) % frame;
        let silent = if lost { before.min(samples) } else { before };
        self.silence(silent);
        let rest = samples.saturating_sub(silent);
        let frames = (rest / frame) as u32;
        let after = self.end - self.begin;
        if frames > 0 || !lost {
            self.gap = Some(Gap { after, frames, lost });
        }
        self.silence(rest % frame);
    }

    fn silence(&mut self, samples: usize) {
        let end = (self.end + samples).min(WAITING_MAX);
        self.waiting[self.end..end].fill(0);
        self.end = end;
    }

    /// Goes over a gap once everything before it is sent.
    fn pass_gap(&mut self) {
        let Some(gap) = self.gap.take_if(|gap| gap.after == 0) else { return };
        self.timestamp = self.timestamp.wrapping_add(self.step().wrapping_mul(gap.frames));
        self.sequence += if gap.lost { u64::from(gap.frames) } else { 0 };
        self.marker |= !gap.lost;
    }
}
