//! A frame allocates nothing: counted, not believed. A test binary of its own, because the allocator is global.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use ark_media::codec::comfort::{Generator, Noise};
use ark_media::codec::{self, Tuning};
use ark_media::dtmf::{Digit, Payload};
use ark_media::fuzz::start;
use ark_media::limits::TICK;
use ark_media::prompt::EncodedPrompt;
use ark_media::record::{self, Recorder, Side};
use ark_media::rtp::Header;
use ark_media::sdp::Negotiated;
use ark_media::session::{Kind, Media, Playlist, RelayKeys, Session, SessionConfig};
use ark_media::sound_over::SoundOver;
use ark_media::tone::{self, Repeated};
use ark_media::transcode::{Conversion, Transcoder};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; the counter is plain thread-local data.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn ten_seconds_of_a_call_allocate_nothing() {
    let peer = SocketAddr::from(([192, 0, 2, 9], 4000));
    let pcma = codec::by_name("PCMA", 8000).unwrap();
    let negotiated = Negotiated {
        dtmf_payload_type: Some(101),
        receive_dtmf_payload_type: Some(101),
        remote_rtcp: peer,
        ..Negotiated::new(pcma, 8, peer)
    };
    let mut now = start();
    let mut a = Session::new(now, SessionConfig::new(negotiated.clone(), 1));
    let mut b = Session::new(now, SessionConfig::new(negotiated, 2));
    let prompt = EncodedPrompt::encode(&vec![1000; 8000 * 3], pcma, TICK);
    a.play(Playlist { id: 1, items: vec![prompt.clone(), prompt], barge_in: true, repeat: false }).unwrap();
    b.set_relay(Some(RelayKeys::Pass));
    let mut recorder = Recorder::new(now, record::Layout::Sides);
    recorder.push(now, Side::Caller, pcma, 5, 0, &[0xD5; 160]);
    recorder.push(now, Side::Ark, pcma, 6, 0, &[0xD5; 160]);
    let mut block = Vec::with_capacity(64 * 1024);
    let (mut out, mut rtcp) = ([0; 1500], [0; 200]);
    let digit = Digit::from_char('7').unwrap();
    let mut packet = [0; 172];
    let mut events = 0;

    let before = COUNT.with(Cell::get);
    for n in 0..500_u32 {
        now += TICK;
        let length = a.next_frame(now, &mut out).unwrap();
        recorder.push(now, Side::Ark, pcma, 6, n * 160, &out[12..length]);
        let header =
            |payload_type| Header { marker: false, payload_type, sequence: n as u16, timestamp: n * 160, ssrc: 5 };
        let length = match n % 100 {
            60..70 => {
                let event = Payload { event: digit.event(), end: n % 100 > 66, volume: 10, duration: 160 };
                Header { timestamp: n / 100, ..header(101) }.write(&event.to_bytes(), &mut packet).unwrap()
            }
            _ => header(8).write(&[0xD5; 160], &mut packet).unwrap(),
        };
        if let Some(media) = a.receive_rtp(now, peer, &packet[..length]).media() {
            recorder.push(now, Side::Caller, pcma, 5, media.timestamp, media.payload);
            assert!(b.forward(now, &media, &mut out).is_some());
        }
        b.next_frame(now, &mut out);
        if n % 80 == 0 {
            a.send_digit(digit, Duration::from_millis(100));
            a.info_digit(now, digit);
        }
        if let Some(length) = a.rtcp_report(now, &mut rtcp) {
            b.receive_rtcp(now, peer, &rtcp[..length]);
        }
        while a.poll().is_some() {
            events += 1;
        }
        block.clear();
        while recorder.poll(now, &mut block).is_some() {}
        assert!(a.quality().lost == 0);
    }
    assert_eq!(COUNT.with(Cell::get) - before, 0);
    assert!(events > 10);
}

/// Every codec both ways, concealment included, a change of codec in a bridge and a recording: made once, then nothing.
#[test]
fn a_second_of_every_codec_allocates_nothing() {
    let pcma = codec::by_name("PCMA", 8000).unwrap();
    for codec in codec::ALL.iter().copied() {
        let tuning = Tuning { in_band_fec: true, ..Tuning::default() };
        let (mut encoder, mut decoder) = (codec.encoder_with(tuning), codec.decoder());
        let there = Conversion { from: codec, to: pcma, tuning: Tuning::default(), ptime: TICK };
        let back = Conversion { from: pcma, to: codec, tuning, ptime: TICK };
        let mut there = Transcoder::new(start(), there, 1).unwrap();
        let mut back = Transcoder::new(start(), back, 2).unwrap();
        let beep = Repeated { hz: 1400, amplitude: 3000, length: TICK * 5, every: TICK * 20 };
        let mut over = SoundOver::new(codec, tuning, beep);
        let mut recorder = Recorder::new(start(), record::Layout::Sides);
        let pcm = tone::sine(440.0, 8000, codec.sample_rate_hz(), Duration::from_secs(1));
        let mut noise = Generator::new(Noise::white(50), 1);
        let (mut payload, mut out, mut heard) = ([0; 400], [0; 1500], [0; 960]);
        recorder.push(start(), Side::Caller, codec, 1, 0, &[]);
        let mut before = 0;
        for (n, frame) in pcm.chunks(codec.samples(TICK)).enumerate() {
            if n == 1 {
                // The first frame makes tables that all calls share.
                before = COUNT.with(Cell::get);
            }
            let now = start() + TICK * n as u32;
            let bytes = encoder.encode(frame, &mut payload);
            decoder.decode(&payload[..bytes], &mut heard);
            let mut prompt = payload;
            over.add(&mut prompt, bytes, true);
            let (sequence, timestamp) = (n as u64, n as u32 * codec.clock_units(TICK));
            let media = |codec, payload, timestamp| Media {
                kind: Kind::Audio,
                codec,
                payload,
                marker: false,
                timestamp,
                event_clock_hz: 8000,
                sequence,
                ssrc: 1,
                for_us: false,
            };
            if n % 10 == 5 {
                decoder.conceal(&mut heard[..frame.len()]);
                decoder.recover(&payload[..bytes], &mut heard[..frame.len()]);
            } else {
                there.push(now, &media(codec, &payload[..bytes], timestamp));
            }
            back.push(now, &media(pcma, &[0xAA; 160], n as u32 * 160));
            for transcoder in [&mut there, &mut back] {
                transcoder.frame(now);
                while transcoder.pull(&mut out).is_some() {}
            }
            noise.fill(&mut heard);
            recorder.push(now, Side::Caller, codec, 1, timestamp, &payload[..bytes]);
        }
        assert_eq!(COUNT.with(Cell::get) - before, 0, "{}", codec.name());
    }
}

#[test]
fn twenty_seconds_of_playing_out_allocate_nothing() {
    use ark_media::playout::{Playout, PlayoutConfig};
    use ark_media::session::{Kind, Media};
    for name in ["PCMA", "PCMU", "G722"] {
        let codec = codec::by_name(name, 8000).unwrap();
        let mut now = start();
        let mut playout = Playout::new(now, PlayoutConfig { codec, noise_seed: 1 });
        let mut pcm = vec![0; playout.frame_samples()];
        let mut play = |n: u32, kind: Kind, late_ms: u64| {
            now += TICK;
            let at = now + Duration::from_millis(late_ms);
            let payload = if kind == Kind::Audio { &[0x55; 160][..] } else { &[60][..] };
            let (timestamp, sequence) = (n * 160, u64::from(n));
            let media = Media {
                kind,
                codec,
                payload,
                marker: false,
                timestamp,
                sequence,
                ssrc: 5,
                for_us: false,
                event_clock_hz: 8000,
            };
            if n % 20 != 7 {
                playout.push(at, &media);
            }
            playout.frame(at, &mut pcm);
        };
        // The generator of comfort noise is made by the first packet that asks for it.
        play(0, Kind::Comfort, 0);
        let before = COUNT.with(Cell::get);
        for n in 1..1000_u32 {
            play(n, if n % 100 == 50 { Kind::Comfort } else { Kind::Audio }, u64::from(n * 7919 % 60));
        }
        assert_eq!(COUNT.with(Cell::get) - before, 0, "{name}");
        let stats = playout.stats();
        assert!(stats.concealed > Duration::from_millis(400), "{stats:?}");
    }
}
