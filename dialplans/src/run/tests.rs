//! The engine's rules, one sentence each.

mod consent;
mod speech;

use super::*;
use crate::event::{Failure, LinkNews, Piece, StrikeCause};

const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "t"
entry = "welcome"
[rules]
human_target = "to_agent"
[prompts]
welcome = { zh = "您好", en = "Hello" }
main = { zh = "一或二", en = "One or two" }
wrong = { zh = "按错了", en = "Wrong key" }
number = { zh = "请输入", en = "Enter" }
readback = { zh = "您输入了{order},对吗", en = "{order}, right?" }
place = { zh = "前面{ahead}位,{wait}", en = "{position}, {wait}" }
sorry = { zh = "抱歉", en = "Sorry" }
message = { zh = "请留言", en = "Leave a message" }
bye = { zh = "再见" }
[targets.desk]
to = "+8675512345678"
[actions.lookup]
url = "https://example.com/orders"
send = ["order", "caller"]
save = ["status"]
timeout = "2s"
[lists.elders]
numbers = ["13800138000"]
[calendar.office]
open = ["mon-fri 09:00-18:00"]
[state.welcome]
do = "say"
prompt = "welcome"
next = "main"
[state.main]
do = "menu"
prompt = "main"
invalid = "wrong"
keys = { 1 = "order", 2 = "english", 3 = "desk", 4 = "office", 5 = "vip", 6 = "mail" }
timeout = "4s"
on_timeout = "mail"
retries = 1
[state.english]
do = "set"
vars = { lang = "en" }
next = "main"
[state.office]
do = "hours"
calendar = "office"
open = "to_agent"
closed = "mail"
[state.vip]
do = "direct"
list = "elders"
to = "to_agent"
else = "main"
[state.order]
do = "gather"
prompt = "number"
min = 2
max = 6
into = "order"
confirm = "readback"
next = "ask"
on_timeout = "main"
[state.ask]
do = "http"
action = "lookup"
next = "told"
on_failed = "to_agent"
[state.told]
do = "branch"
on = "status"
cases = { shipped = "bye" }
else = "main"
[state.to_agent]
do = "queue"
queue = "general"
prompt = "place"
longer = "sorry"
every = "30s"
max_wait = "2m"
keys = { 1 = "mail", 2 = "hear" }
on_timeout = "mail"
[state.hear]
do = "say"
prompt = "welcome"
next = "to_agent"
[state.desk]
do = "transfer"
target = "desk"
timeout = "20s"
answered = "bye"
on_timeout = "to_agent"
[state.mail]
do = "record"
prompt = "message"
next = "bye"
[state.bye]
do = "hangup"
prompt = "bye"
"#;

struct Phone {
    core: Core,
    now: Tick,
    last: Vec<Do>,
}

impl Phone {
    fn call() -> Self {
        Self::call_plan(PLAN, "13900000000")
    }

    fn call_plan(text: &str, number: &str) -> Self {
        let plan = Arc::new(
            Plan::parse(text, "t.toml").unwrap_or_else(|all| panic!("{}", crate::render_human(&all, Lang::En))),
        );
        let now = Tick { at: Duration::ZERO, wall: "2026-09-21T02:00:00Z".parse().unwrap() };
        let caller = Caller { number: number.to_owned(), dialled: "95188".to_owned(), lang: None };
        let (core, last) = Core::start(plan, &caller, now);
        Self { core, now, last }
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better at the call sites")]
    fn hear(&mut self, heard: Heard) -> &mut Self {
        self.last = self.core.step(self.now, &heard);
        self
    }

    fn key(&mut self, key: char) -> &mut Self {
        self.hear(Heard::Key(key))
    }

    /// The prompt ends by itself.
    fn played(&mut self) -> &mut Self {
        let id = self.core.playing().expect("a prompt plays");
        self.hear(Heard::PlayFinished { id })
    }

    /// Waits for the next deadline.
    fn wait(&mut self) -> &mut Self {
        self.now.at = self.core.deadline().expect("a deadline");
        self.hear(Heard::Clock)
    }

    fn job(&self) -> u64 {
        self.core.job.expect("a job").id()
    }

    fn state(&self) -> &str {
        &self.core.state
    }

    /// What the last step said, as text.
    fn said(&self) -> String {
        let play = self.last.iter().rev().find_map(|d| match d {
            Do::Play { pieces, .. } => Some(pieces),
            _ => None,
        });
        let words = play.into_iter().flatten().map(|piece| match piece {
            Piece::Text { text, .. } | Piece::Word { text, .. } => text.to_string(),
            Piece::Pause(_) => "|".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn did(&self, wanted: impl Fn(&Do) -> bool) -> bool {
        self.last.iter().any(wanted)
    }
}

#[test]
fn a_call_is_answered_first_and_hears_the_entry() {
    let phone = Phone::call();
    assert_eq!(phone.last[0], Do::Answer);
    assert_eq!(phone.said(), "您好");
}

#[test]
fn the_human_key_works_at_every_prompt() {
    for path in ["", "p", "p2", "p1", "p123#", "p6", "p6p", "p123#p1"] {
        let mut phone = Phone::call();
        for step in path.chars() {
            if step == 'p' {
                phone.played()
            } else {
                phone.key(step)
            };
        }
        phone.key('0');
        // In the HTTP state the key is the same; everywhere it leads to the queue.
        assert_eq!(phone.state(), "to_agent", "after {path:?}");
        assert!(phone.did(|d| *d == Do::PersonSought { by: Sought::Key }), "after {path:?}");
        // Already on the way: nothing happens twice.
        let again = phone.key('0');
        assert!(again.last.is_empty(), "after {path:?}: {:?}", again.last);
    }
}

#[test]
fn a_key_during_say_counts_in_the_menu_behind_it() {
    let mut phone = Phone::call();
    phone.key('6');
    assert_eq!(phone.state(), "mail");
}

#[test]
fn silence_no_match_and_repeat_share_one_counter_and_the_third_is_a_person() {
    let mut phone = Phone::call();
    phone.played().played().wait();
    assert!(phone.did(|d| *d == Do::Strike { count: 1, cause: StrikeCause::Silence }));
    assert_eq!(phone.said(), "一或二");
    phone.key('9');
    assert!(phone.did(|d| *d == Do::Strike { count: 2, cause: StrikeCause::NoMatch }));
    assert_eq!(phone.said(), "按错了 一或二");
    phone.key('*');
    assert!(phone.did(|d| *d == Do::PersonSought { by: Sought::Strikes }));
    assert_eq!(phone.state(), "to_agent");
}

#[test]
fn an_accepted_key_clears_the_strikes() {
    let mut phone = Phone::call();
    phone.played().key('9').key('9').key('2').key('9').key('9');
    assert_eq!(phone.state(), "main");
    phone.key('9');
    assert_eq!(phone.state(), "to_agent");
}

#[test]
fn strikes_that_led_back_to_the_caller_take_the_states_own_way_out() {
    let closed = PLAN.replace("human_target = \"to_agent\"", "human_target = \"main\"");
    let mut phone = Phone::call_plan(&closed, "1");
    phone.played().key('9').key('9').key('9');
    assert_eq!(phone.state(), "main");
    phone.key('9').key('9').key('9');
    assert_eq!(phone.state(), "mail");
}

#[test]
fn a_silent_caller_is_asked_again_and_then_sent_on() {
    let mut phone = Phone::call();
    phone.played().played().wait().played().wait();
    assert_eq!(phone.state(), "mail");
}

#[test]
fn digits_are_gathered_read_back_and_kept() {
    let mut phone = Phone::call();
    phone.key('1').key('1').key('0').key('#');
    assert_eq!(phone.said(), "您输入了 一 零 | 对吗");
    phone.key('2');
    assert_eq!(phone.said(), "请输入");
    phone.key('4').key('2').key('#').key('1');
    assert!(phone.did(|d| matches!(d, Do::Gathered { value, .. } if value == "42")));
    let vars = phone.last.iter().find_map(|d| match d {
        Do::Http { vars, .. } => Some(vars.clone()),
        _ => None,
    });
    assert_eq!(vars.unwrap().get("order").map(String::as_str), Some("42"));
}

#[test]
fn too_few_digits_cost_a_strike_and_the_pause_between_digits_ends_an_entry() {
    let mut phone = Phone::call();
    phone.key('1').key('7').key('#');
    assert!(phone.did(|d| *d == Do::Strike { count: 1, cause: StrikeCause::NoMatch }));
    phone.key('7').key('8').wait();
    assert!(phone.said().starts_with("您输入了"));
    phone.key('1');
    assert_eq!(phone.state(), "ask");
}

#[test]
fn an_http_action_that_fails_or_is_late_goes_its_named_way() {
    let to_ask = |phone: &mut Phone| {
        phone.key('1').key('4').key('2').key('#').key('1');
        assert_eq!(phone.state(), "ask");
    };
    let mut late = Phone::call();
    to_ask(&mut late);
    late.wait();
    assert_eq!((late.state(), late.now.at), ("to_agent", Duration::from_secs(2)));
    let mut failed = Phone::call();
    to_ask(&mut failed);
    let id = failed.job();
    failed.hear(Heard::HttpResult { id, result: Err("502".to_owned()) });
    assert_eq!(failed.state(), "to_agent");
    let mut fine = Phone::call();
    to_ask(&mut fine);
    let id = fine.job();
    let values = BTreeMap::from([("status".to_owned(), "shipped".to_owned()), ("secret".to_owned(), "x".to_owned())]);
    fine.hear(Heard::HttpResult { id, result: Ok(values) });
    assert_eq!(fine.state(), "bye");
    assert!(!fine.did(|d| matches!(d, Do::Set { name, .. } if &**name == "secret")));
    fine.hear(Heard::HttpResult { id, result: Err("doubled".to_owned()) });
    assert!(fine.last.is_empty());
}

#[test]
fn a_queue_announces_the_place_and_says_when_the_wait_has_grown() {
    let mut phone = Phone::call();
    phone.key('0');
    assert_eq!(phone.said(), "");
    let id = phone.job();
    let place = |position, seconds| Heard::QueueUpdate { id, position, wait: Some(Duration::from_secs(seconds)) };
    phone.hear(place(3, 130));
    assert_eq!(phone.said(), "前面 两 位, 约 两 到 三 分钟");
    phone.played().hear(place(3, 400));
    assert_eq!(phone.said(), "", "not before its time");
    phone.wait();
    assert_eq!(phone.now.at, Duration::from_secs(30));
    assert_eq!(phone.said(), "抱歉 前面 两 位, 约 六 到 七 分钟");
    phone.played().wait();
    assert_eq!(phone.said(), "前面 两 位, 约 六 到 七 分钟");
}

#[test]
fn whoever_waits_too_long_goes_the_named_way() {
    let mut phone = Phone::call();
    phone.key('0').wait();
    assert_eq!((phone.state(), phone.now.at), ("mail", Duration::from_secs(120)));
    assert!(phone.did(|d| matches!(d, Do::LeaveQueue { .. })));
    let mut nobody = Phone::call();
    nobody.key('0');
    let id = nobody.job();
    nobody.hear(Heard::Failed { id, failure: Failure::Unavailable });
    assert_eq!(nobody.state(), "mail");
}

#[test]
fn who_waits_again_after_a_talk_waits_for_what_was_left() {
    let mut phone = Phone::call();
    phone.key('0');
    let id = phone.job();
    phone.now.at = Duration::from_secs(50);
    phone.hear(Heard::Answered { id });
    phone.now.at = Duration::from_secs(500);
    phone.hear(Heard::WaitsAgain { id, anew: false });
    assert_eq!((phone.core.phase(), phone.core.job), (Phase::Working, Some(Job::Queue(id))));
    assert!(phone.core.timers.contains(&(Timer::MaxWait, Duration::from_secs(570))), "{:?}", phone.core.timers);
    phone.hear(Heard::Answered { id });
    phone.now.at = Duration::from_secs(600);
    phone.hear(Heard::WaitsAgain { id, anew: true });
    assert!(phone.core.timers.contains(&(Timer::MaxWait, Duration::from_secs(720))), "all of it in another line");
    phone.hear(Heard::WaitsAgain { id: id + 1, anew: true });
    assert_eq!(phone.state(), "to_agent");
}

#[test]
fn the_place_in_a_queue_is_kept_while_the_caller_listens_to_something_else() {
    let mut phone = Phone::call();
    phone.key('0');
    let id = phone.job();
    phone.key('2');
    assert_eq!(phone.state(), "hear");
    assert!(!phone.did(|d| matches!(d, Do::LeaveQueue { .. })));
    phone.now.at = Duration::from_secs(50);
    phone.played();
    assert_eq!(phone.state(), "to_agent");
    assert!(!phone.did(|d| matches!(d, Do::Queue { .. })), "the same place, not a new one");
    assert_eq!(phone.job(), id);
    assert_eq!(phone.core.deadline(), Some(Duration::from_secs(120)), "the wait goes on from when it began");
    // A person answers while the caller is elsewhere: they talk.
    phone.key('2').hear(Heard::Answered { id });
    assert_eq!((phone.state(), phone.core.phase()), ("to_agent", Phase::Talking));
    // A message instead of a person gives the place up.
    let mut gone = Phone::call();
    gone.key('0').key('1');
    assert!(gone.did(|d| matches!(d, Do::LeaveQueue { .. })));
    assert_eq!(gone.state(), "mail");
}

#[test]
fn while_people_talk_keys_and_clocks_do_nothing() {
    let mut phone = Phone::call();
    phone.key('0');
    let id = phone.job();
    phone.hear(Heard::QueueUpdate { id, position: 1, wait: None }).hear(Heard::Answered { id });
    assert!(phone.did(|d| matches!(d, Do::StopPlay { .. })));
    assert_eq!(phone.core.deadline(), None);
    for key in "0123456789*#".chars() {
        assert!(phone.key(key).last.is_empty());
    }
    phone.hear(Heard::PersonLeft { id });
    assert_eq!(phone.last, [Do::Hangup { reason: EndReason::PersonLeft }]);
}

#[test]
fn a_transfer_that_fails_has_a_named_way_and_the_human_key_works_again() {
    let mut phone = Phone::call();
    phone.key('3');
    let id = phone.job();
    assert!(phone.did(|d| matches!(d, Do::Transfer { to, .. } if &**to == "+8675512345678")));
    phone.hear(Heard::Failed { id, failure: Failure::Busy });
    assert_eq!(phone.state(), "to_agent");
    let mut silent = Phone::call();
    silent.key('3').wait();
    assert_eq!((silent.state(), silent.now.at), ("to_agent", Duration::from_secs(25)));
    assert!(silent.did(|d| matches!(d, Do::CancelTransfer { .. })));
}

#[test]
fn a_message_ends_by_its_key_by_silence_or_by_itself_when_nothing_is_reported() {
    let mut phone = Phone::call();
    phone.key('6').played();
    assert!(phone.did(|d| matches!(d, Do::Record { .. })));
    let id = phone.job();
    phone.key('#');
    assert!(phone.did(|d| *d == Do::StopRecord { id }));
    phone.hear(Heard::Recorded { id, seconds: 4 });
    assert_eq!(phone.state(), "bye");
    phone.played();
    assert_eq!(phone.last, [Do::Hangup { reason: EndReason::Completed }]);
    let mut lost = Phone::call();
    lost.key('6').played().wait();
    assert_eq!(lost.state(), "bye");
}

#[test]
fn a_stray_key_does_not_cut_a_message_but_three_ask_for_help() {
    let mut phone = Phone::call();
    phone.key('6').played().key('5').key('5');
    assert_eq!(phone.state(), "mail");
    assert!(!phone.did(|d| matches!(d, Do::StopRecord { .. })));
    phone.key('5');
    assert_eq!(phone.state(), "to_agent");
    assert!(phone.did(|d| matches!(d, Do::StopRecord { .. })));
}

#[test]
fn a_late_end_of_an_old_prompt_is_ignored() {
    let mut phone = Phone::call();
    let old = phone.core.playing().unwrap();
    phone.key('2');
    let state = phone.state().to_owned();
    phone.hear(Heard::PlayFinished { id: old });
    assert!(phone.last.is_empty());
    assert_eq!(phone.state(), state);
}

#[test]
fn a_prompt_whose_end_is_never_reported_is_given_up() {
    let mut phone = Phone::call();
    phone.wait();
    assert_eq!(phone.state(), "main");
}

#[test]
fn hanging_up_ends_everything_at_once() {
    for path in ["", "p", "1", "123#", "6p", "0", "3"] {
        let mut phone = Phone::call();
        for step in path.chars() {
            if step == 'p' {
                phone.played()
            } else {
                phone.key(step)
            };
        }
        phone.hear(Heard::Hangup);
        assert_eq!(phone.last.last(), Some(&Do::Hangup { reason: EndReason::Caller }), "after {path:?}");
        assert!(phone.key('1').last.is_empty());
        assert_eq!(phone.core.deadline(), None);
    }
}

#[test]
fn the_language_changes_and_a_missing_translation_is_not_silence() {
    let mut phone = Phone::call();
    phone.key('2');
    assert_eq!(phone.said(), "One or two");
    phone.key('6').played();
    let id = phone.job();
    phone.hear(Heard::Recorded { id, seconds: 1 });
    assert_eq!(phone.said(), "再见");
}

#[test]
fn elders_and_calendars_decide_by_caller_and_clock() {
    let mut elder = Phone::call_plan(PLAN, "+8613800138000");
    elder.key('5');
    assert_eq!(elder.state(), "to_agent");
    let mut open = Phone::call();
    open.key('4');
    assert_eq!(open.state(), "to_agent");
    let mut closed = Phone::call();
    closed.now.wall = "2026-09-20T02:00:00Z".parse().unwrap();
    closed.key('4');
    assert_eq!(closed.state(), "mail");
}

#[test]
fn a_broken_plan_apologises_and_ends_instead_of_looping() {
    let lost = PLAN.replace("entry = \"welcome\"", "entry = \"nowhere\"");
    let mut phone = Phone::call_plan(&lost, "1");
    assert!(phone.said().contains("抱歉"));
    phone.played();
    assert_eq!(phone.last, [Do::Hangup { reason: EndReason::Fault }]);
    let circle =
        PLAN.replace("vars = { lang = \"en\" }\nnext = \"main\"", "vars = { lang = \"en\" }\nnext = \"english\"");
    let mut phone = Phone::call_plan(&circle, "1");
    phone.key('2');
    assert!(phone.said().contains("Sorry"));
}

#[test]
fn gathering_may_begin_with_the_human_key_only_when_the_plan_says_so() {
    let plan = PLAN.replace("confirm = \"readback\"", "human_key_is_digit = true");
    let mut phone = Phone::call_plan(&plan, "1");
    phone.key('1').key('0').key('7').wait();
    assert_eq!(phone.state(), "ask");
    let mut alone = Phone::call_plan(&plan, "1");
    alone.key('1').key('0').wait();
    assert_eq!(alone.state(), "to_agent");
}

/// A plan with a link, sent by these ways.
fn link_plan(send: &str) -> Arc<Plan> {
    let source = format!(
        r#"
schema = "ark.dialplan/1"
name = "pictures"
entry = "photo"
timezone = "Asia/Shanghai"
languages = ["en"]
[rules]
human_key = "0"
human_target = "agent"
[prompts]
sent = {{ en = "We sent you a link; press 0 for a person." }}
spoken = {{ en = "Your code is {{link_code}}; press 0 for a person." }}
thanks = {{ en = "Thank you." }}
[state.photo]
do = "link"
send = {send}
prompt = "sent"
code_prompt = "spoken"
every = "20s"
timeout = "2m"
next = "thanks"
on_timeout = "agent"
on_failed = "agent"
[state.thanks]
do = "say"
prompt = "thanks"
next = "agent"
[state.agent]
do = "queue"
queue = "general"
on_timeout = "bye"
[state.bye]
do = "hangup"
[[test]]
name = "a picture is thanked for"
events = ["joined", "picture"]
expect = ["link", "joined", "picture", "play:thanks", "queue:general"]
[[test]]
name = "who sends nothing reaches a person"
events = ["silence"]
expect = ["link", "queue:general"]
[[test]]
name = "who can be sent nothing reaches a person"
events = ["not-sent"]
expect = ["link", "not-sent", "queue:general"]
"#
    );
    Arc::new(Plan::parse(&source, "pictures.toml").unwrap_or_else(|error| panic!("{error:?}")))
}

#[test]
fn a_link_is_sent_said_again_and_waited_for() {
    let plan = link_plan("[\"sms\", \"code\"]");
    let now = |seconds: u64| Tick { at: Duration::from_secs(seconds), wall: Timestamp::UNIX_EPOCH };
    let (mut run, out) = Core::start(Arc::clone(&plan), &Caller::default(), now(0));
    let Some(Do::Link { id, ways, .. }) = out.last() else { panic!("{out:?}") };
    assert_eq!(ways, &[crate::event::LinkWay::Sms, crate::event::LinkWay::Code]);
    let heard = |news| Heard::Link { id: *id, news };
    let out = run.step(now(1), &heard(LinkNews::Code("482913".to_owned())));
    let Some(Do::Play { id: play, pieces, .. }) = out.last() else { panic!("{out:?}") };
    assert!(pieces.len() > 6, "the code is spoken digit by digit: {pieces:?}");
    run.step(now(9), &Heard::PlayFinished { id: *play });
    let again = run.step(now(22), &Heard::Clock);
    assert!(matches!(again.last(), Some(Do::Play { .. })), "it is said again: {again:?}");
    run.step(now(23), &heard(LinkNews::Joined));
    assert_eq!(&*run.state, "photo", "it waits for a picture");
    run.step(now(40), &heard(LinkNews::Picture));
    assert_eq!(&*run.state, "thanks");
    assert!(run.step(now(41), &heard(LinkNews::Picture)).is_empty(), "the next one is for whoever comes after");

    let (mut run, _) = Core::start(Arc::clone(&plan), &Caller::default(), now(0));
    run.step(now(21), &Heard::Clock);
    assert_eq!(&*run.state, "agent", "a link that never goes out is no dead end");
    let (mut run, _) = Core::start(plan, &Caller::default(), now(0));
    run.step(now(1), &Heard::Key('0'));
    assert_eq!(&*run.state, "agent", "a person at any time");
}

#[test]
fn plans_with_links_are_proved_and_their_tests_pass() {
    for send in ["[\"sms\"]", "[\"code\"]", "[\"app\", \"sms\", \"code\"]"] {
        let plan = link_plan(send);
        let report = crate::testing::test(&plan);
        assert_eq!(report.failed(), 0, "{}", report.render_human(Lang::En));
        let random = crate::fuzz::fuzz_callers(&plan, 300, 7);
        assert!(random.is_clean(), "{}", random.render_human(Lang::En));
    }
}

#[test]
fn a_survey_takes_one_key_and_never_strikes() {
    let plan = PLAN.replace("answered = \"bye\"\non_timeout", "answered = \"rate\"\non_timeout")
        + "[state.rate]\ndo = \"survey\"\nprompt = \"number\"\nthanks = \"message\"\nretries = 1\nnext = \"bye\"\n";
    let talked = || {
        let mut phone = Phone::call_plan(&plan, "1");
        phone.key('3');
        let id = phone.job();
        phone.hear(Heard::Answered { id }).hear(Heard::PersonLeft { id });
        assert_eq!(phone.state(), "rate");
        assert!(phone.did(|one| *one == Do::SurveyAsked { scale: 5 }));
        phone
    };
    let mut content = talked();
    content.key('4');
    assert!(content.did(|one| *one == Do::SurveyAnswered { score: 4, scale: 5 }));
    assert_eq!(content.said(), "请留言", "thanks");
    content.key('1');
    assert!(!content.did(|one| matches!(one, Do::SurveyAnswered { .. })), "once");
    content.played();
    assert_eq!(content.state(), "bye");

    let mut silent = talked();
    silent.played().wait();
    assert_eq!((silent.state(), silent.said().as_str()), ("rate", "请输入"));
    silent.played().wait();
    assert_eq!(silent.state(), "bye");

    let mut wrong = talked();
    wrong.key('9');
    assert!(!wrong.did(|one| matches!(one, Do::Strike { .. })));
    assert_eq!(wrong.state(), "rate");
    wrong.key('7');
    assert_eq!(wrong.state(), "bye");
    let mut person = talked();
    person.key('0');
    assert_eq!(person.state(), "to_agent", "a person is in reach here, too");
}

#[test]
fn a_caller_who_wants_to_be_called_keeps_the_place_and_is_told_so() {
    let plan = PLAN.replace("2 = \"hear\"", "2 = \"hear\", 3 = \"call_me\"")
        + "[state.call_me]\ndo = \"callback\"\nprompt = \"sorry\"\nqueue = \"general\"\nelse = \"mail\"\n";
    let asks = |number: &str| {
        let mut phone = Phone::call_plan(&plan, number);
        phone.key('0');
        assert_eq!(phone.state(), "to_agent");
        phone.key('3');
        phone
    };
    let mut phone = asks("13900000000");
    assert!(phone.did(|one| matches!(one, Do::Callback { number, .. } if number == "13900000000")));
    assert!(!phone.did(|one| matches!(one, Do::LeaveQueue { .. })), "the place goes with the callback");
    let id = phone.job();
    phone.hear(Heard::Callback { id, taken: true });
    assert_eq!((phone.state(), phone.said().as_str()), ("call_me", "抱歉"));
    phone.key('0');
    assert_eq!(phone.state(), "call_me", "they are on the way to a person already");
    phone.played();
    assert!(phone.did(|one| matches!(one, Do::Hangup { reason: EndReason::Completed })));

    let mut refused = asks("13900000000");
    let id = refused.job();
    refused.hear(Heard::Callback { id, taken: false });
    assert_eq!(refused.state(), "mail");
    let withheld = asks("anonymous");
    assert_eq!(withheld.state(), "mail");
    let mut late = asks("13900000000");
    late.wait();
    assert_eq!(late.state(), "mail", "nobody says whether: as if refused");

    // Keyed in by whoever calls from another telephone.
    let keyed = plan.replace("queue = \"general\"\nelse", "queue = \"general\"\nnumber = \"order\"\nelse");
    let mut keyed = Phone::call_plan(&keyed, "anonymous");
    keyed.played().key('1');
    for key in "123456".chars() {
        keyed.key(key);
    }
    keyed.key('#').key('1');
    keyed.key('0');
    keyed.key('3');
    assert!(keyed.did(|one| matches!(one, Do::Callback { number, .. } if number == "123456")));
}
