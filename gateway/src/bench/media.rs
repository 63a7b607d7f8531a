//! Calls with voice: prompts both ways and bridges, of one codec, of two, and between browsers, on one core, against the bare loop,
//! a bare paced sender, and rtpengine where it is installed.

use std::{fmt, time::Duration};

use ark_media::{
    codec::{self, CodecRef},
    prompt::EncodedPrompt,
    sdp::Negotiated,
};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    barge, floor,
    kit::{self, BenchError, Cores, Histogram, PACKETS_PER_SECOND, Table},
    rtpengine::Rtpengine,
    traffic::{Seen, Traffic, bare_sender},
    web,
};
use crate::media::{Command, Engine, EngineConfig, EngineHandle, Event, Leg, MediaPort, metrics::Snapshot, sys};

/// Time for streams to settle before they are counted.
const WARM_UP: Duration = Duration::from_millis(1_500);
/// Share of packets more than 20 ms late that a clean run may have beyond the bare sender's.
const LATE_SHARE_MAX: f64 = 0.001;
/// Resident memory that a call of G.711 may take, bytes.
const RSS_PER_CALL_MAX: u64 = 16 * 1024;
/// CPU for a packet, over that of the bare loop, that a relay and a prompt may take.
const RATIO_MAX: f64 = 2.0;
/// What a relay of one codec may add, 99th percentile.
const RELAYED_P99_MS_MAX: f64 = 3.0;
/// How soon after a key's start a prompt is to stop.
const BARGE_MS_MAX: f64 = 40.0;
/// Two legs have a bridge.
pub(super) const LEGS_PER_BRIDGE: usize = 2;
/// Ports of the bench's engine: clear of the ephemeral ones and of a gateway's usual range.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=19_999;

/// What `ark bench media` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Two-way calls that hear a prompt (at most 4000)
    #[arg(long, default_value_t = 2_000)]
    pub calls: usize,
    /// Bridged calls, two legs each (at most 2000)
    #[arg(long, default_value_t = 800)]
    pub bridges: usize,
    /// Bridged calls whose sides speak PCMU and G.722 (at most 2000)
    #[arg(long, default_value_t = 200)]
    pub transcoded: usize,
    /// Bridged calls between two browsers, by DTLS-SRTP (at most 500)
    #[arg(long, default_value_t = 20)]
    pub webrtc: usize,
    /// Do not measure rtpengine's relay of as many calls as `bridges`, where it is installed
    #[arg(long)]
    pub no_rtpengine: bool,
    /// Seconds that are measured for each of baseline, prompts and bridges
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Lateness of the packets of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lateness {
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// 99.9th percentile, milliseconds.
    pub p999_ms: f64,
    /// The worst, milliseconds.
    pub max_ms: f64,
    /// Share of packets more than 20 ms late, 0 to 1.
    pub share_over_20ms: f64,
    /// Packets measured.
    pub packets: u64,
}

/// One kind of call under load.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// Calls that were up.
    pub calls: usize,
    /// Packets a second that the engine received and sent, together.
    pub packets_per_second: f64,
    /// CPU of the media thread for one packet, received or sent, microseconds.
    pub cpu_us_per_packet: f64,
    /// CPU for a packet received and one sent, over the bare loop that does just that.
    pub ratio_to_floor: f64,
    /// Share of its core that the media thread used, 0 to 1.
    pub core_share: f64,
    /// CPU for one call for a minute, milliseconds.
    pub cpu_ms_per_call_minute: f64,
    /// How late packets came.
    pub lateness: Lateness,
    /// Share beyond 20 ms that the machine itself does not explain.
    pub late_share_beyond_baseline: f64,
    /// Packets missing at the receiver.
    pub lost: u64,
    /// Packets that the engine dropped.
    pub dropped: u64,
    /// Stalls that the engine could not catch up.
    pub resyncs: u64,
    /// From the phone's sending to the other phone's receiving, milliseconds (bridges): median and 99th percentile.
    pub relayed_ms: Option<(f64, f64)>,
    /// From a key's start to the last packet of the prompt that it stops, milliseconds (prompts): median, 99th percentile, worst.
    pub barge_in_ms: Option<(f64, f64, f64)>,
    /// Resident memory that a call added, bytes; of browsers' bridges with the bench's own browsers.
    pub rss_bytes_per_call: u64,
    /// Resident memory that was left, beyond what there was before the first call, once all had ended, bytes.
    pub rss_bytes_left: u64,
    /// Slots that the generator began more than 5 ms late: many of them, and the run says little.
    pub generator_late_slots: u64,
    /// Share of its core that the generator used, 0 to 1.
    pub generator_core_share: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub cores: Cores,
    /// The yardstick.
    pub floor: floor::Report,
    /// A bare paced sender with as many streams.
    pub baseline: Lateness,
    /// Two-way calls that hear a prompt.
    pub prompts: Option<Load>,
    /// Bridged calls, one codec.
    pub bridges: Option<Load>,
    /// Bridged calls, PCMU on one side and G.722 on the other.
    pub transcoded: Option<Load>,
    /// Bridged calls between browsers.
    pub webrtc: Option<Load>,
    /// rtpengine's relay of as many calls as `bridges`; `None`: it is not installed, or was not asked for.
    pub rtpengine: Option<Load>,
    /// Why not, where it is installed.
    pub no_rtpengine: Option<String>,
    /// Whether prompts were clean: under 0.1 % of packets more than 20 ms late beyond the bare sender.
    pub clean: bool,
    #[serde(skip)]
    json: bool,
}

/// Measures the floor, the baseline, prompts and bridges, one after the other.
///
/// # Errors
/// Too few open files or ports, a thread or socket that could not be made, calls that do not come up.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let calls = options.calls.min(4_000);
    let bridges = options.bridges.min(2_000);
    let time = Duration::from_secs_f64(options.seconds.clamp(0.2, 120.0));
    let transcoded = options.transcoded.min(2_000);
    kit::need_files(2 * calls.max(LEGS_PER_BRIDGE * bridges.max(transcoded)) as u64 + 128)?;
    let cores = Cores::take();
    let short = options.seconds.min(0.7);
    let floor = floor::run_on(cores, &floor::Options { calls: calls.max(1), seconds: short, json: false })?;
    // The machine's noise before and after what is measured: it changes by the second.
    let mut noise = baseline(cores, calls.max(1), time / 2)?;
    let prompts = (calls > 0).then(|| load(cores, Kind::Prompts, calls, time)).transpose()?;
    let bridged = (bridges > 0).then(|| load(cores, Kind::Bridges, bridges, time)).transpose()?;
    let translated = (transcoded > 0).then(|| load(cores, Kind::Transcoded, transcoded, time)).transpose()?;
    let pages = options.webrtc.min(web::BRIDGES_MAX);
    let pages = (pages > 0).then(|| web::load(cores, pages, time)).transpose()?;
    // Somebody else's program that does not run here is no reason to measure nothing.
    let (peer, no_rtpengine) = match rtpengine(cores, if options.no_rtpengine { 0 } else { bridges }, time) {
        Ok(peer) => (peer, None),
        Err(error) => (None, Some(error.to_string())),
    };
    noise.merge(&baseline(cores, calls.max(1), time / 2)?);
    let baseline = lateness(&noise);
    let finish = |run: Run| summarize(&run, &floor, &baseline);
    let (prompts, bridges, transcoded) = (prompts.map(finish), bridged.map(finish), translated.map(finish));
    let (webrtc, rtpengine) = (pages.map(finish_web(&floor, &baseline)), peer.map(finish_peer(&floor, &baseline)));
    let clean = prompts.as_ref().is_none_or(|load| load.late_share_beyond_baseline < LATE_SHARE_MAX && load.lost == 0);
    Ok(Report {
        cores,
        floor,
        baseline,
        prompts,
        bridges,
        transcoded,
        webrtc,
        rtpengine,
        no_rtpengine,
        clean,
        json: options.json,
    })
}

pub(super) fn wait(time: Duration) {
    sys::sleep_until_ns(sys::monotonic_ns() + sys::nanos(time));
}

fn lateness(seen: &Seen) -> Lateness {
    lateness_of(&seen.lateness, seen.packets)
}

fn lateness_of(late: &Histogram, packets: u64) -> Lateness {
    Lateness {
        p50_ms: late.quantile_ms(0.5),
        p99_ms: late.quantile_ms(0.99),
        p999_ms: late.quantile_ms(0.999),
        max_ms: late.max_ms(),
        share_over_20ms: late.share_above_ms(20),
        packets,
    }
}

fn baseline(cores: Cores, streams: usize, time: Duration) -> Result<Seen, BenchError> {
    let mut traffic = Traffic::new()?;
    let to = (0..8).map(|index| traffic.address(index)).collect::<Result<Vec<_>, _>>()?;
    traffic.start(cores.other, &[])?;
    let sender = bare_sender(cores.measured, streams, &to)?;
    wait(WARM_UP.min(time));
    traffic.measure(true);
    wait(time);
    let seen = traffic.finish()?;
    sender.finish()?;
    Ok(seen)
}

/// What one load left behind.
struct Run {
    calls: usize,
    seen: Seen,
    before: Snapshot,
    after: Snapshot,
    time: Duration,
    rss_bytes: u64,
    rss_left_bytes: u64,
    barges: Option<Histogram>,
}

/// What the calls of a run are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prompts,
    Bridges,
    Transcoded,
}

impl Kind {
    /// What the `index`th leg speaks. The generator's packets have PCMU's number; to a leg that agreed on G.722 under that
    /// number their bytes are G.722.
    fn codec(self, index: usize) -> CodecRef {
        let number = if self == Self::Transcoded && !index.is_multiple_of(LEGS_PER_BRIDGE) { 9 } else { 0 };
        codec::by_static_payload_type(number).expect("PCMU and G.722 are in the table")
    }
}

pub(super) fn negotiated(codec: CodecRef, remote: std::net::SocketAddr) -> Negotiated {
    Negotiated {
        dtmf_payload_type: Some(101),
        receive_dtmf_payload_type: Some(101),
        // Reports go nowhere: the receiver measures RTP.
        remote_rtcp: std::net::SocketAddr::new(remote.ip(), 9),
        ..Negotiated::new(codec, 0, remote)
    }
}

/// Something like speech, so that no path is chosen for being silent.
fn prompt() -> std::sync::Arc<EncodedPrompt> {
    let pcm: Vec<i16> = (0..8_000 * 12_u32)
        .map(|n| {
            let t = f64::from(n) / 8_000.0;
            let pitch = 120.0 + 30.0 * (t * 0.7 * std::f64::consts::TAU).sin();
            let voice: f64 = [1.0, 2.0, 3.0, 5.0, 8.0]
                .iter()
                .map(|harmonic| (t * pitch * harmonic * std::f64::consts::TAU).sin() / harmonic)
                .sum();
            (voice * 4_000.0 * (1.2 + (t * 3.1 * std::f64::consts::TAU).sin())) as i16
        })
        .collect();
    let codec = codec::by_static_payload_type(0).expect("PCMU is in the table");
    EncodedPrompt::encode(&pcm, codec, Duration::from_millis(20))
}

/// An engine of one thread on the measured core.
pub(super) fn engine(cores: Cores, events: mpsc::Sender<Event>) -> Result<Engine, BenchError> {
    let config = EngineConfig {
        threads: 1,
        ip: [127, 0, 0, 1].into(),
        ports: PORTS,
        cores: vec![cores.measured],
        ..EngineConfig::default()
    };
    Engine::start(config, events).map_err(|error| BenchError::Failed(error.to_string()))
}

/// Brings up so many legs with a prompt each, or so many bridged pairs of legs.
fn load(cores: Cores, kind: Kind, calls: usize, time: Duration) -> Result<Run, BenchError> {
    let mut traffic = Traffic::new()?;
    let (sender, events) = mpsc::channel::<Event>(8_192);
    let engine = engine(cores, sender)?;
    let handle = engine.handle();
    let refused = |error| BenchError::Failed(format!("the engine refused a call of the bench: {error}"));
    let prompt = prompt();
    let own = std::process::id();
    let rss_before = kit::rss_bytes(own).map_err(BenchError::io("reading /proc/self/statm"))?;
    let mut legs: Vec<Leg> = Vec::new();
    for index in 0..if kind == Kind::Prompts { calls } else { LEGS_PER_BRIDGE * calls } {
        let leg = patiently(|| handle.reserve()).map_err(refused)?;
        let negotiated = negotiated(kind.codec(index), traffic.address(index)?);
        let start = Command::Start { negotiated, signalled_from: None, dtmf: Default::default() };
        patiently(|| handle.command(leg.id, start.clone())).map_err(refused)?;
        legs.push(leg);
    }
    for (index, leg) in legs.iter().enumerate() {
        let command = if kind == Kind::Prompts {
            Command::Play { id: 1, items: vec![prompt.clone()], barge_in: true, repeat: true }
        } else if index.is_multiple_of(LEGS_PER_BRIDGE) {
            Command::Bridge { other: legs[index + 1].id }
        } else {
            continue;
        };
        patiently(|| handle.command(leg.id, command.clone())).map_err(refused)?;
    }
    let targets: Vec<_> = legs.iter().map(|leg| leg.rtp).collect();
    traffic.start(cores.other, &targets)?;
    wait(WARM_UP.min(time));
    let metrics = handle.metrics();
    traffic.measure(true);
    let (before, began) = (metrics.snapshot(), sys::monotonic_ns());
    let barges = match kind {
        Kind::Prompts => Some(barge::measure(&handle, &prompt, time)?),
        Kind::Bridges | Kind::Transcoded => {
            wait(time);
            None
        }
    };
    let (after, ended) = (metrics.snapshot(), sys::monotonic_ns());
    let rss_after = kit::rss_bytes(own).map_err(BenchError::io("reading /proc/self/statm"))?;
    let seen = traffic.finish()?;
    let rss_left =
        end_all(&handle, &legs).and_then(|()| kit::rss_bytes(own).map_err(BenchError::io("reading memory")))?;
    drop(engine);
    drop(events);
    Ok(Run {
        calls,
        seen,
        before,
        after,
        time: Duration::from_nanos(ended - began),
        rss_bytes: rss_after.saturating_sub(rss_before),
        rss_left_bytes: rss_left.saturating_sub(rss_before),
        barges,
    })
}

/// Ends every leg, and waits for it.
fn end_all(handle: &EngineHandle, legs: &[Leg]) -> Result<(), BenchError> {
    for leg in legs {
        let refused = |error| BenchError::Failed(format!("a call of the bench cannot be ended: {error}"));
        patiently(|| handle.command(leg.id, Command::Close)).map_err(refused)?;
    }
    for _ in 0..5_000 {
        if handle.metrics().snapshot().legs == 0 {
            return Ok(());
        }
        wait(Duration::from_millis(1));
    }
    Err(BenchError::Failed("calls of the bench do not end".to_owned()))
}

/// A bench brings up thousands of calls at once: the engine's bounded queue may be full for a moment.
fn patiently<T>(mut act: impl FnMut() -> Result<T, crate::media::Full>) -> Result<T, crate::media::Full> {
    for _ in 0..5_000 {
        match act() {
            Err(crate::media::Full::Queue) => wait(Duration::from_millis(1)),
            other => return other,
        }
    }
    act()
}

/// What was measured of one kind of call, whoever carried it.
struct Raw<'a> {
    calls: usize,
    packets: u64,
    cpu_ns: u64,
    time: Duration,
    lateness: Lateness,
    relayed: &'a Histogram,
    lost: u64,
    dropped: u64,
    resyncs: u64,
    rss: (u64, u64),
    generator: (u64, f64),
}

impl Raw<'_> {
    fn load(self, floor: &floor::Report, baseline: &Lateness) -> Load {
        let seconds = self.time.as_secs_f64();
        let cpu_ns = self.cpu_ns as f64;
        let per_packet_ns = cpu_ns / self.packets.max(1) as f64;
        Load {
            calls: self.calls,
            packets_per_second: self.packets as f64 / seconds,
            cpu_us_per_packet: per_packet_ns / 1_000.0,
            // The bare loop's unit is one received and one sent.
            ratio_to_floor: 2.0 * per_packet_ns / floor.forward.cpu_ns_per_packet,
            core_share: cpu_ns / 1e9 / seconds,
            cpu_ms_per_call_minute: cpu_ns / 1e6 / seconds * 60.0 / self.calls.max(1) as f64,
            late_share_beyond_baseline: (self.lateness.share_over_20ms - baseline.share_over_20ms).max(0.0),
            lateness: self.lateness,
            lost: self.lost,
            dropped: self.dropped,
            resyncs: self.resyncs,
            relayed_ms: (self.relayed.count() > 0)
                .then(|| (self.relayed.quantile_ms(0.5), self.relayed.quantile_ms(0.99))),
            barge_in_ms: None,
            rss_bytes_per_call: self.rss.0 / self.calls.max(1) as u64,
            rss_bytes_left: self.rss.1,
            generator_late_slots: self.generator.0,
            generator_core_share: self.generator.1,
        }
    }
}

/// Packets that an engine received and sent in between.
fn packets(before: &Snapshot, after: &Snapshot) -> u64 {
    (after.rtp_in - before.rtp_in) + (after.rtp_out - before.rtp_out)
}

fn drops(before: &Snapshot, after: &Snapshot) -> u64 {
    after.drops.iter().sum::<u64>() - before.drops.iter().sum::<u64>()
}

fn generator(seen: &Seen) -> (u64, f64) {
    (seen.late_slots, seen.cpu_ns as f64 / seen.time_ns.max(1) as f64)
}

fn summarize(run: &Run, floor: &floor::Report, baseline: &Lateness) -> Load {
    let raw = Raw {
        calls: run.calls,
        packets: packets(&run.before, &run.after),
        cpu_ns: run.after.cpu_ns - run.before.cpu_ns,
        time: run.time,
        lateness: lateness(&run.seen),
        relayed: &run.seen.relayed,
        lost: run.seen.lost,
        dropped: drops(&run.before, &run.after),
        resyncs: run.after.resyncs - run.before.resyncs,
        rss: (run.rss_bytes, run.rss_left_bytes),
        generator: generator(&run.seen),
    };
    let barges = run.barges.as_ref().filter(|barges| barges.count() > 0);
    let barge_in_ms = barges.map(|times| (times.quantile_ms(0.5), times.quantile_ms(0.99), times.max_ms()));
    Load { barge_in_ms, ..raw.load(floor, baseline) }
}

fn finish_web(floor: &floor::Report, baseline: &Lateness) -> impl Fn(web::Seen) -> Load {
    move |seen| {
        let lateness = lateness_of(&seen.lateness, seen.packets);
        let raw = Raw {
            calls: seen.calls,
            packets: packets(&seen.before, &seen.after),
            cpu_ns: seen.cpu_ns,
            time: seen.time,
            lateness,
            relayed: &seen.relayed,
            lost: seen.lost,
            dropped: drops(&seen.before, &seen.after) + seen.dropped,
            resyncs: seen.after.resyncs - seen.before.resyncs,
            rss: (seen.rss_bytes, seen.rss_left_bytes),
            generator: (0, seen.browsers_cpu_ns as f64 / 1e9 / seen.time.as_secs_f64()),
        };
        raw.load(floor, baseline)
    }
}

/// What one run of rtpengine left behind.
struct PeerRun {
    calls: usize,
    seen: Seen,
    cpu_ns: u64,
    time: Duration,
    rss: (u64, u64),
}

fn finish_peer(floor: &floor::Report, baseline: &Lateness) -> impl Fn(PeerRun) -> Load {
    move |run| {
        let raw = Raw {
            calls: run.calls,
            packets: run.seen.sent + run.seen.packets,
            cpu_ns: run.cpu_ns,
            time: run.time,
            lateness: lateness(&run.seen),
            relayed: &run.seen.relayed,
            lost: run.seen.lost,
            dropped: 0,
            resyncs: 0,
            rss: run.rss,
            generator: generator(&run.seen),
        };
        raw.load(floor, baseline)
    }
}

/// rtpengine's relay of so many calls; `None`: it is not installed, or none are asked for.
fn rtpengine(cores: Cores, calls: usize, time: Duration) -> Result<Option<PeerRun>, BenchError> {
    let Some(mut peer) = (calls > 0).then(|| Rtpengine::start(cores)).transpose()?.flatten() else { return Ok(None) };
    let mut traffic = Traffic::new()?;
    let memory = |pid| kit::rss_bytes(pid).map_err(BenchError::io("reading rtpengine's memory"));
    let before = memory(peer.pid())?;
    let calls = peer.relay(calls, |index| traffic.address(index))?;
    traffic.start(cores.other, &peer.targets)?;
    wait(WARM_UP.min(time));
    let cpu = || kit::process_cpu_ns(peer.pid()).map_err(BenchError::io("reading rtpengine's CPU time"));
    traffic.measure(true);
    let (cpu_before, began) = (cpu()?, sys::monotonic_ns());
    wait(time);
    let (cpu_after, ended) = (cpu()?, sys::monotonic_ns());
    let grown = memory(peer.pid())?.saturating_sub(before);
    let seen = traffic.finish()?;
    let time = Duration::from_nanos(ended - began);
    Ok(Some(PeerRun { calls, seen, cpu_ns: cpu_after.saturating_sub(cpu_before), time, rss: (grown, 0) }))
}

fn late_line(late: &Lateness) -> String {
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms; more than 20 ms: {:.3} %",
        late.p50_ms,
        late.p99_ms,
        late.p999_ms,
        late.max_ms,
        late.share_over_20ms * 100.0
    )
}

fn load_rows(table: &mut Table, name: &str, load: &Load) {
    table
        .row(name, format!("{} calls, {:.0} packets/s in and out", load.calls, load.packets_per_second))
        .row(
            "  CPU",
            format!(
                "{:.2} us/packet, {:.2}x the floor; {:.0} % of the core; {:.1} ms/call-minute",
                load.cpu_us_per_packet,
                load.ratio_to_floor,
                load.core_share * 100.0,
                load.cpu_ms_per_call_minute
            ),
        )
        .row("  lateness", late_line(&load.lateness))
        .row(
            "  beyond the bare sender",
            format!("{:.3} % of packets more than 20 ms late", load.late_share_beyond_baseline * 100.0),
        )
        .row("  lost / dropped / resyncs", format!("{} / {} / {}", load.lost, load.dropped, load.resyncs));
    if let Some((median, p99)) = load.relayed_ms {
        table.row("  phone to phone", format!("p50 {median:.2} ms, p99 {p99:.2} ms"));
    }
    if let Some((median, p99, worst)) = load.barge_in_ms {
        table.row("  key to the prompt's end", format!("p50 {median:.1} ms, p99 {p99:.1} ms, max {worst:.1} ms"));
    }
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let memory = format!(
        "{:.1} KiB resident/call; {:.0} KiB left once all had ended",
        kib(load.rss_bytes_per_call),
        kib(load.rss_bytes_left)
    );
    table.row("  memory", memory).row(
        "  generator",
        format!(
            "{:.0} % of its core, {} slots began more than 5 ms late",
            load.generator_core_share * 100.0,
            load.generator_late_slots
        ),
    );
}

impl Report {
    /// What is asked of media, each value beside what this run has.
    fn asked(&self) -> Table {
        let mut table = Table::new();
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        if let Some(load) = &self.bridges {
            let relay = format!("{:.2}x the bare loop per packet (asked: at most {RATIO_MAX:.1})", load.ratio_to_floor);
            table.row("relay, one codec", relay);
            if let Some((median, p99)) = load.relayed_ms {
                let added =
                    format!("p50 {median:.2} ms, p99 {p99:.2} ms (asked: p99 under {RELAYED_P99_MS_MAX:.0} ms)");
                table.row("  delay that it adds", added);
            }
            table.row("  bridged calls", late_beyond(load));
        }
        if let (Some(peer), Some(ours)) = (&self.rtpengine, &self.bridges) {
            let beside = format!(
                "{:.2} us/packet of CPU; Ark {:.2}: {:.2} of it",
                peer.cpu_us_per_packet,
                ours.cpu_us_per_packet,
                ours.cpu_us_per_packet / peer.cpu_us_per_packet.max(f64::EPSILON)
            );
            table.row("  rtpengine's relay", beside);
        }
        if let Some(load) = &self.prompts {
            let prompt =
                format!("{:.2}x the bare loop per packet (asked: at most {RATIO_MAX:.1})", load.ratio_to_floor);
            table.row("prompts", prompt).row("  two-way calls", late_beyond(load));
            let memory = format!(
                "{:.1} KiB a call (asked: at most {:.0}); {:.0} KiB of all {} left afterwards",
                kib(load.rss_bytes_per_call),
                kib(RSS_PER_CALL_MAX),
                kib(load.rss_bytes_left),
                load.calls
            );
            table.row("  memory", memory);
            if let Some((_, p99, worst)) = load.barge_in_ms {
                let barge = format!("p99 {p99:.1} ms, max {worst:.1} ms (asked: at most {BARGE_MS_MAX:.0} ms)");
                table.row("  a key stops a prompt in", barge);
            }
        }
        table
    }
}

fn late_beyond(load: &Load) -> String {
    format!(
        "{} on a core, {:.3} % of packets more than 20 ms late beyond the bare sender (asked: under {:.1} %)",
        load.calls,
        load.late_share_beyond_baseline * 100.0,
        LATE_SHARE_MAX * 100.0
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json {
            return f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?);
        }
        write!(f, "{}", self.floor)?;
        writeln!(
            f,
            "media: engine in one thread on core {}, generator on core {}, {PACKETS_PER_SECOND} packets/s a stream",
            self.cores.measured, self.cores.other
        )?;
        let mut table = Table::new();
        table.row("bare sender", late_line(&self.baseline));
        if let Some(load) = &self.prompts {
            load_rows(&mut table, "two-way prompts", load);
        }
        if let Some(load) = &self.bridges {
            load_rows(&mut table, "bridges", load);
        }
        if let Some(load) = &self.transcoded {
            load_rows(&mut table, "transcoded bridges", load);
        }
        if let Some(load) = &self.webrtc {
            load_rows(&mut table, "browsers' bridges (memory: theirs too)", load);
        }
        match &self.rtpengine {
            Some(load) => load_rows(&mut table, "rtpengine's relay", load),
            None => {
                let why = self.no_rtpengine.as_deref().unwrap_or("it is not installed, or was not asked for");
                table.row("rtpengine", format!("not measured: {why}"));
            }
        }
        let verdict = if self.clean { "yes" } else { "no" };
        table.row("clean", format!("{verdict} (no loss, under 0.1 % more than 20 ms late beyond the bare sender)"));
        writeln!(f, "{table}asked of media:")?;
        write!(f, "{}", self.asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_measures_prompts_and_bridges_and_prints_units() {
        let options =
            Options { calls: 20, bridges: 5, transcoded: 5, webrtc: 2, no_rtpengine: false, seconds: 0.5, json: false };
        let report = run(&options).unwrap();
        let (prompts, bridges) = (report.prompts.clone().unwrap(), report.bridges.clone().unwrap());
        assert!(prompts.lateness.packets > 200 && prompts.dropped == 0, "{prompts:?}");
        assert!(bridges.relayed_ms.is_some() && bridges.dropped == 0, "{bridges:?}");
        let transcoded = report.transcoded.clone().unwrap();
        assert!(transcoded.lateness.packets > 20 && transcoded.dropped == 0, "{transcoded:?}");
        assert!(transcoded.cpu_us_per_packet > bridges.cpu_us_per_packet / 2.0, "{transcoded:?}");
        let pages = report.webrtc.clone().unwrap();
        assert!(pages.lateness.packets > 20 && pages.relayed_ms.is_some(), "{pages:?}");
        assert!(pages.cpu_us_per_packet > bridges.cpu_us_per_packet, "{pages:?}");
        assert!(prompts.barge_in_ms.is_some(), "{prompts:?}");
        if let Some(peer) = &report.rtpengine {
            assert!(peer.lateness.packets > 20 && peer.relayed_ms.is_some(), "{peer:?}");
        }
        let text = report.to_string();
        assert!(text.contains("asked: at most 16") && text.contains("asked: under 0.1 %"), "{text}");
        assert!(text.contains("us/packet") && text.contains("phone to phone"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&Report { json: true, ..report }.to_string()).unwrap();
        assert_eq!(json["prompts"]["calls"], 20);
    }
}
