//! A gateway of one test: its own ports, its own folder, its own plan.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Answer, Process, SOON, Tail, TempDir, request, root, write_wav};

/// A debug build on two busy cores needs a while to speak its prompts for the first time.
const START: Duration = Duration::from_secs(60);

/// The gateway under test: `ARK_BIN`, or the program beside this test, built now if it has to be.
///
/// # Panics
/// When it cannot be built.
pub fn ark_binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("ARK_BIN") {
            return path.into();
        }
        // target/PROFILE/deps/this-test
        let test = std::env::current_exe().expect("a test has a path");
        let folder = test.ancestors().nth(2).expect("a test lies two folders deep");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let target = folder.parent().expect("a profile lies in the target folder");
        let mut build = Command::new(cargo);
        // What cargo says to this test about itself would make build scripts that look at it run again.
        let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            build.env_remove(name);
        }
        let built = build
            .args(["build", "--quiet", "--package", "ark", "--bin", "ark", "--profile", profile, "--target-dir"])
            .arg(target)
            .current_dir(root())
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the gateway does not build");
        folder.join("ark")
    })
}

/// What the site of a test looks like.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The plan of number 95188, TOML. Its prompts find the recordings below beside it.
    pub plan: String,
    /// File names and what they sound like (8 kHz).
    pub recordings: Vec<(String, Vec<i16>)>,
    /// SIP addresses that the queue `general` dials.
    pub operators: Vec<String>,
    /// Whether every call is recorded.
    pub record: bool,
    /// The gateway's id; empty: `test`.
    pub id: String,
    /// The address of the store; empty: an SQLite file of the gateway's own.
    pub store: String,
    /// More lines of `[rtp]`.
    pub rtp: String,
    /// More TOML at the end of the site's file.
    pub more: String,
}

impl Setup {
    /// A site with that plan.
    pub fn with_plan(plan: &str) -> Self {
        Self { plan: plan.into(), ..Self::default() }
    }

    /// A recording beside the plan.
    #[must_use]
    pub fn with_recording(mut self, name: &str, pcm: Vec<i16>) -> Self {
        self.recordings.push((name.into(), pcm));
        self
    }

    fn file(&self, sip: SocketAddr, web: SocketAddr) -> String {
        let id = if self.id.is_empty() { "test" } else { &self.id };
        let store = if self.store.is_empty() { "sqlite:data/ark.db" } else { &self.store };
        let mut text = format!(
            "[gateway]\nid = \"{id}\"\ndata = \"data\"\ndrain = \"2s\"\n\n[sip]\nlisten = [\"udp:{sip}\", \"tcp:{sip}\"]\n\
             calls_per_second_max = 2000\nmessages_per_second_max = 20000\n\n[rtp]\naddress = \"127.0.0.1\"\nports = \
             \"20000-29999\"\n{}\n\n[web]\nlisten = \"{web}\"\n\n[store]\nurl = \"{store}\"\n\n[files]\nurl = \
             \"file:data/files\"\n\n[[hotline]]\nnumber = \"95188\"\ndialplan = \"plan.toml\"\nrecord = {}\n\n[[queue]]\n\
             name = \"general\"\noperators = {:?}\n",
            self.rtp, self.record, self.operators
        );
        let _ = writeln!(text, "\n{}", self.more);
        text
    }
}

/// A running `ark serve`.
pub struct Gateway {
    /// Where SIP is heard, UDP and TCP.
    pub sip: SocketAddr,
    /// Where HTTP is heard.
    pub web: SocketAddr,
    /// The program.
    pub process: Process,
    folder: TempDir,
    token: String,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn start(setup: &Setup) -> Self {
        let folder = TempDir::new("gateway");
        fs::write(folder.path().join("plan.toml"), &setup.plan).expect("a temporary file");
        for (name, pcm) in &setup.recordings {
            write_wav(&folder.path().join(name), pcm);
        }
        let (sip, web) = (free_address(), free_address());
        fs::write(folder.path().join("ark.toml"), setup.file(sip, web)).expect("a temporary file");
        Self::serve(folder, sip, web)
    }

    fn serve(folder: TempDir, sip: SocketAddr, web: SocketAddr) -> Self {
        let mut command = Command::new(ark_binary());
        command.args(["serve", "--config", "ark.toml"]).current_dir(folder.path());
        let mut process = Process::start("ark serve", &mut command);
        let deadline = Instant::now() + START;
        while request(web, "GET", "/readyz", None, None).is_none_or(|answer| answer.status != 200) {
            assert!(process.is_running(), "the gateway ended while it started");
            assert!(Instant::now() < deadline, "the gateway is not ready after {START:?}");
            process.wait_for_news(Duration::from_millis(50));
        }
        let token = fs::read_to_string(folder.path().join("data/ark.token")).expect("data/ark.token");
        Self { sip, web, process, folder, token: token.trim().to_owned() }
    }

    /// The same site again after its process ended, with all that it wrote.
    ///
    /// # Panics
    /// When it is not ready in time.
    #[must_use]
    pub fn start_again(mut self) -> Self {
        self.process.kill();
        let Self { folder, sip, web, process, .. } = self;
        drop(process);
        Self::serve(folder, sip, web)
    }

    /// Its working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks the API with the token.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = request(self.web, method, path, Some(&self.token), body);
        answer.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// Follows one conversation from its beginning, as pages and `ark conversation tail` do.
    ///
    /// # Panics
    /// When the gateway does not answer.
    pub fn tail(&self, conversation: &str) -> Tail {
        Tail::open(self.web, &self.token, conversation)
    }

    /// The conversations that are calls, newest first, all pages.
    ///
    /// # Panics
    /// When the API refuses.
    pub fn conversations(&self) -> Vec<Value> {
        let mut found = Vec::new();
        let mut before = String::new();
        loop {
            let answer = self.ask("GET", &format!("/api/v1/conversations?limit=500{before}"), None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page = answer.json();
            let list = page["conversations"].as_array().unwrap_or_else(|| panic!("no list in {page}"));
            found.extend(list.iter().filter(|one| one["kind"] == "call").cloned());
            let Some(next) = page["next"].as_str() else { return found };
            before = format!("&before={next}");
        }
    }

    /// The records of one conversation, in order, all pages.
    ///
    /// # Panics
    /// When the API refuses, or a `seq` is missing.
    pub fn records(&self, conversation: &str) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        loop {
            let path = format!("/api/v1/conversations/{conversation}/events?limit=500&after_seq={}", found.len());
            let answer = self.ask("GET", &path, None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page = answer.json();
            let records = page["records"].as_array().unwrap_or_else(|| panic!("no records in {page}"));
            for record in records {
                assert_eq!(record["seq"], found.len() as u64 + 1, "a gap in the log: {record}");
                found.push(record.clone());
            }
            if records.is_empty() {
                return found;
            }
        }
    }

    /// The log of one conversation, in order.
    ///
    /// # Panics
    /// As [`Gateway::records`].
    pub fn timeline(&self, conversation: &str) -> Timeline {
        let record = |record: Value| (event_name(&record["event"]), record["event"]["data"].clone());
        Timeline(self.records(conversation).into_iter().map(record).collect())
    }

    /// Waits until the log of a chat holds so many records of that type (`ark.message.in.v1`); the conversation, and these.
    ///
    /// # Panics
    /// When they do not come in time.
    pub fn wait_for_chat(&self, kind: &str, number: usize, within: Duration) -> (String, Vec<Value>) {
        let deadline = Instant::now() + within;
        loop {
            let page = self.ask("GET", "/api/v1/conversations?limit=500", None).json();
            let list = page["conversations"].as_array().unwrap_or_else(|| panic!("no list in {page}"));
            for id in list.iter().filter(|one| one["kind"] == "chat").map(conversation_id) {
                let mut records = self.records(&id);
                records.retain(|record| record["event"]["type"] == kind);
                if records.len() >= number {
                    return (id, records);
                }
            }
            assert!(Instant::now() < deadline, "{number} of {kind} are expected: {list:?}");
            self.process.wait_for_news(Duration::from_millis(20));
        }
    }

    /// An agent writes to the customer; with a key the same words again are sent once.
    ///
    /// # Panics
    /// When the gateway does not answer.
    pub fn reply(&self, conversation: &str, by: &str, key: Option<&str>, text: &str) -> Answer {
        let body = serde_json::json!({ "by": by, "text": text, "key": key });
        self.ask("POST", &format!("/api/v1/conversations/{conversation}/messages"), Some(&body))
    }

    /// Waits until the log of the only conversation holds an event of that name, and returns its whole timeline.
    ///
    /// # Panics
    /// When it does not come in time, or there is more than one conversation.
    pub fn wait_for_event(&self, name: &str, within: Duration) -> Timeline {
        let deadline = Instant::now() + within;
        loop {
            let conversations = self.conversations();
            assert!(conversations.len() <= 1, "{} conversations", conversations.len());
            let timeline = conversations.first().map(|one| self.timeline(&conversation_id(one))).unwrap_or_default();
            if timeline.count(name) > 0 {
                return timeline;
            }
            assert!(Instant::now() < deadline, "no {name} in the log: {:?}", timeline.names());
            self.process.wait_for_news(Duration::from_millis(50));
        }
    }

    /// Waits until so many conversations have ended, and none is open.
    ///
    /// # Panics
    /// When it takes longer.
    pub fn wait_for_ended(&self, count: usize, within: Duration) -> Vec<Value> {
        let deadline = Instant::now() + within;
        loop {
            let conversations = self.conversations();
            let ended = conversations.iter().filter(|one| one["ended"].is_string()).count();
            if ended == count && conversations.len() == count {
                return conversations;
            }
            assert!(Instant::now() < deadline, "{ended} of {} conversations ended, not {count}", conversations.len());
            self.process.wait_for_news(Duration::from_millis(50));
        }
    }

    /// Waits until no call is up.
    ///
    /// # Panics
    /// When calls stay.
    pub fn wait_until_idle(&self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let body = self.ask("GET", "/api/v1/calls", None).json();
            let calls = body["calls"].as_array().unwrap_or_else(|| panic!("no list in {body}")).len();
            if calls == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{calls} calls are still up");
            self.process.wait_for_news(SOON.min(Duration::from_millis(50)));
        }
    }
}

/// The words of messages, of those that have words.
pub fn texts(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["event"]["data"]["parts"][0]["text"].as_str()).collect()
}

/// The id of a conversation in a list.
///
/// # Panics
/// When there is none.
pub fn conversation_id(item: &Value) -> String {
    item["conversation"].as_str().unwrap_or_else(|| panic!("no id in {item}")).to_owned()
}

/// A conversation as it went: names such as `call.ringing`, and the data of each event.
#[derive(Clone, Debug, Default)]
pub struct Timeline(pub Vec<(String, Value)>);

impl Timeline {
    /// The names in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// How many events of that name there are.
    pub fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(found, _)| found == name).count()
    }

    /// The first event of that name.
    ///
    /// # Panics
    /// When there is none.
    pub fn first(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(found, _)| found == name);
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.names())).1
    }

    /// One field of every event of that name, in order.
    pub fn all(&self, name: &str, field: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
        self.0.iter().filter(|(found, _)| found == name).map(|(_, data)| text(&data[field])).collect()
    }

    /// Fails unless these names stand in the log in that order, others between them allowed.
    ///
    /// # Panics
    /// When one is missing or in another place.
    pub fn assert_order(&self, names: &[&str]) {
        let mut rest = self.0.iter();
        for name in names {
            assert!(rest.any(|(found, _)| found == name), "{name} is not in its place: {:?}", self.names());
        }
    }
}

/// `ark.call.ringing.v1` as `call.ringing`.
pub(super) fn event_name(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or_default();
    let name = name.strip_prefix("ark.").unwrap_or(name);
    name.strip_suffix(".v1").unwrap_or(name).to_owned()
}

/// A port of loopback that UDP and TCP both have free just now.
fn free_address() -> SocketAddr {
    for _ in 0..100 {
        let Ok(tcp) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let address = tcp.local_addr().expect("a bound socket has an address");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("loopback has no free port");
}
