//! Calls as others see them.

use std::time::{Duration, Instant};

use ark_conversation::ConversationId;
use ark_conversation::event::Direction;

use super::state::{Call, Stage};

/// A live call.
#[derive(Clone, Debug)]
pub struct CallView {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Who called whom.
    pub direction: Direction,
    /// The caller's number as it came; mask it before it is shown.
    pub from: String,
    /// The number dialled.
    pub to: String,
    /// The plan that it runs.
    pub plan: String,
    /// The version of the plan.
    pub plan_version: u32,
    /// The state that the plan is in.
    pub state: String,
    /// `ringing`, `ivr`, `waiting`, `transferring`, `talking`.
    pub doing: &'static str,
    /// When it began.
    pub started: Instant,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// Whom it talks to: an operator or a target, as it was dialled.
    pub with: Option<String>,
    /// Whether audio is being recorded.
    pub recording: bool,
    /// The codec.
    pub codec: Option<&'static str>,
}

impl CallView {
    /// How long it has been known.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

impl Call {
    pub(super) fn view(&self) -> CallView {
        let talking = self.other.as_ref().is_some_and(|o| o.bridged.is_some());
        let doing = match self.customer.stage {
            Stage::Ringing | Stage::AwaitingAck => "ringing",
            _ if talking => "talking",
            _ if self.waiting.is_some() => "waiting",
            _ if self.transferring.is_some() => "transferring",
            _ => "ivr",
        };
        CallView {
            conversation: self.conversation,
            direction: self.customer.direction,
            from: self.from.reveal().to_owned(),
            to: self.dialled.reveal().to_owned(),
            plan: self.live.plan.name.text.to_string(),
            plan_version: self.live.version,
            state: self.state.to_string(),
            doing,
            started: self.customer.started,
            answered: self.customer.answered,
            with: self.other.as_ref().filter(|o| o.bridged.is_some()).map(|o| o.to.clone()),
            recording: !self.recordings.is_empty(),
            codec: self.customer.agreed.as_ref().map(|a| a.codec.name()),
        }
    }
}
