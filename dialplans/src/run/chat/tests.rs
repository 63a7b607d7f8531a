use super::*;

const PLAN: &str = include_str!("../../../plans/hotline-95188.toml");

fn at(seconds: i64) -> Timestamp {
    // A Tuesday morning in Shanghai.
    Timestamp::from_second(1_772_503_200 + seconds).unwrap()
}

fn plan(text: &str) -> Arc<Plan> {
    Arc::new(Plan::parse(text, "plan.toml").unwrap_or_else(|found| panic!("{found:?}")))
}

fn said(text: &str) -> ChatHeard {
    ChatHeard::Said { text: text.to_owned(), file: false }
}

fn keys(out: &ChatOut) -> String {
    out.choices.iter().map(|choice| choice.key).collect()
}

fn states(out: &ChatOut) -> Vec<&str> {
    let entered = out.did.iter().filter_map(|one| match one {
        Do::Entered { state, .. } => Some(state.as_ref()),
        _ => None,
    });
    entered.collect()
}

fn chinese() -> Caller {
    Caller { lang: Some(Lang::Zh), ..Caller::default() }
}

/// As another process does it: written down and read again between any two steps.
fn moved(run: &ChatRun) -> ChatRun {
    ChatRun::restore(Arc::clone(&run.core.plan), &run.save()).unwrap()
}

const SHOP: &str = r#"
schema = "ark.dialplan/1"
name = "shop"
entry = "main"
[rules]
human_target = "people"
[prompts]
main = { zh = "您好。订单请按1，退货请按2，人工请按0。", en = "Hello. Press 1 for orders, 2 for returns, 0 for a person.", chat = { zh = "您好！请选择：", en = "Hello! Please choose:" } }
wrong = { zh = "没有这个选项。", en = "That is not an option." }
number = { zh = "请输入订单号，人工请按0。", en = "Your order number, please, or 0 for a person." }
read = { zh = "{order}，对吗？人工请按0。", en = "{order}, is that right? 0 for a person." }
done = { zh = "已收到，再见。", en = "Thank you, goodbye." }
hold = { zh = "请稍候。", en = "One moment." }
place = { zh = "您前面有{ahead}位，等待{wait}。留言请按1。", en = "{ahead} before you, {wait}. Press 1 to leave a message." }
nobody = { zh = "现在没有人。请留言。", en = "Nobody is free. Leave a message." }
photo = { zh = "请发照片，人工请按0。", en = "Send a photo, or 0 for a person." }
[state.main]
do = "menu"
prompt = "main"
invalid = "wrong"
keys = { 1 = "number", 2 = "photo" }
on_timeout = "people"
[state.number]
do = "gather"
label = { zh = "查订单", en = "My order" }
prompt = "number"
min = 4
max = 8
into = "order"
confirm = "read"
next = "ask"
on_timeout = "people"
[state.ask]
do = "http"
action = "order"
next = "bye"
on_failed = "people"
[actions.order]
url = "https://shop.example/order"
send = ["order"]
timeout = "2s"
[state.photo]
do = "link"
label = { zh = "退货", en = "A return" }
send = ["sms"]
prompt = "photo"
next = "people"
on_timeout = "people"
on_failed = "people"
[state.people]
do = "queue"
queue = "general"
priority = 3
greeting = "hold"
prompt = "place"
longer = "hold"
keys = { 1 = "message" }
max_wait = "10m"
on_timeout = "message"
[state.message]
do = "record"
label = { zh = "留言", en = "Leave a message" }
prompt = "nobody"
next = "bye"
[state.bye]
do = "hangup"
prompt = "done"
"#;

#[test]
fn the_shipped_hotline_is_a_chat_with_buttons_and_reaches_a_person() {
    let (run, out) = ChatRun::start(plan(PLAN), &chinese(), at(0), &said("你好"));
    assert_eq!(run.state(), "language");
    assert!(out.text.starts_with("您好，这里是方舟客服热线"), "{}", out.text);
    assert_eq!(keys(&out), "120");
    let mut run = moved(&run);
    let out = run.step(at(60), &said("１"));
    assert_eq!((run.state(), keys(&out).as_str()), ("main", "1230"));
    assert!(out.text.contains("账户问题请按1"), "{}", out.text);
    let mut run = moved(&run);
    let out = run.step(at(61), &said("转人工"));
    assert_eq!(run.waits_in(), Some(("general", 0)));
    assert_eq!(out.text, "正在为您转接人工，请稍候。");
    let out = run.step(at(61), &ChatHeard::Place { position: 3, wait: None });
    assert!(out.text.starts_with("您前面还有2位，预计等待"), "{}", out.text);
    assert_eq!(keys(&out), "12");
}

#[test]
fn words_of_a_button_are_its_key_and_an_entry_is_taken_whole() {
    let (run, out) =
        ChatRun::start(plan(SHOP), &Caller { lang: Some(Lang::En), ..Caller::default() }, at(0), &said("hi"));
    assert_eq!(out.text, "Hello! Please choose:");
    let labels: Vec<&str> = out.choices.iter().map(|choice| choice.label.as_str()).collect();
    assert_eq!(labels, ["My order", "A return", "Talk to a person"]);
    let mut run = moved(&run);
    assert_eq!(run.step(at(5), &said("my order!")).text, "Your order number, please, or 0 for a person.");
    let mut run = moved(&run);
    let out = run.step(at(6), &said("it is 12"));
    assert!(matches!(&out.did[..], [Do::Strike { count: 1, .. }, Do::Write { .. }]), "too short: {out:?}");
    let out = run.step(at(7), &said("0123-45"));
    assert_eq!((out.text.as_str(), keys(&out).as_str()), ("012345, is that right? 0 for a person.", "120"));
    let mut run = moved(&run);
    let out = run.step(at(8), &said("That is right"));
    assert_eq!(out.asks.len(), 1);
    assert_eq!(out.asks[0].vars["order"], "012345");
    assert_eq!(run.deadline(), Some(at(10)), "the action's own time");
    assert_eq!(moved(&run).step(at(9), &said("hello?")), ChatOut::default());
    let mut late = moved(&run);
    late.step(at(10), &ChatHeard::Clock);
    assert_eq!(late.state(), "people");
    let id = out.asks[0].id;
    let out = run.step(at(9), &ChatHeard::Http { id, result: Ok(BTreeMap::new()) });
    assert_eq!((out.text.as_str(), run.ended()), ("Thank you, goodbye.", Some(EndReason::Completed)));
    assert!(!run.is_for_a_person());
}

#[test]
fn who_knows_what_they_want_is_taken_there_at_once() {
    let start = |first: &ChatHeard| ChatRun::start(plan(SHOP), &chinese(), at(0), first);
    let (run, out) = start(&said("转人工"));
    assert_eq!((run.waits_in(), out.text.as_str()), (Some(("general", 3)), "请稍候。"));
    assert_eq!(start(&ChatHeard::Person).0.state(), "people");
    let (run, out) = start(&said("查订单"));
    assert_eq!((run.state(), out.text.as_str()), ("number", "请输入订单号，人工请按0。"));
    let (run, out) = start(&said("我的包裹坏了"));
    assert_eq!((run.state(), out.text.as_str()), ("main", "您好！请选择："), "a greeting is no wrong key");
    assert_eq!(start(&ChatHeard::Came).0.state(), "main");
    let speaks = SHOP.replace(
        "on_timeout = \"people\"\n[state.number]",
        "phrases = { 1 = [\"查快递\", \"where is my parcel\"] }\non_timeout = \"people\"\n[state.number]",
    );
    let (run, _) = ChatRun::start(plan(&speaks), &chinese(), at(0), &said("帮我查快递"));
    assert_eq!(run.state(), "number", "by the plan's phrases");
}

#[test]
fn what_means_nothing_three_times_leads_to_a_person() {
    let (mut run, _) = ChatRun::start(plan(SHOP), &chinese(), at(0), &said("hi"));
    for n in 1..=2 {
        let out = run.step(at(n), &said("我的包裹坏了"));
        assert_eq!(out.text, "没有这个选项。\n您好！请选择：");
        run = moved(&run);
    }
    let out = run.step(at(3), &said("???"));
    assert_eq!((run.waits_in(), states(&out)), (Some(("general", 3)), vec!["people"]));
}

#[test]
fn a_silent_customer_has_left_and_nothing_is_said_to_them() {
    let (run, _) = ChatRun::start(plan(SHOP), &chinese(), at(0), &said("hi"));
    let mut run = moved(&run);
    let idle = i64::try_from(limits::CHAT_IDLE.as_secs()).unwrap();
    assert_eq!(run.deadline(), Some(at(idle)));
    assert_eq!(run.step(at(idle - 1), &ChatHeard::Clock), ChatOut::default());
    assert_eq!(run.ended(), None);
    assert_eq!(run.step(at(idle), &ChatHeard::Clock).text, "");
    assert_eq!((run.ended(), run.is_for_a_person()), (Some(EndReason::Caller), false));
}

#[test]
fn who_waits_may_leave_a_message_and_stays_for_a_person() {
    let (mut run, _) = ChatRun::start(plan(SHOP), &chinese(), at(0), &ChatHeard::Person);
    run.step(at(0), &ChatHeard::Place { position: 1, wait: None });
    let mut run = moved(&run);
    assert_eq!(run.step(at(3), &said("快一点")), ChatOut::default(), "that is for the person");
    assert_eq!(run.waits_in(), Some(("general", 3)));
    let mut waits = moved(&run);
    assert_eq!(waits.deadline(), Some(at(600)));
    let out = waits.step(at(600), &ChatHeard::Clock);
    assert_eq!((out.text.as_str(), waits.state(), waits.waits_in()), ("现在没有人。请留言。", "message", None));
    let out = run.step(at(4), &said("留言"));
    assert_eq!((run.state(), out.choices.len()), ("message", 0));
    let mut run = moved(&run);
    let out = run.step(at(5), &said("请给我回电"));
    assert_eq!((out.text.as_str(), run.ended()), ("已收到，再见。", Some(EndReason::Completed)));
    assert!(run.is_for_a_person());
    assert_eq!(run.last_queue(), Some("general"));
}

#[test]
fn a_picture_is_sent_right_here() {
    let (mut run, _) = ChatRun::start(plan(SHOP), &chinese(), at(0), &said("hi"));
    let out = run.step(at(1), &said("2"));
    assert_eq!((out.text.as_str(), keys(&out).as_str()), ("请发照片，人工请按0。", "0"));
    let mut run = moved(&run);
    assert_eq!(run.step(at(2), &said("等一下")), ChatOut::default());
    run.step(at(3), &ChatHeard::Said { text: String::new(), file: true });
    assert_eq!(run.state(), "people");
}

#[test]
fn a_plan_that_calls_a_telephone_or_asks_for_a_secret_is_no_chat() {
    assert!(unfit_for_chat(&plan(PLAN)).is_empty());
    let text = SHOP.replace("confirm = \"read\"", "secret = true");
    let found = unfit_for_chat(&plan(&text));
    assert_eq!((found.len(), found[0].code), (1, "E030"));
    let text = SHOP.to_owned()
        + "[state.boss]\ndo = \"transfer\"\ntarget = \"boss\"\non_timeout = \"people\"\n[targets.boss]\nto = \"+8675512345678\"\n";
    let site = crate::Site { chat: true, ..crate::Site::default() };
    let found = crate::check(&plan(&text), &crate::EstimateOnly, &site);
    assert!(found.iter().any(|one| one.code == "E030" && one.message.en.contains("boss")), "{found:?}");
}

/// Whatever is written, in whatever order, and however often the process changes: no chat gets stuck, and each ends or is
/// with a person.
#[test]
fn random_chats_never_get_stuck() {
    let words = ["1", "2", "0", "9", "转人工", "12345", "hello", "", "*", "正确", "留言", "#"];
    let plans = [plan(PLAN), plan(SHOP)];
    for seed in 0..2_000_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % n as u64).unwrap()
        };
        let plan = Arc::clone(&plans[next(2)]);
        let (mut run, _) = ChatRun::start(plan, &chinese(), at(0), &said(words[next(words.len())]));
        for second in 1..40 {
            if run.ended().is_some() {
                break;
            }
            assert!(run.deadline().is_some(), "seed {seed}: nothing will ever happen in {}", run.state());
            run = moved(&run);
            let now = at(second * 20);
            match next(8) {
                0 => run.step(now, &ChatHeard::Clock),
                1 => run.step(now, &ChatHeard::Person),
                2 => run.step(now, &ChatHeard::Place { position: 2, wait: None }),
                3 => run.step(now, &ChatHeard::Said { text: String::new(), file: true }),
                _ => run.step(now, &said(words[next(words.len())])),
            };
        }
    }
}

#[test]
fn a_callback_is_a_button_and_needs_a_number_that_is_for_sure_theirs() {
    let waits = |number: &str| {
        let caller = Caller { number: number.to_owned(), ..chinese() };
        let (mut run, _) = ChatRun::start(plan(PLAN), &caller, at(0), &ChatHeard::Person);
        let out = run.step(at(1), &ChatHeard::Place { position: 2, wait: Some(Duration::from_secs(60)) });
        (run, out)
    };
    let (mut run, out) = waits("13800138001");
    assert!(out.choices.iter().any(|choice| choice.label == "Call me back"), "{out:?}");
    let out = run.step(at(2), &said("call me back"));
    assert_eq!(
        out.callback.as_ref().map(|(queue, number)| (&**queue, number.as_str())),
        Some(("general", "13800138001"))
    );
    assert!(out.text.contains("We will call you") && run.ended() == Some(EndReason::Completed), "{out:?}");
    assert!(run.is_for_a_person() && run.last_queue() == Some("general"), "they wait there until they are called");

    let (mut run, _) = waits("");
    let out = moved(&run).step(at(2), &said("2"));
    assert_eq!(out.callback, None);
    assert_eq!(states(&run.step(at(2), &said("2"))), ["call_back", "leave_message"]);
}

#[test]
fn a_chat_that_waits_too_long_goes_the_plans_way_and_says_what_it_needs() {
    let text = SHOP.replace(
        "max_wait = \"10m\"",
        "max_wait = \"10m\"\non_overflow = \"message\"\nskills = [\"refund 3\", \"orders\"]",
    );
    let english = Caller { lang: Some(Lang::En), ..Caller::default() };
    let (run, _) = ChatRun::start(plan(&text), &english, at(0), &ChatHeard::Person);
    let mut run = moved(&run);
    assert_eq!((run.waits_in(), run.takes_overflow()), (Some(("general", 3)), true));
    let skills: Vec<(&str, u8)> = run.needs().skills.iter().map(|(skill, level)| (skill.as_str(), *level)).collect();
    assert_eq!((skills, run.needs().lang.as_deref()), (vec![("orders", 1), ("refund", 3)], Some("en")));
    run.step(at(120), &ChatHeard::Overflow);
    assert_eq!((run.state(), run.waits_in()), ("message", None));
    let (mut plain, _) = ChatRun::start(plan(SHOP), &english, at(0), &ChatHeard::Person);
    assert!(!plain.takes_overflow());
    plain.step(at(120), &ChatHeard::Overflow);
    assert_eq!(plain.waits_in(), Some(("general", 3)), "without a way of its own it waits on");
}
