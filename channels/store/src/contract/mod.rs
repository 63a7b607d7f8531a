//! The laws of [`Store`] as tests that every backend runs: `contract::suite(open).await` in its own tests.
//!
//! `open` gives an empty store with an outbox for each name that it is called with. A broken law panics with its name.

mod accounts;
mod direct;
mod feed;
pub(crate) mod flow;
mod notes;
mod people;
mod search;
mod tokens;

use std::sync::Arc;

use ark_conversation::event::{EndCause, PlanPublished, Role};
use ark_conversation::samples::{self, at, ended, new_event, ringing};
use ark_conversation::{ConversationId, ConversationKind, Event, LegId, NewEvent, Tenant};

use crate::limits::{APPEND_EVENTS_MAX, EVENT_BYTES_MAX};
use crate::{ListFilter, NewPlanVersion, Openness, PlanChange, PlanChangeKind, Store, StoreError};

const L1: LegId = LegId(1);

/// A conversation that began in millisecond `ms` after the samples' day.
fn conversation(ms: i64, random: u128) -> ConversationId {
    ConversationId::new(u64::try_from(at(ms).as_millisecond()).expect("a time after 1970"), random)
}

fn call(conversation: ConversationId, n: u64) -> NewEvent {
    new_event(conversation, n, ringing(L1, Role::Customer).into())
}

/// Runs every law, each on an empty store of its own.
///
/// # Panics
/// When a law is broken.
pub async fn suite<S: Store>(open: impl Fn(&str) -> S) {
    order_is_gap_free_within_each_conversation(&open("order_is_gap_free_within_each_conversation")).await;
    an_event_is_in_the_log_once(&open("an_event_is_in_the_log_once")).await;
    an_append_is_all_or_nothing(&open("an_append_is_all_or_nothing")).await;
    what_is_read_is_what_was_appended(&open("what_is_read_is_what_was_appended")).await;
    many_writers_share_a_conversation(Arc::new(open("many_writers_share_a_conversation"))).await;
    readers_see_a_prefix(Arc::new(open("readers_see_a_prefix"))).await;
    conversations_are_listed_newest_first_in_pages(&open("conversations_are_listed_newest_first_in_pages")).await;
    a_summary_is_the_fold_of_the_log(&open("a_summary_is_the_fold_of_the_log")).await;
    tenants_do_not_see_each_other(&open("tenants_do_not_see_each_other")).await;
    plans_keep_their_versions_and_their_history(&open("plans_keep_their_versions_and_their_history")).await;
    a_plan_goes_live_with_its_event(&open("a_plan_goes_live_with_its_event")).await;
    tokens::tokens_are_kept_used_and_taken_back(&open("tokens_are_kept_used_and_taken_back")).await;
    accounts::accounts_are_kept_changed_and_removed(&open("accounts_are_kept_changed_and_removed")).await;
    accounts::accounts_that_do_not_fit_are_refused(&open("accounts_that_do_not_fit_are_refused")).await;
    accounts::sessions_last_until_something_ends_them(&open("sessions_last_until_something_ends_them")).await;
    notes::a_note_is_changed_by_who_knew_it(&open("a_note_is_changed_by_who_knew_it")).await;
    search::words_are_found_newest_first(&open("words_are_found_newest_first")).await;
    a_store_is_well_and_has_an_id(&open("a_store_is_well_and_has_an_id")).await;
    flow::suite(&open).await;
    direct::suite(&open).await;
    feed::suite(&open).await;
    people::suite(&open).await;
}

/// L1: `seq` is 1, 2, 3 ... within each conversation, whatever else is in the same append.
///
/// # Panics
/// When the law is broken.
pub async fn order_is_gap_free_within_each_conversation(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    for round in 0..5 {
        let events = vec![call(a, round * 2 + 1), call(b, round + 100), call(a, round * 2 + 2)];
        let appended = store.append(events).await.expect("L1");
        let seqs: Vec<u64> = appended.iter().map(|one| one.record.seq).collect();
        assert_eq!(seqs, [round * 2 + 1, round + 1, round * 2 + 2], "L1: numbers without gaps, in the order given");
    }
    for (id, count) in [(a, 10), (b, 5)] {
        let seqs: Vec<u64> = store.read(&Tenant::MAIN, id, 0, 100).await.expect("L1").iter().map(|r| r.seq).collect();
        assert_eq!(seqs, (1..=count).collect::<Vec<u64>>(), "L1: the log has them");
    }
    assert_eq!(store.append(Vec::new()).await, Ok(Vec::new()), "nothing to append is no error");
}

/// L4: the same (tenant, source, id) is in the log once, within one append and across appends, also in another
/// conversation.
///
/// # Panics
/// When the law is broken.
pub async fn an_event_is_in_the_log_once(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    let first = store.append(vec![call(a, 1), call(a, 1), call(a, 2)]).await.expect("L4");
    let told: Vec<(u64, bool)> = first.iter().map(|one| (one.record.seq, one.duplicate)).collect();
    assert_eq!(told, [(1, false), (1, true), (2, false)], "L4: a duplicate in the same append");

    let mut elsewhere = call(a, 2);
    elsewhere.conversation = b;
    elsewhere.at = at(99_000);
    let again = store.append(vec![call(a, 1), elsewhere, call(b, 3), call(a, 3)]).await.expect("L4");
    let told: Vec<_> = again.iter().map(|one| (one.record.conversation, one.record.seq, one.duplicate)).collect();
    assert_eq!(
        told,
        [(a, 1, true), (a, 2, true), (b, 1, false), (a, 3, false)],
        "L4: the record that is there is answered"
    );
    assert_eq!(again[1].record, first[2].record, "L4: as it was first written");
    assert_eq!(store.read(&Tenant::MAIN, a, 0, 100).await.expect("L4").len(), 3);
}

/// What cannot be stored is refused as a whole, and the store goes on.
///
/// # Panics
/// When the law is broken.
pub async fn an_append_is_all_or_nothing(store: &impl Store) {
    let a = conversation(1, 1);
    let spoiled = |spoil: fn(&mut NewEvent)| {
        let mut event = call(a, 9);
        spoil(&mut event);
        vec![call(a, 1), event]
    };
    let cases = [
        spoiled(|event| event.event.id.clear()),
        spoiled(|event| event.event.source = "x".repeat(5_000)),
        spoiled(|event| event.event.source = "/ark/\0".to_owned()),
        spoiled(|event| event.event.subject = Some("L1\0".to_owned())),
        spoiled(|event| event.epoch = 0),
        spoiled(|event| {
            event.event.extensions.insert("big".to_owned(), "x".repeat(EVENT_BYTES_MAX + 1).into());
        }),
        (1..).map(|n| call(a, n)).take(APPEND_EVENTS_MAX + 1).collect(),
    ];
    for events in cases {
        assert!(matches!(store.append(events).await, Err(StoreError::Refused(_))), "refused, with the reason");
    }
    assert!(
        store.read(&Tenant::MAIN, a, 0, 100).await.expect("a read").is_empty(),
        "nothing of a refused append is there"
    );
    assert_eq!(store.append(vec![call(a, 1)]).await.expect("the store goes on")[0].record.seq, 1);
}

/// Every event type, every attribute, is read as it was appended; pages are cut by number.
///
/// # Panics
/// When the law is broken.
pub async fn what_is_read_is_what_was_appended(store: &impl Store) {
    let a = conversation(1, 1);
    let mut events: Vec<NewEvent> = (1..).zip(samples::story()).map(|(n, event)| new_event(a, n, event)).collect();
    events[1].event.subject = Some("L1".to_owned());
    events[1]
        .event
        .extensions
        .insert("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01".into());
    events.iter_mut().skip(2).for_each(|event| event.epoch = 7);
    let count = events.len();
    let appended: Vec<_> =
        store.append(events.clone()).await.expect("an append").into_iter().map(|one| one.record).collect();
    let expected: Vec<_> = (1..).zip(events).map(|(seq, event)| event.into_record(seq)).collect();
    assert_eq!(appended, expected, "answered as it was given");
    assert_eq!(store.read(&Tenant::MAIN, a, 0, 1_000).await.expect("a read"), expected, "read as it was given");

    assert_eq!(store.read(&Tenant::MAIN, a, 3, 2).await.expect("a read"), expected[3..5], "a page from the middle");
    assert!(store.read(&Tenant::MAIN, a, count as u64, 10).await.expect("a read").is_empty(), "nothing after the end");
    assert!(store.read(&Tenant::MAIN, a, u64::MAX, 10).await.expect("a read").is_empty());
    assert!(
        store.read(&Tenant::MAIN, conversation(1, 9), 0, 10).await.expect("a read").is_empty(),
        "no such conversation"
    );
}

/// L1 and L2 with many appends in flight at once: all are there, each conversation without gaps.
///
/// # Panics
/// When the law is broken.
pub async fn many_writers_share_a_conversation<S: Store>(store: Arc<S>) {
    const WRITERS: u64 = 40;
    const EACH: u64 = 10;
    let id = |n: u64| conversation(1, u128::from(n % 3));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..EACH {
                    let number = writer * EACH + n;
                    let appended = store.append(vec![call(id(number), number)]).await.expect("L2");
                    assert!(!appended[0].duplicate && appended[0].record.seq > 0, "L1");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer that went well");
    }
    let mut total = 0;
    for n in 0..3 {
        let log = store.read(&Tenant::MAIN, id(n), 0, 1_000).await.expect("a read");
        assert!((1..).zip(&log).all(|(seq, record)| record.seq == seq), "L1: without gaps under load");
        total += log.len() as u64;
    }
    assert_eq!(total, WRITERS * EACH, "L2: everything acknowledged is there");
}

/// L5: while a log grows, every read is a prefix of it, at least as long as what was acknowledged before the read
/// began.
///
/// # Panics
/// When the law is broken.
pub async fn readers_see_a_prefix<S: Store>(store: Arc<S>) {
    let a = conversation(1, 1);
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..50 {
                store.append(vec![call(a, n * 2), call(a, n * 2 + 1)]).await.expect("an append");
                let seen = store.read(&Tenant::MAIN, a, 0, 1_000).await.expect("a read").len() as u64;
                assert!(seen >= (n + 1) * 2, "L5: what was acknowledged is seen");
            }
        })
    };
    let mut before = Vec::new();
    while before.len() < 100 {
        let now = store.read(&Tenant::MAIN, a, 0, 1_000).await.expect("a read");
        assert!(now.starts_with(&before), "L5: what was seen stays");
        assert!((1..).zip(&now).all(|(seq, record)| record.seq == seq), "L5: a prefix has no holes");
        assert!(now.len() % 2 == 0, "L5: an append is seen as a whole");
        before = now;
        tokio::task::yield_now().await;
    }
    writer.await.expect("a writer that went well");
}

/// Lists: newest first, pages that join, open and ended, by kind and by time.
///
/// # Panics
/// When the law is broken.
pub async fn conversations_are_listed_newest_first_in_pages(store: &impl Store) {
    let ids: Vec<_> = (0..10).map(|n| conversation(n * 1_000, 1)).collect();
    for (n, id) in (0..).zip(&ids) {
        store.append(vec![call(*id, n * 10)]).await.expect("an append");
        if n % 2 == 0 {
            store.append(vec![new_event(*id, n * 10 + 1, ended(L1).into())]).await.expect("an append");
        }
    }
    let published = new_event(ConversationId::SYSTEM, 1, published(1).into());
    store.append(vec![published]).await.expect("an append");

    let list = async |filter: ListFilter, limit| store.list(&Tenant::MAIN, filter, limit).await.expect("a list");
    let mut seen = Vec::new();
    let mut before = None;
    for _ in 0..4 {
        let page = list(ListFilter { before, ..ListFilter::default() }, 3).await;
        seen.extend(page.conversations.iter().map(|state| state.conversation));
        before = page.next;
    }
    assert!(before.is_none() && seen.iter().eq(ids.iter().rev()), "newest first, each once, the system's log left out");

    let open = list(ListFilter { openness: Openness::Open, ..ListFilter::default() }, 100).await;
    assert!(
        open.conversations.len() == 5 && open.conversations.iter().all(|state| state.is_open()) && open.next.is_none()
    );
    let over = list(ListFilter { openness: Openness::Ended, ..ListFilter::default() }, 100).await;
    assert!(over.conversations.len() == 5 && !over.conversations.iter().any(|state| state.is_open()));
    let late = list(ListFilter { since: Some(at(7_000)), ..ListFilter::default() }, 100).await;
    assert_eq!(late.conversations.len(), 3, "those that began at or after");
    let system = list(ListFilter { kind: Some(ConversationKind::System), ..ListFilter::default() }, 100).await;
    assert_eq!(system.conversations[0].conversation, ConversationId::SYSTEM);
}

/// A summary is what folding the whole log gives.
///
/// # Panics
/// When the law is broken.
pub async fn a_summary_is_the_fold_of_the_log(store: &impl Store) {
    let a = conversation(1, 1);
    assert_eq!(store.summary(&Tenant::MAIN, a).await, Ok(None));
    for (n, event) in (1..).zip(samples::story()) {
        store.append(vec![new_event(a, n, event)]).await.expect("an append");
        let log = store.read(&Tenant::MAIN, a, 0, 1_000).await.expect("a read");
        assert_eq!(store.summary(&Tenant::MAIN, a).await, Ok(Some(samples::fold(&log))), "after event {n}");
    }
    let ended = store.summary(&Tenant::MAIN, a).await.expect("a summary").expect("it is there");
    assert_eq!(ended.leg(L1).and_then(|leg| leg.cause), Some(EndCause::Hangup));
}

/// The tenant is part of every key.
///
/// # Panics
/// When the law is broken.
pub async fn tenants_do_not_see_each_other(store: &impl Store) {
    let (a, other) = (conversation(1, 1), Tenant::new("other").expect("a good name"));
    let mut theirs = call(a, 1);
    theirs.tenant = other.clone();
    let appended = store.append(vec![call(a, 1), theirs]).await.expect("an append");
    assert!(
        appended.iter().all(|one| one.record.seq == 1 && !one.duplicate),
        "the same conversation, source and id twice"
    );
    assert_eq!(store.read(&other, a, 0, 10).await.expect("a read").len(), 1);
    let third = Tenant::new("third").expect("a good name");
    assert_eq!(store.summary(&third, a).await, Ok(None));
    assert!(store.list(&third, ListFilter::default(), 10).await.expect("a list").conversations.is_empty());
}

fn plan(n: u8) -> NewPlanVersion {
    NewPlanVersion {
        tenant: Tenant::MAIN,
        name: "hotline".to_owned(),
        sha256: format!("{n:064x}"),
        source: format!("# version {n}\n"),
        at: at(i64::from(n)),
        by: "file".to_owned(),
        note: None,
    }
}

fn live(version: u32, kind: PlanChangeKind) -> PlanChange {
    PlanChange {
        tenant: Tenant::MAIN,
        name: "hotline".to_owned(),
        version,
        kind,
        at: at(i64::from(version)),
        by: "api".to_owned(),
        note: Some("because".to_owned()),
    }
}

fn published(version: u32) -> PlanPublished {
    PlanPublished {
        plan: "hotline".to_owned(),
        version,
        sha256: format!("{version:064x}"),
        previous: None,
        by: "file".to_owned(),
        note: None,
    }
}

/// Versions count up, the same source is the same version, history stays.
///
/// # Panics
/// When the law is broken.
pub async fn plans_keep_their_versions_and_their_history(store: &impl Store) {
    let main = Tenant::MAIN;
    assert_eq!(store.live_plan(&main, "hotline").await, Ok(None));
    let first = store.put_plan_version(plan(1)).await.expect("a version");
    assert!(first.version == 1 && !first.live, "put does not publish");
    assert_eq!(store.put_plan_version(plan(2)).await.expect("a version").version, 2);
    let again = store.put_plan_version(NewPlanVersion { at: at(50), ..plan(1) }).await.expect("a version");
    assert_eq!(again, first, "the same source is the version that is there");

    let no_such = StoreError::NoSuchPlan { name: "hotline".to_owned(), version: 3 };
    assert_eq!(store.set_live_plan(live(3, PlanChangeKind::Published), None).await, Err(no_such));
    let mut steps = Vec::new();
    for (version, kind) in
        [(1, PlanChangeKind::Published), (2, PlanChangeKind::Published), (1, PlanChangeKind::RolledBack)]
    {
        let set = store.set_live_plan(live(version, kind), None).await.expect("a change");
        assert!(set.live.live && set.live.version == version);
        steps.push(set.previous);
        assert_eq!(store.live_plan(&main, "hotline").await.expect("a plan"), Some(set.live));
    }
    assert_eq!(steps, [None, Some(1), Some(2)]);
    let unchanged = store.set_live_plan(live(1, PlanChangeKind::Published), None).await.expect("no change");
    assert_eq!(unchanged.previous, Some(1));

    let versions = store.plan_versions(&main, Some("hotline"), 10).await.expect("versions");
    assert_eq!(versions.iter().map(|v| (v.version, v.live)).collect::<Vec<_>>(), [(2, false), (1, true)]);
    assert_eq!(store.plan_versions(&main, None, 1).await.expect("versions").len(), 1);
    assert_eq!(
        store.plan_version(&main, "hotline", 2).await.expect("a plan").expect("it is there").source,
        "# version 2\n"
    );
    let history = store.plan_history(&main, "hotline", 10).await.expect("history");
    let expected =
        [live(1, PlanChangeKind::RolledBack), live(2, PlanChangeKind::Published), live(1, PlanChangeKind::Published)];
    assert_eq!(history, expected, "what was live when, newest first");

    let bad = NewPlanVersion { sha256: "no".to_owned(), ..plan(9) };
    assert!(matches!(store.put_plan_version(bad).await, Err(StoreError::Refused(_))));
}

/// A plan and the event that says so are one transaction.
///
/// # Panics
/// When the law is broken.
pub async fn a_plan_goes_live_with_its_event(store: &impl Store) {
    let main = Tenant::MAIN;
    let event = |n: u64| new_event(ConversationId::SYSTEM, n, Event::from(published(1)));
    assert!(store.set_live_plan(live(1, PlanChangeKind::Published), Some(event(1))).await.is_err(), "no such version");
    assert!(store.read(&main, ConversationId::SYSTEM, 0, 10).await.expect("a read").is_empty(), "and no event");

    store.put_plan_version(plan(1)).await.expect("a version");
    let set = store.set_live_plan(live(1, PlanChangeKind::Published), Some(event(1))).await.expect("a change");
    assert_eq!(set.appended.expect("the event").record.seq, 1);
    let again = store.set_live_plan(live(1, PlanChangeKind::Published), Some(event(2))).await.expect("no change");
    assert!(again.appended.is_none());
    assert_eq!(
        store.read(&main, ConversationId::SYSTEM, 0, 10).await.expect("a read").len(),
        1,
        "one change, one event"
    );
}

/// Health and identity of a store that works.
///
/// # Panics
/// When the law is broken.
pub async fn a_store_is_well_and_has_an_id(store: &impl Store) {
    store.append(vec![call(conversation(1, 1), 1)]).await.expect("an append");
    let health = store.health().await;
    assert!(
        health.is_ok() && health.committed_events == 1 && health.commits >= 1 && health.failed_commits == 0,
        "{health:?}"
    );
    assert!(store.store_id().len() == 32 && store.store_id().bytes().all(|b| b.is_ascii_hexdigit()));
}
