//! An adapter of somebody else's (docs/adapters/adapter.py, with channel.py as its channel) beside a gateway: messages both ways, and
//! nothing lost or doubled whoever dies.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use ark_tests::{
    kit::{Browser, Gateway, Process, SOON, TempDir, request, root, texts, tone_site},
    need,
};
use serde_json::{Value, json};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// How long an answer of the house may take through a gateway that has just come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the adapter's channel and the adapter know each other by.
const TOKEN: &str = "a-token-of-the-channel";

struct Adapter {
    process: Process,
}

/// What stands for the adapter's channel: docs/adapters/channel.py. It lives on when the adapter or the gateway dies.
struct Channel {
    at: SocketAddr,
    _process: Process,
}

impl Channel {
    fn start(adapter: SocketAddr, folder: &TempDir) -> Self {
        let at = free_address();
        let mut command = Command::new("python3");
        command.arg(root().join("docs/adapters/channel.py")).arg(at.port().to_string());
        command.arg(format!("http://{adapter}/webhook")).arg(folder.path().join("channel.db")).arg(TOKEN);
        let mut process = Process::start("channel.py", &mut command);
        let until = Instant::now() + SOON;
        while request(at, "GET", "/outbox", None, None).is_none() {
            assert!(process.is_running() && Instant::now() < until, "the channel does not start");
            process.wait_for_news(Duration::from_millis(20));
        }
        Self { at, _process: process }
    }

    fn customer_writes(&self, thread: &str, id: &str, text: &str) {
        let said = json!({"thread": thread, "id": id, "text": text});
        let answer = request(self.at, "POST", "/inject", None, Some(&said)).expect("the channel answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// What the customer was told, once it is `number` messages.
    fn told(&self, adapter: &mut Adapter, number: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let outbox = request(self.at, "GET", "/outbox", None, None).expect("the channel answers").json();
            let outbox = outbox.as_array().expect("a list").clone();
            if outbox.len() >= number {
                return outbox;
            }
            assert!(Instant::now() < until, "{number} messages are expected: {outbox:?}");
            adapter.process.wait_for_news(Duration::from_millis(20));
        }
    }
}

impl Adapter {
    fn start(at: SocketAddr, channel: &Channel, ark: SocketAddr, folder: &TempDir) -> Self {
        let mut command = Command::new("python3");
        command
            .arg(root().join("docs/adapters/adapter.py"))
            .env("ARK", format!("http://{ark}/hooks/shop"))
            .env("SECRET", SECRET)
            .env("PORT", at.port().to_string())
            .env("DB", folder.path().join("adapter.db"))
            .env("CHANNEL", format!("http://{}", channel.at))
            .env("TOKEN", TOKEN);
        let mut process = Process::start("adapter.py", &mut command);
        let until = Instant::now() + SOON;
        while request(at, "GET", "/ark/v1/health", None, None).is_none() {
            assert!(process.is_running() && Instant::now() < until, "the adapter does not start");
            process.wait_for_news(Duration::from_millis(20));
        }
        Self { process }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address")
}

/// A site with the adapter's channel.
fn start(at: SocketAddr, secrets: &TempDir) -> Gateway {
    let secret = secrets.path().join("shop");
    std::fs::write(&secret, SECRET).expect("a temporary file");
    let mut setup = tone_site();
    setup.more = format!(
        "[[channel]]\nname = \"shop\"\nkind = \"http\"\nqueue = \"parcels\"\nsecrets = {{ secret = {{ file = {secret:?} }} }}\n\
         settings = {{ url = \"http://{at}\" }}\n\n[[queue]]\nname = \"parcels\"\noperators = []\n"
    );
    Gateway::start(&setup)
}

#[test]
fn a_customer_of_a_foreign_adapter_and_an_agent_write_to_each_other() {
    let folder = TempDir::new("adapter");
    let at = free_address();
    let channel = Channel::start(at, &folder);
    let gateway = start(at, &folder);
    let mut adapter = Adapter::start(at, &channel, gateway.web, &folder);
    channel.customer_writes("t1", "m1", "你好，我的快递在哪里？");
    channel.customer_writes("t1", "m2", "Order 1024.");
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 2, PATIENCE);
    assert_eq!(texts(&messages), ["你好，我的快递在哪里？", "Order 1024."]);

    let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
    assert_eq!(state["owner"], "queue:parcels", "the channel's own queue: {state}");

    let answer = gateway.reply(&id, "wang", Some("k1"), "您好，正在为您查询。");
    assert!(answer.status < 300, "{}", answer.body);
    // Asked again by a client that lost the answer: sent once.
    assert_eq!(gateway.reply(&id, "wang", Some("k1"), "您好，正在为您查询。").json()["duplicate"], true);
    let told = channel.told(&mut adapter, 1);
    assert_eq!(told[0]["parts"][0]["text"], "您好，正在为您查询。");
    // The gateway's own, once the adapter has it, and the adapter's, once its channel has it: whichever is first.
    let (_, receipts) = gateway.wait_for_chat("ark.receipt.v1", 2, PATIENCE);
    let states: BTreeSet<_> = receipts.iter().filter_map(|record| record["event"]["data"]["state"].as_str()).collect();
    assert_eq!(states, BTreeSet::from(["accepted", "sent"]));
    assert_eq!(channel.told(&mut adapter, 1).len(), 1);
    let channels = gateway.ask("GET", "/api/v1/channels", None).json();
    let shop = &channels["channels"][0];
    assert_eq!((&shop["state"], &shop["kept"], &shop["sent"]), (&json!("up"), &json!(3), &json!(1)), "{shop}");
    // Nobody else speaks for it.
    let forged = json!({"id": "m3"});
    let refused = request(gateway.web, "POST", "/hooks/shop/ark/v1/ingest", None, Some(&forged)).expect("an answer");
    assert_eq!(refused.status, 401, "{}", refused.body);
    let unknown = request(gateway.web, "POST", "/hooks/nobody/ark/v1/ingest", None, Some(&forged)).expect("an answer");
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}

#[test]
fn nothing_is_lost_or_doubled_when_adapter_and_gateway_are_killed() {
    const EACH: usize = 60;
    let folder = TempDir::new("adapter");
    let at = free_address();
    let channel = Channel::start(at, &folder);
    let mut gateway = start(at, &folder);
    let mut adapter = Adapter::start(at, &channel, gateway.web, &folder);
    for n in 0..EACH {
        channel.customer_writes("t1", &format!("a{n}"), &format!("a{n}"));
        if n == EACH / 2 {
            gateway.process.kill();
        }
    }
    // The adapter keeps what it was given while nobody takes it, and dies as well.
    adapter.process.kill();
    let mut adapter = Adapter::start(at, &channel, gateway.web, &folder);
    let mut gateway = gateway.start_again();
    for n in 0..EACH {
        channel.customer_writes("t1", &format!("b{n}"), &format!("b{n}"));
    }
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 2 * EACH, PATIENCE);
    let expected: Vec<String> = ["a", "b"].iter().flat_map(|row| (0..EACH).map(move |n| format!("{row}{n}"))).collect();
    assert_eq!(texts(&messages), expected, "each once and in order");

    // The same with the house's side: the adapter is away, and the gateway dies with messages for it.
    adapter.process.kill();
    for n in 0..10 {
        assert!(gateway.reply(&id, "wang", Some(&format!("k{n}")), &format!("r{n}")).status < 300);
    }
    gateway.process.kill();
    let gateway = gateway.start_again();
    let mut adapter = Adapter::start(at, &channel, gateway.web, &folder);
    let told = channel.told(&mut adapter, 10);
    let told: Vec<_> = told.iter().filter_map(|entry| entry["parts"][0]["text"].as_str()).collect();
    assert_eq!(told, (0..10).map(|n| format!("r{n}")).collect::<Vec<_>>(), "each once and in order");
}

/// What the operator sees of it, in a real browser: words and no script, and nothing that only calls have.
#[test]
fn the_page_shows_a_chat_as_what_it_is() {
    need!("live_adapter", "chromium");
    let folder = TempDir::new("adapter");
    let at = free_address();
    let channel = Channel::start(at, &folder);
    let gateway = start(at, &folder);
    let mut adapter = Adapter::start(at, &channel, gateway.web, &folder);
    channel.customer_writes("t1", "m1", "你好 <img src=x onerror=\"document.title='owned'\">");
    let (id, _) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("the gateway's token");
    let browser = Browser::start(440.0);
    let mut page = browser.open(&format!("http://{}/operations?token={}", gateway.web, token.trim()));
    let item = format!("document.querySelector('[data-id=\"{id}\"]')");
    page.wait_for(&format!("{item} && {item}.textContent.includes('http · shop')"), PATIENCE);
    page.eval(&format!("{item}.click()"));
    page.wait_for("document.querySelector('#timeline').textContent.includes('onerror')", PATIENCE);
    page.wait_for("document.querySelector('#chips .wait') !== null", PATIENCE);
    page.wait_for("/Customer|客户/.test(document.querySelector('#timeline').textContent)", PATIENCE);
    assert_eq!(page.eval("document.querySelector('#hangup').hidden"), true, "there is no call to hang up");
    assert_eq!(page.eval("document.querySelectorAll('#timeline img').length"), 0);
    assert!(gateway.reply(&id, "wang", Some("k1"), "您好，正在为您查询。").status < 300);
    channel.told(&mut adapter, 1);
    page.wait_for("document.querySelector('#timeline').textContent.includes('正在为您查询')", PATIENCE);
    page.wait_for("document.querySelector('#chips .live') !== null", PATIENCE);
    assert_ne!(page.eval("document.title"), "owned");
    if let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") {
        page.screenshot(&std::path::Path::new(&folder).join("chat.png"));
    }
}
