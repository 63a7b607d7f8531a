//! `ark bench floor|media|channels|sip`: what this machine carries, with the yardstick beside it.

use std::fmt::Display;

use clap::Subcommand;

use super::CliResult;
use super::output::{self, Failure, Outcome};
use crate::bench::{BenchError, channels, floor, media, sip, speech};

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// The yardstick: what the system's bare loops take for a packet on this core
    Floor(floor::Options),
    /// Prompt calls and bridged calls on one core: CPU and lateness of every packet
    Media(media::Options),
    /// Customers who write over four channels: messages a second, acknowledged once they are durable, and a picture
    Channels(channels::Options),
    /// Calls over SIP: CPU and memory for a call, setup times, and what is left at overload
    Sip(sip::Options),
    /// What is said, in words: how soon, at what cost, and what media threads notice of it
    Speech(speech::Options),
}

pub(super) fn run(command: &BenchCommand) -> CliResult {
    match command {
        BenchCommand::Floor(options) => said(floor::run(options)),
        BenchCommand::Media(options) => said(media::run(options)),
        BenchCommand::Channels(options) => said(channels::run(options)),
        BenchCommand::Sip(options) => said(sip::run(options)),
        BenchCommand::Speech(options) => said(speech::run(options)),
    }
}

/// Prints a report; what did not behave is a finding, what could not be begun is the machine's.
fn said(report: Result<impl Display, BenchError>) -> CliResult {
    match report {
        Ok(report) => {
            output::line(report.to_string().trim_end())?;
            Ok(Outcome::Done)
        }
        Err(error @ BenchError::Failed(_)) => Err(Failure::Refused(error.to_string())),
        Err(error) => Err(Failure::environment(error.to_string())),
    }
}
