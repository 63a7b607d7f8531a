//! Every bound of companion links, named.

use std::time::Duration;

/// Pictures and files that one link takes.
pub const FILES_MAX: usize = 9;
/// Bytes that one link takes, over all its files as they came.
pub const LINK_BYTES_MAX: u64 = 60 << 20;
/// Messages of words that one link takes.
pub const TEXTS_MAX: usize = 50;
/// Characters of one of them.
pub const TEXT_CHARS_MAX: usize = 2_000;
/// One piece of a file on its way: what is lost when a connection breaks.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// How long a piece may take to come: a phone at the edge of its net.
pub const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// Files of one link that are on their way at once.
pub const LINK_PARTS_MAX: usize = 3;
/// Files of all links that are on their way at this gateway; so much of the disk may they take together with their bound.
pub const PARTS_MAX: usize = 64;
/// A file of which nothing came for so long is forgotten.
pub const PART_AGE: Duration = Duration::from_secs(900);
/// Requests of one link that are answered at once.
pub const LINK_REQUESTS_MAX: usize = 6;
/// Links whose state is kept in memory; the others are read from the log again.
pub const LINKS_KEPT: usize = 4_096;
/// Words of the house that one page shows.
pub const WORDS_MAX: usize = 100;
/// How long a request waits for what was just written to appear in the log.
pub const LOG_WAIT: Duration = Duration::from_secs(3);
/// How often it looks.
pub const LOG_LOOK: Duration = Duration::from_millis(15);
/// The time over which tries are counted.
pub const TRIES_WINDOW: Duration = Duration::from_secs(300);
/// Unknown links that one address may ask for in that time.
pub const MISSES_PER_ADDRESS: u32 = 30;
/// Unknown links that all addresses together may ask for in that time.
pub const MISSES_TOTAL: u32 = 3_000;
/// Wrong codes that one address may type in that time.
pub const CODES_PER_ADDRESS: u32 = 8;
/// Wrong codes that may be typed with the same last four digits in that time.
pub const CODES_PER_NUMBER: u32 = 5;
/// Wrong codes that all may type together in that time: of a million codes, one in three thousand.
pub const CODES_TOTAL: u32 = 300;
/// Addresses and numbers that are counted at once; when there are more, the counting begins anew.
pub const COUNTED_MAX: usize = 10_000;
/// Tries to draw a code that nobody else has.
pub const CODE_DRAWS: u32 = 8;
/// How long an app's hook may take.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often words of the house for pages are looked for when nothing tells of them.
pub const CARRY_EVERY: Duration = Duration::from_secs(1);
/// How long such words may take before another gateway may claim them.
pub const CARRY_CLAIM: Duration = Duration::from_secs(30);
/// Of them at once.
pub const CARRY_PAGE: usize = 64;
/// Plans that wait for their callers' pages at once.
pub const WATCHES_MAX: usize = 1_024;
