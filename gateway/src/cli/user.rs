//! `ark user add|list|set|password|disable|enable|remove`: who may sign in.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};

use ark_store::Role;
use clap::{Args, Subcommand};

use super::CliResult;
use super::client::{Client, GatewayArgs, block_on, encode};
use super::output::{self, Failure, Outcome};
use crate::http::accounts::{AccountList, AccountView, CapacityView, NewAccountBody, PasswordBody, ProfileBody};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account; its password is made up and shown once, or read from standard input
    Add(AddArgs),
    /// Show every account: roles, groups, and when they signed in last
    List(Common),
    /// Change an account: what is not named stays
    Set(SetArgs),
    /// Set an account's password, made up or from standard input: all its sessions end
    Password(PasswordArgs),
    /// Shut an account out: its sessions end at once
    Disable(NameArgs),
    /// Let an account in again
    Enable(NameArgs),
    /// Remove an account; what logs say of it stays
    Remove(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The account's name
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// The account's name
    name: String,
    /// Read the password from standard input instead of making one up
    #[arg(long)]
    stdin: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The account's name: a-z, 0-9 and . _ - @ +
    name: String,
    /// Read the password from standard input instead of making one up
    #[arg(long, conflicts_with = "no_password")]
    stdin: bool,
    /// No password: they sign in at the site's identity provider only
    #[arg(long)]
    no_password: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The account's name
    name: String,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct ProfileArgs {
    /// What people call them
    #[arg(long)]
    display: Option<String>,
    /// What they may do, with commas between: agent, supervisor, operator, integrator
    #[arg(long, value_delimiter = ',', value_name = "ROLE", value_parser = role)]
    roles: Option<Vec<String>>,
    /// The skill groups (queues) that they belong to, with commas between
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    groups: Option<Vec<String>>,
    /// Skills with levels from 1 to 5: billing=4,refunds=2
    #[arg(long, value_delimiter = ',', value_name = "SKILL=LEVEL", value_parser = level)]
    skills: Option<Vec<(String, u8)>>,
    /// Languages with levels from 1 to 5: zh=5,en=3
    #[arg(long, value_delimiter = ',', value_name = "LANGUAGE=LEVEL", value_parser = level)]
    languages: Option<Vec<(String, u8)>>,
    /// How much at once, CALLS/CHATS/CHATS BESIDE A CALL: 1/4/0
    #[arg(long, value_name = "N/N/N", value_parser = capacity)]
    capacity: Option<CapacityView>,
    /// The SIP address of their telephone, as sip:601@10.0.0.9; empty: none, they speak in the browser
    #[arg(long)]
    phone: Option<String>,
}

fn role(word: &str) -> Result<String, String> {
    let words = Role::ALL.map(Role::as_str).join(", ");
    Role::parse(word).map(|role| role.as_str().to_owned()).ok_or_else(|| format!("the roles are {words}"))
}

fn level(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("`{text}` is not as billing=4, with a level from 1 to 5");
    let (name, level) = text.split_once('=').ok_or_else(wrong)?;
    let level = level.parse().ok().filter(|level| (1..=5).contains(level)).ok_or_else(wrong)?;
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), level)) }
}

fn capacity(text: &str) -> Result<CapacityView, String> {
    let numbers: Vec<u32> = text.split('/').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [calls, chats, chats_beside_call] if text.matches('/').count() == 2 => {
            Ok(CapacityView { calls, chats, chats_beside_call })
        }
        _ => Err(format!("`{text}` is not as 1/4/0: calls, chats, chats beside a call")),
    }
}

impl ProfileArgs {
    fn body(self) -> ProfileBody {
        let levels = |levels: Option<Vec<(String, u8)>>| levels.map(|all| all.into_iter().collect::<BTreeMap<_, _>>());
        let named = |groups: Vec<String>| groups.into_iter().filter(|group| !group.is_empty()).collect();
        ProfileBody {
            display: self.display,
            roles: self.roles,
            groups: self.groups.map(named),
            skills: levels(self.skills),
            languages: levels(self.languages),
            capacity: self.capacity,
            phone: self.phone,
            disabled: None,
        }
    }
}

pub(super) fn run(command: UserCommand) -> CliResult {
    match command {
        UserCommand::Add(args) => block_on(add(args)),
        UserCommand::List(args) => block_on(list(args)),
        UserCommand::Set(args) => block_on(change(args.common, args.name, args.profile.body())),
        UserCommand::Password(args) => block_on(password(args)),
        UserCommand::Disable(args) => block_on(shut(args, true)),
        UserCommand::Enable(args) => block_on(shut(args, false)),
        UserCommand::Remove(args) => block_on(remove(args)),
    }
}

/// A password, and whether it was made up here.
fn new_password(stdin: bool) -> Result<(String, bool), Failure> {
    if !stdin {
        // 32 letters that people do not confuse, 20 of them: 100 bits.
        const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567892";
        let mut bytes = [0_u8; 20];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::environment(format!("the system gave no random bytes: {error}")))?;
        let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte % 32)])).collect();
        let parts: Vec<String> = letters.chunks(5).map(|part| part.iter().collect()).collect();
        return Ok((parts.join("-"), true));
    }
    if std::io::stdin().is_terminal() {
        output::note("the password, then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    let read = std::io::stdin().take(4_096).read_to_string(&mut text);
    read.map_err(|error| Failure::environment(format!("standard input cannot be read: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok((text, false))
}

async fn add(args: AddArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let password = if args.no_password { None } else { Some(new_password(args.stdin)?) };
    let new = NewAccountBody {
        name: args.name,
        password: password.as_ref().map(|(password, _)| password.clone()),
        profile: args.profile.body(),
    };
    let made: AccountView = client.post("/api/v1/accounts", &new).await?;
    let shown = password.filter(|(_, made_up)| *made_up).map(|(password, _)| password);
    if args.common.json {
        let mut json = serde_json::to_value(&made).unwrap_or_default();
        if let Some(password) = shown {
            json["password"] = password.into();
        }
        output::json(&json)?;
        return Ok(Outcome::Done);
    }
    if let Some(password) = shown {
        output::line(&password)?;
        output::note(&format!("the password of `{}` ({}), shown this once", made.name, made.roles.join(", ")));
    } else {
        output::line(format!("`{}` may sign in ({})", made.name, made.roles.join(", ")))?;
    }
    Ok(Outcome::Done)
}

async fn list(args: Common) -> CliResult {
    let AccountList { accounts } = Client::new(&args.gateway)?.get("/api/v1/accounts").await?;
    let head = ["name", "display", "roles", "groups", "phone", "state", "signed in"];
    output::list(args.json, &accounts, "there is no account: `ark user add` makes one", &head, row)?;
    Ok(Outcome::Done)
}

fn row(account: &AccountView) -> Vec<String> {
    let signed_in = account.signed_in.as_deref().map_or("never", |at| at.split('.').next().unwrap_or(at));
    vec![
        account.name.clone(),
        account.display.clone(),
        account.roles.join(" "),
        account.groups.join(" "),
        account.phone.clone().unwrap_or_default(),
        if account.disabled { "disabled" } else { "good" }.to_owned(),
        signed_in.to_owned(),
    ]
}

fn path(name: &str) -> String {
    format!("/api/v1/accounts/{}", encode(name))
}

async fn change(common: Common, name: String, body: ProfileBody) -> CliResult {
    let changed: AccountView = Client::new(&common.gateway)?.patch(&path(&name), &body).await?;
    if common.json {
        output::json(&changed)?;
    } else {
        let state = if changed.disabled { "is shut out" } else { "may sign in" };
        output::line(format!("`{name}` {state} ({})", changed.roles.join(", ")))?;
    }
    Ok(Outcome::Done)
}

async fn shut(args: NameArgs, disabled: bool) -> CliResult {
    change(args.common, args.name, ProfileBody { disabled: Some(disabled), ..ProfileBody::default() }).await
}

async fn password(args: PasswordArgs) -> CliResult {
    let client = Client::new(&args.common.gateway)?;
    let (password, made_up) = new_password(args.stdin)?;
    let body = PasswordBody { password: password.clone() };
    let _: serde_json::Value = client.post(&format!("{}/password", path(&args.name)), &body).await?;
    match (args.common.json, made_up) {
        (true, true) => output::json(&serde_json::json!({ "name": args.name, "password": password }))?,
        (true, false) => output::json(&serde_json::json!({ "name": args.name }))?,
        (false, true) => {
            output::line(&password)?;
            output::note(&format!("the new password of `{}`, shown this once; all its sessions have ended", args.name));
        }
        (false, false) => output::line(format!("`{}` has a new password; all its sessions have ended", args.name))?,
    }
    Ok(Outcome::Done)
}

async fn remove(args: NameArgs) -> CliResult {
    Client::new(&args.common.gateway)?.delete(&path(&args.name)).await?;
    if args.common.json {
        output::json(&serde_json::json!({ "removed": args.name }))?;
    } else {
        output::line(format!("there is no account `{}` any more", args.name))?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(level("billing=4"), Ok(("billing".to_owned(), 4)));
        for bad in ["billing", "=4", "billing=6", "billing=x"] {
            assert!(level(bad).is_err(), "{bad}");
        }
        assert!(capacity("1/4/0").is_ok_and(|capacity| capacity.chats == 4));
        for bad in ["1/4", "1/4/0/2", "a/b/c", ""] {
            assert!(capacity(bad).is_err(), "{bad}");
        }
        assert!(role("agent").is_ok() && role("king").is_err());
        let (one, made_up) = new_password(false).unwrap();
        assert!(made_up && one.len() == 23 && one != new_password(false).unwrap().0, "{one}");
    }
}
