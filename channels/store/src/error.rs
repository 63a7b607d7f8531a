//! What can go wrong with a store, and what to do about it.

use std::path::PathBuf;

use ark_conversation::ConversationId;
use ark_conversation::cloud_event::EnvelopeError;

/// Why a store did not do what it was asked. Every message says where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Too much waits already. Nothing was written; try again in a moment.
    #[error("the store is busy: {waiting} jobs wait already; try again in a moment")]
    Busy {
        /// How many jobs wait.
        waiting: usize,
    },
    /// What was given can never be stored.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// There is no such version of a plan.
    #[error("there is no version {version} of plan '{name}'; `ark dialplan diff` and the page list what there is")]
    NoSuchPlan {
        /// The plan.
        name: String,
        /// The version asked for.
        version: u32,
    },
    /// No space is left.
    #[error("{path}: no space left; free some on this disk (about 1 kB an event); nothing acknowledged is lost")]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error("{path}: cannot be written ({detail}); check owner, mode and mount, then try again")]
    ReadOnly {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// Another process has it.
    #[error("{path}: in use by another process{holder}; a log has one writer: stop it, or set another [store] url")]
    Locked {
        /// The database file.
        path: PathBuf,
        /// ` (pid 123)`, when it is known.
        holder: String,
    },
    /// There is no store where one was expected.
    #[error("{place}: there is no store here; `ark serve` makes one at its first start, or correct [store] url")]
    Missing {
        /// The database file, or the database without its password.
        place: String,
    },
    /// The file is damaged, or no database of Ark's.
    #[error("{path}: damaged or not a store of Ark's ({detail}); restore a backup, or move it away to begin anew")]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The file was written by a later version of Ark.
    #[error(
        "{path}: its layout is version {found}, this Ark knows {known}; run the later Ark, or restore an earlier backup"
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The layout found.
        found: i64,
        /// The latest one known.
        known: i64,
    },
    /// The system refused a read or a write.
    #[error("{path}: {detail}; look at the system's log for this disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The database cannot be reached, or went away while it was asked. A write is then either absent or there;
    /// writing it again is safe.
    #[error("{place}: away ({detail}); Ark tries again by itself; look at the database and the network to it")]
    Away {
        /// The database, without its password.
        place: String,
        /// What was seen.
        detail: String,
    },
    /// The database does not let us in, or cannot serve as a store.
    #[error("{place}: {detail}; correct [store] url, the user's rights, or the database's settings")]
    Denied {
        /// The database, without its password.
        place: String,
        /// What it said.
        detail: String,
    },
    /// The lease has passed on: another gateway owns the shard. Nothing was written; stop being its owner.
    #[error("shard {shard}: lease {number} has passed on; another gateway owns these conversations now")]
    Fenced {
        /// The shard.
        shard: u16,
        /// The number of the lease that is stale.
        number: u64,
    },
    /// Somebody wrote to the conversation in between. Nothing was written: read its log on, and decide again.
    #[error("conversation {conversation}: its log has gone on since record {seq}")]
    GoneOn {
        /// The conversation.
        conversation: ConversationId,
        /// The record after which [`crate::Commit::after`] wanted to write.
        seq: u64,
    },
    /// Messages of [`crate::Commit::direct`] that must not go past the inbox: they came before, their thread belongs elsewhere,
    /// or others wait before them. Nothing was written: give these to [`crate::Store::ingest`]; the others may be written
    /// without them.
    #[error("{} of the messages must go by the inbox: known already, of another conversation, or behind others", .messages.len())]
    ByInbox {
        /// Which, by their place in [`crate::Commit::direct`].
        messages: Vec<usize>,
    },
    /// Another gateway holds the lease.
    #[error("shard {shard}: held by gateway '{gateway}' for {left_ms} ms more")]
    Held {
        /// The shard.
        shard: u16,
        /// Who holds it.
        gateway: String,
        /// For how long yet, on the database's clock.
        left_ms: u64,
    },
    /// Another process has this gateway's id.
    #[error("a gateway '{gateway}' is here already, from another place; give each gateway of a site an id of its own")]
    Taken {
        /// The id.
        gateway: String,
        /// For how long yet, on the database's clock.
        left_ms: u64,
    },
    /// What was asked for does not fit what is there: the message says what.
    #[error("{0}")]
    Conflict(String),
    /// The store was closed, or its thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help or with some: everything but a refusal.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        !matches!(
            self,
            Self::Refused(_)
                | Self::NoSuchPlan { .. }
                | Self::Missing { .. }
                | Self::TooNew { .. }
                | Self::Closed
                | Self::Fenced { .. }
                | Self::GoneOn { .. }
                | Self::ByInbox { .. }
                | Self::Conflict(_)
        )
    }
}

impl From<EnvelopeError> for StoreError {
    fn from(error: EnvelopeError) -> Self {
        Self::Refused(error.to_string())
    }
}
