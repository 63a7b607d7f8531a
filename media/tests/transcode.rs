//! A bridge between two codecs: what is spoken in the one is heard in the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_media::codec::{self, CodecRef, Encoder, Tuning};
use ark_media::dtmf::{Digit, Payload};
use ark_media::fuzz::start;
use ark_media::limits::TICK;
use ark_media::rtp::Packet;
use ark_media::sdp::Negotiated;
use ark_media::session::{Kind, Media, RelayKeys, Session, SessionConfig};
use ark_media::tone;
use ark_media::transcode::{Coded, Transcoder};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn named(name: &str) -> CodecRef {
    codec::ALL.iter().copied().find(|c| c.name() == name).unwrap()
}

/// A speaker: packets of a tone with numbers and timestamps.
struct Speaker {
    codec: CodecRef,
    encoder: Box<dyn Encoder>,
    ptime: Duration,
    pcm: Vec<i16>,
    at: usize,
    sequence: u64,
    timestamp: u32,
    ssrc: u32,
}

impl Speaker {
    fn new(codec: CodecRef, ptime: Duration, hz: f64, length: Duration) -> Self {
        let pcm = tone::sine(hz, 8000, codec.sample_rate_hz(), length);
        let tuning = Tuning { in_band_fec: true, ..Tuning::default() };
        // Close to the wrap of the timestamp.
        let timestamp = u32::MAX - 3 * codec.clock_units(ptime);
        Self { codec, encoder: codec.encoder_with(tuning), ptime, pcm, at: 0, sequence: 70_000, timestamp, ssrc: 7 }
    }

    fn next<'a>(&mut self, payload: &'a mut [u8]) -> Option<Media<'a>> {
        let samples = self.codec.samples(self.ptime);
        let frame = self.pcm.get(self.at..self.at + samples)?;
        let bytes = self.encoder.encode(frame, payload);
        let media = media(self.codec, &payload[..bytes], self.sequence, self.timestamp, self.ssrc);
        self.at += samples;
        self.sequence += 1;
        self.timestamp = self.timestamp.wrapping_add(self.codec.clock_units(self.ptime));
        Some(media)
    }
}

fn media(codec: CodecRef, payload: &[u8], sequence: u64, timestamp: u32, ssrc: u32) -> Media<'_> {
    Media {
        kind: Kind::Audio,
        codec,
        payload,
        marker: false,
        timestamp,
        event_clock_hz: codec.rtp_clock_hz(),
        sequence,
        ssrc,
        for_us: false,
    }
}

/// A listener: plays each packet where its timestamp says, and knows what was missing.
struct Listener {
    codec: CodecRef,
    decoder: Box<dyn codec::Decoder>,
    heard: Vec<i16>,
    first: Option<u32>,
    last: Option<Coded>,
    packets: u64,
}

impl Listener {
    fn new(codec: CodecRef) -> Self {
        Self { codec, decoder: codec.decoder(), heard: Vec::new(), first: None, last: None, packets: 0 }
    }

    fn take(&mut self, coded: Coded, payload: &[u8]) {
        let first = *self.first.get_or_insert(coded.timestamp);
        let units = u64::from(coded.timestamp.wrapping_sub(first));
        let at = (units * u64::from(self.codec.sample_rate_hz()) / u64::from(self.codec.rtp_clock_hz())) as usize;
        assert!(at >= self.heard.len(), "time goes back from {} to {at}", self.heard.len());
        self.heard.resize(at, 0);
        let mut pcm = [0; 1920];
        let samples = self.decoder.decode(payload, &mut pcm);
        assert!(samples > 0, "{} takes what it is sent", self.codec.name());
        self.heard.extend_from_slice(&pcm[..samples]);
        if let Some(last) = self.last {
            assert!(coded.sequence > last.sequence);
        }
        self.last = Some(coded);
        self.packets += 1;
    }
}

fn pour(transcoder: &mut Transcoder, media: &Media<'_>, listener: &mut Listener) {
    transcoder.push(media);
    let mut payload = [0; 1500];
    while let Some(coded) = transcoder.pull(&mut payload) {
        listener.take(coded, &payload[..coded.bytes]);
    }
}

fn decibels(level: f64) -> f64 {
    20.0 * (level / 8000.0).log10()
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
                let mut transcoder = Transcoder::new(from, to, Tuning::default(), TICK).unwrap();
                let mut speaker = Speaker::new(from, TICK, hz, ms(400));
                let mut listener = Listener::new(to);
                let mut payload = [0; 1500];
                while let Some(media) = speaker.next(&mut payload) {
                    pour(&mut transcoder, &media, &mut listener);
                }
                let pair = format!("{} to {}, {hz} Hz", from.name(), to.name());
                assert!(listener.heard.len() >= to.samples(ms(380)), "{pair}: {}", listener.heard.len());
                let settled = &listener.heard[to.samples(ms(200))..];
                let (found, level) =
                    tone::dominant(settled, to.sample_rate_hz()).unwrap_or_else(|| panic!("{pair}: no tone"));
                assert!((found - hz).abs() <= 3.0, "{pair}: {found}");
                assert!(decibels(level).abs() < 4.0, "{pair}: {:.1} dB", decibels(level));
            }
        }
    }
}

#[test]
fn what_is_above_the_narrow_band_is_not_heard_as_something_else() {
    for (from, to) in [("G722", "PCMA"), ("G722", "G729"), ("opus", "PCMU")] {
        let (from, to) = (named(from), named(to));
        let mut transcoder = Transcoder::new(from, to, Tuning::default(), TICK).unwrap();
        let mut speaker = Speaker::new(from, TICK, 5600.0, ms(500));
        let mut listener = Listener::new(to);
        let mut payload = [0; 1500];
        while let Some(media) = speaker.next(&mut payload) {
            pour(&mut transcoder, &media, &mut listener);
        }
        let level = tone::level(&listener.heard[1600..], 8000, 2400.0);
        assert!(decibels(level.max(0.1)) < -40.0, "{} to {}: {level}", from.name(), to.name());
    }
}

#[test]
fn packet_times_differ_on_the_two_sides() {
    for (from, to) in [("PCMA", "opus"), ("opus", "PCMU"), ("G729", "G722"), ("G722", "PCMA")] {
        let (from, to) = (named(from), named(to));
        for (in_ms, out_ms) in
            [(10, 20), (10, 60), (20, 40), (20, 60), (40, 20), (60, 20), (60, 40), (30, 20), (50, 20)]
        {
            if from.name() == "opus" && in_ms % 20 != 0 && in_ms != 10 {
                continue;
            }
            let mut transcoder = Transcoder::new(from, to, Tuning::default(), ms(out_ms)).unwrap();
            let mut speaker = Speaker::new(from, ms(in_ms), 800.0, ms(480));
            let mut listener = Listener::new(to);
            let (mut payload, mut before) = ([0; 1500], None);
            while let Some(media) = speaker.next(&mut payload) {
                pour(&mut transcoder, &media, &mut listener);
                if let Some((sequence, timestamp)) = before
                    && let Some(last) = listener.last
                {
                    let packets: u64 = last.sequence - sequence;
                    let units = last.timestamp.wrapping_sub(timestamp);
                    assert_eq!(units, to.clock_units(ms(out_ms)) * packets as u32, "each packet has {out_ms} ms");
                }
                before = listener.last.map(|last| (last.sequence, last.timestamp));
            }
            let what = format!("{} {in_ms} ms to {} {out_ms} ms", from.name(), to.name());
            let rate = to.sample_rate_hz();
            let (hz, level) = tone::dominant(&listener.heard[to.samples(ms(200))..], rate).unwrap();
            assert!(
                (hz - 800.0).abs() < 3.0 && decibels(level).abs() < 4.0,
                "{what}: {hz} Hz, {:.1} dB",
                decibels(level)
            );
        }
    }
}

/// Drops packets of a tone and returns what a listener without any concealment hears, and the packets it misses.
fn with_losses(from: &str, to: &str, lost: impl Fn(u64) -> bool) -> (Listener, u64) {
    let (from, to) = (named(from), named(to));
    let mut transcoder = Transcoder::new(from, to, Tuning::default(), TICK).unwrap();
    let mut speaker = Speaker::new(from, TICK, 440.0, ms(1000));
    let mut listener = Listener::new(to);
    let mut payload = [0; 1500];
    while let Some(media) = speaker.next(&mut payload) {
        if !lost(media.sequence - 70_000) {
            pour(&mut transcoder, &media, &mut listener);
        }
    }
    let missing = listener.last.map_or(0, |last| last.sequence + 1) - listener.packets;
    (listener, missing)
}

#[test]
fn losses_are_mended_by_codecs_that_can_and_stay_losses_for_the_others() {
    // G.711 and G.722 cannot: the numbers show the hole, and the listener's phone conceals it.
    let (listener, missing) = with_losses("PCMA", "G722", |n| n % 10 == 5);
    assert_eq!(missing, 5);
    let quiet = &listener.heard[5 * 320 + 60..6 * 320];
    assert!(tone::rms(quiet) < 200.0, "a hole in the sound too: {}", tone::rms(quiet));
    // Opus has the copy in the next packet, G.729 a concealment: nothing is missing.
    for from in ["opus", "G729"] {
        let (listener, missing) = with_losses(from, "PCMU", |n| n % 10 == 5);
        assert_eq!(missing, 0, "{from}");
        for lost in [15, 25, 35, 45] {
            let frame = &listener.heard[lost * 160..(lost + 1) * 160];
            let level = decibels(tone::level(frame, 8000, 440.0));
            assert!(level > -12.0, "{from}, packet {lost}: {level:.1} dB");
        }
        // Longer than any concealment is worth.
        let (_, missing) = with_losses(from, "PCMU", |n| (20..30).contains(&n));
        assert_eq!(missing, 10, "{from}");
    }
}

#[test]
fn late_and_doubled_packets_change_nothing() {
    let (pcma, opus) = (named("PCMA"), named("opus"));
    let mut transcoder = Transcoder::new(pcma, opus, Tuning::default(), TICK).unwrap();
    let mut listener = Listener::new(opus);
    let packet = |n: u32| media(pcma, &[0xD5; 160], 70_000 + u64::from(n), n * 160, 7);
    for n in [0, 1, 1, 3, 2, 4, 4, 0] {
        pour(&mut transcoder, &packet(n), &mut listener);
    }
    // Packet 2 came after 3: it counts as lost.
    let last = listener.last.unwrap();
    assert_eq!((last.sequence, last.timestamp), (4, 4 * 960));
}

#[test]
fn a_pause_is_no_loss() {
    let (pcma, g722) = (named("PCMA"), named("G722"));
    let mut transcoder = Transcoder::new(pcma, g722, Tuning::default(), ms(40)).unwrap();
    let (mut sent, mut payload) = (Vec::new(), [0; 1500]);
    // Three packets, a pause of a second without a gap in the numbers, three more.
    for (n, timestamp) in [(0, 0), (1, 160), (2, 320), (3, 8480), (4, 8640), (5, 8800)] {
        transcoder.push(&media(pcma, &[0xD5; 160], 70_000 + n, timestamp, 7));
        while let Some(coded) = transcoder.pull(&mut payload) {
            sent.push((coded.sequence, coded.timestamp, coded.marker));
        }
    }
    // The third packet is filled up with silence; the pause is whole packets of 40 ms.
    assert_eq!(sent, [(0, 0, true), (1, 320, false), (2, 8320, true), (3, 8640, false)]);
    // A jump of the timestamp and another stream: the numbers go on.
    for (ssrc, timestamp) in [(7, 0x4000_0000), (9, 5)] {
        for n in 0..2 {
            transcoder.push(&media(pcma, &[0xD5; 160], 80_000 + n, timestamp + 160 * n as u32, ssrc));
            while let Some(coded) = transcoder.pull(&mut payload) {
                assert!(coded.marker && coded.ssrc == ssrc && coded.timestamp % 320 == 0, "{coded:?}");
                sent.push((coded.sequence, coded.timestamp, coded.marker));
            }
        }
    }
    assert!(sent.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].1 < pair[1].1), "{sent:?}");
}

fn agreed(codec: CodecRef, number: u8, port: u16) -> Negotiated {
    Negotiated {
        dtmf_payload_type: Some(101),
        receive_dtmf_payload_type: Some(101),
        ..Negotiated::new(codec, number, SocketAddr::from(([192, 0, 2, 9], port)))
    }
}

/// The two legs of a bridge as the gateway holds them, `a` heard in `b`.
struct Bridge {
    now: Instant,
    a: Session,
    b: Session,
    transcoder: Transcoder,
    sent: Vec<(u8, u16, u32, Vec<u8>)>,
}

impl Bridge {
    fn new(from: CodecRef, to: CodecRef) -> Self {
        let now = start();
        let a = Session::new(now, SessionConfig::new(agreed(from, 96, 4000), 1));
        let mut b = Session::new(now, SessionConfig::new(agreed(to, 97, 5000), 2));
        b.set_relay(Some(RelayKeys::Pass));
        let transcoder = Transcoder::new(from, to, Tuning::default(), TICK).unwrap();
        Self { now, a, b, transcoder, sent: Vec::new() }
    }

    fn packet(&mut self, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.now += TICK;
        let header = ark_media::rtp::Header { marker: false, payload_type, sequence, timestamp, ssrc: 3 };
        let bytes = [&header.to_bytes(), payload].concat();
        let from = SocketAddr::from(([192, 0, 2, 9], 4000));
        let Some(media) = self.a.receive_rtp(self.now, from, &bytes).media() else { return };
        let mut out = [0; 1500];
        if media.kind == Kind::Event {
            let (sequence, timestamp) = self.transcoder.place_event(&media);
            let length = self.b.forward(self.now, &Media { sequence, timestamp, ..media }, &mut out);
            self.note(length, &out);
            return;
        }
        self.transcoder.push(&media);
        let mut payload = [0; 1500];
        while let Some(coded) = self.transcoder.pull(&mut payload) {
            let ours = Media {
                codec: self.b.negotiated().codec,
                payload: &payload[..coded.bytes],
                marker: coded.marker,
                timestamp: coded.timestamp,
                sequence: coded.sequence,
                ..media
            };
            let length = self.b.forward(self.now, &ours, &mut out);
            self.note(length, &out);
        }
    }

    fn note(&mut self, length: Option<usize>, out: &[u8]) {
        let packet = Packet::parse(&out[..length.unwrap()]).unwrap();
        let header = packet.header;
        self.sent.push((header.payload_type, header.sequence, header.timestamp, packet.payload.to_vec()));
    }
}

#[test]
fn keys_go_through_with_one_timestamp_and_durations_in_the_other_clock() {
    for (from, to, units) in [("PCMA", "opus", 6.0), ("opus", "PCMA", 1.0 / 6.0), ("PCMU", "G722", 1.0)] {
        let (from, to) = (named(from), named(to));
        let mut bridge = Bridge::new(from, to);
        let step = from.clock_units(TICK);
        let mut voice = [0; 200];
        let bytes = from.silence(TICK, &mut voice);
        let digit = Digit::from_char('4').unwrap();
        let mut sequence = 0;
        for n in 0..20_u32 {
            if (5..12).contains(&n) {
                let duration = (n - 4).min(5) * step;
                let payload = Payload { event: digit.event(), end: n > 8, volume: 10, duration: duration as u16 };
                bridge.packet(101, sequence, 5 * step, &payload.to_bytes());
            } else {
                bridge.packet(96, sequence, n * step, &voice[..bytes]);
            }
            sequence += 1;
        }
        let what = format!("{} to {}", from.name(), to.name());
        let events: Vec<_> = bridge.sent.iter().filter(|(number, ..)| *number == 101).collect();
        assert_eq!(events.len(), 7, "{what}");
        let out_step = to.clock_units(TICK);
        let first = bridge.sent[0].2;
        for (n, (_, _, timestamp, payload)) in events.iter().enumerate() {
            assert_eq!(timestamp.wrapping_sub(first), 5 * out_step, "{what}");
            let duration = Payload::parse(payload).unwrap().duration;
            let theirs = ((n as u32 + 1).min(5) * step) as f64;
            assert!((f64::from(duration) - theirs * units).abs() <= 1.0, "{what}: {duration} of {theirs}");
        }
        let numbers: Vec<u16> = bridge.sent.iter().map(|(_, number, ..)| *number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{what}: {numbers:?}");
        // The voice after the key stands where it was spoken.
        let last = bridge.sent.last().unwrap();
        assert_eq!(last.2.wrapping_sub(first), 19 * out_step, "{what}");
    }
}

#[test]
fn garbage_goes_in_and_nothing_breaks() {
    let mut random = 0x1234_5678_9ABC_DEF1_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for from in codec::ALL.iter().copied() {
        for to in [named("PCMA"), named("G722"), named("G729")] {
            let mut transcoder = Transcoder::new(from, to, Tuning::default(), ms(40)).unwrap();
            let (mut sequence, mut timestamp) = (70_000, 0_u32);
            let mut payload = [0; 1500];
            for _ in 0..120 {
                let bytes: Vec<u8> = (0..next() % 1488).map(|_| next() as u8).collect();
                sequence += next() % 4;
                timestamp = match next() % 8 {
                    0 => next() as u32,
                    1 => timestamp.wrapping_sub(160),
                    n => timestamp.wrapping_add(from.clock_units(TICK) * (n as u32 - 1)),
                };
                transcoder.push(&media(from, &bytes, sequence, timestamp, (next() % 50 / 49) as u32));
                while let Some(coded) = transcoder.pull(&mut payload) {
                    assert!(coded.bytes > 0 && coded.bytes <= 640);
                }
                if next() % 10 == 0 {
                    transcoder.place_event(&media(from, &[1, 2, 3, 4], sequence, timestamp, 0));
                }
            }
        }
    }
}
