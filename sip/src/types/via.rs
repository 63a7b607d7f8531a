//! Via (RFC 3261 20.42, RFC 3581).

use std::net::IpAddr;

use super::uri::bare_ip;
use super::{FieldError, Host, Params};
use crate::text;

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as written: `UDP`, `tcp`, or one we never heard of.
    pub transport: &'a [u8],
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The port of sent-by, when written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// The whole value as it came.
    pub raw: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads `SIP/2.0/transport host:port;params`; blanks and folds may stand around every mark.
    ///
    /// # Errors
    /// Anything of it missing or malformed, or too many parameters.
    pub fn parse(raw: &'a [u8]) -> Result<Self, FieldError> {
        let raw = text::trim(raw);
        let at = if raw.starts_with(USUAL) {
            USUAL.len()
        } else {
            let (_, at) = token(raw, 0)?;
            let (_, at) = token(raw, slash(raw, at)?)?;
            slash(raw, at)?
        };
        let (transport, at) = token(raw, at)?;
        let rest = &raw[at..];
        let (sent_by, params) = text::split_at_byte(rest, b';');
        let sent_by = text::trim(sent_by);
        if sent_by.is_empty() || !text::is_blank(rest[0]) {
            return Err(FieldError("Via has no sent-by"));
        }
        let (host, port) = Host::parse_with_port(sent_by)?;
        Ok(Self { transport, host, port, params: Params::checked(params)?, raw })
    }

    /// The branch, when there is one (RFC 2543 clients send none).
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get(b"branch")
    }

    /// The address a server noted as the packet's source; brackets around IPv6 are accepted (RFC 5118 4.5).
    pub fn received(&self) -> Option<IpAddr> {
        self.params.get(b"received").and_then(bare_ip)
    }

    /// `rport`: None when not there, `Some(None)` when the client asks for it, `Some(Some(port))` when a server
    /// filled it in.
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.get(b"rport")?;
        Some(text::decimal(value).and_then(|port| u16::try_from(port).ok()))
    }
}

/// How nearly all of them begin.
const USUAL: &[u8] = b"SIP/2.0/";

fn token(raw: &[u8], at: usize) -> Result<(&[u8], usize), FieldError> {
    let start = text::skip_blanks(raw, at);
    let length = raw[start..].iter().take_while(|byte| text::is_token(**byte)).count();
    if length == 0 {
        return Err(FieldError("Via does not begin with protocol/version/transport"));
    }
    Ok((&raw[start..start + length], start + length))
}

fn slash(raw: &[u8], at: usize) -> Result<usize, FieldError> {
    let at = text::skip_blanks(raw, at);
    match raw.get(at) {
        Some(b'/') => Ok(at + 1),
        _ => Err(FieldError("Via does not begin with protocol/version/transport")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_folds_everywhere() {
        let via = Via::parse(b"SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5062 ;branch = 390skdjuw; rport").unwrap();
        assert_eq!((via.transport, via.port, via.branch()), (&b"UDP"[..], Some(5062), Some(&b"390skdjuw"[..])));
        assert_eq!(via.rport(), Some(None));
    }

    #[test]
    fn ipv6_sent_by_and_received_in_both_spellings() {
        let bare = Via::parse(b"SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z").unwrap();
        let bracketed = Via::parse(b"SIP/2.0/UDP [2001:db8::9:1]:5060;received=[2001:db8::9:255];branch=z").unwrap();
        assert_eq!(bare.received(), bracketed.received());
        assert_eq!(bare.host, Host::V6("2001:db8::9:1".parse().unwrap()));
    }

    #[test]
    fn garbage_is_refused() {
        for bad in [
            "",
            ";",
            "garbage",
            "SIP/2.0 host",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/UDP host:x",
            "SIP/2.0/UDP[::1]",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
