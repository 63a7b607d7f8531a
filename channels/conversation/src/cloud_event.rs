//! The envelope: CloudEvents 1.0 in JSON form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
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
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CloudEvent")]
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
        let wire = Wire::deserialize(deserializer)?;
        if wire.specversion != "1.0" {
            return Err(de::Error::custom("CloudEvents specversion 1.0 is expected"));
        }
        if wire.datacontenttype.is_some_and(|kind| kind != "application/json") {
            return Err(de::Error::custom("datacontenttype application/json is expected"));
        }
        let event = Event::from_value(&wire.kind, wire.data).map_err(de::Error::custom)?;
        let event = Self {
            id: wire.id,
            source: wire.source,
            subject: wire.subject,
            time: whole_microseconds(wire.time),
            event,
            extensions: wire.extensions,
        };
        event.check().map_err(de::Error::custom)?;
        Ok(event)
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
