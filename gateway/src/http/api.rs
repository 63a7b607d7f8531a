//! `/api/v1`: the handlers and the OpenAPI document that is made from them.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::{ConversationId, ConversationState, Record, Tenant};
use ark_store::{ListFilter, Openness, Page};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{PAGE_DEFAULT, PAGE_MAX, SIGHT_PAGES_MAX};
use super::scope::{self, Need};
use super::sight::Sight;
use super::{About, Web, mask};
use crate::control::{CallView, PlaceRequest, Placed, PlanView, Published};

type Answer<T> = Result<Json<T>, ApiError>;

/// Who this gateway is and how to call it
#[utoipa::path(get, path = "/api/v1/about", tag = "gateway", responses((status = 200, body = About)))]
pub(super) async fn about(State(web): State<Arc<Web>>) -> Json<About> {
    Json(web.about.clone())
}

/// The calls that are up
#[derive(Serialize, ToSchema)]
pub(super) struct Calls {
    /// The oldest first.
    calls: Vec<CallView>,
}

/// The calls that are up, the oldest first
#[utoipa::path(get, path = "/api/v1/calls", tag = "calls", responses((status = 200, body = Calls)))]
pub(super) async fn calls(State(web): State<Arc<Web>>, Extension(grant): Extension<Grant>) -> Answer<Calls> {
    let (sight, store) = (Sight::of(&web, &grant), web.control.store());
    let mut calls = web.control.calls().await;
    if !sight.is_everything() {
        let mut seen = Vec::new();
        for call in calls {
            if let Ok(id) = call.conversation.parse()
                && sight.sees_id(&*store, id).await?
            {
                seen.push(call);
            }
        }
        calls = seen;
    }
    Ok(Json(Calls { calls }))
}

/// Call somebody and guide them through a hotline's plan
///
/// The answer comes when the INVITE is on its way; what becomes of it is in the conversation's log.
#[utoipa::path(
    post, path = "/api/v1/calls", tag = "calls", request_body = PlaceRequest,
    responses(
        (status = 202, description = "It is on its way", body = Placed),
        (status = 422, description = "It cannot be done as asked", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn place(
    State(web): State<Arc<Web>>,
    request: Result<Json<PlaceRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Placed>), ApiError> {
    let Json(request) = request?;
    Ok((StatusCode::ACCEPTED, Json(web.control.place(request).await?)))
}

/// Hang a call up, whatever state it is in
#[utoipa::path(
    post, path = "/api/v1/calls/{id}/hangup", tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    responses((status = 204, description = "Done"), (status = 409, description = "`not_owner`: somebody else has the call", body = ErrorBody),
        (status = 404, description = "No such call is up", body = ErrorBody))
)]
pub(super) async fn hangup(State(web): State<Arc<Web>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    web.control.hangup(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether people's numbers are shown in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Numbers {
    /// `+86 138****12`.
    #[default]
    Masked,
    /// In full.
    Full,
}

impl Numbers {
    pub(super) fn full(self) -> bool {
        self == Self::Full
    }
}

/// Which conversations.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Which {
    /// All of them.
    #[default]
    All,
    /// Those with a leg alive.
    Open,
    /// Those that have ended.
    Ended,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// `open`, `ended` or `all`.
    #[serde(default)]
    state: Which,
    /// At most so many, never more than 500.
    limit: Option<usize>,
    /// Those before this one: `next` of the page before.
    before: Option<String>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// A page of conversations, newest first
#[derive(Serialize, ToSchema)]
pub(super) struct Conversations {
    /// Newest first.
    #[schema(value_type = Vec<Object>)]
    conversations: Vec<ConversationState>,
    /// For `before` of the next page; null when this is the last.
    next: Option<String>,
}

/// Conversations, newest first
#[utoipa::path(
    get, path = "/api/v1/conversations", tag = "conversations", params(ListQuery),
    responses((status = 200, body = Conversations), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn conversations(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Conversations> {
    let Query(query) = query?;
    let openness = match query.state {
        Which::All => Openness::All,
        Which::Open => Openness::Open,
        Which::Ended => Openness::Ended,
    };
    let before = query.before.as_deref().map(parse_id).transpose()?;
    let filter = ListFilter { openness, before, ..ListFilter::default() };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let page = seen(&web, &Sight::of(&web, &grant), filter, limit).await?;
    let full = query.numbers.full();
    let conversations = page.conversations.into_iter().map(|state| mask::conversation(state, full)).collect();
    Ok(Json(Conversations { conversations, next: page.next.map(|id| id.to_string()) }))
}

/// A page of what is seen: pages of the store are gone through until it is full, or many were.
async fn seen(web: &Web, sight: &Sight, mut filter: ListFilter, limit: usize) -> Result<Page, ApiError> {
    let store = web.control.store();
    if sight.is_everything() {
        return Ok(store.list(&Tenant::default(), filter, limit).await?);
    }
    let mut conversations = Vec::new();
    for _ in 0..SIGHT_PAGES_MAX {
        let page = store.list(&Tenant::default(), filter.clone(), PAGE_MAX).await?;
        for state in page.conversations {
            filter.before = Some(state.conversation);
            if sight.sees(&state) {
                conversations.push(state);
            }
            if conversations.len() == limit {
                return Ok(Page { conversations, next: filter.before });
            }
        }
        if page.next.is_none() {
            return Ok(Page { conversations, next: None });
        }
    }
    Ok(Page { conversations, next: filter.before })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct NumbersQuery {
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// One conversation as its log tells it
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), NumbersQuery),
    responses((status = 200, description = "The fold of its log", body = Object), (status = 404, body = ErrorBody))
)]
pub(super) async fn conversation(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    query: Result<Query<NumbersQuery>, QueryRejection>,
) -> Answer<ConversationState> {
    let Query(query) = query?;
    let id = parse_id(&id)?;
    let state = web.control.store().summary(&Tenant::default(), id).await?.ok_or_else(|| no_conversation(id))?;
    Ok(Json(mask::conversation(state, query.numbers.full())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Only records after this `seq`; 0: from the beginning.
    #[serde(default)]
    after_seq: u64,
    /// At most so many, never more than 500.
    limit: Option<usize>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// A part of a conversation's log
#[derive(Serialize, ToSchema)]
pub(super) struct Log {
    /// The records in the order of their `seq`; see channels/conversation/schemas.
    #[schema(value_type = Vec<Object>)]
    records: Vec<Record>,
}

/// A conversation's log
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/events", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), EventsQuery),
    responses((status = 200, body = Log), (status = 404, body = ErrorBody))
)]
pub(super) async fn conversation_events(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer<Log> {
    let Query(query) = query?;
    let id = parse_id(&id)?;
    let store = web.control.store();
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let records = store.read(&Tenant::default(), id, query.after_seq, limit).await?;
    if records.is_empty() && store.summary(&Tenant::default(), id).await?.is_none() {
        return Err(no_conversation(id));
    }
    let full = query.numbers.full();
    Ok(Json(Log { records: records.into_iter().map(|record| mask::record(record, full)).collect() }))
}

/// The plans that hotlines use
#[derive(Serialize, ToSchema)]
pub(super) struct Plans {
    /// In the order of their names.
    plans: Vec<PlanView>,
}

/// The plans that hotlines use, with their versions
#[utoipa::path(get, path = "/api/v1/plans", tag = "plans", responses((status = 200, body = Plans)))]
pub(super) async fn plans(State(web): State<Arc<Web>>) -> Json<Plans> {
    Json(Plans { plans: web.control.plans().await })
}

/// What to publish
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBody {
    /// The plan's text; left out: the configured file is read again.
    #[serde(default)]
    source: Option<String>,
}

/// Check, test and prepare a plan, and make it live for new calls
///
/// Calls that are up go on with the version they began with. When something is wrong, the live version stays and the answer says what.
#[utoipa::path(
    post, path = "/api/v1/plans/{name}/publish", tag = "plans", request_body = PublishBody,
    params(("name" = String, Path, description = "The plan's name")),
    responses(
        (status = 200, description = "It is live", body = Published),
        (status = 404, description = "No hotline uses such a plan", body = ErrorBody),
        (status = 422, description = "It did not pass; the diagnostics are in the message", body = ErrorBody),
    )
)]
pub(super) async fn publish(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    body: Result<Json<PublishBody>, JsonRejection>,
) -> Answer<Published> {
    let Json(body) = body?;
    Ok(Json(web.control.publish(&name, body.source).await?))
}

/// Which version to take up again
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackBody {
    /// The version; left out: the one that was live before.
    #[serde(default)]
    version: Option<u32>,
}

/// Make an earlier version of a plan live again
#[utoipa::path(
    post, path = "/api/v1/plans/{name}/rollback", tag = "plans", request_body = RollbackBody,
    params(("name" = String, Path, description = "The plan's name")),
    responses(
        (status = 200, description = "It is live", body = Published),
        (status = 404, description = "No such plan or version", body = ErrorBody),
        (status = 422, description = "It cannot be taken up", body = ErrorBody),
    )
)]
pub(super) async fn rollback(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    body: Result<Json<RollbackBody>, JsonRejection>,
) -> Answer<Published> {
    let Json(body) = body?;
    Ok(Json(web.control.rollback(&name, body.version).await?))
}

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "gateway", responses((status = 200, body = Object)))]
pub(super) async fn openapi_json() -> Json<Value> {
    Json(openapi())
}

/// What is told by itself: the event stream and webhooks, as an AsyncAPI 3.0 document
#[utoipa::path(get, path = "/api/v1/asyncapi.json", tag = "gateway", responses((status = 200, body = Object)))]
pub(super) async fn asyncapi_json() -> Json<Value> {
    Json(super::asyncapi())
}

/// A conversation's id from a path or a query.
pub(super) fn parse_id(text: &str) -> Result<ConversationId, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("`{text}` is not a conversation's id: that is a ULID of 26 letters and digits"))
    })
}

fn no_conversation(id: ConversationId) -> ApiError {
    ApiError::not_found(format!("there is no conversation {id}"))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ark",
        description = "The API of an Ark gateway. Everything here needs a token as `Authorization: Bearer ...`: the gateway's own, of data/ark.token, which opens \
                       everything, or one of `ark token create` with the scope that the operation's `security` names; or the cookie of \
                       `POST /api/v1/session`, for what the account's roles open. \
                       People's numbers are masked unless `numbers=full` is asked for."
    ),
    paths(
        super::bus::dead, super::bus::replay, super::channels::list, super::channels::media, about, calls, place, hangup,
        super::talk::mute, super::talk::recording, super::talk::start_recording, super::talk::stop_recording, super::talk::supervise,
        super::talk::supervise_as, super::talk::stop_supervising, conversations, conversation, conversation_events, super::recordings::recording,
        super::desk::messages, super::desk::send, super::desk::claim, super::desk::resolve, super::typing::typing,
        super::callback::ask, super::callback::cancel, super::transfer::begin, super::transfer::join, super::transfer::complete, super::transfer::cancel, super::transfer::status,
        super::transfer::summary, super::transfer::note, super::transfer::hold, super::transfer::keys,
        super::speech::speech, super::speech::transcript, super::speech::correct,
        super::pictures::send_picture, super::persons::find, super::persons::person, super::persons::merge, super::persons::unmerge,
        super::quick::list, super::quick::put, super::search::search,
        super::links::make, super::erasures::erase, super::events::stream, super::history::history, plans, publish, rollback,
        super::webhooks::list, super::webhooks::deliveries, super::webhooks::enable, super::webhooks::replay_dead,
        super::webhooks::test, super::webhooks::replay, super::rtc::token, asyncapi_json, openapi_json,
        super::tokens::list, super::tokens::make, super::tokens::revoke,
        super::accounts::list, super::accounts::make, super::accounts::one, super::accounts::change, super::accounts::remove,
        super::accounts::password, super::audit::list, super::session::session, super::session::sign_in, super::session::sign_out, super::session::first,
        super::session::password, super::session::ways, super::oidc::begin, super::oidc::callback, super::reveal::reveal,
        super::agents::view, super::agents::presence, super::agents::accept, super::agents::decline, super::agents::agents,
        super::agents::queues, super::agents::wallboard
    ),
    components(schemas(Numbers, Which, super::webhooks::WhichDeliveries)),
    security(("token" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The OpenAPI document of `/api/v1`. The log's own types come from ark-conversation, which says them in the same JSON Schema dialect.
pub fn openapi() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("an OpenAPI document is JSON");
    let own: [(&str, schemars::Schema); 3] = [
        ("Record", schemars::schema_for!(Record)),
        ("PlacedRecord", schemars::schema_for!(super::history::PlacedRecord)),
        ("ConversationState", schemars::schema_for!(ConversationState)),
    ];
    let components = document["components"]["schemas"].as_object_mut().expect("there are schemas");
    for (name, schema) in own {
        add_component(components, name, schema);
    }
    let reference = |name: &str| serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
    document["components"]["schemas"]["Log"]["properties"]["records"]["items"] = reference("Record");
    document["components"]["schemas"]["History"]["properties"]["records"]["items"] = reference("PlacedRecord");
    document["components"]["schemas"]["Conversations"]["properties"]["conversations"]["items"] =
        reference("ConversationState");
    let one = &mut document["paths"]["/api/v1/conversations/{id}"]["get"]["responses"]["200"]["content"];
    one["application/json"]["schema"] = reference("ConversationState");
    say_scopes(&mut document);
    document
}

/// Says at each operation which scope a token needs, and what a token without it hears.
fn say_scopes(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let Ok(method) = http::Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let (scopes, why) = match scope::need(&method, path) {
                Need::Open => {
                    operation["security"] = serde_json::json!([]);
                    continue;
                }
                Need::Any => continue,
                Need::Role(role) => {
                    (Vec::new(), format!("For accounts with the role `{}`, or the gateway's own token", role.as_str()))
                }
                Need::One(scope) => (vec![scope.as_str()], format!("The token lacks the scope `{}`", scope.as_str())),
                Need::Own => (Vec::new(), "This needs the gateway's own token".to_owned()),
            };
            operation["security"] = serde_json::json!([{ "token": scopes }]);
            let schema = serde_json::json!({ "$ref": "#/components/schemas/ErrorBody" });
            let known = operation["responses"]["403"]["description"].as_str().map(|known| format!("{known}. {why}"));
            operation["responses"]["403"] = serde_json::json!({
                "description": known.unwrap_or(why), "content": { "application/json": { "schema": schema } }
            });
        }
    }
}

/// Adds a schema to a document's components, and beside it what it defines for itself.
pub(super) fn add_component(components: &mut Map<String, Value>, name: &str, schema: schemars::Schema) {
    let mut schema = schema.to_value();
    let inner = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("$id");
        schema.remove("$defs")
    });
    for (inner_name, inner) in inner.as_ref().and_then(Value::as_object).into_iter().flatten() {
        components.insert(inner_name.clone(), at_home(inner.clone()));
    }
    components.insert(name.to_owned(), at_home(schema));
}

/// Turns references to `$defs` into references to the document's own components.
fn at_home(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replace("#/$defs/", "#/components/schemas/");
                    }
                    other => *other = at_home(other.take()),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = at_home(item.take())),
        _ => {}
    }
    schema
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = openapi();
        let documented: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = super::super::api_routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(documented, served);
    }

    /// Follows every reference of a document.
    pub(in crate::http) fn references_lead_somewhere(value: &Value, root: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(root.pointer(pointer).is_some(), "{target}");
                }
                fields.values().for_each(|value| references_lead_somewhere(value, root));
            }
            Value::Array(items) => items.iter().for_each(|value| references_lead_somewhere(value, root)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = openapi();
        references_lead_somewhere(&document, &document);
    }

    #[test]
    fn the_openapi_document_is_the_kept_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
        let now = format!("{}\n", serde_json::to_string_pretty(&openapi()).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == now, "the API has changed: UPDATE=1 cargo test -p ark openapi, and look at the difference");
    }
}
