//! What was left for after the call: read from its recording, when there is time. It is kept over a restart.

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
use super::kept::{self, Row};
use super::limits::{LATER_MAX, LATER_SAVE_EVERY, LATER_WAIT, RECORDINGS_MAX};

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
    pub(super) recording: Recording,
    pub(super) audio_from: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) began: Instant,
    pub(super) legs: bool,
    pub(super) complete: bool,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Later {
    left: VecDeque<(Instant, Left)>,
    recordings: HashMap<ConversationId, Recording>,
    reading: HashMap<u32, Reading>,
    numbers: u32,
    /// Where it is kept; none: nowhere.
    file: Option<PathBuf>,
    /// Since when the file says something else.
    changed: Option<Instant>,
}

/// Sound around an utterance that the engine gets, too.
const AROUND: Duration = Duration::from_millis(300);

impl Later {
    /// What stands in place of a leg.
    pub(super) const STREAM: u64 = u64::MAX;

    /// What an earlier process left, and from now on kept in this file.
    pub(super) fn open(file: PathBuf, now: Instant) -> Self {
        let mut later = Self::default();
        for row in kept::read(&file) {
            let (left, recording) = row.into_parts(now);
            if recording.path.exists() {
                later.recordings.insert(left.info.conversation, recording);
                later.left.push_back((now, left));
            }
        }
        if !later.left.is_empty() {
            tracing::info!(utterances = later.left.len(), "what an earlier process left is read from its recordings");
        }
        later.file = Some(file);
        later
    }

    /// Keeps it, some time after a change; `at_once` at the end of the process.
    pub(super) fn save(&mut self, now: Instant, at_once: bool) {
        let due = self.changed.is_some_and(|since| at_once || now.duration_since(since) >= LATER_SAVE_EVERY);
        if let (Some(file), true) = (&self.file, due) {
            self.changed = None;
            let left =
                self.left.iter().filter_map(|(_, left)| Some((left, self.recordings.get(&left.info.conversation)?)));
            let reading = self.reading.values().map(|reading| (&reading.left, &reading.recording));
            let rows: Vec<Row> = left.chain(reading).map(|(left, recording)| Row::new(left, recording)).collect();
            kept::write(file, &rows);
        }
    }

    fn change(&mut self, now: Instant) {
        self.changed.get_or_insert(now);
    }

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
            let now = Instant::now();
            self.left.push_back((now, left));
            self.change(now);
        }
    }

    /// The next one whose recording is complete, cut out of it.
    pub(super) fn next(&mut self, now: Instant, config: &StreamConfig) -> Option<Work> {
        if self.left.is_empty() || !self.reading.is_empty() {
            return None;
        }
        let before = self.left.len();
        self.left.retain(|(since, _)| now.duration_since(*since) < LATER_WAIT);
        if self.left.len() < before {
            self.change(now);
        }
        let recordings = &self.recordings;
        let ready =
            |(_, left): &(Instant, Left)| recordings.get(&left.info.conversation).is_some_and(|one| one.complete);
        let at = self.left.iter().position(ready)?;
        let (_, left) = self.left.remove(at)?;
        let recording = self.recordings.get(&left.info.conversation)?.clone();
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
                self.change(now);
                return None;
            }
        };
        self.numbers += 1;
        let ticket = Ticket { utterance: left.utterance, number: self.numbers, partial: false };
        let reading = Reading { recording, audio_from: from + before, left: left.clone() };
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
        self.change(Instant::now());
    }

    /// What that answer belongs to, if it is one of these.
    pub(super) fn take(&mut self, stream: u64, number: u32) -> Option<Reading> {
        let taken = if stream == Self::STREAM { self.reading.remove(&number) } else { None };
        if taken.is_some() {
            self.change(Instant::now());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use ark_conversation::{LegId as LegNumber, Tenant};

    use super::*;
    use crate::media::LegId;
    use crate::speech::{Ask, LegInfo};

    /// A recording of two seconds: the first channel counts its samples, the second is silent.
    fn wav(path: &std::path::Path) {
        let samples: Vec<u8> = (0..16_000_i16).flat_map(|n| [n.to_le_bytes(), [0, 0]].concat()).collect();
        let length = u32::try_from(samples.len()).unwrap();
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((36 + length).to_le_bytes());
        bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
        bytes.extend(8_000_u32.to_le_bytes());
        bytes.extend(32_000_u32.to_le_bytes());
        bytes.extend(b"\x04\0\x10\0data");
        bytes.extend(length.to_le_bytes());
        bytes.extend(samples);
        std::fs::write(path, bytes).unwrap();
    }

    fn left(call: ConversationId, zero: Instant, utterance: u32) -> Left {
        let info = LegInfo {
            leg: LegId(1),
            tenant: Tenant::MAIN,
            conversation: call,
            source: "/ark/main/sip/carrier/x".to_owned(),
            number: LegNumber(1),
            speaker: Role::Customer,
            zero,
            ask: Ask::default(),
        };
        let (start, end) = (Duration::from_millis(1_500), Duration::from_millis(2_000));
        Left { info, utterance, start, end, language: Some(Language::Zh) }
    }

    #[test]
    fn what_was_left_is_read_after_a_restart_from_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let (file, recording) = (folder.path().join("later.json"), folder.path().join("call.wav"));
        wav(&recording);
        let (zero, call) = (Instant::now(), ConversationId::new(1, 7));
        let began = zero + Duration::from_millis(500);
        let config = StreamConfig::default();
        let mut first = Later::open(file.clone(), zero);
        first.recording(call, "call".to_owned(), recording, began, false);
        first.leave(left(call, zero, 3));
        first.leave(left(call, zero, 4));
        first.save(zero, false);
        assert!(!file.exists(), "not at each change");
        first.save(zero, true);
        drop(first);

        // Killed in the middle of the call: nobody says that the recording is complete, and it is read nonetheless.
        let now = Instant::now();
        let mut second = Later::open(file.clone(), now);
        let work = second.next(now, &config).expect("there is something to read");
        let around = AROUND.as_secs_f64();
        let samples = work.utterance.samples.len();
        let wanted = (0.5 + 2.0 * around) * f64::from(ark_transcribe::limits::RATE_HZ);
        assert!((samples as f64 - wanted).abs() < 800.0, "{samples} samples, {wanted} wanted");
        assert_eq!(work.utterance.language, Some(Language::Zh));
        let reading = second.take(Later::STREAM, work.ticket.number).expect("it is one of these");
        assert_eq!((reading.left.utterance, reading.left.info.conversation), (3, call));
        assert_eq!(reading.recording.name, "call");
        assert_eq!(reading.audio_from, Duration::from_millis(1_200));
        second.save(now, true);
        drop(second);

        let mut third = Later::open(file.clone(), now);
        let work = third.next(now, &config).expect("the other one is left");
        third.save(now, true);
        assert!(file.exists(), "one that is being read is not read yet");
        assert_eq!(third.take(Later::STREAM, work.ticket.number).unwrap().left.utterance, 4);
        third.save(now, true);
        assert!(!file.exists(), "nothing is left");
    }

    #[test]
    fn a_list_that_is_damaged_or_whose_recordings_are_gone_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (file, recording) = (folder.path().join("later.json"), folder.path().join("call.wav"));
        wav(&recording);
        let (now, call) = (Instant::now(), ConversationId::new(1, 7));
        let mut later = Later::open(file.clone(), now);
        later.recording(call, "call".to_owned(), recording.clone(), now, false);
        later.leave(left(call, now, 3));
        later.save(now, true);
        std::fs::remove_file(recording).unwrap();
        assert!(Later::open(file.clone(), now).next(now, &StreamConfig::default()).is_none());
        std::fs::write(&file, "[{\"tenant\": ").unwrap();
        assert!(Later::open(file, now).next(now, &StreamConfig::default()).is_none());
    }
}
