//! `ark demo`: a whole site in one process, a scripted caller, customers of three providers that are played here, and the log told as
//! it is committed.

mod chats;
mod desks;
mod script;
mod site;
mod words;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::{Filter, Missed, Subscription};
use ark_conversation::{ConversationId, Event, Record};
use ark_dialplans::Lang;
use ark_store::StoreError;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::output::{self, padded};
use super::{CliResult, Failure, Outcome};
use crate::config::{Channel, Config, Log, LogFormat, SpeechEngine};
use crate::providers::{Provider, Providers};
use crate::serve::{Gateway, StartError};
use crate::telemetry;
use chats::Chats;
use desks::Desks;
use site::Site;

/// Records that wait for the scripted caller; it looks every few milliseconds.
const RECORDS_MAX: usize = 1_024;
/// Calls that are told at a time; those beyond begin again at number 1.
const CALLS_MAX: usize = 1_000;
/// How often a start is tried again when another program takes a port between looking and taking it.
const STARTS: usize = 3;
/// How long a start that failed may take to let go of the store.
const LET_GO_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LET_GO_EVERY: Duration = Duration::from_millis(20);

/// Start everything in one process, let a scripted caller call the hotline, tell what happens, and stay up for your own call
#[derive(Debug, Args)]
pub(super) struct DemoCommand {
    /// End after the scripted call; exit code 1 when the call did not go as it should
    #[arg(long)]
    once: bool,
    /// The language of the caller and of what is told; without it that of the terminal
    #[arg(long, value_enum)]
    lang: Option<Tongue>,
    /// Keep the demo's site (log, recordings, voices) in this folder; without it, a temporary folder that is removed at the end
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// A language of the demo.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tongue {
    /// Mandarin
    Zh,
    /// English
    En,
}

impl DemoCommand {
    fn lang(&self) -> Lang {
        match self.lang {
            Some(Tongue::Zh) => Lang::Zh,
            Some(Tongue::En) => Lang::En,
            None => lang_of_terminal(),
        }
    }
}

/// By the environment, as other programs of the terminal do.
fn lang_of_terminal() -> Lang {
    let said =
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    if said.is_some_and(|said| said.starts_with("zh")) { Lang::Zh } else { Lang::En }
}

pub(super) fn run(command: &DemoCommand) -> CliResult {
    // The demo tells the log itself; what breaks is still said. ARK_LOG=info shows what `ark serve` would.
    let quiet = Log { filter: "error".into(), format: LogFormat::Text, numbers: false };
    telemetry::begin(&quiet).map_err(Failure::environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}")))?;
    let result = runtime.block_on(demo(command));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn demo(command: &DemoCommand) -> CliResult {
    let lang = command.lang();
    let mut stop = Stop::new()?;
    let folder = site::Folder::new(command.data.as_deref())?;
    let cannot = |error: io::Error| Failure::environment(format!("the providers cannot be played: {error}"));
    let (providers, shown) = Providers::start().await.map_err(cannot)?;
    let channels = providers.channels(&Provider::DEMO, &folder.path.join("providers")).map_err(cannot)?;
    let mut chats = Chats { providers, shown };
    let started = tokio::select! {
        started = start(lang, &folder, &channels) => started?,
        () = stop.told() => return Ok(ended_early(command.once)),
    };
    let (gateway, site) = started;
    let outcome = tokio::select! {
        outcome = show(command.once, lang, (&site, &folder), (&gateway, &mut chats)) => outcome,
        () = stop.told() => Ok(ended_early(command.once)),
    };
    gateway.stop_now().await;
    if !command.once && outcome.is_ok() {
        output::line(words::bye(lang, &folder))?;
    }
    outcome
}

/// Ctrl-C is how the demo ends; with `--once` it is an interruption.
fn ended_early(once: bool) -> Outcome {
    if once { Outcome::Finding } else { Outcome::Done }
}

/// Ctrl-C or SIGTERM.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::environment(format!("signals cannot be heard: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Chooses ports, says which, and starts the gateway.
async fn start(lang: Lang, folder: &site::Folder, channels: &[Channel]) -> Result<(Gateway, Site), Failure> {
    output::line(words::title(lang))?;
    let mut tries = 0;
    loop {
        tries += 1;
        let site = Site::choose(folder, channels)?;
        // Said again when it has changed: another program took a port in between.
        for line in words::chosen(lang, &site, folder) {
            output::line(line)?;
        }
        if site.config.speech.engine != SpeechEngine::Off {
            output::line(words::reads_along(lang))?;
        }
        let started =
            if tries == 1 { Gateway::start(site.config.clone()).await } else { start_again(&site.config).await };
        match started {
            Ok(gateway) => return Ok((gateway, site)),
            Err(StartError::Sip(_) | StartError::Web(_)) if tries < STARTS => {}
            Err(error) => return Err(Failure::environment(error.to_string())),
        }
    }
}

/// Starts after a start that failed: its tasks end one after the other, and until the last has, this process itself has the
/// store locked.
async fn start_again(config: &Config) -> Result<Gateway, StartError> {
    let began = Instant::now();
    loop {
        match Gateway::start(config.clone()).await {
            Err(StartError::Store(StoreError::Locked { .. })) if began.elapsed() < LET_GO_MAX => {
                tokio::time::sleep(LET_GO_EVERY).await;
            }
            started => return started,
        }
    }
}

/// The scripted call and the customers who write, then, unless it is only for that, the gateway as it stands.
async fn show(
    once: bool,
    lang: Lang,
    (site, folder): (&Site, &site::Folder),
    (gateway, chats): (&Gateway, &mut Chats),
) -> CliResult {
    let busy = |error: ark_bus::BusError| Failure::environment(error.to_string());
    let records = gateway.bus.subscribe(Filter::default()).await.map_err(busy)?;
    let (sender, receiver) = mpsc::channel(RECORDS_MAX);
    let mut telling = std::pin::pin!(tell(lang, records, sender));
    output::line(words::begins(lang))?;
    let called = tokio::select! {
        called = script::call(lang, site, receiver) => called,
        told = &mut telling => return told.map(|()| Outcome::Done),
    };
    let conversation = match called {
        Ok(conversation) => conversation,
        Err(stuck) if once => return Err(Failure::Refused(words::stuck(lang, &stuck.to_string()))),
        Err(stuck) => {
            output::note(&words::stuck(lang, &stuck.to_string()));
            None
        }
    };
    if let Some(conversation) = conversation {
        let records = read(gateway, conversation).await?;
        for line in words::summary(lang, site, (conversation, &records), once && folder.temporary) {
            output::line(line)?;
        }
    }
    let desks = Desks::make(lang, gateway).await.map_err(Failure::environment)?;
    output::line(words::chats_begin(lang))?;
    let mut written = gateway.bus.subscribe(Filter::default()).await.map_err(busy)?;
    let answered = tokio::select! {
        answered = chat(lang, gateway, chats, &mut written) => answered,
        told = &mut telling => return told.map(|()| Outcome::Done),
    };
    match answered {
        Ok(()) => {}
        Err(stuck) if once => return Err(Failure::Refused(words::unanswered(lang, &stuck.to_string()))),
        Err(stuck) => output::note(&words::unanswered(lang, &stuck.to_string())),
    }
    drop(written);
    if once {
        return Ok(Outcome::Done);
    }
    for line in words::your_turn(lang, site, gateway, (conversation, &desks)) {
        output::line(line)?;
    }
    telling.await.map(|()| Outcome::Done)
}

/// The customers who write, and one of them from hand to hand.
async fn chat(
    lang: Lang,
    gateway: &Gateway,
    chats: &mut Chats,
    written: &mut Subscription,
) -> Result<(), chats::Stuck> {
    let conversation = chats::run(lang, gateway, chats, written).await?;
    output::line(words::desks_begin(lang)).map_err(|_| chats::Stuck::Terminal)?;
    desks::run(lang, gateway, chats, conversation, written).await
}

/// The scripted call as the store has it.
async fn read(gateway: &Gateway, conversation: ConversationId) -> Result<Vec<Record>, Failure> {
    let tenant = ark_conversation::Tenant::default();
    let records = gateway.store.read(&tenant, conversation, 0, RECORDS_MAX).await;
    records.map_err(|error| Failure::environment(format!("the log cannot be read: {error}")))
}

/// Prints every record of every call as it is committed, and hands it to the scripted caller as long as it listens.
async fn tell(lang: Lang, mut records: Subscription, script: mpsc::Sender<Arc<Record>>) -> Result<(), Failure> {
    let mut calls: HashMap<ConversationId, (usize, Timestamp)> = HashMap::new();
    let mut count = 0;
    loop {
        let record = match records.next().await {
            Ok(record) => record,
            Err(Missed::Lagged { missed }) => {
                output::note(&format!("{missed} events came too fast to be told; `ark conversation show` has them"));
                continue;
            }
            Err(Missed::Closed) => return Ok(()),
        };
        if record.conversation == ConversationId::SYSTEM {
            continue;
        }
        if calls.len() >= CALLS_MAX {
            calls.clear();
        }
        let (number, began) = *calls.entry(record.conversation).or_insert_with(|| {
            count += 1;
            (count, record.event.time)
        });
        print(lang, number, began, &record)?;
        let _ = script.try_send(Arc::clone(&record));
    }
}

/// `#1    3.42 s  dtmf              the caller presses 2`.
fn print(lang: Lang, number: usize, began: Timestamp, record: &Record) -> Result<(), Failure> {
    let event: &Event = &record.event.event;
    // A provider tells whole seconds: what it says may seem to be before what came of it.
    let seconds = record.event.time.duration_since(began).as_secs_f64().max(0.0);
    let name = event.type_name().trim_start_matches("ark.").trim_end_matches(".v1");
    let mut out = io::stdout().lock();
    writeln!(out, "#{number} {seconds:6.2} s  {}  {}", padded(name, 18), words::event(lang, event))?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_after_one_that_found_its_port_taken_waits_for_the_store() {
        let folder = site::Folder::new(None).unwrap();
        let mut config = Site::choose(&folder, &[]).unwrap().config;
        config.hotline.clear();
        config.channel.clear();
        config.web.listen.set_port(0);
        for listen in &mut config.sip.listen {
            listen.address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        }
        let taken = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut clash = config.clone();
        clash.sip.listen[0].address = taken.local_addr().unwrap();
        let failed = Gateway::start(clash).await.err();
        assert!(matches!(failed, Some(StartError::Sip(_))), "{failed:?}");
        // Whatever the failed start still holds is held here for certain.
        let held = ark_store::SqliteStore::open(folder.path.join("ark.db"));
        let (gateway, ()) = tokio::join!(start_again(&config), async move {
            tokio::task::yield_now().await;
            drop(held);
        });
        gateway.unwrap_or_else(|error| panic!("{error}")).stop_now().await;
    }
}
