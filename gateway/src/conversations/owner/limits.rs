//! Every bound of the owner, named.

use std::time::Duration;

/// Rows of the inbox in one look.
pub const PAGE: usize = 256;
/// Rows that are being committed; below that the next page is read.
pub const AHEAD_ROWS: usize = 1_024;
/// Events of one commit: what makes a batch full.
pub const BATCH_EVENTS: usize = 512;
/// Conversations that are open in memory, the most recently used: 2 to 30 KiB each, so a quarter of a GiB at the very most. The
/// others are opened from their logs when something comes.
pub const MACHINES_MAX: usize = 8_192;
/// Logs that are read at once.
pub const OPENING: usize = 16;
/// Deadlines that are kept; the latest go first and are found again with the next look over all open conversations.
pub const DEADLINES_MAX: usize = 200_000;
/// Deadlines in one turn.
pub const TURN_DEADLINES: usize = 256;
/// Conversations in one page of a look over all that are open.
pub const LOOK_PAGE: usize = 500;
/// Deadlines, and ends of calls, that wait for the owner.
pub const NOTES: usize = 1_024;
/// Commands that wait for the owner; one more is refused.
pub const COMMANDS: usize = 1_024;
/// Commands in one turn.
pub const TURN_COMMANDS: usize = 64;
/// Times that a command is decided anew because somebody wrote to its conversation in between.
pub const COMMAND_TRIES: u32 = 16;
/// Messages that are offered to the owner before they are written; one more goes by the inbox.
pub const OFFERS: usize = 1_024;
/// Offered messages in one turn, and so in one commit: the next ones are decided while it is written.
pub const TURN_OFFERS: usize = 64;
/// How long a message waits for the owner to take it up; then it goes by the inbox.
pub const OFFER_WAIT: Duration = Duration::from_millis(200);
/// Times that an offered message is decided anew before it goes by the inbox.
pub const OFFER_TRIES: u32 = 3;
/// Threads whose conversation is remembered; the others are looked up in the store.
pub const THREADS_KNOWN: usize = 65_536;
/// Conversations of which it is remembered that messages of theirs wait in the inbox.
pub const BEHIND_MAX: usize = 8_192;
/// What follows from commits, kept for a listener that does not keep up; the oldest goes first, and it is told.
pub const HAPPENINGS: usize = 4_096;
/// How often the inbox is looked at without a wake-up: so late is a message whose wake-up was lost.
pub const POLL: Duration = Duration::from_secs(1);
/// How often parked rows that are to be taken up again are looked for without a word.
pub const PARKED_POLL: Duration = Duration::from_secs(5);
/// Parked rows in one turn.
pub const TURN_PARKED: usize = 64;
/// How long a parked row is being taken up before another gateway may.
pub const PARKED_CLAIM: Duration = Duration::from_secs(30);
/// Rows too large to be parked, which stay in the inbox and are passed over.
pub const STUCK_MAX: usize = 4_096;
/// Pause after the store failed; doubled up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
pub const RETRY_MAX: Duration = Duration::from_secs(2);
/// Pause after a lease has passed on: by then it is known whose the shard is.
pub const FENCED_PAUSE: Duration = Duration::from_millis(200);
/// How long a command waits for its answer, wherever its conversation's owner is. It may be done all the same.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How often the answer from another gateway is looked for.
pub const ANSWER_EVERY: Duration = Duration::from_millis(20);
/// Commands that wait for another gateway's answer.
pub const ASKED_ELSEWHERE: usize = 256;
/// How long answers that were fetched, and parked rows that were taken in, are kept.
pub const FORGET_AFTER: Duration = Duration::from_secs(3_600);
/// How long the end of the process waits for what is being committed.
pub const STOP_MAX: Duration = Duration::from_secs(5);
/// How often all open conversations are looked over for what nobody has told of.
pub const LOOK_OVER: Duration = Duration::from_secs(600);
/// How long changes of shards gather before their wake-ups are read anew.
pub const SHARDS_SETTLE: Duration = Duration::from_millis(200);
/// Versions of plans that are not live any more, kept for the chats that go on with them.
pub const OLDER_PLANS: usize = 32;
/// How long it is waited for plans that are being read.
pub const PLANS_SOON: Duration = Duration::from_millis(200);
/// How long a count of those who wait in queues is good.
pub const LINE_KEPT: Duration = Duration::from_secs(2);
/// Queues of which it is remembered when customers were taken out of them.
pub const QUEUES_SERVED: usize = 256;
/// Such times of one queue.
pub const SERVED_KEPT: usize = 256;
/// Records in which a customer's language and number are looked for when a plan begins.
pub const CALLER_RECORDS: usize = 64;
/// Actions of chats' plans that are asked at once; of one more the plan hears nothing and goes its way.
pub const ACTIONS_ASKED: usize = 64;
/// Pause before a bus is asked again that did not let us read.
pub const BUS_AGAIN: Duration = Duration::from_secs(1);

const _: () = assert!(PAGE <= AHEAD_ROWS);
const _: () = assert!(BATCH_EVENTS < ark_store::limits::APPEND_EVENTS_MAX);
