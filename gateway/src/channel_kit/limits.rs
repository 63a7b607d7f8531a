//! Bounds and paces of the conformance kit.

use std::time::Duration;

/// How long an adapter may take for what comes at once when all is well.
pub const SOON: Duration = Duration::from_secs(10);
/// How long it may take for what needs tries of its own: backoff included.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// How long one request to an adapter may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an adapter may take to start: an interpreter on a busy machine.
pub const START_MAX: Duration = Duration::from_secs(30);
/// How often what cannot be waited for is looked at again.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long the native side waits before it delivers a message again that was not acknowledged.
pub const NATIVE_AGAIN: Duration = Duration::from_millis(200);
/// Bytes of an adapter's answer that are read.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a request of an adapter that are read: a file and its head.
pub const ASKED_BYTES_MAX: usize = 26 * 1024 * 1024;
/// Requests of the adapter that are remembered.
pub const ASKED_MAX: usize = 1_000_000;
/// Characters of what came that a report shows.
pub const SHOWN_CHARS_MAX: usize = 300;
/// What a manifest says at least of how long ids are remembered, in seconds: longer than the gateway tries.
pub const REMEMBERED_S_MIN: u64 = 86_400;
/// Rounds of kills when nothing else is asked for, each way.
pub const ROUNDS: u32 = 10;
/// How long the soak lasts when nothing else is asked for.
pub const SOAK: Duration = Duration::from_secs(60);
/// Threads of the soak, each way.
pub const SOAK_THREADS: usize = 8;
/// Messages of one thread of the soak that are on their way at once: what is measured is the adapter, not a queue before it.
pub const SOAK_WAITING_MAX: usize = 16;
/// How long before another a message is brought that is to be stuck.
pub const HEAD_START: Duration = Duration::from_millis(500);
