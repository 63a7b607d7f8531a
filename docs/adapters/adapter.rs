//! A whole Ark adapter in Rust: what customers write in a channel goes to Ark, what Ark says goes to the channel. It carries text; how
//! files travel is in adapter.py.
//!
//!   ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... \
//!   cargo run -p ark-tests --example adapter
//!
//! This file is yours: the manifest, `said`, `send` and how your channel proves that its webhook is its own; channel.py stands for one.
//! What is the same for every channel is ark.rs. What a customer writes is on the disk before the channel hears 200.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a sample says it in few lines: what cannot be ends it")]

#[path = "ark.rs"]
mod ark;

use std::env::var;

use ark::{Ark, Away, Channel, post};
use axum::http::HeaderMap;
use serde_json::{Value, json};

struct Sample {
    channel: String,
    token: String,
}

impl Channel for Sample {
    fn manifest(&self) -> Value {
        let hook = |name: &str| format!("{}/{name}", self.channel);
        let hooks = json!({"inject": hook("inject"), "outbox": hook("outbox"), "fault": hook("fault")});
        let testing = if var("ARK_TESTING").is_ok_and(|on| on == "1") { hooks } else { Value::Null };
        json!({"ark_adapter": "1", "id": "sample-rust", "version": "2.1.0", "channel": "sample", "ordering": "per_thread", "limits": {},
            "transport": {"mode": "http", "url": format!("http://127.0.0.1:{}", var("PORT").unwrap()), "max_batch": 1},
            "capabilities": {"text": {"in": true, "out": true}}, "identity": {"key_kinds": ["custom"]},
            "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259_200}, "testing": testing})
    }

    fn send(&self, id: &str, thread: &str, parts: &Value) -> Result<Option<&'static str>, Away> {
        let body = json!({"id": id, "thread": thread, "parts": parts});
        match post(&format!("{}/send", self.channel), &[("authorization", &self.token)], &body.to_string()) {
            Ok(_) => Ok(None),
            Err((0, _)) => Ok(Some("outcome_unknown")),
            Err(away) if away.0 == 429 || away.0 >= 500 => Err(away),
            Err(_) => Ok(Some("blocked")),
        }
    }

    fn webhook(&self, ark: &Ark, headers: &HeaderMap, message: &Value) -> (u16, Value) {
        if headers.get("authorization").is_none_or(|given| given != self.token.as_str()) {
            return (401, json!("not from the channel"));
        }
        let (Some(id), Some(thread)) = (message["id"].as_str(), message["thread"].as_str()) else {
            return (400, json!("a message has an id and a thread"));
        };
        let data = json!({"thread": thread, "sender": {"role": "customer", "id": thread}, "parts": said(message)});
        ark.tell("ark.message.in.v1", &format!("m:{id}"), thread, &data);
        (200, json!("it is on the disk"))
    }
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

#[tokio::main]
async fn main() {
    let (channel, token) = (var("CHANNEL").unwrap(), format!("Bearer {}", var("TOKEN").unwrap()));
    ark::serve(Sample { channel, token }).await;
}
