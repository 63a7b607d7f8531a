//! The log of record: trait Store and its SQLite form.
