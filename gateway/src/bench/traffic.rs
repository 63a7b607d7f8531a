//! The other side of the media bench: paced RTP streams and a receiver that goes by the kernel's stamps.
//!
//! Lateness as voice hears it: a stream's transit time against the smallest one it has had. Loss says little: an
//! overloaded server delays packets long before it loses one.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::kit::{self, BenchError, Histogram, PACKET_BYTES, Worker};
use crate::media::{
    sys::{self, ReceiveBatch, SendBatch},
    wheel::{Pace, Wheel},
};

/// Sockets that the streams share: one would be short of buffer for thousands of them.
const SOCKETS: usize = 8;
/// Receive buffer of each.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Marks a payload that carries its time of sending.
pub(super) const MAGIC: u64 = 0x4152_4B2D_5449_4D45;
/// RTP header bytes.
pub(super) const HEADER: usize = 12;
/// A slot that begins later than this makes the run doubtful.
const LATE_SLOT_NS: u64 = 5_000_000;
/// Timestamp units of one packet of 20 ms at 8 kHz.
pub(super) const STEP: u32 = 160;
/// A timestamp that moves further begins a new talkspurt: transit is measured anew.
const TALKSPURT: u32 = 1_600;

/// What the receiver saw while it was measuring.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Packets received.
    pub(crate) packets: u64,
    /// Sequence numbers that are missing.
    pub(crate) lost: u64,
    /// Packets sent to the other side.
    pub(crate) sent: u64,
    /// Lateness of each packet.
    pub(crate) lateness: Histogram,
    /// From our sending to the relayed packet's arrival, where the payload tells.
    pub(crate) relayed: Histogram,
    /// Slots that the generator itself began too late.
    pub(crate) late_slots: u64,
    /// CPU time of the generator.
    pub(crate) cpu_ns: u64,
    /// How long it measured.
    pub(crate) time_ns: u64,
}

impl Seen {
    fn new() -> Self {
        Self {
            packets: 0,
            lost: 0,
            sent: 0,
            lateness: Histogram::new(100),
            relayed: Histogram::new(10),
            late_slots: 0,
            cpu_ns: 0,
            time_ns: 0,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.sent += other.sent;
        self.lateness.merge(&other.lateness);
        self.relayed.merge(&other.relayed);
        self.late_slots += other.late_slots;
        self.cpu_ns += other.cpu_ns;
        self.time_ns += other.time_ns;
    }
}

/// One received stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Arrivals {
    known: bool,
    sequence: u16,
    timestamp: u32,
    /// Arrival and timestamp from which transit counts.
    base: (u64, u32),
    least_transit_ns: i64,
}

impl Arrivals {
    /// Takes a packet; gives its lateness in microseconds and how many are missing before it.
    pub(super) fn take(&mut self, at_ns: u64, sequence: u16, timestamp: u32) -> (u64, u64) {
        let forward = timestamp.wrapping_sub(self.timestamp);
        let missing = sequence.wrapping_sub(self.sequence.wrapping_add(1));
        let fresh = !self.known || (forward > TALKSPURT && missing == 0) || forward > i32::MAX as u32;
        let lost = if self.known && missing < 1_000 { u64::from(missing) } else { 0 };
        (self.known, self.sequence, self.timestamp) = (true, sequence, timestamp);
        if fresh {
            self.base = (at_ns, timestamp);
            self.least_transit_ns = 0;
            return (0, lost);
        }
        let media_ns = i64::from(timestamp.wrapping_sub(self.base.1)) * 125_000;
        let transit = at_ns.wrapping_sub(self.base.0).cast_signed() - media_ns;
        self.least_transit_ns = self.least_transit_ns.min(transit);
        ((transit - self.least_transit_ns).unsigned_abs() / 1_000, lost)
    }
}

/// A stream that is sent, one packet each 20 ms.
struct Stream {
    to: SocketAddr,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

/// A generator and receiver on its own core.
pub(crate) struct Traffic {
    sockets: Vec<UdpSocket>,
    measuring: Arc<AtomicBool>,
    worker: Option<Worker<Seen>>,
}

impl Traffic {
    /// Binds the sockets; nothing moves yet.
    pub(crate) fn new() -> Result<Self, BenchError> {
        let sockets = (0..SOCKETS)
            .map(|_| {
                let socket = kit::loopback_socket(RECEIVE_BUFFER)?;
                sys::enable_receive_stamps(&socket).map_err(BenchError::io("asking for receive stamps"))?;
                Ok(socket)
            })
            .collect::<Result<Vec<_>, BenchError>>()?;
        Ok(Self { sockets, measuring: Arc::default(), worker: None })
    }

    /// The address that the `index`th stream sends from and receives at.
    pub(crate) fn address(&self, index: usize) -> Result<SocketAddr, BenchError> {
        kit::local(&self.sockets[index % SOCKETS])
    }

    /// Begins to send 50 packets a second to each target, and to receive. No targets: receives only.
    pub(crate) fn start(&mut self, core: usize, targets: &[SocketAddr]) -> Result<(), BenchError> {
        let sockets = self
            .sockets
            .iter()
            .map(UdpSocket::try_clone)
            .collect::<Result<Vec<_>, _>>()
            .map_err(BenchError::io("sharing a socket with the generator"))?;
        let streams = targets
            .iter()
            .enumerate()
            .map(|(index, to)| Stream { to: *to, sequence: 0, timestamp: 0, ssrc: 0x5000_0000 + index as u32 })
            .collect();
        let measuring = Arc::clone(&self.measuring);
        let worker = Worker::start("bench traffic", core, move |stop| {
            let mut generator = Generator::new(sockets, streams);
            generator.run(stop, &measuring);
            generator.seen
        })?;
        self.worker = Some(worker);
        Ok(())
    }

    /// Counts from now on, or no longer.
    pub(crate) fn measure(&self, on: bool) {
        self.measuring.store(on, Relaxed);
    }

    /// Stops; what was seen while it measured.
    pub(crate) fn finish(&mut self) -> Result<Seen, BenchError> {
        self.measure(false);
        let worker = self.worker.take().ok_or_else(|| BenchError::Failed("the generator did not run".to_owned()))?;
        worker.finish()
    }
}

struct Generator {
    sockets: Vec<UdpSocket>,
    streams: Vec<Stream>,
    wheel: Wheel,
    out: SendBatch,
    batch: ReceiveBatch,
    /// By source port.
    arrivals: Vec<Arrivals>,
    seen: Seen,
    measuring: bool,
}

impl Generator {
    fn new(sockets: Vec<UdpSocket>, streams: Vec<Stream>) -> Self {
        let mut wheel = Wheel::default();
        for index in 0..streams.len() {
            wheel.add(index as u16);
        }
        Self {
            sockets,
            streams,
            wheel,
            out: SendBatch::new(BATCH),
            batch: ReceiveBatch::new(BATCH),
            arrivals: vec![Arrivals::default(); usize::from(u16::MAX) + 1],
            seen: Seen::new(),
            measuring: false,
        }
    }

    fn run(&mut self, stop: &AtomicBool, measuring: &AtomicBool) {
        let mut pace = Pace::new(sys::monotonic_ns());
        let (mut began, mut cpu_began) = (0, 0);
        while !stop.load(Relaxed) {
            let now = sys::monotonic_ns();
            let wanted = measuring.load(Relaxed);
            if wanted != self.measuring {
                self.measuring = wanted;
                if wanted {
                    (began, cpu_began) = (now, sys::thread_cpu_ns());
                } else {
                    self.seen.time_ns += now - began;
                    self.seen.cpu_ns += sys::thread_cpu_ns() - cpu_began;
                }
            }
            while let Some(due) = pace.due(sys::monotonic_ns()) {
                let late = sys::monotonic_ns().saturating_sub(due.at_ns) > LATE_SLOT_NS;
                self.seen.late_slots += u64::from(late && self.measuring);
                self.send_slot(due.slot);
            }
            self.receive();
            sys::sleep_until_ns(pace.next_ns());
        }
        if self.measuring {
            self.seen.time_ns += sys::monotonic_ns() - began;
            self.seen.cpu_ns += sys::thread_cpu_ns() - cpu_began;
        }
    }

    fn send_slot(&mut self, slot: usize) {
        // One pass for each socket: a batch goes out by one socket.
        for socket in 0..self.sockets.len() {
            let mut position = 0;
            while let Some(index) = self.wheel.leg(slot, position) {
                position += 1;
                if usize::from(index) % self.sockets.len() != socket {
                    continue;
                }
                let stream = &mut self.streams[usize::from(index)];
                write_packet(self.out.buffer(), stream.sequence, stream.timestamp, stream.ssrc);
                self.out.push(PACKET_BYTES, stream.to);
                stream.sequence = stream.sequence.wrapping_add(1);
                stream.timestamp = stream.timestamp.wrapping_add(STEP);
                if self.out.is_full() {
                    self.flush(socket);
                }
            }
            self.flush(socket);
        }
    }

    fn flush(&mut self, socket: usize) {
        let sent = self.out.send(&self.sockets[socket]) as u64;
        self.seen.sent += if self.measuring { sent } else { 0 };
    }

    fn receive(&mut self) {
        for socket in 0..self.sockets.len() {
            loop {
                let received = self.batch.receive(&self.sockets[socket], BATCH);
                for index in 0..received {
                    self.take(index);
                }
                if received < BATCH {
                    break;
                }
            }
        }
    }

    fn take(&mut self, index: usize) {
        let packet = self.batch.get(index);
        let Some(from) = packet.from else { return };
        let bytes = packet.bytes;
        // RTCP and anything short is not measured.
        if bytes.len() < HEADER + 16 || (192..224).contains(&bytes[1]) {
            return;
        }
        let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
        let timestamp = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (late_us, lost) = self.arrivals[usize::from(from.port())].take(packet.at_realtime_ns, sequence, timestamp);
        if !self.measuring {
            return;
        }
        self.seen.packets += 1;
        self.seen.lost += lost;
        self.seen.lateness.record_us(late_us);
        let word = |at: usize| bytes[at..at + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        if word(HEADER) == MAGIC {
            let took = packet.at_realtime_ns.saturating_sub(word(HEADER + 8));
            self.seen.relayed.record_us(took / 1_000);
        }
    }
}

/// A PCMU packet that carries the time of its sending.
fn write_packet(out: &mut [u8], sequence: u16, timestamp: u32, ssrc: u32) {
    out[..2].copy_from_slice(&[0x80, 0]);
    out[2..4].copy_from_slice(&sequence.to_be_bytes());
    out[4..8].copy_from_slice(&timestamp.to_be_bytes());
    out[8..12].copy_from_slice(&ssrc.to_be_bytes());
    out[HEADER..HEADER + 8].copy_from_slice(&MAGIC.to_be_bytes());
    out[HEADER + 8..HEADER + 16].copy_from_slice(&sys::realtime_ns().to_be_bytes());
    out[HEADER + 16..PACKET_BYTES].fill(0xFF);
}

/// The baseline: a thread that does nothing but send one packet each 20 ms on each of `count` sockets, paced by the
/// same kind of wheel. What it shows is the machine's lateness, not ours.
pub(crate) fn bare_sender(core: usize, count: usize, to: &[SocketAddr]) -> Result<Worker<()>, BenchError> {
    let sockets = (0..count).map(|_| kit::loopback_socket(16 * 1024)).collect::<Result<Vec<_>, _>>()?;
    let to = to.to_vec();
    Worker::start("bench baseline", core, move |stop| {
        let mut wheel = Wheel::default();
        for index in 0..count {
            wheel.add(index as u16);
        }
        let mut numbers = vec![(0_u16, 0_u32); count];
        let mut packet = [0; PACKET_BYTES];
        let mut pace = Pace::new(sys::monotonic_ns());
        while !stop.load(Relaxed) {
            while let Some(due) = pace.due(sys::monotonic_ns()) {
                for position in 0.. {
                    let Some(index) = wheel.leg(due.slot, position).map(usize::from) else { break };
                    let (sequence, timestamp) = &mut numbers[index];
                    *timestamp = timestamp.wrapping_add(due.skip_frames * STEP);
                    write_packet(&mut packet, *sequence, *timestamp, index as u32);
                    packet[HEADER..HEADER + 8].fill(0);
                    *sequence = sequence.wrapping_add(1);
                    *timestamp = timestamp.wrapping_add(STEP);
                    // A full buffer shows as loss at the receiver.
                    let _ = sockets[index].send_to(&packet, to[index % to.len()]);
                }
            }
            sys::sleep_until_ns(pace.next_ns());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_against_the_fastest_packet_and_starts_anew_with_a_talkspurt() {
        let mut arrivals = Arrivals::default();
        let mut take =
            |ms: u64, sequence, timestamp| arrivals.take(5_000_000_000 + ms * 1_000_000, sequence, timestamp);
        assert_eq!(take(10, 0, 0), (0, 0));
        assert_eq!(take(25, 1, 160), (0, 0), "the fastest so far");
        assert_eq!(take(65, 2, 320), (20_000, 0));
        assert_eq!(take(85, 4, 640), (0, 1), "one is missing, this one is on time");
        assert_eq!(take(900, 5, 90_000), (0, 0), "a new talkspurt");
        assert_eq!(take(921, 6, 90_160), (1_000, 0));
    }

    #[test]
    fn a_paced_sender_is_received_without_loss() {
        let mut traffic = Traffic::new().unwrap();
        let addresses: Vec<_> = (0..8).map(|index| traffic.address(index).unwrap()).collect();
        traffic.start(0, &[]).unwrap();
        let sender = bare_sender(0, 20, &addresses).unwrap();
        traffic.measure(true);
        let end = sys::monotonic_ns() + 300_000_000;
        sys::sleep_until_ns(end);
        let seen = traffic.finish().unwrap();
        sender.finish().unwrap();
        assert!(seen.packets > 100 && seen.lost == 0, "{} packets, {} lost", seen.packets, seen.lost);
        assert_eq!(seen.relayed.count(), 0, "the baseline's packets are no relayed ones");
    }
}
