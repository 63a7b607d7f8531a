//! What is said, in words: how soon finals and partials come, what an utterance costs, how many legs one core can listen to, and what
//! the media threads notice of it all.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_conversation::event::{Role, TranscriptTrouble};
use ark_conversation::{ConversationId, Event as LogEvent, LegId as LegNumber, Live, NewEvent, Tenant};
use ark_media::prompt;
use ark_media::{codec, prompt::EncodedPrompt};
use ark_transcribe::Utterance;
use ark_transcribe::endpoint::Vad;
use ark_transcribe::limits::{RATE_HZ, VAD_SAMPLES};
use serde::Serialize;

use super::kit::{self, BenchError};
use super::media::negotiated;
use super::traffic::HEADER;
use crate::config::{Config, SpeechEngine, SpeechLanguage};
use crate::conversations::LogSink;
use crate::media::metrics::{LATENESS_EDGES_US, Snapshot};
use crate::media::sys;
use crate::media::{Command, Engine, EngineConfig, Event, LegId, MediaPort, RecordAs, RecordOf};
use crate::speech::engines::{Made, make};
use crate::speech::{Ask, Heard, Hearers, LegInfo, Order, Speech, models, prepare};

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Legs that speak without end while there is room for partials
    #[arg(long, default_value_t = 4)]
    pub few: usize,
    /// Legs that speak without end at the budget's limit and beyond: calls at once, 400 at most
    #[arg(long, visible_alias = "calls", default_value_t = 60)]
    pub many: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
    /// Cores that reading may use
    #[arg(long, default_value_t = 1.0)]
    pub cores: f64,
    /// The whisper model, by name or file; the tests' own otherwise
    #[arg(long, default_value = models::TEST_DOUBLE)]
    pub model: String,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// How soon things came.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latencies {
    legs: usize,
    finals: u64,
    /// From the endpointer's end.
    final_ms_p50: Option<u64>,
    final_ms_p95: Option<u64>,
    /// From the end of the voice itself.
    voice_ms_p50: Option<u64>,
    voice_ms_p95: Option<u64>,
    first_partial_ms_p50: Option<u64>,
    first_partial_ms_p95: Option<u64>,
    /// What was still done in time at the end.
    level: String,
    /// What `ark doctor`, the desk and metrics say of it at the end.
    state: String,
    /// What was left out, in the order in which it is: partials, utterances read with their neighbours, those left for after the call or, of
    /// calls that are not recorded, not read at all, and packets that nobody took.
    partials_shed: u64,
    merged: u64,
    left: u64,
    packets_dropped: u64,
    /// Of the calls that are recorded: how many, how many of their utterances were left, and how many of those had been read from the
    /// recordings when the bench ended, [`LATER`] after the calls at the latest.
    recorded: usize,
    deferred: u64,
    read_later: u64,
    real_time_factor: f64,
    /// 99 of 100 frames were sent at most so late, without anybody listening and with.
    lateness_us_p99_without: u64,
    lateness_us_p99_with: u64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    model: String,
    cores: f64,
    vad_us: f64,
    vad_streams_per_core: f64,
    fitted_ms: f64,
    full_ms: f64,
    window_ratio: f64,
    few: Latencies,
    many: Latencies,
    #[serde(skip)]
    json: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json {
            return f.write_str(&serde_json::to_string_pretty(self).unwrap_or_default());
        }
        let ms = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
        writeln!(f, "model {}, {} cores for reading", self.model, self.cores)?;
        writeln!(
            f,
            "voice detector        {:.1} us for 16 ms, {:.0} streams on a core",
            self.vad_us, self.vad_streams_per_core
        )?;
        let (fitted, full) = (self.fitted_ms, self.full_ms);
        writeln!(
            f,
            "window of 3 s         {fitted:.0} ms fitted, {full:.0} ms whole: {:.1} times cheaper",
            self.window_ratio
        )?;
        for run in [&self.few, &self.many] {
            writeln!(
                f,
                "{} legs that speak without end, {} finals, level {}, {:.3} s of computing a second",
                run.legs, run.finals, run.level, run.real_time_factor
            )?;
            writeln!(
                f,
                "  left out              {} partials, {} utterances merged, {} for after the call, {} packets",
                run.partials_shed, run.merged, run.left, run.packets_dropped
            )?;
            writeln!(f, "  state                 {}", run.state)?;
            writeln!(
                f,
                "  of {} recorded calls   {} utterances left, {} of them read from the recordings afterwards",
                run.recorded, run.deferred, run.read_later
            )?;
            writeln!(f, "  final after endpoint  p50 {}, p95 {}", ms(run.final_ms_p50), ms(run.final_ms_p95))?;
            writeln!(f, "  final after voice     p50 {}, p95 {}", ms(run.voice_ms_p50), ms(run.voice_ms_p95))?;
            writeln!(
                f,
                "  first partial         p50 {}, p95 {}",
                ms(run.first_partial_ms_p50),
                ms(run.first_partial_ms_p95)
            )?;
            let (without, with) = (run.lateness_us_p99_without, run.lateness_us_p99_with);
            writeln!(f, "  media lateness p99    {without} us without, {with} us with (upper edges of buckets)")?;
        }
        Ok(())
    }
}

/// What is said: Mandarin of a synthetic voice, or something like speech where there is no voice.
fn voice() -> Vec<i16> {
    let spoken = Program::new("espeak-ng")
        .args(["-v", "cmn-latn-pinyin", "-s", "150", "--stdout", "你好，我的订单扣了两次款。"])
        .output();
    let pcm =
        spoken.ok().filter(|out| out.status.success()).and_then(|out| prompt::decode(out.stdout, "voice.wav").ok());
    pcm.map_or_else(|| ark_media::fuzz::speech(3, 8_000, 2_500), |pcm| pcm.resampled(8_000).samples)
}

/// Runs it.
///
/// # Errors
/// [`BenchError`]: no model, no ports, no threads.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let seconds = Duration::from_secs_f64(options.seconds.clamp(2.0, 300.0));
    kit::need_files(3 * options.many.max(options.few) as u64 + 128)?;
    let voice = voice();
    let vad_us = vad(&voice);
    let config = config(options);
    let (fitted_ms, full_ms) = (window(&config, &voice, false)?, window(&config, &voice, true)?);
    let few = pipeline(&config, &voice, options.few.clamp(1, 400), seconds)?;
    let many = pipeline(&config, &voice, options.many.clamp(1, 400), seconds)?;
    Ok(Report {
        model: options.model.clone(),
        cores: options.cores,
        vad_us,
        vad_streams_per_core: 16_000.0 / vad_us,
        fitted_ms,
        full_ms,
        window_ratio: full_ms / fitted_ms.max(0.001),
        few,
        many,
        json: options.json,
    })
}

fn config(options: &Options) -> Config {
    let mut config = Config::builtin();
    config.speech.engine = SpeechEngine::Whisper;
    config.speech.model.clone_from(&options.model);
    config.speech.language = SpeechLanguage::Zh;
    config.speech.cores = options.cores;
    // A site's own list of what is left to be read is none of the bench's business.
    config.files.url = format!("file:{}", std::env::temp_dir().join("ark-bench-speech").display());
    config
}

/// Microseconds of computing of the voice detector for 16 ms.
fn vad(voice: &[i16]) -> f64 {
    let wide = wide(voice);
    let mut vad = Vad::default();
    let (mut frames, mut sum, began) = (0_u32, 0.0, sys::thread_cpu_ns());
    while sys::thread_cpu_ns() - began < 1_000_000_000 {
        for frame in wide.chunks_exact(VAD_SAMPLES) {
            sum += vad.score(frame);
            frames += 1;
        }
    }
    // It was not optimised away.
    std::hint::black_box(sum);
    (sys::thread_cpu_ns() - began) as f64 / 1e3 / f64::from(frames.max(1))
}

fn wide(voice: &[i16]) -> Vec<i16> {
    prompt::Pcm { samples: voice.to_vec(), rate_hz: 8_000 }.resampled(RATE_HZ).samples
}

/// Milliseconds of computing for 3 s of voice, the best of five.
fn window(config: &Config, voice: &[i16], full: bool) -> Result<f64, BenchError> {
    let mut settings = config.speech.clone();
    settings.full_window = full;
    let Made::Threads { make, .. } = make(&settings) else {
        return Err(BenchError::Failed("whisper is no server".to_owned()));
    };
    let mut engine = make().map_err(|error| BenchError::Failed(error.to_string()))?;
    let mut samples = wide(voice);
    samples.resize(3 * RATE_HZ as usize, 0);
    let language = Some(ark_transcribe::Language::Zh);
    let utterance = Utterance { samples: samples.into(), language, words: Arc::new([]), partial: false };
    let mut best = f64::MAX;
    for _ in 0..5 {
        let began = sys::thread_cpu_ns();
        engine.recognise(&utterance).map_err(|error| BenchError::Failed(error.to_string()))?;
        best = best.min((sys::thread_cpu_ns() - began) as f64 / 1e6);
    }
    Ok(best)
}

struct Nobody;

impl Hearers for Nobody {
    fn switch(&self, _: LegId, _: Heard) {}
    fn live(&self, _: Live) {}
}

/// Legs that speak without end, read along or not.
fn pipeline(config: &Config, voice: &[i16], legs: usize, time: Duration) -> Result<Latencies, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(BenchError::io("starting a runtime"))?;
    let _inside = runtime.enter();
    let prepared = prepare(config).ok_or_else(|| BenchError::Failed("nobody reads along".to_owned()))?;
    let orders = prepared.orders.clone();
    let (sender, mut events) = tokio::sync::mpsc::channel::<Event>(8_192);
    let media = EngineConfig {
        threads: 1,
        ip: Ipv4Addr::LOCALHOST.into(),
        ports: 20_000..=29_999,
        tap: Some(prepared.tap.clone()),
        ..EngineConfig::default()
    };
    let engine = Engine::start(media, sender).map_err(|error| BenchError::Failed(error.to_string()))?;
    let handle = engine.handle();
    let (log, mut written) = LogSink::to_nowhere(4_096);
    let speech = Speech::start(config, prepared, log, Arc::new(Nobody)).map_err(BenchError::io("starting threads"))?;
    let sources = start_legs(&handle, legs)?;
    let folder = std::env::temp_dir().join(format!("ark-bench-speech-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(BenchError::io("making a folder for recordings"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let talker = talk(voice, &sources, Arc::clone(&stop))?;
    let metrics = handle.metrics();
    std::thread::sleep(Duration::from_secs(1));
    let before = metrics.snapshot();
    std::thread::sleep(time);
    let without = late_p99(&before, &metrics.snapshot());
    let zero = Instant::now();
    for (number, (leg, _)) in sources.iter().enumerate() {
        orders.give(Order::Begin(Box::new(info(*leg, number, zero))));
        let _ = handle.command(*leg, Command::Listen { on: true });
    }
    let recorded = record(&handle, &orders, &sources, &folder);
    // Until the model is loaded and the first utterances have passed.
    std::thread::sleep(Duration::from_secs(3));
    let status = Arc::clone(speech.status());
    for latency in [&status.final_latency, &status.voice_latency, &status.partial_latency] {
        latency.forget();
    }
    let mut deferred = 0;
    while let Ok(event) = written.try_recv() {
        deferred += u64::from(is_left(&event.event.event));
    }
    let (before, counted_before) = (metrics.snapshot(), counts(&status));
    let finals = finals_within(time, &mut written, &mut deferred);
    let with = late_p99(&before, &metrics.snapshot());
    let view = status.view();
    let counted = counts(&status);
    let since = |name: &str| counted.get(name).copied().unwrap_or(0) - counted_before.get(name).copied().unwrap_or(0);
    let mut result = Latencies {
        state: view.in_words(),
        recorded: recorded.len(),
        deferred: 0,
        read_later: 0,
        partials_shed: since("ark_speech_partials_shed_total"),
        merged: since("ark_speech_merged_total"),
        left: since("ark_speech_deferred_total") + since("ark_speech_failed_total"),
        packets_dropped: since("ark_speech_packets_dropped_total"),
        legs,
        finals,
        final_ms_p50: status.final_latency.quantile_ms(0.5),
        final_ms_p95: status.final_latency.quantile_ms(0.95),
        voice_ms_p50: status.voice_latency.quantile_ms(0.5),
        voice_ms_p95: status.voice_latency.quantile_ms(0.95),
        first_partial_ms_p50: status.partial_latency.quantile_ms(0.5),
        first_partial_ms_p95: status.partial_latency.quantile_ms(0.95),
        level: view.level,
        real_time_factor: view.real_time_factor,
        lateness_us_p99_without: without,
        lateness_us_p99_with: with,
    };
    stop.store(true, Ordering::Relaxed);
    let _ = talker.join();
    let ends = Ends { handle: &handle, orders: &orders, sources: &sources, recorded: &recorded };
    (result.deferred, result.read_later) = ends.afterwards(&mut events, &mut written, deferred);
    runtime.block_on(speech.end());
    drop(engine);
    // It is in the folder of temporary files in any case.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(result)
}

/// Finals that come within that time; those that are left are added.
fn finals_within(time: Duration, written: &mut tokio::sync::mpsc::Receiver<NewEvent>, deferred: &mut u64) -> u64 {
    let (mut finals, until) = (0, Instant::now() + time);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        while let Ok(event) = written.try_recv() {
            finals += u64::from(event.event.event.type_name() == "ark.transcript.final.v1");
            *deferred += u64::from(is_left(&event.event.event));
        }
    }
    finals
}

/// How long after the calls the bench waits for what was left to be read.
const LATER: Duration = Duration::from_secs(60);
/// Calls of a bench that are recorded.
const RECORDED: usize = 4;

/// The first calls are recorded, as those of a hotline are.
fn record(
    handle: &crate::media::EngineHandle,
    orders: &crate::speech::Orders,
    sources: &[(LegId, UdpSocket)],
    folder: &std::path::Path,
) -> Vec<(LegId, ConversationId, String)> {
    let began = Instant::now();
    let one = |(number, (leg, _)): (usize, &(LegId, UdpSocket))| {
        let (name, conversation) = (format!("{number}.wav"), conversation(number));
        let (path, of, how) = (folder.join(&name), RecordOf::Call, RecordAs::default());
        let start = Command::RecordStart { of, path: path.clone(), how, limit: None, silence: None };
        handle.command(*leg, start).ok()?;
        orders.give(Order::Recording { conversation, began, name: name.clone(), path, legs: false });
        Some((*leg, conversation, name))
    };
    sources.iter().enumerate().take(RECORDED).filter_map(one).collect()
}

/// The end of the calls.
struct Ends<'a> {
    handle: &'a crate::media::EngineHandle,
    orders: &'a crate::speech::Orders,
    sources: &'a [(LegId, UdpSocket)],
    recorded: &'a [(LegId, ConversationId, String)],
}

impl Ends<'_> {
    /// Ends the calls and waits until what was left is read: how much was left, and how much of it was read.
    fn afterwards(
        &self,
        events: &mut tokio::sync::mpsc::Receiver<Event>,
        written: &mut tokio::sync::mpsc::Receiver<NewEvent>,
        mut deferred: u64,
    ) -> (u64, u64) {
        for (leg, _) in self.sources {
            self.orders.give(Order::End { leg: *leg });
        }
        for (leg, ..) in self.recorded {
            let _ = self.handle.command(*leg, Command::RecordStop { of: RecordOf::Call });
        }
        let (mut later, mut complete, until) = (0, 0, Instant::now() + LATER);
        while Instant::now() < until && (complete < self.recorded.len() || later < deferred) {
            while let Ok(event) = events.try_recv() {
                let Event::Recorded { leg, .. } = event else { continue };
                if let Some((_, conversation, name)) = self.recorded.iter().find(|(recorded, ..)| *recorded == leg) {
                    self.orders.give(Order::Recorded { conversation: *conversation, name: name.clone() });
                    complete += 1;
                }
            }
            while let Ok(event) = written.try_recv() {
                deferred += u64::from(is_left(&event.event.event));
                // Those that are read from a recording have a name that says so.
                later += u64::from(event.event.id.ends_with("-later"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        (deferred, later)
    }
}

fn conversation(number: usize) -> ConversationId {
    ConversationId::new(1, number as u128 + 1)
}

/// Whether an utterance was left for after its call.
fn is_left(event: &LogEvent) -> bool {
    matches!(event, LogEvent::TranscriptMissing(missing) if missing.trouble == TranscriptTrouble::Deferred)
}

/// The counters of reading along, by name.
fn counts(status: &crate::speech::Status) -> BTreeMap<&'static str, u64> {
    let plain = status.samples().into_iter().filter(|sample| sample.label.is_none());
    plain.map(|sample| (sample.name, sample.value as u64)).collect()
}

fn info(leg: LegId, number: usize, zero: Instant) -> LegInfo {
    LegInfo {
        leg,
        tenant: Tenant::default(),
        conversation: conversation(number),
        source: "/ark/main/sip/bench/1".to_owned(),
        number: LegNumber(1),
        speaker: Role::Customer,
        zero,
        ask: Ask::default(),
    }
}

/// Legs that hear a prompt, and the sockets of their far sides.
fn start_legs(handle: &crate::media::EngineHandle, legs: usize) -> Result<Vec<(LegId, UdpSocket)>, BenchError> {
    let refused = |error: crate::media::Full| BenchError::Failed(format!("the engine refused a leg: {error}"));
    let alaw = codec::by_static_payload_type(8).ok_or_else(|| BenchError::Failed("no A-law".to_owned()))?;
    let silence = EncodedPrompt::silence(Duration::from_secs(10), alaw, Duration::from_millis(20));
    let mut sources = Vec::new();
    for _ in 0..legs {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::io("binding a socket"))?;
        let remote = socket.local_addr().map_err(BenchError::io("reading an address"))?;
        let leg = handle.reserve().map_err(refused)?;
        socket.connect(leg.rtp).map_err(BenchError::io("connecting a socket"))?;
        let mut agreed = negotiated(alaw, remote);
        agreed.payload_type = 8;
        handle
            .command(leg.id, Command::Start { negotiated: agreed, signalled_from: None, dtmf: Default::default() })
            .map_err(refused)?;
        let items = vec![Arc::clone(&silence)];
        handle.command(leg.id, Command::Play { id: 1, items, barge_in: false, repeat: true }).map_err(refused)?;
        sources.push((leg.id, socket));
    }
    Ok(sources)
}

/// Each leg says the sentence over and over, with a pause of 1.2 s, each from another place on.
fn talk(
    voice: &[i16],
    sources: &[(LegId, UdpSocket)],
    stop: Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<()>, BenchError> {
    let alaw = codec::by_static_payload_type(8).ok_or_else(|| BenchError::Failed("no A-law".to_owned()))?;
    let mut pcm = voice.to_vec();
    pcm.resize((voice.len() + 9_600).next_multiple_of(160), 0);
    let mut payload = vec![0; pcm.len()];
    alaw.encoder().encode(&pcm, &mut payload);
    let sockets: Vec<UdpSocket> = sources
        .iter()
        .map(|(_, socket)| socket.try_clone())
        .collect::<Result<_, _>>()
        .map_err(BenchError::io("sharing a socket"))?;
    let frames = payload.len() / 160;
    let run = move || {
        let mut due = Instant::now();
        let mut frame = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            for (number, socket) in sockets.iter().enumerate() {
                let at = (frame + number * 17) % frames * 160;
                let mut packet = [0; HEADER + 160];
                packet[..2].copy_from_slice(&[0x80, 8]);
                packet[2..4].copy_from_slice(&(frame as u16).to_be_bytes());
                packet[4..8].copy_from_slice(&(frame as u32 * 160).to_be_bytes());
                packet[8..12].copy_from_slice(&(number as u32 + 7).to_be_bytes());
                packet[HEADER..].copy_from_slice(&payload[at..at + 160]);
                // A socket whose buffer is full loses a packet, as a network does.
                let _ = socket.send(&packet);
            }
            frame += 1;
            due += Duration::from_millis(20);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    };
    std::thread::Builder::new()
        .name("ark-bench-talk".to_owned())
        .spawn(run)
        .map_err(BenchError::io("starting a thread"))
}

/// The upper edge of the bucket in which the 99th of 100 frames lies, microseconds.
fn late_p99(before: &Snapshot, after: &Snapshot) -> u64 {
    let counts: Vec<u64> = after.lateness.iter().zip(&before.lateness).map(|(after, before)| after - before).collect();
    let total: u64 = counts.iter().sum();
    let mut sum = 0;
    for (bucket, count) in counts.iter().enumerate() {
        sum += count;
        if sum * 100 >= total * 99 {
            return LATENESS_EDGES_US.get(bucket).copied().unwrap_or(u64::MAX);
        }
    }
    0
}
