//! Calls between two endpoints on a wire in virtual time.

use ark_sip::ua::pair::{Pair, Side};
use ark_sip::ua::{CallEvent, CallKey, EndCause, Transport};
use std::time::{Duration, Instant};

#[allow(clippy::disallowed_methods)]
fn pair(transport: Transport) -> Pair {
    Pair::new(Instant::now(), 7, transport)
}

const OFFER: &[u8] = b"v=0\r\no=offer\r\n";
const ANSWER: &[u8] = b"v=0\r\no=answer\r\n";

/// Runs until this side hears such an event, and takes everything heard until then.
fn until(pair: &mut Pair, side: Side, wanted: fn(&CallEvent) -> bool) -> CallKey {
    for _ in 0..10_000 {
        pair.collect();
        if let Some(at) = pair.events.iter().position(|(at, _, event)| *at == side && wanted(event)) {
            let key = pair.events[at].1;
            pair.events.drain(..=at);
            return key;
        }
        assert!(pair.step(), "nothing more happens, and it was not heard");
    }
    panic!("never heard");
}

fn answered_call(pair: &mut Pair) -> (CallKey, CallKey) {
    let caller = pair.place(Side::Left);
    let callee = until(pair, Side::Right, |event| matches!(event, CallEvent::Incoming(_)));
    let now = pair.now;
    pair.right.ring(now, callee, 180, None);
    until(pair, Side::Left, |event| matches!(event, CallEvent::Progress { status: 180, sdp: None }));
    let now = pair.now;
    pair.right.answer(now, callee, ANSWER.to_vec());
    until(pair, Side::Left, |event| matches!(event, CallEvent::Answered { sdp: Some(sdp) } if sdp == ANSWER));
    until(pair, Side::Right, |event| matches!(event, CallEvent::Confirmed { sdp: None }));
    (caller, callee)
}

fn at_rest(pair: &mut Pair) {
    pair.run_out();
    for end in [&pair.left, &pair.right] {
        assert_eq!((end.calls(), end.transactions(), end.deadline()), (0, 0, None));
    }
}

#[test]
fn a_call_is_placed_rings_is_answered_and_hung_up_by_the_caller() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut pair = pair(transport);
        let (caller, callee) = answered_call(&mut pair);
        pair.run_for(Duration::from_secs(60));
        assert!(pair.events.is_empty());
        let now = pair.now;
        pair.left.hangup(now, caller, None);
        let ended =
            until(&mut pair, Side::Left, |event| matches!(event, CallEvent::Ended { cause: EndCause::LocalBye }));
        assert_eq!(ended, caller);
        let ended =
            until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Ended { cause: EndCause::RemoteBye }));
        assert_eq!(ended, callee);
        at_rest(&mut pair);
        assert!(pair.events.is_empty(), "one last event each: {:?}", pair.events);
    }
}

#[test]
fn the_callee_hangs_up() {
    let mut pair = pair(Transport::Udp);
    let (_, callee) = answered_call(&mut pair);
    let now = pair.now;
    pair.right.hangup(now, callee, Some("Q.850;cause=16"));
    until(&mut pair, Side::Left, |event| matches!(event, CallEvent::Ended { cause: EndCause::RemoteBye }));
    let bye = pair.trace.iter().find(|(_, _, bytes)| bytes.starts_with(b"BYE")).unwrap();
    assert!(String::from_utf8_lossy(&bye.2).contains("Reason: Q.850;cause=16"));
    at_rest(&mut pair);
}

#[test]
fn a_refused_call_fails_with_its_status_and_its_ack_is_sent() {
    let mut pair = pair(Transport::Udp);
    pair.place(Side::Left);
    let callee = until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Incoming(_)));
    let now = pair.now;
    pair.right.reject(now, callee, 486, "", &[("Retry-After", "30".to_owned())]);
    until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Ended { cause: EndCause::Rejected }));
    until(&mut pair, Side::Left, |event| {
        matches!(event, CallEvent::Failed { status: 486, reason, retry_after: Some(time) }
            if reason == "Busy Here" && time.as_secs() == 30)
    });
    at_rest(&mut pair);
    let finals = pair.trace.iter().filter(|(_, _, bytes)| bytes.starts_with(b"SIP/2.0 486")).count();
    assert_eq!(finals, 1, "the ACK stopped timer G");
}

#[test]
fn hold_and_resume_go_both_ways() {
    let mut pair = pair(Transport::Udp);
    let (caller, callee) = answered_call(&mut pair);
    for (side, key, other, peer) in
        [(Side::Left, caller, Side::Right, callee), (Side::Right, callee, Side::Left, caller)]
    {
        let now = pair.now;
        pair.end(side).reoffer(now, key, b"v=0\r\na=sendonly\r\n".to_vec());
        let asked = until(
            &mut pair,
            other,
            |event| matches!(event, CallEvent::Reoffer { sdp: Some(sdp) } if sdp.ends_with(b"sendonly\r\n")),
        );
        assert_eq!(asked, peer);
        let now = pair.now;
        pair.end(other).answer_reoffer(now, peer, Ok(b"v=0\r\na=recvonly\r\n".to_vec()));
        until(
            &mut pair,
            side,
            |event| matches!(event, CallEvent::Reanswered { sdp: Ok(sdp) } if sdp.ends_with(b"recvonly\r\n")),
        );
        pair.run_for(Duration::from_secs(1));
    }
    let now = pair.now;
    pair.left.reoffer(now, caller, OFFER.to_vec());
    until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Reoffer { .. }));
    let now = pair.now;
    pair.right.answer_reoffer(now, callee, Err(488));
    until(&mut pair, Side::Left, |event| matches!(event, CallEvent::Reanswered { sdp: Err(488) }));
    assert_eq!((pair.left.calls(), pair.right.calls()), (1, 1), "a refused offer leaves the call as it was");
}

#[test]
fn a_cancelled_call_is_told_once_on_each_side() {
    let mut pair = pair(Transport::Udp);
    let caller = pair.place(Side::Left);
    until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Incoming(_)));
    pair.run_for(Duration::from_secs(2));
    let now = pair.now;
    pair.left.hangup(now, caller, None);
    until(&mut pair, Side::Left, |event| matches!(event, CallEvent::Ended { cause: EndCause::LocalCancel }));
    until(&mut pair, Side::Right, |event| matches!(event, CallEvent::Cancelled));
    at_rest(&mut pair);
    assert!(pair.events.is_empty(), "{:?}", pair.events);
}

#[test]
fn dtmf_by_info_reaches_the_other_side() {
    let mut pair = pair(Transport::Udp);
    let (caller, _) = answered_call(&mut pair);
    let now = pair.now;
    pair.left.send_info(now, caller, "application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n".to_vec());
    until(&mut pair, Side::Right, |event| {
        matches!(event, CallEvent::Info { content_type, body }
            if content_type == "application/dtmf-relay" && body.starts_with(b"Signal=5"))
    });
}
