//! Listening: what is asked of the recogniser, and what becomes of what it heard.

use std::sync::Arc;

use super::{Core, Flow, Tick, Timer, Turn};
use crate::event::{Do, Sought};
use crate::lang::Lang;
use crate::plan::{Plan, State};
use crate::speech::{Confidence, Expects, Listen, Meaning, PhraseBook, Speech, Understood, lists};
use crate::verb::Role;

/// What is being listened to, and for which visit of which state.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    visit: u32,
    pub(crate) listen: Listen,
}

impl Core {
    /// Asks for what the state of things needs: nothing, when that is being done.
    pub(crate) fn attend(&mut self, out: &mut Vec<Do>) {
        let plan = Arc::clone(&self.plan);
        let Some(mut wanted) = self.wanted(&plan) else { return self.stop_listening(out) };
        if let Some(now) = &self.listening {
            wanted.id = now.listen.id;
            if now.visit == self.entered && now.listen == wanted {
                return;
            }
        }
        self.last_id += 1;
        wanted.id = self.last_id;
        self.listening = Some(Listening { visit: self.entered, listen: wanted.clone() });
        out.push(Do::Listen(wanted));
    }

    pub(crate) fn stop_listening(&mut self, out: &mut Vec<Do>) {
        if let Some(listening) = self.listening.take() {
            out.push(Do::StopListen { id: listening.listen.id });
        }
    }

    fn wanted(&self, plan: &Plan) -> Option<Listen> {
        let settings = &plan.speech;
        if !settings.on || self.ended.is_some() || self.apologising {
            return None;
        }
        let state = self.current(plan)?;
        let node = &state.node;
        let expects = if self.scratch.proposed.is_some() { Expects::YesNo } else { node.listens(self.scratch.phase)? };
        let ear = node.ear();
        if ear.is_some_and(|ear| ear.overrides.deaf) {
            return None;
        }
        let hints = match expects {
            Expects::YesNo => lists::yes_no_hints(self.lang).iter().map(|text| Arc::from(*text)).collect(),
            Expects::Person => lists::person_hints(self.lang).iter().cloned().collect(),
            _ => self.choices(plan, state).unwrap_or_else(|| lists::person_hints(self.lang).iter().cloned().collect()),
        };
        let endpointing = ear.map_or(settings.endpointing, |ear| ear.overrides.endpointing(settings));
        Some(Listen {
            id: 0,
            lang: self.lang,
            others: plan.languages.iter().copied().filter(|lang| *lang != self.lang).collect(),
            expects,
            hints,
            barge_in: node.cut_by_speech(settings),
            secret: node.hears_secret(),
            endpointing,
        })
    }

    /// The hints of the state, or of the one where what is said will count.
    fn choices(&self, plan: &Plan, state: &State) -> Option<Arc<[Arc<str>]>> {
        const HOPS: usize = 8;
        let mut state = state;
        for _ in 0..HOPS {
            if let Some(ear) = state.node.ear() {
                return Some(ear.hints(self.lang));
            }
            let mut edges = state.node.edges();
            let next = edges.pop().filter(|_| edges.is_empty() && state.node.role() == Role::Passing)?;
            state = plan.state(&next.to.text)?;
        }
        None
    }

    pub(crate) fn speech_started(&mut self, now: Tick, id: u64, out: &mut Vec<Do>) -> Flow {
        let plan = Arc::clone(&self.plan);
        if self.listening.as_ref().is_none_or(|listening| listening.listen.id != id) || self.apologising {
            return Flow::Stay;
        }
        let Some(state) = self.current(&plan) else { return Flow::Fault };
        state.node.speech_started(&mut Turn { core: self, now, out });
        Flow::Stay
    }

    pub(crate) fn said(
        &mut self,
        now: Tick,
        id: Option<u64>,
        text: &str,
        confidence: Confidence,
        out: &mut Vec<Do>,
    ) -> Flow {
        let current = self.listening.as_ref().map(|listening| listening.listen.id);
        if id.is_some() && id != current {
            return Flow::Stay;
        }
        let speech = if id.is_some() { Speech::new(text, confidence) } else { Speech::typed(text, confidence) };
        self.understand(now, &speech, out)
    }

    /// What was said or typed, to the verb of the current state.
    pub(crate) fn understand(&mut self, now: Tick, said: &Speech, out: &mut Vec<Do>) -> Flow {
        if self.apologising {
            return Flow::Stay;
        }
        let plan = Arc::clone(&self.plan);
        let Some(state) = self.current(&plan) else { return Flow::Fault };
        let mut turn = Turn { core: self, now, out };
        turn.stop(Timer::Speech);
        state.node.said(&mut turn, said)
    }
}

impl Turn<'_> {
    /// The caller begins to speak where an answer is awaited: the clocks of silence stop, until the words come.
    pub(crate) fn hearing(&mut self) {
        let endpointing =
            self.core.listening.as_ref().map(|listening| listening.listen.endpointing).unwrap_or_default();
        if self.core.listening.as_ref().is_some_and(|listening| listening.listen.barge_in) {
            self.silence_prompt();
        }
        self.stop(Timer::Silence);
        self.stop(Timer::Digit);
        self.start(Timer::Speech, endpointing.longest + endpointing.hangover + crate::limits::SPEECH_GRACE);
    }

    /// Whether the caller is speaking, and the words have not come yet.
    pub(crate) fn is_hearing(&self) -> bool {
        self.core.timers.iter().any(|(timer, _)| *timer == Timer::Speech)
    }

    /// Whether what was said asks for a person, by words or by the human key's number.
    pub(crate) fn is_for_a_person(&self, said: &Speech) -> bool {
        let plan = self.plan();
        self.wants_person(said) || crate::speech::grammar::key(said) == Some(plan.rules.human_key)
    }

    /// Whether words for a person were said.
    pub(crate) fn wants_person(&self, said: &Speech) -> bool {
        let settings = &self.plan().speech;
        let book = PhraseBook::default();
        book.understand(said, &settings.person, settings.thresholds()) == Understood::Sure(Meaning::Person)
    }

    /// To a person, unless the caller is on the way to one.
    pub(crate) fn lead_to_person(&mut self, role: Role) -> Flow {
        if self.core.asked && role == Role::Passing { Flow::Stay } else { Flow::Human(Sought::Speech) }
    }

    /// The language changes; false: it is spoken already, or the plan has no texts in it.
    pub(crate) fn switch_language(&mut self, lang: Lang) -> bool {
        if self.core.lang == lang || !self.plan().languages.contains(&lang) {
            return false;
        }
        self.set(&Arc::from("lang"), lang.as_str());
        true
    }

    // ---- asking back ----

    /// Asks whether that key is meant.
    pub(crate) fn propose(&mut self, key: char, label: &str) {
        self.core.scratch.proposed = Some(key);
        let piece = crate::plan::asked_back_piece(self.state(), key, self.core.lang, label);
        self.play_pieces(vec![piece], true);
    }

    /// The key that was asked back.
    pub(crate) fn proposed(&self) -> Option<char> {
        self.core.scratch.proposed
    }

    /// Nothing is asked back any more.
    pub(crate) fn drop_proposal(&mut self) -> Option<char> {
        self.core.scratch.proposed.take()
    }

    /// The digits entered so far were understood with a doubt.
    pub(crate) fn doubt(&mut self, doubt: bool) {
        self.core.scratch.doubt = doubt;
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.core.scratch.doubt
    }
}
