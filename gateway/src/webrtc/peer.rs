//! One browser's road: ICE, DTLS-SRTP and RTP by the `webrtc` crate, which is named in this file, its door
//! ([`super::gate`]) and the bench's own browsers ([`super::browser`]), and nowhere else.
//!
//! Ark is always the answerer. Each leg has a UDP port of its own for each address that is listened on (the crate shares
//! none); what comes there and is no STUN, DTLS or SRTP of this very browser is dropped at the door, and counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_media::codec::CodecRef;
use ark_media::rtp;
use ark_media::sdp::{Direction, Negotiated};
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp::header::Header;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use webrtc::media_stream::MediaStreamTrack;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    SettingEngineBuilder, StatsSelector, register_default_interceptors,
};

use super::gate::{Door, KeptOut};
use super::limits::{
    CANDIDATES_MAX, CLOSE_TIMEOUT, GATHER_MAX, PORT_ATTEMPTS, ROAD_CHECK_EVERY, ROAD_SILENCE_MAX, ROUND_TRIP_PACKETS,
};
use super::offer::{Choice, Offer, OfferError, told};
use super::runtime::Ground;
use super::signal::Candidate;
use crate::media::{PIPE_REMOTE, Pipe};

/// What happened to the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// Audio can flow.
    Up,
    /// Nothing comes over it now.
    Broken,
    /// It will not come back.
    Over,
}

/// Where legs listen and what they tell.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    /// Addresses of this machine.
    pub(crate) listen: Vec<IpAddr>,
    /// The UDP ports.
    pub(crate) range: RangeInclusive<u16>,
    /// What browsers are told in place of `listen`.
    pub(crate) public: Option<IpAddr>,
    /// Only the browser checks the road.
    pub(crate) lite: bool,
    /// Counts what no leg wants.
    pub(super) kept_out: Arc<KeptOut>,
}

/// Why a leg did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The offer.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// No free port in `[webrtc] ports`.
    #[error("no UDP port of [webrtc] ports is free")]
    Ports,
    /// The stack refused it.
    #[error("the browser's offer cannot be used: {0}")]
    Stack(String),
}

impl From<webrtc::error::Error> for PeerError {
    fn from(error: webrtc::error::Error) -> Self {
        Self::Stack(error.to_string())
    }
}

/// One browser's leg.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    pipe: Arc<Pipe>,
    choice: Choice,
    gathered: watch::Receiver<bool>,
    muted: Arc<AtomicBool>,
    public: Option<IpAddr>,
    door: Arc<Door>,
    candidates: usize,
    direction: Direction,
    /// Carries the leg's packets to the browser.
    out: JoinHandle<()>,
}

impl Peer {
    /// Answers an offer in that codec. What happens to the road is told to `road`; packets go by `pipe` from the moment on
    /// that they can.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing is held then.
    pub(crate) async fn answer(
        ports: &Ports,
        offer: &Offer,
        codec: CodecRef,
        pipe: Arc<Pipe>,
        road: mpsc::Sender<Road>,
    ) -> Result<(Self, String), PeerError> {
        let choice = offer.choose(codec)?;
        let muted = Arc::new(AtomicBool::new(false));
        let (gathered_in, gathered) = watch::channel(false);
        let inward = Inward { pipe: Arc::clone(&pipe), muted: Arc::clone(&muted), codec, number: choice.number };
        let handler = Arc::new(Handler { road, gathered: gathered_in, inward: Arc::new(inward) });
        let door = Door::new(Arc::clone(&ports.kept_out));
        let connection = connect(ports, &choice, handler, &door).await?;
        let ssrc = rand::random::<u32>();
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec: parameters(&choice).rtp_codec,
            ..Default::default()
        };
        let stream =
            MediaStreamTrack::new("ark".into(), "voice".into(), "ark".into(), RtpCodecKind::Audio, vec![coding]);
        let track = Arc::new(TrackLocalStaticRTP::new(stream));
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        let out = tokio::spawn(carry_out(Arc::clone(&pipe), track, ssrc, Arc::clone(&connection)));
        let direction = offer.our_direction();
        let public = ports.public;
        let mut peer = Self { connection, pipe, choice, gathered, muted, public, door, candidates: 0, direction, out };
        let answer = peer.agree(offer).await?;
        Ok((peer, answer))
    }

    /// Another offer of the same leg: an ICE restart, hold, another microphone. Gives the answer.
    ///
    /// # Errors
    /// See [`PeerError`]; what was agreed on before holds.
    pub(crate) async fn reoffer(&mut self, offer: &Offer) -> Result<String, PeerError> {
        // The codec of a leg that is up does not change, whatever numbers a later offer gives to others.
        if offer.choose(self.choice.codec)? != self.choice {
            return Err(PeerError::Stack("the codec's number changed".to_owned()));
        }
        self.agree(offer).await
    }

    async fn agree(&mut self, offer: &Offer) -> Result<String, PeerError> {
        let remote = RTCSessionDescription::offer(offer.only(&self.choice))?;
        self.connection.set_remote_description(remote).await?;
        let answer = self.connection.create_answer(None).await?;
        self.door.expect(&answer.sdp);
        self.connection.set_local_description(answer).await?;
        self.direction = offer.our_direction();
        // Without a server to ask, every candidate is known at once; whatever is late would be told by nobody.
        let _ = tokio::time::timeout(GATHER_MAX, self.gathered.wait_for(|gathered| *gathered)).await;
        let local = self.connection.local_description().await;
        let answer = local.ok_or_else(|| PeerError::Stack("there is no answer".to_owned()))?;
        Ok(told(&answer.sdp, self.public))
    }

    /// A candidate that the browser found after its offer. One that cannot be used is left out.
    pub(crate) async fn candidate(&mut self, found: Candidate) {
        let Candidate { candidate, sdp_mid, sdp_m_line_index: sdp_mline_index } = found;
        self.candidates += 1;
        if self.candidates > CANDIDATES_MAX || candidate.is_empty() || candidate.contains(".local ") {
            return;
        }
        let init = RTCIceCandidateInit { candidate, sdp_mid, sdp_mline_index, ..Default::default() };
        if let Err(error) = self.connection.add_ice_candidate(init).await {
            tracing::debug!(%error, "a browser's candidate cannot be used");
        }
    }

    /// What the media engine needs to know. `held`: the browser does not listen now.
    pub(crate) fn negotiated(&self, held: bool) -> Negotiated {
        Negotiated {
            dtmf_payload_type: self.choice.keys,
            receive_dtmf_payload_type: self.choice.keys,
            remote_rtcp: PIPE_REMOTE,
            direction: if held { Direction::Inactive } else { self.direction },
            rtcp_mux: true,
            ..Negotiated::new(self.choice.codec, self.choice.number, PIPE_REMOTE)
        }
    }

    /// While muted, silence is heard of the browser, whatever it sends.
    pub(crate) fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// Whether it is muted.
    pub(crate) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// The leg's codec.
    pub(crate) fn codec(&self) -> CodecRef {
        self.choice.codec
    }

    /// Lets go of the leg's packets, for another road to carry them; this one ends by itself.
    pub(crate) fn part(self) -> Arc<Pipe> {
        self.out.abort();
        let pipe = Arc::clone(&self.pipe);
        tokio::spawn(tokio::time::timeout(CLOSE_TIMEOUT, self.close()));
        pipe
    }

    /// Where the browser's voice comes from, once it does.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.door.remote()
    }

    /// Packets of the browser that the leg did not get: it was too slow, or they were too large.
    pub(crate) fn dropped(&self) -> u64 {
        self.pipe.dropped()
    }

    /// Ends the road: the browser is told by DTLS.
    pub(crate) async fn close(self) {
        self.out.abort();
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "a browser's leg did not close in order");
        }
    }
}

/// A connection on ports of ours.
async fn connect(
    ports: &Ports,
    choice: &Choice,
    handler: Arc<Handler>,
    door: &Arc<Door>,
) -> Result<Arc<dyn PeerConnection>, PeerError> {
    let mut failure = PeerError::Ports;
    for _ in 0..PORT_ATTEMPTS {
        let port = rand::random_range(ports.range.clone());
        let addresses: Vec<SocketAddr> = ports.listen.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        // The crate does not say that a port is taken in a way that could be told from other failures.
        if addresses.is_empty() || addresses.iter().any(|address| UdpSocket::bind(address).is_err()) {
            continue;
        }
        let (engine, registry) = engine(choice)?;
        let settings = SettingEngineBuilder::new()
            .with_answering_dtls_role(RTCDtlsRole::Server)
            // Names of a browser's network mean nothing to us, and the group cannot be joined everywhere.
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_timeouts(Some(ROAD_SILENCE_MAX), None, Some(ROAD_CHECK_EVERY))
            .with_lite(ports.lite)
            .build();
        let built = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_setting_engine(settings)
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::clone(&handler) as Arc<dyn PeerConnectionEventHandler>)
            .with_runtime(Arc::new(Ground::Guarded(Arc::clone(door))))
            .with_udp_addrs(addresses)
            .build()
            .await;
        match built {
            Ok(connection) => return Ok(Arc::new(connection)),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// Only what is registered is answered: the one codec, and its keys.
pub(super) fn engine(choice: &Choice) -> Result<(MediaEngine, Registry), PeerError> {
    let mut engine = MediaEngine::default();
    engine.register_codec(parameters(choice), RtpCodecKind::Audio)?;
    if let Some(number) = choice.keys {
        let codec = RTCRtpCodec {
            mime_type: "audio/telephone-event".to_owned(),
            clock_rate: choice.codec.rtp_clock_hz(),
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![],
        };
        let keys = RTCRtpCodecParameters { rtp_codec: codec, payload_type: number };
        engine.register_codec(keys, RtpCodecKind::Audio)?;
    }
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    Ok((engine, registry))
}

pub(super) fn parameters(choice: &Choice) -> RTCRtpCodecParameters {
    let name = choice.codec.name();
    let fmtp =
        if name.eq_ignore_ascii_case("opus") { "minptime=10;useinbandfec=1;maxaveragebitrate=64000" } else { "" };
    let rtp_codec = RTCRtpCodec {
        mime_type: format!("audio/{name}"),
        clock_rate: choice.codec.rtp_clock_hz(),
        channels: u16::from(choice.channels),
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    };
    RTCRtpCodecParameters { rtp_codec, payload_type: choice.number }
}

/// The leg's packets to the browser. They keep our sequence and timestamps; the stream's number is the track's.
async fn carry_out(pipe: Arc<Pipe>, track: Arc<TrackLocalStaticRTP>, ssrc: u32, connection: Arc<dyn PeerConnection>) {
    let mut carried = 0_u32;
    while let Some(packet) = pipe.next().await {
        carried = carried.wrapping_add(1);
        if carried % ROUND_TRIP_PACKETS == ROUND_TRIP_PACKETS / 4 {
            measure_round_trip(&pipe, &*connection).await;
        }
        let Ok(parsed) = rtp::Packet::parse(packet.bytes()) else { continue };
        let header = Header {
            version: 2,
            marker: parsed.header.marker,
            payload_type: parsed.header.payload_type,
            sequence_number: parsed.header.sequence,
            timestamp: parsed.header.timestamp,
            ssrc,
            ..Default::default()
        };
        let payload = bytes::Bytes::copy_from_slice(parsed.payload);
        // Before the road is there, and after it: nobody is there to hear it.
        let _ = track.write_rtp(rtc::rtp::Packet { header, payload }).await;
    }
}

/// Tells the leg how long the road is: from the checks of ICE (RFC 8445) on the pair of addresses that is used.
async fn measure_round_trip(pipe: &Pipe, connection: &dyn PeerConnection) {
    let report = connection.get_stats(Instant::now(), StatsSelector::None).await;
    let used = report.candidate_pairs().filter(|pair| pair.current_round_trip_time > 0.0);
    let Some(pair) = used.max_by_key(|pair| pair.packets_received) else { return };
    if let Ok(round_trip) = Duration::try_from_secs_f64(pair.current_round_trip_time) {
        pipe.set_round_trip(round_trip);
    }
}

/// The way of a browser's packets to the leg.
struct Inward {
    pipe: Arc<Pipe>,
    muted: Arc<AtomicBool>,
    codec: CodecRef,
    /// The codec's number: what has another is a key.
    number: u8,
}

impl Inward {
    async fn carry(&self, track: Arc<dyn TrackRemote>) {
        let mut buffer = [0_u8; 1_500];
        while let Some(event) = track.poll().await {
            // An empty packet is padding, which says nothing.
            if let TrackRemoteEvent::OnRtpPacket(packet) = event
                && !packet.payload.is_empty()
                && let Some(length) = self.write(&packet, &mut buffer)
            {
                self.pipe.push(Instant::now(), &buffer[..length]);
            }
        }
    }

    /// The packet without extensions; with silence in place of what a muted browser sends.
    fn write(&self, packet: &rtc::rtp::Packet, out: &mut [u8]) -> Option<usize> {
        let header = &packet.header;
        let (head, body) = out.split_at_mut(12);
        head[0] = 0x80;
        head[1] = u8::from(header.marker) << 7 | header.payload_type & 0x7F;
        head[2..4].copy_from_slice(&header.sequence_number.to_be_bytes());
        head[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
        head[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
        if header.payload_type == self.number && self.muted.load(Ordering::Relaxed) {
            return Some(12 + self.codec.silence(Duration::from_millis(20), body));
        }
        body.get_mut(..packet.payload.len())?.copy_from_slice(&packet.payload);
        Some(12 + packet.payload.len())
    }
}

struct Handler {
    road: mpsc::Sender<Road>,
    gathered: watch::Sender<bool>,
    inward: Arc<Inward>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let road = match state {
            RTCPeerConnectionState::Connected => Road::Up,
            RTCPeerConnectionState::Disconnected => Road::Broken,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => Road::Over,
            _ => return,
        };
        // Whoever does not read any more has let go of the leg.
        let _ = self.road.try_send(road);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        if track.kind().await != RtpCodecKind::Audio {
            return;
        }
        let inward = Arc::clone(&self.inward);
        tokio::spawn(async move { inward.carry(track).await });
    }
}
