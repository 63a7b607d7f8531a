//! Every bound of this crate, by name. What exceeds one is refused with the status said here, never cut short
//! silently.

/// Largest message that is read: the largest datagram there is, and the same on a stream (513 beyond it).
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// Header lines in one message (400 beyond it). IMS cores send more than a hundred.
pub const HEADERS_MAX: usize = 160;

/// Via values in one message, over all lines (400 beyond it): RFC 3261 lets 70 hops happen, no real path has 64.
pub const VIAS_MAX: usize = 64;

/// Parameters of one Via, name-addr or URI (400 beyond it).
pub const PARAMS_MAX: usize = 32;

/// Bytes of one URI (414 for the Request-URI, 400 elsewhere).
pub const URI_BYTES_MAX: usize = 4_096;

/// Parts of a multipart body that are looked at; later ones are ignored.
pub const MULTIPART_PARTS_MAX: usize = 8;

/// Levels of multipart within multipart that are looked at.
pub const MULTIPART_DEPTH_MAX: usize = 2;

/// Capacity a stream's buffer keeps while nothing is in it: a trunk's idle connection costs no more.
pub const STREAM_IDLE_BYTES_MAX: usize = 4_096;

/// Header lines room is made for at first: a carrier's INVITE has about 22.
pub(crate) const HEADERS_TYPICAL: usize = 32;

const _: () = assert!(HEADERS_MAX > 100 && HEADERS_MAX <= u16::MAX as usize);
const _: () = assert!(VIAS_MAX <= HEADERS_MAX);
const _: () = assert!(URI_BYTES_MAX < MESSAGE_BYTES_MAX && MESSAGE_BYTES_MAX <= u32::MAX as usize);
