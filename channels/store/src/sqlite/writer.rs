//! The one writer: drains what waits, writes it in one transaction, answers when that is on the disk.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ark_conversation::{ConversationState, Record};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::failpoint::{self, Point};
use crate::heads::{Head, Heads, Key, Threads};
use crate::limits::{COMMIT_EVENTS_MAX, HEAD_CHANNELS_MAX, OUTBOX_ROW_EVENTS};
use crate::pace::{Pace, Patience};
use crate::pending::{self, Also, AlsoDone, Pending, Write, Written};
use crate::plan::{NewPlanVersion, PlanChange, PlanChangeKind, PlanVersion};
use crate::sqlite::fail::{self, is_of_one_job};
use crate::sqlite::{Shared, direct, flow, leases, persons, rows};
use crate::waiting::{Change, Held};

pub(super) type Reply<T> = oneshot::Sender<std::result::Result<T, StoreError>>;
pub(super) type Result<T> = rusqlite::Result<T>;
/// What a job's part of the transaction came to: a refusal has written nothing.
pub(super) type Said<T> = std::result::Result<T, StoreError>;

/// Something that the writer is asked to do.
pub(super) trait Job: Send {
    /// How much it is, in events.
    fn weight(&self) -> usize;
    /// Does it within a transaction. May be called again when that transaction failed.
    fn run(&mut self, work: &mut Work<'_>) -> Result<()>;
    /// Tells the caller what came of it, when the transaction is committed (`Ok`) or failed. A caller that went away
    /// does not need the answer.
    fn answer(self: Box<Self>, outcome: Said<()>);
}

/// A job that is a function.
pub(super) struct Call<F, T> {
    pub(super) run: F,
    pub(super) done: Option<Said<T>>,
    pub(super) reply: Reply<T>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnMut(&mut Work<'_>) -> Result<Said<T>> + Send,
    T: Send,
{
    fn weight(&self) -> usize {
        1
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<()> {
        self.done = Some((self.run)(work)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Said<()>) {
        let Self { done, reply, .. } = *self;
        let _ = reply.send(outcome.and_then(|()| done.expect("a committed job has run")));
    }
}

/// The job of everything that appends.
pub(super) struct Append {
    pub(super) write: Write,
    pub(super) done: Option<Said<AppendDone>>,
    pub(super) reply: Reply<Written>,
}

/// For each event the record that was there before; how many deliveries are new; and the rest.
pub(super) struct AppendDone {
    found: Vec<Option<Box<Record>>>,
    deliveries: usize,
    direct: Vec<u64>,
    also: AlsoDone,
}

impl Job for Append {
    fn weight(&self) -> usize {
        self.write.weight()
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<()> {
        self.done = Some(work.write(&mut self.write)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Said<()>) {
        let Self { write, done, reply } = *self;
        let done = outcome.and_then(|()| done.expect("a committed job has run"));
        let events = write.events;
        let _ = reply.send(done.map(|AppendDone { found, deliveries, direct, also }| Written {
            appended: pending::appended(events, found),
            deliveries,
            direct,
            also,
        }));
    }
}

/// Writes something, to see whether writing works.
pub(super) fn probe(work: &mut Work<'_>) -> Result<Said<()>> {
    work.db.execute("update meta set value = value + 1 where key = 'probe'", [])?;
    Ok(Ok(()))
}

/// The writer's own state; lives on its thread.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) shared: Arc<Shared>,
    heads: Heads,
    threads: Threads,
    /// The last number of the inbox; none: to be read.
    last_row: Option<u64>,
}

impl Writer {
    pub(super) fn new(db: Connection, shared: Arc<Shared>) -> Self {
        Self { db, shared, heads: Heads::default(), threads: Threads::default(), last_row: None }
    }

    /// Runs until every sender is gone and everything that waited is answered.
    pub(super) fn run(mut self, jobs: &Receiver<Box<dyn Job>>) {
        let mut pace = Pace::default();
        while let Ok(first) = jobs.recv() {
            let mut more = More { jobs, pace: &pace, patience: pace.patience(), waited: Duration::ZERO };
            self.shared.counters.taken(1);
            let begun = Instant::now();
            let jobs = self.commit(vec![first], Some(&mut more));
            let took = begun.elapsed().saturating_sub(more.waited);
            pace.committed(jobs, took);
        }
    }

    /// Commits a group, and what comes while it is written, and answers; how many jobs that were. When one job spoils it
    /// for the others, each is tried alone.
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>, more: Option<&mut More<'_>>) -> usize {
        let outcome = self.transact(&mut group, more);
        let jobs = group.len();
        match outcome {
            Ok(()) => {
                failpoint::at(Point::BeforeAnswer);
                for job in group {
                    job.answer(Ok(()));
                }
            }
            Err(error) if jobs > 1 && is_of_one_job(&error) => {
                for job in group {
                    self.commit(vec![job], None);
                }
            }
            Err(error) => {
                for job in group {
                    job.answer(Err(error.clone()));
                }
            }
        }
        jobs
    }

    /// One transaction over a group: all of it is on the disk, or none.
    fn transact(&mut self, group: &mut Vec<Box<dyn Job>>, more: Option<&mut More<'_>>) -> Said<()> {
        failpoint::at(Point::BeforeWrite);
        match self.try_transact(group, more) {
            Ok(events) => {
                self.shared.counters.committed(events);
                Ok(())
            }
            Err(error) => {
                // The transaction is rolled back; what was remembered of it is not in the log.
                self.heads.clear();
                self.threads.clear();
                self.last_row = None;
                self.shared.waiting.forget();
                let error = fail::said(&error, &self.shared.place);
                self.shared.counters.failed(&error);
                Err(error)
            }
        }
    }

    fn try_transact(&mut self, group: &mut Vec<Box<dyn Job>>, mut more: Option<&mut More<'_>>) -> Result<u64> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work {
            db: &transaction,
            shared: &self.shared,
            heads: &mut self.heads,
            threads: &mut self.threads,
            last_row: &mut self.last_row,
            hot: Hot::default(),
            dirty: Vec::new(),
            outgoing: Vec::new(),
            sent: Vec::new(),
            waiting: Vec::new(),
            numbered: false,
            events: 0,
        };
        let (mut at, mut events) = (0, 0);
        while let Some(job) = group.get_mut(at) {
            job.run(&mut work)?;
            (at, events) = (at + 1, events + job.weight());
            // What comes is written at once, while others are on their way.
            if at == group.len()
                && events < COMMIT_EVENTS_MAX
                && let Some(next) = more.as_mut().and_then(|more| more.next(at))
            {
                self.shared.counters.taken(1);
                group.push(next);
            }
        }
        work.finish()?;
        let (events, waiting) = (work.events, std::mem::take(&mut work.waiting));
        drop(work);
        failpoint::at(Point::BeforeCommit);
        transaction.commit()?;
        // Before anybody is answered, so that what was answered is seen.
        self.shared.waiting.committed(waiting);
        if !self.shared.waiting.knows()
            && let Ok((waiting, last)) = flow::waits(&self.db)
        {
            self.shared.waiting.begin(waiting, last);
        }
        Ok(events)
    }
}

/// What comes while a group is written.
struct More<'a> {
    jobs: &'a Receiver<Box<dyn Job>>,
    pace: &'a Pace,
    patience: Patience,
    /// How long nothing was there.
    waited: Duration,
}

impl More<'_> {
    /// The next job of a group of so many; none when it is to be committed.
    fn next(&mut self, jobs: usize) -> Option<Box<dyn Job>> {
        match self.jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) if self.pace.is_enough(jobs) => None,
            // Whoever was answered a moment ago is about to come again: one commit for all of them.
            Err(_) => {
                let begun = Instant::now();
                let job = self.jobs.recv_timeout(self.patience.left()).ok();
                self.waited += begun.elapsed();
                job
            }
        }
    }
}

/// A statement that runs for each of many rows of a transaction: looked up once.
#[derive(Default)]
pub(super) struct Statement<'a>(Option<CachedStatement<'a>>);

impl<'a> Statement<'a> {
    pub(super) fn get(&mut self, db: &'a Connection, sql: &str) -> Result<&mut CachedStatement<'a>> {
        match &mut self.0 {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(db.prepare_cached(sql)?)),
        }
    }
}

/// The statements of a message's road.
#[derive(Default)]
pub(super) struct Hot<'a> {
    pub(super) known: Statement<'a>,
    pub(super) waiting: Statement<'a>,
    pub(super) applied: Statement<'a>,
    log: Statement<'a>,
}

/// One transaction at work.
pub(super) struct Work<'a> {
    pub(super) db: &'a Transaction<'a>,
    pub(super) shared: &'a Shared,
    pub(super) heads: &'a mut Heads,
    pub(super) threads: &'a mut Threads,
    last_row: &'a mut Option<u64>,
    pub(super) hot: Hot<'a>,
    /// Conversations whose rows must be written.
    dirty: Vec<Key>,
    /// Conversations with something for the outbox.
    outgoing: Vec<Key>,
    /// Stretches that are full, for the outbox.
    sent: Vec<flow::Stretch>,
    /// What came into the inbox, and what is done.
    waiting: Vec<Change>,
    /// Whether numbers of the inbox were given.
    numbered: bool,
    /// Events written.
    events: u64,
}

impl Work<'_> {
    /// One commit: what may refuse it is looked at first, so that a refusal has written nothing.
    fn write(&mut self, write: &mut Write) -> Result<Said<AppendDone>> {
        if let Some(fence) = &write.fence
            && let Err(refused) = leases::held(self, fence)?
        {
            return Ok(Err(refused));
        }
        for of in &write.after {
            let key = (of.tenant.clone(), of.conversation);
            self.knows(&key)?;
            if self.heads.get(&key).map_or(0, |head| head.state.last_seq) != of.seq {
                return Ok(Err(StoreError::GoneOn { conversation: of.conversation, seq: of.seq }));
            }
        }
        for of in &write.persons {
            let key = (of.tenant.clone(), of.conversation);
            let begins = write.events.iter().any(|one| one.record.conversation == key.1 && one.record.tenant == key.0);
            if !begins && !self.knows(&key)? {
                return Ok(Err(StoreError::Conflict(format!("conversation {} is not in the log", key.1))));
            }
        }
        for merge in &write.merges {
            if let Some(refused) = persons::unknown(self.db, merge)? {
                return Ok(Err(refused));
            }
        }
        let direct = match direct::take(self, &write.direct)? {
            Ok(direct) => direct,
            Err(refused) => return Ok(Err(refused)),
        };
        let also = match &write.also {
            Also::Nothing => AlsoDone::Nothing,
            Also::SetLive(change) => match self.set_live(change)? {
                Ok(done) => done,
                Err(refused) => return Ok(Err(refused)),
            },
            Also::Merge(merge) => match persons::merge(self.db, merge)? {
                Ok(()) => AlsoDone::Nothing,
                Err(refused) => return Ok(Err(refused)),
            },
            Also::Unmerge(merge) => match persons::unmerge(self.db, merge)? {
                Ok(()) => AlsoDone::Nothing,
                Err(refused) => return Ok(Err(refused)),
            },
            Also::Advance(step) => match rows::advance(self.db, step)? {
                true => AlsoDone::Nothing,
                false => return Ok(Err(step.elsewhere())),
            },
        };
        if matches!(also, AlsoDone::Live { changed: false, .. }) {
            write.events.clear();
        }
        flow::applied(self, &write.applied)?;
        let found = write.events.iter_mut().map(|pending| self.append(pending)).collect::<Result<_>>()?;
        let mut deliveries = 0;
        for delivery in &write.deliveries {
            deliveries += usize::from(flow::insert_delivery(self.db, delivery)?);
        }
        for merge in &write.merges {
            persons::merge_now(self.db, merge)?;
        }
        if !write.persons.is_empty() {
            self.write_states()?;
            for of in &write.persons {
                self.db
                    .prepare_cached("update conversation set person = ?3 where tenant = ?1 and conversation = ?2")?
                    .execute(params![of.tenant.as_str(), of.conversation.to_bytes(), of.person.to_bytes()])?;
            }
        }
        Ok(Ok(AppendDone { found, deliveries, direct, also }))
    }

    /// The last number that a row of the inbox was given.
    pub(super) fn last_row(&mut self) -> Result<u64> {
        match *self.last_row {
            Some(row) => Ok(row),
            None => Ok(*self.last_row.insert(flow::last_row(self.db)?)),
        }
    }

    /// A row of the inbox is written under the next number.
    pub(super) fn came(&mut self, row: u64, held: Held) {
        self.numbered(row);
        self.waiting.push(Change::Came(row, held));
    }

    /// This number of the inbox is given.
    pub(super) fn numbered(&mut self, row: u64) {
        (*self.last_row, self.numbered) = (Some(row), true);
    }

    /// Whether nothing at all waits in the inbox.
    pub(super) fn is_inbox_empty(&self) -> bool {
        self.waiting.is_empty() && self.shared.waiting.is_empty()
    }

    /// These rows of the inbox are done; so many of them had been waiting.
    pub(super) fn done(&mut self, first: u64, last: u64, waited: u64) {
        self.waiting.push(Change::Done(first, last, waited));
    }

    /// Whether a conversation is in the log. Its head is remembered then.
    pub(super) fn knows(&mut self, key: &Key) -> Result<bool> {
        Ok(self.last_seq(key)?.is_some())
    }

    /// The last number of a conversation that is in the log. Its head is remembered then.
    fn last_seq(&mut self, key: &Key) -> Result<Option<u64>> {
        if let Some(head) = self.heads.get(key) {
            return Ok(Some(head.state.last_seq));
        }
        let Some(state) = rows::state(self.db, &key.0, key.1)? else { return Ok(None) };
        let last = state.last_seq;
        self.heads.put(key.clone(), Head::new(state));
        Ok(Some(last))
    }

    /// Writes one event under the next number of its conversation; answers the record that is there when it is a
    /// duplicate.
    fn append(&mut self, pending: &mut Pending) -> Result<Option<Box<Record>>> {
        let record = &mut pending.record;
        let key = (record.tenant.clone(), record.conversation);
        let last = self.last_seq(&key)?.unwrap_or(0);
        let epoch = self.heads.get(&key).map_or(1, |head| head.state.epoch);
        (record.seq, record.epoch) = (last + 1, epoch.max(pending.epoch));
        let insert = self.hot.log.get(self.db, rows::INSERT)?;
        if !rows::insert(insert, record, &pending.data, pending.extensions.as_deref())? {
            let there = rows::find(self.db, &record.tenant, &record.event.source, &record.event.id)?;
            return Ok(Some(Box::new(there.ok_or(rusqlite::Error::QueryReturnedNoRows)?)));
        }
        self.events += 1;
        let head = match self.heads.get(&key) {
            Some(head) => {
                if head.state.apply(record) == ark_conversation::Change::Shown && !head.dirty {
                    head.dirty = true;
                    self.dirty.push(key.clone());
                }
                head
            }
            None => {
                self.heads.put(key.clone(), Head { dirty: true, ..Head::new(ConversationState::begin(record)) });
                self.dirty.push(key.clone());
                self.heads.get(&key).expect("it was put there")
            }
        };
        note_channel(self.db, head, record)?;
        if self.shared.outbox {
            let (first, count) = match head.outgoing {
                Some((first, last)) => (first, last - first + 1),
                None => (record.seq, 0),
            };
            if count >= OUTBOX_ROW_EVENTS as u64 {
                self.sent.push((key, first, record.seq - 1));
                head.outgoing = Some((record.seq, record.seq));
            } else {
                if count == 0 {
                    self.outgoing.push(key);
                }
                head.outgoing = Some((first, record.seq));
            }
        }
        Ok(None)
    }

    /// Writes what stands for whole groups: states and the outbox.
    fn finish(&mut self) -> Result<()> {
        let dirty = self.write_states()?;
        for key in std::mem::take(&mut self.outgoing) {
            let head = self.heads.get(&key).expect("what a transaction touched is remembered to its end");
            if let Some((first, last)) = head.outgoing.take() {
                self.sent.push((key, first, last));
            }
        }
        flow::insert_outgoing(self.db, self.shared.topology, &self.sent)?;
        if self.numbered {
            let row = self.last_row()?;
            self.db
                .prepare_cached("update meta set value = ?1 where key = 'inbox_row'")?
                .execute(params![row.to_string()])?;
        }
        for key in &dirty {
            self.heads.let_go_of_ended(key);
        }
        Ok(())
    }

    /// Answers whose states were written.
    fn write_states(&mut self) -> Result<Vec<Key>> {
        let dirty = std::mem::take(&mut self.dirty);
        for key in &dirty {
            let head =
                self.heads.get(key).expect("what a transaction touched is remembered to its end (limits of Heads)");
            head.dirty = false;
            let json = serde_json::to_string(&head.state).expect("a state's keys are strings and its numbers finite");
            rows::put_state(self.db, &head.state, &json)?;
            if head.state.ended.is_some() {
                self.threads.forget(key);
            }
        }
        Ok(dirty)
    }

    pub(super) fn put_plan(&mut self, plan: &NewPlanVersion) -> Result<Said<PlanVersion>> {
        if let Some(there) = rows::plan_by_hash(self.db, &plan.tenant, &plan.name, &plan.sha256)? {
            return Ok(Ok(there));
        }
        let tenant = plan.tenant.as_str();
        let last: u32 = self.db.query_row(
            "select coalesce(max(version), 0) from plan_version where tenant = ?1 and name = ?2",
            params![tenant, plan.name],
            |row| row.get(0),
        )?;
        let version = last + 1;
        self.db.execute(
            "insert into plan_version (tenant, name, version, sha256, source, at_us, by, note)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![tenant, plan.name, version, plan.sha256, plan.source, plan.at.as_microsecond(), plan.by, plan.note],
        )?;
        let written = rows::plan_version(self.db, &plan.tenant, &plan.name, version)?;
        Ok(Ok(written.ok_or(rusqlite::Error::QueryReturnedNoRows)?))
    }

    fn set_live(&self, change: &PlanChange) -> Result<Said<AlsoDone>> {
        let PlanChange { tenant, name, version, .. } = change;
        let Some(mut live) = rows::plan_version(self.db, tenant, name, *version)? else {
            return Ok(Err(StoreError::NoSuchPlan { name: name.clone(), version: *version }));
        };
        let previous = rows::live_plan(self.db, tenant, name)?.map(|plan| plan.version);
        if previous == Some(*version) {
            return Ok(Ok(AlsoDone::Live { live: Box::new(live), previous, changed: false }));
        }
        let kind = match change.kind {
            PlanChangeKind::Published => "published",
            PlanChangeKind::RolledBack => "rolled_back",
        };
        self.db.execute(
            "insert into plan_change (tenant, name, version, kind, at_us, by, note)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![tenant.as_str(), name, version, kind, change.at.as_microsecond(), change.by, change.note],
        )?;
        live.live = true;
        Ok(Ok(AlsoDone::Live { live: Box::new(live), previous, changed: true }))
    }
}

/// Writes by which channel an event came, unless the head knows that it is written.
fn note_channel(db: &Connection, head: &mut Head, record: &Record) -> Result<()> {
    let Some(channel) = pending::channel(&record.event.source) else { return Ok(()) };
    if head.channels.iter().any(|known| known == channel) {
        return Ok(());
    }
    db.prepare_cached("insert into conversation_channel values (?1, ?2, ?3) on conflict do nothing")?
        .execute(params![record.tenant.as_str(), channel, record.conversation.to_bytes()])?;
    if head.channels.len() < HEAD_CHANNELS_MAX {
        head.channels.push(channel.to_owned());
    }
    Ok(())
}
