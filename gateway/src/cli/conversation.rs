//! `ark conversation list|show|tail|reply|claim|resolve|export|replay`.

use std::time::Duration;

use ark_conversation::event::{Direction, EndedBy, PromptCause};
use ark_conversation::{ConversationId, ConversationState, Event, LegPhase, Owner, Record};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};

/// Pause before a gateway that went away is looked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Records or conversations in one answer.
pub(super) const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum ConversationCommand {
    /// List conversations, newest first
    List(ListArgs),
    /// Show one conversation: who, when, and everything that happened
    Show(ShowArgs),
    /// Follow what happens, live: one conversation from its beginning, or all from now on
    Tail(TailArgs),
    /// Write to the customer; a conversation that waits, or that a plan has, is claimed with it
    Reply(super::desk::ReplyArgs),
    /// Own a conversation: out of the queue, from a plan, or taken up again after its end
    Claim(super::desk::ClaimArgs),
    /// Close a conversation as its owner
    Resolve(super::desk::ResolveArgs),
    Export(super::export::ExportArgs),
    Replay(super::replay::ReplayArgs),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Which {
    /// Every conversation
    #[default]
    All,
    /// Those with a call that is up
    Open,
    /// Those that have ended
    Ended,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Which ones
    #[arg(long, value_enum, default_value_t)]
    state: Which,
    /// How many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The conversation's id, or an unambiguous end of it among the newest 500
    id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// The conversation's id, or an unambiguous end of it among the newest 500; without it all conversations
    id: Option<String>,
    /// With an id: only what comes after this record
    #[arg(long, default_value_t = 0, value_name = "SEQ", requires = "id")]
    after_seq: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Show people's numbers in full
    #[arg(long)]
    numbers: bool,
    /// Print as JSON (`tail`: one record a line)
    #[arg(long)]
    json: bool,
}

impl Common {
    fn numbers(&self) -> &'static str {
        if self.numbers { "full" } else { "masked" }
    }
}

#[derive(Deserialize)]
struct Page {
    conversations: Vec<ConversationState>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Log {
    records: Vec<Record>,
}

pub(super) fn run(command: ConversationCommand) -> CliResult {
    match command {
        ConversationCommand::List(args) => block_on(list(args)),
        ConversationCommand::Show(args) => block_on(show(args)),
        ConversationCommand::Tail(args) => block_on(tail(args)),
        ConversationCommand::Reply(args) => block_on(super::desk::reply(args)),
        ConversationCommand::Claim(args) => block_on(super::desk::claim(args)),
        ConversationCommand::Resolve(args) => block_on(super::desk::resolve(args)),
        ConversationCommand::Export(args) => block_on(super::export::run(args)),
        ConversationCommand::Replay(args) => block_on(super::replay::run(args)),
    }
}

async fn list(args: ListArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let state = match args.state {
        Which::All => "all",
        Which::Open => "open",
        Which::Ended => "ended",
    };
    let mut found: Vec<ConversationState> = Vec::new();
    let mut before = String::new();
    while found.len() < args.limit {
        let limit = (args.limit - found.len()).min(PAGE);
        let path =
            format!("/api/v1/conversations?state={state}&limit={limit}&numbers={}{before}", args.common.numbers());
        let page: Page = client.get(&path).await?;
        found.extend(page.conversations);
        match page.next {
            Some(next) => before = format!("&before={}", encode(&next)),
            None => break,
        }
    }
    let head = ["conversation", "began", "", "from", "to", "state", "length", "plan", "records"];
    output::list(args.common.json, &found, "no conversation yet", &head, row)?;
    Ok(Outcome::Done)
}

fn row(state: &ConversationState) -> Vec<String> {
    let leg = state.customer().or_else(|| state.legs.first());
    let direction = leg.map_or("", |leg| if leg.direction == Direction::Inbound { "in" } else { "out" });
    let plan = match (&state.plan, state.plan_version) {
        (Some(plan), Some(version)) => format!("{plan}@{version}"),
        (Some(plan), None) => plan.clone(),
        _ => String::new(),
    };
    vec![
        state.conversation.to_string(),
        local(state.started, "%m-%d %H:%M:%S"),
        direction.to_owned(),
        leg.map_or_else(String::new, |leg| leg.from.reveal().to_owned()),
        leg.map_or_else(String::new, |leg| leg.to.reveal().to_owned()),
        phase(state).to_owned(),
        length(state),
        plan,
        state.last_seq.to_string(),
    ]
}

fn phase(state: &ConversationState) -> &'static str {
    if !state.is_open() {
        return "ended";
    }
    if state.bridged.is_some() {
        return "talking";
    }
    if state.queue.is_some() {
        return "waiting";
    }
    match &state.owner {
        Some(Owner::Agent(_)) => return "with an agent",
        Some(Owner::Queue(_)) => return "waiting",
        Some(Owner::Bot(_)) | None => {}
    }
    match state.customer().map(|leg| leg.phase) {
        Some(LegPhase::Ringing) => "ringing",
        Some(LegPhase::Held) => "held",
        _ => "in the plan",
    }
}

fn length(state: &ConversationState) -> String {
    let until = state.ended.unwrap_or_else(Timestamp::now);
    let seconds = until.duration_since(state.started).as_secs().max(0);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A time as the clock on the wall shows it.
fn local(at: Timestamp, format: &str) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime(format).to_string()
}

/// The whole id of a conversation that was named by it or by its end.
pub(super) async fn whole_id(client: &Client, given: &str) -> Result<String, Failure> {
    if given.len() == 26 {
        return Ok(given.to_owned());
    }
    let page: Page = client.get(&format!("/api/v1/conversations?limit={PAGE}")).await?;
    by_end(page.conversations.iter().map(|one| one.conversation), given).map(|id| id.to_string())
}

/// The one of the newest [`PAGE`] conversations whose id ends with what was given.
pub(super) fn by_end(newest: impl Iterator<Item = ConversationId>, given: &str) -> Result<ConversationId, Failure> {
    let end = given.to_ascii_uppercase();
    let mut matching = newest.filter(|id| !end.is_empty() && id.to_string().ends_with(&end));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure::Refused(format!(
            "no conversation among the newest {PAGE} ends with `{given}`: write its whole id (26 characters)"
        ))),
        (Some(_), Some(_)) => {
            Err(Failure::Refused(format!("several conversations end with `{given}`: write more of the id")))
        }
    }
}

async fn show(args: ShowArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let id = whole_id(&client, &args.id).await?;
    let numbers = args.common.numbers();
    let state: ConversationState =
        client.get(&format!("/api/v1/conversations/{}?numbers={numbers}", encode(&id))).await?;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map_or(0, |record| record.seq);
        let path = format!("/api/v1/conversations/{id}/events?after_seq={after}&limit={PAGE}&numbers={numbers}");
        let log: Log = client.get(&path).await?;
        let last = log.records.len() < PAGE;
        records.extend(log.records);
        if last {
            break;
        }
    }
    if args.common.json {
        output::json(&serde_json::json!({ "conversation": state, "records": records }))?;
        return Ok(Outcome::Done);
    }
    let owner = state.owner.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    output::line(format!(
        "{id}  {}  {}  {}  owner {owner}, epoch {}",
        local(state.started, "%Y-%m-%d %H:%M:%S"),
        phase(&state),
        length(&state),
        state.epoch
    ))?;
    for record in &records {
        output::line(line(record))?;
    }
    Ok(Outcome::Done)
}

async fn tail(args: TailArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let numbers = args.common.numbers();
    let id = match &args.id {
        Some(given) => Some(whole_id(&client, given).await?),
        None => None,
    };
    let mut after = Some(args.after_seq).filter(|_| id.is_some());
    let mut road = Road::New;
    loop {
        let path = match &id {
            Some(id) => format!("/api/v1/events?conversation={id}&numbers={numbers}{}", from("after_seq", after)),
            None => format!("/api/v1/events?numbers={numbers}{}", from("after", after)),
        };
        let mut events = match client.events(&path).await {
            Ok(events) => events,
            Err(Failure::Environment(why)) if road != Road::New => {
                if road == Road::Broken {
                    let why = why.lines().next().unwrap_or_default();
                    output::note(&format!("{why}; waiting until it is back (Ctrl-C ends)"));
                }
                road = Road::Waited;
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        while let Some(event) = events.next().await {
            // The record's number in its conversation, or its position in the whole log.
            after = event.id.parse().ok().or(after);
            if event.name != "record" {
                continue;
            }
            let record: Record = serde_json::from_str(&event.data).map_err(|error| {
                Failure::environment(format!("the gateway sent a record that this ark cannot read: {error}"))
            })?;
            if args.common.json {
                output::json_line(&record)?;
            } else if id.is_some() {
                output::line(line(&record))?;
            } else {
                let short = record.conversation.to_string();
                output::line(format!("{}  {}", &short[short.len() - 6..], line(&record)))?;
            }
        }
        road = Road::Broken;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Where a stream is to go on.
fn from(key: &str, after: Option<u64>) -> String {
    after.map_or_else(String::new, |after| format!("&{key}={after}"))
}

/// How the road to the gateway is, while its log is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Road {
    /// Nothing was heard yet: that it is away is an error.
    New,
    /// It broke off.
    Broken,
    /// It broke off, and that the gateway is away was said.
    Waited,
}

/// A record as a line: number, time, leg, what happened.
fn line(record: &Record) -> String {
    let at = local(record.event.time, "%H:%M:%S%.3f");
    let leg = record.event.event.leg().map_or_else(String::new, |leg| leg.to_string());
    format!("{:>4}  {at}  {leg:<3}  {}", record.seq, in_words(&record.event.event))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// What happened, in a few words. The page says the same in more words and two languages.
fn in_words(event: &Event) -> String {
    match event {
        Event::CallRinging(e) => format!("ringing: {} -> {} by trunk {}", e.from.reveal(), e.to.reveal(), e.trunk),
        Event::CallAnswered(e) => format!("answered: {}, rang for {}", e.codec, seconds(e.ringing_ms)),
        Event::CallEnded(e) => {
            let by = if e.by == EndedBy::Ark { "Ark" } else { "the other side" };
            let status = e.sip_status.map_or_else(String::new, |status| format!(" {status}"));
            format!("ended: {}{status} by {by}, talked for {}", e.cause, seconds(e.talk_ms))
        }
        Event::CallLost(e) => format!("lost: {}", e.reason),
        Event::CallQuality(e) => {
            let mos = e.mos.map_or_else(|| "none".to_owned(), |mos| format!("{mos:.2}"));
            let (received, sent) = (e.received_packets, e.sent_packets);
            let jitter_ms = e.jitter_us / 1_000;
            format!(
                "quality: MOS {mos}, loss {:.2} %, jitter {jitter_ms} ms, {received} packets in, {sent} out",
                e.loss_ratio * 100.0
            )
        }
        Event::IvrEntered(e) => format!("plan {}@{}: {} ({})", e.plan, e.version, e.state, e.verb),
        Event::IvrStrike(e) => format!("strike {}: {}", e.strikes, e.kind),
        Event::IvrSet(e) => format!("set {} = {}", e.var, e.value.as_deref().unwrap_or("(masked)")),
        Event::IvrKept(e) if e.run.reveal().is_empty() => format!("plan {} is over", e.plan),
        Event::IvrKept(e) => match e.wakes {
            Some(at) => format!("plan {}@{} waits, until {at} at the latest", e.plan, e.version),
            None => format!("plan {}@{} waits", e.plan, e.version),
        },
        Event::Dtmf(e) => format!("key {} ({})", e.digit.map_or_else(|| "(masked)".to_owned(), String::from), e.how),
        Event::PromptStarted(e) => match &e.text {
            Some(text) => format!("says {}: {text}", e.prompts.join(", ")),
            None => format!("says {}", e.prompts.join(", ")),
        },
        Event::PromptFinished(e) => {
            let cause = match e.cause {
                PromptCause::End => "to the end",
                PromptCause::BargeIn => "cut by a key",
                PromptCause::Stopped => "stopped",
                PromptCause::Hangup => "cut by the end of the call",
                PromptCause::Failed => "failed",
            };
            format!("said {}, {cause}", seconds(e.heard_ms))
        }
        Event::RecordingFinished(e) => {
            let channels: Vec<&str> = e.channels.iter().map(|channel| channel.as_str()).collect();
            let held = e.format.map_or_else(String::new, |f| format!(" {f} ({}),", channels.join(", ")));
            format!("recording {}:{held} {}, {} bytes, {}", e.recording, seconds(e.duration_ms), e.bytes, e.cause)
        }
        Event::TranscriptFinal(e) => {
            let sure = e.confidence.map_or_else(String::new, |sure| format!(" ({:.0} %)", sure * 100.0));
            let late = if e.degraded { ", under load" } else { "" };
            let from = seconds(e.start_ms);
            format!("{} says at {from}: {}{sure}{late}", e.speaker, e.text.reveal())
        }
        Event::TranscriptCorrected(e) => format!("{} was: {}, says {}", e.utterance, e.text.reveal(), e.by),
        Event::TranscriptMissing(e) => format!("not read at {}: {}", seconds(e.start_ms), e.reason),
        Event::QueueJoined(e) => format!("waits in {}, number {}", e.queue, e.position),
        Event::QueueLeft(e) => format!("left {}: {} after {}", e.queue, e.outcome, seconds(e.waited_ms)),
        Event::QueueRelaxed(e) => format!("nobody in {} has {}: asks anybody", e.queue, e.needs),
        Event::LegBridged(e) => format!("talks with {}", e.with),
        Event::TransferFinished(e) => format!("transfer to {}: {} after {}", e.target, e.outcome, seconds(e.took_ms)),
        other => plain(other),
    }
}

/// Any other event: its name and its data.
fn plain(event: &Event) -> String {
    let name = event.type_name().trim_start_matches("ark.").trim_end_matches(".v1");
    let fields = serde_json::to_value(event).unwrap_or_default();
    let fields = fields.as_object().into_iter().flatten().filter(|(key, _)| *key != "leg");
    let fields: Vec<String> = fields
        .map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key} {text}"),
            None => format!("{key} {value}"),
        })
        .collect();
    format!("{name}: {}", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_line_without_a_number_in_full_that_was_masked() {
        for event in ark_conversation::samples::story() {
            let words = in_words(&event);
            assert!(!words.is_empty() && !words.contains('\n'), "{words}");
        }
    }
}
