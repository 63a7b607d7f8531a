//! The INVITE server transaction: RFC 3261 17.2.1, with the Accepted state of RFC 6026 7.1.

use super::{Action, Input, State, Step, Timer, go};
use Action::{PassUp, Resend, Send, Start, Stop, TimedOut, TransportFailed};
use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};

/// The table: one function per state.
pub fn step(state: State, input: Input) -> Step {
    match state {
        Proceeding => proceeding(input),
        Completed => completed(input),
        Accepted => accepted(input),
        Confirmed => confirmed(input),
        _ => go(Terminated, &[]),
    }
}

/// RFC 3261 17.2.1, figure 7: a retransmitted INVITE gets the last provisional again.
fn proceeding(input: Input) -> Step {
    match input {
        Input::Request => go(Proceeding, &[Resend]),
        Input::Provisional => go(Proceeding, &[Send]),
        Input::Success => go(Accepted, &[Send, Start(Timer::L)]),
        Input::Failure => go(Completed, &[Send, Start(Timer::G), Start(Timer::H)]),
        Input::TransportError => go(Proceeding, &[TransportFailed]),
        _ => go(Proceeding, &[]),
    }
}

/// RFC 3261 17.2.1: the failure goes out until the ACK comes or timer H gives up.
fn completed(input: Input) -> Step {
    match input {
        Input::Request => go(Completed, &[Resend]),
        Input::Fired(Timer::G) => go(Completed, &[Resend, Start(Timer::G)]),
        Input::Fired(Timer::H) => go(Terminated, &[TimedOut]),
        Input::Ack => go(Confirmed, &[Stop(Timer::G), Start(Timer::I)]),
        _ => go(Completed, &[]),
    }
}

/// RFC 6026 7.1: retransmitted INVITEs are absorbed; the user retransmits its 2xx through here.
fn accepted(input: Input) -> Step {
    match input {
        Input::Ack => go(Accepted, &[PassUp]),
        Input::Success => go(Accepted, &[Send]),
        Input::Fired(Timer::L) => go(Terminated, &[]),
        _ => go(Accepted, &[]),
    }
}

/// RFC 3261 17.2.1: retransmitted ACKs are absorbed.
fn confirmed(input: Input) -> Step {
    match input {
        Input::Fired(Timer::I) => go(Terminated, &[]),
        _ => go(Confirmed, &[]),
    }
}
