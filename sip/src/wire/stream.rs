//! Messages out of a TCP or TLS connection.

use super::head::{self, Head};
use super::{Carrier, ErrorKind, Framing, Message, ParseError, frame};
use crate::limits::{MESSAGE_BYTES_MAX, STREAM_IDLE_BYTES_MAX};

/// Cuts one connection's bytes into messages, by the same routine as datagrams. Bytes may come in any pieces. Call
/// [`StreamFramer::next_message`] until it gives None after each push: then never more than one unfinished message is held.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already given out.
    start: usize,
    /// How far from `start` the head's end was looked for.
    scanned: usize,
    /// How long the message at `start` will be, once its head is whole.
    total: Option<usize>,
    /// Line ends between messages since the last message, up to 4.
    line_ends: usize,
    pings: u32,
    broken: bool,
}

impl StreamFramer {
    /// A framer for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they came. After a framing error they are thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole message or error; None when more bytes are needed. After an error whose end is known the next message
    /// follows; after any other [`StreamFramer::is_broken`] is true and nothing follows.
    pub fn next_message(&mut self) -> Option<Result<Message, ParseError>> {
        if self.broken {
            return None;
        }
        self.skip_line_ends();
        let bytes = &self.buffer[self.start..];
        if self.total.is_some_and(|total| bytes.len() < total) {
            return None;
        }
        let Some(length) = head::head_end(bytes, &mut self.scanned) else {
            if bytes.len() > MESSAGE_BYTES_MAX {
                let error = ParseError::new(ErrorKind::TooLarge, 513, "the header section is too large", bytes.len());
                return Some(Err(self.broken_by(error)));
            }
            self.compact();
            return None;
        };
        let head = Head::read(bytes, length);
        match frame(&head, bytes, Carrier::Stream) {
            Ok(Framing::Awaits(total)) => {
                self.total = Some(total);
                // The head's end is found again when the body is there: in one step, from just before it.
                self.scanned = length - 2;
                if bytes[length - 2] == b'\r' {
                    self.scanned = length - 3;
                }
                None
            }
            Ok(Framing::Whole(total)) => {
                let message = Message::check(bytes[..total].to_vec(), head, None);
                self.start += total;
                self.begin_anew();
                Some(message)
            }
            Err(error) => {
                let error = Message::check(bytes[..length.min(MESSAGE_BYTES_MAX)].to_vec(), head, Some(error.clone()))
                    .err()
                    .unwrap_or(error);
                Some(Err(self.broken_by(error)))
            }
        }
    }

    /// Whether the message boundaries are lost: the connection is of no more use (answer what is to be answered, close it).
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether bytes of an unfinished message are held.
    pub fn is_midway(&self) -> bool {
        !self.broken && self.buffer.len() > self.start
    }

    /// How many double-CRLF pings came since the last call; each wants one CRLF back (RFC 5626 3.5.1).
    pub fn take_pings(&mut self) -> u32 {
        std::mem::take(&mut self.pings)
    }

    fn skip_line_ends(&mut self) {
        while let Some(b'\r' | b'\n') = self.buffer.get(self.start) {
            self.line_ends += 1;
            self.start += 1;
            if self.line_ends == 4 {
                self.line_ends = 0;
                self.pings = self.pings.saturating_add(1);
            }
        }
        if self.start == self.buffer.len() {
            self.compact();
        } else {
            self.line_ends = 0;
        }
    }

    fn begin_anew(&mut self) {
        self.scanned = 0;
        self.total = None;
        self.line_ends = 0;
    }

    fn broken_by(&mut self, mut error: ParseError) -> ParseError {
        self.broken = true;
        self.buffer = Vec::new();
        self.start = 0;
        if error.kind != ErrorKind::TooLarge {
            error.kind = ErrorKind::Framing;
        }
        error
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(STREAM_IDLE_BYTES_MAX);
        }
    }
}
