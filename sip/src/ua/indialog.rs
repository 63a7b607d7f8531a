//! Requests inside a dialog, both ways: BYE, re-INVITE, UPDATE, INFO, OPTIONS (RFC 3261 12.2, 14, 15; RFC 3311; RFC
//! 6086).

use super::call::{OfferState, OwnOffer, PeerOffer, Phase};
use super::compose::{ACCEPT, ACCEPT_INFO, ALLOW, SDP, SUPPORTED};
use super::inbound::Refusal;
use super::transactions::{Opening, Purpose};
use super::{CallEvent, EndCause, Endpoint, Flow, Owner, limits};
use crate::tx::matching::Fingerprint;
use crate::types::Method;
use crate::wire::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Endpoint {
    /// A request whose To tag names a call.
    pub(crate) fn in_dialog(&mut self, now: Instant, flow: Flow, (id, index): (u64, Fingerprint), message: Message) {
        let Some(purpose) = purpose_of(&message) else { return };
        if !self.has_room_in_call(now, flow) {
            return self.refuse(&message, flow, &Refusal::new(503, "").with("Retry-After", "1"));
        }
        let refusal = self.enter_dialog(now, id, &message, purpose);
        // All of it is answered through a transaction, so that a retransmission gets the same answer although the
        // dialog has moved on.
        let local_tag = self.calls.get(&id).map(|call| call.local_tag.clone());
        let message = Arc::new(message);
        let opening = Opening { purpose, call: Some(id), flow, index, merged: None, local_tag };
        let tx = self.open_server(&message, opening);
        if let Some(refusal) = refusal {
            let lines: Vec<_> = refusal.lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let bytes = self.compose(&message, flow, (refusal.status, refusal.reason), None, &lines, None);
            return self.respond(now, tx, refusal.status, bytes);
        }
        match purpose {
            Purpose::Bye => self.said_goodbye(now, (id, tx), flow, &message),
            Purpose::Reinvite => self.reinvited(now, (id, tx), flow, &message),
            Purpose::Update => self.updated(now, (id, tx), flow, &message),
            Purpose::Info => self.informed(now, (id, tx), flow, &message),
            _ => {
                let contact = self.contact(flow);
                let lines =
                    [("Contact", contact.as_str()), ("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", SUPPORTED)];
                self.reply(now, tx, flow, &message, 200, &lines);
            }
        }
    }

    fn reply(&mut self, now: Instant, tx: u64, flow: Flow, message: &Message, status: u16, lines: &[(&str, &str)]) {
        let bytes = self.compose(message, flow, (status, ""), None, lines, None);
        self.respond(now, tx, status, bytes);
    }

    /// Whether the dialog takes this request: its tag, its order, its state.
    fn enter_dialog(&mut self, now: Instant, id: u64, message: &Message, purpose: Purpose) -> Option<Refusal> {
        let tag = message.from_tag().unwrap_or_default();
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let call = self.calls.get_mut(&id)?;
        let in_order = if let Some(dialog) = call.dialog.as_mut().filter(|dialog| dialog.remote_tag == tag) {
            let in_order = dialog.accept_seq(number);
            if in_order && matches!(purpose, Purpose::Reinvite | Purpose::Update) {
                dialog.refresh_target(message);
            }
            in_order
        } else if let Some(fork) = self.early_fork(id, tag).filter(|_| purpose != Purpose::Bye) {
            let in_order = fork.remote_seq.is_none_or(|last| number > last);
            if in_order {
                fork.remote_seq = Some(number);
            }
            in_order
        } else {
            self.stats.no_dialog_481 += 1;
            return Some(Refusal::new(481, ""));
        };
        if !in_order {
            self.stats.out_of_order_500 += 1;
            return Some(Refusal::new(500, "CSeq out of order"));
        }
        let call = self.calls.get(&id)?;
        if call.phase == Phase::Leaving && purpose != Purpose::Bye {
            self.stats.no_dialog_481 += 1;
            return Some(Refusal::new(481, ""));
        }
        match purpose {
            Purpose::Reinvite => self.refuse_offer(now, id, true),
            Purpose::Update => self.refuse_offer(now, id, message.sdp().is_some()),
            _ => None,
        }
    }

    /// RFC 3261 14.2 and RFC 3311 5.2: one offer at a time.
    fn refuse_offer(&mut self, now: Instant, id: u64, offers: bool) -> Option<Refusal> {
        let call = self.calls.get(&id)?;
        if !offers {
            return None;
        }
        let waits = call.peer_offer.is_some() || call.phase == Phase::Incoming;
        let own = matches!(call.own_offer.as_deref(), Some(OwnOffer { state: OfferState::Sent(_), .. }));
        let unanswered = call.unacked.as_ref().is_some_and(|unacked| unacked.offered);
        if waits {
            let seconds = self.random.next() % 10;
            return Some(Refusal::new(500, "Another offer is pending").with("Retry-After", seconds.to_string()));
        }
        if own || unanswered || call.phase == Phase::Calling {
            self.stats.glare_491 += 1;
            return Some(Refusal::new(491, ""));
        }
        // A peer that goes on has our 2xx: its ACK was lost or overtaken (RFC 5407 3.1.5).
        self.confirm(now, id, None);
        // ...which may have let an offer of ours go out just now.
        let offer = self.calls.get(&id)?.own_offer.as_deref()?;
        matches!(offer.state, OfferState::Sent(_)).then(|| Refusal::new(491, ""))
    }

    /// RFC 3261 15.1.2.
    fn said_goodbye(&mut self, now: Instant, (id, tx): (u64, u64), flow: Flow, message: &Message) {
        self.reply(now, tx, flow, message, 200, &[]);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let pending = [call.invite.take(), call.peer_offer.take().map(|offer| offer.tx)];
        for tx in pending.into_iter().flatten() {
            self.terminate_request(now, tx);
        }
        self.finish(id, CallEvent::Ended { cause: EndCause::RemoteBye });
    }

    fn reinvited(&mut self, now: Instant, (id, tx): (u64, u64), flow: Flow, message: &Message) {
        let trying = self.compose(message, flow, (100, ""), None, &[], None);
        self.respond(now, tx, 100, trying);
        self.take_offer(id, tx, message);
    }

    fn updated(&mut self, now: Instant, (id, tx): (u64, u64), flow: Flow, message: &Message) {
        if message.sdp().is_some() {
            return self.take_offer(id, tx, message);
        }
        let contact = self.contact(flow);
        self.reply(now, tx, flow, message, 200, &[("Contact", contact.as_str()), ("Allow", ALLOW)]);
    }

    fn take_offer(&mut self, id: u64, tx: u64, message: &Message) {
        let sdp = message.sdp().map(<[u8]>::to_vec);
        let seq = message.cseq().map_or(0, |cseq| cseq.number);
        if let Some(call) = self.calls.get_mut(&id) {
            call.peer_offer = Some(PeerOffer { tx, seq, offerless: sdp.is_none() });
            self.push_event(id, CallEvent::Reoffer { sdp });
        }
    }

    /// The owner's answer to [`CallEvent::Reoffer`].
    pub(crate) fn answer_offer(&mut self, now: Instant, id: u64, answer: Result<Vec<u8>, u16>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.told) else { return };
        let Some(offer) = call.peer_offer.take() else { return };
        let (flow, tag) = (call.flow, call.local_tag.clone());
        let Some(tx) = self.txs.get(&offer.tx) else { return };
        let (invite, send_flow) = (tx.purpose == Purpose::Reinvite, tx.flow);
        let Some(request) = tx.request.clone() else { return };
        let contact = self.contact(flow);
        let lines = [("Contact", contact.as_str()), ("Allow", ALLOW), ("Supported", SUPPORTED)];
        match answer {
            Err(status) => {
                let status = if (300..700).contains(&status) { status } else { 488 };
                let bytes = self.compose(&request, flow, (status, ""), Some(&tag), &[], None);
                self.respond(now, offer.tx, status, bytes);
                self.offer_now(now, id);
            }
            Ok(sdp) => {
                let bytes = self.compose(&request, flow, (200, ""), Some(&tag), &lines, Some((SDP, sdp)));
                if invite {
                    self.accept(now, (id, offer.tx), (send_flow, offer.seq), (false, offer.offerless), bytes);
                } else {
                    self.respond(now, offer.tx, 200, bytes);
                    self.offer_now(now, id);
                }
            }
        }
    }

    fn informed(&mut self, now: Instant, (id, tx): (u64, u64), flow: Flow, message: &Message) {
        let content_type = message.content_type().map(|value| {
            let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
            String::from_utf8_lossy(media.trim_ascii()).to_ascii_lowercase()
        });
        let empty = message.body().is_empty();
        match content_type.as_deref() {
            Some(kind @ ("application/dtmf-relay" | "application/dtmf")) if !empty => {
                self.reply(now, tx, flow, message, 200, &[]);
                if self.calls.get(&id).is_some_and(|call| !call.told) {
                    let (content_type, body) = (kind.to_owned(), message.body().to_vec());
                    self.push_event(id, CallEvent::Info { content_type, body });
                }
            }
            _ if empty => self.reply(now, tx, flow, message, 200, &[]),
            _ => {
                self.stats.unsupported_body_415 += 1;
                self.reply(now, tx, flow, message, 415, &[("Accept", ACCEPT_INFO)]);
            }
        }
    }

    /// The owner hangs up.
    pub(crate) fn end_call(&mut self, now: Instant, id: u64, reason: Option<&str>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.told) else { return };
        match call.phase {
            Phase::Incoming => {
                let headers: Vec<_> = reason.map(|reason| ("Reason", reason.to_owned())).into_iter().collect();
                self.refuse_call(now, id, 480, "", &headers);
            }
            Phase::Calling => {
                call.reason = reason.map(Into::into);
                self.tell(id, CallEvent::Ended { cause: EndCause::LocalCancel });
                self.cancel_placed(now, id);
            }
            Phase::Up => {
                call.reason = reason.map(Into::into);
                self.leave(now, id, EndCause::LocalBye);
            }
            Phase::Leaving => {}
        }
    }

    pub(crate) fn send_bye(&mut self, now: Instant, id: u64) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.bye_sent) else { return };
        call.bye_sent = true;
        call.phase = Phase::Leaving;
        let reason = call.reason.take();
        let lines: Vec<_> = reason.iter().map(|reason| ("Reason", reason.to_string())).collect();
        if self.send_in_dialog(now, id, (Purpose::Bye, Method::Bye), &lines, None).is_none() {
            self.finish(id, CallEvent::Ended { cause: EndCause::LocalBye });
        }
    }

    /// Sends a request in the dialog, with credentials if the call was challenged before.
    fn send_in_dialog(
        &mut self,
        now: Instant,
        id: u64,
        (purpose, method): (Purpose, Method<'_>),
        lines: &[(&str, String)],
        body: Option<(&str, Vec<u8>)>,
    ) -> Option<u64> {
        let (branch, cnonce) = (self.random.branch(), self.random.tag());
        let call = self.calls.get_mut(&id)?;
        let flow = call.next_flow();
        let dialog = call.dialog.as_mut()?;
        let seq = dialog.next_seq();
        let uri = String::from_utf8_lossy(dialog.route().request_uri).into_owned();
        let mut credentials = Vec::new();
        if let Some(auth) = call.auth.as_mut().filter(|auth| auth.is_challenged()) {
            auth.begin();
            let body = body.as_ref().map_or(&[][..], |(_, body)| body);
            credentials = auth.authorize(method.as_bytes(), &uri, body, &cnonce);
        }
        let call = self.calls.get(&id)?;
        let mut made = self.in_dialog_request(call.dialog.as_ref()?, flow, (method, seq), &branch);
        for (name, value) in lines.iter().chain(&credentials) {
            made = made.header(name, value);
        }
        if let Some((content_type, body)) = body {
            made = made.body(content_type, body);
        }
        let method = method.to_string();
        Some(self.open_client(now, (purpose, Some(id)), flow, (&branch, &method), made.finish()))
    }

    /// The owner offers a new session.
    pub(crate) fn offer_again(&mut self, now: Instant, id: u64, sdp: Vec<u8>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.told) else { return };
        if call.phase != Phase::Up || call.own_offer.is_some() || call.peer_offer.is_some() {
            return self.push_event(id, CallEvent::Reanswered { sdp: Err(491) });
        }
        call.own_offer = Some(Box::new(OwnOffer { state: OfferState::Waits, sdp, tries: 0 }));
        self.offer_now(now, id);
    }

    /// Sends the re-INVITE that waits, if nothing stands in its way.
    pub(crate) fn offer_now(&mut self, now: Instant, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let free = call.phase == Phase::Up && call.unacked.is_none() && call.peer_offer.is_none();
        let Some(offer) = call.own_offer.as_mut() else { return };
        let due = match offer.state {
            OfferState::Waits => true,
            OfferState::Again(at) => at <= now,
            OfferState::Sent(_) => false,
        };
        if !due {
            return;
        }
        if !free {
            offer.state = OfferState::Waits;
            return;
        }
        let sdp = offer.sdp.clone();
        let sent = self.send_in_dialog(now, id, (Purpose::Reinvite, Method::Invite), &[], Some((SDP, sdp)));
        if let Some(offer) = self.calls.get_mut(&id).and_then(|call| call.own_offer.as_mut()) {
            offer.state = sent.map_or(OfferState::Waits, OfferState::Sent);
        }
    }

    /// A failure to a re-INVITE of ours (RFC 3261 14.1).
    pub(crate) fn reinvite_failed(&mut self, now: Instant, (id, tx): (u64, u64), status: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let ours = call.ours;
        let Some(offer) = call.own_offer.as_mut().filter(|offer| offer.state == OfferState::Sent(tx)) else { return };
        offer.tries += 1;
        match status {
            408 => self.leave(now, id, EndCause::Timeout),
            481 => self.leave(now, id, EndCause::PeerGone),
            491 if offer.tries < limits::GLARE_TRIES_MAX => {
                let (low, high) = if ours { (2_100, 4_000) } else { (0, 2_000) };
                let wait = self.random.delay(Duration::from_millis(low), Duration::from_millis(high));
                if let Some(offer) = self.calls.get_mut(&id).and_then(|call| call.own_offer.as_mut()) {
                    offer.state = OfferState::Again(now + wait);
                }
                self.schedule(Owner::Call(id));
            }
            _ => {
                call.own_offer = None;
                self.push_event(id, CallEvent::Reanswered { sdp: Err(status) });
            }
        }
    }

    pub(crate) fn inform(&mut self, now: Instant, id: u64, content_type: &str, body: Vec<u8>) {
        let ready =
            |call: &super::Call| call.phase == Phase::Up && !call.told && call.infos < limits::REQUESTS_PER_CALL_MAX;
        if !self.calls.get(&id).is_some_and(|call| ready(call)) {
            self.stats.infos_dropped += 1;
            return;
        }
        if self.send_in_dialog(now, id, (Purpose::Info, Method::Info), &[], Some((content_type, body))).is_some()
            && let Some(call) = self.calls.get_mut(&id)
        {
            call.infos += 1;
        }
    }

    pub(crate) fn info_answered(&mut self, now: Instant, id: u64, status: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.infos = call.infos.saturating_sub(1);
        if status == 481 && call.phase == Phase::Up {
            self.leave(now, id, EndCause::PeerGone);
        }
    }
}

fn purpose_of(message: &Message) -> Option<Purpose> {
    Some(match message.method()? {
        Method::Invite => Purpose::Reinvite,
        Method::Bye => Purpose::Bye,
        Method::Update => Purpose::Update,
        Method::Info => Purpose::Info,
        Method::Options => Purpose::Options,
        _ => return None,
    })
}
