//! `ark conversation export`: the log as JSON lines, a record with its CloudEvent each.
//!
//! It reads the site's store itself, so that it needs no gateway that runs, and does not disturb one that does.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ark_conversation::{ConversationId, PersonId, Record, Redaction, Tenant};
use ark_store::{ListFilter, Store, limits};
use clap::Args;
use jiff::Timestamp;

use super::output::{self, Failure, Outcome};
use super::site_store::{self, TenantArgs, failure};
use super::{CliResult, Site};
use crate::pages::Pages;

/// Write conversations as JSON lines: a record with its CloudEvent each
///
/// It reads the site's store itself, whether a gateway runs or not. Each conversation's records stand together, in order, whole:
/// `ark conversation replay FILE` folds them again. They hold what people said and are reached by; --redact takes that out.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "all"]))]
pub(super) struct ExportArgs {
    /// The conversation's id, or an unambiguous end of it among the newest 500
    id: Option<String>,
    /// Every conversation, and the system's own log
    #[arg(long)]
    all: bool,
    /// With --all: only conversations that began at or after this time, such as 2026-01-31T00:00:00+08:00
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    since: Option<Timestamp>,
    /// With --all: only conversations that began before this time
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    until: Option<Timestamp>,
    /// With --all: only conversations of this person, and of those merged into them
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    person: Option<PersonId>,
    /// Without what people said, are called and are reached by; names of threads and calls become others, the same within one export
    #[arg(long)]
    redact: bool,
    /// The file to write (nobody else may read it); one that is there is not overwritten. Without it: standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    of: TenantArgs,
    #[command(flatten)]
    site: Site,
}

/// What was written.
#[derive(Default)]
struct Written {
    conversations: u64,
    records: u64,
}

pub(super) async fn run(args: ExportArgs) -> CliResult {
    let config = args.site.load()?.config;
    let store = site_store::open_to_read(&config).map_err(failure)?;
    let Some(out) = &args.out else {
        let mut out = BufWriter::new(std::io::stdout());
        write(&*store, &args, &mut out, &|error| Failure::from(error)).await?;
        return Ok(Outcome::Done);
    };
    let Written { conversations, records } = write_file(&*store, &args, out).await?;
    output::line(format!("{}: {conversations} conversations, {records} records", out.display()))?;
    Ok(Outcome::Done)
}

fn part(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    out.with_file_name(name)
}

/// Writes a file that nobody else may read; it has its name when it is whole.
async fn write_file(store: &dyn Store, args: &ExportArgs, out: &Path) -> Result<Written, Failure> {
    if out.exists() {
        return Err(Failure::Refused(format!("{}: there is a file already; name another", out.display())));
    }
    let said = |error: std::io::Error| Failure::environment(format!("{}: cannot be written: {error}", out.display()));
    let half = part(out);
    // Never one that is there: it may be another's who can read it, or of an export that is under way.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let why = "another export writes here, or one was cut short; remove it, or name another file";
            return Failure::Refused(format!("{}: {why}", half.display()));
        }
        said(error)
    })?;
    let written = write_whole(store, args, file, &said).await;
    let done = written.and_then(|written| std::fs::rename(&half, out).map(|()| written).map_err(said));
    if done.is_err() {
        let _ = std::fs::remove_file(&half);
    }
    done
}

async fn write_whole(store: &dyn Store, args: &ExportArgs, file: File, said: Said<'_>) -> Result<Written, Failure> {
    let mut writer = BufWriter::new(file);
    let written = write(store, args, &mut writer, said).await?;
    let file = writer.into_inner().map_err(|error| said(error.into_error()))?;
    file.sync_all().map_err(said)?;
    Ok(written)
}

type Said<'a> = &'a (dyn Fn(std::io::Error) -> Failure + Sync);

async fn write(
    store: &dyn Store,
    args: &ExportArgs,
    out: &mut (dyn Write + Send),
    said: Said<'_>,
) -> Result<Written, Failure> {
    let redaction = args.redact.then(|| Redaction::new(rand::random()));
    let mut export = Export { store, tenant: &args.of.tenant, redaction, out, said, written: Written::default() };
    if let Some(id) = &args.id {
        let id = site_store::resolve(store, &args.of.tenant, id).await?;
        if export.conversation(id).await? == 0 {
            return Err(Failure::Refused(format!("there is no conversation {id}")));
        }
    } else {
        export.all(args).await?;
    }
    export.out.flush().map_err(said)?;
    Ok(export.written)
}

struct Export<'a> {
    store: &'a dyn Store,
    tenant: &'a Tenant,
    redaction: Option<Redaction>,
    out: &'a mut (dyn Write + Send),
    said: Said<'a>,
    written: Written,
}

impl Export<'_> {
    async fn all(&mut self, args: &ExportArgs) -> Result<(), Failure> {
        let filter = ListFilter { since: args.since, until: args.until, person: args.person, ..ListFilter::default() };
        let mut pages = Pages::with_system(self.store, self.tenant, filter);
        while let Some(page) = pages.next().await.map_err(failure)? {
            for state in &page {
                self.conversation(state.conversation).await?;
            }
        }
        Ok(())
    }

    /// Writes one conversation's records; answers how many.
    async fn conversation(&mut self, id: ConversationId) -> Result<u64, Failure> {
        let mut last = 0;
        loop {
            let page = self.store.read(self.tenant, id, last, limits::READ_RECORDS_MAX).await;
            let page = page.map_err(failure)?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if record.seq != last + 1 {
                    return Err(Failure::Refused(format!(
                        "conversation {id} has no record {}: `ark store check` says more; restore a backup",
                        last + 1
                    )));
                }
                last = record.seq;
                self.line(record)?;
            }
        }
        self.written.conversations += u64::from(last > 0);
        self.written.records += last;
        Ok(last)
    }

    fn line(&mut self, record: Record) -> Result<(), Failure> {
        let record = match &self.redaction {
            Some(redaction) => redaction.record(record),
            None => record,
        };
        let line = serde_json::to_string(&record).map_err(|error| {
            Failure::environment(format!("record {} cannot be written as JSON: {error}", record.seq))
        })?;
        writeln!(self.out, "{line}").map_err(self.said)
    }
}
