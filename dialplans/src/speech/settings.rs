//! `[speech]` of a plan, and `speech = ...` of a state.

use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::phrases::{Meaning, NoPhrase, Phrase, PhraseBook, Thresholds, Understood};
use super::{Endpointing, Speech, grammar, language_of, lists};
use crate::diagnostic::both;
use crate::lang::Lang;
use crate::limits;
use crate::read::{Block, Field, Kind, Reader, Value, may};
use crate::source::{Name, Span};

/// The fields of `[speech]`.
pub(crate) const SPEECH_FIELDS: &[Field] = &[
    may(
        "on",
        Kind::Flag,
        "false: the plan does not listen, although it has phrases; what is typed is understood. Default true",
    ),
    may("accept", Kind::Integer, "percent from which on what was said is taken without asking; default 75"),
    may("confirm", Kind::Integer, "percent from which on it is asked back; below it costs a strike; default 40"),
    may("barge_in", Kind::Flag, "whether speech cuts off prompts; default true"),
    may(
        "pre_roll",
        Kind::Duration,
        "sound before the begin of speech that belongs to it, at most 1s; default \"300ms\"",
    ),
    may("hangover", Kind::Duration, "silence that ends an utterance, 200ms to 3s; default \"600ms\""),
    may("longest", Kind::Duration, "longest utterance, 1s to 30s; default \"15s\""),
    may(
        "person",
        Kind::Texts,
        "more words for a person, besides those that every plan knows: [\"值班经理\", \"the duty manager\"]",
    ),
];

/// The fields of `speech = { ... }` of a state.
pub(crate) const OVERRIDE_FIELDS: &[Field] = &[
    may("accept", Kind::Integer, "percent from which on what was said here is taken without asking"),
    may("confirm", Kind::Integer, "percent from which on it is asked back"),
    may("barge_in", Kind::Flag, "whether speech cuts off the prompt"),
    may("pre_roll", Kind::Duration, "sound before the begin of speech that belongs to it, at most 1s"),
    may(
        "hangover",
        Kind::Duration,
        "silence that ends an utterance, 200ms to 3s: longer where people read out numbers",
    ),
    may("longest", Kind::Duration, "longest utterance, 1s to 30s"),
];

const EXAMPLE: &str = "speech = { hangover = \"1s\" }";

/// What a plan says about listening.
#[derive(Clone, Debug)]
pub struct SpeechSettings {
    /// Whether it listens to its callers.
    pub on: bool,
    /// Percent from which on something is taken.
    pub accept: u8,
    /// Percent from which on it is asked back.
    pub confirm: u8,
    /// Whether speech cuts off prompts.
    pub barge_in: bool,
    /// Where utterances begin and end.
    pub endpointing: Endpointing,
    /// The plan's own words for a person.
    pub(crate) person: Vec<Phrase>,
    /// Where the words stand.
    pub(crate) person_at: Vec<Name>,
}

impl Default for SpeechSettings {
    fn default() -> Self {
        Self {
            on: false,
            accept: 75,
            confirm: 40,
            barge_in: true,
            endpointing: Endpointing::default(),
            person: Vec::new(),
            person_at: Vec::new(),
        }
    }
}

impl SpeechSettings {
    /// Reads `[speech]`. Without it the plan listens when one of its states has phrases, which the caller of this adds.
    pub(crate) fn read<'a>(reader: &mut Reader, found: Option<(Span, &'a Value<'a>)>) -> Option<Self> {
        let (span, value) = found?;
        let table = reader.table(value, "[speech]", "[speech]")?;
        let block = Block::new(reader, table, "[speech]".to_owned(), span, SPEECH_FIELDS, &[]);
        let overrides = Overrides::of(reader, &block);
        let mut settings = Self { on: block.flag(reader, "on", true), ..Self::default() };
        overrides.over(&mut settings);
        thresholds_in_order(reader, &block.span, settings.accept, settings.confirm);
        for name in block.texts(reader, "person") {
            if let Some(phrase) = phrase(reader, Meaning::Person, &name) {
                settings.person.push(phrase);
                settings.person_at.push(name);
            }
        }
        Some(settings)
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds { accept: self.accept, confirm: self.confirm }
    }
}

/// A phrase of the plan; what is none is told.
pub(crate) fn phrase(reader: &mut Reader, meaning: Meaning, name: &Name) -> Option<Phrase> {
    let text = &name.text;
    match Phrase::new(meaning, text) {
        Ok(phrase) => Some(phrase),
        Err(NoPhrase::Empty) => {
            reader.say(
                "E012",
                &name.span,
                both!("`{text}` has no word that could be recognised", "`{text}` 中没有可识别的词"),
                Some(both!(
                    "write what callers say: \"查询订单\", \"my orders\"; words such as \"我要\" and \"please\" are left out anyway",
                    "请写来电者会说的话，例如 \"查询订单\"、\"my orders\"；“我要”“请问”等词本来就会忽略"
                )),
            );
            None
        }
        Err(NoPhrase::Long) => {
            let most = limits::PHRASE_WORDS_MAX;
            reader.say(
                "E012",
                &name.span,
                both!("a phrase has at most {most} words or Chinese characters", "一条说法最多 {most} 个字或词"),
                Some(both!("the words that matter are enough", "写关键的词就够了")),
            );
            None
        }
    }
}

fn thresholds_in_order(reader: &mut Reader, span: &Span, accept: u8, confirm: u8) {
    if confirm > accept {
        reader.say(
            "E012",
            span,
            both!(
                "`confirm` ({confirm}) is greater than `accept` ({accept})",
                "`confirm`({confirm})大于 `accept`({accept})"
            ),
            Some(both!(
                "what is below `accept` and not below `confirm` is asked back",
                "低于 `accept` 且不低于 `confirm` 的会向来电者确认"
            )),
        );
    }
}

/// What one state changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `speech = false`.
    pub(crate) deaf: bool,
    accept: Option<u8>,
    confirm: Option<u8>,
    barge_in: Option<bool>,
    pre_roll: Option<Duration>,
    hangover: Option<Duration>,
    longest: Option<Duration>,
}

impl Overrides {
    /// Reads `speech` of a state: `false`, `true`, or a table.
    pub(crate) fn read(reader: &mut Reader, state: &Block<'_>) -> Self {
        let Some(value) = state.get("speech") else { return Self::default() };
        match value.get_ref() {
            DeValue::Boolean(hears) => Self { deaf: !hears, ..Self::default() },
            DeValue::Table(table) => Self::table(reader, table, value.span()),
            _ => {
                reader.wrong_type(value, "`speech`", ("false or a table", "false 或一个表"), EXAMPLE);
                Self::default()
            }
        }
    }

    fn table<'a>(reader: &mut Reader, table: &'a DeTable<'a>, span: Span) -> Self {
        let block = Block::new(reader, table, "`speech`".to_owned(), span, OVERRIDE_FIELDS, &[]);
        let found = Self::of(reader, &block);
        if let (Some(accept), Some(confirm)) = (found.accept, found.confirm) {
            thresholds_in_order(reader, &block.span, accept, confirm);
        }
        found
    }

    fn of(reader: &mut Reader, block: &Block<'_>) -> Self {
        let percent = |reader: &mut Reader, name: &str| {
            block.get(name)?;
            u8::try_from(block.integer(reader, name, 0..=100, 0)).ok()
        };
        let time = |reader: &mut Reader, name: &str, from: u64, to: u64| {
            let value = block.get(name)?;
            let found = block.duration(reader, name, Duration::from_millis(from));
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            if !(from..=to).contains(&found) {
                reader.say(
                    "E012",
                    &value.span(),
                    both!("`{name}` must lie between {from:?} and {to:?}", "`{name}` 必须在 {from:?} 到 {to:?} 之间"),
                    None,
                );
            }
            Some(found.clamp(from, to))
        };
        Self {
            deaf: false,
            accept: percent(reader, "accept"),
            confirm: percent(reader, "confirm"),
            barge_in: block.get("barge_in").map(|_| block.flag(reader, "barge_in", true)),
            pre_roll: time(reader, "pre_roll", 0, 1_000),
            hangover: time(reader, "hangover", 200, 3_000),
            longest: time(reader, "longest", 1_000, 30_000),
        }
    }

    /// The plan's settings with this state's.
    pub(crate) fn over(&self, settings: &mut SpeechSettings) {
        settings.accept = self.accept.unwrap_or(settings.accept);
        settings.confirm = self.confirm.unwrap_or(settings.confirm);
        settings.barge_in = self.barge_in.unwrap_or(settings.barge_in);
        let times = &mut settings.endpointing;
        times.pre_roll = self.pre_roll.unwrap_or(times.pre_roll);
        times.hangover = self.hangover.unwrap_or(times.hangover);
        times.longest = self.longest.unwrap_or(times.longest);
    }

    pub(crate) fn thresholds(&self, plan: &SpeechSettings) -> Thresholds {
        let accept = self.accept.unwrap_or(plan.accept);
        Thresholds { accept, confirm: self.confirm.unwrap_or(plan.confirm).min(accept) }
    }

    pub(crate) fn endpointing(&self, plan: &SpeechSettings) -> Endpointing {
        Endpointing {
            pre_roll: self.pre_roll.unwrap_or(plan.endpointing.pre_roll),
            hangover: self.hangover.unwrap_or(plan.endpointing.hangover),
            longest: self.longest.unwrap_or(plan.endpointing.longest),
        }
    }

    pub(crate) fn barge_in(&self, plan: &SpeechSettings) -> bool {
        self.barge_in.unwrap_or(plan.barge_in)
    }
}

/// `phrases = { 1 = ["查询订单", "my orders"], 2 = "complaint" }`: by key, with their places.
pub(crate) type KeyPhrases = std::collections::BTreeMap<char, (Span, Vec<Name>)>;

/// Reads `phrases` of a state.
pub(crate) fn key_phrases(reader: &mut Reader, state: &Block<'_>) -> KeyPhrases {
    const EXAMPLE: &str = "phrases = { 1 = [\"查询订单\", \"my orders\"] }";
    let mut found = KeyPhrases::new();
    let Some(value) = state.get("phrases") else { return found };
    let Some(table) = reader.table(value, "`phrases`", EXAMPLE) else { return found };
    for (key, value) in table {
        let name = key.get_ref();
        let Some(digit) = crate::read::parse_key(name) else {
            crate::read::bad_key(reader, &key.span(), name);
            continue;
        };
        let texts = match value.get_ref() {
            DeValue::String(_) => reader.string(value, "`phrases`", EXAMPLE).into_iter().collect(),
            _ => reader.strings(value, "`phrases`", EXAMPLE),
        };
        if texts.len() > limits::PHRASES_PER_KEY_MAX {
            let most = limits::PHRASES_PER_KEY_MAX;
            reader.say(
                "E012",
                &value.span(),
                both!("more than {most} phrases for one key", "一个按键最多 {most} 条说法"),
                None,
            );
        }
        let kept = texts.into_iter().take(limits::PHRASES_PER_KEY_MAX).collect();
        found.insert(digit, (key.span(), kept));
    }
    found
}

/// What a state needs to understand speech: its phrases by key, what it changes, and hints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear {
    pub(crate) overrides: Overrides,
    pub(crate) phrases: KeyPhrases,
    pub(crate) book: PhraseBook,
    /// The keys that "yes" and "no" stand for: `"@yes"`, `"@no"`.
    pub(crate) yes: Option<char>,
    pub(crate) no: Option<char>,
    hints: [Arc<[Arc<str>]>; 2],
}

impl Ear {
    /// Reads `phrases` and `speech` of a state; those of them that its verb has.
    pub(crate) fn read(reader: &mut Reader, state: &Block<'_>) -> Self {
        let overrides = if state.has("speech") { Overrides::read(reader, state) } else { Overrides::default() };
        let phrases = if state.has("phrases") { key_phrases(reader, state) } else { KeyPhrases::new() };
        let mut ear = Self { overrides, ..Self::default() };
        for (key, (_, names)) in &phrases {
            for name in names {
                match &*name.text {
                    "@yes" => ear.yes = Some(*key),
                    "@no" => ear.no = Some(*key),
                    other if other.starts_with('@') => reader.say(
                        "E012",
                        &name.span,
                        both!("there is no answer `{other}`", "没有 `{other}` 这种回答"),
                        Some(both!(
                            "`@yes` and `@no` stand for all words for yes and no",
                            "`@yes` 和 `@no` 代表各种肯定和否定的说法"
                        )),
                    ),
                    _ => ear.book.phrases.extend(phrase(reader, Meaning::Key(*key), name)),
                }
            }
        }
        ear.hints = Lang::ALL.map(|lang| {
            let answers =
                lists::yes_no_hints(lang).iter().filter(|_| ear.yes.or(ear.no).is_some()).map(|t| Arc::from(*t));
            let person = lists::person_hints(lang).iter().cloned();
            ear.book.hints(lang).into_iter().chain(answers).chain(person).take(limits::HINTS_MAX).collect()
        });
        ear.phrases = phrases;
        ear
    }

    /// What a recogniser may expect, the likeliest first.
    pub(crate) fn hints(&self, lang: Lang) -> Arc<[Arc<str>]> {
        let at = Lang::ALL.iter().position(|known| *known == lang).unwrap_or(0);
        Arc::clone(&self.hints[at])
    }

    /// What was meant: the number of a key, yes or no where they stand for keys, one of the phrases, or what every prompt takes.
    pub(crate) fn understand(&self, said: &Speech, plan: &SpeechSettings) -> Understood {
        let thresholds = self.overrides.thresholds(plan);
        let sure = |meaning| match said.confidence {
            percent if percent >= thresholds.accept => Understood::Sure(meaning),
            percent if percent >= thresholds.confirm => Understood::Maybe(meaning),
            _ => Understood::No,
        };
        if let Some(key) = grammar::key(said) {
            return sure(Meaning::Key(key));
        }
        let understood = self.book.understand(said, &plan.person, thresholds);
        let answer = || match grammar::yes_or_no(said)? {
            true => self.yes,
            false => self.no,
        };
        match (understood, answer()) {
            (Understood::Sure(meaning), _) => Understood::Sure(meaning),
            (_, Some(key)) => sure(Meaning::Key(key)),
            (other, None) => other,
        }
    }

    /// A way as the graph and the messages name it: its key and its first phrase.
    pub(crate) fn way(&self, key: char) -> String {
        let name = crate::read::key_name(key);
        match self.phrases.get(&key).and_then(|(_, names)| names.first()) {
            Some(first) => format!("{name} {first}"),
            None => name,
        }
    }

    /// What a way is called when it is asked back: its first phrase in that language, else its key.
    pub(crate) fn label(&self, lang: Lang, key: char) -> Arc<str> {
        let names = self.phrases.get(&key).into_iter().flat_map(|(_, names)| names);
        let mut mine = names.filter(|name| !name.text.starts_with('@') && language_of(&name.text) == lang);
        mine.next().map_or_else(|| key_word(lang, key).into(), |name| Arc::clone(&name.text))
    }
}

/// A key as it is said.
fn key_word(lang: Lang, key: char) -> &'static str {
    const ZH: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
    const EN: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let digit = key.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
    match (lang, key, digit) {
        (Lang::Zh, _, Some(digit)) => ZH[digit],
        (Lang::En, _, Some(digit)) => EN[digit],
        (Lang::Zh, '*', _) => "星号",
        (Lang::Zh, ..) => "井号",
        (Lang::En, '*', _) => "star",
        (Lang::En, ..) => "hash",
    }
}
