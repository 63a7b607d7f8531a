//! Where brokers are, and how they are known to be the right ones.

use std::fmt;
use std::path::PathBuf;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};

use crate::BusError;
use crate::limits::{CONNECT_TIMEOUT, HEARTBEAT_S};

/// One broker's address with user, password and virtual host. Its text forms leave the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker(AMQPUri);

impl Broker {
    /// Reads `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS. Without a virtual host it is `/`.
    ///
    /// # Errors
    /// [`BusError::Config`] says what does not fit; it does not repeat the password.
    pub fn parse(url: &str) -> Result<Self, BusError> {
        let refuse =
            |why: &str| BusError::Config(format!("[bus] url: {why}; write amqp://user:password@host:5672/vhost"));
        let mut uri: AMQPUri = url.parse().map_err(|error: String| refuse(&error.replace(url, "this")))?;
        let after = url.split_once("://").map_or("", |(_, after)| after);
        let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() || host.starts_with(':') {
            return Err(refuse("it names no host"));
        }
        // The parser takes no IPv6 address and would fall back to localhost without a word.
        if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT_S));
        let timeout_ms = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        uri.query.connection_timeout = uri.query.connection_timeout.or(Some(timeout_ms));
        Ok(Self(uri))
    }

    /// Another node of the same cluster, `host` or `host:port`, with this one's user, password and virtual host.
    ///
    /// # Errors
    /// [`BusError::Config`] when it is no such address.
    pub fn at(&self, node: &str) -> Result<Self, BusError> {
        let refuse = || BusError::Config(format!("[bus] nodes: '{node}' is not host:port"));
        if node.contains(['@', '/', '?', '#']) {
            return Err(refuse());
        }
        let there = Self::parse(&format!("{}://{node}", self.0.scheme)).map_err(|_| refuse())?;
        let mut other = self.clone();
        other.0.authority.host = there.0.authority.host;
        other.0.authority.port = there.0.authority.port;
        Ok(other)
    }

    /// The same with this password instead of its own.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.0.authority.userinfo.password);
        self
    }

    pub(super) const fn uri(&self) -> &AMQPUri {
        &self.0
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        let host = &self.0.authority.host;
        let port = self.0.authority.port;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// What this connection may write as `user_id`; none when the broker finds the name elsewhere (in a certificate).
    pub(super) fn signs_as(&self) -> Option<&str> {
        matches!(self.0.query.auth_mechanism, None | Some(SASLMechanism::Plain | SASLMechanism::AMQPlain))
            .then(|| self.user())
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.0.scheme, AMQPScheme::AMQPS)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}@{}/{}", self.0.scheme, self.user(), self.address(), self.vhost())
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What TLS to a broker needs beside the machine's own list of authorities. Used by `amqps://` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of authorities to trust as well, a PEM file.
    pub authorities: Option<PathBuf>,
    /// This gateway's own certificate and key, PEM files, when the broker asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn read(&self) -> Result<OwnedTLSConfig, BusError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| BusError::Config(format!("{}: {error}", path.display())))
        };
        let cert_chain = match &self.authorities {
            Some(path) => Some(String::from_utf8(read(path)?).map_err(|_| {
                BusError::Config(format!("{}: not a PEM file (its text begins with -----BEGIN)", path.display()))
            })?),
            None => None,
        };
        let identity = match &self.identity {
            Some((pem, key)) => Some(OwnedIdentity::PKCS8 { pem: read(pem)?, key: read(key)? }),
            None => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_password() {
        let broker = Broker::parse("amqps://ark:s%40crEt@mq.example.net/ark").unwrap();
        assert_eq!((broker.address().as_str(), broker.vhost(), broker.user()), ("mq.example.net:5671", "ark", "ark"));
        assert_eq!(broker.uri().authority.userinfo.password, "s@crEt");
        assert!(!format!("{broker} {broker:?}").contains("crEt") && broker.is_tls());
        let plain = |url: &str| Broker::parse(url).unwrap();
        assert_eq!(plain("amqp://127.0.0.1").to_string(), "amqp://guest@127.0.0.1:5672//");
        assert_eq!(plain("amqp://h:1/").vhost(), "/");
        assert_eq!(plain("amqp://h:1/%2f").vhost(), "/");
        assert_eq!(plain("amqp://a:b@[2001:db8::7]:5672/x").address(), "[2001:db8::7]:5672");
        let other = broker.at("mq2:5700").unwrap().with_password("new");
        assert_eq!((other.to_string().as_str(), other.is_tls()), ("amqps://ark@mq2:5700/ark", true));
        assert_eq!(other.uri().authority.userinfo.password, "new");
        assert_eq!(broker.at("mq3").unwrap().address(), "mq3:5671");
        for bad in ["", ":1", "a@b", "h:99999", "amqp://h"] {
            assert!(broker.at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_does_not_fit_is_refused_without_repeating_it() {
        for bad in [
            "",
            "rabbit:5672",
            "http://h",
            "amqp://",
            "amqp:///x",
            "amqp://u:secret@:5672/",
            "amqp://u:secret@h:99999/",
        ] {
            let Err(BusError::Config(words)) = Broker::parse(bad) else { panic!("{bad} was taken") };
            assert!(words.contains("amqp://user:password@host") && !words.contains("secret"), "{words}");
        }
    }
}
