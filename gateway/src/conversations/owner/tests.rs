//! The owner over real stores: SQLite with the embedded bus, and two owners with leases on one store.

mod direct;
mod hand;
mod plans;

use std::path::PathBuf;

use ark_bus::EmbeddedBus;
use ark_conversation::event::{Identity, Part, Receipt, ReceiptState, Role, SessionCloseReason, Thread, ThreadState};
use ark_conversation::machine;
use ark_conversation::samples::{self, at};
use ark_conversation::{
    Assurance, CloudEvent, Content, ConversationId, ConversationState, Event, IdentityKey, KeyKind, LegId, NewEvent,
    Owner, Record, Tenant, source,
};
use ark_store::{DeliveryState, Fence, Join, ListFilter, NewInbound, Options, SqliteStore, kit};

use super::*;
use crate::conversations::shards::Right;

const MAIN: Tenant = Tenant::MAIN;
const SOON: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ark-owner-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open_with(&Options::new(self.0.join("ark.db"))).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One owner of some shards.
struct Rig {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    own: Arc<OwnShards>,
    conversations: Conversations,
    tasks: Tasks,
    /// What the clock shows beyond the samples' day.
    passed_ms: Arc<AtomicU64>,
}

impl Rig {
    fn alone(store: &Arc<dyn Store>) -> Self {
        let own = Arc::new(OwnShards::alone(store.topology()));
        Self::of(store, &(Arc::new(EmbeddedBus::new()) as Arc<dyn Bus>), own, "gw1")
    }

    fn of(store: &Arc<dyn Store>, bus: &Arc<dyn Bus>, own: Arc<OwnShards>, gateway: &str) -> Self {
        Self::with(store, bus, own, gateway, (Policy::default(), ChatPlans::default()))
    }

    fn with(
        store: &Arc<dyn Store>,
        bus: &Arc<dyn Bus>,
        own: Arc<OwnShards>,
        gateway: &str,
        (policy, plans): (Policy, ChatPlans),
    ) -> Self {
        let passed_ms = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&passed_ms);
        let clock: Clock = Arc::new(move || at(passed.load(Ordering::Relaxed).cast_signed()));
        let (conversations, tasks) = start(Setup {
            store: Arc::clone(store),
            bus: Arc::clone(bus),
            onward: Onward::Direct(Arc::clone(bus)),
            own: Arc::clone(&own),
            policy,
            plans,
            writer: Writer { tenant: MAIN, gateway: gateway.to_owned() },
            clock,
        });
        Self { store: Arc::clone(store), bus: Arc::clone(bus), own, conversations, tasks, passed_ms }
    }

    async fn take(&self, event: CloudEvent, join: Join) -> ConversationId {
        let begin = self.conversations.ingest().new_conversation(at(0));
        let new = NewInbound { tenant: MAIN, at: at(0), event, begin, join };
        self.conversations.ingest().take(new).await.unwrap().conversation
    }

    async fn says(&self, thread: &str, n: u64) -> ConversationId {
        self.take(message(thread, n), Join::Begin).await
    }

    async fn state(&self, id: ConversationId) -> ConversationState {
        self.store.summary(&MAIN, id).await.unwrap().unwrap()
    }

    async fn command(&self, conversation: ConversationId, by: &str, wish: Wish) -> Outcome {
        let by = Owner::Agent(by.to_owned());
        self.conversations.command(Command { tenant: MAIN, conversation, by, wish }).await
    }

    async fn until_inbox_is_empty(&self) {
        until("the inbox is empty", || async { self.store.backlog().await.unwrap().inbox == 0 }).await;
    }
}

/// Looks until it is so.
async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + SOON;
    while !so().await {
        assert!(std::time::Instant::now() < deadline, "not soon: {what}");
        tokio::task::yield_now().await;
    }
}

fn thread_source(thread: &str) -> String {
    source::thread(&MAIN, "web", "shop", thread)
}

fn message(thread: &str, n: u64) -> CloudEvent {
    let text = format!("message {n}");
    CloudEvent::new(format!("m{n}"), thread_source(thread), at(0), samples::message_in(thread, &text))
}

fn closed(thread: &str) -> CloudEvent {
    let change = Thread { thread: thread.to_owned(), state: ThreadState::Closed, entry: None, window: None };
    CloudEvent::new("closed", thread_source(thread), at(0), change)
}

fn reply(key: &str, epoch: Option<u64>) -> Wish {
    let parts = vec![Part::Text { text: Content::new("good morning") }];
    Wish::Reply { key: key.to_owned(), epoch, leg: None, parts, reply_to: None }
}

async fn log(store: &dyn Store, id: ConversationId) -> Vec<Record> {
    let mut log: Vec<Record> = Vec::new();
    loop {
        let page = store.read(&MAIN, id, log.len() as u64, 1_000).await.unwrap();
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

fn names(log: &[Record]) -> Vec<&str> {
    let short = |record: &Record| -> usize { record.event.type_name().len() };
    log.iter().map(|record| &record.event.type_name()[4..short(record) - 3]).collect()
}

/// `seq` without gaps, epochs that do not go back, each message once and in the order of its thread.
fn whole(log: &[Record], messages: u64) {
    for (n, record) in (1..).zip(log) {
        assert_eq!(record.seq, n);
    }
    assert!(log.is_sorted_by_key(|record| record.epoch), "{:?}", names(log));
    let ids: Vec<&str> =
        log.iter().filter(|r| r.event.type_name() == "ark.message.in.v1").map(|r| r.event.id.as_str()).collect();
    let expected: Vec<String> = (0..messages).map(|n| format!("m{n}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_inbox_is_in_the_log_once_and_in_the_order_of_its_thread() {
    let folder = Folder::new("once");
    let rig = Rig::alone(&folder.store());
    let mut of = std::collections::BTreeMap::new();
    for n in 0..40 {
        for thread in ["t1", "t2", "t3"] {
            let id = rig.says(thread, n).await;
            assert_eq!(rig.says(thread, n).await, id, "sent again by its channel");
            assert_eq!(*of.entry(thread).or_insert(id), id);
        }
    }
    rig.until_inbox_is_empty().await;
    for id in of.into_values() {
        let log = log(&*rig.store, id).await;
        whole(&log, 40);
        assert_eq!(names(&log)[..3], ["session.opened", "leg.added", "message.in"]);
        assert_eq!(rig.state(id).await.owner, Some(Owner::Queue("general".to_owned())));
    }
    let samples = rig.conversations.samples().await;
    let value = |name: &str| samples.iter().find(|one| one.name == name).unwrap().value;
    assert_eq!((value("ark_inbox_rows"), value("ark_inbox_applied_total")), (0.0, 120.0));
    assert!(rig.conversations.ready().ok);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_ends_in_the_middle_loses_and_doubles_nothing() {
    let folder = Folder::new("restart");
    let store = folder.store();
    let first = Rig::alone(&store);
    first.tasks.end().await;
    let mut ids = std::collections::BTreeMap::new();
    for n in 0..100 {
        for thread in 0..10 {
            let id = first.conversations.ingest().take(NewInbound {
                tenant: MAIN,
                at: at(0),
                event: message(&format!("t{thread}"), n),
                begin: ConversationId::new(1, u128::from(n) << 8 | thread),
                join: Join::Begin,
            });
            ids.insert(thread, id.await.unwrap().conversation);
        }
    }
    for round in 0.. {
        let rig = Rig::alone(&store);
        let goal = 700_u64.saturating_sub(round * 300);
        until("some are taken", || async { store.backlog().await.unwrap().inbox <= goal }).await;
        rig.tasks.end().await;
        if goal == 0 {
            break;
        }
    }
    for id in ids.into_values() {
        whole(&log(&*store, id).await, 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_conversation_takes_is_parked_holds_up_nobody_and_can_be_taken_up_again() {
    let folder = Folder::new("parked");
    let rig = Rig::alone(&folder.store());
    let receipt = |message: &str| Receipt {
        thread: "t1".to_owned(),
        message: message.to_owned(),
        state: ReceiptState::Delivered,
        native_id: None,
        reason: None,
    };
    let early = CloudEvent::new("r1", thread_source("t1"), at(0), receipt("k1"));
    let id = rig.take(early, Join::Begin).await;
    rig.says("t1", 0).await;
    rig.until_inbox_is_empty().await;
    whole(&log(&*rig.store, id).await, 1);
    let dead = || async { rig.store.deliveries(&MAIN, PARKED, DeliveryState::Dead, 0, 10).await.unwrap() };
    until("it lies where people see it", || async { dead().await.len() == 1 }).await;
    let one = dead().await.remove(0);
    assert_eq!(one.error.as_deref(), Some("there is no such conversation"));
    let parked: ParkedRow = serde_json::from_value(one.what.body.clone()).unwrap();
    assert_eq!((parked.event["id"].as_str(), one.what.conversation), (Some("r1"), id));

    assert!(rig.store.replay_delivery(&MAIN, one.id).await.unwrap());
    rig.conversations.parked_again();
    until("it is taken in", || async {
        names(&log(&*rig.store, id).await).contains(&"receipt") && dead().await.is_empty()
    })
    .await;
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_replies_claims_and_resolves_and_is_told_why_not() {
    let folder = Folder::new("commands");
    let rig = Rig::alone(&folder.store());
    let mut heard = rig.conversations.happenings();
    let nobody = ConversationId::new(9, 9);
    let claim = |epoch| Wish::Claim { epoch };
    assert_eq!(rig.command(nobody, "anna", claim(None)).await, Err(CommandError::NoConversation(nobody)));
    let id = rig.says("t1", 0).await;
    rig.until_inbox_is_empty().await;
    let done = rig.command(id, "anna", reply("k1", None)).await.unwrap();
    assert_eq!((done.epoch, done.owner, done.duplicate), (2, Owner::Agent("anna".to_owned()), false));
    let again = rig.command(id, "anna", reply("k1", None)).await.unwrap();
    assert!(again.duplicate && again.last_seq == done.last_seq, "the same key is sent once");
    let waiting = rig.store.deliveries(&MAIN, "web", DeliveryState::Waiting, 0, 10).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].what.order_key.clone()), (1, thread_source("t1")));
    let sent: CloudEvent = serde_json::from_value(waiting[0].what.body.clone()).unwrap();
    assert!(matches!(&sent.event, Event::MessageOut(out) if out.thread == "t1" && out.epoch == 2), "{sent:?}");

    let anna = Owner::Agent("anna".to_owned());
    let others = Err(CommandError::NotOwner { owner: anna.clone() });
    assert_eq!(rig.command(id, "ben", reply("k2", None)).await, others);
    assert_eq!(rig.command(id, "ben", claim(None)).await, others);
    let resolve = |epoch| Wish::Resolve { epoch, disposition: Some("answered".to_owned()), note: None };
    assert_eq!(rig.command(id, "ben", resolve(None)).await, others);
    assert_eq!(rig.command(id, "anna", reply("k3", Some(1))).await, Err(CommandError::StaleEpoch { current: 2 }));
    assert_eq!(rig.command(id, "anna", claim(None)).await.unwrap().epoch, 2, "it is hers already");
    rig.command(id, "anna", resolve(Some(2))).await.unwrap();
    assert!(rig.state(id).await.ended.is_some());
    assert_eq!(rig.command(id, "anna", resolve(None)).await, Err(CommandError::Closed));
    assert_eq!(rig.command(id, "anna", reply("k4", None)).await, Err(CommandError::Closed));
    assert_eq!(rig.command(id, "ben", claim(None)).await.unwrap().epoch, 3, "taken up again");
    let effects: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).map(|one| one.effect).collect();
    assert!(matches!(&effects[0], machine::Effect::Route { queue, epoch: 1, .. } if queue == "general"), "{effects:?}");
    assert!(effects.iter().any(|one| matches!(one, machine::Effect::Grant { to, epoch: 2, .. } if *to == anna)));
    let log = log(&*rig.store, id).await;
    whole(&log, 1);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_before_a_plan_and_a_row_too_large_to_park_is_said() {
    let folder = Folder::new("bot");
    let rig = Rig::alone(&folder.store());
    let id = ConversationId::new(7, 7);
    append(&rig, id, 1, samples::ringing(LegId(1), Role::Customer)).await;
    rig.take(message("t1", 0), Join::Conversation(id)).await;
    rig.until_inbox_is_empty().await;
    assert!(matches!(rig.state(id).await.owner, Some(Owner::Bot(_))));
    let done = rig.command(id, "anna", reply("k1", None)).await.unwrap();
    assert_eq!((done.owner, done.epoch), (Owner::Agent("anna".to_owned()), 3));
    let forbidden =
        CloudEvent::new("x", source::thread(&MAIN, "desk", "gw1", "x"), at(0), samples::message_in("x", "x"));
    let new = NewInbound { tenant: MAIN, at: at(0), event: forbidden, begin: id, join: Join::Begin };
    assert!(matches!(rig.conversations.ingest().take(new).await, Err(StoreError::Refused(_))), "no adapter is a desk");
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_also_by_the_next_owner() {
    let folder = Folder::new("deadlines");
    let store = folder.store();
    let rig = Rig::alone(&store);
    let id = rig.says("t1", 0).await;
    rig.until_inbox_is_empty().await;
    rig.command(id, "anna", Wish::Claim { epoch: None }).await.unwrap();
    rig.take(closed("t1"), Join::Begin).await;
    rig.until_inbox_is_empty().await;
    until("the leg is over", || async { names(&log(&*rig.store, id).await).contains(&"leg.ended") }).await;
    assert!(rig.state(id).await.session.is_some(), "she has time to wrap up");
    rig.tasks.end().await;
    // The next owner finds it among the open conversations, and closes it when five minutes are over.
    let next = Rig::alone(&store);
    until("the deadline is known", || async { next.conversations.stats.deadlines.load(Ordering::Relaxed) == 1 }).await;
    assert!(next.state(id).await.session.is_some());
    next.passed_ms.store(301_000, Ordering::Relaxed);
    until("it is closed", || async { next.state(id).await.ended.is_some() }).await;
    let log = log(&*store, id).await;
    let Event::SessionClosed(closed) = &log.last().unwrap().event.event else { panic!("{:?}", names(&log)) };
    assert_eq!(closed.reason, SessionCloseReason::LegsEnded);
    whole(&log, 1);
    next.tasks.end().await;
}

/// As the switch's writer does it: appended without a lease, then carried.
async fn append(rig: &Rig, conversation: ConversationId, n: u64, event: impl Into<Event>) {
    let event = CloudEvent::new(format!("c{n}"), source::call(&MAIN, "carrier", b"a84"), at(0), event);
    let new = NewEvent { tenant: MAIN, conversation, epoch: 1, at: at(0), event };
    let appended = rig.store.append(vec![new]).await.unwrap();
    rig.bus.publish(appended.into_iter().map(|one| Arc::new(one.record)).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_joins_a_call_and_the_conversation_ends_with_the_last_of_both() {
    let folder = Folder::new("call");
    let rig = Rig::alone(&folder.store());
    for (n, chat_first) in [(1_u64, true), (2, false)] {
        let (id, thread) = (ConversationId::new(7, u128::from(n)), format!("t{n}"));
        append(&rig, id, n * 10, samples::ringing(LegId(1), Role::Customer)).await;
        rig.take(message(&thread, 0), Join::Conversation(id)).await;
        rig.until_inbox_is_empty().await;
        append(&rig, id, n * 10 + 1, samples::ended(LegId(1))).await;
        if chat_first {
            // The call's end alone ends nothing: the thread is alive.
            rig.take(message(&thread, 1), Join::Begin).await;
            rig.until_inbox_is_empty().await;
            assert!(rig.state(id).await.ended.is_none());
            rig.take(closed(&thread), Join::Begin).await;
        } else {
            rig.take(closed(&thread), Join::Begin).await;
        }
        until("it is over", || async { rig.state(id).await.ended.is_some() }).await;
        let log = log(&*rig.store, id).await;
        whole(&log, if chat_first { 2 } else { 1 });
        assert_eq!(log.last().unwrap().event.type_name(), "ark.session.closed.v1", "{:?}", names(&log));
    }
    // The thread goes first; then the call's end is what closes, though no message comes with it.
    let id = ConversationId::new(7, 3);
    append(&rig, id, 30, samples::ringing(LegId(1), Role::Customer)).await;
    rig.take(message("t3", 0), Join::Conversation(id)).await;
    rig.take(closed("t3"), Join::Begin).await;
    rig.until_inbox_is_empty().await;
    let leg = rig.state(id).await.legs.iter().find(|leg| leg.source.is_some()).unwrap().clone();
    assert!(leg.ended.is_some() && rig.state(id).await.ended.is_none(), "the call is up");
    append(&rig, id, 31, samples::ended(LegId(1))).await;
    until("it is over", || async { rig.state(id).await.ended.is_some() }).await;
    whole(&log(&*rig.store, id).await, 1);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_messages_in_one_log_leave_no_gap_whoever_comes_first() {
    let folder = Folder::new("race");
    let rig = Arc::new(Rig::alone(&folder.store()));
    let id = ConversationId::new(7, 1);
    append(&rig, id, 1, samples::ringing(LegId(1), Role::Customer)).await;
    let calls = Arc::clone(&rig);
    let call = tokio::spawn(async move {
        for n in 2..150 {
            append(&calls, id, n, samples::story().remove(1)).await;
        }
    });
    for n in 0..150 {
        rig.take(message("t1", n), Join::Conversation(id)).await;
    }
    call.await.unwrap();
    rig.until_inbox_is_empty().await;
    let log = log(&*rig.store, id).await;
    whole(&log, 150);
    assert_eq!(log.iter().filter(|record| record.event.id.starts_with('c')).count(), 149);
    println!("{} commits were decided again", rig.conversations.stats.conflicts.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_keys_these_are_is_found_in_the_transaction_that_logs_them() {
    let folder = Folder::new("identity");
    let rig = Rig::alone(&folder.store());
    let identity = |thread: &str| {
        let keys = vec![IdentityKey { kind: KeyKind::Phone, value: ark_conversation::Pii::new("+8613800001212") }];
        let identity =
            Identity { thread: thread.to_owned(), keys, assurance: Assurance::ChannelVerified, link_token: None };
        CloudEvent::new("i1", thread_source(thread), at(0), identity)
    };
    let (a, b) = (rig.says("t1", 0).await, rig.says("t2", 0).await);
    rig.take(identity("t1"), Join::Begin).await;
    rig.until_inbox_is_empty().await;
    rig.take(identity("t2"), Join::Begin).await;
    rig.until_inbox_is_empty().await;
    let person = rig.state(a).await.person.unwrap();
    assert_eq!(rig.state(b).await.person, Some(person), "the same verified key is the same person");
    let filter = ListFilter { person: Some(person), ..ListFilter::default() };
    assert_eq!(rig.store.list(&MAIN, filter, 10).await.unwrap().conversations.len(), 2);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_turn_out_to_have_the_same_verified_key_are_one_person_and_it_can_be_undone() {
    let folder = Folder::new("merge");
    let rig = Rig::alone(&folder.store());
    let key = |kind, value: &str| IdentityKey { kind, value: ark_conversation::Pii::new(value) };
    let phone = || key(KeyKind::Phone, "+8613800001212");
    let come = async |thread: &str, id: &str, keys: Vec<IdentityKey>, assurance| {
        let identity = Identity { thread: thread.to_owned(), keys, assurance, link_token: None };
        rig.take(CloudEvent::new(id, thread_source(thread), at(0), identity), Join::Begin).await;
        rig.until_inbox_is_empty().await;
    };
    let (a, b) = (rig.says("t1", 0).await, rig.says("t2", 0).await);
    come("t1", "i1", vec![phone()], Assurance::Otp).await;
    come("t2", "i2", vec![key(KeyKind::Alipay, "2088")], Assurance::ChannelVerified).await;
    let (one, other) = (rig.state(a).await.person.unwrap(), rig.state(b).await.person.unwrap());
    assert_ne!(one, other);
    // A number that is only said proves nothing.
    come("t2", "i3", vec![phone()], Assurance::Asserted).await;
    assert_eq!(rig.state(b).await.person, Some(other));
    assert_eq!(rig.store.person(&MAIN, other).await.unwrap(), Some(other));

    come("t2", "i4", vec![phone()], Assurance::Sso).await;
    let into = one.min(other);
    assert_eq!(rig.store.person(&MAIN, one.max(other)).await.unwrap(), Some(into), "they are one");
    assert_eq!(rig.store.person(&MAIN, into).await.unwrap(), Some(into), "who was known first stays");
    let merges = |log: &[Record]| -> Vec<_> {
        let merged = |record: &Record| match &record.event.event {
            Event::PersonMerged(merged) => Some((merged.from, merged.into, merged.keys.len())),
            _ => None,
        };
        log.iter().filter_map(merged).collect()
    };
    let of_b = log(&*rig.store, b).await;
    assert_eq!(merges(&of_b), [(one.max(other), into, 1)], "it is in the log, once, with the keys that it moved");
    let filter = ListFilter { person: Some(into), ..ListFilter::default() };
    assert_eq!(rig.store.list(&MAIN, filter, 10).await.unwrap().conversations.len(), 2);
    // The same again changes nothing.
    come("t1", "i5", vec![phone(), key(KeyKind::Alipay, "2088")], Assurance::Sso).await;
    assert_eq!(merges(&log(&*rig.store, a).await), []);
    // A third with keys that nobody has, and one that is theirs.
    let c = rig.says("t3", 0).await;
    come("t3", "i6", vec![key(KeyKind::DingTalkUnion, "u9"), phone()], Assurance::ChannelVerified).await;
    assert_eq!(rig.state(c).await.person, Some(into));
    assert_eq!(rig.store.owner(&MAIN, &key(KeyKind::DingTalkUnion, "u9")).await.unwrap(), Some(into));
    rig.tasks.end().await;
}

/// Shards with their leases, as the site's member takes them.
async fn lease(store: &Arc<dyn Store>, gateway: &str, own: &OwnShards, of: impl Iterator<Item = u16>) {
    for shard in of {
        let fence: Fence = store.claim(shard, gateway, MINUTE).await.unwrap();
        own.hold(fence);
    }
}

async fn released(store: &Arc<dyn Store>, own: &OwnShards, of: impl Iterator<Item = u16>) {
    for shard in of {
        let Some(Right::Lease(fence)) = own.right(shard) else { continue };
        own.set(shard, false);
        store.release(vec![fence]).await.unwrap();
    }
}

/// Two owners on one store: what comes in at one is worked on at the other, commands too, and shards change hands in the middle.
async fn two_owners(store: Arc<dyn Store>) {
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
    let shards = store.topology().shards;
    let (a, b) = (Arc::new(OwnShards::new(store.topology())), Arc::new(OwnShards::new(store.topology())));
    lease(&store, "gw1", &a, 0..shards / 2).await;
    lease(&store, "gw2", &b, shards / 2..shards).await;
    let (a, b) = (Rig::of(&store, &bus, a, "gw1"), Rig::of(&store, &bus, b, "gw2"));
    let begin = b.conversations.ingest().new_conversation(at(0));
    assert!(b.own.holds(store.topology().shard(begin)));
    let new = |n| NewInbound { tenant: MAIN, at: at(0), event: message("far", n), begin, join: Join::Begin };
    a.conversations.ingest().take(new(0)).await.unwrap();
    a.until_inbox_is_empty().await;
    let done = a.command(begin, "anna", reply("k1", None)).await.unwrap();
    assert_eq!((done.epoch, done.duplicate), (2, false));
    assert!(a.command(begin, "anna", reply("k1", None)).await.unwrap().duplicate);
    let stale = a.command(begin, "anna", reply("k2", Some(1))).await;
    assert_eq!(stale, Err(CommandError::StaleEpoch { current: 2 }), "an error comes back as it is");
    assert!(b.conversations.stats.commands.load(Ordering::Relaxed) >= 3, "gw2 did them");

    let mut ids = std::collections::BTreeSet::new();
    for n in 0..60 {
        for thread in 0..12 {
            let rig = if n % 2 == 0 { &a } else { &b };
            ids.insert(rig.says(&format!("t{thread}"), n).await);
        }
        match n {
            20 => {
                released(&store, &a.own, 0..shards / 2).await;
                lease(&store, "gw2", &b.own, 0..shards / 2).await;
            }
            // Taken from one that does not know it yet.
            40 => {
                released(&store, &b.own, 0..shards / 4).await;
                lease(&store, "gw1", &a.own, 0..shards / 4).await;
            }
            _ => {}
        }
    }
    a.until_inbox_is_empty().await;
    assert_eq!(ids.len(), 12);
    for id in ids {
        whole(&log(&*store, id).await, 60);
    }
    for rig in [a, b] {
        println!("{} commits decided again", rig.conversations.stats.conflicts.load(Ordering::Relaxed));
        rig.tasks.end().await;
    }
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_share_a_store_and_hand_shards_over() {
    two_owners(Folder::new("two").store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_share_a_postgresql_and_hand_shards_over() {
    let Some(server) = kit::postgres("two_owners_share_a_postgresql") else { return };
    two_owners(Arc::new(server.store("owners"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_worked_off() {
    let folder = Folder::new("backlog");
    let store = folder.store();
    let idle = Rig::of(
        &store,
        &(Arc::new(EmbeddedBus::new()) as Arc<dyn Bus>),
        Arc::new(OwnShards::new(store.topology())),
        "gw0",
    );
    let (threads, each) = (500_u64, 20_u64);
    let mut waiting = JoinSet::new();
    for thread in 0..threads {
        let ingest = idle.conversations.ingest().clone();
        waiting.spawn(async move {
            for n in 0..each {
                let begin = ConversationId::new(1, u128::from(thread));
                let event = message(&format!("t{thread}"), n);
                ingest.take(NewInbound { tenant: MAIN, at: at(0), event, begin, join: Join::Begin }).await.unwrap();
            }
        });
    }
    while let Some(done) = waiting.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.backlog().await.unwrap().inbox, threads * each);
    let began = std::time::Instant::now();
    // Half of the shards come while those of the other half are read: their oldest rows come first all the same.
    let own = Arc::new(OwnShards::new(store.topology()));
    let half = store.topology().shards / 2;
    lease(&store, "gw1", &own, 0..half).await;
    let rig = Rig::of(&store, &(Arc::new(EmbeddedBus::new()) as Arc<dyn Bus>), own, "gw1");
    until("it is at work", || async { store.backlog().await.unwrap().inbox < threads * each * 3 / 4 }).await;
    lease(&store, "gw1", &rig.own, half..half * 2).await;
    rig.until_inbox_is_empty().await;
    let took = began.elapsed();
    println!(
        "{} rows of {threads} threads in {took:?}: {:.0} a second",
        threads * each,
        (threads * each) as f64 / took.as_secs_f64()
    );
    for thread in 0..threads {
        whole(&log(&*store, ConversationId::new(1, u128::from(thread))).await, each);
    }
    rig.tasks.end().await;
}
