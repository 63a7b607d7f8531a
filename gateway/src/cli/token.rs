//! `ark token create|list|revoke`: what programs are let in by, each for what it is to do and no more.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Outcome};
use crate::http::scope::Scope;
use crate::http::tokens::{MadeToken, NewApiToken, TokenList, TokenView};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make an API token; it is shown this once, and kept as a hash
    Create(CreateArgs),
    /// Show every API token: what it opens, until when, and when it was used last
    List(ListArgs),
    /// Take an API token back: it opens nothing from now on
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it is called: who or what uses it
    #[arg(long)]
    name: String,
    /// What it opens, once for each or with commas between: conversations:read, conversations:write, calls, channels,
    /// operations, numbers
    #[arg(long = "scope", required = true, value_delimiter = ',', value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<String>,
    /// When it ends: a time span from now (12h, 90d) or a time (2027-01-31T00:00:00Z); without it never
    #[arg(long, value_name = "WHEN", value_parser = end)]
    expires: Option<Timestamp>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Its name, or its id
    token: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

fn scope(word: &str) -> Result<String, String> {
    Scope::parse(word)
        .map(|scope| scope.as_str().to_owned())
        .ok_or_else(|| format!("the scopes are {}", Scope::words()))
}

fn end(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || "write a time span (30m, 12h, 90d) or a time (2027-01-31T00:00:00Z)".to_owned();
    let units = [('m', 60), ('h', 3_600), ('d', 86_400)];
    let parsed =
        units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.parse::<i64>().ok()?, seconds)));
    let (count, seconds) = parsed.ok_or_else(wrong)?;
    let span = count.checked_mul(seconds).filter(|span| *span > 0).ok_or_else(wrong)?;
    Timestamp::now().checked_add(SignedDuration::from_secs(span)).map_err(|_| wrong())
}

pub(super) fn run(command: TokenCommand) -> CliResult {
    match command {
        TokenCommand::Create(args) => block_on(create(args)),
        TokenCommand::List(args) => block_on(list(args)),
        TokenCommand::Revoke(args) => block_on(revoke(args)),
    }
}

async fn create(args: CreateArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let new = NewApiToken { name: args.name, scopes: args.scopes, expires_at: args.expires.map(|end| end.to_string()) };
    let made: MadeToken = client.post("/api/v1/tokens", &new).await?;
    if args.common.json {
        output::json(&made)?;
        return Ok(Outcome::Done);
    }
    let until = made.view.expires_at.as_ref().map_or_else(String::new, |end| format!(", until {end}"));
    output::line(&made.token)?;
    output::note(&format!(
        "`{}` opens {}{until}. It is shown this once; send it as `Authorization: Bearer ...`",
        made.view.name,
        made.view.scopes.join(", ")
    ));
    Ok(Outcome::Done)
}

async fn list(args: ListArgs) -> CliResult {
    let TokenList { tokens } = Client::new(&args.common.gateway)?.get("/api/v1/tokens").await?;
    let head = ["name", "id", "state", "scopes", "made", "ends", "used"];
    output::list(args.common.json, &tokens, "there is no API token: `ark token create` makes one", &head, row)?;
    Ok(Outcome::Done)
}

fn row(token: &TokenView) -> Vec<String> {
    let time = |at: &Option<String>, never: &str| at.as_deref().map_or_else(|| never.to_owned(), seconds);
    vec![
        token.name.clone(),
        token.id.clone(),
        token.state.clone(),
        token.scopes.join(" "),
        seconds(&token.made_at),
        time(&token.expires_at, "never"),
        time(&token.used_at, "never"),
    ]
}

/// A time to the second.
fn seconds(at: &str) -> String {
    let at = at.parse::<Timestamp>().ok().and_then(|at| Timestamp::from_second(at.as_second()).ok());
    at.map_or_else(String::new, |at| at.to_string())
}

async fn revoke(args: RevokeArgs) -> CliResult {
    Client::new(&args.common.gateway)?.delete(&format!("/api/v1/tokens/{}", encode(&args.token))).await?;
    if args.common.json {
        output::json(&serde_json::json!({ "revoked": args.token }))?;
    } else {
        output::line(format!("`{}` opens nothing any more", args.token))?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_time_span() {
        assert_eq!(end("2027-01-31T00:00:00Z").unwrap().to_string(), "2027-01-31T00:00:00Z");
        let left = end("90d").unwrap().duration_since(Timestamp::now()).as_hours();
        assert!((2_158..=2_160).contains(&left), "{left}");
        for bad in ["", "d", "-1d", "0h", "90", "12x", "99999999999999999d", "天"] {
            assert!(end(bad).is_err(), "{bad}");
        }
        assert!(scope("calls").is_ok() && scope("everything").is_err());
    }
}
