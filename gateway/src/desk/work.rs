//! The desk at work: it follows the log, carries out what the router wants of chats, and wakes when something is due.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ark_bus::{Bus, Filter, Missed, Subscription};
use ark_conversation::{ConversationId, Owner, Record, Tenant};
use ark_store::{ListFilter, Openness, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Desk;
use super::core::Act;
use super::limits::{ACCOUNTS_EVERY, AGAIN, COMMANDS, DIRTY_MAX, LOOK_OVER, LOOK_PAGE, TAIL_RECORDS, TICK_MAX};
use super::tail::{self, Tail};
use crate::call::driver::SwitchHandle;
use crate::config::Config;
use crate::conversations::owner::{Command, CommandError, Conversations, Wish};

/// What runs for it.
pub struct Tasks {
    desk: Arc<Desk>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Tasks {
    /// Whether it has ended by a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.task.is_finished()
    }

    /// Asks nobody any more.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(AGAIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
        // The owner ends when nobody can ask it any more.
        *self.desk.owner.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The router and what it knows from the start; it decides once all open conversations were looked at.
///
/// # Errors
/// A queue's hours cannot be read; a sentence that shows the line.
pub fn of_site(config: &Config) -> Result<Arc<Desk>, String> {
    let queues: Result<Vec<_>, String> = config.queue.iter().map(crate::config::Queue::setup).collect();
    let queues = queues.map_err(|why| format!("[[queue]] hours: {why}"))?;
    let desk = Desk::new(queues, Timestamp::now(), true);
    let language = |channel: &crate::config::Channel| {
        Some((format!("{}:{}", channel.kind, channel.name), channel.language.clone()?))
    };
    desk.set_languages(config.channel.iter().filter_map(language).collect());
    Ok(desk)
}

/// Starts it: it looks at all open conversations and then decides.
#[must_use]
pub fn start(
    desk: &Arc<Desk>,
    (store, bus): (&Arc<dyn Store>, &Arc<dyn Bus>),
    conversations: &Conversations,
    switch: &SwitchHandle,
) -> Tasks {
    let wakes = switch.clone();
    desk.wake_calls_by(move || wakes.look_at_queues());
    let (stop, stopped) = watch::channel(false);
    Tasks { desk: Arc::clone(desk), stop, task: tokio::spawn(work(desk, (store, bus), conversations).run(stopped)) }
}

pub(super) fn work(
    desk: &Arc<Desk>,
    (store, bus): (&Arc<dyn Store>, &Arc<dyn Bus>),
    conversations: &Conversations,
) -> Work {
    *desk.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(conversations.clone());
    Work {
        desk: Arc::clone(desk),
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        conversations: conversations.clone(),
        tenant: desk.tenant.clone(),
        dirty: VecDeque::new(),
        known_dirty: HashSet::new(),
        all: true,
        waiting: HashMap::new(),
        running: JoinSet::new(),
    }
}

/// The types that change whose a conversation is; what [`Tail`] reads comes beside them.
const TYPES: &[&str] = &[
    "ark.session.opened.v1",
    "ark.session.closed.v1",
    "ark.owner.offered.v1",
    "ark.owner.accepted.v1",
    "ark.owner.declined.v1",
    "ark.owner.expired.v1",
    "ark.owner.withdrawn.v1",
    "ark.owner.released.v1",
    "ark.leg.ended.v1",
    "ark.leg.offered.v1",
    "ark.call.ended.v1",
    "ark.call.lost.v1",
    "ark.queue.relaxed.v1",
];

/// The end of a call concerns the desk when its caller is to be called back.
const CALL_ENDS: [&str; 2] = ["ark.call.ended.v1", "ark.call.lost.v1"];

pub(super) struct Work {
    desk: Arc<Desk>,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    conversations: Conversations,
    tenant: Tenant,
    /// Conversations that are to be looked at.
    dirty: VecDeque<ConversationId>,
    known_dirty: HashSet<ConversationId>,
    /// All open ones are to be looked at.
    all: bool,
    /// What is to be asked of conversations that are being asked something.
    waiting: HashMap<ConversationId, VecDeque<Act>>,
    running: JoinSet<ConversationId>,
}

impl Work {
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.desk.load_accounts(&*self.store).await;
        let mut news: Option<Subscription> = None;
        let mut look_over = Instant::now() + LOOK_OVER;
        let mut again: Option<Instant> = None;
        let mut accounts = tokio::time::interval(ACCOUNTS_EVERY);
        accounts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.hand_out();
            let idle = again.is_none_or(|at| at <= Instant::now());
            if idle && news.is_none() {
                match self.subscribe().await {
                    Some(subscription) => (news, self.all) = (Some(subscription), true),
                    None => again = Some(Instant::now() + AGAIN),
                }
                continue;
            }
            let tick = self.next_tick();
            let looks = idle && (self.all || !self.dirty.is_empty());
            tokio::select! {
                biased;
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Ok(id) = done {
                        self.done(id);
                    }
                }
                () = self.desk.busy.notified() => {}
                record = next(&mut news) => match record {
                    Ok(record) => self.hear(&record),
                    Err(Missed::Lagged { .. }) => self.all = true,
                    Err(Missed::Closed) => break,
                },
                () = std::future::ready(()), if looks => {
                    again = match self.look().await {
                        Ok(()) => None,
                        Err(error) => {
                            tracing::debug!(%error, "the desk cannot look at the log; again in a moment");
                            Some(Instant::now() + AGAIN)
                        }
                    };
                }
                () = tokio::time::sleep_until(tick) => self.desk.with(|core| core.tick(Timestamp::now())),
                _ = accounts.tick() => self.desk.load_accounts(&*self.store).await,
                () = sleep_until(again) => again = None,
                () = tokio::time::sleep_until(look_over) => (look_over, self.all) = (Instant::now() + LOOK_OVER, true),
            }
        }
        self.running.shutdown().await;
    }

    async fn subscribe(&self) -> Option<Subscription> {
        let types = TYPES.iter().chain(tail::TYPES).map(|name| (*name).to_owned()).collect();
        self.bus.subscribe(Filter { tenant: self.tenant.clone(), conversation: None, types }).await.ok()
    }

    fn next_tick(&self) -> Instant {
        let now = Timestamp::now();
        let left = self.desk.lock().deadline().map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        // The wall clock may be set: it is looked at again. Never twice in one millisecond.
        Instant::now() + left.unwrap_or(TICK_MAX).clamp(Duration::from_millis(1), TICK_MAX)
    }

    fn hear(&mut self, record: &Record) {
        let name = record.event.type_name();
        if CALL_ENDS.contains(&name) && !self.desk.lock().awaits_the_end(record.conversation) {
            return;
        }
        let known = tail::TYPES.contains(&name) && self.desk.with(|core| core.heard(record));
        if TYPES.contains(&name) || !known {
            self.mark(record.conversation);
        }
    }

    fn mark(&mut self, id: ConversationId) {
        if self.dirty.len() >= DIRTY_MAX {
            (self.all, self.known_dirty) = (true, HashSet::new());
            self.dirty.clear();
        } else if self.known_dirty.insert(id) {
            self.dirty.push_back(id);
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        if self.all {
            self.look_at_all().await?;
            self.all = false;
            self.desk.with(|core| core.begin(Timestamp::now()));
            return Ok(());
        }
        let Some(id) = self.dirty.front().copied() else { return Ok(()) };
        // What comes from here on is another look.
        self.known_dirty.remove(&id);
        look_at(&self.desk, (&*self.store, &self.conversations), &self.tenant, id).await?;
        self.dirty.pop_front();
        Ok(())
    }

    async fn look_at_all(&mut self) -> Result<(), StoreError> {
        let mut before = None;
        let mut open: HashSet<ConversationId> = HashSet::new();
        // The oldest last in the store's list, but the first in line: the router is told in the order of waiting.
        let mut found = Vec::new();
        loop {
            let filter = ListFilter { openness: Openness::Open, before, ..ListFilter::default() };
            let page = self.store.list(&self.tenant, filter, LOOK_PAGE).await?;
            for state in &page.conversations {
                // Also one that has gone to another gateway, or was answered.
                let ours = self.conversations.holds(state.conversation);
                self.desk.with(|core| core.callback_seen(Timestamp::now(), state, ours));
            }
            found.extend(page.conversations.into_iter().filter(|state| state.session.is_some()));
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        found.sort_by_key(|state| (state.place.as_ref().map(|place| place.since), state.conversation));
        for state in found {
            open.insert(state.conversation);
            let tail = read_tail(&*self.store, &self.tenant, state.conversation, state.last_seq).await?;
            self.desk.with(|core| core.seen(Timestamp::now(), &state, Some(tail)));
        }
        let closed: Vec<ConversationId> =
            self.desk.lock().chats.keys().filter(|id| !open.contains(id)).copied().collect();
        for id in closed {
            look_at(&self.desk, (&*self.store, &self.conversations), &self.tenant, id).await?;
        }
        Ok(())
    }

    /// Begins what is to be asked, of each conversation one thing at a time.
    fn hand_out(&mut self) {
        let room = self.running.len() < COMMANDS;
        if !room {
            return;
        }
        let acts: Vec<(ConversationId, Act)> = self.desk.with(|core| core.acts.drain(..).collect());
        for (id, act) in acts {
            match self.waiting.get_mut(&id) {
                Some(waiting) => waiting.push_back(act),
                None => {
                    self.waiting.insert(id, VecDeque::new());
                    self.begin(id, act);
                }
            }
        }
    }

    fn done(&mut self, id: ConversationId) {
        match self.waiting.get_mut(&id).and_then(VecDeque::pop_front) {
            Some(next) => self.begin(id, next),
            None => _ = self.waiting.remove(&id),
        }
    }

    fn begin(&mut self, id: ConversationId, act: Act) {
        let (desk, store, owner) = (Arc::clone(&self.desk), Arc::clone(&self.store), self.conversations.clone());
        let tenant = self.tenant.clone();
        self.running.spawn(async move {
            carry_out(&desk, &*store, &owner, (&tenant, id), act).await;
            id
        });
    }
}

/// Asks one thing of a conversation's owner, and tells the desk what came of it.
async fn carry_out(
    desk: &Desk,
    store: &dyn Store,
    owner: &Conversations,
    (tenant, id): (&Tenant, ConversationId),
    act: Act,
) {
    let command = |by, wish| Command { tenant: tenant.clone(), conversation: id, by, wish };
    let number = if let Act::Ask { number, .. } = &act { Some(*number) } else { None };
    let asked = match act {
        Act::Ask { queue, agent, epoch, deadline, .. } => {
            command(Owner::Queue(queue), Wish::Ask { to: agent, epoch, deadline })
        }
        Act::TakeBack { queue, agent } => command(Owner::Queue(queue), Wish::TakeBack { to: agent }),
        Act::Overflow { queue, to } => command(Owner::Queue(queue), Wish::Overflow { to }),
        Act::Relax { queue, needs } => command(Owner::Queue(queue), Wish::Relax { needs }),
        Act::Vanished { agent } => command(Owner::Agent(agent.clone()), Wish::Vanished { who: agent }),
    };
    let outcome = owner.command(asked).await;
    if let Some(number) = number {
        match &outcome {
            Ok(done) => desk.with(|core| core.asked(Timestamp::now(), id, number, (done.offer, done.last_seq))),
            Err(error) => {
                if !matches!(error, CommandError::Unavailable(_)) {
                    tracing::debug!(conversation = %id, %error, "the log takes no offer; it is looked at again");
                }
                // First what is so, then what is to be done.
                let _ = look_at(desk, (store, owner), tenant, id).await;
                desk.with(|core| core.not_asked(Timestamp::now(), id, number));
            }
        }
        return;
    }
    let _ = look_at(desk, (store, owner), tenant, id).await;
}

async fn look_at(
    desk: &Desk,
    (store, owner): (&dyn Store, &Conversations),
    tenant: &Tenant,
    id: ConversationId,
) -> Result<(), StoreError> {
    let Some(state) = store.summary(tenant, id).await? else { return Ok(()) };
    desk.with(|core| core.callback_seen(Timestamp::now(), &state, owner.holds(id)));
    let known = desk.lock().chats.contains_key(&id);
    let tail = match known {
        // The bus told of it as it went along.
        true => None,
        false if state.session.is_none() => return Ok(()),
        false => Some(read_tail(store, tenant, id, state.last_seq).await?),
    };
    desk.with(|core| core.seen(Timestamp::now(), &state, tail));
    Ok(())
}

async fn read_tail(store: &dyn Store, tenant: &Tenant, id: ConversationId, last: u64) -> Result<Tail, StoreError> {
    let mut tail = Tail::default();
    for record in store.read(tenant, id, last.saturating_sub(TAIL_RECORDS as u64), TAIL_RECORDS).await? {
        tail.read(&record);
    }
    Ok(tail)
}

async fn next(news: &mut Option<Subscription>) -> Result<Arc<Record>, Missed> {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
