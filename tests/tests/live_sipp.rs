//! SIPp calls a gateway of our own: each scenario is a file of `tests/live/sipp`. What SIPp counts and what the log says
//! must be the same number.

use std::time::Duration;

use ark_tests::{
    kit::{Gateway, SOON, Sipp, conversation_id, tone_site},
    need,
};

/// Runs a scenario a few times and returns the log's conversations, all ended.
fn calls(run: Sipp<'_>) -> (Gateway, Vec<serde_json::Value>) {
    let gateway = Gateway::start(&tone_site());
    run.run(&gateway).assert_all_succeeded(run.calls.into());
    gateway.wait_until_idle(SOON);
    let conversations = gateway.wait_for_ended(run.calls as usize, SOON);
    (gateway, conversations)
}

#[test]
fn a_call_is_made_and_ended_over_udp() {
    need!("live_sipp_udp", "sipp");
    let (gateway, conversations) = calls(Sipp::once("basic"));
    let timeline = gateway.timeline(&conversation_id(&conversations[0]));
    timeline.assert_order(&["call.ringing", "call.answered", "prompt.started", "prompt.finished", "call.ended"]);
    assert_eq!(timeline.all("call.ended", "cause"), ["hangup"]);
    assert_eq!(timeline.count("call.quality"), 1);
}

#[test]
fn calls_are_made_and_ended_over_one_tcp_connection_and_over_one_each() {
    need!("live_sipp_tcp", "sipp");
    for transport in ["t1", "tn"] {
        calls(Sipp { calls: 20, rate: 20, more: &["-t", transport], ..Sipp::once("basic") });
    }
}

#[test]
fn a_cancel_that_races_the_answer_leaves_one_outcome() {
    need!("live_sipp_cancel", "sipp");
    calls(Sipp { calls: 20, rate: 20, ..Sipp::once("cancel") });
}

#[test]
fn a_call_whose_ack_is_lost_ends_with_bye_after_32_seconds() {
    need!("live_sipp_lost_ack", "sipp");
    let (gateway, conversations) = calls(Sipp { within: Duration::from_secs(50), ..Sipp::once("lost_ack") });
    let timeline = gateway.timeline(&conversation_id(&conversations[0]));
    assert_eq!(timeline.all("call.ended", "cause"), ["no_ack"]);
}

#[test]
fn an_invite_that_comes_twice_is_one_call() {
    need!("live_sipp_retransmission", "sipp");
    calls(Sipp { calls: 10, rate: 10, ..Sipp::once("retransmission") });
}

#[test]
fn a_call_without_an_offer_gets_one() {
    need!("live_sipp_offerless", "sipp");
    calls(Sipp::once("offerless"));
}

#[test]
fn a_call_is_held_and_resumed() {
    need!("live_sipp_hold", "sipp");
    let (gateway, conversations) = calls(Sipp::once("hold"));
    gateway.timeline(&conversation_id(&conversations[0])).assert_order(&[
        "call.answered",
        "leg.held",
        "leg.resumed",
        "call.ended",
    ]);
}

#[test]
fn a_key_is_understood_as_rfc_4733_events() {
    need!("live_sipp_dtmf", "sipp");
    let (gateway, conversations) = calls(Sipp::once("dtmf_rfc4733"));
    let timeline = gateway.timeline(&conversation_id(&conversations[0]));
    assert_eq!(timeline.all("dtmf", "digit"), ["1"]);
    assert_eq!(timeline.all("dtmf", "how"), ["rfc4733"]);
}

#[test]
fn a_key_is_understood_by_info() {
    need!("live_sipp_info", "sipp");
    let (gateway, conversations) = calls(Sipp::once("dtmf_info"));
    let timeline = gateway.timeline(&conversation_id(&conversations[0]));
    assert_eq!(timeline.all("dtmf", "digit"), ["1"]);
    assert_eq!(timeline.all("dtmf", "how"), ["info"]);
}

#[test]
fn options_are_answered_and_leave_no_trace_in_the_log() {
    need!("live_sipp_options", "sipp");
    let gateway = Gateway::start(&tone_site());
    Sipp { calls: 10, rate: 10, ..Sipp::once("options") }.run(&gateway).assert_all_succeeded(10);
    assert!(gateway.conversations().is_empty());
}

#[test]
fn fifty_calls_a_second_are_counted_exactly() {
    need!("live_sipp_fifty", "sipp");
    let run = Sipp { calls: 500, rate: 50, within: Duration::from_secs(60), ..Sipp::once("basic") };
    let (gateway, conversations) = calls(run);
    for conversation in &conversations {
        let timeline = gateway.timeline(&conversation_id(conversation));
        assert_eq!(timeline.count("call.ringing"), 1, "{:?}", timeline.names());
        assert_eq!(timeline.count("call.answered"), 1, "{:?}", timeline.names());
        assert_eq!(timeline.all("call.ended", "cause"), ["hangup"]);
    }
}
