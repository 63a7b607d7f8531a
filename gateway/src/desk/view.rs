//! What agents and supervisors see: whole pictures, made at one moment.

use std::collections::BTreeMap;

use ark_conversation::routing::{AgentState, Kind, Phase, round_up};
use ark_conversation::{ConversationId, Owner};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use utoipa::ToSchema;

use super::core::{CallItem, Chat, Core};
use super::limits::{MINE_SHOWN, WAITING_SHOWN};
use super::stats::percent;
use super::tail::Last;

/// What one agent sees
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
pub struct DeskView {
    /// Themselves.
    pub me: Me,
    /// What they are asked to take; the oldest first.
    pub offers: Vec<OfferCard>,
    /// Whom they have.
    pub mine: Vec<Card>,
    /// Who waits in their queues, queue by queue, the next first; at most 200.
    pub waiting: Vec<Card>,
    /// How many more wait.
    pub waiting_more: usize,
    /// Their queues.
    pub queues: Vec<DeskQueue>,
}

/// The agent whose desk it is
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
#[schema(as = DeskMe)]
#[schemars(rename = "DeskMe")]
pub struct Me {
    /// Their name.
    pub name: String,
    /// What others see.
    pub display: String,
    /// `ready`, `busy`, `wrap_up`, `away` or `gone`.
    pub state: &'static str,
    /// Why they are away.
    pub reason: Option<String>,
    /// Since when, RFC 3339, UTC.
    pub since: String,
    /// Until when they wrap up.
    pub wrap_up_until: Option<String>,
    /// Calls, offers counted.
    pub calls: u32,
    /// Chats, offers counted.
    pub chats: u32,
    /// How much at once.
    pub capacity: CapacityView,
}

/// How much an agent takes at once
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
pub struct CapacityView {
    /// Calls; none while no telephone or browser of theirs can ring.
    pub calls: u32,
    /// Chats, without a call.
    pub chats: u32,
    /// Chats beside a call.
    pub chats_beside_call: u32,
}

/// Something that an agent is asked to take
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
#[schema(as = DeskOffer)]
#[schemars(rename = "DeskOffer")]
pub struct OfferCard {
    /// Its name, for accepting and declining.
    pub offer: String,
    /// The conversation.
    pub conversation: String,
    /// `call` or `chat`.
    pub kind: &'static str,
    /// The customer has hung up: who accepts is rung, and then the customer is called.
    pub callback: bool,
    /// The queue in whose line the customer is.
    pub queue: String,
    /// Who asks: `queue:orders`, `agent:ben`.
    pub by: String,
    /// The channel: `sip`, `web`, `dingtalk`.
    pub channel: String,
    /// Who it is: a masked number, or a name.
    pub title: String,
    /// Since when it is asked, or when the customer came; RFC 3339, UTC.
    pub since: String,
    /// Until when it can be taken.
    pub deadline: String,
    /// The epoch to accept with.
    pub epoch: u64,
    /// The summary that goes with it.
    pub summary: Option<String>,
    /// A word of the one who asks.
    pub note: Option<String>,
}

/// A conversation in a list
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
#[schema(as = DeskCard)]
#[schemars(rename = "DeskCard")]
pub struct Card {
    /// Which.
    pub conversation: String,
    /// `call` or `chat`.
    pub kind: &'static str,
    /// They have hung up and are to be called, or are being called.
    pub callback: bool,
    /// The channel: `sip`, `web`, `dingtalk`.
    pub channel: String,
    /// Who it is: a masked number, or a name.
    pub title: String,
    /// The queue, now or last.
    pub queue: Option<String>,
    /// Whose it is: `agent:anna`, `queue:orders`.
    pub owner: Option<String>,
    /// Ownership now.
    pub epoch: u64,
    /// `queued`, `offered`, `talking`, `open` or `wrap_up`.
    pub state: &'static str,
    /// Since when it is open, RFC 3339, UTC.
    pub since: String,
    /// Since when the customer waits.
    pub waiting_since: Option<String>,
    /// 1 is next.
    pub position: Option<usize>,
    /// The last message.
    pub last: Option<Last>,
}

/// A queue, for those who serve it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
pub struct DeskQueue {
    /// Its name.
    pub name: String,
    /// Whether it takes customers in.
    pub open: bool,
    /// Who waits.
    pub waiting: usize,
    /// Since when the one waits who has waited longest, RFC 3339, UTC.
    pub waiting_since: Option<String>,
    /// Agents with room.
    pub ready: usize,
    /// Agents without room, or wrapping up.
    pub busy: usize,
    /// Agents who are away.
    pub away: usize,
    /// Answered since the gateway's start.
    pub answered: u64,
    /// Of these, within 30 s.
    pub answered_30s: u64,
    /// Gave up since the gateway's start.
    pub abandoned: u64,
    /// Who waits for something that nobody has who works there.
    pub unmet: usize,
    /// What the next who comes would wait, rounded up, in seconds; none: nobody is there.
    pub estimate_s: Option<i64>,
}

/// An agent, as colleagues see them
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
#[schema(as = DeskAgent)]
#[schemars(rename = "DeskAgent")]
pub struct AgentCard {
    /// Their name.
    pub name: String,
    /// What others see.
    pub display: String,
    /// `ready`, `busy`, `wrap_up`, `away` or `gone`.
    pub state: &'static str,
    /// Why they are away.
    pub reason: Option<String>,
    /// Since when, RFC 3339, UTC.
    pub since: String,
    /// Calls, offers counted.
    pub calls: u32,
    /// Chats, offers counted.
    pub chats: u32,
    /// The queues that they serve.
    pub queues: Vec<String>,
    /// What they have room for.
    pub can_take: CanTake,
}

/// What an agent has room for
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
pub struct CanTake {
    /// A call.
    pub call: bool,
    /// A chat.
    pub chat: bool,
}

/// A queue in short
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
pub struct QueueShort {
    /// Its name.
    pub name: String,
    /// Whether it takes customers in.
    pub open: bool,
    /// Who waits.
    pub waiting: usize,
    /// Agents with room.
    pub ready: usize,
    /// What the next who comes would wait, rounded up, in seconds; none: nobody is there.
    pub estimate_s: Option<i64>,
}

/// The site at a glance, for supervisors
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
pub struct Wallboard {
    /// When it was made, RFC 3339, UTC.
    pub at: String,
    /// Who waits, in all queues.
    pub waiting: usize,
    /// How long the one waits who has waited longest, in seconds.
    pub longest_wait_s: i64,
    /// Of a hundred whom a person answered or who gave up, how many were answered within 30 s; since the gateway's start. None: nobody came.
    pub answered_30s_percent: Option<f64>,
    /// Gave up since the gateway's start.
    pub abandoned: u64,
    /// Agents by state: `ready`, `busy`, `wrap_up`, `away`, `gone`.
    pub by_state: BTreeMap<&'static str, usize>,
    /// The queues.
    pub queues: Vec<WallQueue>,
    /// By entrance: a hotline's number, or a channel's account.
    pub entrances: Vec<WallEntrance>,
    /// Everybody who serves.
    pub agents: Vec<AgentCard>,
}

/// A queue on the wallboard; counts are since the gateway's start
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
pub struct WallQueue {
    /// Its name.
    pub name: String,
    /// Who waits.
    pub waiting: usize,
    /// How long the one waits who has waited longest, in seconds.
    pub longest_wait_s: i64,
    /// Agents with room.
    pub ready: usize,
    /// Agents without room, or wrapping up.
    pub busy: usize,
    /// Answered by a person.
    pub answered: u64,
    /// Of these, within 30 s.
    pub answered_30s: u64,
    /// Gave up.
    pub abandoned: u64,
    /// Who waits for something that nobody has who works there.
    pub unmet: usize,
    /// Were given to whoever was free, because nobody who worked there had what they needed.
    pub relaxed: u64,
    /// The last 60 minutes, the oldest first.
    pub line: Vec<WallMinute>,
}

/// One minute of a queue
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
pub struct WallMinute {
    /// Its beginning, RFC 3339, UTC.
    pub minute: String,
    /// Came.
    pub joined: u32,
    /// Were answered.
    pub answered: u32,
    /// Gave up.
    pub abandoned: u32,
}

/// How soon people answer who come by one entrance; since the gateway's start
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, JsonSchema)]
pub struct WallEntrance {
    /// A hotline's number, or a channel's account: `95188`, `web:shop`.
    pub entrance: String,
    /// Answered by a person.
    pub answered: u64,
    /// Of these, within 30 s.
    pub answered_30s: u64,
    /// Gave up.
    pub abandoned: u64,
    /// Of a hundred whom a person answered or who gave up, how many were answered within 30 s.
    pub answered_30s_percent: Option<f64>,
}

/// The words of all states.
pub(super) const STATES: [&str; 5] = ["ready", "busy", "wrap_up", "away", "gone"];

pub(super) const fn word(state: &AgentState) -> &'static str {
    match state {
        AgentState::Ready => "ready",
        AgentState::Busy => "busy",
        AgentState::WrapUp(_) => "wrap_up",
        AgentState::Away(_) => "away",
        AgentState::Gone => "gone",
    }
}

fn reason(state: &AgentState) -> Option<String> {
    if let AgentState::Away(reason) = state { Some(reason.clone()).filter(|reason| !reason.is_empty()) } else { None }
}

impl Core {
    /// The name of a call's offer.
    pub(super) fn call_offer(number: u64) -> String {
        format!("call-{number}")
    }

    /// The name of the offer of a call that somebody hands over.
    pub(super) fn handed_offer(item: ConversationId) -> String {
        format!("transfer-{item}")
    }

    /// The queues that an agent serves.
    pub(super) fn queues_of(&self, agent: &str) -> Vec<String> {
        let Some(profile) = self.router.profile(agent) else { return Vec::new() };
        let serves = |queue: &String| {
            let groups = self.router.config(queue).map(|config| &config.groups);
            groups.is_some_and(|groups| groups.iter().any(|step| profile.groups.contains(&step.group)))
        };
        self.router.queue_names().map(str::to_owned).filter(serves).collect()
    }

    pub(super) fn desk(&self, agent: &str) -> Option<DeskView> {
        let row = self.agents.get(agent)?;
        let view = self.router.agent_view(agent)?;
        let capacity = self.router.profile(agent)?.capacity;
        let me = Me {
            name: agent.to_owned(),
            display: row.display.clone(),
            state: word(&view.state),
            reason: reason(&view.state),
            since: row.shown.1.to_string(),
            wrap_up_until: if let AgentState::WrapUp(until) = view.state { Some(until.to_string()) } else { None },
            calls: view.calls,
            chats: view.chats,
            capacity: CapacityView {
                calls: capacity.calls,
                chats: capacity.chats,
                chats_beside_call: capacity.chats_beside_call,
            },
        };
        let queues = self.queues_of(agent);
        let (mut waiting, mut waiting_more) = (Vec::new(), 0);
        for queue in &queues {
            for (at, id) in self.router.line(queue).enumerate() {
                if waiting.len() < WAITING_SHOWN {
                    waiting.extend(self.card(id, Some(at + 1)));
                } else {
                    waiting_more += 1;
                }
            }
        }
        let offers = self.offers_to(agent, &queues);
        let (mine, queues) = (self.mine(agent), queues.iter().filter_map(|queue| self.queue(queue)).collect());
        Some(DeskView { me, offers, mine, waiting, waiting_more, queues })
    }

    fn mine(&self, agent: &str) -> Vec<Card> {
        let owner = Owner::Agent(agent.to_owned());
        let chats = self.chats.iter().filter(|(_, chat)| chat.state.owner.as_ref() == Some(&owner)).map(|(id, _)| *id);
        let talks = |id: &ConversationId| matches!(self.router.phase(*id), Some((Phase::Connected { .. }, Some(has))) if has == agent);
        let calls = self.calls.iter().filter(|(_, call)| call.asked.is_none()).map(|(id, _)| *id);
        let mut ids: Vec<ConversationId> = calls.filter(talks).chain(chats).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().take(MINE_SHOWN).filter_map(|id| self.card(id, None)).collect()
    }

    /// Everything that an agent is asked to take: the router's offers, and those of other people.
    fn offers_to(&self, agent: &str, queues: &[String]) -> Vec<OfferCard> {
        let mut all: Vec<OfferCard> = Vec::new();
        for (id, chat) in &self.chats {
            let Some(offer) = &chat.state.offer else { continue };
            let asked = match &offer.to {
                Owner::Agent(to) => to == agent,
                Owner::Queue(queue) => queues.contains(queue),
                Owner::Bot(_) => false,
            };
            if asked {
                let queue = chat.state.place.as_ref().map(|place| place.queue.clone());
                let summary = offer.summary.and_then(|seq| chat.tail.summary.as_ref().filter(|(at, _)| *at == seq));
                all.push(OfferCard {
                    offer: offer.offer.to_string(),
                    conversation: id.to_string(),
                    kind: "chat",
                    callback: false,
                    queue: queue.unwrap_or_default(),
                    by: offer.by.to_string(),
                    channel: chat.channel.clone(),
                    title: chat.title(),
                    since: chat.state.place.as_ref().map_or(chat.state.started, |place| place.since).to_string(),
                    deadline: offer.deadline.to_string(),
                    epoch: offer.expected_epoch,
                    summary: summary.map(|(_, text)| text.clone()),
                    note: chat.tail.note.as_ref().filter(|(of, _)| *of == offer.offer).map(|(_, note)| note.clone()),
                });
            }
        }
        for (id, offer) in self.offers.iter().filter(|(_, offer)| offer.agent == agent) {
            let Some(call) = self.calls.get(id) else { continue };
            all.push(OfferCard {
                offer: Self::call_offer(offer.number),
                conversation: id.to_string(),
                kind: "call",
                callback: call.callback.is_some(),
                queue: offer.queue.clone(),
                by: format!("queue:{}", offer.queue),
                channel: call.channel.clone(),
                title: call.title.clone(),
                since: call.since.to_string(),
                deadline: offer.deadline.to_string(),
                epoch: offer.epoch,
                summary: None,
                note: None,
            });
        }
        all.extend(self.calls.iter().filter_map(|(item, call)| self.handed(agent, *item, call)));
        all.sort_by(|a, b| (&a.deadline, &a.offer).cmp(&(&b.deadline, &b.offer)));
        all
    }

    /// A call that somebody hands this agent, while it rings.
    fn handed(&self, agent: &str, item: ConversationId, call: &CallItem) -> Option<OfferCard> {
        let asking = call.asked.as_ref()?;
        let (_, rung) = self.router.phase(item)?;
        (rung == Some(agent)).then(|| OfferCard {
            offer: Self::handed_offer(item),
            conversation: call.conversation.to_string(),
            kind: "call",
            queue: call.queue.clone(),
            by: asking.what.by.clone(),
            channel: call.channel.clone(),
            title: call.title.clone(),
            since: call.since.to_string(),
            deadline: asking.deadline.to_string(),
            epoch: 0,
            summary: asking.what.summary.clone(),
            note: asking.what.note.clone(),
            callback: false,
        })
    }

    fn card(&self, id: ConversationId, position: Option<usize>) -> Option<Card> {
        let phase = self.router.phase(id);
        if let Some(call) = self.calls.get(&id) {
            let (state, owner) = match phase {
                Some((Phase::Connected { .. }, Some(agent))) => ("talking", format!("agent:{agent}")),
                Some((Phase::Offered { .. }, _)) => ("offered", format!("queue:{}", call.queue)),
                _ => ("queued", format!("queue:{}", call.queue)),
            };
            return Some(Card {
                conversation: call.conversation.to_string(),
                kind: "call",
                callback: call.callback.is_some(),
                channel: call.channel.clone(),
                title: call.title.clone(),
                queue: Some(call.queue.clone()),
                owner: Some(owner),
                epoch: self.chats.get(&id).map_or(1, |chat| chat.state.epoch),
                state,
                since: call.since.to_string(),
                waiting_since: (state != "talking").then(|| call.since.to_string()),
                position,
                last: self.chats.get(&id).and_then(|chat| chat.tail.last.clone()),
            });
        }
        let chat = self.chats.get(&id)?;
        let waits = matches!(chat.state.owner, Some(Owner::Queue(_)));
        let since = chat.state.session.as_ref().map_or(chat.state.started, |session| session.opened);
        Some(Card {
            conversation: id.to_string(),
            kind: "chat",
            callback: false,
            channel: chat.channel.clone(),
            title: chat.title(),
            queue: chat.state.place.as_ref().map(|place| place.queue.clone()),
            owner: chat.state.owner.as_ref().map(ToString::to_string),
            epoch: chat.state.epoch,
            state: chat_state(chat),
            since: since.to_string(),
            waiting_since: chat.state.place.as_ref().filter(|_| waits).map(|place| place.since.to_string()),
            position,
            last: chat.tail.last.clone(),
        })
    }

    fn states_in(&self, queue: &str) -> (usize, usize, usize) {
        let members: Vec<AgentState> = self.router.members(queue).map(|view| view.state).collect();
        let count = |is: fn(&AgentState) -> bool| members.iter().filter(|state| is(state)).count();
        (
            count(|state| *state == AgentState::Ready),
            count(|state| matches!(state, AgentState::Busy | AgentState::WrapUp(_))),
            count(|state| matches!(state, AgentState::Away(_))),
        )
    }

    /// What the next who comes would wait.
    fn estimate(&self, queue: &str, waiting: usize) -> Option<i64> {
        let works = self
            .router
            .members(queue)
            .filter(|view| matches!(view.state, AgentState::Ready | AgentState::Busy | AgentState::WrapUp(_)));
        let hands = i32::try_from(works.count()).ok().filter(|hands| *hands > 0)?;
        let mean = self.router.handling(queue)?;
        let ahead = i32::try_from(waiting + 1).unwrap_or(i32::MAX);
        Some(round_up(mean.saturating_mul(ahead) / hands).as_secs())
    }

    fn queue(&self, name: &str) -> Option<DeskQueue> {
        let view = self.router.queue(name)?;
        let (ready, busy, away) = self.states_in(name);
        let count = self.counts.queues.get(name).cloned().unwrap_or_default();
        Some(DeskQueue {
            estimate_s: if ready > 0 && view.waiting == 0 { Some(0) } else { self.estimate(name, view.waiting) },
            name: view.name,
            open: view.open,
            waiting: view.waiting,
            waiting_since: view.waiting_since.map(|since| since.to_string()),
            ready,
            busy,
            away,
            answered: count.answered,
            answered_30s: count.answered_30s,
            unmet: self.router.unmet(name),
            abandoned: count.abandoned,
        })
    }

    pub(super) fn queues_in_short(&self) -> Vec<QueueShort> {
        let all = self.router.queue_names().filter_map(|queue| self.queue(queue));
        all.map(|queue| {
            let DeskQueue { name, open, waiting, ready, estimate_s, .. } = queue;
            QueueShort { name, open, waiting, ready, estimate_s }
        })
        .collect()
    }

    pub(super) fn agent_cards(&self) -> Vec<AgentCard> {
        let card = |view: ark_conversation::routing::AgentView| {
            let row = self.agents.get(&view.name)?;
            Some(AgentCard {
                display: row.display.clone(),
                state: word(&view.state),
                reason: reason(&view.state),
                since: row.shown.1.to_string(),
                calls: view.calls,
                chats: view.chats,
                queues: self.queues_of(&view.name),
                can_take: CanTake {
                    call: self.router.has_room(&view.name, Kind::Call, None),
                    chat: self.router.has_room(&view.name, Kind::Chat, None),
                },
                name: view.name,
            })
        };
        self.router.agents().into_iter().filter_map(card).collect()
    }

    pub(super) fn wallboard(&self, now: Timestamp) -> Wallboard {
        let wait = |since: Option<Timestamp>| since.map_or(0, |since| now.duration_since(since).as_secs().max(0));
        let queues = self.router.queues();
        let mut by_state: BTreeMap<&'static str, usize> = STATES.into_iter().map(|state| (state, 0)).collect();
        let agents = self.agent_cards();
        for agent in &agents {
            *by_state.entry(agent.state).or_default() += 1;
        }
        let entrances = self.counts.entrances.iter().map(|(entrance, count)| WallEntrance {
            entrance: entrance.clone(),
            answered: count.answered,
            answered_30s: count.answered_30s,
            abandoned: count.abandoned,
            answered_30s_percent: percent(count.answered_30s, count.answered + count.abandoned),
        });
        Wallboard {
            at: now.to_string(),
            waiting: queues.iter().map(|queue| queue.waiting).sum(),
            longest_wait_s: wait(queues.iter().filter_map(|queue| queue.waiting_since).min()),
            answered_30s_percent: self.counts.in_time_percent(),
            abandoned: self.counts.entrances.values().map(|count| count.abandoned).sum(),
            by_state,
            queues: queues
                .iter()
                .map(|queue| {
                    let (ready, busy, _) = self.states_in(&queue.name);
                    let count = self.counts.queues.get(&queue.name).cloned().unwrap_or_default();
                    let line = count.last(now).into_iter().map(|minute| WallMinute {
                        minute: Timestamp::from_second(minute.minute * 60).unwrap_or_default().to_string(),
                        joined: minute.joined,
                        answered: minute.answered,
                        abandoned: minute.abandoned,
                    });
                    WallQueue {
                        name: queue.name.clone(),
                        waiting: queue.waiting,
                        longest_wait_s: wait(queue.waiting_since),
                        ready,
                        busy,
                        answered: count.answered,
                        answered_30s: count.answered_30s,
                        abandoned: count.abandoned,
                        unmet: self.router.unmet(&queue.name),
                        relaxed: queue.stats.waived,
                        line: line.collect(),
                    }
                })
                .collect(),
            entrances: entrances.collect(),
            agents,
        }
    }
}

fn chat_state(chat: &Chat) -> &'static str {
    use ark_conversation::state::LegPhase;
    match &chat.state.owner {
        Some(Owner::Queue(_)) if chat.state.offer.is_some() => "offered",
        Some(Owner::Queue(_)) => "queued",
        _ if !chat.state.legs.is_empty() && chat.state.legs.iter().all(|leg| leg.phase == LegPhase::Ended) => "wrap_up",
        _ => "open",
    }
}
