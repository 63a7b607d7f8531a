//! Small things of HTTP that every provider needs.

use std::fmt::Write as _;

use ark_conversation::channel::{
    Body, Capabilities, Dedup, HttpCall, HttpReply, HttpRequest, IdentityCaps, InboundId, Limits, Manifest, Method,
    Ordering, Transport, TransportMode,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::limits::{CALL_TIMEOUT, REQUEST_BYTES_MAX, SIGNED_AGE_MAX, UPLOAD_TIMEOUT};
use crate::outbox::Step;

/// `%XX` for all but unreserved characters (RFC 3986 2.3).
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

pub(crate) fn post(url: String, body: Value) -> HttpCall {
    call(Method::Post, url, Body::Json(body))
}

pub(crate) fn call(method: Method, url: String, body: Body) -> HttpCall {
    let headers = vec![("accept".to_owned(), "application/json".to_owned())];
    HttpCall { method, url, headers, body, timeout: CALL_TIMEOUT, idempotent: false }
}

/// A call that may be made twice.
pub(crate) fn again(mut call: HttpCall) -> HttpCall {
    call.idempotent = true;
    call
}

/// The call of a step: uploads take longer, and all but a piece itself may be made twice.
pub(crate) fn of_step(step: Step, mut call: HttpCall) -> HttpCall {
    call.idempotent = step != Step::Send;
    if step == Step::Upload {
        call.timeout = UPLOAD_TIMEOUT;
    }
    call
}

pub(crate) fn json(reply: &HttpReply) -> Option<Value> {
    serde_json::from_slice(&reply.body).ok()
}

/// What every request must be before its signature is looked at.
pub(crate) fn acceptable(http: &HttpRequest) -> Result<(), HttpReply> {
    if http.body.len() > REQUEST_BYTES_MAX {
        return Err(HttpReply::text(413, format!("at most {REQUEST_BYTES_MAX} bytes are read")));
    }
    if http.method != Method::Post {
        return Err(HttpReply::text(405, "POST is expected here").with("allow", "POST"));
    }
    Ok(())
}

/// Whether a signed time is near enough to ours that the request is no old copy.
pub(crate) fn fresh(now: Timestamp, sent: Option<Timestamp>) -> bool {
    sent.is_some_and(|sent| now.duration_since(sent).abs() <= SIGNED_AGE_MAX)
}

pub(crate) fn refusal(status: u16, why: &str) -> HttpReply {
    HttpReply::text(status, why)
}

/// The answer while nothing can be kept: providers come again.
pub(crate) fn busy() -> HttpReply {
    HttpReply::text(503, "not kept, send it again").with("retry-after", "5")
}

/// A manifest of a channel inside the gateway.
pub(crate) fn manifest(
    (id, channel): (&str, &str),
    capabilities: Capabilities,
    key_kinds: &[&str],
    limits: Limits,
) -> Manifest {
    Manifest {
        ark_adapter: "1".to_owned(),
        id: id.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        channel: channel.to_owned(),
        transport: Transport { mode: TransportMode::Inproc, url: None, queue: None, max_batch: None },
        capabilities,
        identity: IdentityCaps {
            key_kinds: key_kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            verified: Some(true),
        },
        ordering: Ordering::PerThread,
        dedup: Dedup { inbound_id: InboundId::Native, outbound_key_ttl_s: 0, channel_idempotent: Some(false) },
        limits,
        testing: None,
    }
}
