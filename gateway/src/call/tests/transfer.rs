//! From person to person: Chen calls, Anna answers, Ben is to take over. Every point at which it can fail.

use std::time::Duration;

use ark_conversation::event::{EndCause, TransferMode};
use ark_conversation::{Content, ConversationId, Event, LegId, Pii};
use ark_media::record::Side;
use ark_media::sdp::Direction;
use ark_sip::ua::CallEvent;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::hotline::PLAN;
use super::{ANNA, BEN, CHEN, Rig};
use crate::call::limits::{TRANSFER_CONSULT, TRANSFER_RING};
use crate::call::web::{FromWeb, ToWeb, WebEnd};
use crate::call::{CannotAct, TalkAction, TransferTo, Word};
use crate::media::RoomPart;

/// Ben, who answers no queue.
const BEN_URI: &str = "sip:ben@10.0.0.4:5060";
const A_MOMENT: Duration = Duration::from_millis(200);

fn talking_with(operators: &[&str]) -> (Rig, ConversationId) {
    let mut rig = Rig::new(PLAN, operators);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(5));
    let conversation = rig.log[0].conversation;
    (rig, conversation)
}

fn talking() -> (Rig, ConversationId) {
    talking_with(&[ANNA])
}

fn act(rig: &mut Rig, conversation: ConversationId, action: TalkAction) -> Result<Option<LegId>, CannotAct> {
    let done = rig.switch.act(rig.now, conversation, action);
    rig.run_for(A_MOMENT);
    done
}

fn to(to: TransferTo, mode: TransferMode) -> TalkAction {
    let word = Word {
        by: Some("agent:anna".to_owned()),
        note: Some(Content::new("an order")),
        summary: Some(Content::new("asks where it is")),
        needs: None,
    };
    TalkAction::Transfer { to, mode, word }
}

fn to_ben(mode: TransferMode) -> TalkAction {
    to(TransferTo::Agent(BEN_URI.to_owned()), mode)
}

/// Anna has asked for Ben, who rings.
fn ringing(mode: TransferMode) -> (Rig, ConversationId) {
    let (mut rig, conversation) = talking();
    rig.phone(BEN).answers = false;
    assert_eq!(act(&mut rig, conversation, to_ben(mode)), Ok(Some(LegId(3))));
    assert!(rig.hears(CHEN), "music");
    (rig, conversation)
}

/// Anna talks with Ben about Chen.
fn consulting() -> (Rig, ConversationId) {
    let (mut rig, conversation) = talking();
    act(&mut rig, conversation, to_ben(TransferMode::Warm)).unwrap();
    assert!(rig.bridged(ANNA, BEN) && rig.hears(CHEN), "{}", rig.story());
    (rig, conversation)
}

fn ended(rig: &mut Rig, phone: &str) -> bool {
    rig.phone(phone).heard(|e| matches!(e, CallEvent::Ended { .. } | CallEvent::Cancelled))
}

/// How the transfers ended, and where the customer was then.
fn finished(rig: &Rig) -> Vec<(&'static str, &'static str)> {
    rig.events(|e| match e {
        Event::TransferFinished(e) => Some((e.outcome.as_str(), e.customer.map_or("", |where_| where_.as_str()))),
        _ => None,
    })
}

fn stages(rig: &Rig) -> Vec<&'static str> {
    rig.events(|e| if let Event::TransferChanged(e) = e { Some(e.stage.as_str()) } else { None })
}

/// The call ends whenever the customer hangs up, and nothing is left of it.
fn ends_clean(mut rig: Rig) {
    let key = rig.phone(CHEN).last_call();
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(A_MOMENT);
    assert_eq!(rig.legs(), 0);
    let (rang, over) = (rig.logged("call.ringing"), rig.logged("call.ended"));
    assert_eq!(rang, over, "every leg has its end: {}", rig.story());
    let free = rig.switch.queue_views(rig.now.mono)[0].operators_busy;
    assert_eq!(free, 0, "every agent is free");
}

#[test]
fn a_warm_one_is_consulted_handed_over_and_the_plan_goes_on_when_they_hang_up() {
    let (mut rig, conversation) = consulting();
    let view = rig.switch.calls()[0].transfer.clone().unwrap();
    assert_eq!((view.stage.map(|s| s.as_str()), view.from.as_str()), (Some("consulting"), "sip:op@10.0.0.3:5060"));
    assert_eq!(rig.switch.calls()[0].doing, "talking");
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(rig.bridged(CHEN, BEN) && ended(&mut rig, ANNA));
    assert!(!rig.hears(CHEN));
    assert_eq!((stages(&rig), finished(&rig)), (vec!["consulting"], vec![("answered", "target")]));
    let bridged = rig.events(|e| if let Event::LegBridged(e) = e { Some((e.leg.0, e.with.0)) } else { None });
    assert_eq!(bridged, [(1, 2), (2, 3), (1, 3)]);
    let parted = rig.events(|e| if let Event::LegUnbridged(e) = e { Some((e.leg.0, e.with.0)) } else { None });
    assert_eq!(parted, [(1, 2), (2, 3)]);
    assert_eq!(rig.recorded_in(BEN), Some((rig.leg_of(CHEN), Side::Agent)), "the recording goes on with Ben");
    let started = rig.events(|e| match e {
        Event::TransferStarted(e) => Some((e.from, e.mode, e.note.clone())),
        _ => None,
    });
    assert_eq!(started, [(Some(LegId(2)), Some(TransferMode::Warm), Some(Content::new("an order")))]);
    let before = rig.logged("ivr.entered");
    let key = rig.phone(BEN).last_call();
    rig.hang_up(BEN, key);
    rig.run_until("the plan has the caller again", |r| r.logged("ivr.entered") > before);
}

#[test]
fn three_talk_and_the_agent_leaves_or_takes_the_customer_back() {
    for complete in [true, false] {
        let (mut rig, conversation) = consulting();
        act(&mut rig, conversation, TalkAction::JoinTransfer).unwrap();
        assert_eq!([CHEN, ANNA, BEN].map(|phone| rig.part(phone)), [Some(RoomPart::Speaks); 3]);
        assert!(!rig.hears(CHEN));
        assert_eq!(act(&mut rig, conversation, TalkAction::JoinTransfer), Err(CannotAct::NotNow));
        let then = if complete { TalkAction::CompleteTransfer } else { TalkAction::CancelTransfer };
        act(&mut rig, conversation, then).unwrap();
        assert_eq!(stages(&rig), ["consulting", "three_way"]);
        if complete {
            assert!(rig.bridged(CHEN, BEN) && ended(&mut rig, ANNA));
            assert_eq!(finished(&rig), [("answered", "target")]);
        } else {
            assert!(rig.bridged(CHEN, ANNA) && ended(&mut rig, BEN));
            assert_eq!(finished(&rig), [("cancelled", "from")]);
        }
        ends_clean(rig);
    }
}

#[test]
fn when_one_of_three_hangs_up_the_customer_stays_with_the_other() {
    for (goes, stays) in [(ANNA, BEN), (BEN, ANNA)] {
        let (mut rig, conversation) = consulting();
        act(&mut rig, conversation, TalkAction::JoinTransfer).unwrap();
        let key = rig.phone(goes).last_call();
        rig.hang_up(goes, key);
        rig.run_for(A_MOMENT);
        assert!(rig.bridged(CHEN, stays));
        assert_eq!(finished(&rig).len(), 1);
        ends_clean(rig);
    }
}

#[test]
fn a_blind_one_frees_the_agent_at_once_and_the_target_has_the_customer() {
    let (mut rig, conversation) = ringing(TransferMode::Blind);
    assert!(ended(&mut rig, ANNA), "she is free");
    rig.phone(BEN).answers = true;
    let key = rig.phone(BEN).last_call();
    rig.answer(BEN, key);
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, BEN) && !rig.hears(CHEN));
    assert_eq!((stages(&rig), finished(&rig)), (vec![], vec![("answered", "target")]));
    assert_eq!(act(&mut rig, conversation, TalkAction::CancelTransfer), Err(CannotAct::NoTransfer));
    ends_clean(rig);
}

#[test]
fn a_target_who_does_not_take_a_blind_one_brings_the_agent_back() {
    for (status, why) in [(Some(603), "rejected"), (Some(486), "busy"), (Some(404), "failed"), (None, "no_answer")] {
        let (mut rig, _) = ringing(TransferMode::Blind);
        match status {
            Some(status) => {
                let key = rig.phone(BEN).last_call();
                rig.reject(BEN, key, status);
            }
            None => rig.run_for(TRANSFER_RING),
        }
        rig.run_until("Anna has the customer again", |r| !finished(r).is_empty());
        assert!(rig.bridged(CHEN, ANNA) && !rig.hears(CHEN), "{}", rig.story());
        assert_eq!((stages(&rig), finished(&rig)), (vec!["recalling"], vec![(why, "from")]));
        ends_clean(rig);
    }
}

#[test]
fn an_agent_who_does_not_answer_the_way_back_leaves_the_customer_in_the_queue_with_the_place() {
    let (mut rig, _) = ringing(TransferMode::Blind);
    rig.phone(ANNA).answers = false;
    let key = rig.phone(BEN).last_call();
    rig.reject(BEN, key, 486);
    rig.run_for(A_MOMENT);
    assert_eq!(stages(&rig), ["recalling"]);
    assert!(rig.hears(CHEN), "music meanwhile");
    rig.run_for(TRANSFER_RING);
    assert_eq!(finished(&rig), [("busy", "queue")]);
    assert!(rig.hears(CHEN), "music in the queue");
    assert_eq!(rig.switch.calls()[0].doing, "waiting");
    assert_eq!(rig.logged("queue.joined"), 2);
    rig.phone(ANNA).answers = true;
    rig.run_until("somebody takes them", |r| r.logged("queue.left") == 2);
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, ANNA));
    ends_clean(rig);
}

#[test]
fn a_target_who_does_not_take_a_warm_one_leaves_the_customer_with_the_agent() {
    for (status, why) in [(Some(603), "rejected"), (Some(486), "busy"), (None, "no_answer")] {
        let (mut rig, _) = ringing(TransferMode::Warm);
        assert!(rig.hears(ANNA), "she hears it ring");
        match status {
            Some(status) => {
                let key = rig.phone(BEN).last_call();
                rig.reject(BEN, key, status);
            }
            None => rig.run_for(TRANSFER_RING),
        }
        rig.run_for(A_MOMENT);
        assert!(rig.bridged(CHEN, ANNA) && !rig.hears(CHEN) && !rig.hears(ANNA));
        assert_eq!((finished(&rig), rig.logged("call.ringing")), (vec![(why, "from")], 3));
        ends_clean(rig);
    }
}

#[test]
fn an_agent_cancels_while_it_rings_and_while_they_consult() {
    let (mut rig, conversation) = ringing(TransferMode::Warm);
    act(&mut rig, conversation, TalkAction::CancelTransfer).unwrap();
    assert!(rig.bridged(CHEN, ANNA) && ended(&mut rig, BEN), "no phone is left ringing");
    ends_clean(rig);
    let (mut rig, conversation) = consulting();
    act(&mut rig, conversation, TalkAction::CancelTransfer).unwrap();
    assert!(rig.bridged(CHEN, ANNA) && ended(&mut rig, BEN));
    assert_eq!(finished(&rig), [("cancelled", "from")]);
    // And again: nothing of the first one is in the way.
    act(&mut rig, conversation, to_ben(TransferMode::Warm)).unwrap();
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(rig.bridged(CHEN, BEN));
    ends_clean(rig);
}

#[test]
fn an_agent_who_does_not_wait_makes_it_a_blind_one() {
    let (mut rig, conversation) = ringing(TransferMode::Warm);
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(ended(&mut rig, ANNA) && rig.hears(CHEN));
    let key = rig.phone(BEN).last_call();
    rig.answer(BEN, key);
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, BEN));
    ends_clean(rig);
}

#[test]
fn an_agent_who_vanishes_while_it_rings_leaves_the_customer_to_the_target_or_the_queue() {
    for answers in [true, false] {
        let (mut rig, _) = ringing(TransferMode::Warm);
        rig.rtp_stops(ANNA);
        rig.run_for(A_MOMENT);
        assert!(rig.hears(CHEN));
        let key = rig.phone(BEN).last_call();
        if answers {
            rig.answer(BEN, key);
            rig.run_for(A_MOMENT);
            assert!(rig.bridged(CHEN, BEN));
        } else {
            rig.phone(ANNA).answers = false;
            rig.reject(BEN, key, 486);
            rig.run_for(A_MOMENT);
            assert_eq!((finished(&rig), rig.switch.calls()[0].doing), (vec![("busy", "queue")], "waiting"));
            assert!(rig.hears(CHEN));
        }
        ends_clean(rig);
    }
}

#[test]
fn who_vanishes_while_they_consult_leaves_the_customer_to_the_other() {
    let (mut rig, _) = consulting();
    rig.rtp_stops(ANNA);
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, BEN), "who was told has them");
    assert_eq!(finished(&rig), [("answered", "target")]);
    ends_clean(rig);
    let (mut rig, _) = consulting();
    rig.rtp_stops(BEN);
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, ANNA));
    assert_eq!(finished(&rig), [("vanished", "from")]);
    ends_clean(rig);
}

#[test]
fn a_consultation_that_takes_too_long_gives_the_customer_back() {
    let (mut rig, _) = consulting();
    rig.run_for(TRANSFER_CONSULT);
    assert!(rig.bridged(CHEN, ANNA) && ended(&mut rig, BEN));
    assert_eq!(finished(&rig), [("too_long", "from")]);
}

#[test]
fn a_customer_who_leaves_frees_everybody_at_every_point() {
    for stage in ["blind", "warm", "consulting", "three_way", "recalling"] {
        let (mut rig, conversation) = match stage {
            "blind" | "recalling" => ringing(TransferMode::Blind),
            "warm" => ringing(TransferMode::Warm),
            _ => consulting(),
        };
        if stage == "three_way" {
            act(&mut rig, conversation, TalkAction::JoinTransfer).unwrap();
        }
        if stage == "recalling" {
            rig.phone(ANNA).answers = false;
            let key = rig.phone(BEN).last_call();
            rig.reject(BEN, key, 486);
            rig.run_for(A_MOMENT);
        }
        let key = rig.phone(CHEN).last_call();
        rig.hang_up(CHEN, key);
        rig.run_until("all is over", |r| r.switch.is_empty());
        rig.run_for(A_MOMENT);
        assert!(ended(&mut rig, ANNA), "{stage}");
        assert!(ended(&mut rig, BEN) || stage == "recalling", "{stage}");
        assert_eq!((finished(&rig), rig.legs()), (vec![("abandoned", "gone")], 0), "{stage}");
        assert_eq!(rig.logged("call.ringing"), rig.logged("call.ended"), "{stage}: {}", rig.story());
    }
}

#[test]
fn a_queue_takes_the_customer_with_the_place_and_frees_the_agent() {
    let (mut rig, conversation) = talking_with(&[ANNA, BEN]);
    rig.phone(ANNA).answers = false;
    assert_eq!(act(&mut rig, conversation, to(TransferTo::Queue("general".to_owned()), TransferMode::Blind)), Ok(None));
    assert!(ended(&mut rig, ANNA));
    assert_eq!(finished(&rig), [("queued", "queue")]);
    rig.run_until("somebody takes them", |r| r.logged("queue.left") == 2);
    let waited = rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.waited_ms) } else { None });
    assert!(waited[1] > 5_000, "the place of the first time counts: {waited:?}");
    rig.run_for(A_MOMENT);
    assert!(rig.bridged(CHEN, BEN));
    let nowhere = to(TransferTo::Queue("nowhere".to_owned()), TransferMode::Blind);
    assert_eq!(act(&mut rig, conversation, nowhere), Err(CannotAct::NoQueue("nowhere".to_owned())));
    ends_clean(rig);
}

#[test]
fn whoever_of_a_queue_is_free_is_consulted_and_taken_out_of_its_line() {
    let (mut rig, conversation) = talking_with(&[ANNA, BEN]);
    act(&mut rig, conversation, to(TransferTo::Queue("general".to_owned()), TransferMode::Warm)).unwrap();
    assert!(rig.bridged(ANNA, BEN));
    assert_eq!(rig.switch.queue_views(rig.now.mono)[0].operators_busy, 2);
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert_eq!(rig.switch.queue_views(rig.now.mono)[0].operators_busy, 1, "Anna is free, Ben is not");
    let anna = to(TransferTo::Agent("op".to_owned()), TransferMode::Warm);
    assert_eq!(act(&mut rig, conversation, anna), Ok(Some(LegId(4))), "by the user part of her phone's address");
    ends_clean(rig);
}

#[test]
fn a_number_outside_goes_by_a_target_and_its_keys_are_pressed() {
    let (mut rig, conversation) = talking();
    let mut site = rig.switch.site().clone();
    site.targets.insert("branch".to_owned(), BEN_URI.to_owned());
    rig.switch.set_site(site);
    act(&mut rig, conversation, to(TransferTo::Target("branch".to_owned()), TransferMode::Warm)).unwrap();
    let keys = |digits: &str| TalkAction::Keys { digits: Content::new(digits) };
    act(&mut rig, conversation, keys("12#")).unwrap();
    assert_eq!((rig.keys_sent_to(BEN).as_str(), rig.keys_sent_to(CHEN).as_str()), ("12#", ""));
    assert_eq!(act(&mut rig, conversation, keys("")), Err(CannotAct::BadKeys));
    assert_eq!(act(&mut rig, conversation, keys("x")), Err(CannotAct::BadKeys));
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(rig.bridged(CHEN, BEN));
    let roles: Vec<&str> = rig.switch.calls()[0].legs.iter().map(|leg| leg.role.as_str()).collect();
    assert_eq!(roles, ["customer", "external"]);
    ends_clean(rig);
}

#[test]
fn what_cannot_be_is_refused_and_the_talk_goes_on() {
    let (mut rig, conversation) = talking();
    let number = |number: &str| to(TransferTo::Number(Pii::new(number)), TransferMode::Blind);
    assert!(matches!(act(&mut rig, conversation, number("+8613800138000")), Err(CannotAct::NoWay(_))));
    assert!(matches!(act(&mut rig, conversation, number("sip:x@192.0.2.1")), Err(CannotAct::NoWay(_))));
    let target = to(TransferTo::Target("nobody".to_owned()), TransferMode::Warm);
    assert_eq!(act(&mut rig, conversation, target), Err(CannotAct::NoTarget("nobody".to_owned())));
    let herself = to(TransferTo::Agent("sip:op@10.0.0.3:5060".to_owned()), TransferMode::Warm);
    assert_eq!(act(&mut rig, conversation, herself), Err(CannotAct::ToThemselves));
    let nobody = to(TransferTo::Queue("general".to_owned()), TransferMode::Warm);
    assert_eq!(act(&mut rig, conversation, nobody), Err(CannotAct::NotFree("general".to_owned())));
    assert_eq!(act(&mut rig, conversation, TalkAction::CompleteTransfer), Err(CannotAct::NoTransfer));
    assert!(rig.bridged(CHEN, ANNA) && rig.logged("transfer.started") == 0);
    act(&mut rig, conversation, to_ben(TransferMode::Warm)).unwrap();
    assert_eq!(act(&mut rig, conversation, to_ben(TransferMode::Warm)), Err(CannotAct::TransferUnderWay));
    assert_eq!(act(&mut rig, conversation, TalkAction::Hold { on: true }), Err(CannotAct::TransferUnderWay));
    ends_clean(rig);
}

#[test]
fn an_agent_holds_the_customer_who_hears_music_and_talks_again() {
    let (mut rig, conversation) = talking();
    for _ in 0..2 {
        act(&mut rig, conversation, TalkAction::Hold { on: true }).unwrap();
        assert!(rig.hears(CHEN) && !rig.bridged(CHEN, ANNA));
    }
    act(&mut rig, conversation, TalkAction::Hold { on: false }).unwrap();
    assert!(!rig.hears(CHEN) && rig.bridged(CHEN, ANNA));
    assert_eq!((rig.logged("leg.held"), rig.logged("leg.resumed")), (1, 1));
    // Held, then handed over: the music of the one is no other's.
    act(&mut rig, conversation, TalkAction::Hold { on: true }).unwrap();
    act(&mut rig, conversation, to_ben(TransferMode::Warm)).unwrap();
    assert!(rig.hears(CHEN) && rig.bridged(ANNA, BEN));
    act(&mut rig, conversation, TalkAction::CancelTransfer).unwrap();
    assert!(rig.bridged(CHEN, ANNA) && !rig.hears(CHEN));
    // Held, and the agent is gone: the plan goes on.
    act(&mut rig, conversation, TalkAction::Hold { on: true }).unwrap();
    let before = rig.logged("ivr.entered");
    let key = rig.phone(ANNA).last_call();
    rig.hang_up(ANNA, key);
    rig.run_until("the plan has the caller again", |r| r.logged("ivr.entered") > before);
}

#[test]
fn a_held_phone_of_the_agent_is_no_bridge_of_a_consultation() {
    let (mut rig, conversation) = consulting();
    let key = rig.phone(ANNA).last_call();
    rig.reoffer(ANNA, key, Direction::SendOnly);
    rig.run_for(A_MOMENT);
    assert!(rig.hears(CHEN));
    rig.reoffer(ANNA, key, Direction::SendRecv);
    rig.run_for(A_MOMENT);
    let key = rig.phone(BEN).last_call();
    rig.reoffer(BEN, key, Direction::SendRecv);
    rig.run_for(A_MOMENT);
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(rig.bridged(CHEN, BEN));
    ends_clean(rig);
}

#[test]
fn a_browser_takes_over_declines_and_is_gone() {
    let (mut rig, conversation) = talking_with(&[ANNA, "web:ben"]);
    rig.web(FromWeb::Operator("ben".to_owned(), true));
    let ben = || to(TransferTo::Agent("ben".to_owned()), TransferMode::Warm);
    for end in [EndCause::Rejected, EndCause::Unreachable] {
        act(&mut rig, conversation, ben()).unwrap();
        let said = rig.told_web();
        let [ToWeb::Ring(key, ring)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(ring.operator, "ben");
        rig.web(FromWeb::Gone(*key, WebEnd::remote(end)));
        assert!(rig.bridged(CHEN, ANNA));
        rig.run_for(Duration::from_secs(20));
    }
    act(&mut rig, conversation, ben()).unwrap();
    let said = rig.told_web();
    let [ToWeb::Ring(key, _)] = said.as_slice() else { panic!("{said:?}") };
    let key = *key;
    rig.web(FromWeb::Up(key, super::browsers::agreed(Direction::SendRecv)));
    act(&mut rig, conversation, TalkAction::CompleteTransfer).unwrap();
    assert!(ended(&mut rig, ANNA));
    assert_eq!(rig.switch.calls()[0].with.as_deref(), Some("web:ben"));
    let before = rig.logged("ivr.entered");
    rig.web(FromWeb::Gone(key, WebEnd::remote(EndCause::TransportLost)));
    rig.run_until("the plan has the caller again", |r| r.logged("ivr.entered") > before);
    assert_eq!(finished(&rig), [("rejected", "from"), ("failed", "from"), ("answered", "target")]);
}

/// Whatever happens in whatever order, the customer talks with somebody or hears something, and in the end nobody is left.
#[test]
fn in_no_order_is_a_customer_alone_in_silence_or_anybody_left_in_the_air() {
    for seed in 0..300_u64 {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let mut pick = |n: u32| random.next_u32() % n;
        let operators: &[&str] = if seed % 2 == 0 { &[ANNA] } else { &[ANNA, BEN] };
        let (mut rig, conversation) = talking_with(operators);
        let mut told = vec![format!("seed {seed}")];
        for _ in 0..14 {
            let phone = if pick(2) == 0 { ANNA } else { BEN };
            let mode = if pick(2) == 0 { TransferMode::Warm } else { TransferMode::Blind };
            let step = pick(13);
            told.push(format!("{step} {phone} {mode}"));
            let action = match step {
                0 | 1 => Some(to_ben(mode)),
                2 => Some(to(TransferTo::Queue("general".to_owned()), mode)),
                3 => Some(TalkAction::JoinTransfer),
                4 => Some(TalkAction::CompleteTransfer),
                5 => Some(TalkAction::CancelTransfer),
                6 => Some(TalkAction::Hold { on: pick(2) == 0 }),
                _ => None,
            };
            if let Some(action) = action {
                let _ = rig.switch.act(rig.now, conversation, action);
            }
            match step {
                7 | 8 => rig.hang_up_last(phone),
                9 => rig.phone(phone).answers ^= true,
                10 => rig.run_for(TRANSFER_RING),
                11 => rig.run_for(Duration::from_secs(3)),
                _ => {}
            }
            rig.run_for(A_MOMENT);
            if rig.switch.calls().is_empty() {
                break;
            }
            assert!(rig.is_cared_for(CHEN), "alone in silence: {told:?}\n{}", rig.story());
        }
        rig.hang_up_last(CHEN);
        rig.run_until("all is over", |r| r.switch.is_empty());
        rig.run_for(A_MOMENT);
        assert_eq!(
            (rig.legs(), rig.logged("call.ringing")),
            (0, rig.logged("call.ended")),
            "{told:?}\n{}",
            rig.story()
        );
        assert_eq!(rig.logged("transfer.started"), rig.logged("transfer.finished"), "{told:?}\n{}", rig.story());
        assert_eq!(rig.switch.queue_views(rig.now.mono)[0].operators_busy, 0, "{told:?}");
    }
}
