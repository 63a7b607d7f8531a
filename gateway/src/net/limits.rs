//! Every bound of the signalling rim.

use std::time::Duration;

/// Datagrams read from one socket before the core looks at timers, media events and commands again.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// The largest datagram: UDP's own limit.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Receive buffer asked for on each UDP socket. 4 MiB holds about 3,000 INVITEs of 1.3 kB: half a second of a flood.
pub const UDP_RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// TCP connections that may be open at a time (a silent one costs a task and two small buffers).
pub const CONNECTIONS_MAX: usize = 4_096;
/// TCP connections that one address may have open at a time (AST-2016-005: silent sockets exhausted a peer).
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 256;
/// Messages that wait to be written on one connection; a peer that reads slower is disconnected.
pub const CONNECTION_QUEUE: usize = 256;
/// Messages read from all connections that wait for the core.
pub const INGRESS_QUEUE: usize = 4_096;
/// Time that a TCP connection to a peer may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing complete has arrived for this long, and nothing was sent, is closed.
/// Carriers send OPTIONS or CRLF each 30 to 60 s.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(600);
/// A connection that has not sent one whole message in this time is closed.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Peers whose local address is remembered.
pub const LOCAL_ADDRESSES_MAX: usize = 4_096;
/// Time that a peer may take to read a message that is written to it; then its connection is closed.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection whose framing broke waits for the answer that tells its peer so.
pub const LAST_WORD: Duration = Duration::from_millis(500);
/// A socket that has had more to read than a turn takes for this long means overload.
pub const BACKLOG_MAX: Duration = Duration::from_millis(50);
/// What callers are told to wait after a 503 for overload.
pub const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(5);
