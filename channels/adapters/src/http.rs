//! Adapters of others: a channel by the adapter standard's HTTP form (ADAPTERS.md).
//!
//! The adapter posts events to `/hooks/{account}/ark/v1/ingest`, signed (Standard Webhooks), one or a list of up to 256; they
//! are answered when they are durable, one result for each. Messages of the house are posted to `{url}/ark/v1/events`,
//! signed alike, and tried again under the same id: the adapter remembers ids. What the adapter can do it says at
//! `{url}/.well-known/ark-adapter`; until that was read only text is sent.

use std::collections::BTreeMap;

use ark_conversation::channel::{
    Ack, Body, CallId, Capabilities, Capability, Channel, DeliveryId, Health, Hosts, HttpCall, HttpFailure, HttpReply,
    HttpRequest, In, Ingest, Limits, Manifest, Method, OUTCOME_UNKNOWN, Out, Outbound, Outcome, RequestId,
};
use ark_conversation::{CloudEvent, ThreadSource};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::base::Base;
use crate::crypto::webhook::WebhookSecrets;
use crate::limits::{CALL_TIMEOUT, DELIVERIES_MAX, INGEST_BATCH_MAX, MANIFEST_BYTES_MAX};
use crate::outside::{self, FileDoor, Rejected, Taken, refusal};
use crate::settings::{Account, Secrets, SettingsError, base as base_url, read};
use crate::wire;

const SECRETS: &[&str] = &["secret", "old_secret"];
/// What the gateway's own adapter id stands for in a manifest that was not read yet.
const NAME: &str = "http";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where the adapter is; none: it only brings messages.
    url: Option<String>,
    /// Read by [`crate::hosts`].
    hosts: Option<Vec<String>>,
}

/// An adapter of others.
struct HttpAdapter {
    manifest: Manifest,
    base: Base,
    own: ThreadSource,
    url: Option<String>,
    secrets: WebhookSecrets,
    calls: BTreeMap<CallId, Call>,
    files: FileDoor,
    /// When the manifest is asked for again, and how often that failed.
    ask_at: Option<Timestamp>,
    failures: u32,
}

enum Call {
    Manifest,
    Event(DeliveryId),
}

/// The host of `url`, as [`Hosts`] names it.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    match scheme {
        "https" => Some(authority.strip_suffix(":443").unwrap_or(authority).to_owned()),
        "http" => Some(format!("http://{authority}")),
        _ => None,
    }
}

pub(crate) fn build(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    secrets.only(SECRETS)?;
    let Settings { url, hosts } = read(settings)?;
    let hosts = hosts.map_or_else(|| Hosts::new(url.as_deref().and_then(host_of)), Hosts::new);
    let url = url.map(|url| base_url("url", &url, &hosts)).transpose()?;
    secrets.need("secret")?;
    let secrets = outside::secrets(secrets)?.ok_or(SettingsError::Secret { name: "secret" })?;
    let capabilities = Capabilities { text: Some(Capability::BOTH), ..Capabilities::default() };
    let limits = Limits { ack_deadline_ms: None, out_per_s: None, reply_window_s: None, replies_per_window: None };
    let own = outside::own(NAME, &account);
    Ok(Box::new(HttpAdapter {
        manifest: wire::manifest((NAME, NAME), capabilities, &["custom"], limits),
        base: Base::new(NAME, account, seed),
        own,
        url,
        secrets,
        calls: BTreeMap::new(),
        files: FileDoor::default(),
        ask_at: None,
        failures: 0,
    }))
}

impl Channel for HttpAdapter {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => match self.url {
                Some(_) => self.ask_manifest(),
                None => self.base.health(Health::Up),
            },
            In::HttpRequest { request, http } => self.asked(now, request, &http),
            In::HttpResponse { call, answer } => match self.calls.remove(&call) {
                Some(Call::Manifest) => self.told_manifest(now, answer),
                Some(Call::Event(delivery)) => {
                    let outcome = self.outcome(answer);
                    self.base.push(Out::Settle { delivery, outcome });
                }
                None => {}
            },
            In::Send(message) => self.send(now, &message),
            In::Live(event) => self.show(now, &event),
            In::Fetched { fetch, answer } => self.files.kept(&mut self.base, fetch, answer),
            In::Tick => {
                self.base.woken();
                if self.ask_at.is_some_and(|at| at <= now) {
                    self.ask_at = None;
                    self.ask_manifest();
                }
            }
            In::Told { .. }
            | In::SocketOpen { .. }
            | In::Frame { .. }
            | In::SocketClosed { .. }
            | In::Token { .. }
            | In::RefreshToken { .. } => {}
        }
        self.base.wake_at([self.ask_at]);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

impl HttpAdapter {
    fn ask_manifest(&mut self) {
        let Some(url) = &self.url else { return };
        let call = wire::again(wire::call(Method::Get, format!("{url}/.well-known/ark-adapter"), Body::Empty));
        let call = self.base.call(call);
        self.calls.insert(call, Call::Manifest);
    }

    fn told_manifest(&mut self, now: Timestamp, answer: Result<HttpReply, HttpFailure>) {
        let read = match answer {
            Ok(reply) if reply.status == 200 && reply.body.len() <= MANIFEST_BYTES_MAX => {
                serde_json::from_slice::<Manifest>(&reply.body).map_err(|error| error.to_string())
            }
            Ok(reply) => Err(format!("it answered {}", reply.status)),
            Err(failure) => Err(failure.to_string()),
        };
        match read.and_then(|manifest| manifest.check().map(|()| manifest).map_err(|error| error.to_string())) {
            Ok(manifest) => {
                self.failures = 0;
                self.manifest = manifest.clone();
                self.base.push(Out::Manifest(Box::new(manifest)));
                self.base.health(Health::Up);
            }
            Err(why) => {
                let why = format!("its manifest at /.well-known/ark-adapter cannot be had: {why}");
                self.base.health(Health::Down { why });
                self.ask_at = Some(now + self.base.random.backoff(self.failures));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        let done = match http.path.as_str() {
            "/ark/v1/health" if http.method == Method::Get => Err(HttpReply::json(200, &json!({"status": "ok"}))),
            "/ark/v1/ingest" => self.ingest(now, request, http),
            _ => {
                let done = self.files.asked(&mut self.base, (now, &self.secrets), request, http);
                let nothing = "adapters post events to `ark/v1/ingest` below this path";
                done.unwrap_or_else(|| Err(HttpReply::text(404, nothing)))
            }
        };
        if let Err(reply) = done {
            self.base.reply(request, reply);
        }
    }

    /// Events of the adapter: each is taken or refused for itself; those that are taken are kept together.
    fn ingest(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) -> Result<(), HttpReply> {
        wire::acceptable(http)?;
        outside::verify(&self.secrets, now, http)?;
        let text = std::str::from_utf8(&http.body).map_err(|_| refusal(400, "encoding", "the body is not UTF-8"))?;
        let items = split(text)?;
        let (mut events, mut results) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for item in items {
            match outside::read(&self.own, item.get()) {
                Ok(Taken::Kept(event)) => {
                    results.push(json!({"id": event.id, "status": "accepted"}));
                    events.push(event);
                }
                Ok(Taken::Live(event)) => {
                    results.push(json!({"id": event.id, "status": "accepted"}));
                    self.base.push(Out::Live(Box::new(event)));
                }
                Err(Rejected { id, code, why }) => {
                    results.push(json!({"id": id, "status": "rejected", "code": code, "message": why}));
                }
            }
        }
        let reply = HttpReply::json(200, &json!({ "results": results }));
        if events.is_empty() {
            return Err(reply);
        }
        let durable = vec![Ack::Reply { request, reply }];
        let refused = vec![Ack::Reply { request, reply: wire::busy() }];
        self.base.push(Out::Ingest(Ingest { events, durable, refused, save: None }));
        Ok(())
    }

    fn send(&mut self, now: Timestamp, message: &Outbound) {
        let delivery = message.delivery;
        let settle = |outcome| Out::Settle { delivery, outcome };
        if self.url.is_none() {
            let text = Some("this channel has no `url`: it brings messages and takes none".to_owned());
            return self.base.push(settle(Outcome::Failed { code: "no_way_out".to_owned(), text }));
        }
        if self.calls.len() >= DELIVERIES_MAX {
            return self.base.push(settle(Outcome::Retry { code: "busy".to_owned(), after: None }));
        }
        if let Some(call) = self.post(now, &message.event) {
            self.calls.insert(call, Call::Event(delivery));
        }
    }

    fn show(&mut self, now: Timestamp, event: &CloudEvent) {
        let typing = self.manifest.capabilities.typing.as_ref().is_some_and(|one| one.outbound);
        if typing && self.calls.len() < DELIVERIES_MAX {
            // Nobody waits for what comes of it.
            self.post(now, event);
        }
    }

    /// Posts one event, signed.
    fn post(&mut self, now: Timestamp, event: &CloudEvent) -> Option<CallId> {
        let url = format!("{}/ark/v1/events", self.url.as_ref()?);
        let bytes = serde_json::to_vec(&[event]).ok()?;
        let signature = self.secrets.sign(&event.id, now, &bytes);
        let headers = [
            ("webhook-id", event.id.clone()),
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-signature", signature),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let body = Body::Bytes { mime: "application/cloudevents-batch+json".to_owned(), bytes };
        let (method, timeout) = (Method::Post, CALL_TIMEOUT);
        Some(self.base.call(HttpCall { method, url, headers, body, timeout, idempotent: true }))
    }

    /// What the adapter's answer says of a message.
    fn outcome(&mut self, answer: Result<HttpReply, HttpFailure>) -> Outcome {
        let retry = |code: &str, after| Outcome::Retry { code: code.to_owned(), after };
        let reply = match answer {
            // It tells copies by their ids: to send it again is no harm. When it is given up, only what was never sent is known
            // not to have arrived.
            Err(failure) => {
                let why = format!("it does not answer: {failure}");
                self.base.health(Health::Down { why });
                let silence = matches!(failure, HttpFailure::NoAnswer(_));
                return retry(if silence { OUTCOME_UNKNOWN } else { "unreachable" }, None);
            }
            Ok(reply) => reply,
        };
        let after =
            reply.header("retry-after").and_then(|after| after.parse().ok()).map(std::time::Duration::from_secs);
        match reply.status {
            200..=299 => {
                self.base.health(Health::Up);
                accepted(&reply.body)
            }
            410 => {
                let why = "it answers 410, it is retired: take its [[channel]] away, or set it up anew";
                self.base.health(Health::Broken { why: why.to_owned() });
                Outcome::Failed { code: "retired".to_owned(), text: None }
            }
            401 | 403 => {
                let why = "it refuses our signature: give both sides the same secret";
                self.base.health(Health::Broken { why: why.to_owned() });
                retry("signature", after)
            }
            408 | 425 | 429 => retry("rate", after),
            500..=599 => {
                self.base.health(Health::Down { why: format!("it answers {}", reply.status) });
                retry("unavailable", after)
            }
            status => Outcome::Failed { code: "refused".to_owned(), text: Some(format!("it answers {status}")) },
        }
    }
}

/// The result for the one event that was posted.
fn accepted(body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<ItemResult>,
    }
    #[derive(Deserialize)]
    struct ItemResult {
        status: String,
        code: Option<String>,
        message: Option<String>,
        native_id: Option<String>,
    }
    // An adapter that only says 200 has it.
    let result = serde_json::from_slice::<Results>(body).ok().and_then(|all| all.results.into_iter().next());
    match result {
        Some(one) if one.status == "rejected" => {
            let code = one.code.filter(|code| !code.is_empty() && code.len() <= 64);
            Outcome::Failed { code: code.unwrap_or_else(|| "rejected".to_owned()), text: one.message }
        }
        result => Outcome::Accepted { native_id: result.and_then(|one| one.native_id) },
    }
}

/// The events of a body: a list, or one.
fn split(text: &str) -> Result<Vec<&RawValue>, HttpReply> {
    let wrong = |error: serde_json::Error| refusal(400, "json", &format!("the body is no JSON: {error}"));
    if !text.trim_start().starts_with('[') {
        return Ok(vec![serde_json::from_str(text).map_err(wrong)?]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
    if items.is_empty() || items.len() > INGEST_BATCH_MAX {
        return Err(refusal(413, "batch", &format!("1 to {INGEST_BATCH_MAX} events are taken at once")));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use ark_conversation::Tenant;
    use ark_conversation::channel::{FetchFailure, FileKind};
    use ark_conversation::limits::TEXT_CHARS_MAX;
    use ark_conversation::samples;

    use super::*;
    use crate::settings::Secret;

    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn adapter(settings: &Value) -> Box<dyn Channel> {
        let account = Account { tenant: Tenant::MAIN, name: "shop".to_owned() };
        let secrets = Secrets::new([("secret".to_owned(), Secret::new(SECRET))]);
        let mut channel = build(account, settings, &secrets, 1).unwrap();
        channel.handle(samples::at(0), In::Begin { saved: BTreeMap::new() });
        channel
    }

    fn drain(channel: &mut dyn Channel) -> Vec<Out> {
        std::iter::from_fn(|| channel.poll()).collect()
    }

    fn signed(at: Timestamp, body: &str) -> HttpRequest {
        let secrets = WebhookSecrets::new(&[Secret::new(SECRET)]).unwrap();
        let headers = [
            ("webhook-id", "m1".to_owned()),
            ("webhook-timestamp", at.as_second().to_string()),
            ("webhook-signature", secrets.sign("m1", at, body.as_bytes())),
        ];
        HttpRequest {
            method: Method::Post,
            path: "/ark/v1/ingest".to_owned(),
            query: Vec::new(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn message(id: &str, source: &str, text: &str) -> Value {
        let event = CloudEvent::new(id, source, samples::at(0), samples::message_in("t1", text));
        serde_json::to_value(event).unwrap()
    }

    fn results(reply: &HttpReply) -> Value {
        serde_json::from_slice::<Value>(&reply.body).unwrap()["results"].clone()
    }

    #[test]
    fn each_event_of_a_request_is_taken_or_refused_for_itself() {
        let mut channel = adapter(&json!({}));
        drain(channel.as_mut());
        let own = "/ark/main/http/shop/t1";
        let mut long = message("m5", own, "x");
        long["data"]["parts"][0]["text"] = "x".repeat(TEXT_CHARS_MAX + 1).into();
        let mut web = message("m6", own, "x");
        web["data"]["parts"][0] = json!({"kind": "image", "media":
            {"ref": "http://169.254.169.254/", "mime": "image/png", "size": 1, "sha256": "0".repeat(64)}});
        let mut own_word = message("m7", own, "x");
        own_word["type"] = "ark.session.closed.v1".into();
        let body = json!([
            message("m1", own, "你好"),
            message("m2", "/ark/main/http/bank/t1", "not mine"),
            message("m3", "/ark/other/http/shop/t1", "not mine"),
            {"id": "m4"},
            long,
            web,
            own_word,
        ]);
        let http = signed(samples::at(0), &body.to_string());
        channel.handle(samples::at(1), In::HttpRequest { request: 9, http });
        let out = drain(channel.as_mut());
        let [Out::Ingest(ingest)] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(ingest.events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["m1"]);
        let [Ack::Reply { request: 9, reply }] = ingest.durable.as_slice() else { panic!("{ingest:?}") };
        let results = results(reply);
        let codes: Vec<_> = results.as_array().unwrap().iter().map(|one| one["code"].as_str()).collect();
        assert_eq!(
            codes,
            [
                None,
                Some("source"),
                Some("source"),
                Some("schema"),
                Some("parts"),
                Some("media"),
                results[6]["code"].as_str()
            ]
        );
        assert_eq!(results[6]["status"], "rejected");
        let [Ack::Reply { reply, .. }] = ingest.refused.as_slice() else { panic!("{ingest:?}") };
        assert_eq!(reply.status, 503);
    }

    #[test]
    fn what_is_not_signed_now_by_the_adapter_is_refused() {
        let mut channel = adapter(&json!({}));
        drain(channel.as_mut());
        let body = json!([message("m1", "/ark/main/http/shop/t1", "hello")]).to_string();
        let good = signed(samples::at(0), &body);
        let mut changed = good.clone();
        changed.body.push(b' ');
        let mut unsigned = good;
        unsigned.headers.clear();
        let old = signed(samples::at(-3_600_000), &body);
        for http in [changed, unsigned, old] {
            channel.handle(samples::at(0), In::HttpRequest { request: 1, http });
            let out = drain(channel.as_mut());
            assert!(matches!(out.as_slice(), [Out::HttpReply { reply, .. }] if reply.status == 401), "{out:?}");
        }
    }

    #[test]
    fn a_message_out_is_signed_and_its_answer_read() {
        let mut channel = adapter(&json!({"url": "https://adapter.example/shop/"}));
        let out = drain(channel.as_mut());
        let [Out::HttpCall { call, http }] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(http.url, "https://adapter.example/shop/.well-known/ark-adapter");
        let mut manifest = channel.manifest().clone();
        manifest.id = "shop-adapter".to_owned();
        let reply = HttpReply::json(200, &serde_json::to_value(&manifest).unwrap());
        channel.handle(samples::at(0), In::HttpResponse { call: *call, answer: Ok(reply) });
        let out = drain(channel.as_mut());
        assert!(matches!(out.as_slice(), [Out::Manifest(_), Out::Health(Health::Up)]), "{out:?}");
        assert_eq!(channel.manifest().id, "shop-adapter");
        let answers: [(Result<HttpReply, HttpFailure>, Outcome); 6] = [
            (
                Ok(HttpReply::json(200, &json!({"results": [{"id": "k1", "status": "accepted", "native_id": "n1"}]}))),
                Outcome::Accepted { native_id: Some("n1".to_owned()) },
            ),
            (
                Ok(HttpReply::json(
                    200,
                    &json!({"results": [{"id": "k1", "status": "rejected", "code": "window_closed"}]}),
                )),
                Outcome::Failed { code: "window_closed".to_owned(), text: None },
            ),
            (
                Ok(HttpReply::text(429, "").with("retry-after", "7")),
                Outcome::Retry { code: "rate".to_owned(), after: Some(std::time::Duration::from_secs(7)) },
            ),
            (Ok(HttpReply::text(502, "")), Outcome::Retry { code: "unavailable".to_owned(), after: None }),
            (
                Err(HttpFailure::NoAnswer("timeout".to_owned())),
                Outcome::Retry { code: OUTCOME_UNKNOWN.to_owned(), after: None },
            ),
            (Ok(HttpReply::text(410, "")), Outcome::Failed { code: "retired".to_owned(), text: None }),
        ];
        for (answer, expected) in answers {
            let event = CloudEvent::new("k1", "/ark/main/http/shop/t1", samples::at(0), samples::message_in("t1", "x"));
            channel.handle(
                samples::at(0),
                In::Send(Box::new(Outbound { delivery: 3, attempt: 1, event, in_doubt: false })),
            );
            let call = drain(channel.as_mut()).into_iter().find_map(|out| match out {
                Out::HttpCall { call, http } => Some((call, http)),
                _ => None,
            });
            let (call, http) = call.unwrap();
            let Body::Bytes { bytes, .. } = &http.body else { panic!("{http:?}") };
            let secrets = WebhookSecrets::new(&[Secret::new(SECRET)]).unwrap();
            let header = |name: &str| http.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            secrets.verify(samples::at(1), header, bytes).unwrap();
            channel.handle(samples::at(1), In::HttpResponse { call, answer });
            let settled = drain(channel.as_mut()).into_iter().find_map(|out| match out {
                Out::Settle { delivery: 3, outcome } => Some(outcome),
                _ => None,
            });
            assert_eq!(settled, Some(expected));
        }
    }

    #[test]
    fn files_go_both_ways_by_reference_and_signed() {
        let mut channel = adapter(&json!({}));
        drain(channel.as_mut());
        let mut upload = signed(samples::at(0), "bytes");
        upload.path = "/ark/v1/media".to_owned();
        upload.query = vec![("kind".to_owned(), "image".to_owned()), ("name".to_owned(), "凭证.jpg".to_owned())];
        channel.handle(samples::at(0), In::HttpRequest { request: 4, http: upload });
        let out = drain(channel.as_mut());
        let [Out::Keep { fetch, bytes, what: FileKind::Image, name: Some(_) }] = out.as_slice() else {
            panic!("{out:?}")
        };
        assert_eq!(bytes, b"bytes");
        let answer = Err(FetchFailure::Broken("no picture".to_owned()));
        channel.handle(samples::at(0), In::Fetched { fetch: *fetch, answer });
        let out = drain(channel.as_mut());
        assert!(matches!(out.as_slice(), [Out::HttpReply { request: 4, reply }] if reply.status == 422), "{out:?}");
        let mut get = signed(samples::at(0), "");
        (get.method, get.path) = (Method::Get, "/ark/v1/media/abcdefgh".to_owned());
        let mut unsigned = get.clone();
        unsigned.headers.clear();
        channel.handle(samples::at(0), In::HttpRequest { request: 5, http: get });
        channel.handle(samples::at(0), In::HttpRequest { request: 6, http: unsigned });
        let out = drain(channel.as_mut());
        let [Out::ReplyFile { request: 5, reference }, Out::HttpReply { request: 6, reply }] = out.as_slice() else {
            panic!("{out:?}")
        };
        assert_eq!((reference.as_str(), reply.status), ("ark-media:abcdefgh", 401));
    }

    #[test]
    fn an_adapter_that_is_away_is_asked_again() {
        let mut channel = adapter(&json!({"url": "https://adapter.example"}));
        let Some(Out::HttpCall { call, .. }) = channel.poll() else { panic!() };
        let gone = Err(HttpFailure::NotSent("refused".to_owned()));
        channel.handle(samples::at(0), In::HttpResponse { call, answer: gone });
        let out = drain(channel.as_mut());
        let [Out::Health(Health::Down { .. }), Out::WakeAt(at)] = out.as_slice() else { panic!("{out:?}") };
        channel.handle(*at, In::Tick);
        assert!(drain(channel.as_mut()).iter().any(|out| matches!(out, Out::HttpCall { .. })));
    }

    #[test]
    fn only_its_own_host_may_be_called() {
        assert_eq!(host_of("https://a.example:443/x").as_deref(), Some("a.example"));
        assert_eq!(host_of("http://127.0.0.1:9000").as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(host_of("ftp://x"), None);
        let account = Account { tenant: Tenant::MAIN, name: "shop".to_owned() };
        let secrets = Secrets::new([("secret".to_owned(), Secret::new(SECRET))]);
        let wrong = json!({"url": "https://a.example", "hosts": ["b.example"]});
        assert!(build(account, &wrong, &secrets, 1).is_err());
    }
}
