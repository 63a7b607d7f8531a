//! Offer and answer as phones and carriers do it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use ark_media::codec;
use ark_media::sdp::{Direction, Local, Negotiated, Negotiator, SdpError, parse};

fn ark() -> Negotiator {
    Negotiator::new(Local::new(SocketAddr::from(([10, 0, 0, 1], 20_000)), 42))
}

fn ip(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn answer(offer: &str) -> (String, Negotiated) {
    let (body, negotiated) = ark().answer(offer.as_bytes()).unwrap_or_else(|e| panic!("{e}: {offer}"));
    (String::from_utf8(body).unwrap(), negotiated)
}

fn refused(offer: &str) -> SdpError {
    ark().answer(offer.as_bytes()).unwrap_err()
}

const PLAIN: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 97\r\na=rtpmap:97 telephone-event/8000\r\n";

#[test]
fn extended_reports_are_asked_for_at_either_level() {
    let line = "a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n";
    assert!(!answer(PLAIN).1.rtcp_xr);
    assert!(answer(&format!("{PLAIN}{line}")).1.rtcp_xr);
    assert!(answer(&PLAIN.replacen("m=audio", &format!("{line}m=audio"), 1)).1.rtcp_xr);
}

#[test]
fn the_answer_has_one_codec_by_our_order_and_the_offerers_event_number() {
    let (body, negotiated) = answer(PLAIN);
    assert_eq!(
        body,
        "v=0\r\no=ark 42 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 97\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    assert_eq!(negotiated.codec.name(), "PCMA");
    assert_eq!((negotiated.payload_type, negotiated.dtmf_payload_type), (8, Some(97)));
    assert_eq!((negotiated.remote, negotiated.remote_rtcp), (ip("192.0.2.1:4000"), ip("192.0.2.1:4001")));
    assert_eq!((negotiated.ptime, negotiated.direction), (Duration::from_millis(20), Direction::SendRecv));
    let mut local = Local::new(ip("10.0.0.1:20000"), 42);
    local.codecs = vec![codec::by_name("pcmu", 8000).unwrap()];
    let (_, negotiated) = Negotiator::new(local).answer(PLAIN.as_bytes()).unwrap();
    assert_eq!(negotiated.payload_type, 0);
}

#[test]
fn an_offer_of_ours_is_answered_by_ourselves() {
    let (mut a, mut b) = (ark(), Negotiator::new(Local::new(ip("10.0.0.2:30000"), 7)));
    let offer = a.offer(Direction::SendRecv);
    let (body, at_b) = b.answer(&offer).unwrap();
    let at_a = a.accept_answer(&body).unwrap();
    assert_eq!((at_a.remote, at_b.remote), (ip("10.0.0.2:30000"), ip("10.0.0.1:20000")));
    assert_eq!((at_a.codec, at_a.direction, at_a.rtcp_mux), (at_b.codec, Direction::SendRecv, true));
    assert_eq!((at_a.dtmf_payload_type, at_a.receive_dtmf_payload_type), (Some(101), Some(101)));
}

fn offer_of(name: &str) -> String {
    let path = format!("{}/tests/sdp/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_offers_of_real_phones_and_gateways_are_answered() {
    for (name, codec, remote, rtcp, events) in [
        ("linphone", 8, "192.168.1.20:7078", "192.168.1.20:7079", Some(100)),
        ("zoiper", 8, "203.0.113.40:55178", "203.0.113.40:55178", Some(101)),
        ("cisco", 8, "198.51.100.8:17468", "198.51.100.8:17469", Some(101)),
        ("huawei-ims", 8, "10.185.4.73:33060", "10.185.4.73:33061", Some(100)),
        ("teams-direct-routing", 8, "52.112.0.12:51406", "52.112.0.12:51407", Some(101)),
        ("asterisk", 8, "192.0.2.30:12034", "192.0.2.30:12035", Some(101)),
        ("freeswitch", 8, "192.0.2.31:24612", "192.0.2.31:24613", Some(101)),
        ("baresip", 8, "127.0.0.1:26510", "127.0.0.1:26511", Some(101)),
        ("sipp", 0, "127.0.0.1:6000", "127.0.0.1:6001", None),
        ("t38-reinvite", 8, "192.0.2.60:5004", "192.0.2.60:5005", None),
    ] {
        let text = offer_of(name);
        for offer in [text.clone(), text.replace('\n', "\r\n"), text.trim_end().to_owned()] {
            let (body, negotiated) = answer(&offer);
            assert_eq!(negotiated.payload_type, codec, "{name}");
            assert_eq!((negotiated.remote, negotiated.remote_rtcp), (ip(remote), ip(rtcp)), "{name}");
            assert_eq!(negotiated.dtmf_payload_type, events, "{name}");
            assert_eq!(negotiated.direction, Direction::SendRecv, "{name}");
            let (theirs, ours) = (parse(offer.as_bytes()).unwrap(), parse(body.as_bytes()).unwrap());
            assert_eq!(ours.media.len(), theirs.media.len(), "{name}");
            for (ours, theirs) in ours.media.iter().zip(&theirs.media) {
                assert_eq!((ours.kind, ours.protocol), (theirs.kind, theirs.protocol), "{name}");
                assert_eq!(ours.port, if ours.kind == "audio" { 20_000 } else { 0 }, "{name}");
            }
        }
    }
}

#[test]
fn ipv6_is_answered_on_an_ipv6_leg_and_refused_on_another() {
    let offer = offer_of("ipv6-microsip");
    let mut leg = Negotiator::new(Local::new(ip("[2001:db8::1]:20000"), 42));
    let (body, negotiated) = leg.answer(offer.as_bytes()).unwrap();
    assert_eq!((negotiated.remote, negotiated.remote_rtcp), (ip("[2001:db8::20]:4016"), ip("[2001:db8::20]:4017")));
    assert!(String::from_utf8(body).unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
    assert_eq!(refused(&offer).sip_status(), 488);
}

#[test]
fn held_streams_are_mirrored_and_nothing_is_sent() {
    for (line, want) in [
        ("a=sendonly", Direction::RecvOnly),
        ("a=recvonly", Direction::SendOnly),
        ("a=inactive", Direction::Inactive),
        ("a=sendrecv", Direction::SendRecv),
        ("a=SENDONLY", Direction::RecvOnly),
    ] {
        for offer in [format!("{PLAIN}{line}\r\n"), PLAIN.replace("t=0 0\r\n", &format!("t=0 0\r\n{line}\r\n"))] {
            let (body, negotiated) = answer(&offer);
            assert_eq!(negotiated.direction, want, "{line}");
            assert_eq!(negotiated.is_held(), !want.sends());
            assert!(body.contains(&format!("a={}\r\n", want.as_str())));
        }
    }
    let (body, negotiated) = answer(&offer_of("old-gateway-hold"));
    assert_eq!(negotiated.direction, Direction::RecvOnly);
    assert!(negotiated.is_held() && body.contains("a=recvonly\r\n"));
}

#[test]
fn the_version_stays_while_the_body_stays_and_goes_up_by_one_when_it_changes() {
    let version = |body: &[u8]| parse(body).unwrap().origin.unwrap();
    let mut leg = ark();
    let (first, _) = leg.answer(PLAIN.as_bytes()).unwrap();
    let (again, _) = leg.answer(PLAIN.as_bytes()).unwrap();
    assert_eq!(first, again, "a session refresh");
    let (held, _) = leg.answer(format!("{PLAIN}a=sendonly\r\n").as_bytes()).unwrap();
    let (resumed, _) = leg.answer(PLAIN.as_bytes()).unwrap();
    let ours = leg.offer(Direction::SendRecv);
    assert_eq!([&first[..], &held, &resumed].map(version), [(42, 1), (42, 2), (42, 3)]);
    // Our own re-offer keeps codec, numbers and the order of lines, and adds what else we speak.
    assert_eq!(version(&ours), (42, 4));
    let text = String::from_utf8(ours).unwrap();
    assert!(text.contains("m=audio 20000 RTP/AVP 8 0 9 96 18 97 101\r\n"), "{text}");
    // A refused offer changes nothing.
    assert!(leg.answer(b"v=0\r\nm=audio 0 RTP/AVP 8\r\n").is_err());
    assert_eq!(leg.agreed().unwrap().payload_type, 8);
}

#[test]
fn lines_never_move_in_our_own_reoffers() {
    let mut leg = ark();
    leg.answer(offer_of("baresip").as_bytes()).unwrap();
    let text = String::from_utf8(leg.offer(Direction::SendOnly)).unwrap();
    assert!(text.contains("m=video 0 RTP/AVP 126\r\n") && text.contains("a=sendonly\r\n"), "{text}");
    let answered = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=audio 26510 RTP/AVP 8 101\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=recvonly\r\nm=video 0 RTP/AVP 126\r\n";
    let negotiated = leg.accept_answer(answered.as_bytes()).unwrap();
    assert_eq!(negotiated.direction, Direction::SendOnly);
    assert!(matches!(leg.accept_answer(answered.as_bytes()), Err(SdpError::WrongAnswer { .. })));
    let mut leg = ark();
    leg.offer(Direction::SendRecv);
    assert!(matches!(leg.accept_answer(b"v=0\r\n"), Err(SdpError::WrongAnswer { .. })));
    // The answer's order counts: PCMU stands first.
    assert_eq!(leg.accept_answer(PLAIN.as_bytes()).unwrap().payload_type, 0);
}

#[test]
fn an_answer_may_use_numbers_of_its_own() {
    let mut leg = ark();
    leg.offer(Direction::SendRecv);
    let answered = PLAIN.replace("0 8 97", "0 97");
    let negotiated = leg.accept_answer(answered.as_bytes()).unwrap();
    assert_eq!((negotiated.payload_type, negotiated.receive_payload_type), (0, 0));
    assert_eq!((negotiated.dtmf_payload_type, negotiated.receive_dtmf_payload_type), (Some(97), Some(101)));
    // A dynamic number for a static codec is allowed, and then that is what the packets carry.
    let (body, negotiated) = answer(&PLAIN.replace("0 8 97\r\n", "118 97\r\na=rtpmap:118 pcma/8000\r\n"));
    assert_eq!((negotiated.payload_type, negotiated.codec.name()), (118, "PCMA"));
    assert!(body.contains("m=audio 20000 RTP/AVP 118 97\r\na=rtpmap:118 PCMA/8000\r\n"));
    // A static number that is mapped to something else is that something else.
    assert_eq!(refused(&PLAIN.replace("0 8 97\r\n", "8 97\r\na=rtpmap:8 G726-32/8000\r\n")), SdpError::NoCommonCodec);
}

#[test]
fn packet_times_are_whole_ticks_within_what_the_peer_takes() {
    for (lines, ms) in [
        ("", 20),
        ("a=ptime:10\r\n", 10),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:40\r\n", 40),
        ("a=ptime:50\r\n", 50),
        ("a=ptime:35\r\n", 30),
        ("a=ptime:5\r\n", 10),
        ("a=maxptime:10\r\n", 10),
        ("a=ptime:60\r\na=maxptime:40\r\n", 40),
        ("a=ptime:200\r\n", 60),
        ("a=ptime:20.0\r\n", 20),
        ("a=maxptime:60\r\n", 20),
        ("a=ptime:0\r\n", 20),
        ("a=ptime:soon\r\n", 20),
    ] {
        assert_eq!(answer(&format!("{PLAIN}{lines}")).1.ptime.as_millis(), ms, "{lines}");
    }
}

#[test]
fn the_first_usable_audio_line_wins_and_the_others_are_refused() {
    let offer = PLAIN.replace(
        "m=audio 4000",
        "m=audio 5000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\nm=audio 0 RTP/AVP 8\r\nm=audio 4000",
    );
    let (body, negotiated) = answer(&format!("{offer}m=audio 6000 RTP/AVP 8\r\n"));
    assert_eq!(negotiated.remote, ip("192.0.2.1:4000"));
    let ports: Vec<u16> = parse(body.as_bytes()).unwrap().media.iter().map(|m| m.port).collect();
    assert_eq!(ports, [0, 0, 20_000, 0]);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_status_that_fits() {
    for (offer, status) in [
        (String::new(), 400),
        ("hello".to_owned(), 400),
        (PLAIN.replace("m=audio 4000", "m=audio many"), 400),
        (PLAIN.replace("m=audio 4000 RTP/AVP 0 8 97", "m=audio"), 400),
        ("v=0\r\n".to_owned(), 488),
        (PLAIN.replace("4000 RTP", "0 RTP"), 488),
        (PLAIN.replace("0 8 97", "3 4 97"), 488),
        (PLAIN.replace("c=IN IP4 192.0.2.1\r\n", ""), 488),
        (PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 phone.example.com"), 488),
        (PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 224.2.1.1/127"), 488),
        (PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 255.255.255.255"), 488),
        (PLAIN.replace("m=audio 4000 RTP/AVP 0 8 97", "m=image 4000 udptl t38"), 488),
        (offer_of("chrome"), 488),
        (format!("{PLAIN}{}", "m=video 0 RTP/AVP 9\r\n".repeat(20)), 413),
        (format!("{PLAIN}{}", "a=x\r\n".repeat(2000)), 413),
        (format!("{PLAIN}a={}\r\n", "x".repeat(40_000)), 413),
        (PLAIN.replace("0 8 97", &"8 ".repeat(100)), 413),
        (format!("{PLAIN}m={} 0 RTP/AVP 9\r\n", "x".repeat(100)), 400),
    ] {
        let error = refused(&offer);
        assert_eq!(error.sip_status(), status, "{error}: {}", &offer[..offer.len().min(200)]);
    }
}

#[test]
fn bytes_that_are_not_utf8_and_unknown_lines_hide_nothing_else() {
    let mut offer =
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=\xC4\xE3\xBA\xC3\r\ni=\xFF\r\nx=?\r\n junk\r\nk=clear:x\r\n".to_vec();
    offer.extend(PLAIN.as_bytes().split_at(4).1);
    let (_, negotiated) = ark().answer(&offer).unwrap();
    assert_eq!(negotiated.remote, ip("192.0.2.1:4000"));
}

#[test]
fn rtcp_mux_is_answered_when_it_is_offered() {
    let (body, negotiated) = answer(&format!("{PLAIN}a=rtcp-mux\r\na=rtcp:4000\r\n"));
    assert!(negotiated.rtcp_mux && body.contains("a=rtcp-mux\r\n"));
    assert_eq!(negotiated.remote_rtcp, negotiated.remote);
    let (body, negotiated) = answer(&format!("{PLAIN}a=rtcp:9999 IN IP4 192.0.2.77\r\n"));
    assert!(!negotiated.rtcp_mux && !body.contains("rtcp-mux"));
    assert_eq!(negotiated.remote_rtcp, ip("192.0.2.77:9999"));
}
