//! A WeChat mini-program and an official account, played: messages signed by SHA-1 with the token, the official account's as XML in safe
//! mode; a stable token for the API, five answers in 48 hours.

use std::sync::Arc;

use ark_channels::crypto::container::Envelope;
use ark_channels::crypto::sorted_sha1;
use ark_channels::settings::Secret;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Needs, Posted, Provider, Shared, TOKEN_LIFE_S, busy, silence, words};

const APP: &str = "wxdemo0000000000";
pub(super) const SECRET: &str = "a secret of the demo";
pub(super) const TOKEN: &str = "arkdemotoken";
/// 43 characters of Base64: 32 bytes.
pub(super) const AES_KEY: &str = "arkdemoarkdemoarkdemoarkdemoarkdemoarkdemo0";
const OPENID: &str = "oDEMO-anna";
/// How long after a customer's message, and how often, the house may answer.
const WINDOW: SignedDuration = SignedDuration::from_hours(48);
/// See [`WINDOW`].
const ANSWERS: u32 = 5;

pub(super) fn routes(provider: Provider) -> Router<Arc<Shared>> {
    Router::new()
        .route("/cgi-bin/stable_token", post(move |state, body| token(provider, state, body)))
        .route("/cgi-bin/token", get(move |state, Query(asked)| token(provider, state, Json(asked))))
        .route("/cgi-bin/message/custom/send", post(move |state, by, body| send(provider, state, by, body)))
        .route("/cgi-bin/message/custom/typing", post(typing))
}

pub(super) fn account(base: &str, provider: Provider) -> Needs {
    let (safe, api) = (provider == Provider::OfficialAccount, format!("{base}/{}", provider.account()));
    let (kind, mode) = if safe { ("wechat-oa", "safe") } else { ("wechat-mp", "plain") };
    let settings = json!({ "app_id": APP, "mode": mode, "api": api, "hosts": [base] });
    let mut secrets = vec![("app_secret", SECRET.to_owned()), ("token", TOKEN.to_owned())];
    secrets.extend(safe.then(|| ("aes_key", AES_KEY.to_owned())));
    (kind, settings, secrets)
}

/// A message in safe mode: XML in AES, in XML; the query signs it.
pub(super) fn sealed(owner: &str, plain: &str) -> (String, String) {
    let envelope =
        Envelope::new(Secret::new(TOKEN), &Secret::new(AES_KEY), vec![owner.to_owned()]).expect("the key is whole");
    let (time, nonce) = (Timestamp::now().as_second().to_string(), format!("{:08x}", rand::random::<u32>()));
    let encrypted = envelope.seal(rand::random(), plain.as_bytes());
    let signature = sorted_sha1(&[TOKEN, &time, &nonce]);
    let signed = envelope.sign(&time, &nonce, &encrypted);
    let query =
        format!("?signature={signature}&timestamp={time}&nonce={nonce}&encrypt_type=aes&msg_signature={signed}");
    (query, format!("<xml><ToUserName>gh_demo</ToUserName><Encrypt>{encrypted}</Encrypt></xml>"))
}

/// A message to an official account: the text in CDATA, which ends nowhere within it.
fn to_the_official_account(number: u64, now: i64, text: &str) -> Posted {
    let text = text.replace("]]>", "]]]]><![CDATA[>");
    let id = 24_000_000_000_000_000_u64 + number;
    let plain = format!(
        "<xml><ToUserName><![CDATA[gh_demo]]></ToUserName><FromUserName><![CDATA[{OPENID}]]></FromUserName>\
         <CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content>\
         <MsgId>{id}</MsgId></xml>"
    );
    let (query, body) = sealed(APP, &plain);
    (format!("{query}&openid={OPENID}"), Vec::new(), body, "text/xml")
}

pub(super) fn written(shared: &Shared, provider: Provider, text: &str) -> Posted {
    let (number, now) = (shared.wrote(provider, OPENID), Timestamp::now().as_second());
    if provider == Provider::OfficialAccount {
        return to_the_official_account(number, now, text);
    }
    let (time, nonce) = (now.to_string(), format!("{:08x}", rand::random::<u32>()));
    let signature = sorted_sha1(&[TOKEN, &time, &nonce]);
    let body = json!({
        "ToUserName": "gh_demo", "FromUserName": OPENID, "CreateTime": now, "MsgType": "text", "Content": text,
        "MsgId": 24_000_000_000_000_000_u64 + number,
    });
    let query = format!("?signature={signature}&timestamp={time}&nonce={nonce}&openid={OPENID}");
    (query, Vec::new(), body.to_string(), "application/json")
}

async fn token(provider: Provider, State(shared): State<Arc<Shared>>, Json(asked): Json<Value>) -> Json<Value> {
    if asked["appid"] != APP || asked["secret"] != SECRET {
        return Json(json!({ "errcode": 40_001, "errmsg": "invalid credential" }));
    }
    let token = shared.new_token(provider);
    Json(json!({ "access_token": token, "expires_in": TOKEN_LIFE_S }))
}

#[derive(Deserialize)]
pub(super) struct ByToken {
    pub(super) access_token: String,
}

async fn send(
    provider: Provider,
    State(shared): State<Arc<Shared>>,
    Query(by): Query<ByToken>,
    body: String,
) -> Response {
    // WeChat does not look at the content type.
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    let wrong = |code: u32, why: &str| Json(json!({ "errcode": code, "errmsg": why })).into_response();
    if !shared.knows(provider, &by.access_token) {
        return wrong(40_001, "invalid credential, access_token is invalid or not latest");
    }
    let fault = shared.fault(provider);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    if fault == Some(Fault::Refused) {
        return wrong(45_015, "response out of time limit");
    }
    let who = said["touser"].as_str().unwrap_or_default();
    match shared.answered(provider, who) {
        None => return wrong(40_003, "invalid openid"),
        Some((since, _)) if since > WINDOW => return wrong(45_015, "response out of time limit"),
        Some((_, answers)) if answers > ANSWERS => return wrong(45_047, "out of response count limit"),
        Some(_) => {}
    }
    shared.show(provider, who, &words(said["msgtype"].as_str().unwrap_or_default(), said["text"]["content"].as_str()));
    silence(fault).await;
    wrong(0, "ok")
}

async fn typing() -> Json<Value> {
    Json(json!({ "errcode": 0, "errmsg": "ok" }))
}
