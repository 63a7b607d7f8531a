//! Random words at every kind of prompt: nothing panics, and nothing that is said is lost.

use std::sync::Arc;

use super::Random;
use crate::event::{Do, Heard};
use crate::plan::Plan;
use crate::run::{Caller, Phase};
use crate::speech::{Confidence, Speech, grammar};
use crate::verb::Role;
use crate::world::World;

/// What callers say whatever the plan is.
pub(super) const USUAL: &[&str] = &[
    "",
    "找人工",
    "转人工服务，谢谢",
    "agent please",
    "人工智能",
    "是的",
    "不对",
    "yes",
    "no no",
    "是不是",
    "再说一遍",
    "pardon",
    "English please",
    "说中文",
    "一",
    "按二",
    "three",
    "0",
    "*",
    "一二三四",
    "double five 12",
    "二零二六一零零一",
    "1 2 for 5",
    "不对，是1234",
    "呃",
    "今天天气怎么样",
    "I have no idea what this is about",
    "\u{1f600}\u{200d}\u{301}",
];

const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "said"
entry = "hello"
[rules]
human_target = "to_agent"
[speech]
person = ["值班经理"]
[prompts]
hello = { zh = "您好，人工请按0。", en = "Hello. For a person, press 0." }
main = { zh = "查询订单请按1，投诉请按2。", en = "Orders 1, complaints 2." }
number = { zh = "请说订单号。", en = "Your order number, please." }
right = { zh = "{order}，对吗？", en = "{order}, right?" }
bye = { zh = "再见", en = "Goodbye" }
[state.hello]
do = "say"
prompt = "hello"
next = "main"
[state.main]
do = "menu"
prompt = "main"
keys = { 1 = "number", 2 = "to_agent", 3 = "pin", 4 = "main" }
phrases = { 1 = ["查询订单", "orders"], 2 = ["投诉", "complaint"], 3 = ["@yes", "密码", "password"], 4 = "@no" }
on_timeout = "to_agent"
[state.number]
do = "gather"
prompt = "number"
min = 4
max = 12
into = "order"
confirm = "right"
next = "bye"
on_timeout = "to_agent"
[state.pin]
do = "gather"
prompt = "number"
max = 6
min = 6
into = "pin"
secret = true
next = "bye"
on_timeout = "to_agent"
[state.to_agent]
do = "queue"
queue = "general"
keys = { 1 = "bye" }
phrases = { 1 = ["留言", "leave a message"] }
on_timeout = "bye"
[state.bye]
do = "hangup"
prompt = "bye"
"#;

/// Anything said or typed, anywhere: no panic; what is said where an answer is awaited ends in a way, in a question back, in more
/// digits or in a strike; and nothing is heard twice.
///
/// # Panics
/// When that does not hold; the message holds the seed.
#[doc(hidden)]
pub fn said(seed: u64, iterations: u64) {
    let plan = Arc::new(Plan::parse(PLAN, "said.toml").expect("this plan is a constant: a test reads it"));
    for n in 0..iterations {
        let seed = seed.wrapping_add(n);
        let mut random = Random::new(seed);
        let wall = jiff::Timestamp::UNIX_EPOCH;
        let mut world = World::call(&plan, &Caller::default(), wall);
        for _ in 0..12 {
            if world.ended() || world.with_a_person() {
                break;
            }
            if random.below(3) == 0 {
                world.prompt_ends();
            }
            let text = text(&mut random);
            let speech = Speech::new(&text, Confidence::FULL);
            let _ = (grammar::digits(&speech), grammar::yes_or_no(&speech), grammar::key(&speech));
            one(&mut world, &mut random, &text, seed);
        }
    }
}

/// Says one thing, and looks what came of it.
fn one(world: &mut World, random: &mut Random, text: &str, seed: u64) {
    let id = world.core.listening.as_ref().map(|listening| listening.listen.id);
    let typed = id.is_none() || random.below(4) == 0;
    if let (Some(id), true) = (id, random.below(2) == 0) {
        world.hear(&Heard::SpeechStarted { id });
    }
    let percent = u8::try_from(random.below(101)).unwrap_or(100);
    let confidence = if typed { Confidence::FULL } else { Confidence::percent(percent) };
    let (state, role) = (world.core.state.clone(), world.core.role());
    world.take();
    world.hear(&Heard::Said { id: if typed { None } else { id }, text: text.to_owned(), confidence });
    let did = world.take();
    if role != Role::Asking {
        return;
    }
    let way = *state != *world.core.state || world.ended();
    let strike = did.iter().any(|one| matches!(one, Do::Strike { .. }));
    let said_again = did.iter().any(|one| matches!(one, Do::Play { .. }));
    let asked_back = world.core.phase() == Phase::Confirming && said_again;
    let more = did.is_empty() && world.core.deadline().is_some();
    let language = did.iter().any(|one| matches!(one, Do::Set { name, .. } if &**name == "lang")) && said_again;
    assert!(
        way || strike || asked_back || more || language || world.core.phase() == Phase::Listening,
        "seed {seed}: {text:?} in {state} came to nothing: {did:?}"
    );
    assert!(!world.stuck(), "seed {seed}: {text:?} in {state}: nothing will ever happen again");
    assert!(did.len() < 40, "seed {seed}: {text:?} asked for {} things", did.len());
}

fn text(random: &mut Random) -> String {
    let signs: Vec<char> = "一二三四五六七八九零幺两订单查询投诉人工转找是不对错密码留言腰0123456789 ,。！abcdefghijklmnoprstuvwxyz*#ＡＢ１２\u{301}\u{1f600}"
        .chars()
        .collect();
    let mut text = String::new();
    for _ in 0..=random.below(3) {
        match random.below(4) {
            0 => {
                for _ in 0..random.below(40) {
                    text.extend(random.pick(&signs));
                }
            }
            1 if random.below(50) == 0 => text.push_str(&"单订".repeat(2_000)),
            1 => text.extend(char::from_u32(u32::try_from(random.below(0x11_0000)).unwrap_or(0))),
            _ => text.push_str(random.pick(USUAL).unwrap_or_default()),
        }
    }
    text
}
