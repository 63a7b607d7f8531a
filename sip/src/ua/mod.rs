//! The user agent: every transaction, dialog and INVITE session of a process as one value.
//!
//! [`Endpoint::receive`] takes parsed messages, commands change calls, [`Endpoint::tick`] lets time pass; after any of
//! them [`Endpoint::poll`] is drained, and [`Endpoint::deadline`] says when to tick next:
//!
//! ```
//! # use ark_sip::ua::{Config, Endpoint, Output, CallEvent, Flow};
//! # fn run(now: std::time::Instant, flow: Flow, datagram: &[u8], send: impl Fn(Flow, Vec<u8>)) {
//! let mut endpoint = Endpoint::new(Config::default(), 1);
//! endpoint.receive(now, flow, ark_sip::wire::parse_datagram(datagram));
//! while let Some(output) = endpoint.poll() {
//!     match output {
//!         Output::Send { flow, bytes } => send(flow, bytes),
//!         Output::Call { key, event: CallEvent::Incoming(_) } => endpoint.answer(now, key, b"v=0\r\n".to_vec()),
//!         Output::Call { .. } => {}
//!     }
//! }
//! if endpoint.deadline().is_some_and(|at| at <= now) {
//!     endpoint.tick(now);
//! }
//! # }
//! ```
//!
//! What it does by itself: 100 Trying, retransmissions both ways, ACK, PRACK-less provisional responses, CANCEL and its
//! races, forked answers (ACK and BYE), digest, 2xx until the ACK comes, BYE when it does not, OPTIONS, refusals of
//! what RFC 3261 says must be refused, and stateless 503 when it is full.
//!
//! What it leaves to its owner: whether a source may send at all ([`crate::guard`]), names and DNS, media and SDP, and
//! which numbers exist (404, 486, 488 are the owner's to say by [`Endpoint::reject`]).

mod admission;
mod call;
mod client;
mod compose;
mod inbound;
mod indialog;
pub mod limits;
#[doc(hidden)]
pub mod pair;
mod random;
mod server;
mod shed;
mod transactions;
mod types;

pub use types::{
    CallEvent, CallKey, Config, EndCause, Flow, Full, Incoming, Limits, MAX_FORWARDS, Outgoing, Output, Party, Stats,
    Transport,
};

use crate::tx::matching::{Fingerprint, Fingerprinter, PlainMap};
use crate::tx::timers::TimerQueue;
use crate::wire::{Message, ParseError};
use admission::Admission;
use admission::Source;
use call::Call;
use random::Random;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use transactions::Tx;

/// Who waits for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Tx(u64),
    Call(u64),
}

/// Every transaction, dialog and INVITE session of the process.
pub struct Endpoint {
    config: Config,
    random: Random,
    fingerprinter: Fingerprinter,
    admission: Admission,
    last_id: u64,
    txs: PlainMap<u64, Box<Tx>>,
    /// Server transactions by branch, sent-by and method.
    servers: PlainMap<Fingerprint, u64>,
    /// Client transactions by branch and method.
    clients: PlainMap<Fingerprint, u64>,
    /// INVITE server transactions by Call-ID, From tag and CSeq.
    merged: PlainMap<Fingerprint, u64>,
    calls: PlainMap<u64, Box<Call>>,
    /// Calls by Call-ID and our tag.
    dialogs: PlainMap<Fingerprint, u64>,
    /// Server transactions of each source.
    sources: HashMap<IpAddr, Source>,
    timers: TimerQueue<Owner>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint without calls. `seed` is mixed with [`Config::secret`]: tests fix it, a process takes randomness.
    pub fn new(config: Config, seed: u64) -> Self {
        let mut random = Random::new(&config.secret, seed);
        let fingerprinter = Fingerprinter::new([random.next(), random.next()]);
        Self {
            admission: Admission::new(config.calls_per_second_max),
            config,
            random,
            fingerprinter,
            last_id: 0,
            txs: PlainMap::default(),
            servers: PlainMap::default(),
            clients: PlainMap::default(),
            merged: PlainMap::default(),
            calls: PlainMap::default(),
            dialogs: PlainMap::default(),
            sources: HashMap::new(),
            timers: TimerQueue::default(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes what the parser made of a datagram or of a piece of a stream.
    pub fn receive(&mut self, now: Instant, flow: Flow, message: Result<Message, ParseError>) {
        match message {
            Ok(message) if message.is_request() => {
                self.stats.requests_received += 1;
                self.request(now, flow, message);
            }
            Ok(message) => {
                self.stats.responses_received += 1;
                self.response(now, &message);
            }
            Err(error) => self.malformed(flow, &error),
        }
        self.settle();
    }

    /// A connection is gone. What still has to be answered on it goes to the address that the Via named (RFC 3261
    /// 18.2.2); requests of ours that nobody answered yet fail; calls stay up and use a new connection.
    pub fn connection_closed(&mut self, now: Instant, connection: u64) {
        if connection != 0 {
            self.lose_connection(now, connection);
            self.settle();
        }
    }

    /// What was sent on this flow could not be delivered (ICMP, connection refused): requests of ours that nobody
    /// answered yet fail with 503.
    pub fn send_failed(&mut self, now: Instant, flow: Flow) {
        self.fail_flow(now, flow);
        self.settle();
    }

    /// Calls somebody: sends the INVITE. [`CallEvent::Progress`], `Answered` or `Failed` follow.
    ///
    /// # Errors
    /// [`Full`]: the tables are full, nothing was sent.
    pub fn place(&mut self, now: Instant, outgoing: Outgoing) -> Result<CallKey, Full> {
        let key = self.start_call(now, outgoing)?;
        self.settle();
        Ok(key)
    }

    /// Rings (180) or progresses (181, 182, 183) an incoming call, with early media if there is SDP. Other statuses,
    /// calls that are answered and dead keys are ignored. The last one is repeated every minute (RFC 3261 13.3.1.1).
    pub fn ring(&mut self, now: Instant, key: CallKey, status: u16, sdp: Option<Vec<u8>>) {
        self.send_provisional(now, key.0, status, sdp);
        self.settle();
    }

    /// Answers an incoming call: 200 with this SDP, which is the answer, or the offer when the INVITE had none. The 200
    /// is repeated until the ACK comes ([`CallEvent::Confirmed`]).
    pub fn answer(&mut self, now: Instant, key: CallKey, sdp: Vec<u8>) {
        self.accept_call(now, key.0, sdp);
        self.settle();
    }

    /// Refuses an incoming call with a final status (300 to 699), a reason phrase (empty: the usual one) and more
    /// header lines. `Ended { Rejected }` follows.
    pub fn reject(&mut self, now: Instant, key: CallKey, status: u16, reason: &str, headers: &[(&str, String)]) {
        self.refuse_call(now, key.0, status, reason, headers);
        self.settle();
    }

    /// Ends a call as its state asks for: refuses it (480), cancels it, or sends BYE (after the ACK, RFC 3261 15). The
    /// last event follows at once; the rest of the signalling goes on without the owner. `reason` is the value of a
    /// Reason header (RFC 3326).
    pub fn hangup(&mut self, now: Instant, key: CallKey, reason: Option<&str>) {
        self.end_call(now, key.0, reason);
        self.settle();
    }

    /// Offers a new session in an answered call (re-INVITE). [`CallEvent::Reanswered`] follows; 491 is tried again
    /// after a random time (RFC 3261 14.1).
    pub fn reoffer(&mut self, now: Instant, key: CallKey, sdp: Vec<u8>) {
        self.offer_again(now, key.0, sdp);
        self.settle();
    }

    /// Answers a [`CallEvent::Reoffer`]: with SDP, or with the status that refuses it (488, say; the session stays).
    pub fn answer_reoffer(&mut self, now: Instant, key: CallKey, answer: Result<Vec<u8>, u16>) {
        self.answer_offer(now, key.0, answer);
        self.settle();
    }

    /// Sends an INFO in an answered call. Nothing comes back unless the peer says that the call is gone.
    pub fn send_info(&mut self, now: Instant, key: CallKey, content_type: &str, body: Vec<u8>) {
        self.inform(now, key.0, content_type, body);
        self.settle();
    }

    /// While draining, OPTIONS and new INVITEs get 503 with Retry-After; calls that are up go on.
    pub fn set_draining(&mut self, draining: bool) {
        self.admission.draining = draining;
    }

    /// From now until `retry_after` has passed new INVITEs get a stateless 503 with what is left of it, the cheapest
    /// answer there is; `None` lifts it.
    pub fn set_overloaded(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.admission.overloaded_until = retry_after.map(|time| now + time);
    }

    /// What to do next, if anything.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(limits::IDLE_CAPACITY);
        }
        output
    }

    /// When to call [`Self::tick`] next.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Fires every timer whose time has come.
    pub fn tick(&mut self, now: Instant) {
        while let Some((at, owner)) = self.timers.pop_due(now) {
            match owner {
                Owner::Tx(id) => self.fire_transaction(now, at, id),
                Owner::Call(id) => self.fire_call(now, at, id),
            }
        }
        self.settle();
        self.give_back();
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The Call-ID of a call that was placed or has a dialog; none once the call is over.
    pub fn call_id(&self, key: CallKey) -> Option<String> {
        let call = self.calls.get(&key.0)?;
        let placed = call.placing.as_ref().map(|placing| placing.call_id.to_string());
        placed.or_else(|| call.dialog.as_ref().map(|d| String::from_utf8_lossy(&d.call_id).into_owned()))
    }

    /// Calls that exist, those included whose BYE is still unanswered.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Transactions that exist, lingering ones included.
    pub fn transactions(&self) -> usize {
        self.txs.len()
    }

    /// Bytes held, nearly: tables by their capacity, buffers by their length. Walks everything; for metrics and tests.
    pub fn memory_bytes(&self) -> usize {
        let table = |capacity: usize, entry: usize| capacity * (entry + 1);
        let tables = table(self.txs.capacity(), size_of::<(u64, Box<Tx>)>())
            + table(self.calls.capacity(), size_of::<(u64, Box<Call>)>())
            + table(
                self.servers.capacity() + self.clients.capacity() + self.merged.capacity() + self.dialogs.capacity(),
                size_of::<(Fingerprint, u64)>(),
            )
            + table(self.sources.capacity(), size_of::<(IpAddr, Source)>());
        tables
            + self.timers.memory_bytes()
            + self.outputs.capacity() * size_of::<Output>()
            + self.txs.values().map(|tx| tx.memory_bytes()).sum::<usize>()
            + self.calls.values().map(|call| call.memory_bytes()).sum::<usize>()
            + self.sources.values().map(Source::memory_bytes).sum::<usize>()
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn push_send(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.stats.messages_sent += 1;
        self.outputs.push_back(Output::Send { flow, bytes });
    }

    pub(crate) fn push_event(&mut self, call: u64, event: CallEvent) {
        self.outputs.push_back(Output::Call { key: CallKey(call), event });
    }

    fn counts(txs: &PlainMap<u64, Box<Tx>>, calls: &PlainMap<u64, Box<Call>>, owner: Owner, at: Instant) -> bool {
        match owner {
            Owner::Tx(id) => txs.get(&id).is_some_and(|tx| tx.scheduled == Some(at)),
            Owner::Call(id) => calls.get(&id).is_some_and(|call| call.scheduled == Some(at)),
        }
    }

    /// Puts an owner's deadline into the queue, unless an earlier or equal entry of it is there already.
    pub(crate) fn schedule(&mut self, owner: Owner) {
        let (deadline, scheduled) = match owner {
            Owner::Tx(id) => match self.txs.get_mut(&id) {
                Some(tx) => (tx.machine.deadline(), &mut tx.scheduled),
                None => return,
            },
            Owner::Call(id) => match self.calls.get_mut(&id) {
                Some(call) => (call.deadline(), &mut call.scheduled),
                None => return,
            },
        };
        let Some(at) = deadline else { return };
        if scheduled.is_some_and(|earlier| earlier <= at) {
            return;
        }
        *scheduled = Some(at);
        let owners = self.txs.len() + self.calls.len();
        self.timers.push(at, owner, owners, |owner, at| Self::counts(&self.txs, &self.calls, owner, at));
    }

    /// After every input: the front of the timer queue tells the truth.
    fn settle(&mut self) {
        self.timers.prune(|owner, at| Self::counts(&self.txs, &self.calls, owner, at));
    }

    /// Tables that are mostly empty after a burst give their memory back.
    fn give_back(&mut self) {
        fn fit<K: Eq + std::hash::Hash, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>) {
            if map.capacity() > limits::IDLE_CAPACITY && map.capacity() / 8 > map.len() {
                map.shrink_to(map.len() * 2);
            }
        }
        fit(&mut self.txs);
        fit(&mut self.servers);
        fit(&mut self.clients);
        fit(&mut self.merged);
        fit(&mut self.calls);
        fit(&mut self.dialogs);
        fit(&mut self.sources);
        if self.txs.is_empty() && self.calls.is_empty() {
            self.timers.compact(|_, _| false);
        }
    }
}
