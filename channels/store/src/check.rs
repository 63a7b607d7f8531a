//! Whether a store keeps its laws, and copies of it.

use std::path::{Path, PathBuf};

use crate::error::StoreError;

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

/// A copy that was brought back and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the check found.
    pub check: Check,
    /// Where the store that stood there is now: a file, or a schema of the database.
    pub moved: Option<String>,
}

/// A store whose layout only the program that writes it may bring up.
pub(crate) fn too_old(place: &str, found: i64, known: i64) -> StoreError {
    StoreError::Conflict(format!(
        "{place}: its layout is version {found}, this Ark reads {known}; start this version's `ark serve` once, which \
         brings it up"
    ))
}

/// What writing to a store is that was opened to be read.
pub(crate) fn opened_to_read() -> StoreError {
    StoreError::Refused("the store was opened only to be read; write through `ark serve`, which has it".to_owned())
}

/// A file's name with more at its end.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives a finished copy its name, durably; answers its size.
pub(crate) fn settle(half: &Path, to: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(half, std::fs::Permissions::from_mode(0o600))?;
    let file = std::fs::File::open(half)?;
    file.sync_all()?;
    std::fs::rename(half, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()?;
    Ok(file.metadata()?.len())
}
