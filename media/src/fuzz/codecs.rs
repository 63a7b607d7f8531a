//! Codecs and bridges under payload that nobody encoded.

use std::time::Duration;

use super::{Random, start};
use crate::codec::comfort::{Generator, Noise};
use crate::codec::{self, CodecRef, Tuning};
use crate::limits::{DATAGRAM_BYTES_MAX, TICK};
use crate::session::{Kind, Media};
use crate::tone::Repeated;
use crate::transcode::{Conversion, Transcoder};

const TONE: Repeated =
    Repeated { hz: 1400, amplitude: 9000, length: Duration::from_millis(100), every: Duration::from_millis(170) };

/// What a sender of this codec may have sent: a true packet with some bytes changed or cut off, or anything at all.
fn payload(random: &mut Random, encoder: &mut dyn codec::Encoder, codec: CodecRef) -> Vec<u8> {
    if random.one_in(2) {
        let most = [8, 60, 300, 1488][random.below(4) as usize];
        let length = random.below(most) as usize;
        return random.bytes(length);
    }
    let loud = 1 << random.below(16);
    let pcm: Vec<i16> = (0..codec.samples(TICK)).map(|_| (random.next_u32() as i16) / loud.max(1) as i16).collect();
    let mut bytes = vec![0; 400];
    let length = encoder.encode(&pcm, &mut bytes);
    bytes.truncate(length);
    for _ in 0..random.below(4) {
        let at = random.below(length as u64) as usize;
        bytes[at] = random.next_u64() as u8;
    }
    if random.one_in(4) {
        bytes.truncate(random.below(length as u64) as usize);
    }
    bytes
}

/// Every decoder under hostile payload, losses and copies, in buffers of any length: no panic, no overrun, and what the
/// codec's own encoder made afterwards is decoded still.
pub fn codecs(seed: u64, iterations: u64) {
    for round in 0..iterations.div_ceil(500) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let codec = codec::ALL[random.below(codec::ALL.len() as u64) as usize];
        let tuning = Tuning { in_band_fec: random.one_in(2), bitrate_bps_max: None };
        let (mut encoder, mut decoder) = (codec.encoder_with(tuning), codec.decoder());
        for _ in 0..500.min(iterations) {
            let bytes = payload(&mut random, encoder.as_mut(), codec);
            let mut pcm = vec![0x55; random.below(2200) as usize];
            let room = pcm.len();
            let written = match random.below(8) {
                0 => decoder.conceal(&mut pcm),
                1 => decoder.recover(&bytes, &mut pcm),
                _ => decoder.decode(&bytes, &mut pcm),
            };
            assert!(written <= room, "seed {seed}: {} wrote {written} of {room}", codec.name());
            if let Some(noise) = Noise::parse(&bytes) {
                Generator::new(noise, random.next_u32()).fill(&mut pcm);
            }
        }
        let mut last = [0; 400];
        let length = encoder.encode(&vec![0; codec.samples(TICK)], &mut last);
        assert_eq!(decoder.decode(&last[..length], &mut [0; 1920]), codec.samples(TICK), "seed {seed}");
    }
}

/// A bridge between two codecs under packets from anywhere in time: what it sends fits a datagram, is never empty, and
/// its numbers go up.
pub fn transcoder(seed: u64, iterations: u64) {
    for round in 0..iterations.div_ceil(300) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let mut any = || codec::ALL[random.below(codec::ALL.len() as u64) as usize];
        let (from, to) = (any(), any());
        let ptime = TICK * (1 + random.below(3) as u32);
        let mut now = start();
        let conversion = Conversion { from, to, tuning: Tuning::default(), ptime };
        let Some(mut transcoder) = Transcoder::new(now, conversion, seed as u32) else { continue };
        let mut encoder = from.encoder();
        let (mut sequence, mut timestamp, mut last) = (1 << 16, 0_u32, None);
        for _ in 0..300.min(iterations) {
            let bytes = payload(&mut random, encoder.as_mut(), from);
            sequence += random.below(4);
            let step = from.clock_units(Duration::from_millis(10));
            timestamp = match random.below(9) {
                0 => random.next_u32(),
                1 => timestamp.wrapping_sub(step),
                n => timestamp.wrapping_add(step * (n as u32 - 1)),
            };
            let media = Media {
                kind: if random.one_in(20) { Kind::Comfort } else { Kind::Audio },
                codec: if random.one_in(30) { to } else { from },
                payload: &bytes,
                marker: random.one_in(9),
                timestamp,
                event_clock_hz: from.rtp_clock_hz(),
                sequence,
                ssrc: u32::from(random.one_in(50)),
                for_us: false,
            };
            if random.one_in(8) {
                let (number, _) = transcoder.place_event(&media);
                assert!(last.is_none_or(|last| number > last), "seed {seed}: {number} after {last:?}");
                last = Some(number);
                if random.one_in(2) {
                    transcoder.give_way(now, random.one_in(2));
                }
                continue;
            }
            transcoder.push(now, &media);
            match random.below(60) {
                0 => transcoder.hush(now),
                1 => transcoder.settle(Conversion { ptime: TICK * (1 + random.below(3) as u32), ..conversion }),
                2 => transcoder.set_tone(Some(TONE), random.one_in(2)),
                3 => transcoder.set_tone(None, false),
                _ => {}
            }
            now += Duration::from_millis(random.below(45));
            transcoder.frame(now);
            let mut out = [0; DATAGRAM_BYTES_MAX];
            while let Some(coded) = transcoder.pull(&mut out) {
                assert!((1..=480).contains(&coded.bytes), "seed {seed}: {coded:?}");
                assert!(last.is_none_or(|last| coded.sequence > last), "seed {seed}: {coded:?} after {last:?}");
                last = Some(coded.sequence);
            }
        }
    }
}
