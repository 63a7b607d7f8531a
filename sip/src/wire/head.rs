//! The framing routine, one for datagrams and streams: where the head ends, its lines, and how long the body is.

use super::names::NameId;
use crate::limits::{HEADERS_MAX, HEADERS_TYPICAL};
use crate::text;

/// A range of the message's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Messages are at most MESSAGE_BYTES_MAX long, which limits.rs proves to fit.
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One header line of the table: its name, and its value without the blanks around it (folds inside).
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSpan {
    pub(crate) id: NameId,
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// A line of the head that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadFault {
    pub(crate) reason: &'static str,
    pub(crate) offset: usize,
    /// Whether another reader might find another end of the message in it.
    pub(crate) blurs_framing: bool,
}

/// The head of a message: spans into its bytes, and the first thing wrong with its lines.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start_line: Span,
    pub(crate) headers: Vec<HeaderSpan>,
    /// Bytes up to and including the blank line.
    pub(crate) length: usize,
    pub(crate) fault: Option<HeadFault>,
}

/// What the head says about the body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Absent,
    Bytes(usize),
    /// Not a number.
    Unreadable(usize),
    /// Several that differ: the first, and where the second stands.
    Conflict(usize, usize),
}

/// Bytes of line ends before a message: keep-alives, and what RFC 3261 7.5 says to ignore.
pub(crate) fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Finds the blank line that ends a head: the offset after it. `from` is where to look, and is moved on to where to
/// look when more bytes have come, so that a stream is scanned once however it is cut. CRLF and LF line ends both
/// count.
pub(crate) fn head_end(bytes: &[u8], from: &mut usize) -> Option<usize> {
    while let Some(found) = text::find(bytes.get(*from..)?, b'\n') {
        let line_end = *from + found;
        match (bytes.get(line_end + 1), bytes.get(line_end + 2)) {
            (Some(b'\n'), _) => return Some(line_end + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(line_end + 3),
            (None, _) | (Some(b'\r'), None) => {
                *from = line_end;
                return None;
            }
            _ => *from = line_end + 1,
        }
    }
    *from = bytes.len();
    None
}

impl Head {
    /// Reads the lines of `bytes[..length]`, where `length` is what [`head_end`] found. Always gives a table, as far
    /// as it goes.
    pub(crate) fn read(bytes: &[u8], length: usize) -> Self {
        Self { length, ..Self::lines(&bytes[..length]).0 }
    }

    /// Reads a head whose end is not known yet, in one pass. None: it has no end.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let (head, whole) = Self::lines(bytes);
        whole.then_some(head)
    }

    /// Reads lines up to the blank one; whether that came.
    fn lines(bytes: &[u8]) -> (Self, bool) {
        let (head, whole, crlfs) = Self::lines_checked(bytes, false);
        // Nearly no head has a CR that ends no line. Counting tells; which line it is, only a closer look.
        if crlfs == Some(memchr::memchr_iter(b'\r', &bytes[..head.length]).count()) {
            return (head, whole);
        }
        let (head, whole, _) = Self::lines_checked(bytes, true);
        (head, whole)
    }

    /// The table, whether the blank line came, and how many lines ended with CRLF (None: not all were looked at).
    fn lines_checked(head: &[u8], look_for_bare_cr: bool) -> (Self, bool, Option<usize>) {
        let (start_line, mut at) = line(head, 0);
        let mut crlfs = usize::from(at == start_line + 2);
        let mut this = Self {
            start_line: Span::new(0, start_line),
            headers: Vec::with_capacity(HEADERS_TYPICAL),
            length: head.len(),
            fault: None,
        };
        if look_for_bare_cr && let Some(found) = text::find(&head[..start_line], b'\r') {
            this.note("a bare CR in the start line", found, true);
        }
        while at < head.len() {
            let start = at;
            let (mut end, mut next) = line(head, at);
            crlfs += usize::from(next == end + 2);
            if end == start {
                this.length = next;
                return (this, true, Some(crlfs));
            }
            while matches!(head.get(next), Some(b' ' | b'\t')) {
                (end, next) = line(head, next);
                crlfs += usize::from(next == end + 2);
            }
            at = next;
            if this.headers.len() == HEADERS_MAX {
                this.note("too many header lines", start, true);
                let end = head_end(head, &mut (start.saturating_sub(1)));
                this.length = end.unwrap_or(head.len());
                return (this, end.is_some(), None);
            }
            if look_for_bare_cr && has_bare_cr(&head[start..end]) {
                this.note("a bare CR in a header line", start, true);
                continue;
            }
            this.take(head, start, end);
        }
        (this, false, Some(crlfs))
    }

    fn note(&mut self, reason: &'static str, offset: usize, blurs_framing: bool) {
        match &mut self.fault {
            Some(fault) => fault.blurs_framing |= blurs_framing,
            None => self.fault = Some(HeadFault { reason, offset, blurs_framing }),
        }
    }

    fn take(&mut self, head: &[u8], start: usize, end: usize) {
        let text = &head[start..end];
        // Nearly every line: a known name, the colon right behind it.
        if let Some(colon) = text::find(&text[..text.len().min(32)], b':') {
            let id = NameId::of(&text[..colon]);
            if id != NameId::Other {
                return self.push(text, id, start, (colon, colon));
            }
        }
        let name_length = text.iter().take_while(|byte| text::is_token(**byte)).count();
        let name = &text[..name_length];
        let colon = text::skip_blanks(text, name_length);
        // A fold between name and colon is not a blank (RFC 3261 7.3.1 folds values only).
        let folded = colon > name_length && text[name_length..colon].contains(&b'\n');
        if name.is_empty() || text.get(colon) != Some(&b':') || folded {
            let id = NameId::of(name);
            let blurs = folded || id == NameId::ContentLength || mentions_length(text);
            return self.note("a line that is not `name: value`", start, blurs);
        }
        self.push(text, NameId::of(name), start, (name_length, colon));
    }

    /// A header line: `text` begins at `start`, its name is so long, its colon stands there.
    fn push(&mut self, text: &[u8], id: NameId, start: usize, (name_length, colon): (usize, usize)) {
        let value_start = text::skip_blanks(text, colon + 1);
        let mut value_end = text.len();
        while value_end > value_start && text::is_blank(text[value_end - 1]) {
            value_end -= 1;
        }
        self.headers.push(HeaderSpan {
            id,
            name: Span::new(start, start + name_length),
            value: Span::new(start + value_start, start + value_end),
        });
    }

    /// The body's length as the head gives it. The first Content-Length counts where one may be chosen.
    pub(crate) fn length_of_body(&self, bytes: &[u8]) -> Length {
        let mut seen = Length::Absent;
        for header in self.headers.iter().filter(|header| header.id == NameId::ContentLength) {
            let at = header.value.start as usize;
            let value = text::decimal(header.value.of(bytes)).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
            seen = match (seen, value) {
                (Length::Absent, Some(value)) => Length::Bytes(value),
                (Length::Absent, None) => return Length::Unreadable(at),
                (Length::Bytes(first), Some(value)) if first == value => seen,
                (Length::Bytes(first), _) => return Length::Conflict(first, at),
                _ => return seen,
            };
        }
        seen
    }
}

/// The line that begins at `at`: where its text ends, and where the next begins.
fn line(head: &[u8], at: usize) -> (usize, usize) {
    let Some(found) = text::find(&head[at..], b'\n') else { return (head.len(), head.len()) };
    let line_feed = at + found;
    let end = if found > 0 && head[line_feed - 1] == b'\r' { line_feed - 1 } else { line_feed };
    (end, line_feed + 1)
}

/// A CR that does not end a line: some readers would take it for a line end.
fn has_bare_cr(text: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', text).any(|at| text.get(at + 1) != Some(&b'\n'))
}

/// Whether a broken line might be some other reader's Content-Length.
fn mentions_length(text: &[u8]) -> bool {
    let name = &text[..text.iter().position(|byte| *byte == b':').unwrap_or(text.len())];
    name.windows(6).any(|window| window.eq_ignore_ascii_case(b"length")) || text::trim(name).eq_ignore_ascii_case(b"l")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Head {
        let length = head_end(text, &mut 0).expect("a whole head");
        Head::read(text, length)
    }

    #[test]
    fn folds_blanks_before_the_colon_and_lone_line_feeds() {
        let text = b"A b C\nVia \t:\r\n x\n\ty\r\nEmpty:\r\ns:z\n\r\nbody";
        let head = read(text);
        let values: Vec<&[u8]> = head.headers.iter().map(|header| header.value.of(text)).collect();
        assert_eq!(values, [&b"x\n\ty"[..], b"", b"z"]);
        assert_eq!((head.start_line.of(text), head.length, head.fault), (&b"A b C"[..], text.len() - 4, None));
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        for text in [&b"A b C\r\nx: 1\r\n\r\nrest"[..], b"A b C\nx: 1\n\nrest", b"A\r\n\r\nB\r\n\r\n"] {
            let whole = head_end(text, &mut 0);
            let mut from = 0;
            let found = (0..=text.len()).find_map(|cut| head_end(&text[..cut], &mut from));
            assert_eq!(found, whole);
        }
    }

    #[test]
    fn bare_carriage_returns_and_lines_without_a_colon_are_faults() {
        assert!(read(b"A b C\r\nx: 1\rContent-Length: 5\r\n\r\n").fault.unwrap().blurs_framing);
        assert!(!read(b"A b C\r\nhello there\r\n\r\n").fault.unwrap().blurs_framing);
        assert!(read(b"A b C\r\nContent-Length\r\n : 5\r\n\r\n").fault.unwrap().blurs_framing);
        assert!(read(b"A b C\r\nContent Length: 5\r\n\r\n").fault.unwrap().blurs_framing);
    }

    #[test]
    fn lengths_that_agree_are_one_and_that_differ_are_a_conflict() {
        let of = |text: &[u8]| read(text).length_of_body(text);
        assert_eq!(of(b"A\r\nl: 5\r\nContent-Length : 005\r\n\r\n"), Length::Bytes(5));
        assert!(matches!(of(b"A\r\nl: 5\r\nL: 6\r\n\r\n"), Length::Conflict(5, _)));
        assert!(matches!(of(b"A\r\nl: 5, 5\r\n\r\n"), Length::Unreadable(_)));
        assert_eq!(of(b"A\r\nx: 5\r\n\r\n"), Length::Absent);
    }
}
