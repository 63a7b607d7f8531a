//! The yardstick: what the system itself takes for a packet on this core, with nothing of ours around it.
//!
//! Four loops over packets of 172 bytes on loopback: sending and forwarding, each with a socket for every call (what
//! SIP needs: a port for every stream) and, beside it, over one shared socket in batches of 64. The measured thread
//! has a core to itself; another core drains (and, for forwarding, feeds). On loopback the sender pays the receiver's
//! protocol work.

use std::{
    fmt,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use super::kit::{self, BenchError, Cores, PACKET_BYTES, Table, Worker};
use crate::media::sys::{self, DATAGRAM_BYTES, ReceiveBatch, SendBatch};

/// Datagrams in one system call of the batched forms.
const BATCH: usize = 64;
/// Receive buffer of a draining socket.
const SINK_BUFFER: usize = 16 * 1024 * 1024;

/// What `ark bench floor` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sockets, one for each call
    #[arg(long, default_value_t = 2_000)]
    pub calls: usize,
    /// Seconds for each of the four loops
    #[arg(long, default_value_t = 1.5)]
    pub seconds: f64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One loop's cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// CPU of the measured thread for one packet, nanoseconds.
    pub cpu_ns_per_packet: f64,
    /// How many packets that was measured on.
    pub packets: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Bytes of UDP payload.
    pub packet_bytes: usize,
    /// Sockets of the one-for-each-call forms.
    pub sockets: usize,
    /// Where it ran.
    pub cores: Cores,
    /// `send` on a socket of each call.
    pub send: Cost,
    /// `recv` and `send` on a socket of each call.
    pub forward: Cost,
    /// `sendmmsg` of 64 on one socket.
    pub send_shared: Cost,
    /// `recvmmsg` and `sendmmsg` of 64 on one socket.
    pub forward_shared: Cost,
    #[serde(skip)]
    json: bool,
}

/// Measures the four loops, one after the other.
///
/// # Errors
/// Too few open files, or a socket or thread that could not be made.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    run_on(Cores::take(), options)
}

pub(crate) fn run_on(cores: Cores, options: &Options) -> Result<Report, BenchError> {
    let sockets = options.calls.clamp(1, 20_000);
    let time = Duration::from_secs_f64(options.seconds.clamp(0.05, 60.0));
    kit::need_files(sockets as u64 + 64)?;
    Ok(Report {
        packet_bytes: PACKET_BYTES,
        sockets,
        cores,
        send: send(cores, sockets, time)?,
        forward: forward(cores, sockets, time)?,
        send_shared: send_shared(cores, time)?,
        forward_shared: forward_shared(cores, time)?,
        json: options.json,
    })
}

/// A socket that is emptied all the time by a thread on the other core.
struct Sink {
    address: SocketAddr,
    worker: Worker<u64>,
}

impl Sink {
    fn start(core: usize) -> Result<Self, BenchError> {
        let socket = kit::loopback_socket(SINK_BUFFER)?;
        let address = kit::local(&socket)?;
        let worker = Worker::start("floor sink", core, move |stop| {
            let mut batch = ReceiveBatch::new(BATCH);
            let mut received = 0;
            while !stop.load(Ordering::Relaxed) {
                received += batch.receive(&socket, BATCH) as u64;
            }
            received
        })?;
        Ok(Self { address, worker })
    }

    fn finish(self) -> Result<(), BenchError> {
        match self.worker.finish()? {
            0 => Err(BenchError::Failed("the sink of the floor bench received nothing".to_owned())),
            _ => Ok(()),
        }
    }
}

fn call_sockets(count: usize) -> Result<Vec<UdpSocket>, BenchError> {
    (0..count).map(|_| kit::loopback_socket(16 * 1024)).collect()
}

/// Runs `round` (which returns the packets it handled) on the measured core until the time is over.
fn measure(cores: Cores, time: Duration, mut round: impl FnMut() -> u64 + Send + 'static) -> Result<Cost, BenchError> {
    let worker = Worker::start("floor", cores.measured, move |_| {
        let warm = sys::monotonic_ns() + sys::nanos(time) / 10;
        while sys::monotonic_ns() < warm {
            round();
        }
        let end = sys::monotonic_ns() + sys::nanos(time);
        let (mut packets, mut cpu) = (0, 0);
        while sys::monotonic_ns() < end {
            let before = sys::thread_cpu_ns();
            let handled = round();
            // Waiting for the feeder is not work: a round that had nothing to do is not counted.
            if handled > 0 {
                cpu += sys::thread_cpu_ns() - before;
                packets += handled;
            }
        }
        (packets, cpu)
    })?;
    let (packets, cpu) = worker.finish()?;
    if packets == 0 {
        return Err(BenchError::Failed("the floor bench moved no packet".to_owned()));
    }
    Ok(Cost { cpu_ns_per_packet: cpu as f64 / packets as f64, packets })
}

fn send(cores: Cores, count: usize, time: Duration) -> Result<Cost, BenchError> {
    let sockets = call_sockets(count)?;
    let sink = Sink::start(cores.other)?;
    let to = sink.address;
    let packet = [0x55; PACKET_BYTES];
    let cost = measure(cores, time, move || {
        sockets.iter().filter(|socket| socket.send_to(&packet, to).is_ok()).count() as u64
    })?;
    sink.finish()?;
    Ok(cost)
}

fn send_shared(cores: Cores, time: Duration) -> Result<Cost, BenchError> {
    let socket = kit::loopback_socket(64 * 1024)?;
    let sink = Sink::start(cores.other)?;
    let to = sink.address;
    let mut batch = SendBatch::new(BATCH);
    let cost = measure(cores, time, move || {
        let mut sent = 0;
        for _ in 0..16 {
            while !batch.is_full() {
                batch.buffer()[..PACKET_BYTES].fill(0x55);
                batch.push(PACKET_BYTES, to);
            }
            sent += batch.send(&socket);
        }
        sent as u64
    })?;
    sink.finish()?;
    Ok(cost)
}

/// Feeds rounds of packets to `targets`, at most two rounds ahead of the measured loop, so that it always finds one
/// packet on every socket and never more than a few.
struct Feeder {
    worker: Worker<()>,
    fed: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
}

impl Feeder {
    fn start(core: usize, targets: Vec<SocketAddr>) -> Result<Self, BenchError> {
        let socket = kit::loopback_socket(SINK_BUFFER)?;
        let (fed, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (fed_in, taken_in) = (Arc::clone(&fed), Arc::clone(&taken));
        let worker = Worker::start("floor feeder", core, move |stop| {
            let mut out = SendBatch::new(BATCH);
            let mut drain = ReceiveBatch::new(BATCH);
            while !stop.load(Ordering::Relaxed) {
                while drain.receive(&socket, BATCH) == BATCH {}
                if fed_in.load(Ordering::Relaxed) >= taken_in.load(Ordering::Acquire) + 2 {
                    std::hint::spin_loop();
                    continue;
                }
                for target in &targets {
                    if out.is_full() {
                        out.send(&socket);
                        while drain.receive(&socket, BATCH) == BATCH {}
                    }
                    out.buffer()[..PACKET_BYTES].fill(0x55);
                    out.push(PACKET_BYTES, *target);
                }
                out.send(&socket);
                fed_in.fetch_add(1, Ordering::Release);
            }
        })?;
        Ok(Self { worker, fed, taken })
    }
}

fn forward(cores: Cores, count: usize, time: Duration) -> Result<Cost, BenchError> {
    let sockets = call_sockets(count)?;
    let targets = sockets.iter().map(kit::local).collect::<Result<Vec<_>, _>>()?;
    let feeder = Feeder::start(cores.other, targets)?;
    let (fed, taken) = (Arc::clone(&feeder.fed), Arc::clone(&feeder.taken));
    let mut buffer = [0; DATAGRAM_BYTES];
    let cost = measure(cores, time, move || {
        let round = taken.load(Ordering::Relaxed);
        if fed.load(Ordering::Acquire) <= round {
            return 0;
        }
        let mut packets = 0;
        for socket in &sockets {
            // Back to where it came from: the feeder drains its own socket.
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                packets += u64::from(socket.send_to(&buffer[..length], from).is_ok());
            }
        }
        taken.store(round + 1, Ordering::Release);
        packets
    })?;
    feeder.worker.finish()?;
    Ok(cost)
}

fn forward_shared(cores: Cores, time: Duration) -> Result<Cost, BenchError> {
    let socket = kit::loopback_socket(SINK_BUFFER)?;
    let feeder = Feeder::start(cores.other, vec![kit::local(&socket)?; BATCH])?;
    let (fed, taken) = (Arc::clone(&feeder.fed), Arc::clone(&feeder.taken));
    let (mut batch, mut out) = (ReceiveBatch::new(BATCH), SendBatch::new(BATCH));
    let cost = measure(cores, time, move || {
        let round = taken.load(Ordering::Relaxed);
        if fed.load(Ordering::Acquire) <= round {
            return 0;
        }
        for index in 0..batch.receive(&socket, BATCH) {
            let packet = batch.get(index);
            if let Some(from) = packet.from {
                out.buffer()[..packet.bytes.len()].copy_from_slice(packet.bytes);
                out.push(packet.bytes.len(), from);
            }
        }
        let sent = out.send(&socket);
        taken.store(round + 1, Ordering::Release);
        sent as u64
    })?;
    feeder.worker.finish()?;
    Ok(cost)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json {
            return f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?);
        }
        writeln!(
            f,
            "floor: bare loops, {} bytes a packet, loopback, core {}{}",
            self.packet_bytes,
            self.cores.measured,
            if self.cores.separate { "" } else { " (the only one: the other side shares it)" }
        )?;
        let line = |cost: &Cost| format!("{:>8.0} ns CPU/packet  ({} packets)", cost.cpu_ns_per_packet, cost.packets);
        let mut table = Table::new();
        table
            .row(format!("send, {} sockets", self.sockets), line(&self.send))
            .row(format!("receive and send, {} sockets", self.sockets), line(&self.forward))
            .row("send, one socket, sendmmsg 64", line(&self.send_shared))
            .row("receive and send, one socket, 64 a call", line(&self.forward_shared));
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_measured_and_printed_with_its_unit() {
        let report = run(&Options { calls: 32, seconds: 0.05, json: false }).unwrap();
        assert!(report.send.cpu_ns_per_packet > 50.0 && report.send.packets > 0);
        assert!(report.forward.cpu_ns_per_packet > 50.0 && report.forward_shared.packets > 0);
        let text = report.to_string();
        assert!(text.contains("ns CPU/packet") && text.contains("32 sockets"), "{text}");
        let json = Report { json: true, ..report }.to_string();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(value["forward"]["cpu_ns_per_packet"].as_f64().unwrap() > 0.0, "{json}");
    }
}
