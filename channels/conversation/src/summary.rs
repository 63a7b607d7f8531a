//! What has happened so far, in a few lines, for the next one who speaks: why the customer came, what they asked, what was tried, what a
//! plan learnt of them, what the house did, and the last words.
//!
//! Nothing is made up: each line says what is in the log, in the words of the log where they are a person's, and names the records
//! ([`Line::seqs`]) on which it stands. It speaks of nothing after [`Summary::to_seq`] (I9), of nothing that is erased or was taken back,
//! and of no value that a plan calls secret. Numbers are masked as everywhere.
//!
//! ```
//! use ark_conversation::{samples, summary};
//! let log = samples::log(samples::story());
//! let summary = summary::of(&log, None);
//! assert!(summary.lines.iter().all(|line| line.seqs.iter().all(|seq| *seq <= summary.to_seq)));
//! ```

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{
    EditOp, Event, GatherOutcome, HttpFinished, HttpOutcome, MessageIn, MessageOut, Part, PartyRole, QueueOutcome,
    Role, TransferEnd, TransferFinished, TransferOutcome,
};
use crate::id::LegId;
use crate::limits::{SUMMARY_LAST, SUMMARY_LINE_CHARS_MAX, SUMMARY_LINES_OF_A_KIND};
use crate::owner::Owner;
use crate::record::Record;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Why they came: how, and their first words.
    Reason,
    /// What they asked since.
    Asked,
    /// What was tried: a plan's named actions, messages that did not arrive.
    Tried,
    /// What a plan learnt: the way that they took, its variables.
    Ivr,
    /// What the house did: queues, owners, transfers, notes, recordings.
    Operation,
    /// The last words of both sides.
    Last,
}

/// The same in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Words {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// What it tells.
    pub kind: Kind,
    /// The line itself.
    pub text: Words,
    /// The records on which it stands, in order.
    pub seqs: Vec<u64>,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// `seq` of the last record that was read.
    pub to_seq: u64,
    /// The lines: first why they came, last the last words.
    pub lines: Vec<Line>,
}

/// The summary of a log, of nothing after `to_seq` (none: all of it). The records are in the order of their `seq`.
#[must_use]
pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>, to_seq: Option<u64>) -> Summary {
    let mut summariser = Summariser::new(to_seq);
    for record in records {
        summariser.read(record);
    }
    summariser.finish()
}

impl Summary {
    /// The lines in one language, as text for people: what goes with a transfer until somebody edits it.
    #[must_use]
    pub fn text(&self, chinese: bool) -> String {
        let mut text = String::new();
        let mut kind = None;
        for line in &self.lines {
            if kind != Some(line.kind) {
                kind = Some(line.kind);
                text.push_str(line.kind.heading(chinese));
                text.push('\n');
            }
            text.push_str("- ");
            text.push_str(if chinese { &line.text.zh } else { &line.text.en });
            text.push('\n');
        }
        text
    }

    /// Whether the customer's own words are Chinese, as far as there are any.
    #[must_use]
    pub fn is_chinese(&self) -> bool {
        self.lines.iter().any(|line| line.text.en.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)))
    }
}

impl Kind {
    /// What stands over its lines.
    #[must_use]
    pub const fn heading(self, chinese: bool) -> &'static str {
        match (self, chinese) {
            (Self::Reason, true) => "来意",
            (Self::Reason, false) => "Why they came",
            (Self::Asked, true) => "问过",
            (Self::Asked, false) => "Asked",
            (Self::Tried, true) => "已尝试",
            (Self::Tried, false) => "Tried",
            (Self::Ivr, true) => "语音菜单",
            (Self::Ivr, false) => "Menu",
            (Self::Operation, true) => "处理经过",
            (Self::Operation, false) => "What was done",
            (Self::Last, true) => "最近对话",
            (Self::Last, false) => "Last words",
        }
    }
}

/// Who said something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Speaker {
    Customer,
    House(String),
    Bot,
}

/// Something that was said, and the records that say so.
#[derive(Clone, Debug)]
struct Said {
    by: Speaker,
    text: String,
    seqs: Vec<u64>,
    /// Source and ids by which an edit finds it.
    source: String,
    ids: [Option<String>; 2],
    /// Of an utterance: its leg and number.
    utterance: Option<(LegId, u32)>,
}

/// Reads a log record by record, with bounded memory, and says what came of it.
#[derive(Debug)]
pub struct Summariser {
    to_seq: Option<u64>,
    last_seq: u64,
    came: Option<Line>,
    /// The first words since the customer last came.
    first: Option<Said>,
    asked: VecDeque<Said>,
    tried: VecDeque<Line>,
    path: Vec<(String, u64)>,
    vars: Vec<(String, Option<String>, u64)>,
    done: VecDeque<Line>,
    last: VecDeque<Said>,
}

impl Summariser {
    /// One that has read nothing, and passes over what is after `to_seq`.
    #[must_use]
    pub fn new(to_seq: Option<u64>) -> Self {
        Self {
            to_seq,
            last_seq: 0,
            came: None,
            first: None,
            asked: VecDeque::new(),
            tried: VecDeque::new(),
            path: Vec::new(),
            vars: Vec::new(),
            done: VecDeque::new(),
            last: VecDeque::new(),
        }
    }

    /// The next record.
    pub fn read(&mut self, record: &Record) {
        if self.to_seq.is_some_and(|to| record.seq > to) {
            return;
        }
        self.last_seq = record.seq;
        let seq = record.seq;
        match &record.event.event {
            Event::MessageIn(message) => self.message_in(record, message),
            Event::MessageOut(message) => self.message_out(record, message),
            Event::Edit(edit) => {
                let by_id = |said: &Said| {
                    said.source == record.event.source && said.ids.iter().flatten().any(|id| *id == edit.message)
                };
                let text = (edit.op == EditOp::Edit).then(|| words_of(&edit.parts)).flatten();
                self.change(by_id, text, seq);
            }
            Event::TranscriptFinal(said) => {
                let by = match said.speaker {
                    Role::Customer => Speaker::Customer,
                    _ => Speaker::House(String::new()),
                };
                self.say(by, said.text.reveal(), record, [None, None], Some((said.leg, said.utterance)));
            }
            Event::TranscriptCorrected(corrected) => {
                let utterance = Some((corrected.leg, corrected.utterance));
                let text = Some(corrected.text.reveal().to_owned());
                self.change(|said| said.utterance == utterance, text, seq);
            }
            event => {
                self.read_call(seq, event);
                self.read_service(seq, event);
            }
        }
    }

    /// What the lines are.
    #[must_use]
    pub fn finish(self) -> Summary {
        let mut lines: Vec<Line> = self.came.into_iter().collect();
        let mut spoken: Vec<u64> = Vec::new();
        if let Some(first) = &self.first {
            spoken.push(first.seqs[0]);
            lines.push(quote(Kind::Reason, first, false));
        }
        let asked = self.asked.iter().filter(|said| !spoken.contains(&said.seqs[0]));
        lines.extend(asked.map(|said| quote(Kind::Asked, said, false)));
        lines.extend(self.tried);
        if !self.path.is_empty() {
            let path: Vec<&str> = self.path.iter().map(|(state, _)| state.as_str()).collect();
            let path = clip(&path.join(" → "));
            let seqs = self.path.iter().map(|(_, seq)| *seq).collect();
            let text = Words { zh: format!("经过：{path}"), en: format!("The way: {path}") };
            lines.push(Line { kind: Kind::Ivr, text, seqs });
        }
        for (var, value, seq) in self.vars {
            let text = match value {
                Some(value) => Words { zh: format!("{var}：{value}"), en: format!("{var}: {value}") },
                None => Words { zh: format!("{var}：已输入（保密）"), en: format!("{var}: given (secret)") },
            };
            lines.push(Line { kind: Kind::Ivr, text, seqs: vec![seq] });
        }
        lines.extend(self.done);
        lines.extend(self.last.iter().map(|said| quote(Kind::Last, said, true)));
        Summary { to_seq: self.last_seq, lines }
    }

    fn message_in(&mut self, record: &Record, message: &MessageIn) {
        if message.sender.role != PartyRole::Customer {
            return;
        }
        let Some(text) = words_of(&message.parts) else { return };
        let ids = [Some(record.event.id.clone()), message.native_id.clone()];
        self.say(Speaker::Customer, &text, record, ids, None);
    }

    fn message_out(&mut self, record: &Record, message: &MessageOut) {
        let Some(text) = words_of(&message.parts) else { return };
        let by = match message.sender.role {
            PartyRole::Agent => Speaker::House(message.sender.id.reveal().to_owned()),
            _ => Speaker::Bot,
        };
        self.say(by, &text, record, [Some(record.event.id.clone()), None], None);
    }

    fn say(
        &mut self,
        by: Speaker,
        text: &str,
        record: &Record,
        ids: [Option<String>; 2],
        utterance: Option<(LegId, u32)>,
    ) {
        if text.trim().is_empty() {
            return;
        }
        // A later reading of the same utterance takes the earlier one's place.
        if utterance.is_some() {
            self.forget(|said| said.utterance == utterance);
        }
        let source = record.event.source.clone();
        let said = Said { by, text: clip(text), seqs: vec![record.seq], source, ids, utterance };
        if said.by == Speaker::Customer {
            if self.first.is_none() {
                self.first = Some(said.clone());
            }
            if is_question(&said.text) {
                push(&mut self.asked, SUMMARY_LINES_OF_A_KIND, said.clone());
            }
        }
        push(&mut self.last, SUMMARY_LAST, said);
    }

    /// What was said is replaced, or taken back.
    fn change(&mut self, is: impl Fn(&Said) -> bool, text: Option<String>, seq: u64) {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return self.forget(is) };
        let all = self.first.iter_mut().chain(&mut self.asked).chain(&mut self.last);
        for said in all.filter(|said| is(said)) {
            said.text = clip(&text);
            said.seqs.push(seq);
        }
    }

    fn forget(&mut self, is: impl Fn(&Said) -> bool) {
        if self.first.as_ref().is_some_and(&is) {
            self.first = None;
        }
        self.asked.retain(|said| !is(said));
        self.last.retain(|said| !is(said));
    }

    /// Calls and what plans do in them.
    fn read_call(&mut self, seq: u64, event: &Event) {
        match event {
            Event::CallRinging(ringing) if ringing.role == Role::Customer => {
                let (from, to) = (ringing.from.to_string(), ringing.to.to_string());
                let text = Words { zh: format!("{from} 打电话到 {to}"), en: format!("A call from {from} to {to}") };
                self.came = Some(Line { kind: Kind::Reason, text, seqs: vec![seq] });
            }
            Event::IvrEntered(entered) => {
                let again = self.path.last().is_some_and(|(state, _)| *state == entered.state);
                if !again && self.path.len() < SUMMARY_LINES_OF_A_KIND * 2 {
                    self.path.push((entered.state.clone(), seq));
                }
            }
            Event::IvrSet(set) if set.var != "lang" => {
                self.learn(&set.var, set.value.as_deref().filter(|_| !set.masked), seq);
            }
            Event::GatherFinished(gathered) if gathered.outcome == GatherOutcome::Complete => {
                self.learn(&gathered.var, gathered.value.as_deref().filter(|_| !gathered.masked), seq);
            }
            Event::HttpFinished(http) => self.try_action(seq, http),
            Event::CallLost(_) => self.did(seq, "通话中断（网关故障）", "The call was lost (a gateway failed)"),
            Event::QueueJoined(joined) => {
                let queue = &joined.queue;
                self.did(seq, format!("进入队列 {queue} 排队"), format!("Waited in queue {queue}"));
            }
            Event::QueueLeft(left) => {
                let (queue, seconds) = (&left.queue, left.waited_ms / 1_000);
                let (zh, en) = match left.outcome {
                    QueueOutcome::Answered => ("已接通", "answered"),
                    QueueOutcome::Abandoned => ("客户放弃", "given up by the customer"),
                    QueueOutcome::Timeout => ("等待超时", "nobody in time"),
                    QueueOutcome::Left => ("客户选择其他方式", "the customer chose another way"),
                    QueueOutcome::Overflow => ("等待太久，转到另一队列", "too long, on to another queue"),
                    QueueOutcome::Failed => ("无人可接", "nobody can answer"),
                    QueueOutcome::Callback => ("等候回电", "to be called back"),
                    QueueOutcome::Unreached => ("回电未接通", "called back, and not reached"),
                };
                self.did(
                    seq,
                    format!("队列 {queue}：等待 {seconds} 秒，{zh}"),
                    format!("Queue {queue}: {seconds} s, {en}"),
                );
            }
            Event::TransferFinished(finished) => self.transferred(seq, finished),
            _ => {}
        }
    }

    /// Owners, sessions, notes and files.
    fn read_service(&mut self, seq: u64, event: &Event) {
        match event {
            Event::SessionOpened(_) => {
                // They came anew: what they say now is why.
                self.first = None;
                self.asked.clear();
            }
            Event::SessionClosed(closed) => {
                let why = closed.disposition.as_deref().unwrap_or(closed.reason.as_str());
                self.did(seq, format!("会话结束：{why}"), format!("Closed: {why}"));
            }
            Event::OwnerAccepted(accepted) => {
                let (zh, en) = owner(&accepted.owner);
                self.did(seq, format!("由{zh}接手"), format!("Taken by {en}"));
            }
            Event::OwnerReleased(released) => {
                let queue = &released.queue;
                self.did(seq, format!("转到队列 {queue}"), format!("Handed to queue {queue}"));
            }
            Event::OwnerDeclined(declined) => {
                let (zh, en) = owner(&declined.by);
                self.did(seq, format!("{zh}未接受"), format!("{en} did not accept"));
            }
            Event::Note(note) => {
                let ((zh, en), text) = (owner(&note.by), clip(note.text.reveal()));
                if !text.trim().is_empty() {
                    self.did(seq, format!("{zh}备注：{text}"), format!("Note by {en}: {text}"));
                }
            }
            Event::LinkJoined(_) => self.did(seq, "客户打开了图片链接", "The customer opened the link for pictures"),
            Event::Receipt(receipt) if receipt.state == crate::event::ReceiptState::Failed => {
                let code = receipt.reason.as_ref().map_or("", |reason| reason.code.as_str());
                let text =
                    Words { zh: format!("消息未送达：{code}"), en: format!("A message did not arrive: {code}") };
                push(&mut self.tried, SUMMARY_LINES_OF_A_KIND, Line { kind: Kind::Tried, text, seqs: vec![seq] });
            }
            _ => {}
        }
    }

    fn learn(&mut self, var: &str, value: Option<&str>, seq: u64) {
        self.vars.retain(|(known, ..)| known != var);
        if self.vars.len() == SUMMARY_LINES_OF_A_KIND * 2 {
            self.vars.remove(0);
        }
        self.vars.push((var.to_owned(), value.map(clip), seq));
    }

    fn try_action(&mut self, seq: u64, http: &HttpFinished) {
        let action = &http.action;
        let (zh, en) = match http.outcome {
            HttpOutcome::Ok => ("成功".to_owned(), "done".to_owned()),
            HttpOutcome::Timeout => ("超时".to_owned(), "no answer in time".to_owned()),
            HttpOutcome::Unusable => ("结果不可用".to_owned(), "an answer that could not be used".to_owned()),
            HttpOutcome::Unreachable => ("无法访问".to_owned(), "not to be reached".to_owned()),
            HttpOutcome::Status => {
                let status = http.status.unwrap_or_default();
                (format!("失败（{status}）"), format!("failed ({status})"))
            }
        };
        let text = Words { zh: format!("操作 {action}：{zh}"), en: format!("Action {action}: {en}") };
        push(&mut self.tried, SUMMARY_LINES_OF_A_KIND, Line { kind: Kind::Tried, text, seqs: vec![seq] });
    }

    fn transferred(&mut self, seq: u64, finished: &TransferFinished) {
        let target = crate::pii::mask_number(&finished.target);
        let (zh, en) = match finished.outcome {
            TransferOutcome::Answered => ("已接通", "answered"),
            TransferOutcome::Busy => ("忙", "busy"),
            TransferOutcome::NoAnswer => ("无人接听", "no answer"),
            TransferOutcome::Rejected => ("拒绝", "refused"),
            TransferOutcome::Failed => ("无法接通", "not to be reached"),
            TransferOutcome::Abandoned => ("客户挂断", "the customer hung up"),
            TransferOutcome::Cancelled => ("已取消", "cancelled"),
            TransferOutcome::Vanished => ("对方离线", "they were gone"),
            TransferOutcome::Queued => ("已排队", "waiting there"),
            TransferOutcome::TooLong => ("咨询超时", "the talk before took too long"),
        };
        let (zh_then, en_then) = match finished.customer {
            Some(TransferEnd::From) => ("，回到原客服", ", back with the agent"),
            Some(TransferEnd::Queue) => ("，回到队列", ", back in the queue"),
            _ => ("", ""),
        };
        self.did(seq, format!("转接 {target}：{zh}{zh_then}"), format!("Transfer to {target}: {en}{en_then}"));
    }

    fn did(&mut self, seq: u64, zh: impl Into<String>, en: impl Into<String>) {
        let text = Words { zh: zh.into(), en: en.into() };
        push(&mut self.done, SUMMARY_LINES_OF_A_KIND, Line { kind: Kind::Operation, text, seqs: vec![seq] });
    }
}

/// A line of what somebody said, with who it was or without.
fn quote(kind: Kind, said: &Said, named: bool) -> Line {
    let text = &said.text;
    let (zh, en) = match &said.by {
        Speaker::Customer => ("客户".to_owned(), "Customer".to_owned()),
        Speaker::House(name) if name.is_empty() => ("客服".to_owned(), "Agent".to_owned()),
        Speaker::House(name) => (name.clone(), name.clone()),
        Speaker::Bot => ("机器人".to_owned(), "Bot".to_owned()),
    };
    let words = if named {
        Words { zh: format!("{zh}：{text}"), en: format!("{en}: {text}") }
    } else {
        Words { zh: format!("“{text}”"), en: format!("“{text}”") }
    };
    Line { kind, text: words, seqs: said.seqs.clone() }
}

fn owner(owner: &Owner) -> (String, String) {
    match owner {
        Owner::Agent(name) => (format!("客服 {name} "), name.clone()),
        Owner::Queue(name) => (format!("队列 {name} "), format!("queue {name}")),
        Owner::Bot(name) => (format!("机器人 {name} "), format!("plan {name}")),
    }
}

/// The words of a message; of a picture and the like, what it is.
fn words_of(parts: &[Part]) -> Option<String> {
    let words = |part: &Part| match part {
        Part::Text { text } => text.reveal().to_owned(),
        Part::Card { fallback_text, .. } | Part::Unsupported { fallback_text, .. } => fallback_text.reveal().to_owned(),
        Part::Image { .. } => "[图片/picture]".to_owned(),
        Part::VoiceNote { .. } => "[语音/voice]".to_owned(),
        Part::File { .. } => "[文件/file]".to_owned(),
        Part::Video { .. } => "[视频/video]".to_owned(),
        Part::Location { .. } => "[位置/location]".to_owned(),
    };
    let text = parts.iter().map(words).collect::<Vec<_>>().join(" ");
    (!text.trim().is_empty()).then_some(text)
}

/// On one line, and no longer than [`SUMMARY_LINE_CHARS_MAX`].
fn clip(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SUMMARY_LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn is_question(text: &str) -> bool {
    const CHINESE: [&str; 14] =
        ["吗", "呢", "怎么", "什么", "为何", "为什么", "如何", "哪", "多少", "几", "能不能", "是否", "可以", "谁"];
    const ENGLISH: [&str; 12] =
        ["how ", "what ", "why ", "when ", "where ", "which ", "who ", "can ", "could ", "do ", "does ", "is "];
    let lower = text.to_lowercase();
    text.contains(['?', '？'])
        || CHINESE.iter().any(|word| text.contains(word))
        || ENGLISH.iter().any(|word| lower.starts_with(word))
}

fn push<T>(list: &mut VecDeque<T>, max: usize, item: T) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests;
