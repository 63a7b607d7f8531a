//! `[[queue]]`: who answers, in what order, and when.

use ark_conversation::routing::{GroupStep, QueueConfig};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Queue, Span};
use crate::desk::{QueueSetup, group_steps};
use crate::webchat::hours::Hours;

/// A group that answers a queue, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's name, as in accounts.
    pub group: String,
    /// How long a customer has waited when they are asked, too. Left out: from the start.
    #[serde(default = "at_once")]
    pub after: Span,
}

fn at_once() -> Span {
    Span::from_secs(0)
}

pub(super) fn aging() -> Span {
    Span::from_secs(60)
}

pub(super) fn wrap_up() -> Span {
    Span::from_secs(10)
}

pub(super) fn any_after() -> Span {
    Span::from_secs(60)
}

pub(super) fn keep_for_last() -> Span {
    Span::from_secs(0)
}

fn signed(span: Span) -> SignedDuration {
    SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX)
}

impl Queue {
    /// A queue with the usual times that nobody is named for.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            operators: Vec::new(),
            ring: super::queue_ring(),
            transcribe: true,
            callback_lost: true,
            groups: Vec::new(),
            aging: aging(),
            wrap_up: wrap_up(),
            keep_for_last: keep_for_last(),
            relax_after: None,
            any_after: any_after(),
            overflow_after: None,
            overflow: None,
            hours: Vec::new(),
            timezone: String::new(),
        }
    }

    /// The queue as the desk has it.
    ///
    /// # Errors
    /// Its hours cannot be read; a sentence that shows the line.
    pub fn setup(&self) -> Result<QueueSetup, String> {
        let steps = self.groups.iter().map(|one| GroupStep { group: one.group.clone(), after: signed(one.after) });
        let config = QueueConfig {
            name: self.name.clone(),
            groups: group_steps(&self.name, steps.filter(|step| step.group != self.name).collect()),
            aging: signed(self.aging),
            offer_ttl: signed(self.ring),
            wrap_up: signed(self.wrap_up),
            keep_for_last: signed(self.keep_for_last),
            relax_after: self.relax_after.map(signed),
            any_after: signed(self.any_after),
            overflow_after: self.overflow_after.map(signed),
            ..QueueConfig::new(&self.name, &self.name)
        };
        let hours = match self.hours.as_slice() {
            [] => Hours::always(),
            lines => Hours::read(lines, &self.timezone)?,
        };
        Ok(QueueSetup { config, operators: self.operators.clone(), overflow: self.overflow.clone(), hours })
    }
}
