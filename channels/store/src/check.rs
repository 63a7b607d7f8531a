//! Whether a store keeps its laws, and copies of it.

use std::path::PathBuf;

/// What a check has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// The store's id.
    pub store_id: String,
    /// The version of its layout.
    pub layout: i64,
    /// Conversations in it.
    pub conversations: u64,
    /// Records in all logs.
    pub records: u64,
}

/// A copy that was made and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What the check of the copy found.
    pub check: Check,
}
