//! The fold of a conversation's log.

use ark_conversation::event::*;
use ark_conversation::samples::{self, at, ended, ringing};
use ark_conversation::{Change, ConversationKind, ConversationState, Event, LegId, LegPhase, LegState, Owner};
use proptest::prelude::*;

const L1: LegId = LegId(1);
const L2: LegId = LegId(2);

fn answered(leg: LegId) -> Event {
    CallAnswered { leg, codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 0 }.into()
}

#[test]
fn a_call_is_open_from_its_ringing_to_the_end_of_its_last_leg() {
    let log = samples::log(vec![
        ringing(L1, Role::Customer).into(),
        answered(L1),
        ringing(L2, Role::Agent).into(),
        answered(L2),
        LegBridged { leg: L1, with: L2 }.into(),
        ended(L1).into(),
        ended(L2).into(),
    ]);
    let state = samples::fold(&log[..1]);
    assert_eq!((state.kind, state.epoch, state.last_seq), (ConversationKind::Call, 1, 1));
    assert_eq!(state.owner, Some(Owner::Bot("hotline-95188".to_owned())));
    assert_eq!(state.customer().unwrap().phase, LegPhase::Ringing);

    let state = samples::fold(&log[..5]);
    assert_eq!(state.bridged, Some((L1, L2)));
    assert!(state.is_open());

    let state = samples::fold(&log[..6]);
    assert!(state.is_open() && state.bridged.is_none(), "the operator's leg still lives");

    let state = samples::fold(&log);
    assert_eq!(state.ended, Some(at(140)));
    assert_eq!(state.leg(L2).unwrap().cause, Some(EndCause::Hangup));
}

#[test]
fn what_comes_after_the_end_does_not_open_it_again_and_a_new_leg_does() {
    let mut log = vec![ringing(L1, Role::Customer).into(), ended(L1).into(), answered(L1)];
    assert!(!samples::fold(&samples::log(log.clone())).is_open());
    log.push(ringing(L2, Role::Customer).into());
    assert!(samples::fold(&samples::log(log)).is_open());
}

#[test]
fn a_lost_call_ends_every_leg_that_lived() {
    let lost = CallLost { leg: None, gateway: "gw1".to_owned(), reason: "kill -9".to_owned() };
    let state = samples::fold(&samples::log(vec![
        ringing(L1, Role::Customer).into(),
        ringing(L2, Role::Agent).into(),
        lost.into(),
    ]));
    assert!(!state.is_open() && state.legs.iter().all(|leg| leg.phase == LegPhase::Ended && leg.cause.is_none()));
}

#[test]
fn a_queue_shows_while_the_caller_waits() {
    let log = samples::log(vec![
        ringing(L1, Role::Customer).into(),
        QueueJoined { leg: L1, queue: "general".to_owned(), position: 1, priority: 0, needs: None }.into(),
        QueueLeft {
            leg: L1,
            queue: "general".to_owned(),
            outcome: QueueOutcome::Left,
            waited_ms: 1,
            answered_by: None,
        }
        .into(),
    ]);
    assert_eq!(samples::fold(&log[..2]).queue.as_deref(), Some("general"));
    assert_eq!(samples::fold(&log).queue, None);
}

fn to_be_called(leg: u32, tries: u32) -> Event {
    let place = CallbackPlace { queue: "general".to_owned(), waiting_since: at(0), priority: 0, tries };
    let to = Some(ark_conversation::Pii::new("13800001212"));
    LegOffered { leg: LegId(leg), mode: CallMode::PstnCallback, deadline: at(90_000), to, callback: Some(place) }.into()
}

#[test]
fn a_conversation_is_open_as_long_as_somebody_waits_to_be_called_back() {
    let mut log = vec![ringing(L1, Role::Customer).into(), to_be_called(2, 0), ended(L1).into()];
    let state = samples::fold(&samples::log(log.clone()));
    assert!(state.is_open() && !state.customer_calls());
    assert_eq!((state.queue.as_deref(), state.waiting_callback().map(|leg| leg.leg)), (Some("general"), Some(L2)));

    // They are called, and are busy; the next leg waits.
    log.extend([ringing(L2, Role::Customer).into(), to_be_called(4, 1), ended(L2).into()]);
    let state = samples::fold(&samples::log(log.clone()));
    let waits = state.waiting_callback().unwrap();
    assert!(state.is_open());
    assert_eq!((waits.leg, waits.callback.as_ref().unwrap().tries), (LegId(4), 1));

    // Nobody calls any more.
    log.push(LegEnded { leg: LegId(4), reason: LegEndReason::Expired }.into());
    let state = samples::fold(&samples::log(log.clone()));
    assert!(!state.is_open() && state.waiting_callback().is_none() && state.queue.is_none());

    // A gateway dies with a call, and its caller is called back.
    log.push(to_be_called(5, 0));
    assert!(samples::fold(&samples::log(log)).is_open());
}

#[test]
fn a_key_press_changes_nothing_that_a_list_shows() {
    let log = samples::log(vec![
        ringing(L1, Role::Customer).into(),
        Dtmf { leg: L1, digit: Some('1'), masked: false, how: DtmfHow::Info, duration_ms: None }.into(),
        ended(L1).into(),
    ]);
    let mut state = ConversationState::begin(&log[0]);
    assert_eq!(state.apply(&log[1]), Change::Position);
    assert_eq!(state.apply(&log[1]), Change::Old);
    assert_eq!(state.apply(&log[2]), Change::Shown);
    assert_eq!(state.last_seq, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Duplicates are skipped, every change that a list shows is told, the saved state goes on as the one that was
    /// never saved, and nothing panics.
    #[test]
    fn any_order_of_events_folds_the_same_with_duplicates_and_across_a_save(
        picks in prop::collection::vec(0..samples::story().len(), 1..60),
        cut in 0..60_usize,
        again in prop::collection::vec(0..60_usize, 0..8),
    ) {
        let story = samples::story();
        let log = samples::log(picks.iter().map(|pick| story[*pick].clone()));
        let plain = samples::fold(&log);

        let mut state = ConversationState::begin(&log[0]);
        for (at, record) in log.iter().enumerate().skip(1) {
            if at == cut {
                state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            }
            let before = state.clone();
            if state.apply(record) == Change::Position {
                let moved = ConversationState { last_seq: state.last_seq, last_at: state.last_at, ..before };
                prop_assert_eq!(&state, &moved, "what is called a move shows nothing new");
            }
            for old in again.iter().filter(|old| **old <= at) {
                prop_assert_eq!(state.apply(&log[*old]), Change::Old);
            }
        }
        prop_assert_eq!(&state, &plain);
        prop_assert_eq!(state.last_seq, log.len() as u64);
        let up = |leg: &LegState| leg.medium == Medium::Call && !matches!(leg.phase, LegPhase::Ended | LegPhase::Offered);
        let up = state.legs.iter().any(up);
        prop_assert!(!(up && state.ended.is_some()), "an ended conversation has no call that is up");
    }
}
