//! Two gateways on one PostgreSQL and one RabbitMQ: each sees the other's calls, and outlives it and the broker.

use std::{
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ark_bus::kit::{Rabbit, START, rabbit};
use ark_store::kit::{PostgresServer, postgres};
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
        let mut setup = tone_site();
        setup.id = id.to_owned();
        setup.store = self.database.url();
        setup.more = format!("[bus]\nurl = \"{}\"\n", self.broker);
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
