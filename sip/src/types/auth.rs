//! Challenges and credentials: a scheme and comma-separated parameters (RFC 3261 20.7, 20.44; RFC 7616).

use std::borrow::Cow;

use super::FieldError;
use crate::limits::PARAMS_MAX;
use crate::text::{self, List, Split};

/// One WWW-Authenticate, Proxy-Authenticate, Authorization or Proxy-Authorization value. Folds, unknown algorithms
/// and quoted commas are fine; of duplicate parameters the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthParams<'a> {
    /// `Digest`, `Bearer`, or a scheme we never heard of (compare without case).
    pub scheme: &'a [u8],
    params: &'a [u8],
}

impl<'a> AuthParams<'a> {
    /// Reads one header value.
    ///
    /// # Errors
    /// No scheme token, or too many parameters.
    pub fn parse(value: &'a [u8]) -> Result<Self, FieldError> {
        let value = text::trim(value);
        let length = value.iter().take_while(|byte| text::is_token(**byte)).count();
        let (scheme, params) = value.split_at(length);
        if scheme.is_empty() || params.first().is_some_and(|byte| !text::is_blank(*byte)) {
            return Err(FieldError("no authentication scheme"));
        }
        if List::new(params, Split::Commas).nth(PARAMS_MAX).is_some() {
            return Err(FieldError("too many parameters"));
        }
        Ok(Self { scheme, params })
    }

    /// Whether the scheme is Digest.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// The value of `name` without quotes and escapes.
    pub fn get(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| text::unquote(value))
    }

    /// Every `name = value` in order; quotes are kept.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        List::new(self.params, Split::Commas).filter_map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            Some((text::trim(&pair[..equals]), text::trim(&pair[equals + 1..])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_challenge_with_commas_in_quotes_is_read() {
        let value = b"Digest realm=\"ark, test\",\r\n nonce=\"a\\\"b\" ,\
            qop=\"auth,auth-int\",\r\n\talgorithm=SHA-256, opaque=\"\"";
        let challenge = AuthParams::parse(value).unwrap();
        assert!(challenge.is_digest());
        assert_eq!(challenge.get(b"realm").unwrap(), &b"ark, test"[..]);
        assert_eq!(challenge.get(b"NONCE").unwrap(), &b"a\"b"[..]);
        assert_eq!(challenge.get(b"qop").unwrap(), &b"auth,auth-int"[..]);
        assert_eq!(challenge.get(b"algorithm").unwrap(), &b"SHA-256"[..]);
        assert_eq!(challenge.get(b"opaque").unwrap(), &b""[..]);
        assert_eq!(challenge.get(b"stale"), None);
    }

    #[test]
    fn an_unknown_scheme_is_kept_and_none_is_refused() {
        assert_eq!(AuthParams::parse(b"NoOne a=1").unwrap().scheme, b"NoOne");
        assert!(AuthParams::parse(b"").is_err());
        assert!(AuthParams::parse(b"=x").is_err());
    }
}
