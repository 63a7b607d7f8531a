//! What an API token opens: a few scopes, and which of them each path needs.

use ark_store::Role;
use http::Method;

/// Something that an API token may be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reading what customers and the house said, and who they are.
    ConversationsRead,
    /// Answering, claiming, resolving; merging persons.
    ConversationsWrite,
    /// Calls: seeing, placing, hanging up, recording, supervising; browsers' tokens; links during a call.
    Calls,
    /// How the channels are.
    Channels,
    /// Running the site: plans, bus, webhooks, erasures, metrics.
    Operations,
    /// People's numbers in full, where the other scopes show them at all.
    Numbers,
}

impl Scope {
    /// All of them, with what they open, for people.
    pub const ALL: [(Self, &str); 6] = [
        (Self::ConversationsRead, "read conversations, recordings, files and who customers are; the event streams"),
        (Self::ConversationsWrite, "answer, claim and resolve conversations; say that two persons are one"),
        (Self::Calls, "see, place, end, record and supervise calls; tokens for browsers; links for pictures"),
        (Self::Channels, "see how the channels are"),
        (Self::Operations, "plans, the bus's given-up messages, webhooks, erasures, metrics"),
        (Self::Numbers, "see people's numbers in full, with `numbers=full`"),
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConversationsRead => "conversations:read",
            Self::ConversationsWrite => "conversations:write",
            Self::Calls => "calls",
            Self::Channels => "channels",
            Self::Operations => "operations",
            Self::Numbers => "numbers",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(scope, _)| scope).find(|scope| scope.as_str() == word)
    }

    /// Every word, with commas between.
    #[must_use]
    pub fn words() -> String {
        Self::ALL.map(|(scope, _)| scope.as_str()).join(", ")
    }
}

/// What a request must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it looks itself.
    Open,
    /// Any token that is good, or a session.
    Any,
    /// A token with this scope.
    One(Scope),
    /// A session of somebody with this role, or the gateway's own token. No API token serves.
    Role(Role),
    /// The gateway's own token.
    Own,
}

/// What a request to this path, as the router has it, must have. What is not named here is the gateway's own.
pub(super) fn need(method: &Method, path: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let conversations = if reads { Scope::ConversationsRead } else { Scope::ConversationsWrite };
    let Some(rest) = path.strip_prefix("/api/v1/") else {
        return if path == "/metrics" { Need::One(Scope::Operations) } else { Need::Own };
    };
    match rest.split('/').next().unwrap_or_default() {
        "session" if path == "/api/v1/session/password" => Need::Any,
        "session" if path == "/api/v1/session/first" => Need::Own,
        "session" => Need::Open,
        "accounts" | "audit" => Need::Role(Role::Operator),
        "tokens" => Need::Role(Role::Integrator),
        "about" | "openapi.json" | "asyncapi.json" => Need::Any,
        "conversations" if path.ends_with("/reveal") => Need::One(Scope::ConversationsRead),
        "conversations" | "persons" => Need::One(conversations),
        "events" | "history" | "media" => Need::One(Scope::ConversationsRead),
        "calls" | "webrtc" => Need::One(Scope::Calls),
        "channels" => Need::One(Scope::Channels),
        "agents" | "desk" | "offers" | "queues" | "quick-replies" => Need::One(conversations),
        "search" => Need::One(Scope::ConversationsRead),
        "wallboard" => Need::Role(Role::Supervisor),
        "bus" | "erasures" | "plans" | "speech" | "webhooks" => Need::One(Scope::Operations),
        _ => Need::Own,
    }
}

/// Whether this path is for supervisors, of those who have signed in.
pub(super) fn supervises(path: &str) -> bool {
    path.starts_with("/api/v1/calls/{id}/supervisors")
}

/// Whether a query asks for people's numbers in full.
pub(super) fn asks_for_numbers(query: Option<&str>) -> bool {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.into_iter().any(|(name, value)| name == "numbers" && value == "full")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_scopes_are_the_same() {
        for (scope, _) in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("everything"), None);
    }

    #[test]
    fn only_the_first_account_is_the_gateways_own() {
        for (path, _) in super::super::api_routes() {
            let own = need(&Method::GET, path) == Need::Own;
            assert_eq!(own, path == "/api/v1/session/first", "{path}: name its scope in `need`");
        }
        for path in ["/api/v1/tokens/{id}", "/api/v1/accounts/{name}/password"] {
            assert!(
                matches!(need(&Method::POST, path), Need::Role(_)),
                "{path}: no API token makes others, or accounts"
            );
        }
        assert_eq!(need(&Method::POST, "/api/v1/conversations/{id}/messages"), Need::One(Scope::ConversationsWrite));
        assert_eq!(need(&Method::GET, "/metrics"), Need::One(Scope::Operations));
        assert!(asks_for_numbers(Some("limit=1&numbers=full")) && asks_for_numbers(Some("numb%65rs=full")));
        assert!(!asks_for_numbers(Some("numbers=masked")) && !asks_for_numbers(None));
    }
}
