//! The embedded bus: order, holes told at their place, neighbours left alone.

use std::sync::Arc;

use ark_bus::limits::{EMBEDDED_SHARD_WAKE_UPS, SUBSCRIBERS_MAX, SUBSCRIPTION_RECORDS};
use ark_bus::{Bus, BusError, EmbeddedBus, Filter, Missed, Shard};
use ark_conversation::event::Role;
use ark_conversation::samples::{ended, new_event, ringing};
use ark_conversation::{ConversationId, LegId, Record, Tenant};

fn conversation(n: u128) -> ConversationId {
    ConversationId::new(1, n)
}

fn record(n: u128, seq: u64) -> Arc<Record> {
    let event = if seq == 1 { ringing(LegId(1), Role::Customer).into() } else { ended(LegId(1)).into() };
    Arc::new(new_event(conversation(n), seq, event).into_record(seq))
}

fn one(n: u128) -> Filter {
    Filter::conversation(&Tenant::MAIN, conversation(n))
}

/// One bus is both ends.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $law() {
            let bus = EmbeddedBus::with_shards(4);
            ark_bus::contract::$law(&bus, &bus).await;
        })+
    };
}

laws![
    records_come_in_order_to_whom_wants_them,
    a_slow_reader_is_told_of_its_hole_and_holds_up_nobody,
    what_is_not_acknowledged_comes_again,
    a_reader_holds_a_bounded_number,
    poison_is_parked_visibly_and_can_be_sent_again,
    what_is_announced_is_overheard_or_lost_and_holds_up_nobody,
];

#[tokio::test]
async fn a_shard_that_nobody_reads_fills_and_says_so() {
    let bus = EmbeddedBus::with_shards(1);
    for seq in 1..=EMBEDDED_SHARD_WAKE_UPS as u64 {
        bus.wake(ark_bus::contract::wake_up(1, seq)).unwrap().await.unwrap();
    }
    let full = bus.wake(ark_bus::contract::wake_up(1, 1)).err();
    assert_eq!(full, Some(BusError::ShardFull { shard: Shard(0) }));
    assert_eq!(bus.health().await.waiting, EMBEDDED_SHARD_WAKE_UPS);
    let mut ingress = bus.ingress(vec![Shard(0)]).unwrap();
    bus.close();
    assert!(ingress.next().await.is_none(), "a closed bus ends its readers");
    assert_eq!(bus.wake(ark_bus::contract::wake_up(1, 1)).err(), Some(BusError::Closed));
}

#[tokio::test]
async fn a_subscriber_sees_what_it_asked_for_in_order() {
    let bus = EmbeddedBus::new();
    bus.publish(vec![record(1, 1)]).await.unwrap();
    let mut all = bus.subscribe(Filter::default()).await.unwrap();
    let mut first = bus.subscribe(one(1)).await.unwrap();
    let types = vec!["ark.call.ringing.v1".to_owned()];
    let mut rings = bus.subscribe(Filter { types, ..Filter::default() }).await.unwrap();
    let other = Tenant::new("other").unwrap();
    let mut others = bus.subscribe(Filter { tenant: other, ..Filter::default() }).await.unwrap();

    bus.publish(vec![record(2, 1), record(1, 2), record(2, 2)]).await.unwrap();
    for expected in [record(2, 1), record(1, 2), record(2, 2)] {
        assert_eq!(all.next().await.unwrap(), expected);
    }
    assert_eq!(first.next().await.unwrap(), record(1, 2));
    assert_eq!(rings.next().await.unwrap(), record(2, 1));
    assert!(all.try_next().is_none() && first.try_next().is_none() && rings.try_next().is_none());
    assert!(others.try_next().is_none());
    assert_eq!(bus.health().await.published, 4);
}

#[tokio::test]
async fn a_slow_reader_hears_of_its_hole_at_its_place_and_holds_up_nobody() {
    let bus = EmbeddedBus::new();
    let mut slow = bus.subscribe(one(1)).await.unwrap();
    let mut quick = bus.subscribe(Filter::default()).await.unwrap();
    let bound = SUBSCRIPTION_RECORDS as u64;
    for seq in 1..=bound + 5 {
        bus.publish(vec![record(1, seq)]).await.unwrap();
        assert_eq!(quick.next().await.unwrap().seq, seq);
    }
    for seq in 1..=bound {
        assert_eq!(slow.next().await.unwrap().seq, seq);
    }
    // It has room again, and still nothing is put behind a hole that it does not know of.
    bus.publish(vec![record(1, bound + 6)]).await.unwrap();
    assert_eq!(slow.next().await, Err(Missed::Lagged { missed: 6 }));
    bus.publish(vec![record(1, bound + 7)]).await.unwrap();
    assert_eq!(slow.next().await.unwrap().seq, bound + 7);
    assert_eq!(bus.health().await.lagged, 6);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_and_a_cancelled_wait_loses_nothing() {
    let bus = Arc::new(EmbeddedBus::new());
    let mut reader = bus.subscribe(one(1)).await.unwrap();
    {
        let mut waiting = std::pin::pin!(reader.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        bus.publish(vec![record(1, 1)]).await.unwrap();
        // The wake-up has reached a future that is dropped here.
    }
    assert_eq!(reader.next().await.unwrap().seq, 1);

    let reading = tokio::spawn(async move { reader.next().await.map(|record| record.seq) });
    tokio::task::yield_now().await;
    bus.publish(vec![record(1, 2)]).await.unwrap();
    assert_eq!(reading.await.unwrap(), Ok(2));
}

#[tokio::test]
async fn a_closed_bus_gives_what_it_has_and_then_says_so() {
    let bus = EmbeddedBus::new();
    let mut reader = bus.subscribe(one(1)).await.unwrap();
    let mut waiting = bus.subscribe(one(2)).await.unwrap();
    bus.publish(vec![record(1, 1)]).await.unwrap();
    let waiting = tokio::spawn(async move { waiting.next().await });
    tokio::task::yield_now().await;
    bus.close();
    assert_eq!(waiting.await.unwrap(), Err(Missed::Closed));
    assert_eq!(bus.publish(vec![record(1, 2)]).await, Err(BusError::Closed));
    assert!(matches!(bus.subscribe(one(1)).await, Err(BusError::Closed)));
    assert!(bus.health().await.failing.is_some());
    drop(bus);
    assert_eq!(reader.next().await.unwrap().seq, 1);
    assert_eq!(reader.next().await, Err(Missed::Closed));
    assert_eq!(reader.next().await, Err(Missed::Closed));
}

#[tokio::test]
async fn subscribers_are_bounded_and_go_when_they_are_dropped() {
    let bus = EmbeddedBus::new();
    let mut readers = Vec::new();
    for n in 0..SUBSCRIBERS_MAX {
        readers.push(bus.subscribe(if n % 2 == 0 { one(n as u128) } else { Filter::default() }).await.unwrap());
    }
    let full = BusError::TooManySubscribers { subscribers: SUBSCRIBERS_MAX };
    assert_eq!(bus.subscribe(one(1)).await.err(), Some(full));
    readers.pop();
    bus.subscribe(one(1)).await.unwrap();
    readers.clear();
    assert_eq!(bus.health().await.subscribers, 0);
}
