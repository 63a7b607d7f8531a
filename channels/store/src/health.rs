//! How a store is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::StoreError;

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

/// What every store counts of its writing, for [`Health`].
pub(crate) struct Counters {
    /// Where the store is, for people.
    place: String,
    waiting_jobs: AtomicUsize,
    committed_events: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
    /// Why the last transaction failed, until one goes well.
    failing: Mutex<Option<StoreError>>,
}

impl Counters {
    pub(crate) fn new(place: String) -> Self {
        Self {
            place,
            waiting_jobs: AtomicUsize::new(0),
            committed_events: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            failed_commits: AtomicU64::new(0),
            failing: Mutex::new(None),
        }
    }

    /// A job goes into a queue.
    pub(crate) fn queued(&self) {
        self.waiting_jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Jobs were taken from a queue, or did not fit it.
    pub(crate) fn taken(&self, jobs: usize) {
        self.waiting_jobs.fetch_sub(jobs, Ordering::Relaxed);
    }

    /// What a full queue is to a caller.
    pub(crate) fn busy(&self) -> StoreError {
        StoreError::Busy { waiting: self.waiting_jobs.load(Ordering::Relaxed) }
    }

    /// A transaction is on the disk.
    pub(crate) fn committed(&self, events: u64) {
        self.committed_events.fetch_add(events, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.well();
    }

    /// The store can be written.
    pub(crate) fn well(&self) {
        let was = self.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if was.is_some() {
            tracing::info!(place = self.place, "the store writes again");
        }
    }

    /// A transaction failed. One that was refused for what it holds, or that gave way to others, is no illness.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.failed_commits.fetch_add(1, Ordering::Relaxed);
        if matches!(error, StoreError::Refused(_) | StoreError::Busy { .. }) {
            return;
        }
        let before = self.failing.lock().unwrap_or_else(PoisonError::into_inner).replace(error.clone());
        if before.as_ref() != Some(error) {
            tracing::error!(place = self.place, %error, "the store cannot write");
        }
    }

    pub(crate) fn failing(&self) -> Option<StoreError> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the store is, when trying it gave this.
    pub(crate) fn health(&self, tried: Result<(), StoreError>) -> Health {
        let state = match tried {
            // Much to do is no illness.
            Ok(()) | Err(StoreError::Busy { .. }) => HealthState::Ok,
            Err(error) => HealthState::Failing(error.to_string()),
        };
        Health {
            state,
            place: self.place.clone(),
            waiting_jobs: self.waiting_jobs.load(Ordering::Relaxed),
            committed_events: self.committed_events.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            failed_commits: self.failed_commits.load(Ordering::Relaxed),
        }
    }
}
