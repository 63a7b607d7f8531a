//! Every bound of webhooks, named.

use std::time::Duration;

/// Webhooks of one site.
pub const WEBHOOKS_MAX: usize = 32;
/// Secrets of one webhook.
pub const SECRETS_MAX: usize = 4;
/// Requests to one webhook at a time. One that is slow or hangs holds up nobody but itself.
pub const IN_FLIGHT: usize = 16;
/// Deliveries of one webhook that wait; what is beyond stays in the log until there is room.
pub const WAITING_MAX: u64 = 4_096;
/// Attempts of one delivery, the first included. With [`RETRY_FIRST`] and [`RETRY_MAX`]: at most 27 hours, 13 on average.
pub const ATTEMPTS_MAX: u32 = 25;
/// The wait before the second attempt is random between zero and this; the bound doubles with each attempt.
pub const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The largest bound of a wait, that of a Retry-After header included.
pub const RETRY_MAX: Duration = Duration::from_secs(2 * 3_600);
/// The longest `timeout` that a webhook may have.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How much longer than its timeout a delivery is claimed: when the gateway died, another attempt is made after it.
pub const CLAIM_BEYOND: Duration = Duration::from_secs(15);
/// Records that are looked at in one go.
pub const PAGE: usize = 500;
/// Positions that a reader may have looked at, finding nothing, before its place is written down.
pub const UNWRITTEN_MAX: u64 = 10_000;
/// How often it is looked whether something is to be done that nobody said.
pub const POLL: Duration = Duration::from_secs(1);
/// The pause before a look is repeated that a transaction under way held back.
pub const HELD_PAUSE: Duration = Duration::from_millis(20);
/// Deliveries that went well can be looked at and replayed for so long.
pub const DONE_KEPT: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Deliveries that were given up can be looked at and replayed for so long.
pub const DEAD_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often old deliveries are forgotten.
pub const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Of an answer's body so much is read, so that its connection can be used again.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A connection that nothing was sent on for so long is not used again.
pub const IDLE_MAX: Duration = Duration::from_secs(20);
/// Addresses of a name that are tried.
pub const ADDRESSES_MAX: usize = 4;
/// At the end of the process, requests under way have so long; the others are made again later.
pub const STOP_MAX: Duration = Duration::from_secs(2);
/// Dead deliveries that one request takes up again.
pub const REPLAY_MAX: usize = 1_000;

const _: () = assert!(ATTEMPTS_MAX > 1 && IN_FLIGHT > 0);
