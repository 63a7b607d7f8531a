//! Offer and answer (RFC 3264) for one audio stream with one codec and telephone-event.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Connection, Description, Direction, Media, SdpError, parse};
use crate::codec::{self, CodecRef};
use crate::limits::{PTIME_MAX, TICK};

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
    /// Audio in each packet Ark sends: 20, 40 or 60 ms.
    pub ptime: Duration,
    /// Where audio goes. An unspecified address means that nothing must be sent.
    pub remote: SocketAddr,
    /// Where RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// Ark's own direction: whether it may send and whether it will receive.
    pub direction: Direction,
    /// RTCP runs on the RTP port.
    pub rtcp_mux: bool,
}

impl Negotiated {
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
    /// Number offered for telephone-event.
    pub dtmf_payload_type: u8,
    /// `o=` session id, unique for each leg.
    pub session_id: u64,
}

impl Local {
    /// A leg at this address with every codec, telephone-event as 101, and RTCP on the next port.
    pub fn new(rtp: SocketAddr, session_id: u64) -> Self {
        let rtcp_port = rtp.port().saturating_add(1);
        Self { rtp, rtcp_port, codecs: codec::ALL.to_vec(), dtmf_payload_type: 101, session_id }
    }
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
    /// Direction of the offer that waits for its answer.
    offered: Option<Direction>,
}

/// An audio line that Ark can use.
struct Found {
    codec: CodecRef,
    payload_type: u8,
    dtmf: Option<u8>,
    protocol: String,
    remote: SocketAddr,
    remote_rtcp: SocketAddr,
    direction: Direction,
    ptime: Duration,
    mux: bool,
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
        let negotiated = Negotiated {
            codec: found.codec,
            payload_type: found.payload_type,
            receive_payload_type: found.payload_type,
            dtmf_payload_type: found.dtmf,
            receive_dtmf_payload_type: found.dtmf,
            ptime: found.ptime,
            remote: found.remote,
            remote_rtcp: if found.mux { found.remote } else { found.remote_rtcp },
            direction: found.direction.mirrored(),
            rtcp_mux: found.mux,
        };
        self.lines = offer
            .media
            .iter()
            .enumerate()
            .map(|(at, media)| if at == index { Line::Audio } else { refused(media) })
            .collect();
        let audio = audio_lines(
            &self.local,
            &found.protocol,
            &[(found.codec, found.payload_type)],
            found.dtmf,
            found.ptime,
            negotiated.direction,
            found.mux,
        );
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
        let mut codecs: Vec<(CodecRef, u8)> = Vec::new();
        let agreed = self.agreed.as_ref().map(|agreed| (agreed.codec, agreed.receive_payload_type));
        let mut dynamic = (96..128).filter(|p| *p != self.local.dtmf_payload_type);
        for codec in agreed.map(|(c, _)| c).into_iter().chain(self.local.codecs.iter().copied()) {
            if codecs.iter().any(|(c, _)| *c == codec) {
                continue;
            }
            let known = agreed.filter(|(c, _)| *c == codec).map(|(_, number)| number);
            codecs.extend(
                known.or_else(|| codec.payload_type()).or_else(|| dynamic.next()).map(|number| (codec, number)),
            );
        }
        let dtmf = self.agreed.as_ref().and_then(|a| a.receive_dtmf_payload_type);
        let dtmf = Some(dtmf.unwrap_or(self.local.dtmf_payload_type));
        let ptime = self.agreed.as_ref().map_or(TICK, |a| a.ptime);
        let mux = self.agreed.as_ref().is_none_or(|a| a.rtcp_mux);
        let audio = audio_lines(&self.local, "RTP/AVP", &codecs, dtmf, ptime, direction, mux);
        self.offered = Some(direction);
        self.body(&audio)
    }

    /// Reads the answer to the last [`Negotiator::offer`].
    pub fn accept_answer(&mut self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        let Some(offered) = self.offered else { return Err(SdpError::WrongAnswer { why: "nothing was offered" }) };
        let answer = parse(answer)?;
        let at = self.lines.iter().position(|line| *line == Line::Audio).unwrap_or(0);
        let Some(media) = answer.media.get(at) else {
            return Err(SdpError::WrongAnswer { why: "it has fewer media lines" });
        };
        let found = self.usable(&answer, media)?;
        // A peer may answer with numbers of its own: those are what it wants to receive (RFC 3264 5.1).
        let own = self.agreed.as_ref();
        let receive = own.filter(|a| a.codec == found.codec).map(|a| a.receive_payload_type);
        let receive = receive.or_else(|| found.codec.payload_type()).unwrap_or(found.payload_type);
        let own_dtmf = own.and_then(|a| a.receive_dtmf_payload_type).unwrap_or(self.local.dtmf_payload_type);
        let theirs = found.direction.mirrored();
        let direction =
            Direction::from_parts(offered.sends() && theirs.sends(), offered.receives() && theirs.receives());
        let negotiated = Negotiated {
            codec: found.codec,
            payload_type: found.payload_type,
            receive_payload_type: receive,
            dtmf_payload_type: found.dtmf,
            receive_dtmf_payload_type: found.dtmf.map(|_| own_dtmf),
            ptime: found.ptime,
            remote: found.remote,
            remote_rtcp: if found.mux { found.remote } else { found.remote_rtcp },
            direction,
            rtcp_mux: found.mux,
        };
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
            match self.usable(offer, media) {
                Ok(found) => return Ok((at, found)),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    fn usable(&self, description: &Description<'_>, media: &Media<'_>) -> Result<Found, SdpError> {
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
        let (codec, payload_type) = self.common_codec(media).ok_or(SdpError::NoCommonCodec)?;
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
        Ok(Found {
            codec,
            payload_type,
            dtmf: telephone_event(media, codec.rtp_clock_hz()),
            protocol,
            remote,
            remote_rtcp,
            direction,
            ptime: packet_time(media.ptime_ms.or(description.ptime_ms), media.maxptime_ms),
            mux: media.rtcp_mux,
        })
    }

    /// The first of our codecs that the line lists, and its number there.
    fn common_codec(&self, media: &Media<'_>) -> Option<(CodecRef, u8)> {
        let numbers = || media.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|n| *n < 128);
        self.local.codecs.iter().copied().find_map(|codec| {
            let number =
                numbers().find(|number| match media.rtpmaps.iter().find(|map| map.payload_type == *number) {
                    Some(map) => {
                        map.name.eq_ignore_ascii_case(codec.name())
                            && map.clock_hz == codec.rtp_clock_hz()
                            && map.channels == codec.channels()
                    }
                    None => codec.payload_type() == Some(*number),
                })?;
            Some((codec, number))
        })
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

/// The number of telephone-event with the codec's own clock (RFC 4733 2.1), if the line has one.
fn telephone_event(media: &Media<'_>, clock_hz: u32) -> Option<u8> {
    let listed = |number: u8| media.formats.iter().any(|f| f.parse() == Ok(number));
    let event = |map: &&super::RtpMap<'_>| map.name.eq_ignore_ascii_case("telephone-event");
    media
        .rtpmaps
        .iter()
        .filter(event)
        .find(|map| map.clock_hz == clock_hz && listed(map.payload_type))
        .map(|map| map.payload_type)
}

/// What Ark sends: a multiple of its tick that respects `maxptime` and comes close to `ptime` from below.
fn packet_time(ptime_ms: Option<u32>, maxptime_ms: Option<u32>) -> Duration {
    let tick = TICK.as_millis() as u32;
    let wanted = ptime_ms.unwrap_or(tick).min(maxptime_ms.unwrap_or(u32::MAX));
    let ticks = (wanted / tick).clamp(1, PTIME_MAX.as_millis() as u32 / tick);
    TICK * ticks
}

fn audio_lines(
    local: &Local,
    protocol: &str,
    codecs: &[(CodecRef, u8)],
    dtmf: Option<u8>,
    ptime: Duration,
    direction: Direction,
    mux: bool,
) -> String {
    let mut text = format!("m=audio {} {protocol}", local.rtp.port());
    for number in codecs.iter().map(|(_, number)| *number).chain(dtmf) {
        let _ = write!(text, " {number}");
    }
    text.push_str("\r\n");
    for (codec, number) in codecs {
        let _ = write!(text, "a=rtpmap:{number} {}/{}", codec.name(), codec.rtp_clock_hz());
        if codec.channels() > 1 {
            let _ = write!(text, "/{}", codec.channels());
        }
        text.push_str("\r\n");
    }
    if let (Some(number), Some((codec, _))) = (dtmf, codecs.first()) {
        let clock = codec.rtp_clock_hz();
        let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n");
    }
    let _ = write!(text, "a=ptime:{}\r\na={}\r\n", ptime.as_millis(), direction.as_str());
    if mux {
        text.push_str("a=rtcp-mux\r\n");
    }
    if local.rtcp_port != local.rtp.port().saturating_add(1) {
        let _ = write!(text, "a=rtcp:{}\r\n", local.rtcp_port);
    }
    text
}
