//! Who the customer is, and what was erased.

use jiff::Timestamp;

use crate::digest::Hash;
use crate::event::{data, words};
use crate::id::{LegId, MergeId, PersonId};
use crate::identity::{Assurance, IdentityKey};

words! {
    /// Why two persons are one.
    pub enum MergeReason {
        /// The same verified key belongs to both.
        Key = "key",
        /// One of them opened a link that was made for the other.
        LinkToken = "link_token",
        /// A person of the house said so.
        Person = "person",
    }

    /// Why a body was erased.
    pub enum EraseReason {
        /// It was kept for as long as the house keeps such things.
        Retention = "retention",
        /// The person asked for it.
        Request = "request",
    }
}

data! {
    /// Somebody of the house looked at the customer's number in full. The number itself is not in the event.
    #[derive(Eq)]
    pub struct NumberRevealed {
        /// Of which leg.
        pub leg: LegId,
        /// Who: an agent's name as an owner, `agent:anna`; `api` for a program that names nobody.
        pub by: String,
    }

    /// The conversation belongs to a person.
    pub struct PersonLinked {
        /// Who.
        pub person: PersonId,
        /// By which keys.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub keys: Vec<IdentityKey>,
        /// How sure Ark is.
        pub assurance: Assurance,
        /// Who it belonged to before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub previous: Option<PersonId>,
    }

    /// Two persons turned out to be one. Their conversations stay as they are.
    pub struct PersonMerged {
        /// The merge, by which it can be undone.
        pub merge: MergeId,
        /// Who stays.
        pub into: PersonId,
        /// Who is the same.
        pub from: PersonId,
        /// The keys that moved.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub keys: Vec<IdentityKey>,
        /// Why.
        pub reason: MergeReason,
        /// Who did it: `ark`, a user's name.
        pub by: String,
    }

    /// A merge was undone.
    pub struct PersonUnmerged {
        /// The merge.
        pub merge: MergeId,
        /// Who stayed.
        pub into: PersonId,
        /// Who is a person of their own again.
        pub from: PersonId,
        /// The keys that moved back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub keys: Vec<IdentityKey>,
        /// Who did it.
        pub by: String,
    }

    /// Stands where a body was. `seq`, id, source and times of the record stay; hashes are over `sha256`.
    pub struct Erased {
        /// The type that the event had.
        pub of: String,
        /// The hash of the body that was there.
        pub sha256: Hash,
        /// Why.
        pub reason: EraseReason,
        /// When.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub at: Timestamp,
        /// What of the body belongs to nobody, so that a replay of the log still knows its legs and owners.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub kept: Option<serde_json::Value>,
    }

    /// Bodies of this conversation were erased: who, why and which.
    pub struct Erasure {
        /// Why.
        pub reason: EraseReason,
        /// The first `seq` that it covers.
        pub from_seq: u64,
        /// The last `seq` that it covers.
        pub to_seq: u64,
        /// How many bodies were erased, once that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub bodies: Option<u64>,
        /// Who did it: `ark`, a user's name.
        pub by: String,
    }
}
