//! Bytes into messages. One framing routine for datagrams and streams; a message is its bytes and a table of header
//! spans; typed views are read when asked for. Nothing depends on UTF-8.

mod checks;
mod head;
mod message;
mod multipart;
mod names;
mod stream;

use std::fmt;

pub use checks::Rejection;
pub use message::{Message, StartLine};
pub use names::HeaderName;
pub use stream::StreamFramer;

use crate::limits::MESSAGE_BYTES_MAX;
use head::{Head, Length};

/// What kind of failure a [`ParseError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Only line ends: a keep-alive (RFC 5626 4.4.1); drop it, and do not count it as garbage.
    KeepAlive,
    /// Not SIP at all.
    NotSip,
    /// SIP of another version.
    Version,
    /// Larger than a bound of [`crate::limits`].
    TooLarge,
    /// The message's end is unknown or disputed. On a stream nothing after it can be trusted.
    Framing,
    /// A start line or header that cannot be read.
    Syntax,
}

/// Why bytes are not a message.
#[derive(Clone, Debug)]
pub struct ParseError {
    /// The SIP status the message would get; 0: it gets none (responses, ACK, keep-alives, noise).
    pub code: u16,
    /// One short sentence without anything of the message in it.
    pub reason: &'static str,
    /// Where in the bytes given (a datagram) or in the message (a stream) the trouble stands.
    pub offset: usize,
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// The request as far as it was read, when it can be answered: its head is whole and its top Via readable. Its
    /// headers serve [`crate::write::response_to`] only; nothing else may be done with it.
    pub partial: Option<Box<Message>>,
}

impl ParseError {
    fn new(kind: ErrorKind, code: u16, reason: &'static str, offset: usize) -> Self {
        Self { code, reason, offset, kind, partial: None }
    }

    /// Of a response nothing is ever answered, nor of an ACK (RFC 3261 17.1.1.2).
    fn silenced(mut self) -> Self {
        self.code = 0;
        self.partial = None;
        self
    }

    fn shifted(mut self, by: usize) -> Self {
        self.offset += by;
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {}; answer {})", self.reason, self.offset, self.code)
    }
}

impl std::error::Error for ParseError {}

/// How the bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Datagram,
    Stream,
}

/// Where a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Bytes of head and body together.
    Whole(usize),
    /// The head is whole; the message will be this long.
    Awaits(usize),
}

/// Reads one datagram: one message; octets after its Content-Length are dropped (RFC 3261 18.3), without a
/// Content-Length the body is the rest. Line ends before the message are skipped. The bytes are copied once.
///
/// # Errors
/// See [`ParseError`]; a datagram of line ends only is [`ErrorKind::KeepAlive`].
pub fn parse_datagram(bytes: &[u8]) -> Result<Message, ParseError> {
    let skipped = head::leading_line_ends(bytes);
    let bytes = &bytes[skipped..];
    if bytes.is_empty() {
        return Err(ParseError::new(ErrorKind::KeepAlive, 0, "a keep-alive", 0));
    }
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ParseError::new(ErrorKind::TooLarge, 513, "the message is too large", skipped + MESSAGE_BYTES_MAX));
    }
    let Some(head) = Head::find(bytes) else {
        let looks_like_sip = message::looks_like_sip(bytes);
        let (kind, code) = if looks_like_sip { (ErrorKind::Framing, 400) } else { (ErrorKind::NotSip, 0) };
        let code = if bytes.starts_with(b"SIP/") { 0 } else { code };
        return Err(ParseError::new(kind, code, "the header section has no end", skipped + bytes.len()));
    };
    let length = head.length;
    let (total, framing) = match frame(&head, bytes, Carrier::Datagram) {
        Ok(Framing::Whole(total)) => (total, None),
        Ok(Framing::Awaits(_)) => {
            let reason = "Content-Length is larger than the datagram";
            (bytes.len(), Some(ParseError::new(ErrorKind::Framing, 400, reason, length)))
        }
        Err(error) => (length, Some(error)),
    };
    Message::check(bytes[..total].to_vec(), head, framing).map_err(|error| error.shifted(skipped))
}

/// Says where the message ends, for both carriers. RFC 3261 18.3, 20.14.
fn frame(head: &Head, bytes: &[u8], carrier: Carrier) -> Result<Framing, ParseError> {
    let trouble = |code, reason, offset| Err(ParseError::new(ErrorKind::Framing, code, reason, offset));
    if let Some(fault) = head.fault.filter(|fault| carrier == Carrier::Stream && fault.blurs_framing) {
        return trouble(400, fault.reason, fault.offset);
    }
    let length = match (head.length_of_body(bytes), carrier) {
        (Length::Bytes(length), _) | (Length::Conflict(length, _), Carrier::Datagram) => length,
        (Length::Absent, Carrier::Datagram) => bytes.len() - head.length,
        (Length::Absent, Carrier::Stream) => return trouble(400, "no Content-Length on a stream", head.length),
        (Length::Unreadable(at), _) => return trouble(400, "Content-Length is not a number", at),
        (Length::Conflict(_, at), Carrier::Stream) => return trouble(400, "Content-Length values differ", at),
    };
    let total = head.length.saturating_add(length);
    if carrier == Carrier::Stream && total > MESSAGE_BYTES_MAX {
        return Err(ParseError::new(ErrorKind::TooLarge, 513, "the message is too large", head.length));
    }
    Ok(if total <= bytes.len() { Framing::Whole(total) } else { Framing::Awaits(total) })
}
