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
