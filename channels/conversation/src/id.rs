//! Identifiers: tenants, ULIDs of conversations and events, legs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::TENANT_BYTES_MAX;

/// Why a string is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A ULID has 26 letters of Crockford's base 32 and is less than 2^128.
    #[error("not a ULID: 26 characters of 0-9 and A-Z without I, L, O, U are expected")]
    Ulid,
    /// A tenant is 1 to 64 characters of `a-z 0-9 - _`.
    #[error("not a tenant: 1 to {TENANT_BYTES_MAX} characters of a-z, 0-9, '-' and '_' are expected")]
    Tenant,
    /// A leg is `L` and a number from 1.
    #[error("not a leg: L1, L2 ... is expected")]
    Leg,
}

/// Whose data it is: the first column of every key. There is one, `main`, until sites need more. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Option<Arc<str>>); // None is `main`: the usual case costs no allocation and no counter

const MAIN: &str = "main";

impl Tenant {
    /// The tenant `main`.
    pub const MAIN: Self = Self(None);

    /// Reads a tenant's name.
    ///
    /// # Errors
    /// [`IdError::Tenant`] unless it is 1 to 64 characters of `a-z 0-9 - _`.
    pub fn new(name: &str) -> Result<Self, IdError> {
        if name == MAIN {
            return Ok(Self::MAIN);
        }
        let fits = !name.is_empty()
            && name.len() <= TENANT_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if fits { Ok(Self(Some(name.into()))) } else { Err(IdError::Tenant) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(MAIN)
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::MAIN
    }
}

/// The letters of Crockford's base 32, in order.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn ulid_text(value: u128) -> [u8; 26] {
    let mut text = [b'0'; 26];
    let mut rest = value;
    for letter in text.iter_mut().rev() {
        *letter = CROCKFORD[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

/// Reads upper and lower case; `I` and `L` as 1 and `O` as 0, as Crockford asks.
fn ulid_value(text: &str) -> Result<u128, IdError> {
    let bytes = text.as_bytes();
    if bytes.len() != 26 {
        return Err(IdError::Ulid);
    }
    let mut value: u128 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        let digit = CROCKFORD.iter().position(|c| *c == letter).ok_or(IdError::Ulid)? as u128;
        // 26 letters hold 130 bits: the first one is 7 at most.
        if at == 0 && digit > 7 {
            return Err(IdError::Ulid);
        }
        value = value << 5 | digit;
    }
    Ok(value)
}

macro_rules! ulid {
    ($(#[$doc:meta])* $name:ident, $title:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Makes one of the Unix time in milliseconds (48 bits are used) and 80 random bits (the low 80 are used).
            #[must_use]
            pub const fn new(unix_ms: u64, random: u128) -> Self {
                Self((unix_ms as u128 & 0xFFFF_FFFF_FFFF) << 80 | random & ((1 << 80) - 1))
            }

            /// The smallest one of a millisecond: a bound for ranges by time.
            #[must_use]
            pub const fn first_of(unix_ms: u64) -> Self {
                Self::new(unix_ms, 0)
            }

            /// The time inside, as Unix milliseconds.
            #[must_use]
            pub const fn unix_ms(self) -> u64 {
                (self.0 >> 80) as u64
            }

            /// The 16 bytes, big endian, which sort as the text does.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// From the 16 bytes of [`Self::to_bytes`]; every value is one.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = ulid_text(self.0);
                f.pad(std::str::from_utf8(&text).expect("Crockford's letters are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                ulid_value(text).map(Self)
            }
        }

        text_serde!($name, $title, json_schema!({
            "type": "string",
            "title": $title,
            "description": "A ULID: 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32.",
            "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        }));
    };
}

/// `Serialize` and `Deserialize` through `Display` and `FromStr`, and the schema that belongs to it.
macro_rules! text_serde {
    ($name:ident, $title:literal, $schema:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}
pub(crate) use text_serde;

ulid! {
    /// A conversation, for ever. Sorts by the time it began.
    ConversationId, "ConversationId"
}

impl ConversationId {
    /// The system's own log (plans published, gaps): a conversation like any other, of kind `system`.
    pub const SYSTEM: Self = Self(0);

    /// Which of `count` shards it falls in: `xxh3_64` (seed 0) of its 26 characters, modulo `count`; 0 when there is none.
    ///
    /// The characters and not the bytes, because they are what everybody sees: it is the same on every machine and in every
    /// language that has xxh3, for store, bus and gateway alike.
    #[must_use]
    pub fn shard(self, count: u16) -> u16 {
        let shard = xxh3_64(&ulid_text(self.0)) % u64::from(count.max(1));
        u16::try_from(shard).expect("less than the number of shards, which is a u16")
    }
}

ulid! {
    /// An event that Ark itself made: the CloudEvents `id`. What comes from outside keeps the id that it came with.
    EventId, "EventId"
}

ulid! {
    /// A customer, known by [`crate::IdentityKey`]s within a tenant.
    PersonId, "PersonId"
}

ulid! {
    /// One episode of service within a conversation.
    SessionId, "SessionId"
}

ulid! {
    /// One offer of a conversation to somebody.
    OfferId, "OfferId"
}

ulid! {
    /// One merge of two persons, by which it can be undone.
    MergeId, "MergeId"
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tenant {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

text_serde!(
    Tenant,
    "Tenant",
    json_schema!({
        "type": "string",
        "title": "Tenant",
        "description": "Whose data it is; `main` until there are more.",
        "pattern": "^[a-z0-9_-]{1,64}$",
    })
);

/// One leg of a conversation: a call or a thread. `L1` is the customer's first; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

impl FromStr for LegId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix('L').filter(|d| d.bytes().all(|b| b.is_ascii_digit()) && !d.starts_with('0'));
        digits.and_then(|d| d.parse().ok()).map(Self).ok_or(IdError::Leg)
    }
}

text_serde!(
    LegId,
    "LegId",
    json_schema!({
        "type": "string",
        "title": "LegId",
        "description": "One leg (call or thread) of the conversation: L1, L2 ...",
        "pattern": "^L[1-9][0-9]*$",
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulid_reads_as_it_was_written_and_sorts_by_time() {
        // The example of the ULID specification: 01ARZ3NDEKTSV4RRFFQ69G5FAV is of 2016-07-30T23:54:10.259Z.
        let id: ConversationId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(id.unix_ms(), 1_469_922_850_259);
        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(ConversationId::from_bytes(id.to_bytes()), id);
        assert!(ConversationId::new(1, u128::MAX) < ConversationId::new(2, 0));
        assert_eq!(ConversationId::new(7, u128::MAX).unix_ms(), 7);
        assert_eq!("01arz3ndektsv4rrffq69g5fav".parse(), Ok(id));
    }

    #[test]
    fn what_is_not_a_ulid_is_refused() {
        for text in [
            "",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            "01ARZ3NDEKTSV4RRFFQ69G5F方",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(IdError::Ulid), "{text}");
        }
    }

    #[test]
    fn a_conversation_falls_in_the_same_shard_for_ever() {
        // xxh3_64 of the empty text, from the algorithm's own test vectors.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        let shards = [0, 1, 2, 3].map(|n| ConversationId::new(n, 7).shard(64));
        assert_eq!(shards, [37, 49, 58, 26], "a change loses every conversation's owner and queue");
        assert_eq!(ConversationId::new(1, 1).shard(0), 0);
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            counts[usize::from(ConversationId::new(n, u128::from(n) * 7_919).shard(64))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_tenant_is_a_short_plain_name() {
        assert_eq!(Tenant::new("main"), Ok(Tenant::MAIN));
        assert_eq!(Tenant::new("shop-2").unwrap().as_str(), "shop-2");
        for text in ["", "Main", "a/b", "店"] {
            assert_eq!(Tenant::new(text), Err(IdError::Tenant), "{text}");
        }
    }

    #[test]
    fn a_leg_is_l_and_a_number() {
        assert_eq!("L12".parse(), Ok(LegId(12)));
        for text in ["L0", "L", "12", "L+1", "L01", "L99999999999"] {
            assert_eq!(text.parse::<LegId>(), Err(IdError::Leg), "{text}");
        }
    }
}
