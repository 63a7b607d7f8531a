//! The four transaction machines of RFC 3261 17, with the Accepted states of RFC 6026.
//!
//! Each machine is a table: one function per state, one line per input. A [`Transaction`] walks the table and keeps
//! the two timers that any state can need (one that retransmits, one that ends the state). It knows neither messages
//! nor sockets: its owner feeds it [`Input`]s and obeys the [`Action`]s it returns.

pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod matching;
pub mod server;
pub mod timers;

use std::time::{Duration, Instant};

/// The round-trip estimates of RFC 3261 17.1.1.1 from which every transaction timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerConfig {
    /// Round-trip time estimate; the first retransmission waits this long. RFC 3261 default: 500 ms.
    pub t1: Duration,
    /// The longest interval between retransmissions of non-INVITE requests and of final responses. Default: 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network. Default: 5 s.
    pub t4: Duration,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl TimerConfig {
    /// 64 * T1: how long either side keeps trying (timers B, F, H, J, L, M; 32 s by default).
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }

    /// How long `timer` runs when it is started anew, RFC 3261 table 4 and RFC 6026 8.4; `None` for a timer that does
    /// not run on this kind of transport.
    fn first(&self, timer: Timer, reliable: bool) -> Option<Duration> {
        match timer {
            Timer::A | Timer::E | Timer::G if reliable => None,
            Timer::A | Timer::E | Timer::G => Some(self.t1),
            Timer::D | Timer::I | Timer::J | Timer::K if reliable => Some(Duration::ZERO),
            // RFC 3261 17.1.1.2: at least 32 s, because timer H of the other side may have another T1.
            Timer::D => Some(self.patience().max(Duration::from_secs(32))),
            Timer::I | Timer::K => Some(self.t4),
            Timer::B | Timer::F | Timer::H | Timer::J | Timer::L | Timer::M => Some(self.patience()),
        }
    }

    /// The interval after `last` for a timer that retransmits.
    fn again(&self, timer: Timer, state: State, last: Duration) -> Duration {
        match timer {
            Timer::A => last * 2,                              // RFC 3261 17.1.1.2
            Timer::E if state == State::Proceeding => self.t2, // RFC 3261 17.1.2.2
            _ => (last * 2).min(self.t2),
        }
    }
}

/// The timers of RFC 3261 table 4 and of RFC 6026 (L and M). C belongs to proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// INVITE request retransmission (unreliable transports).
    A,
    /// INVITE transaction timeout.
    B,
    /// Wait time for response retransmissions after a failure.
    D,
    /// Non-INVITE request retransmission (unreliable transports).
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmission (unreliable transports).
    G,
    /// Wait time for the ACK.
    H,
    /// Wait time for ACK retransmissions.
    I,
    /// Wait time for non-INVITE request retransmissions.
    J,
    /// Wait time for non-INVITE response retransmissions.
    K,
    /// Wait time for retransmissions of an accepted INVITE (RFC 6026).
    L,
    /// Wait time for retransmitted and forked 2xx (RFC 6026).
    M,
}

impl Timer {
    fn retransmits(self) -> bool {
        matches!(self, Self::A | Self::E | Self::G)
    }
}

/// Which of the four machines a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// RFC 3261 17.1.1, RFC 6026 7.2.
    InviteClient,
    /// RFC 3261 17.1.2.
    Client,
    /// RFC 3261 17.2.1, RFC 6026 7.1.
    InviteServer,
    /// RFC 3261 17.2.2.
    Server,
}

/// The states of all four machines; which of them a machine has is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The INVITE was sent, nothing came back.
    Calling,
    /// A non-INVITE request was sent or received, no response yet.
    Trying,
    /// A provisional response was sent or received (an INVITE server begins here).
    Proceeding,
    /// A final response was sent or received (for INVITE: a failure).
    Completed,
    /// An INVITE got its 2xx (RFC 6026).
    Accepted,
    /// The ACK for a failure came.
    Confirmed,
    /// Nothing more will happen; the owner forgets the transaction.
    Terminated,
}

/// What can happen to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Servers: the request came again.
    Request,
    /// INVITE servers: an ACK that matches this transaction.
    Ack,
    /// A 1xx: received (client) or to be sent (server).
    Provisional,
    /// A 2xx: received or to be sent.
    Success,
    /// A 3xx to 6xx: received or to be sent.
    Failure,
    /// A timer that this transaction started has run out.
    Fired(Timer),
    /// The transport could not deliver what was sent.
    TransportError,
}

/// What the owner of a transaction has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the message that came with the input and keep it for retransmission.
    Send,
    /// Send the kept message again.
    Resend,
    /// Build and send the ACK for the failure response that came with the input (RFC 3261 17.1.1.3).
    SendAck,
    /// Hand the message that came with the input to the transaction user.
    PassUp,
    /// Tell the transaction user that the time is over.
    TimedOut,
    /// Tell the transaction user that the transport failed.
    TransportFailed,
    /// (Obeyed by [`Transaction`] itself.) Start or restart this timer.
    Start(Timer),
    /// (Obeyed by [`Transaction`] itself.) Stop this timer.
    Stop(Timer),
}

/// One line of a table: the state to go to and what to do on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state after the input.
    pub next: State,
    /// What to do, in order.
    pub actions: &'static [Action],
}

pub(crate) const fn go(next: State, actions: &'static [Action]) -> Step {
    Step { next, actions }
}

/// One transaction: where it stands in its table, and its timers.
#[derive(Clone, Debug)]
pub struct Transaction {
    machine: Machine,
    state: State,
    reliable: bool,
    interval: Duration,
    retransmit: Option<(Timer, Instant)>,
    end: Option<(Timer, Instant)>,
}

impl Transaction {
    /// A server transaction for a request that just came; `reliable` says whether the transport retransmits by itself.
    pub fn server(machine: Machine, reliable: bool) -> Self {
        let state = if machine == Machine::InviteServer { State::Proceeding } else { State::Trying };
        Self { machine, state, reliable, interval: Duration::ZERO, retransmit: None, end: None }
    }

    /// A client transaction whose request is sent now: its timers run (A and B, or E and F).
    pub fn client(machine: Machine, reliable: bool, now: Instant, config: &TimerConfig) -> Self {
        let (state, actions): (_, &'static [Action]) = match machine {
            Machine::InviteClient => (State::Calling, invite_client::START),
            _ => (State::Trying, client::START),
        };
        let mut made = Self { machine, state, reliable, interval: Duration::ZERO, retransmit: None, end: None };
        made.obey(now, config, actions);
        made
    }

    /// Which table it walks.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether its transport is reliable.
    pub fn reliable(&self) -> bool {
        self.reliable
    }

    /// When [`Self::due`] will next have something.
    pub fn deadline(&self) -> Option<Instant> {
        match (self.retransmit, self.end) {
            (Some((_, a)), Some((_, b))) => Some(a.min(b)),
            (Some((_, a)), None) | (None, Some((_, a))) => Some(a),
            (None, None) => None,
        }
    }

    /// Ends an INVITE client transaction that was answered provisionally when no final response comes until `at`,
    /// unless it has an end already. RFC 3261 gives Proceeding no timer; whoever cannot wait for ever sets one.
    pub fn limit(&mut self, at: Instant) {
        if self.state == State::Proceeding && self.end.is_none() {
            self.end = Some((Timer::B, at));
        }
    }

    /// A timer that has run out at `now`, if any; feed it back as [`Input::Fired`]. The one that ends goes first.
    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        if let Some((timer, _)) = self.end.take_if(|(_, at)| *at <= now) {
            return Some(timer);
        }
        self.retransmit.take_if(|(_, at)| *at <= now).map(|(timer, _)| timer)
    }

    /// One input: moves along the table, starts and stops its own timers, and returns what the owner has to do.
    pub fn handle(&mut self, now: Instant, config: &TimerConfig, input: Input) -> &'static [Action] {
        let step = match self.machine {
            Machine::InviteClient => invite_client::step(self.state, input),
            Machine::Client => client::step(self.state, input),
            Machine::InviteServer => invite_server::step(self.state, input),
            Machine::Server => server::step(self.state, input),
        };
        self.state = step.next;
        self.obey(now, config, step.actions);
        if self.state == State::Terminated {
            (self.retransmit, self.end) = (None, None);
        }
        step.actions
    }

    fn obey(&mut self, now: Instant, config: &TimerConfig, actions: &'static [Action]) {
        for action in actions {
            match *action {
                Action::Start(timer) => self.start(now, config, timer),
                Action::Stop(timer) if timer.retransmits() => self.retransmit = None,
                Action::Stop(_) => self.end = None,
                _ => {}
            }
        }
    }

    fn start(&mut self, now: Instant, config: &TimerConfig, timer: Timer) {
        let Some(first) = config.first(timer, self.reliable) else { return };
        if timer.retransmits() {
            let zero = self.interval.is_zero();
            self.interval = if zero { first } else { config.again(timer, self.state, self.interval) };
            self.retransmit = Some((timer, now + self.interval));
        } else if first.is_zero() {
            self.state = State::Terminated; // a timer of zero seconds fires at once
        } else {
            self.end = Some((timer, now + first));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn fires(transaction: &mut Transaction, start: Instant, until: Duration) -> Vec<(u128, Timer)> {
        let config = TimerConfig::default();
        let mut fired = Vec::new();
        while let Some(at) = transaction.deadline().filter(|at| *at <= start + until) {
            while let Some(timer) = transaction.due(at) {
                fired.push(((at - start).as_millis(), timer));
                transaction.handle(at, &config, Input::Fired(timer));
            }
        }
        fired
    }

    #[test]
    fn timer_a_doubles_until_timer_b_ends_the_call_attempt_after_64_t1() {
        let start = Instant::now();
        let mut tx = Transaction::client(Machine::InviteClient, false, start, &TimerConfig::default());
        let fired = fires(&mut tx, start, Duration::from_secs(60));
        let times: Vec<_> = fired.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 32_000]);
        assert_eq!(fired.last().unwrap().1, Timer::B);
        assert_eq!(tx.state(), State::Terminated);
    }

    #[test]
    fn timer_e_doubles_to_t2_and_stays_at_t2_once_a_provisional_came() {
        let start = Instant::now();
        let config = TimerConfig::default();
        let mut tx = Transaction::client(Machine::Client, false, start, &config);
        let times: Vec<_> = fires(&mut tx, start, Duration::from_secs(60)).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000]);

        let mut tx = Transaction::client(Machine::Client, false, start, &config);
        tx.handle(start, &config, Input::Provisional);
        let times: Vec<_> = fires(&mut tx, start, Duration::from_secs(9)).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [500, 4_500, 8_500]);
    }

    #[test]
    fn timer_g_retransmits_a_failure_until_the_ack_and_timer_i_ends_it_after_t4() {
        let start = Instant::now();
        let config = TimerConfig::default();
        let mut tx = Transaction::server(Machine::InviteServer, false);
        assert_eq!(tx.deadline(), None, "an unanswered INVITE has no timer");
        tx.handle(start, &config, Input::Failure);
        let times: Vec<_> = fires(&mut tx, start, Duration::from_secs(8)).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500]);
        let acked = start + Duration::from_secs(9);
        tx.handle(acked, &config, Input::Ack);
        assert_eq!((tx.state(), tx.deadline()), (State::Confirmed, Some(acked + config.t4)));
        assert_eq!(fires(&mut tx, start, Duration::from_secs(60)), [(14_000, Timer::I)]);
        assert_eq!(tx.state(), State::Terminated);
    }

    #[test]
    fn timer_h_gives_up_waiting_for_the_ack_after_64_t1() {
        let start = Instant::now();
        let config = TimerConfig::default();
        let mut tx = Transaction::server(Machine::InviteServer, true);
        tx.handle(start, &config, Input::Failure);
        assert_eq!(fires(&mut tx, start, Duration::from_secs(60)), [(32_000, Timer::H)], "no timer G on TCP");
    }

    #[test]
    fn reliable_transports_skip_the_retransmissions_and_the_waiting_for_them() {
        let start = Instant::now();
        let config = TimerConfig::default();
        let mut tx = Transaction::client(Machine::InviteClient, true, start, &config);
        assert_eq!(tx.deadline(), Some(start + config.patience()), "timer B alone");
        tx.handle(start, &config, Input::Failure);
        assert_eq!(tx.state(), State::Terminated, "timer D is zero");

        let mut tx = Transaction::client(Machine::Client, true, start, &config);
        tx.handle(start, &config, Input::Success);
        assert_eq!(tx.state(), State::Terminated, "timer K is zero");

        let mut tx = Transaction::server(Machine::Server, true);
        tx.handle(start, &config, Input::Success);
        assert_eq!(tx.state(), State::Terminated, "timer J is zero");

        let mut tx = Transaction::server(Machine::InviteServer, true);
        tx.handle(start, &config, Input::Failure);
        tx.handle(start, &config, Input::Ack);
        assert_eq!(tx.state(), State::Terminated, "timer I is zero");
    }

    #[test]
    fn timers_d_j_k_l_and_m_hold_the_transaction_for_the_time_the_rfc_gives() {
        let start = Instant::now();
        let config = TimerConfig::default();
        let ends = |mut tx: Transaction, input| {
            tx.handle(start, &config, input);
            tx.deadline().map(|at| (at - start).as_secs())
        };
        let client = |machine| Transaction::client(machine, false, start, &config);
        assert_eq!(ends(client(Machine::InviteClient), Input::Failure), Some(32), "D");
        assert_eq!(ends(client(Machine::InviteClient), Input::Success), Some(32), "M");
        assert_eq!(ends(client(Machine::Client), Input::Failure), Some(5), "K");
        assert_eq!(ends(Transaction::server(Machine::Server, false), Input::Success), Some(32), "J");
        assert_eq!(ends(Transaction::server(Machine::InviteServer, false), Input::Success), Some(32), "L");
    }

    #[test]
    fn no_machine_leaves_terminated_and_none_gets_stuck_without_a_timer_after_a_final() {
        let now = Instant::now();
        let config = TimerConfig::default();
        let timers = [
            Timer::A,
            Timer::B,
            Timer::D,
            Timer::E,
            Timer::F,
            Timer::G,
            Timer::H,
            Timer::I,
            Timer::J,
            Timer::K,
            Timer::L,
            Timer::M,
        ];
        let mut inputs =
            vec![Input::Request, Input::Ack, Input::Provisional, Input::Success, Input::Failure, Input::TransportError];
        inputs.extend(timers.map(Input::Fired));
        for machine in [Machine::InviteClient, Machine::Client, Machine::InviteServer, Machine::Server] {
            for first in &inputs {
                for second in &inputs {
                    let mut tx = match machine {
                        Machine::InviteClient | Machine::Client => Transaction::client(machine, false, now, &config),
                        _ => Transaction::server(machine, false),
                    };
                    tx.handle(now, &config, *first);
                    tx.handle(now, &config, *second);
                    let waits = matches!(tx.state(), State::Completed | State::Accepted | State::Confirmed);
                    assert!(!waits || tx.deadline().is_some(), "{machine:?} {first:?} {second:?}");
                    tx.handle(now, &config, Input::Fired(Timer::B));
                    if tx.state() == State::Terminated {
                        assert_eq!(tx.handle(now, &config, Input::Success), &[]);
                        assert_eq!((tx.state(), tx.deadline()), (State::Terminated, None));
                    }
                }
            }
        }
    }
}
