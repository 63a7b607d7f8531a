//! An Alipay life account, played: notifications signed by RSA2, a gateway that checks the app's signature and signs its answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
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
        let who = said["to_user_id"].as_str().unwrap_or_default();
        match shared.answered(Provider::Alipay, who).filter(|_| fault != Some(Fault::Refused)) {
            None => json!({ "code": "40004", "sub_code": "MSG_SD_OVER_TIME", "msg": "Business Failed" }),
            Some(_) => {
                let kind = said["msg_type"].as_str().unwrap_or_default();
                shared.show(Provider::Alipay, who, &words(kind, said["text"]["content"].as_str()));
                json!({ "code": "10000", "msg": "Success", "msg_id": "demo" })
            }
        }
    };
    silence(fault).await;
    let answer = answer.to_string();
    let sign = shared.alipay.sign(answer.as_bytes());
    format!("{{\"alipay_open_public_message_custom_send_response\":{answer},\"sign\":\"{sign}\"}}").into_response()
}
