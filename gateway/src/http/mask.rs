//! Masking of people's numbers on their way out: the log keeps them, faces show `+86 138****12` unless asked otherwise.

use ark_conversation::{ConversationState, Event, Pii, Record};

fn masked(number: &Pii) -> Pii {
    Pii::new(number.to_string())
}

/// A record as it is shown.
pub(super) fn record(mut record: Record, full: bool) -> Record {
    if full {
        return record;
    }
    match &mut record.event.event {
        Event::CallRinging(ringing) => {
            ringing.from = masked(&ringing.from);
            ringing.to = masked(&ringing.to);
            ringing.from_display = ringing.from_display.as_ref().map(masked);
        }
        Event::TransferStarted(transfer) => transfer.to = masked(&transfer.to),
        _ => {}
    }
    record
}

/// A conversation as it is shown.
pub(super) fn conversation(mut state: ConversationState, full: bool) -> ConversationState {
    if !full {
        for leg in &mut state.legs {
            leg.from = masked(&leg.from);
            leg.to = masked(&leg.to);
        }
    }
    state
}
