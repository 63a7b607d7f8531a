//! The embedded store: one SQLite file, one writer thread, a few readers.

mod accounts;
mod copy;
mod direct;
mod fail;
mod flow;
mod leases;
mod lock;
mod notes;
mod persons;
mod rows;
mod schema;
mod tokens;
mod writer;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ark_conversation::{ConversationId, ConversationState, IdentityKey, NewEvent, PersonId, Record, Tenant};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::account;
use crate::error::StoreError;
use crate::health::{Counters, Health};
use crate::limits::{READER_QUEUE_JOBS, READERS, RETAIN_CONVERSATIONS, WRITER_QUEUE_JOBS};
use crate::note::{self, Note};
use crate::pending::{self, Write, Written};
use crate::plan::{NewPlanVersion, PlanChange, PlanVersion};
use crate::search::{self, Found};
use crate::sqlite::fail::Place;
use crate::sqlite::writer::{Append, Call, Job, Reply, Said, Work, Writer};
use crate::token;
use crate::waiting::Waiting;
use crate::{
    Account, AccountChange, Advance, Answer, ApiToken, Appended, Attendance, AuditRow, Backlog, Backup, Check, Commit,
    Committed, Credentials, Delivery, DeliveryCounts, DeliveryState, Erase, Erased, FeedPage, Fence, Identified,
    Identity, Inbound, Ingested, Lease, ListFilter, LivePlan, Merge, NewAccount, NewIdentity, NewInbound, Outcome,
    Outgoing, Page, Presence, Retention, Session, Store, Topology,
};

pub use copy::{restore, verify};

/// How long a statement waits for a lock that somebody else holds on the file (an SQLite shell, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The write-ahead log is folded into the file every so many pages of 4 KiB: 16 MiB, a second or so of full load.
const CHECKPOINT_PAGES: u32 = 4_096;

/// After a fold the write-ahead log is cut to this many bytes.
const WAL_BYTES_KEPT: u64 = 64 * 1024 * 1024;

/// Pages that the writer keeps in memory: the ends of the indices, where new rows go, and what lies above them.
const WRITER_CACHE_KIB: i64 = 8 * 1024;

/// How an SQLite store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The database file; it and its folder are made when they are missing.
    pub path: PathBuf,
    /// The largest size of the database file in bytes; a write beyond it is [`StoreError::Full`]. None: the disk
    /// decides.
    pub bytes_max: Option<u64>,
    /// Whether committed events go into the outbox, for a relay to another bus. Without one nobody would empty it.
    pub outbox: bool,
}

impl Options {
    /// A file without a bound of its own and without an outbox.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bytes_max: None, outbox: false }
    }
}

/// The log of record in one SQLite file (WAL, `synchronous = FULL`): durable when answered, group commit, one process.
///
/// Cheap calls: appends go over a bounded queue to the writer's thread, reads to one of a few readers' threads.
/// Dropping the last handle writes and answers what waits, then releases the file.
pub struct SqliteStore {
    shared: Arc<Shared>,
    store_id: String,
    threads: Option<Threads>,
    /// None when it was opened to be read.
    _lock: Option<lock::StoreLock>,
}

/// The senders whose end ends the threads, and the threads.
struct Threads {
    jobs: SyncSender<Box<dyn Job>>,
    reads: SyncSender<Read>,
    /// None when it was opened to be read: nobody takes a job then.
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// What the handle and the writer both see.
struct Shared {
    place: Place,
    topology: Topology,
    outbox: bool,
    counters: Counters,
    /// What waits in the inbox.
    waiting: Waiting,
}

impl Shared {
    fn new(place: Place, topology: Topology, outbox: bool) -> Arc<Self> {
        let counters = Counters::new(place.path.display().to_string());
        Arc::new(Self { place, topology, outbox, counters, waiting: Waiting::default() })
    }
}

impl SqliteStore {
    /// Opens the store in a file, making it (mode 0600) when it is missing. Blocks for as long as that takes: some
    /// milliseconds, longer after a crash.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it, [`StoreError::TooNew`], [`StoreError::Corrupt`], or what
    /// the disk said.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(&Options::new(path.as_ref()))
    }

    /// [`SqliteStore::open`] with everything that can be chosen.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(options: &Options) -> Result<Self, StoreError> {
        let path = &options.path;
        let file_said = |error: std::io::Error| fail::file_said(&error, path.clone());
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(file_said)?;
        }
        let lock = lock::take(path)?;
        // SQLite gives its own files beside it the same mode.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        drop(file.map_err(file_said)?);

        let place = Place { path: path.clone() };
        let said = |error: rusqlite::Error| fail::said(&error, &place);
        let mut db = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE)).map_err(said)?;
        prepare_writer(&db, options.bytes_max).map_err(said)?;
        schema::migrate(&mut db, &place)?;
        let store_id = db
            .query_row("select value from meta where key = 'store_id'", [], |row| row.get::<_, String>(0))
            .map_err(said)?;
        let readers: Vec<Connection> =
            (0..READERS).map(|_| open_reader(path)).collect::<Result<_, _>>().map_err(said)?;

        let topology = leases::topology(&db).map_err(said)?;
        let shared = Shared::new(place, topology, options.outbox);
        let (waiting, last) = flow::waits(&db).map_err(|error| fail::said(&error, &shared.place))?;
        shared.waiting.begin(waiting, last);
        let threads = Threads::start(Some(db), readers, &shared).map_err(file_said)?;
        Ok(Self { shared, store_id, threads: Some(threads), _lock: Some(lock) })
    }

    /// Opens a store that is there, to be read: beside the gateway that has it, or without one. It takes no lock, makes
    /// and changes nothing, and answers what writes with [`StoreError::Refused`].
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Conflict`] for a layout that this version has yet to bring up;
    /// [`StoreError::TooNew`], [`StoreError::Corrupt`], or what the disk said.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let file_said = |error: std::io::Error| fail::file_said(&error, path.to_owned());
        match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { place: path.display().to_string() });
            }
            opened => drop(opened.map_err(file_said)?),
        }
        let place = Place { path: path.to_owned() };
        let said = |error: rusqlite::Error| fail::said(&error, &place);
        let readers: Vec<Connection> =
            (0..READERS).map(|_| open_reader(path)).collect::<Result<_, _>>().map_err(said)?;
        let db = &readers[0];
        schema::fits(db, &place)?;
        let store_id = db
            .query_row("select value from meta where key = 'store_id'", [], |row| row.get::<_, String>(0))
            .map_err(said)?;
        let topology = leases::topology(db).map_err(said)?;
        let shared = Shared::new(place.clone(), topology, false);
        let threads = Threads::start(None, readers, &shared).map_err(file_said)?;
        Ok(Self { shared, store_id, threads: Some(threads), _lock: None })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.place.path
    }

    /// Hands a job to the writer, or says at once why not.
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(Reply<T>) -> Result<Box<dyn Job>, StoreError>,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let sent = job(reply).and_then(|job| {
            self.shared.counters.queued();
            self.threads().jobs.try_send(job).map_err(|refused| {
                self.shared.counters.taken(1);
                self.refused(&refused)
            })
        });
        Box::pin(async move {
            sent?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    /// Has the writer run something in its next transaction, when `checked` finds nothing wrong.
    fn run<T: Send + 'static>(
        &self,
        checked: Result<(), StoreError>,
        run: impl FnMut(&mut Work<'_>) -> rusqlite::Result<Said<T>> + Send + 'static,
    ) -> Answer<'_, T> {
        self.submit(|reply| checked.map(|()| -> Box<dyn Job> { Box::new(Call { run, done: None, reply }) }))
    }

    /// [`SqliteStore::run`] for what goes on with that which the check answered.
    fn run_with<C: Copy + Send + 'static, T: Send + 'static>(
        &self,
        checked: Result<C, StoreError>,
        mut run: impl FnMut(&mut Work<'_>, C) -> rusqlite::Result<Said<T>> + Send + 'static,
    ) -> Answer<'_, T> {
        match checked {
            Ok(value) => self.run(Ok(()), move |work| run(work, value)),
            Err(refused) => Box::pin(async { Err(refused) }),
        }
    }

    /// Has the writer append something in its next transaction.
    fn write(&self, write: Result<Write, StoreError>) -> Answer<'_, Written> {
        self.submit(|reply| write.map(|write| -> Box<dyn Job> { Box::new(Append { write, done: None, reply }) }))
    }

    /// Runs a read on one of the readers' connections.
    fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let shared = Arc::clone(&self.shared);
        self.look(move |db| read(db).map_err(|error| fail::said(&error, &shared.place)))
    }

    /// [`SqliteStore::ask`] for what has errors of its own.
    fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let work: Read = Box::new(move |db| drop(reply.send(read(db))));
        let sent = self.threads().reads.try_send(work).map_err(|refused| self.refused(&refused));
        Box::pin(async move {
            sent?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn threads(&self) -> &Threads {
        self.threads.as_ref().expect("the threads are taken only when the store is dropped")
    }

    fn refused<T>(&self, refused: &TrySendError<T>) -> StoreError {
        match refused {
            TrySendError::Full(_) => self.shared.counters.busy(),
            TrySendError::Disconnected(_) if self.threads().writer.is_none() => crate::check::opened_to_read(),
            TrySendError::Disconnected(_) => StoreError::Closed,
        }
    }
}

impl Threads {
    /// Without `db` nobody writes.
    fn start(db: Option<Connection>, readers: Vec<Connection>, shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(WRITER_QUEUE_JOBS);
        let writer = match db.map(|db| Writer::new(db, Arc::clone(shared))) {
            Some(writer) => {
                let thread = std::thread::Builder::new().name("ark-store-write".to_owned());
                Some(thread.spawn(move || writer.run(&queue))?)
            }
            None => None,
        };
        let (reads, queue) = sync_channel::<Read>(READER_QUEUE_JOBS);
        let queue = Arc::new(Mutex::new(queue));
        let readers = readers
            .into_iter()
            .map(|db| {
                let queue = Arc::clone(&queue);
                let thread = std::thread::Builder::new().name("ark-store-read".to_owned());
                thread.spawn(move || run_reader(&db, &queue))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { jobs, reads, writer, readers })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let Some(Threads { jobs, reads, writer, readers }) = self.threads.take() else { return };
        // The writer last: SQLite folds the write-ahead log into the file when its last connection closes.
        drop(reads);
        for reader in readers {
            let _ = reader.join();
        }
        drop(jobs);
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

fn run_reader(db: &Connection, queue: &Mutex<Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(read) => read(db),
            Err(_) => return,
        }
    }
}

fn flags(mode: OpenFlags) -> OpenFlags {
    // Each connection stays on its thread, so SQLite needs no locks of its own.
    mode | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn prepare_writer(db: &Connection, bytes_max: Option<u64>) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(32);
    let mode: String = db.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(mode, "the store's file system does not take a write-ahead log; it will be slower");
    }
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "journal_size_limit", i64::try_from(WAL_BYTES_KEPT).unwrap_or(i64::MAX))?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    if let Some(bytes) = bytes_max {
        let page: u64 = db.query_row("pragma page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(bytes / page.max(1)).unwrap_or(i64::MAX);
        db.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(())
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

impl Store for SqliteStore {
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>> {
        let written = self.write(pending::append(events));
        Box::pin(async move { Ok(written.await?.appended) })
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        let topology = self.shared.topology;
        let written = self.write(pending::commit(commit, |id| topology.shard(id)));
        Box::pin(async move {
            let Written { appended, deliveries, direct, .. } = written.await?;
            Ok(Committed { appended, deliveries, direct })
        })
    }

    fn ingest(&self, new: NewInbound) -> Answer<'_, Ingested> {
        match pending::inbound(new) {
            Ok(new) => self.run(Ok(()), move |work| flow::ingest(work, &new)),
            Err(refused) => Box::pin(async { Err(refused) }),
        }
    }

    fn inbox(&self, shards: &[u16], after: u64, limit: usize) -> Answer<'_, Vec<Inbound>> {
        if let Some(page) = self.shared.waiting.page(shards, after, limit) {
            return Box::pin(async { Ok(page) });
        }
        let shards = shards.to_vec();
        self.ask(move |db| flow::inbox(db, &shards, after, limit))
    }

    fn thread(&self, tenant: &Tenant, source: &str) -> Answer<'_, Option<ConversationId>> {
        let (tenant, source) = (tenant.clone(), source.to_owned());
        self.ask(move |db| flow::thread(db, &tenant, &source))
    }

    fn outbox(&self, shards: &[u16], without: &[u64], limit: usize) -> Answer<'_, Vec<Outgoing>> {
        let (shards, without) = (shards.to_vec(), without.iter().copied().collect());
        self.ask(move |db| flow::outbox(db, &shards, &without, limit))
    }

    fn outbox_done(&self, rows: Vec<u64>) -> Answer<'_, ()> {
        self.run(Ok(()), move |work| flow::outbox_done(work.db, &rows))
    }

    fn claim_deliveries(&self, adapter: &str, gateway: &str, ttl: Duration, limit: usize) -> Answer<'_, Vec<Delivery>> {
        let (adapter, claimant) = (adapter.to_owned(), gateway.to_owned());
        self.run_with(pending::lease(gateway, ttl), move |work, ttl_ms| {
            flow::claim_deliveries(work.db, &adapter, &claimant, ttl_ms, limit)
        })
    }

    fn settle_delivery(&self, id: u64, attempt: u32, outcome: Outcome) -> Answer<'_, bool> {
        let outcome = pending::outcome(&outcome);
        self.run(Ok(()), move |work| flow::settle(work.db, id, attempt, &outcome))
    }

    fn deliveries(
        &self,
        tenant: &Tenant,
        adapter: &str,
        state: DeliveryState,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Vec<Delivery>> {
        let (tenant, adapter) = (tenant.clone(), adapter.to_owned());
        self.ask(move |db| flow::deliveries(db, &tenant, &adapter, state, after, limit))
    }

    fn replay_delivery(&self, tenant: &Tenant, id: u64) -> Answer<'_, bool> {
        let tenant = tenant.clone();
        self.run(Ok(()), move |work| flow::replay_delivery(work.db, &tenant, id))
    }

    fn delivery_counts(&self, tenant: &Tenant, adapter: &str) -> Answer<'_, DeliveryCounts> {
        let (tenant, adapter) = (tenant.clone(), adapter.to_owned());
        self.ask(move |db| flow::delivery_counts(db, &tenant, &adapter))
    }

    fn forget_deliveries(
        &self,
        tenant: &Tenant,
        adapter: &str,
        state: DeliveryState,
        age: Duration,
    ) -> Answer<'_, u64> {
        let (tenant, adapter) = (tenant.clone(), adapter.to_owned());
        self.run_with(pending::forget(state, age), move |work, which| {
            flow::forget_deliveries(work.db, &tenant, &adapter, which)
        })
    }

    fn feed(&self, tenant: &Tenant, after: u64, limit: usize) -> Answer<'_, FeedPage> {
        let tenant = tenant.clone();
        self.ask(move |db| rows::feed(db, &tenant, after, limit))
    }

    fn feed_end(&self) -> Answer<'_, u64> {
        self.ask(rows::feed_end)
    }

    fn reader(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<u64>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(move |db| rows::reader(db, &tenant, &name))
    }

    fn advance(&self, advance: Advance) -> Answer<'_, usize> {
        let written = self.write(pending::advance(advance));
        Box::pin(async move { Ok(written.await?.deliveries) })
    }

    fn backlog(&self) -> Answer<'_, Backlog> {
        self.ask(flow::backlog)
    }

    fn topology(&self) -> Topology {
        self.shared.topology
    }

    fn set_topology(&self, topology: Topology) -> Answer<'_, ()> {
        self.run(pending::topology(topology), move |work| leases::set_topology(work, topology))
    }

    fn claim(&self, shard: u16, gateway: &str, ttl: Duration) -> Answer<'_, Fence> {
        let gateway_id = gateway.to_owned();
        let checked = pending::shard(shard, self.shared.topology).and_then(|()| pending::lease(gateway, ttl));
        self.run_with(checked, move |work, ttl_ms| leases::claim(work, shard, &gateway_id, ttl_ms))
    }

    fn renew(&self, fences: Vec<Fence>, ttl: Duration) -> Answer<'_, Vec<bool>> {
        self.run_with(pending::lease("-", ttl), move |work, ttl_ms| leases::renew(work, &fences, ttl_ms))
    }

    fn release(&self, fences: Vec<Fence>) -> Answer<'_, ()> {
        self.run(Ok(()), move |work| leases::release(work, &fences))
    }

    fn leases(&self) -> Answer<'_, Vec<Lease>> {
        self.ask(leases::leases)
    }

    fn attend(&self, attendance: Attendance, ttl: Duration) -> Answer<'_, Vec<Presence>> {
        let checked = pending::attendance(&attendance, ttl);
        self.run_with(checked, move |work, ttl_ms| leases::attend(work, &attendance, ttl_ms))
    }

    fn leave(&self, attendance: Attendance) -> Answer<'_, ()> {
        self.run(Ok(()), move |work| leases::leave(work, &attendance))
    }

    fn identify(&self, new: NewIdentity) -> Answer<'_, Identified> {
        self.run(pending::key(&new.key), move |work| persons::identify(work.db, &new))
    }

    fn owner(&self, tenant: &Tenant, key: &IdentityKey) -> Answer<'_, Option<PersonId>> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.ask(move |db| persons::owner(db, &tenant, &key))
    }

    fn identities(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Vec<Identity>> {
        let tenant = tenant.clone();
        self.ask(move |db| persons::identities(db, &tenant, person))
    }

    fn person(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Option<PersonId>> {
        let tenant = tenant.clone();
        self.ask(move |db| persons::root(db, &tenant, person))
    }

    fn merge(&self, merge: Merge) -> Answer<'_, Appended> {
        pending::first(self.write(pending::merge(merge, false)))
    }

    fn unmerge(&self, merge: Merge) -> Answer<'_, Appended> {
        pending::first(self.write(pending::merge(merge, true)))
    }

    fn erase(&self, erase: Erase) -> Answer<'_, Erased> {
        self.run(pending::erase(&erase), move |work| persons::erase(work, &erase))
    }

    fn retain(&self, retention: Retention) -> Answer<'_, Erased> {
        let Retention { tenant, ended_before, .. } = retention.clone();
        let outlived = self.ask(move |db| persons::outlived(db, &tenant, ended_before, RETAIN_CONVERSATIONS));
        Box::pin(async move { crate::erase::each(self, &retention, outlived.await?).await })
    }

    fn forget(&self, tenant: &Tenant, person: PersonId, by: &str, at: Timestamp) -> Answer<'_, u64> {
        let (checked, tenant, by) = (pending::by(by), tenant.clone(), by.to_owned());
        self.run(checked, move |work| persons::forget(work.db, &tenant, person, &by, at))
    }

    fn audit(
        &self,
        tenant: &Tenant,
        conversation: Option<ConversationId>,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<AuditRow>> {
        let tenant = tenant.clone();
        self.ask(move |db| persons::audit_rows(db, &tenant, conversation, before, limit))
    }

    fn check(&self) -> Answer<'_, Check> {
        let shared = Arc::clone(&self.shared);
        self.look(move |db| copy::check(db, &shared.place))
    }

    fn backup(&self, to: &Path) -> Answer<'_, Backup> {
        let (shared, to) = (Arc::clone(&self.shared), to.to_owned());
        self.look(move |db| copy::backup(db, &shared.place, &to))
    }

    fn read(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        after_seq: u64,
        limit: usize,
    ) -> Answer<'_, Vec<Record>> {
        let tenant = tenant.clone();
        self.ask(move |db| rows::read(db, &tenant, conversation, after_seq, limit))
    }

    fn list(&self, tenant: &Tenant, filter: ListFilter, limit: usize) -> Answer<'_, Page> {
        let tenant = tenant.clone();
        self.ask(move |db| rows::list(db, &tenant, &filter, limit))
    }

    fn search(&self, tenant: &Tenant, words: &str, before: Option<(ConversationId, u64)>) -> Answer<'_, Found> {
        let (tenant, words) = (tenant.clone(), words.to_owned());
        if let Err(error) = search::checked(&words) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.ask(move |db| rows::search(db, &tenant, &words, before))
    }

    fn summary(&self, tenant: &Tenant, conversation: ConversationId) -> Answer<'_, Option<ConversationState>> {
        let tenant = tenant.clone();
        self.ask(move |db| rows::state(db, &tenant, conversation))
    }

    fn put_token(&self, token: ApiToken) -> Answer<'_, ()> {
        self.run(token::checked(&token), move |work| tokens::put(work.db, &token))
    }

    fn tokens(&self) -> Answer<'_, Vec<ApiToken>> {
        self.ask(tokens::all)
    }

    fn revoke_token(&self, which: &str, at: Timestamp) -> Answer<'_, Option<ApiToken>> {
        let which = which.to_owned();
        self.run(Ok(()), move |work| tokens::revoke(work.db, &which, at))
    }

    fn token_used(&self, id: &str, at: Timestamp) -> Answer<'_, ()> {
        let id = id.to_owned();
        self.run(Ok(()), move |work| tokens::used(work.db, &id, at))
    }

    fn put_account(&self, new: NewAccount) -> Answer<'_, ()> {
        self.run(account::checked(&new.account, &new.credentials), move |work| accounts::put(work.db, &new))
    }

    fn accounts(&self) -> Answer<'_, Vec<Account>> {
        self.ask(accounts::all)
    }

    fn account(&self, name: &str) -> Answer<'_, Option<(Account, Credentials)>> {
        let name = name.to_owned();
        self.ask(move |db| accounts::one(db, &name))
    }

    fn account_of_subject(&self, subject: &str) -> Answer<'_, Option<Account>> {
        let subject = subject.to_owned();
        self.ask(move |db| accounts::of_subject(db, &subject))
    }

    fn change_account(&self, name: &str, change: AccountChange) -> Answer<'_, Option<Account>> {
        let name = name.to_owned();
        self.run(Ok(()), move |work| accounts::change(work.db, &name, &change))
    }

    fn remove_account(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.run(Ok(()), move |work| accounts::remove(work.db, &name))
    }

    fn put_session(&self, session: Session) -> Answer<'_, ()> {
        self.run(account::session_checked(&session), move |work| accounts::put_session(work.db, &session))
    }

    fn session(&self, sha256: &str) -> Answer<'_, Option<(Session, Account)>> {
        let sha256 = sha256.to_owned();
        self.ask(move |db| accounts::session(db, &sha256))
    }

    fn renew_session(&self, sha256: &str, used_at: Timestamp, ends_at: Timestamp) -> Answer<'_, bool> {
        let sha256 = sha256.to_owned();
        self.run(Ok(()), move |work| accounts::renew(work.db, &sha256, used_at, ends_at))
    }

    fn end_session(&self, sha256: &str) -> Answer<'_, bool> {
        let sha256 = sha256.to_owned();
        self.run(Ok(()), move |work| accounts::end(work.db, &sha256))
    }

    fn note(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<Note>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(move |db| notes::get(db, &tenant, &name))
    }

    fn swap_note(&self, tenant: &Tenant, name: &str, known: u64, body: Vec<u8>) -> Answer<'_, bool> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.run(note::checked(&name, &body), move |work| notes::swap(work.db, &tenant, &name, known, &body))
    }

    fn put_plan_version(&self, plan: NewPlanVersion) -> Answer<'_, PlanVersion> {
        self.run(pending::plan(&plan), move |work| work.put_plan(&plan))
    }

    fn plan_versions(&self, tenant: &Tenant, name: Option<&str>, limit: usize) -> Answer<'_, Vec<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.map(str::to_owned));
        self.ask(move |db| rows::plan_versions(db, &tenant, name.as_deref(), limit))
    }

    fn plan_version(&self, tenant: &Tenant, name: &str, version: u32) -> Answer<'_, Option<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(move |db| rows::plan_version(db, &tenant, &name, version))
    }

    fn live_plan(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(move |db| rows::live_plan(db, &tenant, &name))
    }

    fn set_live_plan(&self, change: PlanChange, event: Option<NewEvent>) -> Answer<'_, LivePlan> {
        pending::live_plan(self.write(pending::live(change, event)))
    }

    fn plan_history(&self, tenant: &Tenant, name: &str, limit: usize) -> Answer<'_, Vec<PlanChange>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(move |db| rows::plan_history(db, &tenant, &name, limit))
    }

    fn health(&self) -> Pin<Box<dyn Future<Output = Health> + Send + '_>> {
        Box::pin(async move {
            let write = match self.shared.counters.failing() {
                // Nobody may be writing while it fails: try, so that it is found well again.
                Some(_) => self.run(Ok(()), writer::probe).await,
                None if self.threads().writer.as_ref().is_some_and(JoinHandle::is_finished) => Err(StoreError::Closed),
                None => Ok(()),
            };
            let read = self.ask(|db| db.query_row("select 1 from meta limit 1", [], |_| Ok(()))).await;
            self.shared.counters.health(write.and(read))
        })
    }

    fn store_id(&self) -> &str {
        &self.store_id
    }
}
