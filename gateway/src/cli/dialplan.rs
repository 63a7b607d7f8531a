//! `ark dialplan check|test|fuzz|graph|simulate|diff|publish|rollback`: everything that is done to a plan before callers hear it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ark_dialplans::fuzz::{FuzzReport, fuzz_callers};
use ark_dialplans::simulate::{CHAT_HELP, ChatSimulator, HELP, Simulator};
use ark_dialplans::testing::TestReport;
use ark_dialplans::{
    Caller, Diagnostic, EstimateOnly, Lang, Plan, PromptSeconds, RecordingTrouble, check_source, decode, graph, limits,
    render_human, render_json, render_sarif,
};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::json;

use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};
use super::{CliResult, Site};
use crate::config::{BUILTIN, Config};
use crate::control::Published;
use crate::plans::plan_site;

/// The plan that is part of the program.
const BUILTIN_PLAN: (&str, &str) = ("hotline-95188", include_str!("../../../dialplans/plans/hotline-95188.toml"));
/// Random callers between two updates of the progress line.
const FUZZ_PART: u64 = 500;
/// Lost callers that are told in full.
const LOST_SHOWN: usize = 10;
/// Longest line that the simulator takes.
const LINE_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum DialplanCommand {
    /// Prove plans: a person within reach at every prompt, no dead end, no silent loop
    Check(CheckArgs),
    /// Run the plans' own tests in virtual time
    Test(TestArgs),
    /// Let random callers call; nobody may be lost
    Fuzz(FuzzArgs),
    /// Draw a plan
    Graph(GraphArgs),
    /// Walk through a plan in the terminal: type keys, read what is said
    ///
    /// The clock is virtual: nothing waits. Without a terminal the lines of standard input are what the caller does; when they
    /// end, the caller hangs up.
    Simulate(SimulateArgs),
    /// Tell what a new version changes for callers
    Diff(DiffArgs),
    /// Make a plan live for new calls on the running gateway
    ///
    /// The gateway checks, tests and prepares it first; when something is wrong, the live version stays.
    Publish(PublishArgs),
    /// Make an earlier version of a plan live again on the running gateway
    Rollback(RollbackArgs),
}

/// The language of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Words {
    /// English
    #[default]
    En,
    /// 中文
    Zh,
}

impl From<Words> for Lang {
    fn from(words: Words) -> Self {
        match words {
            Words::En => Self::En,
            Words::Zh => Self::Zh,
        }
    }
}

/// How a plan is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Mermaid flowchart, as code hosts draw it
    #[default]
    Mermaid,
    /// A picture of its own
    Svg,
}

/// Which plans.
#[derive(Debug, Args)]
struct Files {
    /// The plans' files, `-` for standard input; without one those that the site's hotlines use
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    site: Site,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    plans: Files,
    /// Print JSON, one object a line for each plan
    #[arg(long, conflicts_with = "sarif")]
    json: bool,
    /// Print one SARIF 2.1.0 log, for code hosts
    #[arg(long)]
    sarif: bool,
    /// The language of the findings
    #[arg(long, value_enum, default_value_t)]
    lang: Words,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    plans: Files,
    /// Print JSON, one object a line for each plan
    #[arg(long)]
    json: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run the tests as chats: menus are buttons, keys and words are typed. What cannot be a chat is left out, and named
    #[arg(long)]
    chat: bool,
    /// The language of the findings
    #[arg(long, value_enum, default_value_t)]
    lang: Words,
}

#[derive(Debug, Args)]
pub(super) struct FuzzArgs {
    #[command(flatten)]
    plans: Files,
    /// How many call
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    callers: u64,
    /// What the callers' choices grow from: the same seed, the same callers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print JSON, one object a line for each plan
    #[arg(long)]
    json: bool,
    /// The language of the findings
    #[arg(long, value_enum, default_value_t)]
    lang: Words,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    plan: OnePlan,
    /// How
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where to; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON: the drawing as text with its format and file
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    plan: OnePlan,
    /// The number that calls
    #[arg(long, value_name = "NUMBER", default_value = "13900139000")]
    caller: String,
    /// When, by the plan's clock, such as 2026-10-01T10:00; without it now
    #[arg(long, value_name = "DATE-TIME")]
    at: Option<DateTime>,
    /// A chat in the place of a call: what is typed is what the customer writes
    #[arg(long)]
    chat: bool,
    /// Print JSON, one object a line for each thing that the caller does
    #[arg(long)]
    json: bool,
}

/// Which plan.
#[derive(Debug, Args)]
struct OnePlan {
    /// The plan's file, `-` for standard input; without it the one that the site's first hotline uses
    file: Option<String>,
    #[command(flatten)]
    site: Site,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The plan as it was
    old: String,
    /// The plan as it is to be
    new: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// The plan's name, as it says in the file
    name: String,
    /// The file to publish; without it the gateway reads again the file that its configuration names
    file: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The plan's name
    name: String,
    /// Which version; without it the one that was live before
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: DialplanCommand) -> CliResult {
    match command {
        DialplanCommand::Check(args) => check(&args),
        DialplanCommand::Test(args) => test(&args),
        DialplanCommand::Fuzz(args) => fuzz(&args),
        DialplanCommand::Graph(args) => draw(&args),
        DialplanCommand::Simulate(args) => simulate(&args),
        DialplanCommand::Diff(args) => diff(&args),
        DialplanCommand::Publish(args) => block_on(publish(args)),
        DialplanCommand::Rollback(args) => block_on(rollback(args)),
    }
}

// ---- what is read ----

/// A plan's text and the name that findings give it.
struct Text {
    name: String,
    text: String,
    /// Why the bytes of the file are no text.
    bad: Option<Diagnostic>,
}

impl Text {
    fn read(file: &str) -> Result<Self, Failure> {
        if let Some(name) = file.strip_prefix(BUILTIN).filter(|name| *name == BUILTIN_PLAN.0) {
            return Ok(Self { name: format!("{name}.toml"), text: BUILTIN_PLAN.1.to_owned(), bad: None });
        }
        // One byte more than a plan may have: the parser says that it is too large.
        let limit = limits::PLAN_BYTES_MAX as u64 + 1;
        let mut bytes = Vec::new();
        let read = if file == "-" {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes))
        };
        read.map_err(|error| Failure::unreadable(Path::new(file), &error))?;
        let name = if file == "-" { "stdin".to_owned() } else { file.to_owned() };
        Ok(match decode(bytes, &name) {
            Ok(text) => Self { name, text, bad: None },
            Err(bad) => Self { name, text: String::new(), bad: Some(*bad) },
        })
    }

    /// Every finding, of the bytes or of the plan.
    fn check(&self, seconds: &Recordings, site: &ark_dialplans::Site) -> Vec<Diagnostic> {
        self.bad.clone().map_or_else(|| check_source(&self.text, &self.name, seconds, site).1, |bad| vec![bad])
    }

    fn parse(&self) -> Result<Arc<Plan>, Vec<Diagnostic>> {
        match &self.bad {
            Some(bad) => Err(vec![bad.clone()]),
            None => Plan::parse(&self.text, &self.name).map(Arc::new),
        }
    }

    /// The plan, or its findings in words as the reason of a refusal.
    fn parse_or_refuse(&self) -> Result<Arc<Plan>, Failure> {
        self.parse()
            .map_err(|found| Failure::Refused(format!("no plan\n{}", render_human(&found, Lang::En).trim_end())))
    }
}

/// What the plans meet where they run.
struct Surroundings {
    config: Config,
    site: ark_dialplans::Site,
}

impl Files {
    fn read(&self) -> Result<(Vec<Text>, Surroundings), Failure> {
        let loaded = self.site.load()?;
        // Queues are known when there is a site; a plan checked by itself may use any.
        let known = loaded.file.is_some() || self.files.is_empty();
        let mut site = plan_site(&loaded.config);
        site.queues = site.queues.filter(|_| known);
        let files = if self.files.is_empty() { plans_of(&loaded.config)? } else { self.files.clone() };
        let texts = files.iter().map(|file| Text::read(file)).collect::<Result<_, _>>()?;
        Ok((texts, Surroundings { config: loaded.config, site }))
    }
}

impl OnePlan {
    fn read(&self) -> Result<Text, Failure> {
        match &self.file {
            Some(file) => Text::read(file),
            None => Text::read(&plans_of(&self.site.load()?.config)?[0]),
        }
    }
}

/// The plans that hotlines and channels use, each once, in the order of the file; at least one.
fn plans_of(config: &Config) -> Result<Vec<String>, Failure> {
    let mut seen = BTreeSet::new();
    let plans: Vec<String> = config
        .hotline
        .iter()
        .map(|hotline| hotline.dialplan.clone())
        .chain(crate::plans::chat::dialplans(config))
        .filter(|plan| seen.insert(plan.clone()))
        .collect();
    if plans.is_empty() {
        return Err(Failure::environment("the site has no [[hotline]]: name a plan's file"));
    }
    Ok(plans)
}

/// What is known of the recordings that a plan names. Nothing is synthesised.
#[derive(Default)]
struct Recordings {
    lengths: BTreeMap<String, Duration>,
    troubles: BTreeMap<String, RecordingTrouble>,
}

impl Recordings {
    fn of(text: &Text, config: &Config) -> Self {
        let mut known = Self::default();
        let Ok(plan) = text.parse() else { return known };
        let folder = Path::new(&text.name).parent().unwrap_or(Path::new(""));
        for utterance in plan.utterances() {
            let Some(file) = utterance.recording.as_deref() else { continue };
            let places: Vec<PathBuf> =
                std::iter::once(folder).chain(config.prompts.dir.as_deref()).map(|dir| dir.join(file)).collect();
            let Some(path) = places.iter().find(|path| path.is_file()) else {
                let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
                known.troubles.insert(utterance.key, RecordingTrouble::Missing(looked.join(", ")));
                continue;
            };
            match length_of(path) {
                Ok(length) => {
                    known.lengths.insert(utterance.key, length);
                }
                Err(problem) => {
                    known.troubles.insert(utterance.key, RecordingTrouble::Broken(problem));
                }
            }
        }
        known
    }
}

impl PromptSeconds for Recordings {
    fn seconds(&self, utterance_key: &str) -> Option<Duration> {
        self.lengths.get(utterance_key).copied()
    }

    fn trouble(&self, utterance_key: &str) -> Option<RecordingTrouble> {
        self.troubles.get(utterance_key).cloned()
    }
}

fn length_of(path: &Path) -> Result<Duration, String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    ark_media::prompt::decode(bytes, &name).map(|pcm| pcm.duration()).map_err(|error| error.to_string())
}

// ---- check, test, fuzz ----

fn verdict(well: bool) -> CliResult {
    Ok(if well { Outcome::Done } else { Outcome::Finding })
}

fn check(args: &CheckArgs) -> CliResult {
    let (texts, surroundings) = args.plans.read()?;
    let mut all: Vec<Diagnostic> = Vec::new();
    for text in &texts {
        let seconds = Recordings::of(text, &surroundings.config);
        let chat = crate::plans::chat::dialplans(&surroundings.config).contains(&text.name);
        let found = text.check(&seconds, &ark_dialplans::Site { chat, ..surroundings.site.clone() });
        if args.json {
            output::json_line(&render_json(&text.name, &found))?;
        } else if !args.sarif {
            if texts.len() > 1 {
                output::line(format!("{}:", text.name))?;
            }
            output::text(&painted(&render_human(&found, args.lang.into())))?;
        }
        all.extend(found);
    }
    if args.sarif {
        output::json(&render_sarif(&all, env!("CARGO_PKG_VERSION")))?;
    }
    verdict(!all.iter().any(Diagnostic::is_error))
}

/// Says why a text is no plan, in the form that was asked for.
fn say_findings(text: &Text, found: &[Diagnostic], json: bool, lang: Words) -> Result<(), Failure> {
    if json {
        output::json_line(&render_json(&text.name, found))
    } else {
        output::text(&painted(&render_human(found, lang.into())))
    }
}

fn test(args: &TestArgs) -> CliResult {
    let (texts, _) = args.plans.read()?;
    let mut well = true;
    let mut reports = Vec::with_capacity(texts.len());
    for text in &texts {
        match text.parse() {
            Ok(plan) => {
                let unfit = if args.chat { ark_dialplans::unfit_for_chat(&plan) } else { Vec::new() };
                if !unfit.is_empty() {
                    well = false;
                    say_findings(text, &unfit, args.json, args.lang)?;
                    reports.push(unreadable_report(text, unfit));
                    continue;
                }
                let report = if args.chat { ark_dialplans::test_chat(&plan) } else { ark_dialplans::test(&plan) };
                well &= report.failed() == 0;
                if args.json {
                    output::json_line(&report)?;
                } else {
                    if texts.len() > 1 {
                        output::line(format!("{}:", text.name))?;
                    }
                    output::text(&painted(&report.render_human(args.lang.into())))?;
                }
                reports.push(report);
            }
            Err(found) => {
                well = false;
                say_findings(text, &found, args.json, args.lang)?;
                reports.push(unreadable_report(text, found));
            }
        }
    }
    if let Some(file) = &args.junit {
        write_file(file, &junit(&reports))?;
    }
    verdict(well)
}

/// For JUnit: a file that is no plan is one failed test, not none.
fn unreadable_report(text: &Text, found: Vec<Diagnostic>) -> TestReport {
    let result = found.into_iter().find(Diagnostic::is_error).map(|first| ark_dialplans::testing::TestResult {
        name: "the file is a plan".to_owned(),
        line: first.line,
        chat: false,
        trace: Vec::new(),
        failure: Some(first),
    });
    TestReport { file: text.name.clone(), results: result.into_iter().collect(), left_out: Vec::new() }
}

/// The suites of several plans in one document.
fn junit(reports: &[TestReport]) -> String {
    let mut suites = String::new();
    for report in reports {
        let one = report.render_junit();
        let inner = one.split_once("<testsuites>").and_then(|(_, rest)| rest.rsplit_once("</testsuites>"));
        suites.push_str(inner.map_or("", |(inner, _)| inner));
        suites.push('\n');
    }
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n")
}

fn fuzz(args: &FuzzArgs) -> CliResult {
    let (texts, _) = args.plans.read()?;
    let mut well = true;
    for text in &texts {
        let plan = match text.parse() {
            Ok(plan) => plan,
            Err(found) => {
                well = false;
                say_findings(text, &found, args.json, args.lang)?;
                continue;
            }
        };
        let report = call_in_parts(&plan, args.callers, args.seed);
        well &= report.is_clean();
        if args.json {
            output::json_line(&report)?;
        } else {
            if texts.len() > 1 {
                output::line(format!("{}:", text.name))?;
            }
            output::text(&painted(&report.render_human(args.lang.into())))?;
        }
    }
    verdict(well)
}

/// Calls in parts, so that a person at a terminal sees how far it is. The parts together are the same callers.
fn call_in_parts(plan: &Arc<Plan>, callers: u64, seed: u64) -> FuzzReport {
    let shown = std::io::stderr().is_terminal();
    let mut whole = fuzz_callers(plan, callers.min(FUZZ_PART), seed);
    let mut done = callers.min(FUZZ_PART);
    while done < callers {
        if shown {
            let _ = write!(std::io::stderr(), "\r{done} of {callers} callers, {} lost", whole.lost);
        }
        let part = (callers - done).min(FUZZ_PART);
        add(&mut whole, fuzz_callers(plan, part, seed.wrapping_add(done)));
        done += part;
    }
    if shown && callers > FUZZ_PART {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    whole
}

fn add(whole: &mut FuzzReport, part: FuzzReport) {
    whole.callers += part.callers;
    whole.reached_person += part.reached_person;
    whole.ended += part.ended;
    whole.hung_up += part.hung_up;
    whole.lost += part.lost;
    whole.steps_max = whole.steps_max.max(part.steps_max);
    whole.unseen_states.retain(|state| part.unseen_states.contains(state));
    whole.failures.extend(part.failures);
    whole.failures.truncate(LOST_SHOWN);
}

// ---- graph, simulate, diff ----

fn draw(args: &GraphArgs) -> CliResult {
    let plan = args.plan.read()?.parse_or_refuse()?;
    let (format, drawn) = match args.format {
        Format::Mermaid => ("mermaid", graph::mermaid(&plan)),
        Format::Svg => ("svg", graph::svg(&plan)),
    };
    match &args.output {
        Some(file) => write_file(file, &drawn)?,
        None if args.json => {
            output::json(&json!({ "file": plan.file_name(), "format": format, "graph": drawn }))?;
        }
        None => output::text(&drawn)?,
    }
    Ok(Outcome::Done)
}

fn write_file(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::environment(format!("{}: cannot be written: {error}", file.display())))
}

fn simulate(args: &SimulateArgs) -> CliResult {
    if args.plan.file.as_deref() == Some("-") {
        return Err(Failure::environment("standard input is what the caller does: name the plan's file"));
    }
    let plan = args.plan.read()?.parse_or_refuse()?;
    let at = match args.at {
        None => Timestamp::now(),
        Some(at) => plan.zone.to_timestamp(at).map_err(|error| Failure::environment(format!("--at {at}: {error}")))?,
    };
    let caller = Caller { number: args.caller.clone(), dialled: plan.name.text.to_string(), lang: None };
    let (mut walk, first) = if args.chat {
        let unfit = ark_dialplans::unfit_for_chat(&plan);
        if !unfit.is_empty() {
            let found = render_human(&unfit, Lang::En);
            return Err(Failure::Refused(format!("no plan for a chat\n{}", found.trim_end())));
        }
        let (chat, first) = ChatSimulator::begin(&plan, &caller, at);
        (Walk::Chat(chat), first)
    } else {
        let (call, first) = Simulator::call(&plan, &caller, at);
        (Walk::Call(call), first)
    };
    let terminal = std::io::stdin().is_terminal() && !args.json;
    if terminal {
        output::line(format!("{}, quit", walk.help()))?;
    }
    show(None, &first, args.json)?;
    while !walk.is_over() {
        if terminal {
            output::text("> ")?;
        }
        let typed = next_line()?;
        let input = typed.as_deref().unwrap_or(walk.end());
        match input.trim() {
            "" => continue,
            // The walk ends, not the call: nothing more is told of it.
            "q" | "quit" | "exit" => break,
            _ => {}
        }
        if !terminal && !args.json {
            output::line(format!("> {}", input.trim()))?;
        }
        show(Some(input.trim()), &walk.line(input), args.json)?;
        if typed.is_none() {
            break;
        }
    }
    Ok(Outcome::Done)
}

/// A caller, or a customer who writes.
enum Walk {
    Call(Simulator),
    Chat(ChatSimulator),
}

impl Walk {
    const fn help(&self) -> &'static str {
        match self {
            Self::Call(_) => HELP,
            Self::Chat(_) => CHAT_HELP,
        }
    }

    /// What they do when there is nothing more to read.
    const fn end(&self) -> &'static str {
        match self {
            Self::Call(_) => "hangup",
            Self::Chat(_) => "/leave",
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Call(call) => call.is_over(),
            Self::Chat(chat) => chat.is_over(),
        }
    }

    fn line(&mut self, input: &str) -> Vec<String> {
        match self {
            Self::Call(call) => call.line(input),
            Self::Chat(chat) => chat.line(input),
        }
    }
}

/// The next line of standard input; `None` at its end.
fn next_line() -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
    let read = read.map_err(|error| Failure::environment(format!("standard input: {error}")))?;
    Ok((read > 0).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn show(input: Option<&str>, lines: &[String], json: bool) -> Result<(), Failure> {
    if json {
        return output::json_line(&json!({ "input": input, "happened": lines }));
    }
    lines.iter().try_for_each(output::line)
}

fn diff(args: &DiffArgs) -> CliResult {
    if args.old == "-" && args.new == "-" {
        return Err(Failure::environment("only one of the two can be standard input"));
    }
    let old = Text::read(&args.old)?.parse_or_refuse()?;
    let new = Text::read(&args.new)?.parse_or_refuse()?;
    // The same measure for both, whatever is recorded by now.
    let difference = ark_dialplans::diff::diff(&old, &new, &EstimateOnly);
    if args.json {
        output::json(&difference)?;
    } else {
        output::text(&difference.render_human())?;
    }
    Ok(Outcome::Done)
}

// ---- publish, rollback ----

async fn publish(args: PublishArgs) -> CliResult {
    let source = args.file.as_deref().map(Text::read).transpose()?;
    if let Some(bad) = source.as_ref().and_then(|text| text.bad.as_ref()) {
        return Err(Failure::Refused(format!("no plan\n{}", bad.render(Lang::En).trim_end())));
    }
    let source = source.map(|text| text.text);
    let path = format!("/api/v1/plans/{}/publish", encode(&args.name));
    let published: Published = Client::new(&args.gateway)?.post(&path, &json!({ "source": source })).await?;
    say_live(&published, args.json)
}

async fn rollback(args: RollbackArgs) -> CliResult {
    let path = format!("/api/v1/plans/{}/rollback", encode(&args.name));
    let published: Published = Client::new(&args.gateway)?.post(&path, &json!({ "version": args.version })).await?;
    say_live(&published, args.json)
}

fn say_live(published: &Published, json: bool) -> CliResult {
    if json {
        output::json(published)?;
    } else {
        let Published { name, version } = published;
        output::line(format!("{name} version {version} is live for new calls; calls that are up keep theirs"))?;
    }
    Ok(Outcome::Done)
}

// ---- colour ----

/// The text with colour when standard output is a terminal that wants it (`NO_COLOR` does not).
fn painted(text: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stdout().is_terminal() { paint(text) } else { text.to_owned() }
}

fn paint(text: &str) -> String {
    const RED: &str = "\x1b[1;31m";
    const YELLOW: &str = "\x1b[1;33m";
    const GREEN: &str = "\x1b[32m";
    const PLAIN: &str = "\x1b[0m";
    let mut colour = RED;
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        let caret =
            body.split_once("| ").is_some_and(|(_, rest)| rest.trim_start().starts_with('^') && rest.ends_with('^'));
        let has = |words: [&str; 2]| words.iter().any(|word| body.contains(word));
        let begins = |words: [&str; 2]| words.iter().any(|word| body.starts_with(word));
        let paint = if has([": error[", ": 错误["]) {
            colour = RED;
            Some(RED)
        } else if has([": warning[", ": 警告["]) {
            colour = YELLOW;
            Some(YELLOW)
        } else if caret {
            Some(colour)
        } else if begins(["FAIL ", "失败 "]) || body.starts_with("lost (") {
            Some(RED)
        } else if begins(["ok   ", "通过 "]) {
            Some(GREEN)
        } else {
            None
        };
        match paint {
            Some(paint) => out.extend([paint, body, PLAIN, end]),
            None => out.push_str(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_of_the_parts_are_the_callers_of_the_whole() {
        let plan = Text::read("builtin:hotline-95188").unwrap().parse().unwrap();
        let whole = fuzz_callers(&plan, 2 * FUZZ_PART + 7, 42);
        let parts = call_in_parts(&plan, 2 * FUZZ_PART + 7, 42);
        assert_eq!(serde_json::to_value(&whole).unwrap(), serde_json::to_value(&parts).unwrap());
    }

    #[test]
    fn colour_marks_heads_and_carets_and_changes_no_letter() {
        let text = "a.toml:6:16: error[E001]: no\n   |\n 6 | x\n   | ^^^\n\nok   one\n";
        let painted = paint(text);
        assert!(painted.contains("\x1b[1;31ma.toml:6:16: error[E001]: no\x1b[0m\n"), "{painted:?}");
        assert!(painted.contains("\x1b[1;31m   | ^^^\x1b[0m\n"), "{painted:?}");
        let mut bare = painted;
        for code in ["\x1b[1;31m", "\x1b[32m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, text);
    }

    #[test]
    fn several_plans_are_several_suites_of_one_document() {
        let plan = Text::read("builtin:hotline-95188").unwrap().parse().unwrap();
        let report = ark_dialplans::test(&plan);
        let xml = junit(&[report.clone(), report]);
        assert_eq!(xml.matches("<testsuite ").count(), 2);
        assert_eq!(xml.matches("<testsuites>").count(), 1);
        assert_eq!(xml.matches("<?xml").count(), 1);
    }
}
