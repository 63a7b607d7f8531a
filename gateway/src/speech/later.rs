//! What was left for after the call: read from its recording, when there is time.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::ConversationId;
use ark_conversation::event::Role;
use ark_transcribe::stream::{StreamConfig, Ticket, Work};
use ark_transcribe::{Language, Utterance};

use super::LegInfo;
use super::file::Recorded;
use super::limits::{LATER_MAX, LATER_WAIT, RECORDINGS_MAX};

/// An utterance that was left.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) info: LegInfo,
    pub(super) utterance: u32,
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) language: Option<Language>,
}

/// One that is being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) left: Left,
    pub(super) recording: String,
    pub(super) began: Instant,
    pub(super) audio_from: Duration,
}

#[derive(Debug)]
struct Recording {
    name: String,
    path: PathBuf,
    began: Instant,
    legs: bool,
    complete: bool,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Later {
    left: VecDeque<(Instant, Left)>,
    recordings: HashMap<ConversationId, Recording>,
    reading: HashMap<u32, Reading>,
    numbers: u32,
}

/// Sound around an utterance that the engine gets, too.
const AROUND: Duration = Duration::from_millis(300);

impl Later {
    /// What stands in place of a leg.
    pub(super) const STREAM: u64 = u64::MAX;

    pub(super) fn recording(&mut self, call: ConversationId, name: String, path: PathBuf, began: Instant, legs: bool) {
        if self.recordings.len() < RECORDINGS_MAX {
            self.recordings.insert(call, Recording { name, path, began, legs, complete: false });
        }
    }

    pub(super) fn recorded(&mut self, call: ConversationId, name: &str) {
        if !self.left.iter().any(|(_, left)| left.info.conversation == call) {
            self.recordings.remove(&call);
        } else if let Some(recording) = self.recordings.get_mut(&call).filter(|recording| recording.name == name) {
            recording.complete = true;
        }
    }

    pub(super) fn leave(&mut self, left: Left) {
        if self.left.len() < LATER_MAX {
            self.left.push_back((Instant::now(), left));
        }
    }

    /// The next one whose recording is complete, cut out of it.
    pub(super) fn next(&mut self, now: Instant, config: &StreamConfig) -> Option<Work> {
        if self.left.is_empty() || !self.reading.is_empty() {
            return None;
        }
        self.left.retain(|(since, _)| now.duration_since(*since) < LATER_WAIT);
        let recordings = &self.recordings;
        let ready =
            |(_, left): &(Instant, Left)| recordings.get(&left.info.conversation).is_some_and(|one| one.complete);
        let at = self.left.iter().position(ready)?;
        let (_, left) = self.left.remove(at)?;
        let recording = self.recordings.get(&left.info.conversation)?;
        let before = recording.began.saturating_duration_since(left.info.zero);
        let from = left.start.saturating_sub(before).saturating_sub(AROUND);
        let channel = match (left.info.speaker, recording.legs) {
            (Role::Customer, _) => 0,
            (Role::Supervisor, true) => 3,
            (_, true) => 2,
            (_, false) => 1,
        };
        let until = left.end.saturating_sub(before) + AROUND;
        let samples = Recorded::open(&recording.path).and_then(|mut file| file.cut(channel, from, until));
        let samples = match samples {
            Ok(samples) => samples,
            Err(why) => {
                tracing::warn!(recording = %recording.name, %why, "what was left for after a call cannot be read");
                return None;
            }
        };
        self.numbers += 1;
        let ticket = Ticket { utterance: left.utterance, number: self.numbers, partial: false };
        let reading = Reading {
            recording: recording.name.clone(),
            began: recording.began,
            audio_from: from + before,
            left: left.clone(),
        };
        if !self.left.iter().any(|(_, other)| other.info.conversation == left.info.conversation) {
            self.recordings.remove(&left.info.conversation);
        }
        self.reading.insert(ticket.number, reading);
        let language = left.language;
        let utterance =
            Utterance { samples: samples.into(), language, words: Arc::clone(&config.words), partial: false };
        Some(Work { ticket, utterance, span: (left.start, left.end) })
    }

    /// There was no room for it even now.
    pub(super) fn forget_reading(&mut self) {
        self.reading.clear();
    }

    /// What that answer belongs to, if it is one of these.
    pub(super) fn take(&mut self, stream: u64, number: u32) -> Option<Reading> {
        if stream == Self::STREAM { self.reading.remove(&number) } else { None }
    }
}
