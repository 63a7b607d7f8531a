//! Messages as the types of the [rsip](https://docs.rs/rsip) crate, and back: for integrators who hold those types.
//! Ark itself never reads the wire with rsip: it knows no compact names, folds, IPv6 hosts, `tel:` or unknown
//! methods.
//!
//! ```
//! # #[cfg(feature = "rsip-compat")] {
//! let bytes = b"BYE sip:95188@hotline.example SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\r\n";
//! let message = ark_sip::wire::parse_datagram(bytes).unwrap();
//! let theirs = rsip::SipMessage::try_from(&message).unwrap();
//! let ours = ark_sip::wire::Message::try_from(&theirs).unwrap();
//! assert_eq!(ours.top_via().unwrap().unwrap().branch(), Some(&b"z9hG4bK1"[..]));
//! # }
//! ```

use crate::text::{self, List, Split, decode, unfold};
use crate::wire::{HeaderName, Message, ParseError, StartLine, parse_datagram};
use crate::write::push_line;

impl TryFrom<&Message> for rsip::SipMessage {
    type Error = rsip::Error;

    /// Writes the message in the one form that rsip reads: long names, no folds, one Via and one Contact to a line,
    /// UTF-8, Content-Length exact. The body's bytes stay as they are.
    ///
    /// # Errors
    /// What rsip cannot hold: unknown methods, IPv6 hosts and tel URIs in the request line, other versions.
    fn try_from(message: &Message) -> Result<Self, rsip::Error> {
        let mut out = Vec::with_capacity(message.raw().len() + 256);
        match message.start_line() {
            StartLine::Request { method, uri } => {
                out.extend_from_slice(method.as_bytes());
                out.push(b' ');
                out.extend_from_slice(uri);
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            StartLine::Response { status, reason } => {
                out.extend_from_slice(format!("SIP/2.0 {status} ").as_bytes());
                out.extend_from_slice(decode(reason).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        for (name, value) in message.header_lines() {
            let split = match name {
                HeaderName::Via | HeaderName::Contact => name.split(),
                _ => Split::Never,
            };
            if name != HeaderName::ContentLength {
                for value in List::new(value, split) {
                    push_line(&mut out, name.as_bytes(), decode(&unfold(value)).as_bytes());
                }
            }
        }
        push_line(&mut out, b"Content-Length", message.body().len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(message.body());
        Self::try_from(out)
    }
}

impl TryFrom<&rsip::SipMessage> for Message {
    type Error = ParseError;

    /// Writes the rsip message and reads it as if it had come in a datagram. Content-Length is computed, and line
    /// ends in values become blanks: rsip checks neither.
    ///
    /// # Errors
    /// What a datagram would be refused for.
    fn try_from(message: &rsip::SipMessage) -> Result<Self, ParseError> {
        let (start, headers, body) = match message {
            rsip::SipMessage::Request(request) => {
                (format!("{} {} SIP/2.0", request.method, request.uri), &request.headers, &request.body)
            }
            rsip::SipMessage::Response(response) => {
                // rsip's own phrases have no blanks ("NotFound"); ours is the usual one.
                let phrase = match &response.status_code {
                    rsip::StatusCode::Other(_, phrase) => phrase.as_str(),
                    known => crate::write::reason_phrase(known.code()),
                };
                (format!("SIP/2.0 {} {phrase}", response.status_code.code()), &response.headers, &response.body)
            }
        };
        let mut out = Vec::with_capacity(512 + body.len());
        out.extend(start.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        out.extend_from_slice(b"\r\n");
        for header in headers.iter() {
            let line = header.to_string();
            let Some((name, value)) = line.split_once(':') else { continue };
            if HeaderName::from_bytes(name.as_bytes()) != HeaderName::ContentLength && text::all_token(name.as_bytes())
            {
                push_line(&mut out, name.as_bytes(), value.as_bytes());
            }
        }
        push_line(&mut out, b"Content-Length", body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        parse_datagram(&out)
    }
}

#[cfg(test)]
mod tests {
    use rsip::prelude::{HeadersExt, ToTypedHeader};

    use super::*;

    const COMPACT: &[u8] = b"INVITE sip:95188@hotline.example;user=phone SIP/2.0\r\n\
        v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa, SIP/2.0/TCP 192.0.2.2;branch=z9hG4bKb\r\n\
        f : \"\xd5\xc5\xc8\xfd\"\r\n <sip:zhang@ark.test>;tag=t1\r\nt: <sip:95188@hotline.example>\r\n\
        i: rc@ark.test\r\nCSeq: 4 INVITE\r\nm: <sip:zhang@192.0.2.1>\r\nX-Odd: yes\r\nl: 3\r\n\r\n\xff\0x";

    #[test]
    fn a_compact_folded_gbk_message_becomes_one_that_rsip_reads() {
        let ours = parse_datagram(COMPACT).unwrap();
        let theirs = rsip::SipMessage::try_from(&ours).unwrap();
        assert_eq!(theirs.via_header().unwrap().typed().unwrap().branch().unwrap().value(), "z9hG4bKa");
        assert_eq!(theirs.from_header().unwrap().tag().unwrap().unwrap().value(), "t1");
        assert!(theirs.from_header().unwrap().to_string().contains("张三"));
        assert_eq!(theirs.body(), b"\xff\0x");
    }

    #[test]
    fn there_and_back_keeps_the_ten_values() {
        let ours = parse_datagram(COMPACT).unwrap();
        let theirs = rsip::SipMessage::try_from(&ours).unwrap();
        let back = Message::try_from(&theirs).unwrap();
        assert_eq!(crate::Report::of(&back), crate::Report::of(&ours));
        assert_eq!(back.header(HeaderName::Other(b"X-Odd")), Some(&b"yes"[..]));
    }

    #[test]
    fn a_response_keeps_its_status_and_gets_the_usual_phrase() {
        let bytes = b"SIP/2.0 404 nobody\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nCSeq: 4 INVITE\r\n\r\n";
        let ours = parse_datagram(bytes).unwrap();
        let back = Message::try_from(&rsip::SipMessage::try_from(&ours).unwrap()).unwrap();
        assert_eq!(back.start_line(), StartLine::Response { status: 404, reason: b"Not Found" });
    }

    #[test]
    fn what_rsip_cannot_hold_is_an_error() {
        let bytes = b"HOTLINE sip:a@ark.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\r\n";
        assert!(rsip::SipMessage::try_from(&parse_datagram(bytes).unwrap()).is_err());
    }

    #[test]
    fn an_rsip_value_with_a_line_end_begins_no_line() {
        let mut theirs = rsip::SipMessage::try_from(&parse_datagram(COMPACT).unwrap()).unwrap();
        let evil = rsip::Header::Other("X".into(), "a\r\nRoute: <sip:evil.test>".into());
        rsip::message::HasHeaders::headers_mut(&mut theirs).push(evil);
        let back = Message::try_from(&theirs).unwrap();
        assert_eq!(back.header(HeaderName::Route), None);
    }
}
