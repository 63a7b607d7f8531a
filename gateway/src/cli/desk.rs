//! `ark conversation reply|claim|resolve`: what an agent does in a conversation, from the command line.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::CliResult;
use super::client::{Client, GatewayArgs};
use super::conversation::whole_id;
use super::output::{self, Outcome};

#[derive(Debug, Args)]
struct Common {
    /// The conversation's id, or an unambiguous end of it among the newest 500
    id: String,
    /// The agent who does it
    #[arg(long = "as", value_name = "AGENT")]
    by: String,
    /// Only when the conversation's epoch is this one: it has not changed hands since
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReplyArgs {
    #[command(flatten)]
    common: Common,
    /// The words
    text: String,
    /// The message's key: the same message again with the same key is sent once
    #[arg(long)]
    key: Option<String>,
    /// The leg that it goes by; without it the thread that was active last
    #[arg(long, value_name = "N")]
    leg: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct ClaimArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    #[command(flatten)]
    common: Common,
    /// How it was settled: a word for statistics
    #[arg(long, value_name = "WORD")]
    disposition: Option<String>,
    /// A note to it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Deserialize)]
struct Accepted {
    owner: String,
    epoch: u64,
    last_seq: u64,
    key: Option<String>,
    duplicate: bool,
}

pub(super) async fn reply(args: ReplyArgs) -> CliResult {
    let ReplyArgs { common, text, key, leg } = args;
    let body = json!({ "by": common.by, "epoch": common.epoch, "text": text, "key": key, "leg": leg });
    ask(&common, "messages", &body, |accepted| {
        let key = accepted.key.as_deref().unwrap_or_default();
        let (epoch, seq) = (accepted.epoch, accepted.last_seq);
        if accepted.duplicate {
            format!("it was sent before under key {key}")
        } else {
            format!("on its way: record {seq}, epoch {epoch}, key {key}")
        }
    })
    .await
}

pub(super) async fn claim(args: ClaimArgs) -> CliResult {
    let ClaimArgs { common } = args;
    let body = json!({ "by": common.by, "epoch": common.epoch });
    ask(&common, "claim", &body, |accepted| format!("{} owns it, epoch {}", accepted.owner, accepted.epoch)).await
}

pub(super) async fn resolve(args: ResolveArgs) -> CliResult {
    let ResolveArgs { common, disposition, note } = args;
    let body = json!({ "by": common.by, "epoch": common.epoch, "disposition": disposition, "note": note });
    ask(&common, "resolve", &body, |accepted| format!("closed with record {}", accepted.last_seq)).await
}

async fn ask(common: &Common, what: &str, body: &Value, say: impl FnOnce(&Accepted) -> String) -> CliResult {
    let client = Client::new(&common.gateway)?;
    let id = whole_id(&client, &common.id).await?;
    let answer: Value = client.post(&format!("/api/v1/conversations/{id}/{what}"), body).await?;
    if common.json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let accepted: Accepted = serde_json::from_value(answer).map_err(|error| {
        output::Failure::environment(format!("the gateway answered something else than this ark expects: {error}"))
    })?;
    output::line(format!("{id}: {}", say(&accepted)))?;
    Ok(Outcome::Done)
}
