//! What is asked of the gateway that has a call: hang it up, record it, let somebody supervise.
//!
//! A question and its answer go the road of live events, and may be lost with it: who hears nothing in [`ANSWER_WAIT`] is told that it
//! is not known. A question that came late is not carried out: whoever asked has given it up.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_conversation::{ConversationId, LegId, LiveAction, LiveAnswer, LiveAsk, LiveOutcome, LiveTarget, Pii};
use ark_media::record::Layout;
use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot};

use crate::call::{CannotAct, CannotPlace, TalkAction, TransferTo, Word};
use crate::control::ControlError;
use crate::media::RecordFormat;

/// How long an answer is waited for.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// A question older than this is not carried out. Clocks of the gateways may differ by less.
const ASK_AGE_MAX: Duration = Duration::from_secs(30);
/// Questions of this gateway that wait for their answer at once.
const ASKED_MAX: usize = 256;
/// Questions of other gateways that are carried out at once.
const ANSWERED_MAX: usize = 64;

/// Something that may be done in a call that is up.
#[derive(Clone, Debug)]
pub enum CallAction {
    /// Hang it up.
    Hangup,
    /// Something in its talk.
    Talk(TalkAction),
}

impl CallAction {
    pub(super) fn to_live(&self) -> LiveAction {
        let Self::Talk(action) = self else { return LiveAction::Hangup };
        match action.clone() {
            TalkAction::Supervise { to, mode } => LiveAction::Supervise { to: Pii::new(&to), mode },
            TalkAction::SuperviseAs { leg, mode } => LiveAction::SuperviseAs { leg, mode },
            TalkAction::StopSupervising { leg } => LiveAction::StopSupervising { leg },
            TalkAction::Mute { leg, muted } => LiveAction::Mute { leg, muted },
            TalkAction::StartRecording { format, layout } => LiveAction::StartRecording {
                format: format.map(|format| match format {
                    RecordFormat::Wav => ark_conversation::event::RecordingFormat::Wav,
                    RecordFormat::Opus => ark_conversation::event::RecordingFormat::Opus,
                }),
                legs: layout.map(|layout| layout == Layout::Legs),
            },
            TalkAction::StopRecording => LiveAction::StopRecording,
            TalkAction::PauseRecordings { paused } => LiveAction::PauseRecordings { paused },
            TalkAction::Transfer { to, mode, word: Word { by, note, summary, needs } } => {
                let to = match to {
                    TransferTo::Agent(name) => LiveTarget::Agent(name),
                    TransferTo::Queue(name) => LiveTarget::Queue(name),
                    TransferTo::Number(number) => LiveTarget::Number(number),
                    TransferTo::Target(name) => LiveTarget::Target(name),
                };
                LiveAction::Transfer { to, mode, by, note, summary, needs }
            }
            TalkAction::JoinTransfer => LiveAction::JoinTransfer,
            TalkAction::CompleteTransfer => LiveAction::CompleteTransfer,
            TalkAction::CancelTransfer => LiveAction::CancelTransfer,
            TalkAction::Hold { on } => LiveAction::Hold { on },
            TalkAction::Keys { digits } => LiveAction::Keys { digits },
        }
    }
}

impl From<LiveAction> for CallAction {
    fn from(action: LiveAction) -> Self {
        Self::Talk(match action {
            LiveAction::Hangup => return Self::Hangup,
            LiveAction::Supervise { to, mode } => TalkAction::Supervise { to: to.reveal().to_owned(), mode },
            LiveAction::SuperviseAs { leg, mode } => TalkAction::SuperviseAs { leg, mode },
            LiveAction::StopSupervising { leg } => TalkAction::StopSupervising { leg },
            LiveAction::Mute { leg, muted } => TalkAction::Mute { leg, muted },
            LiveAction::StartRecording { format, legs } => TalkAction::StartRecording {
                format: format.map(|format| match format {
                    ark_conversation::event::RecordingFormat::Opus => RecordFormat::Opus,
                    _ => RecordFormat::Wav,
                }),
                layout: legs.map(|legs| if legs { Layout::Legs } else { Layout::Sides }),
            },
            LiveAction::StopRecording => TalkAction::StopRecording,
            LiveAction::PauseRecordings { paused } => TalkAction::PauseRecordings { paused },
            LiveAction::Transfer { to, mode, by, note, summary, needs } => {
                let to = match to {
                    LiveTarget::Agent(name) => TransferTo::Agent(name),
                    LiveTarget::Queue(name) => TransferTo::Queue(name),
                    LiveTarget::Number(number) => TransferTo::Number(number),
                    LiveTarget::Target(name) => TransferTo::Target(name),
                };
                TalkAction::Transfer { to, mode, word: Word { by, note, summary, needs } }
            }
            LiveAction::JoinTransfer => TalkAction::JoinTransfer,
            LiveAction::CompleteTransfer => TalkAction::CompleteTransfer,
            LiveAction::CancelTransfer => TalkAction::CancelTransfer,
            LiveAction::Hold { on } => TalkAction::Hold { on },
            LiveAction::Keys { digits } => TalkAction::Keys { digits },
        })
    }
}

impl From<CannotAct> for ControlError {
    fn from(error: CannotAct) -> Self {
        match error {
            CannotAct::NoCall | CannotAct::NoLeg => Self::NotFound(error.to_string()),
            CannotAct::NoWay(CannotPlace::Full(_)) => Self::Unavailable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// What came of an action: the new leg, where there is one.
pub(super) type Outcome = Result<Option<LegId>, ControlError>;

fn told(outcome: Outcome) -> LiveOutcome {
    match outcome {
        Ok(leg) => LiveOutcome::Done { leg },
        Err(ControlError::NotFound(why)) => LiveOutcome::NotFound { why },
        Err(ControlError::Refused(why)) => LiveOutcome::Refused { why },
        Err(ControlError::Unavailable(why)) => LiveOutcome::Unavailable { why },
    }
}

fn heard(outcome: LiveOutcome) -> Outcome {
    match outcome {
        LiveOutcome::Done { leg } => Ok(leg),
        LiveOutcome::NotFound { why } => Err(ControlError::NotFound(why)),
        LiveOutcome::Refused { why } => Err(ControlError::Refused(why)),
        LiveOutcome::Unavailable { why } => Err(ControlError::Unavailable(why)),
    }
}

/// The questions that are under way, both ways.
pub(super) struct Asking {
    next: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    room: Semaphore,
}

impl Asking {
    pub(super) fn new() -> Self {
        Self { next: AtomicU64::new(1), waiting: Mutex::default(), room: Semaphore::new(ANSWERED_MAX) }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Asks gateway `to`; `process` is this one's, `send` carries the question.
    pub(super) async fn ask(
        &self,
        process: &str,
        to: &str,
        conversation: ConversationId,
        action: &CallAction,
        send: impl FnOnce(LiveAsk),
    ) -> Outcome {
        let ask = format!("{process}#{}", self.next.fetch_add(1, Ordering::Relaxed));
        let answered = {
            let mut waiting = self.waiting();
            if waiting.len() >= ASKED_MAX {
                let why = format!("{ASKED_MAX} questions wait for other gateways already: try again");
                return Err(ControlError::Unavailable(why));
            }
            let (sender, answered) = oneshot::channel();
            waiting.insert(ask.clone(), sender);
            answered
        };
        let _given_up = GivenUp { asking: self, ask: &ask };
        send(LiveAsk { ask: ask.clone(), to: to.to_owned(), conversation, action: action.to_live() });
        let wait = ANSWER_WAIT.as_secs();
        match tokio::time::timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(ControlError::Unavailable(format!(
                "gateway `{to}`, which has this call, did not answer in {wait} s: `ark call list` shows whether it was done"
            ))),
        }
    }

    /// An answer came.
    pub(super) fn answered(&self, answer: &LiveAnswer) {
        // One that comes too late has nobody who waits.
        if let Some(waiting) = self.waiting().remove(&answer.ask) {
            let _ = waiting.send(heard(answer.outcome.clone()));
        }
    }

    /// Carries a question out by `act`; what is to be answered. `at`: when it was asked.
    pub(super) async fn answer(
        &self,
        ask: &LiveAsk,
        from: &str,
        at: Timestamp,
        act: impl AsyncFnOnce(ConversationId, CallAction) -> Outcome,
    ) -> Option<LiveAnswer> {
        let age = Timestamp::now().duration_since(at).unsigned_abs();
        let outcome = match self.room.try_acquire() {
            _ if age > ASK_AGE_MAX => {
                tracing::warn!(
                    gateway = from,
                    age_s = age.as_secs(),
                    "a question about a call came too late: set the clocks"
                );
                return None;
            }
            Ok(_room) => act(ask.conversation, ask.action.clone().into()).await,
            Err(_) => {
                let why = format!("{ANSWERED_MAX} questions of other gateways are being carried out: try again");
                Err(ControlError::Unavailable(why))
            }
        };
        Some(LiveAnswer { ask: ask.ask.clone(), to: from.to_owned(), outcome: told(outcome) })
    }
}

/// Forgets a question, whatever came of it.
struct GivenUp<'a> {
    asking: &'a Asking,
    ask: &'a str,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.asking.waiting().remove(self.ask);
    }
}
