//! `queue`: the caller waits for a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Edge, Field, Kind, Lint, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::{EndReason, Heard};
use crate::limits::{SKILL_BYTES_MAX, SKILLS_MAX};
use crate::plan::Plan;
use crate::read::{Block, Reader, may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::{Name, Span};
use crate::speech::{Ear, Expects, Meaning, Speech, Understood};

pub(super) const VERB: Verb = Verb {
    name: "queue",
    doc: "Puts the caller in a queue: music, place and wait announcements, then a person.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Queue {
            queue: block.must_name(reader, "queue"),
            priority: i32::try_from(block.integer(reader, "priority", -100..=100, 0)).unwrap_or(0),
            greeting: block.name(reader, "greeting"),
            prompt: block.name(reader, "prompt"),
            longer: block.name(reader, "longer"),
            every: block.duration(reader, "every", Duration::from_secs(30)),
            keys: block.keys(reader, "keys"),
            ear: Ear::read(reader, block),
            max_wait: block.duration(reader, "max_wait", Duration::from_secs(300)),
            answered: block.name(reader, "answered"),
            on_timeout: block.must_name(reader, "on_timeout"),
            on_failed: block.name(reader, "on_failed"),
            on_overflow: block.name(reader, "on_overflow"),
            skills: skills(reader, block),
        })
    },
};

const FIELDS: &[Field] = &[
    must("queue", Kind::Reference("queue"), "the name of a [[queue]] of the site"),
    may("priority", Kind::Integer, "higher is served first; default 0"),
    may("greeting", Kind::Prompt, "said once when the caller joins"),
    may(
        "prompt",
        Kind::Prompt,
        "place and wait, may speak {position}, {ahead} and {wait}; said on joining and again every `every`",
    ),
    may("longer", Kind::Prompt, "said before `prompt` when the announced wait has grown"),
    may("every", Kind::Duration, "how often the place is announced; default \"30s\""),
    may(
        "keys",
        Kind::Keys,
        "ways out while waiting; the place is kept until the caller chooses another person or a message",
    ),
    may(
        "phrases",
        Kind::Phrases,
        "what callers may say instead of a key while they wait: { 1 = [\"留言\", \"leave a message\"] }; without it the queue does not listen",
    ),
    may("max_wait", Kind::Duration, "longest wait; default \"5m\""),
    may("answered", Kind::State, "where the caller goes when the person leaves first; default: the call ends"),
    must("on_timeout", Kind::State, "without it a caller whom nobody answers would be lost"),
    may(
        "skills",
        Kind::Texts,
        "what an agent must be able to do, each with a level from 1 to 5 if it matters: [\"billing\", \"refund 3\"]",
    ),
    may(
        "on_overflow",
        Kind::State,
        "where the caller goes after the queue's `overflow_after`; default: as the [[queue]] says",
    ),
    may("on_failed", Kind::State, "where the caller goes when nobody can answer at all; default: as `on_timeout`"),
];

/// `["billing", "refund 3"]`: names, and how well; a level is at least 1.
fn skills(reader: &mut Reader, block: &Block<'_>) -> BTreeMap<Arc<str>, u8> {
    let mut skills = BTreeMap::new();
    for said in block.texts(reader, "skills") {
        let (name, level) = match said.text.rsplit_once(' ') {
            Some((name, level)) => (name.trim(), level.parse().ok()),
            None => (said.text.trim(), Some(1)),
        };
        let named = (1..=SKILL_BYTES_MAX).contains(&name.len());
        match level.filter(|level| named && (1..=5).contains(level)) {
            Some(level) if skills.len() < SKILLS_MAX => drop(skills.insert(Arc::from(name), level)),
            Some(_) => {
                reader.say("E012", &said.span, both!("at most {SKILLS_MAX} skills", "最多 {SKILLS_MAX} 项技能"), None);
            }
            None => reader.say(
                "E012",
                &said.span,
                both!("`{name}` is no skill with a level from 1 to 5", "`{name}` 不是带 1 到 5 级的技能"),
                Some(both!("write \"billing\", or \"billing 3\"", "请写作 \"billing\" 或 \"billing 3\"")),
            ),
        }
    }
    skills
}

#[derive(Debug)]
struct Queue {
    queue: Name,
    priority: i32,
    greeting: Option<Name>,
    prompt: Option<Name>,
    longer: Option<Name>,
    every: Duration,
    keys: BTreeMap<char, (Span, Name)>,
    ear: Ear,
    max_wait: Duration,
    answered: Option<Name>,
    on_timeout: Name,
    on_failed: Option<Name>,
    on_overflow: Option<Name>,
    skills: BTreeMap<Arc<str>, u8>,
}

impl Queue {
    /// Says the place when it is due, known, and nothing else is being said.
    fn announce(&self, turn: &mut Turn<'_>) {
        let Some(prompt) = &self.prompt else { return };
        if !turn.announcement_due() || turn.is_playing() || !turn.place_known() {
            return;
        }
        let grown = turn.note_announced_wait();
        match (&self.longer, grown) {
            (Some(longer), true) => turn.play(&[longer, prompt]),
            _ => turn.play(&[prompt]),
        }
        turn.set_announcement_due(false);
        turn.start(Timer::Announce, self.every.max(Duration::from_secs(1)));
    }

    fn nobody(&self, turn: &mut Turn<'_>, to: &Name) -> Flow {
        turn.nobody_came();
        Flow::go(to)
    }
}

impl Node for Queue {
    fn role(&self) -> Role {
        Role::Person
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let keys = self.keys.iter().map(|(key, (_, to))| Edge::new(self.ear.way(*key), to, When::Input));
        let after = self.answered.as_ref().map(|to| Edge::new("after the talk", to, When::After));
        let failed = self.on_failed.as_ref().map(|to| Edge::new("nobody there", to, When::Failed));
        let timeout = Edge::new("waited too long", &self.on_timeout, When::Failed);
        let overflow = self.on_overflow.as_ref().map(|to| Edge::new("waited for overflow", to, When::Failed));
        keys.chain(after).chain([timeout]).chain(failed).chain(overflow).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        let prompts = [&self.greeting, &self.prompt, &self.longer].into_iter().flatten();
        prompts.map(|name| Ref::new(RefKind::Prompt, name)).chain([Ref::new(RefKind::Queue, &self.queue)]).collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        self.greeting.iter().collect()
    }

    fn keys(&self) -> Option<&BTreeMap<char, (Span, Name)>> {
        Some(&self.keys)
    }

    fn takes_overflow(&self) -> bool {
        self.on_overflow.is_some()
    }

    fn object(&self) -> Object {
        Some(self.queue.text.clone())
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let speaks_wait = self.prompt.as_ref().and_then(|name| plan.prompts.get(&name.text)).is_some_and(|prompt| {
            prompt.spoken.values().any(|spoken| spoken.variables().any(|(name, ..)| name == "wait"))
        });
        if !speaks_wait || self.longer.is_some() {
            return Vec::new();
        }
        vec![Lint {
            code: "W005",
            span: self.prompt.as_ref().map_or(0..0, |name| name.span.clone()),
            message: both!("the announced wait may grow without a word about it", "预计等待时间变长时没有说明"),
            help: Some(both!(
                "add `longer = \"a-prompt\"` that says so, for example \"We are sorry, it takes longer than expected.\"",
                "请加上 `longer = \"提示语\"`，例如“抱歉，等待时间比预计的长。”"
            )),
        }]
    }

    fn ear(&self) -> Option<&Ear> {
        Some(&self.ear)
    }

    fn listens(&self, phase: Phase) -> Option<Expects> {
        (!self.ear.phrases.is_empty() && phase != Phase::Talking).then_some(Expects::Choice)
    }

    /// Only what is sure counts: music and a room full of people wait with the caller, and nothing here costs a strike.
    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if turn.is(Phase::Talking) {
            return Flow::Stay;
        }
        match self.ear.understand(said, &turn.plan().speech) {
            Understood::Sure(Meaning::Key(key)) if self.keys.contains_key(&key) => self.key(turn, key),
            _ => Flow::Stay,
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        let joined = turn.join_queue(&self.queue.text, self.priority, &self.skills);
        turn.start_since(Timer::MaxWait, joined, self.max_wait);
        turn.set_announcement_due(true);
        if let Some(greeting) = &self.greeting {
            turn.play(&[greeting]);
        } else {
            self.announce(turn);
        }
        Flow::Stay
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        if turn.is(Phase::Talking) {
            return Flow::Stay;
        }
        if let Some((_, to)) = self.keys.get(&key) {
            turn.keep_place();
            return Flow::go(to);
        }
        if key == '*' {
            turn.set_announcement_due(true);
        }
        // The key has cut the announcement off; it is not said again before its time.
        turn.silence_prompt();
        self.announce(turn);
        Flow::Stay
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        self.announce(turn);
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, timer: Timer) -> Flow {
        if timer == Timer::MaxWait {
            return self.nobody(turn, &self.on_timeout);
        }
        turn.set_announcement_due(true);
        self.announce(turn);
        Flow::Stay
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        match heard {
            Heard::QueueUpdate { position, wait, .. } => {
                turn.place(*position, *wait);
                self.announce(turn);
                Flow::Stay
            }
            Heard::WaitsAgain { anew, .. } if turn.is(Phase::Talking) => {
                turn.phase(Phase::Working);
                let left = turn.wait_left().filter(|_| !anew).unwrap_or(self.max_wait);
                turn.start(Timer::MaxWait, left);
                turn.set_announcement_due(true);
                Flow::Stay
            }
            Heard::Overflow { .. } => match &self.on_overflow {
                Some(to) if !turn.is(Phase::Talking) => Flow::go(to),
                _ => Flow::Stay,
            },
            Heard::Answered { .. } => {
                turn.talk();
                Flow::Stay
            }
            Heard::PersonLeft { .. } | Heard::Failed { .. } if turn.is(Phase::Talking) => {
                turn.job_done();
                turn.accepted();
                self.answered.as_ref().map_or(Flow::End(EndReason::PersonLeft), Flow::go)
            }
            Heard::PersonLeft { .. } | Heard::Failed { .. } => {
                turn.job_done();
                self.nobody(turn, self.on_failed.as_ref().unwrap_or(&self.on_timeout))
            }
            _ => Flow::Stay,
        }
    }
}
