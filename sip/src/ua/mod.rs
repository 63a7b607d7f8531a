//! The user agent.
pub mod limits;
