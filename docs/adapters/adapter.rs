//! A whole Ark adapter in Rust: what customers write in a channel goes to Ark, what Ark says goes to the channel. It carries text; how
//! files travel is in adapter.py.
//!
//!   ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... \
//!   cargo run -p ark-tests --example adapter
//!
//! Yours are `said`, `send` and how your channel proves that its webhook is its own; channel.py stands for one. What a customer writes
//! is on the disk before the channel hears 200, and a message of the house is noted before it is sent: a kill loses and doubles nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a sample says it in few lines: what cannot be ends it")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::{env::var, thread, time::Duration};

use axum::{Router, body::to_bytes, extract::Request, http::HeaderMap, response::IntoResponse as _};
use jiff::Timestamp;
use rusqlite::{Connection, ToSql};
use serde_json::{Value, from_slice, json};
use standardwebhooks::Webhook;

struct Adapter {
    db: Mutex<Connection>,
    keys: Vec<Webhook>,
    /// One message of a thread goes after the other.
    threads: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// Why the other side did not take it: its status (0: no answer), and how many seconds to wait.
type Away = (u16, f64);

fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<Value, Away> {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(5)));
    let call = agent.build().new_agent().post(url);
    let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
    let mut answer = call.send(body).map_err(|_| (0, 0.5))?;
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let (status, value) = (answer.status().as_u16(), answer.body_mut().read_json());
    if status == 200 { value.map_err(|_| (0, 0.5)) } else { Err((status, after.unwrap_or(0.5))) }
}

impl Adapter {
    fn sql(&self, text: &str, values: &[&dyn ToSql]) -> Vec<(String, String)> {
        let db = self.db.lock().unwrap();
        let mut query = db.prepare_cached(text).unwrap();
        query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    /// Durable when it returns; false: it was there before. An empty event is a note, or done with.
    fn put(&self, id: &str, event: &str) -> bool {
        !self.sql("insert or ignore into events (id, event) values (?, ?) returning id, event", &[&id, &event]).is_empty()
    }

    /// An event that Ark is to have.
    fn tell(&self, kind: &str, id: &str, thread: &str, data: &Value) {
        let ark = var("ARK").unwrap();
        let path: String = thread.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let event = json!({"specversion": "1.0", "type": kind, "id": id, "time": Timestamp::now(), "data": data,
            "source": format!("/ark/main/http/{}/{path}", ark.rsplit('/').next().unwrap()), "datacontenttype": "application/json"});
        self.put(id, &event.to_string());
    }

    /// Brings Ark what waits, messages and receipts, in order, each until Ark has it.
    fn carry(&self) {
        loop {
            let mut wait = 0.02;
            for (id, event) in self.sql("select id, event from events where event != '' order by n limit 100", &[]) {
                let at = Timestamp::now().as_second();
                let signature = self.keys[0].sign(&id, at, event.as_bytes()).unwrap();
                let headers = [("webhook-id", &*id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
                match post(&(var("ARK").unwrap() + "/ark/v1/ingest"), &headers, &event) {
                    Ok(answer) => println!("{}", answer["results"]), // accepted, or rejected for good
                    Err((_, after)) => {
                        wait = after; // not taken, or not known: again, under the same id
                        break;
                    }
                }
                self.sql("update events set event = '' where id = ? returning id, event", &[&id]);
            }
            thread::park_timeout(Duration::from_secs_f64(wait));
        }
    }

    /// The channel's API. None: it took the message; a code: it never will, or nobody knows; an error: not now.
    fn send(&self, id: &str, event: &Value) -> Result<Option<&'static str>, Away> {
        let body = json!({"id": id, "thread": event["data"]["thread"], "parts": event["data"]["parts"]});
        match post(&(var("CHANNEL").unwrap() + "/send"), &[("authorization", &token())], &body.to_string()) {
            Ok(_) => Ok(None),
            Err((0, _)) => Ok(Some("outcome_unknown")),
            Err(away) if away.0 == 429 || away.0 >= 500 => {
                self.sql("delete from events where id = ? returning id, event", &[&format!("begun:{id}")]);
                Err(away)
            }
            Err(_) => Ok(Some("blocked")),
        }
    }

    /// A message of the house goes to the channel once, and a receipt says what became of it.
    fn take(&self, event: &Value) -> Result<Value, Away> {
        let (id, data) = (event["id"].as_str().unwrap_or_default(), &event["data"]);
        let (Some(thread), Some(parts)) = (data["thread"].as_str(), data["parts"].as_array()) else {
            return Ok(json!({"id": id, "status": "rejected", "code": "schema"}));
        };
        if event["type"] != "ark.message.out.v1" || parts.iter().any(|part| part["kind"] != "text") {
            return Ok(json!({"id": id, "status": "rejected", "code": "parts"}));
        }
        let turn = Arc::clone(self.threads.lock().unwrap().entry(thread.to_owned()).or_default());
        let _turn = turn.lock().unwrap();
        let receipt = format!("r:{id}");
        if !self.sql("select id, event from events where id = ?", &[&receipt]).is_empty() {
            return Ok(json!({"id": id, "status": "duplicate"}));
        }
        // Begun before, and not told: this process was killed in between, and nobody knows.
        let code = if self.put(&format!("begun:{id}"), "") { self.send(id, event)? } else { Some("outcome_unknown") };
        let mut told = json!({"thread": thread, "message": id, "state": if code.is_some() { "failed" } else { "sent" }});
        if let Some(code) = code {
            told["reason"] = json!({"code": code, "retriable": false});
        }
        self.tell("ark.receipt.v1", &receipt, thread, &told);
        Ok(json!({"id": id, "status": "accepted"}))
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<(u16, Value), Away> {
        let (events, message) = (from_slice::<Vec<Value>>(body), from_slice::<Value>(body).unwrap_or_default());
        Ok(match path {
            "/.well-known/ark-adapter" => (200, manifest()),
            "/ark/v1/health" => (200, json!({"status": "ok"})),
            "/webhook" if headers.get("authorization").is_some_and(|given| given == token().as_str()) => {
                let (Some(id), Some(thread)) = (message["id"].as_str(), message["thread"].as_str()) else {
                    return Ok((400, json!({})));
                };
                let sender = json!({"role": "customer", "id": thread});
                let data = json!({"thread": thread, "sender": sender, "parts": said(&message)});
                self.tell("ark.message.in.v1", &format!("m:{id}"), thread, &data);
                (200, json!("it is on the disk"))
            }
            "/ark/v1/events" if !self.keys.iter().any(|key| key.verify(body, headers).is_ok()) => (401, json!("not our gateway's")),
            "/ark/v1/events" if events.is_err() => (400, json!("a list of events is expected")),
            "/ark/v1/events" => (200, json!({"results": events.unwrap().iter().map(|event| self.take(event)).collect::<Result<Vec<_>, _>>()?})),
            _ => (404, json!({})),
        })
    }
}

fn token() -> String {
    format!("Bearer {}", var("TOKEN").unwrap())
}

/// What a customer wrote, as parts: nothing is dropped.
fn said(message: &Value) -> Value {
    let letters: Vec<char> = message["text"].as_str().unwrap_or_default().chars().collect();
    if letters.is_empty() {
        let kind = message["native"]["type"].as_str().unwrap_or("file");
        return json!([{"kind": "unsupported", "native_type": kind, "fallback_text": format!("[{kind}]")}]);
    }
    letters.chunks(20_000).map(|piece| json!({"kind": "text", "text": piece.iter().collect::<String>()})).collect()
}

fn manifest() -> Value {
    let channel = var("CHANNEL").unwrap();
    let hooks = json!({"inject": format!("{channel}/inject"), "outbox": format!("{channel}/outbox"), "fault": format!("{channel}/fault")});
    let testing = if var("ARK_TESTING").is_ok_and(|on| on == "1") { hooks } else { Value::Null };
    json!({"ark_adapter": "1", "id": "sample-rust", "version": "2.0.0", "channel": "sample", "ordering": "per_thread", "limits": {},
        "transport": {"mode": "http", "url": format!("http://127.0.0.1:{}", var("PORT").unwrap()), "max_batch": 1},
        "capabilities": {"text": {"in": true, "out": true}}, "identity": {"key_kinds": ["custom"]},
        "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259_200}, "testing": testing})
}

async fn serve(adapter: Arc<Adapter>, request: Request) -> axum::response::Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else {
        return axum::http::StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let answer = tokio::task::spawn_blocking(move || adapter.answer(head.uri.path(), &head.headers, &body)).await.unwrap();
    let (status, value, wait) = match answer {
        Ok((status, value)) => (status, value, 1.0),
        Err((_, wait)) => (503, json!("the channel is away"), wait),
    };
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, [("retry-after", wait.ceil().to_string())], axum::Json(value)).into_response()
}

#[tokio::main]
async fn main() {
    let db = Connection::open(var("DB").unwrap()).unwrap();
    db.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full;
        create table if not exists events (n integer primary key, id text unique, event text);",
    )
    .unwrap();
    let keys = ["SECRET", "OLD_SECRET"].iter().filter_map(|name| Webhook::new(&var(name).ok().filter(|key| !key.is_empty())?).ok());
    let adapter = Arc::new(Adapter { db: Mutex::new(db), keys: keys.collect(), threads: Mutex::default() });
    let carrier = Arc::clone(&adapter);
    thread::spawn(move || carrier.carry());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", var("PORT").unwrap())).await.unwrap();
    let routes = Router::new().fallback(move |request: Request| serve(Arc::clone(&adapter), request));
    axum::serve(listener, routes).await.unwrap();
}
