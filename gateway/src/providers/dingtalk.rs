//! DingTalk, played: a robot's webhook signed with its secret, the session's address for answers, and the API by token.

use std::sync::Arc;

use ark_channels::crypto::dingtalk_robot_sign;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Needs, Posted, Provider, Shared, TOKEN_LIFE_S, busy, silence, words};

pub(super) const KEY: &str = "dingdemo";
pub(super) const SECRET: &str = "a secret of the demo";
const STAFF: &str = "staff-chen";
/// How long a session's address is good.
const SESSION_MS: i64 = 5_400_000;

/// What of DingTalk both ways have; each under its own path.
pub(super) fn routes(provider: Provider) -> Router<Arc<Shared>> {
    let by_session = move |state, query, body| by_session(provider, state, query, body);
    Router::new()
        .route("/v1.0/oauth2/accessToken", post(move |state, body| token(provider, state, body)))
        .route("/robot/sendBySession", post(by_session))
        .route(
            "/v1.0/robot/messageFiles/download",
            post(move |state, headers, body| download(provider, state, headers, body)),
        )
        .route("/files/demo.png", get(file))
        .route(
            "/v1.0/robot/oToMessages/batchSend",
            post(move |state, headers, body| by_api(provider, state, headers, body)),
        )
}

pub(super) fn account(base: &str, provider: Provider) -> Needs {
    let here = format!("{base}/{}", provider.account());
    let mode = if provider == Provider::Stream { "stream" } else { "http" };
    let settings = json!({ "client_id": KEY, "mode": mode, "api": here, "oapi": here, "hosts": [base] });
    ("dingtalk", settings, vec![("client_secret", SECRET.to_owned())])
}

pub(super) fn written(shared: &Shared, provider: Provider, text: &str) -> Posted {
    posted(shared, provider, json!({ "msgtype": "text", "text": { "content": text } }))
}

/// The code by which a picture of the demo is asked for.
const PICTURE: &str = "demo-picture";

/// A picture: its bytes are fetched by a code.
pub(super) fn pictured(shared: &Shared) -> Posted {
    posted(shared, Provider::DingTalk, json!({ "msgtype": "picture", "content": { "downloadCode": PICTURE } }))
}

/// What a staff member sends, around its message.
fn posted(shared: &Shared, provider: Provider, message: Value) -> Posted {
    let (number, now) = (shared.wrote(provider, STAFF), Timestamp::now().as_millisecond());
    let session = format!("{}/{}/robot/sendBySession?session={STAFF}", shared.base, provider.account());
    let mut body = json!({
        "conversationId": "cid-demo", "conversationType": "1", "msgId": format!("demo{number}"), "createAt": now,
        "senderId": "$:LWCP:demo", "senderStaffId": STAFF, "senderNick": "陈", "senderCorpId": "dingcorp", "robotCode": KEY,
        "chatbotUserId": "$:robot", "isAdmin": false,
        "sessionWebhook": session, "sessionWebhookExpiredTime": now + SESSION_MS,
    });
    if let (Some(body), Value::Object(message)) = (body.as_object_mut(), message) {
        body.extend(message);
    }
    let time = now.to_string();
    let sign = dingtalk_robot_sign(&time, SECRET);
    let headers = vec![("timestamp".to_owned(), time), ("sign".to_owned(), sign)];
    (String::new(), headers, body.to_string(), "application/json")
}

async fn token(
    provider: Provider,
    State(shared): State<Arc<Shared>>,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if asked["appKey"] != KEY || asked["appSecret"] != SECRET {
        let wrong = json!({ "code": "invalidClientIdOrSecret", "message": "无效的clientId或者clientSecret" });
        return (StatusCode::BAD_REQUEST, Json(wrong));
    }
    let token = shared.new_token(provider);
    (StatusCode::OK, Json(json!({ "accessToken": token, "expireIn": TOKEN_LIFE_S })))
}

#[derive(Deserialize)]
struct Session {
    session: String,
}

/// Needs no token: who has the address may write.
async fn by_session(
    provider: Provider,
    State(shared): State<Arc<Shared>>,
    Query(session): Query<Session>,
    Json(said): Json<Value>,
) -> Response {
    let fault = shared.fault(provider);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    if fault == Some(Fault::Refused) {
        return Json(json!({ "errcode": 400_002, "errmsg": "参数错误" })).into_response();
    }
    if shared.answered(provider, &session.session).is_none() {
        return Json(json!({ "errcode": 300_001, "errmsg": "session 不存在" })).into_response();
    }
    let kind = said["msgtype"].as_str().unwrap_or_default();
    let text = said["text"]["content"].as_str().or_else(|| said["markdown"]["text"].as_str());
    shared.show(provider, &session.session, &words(kind, text));
    silence(fault).await;
    Json(json!({ "errcode": 0, "errmsg": "ok" })).into_response()
}

/// Where a file is, for who has a good token and a code that was given.
async fn download(
    provider: Provider,
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if !shared.knows(provider, token_of(&headers)) {
        return stale();
    }
    if asked["downloadCode"] != PICTURE || asked["robotCode"] != KEY {
        let wrong = json!({ "code": "invalidParameter.downloadCode", "message": "downloadCode 无效" });
        return (StatusCode::BAD_REQUEST, Json(wrong));
    }
    let url = format!("{}/{}/files/demo.png", shared.base, provider.account());
    (StatusCode::OK, Json(json!({ "downloadUrl": url })))
}

/// The picture: an invoice's title, as far as a few rectangles can say so.
async fn file() -> Response {
    let mut picture = image::RgbImage::from_pixel(640, 400, image::Rgb([246, 248, 250]));
    let mut bar = |(x, y): (u32, u32), (width, height): (u32, u32), colour: [u8; 3]| {
        for across in x..x + width {
            for down in y..y + height {
                picture.put_pixel(across, down, image::Rgb(colour));
            }
        }
    };
    bar((0, 0), (640, 64), [11, 95, 165]);
    for (row, width) in (0..).zip([420, 300, 360, 200]) {
        bar((48, 112 + row * 60), (120, 24), [172, 184, 196]);
        bar((200, 112 + row * 60), (width, 24), [60, 72, 84]);
    }
    let mut png = std::io::Cursor::new(Vec::new());
    match picture.write_to(&mut png, image::ImageFormat::Png) {
        Ok(()) => ([(http::header::CONTENT_TYPE, "image/png")], png.into_inner()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn token_of(headers: &HeaderMap) -> &str {
    headers.get("x-acs-dingtalk-access-token").and_then(|token| token.to_str().ok()).unwrap_or_default()
}

fn stale() -> (StatusCode, Json<Value>) {
    let stale = json!({ "code": "InvalidAuthentication", "message": "不合法的access_token" });
    (StatusCode::UNAUTHORIZED, Json(stale))
}

async fn by_api(
    provider: Provider,
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(said): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if !shared.knows(provider, token_of(&headers)) {
        return stale();
    }
    let param: Value = said["msgParam"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = param["content"].as_str().or_else(|| param["text"].as_str());
    for who in said["userIds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        shared.show(provider, who, &words(said["msgKey"].as_str().unwrap_or_default(), text));
    }
    (
        StatusCode::OK,
        Json(json!({ "processQueryKey": "demo", "invalidStaffIdList": [], "flowControlledStaffIdList": [] })),
    )
}
