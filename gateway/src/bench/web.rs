//! Bridges between browsers under load: DTLS-SRTP on both legs. The browsers are peers of our own in this process, on the other
//! core; what is counted as Ark's is its media thread, its task threads and the crate's, on the measured one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ark_media::codec;
use tokio::{runtime::Runtime, sync::mpsc, task::JoinSet};

use super::{
    kit::{self, BenchError, Cores, Histogram, PACKET_BYTES},
    media::{LEGS_PER_BRIDGE, engine, wait},
    traffic::{Arrivals, HEADER, MAGIC, STEP},
};
use crate::media::{Command, LegId, MediaPort, metrics::Snapshot, sys};
use crate::webrtc::browser::{Answered, Browser, Ear};

/// Ports of Ark's legs toward browsers.
const PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_000;
/// Most bridges of browsers: two ports a bridge, and room to find a free one.
pub(super) const BRIDGES_MAX: usize = 500;
/// How long a road may take to be found: a handshake is dear, and all are made at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Threads that are Ark's, by the beginning of their names.
const OURS: [&str; 3] = ["ark-media", TASKS, "webrtc-rx"];
const TASKS: &str = "bench ark web";
const BROWSERS: &str = "bench browsers";

/// What was seen.
pub(super) struct Seen {
    pub(super) calls: usize,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) lateness: Histogram,
    pub(super) relayed: Histogram,
    pub(super) before: Snapshot,
    pub(super) after: Snapshot,
    pub(super) cpu_ns: u64,
    pub(super) browsers_cpu_ns: u64,
    pub(super) dropped: u64,
    pub(super) time: Duration,
    /// Of both sides.
    pub(super) rss_bytes: u64,
    pub(super) rss_left_bytes: u64,
}

/// What all browsers heard.
struct Heard {
    measuring: AtomicBool,
    sum: Mutex<(u64, u64, Histogram, Histogram)>,
}

impl Heard {
    /// The ear of one browser.
    fn ear(self: &Arc<Self>) -> Ear {
        let (heard, arrivals) = (Arc::clone(self), Mutex::new(Arrivals::default()));
        Arc::new(move |sequence, timestamp, payload| {
            let now = sys::realtime_ns();
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let (late_us, lost) = arrivals.take(now, sequence, timestamp);
            if !heard.measuring.load(Relaxed) {
                return;
            }
            let word =
                |at: usize| payload.get(at..at + 8).and_then(|word| Some(u64::from_be_bytes(word.try_into().ok()?)));
            let mut sum = heard.sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.0 += 1;
            sum.1 += lost;
            sum.2.record_us(late_us);
            if word(0) == Some(MAGIC) {
                sum.3.record_us(now.saturating_sub(word(8).unwrap_or(now)) / 1_000);
            }
        })
    }
}

fn runtime(name: &str, core: usize) -> Result<Runtime, BenchError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name(name)
        .on_thread_start(move || {
            // Where it cannot be moved it runs where it can: the report names the cores.
            let _ = sys::pin_to_core(core);
        })
        .build()
        .map_err(BenchError::io("starting threads for browsers"))
}

/// CPU time of threads with such names.
fn cpu_ns(of: &[&str]) -> u64 {
    let by_name = kit::thread_cpu_by_name(std::process::id());
    by_name.iter().filter(|(name, _)| of.iter().any(|begin| name.starts_with(begin))).map(|(_, ns)| ns).sum()
}

/// Brings up so many bridges, and counts for `time`.
pub(super) fn load(cores: Cores, bridges: usize, time: Duration) -> Result<Seen, BenchError> {
    let (events_in, events) = mpsc::channel(8_192);
    let engine = engine(cores, events_in)?;
    let handle = engine.handle();
    let (ours, theirs) = (runtime(TASKS, cores.measured)?, runtime(BROWSERS, cores.other)?);
    let heard = Arc::new(Heard {
        measuring: AtomicBool::new(false),
        sum: Mutex::new((0, 0, Histogram::new(100), Histogram::new(10))),
    });
    let rss = || kit::rss_bytes(std::process::id()).map_err(BenchError::io("reading /proc/self/statm"));
    let rss_before = rss()?;
    let mut legs: Vec<(LegId, Answered)> = Vec::new();
    let mut browsers = Vec::new();
    for _ in 0..LEGS_PER_BRIDGE * bridges {
        let (id, answered, browser) = bring_up(&handle, (&ours, &theirs), heard.ear())?;
        legs.push((id, answered));
        browsers.push(browser);
    }
    for pair in legs.chunks_exact(LEGS_PER_BRIDGE) {
        let full = |error| BenchError::Failed(format!("the engine refused a bridge of browsers: {error}"));
        handle.command(pair[0].0, Command::Bridge { other: pair[1].0 }).map_err(full)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let speakers = theirs.spawn(speak(browsers, Arc::clone(&stop)));
    wait(Duration::from_secs(1).min(time));
    let metrics = handle.metrics();
    let began = (metrics.snapshot(), cpu_ns(&OURS), cpu_ns(&[BROWSERS]), Instant::now());
    heard.measuring.store(true, Relaxed);
    wait(time);
    heard.measuring.store(false, Relaxed);
    let (after, cpu, browsers_cpu) = (metrics.snapshot(), cpu_ns(&OURS), cpu_ns(&[BROWSERS]));
    let (before, cpu_before, browsers_before, at) = began;
    let (time, rss_after) = (at.elapsed(), rss()?);
    stop.store(true, Relaxed);
    let dropped = legs.iter().map(|(_, answered)| answered.dropped()).sum();
    ours.block_on(async {
        for (id, answered) in legs {
            let _ = handle.command(id, Command::Close);
            answered.close().await;
        }
    });
    theirs.block_on(async {
        for browser in speakers.await.unwrap_or_default() {
            browser.close().await;
        }
    });
    for runtime in [ours, theirs] {
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
    drop((engine, events));
    let rss_left_bytes = rss()?.saturating_sub(rss_before);
    let mut sum = heard.sum.lock().unwrap_or_else(PoisonError::into_inner);
    let (packets, lost) = (sum.0, sum.1);
    let lateness = std::mem::replace(&mut sum.2, Histogram::new(100));
    let relayed = std::mem::replace(&mut sum.3, Histogram::new(10));
    Ok(Seen {
        calls: bridges,
        packets,
        lost,
        lateness,
        relayed,
        before,
        after,
        cpu_ns: cpu.saturating_sub(cpu_before),
        browsers_cpu_ns: browsers_cpu.saturating_sub(browsers_before),
        dropped,
        time,
        rss_bytes: rss_after.saturating_sub(rss_before),
        rss_left_bytes,
    })
}

/// One browser that is connected to a leg.
fn bring_up(
    handle: &crate::media::EngineHandle,
    (ours, theirs): (&Runtime, &Runtime),
    ear: Ear,
) -> Result<(LegId, Answered, Browser), BenchError> {
    let failed = |error: String| BenchError::Failed(format!("a browser of the bench: {error}"));
    let pcmu = codec::by_static_payload_type(0).expect("PCMU is in the table");
    let (id, pipe) = handle.reserve_pipe().map_err(|error| failed(error.to_string()))?;
    let mut browser = theirs
        .block_on(theirs.spawn(Browser::new(pcmu, ear)))
        .map_err(|error| failed(error.to_string()))
        .and_then(|made| made.map_err(|error| failed(error.to_string())))?;
    let offer = browser.offer().to_owned();
    let (answered, answer) = ours
        .block_on(ours.spawn(async move { Answered::new(PORTS, &offer, pcmu, pipe).await }))
        .map_err(|error| failed(error.to_string()))
        .and_then(|made| made.map_err(|error| failed(error.to_string())))?;
    let up = theirs.block_on(browser.connect(&answer, CONNECT_WITHIN)).map_err(|error| failed(error.to_string()))?;
    if !up {
        return Err(failed("no road was found".to_owned()));
    }
    let negotiated = answered.negotiated();
    let start = Command::Start { negotiated, signalled_from: None, dtmf: Default::default() };
    handle.command(id, start).map_err(|error| failed(error.to_string()))?;
    Ok((id, answered, browser))
}

/// Every browser says something each 20 ms, spread over them, until it is stopped.
async fn speak(browsers: Vec<Browser>, stop: Arc<AtomicBool>) -> Vec<Browser> {
    let count = browsers.len().max(1) as u32;
    let mut speakers = JoinSet::new();
    for (index, browser) in (0_u32..).zip(browsers) {
        let stop = Arc::clone(&stop);
        speakers.spawn(async move {
            let begin = tokio::time::Instant::now() + Duration::from_millis(20) * index / count;
            let mut ticks = tokio::time::interval_at(begin, Duration::from_millis(20));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            let (mut sequence, mut timestamp) = (0_u16, 0_u32);
            while !stop.load(Relaxed) {
                ticks.tick().await;
                let mut payload = [0xFF; PACKET_BYTES - HEADER];
                payload[..8].copy_from_slice(&MAGIC.to_be_bytes());
                payload[8..16].copy_from_slice(&sys::realtime_ns().to_be_bytes());
                browser.say(sequence, timestamp, bytes::Bytes::copy_from_slice(&payload)).await;
                sequence = sequence.wrapping_add(1);
                timestamp = timestamp.wrapping_add(STEP);
            }
            browser
        });
    }
    speakers.join_all().await
}
