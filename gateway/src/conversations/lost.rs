//! After a crash: calls that the log still shows as open are closed in it, and their recordings are mended.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ark_conversation::event::{CallLost, RecordingCause, RecordingFinished};
use ark_conversation::{ConversationId, LegId, NewEvent};
use ark_media::record::{HEADER_BYTES, RATE_HZ, repair};
use ark_store::{ListFilter, Openness, Store, StoreError};

use super::Writer;

/// Conversations looked at in one go.
const PAGE: usize = 100;
/// Recordings that one call may have.
const RECORDINGS_MAX: u32 = 1_000;

/// At start: calls that the log still shows as open died with an earlier process of this gateway; the log says so, and what
/// they recorded is made whole up to its last second. Gives how many calls there were.
///
/// # Errors
/// What the store says. A recording that cannot be mended is only warned of.
pub async fn close_lost_calls(store: &dyn Store, writer: &Writer, recordings: &Path) -> Result<usize, StoreError> {
    let mut lost = 0;
    let mut before = None;
    loop {
        let filter = ListFilter { openness: Openness::Open, before, ..ListFilter::default() };
        let page = store.list(&writer.tenant, filter, PAGE).await?;
        for state in &page.conversations {
            let mut events = mend_all(writer, state.conversation, recordings);
            let event = CallLost {
                leg: None,
                gateway: writer.gateway.clone(),
                reason: "the gateway stopped while this call was up".to_owned(),
            };
            events.push(writer.event(state.conversation, "calls", event));
            store.append(events).await?;
            lost += 1;
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(lost),
        }
    }
}

fn mend_all(writer: &Writer, conversation: ConversationId, folder: &Path) -> Vec<NewEvent> {
    let mut events = Vec::new();
    for number in 1..=RECORDINGS_MAX {
        let name = format!("{conversation}-{number}.wav");
        let path = folder.join(&name);
        if !path.is_file() {
            break;
        }
        match mend(&path) {
            Ok(Some(bytes)) => {
                let event = finished(name, bytes);
                events.push(writer.event(conversation, "recordings", event));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a recording that a crash cut short cannot be mended");
            }
        }
    }
    events
}

fn finished(name: String, bytes: u64) -> RecordingFinished {
    let audio = bytes.saturating_sub(HEADER_BYTES as u64);
    RecordingFinished {
        leg: LegId(1),
        reference: format!("ark-media:recordings/{name}"),
        recording: name,
        // Two channels of 16 bits.
        duration_ms: audio / 4 * 1_000 / u64::from(RATE_HZ),
        bytes,
        sha256: None,
        cause: RecordingCause::Hangup,
    }
}

/// Makes the header of a recording agree with the length of its file. Gives its bytes when it had to be mended.
fn mend(path: &PathBuf) -> io::Result<Option<u64>> {
    let mut first = [0; HEADER_BYTES];
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut first)?;
    let Some(mends) = repair(&first, length) else { return Ok(None) };
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(mends.file_bytes)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&mends.header)?;
    file.sync_all()?;
    Ok(Some(mends.file_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_cut_short_is_whole_up_to_its_last_sample() {
        let path = std::env::temp_dir().join(format!("ark-mend-{}.wav", std::process::id()));
        let mut bytes = ark_media::record::header(4 * 8_000).to_vec();
        bytes.extend(std::iter::repeat_n(1_u8, 4 * 12_000 + 3));
        std::fs::write(&path, &bytes).unwrap();
        let whole = HEADER_BYTES as u64 + 4 * 12_000;
        assert_eq!(mend(&path).unwrap(), Some(whole));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        assert_eq!(std::fs::read(&path).unwrap()[..HEADER_BYTES], ark_media::record::header(4 * 12_000));
        assert_eq!(mend(&path).unwrap(), None, "it is whole now");
        assert_eq!(finished("x".to_owned(), whole).duration_ms, 1_500);
        std::fs::remove_file(&path).unwrap();
    }
}
