//! Two endpoints on a wire in virtual time, for tests: latency, loss, duplicates and reordering from a seed.

use super::{CallEvent, CallKey, Config, Endpoint, Flow, MAX_FORWARDS, Outgoing, Output, Party, Transport};
use crate::wire::{StreamFramer, parse_datagram};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A small seeded generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 10.0.0.1.
    Left,
    /// 10.0.0.2.
    Right,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// How bad the wire is, in thousandths of the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Messages that never arrive.
    pub loss: u64,
    /// Messages that arrive twice.
    pub duplicates: u64,
    /// The longest time a message takes beyond 5 ms; messages overtake each other within it.
    pub jitter: Duration,
}

struct Packet {
    at: Instant,
    order: u64,
    to: Side,
    bytes: Vec<u8>,
}

/// The two endpoints, what they said, and what is on the way between them.
pub struct Pair {
    /// The virtual time.
    pub now: Instant,
    /// 10.0.0.1:5060.
    pub left: Endpoint,
    /// 10.0.0.2:5060.
    pub right: Endpoint,
    /// Everything they told their owners, in order. Take from it as you like.
    pub events: Vec<(Side, CallKey, CallEvent)>,
    /// Every message they sent: when, from whom, and its bytes.
    pub trace: Vec<(Instant, Side, Vec<u8>)>,
    /// The wire.
    pub weather: Weather,
    transport: Transport,
    packets: Vec<Packet>,
    order: u64,
    dice: Dice,
}

impl Pair {
    /// Two endpoints with default settings on a good wire.
    pub fn new(now: Instant, seed: u64, transport: Transport) -> Self {
        Self::with(now, seed, transport, Config::default())
    }

    /// Two endpoints with these settings.
    pub fn with(now: Instant, seed: u64, transport: Transport, config: Config) -> Self {
        Self {
            now,
            left: Endpoint::new(config.clone(), seed),
            right: Endpoint::new(config, seed ^ 0xffff),
            events: Vec::new(),
            trace: Vec::new(),
            weather: Weather::default(),
            transport,
            packets: Vec::new(),
            order: 0,
            dice: Dice::new(seed),
        }
    }

    /// The endpoint on that side.
    pub fn end(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// The flow from that side to the other.
    pub fn flow(&self, side: Side) -> Flow {
        let left = SocketAddr::from(([10, 0, 0, 1], 5060));
        let right = SocketAddr::from(([10, 0, 0, 2], 5060));
        let (local, remote) = if side == Side::Left { (left, right) } else { (right, left) };
        let connection = u64::from(self.transport == Transport::Tcp);
        Flow { transport: self.transport, local, remote, connection }
    }

    /// A call from that side to the other, with an offer.
    pub fn outgoing(&self, side: Side) -> Outgoing {
        let flow = self.flow(side);
        let uri = |user: &str, at: SocketAddr| Party { uri: format!("sip:{user}@{at}"), display: None };
        Outgoing {
            flow,
            target: format!("sip:95188@{}", flow.remote),
            from: uri("chen", flow.local),
            to: uri("95188", flow.remote),
            sdp: Some(b"v=0\r\no=offer\r\n".to_vec()),
            credentials: None,
            headers: Vec::new(),
            max_forwards: MAX_FORWARDS,
        }
    }

    /// Places a call from that side.
    pub fn place(&mut self, side: Side) -> CallKey {
        let (now, outgoing) = (self.now, self.outgoing(side));
        let key = self.end(side).place(now, outgoing).expect("there is room");
        self.collect();
        key
    }

    /// Takes what both said and puts messages on the wire.
    pub fn collect(&mut self) {
        for side in [Side::Left, Side::Right] {
            while let Some(output) = self.end(side).poll() {
                match output {
                    Output::Call { key, event } => self.events.push((side, key, event)),
                    Output::Send { bytes, .. } => self.carry(side, &bytes),
                }
            }
        }
    }

    fn carry(&mut self, from: Side, bytes: &[u8]) {
        self.trace.push((self.now, from, bytes.to_vec()));
        let reliable = self.transport == Transport::Tcp;
        if !reliable && self.dice.per_mille(self.weather.loss) {
            return;
        }
        let copies = if !reliable && self.dice.per_mille(self.weather.duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = if reliable { 0 } else { self.dice.below(self.weather.jitter.as_millis() as u64 + 1) };
            let at = self.now + Duration::from_millis(5 + jitter);
            self.order += 1;
            self.packets.push(Packet { at, order: self.order, to: from.other(), bytes: bytes.to_vec() });
        }
    }

    /// The next thing that happens: a packet arrives or a timer fires. False when nothing is left.
    pub fn step(&mut self) -> bool {
        self.collect();
        let next = self.packets.iter().enumerate().min_by_key(|(_, packet)| (packet.at, packet.order));
        let packet = next.map(|(at, packet)| (packet.at, at));
        let timer = [self.left.deadline(), self.right.deadline()].into_iter().flatten().min();
        match (packet, timer) {
            (None, None) => return false,
            (Some((at, index)), timer) if timer.is_none_or(|timer| at <= timer) => {
                self.now = self.now.max(at);
                let packet = self.packets.swap_remove(index);
                self.deliver(&packet);
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                let now = self.now;
                self.left.tick(now);
                self.right.tick(now);
            }
            (Some(_), None) => unreachable!("a packet without a timer is delivered above"),
        }
        self.collect();
        true
    }

    fn deliver(&mut self, packet: &Packet) {
        let (now, flow) = (self.now, self.flow(packet.to));
        let message = if self.transport == Transport::Udp {
            parse_datagram(&packet.bytes)
        } else {
            let mut framer = StreamFramer::new();
            framer.push(&packet.bytes);
            framer.next_message().expect("a whole message was sent")
        };
        assert!(message.is_ok(), "what an endpoint writes can be read: {message:?}");
        self.end(packet.to).receive(now, flow, message);
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.collect();
        loop {
            let packet = self.packets.iter().map(|packet| packet.at).min();
            let timer = [self.left.deadline(), self.right.deadline()].into_iter().flatten().min();
            match [packet, timer].into_iter().flatten().min() {
                Some(at) if at <= end => self.step(),
                _ => break,
            };
        }
        self.now = end;
    }

    /// Runs until nothing is left to happen (or 100,000 steps are over, which is a defect).
    pub fn run_out(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the wire never comes to rest");
    }
}
