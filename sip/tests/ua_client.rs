//! Calls that we place, against a scripted peer in virtual time (RFC 3261 13.2, 9.1, 12.2.1, 14.1, 22; RFC 6026).
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod kit;

use ark_sip::auth::Credentials;
use ark_sip::ua::{CallEvent, CallKey, Config, EndCause, Flow, Full, Limits, Outgoing, Party, Transport};
use kit::{ANSWER, OFFER, Said, Stage};
use std::time::Duration;

const CONTACT: &str = "Contact: <sip:95188@10.0.0.9:5066;ob>\r\n";

fn outgoing(stage: &Stage) -> Outgoing {
    Outgoing {
        flow: stage.flow,
        target: "sip:1001@10.0.0.9".to_owned(),
        from: Party { uri: "sip:ark@10.0.0.1".to_owned(), display: Some("Ark \"hotline\"\r\nX-Evil: 1".to_owned()) },
        to: Party { uri: "sip:1001@10.0.0.9".to_owned(), display: None },
        sdp: Some(OFFER.as_bytes().to_vec()),
        credentials: Some(Credentials { username: "ark".to_owned(), password: "pass".to_owned() }),
        headers: vec![("P-Asserted-Identity".to_owned(), "<tel:+8695188>\r\nX-Evil: 1".to_owned())],
        max_forwards: 69,
    }
}

fn place(stage: &mut Stage) -> (CallKey, Said) {
    let outgoing = outgoing(stage);
    let key = stage.ua.place(stage.now, outgoing).unwrap();
    (key, stage.next_is("INVITE"))
}

fn up(stage: &mut Stage) -> (CallKey, Said) {
    let (key, invite) = place(stage);
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER));
    stage.next_is("ACK");
    assert!(matches!(stage.event().1, CallEvent::Answered { .. }));
    (key, invite)
}

fn failed(stage: &mut Stage) -> (u16, Option<Duration>) {
    match stage.event().1 {
        CallEvent::Failed { status, retry_after, .. } => (status, retry_after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invite_has_what_it_must_have_and_no_value_begins_a_line_of_its_own() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    for name in ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Allow", "Content-Type"] {
        assert_eq!(invite.headers(name).len(), 1, "{name}");
    }
    assert_eq!(invite.uri(), "sip:1001@10.0.0.9");
    assert_eq!(invite.header("Max-Forwards"), "69");
    assert!(invite.headers("X-Evil").is_empty());
    assert!(invite.header("Via").contains(";rport") && invite.header("Via").contains("z9hG4bK"));
    assert_eq!(invite.message.sdp(), Some(OFFER.as_bytes()));
    assert!(invite.caller_tag().len() >= 16);
}

#[test]
fn nobody_answers_for_64_t1_and_the_call_fails_with_408() {
    let mut stage = Stage::new();
    place(&mut stage);
    stage.at_rest_after(33);
    assert_eq!(failed(&mut stage), (408, None));
    assert_eq!(stage.whats().len(), 6, "repeated by timer A");
    let mut stage = Stage::tcp();
    place(&mut stage);
    stage.at_rest_after(33);
    assert_eq!(failed(&mut stage), (408, None));
    stage.silent(); // no repetition on TCP
}

#[test]
fn each_retransmitted_200_gets_the_same_ack_again() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    let ok = invite.reply(200, "peer", CONTACT, ANSWER);
    stage.hear(&invite.reply(100, "", "", ""));
    stage.hear(&invite.reply(180, "peer", "", ""));
    assert!(matches!(stage.event().1, CallEvent::Progress { status: 180, sdp: None }));
    stage.hear(&ok);
    assert!(matches!(stage.event().1, CallEvent::Answered { sdp: Some(_) }));
    let ack = stage.next_is("ACK");
    assert_eq!((ack.uri().as_str(), ack.to_tag().as_str()), ("sip:95188@10.0.0.9:5066;ob", "peer"));
    assert_eq!(ack.flow.remote, "10.0.0.9:5066".parse().unwrap());
    assert_ne!(ack.header("Via"), invite.header("Via"), "an ACK for a 2xx is a transaction of its own");
    stage.hear(&ok);
    assert_eq!(stage.next_is("ACK").text, ack.text);
    stage.wait_ms(31_000);
    stage.hear(&ok);
    assert_eq!(stage.next_is("ACK").text, ack.text);
    stage.silent();
}

#[test]
fn a_second_fork_that_answers_is_acknowledged_and_released() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    for (tag, status) in [("one", 180), ("two", 183)] {
        stage.hear(&invite.reply(status, tag, CONTACT, ""));
        assert!(matches!(stage.event().1, CallEvent::Progress { .. }));
    }
    stage.hear(&invite.reply(200, "two", CONTACT, ANSWER));
    stage.next_is("ACK");
    assert!(matches!(stage.event().1, CallEvent::Answered { .. }));
    let late = invite.reply(200, "one", "Contact: <sip:other@10.0.0.10>\r\n", ANSWER);
    stage.hear(&late);
    let (ack, bye) = (stage.next_is("ACK"), stage.next_is("BYE"));
    assert_eq!((ack.to_tag().as_str(), bye.to_tag().as_str()), ("one", "one"));
    assert_eq!((bye.uri().as_str(), bye.flow.remote.to_string().as_str()), ("sip:other@10.0.0.10", "10.0.0.10:5060"));
    stage.hear(&late);
    assert_eq!(stage.next_is("ACK").text, ack.text, "and no second BYE");
    stage.hear(&bye.reply(200, "one", "", ""));
    stage.silent();
    stage.hangup(key);
    assert_eq!(stage.next_is("BYE").to_tag(), "two");
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    stage.hangup(key);
    assert_eq!(stage.ended(), EndCause::LocalCancel);
    stage.silent();
    stage.hear(&invite.reply(100, "", "", ""));
    let cancel = stage.next_is("CANCEL");
    assert_eq!((cancel.header("Via"), cancel.uri()), (invite.header("Via"), invite.uri()));
    assert_eq!(cancel.header("CSeq").split(' ').next(), invite.header("CSeq").split(' ').next());
    stage.hear(&cancel.reply(200, "peer", "", ""));
    stage.hear(&invite.reply(487, "peer", "", ""));
    stage.next_is("ACK");
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn without_a_provisional_no_cancel_is_sent_and_an_answer_is_released() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    stage.hangup(key);
    stage.ended();
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER));
    assert_eq!(stage.whats(), ["ACK", "BYE"]);
    stage.silent();
    stage.at_rest_after(80);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_released() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    stage.hear(&invite.reply(180, "peer", "", ""));
    stage.event();
    stage.hangup(key);
    stage.ended();
    let cancel = stage.next_is("CANCEL");
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER));
    assert_eq!(stage.whats(), ["ACK", "BYE"]);
    stage.hear(&cancel.reply(200, "peer", "", ""));
    stage.silent();
    stage.at_rest_after(80);
    assert!(stage.told.is_empty());
}

#[test]
fn a_cancel_that_brings_no_final_response_ends_after_64_t1() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    stage.hear(&invite.reply(180, "peer", "", ""));
    stage.event();
    stage.hangup(key);
    stage.ended();
    let cancel = stage.next_is("CANCEL");
    stage.hear(&cancel.reply(200, "peer", "", ""));
    stage.at_rest_after(40);
    stage.silent();
}

#[test]
fn a_call_that_rings_for_too_long_is_cancelled_and_fails_once() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    stage.hear(&invite.reply(180, "peer", "", ""));
    stage.event();
    stage.wait_ms(180_000);
    let cancel = stage.next_is("CANCEL");
    assert_eq!(failed(&mut stage), (408, None));
    stage.hear(&cancel.reply(200, "peer", "", ""));
    stage.hear(&invite.reply(487, "peer", "", ""));
    stage.next_is("ACK");
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn a_failure_is_acknowledged_by_its_transaction_each_time_it_comes() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    let busy = invite.reply(486, "peer", "Retry-After: 30 (lunch)\r\n", "");
    stage.hear(&busy);
    let ack = stage.next_is("ACK");
    assert_eq!((ack.header("Via"), ack.uri(), ack.to_tag().as_str()), (invite.header("Via"), invite.uri(), "peer"));
    assert_eq!(failed(&mut stage), (486, Some(Duration::from_secs(30))));
    stage.hear(&busy);
    stage.next_is("ACK");
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn a_503_and_its_retry_after_come_to_the_owner() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    stage.hear(&invite.reply(503, "peer", "Retry-After: 120\r\n", ""));
    assert_eq!(failed(&mut stage), (503, Some(Duration::from_secs(120))));
}

fn challenge(stage: &mut Stage, sent: &Said, status: u16, lines: &str) {
    stage.hear(&sent.reply(status, "peer", lines, ""));
    if sent.what() == "INVITE" {
        stage.next_is("ACK");
    }
}

#[test]
fn a_challenge_is_answered_once_for_each_nonce() {
    let mut stage = Stage::new();
    let (_, first) = place(&mut stage);
    challenge(
        &mut stage,
        &first,
        401,
        "WWW-Authenticate: Digest realm=\"a, b\",\r\n nonce=\"one\", qop=\"auth,auth-int\"\r\n",
    );
    let second = stage.next_is("INVITE");
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    assert_eq!((second.caller_tag(), second.to_tag()), (first.caller_tag(), String::new()));
    assert_ne!(second.header("Via"), first.header("Via"));
    let seq = |said: &Said| said.message.cseq().unwrap().number;
    assert_eq!(seq(&second), seq(&first) + 1);
    let authorization = second.header("Authorization");
    for part in ["username=\"ark\"", "realm=\"a, b\"", "nc=00000001", "qop=auth", "uri=\"sip:1001@10.0.0.9\""] {
        assert!(authorization.contains(part), "{authorization}");
    }
    assert_eq!(second.message.sdp(), Some(OFFER.as_bytes()));
    challenge(
        &mut stage,
        &second,
        401,
        "WWW-Authenticate: Digest realm=\"a, b\", nonce=\"two\", stale=true, qop=\"auth\"\r\n",
    );
    let third = stage.next_is("INVITE");
    assert!(third.header("Authorization").contains("nonce=\"two\""));
    assert_eq!(third.headers("Authorization").len(), 1);
    challenge(&mut stage, &third, 401, "WWW-Authenticate: Digest realm=\"a, b\", nonce=\"three\", qop=\"auth\"\r\n");
    assert_eq!(failed(&mut stage).0, 401, "not stale: the password is wrong");
    stage.at_rest_after(40);
}

#[test]
fn both_challenges_of_a_407_are_answered_and_the_ack_of_the_200_carries_the_credentials() {
    let mut stage = Stage::new();
    let (key, first) = place(&mut stage);
    let lines = "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\"\r\n\
        WWW-Authenticate: Digest realm=\"w\", nonce=\"2\", algorithm=SHA-256, \
        qop=\"auth\"\r\n";
    challenge(&mut stage, &first, 407, lines);
    let second = stage.next_is("INVITE");
    assert_eq!((second.headers("Proxy-Authorization").len(), second.headers("Authorization").len()), (1, 1));
    stage.hear(&second.reply(200, "peer", CONTACT, ANSWER));
    let ack = stage.next_is("ACK");
    assert_eq!(ack.header("Authorization"), second.header("Authorization"));
    assert_eq!(ack.message.cseq().unwrap().number, second.message.cseq().unwrap().number);
    stage.event();
    stage.hangup(key);
    stage.ended();
    let bye = stage.next_is("BYE");
    assert!(bye.header("Authorization").contains("nc=00000002"), "the nonce is used again, with the next count");
    challenge(
        &mut stage,
        &bye,
        401,
        "WWW-Authenticate: Digest realm=\"w\", nonce=\"9\", algorithm=SHA-256, qop=\"auth\", stale=true\r\n",
    );
    let again = stage.next_is("BYE");
    assert!(again.header("Authorization").contains("nonce=\"9\""));
    stage.hear(&again.reply(200, "peer", "", ""));
    stage.silent();
    assert_eq!(stage.ua.calls(), 0);
}

#[test]
fn a_challenge_without_credentials_or_of_an_unknown_kind_fails_the_call() {
    let mut stage = Stage::new();
    let mut bare = outgoing(&stage);
    bare.credentials = None;
    stage.ua.place(stage.now, bare).unwrap();
    let invite = stage.next_is("INVITE");
    challenge(&mut stage, &invite, 401, "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\"\r\n");
    assert_eq!(failed(&mut stage).0, 401);
    let (_, invite) = place(&mut stage);
    challenge(&mut stage, &invite, 407, "Proxy-Authenticate: NoOneKnowsThisScheme a=b\r\n");
    assert_eq!(failed(&mut stage).0, 407);
}

#[test]
fn a_transport_that_fails_is_a_503() {
    let mut stage = Stage::new();
    place(&mut stage);
    stage.ua.send_failed(stage.now, stage.flow);
    assert_eq!(failed(&mut stage).0, 503);
    stage.at_rest_after(0);
    let mut stage = Stage::tcp();
    let (_, invite) = place(&mut stage);
    assert!(invite.header("Via").starts_with("SIP/2.0/TCP"));
    stage.ua.connection_closed(stage.now, 5);
    assert_eq!(failed(&mut stage).0, 503);
    stage.at_rest_after(0);
    // A call that was answered outlives its connection.
    let mut stage = Stage::tcp();
    let (key, _) = up(&mut stage);
    stage.ua.connection_closed(stage.now, 5);
    stage.silent();
    stage.hangup(key);
    let bye = stage.next_is("BYE");
    assert_eq!((bye.flow.connection, bye.flow.transport), (0, Transport::Tcp));
}

#[test]
fn early_media_and_an_empty_200_are_passed_on_as_they_come() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    stage.hear(&invite.reply(183, "peer", CONTACT, "v=0\r\ns=early\r\n"));
    assert!(matches!(stage.event().1, CallEvent::Progress { status: 183, sdp: Some(_) }));
    stage.hear(&invite.reply(200, "peer", CONTACT, ""));
    assert!(matches!(stage.event().1, CallEvent::Answered { sdp: None }));
    stage.next_is("ACK");
}

#[test]
fn requests_in_the_dialog_follow_the_reversed_record_route() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    let lines = format!("{CONTACT}Record-Route: <sip:10.0.0.7;lr>, <sip:10.0.0.8:5070;lr>\r\n");
    stage.hear(&invite.reply(200, "peer", &lines, ANSWER));
    let ack = stage.next_is("ACK");
    assert_eq!(ack.headers("Route"), ["<sip:10.0.0.8:5070;lr>", "<sip:10.0.0.7;lr>"]);
    assert_eq!(ack.flow.remote, "10.0.0.8:5070".parse().unwrap());
    stage.hangup(key);
    let bye = stage.next_is("BYE");
    assert_eq!((bye.uri().as_str(), bye.headers("Route").len()), ("sip:95188@10.0.0.9:5066;ob", 2));
    assert_eq!(bye.message.cseq().unwrap().number, invite.message.cseq().unwrap().number + 1);
}

#[test]
fn requests_in_an_early_dialog_are_answered() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    stage.hear(&invite.reply(183, "peer", CONTACT, ""));
    stage.event();
    let from_peer = |method: &str, seq: u32, lines: &str, body: &str| {
        kit::request(method, &format!("z9hG4bKp{seq}"), &invite.caller_tag(), seq, lines, body)
            .replace("Call-ID: call-1", &format!("Call-ID: {}", invite.header("Call-ID")))
    };
    stage.hear(&from_peer("UPDATE", 7, "", ""));
    stage.next_is("200");
    stage.hear(&from_peer("UPDATE", 8, "", OFFER));
    stage.next_is("491");
    stage.hear(&from_peer("INFO", 9, "Content-Type: application/dtmf\r\n", "5"));
    stage.next_is("200");
    assert!(matches!(stage.event().1, CallEvent::Info { .. }));
    stage.hear(&from_peer("INFO", 8, "", "").replace("z9hG4bKp8", "z9hG4bKp8b"));
    stage.next_is("500");
    stage.hear(&from_peer("BYE", 10, "", ""));
    stage.next_is("481");
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER));
    stage.next_is("ACK");
    stage.event();
    stage.hear(&from_peer("INFO", 9, "", "").replace("z9hG4bKp9", "z9hG4bKp9b"));
    stage.next_is("500");
    stage.hear(&from_peer("BYE", 11, "", ""));
    stage.next_is("200");
    assert_eq!(stage.ended(), EndCause::RemoteBye);
}

#[test]
fn a_reinvite_that_meets_491_is_tried_again_after_the_time_of_its_side() {
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    let first = stage.next_is("INVITE");
    let asked = stage.now;
    stage.hear(&first.reply(491, "peer", "", ""));
    stage.next_is("ACK");
    stage.wait_ms(2_050);
    stage.silent();
    stage.wait_ms(2_000);
    let second = stage.next_is("INVITE");
    let waited = second.after - (asked - stage.start);
    assert!((2_100..=4_000).contains(&waited.as_millis()), "{waited:?}: the Call-ID is ours");
    stage.hear(&second.reply(200, "peer", CONTACT, ANSWER));
    stage.next_is("ACK");
    assert!(matches!(stage.event().1, CallEvent::Reanswered { sdp: Ok(_) }));
    stage.hear(&second.reply(200, "peer", CONTACT, ANSWER));
    stage.next_is("ACK");
    stage.silent();
}

#[test]
fn endless_glare_is_told_in_the_end() {
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    let mut tries = 0;
    while stage.told.is_empty() {
        tries += 1;
        let invite = stage.next_is("INVITE");
        stage.hear(&invite.reply(491, "peer", "", ""));
        stage.next_is("ACK");
        while stage.told.is_empty() && stage.said.is_empty() {
            stage.wait_ms(10);
        }
    }
    assert!(matches!(stage.event().1, CallEvent::Reanswered { sdp: Err(491) }));
    assert_eq!(tries, 5);
}

#[test]
fn a_peer_that_lost_the_call_ends_it() {
    for (status, cause) in [(481, EndCause::PeerGone), (408, EndCause::Timeout)] {
        let mut stage = Stage::new();
        let (key, _) = up(&mut stage);
        stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
        let invite = stage.next_is("INVITE");
        stage.hear(&invite.reply(status, "peer", "", ""));
        assert_eq!(stage.ended(), cause);
        assert_eq!(stage.whats(), ["ACK", "BYE"]);
    }
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    stage.wait_ms(33_000);
    assert_eq!(stage.ended(), EndCause::Timeout, "nobody answers the re-INVITE");
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    stage.ua.send_info(stage.now, key, "application/dtmf", b"5".to_vec());
    let info = stage.next_is("INFO");
    stage.hear(&info.reply(481, "peer", "", ""));
    assert_eq!(stage.ended(), EndCause::PeerGone);
    assert_eq!(stage.whats(), ["BYE"]);
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    stage.said.clear();
    stage.ua.send_failed(stage.now, Flow { remote: "10.0.0.9:5066".parse().unwrap(), ..stage.flow });
    assert_eq!(stage.ended(), EndCause::TransportLost);
}

#[test]
fn an_info_that_nobody_answers_does_not_end_the_call() {
    let mut stage = Stage::new();
    let (key, _) = up(&mut stage);
    for _ in 0..100 {
        stage.ua.send_info(stage.now, key, "application/dtmf", b"5".to_vec());
    }
    assert_eq!(stage.ua.stats().infos_dropped, 100 - 32);
    stage.wait_ms(80_000);
    assert_eq!(stage.ua.calls(), 1);
    assert!(stage.told.is_empty());
    stage.said.clear();
    stage.ua.send_info(stage.now, key, "application/dtmf", b"5".to_vec());
    stage.next_is("INFO");
}

#[test]
fn a_bye_during_our_reinvite_ends_the_call_and_its_late_200_is_acknowledged() {
    let mut stage = Stage::new();
    let (key, invite) = up(&mut stage);
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    let ours = stage.next_is("INVITE");
    let bye = kit::request("BYE", "z9hG4bKpb", &invite.caller_tag(), 3, "", "")
        .replace("Call-ID: call-1", &format!("Call-ID: {}", invite.header("Call-ID")));
    stage.hear(&bye);
    stage.next_is("200");
    assert_eq!(stage.ended(), EndCause::RemoteBye);
    stage.hear(&ours.reply(200, "peer", CONTACT, ANSWER));
    stage.next_is("ACK");
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn responses_that_are_not_for_us_are_dropped() {
    let mut stage = Stage::new();
    let (_, invite) = place(&mut stage);
    let two_vias = invite.reply(200, "peer", CONTACT, ANSWER).replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 10.0.0.66;branch=z9hG4bKx\r\nVia: ",
        1,
    );
    stage.hear(&two_vias);
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER).replace("z9hG4bK", "z9hG4bKy"));
    stage.hear(&invite.reply(200, "peer", CONTACT, ANSWER).replace("Call-ID: ", "X-Call-ID: "));
    stage.silent();
    assert_eq!((stage.ua.stats().dropped_bad_via, stage.ua.stats().dropped_stray_responses), (1, 2));
}

#[test]
fn a_full_endpoint_places_nothing() {
    let limits = Limits { calls: 1, ..Limits::default() };
    let mut stage = Stage::with(Config { limits, ..Config::default() });
    place(&mut stage);
    let second = outgoing(&stage);
    assert_eq!(stage.ua.place(stage.now, second), Err(Full));
    stage.silent();
}

#[test]
fn commands_that_come_too_early_or_too_late_do_nothing() {
    let mut stage = Stage::new();
    let (key, invite) = place(&mut stage);
    stage.answer(key);
    stage.ring(key, 180);
    stage.ua.reject(stage.now, key, 486, "", &[]);
    stage.ua.answer_reoffer(stage.now, key, Ok(Vec::new()));
    stage.silent();
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    assert!(matches!(stage.event().1, CallEvent::Reanswered { sdp: Err(491) }));
    stage.hear(&invite.reply(486, "peer", "", ""));
    stage.next_is("ACK");
    failed(&mut stage);
    stage.hangup(key);
    stage.ua.reoffer(stage.now, key, Vec::new());
    stage.ua.send_info(stage.now, key, "application/dtmf", Vec::new());
    stage.silent();
}

#[test]
fn advertised_hosts_and_ports_stand_in_via_and_contact() {
    let config = Config {
        advertise: Some("2001:db8::7".to_owned()),
        udp_port: Some(5061),
        tcp_port: Some(5062),
        ..Config::default()
    };
    let mut stage = Stage::with(config);
    let home = stage.flow;
    stage.flow = Flow::udp("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::9]:5060".parse().unwrap());
    let (_, invite) = place(&mut stage);
    assert!(invite.header("Via").starts_with("SIP/2.0/UDP [2001:db8::7]:5061;"));
    assert_eq!(invite.header("Contact"), "<sip:ark@[2001:db8::7]:5061>");
    // A peer of the other family, and this machine itself, are given what they can reach.
    stage.flow = home;
    let (_, invite) = place(&mut stage);
    assert_eq!(invite.header("Contact"), format!("<sip:ark@{}:5061>", home.local.ip()));
    stage.flow = Flow::udp("[::1]:5060".parse().unwrap(), "[::1]:5080".parse().unwrap());
    let (_, invite) = place(&mut stage);
    assert_eq!(invite.header("Contact"), "<sip:ark@[::1]:5061>");
}
