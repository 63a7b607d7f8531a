//! Notes: small values that the gateways of a site share, each changed only by whoever knew what it was.

use crate::error::StoreError;
use crate::limits::{NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX, NOTES_MAX};

/// A note as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// 1 for the first, one more with each change.
    pub version: u64,
    /// What it says; the store knows nothing of it.
    pub body: Vec<u8>,
}

/// Whether a note may be kept.
pub(crate) fn checked(name: &str, body: &[u8]) -> Result<(), StoreError> {
    if name.is_empty() || name.len() > NOTE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let why = format!("a note's name has 1 to {NOTE_NAME_BYTES_MAX} bytes and no control characters");
        return Err(StoreError::Refused(why));
    }
    if body.len() > NOTE_BYTES_MAX {
        return Err(StoreError::Refused(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// What a store says of one note too many.
pub(crate) fn too_many() -> StoreError {
    StoreError::Refused(format!("{NOTES_MAX} notes are kept already"))
}
