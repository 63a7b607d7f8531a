//! Fuzzers of the wire: mutated messages as datagrams and streams, written messages read back, fields out of noise.

use std::net::SocketAddr;

use super::SplitMix;
use crate::limits::PARAMS_MAX;
use crate::types::{AuthParams, CSeq, Host, Method, NameAddr, Uri, Via, decode, unfold, unquote};
use crate::wire::{ErrorKind, HeaderName, Message, ParseError, StreamFramer, parse_datagram};
use crate::write::{request, response_to};
use crate::{Report, parse_report};

macro_rules! corpus {
    ($($name:literal),* $(,)?) => { &[$(include_bytes!(concat!("../../tests/corpus/", $name, ".sip"))),*] };
}

/// What is mutated: messages of our own corpus that between them use every construct.
static CORPUS: &[&[u8]] = corpus![
    "tortuous",
    "wide-characters",
    "escapes",
    "percent-is-no-escape",
    "semicolon-in-user",
    "transports",
    "multipart-binary",
    "reason-in-chinese",
    "reason-empty",
    "empty-separators",
    "length-too-large",
    "everything-twice",
    "two-lengths",
    "two-in-one-datagram",
    "rfc2543-invite",
    "ipv6-received-bracketed",
    "ipv4-mapped",
    "ipv6-three-colons",
    "both-families-in-vias",
    "name-in-gbk-backslash",
    "name-quoted-twice",
    "challenge-folded",
    "line-feeds-only",
    "all-compact",
    "tel-everywhere",
    "identity-in-one-line",
    "early-media",
    "transport-in-lower-case",
    "line-ends-before",
    "via-folded",
    "vias-in-one-line",
    "marks-in-quoted-name",
    "instance-and-gruu",
    "sdp-and-isup",
    "ims-headers",
    "sip-uri-with-everything",
    "smuggled-in-a-body",
    "length-behind-a-bare-cr",
    "bracket-in-a-via",
    "head-cut-off",
    "keep-alive",
];

/// How the lines of an answer begin, and no other does.
static ECHOED: &[&[u8]] = &[b"Via: ", b"From: ", b"To: ", b"Call-ID: ", b"CSeq: ", b"Content-Length: "];

/// Marks on which parsers stumble.
static MARKS: &[u8] = b"\r\n\t \0\"\\<>;,:=@?%[]/()*+#\x7f\x80\x81\xff\xe4\x5c0lLvV";

/// Pieces that belong somewhere, at the wrong place.
static PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n ",
    b"\r\n\t",
    b"\r\n\r\n",
    b"Content-Length: 0\r\n",
    b"l : 7\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"CSeq: 4294967296 INVITE\r\n",
    b";;;;",
    b",,,,",
    b"\"",
    b"\\\"",
    b"<sip:",
    b"SIP/2.0",
    b"SIP/2.0/UDP [::1]:5060;rport;received=::1;branch=z9hG4bK",
    b";tag=",
    b";rport",
    b"--=_ark.9\r\n",
    b"\x81\x5c",
    b"[2001:db8:::1]",
    b"multipart/mixed;boundary=\"a\"",
];

/// Datagrams: nothing panics whatever comes; what is accepted is consistent; what is answered can be read.
pub fn datagrams(seed: u64, iterations: u64) {
    let mut random = SplitMix(seed);
    let mut bytes = Vec::new();
    for _ in 0..iterations {
        mutate(&mut random, &mut bytes);
        match parse_datagram(&bytes) {
            Ok(message) => check_message(&message, &bytes, seed),
            Err(error) => check_error(&error, &bytes, seed),
        }
    }
}

/// Streams: the same messages however the bytes are cut, and the same boundary as a datagram's.
pub fn streams(seed: u64, iterations: u64) {
    let mut random = SplitMix(seed);
    let (mut bytes, mut one) = (Vec::new(), Vec::new());
    for _ in 0..iterations {
        bytes.clear();
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut one);
            bytes.extend_from_slice(&one);
        }
        let whole = run_stream(&bytes, |rest| rest);
        let cut = run_stream(&bytes, |rest| 1 + random.below(rest.min(200)));
        assert_eq!(whole, cut, "the cut matters to {bytes:?} (seed {seed})");
        if let (Some(Ok(stream)), Ok(datagram)) = (whole.0.first(), parse_datagram(&bytes)) {
            assert_eq!(stream, datagram.raw(), "two boundaries in {bytes:?} (seed {seed})");
        }
    }
}

/// What was written is what is read, as datagram and as stream, whatever the values.
pub fn round_trips(seed: u64, iterations: u64) {
    let mut random = SplitMix(seed);
    for _ in 0..iterations {
        let values: [Vec<u8>; 3] = std::array::from_fn(|_| noise(&mut random, 40));
        let user: Vec<u8> = noise(&mut random, 20).into_iter().filter(|byte| *byte != b'@').collect();
        let body = noise(&mut random, 300);
        // A name that by chance is a known header's would rightly change the meaning.
        let name = String::from_utf8_lossy(&values[2]);
        let name = if HeaderName::from_bytes(name.as_bytes()).is_known() { "X-Three".into() } else { name };
        let uri = [b"sip:u", &user[..], b"@hotline.example"].concat();
        let bytes = request(Method::Info, &uri)
            .header("Via", "SIP/2.0/TCP 192.0.2.1:5060;rport;branch=z9hG4bKf")
            .header("From", "\"A\" <sip:a@ark.test>;tag=1")
            .header("To", "<sip:95188@hotline.example>")
            .header("Call-ID", "f@ark.test")
            .header("CSeq", "7 INFO")
            .header("X-One", &values[0])
            .header("X-Two", &values[1])
            .header(&name, "any")
            .body("application/octet-stream", body.clone())
            .finish();
        let message = parse_datagram(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?} (seed {seed})"));
        assert_eq!(message.body(), body, "(seed {seed})");
        for (name, value) in [(&b"X-One"[..], &values[0]), (b"X-Two", &values[1])] {
            let read = message.header(HeaderName::Other(name)).map(squeezed);
            assert_eq!(read, Some(squeezed(value)), "{value:?} (seed {seed})");
        }
        let mut framer = StreamFramer::new();
        framer.push(&bytes);
        let streamed = framer.next_message().and_then(Result::ok).map(|message| message.raw().to_vec());
        assert_eq!(streamed.as_deref(), Some(&bytes[..]), "(seed {seed})");
        check_message(&message, &bytes, seed);
    }
}

/// Typed fields out of noise that looks like fields.
pub fn fields(seed: u64, iterations: u64) {
    let mut random = SplitMix(seed);
    for _ in 0..iterations {
        let mut value = Vec::new();
        for _ in 0..random.below(8) {
            match random.below(3) {
                0 => value.extend_from_slice(random.pick(PIECES)),
                1 => value.extend_from_slice(b"sip:a@b"),
                _ => value.extend(noise(&mut random, 6)),
            }
        }
        if let Ok(uri) = Uri::parse(&value) {
            assert_eq!(uri.raw, value, "(seed {seed})");
            let _ = (uri.user_decoded(), uri.params.iter().count());
        }
        if let Ok(via) = Via::parse(&value) {
            assert!(via.raw.ends_with(via.params.raw()), "{value:?} (seed {seed})");
            let _ = (via.branch(), via.received(), via.rport());
        }
        if let Ok(address) = NameAddr::parse(&value) {
            assert!(!address.uri_raw.is_empty(), "{value:?} (seed {seed})");
            let _ = (address.display(), address.uri(), address.tag());
        }
        if let Ok(credentials) = AuthParams::parse(&value) {
            let _ = (credentials.get(b"nonce"), credentials.iter().count());
        }
        let _ = (CSeq::parse(&value), Host::parse(&value), decode(&value));
        assert!(!unfold(&value).contains(&b'\n'), "{value:?} (seed {seed})");
        let _ = unquote(&value);
    }
}

type Streamed = (Vec<Result<Vec<u8>, (u16, ErrorKind)>>, bool, u32);

fn run_stream(bytes: &[u8], mut step: impl FnMut(usize) -> usize) -> Streamed {
    let mut framer = StreamFramer::new();
    let (mut out, mut pings) = (Vec::new(), 0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(step(rest.len()).clamp(1, rest.len()));
        rest = later;
        framer.push(now);
        while let Some(result) = framer.next_message() {
            out.push(result.map(|message| message.raw().to_vec()).map_err(|error| (error.code, error.kind)));
        }
        pings += framer.take_pings();
    }
    (out, framer.is_broken(), pings)
}

fn check_message(message: &Message, bytes: &[u8], seed: u64) {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    assert!(bytes[start..].starts_with(message.raw()), "{bytes:?} (seed {seed})");
    touch(message);
    assert!(message.raw().ends_with(message.body()), "(seed {seed})");
    let valid = message.is_request() && message.validate_request().is_ok();
    let roomy = message.vias().flatten().all(|via| via.params.iter().count() + 2 <= PARAMS_MAX)
        && message.to().is_ok_and(|to| to.params.iter().count() < PARAMS_MAX);
    if !valid || !roomy || message.raw().len() > 60_000 {
        return;
    }
    let source: SocketAddr = SocketAddr::from(([198, 51, 100, 1], 5070));
    let answer = response_to(message, 200, "").to_tag("ark").source(source).body("text/plain", "hi").finish();
    let answer = parse_datagram(&answer)
        .unwrap_or_else(|error| panic!("{error}: the answer to {:?} is unreadable (seed {seed})", message.raw()));
    let (asked, told) = (Report::of(message), Report::of(&answer));
    assert_eq!(
        (asked.vias, asked.top_branch, asked.from_tag, asked.call_id, asked.cseq, asked.cseq_method),
        (told.vias, told.top_branch, told.from_tag, told.call_id, told.cseq, told.cseq_method),
        "{:?} (seed {seed})",
        message.raw()
    );
    assert!(told.to_tag.is_some() && answer.body() == b"hi", "{:?} (seed {seed})", message.raw());
}

fn check_error(error: &ParseError, bytes: &[u8], seed: u64) {
    assert!(error.offset <= bytes.len(), "{error}: {bytes:?} (seed {seed})");
    if let Some(partial) = &error.partial {
        touch(partial);
        let answer = response_to(partial, error.code, error.reason).to_tag("ark").finish();
        assert!(error.code >= 400 && answer.starts_with(b"SIP/2.0 "), "(seed {seed})");
        for line in answer.split(|byte| *byte == b'\n').skip(1) {
            let known = ECHOED.iter().any(|name| line.starts_with(name));
            let folded = line.first().is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            assert!(known || folded, "a line of the peer's making in the answer to {bytes:?} (seed {seed})");
        }
    }
}

/// Reads everything there is to read.
fn touch(message: &Message) {
    let report = Report::of(message);
    let json = report.to_json();
    assert!(json.starts_with("{\"kind\":") && json.ends_with('}'));
    let _ = parse_report(message.raw(), true).map_err(|failure| failure.to_json());
    let _ = (message.request_uri(), message.max_forwards(), message.sdp(), message.validate_request());
    for (name, value) in message.header_lines() {
        let _ = (unfold(value), name.as_bytes(), message.seconds(name));
        if name.is_list() {
            let _ = message.addresses(name).filter_map(Result::ok).filter_map(|address| address.display()).count();
        }
    }
    for address in [message.from(), message.to()].into_iter().chain(message.contacts()).flatten() {
        let _ = (address.display(), address.uri().map(|uri| uri.user_decoded().map(|user| user.len())));
    }
    for via in message.vias().flatten() {
        let _ = (via.received(), via.rport(), via.branch());
    }
    for name in [HeaderName::Authorization, HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
        for value in message.header_values(name) {
            let _ = AuthParams::parse(value).map(|challenge| challenge.get(b"nonce").map(|nonce| nonce.len()));
        }
    }
}

/// A corpus message with one to four things done to it.
fn mutate(random: &mut SplitMix, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(random.pick(CORPUS));
    for _ in 0..random.below(5) {
        let at = random.below(bytes.len());
        match random.below(10) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.pick(MARKS),
            2 => bytes.insert(at, random.pick(MARKS)),
            3 => {
                let end = (at + random.below(24)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => insert(bytes, at, random.pick(PIECES)),
            5 => insert_line(random, bytes, at, None),
            6 => {
                let other = random.pick(CORPUS);
                insert_line(random, bytes, at, Some(other));
            }
            7 => bytes.truncate(at),
            8 => {
                let end = (at + random.below(30)).min(bytes.len());
                let piece = bytes[at..end].repeat(1 + random.below(40));
                insert(bytes, at, &piece);
            }
            _ => digits(random, bytes, at),
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Puts a line, of this message or of another, in front of the line after `at`.
fn insert_line(random: &mut SplitMix, bytes: &mut Vec<u8>, at: usize, other: Option<&[u8]>) {
    let source = other.unwrap_or(bytes);
    let lines: Vec<&[u8]> = source.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let line = random.pick(&lines).to_vec();
    let place = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |found| at + found + 1);
    insert(bytes, place, &line);
}

/// Makes the number after `at` another one.
fn digits(random: &mut SplitMix, bytes: &mut Vec<u8>, at: usize) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = match random.below(6) {
        0 => "0".to_owned(),
        1 => "-1".to_owned(),
        2 => "4294967296".to_owned(),
        3 => "99999999999999999999".to_owned(),
        4 => "00000000000000000000000000000000000007".to_owned(),
        _ => random.below(2_000).to_string(),
    };
    bytes.splice(start..start + length, number.bytes());
}

fn noise(random: &mut SplitMix, length_max: usize) -> Vec<u8> {
    let length = random.below(length_max);
    (0..length).map(|_| if random.below(3) == 0 { random.pick(MARKS) } else { b'a' + random.below(26) as u8 }).collect()
}

/// A value as cleaning may change it: blanks and NULs do not count.
fn squeezed(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)).collect()
}
