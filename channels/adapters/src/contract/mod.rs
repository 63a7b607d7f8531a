//! The adapter standard on the channels inside the gateway, without exemption: what `ark channel test` asks of an adapter outside, asked
//! of every machine in virtual time, with its provider played. `ark channel test KIND` runs it, and so do the tests.

mod checks;
pub mod fakes;
pub mod rig;

pub use checks::{CHECKS, Check, acknowledged_at_once};
pub use fakes::{Fake, Said, WAYS};
