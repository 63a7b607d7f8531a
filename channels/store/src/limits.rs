//! Every bound of this crate, by name.

/// Jobs (appends, plan changes) that wait for the writer; one more is answered with [`crate::StoreError::Busy`].
pub const WRITER_QUEUE_JOBS: usize = 1_024;

/// Events that one transaction holds before it is committed; an append is never split.
pub const COMMIT_EVENTS_MAX: usize = 1_024;

/// Events that one append may hold.
pub const APPEND_EVENTS_MAX: usize = 1_024;

/// Size of one event's data and extensions as JSON, in bytes. Attachments travel by reference.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Conversations whose state the writer remembers; the others are read when they are written to.
pub const HEADS_MAX: usize = 16_384;

/// Reader threads, each with its own connection.
pub const READERS: usize = 2;

/// Reads that wait for a reader; one more is answered with [`crate::StoreError::Busy`].
pub const READER_QUEUE_JOBS: usize = 1_024;

/// Records in one read.
pub const READ_RECORDS_MAX: usize = 1_000;

/// Data in one read, in bytes: the record that passes it is the last.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rows in one list.
pub const LIST_MAX: usize = 1_000;

/// Size of a plan's source, in bytes.
pub const PLAN_BYTES_MAX: usize = 1024 * 1024;

/// Length of a plan's name, in bytes.
pub const PLAN_NAME_BYTES_MAX: usize = 128;

// A transaction that is about to be committed holds one append more at most.
const _: () = assert!(APPEND_EVENTS_MAX <= COMMIT_EVENTS_MAX);
