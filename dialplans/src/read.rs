//! The reader between TOML and the plan: every value keeps its place, every mistake is told, reading goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Both, Diagnostic, both};
use crate::limits;
use crate::source::{Name, Source, Span};
use crate::suggest;

/// What kind of value a field takes; the parser, the JSON Schema and the messages read the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The name of a state.
    State,
    /// The id of a prompt.
    Prompt,
    /// The name of a list, calendar, action, target or queue.
    Reference(&'static str),
    /// A table from keys (`0`-`9`, `star`, `hash`) to states.
    Keys,
    /// A table from values to states.
    Cases,
    /// A table from names to strings.
    Strings,
    /// A duration such as `"3s"`.
    Duration,
    /// A whole number.
    Integer,
    /// Yes or no.
    Flag,
    /// One key: `0`-`9`, `star`, `hash`.
    KeyName,
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// The name of a state, or a list of texts.
    StateOrTexts,
    /// A table from keys to what callers say for them: a text or a list of texts.
    Phrases,
    /// False, or a table of [`crate::speech::OVERRIDE_FIELDS`].
    Speech,
}

/// One field of a table: its name, kind, whether it must be there, and its manual.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name in the file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// One sentence for editors and the manual.
    pub doc: &'static str,
}

/// A required field.
pub(crate) const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: true, doc }
}

/// An optional field.
pub(crate) const fn may(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: false, doc }
}

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Collects what is wrong.
pub(crate) struct Reader {
    pub(crate) source: Source,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Reader {
    pub(crate) fn say(&mut self, code: &'static str, span: &Span, message: Both, help: Option<Both>) {
        if self.diagnostics.len() < limits::DIAGNOSTICS_MAX {
            self.diagnostics.push(Diagnostic::new(&self.source, code, span, message, help));
        }
    }

    pub(crate) fn wrong_type(&mut self, value: &Value<'_>, what: &str, wanted: (&str, &str), example: &str) {
        let found = value.get_ref().type_str();
        let (en, zh) = wanted;
        self.say(
            "E012",
            &value.span(),
            both!("{what} takes {en}, not {found}", "{what} 应为{zh}，而不是 {found}"),
            Some(both!("write it like `{example}`", "请写成 `{example}` 的样子")),
        );
    }

    pub(crate) fn string(&mut self, value: &Value<'_>, what: &str, example: &str) -> Option<Name> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(Name::new(text, value.span()));
        }
        self.wrong_type(value, what, ("a text in quotes", "带引号的文字"), example);
        None
    }

    pub(crate) fn strings(&mut self, value: &Value<'_>, what: &str, example: &str) -> Vec<Name> {
        if let DeValue::Array(items) = value.get_ref() {
            return items.iter().filter_map(|item| self.string(item, what, example)).collect();
        }
        self.wrong_type(value, what, ("a list of texts", "文字列表"), example);
        Vec::new()
    }

    pub(crate) fn table<'a>(&mut self, value: &'a Value<'a>, what: &str, example: &str) -> Option<&'a DeTable<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.wrong_type(value, what, ("a table", "一个表"), example);
        None
    }

    /// A duration string: whole numbers with units `h`, `m` (or `min`), `s`, `ms`, biggest first: `"1m30s"`.
    pub(crate) fn duration(&mut self, value: &Value<'_>, what: &str) -> Option<Duration> {
        let DeValue::String(text) = value.get_ref() else {
            let example = match value.get_ref() {
                DeValue::Integer(number) => format!("\"{number}s\""),
                _ => "\"3s\"".to_owned(),
            };
            self.wrong_type(value, what, ("a duration in quotes", "带引号的时长"), &example);
            return None;
        };
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(bad) => {
                // +1: the opening quote. Escapes in a duration would be a mistake anyway.
                let start = (value.span().start + 1 + bad.at).min(value.span().end);
                let span = start..(start + bad.len.max(1)).min(value.span().end.max(start + 1));
                self.say(
                    "E012",
                    &span,
                    Both::new(format!("{what}: {}", bad.message.en), format!("{what}:{}", bad.message.zh)),
                    Some(both!(
                        "durations are whole numbers with a unit: \"250ms\", \"3s\", \"2m\", \"1m30s\", \"1h\"",
                        "时长由整数和单位组成:\"250ms\"、\"3s\"、\"2m\"、\"1m30s\"、\"1h\""
                    )),
                );
                None
            }
        }
    }
}

/// Why a duration is not one, and where in the text.
pub(crate) struct BadDuration {
    at: usize,
    len: usize,
    message: Both,
}

/// Reads `"250ms"`, `"3s"`, `"1m30s"`, `"1h"`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    const UNITS: [(&str, u64); 5] = [("h", 3_600_000), ("min", 60_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];
    let fail = |at: usize, len: usize, message: Both| Err(BadDuration { at, len, message });
    if text.trim().is_empty() {
        return fail(0, text.len(), both!("an empty duration", "时长为空"));
    }
    let mut at = 0;
    let mut total_ms: u64 = 0;
    let mut last_unit = u64::MAX;
    while at < text.len() {
        let rest = &text[at..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            let found: String = rest.chars().take_while(|c| !c.is_ascii_digit()).collect();
            return fail(
                at,
                found.len(),
                both!("a number was expected where `{found}` stands", "`{found}` 处应为数字"),
            );
        }
        let unit_at = at + digits;
        let tail = &text[unit_at..];
        let letters: usize = tail.chars().take_while(|c| !c.is_ascii_digit()).map(char::len_utf8).sum();
        let unit = &tail[..letters];
        let Some((_, ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return if unit.is_empty() {
                fail(at, digits, both!("`{}` has no unit", "`{}` 没有单位", &rest[..digits]))
            } else {
                fail(unit_at, letters, both!("unknown unit `{unit}`", "未知单位 `{unit}`"))
            };
        };
        if *ms >= last_unit {
            return fail(unit_at, letters, both!("unit `{unit}` is out of order", "单位 `{unit}` 的顺序不对"));
        }
        last_unit = *ms;
        let number: Option<u64> = rest[..digits].parse().ok();
        total_ms = match number.and_then(|n| n.checked_mul(*ms)).and_then(|n| n.checked_add(total_ms)) {
            Some(sum) if Duration::from_millis(sum) <= limits::DURATION_MAX => sum,
            _ => return fail(at, digits + letters, both!("longer than 24 hours", "超过 24 小时")),
        };
        at = unit_at + letters;
    }
    Ok(Duration::from_millis(total_ms))
}

/// The key that a plan calls `0`-`9`, `star` or `hash`.
pub(crate) fn parse_key(name: &str) -> Option<char> {
    match name {
        "star" => Some('*'),
        "hash" => Some('#'),
        _ if name.len() == 1 => name.chars().next().filter(char::is_ascii_digit),
        _ => None,
    }
}

/// What a plan calls a key.
#[must_use]
pub(crate) fn key_name(key: char) -> String {
    match key {
        '*' => "star".to_owned(),
        '#' => "hash".to_owned(),
        other => other.to_string(),
    }
}

/// One table of the plan with the fields it may have.
pub(crate) struct Block<'a> {
    table: &'a DeTable<'a>,
    /// `[state.main]`, for messages.
    what: String,
    /// Where to point when something is missing: the table's name.
    pub(crate) span: Span,
    fields: &'static [Field],
}

impl<'a> Block<'a> {
    /// Takes a table and refuses the names it does not know. `extra`: names that the caller reads itself.
    pub(crate) fn new(
        reader: &mut Reader,
        table: &'a DeTable<'a>,
        what: String,
        span: Span,
        fields: &'static [Field],
        extra: &[&str],
    ) -> Self {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if fields.iter().any(|f| f.name == name) || extra.contains(&name) {
                continue;
            }
            let known: Vec<&str> = extra.iter().copied().chain(fields.iter().map(|f| f.name)).collect();
            unknown_key(reader, &key.span(), name, &what, &known);
        }
        Self { table, what, span, fields }
    }

    /// Whether tables of this kind may have that field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|f| f.name == name)
    }

    /// The value of a field, when it is there.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value<'a>> {
        debug_assert!(self.fields.iter().any(|f| f.name == name), "{name} is not in the table of fields");
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn label(&self, name: &str) -> String {
        format!("{} `{name}`", self.what)
    }

    pub(crate) fn missing(&self, reader: &mut Reader, name: &str) {
        let field = self.fields.iter().find(|f| f.name == name);
        let doc = field.map_or("", |f| f.doc);
        let what = &self.what;
        let example = match field.map(|f| f.kind) {
            Some(Kind::State) => "\"a-state\"",
            Some(Kind::Prompt) => "\"a-prompt\"",
            Some(Kind::Duration) => "\"3s\"",
            Some(Kind::Keys) => "{ 1 = \"a-state\" }",
            Some(Kind::Cases) => "{ zh = \"a-state\" }",
            Some(Kind::Strings) => "{ lang = \"zh\" }",
            Some(Kind::Integer) => "1",
            Some(Kind::Flag) => "true",
            Some(Kind::KeyName) => "\"hash\"",
            Some(Kind::Texts) => "[\"...\"]",
            _ => "\"...\"",
        };
        reader.say(
            "E003",
            &self.span,
            both!("{what} has no `{name}`: {doc}", "{what} 缺少 `{name}`:{doc}"),
            Some(both!("add `{name} = {example}`", "请加上 `{name} = {example}`")),
        );
    }

    fn need(&self, reader: &mut Reader, name: &str) -> Option<&'a Value<'a>> {
        let found = self.get(name);
        if found.is_none() && self.fields.iter().any(|f| f.name == name && f.required) {
            self.missing(reader, name);
        }
        found
    }

    /// A name: a state, a prompt, a list ... Missing required ones are told and read as a name that is never found.
    pub(crate) fn name(&self, reader: &mut Reader, name: &str) -> Option<Name> {
        let value = self.need(reader, name)?;
        let found = reader.string(value, &self.label(name), &format!("{name} = \"...\""))?;
        if found.text.is_empty() {
            let label = self.label(name);
            reader.say("E012", &found.span, both!("{label} is empty", "{label} 为空"), None);
            return None;
        }
        Some(found)
    }

    /// A required name; [`Block::broken`] stands in when it is missing (the plan is refused anyway).
    pub(crate) fn must_name(&self, reader: &mut Reader, name: &str) -> Name {
        self.name(reader, name).unwrap_or_else(|| self.broken())
    }

    /// A name that no lookup finds and no message mentions.
    pub(crate) fn broken(&self) -> Name {
        Name::new("", self.span.clone())
    }

    pub(crate) fn duration(&self, reader: &mut Reader, name: &str, default: Duration) -> Duration {
        self.need(reader, name).and_then(|value| reader.duration(value, &self.label(name))).unwrap_or(default)
    }

    pub(crate) fn flag(&self, reader: &mut Reader, name: &str, default: bool) -> bool {
        let Some(value) = self.need(reader, name) else { return default };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        reader.wrong_type(value, &self.label(name), ("true or false", "true 或 false"), &format!("{name} = true"));
        default
    }

    pub(crate) fn integer(
        &self,
        reader: &mut Reader,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
        default: i64,
    ) -> i64 {
        let Some(value) = self.need(reader, name) else { return default };
        let DeValue::Integer(number) = value.get_ref() else {
            reader.wrong_type(value, &self.label(name), ("a whole number", "整数"), &format!("{name} = {default}"));
            return default;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (label, from, to) = (self.label(name), range.start(), range.end());
                reader.say(
                    "E012",
                    &value.span(),
                    both!("{label} must lie between {from} and {to}", "{label} 必须在 {from} 到 {to} 之间"),
                    None,
                );
                default
            }
        }
    }

    pub(crate) fn texts(&self, reader: &mut Reader, name: &str) -> Vec<Name> {
        let Some(value) = self.need(reader, name) else { return Vec::new() };
        reader.strings(value, &self.label(name), &format!("{name} = [\"...\"]"))
    }

    /// Whether the field is there as a list.
    pub(crate) fn is_list(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// One key of the phone.
    pub(crate) fn key(&self, reader: &mut Reader, name: &str) -> Option<(char, Span)> {
        let value = self.need(reader, name)?;
        let text = reader.string(value, &self.label(name), &format!("{name} = \"hash\""))?;
        let key = parse_key(&text.text);
        if key.is_none() {
            bad_key(reader, &text.span, &text.text);
        }
        key.map(|key| (key, text.span))
    }

    fn pairs(&self, reader: &mut Reader, name: &str, example: &str) -> Vec<(Name, Name)> {
        let Some(value) = self.need(reader, name) else { return Vec::new() };
        let label = self.label(name);
        let Some(table) = reader.table(value, &label, example) else { return Vec::new() };
        let mut pairs: Vec<(Name, Name)> = table
            .iter()
            .filter_map(|(key, value)| {
                let text = reader.string(value, &label, example)?;
                Some((Name::new(key.get_ref(), key.span()), text))
            })
            .collect();
        pairs.sort_by_key(|(key, _)| key.span.start);
        pairs
    }

    /// A table of texts, in the order of the file.
    pub(crate) fn strings(&self, reader: &mut Reader, name: &str, example: &str) -> Vec<(Name, Name)> {
        self.pairs(reader, name, example)
    }

    /// `keys = { 1 = "state", star = "state" }`.
    pub(crate) fn keys(&self, reader: &mut Reader, name: &str) -> BTreeMap<char, (Span, Name)> {
        let mut keys = BTreeMap::new();
        for (key, state) in self.pairs(reader, name, "keys = { 1 = \"a-state\" }") {
            match parse_key(&key.text) {
                Some(digit) => {
                    keys.insert(digit, (key.span, state));
                }
                None => bad_key(reader, &key.span, &key.text),
            }
        }
        keys
    }
}

/// E012: no key of a telephone.
pub(crate) fn bad_key(reader: &mut Reader, span: &Span, found: &str) {
    let near = match found {
        "*" | "asterisk" => Some("star"),
        "#" | "pound" | "sharp" => Some("hash"),
        _ => suggest::nearest(found, ["star", "hash"]),
    };
    let help = near.map_or_else(
        || both!("keys are `0` to `9`, `star` and `hash`", "按键写作 `0` 到 `9`、`star`、`hash`"),
        |near| {
            both!(
                "write `{near}`; keys are `0` to `9`, `star` and `hash`",
                "请写 `{near}`;按键写作 `0` 到 `9`、`star`、`hash`"
            )
        },
    );
    reader.say("E012", span, both!("`{found}` is not a key of a phone", "`{found}` 不是电话按键"), Some(help));
}

/// E011: a name that nothing reads, with the nearest one that something does.
pub(crate) fn unknown_key(reader: &mut Reader, span: &Span, name: &str, what: &str, known: &[&str]) {
    // What other verbs call `timeout` is `max_wait` in a queue; `on_timeout` is near in letters, not in meaning.
    let same = (name == "timeout" && known.contains(&"max_wait")).then_some("max_wait");
    // Durations carry their unit: `timeout_s = 3` is `timeout = "3s"`.
    let same = same.or_else(|| name.strip_suffix("_s").and_then(|name| known.iter().find(|k| **k == name).copied()));
    let later = match name {
        "human_intents" => Some(both!(
            "remove it: every plan knows the words for a person; more of them stand in `person` of `[speech]`",
            "请删除：每个方案都认识“人工”等说法；要增加请写在 `[speech]` 的 `person` 中"
        )),
        "speech" | "phrases" => Some(both!(
            "what callers say for a key stands in `phrases` of a menu or a queue; how a menu or a gather listens stands in `speech`",
            "按键对应的说法写在 menu 或 queue 的 `phrases` 中；menu、gather 的识别设置写在 `speech` 中"
        )),
        "elder_direct" => Some(both!(
            "name the elders in `[lists.elders]` and use a state with `do = \"direct\"`",
            "请把老年客户写入 `[lists.elders]`，并使用 `do = \"direct\"` 的状态"
        )),
        "offer_human" => {
            Some(both!("remove it: the human key works at every prompt", "请删除：人工键在任何提示语中都有效"))
        }
        _ => None,
    };
    if let Some(help) = later {
        reader.say("E011", span, both!("unknown key `{name}` in {what}", "{what} 中没有 `{name}` 这一项"), Some(help));
        return;
    }
    let help = same.or_else(|| suggest::nearest(name, known.iter().copied())).map_or_else(
        || {
            let all = known.join(", ");
            both!("{what} knows: {all}", "{what} 可用：{all}")
        },
        |near| both!("did you mean `{near}`?", "是不是 `{near}`?"),
    );
    reader.say("E011", span, both!("unknown key `{name}` in {what}", "{what} 中没有 `{name}` 这一项"), Some(help));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_and_say_where_they_are_not() {
        for (text, ms) in
            [("3s", 3_000), ("250ms", 250), ("1m30s", 90_000), ("2min", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for (text, at) in [
            ("3", 0),
            ("", 0),
            ("s", 0),
            ("3x", 1),
            ("1s2m", 3),
            ("3s3s", 3),
            ("3 s", 1),
            ("25h", 0),
            ("99999999999999999999s", 0),
        ] {
            assert_eq!(parse_duration(text).err().map(|bad| bad.at), Some(at), "{text}");
        }
    }
}
