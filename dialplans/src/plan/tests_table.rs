//! `[[test]]`: what a plan promises about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::DateTime;
use toml::de::{DeTable, DeValue};

use super::read::{language_error, test_keys};
use crate::diagnostic::both;
use crate::lang::Lang;
use crate::limits;
use crate::read::{Block, Field, Kind, Reader, Value, may, must, parse_key};
use crate::source::{Name, Span};
use crate::speech::Confidence;
use crate::suggest;

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it promises, as a sentence.
    pub name: Name,
    /// The wall time at which the call comes in, in the plan's time zone. Without it: a moment when every calendar is
    /// open.
    pub at: Option<DateTime>,
    /// The place of `closed = true`: the call comes in when nothing is open.
    pub closed: Option<Span>,
    /// The caller's number.
    pub caller: String,
    /// The language before the plan chooses one.
    pub lang: Option<Lang>,
    /// True: a chat, and no call; false: a call, and no chat. Without it: a call, and with `ark dialplan test --chat` a chat.
    pub chat: Option<bool>,
    /// What the caller and the world do, in order, with their places.
    pub events: Vec<(TestEvent, Span)>,
    /// Must appear in the trace in this order.
    pub expect: Vec<Name>,
    /// Must not appear in the trace.
    pub never: Vec<Name>,
}

impl TestCase {
    /// Whether it is a call.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.chat != Some(true) && !self.presses()
    }

    /// Whether it is a chat; `as_well`: those that are calls, too, as far as their plan says nothing else.
    #[must_use]
    pub fn is_chat(&self, as_well: bool) -> bool {
        self.chat == Some(true) || self.chat.is_none() && (self.presses() || as_well)
    }

    /// The event of it that means nothing in a chat, as a plan writes it.
    #[must_use]
    pub fn unlike_a_chat(&self) -> Option<&'static str> {
        self.events.iter().find_map(|(event, _)| match event {
            TestEvent::Silence => Some("silence"),
            TestEvent::Joined => Some("joined"),
            TestEvent::NotSent => Some("not-sent"),
            // What is typed is never misheard.
            TestEvent::Say { confidence, .. } if *confidence != Confidence::FULL => Some("confidence"),
            _ => None,
        })
    }

    fn presses(&self) -> bool {
        self.events.iter().any(|(event, _)| matches!(event, TestEvent::Press(_)))
    }
}

/// What happens in a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestEvent {
    /// The caller presses a key, cutting off what plays.
    Key(char),
    /// The caller says something, as a recogniser writes it. The state must be listening.
    Say {
        /// The words.
        text: String,
        /// How sure the recogniser is.
        confidence: Confidence,
    },
    /// The caller types something in a chat.
    Type(String),
    /// The customer presses the button of these words, in a chat.
    Press(String),
    /// The caller stays silent until the plan moves on by itself.
    Silence,
    /// A person answers, talks and leaves.
    Answered,
    /// The person whom the plan calls does not answer.
    NoAnswer,
    /// The caller leaves a message.
    Recorded,
    /// The caller hangs up.
    Hangup,
    /// The HTTP action answers with these values, or fails.
    Http(Option<BTreeMap<String, String>>),
    /// The caller opens the page of the link that was sent.
    Joined,
    /// The caller sends a picture.
    Picture,
    /// No link can be sent.
    NotSent,
    /// The caller's place in the queue.
    Place {
        /// 1 is next.
        position: u32,
        /// The estimate.
        wait: Option<Duration>,
    },
}

pub(crate) const FIELDS: &[Field] = &[
    must("name", Kind::Text, "what this test promises, as a sentence"),
    may("at", Kind::Text, "when the call comes in, in the plan's time zone, such as \"2026-10-01T10:00\""),
    may("closed", Kind::Flag, "true: the call comes in outside the hours of every calendar; default: within them"),
    may("caller", Kind::Text, "the caller's number"),
    may("lang", Kind::Text, "the language before the plan chooses one"),
    may(
        "chat",
        Kind::Flag,
        "true: a chat, and no call; false: a call, and no chat; default: a call, with --chat a chat",
    ),
    must(
        "expect",
        Kind::Texts,
        "what must happen, in this order: \"queue:general\", \"lang:en\", \"play:main\", \"state:bye\", \"record\", \"hangup\" ...",
    ),
    may("never", Kind::Texts, "what must not happen"),
];

const EVENT_WORDS: [&str; 10] =
    ["silence", "answered", "no-answer", "recorded", "joined", "picture", "not-sent", "hangup", "star", "hash"];

pub(super) fn read<'a>(reader: &mut Reader, value: Option<&'a Value<'a>>) -> Vec<TestCase> {
    let Some(value) = value else { return Vec::new() };
    let DeValue::Array(items) = value.get_ref() else {
        reader.wrong_type(value, "`test`", ("`[[test]]` tables", "`[[test]]` 表"), "[[test]]");
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            let table = reader.table(item, "[[test]]", "[[test]]")?;
            Some(one(reader, table, item.span()))
        })
        .collect()
}

fn one<'a>(reader: &mut Reader, table: &'a DeTable<'a>, span: Span) -> TestCase {
    let block = Block::new(reader, table, "[[test]]".to_owned(), span, FIELDS, &["events"]);
    let at = block.name(reader, "at").and_then(|text| {
        let found: Option<DateTime> = text.text.parse().ok();
        if found.is_none() {
            let shown = &text.text;
            reader.say(
                "E016",
                &text.span,
                both!("`{shown}` is not a date and time", "`{shown}` 不是日期时间"),
                Some(both!("write it like `2026-10-01T10:00`", "请写成 `2026-10-01T10:00`")),
            );
        }
        found
    });
    let lang = block.name(reader, "lang").and_then(|name| {
        let lang = Lang::parse(&name.text);
        if lang.is_none() {
            language_error(reader, &name);
        }
        lang
    });
    let closed = block.flag(reader, "closed", false).then(|| {
        let key = table.iter().find(|(key, _)| key.get_ref() == "closed");
        key.map_or_else(|| block.span.clone(), |(key, _)| key.span())
    });
    if let (Some(span), true) = (&closed, at.is_some()) {
        reader.say(
            "E016",
            span,
            both!("a test has `at` or `closed`, not both", "测试中 `at` 和 `closed` 只能用一个"),
            Some(both!("remove one of the two", "请删除其中一个")),
        );
    }
    let has_chat = table.keys().any(|key| key.get_ref() == "chat");
    let chat = has_chat.then(|| block.flag(reader, "chat", false));
    let mut events = Vec::new();
    match table.iter().find(|(key, _)| key.get_ref() == "events").map(|(_, value)| value) {
        None => {}
        Some(value) => match value.get_ref() {
            DeValue::Array(items) if items.len() <= limits::TEST_EVENTS_MAX => {
                for item in items {
                    event(reader, item, &mut events);
                }
            }
            DeValue::Array(_) => {
                let most = limits::TEST_EVENTS_MAX;
                reader.say("E016", &value.span(), both!("more than {most} events", "事件超过 {most} 个"), None);
            }
            _ => reader.wrong_type(
                value,
                "[[test]] `events`",
                ("a list of events", "事件列表"),
                "events = [\"1\", \"silence\"]",
            ),
        },
    }
    TestCase {
        name: block.must_name(reader, "name"),
        at,
        closed,
        caller: block.name(reader, "caller").map_or_else(|| "15000000000".to_owned(), |n| n.text.to_string()),
        lang,
        chat,
        events,
        expect: block.texts(reader, "expect"),
        never: block.texts(reader, "never"),
    }
}

fn event<'a>(reader: &mut Reader, value: &'a Value<'a>, events: &mut Vec<(TestEvent, Span)>) {
    let span = value.span();
    match value.get_ref() {
        DeValue::String(text) => {
            if let Some(keys) = test_keys(text) {
                events.extend(keys.into_iter().map(|key| (TestEvent::Key(key), span.clone())));
                return;
            }
            let found = match &**text {
                "silence" => TestEvent::Silence,
                "answered" => TestEvent::Answered,
                "no-answer" => TestEvent::NoAnswer,
                "recorded" => TestEvent::Recorded,
                "joined" => TestEvent::Joined,
                "picture" => TestEvent::Picture,
                "not-sent" => TestEvent::NotSent,
                "hangup" => TestEvent::Hangup,
                _ => {
                    unknown_event(reader, &span, text);
                    return;
                }
            };
            events.push((found, span));
        }
        DeValue::Table(table) => {
            if let Some(found) = table_event(reader, table, &span) {
                events.push((found, span));
            }
        }
        _ => reader.wrong_type(
            value,
            "an event",
            ("a text or a table", "文字或表"),
            "\"1\", \"silence\", { http = { status = \"ok\" } }",
        ),
    }
}

fn unknown_event(reader: &mut Reader, span: &Span, text: &str) {
    let near = match text {
        "timeout" | "nothing" | "no-input" => Some("silence"),
        "*" => Some("star"),
        "#" => Some("hash"),
        _ => suggest::nearest(text, EVENT_WORDS),
    };
    let help = if let Some(words) = text.strip_prefix("say:") {
        both!("write `{{ say = \"{words}\" }}`", "请写 `{{ say = \"{words}\" }}`")
    } else if let Some(near) = near {
        both!("did you mean `{near}`?", "是不是 `{near}`?")
    } else {
        both!(
            "events are keys (`\"0\"` to `\"9\"`, `\"star\"`, `\"hash\"`, or several digits), `\"silence\"`, `\"answered\"`, `\"no-answer\"`, `\"recorded\"`, `\"joined\"`, `\"picture\"`, `\"not-sent\"`, `\"hangup\"`, `{{ say = \"...\" }}`, `{{ type = \"...\" }}`, `{{ press = \"...\" }}`, `{{ http = ... }}`, `{{ place = ... }}`",
            "事件有：按键(`\"0\"` 到 `\"9\"`、`\"star\"`、`\"hash\"` 或多位数字)、`\"silence\"`、`\"answered\"`、`\"no-answer\"`、`\"recorded\"`、`\"joined\"`、`\"picture\"`、`\"not-sent\"`、`\"hangup\"`、`{{ say = \"...\" }}`、`{{ type = \"...\" }}`、`{{ press = \"...\" }}`、`{{ http = ... }}`、`{{ place = ... }}`"
        )
    };
    reader.say("E016", span, both!("`{text}` is not an event", "`{text}` 不是事件"), Some(help));
}

fn table_event(reader: &mut Reader, table: &DeTable<'_>, span: &Span) -> Option<TestEvent> {
    if table.keys().any(|key| key.get_ref() == "say") {
        return say(reader, table);
    }
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        unknown_event(reader, span, "{ ... }");
        return None;
    };
    match &**key.get_ref() {
        "type" => {
            reader.string(value, "`type`", "{ type = \"找人工\" }").map(|name| TestEvent::Type(name.text.to_string()))
        }
        "press" => reader
            .string(value, "`press`", "{ press = \"转人工\" }")
            .map(|name| TestEvent::Press(name.text.to_string())),
        "http" => match value.get_ref() {
            DeValue::String(text) if text == "failed" => Some(TestEvent::Http(None)),
            DeValue::Table(values) => {
                let mut found = BTreeMap::new();
                for (name, value) in values {
                    if let Some(text) = reader.string(value, "http result", "{ http = { status = \"shipped\" } }") {
                        found.insert(name.get_ref().to_string(), text.text.to_string());
                    }
                }
                Some(TestEvent::Http(Some(found)))
            }
            _ => {
                reader.wrong_type(
                    value,
                    "`http`",
                    ("a table of values or \"failed\"", "值的表或 \"failed\""),
                    "{ http = { status = \"shipped\" } }",
                );
                None
            }
        },
        "place" => place(reader, value),
        "key" => {
            let text = reader.string(value, "`key`", "\"1\"")?;
            parse_key(&text.text).map(TestEvent::Key)
        }
        other => {
            unknown_event(reader, &key.span(), other);
            None
        }
    }
}

/// `{ say = "找人工" }`, `{ say = "找人工", confidence = 60 }`.
fn say(reader: &mut Reader, table: &DeTable<'_>) -> Option<TestEvent> {
    const EXAMPLE: &str = "{ say = \"找人工\", confidence = 60 }";
    let mut text = None;
    let mut confidence = Confidence::FULL;
    for (key, value) in table {
        match (&**key.get_ref(), value.get_ref()) {
            ("say", _) => text = reader.string(value, "`say`", EXAMPLE),
            ("confidence", DeValue::Integer(n)) => match n.as_str().parse().ok().filter(|n: &u8| *n <= 100) {
                Some(percent) => confidence = Confidence::percent(percent),
                None => {
                    reader.wrong_type(value, "`confidence`", ("percent from 0 to 100", "0 到 100 的百分数"), EXAMPLE);
                }
            },
            ("confidence", _) => {
                reader.wrong_type(value, "`confidence`", ("percent from 0 to 100", "0 到 100 的百分数"), EXAMPLE);
            }
            (other, _) => crate::read::unknown_key(reader, &key.span(), other, "`say`", &["say", "confidence"]),
        }
    }
    text.map(|name| TestEvent::Say { text: name.text.to_string(), confidence })
}

fn place(reader: &mut Reader, value: &Value<'_>) -> Option<TestEvent> {
    const EXAMPLE: &str = "{ place = { position = 3, wait = \"2m\" } }";
    let table = reader.table(value, "`place`", EXAMPLE)?;
    let mut position = 1;
    let mut wait = None;
    for (key, value) in table {
        match (&**key.get_ref(), value.get_ref()) {
            ("position", DeValue::Integer(n)) => match n.as_str().parse().ok().filter(|n| *n > 0) {
                Some(n) => position = n,
                None => reader.wrong_type(value, "`position`", ("a number from 1", "从 1 开始的数字"), EXAMPLE),
            },
            ("position", _) => reader.wrong_type(value, "`position`", ("a number from 1", "从 1 开始的数字"), EXAMPLE),
            ("wait", _) => wait = reader.duration(value, "`wait`"),
            (other, _) => crate::read::unknown_key(reader, &key.span(), other, "`place`", &["position", "wait"]),
        }
    }
    Some(TestEvent::Place { position, wait })
}
