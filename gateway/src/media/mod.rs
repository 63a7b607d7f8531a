//! The media engine: RTP on a few dedicated threads.

pub mod api;
pub(crate) mod pending;

pub use api::{Command, Event, Full, Leg, LegId, MediaPort, PlayEnd, RecordEnd};
