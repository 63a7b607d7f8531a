//! Recordings: a WAV of 16 bits and 8 kHz, laid out by media time, one channel for each side of the call or for each of its
//! legs ([`Layout`]); or the same as Ogg/Opus ([`ogg`]). Wideband codecs are brought to 8 kHz.
//!
//! The recorder is a window of memory that slides over the file. Packets are put where their timestamp says, so that
//! loss, jitter and pauses leave silence and never shift one side against the other. What leaves the window is handed
//! out as (offset, bytes); the header follows each block, so that a crash loses less than the last second.
//! Telephone-events are no audio: a card number that is keyed in leaves no trace here.

pub mod ogg;

use std::time::{Duration, Instant};

use crate::codec::{CodecRef, Decoder};
use crate::limits::{
    RECORD_BLOCK, RECORD_DRIFT_MAX, RECORD_DRIFT_PACKETS, RECORD_EARLY_MAX, RECORD_LATE_MAX, RECORD_MAX,
    RECORD_SUPERVISORS_MAX,
};
use crate::resample::Resampler;

/// Samples per second of each channel.
pub const RATE_HZ: u32 = 8000;
/// Bytes of the header; audio begins here.
pub const HEADER_BYTES: usize = 44;
/// Bytes of one sample.
pub const SAMPLE_BYTES: usize = 2;
/// Instants in the window: what may still come late, a block that waits to be handed out, what may come early.
const WINDOW: usize = instants(RECORD_LATE_MAX) + 2 * instants(RECORD_BLOCK) + instants(RECORD_EARLY_MAX);
/// Mean amplitude above which a packet counts as voice: about -44 dB of full scale.
const VOICE: u32 = 200;
/// The longest packet at 8 kHz, and at the rate of its codec: 120 ms at 16 kHz, or a datagram full of G.711.
const PACKET_SAMPLES_MAX: usize = 1600;
const DECODED_SAMPLES_MAX: usize = 1920;

const fn instants(duration: Duration) -> usize {
    duration.as_millis() as usize * (RATE_HZ as usize / 1000)
}

/// What each channel of a recording holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Two: the caller left, all that the caller hears right.
    #[default]
    Sides,
    /// Four: the caller, what Ark plays to the caller, the person whom the caller talks to, supervisors. Whoever joins late has a
    /// channel that begins with silence.
    Legs,
}

impl Layout {
    /// Channels of the file.
    pub const fn channels(self) -> usize {
        match self {
            Self::Sides => 2,
            Self::Legs => 4,
        }
    }
}

/// Whose voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first channel.
    Caller,
    /// The second channel. [`Layout::Sides`]: prompts, and whoever is bridged. [`Layout::Legs`]: prompts and music.
    Ark,
    /// The third channel of [`Layout::Legs`]: whoever talks with the caller, one after the other.
    Agent,
    /// The fourth channel of [`Layout::Legs`]: supervisors, by number below [`RECORD_SUPERVISORS_MAX`], added up.
    Supervisor(u8),
}

/// Streams of a recording at a time.
const TRACKS: usize = 3 + RECORD_SUPERVISORS_MAX;

impl Side {
    /// Which stream it is, and in which channel; none: the layout has no place for it.
    fn place(self, layout: Layout) -> Option<(usize, usize)> {
        let (track, channel) = match self {
            Self::Caller => (0, 0),
            Self::Ark => (1, 1),
            Self::Agent => (2, 2),
            Self::Supervisor(number) => (3 + usize::from(number), 3),
        };
        (track < TRACKS && channel < layout.channels()).then_some((track, channel))
    }
}

/// Where a stream's timestamps lie in the recording.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ssrc: u32,
    timestamp: u32,
    position: u64,
    /// How long after its place in the recording the fastest of the last packets came, in pairs.
    least_lag: i64,
    /// How many packets that was found over.
    packets: u32,
}

impl Clock {
    fn new(ssrc: u32, timestamp: u32, position: u64) -> Self {
        Self { ssrc, timestamp, position, least_lag: i64::MAX, packets: 0 }
    }

    /// Watches how far the stream lies off the clock on the wall: its first packet may have been a slow one, and no
    /// two clocks run alike. Gives how far the stream has to move, now and then.
    fn drift(&mut self, lag: i64) -> Option<i64> {
        self.least_lag = self.least_lag.min(lag);
        self.packets += 1;
        let limit = instants(RECORD_DRIFT_MAX) as i64;
        // A packet cannot come before it was spoken: that is certain at once.
        if self.least_lag >= -limit && self.packets < RECORD_DRIFT_PACKETS {
            return None;
        }
        let off = std::mem::replace(&mut self.least_lag, i64::MAX);
        self.packets = 0;
        (off.abs() > limit).then_some(off)
    }
}

/// What turns a side's payload into samples of the recording.
struct Ear {
    codec: CodecRef,
    decoder: Box<dyn Decoder>,
    resampler: Resampler,
}

impl Ear {
    fn new(codec: CodecRef) -> Option<Self> {
        let resampler = Resampler::new(codec.sample_rate_hz(), RATE_HZ)?;
        Some(Self { codec, decoder: codec.decoder(), resampler })
    }
}

#[derive(Default)]
struct Track {
    clock: Option<Clock>,
    ear: Option<Ear>,
    voice: Option<Instant>,
}

/// One recording.
pub struct Recorder {
    start: Instant,
    layout: Layout,
    /// [`WINDOW`] samples of each channel, interleaved.
    window: Box<[i16]>,
    /// First instant that has not been handed out.
    flushed: u64,
    /// Where the recording ends, once it does.
    end: Option<u64>,
    tracks: [Track; TRACKS],
    /// Instants that the last header names; `None` before the first header.
    header: Option<u64>,
    pcm: Box<[i16; PACKET_SAMPLES_MAX]>,
    decoded: Box<[i16; DECODED_SAMPLES_MAX]>,
    /// Packets that came too late.
    dropped: u64,
    /// Times when a stream's clock was off and it was laid out anew.
    resyncs: u64,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({:?}, {} dropped, {} resyncs)", self.handed_out(), self.dropped, self.resyncs)
    }
}

/// Bytes for the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Where they go.
    pub offset: u64,
    /// How many were appended to the caller's buffer.
    pub bytes: usize,
}

impl Recorder {
    /// A recording that begins `now`. It allocates about 18 KB for each channel here, and nothing afterwards but for a new
    /// codec.
    pub fn new(now: Instant, layout: Layout) -> Self {
        Self {
            start: now,
            layout,
            window: vec![0; WINDOW * layout.channels()].into_boxed_slice(),
            flushed: 0,
            end: None,
            tracks: std::array::from_fn(|_| Track::default()),
            header: None,
            pcm: Box::new([0; PACKET_SAMPLES_MAX]),
            decoded: Box::new([0; DECODED_SAMPLES_MAX]),
            dropped: 0,
            resyncs: 0,
        }
    }

    /// What its channels hold.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes the payload of an audio packet (not of a telephone-event) that was received from a leg, or sent to the caller
    /// ([`Side::Ark`]). What the layout has no channel for is not kept. `ssrc` and `timestamp` are those of its RTP header.
    pub fn push(&mut self, now: Instant, side: Side, codec: CodecRef, ssrc: u32, timestamp: u32, payload: &[u8]) {
        let Some((index, channel)) = side.place(self.layout) else { return };
        if self.end.is_some() {
            self.dropped += 1;
            return;
        }
        let position = self.position(now, index, ssrc, timestamp, codec.rtp_clock_hz());
        let track = &mut self.tracks[index];
        if track.ear.as_ref().is_none_or(|ear| ear.codec != codec) {
            track.ear = Ear::new(codec);
        }
        let Some(ear) = &mut track.ear else { return };
        let decoded = ear.decoder.decode(payload, &mut self.decoded[..]);
        let samples = ear.resampler.process(&self.decoded[..decoded], &mut self.pcm[..]);
        let pcm = &self.pcm[..samples];
        let loudness: u32 = pcm.iter().map(|s| u32::from(s.unsigned_abs())).sum();
        if loudness > VOICE * samples as u32 {
            track.voice = Some(now);
        }
        // What lies before the window has been handed out; what lies behind it has nowhere to go.
        let skip = self.flushed.saturating_sub(position).min(samples as u64) as usize;
        let room = (self.flushed + WINDOW as u64).saturating_sub(position + skip as u64) as usize;
        let lost = skip > 0 || room < samples - skip;
        let pcm = &pcm[skip..];
        let pcm = &pcm[..pcm.len().min(room)];
        let first = ((position + skip as u64) % WINDOW as u64) as usize;
        let (here, wrapped) = pcm.split_at(pcm.len().min(WINDOW - first));
        let channels = self.layout.channels();
        lay(&mut self.window[first * channels..], (channels, channel), side, here);
        lay(&mut self.window, (channels, channel), side, wrapped);
        self.dropped += u64::from(lost);
    }

    /// The instant at which a packet begins: by its timestamp, as long as that agrees with the clock on the wall.
    fn position(&mut self, now: Instant, track: usize, ssrc: u32, timestamp: u32, clock_hz: u32) -> u64 {
        let wall = self.wall(now);
        let clock = &mut self.tracks[track].clock;
        let told = clock.filter(|c| c.ssrc == ssrc).map(|c| {
            let units = i64::from(timestamp.wrapping_sub(c.timestamp) as i32);
            c.position as i64 + units * i64::from(RATE_HZ) / i64::from(clock_hz.max(1))
        });
        let near = |at: &i64| {
            let ahead = at - wall as i64;
            (-(instants(RECORD_LATE_MAX) as i64)..=instants(RECORD_EARLY_MAX) as i64).contains(&ahead)
        };
        if let (Some(at), Some(clock)) = (told.filter(near), clock.as_mut()) {
            let off = clock.drift(wall as i64 - at);
            self.resyncs += u64::from(off.is_some());
            let at = at + off.unwrap_or(0);
            let position = at.max(0) as u64;
            // A late packet must not pull the reference back: a clock only goes forward.
            if at >= 0 && (position > clock.position || off.is_some()) {
                (clock.timestamp, clock.position) = (timestamp, position);
            }
            return position;
        }
        self.resyncs += u64::from(told.is_some());
        *clock = Some(Clock::new(ssrc, timestamp, wall));
        wall
    }

    fn wall(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).min(RECORD_MAX);
        elapsed.as_micros() as u64 * u64::from(RATE_HZ) / 1_000_000
    }

    /// Whether [`Recorder::poll`] has something to give.
    pub fn is_due(&self, now: Instant) -> bool {
        self.header != Some(self.flushed) || self.due(now) >= instants(RECORD_BLOCK) as u64
    }

    /// Instants that can be handed out.
    fn due(&self, now: Instant) -> u64 {
        match self.end {
            Some(end) => end - self.flushed,
            None => self.wall(now).saturating_sub(self.flushed + instants(RECORD_LATE_MAX) as u64),
        }
    }

    /// The next bytes for the file, appended to `out`; `None` when nothing is due. Call it at least every
    /// [`RECORD_BLOCK`] until it gives `None`: the first call gives the header, then blocks come, each with a header.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Write> {
        let due = self.due(now);
        let block = instants(RECORD_BLOCK) as u64;
        if self.header == Some(self.flushed) && (due >= block || (self.end.is_some() && due > 0)) {
            return Some(self.block(due.min(block), out));
        }
        if self.header != Some(self.flushed) {
            self.header = Some(self.flushed);
            out.extend_from_slice(&header(self.layout.channels() as u16, self.flushed * self.instant_bytes()));
            return Some(Write { offset: 0, bytes: HEADER_BYTES });
        }
        None
    }

    fn block(&mut self, count: u64, out: &mut Vec<u8>) -> Write {
        let offset = self.file_bytes();
        let channels = self.layout.channels();
        let first = (self.flushed % WINDOW as u64) as usize;
        let here = (count as usize).min(WINDOW - first);
        for range in [first..first + here, 0..count as usize - here] {
            let samples = &mut self.window[range.start * channels..range.end * channels];
            out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            samples.fill(0);
        }
        self.flushed += count;
        Write { offset, bytes: (count * self.instant_bytes()) as usize }
    }

    /// Bytes of one sample of every channel.
    fn instant_bytes(&self) -> u64 {
        (self.layout.channels() * SAMPLE_BYTES) as u64
    }

    /// Ends the recording `now`; [`Recorder::poll`] then gives the rest. More packets are not taken.
    pub fn finish(&mut self, now: Instant) {
        let wall = self.wall(now).max(self.flushed);
        self.end.get_or_insert(wall);
    }

    /// Whether it has reached [`RECORD_MAX`] and goes on no longer: finish it.
    pub fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.start) >= RECORD_MAX
    }

    /// How much audio was handed out.
    pub fn handed_out(&self) -> Duration {
        Duration::from_micros(self.flushed * 1_000_000 / u64::from(RATE_HZ))
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.flushed * self.instant_bytes()
    }

    /// How long nothing louder than room noise came from this side, since the recording began.
    pub fn silent_for(&self, now: Instant, side: Side) -> Duration {
        let voice = side.place(self.layout).and_then(|(track, _)| self.tracks[track].voice);
        now.saturating_duration_since(voice.unwrap_or(self.start))
    }

    /// Packets that came too late to be kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Puts one channel's samples where they belong among the interleaved ones.
fn lay(instants: &mut [i16], (channels, channel): (usize, usize), side: Side, pcm: &[i16]) {
    for (instant, sample) in instants.chunks_exact_mut(channels).zip(pcm) {
        instant[channel] = match side {
            // Several may speak at once.
            Side::Supervisor(_) => instant[channel].saturating_add(*sample),
            Side::Caller | Side::Ark | Side::Agent => *sample,
        };
    }
}

/// The header of a recording with so many channels and so many bytes of audio.
pub fn header(channels: u16, audio_bytes: u64) -> [u8; HEADER_BYTES] {
    let audio = u32::try_from(audio_bytes).unwrap_or(u32::MAX - 36);
    let instant_bytes = channels * SAMPLE_BYTES as u16;
    let mut header = [0; HEADER_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&audio.saturating_add(36).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&channels.to_le_bytes());
    put(&RATE_HZ.to_le_bytes());
    put(&(RATE_HZ * u32::from(instant_bytes)).to_le_bytes());
    put(&instant_bytes.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&audio.to_le_bytes());
    header
}

/// Channels that the header of a recording names; 0 is no recording of Ark's.
pub fn channels_of(first: &[u8]) -> u16 {
    first.get(22..24).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// How long a WAV recording of so many channels and bytes is.
pub fn duration_of(channels: u16, file_bytes: u64) -> Duration {
    let instant_bytes = u64::from(channels.max(1)) * SAMPLE_BYTES as u64;
    let instants = file_bytes.saturating_sub(HEADER_BYTES as u64) / instant_bytes;
    Duration::from_micros(instants * 1_000_000 / u64::from(RATE_HZ))
}

/// How to mend a recording that a crash cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// To be written at the beginning.
    pub header: [u8; HEADER_BYTES],
    /// To which the file is to be cut: a part of an instant may have been written.
    pub file_bytes: u64,
}

/// Compares a recording's first [`HEADER_BYTES`] bytes with the length of its file. `None`: they agree, or the file is
/// no recording of Ark.
pub fn repair(first: &[u8], file_bytes: u64) -> Option<Repair> {
    let first = first.get(..HEADER_BYTES)?;
    let channels = channels_of(first);
    if ![Layout::Sides, Layout::Legs].iter().any(|layout| layout.channels() == usize::from(channels)) {
        return None;
    }
    let instant_bytes = u64::from(channels) * SAMPLE_BYTES as u64;
    let audio = file_bytes.checked_sub(HEADER_BYTES as u64)? / instant_bytes * instant_bytes;
    let mended = header(channels, audio);
    // All but the two lengths tells that it is ours.
    let ours = first[..4] == mended[..4] && first[8..40] == mended[8..40];
    let mends = Repair { header: mended, file_bytes: HEADER_BYTES as u64 + audio };
    (ours && (first != mended || mends.file_bytes != file_bytes)).then_some(mends)
}

const _: () = assert!(RECORD_MAX.as_secs() * (RATE_HZ as u64) * 8 < (u32::MAX - 36) as u64);
