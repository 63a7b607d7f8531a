//! Every bound of accounts, named.

use std::time::Duration;

use jiff::SignedDuration;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Memory of one hash, in KiB (with [`HASH_PASSES`], what OWASP asks of argon2id).
pub const HASH_KIB: u32 = 19_456;
/// Passes over that memory.
pub const HASH_PASSES: u32 = 2;
/// Hashes that are made at once: signing in must not take a core from calls.
pub const HASHES_AT_ONCE: usize = 2;
/// Hashes that wait for their turn; one more is answered 503.
pub const HASHES_WAITING_MAX: usize = 32;

/// Wrong tries of one account in a row before the next must wait ...
pub const TRIES_PER_ACCOUNT: u32 = 8;
/// ... and how long until it may be tried once more.
pub const TRY_AGAIN_ACCOUNT: Duration = Duration::from_secs(60);
/// Wrong tries from one address (of IPv6: one network) in a row before the next must wait ...
pub const TRIES_PER_ADDRESS: u32 = 30;
/// ... and how long until it may try once more.
pub const TRY_AGAIN_ADDRESS: Duration = Duration::from_secs(15);
/// Accounts, and addresses, whose wrong tries are remembered; those with the fewest make room.
pub const TRIES_KEPT_MAX: usize = 4_096;

/// How long a session lasts that is not used.
pub const SESSION_IDLE_MAX: SignedDuration = SignedDuration::from_hours(12);
/// How long a session lasts, however much it is used.
pub const SESSION_LIFE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often a session is written down as used.
pub const SESSION_USED_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How old what is known of a session may be: one that was ended at another gateway opens nothing here after it.
pub const SESSION_FRESH: Duration = Duration::from_secs(5);
/// How long sessions are good without the store.
pub const SESSION_STALE_MAX: Duration = Duration::from_secs(60);
/// Sessions that are remembered; with one more, all are read anew.
pub const SESSIONS_KNOWN_MAX: usize = 4_096;

/// How long signing in at the identity provider may take, from the button to the way back.
pub const OIDC_WAIT_MAX: Duration = Duration::from_secs(600);
/// Browsers that are at the identity provider; with one more, the oldest must begin again.
pub const OIDC_BEGUN_MAX: usize = 1_024;
/// How long one request to the identity provider may take.
pub const OIDC_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest answer of the identity provider.
pub const OIDC_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long what the identity provider says of itself, and its keys, are good.
pub const OIDC_FRESH: Duration = Duration::from_secs(3_600);
/// Keys are fetched at most this often because of a token that none of them has signed.
pub const OIDC_KEYS_EVERY: Duration = Duration::from_secs(60);
/// How far the clocks of the identity provider and of this machine may be apart.
pub const OIDC_CLOCKS_MAX: SignedDuration = SignedDuration::from_secs(60);
