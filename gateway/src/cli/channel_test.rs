//! `ark channel test` and `ark channel report`: the conformance kit, for adapters outside and channels inside.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::settings::Secret;
use clap::{Args, ValueEnum};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;

use super::CliResult;
use super::client::block_on;
use super::output::{self, Failure, Outcome};
use crate::channel_kit::standard::Lang;
use crate::channel_kit::{self, KitError, Level, Options, Report, inproc, limits, report};

/// How deep it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Depth {
    /// Manifest and health
    #[value(name = "L0")]
    L0,
    /// The contract between adapter and gateway
    #[value(name = "L1")]
    L1,
    /// The truth about the channel
    #[value(name = "L2")]
    L2,
    /// Kills: nothing lost, nothing doubled
    #[value(name = "L3")]
    L3,
    /// Load, measured
    #[value(name = "L4")]
    L4,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::L0 => Self::L0,
            Depth::L1 => Self::L1,
            Depth::L2 => Self::L2,
            Depth::L3 => Self::L3,
            Depth::L4 => Self::L4,
        }
    }
}

/// The language of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Words {
    /// English
    En,
    /// 中文
    Zh,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The adapter's address, such as http://127.0.0.1:9000; or a kind of channel inside the gateway: dingtalk, wechat-mp, wechat-oa,
    /// wecom-kf, alipay, http, amqp
    #[arg(value_name = "URL|KIND")]
    url: String,
    /// The file with the shared secret, whsec_...; without it ARK_ADAPTER_SECRET, or a new one for an adapter that is started
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The file with the secret before it, which the adapter still takes
    #[arg(long, value_name = "FILE")]
    old_secret_file: Option<PathBuf>,
    /// Up to which level
    #[arg(long, default_value = "L3", ignore_case = true)]
    level: Depth,
    /// The command that starts the adapter; it gets ARK, SECRET, OLD_SECRET, PORT, DB and ARK_TESTING=1, and is killed for L3
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// Where the kit's gateway listens, for an adapter that runs already
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// The name of the adapter's account at the gateway
    #[arg(long, default_value = "kit")]
    account: String,
    /// Rounds of kills, each way
    #[arg(long, default_value_t = limits::ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long the soak of L4 lasts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = limits::SOAK.as_secs(), value_parser = clap::value_parser!(u64).range(1..=604_800))]
    soak: u64,
    /// How long the adapter may take for what needs several tries, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = limits::PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience: u64,
    /// Only checks whose id begins so: A-SIG or A-UNK-1; may be given several times
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Write everything into this folder: report.txt, report.xml, report.json, badge.svg, and the adapter's output
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as JSON, too; signed when --sign-key is given
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The site's key (Ed25519, PKCS#8 in Base64) that signs the JSON; made when there is none
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// The language; without it that of the environment
    #[arg(long)]
    lang: Option<Words>,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The signed report, JSON
    file: PathBuf,
    /// The public key, Base64, that must have signed it; without it any
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) fn test(args: TestArgs) -> CliResult {
    block_on(run(args))
}

async fn run(args: TestArgs) -> CliResult {
    let lang = match args.lang {
        Some(Words::Zh) => Lang::Zh,
        Some(Words::En) => Lang::En,
        None => of_environment(),
    };
    let inside = inproc::is_kind(&args.url);
    if !inside && args.start.is_none() && args.listen.port() == 0 && Level::from(args.level) > Level::L0 {
        let hook = format!("http://ADDRESS:PORT/hooks/{}", args.account);
        return Err(Failure::environment(format!(
            "an adapter that runs already has to find the kit's gateway: give --listen ADDRESS:PORT and {hook} to the adapter, or let the kit \
             start it with --start"
        )));
    }
    let scratch = scratch(args.report.as_deref())?;
    let options = Options {
        url: args.url.clone(),
        secret: secret(args.secret_file.as_deref(), Some("ARK_ADAPTER_SECRET"))?,
        old_secret: secret(args.old_secret_file.as_deref(), None)?,
        account: args.account.clone(),
        listen: args.listen,
        level: args.level.into(),
        start: args.start.clone(),
        state: scratch.0.clone(),
        rounds: args.rounds,
        soak: Duration::from_secs(args.soak),
        patience: Duration::from_secs(args.patience),
        only: args.only.clone(),
    };
    let key = args.sign_key.as_deref().map(key).transpose()?;
    let mut text = String::new();
    let mut gone = None;
    let tell = |item: &report::Item| {
        let line = item.render(lang);
        text.push_str(&line);
        text.push('\n');
        if gone.is_none() {
            gone = output::line(&line).err();
        }
    };
    // Whoever stops the test stops the adapter that it started: it ends with what is dropped here.
    let made = tokio::select! {
        made = test_it(inside, options, tell) => made,
        _ = tokio::signal::ctrl_c() => return Err(Failure::environment("stopped, and the adapter with it")),
    };
    let made = made.map_err(|error| match error {
        KitError::Usage(why) | KitError::NoAdapter(why) => Failure::environment(why),
    })?;
    if let Some(failure) = gone {
        return Err(failure);
    }
    let summary = made.summary(lang);
    output::line(&summary)?;
    text.push_str(&summary);
    text.push('\n');
    write_all(&args, &made, &text, key.as_ref())?;
    if let Some(folder) = &args.report {
        // Of an adapter that was not started here there is none.
        let _ = std::fs::copy(scratch.0.join("adapter.log"), folder.join("adapter.log"));
    }
    Ok(if made.broken().is_empty() { Outcome::Done } else { Outcome::Finding })
}

/// An adapter outside by its address, or a channel inside by its kind.
async fn test_it(inside: bool, options: Options, tell: impl FnMut(&report::Item)) -> Result<Report, KitError> {
    if inside {
        inproc::run(&options.url, options.level, &options.only, tell).await
    } else {
        channel_kit::run(options, tell).await
    }
}

/// A folder for the adapter's file and output, gone afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scratch(report: Option<&Path>) -> Result<Scratch, Failure> {
    if let Some(folder) = report {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    }
    let folder = std::env::temp_dir().join(format!("ark-kit-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    Ok(Scratch(folder))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::environment(format!("{}: cannot be written: {error}", path.display()))
}

fn of_environment() -> Lang {
    let named =
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    if named.is_some_and(|named| named.starts_with("zh")) { Lang::Zh } else { Lang::En }
}

fn secret(file: Option<&Path>, variable: Option<&str>) -> Result<Option<String>, Failure> {
    let text = match (file, variable) {
        (Some(file), _) => Some(std::fs::read_to_string(file).map_err(|error| Failure::unreadable(file, &error))?),
        (None, Some(variable)) => std::env::var(variable).ok().filter(|text| !text.is_empty()),
        (None, None) => None,
    };
    let Some(text) = text else { return Ok(None) };
    let text = text.trim().to_owned();
    WebhookSecrets::new(&[Secret::new(text.as_str())]).map_err(|error| Failure::environment(error.to_string()))?;
    Ok(Some(text))
}

/// The key of the site: read, or made where there is none.
fn key(file: &Path) -> Result<Ed25519KeyPair, Failure> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let wrong = || Failure::environment(format!("{}: an Ed25519 key as PKCS#8 in Base64 is expected", file.display()));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| wrong())?;
            let text = STANDARD.encode(made.as_ref());
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut new = options.open(file).map_err(|error| unwritable(file, &error))?;
            writeln!(new, "{text}").map_err(|error| unwritable(file, &error))?;
            text
        }
        Err(error) => return Err(Failure::unreadable(file, &error)),
    };
    let bytes = STANDARD.decode(text.trim()).map_err(|_| wrong())?;
    let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| wrong())?;
    output::note(&format!("the report is signed; its public key is {}", STANDARD.encode(pair.public_key())));
    Ok(pair)
}

fn write_all(args: &TestArgs, made: &Report, text: &str, key: Option<&Ed25519KeyPair>) -> Result<(), Failure> {
    let json = key.map_or_else(|| made.to_json(), |key| made.signed(key));
    let json = serde_json::to_string_pretty(&json).expect("a report is JSON") + "\n";
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    if let Some(folder) = &args.report {
        files.push((folder.join("report.txt"), text.to_owned()));
        files.push((folder.join("report.xml"), made.junit()));
        files.push((folder.join("report.json"), json.clone()));
        files.push((folder.join("badge.svg"), made.badge()));
    }
    files.extend(args.junit.clone().map(|file| (file, made.junit())));
    files.extend(args.json.clone().map(|file| (file, json)));
    for (file, content) in files {
        std::fs::write(&file, content).map_err(|error| unwritable(&file, &error))?;
    }
    Ok(())
}

pub(super) fn report(args: &ReportArgs) -> CliResult {
    let text = std::fs::read_to_string(&args.file).map_err(|error| Failure::unreadable(&args.file, &error))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::environment(format!("{}: no JSON: {error}", args.file.display())))?;
    let key = report::verify(&value, args.key.as_deref()).map_err(|error| Failure::Refused(error.to_string()))?;
    let (adapter, reached) = (&value["adapter"], value["reached"].as_str().unwrap_or("no level"));
    let name = |field: &str| adapter[field].as_str().unwrap_or("?").to_owned();
    output::line(format!("{} {}: {reached} at {}", name("id"), name("version"), value["at"].as_str().unwrap_or("?")))?;
    output::line(format!("signed by {key}"))?;
    Ok(if value["passed"] == true { Outcome::Done } else { Outcome::Finding })
}
