//! A browser's port under whatever the network sends there.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Random, start};
use crate::demux::{Gate, Kind, Refused, check, kind};
use crate::limits::{GATE_CONTROL_BURST, GATE_CONTROL_PER_SECOND_MAX, GATE_MEDIA_BURST, GATE_MEDIA_PER_SECOND_MAX};

/// A true datagram of each kind.
fn sound(random: &mut Random, name: &str) -> Vec<u8> {
    match random.below(5) {
        0 => check(name),
        1 => {
            let mut answer = check("");
            answer[0] = 1;
            answer
        }
        2 => {
            let mut records = Vec::new();
            for _ in 0..=random.below(3) {
                let body = 1 + random.below(300) as usize;
                let content = 20 + random.below(4) as u8;
                records.extend([content, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1]);
                records.extend((body as u16).to_be_bytes());
                records.extend(random.bytes(body));
            }
            records
        }
        number => {
            let mut bytes = random.bytes(60);
            (bytes[0], bytes[1]) = (0x80, if number == 3 { 8 } else { 200 + random.below(6) as u8 });
            bytes
        }
    }
}

/// A gate under true datagrams, broken ones and noise, from its browser, from others, and from others who have the
/// browser's address: what is no whole datagram of its kind never passes, nor does a stranger, nor more in any second than is
/// allowed, and after each storm the browser is heard again.
pub fn gate(seed: u64, iterations: u64) {
    for round in 0..iterations.div_ceil(2000) {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let begin = start();
        let mut now = begin;
        let mut gate = Gate::new(now);
        gate.expect("port");
        let browser = SocketAddr::from(([192, 0, 2, 7], 5000));
        gate.sent(browser);
        let mut passed = [0_u32; 3];
        for _ in 0..2000.min(iterations) {
            now += Duration::from_micros(random.below(2000));
            let name = ["port:them", "other:them", "port", "", "porta:them"][random.below(5) as usize];
            let mut bytes = sound(&mut random, name);
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
            match random.below(12) {
                0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
                1 => {
                    let length = random.below(1400) as usize;
                    bytes = random.bytes(length);
                }
                2 => bytes.extend([0; 7]),
                _ => {}
            }
            let strange = random.one_in(2);
            let from = if strange { SocketAddr::from(([203, 0, 113, 1], random.next_u32() as u16)) } else { browser };
            match gate.judge(now, from, &bytes) {
                Ok(what) => {
                    assert_eq!(Some(what), kind(&bytes), "seed {seed}");
                    assert!(!strange || what == Kind::StunRequest, "seed {seed}: a stranger passed with {what:?}");
                    let bucket = match what {
                        Kind::Rtp | Kind::Rtcp => 0,
                        _ => 1 + usize::from(strange),
                    };
                    passed[bucket] += 1;
                }
                Err(Refused::Garbage) => assert_eq!(kind(&bytes), None, "seed {seed}"),
                Err(Refused::Stranger | Refused::Flood) => {}
            }
        }
        let seconds = now.duration_since(begin).as_secs_f64();
        for (bucket, passed) in passed.into_iter().enumerate() {
            let (per_second, burst) = match bucket {
                0 => (GATE_MEDIA_PER_SECOND_MAX, GATE_MEDIA_BURST),
                _ => (GATE_CONTROL_PER_SECOND_MAX, GATE_CONTROL_BURST),
            };
            let most = f64::from(burst) + seconds * f64::from(per_second) + 1.0;
            assert!(f64::from(passed) <= most, "seed {seed}: {passed} of {most} passed in {seconds} s");
        }
        now += Duration::from_millis(20);
        assert_eq!(gate.judge(now, browser, &check("port:them")), Ok(Kind::StunRequest), "seed {seed}");
        let mut voice = vec![1; 182];
        (voice[0], voice[1]) = (0x80, 8);
        assert_eq!(gate.judge(now, browser, &voice), Ok(Kind::Rtp), "seed {seed}");
        assert_eq!(gate.remote(), Some(browser), "seed {seed}");
    }
}
