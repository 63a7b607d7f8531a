//! The engine over real sockets on loopback. Tests wait for packets and events; none of them sleeps.

#![allow(clippy::unwrap_used)]

mod peer;
mod pipes;
mod ptimes;
mod rooms;

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ark::media::{
    Command, EngineConfig, Event, Full, LegId, MediaPort, PlayEnd, RecordAs, RecordEnd, RecordOf, metrics::Drop,
};
use ark_media::{dtmf::Digit, quality::Quality, sdp::Direction};
use peer::{Heard, Rig, codec, config, share_at, tone, tone_at, until};

const PCMU: u8 = 0;
const PCMA: u8 = 8;

fn digit(key: char) -> Digit {
    Digit::from_char(key).unwrap()
}

fn play_end(event: &Event) -> Option<(u64, Duration, PlayEnd)> {
    match event {
        Event::PlayFinished { id, heard, cause, .. } => Some((*id, *heard, *cause)),
        _ => None,
    }
}

fn closed(event: &Event) -> Option<Quality> {
    match event {
        Event::Closed { quality, .. } => Some(*quality),
        _ => None,
    }
}

/// Packets until `enough`, in order and without a gap in sequence or time.
fn listen(peer: &peer::Peer, mut enough: impl FnMut(&[Heard]) -> bool) -> Vec<Heard> {
    let mut heard: Vec<Heard> = Vec::new();
    while !enough(&heard) {
        heard.push(peer.hear());
    }
    heard
}

fn loud(peer: &peer::Peer, packet: &Heard) -> bool {
    peer.decode(std::slice::from_ref(packet)).iter().any(|sample| sample.abs() > 500)
}

#[test]
fn a_prompt_is_heard_whole_at_its_frequency_and_evenly_numbered() {
    for (payload_type, port) in [(PCMU, 31_000), (PCMA, 31_010)] {
        let mut rig = Rig::new(config(port, 2), 64);
        let (leg, peer) = rig.call(codec(payload_type));
        let items = vec![peer.prompt(&tone(440.0, 15)), peer.prompt(&tone(440.0, 15))];
        rig.play(&leg, 7, items, true);
        let heard = listen(&peer, |heard| heard.iter().filter(|packet| loud(&peer, packet)).count() == 30);
        assert_eq!(rig.wait(play_end), (7, Duration::from_millis(600), PlayEnd::End));
        let first = heard.iter().position(|packet| loud(&peer, packet)).unwrap();
        let prompt = &heard[first..];
        assert_eq!(prompt.len(), 30, "no gap, not at the seam either");
        assert!(prompt.iter().all(|packet| packet.payload_type == payload_type && packet.payload.len() == 160));
        assert!(prompt[0].marker || first == 0);
        for pair in heard.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) % 160, 0);
        }
        assert!(share_at(&peer.decode(prompt), 440.0) > 0.95);
    }
}

#[test]
fn a_key_stops_the_prompt_that_lets_itself_be_stopped_and_counts_once_over_both_roads() {
    let mut rig = Rig::new(config(31_020, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMU));
    rig.play(&leg, 1, vec![peer.prompt(&tone(440.0, 500))], true);
    listen(&peer, |heard| heard.iter().filter(|packet| loud(&peer, packet)).count() == 10);
    let pressed = Instant::now();
    peer.press(5);
    let heard_digit = rig.wait(|event| match event {
        Event::Digit { leg, digit, at, .. } => Some((*leg, *digit, *at)),
        _ => None,
    });
    assert_eq!((heard_digit.0, heard_digit.1), (leg.id, digit('5')));
    assert!(heard_digit.2 >= pressed);
    let (id, heard, cause) = rig.wait(play_end);
    assert_eq!((id, cause), (1, PlayEnd::Barge(digit('5'))));
    assert!(heard >= Duration::from_millis(200) && heard < Duration::from_secs(5), "{heard:?}");
    listen(&peer, |heard| heard.last().is_some_and(|packet| !loud(&peer, packet)));

    // The phone sends the same key by INFO as well; then another one by INFO alone.
    rig.handle.command(leg.id, Command::InfoDigit { digit: digit('5') }).unwrap();
    rig.handle.command(leg.id, Command::InfoDigit { digit: digit('#') }).unwrap();
    let next = rig.wait(|event| match event {
        Event::Digit { digit, .. } => Some(*digit),
        _ => None,
    });
    assert_eq!(next, digit('#'));

    // A prompt that must be heard out goes on over a key.
    rig.play(&leg, 2, vec![peer.prompt(&tone(440.0, 20))], false);
    listen(&peer, |heard| heard.last().is_some_and(|packet| loud(&peer, packet)));
    peer.press(6);
    assert_eq!(rig.wait(play_end), (2, Duration::from_millis(400), PlayEnd::End));
}

#[test]
fn plays_that_are_replaced_stopped_empty_or_of_another_codec_each_end_once() {
    let mut rig = Rig::new(config(31_030, 2), 64);
    let (leg, peer) = rig.call(codec(PCMU));
    let long = peer.prompt(&tone(440.0, 500));
    rig.play(&leg, 1, vec![long.clone()], true);
    rig.play(&leg, 2, vec![long.clone()], true);
    rig.handle.command(leg.id, Command::StopPlay { id: 1 }).unwrap();
    rig.handle.command(leg.id, Command::StopPlay { id: 2 }).unwrap();
    rig.play(&leg, 3, vec![], true);
    let foreign = ark_media::prompt::EncodedPrompt::encode(&tone(440.0, 5), codec(PCMA), Duration::from_millis(20));
    rig.play(&leg, 4, vec![foreign], true);
    rig.play(&leg, 5, vec![long], true);
    rig.handle.command(leg.id, Command::Close).unwrap();
    let ends: Vec<_> = (0..5).map(|_| rig.wait(play_end)).map(|(id, _, cause)| (id, cause)).collect();
    assert_eq!(
        ends,
        [(1, PlayEnd::Stopped), (2, PlayEnd::Stopped), (3, PlayEnd::End), (4, PlayEnd::Refused), (5, PlayEnd::Closed)]
    );
    rig.wait(closed);
}

/// Both phones speak whenever they hear, as fast as the bridge is; returns what each heard.
fn talk(a: &mut peer::Peer, b: &mut peer::Peer, rounds: usize) -> [Vec<i16>; 2] {
    let (rate_a, rate_b) = (a.codec.sample_rate_hz(), b.codec.sample_rate_hz());
    let (tone_a, tone_b) = (tone_at(rate_a, 500.0, rounds), tone_at(rate_b, 900.0, rounds));
    let (mut heard_a, mut heard_b) = (Vec::new(), Vec::new());
    for (frame_a, frame_b) in tone_a.chunks(rate_a as usize / 50).zip(tone_b.chunks(rate_b as usize / 50)) {
        a.say(frame_a);
        heard_b.push(b.hear());
        b.say(frame_b);
        heard_a.push(a.hear());
    }
    [a.decode(&heard_a), b.decode(&heard_b)]
}

/// Whether the second half of it is one tone at its level, at the rate of the phone that heard it.
fn is_tone(peer: &peer::Peer, pcm: &[i16], hz: f64) {
    let rate = peer.codec.sample_rate_hz();
    let settled = &pcm[pcm.len() / 2..];
    let found = ark_media::tone::dominant(settled, rate);
    let right = found.is_some_and(|(found, level)| (found - hz).abs() < 3.0 && (4_500.0..13_000.0).contains(&level));
    assert!(right, "{} hears {found:?} instead of {hz} Hz", peer.codec.name());
}

#[test]
fn phones_of_any_two_codecs_hear_each_other_through_a_bridge() {
    let named = |name: &str| ark_media::codec::ALL.iter().copied().find(|c| c.name() == name).unwrap();
    let pairs = [("PCMA", "G722"), ("PCMU", "opus"), ("G722", "opus"), ("G729", "G722"), ("opus", "G729")];
    for (at, pair) in pairs.into_iter().enumerate() {
        let rig = Rig::new(config(31_400 + 10 * at as u16, 4), 64);
        let (leg_a, mut a) = rig.call(named(pair.0));
        let (leg_b, mut b) = rig.call(named(pair.1));
        rig.handle.command(leg_a.id, Command::Bridge { other: leg_b.id }).unwrap();
        until("they are bridged", || rig.handle.metrics().snapshot().bridges == 1);
        for peer in [&a, &b] {
            peer.rtp.set_nonblocking(true).unwrap();
            while peer.rtp.recv(&mut [0; 1_500]).is_ok() {}
            peer.rtp.set_nonblocking(false).unwrap();
        }
        let [at_a, at_b] = talk(&mut a, &mut b, 60);
        is_tone(&a, &at_a, 900.0);
        is_tone(&b, &at_b, 500.0);
    }
}

#[test]
fn a_bridge_passes_both_voices_between_threads_and_codecs_and_ends_for_both() {
    for (types, port) in [([PCMU, PCMU], 31_040), ([PCMA, PCMU], 31_060)] {
        let mut rig = Rig::new(EngineConfig { threads: 2, ..config(port, 4) }, 64);
        let (leg_a, mut a) = rig.call(codec(types[0]));
        let (leg_b, mut b) = rig.call(codec(types[1]));
        until("two legs on two threads", || rig.handle.metrics().legs_by_thread() == [1, 1]);
        // The prompt of the one who waits stops when somebody comes.
        rig.play(&leg_a, 9, vec![a.prompt(&tone(300.0, 500))], false);
        rig.handle.command(leg_a.id, Command::Bridge { other: leg_b.id }).unwrap();
        // Said at once to the leg that is on its way to the other thread.
        rig.handle.command(leg_b.id, Command::InfoDigit { digit: digit('1') }).unwrap();
        assert_eq!(
            (
                rig.wait(play_end).0,
                rig.wait(|event| match event {
                    Event::Digit { leg, .. } => Some(*leg),
                    _ => None,
                })
            ),
            (9, leg_b.id)
        );
        assert_eq!(rig.handle.metrics().legs_by_thread().iter().max(), Some(&2));
        // What was sent before the bridge is still in the phones' sockets.
        for peer in [&a, &b] {
            peer.rtp.set_nonblocking(true).unwrap();
            while peer.rtp.recv(&mut [0; 1_500]).is_ok() {}
            peer.rtp.set_nonblocking(false).unwrap();
        }
        let [at_a, at_b] = talk(&mut a, &mut b, 60);
        assert!(share_at(&at_b, 500.0) > 0.95, "{types:?}: {}", share_at(&at_b, 500.0));
        assert!(share_at(&at_a, 900.0) > 0.95, "{types:?}: {}", share_at(&at_a, 900.0));

        // Closing one side leaves the other up, with silence of its own again.
        rig.handle.command(leg_a.id, Command::Close).unwrap();
        rig.wait(closed);
        // The last of the voice may have been sent before the other side was closed.
        until("the one who is left hears silence", || !loud(&b, &b.hear()));
        let snapshot = rig.handle.metrics().snapshot();
        assert_eq!((snapshot.legs, snapshot.bridges, snapshot.moves), (1, 0, 1));
    }
}

#[test]
fn what_a_phone_loses_is_mended_where_its_codec_is_changed_and_every_tick_has_its_packet() {
    let rig = Rig::new(config(31_590, 4), 64);
    let (leg_a, mut a) = rig.call(codec(PCMA));
    let (leg_b, b) = rig.call(codec(PCMU));
    rig.handle.command(leg_a.id, Command::Bridge { other: leg_b.id }).unwrap();
    until("they are bridged", || rig.handle.metrics().snapshot().bridges == 1);
    let voice = tone(500.0, 150);
    let mut heard = Vec::new();
    for (n, frame) in voice.chunks(160).enumerate() {
        // It speaks whenever the other hears, and loses one of twelve.
        if n % 12 == 7 {
            a.lose(frame);
        } else {
            a.say(frame);
        }
        heard.push(b.hear());
    }
    let settled = &heard[75..];
    for pair in settled.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "no number is missing");
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) % 160, 0);
        assert_eq!(pair[1].payload.len(), 160);
    }
    let pcm = b.decode(settled);
    assert!(share_at(&pcm, 500.0) > 0.85, "{}", share_at(&pcm, 500.0));
    let quiet = pcm.chunks(160).filter(|frame| ark_media::tone::rms(frame) < 2_000.0).count();
    assert!(quiet <= 2, "{quiet} of {} frames are holes", settled.len());
}

#[test]
fn packets_from_elsewhere_and_garbage_are_counted_and_change_nothing() {
    let mut rig = Rig::new(config(31_080, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMU));
    let mut stranger = peer::Peer::new(&leg, codec(PCMU));
    stranger.press(9);
    let garbage = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..40 {
        garbage.send_to(&vec![length as u8; length], leg.rtp).unwrap();
    }
    until("the stranger's packets are counted", || {
        rig.handle.metrics().snapshot().drops[Drop::WrongSource as usize] >= 8
    });
    peer.press(1);
    let first = rig.wait(|event| match event {
        Event::Digit { digit, .. } => Some(*digit),
        _ => None,
    });
    assert_eq!(first, digit('1'), "the stranger's 9 was not heard");
    rig.handle.command(leg.id, Command::Close).unwrap();
    let quality = rig.wait(closed);
    assert!(quality.wrong_source >= 8 && quality.garbage > 0 && quality.packets_in == 8, "{quality:?}");
}

fn temporary(name: &str) -> std::path::PathBuf {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("media-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// Left and right samples of a WAV file as the engine writes it; its header must be true.
fn read_wav(path: &std::path::Path) -> [Vec<i16>; 2] {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((&bytes[..4], &bytes[8..16], &bytes[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    assert_eq!((number(4) as usize + 8, number(40) as usize + 44), (bytes.len(), bytes.len()));
    assert_eq!((number(24), bytes[22], bytes[34]), (8_000, 2, 16));
    let samples: Vec<i16> = bytes[44..].chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

#[test]
fn a_recording_holds_the_caller_left_and_ark_right() {
    let path = temporary("both.wav");
    let mut rig = Rig::new(config(31_090, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMA));
    rig.record(leg.id, &path);
    rig.play(&leg, 1, vec![peer.prompt(&tone(440.0, 75))], false);
    let voice = tone(700.0, 75);
    for frame in voice.chunks(160) {
        peer.hear();
        peer.say(frame);
    }
    // A recording waits 60 ms for late packets; then it has all of it.
    for _ in 0..8 {
        peer.hear();
    }
    rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Call }).unwrap();
    let (duration, bytes, cause) = rig.wait(|event| match event {
        Event::Recorded { duration, bytes, cause, path: recorded, .. } if *recorded == path => {
            Some((*duration, *bytes, *cause))
        }
        _ => None,
    });
    assert_eq!((cause, bytes), (RecordEnd::Stopped, std::fs::metadata(&path).unwrap().len()));
    assert!(duration >= Duration::from_millis(1_500) && duration < Duration::from_millis(2_500), "{duration:?}");
    let [left, right] = read_wav(&path);
    assert_eq!(left.len() as u128 / 8, duration.as_millis());
    for (side, hz, other) in [(&left, 700.0, 440.0), (&right, 440.0, 700.0)] {
        let loud: Vec<i16> =
            side.chunks(160).filter(|frame| frame.iter().any(|s| s.abs() > 500)).flatten().copied().collect();
        assert!(loud.len() >= 70 * 160, "{hz} Hz: {} frames", loud.len() / 160);
        let middle = &loud[1_600..6_400];
        assert!(share_at(middle, hz) > 0.9 && share_at(middle, other) < 0.05, "{hz} Hz: {}", share_at(middle, hz));
    }
}

/// Where sound begins after at least 100 ms of silence, in samples.
fn onsets(pcm: &[i16]) -> Vec<usize> {
    let (mut found, mut quiet) = (Vec::new(), 0);
    for (at, sample) in pcm.iter().enumerate() {
        if sample.abs() < 500 {
            quiet += 1;
            continue;
        }
        if quiet > 800 {
            found.push(at);
        }
        quiet = 0;
    }
    found
}

/// A phone that echoes in another tone, and what came of either side, in Ark's media time: what a recording has to say.
#[derive(Default)]
struct Echo {
    told: Vec<i16>,
    came: Vec<i16>,
    next: Option<u32>,
    /// When its clock began, and at which of Ark's timestamps.
    began: Option<(Instant, u32)>,
    /// The most that an answer came after its time.
    late: Duration,
}

impl Echo {
    /// Answers the next packet; `lost`: the answer does not come.
    fn turn(&mut self, peer: &mut peer::Peer, lost: bool) {
        let (voice, silence) = (tone(700.0, 1), vec![0; 160]);
        let heard = peer.hear();
        // Frames that a busy machine gave Ark no time to say: the clock of a phone runs on meanwhile.
        let skipped = heard.timestamp.wrapping_sub(self.next.unwrap_or(heard.timestamp)) / 160;
        self.next = Some(heard.timestamp.wrapping_add(160));
        let (began, first) = *self.began.get_or_insert((Instant::now(), heard.timestamp));
        let due = began + Duration::from_micros(u64::from(heard.timestamp.wrapping_sub(first)) * 125);
        self.late = self.late.max(Instant::now().saturating_duration_since(due));
        for _ in 0..skipped {
            peer.lose(&silence);
            self.told.extend(&silence);
            self.came.extend(&silence);
        }
        self.told.extend(peer.decode(std::slice::from_ref(&heard)));
        let said = if loud(peer, &heard) { &voice } else { &silence };
        if lost {
            peer.lose(said);
            self.came.extend(&silence);
        } else {
            peer.say(said);
            self.came.extend(said);
        }
    }
}

/// What a phone may be late before it is no test of a recording any more: what comes 400 ms late is not kept, and Ark itself catches
/// up on 60 ms.
const PHONE_LATE_MAX: Duration = Duration::from_millis(250);
/// Runs in which a busy machine may make it later.
const RUNS_MAX: usize = 6;

#[test]
fn both_sides_of_a_recording_stay_aligned_over_loss_and_pauses() {
    let mut late = Vec::new();
    while late.len() < RUNS_MAX {
        match aligned_run(late.len() as u16) {
            Ok(()) => return,
            Err(by) => late.push(by),
        }
    }
    panic!("the machine lets no phone answer in time: {late:?} late");
}

/// One recording, judged by what its phone sent and heard. `Err`: the phone was so late once, and says nothing about Ark.
fn aligned_run(run: u16) -> Result<(), Duration> {
    let path = temporary(&format!("aligned-{run}.wav"));
    let mut rig = Rig::new(config(31_620 + 4 * run, 2), 64);
    let (leg, mut peer) = rig.call(codec(PCMU));
    rig.record(leg.id, &path);
    let mut echo = Echo::default();
    // A recording knows a phone's clock by the fastest of its packets: the phone has to be in time before it is judged.
    let (mut in_time, mut last) = (0, Instant::now());
    until("phone and engine keep time", || {
        echo.turn(&mut peer, false);
        // A packet that it had to wait for, and not for long, is one that it answers in time.
        in_time += u32::from((10..30).contains(&last.elapsed().as_millis()));
        last = Instant::now();
        if in_time == 1 {
            // From here on its clock counts.
            (echo.began, echo.late) = (None, Duration::ZERO);
        }
        in_time == 5
    });
    // Ten frames of silence, ten of tone, and so on for four seconds.
    let bursts: Vec<i16> = (0..10).flat_map(|_| [vec![0; 1_600], tone(440.0, 10)]).flatten().collect();
    rig.play(&leg, 1, vec![peer.prompt(&bursts)], false);
    // The phone loses every ninth packet and says nothing at all for a while.
    for n in 0..230 {
        echo.turn(&mut peer, n % 9 == 4 || (90..110).contains(&n));
    }
    rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Call }).unwrap();
    rig.wait(|event| matches!(event, Event::Recorded { .. }).then_some(()));
    let [left, right] = read_wav(&path);
    let (caller, ark) = (onsets(&left), onsets(&right));
    let (came, told) = (onsets(&echo.came), onsets(&echo.told));
    if echo.late > PHONE_LATE_MAX {
        return Err(echo.late);
    }
    let values = format!(
        "the phone was up to {:?} late; Ark said {told:?}, kept {ark:?}; the caller said {came:?}, kept {caller:?}",
        echo.late
    );
    // Nothing that was said is missing; the last one may lie behind the end.
    assert!(told.len() >= 9 && ark.len() + 1 >= told.len() && caller.len() + 1 >= came.len(), "{values}");
    // The recording begins some packets before or after the first one that the phone counts.
    let began = told[0] as i64 - ark[0] as i64;
    for (side, kept, true_onsets) in [("caller", caller, came), ("ark", ark, told)] {
        let apart =
            |at: &usize| true_onsets.iter().map(|onset| (*onset as i64).abs_diff(*at as i64 + began)).min().unwrap();
        let aligned = kept.iter().filter(|at| apart(at) < 160).count();
        let all = kept.len();
        assert!(aligned * 10 >= all * 7, "{side}: {aligned} of {all} within 20 ms, {began} apart: {values}");
        assert!(kept.iter().all(|at| apart(at) < 480), "{side}: {began} apart: {values}");
    }
    Ok(())
}

#[test]
fn a_recording_ends_by_its_limit_by_silence_and_with_the_leg_and_fails_in_words() {
    let mut rig = Rig::new(config(31_100, 2), 64);
    let (leg, _peer) = rig.call(codec(PCMU));
    let mut record = |name: &str, limit: Option<u64>, silence: Option<u64>, close: bool| {
        let path = temporary(name);
        let [limit, silence] = [limit, silence].map(|ms| ms.map(Duration::from_millis));
        rig.handle
            .command(
                leg.id,
                Command::RecordStart { of: RecordOf::Call, path, how: RecordAs::default(), limit, silence },
            )
            .unwrap();
        if close {
            rig.handle.command(leg.id, Command::Close).unwrap();
        }
        rig.wait(|event| match event {
            Event::Recorded { cause, duration, .. } => Some(Ok((*cause, duration.as_millis()))),
            Event::RecordFailed { error, .. } => Some(Err(error.clone())),
            _ => None,
        })
    };
    assert_eq!(record("limit.wav", Some(200), None, false), Ok((RecordEnd::Limit, 200)));
    let (cause, length) = record("silence.wav", Some(5_000), Some(300), false).unwrap();
    assert!(cause == RecordEnd::Silence && (300..2_000).contains(&length), "{cause:?} after {length} ms");
    let error = record("no-such-directory/x.wav", None, None, false).unwrap_err();
    assert!(error.contains("no-such-directory") && error.contains("creating"), "{error}");
    // To a full disk: the failure is told, the call goes on.
    if std::path::Path::new("/dev/full").exists() {
        rig.record(leg.id, std::path::Path::new("/dev/full"));
        let error = rig.wait(|event| match event {
            Event::RecordFailed { error, .. } => Some(error.clone()),
            _ => None,
        });
        assert!(error.contains("/dev/full"), "{error}");
    }
    let mut record = |name: &str| {
        rig.record(leg.id, &temporary(name));
        rig.handle.command(leg.id, Command::Close).unwrap();
        rig.wait(|event| match event {
            Event::Recorded { cause, .. } => Some(*cause),
            _ => None,
        })
    };
    assert_eq!(record("closed.wav"), RecordEnd::Closed);
}

#[test]
fn ports_rest_before_they_are_used_again_and_a_new_leg_has_a_new_name() {
    let mut rig = Rig::new(EngineConfig { quarantine: Duration::from_secs(3_600), ..config(31_110, 1) }, 64);
    let leg = rig.handle.reserve().unwrap();
    assert_eq!((leg.rtp.port() % 2, leg.rtcp.port()), (0, leg.rtp.port() + 1));
    assert_eq!(rig.handle.reserve(), Err(Full::Ports));
    rig.handle.command(leg.id, Command::Close).unwrap();
    rig.wait(closed);
    assert_eq!(rig.handle.reserve(), Err(Full::Ports), "it rests");

    let rig = Rig::new(EngineConfig { quarantine: Duration::ZERO, ..config(31_114, 1) }, 64);
    let old = rig.handle.reserve().unwrap();
    rig.handle.command(old.id, Command::Close).unwrap();
    let mut new = None;
    until("the port is free again", || {
        new = rig.handle.reserve().ok();
        new.is_some()
    });
    let new = new.unwrap();
    assert!(new.rtp == old.rtp && new.id != old.id);
    // Late commands for the old leg do not reach the new one.
    rig.handle.command(old.id, Command::Close).unwrap();
    rig.handle.command(LegId(u64::MAX), Command::Close).unwrap();
    until("they are counted", || rig.handle.metrics().snapshot().stale_commands == 2);
    until("the new leg is up", || rig.handle.metrics().snapshot().legs == 1);
}

#[test]
fn a_port_that_someone_else_holds_is_passed_over() {
    let rig = Rig::new(config(31_120, 2), 64);
    let _taken = UdpSocket::bind("127.0.0.1:31120").unwrap();
    assert_eq!(rig.handle.reserve().unwrap().rtp.port(), 31_122);
    assert_eq!(rig.handle.reserve(), Err(Full::Ports));
}

#[test]
fn a_flood_on_one_leg_is_counted_and_heard_by_nobody_else() {
    let mut rig = Rig::new(config(31_130, 2), 64);
    let (victim, mut peer) = rig.call(codec(PCMU));
    let (flooded, flooding) = rig.call(codec(PCMU));
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut sent = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // True RTP, garbage, garbage as RTCP, each from the leg's own phone and from a stranger. What does not
                // fit into its buffer, the kernel drops.
                let socket = if sent.is_multiple_of(2) { &flooding.rtp } else { &stranger };
                let mut packet = [[0x80_u8; 172], [0x13; 172], [0x81; 172]][sent as usize / 2 % 3];
                packet[1] = if sent.is_multiple_of(5) { 200 } else { 0 };
                packet[2..4].copy_from_slice(&(sent as u16).to_be_bytes());
                let to = if sent % 7 == 3 { flooded.rtcp } else { flooded.rtp };
                sent += u64::from(socket.send_to(&packet, to).is_ok());
            }
            sent
        }
    });
    rig.play(&victim, 1, vec![peer.prompt(&tone(440.0, 500))], true);
    listen(&peer, |heard| heard.iter().any(|packet| loud(&peer, packet)));
    let began = Instant::now();
    let heard = listen(&peer, |heard| heard.len() == 75);
    let took = began.elapsed();
    peer.press(3);
    assert_eq!(rig.wait(play_end).2, PlayEnd::Barge(digit('3')));
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().unwrap();
    let snapshot = rig.handle.metrics().snapshot();
    let dropped: u64 = snapshot.drops.iter().sum();
    assert!(sent > 750 && dropped > 0, "{sent} sent, {dropped} counted as dropped");
    let [wrong, malformed] = [Drop::WrongSource, Drop::Malformed].map(|why| snapshot.drops[why as usize]);
    assert!(wrong > 0 && malformed > 0, "{wrong} of strangers, {malformed} malformed");
    assert!(heard.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert!(share_at(&peer.decode(&heard), 440.0) > 0.95);
    assert!(took < Duration::from_millis(1_500 + 500), "75 frames of 20 ms took {took:?}");
}

#[test]
fn silence_of_a_leg_is_told_once_and_not_while_it_is_on_hold() {
    let mut rig = Rig::new(EngineConfig { rtp_timeout: Duration::from_millis(600), ..config(31_140, 2) }, 64);
    let (leg, mut peer) = rig.call(codec(PCMU));
    let timeout = |event: &Event| matches!(event, Event::RtpTimeout { .. }).then_some(());
    rig.wait(timeout);
    // It speaks, then is put on hold (Ark does not listen): no second report until it is resumed and silent again.
    peer.say(&tone(700.0, 1));
    let mut held = peer.negotiated();
    held.direction = Direction::Inactive;
    rig.handle.command(leg.id, Command::Update { negotiated: held }).unwrap();
    rig.handle.command(leg.id, Command::Update { negotiated: peer.negotiated() }).unwrap();
    rig.wait(timeout);
    rig.handle.command(leg.id, Command::Close).unwrap();
    assert!(matches!(rig.next(), Event::Closed { .. }), "told once");
}

#[test]
fn a_core_that_does_not_listen_loses_no_key_and_learns_them_in_order() {
    let mut rig = Rig::new(config(31_150, 2), 1);
    let (leg, mut peer) = rig.call(codec(PCMU));
    for event in 0..16 {
        peer.press(event);
    }
    until("the keys wait", || rig.handle.metrics().snapshot().events_waiting == 15);
    rig.handle.command(leg.id, Command::Close).unwrap();
    let keys: Vec<Digit> = (0..16)
        .map(|_| {
            rig.wait(|event| match event {
                Event::Digit { digit, .. } => Some(*digit),
                _ => None,
            })
        })
        .collect();
    let expected: Vec<Digit> = (0..16).map(|event| Digit::from_event(event).unwrap()).collect();
    assert_eq!(keys, expected);
    rig.wait(closed);
    assert_eq!(rig.handle.metrics().snapshot().events_dropped, 0);
}

#[test]
fn digits_are_sent_to_the_far_side_as_telephone_events() {
    let rig = Rig::new(config(31_160, 2), 64);
    let (leg, peer) = rig.call(codec(PCMU));
    let duration = Duration::from_millis(100);
    rig.handle.command(leg.id, Command::SendDtmf { digit: digit('8'), duration }).unwrap();
    let heard = listen(&peer, |heard| {
        heard.iter().filter(|packet| packet.payload_type == 101 && packet.payload[1] & 0x80 != 0).count() == 3
    });
    let events: Vec<_> = heard.iter().filter(|packet| packet.payload_type == 101).collect();
    assert!(events.iter().all(|packet| packet.payload[0] == 8 && packet.timestamp == events[0].timestamp));
}

#[test]
fn dropping_the_engine_closes_recordings_and_every_leg() {
    let path = temporary("dropped.wav");
    let mut rig = Rig::new(EngineConfig { threads: 2, ..config(31_170, 4) }, 64);
    let (leg, peer) = rig.call(codec(PCMU));
    rig.call(codec(PCMU));
    rig.record(leg.id, &path);
    for _ in 0..10 {
        peer.hear();
    }
    drop(rig.engine);
    let events: Vec<Event> = std::iter::from_fn(|| rig.events.try_recv().ok()).collect();
    assert_eq!(events.iter().filter(|event| closed(event).is_some()).count(), 2);
    assert!(events.iter().any(|event| matches!(event, Event::Recorded { cause: RecordEnd::Closed, .. })));
    assert!(read_wav(&path)[0].len() >= 8 * 160);
    assert_eq!(rig.handle.command(leg.id, Command::RecordStop { of: RecordOf::Call }), Err(Full::Stopped));
}
