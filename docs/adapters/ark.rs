//! The adapter's side of Ark's standard over HTTP: take it as it is. Yours is adapter.rs.
//!
//! What waits for Ark, and what was said of each message of the house, is in one table on the disk: a kill loses and doubles nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::{env::var, thread, time::Duration};

use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router, body::to_bytes, extract::Request, response::IntoResponse as _, response::Response};
use jiff::Timestamp;
use rusqlite::{Connection, ToSql};
use serde_json::{Value, from_slice, json};
use standardwebhooks::Webhook;

/// Why the other side did not take it: its status (0: no answer), and how many seconds to wait.
pub type Away = (u16, f64);

/// What is yours.
pub trait Channel: Send + Sync + 'static {
    fn manifest(&self) -> Value;
    /// None: the channel took the message; a code: it never will, or nobody knows; an error: it did not take it.
    fn send(&self, id: &str, thread: &str, parts: &Value) -> Result<Option<&'static str>, Away>;
    /// What the channel posts to /webhook; status and answer.
    fn webhook(&self, ark: &Ark, headers: &HeaderMap, message: &Value) -> (u16, Value);
}

pub struct Ark {
    db: Mutex<Connection>,
    keys: Vec<Webhook>,
    /// One message of a thread goes after the other.
    threads: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

pub fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<Value, Away> {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(5)));
    let call = headers.iter().fold(agent.build().new_agent().post(url), |call, (name, value)| call.header(*name, *value));
    let mut answer = call.send(body).map_err(|_| (0, 0.5))?;
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let (status, value) = (answer.status().as_u16(), answer.body_mut().read_json());
    if status == 200 { value.map_err(|_| (0, 0.5)) } else { Err((status, after.unwrap_or(0.5))) }
}

impl Ark {
    fn sql(&self, text: &str, values: &[&dyn ToSql]) -> Vec<(String, String)> {
        let db = self.db.lock().unwrap();
        let mut query = db.prepare_cached(text).unwrap();
        query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    /// Durable when it returns; false: it was there before. An empty event is a note, or done with.
    fn put(&self, id: &str, event: &str) -> bool {
        !self.sql("insert or ignore into events (id, event) values (?, ?) returning id, event", &[&id, &event]).is_empty()
    }

    /// An event that Ark is to have; durable when it returns.
    pub fn tell(&self, kind: &str, id: &str, thread: &str, data: &Value) {
        let (ark, path) = (var("ARK").unwrap(), thread.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>());
        let source = format!("/ark/main/http/{}/{path}", ark.rsplit('/').next().unwrap());
        let event = json!({"specversion": "1.0", "type": kind, "id": id, "time": Timestamp::now(), "source": source, "data": data,
            "datacontenttype": "application/json"});
        self.put(id, &event.to_string());
    }

    /// Brings Ark what waits, messages and receipts, in order, each until Ark has it: taken, or rejected for good.
    fn carry(&self) {
        loop {
            let mut wait = 0.02;
            for (id, event) in self.sql("select id, event from events where event != '' order by n limit 100", &[]) {
                let at = Timestamp::now().as_second();
                let signature = self.keys[0].sign(&id, at, event.as_bytes()).unwrap();
                let headers = [("webhook-id", &*id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
                if let Err((_, after)) = post(&(var("ARK").unwrap() + "/ark/v1/ingest"), &headers, &event) {
                    wait = after; // not taken, or not known: again, under the same id
                    break;
                }
                self.sql("update events set event = '' where id = ? returning id, event", &[&id]);
            }
            thread::park_timeout(Duration::from_secs_f64(wait));
        }
    }

    /// A message of the house goes to the channel once, and a receipt says what became of it.
    fn take(&self, yours: &impl Channel, event: &Value) -> Result<Value, Away> {
        let (id, data, can) = (event["id"].as_str().unwrap_or_default(), &event["data"], &yours.manifest()["capabilities"]);
        let fits = |part: &Value| part["kind"].as_str().is_some_and(|kind| can.get(kind).is_some());
        let (Some(thread), true) = (data["thread"].as_str(), data["parts"].as_array().is_some_and(|parts| parts.iter().all(fits))) else {
            return Ok(json!({"id": id, "status": "rejected", "code": "parts"}));
        };
        let turn = Arc::clone(self.threads.lock().unwrap().entry(thread.to_owned()).or_default());
        let _turn = turn.lock().unwrap();
        let (receipt, begun) = (format!("r:{id}"), format!("begun:{id}"));
        if !self.sql("select id, event from events where id = ?", &[&receipt]).is_empty() {
            return Ok(json!({"id": id, "status": "duplicate"}));
        }
        // Begun before, and not told: this process was killed in between, and nobody knows.
        let code = if self.put(&begun, "") { yours.send(id, thread, &data["parts"]) } else { Ok(Some("outcome_unknown")) };
        let code = code.inspect_err(|_| _ = self.sql("delete from events where id = ? returning id, event", &[&begun]))?;
        let told = match code {
            Some(code) => json!({"thread": thread, "message": id, "state": "failed", "reason": {"code": code, "retriable": false}}),
            None => json!({"thread": thread, "message": id, "state": "sent"}),
        };
        self.tell("ark.receipt.v1", &receipt, thread, &told);
        Ok(json!({"id": id, "status": "accepted"}))
    }

    fn answer(&self, yours: &impl Channel, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<(u16, Value), Away> {
        Ok(match (path, from_slice::<Value>(body).unwrap_or_default()) {
            ("/.well-known/ark-adapter", _) => (200, yours.manifest()),
            ("/ark/v1/health", _) => (200, json!({"status": "ok"})),
            ("/webhook", message) => yours.webhook(self, headers, &message),
            ("/ark/v1/events", _) if !self.keys.iter().any(|key| key.verify(body, headers).is_ok()) => (401, json!("not our gateway's")),
            ("/ark/v1/events", Value::Array(events)) => {
                let results: Result<Vec<_>, _> = events.iter().map(|event| self.take(yours, event)).collect();
                (200, json!({"results": results?}))
            }
            ("/ark/v1/events", _) => (400, json!("a list of events is expected")),
            _ => (404, json!({})),
        })
    }
}

async fn reply(ark: Arc<Ark>, yours: Arc<impl Channel>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let answer = move || ark.answer(&*yours, head.uri.path(), &head.headers, &body);
    let answer = tokio::task::spawn_blocking(answer).await.unwrap();
    let (status, value, wait) = match answer {
        Ok((status, value)) => (status, value, 1.0),
        Err((_, wait)) => (503, json!("the channel is away"), wait),
    };
    (StatusCode::from_u16(status).unwrap(), [("retry-after", wait.ceil().to_string())], Json(value)).into_response()
}

/// Serves until it is killed.
pub async fn serve(yours: impl Channel) {
    let db = Connection::open(var("DB").unwrap()).unwrap();
    let table = "create table if not exists events (n integer primary key, id text unique, event text);";
    db.execute_batch(&format!("pragma journal_mode = wal; pragma synchronous = full; {table}")).unwrap();
    let keys = ["SECRET", "OLD_SECRET"].iter().filter_map(|name| Webhook::new(&var(name).ok().filter(|key| !key.is_empty())?).ok());
    let ark = Arc::new(Ark { db: Mutex::new(db), keys: keys.collect(), threads: Mutex::default() });
    let (carrier, yours) = (Arc::clone(&ark), Arc::new(yours));
    thread::spawn(move || carrier.carry());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", var("PORT").unwrap())).await.unwrap();
    let routes = Router::new().fallback(move |request: Request| reply(Arc::clone(&ark), Arc::clone(&yours), request));
    axum::serve(listener, routes).await.unwrap();
}
