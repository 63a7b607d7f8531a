//! WeCom customer service, played: a callback in safe mode says that something happened, messages are pulled by a cursor, answers go by
//! `kf/send_msg`, five in 48 hours.

use std::sync::{Arc, PoisonError};

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wechat::{AES_KEY, ByToken, SECRET, TOKEN, sealed};
use super::{Fault, Needs, Posted, Provider, Shared, TOKEN_LIFE_S, busy, silence, words};

const CORP: &str = "wwdemo0000000000";
const KFID: &str = "wkDEMO";
const USER: &str = "wmDEMO-li";
/// How long after a customer's message, and how often, the house may answer.
const WINDOW: SignedDuration = SignedDuration::from_hours(48);
/// See [`WINDOW`].
const ANSWERS: u32 = 5;
/// Messages that wait to be pulled; of those before them nothing is known any more, as after three days at the original.
const INBOX_MAX: usize = 1_024;

/// What customers wrote: the number of the first, and the messages as `kf/sync_msg` gives them.
#[derive(Default)]
pub(super) struct Inbox {
    first: usize,
    messages: Vec<Value>,
}

impl Inbox {
    fn put(&mut self, message: Value) {
        if self.messages.len() >= INBOX_MAX {
            self.messages.remove(0);
            self.first += 1;
        }
        self.messages.push(message);
    }

    /// The messages from this number on, at most so many, the number behind them, and whether there are more.
    fn page(&self, from: usize, most: usize) -> (&[Value], usize, bool) {
        let from = from.clamp(self.first, self.first + self.messages.len()) - self.first;
        let until = (from + most).min(self.messages.len());
        (&self.messages[from..until], self.first + until, until < self.messages.len())
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/cgi-bin/gettoken", get(token))
        .route("/cgi-bin/kf/sync_msg", post(sync))
        .route("/cgi-bin/kf/send_msg", post(send))
}

pub(super) fn account(base: &str) -> Needs {
    let settings = json!({ "corp_id": CORP, "open_kfids": [KFID], "api": format!("{base}/wecom"), "hosts": [base] });
    let secrets = vec![("secret", SECRET.to_owned()), ("token", TOKEN.to_owned()), ("aes_key", AES_KEY.to_owned())];
    ("wecom-kf", settings, secrets)
}

pub(super) fn written(shared: &Shared, text: &str) -> Posted {
    let (number, now) = (shared.wrote(Provider::WeCom, USER), Timestamp::now().as_second());
    let message = json!({
        "msgid": format!("demo{number}"), "open_kfid": KFID, "external_userid": USER, "send_time": now, "origin": 3,
        "msgtype": "text", "text": { "content": text },
    });
    shared.inbox.lock().unwrap_or_else(PoisonError::into_inner).put(message);
    let plain = format!(
        "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><CreateTime>{now}</CreateTime><MsgType><![CDATA[event]]></MsgType>\
         <Event><![CDATA[kf_msg_or_event]]></Event><Token><![CDATA[demo{number}]]></Token><OpenKfId><![CDATA[{KFID}]]></OpenKfId></xml>"
    );
    let (query, body) = sealed(CORP, &plain);
    (query, Vec::new(), body, "text/xml")
}

#[derive(Deserialize)]
struct Asked {
    corpid: String,
    corpsecret: String,
}

async fn token(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Json<Value> {
    if asked.corpid != CORP || asked.corpsecret != SECRET {
        return Json(json!({ "errcode": 40_001, "errmsg": "invalid credential" }));
    }
    let token = shared.new_token(Provider::WeCom);
    Json(json!({ "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": TOKEN_LIFE_S }))
}

fn wrong(code: u32, why: &str) -> Response {
    Json(json!({ "errcode": code, "errmsg": why })).into_response()
}

async fn sync(State(shared): State<Arc<Shared>>, Query(by): Query<ByToken>, Json(asked): Json<Value>) -> Response {
    if !shared.knows(Provider::WeCom, &by.access_token) {
        return wrong(40_014, "invalid access_token");
    }
    if asked["open_kfid"] != KFID {
        return wrong(95_000, "invalid open_kfid");
    }
    let from = asked["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
    let most = asked["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1_000).clamp(1, 1_000);
    let inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
    let (messages, next, more) = inbox.page(from, most);
    let answer = json!({
        "errcode": 0, "errmsg": "ok", "next_cursor": next.to_string(), "has_more": u8::from(more), "msg_list": messages,
    });
    Json(answer).into_response()
}

async fn send(State(shared): State<Arc<Shared>>, Query(by): Query<ByToken>, Json(said): Json<Value>) -> Response {
    if !shared.knows(Provider::WeCom, &by.access_token) {
        return wrong(40_014, "invalid access_token");
    }
    let fault = shared.fault(Provider::WeCom);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    if fault == Some(Fault::Refused) {
        return wrong(95_001, "conversation is ended");
    }
    let who = said["touser"].as_str().unwrap_or_default();
    match shared.answered(Provider::WeCom, who) {
        None => return wrong(40_096, "invalid external userid"),
        Some((since, answers)) if since > WINDOW || answers > ANSWERS => {
            return wrong(95_001, "no more messages may be sent");
        }
        Some(_) => {}
    }
    let kind = said["msgtype"].as_str().unwrap_or_default();
    shared.show(Provider::WeCom, who, &words(kind, said["text"]["content"].as_str()));
    silence(fault).await;
    Json(json!({ "errcode": 0, "errmsg": "ok", "msgid": said["msgid"] })).into_response()
}
