//! Every code that a message can carry. `CODES.md` is written from this table.

/// One code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// `E001` ...
    pub code: &'static str,
    /// What it means, in English.
    pub en: &'static str,
    /// What it means, in Chinese.
    pub zh: &'static str,
}

const fn code(code: &'static str, en: &'static str, zh: &'static str) -> Code {
    Code { code, en, zh }
}

/// Every code, sorted.
pub static TABLE: &[Code] = &[
    code(
        "E001",
        "An edge, the entry or the human target names a state that does not exist.",
        "边、入口或人工目标指向不存在的状态。",
    ),
    code("E002", "A state names a prompt that is not in [prompts].", "状态使用了 [prompts] 中没有的提示语。"),
    code(
        "E003",
        "Something that must be there is missing, such as where a silent caller goes.",
        "缺少必填项，例如沉默的来电者去哪里。",
    ),
    code("E004", "A list, calendar, action, target or queue does not exist.", "名单、日历、动作、目标或队列不存在。"),
    code(
        "E005",
        "A state uses the human key, or a word for a person, for something else.",
        "状态把人工键或找人工的说法用作别的用途。",
    ),
    code(
        "E006",
        "A silent caller, or a call that nobody answers, goes round for ever.",
        "沉默或无人接听的来电会无限循环。",
    ),
    code(
        "E007",
        "The caller hears how to reach a person later than `max_seconds_to_human`.",
        "来电者得知如何转人工的时间超过 `max_seconds_to_human`。",
    ),
    code("E008", "A person takes more keys than `max_keys_to_human`.", "转人工的按键数超过 `max_keys_to_human`。"),
    code(
        "E009",
        "A way through the plan never offers a person, or the human target leads to nobody.",
        "有的路径从未提供人工，或人工目标不通向任何人。",
    ),
    code(
        "E010",
        "The file is not UTF-8 text, not valid TOML, or too large.",
        "文件不是 UTF-8 文本，不是合法的 TOML，或过大。",
    ),
    code("E011", "An unknown key in a table.", "表中有未知的项。"),
    code(
        "E012",
        "A value of the wrong type or form: durations, keys, dates, languages, numbers.",
        "值的类型或格式不对：时长、按键、日期、语言、号码。",
    ),
    code("E014", "A prompt has another number of recordings than of text pieces.", "提示语的录音数与文本段数不一致。"),
    code("E015", "A variable that nothing sets, or that is not known at this place.", "变量没有被设置，或在此处未知。"),
    code("E016", "A test's event or expectation can never happen.", "测试的事件或期望不可能发生。"),
    code("E017", "A test speaks, and the plan does not listen.", "测试中说了话，但方案没有开启语音识别。"),
    code(
        "E018",
        "Too many states in a row without a word, or a plan too large to be proved.",
        "连续过多状态没有声音，或方案太大无法证明。",
    ),
    code("E019", "A recording is there and cannot be played.", "录音文件存在但无法播放。"),
    code("E020", "A test of the plan failed.", "方案的测试未通过。"),
    code("E021", "A random caller got stuck, went round, or met a fault.", "随机来电者卡住、循环或遇到故障。"),
    code("E022", "A link's code is sent and never said.", "有口述验证码，但没有读出来。"),
    code("E023", "A phrase of a state means two of its ways.", "状态中的一条说法对应两个去向。"),
    code("E024", "A way can be said and has no key.", "有的去向只能说、不能按。"),
    code(
        "E025",
        "The site keeps no call without consent, and a way to a person or a recording has no `consent`.",
        "站点要求先取得同意才能录音，但有通向人工或录音的路径没有 `consent`。",
    ),
    code(
        "E030",
        "A channel of messages names the plan, and a state has no meaning there: a transfer to a telephone, a secret entry.",
        "消息渠道使用了这个方案，但其中有在聊天里没有意义的状态：转接电话、保密输入。",
    ),
    code("N001", "How long a caller waits for the first offer of a person.", "来电者多久得知如何转人工。"),
    code("W001", "A state can never be reached.", "状态永远到达不了。"),
    code("W002", "A prompt lacks one of the plan's languages.", "提示语缺少方案的某种语言。"),
    code("W003", "Something is used nowhere, or written twice.", "有未使用或重复的内容。"),
    code(
        "W004",
        "A menu offers more keys than `max_menu_options`, or none.",
        "菜单选项超过 `max_menu_options`，或没有选项。",
    ),
    code("W005", "The announced wait may grow without a word about it.", "预计等待时间变长时没有说明。"),
    code("W006", "When nobody ever answers, the caller goes round for ever.", "如果一直无人接听，来电者会无限循环。"),
    code("W007", "The plan has no tests.", "方案没有测试。"),
    code("W008", "A comment that looks like the hash key.", "注释看起来像井号键。"),
    code("W009", "The caller may hear nothing while an action works.", "动作执行时来电者可能听不到声音。"),
    code("W010", "A calendar's holidays run out soon.", "日历登记的假日即将用完。"),
    code("W011", "A recording is not there; its text is synthesised.", "录音文件不存在，将改用语音合成。"),
    code("W012", "The caller is not told that a link was sent.", "没有告诉来电者链接已发出。"),
    code(
        "W013",
        "A phrase contains, or sounds like, a phrase of another way.",
        "一条说法包含另一去向的说法，或与其同音。",
    ),
    code("W014", "A way cannot be said in one of the plan's languages.", "有的去向缺少方案某种语言的说法。"),
];

/// The table as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# What `ark dialplan` says\n\nWritten from `src/codes.rs`; `UPDATE=1 cargo test -p ark-dialplans` rewrites it.\n\n| Code | Meaning | 含义 |\n|---|---|---|\n",
    );
    for code in TABLE {
        out.push_str(&format!("| {} | {} | {} |\n", code.code, code.en, code.zh));
    }
    out
}
