//! The INVITE client transaction: RFC 3261 17.1.1, with the Accepted state of RFC 6026 7.2.

use super::{Action, Input, State, Step, Timer, go};
use Action::{PassUp, Resend, Send, SendAck, Start, Stop, TimedOut, TransportFailed};
use State::{Accepted, Calling, Completed, Proceeding, Terminated};

/// What happens when the INVITE is sent (RFC 3261 17.1.1.2).
pub const START: &[Action] = &[Send, Start(Timer::A), Start(Timer::B)];

/// The table: one function per state.
pub fn step(state: State, input: Input) -> Step {
    match state {
        Calling => calling(input),
        Proceeding => proceeding(input),
        Completed => completed(input),
        Accepted => accepted(input),
        _ => go(Terminated, &[]),
    }
}

/// RFC 3261 17.1.1.2, figure 5; RFC 6026 8.4 for the 2xx.
fn calling(input: Input) -> Step {
    match input {
        Input::Fired(Timer::A) => go(Calling, &[Resend, Start(Timer::A)]),
        Input::Fired(Timer::B) => go(Terminated, &[TimedOut]),
        Input::TransportError => go(Terminated, &[TransportFailed]),
        Input::Provisional => go(Proceeding, &[Stop(Timer::A), Stop(Timer::B), PassUp]),
        Input::Success => go(Accepted, &[Stop(Timer::A), Start(Timer::M), PassUp]),
        Input::Failure => go(Completed, &[Stop(Timer::A), Start(Timer::D), SendAck, PassUp]),
        _ => go(Calling, &[]),
    }
}

/// RFC 3261 17.1.1.2. A transport error cannot end it: the response may come over another connection.
fn proceeding(input: Input) -> Step {
    match input {
        Input::Provisional => go(Proceeding, &[PassUp]),
        Input::Success => go(Accepted, &[Start(Timer::M), PassUp]),
        Input::Failure => go(Completed, &[Start(Timer::D), SendAck, PassUp]),
        Input::Fired(Timer::B) => go(Terminated, &[TimedOut]), // only where a limit was set
        _ => go(Proceeding, &[]),
    }
}

/// RFC 3261 17.1.1.2: every retransmission of the failure is acknowledged, none is passed up.
fn completed(input: Input) -> Step {
    match input {
        Input::Failure => go(Completed, &[SendAck]),
        Input::Fired(Timer::D) => go(Terminated, &[]),
        Input::TransportError => go(Terminated, &[]),
        _ => go(Completed, &[]),
    }
}

/// RFC 6026 7.2: retransmitted and forked 2xx go up, where they are acknowledged.
fn accepted(input: Input) -> Step {
    match input {
        Input::Success => go(Accepted, &[PassUp]),
        Input::Fired(Timer::M) => go(Terminated, &[]),
        _ => go(Accepted, &[]),
    }
}
