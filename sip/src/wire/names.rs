//! Header names: a small number for every known one, compact forms included, case-insensitive.

use crate::text::Split;

/// Places of the table of known names, a power of two: each stands at its [`place`] or behind it.
const TABLE_PLACES: usize = 512;

/// Bytes of the longest name that can be known.
const KNOWN_BYTES_MAX: usize = 24;

/// A name as three words without its case, and its length.
type Folded = [u64; KNOWN_BYTES_MAX / 8 + 1];

/// None: it is longer than every known name. Letters differ in bit 5 alone; beside them known names have `-`, to which
/// only CR folds as well, and a CR that ends no line is refused for itself.
#[inline]
fn folded(name: &[u8]) -> Option<Folded> {
    let mut bytes = [0; KNOWN_BYTES_MAX];
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    Some(words(&bytes, name.len()))
}

const fn words(bytes: &[u8; KNOWN_BYTES_MAX], length: usize) -> Folded {
    let mut words = [length as u64; KNOWN_BYTES_MAX / 8 + 1];
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    while at < chunks.len() {
        words[at] = u64::from_le_bytes(chunks[at]) | 0x2020_2020_2020_2020;
        at += 1;
    }
    words
}

/// Where a name is looked for first.
const fn place(name: Folded) -> usize {
    let mixed = name[0] ^ name[1].rotate_left(21) ^ name[2].rotate_left(42);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize % TABLE_PLACES
}

macro_rules! header_names {
    ($($variant:ident $text:literal [$($key:literal)|+] $kind:ident;)*) => {
        /// The name of a header field: known ones by variant (whatever their case or compact form), all else as it
        /// came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum HeaderName<'a> {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other name, as written (compare without case).
            Other(&'a [u8]),
        }

        /// A known name as one byte for the header table; the name's text stays in the message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum NameId { $($variant,)* Other }

        impl NameId {
            pub(crate) fn of(name: &[u8]) -> Self {
                let Some(name) = folded(name) else { return Self::Other };
                let mut at = place(name);
                loop {
                    match TABLE[at] {
                        (_, Self::Other) => return Self::Other,
                        (key, id) if key == name => return id,
                        _ => at = (at + 1) % TABLE_PLACES,
                    }
                }
            }

            pub(crate) fn name(self, written: &[u8]) -> HeaderName<'_> {
                match self {
                    $(Self::$variant => HeaderName::$variant,)*
                    Self::Other => HeaderName::Other(written),
                }
            }
        }

        /// Every spelling, filled at compile time; `Other` marks the free places.
        static TABLE: [(Folded, NameId); TABLE_PLACES] = {
            let keys: &[(&[u8], NameId)] = &[$($(($key, NameId::$variant),)+)*];
            let mut table = [([0; KNOWN_BYTES_MAX / 8 + 1], NameId::Other); TABLE_PLACES];
            let mut next = 0;
            while next < keys.len() {
                let (key, id) = keys[next];
                let mut bytes = [0; KNOWN_BYTES_MAX];
                bytes.split_at_mut(key.len()).0.copy_from_slice(key);
                let key = words(&bytes, key.len());
                let mut at = place(key);
                while !matches!(table[at].1, NameId::Other) {
                    at = (at + 1) % TABLE_PLACES;
                }
                table[at] = (key, id);
                next += 1;
            }
            assert!(keys.len() * 2 < TABLE_PLACES);
            table
        };

        impl<'a> HeaderName<'a> {
            /// The name for these bytes: compact forms and any case are known (RFC 3261 7.3.1, 7.3.3).
            pub fn from_bytes(name: &'a [u8]) -> Self {
                NameId::of(name).name(name)
            }

            /// The usual long spelling; of an unknown name, what was written.
            pub fn as_bytes(self) -> &'a [u8] {
                match self {
                    $(Self::$variant => $text.as_bytes(),)*
                    Self::Other(name) => name,
                }
            }

            pub(crate) fn id(self) -> NameId {
                match self {
                    $(Self::$variant => NameId::$variant,)*
                    Self::Other(_) => NameId::Other,
                }
            }

            /// Whether this is one of the names known here.
            pub const fn is_known(self) -> bool {
                !matches!(self, Self::Other(_))
            }

            /// Whether several values may share one line, with commas between them (RFC 3261 7.3.1 and the header's
            /// own grammar).
            pub fn is_list(self) -> bool {
                match self {
                    $(Self::$variant => header_names!(@list $kind),)*
                    Self::Other(_) => false,
                }
            }

            pub(crate) fn split(self) -> Split {
                match self {
                    Self::Via => Split::Commas,
                    list if list.is_list() => Split::CommasOutsideBrackets,
                    _ => Split::Never,
                }
            }
        }
    };
    (@list list) => { true };
    (@list $other:ident) => { false };
}

header_names! {
    Accept "Accept" [b"accept"] list;
    AcceptContact "Accept-Contact" [b"accept-contact" | b"a"] list;
    AcceptEncoding "Accept-Encoding" [b"accept-encoding"] list;
    AcceptLanguage "Accept-Language" [b"accept-language"] list;
    AlertInfo "Alert-Info" [b"alert-info"] list;
    Allow "Allow" [b"allow"] list;
    AllowEvents "Allow-Events" [b"allow-events" | b"u"] list;
    AuthenticationInfo "Authentication-Info" [b"authentication-info"] plain;
    Authorization "Authorization" [b"authorization"] plain;
    CallId "Call-ID" [b"call-id" | b"i"] plain;
    CallInfo "Call-Info" [b"call-info"] list;
    Contact "Contact" [b"contact" | b"m"] list;
    ContentDisposition "Content-Disposition" [b"content-disposition"] plain;
    ContentEncoding "Content-Encoding" [b"content-encoding" | b"e"] list;
    ContentLanguage "Content-Language" [b"content-language"] list;
    ContentLength "Content-Length" [b"content-length" | b"l"] plain;
    ContentType "Content-Type" [b"content-type" | b"c"] plain;
    CSeq "CSeq" [b"cseq"] plain;
    Date "Date" [b"date"] plain;
    Diversion "Diversion" [b"diversion"] list;
    ErrorInfo "Error-Info" [b"error-info"] list;
    Event "Event" [b"event" | b"o"] plain;
    Expires "Expires" [b"expires"] plain;
    From "From" [b"from" | b"f"] plain;
    HistoryInfo "History-Info" [b"history-info"] list;
    Identity "Identity" [b"identity" | b"y"] plain;
    InReplyTo "In-Reply-To" [b"in-reply-to"] list;
    MaxForwards "Max-Forwards" [b"max-forwards"] plain;
    MimeVersion "MIME-Version" [b"mime-version"] plain;
    MinExpires "Min-Expires" [b"min-expires"] plain;
    MinSe "Min-SE" [b"min-se"] plain;
    Organization "Organization" [b"organization"] plain;
    PAccessNetworkInfo "P-Access-Network-Info" [b"p-access-network-info"] list;
    PAssertedIdentity "P-Asserted-Identity" [b"p-asserted-identity"] list;
    PAssociatedUri "P-Associated-URI" [b"p-associated-uri"] list;
    Path "Path" [b"path"] list;
    PChargingVector "P-Charging-Vector" [b"p-charging-vector"] plain;
    PEarlyMedia "P-Early-Media" [b"p-early-media"] list;
    PPreferredIdentity "P-Preferred-Identity" [b"p-preferred-identity"] list;
    Priority "Priority" [b"priority"] plain;
    Privacy "Privacy" [b"privacy"] plain;
    ProxyAuthenticate "Proxy-Authenticate" [b"proxy-authenticate"] plain;
    ProxyAuthorization "Proxy-Authorization" [b"proxy-authorization"] plain;
    ProxyRequire "Proxy-Require" [b"proxy-require"] list;
    RAck "RAck" [b"rack"] plain;
    Reason "Reason" [b"reason"] list;
    RecordRoute "Record-Route" [b"record-route"] list;
    ReferTo "Refer-To" [b"refer-to" | b"r"] plain;
    ReferredBy "Referred-By" [b"referred-by" | b"b"] plain;
    RemotePartyId "Remote-Party-ID" [b"remote-party-id"] list;
    Replaces "Replaces" [b"replaces"] plain;
    ReplyTo "Reply-To" [b"reply-to"] plain;
    Require "Require" [b"require"] list;
    RetryAfter "Retry-After" [b"retry-after"] plain;
    Route "Route" [b"route"] list;
    RSeq "RSeq" [b"rseq"] plain;
    Server "Server" [b"server"] plain;
    ServiceRoute "Service-Route" [b"service-route"] list;
    SessionExpires "Session-Expires" [b"session-expires" | b"x"] plain;
    Subject "Subject" [b"subject" | b"s"] plain;
    SubscriptionState "Subscription-State" [b"subscription-state"] plain;
    Supported "Supported" [b"supported" | b"k"] list;
    Timestamp "Timestamp" [b"timestamp"] plain;
    To "To" [b"to" | b"t"] plain;
    Unsupported "Unsupported" [b"unsupported"] list;
    UserAgent "User-Agent" [b"user-agent"] plain;
    UserToUser "User-to-User" [b"user-to-user"] list;
    Via "Via" [b"via" | b"v"] list;
    Warning "Warning" [b"warning"] list;
    WwwAuthenticate "WWW-Authenticate" [b"www-authenticate"] plain;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_odd_cases_name_the_same_header() {
        for (written, name) in [
            (&b"v"[..], HeaderName::Via),
            (b"VIA", HeaderName::Via),
            (b"cOnTeNt-LeNgTh", HeaderName::ContentLength),
            (b"L", HeaderName::ContentLength),
            (b"k", HeaderName::Supported),
            (b"x", HeaderName::SessionExpires),
        ] {
            assert_eq!(HeaderName::from_bytes(written), name);
        }
    }

    #[test]
    fn an_escaped_or_unknown_name_stays_what_it_is() {
        assert_eq!(HeaderName::from_bytes(b"C%6Fntact"), HeaderName::Other(b"C%6Fntact"));
        for odd in [&b"Via "[..], b"Vi", b"Viaa", b"To\0", b"", b"\0", b"Call_ID"] {
            assert!(!HeaderName::from_bytes(odd).is_known(), "{odd:?}");
        }
        let long = [b'x'; 200];
        assert_eq!(HeaderName::from_bytes(&long), HeaderName::Other(&long));
    }

    #[test]
    fn every_long_name_is_known_by_its_own_spelling() {
        for name in [HeaderName::PAccessNetworkInfo, HeaderName::WwwAuthenticate, HeaderName::MimeVersion] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), name);
        }
    }
}
