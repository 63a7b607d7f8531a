//! Our own messages: at least one for each section of RFC 4475 and RFC 5118, what real peers send, and what attackers
//! do. `corpus/expect.tsv` says for each file what it is about, whether a datagram and a stream accept it (`ok`),
//! refuse it (the code) or wait for more (`wait`), what `validate_request` answers, and the ten values.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use ark_sip::wire::{HeaderName, Message, StreamFramer, parse_datagram};
use ark_sip::{Report, parse_report};
use support::columns;

struct Case {
    name: String,
    about: String,
    datagram: String,
    stream: String,
    element: String,
    values: Vec<String>,
    bytes: Vec<u8>,
}

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(directory().join("expect.tsv")).unwrap();
    let case = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().unwrap();
        let (name, about, datagram, stream, element) = (next(), next(), next(), next(), next());
        let bytes = std::fs::read(directory().join(format!("{name}.sip"))).unwrap();
        Case { name, about, datagram, stream, element, values: fields.collect(), bytes }
    };
    table.lines().filter(|line| !line.starts_with('#')).map(case).collect()
}

fn message(name: &str) -> Message {
    let bytes = std::fs::read(directory().join(format!("{name}.sip"))).unwrap();
    parse_datagram(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_message_reads_as_the_table_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        let datagram = parse_report(&case.bytes, false).map_err(|failure| failure.code.to_string());
        let connection = on_a_connection(&case.bytes);
        for (carrier, read, expected) in [("datagram", datagram, &case.datagram), ("stream", connection, &case.stream)]
        {
            let right = match (&read, expected.as_str()) {
                (Ok(report), "ok") => columns(report)[..] == case.values[..],
                (Err(answer), expected) => answer == expected,
                (Ok(_), _) => false,
            };
            if !right {
                wrong.push(format!("{} ({carrier}): {read:?} instead of {expected} {:?}", case.name, case.values));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a connection makes of these bytes: a message, the code of its refusal, or `wait`.
fn on_a_connection(bytes: &[u8]) -> Result<Report, String> {
    let mut framer = StreamFramer::new();
    framer.push(bytes);
    match framer.next_message() {
        Some(Ok(message)) => Ok(Report::of(&message)),
        Some(Err(error)) => Err(error.code.to_string()),
        None => {
            assert!(!framer.is_broken());
            Err("wait".to_owned())
        }
    }
}

#[test]
fn a_stream_that_ends_is_refused_where_a_connection_waits_and_read_where_only_its_length_is_in_doubt() {
    for case in cases() {
        let read = parse_report(&case.bytes, true);
        match (case.datagram.as_str(), case.stream.as_str()) {
            ("ok", _) => assert_eq!(columns(&read.unwrap())[..], case.values[..], "{}", case.name),
            (_, "wait") => assert_eq!(read.unwrap_err().code, 0, "{}", case.name),
            (_, code) => assert_eq!(read.unwrap_err().code.to_string(), code, "{}", case.name),
        }
    }
}

#[test]
fn every_request_is_answered_by_the_element_as_the_table_says() {
    for case in cases().iter().filter(|case| case.datagram == "ok") {
        let message = parse_datagram(&case.bytes).unwrap();
        if message.is_request() {
            let status = message.validate_request().err().map(|rejection| rejection.status.to_string());
            assert_eq!(status.unwrap_or_default(), case.element, "{}", case.name);
        }
    }
}

#[test]
fn every_section_and_every_behaviour_has_a_message_and_every_message_a_line() {
    let cases = cases();
    let about: BTreeSet<&str> = cases.iter().map(|case| case.about.as_str()).collect();
    let sections = (1..=13).map(|n| format!("4475-3.1.1.{n}"));
    let sections = sections.chain((1..=19).map(|n| format!("4475-3.1.2.{n}")));
    let sections = sections.chain((1..=15).map(|n| format!("4475-3.3.{n}")));
    let sections = sections.chain(["4475-3.2.1", "4475-3.4.1"].map(str::to_owned));
    let sections = sections.chain((1..=10).map(|n| format!("5118-4.{n}")));
    let behaviours = [
        "gbk-name",
        "utf8-name",
        "folded-challenge",
        "lf-only",
        "double-quotes",
        "hash-user",
        "compact",
        "tel-uri",
        "two-identities",
        "two-reasons",
        "empty-200",
        "contact-parameters",
        "lower-case-tls",
        "via-transport",
        "stale-repeated",
        "both-challenges",
        "no-max-forwards",
        "no-content-length",
        "no-cookie",
        "refresh",
        "leading-crlf",
        "folded-via",
        "blank-colon",
        "via-list",
        "ipv6-received",
        "tel-request",
        "marks-in-name",
        "instance",
        "many-headers",
        "sip-i",
        "unknown-p-headers",
    ];
    let wanted = sections.chain(behaviours.iter().map(|name| format!("peer-{name}")));
    let missing: Vec<String> = wanted.filter(|name| !about.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no message for {missing:?}");

    let named: BTreeSet<String> = cases.into_iter().map(|case| case.name + ".sip").collect();
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let unnamed: Vec<String> = files.filter(|file| file.ends_with(".sip") && !named.contains(file)).collect();
    assert!(unnamed.is_empty(), "not in expect.tsv: {unnamed:?}");
}

#[test]
fn line_ends_are_what_they_were_written_as() {
    let crlf = std::fs::read(directory().join("tortuous.sip")).unwrap();
    assert!(crlf.windows(2).any(|pair| pair == b"\r\n"), "something changed the line ends of the corpus");
    let lf = std::fs::read(directory().join("line-feeds-only.sip")).unwrap();
    assert!(!lf.contains(&b'\r'));
}

#[test]
fn names_in_chinese_encodings_are_read() {
    let name = |file: &str| message(file).from().unwrap().display().map(|name| name.into_owned());
    assert_eq!(name("name-in-gbk").as_deref(), Some("陈晓明（前台）"));
    assert_eq!(name("name-in-gbk-backslash").as_deref(), Some("乗总机乗"));
    assert_eq!(message("name-in-gbk-backslash").from().unwrap().params.get(b"x"), Some(&b"\"a,b\""[..]));
    assert!(name("name-in-gb18030-four-bytes").unwrap().ends_with("客服"));
    assert_eq!(name("name-in-utf8").as_deref(), Some("陈晓明"));
    assert_eq!(name("name-quoted-twice").as_deref(), Some("anonymous"));
    assert_eq!(name("marks-in-quoted-name").as_deref(), Some("Chen; Xiao, \"Ming\" <x>;tag=no"));
}

#[test]
fn what_a_dialog_must_echo_is_kept_as_it_came() {
    let contact = message("contact-with-parameters");
    let contact = contact.contacts().next().unwrap().unwrap();
    assert_eq!(contact.uri_raw, b"sip:chen@198.51.100.20:49152;transport=UDP;ob;line=8f3b1c");
    assert!(contact.params.has(b"+sip.ice"));
    let register = message("transport-in-lower-case");
    let credentials = ark_sip::types::AuthParams::parse(register.header(HeaderName::Authorization).unwrap()).unwrap();
    assert_eq!(credentials.get(b"uri").unwrap(), &b"sip:ark.test;transport=tls"[..]);
    let instance = message("instance-and-gruu");
    let instance = instance.contacts().next().unwrap().unwrap();
    assert_eq!(
        instance.params.get(b"+sip.instance"),
        Some(&b"\"<urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128>\""[..])
    );
}

#[test]
fn lists_and_lines_give_the_same_values() {
    for file in ["identity-on-two-lines", "identity-in-one-line"] {
        let message = message(file);
        let users: Vec<Vec<u8>> = message
            .addresses(HeaderName::PAssertedIdentity)
            .map(|identity| identity.unwrap().uri().unwrap().user.unwrap().to_vec())
            .collect();
        assert_eq!(users, [b"+8613900001234", b"+8613900001234"], "{file}");
    }
    assert_eq!(message("reason-twice").header_values(HeaderName::Reason).count(), 2);
    assert_eq!(message("early-media").header_values(HeaderName::RecordRoute).count(), 2);
    assert_eq!(message("ims-headers").addresses(HeaderName::Diversion).filter(Result::is_ok).count(), 2);
    assert_eq!(message("ims-headers").addresses(HeaderName::HistoryInfo).filter(Result::is_ok).count(), 2);
    assert_eq!(message("both-challenges").header_values(HeaderName::ProxyAuthenticate).count(), 2);
    assert_eq!(
        message("hundred-and-forty-headers").header(HeaderName::Other(b"x-core-77")).unwrap(),
        b"value 77; a=\"b,77\""
    );
}

#[test]
fn the_sdp_is_found_alone_and_beside_isup() {
    let sdp = message("sdp-and-isup");
    assert!(sdp.sdp().unwrap().starts_with(b"v=0\r\n") && sdp.sdp().unwrap().ends_with(b"telephone-event/8000\r\n"));
    assert!(message("hold-the-old-way").sdp().is_some());
    for none in ["ok-without-sdp", "multipart-binary", "unknown-body"] {
        assert_eq!(message(none).sdp(), None, "{none}");
    }
}

#[test]
fn numbers_and_uris_of_the_odd_ones() {
    assert_eq!(message("tortuous").max_forwards(), Ok(Some(42)));
    assert_eq!(message("no-max-forwards").max_forwards(), Ok(None));
    assert_eq!(message("max-forwards-zero").max_forwards(), Ok(Some(0)));
    assert_eq!(message("refresh-from-the-other-side").seconds(HeaderName::SessionExpires), Some(1800));
    assert!(message("star-contact").contact_is_star());
    let hash = message("hash-in-user");
    assert_eq!(hash.request_uri().unwrap().user, Some(&b"*95#188#"[..]));
    let tel = message("tel-everywhere");
    assert_eq!(tel.request_uri().unwrap().user, Some(&b"95188"[..]));
    let full = message("sip-uri-with-everything");
    let full = full.request_uri().unwrap();
    assert_eq!((full.user, full.port, full.headers), (Some(&b"95188"[..]), Some(5060), Some(&b"x=y"[..])));
    assert_eq!(full.params.get(b"transport"), Some(&b"UDP"[..]));
}
