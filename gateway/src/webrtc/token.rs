//! Tokens that let a page call, or an operator sign on: short-lived, bound to what they are for, and kept nowhere.
//!
//! `v1.CLAIMS.MAC`: the claims as JSON in base64url, and HMAC-SHA-256 over them under a key that is made from the
//! gateway's own token. A new `ark.token` makes every one of them worthless.

use ark_conversation::limits::CALL_LEGS;
use ark_conversation::{ConversationId, ConversationState, Owner};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::limits::MESSAGE_BYTES_MAX;

const VERSION: &str = "v1.";

/// What a token lets its bearer do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub(crate) enum Purpose {
    /// Call one hotline.
    Call {
        /// The hotline's number.
        hotline: String,
        /// Who calls, as the site knows them.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        from: String,
        /// Their name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The conversation that the call belongs to; none: one of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<Into>,
    },
    /// Hear one call, and say nothing.
    Listen {
        /// The call's conversation.
        call: String,
    },
    /// Answer as this operator.
    Operator {
        /// Their name, as queues write it after `web:`.
        name: String,
    },
}

/// A conversation that a call comes into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Into {
    /// Which.
    pub(crate) conversation: String,
    /// The number of the caller's leg: behind it there is room for the call's others.
    pub(crate) leg: u32,
    /// The agent who has it: asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
}

impl Into {
    /// For a call into a conversation as it is now: behind the legs that are there, to the agent who has it. None: it is closed.
    pub(crate) fn of(state: &ConversationState) -> Option<Self> {
        let agent = if let Some(Owner::Agent(agent)) = &state.owner { Some(agent.clone()) } else { None };
        let (conversation, leg) = (state.conversation.to_string(), state.next_call_leg().0);
        state.is_open().then_some(Self { conversation, leg, agent })
    }

    /// For a call that begins a conversation in which words may be written before it comes: there is room for their legs.
    pub(crate) fn begins(conversation: ConversationId) -> Self {
        Self { conversation: conversation.to_string(), leg: CALL_LEGS + 1, agent: None }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(flatten)]
    purpose: Purpose,
    /// Until when it is good, in seconds of Unix time.
    until: i64,
}

/// Makes and reads tokens.
pub(crate) struct Tokens {
    key: Hmac<Sha256>,
}

impl Tokens {
    /// Under a key made from the gateway's token.
    pub(crate) fn new(secret: &str) -> Self {
        let mut root = mac(secret.as_bytes());
        root.update(b"ark webrtc token v1");
        Self { key: mac(&root.finalize().into_bytes()) }
    }

    /// A token that is good until then.
    pub(crate) fn mint(&self, purpose: Purpose, until: Timestamp) -> String {
        let claims = Claims { purpose, until: until.as_second() };
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let mut signed = self.key.clone();
        signed.update(claims.as_bytes());
        format!("{VERSION}{claims}.{}", URL_SAFE_NO_PAD.encode(signed.finalize().into_bytes()))
    }

    /// What a token is for; `None` when it is not ours, or good no longer.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Option<Purpose> {
        let (claims, tag) = token.strip_prefix(VERSION).filter(|t| t.len() < MESSAGE_BYTES_MAX)?.split_once('.')?;
        let mut signed = self.key.clone();
        signed.update(claims.as_bytes());
        // In time that does not depend on where they differ.
        signed.verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (now.as_second() < claims.until).then_some(claims.purpose)
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_what_it_says_until_it_says() {
        let tokens = Tokens::new("0123456789abcdef0123456789abcdef");
        let now: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        let until: Timestamp = "2026-11-24T02:02:00Z".parse().unwrap();
        let purpose = Purpose::Call { hotline: "95188".to_owned(), from: "u-1".to_owned(), name: None, into: None };
        let token = tokens.mint(purpose.clone(), until);
        assert_eq!(tokens.read(&token, now), Some(purpose));
        assert_eq!(tokens.read(&token, until), None, "over");
        assert_eq!(Tokens::new("another").read(&token, now), None, "another gateway's");
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] ^= 1;
            let forged = String::from_utf8_lossy(&forged).into_owned();
            assert_eq!(tokens.read(&forged, now), None, "{forged}");
        }
        for garbage in ["", "v1.", "v1..", "v1.a.b", "v1.e30.e30"] {
            assert_eq!(tokens.read(garbage, now), None);
        }
    }
}
