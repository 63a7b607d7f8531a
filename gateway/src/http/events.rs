//! `GET /api/v1/events`: the log, live.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::convert::Infallible;
use std::sync::Arc;

use ark_bus::{Bus, Cursor, Filter, Missed, Seen, Subscription};
use ark_conversation::{ConversationId, Record, Tenant};
use ark_store::Store;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::api::{Numbers, parse_id};
use super::error::ApiError;
use super::grant::Grant;
use super::history::PlacedRecord;
use super::limits::{FEED_EVERY, FEED_POLL, PAGE_MAX, STREAM_KEEP_ALIVE, STREAM_QUEUE};
use super::sight::{Eyes, Sight};
use super::{Web, mask};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// One conversation only: the stream begins after `after_seq` (or the Last-Event-ID header).
    conversation: Option<String>,
    /// With `conversation`: only records after this `seq`; 0: from the beginning.
    after_seq: Option<u64>,
    /// Without `conversation`: only records after this position; 0: from the beginning. Left out: from now on.
    after: Option<u64>,
    /// Only these types, or what is below them, with commas between: `ark.call,ark.message.in.v1`. Without `conversation` only.
    types: Option<String>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

impl StreamQuery {
    /// The types that are wanted, when the parameters go together.
    fn types_that_fit(&self) -> Result<Vec<String>, ApiError> {
        if self.conversation.is_some() && (self.after.is_some() || self.types.is_some()) {
            let why = "`after` and `types` are for the whole log; with `conversation` use `after_seq`";
            return Err(ApiError::bad_request(why));
        }
        if self.conversation.is_none() && self.after_seq.is_some() {
            let why = "`after_seq` needs `conversation`; the whole log has positions: `after`";
            return Err(ApiError::bad_request(why));
        }
        super::history::types(self.types.as_deref())
    }
}

/// The log, live, as server-sent events
///
/// `event: record`, `data:` the record as JSON. `id:` is its `seq` when one conversation is followed, and its `position` in the whole log
/// otherwise: with it as Last-Event-ID a reader that lost its connection gets each record once, in order. `event: live` says that the
/// history has been told (its `id:` is up to where the whole log was read), `event: end` that the gateway stops. A reader of one
/// conversation sees each `seq` in turn; one of everything sees positions grow, with numbers left out.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "conversations", params(StreamQuery),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream"),
        (status = 400, description = "A parameter that does not fit", body = super::error::ErrorBody),
        (status = 503, description = "Too many streams", body = super::error::ErrorBody),
    )
)]
pub(super) async fn stream(
    State(web): State<Arc<Web>>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let conversation = query.conversation.as_deref().map(parse_id).transpose()?;
    let types = query.types_that_fit()?;
    if let Some(id) = conversation
        && !Sight::of(&web, &grant).sees_id(&*web.control.store(), id).await?
    {
        return Err(ApiError::not_found(format!("there is no conversation {id}")));
    }
    let place = web.stream_place()?;
    let filter = Filter { conversation, ..Filter::default() };
    // The subscription comes before the first look into the store: what is committed meanwhile is in one of them.
    let subscription =
        web.control.bus().subscribe(filter).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let last_event: Option<u64> = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let eyes = Eyes::of(&web, &grant);
    let out = Out { sender, full: query.numbers.full(), eyes };
    let (store, bus) = (web.control.store(), web.control.bus());
    let (tokens, sessions, kept) = (Arc::clone(&web.tokens), Arc::clone(&web.sessions), Arc::clone(&store));
    if let Some(id) = conversation {
        let after = last_event.or(query.after_seq).unwrap_or(0);
        tokio::spawn(async move {
            tokio::select! {
                _ = follow(id, after, store, subscription, &out) => {}
                () = grant.over(&tokens, &sessions, &*kept) => {}
            }
            drop(place);
        });
    } else {
        let after = match last_event.or(query.after) {
            Some(after) => after,
            None => store.feed_end().await?,
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = everything(after, &types, store, subscription, bus, &out) => {}
                () = grant.over(&tokens, &sessions, &*kept) => {}
            }
            drop(place);
        });
    }
    let keep_alive = KeepAlive::new().interval(STREAM_KEEP_ALIVE);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// The reader's end. `None` from a method: the reader is gone.
struct Out {
    sender: mpsc::Sender<Result<Event, Infallible>>,
    full: bool,
    eyes: Eyes,
}

impl Out {
    async fn record(&self, record: Record) -> Option<()> {
        let seq = record.seq;
        // When the store is away the stream ends, and the reader comes back.
        if !self.eyes.see(&record).await.ok()? {
            return Some(());
        }
        let data = serde_json::to_string(&mask::record(record, self.full)).ok()?;
        self.send(Event::default().event("record").id(seq.to_string()).data(data)).await
    }

    async fn placed(&self, record: &PlacedRecord) -> Option<()> {
        let data = serde_json::to_string(record).ok()?;
        self.send(Event::default().event("record").id(record.position.to_string()).data(data)).await
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

/// The whole log after a position, each record once and in order: read from the store; the bus says when to look.
async fn everything(
    mut after: u64,
    types: &[String],
    store: Arc<dyn Store>,
    mut subscription: Subscription,
    bus: Arc<dyn Bus>,
    out: &Out,
) -> Option<()> {
    // The bus is kept alive as long as somebody listens.
    let _bus = bus;
    let mut told = false;
    loop {
        let looked = Instant::now();
        // When the store is away the stream ends, and the reader comes back with the last id it saw.
        let page = super::history::page(&*store, &out.eyes, after, PAGE_MAX, types, out.full).await.ok()?;
        after = page.next;
        for record in &page.records {
            out.placed(record).await?;
        }
        if page.more {
            continue;
        }
        if !std::mem::replace(&mut told, true) {
            let live = Event::default().event("live").id(after.to_string()).data("{}");
            out.send(live).await?;
        }
        let wait = if page.held { FEED_EVERY } else { FEED_POLL };
        tokio::select! {
            () = out.sender.closed() => return None,
            () = tokio::time::sleep(wait) => {}
            next = subscription.next() => match next {
                Ok(_) | Err(Missed::Lagged { .. }) => {}
                Err(Missed::Closed) => return out.sign("end").await,
            },
        }
        tokio::time::sleep_until(looked + FEED_EVERY).await;
        // What was told meanwhile is in the next look.
        while let Some(next) = subscription.try_next() {
            if next == Err(Missed::Closed) {
                return out.sign("end").await;
            }
        }
    }
}
