//! What was left for after calls, on the disk: it is read after the next start, too.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_conversation::event::Role;
use ark_conversation::{ConversationId, LegId as LegNumber, Tenant};
use ark_transcribe::Language;
use serde::{Deserialize, Serialize};

use super::later::{Left, Recording};
use super::limits::LATER_MAX;
use super::{Ask, LegInfo};
use crate::media::LegId;

/// One utterance, and where it is in which recording.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    tenant: Tenant,
    conversation: ConversationId,
    source: String,
    leg: LegNumber,
    speaker: Role,
    utterance: u32,
    start_us: u64,
    end_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    recording: String,
    path: PathBuf,
    /// When the recording began, from when the leg was answered.
    began_us: i64,
    legs: bool,
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Row {
    pub(super) fn new(left: &Left, recording: &Recording) -> Self {
        let after = us(recording.began.saturating_duration_since(left.info.zero)).cast_signed();
        let before = us(left.info.zero.saturating_duration_since(recording.began)).cast_signed();
        Self {
            tenant: left.info.tenant.clone(),
            conversation: left.info.conversation,
            source: left.info.source.clone(),
            leg: left.info.number,
            speaker: left.info.speaker,
            utterance: left.utterance,
            start_us: us(left.start),
            end_us: us(left.end),
            language: left.language,
            recording: recording.name.clone(),
            path: recording.path.clone(),
            began_us: after - before,
            legs: recording.legs,
        }
    }

    /// The same in another process, whose time begins now. Nobody writes the recording any more.
    pub(super) fn into_parts(self, now: Instant) -> (Left, Recording) {
        let shift = Duration::from_micros(self.began_us.unsigned_abs());
        let began = if self.began_us < 0 { now.checked_sub(shift) } else { now.checked_add(shift) };
        let info = LegInfo {
            leg: LegId(u64::MAX),
            tenant: self.tenant,
            conversation: self.conversation,
            source: self.source,
            number: self.leg,
            speaker: self.speaker,
            zero: now,
            ask: Ask::default(),
        };
        let (start, end) = (Duration::from_micros(self.start_us), Duration::from_micros(self.end_us));
        let left = Left { info, utterance: self.utterance, start, end, language: self.language };
        let began = began.unwrap_or(now);
        (left, Recording { name: self.recording, path: self.path, began, legs: self.legs, complete: true })
    }
}

/// The rows of a file; none when it is not there, and said aloud when it cannot be read.
pub(super) fn read(path: &Path) -> Vec<Row> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was left to be read after calls cannot be read");
            return Vec::new();
        }
    };
    let mut rows: Vec<Row> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "what was left to be read after calls is damaged, and passed over");
        Vec::new()
    });
    rows.truncate(LATER_MAX);
    rows
}

/// Writes them in place of what was there; without any the file goes.
pub(super) fn write(path: &Path, rows: &[Row]) {
    let written = if rows.is_empty() {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    } else {
        let part = path.with_extension("part");
        let bytes = serde_json::to_vec(rows).unwrap_or_default();
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path))
    };
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "what was left to be read after calls is not kept over a restart");
    }
}
