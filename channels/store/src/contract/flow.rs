//! Inbox, outbox, deliveries, leases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{Receipt, ReceiptState, SurveyAnswered, SurveyAsked, SurveyWay};
use ark_conversation::samples::{at, ended};
use ark_conversation::{ConversationId, NewEvent, PersonId, Tenant};
use serde_json::json;

use super::{L1, call, conversation};
use crate::{
    After, Attendance, Commit, Committed, DeliveryState, Fence, Join, NewDelivery, NewInbound, Outcome, PersonOf,
    Store, StoreError, Topology,
};

const MAIN: Tenant = Tenant::MAIN;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn suite<S: Store>(open: &impl Fn(&str) -> S) {
    a_message_is_taken_once_and_its_thread_has_one_conversation(&open("a_message_is_taken_once")).await;
    a_thread_joins_an_open_conversation(&open("a_thread_joins_an_open_conversation")).await;
    who_is_asked_how_it_was_answers_there(&open("who_is_asked_how_it_was_answers_there")).await;
    what_follows_stays_with_its_conversation(&open("what_follows_stays_with_its_conversation")).await;
    one_thread_of_many_writers(Arc::new(open("one_thread_of_many_writers"))).await;
    applying_and_appending_is_one_transaction(&open("applying_and_appending_is_one_transaction")).await;
    committed_events_wait_in_the_outbox(&open("committed_events_wait_in_the_outbox")).await;
    deliveries_keep_their_order_and_can_be_taken_up_again(&open("deliveries_keep_their_order")).await;
    a_delivery_is_written_once(&open("a_delivery_is_written_once")).await;
    a_lease_is_held_by_one(&open("a_lease_is_held_by_one")).await;
    a_gateways_id_is_one_place(&open("a_gateways_id_is_one_place")).await;
    nothing_is_written_under_a_stale_lease(&open("nothing_is_written_under_a_stale_lease")).await;
    what_was_decided_by_an_old_log_is_not_written(&open("what_was_decided_by_an_old_log_is_not_written")).await;
    shards_change_when_everything_is_drained(&open("shards_change_when_everything_is_drained")).await;
}

/// A message of a thread.
pub(crate) fn message(thread: &str, n: u64, begin: ConversationId, join: Join) -> NewInbound {
    let NewEvent { tenant, at, mut event, .. } = call(begin, n);
    event.source = format!("/ark/main/web/site/{thread}");
    event.id = format!("m{n}");
    NewInbound { tenant, at, event, begin, join }
}

async fn a_message_is_taken_once_and_its_thread_has_one_conversation(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    let first = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest");
    assert!(first.conversation == a && first.joined && !first.duplicate && first.row > 0);
    assert_eq!(first.shard, store.topology().shard(a));
    let again = store.ingest(message("t1", 1, b, Join::Begin)).await.expect("ingest");
    assert!(again.duplicate && !again.joined && (again.row, again.conversation) == (first.row, a), "{again:?}");
    let second = store.ingest(message("t1", 2, b, Join::Begin)).await.expect("ingest");
    assert!(second.conversation == a && !second.joined && second.row > first.row, "the thread has its conversation");
    let other = store.ingest(message("t2", 1, b, Join::Begin)).await.expect("ingest");
    assert!(other.conversation == b && other.joined, "the same id of another thread is another message");
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t1").await, Ok(Some(a)));
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t9").await, Ok(None));
    let other = Tenant::new("other").expect("a good name");
    assert_eq!(store.thread(&other, "/ark/main/web/site/t1").await, Ok(None));

    let waiting = store.inbox(&[], 0, 10).await.expect("inbox");
    let told: Vec<_> = waiting.iter().map(|one| (one.conversation, one.event.id.as_str())).collect();
    assert_eq!(told, [(a, "m1"), (a, "m2"), (b, "m1")], "in the order in which they came");
    let expected = message("t1", 1, a, Join::Begin);
    assert_eq!((&waiting[0].event, waiting[0].at), (&expected.event, expected.at), "as it came");
    let of_b: Vec<_> = waiting.iter().filter(|one| one.shard == store.topology().shard(b)).cloned().collect();
    assert_eq!(store.inbox(&[store.topology().shard(b)], 0, 10).await.expect("inbox"), of_b);
    assert_eq!(store.inbox(&[], waiting[0].row, 1).await.expect("inbox"), waiting[1..2], "a page after a row");
    assert_eq!(store.backlog().await.expect("backlog").inbox, 3);
}

async fn a_thread_joins_an_open_conversation(store: &impl Store) {
    let (a, b, c, d) = (conversation(1, 1), conversation(2, 2), conversation(3, 3), conversation(4, 4));
    let chen = PersonId::new(7, 7);
    let first = store.ingest(message("t1", 1, a, Join::Person(chen))).await.expect("ingest");
    assert_eq!(first.conversation, a);
    let early = store.ingest(message("t2", 1, b, Join::Person(chen))).await.expect("ingest");
    assert!(early.conversation == a && early.joined, "also before the owner has read the first message");
    let events = vec![call(a, 1)];
    let persons = vec![PersonOf { tenant: MAIN, conversation: a, person: chen }];
    store.commit(Commit { events, persons, ..Commit::default() }).await.expect("commit");
    let second = store.ingest(message("t3", 1, b, Join::Person(chen))).await.expect("ingest");
    assert!(second.conversation == a && second.joined, "a returning customer's new thread");
    let linked = store.ingest(message("t4", 1, b, Join::Conversation(a))).await.expect("ingest");
    assert_eq!(linked.conversation, a, "a companion link");

    store.append(vec![super::new_event(a, 2, ended(L1).into())]).await.expect("the end");
    let late = store.ingest(message("t1", 2, c, Join::Person(chen))).await.expect("ingest");
    assert!(late.conversation == c && late.joined, "what has ended is not joined");
    let other = store.ingest(message("t4", 2, d, Join::Conversation(a))).await.expect("ingest");
    assert_eq!(other.conversation, d);
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t1").await, Ok(Some(c)));
}

async fn who_is_asked_how_it_was_answers_there(store: &impl Store) {
    let (a, b, c) = (conversation(1, 1), conversation(2, 2), conversation(3, 3));
    let first = message("t1", 1, a, Join::Begin);
    let hour = jiff::SignedDuration::from_hours(1);
    let until = first.at + hour;
    store.ingest(first).await.expect("ingest");
    let (scale, message_key) = (5, Some("ark:survey:1".to_owned()));
    let asked =
        SurveyAsked { leg: L1, way: SurveyWay::Buttons, scale, message: message_key, until: Some(until), link: None };
    let events = vec![call(a, 1), super::new_event(a, 2, asked.into()), super::new_event(a, 3, ended(L1).into())];
    store.append(events).await.expect("the end");
    for n in 2..4 {
        let soon = store.ingest(message("t1", n, b, Join::Begin)).await.expect("ingest");
        assert!(soon.conversation == a && !soon.joined, "{soon:?}");
    }
    let late = NewInbound { at: until + hour, ..message("t1", 4, b, Join::Begin) };
    let late = store.ingest(late).await.expect("ingest");
    assert!(late.conversation == b && late.joined, "{late:?}");

    // Who has answered begins anew.
    store.ingest(message("t2", 1, c, Join::Begin)).await.expect("ingest");
    let asked = SurveyAsked { leg: L1, way: SurveyWay::Buttons, scale, message: None, until: Some(until), link: None };
    let answered = SurveyAnswered { leg: L1, way: SurveyWay::Buttons, score: 5, scale, comment: None };
    let events = [asked.into(), answered.into(), ended(L1).into()];
    let events = (2..).zip(events).map(|(n, event)| super::new_event(c, n, event));
    store.append(std::iter::once(call(c, 1)).chain(events).collect()).await.expect("the end");
    let next = store.ingest(message("t2", 2, conversation(4, 4), Join::Begin)).await.expect("ingest");
    assert!(next.conversation == conversation(4, 4) && next.joined, "{next:?}");
}

/// A receipt that comes when all is over begins nothing.
async fn what_follows_stays_with_its_conversation(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(2, 2));
    store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest");
    store.append(vec![call(a, 1), super::new_event(a, 2, ended(L1).into())]).await.expect("the end");
    let read = Receipt {
        thread: "t1".to_owned(),
        message: "k1".to_owned(),
        state: ReceiptState::Read,
        native_id: None,
        reason: None,
    };
    let mut late = message("t1", 2, b, Join::Begin);
    late.event.event = read.into();
    for new in [late.clone(), late] {
        let taken = store.ingest(new).await.expect("ingest");
        assert!(taken.conversation == a && !taken.joined, "{taken:?}");
    }
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t1").await, Ok(Some(a)));
    let next = store.ingest(message("t1", 3, b, Join::Begin)).await.expect("ingest");
    assert!(next.conversation == b && next.joined, "a message begins anew: {next:?}");
}

async fn one_thread_of_many_writers<S: Store>(store: Arc<S>) {
    let tasks: Vec<_> = (0..64_u64)
        .map(|n| {
            let store = Arc::clone(&store);
            // Each message comes twice, and everybody would begin another conversation.
            let new = message("t1", n / 2, conversation(1, u128::from(n)), Join::Begin);
            tokio::spawn(async move { store.ingest(new).await.expect("ingest") })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a writer that went well"));
    }
    assert!(answers.iter().all(|one| one.conversation == answers[0].conversation), "one conversation");
    assert_eq!(answers.iter().filter(|one| one.joined).count(), 1);
    assert_eq!(answers.iter().filter(|one| !one.duplicate).count(), 32);
    assert_eq!(store.inbox(&[], 0, 100).await.expect("inbox").len(), 32);
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].row, pair[1].row, "a duplicate has the row of the first");
    }
}

async fn applying_and_appending_is_one_transaction(store: &impl Store) {
    let a = conversation(1, 1);
    let row = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest").row;
    let mut bad = call(a, 2);
    bad.event.id.clear();
    let refused = Commit { applied: vec![row], events: vec![call(a, 1), bad], ..Commit::default() };
    assert!(matches!(store.commit(refused).await, Err(StoreError::Refused(_))));
    let unknown = vec![PersonOf { tenant: MAIN, conversation: conversation(9, 9), person: PersonId::new(1, 1) }];
    let refused = Commit { applied: vec![row], events: vec![call(a, 1)], persons: unknown, ..Commit::default() };
    assert!(matches!(store.commit(refused).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.inbox(&[], 0, 10).await.expect("inbox").len(), 1, "still waiting");
    assert_eq!(store.summary(&MAIN, a).await, Ok(None), "and nothing in the log");

    let commit = Commit { applied: vec![row], events: vec![call(a, 1)], ..Commit::default() };
    let Committed { appended, .. } = store.commit(commit.clone()).await.expect("commit");
    assert_eq!((appended[0].record.seq, appended[0].duplicate), (1, false));
    assert!(store.inbox(&[], 0, 10).await.expect("inbox").is_empty(), "applied");
    let again = store.commit(commit).await.expect("the same commit again is no error");
    assert!(again.appended[0].duplicate);
    let late = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest");
    assert!(late.duplicate && late.row == row, "what was applied stays known");
}

async fn committed_events_wait_in_the_outbox(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    store.append(vec![call(a, 1), call(b, 10), call(a, 2), call(a, 1)]).await.expect("append");
    store.append(vec![call(a, 3)]).await.expect("append");
    let many: Vec<NewEvent> = (100..300).map(|n| call(b, n)).collect();
    store.append(many).await.expect("append");
    let waiting = store.outbox(&[], &[], 100).await.expect("outbox");
    for id in [a, b] {
        let sent = waiting.iter().flat_map(|row| &row.records).filter(|record| record.conversation == id);
        let log = store.read(&MAIN, id, 0, 1_000).await.expect("a read");
        assert!(sent.eq(&log), "each committed event once, in order");
    }
    assert!(waiting.windows(2).all(|pair| pair[0].row < pair[1].row));
    assert!(waiting.iter().all(|row| row.records.len() <= crate::limits::OUTBOX_ROW_EVENTS));
    let shard = store.topology().shard(a);
    let of_a = store.outbox(&[shard], &[], 100).await.expect("outbox");
    assert!(of_a.iter().all(|row| row.shard == shard) && !of_a.is_empty());
    assert_eq!(store.outbox(&[], &[], 1).await.expect("outbox"), waiting[..1]);
    let under_way: Vec<u64> = waiting.iter().map(|row| row.row).step_by(2).collect();
    let others = store.outbox(&[], &under_way, 100).await.expect("outbox");
    assert!(others.iter().eq(waiting.iter().skip(1).step_by(2)), "what is under way is passed over");

    let done: Vec<u64> = waiting.iter().map(|row| row.row).collect();
    store.outbox_done(done.clone()).await.expect("done");
    store.outbox_done(done.clone()).await.expect("done twice");
    assert!(store.outbox(&[], &[], 100).await.expect("outbox").is_empty());
    store.append(vec![call(a, 4)]).await.expect("append");
    let next = store.outbox(&[], &[], 100).await.expect("outbox");
    assert!(next[0].row > *done.last().expect("rows"), "numbers are never used again");
    assert_eq!(next[0].records[0].seq, 4);
}

fn delivery(key: &str, order_key: &str) -> NewDelivery {
    NewDelivery {
        tenant: MAIN,
        adapter: "web".to_owned(),
        key: key.to_owned(),
        order_key: order_key.to_owned(),
        conversation: conversation(1, 1),
        body: json!({ "text": format!("{key}: 您好") }),
        not_before: None,
    }
}

async fn deliver(store: &impl Store, deliveries: Vec<NewDelivery>) -> usize {
    store.commit(Commit { deliveries, ..Commit::default() }).await.expect("commit").deliveries
}

async fn deliveries_keep_their_order_and_can_be_taken_up_again(store: &impl Store) {
    let keys = [("k1", "t1"), ("k2", "t1"), ("k3", "t2"), ("k4", "t1")];
    assert_eq!(deliver(store, keys.iter().map(|(key, order)| delivery(key, order)).collect()).await, 4);
    let claim = async |ttl| store.claim_deliveries("web", "gw1", ttl, 10).await.expect("claim");
    let keys = |claimed: &[crate::Delivery]| claimed.iter().map(|one| one.what.key.clone()).collect::<Vec<_>>();
    let first = claim(MINUTE).await;
    assert_eq!(keys(&first), ["k1", "k3"], "of each order key the oldest");
    assert_eq!(first[0].what, delivery("k1", "t1"));
    assert_eq!((first[0].state, first[0].attempts), (DeliveryState::Claimed, 1));
    assert!(claim(MINUTE).await.is_empty(), "nobody else gets them, nor what is behind them");
    assert!(store.claim_deliveries("other", "gw1", MINUTE, 10).await.expect("claim").is_empty());

    let settle = async |id, attempt, outcome| store.settle_delivery(id, attempt, outcome).await.expect("settle");
    let retry = Outcome::Retry { error: "429".to_owned(), after: Duration::ZERO };
    assert!(settle(first[0].id, 1, retry.clone()).await);
    assert!(!settle(first[0].id, 1, Outcome::Delivered).await, "an attempt ends once");
    let second = claim(MINUTE).await;
    assert_eq!((keys(&second), second[0].attempts), (vec!["k1".to_owned()], 2), "a retry is not overtaken");
    assert_eq!(second[0].error.as_deref(), Some("429"));
    let later = Outcome::Retry { error: "503".to_owned(), after: MINUTE };
    assert!(settle(second[0].id, 2, later).await);
    assert!(claim(MINUTE).await.is_empty(), "its time has not come, and nothing passes it");
    assert_eq!(store.backlog().await.expect("backlog").deliveries, 4);

    assert!(settle(first[1].id, 1, Outcome::GiveUp { error: "gone".to_owned() }).await);
    let dead = store.deliveries(&MAIN, "web", DeliveryState::Dead, 0, 10).await.expect("dead");
    assert_eq!((keys(&dead), dead[0].error.as_deref()), (vec!["k3".to_owned()], Some("gone")));
    assert_eq!(store.backlog().await.expect("backlog").dead, 1);
    let other = Tenant::new("other").expect("a good name");
    assert_eq!(store.replay_delivery(&other, dead[0].id).await, Ok(false));
    assert_eq!(store.replay_delivery(&MAIN, dead[0].id).await, Ok(true));
    assert_eq!(store.replay_delivery(&MAIN, dead[0].id).await, Ok(false), "it waits already");
    let again = claim(Duration::from_millis(1)).await;
    assert_eq!(keys(&again), ["k3"]);
    let taken = until(|| store.claim_deliveries("web", "gw2", MINUTE, 10), |claimed| !claimed.is_empty()).await;
    assert_eq!((keys(&taken), taken[0].attempts), (vec!["k3".to_owned()], 2), "a claim that ran out");
    assert_eq!(taken[0].error.as_deref(), Some(crate::LAPSED), "and that is told");
    assert!(!settle(taken[0].id, 1, Outcome::Delivered).await, "the first claimant is late");
    assert!(settle(taken[0].id, 2, Outcome::Delivered).await);
    let done = store.deliveries(&MAIN, "web", DeliveryState::Done, 0, 10).await.expect("done");
    assert_eq!((keys(&done), done[0].error.as_deref()), (vec!["k3".to_owned()], None));
}

async fn a_delivery_is_written_once(store: &impl Store) {
    assert_eq!(deliver(store, vec![delivery("k1", "t1"), delivery("k1", "t1"), delivery("k2", "t2")]).await, 2);
    assert_eq!(deliver(store, vec![delivery("k1", "t1"), delivery("k3", "t1")]).await, 1);
    let far = NewDelivery { not_before: Some(at(10_i64.pow(12))), ..delivery("k4", "t4") };
    assert_eq!(deliver(store, vec![far.clone()]).await, 1);
    let claimed = store.claim_deliveries("web", "gw1", MINUTE, 10).await.expect("claim");
    assert_eq!(claimed.len(), 2, "k4 has its time");
    let waiting = store.deliveries(&MAIN, "web", DeliveryState::Waiting, claimed[0].id, 10).await.expect("waiting");
    assert_eq!(waiting.last().expect("k4").what, far);
    let large = NewDelivery { body: "x".repeat(crate::limits::DELIVERY_BYTES_MAX).into(), ..delivery("k5", "t5") };
    let refused = store.commit(Commit { deliveries: vec![large], ..Commit::default() }).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
}

async fn a_lease_is_held_by_one(store: &impl Store) {
    let first = store.claim(3, "gw1", MINUTE).await.expect("free");
    assert_eq!((first.shard, first.gateway.as_str(), first.number), (3, "gw1", 1));
    let held = store.claim(3, "gw2", MINUTE).await;
    assert!(matches!(&held, Err(StoreError::Held { shard: 3, gateway, left_ms }) if gateway == "gw1" && *left_ms > 0));
    let again = store.claim(3, "gw1", MINUTE).await.expect("its own, started again");
    assert_eq!(again.number, 2, "a new fence");
    assert_eq!(store.renew(vec![first.clone(), again.clone()], MINUTE).await, Ok(vec![false, true]));
    store.release(vec![first]).await.expect("a stale one is no error");
    assert!(store.claim(3, "gw2", MINUTE).await.is_err(), "and changes nothing");
    store.release(vec![again.clone()]).await.expect("release");
    let next = store.claim(3, "gw2", Duration::from_millis(1)).await.expect("given back");
    assert_eq!(next.number, 3);
    let taken = until(|| store.claim(3, "gw1", MINUTE), |_| true).await;
    assert_eq!(taken.number, 4, "run out");
    assert_eq!(store.renew(vec![next], MINUTE).await, Ok(vec![false]));
    let leases = store.leases().await.expect("leases");
    assert!(leases.len() == 1 && leases[0].gateway.as_deref() == Some("gw1") && leases[0].left_ms > 0);
    assert!(matches!(store.claim(64, "gw1", MINUTE).await, Err(StoreError::Refused(_))), "there are 64");
    assert!(matches!(store.claim(1, "gw1", MINUTE * 60).await, Err(StoreError::Refused(_))), "too long");
}

async fn a_gateways_id_is_one_place(store: &impl Store) {
    let who = |gateway: &str, place: &str, process: &str| Attendance {
        gateway: gateway.to_owned(),
        place: place.to_owned(),
        process: process.to_owned(),
    };
    let first = who("gw1", "rack 1", "p1");
    let all = store.attend(first.clone(), MINUTE).await.expect("the first");
    assert!(all.len() == 1 && all[0].process == "p1" && all[0].left_ms > 0, "{all:?}");
    let taken = store.attend(who("gw1", "rack 2", "p2"), MINUTE).await;
    assert!(
        matches!(&taken, Err(StoreError::Taken { gateway, left_ms }) if gateway == "gw1" && *left_ms > 0),
        "{taken:?}"
    );
    let all = store.attend(who("gw2", "rack 2", "p2"), MINUTE).await.expect("another id");
    assert_eq!(all.iter().map(|one| one.gateway.as_str()).collect::<Vec<_>>(), ["gw1", "gw2"]);
    let again = who("gw1", "rack 1", "p3");
    let all = store.attend(again.clone(), MINUTE).await.expect("started again, in its own place");
    assert_eq!(all[0].process, "p3");
    store.leave(first).await.expect("the process that was replaced changes nothing");
    assert!(store.attend(who("gw1", "rack 2", "p4"), MINUTE).await.is_err());
    store.leave(again.clone()).await.expect("leave");
    let short = who("gw1", "rack 2", "p4");
    let all = store.attend(short, Duration::from_millis(1)).await.expect("it has left");
    assert_eq!(all[0].process, "p4");
    let all = until(|| store.attend(again.clone(), MINUTE), |_| true).await;
    assert!(all[0].process == "p3" && all[0].left_ms > 0, "the other's time has run out: {all:?}");
    assert!(matches!(store.attend(again, Duration::ZERO).await, Err(StoreError::Refused(_))));
}

async fn nothing_is_written_under_a_stale_lease(store: &impl Store) {
    let a = conversation(1, 1);
    let shard = store.topology().shard(a);
    let commit =
        |fence: &Fence, n| Commit { fence: Some(fence.clone()), events: vec![call(a, n)], ..Commit::default() };
    let never = Fence { shard, gateway: "gw1".to_owned(), number: 1 };
    assert!(matches!(store.commit(commit(&never, 1)).await, Err(StoreError::Fenced { .. })), "never claimed");
    let old = store.claim(shard, "gw1", MINUTE).await.expect("free");
    store.commit(commit(&old, 1)).await.expect("its own");
    let new = store.claim(shard, "gw1", MINUTE).await.expect("started again");
    let row = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest").row;
    let stale = Commit { applied: vec![row], deliveries: vec![delivery("k1", "t1")], ..commit(&old, 2) };
    let fenced = StoreError::Fenced { shard, number: old.number };
    assert_eq!(store.commit(stale).await, Err(fenced));
    assert_eq!(store.read(&MAIN, a, 0, 10).await.expect("a read").len(), 1, "nothing in the log");
    assert_eq!(store.inbox(&[], 0, 10).await.expect("inbox").len(), 1, "nothing applied");
    assert_eq!(store.backlog().await.expect("backlog").deliveries, 0);
    // Beside each other in one group.
    let (stale, good) = (store.commit(commit(&old, 3)), store.commit(commit(&new, 4)));
    let (stale, good) = (stale.await, good.await);
    assert!(matches!(stale, Err(StoreError::Fenced { .. })) && good.expect("its own").appended[0].record.seq == 2);
    store.release(vec![new.clone()]).await.expect("release");
    assert!(matches!(store.commit(commit(&new, 5)).await, Err(StoreError::Fenced { .. })), "given back");

    let other = (0..).map(|n| conversation(5, n)).find(|id| store.topology().shard(*id) != shard).expect("one");
    let held = store.claim(shard, "gw1", MINUTE).await.expect("free");
    let foreign = Commit { fence: Some(held), events: vec![call(other, 1)], ..Commit::default() };
    assert!(matches!(store.commit(foreign).await, Err(StoreError::Refused(_))), "another shard's conversation");
}

async fn what_was_decided_by_an_old_log_is_not_written(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    let after = |conversation, seq| After { tenant: MAIN, conversation, seq };
    let commit = |seq, n| Commit { after: vec![after(a, seq)], events: vec![call(a, n)], ..Commit::default() };
    store.commit(commit(0, 1)).await.expect("a new log");
    store.append(vec![call(a, 2)]).await.expect("somebody else");
    let row = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest").row;
    let old = Commit { applied: vec![row], deliveries: vec![delivery("k1", "t1")], ..commit(1, 3) };
    assert_eq!(store.commit(old).await, Err(StoreError::GoneOn { conversation: a, seq: 1 }));
    assert_eq!(store.read(&MAIN, a, 0, 10).await.expect("a read").len(), 2, "nothing in the log");
    let backlog = store.backlog().await.expect("backlog");
    assert_eq!((backlog.inbox, backlog.deliveries), (1, 0), "nothing else either");
    // A fact of somebody who knows of no change of owner is written under the epoch that there is.
    let owned = NewEvent { epoch: 3, ..call(b, 20) };
    store.append(vec![owned, call(b, 21)]).await.expect("an append");
    let epochs: Vec<u64> = store.read(&MAIN, b, 0, 10).await.expect("a read").iter().map(|one| one.epoch).collect();
    assert_eq!(epochs, [3, 3], "an epoch never goes back");
    // One behind the other in one group: each by what the one before writes, and one beside them that is late.
    let late = Commit { after: vec![after(a, 2), after(b, 7)], events: vec![call(b, 9)], ..Commit::default() };
    let answers =
        (store.commit(commit(2, 3)), store.commit(late), store.commit(commit(3, 4)), store.commit(commit(3, 5)));
    assert_eq!(answers.0.await.expect("the next").appended[0].record.seq, 3);
    assert!(matches!(answers.1.await, Err(StoreError::GoneOn { .. })));
    assert_eq!(answers.2.await.expect("the one after").appended[0].record.seq, 4);
    assert_eq!(answers.3.await, Err(StoreError::GoneOn { conversation: a, seq: 3 }));
    let only = Commit { after: vec![after(conversation(1, 3), 0)], applied: vec![row], ..Commit::default() };
    store.commit(only).await.expect("a conversation without a log is at 0");
}

async fn shards_change_when_everything_is_drained(store: &impl Store) {
    assert_eq!(store.topology(), Topology::FIRST);
    let next = Topology { version: 2, shards: 256 };
    let conflict = |answer: Result<(), StoreError>| matches!(answer, Err(StoreError::Conflict(_)));
    assert!(conflict(store.set_topology(Topology { version: 3, ..next }).await), "2 follows 1");
    assert!(matches!(store.set_topology(Topology { shards: 0, ..next }).await, Err(StoreError::Refused(_))));
    let row = store.ingest(message("t1", 1, conversation(1, 1), Join::Begin)).await.expect("ingest").row;
    assert!(conflict(store.set_topology(next).await), "the inbox waits");
    store.commit(Commit { applied: vec![row], ..Commit::default() }).await.expect("commit");
    let fence = store.claim(1, "gw1", MINUTE).await.expect("free");
    assert!(conflict(store.set_topology(next).await), "a lease is held");
    store.release(vec![fence]).await.expect("release");
    store.set_topology(next).await.expect("drained");
    assert!(matches!(store.claim(1, "gw1", MINUTE).await, Err(StoreError::Conflict(_))), "opened with the old number");
}

/// Asks again until the answer is good; in the end fails with the last one.
async fn until<T: std::fmt::Debug, F: Future<Output = Result<T, StoreError>>>(
    ask: impl Fn() -> F,
    good: impl Fn(&T) -> bool,
) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(answer) if good(&answer) => return answer,
            other => assert!(begun.elapsed() < Duration::from_secs(15), "{other:?}"),
        }
    }
}
