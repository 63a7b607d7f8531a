//! Offer and answer (RFC 3264) for one audio stream with one codec and telephone-event.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Connection, Description, Direction, Media, RtpMap, SdpError, parse};
use crate::codec::{self, CodecRef, Tuning, comfort};
use crate::limits::{PTIME_MAX, PTIME_STEP, TICK};

/// What the two sides agreed on: all that a session needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The one codec.
    pub codec: CodecRef,
    /// Number of the codec in the packets Ark sends.
    pub payload_type: u8,
    /// Number of the codec in the packets Ark receives.
    pub receive_payload_type: u8,
    /// Number of telephone-event in the packets Ark sends; `None`: the peer does not take it.
    pub dtmf_payload_type: Option<u8>,
    /// Number of telephone-event in the packets Ark receives.
    pub receive_dtmf_payload_type: Option<u8>,
    /// Clock of the telephone-events: the codec's, or that of the only ones the peer takes.
    pub dtmf_clock_hz: u32,
    /// Number of comfort noise (RFC 3389) in both directions, where both sides take it.
    pub comfort_noise: Option<u8>,
    /// How the peer wants the codec's encoder set.
    pub tuning: Tuning,
    /// Audio in each packet Ark sends: 10 to 60 ms, a multiple of 10; of a codec of whole frames 20, 40 or 60 ms.
    pub ptime: Duration,
    /// Where audio goes. An unspecified address means that nothing must be sent.
    pub remote: SocketAddr,
    /// Where RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// Ark's own direction: whether it may send and whether it will receive.
    pub direction: Direction,
    /// RTCP runs on the RTP port.
    pub rtcp_mux: bool,
    /// The peer wants to be told how it sounds (RFC 3611: `a=rtcp-xr` with `voip-metrics`).
    pub rtcp_xr: bool,
}

impl Negotiated {
    /// Both ways with this codec and number, 20 ms a packet, without keys, RTCP on the next port: what tests and benches
    /// begin with.
    pub fn new(codec: CodecRef, payload_type: u8, remote: SocketAddr) -> Self {
        Self {
            codec,
            payload_type,
            receive_payload_type: payload_type,
            dtmf_payload_type: None,
            receive_dtmf_payload_type: None,
            dtmf_clock_hz: codec.rtp_clock_hz(),
            comfort_noise: None,
            tuning: Tuning::default(),
            ptime: TICK,
            remote,
            remote_rtcp: SocketAddr::new(remote.ip(), remote.port().saturating_add(1)),
            direction: Direction::SendRecv,
            rtcp_mux: false,
            rtcp_xr: false,
        }
    }

    /// Whether the peer put this call on hold: it will not listen.
    pub fn is_held(&self) -> bool {
        !self.direction.sends()
    }
}

/// Ark's side of one leg.
#[derive(Debug, Clone)]
pub struct Local {
    /// Address and RTP port as the peer must see them.
    pub rtp: SocketAddr,
    /// RTCP port on the same address.
    pub rtcp_port: u16,
    /// Codecs in order of preference. Empty: all, in the order of [`codec::ALL`].
    pub codecs: Vec<CodecRef>,
    /// Whose order counts when Ark answers.
    pub preference: Preference,
    /// Whether comfort noise is offered and taken: peers may then send nothing in pauses. Default: no.
    pub comfort_noise: bool,
    /// Number offered for telephone-event.
    pub dtmf_payload_type: u8,
    /// `o=` session id, unique for each leg.
    pub session_id: u64,
}

impl Local {
    /// A leg at this address with every codec, telephone-event as 101, and RTCP on the next port.
    pub fn new(rtp: SocketAddr, session_id: u64) -> Self {
        let rtcp_port = rtp.port().saturating_add(1);
        Self {
            rtp,
            rtcp_port,
            codecs: codec::ALL.to_vec(),
            preference: Preference::default(),
            comfort_noise: false,
            dtmf_payload_type: 101,
            session_id,
        }
    }
}

/// Whose order of codecs counts when Ark answers an offer. When Ark offers, the answer's order always counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Preference {
    /// The first of ours that the peer offers.
    #[default]
    Ours,
    /// The first of the peer's that we have.
    Theirs,
}

/// One `m=` line of the last body, kept because lines never move or vanish (RFC 3264 8).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Audio,
    Refused { kind: String, protocol: String, formats: String },
}

/// Offer/answer state of one leg: writes Ark's bodies and reads the peer's.
#[derive(Debug, Clone)]
pub struct Negotiator {
    local: Local,
    version: u64,
    /// The last body without its `o=` line.
    last: Option<String>,
    lines: Vec<Line>,
    agreed: Option<Negotiated>,
    /// The offer that waits for its answer.
    offered: Option<Offered>,
}

/// What Ark offered last: the numbers are what it will receive.
#[derive(Debug, Clone)]
struct Offered {
    direction: Direction,
    codecs: Vec<(CodecRef, u8)>,
    /// Clock and number of each telephone-event.
    events: Vec<(u32, u8)>,
}

/// An audio line that Ark can use.
struct Found {
    codec: CodecRef,
    payload_type: u8,
    /// Number and clock of telephone-event.
    event: Option<(u8, u32)>,
    comfort_noise: Option<u8>,
    tuning: Tuning,
    protocol: String,
    remote: SocketAddr,
    remote_rtcp: SocketAddr,
    direction: Direction,
    ptime: Duration,
    mux: bool,
    xr: bool,
}

impl Found {
    /// The agreement, with the peer's numbers both ways.
    fn agreement(&self) -> Negotiated {
        Negotiated {
            codec: self.codec,
            payload_type: self.payload_type,
            receive_payload_type: self.payload_type,
            dtmf_payload_type: self.event.map(|(number, _)| number),
            receive_dtmf_payload_type: self.event.map(|(number, _)| number),
            dtmf_clock_hz: self.event.map_or(self.codec.rtp_clock_hz(), |(_, clock_hz)| clock_hz),
            comfort_noise: self.comfort_noise,
            tuning: self.tuning,
            ptime: self.ptime,
            remote: self.remote,
            remote_rtcp: if self.mux { self.remote } else { self.remote_rtcp },
            direction: self.direction.mirrored(),
            rtcp_mux: self.mux,
            rtcp_xr: self.xr,
        }
    }
}

/// What an audio line of ours says.
struct Ours<'a> {
    protocol: &'a str,
    codecs: &'a [(CodecRef, u8)],
    /// Clock and number of each telephone-event.
    events: &'a [(u32, u8)],
    comfort_noise: Option<u8>,
    ptime: Duration,
    direction: Direction,
    mux: bool,
    xr: bool,
}

impl Negotiator {
    /// A leg that has exchanged nothing yet.
    pub fn new(mut local: Local) -> Self {
        if local.codecs.is_empty() {
            local.codecs = codec::ALL.to_vec();
        }
        Self { local, version: 0, last: None, lines: Vec::new(), agreed: None, offered: None }
    }

    /// What was agreed last.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.agreed.as_ref()
    }

    /// Answers an offer, first or later: the first usable audio line with the first codec of [`Local::codecs`] that it
    /// has, every other line with port 0. On an error nothing has changed: refuse with [`SdpError::sip_status`].
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Negotiated), SdpError> {
        let offer = parse(offer)?;
        let (index, found) = self.choose(&offer)?;
        let negotiated = found.agreement();
        self.lines = offer
            .media
            .iter()
            .enumerate()
            .map(|(at, media)| if at == index { Line::Audio } else { refused(media) })
            .collect();
        let events: Vec<_> = found.event.iter().map(|(number, clock_hz)| (*clock_hz, *number)).collect();
        let audio = self.audio_lines(&Ours {
            protocol: &found.protocol,
            codecs: &[(found.codec, found.payload_type)],
            events: &events,
            comfort_noise: found.comfort_noise,
            ptime: found.ptime,
            direction: negotiated.direction,
            mux: found.mux,
            xr: found.xr,
        });
        self.agreed = Some(negotiated.clone());
        self.offered = None;
        Ok((self.body(&audio), negotiated))
    }

    /// An offer: the first of a call that Ark places or that came without one, or a re-INVITE (hold with
    /// [`Direction::SendOnly`], resume with [`Direction::SendRecv`]). A later offer names the agreed codec first.
    pub fn offer(&mut self, direction: Direction) -> Vec<u8> {
        if !self.lines.contains(&Line::Audio) {
            self.lines.push(Line::Audio);
        }
        let (codecs, events) = self.numbers();
        let agreed = self.agreed.as_ref();
        let audio = self.audio_lines(&Ours {
            protocol: "RTP/AVP",
            codecs: &codecs,
            events: &events,
            comfort_noise: self.local.comfort_noise.then_some(comfort::PAYLOAD_TYPE),
            ptime: agreed.map_or(TICK, |a| a.ptime),
            direction,
            mux: agreed.is_none_or(|a| a.rtcp_mux),
            xr: agreed.is_some_and(|a| a.rtcp_xr),
        });
        self.offered = Some(Offered { direction, codecs, events });
        self.body(&audio)
    }

    /// Every codec with the number that is offered for it, and the telephone-event of each of their clocks. What was
    /// agreed on comes first and keeps its numbers.
    #[expect(clippy::type_complexity, reason = "two lists of pairs")]
    fn numbers(&self) -> (Vec<(CodecRef, u8)>, Vec<(u32, u8)>) {
        let agreed = self.agreed.as_ref();
        let known = agreed.map(|agreed| (agreed.codec, agreed.receive_payload_type));
        let known_event = agreed.and_then(|a| Some((a.dtmf_clock_hz, a.receive_dtmf_payload_type?)));
        let own_event = self.local.dtmf_payload_type;
        let mut taken: Vec<u8> = known.into_iter().map(|(_, n)| n).chain(known_event.map(|(_, n)| n)).collect();
        taken.push(own_event);
        let mut dynamic = (96..128).filter(move |number| !taken.contains(number));
        let mut codecs: Vec<(CodecRef, u8)> = Vec::new();
        for codec in known.map(|(c, _)| c).into_iter().chain(self.local.codecs.iter().copied()) {
            if codecs.iter().any(|(c, _)| *c == codec) {
                continue;
            }
            let number = known.filter(|(c, _)| *c == codec).map(|(_, number)| number);
            let number = number.or_else(|| codec.payload_type()).or_else(|| dynamic.next());
            codecs.extend(number.map(|number| (codec, number)));
        }
        let mut events: Vec<(u32, u8)> = known_event.into_iter().collect();
        for clock_hz in codecs.iter().map(|(codec, _)| codec.rtp_clock_hz()) {
            if events.iter().all(|(known, _)| *known != clock_hz) {
                let free = events.iter().all(|(_, number)| *number != own_event);
                let number = if free { Some(own_event) } else { dynamic.next() };
                events.extend(number.map(|number| (clock_hz, number)));
            }
        }
        (codecs, events)
    }

    /// Reads the answer to the last [`Negotiator::offer`]. Of several codecs in it the first is taken: the answerer's
    /// order counts (RFC 3264 6.1).
    pub fn accept_answer(&mut self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        let Some(offered) = &self.offered else { return Err(SdpError::WrongAnswer { why: "nothing was offered" }) };
        let answer = parse(answer)?;
        let at = self.lines.iter().position(|line| *line == Line::Audio).unwrap_or(0);
        let Some(media) = answer.media.get(at) else {
            return Err(SdpError::WrongAnswer { why: "it has fewer media lines" });
        };
        let found = self.usable(&answer, media, Preference::Theirs)?;
        let mut negotiated = found.agreement();
        // A peer may answer with numbers of its own: those are what it wants to receive (RFC 3264 5.1). We receive ours.
        if let Some((_, number)) = offered.codecs.iter().find(|(codec, _)| *codec == found.codec) {
            negotiated.receive_payload_type = *number;
        }
        if let Some((_, clock_hz)) = found.event {
            let ours = offered.events.iter().find(|(clock, _)| *clock == clock_hz).or(offered.events.first());
            negotiated.receive_dtmf_payload_type = ours.map(|(_, number)| *number);
        }
        let (ours, theirs) = (offered.direction, negotiated.direction);
        negotiated.direction =
            Direction::from_parts(ours.sends() && theirs.sends(), ours.receives() && theirs.receives());
        self.agreed = Some(negotiated.clone());
        self.offered = None;
        Ok(negotiated)
    }

    /// The peer refused the last offer or never answered it: what was agreed before stays.
    pub fn abandon_offer(&mut self) {
        self.offered = None;
    }

    fn choose(&self, offer: &Description<'_>) -> Result<(usize, Found), SdpError> {
        let mut refusal = SdpError::NoAudio { why: "there is no audio line" };
        for (at, media) in offer.media.iter().enumerate().filter(|(_, m)| m.kind.eq_ignore_ascii_case("audio")) {
            match self.usable(offer, media, self.local.preference) {
                Ok(found) => return Ok((at, found)),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    fn usable(
        &self,
        description: &Description<'_>,
        media: &Media<'_>,
        preference: Preference,
    ) -> Result<Found, SdpError> {
        let no = |why| SdpError::NoAudio { why };
        if media.port == 0 {
            return Err(no("its port is 0"));
        }
        let protocol = media.protocol.to_ascii_uppercase();
        if protocol != "RTP/AVP" && protocol != "RTP/AVPF" {
            return Err(no("it wants a protocol other than RTP/AVP"));
        }
        let address = match media.connection.or(description.connection) {
            Some(Connection::Address(address)) => address,
            Some(Connection::Other(_)) => return Err(no("its address is not an IP address")),
            None => return Err(no("it has no c= line")),
        };
        let broadcast = matches!(address, IpAddr::V4(ip) if ip.is_broadcast());
        if address.is_multicast() || broadcast {
            return Err(no("its address is not one host's"));
        }
        if address.is_ipv4() != self.local.rtp.is_ipv4() && !address.is_unspecified() {
            return Err(no("its address family is not that of this leg"));
        }
        let (codec, payload_type) = self.common_codec(media, preference).ok_or(SdpError::NoCommonCodec)?;
        let mut direction = media.direction.or(description.direction).unwrap_or_default();
        if address.is_unspecified() {
            // Hold as in RFC 2543: there is nowhere to send to.
            direction = Direction::from_parts(direction.sends(), false);
        }
        let remote = SocketAddr::new(address, media.port);
        let remote_rtcp = match media.rtcp {
            Some((port, ip)) => {
                let ip = ip.filter(|ip| ip.is_ipv4() == address.is_ipv4() && !ip.is_multicast());
                SocketAddr::new(ip.unwrap_or(address), port)
            }
            None => SocketAddr::new(address, media.port.saturating_add(1)),
        };
        let fmtp = media.fmtp(payload_type);
        // FreeSWITCH says it here too.
        let maxptime = codec::parameter(fmtp, "maxptime").and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0);
        let maxptime = maxptime.into_iter().chain(media.maxptime_ms).min();
        Ok(Found {
            codec,
            payload_type,
            event: telephone_event(media, codec.rtp_clock_hz()),
            comfort_noise: comfort_noise(media, codec).filter(|_| self.local.comfort_noise),
            tuning: codec.tuning(fmtp),
            protocol,
            remote,
            remote_rtcp,
            direction,
            ptime: packet_time(codec, media.ptime_ms.or(description.ptime_ms), maxptime),
            mux: media.rtcp_mux,
            xr: media.rtcp_xr || description.rtcp_xr,
        })
    }

    /// The codec that both sides have and that comes first in the order that counts, and its number there.
    fn common_codec(&self, media: &Media<'_>, preference: Preference) -> Option<(CodecRef, u8)> {
        let ours = || self.local.codecs.iter().copied();
        match preference {
            Preference::Ours => ours().find_map(|codec| {
                let (number, _) = media.payload_types().find(|(number, map)| is(codec, *number, *map))?;
                Some((codec, number))
            }),
            Preference::Theirs => media.payload_types().find_map(|(number, map)| {
                let codec = ours().find(|codec| is(*codec, number, map))?;
                Some((codec, number))
            }),
        }
    }

    fn audio_lines(&self, ours: &Ours<'_>) -> String {
        let local = &self.local;
        let mut text = format!("m=audio {} {}", local.rtp.port(), ours.protocol);
        let numbers = ours.codecs.iter().map(|(_, number)| *number);
        for number in numbers.chain(ours.comfort_noise).chain(ours.events.iter().map(|(_, number)| *number)) {
            let _ = write!(text, " {number}");
        }
        text.push_str("\r\n");
        for (codec, number) in ours.codecs {
            let _ = write!(text, "a=rtpmap:{number} {}/{}", codec.name(), codec.rtp_clock_hz());
            if codec.channels() > 1 {
                let _ = write!(text, "/{}", codec.channels());
            }
            text.push_str("\r\n");
            if let Some(parameters) = codec.fmtp() {
                let _ = write!(text, "a=fmtp:{number} {parameters}\r\n");
            }
        }
        if let Some(number) = ours.comfort_noise {
            let _ = write!(text, "a=rtpmap:{number} {}/{}\r\n", comfort::NAME, comfort::CLOCK_HZ);
        }
        for (clock, number) in ours.events {
            let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n");
        }
        let _ = write!(text, "a=ptime:{}\r\na={}\r\n", ours.ptime.as_millis(), ours.direction.as_str());
        if ours.mux {
            text.push_str("a=rtcp-mux\r\n");
        }
        if ours.xr {
            text.push_str("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n");
        }
        if local.rtcp_port != local.rtp.port().saturating_add(1) {
            let _ = write!(text, "a=rtcp:{}\r\n", local.rtcp_port);
        }
        text
    }

    /// Puts a body together; its version goes up by one when anything in it changed.
    fn body(&mut self, audio: &str) -> Vec<u8> {
        let family = if self.local.rtp.is_ipv4() { "IP4" } else { "IP6" };
        let address = self.local.rtp.ip();
        let mut rest = format!("s=-\r\nc=IN {family} {address}\r\nt=0 0\r\n");
        for line in &self.lines {
            match line {
                Line::Audio => rest.push_str(audio),
                Line::Refused { kind, protocol, formats } => {
                    let _ = write!(rest, "m={kind} 0 {protocol} {formats}\r\n");
                }
            }
        }
        match &self.last {
            Some(last) if *last == rest => {}
            Some(_) => self.version += 1,
            None => self.version = 1,
        }
        let body = format!("v=0\r\no=ark {} {} IN {family} {address}\r\n{rest}", self.local.session_id, self.version);
        self.last = Some(rest);
        body.into_bytes()
    }
}

fn refused(media: &Media<'_>) -> Line {
    let formats = if media.formats.is_empty() { "0".to_owned() } else { media.formats.join(" ") };
    Line::Refused { kind: media.kind.to_owned(), protocol: media.protocol.to_owned(), formats }
}

/// Whether this number of a line is the codec: by its `a=rtpmap`, else by its static meaning.
fn is(codec: CodecRef, number: u8, map: Option<&RtpMap<'_>>) -> bool {
    match map {
        // "opus/48000" without its "/2" is wrong (RFC 7587 7), and clear all the same.
        Some(map) => {
            codec.is_called(map.name) && map.clock_hz == codec.rtp_clock_hz() && map.channels <= codec.channels()
        }
        None => codec.payload_type() == Some(number),
    }
}

/// The number and clock of telephone-event: with the codec's own clock (RFC 4733 2.1), else as most phones offer it
/// beside Opus, with 8000 Hz.
fn telephone_event(media: &Media<'_>, clock_hz: u32) -> Option<(u8, u32)> {
    let with = |clock_hz| {
        let event = |map: &RtpMap<'_>| map.name.eq_ignore_ascii_case("telephone-event") && map.clock_hz == clock_hz;
        media.payload_types().find(|(_, map)| map.is_some_and(event)).map(|(number, _)| (number, clock_hz))
    };
    with(clock_hz).or_else(|| with(8000))
}

/// The number of comfort noise on the codec's clock, if the line has one. Only 8000 Hz has a use: Opus has its own.
fn comfort_noise(media: &Media<'_>, codec: CodecRef) -> Option<u8> {
    let noise = |(number, map): &(u8, Option<&RtpMap<'_>>)| match map {
        Some(map) => map.name.eq_ignore_ascii_case(comfort::NAME) && map.clock_hz == comfort::CLOCK_HZ,
        None => *number == comfort::PAYLOAD_TYPE,
    };
    let own_clock = codec.rtp_clock_hz() == comfort::CLOCK_HZ;
    own_clock.then(|| media.payload_types().find(noise)).flatten().map(|(number, _)| number)
}

/// What Ark sends: a multiple of 10 ms (of the tick, for a codec whose frames cannot be cut) that respects `maxptime` and
/// comes close to `ptime` from below.
fn packet_time(codec: CodecRef, ptime_ms: Option<u32>, maxptime_ms: Option<u32>) -> Duration {
    let step = if codec.concatenates() { PTIME_STEP } else { TICK };
    let step_ms = step.as_millis() as u32;
    let wanted = ptime_ms.filter(|ms| *ms > 0).unwrap_or(TICK.as_millis() as u32).min(maxptime_ms.unwrap_or(u32::MAX));
    step * (wanted / step_ms).clamp(1, PTIME_MAX.as_millis() as u32 / step_ms)
}
