//! Messages out of a TCP or TLS connection.

use super::head::{self, Head};
use super::{Carrier, ErrorKind, Framing, Message, ParseError, frame};
use crate::limits::{MESSAGE_BYTES_MAX, STREAM_IDLE_BYTES_MAX};

/// Cuts one connection's bytes into messages, by the same routine as datagrams. Bytes may come in any pieces. Call
/// [`StreamFramer::next_message`] until it gives None after each push: then never more than one unfinished message is
/// held.
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

    /// The next whole message or error; None when more bytes are needed. After an error whose end is known the next
    /// message follows; after any other [`StreamFramer::is_broken`] is true and nothing follows.
    pub fn next_message(&mut self) -> Option<Result<Message, ParseError>> {
        if self.broken {
            return None;
        }
        self.skip_line_ends();
        let bytes = &self.buffer[self.start..];
        if self.total.is_some_and(|total| bytes.len() < total) {
            return None;
        }
        let length = head::head_end(bytes, &mut self.scanned);
        if length.unwrap_or(bytes.len()) > MESSAGE_BYTES_MAX {
            let reason = "the header section is too large";
            return Some(Err(self.broken_by(ParseError::new(ErrorKind::TooLarge, 513, reason, MESSAGE_BYTES_MAX))));
        }
        let Some(length) = length else {
            self.compact();
            return None;
        };
        let head = Head::read(bytes, length);
        match frame(&head, bytes, Carrier::Stream) {
            Ok(Framing::Awaits(total)) => {
                self.total = Some(total);
                // The head is read again when the body is there; its end is then found in one step.
                self.scanned = length - if bytes[length - 2] == b'\r' { 3 } else { 2 };
                self.compact();
                None
            }
            Ok(Framing::Whole(total)) => {
                let message = Message::check(bytes[..total].to_vec(), head, None);
                self.start += total;
                self.begin_anew();
                Some(message)
            }
            Err(error) => {
                let error = Message::check(bytes[..length].to_vec(), head, Some(error.clone())).err().unwrap_or(error);
                Some(Err(self.broken_by(error)))
            }
        }
    }

    /// Whether the message boundaries are lost: the connection is of no more use (answer what is to be answered,
    /// close it).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(number: usize, length: &str, body: &str) -> Vec<u8> {
        format!(
            "OPTIONS sip:95188@hotline.example SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK{number}\r\n\
             From: <sip:a@ark.test>;tag=t\r\nTo: <sip:95188@hotline.example>\r\nCall-ID: {number}\r\n\
             CSeq: {number} OPTIONS\r\n{length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    fn all(framer: &mut StreamFramer) -> Vec<Result<Vec<u8>, u16>> {
        std::iter::from_fn(|| framer.next_message())
            .map(|result| result.map(|message| message.raw().to_vec()).map_err(|error| error.code))
            .collect()
    }

    #[test]
    fn messages_come_out_the_same_byte_by_byte_and_all_at_once() {
        let mut bytes = options(1, "Content-Length : 5", "hello");
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend(options(2, "l: 0", ""));
        let mut whole = StreamFramer::new();
        whole.push(&bytes);
        let messages = all(&mut whole);
        let mut single = StreamFramer::new();
        let mut found = Vec::new();
        for byte in &bytes {
            single.push(std::slice::from_ref(byte));
            found.extend(all(&mut single));
        }
        assert_eq!((messages.len(), &found), (2, &messages));
        assert_eq!((whole.take_pings(), single.take_pings()), (1, 1));
        assert!(!single.is_midway());
    }

    #[test]
    fn a_body_is_never_read_as_a_request() {
        let inner = String::from_utf8(options(9, "l: 0", "")).unwrap();
        let mut framer = StreamFramer::new();
        framer.push(&options(1, &format!("Content-Length \t: {}", inner.len()), &inner));
        assert_eq!(all(&mut framer).len(), 1);
    }

    #[test]
    fn no_length_and_two_lengths_end_the_stream() {
        for length in
            ["X: y", "l: 5\r\nContent-Length: 6", "l: five", "Content-Length\r\n : 5", "Content Length: 5\r\nl: 0"]
        {
            let mut framer = StreamFramer::new();
            framer.push(&options(1, length, "hello"));
            framer.push(&options(2, "l: 0", ""));
            let error = framer.next_message().unwrap().unwrap_err();
            assert_eq!((error.code, error.kind), (400, ErrorKind::Framing), "{length}");
            assert!(error.partial.is_some(), "it can be answered: {length}");
            assert!(framer.is_broken() && framer.next_message().is_none());
        }
    }

    #[test]
    fn garbage_with_a_length_does_not_cost_the_connection() {
        let mut framer = StreamFramer::new();
        framer.push(b"hello there\r\nl: 4\r\n\r\nbodyFOO sip:x SIP/2.0\r\nCSeq: 1 BAR\r\nl: 0\r\n\r\n");
        framer.push(&options(3, "l: 0", ""));
        assert_eq!(all(&mut framer), [Err(0), Err(400), Ok(options(3, "l: 0", ""))]);
    }

    #[test]
    fn a_message_too_large_is_refused_before_it_comes() {
        let mut framer = StreamFramer::new();
        framer.push(&options(1, "Content-Length: 70000", ""));
        assert_eq!(all(&mut framer), [Err(513)]);
        let mut framer = StreamFramer::new();
        for _ in 0..70 {
            framer.push(&[b'x'; 1_000]);
            if let Some(result) = framer.next_message() {
                assert_eq!(result.unwrap_err().code, 513);
            }
        }
        assert!(framer.is_broken());
    }

    #[test]
    fn an_idle_connection_holds_next_to_nothing() {
        let mut framer = StreamFramer::new();
        framer.push(&options(1, "l: 60000", &"x".repeat(60_000)));
        assert_eq!(all(&mut framer).len(), 1);
        assert!(framer.buffer.capacity() <= STREAM_IDLE_BYTES_MAX);
    }
}
