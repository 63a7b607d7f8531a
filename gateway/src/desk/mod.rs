//! The desk: who is at work, who waits, and who is asked next, for chats and calls alike.
//!
//! [`Desk`] is the one handle. It has the router ([`ark_conversation::routing`]) and what it must be told behind a lock that is held
//! for microseconds: the switch asks it from its thread, the API from tasks. What follows goes out in two ways: calls to the switch, which
//! takes them with its next turn, and chats as commands to the conversations' owner, one at a time for each conversation.
//!
//! Of chats the router is told what their logs say, and nothing else: whoever changes a log (an agent's answer, a plan, a transfer, another
//! gateway), the record that says so comes over the bus, the conversation is looked at, and the router is brought to what it says. So a
//! start is the same as a lost record: all open conversations are looked at. The router proposes, the log decides; an offer that the
//! log refuses is given back.
//!
//! Several gateways: each has a router of its own, with the agents whose desks and telephones are at that gateway, and with the chats of
//! the whole site. Two may want to offer one chat at the same moment; the log takes one offer, and the other gateway sees it there. An agent
//! with desks at two gateways has one capacity, because both count what the logs say is theirs. The order of a line is that of the logs,
//! so it is the same everywhere. Calls are routed by the gateway that has their leg.

mod callbacks;
mod calls;
mod core;
pub mod limits;
mod needs;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod view;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ark_conversation::routing::{AgentProfile, Capacity, Phase};
use ark_conversation::{ConversationId, OfferId, Owner, Tenant};
use ark_store::{Account, Role, Store};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

pub(crate) use callbacks::Callback;
pub(crate) use calls::{CallJoin, CallQueue, CannotJoin, Left};
pub(crate) use core::CallAct;
pub use core::{AgentSetup, QueueSetup, SIGNED_ON, group_steps};
pub use tail::Last;
pub use view::{
    AgentCard, CanTake, CapacityView, Card, DeskQueue, DeskView, Me, OfferCard, QueueShort, WallEntrance, WallMinute,
    WallQueue, Wallboard,
};
pub use work::{Tasks, of_site, start};

use self::core::Core;
use crate::conversations::owner::{Command, CommandError, Conversations, Done, Wish};
use crate::telemetry::{Sample, SampleKind};

/// What wakes the switch.
type Wake = Box<dyn Fn() + Send + Sync>;

/// The desk. Made before the switch and the owner of conversations, and told of them later.
pub struct Desk {
    core: Mutex<Core>,
    /// Something is to be asked of conversations' owners, or a moment has moved.
    busy: Notify,
    /// Counts up when something has changed that somebody may see.
    changed: watch::Sender<u64>,
    wake: OnceLock<Wake>,
    /// None before the start, and after the end: whoever has it keeps the owner at work.
    owner: Mutex<Option<Conversations>>,
    tenant: Tenant,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Why nothing came of what an agent wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// Nobody of that name serves.
    #[error("nobody of that name serves: an account with the role agent, or an operator of a [[queue]], is needed")]
    NoAgent,
    /// The offer has ended, or was made to somebody else.
    #[error("the offer is over: somebody took it, or its time was up")]
    OfferOver,
    /// The conversation's owner said no.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Desk {
    /// A desk for these queues. With `recovering` nothing is decided before all open conversations were looked at.
    #[must_use]
    pub fn new(queues: Vec<QueueSetup>, now: Timestamp, recovering: bool) -> Arc<Self> {
        let mut core = if recovering { Core::recovering() } else { Core::default() };
        for queue in queues {
            core.set_queue(now, queue);
        }
        Arc::new(Self {
            core: Mutex::new(core),
            busy: Notify::new(),
            changed: watch::channel(0).0,
            wake: OnceLock::new(),
            owner: Mutex::new(None),
            tenant: Tenant::default(),
        })
    }

    /// The languages of who writes by these entrances (`web:shop`), where nothing else says them.
    pub fn set_languages(&self, languages: BTreeMap<String, String>) {
        self.lock().languages = languages;
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something, and lets those know whom it concerns.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let before = (core.version, core.deadline(), core.call_acts.len());
        let done = change(&mut core);
        let after = (core.version, core.deadline(), core.call_acts.len());
        let (acts, calls) = (!core.acts.is_empty(), after.2 > before.2);
        drop(core);
        if acts || before.1 != after.1 {
            self.busy.notify_one();
        }
        if calls && let Some(wake) = self.wake.get() {
            wake();
        }
        if before.0 != after.0 {
            self.changed.send_modify(|count| *count += 1);
        }
        done
    }

    /// How the switch is woken when something is to be done with a call. Never waits.
    pub fn wake_calls_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// The accounts that serve, whenever they change.
    pub fn set_accounts(&self, accounts: Vec<AgentSetup>) {
        self.with(|core| core.set_accounts(Timestamp::now(), accounts));
    }

    /// Looks at the site's accounts: agents serve, and supervisors have a desk at which nobody is offered anything.
    pub async fn load_accounts(&self, store: &dyn Store) {
        let all = match store.accounts().await {
            Ok(all) => all,
            Err(error) => return tracing::debug!(%error, "the accounts cannot be looked at; again in a moment"),
        };
        let setup = |account: Account| {
            let serves = account.is(Role::Agent);
            let nothing = Capacity { calls: 0, chats: 0, chats_beside_call: 0 };
            let profile =
                if serves { account.profile() } else { AgentProfile { capacity: nothing, ..AgentProfile::default() } };
            let Account { name, display, phone, .. } = account;
            AgentSetup { name, display, profile, phone: phone.filter(|_| serves) }
        };
        let has_desk =
            |account: &Account| !account.disabled && (account.is(Role::Agent) || account.is(Role::Supervisor));
        self.set_accounts(all.into_iter().filter(has_desk).map(setup).collect());
    }

    /// Changes that somebody may see.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    // ---- agents ----

    /// Whether somebody of that name serves.
    #[must_use]
    pub fn is_agent(&self, agent: &str) -> bool {
        self.lock().agents.contains_key(agent)
    }

    /// A desk of theirs was opened; it is closed when what is given is dropped.
    ///
    /// # Errors
    /// [`DeskError::NoAgent`], also of one who has more desks open than anybody needs.
    pub fn open(self: &Arc<Self>, agent: &str) -> Result<OpenDesk, DeskError> {
        if !self.with(|core| core.desk_opened(Timestamp::now(), agent)) {
            return Err(DeskError::NoAgent);
        }
        Ok(OpenDesk { desk: Arc::clone(self), agent: agent.to_owned() })
    }

    /// An agent says whether they are to be asked; of one who is away, why.
    ///
    /// # Errors
    /// [`DeskError::NoAgent`].
    pub fn set_presence(&self, agent: &str, ready: bool, reason: &str) -> Result<(), DeskError> {
        let known = self.with(|core| core.set_presence(Timestamp::now(), agent, ready, reason));
        if known { Ok(()) } else { Err(DeskError::NoAgent) }
    }

    /// An agent is done wrapping up.
    pub fn wrapped_up(&self, agent: &str) {
        self.with(|core| core.wrapped_up(Timestamp::now(), agent));
    }

    /// What one agent sees.
    #[must_use]
    pub fn view(&self, agent: &str) -> Option<DeskView> {
        self.lock().desk(agent)
    }

    /// Everybody who serves.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentCard> {
        self.lock().agent_cards()
    }

    /// Every queue in short.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueShort> {
        self.lock().queues_in_short()
    }

    /// The queues that an agent serves.
    #[must_use]
    pub fn queues_of(&self, agent: &str) -> Vec<String> {
        self.lock().queues_of(agent)
    }

    /// The site at a glance.
    #[must_use]
    pub fn wallboard(&self) -> Wallboard {
        self.lock().wallboard(Timestamp::now())
    }

    /// Whether that agent talks in the call of a conversation that this gateway has.
    #[must_use]
    pub fn has_call(&self, agent: &str, conversation: ConversationId) -> bool {
        let core = self.lock();
        let has = |id: &ConversationId| matches!(core.router.phase(*id), Some((Phase::Connected { .. }, Some(has))) if has == agent);
        core.calls.iter().any(|(id, call)| call.conversation == conversation && call.asked.is_none() && has(id))
    }

    // ---- offers ----

    /// An agent takes what they are asked to take.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn accept(&self, agent: &str, offer: &str) -> Result<(ConversationId, Done), DeskError> {
        if let Some(id) = self.call_of(agent, offer).or_else(|| self.handed_of(agent, offer).map(|(id, _)| id)) {
            if self.is_callback(id) {
                return self.call_back(agent, id).await;
            }
            // Their telephone or browser rings: it is taken there.
            let (epoch, last_seq) = self.lock().chats.get(&id).map_or((1, 0), |c| (c.state.epoch, c.state.last_seq));
            let owner = Owner::Agent(agent.to_owned());
            return Ok((id, Done { owner, epoch, last_seq, duplicate: false, offer: None }));
        }
        let (id, epoch) = self.chat_of(offer)?;
        let offer: OfferId = offer.parse().map_err(|_| DeskError::OfferOver)?;
        let done = self.command(id, Owner::Agent(agent.to_owned()), Wish::Accept { offer, epoch }).await?;
        Ok((id, done))
    }

    fn is_callback(&self, id: ConversationId) -> bool {
        self.lock().calls.get(&id).is_some_and(|call| call.callback.is_some())
    }

    /// An agent takes a callback: they are rung, then the customer is. A chat of theirs becomes the agent's.
    async fn call_back(&self, agent: &str, id: ConversationId) -> Result<(ConversationId, Done), DeskError> {
        if !self.with(|core| core.callback_taken(Timestamp::now(), id, agent)) {
            return Err(DeskError::OfferOver);
        }
        let chat = self.lock().chats.get(&id).map(|chat| (chat.state.epoch, chat.state.last_seq));
        let owner = Owner::Agent(agent.to_owned());
        if chat.is_some() {
            match self.command(id, owner.clone(), Wish::Claim { epoch: None }).await {
                Ok(done) => return Ok((id, done)),
                Err(error) => {
                    tracing::debug!(conversation = %id, %error, "the chat of who is called back is another's");
                }
            }
        }
        let (epoch, last_seq) = chat.unwrap_or((1, 0));
        Ok((id, Done { owner, epoch, last_seq, duplicate: false, offer: None }))
    }

    /// An agent does not take it. One that has ended is no error.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn decline(&self, agent: &str, offer: &str) -> Result<(), DeskError> {
        if let Some(id) = self.call_of(agent, offer) {
            self.with(|core| {
                if let Some(call) = core.calls.get(&id).filter(|call| call.caller != 0) {
                    let (caller, agent) = (call.caller, agent.to_owned());
                    core.call_acts.push_back(CallAct::Stop { caller, agent });
                }
                core.call_declined(Timestamp::now(), id, agent);
            });
            return Ok(());
        }
        if let Some((_, caller)) = self.handed_of(agent, offer) {
            self.with(|core| core.call_acts.push_back(CallAct::Decline { caller, agent: agent.to_owned() }));
            return Ok(());
        }
        let (id, _) = self.chat_of(offer)?;
        let offer: OfferId = offer.parse().map_err(|_| DeskError::OfferOver)?;
        self.command(id, Owner::Agent(agent.to_owned()), Wish::Decline { offer }).await?;
        Ok(())
    }

    /// The call that somebody hands that agent by this offer, while it rings: its conversation, and the switch's number of it.
    fn handed_of(&self, agent: &str, offer: &str) -> Option<(ConversationId, u64)> {
        let core = self.lock();
        let item: ConversationId = offer.strip_prefix("transfer-")?.parse().ok()?;
        let call = core.calls.get(&item).filter(|call| call.asked.is_some())?;
        let rung = core.router.phase(item)?.1 == Some(agent);
        rung.then_some((call.conversation, call.caller))
    }

    /// The call whose offer that is, while it is open to that agent.
    fn call_of(&self, agent: &str, offer: &str) -> Option<ConversationId> {
        let number: u64 = offer.strip_prefix("call-")?.parse().ok()?;
        let core = self.lock();
        let own = core.offers.iter().find(|(_, own)| own.number == number && own.agent == agent);
        own.map(|(id, _)| *id).filter(|id| core.calls.contains_key(id))
    }

    fn chat_of(&self, offer: &str) -> Result<(ConversationId, Option<u64>), DeskError> {
        let core = self.lock();
        let open = core.chats.iter().find_map(|(id, chat)| {
            let open = chat.state.offer.as_ref().filter(|open| open.offer.to_string() == offer)?;
            Some((*id, Some(open.expected_epoch)))
        });
        open.ok_or(DeskError::OfferOver)
    }

    async fn command(&self, conversation: ConversationId, by: Owner, wish: Wish) -> Result<Done, CommandError> {
        let nobody = || CommandError::Unavailable("no conversation is worked on here".to_owned());
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(nobody)?;
        owner.command(Command { tenant: self.tenant.clone(), conversation, by, wish }).await
    }

    // ---- metrics ----

    /// For `/metrics`.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let core = self.lock();
        let mut all = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
        let sample = |name, help, kind, label: (&'static str, &str), value: u64| Sample {
            name,
            help,
            kind,
            label: Some((label.0, label.1.to_owned())),
            value: value as f64,
        };
        for queue in core.router.queues() {
            let label = ("queue", queue.name.as_str());
            let help = "Customers who wait, chats and calls.";
            all.push(sample("ark_queue_waiting", help, SampleKind::Gauge, label, queue.waiting as u64));
        }
        let agents = core.router.agents();
        for state in view::STATES {
            let count = agents.iter().filter(|agent| view::word(&agent.state) == state).count();
            all.push(sample("ark_agents", "Agents by state.", SampleKind::Gauge, ("state", state), count as u64));
        }
        let (counter, entrances) = (SampleKind::Counter, &core.counts.entrances);
        for (name, count) in entrances {
            let help = "Customers whom a person answered within 30 s of coming to a queue, by entrance.";
            all.push(sample("ark_answered_30s_total", help, counter, ("entrance", name), count.answered_30s));
        }
        for (name, count) in entrances {
            let help = "Customers who gave up in a queue, by entrance.";
            all.push(sample("ark_abandoned_total", help, counter, ("entrance", name), count.abandoned));
        }
        all
    }
}

/// An agent's open desk: as long as it is held, they are there.
#[derive(Debug)]
pub struct OpenDesk {
    desk: Arc<Desk>,
    agent: String,
}

impl OpenDesk {
    /// Whose it is.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }
}

impl Drop for OpenDesk {
    fn drop(&mut self) {
        self.desk.with(|core| core.desk_closed(Timestamp::now(), &self.agent));
    }
}
