//! Packet times from 10 to 60 ms: what a phone asks for is what it is sent, from prompts, over bridges and in rooms.

use std::time::{Duration, Instant};

use ark::media::{Command, Leg, MediaPort, RoomPart};
use ark_media::codec::{self, CodecRef};
use ark_media::sdp::Negotiated;
use ark_media::tone::level;

use super::peer::{Peer, Rig, codec, config, tone_at, until};
use super::{PCMA, PCMU};

/// A call whose phone wants packets of so many milliseconds.
fn call(rig: &Rig, codec: CodecRef, ptime_ms: u64) -> (Leg, Peer) {
    let leg = rig.handle.reserve().unwrap();
    let peer = Peer::new(&leg, codec);
    let negotiated = Negotiated { ptime: Duration::from_millis(ptime_ms), ..peer.negotiated() };
    let start = Command::Start { negotiated, signalled_from: None, dtmf: Default::default() };
    rig.handle.command(leg.id, start).unwrap();
    peer.hear();
    (leg, peer)
}

/// The next packets of so many milliseconds, each of the phone's packet time; what is heard in them.
fn hear(peer: &Peer, ptime_ms: u64, ms: u64) -> Vec<i16> {
    let bytes = peer.codec.silence(Duration::from_millis(ptime_ms), &mut [0; 800]);
    let heard: Vec<_> = (0..ms / ptime_ms).map(|_| peer.hear()).collect();
    for pair in heard.windows(2) {
        assert_eq!(pair[0].payload.len(), bytes, "{ptime_ms} ms");
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let step = peer.codec.clock_units(Duration::from_millis(ptime_ms));
        assert!(pair[1].marker || pair[1].timestamp.wrapping_sub(pair[0].timestamp) == step);
    }
    peer.decode(&heard)
}

#[test]
fn a_prompt_comes_in_packets_of_the_time_that_was_agreed_and_no_faster() {
    let rig = Rig::new(config(31_520, 6), 64);
    for ptime_ms in [10, 20, 30, 50, 60] {
        let (leg, peer) = call(&rig, codec(PCMA), ptime_ms);
        rig.play(&leg, 1, vec![peer.prompt(&tone_at(8_000, 700.0, 80))], false);
        let began = Instant::now();
        let pcm = hear(&peer, ptime_ms, 1_200);
        let took = began.elapsed().as_millis();
        assert!((1_000..4_000).contains(&took), "1200 ms of audio in {took} ms");
        let level = level(&pcm[3_200..], 8_000, 700.0);
        assert!(level > 8_000.0, "{ptime_ms} ms: {level}");
        // Another packet time is agreed on in the middle.
        let again = Negotiated { ptime: Duration::from_millis(70 - ptime_ms), ..peer.negotiated() };
        rig.handle.command(leg.id, Command::Update { negotiated: again }).unwrap();
        let bytes = peer.codec.silence(Duration::from_millis(70 - ptime_ms), &mut [0; 800]);
        until("the new packet time", || peer.hear().payload.len() == bytes);
        hear(&peer, 70 - ptime_ms, 300);
        rig.handle.command(leg.id, Command::Close).unwrap();
    }
}

#[test]
fn both_sides_of_a_bridge_and_a_room_have_their_own_packet_time() {
    let mut pairs = vec![(codec(PCMA), codec(PCMA)), (codec(PCMA), codec(PCMU)), (codec(9), codec(9))];
    if let Some(g729) = codec::by_name("G729", 8_000) {
        pairs.extend([(g729, g729), (g729, codec(PCMU))]);
    }
    let rig = Rig::new(config(31_540, 60), 64);
    for (pair, (left, right)) in pairs.into_iter().enumerate() {
        for (a_ms, b_ms) in [(10, 60), (20, 30), (50, 20), (40, 20)] {
            if pair > 0 && a_ms != 10 && a_ms != 20 {
                continue;
            }
            let (a_leg, mut a) = call(&rig, left, a_ms);
            let (b_leg, mut b) = call(&rig, right, b_ms);
            let bridges = rig.handle.metrics().snapshot().bridges;
            rig.handle.command(a_leg.id, Command::Bridge { other: b_leg.id }).unwrap();
            until("they are bridged", || rig.handle.metrics().snapshot().bridges == bridges + 1);
            let heard = talk([(&mut a, a_ms), (&mut b, b_ms)]);
            assert!(heard.iter().all(|level| *level > 5_000.0), "{} {}: {heard:?}", left.name(), right.name());
            // A third who listens makes a room of it.
            let (listener_leg, listener) = call(&rig, codec(PCMA), 30);
            let listens = Command::Join { with: a_leg.id, part: RoomPart::Listens };
            rig.handle.command(listener_leg.id, listens).unwrap();
            until("the bridge is a room", || rig.handle.metrics().snapshot().bridges == bridges);
            hear(&listener, 30, 300);
            rig.handle.command(listener_leg.id, Command::Close).unwrap();
            for leg in [a_leg, b_leg] {
                rig.handle.command(leg.id, Command::Close).unwrap();
            }
        }
    }
}

/// Both say a second and a half of their tones, in their own packets; the level of the other's in what each hears, all of
/// it in packets of its own packet time.
fn talk(sides: [(&mut Peer, u64); 2]) -> [f64; 2] {
    let [(a, a_ms), (b, b_ms)] = sides;
    for peer in [&mut *a, &mut *b] {
        peer.rtp.set_nonblocking(true).unwrap();
        while peer.rtp.recv(&mut [0; 1_500]).is_ok() {}
        peer.rtp.set_nonblocking(false).unwrap();
    }
    let say = |peer: &mut Peer, hz: f64, ms: u64, at: usize| {
        let rate = peer.codec.sample_rate_hz();
        let pcm = tone_at(rate, hz, 75);
        let frame = peer.codec.samples(Duration::from_millis(ms));
        if let Some(frame) = pcm.get(at * frame..(at + 1) * frame) {
            peer.say(frame);
        }
    };
    let (mut a_heard, mut b_heard) = (Vec::new(), Vec::new());
    // In step: so that every packet is whole, and silence fills in nowhere.
    let together = (1..).map(|n| n * a_ms).find(|ms| ms.is_multiple_of(b_ms)).unwrap();
    for step in 0..1_500 / together {
        let (a_count, b_count) = (together / a_ms, together / b_ms);
        (step * a_count..(step + 1) * a_count).for_each(|at| say(a, 600.0, a_ms, at as usize));
        (step * b_count..(step + 1) * b_count).for_each(|at| say(b, 1_100.0, b_ms, at as usize));
        a_heard.extend((0..a_count).map(|_| a.hear()));
        b_heard.extend((0..b_count).map(|_| b.hear()));
    }
    let levels = [(&*a, a_ms, &a_heard, 1_100.0), (&*b, b_ms, &b_heard, 600.0)];
    levels.map(|(peer, ms, heard, hz)| {
        let bytes = peer.codec.silence(Duration::from_millis(ms), &mut [0; 800]);
        let whole = heard.iter().filter(|packet| packet.payload.len() == bytes).count();
        assert!(whole + 2 >= heard.len(), "{whole} of {} packets have {bytes} bytes", heard.len());
        let pcm = peer.decode(heard);
        let rate = peer.codec.sample_rate_hz();
        level(&pcm[pcm.len() / 4..pcm.len() * 3 / 4], rate, hz)
    })
}
