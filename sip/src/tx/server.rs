//! The non-INVITE server transaction: RFC 3261 17.2.2.

use super::{Action, Input, State, Step, Timer, go};
use Action::{Resend, Send, Start, TransportFailed};
use State::{Completed, Proceeding, Terminated, Trying};

/// The table: one function per state.
pub fn step(state: State, input: Input) -> Step {
    match state {
        Trying => trying(input),
        Proceeding => proceeding(input),
        Completed => completed(input),
        _ => go(Terminated, &[]),
    }
}

/// RFC 3261 17.2.2, figure 8: retransmissions are absorbed.
fn trying(input: Input) -> Step {
    match input {
        Input::Provisional => go(Proceeding, &[Send]),
        Input::Success | Input::Failure => go(Completed, &[Send, Start(Timer::J)]),
        _ => go(Trying, &[]),
    }
}

/// RFC 3261 17.2.2: a retransmission gets the last provisional again.
fn proceeding(input: Input) -> Step {
    match input {
        Input::Request => go(Proceeding, &[Resend]),
        Input::Provisional => go(Proceeding, &[Send]),
        Input::Success | Input::Failure => go(Completed, &[Send, Start(Timer::J)]),
        Input::TransportError => go(Terminated, &[TransportFailed]),
        _ => go(Proceeding, &[]),
    }
}

/// RFC 3261 17.2.2: a retransmission gets the final response again.
fn completed(input: Input) -> Step {
    match input {
        Input::Request => go(Completed, &[Resend]),
        Input::Fired(Timer::J) => go(Terminated, &[]),
        _ => go(Completed, &[]),
    }
}
