//! `/api/v1/speech` and `/api/v1/conversations/{id}/transcript`: how reading along fares, what was said, and putting it right.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_conversation::event::{TranscriptCorrected, TranscriptFinal};
use ark_conversation::{CloudEvent, Content, ConversationId, Event, EventId, LegId, NewEvent, Record, Tenant};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Web;
use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::PAGE_MAX;
use crate::speech::SpeechView;

/// Most characters of a correction.
const TEXT_CHARS_MAX: usize = 4_000;

/// How reading along fares
#[utoipa::path(
    get, path = "/api/v1/speech", tag = "gateway",
    responses((status = 200, body = SpeechView), (status = 404, description = "Nobody reads along here: see [speech]", body = ErrorBody))
)]
pub(super) async fn speech(State(web): State<Arc<Web>>) -> Result<Json<SpeechView>, ApiError> {
    let view = web.control.speech().ok_or_else(|| ApiError::not_found("nobody reads along here: see [speech]"))?;
    Ok(Json(view))
}

/// What was said in a call, corrections applied, in the order in which it was said
#[derive(Serialize, ToSchema)]
pub(super) struct Transcript {
    /// The utterances.
    utterances: Vec<Utterance>,
}

/// What somebody said
#[derive(Serialize, ToSchema)]
pub(super) struct Utterance {
    /// On which leg, `L1`.
    leg: String,
    /// `customer`, `agent`, `external` or `supervisor`.
    speaker: String,
    /// Which utterance of the leg.
    utterance: u32,
    /// When it began, from the moment at which the customer's leg was answered.
    start_ms: u64,
    /// When it ended.
    end_ms: u64,
    /// The words.
    text: String,
    /// 0 to 1, where the engine says it.
    confidence: Option<f64>,
    /// `zh` or `en`, where it is known.
    language: Option<String>,
    /// What read it.
    engine: String,
    /// Who put it right.
    corrected_by: Option<String>,
    /// The recording in which it can be heard.
    recording: Option<String>,
    /// Where in it.
    recording_ms: Option<u64>,
}

/// A conversation's records, page by page.
async fn records(web: &Web, id: ConversationId, mut each: impl FnMut(Record)) -> Result<bool, ApiError> {
    let (store, tenant) = (web.control.store(), Tenant::default());
    let mut after = 0;
    loop {
        let page = store.read(&tenant, id, after, PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(after > 0) };
        after = last.seq;
        page.into_iter().for_each(&mut each);
    }
}

/// What was said in a call
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/transcript", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses((status = 200, body = Transcript), (status = 404, body = ErrorBody))
)]
pub(super) async fn transcript(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<Transcript>, ApiError> {
    let id = parse_id(&id)?;
    let mut said: BTreeMap<(LegId, u32), (TranscriptFinal, Option<TranscriptCorrected>)> = BTreeMap::new();
    let known = records(&web, id, |record| match record.event.event {
        Event::TranscriptFinal(event) => drop(said.insert((event.leg, event.utterance), (event, None))),
        Event::TranscriptCorrected(event) => {
            if let Some((_, corrected)) = said.get_mut(&(event.leg, event.utterance)) {
                *corrected = Some(event);
            }
        }
        _ => {}
    })
    .await?;
    if !known {
        return Err(ApiError::not_found(format!("there is no conversation {id}")));
    }
    let mut utterances: Vec<Utterance> = said.into_values().map(|(event, corrected)| shown(event, corrected)).collect();
    utterances.sort_by_key(|one| one.start_ms);
    Ok(Json(Transcript { utterances }))
}

fn shown(event: TranscriptFinal, corrected: Option<TranscriptCorrected>) -> Utterance {
    let text = corrected.as_ref().map_or(&event.text, |corrected| &corrected.text).reveal().to_owned();
    Utterance {
        leg: event.leg.to_string(),
        speaker: event.speaker.to_string(),
        utterance: event.utterance,
        start_ms: event.start_ms,
        end_ms: event.end_ms,
        text,
        confidence: event.confidence,
        language: event.language,
        engine: event.engine,
        corrected_by: corrected.map(|corrected| corrected.by),
        recording: event.recording,
        recording_ms: event.recording_ms,
    }
}

/// What was really said
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Correction {
    /// Who says so: an agent's name.
    #[serde(default)]
    by: Option<String>,
    /// On which leg, as in the events: its number.
    leg: u32,
    /// Which utterance of it.
    utterance: u32,
    /// The words, up to 4,000 characters.
    text: String,
}

/// Put right what was read
///
/// It goes to the log as an event; what was read stays there beside it.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/transcript", tag = "conversations", request_body = Correction,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 202, description = "It is on its way to the log"),
        (status = 404, description = "No such conversation or utterance", body = ErrorBody),
        (status = 503, description = "The log is behind; ask again", body = ErrorBody),
    )
)]
pub(super) async fn correct(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<Correction>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Correction { by, leg, utterance, text }) = request?;
    let (id, leg) = (parse_id(&id)?, LegId(leg));
    let by = grant.who(by.as_deref())?;
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(ApiError::bad_request("`text` has at most 4,000 characters"));
    }
    let mut source = None;
    records(&web, id, |record| {
        if let Event::TranscriptFinal(event) = &record.event.event
            && (event.leg, event.utterance) == (leg, utterance)
        {
            source = Some(record.event.source.clone());
        }
    })
    .await?;
    let source = source
        .ok_or_else(|| ApiError::not_found(format!("conversation {id} has no utterance {utterance} on {leg}")))?;
    let event = TranscriptCorrected { leg, utterance, text: Content::new(text.trim()), by: format!("agent:{by}") };
    let at = Timestamp::now();
    let unix = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let event = CloudEvent::new(EventId::new(unix, rand::random()).to_string(), source, at, event);
    let new = NewEvent { tenant: Tenant::default(), conversation: id, epoch: 1, at, event };
    if !web.control.log(new) {
        return Err(ApiError::unavailable("the log is behind; ask again in a moment"));
    }
    Ok(StatusCode::ACCEPTED)
}
