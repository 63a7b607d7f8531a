//! `[oidc]`: the site's identity provider.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `[oidc]`: people sign in at the site's identity provider (docs/accounts.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The provider's address, as its discovery document says it: `"https://id.example/realms/house"`.
    pub issuer: String,
    /// What Ark is called there. The way back to register there is `[web] public_url` and `/api/v1/session/oidc/callback`.
    pub client_id: String,
    /// The client's secret: `{ file = "..." }` or `{ env = "..." }`. Left out: a public client, which PKCE alone protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// What the button says.
    #[serde(default = "label")]
    pub label: String,
    /// What is asked for.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The claim that becomes a new account's name.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim with somebody's roles, with dots into objects: `"realm_access.roles"`. With it, every sign-in sets the account's roles;
    /// who has none of `roles` does not come in. Left out: a new account is an agent, and roles are what operators say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
    /// What words of `roles_claim` mean: `{ "cc-agents" = "agent" }`. Left out: the words `agent`, `supervisor`, `operator`, `integrator`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
    /// The claim with somebody's skill groups. With it, every sign-in sets the account's groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Whether who signs in for the first time gets an account. `false`: an operator makes it before, without a password.
    #[serde(default = "yes")]
    pub create: bool,
    /// Whether people may sign in with a name and a password as well.
    #[serde(default = "yes")]
    pub passwords: bool,
}

fn label() -> String {
    "SSO".to_owned()
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

const fn yes() -> bool {
    true
}

impl Oidc {
    /// What is wrong with it: the key, and a sentence.
    pub(super) fn wrong(&self) -> Option<(&'static str, String)> {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        if !self.issuer.starts_with("https://") && !local.iter().any(|one| self.issuer.starts_with(one)) {
            return Some(("issuer", "an identity provider is reached by https".to_owned()));
        }
        if let Err(why) = crate::webhooks::reach::Place::parse(&self.issuer) {
            return Some(("issuer", why));
        }
        if self.client_id.is_empty() {
            return Some(("client_id", "the client has a name at the provider".to_owned()));
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Some(("scopes", "without `openid` the provider says nothing of who signs in".to_owned()));
        }
        let unknown = self.roles.values().find(|role| ark_store::Role::parse(role).is_none())?;
        Some(("roles", format!("there is no role `{unknown}`; there are agent, supervisor, operator, integrator")))
    }
}
