//! Starting and stopping the media threads, and the handle through which legs are reserved and commanded.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::sync::mpsc;

use super::{
    api::{Command, Event, Full, Leg, LegId, MediaPort, RecordOf},
    disk::{Disk, DiskThreads},
    leg::{LegState, Transport},
    limits::{
        BIND_ATTEMPTS, COMMAND_QUEUE, LEARN_WINDOW, PIPES_MAX, PORT_QUARANTINE, RTCP_RECEIVE_BUFFER, RTP_RECEIVE_BUFFER,
    },
    metrics::{EngineMetrics, ThreadMetrics},
    pipe::{Pipe, pipe},
    ports::PortPool,
    sys::{self, Waker},
    tap::Tap,
    thread::MediaThread,
};

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Media threads; 0: one for each core but one, at least one.
    pub threads: usize,
    /// The address that RTP sockets are bound to; may be unspecified.
    pub ip: IpAddr,
    /// The ports for RTP (even) and RTCP (odd). Each leg takes a pair.
    pub ports: RangeInclusive<u16>,
    /// Cores to pin the threads to, in turn; none: the kernel places them.
    pub cores: Vec<usize>,
    /// How long the ports of an ended leg are not used again.
    pub quarantine: Duration,
    /// Silence after which a leg reports [`Event::RtpTimeout`].
    pub rtp_timeout: Duration,
    /// How long after an agreement the media of a phone behind a NAT may be learned, from where its signalling comes
    /// and nowhere else ([`super::Command::Start`]).
    pub learn_window: Duration,
    /// Where the packets of legs go that are listened to ([`Command::Listen`]); none: nobody listens.
    pub tap: Option<Tap>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: 20_000..=29_999,
            cores: Vec::new(),
            quarantine: PORT_QUARANTINE,
            rtp_timeout: Duration::from_secs(30),
            learn_window: LEARN_WINDOW,
            tap: None,
        }
    }
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is not one whole pair in the port range.
    #[error("[rtp] ports: {0:?} holds no pair of an even port and the odd one above it")]
    NoPorts(RangeInclusive<u16>),
    /// The address is not one of this machine.
    #[error("[rtp] address: cannot bind {address}: {source}")]
    Address {
        /// The address.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its epoll set could not be made.
    #[error("cannot start a media thread: {0}")]
    Thread(#[from] io::Error),
}

/// The running threads. Dropping it ends every leg, closes every recording and waits for both.
pub struct Engine {
    handle: EngineHandle,
    threads: Vec<JoinHandle<()>>,
    disk: DiskThreads,
}

/// What a media thread is told.
pub(crate) enum Message {
    /// A new leg, or one that moves here.
    Adopt(Box<LegState>),
    /// That leg will come from another thread; what is said to it before it is here must wait for it.
    Expect(LegId),
    /// Give that leg to another thread.
    Move(LegId, usize),
    /// Do this.
    Command(LegId, Box<Command>),
}

/// The way to one thread.
pub(crate) struct Link {
    sender: Sender<Message>,
    waker: Waker,
    asleep: AtomicBool,
    stopping: AtomicBool,
}

impl Link {
    fn new(sender: Sender<Message>) -> io::Result<Self> {
        Ok(Self { sender, waker: Waker::new()?, asleep: AtomicBool::new(false), stopping: AtomicBool::new(false) })
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Whether the engine is being dropped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Sends if fewer than `limit` wait; the message is lost otherwise.
    fn send(&self, message: Message, limit: usize) -> Result<(), Full> {
        if self.sender.len() >= limit {
            return Err(Full::Queue);
        }
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Full::Queue,
            TrySendError::Disconnected(_) => Full::Stopped,
        })?;
        // Pairs with the fence in `may_sleep`: either we see it asleep or it sees the message.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
        Ok(())
    }

    /// Sends with the room that is kept for what must not be refused.
    pub(crate) fn send_always(&self, message: Message) {
        // Only a thread that has stopped refuses; then there is nothing left to do for the leg.
        let _ = self.send(message, usize::MAX);
    }

    /// Called by the thread itself: whether it may wait for its waker without end.
    pub(crate) fn may_sleep(&self, receiver: &Receiver<Message>) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        if receiver.is_empty() && !self.is_stopping() {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// A port pair, or the place of a pipe, that a thread has closed.
pub(crate) type Freed = (u16, Instant);

/// What is known of a port pair, or of the place of a pipe, outside of the threads.
#[derive(Clone, Copy, Default)]
struct Pair {
    generation: u64,
    thread: usize,
    open: bool,
}

struct Control {
    pool: PortPool,
    /// Free places of legs without sockets: numbers above those of the port pairs.
    pipes: Vec<u16>,
    first_pipe: u16,
    pairs: Vec<Pair>,
    load: Vec<usize>,
    freed: Receiver<Freed>,
}

struct Shared {
    links: Arc<[Link]>,
    control: Mutex<Control>,
    metrics: EngineMetrics,
    ip: IpAddr,
}

/// Reserves legs and commands them; cheap to clone, to be used from any thread. Never waits for a media thread.
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

impl Engine {
    /// Starts the threads. Events go to `events`; a slow reader delays them and loses none.
    ///
    /// # Errors
    /// A port range without a pair, an address that cannot be bound, a thread that cannot be started.
    pub fn start(config: EngineConfig, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        let pairs = PortPool::capacity(config.ports.clone());
        if pairs == 0 {
            return Err(StartError::NoPorts(config.ports));
        }
        let capacity = pairs + PIPES_MAX;
        if let Err(source) = UdpSocket::bind((config.ip, 0)) {
            return Err(StartError::Address { address: config.ip, source });
        }
        // Each leg is two sockets: what the hard limit allows, we want.
        sys::raise_file_limit()?;
        let count = match config.threads {
            0 => sys::cores().saturating_sub(1).max(1),
            count => count.min(256),
        };
        let disk_metrics = Arc::default();
        let (disk_thread, disk) = DiskThreads::start(capacity * RecordOf::ALL.len(), &events, &disk_metrics)?;
        let (freed_in, freed) = bounded(capacity);
        let mut links = Vec::with_capacity(count);
        let mut receivers = Vec::with_capacity(count);
        for _ in 0..count {
            // Beside the ordinary commands: for each leg one close and one adoption, and a pair that moves.
            let (sender, receiver) = bounded(COMMAND_QUEUE + 2 * capacity + 8);
            links.push(Link::new(sender)?);
            receivers.push(receiver);
        }
        let links: Arc<[Link]> = links.into();
        // The last is written by the handles, under their lock.
        let metrics: Arc<[Arc<ThreadMetrics>]> = (0..=count).map(|_| Arc::default()).collect();
        let control = Control {
            pool: PortPool::new(config.ports.clone(), config.quarantine, seed()),
            pipes: (pairs as u16..capacity as u16).collect(),
            first_pipe: pairs as u16,
            pairs: vec![Pair::default(); capacity],
            load: vec![0; count],
            freed,
        };
        let shared = Shared {
            links: Arc::clone(&links),
            control: Mutex::new(control),
            metrics: EngineMetrics { threads: Arc::clone(&metrics), disk: disk_metrics },
            ip: config.ip,
        };
        let mut engine = Self { handle: EngineHandle(Arc::new(shared)), threads: Vec::new(), disk: disk_thread };
        for (index, receiver) in receivers.into_iter().enumerate() {
            let context = ThreadContext {
                index,
                capacity,
                links: Arc::clone(&links),
                receiver,
                events: events.clone(),
                freed: freed_in.clone(),
                metrics: Arc::clone(&metrics[index]),
                disk: disk.clone(),
                config: config.clone(),
            };
            engine.spawn(context)?;
        }
        // From here on the threads hold the only senders: when they have ended, the core's receiver says so.
        drop(events);
        Ok(engine)
    }

    fn spawn(&mut self, context: ThreadContext) -> io::Result<()> {
        let core = context.config.cores.get(context.index % context.config.cores.len().max(1)).copied();
        let thread = MediaThread::new(context)?;
        let handle = thread::Builder::new().name("ark-media".to_owned()).spawn(move || {
            if let Some(core) = core
                && let Err(error) = sys::pin_to_core(core)
            {
                tracing::warn!(core, %error, "cannot pin a media thread to its core; it runs where the kernel puts it");
            }
            sys::tighten_timer_slack();
            crate::priority::go_first();
            thread.run();
        })?;
        self.threads.push(handle);
        Ok(())
    }

    /// Whether every thread runs. One that has ended did so by a fault, and its legs are silent.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.disk.is_alive() && !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Where legs are reserved and commanded.
    #[must_use]
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for link in self.handle.0.links.iter() {
            link.stop();
        }
        for thread in self.threads.drain(..) {
            // A panic has been printed by the panic hook; the other threads still end in order.
            let _ = thread.join();
        }
        self.disk.join();
    }
}

/// All that a media thread is made of.
pub(crate) struct ThreadContext {
    pub(crate) index: usize,
    pub(crate) capacity: usize,
    pub(crate) links: Arc<[Link]>,
    pub(crate) receiver: Receiver<Message>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) freed: Sender<Freed>,
    pub(crate) metrics: Arc<ThreadMetrics>,
    pub(crate) disk: Disk,
    pub(crate) config: EngineConfig,
}

impl LegId {
    /// The port pair is the low 16 bits; above it counts how often the pair was used.
    fn new(generation: u64, pair: u16) -> Self {
        Self(generation << 16 | u64::from(pair))
    }

    /// Index of the port pair.
    pub(crate) fn pair(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }
}

impl Control {
    /// Takes back what the threads have closed.
    fn collect(&mut self) {
        while let Ok((pair, ended)) = self.freed.try_recv() {
            if pair >= self.first_pipe {
                self.pipes.push(pair);
            } else {
                self.pool.give_back(pair, ended);
            }
            let thread = self.pairs[usize::from(pair)].thread;
            self.load[thread] = self.load[thread].saturating_sub(1);
        }
    }

    fn open(&mut self, leg: LegId) -> Option<&mut Pair> {
        let pair = self.pairs.get_mut(usize::from(leg.pair()))?;
        (pair.open && LegId::new(pair.generation, leg.pair()) == leg).then_some(pair)
    }

    /// Takes a pair and the emptiest thread for it.
    fn take(&mut self) -> Result<(u16, u16), Full> {
        self.collect();
        let pair = self.pool.take(Instant::now()).ok_or(Full::Ports)?;
        Ok((pair, self.pool.port(pair)))
    }

    fn assign(&mut self, index: u16) -> (LegId, usize) {
        let thread = (0..self.load.len()).min_by_key(|thread| self.load[*thread]).unwrap_or(0);
        self.load[thread] += 1;
        let pair = &mut self.pairs[usize::from(index)];
        *pair = Pair { generation: pair.generation + 1, thread, open: true };
        (LegId::new(pair.generation, index), thread)
    }
}

impl EngineHandle {
    fn control(&self) -> MutexGuard<'_, Control> {
        // Nothing in there is left half done by a panic.
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine's counters.
    #[must_use]
    pub fn metrics(&self) -> EngineMetrics {
        self.0.metrics.clone()
    }

    /// Puts both legs of a bridge or a room on one thread: the other leg moves to this one's. Whatever is said to it from now
    /// on goes to its new thread and waits there until it has come.
    fn bring_together(&self, control: &mut Control, leg: LegId, other: LegId) -> Result<(), Full> {
        let Some(home) = control.open(leg).map(|pair| pair.thread) else { return Ok(()) };
        let Some(pair) = control.open(other) else { return Ok(()) };
        let from = pair.thread;
        if from == home {
            return Ok(());
        }
        let links = &self.0.links;
        if links[home].sender.len() >= COMMAND_QUEUE || links[from].sender.len() >= COMMAND_QUEUE {
            return Err(Full::Queue);
        }
        // First the expectation, then the move: the leg can only come where it is waited for.
        links[home].send_always(Message::Expect(other));
        links[from].send_always(Message::Move(other, home));
        pair.thread = home;
        control.load[from] = control.load[from].saturating_sub(1);
        control.load[home] += 1;
        Ok(())
    }
}

impl MediaPort for EngineHandle {
    fn reserve(&self) -> Result<Leg, Full> {
        let mut failure = Full::Ports;
        for _ in 0..BIND_ATTEMPTS {
            let (pair, port) = self.control().take()?;
            // Not under the lock: binding is a matter of system calls.
            let sockets = bind_pair(self.0.ip, port);
            let mut control = self.control();
            match sockets {
                Ok((rtp, rtcp)) => {
                    let (id, thread) = control.assign(pair);
                    let leg =
                        Leg { id, rtp: SocketAddr::new(self.0.ip, port), rtcp: SocketAddr::new(self.0.ip, port + 1) };
                    let state = Box::new(LegState::new(id, Transport::Udp { rtp, rtcp }));
                    let sent = self.0.links[thread].send(Message::Adopt(state), COMMAND_QUEUE);
                    if let Err(full) = sent {
                        control.pairs[usize::from(pair)].open = false;
                        control.load[thread] -= 1;
                        control.pool.give_back(pair, Instant::now());
                        return Err(full);
                    }
                    return Ok(leg);
                }
                Err(error) => {
                    control.pool.give_back(pair, Instant::now());
                    failure = match error.kind() {
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Full::Ports,
                        io::ErrorKind::AddrNotAvailable => Full::Address,
                        _ => Full::Files,
                    };
                    if failure != Full::Ports {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    fn reserve_pipe(&self) -> Result<(LegId, Pipe), Full> {
        let mut control = self.control();
        control.collect();
        let place = control.pipes.pop().ok_or(Full::Pipes)?;
        let (id, thread) = control.assign(place);
        let (carrier, leg) = pipe();
        let state = Box::new(LegState::new(id, Transport::Pipe(leg)));
        if let Err(full) = self.0.links[thread].send(Message::Adopt(state), COMMAND_QUEUE) {
            control.pairs[usize::from(place)].open = false;
            control.load[thread] -= 1;
            control.pipes.push(place);
            return Err(full);
        }
        Ok((id, carrier))
    }

    fn command(&self, leg: LegId, command: Command) -> Result<(), Full> {
        let mut control = self.control();
        if control.open(leg).is_none() {
            if let Some(own) = self.0.metrics.threads.last() {
                ThreadMetrics::count(&own.stale_commands, 1);
            }
            return Ok(());
        }
        if let Command::Bridge { other } = &command {
            self.bring_together(&mut control, leg, *other)?;
        }
        if let Command::Join { with, .. } = &command {
            // The room stays where it is: others may be in it.
            self.bring_together(&mut control, *with, leg)?;
        }
        let Some(pair) = control.open(leg) else { return Ok(()) };
        let link = &self.0.links[pair.thread];
        if matches!(command, Command::Close) {
            pair.open = false;
            return link.send(Message::Command(leg, Box::new(command)), usize::MAX);
        }
        link.send(Message::Command(leg, Box::new(command)), COMMAND_QUEUE)
    }
}

fn bind_pair(ip: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port: u16, buffer: usize| -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(SocketAddr::new(ip, port)), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(buffer)?;
        // Expedited forwarding (RFC 3246), where the network cares; a system that refuses the mark still carries voice.
        let _ = if ip.is_ipv4() { socket.set_tos_v4(0xB8) } else { socket.set_tclass_v6(0xB8) };
        if ip.is_ipv6() && ip.is_unspecified() {
            // Every address of both families: a call may come by either.
            socket.set_only_v6(false)?;
            let _ = socket.set_tos_v4(0xB8);
        }
        sys::enable_receive_stamps(&socket)?;
        socket.bind(&SockAddr::from(SocketAddr::new(ip, port)))?;
        Ok(socket.into())
    };
    Ok((bind(port, RTP_RECEIVE_BUFFER)?, bind(port + 1, RTCP_RECEIVE_BUFFER)?))
}

/// A seed that nobody outside can guess.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // SipHash keyed by the system's random numbers.
    RandomState::new().hash_one(sys::monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_bound_to_every_address_serves_both_families() {
        let ip: IpAddr = "::".parse().unwrap();
        let bound = (0..100).find_map(|n| bind_pair(ip, 32_000 + 2 * n).ok());
        let (rtp, _rtcp) = bound.expect("one of a hundred pairs is free");
        rtp.set_nonblocking(false).unwrap();
        rtp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = rtp.local_addr().unwrap().port();
        for loopback in ["127.0.0.1", "::1"] {
            let loopback: IpAddr = loopback.parse().unwrap();
            let peer = UdpSocket::bind((loopback, 0)).unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            peer.send_to(b"to", (loopback, port)).unwrap();
            let (_, from) = rtp.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(from.ip().to_canonical(), loopback);
            rtp.send_to(b"back", from).unwrap();
            assert_eq!(peer.recv_from(&mut [0; 8]).unwrap().0, 4);
        }
    }
}
