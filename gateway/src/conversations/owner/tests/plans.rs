//! Chats that plans have.

use ark_conversation::LegPhase;
use ark_conversation::event::{HttpOutcome, IvrKept, MessageOut};
use ark_dialplans::Plan;

use super::*;
use crate::call::HttpResult;

const SHOP: &str = r#"
schema = "ark.dialplan/1"
name = "shop"
entry = "main"
[rules]
human_target = "people"
[prompts]
main = { zh = "您好。订单请按1，人工请按0。", en = "Hello. Press 1 for an order, 0 for a person." }
number = { zh = "请输入订单号，人工请按0。", en = "Your order number, or 0 for a person." }
told = { zh = "订单{order}：{state}。", en = "Order {order}: {state}." }
hold = { zh = "请稍候。", en = "One moment." }
place = { zh = "您是第{position}位。留言请按1。", en = "You are number {position}. Press 1 to leave a message." }
nobody = { zh = "没有人，请留言。", en = "Nobody is free. Leave a message." }
bye = { zh = "再见。", en = "Goodbye." }
[state.main]
do = "menu"
prompt = "main"
keys = { 1 = "number" }
on_timeout = "people"
[state.number]
do = "gather"
label = { zh = "查订单", en = "My order" }
prompt = "number"
min = 4
max = 8
into = "order"
next = "ask"
on_timeout = "people"
[state.ask]
do = "http"
action = "order"
next = "told"
on_failed = "people"
[actions.order]
url = "https://shop.example/order"
send = ["order"]
save = ["state"]
timeout = "2s"
[state.told]
do = "say"
prompt = "told"
next = "bye"
[state.people]
do = "queue"
queue = "sales"
greeting = "hold"
prompt = "place"
keys = { 1 = "message" }
max_wait = "10m"
on_timeout = "message"
[state.message]
do = "record"
prompt = "nobody"
next = "bye"
[state.bye]
do = "hangup"
prompt = "bye"
"#;

fn live(version: u32) -> ChatPlans {
    let plan = Arc::new(Plan::parse(SHOP, "shop.toml").unwrap());
    ChatPlans {
        live: Arc::new(
            move |name| {
                if name == "shop" { Found::Live(Arc::clone(&plan), version) } else { Found::Nothing }
            },
        ),
        ask: Arc::new(|ask| HttpResult {
            action: ask.ask.action.to_string(),
            outcome: HttpOutcome::Ok,
            status: Some(200),
            took: Duration::from_millis(5),
            values: Ok([("state".to_owned(), format!("shipped {}", ask.ask.vars["order"]))].into()),
        }),
        ..ChatPlans::default()
    }
}

fn rig(store: &Arc<dyn Store>, plans: ChatPlans) -> Rig {
    let mut policy = Policy::default();
    policy.openings.insert(("web".to_owned(), "shop".to_owned()), Owner::Bot("shop".to_owned()));
    let own = Arc::new(OwnShards::alone(store.topology()));
    Rig::with(store, &(Arc::new(EmbeddedBus::new()) as Arc<dyn Bus>), own, "gw1", (policy, plans))
}

fn says(id: &str, text: &str) -> CloudEvent {
    CloudEvent::new(id, thread_source("t1"), at(0), samples::message_in("t1", text))
}

/// What the plan wrote, and the buttons' keys.
fn written(log: &[Record]) -> Vec<String> {
    let out = |record: &Record| {
        let Event::MessageOut(MessageOut { parts, .. }) = &record.event.event else { return None };
        Some(match &parts[0] {
            Part::Text { text } => text.reveal().to_owned(),
            Part::Card { fallback_text, .. } => fallback_text.reveal().replace('\n', "|"),
            other => panic!("{other:?}"),
        })
    };
    log.iter().filter_map(out).collect()
}

impl Rig {
    async fn hears(&self, id: &str, text: &str) -> ConversationId {
        let conversation = self.take(says(id, text), Join::Begin).await;
        self.until_inbox_is_empty().await;
        conversation
    }

    async fn log(&self, id: ConversationId) -> Vec<Record> {
        log(&*self.store, id).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_answers_each_message_once_and_in_its_commit_and_a_person_takes_over() {
    let folder = Folder::new("chat-plan");
    let rig = rig(&folder.store(), live(3));
    let id = rig.hears("m0", "你好").await;
    assert_eq!(rig.hears("m0", "你好").await, id, "sent again by its channel");
    let log = rig.log(id).await;
    assert_eq!(written(&log), ["您好。订单请按1，人工请按0。|1 查订单|0 转人工"]);
    assert_eq!(rig.state(id).await.owner, Some(Owner::Bot("shop".to_owned())));
    let waiting = rig.store.deliveries(&MAIN, "web", DeliveryState::Waiting, 0, 10).await.unwrap();
    assert_eq!(waiting.len(), 1, "it is on its way to the channel");

    rig.hears("m1", "转人工").await;
    rig.hears("m1", "转人工").await;
    let state = rig.state(id).await;
    assert_eq!((state.owner, state.epoch), (Some(Owner::Queue("sales".to_owned())), 2));
    assert_eq!(written(&rig.log(id).await)[1..], ["请稍候。|您是第1位。留言请按1。"]);
    rig.hears("m2", "快一点").await;
    assert_eq!(written(&rig.log(id).await).len(), 2, "what waits for a person is the person's");
    let done = rig.command(id, "anna", Wish::Claim { epoch: None }).await.unwrap();
    assert_eq!(done.owner, Owner::Agent("anna".to_owned()));
    rig.hears("m3", "1").await;
    let log = rig.log(id).await;
    assert_eq!(written(&log).len(), 2, "a plan is silent while an agent owns");
    whole(&log, 4);
    assert_eq!(rig.state(id).await.wakes, None);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_asked_and_the_end_closes_the_chat_and_the_next_message_begins_anew() {
    let folder = Folder::new("chat-http");
    let rig = rig(&folder.store(), live(1));
    let id = rig.hears("m0", "查订单").await;
    rig.hears("m1", "我的订单是 20261").await;
    until("it is answered", || async { rig.state(id).await.ended.is_some() }).await;
    let log = rig.log(id).await;
    assert_eq!(written(&log)[1..], ["订单20261：shipped 20261。\n再见。"]);
    assert!(names(&log).contains(&"http.finished"));
    let Event::SessionClosed(closed) = &log.last().unwrap().event.event else { panic!("{:?}", names(&log)) };
    assert_eq!((closed.reason, &closed.by), (SessionCloseReason::Resolved, &Owner::Bot("shop".to_owned())));
    let next = rig.hears("m2", "hello").await;
    let log = rig.log(next).await;
    assert_eq!(
        written(&log).last().unwrap(),
        "Hello. Press 1 for an order, 0 for a person.|1 My order|0 Talk to a person"
    );
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_owner_goes_on_where_the_plan_was_and_in_its_version() {
    let folder = Folder::new("chat-restart");
    let store = folder.store();
    let stored = ark_store::NewPlanVersion {
        tenant: MAIN,
        name: "shop".to_owned(),
        sha256: "0".repeat(64),
        source: SHOP.to_owned(),
        at: at(0),
        by: "test".to_owned(),
        note: None,
    };
    let version = store.put_plan_version(stored).await.unwrap().version;
    let first = rig(&store, live(version));
    let id = first.hears("m0", "你好").await;
    first.hears("m1", "1").await;
    first.tasks.end().await;
    // Another version is live meanwhile.
    let next = rig(&store, live(version + 1));
    next.hears("m2", "12").await;
    let log = next.log(id).await;
    assert_eq!(written(&log).last().unwrap(), "请输入订单号，人工请按0。|0 转人工", "too short: asked again");
    let kept = log.iter().rev().find_map(|record| match &record.event.event {
        Event::IvrKept(IvrKept { version, .. }) => Some(*version),
        _ => None,
    });
    assert_eq!(kept, Some(version));
    whole(&log, 3);
    // Who is silent for half an hour has left, whoever owns them.
    next.tasks.end().await;
    let last = rig(&store, live(version));
    until("the deadline is known", || async { last.conversations.stats.deadlines.load(Ordering::Relaxed) == 1 }).await;
    last.passed_ms.store(30 * 60_000 + 1, Ordering::Relaxed);
    until("it is closed", || async { last.state(id).await.ended.is_some() }).await;
    let log = last.log(id).await;
    let Event::SessionClosed(closed) = &log.last().unwrap().event.event else { panic!("{:?}", names(&log)) };
    assert_eq!(closed.reason, SessionCloseReason::Abandoned);
    last.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_may_leave_a_message_and_keeps_the_place_for_a_person() {
    let folder = Folder::new("chat-vain");
    let rig = rig(&folder.store(), live(1));
    let id = rig.hears("m0", "人工").await;
    assert_eq!(rig.state(id).await.owner, Some(Owner::Queue("sales".to_owned())));
    rig.passed_ms.store(10 * 60_000, Ordering::Relaxed);
    until("nobody came", || async { written(&rig.log(id).await).len() == 2 }).await;
    assert_eq!(rig.state(id).await.owner, Some(Owner::Bot("shop".to_owned())));
    rig.hears("m1", "请给我回电").await;
    let state = rig.state(id).await;
    assert_eq!(state.owner, Some(Owner::Queue("sales".to_owned())));
    assert_eq!(state.place.unwrap().since, at(0), "the place that it had");
    assert_eq!(written(&rig.log(id).await)[1..], ["没有人，请留言。", "再见。"]);
    assert!(state.ended.is_none() && state.wakes.is_none());
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_goes_the_plans_way_else_on_to_another_queue() {
    for (own_way, to, owner) in [
        (true, Some("care"), "bot:shop"),
        (true, None, "bot:shop"),
        (false, Some("care"), "queue:care"),
        (false, None, "queue:sales"),
    ] {
        let folder = Folder::new(&format!("chat-overflow-{own_way}-{}", to.is_some()));
        let way = if own_way { "max_wait = \"10m\"\non_overflow = \"message\"" } else { "max_wait = \"10m\"" };
        let plan = Arc::new(Plan::parse(&SHOP.replace("max_wait = \"10m\"", way), "shop.toml").unwrap());
        let found = move |name: &str| {
            if name == "shop" { Found::Live(Arc::clone(&plan), 1) } else { Found::Nothing }
        };
        let rig = rig(&folder.store(), ChatPlans { live: Arc::new(found), ..live(1) });
        let id = rig.hears("m0", "人工").await;
        let sales = Owner::Queue("sales".to_owned());
        let before = rig.state(id).await;
        assert_eq!(before.owner, Some(sales.clone()));
        rig.passed_ms.store(2 * 60_000, Ordering::Relaxed);
        let wish = Wish::Overflow { to: to.map(str::to_owned) };
        rig.conversations.command(Command { tenant: MAIN, conversation: id, by: sales, wish }).await.unwrap();
        let after = rig.state(id).await;
        assert_eq!(after.owner.unwrap().to_string(), owner, "{own_way} {to:?}");
        assert_eq!(after.place.unwrap().since, before.place.unwrap().since, "they waited since the beginning");
        rig.tasks.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_not_there_leaves_its_customers_to_the_channels_queue() {
    let folder = Folder::new("chat-nothing");
    let mut plans = ChatPlans::default();
    plans.queues.insert(("web".to_owned(), "shop".to_owned()), "orders".to_owned());
    let rig = rig(&folder.store(), plans);
    let id = rig.hears("m0", "你好").await;
    assert_eq!(rig.state(id).await.owner, Some(Owner::Queue("orders".to_owned())));
    assert!(written(&rig.log(id).await).is_empty());
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_plans_that_are_being_read() {
    let folder = Folder::new("chat-soon");
    let (ready, all) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), live(1));
    let (looked, then) = (Arc::clone(&ready), all.live.clone());
    let live = Arc::new(move |name: &str| if looked.load(Ordering::Relaxed) { then(name) } else { Found::Soon });
    let rig = rig(&folder.store(), ChatPlans { live, ..all });
    let id = rig.take(says("m0", "你好"), Join::Begin).await;
    assert!(rig.store.summary(&MAIN, id).await.unwrap().is_none(), "nothing is decided yet");
    ready.store(true, Ordering::Relaxed);
    rig.until_inbox_is_empty().await;
    assert_eq!(written(&rig.log(id).await).len(), 1);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_into_a_chat_changes_neither_its_owner_nor_its_end() {
    let folder = Folder::new("chat-call");
    let rig = rig(&folder.store(), live(1));
    let id = rig.hears("m0", "人工").await;
    rig.command(id, "anna", Wish::Claim { epoch: None }).await.unwrap();
    let leg = rig.state(id).await.next_call_leg();
    assert_eq!(leg, LegId(101));
    append(&rig, id, 1, samples::ringing(leg, Role::Customer)).await;
    let state = rig.state(id).await;
    assert_eq!(state.owner, Some(Owner::Agent("anna".to_owned())), "the same agent");
    rig.hears("m1", "听得到吗").await;
    append(&rig, id, 2, samples::ended(leg)).await;
    let done = rig.command(id, "anna", reply("k1", None)).await.unwrap();
    let state = rig.state(id).await;
    assert!(state.ended.is_none(), "hanging up keeps the text");
    assert_eq!((state.legs.len(), state.legs[1].phase, done.epoch), (2, LegPhase::Ended, 3));
    whole(&rig.log(id).await, 2);
    rig.tasks.end().await;
}
