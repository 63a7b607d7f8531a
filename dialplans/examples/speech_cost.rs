//! What it costs to understand what was said: `cargo run --release -p ark-dialplans --example speech_cost`.
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use ark_dialplans::{Caller, Confidence, Heard, Now, Plan, Run};

const SIGNS: &str = "账户查询订单投诉物流快递发货密码登录退款换货发票地址电话会员积分优惠券支付余额充值提现维修安装预约门店配送保修价格库存";
const WORDS: [&str; 16] = [
    "order", "parcel", "refund", "invoice", "address", "member", "points", "coupon", "payment", "balance", "repair",
    "delivery", "store", "price", "warranty", "booking",
];

/// A plan whose menu has that many phrases for each of ten keys.
fn plan(per_key: usize) -> Arc<Plan> {
    let signs: Vec<char> = SIGNS.chars().collect();
    let mut seed = 1_u64;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % n
    };
    let mut phrases = String::new();
    for key in 1..=9 {
        let _ = write!(phrases, "{key} = [");
        for n in 0..per_key {
            let text: String = match n % 3 {
                0 => [WORDS[below(16)], WORDS[below(16)], WORDS[below(16)]].join(" "),
                _ => (0..3 + below(5)).map(|_| signs[below(signs.len())]).collect(),
            };
            let _ = write!(phrases, "\"{text}\", ");
        }
        phrases.push_str("]\n");
    }
    let keys: Vec<String> = (1..=9).map(|key| format!("{key} = \"bye\"")).collect();
    let text = format!(
        "schema = \"ark.dialplan/1\"\nname = \"cost\"\nentry = \"main\"\n[rules]\nhuman_target = \"bye\"\n[prompts]\nmain = {{ zh = \"请说\" }}\n\
         [state.main]\ndo = \"menu\"\nprompt = \"main\"\nkeys = {{ {} }}\non_timeout = \"bye\"\n[state.main.phrases]\n{phrases}\n\
         [state.bye]\ndo = \"hangup\"\n",
        keys.join(", ")
    );
    Arc::new(Plan::parse(&text, "cost.toml").expect("the plan is made above"))
}

fn main() {
    let said = [
        "请问我想查询一下我的订单",
        "转人工",
        "I'd like a refund for my last delivery please",
        "昨天晚上八点左右我在商场三楼买了一台电视机回家发现屏幕坏掉所以打来问退款怎么办理",
        "今天天气怎么样",
        "the quick brown fox jumps over the lazy dog and then it asks for a booking of a table",
    ];
    for per_key in [10, 100, 1_000] {
        let begin = Instant::now();
        let plan = plan(per_key);
        let read = begin.elapsed();
        let mut times: Vec<u128> = Vec::new();
        for round in 0..50 {
            for text in said {
                let now = Now { mono: Instant::now(), wall: jiff::Timestamp::UNIX_EPOCH };
                let (mut run, _) = Run::start(Arc::clone(&plan), &Caller::default(), now);
                let heard = Heard::Said { id: None, text: text.to_owned(), confidence: Confidence::FULL };
                let begin = Instant::now();
                let did = run.step(now, &heard);
                if round > 0 {
                    times.push(begin.elapsed().as_nanos());
                }
                std::hint::black_box(did);
            }
        }
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100] as f64 / 1_000.0;
        println!(
            "{:>5} phrases: an utterance is understood in {:8.1} us (median), {:8.1} us (slowest); the plan is read in {:.1} ms",
            per_key * 9,
            at(50),
            at(100),
            read.as_secs_f64() * 1_000.0
        );
    }
}
