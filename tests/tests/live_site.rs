//! Two gateways on one PostgreSQL and one RabbitMQ: each sees the other's calls, and outlives it and the broker.

use std::{
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ark_bus::kit::{Rabbit, START, rabbit};
use ark_conversation::{CloudEvent, ConversationId, Tenant, samples, source};
use ark_store::kit::{PostgresServer, postgres};
use ark_store::{Join, NewInbound, PostgresOptions, PostgresStore, Store as _};
use ark_tests::kit::{Ended, Gateway, Phone, Process, SOON, TempDir, ark_binary, conversation_id, request, tone_site};

/// Within this time a call whose gateway died has its end in the log.
const LOST_WITHIN: Duration = Duration::from_secs(30);
/// How long a broker that is back may take until everything has gone through it.
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// One test at a time: they break the broker that they share.
static ONE: Mutex<()> = Mutex::new(());

/// What the gateways of a test share.
struct Site {
    database: PostgresServer,
    rabbit: &'static Rabbit,
    broker: String,
    _one: MutexGuard<'static, ()>,
}

impl Site {
    /// None: a peer is not installed, which was said.
    fn start(test: &str) -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let rabbit = rabbit(test)?;
        Some(Self { database: postgres(test)?, rabbit, broker: rabbit.url(), _one: one })
    }

    fn gateway(&self, id: &str) -> Gateway {
        self.gateway_with(id, "")
    }

    /// With more TOML at the end of its file.
    fn gateway_with(&self, id: &str, more: &str) -> Gateway {
        let mut setup = tone_site();
        setup.id = id.to_owned();
        setup.store = self.database.url();
        setup.more = format!("[bus]\nurl = \"{}\"\n{more}", self.broker);
        Gateway::start(&setup)
    }

    fn rows_in_the_outbox(&self) -> String {
        self.database.sql("select count(*) from ark.outbox").expect("psql")
    }
}

/// The conversation that is open and not one of these.
fn newest(gateway: &Gateway, not: &[&str]) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let found = gateway.conversations().iter().map(conversation_id).find(|id| !not.contains(&id.as_str()));
        if let Some(id) = found {
            return id;
        }
        assert!(Instant::now() < deadline, "the call is not in the log");
        gateway.process.wait_for_news(Duration::from_millis(50));
    }
}

fn wait_until(what: &str, gateway: &Gateway, within: Duration, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !so() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        gateway.process.wait_for_news(Duration::from_millis(100));
    }
}

fn bus_is_well(gateway: &Gateway) -> bool {
    let ready = gateway.ask("GET", "/readyz", None).json();
    let items = ready["items"].as_array().unwrap_or_else(|| panic!("no items in {ready}"));
    items.iter().any(|item| item["name"] == "bus" && item["ok"] == true)
}

#[test]
fn a_call_whose_gateway_died_is_closed_once_by_its_peer_and_the_peers_call_goes_on() {
    let Some(site) = Site::start("live_site a_call_whose_gateway_died") else { return };
    let (mut a, b) = (site.gateway("gw1"), site.gateway("gw2"));
    let (mut chen, mut anna) = (Phone::new("chen"), Phone::new("anna"));
    chen.call(a.sip, "95188");
    let dying = newest(&b, &[]);
    let mut tail = b.tail(&dying);
    tail.wait_for("call.answered", SOON);
    anna.say(Some(700.0));
    anna.call(b.sip, "95188");
    anna.wait_to_hear(440.0, SOON);
    anna.press('2');
    anna.wait_to_hear(600.0, SOON);
    let living = newest(&b, &[&dying]);
    chen.wait_to_hear(440.0, SOON);
    chen.press('9');
    tail.wait_for("dtmf", SOON);

    a.process.kill();
    let killed = Instant::now();
    let lost = tail.wait_for("call.lost", LOST_WITHIN);
    println!("the peer closed the call {:.1} s after the kill", killed.elapsed().as_secs_f64());
    assert_eq!(lost["gateway"], "gw1");
    anna.press('#');
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye);
    wait_until("the peer's call is in the log to its end", &b, SOON, || b.timeline(&living).count("call.quality") > 0);
    let timeline = b.timeline(&living);
    timeline.assert_order(&["call.ringing", "call.answered", "recording.finished", "call.ended"]);
    assert_eq!(timeline.count("call.lost"), 0, "{:?}", timeline.names());

    let a = a.start_again();
    assert_eq!(a.timeline(&dying).count("call.lost"), 1, "the dead one's own start says it no second time");
    let mut ben = Phone::new("ben");
    ben.call(a.sip, "95188");
    let next = newest(&b, &[&dying, &living]);
    b.tail(&next).wait_for("call.answered", SOON);
    ben.hang_up();
    wait_until("nothing waits in the outbox", &b, SOON, || site.rows_in_the_outbox() == "0");
}

#[test]
fn a_broker_that_dies_during_calls_loses_nothing_and_keeps_the_order() {
    let Some(site) = Site::start("live_site a_broker_that_dies") else { return };
    let (a, b) = (site.gateway("gw1"), site.gateway("gw2"));
    let (mut chen, mut anna) = (Phone::new("chen"), Phone::new("anna"));
    chen.call(a.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    let id = newest(&b, &[]);
    let mut tail = b.tail(&id);
    tail.wait_for("call.answered", SOON);

    site.rabbit.node(|node| node.kill());
    wait_until("readyz says that the bus is away", &a, SOON, || !bus_is_well(&a));
    chen.press('9');
    anna.call(b.sip, "95188");
    anna.wait_to_hear(440.0, SOON);
    anna.hang_up();
    wait_until("the call made without a broker is in the log", &b, SOON, || {
        let calls = a.conversations();
        calls.iter().any(|call| call["ended"].is_string())
    });
    assert_ne!(site.rows_in_the_outbox(), "0", "what is committed waits for the broker");

    site.rabbit.node(|node| {
        node.start();
        node.wait_until_started(START);
    });
    tail.wait_for("dtmf", CAUGHT_UP);
    chen.press('1');
    chen.wait_to_hear(1_000.0, SOON);
    assert_eq!(chen.wait_for_the_end(SOON), Ended::TheirBye);
    tail.wait_for("call.ended", CAUGHT_UP);
    wait_until("the bus is well again", &a, CAUGHT_UP, || bus_is_well(&a) && bus_is_well(&b));
    wait_until("nothing waits in the outbox", &b, CAUGHT_UP, || site.rows_in_the_outbox() == "0");
}

/// Events that wait on disk, as `/metrics` has it.
fn in_the_spool(gateway: &Gateway) -> u64 {
    let metrics = gateway.ask("GET", "/metrics", None).body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("ark_log_spool_events "));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no ark_log_spool_events in {metrics}"))
}

#[test]
fn a_database_that_dies_loses_nothing_of_calls_that_go_on_though_the_gateway_dies_too() {
    let Some(site) = Site::start("live_site a_database_that_dies") else { return };
    let mut gateway = site.gateway("gw1");
    let (mut chen, mut anna) = (Phone::new("chen"), Phone::new("anna"));
    chen.call(gateway.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    let id = newest(&gateway, &[]);
    wait_until("the call is in the log", &gateway, SOON, || gateway.timeline(&id).count("call.answered") == 1);

    site.database.kill().expect("it dies");
    chen.press('1');
    chen.wait_to_hear(1_000.0, SOON);
    assert_eq!(chen.wait_for_the_end(SOON), Ended::TheirBye, "the call goes on to its end");
    anna.call(gateway.sip, "95188");
    anna.wait_to_hear(440.0, SOON);
    anna.hang_up();
    gateway.process.wait_for_line("events wait in the spool on disk", SOON);
    // What came last is on disk when nothing has come for a while.
    let mut waiting = in_the_spool(&gateway);
    wait_until("all of it is on disk", &gateway, SOON, || {
        let before = std::mem::replace(&mut waiting, in_the_spool(&gateway));
        waiting >= 10 && waiting == before
    });
    gateway.process.kill();
    site.database.up().expect("it comes back");

    let gateway = gateway.start_again();
    assert_eq!(in_the_spool(&gateway), 0, "it is in the log before the gateway is ready");
    // `timeline` refuses a gap.
    let timelines: Vec<_> = gateway.conversations().iter().map(|one| gateway.timeline(&conversation_id(one))).collect();
    assert_eq!(timelines.len(), 2);
    for timeline in &timelines {
        timeline.assert_order(&["call.ringing", "call.answered", "prompt.started", "call.quality", "call.ended"]);
        assert_eq!(timeline.count("call.lost"), 0, "it ended as it did, and was not lost");
    }
    assert_eq!(timelines.iter().map(|one| one.count("dtmf")).sum::<usize>(), 1);
}

/// Starts a gateway whose site's file ends so; its output, and its folder.
fn serve(store: &str, bus: &str, web: u16) -> (Process, TempDir) {
    let folder = TempDir::new("refused");
    let port = free_port();
    let text = format!(
        "[gateway]\nid = \"gw9\"\n[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n[web]\nlisten = \"127.0.0.1:{web}\"\n[store]\nurl \
         = \"{store}\"\n[bus]\nurl = \"{bus}\"\n"
    );
    std::fs::write(folder.path().join("ark.toml"), text).expect("a temporary file");
    let mut command = Command::new(ark_binary());
    command.args(["serve", "--config", "ark.toml"]).current_dir(folder.path());
    (Process::start("ark serve", &mut command), folder)
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    free.local_addr().expect("it is bound").port()
}

#[test]
fn what_only_a_person_can_put_right_refuses_the_start_and_an_absent_broker_does_not() {
    let Some(site) = Site::start("live_site what_only_a_person") else { return };
    let nobody = free_port();
    let wrong = site.broker.replace("guest:guest", "guest:not-the-word");
    let nowhere = format!("{}-nowhere", site.broker);
    let database = site.database.url();
    let cases = [
        (format!("postgres://ark:pg-word@127.0.0.1:{nobody}/ark?sslmode=disable"), "embedded:", "does not answer"),
        (database.replace("/postgres?", "/nowhere?"), "embedded:", "does not exist"),
        (database.clone(), wrong.as_str(), "refuses user 'guest'"),
        (database.clone(), nowhere.as_str(), "there is no virtual host"),
    ];
    for (store, bus, words) in &cases {
        let (mut process, _folder) = serve(store, bus, free_port());
        let status = process.wait(Duration::from_secs(60));
        let said = process.lines().join("\n");
        assert!(!status.success() && said.contains(words), "{words}: {said}");
        assert!(!said.contains("not-the-word") && !said.contains("pg-word"), "{said}");
    }
    // The broker serves this store from now on, and no other one.
    let (web, other) = (free_port(), "sqlite:data/ark.db");
    let (first, _folder) = serve(&database, &site.broker, web);
    first.wait_for_line("connected", Duration::from_secs(60));
    let (mut second, _other_folder) = serve(other, &site.broker, free_port());
    let status = second.wait(Duration::from_secs(60));
    let said = second.lines().join("\n");
    assert!(!status.success() && said.contains("carries the log of store"), "{said}");
    // The same id from another place.
    let (mut third, _third_folder) = serve(&database, &site.broker, free_port());
    let status = third.wait(Duration::from_secs(60));
    let said = third.lines().join("\n");
    assert!(!status.success() && said.contains("a gateway 'gw9' is here already"), "{said}");
    drop(first);

    let web = free_port();
    let (lonely, folder) = serve(other, &format!("amqp://guest:guest@127.0.0.1:{nobody}/ark"), web);
    lonely.wait_for_line("the gateway starts without its broker", Duration::from_secs(60));
    let address = ([127, 0, 0, 1], web).into();
    let deadline = Instant::now() + Duration::from_secs(60);
    let answer = loop {
        let token = std::fs::read_to_string(folder.path().join("data/ark.token")).unwrap_or_default();
        match request(address, "GET", "/readyz", Some(token.trim()), None) {
            Some(answer) if answer.body.contains("items") => break answer,
            _ => assert!(Instant::now() < deadline, "no answer: {:?}", lonely.lines()),
        }
        lonely.wait_for_news(Duration::from_millis(100));
    };
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("no broker answers"), "{}", answer.body);
}

/// The version of the only plan that is live at a gateway, and why it is not that of the others.
fn plan_of(gateway: &Gateway) -> (u64, Option<String>) {
    let plans = gateway.ask("GET", "/api/v1/plans", None).json();
    let plan = &plans["plans"][0];
    let live = plan["live"].as_u64().unwrap_or_else(|| panic!("nothing is live: {plans}"));
    (live, plan["behind"].as_str().map(Into::into))
}

fn publish(gateway: &Gateway, source: &str) -> u64 {
    let answer = gateway.ask("POST", "/api/v1/plans/live/publish", Some(&serde_json::json!({ "source": source })));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["version"].as_u64().expect("a version")
}

#[test]
fn a_plan_that_is_published_at_one_gateway_is_live_at_the_other_without_a_restart() {
    let Some(site) = Site::start("live_site a_plan_that_is_published") else { return };
    let (a, b) = (site.gateway("gw1"), site.gateway("gw2"));
    let first = tone_site().plan;
    // Who calls hears another recording first.
    let second = first.replacen("\"welcome.wav\"", "\"leave.wav\"", 1);
    assert_ne!(first, second);
    let mut before = Phone::new("chen");
    before.call(b.sip, "95188");
    before.wait_to_hear(440.0, SOON);
    let published = Instant::now();
    assert_eq!(publish(&a, &second), 2);
    wait_until("it is live at the other", &b, SOON, || plan_of(&b) == (2, None));
    println!("live at the other gateway {:.1} s after it was published", published.elapsed().as_secs_f64());
    let mut anna = Phone::new("anna");
    anna.call(b.sip, "95188");
    anna.wait_to_hear(600.0, SOON);
    anna.hang_up();
    before.press('1');
    before.wait_to_hear(1_000.0, SOON);
    assert_eq!(before.wait_for_the_end(SOON), Ended::TheirBye, "a call ends with the plan that it began with");

    let answer = b.ask("POST", "/api/v1/plans/live/rollback", Some(&serde_json::json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    wait_until("it is taken back at the other", &a, SOON, || plan_of(&a) == (1, None));

    // Both at once: the store's order counts, for both.
    for round in 0..3 {
        let said = |who: &str| first.replacen("Press 0 for a person.", &format!("{who} {round}."), 1);
        std::thread::scope(|scope| {
            scope.spawn(|| publish(&a, &said("Left")));
            scope.spawn(|| publish(&b, &said("Right")));
        });
        let last = site.database.sql("select version from ark.plan_change order by row desc limit 1").expect("psql");
        let last: u64 = last.parse().expect("a version");
        wait_until("both run the last one", &a, SOON, || plan_of(&a) == (last, None) && plan_of(&b) == (last, None));
    }

    // A recording that is damaged at one of them.
    std::fs::copy(a.folder().join("second.wav"), a.folder().join("cut.wav")).expect("a copy");
    std::fs::write(b.folder().join("cut.wav"), "no sound").expect("a file");
    let with_cut = first.replacen("\"second.wav\"", "\"cut.wav\"", 1);
    let stays = plan_of(&b).0;
    let version = publish(&a, &with_cut);
    wait_until("it says that it cannot", &b, SOON, || plan_of(&b).1.is_some());
    let (live, behind) = plan_of(&b);
    let behind = behind.unwrap_or_default();
    assert_eq!(live, stays, "the version before stays");
    assert!(behind.contains(&format!("version {version}")) && behind.contains("cut.wav"), "{behind}");
    assert!(b.ask("GET", "/readyz", None).body.contains("cut.wav"));
    let mut ben = Phone::new("ben");
    ben.call(b.sip, "95188");
    ben.wait_to_hear(440.0, SOON);
    ben.hang_up();

    // It starts again with its old file and takes nobody back.
    std::fs::copy(a.folder().join("cut.wav"), b.folder().join("cut.wav")).expect("a copy");
    let b = b.start_again();
    assert_eq!((plan_of(&b), plan_of(&a)), ((version, None), (version, None)));
}

/// What a page sees over the socket of a gateway.
struct Socket(tungstenite::WebSocket<std::net::TcpStream>);

impl Socket {
    fn open(gateway: &Gateway, subscribe: &serde_json::Value) -> Self {
        use tungstenite::client::IntoClientRequest as _;
        let mut request = format!("ws://{}/api/v1/socket", gateway.web).into_client_request().expect("an address");
        let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("a token");
        request.headers_mut().insert("authorization", format!("Bearer {}", token.trim()).parse().expect("a header"));
        let stream = std::net::TcpStream::connect(gateway.web).expect("the web face");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        let (mut socket, _) = tungstenite::client(request, stream).expect("a WebSocket");
        socket.send(tungstenite::Message::text(subscribe.to_string())).expect("it is sent");
        Self(socket)
    }

    /// Reads on until a message is wanted, and returns it.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < deadline, "not over the socket: {what}");
            if let tungstenite::Message::Text(text) = self.0.read().unwrap_or_else(|error| panic!("{what}: {error}")) {
                let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                if wanted(&message) {
                    return message;
                }
            }
        }
    }
}

#[test]
fn a_page_of_one_gateway_sees_the_calls_and_waiting_callers_of_the_other_live() {
    let Some(site) = Site::start("live_site a_page_of_one_gateway") else { return };
    let (a, mut b) = (site.gateway("gw1"), site.gateway("gw2"));
    let mut page = Socket::open(&a, &serde_json::json!({ "type": "subscribe", "live": true }));
    page.wait_for("gw2 is here", |message| {
        message["live"]["type"] == "ark.live.gateway.v1" && message["live"]["gateway"] == "gw2"
    });
    let of_b = |message: &serde_json::Value, kind: &str| {
        message["live"]["gateway"] == "gw2" && message["live"]["type"] == format!("ark.live.{kind}.v1")
    };
    let begun = Instant::now();
    let mut chen = Phone::new("chen");
    chen.call(b.sip, "95188");
    let call = page.wait_for("its call", |message| of_b(message, "call"));
    println!("the call was seen at the other gateway {:.2} s after it was made", begun.elapsed().as_secs_f64());
    let id = call["live"]["data"]["conversation"].as_str().expect("a conversation").to_owned();
    // Between the records of the same call, which have positions.
    let record = page.wait_for("its record", |message| message["record"]["conversation"] == id.as_str());
    assert!(record["record"]["position"].as_u64().is_some_and(|position| position > 0), "{record}");
    let calls = a.ask("GET", "/api/v1/calls", None).json();
    assert_eq!((&calls["calls"][0]["gateway"], &calls["calls"][0]["id"]), (&"gw2".into(), &id.as_str().into()));
    // What is asked of the one that has not got it is done by the one that has.
    let refused = a.ask("POST", &format!("/api/v1/calls/{id}/recording"), Some(&serde_json::json!({ "paused": true })));
    assert!(refused.status == 422 && refused.body.contains("nothing is recorded"), "{}", refused.body);

    // Who comes later sees it at once.
    let mut later = Socket::open(&a, &serde_json::json!({ "type": "subscribe", "live": true, "records": false }));
    later.wait_for("the call that is up", |message| of_b(message, "call"));
    let done = a.ask("POST", &format!("/api/v1/calls/{id}/hangup"), Some(&serde_json::json!({})));
    assert_eq!(done.status, 204, "{}", done.body);
    assert_eq!(chen.wait_for_the_end(SOON), Ended::TheirBye, "its caller hears it");
    page.wait_for("its end", |message| {
        of_b(message, "call.over") && message["live"]["data"]["conversation"] == id.as_str()
    });
    later.wait_for("its end", |message| of_b(message, "call.over"));

    let mut anna = Phone::new("anna");
    anna.call(b.sip, "95188");
    page.wait_for("the next call", |message| of_b(message, "call"));
    b.process.kill();
    let killed = Instant::now();
    page.wait_for("gw2 is gone", |message| of_b(message, "gateway") && message["live"]["data"]["here"] == false);
    println!("a gateway that was killed was gone from the page after {:.1} s", killed.elapsed().as_secs_f64());
    assert_eq!(a.ask("GET", "/api/v1/calls", None).json()["calls"], serde_json::json!([]));
}

/// A site's own system, which webhooks tell what happened: it notes each request, and answers while its gate is open.
struct Hook {
    address: std::net::SocketAddr,
    seen: std::sync::Arc<Mutex<Vec<String>>>,
    gate: std::sync::Arc<(Mutex<bool>, std::sync::Condvar)>,
}

impl Hook {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (seen, gate) = (std::sync::Arc::<Mutex<Vec<String>>>::default(), std::sync::Arc::default());
        let (noted, opened) = (std::sync::Arc::clone(&seen), std::sync::Arc::clone(&gate));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, opened) = (std::sync::Arc::clone(&noted), std::sync::Arc::clone(&opened));
                std::thread::spawn(move || answer(stream, &noted, &opened));
            }
        });
        Self { address, seen, gate }
    }

    fn open(&self) {
        *self.gate.0.lock().expect("nobody panics with it") = true;
        self.gate.1.notify_all();
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

/// Answers the requests of one connection, until it ends.
fn answer(
    stream: std::net::TcpStream,
    seen: &Mutex<Vec<String>>,
    gate: &(Mutex<bool>, std::sync::Condvar),
) -> Option<()> {
    use std::io::{BufRead as _, Read as _, Write as _};
    let mut reader = std::io::BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if let Some(value) = line.strip_prefix("webhook-id:") {
                value.trim().to_ascii_uppercase().clone_into(&mut id);
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        seen.lock().ok()?.push(id);
        drop(gate.1.wait_while(gate.0.lock().ok()?, |open| !*open).ok()?);
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

#[test]
fn a_gateway_that_is_killed_with_webhooks_under_way_leaves_none_undelivered() {
    let Some(site) = Site::start("live_site a_gateway_that_is_killed_with_webhooks") else { return };
    let hook = Hook::start();
    let secrets = TempDir::new("secrets");
    let secret = secrets.path().join("crm");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a file");
    let webhook = format!(
        "[[webhook]]\nname = \"crm\"\nurl = \"http://{}/hook\"\nsecrets = [{{ file = \"{}\" }}]\nallow_private = true\n\
         timeout = \"5s\"\n",
        hook.address,
        secret.display()
    );
    let mut a = site.gateway_with("gw1", &webhook);
    let mut phones: Vec<Phone> = (0..6).map(|n| Phone::new(&format!("phone{n}"))).collect();
    for phone in &mut phones {
        phone.call(a.sip, "95188");
    }
    wait_until("requests are under way", &a, SOON, || hook.seen().len() >= 6);
    a.process.kill();
    let under_way = hook.seen().len();
    let b = site.gateway_with("gw2", &webhook);
    hook.open();
    let a = a.start_again();
    let mut more = Phone::new("more");
    more.call(a.sip, "95188");
    more.hang_up();
    let events = || {
        let page = b.ask("GET", "/api/v1/history?after=0&limit=500", None).json();
        let records = page["records"].as_array().unwrap_or_else(|| panic!("no records in {page}")).clone();
        // A webhook that is new begins now: what was written before it began is not sent.
        let calls = records.iter().filter(|record| record["event"]["type"].as_str() != Some("ark.plan.published.v1"));
        calls
            .map(|record| format!("{}-{}", record["conversation"].as_str().unwrap_or_default(), record["seq"]))
            .collect::<Vec<_>>()
    };
    wait_until("the calls of the dead gateway are closed", &b, LOST_WITHIN, || {
        b.conversations().iter().filter(|one| one["ended"].is_string()).count() == 7
    });
    wait_until("each event was delivered", &b, Duration::from_secs(60), || {
        let seen: std::collections::HashSet<String> = hook.seen().into_iter().collect();
        events().iter().all(|id| seen.contains(id))
    });
    let (all, seen) = (events().len(), hook.seen());
    let once: std::collections::HashSet<&String> = seen.iter().collect();
    println!(
        "{under_way} under way at the kill; {all} events, {} requests, {} twice",
        seen.len(),
        seen.len() - once.len()
    );
    wait_until("nothing waits", &b, SOON, || {
        let list = b.ask("GET", "/api/v1/webhooks", None).json();
        list["webhooks"][0]["waiting"] == 0 && list["webhooks"][0]["dead"] == 0
    });
}

/// Threads of messages, and how many each has, that wait when a gateway dies.
const THREADS: u64 = 200;
const MESSAGES: u64 = 50;
/// Within this time the other gateway has the shards of the dead one, and has taken everything.
const TAKEN_WITHIN: Duration = Duration::from_secs(90);

/// What a channel would do: it leaves messages in the inbox.
struct Channel {
    runtime: tokio::runtime::Runtime,
    store: std::sync::Arc<PostgresStore>,
}

impl Channel {
    fn of(site: &Site) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let options = PostgresOptions { outbox: true, ..PostgresOptions::new(site.database.url()) };
        Self { runtime, store: std::sync::Arc::new(PostgresStore::open(&options).expect("the gateways' store")) }
    }

    fn message(thread: u64, n: u64) -> NewInbound {
        let name = format!("t{thread}");
        let source = source::thread(&Tenant::MAIN, "web", "shop", &name);
        let event = CloudEvent::new(format!("m{n}"), source, samples::at(0), samples::message_in(&name, "hello"));
        let begin = ConversationId::new(1_795_516_200_000, u128::from(thread));
        NewInbound { tenant: Tenant::MAIN, at: samples::at(0), event, begin, join: Join::Begin }
    }

    /// Leaves every message, in the order of each thread.
    fn fill(&self) {
        let one = |thread| {
            let store = std::sync::Arc::clone(&self.store);
            self.runtime.spawn(async move {
                for n in 0..MESSAGES {
                    store.ingest(Self::message(thread, n)).await.expect("it is durable");
                }
            })
        };
        let all: Vec<_> = (0..THREADS).map(one).collect();
        for one in all {
            self.runtime.block_on(one).expect("a channel");
        }
    }

    fn waiting(&self) -> u64 {
        self.runtime.block_on(self.store.backlog()).expect("a backlog").inbox
    }

    /// Each message is in its conversation's log once, in its thread's order; `seq` has no gap, epochs do not go back.
    fn check(&self, thread: u64) {
        let id = ConversationId::new(1_795_516_200_000, u128::from(thread));
        let (mut log, mut after) = (Vec::new(), 0);
        loop {
            let page = self.runtime.block_on(self.store.read(&Tenant::MAIN, id, after, 500)).expect("a page");
            let Some(last) = page.last() else { break };
            after = last.seq;
            log.extend(page);
        }
        let seqs: Vec<u64> = log.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<u64>>(), "thread {thread}: a gap");
        assert!(log.is_sorted_by_key(|record| record.epoch), "thread {thread}: an epoch went back");
        let messages = log.iter().filter(|record| record.event.type_name() == "ark.message.in.v1");
        let ids: Vec<&str> = messages.map(|record| record.event.id.as_str()).collect();
        let expected: Vec<String> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
        assert_eq!(ids, expected, "thread {thread}");
    }
}

fn signal(gateway: &Gateway, signal: &str) {
    let sent = Command::new("kill").args([signal, &gateway.process.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
}

/// Half of the shards each, as `/readyz` says.
fn shares(gateway: &Gateway) -> bool {
    let ready = gateway.ask("GET", "/readyz", None).json();
    let items = ready["items"].as_array().unwrap_or_else(|| panic!("no items in {ready}"));
    let site = items.iter().find(|item| item["name"] == "site").and_then(|item| item["detail"].as_str());
    site.is_some_and(|detail| !detail.starts_with("0 of") && !detail.starts_with("64 of"))
}

#[test]
fn messages_of_a_gateway_that_died_are_taken_by_its_peer_once_and_in_order() {
    let Some(site) = Site::start("live_site messages_of_a_gateway") else { return };
    let (mut a, b) = (site.gateway("gw1"), site.gateway("gw2"));
    wait_until("both have shards", &b, SOON, || shares(&a) && shares(&b));
    let channel = Channel::of(&site);
    // Nobody works while the channel fills the inbox, for less than a lease lasts.
    for gateway in [&a, &b] {
        signal(gateway, "-STOP");
    }
    let filling = Instant::now();
    channel.fill();
    println!("{} messages were left in {:?}", channel.waiting(), filling.elapsed());
    assert_eq!(channel.waiting(), THREADS * MESSAGES);
    for gateway in [&a, &b] {
        signal(gateway, "-CONT");
    }
    wait_until("they are at work", &b, SOON, || channel.waiting() < THREADS * MESSAGES - 200);
    a.process.kill();
    let (killed, left) = (Instant::now(), channel.waiting());
    wait_until("all are taken", &b, TAKEN_WITHIN, || channel.waiting() == 0);
    println!("{left} waited at the kill, none {:.1} s later", killed.elapsed().as_secs_f64());
    (0..THREADS).for_each(|thread| channel.check(thread));

    // Commands reach the owner by any gateway.
    let a = a.start_again();
    wait_until("both have shards", &b, SOON, || shares(&a) && shares(&b));
    for thread in 0..6_u64 {
        let id = ConversationId::new(1_795_516_200_000, u128::from(thread));
        let path = |what: &str| format!("/api/v1/conversations/{id}/{what}");
        for (n, gateway) in [&a, &b].into_iter().enumerate() {
            let words = serde_json::json!({ "by": "anna", "text": "good morning", "key": format!("k{n}") });
            let answer = gateway.ask("POST", &path("messages"), Some(&words));
            assert_eq!((answer.status, answer.json()["epoch"].as_u64()), (201, Some(2)), "{}", answer.body);
            let again = gateway.ask("POST", &path("messages"), Some(&words));
            assert_eq!((again.status, again.json()["duplicate"].as_bool()), (200, Some(true)), "{}", again.body);
            let ben = gateway.ask("POST", &path("claim"), Some(&serde_json::json!({ "by": "ben" })));
            assert_eq!((ben.status, ben.json()["error"]["code"].as_str()), (409, Some("not_owner")), "{}", ben.body);
        }
        let resolved = a.ask("POST", &path("resolve"), Some(&serde_json::json!({ "by": "anna", "epoch": 2 })));
        assert_eq!(resolved.status, 200, "{}", resolved.body);
        channel.check(thread);
    }
    wait_until("nothing waits in the outbox", &b, CAUGHT_UP, || site.rows_in_the_outbox() == "0");
}
