//! `ark call list|place|hangup`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Outcome};
use crate::control::{CallDirection, CallState, CallView, PlaceRequest, Placed};

#[derive(Debug, Subcommand)]
pub(super) enum CallCommand {
    /// List the calls that are up
    List(ListArgs),
    /// Call somebody and guide them through a hotline's plan
    Place(PlaceArgs),
    /// Hang a call up
    Hangup(HangupArgs),
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
    let calls: Calls = client.get("/api/v1/calls").await?;
    // An id that no call has is sent as it is: the gateway knows best why.
    let mut matching = calls.calls.iter().filter(|call| call.id.ends_with(&args.id));
    let id = match (matching.next(), matching.next()) {
        (Some(one), None) => one.id.clone(),
        _ => args.id,
    };
    let _: serde_json::Value = client.post(&format!("/api/v1/calls/{}/hangup", encode(&id)), &json!({})).await?;
    if args.json {
        output::json(&json!({ "id": id, "hung_up": true }))?;
    } else {
        output::line(format!("hung up {id}"))?;
    }
    Ok(Outcome::Done)
}
