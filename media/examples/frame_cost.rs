//! What a frame costs: `cargo run --release -p ark-media --example frame_cost`.
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_media::codec::CodecRef;
use ark_media::dtmf::inband::Detector;
use ark_media::fuzz;
use ark_media::limits::TICK;
use ark_media::playout::{Playout, PlayoutConfig};
use ark_media::prompt::EncodedPrompt;
use ark_media::record::{Layout, Recorder, Side};
use ark_media::resample::Resampler;
use ark_media::rtp::Header;
use ark_media::sdp::{Local, Negotiator};
use ark_media::session::{Kind, Media, Playlist, RelayKeys, Session, SessionConfig};

const ROUNDS: u32 = 200_000;
const CALLS: usize = 1000;

fn median(mut measure: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<f64> = (0..7).map(|_| measure().as_nanos() as f64 / f64::from(ROUNDS)).collect();
    times.sort_by(f64::total_cmp);
    times[3]
}

fn main() {
    let peer = SocketAddr::from(([192, 0, 2, 9], 4000));
    let offer = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let local = Local::new(SocketAddr::from(([192, 0, 2, 1], 20_000)), 1);
    let (_, negotiated) = Negotiator::new(local).answer(offer.as_bytes()).expect("the offer is a constant");
    let codec = negotiated.codec;
    let now = Instant::now();
    let session = || Session::new(now, SessionConfig::new(negotiated.clone(), 1));
    let mut out = [0; 1500];
    println!("a session takes {} bytes", size_of::<Session>());

    let prompt = EncodedPrompt::encode(&vec![1000; 80_000], codec, TICK);
    let mut calls: Vec<Session> = (0..CALLS).map(|_| session()).collect();
    for call in &mut calls {
        let list = Playlist { id: 1, items: vec![prompt.clone()], barge_in: true, repeat: true };
        call.play(list).expect("the prompt is of this codec");
    }
    let mut tick = now;
    let ns = median(|| {
        let begin = Instant::now();
        for i in 0..ROUNDS as usize {
            tick += TICK / CALLS as u32;
            black_box(calls[i % CALLS].next_frame(tick, &mut out));
        }
        begin.elapsed()
    });
    println!("next_frame, prompt, {CALLS} calls in turn   {ns:8.1} ns");

    let mut call = session();
    let ns = median(|| {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            tick += TICK;
            black_box(call.next_frame(tick, &mut out));
        }
        begin.elapsed()
    });
    println!("next_frame, silence                     {ns:8.1} ns");

    let mut sequence = 0_u32;
    let mut packet = move || {
        sequence += 1;
        let header =
            Header { marker: false, payload_type: 8, sequence: sequence as u16, timestamp: sequence * 160, ssrc: 5 };
        let mut bytes = [0xD5; 172];
        bytes[..12].copy_from_slice(&header.to_bytes());
        bytes
    };
    let mut call = session();
    let ns = median(|| {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            tick += TICK;
            black_box(call.receive_rtp(tick, peer, &packet()));
        }
        begin.elapsed()
    });
    println!("receive_rtp                             {ns:8.1} ns");

    let (mut a, mut b) = (session(), session());
    b.set_relay(Some(RelayKeys::Pass));
    let ns = median(|| {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            tick += TICK;
            let bytes = packet();
            if let Some(media) = a.receive_rtp(tick, peer, &bytes).media() {
                black_box(b.forward(tick, &media, &mut out));
            }
        }
        begin.elapsed()
    });
    println!("receive_rtp + forward                   {ns:8.1} ns");

    recording(tick, codec);
    playing_out(tick, codec);
    codecs();
    resampling();
}

/// Microseconds for 20 ms of a voice-like sound, the median of nine stretches of two seconds.
fn codecs() {
    println!("\n20 ms of voice           encode    decode    bytes");
    for codec in ark_media::codec::ALL {
        let frame = codec.samples(TICK);
        let mut random = 1_u32;
        let pcm: Vec<i16> = (0..frame * 100)
            .map(|n| {
                let at = n as f32 / codec.sample_rate_hz() as f32;
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let voice = (at * 820.0).sin() * (at * 20.0).sin() + 0.5 * (at * 5_200.0).sin() * (at * 31.0).cos();
                (voice * 6_000.0 + (random >> 24) as f32) as i16
            })
            .collect();
        let (mut encoder, mut decoder) = (codec.encoder(), codec.decoder());
        let (mut encoding, mut decoding, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..9 {
            let mut made = Vec::new();
            let begin = Instant::now();
            for part in pcm.chunks(frame) {
                let mut payload = [0; 200];
                let length = encoder.encode(part, &mut payload);
                made.push((payload, length));
            }
            encoding.push(begin.elapsed().as_secs_f64() * 1e4);
            bytes = made.iter().map(|(_, length)| length).sum::<usize>() / made.len();
            let begin = Instant::now();
            for (payload, length) in &made {
                black_box(decoder.decode(&payload[..*length], &mut [0; 960]));
            }
            decoding.push(begin.elapsed().as_secs_f64() * 1e4);
        }
        let middle = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        println!("{:<20} {:7.2} us {:7.2} us {bytes:8}", codec.name(), middle(encoding), middle(decoding));
    }
}

fn resampling() {
    for (from, to) in
        [(8000, 16_000), (16_000, 8000), (8000, 48_000), (48_000, 8000), (16_000, 48_000), (48_000, 16_000)]
    {
        let mut resampler = Resampler::new(from, to).expect("these are its rates");
        let pcm = vec![1000; from as usize / 50];
        let mut out = [0; 1000];
        let ns = median(|| {
            let begin = Instant::now();
            for _ in 0..ROUNDS / 20 {
                black_box(resampler.process(&pcm, &mut out));
            }
            begin.elapsed() * 20
        });
        println!("resampling {from} to {to} Hz, 20 ms    {:8.2} us", ns / 1000.0);
    }
}

/// Packets to sound, with loss and without, and the search for keys in it.
fn playing_out(begin: Instant, codec: CodecRef) {
    let pcm = fuzz::speech(1, codec.sample_rate_hz(), 20_000);
    let mut payload = vec![0; pcm.len()];
    codec.encoder().encode(&pcm, &mut payload);
    let frames: Vec<&[u8]> = payload.chunks_exact(160).collect();
    let mut out = vec![0; codec.samples(TICK)];
    for (name, lost_in) in [("clean", u32::MAX), ("one packet in 20 lost", 20)] {
        let config = PlayoutConfig { codec, noise_seed: 1 };
        let mut calls: Vec<Playout> = (0..CALLS).map(|_| Playout::new(begin, config)).collect();
        let mut round = 0_u32;
        let ns = median(|| {
            let started = Instant::now();
            for _ in 0..ROUNDS / CALLS as u32 {
                round += 1;
                let now = begin + TICK * round;
                let media = Media {
                    kind: Kind::Audio,
                    codec,
                    payload: frames[round as usize % frames.len()],
                    marker: false,
                    timestamp: round * 160,
                    sequence: u64::from(round),
                    ssrc: 5,
                    for_us: false,
                    event_clock_hz: 8000,
                };
                for call in &mut calls {
                    if !round.is_multiple_of(lost_in) {
                        call.push(now, &media);
                    }
                    black_box(call.frame(now, &mut out));
                }
            }
            started.elapsed()
        });
        println!("playout push + frame, {name:21} {ns:8.1} ns, {CALLS} calls in turn");
    }
    for (name, pcm) in [("speech", &pcm), ("silence", &vec![0; pcm.len()])] {
        let mut detector = Detector::new(codec.sample_rate_hz());
        let mut frames = pcm.chunks_exact(codec.samples(TICK)).cycle();
        let ns = median(|| {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                detector.feed(frames.next().unwrap_or_default(), |event| {
                    black_box(event);
                });
            }
            started.elapsed()
        });
        println!("keys by tone in 20 ms of {name:14} {ns:8.1} ns");
    }
}

fn recording(mut tick: Instant, codec: CodecRef) {
    let mut recorder = Recorder::new(tick, Layout::Sides);
    let mut block = Vec::new();
    let mut timestamp = 0_u32;
    let ns = median(|| {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            tick += TICK;
            timestamp = timestamp.wrapping_add(160);
            recorder.push(tick, Side::Caller, codec, 1, timestamp, &[0xAA; 160]);
            recorder.push(tick, Side::Ark, codec, 2, timestamp, &[0xAA; 160]);
            block.clear();
            while recorder.poll(tick, &mut block).is_some() {}
        }
        begin.elapsed()
    });
    println!("recording, both sides of one tick       {ns:8.1} ns");
}
