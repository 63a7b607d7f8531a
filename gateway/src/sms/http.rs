//! A provider's HTTP interface, as a form that the site fills in.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_conversation::channel::{Body, Hosts, HttpCall, HttpFailure, Method};
use serde_json::Value;

use super::SmsError;
use super::http_receipts::{HttpReceipts, said};
use super::receipts::Fate;
use crate::channel_host::wire::Wire;
use crate::config::SmsHttp;
use crate::webhooks::reach::Place;

/// How values are written into a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// Within a JSON string.
    Json,
    /// In a query or a form.
    Form,
    /// In a header: as they are, without line ends.
    Plain,
}

/// A form and the connections for it.
pub(super) struct Form {
    url: String,
    method: Method,
    headers: BTreeMap<String, String>,
    content_type: String,
    escape: Escape,
    body: String,
    secrets: BTreeMap<String, String>,
    status: Option<u16>,
    answer: Option<(String, String)>,
    timeout: Duration,
    wire: Wire,
    receipts: Option<HttpReceipts>,
}

impl Form {
    pub(super) fn new(config: &SmsHttp) -> Result<Self, String> {
        let place = Place::parse(config.url.split('?').next().unwrap_or_default())?;
        let loopback = place.address().is_some_and(|address| address.is_loopback());
        if place.is_plain() && !loopback {
            return Err("`url` must be https: a short message is a secret on its way".to_owned());
        }
        let host =
            if place.is_plain() { format!("http://{}", place.authority()) } else { place.authority().to_owned() };
        let method = match config.method.as_str() {
            "POST" => Method::Post,
            "GET" => Method::Get,
            other => return Err(format!("`{other}` is no method for it: \"POST\" or \"GET\"")),
        };
        let escape = match config.content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => Escape::Json,
            "application/x-www-form-urlencoded" => Escape::Form,
            other => return Err(format!("no escapes are known for a body of type `{other}`")),
        };
        let answer = match (&config.pointer, &config.value) {
            (Some(pointer), Some(value)) if pointer.starts_with('/') => Some((pointer.clone(), value.clone())),
            (None, None) => None,
            _ => return Err("`pointer` (\"/Code\") and `value` (\"OK\") belong together".to_owned()),
        };
        let mut secrets = BTreeMap::new();
        for (name, secret) in &config.secrets {
            secrets.insert(name.clone(), secret.read()?);
        }
        let form = Self {
            url: config.url.clone(),
            method,
            headers: config.headers.clone(),
            content_type: config.content_type.clone(),
            escape,
            body: config.body.clone(),
            secrets,
            status: config.status,
            answer,
            timeout: config.timeout.0,
            wire: Wire::new(Hosts::new([host])),
            receipts: config.receipts.as_ref().map(HttpReceipts::new).transpose()?,
        };
        let whole = format!("{}{}", form.url, form.body);
        if !(whole.contains("{to}") || whole.contains("{to_plain}")) {
            return Err(
                "neither `url` nor `body` says whom to write to: put {to} or {to_plain} where it belongs".to_owned()
            );
        }
        let call = form.call("+8613800001212", "x")?;
        if escape == Escape::Json
            && let Body::Bytes { bytes, .. } = &call.body
            && let Err(error) = serde_json::from_slice::<Value>(bytes)
        {
            return Err(format!("`body` is no JSON when it is filled in: {error}"));
        }
        Ok(form)
    }

    pub(super) const fn receipts(&self) -> Option<&HttpReceipts> {
        self.receipts.as_ref()
    }

    /// Sends it; what comes back tells when it did not arrive, where the provider says so.
    pub(super) async fn send(&self, to: &str, text: &str) -> Result<Option<Fate>, SmsError> {
        let call = self.call(to, text).map_err(SmsError::Failed)?;
        let reply = self.wire.call_small(call).await.map_err(|failure| match failure {
            HttpFailure::NotSent(why) => SmsError::Failed(why),
            HttpFailure::NoAnswer(why) => SmsError::Unknown(why),
        })?;
        let well = self.status.map_or((200..300).contains(&reply.status), |status| status == reply.status);
        if !well {
            return Err(SmsError::Failed(format!("the provider said {}", reply.status)));
        }
        let body = serde_json::from_slice::<Value>(&reply.body);
        if let Some((pointer, expected)) = &self.answer {
            let body = body.as_ref().map_err(|_| SmsError::Unknown("the provider's answer is no JSON".to_owned()))?;
            match said(body, pointer) {
                Some(found) if found == *expected => {}
                Some(other) => {
                    let said: String = other.chars().take(80).collect();
                    return Err(SmsError::Failed(format!("the provider said {said} at {pointer}")));
                }
                None => return Err(SmsError::Unknown(format!("the provider's answer has nothing at {pointer}"))),
            }
        }
        Ok(self.receipts.as_ref().and_then(|receipts| receipts.wait_for(&body.ok()?)))
    }

    fn call(&self, to: &str, text: &str) -> Result<HttpCall, String> {
        let fill = |template: &str, escape| self.fill(template, escape, to, text);
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            headers.push((name.to_ascii_lowercase(), fill(value, Escape::Plain)?));
        }
        let bytes = fill(&self.body, self.escape)?.into_bytes();
        let body = if bytes.is_empty() { Body::Empty } else { Body::Bytes { mime: self.content_type.clone(), bytes } };
        let url = fill(&self.url, Escape::Form)?;
        Ok(HttpCall { method: self.method, url, headers, body, timeout: self.timeout, idempotent: false })
    }

    /// Fills a template in. A brace that begins no known name stands for itself.
    fn fill(&self, template: &str, escape: Escape, to: &str, text: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::with_capacity(template.len() + text.len()), template);
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let name = from.get(1..).and_then(|tail| tail.split_once('}')).map(|(name, _)| name).unwrap_or_default();
            let value = match name {
                "to" => Some(to),
                "to_plain" => Some(to.trim_start_matches('+')),
                "text" => Some(text),
                _ => match name.strip_prefix("secret.") {
                    Some(secret) => {
                        let missing = || format!("there is no secret `{secret}` in [sms.http] secrets");
                        Some(self.secrets.get(secret).map(String::as_str).ok_or_else(missing)?)
                    }
                    None => None,
                },
            };
            match value {
                Some(value) => {
                    out.push_str(&escaped(value, escape));
                    rest = from.get(name.len() + 2..).unwrap_or_default();
                }
                None => {
                    out.push('{');
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn escaped(value: &str, escape: Escape) -> String {
    match escape {
        Escape::Json => {
            let quoted = Value::String(value.to_owned()).to_string();
            quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
        }
        Escape::Form => form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        Escape::Plain => value.replace(['\r', '\n'], " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<Form, String> {
        Form::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn a_form_is_filled_in_and_nothing_breaks_out_of_it() {
        let json = form(
            "url = \"https://sms.example/send?v=1\"\nbody = '{\"to\":\"{to}\",\"text\":\"{text}\",\"n\":{\"a\":1}}'",
        )
        .unwrap();
        let call = json.call("+8613800001212", "a\"b\\\n{to}").unwrap();
        let Body::Bytes { bytes, .. } = &call.body else { panic!() };
        let body: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(body, serde_json::json!({"to": "+8613800001212", "text": "a\"b\\\n{to}", "n": {"a": 1}}));
        let get = form("url = \"https://sms.example/send?to={to_plain}&text={text}\"\nmethod = \"GET\"").unwrap();
        let call = get.call("+86138", "a&b=c 界").unwrap();
        assert_eq!(call.url, "https://sms.example/send?to=86138&text=a%26b%3Dc+%E7%95%8C");
        assert_eq!((call.method, call.body), (Method::Get, Body::Empty));
    }

    #[test]
    fn a_form_that_cannot_work_is_refused() {
        for (wrong, why) in [
            ("url = \"http://sms.example/send?to={to}\"", "https"),
            ("url = \"https://sms.example/send\"", "whom"),
            ("url = \"https://sms.example/\"\nbody = '{\"to\":{to}'", "no JSON"),
            ("url = \"https://sms.example/?to={to}&key={secret.key}\"", "no secret `key`"),
            ("url = \"https://sms.example/?to={to}\"\npointer = \"/Code\"", "belong together"),
            ("url = \"https://sms.example/?to={to}\"\nmethod = \"PATCH\"", "no method"),
        ] {
            let error = form(wrong).err().unwrap_or_default();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
