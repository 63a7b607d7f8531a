//! `ark sms test`.

use clap::{Args, Subcommand};

use super::client::block_on;
use super::output::{self, Failure, Outcome};
use super::{CliResult, Site};
use crate::sms::Sms;

#[derive(Debug, Subcommand)]
pub(super) enum SmsCommand {
    /// Send one short message as the site's file says, without a running gateway
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// To whom: a number that [sms] allow lets through
    number: String,
    /// The words
    text: String,
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: SmsCommand) -> CliResult {
    let SmsCommand::Test(args) = command;
    let config = args.site.load()?.config;
    let Some(own) = &config.sms else {
        return Err(Failure::environment("the site sends no short messages: add [sms] to its file".to_owned()));
    };
    let sms = Sms::new(own).map_err(|error| Failure::environment(format!("[sms]: {error}")))?;
    block_on(async move {
        match sms.send(&args.number, &args.text).await {
            Ok(_) if args.json => output::json(&serde_json::json!({ "sent": true }))?,
            Ok(_) => output::line("the provider took it; whether it arrived, its receipt says there")?,
            Err(error) => return Err(Failure::Refused(error.to_string())),
        }
        Ok(Outcome::Done)
    })
}
