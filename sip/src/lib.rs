//! SIP as a value: bytes and the time go in; messages, timers and bytes come out. No sockets, no clock, no runtime.

#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod report;
mod text;
pub mod types;
pub mod wire;
pub mod write;

pub use report::{ParseFailure, Report, ReportStart, parse_report};
