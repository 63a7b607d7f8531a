//! `ark channel list|test|report`.

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::CliResult;
use super::channel_test::{self, ReportArgs, TestArgs};
use super::client::{Client, GatewayArgs, block_on};
use super::output::{self, Outcome};
use crate::channel_host::ChannelView;

#[derive(Debug, Subcommand)]
pub(super) enum ChannelCommand {
    /// List the site's channels and how they are
    List(ListArgs),
    /// Prove that an adapter, or a channel inside the gateway, keeps the adapter standard
    Test(Box<TestArgs>),
    /// Check the signature of a report of `test`, and say what it proves
    Report(ReportArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<ChannelView>,
}

pub(super) fn run(command: ChannelCommand) -> CliResult {
    match command {
        ChannelCommand::List(args) => block_on(list(args)),
        ChannelCommand::Test(args) => channel_test::test(*args),
        ChannelCommand::Report(args) => channel_test::report(&args),
    }
}

async fn list(args: ListArgs) -> CliResult {
    let Channels { channels } = Client::new(&args.gateway)?.get("/api/v1/channels").await?;
    let head = ["name", "kind", "state", "in", "again", "out", "failed", "hook", "why"];
    output::list(args.json, &channels, "the site's file has no [[channel]]", &head, row)?;
    Ok(Outcome::Done)
}

fn row(channel: &ChannelView) -> Vec<String> {
    vec![
        channel.name.clone(),
        channel.kind.clone(),
        channel.state.clone(),
        channel.kept.to_string(),
        channel.duplicates.to_string(),
        channel.sent.to_string(),
        channel.failed.to_string(),
        channel.hook.clone(),
        channel.why.clone().unwrap_or_default(),
    ]
}
