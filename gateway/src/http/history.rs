//! `GET /api/v1/history`: the whole log from a position on, in order: what analysts and archives read.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::convert::Infallible;
use std::sync::Arc;

use ark_conversation::{Record, Tenant};
use ark_store::{Store, StoreError};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::api::Numbers;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{HISTORY_PAGES, PAGE_DEFAULT, PAGE_MAX, TYPES_MAX};
use super::sight::Eyes;
use super::{Web, mask};
use crate::webhooks::wants;

const NDJSON: &str = "application/x-ndjson";

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// Only records after this position: `next` of the page before; 0: from the beginning.
    #[serde(default)]
    after: u64,
    /// A page looks at so many records at most, never more than 500. Without meaning for NDJSON, which goes to the end.
    limit: Option<usize>,
    /// Only these types, or what is below them, with commas between: `ark.call,ark.message.in.v1`.
    types: Option<String>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// A record with its place in the order of the whole log.
#[derive(Serialize, JsonSchema)]
pub(super) struct PlacedRecord {
    /// Grows from record to record, with numbers left out. Within a conversation it grows with `seq`.
    pub(super) position: u64,
    /// The record's own fields stand beside it.
    #[serde(flatten)]
    pub(super) record: Record,
}

/// A part of the whole log
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// In the order of their positions.
    #[schema(value_type = Vec<Object>)]
    records: Vec<PlacedRecord>,
    /// For `after` of the next page.
    next: u64,
    /// Whether this is the end for now. Ask again later from `next`: nothing will appear before it.
    end: bool,
}

/// Reads `types` of a query.
pub(super) fn types(list: Option<&str>) -> Result<Vec<String>, ApiError> {
    let types: Vec<String> =
        list.unwrap_or_default().split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if types.len() > TYPES_MAX {
        return Err(ApiError::bad_request(format!("`types` names {} types, more than {TYPES_MAX}", types.len())));
    }
    Ok(types)
}

/// The whole log from a position on, in order
///
/// A page at a time, or with `Accept: application/x-ndjson` everything up to the end of the log, one record a line. The order is the same
/// for everybody and for ever, and a reader that goes on from the last position gets each record once.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "conversations", params(HistoryQuery),
    responses(
        (status = 200, description = "A page, or NDJSON: a record a line", content(
            (History = "application/json"), (String = "application/x-ndjson")
        )),
        (status = 400, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn history(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let types = types(query.types.as_deref())?;
    let full = query.numbers.full();
    let (store, eyes) = (web.control.store(), Eyes::of(&web, &grant));
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if lines.into_iter().any(|accept| accept.contains(NDJSON)) {
        let place = web.stream_place()?;
        let (sender, receiver) = mpsc::channel(HISTORY_PAGES);
        // The first page says whether the store answers, while there is still a status to say it with.
        let first = page(&*store, &eyes, query.after, PAGE_MAX, &types, full).await?;
        tokio::spawn(async move {
            let mut part = first;
            while part.more {
                if sender.send(Ok::<_, Infallible>(lines_of(&part.records))).await.is_err() {
                    break;
                }
                // When the store is away the stream ends; the reader goes on from the last position it has.
                let Ok(next) = page(&*store, &eyes, part.next, PAGE_MAX, &types, full).await else { break };
                part = next;
            }
            drop(place);
        });
        let body = Body::from_stream(ReceiverStream::new(receiver));
        return Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response());
    }
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let Part { records, next, more, .. } = page(&*store, &eyes, query.after, limit, &types, full).await?;
    Ok(Json(History { records, next, end: !more }).into_response())
}

/// A look at a part of the log.
pub(super) struct Part {
    /// What is wanted of it, as it is shown.
    pub(super) records: Vec<PlacedRecord>,
    /// Where the next look begins.
    pub(super) next: u64,
    /// There was something, wanted or not: look again.
    pub(super) more: bool,
    /// A transaction under way holds something back.
    pub(super) held: bool,
}

/// Looks at up to `limit` records after a position.
pub(super) async fn page(
    store: &dyn Store,
    eyes: &Eyes,
    after: u64,
    limit: usize,
    types: &[String],
    full: bool,
) -> Result<Part, StoreError> {
    let page = store.feed(&Tenant::default(), after, limit).await?;
    let more = !page.records.is_empty();
    let mut records = Vec::new();
    for one in page.records.into_iter().filter(|one| wants(types, one.record.event.type_name())) {
        if eyes.see(&one.record).await? {
            records.push(PlacedRecord { position: one.position, record: mask::record(one.record, full) });
        }
    }
    Ok(Part { records, next: page.next, more, held: page.held })
}

fn lines_of(records: &[PlacedRecord]) -> Bytes {
    let mut out = Vec::new();
    for record in records {
        if serde_json::to_writer(&mut out, record).is_ok() {
            out.push(b'\n');
        }
    }
    out.into()
}
