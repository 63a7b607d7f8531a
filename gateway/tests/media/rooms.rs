//! Rooms: who hears whom, found by tone, over real sockets.

use ark::media::{Command, EngineConfig, MediaPort, RoomPart};
use ark_media::tone::level;

use super::peer::{Peer, Rig, codec, config, tone, until};
use super::{PCMA, PCMU, read_wav, temporary};

/// Tones of the three, by place.
const TONES: [f64; 3] = [500.0, 900.0, 1_400.0];
/// Rounds before one listens: a jitter buffer and a change of part need a moment.
const WARM_UP: usize = 30;
/// Rounds that are listened to: a second.
const ROUNDS: usize = 50;

/// All speak whenever they hear; what each hears of each, as a level (9,000 was said).
fn talk(peers: &mut [Peer]) -> Vec<[f64; 3]> {
    for peer in peers.iter() {
        peer.rtp.set_nonblocking(true).unwrap();
        while peer.rtp.recv(&mut [0; 1_500]).is_ok() {}
        peer.rtp.set_nonblocking(false).unwrap();
    }
    let tones: Vec<Vec<i16>> = TONES.iter().map(|hz| tone(*hz, WARM_UP + ROUNDS)).collect();
    let mut heard = vec![Vec::new(); peers.len()];
    for round in 0..WARM_UP + ROUNDS {
        for (peer, tone) in peers.iter_mut().zip(&tones) {
            peer.say(&tone[round * 160..(round + 1) * 160]);
        }
        for (peer, heard) in peers.iter().zip(&mut heard) {
            let packet = peer.hear();
            if round >= WARM_UP {
                heard.push(packet);
            }
        }
    }
    let levels = |(peer, heard): (&Peer, &Vec<_>)| {
        let pcm = peer.decode(heard);
        TONES.map(|hz| level(&pcm, 8_000, hz))
    };
    peers.iter().zip(&heard).map(levels).collect()
}

/// `1`: hears them; `0`: does not.
fn heard(levels: &[[f64; 3]]) -> Vec<String> {
    let digit = |level: &f64| {
        if *level > 4_000.0 {
            '1'
        } else if *level < 90.0 {
            '0'
        } else {
            '?'
        }
    };
    levels.iter().map(|levels| levels.iter().map(digit).collect()).collect()
}

#[test]
fn a_supervisor_listens_whispers_joins_in_and_goes() {
    let rig = Rig::new(EngineConfig { threads: 2, ..config(31_400, 6) }, 64);
    let (caller, a) = rig.call(codec(PCMA));
    let (agent, b) = rig.call(codec(PCMU));
    let (supervisor, c) = rig.call(codec(PCMA));
    let mut peers = [a, b, c];
    let tell = |leg: &ark::media::Leg, command| rig.handle.command(leg.id, command).unwrap();
    tell(&caller, Command::Bridge { other: agent.id });
    tell(&supervisor, Command::Join { with: caller.id, part: RoomPart::Listens });
    let bridges = || rig.handle.metrics().snapshot().bridges;
    until("the bridge is a room", || bridges() == 0 && rig.handle.metrics().legs_by_thread().contains(&3));
    assert_eq!(heard(&talk(&mut peers)), ["010", "100", "110"], "listens");

    tell(&supervisor, Command::Join { with: caller.id, part: RoomPart::Whispers { to: agent.id } });
    assert_eq!(heard(&talk(&mut peers)), ["010", "101", "110"], "whispers: the caller does not hear it");

    tell(&supervisor, Command::Join { with: caller.id, part: RoomPart::Speaks });
    assert_eq!(heard(&talk(&mut peers)), ["011", "101", "110"], "barges in");

    tell(&agent, Command::Mute { muted: true });
    assert_eq!(heard(&talk(&mut peers)), ["001", "101", "100"], "the agent is muted, and hears");
    tell(&agent, Command::Mute { muted: false });

    tell(&caller, Command::Join { with: caller.id, part: RoomPart::Held });
    let [caller_phone, rest @ ..] = &mut peers;
    // What is played to who is held is heard.
    rig.play(&caller, 5, vec![caller_phone.prompt(&tone(300.0, 200))], false);
    let mut music = Vec::new();
    until("the caller hears music alone", || {
        music.push(caller_phone.hear());
        let last = &music[music.len().saturating_sub(10)..];
        last.len() == 10 && level(&caller_phone.decode(last), 8_000, 300.0) > 4_000.0
    });
    assert_eq!(rest.len(), 2);
    rig.handle.command(caller.id, Command::StopPlay { id: 5 }).unwrap();
    tell(&caller, Command::Join { with: agent.id, part: RoomPart::Speaks });
    assert_eq!(heard(&talk(&mut peers)), ["011", "101", "110"], "and is back");

    tell(&supervisor, Command::Close);
    until("two who talk are a bridge again", || bridges() == 1);
    assert_eq!(heard(&talk(&mut peers[..2])), ["010", "100"]);
    tell(&caller, Command::Close);
    until("the agent is alone", || bridges() == 0 && rig.handle.metrics().snapshot().legs == 1);
}

#[test]
fn a_paused_recording_keeps_nothing_and_its_time_goes_on() {
    let mut rig = Rig::new(config(31_420, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMA));
    let path = temporary("paused.wav");
    rig.handle.command(leg.id, Command::RecordStart { path: path.clone(), limit: None, silence: None }).unwrap();
    // A second each: heard, paused, heard again.
    for (hz, paused) in [(500.0, false), (900.0, true), (1_400.0, false)] {
        rig.handle.command(leg.id, Command::RecordPause { paused }).unwrap();
        let pcm = tone(hz, 50);
        for frame in pcm.chunks(160) {
            peer.hear();
            peer.say(frame);
        }
        // The last packets are taken before the next command is.
        for _ in 0..5 {
            peer.hear();
            peer.lose(&[0; 160]);
        }
    }
    rig.handle.command(leg.id, Command::RecordStop).unwrap();
    rig.wait(|event| matches!(event, ark::media::Event::Recorded { .. }).then_some(()));
    let [caller, _] = read_wav(&path);
    let level_in = |from: usize, hz: f64| level(&caller[from..from + 4_000], 8_000, hz);
    assert!(caller.len() > 24_000, "{}", caller.len());
    assert!(level_in(3_000, 500.0) > 7_000.0);
    let paused = 8_800 + 2_000;
    assert!(caller[paused..paused + 4_000].iter().all(|sample| *sample == 0), "nothing of the pause is kept");
    assert!(level(&caller, 8_000, 900.0) < 60.0);
    assert!(level_in(17_600 + 3_000, 1_400.0) > 7_000.0);
}
