//! Every bound of transcription, in one place.

use std::time::Duration;

/// Samples per second of everything behind the ear: what the detector of voice and whisper want.
pub const RATE_HZ: u32 = 16_000;
/// Samples of one frame that is pushed: 20 ms at [`RATE_HZ`].
pub const FRAME_SAMPLES: usize = 320;
/// Samples that the detector of voice looks at: 16 ms at [`RATE_HZ`].
pub const VAD_SAMPLES: usize = 256;

/// The longest utterance that can be asked for: whisper's window.
pub const UTTERANCE_MAX: Duration = Duration::from_secs(30);
/// The longest pre-roll.
pub const PRE_ROLL_MAX: Duration = Duration::from_secs(1);
/// The longest wait for more words before an utterance ends.
pub const HANGOVER_MAX: Duration = Duration::from_secs(5);
/// Events of one stream that wait to be polled; whoever does not poll loses partials first, and then is told so.
pub const EVENTS_MAX: usize = 64;
/// Utterances of one stream whose results have not come; more end as failed.
pub const PENDING_MAX: usize = 32;

/// How long packets are held back for those that come late or out of order.
pub const LANE_HOLD: Duration = Duration::from_millis(60);
/// How far a stream's clock may be off the wall clock before it is laid out anew.
pub const LANE_DRIFT_MAX: Duration = Duration::from_millis(500);
/// Audio that a lane keeps at most: packets that are further ahead are dropped.
pub const LANE_WINDOW: Duration = Duration::from_millis(1_000);

/// Finals that wait for an engine.
pub const FINALS_MAX: usize = 512;
/// Audio that waits for an engine, in samples: 20 minutes, 38 MB.
pub const WAITING_SAMPLES_MAX: usize = 20 * 60 * RATE_HZ as usize;
/// Partials that wait for an engine: at most one of each stream, of so many streams.
pub const PARTIALS_MAX: usize = 64;

/// Words of a site that an engine is told.
pub const WORDS_MAX: usize = 500;
/// Characters of one of them.
pub const WORD_CHARS_MAX: usize = 64;
/// Characters of a text that an engine may answer; more is cut.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Segments of an answer.
pub const SEGMENTS_MAX: usize = 500;
/// Bytes of one message of an engine; a longer one is an error.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
