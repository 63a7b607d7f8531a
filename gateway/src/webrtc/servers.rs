//! The STUN and TURN servers that browsers are told, with passwords that are good for a while only.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::hmac;

use super::signal::Server;
use crate::config::{IceServer, Secret, Span};

/// How long a TURN password is good unless the site's file says otherwise: longer than a call.
pub(crate) const TURN_TTL: Span = Span(std::time::Duration::from_secs(24 * 3_600));

/// What pages are told of the roads to Ark.
pub(super) struct IceServers(Vec<Told>);

enum Told {
    /// The same for every page.
    AsIs(Server),
    /// A user and password of the page's own, made from a secret that Ark and the TURN server share.
    Minted { urls: Vec<String>, key: hmac::Key, ttl: Span },
}

impl IceServers {
    /// As the site's file says.
    ///
    /// # Errors
    /// A secret that cannot be read, in a sentence.
    pub(super) fn new(servers: &[IceServer]) -> Result<Self, String> {
        let told = servers.iter().map(|server| {
            let urls = server.urls.clone();
            if let Some(secret) = &server.secret {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.read()?.as_bytes());
                return Ok(Told::Minted { urls, key, ttl: server.ttl.unwrap_or(TURN_TTL) });
            }
            let credential = server.credential.as_ref().map(Secret::read).transpose()?;
            Ok(Told::AsIs(Server { urls, username: server.username.clone(), credential }))
        });
        Ok(Self(told.collect::<Result<_, String>>()?))
    }

    /// For the page of that session. The TURN server's log has `session` beside its own lines.
    pub(super) fn told(&self, session: u64, now: Timestamp) -> Vec<Server> {
        self.0.iter().map(|told| told.to(session, now)).collect()
    }
}

impl Told {
    /// The form that TURN servers know as REST API or `use-auth-secret`: the user is the second in which the password ends and a
    /// name, the password is HMAC-SHA1 of the user (draft-uberti-behave-turn-rest-00, 2.2).
    fn to(&self, session: u64, now: Timestamp) -> Server {
        match self {
            Self::AsIs(server) => server.clone(),
            Self::Minted { urls, key, ttl } => {
                let until = now.as_second().saturating_add_unsigned(ttl.0.as_secs());
                let username = format!("{until}:ark-{session}");
                let credential = STANDARD.encode(hmac::sign(key, username.as_bytes()));
                Server { urls: urls.clone(), username: Some(username), credential: Some(credential) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_of_one_page_and_ends() {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north");
        let told = Told::Minted { urls: vec!["turn:t".into()], key, ttl: Span(std::time::Duration::from_secs(600)) };
        let servers = IceServers(vec![told]);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let server = &servers.told(7, now)[0];
        assert_eq!(server.username.as_deref(), Some("1700000600:ark-7"));
        // printf 1700000600:ark-7 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(server.credential.as_deref(), Some("mIJg/h0qokomczRVMS8+DstWKmY="));
        assert_ne!(servers.told(8, now)[0].credential, server.credential);
    }
}
