//! The SDP inside a body (RFC 3261 7.4.1, RFC 2046 5.1): SIP-I trunks send SDP and ISUP together.

use crate::limits::{MULTIPART_DEPTH_MAX, MULTIPART_PARTS_MAX};
use crate::text;
use crate::types::{Params, unquote};

pub(super) fn sdp<'a>(content_type: Option<&[u8]>, body: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    let Some(content_type) = content_type else { return body.starts_with(b"v=").then_some(body) };
    let params_at = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let (media_type, params) = content_type.split_at(params_at);
    let media_type = text::trim(media_type);
    if media_type.eq_ignore_ascii_case(b"application/sdp") {
        return (!body.is_empty()).then_some(body);
    }
    let multipart = media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    if !multipart || depth == MULTIPART_DEPTH_MAX {
        return None;
    }
    let boundary = unquote(Params::unchecked(params).get(b"boundary").filter(|boundary| !boundary.is_empty())?);
    parts(body, &boundary).find_map(|part| {
        let (head, content) = split_part(part)?;
        sdp(Some(part_type(head)?), content, depth + 1)
    })
}

/// The parts between delimiter lines, without the line end before each delimiter.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = delimiter(body, boundary).map(|found| &body[found.after..]);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        match delimiter(text, boundary) {
            Some(found) => {
                rest = (!found.last).then(|| &text[found.after..]);
                Some(&text[..found.before])
            }
            // The closing delimiter is missing: what is there is the part.
            None => Some(text),
        }
    })
    .take(MULTIPART_PARTS_MAX)
}

struct Delimiter {
    /// Where the part before it ends.
    before: usize,
    /// Where the part after it begins.
    after: usize,
    last: bool,
}

fn delimiter(text: &[u8], boundary: &[u8]) -> Option<Delimiter> {
    let mut at = 0;
    while at < text.len() {
        let end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |found| at + found + 1);
        if let Some(tail) = text[at..end].strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary)) {
            let last = tail.starts_with(b"--");
            if last || text::trim(tail).is_empty() {
                let before = text[..at].strip_suffix(b"\r\n").or_else(|| text[..at].strip_suffix(b"\n"));
                return Some(Delimiter { before: before.map_or(at, <[u8]>::len), after: end, last });
            }
        }
        at = end;
    }
    None
}

/// A part's header lines and its content.
fn split_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(content) = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")) {
        return Some((b"", content));
    }
    let end = super::head::head_end(part, &mut 0)?;
    Some(part.split_at(end))
}

fn part_type(head: &[u8]) -> Option<&[u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = text::trim(&line[..colon]);
        let known = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c");
        known.then(|| text::trim(&line[colon + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdp_part_is_found_beside_a_binary_one() {
        let body = b"preamble\r\n--ark\r\nContent-Type: application/ISUP;version=itu\r\n\r\n\
            \x01\0--ar\r\n\r\x0a\r\n--ark\r\nc: Application/SDP\r\n\r\nv=0\r\ns=-\r\n\r\n--ark--\r\nafter";
        assert_eq!(sdp(Some(b"multipart/mixed; boundary=\"ark\""), body, 0), Some(&b"v=0\r\ns=-\r\n"[..]));
        assert_eq!(sdp(Some(b"multipart/mixed"), body, 0), None);
        assert_eq!(sdp(Some(b"text/plain"), body, 0), None);
    }

    #[test]
    fn a_multipart_within_a_multipart_is_entered_and_a_missing_end_forgiven() {
        let body = b"--a\r\nContent-Type: multipart/alternative;boundary=b\r\n\r\n\
            --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--\r\n--a--";
        assert_eq!(sdp(Some(b"multipart/mixed;boundary=a"), body, 0), Some(&b"v=0"[..]));
        assert_eq!(
            sdp(Some(b"multipart/mixed;boundary=a"), b"--a\nc:application/sdp\n\nv=0\n", 0),
            Some(&b"v=0\n"[..])
        );
        assert_eq!(sdp(Some(b"multipart/mixed;boundary=a"), b"", 0), None);
    }

    #[test]
    fn a_body_without_a_type_is_sdp_only_if_it_looks_like_it() {
        assert_eq!(sdp(None, b"v=0\r\n", 0), Some(&b"v=0\r\n"[..]));
        assert_eq!(sdp(None, b"hello", 0), None);
    }
}
