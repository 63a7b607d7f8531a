//! An adapter of somebody else's that speaks AMQP to the site's RabbitMQ: messages both ways, only in its own name, and nothing
//! lost or doubled whoever dies.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ark_bus::kit::{Rabbit, START, rabbit};
use ark_bus::topology::Role;
use ark_tests::kit::{Gateway, Process, SOON, TempDir, request, root, skip, texts, tone_site};
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time: they break the broker that they share.
static ONE: Mutex<()> = Mutex::new(());

/// A broker with a virtual host of the test's own, and the adapter's user in it.
struct Site {
    rabbit: &'static Rabbit,
    url: String,
    vhost: String,
    user: String,
    runtime: Runtime,
    folder: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Site {
    /// None: the broker is not installed, which was said.
    fn start(test: &str) -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let rabbit = rabbit(test)?;
        let vhost = rabbit.vhost();
        let user = format!("shop-{vhost}");
        let may = Role::Adapter("shop".into()).permissions().expect("a name that fits");
        rabbit.node(|node| {
            node.ctl(&["add_user", &user, "secret"]);
            node.ctl(&["set_permissions", "-p", &vhost, &user, &may.configure, &may.write, &may.read]);
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let folder = TempDir::new("amqp-site");
        std::fs::write(folder.path().join("manifest.json"), manifest().to_string()).expect("a temporary file");
        Some(Self { rabbit, url: rabbit.url_of(&vhost), vhost, user, runtime, folder, _one: one })
    }

    fn gateway(&self) -> Gateway {
        let mut setup = tone_site();
        setup.more = format!(
            "[bus]\nurl = \"{}\"\n\n[[channel]]\nname = \"shop\"\nkind = \"amqp\"\nqueue = \"parcels\"\nsettings = {{ user = \
             \"{}\", manifest = {:?} }}\n\n[[queue]]\nname = \"parcels\"\noperators = []\n",
            self.url,
            self.user,
            self.folder.path().join("manifest.json")
        );
        Gateway::start(&setup)
    }

    /// The adapter, connected; tried again while the broker comes back.
    fn adapter(&self) -> Adapter<'_> {
        let url = format!("amqp://{}:secret@127.0.0.1:{}/{}", self.user, self.rabbit.port(), self.vhost);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(Adapter::connect(&url)) {
                Ok((connection, channel, consumer)) => {
                    return Adapter { site: self, _connection: connection, channel, consumer };
                }
                Err(error) => assert!(Instant::now() < deadline, "the adapter does not get in: {error}"),
            }
        }
    }
}

/// What an adapter's author writes, with nothing but an AMQP client.
struct Adapter<'a> {
    site: &'a Site,
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

/// What the adapter can carry, as its author says.
fn manifest() -> Value {
    let both = json!({"in": true, "out": true});
    json!({
        "ark_adapter": "1", "id": "shop-adapter", "version": "1.0.0", "channel": "shop",
        "transport": {"mode": "amqp", "queue": "ark.out.shop"}, "capabilities": {"text": both, "typing": both},
        "identity": {"key_kinds": ["custom"]}, "ordering": "per_thread",
        "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259200}, "limits": {}
    })
}

fn message(id: &str, source: &str, text: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "ark.message.in.v1", "id": id, "source": source,
        "time": "2026-11-27T10:00:00Z", "datacontenttype": "application/json",
        "data": {
            "thread": "t1", "sender": {"role": "customer", "id": "c1"}, "parts": [{"kind": "text", "text": text}]
        }
    })
}

const OWN: &str = "/ark/main/amqp/shop/t1";

impl Adapter<'_> {
    async fn connect(url: &str) -> lapin::Result<(Connection, Channel, Consumer)> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let consumer = channel
            .basic_consume("ark.out.shop".into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await?;
        Ok((connection, channel, consumer))
    }

    /// Publishes one event as this user; whether the broker has it durably.
    fn publish(&self, user: Option<&str>, body: &[u8], id: &str) -> bool {
        let mut properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/cloudevents+json".into())
            .with_message_id(id.into());
        if let Some(user) = user {
            properties = properties.with_user_id(user.into());
        }
        let sent = async {
            let options = BasicPublishOptions::default();
            self.channel.basic_publish("ark.in".into(), "".into(), options, body, properties).await?.await
        };
        matches!(self.site.runtime.block_on(sent), Ok(Confirmation::Ack(None)))
    }

    fn bring(&self, event: &Value) {
        let id = event["id"].as_str().expect("an id");
        assert!(self.publish(Some(&self.site.user), event.to_string().as_bytes(), id), "the broker has it");
    }

    /// The next message of the house with its properties, acknowledged.
    fn take(&mut self) -> (Value, BasicProperties) {
        let next = async {
            let delivery = tokio::time::timeout(PATIENCE, self.consumer.next()).await.expect("a message in time");
            let delivery = delivery.expect("the queue is there").expect("a delivery");
            delivery.acker.ack(BasicAckOptions::default()).await.expect("an acknowledgement");
            (serde_json::from_slice(&delivery.data).expect("JSON"), delivery.properties)
        };
        self.site.runtime.block_on(next)
    }

    fn receipt(&self, message: &str, state: &str) {
        let mut event = message_receipt(message, state);
        event["id"] = format!("r:{message}:{state}").into();
        self.bring(&event);
    }
}

fn message_receipt(of: &str, state: &str) -> Value {
    let mut event = message("r", OWN, "");
    event["type"] = "ark.receipt.v1".into();
    event["data"] = json!({"thread": "t1", "message": of, "state": state});
    event
}

/// The dead letters, once there are so many: id and reason.
fn dead(gateway: &Gateway, number: usize) -> Vec<(String, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = gateway.ask("GET", "/api/v1/bus/dead?limit=50", None).json();
        let letters = answer["dead"].as_array().cloned().unwrap_or_default();
        let of_adapters = letters.iter().filter(|letter| letter["queue"] == "ark.in");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found: Vec<_> = of_adapters.map(|letter| (text(&letter["id"]), text(&letter["reason"]))).collect();
        if found.len() >= number {
            return found;
        }
        assert!(Instant::now() < deadline, "{number} dead letters are expected: {answer}");
        gateway.process.wait_for_news(Duration::from_millis(50));
    }
}

#[test]
fn an_adapter_on_the_broker_and_an_agent_write_to_each_other_and_nobody_else_speaks_for_it() {
    let Some(site) = Site::start("live_amqp an_adapter_on_the_broker") else { return };
    let gateway = site.gateway();
    let mut adapter = site.adapter();
    adapter.bring(&message("m1", OWN, "你好，我的快递在哪里？"));
    adapter.bring(&message("m2", OWN, "Order 1024."));
    // Redelivered by a channel that lost the answer.
    adapter.bring(&message("m1", OWN, "你好，我的快递在哪里？"));
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 2, PATIENCE);
    assert_eq!(texts(&messages), ["你好，我的快递在哪里？", "Order 1024."]);
    let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
    assert_eq!(state["owner"], "queue:parcels", "{state}");

    let answer = gateway.reply(&id, "wang", Some("k1"), "您好，正在为您查询。");
    assert!(answer.status < 300, "{}", answer.body);
    let (event, properties) = adapter.take();
    assert_eq!((&event["id"], &event["source"]), (&json!("k1"), &json!(OWN)), "{event}");
    assert_eq!(event["data"]["parts"][0]["text"], "您好，正在为您查询。");
    assert!(event["data"]["epoch"].as_u64() > Some(0), "{event}");
    let user = properties.user_id().as_ref().map(ToString::to_string);
    assert_eq!(user.as_deref(), Some("guest"), "the broker says that it is from the gateway");
    // What is shown and never kept goes the same way, and is worth nothing in a moment.
    let types = json!({"by": "wang", "on": true});
    let said = gateway.ask("POST", &format!("/api/v1/conversations/{id}/typing"), Some(&types));
    assert_eq!(said.status, 204, "{}", said.body);
    let (event, properties) = adapter.take();
    assert_eq!((&event["type"], &event["data"]["on"]), (&json!("ark.typing.v1"), &json!(true)), "{event}");
    assert!(properties.expiration().is_some());
    adapter.receipt("k1", "sent");
    adapter.receipt("k1", "read");
    let (_, receipts) = gateway.wait_for_chat("ark.receipt.v1", 3, PATIENCE);
    let states: BTreeSet<_> = receipts.iter().filter_map(|record| record["event"]["data"]["state"].as_str()).collect();
    assert_eq!(states, BTreeSet::from(["accepted", "sent", "read"]));

    // Nobody speaks for it, and it speaks for nobody else.
    assert!(adapter.publish(None, message("m3", OWN, "unsigned").to_string().as_bytes(), "m3"));
    for (at, source) in
        ["/ark/main/amqp/bank/t1", "/ark/main/http/shop/t1", "/ark/other/amqp/shop/t1"].iter().enumerate()
    {
        adapter.bring(&message(&format!("x{at}"), source, "not mine"));
    }
    assert!(adapter.publish(Some(&site.user), b"no event", "x3"));
    let dead = dead(&gateway, 5);
    let reason = |id: &str| dead.iter().find(|(of, _)| of == id).map_or("", |(_, reason)| reason.as_str());
    assert!(reason("m3").contains("user_id"), "{dead:?}");
    for id in ["x0", "x1", "x2"] {
        assert!(reason(id).contains("speaks for /ark/main/amqp/shop/"), "{dead:?}");
    }
    assert!(reason("x3").starts_with("schema"), "{dead:?}");
    assert!(
        !adapter.publish(Some("guest"), message("x4", OWN, "forged").to_string().as_bytes(), "x4"),
        "the broker looks"
    );
    let adapter = site.adapter();
    adapter.bring(&message("m5", OWN, "still here"));
    let (_, messages) = gateway.wait_for_chat("ark.message.in.v1", 3, PATIENCE);
    assert_eq!(texts(&messages)[2], "still here");
    let channels = gateway.ask("GET", "/api/v1/channels", None).json();
    assert_eq!(channels["channels"][0]["state"], "up", "{channels}");
}

#[test]
fn nothing_is_lost_or_doubled_when_gateway_adapter_and_broker_die() {
    const EACH: usize = 40;
    let Some(site) = Site::start("live_amqp nothing_is_lost_or_doubled") else { return };
    let mut gateway = site.gateway();
    let adapter = site.adapter();
    for n in 0..EACH {
        adapter.bring(&message(&format!("a{n}"), OWN, &format!("a{n}")));
        if n == EACH / 2 {
            // In the middle of what it has read and not acknowledged.
            gateway.process.kill();
        }
    }
    let gateway = gateway.start_again();
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", EACH, PATIENCE);
    let expected: Vec<String> = (0..EACH).map(|n| format!("a{n}")).collect();
    assert_eq!(texts(&messages), expected, "each once and in order");

    // The adapter and the broker are away, and the house answers.
    drop(adapter);
    site.rabbit.node(|node| node.kill());
    for n in 0..10 {
        assert!(gateway.reply(&id, "wang", Some(&format!("k{n}")), &format!("r{n}")).status < 300);
    }
    site.rabbit.node(|node| {
        node.start();
        node.wait_until_started(START);
    });
    let mut adapter = site.adapter();
    // Copies are allowed, by the same id; what comes first counts, as the standard says.
    let mut told: Vec<String> = Vec::new();
    while told.len() < 10 {
        let (event, _) = adapter.take();
        let id = event["id"].as_str().expect("an id").to_owned();
        if !told.contains(&id) {
            told.push(id);
        }
    }
    assert_eq!(told, (0..10).map(|n| format!("k{n}")).collect::<Vec<_>>(), "each, and in order");
    for n in 0..EACH {
        adapter.bring(&message(&format!("b{n}"), OWN, &format!("b{n}")));
    }
    let (_, messages) = gateway.wait_for_chat("ark.message.in.v1", 2 * EACH, PATIENCE);
    let expected: Vec<String> = ["a", "b"].iter().flat_map(|row| (0..EACH).map(move |n| format!("{row}{n}"))).collect();
    assert_eq!(texts(&messages), expected, "each once and in order");
}

/// The sample in Python, docs/adapters/adapter_amqp.py.
struct Sample {
    at: SocketAddr,
    process: Process,
}

impl Sample {
    fn start(site: &Site, python: &str, (at, folder): (SocketAddr, &TempDir)) -> Self {
        let mut command = Command::new(python);
        let url = format!("amqp://{}:secret@127.0.0.1:{}/{}", site.user, site.rabbit.port(), site.vhost);
        command
            .arg(root().join("docs/adapters/adapter_amqp.py"))
            .env("AMQP", url)
            .env("ACCOUNT", "shop")
            .env("PORT", at.port().to_string())
            .env("DB", folder.path().join("adapter.db"));
        let mut process = Process::start("adapter_amqp.py", &mut command);
        let until = Instant::now() + SOON;
        while request(at, "GET", "/outbox", None, None).is_none() {
            assert!(process.is_running() && Instant::now() < until, "the adapter does not start");
            process.wait_for_news(Duration::from_millis(20));
        }
        Self { at, process }
    }

    fn customer_writes(&self, id: &str, text: &str) {
        let said = json!({"thread": "t1", "id": id, "text": text});
        let answer = request(self.at, "POST", "/inject", None, Some(&said)).expect("the adapter answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// What the customer was told, once it is `number` messages.
    fn told(&mut self, number: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let outbox = request(self.at, "GET", "/outbox", None, None).expect("the adapter answers").json();
            let outbox = outbox.as_array().expect("a list");
            if outbox.len() >= number {
                let text = |entry: &Value| entry["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
                return outbox.iter().map(text).collect();
            }
            assert!(Instant::now() < until, "{number} messages are expected: {outbox:?}");
            self.process.wait_for_news(Duration::from_millis(20));
        }
    }
}

/// The distribution's own Python has what its package manager installs; another may come before it.
fn python_with_pika() -> Option<&'static str> {
    let has = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import pika"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(has)
}

#[test]
fn the_sample_in_python_carries_both_ways_and_lives_through_a_kill() {
    const NAME: &str = "live_amqp the_sample_in_python";
    let Some(python) = python_with_pika() else {
        return skip(NAME, "pika is not installed for python3 (make test installs it)");
    };
    let Some(site) = Site::start(NAME) else { return };
    let folder = TempDir::new("amqp-sample");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let at = listener.local_addr().expect("it has an address");
    drop(listener);
    let gateway = site.gateway();
    let mut sample = Sample::start(&site, python, (at, &folder));
    for n in 0..20 {
        sample.customer_writes(&format!("m{n}"), &format!("m{n}"));
        if n == 10 {
            sample.process.kill();
            sample = Sample::start(&site, python, (at, &folder));
        }
    }
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 20, PATIENCE);
    let expected: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    assert_eq!(texts(&messages), expected, "each once and in order");
    for n in 0..5 {
        assert!(gateway.reply(&id, "wang", Some(&format!("k{n}")), &format!("r{n}")).status < 300);
    }
    assert_eq!(sample.told(5), (0..5).map(|n| format!("r{n}")).collect::<Vec<_>>());
    let (_, receipts) = gateway.wait_for_chat("ark.receipt.v1", 10, PATIENCE);
    let sent = receipts.iter().filter(|record| record["event"]["data"]["state"] == "sent").count();
    assert_eq!(sent, 5, "{receipts:?}");
}
