//! name-addr and addr-spec: From, To, Contact, Route, P-Asserted-Identity and their kin (RFC 3261 20).

use std::borrow::Cow;

use super::uri::split_scheme;
use super::{FieldError, Params, Uri};
use crate::limits::URI_BYTES_MAX;
use crate::text::{self, Quotes};

/// A display name, a URI and header parameters. Without brackets, `;` begins header parameters, never URI parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it came, quotes included; None without one.
    pub display_raw: Option<&'a [u8]>,
    /// The URI as it came, without brackets.
    pub uri_raw: &'a [u8],
    /// Header parameters: `tag`, `expires`, `q`.
    pub params: Params<'a>,
    /// The whole value as it came.
    pub raw: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one value. What peers get wrong without harm is read: `""name"" <uri>`, an unquoted comma or no blank
    /// before `<`, blanks inside the brackets.
    ///
    /// # Errors
    /// A quote or bracket that never closes, no URI, no scheme, text after the brackets, too many parameters.
    pub fn parse(raw: &'a [u8]) -> Result<Self, FieldError> {
        let raw = text::trim(raw);
        let (display, uri, params) = match open_bracket(raw)? {
            Some(open) => {
                let inside = &raw[open + 1..];
                let close = text::find(inside, b'>').ok_or(FieldError("< is not closed"))?;
                let display = text::trim(&raw[..open]);
                (Some(display).filter(|name| !name.is_empty()), text::trim(&inside[..close]), &inside[close + 1..])
            }
            None => {
                let (uri, params) = text::split_at_byte(raw, b';');
                (None, text::trim(uri), params)
            }
        };
        let params = text::trim(params);
        if !params.is_empty() && params[0] != b';' {
            return Err(FieldError("text after the address"));
        }
        if uri.len() > URI_BYTES_MAX {
            return Err(FieldError("the URI is too long"));
        }
        if split_scheme(uri).is_none() || text::any_blank(uri) {
            return Err(FieldError("no URI in the address"));
        }
        Ok(Self { display_raw: display, uri_raw: uri, params: Params::checked(params)?, raw })
    }

    /// The URI, parsed.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn uri(&self) -> Result<Uri<'a>, FieldError> {
        Uri::parse(self.uri_raw)
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get(b"tag")
    }

    /// The display name as text: quotes and escapes undone, folds one space, GBK read as such. None when empty.
    pub fn display(&self) -> Option<Cow<'a, str>> {
        let raw = self.display_raw?;
        if !raw.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
            return Some(text::decode(raw));
        }
        let mut plain = Vec::with_capacity(raw.len());
        let mut quotes = Quotes::new(raw);
        let (mut at, mut quoted) = (0, false);
        while let Some(&byte) = raw.get(at) {
            let mut take = 1;
            match byte {
                b'"' => {
                    quoted = !quoted;
                    at += 1;
                    continue;
                }
                b'\\' if quoted && at + 1 < raw.len() => at += 1,
                0x80.. => take = quotes.wide(at),
                _ => {}
            }
            let end = (at + take).min(raw.len());
            plain.extend_from_slice(&raw[at..end]);
            at = end;
        }
        let plain = text::unfold(text::trim(&plain)).into_owned();
        (!plain.is_empty()).then(|| Cow::Owned(text::decode(&plain).into_owned()))
    }
}

/// Where `<` stands outside quotes.
fn open_bracket(raw: &[u8]) -> Result<Option<usize>, FieldError> {
    match text::find_either(raw, b'"', b'<') {
        Some(found) if raw[found] == b'<' => return Ok(Some(found)),
        None => return Ok(None),
        Some(_) => {}
    }
    let mut quotes = Quotes::new(raw);
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => at = quotes.skip(at).ok_or(FieldError("a quote is not closed"))?,
            b'<' => return Ok(Some(at)),
            _ => at += 1,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(raw: &[u8]) -> NameAddr<'_> {
        NameAddr::parse(raw).unwrap_or_else(|error| panic!("{error}: {raw:?}"))
    }

    #[test]
    fn parameters_after_a_bare_uri_belong_to_the_header() {
        let bare = address(b"sip:a@ark.test ;   tag    = 19181");
        assert_eq!((bare.uri_raw, bare.tag()), (&b"sip:a@ark.test"[..], Some(&b"19181"[..])));
        let bracketed = address(b"<sip:a@ark.test;tag=no>;tag=yes");
        assert_eq!(bracketed.tag(), Some(&b"yes"[..]));
        assert_eq!(bracketed.uri().unwrap().params.get(b"tag"), Some(&b"no"[..]));
    }

    #[test]
    fn display_names_as_peers_write_them() {
        for (raw, name) in [
            (&b"caller<sip:a@ark.test>"[..], Some("caller")),
            (b"\"\"unknown\"\" <sip:a@ark.test>", Some("unknown")),
            (b"\"J \\\\\\\"\" <sip:a@ark.test>", Some("J \\\"")),
            (b"Li, Wei < sip:a@ark.test >", Some("Li, Wei")),
            (b"\"\" <sip:a@ark.test>", None),
            (b"\xd5\xc5\xc8\xfd <sip:a@ark.test>", Some("张三")),
            (b"\"\xd5\xc5\xc8\xfd\" <sip:a@ark.test>", Some("张三")),
            ("\"张三\" <sip:a@ark.test>".as_bytes(), Some("张三")),
            (b"sip:a@ark.test", None),
            (b"\"two\r\n lines; and, marks\" <sip:a@ark.test>", Some("two lines; and, marks")),
        ] {
            assert_eq!(address(raw).display().as_deref(), name);
        }
    }

    #[test]
    fn what_cannot_be_read_safely_is_refused() {
        for bad in
            ["\"Mr. J <sip:a@ark.test>", "<sip:a@ark.test", "", "<>", "hello", "<sip:a@ark.test> x", "*", "a b <c d>"]
        {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
