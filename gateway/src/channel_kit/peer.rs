//! The adapter, as the kit sees it: signed requests, and its test hooks.

use std::time::Duration;

use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::settings::Secret;
use http::header;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;

use super::limits::{ANSWER_BYTES_MAX, REQUEST_TIMEOUT};
use crate::webhooks::reach::{Place, dial};

/// An adapter's answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// For people: the status and the beginning of what it says.
    pub(super) fn shown(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.status, super::report::shortened(body.trim()))
    }
}

/// What a request is signed with.
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) signature: String,
}

/// The adapter under test.
pub(super) struct Peer {
    url: String,
    pub(super) secrets: Vec<String>,
}

impl Peer {
    pub(super) fn new(url: &str, secrets: Vec<String>) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), secrets }
    }

    /// Signs with the secret at that place: 0 the new one, 1 the old one.
    pub(super) fn sign(&self, which: usize, id: &str, at: Timestamp, body: &[u8]) -> Signed {
        let secret = self.secrets.get(which).or_else(|| self.secrets.first()).cloned().unwrap_or_default();
        sign_with(&secret, id, at, body)
    }

    /// A request without a signature.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply, String> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let headers = [("content-type", "application/json".to_owned())];
        self.exchange(method, path, &headers, body, REQUEST_TIMEOUT).await
    }

    /// Events, as the gateway posts them.
    pub(super) async fn post(&self, events: &[Value]) -> Result<Reply, String> {
        let body = serde_json::to_vec(events).expect("events are JSON");
        let id = events.first().and_then(|event| event["id"].as_str()).unwrap_or("none").to_owned();
        let signed = self.sign(0, &id, Timestamp::now(), &body);
        self.post_signed(Some(&signed), body).await
    }

    /// A body with this signature, or without one.
    pub(super) async fn post_signed(&self, signed: Option<&Signed>, body: Vec<u8>) -> Result<Reply, String> {
        let mut headers = vec![("content-type", "application/cloudevents-batch+json".to_owned())];
        if let Some(signed) = signed {
            headers.push(("webhook-id", signed.id.clone()));
            headers.push(("webhook-timestamp", signed.time.clone()));
            headers.push(("webhook-signature", signed.signature.clone()));
        }
        self.exchange("POST", "/ark/v1/events", &headers, body, REQUEST_TIMEOUT).await
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Reply, String> {
        let url = if path.contains("://") { path.to_owned() } else { format!("{}{path}", self.url) };
        match tokio::time::timeout(within, send(&url, method, headers, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
    }
}

/// Signs with any secret.
pub(super) fn sign_with(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Signed {
    let secrets = WebhookSecrets::new(&[Secret::new(secret)]).expect("secrets are looked at before a run");
    Signed { id: id.to_owned(), time: at.as_second().to_string(), signature: secrets.sign(id, at, body) }
}

async fn send(url: &str, method: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<Reply, String> {
    let place = Place::parse(url)?;
    let stream = dial(&place, true).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(place.path())
        .header(header::HOST, place.authority())
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(name, value);
    }
    let answer = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
    let status = answer.status().as_u16();
    let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes().to_vec();
    Ok(Reply { status, retry_after: seconds.map(Duration::from_secs), body })
}
