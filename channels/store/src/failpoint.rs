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

/// What a test wants done at the points of some part of Ark.
#[derive(Debug)]
pub struct Hook<P>(OnceLock<fn(P)>);

impl<P> Hook<P> {
    /// Nothing is wanted.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Calls `hook` at every point of this process from now on. The first one stays.
    pub fn set(&self, hook: fn(P)) {
        let _ = self.0.set(hook);
    }

    /// The point is reached.
    pub fn at(&self, point: P) {
        if let Some(hook) = self.0.get() {
            hook(point);
        }
    }
}

static HOOK: Hook<Point> = Hook::new();

/// Calls `hook` at every point of every store of this process from now on. For tests alone; the first hook stays.
pub fn set(hook: fn(Point)) {
    HOOK.set(hook);
}

pub(crate) fn at(point: Point) {
    HOOK.at(point);
}
