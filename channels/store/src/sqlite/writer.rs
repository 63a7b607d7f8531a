//! The one writer: drains what waits, writes it in one transaction, answers when that is on the disk.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use ark_conversation::{ConversationState, Record};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::limits::COMMIT_EVENTS_MAX;
use crate::plan::{NewPlanVersion, PlanChange, PlanChangeKind, PlanVersion};
use crate::sqlite::fail::{self, is_of_one_job};
use crate::sqlite::heads::{Head, Heads, Key};
use crate::sqlite::{Shared, rows};
use crate::{Appended, LivePlan};

type Reply<T> = oneshot::Sender<std::result::Result<T, StoreError>>;
type Result<T> = rusqlite::Result<T>;

/// What the writer can be asked to do.
pub(super) enum Job {
    Append {
        events: Vec<Pending>,
        reply: Reply<Vec<Appended>>,
    },
    PutPlan {
        plan: Box<NewPlanVersion>,
        reply: Reply<PlanVersion>,
    },
    SetLive {
        change: Box<PlanChange>,
        event: Option<Box<Pending>>,
        reply: Reply<LivePlan>,
    },
    /// Writes something, to see whether writing works.
    Probe {
        reply: Reply<()>,
    },
}

/// An event on its way into the log.
pub(super) struct Pending {
    /// The record; its `seq` is given in the transaction.
    pub(super) record: Record,
    /// The event's data as JSON.
    pub(super) data: String,
    /// The extension attributes as JSON, where there are any.
    pub(super) extensions: Option<String>,
}

/// What a job's part of the transaction found; told when the transaction is committed.
enum Done {
    /// For each event: nothing when it was written, the record that is there when it is a duplicate.
    Append(Vec<Option<Box<Record>>>),
    PutPlan(Box<PlanVersion>),
    SetLive {
        live: Box<PlanVersion>,
        previous: Option<u32>,
        duplicate: Option<Option<Box<Record>>>,
    },
    Probe,
    /// It cannot be done, and nothing of it was written.
    Refused(StoreError),
}

impl Job {
    fn events(&self) -> usize {
        match self {
            Self::Append { events, .. } => events.len(),
            _ => 1,
        }
    }

    fn refuse(self, error: &StoreError) {
        // A caller that went away does not need the answer.
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::PutPlan { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::SetLive { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Probe { reply } => drop(reply.send(Err(error.clone()))),
        }
    }

    fn answer(self, done: Done) {
        match (self, done) {
            (Self::Append { events, reply }, Done::Append(found)) => {
                let appended = events.into_iter().zip(found).map(|(pending, found)| appended(pending, found)).collect();
                drop(reply.send(Ok(appended)));
            }
            (Self::PutPlan { reply, .. }, Done::PutPlan(plan)) => drop(reply.send(Ok(*plan))),
            (Self::SetLive { event, reply, .. }, Done::SetLive { live, previous, duplicate }) => {
                let appended = event.zip(duplicate).map(|(pending, found)| appended(*pending, found));
                drop(reply.send(Ok(LivePlan { live: *live, previous, appended })));
            }
            (Self::Probe { reply }, Done::Probe) => drop(reply.send(Ok(()))),
            (job, Done::Refused(error)) => job.refuse(&error),
            _ => unreachable!("each job is done by its own arm of `Writer::run_job`"),
        }
    }
}

fn appended(pending: Pending, found: Option<Box<Record>>) -> Appended {
    match found {
        Some(record) => Appended { record: *record, duplicate: true },
        None => Appended { record: pending.record, duplicate: false },
    }
}

/// The writer's own state; lives on its thread.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) shared: Arc<Shared>,
    heads: Heads,
}

impl Writer {
    pub(super) fn new(db: Connection, shared: Arc<Shared>) -> Self {
        Self { db, shared, heads: Heads::default() }
    }

    /// Runs until every sender is gone and everything that waited is answered.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut events = first.events();
            let mut group = vec![first];
            while events < COMMIT_EVENTS_MAX
                && let Ok(job) = jobs.try_recv()
            {
                events += job.events();
                group.push(job);
            }
            self.shared.taken(group.len());
            self.commit(group);
        }
    }

    /// Commits a group and answers. When one job spoils it for the others, each is tried alone.
    fn commit(&mut self, mut group: Vec<Job>) {
        match self.transact(&mut group) {
            Ok(done) => {
                for (job, done) in group.into_iter().zip(done) {
                    job.answer(done);
                }
            }
            Err(error) if group.len() > 1 && is_of_one_job(&error) => {
                for job in group {
                    self.commit(vec![job]);
                }
            }
            Err(error) => {
                for job in group {
                    job.refuse(&error);
                }
            }
        }
    }

    /// One transaction over a group: all of it is on the disk, or none.
    fn transact(&mut self, group: &mut [Job]) -> std::result::Result<Vec<Done>, StoreError> {
        match self.try_transact(group) {
            Ok((done, events)) => {
                self.shared.committed(events);
                Ok(done)
            }
            Err(error) => {
                // The transaction is rolled back; what was remembered of it is not in the log.
                self.heads.clear();
                let error = fail::said(&error, &self.shared.place);
                self.shared.failed(&error);
                Err(error)
            }
        }
    }

    fn try_transact(&mut self, group: &mut [Job]) -> Result<(Vec<Done>, u64)> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work { db: &transaction, heads: &mut self.heads, dirty: Vec::new(), events: 0 };
        let done = group.iter_mut().map(|job| work.run_job(job)).collect::<Result<Vec<_>>>()?;
        work.write_states()?;
        let events = work.events;
        transaction.commit()?;
        Ok((done, events))
    }
}

/// One transaction at work.
struct Work<'a> {
    db: &'a Transaction<'a>,
    heads: &'a mut Heads,
    /// Conversations whose rows must be written.
    dirty: Vec<Key>,
    /// Events written.
    events: u64,
}

impl Work<'_> {
    fn run_job(&mut self, job: &mut Job) -> Result<Done> {
        match job {
            Job::Append { events, .. } => {
                Ok(Done::Append(events.iter_mut().map(|pending| self.append(pending)).collect::<Result<_>>()?))
            }
            Job::PutPlan { plan, .. } => self.put_plan(plan).map(|plan| Done::PutPlan(Box::new(plan))),
            Job::SetLive { change, event, .. } => self.set_live(change, event.as_deref_mut()),
            Job::Probe { .. } => {
                self.db.execute("update meta set value = value + 1 where key = 'probe'", [])?;
                Ok(Done::Probe)
            }
        }
    }

    /// Writes one event under the next number of its conversation; answers the record that is there when it is a
    /// duplicate.
    fn append(&mut self, pending: &mut Pending) -> Result<Option<Box<Record>>> {
        let record = &mut pending.record;
        let key = (record.tenant.clone(), record.conversation);
        if self.heads.get(&key).is_none()
            && let Some(state) = rows::state(self.db, &key.0, key.1)?
        {
            self.heads.put(key.clone(), Head { state, dirty: false });
        }
        record.seq = self.heads.get(&key).map_or(1, |head| head.state.last_seq + 1);
        if !rows::insert(self.db, record, &pending.data, pending.extensions.as_deref())? {
            let there = rows::find(self.db, &record.tenant, &record.event.source, &record.event.id)?;
            return Ok(Some(Box::new(there.ok_or(rusqlite::Error::QueryReturnedNoRows)?)));
        }
        self.events += 1;
        match self.heads.get(&key) {
            Some(head) => {
                if head.state.apply(record) == ark_conversation::Change::Shown && !head.dirty {
                    head.dirty = true;
                    self.dirty.push(key);
                }
            }
            None => {
                let state = ConversationState::begin(record);
                self.heads.put(key.clone(), Head { state, dirty: true });
                self.dirty.push(key);
            }
        }
        Ok(None)
    }

    fn write_states(&mut self) -> Result<()> {
        for key in std::mem::take(&mut self.dirty) {
            let head =
                self.heads.get(&key).expect("what a transaction touched is remembered to its end (limits of Heads)");
            head.dirty = false;
            let json = serde_json::to_string(&head.state).expect("a state's keys are strings and its numbers finite");
            rows::put_state(self.db, &head.state, &json)?;
        }
        Ok(())
    }

    fn put_plan(&self, plan: &NewPlanVersion) -> Result<PlanVersion> {
        if let Some(there) = rows::plan_by_hash(self.db, &plan.tenant, &plan.name, &plan.sha256)? {
            return Ok(there);
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
        written.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn set_live(&mut self, change: &PlanChange, event: Option<&mut Pending>) -> Result<Done> {
        let PlanChange { tenant, name, version, .. } = change;
        let Some(mut live) = rows::plan_version(self.db, tenant, name, *version)? else {
            return Ok(Done::Refused(StoreError::NoSuchPlan { name: name.clone(), version: *version }));
        };
        let previous = rows::live_plan(self.db, tenant, name)?.map(|plan| plan.version);
        if previous == Some(*version) {
            return Ok(Done::SetLive { live: Box::new(live), previous, duplicate: None });
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
        let duplicate = event.map(|pending| self.append(pending)).transpose()?;
        Ok(Done::SetLive { live: Box::new(live), previous, duplicate })
    }
}
