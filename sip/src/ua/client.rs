//! Calls that we place: RFC 3261 13.2, CANCEL (9.1), forks, digest (22), ACK.

use super::call::{Call, Cancel, Fork, OfferState, Phase, Placing};
use super::compose::{self, ALLOW, SDP, SUPPORTED};
use super::transactions::Purpose;
use super::{CallEvent, EndCause, Endpoint, Full, Outgoing, Owner, Party, limits};
use crate::auth;
use crate::dialog::Dialog;
use crate::types::Method;
use crate::wire::{HeaderName, Message};
use crate::write::{reason_phrase, request};
use std::time::{Duration, Instant};

impl Endpoint {
    pub(crate) fn start_call(&mut self, now: Instant, outgoing: Outgoing) -> Result<super::CallKey, Full> {
        if self.calls.len() >= self.config.limits.calls || self.txs.len() >= self.config.limits.transactions {
            return Err(Full);
        }
        let Outgoing { flow, target, from, to, sdp, credentials, headers, max_forwards } = outgoing;
        let (tag, branch, call_id) = (self.random.tag(), self.random.branch(), self.random.call_id());
        let local = format!("{};tag={tag}", name_addr(&from));
        let seq = 1 + (self.random.next() as u32 & 0xffff);
        let mut made = request(Method::Invite, target.as_bytes())
            .header("Via", self.via(flow, &branch))
            .header("Max-Forwards", max_forwards.to_string())
            .header("From", &local)
            .header("To", name_addr(&to))
            .header("Call-ID", &call_id)
            .header("CSeq", format!("{seq} INVITE"))
            .header("Contact", self.contact(flow))
            .header("Allow", ALLOW)
            .header("Supported", SUPPORTED);
        if !self.config.user_agent.is_empty() {
            made = made.header("User-Agent", &self.config.user_agent);
        }
        for (name, value) in &headers {
            made = made.header(name, value);
        }
        if let Some(sdp) = sdp {
            made = made.body(SDP, sdp);
        }
        let id = self.next_id();
        let tx = self.open_client(now, (Purpose::Invite, Some(id)), flow, (&branch, "INVITE"), made.finish());
        let index = self.dialog_index(call_id.as_bytes(), tag.as_bytes());
        let mut call = Call::new(Phase::Calling, flow, index, &tag);
        call.auth = credentials.map(|credentials| Box::new(auth::Client::new(credentials)));
        call.placing = Some(Box::new(Placing {
            call_id: call_id.into_boxed_str(),
            tx,
            local: local.into_bytes(),
            seq,
            provisional: false,
            cancel: Cancel::No,
            give_up_at: now + self.config.ring_max,
            forks: Vec::new(),
        }));
        self.dialogs.insert(index, id);
        self.calls.insert(id, Box::new(call));
        self.schedule(Owner::Call(id));
        self.stats.calls_placed += 1;
        Ok(super::CallKey(id))
    }

    /// A response that its client transaction passes up.
    pub(crate) fn answered(&mut self, now: Instant, tx: u64, response: &Message) {
        let Some(status) = response.status() else { return };
        let Some((purpose, call)) = self.txs.get(&tx).map(|tx| (tx.purpose, tx.call)) else { return };
        let call = call.filter(|call| self.calls.contains_key(call));
        match (purpose, status, call) {
            (Purpose::Cancel | Purpose::Options, _, _) => {}
            (Purpose::Invite, 100..200, Some(id)) => self.progressed(now, (id, tx), status, response),
            (Purpose::Invite, 200..300, _) => self.accepted(now, (call, tx), response),
            (Purpose::Invite, _, Some(id)) => self.invite_failed(now, (id, tx), status, response),
            (Purpose::Reinvite, 100..200, _) => self.limit_reinvite(now, tx),
            (Purpose::Reinvite, 200..300, _) => self.reinvite_accepted(now, (call, tx), response),
            (_, 100..200, _) | (_, _, None) => {}
            (_, 401 | 407, Some(id)) if self.retry_with_credentials(now, (id, tx), response).is_some() => {}
            (Purpose::Reinvite, _, Some(id)) => self.reinvite_failed(now, (id, tx), status),
            (Purpose::Bye, _, Some(id)) => self.finish(id, CallEvent::Ended { cause: EndCause::LocalBye }),
            (Purpose::Info, _, Some(id)) => self.info_answered(now, id, status),
            (Purpose::Update, _, Some(_)) => {}
        }
    }

    /// A client transaction ended without a final response: 408 when time ran out, 503 when the transport failed
    /// (RFC 3261 8.1.3.1).
    pub(crate) fn unanswered(&mut self, now: Instant, tx: u64, status: u16) {
        let Some((purpose, call)) = self.txs.get(&tx).map(|tx| (tx.purpose, tx.call)) else { return };
        let Some(id) = call.filter(|call| self.calls.contains_key(call)) else { return };
        let cause = if status == 408 { EndCause::Timeout } else { EndCause::TransportLost };
        match purpose {
            Purpose::Invite => {
                let current = self.calls.get(&id).and_then(|call| call.placing.as_ref()).is_some_and(|it| it.tx == tx);
                if current {
                    self.fail(id, status, reason_phrase(status), None);
                }
            }
            // RFC 3261 14.1: a re-INVITE that nobody answers ends the call. RFC 3261 12.2.1.2 says so of all requests,
            // but a lost INFO says little about a call whose audio flows.
            Purpose::Reinvite | Purpose::Update => self.leave(now, id, cause),
            Purpose::Bye => self.finish(id, CallEvent::Ended { cause }),
            Purpose::Info => self.info_answered(now, id, status),
            Purpose::Cancel | Purpose::Options => {}
        }
    }

    /// A placed call came to nothing.
    fn fail(&mut self, id: u64, status: u16, reason: &str, retry_after: Option<Duration>) {
        self.finish(id, CallEvent::Failed { status, reason: reason.to_owned(), retry_after });
    }

    fn progressed(&mut self, now: Instant, (id, tx): (u64, u64), status: u16, response: &Message) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(placing) = call.placing.as_mut().filter(|placing| placing.tx == tx) else { return };
        placing.provisional = true;
        let cancel = placing.cancel == Cancel::Wanted;
        if status > 100 {
            if let Some(tag) = response.to().ok().and_then(|to| to.tag()) {
                call.fork(tag);
            }
            if !call.told {
                let sdp = response.sdp().map(<[u8]>::to_vec);
                self.push_event(id, CallEvent::Progress { status, sdp });
            }
        }
        if cancel {
            self.send_cancel(now, id);
        }
    }

    /// A 2xx to the INVITE that made or would make a call: the first one wins, forks are released (RFC 3261 13.2.2.4).
    fn accepted(&mut self, now: Instant, (call, tx): (Option<u64>, u64), response: &Message) {
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let known = self.txs.get(&tx).and_then(|tx| tx.acks.iter().find(|(known, _, _)| **known == *tag));
        if let Some((_, flow, ack)) = known {
            let (flow, ack) = (*flow, ack.clone());
            self.stats.retransmissions_sent += 1;
            return self.push_send(flow, ack);
        }
        let current = call.filter(|id| {
            let placing = self.calls.get(id).and_then(|call| call.placing.as_ref());
            placing.is_some_and(|placing| placing.tx == tx)
        });
        match current {
            Some(id) => self.call_accepted(now, (id, tx), response),
            None => self.release_fork(now, tx, response),
        }
    }

    fn call_accepted(&mut self, now: Instant, (id, tx): (u64, u64), response: &Message) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(placing) = call.placing.take() else { return };
        let Ok(mut dialog) = Dialog::client(response, &placing.local) else {
            // A 2xx that cannot be acknowledged is no answer.
            return self.fail(id, 502, "Bad answer", None);
        };
        dialog.remote_seq =
            placing.forks.iter().find(|fork| *fork.tag == *dialog.remote_tag).and_then(|fork| fork.remote_seq);
        call.phase = Phase::Up;
        let hung_up = call.told;
        call.dialog = Some(dialog);
        self.send_ack(id, tx, placing.seq);
        if hung_up {
            return self.leave(now, id, EndCause::LocalCancel);
        }
        self.stats.calls_answered += 1;
        let sdp = response.sdp().map(<[u8]>::to_vec);
        self.push_event(id, CallEvent::Answered { sdp });
    }

    /// The ACK for a 2xx, kept for its retransmissions (RFC 3261 13.2.2.4). It carries the INVITE's credentials (22.1).
    fn send_ack(&mut self, id: u64, tx: u64, seq: u32) {
        let branch = self.random.branch();
        let Some(call) = self.calls.get(&id) else { return };
        let Some(dialog) = &call.dialog else { return };
        let flow = call.next_flow();
        let mut ack = self.in_dialog_request(dialog, flow, (Method::Ack, seq), &branch);
        if call.auth.as_ref().is_some_and(|auth| auth.is_challenged())
            && let Some(invite) = self.txs.get(&tx).and_then(|tx| tx.sent_request())
        {
            for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
                for value in invite.header_values(name) {
                    ack = ack.header(std::str::from_utf8(name.as_bytes()).unwrap_or_default(), value);
                }
            }
        }
        let (tag, bytes) = (dialog.remote_tag.as_slice().into(), ack.finish());
        if let Some(tx) = self.txs.get_mut(&tx) {
            tx.acks.push((tag, flow, bytes.clone()));
            tx.drop_message();
        }
        self.push_send(flow, bytes);
    }

    /// A 2xx that nobody waits for: ACK and BYE (RFC 3261 13.2.2.4).
    fn release_fork(&mut self, now: Instant, tx: u64, response: &Message) {
        let local = response.header(HeaderName::From).unwrap_or_default();
        let Ok(mut dialog) = Dialog::client(response, local) else { return };
        let Some(flow) = self.txs.get(&tx).map(|tx| dialog.next_flow(tx.flow, false)) else { return };
        self.stats.forked_answers_released += 1;
        let (ack_branch, bye_branch) = (self.random.branch(), self.random.branch());
        let ack = self.in_dialog_request(&dialog, flow, (Method::Ack, dialog.local_seq), &ack_branch).finish();
        if let Some(tx) = self.txs.get_mut(&tx).filter(|tx| tx.acks.len() < limits::FORKED_ACKS_MAX) {
            tx.acks.push((dialog.remote_tag.as_slice().into(), flow, ack.clone()));
        }
        self.push_send(flow, ack);
        let seq = dialog.next_seq();
        let bye = self.in_dialog_request(&dialog, flow, (Method::Bye, seq), &bye_branch).finish();
        self.open_client(now, (Purpose::Bye, None), flow, (&bye_branch, "BYE"), bye);
    }

    fn invite_failed(&mut self, now: Instant, (id, tx): (u64, u64), status: u16, response: &Message) {
        let Some(placing) = self.calls.get(&id).and_then(|call| call.placing.as_ref()) else { return };
        if placing.tx != tx {
            return; // answered already, or tried again since
        }
        let wanted = placing.cancel == Cancel::No;
        if wanted && matches!(status, 401 | 407) && self.retry_with_credentials(now, (id, tx), response).is_some() {
            return;
        }
        let retry_after = response.seconds(HeaderName::RetryAfter).map(|seconds| Duration::from_secs(seconds.into()));
        let reason = match response.start_line() {
            crate::wire::StartLine::Response { reason, .. } if !reason.is_empty() => {
                crate::types::decode(reason).into_owned()
            }
            _ => reason_phrase(status).to_owned(),
        };
        self.fail(id, status, &reason, retry_after);
    }

    /// Answers a challenge by sending the request again (RFC 3261 22.2); `None` when that makes no sense.
    fn retry_with_credentials(&mut self, now: Instant, (id, tx): (u64, u64), response: &Message) -> Option<()> {
        let old_tx = self.txs.get(&tx)?;
        let (purpose, flow, old) = (old_tx.purpose, old_tx.flow, old_tx.sent_request()?);
        let (branch, cnonce) = (self.random.branch(), self.random.tag());
        let via = self.via(flow, &branch);
        let call = self.calls.get_mut(&id)?;
        let auth = call.auth.as_mut()?;
        let from_user = response.header_values(HeaderName::WwwAuthenticate).map(|value| (false, value));
        let from_proxy = response.header_values(HeaderName::ProxyAuthenticate).map(|value| (true, value));
        if !auth.challenged(from_user.chain(from_proxy)) {
            return None;
        }
        let method = old.method()?;
        let uri = String::from_utf8_lossy(old.request_uri()?.raw).into_owned();
        let credentials = auth.authorize(method.as_bytes(), &uri, old.body(), &cnonce);
        let seq = match (&mut call.placing, &mut call.dialog) {
            (Some(placing), _) => {
                placing.seq += 1;
                placing.seq
            }
            (None, Some(dialog)) => dialog.next_seq(),
            (None, None) => return None,
        };
        let bytes = compose::reissue(&old, &via, seq, &credentials)?;
        let method = method.to_string();
        self.stats.challenges_answered += 1;
        let new = self.open_client(now, (purpose, Some(id)), flow, (&branch, &method), bytes);
        let call = self.calls.get_mut(&id)?;
        match (purpose, &mut call.placing, &mut call.own_offer) {
            (Purpose::Invite, Some(placing), _) => {
                placing.tx = new;
                placing.provisional = false;
            }
            (Purpose::Reinvite, _, Some(offer)) => offer.state = OfferState::Sent(new),
            _ => {}
        }
        Some(())
    }

    /// Hangs up a placed call that is not answered yet. The last event was given out.
    pub(crate) fn cancel_placed(&mut self, now: Instant, id: u64) {
        let Some(placing) = self.calls.get_mut(&id).and_then(|call| call.placing.as_mut()) else { return };
        if placing.cancel != Cancel::No {
            return;
        }
        placing.cancel = Cancel::Wanted;
        if placing.provisional {
            self.send_cancel(now, id);
        }
    }

    /// RFC 3261 9.1: the CANCEL, and 64*T1 for the final response to the INVITE.
    fn send_cancel(&mut self, now: Instant, id: u64) {
        let patience = self.config.timers.patience();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let reason = call.reason.take();
        let Some(placing) = call.placing.as_mut() else { return };
        placing.cancel = Cancel::Sent;
        placing.give_up_at = now + patience;
        let Some(invite) = self.txs.get(&placing.tx) else { return };
        let flow = invite.flow;
        let Some(request) = invite.sent_request() else { return };
        let branch = request.top_via().and_then(Result::ok).and_then(|via| via.branch()).unwrap_or_default();
        let branch = String::from_utf8_lossy(branch).into_owned();
        if let Some(bytes) = compose::cancel(&request, reason.as_deref()) {
            self.open_client(now, (Purpose::Cancel, None), flow, (&branch, "CANCEL"), bytes);
        }
        self.schedule(Owner::Call(id));
    }

    /// A placed call rang for too long, or its CANCEL was in vain.
    pub(crate) fn fire_placing(&mut self, now: Instant, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(placing) = call.placing.as_ref().filter(|placing| placing.give_up_at <= now) else { return };
        match placing.cancel {
            Cancel::Sent => {
                let tx = placing.tx;
                self.fail(id, 408, reason_phrase(408), None);
                self.forget_transaction(tx);
            }
            _ => {
                let event = CallEvent::Failed { status: 408, reason: "No answer".to_owned(), retry_after: None };
                self.tell(id, event);
                if let Some(placing) = self.calls.get_mut(&id).and_then(|call| call.placing.as_mut()) {
                    placing.give_up_at = now + self.config.timers.patience();
                }
                self.cancel_placed(now, id);
            }
        }
    }

    /// Gives out a last event while signalling goes on.
    pub(crate) fn tell(&mut self, id: u64, event: CallEvent) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !std::mem::replace(&mut call.told, true) {
            self.push_event(id, event);
        }
    }

    /// A re-INVITE of ours has a provisional response: 64*T1 for the final one, whether its call lives on or not.
    fn limit_reinvite(&mut self, now: Instant, tx: u64) {
        let patience = self.config.timers.patience();
        if let Some(tx) = self.txs.get_mut(&tx) {
            tx.machine.limit(now + patience);
        }
    }

    /// A 2xx to a re-INVITE of ours.
    fn reinvite_accepted(&mut self, now: Instant, (call, tx): (Option<u64>, u64), response: &Message) {
        if let Some((_, flow, ack)) = self.txs.get(&tx).and_then(|tx| tx.acks.first()) {
            let (flow, ack) = (*flow, ack.clone());
            self.stats.retransmissions_sent += 1;
            return self.push_send(flow, ack);
        }
        let seq = response.cseq().map_or(0, |cseq| cseq.number);
        let Some(id) = call else { return self.ack_orphan(tx, response) };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(dialog) = &mut call.dialog {
            dialog.refresh_target(response);
        }
        let expected = call.own_offer.as_ref().is_some_and(|offer| offer.state == OfferState::Sent(tx));
        self.send_ack(id, tx, seq);
        let Some(call) = self.calls.get_mut(&id).filter(|_| expected) else { return };
        call.own_offer = None;
        if !call.told {
            // A 200 without SDP to an offer is no answer; the session stays as it was.
            let sdp = response.sdp().map(<[u8]>::to_vec).ok_or(488);
            self.push_event(id, CallEvent::Reanswered { sdp });
        }
        self.offer_now(now, id);
    }

    /// The call of a re-INVITE is gone, but its 2xx still wants an ACK.
    fn ack_orphan(&mut self, tx: u64, response: &Message) {
        let local = response.header(HeaderName::From).unwrap_or_default();
        let Ok(mut dialog) = Dialog::client(response, local) else { return };
        let Some(invite) = self.txs.get(&tx) else { return };
        let flow = invite.flow;
        if let Some(sent) = invite.sent_request() {
            // The route set of the dialog is that of the re-INVITE.
            dialog.routes = sent.header_values(HeaderName::Route).map(<[u8]>::to_vec).collect();
        }
        let branch = self.random.branch();
        let ack = self.in_dialog_request(&dialog, flow, (Method::Ack, dialog.local_seq), &branch).finish();
        if let Some(tx) = self.txs.get_mut(&tx) {
            tx.acks.push((dialog.remote_tag.as_slice().into(), flow, ack.clone()));
            tx.drop_message();
        }
        self.push_send(flow, ack);
    }

    /// The fork of a placed call that a request in an early dialog belongs to.
    pub(crate) fn early_fork(&mut self, id: u64, tag: &[u8]) -> Option<&mut Fork> {
        let forks = &mut self.calls.get_mut(&id)?.placing.as_mut()?.forks;
        forks.iter_mut().find(|fork| *fork.tag == *tag)
    }
}

/// `"display" <uri>`.
fn name_addr(party: &Party) -> String {
    let uri: String =
        party.uri.chars().filter(|c| !matches!(c, '<' | '>' | '"') && !c.is_control() && *c != ' ').collect();
    match &party.display {
        Some(display) => format!("{} <{uri}>", auth::quoted(display)),
        None => format!("<{uri}>"),
    }
}
