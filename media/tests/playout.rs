//! What is heard through a seeded wire: a session, its playout, and the truth about the audio at the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_media::codec::{self, CodecRef, Encoder};
use ark_media::fuzz::{Wire, WireConfig, speech, start};
use ark_media::limits::{JITTER_DELAY_MAX, TICK};
use ark_media::playout::{Playout, PlayoutConfig, PlayoutStats, Sound};
use ark_media::rtp::Header;
use ark_media::sdp::Negotiated;
use ark_media::session::{Session, SessionConfig};
use ark_media::tone;

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 4000))
}

fn agreed(codec: CodecRef) -> Negotiated {
    let number = codec.payload_type().unwrap_or(96);
    Negotiated { rtcp_mux: true, remote_rtcp: peer(), ..Negotiated::new(codec, number, peer()) }
}

/// A phone that speaks over a wire to a leg whose audio is played.
struct Line {
    begin: Instant,
    wire: Wire,
    session: Session,
    playout: Playout,
    encoder: Box<dyn Encoder>,
    header: Header,
    /// When the next packet is sent and the next frame is due, since the beginning.
    send_us: u64,
    tick_us: u64,
    /// The phone's packets are so long by our clock.
    packet_us: u64,
    ptime: Duration,
    heard: Vec<i16>,
    sounds: Vec<Sound>,
    delays: Vec<Duration>,
}

impl Line {
    fn new(codec: CodecRef, seed: u64, config: WireConfig) -> Self {
        let begin = start();
        let header = Header {
            marker: true,
            payload_type: codec.payload_type().unwrap_or(96),
            sequence: 65_000,
            timestamp: u32::MAX - 40_000,
            ssrc: 77,
        };
        Self {
            begin,
            wire: Wire::new(seed, config),
            session: Session::new(begin, SessionConfig::new(agreed(codec), seed)),
            playout: Playout::new(begin, PlayoutConfig { codec, noise_seed: 3 }),
            encoder: codec.encoder(),
            header,
            send_us: 0,
            tick_us: seed % 20 * 1000,
            packet_us: 20_000,
            ptime: TICK,
            heard: Vec::new(),
            sounds: Vec::new(),
            delays: Vec::new(),
        }
    }

    fn codec(&self) -> CodecRef {
        self.playout.codec()
    }

    /// The phone says this and the leg hears what there is to hear meanwhile.
    fn say(&mut self, pcm: &[i16]) {
        let codec = self.codec();
        for frame in pcm.chunks_exact(codec.samples(self.ptime)) {
            self.run_until(self.send_us);
            let mut bytes = [0; 1500];
            let payload = self.encoder.encode(frame, &mut bytes[12..]);
            bytes[..12].copy_from_slice(&self.header.to_bytes());
            self.wire.send(self.begin + Duration::from_micros(self.send_us), &bytes[..12 + payload]);
            self.header.sequence = self.header.sequence.wrapping_add(1);
            self.header.timestamp = self.header.timestamp.wrapping_add(codec.clock_units(self.ptime));
            self.header.marker = false;
            self.send_us += self.packet_us;
        }
    }

    /// The phone says nothing for so long, and sends nothing.
    fn pause(&mut self, ms: u64) {
        let units = self.codec().clock_units(Duration::from_millis(ms));
        self.header.timestamp = self.header.timestamp.wrapping_add(units);
        self.header.marker = true;
        self.send_us += ms * 1000;
    }

    fn run_until(&mut self, us: u64) {
        while self.tick_us <= us {
            let now = self.begin + Duration::from_micros(self.tick_us);
            while let Some((at, bytes)) = self.wire.poll(now) {
                if let Some(media) = self.session.receive_rtp(at, peer(), &bytes).playable() {
                    self.playout.push(at, &media);
                }
            }
            let mut pcm = vec![0; self.playout.frame_samples()];
            let frame = self.playout.frame(now, &mut pcm);
            assert_eq!(frame.samples, pcm.len(), "output never stalls");
            self.heard.extend(pcm);
            self.sounds.push(frame.sound);
            self.delays.push(self.playout.stats().jitter.delay);
            self.tick_us += 20_000;
        }
    }

    fn stats(&self) -> PlayoutStats {
        self.playout.stats()
    }

    /// Share of frames from `from` on that are of this sound.
    fn share(&self, from: usize, sound: Sound) -> f64 {
        let frames = &self.sounds[from.min(self.sounds.len())..];
        frames.iter().filter(|s| **s == sound).count() as f64 / frames.len().max(1) as f64
    }
}

fn pcma() -> CodecRef {
    codec::by_name("PCMA", 8000).unwrap()
}

fn sine(codec: CodecRef, seconds: u64) -> Vec<i16> {
    tone::sine(440.0, 8000, codec.sample_rate_hz(), Duration::from_secs(seconds))
}

/// The tone, and next to nothing but it, in each half second of what was heard, the first one left out.
fn assert_tone(line: &Line, least: f64, noise_most: f64) {
    let rate = line.codec().sample_rate_hz();
    for (index, part) in line.heard.chunks_exact(rate as usize / 2).enumerate().skip(1) {
        let level = tone::level(part, rate, 440.0);
        let noise = (tone::rms(part).powi(2) - level * level / 2.0).max(0.0).sqrt();
        assert!(level > least && noise < noise_most, "{}: {index}: {level}, noise {noise}", line.codec().name());
    }
}

#[test]
fn a_clean_wire_gives_the_tone_untouched_with_the_least_delay_at_every_phase_of_the_tick() {
    for codec in codec::ALL.iter().copied() {
        for phase in (0..20).step_by(if codec == pcma() { 1 } else { 7 }) {
            let mut line = Line::new(codec, phase, WireConfig::default());
            line.say(&sine(codec, 4));
            let stats = line.stats();
            assert_eq!((stats.concealed, stats.jitter.late, stats.jitter.dropped), (Duration::ZERO, 0, 0), "{phase}");
            assert!(stats.jitter.delay <= Duration::from_millis(30), "phase {phase}: {stats:?}");
            assert!(stats.jitter.delay >= Duration::from_millis(19), "phase {phase}: {stats:?}");
            assert_eq!(line.share(5, Sound::Voice), 1.0);
            // G.729 is made for voices, and the tone is none.
            let (least, noise_most) = if codec.name() == "G729" { (4000.0, 4000.0) } else { (7000.0, 1500.0) };
            assert_tone(&line, least, noise_most);
        }
    }
}

#[test]
fn every_packet_time_is_played() {
    let codec = pcma();
    for ms in [10, 20, 30, 40, 60, 100] {
        let mut line = Line::new(codec, ms, WireConfig::default());
        line.ptime = Duration::from_millis(ms);
        line.packet_us = ms * 1000;
        line.say(&sine(codec, 5));
        let stats = line.stats();
        assert_eq!((stats.concealed, stats.jitter.late, stats.jitter.dropped), (Duration::ZERO, 0, 0), "{ms} ms");
        assert!(stats.jitter.delay <= Duration::from_millis(40), "{ms} ms: {stats:?}");
        assert_tone(&line, 7500.0, 800.0);
    }
}

#[test]
fn jitter_is_covered_and_costs_no_more_delay_than_it_must() {
    let codec = pcma();
    for jitter_ms in [5, 15, 30, 60, 90] {
        for seed in 0..4 {
            let jitter = Duration::from_millis(jitter_ms);
            let mut line = Line::new(codec, seed, WireConfig { jitter, ..WireConfig::default() });
            line.say(&speech(seed, codec.sample_rate_hz(), 30_000));
            let concealed = line.share(250, Sound::Concealed);
            let stats = line.stats();
            assert!(concealed < 0.03, "{jitter_ms} ms, seed {seed}: {concealed} {stats:?}");
            let mean = line.delays[250..].iter().sum::<Duration>() / (line.delays.len() - 250) as u32;
            let most = jitter + Duration::from_millis(40);
            assert!(mean <= most, "{jitter_ms} ms, seed {seed}: a mean of {mean:?}, {stats:?}");
            assert_eq!(stats.jitter.dropped, 0, "{jitter_ms} ms, seed {seed}: {stats:?}");
        }
    }
}

#[test]
fn loss_is_made_up_for_as_far_as_it_goes_and_no_further() {
    let codec = pcma();
    for (loss_permille, burst) in [(10, 1), (50, 1), (100, 1), (50, 3), (100, 5)] {
        for seed in 0..3 {
            let config = WireConfig { loss_permille, burst, ..WireConfig::default() };
            let mut line = Line::new(codec, seed, config);
            line.say(&sine(codec, 20));
            let lost = line.wire.lost() as f64 / 1000.0;
            // A lost packet falls into two frames.
            let concealed = line.stats().concealed.as_secs_f64() / 20.0;
            assert!(concealed <= lost + 0.002, "{loss_permille}/{burst}, seed {seed}: {concealed} of {lost}");
            assert!(concealed >= lost * 0.6 - 0.002, "{loss_permille}/{burst}, seed {seed}: {concealed} of {lost}");
            assert!(line.stats().jitter.delay <= Duration::from_millis(60), "{:?}", line.stats());
            if burst == 1 {
                assert_tone(&line, 6000.0, 3000.0);
            }
        }
    }
}

#[test]
fn reordering_and_doubles_are_not_heard() {
    let codec = pcma();
    for seed in 0..5 {
        let config = WireConfig { reorder_permille: 100, duplicate_permille: 300, ..WireConfig::default() };
        let mut line = Line::new(codec, seed, config);
        line.say(&sine(codec, 20));
        assert!(line.share(150, Sound::Concealed) < 0.005, "seed {seed}: {:?}", line.stats());
        assert!(line.stats().jitter.delay <= Duration::from_millis(90), "seed {seed}: {:?}", line.stats());
        assert_tone(&line, 7000.0, 2000.0);
    }
}

#[test]
fn a_clock_that_is_off_is_followed_without_loss() {
    let codec = pcma();
    for ppm in [-2000_i64, -200, -50, 50, 200, 2000] {
        for jitter_ms in [0, 20] {
            let jitter = Duration::from_millis(jitter_ms);
            let mut line = Line::new(codec, 4, WireConfig { jitter, ..WireConfig::default() });
            line.packet_us = (20_000 - 20_000 * ppm / 1_000_000) as u64;
            line.say(&speech(4, codec.sample_rate_hz(), 120_000));
            let stats = line.stats();
            assert_eq!(stats.jitter.dropped, 0, "{ppm} ppm, {jitter_ms} ms: {stats:?}");
            let concealed = line.share(250, Sound::Concealed);
            assert!(concealed < 0.01, "{ppm} ppm, {jitter_ms} ms: {concealed} {stats:?}");
            assert!(stats.jitter.delay < jitter + Duration::from_millis(60), "{ppm} ppm, {jitter_ms} ms: {stats:?}");
            let told = i64::from(stats.jitter.skew_ppm);
            assert!((told - ppm).abs() < 150, "{ppm} ppm, {jitter_ms} ms: {told}");
            let (put_in, left_out) = (stats.lengthened.as_millis() as i64, stats.shortened.as_millis() as i64);
            let moved = left_out - put_in;
            assert!((moved - ppm * 120 / 1000).abs() < 90, "{ppm} ppm, {jitter_ms} ms: {moved} ms {stats:?}");
        }
    }
}

#[test]
fn whatever_the_wire_does_the_delay_stays_within_bounds_and_the_sound_comes_back() {
    let codec = pcma();
    for seed in 0..25 {
        let mut random = ark_media::fuzz::Random::new(seed);
        let config = WireConfig {
            delay: Duration::from_millis(random.below(200)),
            loss_permille: random.below(150),
            burst: 1 + random.below(6),
            jitter: Duration::from_millis(random.below(100)),
            reorder_permille: random.below(80),
            duplicate_permille: random.below(100),
        };
        let mut line = Line::new(codec, seed, config);
        line.packet_us = 19_980 + random.below(41);
        line.say(&speech(seed, codec.sample_rate_hz(), 20_000));
        let most = *line.delays.iter().max().unwrap();
        assert!(most <= JITTER_DELAY_MAX + Duration::from_millis(40), "seed {seed}: {most:?} {config:?}");
        line.wire.set(WireConfig { delay: config.delay, ..WireConfig::default() });
        let from = line.sounds.len() + 300;
        line.say(&sine(codec, 14));
        let stats = line.stats();
        assert!(line.share(from, Sound::Voice) > 0.99, "seed {seed}: {} {stats:?}", line.share(from, Sound::Voice));
        let rate = codec.sample_rate_hz() as usize;
        let last = &line.heard[line.heard.len() - rate / 2..];
        let level = tone::level(last, rate as u32, 440.0);
        assert!(level > 7000.0, "seed {seed}: {level}");
        assert!(stats.jitter.delay <= Duration::from_millis(60), "seed {seed}: {stats:?}");
    }
}

#[test]
fn a_pause_is_silent_or_noise_as_the_peer_asks() {
    let codec = pcma();
    let mut line = Line::new(codec, 1, WireConfig::default());
    line.say(&sine(codec, 1));
    line.pause(2000);
    line.say(&sine(codec, 1));
    let stats = line.stats();
    assert!(stats.concealed <= Duration::from_millis(100), "{stats:?}");
    assert!(line.share(0, Sound::Silence) > 0.4);
    // With comfort noise nothing is made up, and the pause has its level.
    let mut line = Line::new(codec, 1, WireConfig::default());
    line.say(&sine(codec, 1));
    let now = line.begin + Duration::from_micros(line.send_us);
    let mut packet = [0; 13];
    Header { payload_type: 13, ..line.header }.write(&[40], &mut packet).unwrap();
    line.header.sequence = line.header.sequence.wrapping_add(1);
    line.wire.send(now, &packet);
    line.pause(2000);
    let from = line.heard.len() + 4000;
    line.run_until(line.send_us);
    let rms = tone::rms(&line.heard[from..]);
    assert!((200.0..500.0).contains(&rms), "-40 dBov is an effective value of 328: {rms}");
    assert_eq!(line.stats().concealed, Duration::ZERO);
    assert!(line.share(60, Sound::Comfort) > 0.9);
}

#[test]
fn the_media_time_runs_with_the_audio() {
    let codec = pcma();
    let mut line = Line::new(codec, 0, WireConfig::default());
    let first = line.header.timestamp;
    line.say(&sine(codec, 3));
    let mut pcm = vec![0; line.playout.frame_samples()];
    let now = line.begin + Duration::from_micros(line.tick_us);
    let frame = line.playout.frame(now, &mut pcm);
    let ahead = line.header.timestamp.wrapping_sub(frame.timestamp.unwrap());
    // The wire takes 30 ms, the buffer 20 to 30.
    assert!(ahead <= 8 * 80 && line.header.timestamp.wrapping_sub(first) == 24_000, "{ahead}");
}

#[test]
fn every_codec_makes_up_for_what_is_lost_and_comes_back() {
    for codec in codec::ALL.iter().copied() {
        let mut line = Line::new(codec, 5, WireConfig { loss_permille: 50, ..WireConfig::default() });
        line.say(&sine(codec, 10));
        let (lost, stats) = (line.wire.lost(), line.stats());
        let made = stats.concealed.as_millis() as u64 / 20 + stats.recovered;
        assert!(made <= lost + 2 && made * 10 >= lost * 6, "{}: {made} of {lost}, {stats:?}", codec.name());
        assert_eq!(stats.undecodable, 0, "{}", codec.name());
        assert_tone(&line, if codec.name() == "G729" { 1000.0 } else { 5000.0 }, 5000.0);
    }
}
