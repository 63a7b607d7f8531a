//! What the demo says, in both languages: about itself, and each event of the log in a line.

use ark_conversation::event::{EndedBy, GatherOutcome, Part, PromptCause, QueueOutcome, RecordingPurpose, Role};
use ark_conversation::{ConversationId, Event, Record};
use ark_dialplans::Lang;

use super::desks::Desks;
use super::site::{Folder, Site};
use crate::providers::{Provider, Shown};
use crate::serve::{Gateway, how_to_call};

/// The words of one language.
fn either<T>(lang: Lang, zh: T, en: T) -> T {
    match lang {
        Lang::Zh => zh,
        Lang::En => en,
    }
}

pub(super) fn title(lang: Lang) -> String {
    let version = env!("CARGO_PKG_VERSION");
    either(lang, format!("方舟 Ark {version} 演示\n"), format!("Ark {version} 方舟, a demo\n"))
}

/// Which ports and which folder.
pub(super) fn chosen(lang: Lang, site: &Site, folder: &Folder) -> Vec<String> {
    let (sip, web, path) = (site.sip_port, site.web_port, folder.path.display());
    let mut lines = vec![
        either(lang, format!("  信令  UDP 与 TCP 端口 {sip}"), format!("  SIP     UDP and TCP port {sip}")),
        either(lang, format!("  网页  http://127.0.0.1:{web}"), format!("  page    http://127.0.0.1:{web}")),
    ];
    let gone = either(lang, "（结束时删除；用 --data 保留）", " (removed at the end; --data FOLDER keeps one)");
    let gone = if folder.temporary { gone } else { "" };
    lines.push(either(lang, format!("  数据  {path}{gone}"), format!("  site    {path}{gone}")));
    for (wanted, taken) in site.moved() {
        lines.push(either(
            lang,
            format!("  端口 {wanted} 已被其他程序占用，改用 {taken}"),
            format!("  port {wanted} is taken by another program, so it is {taken}"),
        ));
    }
    lines.push(either(lang, "  正在准备热线要说的话……", "  making what the hotline says ...").to_owned());
    lines
}

pub(super) fn begins(lang: Lang) -> &'static str {
    either(
        lang,
        "\n有人拨打 95188。下面是日志中的事件，每条写入之后立即显示：\n",
        "\nSomebody dials 95188. These are the events of the log, each told as soon as it is committed:\n",
    )
}

pub(super) fn stuck(lang: Lang, why: &str) -> String {
    either(lang, format!("演示来电没有走完：{why}"), format!("the scripted call did not go as it should: {why}"))
}

/// What is kept of the scripted call; `gone`: nothing is, in a moment.
pub(super) fn summary(
    lang: Lang,
    site: &Site,
    (conversation, records): (ConversationId, &[Record]),
    gone: bool,
) -> Vec<String> {
    let count = records.len();
    let mut lines = vec![either(
        lang,
        format!("\n通话结束：会话 {conversation} 共 {count} 条事件，都已写入日志。"),
        format!("\nThe call is over: conversation {conversation}, {count} events, all of them in the log."),
    )];
    for record in records {
        if let Event::RecordingFinished(e) = &record.event.event {
            let name = e.reference.rsplit('/').next().unwrap_or_default();
            let file = site.config.files.recordings().join(name);
            let (file, length) = (file.display(), seconds(lang, e.duration_ms));
            if gone {
                lines.push(either(
                    lang,
                    format!("来电人留了言（{length}）；用 --data 目录可保留录音"),
                    format!("The caller left a message of {length}; --data FOLDER keeps the recording"),
                ));
                continue;
            }
            lines.push(either(
                lang,
                format!("来电人留了言（{length}）：{file}"),
                format!("The caller left a message of {length}: {file}"),
            ));
        }
    }
    lines
}

/// Where to point a softphone and a browser.
pub(super) fn your_turn(
    lang: Lang,
    site: &Site,
    gateway: &Gateway,
    (conversation, desks): (Option<ConversationId>, &Desks),
) -> Vec<String> {
    let file = site.file.display();
    let fragment = conversation.map_or_else(String::new, |id| format!("#{id}"));
    let link = format!("http://{}/?token={}{fragment}", gateway.web, gateway.token);
    let mut lines = vec![either(lang, "\n轮到您了：", "\nYour turn:").to_owned()];
    for call in how_to_call(&site.config, gateway.sip()) {
        lines.push(either(
            lang,
            format!("  呼叫  {call}   （任何 SIP 话机，无需账号；来电会继续显示在这里）"),
            format!("  call   {call}   (any SIP phone, no account; what happens is told here)"),
        ));
    }
    let chat = format!("http://{}/chat", gateway.web);
    lines.push(either(
        lang,
        format!("  聊天  {chat}   （带聊天窗口的示例网站）"),
        format!("  chat   {chat}   (a site with the chat in its corner)"),
    ));
    let (anna, ben, password) = (Desks::ANNA, Desks::BEN, &desks.password);
    lines.push(either(
        lang,
        format!("  坐席  账号 {anna} 与 {ben}，密码 {password}   （只在这次演示里有效）"),
        format!("  desks  accounts {anna} and {ben}, password {password} (of this demo alone)"),
    ));
    lines.push(either(
        lang,
        format!("  日志  ark conversation list --config {file}"),
        format!("  log    ark conversation list --config {file}"),
    ));
    lines.push(either(lang, "  停止  Ctrl-C", "  stop   Ctrl-C").to_owned());
    lines.push(either(lang, format!("  打开  {link}\n"), format!("  open   {link}\n")));
    lines
}

pub(super) fn bye(lang: Lang, folder: &Folder) -> String {
    let path = folder.path.display();
    match folder.temporary {
        true => either(lang, "\n演示结束，临时数据已删除。", "\nThe demo is over; what it kept is removed.").to_owned(),
        false => either(
            lang,
            format!("\n演示结束，数据保留在 {path}。"),
            format!("\nThe demo is over; it is kept in {path}."),
        ),
    }
}

fn seconds(lang: Lang, ms: u64) -> String {
    let (whole, tenth) = (ms / 1_000, ms % 1_000 / 100);
    either(lang, format!("{whole}.{tenth} 秒"), format!("{whole}.{tenth} s"))
}

/// What the scripted customer of a provider asks, and what they are answered.
pub(super) const fn chat(lang: Lang, provider: Provider) -> (&'static str, &'static str) {
    match (lang, provider) {
        (Lang::Zh, Provider::DingTalk | Provider::Stream) => {
            ("你好，发票怎么开？", "您好，请把抬头和税号发给我，马上为您开具。")
        }
        (Lang::Zh, Provider::WeChat | Provider::OfficialAccount | Provider::WeCom) => {
            ("我的快递到哪了？订单 4711", "您好，订单 4711 今天下午送达。")
        }
        (Lang::Zh, Provider::Alipay) => ("怎么退款？", "您好，退款已受理，1 至 3 个工作日到账。"),
        (Lang::En, Provider::DingTalk | Provider::Stream) => {
            ("Hello, how do I get an invoice?", "Hello! Send me the title and tax number, please.")
        }
        (Lang::En, Provider::WeChat | Provider::OfficialAccount | Provider::WeCom) => {
            ("Where is my parcel? Order 4711", "Hello! Order 4711 comes this afternoon.")
        }
        (Lang::En, Provider::Alipay) => {
            ("How do I get my money back?", "Hello! It is on its way: 1 to 3 working days.")
        }
    }
}

pub(super) fn chats_begin(lang: Lang) -> &'static str {
    either(
        lang,
        "\n三位客户分别从钉钉、微信小程序和支付宝生活号写来（服务商在本机扮演，无需账号）：\n",
        "\nThree customers write, by DingTalk, a WeChat mini-program and an Alipay life account (played on this machine, no account):\n",
    )
}

/// The words of one who is handed over.
pub(super) struct DeskWords {
    /// What Anna tells Ben.
    pub(super) note: &'static str,
    /// What Ben writes.
    pub(super) answer: &'static str,
    /// What the customer answers to the survey.
    pub(super) score: &'static str,
}

pub(super) const fn desks(lang: Lang) -> DeskWords {
    match lang {
        Lang::Zh => DeskWords {
            note: "客户发来了开票截图，请财务看一下",
            answer: "您好，我是财务的小本，截图收到了，发票已开出。",
            score: "5",
        },
        Lang::En => DeskWords {
            note: "They sent a picture of the title; please make the invoice",
            answer: "Hello, Ben of accounting here: I have your picture, and the invoice is out.",
            score: "5",
        },
    }
}

pub(super) const fn anna(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "安娜",
        Lang::En => "Anna",
    }
}

pub(super) const fn ben(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "小本",
        Lang::En => "Ben",
    }
}

pub(super) fn desks_begin(lang: Lang) -> &'static str {
    either(
        lang,
        "\n钉钉的客户发来一张图片，安娜把会话连同摘要转给小本，小本办完，客户评分：\n",
        "\nThe customer in DingTalk sends a picture, Anna hands them to Ben with a summary, Ben settles it, and the customer rates it:\n",
    )
}

/// What a customer's app shows.
pub(super) fn shown(lang: Lang, shown: &Shown) -> String {
    let (name, text) = (shown.provider.name(), &shown.text);
    either(lang, format!("   {name} 里客户看到：“{text}”"), format!("   {name} shows the customer: \"{text}\""))
}

pub(super) fn unanswered(lang: Lang, why: &str) -> String {
    either(lang, format!("演示客户没有得到答复：{why}"), format!("a scripted customer was not answered: {why}"))
}

/// An event in a line. People's numbers are masked.
pub(super) fn event(lang: Lang, event: &Event) -> String {
    let told = of_call(lang, event).or_else(|| of_plan(lang, event)).or_else(|| of_chat(lang, event));
    told.unwrap_or_else(|| plain(event))
}

/// That what is said is read along, and by what.
pub(super) fn reads_along(lang: Lang) -> String {
    let name = crate::speech::models::TEST_DOUBLE;
    either(
        lang,
        format!("语音由 {name} 识别：这是测试替身，只懂合成语音，不能接真实来电。"),
        format!(
            "speech is read by {name}: a test double that knows synthetic voices alone and must never hear real callers"
        ),
    )
}

/// The call, its legs, the queue, recordings.
fn of_call(lang: Lang, event: &Event) -> Option<String> {
    Some(match event {
        Event::CallRinging(e) if e.role == Role::Customer => {
            let to = e.to.reveal();
            either(lang, format!("{} 拨打 {to}", e.from), format!("{} calls {to}", e.from))
        }
        Event::CallRinging(e) => either(lang, format!("呼叫 {}", e.to), format!("calling {}", e.to)),
        Event::CallAnswered(e) => either(lang, format!("接通，{}", e.codec), format!("answered, {}", e.codec)),
        Event::CallEnded(e) => {
            let talk = seconds(lang, e.talk_ms);
            let by = match e.by {
                EndedBy::Ark => either(lang, "方舟", "Ark"),
                EndedBy::Remote => either(lang, "对方", "the other side"),
            };
            let cause = e.cause;
            either(
                lang,
                format!("通话结束（{by}，{cause}），共 {talk}"),
                format!("ended by {by} ({cause}) after {talk}"),
            )
        }
        Event::CallQuality(e) => {
            let mos = e.mos.map_or_else(|| "–".to_owned(), |mos| format!("{mos:.2}"));
            let (loss, jitter_ms) = (e.loss_ratio * 100.0, e.jitter_us / 1_000);
            either(
                lang,
                format!("音质 MOS {mos}，丢包 {loss:.1} %，抖动 {jitter_ms} 毫秒"),
                format!("MOS {mos}, loss {loss:.1} %, jitter {jitter_ms} ms"),
            )
        }
        Event::QueueJoined(e) => either(
            lang,
            format!("在「{}」排队，第 {} 位", e.queue, e.position),
            format!("waits in `{}`, number {} in line", e.queue, e.position),
        ),
        Event::QueueRelaxed(e) => either(
            lang,
            format!("「{}」没有人会 {}，改请任何人接听", e.queue, e.needs),
            format!("nobody in `{}` has {}: anybody is asked", e.queue, e.needs),
        ),
        Event::QueueLeft(e) => {
            let how = match e.outcome {
                QueueOutcome::Answered => either(lang, "有人接听", "a person answered"),
                QueueOutcome::Abandoned => either(lang, "来电人挂断", "the caller hung up"),
                QueueOutcome::Timeout => either(lang, "等待超时", "waited as long as allowed"),
                QueueOutcome::Left => either(lang, "来电人选择离开", "the caller chose to leave"),
                QueueOutcome::Overflow => either(lang, "等待太久，转到另一队列", "went on to another queue"),
                QueueOutcome::Failed => either(lang, "失败", "failed"),
                QueueOutcome::Callback => either(lang, "等候回电", "to be called back"),
                QueueOutcome::Unreached => either(lang, "回电未接通", "called back, and not reached"),
            };
            let waited = seconds(lang, e.waited_ms);
            either(lang, format!("{how}，等了 {waited}"), format!("{how} after {waited}"))
        }
        Event::RecordingStarted(e) => match e.purpose {
            RecordingPurpose::Voicemail => either(lang, "开始留言", "a message is recorded").to_owned(),
            RecordingPurpose::Call => either(lang, "开始录音", "the call is recorded").to_owned(),
        },
        Event::RecordingFinished(e) => {
            let length = seconds(lang, e.duration_ms);
            either(lang, format!("录音保存，{length}"), format!("{length} kept"))
        }
        Event::CallSupervised(_) => either(lang, "班长加入", "a supervisor is there").to_owned(),
        Event::LegBridged(_) => either(lang, "双方可以通话", "both sides hear each other").to_owned(),
        _ => return None,
    })
}

/// What is written, and what becomes of it.
fn of_chat(lang: Lang, event: &Event) -> Option<String> {
    let text = |parts: &[Part]| {
        let words = parts.iter().map(|part| match part {
            Part::Text { text } => text.reveal().replace('\n', " "),
            Part::Image { .. } => either(lang, "[图片]", "[a picture]").to_owned(),
            Part::Card { fallback_text, .. } => fallback_text.reveal().replace('\n', " "),
            _ => "…".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    Some(match event {
        Event::MessageIn(e) => {
            let text = text(&e.parts);
            either(lang, format!("客户：“{text}”"), format!("the customer: \"{text}\""))
        }
        Event::MessageOut(e) => {
            let text = text(&e.parts);
            either(lang, format!("客服：“{text}”"), format!("the house: \"{text}\""))
        }
        Event::Receipt(e) => {
            let state = e.state;
            either(lang, format!("消息状态：{state}"), format!("the message is {state}"))
        }
        Event::SessionOpened(e) => {
            let owner = &e.owner;
            either(lang, format!("服务开始，由 {owner} 负责"), format!("a session begins, with {owner}"))
        }
        Event::LegAdded(_) => either(lang, "客户从这个渠道来", "the customer is there by this channel").to_owned(),
        Event::Identity(e) => {
            let sure = e.assurance;
            either(lang, format!("渠道告知客户是谁（{sure}）"), format!("the channel says who they are ({sure})"))
        }
        Event::PersonLinked(_) => either(lang, "认出了这位客户", "they are known").to_owned(),
        Event::OwnerOffered(e) => {
            let (by, to) = (&e.by, &e.to);
            either(lang, format!("{by} 转给 {to}，等待接手"), format!("{by} offers the customer to {to}"))
        }
        Event::Summary(e) => {
            let text = e.text.reveal().replace('\n', " / ");
            either(lang, format!("摘要：{text}"), format!("summary: {text}"))
        }
        Event::SessionClosed(e) => {
            let by = &e.by;
            either(lang, format!("{by} 办结"), format!("{by} closes the session"))
        }
        Event::ConsentSettled(e) => match e.kept {
            true => either(lang, "客户已知通话会被录音和转写", "the customer knows that the call is kept").to_owned(),
            false => {
                either(lang, "客户没有同意，通话不保存", "the customer has not agreed: nothing is kept").to_owned()
            }
        },
        Event::SurveyAsked(_) => either(lang, "请客户评价", "the customer is asked how it was").to_owned(),
        Event::SurveyAnswered(e) => {
            let (score, scale) = (e.score, e.scale);
            either(lang, format!("客户评分 {score}/{scale}"), format!("the customer says {score} of {scale}"))
        }
        Event::OwnerAccepted(e) => {
            let owner = &e.owner;
            either(lang, format!("{owner} 接手"), format!("{owner} takes it"))
        }
        _ => return None,
    })
}

/// What the plan says and hears.
fn of_plan(lang: Lang, event: &Event) -> Option<String> {
    Some(match event {
        Event::IvrEntered(e) => {
            let (state, verb) = (&e.state, &e.verb);
            either(lang, format!("进入「{state}」（{verb}）"), format!("the plan enters `{state}` ({verb})"))
        }
        Event::IvrStrike(e) => {
            either(lang, format!("第 {} 次没有听懂", e.strikes), format!("strike {}: {}", e.strikes, e.kind))
        }
        Event::IvrSet(e) => format!("{} = {}", e.var, e.value.as_deref().unwrap_or("•••")),
        Event::Dtmf(e) => {
            let key = e.digit.unwrap_or('•');
            either(lang, format!("来电人按 {key}"), format!("the caller presses {key}"))
        }
        Event::PromptStarted(e) => {
            let text = e.text.clone().unwrap_or_else(|| e.prompts.join(", "));
            either(lang, format!("方舟：“{text}”"), format!("Ark: \"{text}\""))
        }
        Event::PromptFinished(e) => {
            let heard = seconds(lang, e.heard_ms);
            let how = match e.cause {
                PromptCause::End => either(lang, "播完", "to its end"),
                PromptCause::BargeIn => either(lang, "被按键打断", "cut by a key"),
                PromptCause::Stopped => either(lang, "停止", "stopped"),
                PromptCause::Hangup => either(lang, "因挂机停止", "cut by the end of the call"),
                PromptCause::Failed => either(lang, "失败", "failed"),
            };
            either(lang, format!("{how}，{heard}"), format!("{how}, {heard}"))
        }
        Event::TranscriptFinal(e) => {
            let (who, text) = (e.speaker, e.text.reveal());
            either(lang, format!("{who} 说：“{text}”"), format!("{who} says: \"{text}\""))
        }
        Event::GatherFinished(e) => {
            let value = e.value.as_deref().unwrap_or("•••");
            let how = if e.outcome == GatherOutcome::Complete { String::new() } else { format!(" ({})", e.outcome) };
            either(lang, format!("{}：{value}{how}", e.var), format!("{}: {value}{how}", e.var))
        }
        _ => return None,
    })
}

/// Any other event: its data.
fn plain(event: &Event) -> String {
    let fields = serde_json::to_value(event).unwrap_or_default();
    let fields =
        fields.as_object().into_iter().flatten().filter(|(key, _)| !matches!(key.as_str(), "leg" | "to" | "from"));
    let fields = fields
        .map(|(key, value)| value.as_str().map_or_else(|| format!("{key} {value}"), |text| format!("{key} {text}")));
    fields.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_line_in_both_languages_and_no_number_in_full() {
        for told in ark_conversation::samples::story() {
            for lang in [Lang::Zh, Lang::En] {
                let words = event(lang, &told);
                assert!(!words.contains('\n'), "{words}");
                if let Event::CallRinging(e) = &told {
                    assert!(!words.contains(e.from.reveal()), "{words}");
                }
            }
        }
    }
}
