//! Messages into bytes. Content-Length is always written, last and exact; no value can begin a line of its own.

mod request;
mod response;

use std::borrow::Cow;

pub use request::{RequestBuilder, request};
pub use response::{ResponseBuilder, reason_phrase, response_to};

use crate::text;

/// Header lines and a body, gathered.
#[derive(Clone, Debug, Default)]
struct Tail {
    lines: Vec<u8>,
    body: Vec<u8>,
}

impl Tail {
    fn header(&mut self, name: &str, value: &[u8]) {
        let computed = name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l");
        if !computed && text::all_token(name.as_bytes()) {
            push_line(&mut self.lines, name.as_bytes(), value);
        }
    }

    fn body(&mut self, content_type: &str, body: Vec<u8>) {
        self.header("Content-Type", content_type.as_bytes());
        self.body = body;
    }

    fn finish(self, mut out: Vec<u8>) -> Vec<u8> {
        out.reserve(self.lines.len() + self.body.len() + 32);
        out.extend_from_slice(&self.lines);
        push_line(&mut out, b"Content-Length", self.body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

pub(crate) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(&clean(value));
    out.extend_from_slice(b"\r\n");
}

/// The value on one line: every run of blanks with a CR or LF in it, and every NUL, becomes one space.
fn clean(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Cow::Borrowed(text::trim(value));
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        if text::is_blank(byte) || byte == 0 {
            let start = at;
            while value.get(at).is_some_and(|byte| text::is_blank(*byte) || *byte == 0) {
                at += 1;
            }
            let run = &value[start..at];
            if run.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                out.push(b' ');
            } else {
                out.extend_from_slice(run);
            }
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cow::Owned(text::trim(&out).to_vec())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::types::Method;
    use crate::wire::{HeaderName, Message, parse_datagram};

    fn invite(via: &str, to: &str) -> Message {
        let text = format!(
            "INVITE sip:95188@hotline.example SIP/2.0\r\nv: {via}\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=b2\r\n\
             Record-Route: <sip:192.0.2.2;lr>\r\nf: \"\u{9648}\"\r\n <sip:a@ark.test>;tag=1\r\nTo: {to}\r\n\
             i: x@y\r\nCSeq: 007 INVITE\r\nTimestamp: 54\r\nl: 0\r\n\r\n"
        );
        parse_datagram(text.as_bytes()).unwrap()
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    const SOURCE: &str = "198.51.100.7:40001";

    fn via_for(via: &str, source: &str) -> String {
        let request = invite(via, "<sip:95188@hotline.example>");
        let source: SocketAddr = source.parse().unwrap();
        let bytes = response_to(&request, 200, "").source(source).finish();
        let response = parse_datagram(&bytes).unwrap();
        text(response.header(HeaderName::Via).unwrap()).to_owned()
    }

    #[test]
    fn a_response_echoes_byte_exact_and_adds_the_tag() {
        let request = invite("SIP/2.0/UDP 192.0.2.1;branch=b1", "<sip:95188@hotline.example>");
        let bytes = response_to(&request, 200, "").to_tag("ark").header("Contact", "<sip:c@ark.test>").finish();
        assert_eq!(
            text(&bytes),
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=b1\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=b2\r\n\
             Record-Route: <sip:192.0.2.2;lr>\r\nFrom: \"\u{9648}\"\r\n <sip:a@ark.test>;tag=1\r\n\
             To: <sip:95188@hotline.example>;tag=ark\r\nCall-ID: x@y\r\nCSeq: 007 INVITE\r\n\
             Contact: <sip:c@ark.test>\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_tag_that_is_there_stays_and_a_refusal_has_no_route() {
        let request = invite("SIP/2.0/UDP 192.0.2.1;branch=b1", "sip:95188@hotline.example;tag=old");
        let bytes = response_to(&request, 486, "Busy at the moment").to_tag("new").finish();
        assert!(text(&bytes).contains("To: sip:95188@hotline.example;tag=old\r\n"));
        assert!(
            !text(&bytes).contains("Record-Route") && text(&bytes).starts_with("SIP/2.0 486 Busy at the moment\r\n")
        );
        assert!(text(&response_to(&request, 100, "").finish()).contains("Timestamp: 54\r\n"));
    }

    #[test]
    fn received_is_noted_where_the_host_is_a_name_or_another_address() {
        assert_eq!(via_for("SIP/2.0/UDP 198.51.100.7:5060;branch=b", SOURCE), "SIP/2.0/UDP 198.51.100.7:5060;branch=b");
        assert_eq!(
            via_for("SIP/2.0/UDP pbx.ark.test;branch=b", SOURCE),
            "SIP/2.0/UDP pbx.ark.test;branch=b;received=198.51.100.7"
        );
        assert_eq!(
            via_for("SIP/2.0/UDP 10.0.0.1 ;branch=b;received=203.0.113.9, SIP/2.0/UDP 10.0.0.2;branch=c", SOURCE),
            "SIP/2.0/UDP 10.0.0.1;branch=b;received=198.51.100.7, SIP/2.0/UDP 10.0.0.2;branch=c"
        );
    }

    #[test]
    fn rport_is_filled_in_for_both_families() {
        assert_eq!(
            via_for("SIP/2.0/UDP 198.51.100.7;rport;branch=b", SOURCE),
            "SIP/2.0/UDP 198.51.100.7;branch=b;rport=40001;received=198.51.100.7"
        );
        assert_eq!(
            via_for("SIP/2.0/UDP [2001:db8::1];branch=b;rport=1", "[2001:db8::7]:40002"),
            "SIP/2.0/UDP [2001:db8::1];branch=b;rport=40002;received=2001:db8::7"
        );
        assert_eq!(
            via_for("SIP/2.0/UDP 198.51.100.7;branch=b", "[::ffff:198.51.100.7]:1"),
            "SIP/2.0/UDP 198.51.100.7;branch=b"
        );
    }

    #[test]
    fn no_value_begins_a_line_of_its_own() {
        let evil = "x\r\nEvil: yes\r\n\r\nbody\0";
        let bytes = request(Method::Other(b"IN VITE\r\n"), b"sip:a b\r\n@h>")
            .header("Subject", evil)
            .header("Bad\r\nName", "x")
            .header("content-length", "999")
            .body("text/plain\r\nEvil: yes", "hi")
            .finish();
        assert_eq!(
            text(&bytes),
            "INVITE sip:a%20b%0D%0A@h%3E SIP/2.0\r\nSubject: x Evil: yes body\r\n\
             Content-Type: text/plain Evil: yes\r\nContent-Length: 2\r\n\r\nhi"
        );
        let request = invite("SIP/2.0/UDP 192.0.2.1;branch=b1", "<sip:95188@hotline.example>");
        let bytes = response_to(&request, 200, evil).to_tag("a\r\nEvil: yes").header("Server", evil).finish();
        let response = parse_datagram(&bytes).unwrap();
        assert_eq!(response.header(HeaderName::Other(b"Evil")), None);
        assert_eq!(response.to().unwrap().tag(), Some(&b"aEvilyes"[..]));
    }
}
