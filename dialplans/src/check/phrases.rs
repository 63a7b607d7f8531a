//! What callers may say: phrases that two ways share, ways that can only be said, languages in which they cannot.

use std::collections::BTreeMap;

use super::Checker;
use crate::diagnostic::both;
use crate::plan::{State, TestEvent};
use crate::read::key_name;
use crate::source::Name;
use crate::speech::{Confidence, Ear, Meaning, Phrase, Speech, grammar, language_of, lists};

pub(super) fn check(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    for state in plan.states.values() {
        let Some(ear) = state.node.ear().filter(|ear| !ear.phrases.is_empty()) else { continue };
        keys(checker, state, ear);
        shared(checker, state, ear);
        languages(checker, state, ear);
    }
    for (event, span) in plan.tests.iter().flat_map(|test| &test.events) {
        if matches!(event, TestEvent::Say { .. }) && !plan.speech.on {
            checker.say(
                "E017",
                span,
                both!("a test speaks, and the plan does not listen", "测试中说了话，但方案没有开启语音识别"),
                Some(both!(
                    "give a menu `phrases`, or add a `[speech]` table; for text in a chat write `{{ type = \"...\" }}`",
                    "请在菜单中加上 `phrases`，或加上 `[speech]` 表；聊天中的文字请写 `{{ type = \"...\" }}`"
                )),
            );
        }
    }
}

/// E024: keys stay. Who cannot speak, or is not understood, must get there, too.
fn keys(checker: &mut Checker<'_>, state: &State, ear: &Ear) {
    let name = &state.name;
    for (key, (span, _)) in &ear.phrases {
        if state.node.keys().is_some_and(|keys| keys.contains_key(key)) {
            continue;
        }
        let key = key_name(*key);
        checker.say(
            "E024",
            span,
            both!(
                "`{name}` has phrases for key `{key}`, which leads nowhere",
                "`{name}` 为按键 `{key}` 写了说法，但该按键没有去向"
            ),
            Some(both!(
                "add `{key} = \"a-state\"` to `keys`: what can be said can also be pressed",
                "请在 `keys` 中加上 `{key} = \"状态名\"`：能说的也要能按"
            )),
        );
    }
}

/// The phrases of a state with their places.
fn named(ear: &Ear) -> Vec<(char, &Name, Phrase)> {
    let names = ear.phrases.iter().flat_map(|(key, (_, names))| names.iter().map(move |name| (*key, name)));
    names.filter_map(|(key, name)| Some((key, name, Phrase::new(Meaning::Key(key), &name.text).ok()?))).collect()
}

fn shared(checker: &mut Checker<'_>, state: &State, ear: &Ear) {
    let named = named(ear);
    let mut spelt: BTreeMap<String, char> = BTreeMap::new();
    let mut sound: BTreeMap<String, char> = BTreeMap::new();
    for (key, name, phrase) in &named {
        let key = *key;
        person(checker, state, key, name, phrase);
        number(checker, key, name);
        let text = &name.text;
        match spelt.get(&phrase.spelt()).copied() {
            Some(other) if other == key => {
                let message =
                    both!("`{text}` says what another phrase of this key says", "`{text}` 与本按键的另一条说法相同");
                let help =
                    both!("words such as \"我要\" and \"please\" are left out anyway", "“我要”“请问”等词本来就会忽略");
                checker.say("W003", &name.span, message, Some(help));
                continue;
            }
            Some(other) => {
                let (key, other) = (key_name(key), key_name(other));
                checker.say(
                    "E023",
                    &name.span,
                    both!("`{text}` means key `{other}` and key `{key}`", "`{text}` 同时表示按键 `{other}` 和 `{key}`"),
                    Some(both!("let it stand for one way only", "请只把它写给一个去向")),
                );
                continue;
            }
            None => {}
        }
        if let Some(other) = sound.get(&phrase.sound()).filter(|other| **other != key) {
            let other = key_name(*other);
            checker.say(
                "W013",
                &name.span,
                both!(
                    "`{text}` sounds like a phrase of key `{other}`: it will always be asked back",
                    "`{text}` 与按键 `{other}` 的说法同音，每次都要向来电者确认"
                ),
                Some(both!("choose words that differ in sound", "请换成读音不同的说法")),
            );
        }
        spelt.insert(phrase.spelt(), key);
        sound.insert(phrase.sound(), key);
    }
    for (key, name, phrase) in &named {
        let Some((part, other)) =
            phrase.parts().into_iter().find_map(|part| spelt.get(&part).filter(|k| *k != key).map(|k| (part, *k)))
        else {
            continue;
        };
        let (text, other, part) = (&name.text, key_name(other), part.replace(' ', ""));
        checker.say(
            "W013",
            &name.span,
            both!(
                "`{text}` contains `{part}`, a phrase of key `{other}`: who says only half of it goes there",
                "`{text}` 包含按键 `{other}` 的说法 `{part}`：只说了一半就会去那里"
            ),
            Some(both!(
                "make the shorter one longer, such as \"查询订单\" beside \"取消订单\"",
                "请把较短的写长，例如 \"查询订单\" 与 \"取消订单\""
            )),
        );
    }
}

/// E005: a word for a person belongs to the engine, as the human key does.
fn person(checker: &mut Checker<'_>, state: &State, key: char, name: &Name, phrase: &Phrase) {
    let plan = checker.plan;
    let spelt = phrase.spelt();
    let mut words = lists::everywhere().iter().filter(|p| p.meaning == Meaning::Person).chain(&plan.speech.person);
    let target = state.node.keys().and_then(|keys| keys.get(&key)).map(|(_, to)| &to.text);
    if !words.any(|word| word.spelt() == spelt) || target == Some(&plan.rules.human_target.text) {
        return;
    }
    let text = &name.text;
    checker.say(
        "E005",
        &name.span,
        both!(
            "`{text}` is a word for a person, at every prompt of every plan",
            "`{text}` 是找人工的说法，在任何提示语中都转人工"
        ),
        Some(both!("remove it here, or say more: what is meant besides a person", "请在此删除，或写得更具体")),
    );
}

/// E023: a phrase that is the number of another key.
fn number(checker: &mut Checker<'_>, key: char, name: &Name) {
    let text = &name.text;
    if let Some(other) = grammar::key(&Speech::new(text, Confidence::FULL)).filter(|other| *other != key) {
        let (key, other) = (key_name(key), key_name(other));
        checker.say(
            "E023",
            &name.span,
            both!(
                "`{text}` means key `{other}`, and stands here for key `{key}`",
                "`{text}` 表示按键 `{other}`，这里却写给按键 `{key}`"
            ),
            Some(both!("numbers of keys are understood without being written", "按键的数字不用写也能听懂")),
        );
    }
}

/// W014: a way that cannot be said in a language of the plan.
fn languages(checker: &mut Checker<'_>, state: &State, ear: &Ear) {
    let plan = checker.plan;
    for lang in &plan.languages {
        for (key, (span, names)) in &ear.phrases {
            if names.iter().any(|name| name.text.starts_with('@') || language_of(&name.text) == *lang) {
                continue;
            }
            let (key, name) = (key_name(*key), &state.name);
            checker.say(
                "W014",
                span,
                both!(
                    "key `{key}` of `{name}` cannot be said in `{lang}`",
                    "`{name}` 的按键 `{key}` 没有 `{lang}` 的说法"
                ),
                Some(both!(
                    "add a phrase in `{lang}`, or drop `{lang}` from `languages`",
                    "请加上 `{lang}` 的说法，或从 `languages` 中去掉 `{lang}`"
                )),
            );
        }
    }
}
