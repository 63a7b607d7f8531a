//! The desk in virtual time: real machines of conversations beside it, whose commits it sees as a gateway would.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_conversation::event::{ReleaseReason, SessionCloseReason};
use ark_conversation::machine::{Conversation, Input, Policy};
use ark_conversation::routing::{AgentProfile, Capacity, Needs};
use ark_conversation::{CloudEvent, ConversationId, Event, Owner, Record, Tenant, samples, source};
use jiff::{SignedDuration, Timestamp};

use super::calls::{CallJoin, Left};
use super::core::{Act, AgentSetup, CallAct, Core, QueueSetup};
use super::tail::Tail;
use crate::conversations::owner::{Command, Wish, carry_out};

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn id(n: u128) -> ConversationId {
    ConversationId::new(1, n)
}

fn agent(name: &str) -> AgentSetup {
    let capacity = Capacity { calls: 1, chats: 2, chats_beside_call: 0 };
    let profile = AgentProfile { groups: vec!["general".to_owned()], capacity, ..AgentProfile::default() };
    AgentSetup { name: name.to_owned(), display: name.to_owned(), profile, phone: None }
}

/// A site of some gateways with one log.
struct House {
    desks: Vec<Core>,
    chats: BTreeMap<ConversationId, (Conversation, Vec<Record>)>,
    now: Timestamp,
    policy: Arc<Policy>,
}

impl House {
    fn new(gateways: usize) -> Self {
        let now = samples::at(0);
        let mut house = Self { desks: Vec::new(), chats: BTreeMap::new(), now, policy: Arc::default() };
        house.desks = (0..gateways).map(|_| house.desk(false)).collect();
        house
    }

    fn desk(&self, recovering: bool) -> Core {
        let mut desk = if recovering { Core::recovering() } else { Core::default() };
        desk.set_queue(self.now, QueueSetup::new("general", Vec::new()));
        desk.set_accounts(self.now, ["anna", "ben"].map(agent).to_vec());
        desk
    }

    /// These agents are at their desks at the first gateway, and willing.
    fn ready(mut self, agents: &[&str]) -> Self {
        for agent in agents {
            self.comes(0, agent);
        }
        self
    }

    fn comes(&mut self, gateway: usize, agent: &str) {
        let now = self.now;
        assert!(self.desks[gateway].desk_opened(now, agent));
        assert!(self.desks[gateway].set_presence(now, agent, true, ""));
        self.settle();
    }

    fn goes(&mut self, agent: &str) {
        let now = self.now;
        self.desks[0].desk_closed(now, agent);
        self.settle();
    }

    /// Does something with a chat's machine, and lets every desk see what came of it.
    fn with(&mut self, id: ConversationId, act: impl FnOnce(&mut Conversation, Timestamp) -> bool) -> bool {
        let (now, policy) = (self.now, Arc::clone(&self.policy));
        let (machine, log) =
            self.chats.entry(id).or_insert_with(|| (Conversation::new(policy, Tenant::MAIN, id), Vec::new()));
        let done = act(machine, now);
        let before = log.len();
        while let Some(commit) = machine.poll() {
            for new in commit.events {
                let seq = log.len() as u64 + 1;
                log.push(new.into_record(seq));
            }
        }
        let state = machine.state().expect("it has begun").clone();
        for desk in &mut self.desks {
            for record in &log[before..] {
                desk.heard(record);
            }
            let mut tail = Tail::default();
            log.iter().for_each(|record| tail.read(record));
            desk.seen(now, &state, Some(tail));
        }
        done
    }

    fn command(&mut self, id: ConversationId, by: Owner, wish: Wish) -> bool {
        let command = Command { tenant: Tenant::MAIN, conversation: id, by, wish };
        self.with(id, |machine, now| carry_out(machine, now, command).is_ok())
    }

    /// Carries out what the desks want of the logs.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let Some((gateway, (id, act))) =
                (0..self.desks.len()).find_map(|at| self.desks[at].acts.pop_front().map(|act| (at, act)))
            else {
                return;
            };
            let now = self.now;
            match act {
                Act::Ask { queue, number, agent, epoch, deadline } => {
                    let done = self.command(id, Owner::Queue(queue), Wish::Ask { to: agent.clone(), epoch, deadline });
                    let state = self.chats[&id].0.state().expect("it has begun");
                    let there = (state.offer.as_ref().map(|offer| offer.offer), state.last_seq);
                    if done {
                        self.desks[gateway].asked(now, id, number, there);
                    } else {
                        self.desks[gateway].not_asked(now, id, number);
                    }
                }
                Act::TakeBack { queue, agent } => {
                    _ = self.command(id, Owner::Queue(queue), Wish::TakeBack { to: agent });
                }
                Act::Overflow { queue, to } => _ = self.command(id, Owner::Queue(queue), Wish::Overflow { to }),
                Act::Relax { queue, needs } => _ = self.command(id, Owner::Queue(queue), Wish::Relax { needs }),
                Act::Vanished { agent } => {
                    _ = self.command(id, Owner::Agent(agent.clone()), Wish::Vanished { who: agent });
                }
            }
            for desk in &self.desks {
                desk.router.check().unwrap();
            }
        }
        panic!("the desks do not come to rest");
    }

    fn writes(&mut self, n: u128) {
        let source = source::thread(&Tenant::MAIN, "web", "shop", &format!("visitor-{n}"));
        let message = samples::message_in(&format!("visitor-{n}"), "hello");
        let count = self.chats.get(&id(n)).map_or(0, |(_, log)| log.len());
        let hello = CloudEvent::new(format!("web:{n}-{count}"), source, self.now, message);
        self.with(id(n), |machine, now| machine.handle(now, Input::Inbound(hello)).is_ok());
        self.settle();
    }

    fn after(&mut self, seconds: i64) -> &mut Self {
        let until = self.now + secs(seconds);
        loop {
            let desks = self.desks.iter().filter_map(Core::deadline).min();
            let due = desks.filter(|at| *at <= until).unwrap_or(until).max(self.now);
            self.now = due;
            for at in 0..self.desks.len() {
                self.desks[at].tick(due);
            }
            let ids: Vec<ConversationId> = self.chats.keys().copied().collect();
            for id in ids {
                self.with(id, |machine, now| machine.handle(now, Input::Tick).is_ok());
            }
            self.settle();
            if due >= until {
                return self;
            }
        }
    }

    /// To whom a chat is offered, by its log.
    fn asked(&self, n: u128) -> Option<String> {
        let offer = self.chats[&id(n)].0.state()?.offer.as_ref()?;
        Some(offer.to.to_string())
    }

    fn owner(&self, n: u128) -> String {
        self.chats[&id(n)].0.state().and_then(|state| state.owner.clone()).expect("somebody").to_string()
    }

    fn accepts(&mut self, n: u128, agent: &str) -> bool {
        let offer = self.chats[&id(n)].0.state().and_then(|state| state.offer.as_ref()).expect("an offer").offer;
        let done = self.command(id(n), Owner::Agent(agent.to_owned()), Wish::Accept { offer, epoch: None });
        self.settle();
        done
    }

    fn declines(&mut self, n: u128, agent: &str) {
        let offer = self.chats[&id(n)].0.state().and_then(|state| state.offer.as_ref()).expect("an offer").offer;
        assert!(self.command(id(n), Owner::Agent(agent.to_owned()), Wish::Decline { offer }));
        self.settle();
    }

    fn resolves(&mut self, n: u128, agent: &str) {
        let close = Wish::Resolve { epoch: None, disposition: None, note: None };
        assert!(self.command(id(n), Owner::Agent(agent.to_owned()), close));
        self.settle();
    }

    fn count(&self, n: u128, is: impl Fn(&Event) -> bool) -> usize {
        self.chats[&id(n)].1.iter().filter(|record| is(&record.event.event)).count()
    }

    fn calls(&mut self, n: u128, prefers: Option<&str>) -> usize {
        let now = self.now;
        let join = CallJoin {
            caller: u64::try_from(n).unwrap(),
            queue: "general".to_owned(),
            priority: 0,
            since: now,
            prefers: prefers.map(str::to_owned),
            entrance: "95188".to_owned(),
            title: "138****0001".to_owned(),
            channel: "sip".to_owned(),
            needs: Needs::default(),
        };
        let place = self.desks[0].call_joins(now, id(n), join).unwrap().0.position;
        self.settle();
        place
    }

    fn rung(&mut self) -> Vec<(u64, String)> {
        let acts = std::iter::from_fn(|| self.desks[0].next_call_act());
        acts.filter_map(|act| if let CallAct::Ring { caller, agent } = act { Some((caller, agent)) } else { None })
            .collect()
    }
}

#[test]
fn a_chat_is_offered_to_who_is_ready_and_is_theirs_when_they_take_it() {
    let mut house = House::new(1);
    house.writes(1);
    assert_eq!((house.owner(1).as_str(), house.asked(1)), ("queue:general", None), "nobody is there");
    let mut house = house.ready(&["anna"]);
    assert_eq!(house.asked(1).as_deref(), Some("agent:anna"));
    let view = house.desks[0].desk("anna").unwrap();
    assert_eq!((view.offers.len(), view.mine.len(), view.waiting.len()), (1, 0, 1));
    assert_eq!((view.offers[0].by.as_str(), view.offers[0].channel.as_str()), ("queue:general", "web"));
    assert_eq!(view.waiting[0].last.as_ref().map(|last| last.text.as_str()), Some("hello"));
    house.after(5);
    assert!(house.accepts(1, "anna"));
    let view = house.desks[0].desk("anna").unwrap();
    assert_eq!((view.offers.len(), view.mine.len(), view.waiting.len(), view.me.chats), (0, 1, 0, 1));
    let wall = house.desks[0].wallboard(house.now);
    assert_eq!((wall.queues[0].answered, wall.queues[0].answered_30s, wall.answered_30s_percent), (1, 1, Some(100.0)));
    assert_eq!(wall.entrances[0].entrance, "web:shop");
    house.resolves(1, "anna");
    assert_eq!(house.desks[0].desk("anna").unwrap().me.chats, 0);
    house.writes(1);
    assert_eq!(house.asked(1).as_deref(), Some("agent:anna"), "the customer writes again");
}

#[test]
fn who_declines_or_lets_it_pass_is_followed_by_the_next_and_the_log_says_which() {
    let mut house = House::new(1).ready(&["anna", "ben"]);
    house.writes(1);
    assert_eq!(house.asked(1).as_deref(), Some("agent:anna"));
    house.declines(1, "anna");
    assert_eq!(house.asked(1).as_deref(), Some("agent:ben"));
    house.after(20);
    assert_eq!(house.count(1, |event| matches!(event, Event::OwnerDeclined(_))), 1);
    assert_eq!(house.count(1, |event| matches!(event, Event::OwnerExpired(_))), 1);
    assert_eq!(house.count(1, |event| matches!(event, Event::OwnerWithdrawn(_))), 0);
    assert_eq!(house.asked(1).as_deref(), Some("agent:anna"), "after a while she is asked again");
}

#[test]
fn a_page_that_is_loaded_anew_loses_nothing_and_one_that_stays_away_gives_the_customer_back() {
    let mut house = House::new(1).ready(&["anna"]);
    house.writes(1);
    assert!(house.accepts(1, "anna"));
    for _ in 0..50 {
        house.goes("anna");
        house.after(14);
        assert!(house.desks[0].desk_opened(house.now, "anna"));
        house.settle();
    }
    assert_eq!(house.owner(1), "agent:anna");
    assert_eq!(house.desks[0].desk("anna").unwrap().me.state, "ready", "as before");
    let since = house.chats[&id(1)].0.state().unwrap().place.clone().unwrap().since;
    house.goes("anna");
    house.after(16);
    assert_eq!(house.owner(1), "queue:general");
    let vanished = |event: &Event| matches!(event, Event::OwnerReleased(one) if one.reason == ReleaseReason::Vanished);
    assert_eq!(house.count(1, vanished), 1, "once");
    assert_eq!(house.chats[&id(1)].0.state().unwrap().place.clone().unwrap().since, since, "at their place");
    assert_eq!(house.desks[0].desk("anna").unwrap().me.state, "gone");
    house.comes(0, "ben");
    assert_eq!(house.asked(1).as_deref(), Some("agent:ben"));
}

#[test]
fn calls_and_chats_are_one_line_and_one_capacity() {
    let mut house = House::new(1);
    house.writes(1);
    house.after(1);
    assert_eq!(house.calls(2, None), 2);
    house.after(1);
    house.writes(3);
    let now = house.now;
    house.desks[0].set_rtc(now, "anna", true);
    let mut house = house.ready(&["anna"]);
    assert_eq!((house.asked(1).as_deref(), house.rung()), (Some("agent:anna"), Vec::new()), "who came first");
    assert!(house.accepts(1, "anna"));
    assert_eq!(house.asked(3).as_deref(), Some("agent:anna"), "a call does not go beside a chat");
    assert!(house.accepts(3, "anna"));
    house.resolves(1, "anna");
    house.resolves(3, "anna");
    assert_eq!(house.rung(), [(2, "anna".to_owned())], "the call, once she has no chat");
    house.writes(4);
    let now = house.now;
    house.desks[0].call_accepted(now, id(2), "anna");
    house.settle();
    assert_eq!(house.asked(4), None, "no chat beside a call");
    let view = house.desks[0].desk("anna").unwrap();
    assert_eq!((view.me.state, view.me.calls, view.mine[0].kind, view.mine[0].state), ("busy", 1, "call", "talking"));
    house.desks[0].call_finished(now, id(2), "anna");
    house.settle();
    assert_eq!(house.desks[0].desk("anna").unwrap().me.state, "wrap_up");
    house.after(11);
    assert_eq!(house.asked(4).as_deref(), Some("agent:anna"));
}

#[test]
fn who_talks_and_loses_the_desk_keeps_the_call_and_gives_the_chats_back() {
    let mut house = House::new(1);
    let now = house.now;
    house.desks[0].set_rtc(now, "anna", true);
    let mut house = house.ready(&["anna"]);
    house.calls(1, None);
    assert_eq!(house.rung(), [(1, "anna".to_owned())]);
    house.desks[0].call_accepted(now, id(1), "anna");
    // Taken unasked, beside the call.
    house.writes(2);
    assert!(house.command(id(2), Owner::Agent("anna".to_owned()), Wish::Claim { epoch: None }));
    house.goes("anna");
    house.desks[0].set_rtc(now, "anna", false);
    house.after(16);
    assert_eq!(house.owner(2), "queue:general");
    assert!(house.desks[0].calls.contains_key(&id(1)), "nobody takes the call away");
    assert_eq!(house.desks[0].desk("anna").unwrap().me.state, "away");
    let now = house.now;
    house.desks[0].call_finished(now, id(1), "anna");
    house.after(6);
    assert_eq!(house.desks[0].desk("anna").unwrap().me.state, "gone");
}

#[test]
fn a_caller_who_has_a_chat_rings_its_agent_and_the_chat_stays_theirs() {
    let mut house = House::new(1);
    let now = house.now;
    house.desks[0].set_rtc(now, "anna", true);
    house.desks[0].set_rtc(now, "ben", true);
    let mut house = house.ready(&["anna", "ben"]);
    house.writes(1);
    assert!(house.accepts(1, "anna"));
    assert!(house.desks[0].call_could_ring(Some(id(1)), "anna"), "their own chat does not count");
    assert!(!house.desks[0].call_could_ring(None, "anna"));
    house.calls(1, Some("anna"));
    assert_eq!(house.rung(), [(1, "anna".to_owned())]);
    let now = house.now;
    house.desks[0].call_accepted(now, id(1), "anna");
    house.desks[0].call_finished(now, id(1), "anna");
    house.settle();
    let view = house.desks[0].desk("anna").unwrap();
    assert_eq!((view.me.calls, view.me.chats, view.mine[0].kind), (0, 1, "chat"));
}

#[test]
fn a_new_gateway_goes_on_where_the_old_one_was() {
    let mut house = House::new(1).ready(&["anna", "ben"]);
    for n in 1..=6 {
        house.writes(n);
        house.after(1);
    }
    assert!(house.accepts(1, "anna"));
    assert!(house.accepts(3, "ben"));
    let before: Vec<_> = house.desks[0].router.line("general").collect();
    let mut new = house.desk(true);
    for (machine, log) in house.chats.values() {
        let mut tail = Tail::default();
        log.iter().for_each(|record| tail.read(record));
        new.seen(house.now, machine.state().unwrap(), Some(tail));
    }
    new.begin(house.now);
    house.desks[0] = new;
    house.settle();
    let after: Vec<_> = house.desks[0].router.line("general").collect();
    assert_eq!(after, before, "the same line");
    assert_eq!(house.owner(1), "agent:anna", "the page has a minute to come back");
    house.comes(0, "anna");
    house.after(90);
    assert_eq!(house.owner(1), "agent:anna");
    assert_eq!(house.owner(3), "queue:general", "Ben does not come back");
    let offered = |event: &Event| matches!(event, Event::OwnerOffered(_));
    for n in 1..=6 {
        let ended = |event: &Event| {
            matches!(
                event,
                Event::OwnerAccepted(_) | Event::OwnerDeclined(_) | Event::OwnerExpired(_) | Event::OwnerWithdrawn(_)
            )
        };
        let open = usize::from(house.asked(n).is_some());
        assert_eq!(house.count(n, offered), house.count(n, ended) + open, "no offer is open twice");
    }
}

#[test]
fn two_gateways_offer_one_chat_once_and_an_agent_at_both_has_one_capacity() {
    let mut house = House::new(2);
    house.comes(0, "anna");
    house.comes(1, "ben");
    house.comes(1, "anna");
    for n in 1..=5 {
        house.writes(n);
        assert_eq!(house.count(n, |event| matches!(event, Event::OwnerOffered(_))), usize::from(n <= 4), "chat {n}");
    }
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for n in 1..=4 {
        let agent = house.asked(n).expect("somebody is asked");
        let name = agent.strip_prefix("agent:").unwrap().to_owned();
        assert!(house.accepts(n, &name));
        *of.entry(name).or_default() += 1;
    }
    assert_eq!(of, BTreeMap::from([("anna".to_owned(), 2), ("ben".to_owned(), 2)]));
    assert_eq!(house.asked(5), None);
    for desk in &house.desks {
        let chats = |name: &str| desk.desk(name).unwrap().me.chats;
        assert_eq!((chats("anna"), chats("ben")), (2, 2), "both gateways know");
    }
}

#[test]
fn who_takes_a_chat_unasked_has_it_for_the_router_too() {
    let mut house = House::new(1).ready(&["anna"]);
    house.writes(1);
    house.writes(2);
    assert!(house.accepts(1, "anna"));
    assert!(house.accepts(2, "anna"));
    house.writes(3);
    assert!(house.command(id(3), Owner::Agent("anna".to_owned()), Wish::Claim { epoch: None }));
    house.settle();
    assert_eq!(house.desks[0].desk("anna").unwrap().me.chats, 3);
    // One of whom nobody knows here takes it: it is out of the line.
    house.writes(4);
    assert!(house.command(id(4), Owner::Agent("robot".to_owned()), Wish::Claim { epoch: None }));
    house.settle();
    assert_eq!(house.desks[0].router.line("general").count(), 0);
}

#[test]
fn an_operator_without_a_desk_is_rung_whatever_chats_stand_in_their_name() {
    let mut house = House::new(1);
    let now = house.now;
    house.desks[0].set_queue(now, QueueSetup::new("phones", vec!["web:zoe".to_owned()]));
    house.desks[0].set_rtc(now, "zoe", true);
    house.writes(1);
    assert!(house.command(id(1), Owner::Agent("zoe".to_owned()), Wish::Claim { epoch: None }));
    assert!(house.desks[0].call_could_ring(None, "zoe"));
    // With a desk open she is an agent like the others.
    assert!(house.desks[0].desk_opened(now, "zoe"));
    assert!(house.desks[0].set_presence(now, "zoe", true, ""));
    assert_eq!(house.desks[0].desk("zoe").unwrap().me.chats, 1);
    assert!(!house.desks[0].call_could_ring(None, "zoe"));
}

#[test]
fn a_closed_queue_keeps_chats_until_it_opens_and_takes_no_caller() {
    let mut house = House::new(1);
    // The samples' day is a Tuesday: it opens in an hour.
    let opens = (house.now + secs(3_600)).strftime("%H:%M").to_string();
    let mut setup = QueueSetup::new("general", Vec::new());
    setup.hours = crate::webchat::hours::Hours::read(&[format!("mon-sun {opens}-23:59")], "UTC").unwrap();
    let now = house.now;
    house.desks[0].set_queue(now, setup);
    house.comes(0, "anna");
    house.writes(1);
    assert_eq!(house.asked(1), None);
    assert!(
        house.desks[0]
            .call_joins(
                now,
                id(2),
                CallJoin {
                    caller: 2,
                    queue: "general".to_owned(),
                    priority: 0,
                    since: now,
                    prefers: None,
                    entrance: String::new(),
                    title: String::new(),
                    channel: "sip".to_owned(),
                    needs: Needs::default(),
                }
            )
            .is_err()
    );
    house.now += secs(3_601);
    house.after(1);
    assert_eq!(house.asked(1).as_deref(), Some("agent:anna"));
}

#[test]
fn who_gives_up_is_counted_and_who_is_resolved_is_not() {
    let mut house = House::new(1);
    house.calls(1, None);
    let now = house.now;
    house.desks[0].call_leaves(now, id(1), Left::Abandoned);
    house.calls(2, None);
    house.desks[0].call_leaves(now, id(2), Left::Moved);
    house.writes(3);
    assert!(house.with(id(3), |machine, now| {
        let (by, expected_epoch) = (Owner::Queue("general".to_owned()), machine.state().unwrap().epoch);
        let (reason, disposition, note) = (SessionCloseReason::Abandoned, None, None);
        machine.handle(now, Input::Close { by, expected_epoch, reason, disposition, note }).is_ok()
    }));
    let wall = house.desks[0].wallboard(now);
    assert_eq!((wall.abandoned, wall.waiting, wall.queues[0].abandoned), (2, 0, 2));
    assert_eq!(wall.answered_30s_percent, Some(0.0));
}

/// A call whose caller waits to be called back, as its log says.
fn to_be_called(n: u128, more: Vec<Event>) -> ark_conversation::ConversationState {
    use ark_conversation::event::{CallMode, CallbackPlace, LegOffered, Role};
    use ark_conversation::{LegId, Pii};
    let callback = Some(CallbackPlace {
        queue: "general".to_owned(),
        waiting_since: samples::at(-300_000),
        priority: 0,
        tries: 0,
    });
    let (mode, to) = (CallMode::PstnCallback, Some(Pii::new("13800001212")));
    let offered = LegOffered { leg: LegId(2), mode, deadline: samples::at(90_000_000), to, callback };
    let mut events: Vec<Event> =
        vec![samples::ringing(LegId(1), Role::Customer).into(), offered.into(), samples::ended(LegId(1)).into()];
    events.extend(more);
    let mut state = samples::fold(&samples::log(events));
    state.conversation = id(n);
    state
}

#[test]
fn a_callback_is_offered_at_the_desk_with_its_place_and_rings_when_it_is_accepted() {
    let mut house = House::new(1).ready(&["anna"]);
    let now = house.now;
    let desk = &mut house.desks[0];
    desk.set_rtc(now, "anna", true);
    desk.callback_seen(now, &to_be_called(7, Vec::new()), true);
    let view = desk.desk("anna").expect("she has a desk");
    let [offer] = view.offers.as_slice() else { panic!("{view:?}") };
    assert!(offer.callback && offer.kind == "call" && !offer.title.contains("0001"), "{offer:?}");
    assert_eq!(offer.since, samples::at(-300_000).to_string(), "since they came");
    assert!(desk.call_acts.is_empty(), "nothing rings before she says yes");
    assert!(desk.callback_taken(now, id(7), "anna") && !desk.callback_taken(now, id(7), "anna"));
    assert_eq!(desk.call_acts.pop_front(), Some(CallAct::CallBack { item: id(7), agent: "anna".to_owned() }));
    assert!(desk.callback_rings(id(7), "anna") && !desk.callback_rings(id(7), "ben"));

    // Missed: she is free, and the customer is called again later; then a gateway elsewhere has the conversation.
    let legs = (ark_conversation::LegId(4), ark_conversation::LegId(5));
    desk.callback_dialled(id(7), 31);
    assert_eq!(desk.callback_missed(now, id(7), legs), Some(1));
    assert_eq!(desk.desk("anna").unwrap().me.state, "ready");
    assert!(desk.desk("anna").unwrap().offers.is_empty());
    desk.callback_seen(now, &to_be_called(7, Vec::new()), false);
    assert!(desk.callback(id(7)).is_none() && desk.router.phase(id(7)).is_none(), "one gateway calls");
    desk.router.check().unwrap();
}

#[test]
fn a_callback_waits_for_the_end_of_the_call_and_is_over_with_its_leg() {
    use ark_conversation::LegId;
    use ark_conversation::event::{LegEndReason, LegEnded, Role};
    let mut house = House::new(1).ready(&["anna"]);
    let now = house.now;
    let desk = &mut house.desks[0];
    desk.set_rtc(now, "anna", true);
    let up = to_be_called(7, vec![samples::ringing(LegId(3), Role::Customer).into()]);
    desk.callback_seen(now, &up, true);
    assert!(desk.awaits_the_end(id(7)) && desk.callback(id(7)).is_none(), "they are still on the line");
    desk.callback_seen(now, &to_be_called(7, Vec::new()), true);
    assert!(!desk.awaits_the_end(id(7)) && desk.callback(id(7)).is_some());
    let ended = LegEnded { leg: LegId(2), reason: LegEndReason::Expired };
    desk.callback_seen(now, &to_be_called(7, vec![ended.into()]), true);
    assert!(desk.callback(id(7)).is_none() && desk.desk("anna").unwrap().offers.is_empty());
    desk.router.check().unwrap();
}

#[test]
fn a_chat_that_waits_too_long_goes_on_in_another_queue_with_its_place() {
    let mut house = House::new(2);
    for at in 0..2 {
        let now = house.now;
        let mut general = QueueSetup::new("general", Vec::new());
        general.config.overflow_after = Some(secs(60));
        general.overflow = Some("seniors".to_owned());
        house.desks[at].set_queue(now, general);
        house.desks[at].set_queue(now, QueueSetup::new("seniors", Vec::new()));
        let mut cora = agent("cora");
        cora.profile.groups = vec!["seniors".to_owned()];
        house.desks[at].set_accounts(now, vec![agent("anna"), cora]);
    }
    house.writes(1);
    house.after(59);
    assert_eq!(house.owner(1), "queue:general");
    house.after(2);
    assert_eq!(house.owner(1), "queue:seniors");
    let released = |event: &Event| matches!(event, Event::OwnerReleased(e) if e.reason == ReleaseReason::Overflow);
    assert_eq!(house.count(1, released), 1, "said once, though two gateways saw it");
    let place = house.chats[&id(1)].0.state().unwrap().place.clone().unwrap();
    assert_eq!(place.since, samples::at(0), "since the beginning");
    house.comes(0, "cora");
    assert_eq!(house.asked(1).as_deref(), Some("agent:cora"));
}

#[test]
fn the_language_of_a_chat_decides_and_strands_nobody() {
    let mut house = House::new(1);
    let now = house.now;
    let speaks = |name: &str, language: &str| {
        let mut agent = agent(name);
        agent.profile.languages = BTreeMap::from([(language.to_owned(), 5)]);
        agent
    };
    house.desks[0].set_accounts(now, vec![speaks("anna", "zh"), speaks("ben", "en")]);
    house.desks[0].languages = BTreeMap::from([("web:shop".to_owned(), "en".to_owned())]);
    let mut house = house.ready(&["anna"]);
    house.writes(1);
    assert_eq!(house.asked(1), None, "Anna speaks no English");
    assert_eq!(house.desks[0].wallboard(house.now).queues[0].unmet, 1);
    house.comes(0, "ben");
    assert_eq!(house.asked(1).as_deref(), Some("agent:ben"));
    assert!(house.accepts(1, "ben"));

    let now = house.now;
    house.desks[0].set_presence(now, "ben", false, "break");
    house.writes(2);
    house.after(59);
    assert_eq!(house.asked(2), None);
    house.after(2);
    assert_eq!(house.asked(2).as_deref(), Some("agent:anna"), "nobody who works speaks it: anybody is asked");
    assert_eq!(house.count(2, |event| matches!(event, Event::QueueRelaxed(_))), 1);
    assert_eq!(house.desks[0].wallboard(house.now).queues[0].relaxed, 1);
}
