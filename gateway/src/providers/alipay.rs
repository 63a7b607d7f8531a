//! An Alipay life account, played: notifications signed by RSA2, a gateway that checks the app's signature and signs its answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Fault, Needs, Posted, Provider, Shared, busy, silence, words};

/// The app's key and Alipay's: made for this stand-in, and worth nothing elsewhere.
pub(super) const APP_KEY: &str = include_str!("keys/app.pem");
/// See [`APP_KEY`].
pub(super) const ALIPAY_KEY: &str = include_str!("keys/alipay.pem");
const APP: &str = "2021000000000001";
const FOLLOWER: &str = "2088000000000001";
const SEND: &str = "alipay.open.public.message.custom.send";
/// The same by version 3.
pub(super) const SEND_V3: &str = "/v3/alipay/open/public/message/custom/send";

pub(super) fn account(base: &str, alipay_public_key: &str) -> Needs {
    let gateway = format!("{base}/alipay/gateway.do");
    let settings = json!({
        "app_id": APP, "alipay_public_key": alipay_public_key, "gateway": gateway, "api": base, "files": gateway, "hosts": [base],
    });
    ("alipay", settings, vec![("private_key", APP_KEY.to_owned())])
}

pub(super) fn written(shared: &Shared, text: &str) -> Posted {
    let (number, now) = (shared.wrote(Provider::Alipay, FOLLOWER), Timestamp::now().as_millisecond());
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let xml = format!(
        "<XML><AppId>{APP}</AppId><FromUserId>{FOLLOWER}</FromUserId><CreateTime>{now}</CreateTime><MsgType>text</MsgType>\
         <Text><Content>{text}</Content></Text><MsgId>demo{number}</MsgId></XML>"
    );
    let mut pairs =
        vec![("biz_content", xml.as_str()), ("charset", "UTF-8"), ("service", "alipay.mobile.public.message.notify")];
    let content: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let sign = shared.alipay.sign(content.join("&").as_bytes());
    pairs.extend([("sign", sign.as_str()), ("sign_type", "RSA2")]);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    (String::new(), Vec::new(), body, "application/x-www-form-urlencoded")
}

/// What is asked stands in the query, in the body, or in both, as Alipay's own SDK writes it.
pub(super) async fn gateway(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery, body: String) -> Response {
    let fault = shared.fault(Provider::Alipay);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    let query = query.unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(body.as_bytes()));
    // What stands in both is one field.
    let fields: BTreeMap<Vec<u8>, Vec<u8>> =
        asked.map(|(name, value)| (name.into_owned().into_bytes(), value.into_owned().into_bytes())).collect();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = fields.into_iter().collect();
    let value = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name.as_bytes());
        found.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let answer = if value("method") != SEND {
        json!({ "code": "40004", "sub_code": "isv.invalid-method", "msg": "Business Failed" })
    } else if !shared.app.verify_pairs(&pairs) {
        json!({ "code": "40002", "sub_code": "isv.invalid-signature", "msg": "Invalid Arguments" })
    } else {
        let said: Value = serde_json::from_str(&value("biz_content")).unwrap_or_default();
        if shown(&shared, fault, &said) {
            json!({ "code": "10000", "msg": "Success", "msg_id": "demo" })
        } else {
            json!({ "code": "40004", "sub_code": "MSG_SD_OVER_TIME", "msg": "Business Failed" })
        }
    };
    silence(fault).await;
    let answer = answer.to_string();
    let sign = shared.alipay.sign(answer.as_bytes());
    format!("{{\"alipay_open_public_message_custom_send_response\":{answer},\"sign\":\"{sign}\"}}").into_response()
}

/// Whether the follower is shown it: they wrote before, and nothing goes wrong.
fn shown(shared: &Shared, fault: Option<Fault>, said: &Value) -> bool {
    let who = said["to_user_id"].as_str().unwrap_or_default();
    let answered = shared.answered(Provider::Alipay, who).is_some() && fault != Some(Fault::Refused);
    if answered {
        let kind = said["msg_type"].as_str().unwrap_or_default();
        shared.show(Provider::Alipay, who, &words(kind, said["text"]["content"].as_str()));
    }
    answered
}

/// A notification of version 3: the body is JSON, and what signs it stands in the headers.
pub(super) fn notified(shared: &Shared, text: &str) -> Posted {
    let (number, now) = (shared.wrote(Provider::Alipay, FOLLOWER), Timestamp::now().as_millisecond());
    let content = json!({ "from_user_id": FOLLOWER, "msg_type": "text", "text": { "content": text } });
    let body = json!({
        "notify_id": format!("v3-{number}"), "msg_method": "alipay.open.public.message.notify", "app_id": APP,
        "utc_timestamp": now.to_string(), "biz_content": content,
    });
    let body = body.to_string();
    (String::new(), signed_v3(shared, now, &body), body, "application/json")
}

/// The headers that sign a body of version 3.
fn signed_v3(shared: &Shared, now: i64, body: &str) -> Vec<(String, String)> {
    let (time, nonce) = (now.to_string(), format!("{:032x}", rand::random::<u128>()));
    let sign = shared.alipay.sign(format!("{time}\n{nonce}\n{body}\n").as_bytes());
    let headers = [("alipay-timestamp", time), ("alipay-nonce", nonce), ("alipay-signature", sign)];
    headers.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The gateway of version 3: the app signs its request in `authorization`, Alipay its answer in its headers.
pub(super) async fn gateway_v3(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let fault = shared.fault(Provider::Alipay);
    if fault == Some(Fault::Busy) {
        return busy();
    }
    let refused = |code: &str, message: &str| json!({ "code": code, "message": message });
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok()).unwrap_or_default();
    let auth = given.strip_prefix("ALIPAY-SHA256withRSA ").and_then(|given| given.split_once(",sign="));
    let signed = auth.is_some_and(|(auth, sign)| {
        auth.contains(&format!("app_id={APP},"))
            && shared.app.verify(format!("{auth}\nPOST\n{SEND_V3}\n{body}\n").as_bytes(), sign)
    });
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    let (status, answer) = if !signed {
        (StatusCode::UNAUTHORIZED, refused("invalid-signature", "the signature does not match"))
    } else if shown(&shared, fault, &said) {
        (StatusCode::OK, json!({ "msg_id": "demo" }))
    } else {
        (StatusCode::BAD_REQUEST, refused("MSG_SD_OVER_TIME", "Business Failed"))
    };
    silence(fault).await;
    let answer = answer.to_string();
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], answer.clone()).into_response();
    for (name, value) in signed_v3(&shared, Timestamp::now().as_millisecond(), &answer) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
