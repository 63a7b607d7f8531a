//! Standard Webhooks: how a request shows that it comes from here and has not been changed.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::sync::Arc;

use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::settings::Secret;
use jiff::Timestamp;

/// How a secret begins.
const PREFIX: &str = "whsec_";

/// A key that requests are signed with.
#[derive(Clone)]
pub struct Key(Arc<WebhookSecrets>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(...)")
    }
}

impl Key {
    /// Reads `whsec_` and 24 to 64 bytes in Base64.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, without the secret.
    pub fn parse(secret: &str) -> Result<Self, String> {
        let wrong = "a webhook's secret is `whsec_` and the Base64 of 24 to 64 bytes";
        let help = "make one with: echo \"whsec_$(openssl rand -base64 32)\"";
        let begun = secret.trim().starts_with(PREFIX);
        let key = WebhookSecrets::new(&[Secret::new(secret)]).ok().filter(|_| begun);
        key.map(|key| Self(Arc::new(key))).ok_or_else(|| format!("{wrong}; {help}"))
    }
}

/// The header `webhook-signature`: one `v1,...` for each key, so that a receiver may change its secret at any time while
/// both are known here. `timestamp`: Unix seconds of this attempt.
#[must_use]
pub fn signature(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let at = Timestamp::from_second(timestamp).unwrap_or_default();
    keys.iter().map(|key| key.0.sign(id, at, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors computed with the reference library (standardwebhooks 1.1.0 for Python).
    #[test]
    fn signatures_are_those_of_the_reference_library() {
        let key = Key::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let of = |id, at, body: &str| signature(std::slice::from_ref(&key), id, at, body.as_bytes());
        assert_eq!(
            of(
                "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
                1_674_087_231,
                "{\"type\":\"ark.message.inbound.v1\",\"data\":{\"text\":\"你好\"}}"
            ),
            "v1,PKpWrn5y8d/6zYunrrTh/7j7MWclPXZ75jPvH/hHoIs="
        );
        assert_eq!(of("msg_empty", 1_763_806_618, ""), "v1,bkuWJhiYSKl9BNB9QBYT8mj8esXInbSE9wdrNNzg59k=");
        assert_eq!(of("msg_ws", 1_763_806_618, "{ \"a\" : 1 }\n"), "v1,WsAvfve/EXfmKDwX2srwaeUdaJ7pjy5arA5DJy3sp0Q=");
    }

    #[test]
    fn each_key_signs_while_secrets_change() {
        let new = Key::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let old = Key::parse("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=").unwrap();
        let both = signature(&[new.clone(), old.clone()], "m", 1, b"{}");
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, signature(&[new], "m", 1, b"{}"));
        assert_eq!(second, signature(&[old], "m", 1, b"{}"));
        assert_ne!(first, second);
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_never_shown() {
        for wrong in ["", "hunter2", "whsec_", "whsec_%%%", "whsec_AAECAwQ="] {
            let error = Key::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("openssl"), "{error}");
        }
        let key = Key::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
        assert_eq!(format!("{key:?}"), "Key(...)");
    }
}
