//! The short road: a message whose conversation lives at the gateway that takes it is decided before anything is written, and one
//! commit writes it as known together with what its conversation made of it. Then it is acknowledged.
//!
//! Whoever takes it offers it to the owner here; whatever speaks against it sends it by the inbox, which is there for everything:
//! a conversation of another gateway's, a thread that has to be found a conversation, a copy, a message that no conversation takes,
//! others that wait before it, an owner that does not come to it soon. The store has the last word ([`ark_store::Direct`]).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ark_conversation::ConversationId;
use ark_conversation::machine::{Handled, Input};
use ark_store::{Direct, Ingested, Join, NewInbound, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::failpoint::{self, Point};
use super::limits::*;
use super::machines::Key;
use super::run::{Owner, Trouble, Turn};
use crate::conversations::shards::{OwnShards, Right};

/// What came of an offer.
enum Said {
    /// It is in the log, or the store could not write it.
    Answer(Result<Ingested, StoreError>),
    /// It goes by the inbox.
    ByInbox(Box<NewInbound>),
}

/// A message between the one who took it and the owner: whoever takes it out has it.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<NewInbound>>>);

impl Slot {
    fn take(&self) -> Option<NewInbound> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A message that is offered to the owner.
pub(super) struct Offer {
    key: Key,
    /// The thread, when it begins the conversation.
    begins: Option<String>,
    slot: Slot,
    reply: oneshot::Sender<Said>,
    tries: u32,
}

impl Offer {
    /// Sends it by the inbox, if it is still here.
    fn by_inbox(self) {
        if let Some(new) = self.slot.take() {
            let _ = self.reply.send(Said::ByInbox(Box::new(new)));
        }
    }
}

/// A message that was taken up, in the commit that it became part of.
pub(super) struct Took {
    offer: Offer,
    new: NewInbound,
}

impl Took {
    /// As the commit has it.
    pub(super) fn direct(&self) -> Direct {
        Direct {
            tenant: self.new.tenant.clone(),
            source: self.new.event.source.clone(),
            id: self.new.event.id.clone(),
            at: self.new.at,
            conversation: self.offer.key.1,
            begins: self.offer.begins.is_some(),
        }
    }

    fn by_inbox(self) {
        let _ = self.offer.reply.send(Said::ByInbox(Box::new(self.new)));
    }
}

/// The conversations of the threads that were seen last, in two generations.
#[derive(Default)]
struct Threads {
    young: HashMap<String, ConversationId>,
    old: HashMap<String, ConversationId>,
}

/// The way to the owner, for those who take messages in.
pub(super) struct ShortRoad {
    offers: mpsc::Sender<Offer>,
    /// By their source, which names the tenant. What is remembered may be old: the store looks again.
    threads: Mutex<Threads>,
    /// Messages that went this road, and those that were offered and went by the inbox.
    pub(super) passed: AtomicU64,
    pub(super) turned_away: AtomicU64,
}

impl ShortRoad {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Offer>) {
        let (offers, offered) = mpsc::channel(OFFERS);
        let (passed, turned_away) = (AtomicU64::new(0), AtomicU64::new(0));
        (Arc::new(Self { offers, threads: Mutex::default(), passed, turned_away }), offered)
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The conversation of a thread, as it was last.
    fn conversation(&self, source: &str) -> Option<ConversationId> {
        let mut threads = self.threads();
        if let Some(known) = threads.young.get(source) {
            return Some(*known);
        }
        let (source, known) = threads.old.remove_entry(source)?;
        threads.put(source, known);
        Some(known)
    }

    /// A thread was pointed to a conversation.
    pub(super) fn knows(&self, source: &str, conversation: ConversationId) {
        let mut threads = self.threads();
        if threads.young.get(source) != Some(&conversation) {
            threads.put(source.to_owned(), conversation);
        }
    }

    /// It may be pointed elsewhere.
    fn forget(&self, source: &str) {
        let mut threads = self.threads();
        threads.young.remove(source);
        threads.old.remove(source);
    }

    /// Lets the owner here take a message. Given back, it is to go by the inbox.
    pub(super) async fn take(
        &self,
        store: &dyn Store,
        own: &OwnShards,
        new: NewInbound,
    ) -> Result<Result<Ingested, StoreError>, NewInbound> {
        if own.count() == 0 {
            return Err(new);
        }
        let known = match self.conversation(&new.event.source) {
            Some(known) => Some(known),
            None => match store.thread(&new.tenant, &new.event.source).await {
                Ok(known) => known,
                Err(_) => return Err(new),
            },
        };
        if known.is_none() && new.join != Join::Begin {
            return Err(new);
        }
        let conversation = known.unwrap_or(new.begin);
        if let Some(known) = known {
            self.knows(&new.event.source, known);
        }
        if !own.holds(own.topology().shard(conversation)) {
            return Err(new);
        }
        let said = self.offer(conversation, known.is_none(), new).await;
        if said.is_err() {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        said
    }

    async fn offer(
        &self,
        conversation: ConversationId,
        begins: bool,
        new: NewInbound,
    ) -> Result<Result<Ingested, StoreError>, NewInbound> {
        let (reply, mut answer) = oneshot::channel();
        let key = (new.tenant.clone(), conversation);
        let begins = begins.then(|| new.event.source.clone());
        let slot = Slot(Arc::new(Mutex::new(Some(new))));
        // Of a full queue, or one that nobody reads any more, it goes on as when the owner is slow.
        let offered = self.offers.try_send(Offer { key, begins, slot: slot.clone(), reply, tries: 0 });
        let soon = if offered.is_ok() { tokio::time::timeout(OFFER_WAIT, &mut answer).await.ok() } else { None };
        let said = match (soon, slot.take()) {
            (Some(Ok(said)), _) => Ok(said),
            (_, Some(new)) => return Err(new),
            // The owner has it.
            (Some(Err(gone)), None) => Err(gone),
            (None, None) => answer.await,
        };
        match said {
            Ok(Said::Answer(answer)) => Ok(answer),
            Ok(Said::ByInbox(new)) => Err(*new),
            // The owner ends. One that it has not given back may be written.
            Err(_) => slot.take().map_or(Ok(Err(StoreError::Closed)), Err),
        }
    }
}

impl Threads {
    fn put(&mut self, source: String, conversation: ConversationId) {
        if self.young.len() >= THREADS_KNOWN / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&source);
        self.young.insert(source, conversation);
    }
}

/// What the owner remembers of the short road.
#[derive(Default)]
pub(super) struct Offers {
    /// Those of conversations with a commit under way.
    held_back: std::collections::VecDeque<Offer>,
    /// Those that can be tried now.
    ready: std::collections::VecDeque<Offer>,
    /// Threads that begin in commits under way.
    beginning: HashMap<String, Key>,
    /// Messages in commits under way.
    in_flight: usize,
    /// Whether the inbox was seen empty since the shards changed. Until then all goes by it: there may be a backlog, and each try to
    /// pass it would undo a commit.
    drained: bool,
    /// Conversations with messages in the inbox, as far as that is known, since it was seen empty.
    behind: HashSet<Key>,
}

impl Offers {
    /// Whether more can be taken from the queue.
    pub(super) fn have_room(&self) -> bool {
        self.in_flight < AHEAD_ROWS && self.held_back.len() + self.ready.len() < OFFERS
    }

    /// Whether some wait to be tried.
    pub(super) fn are_ready(&self) -> bool {
        self.in_flight < AHEAD_ROWS && !self.ready.is_empty()
    }

    /// The inbox was read to its end.
    pub(super) fn inbox_is_empty(&mut self) {
        self.drained = true;
        self.behind.clear();
    }

    /// Other shards are ours: nothing is known of their rows.
    pub(super) fn shards_changed(&mut self) {
        self.drained = false;
    }

    /// Messages of a conversation wait in the inbox, or are about to.
    fn behind(&mut self, key: &Key) {
        if self.behind.len() >= BEHIND_MAX {
            self.behind.clear();
        }
        self.behind.insert(key.clone());
    }

    /// A commit goes to the store.
    pub(super) fn submitted(&mut self, took: &[Took]) {
        self.in_flight += took.len();
    }

    /// A commit has come back.
    pub(super) fn settled(&mut self, took: &[Took]) {
        self.in_flight -= took.len();
        for thread in took.iter().filter_map(|took| took.offer.begins.as_ref()) {
            self.beginning.remove(thread);
        }
        self.ready.append(&mut self.held_back);
    }
}

impl Owner {
    /// Messages that are offered, as many as wait.
    pub(super) async fn offered(&mut self, first: Option<Offer>) {
        let mut offers: Vec<Offer> = first.into_iter().collect();
        while offers.len() < TURN_OFFERS {
            let next = self.work.offers.ready.pop_front().or_else(|| self.offers.try_recv().ok());
            let Some(offer) = next else { break };
            offers.push(offer);
        }
        if !self.work.offers.drained {
            offers.into_iter().for_each(Offer::by_inbox);
            return;
        }
        self.machines.begin_turn();
        let mut turn = Turn::default();
        let outcome = self.take_offers(offers, &mut turn).await;
        failpoint::at(Point::Decided);
        self.close_turn(turn, outcome);
    }

    async fn take_offers(&mut self, mut offers: Vec<Offer>, turn: &mut Turn) -> Result<(), Trouble> {
        offers.iter_mut().for_each(|offer| self.look_again(offer));
        let open = offers.iter().filter(|offer| !self.work.busy.contains(&offer.key)).map(|offer| offer.key.clone());
        let open: Vec<Key> = open.collect();
        let damaged = match self.open_all(open.into_iter()).await {
            Ok(damaged) => damaged,
            Err(trouble) => {
                offers.into_iter().for_each(Offer::by_inbox);
                return Err(trouble);
            }
        };
        let mut outcome = Ok(());
        for mut offer in offers {
            self.look_again(&mut offer);
            let Some(right) = self.own.right(self.own.topology().shard(offer.key.1)) else {
                offer.by_inbox();
                continue;
            };
            turn.begin(&right);
            if self.work.busy.contains(&offer.key) || turn.has_elsewhere(&offer.key) {
                self.work.offers.held_back.push_back(offer);
            } else if damaged.contains_key(&offer.key) || self.work.offers.behind.contains(&offer.key) {
                self.turn_away(offer);
            } else if let Err(trouble) = self.take_up_one(turn, &right, offer).await {
                outcome = Err(trouble);
            }
        }
        outcome
    }

    /// A thread that was new when it was offered may have begun since.
    fn look_again(&self, offer: &mut Offer) {
        let Some(thread) = &offer.begins else { return };
        let begun = self.work.offers.beginning.get(thread).cloned();
        let known = || self.short.conversation(thread).map(|id| (offer.key.0.clone(), id));
        if let Some(key) = begun.or_else(known) {
            (offer.key, offer.begins) = (key, None);
        }
    }

    fn turn_away(&mut self, offer: Offer) {
        self.work.offers.behind(&offer.key);
        offer.by_inbox();
    }

    /// Gives one to its conversation. An error says that the store does not answer.
    async fn take_up_one(&mut self, turn: &mut Turn, right: &Right, offer: Offer) -> Result<(), Trouble> {
        let key = offer.key.clone();
        let begun = self.machines.get(&key, right).map(|open| open.machine.state().map(|state| state.is_open()));
        let fits = match (begun, &offer.begins) {
            (Some(None), begins) => begins.is_some(),
            (Some(Some(open)), begins) => open && begins.is_none(),
            (None, _) => false,
        };
        // The one who took it may have lost patience.
        let Some(new) = offer.slot.take() else { return Ok(()) };
        let took = Took { offer, new };
        if !fits {
            self.short.forget(&took.new.event.source);
            self.work.offers.behind(&key);
            took.by_inbox();
            return Ok(());
        }
        let mut alone = Turn::default();
        alone.begin(right);
        let decided = self.decide(&mut alone, right, &key, &took).await;
        let alone = alone.into_batch();
        let decided = match decided {
            // A copy changes nothing, unless a time had come.
            Ok(false) if alone.events.is_empty() => Ok(false),
            Ok(fresh) => turn.batch().take_over(alone).map(|()| fresh).map_err(Trouble::from),
            Err(trouble) => Err(trouble),
        };
        match decided {
            Ok(true) => {
                if let Some(thread) = took.offer.begins.clone() {
                    self.work.offers.beginning.insert(thread, key);
                }
                turn.batch().direct.push(took);
                Ok(())
            }
            // A copy: the inbox says so.
            Ok(false) => {
                took.by_inbox();
                Ok(())
            }
            Err(trouble) => {
                self.machines.remove(&key);
                self.work.offers.behind(&key);
                took.by_inbox();
                if let Trouble::Again = trouble { Ok(()) } else { Err(trouble) }
            }
        }
    }

    /// What its conversation makes of one: false when it had it before. One that it does not take is looked at on the long road.
    async fn decide(&mut self, alone: &mut Turn, right: &Right, key: &Key, took: &Took) -> Result<bool, Trouble> {
        let now = (self.clock)();
        let handled = self.handle(key, right, now, Input::Inbound(took.new.event.clone()))?;
        let handled = handled.map_err(|_| Trouble::Again)?;
        self.absorb(alone, right, key).await?;
        Ok(handled != Handled::Duplicate)
    }

    /// Messages are in their logs.
    pub(super) fn passed(&self, took: Vec<Took>, rows: Vec<u64>) {
        self.short.passed.fetch_add(took.len() as u64, Ordering::Relaxed);
        for (Took { offer, new }, row) in took.into_iter().zip(rows) {
            let conversation = offer.key.1;
            self.short.knows(&new.event.source, conversation);
            let (shard, joined) = (self.own.topology().shard(conversation), offer.begins.is_some());
            let taken = Ingested { row, conversation, shard, joined, duplicate: false };
            let _ = offer.reply.send(Said::Answer(Ok(taken)));
        }
    }

    /// Messages were not written: they are decided anew, go by the inbox, or are not taken.
    pub(super) fn not_passed(&mut self, took: Vec<Took>, error: &StoreError) {
        for (at, mut one) in took.into_iter().enumerate() {
            let again = match error {
                StoreError::GoneOn { .. } => true,
                StoreError::ByInbox { messages } => !messages.contains(&at),
                StoreError::Fenced { .. } | StoreError::Refused(_) | StoreError::Conflict(_) => false,
                error => {
                    let _ = one.offer.reply.send(Said::Answer(Err(error.clone())));
                    continue;
                }
            };
            one.offer.tries += 1;
            if again && one.offer.tries < OFFER_TRIES {
                *one.offer.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(one.new);
                self.work.offers.ready.push_back(one.offer);
                continue;
            }
            self.short.forget(&one.new.event.source);
            self.work.offers.behind(&one.offer.key);
            one.by_inbox();
        }
    }
}

impl Batch {
    /// Takes over what another one decided.
    fn take_over(&mut self, other: Self) -> Result<(), super::batch::OutOfStep> {
        let Self { spans, events, deliveries, persons, merges, happenings, erasing, asks, .. } = other;
        let mut events = Some(events);
        for (key, (after, _)) in spans {
            self.push(&key, after, events.take().unwrap_or_default())?;
        }
        self.deliveries.extend(deliveries);
        self.persons.extend(persons);
        self.merges.extend(merges);
        self.happenings.extend(happenings);
        self.erasing.extend(erasing);
        self.asks.extend(asks);
        Ok(())
    }
}
