//! What a recording takes from a leg: two lanes of samples, put in place by RTP time, read 20 ms a tick. Pure.

use std::time::Duration;

use super::limits::{FRAME, TAP_DELAY, TAP_RING_FRAMES};

/// One channel: samples are put where their timestamp says, up to [`TAP_DELAY`] late, and read in order. What is
/// missing is silence.
#[derive(Debug)]
pub(crate) struct Lane {
    ring: Box<[i16]>,
    /// Samples of a frame.
    frame: usize,
    /// Samples read since the beginning.
    read: u64,
    /// An RTP timestamp, and the sample that it belongs to.
    anchor: Option<(u32, u64)>,
}

impl Lane {
    /// A lane for this sample rate.
    pub(crate) fn new(rate_hz: u32) -> Self {
        let frame = samples(FRAME, rate_hz);
        Self { ring: vec![0; frame * TAP_RING_FRAMES].into_boxed_slice(), frame, read: 0, anchor: None }
    }

    /// Puts a packet's samples where its timestamp (in samples) says. A timestamp that leads out of the lane (a new
    /// stream, a jump, clocks that drift apart) begins a new stretch at the usual delay.
    pub(crate) fn put(&mut self, timestamp: u32, pcm: &[i16]) {
        let delay = samples(TAP_DELAY, (self.frame * 50) as u32);
        let pcm = &pcm[..pcm.len().min(self.ring.len() - delay)];
        let place = self.anchor.and_then(|(base, position)| {
            let distance = i64::from(timestamp.wrapping_sub(base).cast_signed());
            let place = position.checked_add_signed(distance)?;
            let fits = place >= self.read && place + pcm.len() as u64 <= self.read + self.ring.len() as u64;
            fits.then_some(place)
        });
        let place = place.unwrap_or(self.read + delay as u64);
        self.anchor = Some((timestamp, place));
        for (offset, sample) in pcm.iter().enumerate() {
            let at = ((place + offset as u64) % self.ring.len() as u64) as usize;
            self.ring[at] = *sample;
        }
    }

    /// The timestamps to come have nothing to do with the ones so far.
    pub(crate) fn restart(&mut self) {
        self.anchor = None;
    }

    /// Takes the next 20 ms into every second place of `out`, beginning with `first`; says how loud they were (mean
    /// of the absolute samples).
    fn read_into(&mut self, out: &mut [i16], first: usize) -> u32 {
        let mut sum = 0_u64;
        for offset in 0..self.frame {
            let at = ((self.read + offset as u64) % self.ring.len() as u64) as usize;
            let sample = std::mem::take(&mut self.ring[at]);
            sum += u64::from(sample.unsigned_abs());
            out[2 * offset + first] = sample;
        }
        self.read += self.frame as u64;
        (sum / self.frame.max(1) as u64) as u32
    }
}

/// Both channels of a leg: the caller left, Ark right.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) left: Lane,
    pub(crate) right: Lane,
}

impl Tap {
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self { left: Lane::new(rate_hz), right: Lane::new(rate_hz) }
    }

    /// Adds the next 20 ms of both, interleaved; returns how loud the caller was.
    pub(crate) fn tick(&mut self, block: &mut Vec<i16>) -> u32 {
        let start = block.len();
        block.resize(start + 2 * self.left.frame, 0);
        let loudness = self.left.read_into(&mut block[start..], 0);
        self.right.read_into(&mut block[start..], 1);
        loudness
    }
}

/// Samples in a time.
pub(crate) fn samples(time: Duration, rate_hz: u32) -> usize {
    (time.as_micros() as u64 * u64::from(rate_hz) / 1_000_000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts packets (timestamp, value) before the given ticks, and reads 20 ticks: the value of each frame read.
    fn read(packets: &[(usize, u32, i16)]) -> Vec<i16> {
        let mut tap = Tap::new(8_000);
        let mut block = Vec::new();
        (0..20)
            .map(|tick| {
                for (_, timestamp, value) in packets.iter().filter(|(at, ..)| *at == tick) {
                    tap.left.put(*timestamp, &[*value; 160]);
                }
                block.clear();
                tap.tick(&mut block);
                assert!(block.iter().step_by(2).all(|sample| *sample == block[0]), "a frame is whole");
                assert!(block.iter().skip(1).step_by(2).all(|sample| *sample == 0), "the other lane is silent");
                block[0]
            })
            .collect()
    }

    #[test]
    fn packets_stand_where_their_time_says_also_when_late_or_out_of_order() {
        let delayed: Vec<i16> = read(&[(0, 1_000, 1), (2, 1_320, 3), (2, 1_160, 2), (3, 1_480, 4)]);
        let heard: Vec<i16> = delayed.iter().copied().skip_while(|value| *value == 0).take(5).collect();
        assert_eq!(heard, [1, 2, 3, 4, 0]);
    }

    #[test]
    fn what_is_lost_is_silence_and_moves_nothing() {
        let heard = read(&[(0, u32::MAX - 100, 1), (2, (u32::MAX - 100).wrapping_add(320), 3)]);
        let first = heard.iter().position(|value| *value == 1).unwrap();
        assert_eq!(heard[first..first + 4], [1, 0, 3, 0]);
    }

    #[test]
    fn a_jump_of_the_timestamp_begins_anew_at_the_same_delay() {
        let heard = read(&[(0, 0, 1), (8, 90_000_000, 2)]);
        let first = heard.iter().position(|value| *value == 1).unwrap();
        let second = heard.iter().position(|value| *value == 2).unwrap();
        assert_eq!(second - first, 8);
    }

    #[test]
    fn a_packet_longer_than_the_lane_is_cut() {
        let mut tap = Tap::new(8_000);
        tap.left.put(0, &vec![5; 100_000]);
        tap.right.put(7, &vec![5; 100_000]);
        let mut block = Vec::new();
        assert_eq!((0..100).map(|_| tap.tick(&mut block)).max(), Some(5));
        assert_eq!(block.len(), 2 * 160 * 100);
    }
}
