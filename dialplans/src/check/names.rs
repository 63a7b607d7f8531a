//! Names that lead nowhere, keys that collide, languages that are missing, tests that cannot be meant.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::ToSpan;

use super::{Checker, RecordingTrouble};
use crate::diagnostic::{Both, both};
use crate::plan::{BUILT_IN_VARIABLES, Plan, State, text_piece};
use crate::prompt::{Part, Prompt, inside};
use crate::read::key_name;
use crate::source::Name;
use crate::suggest;
use crate::verb::{RefKind, Role};

pub(super) fn check(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let variables = variables(plan);
    state_name(checker, &plan.entry, "the entry", "入口");
    state_name(checker, &plan.rules.human_target, "the human target", "人工目标");
    for state in plan.states.values() {
        edges(checker, state);
        references(checker, state, &variables);
        keys(checker, state);
        for lint in state.node.lint(plan) {
            checker.say(lint.code, &lint.span, lint.message, lint.help);
        }
    }
    prompts(checker, &variables);
    for action in plan.actions.values() {
        for name in &action.send {
            variable(checker, name, &name.text, &variables);
        }
    }
    unused(checker);
    unreachable(checker);
    calendars(checker);
    tests(checker);
}

/// Every variable that the plan can know.
fn variables(plan: &Plan) -> BTreeSet<&str> {
    let assigned = plan.states.values().flat_map(|state| state.node.assigns()).map(|(name, _)| &*name.text);
    let saved = plan.actions.values().flat_map(|action| &action.save).map(|name| &*name.text);
    BUILT_IN_VARIABLES.iter().copied().chain(assigned).chain(saved).collect()
}

fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: Both) -> Option<Both> {
    Some(
        suggest::nearest(name, candidates)
            .map_or(otherwise, |near| both!("did you mean `{near}`?", "是不是 `{near}`?")),
    )
}

fn state_name(checker: &mut Checker<'_>, name: &Name, en: &str, zh: &str) {
    if name.text.is_empty() || checker.plan.states.contains_key(&name.text) {
        return;
    }
    let text = &name.text;
    let help = did_you_mean(
        text,
        checker.plan.states.keys().map(|k| &**k),
        both!("define `[state.{text}]` or name an existing state", "请定义 `[state.{text}]` 或改用已有的状态"),
    );
    let message = Both::new(format!("{en}: there is no state `{text}`"), format!("{zh}：没有状态 `{text}`"));
    checker.say("E001", &name.span, message, help);
}

fn edges(checker: &mut Checker<'_>, state: &State) {
    for edge in state.node.edges() {
        let way = if edge.label.is_empty() { String::new() } else { format!(" ({})", edge.label) };
        let what = format!("`{}`{way}", state.name);
        state_name(checker, edge.to, &what, &what);
    }
}

fn references(checker: &mut Checker<'_>, state: &State, variables: &BTreeSet<&str>) {
    let plan = checker.plan;
    let refs = state.node.refs();
    let in_queue = refs.iter().any(|r| r.kind == RefKind::Queue);
    for r in refs {
        let name = r.name;
        if name.text.is_empty() {
            continue;
        }
        match r.kind {
            RefKind::Prompt => prompt_name(checker, name, in_queue),
            RefKind::Calendar => known(checker, name, "calendar", "日历", "[calendar.", plan.calendars.keys()),
            RefKind::List => known(checker, name, "list", "名单", "[lists.", plan.lists.keys()),
            RefKind::Action => known(checker, name, "action", "动作", "[actions.", plan.actions.keys()),
            RefKind::Target => known(checker, name, "target", "目标", "[targets.", plan.targets.keys()),
            RefKind::Variable => variable(checker, name, &name.text, variables),
            RefKind::Queue => {
                if let Some(queues) = &checker.site.queues
                    && !queues.contains(&*name.text)
                {
                    let text = &name.text;
                    let help = did_you_mean(
                        text,
                        queues.iter().map(String::as_str),
                        both!(
                            "add a `[[queue]]` named `{text}` to the site's file",
                            "请在站点配置中加上名为 `{text}` 的 `[[queue]]`"
                        ),
                    );
                    checker.say(
                        "E004",
                        &name.span,
                        both!("the site has no queue `{text}`", "站点没有队列 `{text}`"),
                        help,
                    );
                }
            }
        }
    }
}

fn known<'k>(
    checker: &mut Checker<'_>,
    name: &Name,
    en: &str,
    zh: &str,
    table: &str,
    keys: impl Iterator<Item = &'k Arc<str>> + Clone,
) {
    if keys.clone().any(|key| *key == name.text) {
        return;
    }
    let text = &name.text;
    let help = did_you_mean(text, keys.map(|k| &**k), both!("add `{table}{text}]`", "请加上 `{table}{text}]`"));
    checker.say(
        "E004",
        &name.span,
        Both::new(format!("there is no {en} `{text}`"), format!("没有{zh} `{text}`")),
        help,
    );
}

fn prompt_name(checker: &mut Checker<'_>, name: &Name, in_queue: bool) {
    let plan = checker.plan;
    let text = &name.text;
    let Some(prompt) = plan.prompts.get(text) else {
        let help = did_you_mean(
            text,
            plan.prompts.keys().map(|k| &**k),
            both!(
                "add `{text} = {{ zh = \"...\", en = \"...\" }}` to [prompts]",
                "请在 [prompts] 中加上 `{text} = {{ zh = \"...\", en = \"...\" }}`"
            ),
        );
        checker.say("E002", &name.span, both!("there is no prompt `{text}`", "没有提示语 `{text}`"), help);
        return;
    };
    let place = prompt
        .spoken
        .values()
        .flat_map(|spoken| spoken.variables())
        .find(|(v, ..)| matches!(*v, "position" | "ahead" | "wait"));
    if let (Some((found, ..)), false) = (place, in_queue) {
        checker.say(
            "E015",
            &name.span,
            both!(
                "prompt `{text}` speaks `{{{found}}}`, which is known in a queue only",
                "提示语 `{text}` 读出 `{{{found}}}`，但只有在队列中才知道它的值"
            ),
            Some(both!("say it with `prompt` of a queue state", "请在 queue 状态的 `prompt` 中使用")),
        );
    }
}

fn variable(checker: &mut Checker<'_>, at: &Name, name: &str, known: &BTreeSet<&str>) {
    if known.contains(name) || name.is_empty() {
        return;
    }
    let help = did_you_mean(
        name,
        known.iter().copied(),
        both!(
            "variables come from `set`, `gather` (`into`) and actions (`save`)",
            "变量来自 `set`、`gather`(`into`)和动作(`save`)"
        ),
    );
    checker.say("E015", &at.span, both!("nothing sets the variable `{name}`", "没有任何地方设置变量 `{name}`"), help);
}

fn keys(checker: &mut Checker<'_>, state: &State) {
    let plan = checker.plan;
    let Some(keys) = state.node.keys() else { return };
    let human = plan.rules.human_key;
    let key = key_name(human);
    let name = &state.name;
    let target = &plan.rules.human_target.text;
    if let Some((span, to)) = keys.get(&human) {
        let person = state.node.role() == Role::Person;
        if person || to.text != *target {
            checker.say(
                "E005",
                span,
                both!(
                    "`{name}` uses the human key `{key}` for something else: it belongs to the engine",
                    "`{name}` 占用了人工键 `{key}`：它由引擎统一处理"
                ),
                Some(both!(
                    "use another key, or change `human_key` in [rules] for the whole plan",
                    "请换一个按键，或在 [rules] 中修改整个方案的 `human_key`"
                )),
            );
        }
    }
    let options = keys.keys().filter(|k| **k != human && **k != '*').count();
    let most = plan.rules.max_menu_options;
    if options > most as usize {
        checker.say(
            "W004",
            &name.span,
            both!(
                "`{name}` offers {options} keys; callers remember {most}",
                "`{name}` 有 {options} 个选项，来电者最多记得住 {most} 个"
            ),
            Some(both!(
                "split the menu, or raise `max_menu_options` in [rules]",
                "请拆分菜单，或调高 [rules] 中的 `max_menu_options`"
            )),
        );
    }
    if keys.is_empty() && state.node.role() == Role::Asking {
        checker.say(
            "W004",
            &name.span,
            both!("`{name}` offers no key at all", "`{name}` 没有任何选项"),
            Some(both!("use `say` when there is nothing to choose", "没有可选项时请用 `say`")),
        );
    }
}

fn prompts(checker: &mut Checker<'_>, known: &BTreeSet<&str>) {
    let plan = checker.plan;
    for prompt in plan.prompts.values() {
        let name = &prompt.name;
        for lang in &plan.languages {
            if !prompt.spoken.is_empty() && !prompt.spoken.contains_key(lang) {
                checker.say(
                    "W002",
                    &name.span,
                    both!(
                        "prompt `{name}` has no `{lang}` text; callers would hear another language",
                        "提示语 `{name}` 没有 `{lang}` 文本，来电者会听到另一种语言"
                    ),
                    Some(both!(
                        "add `{lang} = \"...\"`, or drop `{lang}` from `languages`",
                        "请加上 `{lang} = \"...\"`，或从 `languages` 中去掉 `{lang}`"
                    )),
                );
            }
        }
        recordings(checker, prompt);
        for spoken in prompt.spoken.values() {
            for (variable_name, ..) in spoken.variables() {
                let at = spoken.text.text.find(&format!("{{{variable_name}")).unwrap_or(0);
                let span = inside(&plan.source, &spoken.text, at + 1, variable_name.len());
                variable(checker, &Name::new("", span), variable_name, known);
            }
        }
    }
}

/// E019 and W011: recordings that cannot be heard, where somebody has looked at them.
fn recordings(checker: &mut Checker<'_>, prompt: &Prompt) {
    for (lang, spoken) in &prompt.spoken {
        for part in &spoken.parts {
            let Part::Text { index, text } = part else { continue };
            let Some(file) = spoken.recordings.get(*index) else { continue };
            let key = text_piece(prompt, *lang, *index, text).key().unwrap_or_default();
            match checker.seconds.trouble(&key) {
                None => {}
                Some(RecordingTrouble::Missing(looked)) => checker.say(
                    "W011",
                    &file.span,
                    both!(
                        "there is no recording `{file}`; its text will be synthesised",
                        "没有录音文件 `{file}`，将改用语音合成"
                    ),
                    Some(both!("it was looked for at {looked}", "已查找：{looked}")),
                ),
                Some(RecordingTrouble::Broken(why)) => checker.say(
                    "E019",
                    &file.span,
                    both!("the recording `{file}` cannot be played: {why}", "录音文件 `{file}` 无法播放：{why}"),
                    Some(both!(
                        "export it again as wav, mp3, ogg, flac, m4a or opus, or remove `file` to have the text synthesised",
                        "请重新导出为 wav、mp3、ogg、flac、m4a 或 opus，或删除 `file` 改用语音合成"
                    )),
                ),
            }
        }
    }
}

/// W003: what nothing uses.
fn unused(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let used: BTreeSet<(RefKind, &str)> =
        plan.states.values().flat_map(|s| s.node.refs()).map(|r| (r.kind, &*r.name.text)).collect();
    let defined = plan
        .prompts
        .values()
        .map(|p| (RefKind::Prompt, &p.name, "prompt", "提示语"))
        .chain(plan.calendars.values().map(|c| (RefKind::Calendar, &c.name, "calendar", "日历")))
        .chain(plan.lists.values().map(|l| (RefKind::List, &l.name, "list", "名单")))
        .chain(plan.actions.values().map(|a| (RefKind::Action, &a.name, "action", "动作")))
        .chain(plan.targets.values().map(|t| (RefKind::Target, &t.name, "target", "目标")));
    for (kind, name, en, zh) in defined {
        if !used.contains(&(kind, &*name.text)) {
            checker.say(
                "W003",
                &name.span,
                Both::new(format!("{en} `{name}` is used nowhere"), format!("{zh} `{name}` 没有被使用")),
                Some(both!("remove it, or use it", "请删除或使用它")),
            );
        }
    }
}

/// W001: states that no caller can get to.
fn unreachable(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let reached = super::walk::reachable(plan);
    for state in plan.states.values() {
        if !reached.contains(&*state.name.text) {
            let name = &state.name;
            checker.say(
                "W001",
                &name.span,
                both!("state `{name}` can never be reached", "状态 `{name}` 永远到达不了"),
                Some(both!("lead to it from some state, or remove it", "请从某个状态通向它，或删除它")),
            );
        }
    }
}

/// W010: a calendar whose holidays run out.
fn calendars(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let Some(today) = checker.site.today else { return };
    let Ok(soon) = today.checked_add(30.days()) else { return };
    for calendar in plan.calendars.values() {
        let last = calendar.until.as_ref().map(|(date, _)| *date).or_else(|| calendar.last_date());
        let Some(last) = last.filter(|last| *last < soon) else { continue };
        let name = &calendar.name;
        let span = calendar.until.as_ref().map_or(&name.span, |(_, span)| span);
        checker.say(
            "W010",
            span,
            both!("calendar `{name}` knows no holidays after {last}", "日历 `{name}` 只登记到 {last} 的假日"),
            Some(both!("enter the next year's holidays and move `until`", "请登记下一年的假日并更新 `until`")),
        );
    }
}

fn tests(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    if plan.tests.is_empty() {
        checker.say(
            "W007",
            &plan.name.span,
            both!("the plan has no tests", "方案没有测试"),
            Some(both!(
                "add `[[test]]` with `name`, `events` and `expect`: what must still work after the next change",
                "请加上 `[[test]]`，写明 `name`、`events`、`expect`：下次修改后仍须成立的行为"
            )),
        );
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for test in &plan.tests {
        if !test.name.text.is_empty() && !names.insert(&test.name.text) {
            let name = &test.name.text;
            checker.say(
                "W003",
                &test.name.span,
                both!("two tests are called `{name}`", "有两个测试都叫 `{name}`"),
                None,
            );
        }
        if let Some(span) = &test.closed
            && crate::world::closed_moment(plan).is_none()
        {
            checker.say(
                "E016",
                span,
                both!("there is no moment at which the plan is closed", "方案没有全部停止服务的时刻"),
                Some(both!(
                    "use `at = \"2026-10-01T23:00\"`, or a plan with a state that asks for opening hours",
                    "请使用 `at = \"2026-10-01T23:00\"`，或在方案中使用 `hours` 状态"
                )),
            );
        }
        for item in test.expect.iter().chain(&test.never) {
            expectation(checker, item);
        }
    }
}

/// E016: an expectation that no trace can hold.
fn expectation(checker: &mut Checker<'_>, item: &Name) {
    let plan = checker.plan;
    let (head, object) = item.text.split_once(':').map_or((&*item.text, None), |(h, o)| (h, Some(o)));
    let heads: Vec<&str> =
        crate::testing::HEADS.iter().copied().chain(crate::verb::ALL.iter().map(|v| v.name)).collect();
    if !heads.contains(&head) {
        let bare =
            plan.states.contains_key(head).then(|| both!("did you mean `state:{head}`?", "是不是 `state:{head}`?"));
        let all = heads.join(", ");
        let help =
            bare.or_else(|| did_you_mean(head, heads.iter().copied(), both!("a trace holds: {all}", "可用：{all}")));
        checker.say("E016", &item.span, both!("no trace ever holds `{}`", "轨迹中不会有 `{}`", item.text), help);
        return;
    }
    let Some(object) = object else { return };
    let objects: Vec<_> = plan.states.values().filter(|s| s.verb == head).filter_map(|s| s.node.object()).collect();
    let candidates: Vec<&str> = match head {
        "state" => plan.states.keys().map(|k| &**k).collect(),
        "play" => plan.prompts.keys().map(|k| &**k).collect(),
        "set" => return set_expectation(checker, item, object),
        "lang" => crate::Lang::ALL.map(crate::Lang::as_str).to_vec(),
        head => {
            let states = plan.states.values().filter(|s| s.verb == head);
            let named = states.flat_map(|s| s.node.refs()).filter(|r| r.kind != RefKind::Prompt);
            let mut found: Vec<&str> = named.map(|r| &*r.name.text).collect();
            // What a state says of itself that is no name of anything else: `recording:pause`.
            for object in &objects {
                if !found.contains(&&**object) {
                    found.push(object);
                }
            }
            found
        }
    };
    if crate::testing::HEADS.contains(&head) && !matches!(head, "state" | "play" | "lang") {
        return;
    }
    if !candidates.contains(&object) {
        let all = candidates.join(", ");
        let help = did_you_mean(object, candidates, there_is(&all));
        checker.say(
            "E016",
            &item.span,
            both!("nothing in this plan makes `{}` happen", "方案中没有能产生 `{}` 的地方", item.text),
            help,
        );
    }
}

fn there_is(all: &str) -> Both {
    if all.is_empty() {
        both!("the plan has nothing of that kind", "方案中没有这一类内容")
    } else {
        both!("there is: {all}", "可用：{all}")
    }
}

/// `set:topic=orders`: some state must set that variable to that value, or to one that only the call knows.
fn set_expectation(checker: &mut Checker<'_>, item: &Name, object: &str) {
    let plan = checker.plan;
    let assigned = plan.states.values().filter(|s| s.verb == "set").flat_map(|s| s.node.assigns());
    let fixed: BTreeSet<String> = assigned.filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let from_call = plan.actions.values().flat_map(|action| &action.save);
    let open = from_call.into_iter().any(|name| object.split('=').next() == Some(&name.text));
    if fixed.contains(object) || open {
        return;
    }
    let all = fixed.iter().cloned().collect::<Vec<_>>().join(", ");
    let help = did_you_mean(object, fixed.iter().map(String::as_str), there_is(&all));
    checker.say(
        "E016",
        &item.span,
        both!("nothing in this plan makes `{}` happen", "方案中没有能产生 `{}` 的地方", item.text),
        help,
    );
}
