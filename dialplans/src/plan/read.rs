//! From the file to the plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::{
    ACTION_FIELDS, Action, LIST_FIELDS, NumberList, Plan, RULES_FIELDS, Rules, SCHEMA, State, TARGET_FIELDS,
    TOP_FIELDS, TOP_TABLES, Target, normalise_number, tests_table,
};
use crate::calendar;
use crate::diagnostic::{Both, Diagnostic, both};
use crate::lang::Lang;
use crate::limits;
use crate::prompt::{self, is_variable_name};
use crate::read::{Block, Reader, Value, parse_key};
use crate::source::{Name, Source, Span};
use crate::speech::SpeechSettings;
use crate::suggest;
use crate::verb;

/// A plan as far as it can be read, and everything that is wrong with the file, in its order.
pub(super) fn read(text: &str, file_name: &str) -> (Option<Plan>, Vec<Diagnostic>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { source: Source::new(file_name, text), diagnostics: Vec::new() };
    if text.len() > limits::PLAN_BYTES_MAX {
        let most = limits::PLAN_BYTES_MAX;
        reader.say(
            "E010",
            &(0..0),
            both!("the file is larger than {most} bytes, the most that is read", "文件超过上限 {most} 字节"),
            Some(both!("split the plan, or move long lists elsewhere", "请拆分方案，或把长名单移到别处")),
        );
        return (None, reader.diagnostics);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut line = 0;
    for error in &errors {
        syntax_error(&mut reader, error, &mut line);
    }
    if !errors.is_empty() {
        return (None, in_order(reader.diagnostics));
    }
    comments_like_keys(&mut reader);
    let plan = read_document(&mut reader, document.get_ref());
    (plan, in_order(reader.diagnostics))
}

fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|d| (d.span.start, d.span.end, d.code));
    diagnostics
}

/// What the TOML reader says, for people: in their language, with what to do. `line`: the one of the error before.
fn syntax_error(reader: &mut Reader, error: &toml::de::Error, line: &mut usize) {
    let span = error.span().unwrap_or(0..0);
    // What follows on the same line follows from the first mistake.
    let this_line = reader.source.place(&span).line;
    if std::mem::replace(line, this_line) == this_line {
        return;
    }
    let said = error.message().lines().next().unwrap_or("not TOML");
    let (what, expected) = said.split_once(", expected ").map_or((said, None), |(what, rest)| (what, Some(rest)));
    let known = SYNTAX.iter().find(|(en, ..)| what.starts_with(en));
    let message = known.map_or_else(
        || said.to_owned(),
        |(_, en, _)| match expected {
            Some(expected) if en.is_empty() => format!("{what}, expected {expected}"),
            _ if en.is_empty() => what.to_owned(),
            _ => (*en).to_owned(),
        },
    );
    let zh = known.map_or(said, |(.., zh)| *zh);
    let text = Arc::clone(&reader.source.text);
    let before = text.get(..span.start).unwrap_or("");
    let found = text.get(span.start..).unwrap_or("");
    // The sign at the mistake, or the one before it.
    let mut signs = found.trim_start_matches([' ', '\t']).chars().next().into_iter().chain(before.chars().next_back());
    let wide = signs.find_map(|c| Some((c, half_width(c)?)));
    let help = if let Some((wide, plain)) = wide {
        Some(both!(
            "`{wide}` is a Chinese full-width sign: write `{plain}`",
            "`{wide}` 是中文全角符号，请改用英文半角 `{plain}`"
        ))
    } else if found.starts_with(['*', '#']) || before.ends_with('*') {
        Some(both!("the keys of a phone are written `star` and `hash`", "电话按键写作 `star` 和 `hash`"))
    } else if what.contains("duplicate key") {
        Some(both!("remove or rename one of the two", "请删除或改名其中一个"))
    } else {
        let rest: Vec<&str> = error.message().lines().skip(1).collect();
        (!rest.is_empty()).then(|| Both::new(rest.join(", "), rest.join(", ")))
    };
    reader.say("E010", &span, both!("not valid TOML: {message}", "不是合法的 TOML：{zh}"), help);
}

/// What the TOML reader says: how it begins, plainer words for it (empty: its own), and in Chinese.
const SYNTAX: &[(&str, &str, &str)] = &[
    ("duplicate key", "", "重复的项"),
    ("invalid basic string", "", "文字没有以 `\"` 结束"),
    ("invalid literal string", "", "文字没有以 `'` 结束"),
    ("unclosed array", "", "列表缺少 `]`"),
    ("unclosed table", "", "表头缺少 `]`"),
    ("unclosed inline table", "", "缺少 `}`"),
    ("string values must be quoted", "a text must stand in quotes", "文字必须加英文引号"),
    ("invalid unquoted key", "", "项名只能用字母、数字、`-`、`_`"),
    ("missing comma", "", "各项之间缺少英文逗号"),
    ("missing assignment", "", "缺少 `=`"),
    ("extra assignment", "", "多了 `=`"),
    ("key with no value", "", "缺少 `=` 和值"),
    ("unexpected key or value", "", "这里多了内容，每行只写一项"),
    ("missing escaped value", "", "`\\` 后面的转义不正确"),
    ("cannot recurse", "nested too deep", "嵌套过深"),
    ("recursion limit", "nested too deep", "嵌套过深"),
];

/// The sign that TOML wants where a full-width one stands.
fn half_width(c: char) -> Option<char> {
    const SIGNS: [(char, char); 16] = [
        ('，', ','),
        ('、', ','),
        ('\u{201c}', '"'),
        ('\u{201d}', '"'),
        ('\u{2018}', '\''),
        ('\u{2019}', '\''),
        ('＂', '"'),
        ('＝', '='),
        ('：', '='),
        ('｛', '{'),
        ('｝', '}'),
        ('［', '['),
        ('］', ']'),
        ('【', '['),
        ('】', ']'),
        ('＃', '#'),
    ];
    SIGNS.into_iter().find(|(wide, _)| *wide == c).map(|(_, plain)| plain)
}

/// W008: `#: repeat` or `# 1 = "state"` between keys is a comment to TOML, whatever its author meant.
fn comments_like_keys(reader: &mut Reader) {
    let text = Arc::clone(&reader.source.text);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let start = at + (line.len() - trimmed.len());
        at += line.len();
        let Some(rest) = trimmed.strip_prefix('#') else { continue };
        let rest = rest.trim_end();
        let after = rest.trim_start_matches(['"', '\'']).trim_start();
        if (after.starts_with('=') || after.starts_with(':')) && after[1..].trim_start().starts_with(['"', '\'']) {
            let span = start..start + 1 + rest.len();
            reader.say(
                "W008",
                &span,
                both!("this line is a comment: `#` starts one", "这一行是注释：`#` 是注释符号"),
                Some(both!("write the hash key as `hash = \"a-state\"`", "井号键请写成 `hash = \"状态名\"`")),
            );
        }
    }
}

fn read_document<'a>(reader: &mut Reader, table: &'a DeTable<'a>) -> Option<Plan> {
    let top = Block::new(reader, table, "the plan".to_owned(), 0..0, TOP_FIELDS, TOP_TABLES);
    if let Some(schema) = top.name(reader, "schema")
        && &*schema.text != SCHEMA
    {
        let found = &schema.text;
        reader.say(
            "E012",
            &schema.span,
            both!("unknown schema `{found}`", "未知的 schema `{found}`"),
            Some(both!("this version of Ark reads `{SCHEMA}`", "此版本的 Ark 只支持 `{SCHEMA}`")),
        );
    }
    let name = top.must_name(reader, "name");
    if !name.text.is_empty() && !is_plan_name(&name.text) {
        reader.say(
            "E012",
            &name.span,
            both!("a plan's name has lower-case letters, digits and `-` only", "方案名只能用小写字母、数字和 `-`"),
            Some(both!("for example `hotline-95188`", "例如 `hotline-95188`")),
        );
    }
    let entry = top.must_name(reader, "entry");
    let zone_name = top.name(reader, "timezone");
    let zone = time_zone(reader, zone_name.as_ref());
    let language_names = top.texts(reader, "languages");
    let languages = languages(reader, &language_names);
    let table_of =
        |name: &str| table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, value)| (key.span(), value));
    let rules = rules(reader, table_of("rules"));
    let speech = SpeechSettings::read(reader, table_of("speech"));
    let prompts = section(reader, table_of("prompts").map(|(_, value)| value), "[prompts]", prompt::read);
    let calendars = section(reader, table_of("calendar").map(|(_, value)| value), "[calendar]", calendar::read);
    let lists = section(reader, table_of("lists").map(|(_, value)| value), "[lists]", number_list);
    let actions = section(reader, table_of("actions").map(|(_, value)| value), "[actions]", action);
    let targets = section(reader, table_of("targets").map(|(_, value)| value), "[targets]", target);
    let states = section(reader, table_of("state").map(|(_, value)| value), "[state]", state);
    // Phrases alone say that the plan listens; a `[speech]` table says so itself.
    let has_phrases = || states.values().any(|state| state.node.ear().is_some_and(|ear| !ear.phrases.is_empty()));
    let speech = speech.unwrap_or_else(|| SpeechSettings { on: has_phrases(), ..SpeechSettings::default() });
    let tests = tests_table::read(reader, table_of("test").map(|(_, value)| value));
    if states.len() > limits::STATES_MAX {
        let (found, most) = (states.len(), limits::STATES_MAX);
        reader.say("E010", &(0..0), both!("{found} states; at most {most}", "{found} 个状态，最多 {most} 个"), None);
    }
    if table_of("state").is_none() {
        reader.say(
            "E003",
            &(0..0),
            both!("the plan has no states", "方案没有任何状态"),
            Some(both!(
                "add `[state.NAME]` with `do = \"menu\"` or another verb",
                "请加上 `[state.名字]` 和 `do = \"menu\"` 等动作"
            )),
        );
    }
    let source = reader.source.clone();
    Some(Plan {
        source,
        name,
        entry,
        zone,
        languages,
        rules,
        speech,
        prompts,
        calendars,
        lists,
        actions,
        targets,
        states,
        tests,
    })
}

fn is_plan_name(name: &str) -> bool {
    name.len() <= 64 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn time_zone(reader: &mut Reader, name: Option<&Name>) -> TimeZone {
    let wanted = name.map_or("Asia/Shanghai", |name| &name.text);
    match TimeZone::get(wanted) {
        Ok(zone) => zone,
        Err(_) => {
            if let Some(name) = name {
                let known: Vec<String> = jiff::tz::db().available().map(|n| n.as_str().to_owned()).collect();
                let help = suggest::nearest(wanted, known.iter().map(String::as_str)).map_or_else(
                    || both!("write an IANA name such as `Asia/Shanghai`", "请写 IANA 名称，例如 `Asia/Shanghai`"),
                    |near| both!("did you mean `{near}`?", "是不是 `{near}`?"),
                );
                reader.say(
                    "E012",
                    &name.span,
                    both!("unknown time zone `{wanted}`", "未知时区 `{wanted}`"),
                    Some(help),
                );
            }
            TimeZone::UTC
        }
    }
}

fn languages(reader: &mut Reader, names: &[Name]) -> Vec<Lang> {
    let mut found = Vec::new();
    for name in names {
        match Lang::parse(&name.text) {
            Some(lang) if !found.contains(&lang) => found.push(lang),
            Some(_) => {}
            None => language_error(reader, name),
        }
    }
    if found.is_empty() { Lang::ALL.to_vec() } else { found }
}

/// E012 for a language that has no say-rules.
pub(crate) fn language_error(reader: &mut Reader, name: &Name) {
    let text = &name.text;
    reader.say(
        "E012",
        &name.span,
        both!("unknown language `{text}`", "未知语言 `{text}`"),
        Some(both!("`zh` and `en` can be spoken", "可用语言为 `zh` 和 `en`")),
    );
}

type Found<'a> = Option<(Span, &'a Value<'a>)>;

/// Reads `[section.NAME]` tables one by one.
fn section<'a, T>(
    reader: &mut Reader,
    found: Option<&'a Value<'a>>,
    what: &str,
    one: fn(&mut Reader, Name, &'a Value<'a>) -> Option<T>,
) -> BTreeMap<Arc<str>, T> {
    let mut items = BTreeMap::new();
    let Some(value) = found else { return items };
    let Some(table) = reader.table(value, what, &format!("{}.NAME]", what.trim_end_matches(']'))) else { return items };
    for (key, value) in table {
        let name = Name::new(key.get_ref(), key.span());
        if name.text.is_empty()
            || name.text.len() > 80
            || name.text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | '@'))
        {
            let text = &name.text;
            reader.say(
                "E012",
                &name.span,
                both!(
                    "`{text}` cannot be a name: no spaces, `:` or `@`, at most 80 bytes",
                    "`{text}` 不能作名字：不可含空格、`:`、`@`，最长 80 字节"
                ),
                None,
            );
            continue;
        }
        let id = Arc::clone(&name.text);
        if let Some(item) = one(reader, name, value) {
            items.insert(id, item);
        }
    }
    items
}

fn rules<'a>(reader: &mut Reader, found: Found<'a>) -> Rules {
    let empty = DeTable::new();
    let (span, table) = match found {
        None => (0..0, None),
        Some((span, value)) => (span, reader.table(value, "[rules]", "[rules]")),
    };
    let block = Block::new(reader, table.unwrap_or(&empty), "[rules]".to_owned(), span, RULES_FIELDS, &[]);
    let number = |reader: &mut Reader, name: &str, range, default: u32| {
        u32::try_from(block.integer(reader, name, range, i64::from(default))).unwrap_or(default)
    };
    Rules {
        human_key: block.key(reader, "human_key").map_or('0', |(key, _)| key),
        human_target: block.must_name(reader, "human_target"),
        max_keys_to_human: number(reader, "max_keys_to_human", 0..=20, 1),
        max_seconds_to_human: number(reader, "max_seconds_to_human", 1..=600, 15),
        max_menu_options: number(reader, "max_menu_options", 1..=12, 5),
        strikes: number(reader, "strikes", 1..=20, 3),
    }
}

fn number_list<'a>(reader: &mut Reader, name: Name, value: &'a Value<'a>) -> Option<NumberList> {
    let what = format!("[lists.{name}]");
    let table = reader.table(value, &what, "[lists.elders]")?;
    let block = Block::new(reader, table, what, name.span.clone(), LIST_FIELDS, &[]);
    let mut numbers = std::collections::BTreeSet::new();
    for number in block.texts(reader, "numbers") {
        let normal = normalise_number(&number.text);
        if !normal.chars().any(|c| c.is_ascii_digit()) {
            let text = &number.text;
            reader.say(
                "E012",
                &number.span,
                both!("`{text}` is not a telephone number", "`{text}` 不是电话号码"),
                None,
            );
        } else if !numbers.insert(normal) {
            let text = &number.text;
            reader.say("W003", &number.span, both!("`{text}` is in this list twice", "`{text}` 在名单中重复"), None);
        }
    }
    Some(NumberList { name, numbers })
}

fn action<'a>(reader: &mut Reader, name: Name, value: &'a Value<'a>) -> Option<Action> {
    let what = format!("[actions.{name}]");
    let table = reader.table(value, &what, "[actions.order_status]")?;
    let block = Block::new(reader, table, what, name.span.clone(), ACTION_FIELDS, &[]);
    let url = block.must_name(reader, "url");
    let host = ["https://", "http://"].iter().find_map(|scheme| url.text.strip_prefix(scheme));
    if !url.text.is_empty()
        && host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace) || url.text.contains('{'))
    {
        reader.say(
            "E012",
            &url.span,
            both!(
                "an action's url begins with https:// or http:// and has no variables",
                "动作的 url 以 https:// 或 http:// 开头，且不含变量"
            ),
            Some(both!(
                "list variables in `send`; they travel in the query or the body",
                "变量写在 `send` 里，随查询串或正文发送"
            )),
        );
    }
    let method = block.name(reader, "method");
    if let Some(method) = &method
        && !matches!(&*method.text, "GET" | "POST")
    {
        let text = &method.text;
        reader.say(
            "E012",
            &method.span,
            both!("unknown method `{text}`", "未知方法 `{text}`"),
            Some(both!("`GET` or `POST`", "可用 `GET` 或 `POST`")),
        );
    }
    let timeout = block.duration(reader, "timeout", Duration::from_secs(3));
    let send = block.texts(reader, "send");
    let save = block.texts(reader, "save");
    for name in &save {
        settable(reader, name);
    }
    Some(Action { name, url, method: method.map_or_else(|| "POST".into(), |m| m.text), timeout, send, save })
}

/// Tells when a name cannot be a variable of the plan's own.
pub(crate) fn settable(reader: &mut Reader, name: &Name) {
    let text = &name.text;
    if !is_variable_name(text) {
        reader.say(
            "E012",
            &name.span,
            both!(
                "`{text}` cannot be a variable: letters, digits and `_`, beginning with a letter",
                "`{text}` 不能作变量名：字母、数字和 `_`，以字母开头"
            ),
            None,
        );
    } else if &**text != "lang" && super::BUILT_IN_VARIABLES.contains(&&**text) {
        reader.say(
            "E012",
            &name.span,
            both!("`{text}` belongs to the engine and cannot be set", "`{text}` 由引擎维护，不能设置"),
            Some(both!("choose another name", "请换一个名字")),
        );
    }
}

fn target<'a>(reader: &mut Reader, name: Name, value: &'a Value<'a>) -> Option<Target> {
    let what = format!("[targets.{name}]");
    let table = reader.table(value, &what, "[targets.night_desk]")?;
    let block = Block::new(reader, table, what, name.span.clone(), TARGET_FIELDS, &[]);
    let to = block.must_name(reader, "to");
    let number = to.text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' '))
        && to.text.chars().any(|c| c.is_ascii_digit());
    let uri = ["sip:", "sips:"]
        .iter()
        .any(|s| to.text.strip_prefix(s).is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)));
    if !to.text.is_empty() && !number && !uri {
        let text = &to.text;
        reader.say(
            "E012",
            &to.span,
            both!("`{text}` is neither a number nor a SIP URI", "`{text}` 既不是号码也不是 SIP URI"),
            Some(both!(
                "write `+8675512345678` or `sip:desk@pbx.example.com`",
                "请写 `+8675512345678` 或 `sip:desk@pbx.example.com`"
            )),
        );
    }
    Some(Target { name, to })
}

fn state<'a>(reader: &mut Reader, name: Name, value: &'a Value<'a>) -> Option<State> {
    let what = format!("[state.{name}]");
    let table = reader.table(value, &what, "[state.main]")?;
    let verbs = verb::ALL.iter().map(|v| v.name).collect::<Vec<_>>();
    let Some((_, chosen)) = table.iter().find(|(key, _)| key.get_ref() == "do") else {
        let all = verbs.join(", ");
        let misspelt = table.keys().find(|key| matches!(&**key.get_ref(), "verb" | "Do" | "type" | "action"));
        let span = misspelt.map_or_else(|| name.span.clone(), toml::Spanned::span);
        reader.say(
            "E003",
            &span,
            both!("{what} does not say what to do", "{what} 没有写要做什么"),
            Some(both!("add `do = \"...\"`, one of: {all}", "请加上 `do = \"...\"`，可用：{all}")),
        );
        return Some(State { name, verb: "", label: BTreeMap::new(), node: verb::unreadable() });
    };
    let DeValue::String(word) = chosen.get_ref() else {
        reader.wrong_type(chosen, &format!("{what} `do`"), ("a verb in quotes", "带引号的动作"), "do = \"menu\"");
        return Some(State { name, verb: "", label: BTreeMap::new(), node: verb::unreadable() });
    };
    let Some(found) = verb::ALL.iter().find(|v| v.name == word) else {
        let near = match &**word {
            "wait" => Some("queue"),
            // What other verbs are near in letters is not what these mean.
            "ticket" => None,
            other => suggest::nearest(other, verbs.iter().copied()),
        };
        let help = near.map_or_else(
            || {
                let all = verbs.join(", ");
                both!("there are: {all}", "可用：{all}")
            },
            |near| both!("did you mean `{near}`?", "是不是 `{near}`?"),
        );
        reader.say("E012", &chosen.span(), both!("there is no verb `{word}`", "没有 `{word}` 这个动作"), Some(help));
        return Some(State { name, verb: "", label: BTreeMap::new(), node: verb::unreadable() });
    };
    let label = table.iter().find(|(key, _)| key.get_ref() == "label");
    let label = label.map(|(_, value)| prompt::label(reader, value, &what)).unwrap_or_default();
    let block = Block::new(reader, table, what, name.span.clone(), found.fields, &["do", "label"]);
    let node = (found.read)(reader, &block);
    Some(State { name, verb: found.name, label, node })
}

/// The key of a phone in a test's events.
pub(super) fn test_keys(text: &str) -> Option<Vec<char>> {
    if let Some(key) = parse_key(text) {
        return Some(vec![key]);
    }
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.chars().collect())
}
