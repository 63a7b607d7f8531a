//! Recordings keep both sides in step, whatever the network does, and survive a crash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ark_media::codec::{self, CodecRef};
use ark_media::fuzz::{Random, start};
use ark_media::prompt;
use ark_media::record::{self, HEADER_BYTES, Layout, RATE_HZ, Recorder, Side, header, repair};
use ark_media::tone;

fn pcma() -> CodecRef {
    codec::by_name("PCMA", 8000).unwrap()
}

/// A file in memory that takes the recorder's writes.
#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn take(&mut self, recorder: &mut Recorder, now: Instant) {
        let mut bytes = Vec::new();
        while let Some(write) = recorder.poll(now, &mut bytes) {
            assert_eq!(bytes.len(), write.bytes);
            let end = write.offset as usize + bytes.len();
            assert!(write.offset as usize <= self.0.len(), "a hole in the file");
            self.0.resize(self.0.len().max(end), 0);
            self.0[write.offset as usize..end].copy_from_slice(&bytes);
            bytes.clear();
        }
    }

    fn pairs(&self) -> Vec<[i16; 2]> {
        let pair = |p: &[u8]| [i16::from_le_bytes([p[0], p[1]]), i16::from_le_bytes([p[2], p[3]])];
        self.0[HEADER_BYTES..].chunks_exact(4).map(pair).collect()
    }
}

/// The frame that a side sends as its n-th: a value that tells n.
fn frame(n: u64) -> ([u8; 160], i16) {
    static VALUES: LazyLock<Vec<i16>> = LazyLock::new(|| codec::decode_all(pcma(), &(0..=255).collect::<Vec<u8>>()));
    let byte = 0x80 | (n % 100) as u8;
    ([byte; 160], VALUES[usize::from(byte)])
}

#[test]
fn both_sides_lie_where_their_time_was_and_gaps_are_silence() {
    let begin = start();
    let mut recorder = Recorder::new(begin, Layout::Sides);
    let mut file = File::default();
    for n in 0..150_u64 {
        let now = begin + Duration::from_millis(20 * n);
        let (payload, _) = frame(n);
        let timestamp = (n * 160) as u32;
        recorder.push(now, Side::Ark, pcma(), 1, timestamp.wrapping_add(0xFFFF_F000), &payload);
        // The caller speaks in the second second only, with a clock of its own.
        if (50..100).contains(&n) {
            recorder.push(now, Side::Caller, pcma(), 2, timestamp + 77, &payload);
        }
        file.take(&mut recorder, now);
    }
    let end = begin + Duration::from_secs(3);
    assert_eq!(recorder.silent_for(end, Side::Caller).as_millis(), 3000 - 99 * 20);
    recorder.finish(end);
    file.take(&mut recorder, end);
    assert_eq!(recorder.file_bytes(), file.0.len() as u64);
    assert_eq!(recorder.handed_out(), Duration::from_secs(3));
    for (at, [left, right]) in file.pairs().into_iter().enumerate() {
        let (_, value) = frame(at as u64 / 160);
        assert_eq!(right, value);
        assert_eq!(left, if (8000..16_000).contains(&at) { value } else { 0 });
    }
    assert_eq!(file.0[..HEADER_BYTES], header(2, 3 * 32_000));
    let pcm = prompt::decode(file.0, "recording.wav").unwrap();
    assert_eq!((pcm.samples.len(), pcm.rate_hz), (24_000, RATE_HZ));
}

#[test]
fn a_crash_loses_less_than_a_second_and_the_header_is_never_ahead_of_the_audio() {
    let begin = start();
    let mut recorder = Recorder::new(begin, Layout::Sides);
    let mut file = File::default();
    for n in 0..500_u64 {
        let now = begin + Duration::from_millis(20 * n);
        recorder.push(now, Side::Caller, pcma(), 1, (n * 160) as u32, &frame(n).0);
        file.take(&mut recorder, now);
        let said = u32::from_le_bytes(file.0[40..44].try_into().unwrap()) as usize;
        assert_eq!(said + HEADER_BYTES, file.0.len());
        let kept = Duration::from_millis(said as u64 / 32);
        assert!(now - begin < kept + Duration::from_secs(1), "{kept:?} kept after {:?}", now - begin);
    }
    // Crashed between a block and its header, in the middle of a sample.
    let mut torn = file.0.clone();
    torn.extend([1; 4003]);
    let mends = repair(&torn, torn.len() as u64).unwrap();
    assert_eq!(mends.file_bytes as usize, file.0.len() + 4000);
    torn.truncate(mends.file_bytes as usize);
    torn[..HEADER_BYTES].copy_from_slice(&mends.header);
    assert_eq!(repair(&torn, torn.len() as u64), None);
    assert!(prompt::decode(torn, "mended.wav").is_ok());
    assert_eq!(repair(&file.0, file.0.len() as u64), None);
    assert_eq!(repair(b"RIFF", 4), None);
    assert_eq!(repair(&[0; 100], 100), None);
}

#[test]
fn random_loss_jitter_and_reordering_never_shift_one_side_against_the_other() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let begin = start();
        let mut recorder = Recorder::new(begin, Layout::Sides);
        let mut file = File::default();
        let (mut ssrc, mut base) = (7, random.next_u32());
        let loss = random.below(30);
        let jitter = random.below(180) + 1;
        // Arrival (ms), packet number; the caller's packets take their time.
        let mut arrivals: Vec<(u64, u64)> = Vec::new();
        for n in 0..500 {
            if random.below(100) >= loss {
                arrivals.push((n * 20 + if n == 0 { 0 } else { random.below(jitter) }, n));
            }
        }
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        for ms in 0..10_400_u64 {
            let now = begin + Duration::from_millis(ms);
            while let Some((_, n)) = arrivals.next_if(|(at, _)| *at <= ms) {
                if n == 250 {
                    // A new stream in the middle, as after a transfer.
                    (ssrc, base) = (ssrc + 1, random.next_u32());
                }
                let timestamp = base.wrapping_add((n * 160) as u32);
                recorder.push(now, Side::Caller, pcma(), ssrc, timestamp, &frame(n).0);
            }
            if ms % 20 == 0 {
                recorder.push(now, Side::Ark, pcma(), 99, (ms * 8) as u32, &frame(ms / 20).0);
            }
            if ms % 100 == 0 {
                file.take(&mut recorder, now);
            }
        }
        let end = begin + Duration::from_millis(10_400);
        recorder.finish(end);
        file.take(&mut recorder, end);
        let pairs = file.pairs();
        assert_eq!(pairs.len(), 83_200, "seed {seed}");
        let mut heard = 0;
        for (at, [left, right]) in pairs.into_iter().enumerate() {
            let at = at as u64;
            assert_eq!(right, frame(at / 160).1, "seed {seed}, sample {at}");
            // Each caller's sample names its packet: it may lie as far off as the jitter at the stream's start.
            if left != 0 {
                heard += 1;
                let off = (0..=jitter * 8 / 160 + 1).any(|late| frame((at / 160).saturating_sub(late)).1 == left);
                assert!(off, "seed {seed}, sample {at}: {left} is out of place");
            }
        }
        assert!(heard > 83_200 * (60 - loss) / 100, "seed {seed}: {heard} samples of the caller, {recorder:?}");
    }
}

/// A caller whose packets take `delay(n)` ms and whose clock runs `ppm` fast, beside Ark's own even stream; how far off
/// its samples lie at the end, in milliseconds.
fn offset_at_the_end(frames: u64, ppm: i64, delay: impl Fn(u64) -> u64) -> i64 {
    let begin = start();
    let mut recorder = Recorder::new(begin, Layout::Sides);
    let mut file = File::default();
    let spoken = |n: u64| (n as i64 * 20_000 - n as i64 * 20 * ppm / 1000) as u64;
    let mut arrivals: Vec<(u64, u64)> = (0..frames).map(|n| (spoken(n) + delay(n) * 1000, n)).collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    for ms in (0..frames * 20 + 400).step_by(5) {
        let now = begin + Duration::from_millis(ms);
        while let Some((_, n)) = arrivals.next_if(|(at, _)| *at <= ms * 1000) {
            recorder.push(now, Side::Caller, pcma(), 7, (n * 160) as u32, &frame(n).0);
        }
        file.take(&mut recorder, now);
    }
    let end = begin + Duration::from_millis(frames * 20 + 400);
    recorder.finish(end);
    file.take(&mut recorder, end);
    let last = frames - 50;
    let (_, value) = frame(last);
    let expected = spoken(last) as i64 * 8 / 1000;
    let pairs = file.pairs();
    let (from, to) = ((expected - 4000).max(0) as usize, (expected + 4000) as usize);
    let at = pairs[from..to].iter().position(|[left, _]| *left == value).expect("the packet is in the file") + from;
    (at as i64 - expected) / 8
}

#[test]
fn a_slow_first_packet_a_late_one_and_clocks_that_drift_leave_both_sides_aligned() {
    assert_eq!(offset_at_the_end(300, 0, |_| 0), 0);
    /// How many milliseconds late packet `n` is.
    type Delay = fn(u64) -> u64;
    let lines: [(&str, i64, Delay); 6] = [
        ("the first packets came together, late", 0, |n| 150_u64.saturating_sub(n * 20)),
        ("one packet was very late", 0, |n| if n == 100 { 350 } else { 0 }),
        ("one burst was late", 0, |n| if (100..110).contains(&n) { 200 + (110 - n) * 20 } else { 0 }),
        ("every tenth packet is late", 0, |n| if n % 10 == 3 { 90 } else { 0 }),
        ("the caller's clock is fast", 200, |_| 0),
        ("the caller's clock is slow", -200, |_| 0),
    ];
    for (what, ppm, delay) in lines {
        let off = offset_at_the_end(if ppm == 0 { 600 } else { 9_000 }, ppm, delay);
        assert!(off.abs() < 20, "{what}: {off} ms off");
    }
}

#[test]
fn a_pause_of_polling_and_packets_from_nowhere_cannot_break_it() {
    let begin = start();
    let mut recorder = Recorder::new(begin, Layout::Sides);
    let mut file = File::default();
    file.take(&mut recorder, begin);
    for n in 0..1000_u64 {
        let now = begin + Duration::from_millis(20 * n);
        recorder.push(now, Side::Caller, pcma(), 1, (n * 160) as u32, &frame(n).0);
    }
    assert!(recorder.dropped() > 800, "the window holds no twenty seconds");
    let now = begin + Duration::from_secs(20);
    file.take(&mut recorder, now);
    recorder.push(now, Side::Caller, pcma(), 1, 0, &[0; 1500]);
    recorder.push(now, Side::Ark, pcma(), 1, u32::MAX, &[]);
    recorder.finish(now);
    recorder.finish(now + Duration::from_secs(5));
    recorder.push(now, Side::Ark, pcma(), 1, 0, &[0; 160]);
    file.take(&mut recorder, now);
    assert_eq!(file.pairs().len(), 160_000);
}

#[test]
fn any_codec_is_recorded_at_its_frequency_and_in_its_place() {
    for codec in codec::ALL.iter().copied() {
        let begin = start();
        let mut recorder = Recorder::new(begin, Layout::Sides);
        let mut file = File::default();
        let step = Duration::from_millis(20);
        let pcm = tone::sine(700.0, 9000, codec.sample_rate_hz(), Duration::from_secs(2));
        let mut encoder = codec.encoder();
        for (n, frame) in (0_u32..).zip(pcm.chunks(codec.samples(step))) {
            let mut payload = [0; 400];
            let bytes = encoder.encode(frame, &mut payload);
            // The caller speaks in the second second.
            if n >= 50 {
                let timestamp = n * codec.clock_units(step);
                recorder.push(begin + step * n, Side::Caller, codec, 3, timestamp, &payload[..bytes]);
            }
            file.take(&mut recorder, begin + step * n);
        }
        recorder.finish(begin + Duration::from_secs(2));
        file.take(&mut recorder, begin + Duration::from_secs(2));
        let left: Vec<i16> = file.pairs().into_iter().map(|[left, _]| left).collect();
        assert_eq!((left.len(), recorder.dropped()), (16_000, 0), "{}", codec.name());
        assert!(left[..8000].iter().all(|s| *s == 0), "{} before it speaks", codec.name());
        let (hz, level) = tone::dominant(&left[9600..], RATE_HZ).unwrap();
        assert!((hz - 700.0).abs() < 3.0 && (6000.0..12_000.0).contains(&level), "{}: {hz} {level}", codec.name());
    }
}

/// The channels of a recording with one channel for each leg.
fn legs(file: &File) -> Vec<Vec<i16>> {
    let samples: Vec<i16> = file.0[HEADER_BYTES..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    (0..4).map(|channel| samples.iter().skip(channel).step_by(4).copied().collect()).collect()
}

#[test]
fn each_leg_has_its_channel_from_silence_on_and_supervisors_share_one() {
    let begin = start();
    let mut recorder = Recorder::new(begin, Layout::Legs);
    let mut file = File::default();
    let step = Duration::from_millis(20);
    // Who speaks, with which tone, from which frame on: Ark stops when the agent comes.
    let voices = [
        (Side::Caller, 400.0, 0..200_u32),
        (Side::Ark, 600.0, 0..50),
        (Side::Agent, 900.0, 50..200),
        (Side::Supervisor(0), 1300.0, 100..200),
        (Side::Supervisor(3), 1900.0, 150..200),
    ];
    let pcm: Vec<Vec<i16>> = voices.iter().map(|v| tone::sine(v.1, 6000, RATE_HZ, step * 200)).collect();
    for n in 0..200_u32 {
        let now = begin + step * n;
        for (ssrc, ((side, _, when), pcm)) in (1..).zip(voices.iter().zip(&pcm)) {
            if when.contains(&n) {
                let mut payload = [0; 160];
                pcma().encoder().encode(&pcm[n as usize * 160..][..160], &mut payload);
                recorder.push(now, *side, pcma(), ssrc, n * 160, &payload);
            }
        }
        file.take(&mut recorder, now);
    }
    recorder.finish(begin + step * 200);
    file.take(&mut recorder, begin + step * 200);
    assert_eq!(file.0[..HEADER_BYTES], header(4, 4 * 64_000));
    assert_eq!(repair(&file.0, file.0.len() as u64), None);
    assert_eq!(record::duration_of(record::channels_of(&file.0), file.0.len() as u64), step * 200);
    let channel = |side: Side| match side {
        Side::Caller => 0,
        Side::Ark => 1,
        Side::Agent => 2,
        Side::Supervisor(_) => 3,
    };
    for (at, heard) in legs(&file).iter().enumerate() {
        for (side, hz, when) in &voices {
            for quarter in 0..4_u32 {
                let level = tone::level(&heard[quarter as usize * 8000..][..8000], RATE_HZ, *hz);
                let there = at == channel(*side) && when.contains(&(quarter * 50));
                assert!(if there { level > 5000.0 } else { level < 60.0 }, "{at} {side:?} {quarter}: {level}");
            }
        }
    }
}
