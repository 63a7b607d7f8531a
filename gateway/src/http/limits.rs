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
/// How long a WebSocket may be open before its client has shown the token.
pub const SOCKET_HELLO_MAX: Duration = Duration::from_secs(10);
/// WebSockets of clients that have not shown the token yet; one more is answered 503.
pub const SOCKET_STRANGERS_MAX: usize = 32;
/// Largest message of a WebSocket's client.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// How long one message may take to be taken by a WebSocket's client; one that is slower is cut, and goes on later.
pub const SOCKET_SEND_MAX: Duration = Duration::from_secs(10);
/// How long the word that it was too slow waits for a WebSocket's client to read it.
pub const SOCKET_SLOW_GOODBYE: Duration = Duration::from_secs(30);
/// A WebSocket's client that answers no ping for so long is gone: three pings.
pub const SOCKET_SILENCE_MAX: Duration = Duration::from_secs(45);
/// How old the copy of the site's API tokens may be: a token that is revoked at another gateway opens nothing here after it.
pub const TOKEN_FRESH: Duration = Duration::from_secs(5);
/// The store is asked for API tokens at most this often, whatever is presented.
pub const TOKEN_ASK_EVERY: Duration = Duration::from_secs(1);
/// How long API tokens are good without the store.
pub const TOKEN_STALE_MAX: Duration = Duration::from_secs(60);
/// How often a token is written down as used.
pub const TOKEN_USED_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Conversations of which it is remembered who sees them; with one more, all are read anew.
pub const FACTS_KNOWN_MAX: usize = 16_384;
/// How old what is known of who sees a conversation may be, where no record says that it changed.
pub const FACTS_FRESH: Duration = Duration::from_millis(250);
/// Calls that a stream may not show yet and whose newest state it keeps until it may.
pub const LIVE_HELD_MAX: usize = 1_024;
/// Pages of the store that are gone through for one page of what somebody sees; then the page ends early.
pub const SIGHT_PAGES_MAX: usize = 20;
/// Conversations, or events of one, in one answer.
pub const PAGE_MAX: usize = 500;
/// The same when the request names no number.
pub const PAGE_DEFAULT: usize = 50;
/// Wrong tries to sign in that are written into the audit within a minute; the program's log has all.
pub const AUDIT_WRONG_PER_MINUTE: u32 = 60;
/// Bytes of what an entry of the audit says is otherwise.
pub const AUDIT_DETAIL_BYTES_MAX: usize = 1_000;
/// Pages of the system's log in which one page of the audit is looked for.
pub const AUDIT_PAGES_MAX: usize = 20;

const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);

/// Windows of the log that one request for words looks through.
pub const SEARCH_WINDOWS_MAX: usize = 5;
/// Places in one conversation that one answer names.
pub const SEARCH_PER_CONVERSATION_MAX: usize = 5;
/// Places in one answer, when the request names no number; and the most.
pub const SEARCH_DEFAULT: usize = 20;
/// The most places in one answer.
pub const SEARCH_MAX: usize = 50;
/// Characters of what was said that are shown of it.
pub const SEARCH_EXCERPT_CHARS: usize = 160;
/// Of these, at most so many before the words.
pub const SEARCH_EXCERPT_BEFORE: usize = 40;

/// Quick replies in one list.
pub const QUICK_REPLIES_MAX: usize = 50;
/// Characters of one.
pub const QUICK_REPLY_CHARS_MAX: usize = 1_000;

/// Records of a log that its automatic summary is made of: the last so many.
pub const SUMMARY_RECORDS_MAX: u64 = 20_000;

/// Pages of a log that are gone through for one page of its messages.
pub const MESSAGE_PAGES_MAX: usize = 20;

/// A person's newest conversations that are shown with them.
pub const PERSON_CONVERSATIONS: usize = 50;

/// Bytes of a picture that an agent sends.
pub const PICTURE_BYTES_MAX: usize = 20 << 20;
/// How long such a picture may take to come.
pub const PICTURE_UPLOAD_MAX: Duration = Duration::from_secs(60);
/// Such pictures whose bytes are in memory at once; the others wait.
pub const PICTURES_AT_ONCE: usize = 4;
