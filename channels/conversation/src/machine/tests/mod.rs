//! The machine in virtual time: what a house sees of it, the counterexamples of other designs, and random stories.

mod links;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::event::*;
use crate::id::{LegId, OfferId};
use crate::samples::{self, at};
use crate::state::LegPhase;
use crate::{Content, Pii};

/// Ways to break the machine on purpose: each must be caught by the invariant that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// I1: a message is acknowledged and not written.
    LoseInbound,
    /// I1: what came before is taken for new.
    SkipDedupe,
    /// I2: a new owner in the old epoch.
    KeepEpoch,
    /// I3: a message waits for the next one to pass.
    SwapInbound,
    /// I4: the epoch is not looked at.
    SkipEpoch,
    /// I5: the new owner sees half of the history.
    ShortHistory,
    /// I6: whatever failed is sent by another leg too.
    RerouteBlindly,
    /// I7: nothing runs out.
    ForgetTimers,
    /// I8: the first leg's end is the end.
    EndOnAnyLeg,
    /// I9: a summary may speak of anything.
    UncheckedSummary,
    /// I10: a file's hash is changed on its way into the log.
    AlterMedia,
    /// I12: a bot may speak whenever it likes.
    TalkativeBot,
}

pub(super) fn anna() -> Owner {
    Owner::Agent("anna".to_owned())
}

pub(super) fn ben() -> Owner {
    Owner::Agent("ben".to_owned())
}

pub(super) fn general() -> Owner {
    Owner::Queue("general".to_owned())
}

pub(super) const ID: ConversationId = ConversationId::new(7, 7);

pub(super) fn thread_source(thread: &str) -> String {
    source::thread(&Tenant::MAIN, "web", "shop", thread)
}

/// A conversation with the log that it was committed to.
struct House {
    machine: Conversation,
    log: Vec<Record>,
    effects: Vec<Effect>,
    now: Timestamp,
    written: u64,
}

impl House {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let machine = Conversation::new(Arc::new(policy), Tenant::MAIN, ID);
        Self { machine, log: Vec::new(), effects: Vec::new(), now: at(0), written: 0 }
    }

    /// Anna has taken Dora, who wrote once.
    fn with_anna() -> Self {
        let mut house = Self::new();
        house.dora("web-1", "hello");
        house.give(Input::Take { by: anna(), expected_epoch: 1 }).unwrap();
        house
    }

    fn give(&mut self, input: Input) -> Result<Handled, Refused> {
        let handled = self.machine.handle(self.now, input);
        if let Some(commit) = self.machine.poll() {
            assert_eq!(commit.after_seq, self.log.len() as u64);
            for event in commit.events {
                let seq = self.log.len() as u64 + 1;
                self.log.push(event.into_record(seq));
            }
            self.effects = commit.effects;
        }
        let again = Conversation::from_log(self.machine.policy.clone(), Tenant::MAIN, ID, &self.log).unwrap();
        assert_eq!(again.hash(), self.machine.hash(), "a machine opened from the log is the same");
        assert_eq!(again.deadline(), self.machine.deadline());
        handled
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn dora(&mut self, thread: &str, text: &str) {
        self.written += 1;
        let event = CloudEvent::new(
            format!("web:{}", self.written),
            thread_source(thread),
            self.now,
            samples::message_in(thread, text),
        );
        self.give(Input::Inbound(event)).unwrap();
    }

    fn say(&mut self, author: Owner, epoch: u64, key: &str) -> Result<Handled, Refused> {
        let parts = vec![Part::text(key)];
        self.give(Input::Outbound { author, epoch, key: key.to_owned(), leg: None, parts, reply_to: None })
    }

    fn offer(&mut self, to: Owner, mode: OfferMode) -> OfferId {
        let (by, expected_epoch) = (self.owner(), self.epoch());
        self.give(Input::Offer { by, expected_epoch, to, mode, ttl: None, note: None }).unwrap();
        self.state().offer.as_ref().unwrap().offer
    }

    fn receipt(&mut self, thread: &str, id: &str, key: &str, state: ReceiptState, code: Option<&str>) {
        let reason = code.map(|code| ReceiptReason { code: code.to_owned(), text: None, retriable: false });
        let receipt = Receipt { thread: thread.to_owned(), message: key.to_owned(), state, native_id: None, reason };
        let event = CloudEvent::new(id, thread_source(thread), self.now, receipt);
        self.give(Input::Inbound(event)).unwrap();
    }

    fn call(&mut self, id: &str, event: impl Into<Event>) {
        let event = CloudEvent::new(id, source::call(&Tenant::MAIN, "carrier", b"c1"), self.now, event);
        self.give(Input::Call(event)).unwrap();
    }

    fn state(&self) -> &ConversationState {
        self.machine.state().unwrap()
    }

    fn owner(&self) -> Owner {
        self.state().owner.clone().unwrap()
    }

    fn epoch(&self) -> u64 {
        self.state().epoch
    }

    fn types(&self) -> Vec<&str> {
        self.log.iter().map(|record| record.event.type_name()).collect()
    }

    fn deliveries(&self) -> Vec<&Delivery> {
        self.effects
            .iter()
            .filter_map(|effect| if let Effect::Deliver(one) = effect { Some(one) } else { None })
            .collect()
    }
}

/// notes: release-first, `xfer>cust`: the customer writes while nobody owns.
#[test]
fn release_first_xfer_cust_the_message_has_an_owner() {
    for mode in [OfferMode::Warm, OfferMode::Cold] {
        let mut house = House::with_anna();
        house.offer(ben(), mode);
        house.dora("web-1", "are you there?");
        let owner = if mode == OfferMode::Warm { anna() } else { general() };
        assert_eq!(house.owner(), owner, "{mode}");
    }
}

/// notes: release-first, `xfer>decline`: an orphan.
#[test]
fn release_first_xfer_decline_the_customer_goes_back() {
    let mut house = House::with_anna();
    let offer = house.offer(ben(), OfferMode::Warm);
    house.give(Input::Decline { by: ben(), offer }).unwrap();
    assert_eq!((house.owner(), house.epoch()), (anna(), 2));
    assert_eq!(house.say(anna(), 2, "k1"), Ok(Handled::Done));

    let offer = house.offer(ben(), OfferMode::Cold);
    house.pass(5);
    house.give(Input::Decline { by: ben(), offer }).unwrap();
    assert_eq!((house.owner(), house.epoch()), (general(), 3));
    let Some(Effect::Route { queue, waiting_since, .. }) = house.effects.last() else { panic!("{:?}", house.effects) };
    assert_eq!((queue.as_str(), *waiting_since), ("general", at(0)), "with the place that she had");
}

/// notes: release-first, `cust>xfer>accept`: the new owner does not see what was written before.
#[test]
fn release_first_cust_xfer_accept_the_history_goes_with_it() {
    let mut house = House::with_anna();
    house.dora("web-1", "my order is broken");
    let written = house.log.len() as u64;
    let offer = house.offer(ben(), OfferMode::Warm);
    house.give(Input::Accept { by: ben(), offer, expected_epoch: 2 }).unwrap();
    let accepted = house.log.len() as u64;
    let grant = Effect::Grant { to: ben(), epoch: 3, history_to: accepted - 1, summary: None };
    assert_eq!(house.effects, [grant]);
    assert!(accepted > written);
}

/// notes: assign-on-offer, `xfer>lose`: the notice is lost and everything is stuck.
#[test]
fn assign_on_offer_xfer_lose_the_offer_ends_by_its_deadline() {
    let mut house = House::with_anna();
    let offer = house.offer(ben(), OfferMode::Warm);
    assert_eq!(house.machine.deadline(), Some(at(30_000)));
    assert_eq!(house.say(anna(), 2, "k1"), Ok(Handled::Done), "Anna still owns");
    house.pass(31);
    let late = house.give(Input::Accept { by: ben(), offer, expected_epoch: 2 });
    assert_eq!(late, Err(Refused::OfferEnded), "the timer first, then the input");
    assert_eq!((house.owner(), house.epoch()), (anna(), 2));
    assert_eq!(house.types().last(), Some(&"ark.owner.expired.v1"));
    assert_eq!(house.effects, [Effect::StopRinging { offer, to: ben() }]);
}

/// notes: overlap, `xfer>accept>sayB>sayA`: both speak.
#[test]
fn overlap_xfer_accept_say_b_say_a_the_first_owner_is_fenced() {
    let mut house = House::with_anna();
    let offer = house.offer(ben(), OfferMode::Warm);
    house.give(Input::Accept { by: ben(), offer, expected_epoch: 2 }).unwrap();
    assert_eq!(house.say(ben(), 3, "b"), Ok(Handled::Done));
    assert_eq!(house.say(anna(), 2, "a"), Err(Refused::Fenced { current: 3 }));
    assert_eq!(house.say(anna(), 3, "a"), Err(Refused::NotOwner));
}

#[test]
fn of_two_who_accept_one_does() {
    let mut house = House::with_anna();
    let offer = house.offer(general(), OfferMode::Warm);
    house.give(Input::Accept { by: ben(), offer, expected_epoch: 2 }).unwrap();
    let chen = Owner::Agent("chen".to_owned());
    assert_eq!(house.give(Input::Accept { by: chen, offer, expected_epoch: 2 }), Err(Refused::OfferEnded));
    assert_eq!(house.owner(), ben());
}

#[test]
fn an_offer_is_for_the_one_who_was_asked_and_there_is_one_at_a_time() {
    let mut house = House::with_anna();
    let offer = house.offer(ben(), OfferMode::Warm);
    let chen = Owner::Agent("chen".to_owned());
    assert_eq!(house.give(Input::Accept { by: chen.clone(), offer, expected_epoch: 2 }), Err(Refused::NotAsked));
    let again = Input::Offer { by: anna(), expected_epoch: 2, to: chen, mode: OfferMode::Warm, ttl: None, note: None };
    assert_eq!(house.give(again), Err(Refused::Offered(offer)));
    assert_eq!(house.give(Input::Withdraw { by: ben(), offer }), Err(Refused::NotOwner));
    house.give(Input::Withdraw { by: anna(), offer }).unwrap();
    assert_eq!(house.give(Input::Accept { by: ben(), offer, expected_epoch: 2 }), Err(Refused::OfferEnded));
}

#[test]
fn a_customer_whose_agent_vanished_waits_again_with_their_place_kept() {
    let mut house = House::with_anna();
    house.pass(600);
    house.give(Input::Vanished { who: anna() }).unwrap();
    assert_eq!((house.owner(), house.epoch()), (general(), 3));
    let route = Effect::Route { queue: "general".to_owned(), waiting_since: at(0), priority: 0, epoch: 3 };
    assert_eq!(house.effects, [route]);
    assert_eq!(house.say(anna(), 2, "late"), Err(Refused::Fenced { current: 3 }));
    assert_eq!(house.give(Input::Vanished { who: anna() }), Ok(Handled::Done), "twice is once");
    assert_eq!(house.epoch(), 3);
}

#[test]
fn an_offer_outlives_the_one_who_made_it() {
    let mut house = House::with_anna();
    let first = house.offer(ben(), OfferMode::Warm);
    house.pass(10);
    house.give(Input::Vanished { who: anna() }).unwrap();
    let offer = house.state().offer.clone().unwrap();
    assert!(offer.offer != first && offer.to == ben() && offer.deadline == at(30_000) && offer.expected_epoch == 3);
    house.give(Input::Accept { by: ben(), offer: offer.offer, expected_epoch: 3 }).unwrap();
    assert_eq!((house.owner(), house.epoch()), (ben(), 4));
}

#[test]
fn a_message_that_came_before_is_acknowledged_again_and_not_written_again() {
    let mut house = House::with_anna();
    let before = house.log.len();
    let event = CloudEvent::new("web:1", thread_source("web-1"), at(0), samples::message_in("web-1", "hello"));
    assert_eq!(house.give(Input::Inbound(event)), Ok(Handled::Duplicate));
    assert_eq!(house.say(anna(), 2, "k1"), Ok(Handled::Done));
    assert_eq!(house.say(anna(), 2, "k1"), Ok(Handled::Duplicate));
    assert_eq!(house.log.len(), before + 1);
}

#[test]
fn a_message_whose_window_closed_goes_another_way_once() {
    let mut house = House::with_anna();
    house.dora("web-2", "from my other phone");
    house.say(anna(), 2, "k1").unwrap();
    let [first] = house.deliveries()[..] else { panic!() };
    assert_eq!((first.leg, first.attempt), (LegId(2), 1));
    house.receipt("web-2", "r1", "k1", ReceiptState::Failed, Some("window_closed"));
    let [second] = house.deliveries()[..] else { panic!() };
    assert_eq!((second.leg, second.attempt, second.key.as_str()), (LegId(1), 2, "k1"));
    house.effects.clear();
    house.receipt("web-2", "r2", "k1", ReceiptState::Failed, Some("window_closed"));
    house.receipt("web-1", "r3", "k1", ReceiptState::Delivered, None);
    house.receipt("web-1", "r4", "k1", ReceiptState::Failed, Some("window_closed"));
    assert!(house.deliveries().is_empty());
}

#[test]
fn a_message_whose_outcome_is_unknown_is_not_sent_again() {
    let mut house = House::with_anna();
    house.dora("web-2", "from my other phone");
    house.say(anna(), 2, "k1").unwrap();
    house.effects.clear();
    house.receipt("web-2", "r1", "k1", ReceiptState::Failed, Some("outcome_unknown"));
    assert!(house.deliveries().is_empty());
}

#[test]
fn a_bot_speaks_while_it_owns_or_while_the_owner_lets_it() {
    let bot = || Owner::Bot("faq".to_owned());
    let mut house = House::with(Policy { opening: bot(), ..Policy::default() });
    house.dora("web-1", "hello");
    assert_eq!(house.effects.first(), Some(&Effect::Run { plan: "faq".to_owned(), epoch: 1 }));
    assert_eq!(house.say(bot(), 1, "k1"), Ok(Handled::Done));
    house
        .give(Input::Release { by: bot(), expected_epoch: 1, queue: "general".to_owned(), priority: 3, needs: None })
        .unwrap();
    house.give(Input::Take { by: anna(), expected_epoch: 2 }).unwrap();
    assert_eq!(house.say(bot(), 3, "k2"), Err(Refused::NotOwner));
    let faq = Participant { role: ParticipantRole::Bot, id: Pii::new("faq") };
    let invite = |by| Input::Join { participant: faq.clone(), leg: None, voice: Voice::Speak, by: Some(by) };
    assert_eq!(house.give(invite(ben())), Err(Refused::NotOwner));
    house.give(invite(anna())).unwrap();
    assert_eq!(house.say(bot(), 3, "k2"), Ok(Handled::Done));
    let offer = house.offer(ben(), OfferMode::Warm);
    house.give(Input::Accept { by: ben(), offer, expected_epoch: 3 }).unwrap();
    assert_eq!(house.say(bot(), 4, "k3"), Err(Refused::NotOwner), "the invitation was Anna's");
}

#[test]
fn who_waits_too_long_goes_on_in_another_queue_and_what_nobody_has_is_said_once() {
    let bot = || Owner::Bot("faq".to_owned());
    let mut house = House::with(Policy { opening: bot(), ..Policy::default() });
    house.dora("web-1", "hello");
    let needs = Needed { language: Some("en".to_owned()), ..Needed::default() };
    let release = Input::Release {
        by: bot(),
        expected_epoch: 1,
        queue: "orders".to_owned(),
        priority: 3,
        needs: Some(needs.clone()),
    };
    house.give(release).unwrap();
    let began = house.now;
    house.now += SignedDuration::from_secs(60);
    let orders = || Owner::Queue("orders".to_owned());
    let relax = |by| Input::Relax { by, needs: needs.clone() };
    assert_eq!(house.give(relax(anna())), Err(Refused::NotOwner));
    assert_eq!(house.give(relax(orders())), Ok(Handled::Done));
    assert!(house.state().place.as_ref().unwrap().relaxed);
    assert_eq!(house.give(relax(orders())), Ok(Handled::Duplicate), "a second gateway saw it, too");
    let on = |queue: &str| Input::Overflow { by: orders(), queue: queue.to_owned() };
    assert_eq!(house.give(on("orders")), Err(Refused::NoWay));
    assert_eq!(house.give(on("general")), Ok(Handled::Done));
    let place = house.state().place.clone().unwrap();
    assert_eq!((place.queue.as_str(), place.since, place.priority), ("general", began, 3), "with the place");
    assert_eq!((place.needs, place.relaxed), (Some(needs), false), "another queue may have it");
    assert_eq!(house.give(on("general")), Err(Refused::NotOwner), "it is not there any more");
    let skills = (0..40).map(|n| (format!("s{n}"), 1)).collect();
    let many = Some(Needed { language: None, skills });
    let general = Owner::Queue("general".to_owned());
    let release = Input::Release { by: general, expected_epoch: 3, queue: "x".to_owned(), priority: 0, needs: many };
    assert!(matches!(house.give(release), Err(Refused::Malformed(_))));
}

#[test]
fn an_account_may_have_a_queue_of_its_own() {
    let parcels = Owner::Queue("parcels".to_owned());
    let policy = Policy {
        openings: BTreeMap::from([(("web".to_owned(), "parcels".to_owned()), parcels.clone())]),
        ..Policy::default()
    };
    let of = |account: &str| {
        let thread = source::thread(&Tenant::MAIN, "web", account, "visitor-1");
        policy.opening_of(&thread.parse().unwrap()).clone()
    };
    assert_eq!(of("parcels"), parcels);
    assert_eq!(of("shop"), Owner::Queue("general".to_owned()));
}

#[test]
fn hanging_up_ends_the_voice_leg_and_nothing_else() {
    let mut house = House::new();
    house.call("c1", samples::ringing(LegId(1), Role::Customer));
    house.call("c2", CallAnswered { leg: LegId(1), codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 0 });
    assert_eq!(house.types()[..2], ["ark.call.ringing.v1", "ark.session.opened.v1"]);
    house.dora("web-1", "here is the picture");
    house.call("c3", samples::ended(LegId(1)));
    assert!(house.state().is_open(), "the thread lives");
    let bot = house.owner();
    assert_eq!(house.say(bot.clone(), 1, "k1"), Ok(Handled::Done));
    let thread = house.state().legs.last().unwrap().leg;
    assert_eq!(thread, LegId(101), "2 and so on are the switch's, of its call");
    house.give(Input::EndLeg { leg: thread, reason: LegEndReason::Closed }).unwrap();
    assert!(!house.state().is_open(), "a bot has nothing to wrap up");
    assert_eq!(house.say(bot, 1, "k2"), Err(Refused::Closed));
}

#[test]
fn an_agent_has_time_to_wrap_up_and_the_session_closes_by_itself() {
    let mut house = House::new();
    house.call("c1", samples::ringing(LegId(1), Role::Customer));
    house
        .give(Input::Release {
            by: house.owner(),
            expected_epoch: 1,
            queue: "general".to_owned(),
            priority: 0,
            needs: None,
        })
        .unwrap();
    house.give(Input::Take { by: anna(), expected_epoch: 2 }).unwrap();
    let close = || Input::Close {
        by: anna(),
        expected_epoch: 3,
        reason: SessionCloseReason::Resolved,
        disposition: None,
        note: Some(Content::new("done")),
    };
    assert_eq!(house.give(close()), Err(Refused::CallUp));
    house.call("c2", samples::ended(LegId(1)));
    assert!(house.state().is_open());
    assert_eq!(house.machine.deadline(), Some(at(300_000)));
    house.pass(300);
    house.give(Input::Tick).unwrap();
    assert!(!house.state().is_open());
    assert_eq!(house.give(close()), Err(Refused::Closed));
}

#[test]
fn a_customer_who_comes_back_opens_a_new_session_with_a_new_epoch() {
    let mut house = House::with_anna();
    let close = Input::Close {
        by: anna(),
        expected_epoch: 2,
        reason: SessionCloseReason::Resolved,
        disposition: Some("refund".to_owned()),
        note: None,
    };
    house.give(close).unwrap();
    assert!(!house.state().is_open());
    assert_eq!(house.state().legs[0].phase, LegPhase::Idle);
    assert_eq!(house.say(anna(), 2, "k"), Err(Refused::Closed));
    house.pass(60);
    house.dora("web-1", "one more thing");
    assert_eq!((house.owner(), house.epoch(), house.state().sessions), (general(), 3, 2));
    let types = house.types();
    assert_eq!(types[types.len() - 3..], ["ark.session.opened.v1", "ark.leg.woke.v1", "ark.message.in.v1"]);
    assert_eq!(house.state().place.as_ref().unwrap().since, at(60_000));
}

#[test]
fn a_closed_conversation_is_taken_up_again_by_the_one_who_reopens_it() {
    let mut house = House::with_anna();
    assert_eq!(house.give(Input::Reopen { by: ben() }), Err(Refused::Open));
    let (by, reason) = (anna(), SessionCloseReason::Resolved);
    house.give(Input::Close { by, expected_epoch: 2, reason, disposition: None, note: None }).unwrap();
    house.give(Input::Reopen { by: ben() }).unwrap();
    assert_eq!((house.owner(), house.epoch()), (ben(), 3));
    assert_eq!(house.say(ben(), 3, "k"), Ok(Handled::Done));
}

#[test]
fn a_call_is_offered_once_and_ends_by_its_deadline_while_the_chat_goes_on() {
    let mut house = House::with_anna();
    let offer = || Input::OfferLeg {
        mode: CallMode::PstnCallback,
        ttl: SignedDuration::from_secs(8),
        to: None,
        callback: None,
    };
    house.give(offer()).unwrap();
    assert_eq!(house.give(offer()), Err(Refused::Full));
    house.pass(8);
    house.give(Input::Tick).unwrap();
    assert_eq!(house.state().leg(LegId(2)).unwrap().phase, LegPhase::Ended);
    assert_eq!(house.state().leg(LegId(1)).unwrap().phase, LegPhase::Active);
    house.give(offer()).unwrap();
    house.call("c1", samples::ringing(LegId(3), Role::Customer));
    assert_eq!(house.state().leg(LegId(3)).unwrap().phase, LegPhase::Ringing);
    assert_eq!((house.state().legs.len(), house.owner()), (3, anna()), "the call rings under the owner that there is");
}

#[test]
fn a_summary_speaks_of_nothing_later_than_itself() {
    let mut house = House::with_anna();
    let last = house.log.len() as u64;
    let summary = |upto, messages| Summary {
        upto,
        text: Content::new("she says hello"),
        tasks: Vec::new(),
        messages,
        attachments: Vec::new(),
        made_by: "ark".to_owned(),
        sha256: Hash::of(b"she says hello"),
    };
    let ahead = Err(Refused::Ahead { last_seq: last });
    assert_eq!(house.give(Input::Summarise(summary(last + 1, vec![]))), ahead);
    assert_eq!(house.give(Input::Summarise(summary(2, vec![3]))), ahead);
    house.give(Input::Summarise(summary(last, vec![3]))).unwrap();
    house.offer(ben(), OfferMode::Warm);
    let Some(Effect::Ring(ring)) = house.effects.last() else { panic!() };
    assert_eq!(ring.summary, Some(last + 1));
}

#[test]
fn a_note_is_a_record_that_nothing_follows_from_and_is_kept_once() {
    let mut house = House::with_anna();
    let note = |key: &str, text: &str| Input::Note { by: ben(), key: key.to_owned(), text: Content::new(text) };
    let before = house.log.len();
    house.effects.clear();
    assert_eq!(house.give(note("n1", "she is in a hurry")), Ok(Handled::Done));
    assert_eq!(house.give(note("n1", "she is in a hurry")), Ok(Handled::Duplicate));
    assert_eq!((house.log.len(), house.state().notes), (before + 1, 1));
    assert_eq!(house.effects, [], "no channel hears of it");
    assert_eq!(house.owner(), anna(), "anybody of the house may write one");
    let long = "x".repeat(crate::limits::NOTE_BYTES_MAX + 1);
    for bad in [note("", "x"), note("n2", "  "), note("n2", &long), note(&"k".repeat(97), "x")] {
        assert!(matches!(house.give(bad), Err(Refused::Malformed(_))));
    }
    // Erased, it is still known.
    house.log[before].erase(EraseReason::Request, at(9));
    house.machine = Conversation::from_log(house.machine.policy.clone(), Tenant::MAIN, ID, &house.log).unwrap();
    assert_eq!(house.give(note("n1", "she is in a hurry")), Ok(Handled::Duplicate));
    assert_eq!(house.state().notes, 1);
}

#[test]
fn a_chat_goes_with_the_customer_who_is_handed_over_in_its_call() {
    let mut house = House::with_anna();
    let finished = |owner: Option<Owner>| TransferFinished {
        leg: LegId(2),
        target: "ben".to_owned(),
        outcome: TransferOutcome::Answered,
        sip_status: None,
        took_ms: 1,
        customer: None,
        owner,
    };
    house.call("c1", samples::ringing(LegId(2), Role::Customer));
    let epoch = house.state().epoch;
    house.call("c2", finished(None));
    house.give(Input::Tick).unwrap();
    assert_eq!((house.owner(), house.state().epoch), (anna(), epoch));
    house.call("c3", finished(Some(ben())));
    house.give(Input::Tick).unwrap();
    assert_eq!((house.owner(), house.state().epoch), (ben(), epoch + 1));
    house.give(Input::Tick).unwrap();
    assert_eq!(house.state().epoch, epoch + 1, "once");
}

#[test]
fn what_no_adapter_may_send_is_refused_and_writes_nothing() {
    let mut house = House::with_anna();
    let (before, source) = (house.log.len(), thread_source("web-1"));
    let source = source.as_str();
    let mut no_parts = samples::message_in("web-1", "x");
    no_parts.parts.clear();
    let mut web_address = samples::picture();
    web_address.reference = "https://x.example/a.png".to_owned();
    let mut by_address = samples::message_in("web-1", "x");
    by_address.parts = vec![Part::Image { media: web_address, fallback_text: None }];
    for (source, event) in [
        (source, Event::from(no_parts)),
        (source, by_address.into()),
        (source, samples::message_in("web-1", "").into()),
        (source, samples::message_in("web-1", &"x".repeat(20_001)).into()),
        (source, samples::ringing(LegId(1), Role::Customer).into()),
        ("/ark/other/web/shop/web-1", samples::message_in("web-1", "x").into()),
        ("nowhere", samples::message_in("web-1", "x").into()),
    ] {
        let refused = house.give(Input::Inbound(CloudEvent::new("i", source, at(0), event)));
        assert!(matches!(refused, Err(Refused::Malformed(_))), "{refused:?}");
    }
    assert_eq!(house.say(anna(), 2, "ark:9"), house.say(anna(), 2, ""));
    assert_eq!(house.log.len(), before);
}

#[test]
fn a_link_token_reaches_the_store_and_never_the_log() {
    let mut house = House::with_anna();
    let identity = Identity {
        thread: "web-1".to_owned(),
        keys: vec![crate::IdentityKey::phone("+8613800001212", "86").unwrap()],
        assurance: crate::Assurance::Otp,
        link_token: Some(Content::new("s3cret")),
    };
    let event = CloudEvent::new("i1", thread_source("web-1"), at(0), identity);
    house.give(Input::Inbound(event)).unwrap();
    let [Effect::Identify { link_token: Some(token), .. }] = &house.effects[..] else { panic!() };
    assert_eq!(token.reveal(), "s3cret");
    assert!(!serde_json::to_string(&house.log).unwrap().contains("s3cret"));
}

#[test]
fn an_erased_log_opens_as_the_same_conversation() {
    let mut house = House::with_anna();
    house.say(anna(), 2, "k1").unwrap();
    let hash = crate::LogHash::of(&house.log);
    let by = "anna".to_owned();
    let erase = Input::Erase { from_seq: 1, to_seq: 5, reason: EraseReason::Request, by };
    house.give(erase).unwrap();
    let mut log = house.log.clone();
    let erased = log.iter_mut().filter_map(|record| record.erase(EraseReason::Request, at(9)).then_some(())).count();
    assert_eq!(erased, 3, "the leg's party, her message, Anna's");
    assert_eq!(crate::LogHash::of(&log[..house.log.len() - 1]), hash);
    let mut again = Conversation::from_log(house.machine.policy.clone(), Tenant::MAIN, ID, &log).unwrap();
    assert_eq!(again.state().unwrap().owner, Some(anna()));
    let parts = vec![Part::text("k1")];
    let same = Input::Outbound { author: anna(), epoch: 2, key: "k1".to_owned(), leg: None, parts, reply_to: None };
    assert_eq!(again.handle(at(10), same), Ok(Handled::Duplicate), "keys outlive what was said");
}

#[test]
fn a_log_with_a_gap_or_of_another_is_refused() {
    let house = House::with_anna();
    let open = |log: &[Record], id| Conversation::from_log(Arc::default(), Tenant::MAIN, id, log).map(drop);
    assert_eq!(open(&house.log[1..], ID), Err(LogError::Gap { expected: 1, found: 2 }));
    assert_eq!(open(&house.log, ConversationId::new(8, 8)), Err(LogError::Foreign(1)));
}
