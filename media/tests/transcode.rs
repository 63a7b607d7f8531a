//! A bridge between two codecs: what is spoken in the one is heard in the other, whatever the network does in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_media::codec::{self, CodecRef, Encoder, Tuning};
use ark_media::dtmf::{Digit, Payload};
use ark_media::fuzz::{Wire, WireConfig, start};
use ark_media::limits::TICK;
use ark_media::rtp::{Header, Packet};
use ark_media::sdp::Negotiated;
use ark_media::session::{Kind, Media, RelayKeys, Session, SessionConfig};
use ark_media::tone::{self, Repeated};
use ark_media::transcode::{Coded, Conversion, Transcoder};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn named(name: &str) -> CodecRef {
    codec::ALL.iter().copied().find(|c| c.name() == name).unwrap()
}

fn conversion(from: CodecRef, to: CodecRef, ptime: Duration) -> Conversion {
    Conversion { from, to, tuning: Tuning::default(), ptime }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 4000))
}

fn agreed(codec: CodecRef, number: u8, ptime: Duration) -> Negotiated {
    Negotiated {
        dtmf_payload_type: Some(101),
        receive_dtmf_payload_type: Some(101),
        comfort_noise: None,
        rtcp_mux: true,
        ptime,
        ..Negotiated::new(codec, number, peer())
    }
}

/// A packet that the listener was sent.
#[derive(Debug, Clone)]
struct Sent {
    header: Header,
    payload: Vec<u8>,
}

/// A phone that speaks `from` over a wire, the two legs of a bridge as the gateway holds them, and the packets that the
/// other phone, which listens in `to`, is sent.
struct Line {
    begin: Instant,
    wire: Wire,
    encoder: Box<dyn Encoder>,
    header: Header,
    /// The phone's packets hold so much, and are so far apart by our clock.
    ptime: Duration,
    packet_us: u64,
    send_us: u64,
    tick_us: u64,
    a: Session,
    b: Session,
    transcoder: Transcoder,
    sent: Vec<Sent>,
    /// After each tick, how many were sent.
    ticks: Vec<usize>,
}

impl Line {
    fn new(conversion: Conversion, seed: u64, config: WireConfig) -> Self {
        let begin = start();
        let (from, to) = (conversion.from, conversion.to);
        let a = Session::new(begin, SessionConfig::new(agreed(from, 96, TICK), 1));
        let mut b = Session::new(begin, SessionConfig::new(agreed(to, 97, conversion.ptime), 2));
        b.set_relay(Some(RelayKeys::Pass));
        // Close to the wrap of both.
        let header = Header { marker: true, payload_type: 96, sequence: 65_500, timestamp: u32::MAX - 9000, ssrc: 7 };
        let tuning = Tuning { in_band_fec: true, ..Tuning::default() };
        Self {
            begin,
            wire: Wire::new(seed, config),
            encoder: from.encoder_with(tuning),
            header,
            ptime: TICK,
            packet_us: 20_000,
            send_us: 0,
            tick_us: seed % 20 * 1000,
            a,
            b,
            transcoder: Transcoder::new(begin, conversion, 3).unwrap(),
            sent: Vec::new(),
            ticks: Vec::new(),
        }
    }

    fn from(&self) -> CodecRef {
        self.a.negotiated().codec
    }

    fn to(&self) -> CodecRef {
        self.b.negotiated().codec
    }

    /// Sends a packet now; time goes on by one.
    fn send(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        self.run_until(self.send_us);
        let header = Header { payload_type, timestamp, ..self.header };
        self.wire.send(self.begin + Duration::from_micros(self.send_us), &[&header.to_bytes(), payload].concat());
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(self.from().clock_units(self.ptime));
        self.header.marker = false;
        self.send_us += self.packet_us;
    }

    fn say(&mut self, pcm: &[i16]) {
        for frame in pcm.chunks_exact(self.from().samples(self.ptime)) {
            let mut payload = [0; 1400];
            let bytes = self.encoder.encode(frame, &mut payload);
            self.send(96, self.header.timestamp, &payload[..bytes]);
        }
    }

    /// A tone of half of full scale's half.
    fn sing(&mut self, hz: f64, ms: u64) {
        let pcm = tone::sine(hz, 8000, self.from().sample_rate_hz(), Duration::from_millis(ms));
        self.say(&pcm);
    }

    /// The phone says and sends nothing for so long.
    fn pause(&mut self, ms: u64) {
        let units = self.from().clock_units(Duration::from_millis(ms));
        self.header.timestamp = self.header.timestamp.wrapping_add(units);
        self.header.marker = true;
        self.send_us += ms * 1000;
        self.run_until(self.send_us);
    }

    fn run_until(&mut self, us: u64) {
        while self.tick_us <= us {
            let now = self.begin + Duration::from_micros(self.tick_us);
            while let Some((at, bytes)) = self.wire.poll(now) {
                self.hear(at, &bytes);
            }
            self.transcoder.frame(now);
            let (mut payload, mut out) = ([0; 1500], [0; 1500]);
            while let Some(coded) = self.transcoder.pull(&mut payload) {
                let media = self.media(coded, &payload);
                let length = self.b.forward(now, &media, &mut out).unwrap();
                self.note(&out[..length]);
            }
            self.ticks.push(self.sent.len());
            self.tick_us += 20_000;
        }
    }

    fn media<'a>(&self, coded: Coded, payload: &'a [u8]) -> Media<'a> {
        let codec = self.to();
        let Coded { bytes, marker, timestamp, sequence } = coded;
        let payload = &payload[..bytes];
        let event_clock_hz = codec.rtp_clock_hz();
        let kind = Kind::Audio;
        Media { kind, codec, payload, marker, timestamp, event_clock_hz, sequence, ssrc: 99, for_us: false }
    }

    fn hear(&mut self, at: Instant, bytes: &[u8]) {
        let Some(media) = self.a.receive_rtp(at, peer(), bytes).playable() else { return };
        self.transcoder.push(at, &media);
        if media.kind == Kind::Event {
            let (sequence, timestamp) = self.transcoder.place_event(&media);
            let event = Media { sequence, timestamp, ssrc: 99, ..media };
            let mut out = [0; 100];
            if let Some(length) = self.b.forward(at, &event, &mut out) {
                self.transcoder.give_way(at, Payload::parse(media.payload).unwrap().end);
                self.note(&out[..length]);
            }
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let packet = Packet::parse(bytes).unwrap();
        self.sent.push(Sent { header: packet.header, payload: packet.payload.to_vec() });
    }

    /// What the listener hears of the packets from `from` on, all of audio: without a jitter buffer and without concealment,
    /// because nothing may be missing.
    fn heard(&self, from: usize) -> Vec<i16> {
        let (codec, step) = (self.to(), self.to().clock_units(self.b.negotiated().ptime));
        let mut decoder = codec.decoder();
        let (mut heard, mut pcm) = (Vec::new(), [0; 5760]);
        for pair in self.sent[from..].windows(2) {
            let (a, b) = (pair[0].header, pair[1].header);
            assert_eq!(b.sequence, a.sequence.wrapping_add(1), "no number is missing");
            assert_eq!(b.timestamp, a.timestamp.wrapping_add(step), "and no time");
        }
        for packet in &self.sent[from..] {
            let samples = decoder.decode(&packet.payload, &mut pcm);
            assert_eq!(samples, codec.samples(self.b.negotiated().ptime), "{} takes what it is sent", codec.name());
            heard.extend_from_slice(&pcm[..samples]);
        }
        heard
    }

    fn name(&self) -> String {
        format!("{} to {}", self.from().name(), self.to().name())
    }
}

fn decibels(level: f64) -> f64 {
    20.0 * (level.max(0.1) / 8000.0).log10()
}

/// The level of a tone in each half second of what was heard but the first two, in dB of what was said, and the worst level of
/// what is not the tone.
fn judged(heard: &[i16], rate_hz: u32, hz: f64) -> (Vec<f64>, f64) {
    let mut noise_worst = f64::MIN;
    let levels = heard
        .chunks_exact(rate_hz as usize / 2)
        .skip(2)
        .map(|part| {
            let level = tone::level(part, rate_hz, hz);
            let noise = (tone::rms(part).powi(2) - level * level / 2.0).max(0.0).sqrt() * 2_f64.sqrt();
            noise_worst = noise_worst.max(decibels(noise));
            decibels(level)
        })
        .collect();
    (levels, noise_worst)
}

#[test]
fn a_tone_goes_through_every_pair_of_codecs_in_both_directions() {
    for from in codec::ALL.iter().copied() {
        for to in codec::ALL.iter().copied() {
            let wide = from.sample_rate_hz() > 8000 && to.sample_rate_hz() > 8000;
            for hz in [440.0, 2500.0, 6000.0] {
                if hz > 4000.0 && !wide {
                    continue;
                }
                let mut line = Line::new(conversion(from, to, TICK), 3, WireConfig::default());
                line.sing(hz, 800);
                let pair = format!("{}, {hz} Hz", line.name());
                let heard = line.heard(0);
                let settled = &heard[to.samples(ms(400))..];
                let rate = to.sample_rate_hz();
                let (found, level) = tone::dominant(settled, rate).unwrap_or_else(|| panic!("{pair}: no tone"));
                assert!((found - hz).abs() <= 3.0, "{pair}: {found}");
                assert!(decibels(level).abs() < 4.0, "{pair}: {:.1} dB", decibels(level));
                assert_eq!(line.transcoder.stats().concealed, Duration::ZERO, "{pair}");
            }
        }
    }
}

#[test]
fn loss_reordering_and_jitter_are_mended_before_the_listener_and_each_tick_has_its_frame() {
    let jitter = ms(40);
    let wires = [
        ("loss", WireConfig { loss_permille: 30, ..WireConfig::default() }),
        ("bursts", WireConfig { loss_permille: 30, burst: 2, ..WireConfig::default() }),
        ("jitter", WireConfig { jitter, ..WireConfig::default() }),
        ("reordering", WireConfig { reorder_permille: 100, duplicate_permille: 100, ..WireConfig::default() }),
        ("all", WireConfig { loss_permille: 20, burst: 2, jitter, reorder_permille: 30, ..WireConfig::default() }),
    ];
    for from in codec::ALL.iter().copied() {
        for to in [named("PCMA"), named("G722")] {
            for (name, config) in wires {
                let mut line = Line::new(conversion(from, to, TICK), 11, config);
                line.sing(440.0, 3000);
                let what = format!("{}, {name}: {:?}", line.name(), line.transcoder.stats());
                // From the first packet on one frame goes out with each tick.
                let first = line.ticks.iter().position(|sent| *sent > 0).unwrap();
                assert!(first <= 6, "{what}: silent for {first} ticks");
                assert!(line.ticks[first..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{what}");
                let heard = line.heard(0);
                let (levels, noise) = judged(&heard, to.sample_rate_hz(), 440.0);
                assert!(levels.len() >= 3, "{what}");
                // G.729 is made for voices, and its concealment loses a tone's pitch.
                let (least, noisiest) = if from.name() == "G729" { (-20.0, 3.0) } else { (-5.0, -4.0) };
                let worst = levels.iter().copied().fold(f64::MAX, f64::min);
                assert!(worst > least, "{what}: {levels:.1?}");
                assert!(noise < noisiest, "{what}: noise at {noise:.1} dB");
                let stats = line.transcoder.stats();
                assert!(stats.jitter.delay <= ms(120), "{what}");
                if line.wire.lost() > 0 {
                    assert!(stats.concealed > Duration::ZERO || stats.recovered > 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_off_is_followed_and_the_listener_never_notices() {
    for ppm in [-500_i64, 500] {
        let speech = ark_media::fuzz::speech(4, 8000, 60_000);
        let mut line = Line::new(conversion(named("PCMA"), named("G722"), TICK), 4, WireConfig::default());
        line.packet_us = (20_000 - 20_000 * ppm / 1_000_000) as u64;
        line.say(&speech);
        let stats = line.transcoder.stats();
        assert_eq!((stats.jitter.dropped, stats.concealed), (0, Duration::ZERO), "{ppm} ppm: {stats:?}");
        assert!(stats.jitter.delay < ms(60), "{ppm} ppm: {stats:?}");
        let first = line.ticks.iter().position(|sent| *sent > 0).unwrap();
        assert_eq!(line.sent.len(), line.ticks.len() - first, "{ppm} ppm: one frame a tick");
        line.heard(0);
    }
}

#[test]
fn what_is_above_the_narrow_band_is_not_heard_as_something_else() {
    for (from, to) in [("G722", "PCMA"), ("G722", "G729"), ("opus", "PCMU")] {
        let mut line = Line::new(conversion(named(from), named(to), TICK), 0, WireConfig::default());
        line.sing(5600.0, 800);
        let heard = line.heard(0);
        let level = tone::level(&heard[2400..], 8000, 2400.0);
        assert!(decibels(level) < -40.0, "{}: {level}", line.name());
    }
}

#[test]
fn packet_times_differ_on_the_two_sides() {
    for (from, to) in [("PCMA", "opus"), ("opus", "PCMU"), ("G729", "G722"), ("G722", "PCMA")] {
        let (from, to) = (named(from), named(to));
        for (in_ms, out_ms) in
            [(10, 20), (10, 60), (20, 40), (20, 60), (40, 20), (60, 20), (60, 40), (30, 20), (50, 20), (20, 10)]
        {
            if from.name() == "opus" && in_ms % 20 != 0 && in_ms != 10 {
                continue;
            }
            let mut line = Line::new(conversion(from, to, ms(out_ms)), 1, WireConfig::default());
            (line.ptime, line.packet_us) = (ms(in_ms), in_ms * 1000);
            line.sing(800.0, 1200);
            let heard = line.heard(0);
            let (hz, level) = tone::dominant(&heard[to.samples(ms(400))..], to.sample_rate_hz()).unwrap();
            let what = format!("{} {in_ms} ms to {out_ms} ms", line.name());
            let level = decibels(level);
            assert!((hz - 800.0).abs() < 3.0 && level.abs() < 4.0, "{what}: {hz} Hz, {level:.1} dB");
        }
    }
}

#[test]
fn a_pause_is_silent_or_the_noise_that_the_peer_asks_for_and_the_voice_comes_back() {
    for comfort in [false, true] {
        let mut line = Line::new(conversion(named("PCMA"), named("G722"), TICK), 2, WireConfig::default());
        line.sing(440.0, 1000);
        if comfort {
            // -40 dBov is an effective value of 328.
            line.send(13, line.header.timestamp, &[40]);
        }
        let began = line.sent.len();
        line.pause(2000);
        let ended = line.sent.len();
        line.sing(440.0, 1000);
        let heard = line.heard(0);
        let pause = &heard[(began + 20) * 320..ended * 320];
        let rms = tone::rms(pause);
        assert!(if comfort { (200.0..500.0).contains(&rms) } else { rms < 10.0 }, "comfort {comfort}: {rms}");
        let back = &heard[(ended + 15) * 320..];
        assert!(decibels(tone::level(back, 16_000, 440.0)).abs() < 2.0, "comfort {comfort}");
    }
}

#[test]
fn keys_go_through_with_one_timestamp_and_durations_in_the_other_clock() {
    for (from, to, units) in [("PCMA", "opus", 6.0), ("opus", "PCMA", 1.0 / 6.0), ("PCMU", "G722", 1.0)] {
        let (from, to) = (named(from), named(to));
        let mut line = Line::new(conversion(from, to, TICK), 5, WireConfig::default());
        let step = from.clock_units(TICK);
        line.sing(440.0, 400);
        let began = line.header.timestamp;
        let digit = Digit::from_char('4').unwrap();
        for n in 1..8_u32 {
            let duration = n.min(5) * step;
            let payload = Payload { event: digit.event(), end: n >= 5, volume: 10, duration: duration as u16 };
            line.send(101, began, &payload.to_bytes());
        }
        line.sing(440.0, 600);
        let what = line.name();
        let is_event = |packet: &&Sent| packet.header.payload_type == 101;
        let events: Vec<_> = line.sent.iter().filter(is_event).collect();
        assert_eq!(events.len(), 7, "{what}");
        let place = line.sent.iter().position(|packet| packet.header.payload_type == 101).unwrap();
        let out_step = to.clock_units(TICK);
        let timestamp = line.sent[place - 1].header.timestamp.wrapping_add(out_step);
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.header.timestamp, timestamp, "{what}: all stand where the key went down");
            let duration = Payload::parse(&event.payload).unwrap().duration;
            let theirs = f64::from((n as u32 + 1).min(5) * step);
            assert!((f64::from(duration) - theirs * units).abs() <= 1.0, "{what}: {duration} of {theirs}");
        }
        // While it is down no voice is sent; the repeated ends come between the voice.
        assert!(line.sent[place..place + 5].iter().all(|packet| is_event(&packet)), "{what}");
        let numbers: Vec<u16> = line.sent.iter().map(|packet| packet.header.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[0].wrapping_add(1) == pair[1]), "{what}: {numbers:?}");
        // The voice after the key stands where it is heard.
        let voice = line.sent[place..].iter().filter(|packet| !is_event(packet)).collect::<Vec<_>>();
        let gone = voice[0].header.timestamp.wrapping_sub(timestamp) / out_step;
        assert!((4..=5).contains(&gone) && voice[0].header.marker, "{what}: {gone} frames after");
        let from = line.sent.iter().rposition(|packet| is_event(&packet)).unwrap() + 1;
        let heard = line.heard(from);
        let level = tone::level(&heard[to.samples(ms(200))..], to.sample_rate_hz(), 440.0);
        assert!(decibels(level).abs() < 4.0, "{what}: {level}");
    }
}

#[test]
fn a_key_whose_end_is_lost_silences_the_voice_for_a_moment_only() {
    let mut line = Line::new(conversion(named("PCMA"), named("G722"), TICK), 0, WireConfig::default());
    line.sing(440.0, 400);
    let began = line.header.timestamp;
    line.send(101, began, &Payload { event: 4, end: false, volume: 10, duration: 160 }.to_bytes());
    let from = line.sent.len();
    line.sing(440.0, 1000);
    let silent = line.ticks.windows(2).filter(|pair| pair[1] == pair[0]).count();
    assert!((4..=8).contains(&silent), "{silent} ticks");
    assert!(line.sent.len() - from > 40);
}

#[test]
fn either_side_changes_its_codec_and_the_stream_goes_on() {
    let mut line = Line::new(conversion(named("PCMA"), named("PCMU"), TICK), 7, WireConfig::default());
    line.sing(440.0, 600);
    // The listener: the numbers are far off, the time is not.
    let (pcmu, g722) = (named("PCMU"), named("G722"));
    line.b.update(line.begin + Duration::from_micros(line.send_us), agreed(g722, 9, TICK));
    line.transcoder.settle(conversion(named("PCMA"), g722, TICK));
    let from = line.sent.len();
    line.sing(440.0, 600);
    let heard = line.heard(from);
    assert!(decibels(tone::level(&heard[6400..], 16_000, 440.0)).abs() < 2.0);
    let steps: Vec<u32> = line.sent[from - 1..]
        .windows(2)
        .map(|pair| pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp))
        .collect();
    assert!(steps.iter().all(|step| *step == pcmu.clock_units(TICK)), "{steps:?}");
    assert!(line.sent[from].header.marker && line.sent[from].header.payload_type == 9);
    // The speaker.
    line.a.update(line.begin + Duration::from_micros(line.send_us), agreed(named("opus"), 96, TICK));
    line.encoder = named("opus").encoder();
    let from = line.sent.len();
    line.sing(440.0, 1000);
    let heard = line.heard(from);
    assert!(decibels(tone::level(&heard[8000..], 16_000, 440.0)).abs() < 2.0);
}

#[test]
fn who_is_hushed_is_not_heard_for_a_moment_longer_and_is_back_at_once() {
    let mut line = Line::new(conversion(named("PCMA"), named("G722"), TICK), 0, WireConfig::default());
    line.sing(440.0, 600);
    line.run_until(line.send_us - 1);
    let from = line.sent.len();
    line.transcoder.hush(line.begin + Duration::from_micros(line.tick_us));
    // What is on the wire is not taken any more, as the gateway does it.
    while line.wire.poll(line.begin + Duration::from_secs(60)).is_some() {}
    line.pause(400);
    let to = line.sent.len();
    assert!((20..=21).contains(&(to - from)), "the line stays open");
    let heard = line.heard(0);
    assert!(tone::rms(&heard[from * 320 + 160..to * 320]) < 20.0);
    line.sing(440.0, 600);
    let back = &line.heard(to)[15 * 320..];
    assert!(decibels(tone::level(back, 16_000, 440.0)).abs() < 2.0);
}

#[test]
fn a_tone_is_heard_over_the_voice_and_over_nothing() {
    let tone = Repeated { hz: 1400, amplitude: 6000, length: ms(200), every: ms(500) };
    for speaks in [true, false] {
        let mut line = Line::new(conversion(named("PCMA"), named("PCMA"), TICK), 0, WireConfig::default());
        line.transcoder.set_tone(Some(tone), true);
        let from = line.sent.len();
        if speaks {
            line.sing(440.0, 2000);
        } else {
            line.pause(2000);
        }
        let heard = line.heard(from);
        let level = tone::level(&heard[4000..12_000], 8000, 1400.0);
        assert!((1800.0..3000.0).contains(&level), "two fifths of 6000: {level}");
        line.transcoder.set_tone(Some(tone), false);
        let from = line.sent.len();
        if speaks {
            line.sing(440.0, 1000);
        } else {
            line.pause(1000);
        }
        assert!(tone::level(&line.heard(from)[400..], 8000, 1400.0) < 60.0, "not while it is paused");
    }
}

#[test]
fn garbage_goes_in_and_nothing_breaks() {
    let mut random = ark_media::fuzz::Random::new(77);
    for from in codec::ALL.iter().copied() {
        for to in [named("PCMA"), named("G722"), named("G729")] {
            let mut now = start();
            let mut transcoder = Transcoder::new(now, conversion(from, to, ms(40)), 1).unwrap();
            let (mut sequence, mut timestamp) = (70_000, 0_u32);
            let mut payload = [0; 1500];
            for _ in 0..120 {
                let length = random.below(1488) as usize;
                let bytes = random.bytes(length);
                sequence += random.below(4);
                timestamp = match random.below(8) {
                    0 => random.next_u32(),
                    1 => timestamp.wrapping_sub(160),
                    n => timestamp.wrapping_add(from.clock_units(TICK) * (n as u32 - 1)),
                };
                now += ms(random.below(40));
                let media = Media {
                    kind: Kind::Audio,
                    codec: from,
                    payload: &bytes,
                    marker: false,
                    timestamp,
                    event_clock_hz: from.rtp_clock_hz(),
                    sequence,
                    ssrc: u32::from(random.one_in(50)),
                    for_us: false,
                };
                transcoder.push(now, &media);
                transcoder.frame(now);
                while let Some(coded) = transcoder.pull(&mut payload) {
                    assert!(coded.bytes > 0 && coded.bytes <= 640);
                }
                if random.one_in(10) {
                    transcoder.place_event(&media);
                }
            }
        }
    }
}
