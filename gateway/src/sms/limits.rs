//! Every bound of short messages, named.

use std::time::Duration;

/// The time over which messages to a number are counted.
pub const WINDOW: Duration = Duration::from_secs(3_600);
/// Numbers that are counted at once; when there are more, none is written to until the hour is over.
pub const NUMBERS_MAX: usize = 20_000;
/// Longest text, in characters: ten parts of a long message.
pub const TEXT_CHARS_MAX: usize = 600;
