//! A telephone in this process: calls a gateway over real sockets, listens, presses keys. For `ark demo` and for the self-call of
//! `ark doctor`; it takes the same road as anybody's phone.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ark_media::codec::{CodecRef, Decoder};
use ark_media::dtmf::Digit;
use ark_media::prompt::Pcm;
use ark_media::sdp::{Direction, Local, Negotiator};
use ark_media::session::{Playlist, Session, SessionConfig};
use ark_sip::ua::{CallEvent, CallKey, Config, Endpoint, Flow, MAX_FORWARDS, Outgoing, Output, Party};
use ark_sip::wire::parse_datagram;
use tokio::net::UdpSocket;
use tokio::time::{Instant as Deadline, Interval, MissedTickBehavior, interval, sleep_until};

/// How often a packet is sent.
const FRAME: Duration = Duration::from_millis(20);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most audio that is kept: 60 s at 8 kHz.
const HEARD_SAMPLES_MAX: usize = 60 * 8_000;
/// How long a key is held.
const KEY: Duration = Duration::from_millis(120);

/// Why a call did not come about.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// No socket.
    #[error("the phone has no socket: {0}")]
    Socket(#[from] std::io::Error),
    /// Refused, or nobody answered.
    #[error("the call was not answered: {status} {reason}")]
    Refused {
        /// The SIP status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// Nothing came in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silence,
    /// The answer's SDP could not be used.
    #[error("the answer's SDP cannot be used: {0}")]
    Sdp(String),
}

/// A telephone on one call.
pub struct Phone {
    sip: UdpSocket,
    rtp: UdpSocket,
    local: SocketAddr,
    endpoint: Endpoint,
    key: CallKey,
    negotiator: Negotiator,
    leg: Option<Leg>,
    /// When the next packet is due, however often the phone is asked to listen.
    frame: Interval,
    ended: bool,
    refused: Option<(u16, String)>,
}

struct Leg {
    session: Session,
    codec: CodecRef,
    decoder: Box<dyn Decoder>,
    heard: Vec<i16>,
    rate_hz: u32,
}

impl Phone {
    /// Calls `number` at `gateway` from `own` (an address of this machine, port chosen by the system) and waits for the answer.
    ///
    /// # Errors
    /// See [`PhoneError`].
    pub async fn call(own: IpAddr, gateway: SocketAddr, number: &str, caller: &str) -> Result<Self, PhoneError> {
        let sip = UdpSocket::bind((own, 0)).await?;
        let rtp = UdpSocket::bind((own, 0)).await?;
        let (local, rtp_local) = (sip.local_addr()?, rtp.local_addr()?);
        let config = Config {
            secret: rand::random(),
            user_agent: "Ark phone".to_owned(),
            contact_user: caller.to_owned(),
            ..Config::default()
        };
        let mut endpoint = Endpoint::new(config, rand::random());
        let mut negotiator = Negotiator::new(Local::new(rtp_local, rand::random::<u32>().into()));
        let offer = negotiator.offer(Direction::SendRecv);
        let uri = format!("sip:{number}@{gateway}");
        let outgoing = Outgoing {
            flow: Flow::udp(local, gateway),
            target: uri.clone(),
            from: Party { uri: format!("sip:{caller}@{local}"), display: None },
            to: Party { uri, display: None },
            sdp: Some(offer),
            credentials: None,
            headers: Vec::new(),
            max_forwards: MAX_FORWARDS,
        };
        let full = |_| PhoneError::Refused { status: 503, reason: "the phone's own tables are full".to_owned() };
        let key = endpoint.place(Instant::now(), outgoing).map_err(full)?;
        let mut frame = interval(FRAME);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (leg, ended, refused) = (None, false, None);
        let mut phone = Self { sip, rtp, local, endpoint, key, negotiator, leg, frame, ended, refused };
        phone.drive(ANSWER_TIMEOUT, |phone| phone.leg.is_some() || phone.ended).await?;
        match phone.refused.take() {
            Some((status, reason)) => Err(PhoneError::Refused { status, reason }),
            None if phone.leg.is_some() => Ok(phone),
            None => Err(PhoneError::Silence),
        }
    }

    /// Stays on the call for that long (cancelling it loses nothing); less when the other side hangs up. Says whether the call is still up.
    ///
    /// # Errors
    /// A socket broke.
    pub async fn listen(&mut self, length: Duration) -> Result<bool, PhoneError> {
        self.drive(length, |phone| phone.ended).await?;
        Ok(!self.ended)
    }

    /// Presses a key, `0` to `9`, `*`, `#`; it is sent while the phone listens.
    pub fn press(&mut self, key: char) {
        if let (Some(leg), Some(digit)) = (&mut self.leg, Digit::from_char(key)) {
            leg.session.send_digit(digit, KEY);
        }
    }

    /// Speaks into the call while the phone listens; gives how long that takes.
    pub fn say(&mut self, pcm: &Pcm) -> Duration {
        let Some(leg) = &mut self.leg else { return Duration::ZERO };
        let spoken = pcm.encode(leg.codec, FRAME);
        let length = spoken.duration();
        let playlist = Playlist { id: 1, items: vec![spoken], barge_in: false, repeat: false };
        // One short item of the leg's own codec is never refused.
        let _ = leg.session.play(playlist);
        length
    }

    /// What was heard since the last call of this, and its sample rate.
    pub fn take_heard(&mut self) -> (Vec<i16>, u32) {
        self.leg.as_mut().map_or_else(|| (Vec::new(), 8_000), |leg| (std::mem::take(&mut leg.heard), leg.rate_hz))
    }

    /// Hangs up and waits for the answer to the BYE.
    ///
    /// # Errors
    /// A socket broke.
    pub async fn hang_up(mut self) -> Result<(), PhoneError> {
        if !self.ended {
            self.endpoint.hangup(Instant::now(), self.key, None);
            self.drive(ANSWER_TIMEOUT, |phone| phone.ended).await?;
        }
        Ok(())
    }

    /// Receives, sends and keeps time until `done` or for at most `length`.
    async fn drive(&mut self, length: Duration, done: impl Fn(&Self) -> bool) -> Result<(), PhoneError> {
        let until = Deadline::now() + length;
        let (mut message, mut packet) = (vec![0_u8; 65_536], [0_u8; 2_048]);
        loop {
            self.carry_out().await?;
            if done(self) {
                return Ok(());
            }
            let timer = self.endpoint.deadline().map_or(until, |at| Deadline::from_std(at).min(until));
            tokio::select! {
                biased;
                _ = self.frame.tick() => self.send_frame().await,
                got = self.rtp.recv_from(&mut packet) => if let Ok((length, from)) = got {
                    self.hear(from, packet.get(..length).unwrap_or_default());
                },
                got = self.sip.recv_from(&mut message) => if let Ok((length, from)) = got {
                    let parsed = parse_datagram(message.get(..length).unwrap_or_default());
                    self.endpoint.receive(Instant::now(), Flow::udp(self.local, from), parsed);
                },
                () = sleep_until(timer) => {
                    self.endpoint.tick(Instant::now());
                    if Deadline::now() >= until {
                        return self.carry_out().await;
                    }
                }
            }
        }
    }

    /// Does what the endpoint asks for.
    async fn carry_out(&mut self) -> Result<(), PhoneError> {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Send { flow, bytes } => {
                    // A refused datagram (ICMP) shows as silence, which the machines repeat and time out.
                    let _ = self.sip.send_to(&bytes, flow.remote).await;
                }
                Output::Call { key, event } if key == self.key => self.take(event)?,
                Output::Call { .. } => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, event: CallEvent) -> Result<(), PhoneError> {
        match event {
            CallEvent::Answered { sdp: Some(answer) } if self.leg.is_none() => {
                let negotiated =
                    self.negotiator.accept_answer(&answer).map_err(|error| PhoneError::Sdp(error.to_string()))?;
                let codec = negotiated.codec;
                let session = Session::new(Instant::now(), SessionConfig::new(negotiated, rand::random()));
                let rate_hz = codec.sample_rate_hz();
                self.leg = Some(Leg { session, codec, decoder: codec.decoder(), heard: Vec::new(), rate_hz });
            }
            CallEvent::Reoffer { sdp } => {
                let answer = match sdp {
                    Some(offer) => self.negotiator.answer(&offer).map(|(answer, _)| answer).map_err(|e| e.sip_status()),
                    None => Ok(self.negotiator.offer(Direction::SendRecv)),
                };
                self.endpoint.answer_reoffer(Instant::now(), self.key, answer);
            }
            CallEvent::Failed { status, reason, .. } => {
                self.refused = Some((status, reason));
                self.ended = true;
            }
            CallEvent::Ended { .. } | CallEvent::Cancelled => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    async fn send_frame(&mut self) {
        let Some(leg) = &mut self.leg else { return };
        let mut out = [0_u8; 1_500];
        if let Some(length) = leg.session.next_frame(Instant::now(), &mut out) {
            let _ = self.rtp.send_to(out.get(..length).unwrap_or_default(), leg.session.remote()).await;
        }
    }

    fn hear(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Some(leg) = &mut self.leg else { return };
        let mut pcm = [0_i16; 2_048];
        let samples = match leg.session.receive_rtp(Instant::now(), from, bytes).media() {
            Some(media) if media.kind == ark_media::session::Kind::Audio => leg.decoder.decode(media.payload, &mut pcm),
            _ => 0,
        };
        if leg.heard.len() + samples <= HEARD_SAMPLES_MAX {
            leg.heard.extend_from_slice(pcm.get(..samples).unwrap_or_default());
        }
        while leg.session.poll().is_some() {}
    }
}
