//! A plan as read from its file.

mod read;
mod tests_table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::calendar::Calendar;
use crate::diagnostic::Diagnostic;
use crate::event::Piece;
use crate::lang::Lang;
use crate::prompt::{Part, Prompt};
use crate::read::{Field, Kind, may, must};
use crate::say;
use crate::source::{Name, Source};
use crate::speech::{Expects, SpeechSettings};
use crate::verb::Node;

pub(crate) use read::settable;
pub(crate) use tests_table::FIELDS as TEST_FIELDS;
pub use tests_table::{TestCase, TestEvent};

/// The only schema there is.
pub(crate) const SCHEMA: &str = "ark.dialplan/1";

/// The engine's own variables; plans may speak them, send them and branch on them, but not set them (except `lang`).
pub(crate) const BUILT_IN_VARIABLES: &[&str] =
    &["lang", "caller", "dialled", "position", "ahead", "wait", "date", "time", "link_code"];

/// One plan. Immutable; calls share it by `Arc` and keep the version that they began with.
#[derive(Debug)]
pub struct Plan {
    pub(crate) source: Source,
    /// The plan's name, also in the owner of its conversations (`bot:{plan}`).
    pub name: Name,
    /// The first state.
    pub entry: Name,
    /// Time zone of calendars, `{date}` and `{time}`.
    pub zone: TimeZone,
    /// The languages it promises; the first is spoken until something sets `lang`.
    pub languages: Vec<Lang>,
    /// What the engine enforces and `check` proves.
    pub rules: Rules,
    /// How it listens to what callers say.
    pub speech: SpeechSettings,
    /// By id.
    pub prompts: BTreeMap<Arc<str>, Prompt>,
    /// By name.
    pub calendars: BTreeMap<Arc<str>, Calendar>,
    /// By name.
    pub lists: BTreeMap<Arc<str>, NumberList>,
    /// By name.
    pub actions: BTreeMap<Arc<str>, Action>,
    /// By name.
    pub targets: BTreeMap<Arc<str>, Target>,
    /// By name.
    pub states: BTreeMap<Arc<str>, State>,
    /// In the order of the file.
    pub tests: Vec<TestCase>,
}

/// How a plan tells its callers, or asks them, that their calls are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// They are asked: nothing is kept before they agree.
    pub asks: bool,
    /// While a call is recorded all hear a short tone again and again.
    pub tone: bool,
}

/// `[rules]`.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The key that asks for a person at every prompt.
    pub human_key: char,
    /// Where it leads.
    pub human_target: Name,
    /// Most keys that a caller may need to reach a person.
    pub max_keys_to_human: u32,
    /// Most prompt audio between the answer and the first offer of a person.
    pub max_seconds_to_human: u32,
    /// Most keys that a menu may offer before `check` warns.
    pub max_menu_options: u32,
    /// Silence, no-match and repeat in a row that lead to a person.
    pub strikes: u32,
}

/// `[lists.NAME]`: telephone numbers.
#[derive(Clone, Debug)]
pub struct NumberList {
    /// Its name and place.
    pub name: Name,
    /// Normalised by [`normalise_number`].
    pub numbers: BTreeSet<String>,
}

/// `[actions.NAME]`: something to ask over HTTP. Only the operator names URLs, never a caller.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name and place.
    pub name: Name,
    /// `https://...` or `http://...`.
    pub url: Name,
    /// `GET` (values in the query) or `POST` (values as a JSON object).
    pub method: Arc<str>,
    /// After this the plan goes on without an answer.
    pub timeout: Duration,
    /// Variables that it sends.
    pub send: Vec<Name>,
    /// Names of the answer's JSON object that become variables.
    pub save: Vec<Name>,
}

/// `[targets.NAME]`: where a transfer may go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name and place.
    pub name: Name,
    /// A number or a SIP URI.
    pub to: Name,
}

/// One `[state.NAME]`.
#[derive(Debug)]
pub struct State {
    /// Its name and where it is defined.
    pub name: Name,
    /// The verb, one of [`crate::verb::ALL`].
    pub verb: &'static str,
    /// What the button says that leads here, in a chat.
    pub label: BTreeMap<Lang, Name>,
    pub(crate) node: Box<dyn Node>,
}

/// A text to be synthesised (or a recording to be loaded) before the plan goes live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// The language.
    pub lang: Lang,
    /// Equal to [`Piece::key`] of the pieces that play it.
    pub key: String,
    /// The words.
    pub text: Arc<str>,
    /// The recorded file that replaces synthesis, as the plan names it.
    pub recording: Option<Arc<str>>,
}

/// What a caller hears when the plan itself fails; prepared with every plan.
pub(crate) fn sorry(lang: Lang) -> Piece {
    let text = match lang {
        Lang::Zh => "抱歉，系统出现故障，请稍后再拨。",
        Lang::En => "Sorry, something went wrong. Please call again later.",
    };
    Piece::Text { prompt: "ark.sorry".into(), index: 0, lang, text: text.into(), recording: None }
}

/// What is asked back when a phrase for that key was heard badly.
pub(crate) fn asked_back_piece(state: &str, key: char, lang: Lang, label: &str) -> Piece {
    let prompt = format!("{ASKED_BACK}{state}.{}", crate::read::key_name(key));
    let text = crate::speech::asked_back(lang, label);
    Piece::Text { prompt: prompt.into(), index: 0, lang, text: text.into(), recording: None }
}

/// How the prompts begin that ask back.
pub(crate) const ASKED_BACK: &str = "ark.confirm.";

/// What is said around digits that are read back.
pub(crate) fn digits_back_pieces(lang: Lang) -> [Piece; 2] {
    let texts = crate::speech::digits_back(lang);
    [0, 1].map(|index| Piece::Text {
        prompt: "ark.digits".into(),
        index,
        lang,
        text: texts[index].into(),
        recording: None,
    })
}

impl Plan {
    /// Reads a plan. `file_name` is only used in messages.
    ///
    /// # Errors
    /// Everything that keeps the file from being a plan: syntax, unknown keys, wrong types, missing edges. Names that
    /// lead nowhere and the proofs are the business of [`crate::check()`].
    pub fn parse(source: &str, file_name: &str) -> Result<Self, Vec<Diagnostic>> {
        let (plan, diagnostics) = read::read(source, file_name);
        match plan {
            Some(plan) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(plan),
            _ => Err(diagnostics),
        }
    }

    /// Reads as much as can be read; the diagnostics may hold errors even when there is a plan.
    pub(crate) fn read(source: &str, file_name: &str) -> (Option<Self>, Vec<Diagnostic>) {
        read::read(source, file_name)
    }

    /// The text of the file this plan was read from, for the store's `plan_version`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source.text
    }

    /// The file name it was read under.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.source.file
    }

    /// The language spoken until something sets `lang`.
    #[must_use]
    pub fn default_lang(&self) -> Lang {
        self.languages.first().copied().unwrap_or(Lang::Zh)
    }

    /// Every text this plan can ever speak, by language: pieces of prompts between variables, the apology, and, when any
    /// prompt speaks a variable, the words of the say-rules. Sorted by key, each once.
    #[must_use]
    pub fn utterances(&self) -> Vec<Utterance> {
        let mut found: BTreeMap<String, Utterance> = BTreeMap::new();
        let mut speaks: BTreeSet<Lang> = BTreeSet::new();
        let mut add = |piece: &Piece| {
            let Some(key) = piece.key() else { return };
            let (lang, text, recording) = match piece {
                Piece::Text { lang, text, recording, .. } => (*lang, Arc::clone(text), recording.clone()),
                Piece::Word { lang, text } => (*lang, Arc::clone(text), None),
                Piece::Pause(_) => return,
            };
            found.insert(key.clone(), Utterance { lang, key, text, recording });
        };
        for prompt in self.prompts.values() {
            for (lang, spoken) in &prompt.spoken {
                for part in &spoken.parts {
                    match part {
                        Part::Text { index, text } => add(&text_piece(prompt, *lang, *index, text)),
                        Part::Variable { .. } => {
                            speaks.insert(*lang);
                        }
                        Part::Pause => {}
                    }
                }
            }
        }
        for lang in &self.languages {
            add(&sorry(*lang));
            for piece in self.heard_badly(*lang) {
                add(&piece);
            }
        }
        if self.gathers_by_voice() {
            speaks.extend(&self.languages);
        }
        for lang in speaks {
            for text in say::vocabulary(lang) {
                add(&Piece::Word { lang, text: text.into() });
            }
        }
        found.into_values().collect()
    }

    /// What the engine itself says when something was heard badly.
    fn heard_badly(&self, lang: Lang) -> Vec<Piece> {
        if !self.speech.on {
            return Vec::new();
        }
        let mut pieces: Vec<Piece> = Vec::new();
        for state in self.states.values() {
            let Some(ear) = state.node.ear().filter(|ear| !ear.overrides.deaf) else { continue };
            let keys = state.node.asks_back().into_iter();
            pieces.extend(keys.map(|key| asked_back_piece(&state.name.text, key, lang, &ear.label(lang, key))));
        }
        if self.gathers_by_voice() {
            pieces.extend(digits_back_pieces(lang));
        }
        pieces
    }

    fn gathers_by_voice(&self) -> bool {
        let gathers = |state: &State| {
            let digits = matches!(state.node.listens(crate::run::Phase::Listening), Some(Expects::Digits { .. }));
            digits && !state.node.ear().is_some_and(|ear| ear.overrides.deaf)
        };
        self.speech.on && self.states.values().any(gathers)
    }

    /// What its `consent` states say, taken together; none: it has no such state.
    #[must_use]
    pub fn consent(&self) -> Option<Consent> {
        let both = |a: Consent, b: Consent| Consent { asks: a.asks || b.asks, tone: a.tone || b.tone };
        self.states.values().filter_map(|state| state.node.consent()).reduce(both)
    }

    /// Every recorded file that a prompt names.
    #[must_use]
    pub fn recordings(&self) -> BTreeSet<Arc<str>> {
        self.utterances().into_iter().filter_map(|u| u.recording).collect()
    }

    /// Names of the queues that it uses.
    #[must_use]
    pub fn queues(&self) -> BTreeSet<Arc<str>> {
        self.states
            .values()
            .flat_map(|state| state.node.refs())
            .filter(|r| r.kind == crate::verb::RefKind::Queue)
            .map(|r| Arc::clone(&r.name.text))
            .collect()
    }

    pub(crate) fn state(&self, name: &str) -> Option<&State> {
        self.states.get(name)
    }
}

/// The piece that plays one text part of a prompt.
pub(crate) fn text_piece(prompt: &Prompt, lang: Lang, index: usize, text: &Arc<str>) -> Piece {
    let recording =
        prompt.spoken.get(&lang).and_then(|spoken| spoken.recordings.get(index)).map(|file| Arc::clone(&file.text));
    Piece::Text { prompt: Arc::clone(&prompt.name.text), index, lang, text: Arc::clone(text), recording }
}

/// A telephone number as lists compare it: separators dropped, the user part of a SIP URI, +86, 0086 and 86 before a
/// mobile number dropped, leading zeros dropped, other countries kept with `+`.
#[must_use]
pub fn normalise_number(number: &str) -> String {
    let number = number.trim();
    let number = ["sips:", "sip:", "tel:"].iter().find_map(|s| number.strip_prefix(s)).unwrap_or(number);
    let number = number.split(['@', ';']).next().unwrap_or(number);
    let plus = number.starts_with('+');
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.is_empty() {
        return number.to_owned();
    }
    let (foreign, rest) = match (plus, digits.strip_prefix("00")) {
        (true, _) => (true, digits.as_str()),
        (false, Some(rest)) => (true, rest),
        (false, None) => (false, digits.as_str()),
    };
    if foreign {
        return rest
            .strip_prefix("86")
            .map_or_else(|| format!("+{rest}"), |home| home.trim_start_matches('0').to_owned());
    }
    let home = match rest.strip_prefix("86") {
        Some(mobile) if mobile.len() == 11 && mobile.starts_with('1') => mobile,
        _ => rest,
    };
    let home = home.trim_start_matches('0');
    if home.is_empty() { "0".to_owned() } else { home.to_owned() }
}

pub(crate) const TOP_FIELDS: &[Field] = &[
    must("schema", Kind::Text, "must be \"ark.dialplan/1\""),
    must("name", Kind::Text, "the plan's name: lower-case letters, digits and `-`"),
    must("entry", Kind::State, "the first state of every call"),
    may("timezone", Kind::Text, "time zone of calendars and spoken times; default Asia/Shanghai"),
    may(
        "languages",
        Kind::Texts,
        "the languages every prompt should have, the first is the default; default [\"zh\", \"en\"]",
    ),
];
pub(crate) const TOP_TABLES: &[&str] =
    &["rules", "speech", "prompts", "calendar", "lists", "actions", "targets", "state", "test"];

pub(crate) const RULES_FIELDS: &[Field] = &[
    may("human_key", Kind::KeyName, "the key that asks for a person at every prompt; default \"0\""),
    must("human_target", Kind::State, "the state that leads to a person"),
    may("max_keys_to_human", Kind::Integer, "most keys a caller may need to reach a person; default 1"),
    may("max_seconds_to_human", Kind::Integer, "most seconds of prompts before a person is offered; default 15"),
    may("max_menu_options", Kind::Integer, "most keys a menu may offer before `check` warns; default 5"),
    may("strikes", Kind::Integer, "silence, wrong key and repeat in a row that lead to a person; default 3"),
];

pub(crate) const LIST_FIELDS: &[Field] =
    &[must("numbers", Kind::Texts, "telephone numbers; +86 and leading zeros do not matter")];

pub(crate) const ACTION_FIELDS: &[Field] = &[
    must("url", Kind::Text, "https://... or http://...; never contains what a caller entered"),
    may("method", Kind::Text, "\"GET\" (values in the query) or \"POST\" (values as JSON); default \"POST\""),
    may("timeout", Kind::Duration, "after this the call goes on without an answer; default \"3s\""),
    may("send", Kind::Texts, "variables that it sends"),
    may("save", Kind::Texts, "names in the answer's JSON object that become variables"),
];

pub(crate) const TARGET_FIELDS: &[Field] =
    &[must("to", Kind::Text, "a number such as \"+8675512345678\" or a SIP URI")];

#[cfg(test)]
mod tests {
    use super::normalise_number;

    #[test]
    fn the_same_telephone_compares_equal_however_a_carrier_writes_it() {
        for same in [
            "13800138000",
            "+8613800138000",
            "008613800138000",
            "8613800138000",
            "013800138000",
            "+86 138-0013-8000",
            "sip:+8613800138000@carrier.example;user=phone",
            "tel:+86-138-0013-8000",
        ] {
            assert_eq!(normalise_number(same), "13800138000", "{same}");
        }
        assert_eq!(normalise_number("0755-12345678"), normalise_number("+8675512345678"));
        assert_eq!(normalise_number("+1 415 555 0100"), "+14155550100");
        assert_eq!(normalise_number("0014155550100"), "+14155550100");
        assert_eq!(normalise_number("anonymous"), "anonymous");
    }
}
