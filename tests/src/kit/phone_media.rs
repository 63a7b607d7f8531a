//! The phone's voice: one thread, one socket, a frame each 20 ms.

use std::{
    collections::VecDeque,
    f64::consts::TAU,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use ark_media::{
    codec::{self, Codec},
    dtmf,
    rtp::{Header, Packet},
};

use super::{audio::RATE_HZ, dominant_hz};

const FRAME: Duration = Duration::from_millis(20);
const FRAME_SAMPLES: usize = 160;
/// Payload type of telephone-event in our offers: 96, as SIPp sends it.
const EVENTS: u8 = 96;
const PCMA: u8 = 8;
/// Ten minutes at 8 kHz.
const HEARD_MAX: usize = 10 * 60 * RATE_HZ as usize;

#[derive(Default)]
struct State {
    remote: Option<SocketAddr>,
    hz: Option<f64>,
    /// What is said next, before any tone.
    voice: VecDeque<i16>,
    /// Frames sent so far.
    sent: u64,
    keys: Vec<char>,
    sending: Option<dtmf::Sender>,
    heard: Vec<i16>,
    /// When each packet of audio came, and where in `heard` it begins.
    arrivals: Vec<(Instant, usize)>,
    /// When the first packet of the last key went out.
    key_began: Option<Instant>,
    /// The timestamp of the event that came last, so that its repetitions are one key.
    last_event: Option<u32>,
    pressed: Vec<char>,
    packets: u64,
    finished: bool,
}

pub(super) struct Media {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
    version: std::cell::Cell<u64>,
}

impl Media {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || run(&socket, &shared));
        Self { address, state, version: std::cell::Cell::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("the media thread does not panic")
    }

    pub(super) fn sdp(&self, direction: &str) -> String {
        self.version.set(self.version.get() + 1);
        let (ip, port, version) = (self.address.ip(), self.address.port(), self.version.get());
        format!(
            "v=0\r\no=- 77 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {PCMA} \
             {EVENTS}\r\na=rtpmap:{PCMA} PCMA/8000\r\na=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} \
             0-15\r\na=ptime:20\r\na={direction}\r\n"
        )
    }

    pub(super) fn talk(&self, remote: SocketAddr) {
        self.state().remote = Some(remote);
    }

    pub(super) fn stop(&self) {
        self.state().remote = None;
    }

    pub(super) fn say(&self, hz: Option<f64>) {
        self.state().hz = hz;
    }

    /// Says this once; when it begins, in samples since the first packet.
    pub(super) fn speak(&self, pcm: &[i16]) -> u64 {
        let mut state = self.state();
        let at = state.sent * FRAME_SAMPLES as u64 + state.voice.len() as u64;
        state.voice.extend(pcm);
        at
    }

    /// Whether all was said.
    pub(super) fn has_spoken(&self) -> bool {
        self.state().voice.is_empty()
    }

    pub(super) fn heard(&self) -> Vec<i16> {
        self.state().heard.clone()
    }

    /// How long after the last key began to be sent the last packet with this frequency came; zero when none did.
    pub(super) fn heard_after_key(&self, hz: f64) -> Duration {
        let state = self.state();
        let began = state.key_began.expect("a key was pressed");
        let last = state.arrivals.iter().rev().find(|(_, begins)| {
            let packet = state.heard.get(*begins..begins + FRAME_SAMPLES).unwrap_or_default();
            dominant_hz(packet, RATE_HZ).is_some_and(|found| (found - hz).abs() <= 30.0)
        });
        last.map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(began))
    }

    /// Where our voice goes.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.state().remote
    }

    /// The keys that the other side pressed.
    pub(super) fn keys(&self) -> Vec<char> {
        self.state().pressed.clone()
    }

    pub(super) fn packets(&self) -> u64 {
        self.state().packets
    }

    /// Waits for a packet, or for that long.
    pub(super) fn wait_for_news(&self, within: Duration) {
        let state = self.state();
        let _ = self.state.1.wait_timeout(state, within);
    }

    pub(super) fn press(&self, key: char, within: Duration) {
        let deadline = Instant::now() + within;
        self.state().keys.push(key);
        let mut state = self.state();
        while !state.keys.is_empty() || state.sending.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the key {key} could not be sent: no media stream");
            state = self.state.1.wait_timeout(state, left).expect("the media thread does not panic").0;
        }
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        self.state().finished = true;
    }
}

fn run(socket: &UdpSocket, shared: &(Mutex<State>, Condvar)) {
    let alaw = codec::by_static_payload_type(PCMA).expect("PCMA is in the table");
    let mut voice = Voice { sequence: 1_000, timestamp: 160_000, phase: 0.0, first: true };
    let mut due = Instant::now() + FRAME;
    let mut bytes = [0; 2_048];
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            due += FRAME;
            let mut state = shared.0.lock().expect("no test panics with the lock");
            if state.finished {
                return;
            }
            if let Some(remote) = state.remote {
                state.sent += 1;
                let length = voice.next(&mut state, alaw, &mut bytes);
                let _ = socket.send_to(&bytes[..length], remote);
            }
            shared.1.notify_all();
            continue;
        }
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("a timeout above zero");
        let Ok((length, _)) = socket.recv_from(&mut bytes) else { continue };
        let Ok(packet) = Packet::parse(&bytes[..length]) else { continue };
        let mut state = shared.0.lock().expect("no test panics with the lock");
        state.packets += 1;
        if packet.header.payload_type == PCMA && state.heard.len() < HEARD_MAX {
            let begins = state.heard.len();
            state.arrivals.push((Instant::now(), begins));
            state.heard.extend(codec::decode_all(alaw, packet.payload));
        }
        if packet.header.payload_type == EVENTS && state.last_event != Some(packet.header.timestamp) {
            state.last_event = Some(packet.header.timestamp);
            let digit = dtmf::Payload::parse(packet.payload).and_then(|event| dtmf::Digit::from_event(event.event));
            state.pressed.extend(digit.map(dtmf::Digit::as_char));
        }
        shared.1.notify_all();
    }
}

/// What the next frame is.
struct Voice {
    sequence: u16,
    timestamp: u32,
    phase: f64,
    first: bool,
}

impl Voice {
    fn next(&mut self, state: &mut State, alaw: &dyn Codec, out: &mut [u8]) -> usize {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME_SAMPLES as u32);
        let header = Header {
            marker: std::mem::take(&mut self.first),
            payload_type: PCMA,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: 0x0a12_7e57,
        };
        if state.sending.is_none() && !state.keys.is_empty() {
            let digit = dtmf::Digit::from_char(state.keys.remove(0)).expect("a key of a phone");
            state.key_began = Some(Instant::now());
            state.sending = Some(dtmf::Sender::new(digit, Duration::from_millis(120), self.timestamp, RATE_HZ));
        }
        if let Some(sender) = &mut state.sending {
            let next = sender.next(FRAME_SAMPLES as u32);
            if next.last {
                state.sending = None;
            }
            let header = Header { payload_type: EVENTS, timestamp: next.timestamp, marker: next.marker, ..header };
            return header.write(&next.payload, out).expect("an event fits");
        }
        if !state.voice.is_empty() {
            let mut pcm: Vec<i16> = (0..FRAME_SAMPLES).map_while(|_| state.voice.pop_front()).collect();
            pcm.resize(FRAME_SAMPLES, 0);
            let mut payload = [0; FRAME_SAMPLES];
            let length = alaw.encoder().encode(&pcm, &mut payload);
            return header.write(&payload[..length], out).expect("a frame fits");
        }
        let step = TAU * state.hz.unwrap_or_default() / f64::from(RATE_HZ);
        let loudness = if state.hz.is_some() { 8_000.0 } else { 0.0 };
        let pcm: Vec<i16> = (0..FRAME_SAMPLES)
            .map(|_| {
                self.phase = (self.phase + step) % TAU;
                (loudness * self.phase.sin()) as i16
            })
            .collect();
        let mut payload = [0; FRAME_SAMPLES];
        let length = alaw.encoder().encode(&pcm, &mut payload);
        header.write(&payload[..length], out).expect("a frame fits")
    }
}
