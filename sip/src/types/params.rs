//! `;name=value` parameters of a Via, a name-addr or a URI.

use super::FieldError;
use crate::limits::PARAMS_MAX;
use crate::text::{self, Quotes};

/// Parameters, read when asked for. Names compare without case; of duplicates the first counts; empty ones are
/// skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// `raw` begins with `;`, or is empty.
    ///
    /// # Errors
    /// More than [`PARAMS_MAX`] parameters, or a quote that never closes.
    pub(crate) fn checked(raw: &'a [u8]) -> Result<Self, FieldError> {
        let params = Self { raw };
        // `;a` is the shortest parameter: most values cannot hold too many, and have no quote.
        if raw.len() <= 2 * PARAMS_MAX && text::find(raw, b'"').is_none() {
            return Ok(params);
        }
        if params.iter().nth(PARAMS_MAX).is_some() {
            return Err(FieldError("too many parameters"));
        }
        let mut quotes = Quotes::new(raw);
        let mut at = 0;
        while let Some(found) = raw[at..].iter().position(|byte| *byte == b'"') {
            at = quotes.skip(at + found).ok_or(FieldError("a quote is not closed"))?;
            if at >= raw.len() {
                break;
            }
        }
        Ok(params)
    }

    pub(crate) const fn unchecked(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The value of `name`: empty for a parameter without one, None when it is not there. Quotes are kept
    /// ([`super::unquote`]).
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or_default())
    }

    /// Whether `name` is there, with or without a value.
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Every parameter in order, as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        ParamIter { quotes: Quotes::new(self.raw), raw: self.raw, at: 0 }
    }

    /// The bytes from the first `;` on, as they came.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

struct ParamIter<'a> {
    quotes: Quotes<'a>,
    raw: &'a [u8],
    at: usize,
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.raw.len() {
            let (start, mut equals) = (self.at, None);
            let mut at = start;
            // Without a quote on the way, the next mark ends it.
            let mark = text::find_either(&self.raw[start..], b';', b'"').map_or(self.raw.len(), |found| start + found);
            if self.raw.get(mark) != Some(&b'"') {
                equals = text::find(&self.raw[start..mark], b'=').map(|found| start + found);
                at = mark;
            }
            while let Some(byte) = self.raw.get(at) {
                match byte {
                    b';' => break,
                    b'=' => equals = equals.or(Some(at)),
                    b'"' => {
                        at = self.quotes.skip(at).unwrap_or(self.raw.len());
                        continue;
                    }
                    _ => {}
                }
                at += 1;
            }
            let end = at.min(self.raw.len());
            self.at = end + 1;
            let name = text::trim(&self.raw[start..equals.unwrap_or(end)]);
            if !name.is_empty() {
                return Some((name, equals.map(|equals| text::trim(&self.raw[equals + 1..end]))));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_folds_quotes_and_flags_are_read() {
        let params = Params::checked(b" ;\r\n  tag = 98asjd8;lr;;x=\"a;b=\\\"c\";TAG=second").unwrap();
        assert_eq!(params.get(b"Tag"), Some(&b"98asjd8"[..]));
        assert_eq!(params.get(b"lr"), Some(&b""[..]));
        assert_eq!(params.get(b"x"), Some(&b"\"a;b=\\\"c\""[..]));
        assert_eq!(params.iter().count(), 4);
        assert!(!params.has(b"y"));
    }

    #[test]
    fn an_open_quote_and_a_crowd_are_refused() {
        assert!(Params::checked(b";x=\"abc").is_err());
        assert!(Params::checked(";p=1".repeat(PARAMS_MAX).as_bytes()).is_ok());
        assert!(Params::checked(";p=1".repeat(PARAMS_MAX + 1).as_bytes()).is_err());
    }
}
