//! What is said and typed, one sentence each.

use super::*;
use crate::speech::{Confidence, Expects, Listen};

const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "t"
entry = "welcome"
[rules]
human_target = "to_agent"
[speech]
hangover = "700ms"
person = ["值班经理"]
[prompts]
welcome = { zh = "您好", en = "Hello" }
terms = { zh = "通话会录音", en = "This call is recorded" }
main = { zh = "一或二", en = "One or two" }
wrong = { zh = "没听懂", en = "Not understood" }
number = { zh = "请说订单号", en = "Your order number" }
readback = { zh = "{order},对吗", en = "{order}, right?" }
message = { zh = "请留言", en = "Leave a message" }
[actions.lookup]
url = "https://example.com/orders"
[state.welcome]
do = "say"
prompt = "welcome"
next = "terms"
[state.terms]
do = "say"
prompt = "terms"
barge_in = false
next = "main"
[state.main]
do = "menu"
prompt = "main"
invalid = "wrong"
keys = { 1 = "order", 2 = "pin", 3 = "mail", 4 = "card", 5 = "ask", 6 = "again" }
phrases = { 1 = ["查询订单", "my orders"], 2 = ["修改密码", "password"], 3 = ["留言", "message"] }
timeout = "4s"
on_timeout = "mail"
[state.again]
do = "menu"
prompt = "main"
keys = { 1 = "order", 2 = "main" }
phrases = { 1 = "@yes", 2 = "@no" }
speech = { barge_in = false, accept = 90 }
on_timeout = "mail"
[state.order]
do = "gather"
prompt = "number"
invalid = "wrong"
min = 4
max = 8
into = "order"
confirm = "readback"
speech = { hangover = "1200ms" }
next = "mail"
on_timeout = "main"
[state.card]
do = "gather"
prompt = "number"
min = 4
max = 8
into = "card"
next = "mail"
on_timeout = "main"
[state.pin]
do = "gather"
prompt = "number"
min = 4
max = 8
into = "pin"
secret = true
next = "mail"
on_timeout = "main"
[state.ask]
do = "http"
action = "lookup"
next = "mail"
on_failed = "to_agent"
[state.to_agent]
do = "queue"
queue = "general"
keys = { 1 = "mail" }
phrases = { 1 = ["留言", "leave a message"] }
on_timeout = "mail"
[state.mail]
do = "record"
prompt = "message"
next = "bye"
[state.bye]
do = "hangup"
"#;

fn call() -> Phone {
    Phone::call_plan(PLAN, "13900000000")
}

/// A caller in the menu, whose prompt plays.
fn at_the_menu() -> Phone {
    let mut phone = call();
    phone.played().played();
    assert_eq!(phone.state(), "main");
    phone
}

impl Phone {
    fn ear(&self) -> Listen {
        self.core.listening.clone().expect("the plan listens").listen
    }

    fn say_at(&mut self, text: &str, percent: u8) -> &mut Self {
        let id = self.ear().id;
        self.hear(Heard::SpeechStarted { id });
        let confidence = Confidence::percent(percent);
        self.hear(Heard::Said { id: Some(id), text: text.to_owned(), confidence })
    }

    fn say(&mut self, text: &str) -> &mut Self {
        self.say_at(text, 95)
    }

    fn type_text(&mut self, text: &str) -> &mut Self {
        self.hear(Heard::Said { id: None, text: text.to_owned(), confidence: Confidence::FULL })
    }

    fn struck(&self) -> Option<u32> {
        self.last.iter().find_map(|one| match one {
            Do::Strike { count, .. } => Some(*count),
            _ => None,
        })
    }
}

#[test]
fn what_is_said_takes_the_way_that_it_means() {
    for (text, state) in [
        ("我想查询一下订单", "order"),
        ("修改密码", "pin"),
        ("PASSWORD, please", "pin"),
        ("一", "order"),
        ("按三", "mail"),
        ("two", "pin"),
        ("找人工", "to_agent"),
        ("值班经理", "to_agent"),
        ("零", "to_agent"),
    ] {
        assert_eq!(at_the_menu().say(text).state(), state, "said {text}");
        assert_eq!(at_the_menu().type_text(text).state(), state, "typed {text}");
    }
}

#[test]
fn a_plan_says_how_it_wants_to_listen() {
    let phone = at_the_menu();
    let ear = phone.ear();
    assert_eq!((ear.lang, ear.others.as_slice(), ear.expects), (Lang::Zh, &[Lang::En][..], Expects::Choice));
    assert_eq!((ear.barge_in, ear.secret), (true, false));
    assert_eq!(ear.endpointing.hangover, Duration::from_millis(700));
    assert_eq!(ear.hints.first().map(|hint| &**hint), Some("查询订单"));
    assert!(ear.hints.iter().any(|hint| &**hint == "转人工"));
    let order = at_the_menu().key('1').ear();
    assert_eq!(order.expects, Expects::Digits { min: 4, max: 8 });
    assert_eq!(order.endpointing.hangover, Duration::from_millis(1200));
    assert!(at_the_menu().key('2').ear().secret);
    let again = at_the_menu().key('6').ear();
    assert!(!again.barge_in && again.hints.iter().any(|hint| &**hint == "是的"));
    // What is said during the welcome counts in the menu behind it, so its phrases are expected.
    assert!(call().ear().hints.iter().any(|hint| &**hint == "查询订单"));
}

#[test]
fn each_question_has_an_ear_of_its_own_and_the_call_ends_without_one() {
    let mut phone = call();
    let mut current: Option<u64> = None;
    let mut last = 0;
    let mut follow = |all: &[Do]| {
        for one in all {
            match one {
                Do::Listen(listen) => {
                    assert!(listen.id > last, "ids count up");
                    last = listen.id;
                    current = Some(listen.id);
                }
                Do::StopListen { id } => assert_eq!(current.take(), Some(*id)),
                Do::Hangup { .. } => assert_eq!(current, None, "nobody listens when the call is over"),
                _ => {}
            }
        }
        current
    };
    follow(&phone.last);
    let steps: [fn(&mut Phone); 6] = [
        |phone| {
            phone.played();
        },
        |phone| {
            phone.played();
        },
        |phone| {
            phone.say_at("查询订单", 50);
        },
        |phone| {
            phone.say("是");
        },
        |phone| {
            phone.say("找人工");
        },
        |phone| {
            phone.say("留言");
        },
    ];
    let mut ears = std::collections::BTreeSet::new();
    for step in steps {
        step(&mut phone);
        ears.extend(follow(&phone.last));
    }
    assert_eq!(phone.state(), "mail");
    assert!(ears.len() >= 6, "{ears:?}");
    assert_eq!(phone.ear().expects, Expects::Person);
    phone.played();
    assert_eq!(follow(&phone.last), None, "a message is a message, whatever is said in it");
    phone.hear(Heard::Hangup);
    follow(&phone.last);
}

#[test]
fn speech_cuts_the_prompt_and_stops_the_clock_of_silence() {
    let mut phone = at_the_menu();
    let id = phone.ear().id;
    phone.hear(Heard::SpeechStarted { id });
    assert!(phone.did(|one| matches!(one, Do::StopPlay { .. })));
    assert_eq!(phone.core.next_timer(), Some(Timer::Speech));
    // Nothing ever comes of it: a strike, and the question again.
    phone.wait();
    assert_eq!((phone.struck(), phone.said().as_str()), (Some(1), "没听懂 一或二"));
    // After the prompt, too; and where speech cuts nothing, silence is still not measured while somebody speaks.
    phone.played();
    phone.hear(Heard::SpeechStarted { id });
    assert_eq!(phone.core.next_timer(), Some(Timer::Speech));
    phone.key('6');
    let id = phone.ear().id;
    phone.hear(Heard::SpeechStarted { id });
    assert!(!phone.did(|one| matches!(one, Do::StopPlay { .. })));
    phone.played();
    assert_eq!(phone.core.next_timer(), Some(Timer::Speech));
}

#[test]
fn what_was_said_to_an_earlier_question_does_not_count() {
    let mut phone = at_the_menu();
    let id = phone.ear().id;
    phone.hear(Heard::SpeechStarted { id }).key('1');
    phone.hear(Heard::Said { id: Some(id), text: "找人工".to_owned(), confidence: Confidence::FULL });
    assert_eq!(phone.state(), "order");
    assert!(phone.last.is_empty(), "{:?}", phone.last);
    phone.hear(Heard::SpeechStarted { id });
    assert!(phone.last.is_empty());
}

#[test]
fn what_was_heard_badly_is_asked_back_once() {
    let mut phone = at_the_menu();
    phone.say_at("查询订单", 55);
    assert_eq!((phone.state(), phone.struck()), ("main", None));
    assert_eq!(phone.said(), "您是说“查询订单”吗？请回答是或不是。");
    assert_eq!(phone.ear().expects, Expects::YesNo);
    assert_eq!(phone.say("是的").state(), "order");

    let mut phone = at_the_menu();
    phone.say_at("查询订单", 55).say("不是");
    assert_eq!((phone.state(), phone.struck()), ("main", Some(1)));
    // Another way, said well, is taken in place of a yes.
    phone.say_at("查询订单", 55);
    assert_eq!(phone.say("修改密码").state(), "pin");

    let mut phone = at_the_menu();
    phone.say_at("查询订单", 55).say_at("查询订单", 55);
    assert_eq!(phone.struck(), Some(1), "a second doubt in a row is a strike");
    phone.say_at("查询订单", 55).played().wait();
    assert_eq!(phone.struck(), Some(2), "and so is silence after the question");
    assert_eq!(phone.said(), "一或二");
    // A person is not asked back.
    assert_eq!(at_the_menu().say_at("转人工", 45).state(), "to_agent");
    // The key of a way without a phrase in that language is named by its number.
    assert_eq!(at_the_menu().say_at("四", 50).said(), "您是说“四”吗？请回答是或不是。");
}

#[test]
fn speech_and_keys_share_the_strikes() {
    let mut phone = at_the_menu();
    phone.say("今天天气怎么样");
    assert_eq!((phone.struck(), phone.said().as_str()), (Some(1), "没听懂 一或二"));
    phone.key('9');
    assert_eq!(phone.struck(), Some(2));
    phone.say("");
    assert!(phone.did(|one| *one == Do::PersonSought { by: Sought::Strikes }));
    assert_eq!(phone.state(), "to_agent");
    let mut phone = at_the_menu();
    phone.say("再说一遍");
    assert!(phone.did(|one| *one == Do::Strike { count: 1, cause: StrikeCause::Repeat }));
    phone.say("九");
    assert_eq!(phone.struck(), Some(2), "a key that means nothing here, said");
    phone.say("查询订单").say("天气");
    assert_eq!(phone.struck(), Some(1), "what was understood clears them");
}

#[test]
fn words_for_a_person_work_at_every_prompt() {
    for path in ["", "p", "pp", "pp1", "pp2", "pp3", "pp5", "pp6", "pp14242#"] {
        let mut phone = call();
        for step in path.chars() {
            if step == 'p' {
                phone.played()
            } else {
                phone.key(step)
            };
        }
        phone.say("我要找人工客服");
        assert_eq!(phone.state(), "to_agent", "after {path:?}");
        assert!(phone.did(|one| *one == Do::PersonSought { by: Sought::Speech }), "after {path:?}");
        assert!(phone.say("人工").last.is_empty(), "on the way: nothing happens twice");
    }
}

#[test]
fn what_is_said_during_a_prompt_counts_in_the_menu_behind_it() {
    let mut phone = call();
    let id = phone.ear().id;
    phone.hear(Heard::SpeechStarted { id });
    assert!(phone.did(|one| matches!(one, Do::StopPlay { .. })));
    phone.hear(Heard::Said { id: Some(id), text: "修改密码".to_owned(), confidence: Confidence::percent(95) });
    assert_eq!(phone.state(), "terms", "this one is not cut off, and what was said before it is not kept");
    phone.say("修改密码");
    assert_eq!(phone.state(), "terms");
    phone.played();
    // A cough during the welcome: the call goes on.
    let mut phone = call();
    assert_eq!(phone.say("").state(), "terms");
    let mut phone = call();
    let id = phone.ear().id;
    phone.hear(Heard::SpeechStarted { id }).wait();
    assert_eq!(phone.state(), "terms");
    let straight = PLAN.replacen("next = \"terms\"", "next = \"main\"", 1);
    let mut phone = Phone::call_plan(&straight, "1");
    assert_eq!(phone.say("修改密码").state(), "pin");
}

#[test]
fn digits_are_said_in_groups_and_read_back() {
    let mut phone = at_the_menu();
    phone.key('1').say("二零").say("double six");
    assert_eq!(phone.state(), "order");
    // No more come within the gap.
    assert_eq!(phone.core.next_timer(), Some(Timer::Digit));
    phone.wait();
    assert_eq!(phone.said(), "二 零 六 六 | 对吗");
    phone.say("不对，是12345678");
    assert_eq!(phone.said(), "幺 二 三 四 | 五 六 七 八 | 对吗");
    phone.say("没错");
    assert!(phone.did(|one| matches!(one, Do::Gathered { value, .. } if value == "12345678")));
    assert_eq!(phone.state(), "mail");
    // Keys and speech, mixed; no, then again.
    let mut phone = at_the_menu();
    phone.key('1').key('4').key('2').say("四二").wait();
    assert_eq!(phone.said(), "四 二 四 二 | 对吗");
    phone.say("不是");
    assert_eq!((phone.struck(), phone.said().as_str()), (Some(1), "请说订单号"));
    // Too few, too many, none.
    phone.say("一二").wait();
    assert_eq!((phone.struck(), phone.said().as_str()), (Some(2), "没听懂 请说订单号"));
    phone.say("123456789");
    assert_eq!(phone.state(), "to_agent");
    // Typed digits are complete.
    let mut phone = at_the_menu();
    phone.key('1').type_text("２０２６");
    assert_eq!(phone.said(), "二 零 二 六 | 对吗");
    assert_eq!(phone.type_text("1").state(), "mail");
    // No digits at all.
    let mut phone = at_the_menu();
    assert_eq!(phone.key('1').say("我不知道").struck(), Some(1));
    assert_eq!(phone.say("转人工").state(), "to_agent");
}

#[test]
fn digits_with_a_doubt_are_read_back_although_the_plan_has_no_readback() {
    let mut phone = at_the_menu();
    assert_eq!(phone.key('4').say("12345678").state(), "mail", "without a doubt they are taken");
    let mut phone = at_the_menu();
    phone.key('4').say_at("12345678", 60);
    assert_eq!(phone.said(), "您说的是 幺 二 三 四 | 五 六 七 八 | 对吗？对请说是或按1，不对请说不是或按2。");
    assert_eq!(phone.key('1').state(), "mail");
    let mut phone = at_the_menu();
    phone.key('4').say("大概是 1234 5678").say("不对");
    assert_eq!((phone.state(), phone.said().as_str()), ("card", "请说订单号"));
    assert_eq!(phone.say("12345678").state(), "mail", "the doubt is gone");
    // A secret is taken without a doubt or not at all, and never read back.
    let mut phone = at_the_menu();
    assert_eq!(phone.key('2').say_at("12345678", 60).struck(), Some(1));
    assert_eq!(phone.said(), "请说订单号");
    phone.say("12345678");
    assert!(phone.did(|one| matches!(one, Do::Gathered { value, .. } if value == "********")));
}

#[test]
fn another_language_is_chosen_by_asking_for_it() {
    let mut phone = at_the_menu();
    phone.say("English please");
    assert_eq!((phone.state(), phone.said().as_str(), phone.struck()), ("main", "One or two", None));
    assert_eq!(phone.ear().lang, Lang::En);
    assert_eq!(phone.ear().hints.first().map(|hint| &**hint), Some("my orders"));
    assert_eq!(phone.say("English").struck(), Some(1), "it is spoken already");
    phone.key('1').say("说中文");
    assert_eq!((phone.state(), phone.said().as_str()), ("order", "请说订单号"));
    let only = PLAN.replacen("[speech]", "[speech]\n", 1).replacen("entry =", "languages = [\"zh\"]\nentry =", 1);
    let mut phone = Phone::call_plan(&only, "1");
    phone.played().played();
    assert_eq!(phone.say("English please").struck(), Some(1), "the plan does not speak it");
}

#[test]
fn yes_and_no_stand_for_keys_where_the_plan_says_so() {
    for (text, state) in [("是的", "order"), ("不用了", "main"), ("yes please", "order"), ("一", "order")] {
        assert_eq!(at_the_menu().key('6').say(text).state(), state, "{text}");
    }
    let mut phone = at_the_menu();
    phone.key('6').say_at("是的", 80);
    assert_eq!(phone.said(), "您是说“一”吗？请回答是或不是。", "this menu wants to be surer");
}

#[test]
fn waiting_callers_are_understood_when_sure_and_never_struck() {
    let mut phone = at_the_menu();
    phone.say("人工");
    assert_eq!(phone.ear().expects, Expects::Choice);
    for noise in ["", "天气", "喂喂", "123"] {
        phone.say(noise);
        assert!(phone.last.is_empty(), "{noise}: {:?}", phone.last);
    }
    assert!(phone.say_at("留言", 50).last.is_empty());
    assert_eq!(phone.say("我要留言").state(), "mail");
}

#[test]
fn a_plan_without_speech_asks_for_no_ear_and_understands_what_is_typed() {
    let deaf = PLAN.replacen("[speech]", "[speech]\non = false", 1);
    let mut phone = Phone::call_plan(&deaf, "1");
    phone.played().played();
    assert!(phone.core.listening.is_none());
    assert_eq!(phone.type_text("找人工").state(), "to_agent");
    let mut phone = Phone::call();
    assert!(phone.core.listening.is_none() && !phone.did(|one| matches!(one, Do::Listen(_))));
    phone.played().type_text("2");
    assert!(phone.did(|one| matches!(one, Do::Set { value, .. } if value == "en")), "{:?}", phone.last);
    assert_eq!(phone.type_text("agent").state(), "to_agent");
    let state = PLAN.replacen("[speech]", "[speech]\non = true", 1).replacen("timeout = \"4s\"", "speech = false", 1);
    let mut phone = Phone::call_plan(&state, "1");
    phone.played().played();
    assert!(phone.core.listening.is_none() && phone.did(|one| matches!(one, Do::StopListen { .. })));
}
