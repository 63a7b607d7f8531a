//! The conformance kit: `ark channel test` plays the gateway for an adapter and says what of the adapter standard holds.
//!
//! Every MUST of ADAPTERS.md has an id and a check of that name ([`standard::CHECKS`]); a test keeps the two the same. The kit
//! serves what adapters call, signs what it posts, and works the native side by the adapter's test hooks. What an adapter
//! brings is read by the machine that reads it in service.

mod checks;
mod house;
pub mod inproc;
pub mod limits;
mod peer;
mod process;
pub mod report;
mod stage;
pub mod standard;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use ark_conversation::channel::Manifest;
use ark_conversation::event::{MessageOut, Part, Party, PartyRole};
use ark_conversation::{CloudEvent, ConversationId, Pii, Tenant, source};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use house::House;
use limits::*;
use peer::{Peer, Reply};
use process::Started;
pub use report::Report;
pub use standard::Level;

/// What is tested, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The adapter's address.
    pub url: String,
    /// The shared secret, `whsec_...`; none: one is made for an adapter that the kit starts.
    pub secret: Option<String>,
    /// The secret before it, which the adapter still takes.
    pub old_secret: Option<String>,
    /// The account's name at the gateway.
    pub account: String,
    /// Where the kit's gateway listens.
    pub listen: SocketAddr,
    /// Up to which level.
    pub level: Level,
    /// The command that starts the adapter; none: it runs already.
    pub start: Option<String>,
    /// A folder for the adapter's own file and its output.
    pub state: PathBuf,
    /// Rounds of kills, each way.
    pub rounds: u32,
    /// How long the soak lasts.
    pub soak: Duration,
    /// How long the adapter may take for what needs tries of its own: backoff included.
    pub patience: Duration,
    /// Only the checks whose ids begin so; empty: all.
    pub only: Vec<String>,
}

/// Why a run could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KitError {
    /// What was given does not fit.
    #[error("{0}")]
    Usage(String),
    /// The adapter is not there.
    #[error("{0}")]
    NoAdapter(String),
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; a word on what was seen.
    Holds(String),
    /// It does not.
    Broken {
        /// What the standard asks for.
        expected: String,
        /// What came.
        came: String,
    },
    /// It has no meaning for this adapter, and why.
    NotHere(String),
}

/// Why a check stops before its end.
pub(crate) enum Stop {
    Broken { expected: String, came: String },
    NotHere(String),
}

/// What a check gives back.
pub(crate) type Checked = Result<String, Stop>;

/// A check's end when `holds` is false.
pub(crate) fn expect(holds: bool, expected: impl Into<String>, came: impl Into<String>) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(broken(expected, came)) }
}

pub(crate) fn broken(expected: impl Into<String>, came: impl Into<String>) -> Stop {
    Stop::Broken { expected: expected.into(), came: came.into() }
}

/// Runs every check up to the level, tells each as it comes out, and gives the report.
///
/// # Errors
/// [`KitError`] when there is nothing to test: what was given does not fit, or no adapter answers.
pub async fn run(options: Options, mut tell: impl FnMut(&report::Item)) -> Result<Report, KitError> {
    let kit = Kit::open(options).await?;
    let mut report = Report::new(&kit.options.url, kit.options.level);
    for check in standard::CHECKS {
        let wanted = kit.options.only.is_empty() || kit.options.only.iter().any(|only| check.id.starts_with(only));
        if check.level > kit.options.level || !wanted {
            continue;
        }
        let since = Instant::now();
        let verdict = match (check.run)(&kit).await {
            Ok(words) => Verdict::Holds(words),
            Err(Stop::Broken { expected, came }) => Verdict::Broken { expected, came },
            Err(Stop::NotHere(why)) => Verdict::NotHere(why),
        };
        kit.tidy().await;
        let item = report::Item { check: check.id, level: check.level, verdict, took: since.elapsed() };
        tell(&item);
        report.items.push(item);
    }
    report.adapter = kit.manifest_value();
    report.measured = kit.measured.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(started) = kit.process.lock().await.take() {
        started.kill().await;
    }
    Ok(report)
}

/// One run.
pub(crate) struct Kit {
    options: Options,
    house: Arc<House>,
    peer: Peer,
    process: tokio::sync::Mutex<Option<Started>>,
    manifest: OnceLock<Value>,
    /// Makes names that no earlier run had.
    run: String,
    count: AtomicU64,
    outbox: tokio::sync::Mutex<Vec<Value>>,
    measured: std::sync::Mutex<Vec<(String, String)>>,
}

/// What came of a message that was brought to the adapter as the gateway does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// Its `status`.
    Taken(String),
    /// Its `code`.
    Rejected(String),
}

impl Kit {
    async fn open(mut options: Options) -> Result<Self, KitError> {
        let made = || {
            let bytes: [u8; 32] = rand::random();
            format!("whsec_{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes))
        };
        if options.start.is_some() {
            options.secret.get_or_insert_with(made);
            options.old_secret.get_or_insert_with(made);
        }
        let Some(secret) = options.secret.clone() else {
            return Err(KitError::Usage(
                "give the shared secret with --secret-file, or let the kit start the adapter with --start".to_owned(),
            ));
        };
        let secrets: Vec<String> = std::iter::once(secret).chain(options.old_secret.clone()).collect();
        let house = House::open(options.listen, &options.account, &secrets).await.map_err(KitError::Usage)?;
        let kit = Self {
            house,
            peer: Peer::new(&options.url, secrets),
            process: tokio::sync::Mutex::new(None),
            manifest: OnceLock::new(),
            run: format!("{:06x}", rand::random::<u32>() & 0x00ff_ffff),
            count: AtomicU64::new(0),
            outbox: tokio::sync::Mutex::new(Vec::new()),
            measured: std::sync::Mutex::new(Vec::new()),
            options,
        };
        kit.start(true).await?;
        Ok(kit)
    }

    /// Starts the adapter, when the kit is to, and waits until it answers.
    async fn start(&self, testing: bool) -> Result<(), KitError> {
        if let Some(command) = &self.options.start {
            let port = self.options.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap_or_default();
            let old = self.peer.secrets.get(1).cloned().unwrap_or_default();
            let database = self.options.state.join("adapter.db").display().to_string();
            let environment = [
                ("ARK", self.house.hook()),
                ("SECRET", self.peer.secrets.first().cloned().unwrap_or_default()),
                ("OLD_SECRET", old),
                ("PORT", port.to_owned()),
                ("DB", database),
                ("ARK_TESTING", if testing { "1" } else { "" }.to_owned()),
            ];
            let output = self.options.state.join("adapter.log");
            let started = Started::new(command, &environment, &output).map_err(KitError::Usage)?;
            *self.process.lock().await = Some(started);
        }
        let until = Instant::now() + START_MAX;
        loop {
            match self.peer.ask("GET", "/ark/v1/health", None).await {
                Ok(_) => return Ok(()),
                Err(why) => self.still_starts(until, &why).await?,
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn still_starts(&self, until: Instant, why: &str) -> Result<(), KitError> {
        let ended = self.process.lock().await.as_mut().and_then(Started::ended);
        if ended.is_none() && Instant::now() < until && self.options.start.is_some() {
            return Ok(());
        }
        let url = &self.options.url;
        Err(KitError::NoAdapter(match ended {
            Some(status) => {
                let log = std::fs::read_to_string(self.options.state.join("adapter.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(8).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                format!("the adapter ended ({status}) before it answered at {url}:\n{}", last.join("\n"))
            }
            None => format!("no adapter answers at {url}: {why}; its gateway is {}", self.house.hook()),
        }))
    }

    /// Kills the adapter's processes, without a word.
    async fn kill(&self) {
        if let Some(started) = self.process.lock().await.take() {
            started.kill().await;
        }
    }

    /// The adapter as it was: no fault at the native side, a gateway that takes.
    async fn tidy(&self) {
        self.house.answers(&[]);
        let _ = self.fault(json!({"answer": "none"})).await;
    }

    /// Why a check that kills cannot be made of an adapter that runs by itself.
    fn needs_start(&self) -> Result<(), Stop> {
        let why = "the kit did not start it: give --start COMMAND";
        if self.options.start.is_some() { Ok(()) } else { Err(Stop::NotHere(why.to_owned())) }
    }

    const fn patience(&self) -> Duration {
        self.options.patience
    }

    fn manifest_value(&self) -> Value {
        self.manifest.get().cloned().unwrap_or_default()
    }

    /// The manifest, read once.
    async fn manifest(&self) -> Result<Manifest, Stop> {
        if self.manifest.get().is_none() {
            let reply = self.peer.ask("GET", "/.well-known/ark-adapter", None).await;
            if let Ok(reply) = reply {
                let _ = self.manifest.set(reply.json());
            }
        }
        serde_json::from_value(self.manifest_value())
            .map_err(|error| Stop::NotHere(format!("its manifest cannot be read: {error}")))
    }

    /// A name that nothing had before.
    fn fresh(&self, word: &str) -> String {
        format!("{word}-{}-{}", self.run, self.count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn hook(&self, which: fn(&ark_conversation::channel::Testing) -> Option<String>, usual: &str) -> String {
        let named = self.manifest().await.ok().and_then(|manifest| which(&manifest.testing?));
        match named {
            Some(path) if path.contains("://") || path.starts_with('/') => path,
            Some(path) => format!("/{path}"),
            None => usual.to_owned(),
        }
    }

    /// A customer writes on the native side, once; whether the channel may forget it.
    async fn inject(&self, message: &Value) -> Result<bool, String> {
        let path = self.hook(|testing| testing.inject.clone(), "/inject").await;
        self.peer.ask("POST", &path, Some(message)).await.map(|reply| reply.is_success())
    }

    /// The native side delivers it until the adapter acknowledges it.
    async fn deliver_native(&self, message: &Value) -> Result<(), Stop> {
        let until = Instant::now() + self.patience();
        loop {
            let answer = self.inject(message).await;
            if answer == Ok(true) {
                return Ok(());
            }
            let came = answer.err().unwrap_or_else(|| "an answer that is no 2xx".to_owned());
            expect(
                Instant::now() < until,
                "the native side's message is acknowledged",
                format!("POST /inject: {came}"),
            )?;
            sleep(NATIVE_AGAIN).await;
        }
    }

    async fn writes(&self, thread: &str, text: &str) -> Result<String, Stop> {
        let id = self.fresh("n");
        self.deliver_native(&json!({"id": id, "thread": thread, "text": text})).await?;
        Ok(id)
    }

    async fn fault(&self, what: Value) -> Result<(), Stop> {
        let path = self.hook(|testing| testing.fault.clone(), "/fault").await;
        match self.peer.ask("POST", &path, Some(&what)).await {
            Ok(reply) if reply.is_success() => Ok(()),
            Ok(reply) => Err(Stop::NotHere(format!("the hook {path} answers {}", reply.shown()))),
            Err(why) => Err(Stop::NotHere(format!("the hook {path}: {why}"))),
        }
    }

    /// Reads what the native side was given since the last time.
    async fn read_outbox(&self) -> Result<(), Stop> {
        let mut outbox = self.outbox.lock().await;
        let path = self.hook(|testing| testing.outbox.clone(), "/outbox").await;
        let path = format!("{path}?after={}", outbox.len());
        let expected = "GET /outbox answers 200 with a list";
        let reply = self.peer.ask("GET", &path, None).await.map_err(|why| broken(expected, why))?;
        let Value::Array(new) = reply.json() else { return Err(broken(expected, reply.shown())) };
        outbox.extend(new);
        Ok(())
    }

    /// The parts that the native side was given of this thread, each with its message's key, in their order.
    async fn given(&self, thread: &str) -> Result<Vec<(String, Value)>, Stop> {
        self.read_outbox().await?;
        let outbox = self.outbox.lock().await;
        let mut given = Vec::new();
        for entry in outbox.iter().filter(|entry| entry["thread"] == thread) {
            let id = entry["id"].as_str().unwrap_or_default();
            given.extend(entry["parts"].as_array().into_iter().flatten().map(|part| (id.to_owned(), part.clone())));
        }
        Ok(given)
    }

    /// The texts that the native side was given of this thread, once there are `number` parts, or when time is up.
    async fn texts_given(&self, thread: &str, number: usize, within: Duration) -> Result<Vec<String>, Stop> {
        let until = Instant::now() + within;
        loop {
            let given = self.given(thread).await?;
            if given.len() >= number || Instant::now() >= until {
                let text = |(_, part): &(String, Value)| part["text"].as_str().unwrap_or_default().to_owned();
                return Ok(given.iter().map(text).collect());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A message of the house for a thread.
    fn message(&self, thread: &str, parts: Vec<Part>) -> (String, Value) {
        let key = self.fresh("k");
        let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
        let conversation = ConversationId::new(1_795_516_200_000, 7);
        let data =
            MessageOut { thread: thread.to_owned(), conversation, epoch: 1, sender, parts, reply_to: None, leg: None };
        let source = source::thread(&Tenant::MAIN, "http", &self.house.account, thread);
        let mut event = CloudEvent::new(key.as_str(), source, Timestamp::now(), data);
        event.extensions.insert("arkseq".to_owned(), json!(self.count.load(Ordering::Relaxed)));
        event.extensions.insert("arkattempt".to_owned(), json!(1));
        (key, serde_json::to_value(&event).expect("an event is JSON"))
    }

    fn says(&self, thread: &str, text: &str) -> (String, Value) {
        self.message(thread, vec![Part::text(text)])
    }

    /// Brings a message as the gateway does: again under the same id after 429, 5xx and silence.
    async fn bring(&self, event: &Value) -> Result<Brought, Stop> {
        let until = Instant::now() + self.patience();
        loop {
            let answer = self.peer.post(std::slice::from_ref(event)).await;
            let (came, pause) = match &answer {
                Ok(reply) if reply.is_success() => return Ok(result_of(reply)),
                Ok(reply) if matches!(reply.status, 400 | 402..=407 | 409 | 411..=424) => {
                    return Ok(Brought::Rejected(format!("refused: {}", reply.shown())));
                }
                Ok(reply) => (reply.shown(), reply.retry_after),
                Err(why) => (why.clone(), None),
            };
            expect(
                Instant::now() < until,
                "a signed message of the house is taken",
                format!("POST /ark/v1/events: {came}"),
            )?;
            sleep(pause.unwrap_or(NATIVE_AGAIN)).await;
        }
    }

    /// Brings a message that has to be taken.
    async fn bring_taken(&self, event: &Value) -> Result<(), Stop> {
        match self.bring(event).await? {
            Brought::Taken(_) => Ok(()),
            Brought::Rejected(code) => Err(broken("a plain text of the house is taken", format!("rejected: {code}"))),
        }
    }

    /// The texts of this thread that the house has, once there are `number` messages, or when time is up.
    async fn texts_kept(&self, thread: &str, number: usize, within: Duration) -> Vec<String> {
        let all = |memory: &house::Memory| {
            memory.kept.iter().filter(|kept| of_thread(kept, thread)).flat_map(words_of).collect::<Vec<String>>()
        };
        let enough = |memory: &house::Memory| Some(all(memory)).filter(|texts| texts.len() >= number);
        match self.house.wait(within, enough).await {
            Some(texts) => texts,
            None => self.house.look(all),
        }
    }
}

/// Whether an event is a message in this thread.
fn of_thread(kept: &house::Kept, thread: &str) -> bool {
    kept.raw["type"] == "ark.message.in.v1" && kept.raw["data"]["thread"] == thread
}

/// The words of a message's parts.
fn words_of(kept: &house::Kept) -> Vec<String> {
    let parts = kept.raw["data"]["parts"].as_array();
    let text = |part: &Value| part["text"].as_str().or_else(|| part["fallback_text"].as_str()).map(str::to_owned);
    parts.into_iter().flatten().filter_map(text).collect()
}

fn result_of(reply: &Reply) -> Brought {
    let result = &reply.json()["results"][0];
    match result["status"].as_str() {
        Some("rejected") => Brought::Rejected(result["code"].as_str().unwrap_or("none").to_owned()),
        Some(status) => Brought::Taken(status.to_owned()),
        None => Brought::Taken("accepted".to_owned()),
    }
}
