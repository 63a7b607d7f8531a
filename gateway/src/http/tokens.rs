//! API tokens: shown once when they are made, kept as hashes, looked up in a copy of the store's table that is a few seconds old
//! at most. `/api/v1/tokens` makes, lists and takes them back, for integrators.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ark_store::{ApiToken, Store};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Web;
use super::error::ApiError;
use super::grant::Grant;
use super::limits::{TOKEN_ASK_EVERY, TOKEN_FRESH, TOKEN_STALE_MAX, TOKEN_USED_EVERY};
use super::scope::Scope;
use super::token::hex;

/// What every API token begins with: secret scanners and people know it by that.
const PREFIX: &str = "ark_";
/// Letters and digits of a token's public part.
const ID_CHARS: usize = 12;
/// Letters and digits of its secret part: 256 bits.
const SECRET_CHARS: usize = 64;

/// The store's table, as it was read last.
#[derive(Default)]
struct Copy {
    read: Option<Instant>,
    asked: Option<Instant>,
    tokens: HashMap<String, ApiToken>,
}

/// The tokens of the site.
#[derive(Default)]
pub(super) struct Tokens {
    copy: tokio::sync::Mutex<Copy>,
    /// When each was last written down as used.
    used: Mutex<HashMap<String, Timestamp>>,
}

impl Tokens {
    /// What a presented token opens; none: it is no token, or no good any more.
    ///
    /// # Errors
    /// The store has been away for so long that nothing is known.
    pub(super) async fn grant(&self, store: Arc<dyn Store>, presented: &str) -> Result<Option<Grant>, ApiError> {
        let Some((id, secret)) = parts(presented) else { return Ok(None) };
        let found = self.find(&*store, id).await?;
        // The same work whether there is such a token or not.
        let hash = hex(&Sha256::digest(secret));
        let kept = found.as_ref().map_or("", |token| token.sha256.as_str());
        let same: bool = hash.as_bytes().ct_eq(kept.as_bytes()).into();
        let now = Timestamp::now();
        let Some(token) = found.filter(|token| same && token.is_good(now)) else { return Ok(None) };
        self.write_down(store, &token, now);
        let scopes = token.scopes.iter().filter_map(|word| Scope::parse(word)).collect();
        Ok(Some(Grant::of_token(token.id, scopes)))
    }

    /// A token by its public part, in a copy that is at most [`TOKEN_FRESH`] old while the store answers.
    async fn find(&self, store: &dyn Store, id: &str) -> Result<Option<ApiToken>, ApiError> {
        let mut copy = self.copy.lock().await;
        let younger = |at: Option<Instant>, than| at.is_some_and(|at| at.elapsed() < than);
        // One that is not known may have been made at another gateway just now.
        let fresh = younger(copy.read, TOKEN_FRESH) && copy.tokens.contains_key(id);
        if !fresh && !younger(copy.asked, TOKEN_ASK_EVERY) {
            copy.asked = Some(Instant::now());
            if let Ok(all) = store.tokens().await {
                copy.tokens = all.into_iter().map(|token| (token.id.clone(), token)).collect();
                copy.read = Some(Instant::now());
            }
        }
        if !younger(copy.read, TOKEN_STALE_MAX) {
            return Err(ApiError::unavailable("the store is away, and with it the API tokens; try again"));
        }
        Ok(copy.tokens.get(id).cloned())
    }

    /// Comes back when a token opens nothing any more: it was taken back, or has ended.
    pub(super) async fn over(&self, store: &dyn Store, id: &str) {
        loop {
            tokio::time::sleep(TOKEN_FRESH).await;
            // A store that is away takes nothing back.
            if let Ok(found) = self.find(store, id).await
                && !found.is_some_and(|token| token.is_good(Timestamp::now()))
            {
                return;
            }
        }
    }

    /// The next look reads the store.
    async fn forget(&self) {
        *self.copy.lock().await = Copy::default();
    }

    fn write_down(&self, store: Arc<dyn Store>, token: &ApiToken, now: Timestamp) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let last = used.get(&token.id).copied().max(token.used_at);
        if last.is_some_and(|last| now.duration_since(last) < TOKEN_USED_EVERY) {
            return;
        }
        used.insert(token.id.clone(), now);
        let id = token.id.clone();
        tokio::spawn(async move {
            if let Err(error) = store.token_used(&id, now).await {
                tracing::debug!(%error, "that a token was used is not written down now");
            }
        });
    }
}

/// A token's public part and its secret.
fn parts(presented: &str) -> Option<(&str, &str)> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = |text: &str, chars| text.len() == chars && text.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain(id, ID_CHARS) && plain(secret, SECRET_CHARS)).then_some((id, secret))
}

/// An API token, without its secret
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its public part: `ark_{id}_...`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<String>,
    /// `good`, `ended` or `revoked`.
    pub state: String,
    /// When it was made.
    pub made_at: String,
    /// When it ends; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// When it was used last, to within a minute; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        let state = match token.revoked_at {
            Some(_) => "revoked",
            None if token.is_good(Timestamp::now()) => "good",
            None => "ended",
        };
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            state: state.to_owned(),
            made_at: token.made_at.to_string(),
            expires_at: text(token.expires_at),
            revoked_at: text(token.revoked_at),
            used_at: text(token.used_at),
        }
    }
}

/// Every API token that is kept, the oldest first
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Those that are no good any more are listed for a year.
    pub tokens: Vec<TokenView>,
}

/// An API token that is wanted
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    /// What people call it; no two that are good have the same name.
    pub name: String,
    /// What it opens: `conversations:read`, `conversations:write`, `calls`, `channels`, `operations`, `numbers`.
    pub scopes: Vec<String>,
    /// When it ends, RFC 3339; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A new API token: the one time that it is shown
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// What to send as `Authorization: Bearer ...`. It is kept nowhere.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub view: TokenView,
}

/// The API tokens; for integrators, or with the gateway's own token
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = TokenList), (status = 503, body = super::error::ErrorBody))
)]
pub(super) async fn list(State(web): State<Arc<Web>>) -> Result<Json<TokenList>, ApiError> {
    let tokens = web.control.store().tokens().await?;
    Ok(Json(TokenList { tokens: tokens.into_iter().map(TokenView::from).collect() }))
}

/// Make an API token; for integrators, or with the gateway's own token
///
/// The answer is the one time that it is shown: what is kept is its hash.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", request_body = NewApiToken,
    responses(
        (status = 201, description = "It is good from now on", body = MadeToken),
        (status = 409, description = "There is a good one of this name", body = super::error::ErrorBody),
        (status = 422, description = "It cannot be as asked", body = super::error::ErrorBody),
    )
)]
pub(super) async fn make(
    State(web): State<Arc<Web>>,
    request: Result<Json<NewApiToken>, JsonRejection>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let Json(new) = request?;
    if let Some(unknown) = new.scopes.iter().find(|word| Scope::parse(word).is_none()) {
        return Err(ApiError::refused(format!("there is no scope `{unknown}`; there are {}", Scope::words())));
    }
    let now = Timestamp::now();
    let expires_at = match new.expires_at.as_deref().map(str::parse::<Timestamp>).transpose() {
        Ok(Some(end)) if end <= now => return Err(ApiError::refused("`expires_at` has passed already")),
        Ok(end) => end,
        Err(error) => {
            return Err(ApiError::refused(format!("`expires_at` is a time as 2027-01-31T00:00:00Z: {error}")));
        }
    };
    let (mut id, mut secret) = ([0_u8; ID_CHARS / 2], [0_u8; SECRET_CHARS / 2]);
    for bytes in [&mut id[..], &mut secret[..]] {
        let no_luck = |error: getrandom::Error| ApiError::internal(format!("the system gave no random bytes: {error}"));
        getrandom::fill(bytes).map_err(no_luck)?;
    }
    let (id, secret) = (hex(&id), hex(&secret));
    let mut scopes = new.scopes;
    scopes.sort();
    scopes.dedup();
    let token = ApiToken {
        id: id.clone(),
        name: new.name,
        scopes,
        sha256: hex(&Sha256::digest(&secret)),
        made_at: now,
        expires_at,
        revoked_at: None,
        used_at: None,
    };
    web.control.store().put_token(token.clone()).await.map_err(ApiError::of_token)?;
    web.tokens.forget().await;
    tracing::info!(%id, name = %token.name, scopes = %token.scopes.join(" "), "an API token was made");
    Ok((StatusCode::CREATED, Json(MadeToken { token: format!("{PREFIX}{id}_{secret}"), view: token.into() })))
}

/// Take an API token back, by its id or its name; for integrators, or with the gateway's own token
///
/// It opens nothing from then on, at other gateways within seconds; sockets and streams that it opened end.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "The token's id, or its name")),
    responses(
        (status = 200, description = "It is taken back", body = TokenView),
        (status = 404, description = "No good token is called so", body = super::error::ErrorBody),
    )
)]
pub(super) async fn revoke(
    State(web): State<Arc<Web>>,
    Path(which): Path<String>,
) -> Result<Json<TokenView>, ApiError> {
    let revoked = web.control.store().revoke_token(&which, Timestamp::now()).await?;
    web.tokens.forget().await;
    let revoked =
        revoked.ok_or_else(|| ApiError::not_found(format!("there is no token `{which}` that could be revoked")))?;
    tracing::info!(id = %revoked.id, name = %revoked.name, "an API token was revoked");
    Ok(Json(revoked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_is_looked_up() {
        let (id, secret) = ("a".repeat(ID_CHARS), "b".repeat(SECRET_CHARS));
        let good = format!("ark_{id}_{secret}");
        assert_eq!(parts(&good), Some((id.as_str(), secret.as_str())));
        for bad in
            [good.replace("ark_", ""), good.replace('b', "-"), format!("{good}b"), "ark__".to_owned(), String::new()]
        {
            assert_eq!(parts(&bad), None, "{bad}");
        }
    }
}
