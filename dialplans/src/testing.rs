//! `ark dialplan test`: the plan keeps its own promises.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::chat_world::ChatWorld;
use crate::diagnostic::{Both, Diagnostic, both};
use crate::lang::Lang;
use crate::plan::{Plan, TestCase};
use crate::run::Caller;
use crate::source::{Name, Span};
use crate::world::{Impossible, World, closed_moment, open_moment, wall};

/// What a trace may begin with besides the verbs' names.
pub(crate) const HEADS: &[&str] = &[
    "state",
    "play",
    "button",
    "lang",
    "gathered",
    "survey",
    "scored",
    "announced",
    "agreed",
    "refused",
    "unanswered",
    "strike",
    "confirm",
    "person",
    "answered",
    "no-answer",
    "recorded",
    "joined",
    "picture",
    "not-sent",
    "taken",
    "refused",
    "overflow",
    "caller-hangup",
    "fault",
];

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct TestResult {
    /// Its sentence.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Whether it was a chat.
    pub chat: bool,
    /// What happened, in order.
    pub trace: Vec<String>,
    /// Why it failed.
    pub failure: Option<Diagnostic>,
}

/// How all tests went.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// The plan's file.
    pub file: String,
    /// In the order of the file.
    pub results: Vec<TestResult>,
    /// Tests that are no chat, where chats were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A test that did not run.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Its sentence.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Its event that means nothing in a chat; none: it says `chat = false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
}

/// Runs every `[[test]]` of a plan in virtual time, as a call or, where it says so, as a chat.
#[must_use]
pub fn test(plan: &Arc<Plan>) -> TestReport {
    let one = |test: &TestCase| if test.is_chat(false) { chat(plan, test) } else { call(plan, test) };
    let results = plan.tests.iter().map(one).collect();
    TestReport { file: plan.file_name().to_owned(), results, left_out: Vec::new() }
}

/// Runs the tests of a plan as chats: menus are buttons, keys and words are typed. What cannot be a chat is left out, and named.
#[must_use]
pub fn test_chat(plan: &Arc<Plan>) -> TestReport {
    let (mut results, mut left_out) = (Vec::new(), Vec::new());
    for test in &plan.tests {
        let event = if test.chat.is_some() { None } else { test.unlike_a_chat() };
        if test.is_chat(true) && event.is_none() {
            results.push(chat(plan, test));
        } else {
            let line = plan.source.place(&test.name.span).line;
            left_out.push(LeftOut { name: test.name.text.to_string(), line, event });
        }
    }
    TestReport { file: plan.file_name().to_owned(), results, left_out }
}

/// Who comes, and when.
fn begin(plan: &Arc<Plan>, test: &TestCase) -> (Caller, Timestamp) {
    let at = match (test.at, &test.closed) {
        (Some(at), _) => wall(plan, at),
        (None, Some(_)) => closed_moment(plan).unwrap_or_else(|| open_moment(plan)),
        (None, None) => open_moment(plan),
    };
    (Caller { number: test.caller.clone(), dialled: plan.name.text.to_string(), lang: test.lang }, at)
}

fn chat(plan: &Arc<Plan>, test: &TestCase) -> TestResult {
    let (caller, at) = begin(plan, test);
    let mut world = ChatWorld::begin(plan, &caller, at);
    let mut failure: Option<(Span, Both, Option<Both>)> = None;
    for (event, span) in &test.events {
        if let Err(impossible) = world.event(event) {
            failure = Some(cannot_happen(world.run.state(), &world.trace, span, &impossible));
            break;
        }
    }
    world.end_of_digits();
    let failure = failure.or_else(|| compare(&world.trace, test));
    result(plan, test, true, world.trace, failure)
}

fn call(plan: &Arc<Plan>, test: &TestCase) -> TestResult {
    let (caller, at) = begin(plan, test);
    let mut world = World::call(plan, &caller, at);
    let mut failure: Option<(Span, Both, Option<Both>)> = None;
    for (event, span) in &test.events {
        if let Err(impossible) = world.event(event) {
            failure = Some(cannot_happen(&world.core.state, &world.trace, span, &impossible));
            break;
        }
    }
    world.coast();
    let failure = failure.or_else(|| compare(&world.trace, test));
    result(plan, test, false, world.trace, failure)
}

fn result(
    plan: &Plan,
    test: &TestCase,
    chat: bool,
    trace: Vec<String>,
    failure: Option<(Span, Both, Option<Both>)>,
) -> TestResult {
    let line = plan.source.place(&test.name.span).line;
    let failure = failure.map(|(span, message, help)| Diagnostic::new(&plan.source, "E020", &span, message, help));
    TestResult { name: test.name.text.to_string(), line, chat, trace, failure }
}

fn cannot_happen(state: &str, trace: &[String], span: &Span, impossible: &Impossible) -> (Span, Both, Option<Both>) {
    let message = match impossible {
        Impossible::Ended => both!("the call had already ended in `{state}`", "呼叫已在 `{state}` 结束"),
        Impossible::NotHere(what) => {
            both!("there is no {what} here: the caller is in `{state}`", "此处没有这样的事({what}):来电者在 `{state}`")
        }
    };
    (span.clone(), message, Some(happened(trace)))
}

fn happened(trace: &[String]) -> Both {
    let tail: Vec<&str> = trace.iter().rev().take(12).rev().map(String::as_str).collect();
    let dots = if trace.len() > tail.len() { "... " } else { "" };
    let tail = tail.join(", ");
    both!("what happened: {dots}{tail}", "实际经过：{dots}{tail}")
}

/// `queue` matches `queue:general`; `queue:general` only itself.
fn matches(happened: &str, wanted: &str) -> bool {
    happened == wanted || happened.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
}

fn compare(trace: &[String], test: &TestCase) -> Option<(Span, Both, Option<Both>)> {
    let mut at = 0;
    for wanted in &test.expect {
        match trace[at..].iter().position(|happened| matches(happened, &wanted.text)) {
            Some(found) => at += found + 1,
            None => return Some(not_found(trace, at, wanted)),
        }
    }
    let never = test.never.iter().find(|never| trace.iter().any(|happened| matches(happened, &never.text)))?;
    let text = &never.text;
    Some((
        never.span.clone(),
        both!("`{text}` must never happen, and did", "`{text}` 不应发生，却发生了"),
        Some(happened(trace)),
    ))
}

fn not_found(trace: &[String], at: usize, wanted: &Name) -> (Span, Both, Option<Both>) {
    let text = &wanted.text;
    let earlier = trace[..at].iter().any(|happened| matches(happened, text));
    let message = if earlier {
        both!("`{text}` happened, but not after what stands before it", "`{text}` 发生过，但不在前面各项之后")
    } else {
        both!("`{text}` did not happen", "`{text}` 没有发生")
    };
    (wanted.span.clone(), message, Some(happened(trace)))
}

impl TestReport {
    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| result.failure.is_some()).count()
    }

    /// For people: one line per test, then what failed and where.
    #[must_use]
    pub fn render_human(&self, lang: Lang) -> String {
        let mut out = String::new();
        let (ok, bad) = match lang {
            Lang::En => ("ok  ", "FAIL"),
            Lang::Zh => ("通过", "失败"),
        };
        for result in &self.results {
            let word = if result.failure.is_some() { bad } else { ok };
            let _ = writeln!(out, "{word} {}", result.name);
        }
        for failure in self.results.iter().filter_map(|result| result.failure.as_ref()) {
            let _ = write!(out, "\n{}", failure.render(lang));
        }
        for one in &self.left_out {
            let (name, event) = (&one.name, one.event.unwrap_or("chat = false"));
            let _ = match lang {
                Lang::En => writeln!(out, "--   {name} (no chat: {event})"),
                Lang::Zh => writeln!(out, "略过 {name}(不是聊天：{event})"),
            };
        }
        let (failed, all) = (self.failed(), self.results.len());
        let _ = match lang {
            Lang::En => writeln!(out, "\n{} of {all} tests passed", all - failed),
            Lang::Zh => writeln!(out, "\n{all} 个测试，通过 {} 个", all - failed),
        };
        out
    }

    /// JUnit XML, for CI servers.
    #[must_use]
    pub fn render_junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let (failed, left_out, file) = (self.failed(), self.left_out.len(), escape(&self.file));
        let all = self.results.len() + left_out;
        let skipped = if left_out > 0 { format!(" skipped=\"{left_out}\"") } else { String::new() };
        let _ = writeln!(out, "<testsuites><testsuite name=\"{file}\" tests=\"{all}\" failures=\"{failed}\"{skipped}>");
        for result in &self.results {
            let (name, line) = (escape(&result.name), result.line);
            match &result.failure {
                None => {
                    let _ = writeln!(out, "  <testcase classname=\"{file}\" name=\"{name}\" line=\"{line}\"/>");
                }
                Some(failure) => {
                    let text = escape(&failure.render(Lang::En));
                    let message = escape(&failure.message.en);
                    let _ = writeln!(
                        out,
                        "  <testcase classname=\"{file}\" name=\"{name}\" line=\"{line}\"><failure message=\"{message}\">{text}</failure></testcase>"
                    );
                }
            }
        }
        for one in &self.left_out {
            let (name, line) = (escape(&one.name), one.line);
            let _ = writeln!(
                out,
                "  <testcase classname=\"{file}\" name=\"{name}\" line=\"{line}\"><skipped message=\"no chat\"/></testcase>"
            );
        }
        out.push_str("</testsuite></testsuites>\n");
        out
    }
}

/// Text as it stands in XML and SVG, between tags and in attributes in double quotes. Control characters, which XML 1.0 has no
/// way to write, become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
