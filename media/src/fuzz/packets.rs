//! Hostile packets and bodies.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Random, start};
use crate::dtmf::{Digit, Event, Payload, Receiver};
use crate::limits::{PTIME_STEP, SDP_MEDIA_MAX};
use crate::rtcp::{self, Extended, Report, ReportBlock, Rtcp, SenderInfo, VoipMetrics};
use crate::rtp::{Header, Packet, SeqExtender, Sequence};
use crate::sdp::{Direction, Local, Negotiator, parse};

/// Flips, cuts, doubles and overwrites bytes.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, b'\n', b' ', b'='][random.below(8) as usize],
            3 if bytes.len() < 4096 => {
                let piece = bytes[at..bytes.len().min(at + 40)].to_vec();
                let to = random.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, piece);
            }
            4 if bytes.len() < 4096 => {
                let length = random.below(12) as usize;
                let piece = random.bytes(length);
                bytes.splice(at..at, piece);
            }
            _ if !bytes.is_empty() => {
                let end = bytes.len().min(at + random.below(30) as usize);
                bytes.drain(at..end);
            }
            _ => {}
        }
    }
}

/// RTP: what is read is written back as the same header and payload; sequence numbers never run backwards and loss
/// is never more than was expected.
pub fn rtp(seed: u64, iterations: u64) {
    let mut random = Random::new(seed);
    let mut stream = SeqExtender::new(random.next_u64() as u16);
    let mut highest = 0;
    for i in 0..iterations {
        let header = Header {
            marker: random.one_in(2),
            payload_type: random.below(128) as u8,
            sequence: random.next_u64() as u16,
            timestamp: random.next_u32(),
            ssrc: random.next_u32(),
        };
        let length = random.below(200) as usize;
        let payload = random.bytes(length);
        let mut bytes = vec![0; 12 + length];
        assert_eq!(header.write(&payload, &mut bytes), Some(12 + length), "seed {seed}, iteration {i}");
        assert_eq!(Packet::parse(&bytes), Ok(Packet { header, payload: &payload }), "seed {seed}, iteration {i}");
        bytes[0] = random.next_u64() as u8;
        mutate(&mut random, &mut bytes);
        if let Ok(packet) = Packet::parse(&bytes) {
            assert!(packet.payload.len() + 12 <= bytes.len(), "seed {seed}, iteration {i}: payload out of thin air");
        }
        // Mostly in order, with steps, steps back and wild numbers.
        let step = [1, 1, 1, 1, 2, 5, 0_u16.wrapping_sub(3), random.next_u64() as u16][random.below(8) as usize];
        match stream.update((stream.highest() as u16).wrapping_add(step)) {
            Sequence::New { extended: n, .. } | Sequence::Restarted(n) => {
                assert!(n > highest, "seed {seed}, iteration {i}: {n} after {highest}");
                highest = n;
            }
            Sequence::Reordered(n) => assert!(n < highest || highest == 0, "seed {seed}, iteration {i}"),
            Sequence::Duplicate | Sequence::Suspect => {}
        }
        let (lost, expected) = (stream.lost(), stream.expected());
        assert!(lost <= expected && stream.received() <= expected, "seed {seed}, iteration {i}: {stream:?}");
        if random.one_in(50) {
            stream.fraction_lost();
        }
    }
}

/// RTCP: reports come back as they were written, whatever is done to their bytes is survived, and round-trip times
/// stay within reason.
pub fn rtcp(seed: u64, iterations: u64) {
    let mut random = Random::new(seed);
    for i in 0..iterations {
        let block = ReportBlock {
            ssrc: random.next_u32(),
            fraction_lost: random.next_u64() as u8,
            lost: (random.next_u32() as i32) >> 8,
            highest_sequence: random.next_u32(),
            jitter: random.next_u32(),
            last_sr: random.next_u32(),
            delay_since_sr: random.next_u32(),
        };
        let info = SenderInfo { ntp: random.next_u64(), rtp_timestamp: 1, packets: random.next_u32(), bytes: 3 };
        let report = Report {
            ssrc: random.next_u32(),
            sender: random.one_in(2).then_some(info),
            block: random.one_in(2).then_some(block),
            cname: &"ark@gateway-with-a-name-longer-than-what-fits-into-one-item-of-sdes"[..random.below(67) as usize],
            extended: random.one_in(2).then(|| Extended {
                voip: random.one_in(2).then(|| VoipMetrics { ssrc: random.next_u32(), ..VoipMetrics::default() }),
                reference_time: random.one_in(2).then(|| random.next_u64()),
                delay: random.one_in(2).then(|| (random.next_u32(), random.next_u32(), random.next_u32())),
            }),
            bye: random.one_in(4),
        };
        let mut out = [0; 260];
        let length = report.write(&mut out).unwrap_or_else(|| panic!("seed {seed}, iteration {i}: does not fit"));
        let mut blocks = Vec::new();
        for packet in rtcp::parse(&out[..length]) {
            match packet.unwrap_or_else(|e| panic!("seed {seed}, iteration {i}: {e}")) {
                Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => blocks.extend(reports),
                Rtcp::Extended { blocks, .. } => {
                    let wrote = report.extended.unwrap_or_default();
                    let count = usize::from(wrote.voip.is_some())
                        + usize::from(wrote.reference_time.is_some())
                        + usize::from(wrote.delay.is_some());
                    assert_eq!(blocks.count(), count, "seed {seed}, iteration {i}");
                }
                _ => {}
            }
        }
        assert_eq!(blocks, Vec::from_iter(report.block), "seed {seed}, iteration {i}");
        let mut bytes = out[..length].to_vec();
        mutate(&mut random, &mut bytes);
        let packets = rtcp::parse(&bytes).inspect(|packet| {
            if let Ok(Rtcp::Extended { blocks, .. }) = packet {
                assert!(blocks.count() <= bytes.len(), "seed {seed}, iteration {i}");
            }
        });
        assert!(packets.count() <= 17, "seed {seed}, iteration {i}");
        if let Some(round_trip) = rtcp::round_trip(random.next_u64(), &block) {
            assert!(round_trip < Duration::from_secs(60), "seed {seed}, iteration {i}");
        }
    }
}

/// Offers of real phones and gateways, in our own writing.
pub static OFFERS: &[(&str, &str)] = &[
    ("linphone", include_str!("../../tests/sdp/linphone.sdp")),
    ("zoiper", include_str!("../../tests/sdp/zoiper.sdp")),
    ("cisco", include_str!("../../tests/sdp/cisco.sdp")),
    ("huawei-ims", include_str!("../../tests/sdp/huawei-ims.sdp")),
    ("teams-direct-routing", include_str!("../../tests/sdp/teams-direct-routing.sdp")),
    ("asterisk", include_str!("../../tests/sdp/asterisk.sdp")),
    ("freeswitch", include_str!("../../tests/sdp/freeswitch.sdp")),
    ("baresip", include_str!("../../tests/sdp/baresip.sdp")),
    ("sipp", include_str!("../../tests/sdp/sipp.sdp")),
    ("ipv6-microsip", include_str!("../../tests/sdp/ipv6-microsip.sdp")),
    ("old-gateway-hold", include_str!("../../tests/sdp/old-gateway-hold.sdp")),
    ("t38-reinvite", include_str!("../../tests/sdp/t38-reinvite.sdp")),
    ("chrome", include_str!("../../tests/sdp/chrome.sdp")),
];

/// SDP: mutated offers are answered or refused; every answer can be read, has as many media lines as the offer, one of
/// them ours, and what was agreed can be sent.
pub fn sdp(seed: u64, iterations: u64) {
    let mut random = Random::new(seed);
    let mut leg = Negotiator::new(Local::new(SocketAddr::from(([10, 0, 0, 1], 20_000)), 42));
    let mut version = 0;
    for i in 0..iterations {
        let (name, text) = OFFERS[random.below(OFFERS.len() as u64) as usize];
        let mut offer = if random.one_in(2) { text.replace('\n', "\r\n") } else { text.to_owned() }.into_bytes();
        if !random.one_in(8) {
            mutate(&mut random, &mut offer);
        }
        if random.one_in(10)
            && let Some(at) = offer.windows(8).position(|w| w == b"m=audio ")
        {
            offer.splice(at + 8..at + 8, *b"0 RTP/AVP 8 ");
        }
        let about = || format!("seed {seed}, iteration {i}, {name}: {}", String::from_utf8_lossy(&offer));
        let result = if random.one_in(6) {
            leg.offer([Direction::SendRecv, Direction::SendOnly, Direction::Inactive][random.below(3) as usize]);
            leg.accept_answer(&offer).map(|negotiated| (None, negotiated))
        } else {
            leg.answer(&offer).map(|(body, negotiated)| (Some(body), negotiated))
        };
        let (body, negotiated) = match result {
            Ok(result) => result,
            Err(error) => {
                assert!([400, 413, 488].contains(&error.sip_status()), "{}", about());
                continue;
            }
        };
        assert!(negotiated.ptime >= PTIME_STEP && negotiated.remote.port() != 0, "{}", about());
        assert!(!negotiated.remote.ip().is_unspecified() || !negotiated.direction.sends(), "{}", about());
        assert!(negotiated.payload_type < 128 && negotiated.dtmf_payload_type.is_none_or(|n| n < 128), "{}", about());
        let Some(body) = body else { continue };
        let theirs = parse(&offer).unwrap_or_else(|e| panic!("{e}: {}", about()));
        let ours = parse(&body).unwrap_or_else(|e| panic!("{e}: {}", about()));
        assert!(ours.media.len() == theirs.media.len() && ours.media.len() <= SDP_MEDIA_MAX, "{}", about());
        assert_eq!(ours.media.iter().filter(|m| m.port != 0).count(), 1, "{}", about());
        let now = ours.origin.map_or(0, |(_, version)| version);
        assert!(now >= version, "{}", about());
        version = now;
    }
}

/// Telephone-events: lost, doubled and reordered packets, ends and markers. Every key that a packet of it reached the
/// receiver in order for is reported once, with one end.
pub fn dtmf(seed: u64, iterations: u64) {
    let mut random = Random::new(seed);
    for i in 0..iterations {
        let begin = start();
        let mut receiver = Receiver::new(8000);
        let mut timestamp = random.next_u32();
        let (mut pressed, mut reported) = (String::new(), String::new());
        let mut old: Option<(u32, [u8; 4])> = None;
        let mut ends = 0;
        let mut ms = 0;
        for _ in 0..1 + random.below(8) {
            let Some(digit) = Digit::from_event(random.below(16) as u8) else { continue };
            let updates = 1 + random.below(6);
            let mut heard = false;
            for n in 0..updates + 3 {
                ms += 20;
                let end = n >= updates;
                let duration = (n.min(updates) + 1) as u16 * 160;
                let mut payload = Payload { event: digit.event(), end, volume: 10, duration }.to_bytes().to_vec();
                if random.one_in(3) {
                    continue;
                }
                heard = true;
                if random.one_in(8) {
                    payload.extend(random.bytes(3));
                }
                for _ in 0..1 + random.below(2) {
                    let now = begin + Duration::from_millis(ms);
                    let mut next = receiver.receive(now, 1, timestamp, &payload);
                    while let Some(event) = next {
                        match event {
                            Event::Start(d) => reported.push(d.as_char()),
                            Event::End(..) => ends += 1,
                            Event::Held(_) => {}
                        }
                        next = receiver.waiting();
                    }
                }
                if let Some((timestamp, payload)) = old.filter(|_| random.one_in(3)) {
                    let late = receiver.receive(begin + Duration::from_millis(ms), 1, timestamp, &payload);
                    assert_eq!(late, None, "seed {seed}, iteration {i}: a late packet of an old key counts");
                }
            }
            if heard {
                pressed.push(digit.as_char());
                let event = Payload { event: digit.event(), end: random.one_in(2), volume: 10, duration: 640 };
                old = Some((timestamp, event.to_bytes()));
            } else {
                // The one before that is older than any packet can be late.
                old = None;
            }
            let length = random.below(5) as usize;
            let junk = [[200].as_slice(), &random.bytes(length)].concat();
            assert_eq!(receiver.receive(begin, 1, timestamp, &junk), None, "seed {seed}, iteration {i}");
            ms += random.below(200);
            timestamp = timestamp.wrapping_add(1600 + random.below(8000) as u32);
        }
        let last = receiver.expire(begin + Duration::from_millis(ms + 10_000));
        ends += usize::from(last.is_some());
        assert_eq!(pressed, reported, "seed {seed}, iteration {i}");
        assert_eq!(ends, reported.len(), "seed {seed}, iteration {i}: every key ends once");
    }
}
