//! The message: its bytes, the header table, typed views.

use std::fmt;

use super::head::{Head, HeaderSpan, Span};
use super::names::{HeaderName, NameId};
use super::{ErrorKind, ParseError, multipart};
use crate::limits::{URI_BYTES_MAX, VIAS_MAX};
use crate::text::{self, List, Split};
use crate::types::{CSeq, FieldError, Method, NameAddr, Uri, Via};

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request.
    Request {
        /// The method.
        method: Method<'a>,
        /// The Request-URI as it came.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, often empty, in any encoding.
        reason: &'a [u8],
    },
}

/// The first line as spans.
#[derive(Clone, Copy, Debug)]
enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// One complete SIP message: its bytes and a table of header spans. One owner, cheap to move.
#[derive(Clone)]
pub struct Message {
    bytes: Vec<u8>,
    start: Start,
    headers: Vec<HeaderSpan>,
    body: usize,
    core: Core,
}

/// What was read of the core headers when the message was accepted; transactions and dialogs are found by it. Nothing in a
/// [`ParseError::partial`].
#[derive(Clone, Copy, Debug, Default)]
struct Core {
    top_branch: Option<Span>,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
    call_id: Option<Span>,
    cseq: Option<(u32, Span)>,
}

impl fmt::Debug for Message {
    /// Says what it is, not what is in it: numbers and names are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start_line() {
            StartLine::Request { method, .. } => write!(f, "Message({method}, ")?,
            StartLine::Response { status, .. } => write!(f, "Message({status}, ")?,
        }
        write!(f, "{} headers, {} bytes)", self.headers.len(), self.bytes.len())
    }
}

impl Message {
    /// Builds the message from its framed bytes and looks at everything that must be readable; `framing` is what the
    /// framing routine had to say. When the request can be answered all the same, the error carries it.
    pub(super) fn check(bytes: Vec<u8>, head: Head, framing: Option<ParseError>) -> Result<Self, ParseError> {
        let start = match Start::read(&bytes, head.start_line) {
            Ok(start) => start,
            Err((error, None)) => return Err(error),
            Err((error, Some(start))) => return Err(Self::build(bytes, head, start).0.refused(error)),
        };
        let (mut message, fault) = Self::build(bytes, head, start);
        if let Some(error) = framing.or(fault) {
            return Err(message.refused(error));
        }
        match message.read_core() {
            Ok(core) => {
                message.core = core;
                Ok(message)
            }
            Err(error) => Err(message.refused(error)),
        }
    }

    fn build(bytes: Vec<u8>, head: Head, start: Start) -> (Self, Option<ParseError>) {
        let fault = head.fault.map(|fault| ParseError::new(ErrorKind::Syntax, 400, fault.reason, fault.offset));
        (Self { bytes, start, headers: head.headers, body: head.length, core: Core::default() }, fault)
    }

    /// Turns the message into the error's partial one, when an answer could find its way.
    fn refused(self, mut error: ParseError) -> ParseError {
        if !self.is_request() || self.method() == Some(Method::Ack) {
            return error.silenced();
        }
        let complete = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
            .iter()
            .all(|name| self.header(*name).is_some());
        if complete && self.top_via().is_some_and(|via| via.is_ok()) {
            error.partial = Some(Box::new(self));
        }
        error
    }

    /// Reads the message's core, or says what is the first thing of it that cannot be read, in the order of the header
    /// lines.
    fn read_core(&self) -> Result<Core, ParseError> {
        let trouble = |reason, offset: u32| Err(ParseError::new(ErrorKind::Syntax, 400, reason, offset as usize));
        if let Start::Request { uri, .. } = self.start
            && let Err(FieldError(reason)) = Uri::parse(uri.of(&self.bytes))
        {
            let code = if (uri.end - uri.start) as usize > URI_BYTES_MAX { 414 } else { 400 };
            return Err(ParseError::new(ErrorKind::Syntax, code, reason, uri.start as usize));
        }
        let mut core = Core::default();
        let (mut vias, mut froms, mut tos) = (0, 0, 0);
        let mut cseq = None;
        for header in &self.headers {
            let value = header.value.of(&self.bytes);
            let checked = match header.id {
                NameId::Via => List::new(value, Split::Commas).try_for_each(|value| {
                    vias += 1;
                    if vias > VIAS_MAX {
                        return Err(FieldError("too many Vias"));
                    }
                    let via = Via::parse(value)?;
                    if vias == 1 {
                        core.top_branch = via.branch().and_then(|branch| self.span_of(branch));
                    }
                    Ok(())
                }),
                NameId::From if froms == 0 => {
                    froms = 1;
                    NameAddr::parse(value).map(|from| core.from_tag = from.tag().and_then(|tag| self.span_of(tag)))
                }
                NameId::To if tos == 0 => {
                    tos = 1;
                    NameAddr::parse(value).map(|to| core.to_tag = to.tag().and_then(|tag| self.span_of(tag)))
                }
                NameId::CallId if core.call_id.is_none() => {
                    core.call_id = Some(header.value);
                    Ok(())
                }
                NameId::CSeq if cseq.is_none() => {
                    cseq = Some(header.value);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(FieldError(reason)) = checked {
                return trouble(reason, header.value.start);
            }
        }
        let Some(cseq) = cseq else { return Ok(core) };
        match CSeq::parse(cseq.of(&self.bytes)) {
            Err(FieldError(reason)) => trouble(reason, cseq.start),
            Ok(value) => {
                let method = value.method.as_bytes();
                if matches!(self.start, Start::Request { method: own, .. } if own.of(&self.bytes) != method) {
                    return trouble("CSeq names another method than the request line", cseq.start);
                }
                // The method ends the value.
                let end = cseq.end as usize;
                core.cseq = Some((value.number, Span::new(end - method.len(), end)));
                Ok(core)
            }
        }
    }

    /// Where a part of the message stands in it.
    fn span_of(&self, part: &[u8]) -> Option<Span> {
        if part.is_empty() {
            // `;tag` without a value is there all the same, and may stand nowhere in the message.
            return Some(Span::default());
        }
        let start = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        (start + part.len() <= self.bytes.len()).then(|| Span::new(start, start + part.len()))
    }

    /// The branch of the top Via. None: none is there (RFC 2543), or the message was refused.
    pub fn top_branch(&self) -> Option<&[u8]> {
        self.core.top_branch.map(|span| span.of(&self.bytes))
    }

    /// The tag of From. None: none is there (RFC 2543), or the message was refused.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.core.from_tag.map(|span| span.of(&self.bytes))
    }

    /// The tag of To. None: none is there, or the message was refused.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.core.to_tag.map(|span| span.of(&self.bytes))
    }

    /// The first line.
    pub fn start_line(&self) -> StartLine<'_> {
        match self.start {
            Start::Request { method, uri } => {
                StartLine::Request { method: Method::from_bytes(method.of(&self.bytes)), uri: uri.of(&self.bytes) }
            }
            Start::Response { status, reason } => StartLine::Response { status, reason: reason.of(&self.bytes) },
        }
    }

    /// Whether this is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request; None of a response (see [`Message::cseq`]).
    pub fn method(&self) -> Option<Method<'_>> {
        match self.start_line() {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The status of a response, 100 to 699.
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The Request-URI. It was readable when the message was accepted; its scheme may be one nobody knows (416).
    pub fn request_uri(&self) -> Option<Uri<'_>> {
        match self.start {
            Start::Request { uri, .. } => Uri::parse(uri.of(&self.bytes)).ok(),
            Start::Response { .. } => None,
        }
    }

    fn span(&self, name: HeaderName<'_>) -> Option<Span> {
        self.lines_of(name).next()
    }

    fn lines_of<'a>(&'a self, name: HeaderName<'a>) -> impl Iterator<Item = Span> + use<'a> {
        let id = name.id();
        self.headers.iter().filter_map(move |header| {
            let same = header.id == id
                && match name {
                    HeaderName::Other(text) => header.name.of(&self.bytes).eq_ignore_ascii_case(text),
                    _ => true,
                };
            same.then_some(header.value)
        })
    }

    /// The first line of that name: its raw value without the blanks around it ([`crate::types::unfold`] when it may
    /// be folded).
    pub fn header<'a>(&'a self, name: HeaderName<'a>) -> Option<&'a [u8]> {
        self.span(name).map(|span| span.of(&self.bytes))
    }

    /// Every value of that name in order; lines are split at commas where the header allows it
    /// ([`HeaderName::is_list`]). Empty values are left out.
    pub fn header_values<'a>(&'a self, name: HeaderName<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let split = name.split();
        self.lines_of(name).flat_map(move |span| List::new(span.of(&self.bytes), split))
    }

    /// Every header line in order: name and raw value.
    pub fn header_lines(&self) -> impl Iterator<Item = (HeaderName<'_>, &[u8])> {
        self.headers.iter().map(|header| (header.id.name(header.name.of(&self.bytes)), header.value.of(&self.bytes)))
    }

    /// Every Via, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, FieldError>> {
        self.header_values(HeaderName::Via).map(Via::parse)
    }

    /// The top Via; None when there is none.
    pub fn top_via(&self) -> Option<Result<Via<'_>, FieldError>> {
        self.vias().next()
    }

    /// From.
    ///
    /// # Errors
    /// Missing or unreadable (the latter only in a [`ParseError::partial`]).
    pub fn from(&self) -> Result<NameAddr<'_>, FieldError> {
        NameAddr::parse(self.header(HeaderName::From).ok_or(FieldError("no From"))?)
    }

    /// To.
    ///
    /// # Errors
    /// Missing or unreadable (the latter only in a [`ParseError::partial`]).
    pub fn to(&self) -> Result<NameAddr<'_>, FieldError> {
        NameAddr::parse(self.header(HeaderName::To).ok_or(FieldError("no To"))?)
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&[u8]> {
        let read = self.core.call_id.map(|span| span.of(&self.bytes));
        read.or_else(|| self.header(HeaderName::CallId)).filter(|value| !value.is_empty())
    }

    /// CSeq.
    ///
    /// # Errors
    /// Missing or unreadable (the latter only in a [`ParseError::partial`]).
    pub fn cseq(&self) -> Result<CSeq<'_>, FieldError> {
        match self.core.cseq {
            Some((number, method)) => Ok(CSeq { number, method: Method::from_bytes(method.of(&self.bytes)) }),
            None => CSeq::parse(self.header(HeaderName::CSeq).ok_or(FieldError("no CSeq"))?),
        }
    }

    /// Every Contact; `*` is an error here (see [`Message::contact_is_star`]).
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, FieldError>> {
        self.addresses(HeaderName::Contact)
    }

    /// Every value of a header that holds addresses: Contact, Route, Record-Route, P-Asserted-Identity, Diversion ...
    pub fn addresses<'a>(
        &'a self,
        name: HeaderName<'a>,
    ) -> impl Iterator<Item = Result<NameAddr<'a>, FieldError>> + use<'a> {
        self.header_values(name).map(NameAddr::parse)
    }

    /// Whether Contact is `*` (RFC 3261 10.2.2).
    pub fn contact_is_star(&self) -> bool {
        self.header(HeaderName::Contact) == Some(b"*")
    }

    /// Max-Forwards: None when missing (RFC 2543 clients; take 70), numbers above 255 count as 255.
    ///
    /// # Errors
    /// Not a number.
    pub fn max_forwards(&self) -> Result<Option<u8>, FieldError> {
        let Some(value) = self.header(HeaderName::MaxForwards) else { return Ok(None) };
        let number = text::decimal(value).ok_or(FieldError("Max-Forwards is not a number"))?;
        Ok(Some(u8::try_from(number).unwrap_or(u8::MAX)))
    }

    /// A header that is a number of seconds and perhaps parameters: Expires, Min-Expires, Session-Expires,
    /// Retry-After. None when missing or not a number; numbers above 32 bits count as the largest (RFC 3261 20.19).
    pub fn seconds(&self, name: HeaderName<'_>) -> Option<u32> {
        let span = self.lines_of(name).next()?;
        let value = span.of(&self.bytes);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        text::decimal(&value[..digits]).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Content-Type as written, parameters included.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.header(HeaderName::ContentType).filter(|value| !value.is_empty())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body..).unwrap_or_default()
    }

    /// The whole message as it came, without what stood before and after it.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// The application/sdp body, or the SDP part of a multipart one; also a body without Content-Type that begins
    /// `v=`.
    pub fn sdp(&self) -> Option<&[u8]> {
        multipart::sdp(self.content_type(), self.body(), 0)
    }
}

/// Whether the bytes begin like a request or response.
pub(super) fn looks_like_sip(bytes: &[u8]) -> bool {
    let line = &bytes[..bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())];
    !matches!(Start::read(line, Span::new(0, line.len())), Err((error, _)) if error.kind == ErrorKind::NotSip)
}

impl Start {
    /// Reads the first line; what went wrong comes with the line as far as it can serve an answer.
    fn read(bytes: &[u8], span: Span) -> Result<Self, (ParseError, Option<Self>)> {
        let line = trim_spaces(span.of(bytes));
        if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
            Self::response(line).map_err(|error| (error, None))
        } else {
            Self::request(line)
        }
    }

    fn response(line: &[u8]) -> Result<Self, ParseError> {
        let trouble = |kind, reason, offset| Err(ParseError::new(kind, 0, reason, offset));
        let version = line.iter().take_while(|byte| **byte != b' ').count();
        if !line[..version].eq_ignore_ascii_case(b"SIP/2.0") {
            return trouble(ErrorKind::Version, "not SIP/2.0", 0);
        }
        let at = skip_spaces(line, version);
        let digits = line[at..].iter().take_while(|byte| **byte != b' ').count();
        let status = text::decimal(&line[at..at + digits]).filter(|status| digits == 3 && (100..700).contains(status));
        let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
            return trouble(ErrorKind::Syntax, "the status is not a number from 100 to 699", at);
        };
        let reason = skip_spaces(line, at + digits);
        Ok(Self::Response { status, reason: Span::new(reason, line.len()) })
    }

    /// `method SP uri SP version`; more blanks than one are read as one (RFC 4475 3.1.2.9, 3.1.2.10), blanks inside
    /// the URI are not.
    fn request(line: &[u8]) -> Result<Self, (ParseError, Option<Self>)> {
        let not_sip = || ParseError::new(ErrorKind::NotSip, 0, "not a SIP message", 0);
        let method = line.iter().take_while(|byte| **byte != b' ').count();
        let last = line.iter().rposition(|byte| *byte == b' ').unwrap_or(0);
        if !text::all_token(&line[..method]) || last <= method {
            return Err((not_sip(), None));
        }
        let version = &line[last + 1..];
        let (start, middle) = (skip_spaces(line, method), &line[..last]);
        let end = start.max(trim_spaces(middle).len());
        let this = Self::Request { method: Span::new(0, method), uri: Span::new(start, end) };
        if version.eq_ignore_ascii_case(b"SIP/2.0") {
            return Ok(this);
        }
        let sip = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        if !sip {
            return Err((not_sip(), None));
        }
        Err((ParseError::new(ErrorKind::Version, 505, "not SIP/2.0", last + 1), Some(this)))
    }
}

fn trim_spaces(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

fn skip_spaces(line: &[u8], mut at: usize) -> usize {
    while line.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}
