//! What comes to a browser's port (RFC 7983): STUN, DTLS, SRTP and SRTCP by one socket, told apart by their first byte, and
//! whatever else the network sends there, which is kept out before it costs anything.
//!
//! [`kind`] says what a datagram is, and that its lengths hold. A [`Gate`] lets through what may be of the one browser that a
//! port is for: checks of ICE that name the port's own user fragment (RFC 8445 7.2.2), which only that browser was told, and
//! anything else from addresses that such a check or its answer has shown; and of all that, no more than a call needs. Keys
//! and tags are for the stack behind it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::{
    GATE_ADDRESSES_MAX, GATE_CONTROL_BURST, GATE_CONTROL_PER_SECOND_MAX, GATE_MEDIA_BURST, GATE_MEDIA_PER_SECOND_MAX,
    RTP_HEADER_BYTES,
};

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request of STUN (RFC 8489 5): a check of ICE.
    StunRequest,
    /// Its answer, or an indication.
    StunOther,
    /// Records of DTLS 1.2 (RFC 6347 4.1).
    Dtls,
    /// RTP under SRTP (RFC 3711).
    Rtp,
    /// RTCP under SRTCP.
    Rtcp,
}

/// Why a datagram is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is nothing that comes to such a port.
    Garbage,
    /// It is of nobody who was told of this port.
    Stranger,
    /// It is more than a call needs.
    Flood,
}

/// Bytes of a STUN header, and its fifth to eighth (RFC 8489 5).
const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// The attribute USERNAME (RFC 8489 14.3).
const USERNAME: u16 = 0x0006;
/// Bytes of the header of a DTLS record, and the most that it may hold (RFC 6347 4.1, RFC 5246 6.2.3).
const DTLS_HEADER_BYTES: usize = 13;
const DTLS_RECORD_BYTES_MAX: usize = (1 << 14) + 2048;
/// The shortest tag of SRTP in WebRTC (RFC 5764 4.1.2), and the index that SRTCP adds (RFC 3711 3.4).
const SRTP_TAG_BYTES: usize = 10;
const SRTCP_INDEX_BYTES: usize = 4;

/// What a datagram is; `None`: nothing of these, or its own lengths do not hold.
#[must_use]
pub fn kind(bytes: &[u8]) -> Option<Kind> {
    match *bytes.first()? {
        0..=3 => stun(bytes),
        20..=25 => dtls(bytes).then_some(Kind::Dtls),
        128..=191 => rtp_or_rtcp(bytes),
        _ => None,
    }
}

fn stun(bytes: &[u8]) -> Option<Kind> {
    let (header, attributes) = bytes.split_first_chunk::<STUN_HEADER_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if length != attributes.len() || !length.is_multiple_of(4) || header[4..8] != STUN_COOKIE {
        return None;
    }
    if Attributes(attributes).any(|attribute| attribute.is_none()) {
        return None;
    }
    // Class (RFC 8489 5): bits 8 and 4 of the type; the only method on such a port is Binding.
    let kind = u16::from_be_bytes([header[0], header[1]]);
    (kind & !0x0110 == 1).then_some(if kind & 0x0110 == 0 { Kind::StunRequest } else { Kind::StunOther })
}

/// Type and value of each attribute; `None` once where the bytes end inside one.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((head, rest)) = self.0.split_first_chunk::<4>() else {
            self.0 = &[];
            return Some(None);
        };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (Some(value), Some(after)) = (rest.get(..length), rest.get(length.next_multiple_of(4)..)) else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = after;
        Some(Some((u16::from_be_bytes([head[0], head[1]]), value)))
    }
}

/// The user name of a check, which is two fragments: of who is asked, and of who asks (RFC 8445 7.2.2).
fn asked_for(bytes: &[u8]) -> Option<&[u8]> {
    let attributes = bytes.get(STUN_HEADER_BYTES..)?;
    let (_, name) = Attributes(attributes).flatten().find(|(kind, _)| *kind == USERNAME)?;
    name.split(|byte| *byte == b':').next()
}

fn dtls(mut bytes: &[u8]) -> bool {
    // A datagram holds whole records.
    while let Some((header, rest)) = bytes.split_first_chunk::<DTLS_HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        // 1.0 to 1.2: 254, and 255 or 253.
        let known = (20..=25).contains(&header[0]) && header[1] == 0xFE && matches!(header[2], 0xFD | 0xFF);
        let Some(after) = rest.get(length..).filter(|_| known && (1..=DTLS_RECORD_BYTES_MAX).contains(&length)) else {
            return false;
        };
        bytes = after;
    }
    bytes.is_empty()
}

fn rtp_or_rtcp(bytes: &[u8]) -> Option<Kind> {
    // RFC 5761 4: the types of RTCP are no payload types of RTP.
    if (192..=223).contains(bytes.get(1)?) {
        return (bytes.len() >= 8 + SRTCP_INDEX_BYTES + SRTP_TAG_BYTES).then_some(Kind::Rtcp);
    }
    let mut header = RTP_HEADER_BYTES + usize::from(bytes[0] & 15) * 4;
    if bytes[0] & 0x10 != 0 {
        let words = bytes.get(header + 2..header + 4)?;
        header += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    (bytes.len() >= header + SRTP_TAG_BYTES).then_some(Kind::Rtp)
}

/// So many a second, and so many at once.
#[derive(Debug)]
struct Allowance {
    left: f64,
    per_second: f64,
    burst: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { left: burst, per_second: f64::from(per_second), burst, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(self.burst);
        let takes = self.left >= 1.0;
        self.left -= f64::from(u8::from(takes));
        takes
    }
}

/// Whoever comes to one port of one browser's leg passes here.
#[derive(Debug)]
pub struct Gate {
    /// Our user fragments: the newest, and the one before an ICE restart.
    fragments: [Vec<u8>; 2],
    /// Whom we have sent to, newest last.
    known: Vec<SocketAddr>,
    media: Allowance,
    /// Of addresses that are known, and of those that are not: a flood of one is no hindrance to the other.
    control: [Allowance; 2],
    remote: Option<SocketAddr>,
}

impl Gate {
    /// A gate that nobody passes before [`Gate::expect`].
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let control = || Allowance::new(now, GATE_CONTROL_PER_SECOND_MAX, GATE_CONTROL_BURST);
        Self {
            fragments: Default::default(),
            known: Vec::with_capacity(GATE_ADDRESSES_MAX),
            media: Allowance::new(now, GATE_MEDIA_PER_SECOND_MAX, GATE_MEDIA_BURST),
            control: [control(), control()],
            remote: None,
        }
    }

    /// The browser was told this user fragment (`a=ice-ufrag`). The one before holds on.
    pub fn expect(&mut self, fragment: &str) {
        if !fragment.is_empty() && self.fragments[0] != fragment.as_bytes() {
            self.fragments.swap(0, 1);
            self.fragments[0] = fragment.as_bytes().to_vec();
        }
    }

    /// The stack sends to this address: it trusts it, or the browser itself named it.
    pub fn sent(&mut self, to: SocketAddr) {
        if self.known.last() == Some(&to) || self.known.contains(&to) {
            return;
        }
        if self.known.len() == GATE_ADDRESSES_MAX {
            let oldest = self.known.iter().position(|known| Some(*known) != self.remote).unwrap_or(0);
            self.known.remove(oldest);
        }
        self.known.push(to);
    }

    /// Whether a datagram may go on to the stack, and as what.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<Kind, Refused> {
        let kind = kind(bytes).ok_or(Refused::Garbage)?;
        let known = self.remote == Some(from) || self.known.contains(&from);
        let wanted = match kind {
            Kind::StunRequest => {
                asked_for(bytes).is_some_and(|name| !name.is_empty() && self.fragments.iter().any(|own| own == name))
            }
            _ => known,
        };
        if !wanted {
            return Err(Refused::Stranger);
        }
        let allowance = match kind {
            Kind::Rtp | Kind::Rtcp => &mut self.media,
            _ => &mut self.control[usize::from(!known)],
        };
        if !allowance.take(now) {
            return Err(Refused::Flood);
        }
        if kind == Kind::Rtp {
            self.remote = Some(from);
        }
        Ok(kind)
    }

    /// Where the browser's voice comes from; before it does, where the stack last began to send to.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.or_else(|| self.known.last().copied())
    }
}

/// A check of ICE with this user name, for tests and fuzzers: its integrity is not that of a real one.
#[doc(hidden)]
#[must_use]
pub fn check(name: &str) -> Vec<u8> {
    let padded = name.len().next_multiple_of(4);
    let mut bytes = vec![0, 1, 0, (4 + padded) as u8];
    bytes.extend(STUN_COOKIE);
    bytes.extend([7; 12]);
    bytes.extend(USERNAME.to_be_bytes());
    bytes.extend((name.len() as u16).to_be_bytes());
    bytes.extend(name.bytes());
    bytes.resize(STUN_HEADER_BYTES + 4 + padded, 0);
    bytes
}

/// How long after a flood the gate lets the next one in, at most.
#[doc(hidden)]
pub const RECOVERS_WITHIN: Duration = Duration::from_millis(20);
const _: () = assert!(RECOVERS_WITHIN.as_millis() as u32 * GATE_CONTROL_PER_SECOND_MAX >= 1000);
const _: () = assert!(RECOVERS_WITHIN.as_millis() as u32 * GATE_MEDIA_PER_SECOND_MAX >= 1000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::start;

    fn browser() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], 5000))
    }

    fn stranger() -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 66], 5000))
    }

    fn srtp() -> Vec<u8> {
        let mut bytes = vec![0x80, 8, 0, 1];
        bytes.resize(182, 1);
        bytes
    }

    #[test]
    fn each_kind_is_told_by_its_first_byte_and_its_lengths() {
        assert_eq!(kind(&check("ours:theirs")), Some(Kind::StunRequest));
        let mut answer = check("");
        answer[0] = 1;
        assert_eq!(kind(&answer), Some(Kind::StunOther));
        let record =
            |body: usize| [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, body as u8][..], &vec![1; body]].concat();
        assert_eq!(kind(&record(40)), Some(Kind::Dtls));
        assert_eq!(kind(&[record(40), record(12)].concat()), Some(Kind::Dtls), "two records in one datagram");
        assert_eq!(kind(&srtp()), Some(Kind::Rtp));
        let mut report = srtp();
        report[1] = 200;
        assert_eq!(kind(&report), Some(Kind::Rtcp));
        let (mut cookie, mut method, mut whole, mut long) = (check("a:b"), check("a:b"), check("a:b"), srtp());
        cookie[4] = 0;
        method[1] = 3;
        whole.push(0);
        // An extension that is longer than the datagram.
        (long[0], long[14]) = (0x90, 0xFF);
        let short = record(40)[..30].to_vec();
        let wrong = [cookie, method, whole, long, short, vec![], vec![0], vec![22], vec![128; 12], vec![70; 40]];
        for bytes in wrong {
            assert_eq!(kind(&bytes), None, "{bytes:?}");
        }
        let mut attribute = check("abcd:efg");
        attribute[23] = 60;
        assert_eq!(kind(&attribute), None, "an attribute that is longer than what is left");
    }

    #[test]
    fn who_knows_the_fragment_comes_in_and_nobody_else() {
        let now = start();
        let mut gate = Gate::new(now);
        assert_eq!(gate.judge(now, browser(), &check("ours:theirs")), Err(Refused::Stranger), "nobody is expected");
        gate.expect("ours");
        assert_eq!(gate.judge(now, stranger(), &check("other:theirs")), Err(Refused::Stranger));
        assert_eq!(gate.judge(now, stranger(), &check("")), Err(Refused::Stranger));
        assert_eq!(gate.judge(now, browser(), &srtp()), Err(Refused::Stranger), "it has not been checked");
        assert_eq!(gate.judge(now, browser(), &check("ours:theirs")), Ok(Kind::StunRequest));
        gate.sent(browser());
        assert_eq!(gate.judge(now, browser(), &srtp()), Ok(Kind::Rtp));
        assert_eq!(gate.remote(), Some(browser()));
        assert_eq!(gate.judge(now, stranger(), &srtp()), Err(Refused::Stranger));
        // An ICE restart: for a while both fragments are used.
        gate.expect("newer");
        for name in ["ours:theirs", "newer:theirs"] {
            assert_eq!(gate.judge(now, browser(), &check(name)), Ok(Kind::StunRequest), "{name}");
        }
        gate.expect("newest");
        assert_eq!(gate.judge(now, browser(), &check("ours:theirs")), Err(Refused::Stranger));
    }

    #[test]
    fn ten_times_a_calls_packets_are_a_flood_and_a_checks_flood_hinders_no_voice() {
        let mut now = start();
        let mut gate = Gate::new(now);
        gate.expect("ours");
        gate.sent(browser());
        // 100 packets a second are the most that a phone sends.
        for _ in 0..500 {
            now += Duration::from_millis(10);
            assert_eq!(gate.judge(now, browser(), &srtp()), Ok(Kind::Rtp));
        }
        let passed = (0..20_000)
            .filter(|n| gate.judge(now + Duration::from_micros(n * 100), browser(), &srtp()).is_ok())
            .count() as u32;
        assert!(passed <= GATE_MEDIA_BURST + 2 * GATE_MEDIA_PER_SECOND_MAX + 1, "{passed} in two seconds");
        now += Duration::from_secs(3);
        let checks = (0..10_000).filter(|_| gate.judge(now, stranger(), &check("ours:x")).is_ok()).count() as u32;
        assert_eq!(checks, GATE_CONTROL_BURST);
        assert_eq!(gate.judge(now, browser(), &srtp()), Ok(Kind::Rtp));
        assert_eq!(gate.judge(now, browser(), &check("ours:theirs")), Ok(Kind::StunRequest));
        assert!(gate.judge(now + RECOVERS_WITHIN, stranger(), &check("ours:x")).is_ok());
    }

    #[test]
    fn the_addresses_that_are_known_are_bounded_and_the_voices_stays() {
        let now = start();
        let mut gate = Gate::new(now);
        gate.sent(browser());
        assert!(gate.judge(now, browser(), &srtp()).is_ok());
        for port in 0..1000 {
            gate.sent(SocketAddr::from(([203, 0, 113, 66], 1000 + port)));
        }
        assert_eq!(gate.known.len(), GATE_ADDRESSES_MAX);
        assert!(gate.judge(now, browser(), &srtp()).is_ok());
    }
}
