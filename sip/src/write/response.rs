//! Responses: what must be echoed is echoed byte-exact (RFC 3261 8.2.6.2), `received` and `rport` are noted on the
//! top Via (18.2.1, RFC 3581 4).

use std::net::{IpAddr, SocketAddr};

use super::{Tail, clean};
use crate::text::{self, List, Split};
use crate::types::{Params, Via};
use crate::wire::{HeaderName, Message};

/// A response being built. Echoed headers come first, then those added, in the order given.
#[derive(Clone, Debug)]
pub struct ResponseBuilder<'a> {
    request: &'a Message,
    status: u16,
    reason: &'a str,
    to_tag: Option<&'a str>,
    source: Option<SocketAddr>,
    tail: Tail,
}

/// Begins the response to a request (or to the part of one in a [`crate::wire::ParseError`]). An empty `reason`
/// becomes the usual phrase of the status.
pub fn response_to<'a>(request: &'a Message, status: u16, reason: &'a str) -> ResponseBuilder<'a> {
    ResponseBuilder { request, status, reason, to_tag: None, source: None, tail: Tail::default() }
}

impl<'a> ResponseBuilder<'a> {
    /// The tag To gets when it has none. Not for 100.
    #[must_use]
    pub const fn to_tag(mut self, tag: &'a str) -> Self {
        self.to_tag = Some(tag);
        self
    }

    /// Where the request came from: the top Via gets `received` when its host is a name or another address, or when
    /// `rport` was asked for, which is then filled in. What the peer itself wrote there is replaced.
    #[must_use]
    pub const fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

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

    /// The bytes to send.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.tail.lines.len() + self.tail.body.len());
        let reason = if self.reason.is_empty() { reason_phrase(self.status) } else { self.reason };
        out.extend_from_slice(format!("SIP/2.0 {:03} ", self.status).as_bytes());
        out.extend_from_slice(&clean(reason.as_bytes()));
        out.extend_from_slice(b"\r\n");
        let mut vias = 0;
        let mut seen = [false; 4];
        for (name, value) in self.request.header_lines() {
            let once = |seen: &mut bool| !std::mem::replace(seen, true);
            match name {
                HeaderName::Via => {
                    if vias == 0 {
                        self.push_top_via(&mut out, value);
                    } else {
                        push_exact(&mut out, "Via", value);
                    }
                    vias += 1;
                }
                HeaderName::From if once(&mut seen[0]) => push_exact(&mut out, "From", value),
                HeaderName::To if once(&mut seen[1]) => self.push_to(&mut out, value),
                HeaderName::CallId if once(&mut seen[2]) => push_exact(&mut out, "Call-ID", value),
                HeaderName::CSeq if once(&mut seen[3]) => push_exact(&mut out, "CSeq", value),
                // Dialogs learn their routes from 1xx and 2xx (RFC 3261 12.1.1).
                HeaderName::RecordRoute if (101..300).contains(&self.status) => {
                    push_exact(&mut out, "Record-Route", value);
                }
                // RFC 3261 8.2.6.1.
                HeaderName::Timestamp if self.status == 100 => push_exact(&mut out, "Timestamp", value),
                _ => {}
            }
        }
        self.tail.finish(out)
    }

    fn push_to(&self, out: &mut Vec<u8>, value: &[u8]) {
        let has_tag = self.request.to().is_ok_and(|to| to.tag().is_some());
        out.extend_from_slice(b"To: ");
        out.extend_from_slice(value);
        if let Some(tag) = self.to_tag.filter(|_| !has_tag) {
            out.extend_from_slice(b";tag=");
            out.extend(tag.bytes().filter(|byte| text::is_token(*byte)));
        }
        out.extend_from_slice(b"\r\n");
    }

    fn push_top_via(&self, out: &mut Vec<u8>, line: &[u8]) {
        let noted = self.source.and_then(|source| {
            let top = List::new(line, Split::Commas).next()?;
            let via = Via::parse(top).ok()?;
            Some((via, source, line.iter().position(|byte| !text::is_blank(*byte) && *byte != b',')?))
        });
        let Some((via, source, start)) = noted else { return push_exact(out, "Via", line) };
        let asks_rport = via.params.has(b"rport");
        let ip = canonical(source.ip());
        if !asks_rport && via.host.ip().map(canonical) == Some(ip) && !via.params.has(b"received") {
            return push_exact(out, "Via", line);
        }
        out.extend_from_slice(b"Via: ");
        let before_params = via.raw.len() - via.params.raw().len();
        out.extend_from_slice(text::trim(&via.raw[..before_params]));
        push_params_without_source(out, via.params);
        if asks_rport {
            out.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
        }
        out.extend_from_slice(format!(";received={ip}").as_bytes());
        out.extend_from_slice(&line[start + via.raw.len()..]);
        out.extend_from_slice(b"\r\n");
    }
}

/// The address as the peer knows it: IPv4 where a dual-stack socket shows it mapped into IPv6.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn push_params_without_source(out: &mut Vec<u8>, params: Params<'_>) {
    for (name, value) in params.iter() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

/// A line as the peer wrote it, folds included: its continuation lines begin with a blank, so none of them is a new
/// header.
fn push_exact(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The usual phrase of a status (RFC 3261 21 and the later RFCs).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => "Unknown",
    }
}
