//! Every bound of the machines, by name.

use std::time::Duration;

/// Challenges read from one header value; later ones are ignored.
pub const CHALLENGES_MAX: usize = 8;

/// Parameters kept of one challenge; later ones are ignored.
pub const AUTH_PARAMS_MAX: usize = 24;

/// Realms that may challenge one call (a proxy chain); one more and the call attempt fails with that 401 or 407.
pub const REALMS_MAX: usize = 4;

/// Challenges answered for one request before it fails: two proxies, and each of them stale once.
pub const AUTH_TRIES_MAX: usize = 4;

/// Nonces whose counts are remembered by one realm's guard; the oldest goes stale first.
pub const NONCES_MAX: usize = 10_000;

/// Sources whose token buckets are kept: 24 bytes each, allocated once.
pub const SOURCES_MAX: usize = 16_384;

/// CIDR blocks in one access list.
pub const PEERS_MAX: usize = 4_096;

/// Early dialogs kept for one INVITE that forked; responses of later forks still count, in-dialog requests get 481.
pub const FORKS_MAX: usize = 16;

/// ACKs kept for forked 2xx of one INVITE; what comes beyond is acknowledged by a fresh ACK.
pub const FORKED_ACKS_MAX: usize = 4;

/// Routes of one dialog (RFC 3261 12.1); an INVITE with more Record-Route values gets 400.
pub const ROUTES_MAX: usize = 64;

/// How often a re-INVITE of ours is tried again after 491 before the application hears of it.
pub const GLARE_TRIES_MAX: u32 = 5;

/// In-dialog requests of ours under way in one call at a time (INFO); beyond it new ones are dropped and counted.
pub const REQUESTS_PER_CALL_MAX: usize = 32;

/// Default for the calls of one process.
pub const CALLS_MAX: usize = 10_000;

/// Default for the transactions of one process: a call has an INVITE and a BYE lingering for 32 s after it, so this
/// carries 2,000 call attempts a second.
pub const TRANSACTIONS_MAX: usize = 200_000;

/// Default for the server transactions that one source may hold. A trunk is one source: half of all.
pub const TRANSACTIONS_PER_SOURCE_MAX: usize = TRANSACTIONS_MAX / 2;

/// A transaction that has answered may be forgotten before its time when the tables are full, but not earlier than this:
/// a peer that lost the answer has asked again after 0.5, 1.5 and 3.5 s.
pub const LINGER_MIN: Duration = Duration::from_secs(4);

/// Capacity below which an idle table is not shrunk.
pub const IDLE_CAPACITY: usize = 256;

const _: () = assert!(TRANSACTIONS_PER_SOURCE_MAX <= TRANSACTIONS_MAX && 2 * CALLS_MAX <= TRANSACTIONS_MAX);
