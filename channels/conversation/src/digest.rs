//! Hashes that a log and its replay agree on.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::event::Event;
use crate::id::text_serde;
use crate::record::Record;

/// A SHA-256: 64 lower-case hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// A string that is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256: 64 lower-case hex digits are expected")]
pub struct HashError;

impl Hash {
    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of an event's body: of its data in canonical JSON ([`canonical`]). Of a tombstone it is the hash of
    /// the body that was there, so that a log's hash outlives what is erased from it.
    #[must_use]
    pub fn of_body(event: &Event) -> Self {
        if let Event::Erased(erased) = event {
            return erased.sha256;
        }
        Self::of_json(&serde_json::to_value(event).unwrap_or(Value::Null))
    }

    /// The hash of a JSON value in its canonical form: of a body as it stands in a column, or of a state.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        Self::of(canonical(value).as_bytes())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// From the 32 bytes of [`Self::to_bytes`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            write!(text, "{byte:02x}")?;
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(HashError),
        };
        if text.len() != 64 {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

text_serde!(
    Hash,
    "Hash",
    json_schema!({
        "type": "string",
        "title": "Hash",
        "description": "A SHA-256 in lower-case hex.",
        "pattern": "^[0-9a-f]{64}$",
    })
);

/// A JSON value without spaces and with the names of each object in byte order, whatever order they came in. Numbers
/// stand as serde_json writes them (shortest form that reads back the same).
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(256);
    write_canonical(&mut out, value);
    out
}

fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (at, (name, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_scalar(out, &Value::String(name.clone()));
                out.push(':');
                write_canonical(out, value);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(out, item);
            }
            out.push(']');
        }
        scalar => write_scalar(out, scalar),
    }
}

fn write_scalar(out: &mut String, value: &Value) {
    let _ = write!(out, "{value}"); // writing to a String cannot fail
}

/// The hash of a log, record by record: each step covers the one before, the record's place and times, what it is
/// called, and its body's own hash.
///
/// The same before and after a body is erased; different when anything else changes, is missing or stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHash(Hash);

impl Default for LogHash {
    /// Of an empty log.
    fn default() -> Self {
        Self(Hash::of(b"ark.log.v1"))
    }
}

impl LogHash {
    /// The hash after one more record.
    #[must_use]
    pub fn then(self, record: &Record) -> Self {
        let event = &record.event;
        let kind = match &event.event {
            Event::Erased(erased) => erased.of.as_str(),
            other => other.type_name(),
        };
        let mut hash = Sha256::new();
        hash.update(self.0.0);
        hash.update(record.seq.to_be_bytes());
        hash.update(record.epoch.to_be_bytes());
        hash.update(record.at.as_microsecond().to_be_bytes());
        hash.update(event.time.as_microsecond().to_be_bytes());
        for text in [record.tenant.as_str(), &record.conversation.to_string(), &event.source, &event.id, kind] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(Hash::of_body(&event.event).0);
        Self(Hash(hash.finalize().into()))
    }

    /// The hash of these records, in order.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        records.into_iter().fold(Self::default(), Self::then)
    }

    /// The hash itself.
    #[must_use]
    pub const fn hash(self) -> Hash {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_json_does_not_depend_on_the_order_of_names() {
        let a: Value = serde_json::from_str(r#"{"b": [1, {"z": null, "a": "é\n"}], "a": 0.5}"#).unwrap();
        assert_eq!(canonical(&a), r#"{"a":0.5,"b":[1,{"a":"é\n","z":null}]}"#);
        assert_eq!(Hash::of_json(&a), Hash::of_json(&json!({ "a": 0.5, "b": [1, { "a": "é\n", "z": null }] })));
    }

    #[test]
    fn a_hash_reads_as_it_was_written() {
        let hash = Hash::of(b"abc"); // FIPS 180-4's example
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(Hash::from_bytes(hash.to_bytes()), hash);
        assert_eq!("BA".repeat(32).parse::<Hash>(), Err(HashError));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(HashError));
    }
}
