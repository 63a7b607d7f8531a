//! The laws of every bus, as tests. `carrier` hands over, `reader` reads: the same bus, or two gateways on one broker.
//!
//! Each function wants a bus of its own with nothing in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ark_conversation::event::Role;
use ark_conversation::samples::{ended, new_event, ringing};
use ark_conversation::{ConversationId, LegId, Live, LiveCallOver, LiveEvent, Record, Tenant};

use crate::limits::{DELIVERY_LIMIT, LIVE_EVENTS, PREFETCH, SUBSCRIPTION_RECORDS};
use crate::{
    Bus, BusError, Cursor, Delivery, Filter, Ingress, Missed, Overheard, Seen, Shard, Subscription, WakeUp, Which,
};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// How long nothing must come to be believed.
const QUIET: Duration = Duration::from_millis(300);

/// A conversation of the tests.
#[must_use]
pub fn conversation(n: u64) -> ConversationId {
    ConversationId::new(1, u128::from(n))
}

/// Record `seq` of a conversation.
#[must_use]
pub fn record(n: u64, seq: u64) -> Arc<Record> {
    let event = if seq == 1 { ringing(LegId(1), Role::Customer).into() } else { ended(LegId(1)).into() };
    Arc::new(new_event(conversation(n), seq, event).into_record(seq))
}

/// The wake-up for that record's event.
#[must_use]
pub fn wake_up(n: u64, seq: u64) -> WakeUp {
    WakeUp::with_event(Tenant::MAIN, conversation(n), record(n, seq).event.clone())
}

/// Waits, with a deadline.
///
/// # Panics
/// When it takes too long.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}

async fn quiet<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(QUIET, future).await.is_err()
}

async fn next_record(feed: &mut Subscription) -> Arc<Record> {
    loop {
        match soon("a record", feed.next()).await {
            Ok(record) => return record,
            // A carrier that has just come tells everybody to look into the store once.
            Err(Missed::Lagged { .. }) => {}
            Err(Missed::Closed) => panic!("the bus is open"),
        }
    }
}

/// The `seq` of records that only ask whether a reader is reached yet.
const PROBE: u64 = 1_000_000;

/// Waits until the carrier reaches this reader: a broker that is slow may route to it only after `subscribe` gave up
/// waiting, and what went by before is a hole, not a fault.
async fn reached(carrier: &dyn Bus, feed: &mut Subscription, n: u64) {
    let reaching = async {
        loop {
            carry(carrier, vec![record(n, PROBE)]).await;
            let probe = async { while next_record(feed).await.seq != PROBE {} };
            if tokio::time::timeout(QUIET, probe).await.is_ok() {
                return;
            }
        }
    };
    soon("the reader is reached", reaching).await;
}

/// The next record that is no probe.
async fn next_real(feed: &mut Subscription) -> Arc<Record> {
    loop {
        let record = next_record(feed).await;
        if record.seq != PROBE {
            return record;
        }
    }
}

async fn next_delivery(ingress: &mut Ingress) -> Delivery {
    soon("a delivery", ingress.next()).await.expect("the bus is open")
}

async fn carry(bus: &dyn Bus, records: Vec<Arc<Record>>) {
    let receipt = bus.carry(records).expect("there is room");
    soon("a receipt", receipt).await.expect("it was carried");
}

async fn wake(bus: &dyn Bus, n: u64, seq: u64) {
    let receipt = bus.wake(wake_up(n, seq)).expect("there is room");
    soon("a receipt", receipt).await.expect("it was carried");
}

/// L3: each conversation's records come in order, to everybody who wants them and to nobody else.
///
/// # Panics
/// When the law is broken.
pub async fn records_come_in_order_to_whom_wants_them(carrier: &dyn Bus, reader: &dyn Bus) {
    const CONVERSATIONS: u64 = 5;
    const RECORDS: u64 = 200;
    let mut all = reader.subscribe(Filter::default()).await.expect("a subscription");
    let one = Filter::conversation(&Tenant::MAIN, conversation(3));
    let mut third = reader.subscribe(one).await.expect("a subscription");
    let other = Filter { tenant: Tenant::new("other").expect("a good name"), ..Filter::default() };
    let mut others = reader.subscribe(other).await.expect("a subscription");
    reached(carrier, &mut all, 0).await;
    reached(carrier, &mut third, 3).await;
    for seq in 1..=RECORDS {
        carrier.publish((0..CONVERSATIONS).map(|n| record(n, seq)).collect()).await.expect("there is room");
    }
    let mut seen: HashMap<ConversationId, Cursor> = HashMap::new();
    for _ in 0..CONVERSATIONS * RECORDS {
        let record = next_real(&mut all).await;
        assert_eq!(seen.entry(record.conversation).or_default().accept(record.seq), Seen::Next, "in order, each once");
    }
    for seq in 1..=RECORDS {
        assert_eq!(next_real(&mut third).await, record(3, seq), "as it was handed over");
    }
    assert!(!matches!(others.try_next(), Some(Ok(_))), "another tenant's reader sees nothing");
    drop((all, third));
    // Whoever comes later sees what is carried later.
    let one = Filter::conversation(&Tenant::MAIN, conversation(1));
    let mut late = reader.subscribe(one).await.expect("a subscription");
    reached(carrier, &mut late, 1).await;
    carry(carrier, vec![record(1, RECORDS + 1)]).await;
    assert_eq!(next_real(&mut late).await.seq, RECORDS + 1);
}

/// L7: a reader that sleeps is told of its hole, and holds up nobody.
///
/// # Panics
/// When the law is broken.
pub async fn a_slow_reader_is_told_of_its_hole_and_holds_up_nobody(carrier: &dyn Bus, reader: &dyn Bus) {
    let mut slow = reader.subscribe(Filter::default()).await.expect("a subscription");
    let mut quick = reader.subscribe(Filter::default()).await.expect("a subscription");
    reached(carrier, &mut quick, 0).await;
    let records = SUBSCRIPTION_RECORDS as u64 + 500;
    for first in (1..=records).step_by(100) {
        let batch: Vec<_> = (first..first + 100).map(|seq| record(1, seq)).take_while(|r| r.seq <= records).collect();
        let count = batch.len();
        carry(carrier, batch).await;
        for _ in 0..count {
            next_real(&mut quick).await;
        }
    }
    let (mut given, mut told, mut last) = (0, 0, 0);
    while given + told < records {
        match soon("a record or word of a hole", slow.next()).await {
            Ok(record) if record.seq == PROBE => {}
            Ok(record) => {
                assert!(record.seq > last, "in order");
                (last, given) = (record.seq, given + 1);
            }
            Err(Missed::Lagged { missed }) => told += missed,
            Err(Missed::Closed) => panic!("the bus is open"),
        }
    }
    assert!(told >= 500 && given <= SUBSCRIPTION_RECORDS as u64, "{given} given, {told} told");
}

/// Wake-ups come in the order of their shard; what is not acknowledged comes again to the next reader.
///
/// # Panics
/// When the law is broken.
pub async fn what_is_not_acknowledged_comes_again(carrier: &dyn Bus, reader: &dyn Bus) {
    let shards: Vec<Shard> = (0..reader.shards()).map(Shard).collect();
    let mut first = reader.ingress(shards.clone()).expect("an ingress");
    for seq in 1..=10 {
        wake(carrier, 7, seq).await;
    }
    let mut held = Vec::new();
    for seq in 1..=5 {
        let delivery = next_delivery(&mut first).await;
        assert_eq!(
            (delivery.wake_up.clone(), delivery.deliveries),
            (wake_up(7, seq), 1),
            "in order, as it was handed over"
        );
        assert_eq!(delivery.shard, Shard::of(conversation(7), reader.shards()));
        if seq <= 3 {
            assert!(delivery.ack().await);
        } else {
            held.push(delivery);
        }
    }
    let mut second = reader.ingress(shards).expect("an ingress");
    assert!(quiet(second.next()).await, "one reader at a time");
    drop(first);
    for seq in 4..=10 {
        let delivery = next_delivery(&mut second).await;
        assert_eq!(delivery.wake_up.id, wake_up(7, seq).id, "what was not acknowledged, in order");
        assert!(seq > 5 || delivery.deliveries >= 2, "it tells that it comes again");
        assert!(delivery.ack().await);
    }
    for delivery in held {
        assert!(!delivery.ack().await, "a late acknowledgement says so");
    }
    assert!(quiet(second.next()).await, "nothing is left");
    let no_such = Shard(reader.shards());
    assert!(matches!(reader.ingress(vec![no_such]), Err(BusError::NoSuchShard { shard, .. }) if shard == no_such));
}

/// A reader holds a bounded number of deliveries of one shard.
///
/// # Panics
/// When the law is broken.
pub async fn a_reader_holds_a_bounded_number(carrier: &dyn Bus, reader: &dyn Bus) {
    let shard = Shard::of(conversation(7), reader.shards());
    for seq in 1..=u64::from(PREFETCH) + 5 {
        wake(carrier, 7, seq).await;
    }
    let mut ingress = reader.ingress(vec![shard]).expect("an ingress");
    let mut held = Vec::new();
    for _ in 0..PREFETCH {
        held.push(next_delivery(&mut ingress).await);
    }
    assert!(quiet(ingress.next()).await, "the prefetch is kept");
    assert!(held.remove(0).ack().await);
    held.push(next_delivery(&mut ingress).await);
    for delivery in held {
        assert!(delivery.ack().await);
    }
    for _ in 0..4 {
        assert!(next_delivery(&mut ingress).await.ack().await);
    }
    assert!(quiet(ingress.next()).await);
}

/// A poison message is parked after the limit where it can be seen; others flow; it can be sent again.
///
/// # Panics
/// When the law is broken.
pub async fn poison_is_parked_visibly_and_can_be_sent_again(carrier: &dyn Bus, reader: &dyn Bus) {
    let shards: Vec<Shard> = (0..reader.shards()).map(Shard).collect();
    let mut ingress = reader.ingress(shards).expect("an ingress");
    let (poison, others) = (wake_up(7, 1).id, 10);
    wake(carrier, 7, 1).await;
    for seq in 1..=others {
        wake(carrier, 8, seq).await;
    }
    wake(carrier, 9, 1).await;
    let (mut poisoned, mut well, mut parked) = (0, 0, 0);
    while poisoned <= DELIVERY_LIMIT || well < others || parked < 1 {
        let delivery = next_delivery(&mut ingress).await;
        if delivery.wake_up.id == poison {
            poisoned += 1;
            assert_eq!(delivery.deliveries, poisoned, "it tells how often it was given");
            assert!(delivery.again().await);
        } else if delivery.wake_up.conversation == conversation(9) {
            parked += 1;
            assert!(delivery.park().await);
        } else {
            well += 1;
            assert!(delivery.ack().await);
        }
    }
    let mut dead = Vec::new();
    for _ in 0..SOON.as_secs() * 10 {
        dead = reader.dead(10).await.expect("the dead letters");
        if dead.len() == 2 {
            break;
        }
        tokio::time::sleep(QUIET / 3).await;
    }
    assert_eq!(dead.len(), 2, "{dead:?}");
    let letter = dead.iter().find(|letter| letter.id == poison).expect("the poison");
    let name = conversation(7).to_string();
    assert!(letter.reason == "delivery_limit" && letter.conversation == Some(name), "{letter:?}");
    assert!(letter.queue.ends_with(&Shard::of(conversation(7), reader.shards()).to_string()), "{letter:?}");
    assert!(letter.bytes == letter.body.len() && letter.at.is_some());
    assert!(dead.iter().any(|letter| letter.id == wake_up(9, 1).id && letter.reason == "rejected"));
    assert_eq!(reader.dead(1).await.expect("the dead letters").len(), 1, "looking changes nothing");

    assert_eq!(reader.replay(Which::Id("none".to_owned())).await, Ok(0));
    assert_eq!(reader.replay(Which::Id(poison.clone())).await, Ok(1));
    let again = next_delivery(&mut ingress).await;
    assert_eq!((&again.wake_up.id, again.deliveries), (&poison, 1), "a new life");
    assert!(again.ack().await);
    assert_eq!(reader.replay(Which::All).await, Ok(1));
    assert!(next_delivery(&mut ingress).await.ack().await);
    assert_eq!(reader.dead(10).await, Ok(Vec::new()));
}

/// Live event `n` of a gateway.
#[must_use]
pub fn live(gateway: &str, n: u64) -> LiveEvent {
    let event = Live::CallOver(LiveCallOver { conversation: conversation(n) });
    LiveEvent { tenant: Tenant::MAIN, gateway: gateway.to_owned(), at: jiff::Timestamp::UNIX_EPOCH, event }
}

/// The next live event that is no probe.
async fn next_live(heard: &mut Overheard) -> Arc<LiveEvent> {
    loop {
        match soon("a live event", heard.next()).await {
            Ok(event) if *event == live("carrier", PROBE) => {}
            Ok(event) => return event,
            // A carrier that has just come tells everybody of a hole.
            Err(Missed::Lagged { .. }) => {}
            Err(Missed::Closed) => panic!("the bus is open"),
        }
    }
}

/// What is announced comes to every listener of every gateway, each once and in order, or it is lost: nothing waits for it.
///
/// # Panics
/// When the law is broken.
pub async fn what_is_announced_is_overheard_or_lost_and_holds_up_nobody(carrier: &dyn Bus, reader: &dyn Bus) {
    const EVENTS: u64 = 300;
    carrier.announce(vec![live("carrier", 0)]);
    let mut here = carrier.overhear().expect("a listener");
    let mut there = reader.overhear().expect("a listener");
    let reaching = async {
        loop {
            carrier.announce(vec![live("carrier", PROBE)]);
            let probe = async { while !matches!(there.next().await, Ok(event) if *event == live("carrier", PROBE)) {} };
            if tokio::time::timeout(QUIET, probe).await.is_ok() {
                return;
            }
        }
    };
    soon("the listener is reached", reaching).await;
    for heard in [&mut here, &mut there] {
        while heard.try_next().is_some() {}
    }
    // In messages of one and of many.
    carrier.announce((1..=EVENTS / 2).map(|n| live("carrier", n)).collect());
    (EVENTS / 2 + 1..=EVENTS).for_each(|n| carrier.announce(vec![live("carrier", n)]));
    for heard in [&mut here, &mut there] {
        for n in 1..=EVENTS {
            assert_eq!(*next_live(heard).await, live("carrier", n), "each once, in order");
        }
    }
    // One that does not listen is told, holds up nobody, and hears what is said later.
    let mut slow = carrier.overhear().expect("a listener");
    for n in 1..=LIVE_EVENTS as u64 + 10 {
        carrier.announce(vec![live("carrier", n)]);
    }
    assert!(matches!(slow.try_next(), Some(Err(Missed::Lagged { missed: 10.. }))), "the hole is told at its place");
    let first = next_live(&mut slow).await;
    assert!((11..15).any(|n| *first == live("carrier", n)), "the newest are kept: {first:?}");
    let health = carrier.health().await;
    assert!(health.announced > EVENTS + LIVE_EVENTS as u64, "{health:?}");
    // What is carried durably goes its way meanwhile.
    wake(carrier, 1, 1).await;
}
