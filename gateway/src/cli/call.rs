//! `ark call list|show|place|hangup|supervise|mute|record|link`.

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::json;

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};
use crate::config::{RecordingChannels, RecordingFormat};
use crate::control::{CallDirection, CallState, CallView, PlaceRequest, Placed, Supervision};
use crate::http::links::Way;

#[derive(Debug, Subcommand)]
pub(super) enum CallCommand {
    /// List the calls that are up
    List(ListArgs),
    /// Call somebody and guide them through a hotline's plan
    Place(PlaceArgs),
    /// Hang a call up
    Hangup(HangupArgs),
    /// Show a call and its legs
    Show(ShowArgs),
    /// Let a supervisor listen to a talk, whisper to the agent, join in, or take over
    Supervise(SuperviseArgs),
    /// Keep a leg's voice from the others
    Mute(MuteArgs),
    /// Record a call, or stop; pause its recordings, or let them go on
    Record(RecordArgs),
    /// Make a link by which the caller sends pictures while the call goes on
    Link(LinkArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SuperviseArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    /// Call this supervisor: a SIP address (sip:2001@127.0.0.1:5080), or a number that a [[route]] carries
    #[arg(long, required_unless_present = "leg", conflicts_with = "leg")]
    to: Option<String>,
    /// The leg of a supervisor who is there already
    #[arg(long)]
    leg: Option<u32>,
    /// What they do
    #[arg(long, value_enum, default_value = "listen")]
    mode: Supervision,
    /// Let the supervisor of --leg go
    #[arg(long, requires = "leg", conflicts_with = "mode")]
    stop: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MuteArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    /// The leg, as `ark call show` prints it
    #[arg(long)]
    leg: u32,
    /// Let the voice through again
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of a call's recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Recording {
    /// Record the call from now on
    Start,
    /// End its recording
    Stop,
    /// Record silence from now on
    Pause,
    /// Record what is said again
    Resume,
}

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    /// What to do
    what: Recording,
    /// The kind of file, with start; without it as [recording] says
    #[arg(long, value_enum)]
    format: Option<RecordingFormat>,
    /// What is in its channels, with start; without it as [recording] says
    #[arg(long, value_enum)]
    channels: Option<RecordingChannels>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    /// How it goes out; without it the address is printed and nothing is sent
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAY")]
    send: Vec<Way>,
    /// Who makes it: an agent's name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// A SIP address (sip:1001@127.0.0.1:5080), or a number that a [[route]] carries
    to: String,
    /// The hotline whose plan speaks to them; without it the first one
    #[arg(long, value_name = "NUMBER")]
    hotline: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct HangupArgs {
    /// The call's id, as `ark call list` prints it, or an unambiguous end of it
    id: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// The answer of `GET /api/v1/calls`.
#[derive(Deserialize)]
struct Calls {
    calls: Vec<CallView>,
}

pub(super) fn run(command: CallCommand) -> CliResult {
    match command {
        CallCommand::List(args) => block_on(list(args)),
        CallCommand::Place(args) => block_on(place(args)),
        CallCommand::Hangup(args) => block_on(hangup(args)),
        CallCommand::Show(args) => block_on(show(args)),
        CallCommand::Supervise(args) => block_on(supervise(args)),
        CallCommand::Mute(args) => block_on(mute(args)),
        CallCommand::Record(args) => block_on(record(args)),
        CallCommand::Link(args) => block_on(link(args)),
    }
}

async fn list(args: ListArgs) -> CliResult {
    let calls: Calls = Client::new(&args.gateway)?.get("/api/v1/calls").await?;
    let head = ["id", "", "from", "to", "state", "plan", "since"];
    output::list(args.json, &calls.calls, "no call is up", &head, row)?;
    Ok(Outcome::Done)
}

fn row(call: &CallView) -> Vec<String> {
    let direction = match call.direction {
        CallDirection::In => "in",
        CallDirection::Out => "out",
    };
    let state = match call.state {
        CallState::Ringing => "ringing",
        CallState::Ivr => "in the plan",
        CallState::Queued => "waiting",
        CallState::Talking => "talking",
    };
    let plan = match (&call.plan, &call.plan_state) {
        (Some(plan), Some(state)) => format!("{plan} {state}"),
        (Some(plan), None) => plan.clone(),
        _ => String::new(),
    };
    vec![
        call.id.clone(),
        direction.into(),
        call.from.clone(),
        call.to.clone(),
        state.into(),
        plan,
        call.started_at.clone(),
    ]
}

/// The id of the one call whose id ends so. What no call has is sent as it is: the gateway knows best why.
async fn whole_id(client: &Client, end: String) -> Result<String, Failure> {
    let calls: Calls = client.get("/api/v1/calls").await?;
    let mut matching = calls.calls.iter().filter(|call| call.id.ends_with(&end));
    Ok(match (matching.next(), matching.next()) {
        (Some(one), None) => one.id.clone(),
        _ => end,
    })
}

async fn show(args: ShowArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id).await?;
    let calls: Calls = client.get("/api/v1/calls").await?;
    let Some(call) = calls.calls.iter().find(|call| call.id == id) else {
        return Err(Failure::Refused(format!("no call {id} is up: `ark call list` shows those that are")));
    };
    if args.json {
        output::json(call)?;
        return Ok(Outcome::Done);
    }
    output::table(&["id", "", "from", "to", "state", "plan", "since"], &[row(call)])?;
    let legs: Vec<Vec<String>> = call
        .legs
        .iter()
        .map(|leg| {
            let does = leg.supervises.and_then(|mode| mode.to_possible_value());
            let does = does.map_or_else(String::new, |mode| mode.get_name().to_owned());
            let state = if leg.up { "talks" } else { "rings" };
            let muted = if leg.muted { "muted" } else { "" };
            let remote = leg.remote.clone().unwrap_or_default();
            vec![
                leg.leg.to_string(),
                leg.role.clone(),
                leg.who.clone(),
                state.to_owned(),
                muted.to_owned(),
                does,
                remote,
            ]
        })
        .collect();
    output::table(&["leg", "who", "at", "", "", "supervises", "media at"], &legs)?;
    output::line(if call.recording { "it is being recorded" } else { "it is not being recorded" })?;
    Ok(Outcome::Done)
}

async fn supervise(args: SuperviseArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id).await?;
    let supervisors = format!("/api/v1/calls/{}/supervisors", encode(&id));
    let mode = json!(args.mode);
    let (done, said) = match (args.to, args.leg) {
        (Some(to), _) => {
            let begun: serde_json::Value = client.post(&supervisors, &json!({ "to": to, "mode": mode })).await?;
            let said = format!("calling {to}, as leg {} of call {id}", begun["leg"]);
            (begun, said)
        }
        (None, leg) => {
            let leg = leg.unwrap_or_default();
            let path = format!("{supervisors}/{leg}");
            if args.stop {
                client.delete(&path).await?;
                (json!({ "leg": leg, "mode": null }), format!("leg {leg} was let go"))
            } else {
                let _: serde_json::Value = client.patch(&path, &json!({ "mode": mode })).await?;
                let said = format!("leg {leg}: {}", mode.as_str().unwrap_or_default());
                (json!({ "leg": leg, "mode": mode }), said)
            }
        }
    };
    if args.json {
        output::json(&done)?;
    } else {
        output::line(said)?;
    }
    Ok(Outcome::Done)
}

async fn mute(args: MuteArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id).await?;
    let path = format!("/api/v1/calls/{}/legs/{}/mute", encode(&id), args.leg);
    let _: serde_json::Value = client.post(&path, &json!({ "muted": !args.off })).await?;
    if args.json {
        output::json(&json!({ "leg": args.leg, "muted": !args.off }))?;
    } else if args.off {
        output::line(format!("leg {} is heard again", args.leg))?;
    } else {
        output::line(format!("leg {} is muted: ark call mute {id} --leg {} --off", args.leg, args.leg))?;
    }
    Ok(Outcome::Done)
}

async fn record(args: RecordArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id.clone()).await?;
    let begins = match args.what {
        Recording::Start => true,
        Recording::Stop => false,
        Recording::Pause | Recording::Resume => return pause_recording(&client, &id, &args).await,
    };
    let path = format!("/api/v1/calls/{}/recordings", encode(&id));
    if begins {
        let how = json!({ "format": args.format, "channels": args.channels });
        let _: serde_json::Value = client.post(&path, &how).await?;
    } else {
        client.delete(&path).await?;
    }
    if args.json {
        output::json(&json!({ "id": id, "recording": begins }))?;
    } else if begins {
        output::line(format!("the call is recorded until it ends, or: ark call record {id} stop"))?;
    } else {
        output::line("the recording has ended; ark conversation show tells its name")?;
    }
    Ok(Outcome::Done)
}

async fn link(args: LinkArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id).await?;
    let path = format!("/api/v1/calls/{}/links", encode(&id));
    let made: serde_json::Value = client.post(&path, &json!({ "by": args.by, "send": args.send })).await?;
    if args.json {
        output::json(&made)?;
        return Ok(Outcome::Done);
    }
    let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
    output::line(format!("{}  until {}, for the first device that opens it", text("url"), text("expires")))?;
    if made["code"].is_string() {
        let (code, page) = (text("code"), text("short_page"));
        output::line(format!(
            "to be spoken: {code}, typed at {page} with the last four digits of the caller's number"
        ))?;
    }
    for sent in made["sent"].as_array().into_iter().flatten().filter(|sent| sent["ok"] == false) {
        let text = |key: &str| sent[key].as_str().unwrap_or_default();
        output::line(format!("{} did not go out: {}", text("way"), text("why")))?;
    }
    Ok(Outcome::Done)
}

async fn pause_recording(client: &Client, id: &str, args: &RecordArgs) -> CliResult {
    let paused = args.what == Recording::Pause;
    let path = format!("/api/v1/calls/{}/recording", encode(id));
    let _: serde_json::Value = client.post(&path, &json!({ "paused": paused })).await?;
    if args.json {
        output::json(&json!({ "id": id, "paused": paused }))?;
    } else if paused {
        output::line(format!("the recording is silent until: ark call record {id} resume"))?;
    } else {
        output::line("what is said is recorded again")?;
    }
    Ok(Outcome::Done)
}

async fn place(args: PlaceArgs) -> CliResult {
    let request = PlaceRequest { to: args.to.clone(), hotline: args.hotline };
    let placed: Placed = Client::new(&args.gateway)?.post("/api/v1/calls", &request).await?;
    if args.json {
        output::json(&placed)?;
    } else {
        output::line(format!("calling {}: call {}, conversation {}", args.to, placed.id, placed.conversation))?;
        output::line(format!("follow it with: ark conversation tail {}", placed.conversation))?;
    }
    Ok(Outcome::Done)
}

async fn hangup(args: HangupArgs) -> CliResult {
    let client = Client::new(&args.gateway)?;
    let id = whole_id(&client, args.id).await?;
    let _: serde_json::Value = client.post(&format!("/api/v1/calls/{}/hangup", encode(&id)), &json!({})).await?;
    if args.json {
        output::json(&json!({ "id": id, "hung_up": true }))?;
    } else {
        output::line(format!("hung up {id}"))?;
    }
    Ok(Outcome::Done)
}
