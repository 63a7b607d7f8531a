//! What a channel is built from: the account's part of the configuration, and its secrets.

use std::collections::BTreeMap;
use std::fmt;

use ark_conversation::Tenant;
use ark_conversation::channel::Hosts;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for a signature, a key, a call to the provider.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An account's secrets by name, as its secret file has them.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// These.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self(secrets.into_iter().collect())
    }

    pub(crate) fn need(&self, name: &'static str) -> Result<Secret, SettingsError> {
        self.get(name).ok_or(SettingsError::Secret { name })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Secret> {
        self.0.get(name).filter(|secret| !secret.reveal().trim().is_empty()).cloned()
    }

    /// Refuses names that the channel does not know: a misspelt one would be missed in silence.
    pub(crate) fn only(&self, known: &'static [&'static str]) -> Result<(), SettingsError> {
        let unknown = self.0.keys().find(|name| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| Err(SettingsError::UnknownSecret { name: name.clone(), known: known.join(", ") }))
    }
}

/// Whose account it is and what the house calls it: both stand in the source of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The account's name in the configuration: 1 to 63 bytes.
    pub name: String,
}

/// Why a channel cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such kind.
    #[error("there is no channel of kind '{kind}'; there are {known}")]
    Kind {
        /// What was asked for.
        kind: String,
        /// All that there are.
        known: String,
    },
    /// A key is unknown, missing or of the wrong type.
    #[error("{0}")]
    Form(String),
    /// A value is out of its range.
    #[error("`{key}`: {why}")]
    Value {
        /// Of which key.
        key: &'static str,
        /// What is wrong and what to write.
        why: String,
    },
    /// A secret is missing.
    #[error("the secret `{name}` is missing from the account's secret file")]
    Secret {
        /// Its name.
        name: &'static str,
    },
    /// A secret that the channel does not know.
    #[error("the secret `{name}` is not one that this channel has: it has {known}")]
    UnknownSecret {
        /// Its name.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// A secret is there and is no good.
    #[error("the secret `{name}`: {why}")]
    BadSecret {
        /// Its name.
        name: &'static str,
        /// What is wrong and what to write, without the secret.
        why: String,
    },
}

impl SettingsError {
    pub(crate) fn bad(name: &'static str, why: impl fmt::Display) -> Self {
        Self::BadSecret { name, why: why.to_string() }
    }
}

/// Reads a channel's own settings.
pub(crate) fn read<T: DeserializeOwned>(settings: &Value) -> Result<T, SettingsError> {
    T::deserialize(settings).map_err(|error| SettingsError::Form(error.to_string()))
}

/// A base address without its last `/`; it must be on one of the channel's hosts.
pub(crate) fn base(key: &'static str, url: &str, hosts: &Hosts) -> Result<String, SettingsError> {
    let url = url.trim_end_matches('/');
    if hosts.allow(url) {
        return Ok(url.to_owned());
    }
    let why = "it is not on one of the channel's `hosts` (https, or a name with `http://` before it)".to_owned();
    Err(SettingsError::Value { key, why })
}

/// A value that must not be empty.
pub(crate) fn filled(key: &'static str, value: &str) -> Result<(), SettingsError> {
    let empty = value.trim().is_empty();
    if empty { Err(SettingsError::Value { key, why: "it must not be empty".to_owned() }) } else { Ok(()) }
}
