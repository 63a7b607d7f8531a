//! Copies of a store in PostgreSQL, made by the database's own programs: `pg_dump` and `pg_restore`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::link::{Link, PostgresOptions, Result, Road};
use super::{PostgresStore, fail::Fault};
use crate::check::{Backup, Check, Restored, remove, settle, suffixed};
use crate::error::StoreError;
use crate::limits::{PG_BACKOFF, PG_CONNECT_WAIT, PG_LEAVE_WAIT, PG_PROGRAM_WORDS_MAX};

type Said<T> = std::result::Result<T, StoreError>;

/// Where Debian and its kind keep each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The newest of PostgreSQL's programs of this name: an older one refuses a newer server.
fn installed(program: &str) -> Said<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file()).ok_or_else(|| {
        StoreError::Refused(format!(
            "{program} is not installed here, and PostgreSQL makes its copies with it; install PostgreSQL's client \
             programs (Debian: postgresql-client), no older than the server"
        ))
    })
}

impl Road {
    /// The environment by which PostgreSQL's programs reach the same database: a password in it is not seen by other
    /// users, as it would be on their command line.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let addresses: Vec<String> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
        let ports: Vec<String> = config.get_ports().iter().map(ToString::to_string).collect();
        let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let ssl = match (config.get_ssl_mode(), &self.ca_file) {
            (SslMode::Disable, _) => "disable",
            (SslMode::Prefer, _) => "prefer",
            (_, Some(_)) => "verify-full",
            (_, None) => "require",
        };
        let primary = config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        [
            ("PGHOST", Some(hosts.join(","))),
            ("PGHOSTADDR", Some(addresses.join(",")).filter(|addresses| !addresses.is_empty())),
            ("PGPORT", Some(ports.join(",")).filter(|ports| !ports.is_empty())),
            ("PGUSER", config.get_user().map(str::to_owned)),
            ("PGPASSWORD", password),
            ("PGDATABASE", config.get_dbname().or(config.get_user()).map(str::to_owned)),
            ("PGSSLMODE", Some(ssl.to_owned())),
            ("PGSSLROOTCERT", self.ca_file.as_ref().map(|file| file.display().to_string())),
            ("PGTARGETSESSIONATTRS", primary.then(|| "read-write".to_owned())),
            ("PGAPPNAME", Some(self.application())),
            ("PGCONNECT_TIMEOUT", Some(PG_CONNECT_WAIT.as_secs().to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// One of PostgreSQL's programs, about to run.
    fn program(&self, program: &str, args: &[&std::ffi::OsStr]) -> Said<Command> {
        let mut command = Command::new(installed(program)?);
        // What stands in our own environment may name another database than the store's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.args(args).envs(self.environment()).env("LC_ALL", "C").stdin(Stdio::null());
        Ok(command)
    }

    fn failed(&self, program: &str, why: impl std::fmt::Display) -> StoreError {
        StoreError::Denied { place: self.place.clone(), detail: format!("{program}{why}") }
    }

    fn ended(&self, program: &str, status: ExitStatus, stderr: &[u8]) -> Said<()> {
        if status.success() {
            return Ok(());
        }
        let words: String = String::from_utf8_lossy(stderr).trim().chars().take(PG_PROGRAM_WORDS_MAX).collect();
        Err(self.failed(program, format!(" said: {words}")))
    }

    /// Runs one of PostgreSQL's programs to its end; what it printed.
    fn run(&self, program: &str, args: &[&std::ffi::OsStr]) -> Said<String> {
        let done = self.program(program, args)?.output();
        let done = done.map_err(|error| self.failed(program, format!(": {error}")))?;
        self.ended(program, done.status, &done.stderr)?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Runs one of PostgreSQL's programs to its end and gives each line that it prints, as it comes.
    fn run_through(
        &self,
        program: &str,
        args: &[&std::ffi::OsStr],
        mut line: impl FnMut(&[u8]) -> Said<()>,
    ) -> Said<()> {
        let said = |error: std::io::Error| self.failed(program, format!(": {error}"));
        let mut command = self.program(program, args)?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(said)?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both were made pipes");
        };
        // What it complains of is read beside: a full pipe would stop it.
        let words = std::thread::spawn(move || {
            let mut words = Vec::new();
            let _ = stderr.read_to_end(&mut words);
            words
        });
        let (mut reader, mut bytes) = (BufReader::new(stdout), Vec::new());
        let read = loop {
            bytes.clear();
            match reader.read_until(b'\n', &mut bytes) {
                Ok(0) => break Ok(()),
                Ok(_) => {
                    if let Err(error) = line(bytes.strip_suffix(b"\n").unwrap_or(&bytes)) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(said(error)),
            }
        };
        if read.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(said)?;
        let words = words.join().unwrap_or_default();
        read.and_then(|()| self.ended(program, status, &words))
    }
}

/// The laws of a store, kept by the rows of a copy as they go by in COPY's text format.
#[derive(Default)]
struct Laws {
    /// The table whose rows go by, by its name without the schema.
    table: Option<String>,
    /// Of each log its count of records, and the lowest and highest number.
    logs: HashMap<Box<[u8]>, (u64, u64, u64)>,
    conversations: HashSet<Box<[u8]>>,
    store_id: Option<String>,
    layout: Option<i64>,
    records: u64,
}

impl Laws {
    /// The next line of the copy; what is wrong with it.
    fn line(&mut self, line: &[u8]) -> std::result::Result<(), String> {
        let Some(table) = &self.table else {
            if let Some(named) = line.strip_prefix(b"COPY ") {
                let named = named.split(|byte| *byte == b' ').next().unwrap_or_default();
                let table = named.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
                self.table = Some(String::from_utf8_lossy(table).into_owned());
            }
            return Ok(());
        };
        if line == b"\\." {
            self.table = None;
            return Ok(());
        }
        // Columns stand in the order in which the schema made them; a tab within a value is escaped.
        let mut columns = line.split(|byte| *byte == b'\t');
        let mut next = || columns.next().unwrap_or_default();
        match table.as_str() {
            "log" => {
                let key = [next(), b"\t", next()].concat();
                let seq = std::str::from_utf8(next()).ok().and_then(|seq| seq.parse().ok());
                let seq: u64 = seq.ok_or("a record without a number")?;
                let log = self.logs.entry(key.into()).or_insert((0, u64::MAX, 0));
                *log = (log.0 + 1, log.1.min(seq), log.2.max(seq));
                self.records += 1;
            }
            "conversation" => drop(self.conversations.insert([next(), b"\t", next()].concat().into())),
            "meta" => {
                let (key, value) = (next(), String::from_utf8_lossy(next()).into_owned());
                match key {
                    b"store_id" => self.store_id = Some(value),
                    b"layout" => self.layout = value.parse().ok(),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// At the end: whether they were kept.
    fn end(self) -> std::result::Result<Check, String> {
        if self.table.is_some() {
            return Err("it ends in the middle of a table".to_owned());
        }
        for (key, (count, first, last)) in &self.logs {
            if *first != 1 || count != last {
                let key = String::from_utf8_lossy(key);
                return Err(format!("the log of {key} has {count} records from number {first} to {last}"));
            }
            if !self.conversations.contains(key) {
                return Err(format!("the log of {} has no conversation", String::from_utf8_lossy(key)));
            }
        }
        let conversations = self.conversations.len() as u64;
        if conversations != self.logs.len() as u64 {
            return Err(format!("{} logs but {conversations} conversations", self.logs.len()));
        }
        let store_id = self.store_id.ok_or("it does not say which store it is of")?;
        let layout = self.layout.ok_or("it does not say which layout it has")?;
        Ok(Check { store_id, layout, conversations, records: self.records })
    }
}

/// Reads a copy to its end and checks that it keeps the laws.
fn verify(road: &Road, file: &Path) -> Said<Check> {
    let corrupt = |detail: String| StoreError::Corrupt { path: file.to_owned(), detail };
    let mut laws = Laws::default();
    let args = ["--file=-".as_ref(), file.as_os_str()];
    road.run_through("pg_restore", &args, |line| laws.line(line).map_err(corrupt))?;
    laws.end().map_err(corrupt)
}

/// Copies the schema to a new file, whole at one moment, while gateways use it, and checks the copy.
pub(super) fn backup(road: &Road, to: &Path) -> Said<Backup> {
    let file_said = |error: std::io::Error| StoreError::Io { path: to.to_owned(), detail: error.to_string() };
    if to.exists() {
        return Err(StoreError::Conflict(format!("{}: there is a file already; name another", to.display())));
    }
    let half = suffixed(to, ".part");
    remove(&half).map_err(file_said)?;
    // Made before the program writes to it: what is in it is for nobody else to read.
    let made = {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)
    };
    drop(made.map_err(file_said)?);
    let schema = format!("--schema={}", road.schema);
    let args = [schema.as_ref(), "--format=custom".as_ref(), "--no-password".as_ref(), "--file".as_ref()];
    let copied = road.run("pg_dump", &[&args[..], &[half.as_os_str()]].concat()).and_then(|_| verify(road, &half));
    let check = match copied {
        Ok(check) => check,
        Err(error) => {
            let _ = remove(&half);
            return Err(error);
        }
    };
    let bytes = settle(&half, to).map_err(file_said)?;
    Ok(Backup { path: to.to_owned(), bytes, check })
}

impl PostgresStore {
    /// Brings a backup back into the database: into the schema that the options name. `aside`: a store that is there
    /// is renamed with this at the end of its schema's name, and stays; none: it is left alone. Blocks; not to be
    /// called inside a runtime.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is a store and no `aside`, or a gateway is connected to it;
    /// [`StoreError::Corrupt`] when the file is no backup of such a schema, or what it brought does not keep the laws;
    /// otherwise as [`PostgresStore::open`]. Nothing has changed then, or the error says what stands where.
    pub fn restore(from: &Path, options: &PostgresOptions, aside: Option<&str>) -> Said<Restored> {
        let road = Road::new(options)?;
        holds(&road, from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Io { path: "tokio".into(), detail: error.to_string() })?;
        let said = |fault: Fault| fault.said(&road.place);
        let moved = runtime.block_on(make_room(&road, aside)).map_err(said)?;
        let brought = bring_back(&road, from);
        let is_there = brought.is_ok();
        let checked = brought.and_then(|()| {
            // Brings an older layout up as well.
            let store = Self::open(options)?;
            runtime.block_on(crate::Store::check(&store))
        });
        match checked {
            Ok(check) => Ok(Restored { check, moved: moved.map(|schema| format!("schema {schema}")) }),
            Err(error) => {
                let undone = runtime.block_on(undo(&road, is_there, moved.as_deref())).map_err(said);
                undone.map_err(|why| {
                    let kept =
                        moved.map_or_else(String::new, |moved| format!("; the store that was there is schema {moved}"));
                    StoreError::Conflict(format!("{error} -- and it could not be taken back: {why}{kept}"))
                })?;
                Err(error)
            }
        }
    }
}

/// Has `pg_restore` bring back everything, or nothing.
fn bring_back(road: &Road, from: &Path) -> Said<()> {
    let args = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"];
    let database = road.config.get_dbname().or(road.config.get_user()).unwrap_or_default();
    let args = args.map(str::as_ref).into_iter().chain(["--dbname".as_ref(), database.as_ref(), from.as_os_str()]);
    road.run("pg_restore", &args.collect::<Vec<_>>()).map(drop)
}

/// Takes a restore back: what it brought goes (the file still has it), what was there gets its name again.
async fn undo(road: &Road, is_there: bool, moved: Option<&str>) -> Result<()> {
    let link = road.connect().await?;
    if is_there {
        // Nobody has written to it in between.
        alone(&link, road).await?;
        link.batch(&format!("drop schema if exists {} cascade", road.schema)).await?;
    }
    match moved {
        Some(moved) => rename(&link, moved, &road.schema).await,
        None => Ok(()),
    }
}

/// Whether a file is a copy of this schema.
fn holds(road: &Road, from: &Path) -> Said<()> {
    if !from.exists() {
        return Err(StoreError::Io { path: from.to_owned(), detail: "there is no such file".to_owned() });
    }
    let corrupt = |detail: String| StoreError::Corrupt { path: from.to_owned(), detail };
    let list = match road.run("pg_restore", &["--list".as_ref(), from.as_os_str()]) {
        Err(StoreError::Denied { detail, .. }) => return Err(corrupt(detail)),
        list => list?,
    };
    let table = format!(" TABLE {} meta ", road.schema);
    if list.lines().any(|line| line.contains(&table)) {
        return Ok(());
    }
    Err(corrupt(format!("it holds no store in schema {}", road.schema)))
}

/// Makes the schema's name free; answers the name that the store which was there has now.
async fn make_room(road: &Road, aside: Option<&str>) -> Result<Option<String>> {
    let link = road.connect().await?;
    let schema = &road.schema;
    let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relkind = 'r'";
    let tables: i64 = link.one(sql, &[schema]).await?.map_or(0, |row| row.get(0));
    if tables == 0 {
        // An empty one that somebody made; one that holds anything else stays, and the error says so.
        link.batch(&format!("drop schema if exists {schema}")).await?;
        return Ok(None);
    }
    let Some(aside) = aside else {
        return Err(StoreError::Conflict(format!("{}: there is a store already", road.place)).into());
    };
    alone(&link, road).await?;
    let moved = name_aside(schema, aside);
    rename(&link, schema, &moved).await?;
    Ok(Some(moved))
}

/// Waits until nobody else is connected to the store, or says that gateways are.
async fn alone(link: &Link, road: &Road) -> Result<()> {
    let sql = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()";
    let begun = std::time::Instant::now();
    let others = loop {
        let others: i64 = link.one(sql, &[&road.application()]).await?.map_or(0, |row| row.get(0));
        // The database sees a moment later that a gateway has ended.
        if others == 0 || begun.elapsed() > PG_LEAVE_WAIT {
            break others;
        }
        tokio::time::sleep(*PG_BACKOFF.start()).await;
    };
    if others > 0 {
        let why = format!("{}: in use by gateways ({others} connections); stop them first", road.place);
        return Err(StoreError::Conflict(why).into());
    }
    Ok(())
}

/// A schema's name with more at its end: of a-z, 0-9 and `_`, 63 bytes at most.
fn name_aside(schema: &str, aside: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    let end: String = aside.chars().map(plain).collect();
    let kept = 63_usize.saturating_sub(end.len());
    format!("{}{end}", schema.get(..kept.min(schema.len())).unwrap_or_default())
}

async fn rename(link: &Link, from: &str, to: &str) -> Result<()> {
    link.batch(&format!("alter schema {from} rename to {to}")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_reach_the_database_without_a_password_on_their_command_line() {
        let mut options = PostgresOptions::new("postgresql://ark:s%40crEt@db1:5433,db2:5434/calls?sslmode=require");
        options.ca_file = None;
        let environment = Road::new(&options).unwrap().environment();
        let value = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!((value("PGHOST"), value("PGPORT")), (Some("db1,db2"), Some("5433,5434")));
        assert_eq!((value("PGUSER"), value("PGPASSWORD")), (Some("ark"), Some("s@crEt")));
        assert_eq!((value("PGDATABASE"), value("PGSSLMODE")), (Some("calls"), Some("require")));
        assert_eq!((value("PGSSLROOTCERT"), value("PGHOSTADDR")), (None, None));
        assert_eq!(value("PGCONNECT_TIMEOUT"), Some("5"));
    }

    #[test]
    fn a_copy_that_does_not_keep_the_laws_is_found_out() {
        let whole = "COPY ark.conversation (tenant, conversation) FROM stdin;\nmain\t\\\\x01\n\\.\n\
            COPY ark.log (tenant, conversation, seq, epoch) FROM stdin;\nmain\t\\\\x01\t2\t1\nmain\t\\\\x01\t1\t1\n\\.\n\
            COPY ark.meta (key, value) FROM stdin;\nlayout\t7\nstore_id\tabc\n\\.\nselect 1;\n";
        let check = |text: &str| {
            let mut laws = Laws::default();
            text.lines().try_for_each(|line| laws.line(line.as_bytes()))?;
            laws.end()
        };
        let found = check(whole).unwrap();
        assert_eq!(found, Check { store_id: "abc".into(), layout: 7, conversations: 1, records: 2 });
        let wrong = |from: &str, to: &str| check(&whole.replacen(from, to, 1)).unwrap_err();
        assert!(wrong("\\\\x01\t2\t1", "\\\\x01\t3\t1").contains("2 records from number 1 to 3"));
        assert!(wrong("\\\\x01\t2\t1", "\\\\x02\t1\t1").contains("has no conversation"));
        assert!(wrong("main\t\\\\x01\n", "main\t\\\\x01\nmain\t\\\\x09\n").contains("1 logs but 2 conversations"));
        assert!(wrong("store_id\tabc\n", "").contains("which store"));
        assert!(wrong("\t2\t1", "\tx\t1").contains("without a number"));
        assert!(check(&whole[..whole.len() - 14]).unwrap_err().contains("in the middle"));
    }

    #[test]
    fn the_name_of_what_is_moved_fits_a_schema() {
        assert_eq!(name_aside("ark", ".before-20261127T034500"), "ark_before_20261127t034500");
        assert_eq!(name_aside(&"a".repeat(60), "_before").len(), 63);
    }
}
