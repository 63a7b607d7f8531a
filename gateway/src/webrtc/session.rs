//! One browser's task: its signalling on one side, the switch on the other, and at most one call at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ark_conversation::event::{EndCause, EndedBy};
use ark_conversation::{LegId, mask_number};
use ark_media::codec::CodecRef;
use ark_media::dtmf::Digit;
use axum::extract::ws::{Message, WebSocket, close_code};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::limits::{
    CANDIDATES_MAX, COME_BACK_MAX, CONNECT_TIMEOUT, HELLO_TIMEOUT, MAILBOX, MESSAGE_BYTES_MAX, MESSAGES_BURST,
    MESSAGES_PER_SECOND_MAX, PING_EVERY, PROOF_TIMEOUT, RESTART_TIMEOUT, RETURN_MAX, SEND_TIMEOUT, SOCKET_SILENCE_MAX,
};
use super::offer::Offer;
use super::peer::{Peer, Road};
use super::signal::{Candidate, FromPage, GoesOn, ToPage, TransportPolicy};
use super::token::Purpose;
use super::{Mail, WebRtc};
use crate::call::web::{FromWeb, Joins, ToWeb, WebCall, WebEnd, WebKey, WebListen, WebRing};
use crate::media::Pipe;

/// Why a call by WHIP was refused: a status of HTTP, and words.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// What carries the signalling.
enum Wire {
    Socket {
        socket: Box<WebSocket>,
        heard: Instant,
        pinged: Instant,
    },
    /// The socket broke in mid-call; the page may come back until then.
    Lost(Instant),
    /// HTTP requests; the first one waits for its answer.
    Whip(Option<oneshot::Sender<Result<String, Refused>>>),
}

/// What came over the wire.
enum Heard {
    Text(String),
    Alive,
    /// The page said that it goes: the call is over.
    Closed,
    /// The page is unloaded: closed, or loaded anew.
    Left,
    /// The socket ended without a word.
    Broken,
}

/// How far a call is.
enum Step {
    /// The switch decides whether it is admitted.
    Asking(Offer),
    /// It rings at this operator.
    Ringing(Pipe, CodecRef),
    /// The offer is answered.
    Answered(Peer),
}

/// Of a call that rings at an operator: what their page is told.
#[derive(Clone, Default)]
struct About {
    from: String,
    queue: Option<String>,
    conversation: String,
}

struct Call {
    key: WebKey,
    step: Step,
    road: mpsc::Receiver<Road>,
    about: About,
    /// Candidates that came before the answer.
    early: Vec<Candidate>,
    /// Since when audio flows.
    up: Option<Instant>,
    held: bool,
    /// The operator's page is not there: the other side hears music.
    away: bool,
    /// Until then the road must be up.
    road_until: Option<Instant>,
    /// Until then the page must show that it is still there.
    proof_until: Option<Instant>,
}

impl Call {
    fn new(key: WebKey, step: Step) -> Self {
        // Until there is a road, nothing is heard of one.
        let (_, road) = mpsc::channel(1);
        let (about, early) = (About::default(), Vec::new());
        Self { key, step, road, about, early, up: None, held: false, away: false, road_until: None, proof_until: None }
    }
}

struct Session {
    hub: Arc<WebRtc>,
    number: u64,
    /// What the page comes back with; WHIP's name of the resource.
    name: String,
    purpose: Purpose,
    remote: Option<SocketAddr>,
    mailbox: mpsc::Receiver<Mail>,
    own: mpsc::Sender<Mail>,
    wire: Wire,
    call: Option<Call>,
    budget: Budget,
    over: bool,
}

/// How much more a page may say now.
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: f64::from(MESSAGES_BURST), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let came = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(MESSAGES_PER_SECOND_MAX);
        self.left = (self.left + came).min(f64::from(MESSAGES_BURST));
        self.at = now;
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }
}

/// Serves a page's socket: who is it, and then its calls.
pub(super) async fn page(
    hub: Arc<WebRtc>,
    mut socket: WebSocket,
    remote: Option<SocketAddr>,
    place: OwnedSemaphorePermit,
) {
    let hello = timeout(HELLO_TIMEOUT, first_text(&mut socket)).await.ok().flatten();
    let Some(FromPage::Hello { token, resume, take }) = hello else {
        return refuse(&mut socket, "bad_message", "the first message must be `hello`, within five seconds").await;
    };
    // A call that is up outlives the token that it began with.
    let earlier = resume.filter(|_| hub.purpose_ever(&token).is_some());
    let earlier = earlier.and_then(|name| hub.table().sessions.get(&name).cloned());
    let mut socket = match earlier {
        // It is that session's from now on; when it has just ended, this is a new one.
        Some(earlier) => match earlier.try_send(Mail::Socket(Box::new(socket))) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(mail) | mpsc::error::TrySendError::Closed(mail)) => {
                let Mail::Socket(socket) = mail else { return };
                socket
            }
        },
        None => Box::new(socket),
    };
    let Some(purpose) = hub.purpose(&token) else {
        let why = "the token is none, or good no longer: get one from POST /api/v1/webrtc/tokens";
        return refuse(&mut socket, "unauthorized", why).await;
    };
    // An operator has one session, wherever their page is.
    let earlier =
        if let Purpose::Operator { name } = &purpose { hub.table().operators.get(name).cloned() } else { None };
    if let Some((_, earlier)) = earlier {
        match earlier.try_send(Mail::Elsewhere(socket, take)) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(mail) | mpsc::error::TrySendError::Closed(mail)) => {
                let Mail::Elsewhere(back, _) = mail else { return };
                socket = back;
            }
        }
    }
    let now = Instant::now();
    let session = Session::new(hub, purpose, remote, Wire::Socket { socket, heard: now, pinged: now });
    session.run().await;
    drop(place);
}

async fn first_text(socket: &mut WebSocket) -> Option<FromPage> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return serde_json::from_str(text.as_str()).ok(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            _ => return None,
        }
    }
}

async fn refuse(socket: &mut WebSocket, code: &str, message: &str) {
    let text = serde_json::to_string(&ToPage::error(code, message)).unwrap_or_default();
    let _ = timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await;
    let _ = timeout(SEND_TIMEOUT, socket.send(Message::Close(None))).await;
}

/// A call by WHIP (RFC 9725): one offer, one answer. Gives the name of its resource, and the answer.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn whip(
    hub: Arc<WebRtc>,
    purpose: Purpose,
    sdp: &str,
    remote: Option<SocketAddr>,
    place: OwnedSemaphorePermit,
) -> Result<(String, String), Refused> {
    let offer = Offer::parse(sdp).map_err(|error| Refused { status: 400, message: error.to_string() })?;
    let (reply, answer) = oneshot::channel();
    let mut session = Session::new(hub, purpose, remote, Wire::Whip(Some(reply)));
    let name = session.name.clone();
    tokio::spawn(async move {
        session.call_out(offer).await;
        session.run().await;
        drop(place);
    });
    let gone = |_| Refused { status: 503, message: "the call ended before it began".to_owned() };
    answer.await.map_err(gone)?.map(|answer| (name, answer))
}

impl Wire {
    async fn next(&mut self) -> Heard {
        match self {
            Self::Socket { socket, heard, .. } => {
                let message = socket.recv().await;
                *heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => Heard::Text(text.as_str().to_owned()),
                    Some(Ok(Message::Binary(_))) => Heard::Text(String::new()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Alive,
                    Some(Ok(Message::Close(Some(frame)))) if frame.code == close_code::AWAY => Heard::Left,
                    Some(Ok(Message::Close(_))) => Heard::Closed,
                    Some(Err(_)) | None => Heard::Broken,
                }
            }
            Self::Lost(_) | Self::Whip(_) => std::future::pending().await,
        }
    }

    async fn send(&mut self, message: Message) -> bool {
        let Self::Socket { socket, .. } = self else { return true };
        matches!(timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Socket { heard, pinged, .. } => Some((*pinged + PING_EVERY).min(*heard + SOCKET_SILENCE_MAX)),
            Self::Lost(until) => Some(*until),
            Self::Whip(_) => None,
        }
    }
}

async fn next_road(call: &mut Option<Call>) -> Road {
    match call {
        Some(call) => match call.road.recv().await {
            Some(road) => road,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Session {
    fn new(hub: Arc<WebRtc>, purpose: Purpose, remote: Option<SocketAddr>, wire: Wire) -> Self {
        let (own, mailbox) = mpsc::channel(MAILBOX);
        let name = format!("{:032x}", rand::random::<u128>());
        hub.table().sessions.insert(name.clone(), own.clone());
        let number = hub.new_number();
        let budget = Budget::new(Instant::now());
        Self { hub, number, name, purpose, remote, mailbox, own, wire, call: None, budget, over: false }
    }

    async fn run(mut self) {
        self.welcome().await;
        while !self.over {
            let call = self.call.as_ref();
            let due = [self.wire.deadline(), call.and_then(|c| c.road_until), call.and_then(|c| c.proof_until)];
            let due = due.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + PING_EVERY);
            tokio::select! {
                heard = self.wire.next() => self.hear(heard).await,
                Some(mail) = self.mailbox.recv() => self.open(mail).await,
                road = next_road(&mut self.call) => self.on_road(road).await,
                () = sleep_until(due.into()) => self.look_at_the_clock().await,
            }
        }
        self.leave().await;
    }

    async fn welcome(&mut self) {
        if matches!(self.wire, Wire::Whip(_)) {
            return;
        }
        let operator = match &self.purpose {
            Purpose::Operator { name } => Some(name.clone()),
            Purpose::Call { .. } | Purpose::Listen { .. } => None,
        };
        if let Some(name) = &operator {
            let before = self.hub.table().operators.insert(name.clone(), (self.number, self.own.clone()));
            if let Some((number, before)) = before.filter(|(number, _)| *number != self.number) {
                tracing::info!(operator = %name, session = number, "an operator signed on elsewhere");
                let _ = before.try_send(Mail::Replaced);
            }
            self.hub.say(FromWeb::Operator(name.clone(), true)).await;
        }
        let (session, call) = (self.name.clone(), self.goes_on());
        let ice_servers = self.hub.servers.told(self.number, Timestamp::now());
        let ice_transport_policy = self.hub.relay_only.then_some(TransportPolicy::Relay);
        self.tell(ToPage::Welcome { session, operator, ice_servers, ice_transport_policy, call }).await;
    }

    /// An operator's call that is up.
    fn goes_on(&self) -> Option<GoesOn> {
        let call = self.call.as_ref().filter(|_| self.is_operator())?;
        let (Step::Answered(peer), Some(since)) = (&call.step, call.up) else { return None };
        let About { from, queue, conversation } = call.about.clone();
        let up_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(GoesOn {
            call: name_of(call.key),
            from,
            queue,
            conversation,
            up_ms,
            held: call.held,
            muted: peer.is_muted(),
        })
    }

    fn is_operator(&self) -> bool {
        matches!(self.purpose, Purpose::Operator { .. })
    }

    /// Whether a call rings at this operator.
    fn rings(&self) -> bool {
        self.call.as_ref().is_some_and(|call| matches!(call.step, Step::Ringing(..)))
    }

    /// Whether a call is up whose page may be loaded anew.
    fn is_kept(&self) -> bool {
        self.is_operator() && self.call.as_ref().is_some_and(|call| call.up.is_some())
    }

    /// Says something to the page. A socket that does not take it is broken.
    async fn tell(&mut self, message: ToPage) {
        if let Wire::Whip(reply) = &mut self.wire {
            let said = match message {
                ToPage::Answer { sdp } => Ok(sdp),
                ToPage::Error { message, status, .. } => Err(Refused { status: status.unwrap_or(400), message }),
                _ => return,
            };
            if let Some(reply) = reply.take() {
                let _ = reply.send(said);
            }
            return;
        }
        let text = serde_json::to_string(&message).unwrap_or_default();
        if !self.wire.send(Message::text(text)).await {
            self.wire_broke().await;
        }
    }

    // ---- the page

    async fn hear(&mut self, heard: Heard) {
        if let Some(call) = &mut self.call {
            call.proof_until = None;
        }
        match heard {
            Heard::Alive => {}
            Heard::Closed => {
                self.hang_up(WebEnd::remote(EndCause::Hangup)).await;
                self.over = true;
            }
            Heard::Left if self.is_kept() || self.rings() => {
                self.wire_broke().await;
                self.away().await;
            }
            Heard::Left => {
                self.hang_up(WebEnd::remote(EndCause::Hangup)).await;
                self.over = true;
            }
            Heard::Broken => self.wire_broke().await,
            Heard::Text(text) => self.read(&text).await,
        }
    }

    /// The socket ended without a word: a browser that crashed, or one whose network changed. A call waits a little.
    async fn wire_broke(&mut self) {
        if self.call.is_some() && !matches!(self.wire, Wire::Lost(_)) {
            let wait = if self.is_kept() { RETURN_MAX } else { COME_BACK_MAX };
            self.wire = Wire::Lost(Instant::now() + wait);
        } else {
            self.over = true;
        }
    }

    /// The page of an operator's call is not there, or nothing comes from it: until it is back, the other side hears music.
    async fn away(&mut self) {
        let kept = self.is_kept();
        let Some(call) = self.call.as_mut().filter(|call| kept && !call.away) else { return };
        let Step::Answered(peer) = &call.step else { return };
        call.away = true;
        let said = FromWeb::Changed(call.key, peer.negotiated(true));
        self.hub.say(said).await;
    }

    async fn read(&mut self, text: &str) {
        if !self.budget.take(Instant::now()) {
            self.tell(ToPage::error("flood", "too many messages")).await;
            self.hang_up(WebEnd::failed(EndCause::Failed, "the page sent too many messages")).await;
            self.over = true;
            return;
        }
        let message = match serde_json::from_str::<FromPage>(text) {
            Ok(message) if text.len() <= MESSAGE_BYTES_MAX => message,
            Ok(_) => return self.tell(ToPage::error("bad_message", "the message is too large")).await,
            Err(error) => return self.tell(ToPage::error("bad_message", error.to_string())).await,
        };
        match message {
            FromPage::Hello { .. } => self.tell(ToPage::error("bad_message", "`hello` was said")).await,
            FromPage::Offer { sdp, anew } => match Offer::parse(&sdp) {
                Ok(offer) => self.offer(offer, anew).await,
                Err(error) => self.tell(ToPage::error("bad_offer", error.to_string())).await,
            },
            FromPage::Candidate { candidate } => self.candidate(candidate).await,
            FromPage::Hangup {} => self.page_hangs_up().await,
            FromPage::Dtmf { digit } => self.key(digit).await,
            FromPage::Mute { on } => {
                if let Some(Call { step: Step::Answered(peer), .. }) = &self.call {
                    peer.mute(on);
                }
            }
            FromPage::Hold { on } => self.hold(on).await,
        }
    }

    async fn page_hangs_up(&mut self) {
        let Some(call) = &self.call else { return };
        let cause = match (&call.step, call.up.is_some()) {
            (Step::Ringing(..), _) => EndCause::Rejected,
            (_, false) => EndCause::Cancelled,
            (_, true) => EndCause::Hangup,
        };
        self.hang_up(WebEnd::remote(cause)).await;
    }

    async fn key(&mut self, digit: char) {
        let Some(key) = self.call.as_ref().filter(|call| call.up.is_some()).map(|call| call.key) else {
            return self.tell(ToPage::error("no_call", "no call is up")).await;
        };
        match Digit::from_char(digit.to_ascii_uppercase()) {
            Some(digit) => self.hub.say(FromWeb::Digit(key, digit)).await,
            None => self.tell(ToPage::error("bad_message", format!("`{digit}` is no key"))).await,
        }
    }

    async fn hold(&mut self, on: bool) {
        let Some(call) = self.call.as_mut().filter(|call| call.up.is_some()) else { return };
        let Step::Answered(peer) = &call.step else { return };
        if call.held != on {
            call.held = on;
            let said = FromWeb::Changed(call.key, peer.negotiated(on || call.away));
            self.hub.say(said).await;
        }
    }

    async fn offer(&mut self, offer: Offer, anew: bool) {
        match self.call.take() {
            None => self.call_out(offer).await,
            Some(Call { step: Step::Answered(peer), up: Some(up), key, about, held, .. })
                if anew && self.is_operator() =>
            {
                // Nothing comes of it until its road is up.
                let call = Call { up: Some(up), about, held, away: true, ..Call::new(key, Step::Answered(peer)) };
                self.answer_anew(call, &offer).await;
            }
            Some(call) => self.offer_in_call(call, offer).await,
        }
    }

    /// Another page takes up the sound of the call: the same leg, by another road.
    async fn answer_anew(&mut self, mut call: Call, offer: &Offer) {
        let Step::Answered(before) = call.step else { return };
        let (codec, muted) = (before.codec(), before.is_muted());
        let (road_in, road) = mpsc::channel(MAILBOX);
        let answered = Peer::answer(&self.hub.ports, offer, codec, before.part(), road_in).await;
        match answered {
            Ok((peer, sdp)) => {
                peer.mute(muted);
                let said = FromWeb::Changed(call.key, peer.negotiated(true));
                call.step = Step::Answered(peer);
                call.road = road;
                call.road_until = Some(Instant::now() + CONNECT_TIMEOUT);
                self.call = Some(call);
                self.hub.say(said).await;
                self.tell(ToPage::Answer { sdp }).await;
            }
            Err(error) => {
                self.hub.table().legs.remove(&call.key);
                self.hub.say(FromWeb::Gone(call.key, WebEnd::failed(EndCause::NoCodec, error.to_string()))).await;
                self.tell(ToPage::error("bad_offer", error.to_string())).await;
                self.tell(ToPage::Hangup { call: name_of(call.key), cause: "failed".to_owned() }).await;
            }
        }
    }

    /// Calls the hotline that the token names, or listens to its call.
    async fn call_out(&mut self, offer: Offer) {
        if let Purpose::Listen { call } = &self.purpose {
            let listen = WebListen { conversation: call.clone(), codecs: offer.codecs(&self.hub.preferred) };
            let key = WebKey(self.hub.new_number());
            self.hub.table().legs.insert(key, self.own.clone());
            // Whatever it offers to say is not listened to.
            self.call = Some(Call::new(key, Step::Asking(offer.listening())));
            return self.hub.say(FromWeb::Listen(key, Box::new(listen))).await;
        }
        let Purpose::Call { hotline, from, name, into } = &self.purpose else {
            return self.tell(ToPage::error("no_call", "nobody rings")).await;
        };
        let key = WebKey(self.hub.new_number());
        let call = WebCall {
            hotline: hotline.clone(),
            from: from.clone(),
            display: name.clone(),
            call_id: format!("{:016x}", rand::random::<u64>()),
            remote: self.remote,
            codecs: offer.codecs(&self.hub.preferred),
            joins: into.as_ref().and_then(|into| {
                let conversation = into.conversation.parse().ok()?;
                Some(Joins { conversation, leg: LegId(into.leg), agent: into.agent.clone() })
            }),
        };
        self.hub.table().legs.insert(key, self.own.clone());
        self.call = Some(Call::new(key, Step::Asking(offer)));
        self.hub.say(FromWeb::Call(key, Box::new(call))).await;
    }

    async fn offer_in_call(&mut self, mut call: Call, offer: Offer) {
        match call.step {
            Step::Asking(_) => {
                self.call = Some(call);
                self.tell(ToPage::error("busy", "an offer waits for its answer")).await;
            }
            Step::Ringing(pipe, codec) => {
                let both = offer.codecs(&self.hub.preferred);
                let codec = both.iter().copied().find(|ours| *ours == codec).or(both.first().copied());
                self.answer(call.key, pipe, codec, &offer, call.early).await;
                if let Some(answered) = &mut self.call {
                    answered.about = call.about;
                }
            }
            Step::Answered(ref mut peer) => {
                let answer = peer.reoffer(&offer).await;
                let said = FromWeb::Changed(call.key, peer.negotiated(call.held || call.away));
                let up = call.up.is_some();
                self.call = Some(call);
                match answer {
                    Ok(sdp) => {
                        self.tell(ToPage::Answer { sdp }).await;
                        if up {
                            self.hub.say(said).await;
                        }
                    }
                    Err(error) => self.tell(ToPage::error("bad_offer", error.to_string())).await,
                }
            }
        }
    }

    async fn candidate(&mut self, candidate: Candidate) {
        match &mut self.call {
            Some(Call { step: Step::Answered(peer), .. }) => peer.candidate(candidate).await,
            Some(call) if call.early.len() < CANDIDATES_MAX => call.early.push(candidate),
            _ => {}
        }
    }

    /// Answers the offer of an admitted call, or of one that rang.
    async fn answer(&mut self, key: WebKey, pipe: Pipe, codec: Option<CodecRef>, offer: &Offer, early: Vec<Candidate>) {
        let (road_in, road) = mpsc::channel(MAILBOX);
        let answered = match codec {
            Some(codec) => Peer::answer(&self.hub.ports, offer, codec, Arc::new(pipe), road_in).await,
            None => Err(super::offer::OfferError::NoCodec.into()),
        };
        match answered {
            Ok((mut peer, sdp)) => {
                for candidate in early {
                    peer.candidate(candidate).await;
                }
                let road_until = Some(Instant::now() + CONNECT_TIMEOUT);
                self.call = Some(Call { road, road_until, ..Call::new(key, Step::Answered(peer)) });
                self.tell(ToPage::Answer { sdp }).await;
            }
            Err(error) => {
                self.hub.table().legs.remove(&key);
                self.tell(ToPage::error("bad_offer", error.to_string())).await;
                self.hub.say(FromWeb::Gone(key, WebEnd::failed(EndCause::NoCodec, error.to_string()))).await;
                self.end_whip();
            }
        }
    }

    // ---- the switch, and others within

    async fn open(&mut self, mail: Mail) {
        match mail {
            Mail::Switch(said) => self.hear_switch(said).await,
            Mail::Replaced => {
                self.tell(ToPage::error("replaced", "the same operator signed on elsewhere")).await;
                self.hang_up(WebEnd::remote(EndCause::Hangup)).await;
                self.over = true;
            }
            Mail::Socket(socket) => self.sit_down(socket).await,
            Mail::Elsewhere(mut socket, take) => {
                let talks = matches!(self.wire, Wire::Socket { .. }) && self.call.is_some();
                if talks && !take {
                    let why = "the call of this operator has its sound in another page";
                    return refuse(&mut socket, "elsewhere", why).await;
                }
                tracing::info!(session = self.number, talks, "an operator's page is another one now");
                self.tell(ToPage::error("replaced", "the same operator signed on elsewhere")).await;
                let _ = self.wire.send(Message::Close(None)).await;
                self.away().await;
                self.sit_down(socket).await;
            }
            Mail::Delete => {
                self.page_hangs_up().await;
                self.end_whip();
            }
            Mail::Candidates(candidates) => {
                for candidate in candidates {
                    self.candidate(candidate).await;
                }
            }
        }
    }

    /// The session's page is that one from now on. A call that is up waits for its offer, one that rings rings there.
    async fn sit_down(&mut self, socket: Box<WebSocket>) {
        let now = Instant::now();
        self.wire = Wire::Socket { socket, heard: now, pinged: now };
        // The one before may have broken when it was told.
        self.over = false;
        if let Some(call) = self.call.as_mut().filter(|call| call.away) {
            call.road_until = Some(now + RETURN_MAX);
        }
        self.welcome().await;
        let rings = self.call.as_ref().filter(|call| matches!(call.step, Step::Ringing(..)));
        if let Some(ringing) = rings.map(ringing) {
            self.tell(ringing).await;
        }
    }

    /// Without a call there is nothing left of a WHIP session.
    fn end_whip(&mut self) {
        self.over |= matches!(self.wire, Wire::Whip(_));
    }

    async fn hear_switch(&mut self, said: ToWeb) {
        let key = said.key();
        let mine = self.call.as_ref().is_some_and(|call| call.key == key);
        match said {
            ToWeb::Ring(_, ring) => self.ring(key, *ring).await,
            ToWeb::Accept(_, pipe, codec) if mine => {
                let Some(Call { step: Step::Asking(offer), early, .. }) = self.call.take() else { return };
                self.tell(ToPage::Ringing { call: name_of(key), from: None, queue: None, conversation: None }).await;
                self.answer(key, pipe, Some(codec), &offer, early).await;
            }
            ToWeb::Refuse(_, status, why) if mine => {
                self.call = None;
                let (code, message) = ("refused".to_owned(), why.to_owned());
                self.tell(ToPage::Error { code, message, status: Some(status) }).await;
                self.end_whip();
            }
            ToWeb::End(_) if mine => {
                self.end_call().await;
                self.tell(ToPage::Hangup { call: name_of(key), cause: "hangup".to_owned() }).await;
                self.end_whip();
            }
            // Of a call that is over here: said as the two ends crossed.
            ToWeb::Accept(..) | ToWeb::Refuse(..) | ToWeb::End(_) => {}
        }
    }

    async fn ring(&mut self, key: WebKey, ring: WebRing) {
        if self.call.is_some() {
            self.hub.table().legs.remove(&key);
            return self.hub.say(FromWeb::Gone(key, WebEnd::remote(EndCause::Busy))).await;
        }
        let from = ring.from.reveal();
        let from = if self.hub.show_numbers { from.to_owned() } else { mask_number(from) };
        let about = About { from, queue: ring.queue, conversation: ring.conversation };
        let call = Call { about, ..Call::new(key, Step::Ringing(ring.pipe, ring.codec)) };
        let ringing = ringing(&call);
        self.call = Some(call);
        self.tell(ringing).await;
    }

    // ---- the road

    async fn on_road(&mut self, road: Road) {
        match road {
            Road::Up => self.road_up().await,
            Road::Broken => self.road_broken().await,
            Road::Over if self.is_kept() => {
                // Their page may be loaded anew just now; if it is there, it builds another road.
                self.away().await;
                if let Some(call) = &mut self.call {
                    call.road_until.get_or_insert(Instant::now() + RETURN_MAX);
                }
                self.tell(ToPage::Restart { anew: true }).await;
            }
            Road::Over => {
                let end = WebEnd::failed(EndCause::TransportLost, "the road to the browser is lost");
                self.hang_up(end).await;
            }
        }
    }

    async fn road_up(&mut self) {
        let Some(call) = &mut self.call else { return };
        call.road_until = None;
        call.proof_until = None;
        let Step::Answered(peer) = &call.step else { return };
        let (key, first) = (call.key, call.up.is_none());
        let back = std::mem::take(&mut call.away);
        call.up.get_or_insert(Instant::now());
        let road = peer.remote();
        let said = if first {
            Some(FromWeb::Up(key, peer.negotiated(false)))
        } else {
            back.then(|| FromWeb::Changed(key, peer.negotiated(call.held)))
        };
        if let Some(road) = road {
            self.hub.say(FromWeb::Road(key, road)).await;
        }
        if let Some(said) = said {
            self.hub.say(said).await;
            self.tell(ToPage::Up { call: name_of(key) }).await;
        }
    }

    async fn road_broken(&mut self) {
        let (now, kept) = (Instant::now(), self.is_kept());
        let Some(call) = &mut self.call else { return };
        // A page that is still there finds another road; one that is gone does not even answer. An operator's may sleep.
        call.road_until.get_or_insert(now + if kept { RETURN_MAX } else { RESTART_TIMEOUT });
        call.proof_until = (!kept).then_some(now + PROOF_TIMEOUT);
        self.away().await;
        self.tell(ToPage::Restart { anew: false }).await;
        if !self.wire.send(Message::Ping(bytes::Bytes::new())).await {
            self.wire_broke().await;
        }
    }

    async fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(call) = &self.call
            && (past(call.road_until) || past(call.proof_until))
        {
            let reason =
                if call.up.is_some() { "nothing comes from the browser" } else { "no road to the browser was found" };
            self.hang_up(WebEnd::failed(EndCause::Timeout, reason)).await;
        }
        match &mut self.wire {
            Wire::Lost(until) if *until <= now => {
                let end = WebEnd { cause: EndCause::TransportLost, by: EndedBy::Remote, reason: None };
                self.hang_up(end).await;
                self.over = true;
            }
            Wire::Socket { heard, .. } if *heard + SOCKET_SILENCE_MAX <= now => self.wire_broke().await,
            Wire::Socket { pinged, .. } if *pinged + PING_EVERY <= now => {
                *pinged = now;
                if !self.wire.send(Message::Ping(bytes::Bytes::new())).await {
                    self.wire_broke().await;
                }
            }
            _ => {}
        }
    }

    // ---- ends

    /// The call is over from this side: the switch is told, and the page if it is there.
    async fn hang_up(&mut self, end: WebEnd) {
        let Some(key) = self.call.as_ref().map(|call| call.key) else { return };
        let cause = end.cause.as_str().to_owned();
        self.hub.table().legs.remove(&key);
        // First the switch: what others hear of it must not wait for a road that is closed in order.
        self.hub.say(FromWeb::Gone(key, end)).await;
        self.end_call().await;
        self.tell(ToPage::Hangup { call: name_of(key), cause }).await;
        self.end_whip();
    }

    async fn end_call(&mut self) {
        if let Some(Call { step: Step::Answered(peer), .. }) = self.call.take() {
            self.hub.dropped.fetch_add(peer.dropped(), Ordering::Relaxed);
            let _ = timeout(Duration::from_secs(1), peer.close()).await;
        }
    }

    async fn leave(mut self) {
        self.hang_up(WebEnd::remote(EndCause::Hangup)).await;
        if let Some(name) = self.sign_off() {
            self.hub.say(FromWeb::Operator(name, false)).await;
        }
        let _ = self.wire.send(Message::Close(None)).await;
    }

    /// Takes the session out of the table; gives the operator who is there no longer.
    fn sign_off(&self) -> Option<String> {
        let mut table = self.hub.table();
        table.sessions.remove(&self.name);
        let Purpose::Operator { name } = &self.purpose else { return None };
        table.operators.get(name).filter(|(number, _)| *number == self.number)?;
        table.operators.remove(name);
        Some(name.clone())
    }
}

/// What an operator's page is told of a call that rings.
fn ringing(call: &Call) -> ToPage {
    let About { from, queue, conversation } = call.about.clone();
    ToPage::Ringing { call: name_of(call.key), from: Some(from), queue, conversation: Some(conversation) }
}

fn name_of(key: WebKey) -> String {
    format!("{:x}", key.0)
}
