//! A WeChat mini-program, played: messages signed by SHA-1 with the token, a stable token for the API, five answers in 48 hours.

use std::sync::Arc;

use ark_channels::crypto::sorted_sha1;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Needs, Posted, Provider, Shared, TOKEN_LIFE_S, busy, silence, words};

const APP: &str = "wxdemo0000000000";
const SECRET: &str = "a secret of the demo";
const TOKEN: &str = "arkdemotoken";
const OPENID: &str = "oDEMO-anna";
/// How long after a customer's message, and how often, the house may answer.
const WINDOW: SignedDuration = SignedDuration::from_hours(48);
/// See [`WINDOW`].
const ANSWERS: u32 = 5;

pub(super) fn account(base: &str) -> Needs {
    let settings = json!({ "app_id": APP, "mode": "plain", "api": format!("{base}/wechat"), "hosts": [base] });
    ("wechat-mp", settings, vec![("app_secret", SECRET.to_owned()), ("token", TOKEN.to_owned())])
}

pub(super) fn written(shared: &Shared, text: &str) -> Posted {
    let (number, now) = (shared.wrote(Provider::WeChat, OPENID), Timestamp::now().as_second());
    let (time, nonce) = (now.to_string(), format!("{:08x}", rand::random::<u32>()));
    let signature = sorted_sha1(&[TOKEN, &time, &nonce]);
    let body = json!({
        "ToUserName": "gh_demo", "FromUserName": OPENID, "CreateTime": now, "MsgType": "text", "Content": text,
        "MsgId": 24_000_000_000_000_000_u64 + number,
    });
    let query = format!("?signature={signature}&timestamp={time}&nonce={nonce}&openid={OPENID}");
    (query, Vec::new(), body.to_string(), "application/json")
}

pub(super) async fn token(State(shared): State<Arc<Shared>>, Json(asked): Json<Value>) -> Json<Value> {
    if asked["appid"] != APP || asked["secret"] != SECRET {
        return Json(json!({ "errcode": 40_001, "errmsg": "invalid credential" }));
    }
    let token = shared.new_token(Provider::WeChat);
    Json(json!({ "access_token": token, "expires_in": TOKEN_LIFE_S }))
}

#[derive(Deserialize)]
pub(super) struct ByToken {
    access_token: String,
}

pub(super) async fn send(
    State(shared): State<Arc<Shared>>,
    Query(by): Query<ByToken>,
    Json(said): Json<Value>,
) -> Response {
    let wrong = |code: u32, why: &str| Json(json!({ "errcode": code, "errmsg": why })).into_response();
    if !shared.knows(Provider::WeChat, &by.access_token) {
        return wrong(40_001, "invalid credential, access_token is invalid or not latest");
    }
    let fault = shared.fault(Provider::WeChat);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    if fault == Some(Fault::Refused) {
        return wrong(45_015, "response out of time limit");
    }
    let who = said["touser"].as_str().unwrap_or_default();
    match shared.answered(Provider::WeChat, who) {
        None => return wrong(40_003, "invalid openid"),
        Some((since, _)) if since > WINDOW => return wrong(45_015, "response out of time limit"),
        Some((_, answers)) if answers > ANSWERS => return wrong(45_047, "out of response count limit"),
        Some(_) => {}
    }
    shared.show(
        Provider::WeChat,
        who,
        &words(said["msgtype"].as_str().unwrap_or_default(), said["text"]["content"].as_str()),
    );
    silence(fault).await;
    wrong(0, "ok")
}

pub(super) async fn typing() -> Json<Value> {
    Json(json!({ "errcode": 0, "errmsg": "ok" }))
}
