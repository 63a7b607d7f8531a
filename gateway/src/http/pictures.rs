//! `POST /api/v1/conversations/{id}/pictures`: an agent's picture to the customer.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::channel::{FetchFailure, FileKind};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::Web;
use super::desk::{Accepted, accepted, command};
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{PICTURE_BYTES_MAX, PICTURE_UPLOAD_MAX, PICTURES_AT_ONCE};
use crate::control::ControlError;
use crate::conversations::owner::Wish;

/// Pictures whose bytes are in memory.
static PLACES: Semaphore = Semaphore::const_new(PICTURES_AT_ONCE);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PictureQuery {
    /// Who sends it: an agent's name. Left out: who has signed in.
    by: Option<String>,
    /// The message's key, 1 to 96 bytes: the same picture again has the same key and is sent once.
    key: String,
    /// The name under which it is shown.
    name: Option<String>,
}

/// Send a picture to the customer
///
/// The body is the picture. It is decoded and encoded anew, without the place where it was taken; one that was taken before under the
/// same key is not sent again.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/pictures", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), PictureQuery),
    request_body(content_type = "image/*", content = String, description = "The picture"),
    responses(
        (status = 200, description = "It had been taken before", body = Accepted),
        (status = 201, description = "It is on its way", body = Accepted),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`not_owner` or `closed`", body = ErrorBody),
        (status = 413, description = "Larger than 20 MiB", body = ErrorBody),
        (status = 422, description = "No picture, or the channel takes none", body = ErrorBody),
        (status = 503, description = "Not now; ask again with the same key", body = ErrorBody),
    )
)]
pub(super) async fn send_picture(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    query: Result<Query<PictureQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let Query(PictureQuery { by, key, name }) = query?;
    let by = grant.who(by.as_deref())?;
    let refused = |why: String| ApiError::from(ControlError::Refused(why));
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("image/") {
        return Err(refused(format!("`Content-Type` is `{kind}`: only pictures are sent this way")));
    }
    let host = web.control.channels().ok_or_else(|| ApiError::unavailable("there are no channels here"))?;
    let _place = PLACES.acquire().await.map_err(|_| ApiError::unavailable("the gateway stops"))?;
    let large = || ApiError::too_large(format!("a picture has at most {PICTURE_BYTES_MAX} bytes"));
    let bytes = timeout(PICTURE_UPLOAD_MAX, axum::body::to_bytes(body, PICTURE_BYTES_MAX)).await;
    let bytes = bytes.map_err(|_| ApiError::unavailable("the picture did not come in time"))?.map_err(|_| large())?;
    let files = host.files().clone();
    let media = files.keep(bytes.to_vec(), FileKind::Image, name).await.map_err(|failure| match failure {
        FetchFailure::Away(error) => ApiError::unavailable(error),
        FetchFailure::TooLarge { .. } => large(),
        failure => refused(failure.to_string()),
    })?;
    let reference = media.reference.clone();
    let parts = vec![FileKind::Image.part(media)];
    let wish = Wish::Reply { key: key.clone(), epoch: None, leg: None, parts, reply_to: None };
    let done = command(&web, &id, &by, wish).await;
    // What is in no message is nobody's.
    if done.as_ref().map_or(true, |(_, done)| done.duplicate) {
        let _ = files.remove(&reference).await;
    }
    let (id, done) = done?;
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(accepted(id, done, Some(key)))))
}
