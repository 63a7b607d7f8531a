//! Plans that have chats: what a customer writes is given to the plan that owns the conversation, and what the plan makes of it
//! (words, the place in a queue, the end) is part of the commit that writes the customer's message. So it is answered once,
//! however often it is delivered, and where the plan is stands in the log (`ark.ivr.kept.v1`): whoever has the conversation next
//! goes on there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ark_conversation::event::{
    Action, CallMode, CallbackPlace, GatherFinished, GatherOutcome, HttpFinished, IvrEntered, IvrKept, IvrSet,
    IvrStrike, Medium, Needed, Part, SessionCloseReason, StrikeKind, SurveyAnswered, SurveyAsked, SurveyWay,
    ThreadState,
};
use ark_conversation::limits::CALLBACK_TTL_MAX;
use ark_conversation::machine::{Conversation, Input, Policy};
use ark_conversation::source::{COMPANION, ThreadSource};
use ark_conversation::{
    CloudEvent, Content, ConversationKind, Event, Hash, KeyKind, LegId, LegPhase, NewEvent, Owner as Who, Pii, Record,
};
use ark_dialplans::{Caller, ChatAsk, ChatHeard, ChatOut, ChatRun, Do, EndReason, Lang, Plan, QueueNeeds, StrikeCause};
use ark_store::{ListFilter, Openness};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Note;
use super::limits::*;
use super::machines::Key;
use super::run::{Owner, Trouble, Turn};
use crate::call::HttpResult;
use crate::conversations::shards::Right;

/// An extension of a customer's event: what they want, by a button that says so.
pub const WANTS: &str = "arkwants";
/// ... a person.
pub const WANTS_PERSON: &str = "person";

/// What is known of a plan by its name.
#[derive(Clone)]
pub enum Found {
    /// Plans are being read: in a moment.
    Soon,
    /// There is none that is live.
    Nothing,
    /// The version that is live.
    Live(Arc<Plan>, u32),
}

/// An action that a chat's plan asks.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The plan, which says where the action is.
    pub plan: Arc<Plan>,
    /// What is asked.
    pub ask: ChatAsk,
}

/// What chats' plans need of the gateway.
#[derive(Clone)]
pub struct ChatPlans {
    /// The plan of a name.
    pub live: Arc<dyn Fn(&str) -> Found + Send + Sync>,
    /// Asks an action; it may block.
    pub ask: Arc<dyn Fn(&Ask) -> HttpResult + Send + Sync>,
    /// Where customers of a channel wait when its plan cannot help, by adapter and account.
    pub queues: BTreeMap<(String, String), String>,
}

impl Default for ChatPlans {
    /// No plan has chats.
    fn default() -> Self {
        let nobody = |ask: &Ask| HttpResult {
            action: ask.ask.action.to_string(),
            outcome: ark_conversation::event::HttpOutcome::Unreachable,
            status: None,
            took: Duration::ZERO,
            values: Err("nobody asks".to_owned()),
        };
        Self { live: Arc::new(|_| Found::Nothing), ask: Arc::new(nobody), queues: BTreeMap::new() }
    }
}

/// What the owner remembers for plans.
#[derive(Default)]
pub(super) struct Shelf {
    /// Versions that are not live any more, of chats that go on with them.
    older: HashMap<(String, u32), Arc<Plan>>,
    /// Who waits, by queue, as it was counted last and with those who came since.
    lines: Option<(Instant, HashMap<String, u32>)>,
    /// When agents took customers out of each queue, of late.
    served: HashMap<String, VecDeque<Timestamp>>,
}

impl Shelf {
    /// Notes who was served, in records that are committed.
    pub(super) fn served(&mut self, records: &[Record]) {
        for record in records {
            let Event::OwnerAccepted(accepted) = &record.event.event else { continue };
            let (Who::Queue(queue), Who::Agent(_)) = (&accepted.previous, &accepted.owner) else { continue };
            if self.served.len() >= QUEUES_SERVED && !self.served.contains_key(queue) {
                self.served.clear();
            }
            let times = self.served.entry(queue.clone()).or_default();
            if times.len() >= SERVED_KEPT {
                times.pop_front();
            }
            times.push_back(record.event.time);
        }
    }

    /// How long one at that place will wait, by the pace of the last [`SERVED_WITHIN`]. None: nobody was served.
    fn wait(&self, now: Timestamp, queue: &str, position: u32) -> Option<Duration> {
        let since = now.saturating_sub(SERVED_WITHIN).unwrap_or(now);
        let times = self.served.get(queue)?;
        let served = u32::try_from(times.iter().filter(|at| **at >= since).count()).unwrap_or(u32::MAX);
        let within = Duration::try_from(SERVED_WITHIN).unwrap_or_default();
        (served > 0).then(|| within / served * position)
    }
}

/// Something that the plan of a chat is to hear, and the source of the customer's thread; empty: none.
pub(super) type Heard = (ChatHeard, String);

/// An action that is asked once its commit is in the log.
pub(super) struct Asking {
    key: Key,
    ask: Ask,
}

/// What customers said in events that are about to be written.
pub(super) fn heard(events: &[NewEvent]) -> impl Iterator<Item = Heard> {
    events.iter().filter_map(|new| {
        let event = &new.event;
        let thread: ThreadSource = event.source.parse().ok()?;
        if thread.adapter == COMPANION {
            return None;
        }
        Some((said(event)?, event.source.clone()))
    })
}

fn said(event: &CloudEvent) -> Option<ChatHeard> {
    match &event.event {
        Event::MessageIn(_) if event.extensions.get(WANTS).is_some_and(|wants| wants == WANTS_PERSON) => {
            Some(ChatHeard::Person)
        }
        Event::MessageIn(message) => {
            let texts = message.parts.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.reveal()),
                _ => None,
            });
            let file = message.parts.iter().any(|part| part.media().is_some());
            Some(ChatHeard::Said { text: texts.collect::<Vec<_>>().join("\n"), file })
        }
        // The house may speak first; elsewhere the first message follows at once.
        Event::Thread(change) if change.state == ThreadState::Opened && change.window.is_some() => {
            Some(ChatHeard::Came)
        }
        _ => None,
    }
}

/// A plan's run, and what of it is in the log.
struct Running {
    plan: Arc<Plan>,
    version: u32,
    run: ChatRun,
    leg: LegId,
    before: Option<IvrKept>,
    /// The queue that it waited in before.
    was_in: Option<String>,
}

impl Owner {
    /// What the time makes due in a conversation.
    pub(super) fn plan_is_due(&mut self, key: &Key, right: &Right) -> VecDeque<Heard> {
        let now = (self.clock)();
        let open = self.machines.get(key, right);
        let due = open.and_then(|open| open.machine.state()?.wakes).is_some_and(|at| at <= now);
        if due { VecDeque::from([(ChatHeard::Clock, String::new())]) } else { VecDeque::new() }
    }

    /// Lets the plan of a conversation hear something, when a plan has it. What comes of it is the machine's next commit.
    pub(super) async fn plan_hears(
        &mut self,
        turn: &mut Turn,
        right: &Right,
        key: &Key,
        (heard, source): Heard,
    ) -> Result<(), Trouble> {
        let now = (self.clock)();
        let Some(open) = self.machines.get(key, right) else { return Err(Trouble::Again) };
        let kept = open.machine.kept().cloned();
        // What no customer says, the time or an action, is about the leg that the plan is on.
        let on = kept.as_ref().filter(|_| source.is_empty()).map(|kept| kept.leg);
        let leg = on.or_else(|| open.machine.state().and_then(|state| state.leg_of(&source)));
        let Some(leg) = leg else { return Ok(()) };
        let Some(name) = who_hears(&open.machine, leg, &heard) else { return Ok(()) };
        if waits_and_is_offered(&open.machine) {
            return if heard == ChatHeard::Clock { self.later(right, key, now, kept) } else { Ok(()) };
        }
        let begun = match kept {
            Some(kept) => self.goes_on(key, now, leg, kept, &heard).await?,
            None => self.begins(right, key, now, leg, &name, &heard).await?,
        };
        let Some((mut running, mut out)) = begun else {
            // Who only came waits for nothing.
            let came = heard == ChatHeard::Came;
            return if came { Ok(()) } else { self.cannot(right, key, now, &name, leg) };
        };
        let waited = running.before.as_ref().is_some() && self.is_in_queue(right, key);
        if let (Some((queue, _)), false) = (running.run.waits_in(), waited) {
            let queue = queue.to_owned();
            if let Some(position) = self.place(key, &queue).await {
                let wait = self.shelf.wait(now, &queue, position);
                out.then(running.run.step(now, &ChatHeard::Place { position, wait }));
            }
        }
        self.carry_plan_out(turn, right, key, now, &running, out)
    }

    fn is_in_queue(&mut self, right: &Right, key: &Key) -> bool {
        let state = self.machines.get(key, right).and_then(|open| open.machine.state());
        state.is_some_and(|state| matches!(state.owner, Some(Who::Queue(_))))
    }

    /// The plan begins, with what is known of the customer.
    async fn begins(
        &mut self,
        right: &Right,
        key: &Key,
        now: Timestamp,
        leg: LegId,
        name: &str,
        heard: &ChatHeard,
    ) -> Result<Option<(Running, ChatOut)>, Trouble> {
        let (plan, version) = match (self.plans.live)(name) {
            Found::Live(plan, version) => (plan, version),
            Found::Nothing => return Ok(None),
            Found::Soon => {
                self.wait_for_plans();
                return Err(Trouble::Again);
            }
        };
        let caller = self.caller(right, key, leg, &plan, heard).await?;
        let begun = unharmed(key, || Some(ChatRun::start(Arc::clone(&plan), &caller, now, heard)));
        Ok(begun.map(|(run, out)| (Running { plan, version, run, leg, before: None, was_in: None }, out)))
    }

    /// The plan goes on in the version that it began with. None: it cannot.
    async fn goes_on(
        &mut self,
        key: &Key,
        now: Timestamp,
        leg: LegId,
        kept: IvrKept,
        heard: &ChatHeard,
    ) -> Result<Option<(Running, ChatOut)>, Trouble> {
        let version = kept.version;
        let Some(plan) = self.version(key, &kept.plan, version).await? else { return Ok(None) };
        let stepped = unharmed(key, || {
            let mut run = ChatRun::restore(Arc::clone(&plan), kept.run.reveal())?;
            let was_in = run.waits_in().map(|(queue, _)| queue.to_owned());
            let out = run.step(now, heard);
            Some((run, out, was_in))
        });
        let running = |(run, out, was_in)| (Running { plan, version, run, leg, before: Some(kept), was_in }, out);
        Ok(stepped.map(running))
    }

    async fn version(&mut self, key: &Key, name: &str, version: u32) -> Result<Option<Arc<Plan>>, Trouble> {
        match (self.plans.live)(name) {
            Found::Live(plan, live) if live == version => return Ok(Some(plan)),
            Found::Soon => {
                self.wait_for_plans();
                return Err(Trouble::Again);
            }
            _ => {}
        }
        let of = (name.to_owned(), version);
        if let Some(plan) = self.shelf.older.get(&of) {
            return Ok(Some(Arc::clone(plan)));
        }
        let stored = self.store.plan_version(&key.0, name, version).await.map_err(Trouble::Store)?;
        let plan = stored.and_then(|stored| Plan::parse(&stored.source, &format!("{name}@{version}")).ok());
        let Some(plan) = plan.map(Arc::new) else { return Ok(None) };
        if self.shelf.older.len() >= OLDER_PLANS {
            self.shelf.older.clear();
        }
        self.shelf.older.insert(of, Arc::clone(&plan));
        Ok(Some(plan))
    }

    /// The plan cannot help: the customer waits for a person.
    fn cannot(&mut self, right: &Right, key: &Key, now: Timestamp, plan: &str, leg: LegId) -> Result<(), Trouble> {
        tracing::warn!(conversation = %key.1, plan, "a chat's plan is not there, or cannot go on: its customer waits for a person");
        let queue = self.fallback(right, key, leg);
        let (by, event) = (Who::Bot(plan.to_owned()), over(plan, 0, leg));
        self.as_plan(right, key, now, |expected_epoch| Input::Plan { by, expected_epoch, event })?;
        if !self.is_in_queue(right, key) {
            let by = Who::Bot(plan.to_owned());
            let release = |expected_epoch| Input::Release { by, expected_epoch, queue, priority: 0, needs: None };
            self.as_plan(right, key, now, release)?;
        }
        Ok(())
    }

    /// Where the customers of a leg's channel wait.
    fn fallback(&mut self, right: &Right, key: &Key, leg: LegId) -> String {
        let Some(open) = self.machines.get(key, right) else { return Policy::default().queue };
        let leg = open.machine.state().and_then(|state| state.leg(leg));
        let account = leg.map(|leg| (leg.trunk.clone(), leg.to.reveal().to_owned()));
        let queue = account.and_then(|account| self.plans.queues.get(&account).cloned());
        queue.unwrap_or_else(|| open.machine.policy().queue.clone())
    }

    /// Somebody is being asked to take the customer just now: the plan comes again.
    fn later(&mut self, right: &Right, key: &Key, now: Timestamp, kept: Option<IvrKept>) -> Result<(), Trouble> {
        let Some(mut kept) = kept else { return Ok(()) };
        kept.wakes = now.saturating_add(OFFERED_AGAIN).ok();
        let by = Who::Bot(kept.plan.clone());
        self.as_plan(right, key, now, |expected_epoch| Input::Plan { by, expected_epoch, event: kept.into() })?;
        Ok(())
    }

    /// The input of a plan, under the epoch that there is. Whether it was taken.
    fn as_plan(
        &mut self,
        right: &Right,
        key: &Key,
        now: Timestamp,
        input: impl FnOnce(u64) -> Input,
    ) -> Result<bool, Trouble> {
        let open = self.machines.get(key, right).ok_or(Trouble::Again)?;
        let epoch = open.machine.state().map_or(1, |state| state.epoch);
        match self.handle(key, right, now, input(epoch))? {
            Ok(_) => Ok(true),
            Err(why) => {
                tracing::warn!(conversation = %key.1, why, "a chat's plan could not do what it wanted");
                Ok(false)
            }
        }
    }

    /// What the plan made of it: it takes its customer back from the queue when it has something to say, says it, and hands them on.
    fn carry_plan_out(
        &mut self,
        turn: &mut Turn,
        right: &Right,
        key: &Key,
        now: Timestamp,
        running: &Running,
        out: ChatOut,
    ) -> Result<(), Trouble> {
        let Running { plan, version, run, leg, before, was_in } = running;
        let (name, leg) = (plan.name.text.to_string(), *leg);
        let bot = || Who::Bot(name.clone());
        let elsewhere = was_in.is_some() && was_in.as_deref() != run.waits_in().map(|(queue, _)| queue);
        let speaks = !out.text.is_empty() || elsewhere || run.waits_in().is_none();
        if speaks && self.is_in_queue(right, key) {
            let by = bot();
            if !self.as_plan(right, key, now, |expected_epoch| Input::Take { by, expected_epoch })? {
                return Ok(());
            }
        }
        for event in out.did.iter().filter_map(|one| told(one, &name, *version, leg, run)) {
            let by = bot();
            self.as_plan(right, key, now, |expected_epoch| Input::Plan { by, expected_epoch, event })?;
        }
        if !out.text.is_empty() {
            let (author, parts, name) = (bot(), parts(&out), self.message_key(right, key));
            self.as_plan(right, key, now, |epoch| Input::Outbound {
                author,
                epoch,
                key: name,
                leg: Some(leg),
                parts,
                reply_to: None,
            })?;
        }
        let kept = match run.ended() {
            Some(_) => over(&name, *version, leg),
            None => {
                let (plan, version, soonest) = (name.clone(), *version, now.saturating_add(SOONEST).unwrap_or(now));
                let wakes = run.deadline().map(|at| at.max(soonest));
                Event::IvrKept(IvrKept { leg, plan, version, run: Content::new(run.save()), wakes })
            }
        };
        if before.as_ref().is_none_or(|before| Event::IvrKept(before.clone()) != kept) {
            let by = bot();
            self.as_plan(right, key, now, |expected_epoch| Input::Plan { by, expected_epoch, event: kept })?;
        }
        let asks =
            out.asks.into_iter().map(|ask| Asking { key: key.clone(), ask: Ask { plan: Arc::clone(plan), ask } });
        turn.batch().asks.extend(asks);
        self.hand_on(right, key, now, running, bot())?;
        match out.callback {
            Some((queue, number)) => self.call_back(right, key, now, queue.to_string(), number),
            None => Ok(()),
        }
    }

    /// The plan promised the customer a call: they wait for it with the place that they have.
    fn call_back(
        &mut self,
        right: &Right,
        key: &Key,
        now: Timestamp,
        queue: String,
        number: String,
    ) -> Result<(), Trouble> {
        let place = self.machines.get(key, right).and_then(|open| open.machine.state()?.place.clone());
        let place = place.filter(|place| place.queue == queue);
        let (waiting_since, priority) = place.map_or((now, 0), |place| (place.since, place.priority));
        let callback = Some(CallbackPlace { queue, waiting_since, priority, tries: 0 });
        let (mode, ttl, to) = (CallMode::PstnCallback, CALLBACK_TTL_MAX, Some(Pii::new(number)));
        self.as_plan(right, key, now, |_| Input::OfferLeg { mode, ttl, to, callback })?;
        Ok(())
    }

    /// To the queue that the plan waits in, to a person when the plan is over and somebody must look, or to the end.
    fn hand_on(
        &mut self,
        right: &Right,
        key: &Key,
        now: Timestamp,
        Running { run, leg, .. }: &Running,
        by: Who,
    ) -> Result<(), Trouble> {
        let in_queue = self.is_in_queue(right, key);
        let release = |by, queue: String, priority: i32| {
            let priority = u8::try_from(priority.clamp(0, 255)).unwrap_or(0);
            let QueueNeeds { skills, lang } = run.needs().clone();
            let needs = Some(Needed { language: lang, skills }).filter(|needs| !needs.is_nothing());
            move |expected_epoch| Input::Release { by, expected_epoch, queue, priority, needs }
        };
        match (run.ended(), run.waits_in()) {
            (None, Some((queue, priority))) if !in_queue => {
                self.as_plan(right, key, now, release(by, queue.to_owned(), priority))?;
            }
            (Some(_), _) if run.is_for_a_person() => {
                let queue = run.last_queue().map(str::to_owned);
                let queue = queue.unwrap_or_else(|| self.fallback(right, key, *leg));
                self.as_plan(right, key, now, release(by, queue, 0))?;
            }
            (Some(end), _) => {
                let completed = matches!(end, EndReason::Completed | EndReason::PersonLeft);
                let reason = if completed { SessionCloseReason::Resolved } else { SessionCloseReason::Abandoned };
                let close = |expected_epoch| Input::Close { by, expected_epoch, reason, disposition: None, note: None };
                self.as_plan(right, key, now, close)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The key of the next message: no other has it anywhere, and decided again after a crash it is the same.
    fn message_key(&mut self, right: &Right, key: &Key) -> String {
        let state = self.machines.get(key, right).and_then(|open| open.machine.state());
        let seq = state.map_or(0, |state| state.last_seq);
        let mut name = Hash::of(format!("plan {} {seq}", key.1).as_bytes()).to_string();
        name.truncate(26);
        name
    }

    /// The place of one who joins a queue now: behind the chats that wait there. Counted for all who join within [`LINE_KEPT`];
    /// of the newest conversations only. None: the store does not say.
    async fn place(&mut self, key: &Key, queue: &str) -> Option<u32> {
        let lines = match self.shelf.lines.take().filter(|(at, _)| at.elapsed() < LINE_KEPT) {
            Some(lines) => lines,
            None => {
                let kind = Some(ConversationKind::Chat);
                let filter = ListFilter { openness: Openness::Open, kind, ..ListFilter::default() };
                let page = self.store.list(&key.0, filter, ark_store::limits::LIST_MAX).await.ok()?;
                let mut waiting: HashMap<String, u32> = HashMap::new();
                for state in page.conversations {
                    if let Some(Who::Queue(queue)) = state.owner {
                        *waiting.entry(queue).or_default() += 1;
                    }
                }
                (Instant::now(), waiting)
            }
        };
        let (_, waiting) = self.shelf.lines.insert(lines);
        let before = waiting.entry(queue.to_owned()).or_default();
        *before += 1;
        Some(*before)
    }

    /// Who writes: their number, where it is verified, and their language, as their page says it or as they write.
    async fn caller(
        &mut self,
        right: &Right,
        key: &Key,
        leg: LegId,
        plan: &Plan,
        heard: &ChatHeard,
    ) -> Result<Caller, Trouble> {
        let (last, dialled) = match self.machines.get(key, right).and_then(|open| open.machine.state()) {
            Some(state) => (state.last_seq, state.leg(leg).map(|leg| leg.to.reveal().to_owned()).unwrap_or_default()),
            None => (0, String::new()),
        };
        let mut caller = Caller { dialled, ..Caller::default() };
        let after = last.saturating_sub(CALLER_RECORDS as u64);
        let records = self.store.read(&key.0, key.1, after, CALLER_RECORDS).await.map_err(Trouble::Store)?;
        for record in &records {
            match &record.event.event {
                Event::Thread(change) => {
                    let language = change.entry.as_ref().and_then(|entry| entry.get("language")?.as_str());
                    caller.lang = language.and_then(lang_of).or(caller.lang);
                }
                Event::Identity(identity) if identity.assurance.is_verified() => {
                    let phone = identity.keys.iter().find(|key| key.kind == KeyKind::Phone);
                    if let Some(phone) = phone {
                        caller.number = phone.value.reveal().to_owned();
                    }
                }
                _ => {}
            }
        }
        if let (None, ChatHeard::Said { text, .. }) = (caller.lang, heard) {
            caller.lang = written_in(text);
        }
        if caller.number.is_empty() {
            caller.number = self.verified_phone(key).await?.unwrap_or_default();
        }
        caller.lang = caller.lang.filter(|lang| plan.languages.contains(lang));
        Ok(caller)
    }

    /// An action has answered.
    pub(super) async fn plan_answered(&mut self, key: Key, id: u64, result: HttpResult) {
        let Some(right) = self.own.right(self.own.topology().shard(key.1)) else { return };
        if self.work.busy.contains(&key) {
            return self.work.answers_held_back.push_back((key, id, Box::new(result)));
        }
        self.machines.begin_turn();
        let mut turn = Turn::default();
        turn.begin(&right);
        let outcome = self.take_answer(&mut turn, &right, &key, id, &result).await;
        if outcome.is_err() {
            self.machines.remove(&key);
            self.work.answers.push_back((key, id, Box::new(result)));
        }
        self.close_turn(turn, outcome);
    }

    async fn take_answer(
        &mut self,
        turn: &mut Turn,
        right: &Right,
        key: &Key,
        id: u64,
        result: &HttpResult,
    ) -> Result<(), Trouble> {
        if !self.open_all(std::iter::once(key.clone())).await?.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        let kept = self.machines.get(key, right).and_then(|open| open.machine.kept().cloned());
        let Some(kept) = kept else { return Ok(()) };
        let (by, finished) = (
            Who::Bot(kept.plan.clone()),
            HttpFinished {
                leg: kept.leg,
                action: result.action.clone(),
                outcome: result.outcome,
                status: result.status,
                took_ms: u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
            },
        );
        self.as_plan(right, key, now, |expected_epoch| Input::Plan { by, expected_epoch, event: finished.into() })?;
        let heard = ChatHeard::Http { id, result: result.values.clone() };
        self.plan_hears(turn, right, key, (heard, String::new())).await?;
        self.absorb(turn, right, key).await
    }

    /// Asks actions whose commits are in the log.
    pub(super) fn ask_actions(&self, asks: Vec<Asking>) {
        for Asking { key, ask } in asks {
            let (ask_it, notes, places) = (Arc::clone(&self.plans.ask), self.note.clone(), Arc::clone(&self.asking));
            let Ok(place) = places.try_acquire_owned() else {
                tracing::warn!(conversation = %key.1, "too many actions are asked at once: a chat's plan goes on without its answer");
                continue;
            };
            tokio::spawn(async move {
                let id = ask.ask.id;
                let answered = tokio::task::spawn_blocking(move || ask_it(&ask)).await;
                drop(place);
                if let Ok(result) = answered {
                    let _ = notes.send(Note::Answered(key, id, Box::new(result))).await;
                }
            });
        }
    }

    fn wait_for_plans(&mut self) {
        self.work.pause = Some(Instant::now() + PLANS_SOON);
    }
}

/// The plan that is to hear it: the one that has the conversation, or waits in a queue with it. None: a person has it, a call's plan
/// does, or nobody's business is begun by it.
fn who_hears(machine: &Conversation, leg: LegId, heard: &ChatHeard) -> Option<String> {
    let state = machine.state().filter(|state| state.is_open() && state.session.is_some())?;
    if matches!(state.owner, Some(Who::Agent(_)) | None) {
        return None;
    }
    if let Some(kept) = machine.kept() {
        return Some(kept.plan.clone());
    }
    let Some(Who::Bot(name)) = &state.owner else { return None };
    let begins = matches!(heard, ChatHeard::Said { .. } | ChatHeard::Person | ChatHeard::Came);
    let calls = state.legs.iter().any(|leg| leg.medium == Medium::Call && leg.phase != LegPhase::Ended);
    let source = state.leg(leg)?.source.as_deref()?.parse::<ThreadSource>().ok()?;
    let entry = machine.policy().opening_of(&source) == &Who::Bot(name.clone());
    (begins && !calls && entry).then(|| name.clone())
}

fn waits_and_is_offered(machine: &Conversation) -> bool {
    let state = machine.state();
    state.is_some_and(|state| state.offer.is_some() && matches!(state.owner, Some(Who::Queue(_))))
}

fn over(plan: &str, version: u32, leg: LegId) -> Event {
    Event::IvrKept(IvrKept { leg, plan: plan.to_owned(), version, run: Content::default(), wakes: None })
}

/// What a plan did, in the log's words.
fn told(one: &Do, plan: &str, version: u32, leg: LegId, run: &ChatRun) -> Option<Event> {
    Some(match one {
        Do::Entered { state, verb } => {
            let (state, verb, lang) = (state.to_string(), (*verb).to_owned(), Some(run.lang().to_string()));
            Event::IvrEntered(IvrEntered { leg, plan: plan.to_owned(), version, state, verb, lang })
        }
        Do::Set { name, value } => {
            Event::IvrSet(IvrSet { leg, var: name.to_string(), value: Some(value.clone()), masked: false })
        }
        Do::Gathered { name, value } => Event::GatherFinished(GatherFinished {
            leg,
            state: run.state().to_owned(),
            var: name.to_string(),
            outcome: GatherOutcome::Complete,
            digits: u32::try_from(value.len()).unwrap_or(u32::MAX),
            value: Some(value.clone()),
            masked: false,
        }),
        Do::SurveyAsked { scale } => {
            let (way, scale) = (SurveyWay::Buttons, *scale);
            Event::SurveyAsked(SurveyAsked { leg, way, scale, message: None, until: None, link: None })
        }
        Do::SurveyAnswered { score, scale } => {
            let way = SurveyWay::Buttons;
            Event::SurveyAnswered(SurveyAnswered { leg, way, score: *score, scale: *scale, comment: None })
        }
        Do::Strike { count, cause } => {
            let kind = if *cause == StrikeCause::Silence { StrikeKind::Silence } else { StrikeKind::Invalid };
            Event::IvrStrike(IvrStrike { leg, state: run.state().to_owned(), kind, strikes: *count })
        }
        _ => return None,
    })
}

/// A message of a plan: words, and a card with buttons where there are some. Channels without cards get the keys in words.
fn parts(out: &ChatOut) -> Vec<Part> {
    if out.choices.is_empty() {
        return vec![Part::text(out.text.as_str())];
    }
    let (title, body) = heading(&out.text);
    let mut fallback = out.text.clone();
    for choice in &out.choices {
        // A key without words of its own is told in the text.
        if choice.label.chars().ne([choice.key]) {
            fallback.push_str(&format!("\n{} {}", choice.key, choice.label));
        }
    }
    let action = |choice: &ark_dialplans::Choice| Action {
        id: format!("key-{}", choice.key),
        label: Content::new(choice.label.as_str()),
        url: None,
    };
    vec![Part::Card {
        title: Content::new(title),
        body: (!body.is_empty()).then(|| Content::new(body)),
        actions: out.choices.iter().map(action).collect(),
        fallback_text: Content::new(fallback),
    }]
}

/// The first sentence, and the rest.
fn heading(text: &str) -> (&str, &str) {
    let end = text.char_indices().find_map(|(at, c)| {
        let behind = at + c.len_utf8();
        let ends = match c {
            '\u{3002}' | '\u{ff01}' | '\u{ff1f}' | '\n' => true,
            '.' | '!' | '?' => text[behind..].starts_with([' ', '\n']),
            _ => false,
        };
        ends.then_some(behind)
    });
    let (title, body) = text.split_at(end.unwrap_or(text.len()));
    (title.trim(), body.trim())
}

fn lang_of(tag: &str) -> Option<Lang> {
    Lang::parse(tag.split(['-', '_']).next()?.to_ascii_lowercase().as_str())
}

/// The language of what somebody wrote, when its letters say so.
fn written_in(text: &str) -> Option<Lang> {
    let han = text.chars().any(|c| matches!(u32::from(c), 0x3400..=0x9fff));
    let latin = text.chars().filter(char::is_ascii_alphabetic).count() > 1;
    if han { Some(Lang::Zh) } else { latin.then_some(Lang::En) }
}

/// A fault of a plan is not the owner's end: it is told, and a person is asked.
fn unharmed<T>(key: &Key, step: impl FnOnce() -> Option<T>) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).unwrap_or_else(|_| {
        tracing::error!(conversation = %key.1, "a fault of Ark's: a chat's plan could not go on");
        None
    })
}

/// When a plan comes again whose customer is being offered to somebody.
const OFFERED_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// The time by whose pace a wait is told: of the estimates that were tried it is wrong by least and rarely breaks its word.
const SERVED_WITHIN: SignedDuration = SignedDuration::from_secs(600);
/// A plan is not woken sooner than so after it was heard.
const SOONEST: SignedDuration = SignedDuration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_first_sentence_above_and_says_its_keys_where_there_are_no_buttons() {
        assert_eq!(heading("您好。订单请按1。"), ("您好。", "订单请按1。"));
        assert_eq!(heading("About 2.5 minutes. Please hold."), ("About 2.5 minutes.", "Please hold."));
        assert_eq!(heading("Hello"), ("Hello", ""));
        let choice = |key, label: &str| ark_dialplans::Choice { key, label: label.to_owned() };
        let choices = vec![choice('1', "订单"), choice('2', "2"), choice('0', "转人工")];
        let out = ChatOut { text: "您好。请选择".to_owned(), choices, ..ChatOut::default() };
        let parts = parts(&out);
        let [Part::Card { title, body, actions, fallback_text }] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!((title.reveal(), body.as_ref().unwrap().reveal(), actions.len()), ("您好。", "请选择", 3));
        assert_eq!(fallback_text.reveal(), "您好。请选择\n1 订单\n0 转人工");
    }

    #[test]
    fn a_wait_is_told_by_the_pace_of_the_last_ten_minutes() {
        use ark_conversation::samples::{at, new_event};
        let mut shelf = Shelf::default();
        let record = |n: u64| {
            let accepted = ark_conversation::event::OwnerAccepted {
                offer: None,
                owner: Who::Agent("anna".to_owned()),
                previous: Who::Queue("sales".to_owned()),
                history_to: 1,
                summary: None,
            };
            new_event(ark_conversation::ConversationId::new(1, 1), n, accepted.into()).into_record(n)
        };
        assert_eq!(shelf.wait(at(0), "sales", 2), None);
        shelf.served(&[record(1), record(2), record(3)]);
        let now = record(3).event.time;
        assert_eq!(shelf.wait(now, "sales", 2), Some(Duration::from_secs(400)));
        assert_eq!(shelf.wait(now + SignedDuration::from_secs(3_600), "sales", 2), None);
    }

    #[test]
    fn a_language_is_read_from_tags_and_from_letters() {
        assert_eq!((lang_of("zh-CN"), lang_of("EN_us"), lang_of("fr")), (Some(Lang::Zh), Some(Lang::En), None));
        assert_eq!(
            (written_in("我的order"), written_in("hello"), written_in("1")),
            (Some(Lang::Zh), Some(Lang::En), None)
        );
    }
}
