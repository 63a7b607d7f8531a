//! Speech as a value: what is said on a leg, while it is said.
//!
//! The road of a voice: [`lane::Lane`] lays a leg's packets out by their media time, 20 ms at a time; [`stream::Stream`] takes
//! those, finds where somebody speaks ([`endpoint`]) and asks for what was said: of an engine that reads whole utterances
//! ([`stream::Work`], [`engine::Engine`]), or of one that is fed while the voice goes on ([`stream::Feed`], [`engine::Dialogue`]).
//! The answers go back into the stream, which says what is known when, on the call's own clock ([`SpeechEvent`]).
//! [`schedule::Scheduler`] decides what is worked on within a budget in cores: partials go first, then utterances are merged, then
//! finals are left for after the call. [`mask`] takes out what must not be kept before anybody sees it.
//!
//! Nothing here waits, opens a socket or reads a clock. The one engine that is more than a protocol is whisper (feature
//! `whisper`), which computes on the thread that calls it.

mod edges;
pub mod endpoint;
pub mod engine;
pub mod lane;
pub mod limits;
pub mod mask;
pub mod schedule;
pub mod stream;
mod types;

pub use types::{EngineError, Language, Recognised, Segment, SpeechEvent, Utterance};
