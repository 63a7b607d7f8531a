//! The site's store, as operators' commands open it: themselves, beside a gateway that runs or without one.

use std::path::PathBuf;
use std::sync::Arc;

use ark_conversation::{ConversationId, Tenant};
use ark_store::{ListFilter, PostgresOptions, PostgresStore, SqliteStore, Store, StoreError};

use super::conversation::{PAGE, by_end};
use super::output::Failure;
use crate::config::Config;

/// Whose data a command is about.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TenantArgs {
    /// Of this tenant
    #[arg(long, value_name = "NAME", default_value_t = Tenant::MAIN)]
    pub(super) tenant: Tenant,
}

/// Where the site's store is.
pub(super) enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Database(PostgresOptions),
}

impl Place {
    /// As `[store] url` says.
    pub(super) fn of(config: &Config) -> Result<Self, StoreError> {
        match config.store.sqlite_path() {
            Some(path) => Ok(Self::File(path.to_owned())),
            None => Ok(Self::Database(crate::open::postgres_options(config)?)),
        }
    }
}

/// Opens the site's store to read it. Nothing is made, changed or locked.
pub(super) fn open_to_read(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match Place::of(config)? {
        Place::File(path) => Arc::new(SqliteStore::open_to_read(path)?),
        Place::Database(options) => Arc::new(PostgresStore::open_to_read(&options)?),
    })
}

/// Opens the site's store to write to it: an SQLite file only while no gateway has it.
pub(super) fn open_to_write(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    // Never made by this: what is looked for is not in a new one.
    drop(open_to_read(config)?);
    Ok(match Place::of(config)? {
        Place::File(path) => Arc::new(SqliteStore::open(path)?),
        Place::Database(options) => Arc::new(PostgresStore::open(&options)?),
    })
}

/// How a command ends that the store did not do: 1 when it was looked at and something is wrong with it or in the way,
/// 2 when it could not be looked at.
pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Corrupt { .. }
        | StoreError::Conflict(_)
        | StoreError::Refused(_)
        | StoreError::Locked { .. }
        | StoreError::Busy { .. } => Failure::Refused(error.to_string()),
        error => Failure::Environment(error.to_string()),
    }
}

/// A conversation that was named by its id, or by an unambiguous end of it among the newest.
pub(super) async fn resolve(store: &dyn Store, tenant: &Tenant, given: &str) -> Result<ConversationId, Failure> {
    if let Ok(id) = given.to_ascii_uppercase().parse() {
        return Ok(id);
    }
    let page = store.list(tenant, ListFilter::default(), PAGE).await.map_err(failure)?;
    by_end(page.conversations.iter().map(|state| state.conversation), given)
}
