//! How the command line talks to the running gateway: HTTP on `[web] listen`, with the token of `data/ark.token`.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::output::Failure;
use super::{CliResult, Site};
use crate::http::tls::{self, Pinned};

/// How long the gateway may take to begin an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest line of an event stream.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Which gateway to talk to.
#[derive(Clone, Debug, Default, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub(super) site: Site,
    /// The gateway's address, such as http://127.0.0.1:8080; without it what the site's file says
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file that holds the gateway's token; without it ark.token in the site's data folder
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// For https: the gateway's certificate (PEM), which must be the one it shows; without it the site's own
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
}

/// A gateway that can be asked.
#[derive(Debug)]
pub struct Client {
    base: String,
    host: String,
    port: u16,
    tls: Option<Arc<Pinned>>,
    token: String,
    token_file: PathBuf,
}

impl Client {
    /// Finds out where the gateway is and how to be let in. Nothing is sent yet.
    ///
    /// # Errors
    /// The site's file is broken, the token cannot be read, or the address is none.
    pub fn new(args: &GatewayArgs) -> Result<Self, Failure> {
        let config = args.site.load()?.config;
        let base = args.url.clone().unwrap_or_else(|| url_of(&config));
        let wrong = || Failure::environment(format!("`{base}` is not an address: write http://127.0.0.1:8080"));
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                Some(pinned(args.cert.as_deref().or_else(|| config.web.tls.as_ref().map(|tls| tls.cert.as_path())))?)
            }
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or_else(|| if tls.is_some() { 443 } else { 80 });
        let token_file = args.token_file.clone().unwrap_or_else(|| config.gateway.data.join("ark.token"));
        let token = std::fs::read_to_string(&token_file).map_err(|error| {
            Failure::environment(format!(
                "{}: the gateway's token cannot be read: {error}\n  help: `ark serve` makes it at its first start; name it with \
                 --token-file when you are in another folder",
                token_file.display()
            ))
        })?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { base, host, port, tls, token: token.trim().to_owned(), token_file })
    }

    /// GET, the answer as JSON.
    ///
    /// # Errors
    /// The gateway is out of reach (environment), or said no (refused).
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.send(Method::GET, path, Bytes::new(), &[]).await?;
        self.read(answer).await
    }

    /// POST of a JSON body, the answer as JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::environment(format!("the request cannot be written as JSON: {error}")))?;
        let answer = self.send(Method::POST, path, body.into(), &[(header::CONTENT_TYPE, "application/json")]).await?;
        self.read(answer).await
    }

    /// PATCH of a JSON body, the answer as JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::environment(format!("the request cannot be written as JSON: {error}")))?;
        let answer = self.send(Method::PATCH, path, body.into(), &[(header::CONTENT_TYPE, "application/json")]).await?;
        self.read(answer).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        let answer = self.send(Method::DELETE, path, Bytes::new(), &[]).await?;
        self.read::<serde_json::Value>(answer).await.map(drop)
    }

    /// Opens an event stream.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn events(&self, path: &str) -> Result<Events, Failure> {
        let answer = self.send(Method::GET, path, Bytes::new(), &[(header::ACCEPT, "text/event-stream")]).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(answer).await);
        }
        Ok(Events { body: answer.into_body(), buffer: Vec::new() })
    }

    async fn read<T: DeserializeOwned>(&self, answer: http::Response<Incoming>) -> Result<T, Failure> {
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let body = self.body(answer).await?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| {
            Failure::environment(format!("{} answered something else than this ark expects: {error}", self.base))
        })
    }

    async fn body(&self, answer: http::Response<Incoming>) -> Result<Bytes, Failure> {
        let limited = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = limited.collect().await;
        Ok(body
            .map_err(|error| Failure::environment(format!("{}: the answer broke off: {error}", self.base)))?
            .to_bytes())
    }

    async fn refusal(&self, answer: http::Response<Incoming>) -> Failure {
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return Failure::environment(format!(
                "{} does not know the token of {}: is it another gateway's?",
                self.base,
                self.token_file.display()
            ));
        }
        let body = self.body(answer).await.unwrap_or_default();
        let sentence = serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|body| body["error"]["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("the gateway answered {status}"));
        Failure::Refused(sentence)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<http::Response<Incoming>, Failure> {
        let away = |error: &dyn std::fmt::Display| {
            Failure::environment(format!(
                "no gateway answers at {}: {error}\n  help: start one with `ark serve`, or name it with --url",
                self.base
            ))
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::environment(format!("`{path}` cannot be asked for: {error}")))?;
        let exchange = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| away(&error))?;
            match &self.tls {
                None => exchange(stream, request).await.map_err(|error| away(&error)),
                Some(pinned) => {
                    let stream = TlsConnector::from(pinned.client())
                        .connect(tls::server_name(&self.host), stream)
                        .await
                        .map_err(|error| away(&error))?;
                    exchange(stream, request).await.map_err(|error| away(&error))
                }
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| away(&format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))?
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Sends one request over a connection of its own.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn pinned(cert: Option<&Path>) -> Result<Arc<Pinned>, Failure> {
    let Some(cert) = cert else {
        return Err(Failure::environment("https needs the gateway's certificate: name it with --cert"));
    };
    Pinned::read(cert).map(Arc::new).map_err(Failure::environment)
}

/// Where the gateway of a site listens, as seen from the same machine.
pub(super) fn url_of(config: &crate::config::Config) -> String {
    let listen = config.web.listen;
    let scheme = if config.web.tls.is_some() { "https" } else { "http" };
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("{scheme}://{address}")
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// The `event:` field, empty when there is none.
    pub name: String,
    /// The `id:` field, empty when there is none.
    pub id: String,
    /// The `data:` lines.
    pub data: String,
}

/// An open event stream (`text/event-stream`).
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the gateway ended the stream or the connection broke.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = read_event(&String::from_utf8_lossy(&block));
                if event.name.is_empty() && event.data.is_empty() {
                    continue;
                }
                return Some(event);
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}

fn read_event(block: &str) -> ServerEvent {
    let mut event = ServerEvent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => value.clone_into(&mut event.id),
            "data" if event.data.is_empty() => value.clone_into(&mut event.data),
            "data" => {
                event.data.push('\n');
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}

/// Runs a command's conversation with the gateway.
pub(super) fn block_on(work: impl Future<Output = CliResult>) -> CliResult {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("no runtime: {error}")))?
        .block_on(work)
}

/// Percent-encodes one path segment or query value.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_name_and_its_lines_of_data() {
        let event = read_event(": keep\nevent: record\nid: 7\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!(event, ServerEvent { name: "record".into(), id: "7".into(), data: "{\"a\":\n1}".into() });
    }

    #[test]
    fn a_path_segment_is_encoded() {
        assert_eq!(encode("a/b 热"), "a%2Fb%20%E7%83%AD");
    }
}
