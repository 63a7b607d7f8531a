//! `ark webhook list|dead|replay|test|enable`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};
use crate::webhooks::{DeliveryView, TestView, WebhookState, WebhookView};

/// Deliveries in one answer.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// List the site's webhooks and how they are
    List(ListArgs),
    /// List deliveries that were given up
    Dead(DeadArgs),
    /// Send deliveries again that were given up or taken, with the same webhook-id
    Replay(ReplayArgs),
    /// Send one event of type ark.webhook.test.v1 now, and say what came of it
    Test(NamedArgs),
    /// Take up a webhook again that answered 410; what happened meanwhile is sent
    Enable(NamedArgs),
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    /// Of this webhook only
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The deliveries' numbers, as `ark webhook dead` prints them
    #[arg(required_unless_present = "dead", value_name = "ID")]
    ids: Vec<u64>,
    /// Everything that this webhook gave up
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    dead: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct NamedArgs {
    /// The webhook's name
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct Webhooks {
    webhooks: Vec<WebhookView>,
}

#[derive(Deserialize)]
struct Deliveries {
    deliveries: Vec<DeliveryView>,
}

#[derive(Deserialize)]
struct Replayed {
    webhook: String,
    replayed: usize,
    last: Option<u64>,
}

pub(super) fn run(command: WebhookCommand) -> CliResult {
    match command {
        WebhookCommand::List(args) => block_on(list(args)),
        WebhookCommand::Dead(args) => block_on(dead(args)),
        WebhookCommand::Replay(args) => block_on(replay(args)),
        WebhookCommand::Test(args) => block_on(test(args)),
        WebhookCommand::Enable(args) => block_on(enable(args)),
    }
}

async fn list(args: ListArgs) -> CliResult {
    let Webhooks { webhooks } = Client::new(&args.common.gateway)?.get("/api/v1/webhooks").await?;
    let head = ["name", "state", "waiting", "dead", "delivered", "failed", "url", "last error"];
    output::list(args.common.json, &webhooks, "the site's file has no [[webhook]]", &head, row)?;
    Ok(Outcome::Done)
}

fn row(webhook: &WebhookView) -> Vec<String> {
    let state = match webhook.state {
        WebhookState::On => "on",
        WebhookState::Off => "off",
        WebhookState::Gone => "gone (410)",
    };
    vec![
        webhook.name.clone(),
        state.to_owned(),
        webhook.waiting.to_string(),
        webhook.dead.to_string(),
        webhook.delivered.to_string(),
        webhook.failed.to_string(),
        webhook.url.clone(),
        webhook.last_error.clone().unwrap_or_default(),
    ]
}

async fn dead(args: DeadArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let names = match args.name {
        Some(name) => vec![name],
        None => {
            let Webhooks { webhooks } = client.get("/api/v1/webhooks").await?;
            webhooks.into_iter().map(|one| one.name).collect()
        }
    };
    let mut found: Vec<DeliveryView> = Vec::new();
    for name in &names {
        let mut after = 0;
        loop {
            let path = format!("/api/v1/webhooks/{}/deliveries?state=dead&after={after}&limit={PAGE}", encode(name));
            let page: Deliveries = client.get(&path).await?;
            let Some(last) = page.deliveries.last() else { break };
            after = last.id;
            found.extend(page.deliveries);
        }
    }
    let head = ["id", "webhook", "webhook-id", "attempts", "error"];
    output::list(args.common.json, &found, "nothing was given up", &head, |one| {
        let error = one.error.clone().unwrap_or_default();
        vec![one.id.to_string(), one.webhook.clone(), one.webhook_id.clone(), one.attempts.to_string(), error]
    })?;
    Ok(Outcome::Done)
}

async fn replay(args: ReplayArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let mut done: Vec<Replayed> = Vec::new();
    if let Some(name) = &args.dead {
        // Each once, by its number: one that dies again at once is not taken up for ever.
        let mut after = Some(0);
        while let Some(from) = after {
            let path = format!("/api/v1/webhooks/{}/replay?after={from}", encode(name));
            let one: Replayed = client.post(&path, &json!({})).await?;
            after = one.last;
            done.push(one);
        }
    }
    for id in &args.ids {
        done.push(client.post(&format!("/api/v1/webhooks/deliveries/{id}/replay"), &json!({})).await?);
    }
    let replayed: usize = done.iter().map(|one| one.replayed).sum();
    if args.common.json {
        output::json(&json!({ "replayed": replayed }))?;
    } else {
        let webhook = done.first().map_or("", |one| one.webhook.as_str());
        output::line(format!("{replayed} on their way again: {webhook}"))?;
    }
    Ok(Outcome::Done)
}

async fn test(args: NamedArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let view: TestView = client.post(&format!("/api/v1/webhooks/{}/test", encode(&args.name)), &json!({})).await?;
    if args.common.json {
        output::json(&view)?;
    } else {
        let answer = match (view.status, &view.error) {
            (Some(status), _) => format!("answered {status}"),
            (None, error) => error.clone().unwrap_or_default(),
        };
        output::line(format!("{}: {answer}, after {} ms", args.name, view.took_ms))?;
    }
    Ok(if view.ok { Outcome::Done } else { Outcome::Finding })
}

async fn enable(args: NamedArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let _: Value = client.post(&format!("/api/v1/webhooks/{}/enable", encode(&args.name)), &json!({})).await?;
    if args.common.json {
        output::json(&json!({ "webhook": args.name, "enabled": true }))?;
    } else {
        output::line(format!("{} is sent events again", args.name))?;
    }
    Ok::<Outcome, Failure>(Outcome::Done)
}
