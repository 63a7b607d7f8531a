//! What a site says about its queues and its agents.

use std::collections::BTreeMap;

use jiff::SignedDuration;

/// What an agent's capacity is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A call: both ears are needed.
    Call,
    /// A thread of messages.
    Chat,
}

/// How much an agent takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Calls.
    pub calls: u32,
    /// Chats, without a call.
    pub chats: u32,
    /// Chats beside a call: a call is offered only to who has no more than these.
    pub chats_beside_call: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { calls: 1, chats: 4, chats_beside_call: 0 }
    }
}

/// A step by which more agents are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStep {
    /// The skill group.
    pub group: String,
    /// How long an item has waited when this group is asked, too; zero: from the start.
    pub after: SignedDuration,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Its name.
    pub name: String,
    /// Who answers, and who else after a while.
    pub groups: Vec<GroupStep>,
    /// What one step of priority is worth in waiting.
    pub aging: SignedDuration,
    /// How long one agent is asked.
    pub offer_ttl: SignedDuration,
    /// What an agent has for wrapping up after a call.
    pub wrap_up: SignedDuration,
    /// How long an item is kept for the agent whom the customer had last, when they are there and busy. Zero: not at all.
    pub keep_for_last: SignedDuration,
    /// From when on levels of skills no longer matter. `None`: they always do.
    pub relax_after: Option<SignedDuration>,
    /// From when on needs that nobody who works there meets no longer matter: nobody is stranded by what they need.
    pub any_after: SignedDuration,
    /// After this wait [`crate::routing::Output::Overflow`] is told, once. `None`: never.
    pub overflow_after: Option<SignedDuration>,
    /// The mean handling time until some were measured.
    pub handling_assumed: SignedDuration,
}

impl QueueConfig {
    /// A queue that one group answers, with the usual times: a step of priority is worth a minute, an offer 20 s, wrapping up 10 s.
    #[must_use]
    pub fn new(name: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec![GroupStep { group: group.to_owned(), after: SignedDuration::ZERO }],
            aging: SignedDuration::from_secs(60),
            offer_ttl: SignedDuration::from_secs(20),
            wrap_up: SignedDuration::from_secs(10),
            keep_for_last: SignedDuration::ZERO,
            relax_after: None,
            any_after: SignedDuration::from_secs(60),
            overflow_after: None,
            handling_assumed: SignedDuration::from_secs(180),
        }
    }
}

/// What an item needs of an agent. Levels run from 1 to 5.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// The language, and how well it must be spoken. An agent of whom no language is said is taken to speak it.
    pub language: Option<(String, u8)>,
    /// Skills, and how well.
    pub skills: BTreeMap<String, u8>,
}

impl Needs {
    /// Whether anybody will do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.language.is_none() && self.skills.is_empty()
    }
}

/// What an agent can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentProfile {
    /// The skill groups that the agent belongs to.
    pub groups: Vec<String>,
    /// Skills with levels from 1 to 5.
    pub skills: BTreeMap<String, u8>,
    /// Languages with levels from 1 to 5; none: whatever is asked for. An item without a language may go to anybody.
    pub languages: BTreeMap<String, u8>,
    /// How much at once.
    pub capacity: Capacity,
}

impl AgentProfile {
    /// Whether the agent meets these needs. `relaxed`: a skill of any level will do.
    pub(super) fn meets(&self, needs: &Needs, relaxed: bool) -> bool {
        let speaks = |(name, level): &(String, u8)| self.languages.get(name) >= Some(level);
        let language = self.languages.is_empty() || needs.language.as_ref().is_none_or(speaks);
        let skills =
            needs.skills.iter().all(|(name, level)| self.skills.get(name).is_some_and(|own| relaxed || own >= level));
        language && skills
    }

    /// How well the agent fits: the sum of the levels that are asked for.
    pub(super) fn fit(&self, needs: &Needs) -> u32 {
        let skills: u32 =
            needs.skills.keys().filter_map(|name| self.skills.get(name)).map(|level| u32::from(*level)).sum();
        let language = needs.language.as_ref().and_then(|(name, _)| self.languages.get(name)).copied().unwrap_or(0);
        skills + u32::from(language)
    }
}

/// Whether an agent is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There, and willing.
    Ready,
    /// There, and not to be asked: the reason in the house's word (break, training).
    Away(String),
    /// Not there: signed off, or no desk of theirs is connected any more.
    Gone,
}
