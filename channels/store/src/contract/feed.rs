//! The whole log in one order, its named readers, and what they leave.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_conversation::{ConversationId, NewEvent, Tenant};
use serde_json::json;

use super::{call, conversation};
use crate::{Advance, Commit, DeliveryCounts, DeliveryState, NewDelivery, Outcome, Positioned, Store, StoreError};

const MAIN: Tenant = Tenant::MAIN;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn suite<S: Store>(open: &impl Fn(&str) -> S) {
    the_whole_log_has_one_order(&open("the_whole_log_has_one_order")).await;
    a_reader_of_the_feed_sees_everything_once(Arc::new(open("a_reader_of_the_feed"))).await;
    a_reader_moves_on_with_what_it_leaves(&open("a_reader_moves_on")).await;
    deliveries_that_are_over_are_forgotten(&open("deliveries_are_forgotten")).await;
}

/// Reads to the end for now, in pages.
async fn everything(store: &impl Store, tenant: &Tenant, mut after: u64, page: usize) -> (Vec<Positioned>, u64) {
    let mut all = Vec::new();
    loop {
        let read = store.feed(tenant, after, page).await.expect("a feed");
        assert!(read.records.len() <= page && read.next >= after, "a page keeps its bound and never goes back");
        after = read.next;
        if read.records.is_empty() {
            return (all, after);
        }
        all.extend(read.records);
    }
}

/// Positions grow, and `seq` counts without gaps within each conversation.
fn in_order(records: &[Positioned]) {
    assert!(records.is_sorted_by(|a, b| a.position < b.position), "positions grow");
    let mut last: HashMap<ConversationId, u64> = HashMap::new();
    for Positioned { record, .. } in records {
        let seq = last.entry(record.conversation).or_default();
        *seq += 1;
        assert_eq!(record.seq, *seq, "each record of {} once and in order", record.conversation);
    }
}

async fn the_whole_log_has_one_order(store: &impl Store) {
    let other = Tenant::new("other").expect("a good name");
    assert_eq!(everything(store, &MAIN, 0, 10).await, (Vec::new(), 0), "an empty log");
    assert_eq!(store.feed_end().await, Ok(0));
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    for n in 0..7 {
        let of_other = NewEvent { tenant: other.clone(), ..call(a, n) };
        store.append(vec![call(a, n * 2), call(b, 100 + n), of_other, call(a, n * 2 + 1)]).await.expect("append");
    }
    let (all, end) = everything(store, &MAIN, 0, 4).await;
    assert_eq!(all.len(), 21);
    in_order(&all);
    assert_eq!(Ok(end), store.feed_end().await, "also past what is of others");
    let middle = all[9].position;
    let (rest, _) = everything(store, &MAIN, middle, 100).await;
    assert_eq!(rest, all[10..], "from where a reader was");
    let (others, others_end) = everything(store, &other, 0, 100).await;
    assert!(others.len() == 7 && others_end == end && others.iter().all(|one| one.record.tenant == other));
    let kept = store.read(&MAIN, a, 0, 100).await.expect("read");
    let fed: Vec<_> = all.into_iter().map(|one| one.record).filter(|record| record.conversation == a).collect();
    assert_eq!(fed, kept, "what is fed is what is read");
    assert_eq!(everything(store, &MAIN, end, 10).await, (Vec::new(), end), "nothing more");
    let nothing = store.feed(&MAIN, middle, 0).await.expect("a feed");
    assert!(
        nothing.records.is_empty() && nothing.next == middle,
        "who asks for nothing passes over nothing: {nothing:?}"
    );
    assert_eq!(everything(store, &MAIN, end + 1_000, 10).await.0, Vec::new(), "a place that is not there yet");
}

async fn a_reader_of_the_feed_sees_everything_once<S: Store>(store: Arc<S>) {
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        tokio::spawn(async move {
            let (mut seen, mut after) = (Vec::new(), 0);
            loop {
                let last = done.load(Ordering::SeqCst);
                let (more, next) = everything(&*store, &MAIN, after, 7).await;
                (seen, after) = ([seen, more].concat(), next);
                if last {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let writers: Vec<_> = (0..16_u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..20 {
                    let id = conversation(1, u128::from((writer + n) % 5));
                    store.append(vec![call(id, writer * 1_000 + n)]).await.expect("append");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer that went well");
    }
    done.store(true, Ordering::SeqCst);
    let seen = reader.await.expect("a reader that went well");
    assert_eq!(seen.len(), 320, "each record once");
    in_order(&seen);
}

fn delivery(key: &str) -> NewDelivery {
    NewDelivery {
        tenant: MAIN,
        adapter: "hook".to_owned(),
        key: key.to_owned(),
        order_key: key.to_owned(),
        conversation: conversation(1, 1),
        body: json!({ "seq": 1 }),
        not_before: None,
    }
}

async fn a_reader_moves_on_with_what_it_leaves(store: &impl Store) {
    let step = |from, to, keys: &[&str]| Advance {
        tenant: MAIN,
        reader: "hook".to_owned(),
        from,
        to,
        deliveries: keys.iter().map(|key| delivery(key)).collect(),
    };
    let conflict = |answer: &Result<usize, StoreError>| matches!(answer, Err(StoreError::Conflict(_)));
    assert_eq!(store.reader(&MAIN, "hook").await, Ok(None));
    assert!(conflict(&store.advance(step(Some(0), 3, &["k0"])).await), "it has not begun");
    assert_eq!(store.advance(step(None, 3, &[])).await, Ok(0));
    assert!(conflict(&store.advance(step(None, 4, &["k0"])).await), "it has begun");
    assert_eq!(store.advance(step(Some(3), 5, &["k1", "k2", "k1"])).await, Ok(2), "each key once");
    assert!(conflict(&store.advance(step(Some(3), 6, &["k0"])).await), "it is elsewhere");
    assert!(matches!(store.advance(step(Some(5), 4, &[])).await, Err(StoreError::Refused(_))), "never back");
    assert_eq!(store.reader(&MAIN, "hook").await, Ok(Some(5)));
    let other = Tenant::new("other").expect("a good name");
    assert_eq!(store.reader(&other, "hook").await, Ok(None));
    let claimed = store.claim_deliveries("hook", "gw1", MINUTE, 10).await.expect("claim");
    let keys: Vec<_> = claimed.iter().map(|one| one.what.key.as_str()).collect();
    assert_eq!(keys, ["k1", "k2"], "what a refused step left is not there");
    // Two gateways at the same place: one of them is told.
    let both = tokio::join!(store.advance(step(Some(5), 7, &["k3"])), store.advance(step(Some(5), 7, &["k3"])));
    assert!(conflict(&both.0) != conflict(&both.1), "{both:?}");
    assert_eq!(store.delivery_counts(&MAIN, "hook").await, Ok(DeliveryCounts { waiting: 3, dead: 0 }));
}

async fn deliveries_that_are_over_are_forgotten(store: &impl Store) {
    let deliveries = ["k1", "k2", "k3"].map(delivery).to_vec();
    store.commit(Commit { deliveries, ..Commit::default() }).await.expect("commit");
    let claimed = store.claim_deliveries("hook", "gw1", MINUTE, 10).await.expect("claim");
    store.settle_delivery(claimed[0].id, 1, Outcome::Delivered).await.expect("settle");
    store.settle_delivery(claimed[1].id, 1, Outcome::GiveUp { error: "410".to_owned() }).await.expect("settle");
    assert_eq!(store.delivery_counts(&MAIN, "hook").await, Ok(DeliveryCounts { waiting: 1, dead: 1 }));
    let forget = async |state, age| store.forget_deliveries(&MAIN, "hook", state, age).await;
    assert_eq!(forget(DeliveryState::Done, MINUTE).await, Ok(0), "it was just now");
    assert_eq!(forget(DeliveryState::Done, Duration::ZERO).await, Ok(1));
    assert!(matches!(forget(DeliveryState::Waiting, MINUTE).await, Err(StoreError::Refused(_))));
    assert_eq!(forget(DeliveryState::Dead, Duration::ZERO).await, Ok(1));
    assert_eq!(store.delivery_counts(&MAIN, "hook").await, Ok(DeliveryCounts { waiting: 1, dead: 0 }));
}
