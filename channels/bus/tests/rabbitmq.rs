//! The bus over a real RabbitMQ: the laws, words for people, least privilege, TLS, and the short part of the faults.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]
#![allow(dead_code, reason = "the long faults are in faults.rs")]

mod common;
mod crash;
mod joins;

use std::sync::Arc;
use std::time::Duration;

use ark_bus::kit::{self, Rabbit};
use ark_bus::topology::{IDENTITY, Role, Topology, TopologyConfig};
use ark_bus::{Broker, Bus, BusError, Manager, RabbitBus, Standing};
use ark_store::{SqliteStore, Store};
use common::{READY, SHARDS, bus, config, faults, two};
use joins::Pair;

/// Each law with two gateways on one broker.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            let Some(rabbit) = kit::rabbit(stringify!($law)) else { return };
            let _turn = rabbit.shared().await;
            let (a, b) = two(rabbit).await;
            ark_bus::contract::$law(&*a, &*b).await;
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

/// Faults that a warm broker outlives.
macro_rules! short_faults {
    ($($name:ident, $turn:ident: $call:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(rabbit) = kit::rabbit(stringify!($name)) else { return };
            let _turn = rabbit.$turn().await;
            let call: fn(&'static Rabbit) -> _ = $call;
            call(rabbit).await;
        })+
    };
}

short_faults! {
    f05_memory_alarm, alone: |rabbit| faults::f05_f06_alarm(
        rabbit,
        &["set_vm_memory_high_watermark", "absolute", "1MB"],
        &["set_vm_memory_high_watermark", "absolute", "1GB"],
        "F5 memory alarm",
    );
    f07_stuck_reader, shared: |rabbit| faults::f07_stuck_reader(rabbit);
    f08_duplicates, shared: |rabbit| faults::f08_duplicates(rabbit);
    f12_closed, shared: |rabbit| faults::f12_closed(rabbit);
    f13_refusals, shared: |rabbit| faults::f13_refusals(rabbit);
}

/// The short part of F11: two moments, one store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_gateway_killed() {
    let Some(rabbit) = kit::rabbit("f11_gateway_killed") else { return };
    let _turn = rabbit.shared().await;
    let folder = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}", folder.path().join("ark.db").display());
    crash::f11_gateway_killed(rabbit, &place, "SQLite", 2_000, &[1, 3]).await;
}

#[test]
fn sqlite_and_rabbitmq_join_without_gap_or_overlap() {
    let Some(rabbit) = kit::rabbit("sqlite_and_rabbitmq_join") else { return };
    rabbitmq_with(rabbit, |folder| Arc::new(SqliteStore::open(folder.join("ark.db")).unwrap()));
}

/// Each pair with RabbitMQ is one line: its store in a new folder.
fn rabbitmq_with(rabbit: &Rabbit, open: impl Fn(&std::path::Path) -> Arc<dyn Store>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _turn = runtime.block_on(rabbit.shared());
    let (a, b) = runtime.block_on(two(rabbit));
    let mut folders = Vec::new();
    joins::history_and_the_live_feed_join(&runtime, 6, async || {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair { store: open(folder.path()), carrier: a.clone(), reader: b.clone() };
        folders.push(folder);
        pair
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_reaches_its_gateway_and_a_gateway_that_is_not_there_is_told() {
    let Some(rabbit) = kit::rabbit("a_command_reaches_its_gateway") else { return };
    let _turn = rabbit.shared().await;
    let (a, b) = two(rabbit).await;
    let mut commands = b.commands().unwrap();
    // The queue is there once the reader's task has declared it.
    kit::eventually("the command is taken", READY, async || a.tell("b", b"play".to_vec()).unwrap().await.ok()).await;
    assert_eq!(tokio::time::timeout(READY, commands.recv()).await.unwrap().unwrap(), b"play");
    let nobody = a.tell("nobody", b"play".to_vec()).unwrap().await;
    assert!(matches!(nobody, Err(BusError::Unroutable { .. })), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_how_deep_queues_are_and_what_is_wrong() {
    let Some(rabbit) = kit::rabbit("people_see_how_deep_queues_are") else { return };
    let _turn = rabbit.shared().await;
    let url = rabbit.url();
    let manager = Manager::connect(&config(&url, "a")).await.unwrap();
    let bare = manager.status().await.unwrap();
    assert!(bare.iter().all(|queue| queue.messages.is_none() && queue.alarm.is_some()), "nothing stands yet");
    assert_eq!(manager.live_is_heard().await, Ok(None), "nor the live road");
    let a = bus(&url, "a").await;
    kit::eventually("live events are heard", READY, async || {
        (manager.live_is_heard().await == Ok(Some(true))).then_some(())
    })
    .await;
    a.wake(ark_bus::contract::wake_up(1, 1)).unwrap().await.unwrap();
    let depths = kit::eventually("the depth is told", READY, async || {
        let depths = manager.status().await.unwrap();
        (depths.iter().filter_map(|queue| queue.messages).sum::<u32>() > 0).then_some(depths)
    })
    .await;
    let deep: Vec<_> =
        depths.iter().filter(|queue| queue.messages > Some(0)).filter(|queue| queue.alarm.is_some()).collect();
    assert!(deep.len() == 1 && deep[0].alarm.as_ref().unwrap().contains("nobody reads"), "{depths:?}");
    manager.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_its_part_and_no_more() {
    let Some(rabbit) = kit::rabbit("each_role_may_do_its_part") else { return };
    let _turn = rabbit.shared().await;
    let vhost = rabbit.vhost();
    let roles = [("gw", Role::Gateway), ("dt", Role::Adapter("dingtalk".into())), ("op", Role::Operator)];
    let add = |user: &str, role: &Role| {
        let user = format!("{user}-{vhost}");
        let may = role.permissions().unwrap();
        rabbit.node(|node| {
            node.ctl(&["add_user", &user, "secret"]);
            node.ctl(&["set_permissions", "-p", &vhost, &user, &may.configure, &may.write, &may.read]);
        });
        format!("amqp://{user}:secret@127.0.0.1:{}/{vhost}", rabbit.port())
    };
    let urls = tokio::task::block_in_place(|| roles.each_ref().map(|(user, role)| add(user, role)));
    let with = |url: &str| {
        let mut config = config(url, "a");
        let adapters = vec!["dingtalk".into(), "wechat".into()];
        config.topology = TopologyConfig { shards: SHARDS, adapters, ..TopologyConfig::default() };
        config
    };
    // A gateway lays the topology and uses all of it.
    let gateway = RabbitBus::open(&with(&urls[0]), READY).await.unwrap();
    ark_bus::contract::poison_is_parked_visibly_and_can_be_sent_again(&gateway, &gateway).await;
    // An adapter cannot be a gateway, and neither can an operator.
    for url in &urls[1..] {
        let refused = RabbitBus::open(&with(url), READY).await.map(drop).expect_err("no permission");
        assert!(matches!(refused, BusError::NoPermission { .. }), "{refused:?}");
    }
    // An operator sees depths and dead letters, and sends nothing.
    let operator = Manager::connect(&with(&urls[2])).await.unwrap();
    assert!(operator.status().await.unwrap().iter().all(|queue| queue.messages.is_some()));
    assert_eq!(operator.dead(10).await, Ok(Vec::new()));
    adapter_may(&urls[1]).await;
}

/// What adapters bring is signed by whom the broker says; what is no good is parked with its reason and can be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adapters_bring_and_take_under_their_own_name() {
    use ark_bus::{ForAdapter, Which};
    use futures_util::StreamExt as _;
    let Some(rabbit) = kit::rabbit("adapters_bring_and_take") else { return };
    let _turn = rabbit.shared().await;
    let vhost = rabbit.vhost();
    let user = format!("shop-{vhost}");
    let may = Role::Adapter("shop".into()).permissions().unwrap();
    tokio::task::block_in_place(|| {
        rabbit.node(|node| {
            node.ctl(&["add_user", &user, "secret"]);
            node.ctl(&["set_permissions", "-p", &vhost, &user, &may.configure, &may.write, &may.read]);
        });
    });
    let mut config = config(&rabbit.url_of(&vhost), "a");
    config.topology = TopologyConfig { shards: 1, adapters: vec!["shop".into()], ..TopologyConfig::default() };
    let bus = RabbitBus::open(&config, READY).await.unwrap();
    let (_shop, shop) = foreign_channel(&format!("amqp://{user}:secret@127.0.0.1:{}/{vhost}", rabbit.port())).await;
    let mut inbound = bus.inbound();
    let mut next = async || tokio::time::timeout(READY, inbound.next()).await.unwrap().unwrap();

    publish_as(&shop, Some(&user), "m1").await.unwrap();
    publish_as(&shop, None, "m2").await.unwrap();
    let (first, second) = (next().await, next().await);
    assert_eq!((first.signer.as_deref(), second.signer.as_deref()), (Some(user.as_str()), None));
    assert_eq!((first.id.as_str(), first.body.as_slice(), first.deliveries), ("m1", &b"{}"[..], 1));
    assert!(first.park("source: not its own").await && second.ack().await);
    let dead = kit::eventually("it is parked", READY, async || {
        let dead = bus.dead(10).await.unwrap();
        (!dead.is_empty()).then_some(dead)
    })
    .await;
    let [letter] = dead.as_slice() else { panic!("{dead:?}") };
    assert_eq!(
        (letter.id.as_str(), letter.queue.as_str(), letter.reason.as_str()),
        ("m1", "ark.in", "source: not its own")
    );
    assert!(letter.at.is_some(), "and since when");
    // Sent again by a gateway, it is still the adapter's; whoever says so otherwise is not believed.
    assert_eq!(bus.replay(Which::Id("m1".to_owned())).await, Ok(1));
    let again = next().await;
    assert_eq!((again.signer.as_deref(), again.id.as_str()), (Some(user.as_str()), "m1"));
    assert!(again.again().await, "handed back");
    let again = next().await;
    assert!(again.deliveries > 1 && again.ack().await);

    let to = ForAdapter {
        adapter: "shop".to_owned(),
        id: "k1".to_owned(),
        kind: "ark.message.out.v1".to_owned(),
        conversation: Some("c".to_owned()),
        epoch: Some(7),
        attempt: 2,
        expires: None,
    };
    bus.deliver(to.clone(), b"{\"id\":\"k1\"}".to_vec()).unwrap().await.unwrap();
    let deep = async || {
        let queue = bus.adapter_queue("shop").await.unwrap();
        (queue.waiting == 1).then_some(queue.readers)
    };
    assert_eq!(kit::eventually("it waits for its adapter", READY, deep).await, 0);
    let options = lapin::options::BasicConsumeOptions::default();
    let reading = shop.basic_consume("ark.out.shop".into(), "".into(), options, lapin::types::FieldTable::default());
    let mut reading = reading.await.unwrap();
    let taken = tokio::time::timeout(READY, reading.next()).await.unwrap().unwrap().unwrap();
    let properties = &taken.properties;
    assert_eq!(taken.data, b"{\"id\":\"k1\"}");
    assert_eq!(properties.message_id().as_ref().map(ToString::to_string).as_deref(), Some("k1"));
    let header = |name: &str| properties.headers().as_ref().and_then(|headers| headers.inner().get(name).cloned());
    assert_eq!(header("x-ark-epoch"), Some(lapin::types::AMQPValue::LongLongInt(7)));
    assert_eq!(header("x-ark-attempt"), Some(lapin::types::AMQPValue::LongLongInt(1)));
    // A queue that somebody took away is there again once it is looked for; the broker takes its time to forget it.
    let (_admin, admin) = foreign_channel(&rabbit.url_of(&vhost)).await;
    admin.queue_delete("ark.out.shop".into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    let again = async || {
        bus.deliver(to.clone(), b"{}".to_vec()).ok()?.await.ok()?;
        (bus.adapter_queue("shop").await.ok()?.waiting > 0).then_some(())
    };
    kit::eventually("it waits in a new queue", READY, again).await;
    publish_as(&shop, Some("guest"), "forged").await.expect_err("the broker looks whose name it is");
}

async fn foreign_channel(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// Publishes to `ark.in`, as an adapter does.
async fn publish_as(channel: &lapin::Channel, user: Option<&str>, id: &str) -> lapin::Result<()> {
    let mut properties = lapin::BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2);
    if let Some(user) = user {
        properties = properties.with_user_id(user.into());
    }
    let mut forged = lapin::types::FieldTable::default();
    forged.insert("x-ark-user".into(), lapin::types::AMQPValue::LongString("somebody".into()));
    let options = lapin::options::BasicPublishOptions::default();
    let properties = properties.with_headers(forged);
    channel.basic_publish("ark.in".into(), "".into(), options, b"{}", properties).await?.await.map(drop)
}

/// What an adapter in its own process may do, with nothing but an AMQP client.
async fn adapter_may(url: &str) {
    use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
    use lapin::types::FieldTable;
    use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let publish = async |exchange: &str, key: &str| {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties).await?.await
    };
    assert_eq!(publish("ark.in", "").await.unwrap(), Confirmation::Ack(None));
    for (exchange, key) in
        [("ark.e1.conv", "s000"), ("ark.evt", "s000.x"), ("", "ark.out.wechat"), ("ark.out", "wechat")]
    {
        publish(exchange, key).await.expect_err("an adapter writes to ark.in only");
    }
    let consume = async |queue: &str| {
        let channel = connection.create_channel().await?;
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    assert!(consume("ark.out.dingtalk").await.is_ok());
    for queue in ["ark.out.wechat", "ark.e1.conv.s000", "ark.dead", "ark.in"] {
        assert!(consume(queue).await.is_err(), "an adapter reads its own queue only, not {queue}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_knows_the_right_broker_and_refuses_an_unknown_one() {
    let Some(rabbit) = kit::rabbit("tls_knows_the_right_broker") else { return };
    let Some((port, authority)) = rabbit.tls() else {
        return kit::skip("tls_knows_the_right_broker", "openssl is not installed");
    };
    let _turn = rabbit.shared().await;
    let mut config = config(&rabbit.url(), "a");
    let vhost = config.brokers[0].vhost().to_owned();
    config.brokers = vec![Broker::parse(&format!("amqps://guest:guest@localhost:{port}/{vhost}")).unwrap()];
    let unknown = RabbitBus::open(&config, Duration::from_secs(20)).await.map(drop).expect_err("an unknown authority");
    assert!(matches!(unknown, BusError::Tls { .. }), "{unknown:?}");
    config.tls.authorities = Some(authority.to_owned());
    let bus = RabbitBus::open(&config, READY).await.unwrap();
    bus.wake(ark_bus::contract::wake_up(1, 1)).unwrap().await.unwrap();
    bus.close(READY).await;
    config.tls.authorities = Some("no/such/file.pem".into());
    assert!(matches!(RabbitBus::start(&config).map(drop), Err(BusError::Config(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_of_a_large_site_is_taken_by_the_broker_and_laid_twice_without_a_change() {
    let Some(rabbit) = kit::rabbit("the_topology_of_a_large_site") else { return };
    let _turn = rabbit.shared().await;
    let mut config = config(&rabbit.url(), "a");
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    config.topology =
        TopologyConfig { adapters: names(&["dingtalk"]), skills: names(&["general"]), ..TopologyConfig::default() };
    for _ in 0..2 {
        RabbitBus::open(&config, READY).await.unwrap().close(READY).await;
    }
    let manager = Manager::connect(&config).await.unwrap();
    let depths = manager.status().await.unwrap();
    assert!(depths.len() == Topology::new(&config.topology).unwrap().queues.len());
    assert!(depths.iter().all(|queue| queue.messages.is_some() && queue.alarm.is_none()), "{depths:?}");
}

/// `ark bus plan`: an empty broker, the site's own, and one that others laid otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_a_broker_is_compared_with_the_plan() {
    let Some(rabbit) = kit::rabbit("what_stands_on_a_broker_is_compared_with_the_plan") else { return };
    let _turn = rabbit.shared().await;
    let url = rabbit.url();
    let empty = Manager::connect(&config(&url, "a")).await.unwrap();
    let compared = empty.compare().await.unwrap();
    assert!(compared.objects.iter().all(|one| one.standing == Standing::Missing) && compared.store.is_none());
    assert!(!compared.conflicts());
    assert_eq!(empty.alarm().await.unwrap(), None);
    drop(bus(&url, "a").await);
    let laid = empty.compare().await.unwrap();
    assert!(laid.objects.iter().all(|one| one.standing == Standing::Same), "{laid:?}");
    assert_eq!((laid.store.as_deref(), laid.refused.as_deref()), (Some("store-of-the-tests"), None));

    let mut other = config(&url, "a");
    other.store_id = "another".to_owned();
    let other = Manager::connect(&other).await.unwrap().compare().await.unwrap();
    assert!(other.conflicts() && other.refused.unwrap().contains("carries the log of store store-of-the-tests"));

    let url = rabbit.url();
    for name in ["ark.dead", IDENTITY] {
        foreign(&url, name).await;
    }
    let foreign = Manager::connect(&config(&url, "a")).await.unwrap().compare().await.unwrap();
    for name in ["ark.dead", IDENTITY] {
        let queue = foreign.objects.iter().find(|one| one.what == "queue" && one.name == name).unwrap();
        assert!(matches!(&queue.standing, Standing::Conflict(why) if why.contains("x-")), "{queue:?}");
    }
    assert!(foreign.conflicts() && foreign.store.is_none());
}

/// Declares a queue that is none of Ark's.
async fn foreign(url: &str, name: &str) {
    let runtime = lapin::runtime::default_runtime().unwrap();
    let builder = lapin::ConnectionBuilder::new_with_runtime(runtime).with_uri(url.parse().unwrap());
    let connection = builder.connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = lapin::options::QueueDeclareOptions::durable();
    channel.queue_declare(name.into(), options, lapin::types::FieldTable::default()).await.unwrap();
    connection.close(200, "bye".into()).await.unwrap();
}

/// `ark bus status`: a broker under alarm takes nothing, and says so to whoever tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_seen_by_an_operator() {
    let Some(rabbit) = kit::rabbit("an_alarm_is_seen_by_an_operator") else { return };
    let _turn = rabbit.alone().await;
    let url = rabbit.url();
    let ask = async || {
        let manager = Manager::connect(&config(&url, "a")).await.unwrap();
        let alarm = manager.alarm().await.unwrap();
        manager.close().await;
        alarm
    };
    let memory = |limit: &str| rabbit.node(|node| node.ctl(&["set_vm_memory_high_watermark", "absolute", limit]));
    memory("1MB");
    let alarm = kit::eventually("the alarm is seen", READY, async || ask().await).await;
    memory("1GB");
    assert!(alarm.contains("memory"), "{alarm}");
    kit::eventually("the alarm is over", READY, async || ask().await.is_none().then_some(())).await;
}
