//! A whole Ark adapter in Rust: what a customer's app posts goes to Ark, what Ark says goes to the app.
//!
//!   ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db ARK_TESTING=1 cargo run -p ark-tests --example adapter
//!
//! The app (the native side) is `native`: put your channel's call there. All state is in one SQLite file.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a sample says what it does in few lines: what cannot be ends it"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{collections::HashMap, env::var, thread};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::{Connection, ToSql};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

struct Adapter {
    db: Mutex<Connection>,
    keys: Vec<Vec<u8>>,
    ark: String,
    port: String,
    testing: bool,
    fault: Mutex<Value>,
}
type Answer = (u16, Value);

fn hmac(key: &[u8], id: &str, at: &str, body: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap().chain_update(format!("{id}.{at}.")).chain_update(body)
}

impl Adapter {
    fn sql(&self, text: &str, values: &[&dyn ToSql]) -> Vec<Vec<String>> {
        let db = self.db.lock().unwrap();
        let mut query = db.prepare_cached(text).unwrap();
        let columns = query.column_count();
        let rows = query.query_map(values, |row| (0..columns).map(|n| row.get(n)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Durable when it returns; false: it was there before.
    fn put(&self, table: &str, id: &str, thread: &str, event: &Value) -> bool {
        let text = format!("insert or ignore into {table} (id, thread, event) values (?, ?, ?) returning id");
        !self.sql(&text, &[&id, &thread, &event.to_string()]).is_empty()
    }

    /// A signed call; an error is for how many seconds to wait.
    fn call(&self, path: &str, id: &str, body: Option<&[u8]>) -> Result<Vec<u8>, f64> {
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
        let signature = format!(
            "v1,{}",
            B64.encode(hmac(&self.keys[0], id, &at, body.unwrap_or_default()).finalize().into_bytes())
        );
        let headers = [("webhook-id", id), ("webhook-timestamp", &at), ("webhook-signature", &signature)];
        let (url, agent) = (
            format!("{}{path}", self.ark),
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(10)))
                .build()
                .new_agent(),
        );
        let answer = match body {
            Some(body) => {
                headers.iter().fold(agent.post(url), |call, (name, value)| call.header(*name, *value)).send(body)
            }
            None => headers.iter().fold(agent.get(url), |call, (name, value)| call.header(*name, *value)).call(),
        };
        let mut answer = answer.map_err(|_| 0.5)?;
        let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        let read = answer.body_mut().with_config().limit(64 << 20).read_to_vec().map_err(|_| 0.5)?;
        if answer.status().is_success() { Ok(read) } else { Err(after.unwrap_or(0.5)) }
    }

    fn event(&self, kind: &str, id: &str, thread: &str, mut data: Value) -> Value {
        let account = self.ark.rsplit('/').next().unwrap();
        let escaped: String = thread
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        data["thread"] = thread.into();
        json!({"specversion": "1.0", "type": kind, "id": id, "source": format!("/ark/main/http/{account}/{escaped}"),
               "time": jiff::Timestamp::now().to_string(), "datacontenttype": "application/json", "data": data})
    }

    /// What a customer wrote, as parts: nothing is dropped.
    fn said(&self, message: &Value) -> Result<Value, f64> {
        let s = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(text) = message["text"].as_str() {
            let letters: Vec<char> = text.chars().collect();
            return Ok(letters
                .chunks(20_000)
                .map(|piece| json!({"kind": "text", "text": piece.iter().collect::<String>()}))
                .collect());
        }
        let (file, native) = (&message["file"], &message["native"]);
        if file.is_null() {
            return Ok(
                json!([{"kind": "unsupported", "native_type": native["type"], "fallback_text": native["words"]}]),
            );
        }
        let bytes = B64.decode(s(&file["base64"])).map_err(|_| 0.0)?;
        let kept =
            self.call(&format!("/ark/v1/media?kind={}&name=file", s(&file["kind"])), &s(&message["id"]), Some(&bytes))?;
        Ok(json!([{"kind": file["kind"], "media": serde_json::from_slice::<Value>(&kept).map_err(|_| 0.5)?}]))
    }

    /// Brings Ark what waits, in order, each until Ark has it.
    fn carry_in(&self) {
        loop {
            let rows = self.sql("select id, event from ingest where done = 0 order by n limit 1", &[]);
            let Some([id, event]) = rows.first().map(Vec::as_slice) else {
                thread::park_timeout(Duration::from_millis(20));
                continue;
            };
            let taken = self.call("/ark/v1/ingest", id, Some(event.as_bytes()));
            match taken.and_then(|body| serde_json::from_slice::<Value>(&body).map_err(|_| 0.5)) {
                Ok(answer) => {
                    if answer["results"][0]["status"] == "rejected" {
                        println!("refused for good: {answer}");
                    }
                    self.sql("update ingest set done = 1, event = '' where id = ?", &[id]);
                }
                Err(after) => thread::park_timeout(Duration::from_secs_f64(after)), // not taken, or not known: again, under the same id
            }
        }
    }

    /// The channel: it takes the message, or says why not. Put your provider's call here.
    fn native(&self, entry: &Value) -> (String, f64) {
        let mut fault = self.fault.lock().unwrap();
        let mine = fault["thread"].is_null() || fault["thread"] == entry["thread"];
        let answer = if mine { fault["answer"].as_str().unwrap_or("none") } else { "none" }.to_owned();
        let after = fault["retry_after_s"].as_f64().unwrap_or(0.3);
        match fault["times"].as_u64() {
            Some(1) if mine => *fault = Value::Null,
            Some(times) if mine => fault["times"] = (times - 1).into(),
            _ => {}
        }
        if matches!(answer.as_str(), "none" | "timeout") {
            self.sql("insert into outbox (entry) values (?)", &[&entry.to_string()]);
        }
        (answer, after)
    }

    fn given(&self, event: &Value) -> Result<Value, f64> {
        let part = |part: &Value| match part["media"]["ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix("ark-media:"))
        {
            None => Ok(part.clone()),
            Some(id) => {
                let digest = Sha256::digest(self.call(&format!("/ark/v1/media/{id}"), "file", None)?);
                Ok(
                    json!({"kind": part["kind"], "sha256": digest.iter().map(|b| format!("{b:02x}")).collect::<String>()}),
                )
            }
        };
        let parts: Vec<Value> =
            event["data"]["parts"].as_array().into_iter().flatten().map(part).collect::<Result<_, f64>>()?;
        Ok(json!({"id": event["id"], "thread": event["data"]["thread"], "parts": parts}))
    }

    /// Gives the channel what waits: the oldest of each thread, and of no thread that waits itself.
    fn carry_out(&self) {
        for row in self.sql("select id, thread from send where state = 'begun'", &[]) {
            self.told(&row[0], &row[1], Some("outcome_unknown"));
        }
        let mut waits: HashMap<String, Instant> = HashMap::new();
        loop {
            let heads = "select id, thread, event from send where n in (select min(n) from send where state = 'new' group by thread)";
            for row in self.sql(heads, &[]) {
                let [id, thread, event] = row.as_slice() else { continue };
                if waits.get(thread).is_some_and(|until| Instant::now() < *until) {
                    continue;
                }
                let mut wait =
                    |seconds| _ = waits.insert(thread.clone(), Instant::now() + Duration::from_secs_f64(seconds));
                let Ok(entry) = self.given(&serde_json::from_str(event).unwrap()) else {
                    wait(0.5);
                    continue;
                };
                self.sql("update send set state = 'begun' where id = ?", &[id]);
                match self.native(&entry) {
                    (answer, after) if answer == "429" || answer == "500" => {
                        wait(after);
                        self.sql("update send set state = 'new' where id = ?", &[id]);
                    }
                    (answer, _) => self.told(
                        id,
                        thread,
                        match answer.as_str() {
                            "none" => None,
                            "refused" => Some("blocked"),
                            _ => Some("outcome_unknown"),
                        },
                    ),
                }
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn told(&self, id: &str, thread: &str, failed: Option<&str>) {
        let mut data = json!({"message": id, "state": if failed.is_some() { "failed" } else { "sent" }});
        if let Some(code) = failed {
            data["reason"] = json!({"code": code, "retriable": false});
        }
        let key = format!("r:{id}");
        self.put("ingest", &key, thread, &self.event("ark.receipt.v1", &key, thread, data));
        self.sql("update send set state = 'done', event = '' where id = ?", &[&id]);
    }

    fn take(&self, event: &Value) -> Value {
        let id = event["id"].as_str().unwrap_or_default();
        let rejected = |code| json!({"id": id, "status": "rejected", "code": code});
        if event["type"] != "ark.message.out.v1" {
            return rejected("type");
        }
        let (Some(parts), Some(thread)) = (event["data"]["parts"].as_array(), event["data"]["thread"].as_str()) else {
            return rejected("schema");
        };
        if !parts.iter().all(|part| part["kind"] == "text" || part["kind"] == "image") {
            return rejected("parts");
        }
        json!({"id": id, "status": if self.put("send", id, thread, event) { "accepted" } else { "duplicate" }})
    }

    fn posted(&self, header: impl Fn(&str) -> String, body: &[u8]) -> Answer {
        let (id, at, list) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        let fresh =
            at.parse::<u64>().is_ok_and(|at| at.abs_diff(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()) <= 300);
        let good = |entry: &str| {
            entry
                .strip_prefix("v1,")
                .and_then(|tag| B64.decode(tag).ok())
                .is_some_and(|tag| self.keys.iter().any(|key| hmac(key, &id, &at, body).verify_slice(&tag).is_ok()))
        };
        if !fresh || !list.split(' ').take(16).any(good) {
            return (401, json!({"error": "not signed by our gateway, or not now"}));
        }
        match serde_json::from_slice::<Vec<Value>>(body) {
            Ok(events) => (200, json!({"results": events.iter().map(|event| self.take(event)).collect::<Value>()})),
            Err(error) => (400, json!({"error": error.to_string()})),
        }
    }

    fn tested(&self, path: &str, body: &[u8]) -> Answer {
        let what: Value = serde_json::from_slice(body).unwrap_or_default();
        if path == "/fault" {
            *self.fault.lock().unwrap() = what;
            return (200, json!({}));
        }
        let (Some(id), Some(thread)) = (what["id"].as_str(), what["thread"].as_str()) else { return (400, json!({})) };
        let Ok(parts) = self.said(&what) else { return (503, json!({"error": "the file is not kept yet"})) };
        let data = json!({"sender": {"role": "customer", "id": thread}, "parts": parts});
        self.put("ingest", id, thread, &self.event("ark.message.in.v1", id, thread, data));
        (200, json!({}))
    }

    fn got(&self, path: &str, query: &str) -> Answer {
        let (both, hooks) =
            (json!({"in": true, "out": true}), json!({"inject": "/inject", "outbox": "/outbox", "fault": "/fault"}));
        match path {
            "/.well-known/ark-adapter" => {
                let mut manifest = json!({"ark_adapter": "1", "id": "sample-rust", "version": "1.0.0", "channel": "sample",
                    "transport": {"mode": "http", "url": format!("http://127.0.0.1:{}", self.port), "max_batch": 16},
                    "capabilities": {"text": both, "image": both}, "identity": {"key_kinds": ["custom"]}, "ordering": "per_thread",
                    "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259_200}, "limits": {}});
                if self.testing {
                    manifest["testing"] = hooks;
                }
                (200, manifest)
            }
            "/ark/v1/health" => (200, json!({"status": "ok"})),
            "/outbox" if self.testing => {
                let rows = self.sql(
                    "select entry from outbox order by n limit -1 offset ?",
                    &[&query.trim_start_matches("after=").parse::<i64>().unwrap_or(0)],
                );
                (200, rows.iter().map(|row| serde_json::from_str::<Value>(&row[0]).unwrap()).collect())
            }
            _ => (404, json!({})),
        }
    }
}

async fn serve(adapter: Arc<Adapter>, request: Request) -> impl axum::response::IntoResponse {
    let (head, body) = request.into_parts();
    let (path, hook) = (head.uri.path().to_owned(), adapter.testing && matches!(head.uri.path(), "/inject" | "/fault"));
    let body = axum::body::to_bytes(body, if hook { 64 << 20 } else { 1 << 20 }).await;
    let answer = tokio::task::spawn_blocking(move || match body {
        Err(_) => (413, json!({"error": "at most 1 MiB"})),
        Ok(_) if head.method == "GET" => adapter.got(&path, head.uri.query().unwrap_or_default()),
        Ok(body) if hook => adapter.tested(&path, &body),
        Ok(body) if path == "/ark/v1/events" => adapter.posted(
            |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned(),
            &body,
        ),
        Ok(_) => (404, json!({})),
    });
    let (status, value) = answer.await.unwrap_or((500, json!({})));
    (StatusCode::from_u16(status).unwrap(), axum::Json(value)).into_response()
}

#[tokio::main]
async fn main() {
    let db = Connection::open(var("DB").unwrap()).unwrap();
    db.execute_batch("pragma journal_mode = wal; pragma synchronous = full;
        create table if not exists ingest (n integer primary key, id text unique, thread text, event text, done int default 0);
        create table if not exists send (n integer primary key, id text unique, thread text, event text, state text default 'new');
        create table if not exists outbox (n integer primary key, entry text);").unwrap();
    let keys = ["SECRET", "OLD_SECRET"].iter().filter_map(|name| {
        B64.decode(var(name).ok().filter(|text| !text.is_empty())?.trim_start_matches("whsec_")).ok()
    });
    let (ark, port, testing) =
        (var("ARK").unwrap(), var("PORT").unwrap(), var("ARK_TESTING").is_ok_and(|on| on == "1"));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    let adapter = Arc::new(Adapter {
        db: Mutex::new(db),
        keys: keys.collect(),
        ark,
        port,
        testing,
        fault: Mutex::new(Value::Null),
    });
    let (one, two) = (Arc::clone(&adapter), Arc::clone(&adapter));
    thread::spawn(move || one.carry_in());
    thread::spawn(move || two.carry_out());
    axum::serve(listener, Router::new().fallback(move |request: Request| serve(Arc::clone(&adapter), request)))
        .await
        .unwrap();
}
