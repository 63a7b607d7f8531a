//! The proofs: what `ark dialplan check` knows about a plan before a caller does.

mod consent;
mod names;
mod offer;
mod phrases;
mod walk;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Date;

use crate::diagnostic::{Both, Diagnostic};
use crate::lang::Lang;
use crate::limits;
use crate::plan::{Plan, text_piece};
use crate::prompt::{Part, Prompt};
use crate::run::text_estimate;
use crate::source::Span;

pub(crate) use offer::{Offer, first_offer, seconds_text};
pub(crate) use walk::reachable;

/// Measured lengths of prompts. Nothing measured: the plan's own `seconds`, else a fixed estimate per character, so that
/// a verdict never depends on the machine that gives it.
pub trait PromptSeconds {
    /// The length of the recording, else of the synthesised file, of that [`crate::Utterance::key`].
    fn seconds(&self, utterance_key: &str) -> Option<Duration>;

    /// What keeps the recording of that [`crate::Utterance::key`] from being used, when somebody looked.
    fn trouble(&self, _utterance_key: &str) -> Option<RecordingTrouble> {
        None
    }
}

/// What can be wrong with a recording that a plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingTrouble {
    /// It is not there; its text will be synthesised instead. Where it was looked for.
    Missing(String),
    /// It is there and cannot be played, with the reason. Such a plan does not go live.
    Broken(String),
}

/// Nothing is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct EstimateOnly;

impl PromptSeconds for EstimateOnly {
    fn seconds(&self, _utterance_key: &str) -> Option<Duration> {
        None
    }
}

/// What the plan meets where it runs. `None`: not known, not checked.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Names of the site's `[[queue]]`s.
    pub queues: Option<BTreeSet<String>>,
    /// Today, for calendars that run out.
    pub today: Option<Date>,
    /// Whether a channel of messages runs the plan, too.
    pub chat: bool,
    /// Whether no call is kept of which the caller was not told, or asked.
    pub consent: bool,
}

/// What the findings about one plan are collected in.
pub(crate) struct Checker<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) seconds: &'a dyn PromptSeconds,
    pub(crate) site: &'a Site,
    pub(crate) found: Vec<Diagnostic>,
}

impl Checker<'_> {
    pub(crate) fn say(&mut self, code: &'static str, span: &Span, message: Both, help: Option<Both>) {
        if self.found.len() < limits::DIAGNOSTICS_MAX {
            self.found.push(Diagnostic::new(&self.plan.source, code, span, message, help));
        }
    }
}

/// Checks a plan that was read: names, keys, languages, tests; then, when every name leads somewhere, the proofs.
/// Findings in the order of the file, notes last.
#[must_use]
pub fn check(plan: &Plan, seconds: &dyn PromptSeconds, site: &Site) -> Vec<Diagnostic> {
    let mut checker = Checker { plan, seconds, site, found: Vec::new() };
    names::check(&mut checker);
    if site.chat {
        for (span, message, help) in crate::run::chat::unfit(plan) {
            checker.say("E030", &span, message, Some(help));
        }
    }
    phrases::check(&mut checker);
    if !checker.found.iter().any(Diagnostic::is_error) {
        walk::check(&mut checker);
    }
    if !checker.found.iter().any(Diagnostic::is_error) {
        offer::check(&mut checker);
    }
    if site.consent {
        consent::check(&mut checker);
    }
    checker.found.sort_by_key(|d| (d.severity == crate::Severity::Note, d.span.start, d.span.end, d.code));
    checker.found
}

/// Reads and checks a file: every finding of both, and the plan when it has no error.
#[must_use]
pub fn check_source(
    text: &str,
    file_name: &str,
    seconds: &dyn PromptSeconds,
    site: &Site,
) -> (Option<Plan>, Vec<Diagnostic>) {
    let (plan, mut found) = Plan::read(text, file_name);
    let Some(plan) = plan else { return (None, found) };
    if found.iter().any(Diagnostic::is_error) {
        // What could be read is still checked for names, so that one run tells as much as it can.
        let mut checker = Checker { plan: &plan, seconds, site, found: Vec::new() };
        names::check(&mut checker);
        phrases::check(&mut checker);
        found.extend(checker.found.into_iter().filter(Diagnostic::is_error));
        found.sort_by_key(|d| (d.span.start, d.span.end, d.code));
        return (None, found);
    }
    found.extend(check(&plan, seconds, site));
    found.sort_by_key(|d| (d.severity == crate::Severity::Note, d.span.start, d.span.end, d.code));
    if found.iter().any(Diagnostic::is_error) { (None, found) } else { (Some(plan), found) }
}

/// How long a prompt takes in that language.
pub(crate) fn prompt_length(seconds: &dyn PromptSeconds, prompt: &Prompt, lang: Lang) -> Duration {
    /// What a spoken variable takes, more or less.
    const VARIABLE: Duration = Duration::from_secs(2);
    let Some((lang, spoken)) = prompt.in_or_near(lang) else { return Duration::ZERO };
    let mut measured = false;
    let mut total = Duration::ZERO;
    for part in &spoken.parts {
        total += match part {
            Part::Pause => Duration::from_millis(150),
            Part::Variable { .. } => VARIABLE,
            Part::Text { index, text } => {
                let key = text_piece(prompt, lang, *index, text).key().unwrap_or_default();
                let length = seconds.seconds(&key);
                measured |= length.is_some();
                length.unwrap_or_else(|| text_estimate(lang, text))
            }
        };
    }
    if measured { total } else { spoken.seconds.unwrap_or(total) }
}
