//! Offer and answer as phones and carriers do it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use ark_media::codec;
use ark_media::sdp::{Direction, Local, Negotiated, Negotiator};

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

const PLAIN: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 97\r\na=rtpmap:97 telephone-event/8000\r\n";

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
