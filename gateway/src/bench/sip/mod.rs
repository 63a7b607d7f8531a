//! Signalled calls: INVITE, 200, ACK, BYE with SDP, against a gateway of our own (or any server), and SIPp beside it.

mod load;
pub(super) mod server;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use super::kit::{self, BenchError, Cores, Table};
use crate::media::sys;
use load::{Caller, Offer, Outcome};
use server::{Server, Usage};

/// How often memory is looked at during a run.
const SAMPLE: Duration = Duration::from_millis(50);
/// Calls that end in this time after the last one began are waited for.
const DRAIN: Duration = Duration::from_secs(5);
/// The first calls of a process pay for what is made once, and fill caches whose size does not depend on calls (the store's
/// pages): they are not counted.
const WARM_UP: (f64, Duration) = (400.0, Duration::from_secs(5));
/// A ramp begins here and grows by a quarter.
const RAMP_START: f64 = 200.0;
const RAMP_GROWTH: f64 = 1.25;
/// The most calls a second that the generator offers.
const RATE_MAX: f64 = 20_000.0;
/// A step carries its load when this share of what was offered is completed in time.
const CARRIED: f64 = 0.97;
/// The thread that writes the log, as the system shows its name.
const LOG_THREAD: &str = "ark-store-write";

/// Whether the gateway keeps its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// As in service.
    On,
    /// Nothing is kept.
    Off,
    /// First without, then with.
    Both,
}

/// What `ark bench sip` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Calls a second
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// Seconds for which calls are offered (a ramp: in each step)
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Find the rate up to which calls are carried
    #[arg(long)]
    pub ramp: bool,
    /// Find that rate, then offer twice as much
    #[arg(long)]
    pub overload: bool,
    /// Whether the gateway keeps its log
    #[arg(long, value_enum, default_value_t = Log::On)]
    pub log: Log,
    /// Seconds after the last call until memory is looked at again
    #[arg(long, default_value_t = 40.0)]
    pub settle: f64,
    /// A server that already runs (its CPU and memory are not known then)
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Option<SocketAddr>,
    /// The gateway to start [default: this program]
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
    /// Leave out the comparison with `sipp -sn uas`, which is made where SIPp is installed
    #[arg(long)]
    pub no_sipp: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One rate for one time.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Calls a second that were to be offered.
    pub rate: f64,
    /// Calls that were offered: the sum of the next three.
    pub offered: u64,
    /// Set up and ended in order.
    pub completed: u64,
    /// Answered 503.
    pub refused: u64,
    /// All else, by what happened.
    pub failed: BTreeMap<String, u64>,
    /// 503s that said when to try again.
    pub with_retry_after: u64,
    /// Requests that had to be sent again.
    pub retransmissions: u64,
    /// 200s that the server sent again although they were acknowledged.
    pub repeated_200: u64,
    /// Completed calls a second while calls were offered.
    pub goodput: f64,
    /// From INVITE to 200: median, 99th percentile and worst, milliseconds.
    pub setup_ms: [f64; 3],
    /// CPU of the server for one offered call, milliseconds.
    pub cpu_ms_per_call: Option<f64>,
    /// The same without the thread that writes the log.
    pub cpu_ms_per_call_without_log_thread: Option<f64>,
    /// Share of its core that the server used, 0 to 1.
    pub core_share: Option<f64>,
    /// CPU for one offered call by the server's threads, milliseconds.
    pub cpu_ms_by_thread: BTreeMap<String, f64>,
    /// Share of its core that the generator used, 0 to 1.
    pub generator_core_share: f64,
    /// Calls that the generator began more than 5 ms late.
    pub late_starts: u64,
}

/// Memory of the server, bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// After the first calls, before the run.
    pub before: u64,
    /// The most that was seen.
    pub peak: u64,
    /// When all had settled.
    pub after: u64,
    /// What stayed, for each call that was offered.
    pub kept_per_ended_call: f64,
    /// What was held at the peak, for each call that was offered.
    pub held_at_peak_per_call: f64,
}

/// One server under load.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Which.
    pub server: String,
    /// One rate, or the steps of a ramp.
    pub steps: Vec<Step>,
    /// The best goodput of a ramp.
    pub peak: Option<f64>,
    /// Twice the peak.
    pub overload: Option<Step>,
    /// Goodput at twice the peak over the peak.
    pub overload_ratio: Option<f64>,
    /// Memory, where the process is ours.
    pub memory: Option<Memory>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub cores: Cores,
    /// The servers, one after the other.
    pub servers: Vec<Measured>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    #[serde(skip)]
    json: bool,
}

/// Offers calls to each server in turn.
///
/// # Errors
/// A server that does not start or ends, a socket or thread that could not be made.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let cores = Cores::take();
    kit::need_files(1_024)?;
    let mut report = Report { cores, servers: Vec::new(), notes: Vec::new(), json: options.json };
    if let Some(target) = options.target {
        if !load::answers(target)? && !load::takes_a_call(target)? {
            return Err(BenchError::Failed(format!("nothing answers OPTIONS or takes a call at udp:{target}")));
        }
        report.servers.push(measure(options, cores, &Server::running(target), options.rate)?);
        return Ok(report);
    }
    let program = match &options.server {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(BenchError::io("finding this program"))?,
    };
    let logs: &[bool] = match options.log {
        Log::On => &[true],
        Log::Off => &[false],
        Log::Both => &[false, true],
    };
    for log in logs {
        match Server::gateway(&program, cores.measured, *log) {
            Ok(server) => report.servers.push(measure(options, cores, &server, options.rate)?),
            Err(error) if !*log => report.notes.push(format!("not measured without the log: {error}")),
            Err(error) => return Err(error),
        }
    }
    if !options.no_sipp {
        match Server::sipp(cores.measured)? {
            // A comparison at one rate, short: it has no plan, no media and no log.
            Some(server) => {
                let short = Options { ramp: false, overload: false, settle: 0.0, ..options.clone() };
                report.servers.push(measure(&short, cores, &server, options.rate)?);
            }
            None => report.notes.push("sipp is not installed: no comparison".to_owned()),
        }
    }
    Ok(report)
}

fn wait(time: Duration) {
    sys::sleep_until_ns(sys::monotonic_ns() + sys::nanos(time));
}

fn measure(options: &Options, cores: Cores, server: &Server, rate: f64) -> Result<Measured, BenchError> {
    let time = Duration::from_secs_f64(options.seconds.clamp(0.2, 600.0));
    let mut peak_rss = 0;
    let mut step = |rate: f64, time: Duration| step(cores, server, rate, time, &mut peak_rss);
    step(WARM_UP.0, WARM_UP.1)?;
    let before = server.usage()?.rss_bytes;
    let (mut steps, mut peak, mut overload) = (Vec::new(), None, None);
    if options.ramp || options.overload {
        steps = ramp(time, &mut step)?;
        peak = steps.iter().map(|step| step.goodput).max_by(f64::total_cmp);
    } else {
        steps.push(step(rate.clamp(0.1, RATE_MAX), time)?);
    }
    if let (true, Some(peak)) = (options.overload, peak) {
        overload = Some(step((2.0 * peak).min(RATE_MAX), time)?);
    }
    let overload_ratio = overload.as_ref().zip(peak).map(|(step, peak)| step.goodput / peak.max(1e-9));
    let memory = if server.is_ours() {
        wait(Duration::from_secs_f64(options.settle.clamp(0.0, 120.0)));
        let after = server.usage()?.rss_bytes;
        let calls = steps.iter().chain(&overload).map(|step| step.offered).sum::<u64>().max(1) as f64;
        Some(Memory {
            before,
            peak: peak_rss,
            after,
            kept_per_ended_call: (after as f64 - before as f64) / calls,
            held_at_peak_per_call: (peak_rss as f64 - before as f64) / calls,
        })
    } else {
        None
    };
    Ok(Measured { server: server.name.clone(), steps, peak, overload, overload_ratio, memory })
}

/// Rates that grow by a quarter until one is not carried.
fn ramp(
    time: Duration,
    step: &mut impl FnMut(f64, Duration) -> Result<Step, BenchError>,
) -> Result<Vec<Step>, BenchError> {
    let mut steps = Vec::new();
    let mut rate = RAMP_START;
    while rate <= RATE_MAX {
        let done = step(rate, time)?;
        let carried = done.completed as f64 >= CARRIED * done.offered as f64 && done.goodput >= CARRIED * rate;
        steps.push(done);
        if !carried {
            break;
        }
        rate *= RAMP_GROWTH;
    }
    Ok(steps)
}

fn step(cores: Cores, server: &Server, rate: f64, time: Duration, peak_rss: &mut u64) -> Result<Step, BenchError> {
    let began = server.usage()?;
    let began_ns = sys::monotonic_ns();
    let offer = Offer { target: server.target, rate, time, drain: DRAIN, core: cores.other };
    let caller = Caller::start(offer)?;
    while !caller.is_done() {
        *peak_rss = (*peak_rss).max(server.usage()?.rss_bytes);
        wait(SAMPLE);
    }
    let outcome = caller.finish()?;
    let ended = server.usage()?;
    let wall_ns = sys::monotonic_ns() - began_ns;
    Ok(summarize(server, rate, &outcome, &began, &ended, wall_ns))
}

fn summarize(server: &Server, rate: f64, outcome: &Outcome, began: &Usage, ended: &Usage, wall_ns: u64) -> Step {
    let calls = outcome.offered.max(1) as f64;
    let per_call = |ns: u64| ns as f64 / 1e6 / calls;
    let cpu_ns = ended.cpu_ns.saturating_sub(began.cpu_ns);
    let mut by_thread = BTreeMap::new();
    for (name, ns) in &ended.threads {
        let used = ns.saturating_sub(began.threads.get(name).copied().unwrap_or(0));
        by_thread.insert(name.clone(), per_call(used));
    }
    let log = by_thread.get(LOG_THREAD).copied().unwrap_or(0.0);
    let ours = server.is_ours();
    Step {
        rate,
        offered: outcome.offered,
        completed: outcome.completed,
        refused: outcome.refused,
        failed: outcome.failures.clone(),
        with_retry_after: outcome.retry_after,
        retransmissions: outcome.retransmissions,
        repeated_200: outcome.repeated_200,
        goodput: outcome.goodput(),
        setup_ms: [outcome.setup.quantile_ms(0.5), outcome.setup.quantile_ms(0.99), outcome.setup.max_ms()],
        cpu_ms_per_call: ours.then(|| per_call(cpu_ns)),
        cpu_ms_per_call_without_log_thread: ours.then(|| per_call(cpu_ns) - log),
        core_share: ours.then(|| cpu_ns as f64 / wall_ns.max(1) as f64),
        cpu_ms_by_thread: by_thread,
        generator_core_share: outcome.cpu_ns as f64 / wall_ns.max(1) as f64,
        late_starts: outcome.late_starts,
    }
}

fn step_rows(table: &mut Table, step: &Step) {
    let [median, p99, worst] = step.setup_ms;
    table.row(
        format!("{:.0} calls/s", step.rate),
        format!(
            "{} offered = {} completed + {} refused (503, {} with Retry-After) + {} failed; {} retransmissions",
            step.offered,
            step.completed,
            step.refused,
            step.with_retry_after,
            step.failed.values().sum::<u64>(),
            step.retransmissions
        ),
    );
    for (what, count) in &step.failed {
        table.row("  failed", format!("{count} x {what}"));
    }
    table.row("  goodput", format!("{:.1} calls/s", step.goodput));
    table.row("  INVITE to 200", format!("p50 {median:.2} ms, p99 {p99:.2} ms, max {worst:.1} ms"));
    if let (Some(cpu), Some(without), Some(share)) =
        (step.cpu_ms_per_call, step.cpu_ms_per_call_without_log_thread, step.core_share)
    {
        table.row("  server CPU", format!("{cpu:.3} ms/call, {:.0} % of a core", share * 100.0));
        if step.cpu_ms_by_thread.contains_key(LOG_THREAD) {
            table.row("  without the log's thread", format!("{without:.3} ms/call"));
        }
        let mut threads: Vec<_> = step.cpu_ms_by_thread.iter().filter(|(_, ms)| **ms >= 0.0005).collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let threads: Vec<_> = threads.iter().map(|(name, ms)| format!("{name} {ms:.3}")).collect();
        table.row("  by thread, ms/call", threads.join(", "));
    }
    table.row(
        "  generator",
        format!("{:.0} % of its core, {} calls begun late", step.generator_core_share * 100.0, step.late_starts),
    );
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json {
            return f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?);
        }
        for measured in &self.servers {
            writeln!(
                f,
                "sip: {}, server on core {}, generator on core {}",
                measured.server, self.cores.measured, self.cores.other
            )?;
            let mut table = Table::new();
            for step in &measured.steps {
                step_rows(&mut table, step);
            }
            if let Some(peak) = measured.peak {
                table.row("peak", format!("{peak:.1} calls/s"));
            }
            if let Some((step, ratio)) = measured.overload.as_ref().zip(measured.overload_ratio) {
                step_rows(&mut table, step);
                table.row("goodput at twice the peak", format!("{:.1} % of the peak", ratio * 100.0));
            }
            if let Some(memory) = &measured.memory {
                let mb = |bytes: u64| bytes as f64 / 1e6;
                table.row(
                    "memory",
                    format!(
                        "{:.1} MB before, {:.1} MB at most, {:.1} MB after; \
                         {:.0} bytes kept, {:.0} held at most, per call",
                        mb(memory.before),
                        mb(memory.peak),
                        mb(memory.after),
                        memory.kept_per_ended_call,
                        memory.held_at_peak_per_call
                    ),
                );
            }
            write!(f, "{table}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
