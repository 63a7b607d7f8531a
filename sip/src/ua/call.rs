//! One call: its dialog, what is under way in it, and what it waits for.

use super::{Flow, limits};
use crate::auth;
use crate::dialog::Dialog;
use std::time::{Duration, Instant};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// An INVITE came and has no final response yet.
    Incoming,
    /// We sent an INVITE and have no final response yet.
    Calling,
    /// There is a 2xx.
    Up,
    /// The owner was told that it is over; a BYE waits for its time or its answer.
    Leaving,
}

/// A 2xx of ours that has no ACK yet (RFC 3261 13.3.1.4).
pub(crate) struct Unacked {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flow: Flow,
    pub(crate) seq: u32,
    pub(crate) interval: Duration,
    pub(crate) resend_at: Instant,
    pub(crate) give_up_at: Instant,
    /// It answers the first INVITE rather than a re-INVITE.
    pub(crate) initial: bool,
    /// It carries our offer: the ACK brings the answer.
    pub(crate) offered: bool,
}

/// An offer of the peer's that waits for its answer.
pub(crate) struct PeerOffer {
    pub(crate) tx: u64,
    pub(crate) seq: u32,
    /// The request had no offer: our answer is one.
    pub(crate) offerless: bool,
}

/// Where an offer of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferState {
    /// Until the ACK for our 2xx (RFC 3261 14.1: one INVITE at a time).
    Waits,
    /// The re-INVITE is under way in this transaction.
    Sent(u64),
    /// Refused by 491; it goes out again then.
    Again(Instant),
}

/// An offer of ours in an answered call.
pub(crate) struct OwnOffer {
    pub(crate) state: OfferState,
    pub(crate) sdp: Vec<u8>,
    pub(crate) tries: u32,
}

/// One branch of a forked INVITE.
pub(crate) struct Fork {
    pub(crate) tag: Box<[u8]>,
    pub(crate) remote_seq: Option<u32>,
}

/// Whether a placed call is to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    No,
    /// As soon as a provisional response comes (RFC 3261 9.1).
    Wanted,
    Sent,
}

/// What a placed call has until it is answered.
pub(crate) struct Placing {
    /// The Call-ID of the INVITE.
    pub(crate) call_id: Box<str>,
    /// The INVITE's transaction (the newest one, after a challenge).
    pub(crate) tx: u64,
    /// Our From.
    pub(crate) local: Vec<u8>,
    pub(crate) seq: u32,
    pub(crate) provisional: bool,
    pub(crate) cancel: Cancel,
    /// When it has rung for too long, or when the CANCEL was in vain.
    pub(crate) give_up_at: Instant,
    pub(crate) forks: Vec<Fork>,
}

/// The last provisional response of an incoming call, repeated every minute.
pub(crate) struct Ringing {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) again_at: Instant,
}

/// One call.
pub(crate) struct Call {
    pub(crate) phase: Phase,
    /// The last event was given out.
    pub(crate) told: bool,
    /// Where the peer is.
    pub(crate) flow: Flow,
    pub(crate) natted: bool,
    /// Its key in the table of dialogs.
    pub(crate) index: u128,
    pub(crate) local_tag: Box<str>,
    /// The dialog; a placed call has it once it is answered.
    pub(crate) dialog: Option<Dialog>,
    /// The INVITE server transaction that waits for its final response.
    pub(crate) invite: Option<u64>,
    /// The first INVITE had no offer.
    pub(crate) offerless: bool,
    pub(crate) ringing: Option<Box<Ringing>>,
    pub(crate) unacked: Option<Box<Unacked>>,
    pub(crate) peer_offer: Option<PeerOffer>,
    pub(crate) own_offer: Option<Box<OwnOffer>>,
    pub(crate) placing: Option<Box<Placing>>,
    pub(crate) auth: Option<Box<auth::Client>>,
    /// INFOs of ours under way.
    pub(crate) infos: usize,
    /// A Reason for the CANCEL or BYE that is still to be sent.
    pub(crate) reason: Option<Box<str>>,
    /// The BYE was sent.
    pub(crate) bye_sent: bool,
    /// We placed it: the Call-ID is ours (RFC 3261 14.1).
    pub(crate) ours: bool,
    pub(crate) scheduled: Option<Instant>,
}

impl Call {
    pub(crate) fn new(phase: Phase, flow: Flow, index: u128, local_tag: &str) -> Self {
        Self {
            phase,
            told: false,
            flow,
            natted: false,
            index,
            local_tag: local_tag.into(),
            dialog: None,
            invite: None,
            offerless: false,
            ringing: None,
            unacked: None,
            peer_offer: None,
            own_offer: None,
            placing: None,
            auth: None,
            infos: 0,
            reason: None,
            bye_sent: false,
            ours: phase == Phase::Calling,
            scheduled: None,
        }
    }

    /// When something in it is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let unacked = self.unacked.as_ref().map(|unacked| unacked.resend_at.min(unacked.give_up_at));
        let ringing = self.ringing.as_ref().map(|ringing| ringing.again_at);
        let placing = self.placing.as_ref().map(|placing| placing.give_up_at);
        let again = self.own_offer.as_ref().and_then(|offer| match offer.state {
            OfferState::Again(at) => Some(at),
            _ => None,
        });
        [unacked, ringing, placing, again].into_iter().flatten().min()
    }

    /// Where its requests go.
    pub(crate) fn next_flow(&self) -> Flow {
        self.dialog.as_ref().map_or(self.flow, |dialog| dialog.next_flow(self.flow, self.natted))
    }

    pub(crate) fn lose_connection(&mut self, connection: u64) {
        if self.flow.connection == connection {
            self.flow.connection = 0;
        }
        if let Some(unacked) = self.unacked.as_mut().filter(|unacked| unacked.flow.connection == connection) {
            unacked.flow.connection = 0;
        }
    }

    /// The fork with this tag, made if there is room.
    pub(crate) fn fork(&mut self, tag: &[u8]) -> Option<&mut Fork> {
        let forks = &mut self.placing.as_mut()?.forks;
        let at = match forks.iter().position(|fork| *fork.tag == *tag) {
            Some(at) => at,
            None if forks.len() < limits::FORKS_MAX => {
                forks.push(Fork { tag: tag.into(), remote_seq: None });
                forks.len() - 1
            }
            None => return None,
        };
        forks.get_mut(at)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let dialog = self.dialog.as_ref().map_or(0, |dialog| {
            dialog.call_id.capacity()
                + dialog.local.capacity()
                + dialog.remote.capacity()
                + dialog.remote_tag.capacity()
                + dialog.remote_target.capacity()
                + dialog.routes.iter().map(|route| route.capacity() + size_of::<Vec<u8>>()).sum::<usize>()
        });
        size_of::<Self>()
            + dialog
            + self.local_tag.len()
            + self.unacked.as_ref().map_or(0, |unacked| size_of::<Unacked>() + unacked.bytes.capacity())
            + self.ringing.as_ref().map_or(0, |ringing| size_of::<Ringing>() + ringing.bytes.capacity())
            + self.own_offer.as_ref().map_or(0, |offer| size_of::<OwnOffer>() + offer.sdp.capacity())
            + self.placing.as_ref().map_or(0, |placing| size_of::<Placing>() + placing.local.capacity())
            + self.auth.as_ref().map_or(0, |_| 512)
    }
}
