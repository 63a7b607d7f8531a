//! Every bound of this crate, by name.

use std::time::Duration;

use jiff::SignedDuration;

/// Longest body of a request, and longest frame, that is looked at; a longer one gets 413 or is passed over.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// How far the time in a signed request may be from ours: DingTalk's own hour, kept for the others too.
pub const SIGNED_AGE_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How far the time of a Standard Webhooks request may be from ours.
pub const WEBHOOK_AGE_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Secrets of one sender that are good at the same time: the old and the new one.
pub const WEBHOOK_SECRETS_MAX: usize = 2;

/// Signatures in one header that are looked at.
pub const WEBHOOK_SIGNATURES_MAX: usize = 16;

/// Fields, and folders above a field, in a message of XML or JSON.
pub const FIELDS_MAX: usize = 256;
/// See [`FIELDS_MAX`].
pub const FIELD_DEPTH_MAX: usize = 8;

/// Messages that wait for a file, or behind one of their thread that does; beyond it a request gets 503.
pub const WAITING_MAX: usize = 256;

/// Redeliveries of one waiting message that are answered together with it.
pub const WAITING_ACKS_MAX: usize = 8;

/// Files whose addresses are asked for at one time; a message beyond it is shown without its file.
pub const FETCHES_MAX: usize = 64;

/// How long a file is waited for after its message was shown without it.
pub const FETCH_LATE_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Files that may come after their message was shown without them.
pub const LATE_MAX: usize = 1_024;

/// Messages out under way at one time; beyond it each is [`ark_conversation::channel::Outcome::Retry`].
pub const DELIVERIES_MAX: usize = 256;

/// Tries for a later piece of a message whose first piece arrived; then it is settled as `partly_sent`.
pub const PIECE_TRIES_MAX: u32 = 4;

/// How long one call to a provider may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an upload to a provider may take.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long work waits for a token.
pub const TOKEN_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// How long after a token was asked for it is not asked for again.
pub const TOKEN_ASK_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// A token this near to its end is not used.
pub const TOKEN_MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// First pause before a provider is tried again; each later one is twice as long.
pub const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(3);

/// Longest pause before a provider is tried again, without the jitter.
pub const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Threads whose reply address or identity is remembered.
pub const THREADS_MAX: usize = 4_096;

/// How long an identity that was told is not told again.
pub const IDENTITY_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Silence on a DingTalk stream after which its socket counts as dead.
pub const STREAM_IDLE_MAX: SignedDuration = SignedDuration::from_secs(120);

/// How long a DingTalk stream's socket may take to open.
pub const STREAM_OPEN_MAX: SignedDuration = SignedDuration::from_secs(15);

/// How long the old socket of a DingTalk stream stays after the new one is open: its last acknowledgements go out.
pub const STREAM_DRAIN: SignedDuration = SignedDuration::from_secs(5);

/// Events asked for in one WeCom `kf/sync_msg`.
pub const KF_PAGE: u32 = 100;

/// Customer-service accounts of one WeCom application.
pub const KF_ACCOUNTS_MAX: usize = 64;

/// Receipts of WeCom messages whose key was hashed, that can still be told apart.
pub const KF_KEYS_MAX: usize = 4_096;

/// Longest name of an account, in bytes: it stands in the source of each event.
pub const ACCOUNT_BYTES_MAX: usize = 63;

/// Events that an adapter may post in one request.
pub const INGEST_BATCH_MAX: usize = 256;

/// Longest event of an adapter: the store takes 256 KiB, with what Ark writes beside it.
pub const EVENT_BYTES_MAX: usize = 248 * 1024;

/// Messages of one adapter over AMQP that wait to be kept; the gateway holds back what comes on top, unacknowledged.
pub const BROUGHT_MAX: usize = 256;

/// First pause before a message that could not be kept is offered to the store again, and the longest one.
pub const KEEP_AGAIN_FIRST: SignedDuration = SignedDuration::from_millis(250);
/// See [`KEEP_AGAIN_FIRST`].
pub const KEEP_AGAIN_MAX: SignedDuration = SignedDuration::from_secs(5);

/// How long the broker may take to confirm a message for an adapter before it is tried again.
pub const CONFIRM_MAX: SignedDuration = SignedDuration::from_secs(30);

/// Longest manifest of an adapter.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

// A page must find room, or nothing would ever be pulled; its messages beside those of one more account.
const _: () = assert!(KF_PAGE as usize <= WAITING_MAX / 2);
