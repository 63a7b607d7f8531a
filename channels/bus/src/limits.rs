//! Every bound of this crate, by name.

/// Records that are kept for one slow subscriber; beyond it they are counted and the subscriber reads the store.
pub const SUBSCRIPTION_RECORDS: usize = 1_024;

/// Live subscriptions of one bus.
pub const SUBSCRIBERS_MAX: usize = 4_096;
