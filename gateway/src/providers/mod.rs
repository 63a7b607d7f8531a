//! Providers, played on loopback: DingTalk (webhook and stream), a WeChat mini-program and official account, WeCom customer service and
//! an Alipay life account, as a channel meets them on the wire.
//!
//! They check what their originals check (signatures, tokens, reply windows) and answer as those do, so that a developer sees
//! customers of them write and be answered without any account, and tests see what a customer was shown. Their keys and
//! secrets are worth nothing elsewhere.

mod alipay;
mod dingtalk;
mod stream;
mod wechat;
mod wecom;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ark_channels::crypto::alipay::{SigningKey, VerifyingKey};
use ark_channels::settings::Secret;
use ark_conversation::channel::{Body, Hosts, HttpCall, HttpRequest, Method};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::channel_host::wire::Wire;
use crate::config::Channel;

/// Messages of the house that nobody has looked at yet; the oldest readers' loss is theirs.
const SHOWN: usize = 256;
/// How long a gateway may take to acknowledge a customer's message: WeChat's five seconds, for all of them.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a token is good.
const TOKEN_LIFE_S: i64 = 7_200;
/// How long a provider says nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest request that is read.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// A robot of DingTalk.
    DingTalk,
    /// A mini-program of WeChat.
    WeChat,
    /// A life account of Alipay.
    Alipay,
    /// A robot of DingTalk in stream mode.
    Stream,
    /// An official account of WeChat, in safe mode.
    OfficialAccount,
    /// Customer service of WeCom.
    WeCom,
}

impl Provider {
    /// Those that the demo shows.
    pub const DEMO: [Self; 3] = [Self::DingTalk, Self::WeChat, Self::Alipay];
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::DingTalk, Self::WeChat, Self::Alipay, Self::Stream, Self::OfficialAccount, Self::WeCom];

    /// The name of its account in the site's file, and of its path here.
    #[must_use]
    pub const fn account(self) -> &'static str {
        match self {
            Self::DingTalk => "dingtalk",
            Self::WeChat => "wechat",
            Self::Alipay => "alipay",
            Self::Stream => "dingtalk-stream",
            Self::OfficialAccount => "wechat-oa",
            Self::WeCom => "wecom",
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DingTalk => "DingTalk 钉钉",
            Self::WeChat => "WeChat 微信",
            Self::Alipay => "Alipay 支付宝",
            Self::Stream => "DingTalk 钉钉 (stream)",
            Self::OfficialAccount => "WeChat 公众号",
            Self::WeCom => "WeCom 微信客服",
        }
    }
}

/// What a customer's screen shows of the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In whose app.
    pub provider: Provider,
    /// To whom, as the provider calls them.
    pub to: String,
    /// The words; of anything else its kind in brackets.
    pub text: String,
}

/// How a provider answers the next messages of the house, instead of taking them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429, and to come again in a second: nothing was taken.
    Busy,
    /// It never takes this message.
    Refused,
    /// It takes the message, and says nothing.
    Silence,
}

/// What a provider knows of its customers.
#[derive(Default)]
struct Customers {
    /// The token that is good now, and until when.
    token: Option<(String, Timestamp)>,
    /// When each wrote last, and how often they were answered since.
    wrote: BTreeMap<String, (Timestamp, u32)>,
    /// Tokens given out so far.
    tokens: u32,
    /// Messages written so far: their ids.
    count: u64,
    /// What goes wrong next, and how often.
    fault: Option<(Fault, u32)>,
}

/// What all requests share.
struct Shared {
    base: String,
    shown: mpsc::Sender<Shown>,
    customers: Mutex<BTreeMap<Provider, Customers>>,
    stream: stream::Sockets,
    inbox: Mutex<wecom::Inbox>,
    alipay: SigningKey,
    app: VerifyingKey,
}

impl Shared {
    fn customers(&self) -> MutexGuard<'_, BTreeMap<Provider, Customers>> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, provider: Provider, to: &str, text: &str) {
        let shown = Shown { provider, to: to.to_owned(), text: text.to_owned() };
        // Whoever does not look misses it, as a customer does.
        let _ = self.shown.try_send(shown);
    }

    /// Gives a new token out, and its life in seconds.
    fn new_token(&self, provider: Provider) -> String {
        let token = format!("{:032x}", rand::random::<u128>());
        let until = Timestamp::now() + jiff::SignedDuration::from_secs(TOKEN_LIFE_S);
        let mut customers = self.customers();
        let all = customers.entry(provider).or_default();
        all.tokens += 1;
        all.token = Some((token.clone(), until));
        token
    }

    fn knows(&self, provider: Provider, token: &str) -> bool {
        let customers = self.customers();
        let known = customers.get(&provider).and_then(|all| all.token.as_ref());
        known.is_some_and(|(known, until)| known == token && *until > Timestamp::now())
    }

    /// A customer writes: the number of the message.
    fn wrote(&self, provider: Provider, who: &str) -> u64 {
        let mut customers = self.customers();
        let all = customers.entry(provider).or_default();
        all.count += 1;
        all.wrote.insert(who.to_owned(), (Timestamp::now(), 0));
        all.count
    }

    /// What goes wrong with this message.
    fn fault(&self, provider: Provider) -> Option<Fault> {
        let mut customers = self.customers();
        let fault = &mut customers.entry(provider).or_default().fault;
        let (now, left) = (*fault)?;
        *fault = (left > 1).then(|| (now, left - 1));
        Some(now)
    }

    /// The house answers a customer: how long ago they wrote, and how often they were answered since, this time included.
    fn answered(&self, provider: Provider, who: &str) -> Option<(jiff::SignedDuration, u32)> {
        let mut customers = self.customers();
        let (at, answers) = customers.entry(provider).or_default().wrote.get_mut(who)?;
        *answers += 1;
        Some((Timestamp::now().duration_since(*at), *answers))
    }
}

/// The providers of one site, until they are dropped.
pub struct Providers {
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Providers {
    /// Listens on a free port of loopback; what customers are shown comes by the receiver.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> io::Result<(Self, mpsc::Receiver<Shown>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let (sender, shown) = mpsc::channel(SHOWN);
        let broken = |error: ark_channels::crypto::alipay::KeyError| io::Error::other(error.to_string());
        let key = |text: &str| SigningKey::new(&Secret::new(text)).map_err(broken);
        let (alipay, app) = (key(alipay::ALIPAY_KEY)?, key(alipay::APP_KEY)?);
        let app = VerifyingKey::new(&app.public()).map_err(broken)?;
        let shared = Arc::new(Shared {
            base,
            shown: sender,
            customers: Mutex::default(),
            stream: stream::Sockets::default(),
            inbox: Mutex::default(),
            alipay,
            app,
        });
        let router = Router::new()
            .nest("/dingtalk", dingtalk::routes(Provider::DingTalk))
            .nest("/dingtalk-stream", dingtalk::routes(Provider::Stream).merge(stream::routes()))
            .nest("/wechat", wechat::routes(Provider::WeChat))
            .nest("/wechat-oa", wechat::routes(Provider::OfficialAccount))
            .nest("/wecom", wecom::routes())
            .route("/alipay/gateway.do", post(alipay::gateway))
            .route(alipay::SEND_V3, post(alipay::gateway_v3))
            .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the providers that are played here have ended");
            }
        });
        Ok((Self { shared, serving }, shown))
    }

    /// The site's accounts at these; their secrets are written into `folder`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn channels(&self, of: &[Provider], folder: &Path) -> io::Result<Vec<Channel>> {
        std::fs::create_dir_all(folder)?;
        let base = &self.shared.base;
        let alipay = self.shared.alipay.public();
        of.iter()
            .map(|&provider| {
                let (kind, settings, secrets) = match provider {
                    Provider::DingTalk | Provider::Stream => dingtalk::account(base, provider),
                    Provider::WeChat | Provider::OfficialAccount => wechat::account(base, provider),
                    Provider::Alipay => alipay::account(base, &alipay),
                    Provider::WeCom => wecom::account(base),
                };
                account(provider, kind, &settings, &secrets, folder)
            })
            .collect()
    }

    /// The next so many messages of the house to this provider's customers go wrong.
    pub fn fault(&self, provider: Provider, fault: Fault, times: u32) {
        self.shared.customers().entry(provider).or_default().fault = Some((fault, times));
    }

    /// How many access tokens this provider has given out.
    #[must_use]
    pub fn tokens_given(&self, provider: Provider) -> u32 {
        self.shared.customers().get(&provider).map_or(0, |all| all.tokens)
    }

    /// The tokens that this provider gave out are good no more.
    pub fn forget_tokens(&self, provider: Provider) {
        self.shared.customers().entry(provider).or_default().token = None;
    }

    /// What a customer writes, as the provider brings it to `/hooks/{account}`.
    #[must_use]
    pub fn delivery(&self, provider: Provider, text: &str) -> HttpRequest {
        request(self.posted(provider, text))
    }

    /// What a customer writes, as Alipay's notifications of version 3 bring it to `/hooks/{account}`.
    #[must_use]
    pub fn notification_v3(&self, text: &str) -> HttpRequest {
        request(alipay::notified(&self.shared, text))
    }

    /// Sends what a customer wrote over the socket that the gateway has opened: the code of its answer.
    ///
    /// # Errors
    /// In words: there is no socket, or no answer came.
    pub async fn push(&self, delivery: &HttpRequest) -> Result<u16, String> {
        self.shared.stream.push(&String::from_utf8_lossy(&delivery.body)).await
    }

    fn posted(&self, provider: Provider, text: &str) -> Posted {
        match provider {
            Provider::DingTalk | Provider::Stream => dingtalk::written(&self.shared, provider, text),
            Provider::WeChat | Provider::OfficialAccount => wechat::written(&self.shared, provider, text),
            Provider::Alipay => alipay::written(&self.shared, text),
            Provider::WeCom => wecom::written(&self.shared, text),
        }
    }

    /// A customer writes to the house; whether the gateway at this address has taken it.
    ///
    /// # Errors
    /// In words: nobody answers there, or the answer is no acknowledgement.
    pub async fn write(&self, gateway: SocketAddr, provider: Provider, text: &str) -> Result<(), String> {
        self.bring(gateway, provider, self.posted(provider, text)).await
    }

    /// A customer in DingTalk sends a picture; whether the gateway at this address has taken it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_picture(&self, gateway: SocketAddr) -> Result<(), String> {
        self.bring(gateway, Provider::DingTalk, dingtalk::pictured(&self.shared)).await
    }

    async fn bring(&self, gateway: SocketAddr, provider: Provider, posted: Posted) -> Result<(), String> {
        let (query, headers, body, mime) = posted;
        let url = format!("http://{gateway}/hooks/{}{query}", provider.account());
        let body = Body::Bytes { mime: mime.to_owned(), bytes: body.into_bytes() };
        let call = HttpCall { method: Method::Post, url, headers, body, timeout: PATIENCE, idempotent: false };
        let wire = Wire::new(Hosts::new([format!("http://{gateway}")]));
        let reply = wire.call_small(call).await.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(()) } else { Err(format!("the gateway answers {}", reply.status)) }
    }
}

/// What an account needs: its kind, its settings, its secrets by name.
type Needs = (&'static str, Value, Vec<(&'static str, String)>);
/// What a provider posts: query, headers, body, content type.
type Posted = (String, Vec<(String, String)>, String, &'static str);

/// As it comes to a hook.
fn request((query, headers, body, mime): Posted) -> HttpRequest {
    let pairs = form_urlencoded::parse(query.trim_start_matches('?').as_bytes());
    let query = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let headers = headers.into_iter().chain([("content-type".to_owned(), mime.to_owned())]).collect();
    HttpRequest { method: Method::Post, path: String::new(), query, headers, body: body.into_bytes() }
}

fn account(
    provider: Provider,
    kind: &str,
    settings: &Value,
    secrets: &[(&'static str, String)],
    folder: &Path,
) -> io::Result<Channel> {
    let mut files = serde_json::Map::new();
    for (name, text) in secrets {
        let file = folder.join(format!("{}-{name}", provider.account()));
        std::fs::write(&file, text)?;
        files.insert((*name).to_owned(), json!({ "file": file }));
    }
    let channel = json!({
        "name": provider.account(), "kind": kind, "queue": "general", "settings": settings, "secrets": files,
    });
    serde_json::from_value(channel).map_err(io::Error::other)
}

/// A provider that has too much to do.
fn busy() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response()
}

/// A provider that has taken a message and does not say so, for longer than anybody waits.
async fn silence(fault: Option<Fault>) {
    if fault == Some(Fault::Silence) {
        tokio::time::sleep(SILENCE).await;
    }
}

/// The text of a message, or its kind.
fn words(kind: &str, text: Option<&str>) -> String {
    text.map_or_else(|| format!("[{kind}]"), str::to_owned)
}

#[cfg(test)]
mod tests;
