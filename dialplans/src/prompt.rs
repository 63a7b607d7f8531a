//! Prompts: texts per language with variables in braces, and the recordings that may replace synthesis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use crate::diagnostic::{Both, both};
use crate::lang::Lang;
use crate::limits;
use crate::read::{Block, Field, Kind, Reader, Value, may};
use crate::say::Kind as SayAs;
use crate::source::{Name, Source, Span};
use crate::suggest;

/// A part of a prompt's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Words to be synthesised or recorded once.
    Text {
        /// Which text piece of this prompt and language, from 0.
        index: usize,
        /// The words.
        text: Arc<str>,
    },
    /// Nothing but punctuation between two variables: a short silence.
    Pause,
    /// A variable and the rule that speaks it: `{order}` or `{balance:money}`.
    Variable {
        /// The variable's name.
        name: Arc<str>,
        /// How it is spoken.
        kind: SayAs,
        /// Whether the plan names the kind (else it follows from the variable).
        explicit: bool,
    },
}

/// A prompt in one language.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The text as written, with its place.
    pub text: Name,
    /// The text taken apart.
    pub parts: Vec<Part>,
    /// Recorded files, one per text piece; empty: synthesised.
    pub recordings: Vec<Name>,
    /// Length declared in the plan, used until a recording or a synthesised file is measured.
    pub seconds: Option<Duration>,
}

impl Spoken {
    /// How many pieces have words.
    #[must_use]
    pub fn text_pieces(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Text { .. })).count()
    }

    /// Names of the variables it speaks.
    pub fn variables(&self) -> impl Iterator<Item = (&str, SayAs, bool)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { name, kind, explicit } => Some((&**name, *kind, *explicit)),
            _ => None,
        })
    }
}

/// One prompt of `[prompts]`.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its id and where it is defined.
    pub name: Name,
    /// Per language.
    pub spoken: BTreeMap<Lang, Spoken>,
    /// What a chat says instead of the spoken text.
    pub chat: BTreeMap<Lang, Name>,
    /// `offers_person = true|false` overrides what `check` reads in the text.
    pub offers_person: Option<bool>,
}

impl Prompt {
    /// The text in that language, else in another: a caller never hears silence because a translation is missing.
    #[must_use]
    pub fn in_or_near(&self, lang: Lang) -> Option<(Lang, &Spoken)> {
        self.spoken.get_key_value(&lang).or_else(|| self.spoken.iter().next()).map(|(lang, spoken)| (*lang, spoken))
    }

    /// As [`Prompt::in_or_near`], the text that is written in a chat.
    #[must_use]
    pub fn written(&self, lang: Lang) -> Option<(Lang, &str)> {
        let chat = self.chat.get(&lang).map(|text| (lang, &*text.text));
        chat.or_else(|| self.in_or_near(lang).map(|(lang, spoken)| (lang, &*spoken.text.text)))
    }
}

pub(crate) const FIELDS: &[Field] = &[
    may("zh", Kind::Text, "the text in Mandarin; variables in braces, such as {position} or {balance:money}"),
    may("en", Kind::Text, "the text in English; variables in braces, such as {position} or {balance:money}"),
    may(
        "offers_person",
        Kind::Flag,
        "says whether this prompt tells the caller how to reach a person, when `check` cannot read it in the text",
    ),
];
pub(crate) const OTHER_FIELDS: &[&str] = &["file", "seconds", "chat"];

/// Reads `id = { zh = "...", en = "...", file = { zh = "a.wav" }, seconds = 6 }`.
pub(crate) fn read(reader: &mut Reader, name: Name, value: &Value<'_>) -> Option<Prompt> {
    let what = format!("prompt `{name}`");
    let table = reader.table(value, &what, &format!("{name} = {{ zh = \"...\", en = \"...\" }}"))?;
    let block = Block::new(reader, table, what.clone(), name.span.clone(), FIELDS, OTHER_FIELDS);
    let other = |key: &str| table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v);
    let mut seconds = other("seconds").map(|v| per_language(reader, v, &what, "seconds", number)).unwrap_or_default();
    let mut files = other("file").map(|v| per_language(reader, v, &what, "file", file_names)).unwrap_or_default();
    let chat = other("chat").map(|v| per_language(reader, v, &what, "chat", chat_text)).unwrap_or_default();
    let chat = chat.into_iter().map(|(lang, (_, text))| (lang, text)).collect();
    let mut spoken = BTreeMap::new();
    for lang in Lang::ALL {
        let Some(text) = block.name(reader, lang.as_str()) else { continue };
        let parts = match parse_template(&text.text) {
            Ok(parts) => parts,
            Err(bad) => {
                let span = inside(&reader.source, &text, bad.at, bad.len);
                reader.say("E012", &span, bad.message, bad.help);
                continue;
            }
        };
        let (file_span, recordings) = files.remove(&lang).unwrap_or_default();
        let one = Spoken { text, parts, recordings, seconds: seconds.remove(&lang).map(|(_, length)| length) };
        let (found, wanted) = (one.recordings.len(), one.text_pieces());
        if found != 0 && found != wanted {
            reader.say(
                "E014",
                &file_span,
                both!(
                    "{what} has {wanted} text pieces between its variables in `{lang}`, but {found} recordings",
                    "{what} 的 `{lang}` 文本被变量分成 {wanted} 段，但给了 {found} 个录音"
                ),
                Some(both!("give one file per piece, in order", "每一段给一个录音文件，按顺序排列")),
            );
        }
        spoken.insert(lang, one);
    }
    if spoken.is_empty() && !table.iter().any(|(k, _)| Lang::parse(k.get_ref()).is_some()) {
        reader.say(
            "E003",
            &name.span,
            both!("{what} has no text", "{what} 没有文本"),
            Some(both!("add `zh = \"...\"` and `en = \"...\"`", "请加上 `zh = \"...\"` 和 `en = \"...\"`")),
        );
    }
    let offers_person =
        table.iter().any(|(k, _)| k.get_ref() == "offers_person").then(|| block.flag(reader, "offers_person", true));
    Some(Prompt { name, spoken, chat, offers_person })
}

/// The span of a part of a string: inside the quotes when the string has no escapes, else the whole string.
pub(crate) fn inside(source: &Source, text: &Name, at: usize, len: usize) -> Span {
    let quotes = [3usize, 1].into_iter().find(|quotes| {
        let start = text.span.start + quotes;
        source.text.get(start..start + text.text.len()) == Some(&*text.text)
    });
    quotes.map_or_else(
        || text.span.clone(),
        |quotes| {
            let start = text.span.start + quotes + at;
            start..start + len
        },
    )
}

/// What a button says: one text, or one for each language; at most [`limits::LABEL_CHARS_MAX`] characters.
pub(crate) fn label(reader: &mut Reader, value: &Value<'_>, what: &str) -> BTreeMap<Lang, Name> {
    let one = |reader: &mut Reader, value: &Value<'_>, label: &str| {
        let text = reader.string(value, label, "label = { zh = \"...\", en = \"...\" }")?;
        let most = limits::LABEL_CHARS_MAX;
        if text.text.trim().is_empty() || text.text.chars().count() > most {
            reader.say(
                "E012",
                &text.span,
                both!("a button's words are 1 to {most} characters", "按钮文字为 1 到 {most} 个字"),
                None,
            );
        }
        Some(text)
    };
    per_language(reader, value, what, "label", one).into_iter().map(|(lang, (_, text))| (lang, text)).collect()
}

type PerLang<T> = BTreeMap<Lang, (Span, T)>;

/// `x` for every language, or `{ zh = x, en = y }`.
fn per_language<T: Clone>(
    reader: &mut Reader,
    value: &Value<'_>,
    what: &str,
    field: &str,
    one: fn(&mut Reader, &Value<'_>, &str) -> Option<T>,
) -> PerLang<T> {
    let label = format!("{what} `{field}`");
    let mut found = PerLang::new();
    if let DeValue::Table(table) = value.get_ref() {
        for (key, value) in table {
            match Lang::parse(key.get_ref()) {
                Some(lang) => {
                    if let Some(item) = one(reader, value, &label) {
                        found.insert(lang, (value.span(), item));
                    }
                }
                None => crate::read::unknown_key(reader, &key.span(), key.get_ref(), &label, &["zh", "en"]),
            }
        }
    } else if let Some(item) = one(reader, value, &label) {
        for lang in Lang::ALL {
            found.insert(lang, (value.span(), item.clone()));
        }
    }
    found
}

/// What a chat says: a text with variables as a spoken one.
fn chat_text(reader: &mut Reader, value: &Value<'_>, label: &str) -> Option<Name> {
    let text = reader.string(value, label, "chat = { zh = \"...\", en = \"...\" }")?;
    if let Err(bad) = parse_template(&text.text) {
        let span = inside(&reader.source, &text, bad.at, bad.len);
        reader.say("E012", &span, bad.message, bad.help);
    }
    Some(text)
}

fn number(reader: &mut Reader, value: &Value<'_>, label: &str) -> Option<Duration> {
    let seconds: Option<f64> = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|s| (0.0..=3_600.0).contains(s));
    if seconds.is_none() {
        reader.wrong_type(value, label, ("seconds between 0 and 3600", "0 到 3600 之间的秒数"), "seconds = 6.5");
    }
    seconds.map(Duration::from_secs_f64)
}

fn file_names(reader: &mut Reader, value: &Value<'_>, label: &str) -> Option<Vec<Name>> {
    if let DeValue::Array(_) = value.get_ref() {
        return Some(reader.strings(value, label, "file = { zh = [\"a.wav\", \"b.wav\"] }"));
    }
    reader.string(value, label, "file = { zh = \"welcome.wav\" }").map(|name| vec![name])
}

pub(crate) struct BadTemplate {
    at: usize,
    len: usize,
    message: Both,
    help: Option<Both>,
}

/// Takes a text apart: `您前面还有{ahead}位。`
pub(crate) fn parse_template(text: &str) -> Result<Vec<Part>, BadTemplate> {
    let mut parts = Vec::new();
    let mut index = 0;
    let mut at = 0;
    let push_text = |parts: &mut Vec<Part>, index: &mut usize, words: &str| {
        // Punctuation right behind a variable is a pause: a synthesiser would read ", right" on its own strangely.
        let spoken = words.trim_start_matches(|c: char| !c.is_alphanumeric());
        if !parts.is_empty() && !words[..words.len() - spoken.len()].trim().is_empty() {
            parts.push(Part::Pause);
        }
        if !spoken.is_empty() {
            parts.push(Part::Text { index: *index, text: spoken.trim().into() });
            *index += 1;
        }
    };
    while let Some(open) = text[at..].find(['{', '}']).map(|i| i + at) {
        let help = || {
            Some(both!("write variables as `{{name}}` or `{{name:money}}`", "变量写作 `{{name}}` 或 `{{name:money}}`"))
        };
        if text[open..].starts_with('}') {
            return Err(BadTemplate {
                at: open,
                len: 1,
                message: both!("`}}` without `{{`", "`}}` 前面没有 `{{`"),
                help: help(),
            });
        }
        let Some(close) = text[open..].find('}').map(|i| i + open) else {
            return Err(BadTemplate {
                at: open,
                len: 1,
                message: both!("`{{` without `}}`", "`{{` 后面没有 `}}`"),
                help: help(),
            });
        };
        push_text(&mut parts, &mut index, &text[at..open]);
        let inner = &text[open + 1..close];
        let (name, kind) = match inner.split_once(':') {
            Some((name, kind)) => (name, Some(kind)),
            None => (inner, None),
        };
        if !is_variable_name(name) {
            return Err(BadTemplate {
                at: open,
                len: close + 1 - open,
                message: both!("`{inner}` is not a variable", "`{inner}` 不是变量"),
                help: help(),
            });
        }
        let kind = kind.map(|text| say_as(text, open + 1 + name.len() + 1)).transpose()?;
        parts.push(Part::Variable {
            name: name.into(),
            kind: kind.unwrap_or_else(|| SayAs::of_variable(name)),
            explicit: kind.is_some(),
        });
        at = close + 1;
    }
    push_text(&mut parts, &mut index, &text[at..]);
    if parts.is_empty() {
        return Err(BadTemplate {
            at: 0,
            len: text.len(),
            message: both!("a prompt without a word", "提示语中没有可读的文字"),
            help: None,
        });
    }
    Ok(parts)
}

/// The kind after the colon; `at`: where it stands in the text.
fn say_as(text: &str, at: usize) -> Result<SayAs, BadTemplate> {
    SayAs::parse(text).ok_or_else(|| {
        let all = SayAs::ALL.map(SayAs::as_str);
        let list = all.join(", ");
        let help = suggest::nearest(text, all).map_or_else(
            || both!("known: {list}", "可用：{list}"),
            |near| both!("did you mean `{near}`?", "是不是 `{near}`?"),
        );
        let message = both!("`{text}` is not a way to speak a value", "`{text}` 不是一种读法");
        BadTemplate { at, len: text.len().max(1), message, help: Some(help) }
    })
}

/// Letters, digits and `_`, beginning with a letter.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 40
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse_template(text) {
            Ok(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text { index, text } => format!("{index}:{text}"),
                    Part::Pause => ",".to_owned(),
                    Part::Variable { name, kind, .. } => format!("<{name}:{}>", kind.as_str()),
                })
                .collect::<Vec<_>>()
                .join("|"),
            Err(bad) => format!("at {}: {}", bad.at, bad.message.en),
        }
    }

    #[test]
    fn a_text_is_taken_apart_at_its_variables() {
        assert_eq!(
            shown("您前面还有{ahead}位，预计等待{wait}。"),
            "0:您前面还有|<ahead:count>|1:位，预计等待|<wait:wait>|,"
        );
        assert_eq!(shown("{a:money}, {b:date}"), "<a:money>|,|<b:date>");
        assert_eq!(shown("no } here"), "at 3: `}` without `{`");
        assert_eq!(shown("open {x"), "at 5: `{` without `}`");
        assert_eq!(shown("{x:mony}"), "at 3: `mony` is not a way to speak a value");
        assert_eq!(shown("{1x}"), "at 0: `1x` is not a variable");
        assert_eq!(shown(" ... "), "at 0: a prompt without a word");
    }
}
