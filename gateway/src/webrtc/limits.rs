//! Every bound of browsers' legs.

use std::time::Duration;

/// Sockets of browsers' signalling at a time; one more is answered 503.
pub const SOCKETS_MAX: usize = 4_096;
/// The largest message of a browser: an SDP with many candidates is a few kilobytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Messages of a browser that are read in a second, on average; a page that sends more is cut off.
pub const MESSAGES_PER_SECOND_MAX: u32 = 20;
/// Messages that may come in one burst.
pub const MESSAGES_BURST: u32 = 100;
/// What waits for one browser's task.
pub const MAILBOX: usize = 32;
/// How long a page may take to say who it is.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message to a browser may take to leave before its socket counts as broken.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a socket shows that it lives.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// A socket of which nothing came for so long is broken: two pings were not answered.
pub const SOCKET_SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long a call waits for its page to come back whose socket broke without a word.
pub const COME_BACK_MAX: Duration = Duration::from_millis(4_500);
/// How long an operator's call waits for its page: one that is loaded anew, or a machine that slept. The other side hears music.
pub const RETURN_MAX: Duration = Duration::from_secs(15);
/// How long the road to a browser may take to be found, from the answer on.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a page whose road broke may take to find another while its signalling is up.
pub const RESTART_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a page whose road broke may take to show that its signalling is up.
pub const PROOF_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Nothing came over the road for this long: it is broken (ICE consent, RFC 7675, is sent every second).
pub const ROAD_SILENCE_MAX: Duration = Duration::from_secs(3);
/// How often the road is checked while nothing else is sent on it.
pub const ROAD_CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long candidates are gathered: with no server to ask, all are known at once.
pub const GATHER_MAX: Duration = Duration::from_secs(2);
/// How long a road may take to end in order.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Candidates of a browser that are taken.
pub const CANDIDATES_MAX: usize = 64;
/// Ports tried for one leg before it is given up.
pub const PORT_ATTEMPTS: usize = 32;
/// Formats of an offer that are looked at.
pub const FORMATS_MAX: usize = 64;
/// Longest name of an operator, and of a caller as a site tells it.
pub const NAME_CHARS_MAX: usize = 64;
/// How long a call token is good when the request names no time.
pub const CALL_TOKEN_DEFAULT: Duration = Duration::from_secs(120);
/// How long a call token may be good.
pub const CALL_TOKEN_MAX: Duration = Duration::from_secs(3_600);
/// How long an operator's token is good when the request names no time: a shift.
pub const OPERATOR_TOKEN_DEFAULT: Duration = Duration::from_secs(12 * 3_600);
/// How long an operator's token may be good.
pub const OPERATOR_TOKEN_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Packets to a browser between two looks at how long its road is: five seconds of them.
pub(crate) const ROUND_TRIP_PACKETS: u32 = 250;
