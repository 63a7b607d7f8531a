//! What Ark tells its operator: log events and metrics, each defined here and nowhere else.
//!
//! Levels: ERROR wakes someone, WARN was got over, INFO is one line per call start, end and transfer, DEBUG per message, TRACE per packet.
//! Every event of a call carries `conversation` and `call`. Numbers of people pass as [`Pii`], which masks itself.
//! An event both writes its line and counts: `CallStarted { .. }.emit()`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark_conversation::{ConversationId, LegId, Pii};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt as format;

use crate::config::{Log, LogFormat};

static NUMBERS_IN_FULL: AtomicBool = AtomicBool::new(false);

/// Begins to write the log to standard error, once per process. `ARK_LOG` wins over the file's filter.
///
/// # Errors
/// The filter cannot be read, or the log was begun before.
pub fn begin(log: &Log) -> Result<(), String> {
    NUMBERS_IN_FULL.store(log.numbers, Ordering::Relaxed);
    let filter = std::env::var("ARK_LOG").unwrap_or_else(|_| log.filter.clone());
    let filter =
        EnvFilter::try_new(&filter).map_err(|error| format!("the log filter `{filter}` cannot be read: {error}"))?;
    // A log that cannot be written (a full disk, a reader that has gone) must not end or hold up whoever speaks.
    let builder = format::Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(lines::start().map_err(|error| format!("the log's thread cannot start: {error}"))?)
        .log_internal_errors(false);
    let begun = match log.format {
        LogFormat::Text => tracing::subscriber::set_global_default(
            builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).finish(),
        ),
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
    };
    begun.map_err(|error| error.to_string())?;
    // What the default hook prints, as a line of the log: in its form, and where its reader looks.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, "a fault in Ark: {panic}");
        flush();
    }));
    Ok(())
}

pub use lines::flush;

/// Standard error behind a bounded queue and a thread: a reader that stalls holds up no call.
mod lines {
    use std::io::{self, Write};
    use std::sync::OnceLock;
    use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
    use std::time::Duration;

    /// Lines that wait for a slow reader; more are counted and dropped.
    const LINES_MAX: usize = 8_192;
    /// How long [`flush`] waits.
    const FLUSH_MAX: Duration = Duration::from_secs(1);

    enum Say {
        Line(Vec<u8>),
        Flush(SyncSender<()>),
    }

    static QUEUE: OnceLock<SyncSender<Say>> = OnceLock::new();

    /// Starts the thread, once per process, and gives what makes writers.
    pub(super) fn start() -> io::Result<fn() -> Line> {
        if QUEUE.get().is_none() {
            let (sender, receiver) = sync_channel(LINES_MAX);
            std::thread::Builder::new().name("ark-log".to_owned()).spawn(move || {
                crate::priority::stand_back();
                write(&receiver);
            })?;
            let _ = QUEUE.set(sender);
        }
        Ok(|| Line)
    }

    fn write(queue: &Receiver<Say>) {
        for say in queue {
            match say {
                Say::Line(line) => {
                    let _ = io::stderr().write_all(&line);
                }
                Say::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    /// Waits until what was said is written, at most a second.
    pub fn flush() {
        let Some(queue) = QUEUE.get() else { return };
        let (done, written) = sync_channel(1);
        if queue.try_send(Say::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }

    /// Takes one line of the log.
    pub(super) struct Line;

    impl Write for Line {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if let Some(Err(TrySendError::Full(_))) = QUEUE.get().map(|queue| queue.try_send(Say::Line(line.to_vec())))
            {
                super::METRICS.log_lines_dropped.add_one();
            }
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

/// A person's number as a log line shows it: masked, unless `[log] numbers = true`.
struct Shown<'a>(&'a Pii);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if NUMBERS_IN_FULL.load(Ordering::Relaxed) { f.write_str(self.0.reveal()) } else { write!(f, "{}", self.0) }
    }
}

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by one label whose values are known when Ark is built: a value from outside can never make a new series.
#[derive(Debug)]
pub struct Family<const N: usize> {
    values: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Family<N> {
    const fn new(values: [&'static str; N]) -> Self {
        Self { values, counters: [const { Counter::new() }; N] }
    }

    /// One more of `value`; a value that is not known counts as the last, which is `other`.
    pub fn add_one(&self, value: &str) {
        let index = self.values.iter().position(|known| *known == value).unwrap_or(N - 1);
        self.counters[index].add_one();
    }
}

/// How often something took how long, in buckets of seconds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper bounds in milliseconds, growing.
    bounds_ms: [u64; N],
    buckets: [Counter; N],
    count: Counter,
    sum_ms: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds_ms: [u64; N]) -> Self {
        let (count, sum_ms) = (Counter::new(), AtomicU64::new(0));
        Self { bounds_ms, buckets: [const { Counter::new() }; N], count, sum_ms }
    }

    /// One more that took so long.
    pub fn observe(&self, took: Duration) {
        self.count(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// One more of this size, in the unit of the bounds.
    fn count(&self, ms: u64) {
        for (bound, bucket) in self.bounds_ms.iter().zip(&self.buckets) {
            if ms <= *bound {
                bucket.add_one();
            }
        }
        self.count.add_one();
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Everything that is counted here. What has its own counters elsewhere (SIP, media, store, bus) comes as [`Sample`]s.
#[derive(Debug)]
pub struct Metrics {
    calls_started: Family<3>,
    calls_answered: Counter,
    calls_ended: Family<15>,
    call_seconds: Histogram<9>,
    keys: Counter,
    prompts: Counter,
    recordings: Family<3>,
    queue_left: Family<7>,
    human_wait: Histogram<8>,
    transfers: Family<7>,
    plans_published: Counter,
    plans_refused: Counter,
    log_events_lost: Counter,
    log_lines_dropped: Counter,
    faults: Counter,
    heard: Mutex<BTreeMap<String, TrunkHeard>>,
    answered: Mutex<BTreeMap<String, Histogram<8>>>,
}

/// How the legs of one trunk sounded.
#[derive(Debug)]
struct TrunkHeard {
    /// Thousandths of a point.
    mos: Histogram<7>,
    /// Hundred-thousandths: 1 % is 1000.
    loss: Histogram<7>,
    jitter: Histogram<7>,
}

impl TrunkHeard {
    const fn new() -> Self {
        Self {
            mos: Histogram::new([1_500, 2_500, 3_000, 3_500, 3_800, 4_000, 4_300]),
            loss: Histogram::new([0, 100, 500, 1_000, 2_000, 5_000, 10_000]),
            jitter: Histogram::new([2, 5, 10, 20, 40, 80, 160]),
        }
    }
}

/// Trunks whose sound is told apart; what comes beyond is `other`.
const HEARD_TRUNKS_MAX: usize = 64;

static METRICS: Metrics = Metrics {
    calls_started: Family::new(["in", "out", "other"]),
    calls_answered: Counter::new(),
    calls_ended: Family::new([
        "hangup",
        "cancelled",
        "rejected",
        "busy",
        "no_answer",
        "unreachable",
        "no_ack",
        "timeout",
        "media_lost",
        "transport_lost",
        "no_codec",
        "overload",
        "shutdown",
        "failed",
        "other",
    ]),
    call_seconds: Histogram::new([1_000, 5_000, 15_000, 30_000, 60_000, 180_000, 600_000, 1_800_000, 3_600_000]),
    keys: Counter::new(),
    prompts: Counter::new(),
    recordings: Family::new(["finished", "failed", "other"]),
    queue_left: Family::new(["answered", "abandoned", "timeout", "left", "overflow", "failed", "other"]),
    human_wait: Histogram::new([1_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000]),
    transfers: Family::new(["answered", "busy", "no_answer", "rejected", "failed", "abandoned", "other"]),
    plans_published: Counter::new(),
    plans_refused: Counter::new(),
    log_events_lost: Counter::new(),
    log_lines_dropped: Counter::new(),
    faults: Counter::new(),
    heard: Mutex::new(BTreeMap::new()),
    answered: Mutex::new(BTreeMap::new()),
};

/// What kind of value a [`Sample`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A value that somebody else keeps, at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `ark_...`, with the unit last.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// What kind.
    pub kind: SampleKind,
    /// Label and value, when there are several of a name; they stand next to each other.
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// `/metrics`: everything in Prometheus' text form.
pub fn render(samples: &[Sample]) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    let m = &METRICS;
    page.family("ark_calls_started_total", "Calls that began, by direction.", "direction", &m.calls_started);
    page.counter("ark_calls_answered_total", "Calls that were answered.", &m.calls_answered);
    page.family("ark_calls_ended_total", "Calls that ended, by cause.", "cause", &m.calls_ended);
    page.histogram("ark_call_seconds", "From answer to end.", &m.call_seconds);
    page.counter("ark_keys_total", "Keys that callers pressed.", &m.keys);
    page.counter("ark_prompts_total", "Prompts that were begun.", &m.prompts);
    page.family("ark_recordings_total", "Recordings, by how they ended.", "outcome", &m.recordings);
    page.family("ark_queue_left_total", "Callers who left a queue, by how.", "outcome", &m.queue_left);
    page.histogram("ark_human_wait_seconds", "From asking for a person until one answered.", &m.human_wait);
    page.family("ark_transfers_total", "Transfers, by how they ended.", "outcome", &m.transfers);
    page.counter("ark_plans_published_total", "Plans that went live.", &m.plans_published);
    page.counter("ark_plans_refused_total", "Plans that did not pass.", &m.plans_refused);
    page.counter("ark_log_events_lost_total", "Events that the log could not take.", &m.log_events_lost);
    page.counter(
        "ark_log_lines_dropped_total",
        "Lines that standard error was too slow to take.",
        &m.log_lines_dropped,
    );
    page.counter("ark_faults_total", "Calls that were ended because of a fault of Ark's.", &m.faults);
    page.heard(&m.heard.lock().unwrap_or_else(PoisonError::into_inner));
    page.answered(&m.answered.lock().unwrap_or_else(PoisonError::into_inner));
    page.samples(samples);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, help, "counter");
        let _ = writeln!(self.0, "{name} {}", counter.get());
    }

    fn family<const N: usize>(&mut self, name: &str, help: &str, label: &str, family: &Family<N>) {
        self.head(name, help, "counter");
        for (value, counter) in family.values.iter().zip(&family.counters) {
            let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {}", counter.get());
        }
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, histogram: &Histogram<N>) {
        self.head(name, help, "histogram");
        self.buckets(name, "", 1_000.0, histogram);
    }

    /// The lines of one histogram; `label` is empty or `name="value"`, and a bound divided by `unit` is what is shown.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a process's life are exact in an f64")]
    fn buckets<const N: usize>(&mut self, name: &str, label: &str, unit: f64, histogram: &Histogram<N>) {
        let (comma, braced) = if label.is_empty() { ("", String::new()) } else { (",", format!("{{{label}}}")) };
        for (bound, bucket) in histogram.bounds_ms.iter().zip(&histogram.buckets) {
            let _ = writeln!(self.0, "{name}_bucket{{{label}{comma}le=\"{}\"}} {}", *bound as f64 / unit, bucket.get());
        }
        let count = histogram.count.get();
        let sum = histogram.sum_ms.load(Ordering::Relaxed) as f64 / unit;
        let _ = writeln!(self.0, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(self.0, "{name}_sum{braced} {sum}\n{name}_count{braced} {count}");
    }

    fn heard(&mut self, trunks: &BTreeMap<String, TrunkHeard>) {
        if trunks.is_empty() {
            return;
        }
        let labels = || trunks.iter().map(|(trunk, heard)| (format!("trunk=\"{}\"", escaped(trunk)), heard));
        self.head("ark_leg_mos", "Mean opinion score of legs that ended (ITU-T G.107), by trunk.", "histogram");
        labels().for_each(|(label, heard)| self.buckets("ark_leg_mos", &label, 1_000.0, &heard.mos));
        self.head("ark_leg_loss_ratio", "Share of their packets that was lost on the way to Ark.", "histogram");
        labels().for_each(|(label, heard)| self.buckets("ark_leg_loss_ratio", &label, 100_000.0, &heard.loss));
        self.head("ark_leg_jitter_seconds", "Interarrival jitter at their end (RFC 3550).", "histogram");
        labels().for_each(|(label, heard)| self.buckets("ark_leg_jitter_seconds", &label, 1_000.0, &heard.jitter));
    }

    fn answered(&mut self, entrances: &BTreeMap<String, Histogram<8>>) {
        if entrances.is_empty() {
            return;
        }
        let help = "From coming to a queue until a person answered, chats and calls, by entrance.";
        self.head("ark_answer_seconds", help, "histogram");
        for (entrance, waits) in entrances {
            self.buckets("ark_answer_seconds", &format!("entrance=\"{}\"", escaped(entrance)), 1_000.0, waits);
        }
    }

    fn samples(&mut self, samples: &[Sample]) {
        let mut last = "";
        for sample in samples {
            let Sample { name, help, kind, label, value } = sample;
            if *name != last {
                let kind = match kind {
                    SampleKind::Counter => "counter",
                    SampleKind::Gauge => "gauge",
                };
                self.head(name, help, kind);
                last = name;
            }
            let _ = match label {
                None => writeln!(self.0, "{name} {value}"),
                Some((label, text)) => {
                    let text = escaped(text);
                    writeln!(self.0, "{name}{{{label}=\"{text}\"}} {value}")
                }
            };
        }
    }
}

/// A label's value as the format of metrics asks.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A leg of this trunk ended: how it sounded.
#[derive(Debug)]
pub struct LegHeard<'a> {
    /// The trunk's name.
    pub trunk: &'a str,
    /// What the media engine measured.
    pub quality: &'a ark_media::quality::Quality,
}

impl LegHeard<'_> {
    /// Counts it, if anything was heard. The log of record has the numbers.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "scores and shares are small and positive"
    )]
    pub fn emit(&self) {
        let Some(mos) = self.quality.mos() else { return };
        let mut trunks = METRICS.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = trunks.contains_key(self.trunk) || trunks.len() < HEARD_TRUNKS_MAX;
        let heard = trunks.entry(if known { self.trunk } else { "other" }.to_owned()).or_insert_with(TrunkHeard::new);
        heard.mos.count((mos * 1_000.0) as u64);
        heard.loss.count((self.quality.loss() * 100_000.0) as u64);
        heard.jitter.observe(self.quality.jitter);
    }
}

/// A call began.
#[derive(Debug)]
pub struct CallStarted<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// `in` or `out`.
    pub direction: &'static str,
    /// Who called.
    pub from: &'a Pii,
    /// What was dialled.
    pub to: &'a Pii,
    /// The trunk.
    pub trunk: &'a str,
    /// The plan, `name@version`.
    pub plan: &'a str,
}

impl CallStarted<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.calls_started.add_one(self.direction);
        let Self { conversation, call, direction, trunk, plan, .. } = self;
        let (from, to) = (Shown(self.from), Shown(self.to));
        tracing::info!(%conversation, %call, direction, %from, %to, trunk, plan, "call started");
    }
}

/// A call was answered.
#[derive(Debug)]
pub struct CallAnswered<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// The codec.
    pub codec: &'a str,
}

impl CallAnswered<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.calls_answered.add_one();
        let Self { conversation, call, codec } = self;
        tracing::debug!(%conversation, %call, codec, "call answered");
    }
}

/// A call ended.
#[derive(Debug)]
pub struct CallFinished<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// Why, one of `ark_conversation::event::EndCause`.
    pub cause: &'a str,
    /// Which end let go.
    pub by: &'a str,
    /// From answer to end; zero when it was not answered.
    pub talked: Duration,
    /// Mean opinion score, when audio was received.
    pub mos: Option<f64>,
}

impl CallFinished<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.calls_ended.add_one(self.cause);
        if !self.talked.is_zero() {
            METRICS.call_seconds.observe(self.talked);
        }
        let Self { conversation, call, cause, by, talked, mos } = self;
        let talked_s = talked.as_secs_f32();
        tracing::info!(%conversation, %call, cause, by, talked_s, mos, "call ended");
    }
}

/// A caller pressed a key. Which one is in the log of record, not here.
#[derive(Debug)]
pub struct KeyPressed {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
}

impl KeyPressed {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.keys.add_one();
        let Self { conversation, call } = self;
        tracing::debug!(%conversation, %call, "key");
    }
}

/// A prompt began.
#[derive(Debug)]
pub struct PromptBegan<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// The plan's state.
    pub state: &'a str,
}

impl PromptBegan<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.prompts.add_one();
        let Self { conversation, call, state } = self;
        tracing::debug!(%conversation, %call, state, "prompt");
    }
}

/// A recording ended.
#[derive(Debug)]
pub struct RecordingEnded<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// Its name.
    pub recording: &'a str,
    /// What went wrong; none when it is complete.
    pub error: Option<&'a str>,
}

impl RecordingEnded<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        let Self { conversation, call, recording, error } = self;
        match error {
            None => {
                METRICS.recordings.add_one("finished");
                tracing::debug!(%conversation, %call, recording, "recording finished");
            }
            Some(error) => {
                METRICS.recordings.add_one("failed");
                tracing::warn!(%conversation, %call, recording, error, "recording failed; the call goes on");
            }
        }
    }
}

/// A caller left a queue.
#[derive(Debug)]
pub struct QueueLeft<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// The queue.
    pub queue: &'a str,
    /// How, one of `ark_conversation::event::QueueOutcome`.
    pub outcome: &'a str,
    /// For how long they waited.
    pub waited: Duration,
}

impl QueueLeft<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.queue_left.add_one(self.outcome);
        if self.outcome == "answered" {
            METRICS.human_wait.observe(self.waited);
        }
        let Self { conversation, call, queue, outcome, waited } = self;
        let waited_s = waited.as_secs_f32();
        tracing::info!(%conversation, %call, queue, outcome, waited_s, "left the queue");
    }
}

/// A person answered a customer who waited in a queue, by a call or a message.
#[derive(Debug)]
pub struct CustomerAnswered<'a> {
    /// How they came: a hotline's number, a channel's account. The caller bounds how many there are.
    pub entrance: &'a str,
    /// The queue.
    pub queue: &'a str,
    /// For how long they waited.
    pub waited: Duration,
}

impl CustomerAnswered<'_> {
    /// Counts it.
    pub fn emit(&self) {
        let Self { entrance, queue, waited } = self;
        let mut answered = METRICS.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = [1_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000];
        answered.entry((*entrance).to_owned()).or_insert_with(|| Histogram::new(bounds)).observe(*waited);
        tracing::debug!(entrance, queue, waited_s = waited.as_secs_f32(), "a person answered");
    }
}

/// A transfer ended.
#[derive(Debug)]
pub struct TransferEnded<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// The call's leg.
    pub call: LegId,
    /// The target's name.
    pub target: &'a str,
    /// How, one of `ark_conversation::event::TransferOutcome`.
    pub outcome: &'a str,
}

impl TransferEnded<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.transfers.add_one(self.outcome);
        let Self { conversation, call, target, outcome } = self;
        tracing::info!(%conversation, %call, target, outcome, "transfer ended");
    }
}

/// A plan went live.
#[derive(Debug)]
pub struct PlanPublished<'a> {
    /// Its name.
    pub plan: &'a str,
    /// Its version.
    pub version: u32,
    /// Who did it: `start`, `file`, `api`.
    pub by: &'a str,
}

impl PlanPublished<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.plans_published.add_one();
        let Self { plan, version, by } = self;
        tracing::info!(plan, version, by, "plan is live");
    }
}

/// A plan did not pass; what was live stays live.
#[derive(Debug)]
pub struct PlanRefused<'a> {
    /// Its name or file.
    pub plan: &'a str,
    /// Why, as `ark dialplan check` says it.
    pub reason: &'a str,
}

impl PlanRefused<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.plans_refused.add_one();
        let Self { plan, reason } = self;
        tracing::warn!(plan, reason, "plan refused; what was live stays live");
    }
}

/// The log of record could not take an event.
#[derive(Debug)]
pub struct LogEventLost<'a> {
    /// Why.
    pub reason: &'a str,
}

impl LogEventLost<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.log_events_lost.add_one();
        tracing::error!(reason = self.reason, "an event could not be written to the log of record");
    }
}

/// A call was ended because of a fault of Ark's; the gateway goes on.
#[derive(Debug)]
pub struct Fault<'a> {
    /// The conversation.
    pub conversation: ConversationId,
    /// What happened.
    pub what: &'a str,
}

impl Fault<'_> {
    /// Writes and counts it.
    pub fn emit(&self) {
        METRICS.faults.add_one();
        let Self { conversation, what } = self;
        tracing::error!(%conversation, what, "a call was ended by a fault");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_and_a_type_and_labels_are_escaped() {
        CallStarted {
            conversation: ConversationId::SYSTEM,
            call: LegId(1),
            direction: "in",
            from: &Pii::new("13800001212"),
            to: &Pii::new("95188"),
            trunk: "t",
            plan: "p@1",
        }
        .emit();
        let label = |text: &str| Some(("queue", text.to_owned()));
        let sample = |text, value| Sample {
            name: "ark_waiting",
            help: "Callers who wait.",
            kind: SampleKind::Gauge,
            label: label(text),
            value,
        };
        let quality = ark_media::quality::Quality { packets_in: 95, expected: 100, lost: 5, ..Default::default() };
        LegHeard { trunk: "carrier", quality: &quality }.emit();
        let page = render(&[sample("a\"b", 2.0), sample("c", 0.5)]);
        assert!(page.contains("ark_leg_mos_bucket{trunk=\"carrier\",le=\"4.3\"} 1\n"), "{page}");
        assert!(page.contains("ark_leg_loss_ratio_bucket{trunk=\"carrier\",le=\"0.005\"} 0\n"), "{page}");
        assert!(page.contains("ark_leg_jitter_seconds_count{trunk=\"carrier\"} 1\n"), "{page}");
        assert!(page.contains("ark_waiting{queue=\"a\\\"b\"} 2\n"), "{page}");
        assert_eq!(page.matches("# TYPE ark_waiting gauge").count(), 1);
        assert!(page.contains("ark_human_wait_seconds_bucket{le=\"+Inf\"}"));
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split([' ', '{']).next().unwrap();
            let base =
                ["_bucket", "_sum", "_count"].iter().fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            assert!(page.contains(&format!("# TYPE {base} ")) || page.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }

    #[test]
    fn an_unknown_label_value_counts_as_other() {
        let family: Family<2> = Family::new(["known", "other"]);
        family.add_one("from outside");
        assert_eq!(family.counters[1].get(), 1);
    }
}
