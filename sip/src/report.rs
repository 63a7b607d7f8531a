//! How Ark reads a message, as values and as JSON: what `ark sip parse` prints.

use std::fmt::Write as _;

use crate::wire::{ErrorKind, HeaderName, Message, ParseError, StartLine, StreamFramer, parse_datagram};

/// The ten values of a message; of duplicates the first. Text that is not UTF-8 is read lossily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The method of a request, or the status of a response.
    pub start: ReportStart,
    /// Via values over all lines.
    pub vias: usize,
    /// The top Via's branch.
    pub top_branch: Option<String>,
    /// The tag of From.
    pub from_tag: Option<String>,
    /// The tag of To.
    pub to_tag: Option<String>,
    /// Call-ID.
    pub call_id: Option<String>,
    /// The number of CSeq.
    pub cseq: Option<u32>,
    /// The method of CSeq.
    pub cseq_method: Option<String>,
    /// Contact values over all lines.
    pub contacts: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
}

/// What kind of message a [`Report`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportStart {
    /// A request and its method.
    Request(String),
    /// A response and its status.
    Response(u16),
}

/// Why bytes are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFailure {
    /// The SIP status the message would get; 0: it is dropped.
    pub code: u16,
    /// One sentence.
    pub message: &'static str,
    /// The byte of the input (of the first message on a stream) where the trouble stands.
    pub offset: usize,
}

/// Reads `bytes` as one datagram, or the first message of them as a stream that then ends.
///
/// A message that says nothing of its length, or two things, is read on a stream as well: up to the end of the bytes,
/// or by the first length. What the element does with it is another matter: on a connection, where the end of the
/// message is then not known, it answers 400 and closes ([`StreamFramer`]).
///
/// # Errors
/// What would be refused. A stream that ends within a message has code 0: its end is never answered, more is waited
/// for.
pub fn parse_report(bytes: &[u8], stream: bool) -> Result<Report, ParseFailure> {
    if !stream {
        return parse_datagram(bytes).as_ref().map(Report::of).map_err(ParseFailure::of);
    }
    let mut framer = StreamFramer::new();
    framer.push(bytes);
    match framer.next_message() {
        Some(Ok(message)) => Ok(Report::of(&message)),
        Some(Err(error)) if error.kind == ErrorKind::Framing => {
            parse_datagram(bytes).as_ref().map(Report::of).map_err(|_| ParseFailure::of(&error))
        }
        Some(Err(error)) => Err(ParseFailure::of(&error)),
        None => {
            let message = if framer.is_midway() { "the stream ends within a message" } else { "no message" };
            Err(ParseFailure { code: 0, message, offset: bytes.len() })
        }
    }
}

impl Report {
    /// The values of a message.
    pub fn of(message: &Message) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let cseq = message.cseq().ok();
        Self {
            start: match message.start_line() {
                StartLine::Request { method, .. } => ReportStart::Request(text(method.as_bytes())),
                StartLine::Response { status, .. } => ReportStart::Response(status),
            },
            vias: message.header_values(HeaderName::Via).count(),
            top_branch: message.top_branch().map(text),
            from_tag: message.from_tag().map(text),
            to_tag: message.to_tag().map(text),
            call_id: message.call_id().map(text),
            cseq: cseq.map(|cseq| cseq.number),
            cseq_method: cseq.map(|cseq| text(cseq.method.as_bytes())),
            contacts: message.header_values(HeaderName::Contact).count(),
            body_bytes: message.body().len(),
        }
    }

    /// The values as one JSON object: counts and cseq are numbers, the rest (the status too) strings or null.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(256);
        match &self.start {
            ReportStart::Request(method) => {
                json.push_str("{\"kind\":\"request\",\"method\":");
                push_string(&mut json, method);
            }
            ReportStart::Response(status) => {
                let _ = write!(json, "{{\"kind\":\"response\",\"status\":\"{status}\"");
            }
        }
        let _ = write!(json, ",\"vias\":{}", self.vias);
        for (name, value) in [
            ("top_branch", &self.top_branch),
            ("from_tag", &self.from_tag),
            ("to_tag", &self.to_tag),
            ("call_id", &self.call_id),
        ] {
            push_member(&mut json, name, value.as_deref());
        }
        match self.cseq {
            Some(number) => {
                let _ = write!(json, ",\"cseq\":{number}");
            }
            None => json.push_str(",\"cseq\":null"),
        }
        push_member(&mut json, "cseq_method", self.cseq_method.as_deref());
        let _ = write!(json, ",\"contacts\":{},\"body_bytes\":{}}}", self.contacts, self.body_bytes);
        json
    }
}

impl ParseFailure {
    fn of(error: &ParseError) -> Self {
        Self { code: error.code, message: error.reason, offset: error.offset }
    }

    /// `{"error":{"code":n,"message":"...","offset":n}}`
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"error\":{{\"code\":{},\"message\":", self.code);
        push_string(&mut json, self.message);
        let _ = write!(json, ",\"offset\":{}}}}}", self.offset);
        json
    }
}

fn push_member(json: &mut String, name: &str, value: Option<&str>) {
    let _ = write!(json, ",\"{name}\":");
    match value {
        Some(value) => push_string(json, value),
        None => json.push_str("null"),
    }
}

/// A JSON string with its quotes (RFC 8259 7).
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:95188@hotline.example SIP/2.0\r\n\
        Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK\"\x01\"\r\nFrom: <sip:a@ark.test>;tag=a\\b\r\n\
        To: <sip:95188@hotline.example>\r\nCall-ID: \xff\r\nCSeq: 7 OPTIONS\r\nl: 0\r\n\r\n";

    #[test]
    fn text_is_escaped_and_absent_values_are_null() {
        let report = parse_report(OPTIONS, true).unwrap();
        assert_eq!(
            report.to_json(),
            "{\"kind\":\"request\",\"method\":\"OPTIONS\",\"vias\":1,\"top_branch\":\"z9hG4bK\\\"\\u0001\\\"\",\
             \"from_tag\":\"a\\\\b\",\"to_tag\":null,\"call_id\":\"\u{fffd}\",\"cseq\":7,\"cseq_method\":\"OPTIONS\",\
             \"contacts\":0,\"body_bytes\":0}"
        );
    }

    #[test]
    fn a_status_is_text_as_a_method_is() {
        let ok =
            String::from_utf8_lossy(OPTIONS).replacen("OPTIONS sip:95188@hotline.example SIP/2.0", "SIP/2.0 200 OK", 1);
        let json = parse_report(ok.as_bytes(), false).unwrap().to_json();
        assert!(json.starts_with("{\"kind\":\"response\",\"status\":\"200\",\"vias\":1,"), "{json}");
    }

    #[test]
    fn a_stream_without_or_with_two_lengths_is_read_to_its_end_or_by_the_first() {
        let text = String::from_utf8_lossy(OPTIONS).into_owned();
        for (lengths, body_bytes) in [("", 12), ("l: 5\r\nContent-Length: 7\r\n", 5)] {
            let stream = format!("{}hello, world", text.replace("l: 0\r\n", lengths));
            assert_eq!(parse_report(stream.as_bytes(), true).unwrap().body_bytes, body_bytes);
            let mut framer = StreamFramer::new();
            framer.push(stream.as_bytes());
            let refused = framer.next_message().unwrap().unwrap_err();
            assert!(refused.code == 400 && framer.is_broken(), "a connection is another matter");
        }
        let stream = text.replace("l: 0\r\n", "Content Length: 0\r\n");
        assert_eq!(parse_report(stream.as_bytes(), true).unwrap_err().code, 400);
    }

    #[test]
    fn a_tag_without_a_value_is_an_empty_one() {
        let text = String::from_utf8_lossy(OPTIONS).replace("To: <sip:95188@hotline.example>", "To: <sip:a@b>;tag;x=1");
        let message = parse_datagram(text.as_bytes()).unwrap();
        assert_eq!((message.to_tag(), message.from_tag()), (Some(&b""[..]), Some(&b"a\\b"[..])));
        assert_eq!(message.to_tag(), message.to().unwrap().tag());
    }

    #[test]
    fn a_stream_that_ends_too_early_says_so() {
        let failure = parse_report(&OPTIONS[..100], true).unwrap_err();
        assert_eq!(
            failure.to_json(),
            "{\"error\":{\"code\":0,\"message\":\"the stream ends within a message\",\"offset\":100}}"
        );
    }
}
