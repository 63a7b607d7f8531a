//! `GET /api/v1/search`: words that customers and the house wrote and said, in the conversations that the caller may see.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_conversation::{ConversationId, ConversationState, Event, Record, Tenant};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Numbers, parse_id};
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{
    SEARCH_DEFAULT, SEARCH_EXCERPT_BEFORE, SEARCH_EXCERPT_CHARS, SEARCH_MAX, SEARCH_PER_CONVERSATION_MAX,
    SEARCH_WINDOWS_MAX,
};
use super::sight::Sight;
use super::{Web, mask};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchQuery {
    /// The words, 1 to 64 characters, as they stand there; letters of either case are the same.
    q: String,
    /// Where to go on: `next` of the answer before.
    before: Option<String>,
    /// So many places at most, never more than 50.
    limit: Option<usize>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// Where words were found
#[derive(Serialize, ToSchema)]
pub(super) struct Places {
    /// Newest conversations first, and of each the newest words first, 5 at most.
    hits: Vec<Hit>,
    /// The conversations that are named.
    #[schema(value_type = Vec<Object>)]
    conversations: Vec<ConversationState>,
    /// For `before` of the next request; none: the whole log was looked through. There may be a next and no hit: the log is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One place
#[derive(Serialize, ToSchema)]
struct Hit {
    /// The conversation.
    conversation: String,
    /// Which record of its log.
    seq: u64,
    /// When, RFC 3339.
    at: String,
    /// The record's type.
    #[serde(rename = "type")]
    kind: String,
    /// Who: `customer`, `agent`, `bot`, `system`, `supervisor`, `external`, or `note` of an internal note.
    who: String,
    /// What was said, around the words: 160 characters at most.
    text: String,
}

/// Find words in messages, transcripts and notes
///
/// Only conversations that the caller may see are looked at. The newest come first; the log is looked through in windows, so that an answer
/// may be short, or empty, and still have a `next`.
#[utoipa::path(
    get, path = "/api/v1/search", tag = "conversations", params(SearchQuery),
    responses((status = 200, body = Places), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn search(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Json<Places>, ApiError> {
    let Query(SearchQuery { q, before, limit, numbers }) = query?;
    let limit = limit.unwrap_or(SEARCH_DEFAULT).clamp(1, SEARCH_MAX);
    let mut before = before.as_deref().map(place).transpose()?;
    let (store, sight, tenant) = (web.control.store(), Sight::of(&web, &grant), Tenant::default());
    let mut seen: BTreeMap<ConversationId, (Option<ConversationState>, usize)> = BTreeMap::new();
    let mut hits = Vec::new();
    for _ in 0..SEARCH_WINDOWS_MAX {
        let found = store.search(&tenant, &q, before).await.map_err(|error| match error {
            ark_store::StoreError::Refused(why) => ApiError::bad_request(format!("`q`: {why}")),
            error => error.into(),
        })?;
        before = found.next;
        for record in found.records {
            if hits.len() == limit {
                break;
            }
            let id = record.conversation;
            if let std::collections::btree_map::Entry::Vacant(vacant) = seen.entry(id) {
                let state = store.summary(&tenant, id).await?.filter(|state| sight.sees(state));
                vacant.insert((state, 0));
            }
            let Some((Some(_), count)) = seen.get_mut(&id) else { continue };
            *count += 1;
            if *count <= SEARCH_PER_CONVERSATION_MAX {
                before = (hits.len() + 1 == limit).then_some((id, record.seq)).or(before);
                hits.extend(hit(&record, &q));
            }
        }
        if hits.len() >= limit || before.is_none() {
            break;
        }
    }
    let named = seen.into_values().rev().filter(|(_, count)| *count > 0).filter_map(|(state, _)| state);
    let conversations = named.map(|state| mask::conversation(state, numbers.full())).collect();
    let next = before.map(|(id, seq)| format!("{id}-{seq}"));
    Ok(Json(Places { hits, conversations, next }))
}

/// Reads `before`.
fn place(text: &str) -> Result<(ConversationId, u64), ApiError> {
    let wrong = || ApiError::bad_request("`before` is the `next` of an answer");
    let (id, seq) = text.split_once('-').ok_or_else(wrong)?;
    Ok((parse_id(id)?, seq.parse().map_err(|_| wrong())?))
}

fn hit(record: &Record, words: &str) -> Option<Hit> {
    let event = &record.event.event;
    let text = excerpt(ark_store::says(event, words)?, words);
    let who = match event {
        Event::MessageIn(_) => "customer",
        Event::MessageOut(message) => message.sender.role.as_str(),
        Event::TranscriptFinal(said) => said.speaker.as_str(),
        Event::Note(_) => "note",
        _ => "",
    };
    Some(Hit {
        conversation: record.conversation.to_string(),
        seq: record.seq,
        at: record.at.to_string(),
        kind: event.type_name().to_owned(),
        who: who.to_owned(),
        text,
    })
}

/// What stands around the words.
fn excerpt(text: &str, words: &str) -> String {
    let (lower, wanted) = (text.to_lowercase(), words.trim().to_lowercase());
    let at = lower.find(&wanted).map_or(0, |byte| lower[..byte].chars().count());
    let begin = at.saturating_sub(SEARCH_EXCERPT_BEFORE);
    let part: String = text.chars().skip(begin).take(SEARCH_EXCERPT_CHARS).collect();
    let (front, back) = (begin > 0, text.chars().count() > begin + SEARCH_EXCERPT_CHARS);
    let dots = |there: bool| if there { "…" } else { "" };
    format!("{}{}{}", dots(front), part.split_whitespace().collect::<Vec<_>>().join(" "), dots(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_the_words_and_what_is_around_them() {
        assert_eq!(excerpt("我想退货", "退货"), "我想退货");
        let long = format!("{}退货{}", "前".repeat(100), "后".repeat(300));
        let part = excerpt(&long, "退货");
        assert!(part.starts_with("…前") && part.contains("前退货后") && part.ends_with("后…"), "{part}");
        assert_eq!(part.chars().count(), SEARCH_EXCERPT_CHARS + 2);
        assert_eq!(excerpt("Two\nlines", "LINES"), "Two lines");
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let id = ConversationId::new(7, 7);
        assert_eq!(place(&format!("{id}-12")).unwrap(), (id, 12));
        for bad in ["", "x", "x-1", &format!("{id}-"), &format!("{id}-x")] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
