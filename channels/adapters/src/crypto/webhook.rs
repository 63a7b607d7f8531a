//! Standard Webhooks: how adapters outside and Ark know each other (standardwebhooks.com, version 1).
//!
//! `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`: a list of `v1,base64(HMAC-SHA256(key, id.time.body))`.

use jiff::Timestamp;
use ring::hmac;

use super::{from_base64, same, to_base64};
use crate::limits::{WEBHOOK_AGE_MAX, WEBHOOK_SECRETS_MAX, WEBHOOK_SIGNATURES_MAX};
use crate::settings::Secret;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    /// The header of signatures cannot be read.
    #[error("`webhook-signature` is a list of `v1,base64` with a space between; an entry of this one is not")]
    Malformed,
    /// The time is no whole number of seconds.
    #[error("`webhook-timestamp` is the time in whole seconds since 1970")]
    Timestamp,
    /// It is too old, or from the future.
    #[error("the request's time is more than five minutes from ours: it is a copy, or a clock is wrong")]
    Age,
    /// No signature is of one of our secrets.
    #[error("the signature does not match: the secret is another one, or the request was changed")]
    Signature,
}

/// Why a secret is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// It cannot be read, or is too short.
    #[error("a webhook secret is `whsec_` and the base64 of 24 to 64 bytes")]
    Form,
    /// None, or too many.
    #[error("one secret, or the old and the new one, are expected")]
    Count,
}

/// The secrets that are good now, the newest first.
pub struct WebhookSecrets(Vec<hmac::Key>);

impl WebhookSecrets {
    /// One or two secrets, `whsec_...`; the first signs.
    ///
    /// # Errors
    /// [`SecretsError`] says which rule is broken.
    pub fn new(secrets: &[Secret]) -> Result<Self, SecretsError> {
        if !(1..=WEBHOOK_SECRETS_MAX).contains(&secrets.len()) {
            return Err(SecretsError::Count);
        }
        let key = |secret: &Secret| {
            let text = secret.reveal().trim();
            let bytes = from_base64(text.strip_prefix("whsec_").unwrap_or(text)).ok_or(SecretsError::Form)?;
            let fits = (24..=64).contains(&bytes.len());
            fits.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes)).ok_or(SecretsError::Form)
        };
        Ok(Self(secrets.iter().map(key).collect::<Result<_, _>>()?))
    }

    /// `webhook-signature` of a request that is sent at `at`, in whole seconds.
    #[must_use]
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let key = self.0.first().expect("there is a secret");
        format!("v1,{}", to_base64(tag(key, id, &at.as_second().to_string(), body).as_ref()))
    }

    /// Checks a request by its three headers.
    ///
    /// # Errors
    /// [`WebhookError`] says why it is refused. Signatures of versions other than `v1` are passed over.
    pub fn verify(
        &self,
        now: Timestamp,
        header: impl Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<(), WebhookError> {
        let need = |name: &'static str| header(name).ok_or(WebhookError::Missing(name));
        let (id, time, list) = (need("webhook-id")?, need("webhook-timestamp")?, need("webhook-signature")?);
        let plain = !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit());
        let sent = time.parse().ok().filter(|_| plain).and_then(|s| Timestamp::from_second(s).ok());
        let sent = sent.ok_or(WebhookError::Timestamp)?;
        if now.duration_since(sent).abs() > WEBHOOK_AGE_MAX {
            return Err(WebhookError::Age);
        }
        let (mut good, mut count) = (false, 0);
        for entry in list.split_ascii_whitespace() {
            let (version, given) = entry.split_once(',').ok_or(WebhookError::Malformed)?;
            count += 1;
            if count > WEBHOOK_SIGNATURES_MAX {
                return Err(WebhookError::Malformed);
            }
            if version != "v1" {
                continue;
            }
            for key in &self.0 {
                good |= same(given.as_bytes(), to_base64(tag(key, &id, &time, body).as_ref()).as_bytes());
            }
        }
        if good { Ok(()) } else { Err(WebhookError::Signature) }
    }
}

fn tag(key: &hmac::Key, id: &str, time: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for piece in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        context.update(piece);
    }
    context.sign()
}
