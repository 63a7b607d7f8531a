//! Calls as others see them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_conversation::event::{Direction, Role, SupervisionMode};
use ark_conversation::{ConversationId, LegId};

use super::state::{Call, Other, Purpose, Stage};
use super::transfer::TransferView;

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
    /// Its legs that are not over, the customer's first.
    pub legs: Vec<LegView>,
    /// Its transfer from person to person, now or last.
    pub transfer: Option<TransferView>,
}

/// A leg of a live call.
#[derive(Clone, Debug)]
pub struct LegView {
    /// Its number in the conversation.
    pub leg: LegId,
    /// Who is there.
    pub role: Role,
    /// The number or address that was dialled; the customer's own for theirs. Mask it before it is shown.
    pub who: String,
    /// Whether it was answered.
    pub up: bool,
    /// Whether its voice is kept from the others.
    pub muted: bool,
    /// What a supervisor does.
    pub supervises: Option<SupervisionMode>,
    /// Where its voice goes to.
    pub remote: Option<SocketAddr>,
}

impl CallView {
    /// How long it has been known.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

impl Call {
    pub(super) fn view(&self) -> CallView {
        let talking = self.other.as_ref().is_some_and(|o| o.bridged.is_some()) || self.handover.is_some();
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
            legs: self.leg_views(),
            transfer: self.handover.as_ref().map(|handover| handover.view()).or_else(|| self.last_transfer.clone()),
        }
    }

    fn leg_views(&self) -> Vec<LegView> {
        let customer = LegView {
            leg: self.customer.number,
            role: Role::Customer,
            who: self.from.reveal().to_owned(),
            up: self.customer.is_up(),
            muted: self.customer.muted,
            supervises: None,
            remote: self.customer.remote(),
        };
        let other = self.other.iter().chain(self.beside()).map(|other: &Other| LegView {
            leg: other.leg.number,
            role: match other.purpose {
                Purpose::Operator(_) | Purpose::Agent => Role::Agent,
                Purpose::Target { .. } => Role::External,
                Purpose::Supervisor => Role::Supervisor,
            },
            who: other.to.clone(),
            up: other.leg.is_up(),
            muted: other.leg.muted,
            supervises: (other.purpose == Purpose::Supervisor).then_some(SupervisionMode::TakeOver),
            remote: other.leg.remote(),
        });
        let supervisors = self.supervisors.iter().map(|supervisor| LegView {
            leg: supervisor.leg.number,
            role: Role::Supervisor,
            who: supervisor.to.clone(),
            up: supervisor.leg.is_up(),
            muted: supervisor.leg.muted,
            supervises: Some(supervisor.mode),
            remote: supervisor.leg.remote(),
        });
        std::iter::once(customer).chain(other).chain(supervisors).collect()
    }
}
