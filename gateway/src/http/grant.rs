//! What who came in may do.

use std::sync::Arc;

use ark_store::{Account, Role, Store};

use super::error::ApiError;
use super::scope::Scope;
use super::sessions::Sessions;
use super::tokens::Tokens;
use crate::accounts;

/// What who came in may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant(Who);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// The gateway's own token, which opens everything.
    Own,
    /// An API token: which, and what it opens.
    Token(String, Vec<Scope>),
    /// Somebody who has signed in, and the hash of their session.
    Account(Arc<(Account, String)>),
}

impl Grant {
    /// Everything.
    pub(super) const OWN: Self = Self(Who::Own);

    pub(super) fn of_token(id: String, scopes: Vec<Scope>) -> Self {
        Self(Who::Token(id, scopes))
    }

    pub(super) fn of_account(account: Account, session: String) -> Self {
        Self(Who::Account(Arc::new((account, session))))
    }

    pub(super) fn is_own(&self) -> bool {
        self.0 == Who::Own
    }

    /// Who has signed in; none: it came by a token.
    pub(super) fn account(&self) -> Option<&Account> {
        match &self.0 {
            Who::Account(signed_in) => Some(&signed_in.0),
            _ => None,
        }
    }

    /// The hash of the session by which they came.
    pub(super) fn session(&self) -> Option<&str> {
        match &self.0 {
            Who::Account(signed_in) => Some(&signed_in.1),
            _ => None,
        }
    }

    pub(super) fn has(&self, scope: Scope) -> bool {
        match &self.0 {
            Who::Own => true,
            Who::Token(_, scopes) => scopes.contains(&scope),
            Who::Account(signed_in) => signed_in.0.roles.iter().any(|role| accounts::opens(*role, scope)),
        }
    }

    /// Whether they may what a role may. API tokens have none.
    pub(super) fn is(&self, role: Role) -> bool {
        self.is_own() || self.account().is_some_and(|account| account.is(role))
    }

    /// Who did it, for the log: an agent's name. Who has signed in does everything in their own name; a token says whose.
    ///
    /// # Errors
    /// Another's name; a token that names nobody.
    pub(super) fn who(&self, by: Option<&str>) -> Result<String, ApiError> {
        let named = by.map(|by| by.strip_prefix("agent:").unwrap_or(by));
        match (self.account(), named) {
            (Some(account), None) => Ok(account.name.clone()),
            (Some(account), Some(name)) if account.name == name => Ok(account.name.clone()),
            (Some(account), Some(_)) => {
                let name = &account.name;
                Err(ApiError::forbidden(format!(
                    "you are signed in as `{name}`: leave `by` out, or write your own name"
                )))
            }
            (None, Some(name)) if !name.is_empty() && name.len() <= 128 && !name.chars().any(char::is_control) => {
                Ok(name.to_owned())
            }
            (None, _) => Err(ApiError::bad_request("`by` is an agent's name: 1 to 128 bytes, as in \"anna\"")),
        }
    }

    /// Comes back when what was granted is no more: the token was taken back or has ended; who signed in has signed out, was shut out,
    /// or may something else now.
    pub(super) async fn over(&self, tokens: &Tokens, sessions: &Sessions, store: &dyn Store) {
        match &self.0 {
            Who::Own => std::future::pending().await,
            Who::Token(id, _) => tokens.over(store, id).await,
            Who::Account(signed_in) => sessions.over(store, &signed_in.0, &signed_in.1).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn signed_in(roles: &[Role]) -> Grant {
        let account = Account {
            name: "anna".to_owned(),
            display: "Anna".to_owned(),
            roles: roles.iter().copied().collect::<BTreeSet<_>>(),
            groups: Vec::new(),
            skills: Default::default(),
            languages: Default::default(),
            capacity: Default::default(),
            phone: None,
            disabled: false,
            made_at: jiff::Timestamp::UNIX_EPOCH,
            signed_in_at: None,
        };
        Grant::of_account(account, "0".repeat(64))
    }

    #[test]
    fn the_gateways_own_token_opens_everything_and_another_what_it_says() {
        assert!(Grant::OWN.is_own() && Scope::ALL.iter().all(|(scope, _)| Grant::OWN.has(*scope)));
        let grant = Grant::of_token("a".to_owned(), vec![Scope::Calls]);
        assert!(!grant.is_own() && grant.has(Scope::Calls) && !grant.has(Scope::Numbers));
        assert!(Role::ALL.iter().all(|role| Grant::OWN.is(*role) && !grant.is(*role)));
    }

    #[test]
    fn a_role_opens_its_scopes() {
        let has = |role| {
            let grant = signed_in(&[role]);
            Scope::ALL.map(|(scope, _)| grant.has(scope))
        };
        assert_eq!(has(Role::Agent), [true, true, true, false, false, false]);
        assert_eq!(has(Role::Supervisor), [true, true, true, false, false, false], "numbers are revealed one by one");
        assert_eq!(has(Role::Operator), [false, false, false, true, true, false]);
        assert_eq!(has(Role::Integrator), [false; 6]);
        let both = signed_in(&[Role::Agent, Role::Operator]);
        assert!(both.has(Scope::Calls) && both.has(Scope::Operations) && both.is(Role::Operator));
    }

    #[test]
    fn who_has_signed_in_does_everything_in_their_own_name() {
        let anna = signed_in(&[Role::Agent]);
        for by in [None, Some("anna"), Some("agent:anna")] {
            assert_eq!(anna.who(by).unwrap(), "anna");
        }
        assert!(anna.who(Some("ben")).is_err());
        assert_eq!(Grant::OWN.who(Some("agent:ben")).unwrap(), "ben");
        for nobody in [None, Some(""), Some("agent:"), Some("a\n")] {
            assert!(Grant::OWN.who(nobody).is_err());
        }
    }
}
