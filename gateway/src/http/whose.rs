//! Who has a call: an agent does nothing in a call of somebody else's.
//!
//! Who has signed in as an agent and is no supervisor may end, hold, record, mute or hand over a call only while they talk in it, and press its
//! keys. Supervisors may, and tokens: programs act for the house.

use ark_conversation::event::{Medium, Role as LegRole};
use ark_conversation::{ConversationId, ConversationState, LegPhase, Owner, Tenant};
use ark_store::Role;
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request};
use http::Method;

use super::Web;
use super::error::ApiError;
use super::grant::Grant;
use crate::conversations::owner::CommandError;

/// Lets a request pass that does nothing in somebody else's call.
///
/// # Errors
/// 409 `not_owner`.
pub(super) async fn let_act(web: &Web, grant: &Grant, request: Request) -> Result<Request, ApiError> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let account = grant.account().filter(|account| !account.is(Role::Supervisor));
    let Some(account) = account.filter(|_| acts_in_a_call(request.method(), path)).cloned() else {
        return Ok(request);
    };
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| ApiError::bad_request("the path cannot be read"))?;
    let id = params.iter().next().and_then(|(_, value)| value.parse::<ConversationId>().ok());
    let request = Request::from_parts(parts, body);
    let Some(id) = id else { return Ok(request) };
    if let Some(desk) = web.control.desk()
        && desk.has_call(&account.name, id)
    {
        return Ok(request);
    }
    let Some(state) = web.control.store().summary(&Tenant::default(), id).await? else { return Ok(request) };
    match who_has(&state, |phone| {
        phone.strip_prefix("web:") == Some(account.name.as_str()) || Some(phone) == account.phone.as_deref()
    }) {
        // Nobody calls there: what may be done in a chat its machine says.
        None => Ok(request),
        Some(Has::Asker) => Ok(request),
        Some(Has::Other(owner)) if owner == Owner::Agent(account.name.clone()) => Ok(request),
        Some(Has::Other(owner)) => Err(CommandError::NotOwner { owner }.into()),
    }
}

/// Whether that path does something in a call.
fn acts_in_a_call(method: &Method, path: &str) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    path.starts_with("/api/v1/calls/{id}/") || path.starts_with("/api/v1/conversations/{id}/transfer")
}

/// Who has the call of a conversation.
#[derive(Debug, PartialEq, Eq)]
enum Has {
    /// The one who asks: a leg of theirs is up.
    Asker,
    /// Somebody else: an agent, the plan, or the queue.
    Other(Owner),
}

/// None: no call is up.
fn who_has(state: &ConversationState, is_theirs: impl Fn(&str) -> bool) -> Option<Has> {
    let mut calls = state.legs.iter().filter(|leg| leg.medium == Medium::Call);
    calls.clone().find(|leg| !matches!(leg.phase, LegPhase::Ended | LegPhase::Offered))?;
    let up = |leg: &&ark_conversation::LegState| matches!(leg.phase, LegPhase::Active | LegPhase::Held);
    let mut agents = calls.clone().filter(|leg| leg.role == LegRole::Agent).filter(up);
    if agents.clone().any(|leg| is_theirs(leg.to.reveal())) {
        return Some(Has::Asker);
    }
    if let Some(other) = agents.next() {
        let phone = other.to.reveal();
        let name = phone.strip_prefix("web:").map_or_else(|| ark_conversation::mask_number(phone), str::to_owned);
        return Some(Has::Other(Owner::Agent(name)));
    }
    // Nobody talks: it is whose the conversation is, and while they wait the queue's.
    let queue = state.queue.clone().filter(|_| calls.any(|leg| leg.role == LegRole::Customer));
    let owner = queue.map(Owner::Queue).or_else(|| state.owner.clone());
    owner.map(Has::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_acts_in_a_call_is_looked_at() {
        for (path, _) in super::super::api_routes() {
            let in_a_call = path.starts_with("/api/v1/calls/{id}") || path.contains("{id}/transfer");
            assert_eq!(acts_in_a_call(&Method::POST, path), in_a_call, "{path}");
            assert!(!acts_in_a_call(&Method::GET, path), "{path}: who sees it is another question");
        }
    }
}
