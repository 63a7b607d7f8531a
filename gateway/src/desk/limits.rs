//! Every bound of the desk, named.

use std::time::Duration;

use jiff::SignedDuration;

/// How long an agent without an open desk is taken to be there: a page that is loaded anew loses nothing.
pub const GRACE: SignedDuration = SignedDuration::from_secs(15);
/// The same after the gateway's start: pages come back by themselves.
pub const START_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a telephone that did not take a call is left alone.
pub const REST: SignedDuration = SignedDuration::from_secs(10);
/// How often it is tried again to bring back the customers of an agent who is gone.
pub const VANISHED_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Desk sockets of one agent; the next is refused.
pub const SOCKETS_OF_AGENT_MAX: u32 = 16;
/// At least so long between two snapshots of one socket: five a second, and the newest wins.
pub const SNAPSHOT_EVERY: Duration = Duration::from_millis(200);
/// At least so long between two wallboards of one socket.
pub const WALLBOARD_EVERY: Duration = Duration::from_secs(1);
/// Waiting customers that a snapshot shows; of the others it says how many.
pub const WAITING_SHOWN: usize = 200;
/// Customers that an agent has, shown in a snapshot.
pub const MINE_SHOWN: usize = 200;
/// Characters of the last message that a card shows.
pub const LAST_CHARS_MAX: usize = 160;
/// Minutes that a queue's line on the wallboard reaches back.
pub const MINUTES: usize = 60;
/// Entrances that are counted by name; what comes by others counts as `other`.
pub const ENTRANCES_MAX: usize = 256;
/// Commands to conversations' owners that are under way at once; of one conversation there is one.
pub const COMMANDS: usize = 64;
/// Records at the end of a log in which the last message and the last agent are looked for.
pub const TAIL_RECORDS: usize = 200;
/// Conversations in one page of a look over all that are open.
pub const LOOK_PAGE: usize = 500;
/// How often all open conversations are looked over for what nobody has told of.
pub const LOOK_OVER: Duration = Duration::from_secs(600);
/// Conversations that have changed and wait to be looked at; when there are more, all are looked over.
pub const DIRTY_MAX: usize = 20_000;
/// Customers who are to be called back once a call of theirs has ended; of more, the next look over learns.
pub const CALLBACKS_AWAITED_MAX: usize = 10_000;
/// Pause after the store or the bus did not answer.
pub const AGAIN: Duration = Duration::from_secs(1);
/// A moment is looked at again at the latest after this: the wall clock may be set.
pub const TICK_MAX: Duration = Duration::from_secs(1);
/// Reasons for being away are words of so many bytes.
pub const REASON_BYTES_MAX: usize = 64;
/// How often the site's accounts are looked at.
pub const ACCOUNTS_EVERY: Duration = Duration::from_secs(2);
