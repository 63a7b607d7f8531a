//! The non-INVITE client transaction: RFC 3261 17.1.2.

use super::{Action, Input, State, Step, Timer, go};
use Action::{PassUp, Resend, Send, Start, Stop, TimedOut, TransportFailed};
use State::{Completed, Proceeding, Terminated, Trying};

/// What happens when the request is sent (RFC 3261 17.1.2.2).
pub const START: &[Action] = &[Send, Start(Timer::E), Start(Timer::F)];

/// The table: one function per state.
pub fn step(state: State, input: Input) -> Step {
    match state {
        Trying => trying(input),
        Proceeding => proceeding(input),
        Completed => completed(input),
        _ => go(Terminated, &[]),
    }
}

/// RFC 3261 17.1.2.2, figure 6.
fn trying(input: Input) -> Step {
    match input {
        Input::Fired(Timer::E) => go(Trying, &[Resend, Start(Timer::E)]),
        Input::Fired(Timer::F) => go(Terminated, &[TimedOut]),
        Input::TransportError => go(Terminated, &[TransportFailed]),
        Input::Provisional => go(Proceeding, &[PassUp]),
        Input::Success | Input::Failure => go(Completed, &[Stop(Timer::E), Start(Timer::K), PassUp]),
        _ => go(Trying, &[]),
    }
}

/// RFC 3261 17.1.2.2: timers E (now always T2) and F go on.
fn proceeding(input: Input) -> Step {
    match input {
        Input::Fired(Timer::E) => go(Proceeding, &[Resend, Start(Timer::E)]),
        Input::Fired(Timer::F) => go(Terminated, &[TimedOut]),
        Input::TransportError => go(Terminated, &[TransportFailed]),
        Input::Provisional => go(Proceeding, &[PassUp]),
        Input::Success | Input::Failure => go(Completed, &[Stop(Timer::E), Start(Timer::K), PassUp]),
        _ => go(Proceeding, &[]),
    }
}

/// RFC 3261 17.1.2.2: response retransmissions are absorbed.
fn completed(input: Input) -> Step {
    match input {
        Input::Fired(Timer::K) => go(Terminated, &[]),
        _ => go(Completed, &[]),
    }
}
