//! The AsyncAPI 3.0 document: what Ark tells by itself. Made from the types, so that it cannot drift from them.

use ark_conversation::{CloudEvent, Event, Record, schema};
use serde_json::{Map, Value, json};

use super::api::add_component;
use super::desk_socket::{FromDesk, ToDesk};
use super::history::PlacedRecord;
use super::socket::{ClientMessage, ServerMessage};
use crate::webchat::proto::{Said, Tell};
use crate::webhooks::TEST_TYPE;
use crate::webrtc::signal::{FromPage, ToPage};

const CLOUD_EVENT: &str = "CloudEvent";
const RECORD: &str = "Record";
const PLACED: &str = "PlacedRecord";
const CLIENT: &str = "SocketClientMessage";
const SERVER: &str = "SocketServerMessage";
const FROM_PAGE: &str = "FromPage";
const TO_PAGE: &str = "ToPage";
const FROM_DESK: &str = "FromDesk";
const TO_DESK: &str = "ToDesk";
const CHAT_SAID: &str = "ChatSaid";
const CHAT_TELL: &str = "ChatTell";
/// Type and data of any event: for each type its data.
const TYPED: &str = "TypedEvent";

/// The AsyncAPI document: the event stream, the socket, the history, webhooks, and the log's direction on the bus.
pub fn asyncapi() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ark",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What an Ark gateway tells by itself: every committed event of every conversation, as a stream over HTTP, as \
                            webhooks, and between gateways over RabbitMQ. Within v1 of an event type fields are only added, and new types \
                            appear: readers ignore what they do not know. What is asked for is in /api/v1/openapi.json.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" }
        },
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": "127.0.0.1:8080",
                "protocol": "http",
                "description": "[web] listen; https with [web] tls",
                "security": [{ "$ref": "#/components/securitySchemes/token" }]
            },
            "sockets": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "[web] listen; wss with [web] tls. No header: the token is in the first message"
            },
            "broker": {
                "host": "127.0.0.1:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "pathname": "/ark",
                "description": "RabbitMQ, for those that have one: docs/bus.md"
            }
        },
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages(),
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "the token of data/ark.token, or one of `ark token create` with the scope conversations:read" } }
        }
    })
}

fn channels() -> Value {
    let webhook: Map<String, Value> = webhook_messages().map(|name| (name.clone(), message(&name))).collect();
    json!({
        "events": {
            "address": "/api/v1/events",
            "title": "The event stream",
            "description": "Server-sent events: `event: record`, `data:` the record. Of one conversation (`conversation=ULID`) `id:` is its \
                            `seq` and the stream begins after `after_seq`; of the whole log it is the `position`, and the stream begins \
                            after `after`, or now. With the last `id` in the header Last-Event-ID a reader goes on where it was: each \
                            record once, in order. `event: live`: the history has been told. `event: end`: the gateway stops.",
            "servers": [{ "$ref": "#/servers/gateway" }],
            "messages": { "record": message("record"), "placedRecord": message("placedRecord") }
        },
        "socket": {
            "address": "/api/v1/socket",
            "title": "The socket",
            "description": "A WebSocket of JSON texts. A client shows the token in the header Authorization, or in `hello` as its first message; \
                            then it says `subscribe`, once. It is told each record of the whole log after `after`, once and in order: with the \
                            last `position` that it has it goes on after a lost connection without gap or double. Live events (`live`: true) \
                            come between them, have no position, and may be lost: `missed` says so, and all that is so now follows. A client \
                            that takes no message for 10 s is told `slow` and cut. The gateway pings every 15 s. Closed with 1013: come again; \
                            with 1008: not as you said it.",
            "servers": [{ "$ref": "#/servers/gateway" }],
            "messages": { "client": message("client"), "server": message("server") },
            "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } }
        },
        "history": {
            "address": "/api/v1/history",
            "title": "The history",
            "description": "The whole log after the position `after`: in pages, or with `Accept: application/x-ndjson` up to its end, one \
                            record a line. The order is the same for everybody and for ever.",
            "servers": [{ "$ref": "#/servers/gateway" }],
            "messages": { "placedRecord": message("placedRecord") }
        },
        "rtc": {
            "address": "/rtc",
            "title": "Browsers' calls",
            "description": "A WebSocket for a page that calls, or at which an operator answers. The page says `hello` with a token of \
                            POST /api/v1/webrtc/tokens within five seconds and hears `welcome`. A caller sends `offer` and hears \
                            `ringing`, `answer`, `up`; an operator hears `ringing`, and sends `offer` to take the call or `hangup` not to. \
                            Either side ends with `hangup`. When the socket closes the call ends at once; when it breaks without a word \
                            the page may come back within four seconds with `resume`. See docs/webrtc.md.",
            "servers": [{ "$ref": "#/servers/sockets" }],
            "messages": { "fromPage": message("fromPage"), "toPage": message("toPage") },
            "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } }
        },
        "desk": desk(),
        "chat": chat(),
        "webhook": {
            "address": null,
            "title": "Webhooks",
            "description": "POST to the url of a [[webhook]], by Standard Webhooks: signed, repeated with the same webhook-id until it is \
                            answered with 200 to 299, at least once. Of one conversation in the order of `arkseq`, between conversations \
                            in none. 410 ends it.",
            "messages": webhook
        },
        "log": {
            "address": "ark.evt",
            "title": "The log on the bus",
            "description": "Committed records between gateways. The routing key is `sNNN.{tenant}.{type}` with the conversation's shard; some \
                            may come twice, none in a wrong order of `seq`, and what is missed is in the history.",
            "servers": [{ "$ref": "#/servers/broker" }],
            "messages": { "record": message("record") },
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": { "name": "ark.evt", "type": "topic", "durable": true, "autoDelete": false, "vhost": "ark" },
                    "bindingVersion": "0.3.0"
                }
            }
        }
    })
}

fn desk() -> Value {
    json!({
        "address": "/api/v1/desk/socket",
        "title": "An agent's desk",
        "description": "A WebSocket of JSON texts. Who has signed in is known by the cookie; a client with a token says `hello` first, with the \
                        agent's name. While one is open the agent is there, and 15 s longer. `desk` is the whole picture: first, and after each \
                        change, five times a second at most. See docs/desk.md.",
        "servers": [{ "$ref": "#/servers/sockets" }],
        "messages": { "fromDesk": message("fromDesk"), "toDesk": message("toDesk") },
        "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } }
    })
}

fn chat() -> Value {
    json!({
        "address": "/chat/{name}/socket",
        "title": "Chat in web pages",
        "description": "A WebSocket for a visitor's page, of an origin that the [[channel]] names. The page says `hello` first and is told \
                        what it misses; `live`: all is told. A message is acknowledged when it is durable, and is there once however often \
                        it comes with its id. Without sockets POST /chat/{name}/stream and /chat/{name}/say carry the same. See \
                        docs/webchat.md.",
        "parameters": { "name": { "description": "The channel's name" } },
        "servers": [{ "$ref": "#/servers/sockets" }],
        "messages": { "chatSaid": message("chatSaid"), "chatTell": message("chatTell") },
        "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } }
    })
}

fn operations() -> Value {
    let operation = |channel: &str, summary: &str| json!({ "action": "send", "channel": { "$ref": format!("#/channels/{channel}") }, "summary": summary });
    let mut webhook = operation("webhook", "Tells a site's own system what happened");
    webhook["bindings"] = json!({ "http": { "method": "POST", "bindingVersion": "0.3.0" } });
    let mut events = operation("events", "Tells whoever follows the log what happened, from where they were");
    events["bindings"] = json!({ "http": { "method": "GET", "bindingVersion": "0.3.0" } });
    let mut history = operation("history", "Tells what happened, to its end");
    history["bindings"] = json!({ "http": { "method": "GET", "bindingVersion": "0.3.0" } });
    json!({
        "sendEvents": events,
        "sendHistory": history,
        "sendSocket": {
            "action": "send",
            "channel": { "$ref": "#/channels/socket" },
            "summary": "Tells whoever is connected what happened and what is so just now",
            "messages": [{ "$ref": "#/channels/socket/messages/server" }]
        },
        "receiveSocket": {
            "action": "receive",
            "channel": { "$ref": "#/channels/socket" },
            "summary": "Hears what a client wants to be told",
            "messages": [{ "$ref": "#/channels/socket/messages/client" }]
        },
        "sendToPage": {
            "action": "send", "channel": { "$ref": "#/channels/rtc" }, "summary": "Tells a page what becomes of its call",
            "messages": [{ "$ref": "#/channels/rtc/messages/toPage" }]
        },
        "receiveFromPage": {
            "action": "receive", "channel": { "$ref": "#/channels/rtc" }, "summary": "Does what a page asks for",
            "messages": [{ "$ref": "#/channels/rtc/messages/fromPage" }]
        },
        "sendToDesk": {
            "action": "send", "channel": { "$ref": "#/channels/desk" }, "summary": "Tells an agent's page what is so now",
            "messages": [{ "$ref": "#/channels/desk/messages/toDesk" }]
        },
        "receiveFromDesk": {
            "action": "receive", "channel": { "$ref": "#/channels/desk" }, "summary": "Hears whether an agent is to be asked",
            "messages": [{ "$ref": "#/channels/desk/messages/fromDesk" }]
        },
        "sendToChat": {
            "action": "send", "channel": { "$ref": "#/channels/chat" }, "summary": "Tells a visitor's page what is on its timeline",
            "messages": [{ "$ref": "#/channels/chat/messages/chatTell" }]
        },
        "receiveFromChat": {
            "action": "receive", "channel": { "$ref": "#/channels/chat" }, "summary": "Takes what a visitor writes",
            "messages": [{ "$ref": "#/channels/chat/messages/chatSaid" }]
        },
        "sendWebhook": webhook,
        "sendLog": operation("log", "Carries committed records to the other gateways")
    })
}

fn message(name: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{name}") })
}

fn component(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Everything that a webhook may be sent.
fn webhook_messages() -> impl Iterator<Item = String> {
    Event::TYPES.iter().copied().chain([TEST_TYPE]).map(str::to_owned)
}

fn messages() -> Value {
    let header = |description: &str| json!({ "type": "string", "description": description });
    let webhook_headers = json!({
        "type": "object",
        "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
        "properties": {
            "webhook-id": header("The same at each attempt: what duplicates are told by"),
            "webhook-timestamp": header("Unix seconds of this attempt"),
            "webhook-signature": header("`v1,` and Base64 of HMAC-SHA256 over `id.timestamp.body`, one for each secret, with spaces between")
        }
    });
    let mut messages = Map::new();
    for name in webhook_messages() {
        let mut properties = json!({
            "type": { "const": name },
            "arktenant": { "type": "string", "description": "Whose data it is" },
            "arkconversation": { "type": "string", "description": "The conversation" },
            "arkseq": { "type": "integer", "minimum": 1, "description": "1, 2, 3 ... within the conversation" },
            "arkepoch": { "type": "integer", "minimum": 1, "description": "Ownership of the conversation when it was written" }
        });
        let data = if name == TEST_TYPE { json!({ "type": "object" }) } else { component(&name) };
        properties["data"] = data;
        let summary = if name == TEST_TYPE { "What `ark webhook test` sends; it is in no log" } else { "" };
        let mut message = json!({
            "name": name,
            "title": name,
            "contentType": "application/cloudevents+json",
            "headers": webhook_headers,
            "payload": { "allOf": [component(CLOUD_EVENT), { "type": "object", "properties": properties }] }
        });
        if !summary.is_empty() {
            message["summary"] = summary.into();
        }
        messages.insert(name, message);
    }
    for (name, summary, of) in [
        ("record", "A record of the log", RECORD),
        ("placedRecord", "A record of the log, with its place in the whole", PLACED),
    ] {
        let payload =
            json!({ "allOf": [component(of), { "type": "object", "properties": { "event": component(TYPED) } }] });
        let message = json!({ "name": name, "title": summary, "contentType": "application/json", "payload": payload });
        messages.insert(name.to_owned(), message);
    }
    for (name, summary, of) in [
        ("client", "What a socket's client says", CLIENT),
        ("server", "What a socket's gateway says", SERVER),
        ("fromPage", "What a page says over /rtc", FROM_PAGE),
        ("toPage", "What Ark says to a page over /rtc", TO_PAGE),
        ("fromDesk", "What an agent's page says", FROM_DESK),
        ("toDesk", "What Ark says to an agent's page", TO_DESK),
        ("chatSaid", "What a visitor's page says", CHAT_SAID),
        ("chatTell", "What Ark says to a visitor's page", CHAT_TELL),
    ] {
        let message =
            json!({ "name": name, "title": summary, "contentType": "application/json", "payload": component(of) });
        messages.insert(name.to_owned(), message);
    }
    Value::Object(messages)
}

fn schemas() -> Value {
    let mut all = Map::new();
    let own = [
        (CLOUD_EVENT, schemars::schema_for!(CloudEvent)),
        (RECORD, schemars::schema_for!(Record)),
        (PLACED, schemars::schema_for!(PlacedRecord)),
        (CLIENT, schemars::schema_for!(ClientMessage)),
        (SERVER, schemars::schema_for!(ServerMessage<'_>)),
        (FROM_PAGE, schemars::schema_for!(FromPage)),
        (TO_PAGE, schemars::schema_for!(ToPage)),
        (FROM_DESK, schemars::schema_for!(FromDesk)),
        (TO_DESK, schemars::schema_for!(ToDesk<'_>)),
        (CHAT_SAID, schemars::schema_for!(Said)),
        (CHAT_TELL, schemars::schema_for!(Tell)),
    ];
    for (name, schema) in own.into_iter().chain(schema::all().into_iter().filter(|(name, _)| *name != schema::RECORD)) {
        add_component(&mut all, name, schema);
    }
    let known = Event::TYPES.iter().map(|name| {
        json!({ "type": "object", "title": name, "properties": { "type": { "const": name }, "data": component(name) } })
    });
    let later = json!({
        "type": "object", "title": "a type of a later Ark", "properties": { "type": { "not": { "enum": Event::TYPES } } }
    });
    all.insert(TYPED.to_owned(), json!({ "oneOf": known.chain([later]).collect::<Vec<Value>>() }));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::http::api::tests::references_lead_somewhere;

    #[test]
    fn the_document_is_the_kept_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/asyncapi.json");
        let now = format!("{}\n", serde_json::to_string_pretty(&asyncapi()).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == now,
            "what is told has changed: UPDATE=1 cargo test -p ark asyncapi, and look at the difference"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_type_is_there() {
        let document = asyncapi();
        references_lead_somewhere(&document, &document);
        for name in Event::TYPES {
            assert!(document["channels"]["webhook"]["messages"][name].is_object(), "{name}");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[test]
    fn one_name_means_one_schema() {
        let mut seen: BTreeMap<String, Value> = BTreeMap::new();
        for (of, schema) in schema::all() {
            for (name, inner) in schema.as_value()["$defs"].as_object().into_iter().flatten() {
                let there = seen.entry(name.clone()).or_insert_with(|| inner.clone());
                assert_eq!(there, inner, "{name} of {of} is another {name} than before");
            }
        }
    }

    #[test]
    fn the_exchange_is_the_one_of_the_bus() {
        let plan = include_str!("../../../channels/bus/src/topology/plan.golden.txt");
        let exchange = &asyncapi()["channels"]["log"]["bindings"]["amqp"]["exchange"];
        let line = plan.lines().find(|line| line.trim_start().starts_with("ark.evt ")).unwrap();
        assert!(line.contains(exchange["type"].as_str().unwrap()), "{line}");
        assert!(line.contains("sNNN.{tenant}.{type}"), "{line}");
    }
}
