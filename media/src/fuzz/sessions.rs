//! Sessions and recordings under random input in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Random, start};
use crate::codec;
use crate::dtmf::Digit;
use crate::limits::{DATAGRAM_BYTES_MAX, PTIME_STEP, TICK};
use crate::prompt::EncodedPrompt;
use crate::record::{HEADER_BYTES, Layout, Recorder, Side};
use crate::rtp::{Header, Packet};
use crate::sdp::{Direction, Negotiated};
use crate::session::{Playlist, RelayKeys, Session, SessionConfig, SessionEvent, SourcePolicy};

const PEER: ([u8; 4], u16) = ([192, 0, 2, 9], 4000);
const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 66], 4000);

struct Story {
    seed: u64,
    random: Random,
    now: Instant,
    session: Session,
    ssrc: u32,
    prompts: Vec<Arc<EncodedPrompt>>,
    /// Next packet of the peer.
    theirs: Header,
    presses: usize,
    started: usize,
    ended: usize,
    keys: usize,
    /// The highest sequence number sent, and the clock's highest timestamp.
    sent: Option<u16>,
}

fn agreed(random: &mut Random) -> Negotiated {
    let codec = codec::ALL[random.below(codec::ALL.len() as u64) as usize];
    let number = codec.payload_type().unwrap_or(96);
    let directions = [Direction::SendRecv, Direction::SendRecv, Direction::RecvOnly, Direction::SendOnly];
    let events = (!random.one_in(4)).then_some(101);
    let remote = if random.one_in(8) { SocketAddr::from(([0, 0, 0, 0], 4000)) } else { PEER.into() };
    let step = if codec.concatenates() { PTIME_STEP } else { TICK };
    let most = 60 / step.as_millis() as u64;
    Negotiated {
        dtmf_payload_type: events,
        receive_dtmf_payload_type: events,
        dtmf_clock_hz: if random.one_in(4) { 8000 } else { codec.rtp_clock_hz() },
        ptime: step * (1 + random.below(most) as u32),
        direction: directions[random.below(4) as usize],
        rtcp_mux: random.one_in(2),
        ..Negotiated::new(codec, number, remote)
    }
}

/// A session is given packets, junk, keys, playlists, re-INVITEs, holds, stalls and relays at random. Whatever happens:
/// every packet it writes is sound and allowed, its sequence numbers go up, every playlist ends once, no key is counted
/// that was not pressed, and a stranger is never heard.
pub fn session(seed: u64, iterations: u64) {
    let prompts: Vec<_> = codec::ALL
        .iter()
        .flat_map(|codec| [1, 20, 50, 333].map(|ms| EncodedPrompt::encode(&vec![1000; ms * 8], *codec, TICK)))
        .collect();
    for round in 0..iterations.div_ceil(500) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let mut first = agreed(&mut random);
        first.remote = PEER.into();
        let mut config = SessionConfig::new(first, random.next_u64());
        config.comfort_silence = random.one_in(2);
        if random.one_in(2) {
            // The stranger's own host: also from there nothing is learned after the window.
            let host = STRANGER.0.into();
            config.source = SourcePolicy::LearnOnce { host, window: Duration::from_millis(1) };
        }
        let now = start();
        let theirs = Header { marker: true, payload_type: 8, sequence: 65_530, timestamp: u32::MAX - 900, ssrc: 5 };
        let mut story = Story {
            seed,
            ssrc: config.ssrc,
            session: Session::new(now, config),
            random,
            // The learning window is over when the story begins.
            now: now + Duration::from_millis(2),
            prompts: prompts.clone(),
            theirs,
            presses: 0,
            started: 0,
            ended: 0,
            keys: 0,
            sent: None,
        };
        for _ in 0..500.min(iterations) {
            story.step();
        }
        story.session.stop(None);
        story.drain();
        assert_eq!(story.started, story.ended, "seed {seed}: every playlist ends once");
        assert!(story.keys <= story.presses, "seed {seed}: {} keys of {}", story.keys, story.presses);
        let quality = story.session.quality();
        assert!(quality.lost <= quality.expected, "seed {seed}: {quality:?}");
    }
}

impl Story {
    fn step(&mut self) {
        let seed = self.seed;
        self.now += Duration::from_millis(self.random.below(30));
        match self.random.below(16) {
            0..=4 => self.tick(),
            5..=7 => self.peer_speaks(),
            8 => self.peer_presses(),
            9 => self.stranger_speaks(),
            10 => {
                let items = (0..self.random.below(4))
                    .map(|_| self.prompts[self.random.below(self.prompts.len() as u64) as usize].clone())
                    .collect();
                let list = Playlist {
                    id: self.random.below(3),
                    items,
                    barge_in: self.random.one_in(2),
                    repeat: self.random.one_in(3),
                };
                self.started += usize::from(self.session.play(list).is_ok());
            }
            11 => self.session.stop(self.random.one_in(2).then_some(1)),
            12 => {
                let negotiated = agreed(&mut self.random);
                self.session.update(self.now, negotiated);
            }
            13 => {
                let relay = [None, Some(RelayKeys::Pass), Some(RelayKeys::Keep)][self.random.below(3) as usize];
                self.session.set_relay(relay);
            }
            14 => {
                let digit = Digit::from_event(self.random.below(16) as u8).unwrap_or_else(|| panic!("seed {seed}"));
                if self.random.one_in(2) {
                    self.presses += 1;
                    self.session.info_digit(self.now, digit);
                } else {
                    self.session.send_digit(digit, Duration::from_millis(self.random.below(300)));
                }
            }
            _ => {
                self.session.skip(self.random.below(200) as u32);
                let mut out = [0; 200];
                if let Some(length) = self.session.rtcp_report(self.now, &mut out) {
                    assert!(crate::rtcp::parse(&out[..length]).all(|p| p.is_ok()), "seed {seed}");
                }
                let length = self.random.below(100) as usize;
                let junk = self.random.bytes(length);
                self.session.receive_rtcp(self.now, PEER.into(), &junk);
                assert!(self.session.receive_rtp(self.now, PEER.into(), &junk).media().is_none() || junk[0] >> 6 == 2);
            }
        }
        self.drain();
    }

    fn tick(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        if let Some(length) = self.session.next_frame(self.now, &mut out) {
            self.check(&out[..length], true);
        }
    }

    fn check(&mut self, bytes: &[u8], in_order: bool) {
        let seed = self.seed;
        let packet = Packet::parse(bytes).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let agreed = self.session.negotiated();
        let listens = agreed.direction.sends() && !agreed.remote.ip().is_unspecified();
        assert!(listens, "seed {seed}: sent to a peer that does not listen");
        assert_eq!(packet.header.ssrc, self.ssrc, "seed {seed}");
        let number = packet.header.payload_type;
        let event = Some(number) == agreed.dtmf_payload_type;
        assert!(event || number == agreed.payload_type, "seed {seed}: payload type {number}");
        if in_order {
            let (length, ms) = (packet.payload.len(), agreed.ptime.as_millis() as usize);
            let fits = match agreed.codec.name() {
                _ if event => length == 4,
                "opus" => codec::opus_packet_samples(packet.payload, 1000) == ms,
                "G729" => length == ms,
                _ => length == ms * 8,
            };
            assert!(fits, "seed {seed}: {length} bytes of {} in {ms} ms", agreed.codec.name());
        }
        let sequence = packet.header.sequence;
        if let Some(last) = self.sent {
            let step = sequence.wrapping_sub(last) as i16;
            assert!(if in_order { step == 1 } else { step != 0 }, "seed {seed}: {sequence} after {last}");
            if step < 0 {
                return;
            }
        }
        self.sent = Some(sequence);
    }

    fn packet(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        self.theirs.sequence = self.theirs.sequence.wrapping_add(1 + self.random.one_in(9) as u16);
        self.theirs.timestamp = self.theirs.timestamp.wrapping_add(160);
        self.theirs.ssrc += u32::from(self.random.one_in(100));
        let header = Header { payload_type, marker: self.random.one_in(20), ..self.theirs };
        [&header.to_bytes(), payload].concat()
    }

    fn peer_speaks(&mut self) {
        let payload = [0xD5; 160];
        let number = self.session.negotiated().payload_type;
        let mut bytes = self.packet(number, &payload);
        if self.random.one_in(5) {
            let at = self.random.below(12) as usize;
            // Not the payload type: a key that nobody pressed would be a fair guess then.
            if at != 1 {
                bytes[at] ^= 1 << self.random.below(8);
            }
        }
        let received = self.session.receive_rtp(self.now, PEER.into(), &bytes).media();
        let mut out = [0; DATAGRAM_BYTES_MAX];
        if let Some(media) = received
            && let Some(length) = self.session.forward(self.now, &media, &mut out)
        {
            self.check(&out[..length], false);
        }
    }

    fn peer_presses(&mut self) {
        let event = self.random.below(18) as u8;
        let end = if self.random.one_in(2) { 0x80 } else { 0 };
        self.presses += 1;
        let payload = [event, end, 1, self.random.next_u64() as u8];
        let bytes = self.packet(101, &payload);
        self.session.receive_rtp(self.now, PEER.into(), &bytes);
    }

    fn stranger_speaks(&mut self) {
        let number = self.session.negotiated().payload_type;
        let bytes = self.packet(number, &[1; 160]);
        let heard = self.session.receive_rtp(self.now, STRANGER.into(), &bytes).media().is_some();
        assert!(!heard, "seed {}: a stranger was heard", self.seed);
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll() {
            match event {
                SessionEvent::PlayEnded(_) => self.ended += 1,
                SessionEvent::Digit { .. } => self.keys += 1,
                _ => {}
            }
        }
    }
}

/// A recorder under packets from anywhere in time: its writes never leave a hole, and the file is as long as the call.
pub fn recorder(seed: u64, iterations: u64) {
    for round in 0..iterations.div_ceil(1000) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let begin = start();
        let mut now = begin;
        let mut recorder = Recorder::new(now, Layout::Sides);
        let mut file = 0;
        let mut bytes = Vec::new();
        let mut codec = codec::ALL[random.below(codec::ALL.len() as u64) as usize];
        for step in 0..1000 {
            now += Duration::from_millis(random.below(40) * (1 + 50 * u64::from(random.one_in(200))));
            let side = if random.one_in(2) { Side::Caller } else { Side::Ark };
            if random.one_in(40) {
                codec = codec::ALL[random.below(codec::ALL.len() as u64) as usize];
            }
            let timestamp = if random.one_in(20) { random.next_u32() } else { step * 160 };
            let length = random.below(600) as usize;
            recorder.push(now, side, codec, random.below(40) as u32 / 39, timestamp, &random.bytes(length));
            if step == 999 {
                recorder.finish(now);
            }
            while let Some(write) = recorder.poll(now, &mut bytes) {
                assert!(write.offset <= file, "seed {seed}: a hole at {file}");
                file = file.max(write.offset + write.bytes as u64);
                bytes.clear();
            }
        }
        let expected = (now - begin).as_millis() as u64 * 32 + HEADER_BYTES as u64;
        assert_eq!(file, expected, "seed {seed}");
    }
}
