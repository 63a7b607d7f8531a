//! How a store is.

/// Whether a store can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// The last write and a read now went well.
    Ok,
    /// Something does not work; the text says what, where, and what to do.
    Failing(String),
}

/// How a store is, for `/readyz`, `/metrics` and `ark doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it can be used.
    pub state: HealthState,
    /// Where it is, for the operator.
    pub place: String,
    /// Jobs that wait for the writer now.
    pub waiting_jobs: usize,
    /// Events committed since it was opened.
    pub committed_events: u64,
    /// Transactions committed since it was opened: events by commits is the size of the groups.
    pub commits: u64,
    /// Transactions that failed since it was opened.
    pub failed_commits: u64,
}

impl Health {
    /// Whether it can be used.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == HealthState::Ok
    }
}
