//! Keeps the transactions: opens them, walks their tables, does what the tables say, forgets them.

use super::{Endpoint, Flow, Owner, Transport, compose};
use crate::tx::matching::{Domain, Fingerprint};
use crate::tx::{Action, Input, Machine, State, Transaction};
use crate::wire::{Message, parse_datagram};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    Reinvite,
    Update,
    Bye,
    Cancel,
    Info,
    Options,
}

/// One transaction with what it needs to answer or to ask again.
pub(crate) struct Tx {
    pub(crate) machine: Transaction,
    pub(crate) purpose: Purpose,
    pub(crate) call: Option<u64>,
    /// Where its messages go.
    pub(crate) flow: Flow,
    /// The request as it came, until its final response (servers).
    pub(crate) request: Option<Arc<Message>>,
    /// Our tag in its responses (INVITE servers).
    pub(crate) local_tag: Option<Box<str>>,
    /// ACKs sent for its 2xx, by the peer's tag (INVITE clients).
    pub(crate) acks: Vec<(Box<[u8]>, Flow, Vec<u8>)>,
    /// The entry of the timer queue that counts.
    pub(crate) scheduled: Option<Instant>,
    index: Fingerprint,
    merged: Option<Fingerprint>,
    /// Where responses go when the connection is gone (servers on TCP).
    fallback: SocketAddr,
    /// The last message sent.
    message: Vec<u8>,
}

impl Tx {
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.message.capacity()
            + self.local_tag.as_ref().map_or(0, |tag| tag.len())
            + self.request.as_ref().map_or(0, |request| request.raw().len() * 2)
            + self.acks.iter().map(|(tag, _, ack)| tag.len() + ack.capacity() + 64).sum::<usize>()
    }

    /// The request that a client transaction sent, read back.
    pub(crate) fn sent_request(&self) -> Option<Message> {
        parse_datagram(&self.message).ok()
    }

    /// Once its ACK is kept an INVITE is not needed any more.
    pub(crate) fn drop_message(&mut self) {
        self.message = Vec::new();
    }

    fn is_server(&self) -> bool {
        matches!(self.machine.machine(), Machine::Server | Machine::InviteServer)
    }
}

/// A server transaction to open.
pub(crate) struct Opening {
    pub(crate) purpose: Purpose,
    pub(crate) call: Option<u64>,
    /// The flow the request came on.
    pub(crate) flow: Flow,
    pub(crate) index: Fingerprint,
    pub(crate) merged: Option<Fingerprint>,
    pub(crate) local_tag: Option<Box<str>>,
}

impl Endpoint {
    /// Opens a server transaction for a request that just came.
    pub(crate) fn open_server(&mut self, request: &Arc<Message>, opening: Opening) -> u64 {
        let Opening { purpose, call, flow, index, merged, local_tag } = opening;
        let invite = matches!(purpose, Purpose::Invite | Purpose::Reinvite);
        let machine = if invite { Machine::InviteServer } else { Machine::Server };
        let id = self.next_id();
        let tx = Tx {
            machine: Transaction::server(machine, flow.transport.reliable()),
            purpose,
            call,
            flow: compose::reply_flow(request, flow),
            request: Some(Arc::clone(request)),
            local_tag,
            acks: Vec::new(),
            scheduled: None,
            index,
            merged,
            fallback: compose::reply_fallback(request, flow),
            message: Vec::new(),
        };
        self.txs.insert(id, Box::new(tx));
        self.servers.insert(index, id);
        if let Some(merged) = merged {
            self.merged.insert(merged, id);
        }
        self.sources.entry(flow.remote.ip()).or_default().open += 1;
        id
    }

    /// Opens a client transaction and sends its request. `branch` is the one in `bytes`.
    pub(crate) fn open_client(
        &mut self,
        now: Instant,
        (purpose, call): (Purpose, Option<u64>),
        flow: Flow,
        (branch, method): (&str, &str),
        bytes: Vec<u8>,
    ) -> u64 {
        let machine = if method == "INVITE" { Machine::InviteClient } else { Machine::Client };
        let index = self.client_index(branch.as_bytes(), method.as_bytes());
        let id = self.next_id();
        let tx = Tx {
            machine: Transaction::client(machine, flow.transport.reliable(), now, &self.config.timers),
            purpose,
            call,
            flow,
            request: None,
            local_tag: None,
            acks: Vec::new(),
            scheduled: None,
            index,
            merged: None,
            fallback: flow.remote,
            message: bytes.clone(),
        };
        self.txs.insert(id, Box::new(tx));
        self.clients.insert(index, id);
        self.push_send(flow, bytes);
        self.schedule(Owner::Tx(id));
        id
    }

    /// RFC 3261 17.1.3.
    pub(crate) fn client_index(&self, branch: &[u8], method: &[u8]) -> Fingerprint {
        self.fingerprinter.of(Domain::Client, &[branch, method])
    }

    /// Sends a response in a server transaction: its status decides the input.
    pub(crate) fn respond(&mut self, now: Instant, id: u64, status: u16, bytes: Vec<u8>) {
        let input = match status {
            100..200 => Input::Provisional,
            200..300 => Input::Success,
            _ => Input::Failure,
        };
        self.walk(now, id, input, Some(bytes), None);
        let Some(tx) = self.txs.get_mut(&id) else { return };
        if status >= 200 {
            tx.request = None; // what lingers is the response alone
            tx.message.shrink_to_fit();
            // A failure to INVITE still waits for its ACK.
            if tx.is_server() && (status < 300 || tx.machine.machine() == Machine::Server) {
                let source = tx.fallback.ip();
                self.lingers(now, id, source);
            }
        }
    }

    /// One input to one transaction: walks its table and does what it says. `bytes` is what to send, `message` what
    /// came.
    pub(crate) fn walk(
        &mut self,
        now: Instant,
        id: u64,
        input: Input,
        mut bytes: Option<Vec<u8>>,
        message: Option<&Message>,
    ) {
        let Some(tx) = self.txs.get_mut(&id) else { return };
        let timers = self.config.timers;
        let actions = tx.machine.handle(now, &timers, input);
        for action in actions {
            self.act(now, id, *action, &mut bytes, message);
        }
        if input == Input::Request {
            self.stats.retransmissions_absorbed += 1;
        }
        match self.txs.get_mut(&id) {
            Some(tx) if tx.machine.state() == State::Terminated => self.forget_transaction(id),
            Some(tx) => {
                let done = match tx.machine.state() {
                    State::Confirmed => true,
                    State::Completed => tx.machine.machine() == Machine::Client,
                    _ => false,
                };
                if done {
                    tx.drop_message();
                }
                self.schedule(Owner::Tx(id));
            }
            None => {}
        }
    }

    fn act(&mut self, now: Instant, id: u64, action: Action, bytes: &mut Option<Vec<u8>>, message: Option<&Message>) {
        let Some(tx) = self.txs.get_mut(&id) else { return };
        match action {
            Action::Send => {
                let Some(bytes) = bytes.take() else { return };
                let flow = tx.flow;
                // RFC 6026: in Accepted the transaction repeats nothing; the call keeps its 2xx.
                let keep = !matches!(tx.machine.state(), State::Accepted | State::Terminated);
                tx.message = if keep { bytes.clone() } else { Vec::new() };
                self.push_send(flow, bytes);
            }
            Action::Resend if tx.message.is_empty() => {}
            Action::Resend => {
                let (flow, bytes) = (tx.flow, tx.message.clone());
                self.stats.retransmissions_sent += 1;
                self.push_send(flow, bytes);
            }
            Action::SendAck => {
                let ack = message.and_then(|response| compose::failure_ack(&tx.sent_request()?, response));
                let flow = tx.flow;
                if let Some(ack) = ack {
                    self.push_send(flow, ack);
                }
            }
            Action::PassUp => {
                let Some(message) = message else { return };
                if tx.is_server() {
                    {
                        let call = tx.call;
                        self.acknowledged(now, call, message);
                    }
                } else {
                    self.answered(now, id, message);
                }
            }
            Action::TimedOut if tx.is_server() => {} // the ACK for a failure never came: nothing depends on it
            Action::TimedOut => self.unanswered(now, id, 408),
            Action::TransportFailed if tx.is_server() => {}
            Action::TransportFailed => self.unanswered(now, id, 503),
            Action::Start(_) | Action::Stop(_) => {}
        }
    }

    pub(crate) fn forget_transaction(&mut self, id: u64) {
        let Some(tx) = self.txs.remove(&id) else { return };
        if tx.is_server() {
            if self.servers.get(&tx.index) == Some(&id) {
                self.servers.remove(&tx.index);
            }
            if let Some(merged) = tx.merged.filter(|merged| self.merged.get(merged) == Some(&id)) {
                self.merged.remove(&merged);
            }
            let source = tx.fallback.ip();
            if let Some(of_source) = self.sources.get_mut(&source) {
                of_source.open -= 1;
                if of_source.open == 0 {
                    self.sources.remove(&source);
                }
            }
        } else {
            self.clients.remove(&tx.index);
        }
    }

    pub(crate) fn fire_transaction(&mut self, now: Instant, at: Instant, id: u64) {
        match self.txs.get_mut(&id) {
            Some(tx) if tx.scheduled == Some(at) => tx.scheduled = None,
            _ => return,
        }
        while let Some(timer) = self.txs.get_mut(&id).and_then(|tx| tx.machine.due(now)) {
            self.walk(now, id, Input::Fired(timer), None, None);
        }
        self.schedule(Owner::Tx(id));
    }

    /// A response came from the network.
    pub(crate) fn response(&mut self, now: Instant, response: &Message) {
        let Some(status) = response.status() else { return };
        let mut vias = response.vias();
        let (Some(Ok(via)), None) = (vias.next(), vias.next()) else {
            self.stats.dropped_bad_via += 1; // RFC 3261 8.1.3.3: it is not for us alone
            return;
        };
        let found = match (via.branch(), response.cseq()) {
            (Some(branch), Ok(cseq)) => self.clients.get(&self.client_index(branch, cseq.method.as_bytes())).copied(),
            _ => None,
        };
        let readable = response.validate_request().is_ok(); // the same headers are needed once each
        let Some(id) = found.filter(|_| readable) else {
            self.stats.dropped_stray_responses += 1;
            return;
        };
        let input = match status {
            100..200 => Input::Provisional,
            200..300 => Input::Success,
            _ => Input::Failure,
        };
        self.walk(now, id, input, None, Some(response));
    }

    pub(crate) fn lose_connection(&mut self, now: Instant, connection: u64) {
        let mut failed = Vec::new();
        for (id, tx) in &mut self.txs {
            if tx.flow.connection != connection {
                continue;
            }
            tx.flow.connection = 0;
            if tx.is_server() {
                tx.flow.remote = tx.fallback;
            } else {
                failed.push(*id);
            }
        }
        for call in self.calls.values_mut() {
            call.lose_connection(connection);
        }
        failed.sort_unstable();
        for id in failed {
            self.walk(now, id, Input::TransportError, None, None);
        }
    }

    pub(crate) fn fail_flow(&mut self, now: Instant, flow: Flow) {
        let same = |tx: &Tx| {
            let same_connection = flow.transport == Transport::Udp || tx.flow.connection == flow.connection;
            !tx.is_server() && tx.flow.transport == flow.transport && tx.flow.remote == flow.remote && same_connection
        };
        let mut failed: Vec<_> = self.txs.iter().filter(|(_, tx)| same(tx)).map(|(id, _)| *id).collect();
        failed.sort_unstable();
        for id in failed {
            self.walk(now, id, Input::TransportError, None, None);
        }
    }
}
