//! `/hooks/{account}`: where providers call. Who may is each channel's own business: it checks the provider's signature.

use std::sync::Arc;
use std::time::Duration;

use ark_conversation::channel::{HttpReply, HttpRequest, Method};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Web;
use super::error::ApiError;
use crate::channel_host::limits::{BODY_TIMEOUT, FILE_BYTES_MAX, LARGE_BODIES_MAX, REQUEST_BYTES_MAX};
use crate::sms::ReceiptError;

/// Where adapters bring files.
const MEDIA_PATH: &str = "/ark/v1/media";

/// Places for large bodies, held from their reading until they are kept.
static LARGE: Semaphore = Semaphore::const_new(LARGE_BODIES_MAX);

/// Answer of a hook to a request for its very path.
pub(super) async fn hook(
    state: State<Arc<Web>>,
    Path(account): Path<String>,
    query: RawQuery,
    method: http::Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    ask(state, (account, String::new()), query, &method, &headers, body).await
}

/// Answer of a hook to a request for what is below its path.
pub(super) async fn below(
    state: State<Arc<Web>>,
    Path((account, rest)): Path<(String, String)>,
    query: RawQuery,
    method: http::Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    ask(state, (account, format!("/{rest}")), query, &method, &headers, body).await
}

/// Receipts of short messages, under the key in the query.
pub(super) async fn sms_receipts(
    State(web): State<Arc<Web>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(sms) = web.control.sms() else { return refused(&ReceiptError::None).into_response() };
    let (body, _place) = match read_body(&headers, "", body, BODY_TIMEOUT).await {
        Ok(read) => read,
        Err(refusal) => return refusal.into_response(),
    };
    let query = read_query(query.as_deref().unwrap_or_default());
    let key = query.iter().find(|(name, _)| name == "key").map_or("", |(_, value)| value);
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match sms.receipts(key, kind, &body) {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(error) => refused(&error).into_response(),
    }
}

fn refused(error: &ReceiptError) -> ApiError {
    match error {
        ReceiptError::None => ApiError::not_found(error.to_string()),
        ReceiptError::Key => ApiError::forbidden(error.to_string()),
        ReceiptError::Unread(_) => ApiError::bad_request(error.to_string()),
    }
}

async fn ask(
    State(web): State<Arc<Web>>,
    (account, path): (String, String),
    RawQuery(query): RawQuery,
    method: &http::Method,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let no_account = || ApiError::not_found(format!("there is no [[channel]] `{account}`"));
    let Some(host) = web.control.channels() else { return no_account().into_response() };
    if host.manifest(&account).is_none() {
        return no_account().into_response();
    }
    let (body, _place) = match read_body(headers, &path, body, BODY_TIMEOUT).await {
        Ok(read) => read,
        Err(refusal) => return refusal.into_response(),
    };
    let method = match *method {
        http::Method::GET | http::Method::HEAD => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::DELETE => Method::Delete,
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let query = read_query(query.as_deref().unwrap_or_default());
    let request = HttpRequest { method, path, query, headers, body };
    host.ask(&account, request).await.map_or_else(|| no_account().into_response(), reply)
}

/// Reads a body: small ones as they come; large ones, which only files are, a few at a time, for as long as the place with
/// it is held.
async fn read_body(
    headers: &HeaderMap,
    path: &str,
    body: Body,
    within: Duration,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'static>>), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let small = length.is_some_and(|length| length <= REQUEST_BYTES_MAX) || path != MEDIA_PATH;
    let most = if small { REQUEST_BYTES_MAX } else { usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) };
    let place = if small { None } else { Some(large_place(BODY_TIMEOUT).await?) };
    let slow = || ApiError::bad_request("the body did not come in time");
    let read = timeout(within, axum::body::to_bytes(body, most)).await.map_err(|_| slow())?;
    read.map(|bytes| (bytes.to_vec(), place)).map_err(|_| ApiError::too_large(format!("at most {most} bytes are read")))
}

/// A place for a large body, once one of those that are read is done.
///
/// # Errors
/// 503 when none is in time: whoever sends it tries again.
async fn large_place(within: Duration) -> Result<SemaphorePermit<'static>, ApiError> {
    let full = || ApiError::unavailable("too many files are being read; send it again in a minute");
    timeout(within, LARGE.acquire()).await.map_err(|_| full())?.map_err(|_| full())
}

fn reply(reply: HttpReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The pairs of a query, decoded as `application/x-www-form-urlencoded` (WHATWG URL).
fn read_query(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio_stream::StreamExt as _;
    use tokio_stream::wrappers::IntervalStream;

    use super::*;

    /// A provider, or somebody who says to be one, whose request never ends: neither it nor many of its kind keep others out.
    #[tokio::test]
    async fn a_body_that_drips_is_given_up_in_time_and_its_place_is_free_again() {
        const SOON: Duration = Duration::from_millis(60);
        async fn drips(path: &'static str) -> Option<StatusCode> {
            let drops = IntervalStream::new(tokio::time::interval(SOON / 12));
            let body = Body::from_stream(drops.map(|_| Ok::<_, Infallible>("x")));
            let read = read_body(&HeaderMap::new(), path, body, SOON).await;
            read.err().map(|error| error.into_response().status())
        }
        assert_eq!(drips("").await, Some(StatusCode::BAD_REQUEST));
        // More of them than there are places.
        let many: Vec<_> = (0..2 * LARGE_BODIES_MAX).map(|_| tokio::spawn(drips(MEDIA_PATH))).collect();
        for one in many {
            assert_eq!(one.await.unwrap(), Some(StatusCode::BAD_REQUEST));
        }
        let whole = read_body(&HeaderMap::new(), MEDIA_PATH, Body::from("a file"), BODY_TIMEOUT).await;
        assert!(whole.is_ok_and(|(bytes, place)| bytes == b"a file" && place.is_some()));
        assert_eq!(LARGE.available_permits(), LARGE_BODIES_MAX);
        let _all = LARGE.acquire_many(u32::try_from(LARGE_BODIES_MAX).unwrap()).await.unwrap();
        let refused = large_place(SOON).await.expect_err("there is no place");
        assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused() {
        let length = REQUEST_BYTES_MAX + 1;
        let mut says_so = HeaderMap::new();
        says_so.insert(header::CONTENT_LENGTH, length.into());
        for headers in [HeaderMap::new(), says_so] {
            let read = read_body(&headers, "", Body::from(vec![b'x'; length]), BODY_TIMEOUT).await;
            let Err(error) = read else { panic!("it is too long") };
            assert_eq!(error.into_response().status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[test]
    fn a_query_is_decoded_pair_by_pair() {
        let pairs = read_query("signature=a%2Bb&nonce=1+2&echo&%e4%bd%a0=%zz&&x==");
        let expected = [("signature", "a+b"), ("nonce", "1 2"), ("echo", ""), ("你", "%zz"), ("x", "=")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
