//! `ark store check|backup|restore|erase`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ark_conversation::PersonId;
use ark_store::{Backlog, Check, Lease, PostgresStore, Restored, StoreError, Topology};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Client, GatewayArgs, block_on};
use super::output::{self, Failure, Outcome};
use super::site_store::{self, Place, TenantArgs, failure};
use super::{CliResult, Site};
use crate::config::Config;
use crate::erasure::{self, Erasure, ErasureError, Whose};
use crate::http::erasures::ErasureRequest;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read the whole log of record once: is it whole, what waits, who holds what
    ///
    /// Works beside a gateway that runs, and without one.
    Check(CheckArgs),
    /// Copy the log of record to a new file, while the gateway runs or stands, and check the copy
    ///
    /// SQLite: a file that `ark store restore` brings back, or that serves as it is. PostgreSQL: an archive of pg_dump (custom format).
    /// Recordings and other files are not in it.
    Backup(BackupArgs),
    /// Bring a backup back as the site's log of record; no gateway may run
    Restore(RestoreArgs),
    /// Erase what people said and are reached by, of a conversation or of a person, for ever
    ///
    /// The records stay as tombstones: number, time and hash. Who did it stays in the audit trail. Files that the records hold go
    /// too. Backups made before still have it all. With SQLite a gateway that runs is asked to do it.
    Erase(EraseArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Check this backup (SQLite) instead of the site's store
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to make; one that is there is not overwritten
    file: PathBuf,
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// When a store is there: give it another name first, and keep it
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = false, args = ["conversation", "person"])]
pub(super) struct EraseArgs {
    /// All of this conversation: its id, or an unambiguous end of it among the newest 500
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// All conversations of this person and of those merged into them, and the keys by which they are known
    #[arg(long, value_name = "ID")]
    person: Option<PersonId>,
    /// Who erases, for the audit trail
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Do it; without this it is only told what would be erased
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    of: TenantArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &StoreCommand) -> CliResult {
    match command {
        StoreCommand::Check(args) => check(args),
        StoreCommand::Backup(args) => block_on(backup(args)),
        StoreCommand::Restore(args) => restore(args),
        StoreCommand::Erase(args) => block_on(erase(args)),
    }
}

fn check(args: &CheckArgs) -> CliResult {
    if let Some(file) = &args.file {
        let place = file.display().to_string();
        return match ark_store::verify(file) {
            Ok(check) => said(args, &place, &check, None),
            Err(error) => wanting(args, &place, error),
        };
    }
    let config = args.site.load()?.config;
    let store = match site_store::open_to_read(&config) {
        Err(error @ StoreError::Corrupt { .. }) => return wanting(args, "the store", error),
        store => store.map_err(failure)?,
    };
    block_on(async {
        let place = store.health().await.place;
        let found = store.check().await;
        // What waits is told also of a store that is not whole.
        let flow = async { Ok((store.backlog().await?, store.topology(), store.leases().await?)) };
        match found {
            Ok(check) => said(args, &place, &check, Some(flow.await.map_err(failure)?)),
            Err(error) => wanting(args, &place, error),
        }
    })
}

type Flow = (Backlog, Topology, Vec<Lease>);

fn said(args: &CheckArgs, place: &str, check: &Check, flow: Option<Flow>) -> CliResult {
    if args.json {
        let mut told = check_json(place, check);
        if let Some((backlog, topology, leases)) = flow {
            told["waiting"] = json!({
                "inbox": backlog.inbox, "outbox": backlog.outbox,
                "deliveries": backlog.deliveries, "given_up": backlog.dead,
            });
            told["topology"] = json!({ "version": topology.version, "shards": topology.shards });
            told["leases"] = leases
                .iter()
                .map(|lease| {
                    json!({
                        "shard": lease.shard, "gateway": lease.gateway,
                        "number": lease.number, "left_ms": lease.left_ms,
                    })
                })
                .collect();
        }
        output::json(&told)?;
        return Ok(Outcome::Done);
    }
    output::line(format!("store     {place}\nid        {}\nlayout    {}", check.store_id, check.layout))?;
    output::line(format!("whole     {}", counts(check)))?;
    if let Some((backlog, topology, leases)) = flow {
        let Backlog { inbox, outbox, deliveries, dead } = backlog;
        output::line(format!("waiting   inbox {inbox}, outbox {outbox}, deliveries {deliveries}, given up {dead}"))?;
        output::line(format!("shards    {}, topology {}", topology.shards, topology.version))?;
        output::line(format!("leases    {}", held(&leases)))?;
    }
    Ok(Outcome::Done)
}

fn wanting(args: &CheckArgs, place: &str, error: StoreError) -> CliResult {
    match error {
        StoreError::Corrupt { .. } if args.json => {
            output::json(&json!({ "place": place, "ok": false, "finding": error.to_string() }))?;
            Ok(Outcome::Finding)
        }
        error => Err(failure(error)),
    }
}

fn check_json(place: &str, check: &Check) -> Value {
    json!({
        "place": place, "ok": true, "store_id": check.store_id, "layout": check.layout,
        "conversations": check.conversations, "records": check.records,
    })
}

fn counts(check: &Check) -> String {
    format!("{} conversations, {} records, every log without a gap", check.conversations, check.records)
}

/// Who holds how many shards.
fn held(leases: &[Lease]) -> String {
    let mut gateways: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| lease.left_ms > 0) {
        if let Some(gateway) = &lease.gateway {
            let (shards, first_ms) = gateways.entry(gateway).or_insert((0, u64::MAX));
            *shards += 1;
            *first_ms = lease.left_ms.min(*first_ms);
        }
    }
    if gateways.is_empty() {
        return "nobody holds one".to_owned();
    }
    let told = gateways.iter().map(|(gateway, (shards, first_ms))| {
        format!("{gateway} holds {shards}, the first for {}.{} s more", first_ms / 1_000, first_ms % 1_000 / 100)
    });
    told.collect::<Vec<_>>().join("; ")
}

async fn backup(args: &BackupArgs) -> CliResult {
    let config = args.site.load()?.config;
    let store = site_store::open_to_read(&config).map_err(failure)?;
    let copy = store.backup(&args.file).await.map_err(failure)?;
    let place = store.health().await.place;
    if args.json {
        let mut told = check_json(&place, &copy.check);
        told["file"] = json!(copy.path);
        told["bytes"] = json!(copy.bytes);
        output::json(&told)?;
    } else {
        let (file, bytes, check) = (copy.path.display(), copy.bytes, &copy.check);
        output::line(format!("{file}: {bytes} bytes, checked: {}", counts(check)))?;
        output::line(format!("of {place}, store {}", check.store_id))?;
        output::line(format!(
            "recordings and other files lie in {} and are not in it",
            config.files.folder().display()
        ))?;
    }
    Ok(Outcome::Done)
}

/// The end of the name of what was there before.
fn aside() -> String {
    format!(".before-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
}

fn restore(args: &RestoreArgs) -> CliResult {
    let config = args.site.load()?.config;
    let aside = args.replace.then(aside);
    let (place, restored) = bring_back(&args.file, &config, aside.as_deref())?;
    let Restored { check, moved } = restored;
    if args.json {
        let mut told = check_json(&place, &check);
        told["moved"] = json!(moved);
        output::json(&told)?;
        return Ok(Outcome::Done);
    }
    output::line(format!("{place}: brought back and checked: {}", counts(&check)))?;
    output::line(format!("store {}", check.store_id))?;
    if let Some(moved) = moved {
        output::line(format!("what was there is {moved} now; remove it when it is not needed any more"))?;
    }
    Ok(Outcome::Done)
}

fn bring_back(file: &Path, config: &Config, aside: Option<&str>) -> Result<(String, Restored), Failure> {
    let (place, restored) = match Place::of(config).map_err(failure)? {
        Place::File(path) => (path.display().to_string(), ark_store::restore(file, &path, aside)),
        Place::Database(options) => {
            ("the database of [store] url".to_owned(), PostgresStore::restore(file, &options, aside))
        }
    };
    match restored {
        Ok(restored) => Ok((place, restored)),
        Err(error @ StoreError::Conflict(_)) if aside.is_none() => Err(Failure::Refused(format!(
            "{error}\n  help: --replace gives it another name first; or restore to another place with another [store] url"
        ))),
        Err(error) => Err(failure(error)),
    }
}

async fn erase(args: &EraseArgs) -> CliResult {
    let config = args.gateway.site.load()?.config;
    let store = site_store::open_to_read(&config).map_err(failure)?;
    let whose = match (&args.conversation, args.person) {
        (Some(id), _) => Whose::Conversation(site_store::resolve(&*store, &args.of.tenant, id).await?),
        (None, Some(person)) => Whose::Person(person),
        (None, None) => return Err(Failure::environment("name --conversation or --person")),
    };
    let found = erasure::look(&*store, &args.of.tenant, whose).await.map_err(not_erased)?;
    drop(store);
    if !args.yes {
        let told =
            format!("{} conversations with {} records, {} keys", found.conversations.len(), found.records, found.keys);
        return Err(Failure::Refused(format!("nothing was erased; --yes would erase of {told} what is a person's")));
    }
    let done = match site_store::open_to_write(&config) {
        Ok(store) => {
            let files = config.files.folder();
            erasure::erase(&*store, &args.of.tenant, files, whose, &args.by).await.map_err(not_erased)?
        }
        // The gateway has it, and knows what it remembers of these conversations.
        Err(StoreError::Locked { .. }) => ask_gateway(args, whose).await?,
        Err(error) => return Err(failure(error)),
    };
    if args.json {
        output::json(&done)?;
    } else {
        let Erasure { conversations, records, keys, files, .. } = &done;
        output::line(format!(
            "erased: {records} records of {conversations} conversations, {files} files, {keys} keys"
        ))?;
        for why in &done.files_left {
            output::line(format!("LEFT  {why}"))?;
        }
    }
    Ok(if done.files_left.is_empty() { Outcome::Done } else { Outcome::Finding })
}

async fn ask_gateway(args: &EraseArgs, whose: Whose) -> Result<Erasure, Failure> {
    let (conversation, person) = match whose {
        Whose::Conversation(id) => (Some(id.to_string()), None),
        Whose::Person(person) => (None, Some(person.to_string())),
    };
    let tenant = Some(args.of.tenant.to_string());
    let request = ErasureRequest { conversation, person, by: args.by.clone(), tenant };
    Client::new(&args.gateway)?.post("/api/v1/erasures", &request).await
}

fn not_erased(error: ErasureError) -> Failure {
    match error {
        ErasureError::Store(error) => failure(error),
        other => Failure::Refused(other.to_string()),
    }
}
