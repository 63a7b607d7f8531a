//! The store of several gateways: PostgreSQL 13 or later.
//!
//! **Connections.** Two that write, a few that read, each held for as long as it lives, all driven by one thread of
//! the store's own: tokio-postgres without a pool. A pool hands out whichever connection is free; here each has its
//! work. One *lane* appends (its groups need the memory of where each log ends, which only one writer can keep), the
//! other does the rest (inbox, leases, deliveries, persons), so that a lease is renewed while a large group is on its
//! way to the disk. TLS is rustls with ring, as everywhere in Ark.
//!
//! **Group commit.** What waits in a lane's queue is one transaction of a handful of statements (columns unnested into
//! rows), sent one behind the other: two round trips and one flush of the database's log for up to 1,024 events.
//! Duplicates and other gateways' writes are told by the unique keys as errors, and the group is done again without them:
//! `on conflict do nothing` looks into each index twice and writes a word more to the database's log for each row
//! (append_bench: 0.32 to 0.41 of a bare insert, 0.57 to 0.78 without). `COPY` was not taken: it needs a round trip of
//! its own.
//!
//! **Several gateways.** Numbers are given optimistically and guarded by the log's unique keys (see `log`); leases are
//! rows whose clock is the database's, held `for share` by every append under them, so that a claim waits for the
//! appends before it and refuses those after it.
//!
//! **Away.** A connection that ends is made again with growing, jittered pauses; meanwhile everything is answered with
//! [`StoreError::Away`] at once. What was in flight is answered the same: it is there or not, and writing it again is
//! safe. Another database at the same address (another store id) is refused.
//!
//! **Copies.** `pg_dump --schema=ark --format=custom` takes one whole at one moment, `pg_restore` brings it back,
//! [`Store::check`] says whether it keeps the laws. [`Store::backup`] and [`PostgresStore::restore`] run them.

mod accounts;
mod copy;
mod direct;
mod fail;
mod feed;
mod flow;
mod inbox;
mod lane;
mod link;
mod log;
mod notes;
mod persons;
mod rows;
mod schema;
mod tokens;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ark_conversation::{ConversationId, ConversationState, IdentityKey, NewEvent, PersonId, Record, Tenant};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::account;
use crate::error::StoreError;
use crate::health::{Counters, Health};
use crate::limits::{
    PG_BACKOFF, PG_COMMIT_WAIT, PG_READERS, READER_QUEUE_JOBS, RETAIN_CONVERSATIONS, WRITER_QUEUE_JOBS,
};
use crate::note::{self, Note};
use crate::pending::{self, Write, Written};
use crate::plan::{NewPlanVersion, PlanChange, PlanVersion};
use crate::search::{self, Found};
use crate::token;
use crate::{
    Account, AccountChange, Advance, Answer, ApiToken, Appended, Attendance, AuditRow, Backlog, Backup, Check, Commit,
    Committed, Credentials, Delivery, DeliveryCounts, DeliveryState, Erase, Erased, FeedPage, Fence, Identified,
    Identity, Inbound, Ingested, Lease, ListFilter, LivePlan, Merge, NewAccount, NewIdentity, NewInbound, Outcome,
    Outgoing, Page, Presence, Retention, Session, Store, Topology,
};
use fail::Fault;
use lane::{Ask, Call, Future, Lane, Reply, Said};
pub use link::PostgresOptions;
use link::{Link, Result, Road};

/// The log of record in PostgreSQL. Cheap calls: they go over bounded queues to the store's own thread. Dropping the
/// last handle writes and answers what waits.
pub struct PostgresStore {
    shared: Arc<Shared>,
    queues: Option<Queues>,
    thread: Option<JoinHandle<()>>,
}

struct Queues {
    appends: mpsc::Sender<Ask>,
    rest: mpsc::Sender<Ask>,
    reads: mpsc::Sender<Read>,
}

/// A read: given a connection it answers; given an error it answers that.
type Read = Box<dyn for<'a> FnOnce(std::result::Result<&'a Link, StoreError>) -> Future<'a, ()> + Send>;

/// What the handle and the store's tasks all see.
struct Shared {
    road: Road,
    store_id: String,
    topology: Topology,
    outbox: bool,
    counters: Counters,
}

impl Shared {
    async fn connect(&self) -> std::result::Result<Link, StoreError> {
        lane::connect(self).await.map_err(|fault| fault.said(&self.road.place))
    }
}

impl PostgresStore {
    /// Opens the store in a database, making its tables when they are missing. Blocks for as long as that takes; call
    /// it where blocking is allowed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for options that cannot be right, [`StoreError::Away`] when nobody answers,
    /// [`StoreError::Denied`] when the database does not let us in or cannot serve, [`StoreError::TooNew`],
    /// [`StoreError::Corrupt`].
    pub fn open(options: &PostgresOptions) -> std::result::Result<Self, StoreError> {
        Self::open_road(Road::new(options)?, options.outbox)
    }

    /// Opens a store that is there, to be read. It makes and changes nothing, and answers what writes with
    /// [`StoreError::Refused`]. Blocks like [`PostgresStore::open`].
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; [`StoreError::Missing`]; [`StoreError::Conflict`] for a layout that this version
    /// has yet to bring up.
    pub fn open_to_read(options: &PostgresOptions) -> std::result::Result<Self, StoreError> {
        let mut road = Road::new(options)?;
        road.to_read = true;
        Self::open_road(road, false)
    }

    fn open_road(road: Road, outbox: bool) -> std::result::Result<Self, StoreError> {
        let (opened, answer) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("ark-store-pg".to_owned());
        let thread = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(road, outbox, &opened)),
                Err(error) => {
                    let detail = error.to_string();
                    let _ = opened.send(Err(StoreError::Io { path: "tokio".into(), detail }));
                }
            }
        });
        let thread =
            thread.map_err(|error| StoreError::Io { path: "ark-store-pg".into(), detail: error.to_string() })?;
        let (shared, queues) = answer.recv().map_err(|_| StoreError::Closed)??;
        Ok(Self { shared, queues: Some(queues), thread: Some(thread) })
    }

    fn queues(&self) -> &Queues {
        self.queues.as_ref().expect("the queues are taken only when the store is dropped")
    }

    /// Hands something to a lane, or says at once why not.
    fn submit<T: Send + 'static>(
        &self,
        lane: &mpsc::Sender<Ask>,
        ask: std::result::Result<impl FnOnce(Reply<T>) -> Ask, StoreError>,
    ) -> Answer<'static, T> {
        let (reply, answer) = oneshot::channel();
        let sent = ask.and_then(|ask| {
            self.shared.counters.queued();
            lane.try_send(ask(reply)).map_err(|refused| {
                self.shared.counters.taken(1);
                self.refused(&refused)
            })
        });
        Box::pin(async move {
            sent?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn write(&self, write: std::result::Result<Write, StoreError>) -> Answer<'static, Written> {
        self.submit(&self.queues().appends, write.map(|write| move |reply| Ask::Write(Box::new(write), reply)))
    }

    /// Runs something in a transaction of its own, when `checked` finds nothing wrong.
    fn run<T, F>(&self, checked: std::result::Result<(), StoreError>, run: F) -> Answer<'static, T>
    where
        T: Send + 'static,
        F: for<'a> FnMut(&'a Link) -> Future<'a, Result<Said<T>>> + Send + 'static,
    {
        let ask = checked.map(|()| |reply| Ask::Call(Box::new(Call { run, done: None, reply })));
        self.submit(&self.queues().rest, ask)
    }

    /// [`PostgresStore::run`] for what goes on with that which the check answered.
    fn run_with<C, T, F>(&self, checked: std::result::Result<C, StoreError>, mut run: F) -> Answer<'static, T>
    where
        C: Copy + Send + 'static,
        T: Send + 'static,
        F: for<'a> FnMut(&'a Link, C) -> Future<'a, Result<Said<T>>> + Send + 'static,
    {
        match checked {
            Ok(value) => self.run(Ok(()), move |link| run(link, value)),
            Err(refused) => Box::pin(async { Err(refused) }),
        }
    }

    /// Runs a read on one of the readers' connections.
    fn ask<T, F>(&self, read: F) -> Answer<'static, T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Link) -> Future<'a, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let place = self.shared.road.place.clone();
        let work: Read = Box::new(move |link| {
            Box::pin(async move {
                let found = match link {
                    Ok(link) => read(link).await.map_err(|fault| fault.said(&place)),
                    Err(error) => Err(error),
                };
                let _ = reply.send(found);
            })
        });
        let sent = self.queues().reads.try_send(work).map_err(|refused| self.refused(&refused));
        Box::pin(async move {
            sent?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn refused<T>(&self, refused: &mpsc::error::TrySendError<T>) -> StoreError {
        match refused {
            mpsc::error::TrySendError::Full(_) => self.shared.counters.busy(),
            mpsc::error::TrySendError::Closed(_) if self.shared.road.to_read => crate::check::opened_to_read(),
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        drop(self.queues.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Opened = std::sync::mpsc::SyncSender<std::result::Result<(Arc<Shared>, Queues), StoreError>>;

/// The store's thread: opens, then runs the lanes and the readers until their queues are closed and empty.
async fn run(road: Road, outbox: bool, opened: &Opened) {
    let place = road.place.clone();
    let (shared, first, second) = match start(road, outbox).await {
        Ok(started) => started,
        Err(fault) => {
            let _ = opened.send(Err(fault.said(&place)));
            return;
        }
    };
    let (appends, append_queue) = mpsc::channel(WRITER_QUEUE_JOBS);
    let (rest, rest_queue) = mpsc::channel(WRITER_QUEUE_JOBS);
    let (reads, read_queue) = mpsc::channel(READER_QUEUE_JOBS);
    if opened.send(Ok((Arc::clone(&shared), Queues { appends, rest, reads }))).is_err() {
        return;
    }
    let read_queue = Arc::new(tokio::sync::Mutex::new(read_queue));
    let mut tasks = Vec::new();
    let mut spare = None;
    match second {
        Some(second) => {
            tasks.push(tokio::spawn(Lane::new(Arc::clone(&shared), append_queue, first).run()));
            tasks.push(tokio::spawn(Lane::new(Arc::clone(&shared), rest_queue, second).run()));
        }
        // Without lanes nobody takes what writes: their queues are closed.
        None => {
            drop((append_queue, rest_queue));
            spare = Some(first);
        }
    }
    for _ in 0..PG_READERS {
        tasks.push(tokio::spawn(reader(Arc::clone(&shared), Arc::clone(&read_queue), spare.take())));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// The first connection, and a second one where the store is written.
async fn start(road: Road, outbox: bool) -> Result<(Arc<Shared>, Link, Option<Link>)> {
    let first = road.connect().await?;
    let to_read = road.to_read;
    let schema::Identity { store_id, topology } =
        if to_read { schema::look(&first, &road).await? } else { schema::migrate(&first, &road).await? };
    let counters = Counters::new(road.place.clone());
    let shared = Arc::new(Shared { road, store_id, topology, outbox, counters });
    if to_read {
        return Ok((shared, first, None));
    }
    lane::prepare(&first).await?;
    let second = lane::connect(&shared).await?;
    Ok((shared, first, Some(second)))
}

/// A reader: connects when it is first needed, and again when its connection was lost, at most so often.
async fn reader(shared: Arc<Shared>, queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Read>>>, mut link: Option<Link>) {
    let mut failed: Option<(tokio::time::Instant, StoreError)> = None;
    loop {
        let Some(read) = queue.lock().await.recv().await else { return };
        if link.as_ref().is_none_or(Link::is_closed) {
            link = None;
            let again = failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= *PG_BACKOFF.start());
            if again {
                match shared.connect().await {
                    Ok(made) => (link, failed) = (Some(made), None),
                    Err(error) => failed = Some((tokio::time::Instant::now(), error)),
                }
            }
        }
        match (&link, &failed) {
            (Some(open), _) => {
                if tokio::time::timeout(PG_COMMIT_WAIT * 20, read(Ok(open))).await.is_err() {
                    link = None;
                }
            }
            (None, Some((_, error))) => read(Err(error.clone())).await,
            (None, None) => read(Err(StoreError::Closed)).await,
        }
    }
}

/// A function over a connection that owns copies of what it is about.
macro_rules! with {
    ($($name:ident),*; |$link:ident $(, $value:ident)?| $body:expr) => {
        move |$link: &Link $(, $value)?| {
            $(let $name = $name.clone();)*
            Box::pin(async move { $body.await })
        }
    };
}

impl Store for PostgresStore {
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
        let new = pending::inbound(new);
        self.submit(&self.queues().rest, new.map(|new| move |reply| Ask::Ingest(new, reply)))
    }

    fn inbox(&self, shards: &[u16], after: u64, limit: usize) -> Answer<'_, Vec<Inbound>> {
        let shards = shards.to_vec();
        self.ask(with!(shards; |link| inbox::inbox(link, &shards, after, limit)))
    }

    fn thread(&self, tenant: &Tenant, source: &str) -> Answer<'_, Option<ConversationId>> {
        let (tenant, source) = (tenant.clone(), source.to_owned());
        self.ask(with!(tenant, source; |link| inbox::thread(link, &tenant, &source)))
    }

    fn outbox(&self, shards: &[u16], without: &[u64], limit: usize) -> Answer<'_, Vec<Outgoing>> {
        let (shards, without) = (shards.to_vec(), without.to_vec());
        self.ask(with!(shards, without; |link| flow::outbox(link, &shards, &without, limit)))
    }

    fn outbox_done(&self, rows: Vec<u64>) -> Answer<'_, ()> {
        self.run(Ok(()), with!(rows; |link| flow::outbox_done(link, &rows)))
    }

    fn claim_deliveries(&self, adapter: &str, gateway: &str, ttl: Duration, limit: usize) -> Answer<'_, Vec<Delivery>> {
        let checked = pending::lease(gateway, ttl);
        let (adapter, gateway) = (adapter.to_owned(), gateway.to_owned());
        self.run_with(
            checked,
            with!(adapter, gateway; |link, ttl_ms| flow::claim_deliveries(link, &adapter, &gateway, ttl_ms, limit)),
        )
    }

    fn settle_delivery(&self, id: u64, attempt: u32, outcome: Outcome) -> Answer<'_, bool> {
        let outcome = pending::outcome(&outcome);
        self.run(Ok(()), with!(outcome; |link| flow::settle(link, id, attempt, &outcome)))
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
        self.ask(with!(tenant, adapter; |link| flow::deliveries(link, &tenant, &adapter, state, after, limit)))
    }

    fn replay_delivery(&self, tenant: &Tenant, id: u64) -> Answer<'_, bool> {
        let tenant = tenant.clone();
        self.run(Ok(()), with!(tenant; |link| flow::replay_delivery(link, &tenant, id)))
    }

    fn delivery_counts(&self, tenant: &Tenant, adapter: &str) -> Answer<'_, DeliveryCounts> {
        let (tenant, adapter) = (tenant.clone(), adapter.to_owned());
        self.ask(with!(tenant, adapter; |link| flow::delivery_counts(link, &tenant, &adapter)))
    }

    fn forget_deliveries(
        &self,
        tenant: &Tenant,
        adapter: &str,
        state: DeliveryState,
        age: Duration,
    ) -> Answer<'_, u64> {
        let (tenant, adapter) = (tenant.clone(), adapter.to_owned());
        self.run_with(
            pending::forget(state, age),
            with!(tenant, adapter; |link, which| flow::forget_deliveries(link, &tenant, &adapter, which)),
        )
    }

    fn feed(&self, tenant: &Tenant, after: u64, limit: usize) -> Answer<'_, FeedPage> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| feed::feed(link, &tenant, after, limit)))
    }

    fn feed_end(&self) -> Answer<'_, u64> {
        self.ask(with!(; |link| feed::end(link)))
    }

    fn reader(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<u64>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(with!(tenant, name; |link| feed::reader(link, &tenant, &name)))
    }

    fn advance(&self, advance: Advance) -> Answer<'_, usize> {
        let written = self.write(pending::advance(advance));
        Box::pin(async move { Ok(written.await?.deliveries) })
    }

    fn backlog(&self) -> Answer<'_, Backlog> {
        self.ask(with!(; |link| flow::backlog(link)))
    }

    fn topology(&self) -> Topology {
        self.shared.topology
    }

    fn set_topology(&self, topology: Topology) -> Answer<'_, ()> {
        self.run(pending::topology(topology), with!(; |link| flow::set_topology(link, topology)))
    }

    fn claim(&self, shard: u16, gateway: &str, ttl: Duration) -> Answer<'_, Fence> {
        let topology = self.shared.topology;
        let checked = pending::shard(shard, topology).and_then(|()| pending::lease(gateway, ttl));
        let gateway = gateway.to_owned();
        self.run_with(checked, with!(gateway; |link, ttl_ms| flow::claim(link, topology, shard, &gateway, ttl_ms)))
    }

    fn renew(&self, fences: Vec<Fence>, ttl: Duration) -> Answer<'_, Vec<bool>> {
        self.run_with(pending::lease("-", ttl), with!(fences; |link, ttl_ms| flow::renew(link, &fences, ttl_ms)))
    }

    fn release(&self, fences: Vec<Fence>) -> Answer<'_, ()> {
        self.run(Ok(()), with!(fences; |link| flow::release(link, &fences)))
    }

    fn leases(&self) -> Answer<'_, Vec<Lease>> {
        self.ask(with!(; |link| flow::leases(link)))
    }

    fn attend(&self, attendance: Attendance, ttl: Duration) -> Answer<'_, Vec<Presence>> {
        let checked = pending::attendance(&attendance, ttl);
        self.run_with(checked, with!(attendance; |link, ttl_ms| flow::attend(link, &attendance, ttl_ms)))
    }

    fn leave(&self, attendance: Attendance) -> Answer<'_, ()> {
        self.run(Ok(()), with!(attendance; |link| flow::leave(link, &attendance)))
    }

    fn identify(&self, new: NewIdentity) -> Answer<'_, Identified> {
        self.run(pending::key(&new.key), with!(new; |link| persons::identify(link, &new)))
    }

    fn owner(&self, tenant: &Tenant, key: &IdentityKey) -> Answer<'_, Option<PersonId>> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.ask(with!(tenant, key; |link| persons::owner(link, &tenant, &key)))
    }

    fn identities(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Vec<Identity>> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| persons::identities(link, &tenant, person)))
    }

    fn person(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Option<PersonId>> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| persons::root(link, &tenant, person)))
    }

    fn merge(&self, merge: Merge) -> Answer<'_, Appended> {
        pending::first(self.write(pending::merge(merge, false)))
    }

    fn unmerge(&self, merge: Merge) -> Answer<'_, Appended> {
        pending::first(self.write(pending::merge(merge, true)))
    }

    fn erase(&self, erase: Erase) -> Answer<'_, Erased> {
        self.run(pending::erase(&erase), with!(erase; |link| persons::erase(link, &erase)))
    }

    fn retain(&self, retention: Retention) -> Answer<'_, Erased> {
        let Retention { tenant, ended_before, .. } = retention.clone();
        let limit = RETAIN_CONVERSATIONS;
        let outlived = self.ask(with!(tenant; |link| persons::outlived(link, &tenant, ended_before, limit)));
        Box::pin(async move { crate::erase::each(self, &retention, outlived.await?).await })
    }

    fn forget(&self, tenant: &Tenant, person: PersonId, by: &str, at: Timestamp) -> Answer<'_, u64> {
        let (checked, tenant, by) = (pending::by(by), tenant.clone(), by.to_owned());
        self.run(checked, with!(tenant, by; |link| persons::forget(link, &tenant, person, &by, at)))
    }

    fn audit(
        &self,
        tenant: &Tenant,
        conversation: Option<ConversationId>,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<AuditRow>> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| persons::audit_rows(link, &tenant, conversation, before, limit)))
    }

    fn check(&self) -> Answer<'_, Check> {
        let id = self.shared.store_id.clone();
        self.ask(with!(id; |link| flow::check(link, &id)))
    }

    fn backup(&self, to: &Path) -> Answer<'_, Backup> {
        let (shared, to) = (Arc::clone(&self.shared), to.to_owned());
        Box::pin(async move {
            // A thread of its own: the program takes as long as the copy takes.
            let (reply, answer) = oneshot::channel();
            let thread = std::thread::Builder::new().name("ark-store-copy".to_owned());
            let copying = thread.spawn(move || drop(reply.send(copy::backup(&shared.road, &to))));
            copying.map_err(|error| StoreError::Io { path: "ark-store-copy".into(), detail: error.to_string() })?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn read(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        after_seq: u64,
        limit: usize,
    ) -> Answer<'_, Vec<Record>> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| rows::read(link, &tenant, conversation, after_seq, limit)))
    }

    fn list(&self, tenant: &Tenant, filter: ListFilter, limit: usize) -> Answer<'_, Page> {
        let tenant = tenant.clone();
        self.ask(with!(tenant, filter; |link| rows::list(link, &tenant, &filter, limit)))
    }

    fn search(&self, tenant: &Tenant, words: &str, before: Option<(ConversationId, u64)>) -> Answer<'_, Found> {
        let (tenant, words) = (tenant.clone(), words.to_owned());
        if let Err(error) = search::checked(&words) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.ask(with!(tenant, words; |link| rows::search(link, &tenant, &words, before)))
    }

    fn summary(&self, tenant: &Tenant, conversation: ConversationId) -> Answer<'_, Option<ConversationState>> {
        let tenant = tenant.clone();
        self.ask(with!(tenant; |link| rows::state(link, &tenant, conversation)))
    }

    fn put_token(&self, token: ApiToken) -> Answer<'_, ()> {
        self.run(token::checked(&token), with!(token; |link| tokens::put(link, &token)))
    }

    fn tokens(&self) -> Answer<'_, Vec<ApiToken>> {
        self.ask(with!(; |link| tokens::all(link)))
    }

    fn revoke_token(&self, which: &str, at: Timestamp) -> Answer<'_, Option<ApiToken>> {
        let which = which.to_owned();
        self.run(Ok(()), with!(which; |link| tokens::revoke(link, &which, at)))
    }

    fn token_used(&self, id: &str, at: Timestamp) -> Answer<'_, ()> {
        let id = id.to_owned();
        self.run(Ok(()), with!(id; |link| tokens::used(link, &id, at)))
    }

    fn put_account(&self, new: NewAccount) -> Answer<'_, ()> {
        self.run(account::checked(&new.account, &new.credentials), with!(new; |link| accounts::put(link, &new)))
    }

    fn accounts(&self) -> Answer<'_, Vec<Account>> {
        self.ask(with!(; |link| accounts::all(link)))
    }

    fn account(&self, name: &str) -> Answer<'_, Option<(Account, Credentials)>> {
        let name = name.to_owned();
        self.ask(with!(name; |link| accounts::one(link, &name)))
    }

    fn account_of_subject(&self, subject: &str) -> Answer<'_, Option<Account>> {
        let subject = subject.to_owned();
        self.ask(with!(subject; |link| accounts::of_subject(link, &subject)))
    }

    fn change_account(&self, name: &str, change: AccountChange) -> Answer<'_, Option<Account>> {
        let name = name.to_owned();
        self.run(Ok(()), with!(name, change; |link| accounts::change(link, &name, &change)))
    }

    fn remove_account(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.run(Ok(()), with!(name; |link| accounts::remove(link, &name)))
    }

    fn put_session(&self, session: Session) -> Answer<'_, ()> {
        self.run(account::session_checked(&session), with!(session; |link| accounts::put_session(link, &session)))
    }

    fn session(&self, sha256: &str) -> Answer<'_, Option<(Session, Account)>> {
        let sha256 = sha256.to_owned();
        self.ask(with!(sha256; |link| accounts::session(link, &sha256)))
    }

    fn renew_session(&self, sha256: &str, used_at: Timestamp, ends_at: Timestamp) -> Answer<'_, bool> {
        let sha256 = sha256.to_owned();
        self.run(Ok(()), with!(sha256; |link| accounts::renew(link, &sha256, used_at, ends_at)))
    }

    fn end_session(&self, sha256: &str) -> Answer<'_, bool> {
        let sha256 = sha256.to_owned();
        self.run(Ok(()), with!(sha256; |link| accounts::end(link, &sha256)))
    }

    fn note(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<Note>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(with!(tenant, name; |link| notes::get(link, &tenant, &name)))
    }

    fn swap_note(&self, tenant: &Tenant, name: &str, known: u64, body: Vec<u8>) -> Answer<'_, bool> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        let checked = note::checked(&name, &body);
        self.run(checked, with!(tenant, name, body; |link| notes::swap(link, &tenant, &name, known, &body)))
    }

    fn put_plan_version(&self, plan: NewPlanVersion) -> Answer<'_, PlanVersion> {
        self.run(pending::plan(&plan), with!(plan; |link| async { Ok(Ok(rows::put_plan(link, &plan).await?)) }))
    }

    fn plan_versions(&self, tenant: &Tenant, name: Option<&str>, limit: usize) -> Answer<'_, Vec<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.map(str::to_owned));
        self.ask(with!(tenant, name; |link| rows::plan_versions(link, &tenant, name.as_deref(), limit)))
    }

    fn plan_version(&self, tenant: &Tenant, name: &str, version: u32) -> Answer<'_, Option<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(with!(tenant, name; |link| rows::plan_version(link, &tenant, &name, version)))
    }

    fn live_plan(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<PlanVersion>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(with!(tenant, name; |link| rows::live_plan(link, &tenant, &name)))
    }

    fn set_live_plan(&self, change: PlanChange, event: Option<NewEvent>) -> Answer<'_, LivePlan> {
        pending::live_plan(self.write(pending::live(change, event)))
    }

    fn plan_history(&self, tenant: &Tenant, name: &str, limit: usize) -> Answer<'_, Vec<PlanChange>> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.ask(with!(tenant, name; |link| rows::plan_history(link, &tenant, &name, limit)))
    }

    fn health(&self) -> Pin<Box<dyn std::future::Future<Output = Health> + Send + '_>> {
        Box::pin(async move {
            let probe = "update meta set value = (value::bigint + 1)::text where key = 'probe'";
            let write = match self.shared.counters.failing() {
                // Nobody may be writing while it fails: try, so that it is found well again.
                Some(_) => {
                    let probed = async |link: &Link| Ok::<_, Fault>(Ok(link.execute(probe, &[]).await.map(drop)?));
                    self.run(Ok(()), move |link| Box::pin(probed(link))).await
                }
                None if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => Err(StoreError::Closed),
                None => Ok(()),
            };
            let read = self.ask(with!(; |link| link.one("select 1", &[]))).await.map(drop);
            self.shared.counters.health(write.and(read))
        })
    }

    fn store_id(&self) -> &str {
        &self.shared.store_id
    }
}
