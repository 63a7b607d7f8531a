//! A phone of a few lines: real sockets on loopback, RTP written by hand, no code of the engine's.

use std::{
    f64::consts::TAU,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use ark::media::{Command, Engine, EngineConfig, EngineHandle, Event, Leg, LegId, MediaPort, RecordAs, RecordOf};
use ark_media::{
    codec::{self, CodecRef, Encoder},
    prompt::EncodedPrompt,
    sdp::Negotiated,
};
use tokio::sync::mpsc;

/// What a test waits for comes within this time or not at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The codec with this static payload type.
pub(crate) fn codec(payload_type: u8) -> CodecRef {
    codec::by_static_payload_type(payload_type).unwrap()
}

/// A sine of that many 20 ms frames at 8 kHz.
pub(crate) fn tone(hz: f64, frames: usize) -> Vec<i16> {
    tone_at(8_000, hz, frames)
}

/// The same at another rate.
pub(crate) fn tone_at(rate_hz: u32, hz: f64, frames: usize) -> Vec<i16> {
    let samples = frames * rate_hz as usize / 50;
    (0..samples).map(|n| ((n as f64 * hz * TAU / f64::from(rate_hz)).sin() * 9_000.0) as i16).collect()
}

/// The share of the signal's power at this frequency, 0 to 1 (Goertzel).
pub(crate) fn share_at(pcm: &[i16], hz: f64) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), n as f64 * hz * TAU / 8_000.0);
        re += sample * angle.cos();
        im += sample * angle.sin();
        power += sample * sample;
    }
    if power == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (pcm.len() as f64 * power) }
}

/// A received RTP packet.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Peer {
    pub(crate) rtp: UdpSocket,
    pub(crate) codec: CodecRef,
    encoder: Box<dyn Encoder>,
    to: SocketAddr,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Peer {
    /// A phone that talks to this leg.
    pub(crate) fn new(leg: &Leg, codec: CodecRef) -> Self {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        rtp.set_read_timeout(Some(PATIENCE)).unwrap();
        let ssrc = u32::from(rtp.local_addr().unwrap().port());
        Self { rtp, codec, encoder: codec.encoder(), to: leg.rtp, sequence: 65_530, timestamp: u32::MAX - 1_000, ssrc }
    }

    /// What its SDP and the engine's agreed on.
    pub(crate) fn negotiated(&self) -> Negotiated {
        let remote = self.rtp.local_addr().unwrap();
        let payload_type = self.payload_type();
        Negotiated {
            dtmf_payload_type: Some(101),
            receive_dtmf_payload_type: Some(101),
            remote_rtcp: SocketAddr::new(remote.ip(), remote.port() ^ 1),
            ..Negotiated::new(self.codec, payload_type, remote)
        }
    }

    fn payload_type(&self) -> u8 {
        self.codec.payload_type().unwrap_or(111)
    }

    fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0x80, (u8::from(marker) << 7) | payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.rtp.send_to(&packet, self.to).unwrap();
    }

    /// Sends one frame of samples.
    pub(crate) fn say(&mut self, pcm: &[i16]) {
        let mut payload = [0; 1_500];
        let bytes = self.encoder.encode(pcm, &mut payload);
        self.send(self.payload_type(), false, self.timestamp, &payload[..bytes]);
        self.timestamp = self.timestamp.wrapping_add(self.units(pcm));
    }

    /// Clock units of samples.
    fn units(&self, pcm: &[i16]) -> u32 {
        (pcm.len() as u64 * u64::from(self.codec.rtp_clock_hz()) / u64::from(self.codec.sample_rate_hz())) as u32
    }

    /// A frame that is lost on the way.
    pub(crate) fn lose(&mut self, pcm: &[i16]) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.units(pcm));
    }

    /// Presses a key for 100 ms: five packets and three ends, as RFC 4733 2.5.1 wants them.
    pub(crate) fn press(&mut self, event: u8) {
        let began = self.timestamp;
        for step in 1..=5_u16 {
            let duration = (step * 160).to_be_bytes();
            self.send(101, step == 1, began, &[event, 10, duration[0], duration[1]]);
        }
        for _ in 0..3 {
            self.send(101, false, began, &[event, 0x80 | 10, 3, 32]);
        }
        self.timestamp = began.wrapping_add(960);
    }

    /// The next packet.
    pub(crate) fn hear(&self) -> Heard {
        let mut buffer = [0; 1_500];
        let length = loop {
            let (length, from) = self.rtp.recv_from(&mut buffer).expect("a packet within the test's patience");
            if from == self.to {
                break length;
            }
            // The RTCP of another test's leg, whose phone had this port plus or minus one.
            assert!((200..205).contains(&buffer[1]), "media comes from the leg's own port {}, not {from}", self.to);
        };
        assert!(length >= 12 && buffer[0] == 0x80);
        Heard {
            marker: buffer[1] & 0x80 != 0,
            payload_type: buffer[1] & 0x7F,
            sequence: u16::from_be_bytes([buffer[2], buffer[3]]),
            timestamp: u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]),
            payload: buffer[12..length].to_vec(),
        }
    }

    /// The samples of packets.
    pub(crate) fn decode(&self, heard: &[Heard]) -> Vec<i16> {
        let mut decoder = self.codec.decoder();
        let mut pcm = [0; 5_760];
        let mut decode = |packet: &Heard| {
            let samples = decoder.decode(&packet.payload, &mut pcm);
            pcm[..samples].to_vec()
        };
        heard.iter().flat_map(&mut decode).collect()
    }

    /// A prompt for this phone's leg.
    pub(crate) fn prompt(&self, pcm: &[i16]) -> Arc<EncodedPrompt> {
        EncodedPrompt::encode(pcm, self.codec, Duration::from_millis(20))
    }
}

/// An engine and what it says.
pub(crate) struct Rig {
    pub(crate) handle: EngineHandle,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) engine: Engine,
    runtime: tokio::runtime::Runtime,
}

/// A configuration on loopback with so many port pairs that no other test uses.
pub(crate) fn config(first_port: u16, pairs: u16) -> EngineConfig {
    EngineConfig {
        threads: 1,
        ip: [127, 0, 0, 1].into(),
        ports: first_port..=first_port + 2 * pairs - 1,
        ..EngineConfig::default()
    }
}

impl Rig {
    /// Records a leg's call from now on, as a site that says nothing of recordings does.
    pub(crate) fn record(&self, leg: LegId, path: &std::path::Path) {
        let (path, how) = (path.to_owned(), RecordAs::default());
        let command = Command::RecordStart { of: RecordOf::Call, path, how, limit: None, silence: None };
        self.handle.command(leg, command).unwrap();
    }

    pub(crate) fn new(config: EngineConfig, queue: usize) -> Self {
        let (sender, events) = mpsc::channel(queue);
        let engine = Engine::start(config, sender).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { handle: engine.handle(), events, engine, runtime }
    }

    /// Reserves a leg, gives it a phone and starts it.
    pub(crate) fn call(&self, codec: CodecRef) -> (Leg, Peer) {
        let leg = self.handle.reserve().unwrap();
        let peer = Peer::new(&leg, codec);
        self.handle
            .command(
                leg.id,
                Command::Start { negotiated: peer.negotiated(), signalled_from: None, dtmf: Default::default() },
            )
            .unwrap();
        // The first packet shows that it has begun: what a phone sends before that is dropped.
        peer.hear();
        (leg, peer)
    }

    pub(crate) fn play(&self, leg: &Leg, id: u64, items: Vec<Arc<EncodedPrompt>>, barge_in: bool) {
        self.handle.command(leg.id, Command::Play { id, items, barge_in, repeat: false }).unwrap();
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Event {
        let events = &mut self.events;
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, events.recv()).await });
        next.expect("an event within the test's patience").expect("the engine runs")
    }

    /// The next event that `wanted` takes; others are passed over.
    pub(crate) fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next();
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }
}

/// Asks again and again, without sleeping, until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
