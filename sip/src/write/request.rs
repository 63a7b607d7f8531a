//! Requests.

use super::Tail;
use crate::text;
use crate::types::Method;

/// A request being built. Headers are written in the order given.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    out: Vec<u8>,
    tail: Tail,
}

/// Begins a request with its request line. Bytes that no URI holds are escaped as `%XX`; a method that is no token is
/// written without the bytes that make it none.
pub fn request(method: Method<'_>, uri: &[u8]) -> RequestBuilder {
    let mut out = Vec::with_capacity(512);
    out.extend(method.as_bytes().iter().filter(|byte| text::is_token(**byte)));
    out.push(b' ');
    for byte in uri {
        match byte {
            0..=b' ' | b'<' | b'>' | b'"' | 0x7f => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.extend_from_slice(b" SIP/2.0\r\n");
    RequestBuilder { out, tail: Tail::default() }
}

impl RequestBuilder {
    /// Adds a header line. Line ends in the value become spaces; a name that is no token is left out, as is
    /// Content-Length, which is always computed.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.tail.header(name, value.as_ref());
        self
    }

    /// Sets the body and adds its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.tail.body(content_type, body.into());
        self
    }

    /// Sets the body alone: its Content-Type was added as a header.
    #[must_use]
    pub(crate) fn raw_body(mut self, body: Vec<u8>) -> Self {
        self.tail.body = body;
        self
    }

    /// The bytes to send.
    pub fn finish(self) -> Vec<u8> {
        self.tail.finish(self.out)
    }
}
