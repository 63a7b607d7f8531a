//! `ark config check|print`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, Failure, Outcome};
use super::{CliResult, Site};
use crate::config::{Config, ConfigError, Loaded, reference};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the site's file: every mistake with line, column and advice
    Check(CheckArgs),
    /// Print the site as Ark understands it, defaults filled in
    Print(PrintArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The file; without it ark.toml when it exists, else the built-in site
    file: Option<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PrintArgs {
    #[command(flatten)]
    site: Site,
    /// Print as JSON instead of TOML
    #[arg(long, conflicts_with = "docs")]
    json: bool,
    /// Print the manual of every key instead (Markdown)
    #[arg(long)]
    docs: bool,
}

pub(super) fn run(command: &ConfigCommand) -> CliResult {
    match command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Print(args) => print(args),
    }
}

fn check(args: &CheckArgs) -> CliResult {
    let file = args.file.as_deref().or(args.site.config.as_deref());
    match Config::load(file) {
        Ok(loaded) => {
            let name = name_of(&loaded);
            if args.json {
                output::json(&json!({ "file": name, "ok": true, "findings": loaded.warnings }))?;
            } else {
                for warning in &loaded.warnings {
                    output::line(ConfigError::only(&name, warning.clone()))?;
                }
                output::line(format!("{name}: well{}", warnings_in_words(loaded.warnings.len())))?;
            }
            Ok(Outcome::Done)
        }
        Err(error) if error.is_unreadable() => Err(Failure::environment(error.to_string())),
        Err(error) if args.json => {
            output::json(&json!({ "file": error.file, "ok": false, "findings": error.findings }))?;
            Ok(Outcome::Finding)
        }
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

fn name_of(loaded: &Loaded) -> String {
    loaded.file.as_ref().map_or_else(|| "built-in site".to_owned(), |file| file.display().to_string())
}

fn warnings_in_words(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        count => format!(", with {count} warnings"),
    }
}

fn print(args: &PrintArgs) -> CliResult {
    if args.docs {
        output::text(&reference())?;
        return Ok(Outcome::Done);
    }
    let loaded = args.site.load()?;
    if args.json {
        output::json(&loaded.config)?;
    } else {
        let rendered = toml::to_string(&loaded.config)
            .map_err(|error| Failure::environment(format!("the configuration cannot be written as TOML: {error}")))?;
        output::text(&rendered)?;
    }
    Ok(Outcome::Done)
}
