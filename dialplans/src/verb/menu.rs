//! `menu`: one key chooses where to go.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb, When};
use crate::event::{Sought, StrikeCause};
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::{Name, Span};
use crate::speech::{Ear, Expects, Meaning, Speech, SpeechSettings, Understood, grammar};

pub(super) const VERB: Verb = Verb {
    name: "menu",
    doc: "Plays a prompt and goes where the caller's key, or what the caller says, leads. Star repeats unless it is bound.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Menu {
            prompt: block.must_name(reader, "prompt"),
            invalid: block.name(reader, "invalid"),
            keys: block.keys(reader, "keys"),
            ear: Ear::read(reader, block),
            timeout: block.duration(reader, "timeout", Duration::from_secs(5)),
            on_timeout: block.must_name(reader, "on_timeout"),
            retries: u32::try_from(block.integer(reader, "retries", 0..=10, 1)).unwrap_or(1),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "what the caller hears"),
    may("invalid", Kind::Prompt, "said before the prompt again after a key that means nothing here"),
    must("keys", Kind::Keys, "where each key leads: { 1 = \"orders\", star = \"back\" }"),
    may(
        "phrases",
        Kind::Phrases,
        "what callers may say instead of a key: { 1 = [\"查询订单\", \"my orders\"], 2 = \"@yes\" }; the plan listens then",
    ),
    may("speech", Kind::Speech, "false: this menu does not listen; or how it does: { accept = 85, hangover = \"1s\" }"),
    may("timeout", Kind::Duration, "silence after the prompt; default \"5s\""),
    must("on_timeout", Kind::State, "without it a silent caller would hang here"),
    may("retries", Kind::Integer, "how often the prompt is said again to a silent caller; default 1"),
];

#[derive(Debug)]
struct Menu {
    prompt: Name,
    invalid: Option<Name>,
    keys: BTreeMap<char, (Span, Name)>,
    ear: Ear,
    timeout: Duration,
    on_timeout: Name,
    retries: u32,
}

impl Menu {
    fn ask(&self, turn: &mut Turn<'_>) -> Flow {
        turn.drop_proposal();
        turn.phase(Phase::Speaking);
        turn.play(&[&self.prompt]);
        Flow::Stay
    }
}

impl Node for Menu {
    fn role(&self) -> Role {
        Role::Asking
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let keys = self.keys.iter().map(|(key, (_, to))| Edge::new(self.ear.way(*key), to, When::Input));
        keys.chain([Edge::new("silence", &self.on_timeout, When::Silence)]).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        [Some(&self.prompt), self.invalid.as_ref()]
            .into_iter()
            .flatten()
            .map(|n| Ref::new(RefKind::Prompt, n))
            .collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        (0..=self.retries).map(|_| &self.prompt).collect()
    }

    fn keys(&self) -> Option<&BTreeMap<char, (Span, Name)>> {
        Some(&self.keys)
    }

    fn ear(&self) -> Option<&Ear> {
        Some(&self.ear)
    }

    fn asks_back(&self) -> Vec<char> {
        self.keys.keys().copied().collect()
    }

    fn listens(&self, _phase: Phase) -> Option<Expects> {
        Some(Expects::Choice)
    }

    fn cut_by_speech(&self, plan: &SpeechSettings) -> bool {
        self.ear.overrides.barge_in(plan)
    }

    fn speech_started(&self, turn: &mut Turn<'_>) {
        turn.hearing();
    }

    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if let Some(key) = turn.proposed() {
            match grammar::yes_or_no(said) {
                Some(true) => return self.take(turn, key),
                Some(false) => return self.again(turn, StrikeCause::NoMatch),
                None => {}
            }
        }
        match self.ear.understand(said, &turn.plan().speech) {
            Understood::Sure(Meaning::Key(key)) => self.take(turn, key),
            Understood::Sure(Meaning::Person) => turn.lead_to_person(Role::Asking),
            Understood::Sure(Meaning::Again) | Understood::Maybe(Meaning::Again) => {
                self.again(turn, StrikeCause::Repeat)
            }
            Understood::Sure(Meaning::Speak(lang)) if turn.switch_language(lang) => self.ask(turn),
            // One doubt is asked back; a second one in a row is a strike.
            Understood::Maybe(Meaning::Key(key)) if self.keys.contains_key(&key) && turn.proposed().is_none() => {
                turn.stop(Timer::Silence);
                turn.phase(Phase::Confirming);
                turn.propose(key, &self.ear.label(turn.lang(), key));
                Flow::Stay
            }
            _ => self.again(turn, StrikeCause::NoMatch),
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        self.ask(turn)
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        let bound = self.keys.get(&key).map(|(_, to)| to);
        match bound {
            Some(to) if *to.text != *turn.state() => {
                turn.accepted();
                Flow::go(to)
            }
            // A key that leads back here asks to hear it again, and so does star.
            Some(_) => self.again(turn, StrikeCause::Repeat),
            None if key == '*' => self.again(turn, StrikeCause::Repeat),
            None => self.again(turn, StrikeCause::NoMatch),
        }
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if !turn.is(Phase::Confirming) {
            turn.phase(Phase::Listening);
        }
        if !turn.is_hearing() {
            turn.start(Timer::Silence, self.timeout);
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, timer: Timer) -> Flow {
        if timer == Timer::Speech {
            return self.again(turn, StrikeCause::NoMatch);
        }
        if let Some(flow) = turn.strike(StrikeCause::Silence, &self.on_timeout) {
            return flow;
        }
        if turn.try_again(self.retries) { self.ask(turn) } else { Flow::go(&self.on_timeout) }
    }
}

impl Menu {
    /// What was said means that key.
    fn take(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        turn.drop_proposal();
        if key == turn.plan().rules.human_key && !self.keys.contains_key(&key) {
            return Flow::Human(Sought::Speech);
        }
        self.key(turn, key)
    }

    fn again(&self, turn: &mut Turn<'_>, cause: StrikeCause) -> Flow {
        turn.drop_proposal();
        if let Some(flow) = turn.strike(cause, &self.on_timeout) {
            return flow;
        }
        turn.stop(Timer::Silence);
        turn.phase(Phase::Speaking);
        match (&self.invalid, cause) {
            (Some(invalid), StrikeCause::NoMatch) => turn.play(&[invalid, &self.prompt]),
            _ => turn.play(&[&self.prompt]),
        }
        Flow::Stay
    }
}
