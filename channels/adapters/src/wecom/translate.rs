//! What a page of `kf/sync_msg` says.

use ark_conversation::Content;
use ark_conversation::channel::{FileKind, Hosts};
use ark_conversation::event::{Action, Part, ReceiptReason, ThreadState, Window};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::base::Base;
use crate::inbox::{Slot, text_slots, unsupported};
use crate::wechat::files::{Files, Named};

/// One message or event.
pub(super) enum Item {
    Message {
        slots: Vec<Slot>,
        window: Option<Window>,
    },
    Thread {
        state: ThreadState,
        entry: Option<Map<String, Value>>,
        window: Option<Window>,
    },
    /// A message of ours did not arrive.
    Failed {
        msgid: String,
        reason: ReceiptReason,
    },
    /// The customer took a message back.
    Recalled {
        msgid: String,
    },
    /// Nothing to keep, in words.
    Nothing(String),
}

/// A code that allows one message by `kf/send_msg_on_event`, and how long.
pub(super) fn code(item: &Value) -> Option<(&str, SignedDuration)> {
    let event = &item["event"];
    let filled = |name: &str| event[name].as_str().filter(|code| !code.is_empty());
    filled("welcome_code").or_else(|| filled("msg_code")).map(|code| (code, SignedDuration::from_secs(20)))
}

pub(super) fn translate(
    files: &mut Files,
    base: &mut Base,
    (now, hosts): (Timestamp, &Hosts),
    item: &Value,
    at: Timestamp,
) -> Item {
    let kind = item["msgtype"].as_str().unwrap_or_default();
    if kind == "event" {
        return event(&item["event"], at);
    }
    // 3: the customer; 4: the system; 5: one who answers in WeCom itself.
    match item["origin"].as_i64() {
        Some(3) => {}
        Some(5) => return Item::Nothing("a message of WeCom's own desk came; it is not the customer's".to_owned()),
        _ => return Item::Nothing("a message of the system came; it is not the customer's".to_owned()),
    }
    let text = |path: [&str; 2]| item[path[0]][path[1]].as_str().filter(|text| !text.is_empty());
    let mut file = |kind: FileKind, name: &str| {
        let media_id = text([name, "media_id"]).map(str::to_owned);
        let named = Named { kind, media_id, url: None, name: text([name, "filename"]).map(str::to_owned), words: None };
        vec![files.slot(base, now, hosts, named, name)]
    };
    let slots = match kind {
        "text" => text_slots("text", text(["text", "content"]).unwrap_or_default()),
        "image" => file(FileKind::Image, "image"),
        "voice" => file(FileKind::VoiceNote, "voice"),
        "video" => file(FileKind::Video, "video"),
        "file" => file(FileKind::File, "file"),
        "location" => vec![location(&item["location"])],
        "link" => vec![card(&item["link"], "desc", item["link"]["url"].as_str())],
        "miniprogram" => vec![card(&item["miniprogram"], "pagepath", None)],
        _ => vec![unsupported(kind, format!("[暂不支持的消息类型 Not shown here: {kind:.40}]"))],
    };
    let window = Some(Window { replies_left: 5, closes_at: at + SignedDuration::from_hours(48) });
    Item::Message { slots, window }
}

fn location(value: &Value) -> Slot {
    let degrees = |name: &str| value[name].as_f64().or_else(|| value[name].as_str()?.trim().parse().ok());
    match (degrees("latitude"), degrees("longitude")) {
        (Some(lat), Some(lon)) if f64::is_finite(lat) && f64::is_finite(lon) => {
            let words: Vec<&str> = ["name", "address"].iter().filter_map(|name| value[*name].as_str()).collect();
            let label = (!words.is_empty()).then(|| Content::new(words.join(" ")));
            Slot::Ready(Part::Location { lat, lon, label })
        }
        _ => unsupported("location", "[位置 A place without coordinates]"),
    }
}

fn card(value: &Value, body: &str, url: Option<&str>) -> Slot {
    let title = value["title"].as_str().filter(|title| !title.is_empty()).unwrap_or("链接 Link");
    let body = value[body].as_str().filter(|body| !body.is_empty());
    let words: Vec<&str> = [Some(title), body, url].into_iter().flatten().collect();
    let open =
        |url: &str| Action { id: "open".to_owned(), label: Content::new("打开 Open"), url: Some(url.to_owned()) };
    Slot::Ready(Part::Card {
        title: Content::new(title),
        body: body.map(Content::new),
        actions: url.map(open).into_iter().collect(),
        fallback_text: Content::new(words.join("\n")),
    })
}

fn event(event: &Value, at: Timestamp) -> Item {
    let kind = event["event_type"].as_str().unwrap_or_default();
    let text = |name: &str| event[name].as_str().filter(|text| !text.is_empty());
    match kind {
        "enter_session" => {
            let mut entry = Map::new();
            for name in ["scene", "scene_param"] {
                if let Some(value) = text(name) {
                    entry.insert(name.to_owned(), value.into());
                }
            }
            let window =
                text("welcome_code").map(|_| Window { replies_left: 1, closes_at: at + SignedDuration::from_secs(20) });
            Item::Thread { state: ThreadState::Opened, entry: Some(entry).filter(|entry| !entry.is_empty()), window }
        }
        "msg_send_fail" => match text("fail_msgid") {
            Some(msgid) => {
                Item::Failed { msgid: msgid.to_owned(), reason: reason(event["fail_type"].as_i64().unwrap_or(0)) }
            }
            None => Item::Nothing("a failure without `fail_msgid` came".to_owned()),
        },
        "user_recall_msg" => match text("recall_msgid") {
            Some(msgid) => Item::Recalled { msgid: msgid.to_owned() },
            None => Item::Nothing("a recall without `recall_msgid` came".to_owned()),
        },
        // 1: somebody took it; 2: passed on; 3: ended; 4: taken up again.
        "session_status_change" if event["change_type"].as_i64() == Some(3) => {
            Item::Thread { state: ThreadState::Closed, entry: None, window: None }
        }
        _ => Item::Nothing(format!("an event of kind '{kind:.40}' came; there is nothing in it to keep")),
    }
}

/// Why a message that WeCom had taken did not arrive.
fn reason(fail_type: i64) -> ReceiptReason {
    let code = match fail_type {
        4..=6 => "window_closed".to_owned(),
        10 => "blocked".to_owned(),
        other => format!("wecom_fail_{other}"),
    };
    ReceiptReason { code, text: Some(format!("fail_type {fail_type}")), retriable: false }
}
