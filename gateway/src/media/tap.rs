//! What a leg says, for whoever reads along: packets as they came, by a bounded queue. The media thread copies and goes on; when
//! nobody takes them in time they are dropped and counted, and nobody in the call hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ark_media::codec::CodecRef;
use ark_media::session::{Kind, Media};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::api::LegId;
use super::limits::{TAP_BYTES, TAP_PACKETS};

/// A packet of a leg's far side.
pub struct TapPacket {
    /// Of which leg.
    pub leg: LegId,
    /// When the kernel had it.
    pub at: Instant,
    /// What it is coded in.
    pub codec: CodecRef,
    /// Its stream.
    pub ssrc: u32,
    /// When it was spoken, by the sender's clock.
    pub timestamp: u32,
    length: u16,
    bytes: [u8; TAP_BYTES],
}

impl TapPacket {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The media threads' end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tap {
    sender: Sender<TapPacket>,
    dropped: Arc<AtomicU64>,
}

impl Tap {
    /// A tap and where it runs to.
    #[must_use]
    pub fn new() -> (Self, Receiver<TapPacket>) {
        let (sender, receiver) = bounded(TAP_PACKETS);
        (Self { sender, dropped: Arc::default() }, receiver)
    }

    /// Copies a packet of audio. Never waits.
    pub(crate) fn heard(&self, leg: LegId, at: Instant, media: &Media<'_>) {
        if media.kind != Kind::Audio {
            return;
        }
        let mut packet = TapPacket {
            leg,
            at,
            codec: media.codec,
            ssrc: media.ssrc,
            timestamp: media.timestamp,
            length: 0,
            bytes: [0; TAP_BYTES],
        };
        let taken = packet.bytes.get_mut(..media.payload.len()).is_some_and(|bytes| {
            bytes.copy_from_slice(media.payload);
            packet.length = media.payload.len() as u16;
            true
        });
        if !taken || self.sender.try_send(packet).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Packets that nobody took.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
