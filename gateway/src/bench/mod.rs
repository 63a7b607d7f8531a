//! `ark bench`: what this machine can carry, measured in one run with its yardstick.
//!
//! Every bench is a function from its options to a report that prints itself as a table with units or as JSON. The
//! yardstick is [`floor`]: the bare loop of system calls on the same core, with the same packet size and as many
//! sockets as calls. Absolute numbers belong to the machine; the ratios travel.

mod barge;
pub mod channels;
pub mod floor;
mod kit;
pub mod media;
mod rtpengine;
pub mod sip;
pub mod speech;
mod traffic;
mod web;

pub use kit::{BenchError, Cores};
