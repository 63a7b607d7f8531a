//! From a leg's packets to 20 ms frames at 16 kHz, laid out by media time.
//!
//! Packets are put where their timestamps say, held back for [`LANE_HOLD`] so that one that comes late or out of order finds its
//! place; loss and pauses leave silence, and nothing is ever stretched: a time in a transcript is the time of the sound.

use std::time::{Duration, Instant};

use ark_media::codec::{CodecRef, Decoder};
use ark_media::resample::Resampler;

use crate::limits::{FRAME_SAMPLES, LANE_DRIFT_MAX, LANE_HOLD, LANE_WINDOW, RATE_HZ};
use crate::types::{samples_to_time, time_to_samples};

/// Samples of the window.
const WINDOW: usize = (LANE_WINDOW.as_millis() as usize + LANE_HOLD.as_millis() as usize) * (RATE_HZ as usize / 1000);
/// The longest packet: 120 ms at 48 kHz, or a datagram full of G.711.
const DECODED_MAX: usize = 5_760;
/// Packets over which a stream's clock is compared with the wall's.
const DRIFT_PACKETS: u32 = 250;

/// One packet's audio.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What its payload is coded in.
    pub codec: CodecRef,
    /// Its stream.
    pub ssrc: u32,
    /// When it was spoken, by the sender's RTP clock.
    pub timestamp: u32,
    /// The payload.
    pub payload: &'a [u8],
}

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

#[derive(Clone, Copy)]
struct Clock {
    ssrc: u32,
    timestamp: u32,
    position: i64,
    /// How long after its place the fastest of the last packets came.
    least_lag: i64,
    packets: u32,
}

/// See the module's documentation. It allocates when it is made and when the codec changes.
pub struct Lane {
    zero: Instant,
    clock: Option<Clock>,
    ear: Option<Ear>,
    /// Audio from `given` on, as a ring.
    window: Box<[i16]>,
    /// First sample that was not given out.
    given: u64,
    decoded: Box<[i16]>,
    resampled: Box<[i16]>,
    lost: u64,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("given", &samples_to_time(self.given as usize))
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Lane {
    /// A lane that is opened `now`; its frames are placed on the clock that begins at `zero`, which is not later.
    #[must_use]
    pub fn new(zero: Instant, now: Instant) -> Self {
        let given = time_to_samples(now.saturating_duration_since(zero)) as u64;
        Self {
            zero,
            clock: None,
            ear: None,
            window: vec![0; WINDOW].into_boxed_slice(),
            given: given - given % FRAME_SAMPLES as u64,
            decoded: vec![0; DECODED_MAX].into_boxed_slice(),
            resampled: vec![0; DECODED_MAX].into_boxed_slice(),
            lost: 0,
        }
    }

    /// A packet that came at `at`.
    pub fn push(&mut self, at: Instant, packet: &Packet<'_>) {
        if self.ear.as_ref().is_none_or(|ear| ear.codec != packet.codec) {
            self.ear = Ear::new(packet.codec);
        }
        let position = self.position(at, packet);
        let Some(ear) = &mut self.ear else { return };
        let decoded = ear.decoder.decode(packet.payload, &mut self.decoded);
        let samples = ear.resampler.process(&self.decoded[..decoded], &mut self.resampled);
        let from = position.max(self.given as i64);
        let skip = ((from - position) as usize).min(samples);
        let room = (self.given as i64 + WINDOW as i64 - from).max(0) as usize;
        let pcm = &self.resampled[skip..samples];
        let kept = pcm.len().min(room);
        if kept < samples {
            self.lost += (samples - kept) as u64;
        }
        for (index, sample) in pcm[..kept].iter().enumerate() {
            self.window[(from as usize + index) % WINDOW] = *sample;
        }
    }

    /// Where a packet's first sample lies: by its timestamp, as long as that agrees with the wall's clock.
    fn position(&mut self, at: Instant, packet: &Packet<'_>) -> i64 {
        let wall = time_to_samples(at.saturating_duration_since(self.zero)) as i64;
        let limit = time_to_samples(LANE_DRIFT_MAX) as i64;
        let clock_hz = i64::from(packet.codec.rtp_clock_hz().max(1));
        if let Some(clock) = self.clock.as_mut().filter(|clock| clock.ssrc == packet.ssrc) {
            let units = i64::from(packet.timestamp.wrapping_sub(clock.timestamp) as i32);
            let mut told = clock.position + units * i64::from(RATE_HZ) / clock_hz;
            let lag = wall - told;
            if lag.abs() <= limit {
                clock.least_lag = clock.least_lag.min(lag);
                clock.packets += 1;
                // A packet cannot come before it was spoken, and one that is always late was laid out from a slow first one.
                if lag < 0 || clock.packets >= DRIFT_PACKETS {
                    let off = if lag < 0 { lag } else { clock.least_lag };
                    told += off;
                    clock.position += off;
                    (clock.least_lag, clock.packets) = (i64::MAX, 0);
                }
                if units > 0 {
                    (clock.timestamp, clock.position) = (packet.timestamp, told);
                }
                return told;
            }
        }
        self.clock = Some(Clock {
            ssrc: packet.ssrc,
            timestamp: packet.timestamp,
            position: wall,
            least_lag: i64::MAX,
            packets: 0,
        });
        wall
    }

    /// The next 20 ms that are complete, and when they begin on the call's clock. `None`: not yet.
    pub fn frame(&mut self, now: Instant, out: &mut [i16; FRAME_SAMPLES]) -> Option<Duration> {
        // What is spoken from now on comes when it was spoken, and a packet's time later.
        let due = now.checked_sub(LANE_HOLD)?.saturating_duration_since(self.zero);
        self.take(time_to_samples(due) as u64, out)
    }

    /// The lane ends: whatever it still holds, without waiting.
    pub fn rest(&mut self, now: Instant, out: &mut [i16; FRAME_SAMPLES]) -> Option<Duration> {
        let wall = now.saturating_duration_since(self.zero) + LANE_HOLD;
        self.take(time_to_samples(wall) as u64, out)
    }

    fn take(&mut self, until: u64, out: &mut [i16; FRAME_SAMPLES]) -> Option<Duration> {
        if self.given + FRAME_SAMPLES as u64 > until {
            return None;
        }
        let at = samples_to_time(self.given as usize);
        for (index, sample) in out.iter_mut().enumerate() {
            let place = (self.given as usize + index) % WINDOW;
            *sample = std::mem::take(&mut self.window[place]);
        }
        self.given += FRAME_SAMPLES as u64;
        Some(at)
    }

    /// Samples that came too late or too early to be kept.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_media::codec;
    use ark_media::fuzz::start;
    use ark_media::tone;

    const MS: Duration = Duration::from_millis(1);

    fn pcma() -> CodecRef {
        codec::ALL.iter().copied().find(|codec| codec.name() == "PCMA").unwrap()
    }

    fn payloads(ms: u64) -> Vec<Vec<u8>> {
        let pcm = tone::sine(440.0, 8_000, 8_000, MS * ms as u32);
        let mut encoder = pcma().encoder();
        pcm.chunks(160)
            .map(|chunk| {
                let mut out = vec![0; 400];
                let bytes = encoder.encode(chunk, &mut out);
                out.truncate(bytes);
                out
            })
            .collect()
    }

    fn heard(lane: &mut Lane, now: Instant) -> Vec<(Duration, bool)> {
        let mut frame = [0; FRAME_SAMPLES];
        let mut all = Vec::new();
        while let Some(at) = lane.frame(now, &mut frame) {
            all.push((at, frame.iter().any(|sample| sample.unsigned_abs() > 2_000)));
        }
        all
    }

    #[test]
    fn loss_and_disorder_leave_the_times_as_they_are() {
        let zero = start();
        let mut lane = Lane::new(zero, zero);
        let mut packets: Vec<(u64, Vec<u8>)> =
            payloads(600).into_iter().enumerate().map(|(n, p)| (n as u64, p)).collect();
        packets.swap(10, 11);
        packets.remove(20);
        let mut all = Vec::new();
        for (number, payload) in &packets {
            let at = zero + MS * 1_000 + MS * 20 * *number as u32;
            let timestamp = 0xFFFF_FF00_u32.wrapping_add(*number as u32 * 160);
            lane.push(at, &Packet { codec: pcma(), ssrc: 7, timestamp, payload });
            all.extend(heard(&mut lane, at));
        }
        all.extend(heard(&mut lane, zero + MS * 2_000));
        let loud: Vec<u128> = all.iter().filter(|(_, loud)| *loud).map(|(at, _)| at.as_millis()).collect();
        // The filter's delay of 2 ms lets the last one ring over.
        assert!(loud[0] == 1_000 && [1_580, 1_600].contains(&loud[loud.len() - 1]), "{loud:?}");
        assert_eq!(loud.len(), 29 + usize::from(loud.contains(&1_600)), "the lost packet leaves a hole: {loud:?}");
        assert!(all.windows(2).all(|pair| pair[1].0 - pair[0].0 == MS * 20));
    }

    #[test]
    fn a_slow_first_packet_and_a_jump_of_the_clock_are_corrected() {
        let zero = start();
        let mut lane = Lane::new(zero, zero);
        let payload = &payloads(20)[0];
        let push = |lane: &mut Lane, ms: u64, timestamp: u32| {
            lane.push(zero + MS * ms as u32, &Packet { codec: pcma(), ssrc: 7, timestamp, payload });
        };
        // 80 ms late, then in time.
        push(&mut lane, 180, 0);
        push(&mut lane, 120, 160);
        push(&mut lane, 140, 320);
        // The sender restarts its clock.
        push(&mut lane, 400, 9_000_000);
        let loud: Vec<u128> =
            heard(&mut lane, zero + MS * 900).iter().filter(|(_, loud)| *loud).map(|(at, _)| at.as_millis()).collect();
        assert!(loud.contains(&120) && loud.contains(&140) && loud.contains(&400), "{loud:?}");
        assert_eq!(lane.lost(), 0);
    }

    #[test]
    fn a_lane_opened_late_goes_on_from_there_and_hostile_packets_do_no_harm() {
        let zero = start();
        let mut lane = Lane::new(zero, zero + MS * 30_010);
        let mut frame = [0; FRAME_SAMPLES];
        assert_eq!(lane.frame(zero + MS * 30_100, &mut frame), Some(MS * 30_000));
        for n in 0_u32..2_000 {
            let payload = vec![n as u8; (n as usize * 37) % 1_400];
            let codec = codec::ALL[n as usize % codec::ALL.len()];
            let timestamp = n.wrapping_mul(0x9E37_79B9);
            lane.push(zero + MS * (30_000 + n), &Packet { codec, ssrc: n % 3, timestamp, payload: &payload });
            while lane.frame(zero + MS * (30_000 + n), &mut frame).is_some() {}
        }
    }
}
