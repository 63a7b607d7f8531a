//! Calls of browsers without a browser, for `ark bench media`: a peer of the same crate offers, speaks and hears as a page does,
//! on threads of its own, and [`Peer`] answers it as it answers anybody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ark_media::codec::CodecRef;
use rtc::rtp::header::Header;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::MediaStreamTrack;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use super::limits::GATHER_MAX;
use super::offer::{Choice, Offer};
use super::peer::{Peer, PeerError, Ports, Road, engine, parameters};
use super::runtime::Ground;
use crate::media::Pipe;

/// What hears a packet: its number, timestamp and payload.
pub(crate) type Ear = Arc<dyn Fn(u16, u32, &[u8]) + Send + Sync>;

/// A page's peer.
pub(crate) struct Browser {
    connection: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    number: u8,
    offer: String,
    up: watch::Receiver<bool>,
}

impl Browser {
    /// A peer that offers that codec; packets go to `ear`. To be called on the runtime on which it is to live.
    pub(crate) async fn new(codec: CodecRef, ear: Ear) -> Result<Self, PeerError> {
        let number = codec.payload_type().unwrap_or(111);
        let choice = Choice { codec, number, channels: 1, keys: Some(101) };
        let (gathered, mut all_gathered) = watch::channel(false);
        let (up_in, up) = watch::channel(false);
        let (engine, registry) = engine(&choice)?;
        let settings =
            SettingEngineBuilder::new().with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled).build();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_configuration(RTCConfigurationBuilder::new().build())
                .with_setting_engine(settings)
                .with_media_engine(engine)
                .with_interceptor_registry(registry)
                .with_handler(Arc::new(Events { gathered, up: up_in, ear }))
                .with_runtime(Arc::new(Ground::Here(tokio::runtime::Handle::current())))
                .with_udp_addrs(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
                .build()
                .await?,
        );
        let ssrc = rand::random();
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec: parameters(&choice).rtp_codec,
            ..Default::default()
        };
        let stream =
            MediaStreamTrack::new("page".into(), "voice".into(), "page".into(), RtpCodecKind::Audio, vec![coding]);
        let track = Arc::new(TrackLocalStaticRTP::new(stream));
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer).await?;
        let _ = tokio::time::timeout(GATHER_MAX, all_gathered.wait_for(|all| *all)).await;
        let described = connection.local_description().await;
        let offer = described.ok_or_else(|| PeerError::Stack("there is no offer".to_owned()))?.sdp;
        Ok(Self { connection, track, ssrc, number, offer, up })
    }

    /// Its SDP.
    pub(crate) fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer, and waits until audio can flow; `false`: it cannot.
    pub(crate) async fn connect(&mut self, answer: &str, within: Duration) -> Result<bool, PeerError> {
        self.connection.set_remote_description(RTCSessionDescription::answer(answer.to_owned())?).await?;
        let up = tokio::time::timeout(within, self.up.wait_for(|up| *up)).await;
        Ok(matches!(up, Ok(Ok(_))))
    }

    /// Sends a packet of its microphone.
    pub(crate) async fn say(&self, sequence: u16, timestamp: u32, payload: bytes::Bytes) {
        let header = Header {
            version: 2,
            payload_type: self.number,
            sequence_number: sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        let _ = self.track.write_rtp(rtc::rtp::Packet { header, payload }).await;
    }

    /// The page closes.
    pub(crate) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// Ark's side of one such call: the same as of a page's.
pub(crate) struct Answered {
    peer: Peer,
    _road: mpsc::Receiver<Road>,
}

impl Answered {
    /// Answers an offer on loopback, on a port of that range. Gives the answer.
    pub(crate) async fn new(
        range: std::ops::RangeInclusive<u16>,
        offer: &str,
        codec: CodecRef,
        pipe: Pipe,
    ) -> Result<(Self, String), PeerError> {
        let listen = vec![Ipv4Addr::LOCALHOST.into()];
        let ports = Ports { listen, range, public: None, lite: false, kept_out: Arc::default() };
        let (road_in, road) = mpsc::channel(super::limits::MAILBOX);
        let (peer, answer) = Peer::answer(&ports, &Offer::parse(offer)?, codec, Arc::new(pipe), road_in).await?;
        Ok((Self { peer, _road: road }, answer))
    }

    /// What the media engine needs to know.
    pub(crate) fn negotiated(&self) -> ark_media::sdp::Negotiated {
        self.peer.negotiated(false)
    }

    /// Packets that the leg did not get.
    pub(crate) fn dropped(&self) -> u64 {
        self.peer.dropped()
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.peer.close().await;
    }
}

struct Events {
    gathered: watch::Sender<bool>,
    up: watch::Sender<bool>,
    ear: Ear,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            self.up.send_replace(true);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let ear = Arc::clone(&self.ear);
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    ear(packet.header.sequence_number, packet.header.timestamp, &packet.payload);
                }
            }
        });
    }
}
