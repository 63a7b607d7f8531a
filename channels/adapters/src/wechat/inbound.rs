//! What customers send to a mini-program's or an official account's customer service, and what they do there.

use ark_conversation::Content;
use ark_conversation::channel::FileKind;
use ark_conversation::event::{Action, Part, ThreadState, Window};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::inbox::{Slot, text_slots, unsupported};

/// What a push says.
pub(super) enum Push {
    /// The customer wrote, or pressed something that says so.
    Message { content: Written, window: Window },
    /// The customer came, left, or is somewhere.
    Thread { state: ThreadState, entry: Map<String, Value>, window: Option<Window> },
    /// Nothing of a customer.
    Notice,
}

/// What the customer wrote.
pub(super) enum Written {
    Slots(Vec<Slot>),
    File { kind: FileKind, media_id: Option<String>, url: Option<String>, words: Option<String> },
}

/// After a customer wrote: 5 messages in 48 hours.
pub(super) fn after_message(at: Timestamp) -> Window {
    Window { replies_left: 5, closes_at: at + SignedDuration::from_hours(48) }
}

/// After a customer entered a mini-program's service: 2 messages in a minute.
fn after_entering(at: Timestamp) -> Window {
    Window { replies_left: 2, closes_at: at + SignedDuration::from_mins(1) }
}

/// After a customer followed, scanned or pressed a menu: 3 messages in a minute.
fn after_action(at: Timestamp) -> Window {
    Window { replies_left: 3, closes_at: at + SignedDuration::from_mins(1) }
}

pub(super) fn translate(fields: &Fields, at: Timestamp) -> Push {
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let file = |kind, words| Written::File { kind, media_id: text("MediaId"), url: text("PicUrl"), words };
    let kind = fields.get("MsgType").unwrap_or_default();
    let content = match kind {
        "event" => return event(fields, at),
        "text" => Written::Slots(text_slots("text", fields.get("Content").unwrap_or_default())),
        "image" => file(FileKind::Image, None),
        "voice" => file(FileKind::VoiceNote, text("Recognition")),
        "video" | "shortvideo" => file(FileKind::Video, None),
        "location" => Written::Slots(vec![location(fields)]),
        "link" => Written::Slots(vec![card(fields, text("Url"))]),
        "miniprogrampage" => Written::Slots(vec![card(fields, None)]),
        _ => Written::Slots(vec![unsupported(kind, format!("[暂不支持的消息类型 Not shown here: {kind:.40}]"))]),
    };
    Push::Message { content, window: after_message(at) }
}

fn location(fields: &Fields) -> Slot {
    let place = (fields.number("Location_X"), fields.number("Location_Y"));
    match place {
        (Some(lat), Some(lon)) if f64::is_finite(lat) && f64::is_finite(lon) => {
            Slot::Ready(Part::Location { lat, lon, label: fields.get("Label").map(Content::new) })
        }
        _ => unsupported("location", "[位置 A place without coordinates]"),
    }
}

/// A link, or a page of a mini-program, which only its app opens.
fn card(fields: &Fields, url: Option<String>) -> Slot {
    let title = fields.get("Title").unwrap_or("链接 Link");
    let body = fields.get("Description").or_else(|| fields.get("PagePath"));
    let mut words = title.to_owned();
    for more in [body, url.as_deref()].into_iter().flatten() {
        words.push('\n');
        words.push_str(more);
    }
    let open = |url| Action { id: "open".to_owned(), label: Content::new("打开 Open"), url: Some(url) };
    Slot::Ready(Part::Card {
        title: Content::new(title),
        body: body.map(Content::new),
        actions: url.map(open).into_iter().collect(),
        fallback_text: Content::new(words),
    })
}

fn event(fields: &Fields, at: Timestamp) -> Push {
    let kind = fields.get("Event").unwrap_or_default().to_ascii_lowercase();
    let opened = |window| {
        let mut entry = Map::new();
        entry.insert("event".to_owned(), kind.as_str().into());
        for (ours, theirs) in [
            ("session_from", "SessionFrom"),
            ("scene", "EventKey"),
            ("latitude", "Latitude"),
            ("longitude", "Longitude"),
        ] {
            if let Some(value) = fields.get(theirs) {
                entry.insert(ours.to_owned(), value.into());
            }
        }
        Push::Thread { state: ThreadState::Opened, entry, window }
    };
    let pressed = |what: &str| {
        let key = fields.get("EventKey").unwrap_or("-");
        let slot = unsupported(&format!("event/{kind}"), format!("[{what}: {key:.200}]"));
        Push::Message { content: Written::Slots(vec![slot]), window: after_action(at) }
    };
    match kind.as_str() {
        "user_enter_tempsession" => opened(Some(after_entering(at))),
        "subscribe" | "scan" => opened(Some(after_action(at))),
        "location" => opened(None),
        "unsubscribe" => Push::Thread { state: ThreadState::Closed, entry: Map::new(), window: None },
        "click" => pressed("点击菜单 Pressed in the menu"),
        "view" | "view_miniprogram" => pressed("打开菜单链接 Opened from the menu"),
        "scancode_push" | "scancode_waitmsg" | "pic_sysphoto" | "pic_photo_or_album" | "pic_weixin"
        | "location_select" => pressed("使用菜单 Used the menu"),
        _ => Push::Notice,
    }
}
