//! The web face: page, API, health and metrics.
//!
//! Everything but `/healthz`, `/readyz`, the page's own files and browsers' calls (which have tokens of their own) needs the
//! token of `data/ark.token`, or an API token with the path's scope: programs send it as `Authorization: Bearer ...`; a browser opens
//! `/?token=...` once and gets a cookie that no script and no other site can use. People sign in (`session`), and get such a cookie for what
//! their roles open (`grant`) and what is in their sight (`sight`).

pub mod accounts;
mod agents;
mod api;
mod assets;
mod asyncapi;
mod audit;
mod auth;
pub(crate) mod bus;
mod callback;
mod channels;
mod chat;
mod client;
mod companion;
mod desk;
mod desk_socket;
pub(crate) mod erasures;
mod error;
mod events;
mod grant;
mod health;
mod history;
mod hooks;
pub mod limits;
mod linked;
pub(crate) mod links;
pub(crate) mod mask;
mod oidc;
mod persons;
mod pictures;
mod quick;
mod recordings;
mod reveal;
mod rtc;
pub mod scope;
mod search;
mod session;
mod sessions;
mod sight;
mod socket;
mod speech;
mod survey;
mod talk;
pub mod tls;
pub mod token;
pub mod tokens;
mod transfer;
mod typing;
mod webhooks;
mod whose;
pub mod workbench;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use utoipa::ToSchema;

use crate::control::Control;
use crate::webrtc::WebRtc;
use token::Token;

pub use api::openapi;
pub use asyncapi::asyncapi;
pub(crate) use recordings::below as file_below;

/// What the web face needs to know.
pub struct Web {
    control: Arc<dyn Control>,
    token: Token,
    public_url: Option<String>,
    tls: bool,
    files: PathBuf,
    about: About,
    proxies: Vec<crate::config::Cidr>,
    streams: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    socket_patience: Duration,
    webrtc: Option<Arc<WebRtc>>,
    tokens: Arc<tokens::Tokens>,
    sessions: Arc<sessions::Sessions>,
    tries: crate::accounts::tries::Tries,
    audit_pace: audit::Pace,
    queues: Vec<crate::config::Queue>,
    facts: Arc<sight::Facts>,
    assets: Option<PathBuf>,
    oidc: Option<Arc<crate::accounts::oidc::Oidc>>,
}

/// Who this gateway is and how to call it: for the page's hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct About {
    /// The gateway's id.
    pub gateway: String,
    /// Ark's version.
    pub version: String,
    /// SIP addresses that reach a hotline: `sip:95188@192.0.2.7:5060`.
    pub call: Vec<String>,
}

/// How to build a [`Web`].
pub struct WebConfig {
    /// The running gateway.
    pub control: Arc<dyn Control>,
    /// What opens it.
    pub token: Token,
    /// The address that browsers use, when it is not the one they connect to.
    pub public_url: Option<String>,
    /// Whether TLS ends here.
    pub tls: bool,
    /// The folder of `[files]`.
    pub files: PathBuf,
    /// For the page's hint.
    pub about: About,
    /// Browsers' calls; none: there are none.
    pub webrtc: Option<Arc<WebRtc>>,
    /// Proxies whose word on who asks is taken.
    pub proxies: Vec<crate::config::Cidr>,
    /// The site's queues: who serves them sees what waits in them.
    pub queues: Vec<crate::config::Queue>,
    /// A folder that is served in place of the desk's own files.
    pub assets: Option<PathBuf>,
    /// The site's identity provider.
    pub oidc: Option<crate::config::Oidc>,
}

impl Web {
    /// The web face of a running gateway.
    pub fn new(config: WebConfig) -> Arc<Self> {
        Self::with_socket_patience(config, limits::SOCKET_SEND_MAX)
    }

    /// As [`Web::new`]; a WebSocket's client that takes no message for `socket_patience` is cut.
    pub fn with_socket_patience(config: WebConfig, socket_patience: Duration) -> Arc<Self> {
        let WebConfig { control, token, public_url, tls, files, about, webrtc, proxies, queues, assets, oidc } = config;
        let streams = Arc::new(Semaphore::new(limits::STREAMS_MAX));
        let strangers = Arc::new(Semaphore::new(limits::SOCKET_STRANGERS_MAX));
        let closing = watch::Sender::new(false);
        Arc::new(Self {
            control,
            token,
            public_url,
            tls,
            files,
            about,
            proxies,
            streams,
            strangers,
            closing,
            socket_patience,
            webrtc,
            tokens: Arc::default(),
            sessions: Arc::default(),
            tries: Default::default(),
            audit_pace: Default::default(),
            queues,
            facts: Arc::default(),
            assets,
            oidc: oidc.map(|settings| Arc::new(crate::accounts::oidc::Oidc::new(settings))),
        })
    }

    /// Tells every WebSocket that the gateway stops; none is opened any more.
    pub fn close_sockets(&self) {
        self.closing.send_replace(true);
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// A place for a WebSocket whose client has not shown the token yet.
    fn stranger_place(&self) -> Result<OwnedSemaphorePermit, error::ApiError> {
        let place = Arc::clone(&self.strangers).try_acquire_owned();
        place
            .map_err(|_| error::ApiError::unavailable("too many sockets without a token are open; send it in a header"))
    }

    /// A place among the [`limits::STREAMS_MAX`] streams; it is free again when it is dropped.
    fn stream_place(&self) -> Result<OwnedSemaphorePermit, error::ApiError> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| error::ApiError::unavailable("too many streams are open; close some"))
    }
}

type Routes = Vec<(&'static str, MethodRouter<Arc<Web>>)>;

/// Every path of `/api/v1`; a test compares it with the OpenAPI document.
fn api_routes() -> Routes {
    vec![
        ("/api/v1/about", get(api::about)),
        ("/api/v1/accounts", get(accounts::list).post(accounts::make)),
        ("/api/v1/accounts/{name}", get(accounts::one).patch(accounts::change).delete(accounts::remove)),
        ("/api/v1/accounts/{name}/password", post(accounts::password)),
        ("/api/v1/audit", get(audit::list)),
        ("/api/v1/session", get(session::session).post(session::sign_in).delete(session::sign_out)),
        ("/api/v1/session/first", post(session::first)),
        ("/api/v1/session/oidc", get(oidc::begin)),
        ("/api/v1/session/oidc/callback", get(oidc::callback)),
        ("/api/v1/session/password", post(session::password)),
        ("/api/v1/session/ways", get(session::ways)),
        ("/api/v1/bus/dead", get(bus::dead)),
        ("/api/v1/bus/replay", post(bus::replay)),
        ("/api/v1/calls", get(api::calls).post(api::place)),
        ("/api/v1/calls/{id}/hangup", post(api::hangup)),
        ("/api/v1/calls/{id}/legs/{leg}/mute", post(talk::mute)),
        ("/api/v1/calls/{id}/links", post(links::make)),
        ("/api/v1/calls/{id}/dtmf", post(transfer::keys)),
        ("/api/v1/calls/{id}/hold", post(transfer::hold)),
        ("/api/v1/calls/{id}/recording", post(talk::recording)),
        ("/api/v1/calls/{id}/recordings", post(talk::start_recording).delete(talk::stop_recording)),
        ("/api/v1/calls/{id}/supervisors", post(talk::supervise)),
        ("/api/v1/calls/{id}/supervisors/{leg}", patch(talk::supervise_as).delete(talk::stop_supervising)),
        ("/api/v1/channels", get(channels::list)),
        ("/api/v1/conversations", get(api::conversations)),
        ("/api/v1/conversations/{id}", get(api::conversation)),
        ("/api/v1/conversations/{id}/claim", post(desk::claim)),
        ("/api/v1/conversations/{id}/events", get(api::conversation_events)),
        ("/api/v1/conversations/{id}/messages", get(desk::messages).post(desk::send)),
        ("/api/v1/conversations/{id}/pictures", post(pictures::send_picture)),
        ("/api/v1/conversations/{id}/recordings/{name}", get(recordings::recording)),
        ("/api/v1/conversations/{id}/resolve", post(desk::resolve)),
        ("/api/v1/conversations/{id}/transcript", get(speech::transcript).post(speech::correct)),
        ("/api/v1/conversations/{id}/callback", post(callback::ask).delete(callback::cancel)),
        ("/api/v1/conversations/{id}/notes", post(transfer::note)),
        ("/api/v1/conversations/{id}/summary", get(transfer::summary)),
        ("/api/v1/conversations/{id}/transfer", get(transfer::status).post(transfer::begin)),
        ("/api/v1/conversations/{id}/transfer/cancel", post(transfer::cancel)),
        ("/api/v1/conversations/{id}/transfer/complete", post(transfer::complete)),
        ("/api/v1/conversations/{id}/transfer/join", post(transfer::join)),
        ("/api/v1/conversations/{id}/reveal", post(reveal::reveal)),
        ("/api/v1/conversations/{id}/typing", post(typing::typing)),
        ("/api/v1/erasures", post(erasures::erase)),
        ("/api/v1/events", get(events::stream)),
        ("/api/v1/history", get(history::history)),
        ("/api/v1/media/{id}", get(channels::media)),
        ("/api/v1/persons", get(persons::find)),
        ("/api/v1/persons/{id}", get(persons::person)),
        ("/api/v1/persons/{id}/merge", post(persons::merge)),
        ("/api/v1/persons/{id}/unmerge", post(persons::unmerge)),
        ("/api/v1/plans", get(api::plans)),
        ("/api/v1/plans/{name}/publish", post(api::publish)),
        ("/api/v1/plans/{name}/rollback", post(api::rollback)),
        ("/api/v1/tokens", get(tokens::list).post(tokens::make)),
        ("/api/v1/tokens/{id}", delete(tokens::revoke)),
        ("/api/v1/quick-replies", get(quick::list).put(quick::put)),
        ("/api/v1/search", get(search::search)),
        ("/api/v1/speech", get(speech::speech)),
        ("/api/v1/webhooks", get(webhooks::list)),
        ("/api/v1/webhooks/{name}/deliveries", get(webhooks::deliveries)),
        ("/api/v1/webhooks/{name}/enable", post(webhooks::enable)),
        ("/api/v1/webhooks/{name}/replay", post(webhooks::replay_dead)),
        ("/api/v1/webhooks/{name}/test", post(webhooks::test)),
        ("/api/v1/webhooks/deliveries/{id}/replay", post(webhooks::replay)),
        ("/api/v1/webrtc/tokens", post(rtc::token)),
        ("/api/v1/desk", get(agents::view)),
        ("/api/v1/desk/presence", put(agents::presence)),
        ("/api/v1/offers/{offer}/accept", post(agents::accept)),
        ("/api/v1/offers/{offer}/decline", post(agents::decline)),
        ("/api/v1/agents", get(agents::agents)),
        ("/api/v1/queues", get(agents::queues)),
        ("/api/v1/wallboard", get(agents::wallboard)),
        ("/api/v1/asyncapi.json", get(api::asyncapi_json)),
        ("/api/v1/openapi.json", get(api::openapi_json)),
    ]
}

/// The web chat's paths.
fn chat_routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/chat", get(chat::demo))
        .route("/chat/ark.js", get(chat::script))
        .route("/chat/ark.css", get(chat::style))
        .route("/chat/demo.js", get(chat::demo_script))
        .route("/chat/demo.css", get(chat::demo_style))
        .route("/chat/demo/channel", get(chat::demo_channel))
        .route("/chat/{channel}/config", get(chat::config).options(chat::preflight))
        .route("/chat/{channel}/socket", get(chat::socket))
        .route("/chat/{channel}/stream", post(chat::stream).options(chat::preflight))
        .route("/chat/{channel}/say", post(chat::say).options(chat::preflight))
        .route("/chat/{channel}/files", post(chat::upload).options(chat::preflight))
        .route("/chat/{channel}/files/{id}", get(chat::shown))
}

/// Everything that is served.
pub fn router(web: Arc<Web>) -> Router {
    let mut guarded = Router::new().route("/metrics", get(health::metrics));
    for (path, methods) in api_routes() {
        guarded = guarded.route(path, methods);
    }
    let guarded = guarded.layer(middleware::from_fn_with_state(Arc::clone(&web), auth::guard));
    let open = Router::new()
        .merge(workbench::routes())
        .route("/operations", get(assets::page))
        .route("/call", get(assets::call))
        .route("/assets/{name}", get(assets::asset))
        // It looks itself who may: a browser can send no header with a socket.
        .route("/api/v1/socket", get(socket::socket))
        .route("/api/v1/desk/socket", get(desk_socket::socket))
        .route("/rtc", get(rtc::socket))
        .route("/whep/{target}", post(rtc::whep).options(rtc::whip_options))
        .route("/whep/{target}/{name}", delete(rtc::whep_end).patch(rtc::whep_patch).options(rtc::whip_options))
        .route("/whip/{target}", post(rtc::whip).options(rtc::whip_options))
        .route("/whip/{target}/{name}", delete(rtc::whip_end).patch(rtc::whip_patch).options(rtc::whip_options))
        // The web chat looks itself: by the page's origin and the visitor's token.
        .merge(chat_routes())
        // Each channel looks itself who may: by its provider's signature.
        .route("/hooks/sms/receipts", post(hooks::sms_receipts))
        .route("/hooks/{account}", any(hooks::hook))
        .route("/hooks/{account}/{*rest}", any(hooks::below))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz));
    open.merge(guarded)
        .merge(companion::routes())
        .merge(survey::routes())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(middleware::from_fn(error::one_form))
        .layer(middleware::from_fn(auth::security_headers))
        .with_state(web)
}

/// Serves until `stop` is done; requests that are being answered get their end, event streams are cut. WebSockets are
/// the [`Web`]'s to close.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    match tls {
        None => take_connections(listener, router, stop, limits::HEAD_TIMEOUT).await,
        Some(config) => {
            let listener = tls::TlsListener::new(listener, config)?;
            take_connections(listener, router, stop, limits::HEAD_TIMEOUT).await;
        }
    }
    Ok(())
}

/// Serves a bounded number of connections, each of which must send its requests in time.
async fn take_connections<L: Listener<Addr = std::net::SocketAddr>>(
    mut listener: L,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    head_timeout: Duration,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, address)) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        while connections.try_join_next().is_some() {}
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
        let inner = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(client::Peer(address));
            inner.call(request)
        });
        // With upgrades, for which the library has no watched shutdown of its own.
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut stopped = stopping.subscribe();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let stop = async { drop(stopped.wait_for(|stop| *stop).await) };
            // A client that breaks off is no event.
            let ended = tokio::select! {
                _ = connection.as_mut() => true,
                () = stop => false,
            };
            if !ended {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(place);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let answered = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits::STOP_MAX, answered).await;
    connections.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn gateway(
        head_timeout: Duration,
    ) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>, tokio::sync::oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let endless = || async {
            axum::response::sse::Sse::new(tokio_stream::pending::<
                Result<axum::response::sse::Event, std::convert::Infallible>,
            >())
        };
        let router = Router::new().route("/", get(|| async { "hello" })).route("/events", get(endless));
        let task = tokio::spawn(take_connections(listener, router, stopped, head_timeout));
        (address, task, stop)
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_let_go() {
        let (address, _task, _stop) = gateway(Duration::from_millis(50)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection is closed");
        let mut quick = TcpStream::connect(address).await.unwrap();
        quick.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        quick.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_stream_that_is_open_does_not_hold_up_the_end() {
        let (address, task, stop) = gateway(Duration::from_secs(30)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it ends").unwrap();
    }
}
