//! How soon a prompt stops once a key goes down: a phone of its own among the calls of a run.

use std::{
    net::UdpSocket,
    sync::Arc,
    time::{Duration, Instant},
};

use ark_media::{codec, prompt::EncodedPrompt};

use super::{
    kit::{self, BenchError, Histogram, PACKET_BYTES},
    media::negotiated,
    traffic::HEADER,
};
use crate::media::{Command, EngineHandle, LegId, MediaPort};

/// Packets of the prompt that are heard before a key goes down.
const HEARD_BEFORE: usize = 3;
/// What does not come within this does not come.
const PATIENCE: Duration = Duration::from_millis(500);

/// A phone that presses keys.
struct Presser {
    socket: UdpSocket,
    leg: LegId,
    to: std::net::SocketAddr,
    sequence: u16,
    timestamp: u32,
}

impl Presser {
    /// A packet of a telephone-event (RFC 4733): a 5.
    fn press(&mut self, end: bool) -> Result<(), BenchError> {
        let mut packet = [0; HEADER + 4];
        packet[..2].copy_from_slice(&[0x80, 101 | if end { 0 } else { 0x80 }]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&0x4B45_5953_u32.to_be_bytes());
        packet[HEADER..].copy_from_slice(&[5, if end { 0x80 | 10 } else { 10 }, 0, 160]);
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&packet, self.to).map_err(BenchError::io("pressing a key")).map(|_| ())
    }

    /// Whether the next packet is of the prompt; `None`: none came.
    fn hear(&self) -> Option<bool> {
        let mut packet = [0; PACKET_BYTES];
        let length = self.socket.recv(&mut packet).ok()?;
        let voice = packet.get(HEADER..length)?;
        Some(voice.iter().any(|byte| *byte != voice[0]))
    }
}

/// Presses a key into a prompt again and again for so long.
pub(super) fn measure(
    handle: &EngineHandle,
    prompt: &Arc<EncodedPrompt>,
    time: Duration,
) -> Result<Histogram, BenchError> {
    let refused = |error| BenchError::Failed(format!("the engine refused a call of the bench: {error}"));
    let socket = kit::loopback_socket(64 * 1024)?;
    socket.set_nonblocking(false).map_err(BenchError::io("a phone's socket"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(BenchError::io("a phone's socket"))?;
    let pcmu = codec::by_static_payload_type(0).expect("PCMU is in the table");
    let leg = handle.reserve().map_err(refused)?;
    let negotiated = negotiated(pcmu, kit::local(&socket)?);
    let start = Command::Start { negotiated, signalled_from: None, dtmf: Default::default() };
    handle.command(leg.id, start).map_err(refused)?;
    let mut phone = Presser { socket, leg: leg.id, to: leg.rtp, sequence: 1, timestamp: 160 };
    let (until, mut times) = (Instant::now() + time, Histogram::new(100));
    while Instant::now() < until {
        let play = Command::Play { id: 1, items: vec![prompt.clone()], barge_in: true, repeat: true };
        handle.command(phone.leg, play).map_err(refused)?;
        let mut heard = 0;
        while heard < HEARD_BEFORE {
            match phone.hear() {
                Some(voice) => heard += usize::from(voice),
                None => return Err(BenchError::Failed("a call of the bench hears nothing".to_owned())),
            }
        }
        // Anywhere between two packets: a key knows nothing of ours.
        let phase = Duration::from_micros(u64::from(phone.sequence) * 3_700 % 20_000);
        super::media::wait(phase);
        let pressed = Instant::now();
        let mut last = Duration::ZERO;
        phone.press(false)?;
        while phone.hear() == Some(true) && pressed.elapsed() < PATIENCE {
            last = pressed.elapsed();
        }
        times.record_us(last.as_micros() as u64);
        for _ in 0..3 {
            phone.press(true)?;
        }
        phone.timestamp = phone.timestamp.wrapping_add(8_000);
    }
    handle.command(phone.leg, Command::Close).map_err(refused)?;
    Ok(times)
}
