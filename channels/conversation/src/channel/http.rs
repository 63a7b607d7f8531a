//! HTTP and WebSocket as values.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Read.
    Get,
    /// Write.
    Post,
    /// Replace.
    Put,
    /// Take away.
    Delete,
}

impl Method {
    /// As it stands in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A request to one account: `/hooks/{account}{path}`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// What is asked for.
    pub method: Method,
    /// What follows the account's own path: empty or `/...`.
    pub path: String,
    /// The query's pairs, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came, at most the host's bound.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// The first header of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The first value of this name in the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }
}

impl fmt::Debug for HttpRequest {
    /// Without what people wrote and without signatures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method.as_str(), self.path, self.body.len())
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// An answer, given or got.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// An answer in plain words.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        let kind = ("content-type".to_owned(), "text/plain; charset=utf-8".to_owned());
        Self { status, headers: vec![kind], body: body.into().into_bytes() }
    }

    /// An answer in JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let kind = ("content-type".to_owned(), "application/json".to_owned());
        Self { status, headers: vec![kind], body: body.to_string().into_bytes() }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The first header of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }
}

impl fmt::Debug for HttpReply {
    /// Without what it says: it may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// A request that a channel makes.
#[derive(Clone, PartialEq)]
pub struct HttpCall {
    /// What is asked for.
    pub method: Method,
    /// `https:` address on one of the channel's hosts.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// How long the whole of it may take.
    pub timeout: Duration,
    /// Whether the provider takes it twice without harm: the host may then try again by itself when a connection breaks.
    pub idempotent: bool,
}

impl fmt::Debug for HttpCall {
    /// Without query, headers and body: they hold tokens and what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{} {url}", self.method.as_str())
    }
}

/// The body of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// Bytes as they are, with their type.
    Bytes {
        /// The content type.
        mime: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// `multipart/form-data`.
    Multipart(Vec<(String, PartSource)>),
}

/// Where a field of a multipart body comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum PartSource {
    /// Words.
    Text(String),
    /// A stored file: the host reads it.
    Media(Box<crate::event::Media>),
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// Nothing was sent: the address is refused, the host cannot be found or reached, TLS failed.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It was sent, or a part of it, and no answer came.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// A WebSocket frame. Pings and pongs are the host's own business.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// Words.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl fmt::Debug for Frame {
    /// Without what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}
