//! `/api/v1/session`: signing in and out.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ark_conversation::event::{AuditWhat, Audited};
use ark_store::{Account, AccountChange, Credentials, NewAccount, Role, Session};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::AccountView;
use super::client::{self, Peer};
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::{Web, audit, auth, sessions};
use crate::accounts::limits::SESSION_LIFE_MAX;
use crate::accounts::password::{self, PasswordError};
use crate::accounts::queues_of;

/// Who signs in
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// The account's name.
    name: String,
    /// Its password.
    password: String,
}

/// Who has signed in
#[derive(Serialize, ToSchema)]
pub(super) struct SignedIn {
    /// Their account.
    account: AccountView,
    /// The queues that they serve.
    queues: Vec<String>,
    /// Whether there is no account yet: never, when somebody has signed in.
    first: bool,
}

/// That nobody has signed in
#[derive(Serialize, ToSchema)]
pub(super) struct NotSignedIn {
    /// As of every error.
    #[schema(value_type = Object)]
    error: serde_json::Value,
    /// Whether there is no account yet: whoever has the start link makes the first one, with `POST /api/v1/session/first`.
    first: bool,
    /// Whether this browser came by the start link, and may do so.
    start_link: bool,
}

fn signed_in(web: &Web, account: Account) -> SignedIn {
    let queues = queues_of(&account, &web.queues);
    SignedIn { account: account.into(), queues, first: false }
}

/// Who has signed in here
#[utoipa::path(
    get, path = "/api/v1/session", tag = "accounts",
    responses(
        (status = 200, body = SignedIn),
        (status = 401, description = "Nobody; `first` says whether there is any account", body = NotSignedIn),
    )
)]
pub(super) async fn session(
    State(web): State<Arc<Web>>,
    grant: Option<Extension<Grant>>,
) -> Result<Response, ApiError> {
    if let Some(account) = grant.as_ref().and_then(|Extension(grant)| grant.account()) {
        return Ok(Json(signed_in(&web, account.clone())).into_response());
    }
    let first = web.control.store().accounts().await?.is_empty();
    let start_link = grant.is_some_and(|Extension(grant)| grant.is_own());
    let error = serde_json::json!({ "code": "unauthorized", "message": "nobody has signed in here" });
    Ok((StatusCode::UNAUTHORIZED, Json(NotSignedIn { error, first, start_link })).into_response())
}

/// Sign in
///
/// The answer brings the cookie `ark_session`, which no script sees. Wrong tries are counted for the account and for the address.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "accounts", request_body = SignIn,
    responses(
        (status = 200, body = SignedIn),
        (status = 401, description = "`wrong_name_or_password`: which, is not said", body = ErrorBody),
        (status = 403, description = "A page of another site asks", body = ErrorBody),
        (status = 429, description = "`too_many_tries`; Retry-After says when", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn sign_in(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    request: Result<Json<SignIn>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(SignIn { name, password }) = request?;
    if web.oidc.as_ref().is_some_and(|oidc| !oidc.settings().passwords) {
        return Err(ApiError::forbidden("people sign in at the site's identity provider here: see [oidc] passwords"));
    }
    let name = name.trim().to_lowercase();
    if ark_store::account_name_fits(&name).is_err() {
        return Err(ApiError::wrong_name_or_password());
    }
    let address = client::address(&web.proxies, peer, &headers);
    let found = match checked(&web, &name, password, address).await? {
        Checked::Right(account) => account,
        Checked::Wait(answer) => return Ok(answer),
    };
    begin(&web, found, "password").await
}

enum Checked {
    Right(Account),
    Wait(Response),
}

/// Whether a password is an account's: limited, and as long for a name that nobody has.
async fn checked(web: &Web, name: &str, presented: String, address: IpAddr) -> Result<Checked, ApiError> {
    if let Err(wait) = web.tries.take(name, address, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        tracing::warn!(account = name, %address, seconds, "too many wrong tries to sign in");
        audit::wrong_try(web, AuditWhat::SignInBlocked, None, address).await;
        let mut answer = ApiError::too_many_tries(seconds).into_response();
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(Checked::Wait(answer));
    }
    let give_back = |right| web.tries.give_back(name, address, right, Instant::now());
    let found = match web.control.store().account(name).await {
        Ok(found) => found,
        Err(error) => {
            give_back(false);
            return Err(error.into());
        }
    };
    let kept = found.as_ref().and_then(|(_, credentials)| credentials.password.clone());
    let right = match password::matches(kept, presented).await {
        Ok(right) => right,
        Err(error) => {
            give_back(false);
            return Err(error.into());
        }
    };
    match found {
        Some((account, _)) if right && !account.disabled => {
            give_back(true);
            Ok(Checked::Right(account))
        }
        found => {
            let (disabled, found_name) = found.map_or((false, None), |(one, _)| (one.disabled, Some(one.name)));
            let known = found_name.as_deref();
            tracing::warn!(account = known, %address, disabled, "a try to sign in was wrong");
            audit::wrong_try(web, AuditWhat::SignInFailed, known, address).await;
            Err(ApiError::wrong_name_or_password())
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// Begins a session; the answer carries its cookie.
pub(super) async fn begin(web: &Web, account: Account, way: &str) -> Result<Response, ApiError> {
    let (account, cookie) = begun(web, account, way).await?;
    Ok(([(header::SET_COOKIE, cookie)], Json(signed_in(web, account))).into_response())
}

/// Begins a session: its account as it is now, and the cookie.
pub(super) async fn begun(web: &Web, account: Account, way: &str) -> Result<(Account, HeaderValue), ApiError> {
    let (store, now) = (web.control.store(), Timestamp::now());
    let (session, secret): (Session, String) = sessions::new(&account.name, now)?;
    store.put_session(session).await.map_err(|error| match error {
        ark_store::StoreError::Conflict(_) => ApiError::wrong_name_or_password(),
        error => error.into(),
    })?;
    let signed_in = AccountChange { signed_in_at: Some(now), ..AccountChange::default() };
    let account = store.change_account(&account.name, signed_in).await?.unwrap_or(account);
    // One session too many may have ended another.
    web.sessions.changed();
    tracing::info!(account = account.name, way, "signed in");
    let cookie = auth::session_cookie(web, &secret, SESSION_LIFE_MAX.as_secs());
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((account, cookie))
}

/// Sign out
///
/// The session ends, and with it what it has open: sockets and streams. The cookie is taken away, also that of the start link.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "accounts",
    responses(
        (status = 204, description = "Nobody is signed in here any more"),
        (status = 403, description = "A page of another site asks", body = ErrorBody),
    )
)]
pub(super) async fn sign_out(
    State(web): State<Arc<Web>>,
    grant: Option<Extension<Grant>>,
) -> Result<Response, ApiError> {
    let session = grant.as_ref().and_then(|Extension(grant)| Some((grant.session()?, grant.account()?)));
    if let Some((session, account)) = session {
        web.control.store().end_session(session).await?;
        web.sessions.changed();
        tracing::info!(account = account.name, "signed out");
    }
    let gone = HeaderValue::from_str(&auth::session_cookie(&web, "", 0));
    let gone = gone.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// The first administrator
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct First {
    /// The account's name.
    name: String,
    /// What people call them; left out: the name.
    #[serde(default)]
    display: Option<String>,
    /// Their password: at least 10 characters.
    password: String,
}

/// Make the first account: agent, supervisor, operator and integrator in one
///
/// With the gateway's own token, or in the browser that opened the start link, while there is no account. They are signed in at once.
#[utoipa::path(
    post, path = "/api/v1/session/first", tag = "accounts", request_body = First,
    responses(
        (status = 200, body = SignedIn),
        (status = 409, description = "There is an account already", body = ErrorBody),
        (status = 422, description = "It cannot be as asked", body = ErrorBody),
    )
)]
pub(super) async fn first(
    State(web): State<Arc<Web>>,
    request: Result<Json<First>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(First { name, display, password }) = request?;
    let name = name.trim().to_lowercase();
    password::fits(&password, &name).map_err(ApiError::refused)?;
    let account = Account {
        display: display.unwrap_or_else(|| name.clone()),
        name,
        roles: BTreeSet::from(Role::ALL),
        groups: web.queues.iter().map(|queue| queue.name.clone()).collect(),
        skills: Default::default(),
        languages: Default::default(),
        capacity: Default::default(),
        phone: None,
        disabled: false,
        made_at: Timestamp::now(),
        signed_in_at: None,
    };
    let credentials = Credentials { password: Some(password::hash(password).await?), subject: None };
    let new = NewAccount { account: account.clone(), credentials, first: true };
    web.control.store().put_account(new).await.map_err(ApiError::of_token)?;
    tracing::info!(account = account.name, "the first account was made");
    let made = Audited {
        account: Some(account.name.clone()),
        by: Some("token".to_owned()),
        ..audit::of(AuditWhat::AccountMade)
    };
    audit::write(&web, made).await;
    begin(&web, account, "first").await
}

/// A new password of one's own
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one that is good now.
    old: String,
    /// The one from now on: at least 10 characters.
    new: String,
}

/// Change one's own password
///
/// Every other session of the account ends. Wrong old ones count as tries to sign in.
#[utoipa::path(
    post, path = "/api/v1/session/password", tag = "accounts", request_body = NewPassword,
    responses(
        (status = 204, description = "It is good from now on"),
        (status = 401, description = "`wrong_name_or_password`: the old one is not so", body = ErrorBody),
        (status = 422, description = "The new one is not good enough", body = ErrorBody),
        (status = 429, description = "`too_many_tries`", body = ErrorBody),
    )
)]
pub(super) async fn password(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    request: Result<Json<NewPassword>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(NewPassword { old, new }) = request?;
    let own = "this is for who has signed in; of others an operator sets it: POST /api/v1/accounts/{name}/password";
    let (account, session) = grant.account().zip(grant.session()).ok_or_else(|| ApiError::forbidden(own))?;
    password::fits(&new, &account.name).map_err(ApiError::refused)?;
    let address = client::address(&web.proxies, peer, &headers);
    if let Checked::Wait(answer) = checked(&web, &account.name, old, address).await? {
        return Ok(answer);
    }
    let hash = password::hash(new).await?;
    let change = AccountChange {
        password: Some(Some(hash)),
        keep_session: Some(session.to_owned()),
        ..AccountChange::default()
    };
    web.control.store().change_account(&account.name, change).await?;
    web.sessions.changed();
    tracing::info!(account = account.name, "a password was changed by its owner");
    let name = Some(account.name.clone());
    audit::write(&web, Audited { by: name.clone(), account: name, ..audit::of(AuditWhat::PasswordSet) }).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How people sign in here
#[derive(Serialize, ToSchema)]
pub(super) struct Ways {
    /// With a name and a password.
    password: bool,
    /// At the site's identity provider; null: there is none.
    oidc: Option<OidcWay>,
}

/// The site's identity provider
#[derive(Serialize, ToSchema)]
pub(super) struct OidcWay {
    /// What the button says.
    label: String,
}

/// How people sign in here
#[utoipa::path(get, path = "/api/v1/session/ways", tag = "accounts", responses((status = 200, body = Ways)))]
pub(super) async fn ways(State(web): State<Arc<Web>>) -> Json<Ways> {
    let settings = web.oidc.as_ref().map(|oidc| oidc.settings());
    let password = settings.is_none_or(|settings| settings.passwords);
    Json(Ways { password, oidc: settings.map(|settings| OidcWay { label: settings.label.clone() }) })
}
