//! Whether the customer agreed that the call is kept: settled once in a call.

use crate::event::{data, words};
use crate::id::LegId;

words! {
    /// What became of it.
    pub enum ConsentOutcome {
        /// They were told, to the end.
        Announced = "announced",
        /// They agreed.
        Agreed = "agreed",
        /// They refused.
        Refused = "refused",
        /// They were asked and did not agree: silence, or a person instead.
        Unanswered = "unanswered",
    }

    /// How they answered.
    pub enum ConsentBy {
        /// By a key.
        Key = "key",
        /// In words.
        Speech = "speech",
    }
}

data! {
    /// The customer was told that the call is recorded and transcribed, or was asked whether it may be.
    pub struct ConsentSettled {
        /// Where.
        pub leg: LegId,
        /// The plan's state.
        pub state: String,
        /// What became of it.
        pub outcome: ConsentOutcome,
        /// How they answered, where they did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<ConsentBy>,
        /// Whether the call may be recorded and transcribed from now on; if not, nothing that is said in it is stored.
        pub kept: bool,
    }
}
