//! `/api/v1/calls/{id}/...`: what may be done while people talk.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::LegId;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Web;
use super::error::{ApiError, ErrorBody};
use crate::call::TalkAction;
use crate::config::{RecordingChannels, RecordingFormat};
use crate::control::Supervision;

/// Who comes to supervise, and how
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Supervise {
    /// A SIP address (`sip:2001@127.0.0.1:5080`), or a number that a `[[route]]` carries.
    to: String,
    /// What they do.
    mode: Supervision,
}

/// A supervisor who is being called
#[derive(Serialize, ToSchema)]
pub(super) struct Supervisor {
    /// Their leg: by it they are told to do something else, or to go.
    leg: u32,
}

/// Call a supervisor into the talk
///
/// They hear both sides from the moment they answer. Who hears them follows from `mode`. The answer comes when their
/// phone is being rung; that they take part is `ark.call.supervised.v1` in the conversation's log.
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/supervisors", tag = "calls", request_body = Supervise,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 202, description = "Their phone is being rung", body = Supervisor),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Nobody talks, or they cannot be called", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn supervise(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Supervise>, JsonRejection>,
) -> Result<(StatusCode, Json<Supervisor>), ApiError> {
    let Json(Supervise { to, mode }) = request?;
    let leg = web.control.act(&id, TalkAction::Supervise { to, mode: mode.into() }).await?;
    Ok((StatusCode::ACCEPTED, Json(Supervisor { leg: leg.map_or(0, |leg| leg.0) })))
}

/// What a supervisor is to do
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SuperviseAs {
    /// What they do from now on.
    mode: Supervision,
}

/// Let a supervisor do something else: listen, whisper, talk with both, or take over
#[utoipa::path(
    patch, path = "/api/v1/calls/{id}/supervisors/{leg}", tag = "calls", request_body = SuperviseAs,
    params(("id" = String, Path, description = "The call's id"), ("leg" = u32, Path, description = "Their leg")),
    responses((status = 204, description = "Done"), (status = 404, description = "No such call or leg is up", body = ErrorBody))
)]
pub(super) async fn supervise_as(
    State(web): State<Arc<Web>>,
    Path((id, leg)): Path<(String, u32)>,
    request: Result<Json<SuperviseAs>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(SuperviseAs { mode }) = request?;
    web.control.act(&id, TalkAction::SuperviseAs { leg: LegId(leg), mode: mode.into() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a supervisor go; the talk goes on
#[utoipa::path(
    delete, path = "/api/v1/calls/{id}/supervisors/{leg}", tag = "calls",
    params(("id" = String, Path, description = "The call's id"), ("leg" = u32, Path, description = "Their leg")),
    responses((status = 204, description = "Done"), (status = 404, description = "No such call or leg is up", body = ErrorBody))
)]
pub(super) async fn stop_supervising(
    State(web): State<Arc<Web>>,
    Path((id, leg)): Path<(String, u32)>,
) -> Result<StatusCode, ApiError> {
    web.control.act(&id, TalkAction::StopSupervising { leg: LegId(leg) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a voice is kept from the others
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mute {
    /// From now on.
    muted: bool,
}

/// Keep a leg's voice from all others, or let it through again
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/legs/{leg}/mute", tag = "calls", request_body = Mute,
    params(("id" = String, Path, description = "The call's id"), ("leg" = u32, Path, description = "The leg")),
    responses((status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call or leg is up", body = ErrorBody))
)]
pub(super) async fn mute(
    State(web): State<Arc<Web>>,
    Path((id, leg)): Path<(String, u32)>,
    request: Result<Json<Mute>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Mute { muted }) = request?;
    web.control.act(&id, TalkAction::Mute { leg: LegId(leg), muted }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a call is recorded; what is left out is as the site says
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The kind of file.
    format: Option<RecordingFormat>,
    /// What is in its channels.
    channels: Option<RecordingChannels>,
}

/// Record a call from now on
///
/// `ark.recording.started.v1` in the conversation's log names the recording.
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/recordings", tag = "calls", request_body = Record,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "Done"),
        (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "It is recorded already, or not answered yet", body = ErrorBody),
    )
)]
pub(super) async fn start_recording(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Record>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Record { format, channels }) = request?;
    let action = TalkAction::StartRecording { format: format.map(Into::into), layout: channels.map(Into::into) };
    web.control.act(&id, action).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End the recording of a call
#[utoipa::path(
    delete, path = "/api/v1/calls/{id}/recordings", tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "Done"),
        (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "It is not recorded", body = ErrorBody),
    )
)]
pub(super) async fn stop_recording(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    web.control.act(&id, TalkAction::StopRecording).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether recordings keep what is said
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseRecording {
    /// Silence is recorded from now on.
    paused: bool,
}

/// Pause the call's recordings (while a card number is read out, say), or let them go on
///
/// Their time goes on in silence: what is said later stands where it was said.
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/recording", tag = "calls", request_body = PauseRecording,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "Done"),
        (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Nothing is recorded", body = ErrorBody),
    )
)]
pub(super) async fn recording(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<PauseRecording>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(PauseRecording { paused }) = request?;
    web.control.act(&id, TalkAction::PauseRecordings { paused }).await?;
    Ok(StatusCode::NO_CONTENT)
}
