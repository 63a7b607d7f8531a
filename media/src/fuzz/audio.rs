//! Jitter buffer and playout under any packets at any time.

use std::time::{Duration, Instant};

use super::{Random, start};
use crate::codec;
use crate::limits::{JITTER_DELAY_MAX, JITTER_PACKETS_MAX, TICK};
use crate::playout::{Playout, PlayoutConfig, Sound};
use crate::session::{Kind, Media};

/// A playout is given packets of any kind, length, number and time, and ticks that come early, late and in heaps.
/// Whatever happens: each tick gives a frame, nothing grows beyond its bound, and when a sound stream follows, its voice
/// is heard within seconds.
pub fn playout(seed: u64, iterations: u64) {
    for round in 0..iterations.div_ceil(1000) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let mut now = start();
        let codec = codec::ALL[random.below(codec::ALL.len() as u64) as usize];
        let mut playout = Playout::new(now, PlayoutConfig { codec, noise_seed: seed as u32 });
        let (mut sequence, mut timestamp, mut ssrc) = (1_u64 << 16, random.next_u32(), 1);
        let mut bytes = vec![0; 1500];
        for _ in 0..1000.min(iterations) {
            now += Duration::from_micros(random.below(30_000) * (1 + 100 * u64::from(random.one_in(300))));
            match random.below(8) {
                0..3 => {
                    let mut pcm = [0; 960];
                    let room = if random.one_in(9) { random.below(960) as usize } else { 960 };
                    let frame = playout.frame(now, &mut pcm[..room]);
                    assert_eq!(frame.samples, playout.frame_samples().min(room), "seed {seed}");
                }
                _ => {
                    let length = if random.one_in(3) { random.below(1500) as usize } else { 160 };
                    bytes[..length].iter_mut().for_each(|byte| *byte = random.next_u64() as u8);
                    sequence = sequence.wrapping_add(1);
                    timestamp = timestamp.wrapping_add(160);
                    if random.one_in(50) {
                        timestamp = random.next_u32();
                    }
                    if random.one_in(50) {
                        sequence = random.next_u64() >> random.below(48);
                    }
                    ssrc += u32::from(random.one_in(50));
                    let kind =
                        [Kind::Audio, Kind::Audio, Kind::Audio, Kind::Comfort, Kind::Event][random.below(5) as usize];
                    let codec = if random.one_in(60) {
                        codec::ALL[random.below(codec::ALL.len() as u64) as usize]
                    } else {
                        playout.codec()
                    };
                    let back = random.below(6) * u64::from(random.one_in(6));
                    let media = Media {
                        kind,
                        codec,
                        payload: &bytes[..length],
                        marker: random.one_in(9),
                        timestamp: timestamp.wrapping_sub(back as u32 * 160),
                        sequence: sequence.wrapping_sub(back),
                        ssrc,
                        for_us: false,
                        event_clock_hz: 8000,
                    };
                    playout.push(now, &media);
                }
            }
            let stats = playout.stats();
            assert!(playout.waiting() <= JITTER_PACKETS_MAX, "seed {seed}: {stats:?}");
        }
        sound_again(seed, now, &mut playout);
    }
}

/// Five seconds of a stream as it should be.
fn sound_again(seed: u64, mut now: Instant, playout: &mut Playout) {
    let codec = playout.codec();
    let mut encoder = codec.encoder();
    let pcm = super::speech(seed, codec.sample_rate_hz(), 100);
    let mut bytes = [0; 1500];
    let mut heard = 0;
    for n in 0..250_u32 {
        now += TICK;
        let frame = &pcm[codec.samples(TICK) * (n as usize % 5)..][..codec.samples(TICK)];
        let length = encoder.encode(frame, &mut bytes);
        let media = Media {
            kind: Kind::Audio,
            codec,
            payload: &bytes[..length],
            marker: false,
            timestamp: n * codec.clock_units(TICK),
            sequence: u64::from(n),
            ssrc: u32::MAX,
            for_us: false,
            event_clock_hz: 8000,
        };
        playout.push(now, &media);
        let mut out = [0; 960];
        let frame = playout.frame(now, &mut out);
        heard += u32::from(n >= 200 && frame.sound == Sound::Voice);
    }
    let stats = playout.stats();
    assert!(heard >= 48, "seed {seed}: of the last second {heard} of 50 frames were heard: {stats:?}");
    assert!(stats.jitter.delay <= JITTER_DELAY_MAX + TICK * 2, "seed {seed}: {stats:?}");
}
