//! URIs: sip and sips in full (RFC 3261 19.1), tel (RFC 3966), any other scheme as opaque text.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FieldError, Params};
use crate::limits::URI_BYTES_MAX;
use crate::text;

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other scheme, as written.
    Other(&'a [u8]),
}

/// The host of a URI or a Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, not resolved.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address (written in brackets).
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host without its port; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// Empty, a byte no host name has, or a bad address in brackets.
    pub fn parse(raw: &'a [u8]) -> Result<Self, FieldError> {
        if let [b'[', inner @ .., b']'] = raw {
            return ipv6(inner).map(Host::V6).ok_or(FieldError("not an IPv6 address in the brackets"));
        }
        if let Some(address) = ipv4(raw) {
            return Ok(Host::V4(address));
        }
        let plausible = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if raw.is_empty() || !raw.iter().all(plausible) {
            return Err(FieldError("not a host name"));
        }
        Ok(Host::Name(raw))
    }

    /// Reads `host [":" port]`, blanks around the colon allowed (RFC 3261 25.1 COLON).
    ///
    /// # Errors
    /// As [`Host::parse`], or a port that is not a number up to 65535.
    pub(crate) fn parse_with_port(raw: &'a [u8]) -> Result<(Self, Option<u16>), FieldError> {
        let search = if raw.first() == Some(&b'[') { raw.iter().position(|b| *b == b']').unwrap_or(0) } else { 0 };
        let Some(colon) = raw[search..].iter().position(|b| *b == b':').map(|found| found + search) else {
            return Ok((Self::parse(text::trim(raw))?, None));
        };
        let host = Self::parse(text::trim(&raw[..colon]))?;
        let digits = text::trim(&raw[colon + 1..]);
        if digits.is_empty() {
            return Ok((host, None));
        }
        let port = text::decimal(digits).and_then(|port| u16::try_from(port).ok()).ok_or(FieldError("not a port"))?;
        Ok((host, Some(port)))
    }

    /// The address, when the host is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(v4) => Some(IpAddr::V4(*v4)),
            Host::V6(v6) => Some(IpAddr::V6(*v6)),
        }
    }
}

/// `1.2.3.4` as [`Ipv4Addr`] reads it: four numbers up to 255, none with a zero in front.
fn ipv4(raw: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let (mut at, mut digits, mut number) = (0, 0, 0_u16);
    for byte in raw {
        if *byte == b'.' {
            *octets.get_mut(at)? = u8::try_from(number).ok().filter(|_| digits > 0)?;
            (at, digits, number) = (at + 1, 0, 0);
        } else if byte.is_ascii_digit() && digits < 3 && (digits == 0 || number > 0) {
            (digits, number) = (digits + 1, number * 10 + u16::from(byte - b'0'));
        } else {
            return None;
        }
    }
    let last = u8::try_from(number).ok().filter(|_| at == 3 && digits > 0)?;
    octets[3] = last;
    Some(octets.into())
}

/// An IPv6 address; three colons, which the grammar of RFC 3261 allowed by mistake, read as two (RFC 5118 4.10).
fn ipv6(raw: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(raw).ok()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (before, after) = text.split_once(":::")?;
    let mut fixed = [0_u8; 48];
    let length = before.len() + 2 + after.len();
    let fixed = fixed.get_mut(..length)?;
    fixed[..before.len()].copy_from_slice(before.as_bytes());
    fixed[before.len()..before.len() + 2].copy_from_slice(b"::");
    fixed[before.len() + 2..].copy_from_slice(after.as_bytes());
    std::str::from_utf8(fixed).ok()?.parse().ok()
}

/// An address with or without brackets, as peers write it in `received` and `maddr`.
pub(crate) fn bare_ip(raw: &[u8]) -> Option<IpAddr> {
    let inner = raw.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(raw);
    std::str::from_utf8(inner).ok().and_then(|text| text.parse().ok()).or_else(|| ipv6(inner).map(IpAddr::V6))
}

/// A URI, parsed. Escapes stay as they came; [`Uri::user_decoded`] undoes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// sip: the user part without the password. tel: the number. Otherwise None.
    pub user: Option<&'a [u8]>,
    /// What follows `:` in the user part (deprecated by RFC 3261 19.1.1).
    pub password: Option<&'a [u8]>,
    /// The host; None for tel and unknown schemes.
    pub host: Option<Host<'a>>,
    /// The port, when written.
    pub port: Option<u16>,
    /// URI parameters (`;transport=tls`).
    pub params: Params<'a>,
    /// What follows `?`; None without one.
    pub headers: Option<&'a [u8]>,
    /// The whole URI as it came.
    pub raw: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI without brackets around it.
    ///
    /// # Errors
    /// No scheme, blanks or brackets inside, longer than [`URI_BYTES_MAX`]; for sip and sips also a bad host or port.
    pub fn parse(raw: &'a [u8]) -> Result<Self, FieldError> {
        if raw.len() > URI_BYTES_MAX {
            return Err(FieldError("the URI is too long"));
        }
        if text::any_up_to_quote_or_bracket(raw) && raw.iter().any(|byte| is_never_in_uri(*byte)) {
            return Err(FieldError("blanks, quotes or brackets in the URI"));
        }
        let (scheme, rest) = split_scheme(raw).ok_or(FieldError("the URI has no scheme"))?;
        if scheme.eq_ignore_ascii_case(b"sip") {
            Self::sip(Scheme::Sip, raw, rest)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            Self::sip(Scheme::Sips, raw, rest)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            Self::tel(raw, rest)
        } else {
            Ok(Self { scheme: Scheme::Other(scheme), ..Self::bare(raw) })
        }
    }

    const fn bare(raw: &'a [u8]) -> Self {
        let params = Params::unchecked(b"");
        Self { scheme: Scheme::Sip, user: None, password: None, host: None, port: None, params, headers: None, raw }
    }

    fn tel(raw: &'a [u8], rest: &'a [u8]) -> Result<Self, FieldError> {
        let (number, params) = text::split_at_byte(rest, b';');
        if number.is_empty() {
            return Err(FieldError("the tel URI has no number"));
        }
        Ok(Self { scheme: Scheme::Tel, user: Some(number), params: Params::checked(params)?, ..Self::bare(raw) })
    }

    fn sip(scheme: Scheme<'a>, raw: &'a [u8], rest: &'a [u8]) -> Result<Self, FieldError> {
        let (userinfo, rest) = split_userinfo(rest);
        let (user, password) = match userinfo {
            Some(info) => match info.iter().position(|byte| *byte == b':') {
                Some(colon) => (Some(&info[..colon]), Some(&info[colon + 1..])),
                None => (Some(info), None),
            },
            None => (None, None),
        };
        let (hostport, tail) = split_tail(rest);
        let (host, port) = Host::parse_with_port(hostport)?;
        let (params, headers) = text::split_at_byte(tail, b'?');
        Ok(Self {
            scheme,
            user: user.filter(|user| !user.is_empty()),
            password,
            host: Some(host),
            port,
            params: Params::checked(params)?,
            headers: headers.get(1..),
            raw,
        })
    }

    /// The user part with its `%` escapes undone.
    pub fn user_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(percent_decoded)
    }

    /// Whether the scheme is sip or sips.
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }
}

/// Bytes that no URI holds; taking one would let a value grow a second meaning on the way out.
pub(crate) const fn is_never_in_uri(byte: u8) -> bool {
    text::is_blank(byte) || matches!(byte, b'<' | b'>' | b'"' | 0)
}

/// `scheme ":" rest`; the scheme is a letter and then letters, digits, `+`, `-`, `.`.
pub(crate) fn split_scheme(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(rest) = raw.strip_prefix(b"sip:").filter(|rest| !rest.is_empty()) {
        return Some((b"sip", rest));
    }
    let colon = text::find(raw, b':')?;
    let (scheme, rest) = (&raw[..colon], &raw[colon + 1..]);
    let letters = scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (scheme.first()?.is_ascii_alphabetic() && letters && !rest.is_empty()).then_some((scheme, rest))
}

/// What stands before the parameters or headers, and these with their mark.
fn split_tail(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(text::find_either(bytes, b';', b'?').unwrap_or(bytes.len()))
}

/// Splits at the `@` before the host. `;`, `?` and `/` may stand in a user part, so the first `@` ends it; an
/// unescaped `@` of a mail-like user (`a@b@host`) is taken to belong to the user.
fn split_userinfo(rest: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(mut at) = text::find(rest, b'@') else { return (None, rest) };
    let (host, _) = split_tail(&rest[at + 1..]);
    if let Some(later) = memchr::memrchr(b'@', host) {
        at += 1 + later;
    }
    (Some(&rest[..at]), &rest[at + 1..])
}

fn percent_decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let hex = |place: usize| raw.get(place).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(raw: &str) -> Uri<'_> {
        Uri::parse(raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error}"))
    }

    #[test]
    fn semicolons_hashes_and_question_marks_may_stand_in_the_user() {
        assert_eq!(uri("sip:user;par=u%40x.test@ark.test").user_decoded().unwrap(), &b"user;par=u@x.test"[..]);
        assert_eq!(uri("sip:*86#@ark.test").user, Some(&b"*86#"[..]));
        let odd = uri("sip:1_x~(y)$/z?,;;*:pass@ark.test;lr");
        assert_eq!((odd.user, odd.password), (Some(&b"1_x~(y)$/z?,;;*"[..]), Some(&b"pass"[..])));
        assert!(odd.params.has(b"lr"));
    }

    #[test]
    fn escaped_nul_survives() {
        assert_eq!(uri("sip:a%00b@ark.test").user_decoded().unwrap(), &b"a\0b"[..]);
        assert_eq!(uri("sip:a%4@ark.test").user_decoded().unwrap(), &b"a%4"[..]);
    }

    #[test]
    fn ipv6_hosts_with_and_without_ports() {
        let v6 = uri("sip:u@[2001:db8::10]:5070;transport=tcp?subject=x");
        assert_eq!((v6.host, v6.port), (Some(Host::V6("2001:db8::10".parse().unwrap())), Some(5070)));
        assert_eq!(v6.headers, Some(&b"subject=x"[..]));
        assert_eq!(uri("sip:[2001:db8::10:5070]").port, None);
        assert_eq!(uri("sip:u@[2001:db8:::192.0.2.1]").host, uri("sip:u@[2001:db8::192.0.2.1]").host);
        for bad in ["sip:2001:db8::10", "sip:u@[2001:db8", "sip:u@[::x]", "sip:u@[::1]5060"] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ipv4_is_read_as_the_standard_library_reads_it() {
        for text in [
            "1.2.3.4",
            "255.255.255.255",
            "0.0.0.0",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1..2.3",
            ".1.2.3",
            "1.2.3.",
            "1.2.3.4a",
            "1000.1.1.1",
            "10.0.0.00",
            "",
            "1",
            "a.b.c.d",
            "1.2.3.-4",
            "0.10.20.30",
            "999.9.9.9",
        ] {
            assert_eq!(ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn tel_and_unknown_schemes() {
        let tel = uri("tel:+86-10-95188;phone-context=ark.test");
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, Some(&b"+86-10-95188"[..])));
        assert_eq!(tel.params.get(b"phone-context"), Some(&b"ark.test"[..]));
        assert_eq!(uri("soap.beep://192.0.2.1:3002").scheme, Scheme::Other(b"soap.beep"));
    }

    #[test]
    fn broken_uris_are_refused() {
        for bad in [
            "",
            "sip:",
            "sip:u@",
            "95188",
            "<sip:u@h>",
            "sip:u@h; lr",
            "sip:u@h:x",
            "sip:u@h:70000",
            ":x",
            "1sip:u@h",
            "tel:",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
