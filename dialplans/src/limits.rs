//! Every bound of this crate, named.

use std::time::Duration;

/// Longest plan file that is read, in bytes.
pub const PLAN_BYTES_MAX: usize = 1 << 20;
/// Most states in a plan.
pub const STATES_MAX: usize = 2_000;
/// Most problems reported for one file; the rest is counted.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Silent transitions (set, branch, hours, direct ...) inside one step. `check` proves that no plan needs more.
pub const TRANSITIONS_PER_STEP: u32 = 64;
/// States entered in one call before the call is taken out of the plan as faulty. Nobody walks this far on purpose.
pub const STATES_PER_CALL: u32 = 2_000;
/// Most variables that one call keeps.
pub const VARIABLES_MAX: usize = 64;
/// Longest value of a variable, in bytes; what an HTTP action returns beyond it is cut.
pub const VALUE_BYTES_MAX: usize = 256;
/// Most digits that one gather accepts.
pub const DIGITS_MAX: usize = 64;
/// Nodes that the proofs may visit (state x values of variables set by the plan).
pub const PROOF_NODES_MAX: usize = 100_000;
/// Longest duration that a plan may name.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most events in one `[[test]]`.
pub const TEST_EVENTS_MAX: usize = 500;
/// How long a prompt may take beyond its estimated length (times two) before the plan goes on without its end.
pub const PLAY_GRACE: Duration = Duration::from_secs(15);
/// Digits of the shortest number that is called back: `110` is one, a withheld number is none.
pub const CALLBACK_DIGITS_MIN: usize = 3;
/// How long the far side (queue, transfer, HTTP, recording) may be late before its named way is taken.
pub const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// How long a link may take to be made and sent before the plan goes on without it.
pub const LINK_GRACE: Duration = Duration::from_secs(20);
/// Characters of one utterance or message that are looked at; what is longer is no answer to a prompt.
pub const SAID_CHARS_MAX: usize = 500;
/// Words, or Chinese characters, of it that are compared with phrases.
pub const SAID_WORDS_MAX: usize = 150;
/// Most words, or Chinese characters, of a phrase.
pub const PHRASE_WORDS_MAX: usize = 24;
/// Matches of one utterance that are compared with each other, the best of them.
pub const MATCHES_MAX: usize = 128;
/// Most phrases of one key.
pub const PHRASES_PER_KEY_MAX: usize = 1_000;
/// Letters up to which two words are compared letter by letter.
pub const WORD_CHARS_MAX: usize = 32;
/// Most phrases that a recogniser is given as hints.
pub const HINTS_MAX: usize = 60;
/// How long what was said may take to be recognised, after its longest length and its hangover.
pub const SPEECH_GRACE: Duration = Duration::from_secs(8);
/// How long further digits are waited for when some were said: people read out numbers in groups.
pub const SPOKEN_DIGITS_GAP: Duration = Duration::from_millis(1_500);

/// How long a customer of a chat may be silent before the plan ends: they have left.
pub const CHAT_IDLE: Duration = Duration::from_secs(30 * 60);
/// Steps that one message of a chat may take: each is a prompt that was written, or a report that follows at once.
pub const CHAT_STEPS: u32 = 64;
/// Buttons below one message: what every channel can show (the adapter standard's bound).
pub const CHOICES_MAX: usize = 8;
/// Longest words on a button, in characters.
pub const LABEL_CHARS_MAX: usize = 40;

const _: () = assert!(TRANSITIONS_PER_STEP < STATES_PER_CALL);

/// Skills that one `queue` may ask for.
pub const SKILLS_MAX: usize = 32;
/// Bytes of a skill's name.
pub const SKILL_BYTES_MAX: usize = 64;
