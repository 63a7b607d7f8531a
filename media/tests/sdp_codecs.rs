//! Codecs, their numbers and their parameters in offer and answer, with the offers of phones, browsers and gateways.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use ark_media::codec::{self, CodecRef, Tuning};
use ark_media::sdp::{Direction, Local, Negotiated, Negotiator, Preference};

fn codec(name: &str) -> CodecRef {
    codec::ALL.iter().copied().find(|c| c.name() == name).unwrap_or_else(|| panic!("{name} is in the table"))
}

fn local(codecs: &[&str]) -> Local {
    let mut local = Local::new(SocketAddr::from(([10, 0, 0, 1], 20_000)), 42);
    local.codecs = codecs.iter().map(|name| codec(name)).collect();
    local
}

fn offer_of(name: &str) -> String {
    let path = format!("{}/tests/sdp/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    // A browser's own line is another road's business; its codecs are ours.
    text.replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 40000 RTP/AVP")
        .replace("c=IN IP4 0.0.0.0", "c=IN IP4 192.0.2.7")
}

fn answer(local: Local, offer: &str) -> (String, Negotiated) {
    let (body, negotiated) = Negotiator::new(local).answer(offer.as_bytes()).unwrap_or_else(|e| panic!("{e}: {offer}"));
    (String::from_utf8(body).unwrap(), negotiated)
}

/// An offer with these lines behind its `m=` line's formats.
fn offer(formats: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n{lines}"
    )
}

const ALL: &[&str] = &["PCMA", "PCMU", "G722", "opus", "G729"];
const WIDE_FIRST: &[&str] = &["opus", "G722", "G729", "PCMA", "PCMU"];

#[test]
fn each_real_offer_gets_the_codec_of_the_order_that_counts() {
    use Preference::{Ours, Theirs};
    for (name, codecs, preference, want, number, event) in [
        ("chrome", ALL, Ours, "PCMA", 8, Some((126, 8000))),
        ("chrome", ALL, Theirs, "opus", 111, Some((110, 48_000))),
        ("chrome", WIDE_FIRST, Ours, "opus", 111, Some((110, 48_000))),
        ("chrome", &["G729", "G722"], Ours, "G722", 9, Some((126, 8000))),
        ("baresip", WIDE_FIRST, Ours, "PCMA", 8, Some((101, 8000))),
        ("baresip", WIDE_FIRST, Theirs, "PCMU", 0, Some((101, 8000))),
        // Only the 8000 Hz event stands beside Opus: better that than none.
        ("baresip-wideband", WIDE_FIRST, Ours, "opus", 96, Some((101, 8000))),
        ("baresip-wideband", &["G722"], Ours, "G722", 9, Some((101, 8000))),
        ("linphone", ALL, Ours, "PCMA", 8, Some((100, 8000))),
        ("linphone", ALL, Theirs, "opus", 96, Some((101, 48_000))),
        // A static number without a=rtpmap.
        ("linphone", &["G729"], Ours, "G729", 18, Some((100, 8000))),
        ("cisco", ALL, Theirs, "G729", 18, Some((101, 8000))),
        ("cisco", WIDE_FIRST, Ours, "G729", 18, Some((101, 8000))),
        ("cisco-as5350", ALL, Ours, "G722", 9, Some((101, 8000))),
        ("cisco-as5350", &["PCMA", "G729"], Ours, "G729", 18, Some((101, 8000))),
        ("asterisk", WIDE_FIRST, Ours, "opus", 107, Some((101, 8000))),
        ("freeswitch", WIDE_FIRST, Ours, "opus", 102, Some((103, 48_000))),
        ("freeswitch", ALL, Ours, "PCMA", 8, Some((101, 8000))),
        ("freeswitch", &["G722", "PCMA"], Ours, "G722", 9, Some((101, 8000))),
        ("yealink", ALL, Theirs, "G722", 9, Some((101, 8000))),
        ("yealink", ALL, Ours, "PCMA", 8, Some((101, 8000))),
        ("sipp", WIDE_FIRST, Ours, "PCMU", 0, None),
        ("huawei-ims", WIDE_FIRST, Ours, "G729", 18, Some((100, 8000))),
    ] {
        let mut ours = local(codecs);
        ours.preference = preference;
        let (body, agreed) = answer(ours, &offer_of(name));
        let what = format!("{name}, {codecs:?}, {preference:?}");
        assert_eq!((agreed.codec.name(), agreed.payload_type), (want, number), "{what}");
        let events = agreed.dtmf_payload_type.map(|number| (number, agreed.dtmf_clock_hz));
        assert_eq!(events, event, "{what}");
        assert_eq!(agreed.comfort_noise, None, "{what}: nobody asked for it");
        let clock = codec(want).rtp_clock_hz();
        assert!(body.contains(&format!("a=rtpmap:{number} {want}/{clock}")), "{what}: {body}");
        if let Some((number, clock)) = event {
            assert!(body.contains(&format!("a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n")));
        }
    }
}

#[test]
fn the_answer_s_order_counts_when_ark_offers() {
    for (formats, want) in [("8 0", "PCMA"), ("0 8", "PCMU"), ("18 0 8", "G729"), ("9 0", "G722"), ("3 96 0", "opus")] {
        let mut leg = Negotiator::new(local(ALL));
        leg.offer(Direction::SendRecv);
        let agreed = leg.accept_answer(offer(formats, &["a=rtpmap:96 opus/48000/2"]).as_bytes()).unwrap();
        assert_eq!(agreed.codec.name(), want, "{formats}");
    }
}

#[test]
fn an_offer_of_ours_says_all_that_we_speak() {
    let body = String::from_utf8(Negotiator::new(local(ALL)).offer(Direction::SendRecv)).unwrap();
    let lines = "m=audio 20000 RTP/AVP 8 0 9 96 18 101 97\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:9 G722/8000\r\n\
        a=rtpmap:96 opus/48000/2\r\n\
        a=fmtp:96 minptime=10;useinbandfec=1;maxplaybackrate=16000;sprop-maxcapturerate=16000\r\n\
        a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
        a=rtpmap:97 telephone-event/48000\r\na=fmtp:97 0-15\r\na=ptime:20\r\na=sendrecv\r\na=rtcp-mux\r\n";
    assert!(body.ends_with(lines), "{body}");
    // Without Opus there is one clock and one event.
    let body = String::from_utf8(Negotiator::new(local(&["PCMU", "G722"])).offer(Direction::SendRecv)).unwrap();
    assert!(body.contains("m=audio 20000 RTP/AVP 0 9 101\r\n"), "{body}");
}

#[test]
fn each_side_sends_with_the_other_s_numbers() {
    let mut leg = Negotiator::new(local(&["opus", "PCMA"]));
    leg.offer(Direction::SendRecv);
    let answered = offer("111 126", &["a=rtpmap:111 opus/48000/2", "a=rtpmap:126 telephone-event/48000"]);
    let agreed = leg.accept_answer(answered.as_bytes()).unwrap();
    assert_eq!((agreed.payload_type, agreed.receive_payload_type), (111, 96));
    assert_eq!((agreed.dtmf_payload_type, agreed.receive_dtmf_payload_type), (Some(126), Some(101)));
    // A later offer keeps the numbers that Ark receives.
    let again = String::from_utf8(leg.offer(Direction::SendOnly)).unwrap();
    assert!(again.contains("m=audio 20000 RTP/AVP 96 8 101 97\r\n"), "{again}");
    // The peer answers with the 8000 Hz event: the number that Ark offered for that clock.
    let answered = offer("111 101", &["a=rtpmap:111 opus/48000/2", "a=rtpmap:101 telephone-event/8000"]);
    let agreed = leg.accept_answer(answered.as_bytes()).unwrap();
    assert_eq!((agreed.dtmf_payload_type, agreed.dtmf_clock_hz), (Some(101), 8000));
    assert_eq!(agreed.receive_dtmf_payload_type, Some(97));
}

#[test]
fn two_arks_agree_early_and_late_in_every_codec() {
    for name in ALL {
        for late in [false, true] {
            let mut asked = Negotiator::new(local(ALL));
            let mut asking = Negotiator::new(local(&[*name]));
            // A late offer comes in the 200 of an INVITE without one: the roles change, the words do not.
            let (first, second) = if late { (&mut asked, &mut asking) } else { (&mut asking, &mut asked) };
            let offered = first.offer(Direction::SendRecv);
            let (body, there) = second.answer(&offered).unwrap();
            let here = first.accept_answer(&body).unwrap();
            assert_eq!((here.codec, there.codec), (codec(name), codec(name)), "{name}");
            assert_eq!(here.receive_payload_type, there.payload_type, "{name}");
            assert_eq!(here.payload_type, there.receive_payload_type, "{name}");
            assert_eq!(here.dtmf_clock_hz, codec(name).rtp_clock_hz(), "{name}");
            assert_eq!(here.tuning, there.tuning, "{name}");
            assert_eq!(here.tuning.in_band_fec, *name == "opus", "{name}");
        }
    }
}

#[test]
fn parameters_of_the_peer_tune_what_it_is_sent() {
    let opus = |fmtp: &str| {
        let lines = ["a=rtpmap:96 opus/48000/2", fmtp, "a=ptime:40"];
        answer(local(&["opus"]), &offer("96", &lines)).1
    };
    let tuning = |fec, most| Tuning { in_band_fec: fec, bitrate_bps_max: most };
    for (fmtp, want, ms) in [
        ("a=fmtp:96 minptime=10;useinbandfec=1", tuning(true, None), 40),
        (
            "a=fmtp:96 useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; maxptime=40",
            tuning(true, Some(30_000)),
            40,
        ),
        ("a=fmtp:96 maxptime=20;maxaveragebitrate=16000", tuning(false, Some(16_000)), 20),
        ("a=fmtp:97 useinbandfec=1", tuning(false, None), 40),
        ("a=fmtp:96", tuning(false, None), 40),
        ("a=fmtp:96 useinbandfec=yes;=;;maxplaybackrate=x", tuning(false, None), 40),
        ("a=fmtp:999 useinbandfec=1", tuning(false, None), 40),
    ] {
        let agreed = opus(fmtp);
        assert_eq!((agreed.tuning, agreed.ptime.as_millis()), (want, ms), "{fmtp}");
    }
}

#[test]
fn oddities_of_the_map_are_understood() {
    let g729 = offer("97", &["a=rtpmap:97 g729a/8000"]);
    assert_eq!(answer(local(ALL), &g729).1.codec.name(), "G729");
    // Mono and stereo are one format in Opus, whatever stands in the map.
    for map in ["a=rtpmap:97 opus/48000", "a=rtpmap:97 OPUS/48000/1", "a=rtpmap:97 Opus/48000/2"] {
        let (body, agreed) = answer(local(ALL), &offer("97", &[map]));
        assert_eq!((agreed.codec.name(), agreed.payload_type), ("opus", 97), "{map}");
        assert!(body.contains("a=rtpmap:97 opus/48000/2\r\n"), "{map}: {body}");
    }
    for map in ["a=rtpmap:97 opus/16000", "a=rtpmap:97 G722/16000", "a=rtpmap:97 PCMA/8000/2", "a=rtpmap:97 L16/8000"] {
        let refused = Negotiator::new(local(ALL)).answer(offer("97", &[map]).as_bytes());
        assert_eq!(refused.unwrap_err().sip_status(), 488, "{map}");
    }
    // The same codec twice: the first of them.
    let twice = offer("97 96", &["a=rtpmap:96 opus/48000/2", "a=rtpmap:97 opus/48000/2", "a=fmtp:97 useinbandfec=1"]);
    let (_, agreed) = answer(local(ALL), &twice);
    assert_eq!((agreed.payload_type, agreed.tuning.in_band_fec), (97, true));
}

#[test]
fn comfort_noise_is_agreed_on_where_both_want_it() {
    let with = |codecs, want| {
        let mut ours = local(codecs);
        ours.comfort_noise = want;
        ours
    };
    for (name, codecs, number) in [
        ("chrome", &["PCMA"][..], Some(13)),
        ("chrome", &["opus"], None),
        ("cisco", &["PCMU"], Some(19)),
        ("freeswitch", &["G722"], Some(13)),
        ("baresip", &["PCMU"], None),
    ] {
        let (body, agreed) = answer(with(codecs, true), &offer_of(name));
        assert_eq!(agreed.comfort_noise, number, "{name}");
        assert_eq!(body.contains("CN/8000"), number.is_some(), "{name}: {body}");
        assert_eq!(answer(with(codecs, false), &offer_of(name)).1.comfort_noise, None, "{name}");
    }
    // A static number needs no map.
    assert_eq!(answer(with(&["PCMA"], true), &offer("8 13", &[])).1.comfort_noise, Some(13));
    let mut leg = Negotiator::new(with(ALL, true));
    let body = String::from_utf8(leg.offer(Direction::SendRecv)).unwrap();
    assert!(body.contains(" 18 13 101 97\r\n") && body.contains("a=rtpmap:13 CN/8000\r\n"), "{body}");
    assert_eq!(leg.accept_answer(offer("0", &[]).as_bytes()).unwrap().comfort_noise, None);
}

#[test]
fn packet_times_of_real_peers_are_kept() {
    // ptime 10 with maxptime 30.
    let (body, agreed) = answer(local(&["G729"]), &offer_of("cisco-as5350"));
    assert_eq!(agreed.ptime, Duration::from_millis(10));
    assert!(body.contains("a=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n"), "{body}");
    let (_, agreed) = answer(local(WIDE_FIRST), &offer("9", &["a=ptime:60", "a=maxptime:60"]));
    assert_eq!((agreed.codec.name(), agreed.ptime.as_millis()), ("G722", 60));
}
