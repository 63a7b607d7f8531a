//! Who owns a conversation: never nobody.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::text_serde;
use crate::limits::OWNER_NAME_BYTES_MAX;

/// The one who speaks for the house: `agent:{id}`, `queue:{name}` or `bot:{plan}`. There is always one; a change
/// raises the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A person at a desk.
    Agent(String),
    /// Waiting for one.
    Queue(String),
    /// A dialplan. From the first event a call's owner is `bot:{plan}`, epoch 1.
    Bot(String),
}

/// A string that names no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an owner: agent:ID, queue:NAME or bot:PLAN is expected")]
pub struct OwnerError;

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Queue(name) => write!(f, "queue:{name}"),
            Self::Bot(plan) => write!(f, "bot:{plan}"),
        }
    }
}

impl FromStr for Owner {
    type Err = OwnerError;

    fn from_str(text: &str) -> Result<Self, OwnerError> {
        let (kind, name) = text.split_once(':').ok_or(OwnerError)?;
        if name.is_empty() || name.len() > OWNER_NAME_BYTES_MAX {
            return Err(OwnerError);
        }
        match kind {
            "agent" => Ok(Self::Agent(name.to_owned())),
            "queue" => Ok(Self::Queue(name.to_owned())),
            "bot" => Ok(Self::Bot(name.to_owned())),
            _ => Err(OwnerError),
        }
    }
}

text_serde!(
    Owner,
    "Owner",
    json_schema!({
        "type": "string",
        "title": "Owner",
        "description": "Who speaks for the house.",
        "pattern": "^(agent|queue|bot):.{1,128}$",
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_as_it_was_written() {
        for text in ["agent:anna", "queue:general", "bot:hotline-95188"] {
            assert_eq!(text.parse::<Owner>().unwrap().to_string(), text);
        }
        for text in ["", "anna", "agent:", "robot:x"] {
            assert_eq!(text.parse::<Owner>(), Err(OwnerError));
        }
    }
}
