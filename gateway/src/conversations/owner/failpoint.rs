//! Where a test can end the process: the moments of a message's way at which a crash must lose nothing and double nothing.

use std::sync::OnceLock;

/// A moment of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It is in the inbox; its owner does not know.
    Taken,
    /// Its conversation has decided; nothing of that is written.
    Decided,
    /// What was decided is committed; nobody was told.
    Committed,
}

static HOOK: OnceLock<fn(Point)> = OnceLock::new();

/// Calls `hook` at every point of every owner of this process from now on. For tests alone; the first hook stays.
pub fn set(hook: fn(Point)) {
    let _ = HOOK.set(hook);
}

pub(super) fn at(point: Point) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}
