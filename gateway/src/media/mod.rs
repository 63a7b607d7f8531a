//! The media engine: RTP on a few dedicated threads.
//!
//! Each thread is a plain loop: commands, then the slots of the wheel that are due (20 slots of 1 ms, by absolute
//! deadlines: a leg sends in one of them, every 20 ms), then the packets that have come (epoll, read in batches with
//! the kernel's time stamps), then sleep until the next millisecond. A thread owns its legs and drives their pure
//! [`ark_media::session::Session`]s; nothing in it locks, allocates while packets flow, or waits for a disk, a store or
//! the call core:
//!
//! - commands come by a bounded channel ([`MediaPort::command`]); each leg is on one thread, and both legs of a bridge
//!   are brought to the same one, so that a bridged packet is read and sent in one turn without a lock;
//! - events go by a bounded channel; when the core is slow they wait in order, and a thread with too many waiting takes
//!   no more commands;
//! - a browser's leg has no sockets of its own but a [`Pipe`]: bounded queues to the task that carries it, looked into once
//!   in each turn;
//! - recordings go by a bounded queue to one disk thread; a disk that fails or stalls ends the recording, not the call.
//!
//! A stall is caught up by at most three frames a leg; what is older is skipped, with a jump of the timestamp and a
//! marker, so that nobody stays late. A peer that floods is read eight packets a turn; the rest waits, and is dropped,
//! in its own socket's buffer.

pub mod api;
mod disk;
mod engine;
mod events;
mod leg;
pub(crate) mod limits;
pub mod load;
pub mod metrics;
mod pipe;
mod ports;
mod room;
pub(crate) mod sys;
mod tap;
mod thread;
pub(crate) mod wheel;

pub use api::{
    Command, Event, Full, Leg, LegId, MediaPort, PlayEnd, RecordAs, RecordEnd, RecordFormat, RecordOf, Road, RoomPart,
};
pub use engine::{Engine, EngineConfig, EngineHandle, StartError};
pub use pipe::{PIPE_REMOTE, Pipe, PipePacket};
#[cfg(test)]
pub(crate) use pipe::{PipeEnd, pipe};
pub use tap::{Tap, TapPacket};
