//! A leg in virtual time: what it plays, hears, relays and refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_media::codec::{self, CodecRef};
use ark_media::dtmf::{Digit, Payload, Road};
use ark_media::prompt::EncodedPrompt;
use ark_media::rtcp::{Report, Rtcp, SenderInfo};
use ark_media::rtp::{Header, Packet};
use ark_media::sdp::{Direction, Negotiated};
use ark_media::session::{
    Dropped, DtmfRoads, Kind, Media, PlayCause, PlayEnded, PlayError, Playlist, Received, RelayKeys, Session,
    SessionConfig, SessionEvent, SourcePolicy,
};

const TICK: Duration = Duration::from_millis(20);

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 4000))
}

fn pcma() -> CodecRef {
    codec::by_name("PCMA", 8000).unwrap()
}

fn agreed() -> Negotiated {
    Negotiated {
        dtmf_payload_type: Some(101),
        receive_dtmf_payload_type: Some(101),
        ..Negotiated::new(pcma(), 8, peer())
    }
}

/// A session, its clock, and everything it sent.
struct Leg {
    now: Instant,
    session: Session,
    sent: Vec<(Header, Vec<u8>)>,
    sequence: u16,
    timestamp: u32,
}

impl Leg {
    fn new(negotiated: Negotiated) -> Self {
        Self::with(SessionConfig::new(negotiated, 7))
    }

    fn with(config: SessionConfig) -> Self {
        let now = ark_media::fuzz::start();
        Self { now, session: Session::new(now, config), sent: Vec::new(), sequence: 65_500, timestamp: 9000 }
    }

    fn tick(&mut self) -> Option<Header> {
        self.now += TICK;
        let mut out = [0; 1500];
        let length = self.session.next_frame(self.now, &mut out)?;
        let packet = Packet::parse(&out[..length]).unwrap();
        self.sent.push((packet.header, packet.payload.to_vec()));
        Some(packet.header)
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header { marker, payload_type, sequence: self.sequence, timestamp, ssrc: 77 };
        let mut out = vec![0; 12 + payload.len()];
        header.write(payload, &mut out).unwrap();
        out
    }

    fn hear(&mut self, payload: &[u8]) -> Vec<u8> {
        self.timestamp += 160;
        self.send(8, false, self.timestamp, payload)
    }

    fn press(&mut self, c: char, timestamp: u32, duration: u16, end: bool) {
        let event = Digit::from_char(c).unwrap().event();
        let payload = Payload { event, end, volume: 10, duration }.to_bytes();
        let packet = self.send(101, duration == 160, timestamp, &payload);
        assert!(self.session.receive_rtp(self.now, peer(), &packet).media().is_some());
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    fn check_continuity(&self) {
        for pair in self.sent.windows(2) {
            let ((a, _), (b, _)) = (&pair[0], &pair[1]);
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            assert_eq!(a.ssrc, b.ssrc);
            assert!((b.timestamp.wrapping_sub(a.timestamp) as i32) >= 0, "the clock ran backwards");
        }
    }
}

fn tone(ms: u64, value: i16) -> Arc<EncodedPrompt> {
    EncodedPrompt::encode(&vec![value; ms as usize * 8], pcma(), TICK)
}

fn list(id: u64, items: Vec<Arc<EncodedPrompt>>) -> Playlist {
    Playlist { id, items, barge_in: true, repeat: false }
}

fn byte(value: i16) -> u8 {
    let mut out = [0];
    pcma().encoder().encode(&[value], &mut out);
    out[0]
}

#[test]
fn silence_flows_until_a_playlist_begins_and_its_pieces_join_without_a_gap() {
    let mut leg = Leg::new(agreed());
    leg.ticks(3);
    assert!(leg.sent.iter().all(|(_, payload)| payload == &[0xD5; 160]));
    // 50 ms and 30 ms are four frames: the seam lies inside the third.
    leg.session.play(list(1, vec![tone(50, 1000), tone(30, 8000)])).unwrap();
    assert_eq!(leg.session.playing(), Some(1));
    leg.ticks(4);
    assert_eq!(
        leg.events(),
        [SessionEvent::PlayEnded(PlayEnded { id: 1, heard: Duration::from_millis(80), cause: PlayCause::End })]
    );
    leg.ticks(1);
    let audio: Vec<u8> = leg.sent[3..7].iter().flat_map(|(_, payload)| payload.clone()).collect();
    let want: Vec<u8> = [vec![byte(1000); 400], vec![byte(8000); 240]].concat();
    assert_eq!(audio, want);
    let markers: Vec<bool> = leg.sent.iter().map(|(header, _)| header.marker).collect();
    assert_eq!(markers, [true, false, false, true, false, false, false, false]);
    assert!(leg.sent.windows(2).all(|pair| pair[1].0.timestamp.wrapping_sub(pair[0].0.timestamp) == 160));
    leg.check_continuity();
}

#[test]
fn without_comfort_silence_nothing_is_sent_but_the_clock_runs_on() {
    let mut leg = Leg::with(SessionConfig { comfort_silence: false, ..SessionConfig::new(agreed(), 7) });
    leg.session.play(list(1, vec![tone(20, 1)])).unwrap();
    leg.ticks(10);
    leg.session.play(list(2, vec![tone(20, 1)])).unwrap();
    leg.ticks(10);
    assert_eq!(leg.sent.len(), 2);
    assert_eq!(leg.sent[1].0.timestamp.wrapping_sub(leg.sent[0].0.timestamp), 1600);
    assert!(leg.sent[0].0.marker && leg.sent[1].0.marker);
    leg.check_continuity();
}

#[test]
fn music_repeats_and_a_second_playlist_replaces_it() {
    let mut leg = Leg::new(agreed());
    leg.session.play(Playlist { repeat: true, ..list(1, vec![tone(30, 1000)]) }).unwrap();
    leg.ticks(100);
    assert!(leg.sent.iter().all(|(_, payload)| payload == &[byte(1000); 160]));
    leg.session.play(list(2, vec![tone(20, 1)])).unwrap();
    let heard = Duration::from_secs(2);
    assert_eq!(leg.events(), [SessionEvent::PlayEnded(PlayEnded { id: 1, heard, cause: PlayCause::Replaced })]);
    leg.session.stop(Some(99));
    assert_eq!(leg.session.playing(), Some(2));
    leg.session.stop(Some(2));
    assert!(matches!(leg.events()[..], [SessionEvent::PlayEnded(PlayEnded { cause: PlayCause::Stopped, .. })]));
}

#[test]
fn what_cannot_be_played_is_refused() {
    let mut leg = Leg::new(agreed());
    let pcmu = codec::by_name("PCMU", 8000).unwrap();
    let wrong = EncodedPrompt::encode(&[0; 160], pcmu, TICK);
    assert_eq!(leg.session.play(list(1, vec![wrong])), Err(PlayError::WrongCodec));
    assert_eq!(leg.session.play(list(1, vec![])), Err(PlayError::Empty));
    assert_eq!(leg.session.play(list(1, vec![tone(0, 1)])), Err(PlayError::Empty));
    assert_eq!(leg.session.play(list(1, vec![tone(20, 1); 1000])), Err(PlayError::TooMany));
}

#[test]
fn a_key_stops_the_prompt_at_once_and_counts_once_over_both_roads() {
    let mut leg = Leg::new(agreed());
    leg.session.play(list(1, vec![tone(1000, 1000)])).unwrap();
    leg.ticks(5);
    let digit = Digit::from_char('5').unwrap();
    leg.press('5', 4000, 160, false);
    let heard = Duration::from_millis(100);
    assert_eq!(
        leg.events(),
        [
            SessionEvent::Digit { digit, road: Road::Rtp },
            SessionEvent::PlayEnded(PlayEnded { id: 1, heard, cause: PlayCause::Barge(digit) }),
        ]
    );
    leg.tick();
    assert_eq!(leg.sent.last().unwrap().1, [0xD5; 160]);
    leg.press('5', 4000, 320, false);
    leg.press('5', 4000, 640, true);
    leg.press('5', 4000, 640, true);
    leg.session.info_digit(leg.now, digit);
    let held = Duration::from_millis(80);
    assert_eq!(leg.events(), [SessionEvent::DigitEnded { digit, held }]);
    leg.now += Duration::from_secs(1);
    leg.session.info_digit(leg.now, digit);
    assert_eq!(leg.events(), [SessionEvent::Digit { digit, road: Road::Info }]);
    // A prompt that must be heard is not stopped.
    leg.session.play(Playlist { barge_in: false, ..list(2, vec![tone(1000, 1000)]) }).unwrap();
    leg.press('6', 9000, 160, false);
    assert!(matches!(leg.events()[..], [SessionEvent::Digit { .. }]));
    assert_eq!(leg.session.playing(), Some(2));
    // Its end packets are lost: time ends it, counted by the ticks.
    leg.ticks(20);
    assert!(matches!(leg.events()[..], [SessionEvent::DigitEnded { .. }]));
}

#[test]
fn events_of_a_payload_type_that_was_never_agreed_are_taken_unless_forbidden() {
    for tolerate in [true, false] {
        let negotiated = Negotiated { dtmf_payload_type: None, receive_dtmf_payload_type: None, ..agreed() };
        let config = SessionConfig { tolerate_foreign_events: tolerate, ..SessionConfig::new(negotiated, 7) };
        let mut leg = Leg::with(config);
        let packet = leg.send(101, true, 500, &[5, 0x8A, 3, 32]);
        let taken = leg.session.receive_rtp(leg.now, peer(), &packet).media().is_some();
        assert_eq!(taken, tolerate);
        assert_eq!(!leg.events().is_empty(), tolerate);
    }
}

#[test]
fn a_key_that_comes_in_a_stream_of_its_own_beside_the_voice_counts_once() {
    let mut leg = Leg::new(agreed());
    for step in 1..=8_u16 {
        let voice = leg.hear(&[0xD5; 160]);
        leg.session.receive_rtp(leg.now, peer(), &voice);
        let (duration, end) = ((step.min(5) * 160).to_be_bytes(), u8::from(step > 5) << 7);
        let header = Header { marker: step == 1, payload_type: 101, sequence: 99 + step, timestamp: 4000, ssrc: 0xEE };
        let mut packet = [0; 16];
        header.write(&[5, end | 10, duration[0], duration[1]], &mut packet).unwrap();
        leg.session.receive_rtp(leg.now, peer(), &packet);
        leg.now += TICK;
    }
    let digit = Digit::from_char('5').unwrap();
    let held = Duration::from_millis(100);
    let expected = [SessionEvent::Digit { digit, road: Road::Rtp }, SessionEvent::DigitEnded { digit, held }];
    assert_eq!(leg.events(), expected);
}

#[test]
fn where_the_two_sides_number_differently_ours_decides_what_a_packet_is() {
    // We take events as 101, and the peer takes its audio under that number.
    let negotiated = Negotiated { payload_type: 101, dtmf_payload_type: Some(97), ..agreed() };
    let mut leg = Leg::new(negotiated);
    let packet = leg.send(101, true, 500, &[5, 0x8A, 3, 32]);
    assert_eq!(leg.session.receive_rtp(leg.now, peer(), &packet).media().unwrap().kind, Kind::Event);
    let packet = leg.send(97, true, 3000, &[6, 0x8A, 3, 32]);
    assert_eq!(leg.session.receive_rtp(leg.now, peer(), &packet).media().unwrap().kind, Kind::Event);
    let packet = leg.hear(&[0xD5; 160]);
    assert_eq!(leg.session.receive_rtp(leg.now, peer(), &packet).media().unwrap().kind, Kind::Audio);
}

#[test]
fn comfort_noise_is_a_pause_and_no_garbage() {
    let mut leg = Leg::new(agreed());
    let packet = leg.send(13, false, 500, &[60]);
    let received = leg.session.receive_rtp(leg.now, peer(), &packet);
    assert!(matches!(received, Received::Comfort(media) if media.kind == Kind::Comfort));
    let quality = leg.session.quality();
    assert_eq!((quality.garbage, quality.packets_in), (0, 1));
    assert_eq!(leg.session.last_received(), Some(leg.now));
}

#[test]
fn a_report_names_the_last_sender_report_of_its_own_stream_alone() {
    let mut leg = Leg::new(agreed());
    let packet = leg.hear(&[0xD5; 160]);
    leg.session.receive_rtp(leg.now, peer(), &packet);
    let ssrc = Packet::parse(&packet).unwrap().header.ssrc;
    let (mut rtcp, mut out) = ([0; 200], [0; 200]);
    for (of, named) in [(ssrc ^ 1, 0), (ssrc, 0x0203_0405)] {
        let info = SenderInfo { ntp: 0x0001_0203_0405_0607, ..SenderInfo::default() };
        let report = Report { ssrc: of, sender: Some(info), ..Report::default() };
        let length = report.write(&mut rtcp).unwrap();
        leg.session.receive_rtcp(leg.now, peer(), &rtcp[..length]);
        leg.now += Duration::from_millis(1500);
        let length = leg.session.rtcp_bye(leg.now, &mut out).unwrap();
        let Some(Ok(Rtcp::ReceiverReport { mut reports, .. })) = ark_media::rtcp::parse(&out[..length]).next() else {
            panic!("nothing was sent, so it is a receiver report")
        };
        let block = reports.next().unwrap();
        let delay = if named == 0 { 0 } else { 98_304 };
        assert_eq!((block.ssrc, block.last_sr, block.delay_since_sr), (ssrc, named, delay));
    }
}

#[test]
fn keys_are_sent_between_the_frames_of_a_prompt() {
    let mut leg = Leg::new(agreed());
    leg.session.play(list(1, vec![tone(200, 1000)])).unwrap();
    leg.ticks(2);
    assert!(leg.session.send_digit(Digit::from_char('1').unwrap(), Duration::from_millis(100)));
    assert!(leg.session.send_digit(Digit::from_char('1').unwrap(), Duration::from_millis(100)));
    assert_eq!(leg.session.digits_waiting(), 2);
    leg.ticks(40);
    let keys: Vec<_> = leg.sent.iter().filter(|(header, _)| header.payload_type == 101).collect();
    assert_eq!(keys.len(), 14);
    let starts: Vec<u32> =
        keys.iter().filter(|(header, _)| header.marker).map(|(header, _)| header.timestamp).collect();
    assert_eq!(starts.len(), 2);
    // Seven packets and three frames of pause later.
    assert_eq!(starts[1].wrapping_sub(starts[0]), 10 * 160);
    let prompt = leg.sent.iter().filter(|(_, payload)| payload == &[byte(1000); 160]).count();
    assert_eq!(prompt, 10, "no frame of the prompt is lost to the keys");
    let sequences: Vec<u16> = leg.sent.iter().map(|(header, _)| header.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    let none = Negotiated { dtmf_payload_type: None, ..agreed() };
    assert!(!Leg::new(none).session.send_digit(Digit::from_char('1').unwrap(), TICK));
}

#[test]
fn longer_packet_times_take_several_ticks() {
    let mut leg = Leg::new(Negotiated { ptime: Duration::from_millis(60), ..agreed() });
    leg.session.play(list(1, vec![tone(100, 1000)])).unwrap();
    leg.ticks(9);
    assert_eq!(leg.sent.len(), 3);
    assert!(leg.sent.iter().all(|(_, payload)| payload.len() == 480));
    assert_eq!(leg.sent[1].0.timestamp.wrapping_sub(leg.sent[0].0.timestamp), 480);
    assert_eq!(leg.sent[1].1[..320], [byte(1000); 320]);
    assert_eq!(leg.sent[1].1[320..], [0xD5; 160]);
}

#[test]
fn hold_stops_the_sending_and_the_prompt_goes_on_after_it() {
    let mut leg = Leg::new(agreed());
    leg.session.play(list(1, vec![tone(200, 1000)])).unwrap();
    leg.ticks(5);
    leg.session.update(leg.now, Negotiated { direction: Direction::RecvOnly, ..agreed() });
    leg.ticks(50);
    assert_eq!(leg.sent.len(), 5);
    // Hold as in RFC 2543 keeps the source lock.
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 4000));
    leg.session.update(leg.now, Negotiated { direction: Direction::RecvOnly, remote: nowhere, ..agreed() });
    leg.ticks(1);
    let packet = leg.hear(&[0xD5; 160]);
    assert!(leg.session.receive_rtp(leg.now, peer(), &packet).media().is_some());
    leg.session.update(leg.now, agreed());
    leg.ticks(5);
    assert_eq!(leg.sent.len(), 10);
    assert_eq!(leg.sent[9].1, [byte(1000); 160]);
    assert!(leg.sent[5].0.marker);
    assert_eq!(leg.sent[5].0.timestamp.wrapping_sub(leg.sent[4].0.timestamp), 52 * 160);
    leg.check_continuity();
    // Ark's own hold: what comes is not used.
    leg.session.update(leg.now, Negotiated { direction: Direction::SendOnly, ..agreed() });
    let packet = leg.hear(&[0xD5; 160]);
    assert!(matches!(leg.session.receive_rtp(leg.now, peer(), &packet), Received::Dropped(Dropped::Held)));
}

#[test]
fn a_reinvite_with_another_codec_ends_the_prompt_and_keeps_the_numbers() {
    let mut leg = Leg::new(agreed());
    leg.session.play(list(1, vec![tone(200, 1000)])).unwrap();
    leg.ticks(2);
    let pcmu = codec::by_name("PCMU", 8000).unwrap();
    leg.session.update(leg.now, Negotiated { codec: pcmu, payload_type: 0, receive_payload_type: 0, ..agreed() });
    let ended = PlayEnded { id: 1, heard: TICK * 2, cause: PlayCause::CodecChanged };
    assert_eq!(leg.events(), [SessionEvent::PlayEnded(ended)]);
    leg.ticks(2);
    assert_eq!(leg.sent[3].1, [0xFF; 160]);
    leg.check_continuity();
}

#[test]
fn after_a_stall_the_timestamp_jumps_and_the_marker_is_set() {
    let mut leg = Leg::new(agreed());
    leg.ticks(2);
    leg.session.skip(25);
    leg.ticks(1);
    assert_eq!(leg.sent[2].0.timestamp.wrapping_sub(leg.sent[1].0.timestamp), 26 * 160);
    assert!(leg.sent[2].0.marker);
    assert_eq!(leg.session.quality().skipped_ticks, 25);
}

#[test]
fn only_the_peer_is_heard_and_its_loss_is_counted() {
    let mut leg = Leg::new(agreed());
    let stranger = SocketAddr::from(([203, 0, 113, 66], 4000));
    for _ in 0..20 {
        let packet = leg.hear(&[0xD5; 160]);
        let dropped = leg.session.receive_rtp(leg.now, stranger, &packet);
        assert!(matches!(dropped, Received::Dropped(Dropped::WrongSource)));
    }
    assert_eq!(leg.session.last_received(), None);
    for i in 0..20 {
        leg.now += TICK;
        let packet = leg.hear(&[0xD5; 160]);
        if i == 7 {
            continue;
        }
        let media = leg.session.receive_rtp(leg.now, peer(), &packet).media().unwrap();
        assert_eq!((media.kind, media.payload.len()), (Kind::Audio, 160));
        if i == 8 {
            let again = leg.session.receive_rtp(leg.now, peer(), &packet);
            assert!(matches!(again, Received::Dropped(Dropped::Sequence)));
        }
    }
    assert_eq!(leg.session.last_received(), Some(leg.now));
    for garbage in [&b"\x00\x01\x00\x00stun"[..], &[0x80; 4], &[0x80, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(leg.session.receive_rtp(leg.now, peer(), garbage).media().is_none());
    }
    let quality = leg.session.quality();
    assert_eq!((quality.lost, quality.wrong_source, quality.duplicates), (1, 20, 1));
    assert_eq!(quality.bytes_in, 19 * 160);
    assert!(quality.garbage >= 2 && quality.jitter < Duration::from_millis(1));
}

#[test]
fn a_learned_source_becomes_the_remote_address() {
    let nat = SocketAddr::from(([198, 51, 100, 3], 61_000));
    let source = SourcePolicy::LearnOnce { host: nat.ip(), window: Duration::from_secs(5) };
    let mut leg = Leg::with(SessionConfig { source, ..SessionConfig::new(agreed(), 7) });
    assert_eq!(leg.session.remote(), peer());
    for i in 0..4 {
        let packet = leg.hear(&[0xD5; 160]);
        let accepted = leg.session.receive_rtp(leg.now, nat, &packet).media().is_some();
        assert_eq!(accepted, i >= 2);
    }
    assert_eq!(leg.session.remote(), nat);
    assert_eq!(leg.events(), [SessionEvent::SourceLearned(nat)]);
}

#[test]
fn a_bridge_keeps_distances_remaps_types_and_joins_the_clock() {
    let mut a = Leg::new(agreed());
    let mut b =
        Leg::with(SessionConfig::new(Negotiated { payload_type: 118, dtmf_payload_type: Some(96), ..agreed() }, 99));
    b.ticks(5);
    b.session.set_relay(Some(RelayKeys::Pass));
    assert!(b.session.is_relaying());
    let mut out = [0; 1500];
    for i in 0..10_u32 {
        a.now += TICK;
        assert_eq!(b.tick(), None);
        let packet = if i < 8 { a.hear(&[i as u8; 160]) } else { a.send(101, i == 8, 77_000, &[5, 10, 0, 160]) };
        if i == 3 {
            continue;
        }
        let received = a.session.receive_rtp(a.now, peer(), &packet).media().unwrap();
        let length = b.session.forward(b.now, &received, &mut out).unwrap();
        let packet = Packet::parse(&out[..length]).unwrap();
        b.sent.push((packet.header, packet.payload.to_vec()));
    }
    let relayed = &b.sent[5..];
    assert!(relayed[0].0.marker);
    assert_eq!(relayed[0].0.timestamp.wrapping_sub(b.sent[4].0.timestamp), 160, "no step at the seam");
    // The packet that a never heard is a hole of one number and 20 ms for b's peer too.
    let steps: Vec<(u16, u32)> = relayed
        .windows(2)
        .map(|p| (p[1].0.sequence.wrapping_sub(p[0].0.sequence), p[1].0.timestamp.wrapping_sub(p[0].0.timestamp)))
        .collect();
    assert_eq!(steps[..6], [(1, 160), (1, 160), (2, 320), (1, 160), (1, 160), (1, 160)]);
    assert_eq!(steps[7], (1, 0));
    assert!(relayed[..7].iter().all(|(header, _)| header.payload_type == 118));
    assert!(relayed[7..].iter().all(|(header, _)| header.payload_type == 96));
    assert_eq!(relayed[7].1, [5, 10, 0, 160]);
    // The bridge ends: silence goes on above the last number.
    let last = b.sent.last().unwrap().0;
    b.session.set_relay(None);
    let next = b.tick().unwrap();
    assert_eq!(next.sequence, last.sequence.wrapping_add(1));
    assert!((next.timestamp.wrapping_sub(last.timestamp) as i32) > 0);
}

#[test]
fn a_key_that_was_down_when_the_bridge_came_up_stays_with_us() {
    let (mut caller, mut operator) = (Leg::new(agreed()), Leg::new(agreed()));
    let mut crossed = Vec::new();
    for (step, timestamp, end) in
        [(0, 500, false), (1, 500, false), (2, 500, true), (3, 500, true), (4, 4_000, false), (5, 4_000, true)]
    {
        if step == 1 {
            caller.session.set_relay(Some(RelayKeys::Pass));
            operator.session.set_relay(Some(RelayKeys::Pass));
        }
        let payload = Payload { event: 0, end, volume: 10, duration: 320 }.to_bytes();
        let packet = caller.send(101, false, timestamp, &payload);
        let media = caller.session.receive_rtp(caller.now, peer(), &packet).media().expect("it is of the peer");
        crossed.push(operator.session.forward(operator.now, &media, &mut [0; 200]).is_some());
    }
    assert_eq!(crossed, [false, false, false, false, true, true], "only the second key crosses");
}

#[test]
fn keys_that_are_kept_leave_no_hole_and_a_playlist_silences_the_relay() {
    let mut a = Leg::new(agreed());
    let mut b = Leg::new(agreed());
    b.session.set_relay(Some(RelayKeys::Keep));
    let mut out = [0; 1500];
    let mut sequences = Vec::new();
    for i in 0..6 {
        let packet = if i == 3 { a.send(101, true, 5, &[5, 10, 0, 160]) } else { a.hear(&[1; 160]) };
        let media = a.session.receive_rtp(a.now, peer(), &packet).media().unwrap();
        match b.session.forward(b.now, &media, &mut out) {
            Some(length) => sequences.push(Packet::parse(&out[..length]).unwrap().header.sequence),
            None => assert_eq!(i, 3),
        }
    }
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    b.session.play(list(1, vec![tone(40, 1000)])).unwrap();
    let packet = a.hear(&[1; 160]);
    let media = a.session.receive_rtp(a.now, peer(), &packet).media().unwrap();
    assert_eq!(b.session.forward(b.now, &media, &mut out), None);
    let first = b.tick().unwrap();
    assert!(first.marker);
    assert_eq!(first.sequence, sequences.last().unwrap().wrapping_add(1));
    b.tick();
    let packet = a.hear(&[1; 160]);
    let media = a.session.receive_rtp(a.now, peer(), &packet).media().unwrap();
    let length = b.session.forward(b.now, &media, &mut out).unwrap();
    let header = Packet::parse(&out[..length]).unwrap().header;
    assert!(header.marker);
    assert_eq!(header.sequence, first.sequence.wrapping_add(2));
}

#[test]
fn two_sessions_tell_each_other_their_loss_and_round_trip() {
    let mut a = Leg::new(agreed());
    let mut b = Leg::with(SessionConfig::new(agreed(), 8));
    let start = a.now;
    b.now = start;
    let mut reports = 0;
    for tick in 0..1000_u32 {
        let (mut out, mut rtcp) = ([0; 1500], [0; 200]);
        a.now += TICK;
        b.now = a.now;
        for lossy in [true, false] {
            let (from, to) = if lossy { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let length = from.session.next_frame(from.now, &mut out).unwrap();
            if !(lossy && tick % 10 == 3) {
                to.session.receive_rtp(to.now, peer(), &out[..length]);
            }
            if let Some(length) = from.session.rtcp_report(from.now, &mut rtcp) {
                reports += 1;
                to.session.receive_rtcp(to.now + Duration::from_millis(15), peer(), &rtcp[..length]);
            }
        }
    }
    assert!((6..=14).contains(&reports), "{reports}");
    let (at_a, at_b) = (a.session.quality(), b.session.quality());
    assert!((0.09..0.11).contains(&at_b.loss()), "{}", at_b.loss());
    assert!(at_b.mos().unwrap() < 3.5 && at_a.mos().unwrap() > 4.3);
    let (lost, fraction) = at_a.peer_lost.unwrap();
    assert!(lost > 50 && (0.05..0.15).contains(&fraction), "{lost} {fraction}");
    let round_trip = at_a.round_trip.unwrap();
    assert!((10..=40).contains(&round_trip.as_millis()), "{round_trip:?}");
    let mut rtcp = [0; 200];
    let length = a.session.rtcp_bye(a.now, &mut rtcp).unwrap();
    b.session.receive_rtcp(b.now, peer(), &rtcp[..length]);
    assert_eq!(b.events(), [SessionEvent::PeerLeft]);
    let stranger = SocketAddr::from(([203, 0, 113, 66], 4001));
    b.session.receive_rtcp(b.now, stranger, &rtcp[..length]);
    assert_eq!(b.events(), []);
}

#[test]
fn rtcp_on_the_rtp_port_is_read_when_that_was_agreed() {
    let mut leg = Leg::new(Negotiated { rtcp_mux: true, remote_rtcp: peer(), ..agreed() });
    let mut rtcp = [0; 200];
    let mut other = Session::new(leg.now, SessionConfig::new(agreed(), 3));
    let length = other.rtcp_bye(leg.now, &mut rtcp).unwrap();
    let received = leg.session.receive_rtp(leg.now, peer(), &rtcp[..length]);
    assert!(matches!(received, Received::Dropped(Dropped::Rtcp)));
    assert_eq!(leg.events(), [SessionEvent::PeerLeft]);
    assert_eq!(leg.session.remote_rtcp(), peer());
}

#[test]
fn a_relay_that_falls_silent_gets_comfort_silence_until_it_speaks_again() {
    let mut a = Leg::new(agreed());
    let mut b = Leg::new(agreed());
    b.session.set_relay(Some(RelayKeys::Pass));
    let mut out = [0; 1500];
    b.ticks(100);
    // 200 ms after the bridge began.
    assert_eq!(b.sent.len(), 91);
    assert!(b.sent[0].0.marker && b.sent[0].1 == [0xD5; 160]);
    let packet = a.hear(&[7; 160]);
    let media = a.session.receive_rtp(a.now, peer(), &packet).media().unwrap();
    let length = b.session.forward(b.now, &media, &mut out).unwrap();
    let relayed = Packet::parse(&out[..length]).unwrap();
    b.sent.push((relayed.header, relayed.payload.to_vec()));
    assert!(relayed.header.marker);
    assert_eq!(b.tick(), None);
    b.check_continuity();
}

#[test]
fn a_peer_that_restarts_its_numbers_is_relayed_without_a_wild_jump() {
    let mut a = Leg::new(agreed());
    let mut b = Leg::new(agreed());
    b.session.set_relay(Some(RelayKeys::Pass));
    let mut out = [0; 1500];
    for n in 0..30 {
        if n == 15 {
            (a.sequence, a.timestamp) = (a.sequence.wrapping_add(40_000), a.timestamp.wrapping_add(0x7000_0000));
        }
        a.now += TICK;
        b.now += TICK;
        let packet = a.hear(&[7; 160]);
        if let Some(media) = a.session.receive_rtp(a.now, peer(), &packet).media() {
            let length = b.session.forward(b.now, &media, &mut out).unwrap();
            b.sent.push((Packet::parse(&out[..length]).unwrap().header, Vec::new()));
        }
    }
    assert_eq!(b.sent.len(), 29);
    b.check_continuity();
    b.session.set_relay(None);
    b.ticks(2);
    b.check_continuity();
}

#[test]
fn a_key_that_hold_cuts_off_is_over() {
    let mut leg = Leg::new(agreed());
    leg.session.send_digit(Digit::from_char('1').unwrap(), Duration::from_millis(500));
    leg.ticks(3);
    leg.session.update(leg.now, Negotiated { direction: Direction::Inactive, ..agreed() });
    leg.ticks(10);
    leg.session.update(leg.now, agreed());
    assert_eq!(leg.tick().unwrap().payload_type, 8);
    assert_eq!(leg.session.digits_waiting(), 0);
}

/// Speaks this audio to the leg, packet by packet.
fn speak(leg: &mut Leg, pcm: &[i16]) {
    for frame in pcm.chunks(160) {
        let mut payload = [0; 160];
        let bytes = pcma().encoder().encode(frame, &mut payload);
        let packet = leg.hear(&payload[..bytes]);
        leg.session.receive_rtp(leg.now, peer(), &packet);
        leg.now += TICK;
    }
}

fn digits(leg: &mut Leg) -> Vec<(char, Road)> {
    let events = leg.events().into_iter();
    events
        .filter_map(|event| match event {
            SessionEvent::Digit { digit, road } => Some((digit.as_char(), road)),
            _ => None,
        })
        .collect()
}

#[test]
fn tones_in_the_audio_are_keys_where_nothing_else_was_agreed_and_they_stop_a_prompt() {
    let seven = ark_media::tone::dual(Digit::from_char('7').unwrap(), 6000, 8000, Duration::from_millis(100));
    let none = Negotiated { dtmf_payload_type: None, receive_dtmf_payload_type: None, ..agreed() };
    let mut leg = Leg::new(none);
    assert!(leg.session.listens_for_tones());
    leg.session.play(list(1, vec![tone(5000, 1000)])).unwrap();
    let before = leg.now;
    speak(&mut leg, &seven);
    let events = leg.events();
    let digit = Digit::from_char('7').unwrap();
    assert!(events.contains(&SessionEvent::Digit { digit, road: Road::Inband }), "{events:?}");
    assert!(events.iter().any(|e| matches!(e, SessionEvent::PlayEnded(PlayEnded { cause: PlayCause::Barge(_), .. }))));
    assert!(leg.now - before == Duration::from_millis(100));
    speak(&mut leg, &[0; 1600]);
    assert!(leg.events().iter().any(|e| matches!(e, SessionEvent::DigitEnded { .. })));
    // Once telephone-events are agreed nobody listens any more, and no audio is decoded.
    leg.session.update(leg.now, agreed());
    assert!(!leg.session.listens_for_tones());
    speak(&mut leg, &seven);
    assert_eq!(digits(&mut leg), []);
}

#[test]
fn a_phone_that_sends_tones_events_and_info_presses_once() {
    let digit = Digit::from_char('3').unwrap();
    let pcm = ark_media::tone::dual(digit, 6000, 8000, Duration::from_millis(100));
    let mut leg = Leg::with(SessionConfig { dtmf: DtmfRoads::Inband, ..SessionConfig::new(agreed(), 7) });
    for press in 0..2 {
        leg.press('3', 90_000 + press * 8000, 160, false);
        speak(&mut leg, &pcm);
        leg.press('3', 90_000 + press * 8000, 800, true);
        leg.session.info_digit(leg.now, digit);
        speak(&mut leg, &[0; 4000]);
    }
    assert_eq!(digits(&mut leg), [('3', Road::Rtp), ('3', Road::Rtp)]);
}

#[test]
fn a_road_that_shall_not_count_does_not() {
    let digit = Digit::from_char('3').unwrap();
    for (dtmf, want) in [(DtmfRoads::Rfc4733, Some(Road::Rtp)), (DtmfRoads::Info, Some(Road::Info))] {
        let mut leg = Leg::with(SessionConfig { dtmf, ..SessionConfig::new(agreed(), 7) });
        leg.session.info_digit(leg.now, digit);
        leg.now += Duration::from_secs(1);
        leg.press('3', 90_000, 160, false);
        leg.press('3', 90_000, 800, true);
        assert_eq!(digits(&mut leg).iter().map(|(_, road)| *road).next(), want);
        assert_eq!(leg.events(), []);
    }
}

#[test]
fn a_peer_that_asked_for_it_is_told_how_it_sounds_and_both_sides_learn_the_way() {
    let wants = Negotiated { rtcp_xr: true, remote_rtcp: peer(), ..agreed() };
    let (mut a, mut b) = (Leg::new(wants.clone()), Leg::with(SessionConfig::new(wants, 8)));
    let way = Duration::from_millis(40);
    let (mut out, mut rtcp) = ([0; 1500], [0; 300]);
    for n in 0..1000_u32 {
        (a.now, b.now) = (a.now + TICK, a.now + TICK);
        // A speaks, one packet in fifty is lost, and B only listens.
        let length = a.session.next_frame(a.now, &mut out).unwrap();
        if n % 50 != 20 {
            b.session.receive_rtp(b.now + way, peer(), &out[..length]);
        }
        for there in [true, false] {
            let (from, to) = if there { (&mut a, &mut b) } else { (&mut b, &mut a) };
            if let Some(length) = from.session.rtcp_report(from.now, &mut rtcp) {
                to.session.receive_rtcp(from.now + way, peer(), &rtcp[..length]);
            }
        }
    }
    let (speaker, listener) = (a.session.quality(), b.session.quality());
    let voip = speaker.peer_voip.unwrap();
    assert!((4..=6).contains(&voip.loss_rate), "{voip:?}");
    assert!((80..93).contains(&voip.rating.unwrap()) && (41..45).contains(&voip.mos_lq.unwrap()), "{voip:?}");
    assert!(voip.gap_density > 0 && voip.burst_density == 0, "{voip:?}");
    for round_trip in [speaker.round_trip.unwrap(), listener.round_trip.unwrap()] {
        assert!((70..=90).contains(&round_trip.as_millis()), "{round_trip:?}");
    }
    assert!(listener.rating().unwrap() < 90.0 && listener.loss_bursts == 20);
    // Who did not ask is told nothing of the kind.
    let mut c = Leg::new(agreed());
    c.now += Duration::from_secs(60);
    c.hear(&[0xD5; 160]);
    let length = c.session.rtcp_report(c.now, &mut rtcp).unwrap();
    assert!(ark_media::rtcp::parse(&rtcp[..length]).all(|p| !matches!(p, Ok(Rtcp::Extended { .. }))));
}

#[test]
fn a_key_whose_packets_never_have_a_marker_counts_once_and_again_when_it_is_pressed_again() {
    let mut leg = Leg::new(agreed());
    for press in 0..2 {
        for (duration, end) in [(160, false), (320, false), (480, true), (480, true), (480, true)] {
            let payload = Payload { event: 9, end, volume: 10, duration }.to_bytes();
            let packet = leg.send(101, false, 50_000 + press * 1600, &payload);
            leg.session.receive_rtp(leg.now, peer(), &packet);
            leg.now += TICK;
        }
    }
    assert_eq!(digits(&mut leg), [('9', Road::Rtp), ('9', Road::Rtp)]);
}

#[test]
fn a_silent_leg_sends_comfort_noise_now_and_then_where_it_was_agreed_on() {
    let mut leg = Leg::new(Negotiated { comfort_noise: Some(13), ..agreed() });
    leg.ticks(100);
    // Two seconds of nothing in five packets.
    let times: Vec<u32> = leg.sent.iter().map(|(header, _)| header.timestamp).collect();
    assert!(leg.sent.iter().all(|(header, payload)| header.payload_type == 13 && payload == &[70]), "{:?}", leg.sent);
    assert_eq!(times.len(), 5);
    assert!(times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == 20 * 160));
    assert!(leg.sent.windows(2).all(|pair| pair[1].0.sequence == pair[0].0.sequence.wrapping_add(1)));
    let prompt = EncodedPrompt::encode(&[5000; 1600], pcma(), TICK);
    leg.session.play(Playlist { id: 1, items: vec![prompt], barge_in: false, repeat: false }).unwrap();
    leg.sent.clear();
    leg.ticks(12);
    let types: Vec<(u8, bool)> = leg.sent.iter().map(|(header, _)| (header.payload_type, header.marker)).collect();
    let mut expected = vec![(8, true)];
    expected.extend([(8, false); 9]);
    expected.push((13, false));
    assert_eq!(types, expected, "a talkspurt begins with the marker, and silence with noise");
}

/// What a leg sends while the other side of its bridge pauses with this noise for half a second, after it spoke.
fn pause_heard_by(negotiated: Negotiated, noise: &[u8]) -> Leg {
    let mut leg = Leg::new(negotiated);
    let codec = leg.session.negotiated().codec;
    leg.session.set_relay(Some(RelayKeys::Pass));
    let mut payload = [0; 400];
    let bytes = codec.silence(TICK, &mut payload);
    let speak = |leg: &mut Leg, n: u64| {
        let media = Media {
            kind: Kind::Audio,
            codec,
            payload: &payload[..bytes],
            marker: false,
            timestamp: n as u32 * codec.clock_units(TICK),
            event_clock_hz: codec.rtp_clock_hz(),
            sequence: n,
            ssrc: 3,
            for_us: false,
        };
        let mut out = [0; 1500];
        let length = leg.session.forward(leg.now, &media, &mut out).unwrap();
        let packet = Packet::parse(&out[..length]).unwrap();
        leg.sent.push((packet.header, packet.payload.to_vec()));
    };
    for n in 0..5 {
        speak(&mut leg, n);
        leg.tick();
    }
    assert_eq!(leg.sent.len(), 5);
    leg.sent.clear();
    leg.session.relay_pause(noise);
    leg.ticks(25);
    let paused = leg.sent.len();
    speak(&mut leg, 31);
    leg.ticks(3);
    assert_eq!(leg.sent.len(), paused + 1, "it speaks again");
    let (header, _) = leg.sent.pop().unwrap();
    assert!(header.marker && header.payload_type == leg.session.negotiated().payload_type);
    leg
}

#[test]
fn a_pause_of_the_other_side_is_comfort_noise_where_agreed_and_noise_in_the_codec_elsewhere() {
    let noise = [40, 100, 140];
    let leg = pause_heard_by(Negotiated { comfort_noise: Some(13), ..agreed() }, &noise);
    assert_eq!(leg.sent.len(), 2, "at once, and again after 400 ms");
    assert!(leg.sent.iter().all(|(header, payload)| header.payload_type == 13 && payload == &noise));
    for codec in codec::ALL {
        let number = codec.payload_type().unwrap_or(111);
        let leg = pause_heard_by(Negotiated::new(*codec, number, peer()), &noise);
        assert_eq!(leg.sent.len(), 25, "{}", codec.name());
        assert!(leg.sent.iter().all(|(header, _)| header.payload_type == number), "{}", codec.name());
        let (mut decoder, mut pcm, mut heard) = (codec.decoder(), [0; 5760], Vec::new());
        for (_, payload) in &leg.sent {
            let samples = decoder.decode(payload, &mut pcm);
            heard.extend_from_slice(&pcm[..samples]);
        }
        // 40 dB below overload: 328.
        let rms = ark_media::tone::rms(&heard[heard.len() / 4..]);
        assert!((100.0..700.0).contains(&rms), "{}: {rms}", codec.name());
    }
}

#[test]
fn the_length_of_a_key_counts_in_the_clock_that_was_agreed_on_last() {
    let mut leg = Leg::new(agreed());
    leg.session.update(leg.now, Negotiated { dtmf_clock_hz: 48_000, ..agreed() });
    // 9600 units: 200 ms at 48 kHz, 1.2 s at 8.
    let packet = leg.send(101, true, 5_000, &[3, 0x80 | 10, 0x25, 0x80]);
    leg.session.receive_rtp(leg.now, peer(), &packet);
    let held = std::iter::from_fn(|| leg.session.poll()).find_map(|event| match event {
        SessionEvent::DigitEnded { held, .. } => Some(held),
        _ => None,
    });
    assert_eq!(held, Some(Duration::from_millis(200)));
}
