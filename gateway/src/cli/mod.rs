//! The command line: `ark COMMAND`.
//!
//! Exit codes, the same everywhere: 0 done; 1 it was looked at and found wanting (a broken plan, a refused message, an unhealthy check, a
//! gateway that said no); 2 it could not be looked at (usage, a file that cannot be read, a gateway that cannot be reached).

mod bench;
mod bus;
mod call;
mod channel;
mod channel_test;
pub mod client;
mod config;
mod conversation;
mod demo;
mod desk;
mod dialplan;
mod doctor;
mod export;
mod model;
mod output;
mod person;
mod replay;
mod serve;
mod sip;
mod site_store;
mod sms;
mod store;
mod token;
mod transcribe;
mod user;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, Loaded};
pub use output::{Failure, Outcome};

/// What a command gives back.
pub type CliResult = Result<Outcome, Failure>;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ark",
    version,
    about = "Ark, an open contact-centre gateway: SIP and RTP in, dialplans as data, every call a conversation.",
    after_help = "Exit codes: 0 done; 1 found wanting or refused; 2 usage, or something is missing or out of reach.\n\
                  Every command that a program may read takes --json. Start with `ark demo`."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeCommand),
    /// Start everything in one process and let a scripted caller call: the quickest way to see what Ark is
    Demo(demo::DemoCommand),
    /// Check this machine and this site before the first call
    Doctor(doctor::DoctorCommand),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at SIP messages
    #[command(subcommand)]
    Sip(sip::SipCommand),
    /// Prove, test, try, draw and publish dialplans
    #[command(subcommand)]
    Dialplan(dialplan::DialplanCommand),
    /// Measure what this machine carries
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// See, begin and end calls on the running gateway
    #[command(subcommand)]
    Call(call::CallCommand),
    /// See the site's channels; prove an adapter
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// See the site's webhooks, try them, and send again what they gave up
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Read the log of the running gateway; export and replay conversations
    #[command(subcommand)]
    Conversation(conversation::ConversationCommand),
    /// See who a customer is, and that two of them are one
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// See what stands and waits on the broker, and send given-up messages again
    #[command(subcommand)]
    Bus(bus::BusCommand),
    /// Make, list and revoke what programs are let in by
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Accounts: who may sign in, and what they may do
    #[command(subcommand)]
    User(user::UserCommand),
    /// Try how short messages go out
    #[command(subcommand)]
    Sms(sms::SmsCommand),
    /// Write down what is said in a sound file or in a call's recording
    Transcribe(transcribe::TranscribeCommand),
    /// Models of speech: what there is, fetching and checking them
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Check, copy and bring back the log of record; erase
    #[command(subcommand)]
    Store(store::StoreCommand),
}

/// Which site.
#[derive(Clone, Debug, Default, Args)]
pub struct Site {
    /// The site's file; without it ark.toml when it exists, else the built-in site
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Site {
    /// Reads and checks the site's file.
    fn load(&self) -> Result<Loaded, Failure> {
        Config::load(self.config.as_deref()).map_err(|error| Failure::environment(error.to_string()))
    }
}

/// Runs the command that was given and says how it went.
pub fn main() -> ExitCode {
    output::report(dispatch(Cli::parse()))
}

fn dispatch(cli: Cli) -> CliResult {
    match cli.command {
        Command::Serve(command) => serve::run(&command),
        Command::Demo(command) => demo::run(&command),
        Command::Doctor(command) => doctor::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Sip(command) => sip::run(&command),
        Command::Dialplan(command) => dialplan::run(command),
        Command::Bench(command) => bench::run(&command),
        Command::Call(command) => call::run(command),
        Command::Channel(command) => channel::run(command),
        Command::Webhook(command) => webhook::run(command),
        Command::Conversation(command) => conversation::run(command),
        Command::Person(command) => person::run(command),
        Command::Bus(command) => bus::run(command),
        Command::Token(command) => token::run(command),
        Command::User(command) => user::run(command),
        Command::Sms(command) => sms::run(command),
        Command::Transcribe(command) => transcribe::run(&command),
        Command::Model(command) => model::run(command),
        Command::Store(command) => store::run(&command),
    }
}

/// The `--help` of every command, for the golden file.
pub fn help_of_everything() -> String {
    fn walk(command: &mut clap::Command, path: &str, out: &mut String) {
        use std::fmt::Write as _;
        let help = command.clone().term_width(100).render_long_help().to_string();
        let _ = write!(out, "==== {path} --help\n{help}\n");
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            if let Some(sub) = command.find_subcommand_mut(name) {
                walk(sub, &format!("{path} {name}"), out);
            }
        }
    }
    let mut out = String::new();
    let mut command = Cli::command();
    command.build();
    walk(&mut command, "ark", &mut out);
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_is_the_one_that_was_reviewed() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
        let now = super::help_of_everything();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &now).expect("the golden file can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == now,
            "the command line has changed: UPDATE=1 cargo test -p ark help, and look at the difference"
        );
    }
}
