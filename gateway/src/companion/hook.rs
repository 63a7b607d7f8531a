//! The app's hook: whoever knows the caller's app pushes the link to it.

use ark_conversation::ConversationId;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, USER_AGENT};
use hyper::body::Bytes;
use jiff::Timestamp;

use super::limits::HOOK_TIMEOUT;
use crate::webhooks::reach::{Client, Place, value};
use crate::webhooks::sign::{Key, signature};

/// Where links are POSTed for an app, signed as webhooks are.
pub struct AppHook {
    client: Client,
    keys: Vec<Key>,
}

impl AppHook {
    /// To this address, signed with these keys. `allow_private`: also inside this network.
    #[must_use]
    pub fn new(place: Place, keys: Vec<Key>, allow_private: bool) -> Self {
        Self { client: Client::new(place, allow_private, HOOK_TIMEOUT), keys }
    }

    /// From the site's file.
    ///
    /// # Errors
    /// A sentence about its address or its secrets.
    pub fn build(config: &crate::config::AppHook) -> Result<Self, String> {
        let read = |secret: &crate::config::Secret| Key::parse(&secret.read()?);
        let keys = config.secrets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("the app's hook has no secret to sign with".to_owned());
        }
        Ok(Self::new(Place::parse(&config.url)?, keys, config.allow_private))
    }

    /// Gives a link to the app of a caller.
    ///
    /// # Errors
    /// A sentence: the app's house did not say that it took it (2xx).
    pub(super) async fn push(
        &self,
        conversation: ConversationId,
        number: &str,
        url: &str,
        expires: Timestamp,
    ) -> Result<(), String> {
        let body = serde_json::json!({
            "type": "ark.link.push.v1",
            "conversation": conversation.to_string(),
            "number": number,
            "url": url,
            "expires": expires.to_string(),
        });
        let body = Bytes::from(body.to_string());
        let (id, timestamp) = (format!("{:032x}", rand::random::<u128>()), Timestamp::now().as_second());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value("application/json"));
        headers.insert(USER_AGENT, value(concat!("Ark/", env!("CARGO_PKG_VERSION"))));
        headers.insert("webhook-id", value(&id));
        headers.insert("webhook-timestamp", value(&timestamp.to_string()));
        headers.insert("webhook-signature", value(&signature(&self.keys, &id, timestamp, &body)));
        let answer = self.client.post(&headers, &body).await?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("the app's hook said {}", answer.status)) }
    }
}
