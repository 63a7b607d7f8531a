//! Every bound of the web face, named.

use std::time::Duration;

/// Largest request body: a plan's source.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections at once; one more waits in the system's queue until another ends.
pub const CONNECTIONS_MAX: usize = 1_024;
/// How long a client may take to send a request's head, the wait for the next request of a connection included.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of the process waits for answers that are being read; event streams are cut after it.
pub const STOP_MAX: Duration = Duration::from_secs(1);
/// Longest time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS handshakes at once.
pub const HANDSHAKES_MAX: usize = 64;
/// Event streams at once; one more is answered 503.
pub const STREAMS_MAX: usize = 256;
/// Events that wait for a slow reader of a stream before the stream ends, so that it re-reads the log.
pub const STREAM_QUEUE: usize = 256;
/// Event types that one request may name.
pub const TYPES_MAX: usize = 64;
/// A stream of the whole log looks into the store at most this often: what comes in between shares the next look.
pub const FEED_EVERY: Duration = Duration::from_millis(20);
/// A stream of the whole log looks into the store at least this often, whatever the bus says.
pub const FEED_POLL: Duration = Duration::from_secs(1);
/// Pages of the history that wait for a slow reader.
pub const HISTORY_PAGES: usize = 2;
/// How often an idle event stream shows that it lives.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Conversations, or events of one, in one answer.
pub const PAGE_MAX: usize = 500;
/// The same when the request names no number.
pub const PAGE_DEFAULT: usize = 50;

const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
