//! Methods and CSeq (RFC 3261 7.1, 20.16).

use std::fmt;

use super::FieldError;
use crate::text;

macro_rules! methods {
    ($($variant:ident $text:literal,)*) => {
        /// A request method; unknown ones are kept as they came. Case matters (RFC 3261 7.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other token.
            Other(&'a [u8]),
        }

        impl<'a> Method<'a> {
            /// The method these bytes name.
            pub fn from_bytes(bytes: &'a [u8]) -> Self {
                $(if bytes == $text.as_bytes() { return Self::$variant; })*
                Self::Other(bytes)
            }

            /// The method as it stands on the wire.
            pub const fn as_bytes(self) -> &'a [u8] {
                match self {
                    $(Self::$variant => $text.as_bytes(),)*
                    Self::Other(bytes) => bytes,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE",
    Ack "ACK",
    Bye "BYE",
    Cancel "CANCEL",
    Options "OPTIONS",
    Register "REGISTER",
    Info "INFO",
    Prack "PRACK",
    Update "UPDATE",
    Refer "REFER",
    Notify "NOTIFY",
    Subscribe "SUBSCRIBE",
    Message "MESSAGE",
    Publish "PUBLISH",
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// A CSeq value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number. RFC 3261 8.1.1.5 asks for less than 2^31; up to 2^32 - 1 is read.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads `number LWS method`.
    ///
    /// # Errors
    /// No number, a number above 32 bits, or no method token.
    pub fn parse(value: &'a [u8]) -> Result<Self, FieldError> {
        let value = text::trim(value);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = text::decimal(&value[..digits]).ok_or(FieldError("CSeq has no number"))?;
        let number = u32::try_from(number).map_err(|_| FieldError("CSeq number is larger than 32 bits"))?;
        let rest = &value[digits..];
        let method = text::trim(rest);
        if method.len() == rest.len() || !text::all_token(method) {
            return Err(FieldError("CSeq has no method"));
        }
        Ok(Self { number, method: Method::from_bytes(method) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq_with_leading_zeros_and_a_fold_is_read() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE").unwrap(), CSeq { number: 9, method: Method::Invite });
    }

    #[test]
    fn cseq_too_large_or_without_a_method_is_refused() {
        for bad in
            [&b"36893488147419103232 REGISTER"[..], b"8", b"8INVITE", b"INVITE 8", b"", b"-1 INVITE", b"8 IN VITE"]
        {
            assert!(CSeq::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn methods_are_told_apart_by_case() {
        assert_eq!(Method::from_bytes(b"INVITE"), Method::Invite);
        assert_eq!(Method::from_bytes(b"invite"), Method::Other(b"invite"));
    }
}
