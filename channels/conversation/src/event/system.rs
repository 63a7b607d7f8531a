//! What concerns no single customer: written to [`crate::ConversationId::SYSTEM`].

use jiff::Timestamp;

use crate::event::{data, words};
use crate::id::ConversationId;
use crate::pii::Pii;

words! {
    /// What was done that concerns who may do what, or who saw what.
    pub enum AuditWhat {
        /// An account was made.
        AccountMade = "account_made",
        /// An account was changed: roles, groups, whether it is shut out.
        AccountChanged = "account_changed",
        /// An account was removed.
        AccountRemoved = "account_removed",
        /// A password was set.
        PasswordSet = "password_set",
        /// A try to sign in was wrong.
        SignInFailed = "sign_in_failed",
        /// There were too many wrong tries: further ones are not even looked at for a while.
        SignInBlocked = "sign_in_blocked",
        /// Somebody looked at a customer's number in full.
        NumberRevealed = "number_revealed",
    }
}

data! {
    /// Something that an operator may want to know of later: a change of accounts, a wrong try to sign in, a number that somebody looked at.
    pub struct Audited {
        /// What.
        pub what: AuditWhat,
        /// Who did it: an account's name, or `token` for one who came with a token; none: nobody had signed in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        /// The account that it is about; none: no account has the name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub account: Option<String>,
        /// What is otherwise, in words: `roles: agent, operator`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub detail: Option<String>,
        /// The network address from which it was tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub address: Option<Pii>,
        /// The conversation that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        pub conversation: Option<ConversationId>,
    }

    /// A version of a plan went live: new calls run it.
    pub struct PlanPublished {
        /// The plan's name.
        pub plan: String,
        /// The version that is live now.
        pub version: u32,
        /// SHA-256 of its source, 64 lower-case hex digits.
        #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
        pub sha256: String,
        /// The version that was live before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub previous: Option<u32>,
        /// Who did it: `start`, `file`, `api`, a user's name.
        pub by: String,
        /// What they wrote to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub note: Option<String>,
    }

    /// An earlier version of a plan went live again.
    pub struct PlanRolledBack {
        /// The plan's name.
        pub plan: String,
        /// The version that is live now.
        pub version: u32,
        /// The version that was live before.
        pub previous: u32,
        /// Who did it.
        pub by: String,
        /// What they wrote to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub note: Option<String>,
    }

    /// A plan did not pass its check or its tests; what was live stays live.
    pub struct PlanRefused {
        /// The plan's name, or its file's when it could not be read that far.
        pub plan: String,
        /// SHA-256 of the source that was refused.
        #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
        pub sha256: String,
        /// The version that stays live.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub live: Option<u32>,
        /// The first finding, with file, line and column.
        pub reason: String,
        /// How many findings there are.
        pub findings: u32,
        /// Who tried.
        pub by: String,
    }

    /// Events that were never accepted by the log: the store was away for longer than the queue before it holds out.
    pub struct LogGap {
        /// How many are missing.
        pub dropped_events: u64,
        /// When the first was dropped.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub from: Timestamp,
        /// When the last was dropped.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub until: Timestamp,
        /// The store's error at that time.
        pub reason: String,
    }
}
