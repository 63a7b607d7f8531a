//! Who waits too long, who needs what nobody has, and who is handed over at a desk.

use std::sync::Arc;
use std::time::Duration;

use ark_conversation::event::{Needed, TransferMode};
use ark_conversation::routing::{AgentProfile, Capacity};
use ark_conversation::{Content, ConversationId, Event};
use jiff::{SignedDuration, Timestamp};

use super::hotline::PLAN;
use super::{ANNA, BEN, CHEN, Queues, Rig};
use crate::call::{TalkAction, TransferTo, Word};
use crate::desk::{AgentSetup, Desk, OpenDesk, QueueSetup};

fn began() -> Timestamp {
    "2026-11-24T02:00:00Z".parse().unwrap()
}

fn queue(name: &str, phones: &[&str]) -> QueueSetup {
    let mut setup = QueueSetup::new(name, phones.iter().map(|phone| format!("sip:op@{phone}")).collect());
    setup.config.offer_ttl = SignedDuration::from_secs(15);
    setup
}

/// Orders are Anna's; who waits for a minute goes on to Ben's.
fn overflowing() -> Arc<Desk> {
    let mut orders = queue("general", &[ANNA]);
    orders.config.overflow_after = Some(SignedDuration::from_secs(60));
    orders.overflow = Some("seniors".to_owned());
    Desk::new(vec![orders, queue("seniors", &[BEN])], began(), false)
}

fn waits(plan: &str, desk: Arc<Desk>) -> Rig {
    let mut rig = Rig::with(plan, Queues::of(desk));
    rig.phone(ANNA).answers = false;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they wait", |r| r.logged("queue.joined") == 1);
    rig
}

fn left(rig: &Rig) -> Vec<&'static str> {
    rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.outcome.as_str()) } else { None })
}

#[test]
fn who_waits_too_long_goes_on_in_another_queue_with_the_place() {
    let mut rig = waits(PLAN, overflowing());
    rig.run_for(Duration::from_secs(50));
    assert_eq!(left(&rig), Vec::<&str>::new());
    rig.run_until("Ben takes them", |r| r.logged("leg.bridged") == 1);
    assert!(rig.bridged(CHEN, BEN), "{}", rig.story());
    assert_eq!(left(&rig), ["overflow", "answered"]);
    let joined = rig.events(|e| if let Event::QueueJoined(e) = e { Some(e.queue.clone()) } else { None });
    assert_eq!(joined, ["general", "seniors"]);
    let waited = rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.waited_ms) } else { None });
    assert!(waited[1] >= 60_000, "they waited since the beginning: {waited:?}");
}

#[test]
fn the_plan_may_have_a_way_of_its_own() {
    let plan = PLAN.replace("max_wait = \"120s\"", "max_wait = \"120s\"\non_overflow = \"message\"");
    let mut rig = waits(&plan, overflowing());
    rig.run_until("the plan goes its way", |r| r.states().last().map(String::as_str) == Some("message"));
    assert_eq!(left(&rig), ["left"]);
    assert_eq!(rig.logged("queue.joined"), 1);
}

#[test]
fn a_queue_that_names_no_other_keeps_who_waits() {
    let mut orders = queue("general", &[ANNA]);
    orders.config.overflow_after = Some(SignedDuration::from_secs(60));
    let mut rig = waits(PLAN, Desk::new(vec![orders], began(), false));
    rig.run_for(Duration::from_secs(90));
    assert_eq!((left(&rig), rig.switch.calls()[0].doing), (Vec::<&str>::new(), "waiting"));
    rig.run_until("the plan's patience ends", |r| r.switch.is_empty());
}

#[test]
fn what_nobody_has_is_said_in_the_log_and_anybody_is_asked() {
    let plan = PLAN.replace("prompt = \"wait\"", "prompt = \"wait\"\nskills = [\"billing 2\"]");
    let mut rig = Rig::with(&plan, Queues::of(Desk::new(vec![queue("general", &[ANNA])], began(), false)));
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    let needed = |needs: &Needed| needs.to_string();
    let joined = rig.events(|e| if let Event::QueueJoined(e) = e { e.needs.as_ref().map(needed) } else { None });
    let relaxed = rig.events(|e| if let Event::QueueRelaxed(e) = e { Some(needed(&e.needs)) } else { None });
    assert_eq!((joined, relaxed), (vec!["billing 2".to_owned()], vec!["billing 2".to_owned()]));
}

/// Anna and Ben have accounts, desks and telephones.
fn desks(wrap_up: i64) -> (Arc<Desk>, Vec<OpenDesk>) {
    let mut setup = queue("general", &[]);
    setup.config.wrap_up = SignedDuration::from_secs(wrap_up);
    let desk = Desk::new(vec![setup], began(), false);
    let account = |name: &str, phone: &str| {
        let capacity = Capacity { calls: 1, chats: 2, chats_beside_call: 0 };
        let profile = AgentProfile { groups: vec!["general".to_owned()], capacity, ..AgentProfile::default() };
        AgentSetup { name: name.to_owned(), display: name.to_owned(), profile, phone: Some(format!("sip:op@{phone}")) }
    };
    desk.set_accounts(vec![account("anna", ANNA), account("ben", BEN)]);
    let open = ["anna", "ben"].map(|name| desk.open(name).unwrap());
    desk.set_presence("anna", true, "").unwrap();
    (desk, open.into())
}

fn talking(desk: &Arc<Desk>) -> (Rig, ConversationId) {
    let mut rig = Rig::with(PLAN, Queues::of(Arc::clone(desk)));
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(5));
    let conversation = rig.log[0].conversation;
    (rig, conversation)
}

fn hand_to_ben(rig: &mut Rig, conversation: ConversationId, mode: TransferMode) {
    let word = Word {
        by: Some("agent:anna".to_owned()),
        note: Some(Content::new("hurry")),
        summary: Some(Content::new("asks where the order is")),
        needs: None,
    };
    let action = TalkAction::Transfer { to: TransferTo::Agent("ben".to_owned()), mode, word };
    rig.switch.act(rig.now, conversation, action).unwrap();
    rig.run_for(Duration::from_millis(200));
}

fn finished(rig: &Rig) -> Vec<(&'static str, &'static str)> {
    rig.events(|e| match e {
        Event::TransferFinished(e) => Some((e.outcome.as_str(), e.customer.map_or("", |end| end.as_str()))),
        _ => None,
    })
}

#[test]
fn who_is_handed_a_call_sees_the_summary_before_and_may_decline() {
    let (desk, open) = desks(10);
    let (mut rig, conversation) = talking(&desk);
    desk.set_presence("ben", true, "").unwrap();
    rig.phone(BEN).answers = false;
    hand_to_ben(&mut rig, conversation, TransferMode::Warm);
    let offers = desk.view("ben").unwrap().offers;
    let [offer] = offers.as_slice() else { panic!("{offers:?}") };
    assert_eq!((offer.kind, offer.by.as_str()), ("call", "agent:anna"));
    assert_eq!(offer.summary.as_deref(), Some("asks where the order is"));
    assert_eq!(offer.note.as_deref(), Some("hurry"));
    assert_eq!((offer.conversation.clone(), desk.view("ben").unwrap().mine.len()), (conversation.to_string(), 0));
    assert!(desk.has_call("anna", conversation) && !desk.has_call("ben", conversation));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(desk.decline("anna", &offer.offer)).is_err(), "it is Ben's");
    runtime.block_on(desk.decline("ben", &offer.offer)).unwrap();
    rig.switch.look_at_queues(rig.now);
    rig.run_for(Duration::from_millis(200));
    assert_eq!(finished(&rig), [("rejected", "from")]);
    assert!(rig.bridged(CHEN, ANNA) && desk.view("ben").unwrap().offers.is_empty(), "{}", rig.story());

    rig.phone(BEN).answers = true;
    hand_to_ben(&mut rig, conversation, TransferMode::Warm);
    let view = desk.view("ben").unwrap();
    assert_eq!((view.offers.len(), view.mine.len()), (0, 1), "he talks with her about them");
    assert!(desk.has_call("ben", conversation));
    drop(open);
}

#[test]
fn who_wraps_up_is_called_back_all_the_same() {
    let (desk, _open) = desks(60);
    let (mut rig, conversation) = talking(&desk);
    desk.set_presence("ben", true, "").unwrap();
    rig.phone(BEN).answers = false;
    hand_to_ben(&mut rig, conversation, TransferMode::Blind);
    assert_eq!(desk.view("anna").unwrap().me.state, "wrap_up");
    let key = rig.phone(BEN).last_call();
    rig.reject(BEN, key, 486);
    rig.run_until("Anna has the customer again", |r| !finished(r).is_empty());
    assert_eq!(finished(&rig), [("busy", "from")]);
    assert!(rig.bridged(CHEN, ANNA), "{}", rig.story());
}

#[test]
fn who_comes_back_to_the_queue_waits_for_what_was_left_of_the_plans_patience() {
    let mut rig = Rig::with(PLAN, Queues::of(Desk::new(vec![queue("general", &[ANNA])], began(), false)));
    rig.phone(ANNA).answers = false;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_for(Duration::from_secs(60));
    rig.phone(ANNA).answers = true;
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(300));
    let (conversation, joined) = (rig.log[0].conversation, rig.logged("queue.joined"));
    rig.phone(ANNA).answers = false;
    let word = Word::default();
    let to = TransferTo::Queue("general".to_owned());
    rig.switch.act(rig.now, conversation, TalkAction::Transfer { to, mode: TransferMode::Blind, word }).unwrap();
    rig.run_for(Duration::from_millis(200));
    assert_eq!((rig.logged("queue.joined"), rig.states().last().map(String::as_str)), (joined + 1, Some("person")));
    rig.run_for(Duration::from_secs(20));
    assert_eq!(rig.switch.calls()[0].doing, "waiting", "{}", rig.story());
    rig.run_for(Duration::from_secs(60));
    assert!(rig.states().iter().any(|state| state == "bye") || rig.switch.is_empty(), "{}", rig.story());
}
