//! Stream mode: DingTalk's frames come over a WebSocket that we open.
//!
//! `connections/open` gives an address with a ticket that is good once. The server asks for a new connection by
//! `SYSTEM/disconnect`: the new socket is opened before the old one is closed, since what is sent in between is lost. A socket
//! on which nothing came for two minutes is dead, whatever TCP says.

use std::collections::BTreeMap;

use ark_conversation::channel::{Ack, CallId, Frame, Health, Hosts, HttpCall, HttpFailure, HttpReply, Out, SocketId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::Base;
use crate::limits::{STREAM_DRAIN, STREAM_IDLE_MAX, STREAM_OPEN_MAX};
use crate::wire;

/// The topic of robots' messages.
pub(super) const BOT_TOPIC: &str = "/v1.0/im/bot/messages/get";

/// A frame of the server.
#[derive(Debug, Deserialize)]
pub(super) struct Down {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) data: Value,
}

impl Down {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// `data` is JSON in a text.
    pub(super) fn data(&self) -> &str {
        self.data.as_str().unwrap_or_default()
    }

    /// Our answer to it.
    pub(super) fn answer(&self, code: u16, message: &str, data: &str) -> Frame {
        let headers = json!({"contentType": "application/json", "messageId": self.header("messageId")});
        Frame::Text(json!({"code": code, "headers": headers, "message": message, "data": data}).to_string())
    }
}

/// How a connection is on its way.
enum Dial {
    /// None is.
    Idle,
    /// It begins then.
    Waiting { until: Timestamp },
    /// `connections/open` is asked.
    Asking { call: CallId },
    /// The socket opens.
    Opening { socket: SocketId, until: Timestamp },
}

/// The connections.
pub(super) struct Stream {
    url: String,
    client_id: String,
    dial: Dial,
    attempt: u32,
    main: Option<(SocketId, Timestamp)>,
    /// Sockets that are closed when their time comes.
    draining: BTreeMap<SocketId, Timestamp>,
}

impl Stream {
    pub(super) fn new(api: &str, client_id: &str) -> Self {
        Self {
            url: format!("{api}/v1.0/gateway/connections/open"),
            client_id: client_id.to_owned(),
            dial: Dial::Idle,
            attempt: 0,
            main: None,
            draining: BTreeMap::new(),
        }
    }

    /// Begins a connection, unless one is on its way.
    pub(super) fn dial(&mut self, base: &mut Base, secret: &str) {
        if !matches!(self.dial, Dial::Idle | Dial::Waiting { .. }) {
            return;
        }
        // Without `accept: application/json` the answer is XML.
        let topics = json!([{"type": "EVENT", "topic": "*"}, {"type": "CALLBACK", "topic": BOT_TOPIC}]);
        let body = json!({"clientId": self.client_id, "clientSecret": secret, "subscriptions": topics, "ua": "ark/1"});
        let http: HttpCall = wire::again(wire::post(self.url.clone(), body));
        self.dial = Dial::Asking { call: base.call(http) };
    }

    fn later(&mut self, base: &mut Base, now: Timestamp) {
        let until = now + base.random.backoff(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        self.dial = Dial::Waiting { until };
    }

    pub(super) const fn is_mine(&self, call: CallId) -> bool {
        matches!(self.dial, Dial::Asking { call: mine } if mine == call)
    }

    /// The answer of `connections/open`.
    pub(super) fn answer(
        &mut self,
        base: &mut Base,
        now: Timestamp,
        hosts: &Hosts,
        answer: Result<HttpReply, HttpFailure>,
    ) {
        let url = answer.map_err(|failure| (failure.to_string(), false)).and_then(|reply| read_ticket(&reply, hosts));
        match url {
            Ok(url) => {
                let socket = base.next_id();
                self.dial = Dial::Opening { socket, until: now + STREAM_OPEN_MAX };
                base.push(Out::OpenSocket { socket, url });
            }
            Err((why, broken)) => {
                if self.main.is_none() {
                    base.health(if broken { Health::Broken { why } } else { Health::Down { why } });
                }
                self.later(base, now);
            }
        }
    }

    pub(super) fn opened(&mut self, base: &mut Base, now: Timestamp, socket: SocketId) {
        match self.dial {
            Dial::Opening { socket: mine, .. } if mine == socket => {
                self.dial = Dial::Idle;
                if let Some((old, _)) = self.main.replace((socket, now)) {
                    self.draining.insert(old, now + STREAM_DRAIN);
                }
                base.health(Health::Up);
            }
            // It opened after all, too late: another is on its way.
            _ => close(base, socket, "late"),
        }
    }

    pub(super) fn closed(&mut self, base: &mut Base, now: Timestamp, socket: SocketId, why: &str) {
        self.draining.remove(&socket);
        let opening = matches!(self.dial, Dial::Opening { socket: mine, .. } if mine == socket);
        let main = self.main.is_some_and(|(mine, _)| mine == socket);
        if main {
            self.main = None;
        }
        if main && matches!(self.dial, Dial::Idle) || opening {
            self.later(base, now);
        }
        if self.main.is_none() && (main || opening) {
            base.health(Health::Down { why: format!("the stream is closed ({why}); it is opened again") });
        }
    }

    /// A frame came: the socket lives, and the provider has taken us.
    pub(super) fn heard(&mut self, now: Timestamp, socket: SocketId) {
        if let Some((mine, heard)) = &mut self.main
            && *mine == socket
        {
            *heard = now;
            self.attempt = 0;
        }
    }

    /// Frames that are the stream's own business; `None` for any other.
    pub(super) fn system(&mut self, base: &mut Base, socket: SocketId, down: &Down, secret: &str) {
        match down.header("topic") {
            "ping" => base.push(Out::Frame { socket, frame: down.answer(200, "OK", down.data()) }),
            "disconnect" => {
                base.push(Out::Frame { socket, frame: down.answer(200, "OK", down.data()) });
                if self.main.is_some_and(|(mine, _)| mine == socket) {
                    self.dial(base, secret);
                }
            }
            // CONNECTED, REGISTERED, KEEPALIVE.
            _ => base.push(Out::Frame { socket, frame: down.answer(200, "OK", down.data()) }),
        }
    }

    pub(super) fn tick(&mut self, base: &mut Base, now: Timestamp, secret: &str) {
        self.draining.retain(|socket, until| {
            let keep = *until > now;
            if !keep {
                close(base, *socket, "a new connection is open");
            }
            keep
        });
        if let Some((socket, heard)) = self.main
            && now.duration_since(heard) >= STREAM_IDLE_MAX
        {
            self.main = None;
            close(base, socket, "nothing was heard");
            base.health(Health::Down { why: "the stream was silent for two minutes; it is opened again".to_owned() });
            self.dial(base, secret);
        }
        match self.dial {
            Dial::Waiting { until } if until <= now => self.dial(base, secret),
            Dial::Opening { socket, until } if until <= now => {
                close(base, socket, "it did not open in time");
                self.later(base, now);
            }
            _ => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let dial = match self.dial {
            Dial::Waiting { until } | Dial::Opening { until, .. } => Some(until),
            Dial::Idle | Dial::Asking { .. } => None,
        };
        let idle = self.main.map(|(_, heard)| heard + STREAM_IDLE_MAX);
        [dial, idle, self.draining.values().min().copied()].into_iter().flatten().min()
    }
}

fn close(base: &mut Base, socket: SocketId, reason: &str) {
    base.push(Out::CloseSocket { socket, code: 1000, reason: reason.to_owned() });
}

/// Address and ticket, or why there is none and whether only the operator can help.
fn read_ticket(reply: &HttpReply, hosts: &Hosts) -> Result<String, (String, bool)> {
    let body = wire::json(reply).unwrap_or(Value::Null);
    if let (200, Some(endpoint), Some(ticket)) = (reply.status, body["endpoint"].as_str(), body["ticket"].as_str()) {
        if !hosts.allow(endpoint) {
            return Err(("the stream's address is not on one of the channel's `hosts`".to_owned(), true));
        }
        return Ok(format!("{endpoint}?ticket={}", wire::escape(ticket)));
    }
    let code = body["code"].as_str().unwrap_or("no code");
    let broken = matches!(reply.status, 400 | 401 | 403);
    let advice = if broken { "; check `client_id` and the secret `client_secret`" } else { "" };
    Err((format!("connections/open answered {} ({code}){advice}", reply.status), broken))
}

/// What is answered to a callback when its message is durable, and when it is not.
pub(super) fn callback_acks(socket: SocketId, down: &Down) -> (Ack, Ack) {
    let durable = down.answer(200, "OK", r#"{"response":"OK"}"#);
    let refused = down.answer(500, "not kept, send it again", r#"{"response":"LATER"}"#);
    (Ack::Frame { socket, frame: durable }, Ack::Frame { socket, frame: refused })
}
