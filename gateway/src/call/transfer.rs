//! From person to person: what [`ark_conversation::transfer::Transfer`] says is done, as legs, sound and records of the log.
//!
//! While a customer is on their way, the call has up to three legs: the customer's, the agent's ([`Call::other`]) and the one *beside* them
//! ([`Handover::beside`]): of the target, or of the agent who is called back. Who is with the customer in the end is [`Call::other`] again,
//! so that nothing else in the switch knows of transfers. Its plan sleeps meanwhile, and hears only how the last talk ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{
    EndCause, EndedBy, LegBridged, LegHeld, LegResumed, LegUnbridged, Needed, QueueJoined, Role, TransferChanged,
    TransferEnd, TransferFinished, TransferMode, TransferOutcome, TransferStage, TransferStarted,
};
use ark_conversation::transfer::{Input, Mode, NotTaken, Outcome, Output, Party, Refused, State, Times, Transfer};
use ark_conversation::{Content, ConversationId, LegId as LegNumber, Owner, Pii};
use ark_dialplans::{Heard, Now};
use ark_media::dtmf::Digit;
use ark_media::record::Side;
use ark_media::sdp::{Direction, Negotiated};
use ark_sip::ua::{CallEvent, CallKey};
use jiff::{SignedDuration, Timestamp};

use super::customer::{ended, failed};
use super::limits::{KEYS_AT_ONCE, PRESSED_KEY, TRANSFER_CONSULT, TRANSFER_RING};
use super::queue::Asked;
use super::state::{Call, Ending, Line, Other, Purpose, Stage, Waiting};
use super::supervise::CannotAct;
use super::switch::{Switch, ms};
use super::web::{WEB, WebEnd};
use crate::media::{Command, MediaPort};

/// To whom a customer is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTo {
    /// An agent: the address of their phone (`sip:`), `web:` and a name, or the name of an operator of a `[[queue]]`.
    Agent(String),
    /// Whoever of a queue is first.
    Queue(String),
    /// A number outside, by a `[[route]]`.
    Number(Pii),
    /// A `[[target]]` of the site, or one of the call's plan.
    Target(String),
}

/// What goes with a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Who asks for it.
    pub by: Option<String>,
    /// A word to the target.
    pub note: Option<Content>,
    /// What has happened so far, for who is asked.
    pub summary: Option<Content>,
    /// What an agent must be able to do, of a transfer to a queue; none: as before.
    pub needs: Option<Needed>,
}

/// A transfer as others see it: now, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferView {
    /// Where it stands; none: it is over.
    pub stage: Option<TransferStage>,
    /// To whom; mask it before it is shown.
    pub target: String,
    /// Who transfers, as they were dialled; mask it before it is shown.
    pub from: String,
    /// How.
    pub mode: TransferMode,
    /// How the target's part of it ended, once it has.
    pub why: Option<TransferOutcome>,
    /// Where the customer is when it is over.
    pub customer: Option<TransferEnd>,
}

/// A customer on their way from one person to another.
pub(super) struct Handover {
    machine: Transfer,
    began: Instant,
    /// The plan's request of the talk that is handed over.
    request: u64,
    /// To whom, as people call them.
    target: String,
    /// The target is an agent of the house.
    agent: bool,
    /// Who transfers, as they were dialled.
    from: String,
    /// They answered a queue.
    operator: bool,
    /// Who rings, or is there, beside the customer and the agent.
    pub(super) beside: Option<Other>,
    /// The agent whose place the target has taken and who has not been let go yet.
    leaving: Option<Other>,
    /// Since when the agent and the target talk alone.
    consult: Option<Instant>,
    why: Option<TransferOutcome>,
}

impl Handover {
    /// The machine counts from the beginning: a wall clock may jump.
    fn at(&self, now: Now) -> Timestamp {
        let passed = SignedDuration::try_from(now.mono.saturating_duration_since(self.began)).unwrap_or_default();
        Timestamp::UNIX_EPOCH.saturating_add(passed).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When the machine wants to know the time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let after = self.machine.deadline()?.duration_since(Timestamp::UNIX_EPOCH);
        Some(self.began + Duration::try_from(after).unwrap_or_default())
    }

    /// Whether whoever is beside the customer is heard by them.
    pub(super) fn is_three_way(&self) -> bool {
        self.machine.state() == State::ThreeWay
    }

    fn stage(&self) -> Option<TransferStage> {
        match self.machine.state() {
            State::Ringing { .. } => Some(TransferStage::Ringing),
            State::Consulting => Some(TransferStage::Consulting),
            State::ThreeWay => Some(TransferStage::ThreeWay),
            State::Recalling(_) => Some(TransferStage::Recalling),
            State::Over(_) => None,
        }
    }

    pub(super) fn view(&self) -> TransferView {
        TransferView {
            stage: self.stage(),
            target: self.target.clone(),
            from: self.from.clone(),
            mode: mode(self.machine.mode()),
            why: self.why,
            customer: None,
        }
    }
}

/// Somebody who can be rung.
struct Found {
    target: String,
    to: String,
    agent: bool,
}

impl<M: MediaPort> Switch<M> {
    /// Hands the customer of a call to somebody else. Gives the leg of whom is rung; none: they wait in the queue that was named.
    ///
    /// # Errors
    /// [`CannotAct`]; the talk goes on as it was.
    pub fn transfer_call(
        &mut self,
        now: Now,
        conversation: ConversationId,
        (to, how): (&TransferTo, TransferMode),
        word: Word,
    ) -> Result<Option<LegNumber>, CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            if call.handover.is_some() {
                return Err(CannotAct::TransferUnderWay);
            }
            let from = call.other.as_ref().filter(|other| other.bridged.is_some()).ok_or(CannotAct::NobodyTalks)?;
            let (from_leg, from_to) = (from.leg.number, from.to.clone());
            if let (TransferTo::Queue(queue), TransferMode::Blind) = (to, how) {
                if switch.queues.configs().iter().all(|config| config.name != *queue) {
                    return Err(CannotAct::NoQueue(queue.clone()));
                }
                if let Some(needs) = word.needs {
                    call.needs = needs.or(&Needed { skills: Default::default(), ..call.needs.clone() });
                }
                switch.log_started(now, call, from_leg, (queue, "", how), (word.by, word.note));
                switch.hand_to_queue(now, call, queue);
                return Ok(None);
            }
            let found = switch.find_target(now, call, to, &from_to)?;
            let machine_mode = if how == TransferMode::Blind { Mode::Blind } else { Mode::Warm };
            // Their leg first: what cannot be rung is refused, and nothing has happened.
            let request = call.other.as_ref().map_or(0, |other| other.request);
            let beside = switch.ring_beside(now, call, &found, request, Some(&word))?;
            let leg = beside.leg.number;
            switch.log_started(now, call, from_leg, (&found.target, &found.to, how), (word.by, word.note));
            switch.begin_handover(now, call, found, machine_mode, beside);
            Ok(Some(leg))
        })
    }

    /// Brings the customer into the talk of the agent and the target.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NoTransfer`] and [`CannotAct::NotNow`].
    pub fn join_transfer(&mut self, now: Now, conversation: ConversationId) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.ask_transfer(now, call, Input::Join))
    }

    /// Hands the customer over: the agent leaves.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NoTransfer`] and [`CannotAct::NotNow`].
    pub fn complete_transfer(&mut self, now: Now, conversation: ConversationId) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.ask_transfer(now, call, Input::Complete))
    }

    /// The agent takes the customer back.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NoTransfer`] and [`CannotAct::NotNow`].
    pub fn cancel_transfer(&mut self, now: Now, conversation: ConversationId) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.ask_transfer(now, call, Input::Cancel))
    }

    /// Lets the customer hear music instead of the agent, or the two talk again.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NobodyTalks`] and [`CannotAct::TransferUnderWay`].
    pub fn hold(&mut self, now: Now, conversation: ConversationId, on: bool) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            if call.handover.is_some() {
                return Err(CannotAct::TransferUnderWay);
            }
            if !call.is_talking() {
                return Err(CannotAct::NobodyTalks);
            }
            if on {
                switch.hold_customer(now, call);
            } else {
                switch.resume_customer(now, call);
            }
            Ok(())
        })
    }

    /// Presses keys towards the leg outside: the target's of a transfer, else the customer's.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NobodyTalks`] and [`CannotAct::BadKeys`].
    pub fn press_keys(&mut self, now: Now, conversation: ConversationId, keys: &str) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            let digits: Option<Vec<Digit>> = keys.chars().map(Digit::from_char).collect();
            let digits =
                digits.filter(|digits| (1..=KEYS_AT_ONCE).contains(&digits.len())).ok_or(CannotAct::BadKeys)?;
            let beside = call.handover.as_ref().and_then(|handover| handover.beside.as_ref());
            let beside = beside.filter(|beside| beside.leg.is_up()).map(|beside| beside.leg.media);
            let media = beside.or(call.is_talking().then_some(call.customer.media)).ok_or(CannotAct::NobodyTalks)?;
            for digit in digits {
                switch.tell_media(media, Command::SendDtmf { digit, duration: PRESSED_KEY });
            }
            Ok(())
        })
    }

    // ---- hold

    fn hold_customer(&mut self, now: Now, call: &mut Call) {
        if call.music_since.is_some() {
            return;
        }
        call.music_since = Some(now.mono);
        self.tell_media(call.customer.media, Command::Unbridge);
        self.log(now, call, LegHeld { leg: call.customer.number });
        if let Some(codec) = call.customer.agreed.as_ref().map(|agreed| agreed.codec) {
            let media = call.customer.media;
            self.play_hold_music(call, media, codec);
        }
    }

    fn resume_customer(&mut self, now: Now, call: &mut Call) {
        if !self.end_hold(now, call) {
            return;
        }
        let Some(media) = call.other.as_ref().map(|other| other.leg.media) else { return };
        self.tell_media(call.customer.media, Command::Bridge { other: media });
        self.supervisors_again(now, call);
    }

    /// Whether the customer was held: the music stops, nobody is connected yet.
    pub(super) fn end_hold(&mut self, now: Now, call: &mut Call) -> bool {
        let Some(since) = call.music_since.take() else { return false };
        if let Some((media, id)) = call.hold_play.take() {
            self.tell_media(media, Command::StopPlay { id });
        }
        if !call.customer.is_over() {
            self.log(now, call, LegResumed { leg: call.customer.number, held_ms: ms(since, now.mono) });
        }
        true
    }

    // ---- whom

    fn find_target(&self, now: Now, call: &Call, to: &TransferTo, from: &str) -> Result<Found, CannotAct> {
        let agent = |target: &str, to: &str| Found { target: target.to_owned(), to: to.to_owned(), agent: true };
        let found = match to {
            TransferTo::Agent(name) => {
                let known = self.operator_called(name);
                let is_known = known.is_some();
                let uri = match known {
                    Some(uri) => uri,
                    None if name.starts_with("sip:") => {
                        self.site.way_for_operators(name)?;
                        name.clone()
                    }
                    None if name.starts_with(WEB) => name.clone(),
                    None => format!("{WEB}{name}"),
                };
                if is_known && uri != from && !self.queues.is_free(now.mono, &uri) {
                    return Err(CannotAct::NotFree(name.clone()));
                }
                agent(name, &uri)
            }
            TransferTo::Queue(queue) => {
                let configs = self.queues.configs();
                let config = configs.iter().find(|config| config.name == *queue);
                let config = config.ok_or_else(|| CannotAct::NoQueue(queue.clone()))?;
                let free = |uri: &&String| **uri != from && self.queues.is_free(now.mono, uri);
                let uri = config.operators.iter().find(free).ok_or_else(|| CannotAct::NotFree(queue.clone()))?;
                agent(queue, uri)
            }
            TransferTo::Number(number) => {
                if number.reveal().starts_with("sip:") {
                    self.site.way_for_operators(number.reveal())?;
                }
                let number = number.reveal().to_owned();
                Found { target: number.clone(), to: number, agent: false }
            }
            TransferTo::Target(name) => {
                let in_plan = call.live.plan.targets.get(name.as_str()).map(|target| target.to.text.to_string());
                let known = self.site.targets.get(name).cloned().or(in_plan);
                let to = known.ok_or_else(|| CannotAct::NoTarget(name.clone()))?;
                Found { target: name.clone(), to, agent: false }
            }
        };
        if found.to == from { Err(CannotAct::ToThemselves) } else { Ok(found) }
    }

    /// The address of an operator who is called so: all of it, the name of a browser's, or the user part of a phone's.
    fn operator_called(&self, name: &str) -> Option<String> {
        let uris: Vec<String> = self.queues.configs().into_iter().flat_map(|config| config.operators).collect();
        let user = |uri: &str| uri.strip_prefix("sip:").and_then(|rest| rest.split(['@', ';']).next()) == Some(name);
        uris.iter()
            .find(|uri| *uri == name)
            .or_else(|| uris.iter().find(|uri| uri.strip_prefix(WEB) == Some(name)))
            .or_else(|| uris.iter().find(|uri| user(uri)))
            .cloned()
            .or_else(|| self.queues.address_of(name))
            .or_else(|| self.queues.address_of(&self.queues.agent_of(name)))
    }

    /// Rings somebody beside the customer and whoever is with them. Without a word it is the agent who is called back.
    fn ring_beside(
        &mut self,
        now: Now,
        call: &mut Call,
        found: &Found,
        request: u64,
        word: Option<&Word>,
    ) -> Result<Other, CannotAct> {
        let purpose = if self.operator_called(&found.to).is_some() {
            let operator = self.engage(now, call, &found.to, word);
            Purpose::Operator(operator.ok_or_else(|| CannotAct::NotFree(found.target.clone()))?)
        } else if found.agent {
            Purpose::Agent
        } else {
            Purpose::Target { name: Arc::from(found.target.as_str()) }
        };
        let role = if matches!(purpose, Purpose::Target { .. }) { Role::External } else { Role::Agent };
        let number = LegNumber(call.next_leg);
        let dialled = match found.to.strip_prefix(WEB) {
            Some(operator) => self.ring_browser(now, call, operator, number),
            None => self.ring_phone(now, call, &found.to, number),
        };
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                if let Purpose::Operator(operator) = purpose {
                    self.queues.declined(now.mono, call.id, operator);
                }
                return Err(error.into());
            }
        };
        let leg = self.rung(now, call, dialled, role, call.from.clone(), &found.to);
        // The machine's deadline is the one that counts.
        let ring_until = now.mono + TRANSFER_RING * 2;
        Ok(Other { leg, to: found.to.clone(), purpose, request, ring_until, bridged: None })
    }

    // ---- the machine

    fn begin_handover(&mut self, now: Now, call: &mut Call, found: Found, mode: Mode, beside: Other) {
        self.end_hold(now, call);
        let times = Times { ring: signed(TRANSFER_RING), consult: signed(TRANSFER_CONSULT) };
        let (machine, outputs) = Transfer::begin(Timestamp::UNIX_EPOCH, mode, times);
        let Found { target, agent, .. } = found;
        let from = call.other.as_ref().map(|other| other.to.clone()).unwrap_or_default();
        let operator = call.other.as_ref().is_some_and(|other| matches!(other.purpose, Purpose::Operator(_)));
        call.handover = Some(Box::new(Handover {
            machine,
            began: now.mono,
            request: beside.request,
            target,
            agent,
            from,
            operator,
            beside: Some(beside),
            leaving: None,
            consult: None,
            why: None,
        }));
        let next = self.obey(now, call, outputs);
        self.ring_the_waiting_agent(call);
        if let Some(input) = next {
            let _ = self.tell_transfer(now, call, input);
        }
    }

    fn ask_transfer(&mut self, now: Now, call: &mut Call, input: Input) -> Result<(), CannotAct> {
        if call.handover.is_none() {
            return Err(CannotAct::NoTransfer);
        }
        self.tell_transfer(now, call, input).map_err(|refused| match refused {
            Refused::Over => CannotAct::NoTransfer,
            Refused::NotNow => CannotAct::NotNow,
        })
    }

    /// Tells the machine, and does what it says, until it has nothing more to say.
    pub(super) fn tell_transfer(&mut self, now: Now, call: &mut Call, input: Input) -> Result<(), Refused> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(handover) = call.handover.as_mut() else { break };
            let (before, at) = (handover.stage(), handover.at(now));
            let outputs = handover.machine.handle(at, input)?;
            if let Input::Failed(Party::Target, why) = input {
                handover.why.get_or_insert(outcome(why));
            }
            if let State::Recalling(why) = handover.machine.state() {
                handover.why = Some(outcome(why));
            }
            next = self.obey(now, call, outputs);
            let Some(handover) = call.handover.as_ref() else { break };
            let (stage, target) = (handover.stage(), handover.target.clone());
            if let Some(stage) = stage.filter(|stage| Some(*stage) != before) {
                let with = handover.beside.as_ref().map(|beside| beside.leg.number);
                self.log(now, call, TransferChanged { leg: call.customer.number, target, stage, with });
            }
        }
        Ok(())
    }

    /// Does what the machine says, in order. What comes of it at once is its next input.
    fn obey(&mut self, now: Now, call: &mut Call, outputs: Vec<Output>) -> Option<Input> {
        let mut next = None;
        for output in outputs {
            match output {
                // The target's leg was rung before the transfer began.
                Output::Ring(Party::From) => next = self.call_back(now, call),
                Output::Ring(_) => {}
                Output::StopRinging(_) => self.beside_over(now, call, EndedBy::Ark, EndCause::Cancelled, true),
                Output::Music => self.part_from_customer(now, call),
                Output::Connect(Party::From, Party::Target) => self.consult(now, call),
                Output::Connect(_, Party::Target) => self.connect_target(now, call),
                Output::Connect(..) => self.connect_from(now, call),
                Output::ConnectAll => self.connect_all(now, call),
                Output::LetGo(Party::From) => self.let_from_go(now, call),
                Output::LetGo(_) => self.beside_over(now, call, EndedBy::Ark, EndCause::Hangup, true),
                // The log says whose it is by who is bridged, and `ark.transfer.finished.v1`.
                Output::Owner(_) => {}
                Output::ToQueue => self.back_to_queue(now, call),
                Output::Ended(outcome) => self.finish_handover(now, call, outcome),
            }
        }
        next
    }

    /// The customer hears music, and whoever was with them does not hear them.
    fn part_from_customer(&mut self, now: Now, call: &mut Call) {
        self.tell_media(call.customer.media, Command::Unbridge);
        let supervisors: Vec<_> = call.supervisors.iter().map(|supervisor| supervisor.leg.media).collect();
        for media in supervisors {
            self.tell_media(media, Command::Unbridge);
        }
        call.hold_play = None;
        let Some(other) = call.other.as_mut() else { return };
        let with = other.leg.number;
        if let Some(since) = other.bridged.take() {
            let event = LegUnbridged { leg: call.customer.number, with, bridged_ms: ms(since, now.mono) };
            self.log(now, call, event);
        }
    }

    /// The agent who waits hears that it rings.
    fn ring_the_waiting_agent(&mut self, call: &mut Call) {
        let Some((media, agreed)) = call.other.as_ref().map(|other| (other.leg.media, other.leg.agreed.clone())) else {
            return;
        };
        let Some(codec) = agreed.map(|agreed| agreed.codec) else { return };
        let (id, items) = (call.own_play(), vec![call.live.sounds.ringback(codec)]);
        self.tell_media(media, Command::Play { id, items, barge_in: false, repeat: true });
    }

    /// The agent and the target talk alone.
    fn consult(&mut self, now: Now, call: &mut Call) {
        let Some(handover) = call.handover.as_mut() else { return };
        let (Some(from), Some(target)) = (&call.other, &handover.beside) else { return };
        handover.consult = Some(now.mono);
        let (media, other) = (from.leg.media, target.leg.media);
        let event = LegBridged { leg: from.leg.number, with: target.leg.number };
        self.tell_media(media, Command::Bridge { other });
        self.log(now, call, event);
    }

    /// The agent and the target talk alone no more.
    fn end_consult(&mut self, now: Now, call: &mut Call) {
        let Some(handover) = call.handover.as_mut() else { return };
        let Some(since) = handover.consult.take() else { return };
        let from = call.other.as_ref().or(handover.leaving.as_ref()).map(|from| from.leg.number);
        let target = handover.beside.as_ref().map(|beside| beside.leg.number);
        if let (Some(leg), Some(with)) = (from, target) {
            self.log(now, call, LegUnbridged { leg, with, bridged_ms: ms(since, now.mono) });
        }
    }

    /// The customer has the target, in the place of whoever was with them.
    fn connect_target(&mut self, now: Now, call: &mut Call) {
        self.end_consult(now, call);
        let Some(handover) = call.handover.as_mut() else { return };
        let Some(target) = handover.beside.take() else { return };
        handover.leaving = call.other.replace(target);
        self.connect(now, call);
    }

    /// The customer has the agent again: who waited, or was called back.
    fn connect_from(&mut self, now: Now, call: &mut Call) {
        self.end_consult(now, call);
        let Some(handover) = call.handover.as_mut() else { return };
        if call.other.is_none() {
            call.other = handover.beside.take();
        }
        self.connect(now, call);
    }

    /// The customer and [`Call::other`] hear each other, and supervisors them.
    fn connect(&mut self, now: Now, call: &mut Call) {
        let Some(other) = call.other.as_mut() else { return };
        let (media, with) = (other.leg.media, other.leg.number);
        let codec = other.leg.agreed.as_ref().map(|agreed| agreed.codec);
        let was = other.bridged.replace(now.mono);
        self.tell_media(call.customer.media, Command::Bridge { other: media });
        call.playing = None;
        self.record_leg(call, media, Side::Agent);
        if was.is_none() {
            self.log(now, call, LegBridged { leg: call.customer.number, with });
            if let Some(codec) = codec {
                self.tell_who_joins(call, media, codec);
            }
        } else if let Some(other) = call.other.as_mut() {
            // They were with the customer already, with a third.
            other.bridged = was;
        }
        self.supervisors_again(now, call);
    }

    /// The agent, the target and the customer hear each other.
    fn connect_all(&mut self, now: Now, call: &mut Call) {
        self.end_consult(now, call);
        self.connect(now, call);
        let Some(beside) = call.handover.as_mut().and_then(|handover| handover.beside.as_mut()) else { return };
        beside.bridged = Some(now.mono);
        let (media, with) = (beside.leg.media, beside.leg.number);
        self.tell_media(media, Command::Join { with: call.customer.media, part: crate::media::RoomPart::Speaks });
        let taken = |voice: &u8| call.supervisors.iter().any(|supervisor| supervisor.voice == *voice);
        let voice = (0..u8::MAX).find(|voice| !taken(voice)).unwrap_or_default();
        self.record_leg(call, media, Side::Supervisor(voice));
        self.log(now, call, LegBridged { leg: call.customer.number, with });
    }

    /// The agent's part is over.
    fn let_from_go(&mut self, now: Now, call: &mut Call) {
        let leaving = call.handover.as_mut().and_then(|handover| handover.leaving.take());
        // In a blind one nobody has their place yet.
        let Some(from) = leaving.or_else(|| call.other.take()) else { return };
        self.hang_up_line(now, from.leg.line);
        let ending = end_of(now, EndedBy::Ark, EndCause::Hangup, None);
        self.part(now, call, from, ending);
    }

    /// Calls the agent back, whose transfer nobody took.
    fn call_back(&mut self, now: Now, call: &mut Call) -> Option<Input> {
        let handover = call.handover.as_ref()?;
        let (request, from) = (handover.request, handover.from.clone());
        let found = Found { target: from.clone(), to: from, agent: handover.operator || handover.agent };
        match self.ring_beside(now, call, &found, request, None) {
            Ok(beside) => {
                call.handover.as_mut()?.beside = Some(beside);
                None
            }
            Err(why) => {
                tracing::info!(conversation = %call.conversation, %why, "an agent cannot be called back");
                Some(Input::Failed(Party::From, NotTaken::Unreachable))
            }
        }
    }

    /// The leg beside is over.
    fn beside_over(&mut self, now: Now, call: &mut Call, by: EndedBy, cause: EndCause, hang_up: bool) {
        self.end_consult(now, call);
        let Some(beside) = call.handover.as_mut().and_then(|handover| handover.beside.take()) else { return };
        if hang_up {
            self.hang_up_line(now, beside.leg.line);
        }
        self.part(now, call, beside, end_of(now, by, cause, None));
    }

    fn finish_handover(&mut self, now: Now, call: &mut Call, ended: Outcome) {
        let Some(mut handover) = call.handover.take() else { return };
        let (why, customer) = match ended {
            Outcome::Transferred => (TransferOutcome::Answered, TransferEnd::Target),
            Outcome::Returned(why) => (outcome(why), TransferEnd::From),
            Outcome::Queued(why) if call.waiting.is_some() => (outcome(why), TransferEnd::Queue),
            Outcome::Queued(why) => (outcome(why), TransferEnd::Plan),
            Outcome::CustomerLeft => (TransferOutcome::Abandoned, TransferEnd::Gone),
        };
        // Nobody is left in the air, whatever the machine forgot.
        for left in [handover.beside.take(), handover.leaving.take()].into_iter().flatten() {
            self.hang_up_line(now, left.leg.line);
            self.part(now, call, left, end_of(now, EndedBy::Ark, EndCause::Hangup, None));
        }
        call.last_transfer =
            Some(TransferView { stage: None, why: Some(why), customer: Some(customer), ..handover.view() });
        let agent =
            |other: &&Other| !matches!(other.purpose, Purpose::Target { .. }) && customer == TransferEnd::Target;
        let agent = call.other.as_ref().filter(agent).map(|other| self.queues.agent_of(&other.to));
        // A name that is too long for an owner's is nobody's.
        let owner = agent.and_then(|agent| format!("agent:{agent}").parse().ok());
        self.log_finished(now, call, (&handover.target, owner), (why, customer), handover.began);
    }

    fn log_started(
        &mut self,
        now: Now,
        call: &Call,
        from: LegNumber,
        (target, to, mode): (&str, &str, TransferMode),
        (by, note): (Option<String>, Option<Content>),
    ) {
        let target = if target == to { ark_conversation::mask_number(target) } else { target.to_owned() };
        let (leg, to) = (call.customer.number, Pii::new(to));
        let (from, mode) = (Some(from), Some(mode));
        self.log(now, call, TransferStarted { leg, target, to, from, mode, by, note });
    }

    fn log_finished(
        &mut self,
        now: Now,
        call: &Call,
        (target, owner): (&str, Option<Owner>),
        (outcome, customer): (TransferOutcome, TransferEnd),
        since: Instant,
    ) {
        let event = TransferFinished {
            leg: call.customer.number,
            target: ark_conversation::mask_number(target),
            outcome,
            sip_status: None,
            took_ms: ms(since, now.mono),
            customer: Some(customer),
            owner,
        };
        self.log(now, call, event);
    }

    // ---- what happens on the legs

    /// Whether that line is the one beside.
    pub(super) fn is_beside(call: &Call, line: Line) -> bool {
        call.handover.as_ref().and_then(|handover| handover.beside.as_ref()).is_some_and(|one| one.leg.line == line)
    }

    /// What SIP says of the leg beside.
    pub(super) fn on_beside(&mut self, now: Now, call: &mut Call, key: CallKey, event: CallEvent) {
        if !Self::is_beside(call, Line::Sip(key)) {
            return;
        }
        match event {
            CallEvent::Incoming(_) | CallEvent::Progress { .. } | CallEvent::Confirmed { .. } => {}
            CallEvent::Reanswered { .. } | CallEvent::Info { .. } => {}
            CallEvent::Answered { sdp } => {
                let beside = call.handover.as_mut().and_then(|handover| handover.beside.as_mut());
                let agreed = beside
                    .and_then(|one| one.leg.sdp.as_mut())
                    .zip(sdp)
                    .map(|(own, theirs)| own.accept_answer(&theirs));
                match agreed {
                    Some(Ok(agreed)) => self.beside_up(now, call, agreed),
                    _ => {
                        self.hang_up_line(now, Line::Sip(key));
                        self.beside_failed(now, call, EndCause::NoCodec);
                    }
                }
            }
            CallEvent::Failed { status, .. } => self.beside_failed(now, call, failed(status)),
            CallEvent::Cancelled => self.beside_failed(now, call, EndCause::Cancelled),
            CallEvent::Reoffer { sdp } => self.reoffer_beside(now, call, key, sdp.as_deref()),
            CallEvent::Ended { cause } => {
                let (by, cause) = ended(cause);
                self.beside_gone(now, call, by, cause);
            }
        }
    }

    /// The one beside answered, and audio can flow.
    pub(super) fn beside_up(&mut self, now: Now, call: &mut Call, agreed: Negotiated) {
        let Some(handover) = call.handover.as_mut() else { return };
        let party = if matches!(handover.machine.state(), State::Recalling(_)) { Party::From } else { Party::Target };
        let Some(beside) = handover.beside.as_mut().filter(|beside| beside.leg.stage == Stage::Ringing) else { return };
        let leg = &mut beside.leg;
        (leg.stage, leg.answered, leg.agreed) = (Stage::Up, Some(now.mono), Some(agreed.clone()));
        let (media, signalled_from, dtmf) = (leg.media, leg.signalled_from, self.site.dtmf_of(&leg.trunk));
        let event = super::customer::answered_event(now, leg);
        if let Purpose::Operator(operator) = beside.purpose {
            self.queues.took(operator);
        }
        self.counters.answered += 1;
        self.tell_media(media, Command::Start { negotiated: agreed, signalled_from, dtmf });
        if let Some(event) = event {
            self.log(now, call, event);
        }
        let _ = self.tell_transfer(now, call, Input::Answered(party));
    }

    /// Whoever was rung does not come.
    fn beside_failed(&mut self, now: Now, call: &mut Call, cause: EndCause) {
        let Some(handover) = call.handover.as_ref() else { return };
        let party = if matches!(handover.machine.state(), State::Recalling(_)) { Party::From } else { Party::Target };
        let why = match cause {
            EndCause::Busy => NotTaken::Busy,
            EndCause::NoAnswer | EndCause::Timeout => NotTaken::NoAnswer,
            EndCause::Rejected | EndCause::Cancelled => NotTaken::Declined,
            _ => NotTaken::Unreachable,
        };
        self.beside_over(now, call, EndedBy::Remote, cause, false);
        let _ = self.tell_transfer(now, call, Input::Failed(party, why));
    }

    /// The one beside was there, and is gone.
    pub(super) fn beside_gone(&mut self, now: Now, call: &mut Call, by: EndedBy, cause: EndCause) {
        let recalled = call.handover.as_ref().is_some_and(|one| matches!(one.machine.state(), State::Recalling(_)));
        self.beside_over(now, call, by, cause, false);
        let party = if recalled { Party::From } else { Party::Target };
        let _ = self.tell_transfer(now, call, Input::Gone(party));
    }

    /// A browser beside is over, whether it rang or was there.
    pub(super) fn web_beside_gone(&mut self, now: Now, call: &mut Call, end: &WebEnd) {
        let up = call.handover.as_ref().and_then(|one| one.beside.as_ref()).is_some_and(|beside| beside.leg.is_up());
        if up { self.beside_gone(now, call, end.by, end.cause) } else { self.beside_failed(now, call, end.cause) }
    }

    /// No audio comes from the one beside.
    pub(super) fn beside_silent(&mut self, now: Now, call: &mut Call) {
        if let Some(line) = call.handover.as_ref().and_then(|one| one.beside.as_ref()).map(|beside| beside.leg.line) {
            self.hang_up_line(now, line);
            self.beside_gone(now, call, EndedBy::Ark, EndCause::MediaLost);
        }
    }

    /// The agent who transfers hung up, or is no longer there. Whether there is a transfer that goes on without them.
    pub(super) fn transferring_agent_gone(
        &mut self,
        now: Now,
        call: &mut Call,
        by: EndedBy,
        cause: EndCause,
        reason: Option<&str>,
    ) -> bool {
        if call.handover.is_none() {
            return false;
        }
        self.end_consult(now, call);
        if let Some(from) = call.other.take() {
            self.part(now, call, from, end_of(now, by, cause, reason));
        }
        let _ = self.tell_transfer(now, call, Input::Gone(Party::From));
        true
    }

    /// The customer has gone: everybody is let go.
    pub(super) fn customer_left_transfer(&mut self, now: Now, call: &mut Call) {
        let _ = self.tell_transfer(now, call, Input::Gone(Party::Customer));
    }

    /// The machine's time has come.
    pub(super) fn transfer_due(&mut self, now: Now, call: &mut Call) {
        if call.handover.as_ref().and_then(|handover| handover.deadline()).is_some_and(|at| at <= now.mono) {
            let _ = self.tell_transfer(now, call, Input::Tick);
        }
    }

    fn reoffer_beside(&mut self, now: Now, call: &mut Call, key: CallKey, sdp: Option<&[u8]>) {
        let Some(beside) = call.handover.as_mut().and_then(|handover| handover.beside.as_mut()) else { return };
        let (media, Some(negotiator)) = (beside.leg.media, beside.leg.sdp.as_mut()) else { return };
        let Some(offer) = sdp else {
            let body = negotiator.offer(Direction::SendRecv);
            return self.endpoint.answer_reoffer(now.mono, key, Ok(body));
        };
        match negotiator.answer(offer) {
            Ok((body, agreed)) => {
                beside.leg.agreed = Some(agreed.clone());
                self.endpoint.answer_reoffer(now.mono, key, Ok(body));
                self.tell_media(media, Command::Update { negotiated: agreed });
            }
            Err(error) => self.endpoint.answer_reoffer(now.mono, key, Err(error.sip_status())),
        }
    }

    // ---- queues: the only lines that know them

    /// Takes one operator out of the line's reach, for this call. None: they are not free.
    fn engage(&mut self, now: Now, call: &Call, uri: &str, word: Option<&Word>) -> Option<super::queue::OperatorId> {
        self.introduce(now, call);
        let from = call.other.as_ref().map(|other| format!("agent:{}", self.queues.agent_of(&other.to)));
        let asked = word.map(|word| Asked {
            by: word.by.clone().or(from).unwrap_or_default(),
            note: word.note.as_ref().map(|note| note.reveal().to_owned()),
            summary: word.summary.as_ref().map(|summary| summary.reveal().to_owned()),
            patience: TRANSFER_RING,
        });
        self.queues.engage_for(now.mono, uri, call.id, asked)
    }

    /// An agent says that they do not take the customer whom somebody hands them.
    pub(super) fn decline_beside(&mut self, now: Now, call: &mut Call, operator: super::queue::OperatorId) {
        let rings =
            |beside: &&Other| beside.leg.stage == Stage::Ringing && beside.purpose == Purpose::Operator(operator);
        let beside = call.handover.as_ref().and_then(|handover| handover.beside.as_ref());
        let Some(line) = beside.filter(rings).map(|beside| beside.leg.line) else { return };
        self.hang_up_line(now, line);
        self.beside_failed(now, call, EndCause::Rejected);
    }

    /// Puts the customer in the queue that the agent named; the agent is free.
    fn hand_to_queue(&mut self, now: Now, call: &mut Call, queue: &str) {
        self.end_hold(now, call);
        let from = call.other.as_ref().map(|other| other.to.clone()).unwrap_or_default();
        let request = call.other.as_ref().map_or(0, |other| other.request);
        let same = call.last_place.as_ref().filter(|place| *place.queue == *queue).cloned();
        self.let_other_go(now, call, EndedBy::Ark, EndCause::Hangup, None);
        let place = same.unwrap_or_else(|| LastPlace { queue: Arc::from(queue), since: now.mono, priority: 0 });
        let waits = self.wait_again(now, call, request, place);
        let (why, customer) = if waits {
            (TransferOutcome::Queued, TransferEnd::Queue)
        } else {
            (TransferOutcome::Failed, TransferEnd::Plan)
        };
        call.last_transfer = Some(TransferView {
            stage: None,
            target: queue.to_owned(),
            from,
            mode: TransferMode::Blind,
            why: Some(why),
            customer: Some(customer),
        });
        self.log_finished(now, call, (queue, None), (why, customer), now.mono);
    }

    /// Nobody is there any more: the customer waits where they waited before, else where the agent answers.
    fn back_to_queue(&mut self, now: Now, call: &mut Call) {
        let Some((request, from)) = call.handover.as_ref().map(|one| (one.request, one.from.clone())) else { return };
        let place = call.last_place.clone().or_else(|| {
            let of = |config: &&super::queue::QueueConfig| config.operators.contains(&from);
            let configs = self.queues.configs();
            let queue = configs.iter().find(of).or(configs.first())?;
            Some(LastPlace { queue: Arc::from(queue.name.as_str()), since: now.mono, priority: 0 })
        });
        match place {
            Some(place) => drop(self.wait_again(now, call, request, place)),
            None => call.heard.push_back(Heard::PersonLeft { id: request }),
        }
    }

    /// The customer waits in line with the place that they had. When they cannot, the plan has them.
    fn wait_again(&mut self, now: Now, call: &mut Call, request: u64, place: LastPlace) -> bool {
        let LastPlace { queue, since, priority } = place.clone();
        self.introduce(now, call);
        let joined = self.queues.join(since, &queue, call.id, priority);
        let Ok(at) = joined else {
            call.heard.push_back(Heard::PersonLeft { id: request });
            return false;
        };
        let anew = since == now.mono;
        call.last_place = Some(place);
        call.heard.push_back(Heard::WaitsAgain { id: request, anew });
        call.waiting = Some(Waiting { request, queue: Arc::clone(&queue), since, told: None, next_position: now.mono });
        let event = QueueJoined {
            leg: call.customer.number,
            queue: queue.to_string(),
            position: u32::try_from(at.position).unwrap_or(u32::MAX),
            priority: u8::try_from(priority.clamp(0, 255)).unwrap_or(0),
            needs: call.needed(),
        };
        self.log(now, call, event);
        self.tell_position(now, call);
        self.queues_changed = true;
        true
    }
}

/// The place in line that a customer had last.
#[derive(Clone, Debug)]
pub(super) struct LastPlace {
    pub(super) queue: Arc<str>,
    pub(super) since: Instant,
    pub(super) priority: i32,
}

fn end_of(now: Now, by: EndedBy, cause: EndCause, reason: Option<&str>) -> Ending {
    Ending { by, cause, sip_status: None, reason: reason.map(str::to_owned), at: now.mono }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

const fn mode(mode: Mode) -> TransferMode {
    match mode {
        Mode::Blind => TransferMode::Blind,
        Mode::Warm => TransferMode::Warm,
    }
}

const fn outcome(why: NotTaken) -> TransferOutcome {
    match why {
        NotTaken::Declined => TransferOutcome::Rejected,
        NotTaken::Busy => TransferOutcome::Busy,
        NotTaken::NoAnswer => TransferOutcome::NoAnswer,
        NotTaken::Unreachable => TransferOutcome::Failed,
        NotTaken::Vanished => TransferOutcome::Vanished,
        NotTaken::Cancelled => TransferOutcome::Cancelled,
        NotTaken::TooLong => TransferOutcome::TooLong,
    }
}
