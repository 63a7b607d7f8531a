//! Chen hangs up without losing the place, and is called back: the switch, the desk and what the log says, in virtual time.

use std::time::Duration;

use ark_conversation::ConversationState;
use ark_conversation::event::{EndCause, Event, LegOffered, QueueOutcome, Role};
use ark_conversation::limits::{CALLBACK_AGAIN, CALLBACKS_MAX};
use ark_media::session::DtmfRoads;
use ark_sip::ua::CallEvent;

use super::{ANNA, BEN, CHEN, Rig};
use crate::call::site::{Route, Trunk};

const PLAN: &str = r#"schema = "ark.dialplan/1"
name = "hotline"
entry = "welcome"
languages = ["en"]

[rules]
human_key = "0"
human_target = "line"

[prompts]
welcome = { en = "Press 0 for a person." }
called = { en = "We will call you." }
sorry = { en = "Goodbye." }

[state.welcome]
do = "menu"
prompt = "welcome"
keys = { 1 = "bye" }
timeout = "5s"
on_timeout = "line"

[state.line]
do = "queue"
queue = "general"
keys = { 2 = "call_me" }
max_wait = "10m"
on_timeout = "call_me"

[state.call_me]
do = "callback"
prompt = "called"
queue = "general"
else = "bye"

[state.bye]
do = "hangup"
prompt = "sorry"
"#;

/// A site whose way out leads to Chen's telephone, with Chen in the line; whoever serves does not answer yet.
fn waiting(operators: &[&str]) -> Rig {
    let mut rig = Rig::new(PLAN, operators);
    let carrier = Trunk {
        name: "carrier".to_owned(),
        peers: Vec::new(),
        proxy: Some(CHEN.parse().unwrap()),
        tcp: false,
        caller: None,
        codecs: Vec::new(),
        dtmf: DtmfRoads::Auto,
        credentials: None,
    };
    rig.switch.site.trunks.push(carrier);
    rig.switch.site.routes.push(Route { prefix: String::new(), trunk: "carrier".to_owned(), strip: 0 });
    for phone in [ANNA, BEN] {
        rig.phone(phone).answers = false;
    }
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("Chen waits", |r| r.logged("queue.joined") == 1);
    rig
}

/// Chen presses 2, hears that they will be called, and the call is over; the desk has read it.
fn asked(operators: &[&str]) -> Rig {
    let mut rig = waiting(operators);
    rig.run_for(Duration::from_secs(4));
    rig.press(CHEN, '2');
    rig.desk_reads();
    rig.run_until("the call is over", |r| r.logged("call.ended") == 2);
    rig.phone(CHEN).events.clear();
    rig.phone(CHEN).answers = false;
    rig.run_for(Duration::from_secs(15));
    rig
}

impl Rig {
    /// The desk reads what the log says, as it does over the bus.
    fn desk_reads(&mut self) {
        let mut state: Option<ConversationState> = None;
        for (at, new) in self.log.iter().enumerate() {
            let record = new.clone().into_record(at as u64 + 1);
            match &mut state {
                Some(state) => drop(state.apply(&record)),
                None => state = Some(ConversationState::begin(&record)),
            }
        }
        let (state, now) = (state.expect("somebody called"), self.now);
        self.switch.queues.desk().with(|core| core.callback_seen(now.wall, &state, true));
        self.switch.look_at_queues(now);
        self.run_for(Duration::from_millis(50));
    }

    fn later(&mut self, time: Duration) {
        self.run_for(time);
        let now = self.now;
        self.switch.queues.desk().with(|core| core.tick(now.wall));
        self.switch.look_at_queues(now);
        self.run_for(Duration::from_millis(50));
    }

    fn rings(&self, phone: &str) -> bool {
        let phone =
            self.phones.iter().find(|one| one.address == phone.parse::<std::net::SocketAddr>().unwrap()).unwrap();
        phone.heard(|event| matches!(event, CallEvent::Incoming(_)))
    }

    fn offers(&self) -> Vec<LegOffered> {
        self.events(|e| if let Event::LegOffered(e) = e { Some(e.clone()) } else { None })
    }

    fn left(&self) -> Vec<QueueOutcome> {
        self.events(|e| if let Event::QueueLeft(e) = e { Some(e.outcome) } else { None })
    }
}

#[test]
fn a_caller_who_hangs_up_keeps_the_place_and_is_called_when_an_agent_answers() {
    // Anna is asked at once and does not answer; Chen chooses to be called.
    let mut rig = asked(&[ANNA]);
    assert_eq!(rig.left(), [QueueOutcome::Callback]);
    let offers = rig.offers();
    let (joined, place) = (
        rig.log.iter().find(|e| e.event.type_name() == "ark.queue.joined.v1").unwrap().event.time,
        offers[0].callback.as_ref().unwrap(),
    );
    assert_eq!((offers.len(), offers[0].to.as_ref().unwrap().reveal()), (1, "13800138000"));
    assert!(
        place.waiting_since.duration_since(joined).abs() < jiff::SignedDuration::from_millis(10),
        "the place is kept"
    );
    assert_eq!(rig.states().last().map(String::as_str), Some("call_me"));

    // The desk reads it: Anna's telephone rings, and nobody else's.
    rig.phone(ANNA).events.clear();
    rig.desk_reads();
    rig.later(Duration::from_secs(11));
    assert!(rig.rings(ANNA) && !rig.rings(CHEN), "{}", rig.story());
    let anna = rig.phone(ANNA).last_call();
    rig.answer(ANNA, anna);
    rig.run_until("Chen's telephone rings", |r| r.rings(CHEN));
    assert!(rig.hears(ANNA), "the agent hears it ring");
    let chen = rig.phone(CHEN).last_call();
    rig.answer(CHEN, chen);
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    assert!(rig.bridged(CHEN, ANNA));
    assert_eq!(rig.left(), [QueueOutcome::Callback, QueueOutcome::Answered]);
    let ringing =
        rig.events(|e| if let Event::CallRinging(e) = e { Some((e.leg, e.role, e.to.clone())) } else { None });
    let (leg, role, to) = ringing.last().unwrap();
    assert_eq!(
        (*leg, *role, to.reveal()),
        (offers[0].leg, Role::Customer, "13800138000"),
        "by the leg that was offered"
    );

    // Either end hangs up: it is over for both, and for good.
    rig.hang_up(ANNA, anna);
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
    assert_eq!((rig.legs(), rig.offers().len()), (0, 1));
    rig.desk_reads();
    rig.later(Duration::from_secs(400));
    assert!(rig.switch.is_empty(), "nobody calls again");
}

#[test]
fn a_customer_who_is_busy_is_called_again_after_a_while_and_not_for_ever() {
    let mut rig = asked(&[ANNA]);
    rig.phone(ANNA).answers = true;
    rig.desk_reads();
    rig.later(Duration::from_secs(11));
    for tries in 1..=CALLBACKS_MAX {
        rig.run_until("Chen's telephone rings", |r| r.rings(CHEN));
        let chen = rig.phone(CHEN).last_call();
        rig.reject(CHEN, chen, 486);
        rig.run_until("the agent is let go", |r| r.switch.is_empty());
        rig.phone(CHEN).events.clear();
        let offers = rig.offers();
        if tries < CALLBACKS_MAX {
            assert_eq!(offers.last().unwrap().callback.as_ref().unwrap().tries, tries);
            rig.desk_reads();
            rig.later(Duration::from_secs(60));
            assert!(!rig.rings(CHEN), "not at once");
            rig.later(Duration::try_from(CALLBACK_AGAIN).unwrap());
        } else {
            assert_eq!(offers.len(), CALLBACKS_MAX as usize, "one for each try");
        }
    }
    assert_eq!(rig.left().last(), Some(&QueueOutcome::Unreached));
    let busy = rig.events(|e| if let Event::CallEnded(e) = e { Some(e.cause) } else { None });
    assert_eq!(busy.iter().filter(|cause| **cause == EndCause::Busy).count(), CALLBACKS_MAX as usize);
    rig.desk_reads();
    rig.later(Duration::from_secs(900));
    assert!(!rig.rings(CHEN) && rig.switch.is_empty());
}

#[test]
fn an_agent_who_does_not_answer_or_leaves_costs_the_customer_nothing() {
    let mut rig = asked(&[ANNA, BEN]);
    for phone in [ANNA, BEN] {
        rig.phone(phone).events.clear();
    }
    rig.desk_reads();
    rig.later(Duration::from_secs(11));
    let first = if rig.rings(ANNA) { ANNA } else { BEN };
    let next = if first == ANNA { BEN } else { ANNA };
    let call = rig.phone(first).last_call();
    rig.reject(first, call, 486);
    rig.later(Duration::from_secs(1));
    assert!(rig.rings(next) && !rig.rings(CHEN), "the next one is asked, and nobody was dialled:\n{}", rig.story());
    assert_eq!(rig.offers().len(), 1, "the leg is offered as before");

    // The next one answers, and hangs up before Chen does.
    let call = rig.phone(next).last_call();
    rig.answer(next, call);
    rig.run_until("Chen's telephone rings", |r| r.rings(CHEN));
    rig.hang_up(next, call);
    rig.run_for(Duration::from_millis(100));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Cancelled)), "Chen's telephone stops");
    let again = rig.offers().last().cloned().unwrap().callback.unwrap();
    assert_eq!((again.tries, again.waiting_since), (0, rig.offers()[0].callback.as_ref().unwrap().waiting_since));
}

#[test]
fn who_has_no_number_or_none_that_can_be_called_goes_the_plans_other_way() {
    let mut rig = waiting(&[ANNA]);
    rig.switch.site.routes.clear();
    rig.press(CHEN, '2');
    rig.run_until("the plan went on", |r| r.states().last().map(String::as_str) == Some("bye"));
    assert!(rig.offers().is_empty());
}

#[test]
fn the_end_of_the_gateway_while_a_customer_is_called_back_keeps_their_place_in_the_log() {
    let mut rig = asked(&[ANNA]);
    rig.phone(ANNA).answers = true;
    rig.desk_reads();
    rig.later(Duration::from_secs(11));
    rig.run_until("Chen's telephone rings", |r| r.rings(CHEN));
    let now = rig.now;
    rig.switch.shut_down(now);
    rig.run_until("all is over", |r| r.switch.is_empty());
    let again = rig.offers().last().cloned().unwrap().callback.unwrap();
    assert_eq!((rig.offers().len(), again.tries), (2, 0), "that was no fault of Chen's");
}
