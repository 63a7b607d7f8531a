//! Recordings, as attachments.

use std::io::SeekFrom;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use ark_conversation::{ConversationId, Event, Tenant};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::api::parse_id;
use super::error::ApiError;
use super::limits::PAGE_MAX;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// One recording of a conversation
///
/// Answers single byte ranges, so that a player can seek. Always an attachment, never to be guessed at.
#[utoipa::path(
    get,
    path = "/api/v1/conversations/{id}/recordings/{name}",
    tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), ("name" = String, Path, description = "The recording's name, from its events")),
    responses(
        (status = 200, description = "The audio: WAV or Ogg/Opus, as the recording's events say, which also name its channels", content_type = "audio/wav"),
        (status = 206, description = "The part of it that the Range header asked for", content_type = "audio/wav"),
        (status = 404, description = "No such recording", body = super::error::ErrorBody),
    )
)]
pub(super) async fn recording(
    State(web): State<Arc<Web>>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = parse_id(&id)?;
    let reference = find(&web, id, &name)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("conversation {id} has no recording `{name}`")))?;
    let path = below(&web.files, &reference)
        .ok_or_else(|| ApiError::not_found(format!("recording `{name}` is not kept below [files]")))?;
    let gone =
        |error: std::io::Error| ApiError::not_found(format!("the file of recording `{name}` cannot be read: {error}"));
    let file = File::open(&path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(gone)?.len();
    let kind = if path.extension().is_some_and(|e| e == "opus") { ("audio/ogg", "opus") } else { ("audio/wav", "wav") };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    send(file, length, range.and_then(|range| parse_range(range, length)), (id, &name), kind).await.map_err(gone)
}

/// Where the log says that a recording is kept. The name is looked for in the log: no path comes from the request.
async fn find(web: &Web, id: ConversationId, name: &str) -> Result<Option<String>, ApiError> {
    let store = web.control.store();
    let mut after = 0;
    loop {
        let records = store.read(&Tenant::default(), id, after, PAGE_MAX).await?;
        let Some(last) = records.last() else { return Ok(None) };
        after = last.seq;
        for record in &records {
            let (recording, reference) = match &record.event.event {
                Event::RecordingStarted(event) => (&event.recording, &event.reference),
                Event::RecordingFinished(event) => (&event.recording, &event.reference),
                _ => continue,
            };
            if recording == name {
                return Ok(Some(reference.clone()));
            }
        }
    }
}

/// The file of a reference below the files' folder; `None` when it would lie elsewhere, by `..` or by a link.
pub(crate) fn below(files: &FilePath, reference: &str) -> Option<PathBuf> {
    let relative = FilePath::new(reference.strip_prefix("ark-media:").unwrap_or(reference));
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let files = files.canonicalize().ok()?;
    let path = files.join(relative).canonicalize().ok()?;
    path.starts_with(&files).then_some(path)
}

/// A single range within a file of `length` bytes: first and last byte. Others are answered with the whole file, as RFC 9110 14.2 allows.
fn parse_range(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

async fn send(
    mut file: File,
    length: u64,
    range: Option<(u64, u64)>,
    (id, name): (ConversationId, &str),
    (kind, extension): (&'static str, &str),
) -> std::io::Result<Response> {
    let (first, count) = range.map_or((0, length), |(first, last)| (first, last - first + 1));
    file.seek(SeekFrom::Start(first)).await?;
    let (sender, receiver) = mpsc::channel::<std::io::Result<Vec<u8>>>(2);
    tokio::spawn(async move {
        let mut left = count;
        while left > 0 {
            let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
            let read = match file.read(&mut chunk).await {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            chunk.truncate(read);
            left -= read as u64;
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let safe: String = name
        .trim_end_matches(extension)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{id}-{safe}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if let Some((first, last)) = range {
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{length}")) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file() {
        assert_eq!(parse_range("bytes=0-", 100), Some((0, 99)));
        assert_eq!(parse_range("bytes=10-19", 100), Some((10, 19)));
        assert_eq!(parse_range("bytes=90-500", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=-5", 100), Some((95, 99)));
        assert_eq!(parse_range("bytes=5-1", 100), None);
        assert_eq!(parse_range("bytes=0-", 0), None);
        assert_eq!(parse_range("items=0-1", 100), None);
    }

    #[test]
    fn no_reference_leads_out_of_the_folder() {
        let files = std::env::temp_dir().join(format!("ark-recordings-{}", std::process::id()));
        std::fs::create_dir_all(files.join("recordings")).unwrap();
        std::fs::write(files.join("recordings/a.wav"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", files.join("recordings/link.wav")).unwrap_or(());
        assert!(below(&files, "recordings/a.wav").is_some());
        assert!(below(&files, "ark-media:recordings/a.wav").is_some());
        for wrong in ["../x", "/etc/passwd", "recordings/../../x", "recordings/link.wav", "recordings/none.wav"] {
            assert!(below(&files, wrong).is_none(), "{wrong}");
        }
        std::fs::remove_dir_all(&files).unwrap();
    }
}
