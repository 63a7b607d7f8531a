//! Customers who write: messages a second over four channels, acknowledged once they are durable; a picture; what a machine takes to
//! translate one.

mod load;
mod traffic;
mod translate;
mod upload;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::kit::{BenchError, Histogram, Table};
use super::sip::server::Server;
use load::{Run, STEP_US, failed};

/// The most messages of a run: their moments are kept.
const MESSAGES_MAX: u64 = 2_000_000;
/// What the issue of speed is: messages a second that a machine of two cores is to take.
const RATE_ASKED: f64 = 1_000.0;
/// Microseconds that translating a message may take.
const TRANSLATE_US_MAX: f64 = 20.0;
/// Seconds from a picture's last byte to the agent.
const UPLOAD_S_MAX: f64 = 1.0;

/// What `ark bench channels` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Messages a second, over four channels in turn (at most 20000)
    #[arg(long, default_value_t = RATE_ASKED)]
    pub rate: f64,
    /// Seconds for which messages come, at this pace and then as many as are taken
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Connections of the providers and pages (at most 512)
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Pictures of 5 MB that a visitor sends (at most 9)
    #[arg(long, default_value_t = 5)]
    pub pictures: usize,
    /// Another store than an SQLite file of the bench's own: `postgres://...`, an empty database
    #[arg(long)]
    pub store: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Messages of one pace.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// Messages a second that were asked for; none: as many as are taken.
    pub asked_per_second: Option<f64>,
    /// Messages a second that were acknowledged.
    pub accepted_per_second: f64,
    /// Messages that were acknowledged.
    pub accepted: u64,
    /// Messages that were not.
    pub refused: u64,
    /// From the request to its acknowledgement, which says that the message is durable, milliseconds: median, 99th percentile, worst.
    pub acknowledged_ms: (f64, f64, f64),
    /// From the request to the agent's socket, milliseconds: median, 99th percentile, worst.
    pub seen_ms: (f64, f64, f64),
    /// Acknowledged messages that the agent did not see.
    pub lost: u64,
    /// Messages that the agent saw twice.
    pub doubled: u64,
    /// Processor time of the gateway for a message, microseconds.
    pub cpu_us_per_message: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// At the pace that was asked for.
    pub paced: Pace,
    /// As many as are taken.
    pub flat_out: Pace,
    /// Size of a picture, bytes.
    pub picture_bytes: usize,
    /// Seconds from a picture's last byte to the agent's socket, each.
    pub picture_s: Vec<f64>,
    /// Microseconds for translating a message, by the kind of the channel.
    pub translate_us: Vec<(&'static str, f64)>,
    #[serde(skip)]
    json: bool,
}

/// Starts a gateway of its own and lets customers of four channels write to it.
///
/// # Errors
/// A gateway that does not start, one that does not answer.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let translate_us = translate::measure()?;
    let program = std::env::current_exe().map_err(BenchError::io("finding this program"))?;
    let secrets = Secrets::write()?;
    let more = traffic::SITE.replace("{folder}", &secrets.0.display().to_string());
    let server = Server::gateway_with(&program, None, true, (&more, options.store.as_deref()))?;
    let (web, token) = server.web()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::io("starting the bench's runtime"))?;
    let time = Duration::from_secs_f64(options.seconds.clamp(0.5, 120.0));
    let connections = options.connections.clamp(1, 512);
    let rate = options.rate.clamp(1.0, 20_000.0);
    runtime.block_on(async {
        let go = async |first: u64, rate: Option<f64>, time: Duration| {
            pace(&server, (web, &token), (first * MESSAGES_MAX, rate), time, connections).await
        };
        // What is made once is made before anything is counted.
        go(1, Some(rate.min(200.0)), Duration::from_millis(500)).await?;
        let paced = go(2, Some(rate), time).await?;
        let flat_out = go(3, None, time / 2).await?;
        let (picture_bytes, picture_s) = match options.pictures.min(9) {
            0 => (0, Vec::new()),
            times => upload::measure(web, &token, times).await?,
        };
        Ok(Report { paced, flat_out, picture_bytes, picture_s, translate_us, json: options.json })
    })
}

/// The secrets of the bench's channels, in files.
struct Secrets(PathBuf);

impl Secrets {
    fn write() -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("ark-bench-secrets-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(BenchError::io(format!("making {}", folder.display())))?;
        let secrets = Self(folder);
        for (name, secret) in traffic::SECRETS {
            let file = secrets.0.join(name);
            fs::write(&file, secret).map_err(BenchError::io(format!("writing {}", file.display())))?;
        }
        Ok(secrets)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files; they are nobody's secrets.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets customers write at a pace, or as fast as they are answered, while an agent looks on.
async fn pace(
    server: &Server,
    (web, token): (std::net::SocketAddr, &str),
    (first, rate): (u64, Option<f64>),
    time: Duration,
    connections: usize,
) -> Result<Pace, BenchError> {
    let most = (rate.unwrap_or(20_000.0) * time.as_secs_f64()).ceil() as u64;
    let agent = load::agent(web, token).await?;
    let every = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let run = Arc::new(Run::new(first, most.min(MESSAGES_MAX), every, time));
    let (end, over) = watch::channel(false);
    let watching = tokio::spawn(load::watch(agent, Arc::clone(&run), over));
    let before = server.usage()?;
    let writing: Vec<_> = (0..connections).map(|_| tokio::spawn(load::connection(Arc::clone(&run), web))).collect();
    let mut took = Histogram::new(STEP_US);
    for one in writing {
        took.merge(&one.await.map_err(|error| failed(error.to_string()))??);
    }
    let seconds = run.began.elapsed().as_secs_f64();
    end.send_replace(true);
    let watched = watching.await.map_err(|error| failed(error.to_string()))?;
    let cpu_ns = server.usage()?.cpu_ns.saturating_sub(before.cpu_ns);
    let accepted = run.accepted.load(Relaxed);
    let three = |of: &Histogram| (of.quantile_ms(0.5), of.quantile_ms(0.99), of.max_ms());
    Ok(Pace {
        asked_per_second: rate,
        accepted_per_second: accepted as f64 / seconds,
        accepted,
        refused: run.refused.load(Relaxed),
        acknowledged_ms: three(&took),
        seen_ms: three(&watched.after),
        lost: accepted.saturating_sub(watched.seen),
        doubled: watched.twice,
        cpu_us_per_message: cpu_ns as f64 / 1e3 / (accepted as f64).max(1.0),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json {
            return f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?);
        }
        let mut table = Table::new();
        for (name, pace) in [("at a pace", &self.paced), ("as many as are taken", &self.flat_out)] {
            let asked = pace.asked_per_second.map_or(String::new(), |asked| format!(" of {asked:.0} asked for"));
            table.row(name, format!("{:.0} messages/s acknowledged{asked}", pace.accepted_per_second));
            table.row("  not taken", format!("{} of {}", pace.refused, pace.accepted + pace.refused));
            let three = |(p50, p99, max): (f64, f64, f64)| format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
            table.row("  acknowledged, durable", three(pace.acknowledged_ms));
            table.row("  on the agent's socket", three(pace.seen_ms));
            table.row("  lost / doubled", format!("{} / {}", pace.lost, pace.doubled));
            table.row("  CPU of the gateway", format!("{:.0} us/message", pace.cpu_us_per_message));
        }
        if !self.picture_s.is_empty() {
            let worst = self.picture_s.iter().copied().fold(0.0, f64::max);
            let all: Vec<String> = self.picture_s.iter().map(|s| format!("{s:.2}")).collect();
            let size = self.picture_bytes as f64 / 1e6;
            let row = format!(
                "{} s after its last byte (asked: within {UPLOAD_S_MAX} s; worst {worst:.2} s)",
                all.join(", ")
            );
            table.row(format!("a picture of {size:.1} MB"), row);
        }
        for (kind, us) in &self.translate_us {
            table.row(format!("translating, {kind}"), format!("{us:.1} us/message (asked: under {TRANSLATE_US_MAX})"));
        }
        write!(f, "{table}")
    }
}
