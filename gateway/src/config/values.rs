//! The small types of the configuration file: durations, addresses, port ranges, networks, secrets.
//!
//! Each is written in the file as one string, so that the file reads like a sentence and a mistake has one place.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ark_media::codec::{self, CodecRef};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Makes a type that is a string in the file: serde and JSON Schema through `FromStr` and `Display`.
macro_rules! written_as_string {
    ($type:ty, $pattern:literal, $description:literal) => {
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $pattern, "description": $description })
            }
        }
    };
}

/// A duration, written as a number and a unit: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

written_as_string!(Span, "duration", "A number and a unit: ms, s, m, h or d.");

impl Span {
    /// `seconds` seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a duration: write a number and a unit, such as \"250ms\", \"30s\", \"5m\", \"2h\"")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(|| format!("`{text}` is longer than Ark can count"))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        match units.iter().find(|(unit_ms, _)| ms.is_multiple_of(*unit_ms)) {
            Some((unit_ms, unit)) => write!(f, "{}{unit}", ms / unit_ms),
            None => Ok(()),
        }
    }
}

/// How SIP bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SipTransport {
    /// Datagrams, RFC 3261 18.
    Udp,
    /// A stream, RFC 3261 18.
    Tcp,
}

impl fmt::Display for SipTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// One socket that hears SIP, written `"udp:0.0.0.0:5060"` or `"tcp:[::]:5060"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SipListen {
    /// Datagram or stream.
    pub transport: SipTransport,
    /// Where to bind.
    pub address: SocketAddr,
}

written_as_string!(SipListen, "transport:address:port", "udp: or tcp:, an address and a port.");

impl FromStr for SipListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a SIP address: write \"udp:0.0.0.0:5060\" or \"tcp:[::]:5060\"");
        let (transport, address) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match transport {
            "udp" => SipTransport::Udp,
            "tcp" => SipTransport::Tcp,
            "tls" | "ws" | "wss" => {
                return Err(format!("`{transport}` is not available in this release: Ark hears SIP over udp and tcp"));
            }
            _ => return Err(wrong()),
        };
        Ok(Self { transport, address: address.parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for SipListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

/// A range of UDP ports, both ends included, written `"20000-29999"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    /// The first port, which is part of the range.
    pub first: u16,
    /// The last port, which is part of the range.
    pub last: u16,
}

written_as_string!(Ports, "first-last", "The first and the last port, both included.");

impl Ports {
    /// The range as Rust writes it.
    pub const fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// How many even/odd pairs lie within the range: one pair carries one leg's RTP and RTCP.
    pub const fn pairs(self) -> usize {
        let first_even = self.first.next_multiple_of(2) as usize;
        let end = self.last as usize + 1;
        if end > first_even { (end - first_even) / 2 } else { 0 }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a port range: write the first and the last port, such as \"20000-29999\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first == 0 || first > last {
            return Err(format!("`{text}` is empty: the first port must be at least 1 and not above the last"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A network, written `"198.51.100.0/24"`; an address alone means that address only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The network's address.
    pub address: IpAddr,
    /// How many leading bits must be equal.
    pub bits: u8,
}

written_as_string!(Cidr, "address/bits", "A network in CIDR form, or one address.");

impl Cidr {
    /// Whether it is one address.
    pub fn is_host(&self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether `address` lies in this network. An IPv4 address that came mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether bits right of the mask are set, which is nearly always a slip of the pen.
    pub fn has_host_bits(&self) -> bool {
        match self.address {
            IpAddr::V4(own) => own.to_bits() & !u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0) != 0,
            IpAddr::V6(own) => own.to_bits() & !u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0) != 0,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a network: write \"198.51.100.0/24\", \"2001:db8::/32\" or one address");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A voice codec, written by its name in SDP: `"PCMA"`, `"opus"`. Upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Codec(pub CodecRef);

written_as_string!(Codec, "codec", "A voice codec by its name in SDP.");

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        codec::ALL.iter().copied().find(|codec| codec.is_called(text)).map(Self).ok_or_else(|| {
            let names: Vec<&str> = codec::ALL.iter().map(|codec| codec.name()).collect();
            format!("`{text}` is not a codec that Ark speaks: it speaks {}", names.join(", "))
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The address of a store or a broker: `sqlite:data/ark.db`, `postgres://user@host/database`, `amqp://user@host/vhost`.
///
/// A password in it is never shown: every text form, and what `ark config print` writes, says `***` in its place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url(String);

written_as_string!(Url, "url", "An address.");

impl Url {
    /// The whole address, password included: for whoever connects, and nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a password stands in it.
    pub fn has_password(&self) -> bool {
        without_passwords(&self.0) != self.0
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(MASKED) {
            let advice = "write it here again, or use `password = { file = \"...\" }`";
            return Err(format!("the password was left out when this was printed: {advice}"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands in the place of a password.
pub(super) const MASKED: &str = "***";

/// The keys of the site's file whose value is a [`Secret`].
const SECRET_KEYS: [&str; 5] = ["password", "bearer", "secrets", "secret", "credential"];

/// A line of the site's file without its secrets: `user:***@host`, `password=***`, and what stands in plain text where a
/// [`Secret`] is expected. It rather masks too much.
pub(super) fn without_secrets(line: &str) -> String {
    let mut shown = without_passwords(line);
    for key in SECRET_KEYS {
        let mut from = 0;
        while let Some(at) = shown.get(from..).and_then(|rest| rest.find(key)) {
            from += at + key.len();
            let rest = shown.get(from..).unwrap_or_default();
            let after_key = rest.trim_start_matches(['"', '\'']).trim_start();
            let Some(value) = after_key.strip_prefix('=').map(str::trim_start) else { continue };
            let start = shown.len() - value.len();
            let end = start + plain_secret(value);
            if end > start {
                shown.replace_range(start..end, MASKED);
            }
            from = start;
        }
    }
    // An array of them may go over several lines.
    while let Some(start) = shown.find("whsec_") {
        let rest = shown.get(start..).unwrap_or_default();
        let end = start + rest.find(['"', '\'', ',', ']', ' ']).unwrap_or(rest.len());
        shown.replace_range(start..end, MASKED);
    }
    shown
}

/// How many bytes of a value are a secret in plain text; 0 when it says where one is kept.
fn plain_secret(value: &str) -> usize {
    let closed = |mark: char| value.get(1..).and_then(|rest| rest.find(mark)).map(|at| at + 2);
    match value.chars().next() {
        Some('{') | None => 0,
        Some('[') if value.contains('{') => 0,
        Some('[') => value.rfind(']').map_or(value.len(), |at| at + 1),
        Some(mark @ ('"' | '\'')) => closed(mark).filter(|_| !value.contains('\\')).unwrap_or(value.len()),
        Some(_) => value.find([',', '}']).unwrap_or(value.len()),
    }
}

/// A text without the passwords of the addresses in it: `user:***@host`, `password=***`. It rather masks too much.
fn without_passwords(text: &str) -> String {
    let mut shown = text.to_owned();
    if let Some(scheme) = shown.find("://")
        && let Some(at) = shown.rfind('@').filter(|at| *at > scheme)
        && let Some(colon) = shown.get(scheme + 3..at).and_then(|user| user.find(':'))
    {
        shown.replace_range(scheme + 3 + colon + 1..at, MASKED);
    }
    let mut from = 0;
    while let Some(key) = shown.get(from..).and_then(|rest| rest.find("password=")) {
        let start = from + key + "password=".len();
        let value = shown.get(start..).unwrap_or_default();
        let end = start + value.find(['&', '"']).unwrap_or(value.len());
        if end > start {
            shown.replace_range(start..end, MASKED);
        }
        from = start;
    }
    shown
}

/// A secret, named by where it is kept: never written into the file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Secret {
    /// `{ file = "secrets/carrier" }`: the file's content without the line end.
    File(PathBuf),
    /// `{ env = "CARRIER_PASSWORD" }`: an environment variable.
    Env(String),
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// How the refusal of a secret in plain text begins: what it points at is not shown.
pub(super) const PLAIN_SECRET: &str = "a secret does not stand in this file";

/// Reads where a secret is kept. One that stands in the file itself is refused in words that do not have it.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("where the secret is kept: { file = \"...\" } or { env = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, _secret: &str) -> Result<Secret, E> {
        let help = "write where it is kept: { file = \"...\" } or { env = \"...\" }";
        Err(E::custom(format!("{PLAIN_SECRET}; {help}")))
    }

    fn visit_i64<E: de::Error>(self, _secret: i64) -> Result<Secret, E> {
        self.visit_str("")
    }

    fn visit_f64<E: de::Error>(self, _secret: f64) -> Result<Secret, E> {
        self.visit_str("")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Kept {
            File(PathBuf),
            Env(String),
        }
        Ok(match Kept::deserialize(MapAccessDeserializer::new(map))? {
            Kept::File(path) => Secret::File(path),
            Kept::Env(name) => Secret::Env(name),
        })
    }
}

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// A sentence that names the file or the variable and what is wrong with it.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("the secret file {} cannot be read: {error}", path.display())),
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable {name} that holds a secret is not set")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!("250ms".parse::<Span>().unwrap().0, Duration::from_millis(250));
        assert_eq!("2h".parse::<Span>().unwrap().to_string(), "2h");
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        for wrong in ["", "3", "s", "3 s", "-1s", "3sec", "99999999999999999999s", "18446744073709551615d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn listen_addresses_name_their_transport() {
        assert_eq!("tcp:[::]:5060".parse::<SipListen>().unwrap().to_string(), "tcp:[::]:5060");
        assert!("tls:0.0.0.0:5061".parse::<SipListen>().unwrap_err().contains("not available"));
        assert!("0.0.0.0:5060".parse::<SipListen>().is_err());
    }

    #[test]
    fn port_pairs_begin_on_an_even_port() {
        assert_eq!("20000-29999".parse::<Ports>().unwrap().pairs(), 5_000);
        assert_eq!("20001-20004".parse::<Ports>().unwrap().pairs(), 1);
        assert_eq!("20001-20001".parse::<Ports>().unwrap().pairs(), 0);
        assert!("30000-20000".parse::<Ports>().is_err());
    }

    #[test]
    fn an_address_shows_no_password() {
        for (url, shown) in [
            ("sqlite:data/ark.db", "sqlite:data/ark.db"),
            ("postgres://ark@db:5432/ark?sslmode=require", "postgres://ark@db:5432/ark?sslmode=require"),
            ("postgres://ark:s:e/c@r@db/ark", "postgres://ark:***@db/ark"),
            (
                "postgres://db/ark?user=ark&password=secret&sslmode=require",
                "postgres://db/ark?user=ark&password=***&sslmode=require",
            ),
            ("amqps://ark:secret@mq:5671/ark", "amqps://ark:***@mq:5671/ark"),
        ] {
            let read: Url = url.parse().unwrap();
            assert_eq!((read.to_string(), format!("{read:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!((read.reveal(), read.has_password()), (url, url != shown));
            assert_eq!(shown.parse::<Url>().is_err(), url != shown, "a masked password is no password");
        }
    }

    #[test]
    fn a_line_shows_no_secret() {
        for (line, shown) in [
            ("password = \"hunter2\"", "password = ***"),
            ("password=\"hunter2\"", "password=***"),
            ("\"password\" = 'hunter2' # at last", "\"password\" = *** # at last"),
            ("password = hunter2", "password = ***"),
            ("password = \"hunter2", "password = ***"),
            ("password = \"hun\\\"ter2\"", "password = ***"),
            ("{ name = \"c\", password = \"hunter2\", porxy = 1 }", "{ name = \"c\", password = ***, porxy = 1 }"),
            ("password = { env = \"CARRIER\" }", "password = { env = \"CARRIER\" }"),
            ("bearer = \"hunter2\"", "bearer = ***"),
            ("{ urls = [\"turn:t\"], secret = \"hunter2\" }", "{ urls = [\"turn:t\"], secret = *** }"),
            ("credential = \"hunter2\"", "credential = ***"),
            ("secrets = [\"hunter2\", \"hunter3\"]", "secrets = ***"),
            ("secrets = [{ file = \"a\" }]", "secrets = [{ file = \"a\" }]"),
            ("    \"whsec_aHVudGVyMg==\",", "    \"***\","),
            ("name = \"password\"", "name = \"password\""),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let net: Cidr = "198.51.100.0/24".parse().unwrap();
        assert!(net.contains("198.51.100.77".parse().unwrap()));
        assert!(net.contains("::ffff:198.51.100.77".parse().unwrap()));
        assert!(!net.contains("198.51.101.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!("198.51.100.1/24".parse::<Cidr>().unwrap().has_host_bits());
        assert!("198.51.100.1/33".parse::<Cidr>().is_err());
    }
}
