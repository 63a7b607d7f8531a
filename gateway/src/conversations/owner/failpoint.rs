//! Where a test can end the process: the moments of a message's way at which a crash must lose nothing and double nothing.

use ark_store::failpoint::Hook;

/// A moment of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// It is in the inbox; its owner does not know.
    Taken,
    /// Its conversation has decided; nothing of that is written.
    Decided,
    /// What was decided is committed; nobody was told.
    Committed,
}

static HOOK: Hook<Point> = Hook::new();

/// Calls `hook` at every point of every owner of this process from now on. For tests alone; the first hook stays.
#[cfg(test)]
pub(super) fn set(hook: fn(Point)) {
    HOOK.set(hook);
}

pub(super) fn at(point: Point) {
    HOOK.at(point);
}
