//! Browsers' legs: what their signalling ([`crate::webrtc`]) says to the switch, and what the switch says to it.
//!
//! The switch sees no SDP of a browser: whoever carries the leg has agreed on it, and hands over what was agreed. All
//! else, from admission to the log, is as for a telephone.

use std::net::SocketAddr;

use ark_conversation::event::{Direction, EndCause, EndedBy, SupervisionMode};
use ark_conversation::{ConversationId, LegId as LegNumber, Pii, source};
use ark_dialplans::Now;
use ark_media::codec::CodecRef;
use ark_media::dtmf::Digit;
use ark_media::sdp::Negotiated;
use ark_sip::ua::MAX_FORWARDS;

use super::customer::{CannotPlace, Names};
use super::other::Dialled;
use super::state::{Call, Leg, Line, Stage};
use super::supervise::CannotAct;
use super::switch::{Output, Switch};
use crate::media::{Command, MediaPort, Pipe};

/// What stands before an operator's name who answers in a browser: `web:anna`.
pub const WEB: &str = "web:";
/// What stands for the address of somebody who hears a call by WHEP.
const LISTENER: &str = "web:listener";
/// Where browsers' calls come from, in the log and in metrics.
pub(super) const TRUNK: &str = "webrtc";

/// One leg of a browser. Never used twice within a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WebKey(pub u64);

impl WebKey {
    /// The keys of legs that the switch begins have this bit, those of legs that browsers begin have it not.
    pub const OURS: u64 = 1 << 63;
}

/// A page that calls a hotline.
#[derive(Clone, Debug)]
pub struct WebCall {
    /// The number that it calls.
    pub hotline: String,
    /// Who it is, as the site says; empty: nobody in particular.
    pub from: String,
    /// Their name, as the site says.
    pub display: Option<String>,
    /// A name of this call that is in no other.
    pub call_id: String,
    /// The address that the signalling comes from.
    pub remote: Option<SocketAddr>,
    /// The codecs that both sides have, the preferred first.
    pub codecs: Vec<CodecRef>,
    /// The conversation that it belongs to; none: one of its own.
    pub joins: Option<Joins>,
}

/// A conversation that is there, into which a call comes.
#[derive(Clone, Debug)]
pub struct Joins {
    /// Which.
    pub conversation: ConversationId,
    /// The number of the caller's leg; those of the call's other legs follow it.
    pub leg: LegNumber,
    /// The agent who has the conversation. Signed on as `web:NAME` and free, they are rung at once, without the plan's menus.
    pub agent: Option<String>,
}

/// A page or a program that is to hear a call (WHEP).
#[derive(Clone, Debug)]
pub struct WebListen {
    /// The call's conversation.
    pub conversation: String,
    /// The codecs that both sides have, the preferred first.
    pub codecs: Vec<CodecRef>,
}

/// What browsers' signalling says.
#[derive(Debug)]
pub enum FromWeb {
    /// Somebody wants to hear a call. [`ToWeb::Accept`] or [`ToWeb::Refuse`] follows.
    Listen(WebKey, Box<WebListen>),
    /// A page calls. [`ToWeb::Accept`] or [`ToWeb::Refuse`] follows.
    Call(WebKey, Box<WebCall>),
    /// Audio can flow: an accepted call, or one that rang and was answered.
    Up(WebKey, Negotiated),
    /// ICE found the browser there, or elsewhere than before.
    Road(WebKey, SocketAddr),
    /// The browser put the call on hold, or took it back.
    Changed(WebKey, Negotiated),
    /// A key was pressed; one that also came as a telephone-event counts once.
    Digit(WebKey, Digit),
    /// The leg is over: hung up, refused, or its browser is gone.
    Gone(WebKey, WebEnd),
    /// An operator signed on (`true`), or off.
    Operator(String, bool),
}

/// How a browser's leg ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebEnd {
    /// In the log's words.
    pub cause: EndCause,
    /// Who ended it.
    pub by: EndedBy,
    /// In words, where there is more to say.
    pub reason: Option<String>,
}

impl WebEnd {
    /// The browser's side ended it.
    pub fn remote(cause: EndCause) -> Self {
        Self { cause, by: EndedBy::Remote, reason: None }
    }

    /// It could not go on, for that reason.
    pub fn failed(cause: EndCause, reason: impl Into<String>) -> Self {
        Self { cause, by: EndedBy::Ark, reason: Some(reason.into()) }
    }
}

/// What the switch says to browsers' signalling.
#[derive(Debug)]
pub enum ToWeb {
    /// The call is admitted: answer it in that codec, and say [`FromWeb::Up`] when audio can flow.
    Accept(WebKey, Pipe, CodecRef),
    /// The call is not admitted: a SIP status and its words.
    Refuse(WebKey, u16, &'static str),
    /// Ring an operator.
    Ring(WebKey, Box<WebRing>),
    /// The leg is over.
    End(WebKey),
}

/// A call for an operator in a browser.
#[derive(Debug)]
pub struct WebRing {
    /// Who is rung.
    pub operator: String,
    /// The leg's packets.
    pub pipe: Pipe,
    /// The codec that spares transcoding: the customer's.
    pub codec: CodecRef,
    /// Who calls; to be masked before it is shown.
    pub from: Pii,
    /// The conversation.
    pub conversation: String,
    /// The queue that the caller waits in.
    pub queue: Option<String>,
}

impl ToWeb {
    /// The leg that it is about.
    #[must_use]
    pub fn key(&self) -> WebKey {
        match self {
            Self::Accept(key, ..) | Self::Refuse(key, ..) | Self::Ring(key, _) | Self::End(key) => *key,
        }
    }
}

/// Whose leg a browser has in a call.
#[derive(Clone, Copy)]
enum Side {
    Customer,
    Other,
    /// Beside the customer and whoever is with them.
    Beside,
    Supervisor(usize),
}

impl<M: MediaPort> Switch<M> {
    /// Browsers' signalling says something.
    pub fn web(&mut self, now: Now, said: FromWeb) {
        self.queues.set_clock(now);
        match said {
            FromWeb::Call(key, call) => self.web_call(now, key, *call),
            FromWeb::Listen(key, listen) => {
                if let Err((status, why)) = self.web_listens(now, key, &listen) {
                    self.refuse_web(key, status, why);
                }
            }
            FromWeb::Up(key, agreed) => self.with_web(now, key, |switch, call, side| match side {
                Side::Customer if call.customer.stage == Stage::Ringing => switch.start_customer(now, call, agreed),
                Side::Customer => {}
                Side::Other => switch.other_up(now, call, agreed),
                Side::Beside => switch.beside_up(now, call, agreed),
                Side::Supervisor(at) => switch.supervisor_up(now, call, at, agreed),
            }),
            FromWeb::Road(key, road) => self.with_web(now, key, |_, call, side| {
                let leg = match side {
                    Side::Customer => Some(&mut call.customer),
                    Side::Other => call.other.as_mut().map(|other| &mut other.leg),
                    Side::Beside => call.handover.as_mut().and_then(|one| one.beside.as_mut()).map(|one| &mut one.leg),
                    Side::Supervisor(at) => call.supervisors.get_mut(at).map(|supervisor| &mut supervisor.leg),
                };
                if let Some(leg) = leg {
                    leg.road = Some(road);
                }
            }),
            FromWeb::Changed(key, agreed) => self.with_web(now, key, |switch, call, side| match side {
                Side::Customer => switch.agreed_anew(now, call, false, agreed),
                Side::Other => switch.agreed_anew(now, call, true, agreed),
                Side::Beside => {
                    if let Some(media) = call.beside().map(|beside| beside.leg.media) {
                        switch.tell_media(media, Command::Update { negotiated: agreed });
                    }
                }
                Side::Supervisor(at) => {
                    let media = call.supervisors[at].leg.media;
                    switch.tell_media(media, Command::Update { negotiated: agreed });
                }
            }),
            FromWeb::Digit(key, digit) => self.with_web(now, key, |switch, call, side| match side {
                Side::Customer => switch.pressed(call, false, digit),
                Side::Other => switch.pressed(call, true, digit),
                Side::Supervisor(_) | Side::Beside => {}
            }),
            FromWeb::Gone(key, end) => {
                self.with_web(now, key, |switch, call, side| match side {
                    Side::Customer => switch.web_gone(now, call, false, end),
                    Side::Other => switch.web_gone(now, call, true, end),
                    Side::Beside => switch.web_beside_gone(now, call, &end),
                    Side::Supervisor(at) => switch.supervisor_over(now, call, at, end.by, end.cause),
                });
            }
            FromWeb::Operator(name, present) => {
                self.queues.set_present(now.mono, &format!("{WEB}{name}"), present);
                self.queues_changed = true;
            }
        }
        self.settle(now);
    }

    fn with_web(&mut self, now: Now, key: WebKey, f: impl FnOnce(&mut Self, &mut Call, Side)) {
        let line = Line::Web(key);
        // A leg that was given up may still speak once: nobody listens.
        let Some(id) = self.by_line.get(&line).copied() else { return };
        self.with(now, id, |switch, call| {
            if call.is_customer(line) {
                f(switch, call, Side::Customer);
            } else if call.other.as_ref().is_some_and(|other| other.leg.line == line) {
                f(switch, call, Side::Other);
            } else if Self::is_beside(call, line) {
                f(switch, call, Side::Beside);
            } else if let Some(at) = call.supervisors.iter().position(|supervisor| supervisor.leg.line == line) {
                f(switch, call, Side::Supervisor(at));
            }
        });
    }

    /// A page calls a hotline: admission as for an INVITE.
    fn web_call(&mut self, now: Now, key: WebKey, web: WebCall) {
        self.counters.incoming += 1;
        let Some(hotline) = self.site.hotline(&web.hotline).cloned() else {
            return self.refuse_web(key, 404, "no hotline has this number");
        };
        if !self.admits(now.mono) {
            return self.refuse_web(key, 503, "no room for another call now");
        }
        let Some(codec) = web.codecs.first().copied() else {
            return self.refuse_web(key, 488, "the offer has no codec that Ark speaks");
        };
        let (media, pipe) = match self.media.reserve_pipe() {
            Ok(reserved) => reserved,
            Err(error) => {
                tracing::warn!(%error, "a browser's call was refused");
                return self.refuse_web(key, 503, "no room for another call now");
            }
        };
        // A second call into one conversation is one of its own: their legs would have the same numbers.
        let is_up = |conversation| self.calls.values().any(|call| call.conversation == conversation);
        let joins = web.joins.filter(|joins| !is_up(joins.conversation));
        let number = joins.as_ref().map_or(LegNumber(1), |joins| joins.leg);
        let customer = Leg::new(number, Direction::Inbound, Line::Web(key), media, now.mono);
        let names = Names {
            from: Pii::new(web.from),
            dialled: Pii::new(web.hotline),
            trunk: TRUNK.to_owned(),
            source: source::web(&self.config.tenant, web.call_id.as_bytes()),
        };
        let mut call = self.new_call(now, customer, &hotline, names, MAX_FORWARDS);
        if let Some(joins) = joins {
            call.conversation = joins.conversation;
            call.next_leg = joins.leg.0.saturating_add(1);
            call.prefers = joins.agent.map(|agent| format!("{WEB}{agent}"));
        }
        self.log_ringing(now, &call, web.display, &web.call_id, web.remote.map(|remote| (TRUNK, remote)));
        self.put_back(call);
        self.out.push_back(Output::Web(ToWeb::Accept(key, pipe, codec)));
    }

    /// A listener comes into a talk, as a supervisor who listens.
    fn web_listens(&mut self, now: Now, key: WebKey, listen: &WebListen) -> Result<(), (u16, &'static str)> {
        let no_call = (404, "no such call is up");
        let conversation = listen.conversation.parse::<ConversationId>().map_err(|_| no_call)?;
        let codec = listen.codecs.first().copied().ok_or((488, "the offer has no codec that Ark speaks"))?;
        let mut made = Err((503, "no room for another listener now"));
        let done = self.in_call(now, conversation, |switch, call| {
            switch.can_be_supervised(call)?;
            let Ok((media, pipe)) = switch.media.reserve_pipe() else { return Ok(()) };
            let leg = Leg::new(LegNumber(call.next_leg), Direction::Outbound, Line::Web(key), media, now.mono);
            let call_id = format!("web-{:x}", key.0);
            let dialled = Dialled { leg, trunk: TRUNK.to_owned(), call_id, remote: None };
            switch.add_supervisor(now, call, dialled, LISTENER, SupervisionMode::Listen);
            made = Ok((pipe, codec));
            Ok(())
        });
        match done {
            Err(CannotAct::NoCall) => return Err(no_call),
            Err(CannotAct::NoTalk) => return Err((503, "nobody talks in this call now")),
            Err(_) => return Err((503, "as many supervisors as there may be are in this call")),
            Ok(()) => {}
        }
        let (pipe, codec) = made?;
        self.out.push_back(Output::Web(ToWeb::Accept(key, pipe, codec)));
        Ok(())
    }

    fn refuse_web(&mut self, key: WebKey, status: u16, why: &'static str) {
        self.counters.refused += 1;
        self.out.push_back(Output::Web(ToWeb::Refuse(key, status, why)));
    }

    /// Rings an operator in a browser.
    pub(super) fn ring_browser(
        &mut self,
        now: Now,
        call: &Call,
        operator: &str,
        number: LegNumber,
    ) -> Result<Dialled, CannotPlace> {
        let (media, pipe) = self.media.reserve_pipe().map_err(|error| CannotPlace::Full(error.to_string()))?;
        let key = WebKey(WebKey::OURS | self.new_id());
        let codec = call.customer.agreed.as_ref().map_or(ark_media::codec::ALL[0], |agreed| agreed.codec);
        let ring = WebRing {
            operator: operator.to_owned(),
            pipe,
            codec,
            from: call.from.clone(),
            conversation: call.conversation.to_string(),
            queue: call.waiting.as_ref().map(|waiting| waiting.queue.to_string()),
        };
        self.out.push_back(Output::Web(ToWeb::Ring(key, Box::new(ring))));
        let leg = Leg::new(number, Direction::Outbound, Line::Web(key), media, now.mono);
        Ok(Dialled { leg, trunk: TRUNK.to_owned(), call_id: format!("web-{:x}", key.0), remote: None })
    }

    fn web_gone(&mut self, now: Now, call: &mut Call, of_other: bool, end: WebEnd) {
        let WebEnd { cause, by, reason } = end;
        if !of_other {
            self.customer_gone(now, call, by, cause, None, reason);
        } else if call.other.as_ref().is_some_and(|other| other.leg.is_up()) {
            self.person_left(now, call, by, cause, reason);
        } else {
            self.other_failed(now, call, None, cause, reason);
        }
    }

    /// Ends a leg's signalling: BYE, CANCEL or a final response, or a word to the browser.
    pub(super) fn hang_up_line(&mut self, now: Now, line: Line) {
        match line {
            Line::Sip(key) => self.endpoint.hangup(now.mono, key, None),
            Line::Web(key) => self.out.push_back(Output::Web(ToWeb::End(key))),
            Line::NotYet(_) => {}
        }
    }

    pub(super) fn pressed(&mut self, call: &Call, of_other: bool, digit: Digit) {
        let leg = if of_other { call.other.as_ref().map(|o| o.leg.media) } else { Some(call.customer.media) };
        if let Some(leg) = leg {
            self.tell_media(leg, Command::InfoDigit { digit });
        }
    }
}
