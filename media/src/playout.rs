//! From packets to sound: a jitter buffer, a decoder, concealment, comfort noise and a clock that is followed, in one
//! machine that gives 20 ms of PCM whenever it is asked.
//!
//! For legs whose audio is needed as such (a mixer, a recogniser, another codec). A bridge whose two legs speak the same
//! codec passes packets on and needs none of this.
//!
//! ```
//! use ark_media::playout::{Playout, PlayoutConfig};
//! # use ark_media::{codec, fuzz::start};
//! # let (now, pcma) = (start(), codec::ALL[0]);
//! let mut playout = Playout::new(now, PlayoutConfig { codec: pcma, noise_seed: 1 });
//! let mut pcm = vec![0; playout.frame_samples()];
//! // For each packet: playout.push(now, &media). For each tick of 20 ms:
//! let frame = playout.frame(now, &mut pcm);
//! assert_eq!(frame.samples, 160);
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::comfort::{Generator, Noise};
use crate::codec::{CodecRef, Decoder};
use crate::conceal::Concealer;
use crate::jitter::{Arrival, Class, JitterBuffer, JitterStats, Take};
use crate::limits::{PACKET_AUDIO_MAX, TICK};
use crate::session::{Kind, Media};
use crate::stretch;

/// Payloads of so few bytes say that a pause begins (Opus DTX, RFC 7587 3.1.3; a silence descriptor of G.729B).
const PAUSE_BYTES_MAX: usize = 2;
/// Below this effective value audio is quiet, whatever the background is: -55 dBov.
const QUIET_RMS: f32 = 60.0;
/// Above this it never is: -35 dBov.
const LOUD_RMS: f32 = 600.0;
/// Quiet is what lies at most so far above the background.
const QUIET_RATIO: f32 = 2.0;
/// The background estimate rises by this factor a tick, about 3 dB a second.
const BACKGROUND_RISE: f32 = 1.007;
/// A voice is shortened only where it repeats itself so well.
const LIKENESS_CALM: f32 = 0.8;
/// And where it must be, so well.
const LIKENESS_PRESSING: f32 = 0.5;
/// A voice is shortened when the delay was too long for this long: pauses come first.
const PATIENCE_TICKS: u32 = 100;
/// More than this too much delay does not wait for a pause.
const PRESSING: Duration = Duration::from_millis(40);
/// Ticks between two changes in a voice.
const CHANGE_TICKS: u32 = 4;
/// Changes smaller than this are not worth it.
const CHANGE_MIN: Duration = Duration::from_millis(1);
/// The end of a talkspurt is faded over this long into the pause.
const TAIL: Duration = Duration::from_millis(5);

/// What a playout is made of.
#[derive(Debug, Clone, Copy)]
pub struct PlayoutConfig {
    /// The codec to begin with; another one in [`Media::codec`] takes its place when it comes.
    pub codec: CodecRef,
    /// Any number: two legs with different ones have different comfort noise.
    pub noise_seed: u32,
}

/// What a frame is made of: concealed if any of it is, else voice if any of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// What the peer sent.
    Voice,
    /// Some of it was lost or late and is made up.
    Concealed,
    /// The peer pauses: comfort noise as it asked for, or as its codec makes it.
    Comfort,
    /// Nothing is heard from the peer: digital silence.
    Silence,
}

/// One frame of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub sound: Sound,
    /// Samples written.
    pub samples: usize,
    /// The sender's RTP time of the first sample, as far as that can be said while delays change: to some ms. `None`
    /// before any audio came.
    pub timestamp: Option<u32>,
}

/// Counters and state of a playout.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlayoutStats {
    /// Of the jitter buffer.
    pub jitter: JitterStats,
    /// Frames given.
    pub frames: u64,
    /// Audio that was made up.
    pub concealed: Duration,
    /// Lost packets that the next packet brought along (in-band FEC).
    pub recovered: u64,
    /// Packets that could not be decoded.
    pub undecodable: u64,
    /// Audio put in, to let the delay grow.
    pub lengthened: Duration,
    /// Audio left out, to let it shrink.
    pub shortened: Duration,
}

/// See the module's documentation. It allocates when it is made and when the codec changes.
pub struct Playout {
    codec: CodecRef,
    decoder: Box<dyn Decoder>,
    jitter: JitterBuffer,
    concealer: Concealer,
    noise: Option<Generator>,
    noise_seed: u32,
    fifo: Fifo,
    stats: PlayoutStats,
    /// RTP time at the end of what is decoded.
    end: Option<u32>,
    last: Sound,
    /// The last packet said that a pause begins.
    pausing: bool,
    stream: Option<u32>,
    background: f32,
    /// Ticks for which the delay was too long; ticks since a voice was changed.
    too_long: u32,
    since_change: u32,
}

impl std::fmt::Debug for Playout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Playout").field("codec", &self.codec).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Runs of samples that are kept apart; a queue holds a few.
const RUNS_MAX: usize = 32;

/// Decoded samples that were not given out yet, and what they are.
#[derive(Debug)]
struct Fifo {
    pcm: Box<[i16]>,
    length: usize,
    runs: VecDeque<(Sound, usize)>,
}

impl Fifo {
    fn new(samples: usize) -> Self {
        let pcm = vec![0; samples].into_boxed_slice();
        Self { pcm, length: 0, runs: VecDeque::with_capacity(RUNS_MAX) }
    }

    fn heard(&self) -> &[i16] {
        &self.pcm[..self.length]
    }

    fn room(&mut self) -> &mut [i16] {
        &mut self.pcm[self.length..]
    }

    fn grow(&mut self, samples: usize, sound: Sound) {
        self.length += samples;
        let full = self.runs.len() == RUNS_MAX;
        match self.runs.back_mut() {
            Some(run) if run.0 == sound || full => run.1 += samples,
            _ => self.runs.push_back((sound, samples)),
        }
    }

    /// The front was made longer or shorter.
    fn stretched(&mut self, length: usize) {
        if let (Some(more), Some(run)) = (length.checked_sub(self.length), self.runs.front_mut()) {
            run.1 += more;
        } else {
            self.forget(self.length - length);
        }
        self.length = length;
    }

    /// Takes so many samples off the runs; which sounds they were.
    fn forget(&mut self, mut samples: usize) -> [bool; 4] {
        let mut met = [false; 4];
        while samples > 0
            && let Some(run) = self.runs.front_mut()
        {
            met[run.0 as usize] = true;
            let taken = run.1.min(samples);
            run.1 -= taken;
            samples -= taken;
            if run.1 == 0 {
                self.runs.pop_front();
            }
        }
        met
    }

    /// Moves a frame to `out`, or as much of it as fits there.
    fn give(&mut self, frame: usize, out: &mut [i16]) -> Sound {
        let (frame, fits) = (frame.min(self.length), frame.min(out.len()).min(self.length));
        out[..fits].copy_from_slice(&self.pcm[..fits]);
        self.pcm.copy_within(frame..self.length, 0);
        self.length -= frame;
        let met = self.forget(frame);
        let order = [Sound::Concealed, Sound::Voice, Sound::Comfort];
        order.into_iter().find(|sound| met[*sound as usize]).unwrap_or(Sound::Silence)
    }
}

impl Playout {
    /// A playout that has heard nothing; its time begins `now`.
    pub fn new(now: Instant, config: PlayoutConfig) -> Self {
        let PlayoutConfig { codec, noise_seed } = config;
        Self {
            codec,
            decoder: codec.decoder(),
            jitter: JitterBuffer::new(now, codec.rtp_clock_hz()),
            concealer: Concealer::new(codec.sample_rate_hz()),
            noise: None,
            noise_seed,
            fifo: Fifo::new(codec.samples(PACKET_AUDIO_MAX + TICK * 3)),
            stats: PlayoutStats::default(),
            end: None,
            last: Sound::Silence,
            pausing: false,
            stream: None,
            background: LOUD_RMS,
            too_long: 0,
            since_change: 0,
        }
    }

    /// The codec that is decoded now.
    pub fn codec(&self) -> CodecRef {
        self.codec
    }

    /// Samples of one frame: 20 ms at the decoder's rate.
    pub fn frame_samples(&self) -> usize {
        self.codec.samples(TICK)
    }

    /// Samples per second of the frames.
    pub fn rate_hz(&self) -> u32 {
        self.codec.sample_rate_hz()
    }

    /// Packets that wait in the jitter buffer.
    pub fn waiting(&self) -> usize {
        self.jitter.waiting()
    }

    /// Counters and state.
    pub fn stats(&self) -> PlayoutStats {
        PlayoutStats { jitter: self.jitter.stats(), ..self.stats }
    }

    /// Takes a packet that [`crate::session::Session::receive_rtp`] accepted, of any kind: keys and comfort noise tell
    /// that no audio is lost. A packet of another codec than the last begins anew; [`Playout::rate_hz`] may then be
    /// another.
    pub fn push(&mut self, now: Instant, media: &Media<'_>) {
        if media.codec != self.codec {
            self.change(now, media.codec);
        }
        let class = match media.kind {
            Kind::Audio => Class::Audio,
            Kind::Comfort => Class::Comfort,
            Kind::Event => Class::Event,
        };
        let Media { ssrc, sequence, timestamp, payload, .. } = *media;
        self.jitter.push(now, &Arrival { class, ssrc, sequence, timestamp, payload });
    }

    fn change(&mut self, now: Instant, codec: CodecRef) {
        let stats = self.stats;
        *self = Self::new(now, PlayoutConfig { codec, noise_seed: self.noise_seed });
        self.stats = stats;
    }

    /// Gives the frame of this tick: `pcm[..frame.samples]`, where `frame.samples` is [`Playout::frame_samples`] or, if
    /// `pcm` is shorter, its length. Call it each 20 ms, also while nothing comes.
    pub fn frame(&mut self, now: Instant, pcm: &mut [i16]) -> Frame {
        let samples = self.frame_samples().min(pcm.len());
        self.fill(now, self.frame_samples());
        self.keep_pace(now);
        self.stats.frames += 1;
        let timestamp = self.end.map(|end| end.wrapping_sub(self.units(self.fifo.length)));
        let sound = self.fifo.give(self.frame_samples(), pcm);
        Frame { sound, samples, timestamp }
    }

    fn units(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.codec.rtp_clock_hz()) / u64::from(self.codec.sample_rate_hz())) as u32
    }

    fn samples(&self, units: u32) -> usize {
        samples_of(self.codec, units)
    }

    /// Decodes and makes up until `wanted` samples are there.
    fn fill(&mut self, now: Instant, wanted: usize) {
        while self.fifo.length < wanted {
            let ahead = self.units(self.fifo.length);
            match self.jitter.take(now, ahead) {
                Take::Packet { class: Class::Audio, ssrc, payload, timestamp } => {
                    if self.stream.replace(ssrc).is_some_and(|before| before != ssrc) {
                        // Its past is another sender's.
                        self.decoder = self.codec.decoder();
                    }
                    let room = self.fifo.room();
                    let most = room.len().min(self.codec.samples(PACKET_AUDIO_MAX));
                    let count = self.decoder.decode(payload, &mut room[..most]).min(most);
                    self.pausing = payload.len() <= PAUSE_BYTES_MAX;
                    self.heard(count, timestamp);
                }
                Take::Packet { payload, .. } => {
                    if let Some(noise) = Noise::parse(payload) {
                        let seed = self.noise_seed;
                        self.noise.get_or_insert_with(|| Generator::new(noise, seed)).set(noise);
                    }
                }
                Take::Missing(units) if self.pausing => {
                    let samples = self.samples(units).max(1);
                    self.pause(samples);
                }
                Take::Missing(units) => self.make_up(units),
                Take::Nothing(units) => {
                    let samples = self.samples(units).max(1);
                    self.pause(samples);
                }
            }
        }
    }

    /// So many samples were decoded behind those of the queue.
    fn heard(&mut self, count: usize, timestamp: u32) {
        if count == 0 {
            self.stats.undecodable += 1;
            self.jitter.lost();
            return;
        }
        self.concealer.heard(&mut self.fifo.room()[..count]);
        self.fifo.grow(count, Sound::Voice);
        let units = self.units(count);
        self.jitter.played(units);
        self.end = Some(timestamp.wrapping_add(units));
        self.last = Sound::Voice;
    }

    /// Something is lost: from the copy in the next packet, by the codec's own means, or from the wave.
    fn make_up(&mut self, units: u32) {
        if let Some((payload, whole)) = self.jitter.following(units) {
            let samples = samples_of(self.codec, whole);
            let room = self.fifo.room();
            let count = if samples <= room.len() { self.decoder.recover(payload, &mut room[..samples]) } else { 0 };
            if count == samples && count > 0 {
                self.jitter.made_up(whole - units);
                self.stats.recovered += 1;
                self.concealer.heard(&mut self.fifo.room()[..count]);
                self.fifo.grow(count, Sound::Voice);
                self.end = self.end.map(|end| end.wrapping_add(whole));
                return;
            }
        }
        let samples = self.samples(units).max(1);
        let (made, units) = match self.own_concealment(samples) {
            0 => {
                self.concealer.conceal(&mut self.fifo.room()[..samples]);
                (samples, units)
            }
            made => {
                let more = self.units(made).saturating_sub(units);
                self.jitter.made_up(more);
                (made, units + more)
            }
        };
        self.fifo.grow(made, Sound::Concealed);
        self.end = self.end.map(|end| end.wrapping_add(units));
        self.stats.concealed += self.codec.duration_of(u64::from(units));
        self.last = Sound::Concealed;
    }

    /// Lets the decoder make up at least so many samples, in whole frames of its own; 0: it cannot.
    fn own_concealment(&mut self, samples: usize) -> usize {
        let whole = samples.next_multiple_of(self.codec.grain_samples().max(1));
        let Some(room) = self.fifo.room().get_mut(..whole) else { return 0 };
        if self.decoder.conceal(room) != whole {
            return 0;
        }
        self.concealer.observe(room);
        whole
    }

    /// The peer pauses.
    fn pause(&mut self, samples: usize) {
        let own = if self.pausing { self.own_concealment(samples) } else { 0 };
        if own > 0 {
            self.fifo.grow(own, Sound::Comfort);
            self.last = Sound::Comfort;
            return;
        }
        let room = &mut self.fifo.room()[..samples];
        let sound = if let Some(noise) = &mut self.noise {
            noise.fill(room);
            Sound::Comfort
        } else {
            room.fill(0);
            Sound::Silence
        };
        if self.last == Sound::Voice {
            let tail = self.codec.samples(TAIL).min(samples);
            self.concealer.tail(&mut self.fifo.room()[..tail]);
        }
        self.concealer.observe(&self.fifo.room()[..samples]);
        self.fifo.grow(samples, sound);
        let units = self.units(samples);
        self.end = self.end.map(|end| end.wrapping_add(units));
        self.last = sound;
    }

    /// Brings the delay to what the network asks for: in pauses at once, in a voice by whole periods and with patience.
    fn keep_pace(&mut self, now: Instant) {
        let quiet = self.is_quiet();
        self.since_change = self.since_change.saturating_add(1);
        let wanted = self.jitter.adjustment();
        let size = self.samples(wanted.unsigned_abs());
        let pressing = size > self.codec.samples(PRESSING);
        self.too_long = if wanted < 0 { self.too_long.saturating_add(1) } else { 0 };
        if size < self.codec.samples(CHANGE_MIN) || (!quiet && self.since_change < CHANGE_TICKS) {
            return;
        }
        if wanted > 0 {
            self.lengthen(size, quiet);
        } else if quiet || pressing || self.too_long >= PATIENCE_TICKS {
            self.shorten(now, size, quiet, pressing);
        }
    }

    fn lengthen(&mut self, size: usize, quiet: bool) {
        let rate_hz = self.rate_hz();
        let length = self.fifo.length;
        let most = length.saturating_sub(stretch::seam(rate_hz)).min(self.fifo.room().len());
        let lag = if quiet {
            size.min(most)
        } else {
            match stretch::lag(self.fifo.heard(), rate_hz, most) {
                Some((lag, likeness)) if likeness > LIKENESS_PRESSING => lag,
                _ => return,
            }
        };
        let grown = stretch::lengthen(&mut self.fifo.pcm, length, rate_hz, lag);
        let units = self.units(grown - length);
        self.fifo.stretched(grown);
        self.jitter.stretched(units as i32);
        self.stats.lengthened += self.codec.duration_of(u64::from(units));
        self.since_change = 0;
    }

    fn shorten(&mut self, now: Instant, size: usize, quiet: bool, pressing: bool) {
        let rate_hz = self.rate_hz();
        let frame = self.frame_samples();
        if self.fifo.length < 2 * frame && self.jitter.is_ready() {
            self.fill(now, self.fifo.length + 1);
        }
        let length = self.fifo.length;
        let most = size.min(length.saturating_sub(frame));
        let lag = if quiet {
            most
        } else {
            let likeness_min = if pressing { LIKENESS_PRESSING } else { LIKENESS_CALM };
            match stretch::lag(self.fifo.heard(), rate_hz, most) {
                Some((lag, likeness)) if likeness > likeness_min => lag,
                _ => return,
            }
        };
        let left = stretch::shorten(&mut self.fifo.pcm[..length], rate_hz, lag);
        let units = self.units(length - left);
        self.fifo.stretched(left);
        self.jitter.stretched(-(units as i32));
        self.stats.shortened += self.codec.duration_of(u64::from(units));
        self.since_change = 0;
    }

    /// Whether what is given next is a pause between words, or the background.
    fn is_quiet(&mut self) -> bool {
        let pcm = self.fifo.heard();
        let energy: f32 = pcm.iter().map(|sample| f32::from(*sample) * f32::from(*sample)).sum();
        let rms = (energy / pcm.len().max(1) as f32).sqrt();
        self.background = (self.background * BACKGROUND_RISE).min(rms.max(1.0)).min(LOUD_RMS);
        rms < QUIET_RMS || (rms < LOUD_RMS && rms < self.background * QUIET_RATIO)
    }
}

fn samples_of(codec: CodecRef, units: u32) -> usize {
    (u64::from(units) * u64::from(codec.sample_rate_hz()) / u64::from(codec.rtp_clock_hz())) as usize
}
