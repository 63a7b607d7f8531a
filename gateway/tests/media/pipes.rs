//! Legs whose packets another part of the process carries: browsers'.

use std::time::{Duration, Instant};

use ark::media::{Command, EngineConfig, Full, LegId, MediaPort, PIPE_REMOTE, Pipe, metrics::Drop};
use ark_media::sdp::Negotiated;

use super::peer::{Peer, Rig, codec, config, share_at, tone, until};
use super::{PCMA, closed};

/// A browser's leg that has begun.
fn browser(rig: &Rig, like: &Peer) -> (LegId, Pipe) {
    let (leg, pipe) = rig.handle.reserve_pipe().unwrap();
    let negotiated = Negotiated { remote: PIPE_REMOTE, remote_rtcp: PIPE_REMOTE, rtcp_mux: true, ..like.negotiated() };
    rig.handle.command(leg, Command::Start { negotiated, signalled_from: None, dtmf: Default::default() }).unwrap();
    (leg, pipe)
}

/// One packet of a browser's stream.
fn packet(sequence: u16, pcm: &[i16]) -> Vec<u8> {
    let mut payload = [0; 400];
    let bytes = codec(PCMA).encoder().encode(pcm, &mut payload);
    let mut packet = vec![0x80, PCMA];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.extend(&payload[..bytes]);
    packet
}

#[test]
fn a_browser_and_a_telephone_hear_each_other_over_two_threads() {
    let mut rig = Rig::new(EngineConfig { threads: 2, ..config(33_000, 2) }, 64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (phone_leg, mut phone) = rig.call(codec(PCMA));
    let (leg, pipe) = browser(&rig, &phone);
    rig.handle.command(phone_leg.id, Command::Bridge { other: leg }).unwrap();
    until("they are bridged", || rig.handle.metrics().snapshot().bridges == 1);
    phone.rtp.set_nonblocking(true).unwrap();
    while phone.rtp.recv(&mut [0; 1_500]).is_ok() {}
    phone.rtp.set_nonblocking(false).unwrap();
    let (hers, his) = (tone(700.0, 60), tone(1_100.0, 60));
    let (mut at_phone, mut at_browser) = (Vec::new(), Vec::new());
    for round in 0..60 {
        let frame = round * 160..(round + 1) * 160;
        assert!(pipe.push(Instant::now(), &packet(round as u16, &hers[frame.clone()])));
        at_phone.push(phone.hear());
        phone.say(&his[frame]);
        let said = runtime.block_on(pipe.next()).unwrap();
        at_browser.extend(ark_media::codec::decode_all(codec(PCMA), &said.bytes()[12..]));
    }
    assert!(share_at(&phone.decode(&at_phone), 700.0) > 0.95);
    // What the leg said before the bridge comes first.
    assert!(share_at(&at_browser[at_browser.len() / 2..], 1_100.0) > 0.9, "{}", share_at(&at_browser, 1_100.0));
    rig.handle.command(leg, Command::Close).unwrap();
    let quality = rig.wait(closed);
    assert_eq!((quality.packets_in, quality.lost), (60, 0));
    assert!(runtime.block_on(async {
        while pipe.next().await.is_some() {}
        pipe.is_closed()
    }));
}

#[test]
fn a_carrier_that_floods_or_never_reads_is_dropped_and_counted_and_nobody_else_hears_it() {
    let mut rig = Rig::new(config(33_010, 2), 64);
    let (other_leg, other) = rig.call(codec(PCMA));
    let (leg, pipe) = browser(&rig, &other);
    let began = Instant::now();
    let mut sent = 0_u16;
    // As many as it takes: what the queue has no room for is dropped at once, and this thread never waits.
    while pipe.dropped() < 10_000 {
        pipe.push(Instant::now(), &packet(sent, &[0; 160]));
        sent = sent.wrapping_add(1);
    }
    until("nobody reads what the leg says", || rig.handle.metrics().snapshot().drops[Drop::SendFailed as usize] > 0);
    let frames = (0..25).map(|_| other.hear()).collect::<Vec<_>>();
    assert!(frames.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)), "an even stream");
    assert!(began.elapsed() < Duration::from_secs(15));
    for leg in [leg, other_leg.id] {
        rig.handle.command(leg, Command::Close).unwrap();
        rig.wait(closed);
    }
    assert_eq!(rig.handle.metrics().snapshot().legs, 0);
}

#[test]
fn places_of_browsers_are_bounded_and_come_back() {
    let mut rig = Rig::new(config(33_020, 2), 64);
    let mut held = Vec::new();
    let full = loop {
        match rig.handle.reserve_pipe() {
            Ok((leg, pipe)) => held.push((leg, pipe)),
            Err(Full::Queue) => std::thread::yield_now(),
            Err(full) => break full,
        }
    };
    assert_eq!(full, Full::Pipes);
    let (leg, pipe) = held.pop().unwrap();
    rig.handle.command(leg, Command::Close).unwrap();
    rig.wait(closed);
    until("its place is free", || rig.handle.reserve_pipe().is_ok());
    assert!(pipe.is_closed());
}
