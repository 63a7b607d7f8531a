//! API tokens: what programs show to be let in, kept as hashes.

use jiff::Timestamp;

use crate::error::StoreError;
use crate::limits::{TOKEN_NAME_BYTES_MAX, TOKEN_SCOPES_MAX};

/// A token as it is kept: its secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its public part, by which it is found: 1 to 32 letters and digits.
    pub id: String,
    /// What people call it; no two that are good have the same name.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<String>,
    /// SHA-256 of the secret, 64 lower-case hex digits.
    pub sha256: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Since when it opens nothing; none: it has no end.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// When it was shown last, to within a minute.
    pub used_at: Option<Timestamp>,
}

impl ApiToken {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Whether a token may be kept.
pub(crate) fn checked(token: &ApiToken) -> Result<(), StoreError> {
    let refused = |why: String| Err(StoreError::Refused(why));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if !plain(&token.id) || token.id.len() > 32 {
        return refused("a token's id has 1 to 32 letters and digits".to_owned());
    }
    let name = &token.name;
    if name.trim().is_empty() || name.len() > TOKEN_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return refused(format!("a token's name has 1 to {TOKEN_NAME_BYTES_MAX} bytes and no control characters"));
    }
    let scope = |one: &String| !one.is_empty() && one.bytes().all(|b| b.is_ascii_lowercase() || b"-_:".contains(&b));
    if token.scopes.is_empty() || token.scopes.len() > TOKEN_SCOPES_MAX || !token.scopes.iter().all(scope) {
        return refused(format!("a token has 1 to {TOKEN_SCOPES_MAX} scopes of a-z, '-', '_' and ':'"));
    }
    let hex = token.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if token.sha256.len() != 64 || !hex {
        return refused("a token's hash is 64 lower-case hex digits".to_owned());
    }
    Ok(())
}

/// Scopes as they stand in a row: with a space between.
pub(crate) fn joined(scopes: &[String]) -> String {
    scopes.join(" ")
}

/// Scopes of a row.
pub(crate) fn split(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// What a store says of a second token of one name.
pub(crate) fn taken(name: &str) -> StoreError {
    StoreError::Conflict(format!("there is a token named `{name}` already; revoke it first, or choose another name"))
}

/// What a store says of one token too many.
pub(crate) fn too_many(most: usize) -> StoreError {
    StoreError::Refused(format!(
        "{most} tokens are kept already, those that were revoked or ended in the last year included"
    ))
}
