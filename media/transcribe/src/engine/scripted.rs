//! An engine for tests: it says what it is told to say, in turn.

use std::collections::VecDeque;

use super::Engine;
use crate::types::{EngineError, Recognised, Utterance};

/// See the module's documentation. When its script is over it says nothing more.
#[derive(Debug, Default)]
pub struct Scripted {
    finals: VecDeque<Result<Recognised, EngineError>>,
    asked: Vec<Utterance>,
}

impl Scripted {
    /// Finals in turn. A partial is as much of the next one as there was time to say: five characters a second.
    pub fn new(finals: impl IntoIterator<Item = Result<Recognised, EngineError>>) -> Self {
        Self { finals: finals.into_iter().collect(), asked: Vec::new() }
    }

    /// Finals that are plain texts.
    pub fn texts(texts: &[&str]) -> Self {
        Self::new(texts.iter().map(|text| Ok(Recognised { text: (*text).to_owned(), ..Recognised::default() })))
    }

    /// All that it was asked.
    #[must_use]
    pub fn asked(&self) -> &[Utterance] {
        &self.asked
    }
}

impl Engine for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn recognise(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError> {
        self.asked.push(utterance.clone());
        if !utterance.partial {
            return self.finals.pop_front().unwrap_or_else(|| Ok(Recognised::default()));
        }
        let Some(Ok(next)) = self.finals.front() else { return Ok(Recognised::default()) };
        let said = (utterance.duration().as_secs_f64() * 5.0) as usize;
        Ok(Recognised { text: next.text.chars().take(said).collect(), ..Recognised::default() })
    }
}
