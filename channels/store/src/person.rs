//! Persons and what they are known by.

use ark_conversation::{Assurance, IdentityKey, NewEvent, PersonId, Tenant};
use jiff::Timestamp;

/// A key that somebody came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The key.
    pub key: IdentityKey,
    /// How sure it is that it is theirs.
    pub assurance: Assurance,
    /// The person it belongs to when the key is not known as verified: a new one, or one that is there.
    pub person: PersonId,
    /// When.
    pub at: Timestamp,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The person; of merged ones the one that they were merged into.
    pub person: PersonId,
    /// Whether the key was written just now.
    pub new: bool,
}

/// A key of a person as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The key.
    pub key: IdentityKey,
    /// How sure it is.
    pub assurance: Assurance,
    /// The person that it was first given to; a merge does not change it, so that it can be undone.
    pub person: PersonId,
    /// When it was first seen.
    pub at: Timestamp,
}

/// One person turns out to be another, within a [`crate::Commit`], whose events say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeOf {
    /// Whose data it is. A merge never crosses tenants.
    pub tenant: Tenant,
    /// The person who is merged; when they were merged already, the one that they are now.
    pub from: PersonId,
    /// The person into whom. When the two are one already, nothing is done.
    pub into: PersonId,
    /// Who did it, for the audit trail.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One person turns out to be another, or turns out not to be. Written with its event in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// Whose data it is. A merge never crosses tenants.
    pub tenant: Tenant,
    /// The person who is merged, or who is taken out again.
    pub from: PersonId,
    /// The person into whom.
    pub into: PersonId,
    /// Who did it, for the audit trail.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The event that says so.
    pub event: NewEvent,
}
