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

/// Records of the log that one search looks through.
pub const SEARCH_ROWS_MAX: usize = 20_000;

/// Rows that one search gives.
pub const SEARCH_FOUND_MAX: usize = 100;

/// Characters that can be looked for.
pub const SEARCH_CHARS_MAX: usize = 64;

/// Rows in one list.
pub const LIST_MAX: usize = 1_000;

/// Size of a plan's source, in bytes.
pub const PLAN_BYTES_MAX: usize = 1024 * 1024;

/// Length of a plan's name, in bytes.
pub const PLAN_NAME_BYTES_MAX: usize = 128;

/// Shards at most.
pub const SHARDS_MAX: u16 = 4_096;

/// Length of a gateway's id, in bytes.
pub const GATEWAY_BYTES_MAX: usize = 128;

/// Longest lease.
pub const LEASE_MAX: std::time::Duration = std::time::Duration::from_secs(600);

/// Rows of the inbox, messages past it, persons and deliveries that one commit may hold, of each.
pub const COMMIT_ROWS_MAX: usize = 1_024;

/// Rows of the inbox, the outbox or of deliveries in one answer.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Rows of the inbox that SQLite's store remembers until they are applied; older ones are read from their table.
pub const INBOX_HELD_ROWS_MAX: usize = 16_384;

/// Numbers of the inbox that a connection to PostgreSQL fetches at once for messages that go past it; gaps mean nothing.
pub const PG_NUMBERS: usize = 1_024;

/// What those rows hold as JSON, in bytes.
pub const INBOX_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Events in one row of the outbox: what one answer adds at once when it is nearly full.
pub const OUTBOX_ROW_EVENTS: usize = 64;

/// Size of a delivery's body as JSON, in bytes.
pub const DELIVERY_BYTES_MAX: usize = 256 * 1024;

/// Length of an adapter's name, a delivery's key and its order key, in bytes.
pub const DELIVERY_KEY_BYTES_MAX: usize = 256;

/// Length of what is kept of a failed delivery's error, in bytes.
pub const ERROR_BYTES_MAX: usize = 1_024;

/// Length of an erasure's reason, and of who asked for something, in bytes.
pub const REASON_BYTES_MAX: usize = 200;

/// Longest time that a group of writes waits for those who wrote in the group before it and are about to write again: no
/// longer than a quarter of the last commit either, and only while fewer are there than then.
pub const GATHER_MAX: std::time::Duration = std::time::Duration::from_millis(2);

/// API tokens that are kept, those that are no good any more included.
pub const TOKENS_MAX: usize = 1_000;

/// How long a token that was taken back or has ended is still listed.
pub const TOKEN_KEPT: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);

/// Length of a token's name, in bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 100;

/// Scopes of one token.
pub const TOKEN_SCOPES_MAX: usize = 16;

/// Accounts of a site: as many as the router has agents.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Length of an account's name, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;

/// Length of what people call an account, in bytes.
pub const ACCOUNT_DISPLAY_BYTES_MAX: usize = 100;

/// Groups that an account belongs to.
pub const ACCOUNT_GROUPS_MAX: usize = 64;

/// Skills of an account, and languages.
pub const ACCOUNT_SKILLS_MAX: usize = ark_conversation::limits::SKILLS_MAX;

/// Length of a group's, a skill's or a language's name, in bytes.
pub const ACCOUNT_WORD_BYTES_MAX: usize = 64;

/// Length of a telephone's address, in bytes.
pub const ACCOUNT_PHONE_BYTES_MAX: usize = 256;

/// Length of who an account is at an identity provider, in bytes.
pub const ACCOUNT_SUBJECT_BYTES_MAX: usize = 600;

/// Length of a password's hash, in bytes.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;

/// Sessions of one account; with one more, the one that was used longest ago ends.
pub const SESSIONS_PER_ACCOUNT_MAX: usize = 16;

/// Threads of which SQLite's writer remembers the conversation; then it begins anew.
pub const THREADS_MAX: usize = 16_384;

/// Channels that the writer remembers of one conversation; the index holds them all.
pub const HEAD_CHANNELS_MAX: usize = 16;

/// Merges that are followed from a person to the one that it is today.
pub const MERGES_MAX: u32 = 32;

/// Conversations that one call of retention erases.
pub const RETAIN_CONVERSATIONS: usize = 100;

/// Connections to PostgreSQL that read.
pub const PG_READERS: usize = 3;

/// Times that a group is written anew because another gateway wrote to the same conversations in between.
pub const PG_COLLISIONS_MAX: u32 = 16;

/// How long a transaction on PostgreSQL may take before the connection is given up.
pub const PG_COMMIT_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// How long connecting to PostgreSQL may take.
pub const PG_CONNECT_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Letters that are kept of what one of PostgreSQL's programs said when it failed.
pub const PG_PROGRAM_WORDS_MAX: usize = 600;

/// How long connections that are on their way out are waited for before a store is moved.
pub const PG_LEAVE_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

/// The first and the longest wait between two attempts to reach PostgreSQL.
pub const PG_BACKOFF: std::ops::RangeInclusive<std::time::Duration> =
    std::time::Duration::from_millis(100)..=std::time::Duration::from_secs(5);

// A transaction that is about to be committed holds one append more at most.
const _: () = assert!(APPEND_EVENTS_MAX <= COMMIT_EVENTS_MAX);

/// Notes that the gateways of a site share ([`crate::Note`]): some for each account of a channel.
pub const NOTES_MAX: usize = 10_000;

/// Length of a note's name, in bytes.
pub const NOTE_NAME_BYTES_MAX: usize = 256;

/// Length of a note, in bytes.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
