//! Who works here: passwords, tries to sign in, and what a role opens. The accounts themselves are the store's; how they come in over
//! HTTP is `http::session`'s.

pub mod limits;
pub mod oidc;
pub mod password;
pub mod tries;

use ark_store::{Account, Role};

use crate::config::Queue;
use crate::http::scope::Scope;

/// Whether a role opens a scope. Numbers in full are opened by none: an account reveals them one by one, and each is written down.
#[must_use]
pub fn opens(role: Role, scope: Scope) -> bool {
    match role {
        Role::Agent | Role::Supervisor => {
            matches!(scope, Scope::ConversationsRead | Scope::ConversationsWrite | Scope::Calls)
        }
        Role::Operator => matches!(scope, Scope::Operations | Scope::Channels),
        Role::Integrator => false,
    }
}

/// Whether an account serves a queue: it belongs to the queue's group or to one that is asked later, or is one of its operators, in a
/// browser or by its telephone.
#[must_use]
pub fn serves(account: &Account, queue: &Queue) -> bool {
    let operator = |one: &String| {
        one.strip_prefix("web:") == Some(account.name.as_str()) || account.phone.as_deref() == Some(one.as_str())
    };
    let later = || queue.groups.iter().any(|one| account.groups.contains(&one.group));
    account.groups.contains(&queue.name) || later() || queue.operators.iter().any(operator)
}

/// The names of the queues that an account serves.
#[must_use]
pub fn queues_of(account: &Account, queues: &[Queue]) -> Vec<String> {
    queues.iter().filter(|queue| serves(account, queue)).map(|queue| queue.name.clone()).collect()
}
