//! Where a test can end the process: the moments of a write at which a crash must lose nothing.

use std::sync::OnceLock;

/// A moment of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A group was taken from the queue; nothing was written.
    BeforeWrite,
    /// The rows are written, the transaction is not committed.
    BeforeCommit,
    /// The transaction is committed, nobody has been answered.
    BeforeAnswer,
}

static HOOK: OnceLock<fn(Point)> = OnceLock::new();

/// Calls `hook` at every point of every store of this process from now on. For tests alone; the first hook stays.
pub fn set(hook: fn(Point)) {
    let _ = HOOK.set(hook);
}

pub(crate) fn at(point: Point) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}
