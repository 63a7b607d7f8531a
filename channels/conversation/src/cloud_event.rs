//! The envelope: CloudEvents 1.0 in JSON form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::event::Event;
use crate::limits::{EVENT_ID_BYTES_MAX, SOURCE_BYTES_MAX};

/// One event in its envelope (CloudEvents 1.0, `datacontenttype` always `application/json`).
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEvent {
    /// Unique within (tenant, source): what duplicates are told by. 1 to 128 bytes.
    pub id: String,
    /// Where it comes from, see [`crate::source`]. 1 to 640 bytes.
    pub source: String,
    /// What it is about, where that is not the conversation.
    pub subject: Option<String>,
    /// When it happened, in whole microseconds.
    pub time: Timestamp,
    /// What happened: gives `type` and `data`.
    pub event: Event,
    /// Further attributes that came with it (`sequence`, `traceparent`), carried as they are.
    pub extensions: BTreeMap<String, Value>,
}

/// Why an envelope is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The id is empty or too long.
    #[error("an event's id has 1 to {EVENT_ID_BYTES_MAX} bytes; this one has {0}")]
    Id(usize),
    /// The source is empty or too long.
    #[error("an event's source has 1 to {SOURCE_BYTES_MAX} bytes; this one has {0}")]
    Source(usize),
}

impl CloudEvent {
    /// An event without subject and extensions. `time` is cut to whole microseconds, which is what every store keeps.
    #[must_use]
    pub fn new(id: impl Into<String>, source: impl Into<String>, time: Timestamp, event: impl Into<Event>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            subject: None,
            time: whole_microseconds(time),
            event: event.into(),
            extensions: BTreeMap::new(),
        }
    }

    /// The CloudEvents `type`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.event.type_name()
    }

    /// Checks the bounds of id and source.
    ///
    /// # Errors
    /// [`EnvelopeError`] names the attribute and its length.
    pub fn check(&self) -> Result<(), EnvelopeError> {
        if self.id.is_empty() || self.id.len() > EVENT_ID_BYTES_MAX {
            return Err(EnvelopeError::Id(self.id.len()));
        }
        if self.source.is_empty() || self.source.len() > SOURCE_BYTES_MAX {
            return Err(EnvelopeError::Source(self.source.len()));
        }
        Ok(())
    }
}

/// Cuts a time to whole microseconds.
#[must_use]
pub fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond())
        .expect("a time cut to microseconds is within the range it came from")
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", self.type_name())?;
        if let Some(subject) = &self.subject {
            map.serialize_entry("subject", subject)?;
        }
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("datacontenttype", "application/json")?;
        for (name, value) in &self.extensions {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("data", &self.event)?;
        map.end()
    }
}

/// The envelope as it stands in JSON: what is read, and what the schema describes.
#[derive(JsonSchema)]
#[schemars(rename = "CloudEvent")]
#[expect(dead_code, reason = "only its schema is used; `Reader` reads")]
pub(crate) struct Wire {
    /// Always `1.0`.
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// Unique within (tenant, source): what duplicates are told by.
    #[schemars(length(min = 1, max = 128))]
    id: String,
    /// Where it comes from: `/ark/{tenant}/{channel}/{account}/{thread}`.
    #[schemars(length(min = 1, max = 640))]
    source: String,
    /// What happened: `ark.` + name + `.v1`.
    #[serde(rename = "type")]
    kind: String,
    /// What it is about, where that is not the conversation.
    #[serde(default)]
    subject: Option<String>,
    /// When it happened.
    #[schemars(with = "String", extend("format" = "date-time"))]
    time: Timestamp,
    /// Always `application/json`.
    #[serde(default)]
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: Option<String>,
    /// As the schema of the type says.
    #[serde(default)]
    data: Value,
    /// Further attributes, carried as they are.
    #[serde(flatten)]
    extensions: BTreeMap<String, Value>,
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

/// Reads an envelope as it comes. `type` before `data`, as Ark writes them, gives the data its type at once; each log record
/// that a gateway gets goes through here.
struct Reader;

/// What was read of an envelope so far.
#[derive(Default)]
struct Read {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<Timestamp>,
    datacontenttype: Option<String>,
    /// Data that came before its type.
    data: Value,
    event: Option<Event>,
    seen: [bool; NAMES.len()],
    extensions: BTreeMap<String, Value>,
}

/// The data of an event of this type.
struct Data<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        Event::read(self.0, deserializer)
    }
}

/// The attributes that an envelope names itself; each stands once.
const NAMES: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"];

/// An attribute's name: one of [`NAMES`], or another.
enum Name {
    Own(usize),
    Other(String),
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an attribute's name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                let own = NAMES.iter().position(|own| *own == name);
                Ok(own.map_or_else(|| Name::Other(name.to_owned()), Name::Own))
            }
        }
        deserializer.deserialize_identifier(Names)
    }
}

impl Read {
    fn attribute<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        let at = match name {
            Name::Own(at) => at,
            Name::Other(name) => {
                self.extensions.insert(name, map.next_value()?);
                return Ok(());
            }
        };
        if std::mem::replace(&mut self.seen[at], true) {
            return Err(de::Error::duplicate_field(NAMES[at]));
        }
        match at {
            0 => self.specversion = Some(map.next_value()?),
            1 => self.id = Some(map.next_value()?),
            2 => self.source = Some(map.next_value()?),
            3 => self.kind = Some(map.next_value()?),
            4 => self.subject = map.next_value()?,
            5 => self.time = Some(map.next_value()?),
            6 => self.datacontenttype = map.next_value()?,
            _ => match &self.kind {
                Some(kind) => self.event = Some(map.next_value_seed(Data(kind))?),
                None => self.data = map.next_value()?,
            },
        }
        Ok(())
    }

    fn finish<E: de::Error>(self) -> Result<CloudEvent, E> {
        if self.specversion.ok_or_else(|| E::missing_field("specversion"))? != "1.0" {
            return Err(E::custom("CloudEvents specversion 1.0 is expected"));
        }
        if self.datacontenttype.is_some_and(|kind| kind != "application/json") {
            return Err(E::custom("datacontenttype application/json is expected"));
        }
        let kind = self.kind.ok_or_else(|| E::missing_field("type"))?;
        let event = match self.event {
            Some(event) => event,
            None => Event::from_value(&kind, self.data).map_err(E::custom)?,
        };
        let event = CloudEvent {
            id: self.id.ok_or_else(|| E::missing_field("id"))?,
            source: self.source.ok_or_else(|| E::missing_field("source"))?,
            subject: self.subject,
            time: whole_microseconds(self.time.ok_or_else(|| E::missing_field("time"))?),
            event,
            extensions: self.extensions,
        };
        event.check().map_err(E::custom)?;
        Ok(event)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = CloudEvent;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CloudEvent, A::Error> {
        let mut read = Read::default();
        while let Some(name) = map.next_key()? {
            read.attribute(name, &mut map)?;
        }
        read.finish()
    }
}

impl JsonSchema for CloudEvent {
    fn schema_name() -> Cow<'static, str> {
        "CloudEvent".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}
