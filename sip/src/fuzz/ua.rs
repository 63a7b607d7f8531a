//! Fuzzers of the machines in virtual time: a lossy wire between two endpoints, and one endpoint before a peer that
//! says anything.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program; it needs one instant to begin with"
)]

use super::SplitMix;
use crate::ua::pair::{Pair, Side, Weather};
use crate::ua::{CallEvent, CallKey, Config, Endpoint, Flow, Outgoing, Output, Party, Transport};
use crate::wire::{Message, parse_datagram};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

const SDP: &[u8] = b"v=0\r\no=fuzz\r\n";

/// What an owner of an endpoint must be able to rely on: one last event for each call, nothing after it.
#[derive(Default)]
struct Ledger {
    alive: BTreeSet<CallKey>,
    over: BTreeSet<CallKey>,
}

impl Ledger {
    fn note(&mut self, seed: u64, key: CallKey, event: &CallEvent) {
        assert!(!self.over.contains(&key), "seed {seed}: {event:?} after the last event of {key:?}");
        if matches!(event, CallEvent::Incoming(_)) {
            assert!(self.alive.insert(key), "seed {seed}: {key:?} came twice");
        }
        assert!(self.alive.contains(&key), "seed {seed}: {event:?} of a call that never began");
        if event.is_last() {
            self.alive.remove(&key);
            self.over.insert(key);
        }
    }
}

/// One command to a call, any one, at any time.
fn command(dice: &mut SplitMix, now: Instant, endpoint: &mut Endpoint, key: CallKey) {
    match dice.below(20) {
        0..=2 => endpoint.ring(now, key, dice.pick(&[180, 183, 100, 200]), None),
        3..=7 => endpoint.answer(now, key, SDP.to_vec()),
        8 => endpoint.reject(now, key, dice.pick(&[486, 603, 200, 999]), "", &[]),
        9 | 10 => endpoint.hangup(now, key, None),
        11..=13 => endpoint.reoffer(now, key, SDP.to_vec()),
        14..=16 => endpoint.answer_reoffer(now, key, Ok(SDP.to_vec())),
        17 => endpoint.answer_reoffer(now, key, Err(488)),
        _ => endpoint.send_info(now, key, "application/dtmf", b"5".to_vec()),
    }
}

/// Each INVITE (by its transaction) gets at most one final status; returns how many got one.
fn one_final_each(seed: u64, trace: &[(Instant, Side, Vec<u8>)]) -> usize {
    let mut finals: HashMap<(bool, Vec<u8>), u16> = HashMap::new();
    for (_, side, bytes) in trace {
        let message = parse_datagram(bytes).unwrap_or_else(|error| panic!("seed {seed}: we wrote {error}"));
        let Some(status) = message.status().filter(|status| *status >= 200) else { continue };
        let cseq = message.header(crate::wire::HeaderName::CSeq).unwrap_or_default();
        if !cseq.ends_with(b"INVITE") {
            continue;
        }
        let branch = message.top_via().and_then(Result::ok).and_then(|via| via.branch().map(<[u8]>::to_vec));
        let before = finals.insert((*side == Side::Left, branch.unwrap_or_default()), status);
        assert!(
            before.is_none_or(|before| before == status),
            "seed {seed}: {before:?} and then {status} to one INVITE"
        );
    }
    finals.len()
}

/// Two endpoints on a wire that loses, repeats and reorders; their owners do anything at any time. In the end both
/// agree that every call is over, every call had one last event, and nothing is left.
pub fn pair(seed: u64, iterations: u64) {
    let start = Instant::now();
    for iteration in 0..iterations {
        let seed = seed.wrapping_add(iteration);
        let mut dice = SplitMix(seed);
        let transport = if dice.below(4) == 0 { Transport::Tcp } else { Transport::Udp };
        let mut pair = Pair::new(start, seed, transport);
        pair.weather = Weather {
            loss: dice.pick(&[0, 20, 150, 400]),
            duplicates: dice.pick(&[0, 50, 300]),
            jitter: Duration::from_millis(dice.pick(&[0, 10, 700, 3_000])),
        };
        let mut ledgers = [Ledger::default(), Ledger::default()];
        for _ in 0..dice.below(60) {
            if dice.below(6) == 0 {
                let side = dice.pick(&[Side::Left, Side::Right]);
                let key = pair.place(side);
                ledgers[usize::from(side == Side::Right)].alive.insert(key);
            }
            note_events(seed, &mut pair, &mut ledgers, &mut dice);
            let side = dice.pick(&[Side::Left, Side::Right]);
            let alive: Vec<_> = ledgers[usize::from(side == Side::Right)].alive.iter().copied().collect();
            if !alive.is_empty() {
                let (now, key) = (pair.now, dice.pick(&alive));
                command(&mut dice, now, pair.end(side), key);
            }
            pair.run_for(Duration::from_millis(dice.pick(&[0, 1, 20, 600, 5_000, 40_000])));
        }
        close(seed, &mut pair, &mut ledgers, &mut dice);
        one_final_each(seed, &pair.trace);
    }
}

fn note_events(seed: u64, pair: &mut Pair, ledgers: &mut [Ledger; 2], dice: &mut SplitMix) {
    pair.collect();
    for (side, key, event) in std::mem::take(&mut pair.events) {
        ledgers[usize::from(side == Side::Right)].note(seed, key, &event);
        // An owner mostly answers what it is asked.
        if matches!(event, CallEvent::Reoffer { .. }) && dice.below(4) != 0 {
            let now = pair.now;
            pair.end(side).answer_reoffer(now, key, Ok(SDP.to_vec()));
        }
    }
    pair.collect();
}

/// Everybody hangs up on a wire that works again.
fn close(seed: u64, pair: &mut Pair, ledgers: &mut [Ledger; 2], dice: &mut SplitMix) {
    note_events(seed, pair, ledgers, dice);
    pair.weather = Weather::default();
    for (at, side) in [Side::Left, Side::Right].into_iter().enumerate() {
        for key in ledgers[at].alive.clone() {
            let now = pair.now;
            pair.end(side).hangup(now, key, None);
        }
    }
    for _ in 0..200 {
        pair.run_for(Duration::from_secs(2));
        note_events(seed, pair, ledgers, dice);
        // An INVITE that was still on its way.
        for (at, side) in [Side::Left, Side::Right].into_iter().enumerate() {
            for key in ledgers[at].alive.clone() {
                let now = pair.now;
                pair.end(side).hangup(now, key, None);
            }
        }
        note_events(seed, pair, ledgers, dice);
    }
    for (name, end, ledger) in [("left", &pair.left, &ledgers[0]), ("right", &pair.right, &ledgers[1])] {
        assert!(ledger.alive.is_empty(), "seed {seed}: {name} has calls without a last event: {:?}", ledger.alive);
        let left = (end.calls(), end.transactions(), end.deadline());
        assert_eq!(left, (0, 0, None), "seed {seed}: {name} is not at rest");
        assert!(end.memory_bytes() < 150_000, "seed {seed}: {name} keeps {} bytes", end.memory_bytes());
    }
}

/// A peer that heard what the endpoint said and says anything about it: right and wrong responses, requests in and out
/// of dialogs, out of order, again and again.
pub fn chaos(seed: u64, iterations: u64) {
    let start = Instant::now();
    for iteration in 0..iterations {
        let seed = seed.wrapping_add(iteration);
        let mut stage = Chaos::new(seed, start);
        for _ in 0..stage.dice.below(120) {
            stage.turn();
        }
        stage.finish();
    }
}

struct Chaos {
    seed: u64,
    dice: SplitMix,
    now: Instant,
    endpoint: Endpoint,
    flow: Flow,
    ledger: Ledger,
    heard: Vec<Message>,
    said: Vec<String>,
    /// INVITE transactions of the peer's that rang: branch to final status.
    finals: BTreeMap<Vec<u8>, (u16, Instant)>,
}

impl Chaos {
    fn new(seed: u64, now: Instant) -> Self {
        let mut dice = SplitMix(seed);
        let transport = dice.pick(&[Transport::Udp, Transport::Udp, Transport::Tcp]);
        let (local, remote) = (([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 9], 5060).into());
        let connection = u64::from(transport == Transport::Tcp);
        Self {
            seed,
            dice,
            now,
            endpoint: Endpoint::new(Config::default(), seed),
            flow: Flow { transport, local, remote, connection },
            ledger: Ledger::default(),
            heard: Vec::new(),
            said: Vec::new(),
            finals: BTreeMap::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Call { key, event } => self.ledger.note(self.seed, key, &event),
                Output::Send { bytes, .. } => {
                    let message = parse_datagram(&bytes);
                    let seed = self.seed;
                    let message = message.unwrap_or_else(|error| panic!("seed {seed}: we wrote {error}"));
                    self.note_final(&message);
                    self.heard.push(message);
                    if self.heard.len() > 32 {
                        self.heard.remove(0);
                    }
                }
            }
        }
    }

    fn note_final(&mut self, message: &Message) {
        let Some(status) = message.status().filter(|status| *status >= 200) else { return };
        // What is refused without being admitted may be another INVITE each time: this peer uses a branch again.
        let admitted = matches!(status, 200 | 480 | 486 | 487 | 488 | 603);
        if admitted && message.cseq().is_ok_and(|cseq| cseq.method == crate::types::Method::Invite) {
            let branch = message.top_via().unwrap().unwrap().branch().unwrap_or_default().to_vec();
            let cseq = message.header(crate::wire::HeaderName::CSeq).unwrap_or_default();
            let key = [&branch, message.call_id().unwrap_or_default(), cseq].concat();
            // After T4 the transaction is forgotten (on TCP at once), and the same branch may begin anew.
            let (before, at) = *self.finals.entry(key).or_insert((status, self.now));
            let same = self.flow.transport == Transport::Udp && self.now - at < Duration::from_secs(4);
            assert!(!same || before == status, "seed {}: {before} and then {status} to one INVITE", self.seed);
        }
    }

    fn turn(&mut self) {
        match self.dice.below(10) {
            0 => {
                let outgoing = self.outgoing();
                let key = self.endpoint.place(self.now, outgoing).unwrap();
                self.ledger.alive.insert(key);
            }
            1..=3 => {
                let alive: Vec<_> = self.ledger.alive.iter().copied().collect();
                if !alive.is_empty() {
                    let key = self.dice.pick(&alive);
                    command(&mut self.dice, self.now, &mut self.endpoint, key);
                }
            }
            4 => {
                let time = self.dice.pick(&[1, 400, 3_000, 33_000, 200_000]);
                self.pass(Duration::from_millis(time));
            }
            5 if !self.said.is_empty() => {
                let at = self.dice.below(self.said.len());
                let text = self.said[at].clone();
                self.say(text);
            }
            6 if self.dice.below(10) == 0 => self.endpoint.connection_closed(self.now, self.flow.connection),
            6 if self.dice.below(10) == 0 => self.endpoint.send_failed(self.now, self.flow),
            6..=8 if !self.heard.is_empty() => {
                let at = self.dice.below(self.heard.len());
                let text = if self.heard[at].is_request() { self.response(at) } else { self.in_dialog(at) };
                self.say(text);
            }
            _ => {
                let text = self.new_request();
                self.say(text);
            }
        }
        self.drain();
    }

    fn say(&mut self, text: String) {
        self.endpoint.receive(self.now, self.flow, parse_datagram(text.as_bytes()));
        if self.said.len() < 64 {
            self.said.push(text);
        }
    }

    fn outgoing(&mut self) -> Outgoing {
        let party = |uri: &str| Party { uri: uri.to_owned(), display: None };
        let credentials = crate::auth::Credentials { username: "a".to_owned(), password: "b".to_owned() };
        Outgoing {
            flow: self.flow,
            target: "sip:x@10.0.0.9".to_owned(),
            from: party("sip:ark@10.0.0.1"),
            to: party("sip:x@10.0.0.9"),
            sdp: Some(SDP.to_vec()),
            credentials: (self.dice.below(2) == 0).then_some(credentials),
            headers: Vec::new(),
            max_forwards: self.dice.below(256) as u8,
        }
    }

    fn new_request(&mut self) -> String {
        let method =
            self.dice.pick(&["INVITE", "INVITE", "INVITE", "OPTIONS", "BYE", "CANCEL", "ACK", "REGISTER", "X"]);
        let branch = self.dice.pick(&["z9hG4bKa", "z9hG4bKb", "z9hG4bKc", "z9hG4bK", "old"]);
        let (call, seq) = (self.dice.below(3), self.dice.below(3));
        let to = self.dice.pick(&["", "", "", ";tag=nobody"]);
        self.request(
            method,
            branch,
            &format!("c{call}"),
            ("<sip:p@10.0.0.9>;tag=p", &format!("<sip:a@10.0.0.1>{to}")),
            seq,
        )
    }

    fn request(&mut self, method: &str, branch: &str, call: &str, (from, to): (&str, &str), seq: usize) -> String {
        let body = if self.dice.below(2) == 0 { "v=0\r\n" } else { "" };
        let extra = self.dice.pick(&[
            "",
            "",
            "",
            "Require: x\r\n",
            "Contact: <sip:p@10.0.0.9>\r\n",
            "Record-Route: <sip:10.0.0.7>\r\n",
        ]);
        let kind = self.dice.pick(&["application/sdp", "application/sdp", "application/dtmf"]);
        format!(
            "{method} sip:a@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch={branch}\r\nFrom: {from}\r\n\
             To: {to}\r\n\
             Call-ID: {call}\r\nCSeq: {seq} {method}\r\n{extra}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// A request in the dialog that this response of the endpoint's belongs to.
    fn in_dialog(&mut self, at: usize) -> String {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let heard = &self.heard[at];
        let (from, to) = (text(heard.from().unwrap().raw), text(heard.to().unwrap().raw));
        let (call, seq) = (text(heard.call_id().unwrap()), heard.cseq().unwrap().number as usize);
        let branch = text(heard.top_via().unwrap().unwrap().branch().unwrap_or(b"z9hG4bKd"));
        match self.dice.below(8) {
            0 | 1 => self.request("ACK", "z9hG4bKack", &call, (&from, &to), seq),
            2 => self.request("ACK", &branch, &call, (&from, &to), seq),
            3 => self.request("CANCEL", &branch, &call, (&from, &to), seq),
            _ => {
                let method = self.dice.pick(&["INVITE", "INFO", "UPDATE", "BYE", "OPTIONS", "INVITE"]);
                let (fresh, seq) = (self.dice.next_u64(), seq + self.dice.below(4));
                self.request(method, &format!("z9hG4bK{fresh}"), &call, (&from, &to), seq)
            }
        }
    }

    /// Any response to a request of the endpoint's, or a request of the peer's in its dialog.
    fn response(&mut self, at: usize) -> String {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let heard = &self.heard[at];
        let (via, from) = (text(heard.top_via().unwrap().unwrap().raw), text(heard.from().unwrap().raw));
        let (to, call) = (text(heard.to().unwrap().raw), text(heard.call_id().unwrap()));
        let cseq = text(heard.header(crate::wire::HeaderName::CSeq).unwrap());
        if self.dice.below(8) == 0 {
            let method = self.dice.pick(&["BYE", "INVITE", "INFO", "UPDATE"]);
            let (fresh, seq) = (self.dice.next_u64(), 1 + self.dice.below(5));
            return self.request(method, &format!("z9hG4bK{fresh}"), &call, (&to, &from), seq);
        }
        let status = self.dice.pick(&[100, 180, 183, 200, 200, 200, 302, 401, 407, 408, 481, 486, 487, 491, 503]);
        let tag = if to.contains("tag=") { "" } else { self.dice.pick(&[";tag=f1", ";tag=f1", ";tag=f2", ""]) };
        let nonce = self.dice.below(3);
        let challenge = match status {
            401 | 407 => format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", stale=true\r\n"),
            _ => String::new(),
        };
        format!(
            "SIP/2.0 {status} X\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call}\r\nCSeq: {cseq}\r\n\
             Contact: <sip:x@10.0.0.9>\r\n{challenge}Content-Length: 0\r\n\r\n"
        )
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.tick(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn finish(mut self) {
        let seed = self.seed;
        self.drain();
        for key in self.ledger.alive.clone() {
            self.endpoint.hangup(self.now, key, None);
        }
        self.drain();
        assert!(self.ledger.alive.is_empty(), "seed {seed}: hanging up is the last event");
        self.pass(Duration::from_secs(400));
        let left = (self.endpoint.calls(), self.endpoint.transactions(), self.endpoint.deadline());
        assert_eq!(left, (0, 0, None), "seed {seed}: not at rest");
    }
}
