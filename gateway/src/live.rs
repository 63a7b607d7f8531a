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
    ConversationId, Live, LiveCall, LiveCallOver, LiveEvent, LiveGateway, LiveLeg, LiveQueue, LiveState, Tenant,
    mask_number,
};
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::call::driver::SwitchHandle;
use crate::call::queue::QueueView;
use crate::call::{CallView, LegView};
use crate::control::Reply;

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

/// What is looked at: the switch.
pub trait Sight: Send + Sync + 'static {
    /// Its calls and queues; none when it has stopped.
    fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>>;
}

impl Sight for SwitchHandle {
    fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>> {
        Box::pin(async { self.board().await.ok() })
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
            Live::Typing(_) => true,
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
            event = heard.next() => match event.map(|event| board.hear(&event, Instant::now())) {
                Ok(Heard::Nothing) => continue,
                Ok(Heard::AsksForAll) => tells = true,
                Ok(Heard::MissesSome) | Err(Missed::Lagged { .. }) => asks = true,
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

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A switch of which a test says what is on it.
    #[derive(Default)]
    struct Made(Mutex<(Vec<CallView>, Vec<QueueView>)>);

    impl Sight for Made {
        fn look(&self) -> Reply<'_, Option<(Vec<CallView>, Vec<QueueView>)>> {
            Box::pin(async { Some(self.0.lock().unwrap().clone()) })
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
