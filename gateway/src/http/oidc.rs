//! `/api/v1/session/oidc`: to the site's identity provider, and back.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_store::{Account, AccountChange, Credentials, NewAccount, Role, StoreError, account_name_fits};
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::error::{ApiError, ErrorBody};
use super::{Web, auth, session};
use crate::accounts::limits::OIDC_WAIT_MAX;
use crate::accounts::oidc::{Oidc, OidcError, claim, words};
use crate::config;

/// What a browser keeps while it is at the provider. `Lax`, because it comes back from another site.
const COOKIE: &str = "ark_oidc";
const BACK: &str = "/api/v1/session/oidc/callback";

/// Why somebody did not come in, as `/?sign_in=...` says it.
enum NotIn {
    /// The flow itself went wrong.
    Oidc(OidcError),
    /// Nobody here is this person, and no account is made for them.
    NoAccount,
    /// An account of this name has a password of its own, or is somebody else's.
    NameTaken,
    /// None of the provider's roles for them is one here.
    NoRole,
    /// They are shut out.
    Disabled,
    /// The store is away, or something else that is not theirs to mend.
    Api(ApiError),
}

impl NotIn {
    fn code(&self) -> &'static str {
        match self {
            Self::Oidc(OidcError::State) => "begin_again",
            Self::Oidc(OidcError::Refused(_)) => "refused",
            Self::Oidc(OidcError::Token(_)) => "wrong_token",
            Self::Oidc(_) => "provider_away",
            Self::NoAccount => "no_account",
            Self::NameTaken => "name_taken",
            Self::NoRole => "no_role",
            Self::Disabled => "disabled",
            Self::Api(_) => "unavailable",
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Oidc(error) => error.to_string(),
            Self::Api(error) => error.message().to_owned(),
            other => other.code().to_owned(),
        }
    }
}

impl From<OidcError> for NotIn {
    fn from(error: OidcError) -> Self {
        Self::Oidc(error)
    }
}

impl From<ApiError> for NotIn {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<StoreError> for NotIn {
    fn from(error: StoreError) -> Self {
        Self::Api(error.into())
    }
}

fn provider(web: &Web) -> Result<&Oidc, ApiError> {
    web.oidc.as_deref().ok_or_else(|| ApiError::not_found("this site has no identity provider: see [oidc]"))
}

/// Where the provider sends browsers back to.
fn back(web: &Web, headers: &HeaderMap) -> String {
    let scheme = if web.tls { "https" } else { "http" };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let base = web.public_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
    format!("{}{BACK}", base.trim_end_matches('/'))
}

fn cookie(web: &Web, value: &str, seconds: u64) -> Result<HeaderValue, ApiError> {
    let secure = auth::secure(web);
    let text =
        format!("{COOKIE}={value}; Path=/api/v1/session/oidc; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).map_err(|error| ApiError::internal(error.to_string()))
}

/// To the site's identity provider
#[utoipa::path(
    get, path = "/api/v1/session/oidc", tag = "accounts",
    responses(
        (status = 303, description = "To the provider's page"),
        (status = 404, description = "This site has no identity provider", body = ErrorBody),
        (status = 503, description = "The provider is out of reach", body = ErrorBody),
    )
)]
pub(super) async fn begin(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let oidc = provider(&web)?;
    let start = oidc.begin(back(&web, &headers)).await.map_err(|error| {
        tracing::warn!(%error, "nobody can sign in at the identity provider");
        ApiError::unavailable(error.to_string())
    })?;
    let to = HeaderValue::from_str(&start.location).map_err(|error| ApiError::internal(error.to_string()))?;
    let kept = cookie(&web, &start.browser, OIDC_WAIT_MAX.as_secs())?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, kept)]).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackQuery {
    /// What the provider gives for the token.
    code: Option<String>,
    /// Which request it belongs to.
    state: Option<String>,
    /// Why the provider said no.
    error: Option<String>,
}

/// Back from the site's identity provider
///
/// Leads to `/`, signed in, or to `/?sign_in=WHY`: `begin_again`, `refused`, `wrong_token`, `provider_away`, `no_account`, `name_taken`,
/// `no_role`, `disabled`, `unavailable`.
#[utoipa::path(
    get, path = "/api/v1/session/oidc/callback", tag = "accounts", params(CallbackQuery),
    responses((status = 200, description = "A page that leads on", content_type = "text/html"), (status = 404, body = ErrorBody))
)]
pub(super) async fn callback(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    query: Result<Query<CallbackQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let oidc = provider(&web)?;
    let browser = auth::cookie_of(&headers, COOKIE).unwrap_or_default().to_owned();
    let gone = cookie(&web, "", 0)?;
    let came = match come_in(&web, oidc, query, &browser).await {
        Ok(account) => session::begun(&web, account, "oidc").await.map_err(NotIn::from),
        Err(not) => Err(not),
    };
    let mut answer = match came {
        Ok((_, session)) => {
            let mut answer = on("/");
            answer.headers_mut().append(header::SET_COOKIE, session);
            answer
        }
        Err(not) => {
            tracing::warn!(code = not.code(), why = not.why(), "somebody did not come in by the identity provider");
            on(&format!("/?sign_in={}", not.code()))
        }
    };
    answer.headers_mut().append(header::SET_COOKIE, gone);
    Ok(answer)
}

/// A page that leads on. A redirect would still be the other site's doing, and browsers would keep our cookie to themselves.
fn on(to: &str) -> Response {
    let page = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url={to}\"><title>Ark</title></head>\
         <body><a href=\"{to}\">Ark</a></body></html>"
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn come_in(web: &Web, oidc: &Oidc, query: CallbackQuery, browser: &str) -> Result<Account, NotIn> {
    let state = query.state.unwrap_or_default();
    if let Some(error) = query.error {
        oidc.give_up(&state, browser)?;
        let plain: String = error.chars().filter(|c| c.is_ascii_graphic()).take(60).collect();
        return Err(OidcError::Refused(plain).into());
    }
    let claims = oidc.finish(&state, &query.code.unwrap_or_default(), browser).await?;
    account_of(web, oidc.settings(), &claims).await
}

/// What the provider says of somebody, as an account has it.
struct Said {
    subject: String,
    name: Option<String>,
    display: Option<String>,
    roles: Option<BTreeSet<Role>>,
    groups: Option<Vec<String>>,
}

impl Said {
    fn of(settings: &config::Oidc, claims: &Map<String, Value>) -> Self {
        let text = |path: &str| claim(claims, path).and_then(Value::as_str).map(str::to_owned);
        let name = text(&settings.name_claim).map(|name| name.trim().to_lowercase());
        let roles = settings.roles_claim.as_ref().map(|path| {
            let named = words(claim(claims, path));
            let role = |word: &String| {
                let word = if settings.roles.is_empty() { Some(word) } else { settings.roles.get(word) };
                word.and_then(|word| Role::parse(word))
            };
            named.iter().filter_map(role).collect()
        });
        Self {
            // No space stands in an issuer.
            subject: format!("{} {}", settings.issuer.trim_end_matches('/'), text("sub").unwrap_or_default()),
            name: name.filter(|name| account_name_fits(name).is_ok()),
            display: text("name").filter(|name| !name.trim().is_empty() && name.len() <= 100),
            roles,
            groups: settings.groups_claim.as_ref().map(|path| words(claim(claims, path))),
        }
    }

    fn change(&self, bind: bool) -> AccountChange {
        AccountChange {
            roles: self.roles.clone(),
            groups: self.groups.clone(),
            subject: bind.then(|| Some(self.subject.clone())),
            ..AccountChange::default()
        }
    }
}

/// Whose account it is: the one that is bound to who they are there; else one of their name that waits for them; else a new one.
async fn account_of(web: &Web, settings: &config::Oidc, claims: &Map<String, Value>) -> Result<Account, NotIn> {
    let (said, store) = (Said::of(settings, claims), web.control.store());
    if said.roles.as_ref().is_some_and(BTreeSet::is_empty) {
        return Err(NotIn::NoRole);
    }
    if let Some(known) = store.account_of_subject(&said.subject).await? {
        if known.disabled {
            return Err(NotIn::Disabled);
        }
        let changed = store.change_account(&known.name, said.change(false)).await?;
        return changed.ok_or(NotIn::NoAccount);
    }
    let Some(name) = said.name.clone() else { return Err(NotIn::NoAccount) };
    if let Some((waits, credentials)) = store.account(&name).await? {
        // Who may choose their name at the provider must not get what has a password here, or is somebody else's.
        if credentials != Credentials::default() {
            return Err(NotIn::NameTaken);
        }
        if waits.disabled {
            return Err(NotIn::Disabled);
        }
        return store.change_account(&name, said.change(true)).await?.ok_or(NotIn::NoAccount);
    }
    if !settings.create {
        return Err(NotIn::NoAccount);
    }
    let account = Account {
        display: said.display.unwrap_or_else(|| name.clone()),
        name,
        roles: said.roles.unwrap_or_else(|| BTreeSet::from([Role::Agent])),
        groups: said.groups.unwrap_or_default(),
        skills: Default::default(),
        languages: Default::default(),
        capacity: Default::default(),
        phone: None,
        disabled: false,
        made_at: Timestamp::now(),
        signed_in_at: None,
    };
    let credentials = Credentials { password: None, subject: Some(said.subject) };
    let new = NewAccount { account: account.clone(), credentials, first: false };
    store.put_account(new).await?;
    tracing::info!(account = account.name, by = "the identity provider", "an account was made");
    Ok(account)
}
