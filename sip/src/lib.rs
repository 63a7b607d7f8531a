//! SIP as a value: bytes and the time go in; messages, timers and bytes come out. No sockets, no clock, no runtime.

pub mod auth;
pub mod dialog;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod limits;
mod report;
#[cfg(any(test, feature = "rsip-compat"))]
pub mod rsip_compat;
mod text;
pub mod tx;
pub mod types;
pub mod ua;
pub mod wire;
pub mod write;

pub use report::{ParseFailure, Report, ReportStart, parse_report};
