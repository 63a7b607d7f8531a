//! A channel's calls over the network: to its own hosts only, in bounded time and size.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ark_conversation::channel::{Body, Hosts, HttpCall, HttpFailure, HttpReply, Method, PartSource};
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::files::Files;
use super::limits::{CALL_TIMEOUT_MAX, IDLE_CONNECTIONS, IDLE_MAX, REDIRECTS_MAX, REPLY_BYTES_MAX};
use crate::webhooks::reach::{Io, Place, dial};

type Sender = SendRequest<Full<Bytes>>;

/// Calls for one account.
pub(crate) struct Wire {
    hosts: Hosts,
    idle: Mutex<HashMap<String, Vec<(Sender, Instant)>>>,
}

/// Why a call brought no answer.
enum Broken {
    /// Nothing went out.
    Before(String),
    /// Something went out.
    After(String),
    /// The answer is longer than it may be.
    TooLong,
}

/// Why a file was not fetched this time.
pub(super) enum NoFile {
    /// An address is not one of the channel's.
    Forbidden,
    /// It is longer than it may be.
    TooLong,
    /// Anything else, in words.
    Away(String),
}

impl From<Broken> for HttpFailure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Before(why) => Self::NotSent(why),
            Broken::After(why) => Self::NoAnswer(why),
            Broken::TooLong => Self::NoAnswer("the answer is too long".to_owned()),
        }
    }
}

impl Wire {
    pub(crate) fn new(hosts: Hosts) -> Self {
        Self { hosts, idle: Mutex::default() }
    }

    /// [`Self::call`] with a body that refers to no stored file.
    pub(crate) async fn call_small(&self, call: HttpCall) -> Result<HttpReply, HttpFailure> {
        let timeout = call.timeout.min(CALL_TIMEOUT_MAX);
        let place = self.place(&call.url).map_err(HttpFailure::NotSent)?;
        let (kind, body) = encode_small(&call.body).map_err(HttpFailure::NotSent)?;
        let send = self.send(&place, &call, kind, body, REPLY_BYTES_MAX);
        match tokio::time::timeout(timeout, send).await {
            Ok(answer) => answer.map_err(HttpFailure::from),
            Err(_) => Err(HttpFailure::NoAnswer(format!("no answer within {} s", timeout.as_secs_f64()))),
        }
    }

    /// Makes a call and answers what came back. Redirects are not followed.
    pub(super) async fn call(&self, call: HttpCall, files: &Files) -> Result<HttpReply, HttpFailure> {
        let timeout = call.timeout.min(CALL_TIMEOUT_MAX);
        let place = self.place(&call.url).map_err(HttpFailure::NotSent)?;
        let (kind, body) = encode(&call.body, files).await.map_err(HttpFailure::NotSent)?;
        let send = self.send(&place, &call, kind, body, REPLY_BYTES_MAX);
        match tokio::time::timeout(timeout, send).await {
            Ok(answer) => answer.map_err(HttpFailure::from),
            Err(_) => Err(HttpFailure::NoAnswer(format!("no answer within {} s", timeout.as_secs_f64()))),
        }
    }

    /// Fetches a file: as [`Self::call`], with a few redirects, each to an allowed host.
    ///
    /// # Errors
    /// [`NoFile`]; an answer that is no success is none.
    pub(super) async fn fetch(&self, mut call: HttpCall, bytes_max: u64) -> Result<HttpReply, NoFile> {
        let timeout = call.timeout.min(CALL_TIMEOUT_MAX);
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        for _ in 0..=REDIRECTS_MAX {
            let place = self.place(&call.url).map_err(|_| NoFile::Forbidden)?;
            let (kind, body) = encode_small(&call.body).map_err(NoFile::Away)?;
            let send = self.send(&place, &call, kind, body, bytes_max);
            let reply = match tokio::time::timeout(timeout, send).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(Broken::Before(why) | Broken::After(why))) => return Err(NoFile::Away(why)),
                Ok(Err(Broken::TooLong)) => return Err(NoFile::TooLong),
                Err(_) => return Err(NoFile::Away(format!("no answer within {} s", timeout.as_secs_f64()))),
            };
            if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let nowhere = || NoFile::Away("a redirect to nowhere".to_owned());
            let to = reply.header("location").ok_or_else(nowhere)?;
            call.url = absolute(&place, to);
            // What authorises a call is for the host that it was made for.
            call.headers.retain(|(name, _)| !matches!(name.as_str(), "authorization" | "cookie"));
            (call.method, call.body) = (Method::Get, Body::Empty);
        }
        Err(NoFile::Away("it was redirected too often".to_owned()))
    }

    /// Opens a connection for a WebSocket.
    pub(super) async fn socket(&self, url: &str) -> Result<(Box<dyn Io>, String), String> {
        if !self.hosts.allow(url) {
            return Err("its address is not one of this channel's hosts".to_owned());
        }
        let http = url.replacen("ws", "http", 1);
        let place = Place::parse(&http).map_err(|_| "its address cannot be read".to_owned())?;
        Ok((dial(&place, place.is_plain()).await?, place.authority().to_owned()))
    }

    /// The place of an address that may be called.
    fn place(&self, url: &str) -> Result<Place, String> {
        if !self.hosts.allow(url) {
            let host = url.split(['?', '#']).next().unwrap_or_default();
            return Err(format!("{host} is not on one of this channel's hosts: see `hosts` of its [[channel]]"));
        }
        Place::parse(url).map_err(|_| "the address cannot be read".to_owned())
    }

    async fn send(
        &self,
        place: &Place,
        call: &HttpCall,
        kind: Option<String>,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<HttpReply, Broken> {
        if let Some(mut kept) = self.kept(place)
            && kept.ready().await.is_ok()
        {
            match self.exchange(place, kept, call, kind.as_deref(), &body, bytes_max).await {
                // It was let go of meanwhile and nothing was sent on it, or sending twice is no harm.
                Err(Broken::Before(_)) => {}
                Err(Broken::After(_)) if call.idempotent => {}
                other => return other,
            }
        }
        // A plain address is one that the operator named with its scheme: a provider's stand-in, or an adapter next door.
        let stream = dial(place, place.is_plain()).await.map_err(Broken::Before)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| Broken::Before(error.to_string()))?;
        tokio::spawn(connection);
        self.exchange(place, sender, call, kind.as_deref(), &body, bytes_max).await
    }

    fn kept(&self, place: &Place) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, kept| {
            kept.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
            !kept.is_empty()
        });
        idle.get_mut(&key(place)).and_then(Vec::pop).map(|(sender, _)| sender)
    }

    async fn exchange(
        &self,
        place: &Place,
        mut to: Sender,
        call: &HttpCall,
        kind: Option<&str>,
        body: &Bytes,
        bytes_max: usize,
    ) -> Result<HttpReply, Broken> {
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(place.path())
            .header(header::HOST, place.authority())
            .header(header::USER_AGENT, concat!("Ark/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.clone()))
            .map_err(|error| Broken::Before(error.to_string()))?;
        if let Some(kind) = kind {
            let kind = HeaderValue::from_str(kind).map_err(|error| Broken::Before(error.to_string()))?;
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        for (name, value) in &call.headers {
            let name = HeaderName::try_from(name).map_err(|error| Broken::Before(error.to_string()))?;
            let value = HeaderValue::from_str(value).map_err(|error| Broken::Before(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        let answer = to.send_request(request).await.map_err(|error| {
            // A request that was never begun says so.
            if error.is_canceled() { Broken::Before(error.to_string()) } else { Broken::After(error.to_string()) }
        })?;
        let status = answer.status().as_u16();
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = answer.headers().iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
        let headers = headers.collect();
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() { Broken::TooLong } else { Broken::After(error.to_string()) }
        })?;
        let body = body.to_bytes().to_vec();
        if to.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = idle.entry(key(place)).or_default();
            if kept.len() < IDLE_CONNECTIONS {
                kept.push((to, Instant::now()));
            }
        }
        Ok(HttpReply { status, headers, body })
    }
}

/// What connections are kept under.
fn key(place: &Place) -> String {
    format!("{}{}", if place.is_plain() { "http:" } else { "" }, place.authority())
}

/// Where a redirect leads.
fn absolute(from: &Place, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let scheme = if from.is_plain() { "http" } else { "https" };
    match to.strip_prefix("//") {
        Some(rest) => format!("{scheme}://{rest}"),
        None => format!("{scheme}://{}/{}", from.authority(), to.trim_start_matches('/')),
    }
}

/// A body that refers to no stored file, with its type.
fn encode_small(body: &Body) -> Result<(Option<String>, Bytes), String> {
    Ok(match body {
        Body::Empty => (None, Bytes::new()),
        Body::Json(value) => (Some("application/json".to_owned()), Bytes::from(value.to_string())),
        Body::Form(pairs) => (Some("application/x-www-form-urlencoded".to_owned()), Bytes::from(form(pairs))),
        Body::Bytes { mime, bytes } => (Some(mime.clone()), Bytes::from(bytes.clone())),
        Body::Multipart(_) => return Err("a file cannot be sent here".to_owned()),
    })
}

async fn encode(body: &Body, files: &Files) -> Result<(Option<String>, Bytes), String> {
    let Body::Multipart(fields) = body else { return encode_small(body) };
    let boundary = format!("ark{:032x}", rand::random::<u128>());
    let mut bytes = Vec::new();
    for (name, source) in fields {
        bytes.extend_from_slice(
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", quoted(name)).as_bytes(),
        );
        match source {
            PartSource::Text(text) => {
                bytes.extend_from_slice(b"\r\n\r\n");
                bytes.extend_from_slice(text.as_bytes());
            }
            PartSource::Media(media) => {
                let file = files.read(&media.reference).await?;
                let called =
                    media.name.as_ref().map_or_else(|| default_name(&media.mime), |name| name.reveal().to_owned());
                let head = format!("; filename=\"{}\"\r\ncontent-type: {}\r\n\r\n", quoted(&called), media.mime);
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(&file);
            }
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((Some(format!("multipart/form-data; boundary={boundary}")), Bytes::from(bytes)))
}

/// As browsers write names in multipart bodies (WHATWG HTML, multipart/form-data encoding algorithm).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn default_name(mime: &str) -> String {
    format!("file.{}", mime.rsplit('/').next().unwrap_or("bin").split(['+', ';']).next().unwrap_or("bin"))
}

/// `application/x-www-form-urlencoded` (WHATWG URL).
fn form(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written_as_browsers_do() {
        let pairs = [("a b", "1&2"), ("名", "é*-._")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(form(&pairs), "a+b=1%262&%E5%90%8D=%C3%A9*-._");
        assert_eq!(quoted("a\"b\r\nc"), "a%22b%0D%0Ac");
        assert_eq!(default_name("image/jpeg"), "file.jpeg");
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = Place::parse("https://a.example/x/y?z").unwrap();
        assert_eq!(absolute(&from, "https://b.example/1"), "https://b.example/1");
        assert_eq!(absolute(&from, "//b.example/1"), "https://b.example/1");
        assert_eq!(absolute(&from, "/1?q"), "https://a.example/1?q");
    }
}
