//! Calls that come in, against a scripted peer in virtual time (RFC 3261 13.3, 9.2, 12.2.2, 14.2, 15; RFC 6026).
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod kit;

use ark_sip::ua::{CallEvent, EndCause};
use kit::{ANSWER, OFFER, Stage, ack, ack_failure, bye, cancel, invite, request};

#[test]
fn an_invite_gets_100_at_once_then_rings_and_is_answered() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let trying = stage.next_is("100");
    assert_eq!(trying.to_tag(), "", "100 has no tag");
    let (key, incoming) = stage.incoming();
    assert_eq!((incoming.from.as_str(), incoming.from_display.as_deref()), ("sip:chen@10.0.0.9", Some("Chen")));
    assert_eq!((incoming.to.as_str(), incoming.request_uri.as_str()), ("sip:95188@10.0.0.1", "sip:95188@10.0.0.1"));
    assert_eq!((incoming.call_id.as_str(), incoming.sdp.as_deref()), ("call-1", Some(OFFER.as_bytes())));
    stage.ring(key, 180);
    let ringing = stage.next_is("180");
    assert!(ringing.to_tag().len() >= 16, "64 bits at least");
    stage.ua.ring(stage.now, key, 183, Some(b"v=0\r\n".to_vec()));
    let progress = stage.next_is("183");
    assert_eq!((progress.message.sdp(), progress.to_tag()), (Some(&b"v=0\r\n"[..]), ringing.to_tag()));
    stage.answer(key);
    let ok = stage.next_is("200");
    assert_eq!((ok.to_tag(), ok.message.sdp()), (ringing.to_tag(), Some(ANSWER.as_bytes())));
    assert_eq!(ok.header("Contact"), "<sip:ark@10.0.0.1:5060>");
    assert!(ok.header("Allow").contains("BYE"));
    stage.hear(&ack(&ok.to_tag()));
    assert!(matches!(stage.event().1, CallEvent::Confirmed { sdp: None }));
    stage.wait_ms(60_000);
    stage.silent();
    stage.hear(&bye(&ok.to_tag(), 2));
    stage.next_is("200");
    assert_eq!(stage.ended(), EndCause::RemoteBye);
    stage.at_rest_after(40);
    stage.silent();
}

#[test]
fn the_200_is_repeated_from_t1_to_t2_until_64_t1_and_then_the_call_is_ended_by_bye() {
    for mut stage in [Stage::new(), Stage::tcp()] {
        stage.hear(&invite());
        let (key, _) = stage.incoming();
        stage.answer(key);
        stage.wait_ms(33_000);
        let times: Vec<_> =
            stage.said.iter().filter(|said| said.what() == "200").map(|said| said.after.as_millis()).collect();
        assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(stage.ended(), EndCause::NoAck);
        let first = stage.said.iter().find(|said| said.what() == "BYE").unwrap();
        assert_eq!(first.after.as_millis(), 32_000);
        let reply = first.reply(200, "", "", "");
        stage.hear(&reply);
        stage.said.clear();
        stage.at_rest_after(40);
        stage.silent();
    }
}

#[test]
fn a_retransmitted_invite_is_absorbed_and_gets_the_last_provisional_again() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.hear(&invite());
    assert_eq!(stage.whats(), ["100", "100"]);
    stage.ring(key, 180);
    stage.hear(&invite());
    assert_eq!(stage.whats(), ["180", "180"]);
    stage.answer(key);
    stage.hear(&invite());
    assert_eq!(stage.whats(), ["200"], "RFC 6026: in Accepted the INVITE is absorbed, the 200 has its own clock");
    assert!(stage.told.is_empty(), "one INVITE, one call");
}

#[test]
fn a_cancel_before_the_final_response_gets_200_and_the_invite_487() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.ring(key, 180);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hear(&cancel());
    let ok = stage.next_is("200");
    assert_eq!((ok.header("CSeq").as_str(), ok.to_tag()), ("1 CANCEL", tag.clone()));
    let terminated = stage.next_is("487");
    assert_eq!((terminated.header("CSeq").as_str(), terminated.to_tag()), ("1 INVITE", tag.clone()));
    assert!(matches!(stage.event(), (dead, CallEvent::Cancelled) if dead == key));
    stage.hear(&cancel());
    stage.next_is("200");
    stage.silent();
    stage.wait_ms(600);
    stage.next_is("487");
    stage.hear(&ack_failure(&tag));
    stage.answer(key);
    stage.hangup(key);
    stage.wait_ms(20_000);
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn a_cancel_that_crosses_the_200_is_answered_and_the_call_goes_on() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.answer(key);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hear(&cancel());
    assert_eq!(stage.next_is("200").header("CSeq"), "1 CANCEL");
    stage.silent();
    stage.hear(&ack(&tag));
    assert!(matches!(stage.event(), (up, CallEvent::Confirmed { .. }) if up == key));
}

#[test]
fn a_cancel_for_nothing_gets_481() {
    let mut stage = Stage::new();
    stage.hear(&cancel());
    stage.next_is("481");
    stage.silent();
    assert_eq!(stage.ua.transactions(), 0);
}

#[test]
fn a_cancel_with_require_is_still_obeyed() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    stage.incoming();
    stage.said.clear();
    stage.hear(&request("CANCEL", "z9hG4bKinv", "", 1, "Require: nothing\r\n", ""));
    assert_eq!(stage.whats(), ["200", "487"]);
}

#[test]
fn a_merged_request_gets_482() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    stage.incoming();
    stage.said.clear();
    stage.hear(&request("INVITE", "z9hG4bKother", "", 1, "", OFFER));
    stage.next_is("482");
    stage.silent();
}

#[test]
fn requests_in_unknown_dialogs_get_481_and_stray_acks_nothing() {
    let mut stage = Stage::new();
    for method in ["BYE", "INFO", "UPDATE", "INVITE", "OPTIONS"] {
        stage.hear(&request(method, &format!("z9hG4bK{method}"), "nobody", 5, "", ""));
        stage.next_is("481");
    }
    for method in ["BYE", "INFO", "UPDATE"] {
        stage.hear(&request(method, &format!("z9hG4bKo{method}"), "", 5, "", ""));
        stage.next_is("481");
    }
    stage.hear(&ack("nobody"));
    stage.silent();
    let (_, tag) = stage.up();
    stage.hear(&bye(&tag, 2).replace("tag=peer", "tag=other"));
    stage.next_is("481");
    stage.silent();
    assert_eq!(stage.ua.stats().absorbed_stray_acks, 1);
}

#[test]
fn requests_out_of_order_get_500_and_gaps_are_fine() {
    let mut stage = Stage::new();
    let (_, tag) = stage.up();
    stage.hear(&request("INFO", "z9hG4bK1", &tag, 50, "", ""));
    stage.next_is("200");
    stage.hear(&request("INFO", "z9hG4bK2", &tag, 49, "", ""));
    stage.next_is("500");
    stage.hear(&request("INFO", "z9hG4bK1", &tag, 50, "", ""));
    stage.next_is("200");
    stage.silent();
}

#[test]
fn a_bye_ends_a_pending_reinvite_with_487() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.next_is("100");
    assert!(matches!(stage.event(), (asked, CallEvent::Reoffer { sdp: Some(_) }) if asked == key));
    stage.hear(&bye(&tag, 3));
    assert_eq!(stage.whats(), ["200", "487"]);
    assert_eq!(stage.ended(), EndCause::RemoteBye);
    stage.ua.answer_reoffer(stage.now, key, Ok(Vec::new()));
    stage.silent();
}

#[test]
fn a_bye_in_the_early_dialog_ends_the_invite_with_487() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.ring(key, 180);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hear(&bye(&tag, 2));
    assert_eq!(stage.whats(), ["200", "487"]);
    assert_eq!(stage.ended(), EndCause::RemoteBye);
}

#[test]
fn glare_is_met_with_491() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    let ours = stage.next_is("INVITE");
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.next_is("491");
    stage.hear(&request("UPDATE", "z9hG4bKup", &tag, 3, "", OFFER));
    stage.next_is("491");
    stage.hear(&ours.reply(200, "peer", "Contact: <sip:chen@10.0.0.9>\r\n", ANSWER));
    stage.next_is("ACK");
    assert!(matches!(stage.event().1, CallEvent::Reanswered { sdp: Ok(_) }));
    stage.silent();
}

#[test]
fn a_second_reinvite_before_the_first_is_answered_gets_500_with_retry_after() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.next_is("100");
    stage.event();
    stage.hear(&request("INVITE", "z9hG4bKre2", &tag, 3, "", OFFER));
    let refused = stage.next_is("500");
    assert!(refused.header("Retry-After").parse::<u8>().unwrap() <= 10);
    stage.ua.answer_reoffer(stage.now, key, Ok(ANSWER.as_bytes().to_vec()));
    assert_eq!(stage.next_is("200").header("CSeq"), "2 INVITE");
    stage.ua.reoffer(stage.now, key, OFFER.as_bytes().to_vec());
    stage.silent(); // ours waits for the ACK
    stage.hear(&request("ACK", "z9hG4bKack2", &tag, 2, "", ""));
    stage.next_is("INVITE");
}

#[test]
fn an_offerless_invite_gets_our_offer_and_the_ack_brings_the_answer() {
    let mut stage = Stage::new();
    stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, "", ""));
    let (key, incoming) = stage.incoming();
    assert!(incoming.sdp.is_none());
    stage.answer(key);
    let ok = stage.said.pop_back().unwrap();
    stage.said.clear();
    assert!(ok.message.sdp().is_some());
    stage.hear(&request("ACK", "z9hG4bKack", &ok.to_tag(), 1, "", "v=0\r\ns=answer\r\n"));
    assert!(matches!(stage.event().1, CallEvent::Confirmed { sdp: Some(sdp) } if sdp.ends_with(b"answer\r\n")));
    // The same for a re-INVITE without an offer.
    stage.hear(&request("INVITE", "z9hG4bKre", &ok.to_tag(), 2, "", ""));
    assert!(matches!(stage.event().1, CallEvent::Reoffer { sdp: None }));
    stage.ua.answer_reoffer(stage.now, key, Ok(OFFER.as_bytes().to_vec()));
    stage.hear(&request("ACK", "z9hG4bKack2", &ok.to_tag(), 2, "", "v=0\r\ns=again\r\n"));
    assert!(matches!(stage.event().1, CallEvent::Confirmed { sdp: Some(sdp) } if sdp.ends_with(b"again\r\n")));
}

#[test]
fn the_200_of_a_reinvite_is_repeated_and_without_an_ack_the_call_ends() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.event();
    stage.ua.answer_reoffer(stage.now, key, Ok(ANSWER.as_bytes().to_vec()));
    stage.wait_ms(33_000);
    assert_eq!(stage.said.iter().filter(|said| said.what() == "200").count(), 11);
    assert!(stage.said.iter().any(|said| said.what() == "BYE"));
    assert_eq!(stage.ended(), EndCause::NoAck);
}

#[test]
fn a_session_refresh_without_change_is_asked_of_the_owner_and_answered() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request(
        "INVITE",
        "z9hG4bKre",
        &tag,
        2,
        "Session-Expires: 1800;refresher=uac\r\nSupported: timer\r\n",
        OFFER,
    ));
    stage.next_is("100");
    assert!(matches!(stage.event().1, CallEvent::Reoffer { sdp: Some(_) }));
    stage.ua.answer_reoffer(stage.now, key, Ok(ANSWER.as_bytes().to_vec()));
    stage.next_is("200");
    stage.hear(&request("ACK", "z9hG4bKack2", &tag, 2, "", ""));
    stage.hear(&request("UPDATE", "z9hG4bKup", &tag, 3, "Session-Expires: 1800\r\n", ""));
    let ok = stage.next_is("200");
    assert_eq!(ok.header("CSeq"), "3 UPDATE");
    stage.silent();
}

#[test]
fn an_update_with_an_offer_is_answered_by_the_owner() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request("UPDATE", "z9hG4bKup", &tag, 2, "", OFFER));
    assert!(matches!(stage.event().1, CallEvent::Reoffer { sdp: Some(_) }));
    stage.ua.answer_reoffer(stage.now, key, Ok(ANSWER.as_bytes().to_vec()));
    let ok = stage.next_is("200");
    assert_eq!((ok.header("CSeq").as_str(), ok.message.sdp()), ("2 UPDATE", Some(ANSWER.as_bytes())));
    stage.wait_ms(40_000);
    stage.silent(); // an UPDATE has no ACK to wait for
}

#[test]
fn the_target_is_refreshed_by_reinvite_and_update() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    let moved =
        |text: String| text.replace("Contact: <sip:chen@10.0.0.9:5060>", "Contact: <sip:new@10.0.0.77:5099;ob>");
    stage.hear(&moved(request("UPDATE", "z9hG4bKup", &tag, 2, "", "")));
    stage.next_is("200");
    stage.hangup(key);
    let bye = stage.next_is("BYE");
    assert_eq!(bye.uri(), "sip:new@10.0.0.77:5099;ob");
    assert_eq!(bye.flow.remote, "10.0.0.77:5099".parse().unwrap());
}

#[test]
fn a_reinvite_can_be_cancelled_and_the_call_goes_on() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.event();
    stage.said.clear();
    stage.hear(&request("CANCEL", "z9hG4bKre", &tag, 2, "", ""));
    assert_eq!(stage.whats(), ["200", "487"]);
    stage.ua.answer_reoffer(stage.now, key, Ok(ANSWER.as_bytes().to_vec()));
    stage.hear(&request("ACK", "z9hG4bKre", &tag, 2, "", ""));
    stage.silent();
    assert_eq!(stage.ua.calls(), 1);
}

#[test]
fn loose_and_strict_routes_are_followed_by_our_bye() {
    for (record, uri, routes, remote) in [
        ("<sip:10.0.0.2;lr>,<sip:10.0.0.3;lr>", "sip:chen@10.0.0.9:5060", 2, "10.0.0.2:5060"),
        ("<sip:10.0.0.2:5070>,<sip:10.0.0.3;lr>", "sip:10.0.0.2:5070", 2, "10.0.0.2:5070"),
    ] {
        let mut stage = Stage::new();
        stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, &format!("Record-Route: {record}\r\n"), OFFER));
        let (key, _) = stage.incoming();
        stage.answer(key);
        let ok = stage.said.pop_back().unwrap();
        assert_eq!(ok.headers("Record-Route"), [record], "echoed as it came");
        stage.hear(&ack(&ok.to_tag()));
        stage.said.clear();
        stage.hangup(key);
        let bye = stage.next_is("BYE");
        assert_eq!((bye.uri().as_str(), bye.headers("Route").len()), (uri, routes));
        assert_eq!(bye.flow.remote, remote.parse().unwrap());
    }
}

#[test]
fn responses_go_back_by_rport_else_by_the_port_of_the_via_and_never_to_its_host() {
    let mut stage = Stage::new();
    let mut flow = stage.flow;
    flow.remote = "10.0.0.9:40000".parse().unwrap();
    let via = "Via: SIP/2.0/UDP victim.ark.test:5099;branch=z9hG4bKa";
    let with = |via: &str, seq| {
        request("OPTIONS", "z9hG4bKa", "", seq, "", "")
            .replace("Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKa;rport", via)
    };
    stage.hear_on(flow, &with(&format!("{via};rport"), 1));
    let ok = stage.next_is("200");
    assert_eq!(ok.flow.remote, "10.0.0.9:40000".parse().unwrap());
    assert!(ok.header("Via").contains("rport=40000") && ok.header("Via").contains("received=10.0.0.9"));
    stage.hear_on(flow, &with(via, 2));
    let ok = stage.next_is("200");
    assert_eq!(ok.flow.remote, "10.0.0.9:5099".parse().unwrap());
    assert!(ok.header("Via").contains("received=10.0.0.9"));
}

#[test]
fn on_tcp_responses_use_the_connection_and_when_it_is_gone_the_address_of_the_via() {
    let mut stage = Stage::tcp();
    let mut flow = stage.flow;
    flow.remote = "10.0.0.9:40000".parse().unwrap();
    stage.hear_on(flow, &invite().replace("/UDP 10.0.0.9:5060", "/TCP 10.0.0.9:5066"));
    let (key, _) = stage.incoming();
    let trying = stage.next_is("100");
    assert_eq!((trying.flow.remote.port(), trying.flow.connection), (40_000, 5));
    stage.ua.connection_closed(stage.now, 5);
    stage.answer(key);
    let ok = stage.next_is("200");
    assert_eq!((ok.flow.remote.port(), ok.flow.connection), (5066, 0), "open a new connection there");
    assert!(ok.header("Contact").contains("transport=tcp"));
    stage.hear_on(flow, &ack(&ok.to_tag()));
    stage.event();
    stage.hangup(key);
    let bye = stage.next_is("BYE");
    assert_eq!((bye.flow.connection, bye.flow.remote.port()), (0, 5060), "to the Contact, over a new connection");
    assert!(bye.header("Via").starts_with("SIP/2.0/TCP "));
}

#[test]
fn a_failure_is_repeated_until_its_ack_and_64_t1_at_most() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.ua.reject(stage.now, key, 486, "Busy", &[]);
    assert_eq!(stage.ended(), EndCause::Rejected);
    stage.wait_ms(10_000);
    assert_eq!(stage.whats(), ["100", "486", "486", "486", "486", "486"]);
    stage.wait_ms(30_000);
    assert_eq!(stage.whats().len(), 6, "timer H stops it at 32 s");
    assert_eq!(stage.ua.transactions(), 0);

    let mut stage = Stage::tcp();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.ua.reject(stage.now, key, 486, "", &[]);
    stage.wait_ms(10_000);
    assert_eq!(stage.whats(), ["100", "486"], "TCP repeats nothing");
    let tag = "whatever";
    stage.hear(&ack_failure(tag));
    assert_eq!(stage.ua.transactions(), 0);
}

#[test]
fn hanging_up_an_answered_call_waits_for_the_ack_before_the_bye() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.answer(key);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hangup(key);
    assert_eq!(stage.ended(), EndCause::LocalBye, "the owner is done at once");
    stage.silent();
    stage.hear(&ack(&tag));
    let bye = stage.next_is("BYE");
    stage.hear(&bye.reply(200, "peer", "", ""));
    stage.silent();
    assert_eq!(stage.ua.calls(), 0);

    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.answer(key);
    stage.hangup(key);
    stage.wait_ms(32_000);
    assert_eq!(stage.whats().last().map(String::as_str), Some("BYE"), "or until the ACK is given up");
    assert_eq!(stage.ended(), EndCause::LocalBye);
    stage.wait_ms(33_000);
    assert_eq!(stage.ua.calls(), 0);
    assert!(stage.told.is_empty());
}

#[test]
fn crossing_byes_are_both_answered_and_the_end_is_told_once() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.hangup(key);
    assert_eq!(stage.ended(), EndCause::LocalBye);
    let ours = stage.next_is("BYE");
    stage.hear(&bye(&tag, 2));
    stage.next_is("200");
    stage.hear(&ours.reply(481, "peer", "", ""));
    stage.silent();
    stage.at_rest_after(40);
}

#[test]
fn a_bye_that_nobody_answers_is_repeated_for_64_t1_and_then_forgotten() {
    let mut stage = Stage::new();
    let (key, _) = stage.up();
    stage.hangup(key);
    stage.ended();
    stage.at_rest_after(33);
    assert_eq!(stage.whats().len(), 11);
    stage.silent();
}

#[test]
fn a_long_ringing_call_says_so_every_minute() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.ring(key, 180);
    stage.said.clear();
    stage.wait_ms(185_000);
    assert_eq!(stage.whats(), ["180", "180", "180"]);
    stage.answer(key);
    stage.wait_ms(100);
    assert_eq!(stage.whats(), ["200"]);
}

#[test]
fn dtmf_in_an_info_is_told_and_other_bodies_are_refused() {
    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    let info = |seq, kind: &str, body: &str| {
        let lines = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        request("INFO", &format!("z9hG4bKi{seq}"), &tag, seq, &lines, body)
    };
    for (seq, kind) in [(2, "application/dtmf-relay"), (3, "Application/DTMF ;x=1")] {
        stage.hear(&info(seq, kind, "Signal=5\r\n"));
        stage.next_is("200");
        assert!(matches!(stage.event(), (of, CallEvent::Info { body, .. }) if of == key && body == b"Signal=5\r\n"));
        stage.hear(&info(seq, kind, "Signal=5\r\n"));
        stage.next_is("200");
        stage.silent(); // a retransmission is one digit
    }
    stage.hear(&info(4, "application/media_control+xml", "<x/>"));
    assert!(stage.next_is("415").header("Accept").contains("application/dtmf-relay"));
    stage.hear(&info(5, "", ""));
    stage.next_is("200");
    stage.silent();
}

#[test]
fn an_ack_that_was_overtaken_by_a_reinvite_counts_as_come() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.answer(key);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    assert!(matches!(stage.event().1, CallEvent::Confirmed { sdp: None }));
    assert!(matches!(stage.event().1, CallEvent::Reoffer { sdp: Some(_) }));
    stage.next_is("100");
    stage.hear(&ack(&tag));
    stage.silent();
    // But while our offer in the 200 has no answer, another offer has to wait (RFC 5407 3.1.4).
    let mut stage = Stage::new();
    stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, "", ""));
    let (key, _) = stage.incoming();
    stage.answer(key);
    let tag = stage.said.pop_back().unwrap().to_tag();
    stage.said.clear();
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    stage.next_is("491");
}

#[test]
fn a_peer_of_rfc_2543_is_matched_by_the_old_rules() {
    for via in
        ["SIP/2.0/UDP 10.0.0.9:5060", "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK", "SIP/2.0/UDP 10.0.0.9:5060;branch=77"]
    {
        let mut stage = Stage::new();
        let old = |text: String| text.replace("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKinv;rport", via);
        let invite = old(invite());
        stage.hear(&invite);
        let (key, _) = stage.incoming();
        stage.hear(&invite);
        assert_eq!(stage.whats(), ["100", "100"], "{via}");
        stage.ua.reject(stage.now, key, 404, "", &[]);
        let refused = stage.next_is("404");
        stage.ended();
        stage.hear(&old(ack_failure(&refused.to_tag())));
        stage.wait_ms(10_000);
        stage.silent();
        assert_eq!(stage.ua.transactions(), 0, "the ACK was matched: {via}");
        stage.hear(&invite.replace("CSeq: 1 ", "CSeq: 2 "));
        stage.incoming();
        stage.said.clear();
        stage.hear(&old(cancel()).replace("CSeq: 1 ", "CSeq: 2 "));
        assert_eq!(stage.whats(), ["200", "487"], "{via}");
    }
}

#[test]
fn an_unreadable_message_costs_nothing_and_an_unanswered_call_may_wait_for_ever() {
    let mut stage = Stage::new();
    stage.hear(&invite());
    let (key, _) = stage.incoming();
    stage.said.clear();
    stage.hear("garbage\r\n\r\n");
    stage.hear("\r\n\r\n");
    stage.hear("SIP/2.0 9999 Odd\r\n\r\n");
    stage.wait_ms(3_600_000);
    stage.silent();
    stage.answer(key);
    stage.next_is("200");
}
