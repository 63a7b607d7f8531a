//! `consent`: the caller is told that the call is recorded and transcribed, or asked whether it may be.

use std::sync::Arc;
use std::time::Duration;

use super::{Edge, Field, Kind, Lint, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::{ConsentAnswer, ConsentHow, ConsentMode, Sought};
use crate::plan::{Consent as Wanted, Plan};
use crate::read::{Block, Reader, key_name, may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::{Name, Span};
use crate::speech::{Expects, Speech, SpeechSettings, grammar};

pub(super) const VERB: Verb = Verb {
    name: "consent",
    doc: "Says that the call is recorded and transcribed, or asks whether it may be: until the caller agrees nothing is kept. Once in a call.",
    fields: FIELDS,
    read: |reader, block| {
        let mode = mode(reader, block);
        if mode == ConsentMode::Announce {
            for field in ["refused", "yes", "no", "timeout", "retries"] {
                if let Some(value) = block.get(field) {
                    let help = both!("write `mode = \"ask\"`, or leave it out", "请写 `mode = \"ask\"`，或删去此项");
                    let said = both!("`{field}` means something only where it is asked", "`{field}` 只在询问时有意义");
                    reader.say("E012", &value.span(), said, Some(help));
                }
            }
        } else if block.get("refused").is_none() {
            block.missing(reader, "refused");
        }
        let key = |reader: &mut Reader, name: &str, default| block.key(reader, name).map_or(default, |(key, _)| key);
        let next = block.must_name(reader, "next");
        Box::new(Consent {
            at: block.span.clone(),
            mode,
            word: mode.as_str().into(),
            prompt: block.must_name(reader, "prompt"),
            tone: block.flag(reader, "tone", false),
            yes: key(reader, "yes", '1'),
            no: key(reader, "no", '2'),
            timeout: block.duration(reader, "timeout", Duration::from_secs(6)),
            retries: u32::try_from(block.integer(reader, "retries", 0..=3, 1)).unwrap_or(1),
            refused: block.name(reader, "refused").unwrap_or_else(|| next.clone()),
            next,
        })
    },
};

const FIELDS: &[Field] = &[
    must(
        "prompt",
        Kind::Prompt,
        "what the caller hears: that the call is recorded and transcribed; or the question, with its keys",
    ),
    may("mode", Kind::Text, "`announce`: says it and goes on; `ask`: waits for yes or no; default \"announce\""),
    may("tone", Kind::Flag, "true: while the call is recorded all hear a short tone again and again; default false"),
    may("yes", Kind::KeyName, "the key that agrees; default \"1\"; callers may also say it"),
    may("no", Kind::KeyName, "the key that refuses; default \"2\"; callers may also say it"),
    may("timeout", Kind::Duration, "silence after the question; default \"6s\""),
    may("retries", Kind::Integer, "how often it is asked again, 0 to 3; then nobody has agreed; default 1"),
    may("refused", Kind::State, "where the call goes unless the caller agrees: nothing of it is kept"),
    must("next", Kind::State, "where the call goes when it was said, or the caller agreed"),
];

fn mode(reader: &mut Reader, block: &Block<'_>) -> ConsentMode {
    let Some(text) = block.name(reader, "mode") else { return ConsentMode::Announce };
    ConsentMode::parse(&text.text).unwrap_or_else(|| {
        let help = both!("`mode` is `announce` or `ask`", "`mode` 可以是 `announce` 或 `ask`");
        let word = &text.text;
        reader.say("E012", &text.span, both!("there is no mode `{word}`", "没有 `{word}` 这种方式"), Some(help));
        ConsentMode::Announce
    })
}

#[derive(Debug)]
struct Consent {
    at: Span,
    mode: ConsentMode,
    word: Arc<str>,
    prompt: Name,
    tone: bool,
    yes: char,
    no: char,
    timeout: Duration,
    retries: u32,
    next: Name,
    refused: Name,
}

impl Consent {
    fn asks(&self) -> bool {
        self.mode == ConsentMode::Ask
    }

    fn ask(&self, turn: &mut Turn<'_>) -> Flow {
        turn.stop(Timer::Silence);
        turn.phase(Phase::Speaking);
        turn.play_with(&[&self.prompt], self.asks());
        Flow::Stay
    }

    /// Who says nothing that means yes has not agreed.
    fn again(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.try_again(self.retries) {
            return self.ask(turn);
        }
        turn.settle_consent(ConsentAnswer::Unanswered, None);
        Flow::go(&self.refused)
    }

    fn answered(&self, turn: &mut Turn<'_>, yes: bool, how: ConsentHow) -> Flow {
        turn.settle_consent(if yes { ConsentAnswer::Given } else { ConsentAnswer::Refused }, Some(how));
        turn.accepted();
        Flow::go(if yes { &self.next } else { &self.refused })
    }
}

impl Node for Consent {
    fn role(&self) -> Role {
        if self.asks() { Role::Asking } else { Role::Passing }
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        if !self.asks() {
            return vec![Edge::new("", &self.next, When::Always)];
        }
        vec![
            Edge::new(key_name(self.yes), &self.next, When::Input),
            Edge::new(key_name(self.no), &self.refused, When::Input),
            Edge::new("silence", &self.refused, When::Silence),
        ]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        vec![Ref::new(RefKind::Prompt, &self.prompt)]
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        let times = if self.asks() { self.retries + 1 } else { 1 };
        (0..times).map(|_| &self.prompt).collect()
    }

    fn object(&self) -> Object {
        Some(Arc::clone(&self.word))
    }

    fn consent(&self) -> Option<Wanted> {
        Some(Wanted { asks: self.asks(), tone: self.tone })
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let mut found = Vec::new();
        let human = plan.rules.human_key;
        if self.asks() && (self.yes == human || self.no == human) {
            let key = key_name(human);
            found.push(Lint {
                code: "E005",
                span: self.at.clone(),
                message: both!("the human key `{key}` answers this question", "人工键 `{key}` 被用来回答这个问题"),
                help: Some(both!("choose another key for `yes` or `no`", "请为 `yes` 或 `no` 换一个键")),
            });
        }
        if self.asks() && self.yes == self.no {
            let key = key_name(self.yes);
            found.push(Lint {
                code: "E012",
                span: self.at.clone(),
                message: both!("the key `{key}` means yes and no", "按键 `{key}` 既表示同意又表示拒绝"),
                help: Some(both!("give `yes` and `no` different keys", "请为 `yes` 和 `no` 设不同的键")),
            });
        }
        found
    }

    fn listens(&self, _phase: Phase) -> Option<Expects> {
        Some(if self.asks() { Expects::YesNo } else { Expects::Person })
    }

    fn cut_by_speech(&self, plan: &SpeechSettings) -> bool {
        self.asks() && plan.barge_in
    }

    fn speech_started(&self, turn: &mut Turn<'_>) {
        if self.asks() {
            turn.hearing();
        }
    }

    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if !self.asks() {
            return if turn.is_for_a_person(said) { turn.lead_to_person(self.role()) } else { Flow::Stay };
        }
        if turn.wants_person(said) {
            turn.settle_consent(ConsentAnswer::Unanswered, None);
            return turn.lead_to_person(self.role());
        }
        // A yes that was heard badly is none; a no is taken however badly it was heard.
        let sure = said.confidence >= turn.plan().speech.accept;
        match grammar::yes_or_no(said) {
            Some(false) => self.answered(turn, false, ConsentHow::Speech),
            Some(true) if sure => self.answered(turn, true, ConsentHow::Speech),
            _ => self.again(turn),
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        // What is written in a chat is kept anyway: nothing is recorded there.
        match turn.consent() {
            Some(answer) => Flow::go(if answer.keeps() || !self.asks() { &self.next } else { &self.refused }),
            None if turn.writes() => Flow::go(&self.next),
            None => self.ask(turn),
        }
    }

    fn takes_human_key(&self, _turn: &Turn<'_>) -> bool {
        self.asks()
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        if !self.asks() {
            return Flow::Stay;
        }
        match key {
            key if key == turn.plan().rules.human_key => {
                turn.settle_consent(ConsentAnswer::Unanswered, None);
                Flow::Human(Sought::Key)
            }
            key if key == self.yes => self.answered(turn, true, ConsentHow::Key),
            key if key == self.no => self.answered(turn, false, ConsentHow::Key),
            _ => self.again(turn),
        }
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if !self.asks() {
            turn.settle_consent(ConsentAnswer::Announced, None);
            return Flow::go(&self.next);
        }
        turn.phase(Phase::Listening);
        if !turn.is_hearing() {
            turn.start(Timer::Silence, self.timeout);
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        if self.asks() { self.again(turn) } else { Flow::Stay }
    }
}
