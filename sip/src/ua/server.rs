//! Calls that come in: RFC 3261 13.3, with the races of CANCEL, ACK and BYE.

use super::call::{Call, Phase, Ringing, Unacked};
use super::compose::{self, ALLOW, SDP, SUPPORTED};
use super::inbound::Refusal;
use super::transactions::{Opening, Purpose};
use super::{CallEvent, EndCause, Endpoint, Flow, Incoming, MAX_FORWARDS, Owner};
use crate::dialog::Dialog;
use crate::tx::matching::Fingerprint;
use crate::tx::{Input, State};
use crate::types::decode;
use crate::wire::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 3261 13.3.1.1: what rings longer says so every minute, or proxies take it for dead.
const RING_AGAIN: Duration = Duration::from_secs(60);

impl Endpoint {
    /// An INVITE outside any dialog that passed every check.
    pub(crate) fn incoming_call(
        &mut self,
        now: Instant,
        flow: Flow,
        (index, merged): (Fingerprint, Fingerprint),
        message: Message,
    ) {
        let tag = self.random.tag();
        let dialog = match Dialog::server(&message, &tag) {
            Ok(dialog) => dialog,
            Err(why) => {
                self.stats.bad_request_400 += 1;
                return self.refuse(&message, flow, &Refusal::new(400, why.0));
            }
        };
        let request = Arc::new(message);
        let call = self.next_id();
        let opening = Opening {
            purpose: Purpose::Invite,
            call: Some(call),
            flow,
            index,
            merged: Some(merged),
            local_tag: Some(tag.as_str().into()),
        };
        let tx = self.open_server(&request, opening);
        let trying = self.compose(&request, flow, (100, ""), None, &[], None);
        self.respond(now, tx, 100, trying);

        let sdp = request.sdp().map(<[u8]>::to_vec);
        let dialog_index = self.dialog_index(&dialog.call_id, tag.as_bytes());
        let mut made = Call::new(Phase::Incoming, flow, dialog_index, &tag);
        made.natted = compose::is_natted(&request, flow);
        made.invite = Some(tx);
        made.offerless = sdp.is_none();
        made.dialog = Some(dialog);
        self.dialogs.insert(dialog_index, call);
        self.calls.insert(call, Box::new(made));
        self.stats.calls_admitted += 1;
        let incoming = incoming(flow, &request, sdp);
        self.push_event(call, CallEvent::Incoming(Box::new(incoming)));
    }

    /// The INVITE that a call still has to answer, with the flow it came on.
    fn pending(&self, id: u64) -> Option<(u64, Arc<Message>, Flow, Box<str>)> {
        let call = self.calls.get(&id).filter(|call| call.phase == Phase::Incoming)?;
        let tx = call.invite?;
        let request = Arc::clone(self.txs.get(&tx)?.request.as_ref()?);
        Some((tx, request, call.flow, call.local_tag.clone()))
    }

    pub(crate) fn send_provisional(&mut self, now: Instant, id: u64, status: u16, sdp: Option<Vec<u8>>) {
        let Some((tx, request, flow, tag)) = self.pending(id).filter(|_| (101..200).contains(&status)) else { return };
        let contact = self.contact(flow);
        let lines = [("Contact", contact.as_str()), ("Allow", ALLOW)];
        let bytes = self.compose(&request, flow, (status, ""), Some(&tag), &lines, sdp.map(|sdp| (SDP, sdp)));
        if let Some(call) = self.calls.get_mut(&id) {
            call.ringing = Some(Box::new(Ringing { bytes: bytes.clone(), status, again_at: now + RING_AGAIN }));
        }
        self.respond(now, tx, status, bytes);
        self.schedule(Owner::Call(id));
    }

    pub(crate) fn accept_call(&mut self, now: Instant, id: u64, sdp: Vec<u8>) {
        let Some((tx, request, flow, tag)) = self.pending(id) else { return };
        let contact = self.contact(flow);
        let lines = [("Contact", contact.as_str()), ("Allow", ALLOW), ("Supported", SUPPORTED)];
        let bytes = self.compose(&request, flow, (200, ""), Some(&tag), &lines, Some((SDP, sdp)));
        let seq = request.cseq().map_or(0, |cseq| cseq.number);
        let send_flow = self.txs.get(&tx).map_or(flow, |tx| tx.flow);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.phase = Phase::Up;
        call.invite = None;
        call.ringing = None;
        let offered = call.offerless;
        self.stats.calls_answered += 1;
        self.accept(now, (id, tx), (send_flow, seq), (true, offered), bytes);
    }

    /// Sends a 2xx to an INVITE and repeats it until its ACK comes (RFC 3261 13.3.1.4).
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        (id, tx): (u64, u64),
        (flow, seq): (Flow, u32),
        (initial, offered): (bool, bool),
        bytes: Vec<u8>,
    ) {
        let timers = self.config.timers;
        if let Some(call) = self.calls.get_mut(&id) {
            call.unacked = Some(Box::new(Unacked {
                bytes: bytes.clone(),
                flow,
                seq,
                interval: timers.t1,
                resend_at: now + timers.t1,
                give_up_at: now + timers.patience(),
                initial,
                offered,
            }));
        }
        self.respond(now, tx, 200, bytes);
        self.schedule(Owner::Call(id));
    }

    pub(crate) fn refuse_call(&mut self, now: Instant, id: u64, status: u16, reason: &str, headers: &[(&str, String)]) {
        let Some((tx, request, flow, tag)) = self.pending(id) else { return };
        let status = if (300..700).contains(&status) { status } else { 500 };
        let lines: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let bytes = self.compose(&request, flow, (status, reason), Some(&tag), &lines, None);
        self.respond(now, tx, status, bytes);
        self.finish(id, CallEvent::Ended { cause: EndCause::Rejected });
    }

    /// A CANCEL met this INVITE transaction (RFC 3261 9.2).
    pub(crate) fn cancelled(&mut self, now: Instant, tx: u64) {
        let Some(pending) = self.txs.get(&tx).filter(|tx| tx.machine.state() == State::Proceeding) else { return };
        let call = pending.call;
        self.terminate_request(now, tx);
        let Some((id, call)) = call.and_then(|id| Some((id, self.calls.get_mut(&id)?))) else { return };
        if call.invite == Some(tx) {
            self.finish(id, CallEvent::Cancelled);
        } else if call.peer_offer.as_ref().is_some_and(|offer| offer.tx == tx) {
            call.peer_offer = None;
        }
    }

    /// Answers what an INVITE still waits for with 487.
    pub(crate) fn terminate_request(&mut self, now: Instant, tx: u64) {
        let Some(pending) = self.txs.get(&tx) else { return };
        let (Some(request), tag, flow) = (pending.request.clone(), pending.local_tag.clone(), pending.flow) else {
            return;
        };
        let source = pending.call.and_then(|call| self.calls.get(&call)).map_or(flow, |call| call.flow);
        let bytes = self.compose(&request, source, (487, ""), tag.as_deref(), &[], None);
        self.respond(now, tx, 487, bytes);
    }

    /// An ACK: for a failure it belongs to the transaction, for a 2xx to the call (RFC 3261 13.2.2.4).
    pub(crate) fn ack(&mut self, now: Instant, index: Fingerprint, message: &Message) {
        if let Some(id) = self.servers.get(&index).copied() {
            return self.walk(now, id, Input::Ack, None, Some(message));
        }
        let call = self.call_of(message);
        self.acknowledged(now, call, message);
    }

    /// The ACK for a 2xx.
    pub(crate) fn acknowledged(&mut self, now: Instant, call: Option<u64>, message: &Message) {
        let seq = message.cseq().map_or(0, |cseq| cseq.number);
        let from_tag = message.from_tag().unwrap_or_default();
        let matches = |call: &Call| {
            call.unacked.as_ref().is_some_and(|unacked| unacked.seq == seq)
                && call.dialog.as_ref().is_some_and(|dialog| dialog.remote_tag == from_tag)
        };
        let Some(id) = call.filter(|id| self.calls.get(id).is_some_and(|call| matches(call))) else {
            self.stats.absorbed_stray_acks += 1;
            return;
        };
        self.confirm(now, id, message.sdp());
    }

    /// The peer has our 2xx, as its ACK says (or a later request of its).
    pub(crate) fn confirm(&mut self, now: Instant, id: u64, sdp: Option<&[u8]>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(unacked) = call.unacked.take() else { return };
        if call.phase == Phase::Leaving {
            return self.send_bye(now, id);
        }
        if unacked.initial || unacked.offered {
            let sdp = sdp.filter(|_| unacked.offered).map(<[u8]>::to_vec);
            self.push_event(id, CallEvent::Confirmed { sdp });
        }
        self.offer_now(now, id);
    }

    /// Something in a call is due.
    pub(crate) fn fire_call(&mut self, now: Instant, at: Instant, id: u64) {
        match self.calls.get_mut(&id) {
            Some(call) if call.scheduled == Some(at) => call.scheduled = None,
            _ => return,
        }
        self.repeat_ringing(now, id);
        self.repeat_accepted(now, id);
        self.fire_placing(now, id);
        self.offer_now(now, id);
        self.schedule(Owner::Call(id));
    }

    fn repeat_ringing(&mut self, now: Instant, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(ringing) = call.ringing.as_mut().filter(|ringing| ringing.again_at <= now) else { return };
        ringing.again_at = now + RING_AGAIN;
        let (status, bytes, tx) = (ringing.status, ringing.bytes.clone(), call.invite);
        if let Some(tx) = tx {
            self.respond(now, tx, status, bytes);
        }
    }

    fn repeat_accepted(&mut self, now: Instant, id: u64) {
        let t2 = self.config.timers.t2;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(unacked) = call.unacked.as_mut() else { return };
        if unacked.give_up_at <= now {
            call.unacked = None;
            self.stats.no_ack += 1;
            return self.leave(now, id, EndCause::NoAck);
        }
        if unacked.resend_at <= now {
            unacked.interval = (unacked.interval * 2).min(t2);
            unacked.resend_at = now + unacked.interval;
            let (flow, bytes) = (unacked.flow, unacked.bytes.clone());
            self.stats.retransmissions_sent += 1;
            self.push_send(flow, bytes);
        }
    }

    /// Gives out the last event, if the owner has not had it, and forgets the call.
    pub(crate) fn finish(&mut self, id: u64, event: CallEvent) {
        let Some(call) = self.calls.remove(&id) else { return };
        if self.dialogs.get(&call.index) == Some(&id) {
            self.dialogs.remove(&call.index);
        }
        if !call.told {
            self.push_event(id, event);
        }
    }

    /// Gives out the last event, if the owner has not had it, and sends BYE (or lets it wait for the ACK).
    pub(crate) fn leave(&mut self, now: Instant, id: u64, cause: EndCause) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.phase = Phase::Leaving;
        call.own_offer = None;
        if !std::mem::replace(&mut call.told, true) {
            self.push_event(id, CallEvent::Ended { cause });
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        let peer_offer = call.peer_offer.take();
        // RFC 3261 15: no BYE before the ACK for the 2xx of the INVITE that made the call.
        let waits = call.unacked.as_ref().is_some_and(|unacked| unacked.initial);
        if !waits {
            call.unacked = None;
        }
        if let Some(offer) = peer_offer {
            self.terminate_request(now, offer.tx);
        }
        if !waits {
            self.send_bye(now, id);
        }
    }
}

fn incoming(flow: Flow, request: &Arc<Message>, sdp: Option<Vec<u8>>) -> Incoming {
    let text = |bytes: &[u8]| decode(bytes).into_owned();
    let from = request.from().ok();
    Incoming {
        flow,
        request_uri: request.request_uri().map(|uri| text(uri.raw)).unwrap_or_default(),
        from: from.map(|from| text(from.uri_raw)).unwrap_or_default(),
        from_display: from.and_then(|from| from.display()).map(std::borrow::Cow::into_owned),
        to: request.to().map(|to| text(to.uri_raw)).unwrap_or_default(),
        call_id: request.call_id().map(text).unwrap_or_default(),
        sdp,
        max_forwards: request.max_forwards().ok().flatten().unwrap_or(MAX_FORWARDS),
        request: Arc::clone(request),
    }
}
