//! JSON Schemas, made from the types: the golden files in `schemas/` are these.

use schemars::{Schema, schema_for};

use crate::event::Event;
use crate::record::Record;

/// Name of the schema of the whole record.
pub const RECORD: &str = "ark.record.v1";

/// Every schema by name: [`RECORD`] (envelope and record), and for each event type that of its `data`, named like the
/// type.
///
/// The order is that of [`Event::TYPES`].
#[must_use]
pub fn all() -> Vec<(&'static str, Schema)> {
    let mut schemas = vec![(RECORD, schema_for!(Record))];
    schemas.extend(Event::data_schemas());
    for (name, schema) in &mut schemas {
        schema.insert("$id".to_owned(), format!("urn:ark:log:{name}").into());
        schema.insert("title".to_owned(), (*name).into());
    }
    schemas
}

/// Name of the schema of an adapter's manifest.
pub const ADAPTER_MANIFEST: &str = "ark.adapter-manifest.v1";

/// The schema of what an adapter says of itself ([`crate::channel::Manifest`]).
#[must_use]
pub fn adapter_manifest() -> Schema {
    let mut schema = schema_for!(crate::channel::Manifest);
    schema.insert("$id".to_owned(), format!("urn:ark:adapter:{ADAPTER_MANIFEST}").into());
    schema.insert("title".to_owned(), ADAPTER_MANIFEST.into());
    schema
}

/// The adapter standard, ADAPTERS.md, as integrators read it.
pub const ADAPTERS: &str = include_str!("../ADAPTERS.md");
