//! The world around a chat when there is no chat: a virtual clock, a customer who writes as told, and a trace. Tests and the simulator
//! share it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::event::{Do, EndReason};
use crate::plan::{Plan, TestEvent};
use crate::run::Caller;
use crate::run::chat::{ChatAsk, ChatHeard, ChatOut, ChatRun, Choice};
use crate::world::{Impossible, trace_of};

/// What a customer leaves where a test says no more of it than that it was left.
const MESSAGE: &str = "请回电 · please call back";
/// Times that pass before the world gives up on the plan: more than a plan's longest way without the customer.
const CLOCKS_MAX: usize = 100;

pub(crate) struct ChatWorld {
    plan: Arc<Plan>,
    pub(crate) run: ChatRun,
    pub(crate) now: Timestamp,
    pub(crate) trace: Vec<String>,
    /// The buttons below what was written last.
    choices: Vec<Choice>,
    /// What the plan asked for last and has not been answered.
    asks: Vec<ChatAsk>,
    /// Keys of an entry, which a chat types as a whole.
    typed: String,
    /// A person has it, so that the plan is silent.
    taken: bool,
    /// They were promised a call.
    promised: bool,
    /// What was written since the last [`ChatWorld::take`].
    recent: Vec<ChatOut>,
}

impl ChatWorld {
    /// A customer comes, and has said nothing yet.
    pub(crate) fn begin(plan: &Arc<Plan>, caller: &Caller, now: Timestamp) -> Self {
        let (run, out) = ChatRun::start(Arc::clone(plan), caller, now, &ChatHeard::Came);
        let mut world = Self {
            plan: Arc::clone(plan),
            run,
            now,
            trace: Vec::new(),
            choices: Vec::new(),
            asks: Vec::new(),
            typed: String::new(),
            taken: false,
            promised: false,
            recent: Vec::new(),
        };
        world.note(out);
        world
    }

    /// What was written since the last time.
    pub(crate) fn take(&mut self) -> Vec<ChatOut> {
        std::mem::take(&mut self.recent)
    }

    /// Whether the plan has no more to say.
    pub(crate) fn is_over(&self) -> bool {
        self.taken || self.run.ended().is_some()
    }

    pub(crate) fn hear(&mut self, heard: &ChatHeard) {
        let out = self.run.step(self.now, heard);
        self.note(out);
    }

    fn note(&mut self, mut out: ChatOut) {
        for one in &out.did {
            self.trace.extend(trace_of(&self.plan, one));
            if matches!(one, Do::Callback { .. }) {
                self.trace.push("taken".to_owned());
            }
        }
        if !out.text.is_empty() {
            self.choices = std::mem::take(&mut out.choices);
            self.trace.extend(self.choices.iter().map(|choice| format!("button:{}", choice.label)));
            out.choices.clone_from(&self.choices);
        }
        self.asks.append(&mut out.asks);
        self.promised |= out.callback.is_some();
        let told = self.trace.last().is_some_and(|last| matches!(last.as_str(), "hangup" | "caller-hangup"));
        let ended: &[&str] = match self.run.ended().filter(|_| !told) {
            None => &[],
            Some(EndReason::Caller) => &["caller-hangup"],
            Some(EndReason::Fault) => &["fault", "hangup"],
            Some(EndReason::Completed | EndReason::PersonLeft) => &["hangup"],
        };
        self.trace.extend(ended.iter().map(|one| (*one).to_owned()));
        self.recent.push(out);
    }

    /// The customer writes.
    pub(crate) fn says(&mut self, text: &str) {
        self.hear(&ChatHeard::Said { text: text.to_owned(), file: false });
    }

    /// The next time comes for which the plan waits. False: it waits for none.
    pub(crate) fn next_deadline(&mut self) -> bool {
        let Some(at) = self.run.deadline() else { return false };
        self.now = self.now.max(at);
        self.hear(&ChatHeard::Clock);
        true
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, length: Duration) {
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let until = self.now.checked_add(length).unwrap_or(Timestamp::MAX);
        for _ in 0..CLOCKS_MAX {
            if self.is_over() || self.run.deadline().is_none_or(|at| at > until) {
                break;
            }
            self.next_deadline();
        }
        self.now = self.now.max(until);
    }

    /// The keys that wait are typed: nothing more follows.
    pub(crate) fn end_of_digits(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        if !typed.is_empty() {
            self.says(&typed);
        }
    }

    fn key(&mut self, key: char) {
        match self.run.expects_entry() {
            Some((_, finish)) if key == finish => self.end_of_digits(),
            Some((max, _)) => {
                self.typed.push(key);
                if self.typed.len() >= max {
                    self.end_of_digits();
                }
            }
            None => self.says(&key.to_string()),
        }
    }

    fn press(&mut self, words: &str) -> Result<(), Impossible> {
        let found = self.choices.iter().find(|choice| choice.label == words);
        let label = found.map(|choice| choice.label.clone()).ok_or(Impossible::NotHere("button of these words"))?;
        self.says(&label);
        Ok(())
    }

    /// Lets one event of a test happen.
    pub(crate) fn event(&mut self, event: &TestEvent) -> Result<(), Impossible> {
        if !matches!(event, TestEvent::Key(_)) {
            self.end_of_digits();
        }
        // A chat knows at once whether there is a number: the event only says what must be so.
        if let TestEvent::Taken | TestEvent::Refused = event {
            let right = self.promised == (*event == TestEvent::Taken);
            return if right { Ok(()) } else { Err(Impossible::NotHere("callback that ends so")) };
        }
        if self.is_over() {
            return if *event == TestEvent::Hangup { Ok(()) } else { Err(Impossible::Ended) };
        }
        match event {
            TestEvent::Key(key) => self.key(*key),
            TestEvent::Say { text, .. } | TestEvent::Type(text) => self.says(text),
            TestEvent::Press(words) => self.press(words)?,
            TestEvent::Hangup => while !self.is_over() && self.next_deadline() {},
            TestEvent::Answered => {
                self.queued()?;
                self.trace.push("answered".to_owned());
                self.taken = true;
            }
            TestEvent::NoAnswer => {
                let queue = self.queued()?;
                self.trace.push("no-answer".to_owned());
                for _ in 0..CLOCKS_MAX {
                    if self.run.waits_in().is_none_or(|(name, _)| name != queue) || !self.next_deadline() {
                        break;
                    }
                }
            }
            TestEvent::Recorded if self.run.takes_message() => {
                self.trace.push("recorded".to_owned());
                self.says(MESSAGE);
            }
            TestEvent::Recorded => return Err(Impossible::NotHere("recording")),
            TestEvent::Picture => {
                self.trace.push("picture".to_owned());
                self.hear(&ChatHeard::Said { text: String::new(), file: true });
            }
            TestEvent::Http(values) => {
                let ask = self.asks.pop().ok_or(Impossible::NotHere("HTTP action at work"))?;
                self.hear(&ChatHeard::Http { id: ask.id, result: values.clone().ok_or_else(|| "failed".to_owned()) });
            }
            TestEvent::Place { position, wait } => {
                self.queued()?;
                self.hear(&ChatHeard::Place { position: *position, wait: *wait });
            }
            TestEvent::Overflow => {
                self.queued()?;
                self.trace.push("overflow".to_owned());
                self.hear(&ChatHeard::Overflow);
            }
            TestEvent::Silence | TestEvent::Joined | TestEvent::NotSent | TestEvent::Taken | TestEvent::Refused => {
                return Err(Impossible::NotHere("such thing in a chat"));
            }
        }
        Ok(())
    }

    fn queued(&self) -> Result<String, Impossible> {
        let waits = self.run.waits_in().map(|(name, _)| name.to_owned());
        waits.ok_or(Impossible::NotHere("person being called"))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Plan, test, test_chat};

    const SHOP: &str = r#"
schema = "ark.dialplan/1"
name = "shop"
entry = "main"
[rules]
human_target = "people"
[prompts]
main = { en = "Press 1 for orders.", zh = "订单请按1。", chat = { en = "What can we do for you?", zh = "请选择：" } }
wrong = { en = "We did not get that.", zh = "没有看懂。" }
number = { en = "Your order number?", zh = "订单号？" }
hold = { en = "One moment.", zh = "请稍候。" }
nobody = { en = "Leave a message.", zh = "请留言。" }
bye = { en = "Goodbye.", zh = "再见。" }
[state.main]
do = "menu"
prompt = "main"
invalid = "wrong"
keys = { 1 = "orders" }
on_timeout = "people"
[state.orders]
do = "gather"
label = { en = "My order", zh = "查订单" }
prompt = "number"
min = 4
max = 8
into = "order"
next = "people"
on_timeout = "people"
[state.people]
do = "queue"
queue = "general"
greeting = "hold"
on_timeout = "message"
[state.message]
do = "record"
prompt = "nobody"
next = "bye"
[state.bye]
do = "hangup"
prompt = "bye"
"#;

    fn tests(text: &str) -> std::sync::Arc<Plan> {
        let text = format!("{SHOP}{text}");
        std::sync::Arc::new(Plan::parse(&text, "shop.toml").unwrap_or_else(|found| panic!("{found:?}")))
    }

    #[test]
    fn a_test_presses_types_and_reads_buttons() {
        let plan = tests(
            r#"
[[test]]
name = "by buttons and typed words"
lang = "en"
events = [{ type = "hello" }, { press = "My order" }, { type = "2026-1001" }, { place = { position = 2 } }, "no-answer", "recorded"]
expect = ["play:main", "button:My order", "button:Talk to a person", "strike:1", "play:wrong", "state:orders",
    "gathered:order=20261001", "person", "queue:general", "no-answer", "record", "recorded", "play:bye", "hangup"]
[[test]]
name = "no such button"
lang = "en"
events = [{ press = "Refund" }]
expect = ["hangup"]
[[test]]
name = "a call alone"
chat = false
events = ["silence"]
expect = ["play:main", "strike:1"]
"#,
        );
        let report = test(&plan);
        let failures: Vec<_> = report.results.iter().map(|one| (one.chat, one.failure.as_ref())).collect();
        assert!(matches!(failures[..], [(true, None), (true, Some(_)), (false, None)]), "{failures:#?}");
        assert!(failures[1].1.unwrap().message.en.contains("no button of these words"), "{failures:#?}");
        let chats = test_chat(&plan);
        assert_eq!((chats.results.len(), chats.left_out.len()), (2, 1));
        let xml = chats.render_junit();
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\"") && xml.contains("<skipped"), "{xml}");
        assert!(chats.render_human(crate::Lang::En).contains("--   a call alone (no chat: chat = false)"));
    }

    #[test]
    fn a_call_is_a_chat_where_it_can_be() {
        let plan = tests(
            r#"
[[test]]
name = "keys are typed, an entry as a whole"
events = ["1", "20261001", "answered"]
expect = ["gathered:order=20261001", "queue:general", "answered"]
[[test]]
name = "who says nothing"
events = ["silence"]
expect = ["strike:1"]
[[test]]
name = "who leaves"
events = ["hangup"]
expect = ["caller-hangup"]
never = ["person"]
"#,
        );
        assert_eq!(test(&plan).failed(), 0, "{}", test(&plan).render_human(crate::Lang::En));
        let chats = test_chat(&plan);
        assert_eq!(chats.failed(), 0, "{}", chats.render_human(crate::Lang::En));
        let left_out: Vec<_> = chats.left_out.iter().map(|one| (one.name.as_str(), one.event)).collect();
        assert_eq!(left_out, [("who says nothing", Some("silence"))]);
    }

    #[test]
    fn the_hotlines_plan_passes_as_chats() {
        let text = include_str!("../plans/hotline-95188.toml");
        let plan = std::sync::Arc::new(Plan::parse(text, "hotline-95188.toml").unwrap());
        let report = test_chat(&plan);
        assert_eq!(report.failed(), 0, "{}", report.render_human(crate::Lang::En));
        assert!(report.results.len() > 10, "{}", report.results.len());
    }
}
