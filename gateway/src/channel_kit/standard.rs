//! The checks by name: one for each MUST of ADAPTERS.md.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ark_conversation::schema::ADAPTERS;
use serde::Serialize;

use super::{Checked, Kit, checks};

/// How deep a test goes; each level has all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    /// Manifest and health.
    L0,
    /// The contract with the gateway.
    L1,
    /// The truth about the channel.
    L2,
    /// Kills.
    L3,
    /// Load.
    L4,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        })
    }
}

/// The language of what is said to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// 中文.
    Zh,
}

impl Lang {
    /// Of the two words, English and Chinese, the one that fits.
    #[must_use]
    pub const fn of(self, [en, zh]: [&str; 2]) -> &str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

type Run = for<'a> fn(&'a Kit) -> Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;

/// One check: a MUST of the standard.
pub struct Check {
    /// The MUST that it proves: `A-SIG-1`.
    pub id: &'static str,
    /// From which level on it is made.
    pub level: Level,
    /// What it proves, English and Chinese.
    pub title: [&'static str; 2],
    /// What to do when it fails.
    pub advice: [&'static str; 2],
    pub(super) run: Run,
}

/// The check of this name.
#[must_use]
pub fn check(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

/// Every id in brackets of the standard, in its order.
#[must_use]
pub fn ids() -> Vec<&'static str> {
    let plain = |id: &str| id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    let id = |(at, _)| Some(ADAPTERS.get(at + 1..)?.split_once(']')?.0).filter(|id| plain(id));
    ADAPTERS.match_indices("[A-").filter_map(id).collect()
}

/// The sentence of the standard that a check proves: from the id before it, or the paragraph's beginning, to its own.
#[must_use]
pub fn must(id: &str) -> String {
    let Some((before, _)) = ADAPTERS.split_once(&format!("[{id}]")) else { return String::new() };
    let paragraph = before.rsplit("\n\n").next().unwrap_or_default();
    let sentence = match paragraph.rfind("[A-") {
        Some(at) => paragraph[at..].split_once(']').map_or("", |(_, rest)| rest),
        None => paragraph,
    };
    let words = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    words.trim_start_matches([',', ';', ':', '.', ' ']).to_owned()
}

/// Every check, in the order in which they are made.
pub const CHECKS: &[Check] = &[
    Check {
        id: "A-MAN-1",
        level: Level::L0,
        title: ["the manifest fits its schema", "清单符合其模式"],
        advice: [
            "serve the JSON of section 3 at /.well-known/ark-adapter, without asking for a signature",
            "在 /.well-known/ark-adapter 提供第 3 节的 JSON，不要求签名",
        ],
        run: |kit| Box::pin(checks::contract::manifest(kit)),
    },
    Check {
        id: "A-MAN-2",
        level: Level::L0,
        title: ["the manifest is true", "清单属实"],
        advice: [
            "set transport.mode to http, and keep ids for dedup.outbound_key_ttl_s, a day at least",
            "transport.mode 写 http；消息 id 至少保存一天（dedup.outbound_key_ttl_s）",
        ],
        run: |kit| Box::pin(checks::contract::true_manifest(kit)),
    },
    Check {
        id: "A-HEALTH-1",
        level: Level::L0,
        title: ["it says that it is well", "健康检查正常"],
        advice: ["answer GET /ark/v1/health with 200 while all is well", "一切正常时 GET /ark/v1/health 回答 200"],
        run: |kit| Box::pin(checks::contract::health(kit)),
    },
    Check {
        id: "A-TEST-1",
        level: Level::L0,
        title: ["test hooks only in tests", "测试钩子仅在测试时存在"],
        advice: [
            "offer the hooks and name them in `testing` only when ARK_TESTING=1",
            "仅当 ARK_TESTING=1 时提供钩子并写入 `testing`",
        ],
        run: |kit| Box::pin(checks::contract::hooks_only_in_tests(kit)),
    },
    Check {
        id: "A-SIG-1",
        level: Level::L1,
        title: ["unsigned and changed requests are refused", "拒绝无签名或被改动的请求"],
        advice: [
            "verify webhook-signature over id.timestamp.body, the raw bytes, before anything else; answer 401",
            "先对原始字节 id.timestamp.body 验签，再做别的；不对则回答 401",
        ],
        run: |kit| Box::pin(checks::contract::unsigned_is_refused(kit)),
    },
    Check {
        id: "A-SIG-2",
        level: Level::L1,
        title: ["old requests are refused", "拒绝过期的请求"],
        advice: [
            "compare webhook-timestamp with the clock: more than 300 s away, either way, is 401",
            "比较 webhook-timestamp 与时钟：前后相差超过 300 秒即回答 401",
        ],
        run: |kit| Box::pin(checks::contract::old_is_refused(kit)),
    },
    Check {
        id: "A-SIG-3",
        level: Level::L1,
        title: ["two secrets and lists of signatures", "两个密钥与签名列表"],
        advice: [
            "try each `v1,` entry with each live secret; pass over other versions",
            "用每个有效密钥核对每个 `v1,` 条目；其他版本跳过",
        ],
        run: |kit| Box::pin(checks::contract::two_secrets(kit)),
    },
    Check {
        id: "A-ANS-1",
        level: Level::L1,
        title: ["a result for each event", "逐条给出结果"],
        advice: [
            "answer {\"results\": [{\"id\", \"status\"}]}, one for each event, in order",
            "按顺序逐条回答 {\"results\": [{\"id\", \"status\"}]}",
        ],
        run: |kit| Box::pin(checks::contract::results(kit)),
    },
    Check {
        id: "A-ID-2",
        level: Level::L1,
        title: ["copies from the gateway are known", "识别网关的重复消息"],
        advice: [
            "keep ids with a unique key in the transaction that takes the message; answer `duplicate`",
            "在收下消息的同一事务里以唯一键记下 id；重复的回答 `duplicate`",
        ],
        run: |kit| Box::pin(checks::contract::copies_out(kit)),
    },
    Check {
        id: "A-EVT-2",
        level: Level::L1,
        title: ["what is not known is passed over", "忽略不认识的内容"],
        advice: [
            "read the fields that you know; answer an unknown type `rejected`, code `type`",
            "只读认识的字段；不认识的类型回答 `rejected`，code 为 `type`",
        ],
        run: |kit| Box::pin(checks::contract::unknown_is_passed_over(kit)),
    },
    Check {
        id: "A-BODY-1",
        level: Level::L1,
        title: ["garbage gets a 4xx", "乱码请求得到 4xx"],
        advice: [
            "catch what the parser throws and answer 400: a 5xx would bring it again",
            "捕获解析错误并回答 400；5xx 会让它再来一次",
        ],
        run: |kit| Box::pin(checks::contract::garbage(kit)),
    },
    Check {
        id: "A-BODY-2",
        level: Level::L1,
        title: ["long bodies are refused", "拒绝过长的请求"],
        advice: [
            "look at content-length and count while reading: over 1 MiB answer 413",
            "看 content-length 并边读边数：超过 1 MiB 回答 413",
        ],
        run: |kit| Box::pin(checks::contract::oversize(kit)),
    },
    Check {
        id: "A-PART-3",
        level: Level::L1,
        title: ["messages out are whole", "发出的消息完整"],
        advice: [
            "carry every part in order; answer `rejected`, code `parts`, for one that the manifest does not name",
            "按顺序传递每个部分；清单没有的部分回答 `rejected`，code 为 `parts`",
        ],
        run: |kit| Box::pin(checks::contract::parts_out(kit)),
    },
    Check {
        id: "A-ID-1",
        level: Level::L1,
        title: ["the same message, the same id", "同一消息同一 id"],
        advice: [
            "make the event's id of the channel's message id, never of a counter or the time",
            "事件 id 由渠道的消息 id 得来，不用计数器或时间",
        ],
        run: |kit| Box::pin(checks::inbound::same_id(kit)),
    },
    Check {
        id: "A-SRC-1",
        level: Level::L1,
        title: ["the source is its own", "来源是自己的"],
        advice: [
            "/ark/main/http/{account}/{thread}, the thread escaped with %XX in UTF-8",
            "/ark/main/http/{account}/{thread}，会话名以 UTF-8 的 %XX 转义",
        ],
        run: |kit| Box::pin(checks::inbound::source(kit)),
    },
    Check {
        id: "A-PART-1",
        level: Level::L1,
        title: ["nothing is dropped", "什么都不丢"],
        advice: [
            "send an `unsupported` part with native_type and fallback_text",
            "发一个 `unsupported` 部分，带 native_type 与 fallback_text",
        ],
        run: |kit| Box::pin(checks::inbound::nothing_is_dropped(kit)),
    },
    Check {
        id: "A-PART-2",
        level: Level::L1,
        title: ["words as they are", "文字原样"],
        advice: [
            "UTF-8 from end to end, no trimming; cut text at 20,000 characters into several parts",
            "全程 UTF-8，不修剪；超过 20,000 字分成多个部分",
        ],
        run: |kit| Box::pin(checks::inbound::words_as_they_are(kit)),
    },
    Check {
        id: "A-IDN-1",
        level: Level::L1,
        title: ["no invented assurance", "不虚报可信度"],
        advice: [
            "say `asserted` unless the channel itself has verified the key",
            "除非渠道自己核实过，否则只说 `asserted`",
        ],
        run: |kit| Box::pin(checks::inbound::assurance(kit)),
    },
    Check {
        id: "A-WIN-1",
        level: Level::L1,
        title: ["the reply window is told", "告知回复时限"],
        advice: [
            "put `window` with replies_left and closes_at into each message",
            "每条消息带 `window`：replies_left 与 closes_at",
        ],
        run: |kit| Box::pin(checks::inbound::window(kit)),
    },
    Check {
        id: "A-SIG-4",
        level: Level::L1,
        title: ["each try is signed anew", "每次尝试重新签名"],
        advice: ["make timestamp and signature when sending, not when storing", "发送时（而非存储时）生成时间戳与签名"],
        run: |kit| Box::pin(checks::inbound::signs_each_try(kit)),
    },
    Check {
        id: "A-DUR-1",
        level: Level::L1,
        title: ["what is acknowledged is kept", "应答过的都保住"],
        advice: ["write to the disk first, answer the channel after", "先落盘，再应答渠道"],
        run: |kit| Box::pin(checks::inbound::kept_while_away(kit)),
    },
    Check {
        id: "A-ORD-1",
        level: Level::L1,
        title: ["customers' order holds", "客户消息保持顺序"],
        advice: ["one event of a thread under way at a time", "同一会话同时只发一条"],
        run: |kit| Box::pin(checks::inbound::order_in(kit)),
    },
    Check {
        id: "A-BACK-1",
        level: Level::L1,
        title: ["Retry-After is kept", "遵守 Retry-After"],
        advice: ["wait as many seconds as the header says, at least", "至少等待该头所说的秒数"],
        run: |kit| Box::pin(checks::inbound::retry_after(kit)),
    },
    Check {
        id: "A-BACK-2",
        level: Level::L1,
        title: ["what has no 200 goes again", "没有 200 的再发"],
        advice: [
            "only a 200 that could be read ends it; anything else is tried again under the same id",
            "只有读得懂的 200 才算完；其余都以同一 id 再发",
        ],
        run: |kit| Box::pin(checks::inbound::sends_again(kit)),
    },
    Check {
        id: "A-REJ-1",
        level: Level::L1,
        title: ["rejected is for good", "被拒绝即作罢"],
        advice: ["drop (and log) what is `rejected`, then go on", "丢下（并记录）`rejected` 的，继续后面的"],
        run: |kit| Box::pin(checks::inbound::rejected_for_good(kit)),
    },
    Check {
        id: "A-EVT-1",
        level: Level::L1,
        title: ["events fit their schemas", "事件符合模式"],
        advice: [
            "compare the event with schemas/; the gateway's `message` says which field",
            "对照 schemas/；网关的 `message` 指出字段",
        ],
        run: |kit| Box::pin(checks::inbound::valid_events(kit)),
    },
    Check {
        id: "A-ORD-2",
        level: Level::L2,
        title: ["the house's order holds", "发往客户的顺序不变"],
        advice: ["keep the head of a thread until the channel took it", "渠道收下之前，会话的头一条不让位"],
        run: |kit| Box::pin(checks::truth::order_out(kit)),
    },
    Check {
        id: "A-ORD-3",
        level: Level::L2,
        title: ["threads do not wait for each other", "会话之间互不等待"],
        advice: ["pick the oldest message of any thread that is not waiting", "从不在等待的会话里取最早的一条"],
        run: |kit| Box::pin(checks::truth::threads_do_not_wait(kit)),
    },
    Check {
        id: "A-RATE-1",
        level: Level::L2,
        title: ["the channel's pace is kept", "遵守渠道的节奏"],
        advice: ["wait as long as the channel's 429 says, then send", "等够渠道 429 所说的时间再发"],
        run: |kit| Box::pin(checks::truth::channel_retry_after(kit)),
    },
    Check {
        id: "A-RCP-1",
        level: Level::L2,
        title: ["`sent` is told", "告知 `sent`"],
        advice: [
            "bring an ark.receipt.v1 with state sent and message = the id",
            "带上 ark.receipt.v1，state 为 sent，message 为该 id",
        ],
        run: |kit| Box::pin(checks::truth::sent_is_told(kit)),
    },
    Check {
        id: "A-RCP-2",
        level: Level::L2,
        title: ["failures are told", "告知失败"],
        advice: [
            "bring a receipt `failed` with reason.code, then go on with the next",
            "带上 `failed` 回执与 reason.code，然后继续下一条",
        ],
        run: |kit| Box::pin(checks::truth::failed_is_told(kit)),
    },
    Check {
        id: "A-UNK-1",
        level: Level::L2,
        title: ["an unknown outcome is told, not repeated", "结果未知要告知，不得重发"],
        advice: [
            "note that a send began before it begins; without an answer say outcome_unknown",
            "发送前先记下“已开始”；没有答复就报 outcome_unknown",
        ],
        run: |kit| Box::pin(checks::truth::unknown_outcome(kit)),
    },
    Check {
        id: "A-MED-1",
        level: Level::L2,
        title: ["customers' files come whole", "客户的文件完整"],
        advice: [
            "POST the bytes to ark/v1/media and put the answer into the part",
            "把字节 POST 到 ark/v1/media，把回答放进该部分",
        ],
        run: |kit| Box::pin(checks::truth::files_in(kit)),
    },
    Check {
        id: "A-MED-2",
        level: Level::L2,
        title: ["the house's files arrive whole", "发出的文件完整"],
        advice: ["GET ark/v1/media/{id}, signed over an empty body", "GET ark/v1/media/{id}，对空内容签名"],
        run: |kit| Box::pin(checks::truth::files_out(kit)),
    },
    Check {
        id: "A-CRASH-3",
        level: Level::L3,
        title: ["ids survive a kill", "id 在强杀后仍在"],
        advice: ["keep ids on the disk, with the message", "id 与消息一起落盘"],
        run: |kit| Box::pin(checks::crash::ids_survive(kit)),
    },
    Check {
        id: "A-CRASH-1",
        level: Level::L3,
        title: ["kills lose and double nothing, inbound", "强杀不丢不重：来信"],
        advice: [
            "fsync (SQLite: synchronous = full) before the 2xx; delete after the gateway's 200",
            "回答 2xx 前 fsync（SQLite：synchronous = full）；网关 200 之后才删",
        ],
        run: |kit| Box::pin(checks::crash::inbound(kit)),
    },
    Check {
        id: "A-CRASH-2",
        level: Level::L3,
        title: ["kills lose and double nothing, outbound", "强杀不丢不重：去信"],
        advice: [
            "note the send before it begins: after a kill in between it is outcome_unknown",
            "发送前先记下；其间被杀则为 outcome_unknown",
        ],
        run: |kit| Box::pin(checks::crash::outbound(kit)),
    },
    Check {
        id: "A-LOAD-1",
        level: Level::L4,
        title: ["nothing is lost under load", "重载下不丢不重"],
        advice: ["look for queues without a bound, and answers before the disk", "检查无界队列，以及先答后写"],
        run: |kit| Box::pin(checks::soak::load(kit)),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_must_has_its_check_and_every_check_its_must() {
        let named: Vec<&str> = ids();
        let unique: BTreeSet<&str> = named.iter().copied().collect();
        assert_eq!(named.len(), unique.len(), "an id stands twice in ADAPTERS.md");
        let checks: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(checks.len(), CHECKS.len(), "a check stands twice");
        assert_eq!(unique, checks);
    }

    #[test]
    fn no_must_stands_without_an_id_behind_it() {
        // Up to the end of the standard each MUST is followed by an id before its paragraph ends.
        let (_, text) = ADAPTERS.split_once("## 1.").unwrap();
        for paragraph in text.split("\n\n") {
            let last_must = paragraph.rfind("MUST");
            let last_id = paragraph.rfind("[A-");
            assert!(last_must.is_none() || last_id > last_must, "no id behind the last MUST of: {paragraph}");
            for (at, _) in paragraph.match_indices("[A-") {
                let before = &paragraph[..at];
                let from = before.rfind("[A-").unwrap_or(0);
                assert!(before[from..].contains("MUST"), "an id without a MUST before it in: {paragraph}");
            }
        }
        let standard = include_str!("../../../channels/conversation/STANDARD.md");
        assert!(!standard.contains("MUST"), "what adapters must do stands in ADAPTERS.md, with its id");
    }

    #[test]
    fn a_check_says_its_sentence() {
        assert!(must("A-SIG-2").contains("more than 5 minutes"), "{}", must("A-SIG-2"));
        for check in CHECKS {
            assert!(must(check.id).contains("MUST"), "{}: {}", check.id, must(check.id));
        }
    }
}
