//! `GET /api/v1/events`: the log, live.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::convert::Infallible;
use std::sync::Arc;

use ark_bus::{Bus, Cursor, Filter, Missed, Seen, Subscription};
use ark_conversation::{ConversationId, Record, Tenant};
use ark_store::Store;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::api::{Numbers, parse_id};
use super::error::ApiError;
use super::limits::{PAGE_MAX, STREAM_KEEP_ALIVE, STREAM_QUEUE};
use super::{Web, mask};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// One conversation only. Then nothing is missed: the stream begins after `after_seq` (or the Last-Event-ID header).
    conversation: Option<String>,
    /// With `conversation`: only records after this `seq`; 0: from the beginning.
    after_seq: Option<u64>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// The log, live, as server-sent events
///
/// `event: record`, `id:` its `seq`, `data:` the record as JSON. Without `conversation` it begins now; `event: lagged` says that a slow
/// reader missed some and should read the lists again. `event: end` says that the gateway stops.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "conversations", params(StreamQuery),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream"),
        (status = 503, description = "Too many streams", body = super::error::ErrorBody),
    )
)]
pub(super) async fn stream(
    State(web): State<Arc<Web>>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let place = Arc::clone(&web.streams)
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("too many event streams are open; close some"))?;
    let conversation = query.conversation.as_deref().map(parse_id).transpose()?;
    let filter = Filter { conversation, ..Filter::default() };
    // The subscription comes before the first look into the store: what is committed meanwhile is in one of them.
    let subscription =
        web.control.bus().subscribe(filter).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let last_event = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let after = last_event.or(query.after_seq).unwrap_or(0);
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let out = Out { sender, full: query.numbers.full() };
    let (store, bus) = (web.control.store(), web.control.bus());
    tokio::spawn(async move {
        match conversation {
            Some(id) => follow(id, after, store, subscription, &out).await,
            None => everything(subscription, bus, &out).await,
        };
        drop(place);
    });
    let keep_alive = KeepAlive::new().interval(STREAM_KEEP_ALIVE);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// The reader's end. `None` from a method: the reader is gone.
struct Out {
    sender: mpsc::Sender<Result<Event, Infallible>>,
    full: bool,
}

impl Out {
    async fn record(&self, record: Record) -> Option<()> {
        let seq = record.seq;
        let data = serde_json::to_string(&mask::record(record, self.full)).ok()?;
        self.send(Event::default().event("record").id(seq.to_string()).data(data)).await
    }

    async fn sign(&self, name: &'static str) -> Option<()> {
        self.send(Event::default().event(name).data("{}")).await
    }

    async fn send(&self, event: Event) -> Option<()> {
        self.sender.send(Ok(event)).await.ok()
    }
}

/// One conversation, each record once and in order, whatever the bus misses.
async fn follow(
    id: ConversationId,
    after: u64,
    store: Arc<dyn Store>,
    mut subscription: Subscription,
    out: &Out,
) -> Option<()> {
    let mut cursor = Cursor::after(after);
    catch_up(id, &mut cursor, store.as_ref(), out).await?;
    out.sign("live").await?;
    loop {
        tokio::select! {
            () = out.sender.closed() => return None,
            next = subscription.next() => match next {
                Ok(record) => match cursor.accept(record.seq) {
                    Seen::Next => out.record(Record::clone(&record)).await?,
                    Seen::Old => {}
                    Seen::Gap { .. } => catch_up(id, &mut cursor, store.as_ref(), out).await?,
                },
                Err(Missed::Lagged { .. }) => catch_up(id, &mut cursor, store.as_ref(), out).await?,
                Err(Missed::Closed) => return out.sign("end").await,
            },
        }
    }
}

/// Sends what the store holds after the cursor.
async fn catch_up(id: ConversationId, cursor: &mut Cursor, store: &dyn Store, out: &Out) -> Option<()> {
    loop {
        // When the store is away the stream ends, and the reader comes back with the last id it saw.
        let Ok(records) = store.read(&Tenant::default(), id, cursor.seen(), PAGE_MAX).await else { return None };
        let done = records.len() < PAGE_MAX;
        for record in records {
            if cursor.accept(record.seq) == Seen::Next {
                out.record(record).await?;
            }
        }
        if done {
            return Some(());
        }
    }
}

/// Everything from now on.
async fn everything(mut subscription: Subscription, bus: Arc<dyn Bus>, out: &Out) -> Option<()> {
    // The bus is kept alive as long as somebody listens.
    let _bus = bus;
    out.sign("live").await?;
    loop {
        tokio::select! {
            () = out.sender.closed() => return None,
            next = subscription.next() => match next {
                Ok(record) => out.record(Record::clone(&record)).await?,
                Err(Missed::Lagged { .. }) => out.sign("lagged").await?,
                Err(Missed::Closed) => return out.sign("end").await,
            },
        }
    }
}
