//! A person within N keys and S seconds: proved for every language and every way a silent caller can take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::walk::{Known, after, silent_ways};
use super::{Checker, PromptSeconds, prompt_length};
use crate::diagnostic::both;
use crate::lang::Lang;
use crate::plan::Plan;
use crate::prompt::Prompt;
use crate::read::key_name;
use crate::source::Span;
use crate::verb::{Role, When};

/// The worst that can happen to a silent caller on the way to the first offer of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Outside opening hours nothing is promised.
    NotOpen,
    /// After that much audio a prompt says how, or a person is being called without any key.
    After { audio: Duration, without_a_key: bool, at: Span },
    /// The call ends or records without a word about it.
    Never { at: Span },
}

impl Offer {
    fn later(&self, more: Duration) -> Self {
        match self {
            Self::After { audio, without_a_key, at } => {
                Self::After { audio: *audio + more, without_a_key: *without_a_key, at: at.clone() }
            }
            other => other.clone(),
        }
    }

    fn rank(&self) -> (u8, Duration) {
        match self {
            Self::NotOpen => (0, Duration::ZERO),
            Self::After { audio, .. } => (1, *audio),
            Self::Never { .. } => (2, Duration::ZERO),
        }
    }
}

pub(super) fn check(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let mut worst: Vec<(Lang, Duration)> = Vec::new();
    let mut with_key = false;
    for lang in plan.languages.clone() {
        match first_offer(plan, checker.seconds, lang) {
            Offer::NotOpen => {}
            Offer::Never { at } => {
                let key = key_name(plan.rules.human_key);
                checker.say(
                    "E009",
                    &at,
                    both!(
                        "a silent caller ({lang}) gets here without having heard how to reach a person",
                        "沉默的来电者({lang})走到这里还没有听到如何转人工"
                    ),
                    Some(both!(
                        "say it early, for example \"press {key} at any time for a person\"; `offers_person = true` marks a prompt that says it in other words",
                        "请尽早告知，例如“任何时候按{key}转人工”;用其他说法的提示语请标 `offers_person = true`"
                    )),
                );
            }
            Offer::After { audio, without_a_key, at } => {
                let limit = plan.rules.max_seconds_to_human;
                if audio > Duration::from_secs(u64::from(limit)) {
                    let (found, key) = (seconds_text(audio), key_name(plan.rules.human_key));
                    checker.say(
                        "E007",
                        &at,
                        both!(
                            "the caller ({lang}) first hears how to reach a person after {found} s of prompts (limit {limit} s)",
                            "来电者({lang})听了 {found} 秒提示语后才知道如何转人工(上限 {limit} 秒)"
                        ),
                        Some(both!("say \"press {key} for a person\" earlier, or shorten what comes before", "请更早说明“按{key}转人工”,或缩短前面的内容")),
                    );
                }
                with_key |= !without_a_key;
                worst.push((lang, audio));
            }
        }
    }
    let keys = keys(checker, with_key);
    note(checker, &worst, keys);
}

/// How many keys a person takes, or `None` when the human target leads to nobody (which is told).
fn keys(checker: &mut Checker<'_>, with_key: bool) -> Option<u32> {
    let plan = checker.plan;
    let target = &plan.rules.human_target;
    let Some(behind) = keys_from(plan, &target.text, &mut BTreeSet::new()) else {
        let name = &target.text;
        checker.say(
            "E009",
            &target.span,
            both!("the human target `{name}` does not lead to a person", "人工目标 `{name}` 不通向任何人"),
            Some(both!("lead it to a `queue` or a `transfer`", "请让它通向 `queue` 或 `transfer`")),
        );
        return None;
    };
    let keys = if with_key { behind + 1 } else { behind };
    let most = plan.rules.max_keys_to_human;
    if keys > most {
        checker.say(
            "E008",
            &target.span,
            both!("a person takes {keys} keys (limit {most})", "转人工需要按 {keys} 个键(上限 {most} 个)"),
            Some(both!(
                "lead the human target straight to a queue, without menus",
                "请让人工目标直接进入队列，不要再有菜单"
            )),
        );
    }
    Some(keys)
}

/// Keys from a state to a person, in the worst of its automatic ways and the best of its menus. Closed ways promise
/// nobody and do not count.
fn keys_from<'p>(plan: &'p Plan, name: &'p str, seen: &mut BTreeSet<&'p str>) -> Option<u32> {
    let state = plan.state(name)?;
    match state.node.role() {
        Role::Person => return Some(0),
        Role::Recording | Role::End => return None,
        Role::Passing | Role::Asking => {}
    }
    if !seen.insert(&state.name.text) {
        return None;
    }
    let edges = state.node.edges();
    let answer = if state.node.role() == Role::Asking {
        edges
            .iter()
            .filter(|e| e.when == When::Input)
            .filter_map(|e| keys_from(plan, &e.to.text, seen))
            .min()
            .map(|n| n + 1)
    } else {
        let ways = edges.iter().filter(|e| e.when == When::Always).map(|e| keys_from(plan, &e.to.text, seen));
        ways.collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().max())
    };
    seen.remove(&*state.name.text);
    answer
}

fn note(checker: &mut Checker<'_>, worst: &[(Lang, Duration)], keys: Option<u32>) {
    let (Some(keys), Some(longest)) = (keys, worst.iter().map(|(_, audio)| *audio).max()) else { return };
    let longest = seconds_text(longest);
    let s = if keys == 1 { "" } else { "s" };
    let each: Vec<String> = worst.iter().map(|(lang, audio)| format!("{lang} {} s", seconds_text(*audio))).collect();
    let each = if worst.len() > 1 { format!(" ({})", each.join(", ")) } else { String::new() };
    let span = checker.plan.entry.span.clone();
    checker.say(
        "N001",
        &span,
        both!(
            "first offer of a person after {longest} s, {keys} key{s}{each}",
            "最迟 {longest} 秒听到转人工的方法，按 {keys} 个键{each}"
        ),
        None,
    );
}

/// Seconds rounded up to a tenth: `6`, `6.2`.
pub(crate) fn seconds_text(audio: Duration) -> String {
    let tenths = audio.as_millis().div_ceil(100);
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// The worst case of a silent caller who starts in that language. The plan must have no silent loops.
pub(crate) fn first_offer(plan: &Plan, seconds: &dyn PromptSeconds, lang: Lang) -> Offer {
    let known = Known::from([("lang".to_owned(), Some(lang.as_str().to_owned()))]);
    let mut walk = Walk { plan, seconds, memo: BTreeMap::new() };
    walk.from(&plan.entry.text, &known)
}

struct Walk<'a> {
    plan: &'a Plan,
    seconds: &'a dyn PromptSeconds,
    memo: BTreeMap<(String, Known), Offer>,
}

impl Walk<'_> {
    fn from(&mut self, name: &str, known: &Known) -> Offer {
        let key = (name.to_owned(), known.clone());
        if let Some(offer) = self.memo.get(&key) {
            return offer.clone();
        }
        // A circle cannot come up in a plan without silent loops; should it, it promises nothing.
        self.memo.insert(key.clone(), Offer::NotOpen);
        let offer = self.compute(name, known);
        self.memo.insert(key, offer.clone());
        offer
    }

    fn compute(&mut self, name: &str, known: &Known) -> Offer {
        let plan = self.plan;
        let Some(state) = plan.state(name) else { return Offer::NotOpen };
        let at = state.name.span.clone();
        let lang =
            known.get("lang").and_then(Option::as_deref).and_then(Lang::parse).unwrap_or_else(|| plan.default_lang());
        if state.node.role() == Role::Person {
            return Offer::After { audio: Duration::ZERO, without_a_key: true, at };
        }
        let mut audio = Duration::ZERO;
        for prompt in state.node.heard_in_silence().into_iter().filter_map(|name| plan.prompts.get(&name.text)) {
            audio += prompt_length(self.seconds, prompt, lang);
            if offers_person(plan, prompt, lang) {
                return Offer::After { audio, without_a_key: false, at };
            }
        }
        if state.node.role() == Role::End {
            return Offer::Never { at };
        }
        let known = after(plan, state, known);
        let ways = silent_ways(state, &known).into_iter().map(|(to, when)| {
            let offer = self.from(to, &known);
            // Outside opening hours a plan may end without a person.
            if when == When::Closed && matches!(offer, Offer::Never { .. }) { Offer::NotOpen } else { offer }
        });
        let worst = ways.max_by_key(Offer::rank).unwrap_or(Offer::Never { at });
        worst.later(audio)
    }
}

/// Whether a prompt tells how to reach a person: it names the human key and a person. Every text that may be heard in
/// that language counts for itself.
pub(crate) fn offers_person(plan: &Plan, prompt: &Prompt, lang: Lang) -> bool {
    if let Some(said) = prompt.offers_person {
        return said;
    }
    let Some((lang, spoken)) = prompt.in_or_near(lang) else { return false };
    tells(lang, &spoken.text.text, plan.rules.human_key)
}

/// Whether a text says that `key` leads to a person. Both stand in one clause, or the key in the clause beside one without
/// a key: "人工请按0", "for a person, press 0". "按0重听，人工请按9" does not tell that 0 does.
fn tells(lang: Lang, text: &str, key: char) -> bool {
    const PERSON_ZH: &[&str] = &["人工", "客服", "座席", "坐席", "专员", "工作人员", "服务人员"];
    const PERSON_EN: &[&str] =
        &["person", "agent", "operator", "representative", "human", "someone", "colleague", "advisor", "staff"];
    // The name of the hotline is nobody.
    const NOBODY: &[&str] = &["客服热线", "客服中心", "客服电话", "人工智能"];
    let mut text = text.to_lowercase();
    for nobody in NOBODY {
        text = text.replace(nobody, "");
    }
    let person = match lang {
        Lang::Zh => PERSON_ZH,
        Lang::En => PERSON_EN,
    };
    let ends = |c: char| {
        matches!(c, ',' | '.' | ';' | ':' | '!' | '?')
            || ('\u{3001}'..='\u{3002}').contains(&c)
            || "，；：！？".contains(c)
    };
    let clauses: Vec<(bool, Vec<char>)> = text
        .split(ends)
        .filter(|clause| !clause.trim().is_empty())
        .map(|clause| (person.iter().any(|word| clause.contains(word)), keys_named(lang, clause)))
        .collect();
    clauses.iter().enumerate().any(|(at, (person, here))| {
        let keys_of =
            |at: Option<usize>| at.and_then(|at| clauses.get(at)).map_or(&[][..], |(_, keys)| keys.as_slice());
        let beside = [here.as_slice(), keys_of(Some(at + 1)), keys_of(at.checked_sub(1))];
        *person && beside.into_iter().find(|keys| !keys.is_empty()).is_some_and(|keys| keys.contains(&key))
    })
}

/// The keys that a clause names: digits on their own (not inside 10086), or as words where keys are meant.
fn keys_named(lang: Lang, clause: &str) -> Vec<char> {
    const EN: [(char, &[&str]); 12] = [
        ('0', &["zero"]),
        ('1', &["one"]),
        ('2', &["two"]),
        ('3', &["three"]),
        ('4', &["four"]),
        ('5', &["five"]),
        ('6', &["six"]),
        ('7', &["seven"]),
        ('8', &["eight"]),
        ('9', &["nine"]),
        ('*', &["star", "asterisk"]),
        ('#', &["hash", "pound", "sharp"]),
    ];
    const ZH: [(char, &str); 12] = [
        ('0', "零"),
        ('1', "一"),
        ('2', "二"),
        ('3', "三"),
        ('4', "四"),
        ('5', "五"),
        ('6', "六"),
        ('7', "七"),
        ('8', "八"),
        ('9', "九"),
        ('*', "星"),
        ('*', "米"),
    ];
    let chars: Vec<char> = clause.chars().collect();
    let digit = |c: Option<&char>| c.is_some_and(char::is_ascii_digit);
    let alone = |i: usize| !digit(i.checked_sub(1).and_then(|b| chars.get(b))) && !digit(chars.get(i + 1));
    let mut keys: Vec<char> = chars
        .iter()
        .enumerate()
        .filter(|(i, c)| matches!(c, '*' | '#') || (c.is_ascii_digit() && alone(*i)))
        .map(|(_, c)| *c)
        .collect();
    match lang {
        Lang::En => {
            let words: Vec<&str> = clause.split(|c: char| !c.is_alphanumeric()).collect();
            keys.extend(EN.iter().filter(|(_, names)| names.iter().any(|n| words.contains(n))).map(|(key, _)| *key));
        }
        Lang::Zh => {
            let meant = |name: &str| {
                ["按", "拨", "按数字", "按键"].iter().any(|verb| clause.contains(&format!("{verb}{name}")))
                    || clause.contains(&format!("{name}键"))
            };
            keys.extend(ZH.iter().filter(|(_, name)| meant(name)).map(|(key, _)| *key));
            keys.extend(["井号", "井字键"].iter().filter(|name| clause.contains(**name)).map(|_| '#'));
            keys.extend(["星号", "星键", "米字键"].iter().filter(|name| clause.contains(**name)).map(|_| '*'));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_how_to_reach_a_person_only_when_that_key_does() {
        for (lang, text, key, wanted) in [
            (Lang::Zh, "您好，这里是方舟客服热线，任何时候按0转人工。", '0', true),
            (Lang::Zh, "投诉请按3，再听一遍请按星号键，人工请按0。", '0', true),
            (Lang::Zh, "需要人工服务，请按0。", '0', true),
            (Lang::Zh, "按0，转人工。", '0', true),
            (Lang::Zh, "转人工请按零。", '0', true),
            (Lang::Zh, "人工请按井号键。", '#', true),
            (Lang::Zh, "人工请按星号键。", '*', true),
            (Lang::Zh, "按0重听，人工请按9。", '0', false),
            (Lang::Zh, "欢迎致电方舟客服热线，查询请按0。", '0', false),
            (Lang::Zh, "人工智能助手，按0开始。", '0', false),
            (Lang::Zh, "请拨打10086找人工。", '0', false),
            (Lang::Zh, "请一直等待人工。", '1', false),
            (Lang::En, "Welcome to the Ark hotline. Press 0 at any time for a person.", '0', true),
            (Lang::En, "For your account, press 1. For a person, press 0.", '0', true),
            (Lang::En, "Press zero to speak to an agent", '0', true),
            (Lang::En, "Press star for an operator", '*', true),
            (Lang::En, "To hear this again, press 0. For a person, press 9.", '0', false),
            (Lang::En, "Wait for someone to answer", '1', false),
            (Lang::En, "Please hold.", '0', false),
        ] {
            assert_eq!(tells(lang, text, key), wanted, "{text}");
        }
    }
}
