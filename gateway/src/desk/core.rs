//! What the desk knows and decides, without I/O and with the time as an argument: the router, who is at their desk, and what the
//! logs of open conversations say.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ark_conversation::event::Needed;
use ark_conversation::routing::{
    AgentProfile, AgentState, EndReason, GroupStep, Input, Kind, Output, Phase, Presence, QueueConfig, Router,
};
use ark_conversation::source::ThreadSource;
use ark_conversation::state::ConversationState;
use ark_conversation::{ConversationId, OfferId, Owner, mask_number};
use jiff::Timestamp;

use super::callbacks::Callback;
use super::limits::{GRACE, REASON_BYTES_MAX, REST, SOCKETS_OF_AGENT_MAX, START_GRACE, VANISHED_AGAIN};
use super::stats::Counts;
use super::tail::Tail;
use crate::call::queue::Asked;
use crate::webchat::hours::Hours;

/// What stands before an operator's name who answers in a browser.
pub(super) const WEB: &str = "web:";
/// The reason of somebody who has opened their desk and not said yet that they are ready.
pub const SIGNED_ON: &str = "signed_on";
/// The reason of an agent who let several offers pass.
const NO_ANSWER: &str = "no_answer";

/// A `[[queue]]`.
#[derive(Clone, Debug)]
pub struct QueueSetup {
    /// How the router is to see it; its first group is its own name.
    pub config: QueueConfig,
    /// Who answers its calls: SIP addresses, and `web:NAME`. They are in the group of the queue's name.
    pub operators: Vec<String>,
    /// Where who waits too long goes on, with the place: another queue.
    pub overflow: Option<String>,
    /// When people are there.
    pub(crate) hours: Hours,
}

impl QueueSetup {
    /// A queue with the usual times whose members are its operators.
    #[must_use]
    pub fn new(name: &str, operators: Vec<String>) -> Self {
        Self { config: QueueConfig::new(name, name), operators, overflow: None, hours: Hours::always() }
    }
}

/// An account whose role is to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSetup {
    /// The account's name.
    pub name: String,
    /// What others see.
    pub display: String,
    /// What they can do, and how much at once.
    pub profile: AgentProfile,
    /// A telephone on which they answer: a SIP address.
    pub phone: Option<String>,
}

/// Somebody who serves.
#[derive(Debug)]
pub(crate) struct AgentRow {
    pub(super) display: String,
    /// From the account; of an operator without one, what is usual.
    own: AgentProfile,
    /// Queues that name them as operators.
    operates: BTreeSet<String>,
    /// The account's telephone, or the operator's own.
    pub(super) phone: Option<String>,
    pub(super) is_account: bool,
    /// Signed on in a browser that can be rung.
    pub(super) rtc: bool,
    /// Open desks.
    pub(super) sockets: u32,
    /// Until when one without an open desk is taken to be there.
    grace: Option<Timestamp>,
    /// Whether they had an open desk since the start.
    has_desk: bool,
    ready: bool,
    reason: String,
    /// Left alone until then.
    rest: Option<Timestamp>,
    /// When it is tried again to bring back the customers that they left.
    vanish_at: Option<Timestamp>,
    /// What others saw of them last, and since when.
    pub(super) shown: (AgentState, Timestamp),
    told: Option<(AgentProfile, Presence)>,
}

impl AgentRow {
    fn new(now: Timestamp, display: &str) -> Self {
        Self {
            display: display.to_owned(),
            own: AgentProfile::default(),
            operates: BTreeSet::new(),
            phone: None,
            is_account: false,
            rtc: false,
            sockets: 0,
            grace: None,
            has_desk: false,
            ready: false,
            reason: SIGNED_ON.to_owned(),
            rest: None,
            vanish_at: None,
            shown: (AgentState::Gone, now),
            told: None,
        }
    }

    /// Whether a desk of theirs is open, or was a moment ago.
    pub(super) fn at_desk(&self) -> bool {
        self.sockets > 0 || self.grace.is_some()
    }

    /// Whether they were at their desk and are no more.
    fn left(&self) -> bool {
        self.has_desk && !self.at_desk()
    }

    fn presence(&self, now: Timestamp) -> Presence {
        let rests = self.rest.is_some_and(|until| until > now);
        if self.at_desk() {
            return if self.ready && !rests { Presence::Ready } else { Presence::Away(self.reason.clone()) };
        }
        // Who has an account is there when their desk is open.
        let answers = !self.is_account && (self.rtc || self.phone.is_some());
        match answers {
            true if rests => Presence::Away("rest".to_owned()),
            true => Presence::Ready,
            false => Presence::Gone,
        }
    }

    fn profile(&self) -> AgentProfile {
        let mut profile = self.own.clone();
        for queue in &self.operates {
            if !profile.groups.contains(queue) {
                profile.groups.push(queue.clone());
            }
        }
        profile.groups.truncate(ark_conversation::limits::SKILLS_MAX);
        let calls = self.rtc || self.phone.is_some();
        // A telephone takes one call at a time.
        profile.capacity.calls = if calls { profile.capacity.calls.min(1) } else { 0 };
        if !self.at_desk() {
            profile.capacity.chats = 0;
        }
        profile
    }
}

/// A chat that is open.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) state: ConversationState,
    pub(super) tail: Tail,
    pub(super) entrance: String,
    /// The channel's kind: the adapter.
    pub(super) channel: String,
    /// The queue in whose line they are counted as waiting.
    pub(super) counted: Option<String>,
    /// The queue was closed when they came: they are taken in when it opens.
    pub(super) parked: bool,
}

impl Chat {
    pub(super) fn title(&self) -> String {
        if let Some(name) = &self.tail.display {
            return name.clone();
        }
        let customer = |leg: &&ark_conversation::state::LegState| leg.role == ark_conversation::event::Role::Customer;
        let from = self.state.legs.iter().find(customer).map(|leg| leg.from.reveal().to_owned());
        mask_number(&from.unwrap_or_default())
    }
}

/// A call that waits, rings an agent, or talks with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallItem {
    pub(super) caller: u64,
    /// The conversation, which is the item but for who was rung past the line.
    pub(super) conversation: ConversationId,
    pub(super) queue: String,
    pub(super) since: Timestamp,
    pub(super) entrance: String,
    pub(super) title: String,
    pub(super) channel: String,
    /// Since when somebody talks with them.
    pub(super) talking: Option<Timestamp>,
    /// They have hung up and are to be called.
    pub(super) callback: Option<Callback>,
    /// An agent is rung past the line, who has not answered: what they are told.
    pub(super) asked: Option<Asking>,
}

/// What an agent is told who is rung for a customer whom somebody hands them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) what: Asked,
    pub(super) deadline: Timestamp,
}

/// An offer that the router made and that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The router's number.
    pub(super) number: u64,
    pub(super) agent: String,
    pub(super) queue: String,
    pub(super) since: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) epoch: u64,
    /// As the log has it; none before it is there. A call's never is.
    pub(super) id: Option<OfferId>,
    /// `seq` of the log's last record when it was there: what was read before says nothing of it.
    pub(super) seq: u64,
}

/// What is to be asked of a conversation's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Offer it to an agent.
    Ask { queue: String, number: u64, agent: String, epoch: u64, deadline: Timestamp },
    /// Take the offer back.
    TakeBack { queue: String, agent: String },
    /// The agent is gone.
    Vanished { agent: String },
    /// They waited too long: the plan's way, else on to another queue.
    Overflow { queue: String, to: Option<String> },
    /// What they need no longer matters.
    Relax { queue: String, needs: Needed },
}

/// What is to be done with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallAct {
    /// Ring the agent.
    Ring { caller: u64, agent: String },
    /// Stop ringing them.
    Stop { caller: u64, agent: String },
    /// Ring the agent, and then the customer who is to be called.
    CallBack { item: ConversationId, agent: String },
    /// An agent who is rung past the line does not take it.
    Decline { caller: u64, agent: String },
    /// They waited too long: the plan's way, else on to another queue.
    Overflow { caller: u64, queue: String, to: Option<String> },
    /// What they need no longer matters.
    Relaxed { caller: u64, queue: String, needs: Needed },
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Core {
    pub(crate) router: Router,
    pub(super) hours: BTreeMap<String, Hours>,
    pub(super) configured: BTreeSet<String>,
    /// Where who waits too long goes on, by queue.
    pub(super) overflow: BTreeMap<String, String>,
    /// The language of who writes, by entrance (`web:shop`), where nothing else says it.
    pub(super) languages: BTreeMap<String, String>,
    pub(crate) agents: BTreeMap<String, AgentRow>,
    /// As they were told last.
    accounts: Vec<AgentSetup>,
    /// Agents by the addresses at which their calls ring.
    addresses: HashMap<String, String>,
    pub(super) chats: HashMap<ConversationId, Chat>,
    pub(super) calls: HashMap<ConversationId, CallItem>,
    pub(super) offers: HashMap<ConversationId, Offer>,
    /// Who is to be called once a call of theirs has ended.
    pub(super) awaited: BTreeSet<ConversationId>,
    pub(super) acts: VecDeque<(ConversationId, Act)>,
    pub(super) call_acts: VecDeque<CallAct>,
    pub(super) counts: Counts,
    /// Counts up with every change that somebody may see.
    pub(super) version: u64,
    pub(super) recovering: bool,
}

impl Core {
    /// One that decides when it is told that everything is known.
    pub(super) fn recovering() -> Self {
        Self { router: Router::recovering(), recovering: true, ..Self::default() }
    }

    pub(super) fn tell(&mut self, now: Timestamp, input: Input) -> bool {
        match self.router.handle(now, input) {
            Ok(()) => true,
            Err(refused) => {
                tracing::debug!(%refused, "the router takes no notice");
                false
            }
        }
    }

    // ---- queues and agents ----

    /// A queue of the site.
    pub(super) fn set_queue(&mut self, now: Timestamp, setup: QueueSetup) {
        let QueueSetup { config, operators, overflow, hours } = setup;
        let name = config.name.clone();
        self.overflow.extend(overflow.map(|to| (name.clone(), to)));
        self.configured.insert(name.clone());
        self.tell(now, Input::Queue(config));
        self.tell(now, Input::Open { queue: name.clone(), open: hours.open(now) });
        self.hours.insert(name.clone(), hours);
        for operator in operators {
            let agent = self.agent_at(&operator);
            let row = self.agents.entry(agent.clone()).or_insert_with(|| {
                let display = operator.strip_prefix(WEB).unwrap_or(&operator);
                AgentRow::new(now, display)
            });
            row.operates.insert(name.clone());
            if !operator.starts_with(WEB) {
                row.phone.get_or_insert_with(|| operator.clone());
            }
            self.addresses.insert(operator, agent.clone());
            self.refresh(now, &agent);
        }
        self.drain(now);
    }

    /// Who answers at that address.
    pub(crate) fn agent_at(&self, address: &str) -> String {
        match (self.addresses.get(address), address.strip_prefix(WEB)) {
            (Some(known), _) => known.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => address.to_owned(),
        }
    }

    /// Where that agent's calls ring.
    pub(crate) fn address_of(&self, agent: &str) -> String {
        match self.agents.get(agent) {
            Some(row) if row.rtc => format!("{WEB}{agent}"),
            Some(AgentRow { phone: Some(phone), .. }) => phone.clone(),
            _ => format!("{WEB}{agent}"),
        }
    }

    /// The accounts that serve; those that were told before and are not among them serve no more.
    pub(super) fn set_accounts(&mut self, now: Timestamp, accounts: Vec<AgentSetup>) {
        if self.accounts == accounts {
            return;
        }
        self.accounts.clone_from(&accounts);
        let named: BTreeSet<String> = accounts.iter().map(|account| account.name.clone()).collect();
        for account in accounts {
            let AgentSetup { name, display, profile, phone } = account;
            let row = self.agents.entry(name.clone()).or_insert_with(|| AgentRow::new(now, &display));
            (row.is_account, row.display, row.own) = (true, display, profile);
            if let Some(phone) = phone {
                // A queue that names the telephone means the account.
                if let Some(other) = self.addresses.insert(phone.clone(), name.clone()).filter(|other| *other != name)
                    && let Some(old) = self.agents.get_mut(&other).filter(|old| !old.is_account)
                {
                    let operates = std::mem::take(&mut old.operates);
                    old.phone = None;
                    self.refresh(now, &other);
                    if let Some(row) = self.agents.get_mut(&name) {
                        row.operates.extend(operates);
                    }
                }
                if let Some(row) = self.agents.get_mut(&name) {
                    row.phone = Some(phone);
                }
            }
            self.refresh(now, &name);
        }
        let gone: Vec<String> = self
            .agents
            .iter()
            .filter(|(name, row)| row.is_account && !named.contains(*name))
            .map(|(n, _)| n.clone())
            .collect();
        for name in gone {
            if let Some(row) = self.agents.get_mut(&name) {
                (row.is_account, row.own, row.sockets, row.grace) = (false, AgentProfile::default(), 0, None);
                (row.phone, row.has_desk) = (None, true);
            }
            self.refresh(now, &name);
        }
        self.drain(now);
    }

    /// Tells the router what has changed in what an agent can do and whether they are there.
    fn refresh(&mut self, now: Timestamp, name: &str) {
        let Some(row) = self.agents.get_mut(name) else { return };
        let (profile, mut presence) = (row.profile(), row.presence(now));
        let left = row.left();
        // Whoever an agent leaves is brought back by their logs; only then the router is told that they are gone.
        let chats: Vec<ConversationId> = match left && presence == Presence::Gone {
            true => self.router.of_agent(name).collect(),
            false => Vec::new(),
        };
        if !chats.is_empty() {
            presence = Presence::Away("gone".to_owned());
        }
        let row = self.agents.get_mut(name).expect("it was there");
        if left && row.vanish_at.is_none_or(|at| at <= now) {
            row.vanish_at = (!chats.is_empty()).then(|| now.saturating_add(VANISHED_AGAIN).unwrap_or(now));
            for id in chats {
                if self.chats.contains_key(&id) && !self.calls.contains_key(&id) {
                    self.acts.push_back((id, Act::Vanished { agent: name.to_owned() }));
                }
            }
        } else if !left {
            row.vanish_at = None;
        }
        let told = row.told.clone();
        if told.as_ref().is_none_or(|(known, _)| *known != profile) {
            self.tell(now, Input::Agent { name: name.to_owned(), profile: profile.clone() });
        }
        if told.as_ref().is_none_or(|(_, known)| *known != presence) {
            self.tell(now, Input::Presence { agent: name.to_owned(), presence: presence.clone() });
        }
        if let Some(row) = self.agents.get_mut(name) {
            row.told = Some((profile, presence));
        }
        self.version += 1;
    }

    // ---- presence ----

    /// A desk was opened. False: there are as many as there may be, or nobody of that name serves.
    pub(super) fn desk_opened(&mut self, now: Timestamp, agent: &str) -> bool {
        let Some(row) = self.agents.get_mut(agent) else { return false };
        if row.sockets >= SOCKETS_OF_AGENT_MAX {
            return false;
        }
        if !row.at_desk() {
            (row.ready, row.reason) = (false, SIGNED_ON.to_owned());
        }
        row.sockets += 1;
        let first = !std::mem::replace(&mut row.has_desk, true);
        row.grace = None;
        self.refresh(now, agent);
        if first {
            let owner = Some(Owner::Agent(agent.to_owned()));
            let theirs = |(id, chat): (&ConversationId, &Chat)| (chat.state.owner == owner).then_some(*id);
            let theirs: Vec<ConversationId> = self.chats.iter().filter_map(theirs).collect();
            for id in theirs.into_iter().filter(|id| !self.calls.contains_key(id)).collect::<Vec<_>>() {
                self.route_chat(now, id);
            }
        }
        self.drain(now);
        true
    }

    /// A desk was closed.
    pub(super) fn desk_closed(&mut self, now: Timestamp, agent: &str) {
        let Some(row) = self.agents.get_mut(agent) else { return };
        row.sockets = row.sockets.saturating_sub(1);
        if row.sockets == 0 {
            row.grace = now.saturating_add(GRACE).ok();
        }
        self.refresh(now, agent);
        self.drain(now);
    }

    /// An agent says whether they are to be asked. False: nobody of that name serves.
    pub(super) fn set_presence(&mut self, now: Timestamp, agent: &str, ready: bool, reason: &str) -> bool {
        let Some(row) = self.agents.get_mut(agent) else { return false };
        let mut reason = reason.to_owned();
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        (row.ready, row.reason, row.rest) = (ready, reason, None);
        // What the router said of them (away, no answer) is over.
        if let Some((_, told)) = &mut row.told
            && ready
        {
            *told = Presence::Away(String::new());
        }
        self.refresh(now, agent);
        self.drain(now);
        true
    }

    /// An agent is done wrapping up.
    pub(super) fn wrapped_up(&mut self, now: Timestamp, agent: &str) {
        self.tell(now, Input::WrappedUp { agent: agent.to_owned() });
        self.drain(now);
    }

    /// Whether a browser is signed on that can be rung.
    pub(crate) fn set_rtc(&mut self, now: Timestamp, agent: &str, on: bool) {
        let Some(row) = self.agents.get_mut(agent) else { return };
        (row.rtc, row.rest) = (on, None);
        self.refresh(now, agent);
        self.drain(now);
    }

    /// One without a desk is left alone for a while after a call that they did not take.
    pub(super) fn rests(&mut self, now: Timestamp, agent: &str) {
        let Some(row) = self.agents.get_mut(agent) else { return };
        if row.at_desk() {
            return;
        }
        row.rest = now.saturating_add(REST).ok();
        self.refresh(now, agent);
    }

    // ---- chats, as their logs say ----

    /// What a chat's log says now.
    pub(super) fn seen(&mut self, now: Timestamp, state: &ConversationState, tail: Option<Tail>) {
        let id = state.conversation;
        let known = self.chats.get_mut(&id);
        if state.session.is_none() {
            let gave_up = tail.or(known.map(|chat| chat.tail.clone())).is_some_and(|tail| tail.gave_up);
            return self.chat_over(now, id, gave_up);
        }
        match known {
            Some(chat) if chat.state.last_seq > state.last_seq => return,
            Some(chat) => {
                chat.state = state.clone();
                if let Some(tail) = tail.filter(|tail| tail.seq >= chat.tail.seq) {
                    chat.tail = tail;
                }
            }
            None => {
                let (channel, entrance) = entrance(state);
                let (tail, state) = (tail.unwrap_or_default(), state.clone());
                self.chats.insert(id, Chat { state, tail, entrance, channel, counted: None, parked: false });
            }
        }
        self.version += 1;
        // What a call of theirs does comes first: afterwards the log is looked at again.
        if !self.calls.contains_key(&id) {
            self.route_chat(now, id);
        }
        self.drain(now);
    }

    /// One more record of a log.
    pub(super) fn heard(&mut self, record: &ark_conversation::Record) -> bool {
        match self.chats.get_mut(&record.conversation) {
            Some(chat) => {
                chat.tail.read(record);
                self.version += 1;
                true
            }
            None => false,
        }
    }

    pub(super) fn route_chat(&mut self, now: Timestamp, id: ConversationId) {
        let Some(chat) = self.chats.get(&id) else { return };
        let owner = chat.state.owner.clone();
        match owner {
            Some(Owner::Queue(queue)) => self.chat_waits(now, id, &queue),
            Some(Owner::Agent(agent)) => self.chat_served(now, id, &agent),
            _ => {
                self.leave(now, id, EndReason::Moved);
                if let Some(chat) = self.chats.get_mut(&id) {
                    chat.counted = None;
                }
            }
        }
    }

    /// A queue that the site does not name is answered by the group of its name.
    pub(super) fn know_queue(&mut self, now: Timestamp, queue: &str) {
        if self.router.config(queue).is_none() {
            self.tell(now, Input::Queue(QueueConfig::new(queue, queue)));
        }
    }

    fn join(&mut self, now: Timestamp, id: ConversationId, queue: &str) -> bool {
        let Some(chat) = self.chats.get(&id) else { return false };
        let (since, priority) =
            chat.state.place.as_ref().map_or((None, 0), |place| (Some(place.since), place.priority));
        let input = Input::Join {
            item: id,
            queue: queue.to_owned(),
            kind: Kind::Chat,
            priority: i32::from(priority),
            since: Some(since.unwrap_or(chat.state.started)),
            needs: self.needs_of(chat),
            last_agent: chat.tail.last_agent.clone(),
            epoch: chat.state.epoch,
        };
        self.tell(now, input)
    }

    fn chat_waits(&mut self, now: Timestamp, id: ConversationId, queue: &str) {
        self.know_queue(now, queue);
        let Some(chat) = self.chats.get(&id) else { return };
        let (offer, seq) = (chat.state.offer.clone(), chat.state.last_seq);
        let own = self.offers.get(&id).cloned();
        if offer.is_none()
            && let Some(own) = own.as_ref().filter(|own| own.id.is_some() && own.seq <= seq)
        {
            // It has ended in the log: by a no, or by its deadline, which the router sees by itself.
            self.offers.remove(&id);
            let input = if own.deadline <= now { Input::Tick } else { Input::Declined { offer: own.number } };
            self.tell(now, input);
        }
        let joined = self.join(now, id, queue);
        let Some(chat) = self.chats.get_mut(&id) else { return };
        chat.parked = !joined;
        if chat.counted.as_deref() != Some(queue) {
            chat.counted = Some(queue.to_owned());
            if !self.recovering {
                self.counts.joined(now, queue);
            }
        }
        let Some(offer) = offer else { return };
        let Owner::Agent(agent) = &offer.to else { return self.leave(now, id, EndReason::Moved) };
        match self.offers.get_mut(&id).filter(|own| own.agent == *agent) {
            Some(own) => (own.id, own.seq) = (Some(offer.offer), seq),
            None if !self.agents.contains_key(agent) => self.leave(now, id, EndReason::Moved),
            None => {
                let (agent, deadline) = (agent.clone(), offer.deadline);
                if !self.tell(now, Input::Offered { item: id, agent: agent.clone(), deadline }) {
                    return;
                }
                let Some(number) = self.router.offer_of(id) else { return };
                self.drain(now);
                let epoch = offer.expected_epoch;
                let (queue, since, offer) = (queue.to_owned(), now, Some(offer.offer));
                self.offers.insert(id, Offer { number, agent, queue, since, deadline, epoch, id: offer, seq });
            }
        }
    }

    fn chat_served(&mut self, now: Timestamp, id: ConversationId, agent: &str) {
        let Some(chat) = self.chats.get_mut(&id) else { return };
        chat.parked = false;
        chat.tail.last_agent = Some(agent.to_owned());
        let (counted, place) = (chat.counted.take(), chat.state.place.clone());
        let (entrance, started) = (chat.entrance.clone(), chat.state.started);
        if let Some(queue) = counted.filter(|_| !self.recovering) {
            let since = place.as_ref().map_or(started, |place| place.since);
            self.counts.answered(now, &queue, &entrance, now.duration_since(since));
        }
        let own = self.offers.remove(&id).filter(|own| own.agent == agent);
        if own.is_some_and(|own| self.tell(now, Input::Accepted { offer: own.number })) {
            return;
        }
        let Some(row) = self.agents.get_mut(agent) else { return self.leave(now, id, EndReason::Moved) };
        if !row.is_account && !row.has_desk {
            // A site's own desk writes in their name: their telephone is as free as it was.
            return self.leave(now, id, EndReason::Moved);
        }
        if self.recovering && row.is_account && !row.at_desk() {
            // Their page comes back by itself.
            (row.grace, row.has_desk) = (now.saturating_add(START_GRACE).ok(), true);
            self.refresh(now, agent);
        }
        let phase = self.router.phase(id);
        if matches!(phase, Some((Phase::Connected { .. }, Some(has))) if has == agent) {
            return;
        }
        if phase.is_none() {
            let queue = place.map(|place| place.queue);
            let queue = queue.filter(|queue| !queue.is_empty()).unwrap_or_else(|| "general".to_owned());
            self.know_queue(now, &queue);
            // Nobody is to be asked in between.
            self.serve_unasked(now, id, &queue, agent);
            return;
        }
        self.tell(now, Input::Serving { item: id, agent: agent.to_owned() });
    }

    /// One that was not in any line is an agent's.
    fn serve_unasked(&mut self, now: Timestamp, id: ConversationId, queue: &str, agent: &str) {
        let Some(chat) = self.chats.get(&id) else { return };
        let (epoch, since) = (chat.state.epoch, Some(chat.state.started));
        let (queue, agent) = (queue.to_owned(), agent.to_owned());
        self.tell(now, Input::Taken { item: id, queue, kind: Kind::Chat, since, epoch, agent });
    }

    pub(super) fn leave(&mut self, now: Timestamp, id: ConversationId, why: EndReason) {
        self.offers.remove(&id);
        if self.router.phase(id).is_some() {
            self.tell(now, Input::Leave { item: id, why });
        }
    }

    fn chat_over(&mut self, now: Timestamp, id: ConversationId, gave_up: bool) {
        let Some(chat) = self.chats.remove(&id) else { return };
        self.version += 1;
        if let Some(queue) = chat.counted.as_ref().filter(|_| gave_up) {
            self.counts.abandoned(now, queue, &chat.entrance);
        }
        if self.calls.contains_key(&id) {
            return;
        }
        if matches!(self.router.phase(id), Some((Phase::Connected { .. }, _))) {
            self.tell(now, Input::Finished { item: id });
        } else {
            self.leave(now, id, if gave_up { EndReason::Abandoned } else { EndReason::Closed });
        }
        self.drain(now);
    }

    /// The log has the offer that the router asked for.
    pub(super) fn asked(
        &mut self,
        now: Timestamp,
        id: ConversationId,
        number: u64,
        (offer, seq): (Option<OfferId>, u64),
    ) {
        if let Some(own) = self.offers.get_mut(&id).filter(|own| own.number == number) {
            (own.id, own.seq) = (offer, seq);
            self.version += 1;
        }
        self.drain(now);
    }

    /// The log does not take the offer: the agent is asked for it again in a while, others at once.
    pub(super) fn not_asked(&mut self, now: Timestamp, id: ConversationId, number: u64) {
        if self.offers.get(&id).is_some_and(|own| own.number == number && own.id.is_none()) {
            self.offers.remove(&id);
            self.tell(now, Input::Declined { offer: number });
            self.drain(now);
        }
    }

    /// Everything is known: from now on it is decided.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.recovering) {
            self.tell(now, Input::Begin);
            self.drain(now);
        }
    }

    // ---- time ----

    /// When [`Core::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let of_agent = |row: &AgentRow| [row.grace, row.rest, row.vanish_at].into_iter().flatten().min();
        let router = self.router.deadline().filter(|_| !self.recovering);
        self.agents.values().filter_map(of_agent).chain(router).min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let due: Vec<String> = self
            .agents
            .iter()
            .filter(|(_, row)| [row.grace, row.rest, row.vanish_at].into_iter().flatten().any(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            if let Some(row) = self.agents.get_mut(&name) {
                row.grace = row.grace.filter(|at| *at > now);
                row.rest = row.rest.filter(|at| *at > now);
            }
            self.refresh(now, &name);
        }
        self.look_at_hours(now);
        self.tell(now, Input::Tick);
        self.drain(now);
    }

    pub(super) fn look_at_hours(&mut self, now: Timestamp) {
        let turned: Vec<(String, bool)> = self
            .hours
            .iter()
            .map(|(name, hours)| (name.clone(), hours.open(now)))
            .filter(|(name, is)| self.router.is_open(name) != Some(*is))
            .collect();
        for (queue, is) in turned {
            self.tell(now, Input::Open { queue: queue.clone(), open: is });
            self.version += 1;
            let waits = |chat: &Chat| is && chat.parked && chat.state.owner == Some(Owner::Queue(queue.clone()));
            let parked: Vec<ConversationId> =
                self.chats.iter().filter(|(_, chat)| waits(chat)).map(|(id, _)| *id).collect();
            for id in parked {
                self.route_chat(now, id);
            }
        }
    }

    // ---- what the router says ----

    pub(super) fn drain(&mut self, now: Timestamp) {
        // Whoever left and has nobody any more is gone.
        let over = |name: &str, row: &AgentRow| row.vanish_at.is_some() && self.router.of_agent(name).next().is_none();
        let left: Vec<String> =
            self.agents.iter().filter(|(name, row)| over(name, row)).map(|(name, _)| name.clone()).collect();
        for name in left {
            if let Some(row) = self.agents.get_mut(&name) {
                row.vanish_at = None;
            }
            self.refresh(now, &name);
        }
        while let Some(output) = self.router.poll() {
            self.version += 1;
            match output {
                Output::Offer { offer: number, item, queue, agent, deadline, epoch, .. } => {
                    self.offer(item, Offer { number, agent, queue, since: now, deadline, epoch, id: None, seq: 0 });
                }
                Output::Withdrawn { offer, item, agent, why } => {
                    let open = self.offers.get(&item).is_some_and(|own| own.number == offer);
                    let own = if open { self.offers.remove(&item) } else { None };
                    if let Some(call) = self.calls.get(&item) {
                        self.call_acts.push_back(CallAct::Stop { caller: call.caller, agent });
                    } else if let Some(own) = own
                        && why != ark_conversation::routing::WithdrawnBy::Deadline
                    {
                        self.acts.push_back((item, Act::TakeBack { queue: own.queue, agent }));
                    }
                }
                Output::Returned { item, agent, .. } => {
                    if self.chats.contains_key(&item) && !self.calls.contains_key(&item) {
                        self.acts.push_back((item, Act::Vanished { agent }));
                    }
                }
                Output::SetAway { agent } => {
                    if let Some(row) = self.agents.get_mut(&agent) {
                        (row.ready, row.reason) = (false, NO_ANSWER.to_owned());
                        if let Some((_, told)) = &mut row.told {
                            *told = Presence::Away(NO_ANSWER.to_owned());
                        }
                    }
                    self.rests(now, &agent);
                    self.refresh(now, &agent);
                }
                Output::Overflow { item, queue } => self.overflows(item, queue),
                Output::Waived { item, queue, needs } => self.waived(item, queue, needs),
                // Who called them says so in their log.
                Output::Unreached { item } => {
                    tracing::info!(conversation = %item, "a customer who asked for a call could not be reached");
                }
            }
        }
        self.show_agents(now);
    }

    fn offer(&mut self, item: ConversationId, offer: Offer) {
        if let Some(call) = self.calls.get(&item) {
            let agent = offer.agent.clone();
            let at_desk = self.agents.get(&agent).is_some_and(AgentRow::at_desk);
            match call.callback {
                None => self.call_acts.push_back(CallAct::Ring { caller: call.caller, agent }),
                // Who has a desk says yes there, before anything rings; a telephone says it by its answer.
                Some(_) if at_desk => {}
                Some(_) => self.call_acts.push_back(CallAct::CallBack { item, agent }),
            }
        } else {
            let Offer { number, agent, queue, epoch, deadline, .. } = offer.clone();
            self.acts.push_back((item, Act::Ask { queue, number, agent, epoch, deadline }));
        }
        self.offers.insert(item, offer);
    }

    /// Notes since when agents do what they do.
    fn show_agents(&mut self, now: Timestamp) {
        for view in self.router.agents() {
            if let Some(row) = self.agents.get_mut(&view.name)
                && row.shown.0 != view.state
            {
                row.shown = (view.state, now);
                self.version += 1;
            }
        }
    }
}

/// The channel and the entrance of a chat: `web` and `web:shop`.
fn entrance(state: &ConversationState) -> (String, String) {
    let thread = state.legs.iter().find_map(|leg| leg.source.as_ref()?.parse::<ThreadSource>().ok());
    thread.map_or_else(
        || ("chat".to_owned(), "chat".to_owned()),
        |thread| (thread.adapter.clone(), format!("{}:{}", thread.adapter, thread.account)),
    )
}

/// The first group of a queue is its own name, with further ones after a while.
#[must_use]
pub fn group_steps(queue: &str, more: Vec<GroupStep>) -> Vec<GroupStep> {
    let own = GroupStep { group: queue.to_owned(), after: jiff::SignedDuration::ZERO };
    std::iter::once(own).chain(more).collect()
}
