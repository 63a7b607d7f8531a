//! The web face: page, API, health and metrics.
//!
//! Everything but `/healthz`, `/readyz` and the page's own files needs the token of `data/ark.token`: programs send it as
//! `Authorization: Bearer ...`; a browser opens `/?token=...` once and gets a cookie that no script and no other site can use.

mod api;
mod assets;
mod auth;
mod error;
mod events;
mod health;
pub mod limits;
mod mask;
mod recordings;
pub mod tls;
pub mod token;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ServerConfig;
use utoipa::ToSchema;

use crate::control::Control;
use token::Token;

pub use api::openapi;

/// What the web face needs to know.
pub struct Web {
    control: Arc<dyn Control>,
    token: Token,
    public_url: Option<String>,
    tls: bool,
    files: PathBuf,
    about: About,
    streams: Arc<Semaphore>,
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
}

impl Web {
    /// The web face of a running gateway.
    pub fn new(config: WebConfig) -> Arc<Self> {
        let WebConfig { control, token, public_url, tls, files, about } = config;
        let streams = Arc::new(Semaphore::new(limits::STREAMS_MAX));
        Arc::new(Self { control, token, public_url, tls, files, about, streams })
    }
}

type Routes = Vec<(&'static str, MethodRouter<Arc<Web>>)>;

/// Every path of `/api/v1`; a test compares it with the OpenAPI document.
fn api_routes() -> Routes {
    vec![
        ("/api/v1/about", get(api::about)),
        ("/api/v1/calls", get(api::calls).post(api::place)),
        ("/api/v1/calls/{id}/hangup", post(api::hangup)),
        ("/api/v1/conversations", get(api::conversations)),
        ("/api/v1/conversations/{id}", get(api::conversation)),
        ("/api/v1/conversations/{id}/events", get(api::conversation_events)),
        ("/api/v1/conversations/{id}/recordings/{name}", get(recordings::recording)),
        ("/api/v1/events", get(events::stream)),
        ("/api/v1/plans", get(api::plans)),
        ("/api/v1/plans/{name}/publish", post(api::publish)),
        ("/api/v1/plans/{name}/rollback", post(api::rollback)),
        ("/api/v1/openapi.json", get(api::openapi_json)),
    ]
}

/// Everything that is served.
pub fn router(web: Arc<Web>) -> Router {
    let mut guarded = Router::new().route("/metrics", get(health::metrics));
    for (path, methods) in api_routes() {
        guarded = guarded.route(path, methods);
    }
    let guarded = guarded.layer(middleware::from_fn_with_state(Arc::clone(&web), auth::guard));
    let open = Router::new()
        .route("/", get(assets::page))
        .route("/assets/{name}", get(assets::asset))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz));
    open.merge(guarded)
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(middleware::from_fn(auth::security_headers))
        .with_state(web)
}

/// Serves until `stop` is done; requests that are being answered get their end, event streams are cut.
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
        None => axum::serve(listener, router).with_graceful_shutdown(stop).await,
        Some(config) => {
            let listener = tls::TlsListener::new(listener, config)?;
            axum::serve(listener, router).with_graceful_shutdown(stop).await
        }
    }
}
