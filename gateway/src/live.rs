//! What is so just now, at this gateway and at the others of its site: calls, queues, and which gateways are here.
//!
//! This gateway looks at its own switch only while somebody wants to know: a page or program that listens here, or another gateway.
//! What has changed is announced ([`Bus::announce`]) and given to those who listen here; what others announce is kept in the same
//! board, so that who comes later sees all of it at once. It may be wrong for seconds, and nothing is decided by it: a gateway says
//! how many calls it has every few seconds, and one that knows of another number asks for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ark_bus::{Bus, Missed};
use ark_conversation::event::Direction;
use ark_conversation::{
    ConversationId, LegId, Live, LiveCall, LiveCallOver, LiveEvent, LiveGateway, LiveLeg, LiveQueue, LiveState, Tenant,
    mask_number,
};
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::call::driver::SwitchHandle;
use crate::call::queue::QueueView;
use crate::call::{CallView, CannotAct, LegView};
use crate::control::{ControlError, Reply};

mod ask;
mod transfer;

pub use ask::CallAction;

/// How often this gateway looks at its own calls while somebody wants to know.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How often it says that it is here.
const HELLO_EVERY: Duration = Duration::from_secs(3);
/// A gateway that was not heard for so long is here no more.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// At least so long between two times that all of it is told anew, or asked for.
const ANEW_EVERY: Duration = Duration::from_secs(2);
/// Live events that are kept for one listener; one that is further behind begins anew.
const KEPT: usize = 4_096;
/// Other gateways that are known at once.
const GATEWAYS_MAX: usize = 64;
/// Calls of one other gateway that are known at once.
const CALLS_MAX: usize = 20_000;
/// Queues of one other gateway that are known at once.
const QUEUES_MAX: usize = 1_000;

/// What is looked at and acted in: the switch.
pub trait Sight: Send + Sync + 'static {
    /// Its calls and queues; none when it has stopped.
    fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>>;
    /// Does something in a call of its own; `Some`: the new leg.
    fn act(&self, conversation: ConversationId, action: CallAction) -> Reply<'_, Result<Option<LegId>, ControlError>>;
}

impl Sight for SwitchHandle {
    fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>> {
        Box::pin(async { self.board().await.ok() })
    }

    fn act(&self, conversation: ConversationId, action: CallAction) -> Reply<'_, Result<Option<LegId>, ControlError>> {
        Box::pin(async move {
            match action {
                CallAction::Talk(action) => Ok(Self::act(self, conversation, action).await?),
                CallAction::Hangup => match self.hang_up(conversation).await {
                    Ok(true) => Ok(None),
                    Ok(false) => Err(CannotAct::NoCall.into()),
                    Err(gone) => Err(ControlError::Unavailable(gone.to_string())),
                },
            }
        })
    }
}

/// What is known of one gateway.
#[derive(Default)]
struct Known {
    process: String,
    heard: Option<Instant>,
    calls: HashMap<ConversationId, Arc<LiveEvent>>,
    queues: HashMap<String, Arc<LiveEvent>>,
}

#[derive(Default)]
struct Board {
    own: Known,
    others: HashMap<String, Known>,
}

/// The site as it is just now.
pub struct LiveBoard {
    tenant: Tenant,
    gateway: String,
    process: String,
    /// Whether numbers are shown in full.
    numbers: bool,
    sight: Arc<dyn Sight>,
    bus: Arc<dyn Bus>,
    board: Mutex<Board>,
    listeners: broadcast::Sender<Arc<LiveEvent>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    asking: ask::Asking,
}

impl LiveBoard {
    /// A board that knows nothing yet; `numbers`: callers' numbers are shown in full.
    pub fn new(gateway: &str, process: &str, numbers: bool, sight: Arc<dyn Sight>, bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Self {
            tenant: Tenant::default(),
            gateway: gateway.to_owned(),
            process: process.to_owned(),
            numbers,
            sight,
            bus,
            board: Mutex::default(),
            listeners: broadcast::channel(KEPT).0,
            looking: tokio::sync::Mutex::default(),
            asking: ask::Asking::new(),
        })
    }

    /// Everything that is so now, and then what changes. A listener that falls behind is told by the channel, and comes again.
    pub async fn listen(&self) -> (Vec<Arc<LiveEvent>>, broadcast::Receiver<Arc<LiveEvent>>) {
        self.look().await;
        // What changes after this lock is given to the listener, what changed before is in the list.
        let board = self.lock();
        let listener = self.listeners.subscribe();
        let mut now = vec![Arc::new(self.hello(&board.own, true, false, true))];
        now.extend(board.own.calls.values().chain(board.own.queues.values()).cloned());
        for (gateway, known) in &board.others {
            let calls = u32::try_from(known.calls.len()).unwrap_or(u32::MAX);
            let here = LiveGateway { here: true, process: known.process.clone(), calls, asks: false, anew: true };
            now.push(Arc::new(self.event(gateway, Live::Gateway(here))));
            now.extend(known.calls.values().chain(known.queues.values()).cloned());
        }
        (now, listener)
    }

    /// The calls of the other gateways, by the gateway that has them.
    pub fn calls_elsewhere(&self) -> Vec<(String, LiveCall)> {
        let board = self.lock();
        let calls = board.others.iter().flat_map(|(gateway, known)| {
            known.calls.values().filter_map(|event| match &event.event {
                Live::Call(call) => Some((gateway.clone(), call.clone())),
                _ => None,
            })
        });
        let mut calls: Vec<(String, LiveCall)> = calls.collect();
        calls.sort_by_key(|(_, call)| call.conversation);
        calls
    }

    /// Does something in a call, wherever it is: at another gateway that one is asked. `Some`: the new leg.
    ///
    /// # Errors
    /// [`ControlError`]; `Unavailable` also when the other gateway does not answer in time, and then it may have been done.
    pub async fn act(&self, conversation: ConversationId, action: CallAction) -> Result<Option<LegId>, ControlError> {
        let here = self.sight.act(conversation, action.clone()).await;
        let Err(ControlError::NotFound(_)) = here else { return here };
        let elsewhere = self
            .lock()
            .others
            .iter()
            .find_map(|(gateway, known)| known.calls.contains_key(&conversation).then(|| gateway.clone()));
        let Some(gateway) = elsewhere else { return here };
        let send = |ask| self.bus.announce(vec![self.event(&self.gateway, Live::Ask(ask))]);
        self.asking.ask(&self.process, &gateway, conversation, &action, send).await
    }

    /// Another gateway asked for something; it is done and answered beside all else.
    fn answer(self: &Arc<Self>, event: Arc<LiveEvent>) {
        let board = Arc::clone(self);
        tokio::spawn(async move {
            let Live::Ask(ask) = &event.event else { return };
            let act = async |conversation, action| board.sight.act(conversation, action).await;
            if let Some(answer) = board.asking.answer(ask, &event.gateway, event.at, act).await {
                board.bus.announce(vec![board.event(&board.gateway, Live::Answer(answer))]);
            }
        });
    }

    /// A call of this gateway as it is shown.
    pub fn show(&self, view: &CallView) -> LiveCall {
        let number = |text: &str| if self.numbers { text.to_owned() } else { mask_number(text) };
        LiveCall {
            conversation: view.conversation,
            direction: view.direction,
            state: match view.doing {
                "ringing" => LiveState::Ringing,
                "waiting" => LiveState::Queued,
                "talking" => LiveState::Talking,
                _ => LiveState::Ivr,
            },
            from: number(&view.from),
            // Of a call out it is a person's.
            to: number(&view.to),
            started: wall(view.started),
            answered: view.answered.map(wall),
            plan: Some(format!("{}@{}", view.plan, view.plan_version)),
            plan_state: (!view.state.is_empty()).then(|| view.state.clone()),
            bridged_to: view.with.as_deref().map(number),
            recording: view.recording,
            legs: view.legs.iter().map(|leg| self.show_leg(leg)).collect(),
            transfer: view.transfer.as_ref().map(|transfer| transfer::shown(view.conversation, transfer, number)),
        }
    }

    fn show_leg(&self, leg: &LegView) -> LiveLeg {
        let who = if self.numbers { leg.who.clone() } else { mask_number(&leg.who) };
        let remote = leg.remote.map(|remote| remote.to_string());
        LiveLeg { leg: leg.leg, role: leg.role, who, up: leg.up, muted: leg.muted, supervises: leg.supervises, remote }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, gateway: &str, event: Live) -> LiveEvent {
        LiveEvent { tenant: self.tenant.clone(), gateway: gateway.to_owned(), at: Timestamp::now(), event }
    }

    fn hello(&self, own: &Known, here: bool, asks: bool, anew: bool) -> LiveEvent {
        let calls = u32::try_from(own.calls.len()).unwrap_or(u32::MAX);
        let hello = LiveGateway { here, process: self.process.clone(), calls, asks, anew };
        self.event(&self.gateway, Live::Gateway(hello))
    }

    /// Looks at this gateway's calls and queues, and tells what has changed.
    async fn look(&self) {
        let _one = self.looking.lock().await;
        let Some((calls, queues)) = self.sight.look().await else { return };
        let mut board = self.lock();
        let mut news = Vec::new();
        let mut known = std::mem::take(&mut board.own.calls);
        for view in &calls {
            let before = known.remove(&view.conversation);
            let event = match before {
                Some(event) if matches!(&event.event, Live::Call(before) if is_same(before, self.show(view))) => event,
                _ => {
                    let event = Arc::new(self.event(&self.gateway, Live::Call(self.show(view))));
                    news.push(Arc::clone(&event));
                    news.extend(
                        transfer::news(before.as_deref(), &event).map(|one| Arc::new(self.event(&self.gateway, one))),
                    );
                    event
                }
            };
            board.own.calls.insert(view.conversation, event);
        }
        for conversation in known.into_keys() {
            news.push(Arc::new(self.event(&self.gateway, Live::CallOver(LiveCallOver { conversation }))));
        }
        for view in queues {
            let queue = shown(view);
            let before = board.own.queues.get(&queue.queue);
            if before
                .is_some_and(|before| matches!(&before.event, Live::Queue(before) if is_same_queue(before, &queue)))
            {
                continue;
            }
            let event = Arc::new(self.event(&self.gateway, Live::Queue(queue.clone())));
            board.own.queues.insert(queue.queue, Arc::clone(&event));
            news.push(event);
        }
        self.give(&news);
        drop(board);
        self.announce(&news);
    }

    /// Tells those who listen here. Under the board's lock: what is given is what the board says.
    fn give(&self, news: &[Arc<LiveEvent>]) {
        for event in news {
            // That nobody listens is no error.
            let _ = self.listeners.send(Arc::clone(event));
        }
    }

    /// Tells those who look, here and elsewhere, something of this moment. Nothing is remembered of it.
    pub fn tell(&self, live: Live) {
        if self.is_wanted() {
            let event = Arc::new(self.event(&self.gateway, live));
            self.give(std::slice::from_ref(&event));
            self.announce(&[event]);
        }
    }

    fn announce(&self, news: &[Arc<LiveEvent>]) {
        if !news.is_empty() {
            self.bus.announce(news.iter().map(|event| LiveEvent::clone(event)).collect());
        }
    }

    /// Tells the other gateways everything that is so here.
    fn announce_all(&self) {
        let all: Vec<Arc<LiveEvent>> = {
            let board = self.lock();
            let hello = Arc::new(self.hello(&board.own, true, false, true));
            let rest = board.own.calls.values().chain(board.own.queues.values()).cloned();
            std::iter::once(hello).chain(rest).collect()
        };
        self.announce(&all);
    }

    /// Another gateway said something. What follows from it.
    fn hear(&self, event: &Arc<LiveEvent>, now: Instant) -> Heard {
        if event.gateway == self.gateway || event.tenant != self.tenant {
            return Heard::Nothing;
        }
        let mut board = self.lock();
        if !board.others.contains_key(&event.gateway) && board.others.len() >= GATEWAYS_MAX {
            return Heard::Nothing;
        }
        let is_new = !board.others.contains_key(&event.gateway);
        let known = board.others.entry(event.gateway.clone()).or_default();
        known.heard = Some(now);
        let mut follows = if is_new { Heard::MissesSome } else { Heard::Nothing };
        let given = match &event.event {
            Live::Gateway(LiveGateway { here: false, .. }) => {
                board.others.remove(&event.gateway);
                follows = Heard::Nothing;
                true
            }
            Live::Gateway(gateway) => {
                let anew = gateway.anew || known.process != gateway.process;
                if anew {
                    known.calls.clear();
                    known.queues.clear();
                    known.process.clone_from(&gateway.process);
                }
                let complete = gateway.anew || usize::try_from(gateway.calls).is_ok_and(|n| n == known.calls.len());
                follows = match (gateway.asks, complete) {
                    (true, _) => Heard::AsksForAll,
                    (false, false) => Heard::MissesSome,
                    (false, true) => Heard::Nothing,
                };
                anew
            }
            Live::Call(call) => {
                let fits = known.calls.len() < CALLS_MAX || known.calls.contains_key(&call.conversation);
                if fits {
                    known.calls.insert(call.conversation, Arc::clone(event));
                }
                fits
            }
            Live::CallOver(over) => known.calls.remove(&over.conversation).is_some(),
            Live::Queue(queue) => {
                let fits = known.queues.len() < QUEUES_MAX || known.queues.contains_key(&queue.queue);
                if fits {
                    known.queues.insert(queue.queue.clone(), Arc::clone(event));
                }
                fits
            }
            // Of this moment: nothing is remembered of it.
            Live::Typing(_) | Live::Transcript(_) | Live::Transfer(_) => true,
            // Between gateways only.
            Live::Ask(ask) => {
                if ask.to == self.gateway {
                    follows = Heard::AsksForAct;
                }
                false
            }
            Live::Answer(answer) => {
                if answer.to == self.gateway {
                    self.asking.answered(answer);
                }
                false
            }
        };
        if given {
            self.give(std::slice::from_ref(event));
        }
        follows
    }

    /// Forgets the gateways that were not heard for too long.
    fn forget(&self, now: Instant) {
        let mut board = self.lock();
        let silent = |known: &Known| known.heard.is_none_or(|heard| now.duration_since(heard) > GONE_AFTER);
        let gone: Vec<String> =
            board.others.iter().filter(|(_, known)| silent(known)).map(|(id, _)| id.clone()).collect();
        for gateway in gone {
            let Some(known) = board.others.remove(&gateway) else { continue };
            let over = LiveGateway { here: false, process: known.process, calls: 0, asks: false, anew: true };
            self.give(&[Arc::new(self.event(&gateway, Live::Gateway(over)))]);
        }
    }

    fn is_wanted(&self) -> bool {
        self.listeners.receiver_count() > 0 || !self.lock().others.is_empty()
    }
}

/// What follows from what another gateway said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// It wants to know everything of this one.
    AsksForAll,
    /// Something that it said before was not heard.
    MissesSome,
    /// It wants something to be done in a call of this one.
    AsksForAct,
}

/// Keeps the board, for as long as the gateway runs.
pub async fn run(board: Arc<LiveBoard>, mut stop: watch::Receiver<bool>) {
    let Ok(mut heard) = board.bus.overhear() else { return };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut hello = tokio::time::interval(HELLO_EVERY);
    hello.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What this gateway owes: to ask for everything, to tell everything.
    let (mut asks, mut tells) = (true, false);
    let (mut asked, mut told) = (None::<Instant>, None::<Instant>);
    let due = |last: Option<Instant>, now: Instant| last.is_none_or(|last| now.duration_since(last) >= ANEW_EVERY);
    loop {
        tokio::select! {
            event = heard.next() => match event.map(|event| (board.hear(&event, Instant::now()), event)) {
                Ok((Heard::Nothing, _)) => continue,
                Ok((Heard::AsksForAct, event)) => {
                    board.answer(event);
                    continue;
                }
                Ok((Heard::AsksForAll, _)) => tells = true,
                Ok((Heard::MissesSome, _)) | Err(Missed::Lagged { .. }) => asks = true,
                Err(Missed::Closed) => return,
            },
            _ = look.tick() => if board.is_wanted() { board.look().await },
            _ = hello.tick() => {
                board.forget(Instant::now());
                let hello = board.hello(&board.lock().own, true, false, false);
                board.bus.announce(vec![hello]);
            }
            () = ended(&mut stop) => break,
        }
        let now = Instant::now();
        if asks && due(asked, now) {
            (asks, asked) = (false, Some(now));
            let asking = board.hello(&board.lock().own, true, true, false);
            board.bus.announce(vec![asking]);
        }
        if tells && due(told, now) {
            (tells, told) = (false, Some(now));
            board.look().await;
            board.announce_all();
        }
    }
    let bye = board.hello(&board.lock().own, false, false, true);
    board.bus.announce(vec![bye]);
}

/// Waits until it is to stop.
async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether nothing has changed in a call; the times are made of a steady clock's and differ by microseconds each time.
fn is_same(before: &LiveCall, mut now: LiveCall) -> bool {
    if now.answered.is_some() == before.answered.is_some() {
        now.answered = before.answered;
    }
    now.started = before.started;
    *before == now
}

fn is_same_queue(before: &LiveQueue, now: &LiveQueue) -> bool {
    let near = |a: Timestamp, b: Timestamp| a.duration_since(b).unsigned_abs() < Duration::from_millis(500);
    let since = match (before.waiting_since, now.waiting_since) {
        (Some(before), Some(now)) => near(before, now),
        (before, now) => before == now,
    };
    since && *before == LiveQueue { waiting_since: before.waiting_since, ..now.clone() }
}

fn shown(view: QueueView) -> LiveQueue {
    let QueueView { name, waiting, waiting_since, operators_free, operators_busy } = view;
    LiveQueue { queue: name, waiting, waiting_since: waiting_since.map(wall), operators_free, operators_busy }
}

/// The wall-clock time of a moment in the past, in whole milliseconds.
fn wall(when: Instant) -> Timestamp {
    let now = Timestamp::now();
    let at = now.checked_sub(when.elapsed()).unwrap_or(now);
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// A call as `/api/v1/calls` has it.
pub(crate) fn call_view(gateway: &str, call: LiveCall) -> crate::control::CallView {
    use crate::control::{CallDirection, CallState};
    crate::control::CallView {
        id: call.conversation.to_string(),
        conversation: call.conversation.to_string(),
        gateway: gateway.to_owned(),
        direction: match call.direction {
            Direction::Inbound => CallDirection::In,
            Direction::Outbound => CallDirection::Out,
        },
        state: match call.state {
            LiveState::Ringing => CallState::Ringing,
            LiveState::Ivr => CallState::Ivr,
            LiveState::Queued => CallState::Queued,
            LiveState::Talking => CallState::Talking,
        },
        from: call.from,
        to: call.to,
        started_at: call.started.to_string(),
        answered_at: call.answered.map(|at| at.to_string()),
        plan: call.plan,
        plan_state: call.plan_state,
        bridged_to: call.bridged_to,
        recording: call.recording,
        legs: call.legs.into_iter().map(leg_view).collect(),
        transfer: call.transfer.map(transfer::status),
    }
}

fn leg_view(leg: LiveLeg) -> crate::control::CallLeg {
    crate::control::CallLeg {
        leg: leg.leg.0,
        role: leg.role.as_str().to_owned(),
        who: leg.who,
        up: leg.up,
        muted: leg.muted,
        supervises: leg.supervises.map(crate::control::Supervision::of),
        remote: leg.remote,
    }
}

#[cfg(test)]
mod tests {
    use ark_bus::EmbeddedBus;
    use ark_conversation::{LiveAction, LiveAsk, LiveOutcome};

    use super::*;
    use crate::call::TalkAction;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A switch of which a test says what is on it.
    #[derive(Default)]
    struct Made(Mutex<(Vec<CallView>, Vec<QueueView>)>, Mutex<Vec<(ConversationId, String)>>);

    impl Sight for Made {
        fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>> {
            Box::pin(async { Some(self.0.lock().unwrap().clone()) })
        }

        fn act(
            &self,
            conversation: ConversationId,
            action: CallAction,
        ) -> Reply<'_, Result<Option<LegId>, ControlError>> {
            Box::pin(async move {
                let has = self.0.lock().unwrap().0.iter().any(|call| call.conversation == conversation);
                if !has {
                    return Err(CannotAct::NoCall.into());
                }
                self.1.lock().unwrap().push((conversation, format!("{action:?}")));
                match action {
                    CallAction::Hangup => Ok(None),
                    CallAction::Talk(TalkAction::Supervise { .. }) => Ok(Some(LegId(7))),
                    CallAction::Talk(_) => Err(CannotAct::NoRecording.into()),
                }
            })
        }
    }

    fn call(n: u128) -> CallView {
        CallView {
            conversation: ConversationId::new(1, n),
            direction: Direction::Inbound,
            from: "13800138000".to_owned(),
            to: "95188".to_owned(),
            plan: "hotline".to_owned(),
            plan_version: 3,
            state: "main".to_owned(),
            doing: "ivr",
            started: Instant::now(),
            answered: None,
            with: None,
            recording: false,
            codec: None,
            legs: Vec::new(),
            transfer: None,
        }
    }

    struct Up {
        board: Arc<LiveBoard>,
        made: Arc<Made>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Up {
        fn start(gateway: &str, bus: &Arc<dyn Bus>) -> Self {
            let made = Arc::new(Made::default());
            let sight: Arc<dyn Sight> = Arc::clone(&made) as Arc<dyn Sight>;
            let board = LiveBoard::new(gateway, &format!("{gateway}/1"), false, sight, Arc::clone(bus));
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(run(Arc::clone(&board), stopped));
            Self { board, made, stop, task }
        }

        fn calls(&self, calls: Vec<CallView>) {
            self.made.0.lock().unwrap().0 = calls;
        }
    }

    /// A gateway that listens to the others already.
    async fn listening(gateway: &str, bus: &Arc<dyn Bus>) -> (Up, ark_bus::Overheard) {
        let mut road = bus.overhear().unwrap();
        let up = Up::start(gateway, bus);
        let hello = async { while road.next().await.expect("it goes on").gateway != gateway {} };
        tokio::time::timeout(PATIENCE, hello).await.expect("it says that it is here");
        (up, road)
    }

    async fn next(
        listener: &mut broadcast::Receiver<Arc<LiveEvent>>,
        wanted: impl Fn(&LiveEvent) -> bool,
    ) -> LiveEvent {
        let found = async {
            loop {
                let event = listener.recv().await.expect("it keeps up");
                if wanted(&event) {
                    return LiveEvent::clone(&event);
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("in time")
    }

    #[tokio::test]
    async fn a_gateway_sees_the_calls_and_queues_of_another_as_they_come_change_and_go() {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let a = Up::start("gw1", &bus);
        a.calls(vec![call(1)]);
        let b = Up::start("gw2", &bus);
        let (_, mut there) = b.board.listen().await;
        let first = next(&mut there, |event| matches!(event.event, Live::Call(_))).await;
        let Live::Call(shown) = &first.event else { unreachable!() };
        assert_eq!((first.gateway.as_str(), shown.from.as_str(), shown.state), ("gw1", "138****00", LiveState::Ivr));

        let queue = QueueView {
            name: "general".to_owned(),
            waiting: 1,
            waiting_since: None,
            operators_free: 0,
            operators_busy: 2,
        };
        a.made.0.lock().unwrap().1 = vec![queue];
        a.calls(vec![CallView { doing: "waiting", ..call(1) }, call(2)]);
        let waits = |event: &LiveEvent| matches!(&event.event, Live::Call(call) if call.state == LiveState::Queued);
        assert_eq!(next(&mut there, waits).await.gateway, "gw1");
        next(&mut there, |event| matches!(&event.event, Live::Queue(queue) if queue.waiting == 1)).await;
        assert_eq!(b.board.calls_elsewhere().len(), 2);
        // Who comes later sees all of it at once.
        let (now, _) = b.board.listen().await;
        let kinds = |name: &str| now.iter().filter(|event| event.event.type_name() == name).count();
        assert_eq!((kinds("ark.live.call.v1"), kinds("ark.live.queue.v1"), kinds("ark.live.gateway.v1")), (2, 1, 2));

        a.calls(vec![call(2)]);
        let over = next(&mut there, |event| matches!(event.event, Live::CallOver(_))).await;
        assert_eq!(over.event, Live::CallOver(LiveCallOver { conversation: ConversationId::new(1, 1) }));
        a.stop.send_replace(true);
        a.task.await.unwrap();
        let gone = next(&mut there, |event| matches!(&event.event, Live::Gateway(gateway) if !gateway.here)).await;
        assert_eq!((gone.gateway.as_str(), b.board.calls_elsewhere().len()), ("gw1", 0));
    }

    #[tokio::test]
    async fn what_is_asked_in_a_call_of_another_gateway_is_done_there_and_answered() {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let a = Up::start("gw1", &bus);
        a.calls(vec![call(1)]);
        let b = Up::start("gw2", &bus);
        let (_, mut there) = b.board.listen().await;
        next(&mut there, |event| matches!(event.event, Live::Call(_))).await;
        let id = ConversationId::new(1, 1);

        assert_eq!(b.board.act(id, CallAction::Hangup).await, Ok(None));
        let mode = ark_conversation::event::SupervisionMode::Whisper;
        let supervise = CallAction::Talk(TalkAction::Supervise { to: "2001".to_owned(), mode });
        assert_eq!(b.board.act(id, supervise).await, Ok(Some(LegId(7))));
        let pause = CallAction::Talk(TalkAction::PauseRecordings { paused: true });
        let refused = ControlError::Refused(CannotAct::NoRecording.to_string());
        assert_eq!(b.board.act(id, pause).await, Err(refused));
        let done: Vec<String> = a.made.1.lock().unwrap().iter().map(|(_, what)| what.clone()).collect();
        assert_eq!(done.len(), 3, "{done:?}");
        assert!(done[1].contains("Supervise") && done[1].contains("2001"), "{done:?}");
        assert_eq!(b.made.1.lock().unwrap().len(), 0, "nothing was done here");

        // A call that nobody has.
        let nobody = b.board.act(ConversationId::new(1, 99), CallAction::Hangup).await;
        assert_eq!(nobody, Err(ControlError::NotFound(CannotAct::NoCall.to_string())));
        // What is asked and answered is no news for pages.
        while let Ok(event) = there.try_recv() {
            assert!(!matches!(event.event, Live::Ask(_) | Live::Answer(_)), "{event:?}");
        }
    }

    #[tokio::test]
    async fn a_gateway_that_does_not_answer_is_not_waited_for() {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let (b, _) = listening("gw2", &bus).await;
        let (_, mut there) = b.board.listen().await;
        let hello = LiveGateway { here: true, process: "gw1/7".to_owned(), calls: 1, asks: false, anew: true };
        for event in [Live::Gateway(hello), Live::Call(b.board.show(&call(1)))] {
            let at = Timestamp::now();
            bus.announce(vec![LiveEvent { tenant: Tenant::default(), gateway: "gw1".to_owned(), at, event }]);
        }
        next(&mut there, |event| matches!(event.event, Live::Call(_))).await;
        let unknown = b.board.act(ConversationId::new(1, 1), CallAction::Hangup).await;
        let Err(ControlError::Unavailable(why)) = unknown else { panic!("{unknown:?}") };
        assert!(why.contains("`gw1`") && why.contains("did not answer"), "{why}");
    }

    #[tokio::test]
    async fn a_question_that_comes_late_is_not_carried_out() {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let (b, mut road) = listening("gw2", &bus).await;
        b.calls(vec![call(1)]);
        let ask = |n: u32, at: Timestamp| {
            let conversation = ConversationId::new(1, 1);
            let ask = format!("gw1/7#{n}");
            let ask = LiveAsk { ask, to: "gw2".to_owned(), conversation, action: LiveAction::Hangup };
            let event = LiveEvent { tenant: Tenant::default(), gateway: "gw1".to_owned(), at, event: Live::Ask(ask) };
            bus.announce(vec![event]);
        };
        let now = Timestamp::now();
        ask(1, now - Duration::from_secs(60));
        ask(2, now);
        let answer = async {
            loop {
                if let Live::Answer(answer) = &road.next().await.expect("it goes on").event {
                    return answer.clone();
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time");
        assert_eq!((answer.ask.as_str(), answer.outcome), ("gw1/7#2", LiveOutcome::Done { leg: None }));
        assert_eq!(b.made.1.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_was_lost_is_asked_for_and_told_anew_and_nothing_unchanged_is_told_twice() {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let b = Up::start("gw2", &bus);
        let (_, mut there) = b.board.listen().await;
        let mut road = bus.overhear().unwrap();
        let say = |event: Live| {
            let at = Timestamp::now();
            bus.announce(vec![LiveEvent { tenant: Tenant::default(), gateway: "gw1".to_owned(), at, event }]);
        };
        let hello = |calls, anew| LiveGateway { here: true, process: "gw1/7".to_owned(), calls, asks: false, anew };
        say(Live::Gateway(hello(1, false)));
        let asks = async {
            loop {
                if let Ok(event) = road.next().await
                    && matches!(&event.event, Live::Gateway(gateway) if gateway.asks && event.gateway == "gw2")
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asks).await.expect("it asks");
        say(Live::Gateway(hello(1, true)));
        say(Live::Call(b.board.show(&call(9))));
        next(&mut there, |event| matches!(event.event, Live::Call(_))).await;
        assert_eq!(b.board.calls_elsewhere().len(), 1);
        // Another process of that gateway knows nothing of the calls of the one before.
        say(Live::Gateway(LiveGateway { process: "gw1/8".to_owned(), ..hello(0, false) }));
        next(&mut there, |event| matches!(&event.event, Live::Gateway(gateway) if gateway.process == "gw1/8")).await;
        assert_eq!(b.board.calls_elsewhere(), []);

        b.calls(vec![call(3)]);
        b.board.look().await;
        while there.try_recv().is_ok() {}
        b.board.look().await;
        assert!(there.try_recv().is_err(), "nothing has changed");
        b.board.forget(Instant::now() + GONE_AFTER * 2);
        let gone = next(&mut there, |event| event.gateway == "gw1").await;
        assert!(matches!(gone.event, Live::Gateway(LiveGateway { here: false, .. })), "{gone:?}");
    }
}
