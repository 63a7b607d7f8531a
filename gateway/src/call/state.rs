//! What a call is while it is up: its legs, its plan's run, and what is being done with it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{
    Direction, EndCause, EndedBy, Needed, RecordingCause, RecordingPurpose, SupervisionMode,
};
use ark_conversation::{ConversationId, LegId as LegNumber, Pii};
use ark_dialplans::{Heard, Run};
use ark_media::sdp::{Negotiated, Negotiator};
use ark_sip::ua::CallKey;

use super::callback::CallingBack;
use super::queue::{CallerId, OperatorId};
use super::site::LivePlan;
use super::speech::Listening;
use super::transfer::{Handover, LastPlace, TransferView};
use super::web::{TRUNK as WEB_TRUNK, WebKey};
use crate::media::{self, RecordAs};

/// Ids of plays that the switch itself starts (music, ringback, beep) have this bit: the plan's own count up from 1.
pub(super) const OWN_PLAY: u64 = 1 << 63;

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// INVITE received or sent, no final response.
    Ringing,
    /// A 200 to an offerless INVITE was sent; the ACK brings the answer.
    AwaitingAck,
    /// Audio flows.
    Up,
    /// Over; its record may still wait for the media engine's last word.
    Ended,
}

/// What carries a leg's signalling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// A SIP session.
    Sip(CallKey),
    /// A browser.
    Web(WebKey),
    /// None: nobody was dialled yet.
    NotYet(u64),
}

/// How a leg ended, for its last record.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) by: EndedBy,
    pub(super) cause: EndCause,
    pub(super) sip_status: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) at: Instant,
}

/// One side of a call.
pub(super) struct Leg {
    pub(super) number: LegNumber,
    pub(super) direction: Direction,
    pub(super) line: Line,
    pub(super) media: media::LegId,
    /// Where its signalling comes from; None for a trunk, whose SDP is believed.
    pub(super) signalled_from: Option<IpAddr>,
    /// The trunk that it came or goes by.
    pub(super) trunk: String,
    /// Of a SIP leg; a browser's offers and answers are its carrier's business.
    pub(super) sdp: Option<Negotiator>,
    pub(super) agreed: Option<Negotiated>,
    /// Where ICE found a browser.
    pub(super) road: Option<SocketAddr>,
    pub(super) stage: Stage,
    pub(super) started: Instant,
    pub(super) answered: Option<Instant>,
    pub(super) held_since: Option<Instant>,
    /// Its voice is kept from the others.
    pub(super) muted: bool,
    pub(super) ending: Option<Ending>,
    /// Its `ark.call.ended.v1` is in the log.
    pub(super) closed: bool,
}

impl Leg {
    /// A new leg that rings.
    pub(super) fn new(number: LegNumber, direction: Direction, line: Line, media: media::LegId, now: Instant) -> Self {
        Self {
            number,
            direction,
            line,
            media,
            signalled_from: None,
            trunk: if matches!(line, Line::Web(_)) { WEB_TRUNK.to_owned() } else { String::new() },
            sdp: None,
            agreed: None,
            road: None,
            stage: Stage::Ringing,
            started: now,
            answered: None,
            held_since: None,
            muted: false,
            ending: None,
            closed: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Where its voice goes to.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        match self.line {
            Line::Sip(_) => self.agreed.as_ref().map(|agreed| agreed.remote),
            Line::Web(_) => self.road,
            Line::NotYet(_) => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Ended
    }
}

/// Why the other leg is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It answers a queue.
    Operator(OperatorId),
    /// An agent to whom somebody handed the caller, and who answers no queue.
    Agent,
    /// The plan's named target.
    Target { name: Arc<str> },
    /// A supervisor who took the agent's place.
    Supervisor,
}

/// The person at the other end, ringing or talking.
pub(super) struct Other {
    pub(super) leg: Leg,
    /// As it was dialled.
    pub(super) to: String,
    pub(super) purpose: Purpose,
    /// The id of the plan's `queue` or `transfer`.
    pub(super) request: u64,
    /// When ringing is given up.
    pub(super) ring_until: Instant,
    pub(super) bridged: Option<Instant>,
}

/// Somebody who listens to the talk, or joins it.
pub(super) struct Supervisor {
    pub(super) leg: Leg,
    /// As it was dialled.
    pub(super) to: String,
    pub(super) mode: SupervisionMode,
    /// Which of the supervisors' voices it is in a recording.
    pub(super) voice: u8,
    /// When ringing is given up.
    pub(super) ring_until: Instant,
}

impl Supervisor {
    /// Whether customer and agent hear them.
    pub(super) fn talks_with_both(&self) -> bool {
        self.mode == SupervisionMode::Barge && self.leg.is_up()
    }
}

/// What a play in progress is, for the log.
pub(super) struct Playing {
    pub(super) id: u64,
    /// The plan's prompts are in the log; music and ringback are not.
    pub(super) logged: bool,
}

/// A queue that the caller waits in.
pub(super) struct Waiting {
    pub(super) request: u64,
    pub(super) queue: Arc<str>,
    pub(super) since: Instant,
    pub(super) told: Option<usize>,
    pub(super) next_position: Instant,
}

/// A transfer under way (or talking).
pub(super) struct Transferring {
    pub(super) target: Arc<str>,
    pub(super) since: Instant,
}

/// A recording that is being made.
pub(super) struct Recording {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) reference: String,
    pub(super) purpose: RecordingPurpose,
    pub(super) how: RecordAs,
    pub(super) began: Instant,
    /// The id of the plan's `record`, for a voice message.
    pub(super) request: Option<u64>,
    /// What the plan asked for, so that the log can say why it stopped.
    pub(super) stop_cause: Option<RecordingCause>,
    /// Since when nothing is kept.
    pub(super) paused: Option<Instant>,
}

/// A voice message that starts when its beep is over.
pub(super) struct AfterBeep {
    pub(super) request: u64,
    pub(super) play: u64,
    pub(super) max: Duration,
    pub(super) silence: Duration,
}

/// Whether what is said in a call may be recorded and transcribed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Nobody has to be asked, or they agreed.
    #[default]
    Yes,
    /// They are to be asked, or told, first.
    NotYet,
    /// They have not agreed.
    No,
}

/// A call: a customer, a plan, perhaps a person.
pub(super) struct Call {
    pub(super) id: CallerId,
    pub(super) conversation: ConversationId,
    /// Hops that the call had left when it came (RFC 7332): what it is passed on with has one less.
    pub(super) hops: u8,
    pub(super) source: String,
    pub(super) trunk: String,
    pub(super) from: Pii,
    pub(super) dialled: Pii,
    pub(super) live: Arc<LivePlan>,
    pub(super) run: Option<Run>,
    pub(super) state: Arc<str>,
    pub(super) lang: String,
    pub(super) customer: Leg,
    pub(super) other: Option<Other>,
    pub(super) supervisors: Vec<Supervisor>,
    /// Legs that are over but whose last record is not written.
    pub(super) past: Vec<Leg>,
    pub(super) next_leg: u32,
    pub(super) next_own_play: u64,
    pub(super) playing: Option<Playing>,
    pub(super) waiting: Option<Waiting>,
    pub(super) transferring: Option<Transferring>,
    /// On the way from one person to another.
    pub(super) handover: Option<Box<Handover>>,
    /// The last time that they were.
    pub(super) last_transfer: Option<TransferView>,
    /// The place in line that they have, or had last.
    pub(super) last_place: Option<LastPlace>,
    /// What an agent must be able to do who serves them.
    pub(super) needs: Needed,
    /// Since when the agent lets the caller hear music.
    pub(super) music_since: Option<Instant>,
    pub(super) after_beep: Option<AfterBeep>,
    /// Music to the one whose partner is held.
    pub(super) hold_play: Option<(media::LegId, u64)>,
    pub(super) recordings: Vec<Recording>,
    pub(super) recordings_made: u32,
    /// What the plan paused ends with it when a person answers.
    pub(super) pause_is_the_plans: bool,
    pub(super) record_call: bool,
    /// Whether anything that is said may be kept.
    pub(super) keeping: Keeping,
    /// What says that the call is recorded; the plan begins when it is over.
    pub(super) announcing: Option<u64>,
    /// The operator who is rung first, and for whom the plan's menus are passed over.
    pub(super) prefers: Option<String>,
    /// The customer is being called back, or was.
    pub(super) calling_back: Option<Box<CallingBack>>,
    /// They will be called back.
    pub(super) callback_asked: bool,
    /// How far what is said is read along.
    pub(super) listening: Listening,
    /// What the plan will hear next.
    pub(super) heard: VecDeque<Heard>,
    /// Somebody whom `place` calls is rung until then; none once they answered.
    pub(super) ring_until: Option<Instant>,
    /// The call is over; it is forgotten when its records are complete, at the latest then.
    pub(super) forget_at: Option<Instant>,
    /// The deadline that stands in the switch's timer table.
    pub(super) timer: Option<Instant>,
}

impl Call {
    /// What they need, for the log.
    pub(super) fn needed(&self) -> Option<Needed> {
        Some(self.needs.clone()).filter(|needs| !needs.is_nothing())
    }

    /// The earliest moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.forget_at.is_some() {
            return self.forget_at;
        }
        let ring = self.other.as_ref().filter(|o| o.leg.stage == Stage::Ringing).map(|o| o.ring_until);
        let ringing = self.supervisors.iter().filter(|s| s.leg.stage == Stage::Ringing).map(|s| s.ring_until).min();
        let position = self.waiting.as_ref().map(|w| w.next_position);
        let run = self.run.as_ref().and_then(Run::deadline);
        let handover = self.handover.as_ref().and_then(|handover| handover.deadline());
        [self.ring_until, ring, ringing, position, run, handover].into_iter().flatten().min()
    }

    pub(super) fn own_play(&mut self) -> u64 {
        self.next_own_play += 1;
        OWN_PLAY | self.next_own_play
    }

    /// Whether the caller talks with a person.
    pub(super) fn is_talking(&self) -> bool {
        self.other.as_ref().is_some_and(|other| other.bridged.is_some())
    }

    /// Which supervisor has this leg.
    pub(super) fn supervisor(&self, leg: LegNumber) -> Option<usize> {
        self.supervisors.iter().position(|supervisor| supervisor.leg.number == leg)
    }

    /// A leg that is not over.
    pub(super) fn leg_mut(&mut self, number: LegNumber) -> Option<&mut Leg> {
        let other = self.other.iter_mut().map(|other| &mut other.leg);
        let beside =
            self.handover.iter_mut().filter_map(|handover| handover.beside.as_mut()).map(|beside| &mut beside.leg);
        let supervisors = self.supervisors.iter_mut().map(|supervisor| &mut supervisor.leg);
        std::iter::once(&mut self.customer)
            .chain(other)
            .chain(beside)
            .chain(supervisors)
            .find(|leg| leg.number == number)
    }

    /// Every leg that is not over, the customer's first.
    pub(super) fn legs(&self) -> impl Iterator<Item = &Leg> {
        let other = self.other.iter().map(|other| &other.leg);
        let supervisors = self.supervisors.iter().map(|supervisor| &supervisor.leg);
        std::iter::once(&self.customer).chain(other).chain(self.beside().map(|beside| &beside.leg)).chain(supervisors)
    }

    /// Who rings, or is there, beside the caller and whoever is with them.
    pub(super) fn beside(&self) -> Option<&Other> {
        self.handover.as_ref().and_then(|handover| handover.beside.as_ref())
    }

    /// Whether the caller does not hear that leg now, though it is up: two talk about them.
    pub(super) fn is_aside(&self, leg: LegNumber) -> bool {
        let aside = self.handover.as_ref().is_some_and(|handover| !handover.is_three_way());
        let of = |other: Option<&Other>| other.is_some_and(|other| other.leg.number == leg);
        (aside || self.music_since.is_some()) && (of(self.other.as_ref()) || of(self.beside()))
    }

    /// [`Call::is_aside`], by the leg's media.
    pub(super) fn is_aside_media(&self, media: media::LegId) -> bool {
        self.legs().find(|leg| leg.media == media).is_some_and(|leg| self.is_aside(leg.number))
    }

    /// Whether that is the customer's.
    pub(super) fn is_customer(&self, line: Line) -> bool {
        self.customer.line == line
    }

    /// Whether nothing more can come for it.
    pub(super) fn is_complete(&self) -> bool {
        self.customer.closed
            && self.other.is_none()
            && self.handover.is_none()
            && self.supervisors.is_empty()
            && self.past.iter().all(|leg| leg.closed)
            && self.recordings.is_empty()
    }
}
