//! The torture messages of RFC 4475 and RFC 5118, every value of each, as datagram and as stream. The files are not
//! part of this project: they are looked for beside it, or where `ARK_TORTURE_DIR` says.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ark_sip::parse_report;
use ark_sip::wire::{StreamFramer, parse_datagram};
use support::columns;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sip/torture");
    let directory = std::env::var_os("ARK_TORTURE_DIR").map_or(beside, PathBuf::from);
    if directory.join("expect.tsv").is_file() {
        return Some(directory);
    }
    assert!(std::env::var_os("ARK_CI").is_none_or(|ci| ci != "1"), "no torture messages at {}", directory.display());
    let _ =
        writeln!(std::io::stderr(), "SKIPPED torture: no messages at {} (set ARK_TORTURE_DIR)", directory.display());
    None
}

#[test]
fn every_value_of_every_valid_message_is_right_on_datagram_and_stream() {
    let Some(corpus) = corpus() else { return };
    let table = std::fs::read_to_string(corpus.join("expect.tsv")).unwrap();
    let (mut wrong, mut read) = (Vec::new(), 0);
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (name, expected) = (fields[0], &fields[1..]);
        let bytes = std::fs::read(corpus.join(format!("{name}.sip"))).unwrap();
        read += 1;
        for stream in [false, true] {
            match parse_report(&bytes, stream) {
                Ok(report) if columns(&report) == expected => {}
                other => wrong.push(format!("{name} (stream {stream}): {other:?}")),
            }
        }
        let mut framer = StreamFramer::new();
        framer.push(&bytes);
        let connection = framer.next_message().unwrap().map(|message| message.is_request()).map_err(|error| error.code);
        match name.trim_start_matches("valid/") {
            // Without, or with two differing Content-Lengths, a connection has no message boundary.
            "inv2543" | "mcl01" => assert_eq!((connection, framer.is_broken()), (Err(400), true), "{name}"),
            _ => assert!(connection.is_ok() && !framer.is_broken(), "{name}: {connection:?}"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(read, 41);
}

#[test]
fn what_is_broken_is_refused_with_its_code_or_repaired_as_the_rfc_allows() {
    let Some(corpus) = corpus() else { return };
    // None: a liberal element may read it, and this one does. `lwsruri` may be repaired too; a blank in a Request-URI
    // is refused.
    let expected: [(&str, Option<u16>); 20] = [
        ("badinv01", Some(400)),
        ("clerr", Some(400)),
        ("ncl", Some(400)),
        ("scalar02", Some(400)),
        ("scalarlg", Some(0)),
        ("quotbal", Some(400)),
        ("ltgtruri", Some(400)),
        ("badvers", Some(505)),
        ("mismatch01", Some(400)),
        ("mismatch02", Some(400)),
        ("bigcode", Some(0)),
        ("5118-ipv6-bad", Some(400)),
        ("lwsruri", Some(400)),
        ("lwsstart", None),
        ("trws", None),
        ("escruri", None),
        ("baddate", None),
        ("regbadct", None),
        ("badaspec", None),
        ("baddn", None),
    ];
    assert_eq!(std::fs::read_dir(corpus.join("invalid")).unwrap().count(), expected.len());
    for (name, code) in expected {
        let bytes = std::fs::read(corpus.join(format!("invalid/{name}.sip"))).unwrap();
        let refused = parse_report(&bytes, false).err();
        assert_eq!(refused.as_ref().map(|failure| failure.code), code, "{name}: {refused:?}");
        let streamed = parse_report(&bytes, true).err();
        let on_stream = if name == "clerr" { Some(0) } else { code };
        assert_eq!(streamed.as_ref().map(|failure| failure.code), on_stream, "{name} as stream: {streamed:?}");
    }
}

#[test]
fn a_length_beyond_the_bytes_waits_on_a_stream() {
    let Some(corpus) = corpus() else { return };
    let mut framer = StreamFramer::new();
    framer.push(&std::fs::read(corpus.join("invalid/clerr.sip")).unwrap());
    assert!(framer.next_message().is_none() && framer.is_midway() && !framer.is_broken());
}

#[test]
fn of_two_messages_in_a_datagram_the_first_counts_and_on_a_stream_both() {
    let Some(corpus) = corpus() else { return };
    let bytes = std::fs::read(corpus.join("valid/dblreq.sip")).unwrap();
    let first = parse_datagram(&bytes).unwrap();
    assert!(first.raw().len() < bytes.len());
    let mut framer = StreamFramer::new();
    framer.push(&bytes);
    assert_eq!(framer.next_message().unwrap().unwrap().raw(), first.raw());
    assert!(framer.next_message().unwrap().unwrap().is_request());
}

#[test]
fn what_cannot_be_answered_for_is_told_by_validate_request() {
    let Some(corpus) = corpus() else { return };
    for (name, reason) in
        [("insuf", "Missing From"), ("multi01", "Duplicate From"), ("mcl01", "Conflicting Content-Length")]
    {
        let bytes = std::fs::read(corpus.join(format!("valid/{name}.sip"))).unwrap();
        let rejection = parse_datagram(&bytes).unwrap().validate_request().unwrap_err();
        assert_eq!((rejection.status, rejection.reason), (400, reason), "{name}");
    }
}
