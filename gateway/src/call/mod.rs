//! Calls: the switch between SIP, media, plans and the log.
//!
//! `Switch` is a machine: it is told what happened and when, and says what to do. [`driver`] owns the sockets and the
//! clock and turns its handle. One road: `net` -> [`Switch::receive`] -> call -> `ark_dialplans::Run::step` -> media.

mod callback;
mod customer;
pub mod driver;
pub mod limits;
mod observe;
mod other;
pub mod queue;
pub mod site;
mod sound;
mod speech;
mod state;
mod steps;
mod supervise;
mod switch;
mod transfer;
mod view;
pub mod web;

use std::collections::BTreeMap;
use std::time::Duration;

pub use customer::CannotPlace;
pub use site::{Hotline, LivePlan, NoWay, Route, Site, Sounds, Trunk};
pub(crate) use sound::recording_channels;
pub use supervise::{CannotAct, TalkAction};
pub use switch::{Counters, HttpRequest, LinkRequest, Output, Switch, SwitchConfig};
pub use transfer::{TransferTo, TransferView, Word};
pub use view::{CallView, LegView};

/// How a named HTTP action ended.
#[derive(Clone, Debug)]
pub struct HttpResult {
    /// The action's name.
    pub action: String,
    /// In the log's words.
    pub outcome: ark_conversation::event::HttpOutcome,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// What the plan gets: named values, or why there are none.
    pub values: Result<BTreeMap<String, String>, String>,
}

#[cfg(test)]
mod tests;
