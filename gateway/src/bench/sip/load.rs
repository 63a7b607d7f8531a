//! Our own SIP caller: INVITE, ACK, BYE at an exact rate, every call accounted for.
//!
//! It reads and writes SIP by hand, so that what is measured is not checked by itself. One thread, one socket; a call
//! begins when its time has come to within a fraction of a millisecond, whatever the answers do: an overloaded server
//! is not waited for.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    bench::kit::{self, BenchError, Histogram, Worker},
    media::sys::{self, ReceiveBatch},
};

/// RFC 3261 timer T1.
const T1_NS: u64 = 500_000_000;
/// RFC 3261 timer T2.
const T2_NS: u64 = 4_000_000_000;
/// A call without a final answer after this has failed (64 T1).
const GIVE_UP_NS: u64 = 64 * T1_NS;
/// The longest sleep between two looks at the socket.
const NAP_NS: u64 = 200_000;
/// A call that begins later than this after its time makes the rate inexact.
const LATE_NS: u64 = 5_000_000;
/// Datagrams read at a time.
const BATCH: usize = 32;

/// What to offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) target: SocketAddr,
    /// Calls a second.
    pub(super) rate: f64,
    /// For how long new calls begin.
    pub(super) time: Duration,
    /// How long calls that are up at the end may take to finish.
    pub(super) drain: Duration,
    pub(super) core: usize,
}

/// What became of the calls. `offered` is the sum of the four ends.
#[derive(Clone)]
pub(super) struct Outcome {
    pub(super) offered: u64,
    /// Set up and ended: 200 to INVITE and 200 to BYE.
    pub(super) completed: u64,
    /// 503.
    pub(super) refused: u64,
    /// 503 that said when to try again.
    pub(super) retry_after: u64,
    /// Any other failure, by what it was.
    pub(super) failures: BTreeMap<String, u64>,
    /// Requests sent again.
    pub(super) retransmissions: u64,
    /// 200s to INVITE that came again.
    pub(super) repeated_200: u64,
    /// From INVITE to 200.
    pub(super) setup: Histogram,
    /// From the first INVITE to the last call's begin.
    pub(super) offering: Duration,
    /// Completed within the time of offering.
    pub(super) completed_in_time: u64,
    /// Calls that began more than 5 ms after their time.
    pub(super) late_starts: u64,
    /// CPU of the caller's thread.
    pub(super) cpu_ns: u64,
}

impl Outcome {
    fn new() -> Self {
        Self {
            offered: 0,
            completed: 0,
            refused: 0,
            retry_after: 0,
            failures: BTreeMap::new(),
            retransmissions: 0,
            repeated_200: 0,
            setup: Histogram::new(50),
            offering: Duration::ZERO,
            completed_in_time: 0,
            late_starts: 0,
            cpu_ns: 0,
        }
    }

    /// Completed calls a second while calls were offered.
    pub(super) fn goodput(&self) -> f64 {
        self.completed_in_time as f64 / self.offering.as_secs_f64().max(1e-9)
    }
}

/// A run under way.
pub(super) struct Caller {
    worker: Worker<Result<Outcome, BenchError>>,
    done: Arc<AtomicBool>,
}

impl Caller {
    pub(super) fn start(offer: Offer) -> Result<Self, BenchError> {
        let done = Arc::new(AtomicBool::new(false));
        let done_in = Arc::clone(&done);
        let worker = Worker::start("bench caller", offer.core, move |stop| {
            let outcome = Run::new(offer).map(|run| run.go(stop));
            done_in.store(true, Relaxed);
            outcome
        })?;
        Ok(Self { worker, done })
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Relaxed)
    }

    /// Waits for the end of the run.
    pub(super) fn finish(self) -> Result<Outcome, BenchError> {
        while !self.is_done() {
            sys::sleep_until_ns(sys::monotonic_ns() + 5_000_000);
        }
        self.worker.finish()?
    }
}

/// Whether something takes one call at `target` (SIPp's built-in answerer knows no OPTIONS).
pub(super) fn takes_a_call(target: SocketAddr) -> Result<bool, BenchError> {
    let (time, drain) = (Duration::from_millis(200), Duration::from_millis(300));
    let outcome = Caller::start(Offer { target, rate: 5.0, time, drain, core: 0 })?.finish()?;
    Ok(outcome.completed > 0)
}

/// Whether something answers OPTIONS at `target`.
pub(super) fn answers(target: SocketAddr) -> Result<bool, BenchError> {
    let socket = kit::loopback_socket(64 * 1024)?;
    let local = kit::local(&socket)?;
    let request = format!(
        "OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-o{}\r\nMax-Forwards: 70\r\n\
         From: <sip:bench@{local}>;tag=o\r\nTo: <sip:{target}>\r\nCall-ID: o{}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        sys::monotonic_ns(),
        sys::monotonic_ns()
    );
    // A port that nobody listens on yet is reported as an error: no answer.
    let _ = socket.send_to(request.as_bytes(), target);
    let end = sys::monotonic_ns() + 200_000_000;
    let mut buffer = [0; 2_048];
    while sys::monotonic_ns() < end {
        // A 503 is a gateway that is not ready yet.
        if socket.recv(&mut buffer).is_ok_and(|length| status(&buffer[..length]).is_some_and(|code| code != 503)) {
            return Ok(true);
        }
        sys::sleep_until_ns(sys::monotonic_ns() + 5_000_000);
    }
    Ok(false)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// INVITE sent; true: a provisional answer has stopped its repetition.
    Inviting(bool),
    /// BYE sent.
    Leaving,
    Over,
}

struct Call {
    state: State,
    began_realtime_ns: u64,
    began_ns: u64,
    /// To with its tag, and the Contact, of the 200.
    to: String,
    contact: String,
}

struct Run {
    offer: Offer,
    socket: UdpSocket,
    /// Where the offered media goes: bound and never read.
    media: UdpSocket,
    local: SocketAddr,
    calls: Vec<Call>,
    open: u64,
    /// When to repeat (time, call, interval) its INVITE or, if true, its BYE.
    repeats: BinaryHeap<Reverse<(u64, usize, u64, bool)>>,
    batch: ReceiveBatch,
    outcome: Outcome,
    label: u64,
    end_ns: u64,
}

impl Run {
    fn new(offer: Offer) -> Result<Self, BenchError> {
        let socket = kit::loopback_socket(16 * 1024 * 1024)?;
        sys::enable_receive_stamps(&socket).map_err(BenchError::io("asking for receive stamps"))?;
        Ok(Self {
            offer,
            local: kit::local(&socket)?,
            socket,
            media: kit::loopback_socket(2_048)?,
            calls: Vec::with_capacity((offer.rate * offer.time.as_secs_f64()) as usize + 1),
            open: 0,
            repeats: BinaryHeap::new(),
            batch: ReceiveBatch::new(BATCH),
            outcome: Outcome::new(),
            label: sys::realtime_ns() / 1_000,
            end_ns: 0,
        })
    }

    fn go(mut self, stop: &AtomicBool) -> Outcome {
        let start = sys::monotonic_ns();
        let interval = 1e9 / self.offer.rate.max(0.01);
        self.end_ns = start + sys::nanos(self.offer.time);
        let give_up = self.end_ns + sys::nanos(self.offer.drain);
        while !stop.load(Relaxed) {
            let mut now = sys::monotonic_ns();
            let mut next = start + (self.calls.len() as f64 * interval) as u64;
            while next <= now && next < self.end_ns {
                self.outcome.late_starts += u64::from(now - next > LATE_NS);
                self.begin(now);
                next = start + (self.calls.len() as f64 * interval) as u64;
                now = sys::monotonic_ns();
            }
            self.receive();
            self.repeat(sys::monotonic_ns());
            now = sys::monotonic_ns();
            if now >= self.end_ns && (self.open == 0 || now >= give_up) {
                break;
            }
            sys::sleep_until_ns(if next < self.end_ns { next.min(now + NAP_NS) } else { now + NAP_NS });
        }
        self.outcome.offering = Duration::from_nanos(self.end_ns - start);
        for index in 0..self.calls.len() {
            let what = match self.calls[index].state {
                State::Over => continue,
                State::Inviting(false) => "no answer to INVITE",
                State::Inviting(true) => "no final answer to INVITE",
                State::Leaving => "no answer to BYE",
            };
            self.fail(index, what.to_owned());
        }
        self.outcome.offered = self.calls.len() as u64;
        self.outcome.cpu_ns = sys::thread_cpu_ns();
        self.outcome
    }

    fn begin(&mut self, now: u64) {
        let index = self.calls.len();
        self.calls.push(Call {
            state: State::Inviting(false),
            began_realtime_ns: sys::realtime_ns(),
            began_ns: now,
            to: String::new(),
            contact: String::new(),
        });
        self.open += 1;
        self.send(&self.invite(index));
        self.repeats.push(Reverse((now + T1_NS, index, T1_NS, false)));
    }

    fn send(&self, message: &str) {
        // What the kernel does not take is repeated by the timer, as on any lossy network.
        let _ = self.socket.send_to(message.as_bytes(), self.offer.target);
    }

    fn head(&self, index: usize, method: &str, uri: &str, branch: &str, to: &str, number: u32) -> String {
        let (local, label) = (self.local, self.label);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-{label}-{index}-{branch}\r\n\
             Max-Forwards: 70\r\nFrom: \"Bench\" <sip:+8613800000000@{local}>;tag={label}{index}\r\nTo: {to}\r\n\
             Call-ID: {label}-{index}@bench\r\nCSeq: {number} {method}\r\n"
        )
    }

    fn invite(&self, index: usize) -> String {
        let target = self.offer.target;
        let (ip, port) = (self.local.ip(), self.media.local_addr().map_or(9, |address| address.port()));
        let sdp = format!(
            "v=0\r\no=bench {index} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 8 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        );
        let uri = format!("sip:95188@{target}");
        let head = self.head(index, "INVITE", &uri, "i", &format!("<{uri}>"), 1);
        let (local, length) = (self.local, sdp.len());
        format!(
            "{head}Contact: <sip:bench@{local}>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}"
        )
    }

    fn within(&self, index: usize, method: &str, branch: &str, number: u32) -> String {
        let call = &self.calls[index];
        let head = self.head(index, method, &call.contact, branch, &call.to, number);
        format!("{head}Content-Length: 0\r\n\r\n")
    }

    fn receive(&mut self) {
        loop {
            let received = self.batch.receive(&self.socket, BATCH);
            for at in 0..received {
                let packet = self.batch.get(at);
                let stamp = packet.at_realtime_ns;
                if let Some(answer) = Answer::read(packet.bytes, self.label) {
                    self.take(&answer, stamp);
                }
            }
            if received < BATCH {
                return;
            }
        }
    }

    fn take(&mut self, answer: &Answer, stamp: u64) {
        let Some(call) = self.calls.get_mut(answer.index) else { return };
        match (call.state, answer.invite, answer.status) {
            (State::Inviting(_), true, 100..200) => call.state = State::Inviting(true),
            (State::Inviting(_), true, 200..300) => {
                call.to.clone_from(&answer.to);
                call.contact.clone_from(&answer.contact);
                call.state = State::Leaving;
                self.outcome.setup.record_us(stamp.saturating_sub(call.began_realtime_ns) / 1_000);
                self.send(&self.within(answer.index, "ACK", "a", 1));
                self.send(&self.within(answer.index, "BYE", "b", 2));
                self.repeats.push(Reverse((sys::monotonic_ns() + T1_NS, answer.index, T1_NS, true)));
            }
            (State::Leaving | State::Over, true, 200..300) => {
                self.outcome.repeated_200 += 1;
                self.send(&self.within(answer.index, "ACK", "a", 1));
            }
            (State::Inviting(_), true, status) => {
                self.acknowledge(answer);
                if status == 503 {
                    self.outcome.refused += 1;
                    self.outcome.retry_after += u64::from(answer.retry_after);
                    self.close(answer.index);
                } else {
                    self.fail(answer.index, format!("{status} to INVITE"));
                }
            }
            (_, true, 300..) => self.acknowledge(answer),
            (State::Leaving, false, 200..300) => {
                self.outcome.completed += 1;
                self.outcome.completed_in_time += u64::from(sys::monotonic_ns() <= self.end_ns);
                self.close(answer.index);
            }
            (State::Leaving, false, status @ 300..) => self.fail(answer.index, format!("{status} to BYE")),
            _ => {}
        }
    }

    /// ACK of a refusal: the INVITE's own branch and Request-URI, the answer's To (RFC 3261 17.1.1.3).
    fn acknowledge(&self, answer: &Answer) {
        let uri = format!("sip:95188@{}", self.offer.target);
        let head = self.head(answer.index, "ACK", &uri, "i", &answer.to, 1);
        self.send(&format!("{head}Content-Length: 0\r\n\r\n"));
    }

    fn close(&mut self, index: usize) {
        self.calls[index].state = State::Over;
        self.open -= 1;
    }

    fn fail(&mut self, index: usize, what: String) {
        *self.outcome.failures.entry(what).or_default() += 1;
        self.close(index);
    }

    fn repeat(&mut self, now: u64) {
        while let Some(Reverse((due, index, interval, bye))) = self.repeats.peek().copied() {
            if due > now {
                return;
            }
            self.repeats.pop();
            let call = &self.calls[index];
            if now.saturating_sub(call.began_ns) > GIVE_UP_NS {
                continue;
            }
            let (message, next) = match (call.state, bye) {
                (State::Inviting(false), false) => (self.invite(index), 2 * interval),
                (State::Leaving, true) => (self.within(index, "BYE", "b", 2), (2 * interval).min(T2_NS)),
                // Answered meanwhile.
                _ => continue,
            };
            self.send(&message);
            self.outcome.retransmissions += 1;
            self.repeats.push(Reverse((now + next, index, next, bye)));
        }
    }
}

fn status(bytes: &[u8]) -> Option<u16> {
    std::str::from_utf8(bytes.strip_prefix(b"SIP/2.0 ")?.get(..3)?).ok()?.parse().ok()
}

/// What matters of a response.
#[derive(Debug)]
struct Answer {
    index: usize,
    status: u16,
    /// To INVITE (else to BYE).
    invite: bool,
    to: String,
    contact: String,
    retry_after: bool,
}

impl Answer {
    fn read(bytes: &[u8], label: u64) -> Option<Self> {
        let status = status(bytes)?;
        let text = String::from_utf8_lossy(bytes);
        let mut answer = Self {
            index: usize::MAX,
            status,
            invite: false,
            to: String::new(),
            contact: String::new(),
            retry_after: false,
        };
        for line in text.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "call-id" | "i" => {
                    let own = value.strip_prefix(&format!("{label}-"))?;
                    answer.index = own.strip_suffix("@bench")?.parse().ok()?;
                }
                "cseq" => answer.invite = value.ends_with("INVITE"),
                "to" | "t" => value.clone_into(&mut answer.to),
                "contact" | "m" => {
                    let uri =
                        value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri);
                    uri.clone_into(&mut answer.contact);
                }
                "retry-after" => answer.retry_after = true,
                _ => {}
            }
        }
        (answer.index != usize::MAX).then_some(answer)
    }
}
