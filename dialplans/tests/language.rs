//! The language as others write it: every verb and every spelling in one plan, and plans that try to fool the proofs.

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_dialplans::{
    EstimateOnly, Lang, Plan, PromptSeconds, RecordingTrouble, Site, check_source, fuzz, render_human, test,
};

const EVERY_VERB: &str = r#"schema = "ark.dialplan/1"
name = "every-verb"
entry = "elders"
timezone = "Asia/Shanghai"
[rules]
human_key = "0"
human_target = "to_agent"
max_keys_to_human = 1
max_seconds_to_human = 15
max_menu_options = 5
[prompts]
welcome = { zh = "您好,这里是方舟客服热线。任何时候按0转人工。", en = "Welcome. Press 0 at any time for a person.", seconds = 6 }
position = { zh = "您前面还有{position}位,预计等待{wait}。", en = "You are number {position}, about {wait}.", seconds = 8 }
longer = { zh = "抱歉,等待时间比预计的长。", en = "Sorry, it takes longer." }
closed = { zh = "现在是非工作时间,请留言。", en = "We are closed. Please leave a message.", seconds = 5 }
number = { zh = "请输入订单号。", en = "Your order number, please." }
moment = { zh = "请稍候。", en = "One moment." }
state_of = { zh = "您的订单状态是{status}。", en = "Your order is {status}." }
[calendar.cn-2026]
open = ["mon-fri 08:00-22:00"]
holidays = ["2026-10-01..2026-10-07"]
workdays = ["2026-10-10"]
until = "2027-12-31"
[lists.elders]
numbers = ["13800138000"]
[actions.order]
url = "https://example.com/orders"
timeout = "2500ms"
send = ["order"]
save = ["status"]
[targets.boss]
to = "sip:2001@10.0.0.5"
[state.elders]
do = "direct"
list = "elders"
to = "to_agent"
else = "main"
[state.main]
do = "menu"
prompt = "welcome"
keys = { 1 = "set_en", 2 = "hush", 3 = "boss", star = "main" }
timeout = "3s"
on_timeout = "hours"
retries = 0
[state.set_en]
do = "set"
vars = { lang = "en" }
next = "by_lang"
[state.by_lang]
do = "branch"
on = "lang"
cases = { zh = "hours", en = "hours" }
else = "hours"
[state.hush]
do = "recording"
act = "pause"
next = "order"
[state.order]
do = "gather"
prompt = "number"
min = 4
max = 8
into = "order"
next = "keep"
on_timeout = "to_agent"
[state.keep]
do = "recording"
act = "resume"
next = "ask"
[state.ask]
do = "http"
action = "order"
prompt = "moment"
next = "answer"
on_failed = "to_agent"
[state.answer]
do = "say"
prompt = "state_of"
next = "to_agent"
[state.boss]
do = "transfer"
target = "boss"
timeout = "20s"
on_timeout = "to_agent"
[state.hours]
do = "hours"
calendar = "cn-2026"
open = ["mon-sun 08:00-22:00"]
next = "to_agent"
closed = "after_hours"
[state.to_agent]
do = "queue"
queue = "general"
priority = 5
prompt = "position"
longer = "longer"
every = "30s"
max_wait = "5m"
answered = "bye"
on_timeout = "after_hours"
[state.after_hours]
do = "record"
prompt = "closed"
max = "120s"
next = "bye"
[state.bye]
do = "hangup"
[[test]]
name = "silence"
events = ["silence", "answered"]
expect = ["hours:cn-2026", "queue:general", "answered", "hangup"]
[[test]]
name = "star, then a person, then gone"
events = ["star", "0", "hangup"]
expect = ["strike:1", "queue:general", "caller-hangup"]
[[test]]
name = "closed: a message"
closed = true
events = ["1", "recorded"]
expect = ["lang:en", "branch", "record", "hangup"]
never = ["queue"]
[[test]]
name = "a holiday of the calendar, with hours of the state's own"
at = "2026-10-01T10:00"
events = ["silence", "recorded"]
expect = ["record"]
[[test]]
name = "a weekend within the state's own hours"
at = "2026-10-11T10:00"
events = ["silence"]
expect = ["queue:general"]
[[test]]
name = "the order"
events = ["2", "12345", "hash", { http = { status = "42" } }]
expect = ["recording:pause", "gathered:order=12345", "recording:resume", "http:order", "set:status=42", "play:state_of", "queue:general"]
[[test]]
name = "the order, when nobody knows"
events = ["2", "12345", "hash", { http = "failed" }]
expect = ["http:order", "queue:general"]
[[test]]
name = "the boss does not answer"
events = ["3", "no-answer"]
expect = ["transfer:boss", "no-answer", "queue:general"]
"#;

fn site() -> Site {
    Site {
        queues: Some(BTreeSet::from(["general".to_owned()])),
        today: Some(jiff::civil::date(2026, 11, 24)),
        ..Site::default()
    }
}

/// The codes of the findings, without notes, in the order of the file; and how they read in English.
fn codes(text: &str) -> (Vec<&'static str>, String) {
    let (_, found) = check_source(text, "plan.toml", &EstimateOnly, &site());
    let codes = found.iter().map(|d| d.code).filter(|code| !code.starts_with('N')).collect();
    (codes, render_human(&found, Lang::En))
}

#[test]
fn every_verb_and_spelling_of_the_language_works() {
    let (found, text) = codes(EVERY_VERB);
    assert!(found.is_empty(), "{text}");
    let plan =
        Arc::new(Plan::parse(EVERY_VERB, "plan.toml").unwrap_or_else(|d| panic!("{}", render_human(&d, Lang::En))));
    let report = test(&plan);
    assert_eq!(report.failed(), 0, "{}", report.render_human(Lang::En));
    let report = fuzz::fuzz_callers(&plan, 2_000, 7);
    assert!(report.is_clean() && report.unseen_states.is_empty(), "{}", report.render_human(Lang::En));
}

#[test]
fn what_is_not_in_the_language_is_told_with_what_is() {
    for (old, new, wanted) in [
        (
            "timeout = \"3s\"\non_timeout = \"hours\"",
            "timeout_s = 3\non_timeout = \"hours\"",
            "did you mean `timeout`?",
        ),
        ("timeout = \"3s\"", "timeout = 3", "write it like `\"3s\"`"),
        ("max_wait = \"5m\"", "max_wait_s = 300", "did you mean `max_wait`?"),
        ("max_wait = \"5m\"", "timeout = \"5m\"", "did you mean `max_wait`?"),
        ("retries = 0", "speech = { account = \"hours\" }", "unknown key `account`"),
        ("retries = 0", "offer_human = false", "the human key works at every prompt"),
        ("max_menu_options = 5", "elder_direct = true", "do = \"direct\""),
        ("do = \"record\"", "do = \"voicemail\"", "there are: menu, say"),
        ("do = \"queue\"", "do = \"wait\"", "did you mean `queue`?"),
        ("do = \"hangup\"", "do = \"ticket\"", "there are: menu, say"),
        ("events = [\"silence\"]", "events = [\"timeout\"]", "did you mean `silence`?"),
        ("events = [\"silence\"]", "events = [{ say = \"人工\" }]", "the plan does not listen"),
        ("closed = true", "closed = true\nat = \"2026-10-01T10:00\"", "`at` or `closed`, not both"),
        ("next = \"to_agent\"\nclosed", "closed", "has no `next`"),
        ("open = [\"mon-sun 08:00-22:00\"]\nnext", "open = \"to_agent\"\nnext", "`next` needs hours"),
        ("calendar = \"cn-2026\"\nopen = [\"mon-sun 08:00-22:00\"]\nnext", "open", "has no `calendar`"),
        ("open = [\"mon-sun 08:00-22:00\"]\nnext", "open = [\"mon-sun 8-22\"]\nnext", "`8-22` is not a time range"),
        ("else = \"hours\"", "otherwise = \"hours\"", "add `else = \"a-state\"`"),
        ("on_failed = \"to_agent\"", "", "a caller would be lost when the action fails or is late"),
    ] {
        assert!(EVERY_VERB.contains(old), "{old}");
        let (found, text) = codes(&EVERY_VERB.replacen(old, new, 1));
        assert!(found.iter().any(|code| code.starts_with('E')) && text.contains(wanted), "{new}: {wanted}\n{text}");
    }
}

#[test]
fn a_plan_that_never_closes_cannot_be_tested_closed() {
    let always = EVERY_VERB.replacen("open = [\"mon-sun 08:00-22:00\"]", "open = [\"mon-sun 00:00-24:00\"]", 1);
    let (found, text) = codes(&always);
    assert_eq!(found, ["E016"], "{text}");
}

struct Looked;

impl PromptSeconds for Looked {
    fn seconds(&self, _utterance_key: &str) -> Option<std::time::Duration> {
        None
    }

    fn trouble(&self, utterance_key: &str) -> Option<RecordingTrouble> {
        match utterance_key {
            "zh/prompt/welcome/0" => Some(RecordingTrouble::Missing("plans/a.wav".to_owned())),
            "en/prompt/welcome/0" => Some(RecordingTrouble::Broken("no audio in it".to_owned())),
            _ => None,
        }
    }
}

#[test]
fn recordings_that_are_missing_or_broken_are_told_at_their_names() {
    let text = EVERY_VERB.replacen("seconds = 6", "file = { zh = \"a.wav\", en = \"b.mp3\" }", 1);
    let (_, found) = check_source(&text, "plan.toml", &Looked, &site());
    let of = |code: &str| found.iter().find(|d| d.code == code).map(|d| (d.line, &text[d.span.clone()]));
    assert_eq!(of("W011"), Some((12, "\"a.wav\"")));
    assert_eq!(of("E019"), Some((12, "\"b.mp3\"")));
    let shown = render_human(&found, Lang::Zh);
    assert!(shown.contains("没有录音文件 `a.wav`") && shown.contains("无法播放：no audio in it"), "{shown}");
}

#[test]
fn mistakes_in_the_writing_are_told_in_words_that_help() {
    let said = |text: &str| {
        let (_, found) = check_source(text, "plan.toml", &EstimateOnly, &site());
        (render_human(&found, Lang::En), render_human(&found, Lang::Zh), found.len())
    };
    for (text, en, zh) in [
        ("x = \u{201c}您好\u{201d}\n", "Chinese full-width sign: write `\"`", "请改用英文半角 `\"`"),
        ("x = { a = \"b\"， c = 1 }\n", "`，` is a Chinese full-width sign: write `,`", "请改用英文半角 `,`"),
        ("x ＝ 1\n", "write `=`", "请改用英文半角 `=`"),
        ("x = \"abc\n", "invalid basic string", "文字没有以 `\"` 结束"),
        ("x = hello\n", "a text must stand in quotes", "文字必须加英文引号"),
        ("[a]\n[a]\n", "duplicate key", "重复的项"),
        ("x\n", "key with no value", "缺少 `=` 和值"),
    ] {
        let (found_en, found_zh, count) = said(text);
        assert!(found_en.contains(en) && found_zh.contains(zh) && count == 1, "{text}\n{found_en}\n{found_zh}");
    }
    let deep = format!("x = {}", "[".repeat(50_000));
    let (en, zh, _) = said(&deep);
    assert!(en.contains("nested too deep") && zh.contains("嵌套过深"), "{}", &en[..300]);
    assert!(en.len() < 2_000, "the line is cut: {}", en.len());
    let (en, ..) = said(&format!("x = {}", "a".repeat(2_000_000)));
    assert!(en.contains("larger than 1048576 bytes"), "{en}");
    let wide = "{a=".repeat(5_000);
    assert!(said(&format!("x = {wide}")).0.contains("nested too deep"));
    let _ = said(&format!("[{}]", vec!["a"; 50_000].join(".")));
}

#[test]
fn the_human_key_cannot_be_the_only_digit_of_an_entry() {
    let text = EVERY_VERB.replacen("min = 4\nmax = 8", "max = 1\nhuman_key_is_digit = true", 1);
    let (found, shown) = codes(&text);
    assert_eq!(found, ["E005"], "{shown}");
    let (found, shown) = codes(&EVERY_VERB.replacen("max = 8", "max = 8\nhuman_key_is_digit = true", 1));
    assert!(found.is_empty(), "{shown}");
}
