//! `[companion]` and `[sms]`: a caller's page for pictures during a call, and how its link goes out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// `[companion]`: a caller's page for pictures and words during a call (docs/companion.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Companion {
    /// The address that callers' phones reach this gateway by, as short as can be: `"https://k.example"`. Left out: `[web] public_url`, or
    /// the web's own socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The words of the short message; `{url}` becomes the link.
    pub sms_text: String,
    /// Where links are POSTed for callers whom an app of the house knows: `{ url = "...", secrets = [{ file = "..." }] }`, signed as
    /// webhooks are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_hook: Option<AppHook>,
}

impl Default for Companion {
    fn default() -> Self {
        Self {
            url: None,
            sms_text: "您正在通话的客服请您发送照片，15 分钟内有效 / Send pictures to your call: {url}".to_owned(),
            app_hook: None,
        }
    }
}

/// `app_hook = { ... }`: where links are POSTed for an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppHook {
    /// `"https://app.example/ark-link"`. Redirects are not followed.
    pub url: String,
    /// What requests are signed with, as of a `[[webhook]]`.
    pub secrets: Vec<Secret>,
    /// Allow addresses inside: this machine, private networks.
    #[serde(default)]
    pub allow_private: bool,
}

/// `[sms]`: short messages out, for companion links. One of `http` and `smpp` says how. Left out: none are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// What numbers begin with that may be written to: `["+861"]`. Others never are: it keeps a fraud's expensive numbers out.
    pub allow: Vec<String>,
    /// The country of numbers without one, without `+`.
    #[serde(default = "country")]
    pub country: String,
    /// Messages to one number in an hour, at this gateway.
    #[serde(default = "per_number")]
    pub per_number_an_hour: u32,
    /// Messages to all numbers in an hour, at this gateway.
    #[serde(default = "per_hour")]
    pub an_hour: u32,
    /// By a provider's HTTP interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SmsHttp>,
    /// By SMPP 3.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smpp: Option<SmsSmpp>,
}

fn country() -> String {
    "86".to_owned()
}

const fn per_number() -> u32 {
    4
}

const fn per_hour() -> u32 {
    500
}

/// `[sms.http]`: a provider's HTTP interface, as a form. In `url`, `headers` and `body`, `{to}` (with `+`), `{to_plain}` (without),
/// `{text}` and `{secret.NAME}` are filled in, escaped as the place asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsHttp {
    /// The address: `https`, or `http` on this machine. It is the only host that is called; redirects are not followed.
    pub url: String,
    /// `"POST"` or `"GET"`.
    #[serde(default = "post")]
    pub method: String,
    /// Headers beside the content type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body's type: `"application/json"` or `"application/x-www-form-urlencoded"`; its escapes follow from it.
    #[serde(default = "json")]
    pub content_type: String,
    /// The body: `'{"phone":"{to}","text":"{text}"}'`.
    #[serde(default)]
    pub body: String,
    /// Secrets by name, each as `{ file = "..." }` or `{ env = "..." }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// The status of success. Left out: every 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where the answer's JSON says whether it worked, as a JSON pointer: `"/Code"`. Left out: the status says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What stands there when it worked: `"OK"`, `"0"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How long an answer may take.
    #[serde(default = "http_timeout")]
    pub timeout: Span,
    /// How the provider tells what became of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<SmsReceipts>,
}

/// `[sms.http.receipts]`: the provider's receipts, `POST`ed to `/hooks/sms/receipts?key=KEY` as JSON (one, or a list) or as a form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsReceipts {
    /// The key in the address, 16 characters or more: who knows it may say what became of messages.
    pub key: Secret,
    /// Where the answer to a message says the message's id, as a JSON pointer: `"/BizId"`.
    pub sent_id: String,
    /// Where a receipt says it.
    pub id: String,
    /// Where a receipt says whether the message arrived: `"/success"`.
    pub state: String,
    /// What stands there when it did: `["true"]`. Anything else means that it did not.
    pub delivered: Vec<String>,
    /// Where a receipt says why not: `"/err_code"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The answer that the provider waits for, in JSON.
    #[serde(default = "receipts_answer")]
    pub answer: String,
}

fn receipts_answer() -> String {
    r#"{"code":0,"msg":"ok"}"#.to_owned()
}

fn post() -> String {
    "POST".to_owned()
}

fn json() -> String {
    "application/json".to_owned()
}

fn http_timeout() -> Span {
    Span::from_secs(10)
}

/// `[sms.smpp]`: a message centre by SMPP 3.4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsSmpp {
    /// Host and port: `"smsc.example:2775"`.
    pub address: String,
    /// Encrypt, and check the certificate against the public authorities.
    #[serde(default)]
    pub tls: bool,
    /// Who we are there.
    pub system_id: String,
    /// At most 8 bytes: `{ file = "..." }` or `{ env = "..." }`.
    pub password: Secret,
    /// The `system_type`, when the centre asks for one.
    #[serde(default)]
    pub system_type: String,
    /// The sender that is shown: a number or a name.
    #[serde(default)]
    pub from: String,
    /// Messages under way without an answer.
    #[serde(default = "window")]
    pub window: usize,
    /// How long an answer may take.
    #[serde(default = "http_timeout")]
    pub timeout: Span,
}

const fn window() -> usize {
    10
}
