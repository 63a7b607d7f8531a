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

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
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
