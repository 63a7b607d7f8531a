//! Law L6 over the stores and the bus that need no service. `rabbitmq.rs` has the pairs with a broker.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod joins;

use std::sync::Arc;

use ark_bus::{Bus, EmbeddedBus};
use ark_store::{SqliteStore, Store};
use joins::Pair;

/// Each pair is one line: its store in a new folder.
fn embedded_with(open: impl Fn(&std::path::Path) -> Arc<dyn Store>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut folders = Vec::new();
    joins::history_and_the_live_feed_join(&runtime, 24, async || {
        let folder = tempfile::tempdir().unwrap();
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let pair = Pair { store: open(folder.path()), carrier: Arc::clone(&bus), reader: bus };
        folders.push(folder);
        pair
    });
}

#[test]
fn sqlite_and_the_embedded_bus_join_without_gap_or_overlap() {
    embedded_with(|folder| Arc::new(SqliteStore::open(folder.join("ark.db")).unwrap()));
}
