//! Transfers from person to person, as they are shown.

use ark_conversation::event::TransferStage;
use ark_conversation::{ConversationId, Live, LiveEvent, LiveTransfer, LiveTransferState};

use crate::call::TransferView;
use crate::control::{TransferPhase, TransferStatus};

/// A transfer of this gateway; `number`: as it shows numbers.
pub(super) fn shown(
    conversation: ConversationId,
    view: &TransferView,
    number: impl Fn(&str) -> String,
) -> LiveTransfer {
    LiveTransfer {
        conversation,
        state: match view.stage {
            Some(TransferStage::Ringing) => LiveTransferState::Ringing,
            Some(TransferStage::Consulting) => LiveTransferState::Consulting,
            Some(TransferStage::ThreeWay) => LiveTransferState::ThreeWay,
            Some(TransferStage::Recalling) => LiveTransferState::Recalling,
            None => LiveTransferState::Over,
        },
        target: number(&view.target),
        from: number(&view.from),
        mode: view.mode,
        why: view.why,
        customer: view.customer,
    }
}

/// What is new about the transfer of a call.
pub(super) fn news(before: Option<&LiveEvent>, now: &LiveEvent) -> Option<Live> {
    let of = |event: &LiveEvent| if let Live::Call(call) = &event.event { call.transfer.clone() } else { None };
    let transfer = of(now)?;
    (before.and_then(of).as_ref() != Some(&transfer)).then_some(Live::Transfer(transfer))
}

/// A transfer as the API has it.
pub(super) fn status(transfer: LiveTransfer) -> TransferStatus {
    TransferStatus {
        state: match transfer.state {
            LiveTransferState::Ringing => TransferPhase::Ringing,
            LiveTransferState::Consulting => TransferPhase::Consulting,
            LiveTransferState::ThreeWay => TransferPhase::ThreeWay,
            LiveTransferState::Recalling => TransferPhase::Recalling,
            LiveTransferState::Over => TransferPhase::Over,
        },
        target: transfer.target,
        from: transfer.from,
        mode: transfer.mode.as_str().to_owned(),
        why: transfer.why.map(|why| why.as_str().to_owned()),
        customer: transfer.customer.map(|customer| customer.as_str().to_owned()),
    }
}
