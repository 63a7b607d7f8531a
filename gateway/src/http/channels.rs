//! `/api/v1/channels` and customers' files.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::Web;
use super::error::{ApiError, ErrorBody};
use crate::channel_host::ChannelView;

/// The site's channels
#[derive(Serialize, ToSchema)]
pub(super) struct ChannelList {
    /// By name.
    channels: Vec<ChannelView>,
}

/// The site's channels and how they are
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", responses((status = 200, body = ChannelList)))]
pub(super) async fn list(State(web): State<Arc<Web>>) -> Json<ChannelList> {
    let channels = web.control.channels().map(|host| host.views()).unwrap_or_default();
    Json(ChannelList { channels })
}

/// A file that a customer sent
///
/// Always an attachment, never to be guessed at. Pictures were encoded anew when they came.
#[utoipa::path(
    get, path = "/api/v1/media/{id}", tag = "conversations",
    params(("id" = String, Path, description = "What follows `ark-media:` in a message's part")),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 404, description = "No such file", body = ErrorBody),
    )
)]
pub(super) async fn media(State(web): State<Arc<Web>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("there is no file `{id}`"));
    let host = web.control.channels().ok_or_else(missing)?;
    let (kept, path) = host.files().find(&format!("ark-media:{id}")).await.ok_or_else(missing)?;
    let file = File::open(path).await.map_err(|_| missing())?;
    let mut response = Response::new(axum::body::Body::from_stream(ReaderStream::new(file)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(kept.size));
    let kind = HeaderValue::from_str(&kept.mime).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_DISPOSITION, disposition(kept.name.as_deref(), &id));
    // It never changes: another file has another id.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    Ok(response)
}

/// As an attachment under the name that its sender gave it (RFC 6266, RFC 8187).
pub(super) fn disposition(name: Option<&str>, id: &str) -> HeaderValue {
    let mut escaped = String::new();
    for byte in name.unwrap_or(id).bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    let text = format!("attachment; filename=\"{id}\"; filename*=UTF-8''{escaped}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_an_attachment_under_its_own_name() {
        let value = disposition(Some("凭证 \"1\".jpg"), "abc");
        let expected = "attachment; filename=\"abc\"; filename*=UTF-8''%E5%87%AD%E8%AF%81%20%221%22.jpg";
        assert_eq!(value.to_str().unwrap(), expected);
    }
}
