//! Every bound of surveys by link.

use std::time::Duration;

use jiff::SignedDuration;

/// The name of their reader of the log.
pub(super) const READER: &str = "survey";
/// Records of the log that are looked at at once.
pub(super) const PAGE_RECORDS: usize = 500;
/// How often the log is looked at, whatever the bus says.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of a call that ended longer ago nobody is asked: the gateway was away.
pub(super) const AGE_MAX: SignedDuration = SignedDuration::from_hours(2);
/// Letters of a conversation's id.
pub(super) const CONVERSATION_LETTERS: usize = 26;
/// Characters that a customer may write.
pub(super) const COMMENT_CHARS_MAX: usize = 1_000;
/// Links that are none, from one address and from all, before tries are refused for a while.
pub(super) const MISSES_PER_ADDRESS: u32 = 30;
/// The same of all addresses.
pub(super) const MISSES_TOTAL: u32 = 3_000;
