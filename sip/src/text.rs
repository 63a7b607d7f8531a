//! Bytes of a header value: blanks, quotes, commas, tokens. Folds (CRLF + blank) count as blanks, so nothing is
//! copied to unfold; nothing here asks for UTF-8.

use std::borrow::Cow;

/// SP, HT, and the CR and LF of a fold.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `token` of RFC 3261 25.1.
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN_TABLE[byte as usize]
}

/// Asked for each byte of every header's name: one look instead of a dozen comparisons.
static TOKEN_TABLE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let other = b"-.!%*_+`'~";
        let mut at = 0;
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        while at < other.len() {
            table[byte] |= byte as u8 == other[at];
            at += 1;
        }
        byte += 1;
    }
    table
};

/// Where `byte` first stands.
#[inline]
pub(crate) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    // Most values are shorter than what a call of memchr is worth.
    if bytes.len() > SHORT {
        memchr::memchr(byte, bytes)
    } else {
        find_in_words(bytes, |word| zeros(word ^ spread(byte)))
    }
}

/// Where either byte first stands.
#[inline]
pub(crate) fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    if bytes.len() > SHORT {
        return memchr::memchr2(one, other, bytes);
    }
    find_in_words(bytes, |word| zeros(word ^ spread(one)) | zeros(word ^ spread(other)))
}

/// Whether any byte is a blank.
#[inline]
pub(crate) fn any_blank(bytes: &[u8]) -> bool {
    // Blanks are the bytes up to SP that occur; any other of them is looked at one by one.
    any_in_words(bytes, |word| below(word, b' ' + 1)) && bytes.iter().any(|byte| is_blank(*byte))
}

/// Whether any byte is up to `"`, or `<` or `>`.
#[inline]
pub(crate) fn any_up_to_quote_or_bracket(bytes: &[u8]) -> bool {
    any_in_words(bytes, |word| below(word, b'"' + 1) | zeros(word ^ spread(b'<')) | zeros(word ^ spread(b'>')))
}

/// Not zero when any byte is below `bound` (up to 128).
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(spread(bound)) & !word & 0x8080_8080_8080_8080
}

#[inline]
fn any_in_words(bytes: &[u8], hits: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b'x'; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(0, |found, word| found | hits(u64::from_le_bytes(*word))) != 0
}

/// Up to this many bytes are looked through by words of eight.
const SHORT: usize = 64;

/// The byte in each of a word's eight places.
const fn spread(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// The high bit of the lowest byte that is zero (those above it may be wrong).
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

#[inline]
fn find_in_words(bytes: &[u8], hits: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return Some(at * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    // The last word is filled up with zeros; none of ours looks for NUL, and a hit behind the end is none.
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    let at = hits(u64::from_le_bytes(last)).trailing_zeros() as usize / 8;
    (at < rest.len()).then_some(words.len() * 8 + at)
}

/// What stands before `byte`, and the rest with it; all and nothing when it is not there.
pub(crate) fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    bytes.split_at(find(bytes, byte).unwrap_or(bytes.len()))
}

pub(crate) fn all_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte))
}

pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

pub(crate) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

/// A decimal number of any length; larger than `u64` counts as `u64::MAX`. None: not only digits, or no digit.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Reads over one header value, knowing quotes. In GB18030 the second byte of a character may be a backslash, so what
/// is not UTF-8 is stepped over in pairs (asked once for each value, and only when a byte above 127 stands in
/// quotes).
pub(crate) struct Quotes<'a> {
    value: &'a [u8],
    pairs: Option<bool>,
}

impl<'a> Quotes<'a> {
    pub(crate) const fn new(value: &'a [u8]) -> Self {
        Self { value, pairs: None }
    }

    /// How many bytes the character at `at` takes, when it is above 127.
    pub(crate) fn wide(&mut self, at: usize) -> usize {
        let value = self.value;
        let pairs = *self.pairs.get_or_insert_with(|| std::str::from_utf8(value).is_err());
        match (pairs, value.get(at + 1)) {
            (true, Some(0x40..=0x7e | 0x80..=0xfe)) => 2,
            (true, Some(0x30..=0x39)) if matches!(value.get(at + 3), Some(0x30..=0x39)) => 4,
            _ => 1,
        }
    }

    /// `at` stands on an opening quote: the place after the closing one, or None when it never closes.
    pub(crate) fn skip(&mut self, at: usize) -> Option<usize> {
        let mut at = at + 1;
        loop {
            match self.value.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at += 2,
                0x80.. => at += self.wide(at),
                _ => at += 1,
            }
        }
    }
}

/// Where a line holds several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Nowhere: the line is one value.
    Never,
    /// At commas outside quotes. Brackets mean nothing: a `<` in a Via must not hide the next one.
    Commas,
    /// At commas outside quotes and outside `<>`: addresses.
    CommasOutsideBrackets,
}

/// The values of one line; blanks trimmed, empty ones left out.
pub(crate) struct List<'a> {
    quotes: Quotes<'a>,
    at: usize,
    split: Split,
}

impl<'a> List<'a> {
    pub(crate) const fn new(value: &'a [u8], split: Split) -> Self {
        Self { quotes: Quotes::new(value), at: 0, split }
    }

    fn end_of_value(&mut self) -> usize {
        let value = self.quotes.value;
        let (mut at, mut angle) = (self.at, false);
        // Most lines hold one value.
        if self.split == Split::Never || find(&value[at..], b',').is_none() {
            return value.len();
        }
        while let Some(byte) = value.get(at) {
            match byte {
                b'"' if !angle => match self.quotes.skip(at) {
                    Some(after) => at = after - 1,
                    None => return value.len(),
                },
                b'<' => angle = self.split == Split::CommasOutsideBrackets,
                b'>' => angle = false,
                b',' if !angle => return at,
                _ => {}
            }
            at += 1;
        }
        value.len()
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.at < self.quotes.value.len() {
            let end = self.end_of_value();
            let value = trim(&self.quotes.value[self.at..end]);
            self.at = end + 1;
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// The value without its folds: each CRLF and the blanks around it become one space. Copies only when there is a
/// fold.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if find(value, b'\n').is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        if is_blank(byte) {
            let end = skip_blanks(value, at);
            let blanks = &value[at..end];
            if blanks.contains(&b'\n') {
                out.push(b' ');
            } else {
                out.extend_from_slice(blanks);
            }
            at = end;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// A parameter's value without its quotes and escapes; a token as it is.
pub fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else { return Cow::Borrowed(value) };
    if !inner.contains(&b'\\') {
        return unfold(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut quotes = Quotes::new(inner);
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        let take = match byte {
            b'\\' if at + 1 < inner.len() => {
                at += 1;
                1
            }
            0x80.. => quotes.wide(at),
            _ => 1,
        };
        let end = (at + take).min(inner.len());
        out.extend_from_slice(&inner[at..end]);
        at = end;
    }
    Cow::Owned(out)
}

/// Text of a peer as Unicode: UTF-8 if it is that, else GB18030 (what Chinese PBXs send; GBK and GB2312 are parts of
/// it). What neither reads becomes U+FFFD.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(bytes).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &[u8]) -> Vec<&[u8]> {
        List::new(value, Split::CommasOutsideBrackets).collect()
    }

    #[test]
    fn commas_in_quotes_and_angles_do_not_split() {
        assert_eq!(
            list(b"\"Li, Wei\" <sip:a,b@ark.test> ,, <sip:c@ark.test>;x=\"1,2\""),
            [&b"\"Li, Wei\" <sip:a,b@ark.test>"[..], b"<sip:c@ark.test>;x=\"1,2\""]
        );
    }

    #[test]
    fn a_bracket_in_a_via_does_not_hide_the_next_one() {
        assert_eq!(List::new(b"SIP/2.0/UDP a;x=<sip:, SIP/2.0/UDP b", Split::Commas).count(), 2);
        assert_eq!(List::new(b"a, b", Split::Never).count(), 1);
    }

    #[test]
    fn a_gbk_character_that_ends_in_a_backslash_does_not_hide_the_closing_quote() {
        // 0x81 0x5C is one GBK character.
        assert_eq!(list(b"\"\x81\x5c\" <sip:a@ark.test>, <sip:b@ark.test>").len(), 2);
        assert_eq!(unquote(b"\"\x81\x5c\\\"\""), &b"\x81\x5c\""[..]);
    }

    #[test]
    fn a_utf8_character_before_an_escaped_quote_keeps_the_escape() {
        assert_eq!(list("\"é\\\", x\" <sip:a@ark.test>, b".as_bytes()).len(), 2);
    }

    #[test]
    fn a_fold_becomes_one_space_and_other_blanks_stay() {
        assert_eq!(unfold(b"a  b \r\n\t c\n d"), &b"a  b c d"[..]);
    }

    #[test]
    fn a_byte_is_found_where_a_plain_loop_finds_it() {
        let text: Vec<u8> = (0..200_u32).map(|n| (n * 37 % 251) as u8 | 1).collect();
        for start in 0..20 {
            for end in start..text.len() {
                let part = &text[start..end];
                for (one, other) in [(b';', b'"'), (b'=', b'<'), (0xff, 0x81), (b':', b':')] {
                    assert_eq!(find(part, one), part.iter().position(|byte| *byte == one));
                    let either = part.iter().position(|byte| *byte == one || *byte == other);
                    assert_eq!(find_either(part, one, other), either);
                }
            }
        }
        assert_eq!(find(b"", b'x'), None);
        for byte in 0..=255_u8 {
            for at in [0, 3, 7, 8, 20, 23] {
                let mut part = *b"sip:95188@198.51.100.7:5";
                part[at] = byte;
                assert_eq!(any_blank(&part), is_blank(byte), "{byte} at {at}");
                let marked = byte <= b'"' || byte == b'<' || byte == b'>';
                assert_eq!(any_up_to_quote_or_bracket(&part), marked, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn numbers_too_large_for_any_type_are_still_numbers() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"99999999999999999999999999"), Some(u64::MAX));
        assert_eq!(decimal(b"-999"), None);
        assert_eq!(decimal(b""), None);
    }
}
