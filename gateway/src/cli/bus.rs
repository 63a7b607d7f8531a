//! `ark bus status|dead|replay|plan`: what stands and waits on the broker that `[bus]` names. They speak with the broker
//! themselves, so that they work while a gateway is stuck or away.

use std::collections::BTreeMap;

use ark_bus::topology::{QueueKind, Role, Topology, TopologyConfig};
use ark_bus::{BusError, Comparison, DeadLetter, Manager, QueueDepth, RabbitConfig, Standing, Which};
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Client, GatewayArgs, block_on};
use super::output::{self, Failure, Outcome};
use super::site_store::{self, failure as store_failure};
use super::{CliResult, Site};
use crate::config::Config;
use crate::http::bus::{DeadMessage, DeadMessages, ReplayMessages, ReplayedMessages};
use crate::open;

/// Dead letters that are shown when nobody says how many.
const DEAD_SHOWN: usize = 50;

#[derive(Debug, Subcommand)]
pub(super) enum BusCommand {
    /// The broker and its queues: how deep, who reads, and what is wrong (exit code 1)
    Status(StatusArgs),
    /// The messages that were given up: which, where, why and since when
    Dead(DeadArgs),
    /// Send given-up messages back to the queue in which they died
    Replay(ReplayArgs),
    /// What a gateway declares on the broker, its users, and how that differs from what stands there
    ///
    /// Exit code 1 when it conflicts: a gateway could not use this broker.
    Plan(PlanArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show every shard's queue, also those that are empty
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    /// How many, the oldest first
    #[arg(long, default_value_t = DEAD_SHOWN, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["id", "all"])]
pub(super) struct ReplayArgs {
    /// The message's id, as `ark bus dead` shows it
    id: Option<String>,
    /// Every one that is there now (over a broker: those of the broker; messages of the inbox by their id)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Only print the plan; ask no broker
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: BusCommand) -> CliResult {
    match command {
        BusCommand::Status(args) => block_on(status(args)),
        BusCommand::Dead(args) => block_on(dead(args)),
        BusCommand::Replay(args) => block_on(replay(args)),
        BusCommand::Plan(args) => block_on(plan(args)),
    }
}

/// How a command ends that the broker did not do.
fn failure(error: BusError) -> Failure {
    match error {
        BusError::Unroutable { .. } | BusError::Conflict { .. } | BusError::OtherStore { .. } | BusError::Broker(_) => {
            Failure::Refused(error.to_string())
        }
        error => Failure::Environment(error.to_string()),
    }
}

/// How the site's broker is used; none when the bus is embedded. The store says how many shards there are.
fn broker(config: &Config) -> Result<Option<RabbitConfig>, Failure> {
    if !config.bus.is_broker() {
        return Ok(None);
    }
    let store = site_store::open_to_read(config).map_err(store_failure)?;
    open::rabbit_config(config, &*store).map(Some).map_err(failure)
}

/// The site's broker, or the words that there is none.
fn needed(config: &Config) -> Result<RabbitConfig, Failure> {
    broker(config)?.ok_or_else(|| {
        Failure::environment(
            "[bus] url is \"embedded:\": the bus lives inside the gateway's process and ends with it; there is no broker to ask\n  \
             help: `ark store check` tells what waits; docs/bus.md shows the step to RabbitMQ",
        )
    })
}

async fn manager(config: &Config) -> Result<Manager, Failure> {
    Manager::connect(&needed(config)?).await.map_err(failure)
}

async fn status(args: StatusArgs) -> CliResult {
    let config = args.common.site.load()?.config;
    let manager = manager(&config).await?;
    let queues = manager.status().await.map_err(failure)?;
    let alarm = match manager.alarm().await {
        Ok(alarm) => alarm,
        Err(BusError::NoPermission { .. }) => None,
        Err(error) => return Err(failure(error)),
    };
    // Under an alarm the broker answers nothing that is sent.
    let live = if alarm.is_none() { manager.live_is_heard().await.map_err(failure)? } else { None };
    let broker = manager.broker().to_string();
    manager.close().await;
    let well = alarm.is_none() && queues.iter().all(|queue| queue.alarm.is_none());
    if args.common.json {
        output::json(
            &json!({ "broker": broker, "well": well, "blocked": alarm, "live_heard": live, "queues": queues }),
        )?;
        return Ok(if well { Outcome::Done } else { Outcome::Finding });
    }
    output::line(format!("{broker}: connected"))?;
    if let Some(reason) = &alarm {
        output::line(format!(
            "ALARM  it takes no messages: {reason}; free memory or disk there, gateways go on by themselves"
        ))?;
    }
    let shown = queues.iter().filter(|queue| args.all || !is_quiet_shard(queue));
    let rows: Vec<Vec<String>> = shown.map(row).collect();
    output::table(&["queue", "kind", "messages", "readers", ""], &rows)?;
    let quiet: Vec<&QueueDepth> = queues.iter().filter(|queue| is_quiet_shard(queue)).collect();
    if !args.all && !quiet.is_empty() {
        let read = quiet.iter().filter(|queue| queue.consumers > 0).count();
        output::line(format!("and {} empty shards, {read} of them with a reader", quiet.len()))?;
    }
    if let Some(heard) = live {
        let by = if heard { "by at least one gateway" } else { "by nobody: no gateway is connected" };
        output::line(format!("live events (ark.live) are heard {by}"))?;
    }
    Ok(if well { Outcome::Done } else { Outcome::Finding })
}

/// A shard with nothing in it and nothing wrong with it.
fn is_quiet_shard(queue: &QueueDepth) -> bool {
    queue.name.contains(".conv.") && queue.messages == Some(0) && queue.alarm.is_none()
}

fn row(queue: &QueueDepth) -> Vec<String> {
    vec![
        queue.name.clone(),
        queue.kind.to_string(),
        queue.messages.map_or_else(|| "-".to_owned(), |messages| messages.to_string()),
        if queue.kind == QueueKind::Stream { String::new() } else { queue.consumers.to_string() },
        queue.alarm.as_ref().map_or_else(String::new, |alarm| format!("ALARM  {alarm}")),
    ]
}

async fn dead(args: DeadArgs) -> CliResult {
    let config = args.asked.gateway.site.load()?.config;
    let letters = if config.bus.is_broker() {
        let manager = manager(&config).await?;
        let letters = manager.dead(args.limit).await.map_err(failure)?;
        manager.close().await;
        let store = site_store::open_to_read(&config).map_err(store_failure)?;
        let mut dead = crate::http::bus::parked(&*store, args.limit).await.map_err(store_failure)?;
        dead.extend(letters.into_iter().map(message));
        dead.truncate(args.limit);
        dead
    } else {
        // The embedded bus lives in the gateway's process: it is asked there.
        let path = format!("/api/v1/bus/dead?limit={}", args.limit);
        let DeadMessages { dead } = Client::new(&args.asked.gateway)?.get(&path).await?;
        dead
    };
    let now = jiff::Timestamp::now();
    let head = ["id", "queue", "why", "since", "conversation", "bytes"];
    output::list(args.asked.json, &letters, "nothing was given up", &head, |letter| letter_row(letter, now))?;
    Ok(Outcome::Done)
}

fn message(letter: DeadLetter) -> DeadMessage {
    let DeadLetter { id, queue, reason, conversation, at, bytes, .. } = letter;
    DeadMessage { id, queue, reason, conversation, at: at.map(|at| at.to_string()), bytes }
}

fn letter_row(letter: &DeadMessage, now: jiff::Timestamp) -> Vec<String> {
    let at = letter.at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let since = at.map_or_else(String::new, |at| age(now.duration_since(at).as_secs()));
    vec![
        letter.id.clone(),
        letter.queue.clone(),
        letter.reason.clone(),
        since,
        letter.conversation.clone().unwrap_or_default(),
        letter.bytes.to_string(),
    ]
}

/// A time span as people say it.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

async fn replay(args: ReplayArgs) -> CliResult {
    let config = args.asked.gateway.site.load()?.config;
    let of_inbox = args.id.as_deref().is_some_and(|id| id.starts_with("inbox:"));
    let sent = if config.bus.is_broker() && !of_inbox {
        let manager = manager(&config).await?;
        let which = args.id.clone().map_or(Which::All, Which::Id);
        let sent = manager.replay(&which).await.map_err(failure)?;
        manager.close().await;
        sent
    } else {
        let request = ReplayMessages { id: args.id.clone() };
        let client = Client::new(&args.asked.gateway)?;
        let ReplayedMessages { sent } = client.post("/api/v1/bus/replay", &request).await?;
        sent
    };
    if args.asked.json {
        output::json(&json!({ "sent": sent }))?;
    } else {
        output::line(format!("{sent} sent back to where they died"))?;
    }
    match (sent, args.id) {
        (0, Some(id)) => {
            Err(Failure::Refused(format!("no given-up message has the id `{id}`: `ark bus dead` shows them")))
        }
        _ => Ok(Outcome::Done),
    }
}

async fn plan(args: PlanArgs) -> CliResult {
    let config = args.common.site.load()?.config;
    let site = match broker(&config) {
        Ok(Some(site)) => site,
        // Without a broker it shows what one would be given.
        Ok(None) => return say_plan(&args, &config, (&config.gateway.id, &TopologyConfig::default()), None),
        Err(error) => return Err(error),
    };
    if args.offline {
        return say_plan(&args, &config, (&site.gateway, &site.topology), None);
    }
    let manager = Manager::connect(&site).await.map_err(failure)?;
    let compared = manager.compare().await.map_err(failure)?;
    let at = manager.broker().to_string();
    manager.close().await;
    say_plan(&args, &config, (&site.gateway, &site.topology), Some((at, compared)))
}

fn say_plan(
    args: &PlanArgs,
    site: &Config,
    (gateway, config): (&str, &TopologyConfig),
    compared: Option<(String, Comparison)>,
) -> CliResult {
    let wrong = |error: ark_bus::topology::TopologyError| Failure::Refused(error.to_string());
    let topology = Topology::new(config).map_err(wrong)?;
    let conflicts = compared.as_ref().is_some_and(|(_, compared)| compared.conflicts());
    let outcome = if conflicts { Outcome::Finding } else { Outcome::Done };
    if args.common.json {
        let permissions = Topology::permissions(config).map_err(wrong)?;
        let (broker, compared) = compared.unzip();
        output::json(&json!({
            "topology": topology, "permissions": permissions,
            "broker": broker, "compared": compared, "conflicts": conflicts,
        }))?;
        return Ok(outcome);
    }
    output::text(&topology.plan(config, gateway).map_err(wrong)?)?;
    say_adapters(site)?;
    match compared {
        Some((broker, compared)) => say_difference(&broker, &compared)?,
        None if args.offline => {}
        None => output::line("\n[bus] url is \"embedded:\": no broker is used, and none was asked")?,
    }
    Ok(outcome)
}

/// What to type for each adapter's user: it may bring, and take what is its own, and nothing else.
fn say_adapters(site: &Config) -> Result<(), Failure> {
    let adapters = crate::channel_host::on_the_broker(site);
    if adapters.is_empty() {
        return Ok(());
    }
    let url = ark_bus::Broker::parse(site.bus.url.reveal()).map_err(failure)?;
    output::line(
        "\nadapters' users ([[channel]] kind = \"amqp\"); none of them may have a tag, least of all `impersonator`",
    )?;
    for (account, user) in adapters {
        let may = Role::Adapter(account).permissions().map_err(|error| Failure::Refused(error.to_string()))?;
        output::line(format!("  rabbitmqctl add_user '{user}'"))?;
        output::line(format!(
            "  rabbitmqctl set_permissions -p '{}' '{user}' '{}' '{}' '{}'",
            url.vhost(),
            may.configure,
            may.write,
            may.read
        ))?;
    }
    Ok(())
}

fn say_difference(broker: &str, compared: &Comparison) -> Result<(), Failure> {
    output::line(format!("\non {broker}"))?;
    match &compared.store {
        Some(store) => output::line(format!("  serves store {store}"))?,
        None => output::line("  serves no store yet: the first gateway claims it")?,
    }
    if let Some(why) = &compared.refused {
        output::line(format!("  CONFLICT  {why}"))?;
    }
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for one in &compared.objects {
        let (word, detail) = match &one.standing {
            Standing::Same => ("the same", None),
            Standing::Missing => ("missing", None),
            Standing::Unknown(why) => ("not comparable", Some(why)),
            Standing::Conflict(why) => ("in conflict", Some(why)),
        };
        *counts.entry(word).or_default() += 1;
        if let Some(why) = detail {
            let mark = if matches!(one.standing, Standing::Conflict(_)) { "CONFLICT" } else { "UNKNOWN" };
            output::line(format!("  {mark}  {} {}: {why}", one.what, one.name))?;
        }
    }
    let words: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let all_missing = compared.objects.iter().all(|one| one.standing == Standing::Missing);
    let missing: Vec<&str> = compared
        .objects
        .iter()
        .filter(|one| one.standing == Standing::Missing && !all_missing)
        .map(|one| one.name.as_str())
        .collect();
    output::line(format!("  exchanges and queues: {} (bindings cannot be asked for)", words.join(", ")))?;
    if !missing.is_empty() {
        output::line(format!("  missing, declared by the next gateway that connects: {}", missing.join(", ")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_said_in_one_unit() {
        let said: Vec<String> = [-3, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].into_iter().map(age).collect();
        assert_eq!(said, ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
    }
}
