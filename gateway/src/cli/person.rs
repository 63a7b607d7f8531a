//! `ark person show|find|merge|unmerge`.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum PersonCommand {
    /// Show a person: what they are known by, and their conversations of every channel
    Show(ShowArgs),
    /// Find the person who has proved a key: a phone number, an id at a provider
    Find(FindArgs),
    /// Say that two persons are one; their conversations stay as they are
    Merge(MergeArgs),
    /// Undo it
    Unmerge(MergeArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// Show numbers and ids in full
    #[arg(long)]
    numbers: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The person's id
    id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// The kind of key: phone_e164, wechat_unionid, alipay_user ...
    kind: String,
    /// Its value, whole: +8613800001212
    value: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The person who is merged
    id: String,
    /// The person into whom
    into: String,
    /// Who says so
    #[arg(long = "as", value_name = "AGENT")]
    by: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct Person {
    person: String,
    merged: Option<String>,
    keys: Vec<Key>,
    conversations: Vec<Conversation>,
}

#[derive(Deserialize, Serialize)]
struct Key {
    kind: String,
    value: String,
    assurance: String,
    of: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Conversation {
    conversation: String,
    kind: String,
    started: String,
    ended: Option<String>,
}

pub(super) fn run(command: PersonCommand) -> CliResult {
    block_on(async {
        match command {
            PersonCommand::Show(ShowArgs { id, common }) => {
                let path = format!("/api/v1/persons/{}?numbers={}", encode(&id), numbers(&common));
                show(&common, Client::new(&common.gateway)?.get(&path).await?)
            }
            PersonCommand::Find(FindArgs { kind, value, common }) => {
                let (kind, value, numbers) = (encode(&kind), encode(&value), numbers(&common));
                let path = format!("/api/v1/persons?kind={kind}&value={value}&numbers={numbers}");
                show(&common, Client::new(&common.gateway)?.get(&path).await?)
            }
            PersonCommand::Merge(args) => change(args, "merge").await,
            PersonCommand::Unmerge(args) => change(args, "unmerge").await,
        }
    })
}

const fn numbers(common: &Common) -> &'static str {
    if common.numbers { "full" } else { "masked" }
}

async fn change(args: MergeArgs, what: &str) -> CliResult {
    let MergeArgs { id, into, by, common } = args;
    let path = format!("/api/v1/persons/{}/{what}", encode(&id));
    let answer = Client::new(&common.gateway)?.post(&path, &json!({ "into": into, "by": by })).await?;
    show(&common, answer)
}

fn show(common: &Common, answer: Value) -> CliResult {
    if common.json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let person: Person = serde_json::from_value(answer).map_err(|error| {
        Failure::environment(format!("the gateway answered something else than this ark expects: {error}"))
    })?;
    match &person.merged {
        Some(merged) => output::line(format!("person {}, into whom {merged} was merged", person.person))?,
        None => output::line(format!("person {}", person.person))?,
    }
    let key = |key: &Key| {
        let of = key.of.as_ref().map(|of| format!("of {of}")).unwrap_or_default();
        vec![key.kind.clone(), key.value.clone(), key.assurance.clone(), of]
    };
    output::list(false, &person.keys, "known by nothing", &["key", "value", "assurance", ""], key)?;
    let conversation = |one: &Conversation| {
        let ended = one.ended.clone().unwrap_or_else(|| "open".to_owned());
        vec![one.conversation.clone(), one.kind.clone(), one.started.clone(), ended]
    };
    let head = ["conversation", "kind", "started", "ended"];
    output::list(false, &person.conversations, "no conversation", &head, conversation)?;
    Ok(Outcome::Done)
}
