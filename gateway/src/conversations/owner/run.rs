//! The owner at work: rows of the inbox, commands and deadlines in; commits out, a few under way at once, in order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ark_conversation::event::{Event, MessageOut};
use ark_conversation::machine::{Commit as Decided, Conversation, Effect, Handled, Input, Policy};
use ark_conversation::{CloudEvent, NewEvent, Record};
use ark_dialplans::ChatHeard;
use ark_store::{Committed, Erase, Inbound, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::{self, Batch, Happening};
use super::command::{self, Asked, CommandError};
use super::direct::{Offer, Offers, ShortRoad};
use super::elsewhere;
use super::failpoint::{self, Point};
use super::limits::*;
use super::machines::{self, Deadlines, Key, Machines, OpenError};
use super::plans::{self, ChatPlans, Shelf};
use super::{Clock, Note, Stats};
use crate::call::HttpResult;
use crate::conversations::Onward;
use crate::conversations::shards::{OwnShards, Right};

type Answer = Pin<Box<dyn Future<Output = Result<Committed, StoreError>> + Send>>;

struct UnderWay {
    batch: Batch,
    answer: Answer,
}

/// What the owner is made of.
pub(super) struct Owner {
    pub(super) store: Arc<dyn Store>,
    pub(super) onward: Onward,
    pub(super) own: Arc<OwnShards>,
    pub(super) policy: Arc<Policy>,
    pub(super) gateway: String,
    pub(super) clock: Clock,
    pub(super) asks: mpsc::Receiver<Asked>,
    pub(super) notes: mpsc::Receiver<Note>,
    pub(super) wake: Arc<Notify>,
    pub(super) parked: Arc<Notify>,
    pub(super) happenings: broadcast::Sender<Happening>,
    pub(super) stats: Arc<Stats>,
    pub(super) offers: mpsc::Receiver<Offer>,
    pub(super) short: Arc<ShortRoad>,
    pub(super) plans: ChatPlans,
    pub(super) shelf: Shelf,
    /// Where the answers of actions go.
    pub(super) note: mpsc::Sender<Note>,
    pub(super) asking: Arc<Semaphore>,
    pub(super) machines: Machines,
    pub(super) deadlines: Deadlines,
    pub(super) work: Work,
}

/// Where the owner is in its work.
pub(super) struct Work {
    under_way: VecDeque<UnderWay>,
    /// Rows that are being committed.
    in_flight: HashSet<u64>,
    /// Rows that are passed over: too large to be parked.
    stuck: HashSet<u64>,
    /// Rows that are committed alone, because the store refused what they were part of.
    suspects: HashSet<u64>,
    /// Rows that the store refused alone, and why.
    doomed: HashMap<u64, String>,
    /// Conversations with a commit under way, one at most: what is decided next is decided by what came of it. (A number that fits
    /// alone would not do: somebody else may have written as many records as the commit that failed.)
    pub(super) busy: HashSet<Key>,
    /// Messages that are offered.
    pub(super) offers: Offers,
    /// Commands, and ends of calls, of busy conversations: they wait until something has come back.
    held_back: VecDeque<Asked>,
    calls_held_back: VecDeque<Key>,
    /// Those that can be tried now.
    ready: VecDeque<Asked>,
    calls_over: VecDeque<Key>,
    /// Answers of actions: those of busy conversations, and those that can be taken now.
    pub(super) answers_held_back: VecDeque<(Key, u64, Box<HttpResult>)>,
    pub(super) answers: VecDeque<(Key, u64, Box<HttpResult>)>,
    after: u64,
    /// The shards of which everything up to `after` was seen, and how often they had changed.
    shards: Vec<u16>,
    changes: u64,
    reading: bool,
    again: bool,
    /// Rows of busy conversations were passed over: they are read again when so few commits are under way. (Not after each: it would be
    /// one page for a handful of rows.)
    passed_over: Option<usize>,
    pub(super) pause: Option<Instant>,
    retry: Duration,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            in_flight: HashSet::new(),
            stuck: HashSet::new(),
            suspects: HashSet::new(),
            doomed: HashMap::new(),
            busy: HashSet::new(),
            offers: Offers::default(),
            held_back: VecDeque::new(),
            calls_held_back: VecDeque::new(),
            ready: VecDeque::new(),
            calls_over: VecDeque::new(),
            answers_held_back: VecDeque::new(),
            answers: VecDeque::new(),
            after: 0,
            shards: Vec::new(),
            changes: 0,
            reading: true,
            again: false,
            passed_over: None,
            pause: None,
            retry: RETRY_MIN,
        }
    }
}

impl Work {
    /// Commands that were taken from their queue and wait here.
    fn commands_wait(&self) -> usize {
        self.held_back.len() + self.ready.len()
    }
}

/// The commits of one turn.
#[derive(Default)]
pub(super) struct Turn {
    open: Vec<Batch>,
    at: usize,
}

impl Turn {
    /// Chooses where the next input goes, and all that follows from it: an input is done in the commit of what it became.
    pub(super) fn begin(&mut self, right: &Right) {
        let at = self.open.iter().rposition(|batch| batch.right == *right && !batch.is_full());
        self.at = at.unwrap_or_else(|| {
            self.open.push(Batch::new(right.clone()));
            self.open.len() - 1
        });
    }

    /// Whether a conversation is in another commit of this turn.
    pub(super) fn has_elsewhere(&self, key: &Key) -> bool {
        self.open.iter().enumerate().any(|(at, batch)| at != self.at && batch.spans.contains_key(key))
    }

    pub(super) fn batch(&mut self) -> &mut Batch {
        self.open.get_mut(self.at).expect("a turn is begun before it is written to")
    }

    /// The one commit of a turn that has no other.
    pub(super) fn into_batch(mut self) -> Batch {
        self.open.pop().expect("a turn is begun before it is written to")
    }
}

/// A conversation that was to be opened, and what came of it.
type Opened = (Key, Right, Result<Conversation, OpenError>);

/// What stops a turn.
pub(super) enum Trouble {
    /// The store does not answer.
    Store(StoreError),
    /// What was decided is out of date: again, once nothing is under way.
    Again,
}

impl From<batch::OutOfStep> for Trouble {
    fn from(_: batch::OutOfStep) -> Self {
        Self::Again
    }
}

impl Owner {
    /// Works until told to stop; what is being committed then is waited for.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look_at_parked = tokio::time::interval(PARKED_POLL);
        look_at_parked.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changed = self.own.changed();
        let (wake, parked) = (Arc::clone(&self.wake), Arc::clone(&self.parked));
        loop {
            self.show();
            let pause = self.work.pause.filter(|until| *until > Instant::now());
            let free = pause.is_none();
            let room = free && self.work.in_flight.len() < AHEAD_ROWS;
            let next = self.until_next_deadline();
            tokio::select! {
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                done = front(&mut self.work.under_way) => self.settle(done.0, done.1).await,
                () = until(pause), if pause.is_some() => self.work.pause = None,
                asked = self.asks.recv(), if free && self.work.commands_wait() < COMMANDS => match asked {
                    Some(asked) => self.commands(asked).await,
                    None => break,
                },
                () = std::future::ready(()), if free && !self.work.ready.is_empty() => {
                    if let Some(asked) = self.work.ready.pop_front() {
                        self.commands(asked).await;
                    }
                }
                () = std::future::ready(()), if free && !self.work.calls_over.is_empty() => {
                    if let Some(key) = self.work.calls_over.pop_front() {
                        self.call_over(key).await;
                    }
                }
                () = std::future::ready(()), if free && !self.work.answers.is_empty() => {
                    if let Some((key, id, result)) = self.work.answers.pop_front() {
                        self.plan_answered(key, id, *result).await;
                    }
                }
                offer = self.offers.recv(), if free && self.work.offers.have_room() => match offer {
                    Some(offer) => self.offered(Some(offer)).await,
                    None => break,
                },
                () = std::future::ready(()), if free && self.work.offers.are_ready() => self.offered(None).await,
                note = self.notes.recv(), if free && self.work.calls_held_back.len() + self.work.answers_held_back.len() < NOTES => match note {
                    Some(note) => self.note(note).await,
                    None => break,
                },
                () = until(next), if free && next.is_some() => self.deadlines_due().await,
                () = std::future::ready(()), if room && self.work.reading => self.read().await,
                () = wake.notified() => self.look(),
                _ = poll.tick() => self.look(),
                () = parked.notified(), if free => self.parked_rows().await,
                _ = look_at_parked.tick(), if free => self.parked_rows().await,
                _ = changed.changed() => self.leases_changed(),
            }
        }
        let until = Instant::now() + STOP_MAX;
        while !self.work.under_way.is_empty() {
            match tokio::time::timeout_at(until, front(&mut self.work.under_way)).await {
                Ok((batch, said)) => self.settle(batch, said).await,
                Err(_) => {
                    tracing::warn!("the store did not take everything before the end; the inbox has it");
                    return;
                }
            }
        }
    }

    fn show(&self) {
        self.stats.machines.store(self.machines.len() as u64, Ordering::Relaxed);
        self.stats.deadlines.store(self.deadlines.len() as u64, Ordering::Relaxed);
        self.stats.stuck.store(self.work.stuck.len() as u64, Ordering::Relaxed);
    }

    fn until_next_deadline(&self) -> Option<Instant> {
        let at = self.deadlines.next()?;
        let left = at.duration_since((self.clock)());
        // The wall clock may be set: it is looked at again.
        Some(Instant::now() + Duration::try_from(left).unwrap_or_default().min(POLL))
    }

    /// Looks at the inbox from its beginning.
    fn look(&mut self) {
        if self.work.reading || self.work.passed_over.is_some() {
            self.work.again = true;
        } else {
            (self.work.after, self.work.reading) = (0, true);
        }
    }

    fn leases_changed(&mut self) {
        let own = &self.own;
        let right = |id| own.right(own.topology().shard(id));
        self.machines.keep(|id, opened| right(id).as_ref() == Some(opened));
        self.deadlines.keep(|id| right(id).is_some());
        self.work.offers.shards_changed();
        self.look();
    }

    /// Reads the next page of the inbox and commits what comes of it.
    async fn read(&mut self) {
        // Of shards that came since, older rows come first.
        let (changes, shards) = (self.own.changes(), self.own.held());
        // Both are looked at: one that comes at this moment may be counted before it is held.
        if changes != self.work.changes || shards != self.work.shards {
            (self.work.changes, self.work.after) = (changes, 0);
            self.work.shards.clone_from(&shards);
        }
        if shards.is_empty() {
            (self.work.reading, self.work.again) = (false, false);
            return;
        }
        let all = shards.len() == usize::from(self.own.topology().shards);
        let page = match self.store.inbox(if all { &[] } else { &shards }, self.work.after, PAGE).await {
            Ok(page) => page,
            Err(error) => return self.failed(&error),
        };
        if self.work.after == 0 {
            let oldest = page.first().map_or(0, |row| row.at.as_millisecond());
            self.stats.oldest_ms.store(u64::try_from(oldest).unwrap_or(0), Ordering::Relaxed);
        }
        let Some(last) = page.last() else {
            self.stats.well();
            self.work.offers.inbox_is_empty();
            (self.work.after, self.work.reading) = (0, std::mem::take(&mut self.work.again));
            return;
        };
        self.work.after = last.row;
        self.stats.well();
        self.machines.begin_turn();
        let work = &self.work;
        let fresh: Vec<Inbound> = page
            .into_iter()
            .filter(|row| !work.in_flight.contains(&row.row) && !work.stuck.contains(&row.row))
            .collect();
        let mut turn = Turn::default();
        let outcome = self.rows(fresh, &mut turn).await;
        failpoint::at(Point::Decided);
        self.close_turn(turn, outcome);
    }

    async fn rows(&mut self, rows: Vec<Inbound>, turn: &mut Turn) -> Result<(), Trouble> {
        let keys = rows.iter().map(|row| (row.tenant.clone(), row.conversation));
        let damaged = self.open_all(keys).await?;
        for row in rows {
            let key = (row.tenant.clone(), row.conversation);
            // A lease may have gone while it was read.
            let Some(right) = self.own.right(row.shard) else { continue };
            let number = row.row;
            turn.begin(&right);
            if self.work.busy.contains(&key) || turn.has_elsewhere(&key) {
                if self.work.passed_over.is_none() {
                    self.work.reading = false;
                    self.work.passed_over = Some(usize::MAX);
                    self.work.after = number - 1;
                }
                continue;
            }
            if let Some(why) = damaged.get(&key).or_else(|| self.work.doomed.get(&number)).cloned() {
                self.park(turn, &row, why);
            } else if self.work.suspects.contains(&number) {
                self.submit_all(std::mem::take(turn));
                turn.begin(&right);
                self.row(turn, &right, row).await?;
                self.submit_all(std::mem::take(turn));
            } else {
                self.row(turn, &right, row).await?;
            }
        }
        Ok(())
    }

    /// One row of the inbox, given to its conversation's machine.
    async fn row(&mut self, turn: &mut Turn, right: &Right, row: Inbound) -> Result<(), Trouble> {
        let (key, now) = ((row.tenant.clone(), row.conversation), (self.clock)());
        if let Some((gateway, asked)) = elsewhere::command(&row) {
            let outcome = match asked {
                Ok(asked) => self.carry_out(turn, right, &key, now, asked).await?,
                Err(why) => Err(CommandError::Refused(format!("a command that cannot be read: {why}"))),
            };
            let batch = turn.batch();
            batch.rows.push(row.row);
            batch.deliveries.push(elsewhere::answer(&row, &gateway, &outcome));
            self.work.in_flight.insert(row.row);
            return Ok(());
        }
        let event = row.event.clone();
        match self.handle(&key, right, now, Input::Inbound(event))? {
            Ok(_) => {
                self.absorb(turn, right, &key).await?;
                turn.batch().rows.push(row.row);
                self.work.in_flight.insert(row.row);
            }
            Err(why) => {
                // One that has failed by a fault of ours is open no more.
                if self.machines.get(&key, right).is_some() {
                    self.absorb(turn, right, &key).await?;
                }
                self.certain(&key)?;
                self.park(turn, &row, why);
            }
        }
        Ok(())
    }

    /// A refusal by a machine that was opened earlier may be by a state that is old (a call has ended since): it is asked again, freshly
    /// opened, before anybody is told.
    fn certain(&mut self, key: &Key) -> Result<(), Trouble> {
        if self.machines.is_fresh(key) {
            return Ok(());
        }
        self.machines.remove(key);
        Err(Trouble::Again)
    }

    /// Gives an input to an open machine. What is answered says why it never takes it, if it does not. One that is open no more (its
    /// shard has changed hands since) takes nothing: that is not to be taken for done.
    pub(super) fn handle(
        &mut self,
        key: &Key,
        right: &Right,
        now: Timestamp,
        input: Input,
    ) -> Result<Result<Handled, String>, Trouble> {
        let open = self.machines.get(key, right).ok_or(Trouble::Again)?;
        Ok(match std::panic::catch_unwind(AssertUnwindSafe(|| open.machine.handle(now, input))) {
            Ok(handled) => handled.map_err(|refused| refused.to_string()),
            Err(_) => {
                self.machines.remove(key);
                tracing::error!(conversation = %key.1, "a fault of Ark's: a conversation could not take an input");
                Err("a fault of Ark's; its log says more".to_owned())
            }
        })
    }

    fn park(&mut self, turn: &mut Turn, row: &Inbound, why: String) {
        let why = unfit(&row.event.event).unwrap_or(why);
        tracing::warn!(conversation = %row.conversation, row = row.row, why, "a message was parked: no conversation takes it");
        if turn.batch().park(row, why) {
            self.work.in_flight.insert(row.row);
            self.work.doomed.remove(&row.row);
            self.stats.parked.fetch_add(1, Ordering::Relaxed);
        } else if self.work.stuck.len() < STUCK_MAX {
            self.work.stuck.insert(row.row);
        }
    }

    /// Opens the conversations that are not open, several at once. Those whose log is damaged are answered with the reason.
    pub(super) async fn open_all(&mut self, keys: impl Iterator<Item = Key>) -> Result<HashMap<Key, String>, Trouble> {
        let (mut opening, mut damaged, mut seen) = (JoinSet::new(), HashMap::new(), HashSet::new());
        let mut failed = None;
        for key in keys {
            let Some(right) = self.own.right(self.own.topology().shard(key.1)) else { continue };
            if !seen.insert(key.clone()) || self.machines.get(&key, &right).is_some() {
                continue;
            }
            let (store, policy) = (Arc::clone(&self.store), Arc::clone(&self.policy));
            opening.spawn(async move { (key.clone(), right, machines::open(store, policy, key).await) });
            if opening.len() >= OPENING {
                failed = failed.or(self.opened(opening.join_next().await, &mut damaged));
            }
        }
        while !opening.is_empty() {
            failed = failed.or(self.opened(opening.join_next().await, &mut damaged));
        }
        failed.map_or(Ok(damaged), |error| Err(Trouble::Store(error)))
    }

    fn opened(
        &mut self,
        opened: Option<Result<Opened, tokio::task::JoinError>>,
        damaged: &mut HashMap<Key, String>,
    ) -> Option<StoreError> {
        match opened? {
            Ok((key, right, Ok(machine))) => self.machines.put(key, right, machine),
            Ok((.., Err(OpenError::Store(error)))) => return Some(error),
            Ok((key, _, Err(error @ OpenError::Log(_)))) => _ = damaged.insert(key, error.to_string()),
            Err(_) => return Some(StoreError::Closed),
        }
        None
    }

    /// Takes what a machine has decided into the turn's commits.
    pub(super) async fn absorb(&mut self, turn: &mut Turn, right: &Right, key: &Key) -> Result<(), Trouble> {
        let mut heard = self.plan_is_due(key, right);
        loop {
            let decided = self.machines.get(key, right).and_then(|open| open.machine.poll());
            let Some(decided) = decided else {
                let Some(next) = heard.pop_front() else { break };
                self.plan_hears(turn, right, key, next).await?;
                continue;
            };
            heard.extend(plans::heard(&decided.events));
            let mut known = Vec::new();
            for effect in &decided.effects {
                if let Effect::Identify { keys, assurance, link_token } = effect {
                    if let Some(token) = link_token {
                        self.pass_on_keys(key, (keys, *assurance), token).await.map_err(Trouble::Store)?;
                    }
                    known.extend(self.identify(key, keys, *assurance).await?);
                }
            }
            self.take(turn, key, decided).await?;
            for known in known {
                self.link(turn, right, key, known)?;
            }
        }
        let open = self.machines.get(key, right).ok_or(Trouble::Again)?;
        let (seq, at) = (open.machine.state().map_or(0, |state| state.last_seq), open.machine.deadline());
        // Also what changed nothing was decided by this state.
        turn.batch().push(key, seq, Vec::new())?;
        if at.is_some_and(|at| at > (self.clock)()) {
            self.deadlines.set(key, at);
        }
        Ok(())
    }

    async fn take(&mut self, turn: &mut Turn, key: &Key, decided: Decided) -> Result<(), Trouble> {
        let Decided { after_seq, events, effects } = decided;
        let mut deliveries = Vec::new();
        for effect in &effects {
            if let Effect::Deliver(one) = effect {
                let logged = logged(&*self.store, key, one.seq, after_seq, &events).await?;
                let made = logged.and_then(|logged| batch::delivery(key, one, &logged, (self.clock)()));
                match made {
                    Some(made) => deliveries.push(made),
                    None => {
                        tracing::error!(conversation = %key.1, seq = one.seq, "a message has no way to its channel");
                    }
                }
            }
        }
        let batch = turn.batch();
        batch.push(key, after_seq, events)?;
        batch.deliveries.extend(deliveries);
        for effect in effects {
            match effect {
                Effect::Deliver(_) | Effect::Identify { .. } => {}
                Effect::Erase { from_seq, to_seq, reason } => {
                    batch.erasing.push((key.clone(), from_seq, to_seq, reason));
                }
                effect => batch.happenings.push(Happening { tenant: key.0.clone(), conversation: key.1, effect }),
            }
        }
        Ok(())
    }

    /// Hands the commits of a turn to the store.
    pub(super) fn close_turn(&mut self, turn: Turn, outcome: Result<(), Trouble>) {
        self.submit_all(turn);
        if self.work.passed_over == Some(usize::MAX) {
            self.work.passed_over = Some(self.work.under_way.len() / 2);
        }
        match outcome {
            Ok(()) => {}
            Err(Trouble::Again) => {
                self.stats.conflicts.fetch_add(1, Ordering::Relaxed);
                self.begin_again();
            }
            Err(Trouble::Store(error)) => self.failed(&error),
        }
    }

    fn submit_all(&mut self, turn: Turn) {
        for batch in turn.open {
            if !batch.is_empty() {
                self.submit(batch);
            }
        }
    }

    fn submit(&mut self, mut batch: Batch) {
        self.work.busy.extend(batch.spans.keys().cloned());
        self.work.offers.submitted(&batch.direct);
        let (store, commit) = (Arc::clone(&self.store), batch.commit());
        let mut answer: Answer = Box::pin(async move { store.commit(commit).await });
        // Once at once: it is in the store's queue then, behind those before it.
        if let Poll::Ready(said) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            answer = Box::pin(std::future::ready(said));
        }
        self.work.under_way.push_back(UnderWay { batch, answer });
    }

    /// A commit has come back.
    async fn settle(&mut self, batch: Batch, said: Result<Committed, StoreError>) {
        for row in &batch.rows {
            self.work.in_flight.remove(row);
        }
        for key in batch.spans.keys() {
            self.work.busy.remove(key);
        }
        self.work.offers.settled(&batch.direct);
        self.work.ready.append(&mut self.work.held_back);
        self.work.calls_over.append(&mut self.work.calls_held_back);
        self.work.answers.append(&mut self.work.answers_held_back);
        if self.work.passed_over.is_some_and(|few| self.work.under_way.len() <= few) {
            (self.work.passed_over, self.work.reading) = (None, true);
        }
        match said {
            Ok(committed) => self.committed(batch, committed).await,
            Err(error) => self.refused(batch, &error),
        }
    }

    async fn committed(&mut self, batch: Batch, committed: Committed) {
        failpoint::at(Point::Committed);
        self.work.retry = RETRY_MIN;
        self.stats.well();
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.stats.applied.fetch_add((batch.rows.len() + batch.direct.len()) as u64, Ordering::Relaxed);
        self.passed(batch.direct, committed.direct);
        for row in &batch.rows {
            self.work.suspects.remove(row);
        }
        let mut records: Vec<Record> = Vec::with_capacity(committed.appended.len());
        let mut twice: HashSet<Key> = HashSet::new();
        for one in committed.appended {
            if one.duplicate {
                twice.insert((one.record.tenant.clone(), one.record.conversation));
            } else {
                records.push(one.record);
            }
        }
        for key in batch.spans.keys() {
            let at = self.machines.peek(key).map(Conversation::deadline);
            if twice.contains(key) {
                // The log is not what the machine thinks.
                self.machines.remove(key);
            } else if let Some(at) = at {
                self.deadlines.set(key, at);
            }
        }
        self.shelf.served(&records);
        self.onward.committed(records).await;
        for happening in batch.happenings {
            // Nobody may listen.
            let _ = self.happenings.send(happening);
        }
        for ((tenant, conversation), from_seq, to_seq, reason) in batch.erasing {
            let key = (tenant.clone(), conversation);
            let (at, by) = ((self.clock)(), "ark".to_owned());
            let seqs = Some((from_seq..=to_seq).collect());
            if let Err(error) = self.store.erase(Erase { tenant, conversation, seqs, reason, by, at }).await {
                tracing::error!(%conversation, %error, "what was to be erased is still there");
            }
            self.machines.remove(&key);
        }
        self.ask_actions(batch.asks);
        for (asked, outcome) in batch.asked {
            let _ = asked.reply.send(outcome);
        }
        for (id, attempt) in batch.taken_up {
            let _ = self.store.settle_delivery(id, attempt, ark_store::Outcome::Delivered).await;
        }
    }

    fn refused(&mut self, batch: Batch, error: &StoreError) {
        let now = (self.clock)();
        for key in batch.spans.keys() {
            self.machines.remove(key);
            // What a deadline began is begun again.
            self.deadlines.set(key, Some(now));
        }
        self.work.calls_over.extend(batch.calls_over.iter().cloned());
        self.begin_again();
        let alone = batch.causes() <= 1;
        self.not_passed(batch.direct, error);
        match error {
            StoreError::ByInbox { .. } => {}
            StoreError::GoneOn { .. } => _ = self.stats.conflicts.fetch_add(1, Ordering::Relaxed),
            StoreError::Fenced { .. } => {
                self.stats.conflicts.fetch_add(1, Ordering::Relaxed);
                self.work.pause = Some(Instant::now() + FENCED_PAUSE);
            }
            StoreError::Refused(why) if alone => {
                self.work.doomed.extend(batch.rows.iter().map(|row| (*row, why.clone())));
            }
            StoreError::Refused(_) => self.work.suspects.extend(&batch.rows),
            error => self.failed(error),
        }
        let decide_again =
            matches!(error, StoreError::GoneOn { .. }) || matches!(error, StoreError::Refused(_) if !alone);
        for (mut asked, _) in batch.asked {
            asked.tries += 1;
            if decide_again && asked.tries < COMMAND_TRIES {
                self.work.ready.push_back(asked);
                continue;
            }
            let _ = asked.reply.send(Err(match error {
                StoreError::Refused(why) => CommandError::Refused(why.clone()),
                error => CommandError::Unavailable(error.to_string()),
            }));
        }
    }

    /// Reads the inbox again from its beginning: rows before those that were read last are to be done again.
    fn begin_again(&mut self) {
        (self.work.after, self.work.reading, self.work.passed_over) = (0, true, None);
    }

    fn failed(&mut self, error: &StoreError) {
        if self.stats.fail(error) {
            tracing::error!(%error, "conversations wait: the store does not answer");
        }
        self.begin_again();
        self.work.pause = Some(Instant::now() + self.work.retry);
        self.work.retry = (self.work.retry * 2).min(RETRY_MAX);
    }

    /// Commands that wait, one after the other.
    async fn commands(&mut self, first: Asked) {
        let mut waiting = vec![first];
        while waiting.len() < TURN_COMMANDS
            && let Ok(asked) = self.asks.try_recv()
        {
            waiting.push(asked);
        }
        for asked in waiting {
            // The one who asked has gone: what comes so late is not meant any more.
            if asked.reply.is_closed() {
                continue;
            }
            let key = (asked.command.tenant.clone(), asked.command.conversation);
            let Some(right) = self.own.right(self.own.topology().shard(key.1)) else {
                let why = "another gateway owns the conversation now; try again".to_owned();
                let _ = asked.reply.send(Err(CommandError::Unavailable(why)));
                continue;
            };
            if self.work.busy.contains(&key) {
                self.work.held_back.push_back(asked);
                continue;
            }
            self.machines.begin_turn();
            let mut turn = Turn::default();
            turn.begin(&right);
            let (now, command) = ((self.clock)(), asked.command.clone());
            match self.carry_out(&mut turn, &right, &key, now, command).await {
                Ok(Ok(done)) => {
                    turn.batch().asked.push((asked, Ok(done)));
                    self.submit_all(turn);
                }
                Ok(refused) => drop(asked.reply.send(refused)),
                Err(Trouble::Again) => self.work.ready.push_back(asked),
                Err(Trouble::Store(error)) => {
                    let _ = asked.reply.send(Err(CommandError::Unavailable(error.to_string())));
                    self.failed(&error);
                }
            }
        }
    }

    /// Lets a conversation do what is wanted. A refusal leaves nothing behind.
    async fn carry_out(
        &mut self,
        turn: &mut Turn,
        right: &Right,
        key: &Key,
        now: Timestamp,
        command: command::Command,
    ) -> Result<command::Outcome, Trouble> {
        self.stats.commands.fetch_add(1, Ordering::Relaxed);
        if let Some(why) = self.open_all(std::iter::once(key.clone())).await?.remove(key) {
            return Ok(Err(CommandError::Refused(why)));
        }
        if let command::Wish::Overflow { .. } = command.wish {
            // The plan that waits with them comes first; the time is as when the queue owned it.
            self.plan_hears(turn, right, key, (ChatHeard::Overflow, String::new())).await?;
        }
        let Some(open) = self.machines.get(key, right) else { return Err(Trouble::Again) };
        let outcome = command::carry_out(&mut open.machine, now, command);
        if outcome.is_ok() {
            self.absorb(turn, right, key).await?;
        } else {
            let certain = self.certain(key);
            self.machines.remove(key);
            certain?;
        }
        Ok(outcome)
    }

    /// Something that was found beside the inbox.
    async fn note(&mut self, note: Note) {
        match note {
            Note::Deadline(key, at) => {
                if self.own.holds(self.own.topology().shard(key.1)) {
                    self.deadlines.set(&key, Some(at));
                }
            }
            Note::CallOver(key) => self.call_over(key).await,
            Note::Answered(key, id, result) => self.plan_answered(key, id, *result).await,
        }
    }

    /// The switch wrote a call's end into a log in which a session is open: the machine reads it, and closes what is over.
    async fn call_over(&mut self, key: Key) {
        let Some(right) = self.own.right(self.own.topology().shard(key.1)) else { return };
        // Commits of its own that are under way come first: the log is read to its end.
        if self.work.busy.contains(&key) {
            return self.work.calls_held_back.push_back(key);
        }
        self.machines.begin_turn();
        self.machines.remove(&key);
        let mut turn = Turn::default();
        turn.begin(&right);
        let outcome = self.follow_up(&mut turn, &right, &key).await;
        if outcome.is_err() {
            self.work.calls_over.push_back(key);
        }
        self.close_turn(turn, outcome);
    }

    async fn follow_up(&mut self, turn: &mut Turn, right: &Right, key: &Key) -> Result<(), Trouble> {
        if !self.open_all(std::iter::once(key.clone())).await?.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        if let Some(open) = self.machines.get(key, right) {
            open.machine.follow_up(now);
        }
        self.absorb(turn, right, key).await?;
        turn.batch().calls_over.push(key.clone());
        Ok(())
    }

    /// Lets those whose time has come see the time.
    async fn deadlines_due(&mut self) {
        let now = (self.clock)();
        let due = self.deadlines.take_due(now, TURN_DEADLINES);
        self.machines.begin_turn();
        let mut turn = Turn::default();
        let outcome = self.tick(&mut turn, now, &due).await;
        if outcome.is_err() {
            due.iter().for_each(|key| self.deadlines.set(key, Some(now)));
        }
        self.close_turn(turn, outcome);
    }

    async fn tick(&mut self, turn: &mut Turn, now: Timestamp, due: &[Key]) -> Result<(), Trouble> {
        self.open_all(due.iter().cloned()).await?;
        for key in due {
            let Some(right) = self.own.right(self.own.topology().shard(key.1)) else { continue };
            turn.begin(&right);
            if self.work.busy.contains(key) || turn.has_elsewhere(key) {
                self.deadlines.set(key, now.saturating_add(RETRY_MIN).ok());
                continue;
            }
            // Nothing refuses the time.
            let _ = self.handle(key, &right, now, Input::Tick)?;
            self.absorb(turn, &right, key).await?;
        }
        Ok(())
    }

    /// Rows that were parked: the new ones are given up, so that they lie where people see them; those that are to be taken up again
    /// are given to their conversation.
    async fn parked_rows(&mut self) {
        let claimed = self.store.claim_deliveries(batch::PARKED, &self.gateway, PARKED_CLAIM, TURN_PARKED).await;
        for one in claimed.unwrap_or_default() {
            let parked: Result<batch::ParkedRow, _> = serde_json::from_value(one.what.body.clone());
            let give_up = |error: String| ark_store::Outcome::GiveUp { error };
            let outcome = match parked {
                Err(error) => Some(give_up(error.to_string())),
                Ok(parked) if one.error.is_none() => Some(give_up(parked.reason)),
                Ok(parked) => self.take_up(&one, parked).await,
            };
            if let Some(outcome) = outcome {
                let _ = self.store.settle_delivery(one.id, one.attempts, outcome).await;
            }
        }
    }

    /// None: it is settled with its commit.
    async fn take_up(&mut self, one: &ark_store::Delivery, parked: batch::ParkedRow) -> Option<ark_store::Outcome> {
        let key = (one.what.tenant.clone(), one.what.conversation);
        let later = |error: &str| ark_store::Outcome::Retry { error: error.to_owned(), after: POLL };
        let Some(right) = self.own.right(self.own.topology().shard(key.1)) else {
            return Some(later("it is another gateway's to take up"));
        };
        if self.work.busy.contains(&key) {
            return Some(later("its conversation is being written"));
        }
        self.machines.begin_turn();
        match self.open_all(std::iter::once(key.clone())).await {
            Err(_) => return Some(later("the store does not answer")),
            Ok(mut damaged) => {
                if let Some(error) = damaged.remove(&key) {
                    return Some(ark_store::Outcome::GiveUp { error });
                }
            }
        }
        let event: CloudEvent = match serde_json::from_value(parked.event) {
            Ok(event) => event,
            Err(error) => return Some(ark_store::Outcome::GiveUp { error: error.to_string() }),
        };
        match self.handle(&key, &right, (self.clock)(), Input::Inbound(event)) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                self.machines.remove(&key);
                return Some(ark_store::Outcome::GiveUp { error });
            }
            Err(_) => return Some(later("its shard changed hands meanwhile")),
        }
        let mut turn = Turn::default();
        turn.begin(&right);
        let outcome = self.absorb(&mut turn, &right, &key).await;
        if outcome.is_ok() {
            turn.batch().taken_up.push((one.id, one.attempts));
            self.submit_all(turn);
            return None;
        }
        self.close_turn(Turn::default(), outcome);
        Some(later("its conversation changed meanwhile"))
    }
}

/// The message out that a delivery is about: among what is being written, or in the log.
async fn logged(
    store: &dyn Store,
    key: &Key,
    seq: u64,
    after_seq: u64,
    events: &[NewEvent],
) -> Result<Option<MessageOut>, Trouble> {
    let message = |event: &Event| if let Event::MessageOut(message) = event { Some(message.clone()) } else { None };
    if let Some(at) = seq.checked_sub(after_seq + 1) {
        return Ok(events.get(at as usize).and_then(|new| message(&new.event.event)));
    }
    let found = store.read(&key.0, key.1, seq - 1, 1).await.map_err(Trouble::Store)?;
    Ok(found.first().and_then(|record| message(&record.event.event)))
}

/// Why an event of a known type was carried as an unknown one.
fn unfit(event: &Event) -> Option<String> {
    let Event::Other(other) = event else { return None };
    Event::from_value(&other.type_name, other.data.clone()).err().map(|error| error.to_string())
}

/// The oldest commit, when it comes back; never, while there is none.
async fn front(under_way: &mut VecDeque<UnderWay>) -> (Batch, Result<Committed, StoreError>) {
    let said = match under_way.front_mut() {
        Some(first) => first.answer.as_mut().await,
        None => std::future::pending().await,
    };
    let first = under_way.pop_front().expect("its answer has just come");
    (first.batch, said)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
