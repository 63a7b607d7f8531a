//! The faults, each with its oracle. Numbers as in the fault plan: F1 to F9, F12 to F14.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::kit::{Cluster, Proxy, Rabbit, START, eventually};
use ark_bus::limits::{PREFETCH, PUBLISH_QUEUE_MESSAGES};
use ark_bus::{Bus, BusError, RabbitBus, Shard};

use super::{Ledger, READY, SHARDS, all_shards, bus, config, say, two};

/// F1: the broker is killed while messages flow, and started again.
pub(crate) async fn f01_broker_killed(rabbit: &Rabbit, events: u64) {
    let began = Instant::now();
    let (a, b) = two(rabbit).await;
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, events, 1_000).await }
    });
    eventually("some are confirmed", READY, async || (ledger.confirmed() as u64 > events / 10).then_some(())).await;
    let restart = kill_and_start(rabbit);
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    assert!(
        ledger.longest_pause() < restart + Duration::from_secs(15),
        "the outage ends soon after the broker is back"
    );
    ledger.row("F1 broker kill -9", &a, began).await;
    reading.abort();
}

/// F1 with a backlog: nobody reads, the queues hold the messages when the broker is killed.
pub(crate) async fn f01_broker_killed_with_a_backlog(rabbit: &Rabbit, backlog: u64) {
    let began = Instant::now();
    let (a, b) = two(rabbit).await;
    let ledger = Ledger::default();
    ledger.generate(Arc::clone(&a), 50, backlog, 20_000).await;
    assert_eq!(ledger.confirmed() as u64, backlog);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 2_000, 1_000).await }
    });
    kill_and_start(rabbit);
    generating.await.unwrap();
    let reading = ledger.consume(&b);
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    ledger.row("F1 kill -9 with a backlog", &a, began).await;
    reading.abort();
}

fn kill_and_start(rabbit: &Rabbit) -> Duration {
    tokio::task::block_in_place(|| {
        rabbit.node(|node| {
            node.kill();
            let began = Instant::now();
            node.start();
            node.wait_until_started(START);
            began.elapsed()
        })
    })
}

/// F2: the broker stands still with its connections open.
pub(crate) async fn f02_broker_stands_still(rabbit: &Rabbit, seconds: u64) {
    let began = Instant::now();
    let (a, b) = two(rabbit).await;
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 500 * (seconds + 4), 500).await }
    });
    eventually("some are confirmed", READY, async || (ledger.confirmed() > 500).then_some(())).await;
    let connects = a.health().await.connects;
    rabbit.node(|node| node.halt());
    let (halted, handed) = (Instant::now(), ledger.handed());
    let rest = Duration::from_secs(seconds);
    // As long as the fault is named for, and under load.
    let stood = async || (halted.elapsed() >= rest && ledger.handed() > handed + 500).then_some(());
    eventually("the broker has stood still under load", rest + READY, stood).await;
    rabbit.node(|node| node.go_on());
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    if seconds <= 5 {
        assert_eq!(a.health().await.connects, connects, "a short rest needs no new connection");
    }
    ledger.row(&format!("F2 broker SIGSTOP {seconds} s"), &a, began).await;
    reading.abort();
}

/// F5, F6: the broker takes nothing for want of memory, or of disk.
pub(crate) async fn f05_f06_alarm(rabbit: &Rabbit, raise: &[&str], clear: &[&str], name: &str) {
    let began = Instant::now();
    let (a, b) = two(rabbit).await;
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let ctl = |arguments: &[&str]| tokio::task::block_in_place(|| rabbit.node(|node| node.ctl(arguments)));
    ctl(raise);
    // RabbitMQ tells a connection that it is blocked when it publishes.
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 3_000, 1_000).await }
    });
    let health = eventually("the bus says that it is blocked", READY, async || {
        let health = a.health().await;
        health.blocked.is_some().then_some(health)
    })
    .await;
    assert!(health.failing.is_some());
    // Handing over never waits: it fills the bounded queue, then says why there is no more room.
    let (mut slowest, mut error, mut receipts) = (Duration::ZERO, None, Vec::new());
    for seq in 0..PUBLISH_QUEUE_MESSAGES as u64 + 1 {
        let handing = Instant::now();
        match a.wake(ark_bus::contract::wake_up(1_000_000, seq)) {
            Ok(receipt) => receipts.push(receipt),
            Err(full) => error = Some(full),
        }
        slowest = slowest.max(handing.elapsed());
        if error.is_some() {
            break;
        }
    }
    assert!(matches!(error, Some(BusError::Blocked { .. })), "{error:?}");
    ctl(clear);
    eventually("the bus is well again", READY, async || a.health().await.failing.is_none().then_some(())).await;
    let filled = receipts.len();
    for receipt in receipts {
        // 62,000 messages of one conversation fill no shard: each must have arrived.
        receipt.await.unwrap();
    }
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    reading.abort();
    say(
        name,
        &format!("{filled} filled the queue and all arrived, slowest hand-over {:.1} ms", slowest.as_secs_f64() * 1e3),
        began,
    );
}

/// F7: a reader is stuck and its shard fills: others flow, and the refusal is told.
pub(crate) async fn f07_stuck_reader(rabbit: &Rabbit) {
    let began = Instant::now();
    let url = rabbit.url();
    let vhost = url.rsplit('/').next().unwrap().to_owned();
    let (a, b) = (bus(&url, "a").await, bus(&url, "b").await);
    let policy =
        ["set_policy", "-p", &vhost, "small", r"^ark\.e1\.conv", r#"{"max-length":100}"#, "--apply-to", "queues"];
    tokio::task::block_in_place(|| rabbit.node(|node| node.ctl(&policy)));
    let stuck = Shard(0);
    let mut reader = b.ingress(vec![stuck]).unwrap();
    let in_shard =
        |shard: Shard| (0..).filter(move |n| Shard::of(ark_bus::contract::conversation(*n), SHARDS) == shard);
    let full = eventually("the stuck shard is full", READY, async || {
        for n in in_shard(stuck).take(50) {
            let receipt = a.wake(ark_bus::contract::wake_up(n, 1)).unwrap();
            if let Err(error) = receipt.await {
                return Some(error);
            }
        }
        None
    })
    .await;
    assert_eq!(full, BusError::ShardFull { shard: stuck });
    let mut others = b.ingress(vec![Shard(1), Shard(2), Shard(3)]).unwrap();
    for n in in_shard(Shard(1)).take(300) {
        a.wake(ark_bus::contract::wake_up(n, 1)).unwrap().await.unwrap();
        assert!(others.next().await.unwrap().ack().await);
    }
    let mut held = Vec::new();
    while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), reader.next()).await {
        held.push(delivery);
    }
    assert_eq!(held.len(), usize::from(PREFETCH), "the stuck reader holds no more than its prefetch");
    let refused = a.health().await.refused;
    say("F7 stuck reader", &format!("refused {refused}, 300 of another shard flowed, {PREFETCH} held"), began);
}

/// F8: confirms and acknowledgements get lost on the road: everything comes twice and is applied once.
pub(crate) async fn f08_duplicates(rabbit: &Rabbit) {
    let began = Instant::now();
    let vhost = rabbit.vhost();
    let proxy = Proxy::to(rabbit.port()).await;
    let through = format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", proxy.port());
    let (a, b) = (bus(&through, "a").await, bus(&rabbit.url_of(&vhost), "b").await);
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 3_000, 1_000).await }
    });
    for part in 1..=2 {
        eventually("some are confirmed", READY, async || (ledger.confirmed() > part * 800).then_some(())).await;
        proxy.deafen();
        let before = ledger.applied();
        eventually("some arrive unconfirmed", READY, async || (ledger.applied() > before + 50).then_some(())).await;
        proxy.cut();
        proxy.open();
    }
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    assert!(ledger.duplicates() > 0, "what was sent again came twice");
    ledger.row("F8 confirms lost on the road", &a, began).await;
    reading.abort();
}

/// F12: channels and connections are closed by the broker, a queue is deleted: what is missing is made anew.
pub(crate) async fn f12_closed(rabbit: &Rabbit) {
    let began = Instant::now();
    let url = rabbit.url();
    let vhost = url.rsplit('/').next().unwrap().to_owned();
    let (a, b) = (bus(&url, "a").await, bus(&url, "b").await);
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    // For as long as the commands take on a busy machine.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move {
            while !*stopped.borrow() {
                ledger.generate(Arc::clone(&a), 50, 1_000, 1_000).await;
            }
        }
    });
    let ctl = |arguments: &[&str]| tokio::task::block_in_place(|| rabbit.node(|node| node.ctl(arguments)));
    eventually("some are confirmed", READY, async || (ledger.confirmed() > 300).then_some(())).await;
    let connects = a.health().await.connects;
    // The exchange goes: the next publish closes the channel, and only that.
    let exchange = format!(
        "rabbit_exchange:delete(rabbit_misc:r(<<\"{vhost}\">>, exchange, <<\"ark.e1.conv\">>), false, <<\"kit\">>)."
    );
    ctl(&["eval", &exchange]);
    let then = ledger.confirmed();
    eventually("it flows again", READY, async || (ledger.confirmed() > then + 300).then_some(())).await;
    // Only the channel is made anew, unless a busy broker does not answer in time: then the connection is, once.
    let connects_now = a.health().await.connects;
    assert!((connects..=connects + 1).contains(&connects_now), "{connects_now} connects, {connects} before");
    ctl(&["close_all_connections", "-p", &vhost, "a test"]);
    let again = async || (a.health().await.connects > connects_now).then_some(());
    eventually("the connections are made anew", READY, again).await;
    stop.send_replace(true);
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    ledger.row("F12 exchange deleted, closed", &a, began).await;
    reading.abort();
}

/// F13: no broker, wrong password, wrong virtual host, another store's broker: words for people, and no second log.
pub(crate) async fn f13_refusals(rabbit: &Rabbit) {
    let began = Instant::now();
    let open = async |url: &str| {
        RabbitBus::open(&config(url, "a"), Duration::from_secs(20)).await.map(drop).expect_err("refused")
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wait = Duration::from_millis(500);
    let absent = RabbitBus::open(&config(&format!("amqp://127.0.0.1:{closed}"), "a"), wait).await.map(drop);
    let absent = absent.expect_err("nobody listens there");
    assert!(matches!(absent, BusError::Unreachable { .. }) && absent.is_temporary(), "{absent}");
    assert!(absent.to_string().contains(&closed.to_string()), "{absent}");

    let (port, vhost) = (rabbit.port(), rabbit.vhost());
    let password = open(&format!("amqp://guest:wrong@127.0.0.1:{port}/{vhost}")).await;
    assert!(matches!(&password, BusError::WrongPassword { user, .. } if user == "guest"), "{password:?}");
    assert!(!password.to_string().contains("wrong"), "{password}");
    let no_vhost = open(&format!("amqp://guest:guest@127.0.0.1:{port}/nowhere")).await;
    assert!(matches!(&no_vhost, BusError::WrongVhost { vhost, .. } if vhost == "nowhere"), "{no_vhost:?}");

    let url = rabbit.url_of(&vhost);
    let first = bus(&url, "a").await;
    let mut other = config(&url, "b");
    other.store_id = "another-store".to_owned();
    let refused = RabbitBus::open(&other, READY).await.map(drop).expect_err("another store");
    let theirs = "store-of-the-tests".to_owned();
    assert_eq!(refused, BusError::OtherStore { ours: "another-store".to_owned(), theirs });
    let mut wider = config(&url, "b");
    wider.topology.shards = SHARDS + 1;
    let refused = RabbitBus::open(&wider, READY).await.map(drop).expect_err("another number of shards");
    assert_eq!(refused, BusError::OtherTopology { ours: "1/5".to_owned(), theirs: "1/4".to_owned() });
    let health = first.health().await;
    assert_eq!(health.failing, None);
    say("F13 absent, password, vhost, store", "five refusals with words", began);
}

/// F14: the way from a conversation to its queue is the same after a restart.
pub(crate) async fn f14_routing_outlives_a_restart(rabbit: &Rabbit, keys: u64) {
    let began = Instant::now();
    let (a, b) = two(rabbit).await;
    let route = async || {
        let mut ingress = b.ingress(all_shards(&*b)).unwrap();
        let receipts: Vec<_> = (0..keys).map(|n| a.wake(ark_bus::contract::wake_up(n, 1)).unwrap()).collect();
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let mut map = std::collections::BTreeMap::new();
        while map.len() < usize::try_from(keys).unwrap() {
            let next = tokio::time::timeout(READY, ingress.next()).await.expect("the rest comes");
            let delivery = next.expect("the bus is open");
            map.insert(delivery.wake_up.conversation, delivery.shard);
            delivery.ack().await;
        }
        map
    };
    let before = route().await;
    kill_and_start(rabbit);
    a.ready(READY).await.unwrap();
    b.ready(READY).await.unwrap();
    let after = route().await;
    let moved = before.iter().filter(|(key, shard)| after.get(*key) != Some(*shard)).count();
    assert_eq!(moved, 0);
    assert!(after.iter().all(|(conversation, shard)| Shard::of(*conversation, SHARDS) == *shard));
    say("F14 routing after a restart", &format!("{keys} keys, {moved} moved"), began);
}

/// F3: the leader of three nodes is killed.
pub(crate) async fn f03_leader_killed(cluster: &mut Cluster) {
    let began = Instant::now();
    let urls = cluster.urls();
    let (mut of_a, mut of_b) = (config(&urls[1], "a"), config(&urls[2], "b"));
    of_a.brokers.extend(config(&urls[2], "a").brokers);
    of_b.brokers.extend(config(&urls[1], "b").brokers);
    // Node 0 leads everything that is declared through it.
    drop(bus(&urls[0], "first").await);
    let a = Arc::new(RabbitBus::open(&of_a, READY).await.unwrap());
    let b = Arc::new(RabbitBus::open(&of_b, READY).await.unwrap());
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 8_000, 1_000).await }
    });
    eventually("some are confirmed", READY, async || (ledger.confirmed() > 1_000).then_some(())).await;
    tokio::task::block_in_place(|| cluster.node(0).kill());
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    ledger.row("F3 leader of three killed", &a, began).await;
    reading.abort();
    tokio::task::block_in_place(|| {
        cluster.node(0).start();
        cluster.node(0).wait_until_started(START);
    });
}

/// F4: the client is cut off from the node it uses, and goes to another one.
pub(crate) async fn f04_client_cut_off(cluster: &Cluster) {
    let began = Instant::now();
    let urls = cluster.urls();
    let port = config(&urls[0], "a").brokers[0].address().rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::to(port).await;
    let mut of_a = config(&format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port()), "a");
    of_a.brokers.extend(config(&urls[1], "a").brokers);
    let a = Arc::new(RabbitBus::open(&of_a, READY).await.unwrap());
    let b = bus(&urls[2], "b").await;
    let ledger = Ledger::default();
    let reading = ledger.consume(&b);
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 8_000, 500).await }
    });
    eventually("some are confirmed", READY, async || (ledger.confirmed() > 1_000).then_some(())).await;
    proxy.darken();
    generating.await.unwrap();
    ledger.wait_until_all_applied(READY).await;
    ledger.judge();
    ledger.row("F4 client cut off from its node", &a, began).await;
    reading.abort();
}

/// Within this time of the cut the majority confirms again, to a gateway that was on the other side.
const MAJORITY_CONFIRMS: Duration = Duration::from_secs(30);
/// Within this time of the healing the node that was alone serves again.
const MINORITY_BACK: Duration = Duration::from_secs(60);

/// F4: one node of three is cut off from the other two (they refuse each other's connections), with a backlog in the
/// queues. It must confirm nothing while it is alone, and after the healing there is one log of it all.
pub(crate) async fn f04_partition(cluster: &mut Cluster, backlog: u64) {
    let began = Instant::now();
    // Queues of its own: what is declared through the first node is led by it, so the cut takes every leader away.
    tokio::task::block_in_place(|| {
        cluster.node(0).ctl(&["add_vhost", "parted"]);
        cluster.node(0).ctl(&["set_permissions", "-p", "parted", "guest", ".*", ".*", ".*"]);
    });
    let urls: Vec<String> = cluster.urls().iter().map(|url| url.replace("/%2f", "/parted")).collect();
    let with = |urls: &[&String], gateway: &str| {
        let mut config = config(urls[0], gateway);
        config.brokers.extend(urls[1..].iter().flat_map(|url| super::config(url, gateway).brokers));
        config
    };
    let open = async |config| Arc::new(RabbitBus::open(&config, READY).await.unwrap());
    let a = open(with(&[&urls[0], &urls[1]], "a")).await;
    let (b, c) = (open(with(&[&urls[0], &urls[2]], "b")).await, open(with(&[&urls[2]], "c")).await);
    let alone = open(with(&[&urls[0]], "alone")).await;
    let ledger = Ledger::default();
    ledger.generate(Arc::clone(&a), 50, backlog, 20_000).await;
    assert_eq!(ledger.confirmed() as u64, backlog, "the queues hold the backlog");
    let names: Vec<String> = (1..3).map(|index| cluster.node(index).name().to_owned()).collect();
    let each = |what: &str| format!("[begin {what} end || N <- ['{}']].", names.join("','"));
    tokio::task::block_in_place(|| {
        cluster.node(0).ctl(&["eval", &each("erlang:set_cookie(N, cut), erlang:disconnect_node(N)")]);
    });
    let cut = Instant::now();
    let readings = [ledger.consume(&b), ledger.consume(&c)];
    // Handed over while its only node is alone: unconfirmed until the healing.
    let receipt = alone.wake(ark_bus::contract::wake_up(1_000_000, 1)).unwrap();
    let confirmed_alone = tokio::spawn(async move {
        receipt.await.unwrap();
        Instant::now()
    });
    let generating = tokio::spawn({
        let (ledger, a) = (ledger.clone(), Arc::clone(&a));
        async move { ledger.generate(a, 50, 4_000, 500).await }
    });
    eventually("the majority confirms", READY, async || (ledger.confirmed() as u64 > backlog + 500).then_some(()))
        .await;
    let majority = cut.elapsed();
    generating.await.unwrap();
    // Two nodes' disks on one machine take the whole backlog and more.
    ledger.wait_until_all_applied(READY * 3).await;
    assert!(!confirmed_alone.is_finished(), "a node that is alone confirms nothing");
    tokio::task::block_in_place(|| {
        let heal = each("erlang:set_cookie(N, erlang:get_cookie()), net_kernel:connect_node(N)");
        cluster.node(0).ctl(&["eval", &heal]);
    });
    let healed = Instant::now();
    let back = confirmed_alone.await.unwrap().saturating_duration_since(healed);
    let refused = ledger.refused();
    ledger.generate(Arc::clone(&a), 50, 500, 500).await;
    let refused_after = ledger.refused() - refused;
    ledger.wait_until_all_applied(READY).await;
    ledger.judge_what_was_taken();
    ledger.row("F4 one of three nodes partitioned", &a, began).await;
    let stalls = b.health().await.stalls + c.health().await.stalls;
    say(
        "F4 bounds",
        &format!(
            "backlog {backlog}; the majority confirmed 500 after {:.1} s (bound {} s), the node that was alone {:.1} s after \
             the healing (bound {} s), none before; channels made anew because nothing was given: {stalls}; refused {refused}, after the healing {refused_after}",
            majority.as_secs_f64(),
            MAJORITY_CONFIRMS.as_secs(),
            back.as_secs_f64(),
            MINORITY_BACK.as_secs()
        ),
        began,
    );
    assert!(majority < MAJORITY_CONFIRMS && back < MINORITY_BACK);
    readings.iter().for_each(tokio::task::JoinHandle::abort);
}
