//! A lane: one connection that writes, and the queue before it. What waits is written in groups, one transaction each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::direct::Numbers;
use super::fail::{Fault, is_of_one_job};
use super::link::{Link, Result};
use super::log::{self, AppendDone};
use super::{inbox, schema};
use crate::error::StoreError;
use crate::failpoint::{self, Point};
use crate::heads::Heads;
use crate::inbox::Ingested;
use crate::limits::{COMMIT_EVENTS_MAX, PG_BACKOFF, PG_COLLISIONS_MAX, PG_COMMIT_WAIT};
use crate::pace::{Pace, Patience};
use crate::pending::{self, PendingInbound, Write, Written};

pub(super) type Reply<T> = oneshot::Sender<std::result::Result<T, StoreError>>;
pub(super) type Said<T> = std::result::Result<T, StoreError>;
pub(super) type Future<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// Something that is done in a transaction of its own. May be called again when that transaction failed.
pub(super) trait Job: Send {
    fn run<'a>(&'a mut self, link: &'a Link) -> Future<'a, Result<()>>;
    /// Whether it wrote anything that is to be kept.
    fn keeps(&self) -> bool;
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
    F: for<'a> FnMut(&'a Link) -> Future<'a, Result<Said<T>>> + Send,
    T: Send,
{
    fn run<'a>(&'a mut self, link: &'a Link) -> Future<'a, Result<()>> {
        Box::pin(async move {
            self.done = Some((self.run)(link).await?);
            Ok(())
        })
    }

    fn keeps(&self) -> bool {
        matches!(self.done, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, outcome: Said<()>) {
        let Self { done, reply, .. } = *self;
        // A caller that went away does not need the answer.
        let _ = reply.send(outcome.and_then(|()| done.expect("a committed job has run")));
    }
}

/// What a lane is asked to do.
pub(super) enum Ask {
    Write(Box<Write>, Reply<Written>),
    Ingest(PendingInbound, Reply<Ingested>),
    Call(Box<dyn Job>),
}

impl Ask {
    fn refuse(self, error: &StoreError) {
        match self {
            Self::Write(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Ingest(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Call(job) => job.answer(Err(error.clone())),
        }
    }
}

/// What is written in one transaction.
enum Group {
    Writes(Vec<(Write, Reply<Written>)>),
    Ingests(Vec<(PendingInbound, Reply<Ingested>)>),
    Call(Box<dyn Job>),
}

/// One lane; runs on the store's thread.
pub(super) struct Lane {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Ask>,
    /// What was taken from the queue and did not fit the group.
    stash: Option<Ask>,
    link: Option<Link>,
    heads: Heads,
    numbers: Numbers,
    pace: Pace,
    wait: Duration,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Ask>, link: Link) -> Self {
        let (heads, numbers, pace) = (Heads::default(), Numbers::default(), Pace::default());
        Self { shared, jobs, stash: None, link: Some(link), heads, numbers, pace, wait: *PG_BACKOFF.start() }
    }

    /// Runs until every sender is gone and everything that waited is answered.
    pub(super) async fn run(mut self) {
        loop {
            let Some(link) = &mut self.link else {
                if !self.reconnect().await {
                    return;
                }
                continue;
            };
            let next = match self.stash.take() {
                Some(ask) => Some(ask),
                None => tokio::select! {
                    ask = self.jobs.recv() => ask,
                    () = link.ended() => {
                        self.lost("the connection ended");
                        continue;
                    }
                },
            };
            let Some(first) = next else { return };
            let (group, jobs) = self.gather(first).await;
            self.shared.counters.taken(jobs);
            let begun = Instant::now();
            self.write(group).await;
            self.pace.committed(jobs, begun.elapsed());
        }
    }

    /// Waits, tries, and meanwhile answers everybody that the database is away. False when the store was closed.
    async fn reconnect(&mut self) -> bool {
        let pause = tokio::time::sleep(jittered(self.wait));
        tokio::pin!(pause);
        let away = self.shared.counters.failing().unwrap_or(StoreError::Closed);
        if let Some(ask) = self.stash.take() {
            self.shared.counters.taken(1);
            ask.refuse(&away);
        }
        loop {
            tokio::select! {
                () = &mut pause => break,
                ask = self.jobs.recv() => match ask {
                    Some(ask) => {
                        self.shared.counters.taken(1);
                        ask.refuse(&away);
                    }
                    None => return false,
                },
            }
        }
        match self.shared.connect().await {
            Ok(link) => {
                (self.link, self.wait) = (Some(link), *PG_BACKOFF.start());
                self.shared.counters.well();
            }
            Err(error) => {
                self.wait = (self.wait * 2).min(*PG_BACKOFF.end());
                self.shared.counters.failed(&error);
            }
        }
        true
    }

    fn lost(&mut self, detail: &str) {
        self.link = None;
        self.heads.clear();
        let place = self.shared.road.place.clone();
        self.shared.counters.failed(&StoreError::Away { place, detail: detail.to_owned() });
    }

    /// Takes what waits and fits one transaction.
    async fn gather(&mut self, first: Ask) -> (Group, usize) {
        let patience = self.pace.patience();
        match first {
            Ask::Call(job) => (Group::Call(job), 1),
            Ask::Write(write, reply) => {
                let (mut weight, plain) = (write.weight(), write.is_plain());
                let mut group = vec![(*write, reply)];
                while plain && weight < COMMIT_EVENTS_MAX {
                    match self.next(group.len(), patience).await {
                        Some(Ask::Write(write, reply)) if write.is_plain() => {
                            weight += write.weight();
                            group.push((*write, reply));
                        }
                        Some(other) => {
                            self.stash = Some(other);
                            break;
                        }
                        None => break,
                    }
                }
                let jobs = group.len();
                (Group::Writes(group), jobs)
            }
            Ask::Ingest(new, reply) => {
                let mut group = vec![(new, reply)];
                while group.len() < COMMIT_EVENTS_MAX {
                    match self.next(group.len(), patience).await {
                        Some(Ask::Ingest(new, reply)) => group.push((new, reply)),
                        Some(other) => {
                            self.stash = Some(other);
                            break;
                        }
                        None => break,
                    }
                }
                let jobs = group.len();
                (Group::Ingests(group), jobs)
            }
        }
    }

    /// What waits, or comes in a moment from those who were answered with the last group.
    async fn next(&mut self, jobs: usize, patience: Patience) -> Option<Ask> {
        match self.jobs.try_recv() {
            Ok(ask) => Some(ask),
            Err(_) if self.pace.is_enough(jobs) => None,
            Err(_) => tokio::time::timeout_at(patience.end().into(), self.jobs.recv()).await.ok().flatten(),
        }
    }

    /// Commits a group and answers. When one of it spoils it for the others, each is tried alone.
    async fn write(&mut self, group: Group) {
        match group {
            Group::Writes(group) => {
                let (mut writes, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
                match self.writes(&mut writes).await {
                    Ok(done) => {
                        failpoint::at(Point::BeforeAnswer);
                        for ((write, reply), done) in writes.into_iter().zip(replies).zip(done) {
                            let told = |AppendDone { found, deliveries, direct, also }| Written {
                                appended: pending::appended(write.events, found),
                                deliveries,
                                direct,
                                also,
                            };
                            let _ = reply.send(done.map(told));
                        }
                    }
                    Err(error) if replies.len() > 1 && is_of_one_job(&error) => {
                        for one in writes.into_iter().zip(replies) {
                            Box::pin(self.write(Group::Writes(vec![one]))).await;
                        }
                    }
                    Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
                }
            }
            Group::Ingests(group) => {
                let (news, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
                match self.ingests(&news).await {
                    Ok(done) => {
                        failpoint::at(Point::BeforeAnswer);
                        replies.into_iter().zip(done).for_each(|(reply, done)| drop(reply.send(Ok(done))));
                    }
                    Err(error) if replies.len() > 1 && is_of_one_job(&error) => {
                        for one in news.into_iter().zip(replies) {
                            Box::pin(self.write(Group::Ingests(vec![one]))).await;
                        }
                    }
                    Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
                }
            }
            Group::Call(mut job) => {
                let outcome = self.call(job.as_mut()).await;
                if outcome.is_ok() {
                    failpoint::at(Point::BeforeAnswer);
                }
                job.answer(outcome);
            }
        }
    }

    async fn writes(&mut self, writes: &mut [Write]) -> Said<Vec<Said<AppendDone>>> {
        failpoint::at(Point::BeforeWrite);
        let mut tries = log::Tries::default();
        loop {
            let (Some(link), shared) = (&self.link, &self.shared) else { return Err(StoreError::Closed) };
            let remembered = (&mut self.heads, &mut self.numbers);
            let tried = within(log::write(link, shared, remembered, writes, &mut tries)).await;
            match tried {
                Ok(Some((done, events))) => {
                    self.shared.counters.committed(events);
                    return Ok(done);
                }
                Ok(None) => {}
                Err(Some(fault)) if fault.is_collision() => {}
                Err(fault) => return Err(self.failed(fault).await),
            }
            self.undo().await?;
            tries.count += 1;
            if tries.count > PG_COLLISIONS_MAX {
                return Err(StoreError::Busy { waiting: writes.len() });
            }
        }
    }

    async fn ingests(&mut self, news: &[PendingInbound]) -> Said<Vec<Ingested>> {
        failpoint::at(Point::BeforeWrite);
        for _ in 0..PG_COLLISIONS_MAX {
            let Some(link) = &self.link else { return Err(StoreError::Closed) };
            match within(inbox::ingest(link, self.shared.topology, news)).await {
                Ok(Some(done)) => {
                    self.shared.counters.committed(0);
                    return Ok(done);
                }
                Ok(None) => {}
                Err(Some(fault)) if fault.is_collision() => {}
                Err(fault) => return Err(self.failed(fault).await),
            }
            self.undo().await?;
        }
        Err(StoreError::Busy { waiting: news.len() })
    }

    async fn call(&mut self, job: &mut dyn Job) -> Said<()> {
        failpoint::at(Point::BeforeWrite);
        for _ in 0..PG_COLLISIONS_MAX {
            let Some(link) = &self.link else { return Err(StoreError::Closed) };
            let tried = within(async {
                link.batch("begin").await?;
                job.run(link).await?;
                failpoint::at(Point::BeforeCommit);
                link.batch(if job.keeps() { "commit" } else { "rollback" }).await
            });
            match tried.await {
                Ok(()) => {
                    self.shared.counters.committed(0);
                    return Ok(());
                }
                Err(Some(fault)) if fault.is_collision() => {}
                Err(fault) => return Err(self.failed(fault).await),
            }
            self.undo().await?;
        }
        Err(StoreError::Busy { waiting: 1 })
    }

    /// Rolls back after a collision.
    async fn undo(&mut self) -> Said<()> {
        self.heads.clear();
        let Some(link) = &self.link else { return Err(StoreError::Closed) };
        match within(link.batch("rollback")).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.failed(fault).await),
        }
    }

    /// What a failed transaction is to its callers. The connection is kept when it still answers.
    async fn failed(&mut self, fault: Option<Fault>) -> StoreError {
        let place = &self.shared.road.place;
        let error = match &fault {
            Some(fault) => fault.said(place),
            None => {
                let detail = format!("no answer within {} s", PG_COMMIT_WAIT.as_secs());
                StoreError::Away { place: place.clone(), detail }
            }
        };
        self.heads.clear();
        let alive = match (&fault, &self.link) {
            (Some(_), Some(link)) if !link.is_closed() => within(link.batch("rollback")).await.is_ok(),
            _ => false,
        };
        if !alive {
            self.link = None;
        }
        self.shared.counters.failed(&error);
        error
    }
}

/// Nothing waits for ever for a database that does not answer; a fault of none is that.
async fn within<T>(what: impl std::future::Future<Output = Result<T>>) -> std::result::Result<T, Option<Fault>> {
    match tokio::time::timeout(PG_COMMIT_WAIT, what).await {
        Ok(done) => done.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Between half of a wait and all of it, so that gateways do not come back in step.
fn jittered(wait: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    wait / 2 + wait.mul_f64(f64::from(now % 1_000) / 2_000.0)
}

/// A connection that is one to this very store.
pub(super) async fn connect(shared: &Shared) -> Result<Link> {
    let link = shared.road.connect().await?;
    let now = schema::identity(&link, &shared.road).await?;
    if now.store_id != shared.store_id {
        let detail = format!("this is store {}, not {}: another database answers here", now.store_id, shared.store_id);
        return Err(StoreError::Denied { place: shared.road.place.clone(), detail }.into());
    }
    prepare(&link).await?;
    Ok(link)
}

/// Makes a connection a lane's. What a lane looks up it looks up by keys, a few hundred at a time; a plan that reads a whole
/// table because it was small when the plan was made, and is kept while it grows, would be its end.
pub(super) async fn prepare(link: &Link) -> Result<()> {
    let by_keys = "set enable_seqscan to off; set enable_hashjoin to off; set enable_mergejoin to off";
    link.batch(by_keys).await?;
    link.prepare(log::STATEMENTS).await
}
