//! What the benches share: histograms, tables, two cores, the process' own memory.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs, io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::media::sys;

/// G.711, 20 ms: 12 bytes of RTP header and 160 of payload.
pub(crate) const PACKET_BYTES: usize = 172;
/// Packets a second of one stream.
pub(crate) const PACKETS_PER_SECOND: u64 = 50;

/// A bench that could not run, with what to do about it.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The machine's limits are too low for the size asked for.
    #[error("{0}")]
    TooSmall(String),
    /// The thing to be measured did not behave.
    #[error("{0}")]
    Failed(String),
}

impl BenchError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Raises the limit of open files; says clearly when `needed` are not to be had.
pub(crate) fn need_files(needed: u64) -> Result<(), BenchError> {
    let (soft, hard) = sys::raise_file_limit().map_err(BenchError::io("reading the limit of open files"))?;
    if soft >= needed {
        return Ok(());
    }
    Err(BenchError::TooSmall(format!(
        "this run needs {needed} open files, the limit is {soft} (hard limit {hard}): raise it (ulimit -n {needed}) \
         or ask for fewer calls"
    )))
}

/// The cores that a bench uses: one for what is measured, one for the other side.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cores {
    /// Core of the thing that is measured.
    pub measured: usize,
    /// Core of the generator and receiver.
    pub other: usize,
    /// Whether there are two: on one core the numbers are about sharing it, and say so.
    pub separate: bool,
}

impl Cores {
    /// Chooses them, and moves the calling thread (and what it starts) off the measured one.
    pub(crate) fn take() -> Self {
        let separate = sys::cores() > 1;
        let cores = Self { measured: 0, other: usize::from(separate), separate };
        // Where it cannot be moved, it disturbs a little: it mostly sleeps.
        let _ = sys::pin_to_core(cores.other);
        cores
    }
}

/// Binds a non-blocking UDP socket on loopback with buffers of that size.
pub(crate) fn loopback_socket(buffer_bytes: usize) -> Result<UdpSocket, BenchError> {
    let make = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        sys::force_receive_buffer(&socket, i32::try_from(buffer_bytes).unwrap_or(i32::MAX))?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        Ok(socket.into())
    };
    make().map_err(BenchError::io("binding a UDP socket on 127.0.0.1"))
}

pub(crate) fn local(socket: &UdpSocket) -> Result<SocketAddr, BenchError> {
    socket.local_addr().map_err(BenchError::io("reading a socket's address"))
}

/// A thread that is told to stop and gives back its result.
pub(crate) struct Worker<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Runs `work` on `core`; it looks at the flag and returns when it is set.
    pub(crate) fn start(
        name: &str,
        core: usize,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<Self, BenchError> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // A machine without that core runs it where it can: the report names the cores.
                let _ = sys::pin_to_core(core);
                sys::tighten_timer_slack();
                work(&flag)
            })
            .map_err(BenchError::io("starting a thread"))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Tells it to stop and waits for its result.
    pub(crate) fn finish(mut self) -> Result<T, BenchError> {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("a worker is finished once");
        thread.join().map_err(|_| BenchError::Failed("a thread of the bench panicked".to_owned()))
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// A histogram of durations: 0.1 ms steps up to 400 ms, exact counts, and the largest.
#[derive(Clone)]
pub(crate) struct Histogram {
    bins: Vec<u64>,
    count: u64,
    max_us: u64,
    step_us: u64,
}

impl Histogram {
    const BINS: usize = 4_000;

    /// Bins of so many microseconds.
    pub(crate) fn new(step_us: u64) -> Self {
        Self { bins: vec![0; Self::BINS + 1], count: 0, max_us: 0, step_us: step_us.max(1) }
    }

    pub(crate) fn record_us(&mut self, us: u64) {
        let bin = usize::try_from(us / self.step_us).unwrap_or(usize::MAX).min(Self::BINS);
        self.bins[bin] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }

    /// The value below which this share lies, milliseconds, to the width of a bin.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return if bin == Self::BINS {
                    self.max_ms()
                } else {
                    (bin as u64 + 1) as f64 * self.step_us as f64 / 1_000.0
                };
            }
        }
        0.0
    }

    /// The share of values above so many milliseconds, 0 to 1.
    pub(crate) fn share_above_ms(&self, ms: u64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let first = usize::try_from(ms * 1_000 / self.step_us).unwrap_or(usize::MAX).min(Self::BINS);
        self.bins[first..].iter().sum::<u64>() as f64 / self.count as f64
    }
}

/// Resident memory of a process, bytes, from `/proc`.
pub(crate) fn rss_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    Ok(pages * sys::page_bytes())
}

/// CPU time of a process with all its threads, nanoseconds: the scheduler's own count for those that run, checked
/// against the ticks of `/proc/PID/stat`, which also hold the threads that have ended.
pub(crate) fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name may hold spaces and parentheses: fields are counted after the last one.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    let from_ticks = ticks * 1_000_000_000 / sys::clock_ticks_per_second();
    let mut exact = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        exact += schedstat.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    // Ended threads are missing in the exact sum: beyond what ticks can be off by, the ticks are right.
    Ok(if exact + 200_000_000 < from_ticks { from_ticks } else { exact })
}

/// CPU time of a process by the names of its threads, nanoseconds; threads of one name are added up.
pub(crate) fn thread_cpu_by_name(pid: u32) -> BTreeMap<String, u64> {
    let mut by_name = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return by_name };
    for task in tasks.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns: u64 = schedstat.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
        *by_name.entry(name.trim().to_owned()).or_insert(0) += ns;
    }
    by_name
}

/// Lines of a report: names and values with their units, aligned.
pub(crate) struct Table(Vec<(String, String)>);

impl Table {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in &self.0 {
            writeln!(out, "  {name:width$}  {value}")?;
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_gives_quantiles_and_shares() {
        let mut histogram = Histogram::new(100);
        for us in 1..=1_000_u64 {
            histogram.record_us(us * 100);
        }
        assert!((histogram.quantile_ms(0.5) - 50.1).abs() < 0.11);
        assert!((histogram.quantile_ms(0.99) - 99.1).abs() < 0.11);
        assert!((histogram.share_above_ms(20) - 0.801).abs() < 1e-9);
        histogram.record_us(9_000_000);
        assert!((histogram.quantile_ms(1.0) - 9_000.0).abs() < 1e-9);
        assert_eq!(Histogram::new(100).share_above_ms(20).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn this_process_has_memory_and_has_used_cpu() {
        assert!(rss_bytes(std::process::id()).unwrap() > 1_000_000);
        let before = process_cpu_ns(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while process_cpu_ns(std::process::id()).unwrap() < before + 5_000_000 {
            sum = sum.wrapping_add((0..10_000_u64).sum::<u64>());
        }
        assert!(sum > 0);
    }
}
