//! Rooms: who hears whom, found by tone, over real sockets.

use std::time::Duration;

use ark::media::{Command, EngineConfig, Event, MediaPort, RecordAs, RecordEnd, RecordFormat, RecordOf, RoomPart};
use ark_media::record::{Layout, Side, ogg};
use ark_media::tone::{Repeated, level};

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
    let heard = talk_for(peers, &TONES);
    heard.into_iter().map(|levels| [levels[0], levels[1], levels[2]]).collect()
}

/// The same for any frequencies.
fn talk_for(peers: &mut [Peer], wanted: &[f64]) -> Vec<Vec<f64>> {
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
        wanted.iter().map(|hz| level(&pcm, 8_000, *hz)).collect()
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
    rig.record(leg.id, &path);
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
    rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Call }).unwrap();
    rig.wait(|event| matches!(event, Event::Recorded { .. }).then_some(()));
    let [caller, _] = read_wav(&path);
    let level_in = |from: usize, hz: f64| level(&caller[from..from + 4_000], 8_000, hz);
    assert!(caller.len() > 24_000, "{}", caller.len());
    assert!(level_in(3_000, 500.0) > 7_000.0);
    let paused = 8_800 + 2_000;
    assert!(caller[paused..paused + 4_000].iter().all(|sample| *sample == 0), "nothing of the pause is kept");
    assert!(level(&caller, 8_000, 900.0) < 60.0);
    assert!(level_in(17_600 + 3_000, 1_400.0) > 7_000.0);
}

#[test]
fn a_message_is_recorded_beside_the_call_whose_recording_goes_on() {
    let mut rig = Rig::new(config(31_540, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMA));
    let start = |of, path: &std::path::Path, limit| {
        let path = path.to_owned();
        let command = Command::RecordStart { of, path, how: RecordAs::default(), limit, silence: None };
        rig.handle.command(leg.id, command).unwrap();
    };
    let (call, message) = (temporary("call.wav"), temporary("message.wav"));
    start(RecordOf::Call, &call, None);
    start(RecordOf::Message, &message, Some(Duration::from_secs(1)));
    until("both run", || rig.handle.metrics().snapshot().recordings == 2);
    for frame in tone(500.0, 100).chunks(160) {
        peer.hear();
        peer.say(frame);
    }
    let recorded = |rig: &mut Rig| {
        rig.wait(|event| match event {
            Event::Recorded { path, cause, .. } => Some((path.clone(), *cause)),
            _ => None,
        })
    };
    assert_eq!(recorded(&mut rig), (message.clone(), RecordEnd::Limit));
    // Whoever ends the message ends nothing else.
    rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Message }).unwrap();
    rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Call }).unwrap();
    assert_eq!(recorded(&mut rig), (call.clone(), RecordEnd::Stopped));
    let ([short, _], [long, _]) = (read_wav(&message), read_wav(&call));
    assert!(short.len() == 8_000 && long.len() >= 14_400, "{} {}", short.len(), long.len());
    for kept in [&short[2_000..6_000], &long[2_000..6_000], &long[9_000..13_000]] {
        assert!(level(kept, 8_000, 500.0) > 7_000.0);
    }
    assert_eq!(rig.handle.metrics().snapshot().recordings, 0);
}

/// The channels of a recording of four.
fn read_legs(path: &std::path::Path) -> [Vec<i16>; 4] {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!((&bytes[..4], bytes[22], bytes[32]), (&b"RIFF"[..], 4, 8));
    let samples: Vec<i16> = bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    [0, 1, 2, 3].map(|channel| samples.iter().skip(channel).step_by(4).copied().collect())
}

#[test]
fn each_leg_of_a_talk_is_in_its_own_channel_whoever_hears_it_and_a_pause_is_silent_in_all() {
    let mut rig = Rig::new(config(31_480, 4), 64);
    let (caller, a) = rig.call(codec(PCMA));
    let (agent, b) = rig.call(codec(PCMU));
    let (supervisor, c) = rig.call(codec(PCMA));
    let mut peers = [a, b, c];
    let handle = rig.handle.clone();
    let tell = |leg: &ark::media::Leg, command| handle.command(leg.id, command).unwrap();
    let start = |path: &std::path::Path, format| {
        let how = RecordAs { format, layout: Layout::Legs, tone: None };
        tell(
            &caller,
            Command::RecordStart { of: RecordOf::Call, path: path.to_owned(), how, limit: None, silence: None },
        );
    };
    let (wav, opus) = (temporary("legs.wav"), temporary("legs.opus"));
    start(&wav, RecordFormat::Wav);
    tell(&agent, Command::RecordInto { of: caller.id, side: Side::Agent });
    tell(&supervisor, Command::RecordInto { of: caller.id, side: Side::Supervisor(0) });
    tell(&caller, Command::Bridge { other: agent.id });
    until("they are bridged", || handle.metrics().snapshot().bridges == 1);
    assert_eq!(heard(&talk(&mut peers[..2])), ["010", "100"]);
    // A bridge is as quick as its phones: a second and more goes by until the supervisor comes.
    while peers[2].rtp.set_nonblocking(true).is_ok() && peers[2].rtp.recv(&mut [0; 1_500]).is_ok() {}
    peers[2].rtp.set_nonblocking(false).unwrap();
    for _ in 0..60 {
        peers[2].hear();
    }
    // The caller does not hear the whisper, and the recording has it.
    tell(&supervisor, Command::Join { with: caller.id, part: RoomPart::Whispers { to: agent.id } });
    until("the bridge is a room", || handle.metrics().legs_by_thread().contains(&3));
    assert_eq!(heard(&talk(&mut peers)), ["010", "101", "110"]);
    tell(&caller, Command::RecordPause { paused: true });
    talk(&mut peers);
    tell(&caller, Command::RecordPause { paused: false });
    talk(&mut peers);
    // Another recording begins, as Opus; the first one ends.
    start(&opus, RecordFormat::Opus);
    let recorded = |rig: &mut Rig| {
        rig.wait(|event| match event {
            Event::Recorded { duration, bytes, .. } => Some((*duration, *bytes)),
            _ => None,
        })
    };
    recorded(&mut rig);
    let channels = read_legs(&wav);
    let second = |channel: usize, at: usize| &channels[channel][at * 8_000..(at + 1) * 8_000];
    let level_at = |channel: usize, at: usize, hz: f64| level(second(channel, at), 8_000, hz);
    let seconds = channels[0].len() / 8_000;
    assert!(seconds >= 4, "{seconds} s");
    // Each tone is in its own channel alone, for most of the time that its owner spoke.
    for (channel, hz) in [(0, TONES[0]), (2, TONES[1]), (3, TONES[2])] {
        let there = (0..seconds).filter(|at| level_at(channel, *at, hz) > 5_000.0).count();
        assert!(there >= 2, "{hz} Hz is in channel {channel} for {there} s");
        for other in (0..4).filter(|other| *other != channel) {
            assert!((0..seconds).all(|at| level_at(other, at, hz) < 90.0), "{hz} Hz in channel {other}");
        }
    }
    assert!(second(3, 0).iter().all(|sample| *sample == 0), "the supervisor was not there yet");
    // It took more than a second and a half, and began anywhere.
    let half = |channel: usize, at: usize| &channels[channel][at * 4_000..(at + 1) * 4_000];
    let silent = |at: usize| (0..4).all(|channel| half(channel, at).iter().all(|sample| sample.abs() < 10));
    assert!((2..2 * seconds).any(silent), "the pause is silent");

    talk(&mut peers);
    handle.command(caller.id, Command::RecordStop { of: RecordOf::Call }).unwrap();
    let (duration, bytes) = recorded(&mut rig);
    let file = std::fs::read(&opus).unwrap();
    let end = ogg::end(&file).expect("an Ogg file");
    assert_eq!((end.mend, end.duration, file.len() as u64), (None, duration, bytes));
    assert_eq!((&file[28..36], file[37]), (&b"OpusHead"[..], 4));
    assert!(duration.as_millis() > 1_400 && bytes < 4 * 2_500 * 3, "{duration:?} {bytes}");
    assert_eq!(handle.metrics().snapshot().recordings_failed, 0);
}

#[test]
fn all_who_talk_hear_that_they_are_recorded_and_not_while_it_is_paused() {
    let tone =
        Repeated { hz: 1_900, amplitude: 6_000, length: Duration::from_millis(400), every: Duration::from_secs(1) };
    let how = RecordAs { tone: Some(tone), ..RecordAs::default() };
    for codecs in [[PCMA, PCMA, PCMU], [PCMA, PCMU, PCMA]] {
        let rig = Rig::new(config(31_500, 4), 64);
        let legs = codecs.map(|number| rig.call(codec(number)));
        let [(caller, a), (agent, b), (supervisor, c)] = legs;
        let mut peers = [a, b, c];
        let tell = |leg: &ark::media::Leg, command| rig.handle.command(leg.id, command).unwrap();
        // The level of the tone, of a voice, and of nothing: 40 % of it is a tone.
        let told = |peers: &mut [Peer]| -> Vec<bool> {
            let heard = talk_for(peers, &[1_900.0]);
            let told: Vec<f64> = heard.iter().map(|levels| levels[0]).collect();
            told.iter()
                .map(|level| {
                    assert!(*level < 200.0 || (1_500.0..4_000.0).contains(level), "{told:?}");
                    *level > 1_000.0
                })
                .collect()
        };
        tell(&caller, Command::Bridge { other: agent.id });
        until("they are bridged", || rig.handle.metrics().snapshot().bridges == 1);
        assert_eq!(told(&mut peers[..2]), [false, false], "nobody is recorded");
        let path = temporary("told.wav");
        tell(&caller, Command::RecordStart { of: RecordOf::Call, path, how, limit: None, silence: None });
        assert_eq!(told(&mut peers[..2]), [true, true], "{codecs:?}");
        assert_eq!(heard(&talk(&mut peers[..2])), ["010", "100"], "the voices are heard with it");
        tell(&caller, Command::RecordPause { paused: true });
        assert_eq!(told(&mut peers[..2]), [false, false], "paused");
        tell(&caller, Command::RecordPause { paused: false });
        tell(&supervisor, Command::Join { with: caller.id, part: RoomPart::Listens });
        until("the bridge is a room", || rig.handle.metrics().legs_by_thread().contains(&3));
        assert_eq!(told(&mut peers), [true, true, true], "in a room");
        tell(&caller, Command::RecordPause { paused: true });
        assert_eq!(told(&mut peers), [false, false, false], "paused in a room");
        tell(&caller, Command::RecordPause { paused: false });
        tell(&caller, Command::RecordStop { of: RecordOf::Call });
        assert_eq!(told(&mut peers), [false, false, false], "nobody is recorded any more");
        assert_eq!(heard(&talk(&mut peers)), ["010", "100", "110"]);
    }
}

#[test]
fn who_hears_a_prompt_while_recorded_hears_the_tone_over_it_and_over_silence() {
    let tone_of_it =
        Repeated { hz: 1_900, amplitude: 6_000, length: Duration::from_millis(400), every: Duration::from_secs(1) };
    let how = RecordAs { tone: Some(tone_of_it), ..RecordAs::default() };
    let rig = Rig::new(config(31_680, 2), 64);
    let (leg, peer) = rig.call(codec(PCMA));
    let tell = |command| rig.handle.command(leg.id, command).unwrap();
    // The level of the prompt and of the tone in a second; what was said before is passed over.
    let listen = || {
        for _ in 0..15 {
            peer.hear();
        }
        let heard: Vec<_> = (0..50).map(|_| peer.hear()).collect();
        let pcm = peer.decode(&heard);
        [500.0, 1_900.0].map(|hz| level(&pcm, 8_000, hz))
    };
    let is_told = |[_, told]: [f64; 2]| (1_500.0..4_000.0).contains(&told);
    let path = temporary("over.wav");
    tell(Command::RecordStart { of: RecordOf::Call, path, how, limit: None, silence: None });
    let silence = listen();
    assert!(silence[0] < 60.0 && is_told(silence), "{silence:?}");
    rig.play(&leg, 1, vec![peer.prompt(&tone(500.0, 1_000))], false);
    let prompt = listen();
    assert!(prompt[0] > 7_000.0 && is_told(prompt), "{prompt:?}");
    tell(Command::RecordPause { paused: true });
    let paused = listen();
    assert!(paused[0] > 7_000.0 && paused[1] < 60.0, "{paused:?}");
    tell(Command::RecordPause { paused: false });
    assert!(is_told(listen()));
    tell(Command::RecordStop { of: RecordOf::Call });
    let over = listen();
    assert!(over[0] > 7_000.0 && over[1] < 60.0, "{over:?}");
}
