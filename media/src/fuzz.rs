//! Seeded fuzzers and the tools that they share with the tests. Not for use in calls.

use std::time::Instant;

/// An instant to begin a story in virtual time with.
#[expect(clippy::disallowed_methods, reason = "the only clock reading: where virtual time begins does not matter")]
pub fn start() -> Instant {
    Instant::now()
}
