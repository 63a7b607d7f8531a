//! `/api/v1/conversations/{id}/transfer`, `/summary`, `/notes` and `/api/v1/calls/{id}/hold`, `/dtmf`: from hand to hand, and what an agent does
//! while they talk. A call is handed over by the gateway that has it, a chat by the one that owns its conversation.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_conversation::event::{Needed, OfferMode, TransferMode};
use ark_conversation::summary::{Kind, Summariser, Summary};
use ark_conversation::{Content, ConversationId, ConversationState, Owner, Pii, Tenant};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::api::parse_id;
use super::desk::command;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{PAGE_MAX, SUMMARY_RECORDS_MAX};
use crate::call::{TalkAction, TransferTo, Word};
use crate::control::{CallState, CallView, TransferPhase, TransferStatus};
use crate::conversations::owner::{CommandError, Hand, Wish};

/// To whom a customer is handed: one of these
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum To {
    /// An agent: a name, or the address of their phone (`sip:...`).
    Agent(String),
    /// Whoever of a queue is first.
    Queue(String),
    /// A number outside. Calls only.
    Number(String),
    /// A `[[target]]` of the site, or one of the call's plan. Calls only.
    Target(String),
}

/// Whether the agent speaks with the target first
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// The agent is free at once; when nobody takes it they are called back.
    Blind,
    /// The agent speaks with the target first; of a chat: they keep it until it is taken.
    Warm,
}

/// A transfer
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTransfer {
    /// To whom.
    to: To,
    /// How.
    mode: How,
    /// Who transfers: an agent's name. Of a chat it must be the owner. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// A word to whoever takes it.
    #[serde(default)]
    note: Option<String>,
    /// What has happened so far, as the agent wrote it. Left out: the automatic summary.
    #[serde(default)]
    summary: Option<String>,
    /// The epoch in which the agent believes to be.
    #[serde(default)]
    epoch: Option<u64>,
    /// What an agent of the queue must be able to do, of a `blind` transfer to a queue. Left out: as before.
    #[serde(default)]
    needs: Option<NeedsBody>,
}

/// What an agent must be able to do; what nobody who works there has does not matter for long (`[[queue]] any_after`)
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NeedsBody {
    /// The customer's language, as accounts name it: `zh`, `en`.
    #[serde(default)]
    language: Option<String>,
    /// Skills with levels from 1 to 5, at most 32.
    #[serde(default)]
    skills: BTreeMap<String, u8>,
}

impl NeedsBody {
    fn read(self) -> Result<Needed, ApiError> {
        let Self { language, skills } = self;
        let needed = Needed { language, skills };
        let why = "`needs`: at most 32 skills with levels from 1 to 5, names of 1 to 64 bytes";
        if needed.fits() { Ok(needed) } else { Err(ApiError::bad_request(why)) }
    }
}

/// A transfer that began
#[derive(Serialize, ToSchema)]
pub(super) struct Began {
    /// Its name.
    transfer: String,
    /// Of a chat: the offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<String>,
    /// `ringing`: somebody is asked. `queued`: the customer waits in the queue.
    state: &'static str,
}

/// Hand a customer to somebody else
///
/// A call: the customer hears music while the target rings and while the agent speaks with them; whatever goes wrong brings the customer back to
/// a person or to the queue. A chat: an offer; until it is accepted the agent keeps the customer (`warm`), or the queue has them (`blind`).
/// Whoever is asked sees the summary and the note before they accept.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/transfer", tag = "conversations", request_body = NewTransfer,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 202, description = "It has begun", body = Began),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`stale_epoch`, `not_owner` or `closed`", body = ErrorBody),
        (status = 422, description = "It cannot go there; the message says why", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn begin(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<NewTransfer>, JsonRejection>,
) -> Result<(StatusCode, Json<Began>), ApiError> {
    let Json(mut request) = request?;
    request.by = named(&grant, request.by.as_deref())?;
    let (id, state) = known(&web, &id).await?;
    let talking = call_of(&web, id).await.filter(|call| call.state == CallState::Talking);
    let began = match talking {
        Some(_) => hand_call(&web, id, &state, request).await?,
        None => hand_chat(&web, id, &state, request).await?,
    };
    Ok((StatusCode::ACCEPTED, Json(began)))
}

/// A call, by the switch that has it.
async fn hand_call(
    web: &Web,
    id: ConversationId,
    state: &ConversationState,
    request: NewTransfer,
) -> Result<Began, ApiError> {
    let NewTransfer { to, mode, by, note, summary, epoch, needs } = request;
    let needs = needs.map(NeedsBody::read).transpose()?;
    if let Some(current) = epoch.filter(|epoch| *epoch != state.epoch).map(|_| state.epoch) {
        return Err(CommandError::StaleEpoch { current }.into());
    }
    let to = match to {
        To::Agent(name) => TransferTo::Agent(name.strip_prefix("agent:").map(str::to_owned).unwrap_or(name)),
        To::Queue(name) => TransferTo::Queue(name),
        To::Number(number) => TransferTo::Number(Pii::new(number)),
        To::Target(name) => TransferTo::Target(name),
    };
    let queued = matches!((&to, mode), (TransferTo::Queue(_), How::Blind));
    let mode = match mode {
        How::Blind => TransferMode::Blind,
        How::Warm => TransferMode::Warm,
    };
    let by = by.map(|by| by.strip_prefix("agent:").map(str::to_owned).unwrap_or(by));
    // First the summary: whoever is rung sees it.
    let (upto, text) = summary_for(web, id, summary).await?;
    let wish = Wish::Hand(Hand::Summarise { upto, text: text.clone() });
    if let Err(error) = command(web, &id.to_string(), by.as_deref().unwrap_or("ark"), wish).await {
        // The customer goes on all the same.
        tracing::warn!(conversation = %id, why = error.message(), "a transfer goes without its summary");
    }
    let by = by.map(|by| format!("agent:{by}"));
    let word = Word { by, note: note.map(Content::new), summary: Some(text), needs };
    let action = TalkAction::Transfer { to, mode, word };
    let leg = web.control.act(&id.to_string(), action).await?;
    let transfer = leg.map_or_else(|| id.to_string(), |leg| format!("{id}-{leg}"));
    Ok(Began { transfer, offer: None, state: if queued { "queued" } else { "ringing" } })
}

/// A chat, by the machine of its conversation.
async fn hand_chat(
    web: &Web,
    id: ConversationId,
    state: &ConversationState,
    request: NewTransfer,
) -> Result<Began, ApiError> {
    let NewTransfer { to, mode, by, note, summary, epoch, needs } = request;
    let needs = needs.map(NeedsBody::read).transpose()?;
    let by = by.or_else(|| match &state.owner {
        Some(Owner::Agent(name)) => Some(name.clone()),
        _ => None,
    });
    let by = by.ok_or_else(|| ApiError::refused("nobody has this conversation: claim it first"))?;
    let summary = Some(summary_for(web, id, summary).await?);
    let note = note.map(Content::new);
    let offer =
        |to: Owner, mode| Hand::Offer { epoch, to, mode, ttl_s: None, note: note.clone(), summary: summary.clone() };
    let hand = match (to, mode) {
        (To::Agent(name), mode) => {
            let name = name.strip_prefix("agent:").unwrap_or(&name);
            let to = format!("agent:{name}").parse();
            let to = to.map_err(|_| ApiError::bad_request("`to.agent` is an agent's name: 1 to 128 bytes"))?;
            offer(to, if matches!(mode, How::Blind) { OfferMode::Cold } else { OfferMode::Warm })
        }
        (To::Queue(queue), How::Blind) => {
            Hand::Release { epoch, queue, priority: 0, needs, summary: summary.clone(), note: note.clone() }
        }
        (To::Queue(queue), How::Warm) => offer(Owner::Queue(queue), OfferMode::Warm),
        (To::Number(_) | To::Target(_), _) => {
            return Err(ApiError::refused("nobody calls in this conversation: a number or a target takes calls only"));
        }
    };
    let queued = matches!(hand, Hand::Release { .. });
    let (_, done) = command(web, &id.to_string(), &by, Wish::Hand(hand)).await?;
    let offer = done.offer.map(|offer| offer.to_string());
    let transfer = offer.clone().unwrap_or_else(|| id.to_string());
    Ok(Began { transfer, offer, state: if queued { "queued" } else { "ringing" } })
}

/// Who asks
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asks {
    /// An agent's name. Of a chat: who offered it.
    #[serde(default)]
    by: Option<String>,
}

/// Bring the customer into the talk of the agent and the target: all three hear each other
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/transfer/join", tag = "conversations", request_body = Asks,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Not at this moment", body = ErrorBody),
    )
)]
pub(super) async fn join(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Asks>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    in_transfer(&web, &id, request, TalkAction::JoinTransfer).await
}

/// One thing in a transfer of a call that is under way.
async fn in_transfer(
    web: &Web,
    id: &str,
    request: Result<Json<Asks>, JsonRejection>,
    action: TalkAction,
) -> Result<StatusCode, ApiError> {
    let Json(Asks { .. }) = request?;
    web.control.act(id, action).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hand the customer over: the agent leaves
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/transfer/complete", tag = "conversations", request_body = Asks,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Not at this moment", body = ErrorBody),
    )
)]
pub(super) async fn complete(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Asks>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    in_transfer(&web, &id, request, TalkAction::CompleteTransfer).await
}

/// Take the customer back; of a chat: take the offer back
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/transfer/cancel", tag = "conversations", request_body = Asks,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 204, description = "Done"), (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`not_owner`", body = ErrorBody),
        (status = 422, description = "Not at this moment", body = ErrorBody),
    )
)]
pub(super) async fn cancel(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<Asks>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Asks { by }) = request?;
    let by = named(&grant, by.as_deref())?;
    let (id, state) = known(&web, &id).await?;
    let under_way = |call: &CallView| call.transfer.as_ref().is_some_and(|one| one.state != TransferPhase::Over);
    if call_of(&web, id).await.as_ref().is_some_and(under_way) {
        web.control.act(&id.to_string(), TalkAction::CancelTransfer).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let offer = state.offer.ok_or_else(|| ApiError::refused("the customer is not being transferred"))?;
    let by =
        by.or_else(|| offer_by(&offer.by)).ok_or_else(|| ApiError::refused("the queue offers it, and no agent"))?;
    let wish = Wish::Hand(Hand::Withdraw { offer: Some(offer.offer) });
    command(&web, &id.to_string(), &by, wish).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// In whose name it is done, where somebody has signed in or is named.
fn named(grant: &Grant, by: Option<&str>) -> Result<Option<String>, ApiError> {
    if grant.account().is_none() && by.is_none() { Ok(None) } else { grant.who(by).map(Some) }
}

fn offer_by(owner: &Owner) -> Option<String> {
    if let Owner::Agent(name) = owner { Some(name.clone()) } else { None }
}

/// Where the transfer of a conversation stands: of a call, the one that is under way or the last; of a chat, the open offer
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/transfer", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses((status = 200, body = TransferStatus), (status = 404, description = "There is none", body = ErrorBody))
)]
pub(super) async fn status(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<TransferStatus>, ApiError> {
    let (id, state) = known(&web, &id).await?;
    if let Some(transfer) = call_of(&web, id).await.and_then(|call| call.transfer) {
        return Ok(Json(transfer));
    }
    let offer = state.offer.filter(|offer| matches!(offer.by, Owner::Agent(_)));
    let offer = offer.ok_or_else(|| ApiError::not_found("the customer is not being transferred"))?;
    let mode = match offer.mode {
        OfferMode::Warm => TransferMode::Warm,
        OfferMode::Cold => TransferMode::Blind,
    };
    Ok(Json(TransferStatus {
        state: TransferPhase::Ringing,
        target: offer.to.to_string(),
        from: offer.by.to_string(),
        mode: mode.as_str().to_owned(),
        why: None,
        customer: None,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryQuery {
    /// Speak of nothing after this `seq`. Left out: of all there is.
    to_seq: Option<u64>,
}

/// What has happened so far, made of the log and of nothing else
#[derive(Serialize, ToSchema)]
pub(super) struct AutomaticSummary {
    /// `seq` of the last record that it speaks of.
    to_seq: u64,
    /// The lines: first why they came, last the last words.
    lines: Vec<SummaryLine>,
    /// The same as text, in the customer's language: what goes with a transfer unless somebody writes another.
    text: String,
}

/// A line of a summary
#[derive(Serialize, ToSchema)]
pub(super) struct SummaryLine {
    /// What it tells.
    #[schema(value_type = String, example = "reason")]
    kind: Kind,
    /// The line in both languages.
    text: BothLanguages,
    /// The records on which it stands.
    seqs: Vec<u64>,
}

/// The same in Chinese and English
#[derive(Serialize, ToSchema)]
pub(super) struct BothLanguages {
    /// Chinese.
    zh: String,
    /// English.
    en: String,
}

/// The automatic summary of a conversation
///
/// Each line says what is in the log and names its records. Nothing is in it that is erased, was taken back or is secret to the plan.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/summary", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), SummaryQuery),
    responses((status = 200, body = AutomaticSummary), (status = 404, body = ErrorBody))
)]
pub(super) async fn summary(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    query: Result<Query<SummaryQuery>, QueryRejection>,
) -> Result<Json<AutomaticSummary>, ApiError> {
    let Query(SummaryQuery { to_seq }) = query?;
    let (id, state) = known(&web, &id).await?;
    let made = summarise(&web, id, to_seq.unwrap_or(state.last_seq)).await?;
    let text = made.text(made.is_chinese());
    let lines = made.lines.into_iter().map(|line| SummaryLine {
        kind: line.kind,
        text: BothLanguages { zh: line.text.zh, en: line.text.en },
        seqs: line.seqs,
    });
    Ok(Json(AutomaticSummary { to_seq: made.to_seq, lines: lines.collect(), text }))
}

/// A note
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNote {
    /// Who writes: an agent's name. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// The words.
    text: String,
    /// Its key, 1 to 96 bytes: the same note again has the same key and is kept once. Left out: a new one.
    #[serde(default)]
    key: Option<String>,
}

/// A note that is in the log
#[derive(Serialize, ToSchema)]
pub(super) struct Noted {
    /// Its key.
    key: String,
    /// `seq` of the log's last record.
    last_seq: u64,
    /// Whether it had been kept before.
    duplicate: bool,
}

/// Leave a note for colleagues: no customer ever sees it
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/notes", tag = "conversations", request_body = NewNote,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, description = "It had been kept before", body = Noted),
        (status = 201, description = "It is in the log", body = Noted),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 422, description = "No words, or too many", body = ErrorBody),
        (status = 503, description = "Not now; ask again with the same key", body = ErrorBody),
    )
)]
pub(super) async fn note(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<NewNote>, JsonRejection>,
) -> Result<(StatusCode, Json<Noted>), ApiError> {
    let Json(NewNote { by, text, key }) = request?;
    let key = key.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let wish = Wish::Hand(Hand::Note { key: key.clone(), text: Content::new(text) });
    let (_, done) = command(&web, &id, &grant.who(by.as_deref())?, wish).await?;
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(Noted { key, last_seq: done.last_seq, duplicate: done.duplicate })))
}

/// Whether the customer hears music
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    /// Music from now on, or talk again.
    on: bool,
}

/// Let the customer hear music instead of the agent, or the two talk again
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/hold", tag = "calls", request_body = Hold,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Nobody talks, or the customer is being transferred", body = ErrorBody),
    )
)]
pub(super) async fn hold(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Hold>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Hold { on }) = request?;
    web.control.act(&id, TalkAction::Hold { on }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keys
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// 1 to 32 of `0` to `9`, `*`, `#`, `A` to `D`.
    digits: String,
}

/// Press keys towards the leg outside: of a transfer the target's, else the customer's. They are not written to the log
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/dtmf", tag = "calls", request_body = Keys,
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody),
        (status = 422, description = "Nobody talks, or these are no keys", body = ErrorBody),
    )
)]
pub(super) async fn keys(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    request: Result<Json<Keys>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(Keys { digits }) = request?;
    web.control.act(&id, TalkAction::Keys { digits: Content::new(digits) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A conversation that there is.
async fn known(web: &Web, id: &str) -> Result<(ConversationId, ConversationState), ApiError> {
    let id = parse_id(id)?;
    let state = web.control.store().summary(&Tenant::default(), id).await?;
    let state = state.ok_or_else(|| ApiError::not_found(CommandError::NoConversation(id).to_string()))?;
    Ok((id, state))
}

/// The call of a conversation that is up, wherever it is.
async fn call_of(web: &Web, id: ConversationId) -> Option<CallView> {
    let id = id.to_string();
    web.control.calls().await.into_iter().find(|call| call.conversation == id)
}

/// What goes with a transfer: as the agent wrote it, or made of the log.
async fn summary_for(web: &Web, id: ConversationId, written: Option<String>) -> Result<(u64, Content), ApiError> {
    let made = summarise(web, id, u64::MAX).await?;
    let text = written.unwrap_or_else(|| made.text(made.is_chinese()));
    Ok((made.to_seq, Content::new(text)))
}

/// Reads the log up to `to_seq`: of a very long one its end.
async fn summarise(web: &Web, id: ConversationId, to_seq: u64) -> Result<Summary, ApiError> {
    let (store, tenant) = (web.control.store(), Tenant::default());
    let last = store.summary(&tenant, id).await?.map_or(0, |state| state.last_seq).min(to_seq);
    let mut summariser = Summariser::new(Some(to_seq));
    let mut after = last.saturating_sub(SUMMARY_RECORDS_MAX);
    while after < last {
        let page = store.read(&tenant, id, after, PAGE_MAX).await?;
        let Some(end) = page.last().map(|record| record.seq) else { break };
        page.iter().for_each(|record| summariser.read(record));
        after = end;
    }
    Ok(summariser.finish())
}
