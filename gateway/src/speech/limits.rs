//! Every bound of reading along, in one place.

use std::time::Duration;

/// What the switch says to the thread that listens, waiting: each leg begins, ends and changes its language a few times.
pub(crate) const ORDERS: usize = 4_096;
/// Answers of engines that wait for the thread that listens.
pub(crate) const ANSWERS: usize = 1_024;
/// Audio and ends that wait for one utterance's connection to a server: 20 s.
pub(crate) const FEED: usize = 256;
/// Connections to servers at a time; an utterance that finds none free fails.
pub(crate) const CONNECTIONS_MAX: usize = 1_024;
/// Legs that are listened to at a time.
pub(crate) const LEGS_MAX: usize = 16_384;
/// Legs that are not listened to any more and whose count of utterances is remembered.
pub(crate) const COUNTED_MAX: usize = 4_096;
/// How long the status says that packets were left out, after the last one was.
pub(crate) const LEFT_OUT_TOLD: Duration = Duration::from_secs(10);
/// How often the thread that listens takes what is complete.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// Partials of one utterance are shown at most this often.
pub(crate) const PARTIAL_EVERY: Duration = Duration::from_millis(200);
/// How long a leg that has ended waits for its last answers.
pub(crate) const LAST_WORDS_MAX: Duration = Duration::from_secs(30);
/// An engine that could not be made is tried again after this.
pub(crate) const ENGINE_AGAIN: Duration = Duration::from_secs(10);
/// Utterances that are left for after their calls.
pub(crate) const LATER_MAX: usize = 10_000;
/// Recordings that are remembered for the places of utterances in them.
pub(crate) const RECORDINGS_MAX: usize = 16_384;
/// A recording is read for what was left when its call has been over for so long without one.
pub(crate) const LATER_WAIT: Duration = Duration::from_secs(600);
/// How long after a change it is kept on the disk what is left for after calls.
pub(crate) const LATER_SAVE_EVERY: Duration = Duration::from_secs(1);
/// The largest file that is transcribed: a day of two channels at 8 kHz.
pub(crate) const FILE_BYTES_MAX: u64 = 3 * 1024 * 1024 * 1024;
/// How long the end of the process waits for what is being read.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);
