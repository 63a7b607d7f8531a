//! `/api/v1/accounts`: who works here, for operators.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ark_conversation::event::{AuditWhat, Audited};
use ark_conversation::routing::Capacity;
use ark_store::{Account, AccountChange, Credentials, NewAccount, Role, StoreError};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::AUDIT_DETAIL_BYTES_MAX;
use super::{Web, audit};
use crate::accounts::password;

/// Somebody who works here
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// What they sign in with, and what logs call them.
    pub name: String,
    /// What people call them.
    pub display: String,
    /// `agent`, `supervisor`, `operator`, `integrator`.
    pub roles: Vec<String>,
    /// The skill groups that they belong to.
    pub groups: Vec<String>,
    /// Skills with levels from 1 to 5.
    pub skills: BTreeMap<String, u8>,
    /// Languages with levels from 1 to 5.
    pub languages: BTreeMap<String, u8>,
    /// How much they take at once.
    pub capacity: CapacityView,
    /// The SIP address of their telephone; null: they speak in the browser.
    pub phone: Option<String>,
    /// Whether they are shut out.
    pub disabled: bool,
    /// When the account was made, RFC 3339.
    pub created: String,
    /// When they signed in last.
    pub signed_in: Option<String>,
}

/// How much an agent takes at once
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityView {
    /// Calls: 0 or 1.
    pub calls: u32,
    /// Chats, without a call.
    pub chats: u32,
    /// Chats beside a call.
    pub chats_beside_call: u32,
}

impl From<Capacity> for CapacityView {
    fn from(Capacity { calls, chats, chats_beside_call }: Capacity) -> Self {
        Self { calls, chats, chats_beside_call }
    }
}

impl From<CapacityView> for Capacity {
    fn from(CapacityView { calls, chats, chats_beside_call }: CapacityView) -> Self {
        Self { calls, chats, chats_beside_call }
    }
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            name: account.name,
            display: account.display,
            roles: account.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            groups: account.groups,
            skills: account.skills,
            languages: account.languages,
            capacity: account.capacity.into(),
            phone: account.phone,
            disabled: account.disabled,
            created: account.made_at.to_string(),
            signed_in: account.signed_in_at.map(|at| at.to_string()),
        }
    }
}

/// Everybody who works here, by name
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountList {
    /// By name.
    pub accounts: Vec<AccountView>,
}

/// An account that is wanted
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccountBody {
    /// Its name: 1 to 64 of a-z, 0-9 and `. _ - @ +`, the first a letter or digit.
    pub name: String,
    /// Its password, at least 10 characters; left out: they sign in at the identity provider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Everything else; what is left out is as the best guess: an agent with the usual capacity, of no group.
    #[serde(flatten)]
    pub profile: ProfileBody,
}

/// What is said of an account; what is left out stays as it is
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ProfileBody {
    /// What people call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// `agent`, `supervisor`, `operator`, `integrator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The skill groups that they belong to: a queue of that name is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Skills with levels from 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skills: Option<BTreeMap<String, u8>>,
    /// Languages with levels from 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<BTreeMap<String, u8>>,
    /// How much they take at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityView>,
    /// The SIP address of their telephone; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Whether they are shut out: their sessions end at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// What is to be otherwise about an account
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
pub(super) struct ChangeBody(ProfileBody);

/// A password that an operator sets
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    /// The new one, at least 10 characters. Every session of the account ends.
    pub password: String,
}

fn roles(words: &[String]) -> Result<BTreeSet<Role>, ApiError> {
    let role = |word: &String| {
        Role::parse(word).ok_or_else(|| {
            ApiError::refused(format!(
                "there is no role `{word}`; there are {}",
                Role::ALL.map(Role::as_str).join(", ")
            ))
        })
    };
    words.iter().map(role).collect()
}

impl ProfileBody {
    fn change(self) -> Result<AccountChange, ApiError> {
        Ok(AccountChange {
            display: self.display,
            roles: self.roles.as_deref().map(roles).transpose()?,
            groups: self.groups,
            skills: self.skills,
            languages: self.languages,
            capacity: self.capacity.map(Into::into),
            phone: self.phone.map(|phone| Some(phone).filter(|phone| !phone.is_empty())),
            disabled: self.disabled,
            ..AccountChange::default()
        })
    }
}

fn no_account(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no account `{name}`"))
}

/// Who works here; for operators
#[utoipa::path(get, path = "/api/v1/accounts", tag = "accounts", responses((status = 200, body = AccountList)))]
pub(super) async fn list(State(web): State<Arc<Web>>) -> Result<Json<AccountList>, ApiError> {
    let accounts = web.control.store().accounts().await?;
    Ok(Json(AccountList { accounts: accounts.into_iter().map(AccountView::from).collect() }))
}

/// One account; for operators
#[utoipa::path(
    get, path = "/api/v1/accounts/{name}", tag = "accounts",
    params(("name" = String, Path, description = "The account's name")),
    responses((status = 200, body = AccountView), (status = 404, body = ErrorBody))
)]
pub(super) async fn one(State(web): State<Arc<Web>>, Path(name): Path<String>) -> Result<Json<AccountView>, ApiError> {
    let found = web.control.store().account(&name).await?;
    found.map(|(account, _)| Json(account.into())).ok_or_else(|| no_account(&name))
}

/// Make an account; for operators
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts", request_body = NewAccountBody,
    responses(
        (status = 201, description = "They may sign in", body = AccountView),
        (status = 409, description = "There is one of this name", body = ErrorBody),
        (status = 422, description = "It cannot be as asked", body = ErrorBody),
    )
)]
pub(super) async fn make(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    request: Result<Json<NewAccountBody>, JsonRejection>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let Json(NewAccountBody { name, password, profile }) = request?;
    let name = name.trim().to_lowercase();
    let change = profile.change()?;
    let account = Account {
        display: change.display.unwrap_or_else(|| name.clone()),
        name,
        roles: change.roles.unwrap_or_else(|| BTreeSet::from([Role::Agent])),
        groups: change.groups.unwrap_or_default(),
        skills: change.skills.unwrap_or_default(),
        languages: change.languages.unwrap_or_default(),
        capacity: change.capacity.unwrap_or_default(),
        phone: change.phone.flatten(),
        disabled: change.disabled.unwrap_or(false),
        made_at: Timestamp::now(),
        signed_in_at: None,
    };
    let mut credentials = Credentials::default();
    if let Some(password) = password {
        password::fits(&password, &account.name).map_err(ApiError::refused)?;
        credentials.password = Some(password::hash(password).await?);
    }
    let new = NewAccount { account: account.clone(), credentials, first: false };
    web.control.store().put_account(new).await.map_err(ApiError::of_token)?;
    let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
    let detail = format!("roles: {}", roles.join(", "));
    done(&web, &grant, AuditWhat::AccountMade, &account.name, Some(detail)).await;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Writes down what was done to an account, and by whom.
async fn done(web: &Web, grant: &Grant, what: AuditWhat, name: &str, detail: Option<String>) {
    let by = grant.account().map_or("token", |account| &account.name).to_owned();
    tracing::info!(account = name, by, %what, detail, "an account");
    let (by, account) = (Some(by), Some(name.to_owned()));
    audit::write(web, Audited { by, account, detail, ..audit::of(what) }).await;
}

/// What of an account is otherwise: what decides what they may, and the names of the rest.
fn in_words(change: &AccountChange) -> String {
    let mut words = Vec::new();
    if let Some(roles) = &change.roles {
        words.push(format!("roles: {}", roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")));
    }
    if let Some(groups) = &change.groups {
        words.push(format!("groups: {}", groups.join(", ")));
    }
    words.extend(change.disabled.map(|disabled| if disabled { "shut out" } else { "let in again" }.to_owned()));
    let rest = [
        ("display", change.display.is_some()),
        ("skills", change.skills.is_some()),
        ("languages", change.languages.is_some()),
        ("capacity", change.capacity.is_some()),
        ("phone", change.phone.is_some()),
    ];
    words.extend(rest.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.to_owned()));
    let mut words = words.join("; ");
    while words.len() > AUDIT_DETAIL_BYTES_MAX {
        words.pop();
    }
    words
}

/// Change an account; for operators
///
/// What is left out stays. Who is shut out (`disabled`) is out at once: sessions end here now, at other gateways within seconds.
#[utoipa::path(
    patch, path = "/api/v1/accounts/{name}", tag = "accounts", request_body = ChangeBody,
    params(("name" = String, Path, description = "The account's name")),
    responses(
        (status = 200, body = AccountView),
        (status = 404, body = ErrorBody),
        (status = 409, description = "It is the last operator who could sign in", body = ErrorBody),
        (status = 422, description = "It cannot be as asked", body = ErrorBody),
    )
)]
pub(super) async fn change(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(name): Path<String>,
    request: Result<Json<ChangeBody>, JsonRejection>,
) -> Result<Json<AccountView>, ApiError> {
    let Json(ChangeBody(profile)) = request?;
    let change = profile.change()?;
    let loses =
        change.disabled == Some(true) || change.roles.as_ref().is_some_and(|roles| !roles.contains(&Role::Operator));
    if loses {
        not_the_last_operator(&web, &name).await?;
    }
    let shown = in_words(&change);
    let changed = web.control.store().change_account(&name, change).await.map_err(ApiError::of_token)?;
    let changed = changed.ok_or_else(|| no_account(&name))?;
    web.sessions.changed();
    done(&web, &grant, AuditWhat::AccountChanged, &name, Some(shown)).await;
    Ok(Json(changed.into()))
}

/// An operator must stay who can sign in: else only the gateway's own token helps.
async fn not_the_last_operator(web: &Web, name: &str) -> Result<(), ApiError> {
    let accounts = web.control.store().accounts().await?;
    let mut operators =
        accounts.iter().filter(|one| !one.disabled && one.is(Role::Operator)).map(|one| one.name.as_str());
    if operators.next() == Some(name) && operators.next().is_none() {
        return Err(ApiError::conflict(format!(
            "`{name}` is the last operator who can sign in: make another one first"
        )));
    }
    Ok(())
}

/// Remove an account; for operators
///
/// Its sessions end. What logs say of it stays.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{name}", tag = "accounts",
    params(("name" = String, Path, description = "The account's name")),
    responses(
        (status = 204, description = "There is no such account any more"),
        (status = 404, body = ErrorBody),
        (status = 409, description = "It is the last operator who could sign in", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    not_the_last_operator(&web, &name).await?;
    if !web.control.store().remove_account(&name).await? {
        return Err(no_account(&name));
    }
    web.sessions.changed();
    done(&web, &grant, AuditWhat::AccountRemoved, &name, None).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Set an account's password; for operators
///
/// Every session of the account ends.
#[utoipa::path(
    post, path = "/api/v1/accounts/{name}/password", tag = "accounts", request_body = PasswordBody,
    params(("name" = String, Path, description = "The account's name")),
    responses(
        (status = 204, description = "It is good from now on"),
        (status = 404, body = ErrorBody),
        (status = 422, description = "It is not good enough", body = ErrorBody),
    )
)]
pub(super) async fn password(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(name): Path<String>,
    request: Result<Json<PasswordBody>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(PasswordBody { password }) = request?;
    password::fits(&password, &name).map_err(ApiError::refused)?;
    let hash = password::hash(password).await?;
    let change = AccountChange { password: Some(Some(hash)), ..AccountChange::default() };
    let changed = web.control.store().change_account(&name, change).await;
    let changed: Result<_, StoreError> = changed;
    changed?.ok_or_else(|| no_account(&name))?;
    web.sessions.changed();
    done(&web, &grant, AuditWhat::PasswordSet, &name, None).await;
    Ok(StatusCode::NO_CONTENT)
}
