//! `/api/v1/calls/{id}/links`: companion links, made by agents and programs.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::event::LinkVia;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Web;
use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use crate::companion::LinkError;

/// A way to the caller
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// A short message to the caller's number
    Sms,
    /// The house's app, by its hook
    App,
    /// A code of six digits that is spoken, and typed at `/u`
    Code,
}

impl From<Way> for LinkVia {
    fn from(way: Way) -> Self {
        match way {
            Way::Sms => Self::Sms,
            Way::App => Self::App,
            Way::Code => Self::Code,
        }
    }
}

/// Who makes a link, and how it goes out
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLink {
    /// Who: an agent's name. Left out: the API.
    #[serde(default)]
    by: Option<String>,
    /// The ways it goes out. Left out: none, and whoever asked passes the address on.
    #[serde(default)]
    send: Vec<Way>,
}

/// A companion link
#[derive(Serialize, ToSchema)]
pub(super) struct LinkAnswer {
    /// Its name in the log.
    link: String,
    /// Its address: a secret for the caller alone.
    url: String,
    /// Until when it can be used, RFC 3339; earlier when the call ends before.
    expires: String,
    /// The code to be spoken, when one was asked for: good for 5 minutes, with the last four digits of the caller's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Where the code is typed.
    short_page: String,
    /// What became of each way.
    sent: Vec<SentWay>,
}

/// What became of a way
#[derive(Serialize, ToSchema)]
pub(super) struct SentWay {
    /// `sms`, `app` or `code`.
    way: String,
    /// Whether it is out.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Make a link by which the caller sends pictures during the call
///
/// The first device that opens and taps it has it, for 15 minutes at most and 10 after the call's end.
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/links", tag = "calls", request_body = NewLink,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 201, description = "It is made; `sent` says which way it went", body = LinkAnswer),
        (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 422, description = "No call is up, or too many links are alive", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn make(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<NewLink>, JsonRejection>,
) -> Result<(StatusCode, Json<LinkAnswer>), ApiError> {
    let Json(NewLink { by, send }) = request?;
    let id = parse_id(&id)?;
    let by = match (&by, grant.account()) {
        (None, None) => "api".to_owned(),
        _ => format!("agent:{}", grant.who(by.as_deref())?),
    };
    let companion = web.control.companion().ok_or_else(|| ApiError::unavailable("no links are made here"))?;
    let mut ways: Vec<LinkVia> = Vec::new();
    for way in send.into_iter().map(LinkVia::from) {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let minted = companion.mint(id, &by, &ways).await?;
    let sent = minted.sent.into_iter().map(|sent| SentWay {
        way: sent.via.to_string(),
        ok: sent.failed.is_none(),
        why: sent.failed,
    });
    let answer = LinkAnswer {
        link: minted.link.to_string(),
        url: minted.url,
        expires: minted.expires.to_string(),
        code: minted.code,
        short_page: companion.short_page(),
        sent: sent.collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        let message = error.to_string();
        match error {
            LinkError::NoConversation(_) | LinkError::Unknown => Self::not_found(message),
            LinkError::Unavailable(_) => Self::unavailable(message),
            _ => Self::from(crate::control::ControlError::Refused(message)),
        }
    }
}
