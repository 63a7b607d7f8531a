//! Browsers that call and operators who answer in one, as the switch sees them: no SDP, no road.

use std::time::Duration;

use ark_conversation::event::EndCause;
use ark_conversation::{ConversationId, Event, LegId};
use ark_media::codec;
use ark_media::dtmf::Digit;
use ark_media::sdp::{Direction, Negotiated};
use ark_sip::ua::CallEvent;

use super::hotline::PLAN;
use super::{ANNA, CHEN, Rig};
use crate::call::web::{FromWeb, Joins, ToWeb, WebCall, WebEnd, WebKey};
use crate::media::PIPE_REMOTE;

const KEY: WebKey = WebKey(7);

fn pcma() -> codec::CodecRef {
    codec::by_name("PCMA", 8_000).unwrap()
}

pub(super) fn agreed(direction: Direction) -> Negotiated {
    Negotiated {
        dtmf_payload_type: Some(126),
        receive_dtmf_payload_type: Some(126),
        remote_rtcp: PIPE_REMOTE,
        direction,
        rtcp_mux: true,
        ..Negotiated::new(pcma(), 8, PIPE_REMOTE)
    }
}

fn web_call(hotline: &str) -> FromWeb {
    web_call_into(KEY, hotline, None)
}

fn web_call_into(key: WebKey, hotline: &str, joins: Option<Joins>) -> FromWeb {
    let call = WebCall {
        hotline: hotline.to_owned(),
        from: "u-77".to_owned(),
        display: None,
        call_id: "c1".to_owned(),
        remote: None,
        codecs: vec![pcma()],
        joins,
    };
    FromWeb::Call(key, Box::new(call))
}

/// Who talks to the plan from a page.
fn rig_with_a_page(operators: &[&str]) -> Rig {
    let mut rig = Rig::new(PLAN, operators);
    rig.web(web_call("95188"));
    let accepted = matches!(rig.told_web().as_slice(), [ToWeb::Accept(KEY, _, codec)] if *codec == pcma());
    assert!(accepted, "the call is admitted");
    assert_eq!(rig.logged("prompt.started"), 0, "nothing is said before it can be heard");
    // Where ICE found the browser, and where it found it after its network changed.
    for road in ["192.0.2.7:5000", "198.51.100.7:6000"] {
        rig.web(FromWeb::Road(KEY, road.parse().unwrap()));
        assert_eq!(rig.switch.calls()[0].legs[0].remote, Some(road.parse().unwrap()));
    }
    rig.web(FromWeb::Up(KEY, agreed(Direction::SendRecv)));
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig
}

#[test]
fn a_page_calls_the_hotline_like_anybody_else() {
    let mut rig = rig_with_a_page(&[ANNA]);
    assert!(rig.log[0].event.source.starts_with("/ark/main/webrtc/c1"), "{}", rig.log[0].event.source);
    rig.web(FromWeb::Digit(KEY, Digit::from_char('0').unwrap()));
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.web(FromWeb::Changed(KEY, agreed(Direction::Inactive)));
    assert_eq!(rig.logged("leg.held"), 1);
    assert!(rig.hears(ANNA), "who is left alone hears music");
    rig.web(FromWeb::Changed(KEY, agreed(Direction::SendRecv)));
    assert_eq!(rig.logged("leg.resumed"), 1);
    rig.web(FromWeb::Gone(KEY, WebEnd::remote(EndCause::TransportLost)));
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Ended { .. })), "Anna's phone is let go too");
    let causes = rig.events(|e| if let Event::CallEnded(e) = e { Some(e.cause) } else { None });
    assert!(causes.contains(&EndCause::TransportLost), "{causes:?}");
    assert!(rig.told_web().is_empty(), "who hung up is told nothing");
    assert_eq!(rig.legs(), 0);
}

#[test]
fn a_call_from_a_chat_is_in_its_conversation_and_with_the_agent_who_has_it() {
    let mut rig = Rig::new(PLAN, &[ANNA, "web:ben"]);
    rig.web(FromWeb::Operator("ben".to_owned(), true));
    let conversation = ConversationId::new(5, 5);
    let joins = || Some(Joins { conversation, leg: LegId(101), agent: Some("ben".to_owned()) });
    rig.web(web_call_into(KEY, "95188", joins()));
    assert_eq!(rig.told_web().len(), 1, "it is admitted");
    rig.web(FromWeb::Up(KEY, agreed(Direction::SendRecv)));
    rig.run_until("the agent is rung", |r| r.logged("call.ringing") == 2);
    let said = rig.told_web();
    let [ToWeb::Ring(ben, ring)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((ring.operator.as_str(), ring.conversation.clone()), ("ben", conversation.to_string()));
    rig.web(FromWeb::Up(*ben, agreed(Direction::SendRecv)));
    assert_eq!(rig.logged("leg.bridged"), 1);
    let legs = rig.events(|e| if let Event::CallRinging(e) = e { Some(e.leg) } else { None });
    assert_eq!(legs, [LegId(101), LegId(102)]);
    assert!(rig.log.iter().all(|new| new.conversation == conversation));
    // A second one at the same time has a conversation of its own.
    rig.web(web_call_into(WebKey(8), "95188", joins()));
    assert_ne!(rig.log.last().unwrap().conversation, conversation);
}

#[test]
fn a_call_from_a_chat_whose_agent_is_away_hears_the_hotline() {
    let mut rig = Rig::new(PLAN, &[ANNA, "web:ben"]);
    let joins = Joins { conversation: ConversationId::new(5, 5), leg: LegId(101), agent: Some("ben".to_owned()) };
    rig.web(web_call_into(KEY, "95188", Some(joins)));
    rig.web(FromWeb::Up(KEY, agreed(Direction::SendRecv)));
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.run_for(Duration::from_millis(200));
    assert_eq!(rig.logged("queue.joined"), 0);
}

#[test]
fn a_page_is_refused_where_a_telephone_would_be() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.web(web_call("4711"));
    assert!(matches!(rig.told_web().as_slice(), [ToWeb::Refuse(KEY, 404, _)]));
    rig.media.0.borrow_mut().full = true;
    rig.web(web_call("95188"));
    assert!(matches!(rig.told_web().as_slice(), [ToWeb::Refuse(KEY, 503, _)]));
    rig.media.0.borrow_mut().full = false;
    rig.switch.drain(true);
    rig.web(web_call("95188"));
    assert!(matches!(rig.told_web().as_slice(), [ToWeb::Refuse(KEY, 503, _)]));
    assert_eq!((rig.switch.counters().refused, rig.log.len(), rig.legs()), (3, 0, 0));
}

#[test]
fn a_page_that_hears_the_hotline_hang_up_is_told() {
    let mut rig = rig_with_a_page(&[]);
    let now = rig.now;
    rig.switch.shut_down(now);
    rig.run_for(Duration::from_millis(50));
    assert!(matches!(rig.told_web().as_slice(), [ToWeb::End(KEY)]));
}

#[test]
fn an_operator_in_a_browser_is_rung_while_signed_on() {
    let mut rig = Rig::new(PLAN, &["web:anna"]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_for(Duration::from_secs(3));
    assert!(rig.told_web().is_empty(), "nobody is there");
    rig.web(FromWeb::Operator("anna".to_owned(), true));
    let said = rig.told_web();
    let [ToWeb::Ring(key, ring)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((ring.operator.as_str(), ring.codec), ("anna", pcma()), "no transcoding");
    let key = *key;
    rig.web(FromWeb::Gone(key, WebEnd::remote(EndCause::Rejected)));
    rig.run_until("she is rung again after a rest", |r| r.logged("call.ringing") == 3);
    let said = rig.told_web();
    let [ToWeb::Ring(again, _)] = said.as_slice() else { panic!("{said:?}") };
    assert_ne!(*again, key);
    let again = *again;
    rig.web(FromWeb::Up(again, agreed(Direction::SendRecv)));
    assert_eq!(rig.logged("leg.bridged"), 1);
    rig.web(FromWeb::Gone(again, WebEnd::remote(EndCause::Hangup)));
    rig.run_for(Duration::from_secs(1));
    assert_eq!(rig.logged("leg.unbridged"), 1);
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing_in_the_browser() {
    let mut rig = Rig::new(PLAN, &["web:anna"]);
    rig.web(FromWeb::Operator("anna".to_owned(), true));
    let call = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("it rings", |r| r.logged("call.ringing") == 2);
    let said = rig.told_web();
    let [ToWeb::Ring(key, _)] = said.as_slice() else { panic!("{said:?}") };
    let key = *key;
    rig.hang_up(CHEN, call);
    rig.run_for(Duration::from_millis(50));
    assert!(matches!(rig.told_web().as_slice(), [ToWeb::End(ended)] if *ended == key));
}
