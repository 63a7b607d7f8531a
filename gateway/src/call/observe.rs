//! What goes to the log of record is also counted and, where an operator wants it, said: one place decides both.

use std::time::Duration;

use ark_conversation::event::Direction;
use ark_conversation::{Event, LegId, NewEvent};

use crate::telemetry::{
    CallAnswered, CallFinished, CallStarted, KeyPressed, PromptBegan, QueueLeft, RecordingEnded, TransferEnded,
};

/// Counts an event of a call and writes its line.
pub(super) fn observe(event: &NewEvent) {
    let conversation = event.conversation;
    match &event.event.event {
        Event::CallRinging(e) => {
            let plan = match (&e.plan, e.plan_version) {
                (Some(plan), Some(version)) => format!("{plan}@{version}"),
                _ => String::new(),
            };
            let direction = if e.direction == Direction::Inbound { "in" } else { "out" };
            let (call, from, to, trunk) = (e.leg, &e.from, &e.to, e.trunk.as_str());
            CallStarted { conversation, call, direction, from, to, trunk, plan: &plan }.emit();
        }
        Event::CallAnswered(e) => CallAnswered { conversation, call: e.leg, codec: &e.codec }.emit(),
        Event::CallEnded(e) => {
            let talked = Duration::from_millis(e.talk_ms);
            let (call, cause, by) = (e.leg, e.cause.as_str(), e.by.as_str());
            CallFinished { conversation, call, cause, by, talked, mos: None }.emit();
        }
        Event::Dtmf(e) => KeyPressed { conversation, call: e.leg }.emit(),
        Event::PromptStarted(e) => {
            let state = e.prompts.first().map_or("", String::as_str);
            PromptBegan { conversation, call: e.leg, state }.emit();
        }
        Event::RecordingFinished(e) => {
            RecordingEnded { conversation, call: e.leg, recording: &e.recording, error: None }.emit();
        }
        Event::RecordingFailed(e) => {
            RecordingEnded { conversation, call: e.leg, recording: &e.recording, error: Some(&e.error) }.emit();
        }
        Event::QueueLeft(e) => {
            let waited = Duration::from_millis(e.waited_ms);
            let (call, queue, outcome) = (e.leg, e.queue.as_str(), e.outcome.as_str());
            QueueLeft { conversation, call, queue, outcome, waited }.emit();
        }
        Event::TransferFinished(e) => {
            let (call, target, outcome): (LegId, _, _) = (e.leg, e.target.as_str(), e.outcome.as_str());
            TransferEnded { conversation, call, target, outcome }.emit();
        }
        _ => {}
    }
}
