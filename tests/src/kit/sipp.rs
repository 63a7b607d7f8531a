//! SIPp as a caller: it drives the scenarios of `tests/live/sipp` and counts for itself.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::{Gateway, Process, TempDir, root};

/// One run of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Sipp<'a> {
    /// The file's name in `tests/live/sipp`, without `.xml`.
    pub scenario: &'a str,
    /// How many calls.
    pub calls: u32,
    /// How many begin each second.
    pub rate: u32,
    /// More arguments, such as `-t tn`.
    pub more: &'a [&'a str],
    /// How long the whole run may take.
    pub within: Duration,
}

impl<'a> Sipp<'a> {
    /// One call of that scenario, 30 s at most.
    pub const fn once(scenario: &'a str) -> Self {
        Self { scenario, calls: 1, rate: 1, more: &[], within: Duration::from_secs(30) }
    }

    /// Runs it against the gateway's hotline: SIPp's own counters, by name.
    ///
    /// # Panics
    /// When SIPp does not end in time or leaves no statistics.
    pub fn run(&self, gateway: &Gateway) -> Counters {
        let folder = TempDir::new("sipp");
        let file = root().join(format!("tests/live/sipp/{}.xml", self.scenario));
        let statistics = folder.path().join("statistics.csv");
        let mut command = Command::new("sipp");
        command
            .arg(gateway.sip.to_string())
            .arg("-sf")
            .arg(file)
            .args(["-s", "95188", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-mp"])
            .arg(free_ports().to_string())
            .arg("-p")
            .arg(free_ports().to_string())
            .args(["-m", &self.calls.to_string(), "-r", &self.rate.to_string(), "-l", "5000"])
            .args([
                "-nostdin",
                "-timeout",
                &format!("{}s", self.within.as_secs()),
                "-timeout_error",
                "-max_socket",
                "1000",
            ])
            .args(["-trace_err", "-error_file", "errors.log", "-trace_stat", "-fd", "1", "-stf"])
            .arg(&statistics)
            .args(self.more)
            .current_dir(folder.path());
        let mut sipp = Process::start("sipp", &mut command);
        let status = sipp.wait(self.within + Duration::from_secs(20));
        let errors = fs::read_to_string(folder.path().join("errors.log")).unwrap_or_default();
        let text = fs::read_to_string(&statistics).unwrap_or_else(|error| panic!("{status}, {error}\n{errors}"));
        Counters { values: last_row(&text), errors }
    }
}

/// What SIPp counted.
#[derive(Debug)]
pub struct Counters {
    values: BTreeMap<String, String>,
    errors: String,
}

impl Counters {
    /// One of SIPp's cumulative counters: `SuccessfulCall`, `FailedCall`, `Retransmissions`, `TotalCallCreated`.
    ///
    /// # Panics
    /// When SIPp has no such counter.
    pub fn get(&self, name: &str) -> u64 {
        let value = self.values.get(&format!("{name}(C)")).or_else(|| self.values.get(name));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {:?}", self.values))
    }

    /// Fails, with what SIPp complained about, unless exactly so many calls succeeded and none failed.
    ///
    /// # Panics
    /// When the numbers differ.
    pub fn assert_all_succeeded(&self, calls: u64) {
        let counted = (self.get("SuccessfulCall"), self.get("FailedCall"));
        assert_eq!(counted, (calls, 0), "calls that succeeded and failed; SIPp says:\n{}", first(&self.errors, 4_000));
    }
}

/// The first of four ports, below those that other programs are given: SIPp binds audio, video and an echo of each.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add((std::process::id() % 2_000) as u16);
        let first = 10_000 + step % 2_000 * 4;
        if (first..first + 4).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("loopback has no four free ports in a row");
}

fn first(text: &str, bytes: usize) -> &str {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= bytes).unwrap_or(text.len());
    &text[..end]
}

fn last_row(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.lines().filter(|line| line.contains(';'));
    let names = lines.next().unwrap_or_default().split(';');
    let values = lines.next_back().unwrap_or_default().split(';');
    names.zip(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
