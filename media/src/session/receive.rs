//! The way in: source, stream, payload type, keys.

use std::net::SocketAddr;
use std::time::Instant;

use super::source::{SourceLock, Verdict};
use super::{Session, SessionConfig, SessionEvent};
use crate::codec::CodecRef;
use crate::dtmf;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::quality::{BurstMeter, LATE, Quality};
use crate::rtp::{self, Jitter, Packet, SeqExtender, Sequence};
use crate::sdp::Negotiated;

/// Static payload type of comfort noise (RFC 3389 4).
const COMFORT_NOISE: u8 = 13;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Audio of the agreed codec.
    Audio,
    /// A telephone-event.
    Event,
    /// Comfort noise (RFC 3389): the peer pauses, and this is what its silence sounds like.
    Comfort,
}

/// An accepted packet, for a bridge ([`Session::forward`]) or a tap.
#[derive(Debug, Clone, Copy)]
pub struct Media<'a> {
    /// Audio, key or comfort noise.
    pub kind: Kind,
    /// The codec of audio.
    pub codec: CodecRef,
    /// The payload.
    pub payload: &'a [u8],
    /// As received.
    pub marker: bool,
    /// As received.
    pub timestamp: u32,
    /// The clock in which a telephone-event's duration counts.
    pub event_clock_hz: u32,
    /// Extended sequence number: counts on over wraps and restarts of the sender.
    pub sequence: u64,
    /// The sender's stream; when it changes, timestamps begin anew.
    pub ssrc: u32,
    /// Of a key that went down before the relay began: it was pressed for us, and is not passed on.
    pub for_us: bool,
}

/// Why a datagram was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// No RTP packet.
    Garbage,
    /// Not from the peer.
    WrongSource,
    /// A payload type that was not agreed.
    PayloadType,
    /// Seen before, or its sequence number is too far off to be believed.
    Sequence,
    /// Ark said that it does not receive (hold).
    Held,
    /// RTCP on the RTP port: read as RTCP when that was agreed.
    Rtcp,
}

/// What a datagram was; see [`Session::receive_rtp`].
#[derive(Debug, Clone, Copy)]
pub enum Received<'a> {
    /// Accepted.
    Media(Media<'a>),
    /// Comfort noise (RFC 3389, payload type 13): a pause of the peer's voice, no audio. For
    /// [`crate::playout::Playout`] alone: a bridge's other side has agreed to nothing of the kind.
    Comfort(Media<'a>),
    /// Counted and forgotten.
    Dropped(Dropped),
}

impl<'a> Received<'a> {
    /// The packet, if it was accepted and carries audio or a key.
    pub fn media(self) -> Option<Media<'a>> {
        match self {
            Self::Media(media) => Some(media),
            Self::Comfort(_) | Self::Dropped(_) => None,
        }
    }

    /// The packet, if it was accepted, comfort noise too: what [`crate::playout::Playout::push`] takes.
    pub fn playable(self) -> Option<Media<'a>> {
        match self {
            Self::Media(media) | Self::Comfort(media) => Some(media),
            Self::Dropped(_) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    ssrc: u32,
    pub(super) sequence: SeqExtender,
    pub(super) jitter: Jitter,
}

#[derive(Debug)]
pub(super) struct Receive {
    lock: SourceLock,
    /// Source of the peer's RTCP, once it spoke.
    rtcp_from: Option<SocketAddr>,
    pub(super) stream: Option<Stream>,
    /// Counters of streams that are over (the peer changed its SSRC).
    past: Quality,
    pub(super) bursts: BurstMeter,
    jitter_max: u32,
    events: dtmf::Receiver,
    last: Option<Instant>,
    tolerate_foreign_events: bool,
}

impl Receive {
    pub(super) fn new(now: Instant, config: &SessionConfig) -> Self {
        Self {
            lock: SourceLock::new(now, config.source, config.negotiated.remote),
            rtcp_from: None,
            stream: None,
            past: Quality::default(),
            bursts: BurstMeter::default(),
            jitter_max: 0,
            events: dtmf::Receiver::new(config.negotiated.dtmf_clock_hz),
            last: None,
            tolerate_foreign_events: config.tolerate_foreign_events,
        }
    }

    pub(super) fn adopt(&mut self, now: Instant, before: &Negotiated, after: &Negotiated) {
        self.lock.expect(now, after.remote);
        self.events.set_clock(after.dtmf_clock_hz);
        if before.remote_rtcp != after.remote_rtcp {
            self.rtcp_from = None;
        }
    }

    pub(super) fn remote(&self, negotiated: &Negotiated) -> SocketAddr {
        if negotiated.remote.ip().is_unspecified() { negotiated.remote } else { self.lock.address() }
    }

    pub(super) fn remote_rtcp(&self, negotiated: &Negotiated) -> SocketAddr {
        if negotiated.rtcp_mux { self.remote(negotiated) } else { self.rtcp_from.unwrap_or(negotiated.remote_rtcp) }
    }

    pub(super) fn last_received(&self) -> Option<Instant> {
        self.last
    }

    /// Whether RTCP may come from here: from the peer's host. Its port is remembered for our reports when the peer
    /// stands behind a NAT (when its RTP was learned).
    pub(super) fn accepts_rtcp(&mut self, negotiated: &Negotiated, from: SocketAddr) -> bool {
        let learned = self.lock.address() != negotiated.remote;
        let host = if learned { self.lock.address().ip() } else { negotiated.remote_rtcp.ip() };
        let accepted = from.ip() == host || from.ip() == negotiated.remote_rtcp.ip();
        if accepted && learned && self.rtcp_from.is_none() {
            self.rtcp_from = Some(from);
        }
        accepted
    }

    /// Adds the streams' counters to `quality`.
    pub(super) fn measure(&self, negotiated: &Negotiated, quality: &mut Quality) {
        quality.lost += self.past.lost;
        quality.expected += self.past.expected;
        quality.reordered += self.past.reordered;
        quality.duplicates += self.past.duplicates;
        quality.jitter = self.past.jitter;
        quality.loss_bursts = self.bursts.runs();
        quality.jitter_max = negotiated.codec.duration_of(u64::from(self.jitter_max));
        quality.codec = Some(negotiated.codec);
        if let Some(stream) = &self.stream {
            quality.lost += stream.sequence.lost();
            quality.expected += stream.sequence.expected();
            quality.reordered += stream.sequence.reordered();
            quality.duplicates += stream.sequence.duplicates();
            quality.jitter = negotiated.codec.duration_of(u64::from(stream.jitter.clock_units()));
        }
    }
}

impl Session {
    /// Takes a datagram from the RTP socket. What it means for keys and playlists follows from [`Session::poll`].
    pub fn receive_rtp<'a>(&mut self, now: Instant, from: SocketAddr, bytes: &'a [u8]) -> Received<'a> {
        if rtp::is_rtcp(bytes) {
            if self.negotiated.rtcp_mux {
                self.receive_rtcp(now, from, bytes);
            }
            return Received::Dropped(Dropped::Rtcp);
        }
        match self.accept(now, from, bytes) {
            Ok(media) if media.kind == Kind::Comfort => Received::Comfort(media),
            Ok(media) => Received::Media(media),
            Err(why) => {
                match why {
                    Dropped::Garbage | Dropped::PayloadType => self.quality.garbage += 1,
                    Dropped::WrongSource => self.quality.wrong_source += 1,
                    Dropped::Sequence | Dropped::Held | Dropped::Rtcp => {}
                }
                Received::Dropped(why)
            }
        }
    }

    fn accept<'a>(&mut self, now: Instant, from: SocketAddr, bytes: &'a [u8]) -> Result<Media<'a>, Dropped> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Dropped::Garbage);
        }
        let packet = Packet::parse(bytes).map_err(|_| Dropped::Garbage)?;
        match self.receive.lock.check(now, from, &packet.header) {
            Verdict::Accept => {}
            Verdict::Learned => self.note(SessionEvent::SourceLearned(from)),
            Verdict::Wrong => return Err(Dropped::WrongSource),
        }
        // Any packet of the peer shows that it is there, comfort noise and held streams too.
        self.receive.last = Some(now);
        let kind = self.kind(&packet);
        let sequence = self.count(now, &packet, kind)?;
        let kind = kind.ok_or(Dropped::PayloadType)?;
        if !self.negotiated.direction.receives() {
            return Err(Dropped::Held);
        }
        if kind == Kind::Event {
            let first = self.receive.events.receive(now, packet.header.ssrc, packet.header.timestamp, packet.payload);
            self.tell(now, first);
        } else if self.receive.events.is_held() {
            let expired = self.receive.events.expire(now);
            self.tell(now, expired);
        }
        if kind == Kind::Audio && self.ear.is_some() {
            self.listen(now, packet.header.ssrc, packet.payload);
        }
        Ok(Media {
            kind,
            codec: self.negotiated.codec,
            payload: packet.payload,
            marker: packet.header.marker,
            timestamp: packet.header.timestamp,
            event_clock_hz: self.negotiated.dtmf_clock_hz,
            sequence,
            ssrc: packet.header.ssrc,
            for_us: kind == Kind::Event && self.receive.events.is_for_us(packet.header.timestamp),
        })
    }

    fn kind(&self, packet: &Packet<'_>) -> Option<Kind> {
        let agreed = &self.negotiated;
        let number = packet.header.payload_type;
        // Our numbers are what was agreed. Some peers send with their own all the same.
        for (audio, event) in [
            (agreed.receive_payload_type, agreed.receive_dtmf_payload_type),
            (agreed.payload_type, agreed.dtmf_payload_type),
        ] {
            if number == audio {
                return Some(Kind::Audio);
            }
            if Some(number) == event {
                return Some(Kind::Event);
            }
        }
        if number == agreed.comfort_noise.unwrap_or(COMFORT_NOISE) {
            return Some(Kind::Comfort);
        }
        let event = self.receive.tolerate_foreign_events && dtmf::looks_like_event(number, packet.payload);
        event.then_some(Kind::Event)
    }

    /// Counts the packet into its stream; gives the extended sequence number of a packet that may be used.
    fn count(&mut self, now: Instant, packet: &Packet<'_>, kind: Option<Kind>) -> Result<u64, Dropped> {
        let header = &packet.header;
        if let Some(stream) = self.receive.stream.take_if(|stream| stream.ssrc != header.ssrc) {
            let clock = self.negotiated.codec;
            let past = &mut self.receive.past;
            past.lost += stream.sequence.lost();
            past.expected += stream.sequence.expected();
            past.reordered += stream.sequence.reordered();
            past.duplicates += stream.sequence.duplicates();
            past.jitter = clock.duration_of(u64::from(stream.jitter.clock_units()));
        }
        let clock_hz = self.negotiated.codec.rtp_clock_hz();
        let extended = match &mut self.receive.stream {
            None => {
                let sequence = SeqExtender::new(header.sequence);
                let first = (1 << 16) + u64::from(header.sequence);
                self.receive.bursts.received();
                self.receive.stream = Some(Stream { ssrc: header.ssrc, sequence, jitter: Jitter::default() });
                first
            }
            Some(stream) => match stream.sequence.update(header.sequence) {
                Sequence::New { extended, missed } => {
                    // What comes out of order is taken for lost here, and costs the picture little.
                    self.receive.bursts.lost(missed);
                    self.receive.bursts.received();
                    extended
                }
                Sequence::Reordered(extended) => extended,
                Sequence::Restarted(extended) => {
                    stream.jitter.restart();
                    extended
                }
                Sequence::Duplicate | Sequence::Suspect => return Err(Dropped::Sequence),
            },
        };
        // Events keep their timestamp, comfort noise comes when it likes: neither measures the network.
        if let (Some(Kind::Audio), Some(stream)) = (kind, &mut self.receive.stream) {
            if header.marker && !self.receive.events.is_held() {
                stream.jitter.restart();
            }
            let delay = stream.jitter.update(now, header.timestamp, clock_hz);
            self.receive.jitter_max = self.receive.jitter_max.max(stream.jitter.clock_units());
            self.quality.late += u64::from(delay > LATE);
        }
        self.quality.packets_in += 1;
        self.quality.bytes_in += packet.payload.len() as u64;
        Ok(extended)
    }

    pub(super) fn tell(&mut self, now: Instant, first: Option<dtmf::Event>) {
        let mut next = first;
        while let Some(event) = next {
            self.heard(now, event);
            next = self.receive.events.waiting();
        }
    }

    /// Ends a key whose end packets were lost.
    /// What was pressed until now stays with us.
    pub(super) fn keep_key(&mut self) {
        self.receive.events.keep();
    }

    pub(super) fn expire_event(&mut self, now: Instant) {
        if self.receive.events.is_held() {
            let expired = self.receive.events.expire(now);
            self.tell(now, expired);
        }
    }

    /// What the report block says about the stream that is being received.
    pub(super) fn stream(&mut self) -> Option<(u32, &mut Stream)> {
        self.receive.stream.as_mut().map(|stream| (stream.ssrc, stream))
    }
}
