//! Every bound of the channel host, named.

use std::time::Duration;

/// Accounts in the configuration.
pub const CHANNELS_MAX: usize = 64;
/// Inputs that wait for one account's machine; a request that finds no room is answered 503.
pub const INPUTS: usize = 1_024;
/// Messages of one account that are on their way into the store; one more is refused, and its provider tries again.
pub const INGEST_MAX: usize = 512;
/// How long the store may take to keep a message before its provider is told to try again.
pub const INGEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest body of a provider's request.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bodies above [`REQUEST_BYTES_MAX`] that are read at once: files that adapters bring, of at most [`FILE_BYTES_MAX`].
pub const LARGE_BODIES_MAX: usize = 8;
/// How long a request's body may take to come.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a provider waits for its answer before it hears 503.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Calls of one account that are under way.
pub const CALLS_MAX: usize = 64;
/// Largest answer to a call, and largest message on a socket.
pub const REPLY_BYTES_MAX: usize = 4 << 20;
/// Longest time that a call may ask for.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Connections that are kept for the next call to a host, and for how long.
pub const IDLE_CONNECTIONS: usize = 8;
/// As above.
pub const IDLE_MAX: Duration = Duration::from_secs(20);
/// Redirects that a fetched file may take.
pub const REDIRECTS_MAX: usize = 3;
/// Sockets that one account may have open at a provider.
pub const SOCKETS_MAX: usize = 8;
/// Frames that wait for a slow socket before it is closed.
pub const FRAMES: usize = 256;
/// How often an open socket is pinged; one that is silent for three of them is closed.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// Messages of one adapter over AMQP that are in its machine's hands, not yet acknowledged.
pub const BROUGHT_IN_HAND: usize = 256;
/// Frames that wait for an account's link to the broker: acknowledgements of all that is in hand, and what is being sent.
pub const BROKER_FRAMES: usize = 2_048;
/// How often an adapter's queue is looked at.
pub const BROKER_LOOK: Duration = Duration::from_secs(5);
/// How long the news that somebody types may wait in an adapter's queue.
pub const TYPING_TTL: Duration = Duration::from_secs(10);
/// Files that are fetched at once.
pub const FETCHES_MAX: usize = 8;
/// Tries to fetch a file, the first included.
pub const FETCH_TRIES: u32 = 3;
/// Largest file of a customer.
pub const FILE_BYTES_MAX: u64 = 25 << 20;
/// Largest picture of a customer, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 20 << 20;
/// Most pixels of a picture: 50 megapixels; what would take more memory to decode is a bomb.
pub const IMAGE_PIXELS_MAX: u64 = 50_000_000;
/// Pictures that are decoded at once, in all accounts.
pub const DECODES_MAX: usize = 2;
/// How often due messages are looked for when nothing wakes the account.
pub const POLL: Duration = Duration::from_secs(1);
/// Messages of one account that are being sent.
pub const SENDS_MAX: usize = 32;
/// How long a claimed message may take before another gateway may claim it.
pub const CLAIM: Duration = Duration::from_secs(180);
/// How long the machine may take to settle a message; then its outcome is unknown.
pub const SETTLE_MAX: Duration = Duration::from_secs(150);
/// Pause before a message is tried again; doubled with each try, up to [`RETRY_MAX`], with jitter.
pub const RETRY_FIRST: Duration = Duration::from_secs(2);
/// As above.
pub const RETRY_MAX: Duration = Duration::from_secs(600);
/// Tries before a message is given up: about six hours.
pub const ATTEMPTS_MAX: u32 = 40;
/// A token that ends sooner is fetched anew: machines do not use one that is about to end.
pub const TOKEN_LEFT_MIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// How long a gateway may take to fetch a token before another one of the site does.
pub const TOKEN_LEASE: Duration = Duration::from_secs(15);
/// How often a gateway that waits for another's token looks, at most.
pub const TOKEN_LOOK: Duration = Duration::from_millis(300);
/// How long before its end a token is fetched anew, at most.
pub const TOKEN_AHEAD_MAX: Duration = Duration::from_secs(240);
/// How long the store may take over a token before its gateway fetches one for itself.
pub const TOKEN_STORE_WAIT: Duration = Duration::from_secs(2);
/// How often a new token is tried to be shared while others write there too.
pub const TOKEN_SWAPS_MAX: u32 = 5;
/// Calls of one account that fail one after the other before its provider is left alone for a while.
pub const BREAKER_FAILURES: u32 = 5;
/// How long it is left alone the first time; doubled each time, up to [`BREAKER_MAX`], with jitter.
pub const BREAKER_FIRST: Duration = Duration::from_secs(5);
/// As above.
pub const BREAKER_MAX: Duration = Duration::from_secs(60);
/// How long an account sends nothing after its provider said that it is too fast and not for how long.
pub const RATE_PAUSE: Duration = Duration::from_secs(1);
/// As above, when it does say; longer waits are the message's own.
pub const RATE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long the end of the process waits for what is under way.
pub const STOP_MAX: Duration = Duration::from_secs(5);
/// How long a machine's saved cursor may be.
pub const SAVED_BYTES_MAX: usize = 4_096;

const _: () = assert!(SETTLE_MAX.as_secs() < CLAIM.as_secs());
