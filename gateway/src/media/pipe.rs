//! The way of one leg's packets to and from another part of the process, in place of sockets: a browser's, whose packets
//! are encrypted, checked and carried elsewhere.
//!
//! Two bounded queues of packets of a fixed size: the media thread neither waits, nor allocates, nor frees. Whoever finds
//! a queue full drops the packet and counts it; nobody else hears of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::Notify;

use super::limits::{PIPE_PACKET_BYTES, PIPE_PACKETS_IN, PIPE_PACKETS_OUT};

/// What stands as the far side's address in the [`super::api::Negotiated`] of a leg with a [`Pipe`]: nothing is ever sent to it.
pub const PIPE_REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// One RTP packet.
pub struct PipePacket {
    /// When it came (from the far side), or was made.
    pub at: Instant,
    length: u16,
    bytes: [u8; PIPE_PACKET_BYTES],
}

impl PipePacket {
    /// A copy of `bytes`; `None` when they are more than [`PIPE_PACKET_BYTES`].
    #[must_use]
    pub fn new(at: Instant, bytes: &[u8]) -> Option<Self> {
        let mut packet = Self { at, length: u16::try_from(bytes.len()).ok()?, bytes: [0; PIPE_PACKET_BYTES] };
        packet.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(packet)
    }

    /// The packet, header and all.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[derive(Default)]
struct Shared {
    ready: Notify,
    closed: AtomicBool,
    dropped: AtomicU64,
    /// Microseconds; 0: not known.
    round_trip_us: AtomicU64,
}

/// The carrier's end of a leg: what the far side sent goes in, what the leg says comes out.
pub struct Pipe {
    into: Sender<PipePacket>,
    out: Receiver<PipePacket>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl Pipe {
    /// Hands a packet of the far side to the leg. `false`: it was dropped, since the queue is full, the packet too large,
    /// or the leg has ended.
    pub fn push(&self, at: Instant, bytes: &[u8]) -> bool {
        let sent = PipePacket::new(at, bytes).is_some_and(|packet| self.into.try_send(packet).is_ok());
        if !sent {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// The next packet of the leg; `None` when the leg has ended. For one task at a time; cancelling it loses nothing.
    pub async fn next(&self) -> Option<PipePacket> {
        loop {
            // In this order: what was said before the end is still told.
            let closed = self.is_closed();
            if let Ok(packet) = self.out.try_recv() {
                return Some(packet);
            }
            if closed {
                return None;
            }
            self.shared.ready.notified().await;
        }
    }

    /// Whether the leg has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// The carrier has found how long packets take to the far side and back.
    pub fn set_round_trip(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.shared.round_trip_us.store(us, Ordering::Relaxed);
    }

    /// Packets of the far side that were dropped on the way in.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// The leg's end.
pub(crate) struct PipeEnd {
    from: Receiver<PipePacket>,
    to: Sender<PipePacket>,
    shared: Arc<Shared>,
}

impl PipeEnd {
    /// A packet of the far side, if one waits.
    pub(crate) fn receive(&self) -> Option<PipePacket> {
        self.from.try_recv().ok()
    }

    /// How long packets take to the far side and back, where the carrier knows.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let us = self.shared.round_trip_us.load(Ordering::Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// `false`: the carrier is too slow, or the packet too large: it was dropped.
    pub(crate) fn send(&self, now: Instant, bytes: &[u8]) -> bool {
        let sent = PipePacket::new(now, bytes).is_some_and(|packet| self.to.try_send(packet).is_ok());
        if sent {
            self.shared.ready.notify_one();
        }
        sent
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.ready.notify_one();
    }
}

/// Both ends of a new one.
pub(crate) fn pipe() -> (Pipe, PipeEnd) {
    let (into, from) = bounded(PIPE_PACKETS_IN);
    let (to, out) = bounded(PIPE_PACKETS_OUT);
    let shared = Arc::new(Shared::default());
    (Pipe { into, out, shared: Arc::clone(&shared) }, PipeEnd { from, to, shared })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_pass_both_ways_and_a_full_queue_drops_the_newest() {
        let (carrier, leg) = pipe();
        let now = Instant::now();
        let pushed = (0..PIPE_PACKETS_IN + 3).filter(|n| carrier.push(now, &[*n as u8])).count();
        assert_eq!((pushed, carrier.dropped()), (PIPE_PACKETS_IN, 3));
        let got: Vec<u8> = std::iter::from_fn(|| leg.receive()).map(|packet| packet.bytes()[0]).collect();
        assert_eq!(got, (0..PIPE_PACKETS_IN as u8).collect::<Vec<_>>());
        assert!(!carrier.push(now, &[0; PIPE_PACKET_BYTES + 1]), "too large");
        assert!(leg.send(now, b"said"));
        assert_eq!(carrier.next().await.unwrap().bytes(), b"said");
    }

    #[tokio::test]
    async fn who_waits_for_a_leg_hears_its_last_packet_and_its_end() {
        let (carrier, leg) = pipe();
        let waiting = tokio::spawn(async move {
            let first = carrier.next().await.map(|packet| packet.bytes().to_vec());
            (first, carrier.next().await.is_none())
        });
        tokio::task::yield_now().await;
        leg.send(Instant::now(), b"last");
        drop(leg);
        assert_eq!(waiting.await.unwrap(), (Some(b"last".to_vec()), true));
    }
}
