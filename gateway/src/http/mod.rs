//! The web face: page, API, health and metrics.

pub mod limits;
pub mod tls;
pub mod token;
