//! Every bound of the web chat, named.

use std::time::Duration;

use jiff::SignedDuration;

/// Longest message of a visitor, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Largest frame of a page: the longest message in the widest script, and what stands around it.
pub const FRAME_BYTES_MAX: usize = 32 * 1_024;
/// Longest id of a page's message.
pub const ID_BYTES_MAX: usize = 64;
/// Ids in one `got` or `read`.
pub const IDS_MAX: usize = 50;
/// Longest address, title or language that a page tells of itself; the rest is cut.
pub const PAGE_CHARS_MAX: usize = 500;
/// Longest signed token of a site.
pub const IDENTITY_BYTES_MAX: usize = 4_096;
/// Shortest key that signs them (RFC 7518 3.2: as long as the hash).
pub const IDENTITY_KEY_BYTES_MIN: usize = 32;
/// Longest time that such a token may be good.
pub const IDENTITY_TIME_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How far a site's clock may be off.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// Longest id of a site's user, in bytes.
pub const USER_BYTES_MAX: usize = 128;
/// Longest name of a site's user, in characters; the rest is cut.
pub const NAME_CHARS_MAX: usize = 64;

/// Pages that are connected, all channels together; one more is told to come later.
pub const SOCKETS_MAX: usize = 700;
/// Pages of one visitor: tabs and devices.
pub const SOCKETS_OF_VISITOR_MAX: usize = 8;
/// Pages of one address: an office behind one router.
pub const SOCKETS_OF_ADDRESS_MAX: usize = 128;
/// Frames of one page that wait; a page that sends more without waiting is cut.
pub const INBOX_FRAMES: usize = 64;
/// Frames for one page that wait.
pub const OUTBOX_FRAMES: usize = 256;
/// How long a page may take to say who it is.
pub const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long one frame may take to be taken by a page.
pub const SEND_MAX: Duration = Duration::from_secs(10);
/// How often an idle page is pinged.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// A page that is silent for so long is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(65);
/// How often a page's log is looked at though nobody said that there is something.
pub const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How often a waiting visitor's place in line is counted anew.
pub const LINE_EVERY: Duration = Duration::from_secs(3);
/// How long a count of a line is good for all who wait in it.
pub const LINE_KEPT: Duration = Duration::from_secs(2);

/// Records in one look at a log.
pub const LOOK_RECORDS: usize = 500;
/// Items of the history that a page is given when it comes with nothing.
pub const HISTORY_ITEMS: usize = 200;
/// The latest messages of the house whose receipts a page may give.
pub const OUTS_MAX: usize = 256;

/// What a visitor may do at once, and how fast that comes back, a second: messages.
pub const MESSAGES_OF_VISITOR: (f64, f64) = (20.0, 0.5);
/// The same for an address.
pub const MESSAGES_OF_ADDRESS: (f64, f64) = (200.0, 10.0);
/// Connections, and requests without one.
pub const COMES_OF_ADDRESS: (f64, f64) = (120.0, 4.0);
/// Visitors who are new.
pub const NEW_OF_ADDRESS: (f64, f64) = (40.0, 0.2);
/// Files.
pub const FILES_OF_VISITOR: (f64, f64) = (10.0, 0.05);
/// The same for an address.
pub const FILES_OF_ADDRESS: (f64, f64) = (60.0, 0.5);
/// Signs: typing, got, read.
pub const SIGNS_OF_VISITOR: (f64, f64) = (60.0, 3.0);
/// Tokens for a call.
pub const CALLS_OF_VISITOR: (f64, f64) = (5.0, 0.02);
/// Addresses and visitors whose pace is remembered; those that did nothing for longest are forgotten.
pub const PACES_MAX: usize = 40_000;

/// Files that are read at once.
pub const UPLOADS_MAX: usize = 16;
/// Files of one address that are read at once: whoever sends slowly holds up nobody else.
pub const UPLOADS_OF_ADDRESS_MAX: usize = 4;
/// How long a file may take to come.
pub const UPLOAD_MAX: Duration = Duration::from_secs(120);
/// How long a token for a call is good.
pub const CALL_TOKEN: SignedDuration = SignedDuration::from_secs(120);
/// Typing of the house that is told no more is over after so long.
pub const TYPING_MAX: Duration = Duration::from_secs(8);

/// Sites that may embed one channel.
pub const ORIGINS_MAX: usize = 64;
/// Ready questions of a greeting.
pub const SUGGESTIONS_MAX: usize = 6;

/// How often it is looked for the conversation that a visitor's wish for a callback begins.
pub const CALLBACK_LOOKS: u32 = 30;
/// The pause between two such looks.
pub const CALLBACK_LOOK: Duration = Duration::from_millis(100);
