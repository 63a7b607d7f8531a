//! The checks, one for each MUST of the standard.

pub(super) mod contract;
pub(super) mod crash;
pub(super) mod inbound;
pub(super) mod soak;
pub(super) mod truth;
