//! Random stories: customers, agents, a bot, channels, a network that loses and doubles, gateways that die, in virtual
//! time. A checker that knows nothing of the machine reads every record and every delivery.
//!
//! `ARK_SEED=77 cargo test -p ark-conversation story` plays one story again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Fault, ID, anna, ben, general, thread_source};
use crate::event::*;
use crate::id::LegId;
use crate::laws::{Broken, Laws, ensure};
use crate::machine::{Conversation, Delivery, Effect, Handled, Input, Policy, Refused, Ring};
use crate::samples::{self, at};
use crate::{CloudEvent, Content, Event, Hash, Owner, Pii, Record, Tenant, source};

/// SplitMix64: small, seeded, good enough for stories.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { list.get(self.below(list.len())) }
    }
}

/// What the checker knows: the laws of a log, and what this story sent.
#[derive(Default)]
struct Checker {
    laws: Laws,
    last_of_thread: HashMap<String, u64>,
    sent_bodies: HashMap<(String, String), Hash>,
}

impl Checker {
    fn read(&mut self, record: &Record) -> Result<(), Broken> {
        self.laws.read(record)?;
        match &record.event.event {
            Event::MessageIn(message) => self.read_inbound(record, message),
            _ => Ok(()),
        }
    }

    fn read_inbound(&mut self, record: &Record, message: &MessageIn) -> Result<(), Broken> {
        let event = &record.event;
        let number: u64 = event.id.trim_start_matches("m:").parse().expect("a number of the story");
        let last = self.last_of_thread.insert(event.source.clone(), number).unwrap_or(0);
        ensure("I1", number != last, || format!("{}: {} twice", record.seq, event.id))?;
        ensure("I3", number > last, || format!("{}: {} after m:{last}", record.seq, event.id))?;
        let sent = self.sent_bodies.get(&(event.source.clone(), event.id.clone()));
        let body = Hash::of_body(&event.event);
        ensure("I10", sent == Some(&body), || format!("{}: {:?} is not what was sent", record.seq, message.parts))
    }
}

/// One of the customer's threads, as its adapter drives it: in order, again until it is acknowledged.
struct Line {
    source: String,
    name: &'static str,
    written: u64,
    waiting: VecDeque<CloudEvent>,
    acknowledged: Vec<CloudEvent>,
}

struct World {
    random: Random,
    policy: Arc<Policy>,
    fault: Option<Fault>,
    now: Timestamp,
    machine: Conversation,
    log: Vec<Record>,
    ids: HashSet<(String, String)>,
    checker: Checker,
    lines: Vec<Line>,
    outbox: Vec<Delivery>,
    /// Copies of a message that reached the customer.
    copies: HashMap<String, u32>,
    rings: Vec<Ring>,
    /// The epoch in which each believes to be.
    beliefs: HashMap<Owner, u64>,
    keys: u64,
    receipts: u64,
    calls: u64,
    steps: u64,
    granted: u64,
    crashes: u64,
}

fn faq() -> Owner {
    Owner::Bot("faq".to_owned())
}

fn chen() -> Owner {
    Owner::Agent("chen".to_owned())
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random(seed);
        let opening = if random.chance(50) { general() } else { faq() };
        let policy = Arc::new(Policy { opening, ..Policy::default() });
        let line = |name: &'static str| Line {
            source: thread_source(name),
            name,
            written: 0,
            waiting: VecDeque::new(),
            acknowledged: Vec::new(),
        };
        let mut world = Self {
            random,
            machine: Conversation::new(policy.clone(), Tenant::MAIN, ID),
            policy,
            fault,
            now: at(0),
            log: Vec::new(),
            ids: HashSet::new(),
            checker: Checker::default(),
            lines: vec![line("app"), line("web"), line("page")],
            outbox: Vec::new(),
            copies: HashMap::new(),
            rings: Vec::new(),
            beliefs: HashMap::new(),
            keys: 0,
            receipts: 0,
            calls: 0,
            steps: 0,
            granted: 0,
            crashes: 0,
        };
        world.machine.fault = fault;
        world
    }

    /// The gateway dies; another opens the conversation from the log.
    fn crash(&mut self) {
        self.crashes += 1;
        self.machine = Conversation::from_log(self.policy.clone(), Tenant::MAIN, ID, &self.log).expect("a whole log");
        self.machine.fault = self.fault;
    }

    /// Gives an input to the machine and its commit to the store. None: the gateway died before it could answer.
    fn give(&mut self, input: Input) -> Result<Option<Result<Handled, Refused>>, Broken> {
        self.steps += 1;
        let handled = self.machine.handle(self.now, input);
        let commit = self.machine.poll();
        if self.random.chance(2) {
            self.crash();
            return Ok(None);
        }
        if let Some(commit) = commit {
            assert_eq!(commit.after_seq, self.log.len() as u64, "the only writer");
            for event in commit.events {
                let key = (event.event.source.clone(), event.event.id.clone());
                let message = matches!(event.event.event, Event::MessageOut(_));
                let rule = if message { "I6" } else { "I1" };
                ensure(rule, self.ids.insert(key.clone()), || format!("{key:?} is written twice"))?;
                let record = event.into_record(self.log.len() as u64 + 1);
                self.checker.read(&record)?;
                self.log.push(record);
            }
            for effect in commit.effects {
                self.carry_out(effect)?;
            }
        }
        let overdue = self.checker.laws.offer().filter(|(deadline, _)| *deadline <= self.now);
        ensure("I7", overdue.is_none(), || format!("an offer of {overdue:?} is still open at {}", self.now))?;
        if self.random.chance(2) {
            let before = self.machine.hash();
            self.crash();
            assert!(self.machine.hash() == before || self.fault.is_some(), "opened from the log it is another");
            return Ok(None);
        }
        Ok(Some(handled))
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Broken> {
        match effect {
            Effect::Deliver(delivery) => {
                let epoch = self.checker.laws.epoch();
                ensure("I4", delivery.epoch == epoch, || format!("{delivery:?} goes out in epoch {epoch}"))?;
                self.outbox.push(delivery); // in the same transaction: it is never lost
            }
            // Notices cross a network: one in five is lost, one in five comes late and is believed all the same.
            Effect::Ring(ring) if !self.random.chance(20) => self.rings.push(ring),
            Effect::Grant { to, epoch, history_to, .. } => {
                self.granted += 1;
                let seen = self.log.iter().rev().find(|one| matches!(one.event.event, Event::OwnerAccepted(_)));
                let reopened = self.log.last().is_some_and(|one| matches!(one.event.event, Event::SessionOpened(_)));
                let whole = reopened || seen.is_some_and(|one| one.seq == history_to + 1);
                ensure("I5", whole, || format!("{to} sees up to {history_to} only"))?;
                if !self.random.chance(20) {
                    self.beliefs.insert(to, epoch);
                }
            }
            Effect::Run { plan, epoch } => {
                self.beliefs.insert(Owner::Bot(plan), epoch);
            }
            Effect::Route { epoch, .. } => {
                self.beliefs.insert(general(), epoch);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Broken> {
        match self.random.below(100) {
            0..=19 => self.customer_writes(),
            20..=29 => self.adapter_sends_again(),
            30..=47 => self.house_speaks(),
            48..=59 => self.house_offers(),
            60..=71 => self.house_answers(),
            72..=77 => self.relay(),
            78..=81 => self.house_closes(),
            82..=85 => self.somebody_vanishes(),
            86..=89 => self.calls(),
            90..=92 => self.guests(),
            93..=94 => self.summary(),
            _ => {
                let ms = 1 + self.random.next() % 40_000;
                self.now = self.now.saturating_add(SignedDuration::from_millis(ms as i64)).expect("this century");
                self.give(Input::Tick).map(drop)
            }
        }
    }

    fn customer_writes(&mut self) -> Result<(), Broken> {
        let at = self.random.below(self.lines.len());
        let picture = self.random.chance(20);
        let line = &mut self.lines[at];
        line.written += 1;
        let mut message = samples::message_in(line.name, "hello");
        if picture {
            message.parts.push(Part::Image { media: samples::picture(), fallback_text: None });
        }
        let event = CloudEvent::new(format!("m:{}", line.written), line.source.clone(), self.now, message);
        let body = Hash::of_body(&event.event);
        self.checker.sent_bodies.insert((event.source.clone(), event.id.clone()), body);
        line.waiting.push_back(event);
        self.send_head(at)
    }

    /// Sends what waits longest; it leaves the line when the acknowledgement comes back.
    fn send_head(&mut self, at: usize) -> Result<(), Broken> {
        let Some(event) = self.lines[at].waiting.front().cloned() else { return Ok(()) };
        if let Some(answer) = self.give(Input::Inbound(event.clone()))? {
            let taken = answer.is_ok() || answer == Err(Refused::Unknown);
            assert!(taken, "{answer:?} for {event:?}");
            // One canary is about order: that it keeps a message for a while is not what it is to be caught by.
            if answer.is_ok() && self.fault != Some(Fault::SwapInbound) {
                let key = (event.source.clone(), event.id.clone());
                ensure("I1", self.ids.contains(&key), || format!("{key:?} is acknowledged and not in the log"))?;
            }
            if !self.random.chance(10) {
                let line = &mut self.lines[at];
                line.waiting.pop_front();
                line.acknowledged.push(event);
            }
        }
        Ok(())
    }

    fn adapter_sends_again(&mut self) -> Result<(), Broken> {
        let at = self.random.below(self.lines.len());
        if self.random.chance(50) {
            return self.send_head(at);
        }
        let latest = &self.lines[at].acknowledged;
        let latest = &latest[latest.len().saturating_sub(40)..];
        match self.random.pick(latest).cloned() {
            Some(event) => self.give(Input::Inbound(event)).map(drop),
            None => Ok(()),
        }
    }

    /// The epoch in which somebody believes to be, which may be an old one.
    fn belief(&mut self, who: &Owner) -> u64 {
        let truth = self.checker.laws.epoch().max(1);
        if self.random.chance(60) { truth } else { self.beliefs.get(who).copied().unwrap_or(truth) }
    }

    fn somebody(&mut self) -> Owner {
        let truth = self.checker.laws.owner().cloned().filter(|_| self.random.chance(60));
        truth.unwrap_or_else(|| self.random.pick(&[anna(), ben(), chen(), faq()]).cloned().expect("four"))
    }

    fn house_speaks(&mut self) -> Result<(), Broken> {
        let author = self.somebody();
        let epoch = self.belief(&author);
        if self.keys == 0 || !self.random.chance(15) {
            self.keys += 1;
        }
        let key = format!("k{}", self.keys - self.random.next() % self.keys.min(3));
        let parts = vec![Part::text("dear customer")];
        self.give(Input::Outbound { author, epoch, key, leg: None, parts, reply_to: None }).map(drop)
    }

    fn house_offers(&mut self) -> Result<(), Broken> {
        let by = self.somebody();
        let expected_epoch = self.belief(&by);
        if self.random.chance(25) {
            let queue = if self.random.chance(70) { "general" } else { "refunds" }.to_owned();
            return self.give(Input::Release { by, expected_epoch, queue, priority: 1, needs: None }).map(drop);
        }
        let to = self.random.pick(&[anna(), ben(), chen(), faq(), general()]).cloned().expect("five");
        let mode = if self.random.chance(50) { OfferMode::Warm } else { OfferMode::Cold };
        let ttl = Some(SignedDuration::from_secs(1 + self.random.below(60) as i64));
        self.give(Input::Offer { by, expected_epoch, to, mode, ttl, note: None }).map(drop)
    }

    fn house_answers(&mut self) -> Result<(), Broken> {
        let Some(ring) = self.random.pick(&self.rings).cloned() else {
            let by = self.random.pick(&[anna(), ben()]).cloned().expect("two");
            let expected_epoch = self.belief(&general());
            return self.give(Input::Take { by, expected_epoch }).map(drop);
        };
        let by = match ring.to {
            Owner::Queue(_) => self.random.pick(&[anna(), ben(), chen()]).cloned().expect("three"),
            ref to if self.random.chance(90) => to.clone(),
            _ => self.somebody(),
        };
        let (offer, expected_epoch) = (ring.offer, ring.expected_epoch);
        let input = match self.random.below(10) {
            0 | 1 => Input::Decline { by, offer },
            2 => Input::Withdraw { by: self.somebody(), offer },
            _ => Input::Accept { by, offer, expected_epoch },
        };
        if self.rings.len() > 4 {
            self.rings.remove(0);
        }
        self.give(input).map(drop)
    }

    /// The relay takes a delivery to its channel; the channel answers one way or another, perhaps twice.
    fn relay(&mut self) -> Result<(), Broken> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let delivery = self.outbox.remove(0);
        let (state, code, arrives) = match self.random.below(10) {
            0..=4 => (ReceiptState::Delivered, None, true),
            5..=7 => (ReceiptState::Failed, Some("window_closed"), false),
            8 => (ReceiptState::Failed, Some("outcome_unknown"), true),
            _ => (ReceiptState::Sent, None, true),
        };
        if arrives {
            let copies = self.copies.entry(delivery.key.clone()).or_default();
            *copies += 1;
            let copies = *copies;
            ensure("I6", copies == 1, || format!("{copies} copies of {} reached the customer", delivery.key))?;
        }
        let Some(line) = self.lines.iter().position(|line| line.source == delivery.source) else { return Ok(()) };
        let reason = code.map(|code| ReceiptReason { code: code.to_owned(), text: None, retriable: false });
        let (thread, message) = (delivery.thread, delivery.key);
        let receipt = Receipt { thread, message, state, native_id: None, reason };
        self.receipts += 1;
        let event = CloudEvent::new(format!("r:{}", self.receipts), delivery.source, self.now, receipt);
        self.lines[line].waiting.push_back(event);
        self.send_head(line)
    }

    fn house_closes(&mut self) -> Result<(), Broken> {
        let by = self.somebody();
        if self.random.chance(40) {
            return self.give(Input::Reopen { by }).map(drop);
        }
        if self.random.chance(40) {
            let leg = LegId(1 + self.random.below(6) as u32);
            return self.give(Input::EndLeg { leg, reason: LegEndReason::House }).map(drop);
        }
        let (expected_epoch, reason) = (self.belief(&by), SessionCloseReason::Resolved);
        self.give(Input::Close { by, expected_epoch, reason, disposition: None, note: None }).map(drop)
    }

    fn somebody_vanishes(&mut self) -> Result<(), Broken> {
        let who = self.somebody();
        self.give(Input::Vanished { who }).map(drop)
    }

    /// A call comes in, or one that is up ends.
    fn calls(&mut self) -> Result<(), Broken> {
        let up = self.checker.laws.calls().iter().min().copied();
        let event: Event = match up {
            Some(leg) if self.random.chance(70) => samples::ended(leg).into(),
            _ if self.random.chance(30) => {
                let (mode, ttl) = (CallMode::Webrtc, SignedDuration::from_secs(8));
                return self.give(Input::OfferLeg { mode, ttl, to: None, callback: None }).map(drop);
            }
            _ => {
                let next = self.machine.state().map_or(LegId(1), |state| state.next_leg());
                CallRinging { owner: faq(), ..samples::ringing(next, Role::Customer) }.into()
            }
        };
        self.calls += 1;
        let source = source::call(&Tenant::MAIN, "carrier", b"call");
        let event = CloudEvent::new(format!("c:{}", self.calls), source, self.now, event);
        // The switch spools its events: it gives them again until they are in.
        while self.give(Input::Call(event.clone()))?.is_none() {}
        Ok(())
    }

    fn guests(&mut self) -> Result<(), Broken> {
        let participant = Participant { role: ParticipantRole::Bot, id: Pii::new("faq") };
        if self.random.chance(30) {
            return self.give(Input::Leave { participant, leg: None }).map(drop);
        }
        let by = Some(self.somebody());
        let voice = if self.random.chance(70) { Voice::Speak } else { Voice::Listen };
        self.give(Input::Join { participant, leg: None, voice, by }).map(drop)
    }

    fn summary(&mut self) -> Result<(), Broken> {
        let last = self.log.len();
        let upto = self.random.below(last + 4) as u64;
        let messages = vec![self.random.below(last + 4) as u64];
        let summary = Summary {
            upto,
            text: Content::new("so far"),
            tasks: Vec::new(),
            messages,
            attachments: Vec::new(),
            made_by: "ark".to_owned(),
            sha256: Hash::of(b"so far"),
        };
        self.give(Input::Summarise(summary)).map(drop)
    }

    /// The network heals and time passes: everything that was sent is acknowledged, and nothing is open that has a
    /// deadline.
    fn finish(&mut self) -> Result<(), Broken> {
        for at in 0..self.lines.len() {
            let mut tries = 0;
            while !self.lines[at].waiting.is_empty() {
                tries += 1;
                assert!(tries < 10_000, "a line never empties");
                self.send_head(at)?;
            }
        }
        self.now = self.now.saturating_add(SignedDuration::from_hours(2)).expect("this century");
        while self.give(Input::Tick)?.is_none() {}
        for line in &self.lines {
            let logged = self.log.iter().filter(|one| one.event.source == line.source);
            let logged = logged.filter(|one| matches!(one.event.event, Event::MessageIn(_))).count() as u64;
            ensure("I1", logged == line.written, || format!("{}: {logged} of {}", line.source, line.written))?;
        }
        let open = self.machine.deadline().filter(|_| self.checker.laws.offer().is_some());
        ensure("I7", open.is_none(), || format!("an offer is open for ever: {open:?}"))
    }
}

const STEPS: u64 = 400;

/// Plays one story. The number of its steps, or what broke.
fn play(seed: u64, fault: Option<Fault>) -> Result<World, Broken> {
    let mut world = World::new(seed, fault);
    let result = (0..STEPS).try_for_each(|_| world.step()).and_then(|()| world.finish());
    result.map(|()| world)
}

#[test]
fn no_story_breaks_an_invariant() {
    let one = std::env::var("ARK_SEED").ok().map(|seed| seed.parse().expect("ARK_SEED is a number"));
    let seeds = one.map_or(1..=600_u64, |seed: u64| seed..=seed);
    let (mut steps, mut records, mut granted, mut crashes, mut sent) = (0, 0, 0, 0, 0);
    for seed in seeds {
        match play(seed, None) {
            Ok(world) => {
                steps += world.steps;
                records += world.log.len();
                granted += world.granted;
                crashes += world.crashes;
                sent += world.copies.len();
            }
            Err((rule, told)) => panic!("{rule} is broken: {told}; ARK_SEED={seed} plays it again"),
        }
    }
    println!("{steps} steps, {records} records, {granted} grants, {sent} messages sent, {crashes} crashes");
    // A story in which nothing happens proves nothing.
    assert!(one.is_some() || granted > 1_000 && crashes > 1_000 && sent > 1_000);
}

#[test]
fn every_canary_is_caught_by_the_invariant_that_it_breaks() {
    for (fault, rules) in [
        (Fault::LoseInbound, &["I1"][..]),
        (Fault::SkipDedupe, &["I1", "I6"]),
        (Fault::KeepEpoch, &["I2"]),
        (Fault::SwapInbound, &["I3"]),
        (Fault::SkipEpoch, &["I4"]),
        (Fault::ShortHistory, &["I5"]),
        (Fault::RerouteBlindly, &["I6"]),
        (Fault::ForgetTimers, &["I7"]),
        (Fault::EndOnAnyLeg, &["I8"]),
        (Fault::UncheckedSummary, &["I9"]),
        (Fault::AlterMedia, &["I10"]),
        (Fault::TalkativeBot, &["I12"]),
    ] {
        let caught = (1..=60).find_map(|seed| play(seed, Some(fault)).err().map(|broken| (seed, broken)));
        let Some((seed, (rule, told))) = caught else { panic!("{fault:?} lives through 60 stories") };
        assert!(rules.contains(&rule), "{fault:?} was caught by {rule}, not {rules:?}: {told} (seed {seed})");
        println!("{fault:?}: {rule} in story {seed}: {told}");
    }
}
