//! Every bound of short messages, named.

use std::time::Duration;

/// The time over which messages to a number are counted.
pub const WINDOW: Duration = Duration::from_secs(3_600);
/// Numbers that are counted at once; when there are more, none is written to until the hour is over.
pub const NUMBERS_MAX: usize = 20_000;
/// Longest text, in characters: ten parts of a long message.
pub const TEXT_CHARS_MAX: usize = 600;

/// Parts of messages whose receipts are waited for; the oldest make room.
pub const RECEIPTS_MAX: usize = 10_000;

/// Receipts that came before whoever sent the message asked for them.
pub const EARLY_RECEIPTS_MAX: usize = 256;

/// Receipts that a provider may post at once.
pub const HTTP_RECEIPTS_MAX: usize = 1_000;

/// Shortest key in the address of receipts.
pub const RECEIPTS_KEY_CHARS_MIN: usize = 16;
