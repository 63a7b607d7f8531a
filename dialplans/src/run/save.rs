//! What of a run is written down, so that another process goes on with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Core, Held, Job, Phase, Place, Scratch, Timer};
use crate::lang::Lang;
use crate::plan::Plan;
use crate::run::Caller;

/// A run at rest: nothing plays.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    state: String,
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    caller: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dialled: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vars: BTreeMap<String, String>,
    phase: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    digits: String,
    tries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposed: Option<char>,
    doubt: bool,
    strikes: u32,
    struck_out: bool,
    asked: bool,
    last_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<(u8, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<SavedHeld>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<SavedHeld>,
    /// Position, and the wait in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<(u32, Option<u64>)>,
    /// In milliseconds from the beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timers: Vec<(u8, u64)>,
    entered: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedHeld {
    id: u64,
    queue: String,
    state: String,
    joined_ms: u64,
}

const PHASES: [Phase; 6] =
    [Phase::Speaking, Phase::Listening, Phase::Confirming, Phase::Working, Phase::Finishing, Phase::Talking];
const TIMERS: [Timer; 6] = [Timer::Play, Timer::Silence, Timer::Digit, Timer::Announce, Timer::MaxWait, Timer::Job];

fn number<T: PartialEq>(of: &[T], one: &T) -> u8 {
    u8::try_from(of.iter().position(|other| other == one).unwrap_or(0)).unwrap_or(0)
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl SavedHeld {
    fn of(held: &Held) -> Self {
        Self { id: held.id, queue: held.queue.to_string(), state: held.state.to_string(), joined_ms: ms(held.joined) }
    }

    fn held(self) -> Held {
        let joined = Duration::from_millis(self.joined_ms);
        Held { id: self.id, queue: self.queue.into(), state: self.state.into(), joined }
    }
}

impl Core {
    pub(super) fn save(&self) -> Saved {
        let job = self.job.map(|job| match job {
            Job::Record(id) => (0, id),
            Job::Queue(id) => (1, id),
            Job::Transfer(id) => (2, id),
            Job::Http(id) => (3, id),
            Job::Link(id) => (4, id),
            Job::Callback(id) => (5, id),
        });
        Saved {
            state: self.state.to_string(),
            lang: self.lang.as_str().to_owned(),
            caller: self.caller.clone(),
            dialled: self.dialled.clone(),
            vars: self.vars.clone(),
            phase: number(&PHASES, &self.scratch.phase),
            digits: self.scratch.digits.clone(),
            tries: self.scratch.tries,
            proposed: self.scratch.proposed,
            doubt: self.scratch.doubt,
            strikes: self.strikes,
            struck_out: self.struck_out,
            asked: self.asked,
            last_id: self.last_id,
            job,
            joined: self.joined.as_ref().map(SavedHeld::of),
            held: self.held.as_ref().map(SavedHeld::of),
            place: self.place.map(|place| (place.position, place.wait.map(|wait| wait.as_secs()))),
            timers: self.timers.iter().map(|(timer, at)| (number(&TIMERS, timer), ms(*at))).collect(),
            entered: self.entered,
        }
    }

    /// None: it was in a state that the plan does not have.
    pub(super) fn restore(plan: Arc<Plan>, saved: Saved) -> Option<Self> {
        plan.state(&saved.state)?;
        let lang = Lang::parse(&saved.lang);
        let mut core = Self::fresh(plan, &Caller { number: saved.caller, dialled: saved.dialled, lang });
        core.state = saved.state.into();
        core.vars = saved.vars;
        core.scratch = Scratch {
            phase: PHASES.get(usize::from(saved.phase)).copied().unwrap_or_default(),
            digits: saved.digits,
            tries: saved.tries,
            announcement_due: false,
            proposed: saved.proposed,
            doubt: saved.doubt,
            after_prompt: None,
        };
        (core.strikes, core.struck_out, core.asked) = (saved.strikes, saved.struck_out, saved.asked);
        core.last_id = saved.last_id;
        core.job = saved.job.and_then(|(kind, id)| {
            Some(match kind {
                0 => Job::Record(id),
                1 => Job::Queue(id),
                2 => Job::Transfer(id),
                3 => Job::Http(id),
                4 => Job::Link(id),
                5 => Job::Callback(id),
                _ => return None,
            })
        });
        core.joined = saved.joined.map(SavedHeld::held);
        core.held = saved.held.map(SavedHeld::held);
        core.place = saved.place.map(|(position, wait)| Place { position, wait: wait.map(Duration::from_secs) });
        let timer = |(kind, at): &(u8, u64)| Some((*TIMERS.get(usize::from(*kind))?, Duration::from_millis(*at)));
        core.timers = saved.timers.iter().filter_map(timer).collect();
        core.entered = saved.entered;
        Some(core)
    }
}
