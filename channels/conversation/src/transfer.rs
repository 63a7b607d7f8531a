//! The transfer machine: who hears whom while a customer goes from one person to another, and the way back from every failure.
//!
//! [`Transfer`] moves sound, [`crate::machine`] moves the conversation. They meet in three outputs: a blind transfer is a cold offer
//! (the queue owns the conversation at once, so there is always somebody), a warm one a warm offer that is accepted when the
//! transfer is completed ([`Output::Owner`]); [`Output::ToQueue`] is the release to the queue, with the place kept.
//!
//! | | who talks | customer hears | ends by |
//! |---|---|---|---|
//! | [`State::Ringing`] | nobody | music | the target's answer, or `ring` |
//! | [`State::Consulting`] | the agent and the target | music | the agent, or `consult` |
//! | [`State::ThreeWay`] | all three | both | the agent |
//! | [`State::Recalling`] | nobody | music | the first agent's answer, or `ring` |
//!
//! What holds always, checked for every order of inputs: until it is over, the customer talks to a person, or hears music while
//! something with a deadline goes on; when it is over, the customer is with a person, in the queue, or has gone; nobody is let go
//! twice, and nobody is left in the air.

use jiff::{SignedDuration, Timestamp};

/// Somebody in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The customer.
    Customer,
    /// The agent who transfers.
    From,
    /// The one to whom: an agent, whoever of a group is first, an outside number.
    Target,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The agent is free at once; when nobody answers they are called back.
    Blind,
    /// The agent speaks with the target first.
    Warm,
}

/// Deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long the target rings, and the agent when called back.
    pub ring: SignedDuration,
    /// How long a customer hears music while two agents talk.
    pub consult: SignedDuration,
}

impl Default for Times {
    fn default() -> Self {
        Self { ring: SignedDuration::from_secs(30), consult: SignedDuration::from_secs(300) }
    }
}

/// Why the target did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotTaken {
    /// They said no.
    Declined,
    /// Busy.
    Busy,
    /// Nobody answered in time.
    NoAnswer,
    /// Not to be reached.
    Unreachable,
    /// They were there and went.
    Vanished,
    /// The agent took the customer back.
    Cancelled,
    /// The two talked for too long.
    TooLong,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Who rings has answered: the target, or the agent who is called back.
    Answered(Party),
    /// Who rings will not answer.
    Failed(Party, NotTaken),
    /// The agent brings the customer in: all three talk.
    Join,
    /// The agent hands over and leaves.
    Complete,
    /// The agent takes the customer back.
    Cancel,
    /// Somebody hung up, or is no longer there: a browser, a gateway.
    Gone(Party),
    /// [`Transfer::deadline`] has come.
    Tick,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ring them.
    Ring(Party),
    /// Ring them no longer.
    StopRinging(Party),
    /// These two hear each other; whoever else was with them does not.
    Connect(Party, Party),
    /// All three hear each other.
    ConnectAll,
    /// The customer hears music until they are connected.
    Music,
    /// Their part is over: an agent is free, an outside number is hung up.
    LetGo(Party),
    /// The conversation is theirs.
    Owner(Party),
    /// The customer waits in the queue, with music and the place that they had.
    ToQueue,
    /// It is over.
    Ended(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The target has the customer.
    Transferred,
    /// The agent has the customer again, and why.
    Returned(NotTaken),
    /// Nobody was there any more: the customer is in the queue, and why.
    Queued(NotTaken),
    /// The customer has gone.
    CustomerLeft,
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The target rings. `from`: the agent waits, too.
    Ringing {
        /// Whether the agent is still there.
        from: bool,
    },
    /// The agent and the target talk.
    Consulting,
    /// All three talk.
    ThreeWay,
    /// The agent is called back, because the target did not take it.
    Recalling(NotTaken),
    /// It is over.
    Over(Outcome),
}

/// Why an input changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is over.
    #[error("the transfer is over")]
    Over,
    /// Not at this moment: nobody is there who could be joined, completed or cancelled.
    #[error("not at this moment")]
    NotNow,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    mode: Mode,
    times: Times,
    state: State,
    deadline: Option<Timestamp>,
}

impl Transfer {
    /// Begins one: the customer, who talked to the agent, hears music, the target rings.
    #[must_use]
    pub fn begin(now: Timestamp, mode: Mode, times: Times) -> (Self, Vec<Output>) {
        let deadline = now.saturating_add(times.ring).ok();
        let from = mode == Mode::Warm;
        let mut out = vec![Output::Music, Output::Ring(Party::Target)];
        if !from {
            out.push(Output::LetGo(Party::From));
        }
        (Self { mode, times, state: State::Ringing { from }, deadline }, out)
    }

    /// How it goes about it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Takes an input in; what is to be done then.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed. What comes twice or late from a leg is no error: it does nothing.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<Vec<Output>, Refused> {
        let asks = matches!(input, Input::Join | Input::Complete | Input::Cancel);
        match (self.state, input) {
            (State::Over(_), _) if asks => Err(Refused::Over),
            (State::Over(_), _) => Ok(Vec::new()),
            (_, Input::Tick) if self.deadline.is_none_or(|at| at > now) => Ok(Vec::new()),
            (state, Input::Gone(Party::Customer)) => Ok(self.customer_left(state)),
            (State::Ringing { from }, input) => self.ringing(now, from, input),
            (State::Consulting, input) => Ok(self.consulting(input)),
            (State::ThreeWay, input) => self.three_way(input),
            (State::Recalling(why), input) => self.recalling(why, input),
        }
    }

    fn ringing(&mut self, now: Timestamp, from: bool, input: Input) -> Result<Vec<Output>, Refused> {
        use Party::{Customer, From, Target};
        let mut out = Vec::new();
        match input {
            Input::Answered(Target) if from => {
                out.push(Output::Connect(From, Target));
                self.go(State::Consulting, now.saturating_add(self.times.consult).ok());
            }
            Input::Answered(Target) => {
                out.extend([Output::Connect(Customer, Target), Output::Owner(Target)]);
                self.end(Outcome::Transferred, &mut out);
            }
            Input::Failed(Target, why) => self.not_taken(now, from, why, &mut out),
            Input::Gone(Target) => self.not_taken(now, from, NotTaken::Vanished, &mut out),
            Input::Tick => {
                out.push(Output::StopRinging(Target));
                self.not_taken(now, from, NotTaken::NoAnswer, &mut out);
            }
            Input::Cancel if from => {
                out.push(Output::StopRinging(Target));
                self.not_taken(now, from, NotTaken::Cancelled, &mut out);
            }
            // Not waiting for the answer: from here on it is a blind one.
            Input::Complete if from => {
                out.push(Output::LetGo(From));
                self.go(State::Ringing { from: false }, self.deadline);
            }
            Input::Gone(From) if from => self.go(State::Ringing { from: false }, self.deadline),
            Input::Join | Input::Complete | Input::Cancel => return Err(Refused::NotNow),
            Input::Answered(_) | Input::Failed(..) | Input::Gone(_) => {}
        }
        Ok(out)
    }

    /// The target did not take it: back to the agent who waits, or who is called back, or to the queue.
    fn not_taken(&mut self, now: Timestamp, from: bool, why: NotTaken, out: &mut Vec<Output>) {
        match (from, self.mode) {
            (true, _) => {
                out.push(Output::Connect(Party::Customer, Party::From));
                self.end(Outcome::Returned(why), out);
            }
            (false, Mode::Blind) => {
                out.push(Output::Ring(Party::From));
                self.go(State::Recalling(why), now.saturating_add(self.times.ring).ok());
            }
            // The agent of a warm one has gone meanwhile, or did not want to wait.
            (false, Mode::Warm) => self.give_to_queue(why, out),
        }
    }

    fn consulting(&mut self, input: Input) -> Vec<Output> {
        use Party::{Customer, From, Target};
        let mut out = Vec::new();
        match input {
            Input::Join => {
                out.push(Output::ConnectAll);
                self.go(State::ThreeWay, None);
            }
            // Who was told is who has them: also when the agent vanishes while telling.
            Input::Complete => self.hand_over(true, &mut out),
            Input::Gone(From) => self.hand_over(false, &mut out),
            Input::Cancel | Input::Tick => {
                let why = if input == Input::Cancel { NotTaken::Cancelled } else { NotTaken::TooLong };
                out.extend([Output::Connect(Customer, From), Output::LetGo(Target)]);
                self.end(Outcome::Returned(why), &mut out);
            }
            Input::Gone(Target) => {
                out.push(Output::Connect(Customer, From));
                self.end(Outcome::Returned(NotTaken::Vanished), &mut out);
            }
            Input::Answered(_) | Input::Failed(..) | Input::Gone(Customer) => {}
        }
        out
    }

    fn three_way(&mut self, input: Input) -> Result<Vec<Output>, Refused> {
        use Party::{Customer, From, Target};
        let mut out = Vec::new();
        match input {
            Input::Complete => self.hand_over(true, &mut out),
            Input::Gone(From) => self.hand_over(false, &mut out),
            Input::Cancel => {
                out.extend([Output::Connect(Customer, From), Output::LetGo(Target)]);
                self.end(Outcome::Returned(NotTaken::Cancelled), &mut out);
            }
            Input::Gone(Target) => {
                out.push(Output::Connect(Customer, From));
                self.end(Outcome::Returned(NotTaken::Vanished), &mut out);
            }
            Input::Join => return Err(Refused::NotNow),
            Input::Answered(_) | Input::Failed(..) | Input::Gone(Customer) | Input::Tick => {}
        }
        Ok(out)
    }

    fn recalling(&mut self, why: NotTaken, input: Input) -> Result<Vec<Output>, Refused> {
        let mut out = Vec::new();
        match input {
            Input::Answered(Party::From) => {
                out.extend([Output::Connect(Party::Customer, Party::From), Output::Owner(Party::From)]);
                self.end(Outcome::Returned(why), &mut out);
            }
            Input::Failed(Party::From, _) | Input::Gone(Party::From) => self.give_to_queue(why, &mut out),
            Input::Tick => {
                out.push(Output::StopRinging(Party::From));
                self.give_to_queue(why, &mut out);
            }
            Input::Join | Input::Complete | Input::Cancel => return Err(Refused::NotNow),
            Input::Answered(_) | Input::Failed(..) | Input::Gone(_) => {}
        }
        Ok(out)
    }

    /// The target has the customer; the agent leaves, or has left.
    fn hand_over(&mut self, from_is_there: bool, out: &mut Vec<Output>) {
        out.extend([Output::Connect(Party::Customer, Party::Target), Output::Owner(Party::Target)]);
        if from_is_there {
            out.push(Output::LetGo(Party::From));
        }
        self.end(Outcome::Transferred, out);
    }

    fn give_to_queue(&mut self, why: NotTaken, out: &mut Vec<Output>) {
        out.push(Output::ToQueue);
        self.end(Outcome::Queued(why), out);
    }

    /// The customer went: whoever rings stops, whoever is there is free.
    fn customer_left(&mut self, state: State) -> Vec<Output> {
        let mut out = match state {
            State::Ringing { from: true } => vec![Output::StopRinging(Party::Target), Output::LetGo(Party::From)],
            State::Ringing { from: false } => vec![Output::StopRinging(Party::Target)],
            State::Consulting | State::ThreeWay => vec![Output::LetGo(Party::Target), Output::LetGo(Party::From)],
            State::Recalling(_) => vec![Output::StopRinging(Party::From)],
            State::Over(_) => Vec::new(),
        };
        self.end(Outcome::CustomerLeft, &mut out);
        out
    }

    fn go(&mut self, state: State, deadline: Option<Timestamp>) {
        (self.state, self.deadline) = (state, deadline);
    }

    fn end(&mut self, outcome: Outcome, out: &mut Vec<Output>) {
        self.go(State::Over(outcome), None);
        out.push(Output::Ended(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    /// The world as the outputs make it.
    #[derive(Clone, Debug)]
    struct World {
        machine: Transfer,
        now: Timestamp,
        /// With whom the customer talks.
        talks: Vec<Party>,
        music: bool,
        queued: bool,
        ringing: Vec<Party>,
        /// Whose part is over, by us or by themselves.
        gone: Vec<Party>,
        owner: Option<Party>,
        ended: u32,
    }

    impl World {
        fn begin(mode: Mode) -> Self {
            let (machine, out) = Transfer::begin(at(0), mode, Times::default());
            let mut world = Self {
                machine,
                now: at(0),
                talks: vec![Party::From],
                music: false,
                queued: false,
                ringing: Vec::new(),
                gone: Vec::new(),
                owner: None,
                ended: 0,
            };
            world.apply(&out);
            world
        }

        fn apply(&mut self, out: &[Output]) {
            for one in out {
                match *one {
                    Output::Ring(party) => {
                        self.gone.retain(|gone| *gone != party);
                        self.ringing.push(party);
                    }
                    Output::StopRinging(party) => {
                        assert!(self.ringing.contains(&party), "{party:?} does not ring");
                        self.ringing.retain(|ringing| *ringing != party);
                        self.gone.push(party);
                    }
                    Output::Connect(a, b) => {
                        for party in [a, b] {
                            assert!(
                                !self.gone.contains(&party) && !self.ringing.contains(&party),
                                "{party:?} is not there"
                            );
                        }
                        if a == Party::Customer {
                            (self.talks, self.music) = (vec![b], false);
                        }
                    }
                    Output::ConnectAll => (self.talks, self.music) = (vec![Party::From, Party::Target], false),
                    Output::Music => (self.talks, self.music) = (Vec::new(), true),
                    Output::LetGo(party) => {
                        assert!(!self.gone.contains(&party), "{party:?} is let go twice");
                        self.talks.retain(|talks| *talks != party);
                        self.gone.push(party);
                    }
                    Output::Owner(party) => self.owner = Some(party),
                    Output::ToQueue => self.queued = true,
                    Output::Ended(_) => self.ended += 1,
                }
            }
        }

        fn does(&mut self, input: Input) -> bool {
            // A leg says only what it can.
            match input {
                Input::Answered(party) | Input::Failed(party, _) if !self.ringing.contains(&party) => return false,
                Input::Gone(party) if self.gone.contains(&party) => return false,
                Input::Tick => match self.machine.deadline() {
                    Some(due) => self.now = self.now.max(due),
                    None => return false,
                },
                _ => {}
            }
            let before = self.machine.clone();
            match input {
                Input::Answered(party) => self.ringing.retain(|ringing| *ringing != party),
                Input::Failed(party, _) | Input::Gone(party) => {
                    self.ringing.retain(|ringing| *ringing != party);
                    self.talks.retain(|talks| *talks != party);
                    self.gone.push(party);
                }
                _ => {}
            }
            match self.machine.handle(self.now, input) {
                Ok(out) => self.apply(&out),
                Err(_) => assert_eq!(before, self.machine, "a refusal changes nothing"),
            }
            true
        }

        /// What must hold after every input.
        fn check(&self, story: &[Input]) {
            let customer = !self.gone.contains(&Party::Customer);
            if let State::Over(outcome) = self.machine.state() {
                assert_eq!(self.ended, 1, "{story:?}");
                assert!(self.machine.deadline().is_none() && self.ringing.is_empty(), "{story:?}: {self:?}");
                let where_now = match outcome {
                    Outcome::Transferred => self.owner == Some(Party::Target),
                    Outcome::Returned(_) => self.owner != Some(Party::Target),
                    Outcome::Queued(_) => self.queued && self.music,
                    Outcome::CustomerLeft => !customer,
                };
                assert!(where_now, "{story:?}: {self:?}");
            } else {
                assert_eq!((self.ended, customer), (0, true), "{story:?}");
                let with_somebody = !self.talks.is_empty();
                assert!(with_somebody != self.music, "{story:?}: a person or music: {self:?}");
                assert!(with_somebody || self.machine.deadline().is_some(), "{story:?}: music for ever: {self:?}");
            }
        }
    }

    const ALL: [Input; 14] = [
        Input::Answered(Party::Target),
        Input::Answered(Party::From),
        Input::Failed(Party::Target, NotTaken::Declined),
        Input::Failed(Party::Target, NotTaken::Busy),
        Input::Failed(Party::From, NotTaken::NoAnswer),
        Input::Join,
        Input::Complete,
        Input::Cancel,
        Input::Gone(Party::Customer),
        Input::Gone(Party::From),
        Input::Gone(Party::Target),
        Input::Tick,
        Input::Answered(Party::Customer),
        Input::Failed(Party::Customer, NotTaken::Unreachable),
    ];

    /// Every order of everything that can happen, until it is over.
    fn explore(world: &World, story: &mut Vec<Input>, outcomes: &mut std::collections::BTreeSet<Outcome>) -> usize {
        world.check(story);
        let mut stories = 1;
        if story.len() > 8 {
            return stories;
        }
        if let State::Over(outcome) = world.machine.state() {
            outcomes.insert(outcome);
            // What comes late does nothing.
            for input in ALL {
                let mut late = world.machine.clone();
                assert!(
                    late.handle(world.now, input).is_ok_and(|out| out.is_empty()) || late == world.machine,
                    "{story:?}"
                );
            }
            return stories;
        }
        for input in ALL {
            let mut next = world.clone();
            let before = (next.machine.clone(), next.gone.clone(), next.ringing.clone());
            story.push(input);
            if next.does(input) && before != (next.machine.clone(), next.gone.clone(), next.ringing.clone()) {
                stories += explore(&next, story, outcomes);
            }
            story.pop();
        }
        stories
    }

    #[test]
    fn whatever_happens_in_whatever_order_the_customer_is_with_a_person_or_on_the_way_to_one() {
        let mut outcomes = std::collections::BTreeSet::new();
        let mut stories = 0;
        for mode in [Mode::Blind, Mode::Warm] {
            stories += explore(&World::begin(mode), &mut Vec::new(), &mut outcomes);
        }
        assert!(stories > 50, "{stories} stories");
        for why in [NotTaken::Declined, NotTaken::Busy, NotTaken::NoAnswer, NotTaken::Vanished] {
            assert!(outcomes.contains(&Outcome::Returned(why)) && outcomes.contains(&Outcome::Queued(why)), "{why:?}");
        }
        for outcome in [Outcome::Transferred, Outcome::CustomerLeft, Outcome::Returned(NotTaken::TooLong)] {
            assert!(outcomes.contains(&outcome), "{outcome:?}");
        }
    }

    fn story(mode: Mode, inputs: &[Input]) -> World {
        let mut world = World::begin(mode);
        for input in inputs {
            assert!(world.does(*input), "{input:?} cannot be in {:?}", world.machine.state());
            world.check(inputs);
        }
        world
    }

    #[test]
    fn a_warm_transfer_is_told_joined_and_completed() {
        let world = story(Mode::Warm, &[Input::Answered(Party::Target), Input::Join, Input::Complete]);
        assert_eq!(world.machine.state(), State::Over(Outcome::Transferred));
        assert_eq!((world.talks, world.owner, world.music), (vec![Party::Target], Some(Party::Target), false));
        let world = story(Mode::Warm, &[Input::Answered(Party::Target)]);
        assert!(world.music, "the customer hears music while the agents talk");
    }

    #[test]
    fn every_failure_has_its_way_back() {
        use Party::{From, Target};
        let declined = Input::Failed(Target, NotTaken::Declined);
        for (mode, inputs, wanted) in [
            (Mode::Warm, &[declined][..], Outcome::Returned(NotTaken::Declined)),
            (Mode::Warm, &[Input::Tick], Outcome::Returned(NotTaken::NoAnswer)),
            (Mode::Warm, &[Input::Answered(Target), Input::Tick], Outcome::Returned(NotTaken::TooLong)),
            (Mode::Warm, &[Input::Answered(Target), Input::Gone(Target)], Outcome::Returned(NotTaken::Vanished)),
            (Mode::Warm, &[Input::Answered(Target), Input::Gone(From)], Outcome::Transferred),
            (Mode::Warm, &[Input::Gone(From), Input::Answered(Target)], Outcome::Transferred),
            (Mode::Warm, &[Input::Gone(From), declined], Outcome::Queued(NotTaken::Declined)),
            (Mode::Blind, &[Input::Answered(Target)], Outcome::Transferred),
            (Mode::Blind, &[declined, Input::Answered(From)], Outcome::Returned(NotTaken::Declined)),
            (Mode::Blind, &[Input::Tick, Input::Tick], Outcome::Queued(NotTaken::NoAnswer)),
            (Mode::Blind, &[Input::Gone(Party::Customer)], Outcome::CustomerLeft),
        ] {
            assert_eq!(story(mode, inputs).machine.state(), State::Over(wanted), "{mode:?} {inputs:?}");
        }
    }
}
