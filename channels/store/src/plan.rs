//! Versions of dialplans: kept for ever, one of them live.

use ark_conversation::Tenant;
use jiff::Timestamp;

/// A plan's source on its way into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPlanVersion {
    /// Whose plan it is.
    pub tenant: Tenant,
    /// The plan's name.
    pub name: String,
    /// SHA-256 of the source, 64 lower-case hex digits.
    pub sha256: String,
    /// The source text.
    pub source: String,
    /// When it came.
    pub at: Timestamp,
    /// Who brought it: `start`, `file`, `api`, a user's name.
    pub by: String,
    /// What they wrote to it.
    pub note: Option<String>,
}

/// A version of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    /// Whose plan it is.
    pub tenant: Tenant,
    /// The plan's name.
    pub name: String,
    /// 1, 2, 3 ... within the name.
    pub version: u32,
    /// SHA-256 of the source, 64 lower-case hex digits.
    pub sha256: String,
    /// The source text.
    pub source: String,
    /// When it came.
    pub at: Timestamp,
    /// Who brought it.
    pub by: String,
    /// What they wrote to it.
    pub note: Option<String>,
    /// Whether new calls run it.
    pub live: bool,
}

/// How a version became live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanChangeKind {
    /// It was published.
    Published,
    /// An earlier one was taken up again.
    RolledBack,
}

/// A version becomes, or became, live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// Whose plan it is.
    pub tenant: Tenant,
    /// The plan's name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// How.
    pub kind: PlanChangeKind,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// What they wrote to it.
    pub note: Option<String>,
}
