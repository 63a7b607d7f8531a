//! How reading along fares: for doctor, metrics, the API and the desk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark_transcribe::schedule::{Counters, Level};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::models;
use crate::config::Speech as Settings;
use crate::media::Tap;
use crate::telemetry::{Sample, SampleKind};

/// Upper edges of the histograms of latency, milliseconds.
const EDGES_MS: [u64; 10] = [100, 200, 300, 500, 700, 1_000, 1_500, 2_500, 5_000, 10_000];

/// How well it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// The engine is being made.
    Starting,
    /// It reads.
    Well,
    /// It reads, and not everything as it should.
    Degraded {
        /// What is left out.
        why: String,
    },
    /// It does not read.
    Broken {
        /// Why, and what to do.
        why: String,
    },
}

/// Reading along, as programs and people see it
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpeechView {
    /// `whisper`, `funasr`, `openai`, `vosk`, `exec`.
    pub engine: String,
    /// The model's name, or the server.
    pub model: String,
    /// It is the model of the tests and the demo: it knows synthetic voices alone, and must never hear real callers.
    pub test_double: bool,
    /// How well it is.
    pub health: Health,
    /// `all`, `finals`, `merged` or `later`: what is still done in time.
    pub level: String,
    /// Legs that are listened to.
    pub legs: u64,
    /// Utterances that wait.
    pub waiting: u64,
    /// Computing for each second of voice, lately.
    pub real_time_factor: f64,
    /// From the endpoint to the final, milliseconds: 95 of the last 100 at most.
    pub final_ms_p95: Option<u64>,
}

impl SpeechView {
    /// In a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let double = if self.test_double { format!("; {}", models::TEST_DOUBLE_WARNING) } else { String::new() };
        let how = match &self.health {
            Health::Starting => "is being loaded".to_owned(),
            Health::Well => format!("reads along on {} legs", self.legs),
            Health::Degraded { why } => format!("reads along on {} legs: {why}", self.legs),
            Health::Broken { why } => format!("does not read: {why}"),
        };
        format!("{} {} {how}{double}", self.engine, self.model)
    }
}

/// Latencies that are kept as they are.
const RECENT_MAX: usize = 2_048;

/// A histogram with [`EDGES_MS`], and the last values.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; EDGES_MS.len() + 1],
    recent: Mutex<VecDeque<u64>>,
}

impl Latency {
    pub(super) fn observe(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = EDGES_MS.iter().position(|edge| ms <= *edge).unwrap_or(EDGES_MS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(ms);
    }

    /// The share `q` of the last values is at most this long, in milliseconds; none: there are none.
    pub(crate) fn quantile_ms(&self, q: f64) -> Option<u64> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<u64> = recent.iter().copied().collect();
        values.sort_unstable();
        let place = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len().max(1));
        values.get(place - 1).copied()
    }

    /// Forgets the last values.
    pub(crate) fn forget(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn samples(&self, name: &'static str, help: &'static str) -> Vec<Sample> {
        let mut sum = 0;
        let each = self.buckets.iter().enumerate().map(|(at, bucket)| {
            sum += bucket.load(Ordering::Relaxed);
            let edge = EDGES_MS.get(at).map_or_else(|| "+Inf".to_owned(), |edge| format!("{}", *edge as f64 / 1_000.0));
            Sample { name, help, kind: SampleKind::Counter, label: Some(("le", edge)), value: sum as f64 }
        });
        each.collect()
    }
}

#[derive(Debug)]
struct Changing {
    health: Health,
    level: Level,
    counters: Counters,
    pace: f64,
    waiting: u64,
}

/// The numbers, written by the thread that listens.
#[derive(Debug)]
pub struct Status {
    engine: &'static str,
    model: String,
    test_double: bool,
    tap: Tap,
    changing: Mutex<Changing>,
    pub(super) legs: AtomicU64,
    pub(super) finals: AtomicU64,
    pub(super) nothing: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) deferred: AtomicU64,
    pub(super) orders_lost: AtomicU64,
    pub(super) shown: AtomicU64,
    /// From the endpointer's end of a voice to its final.
    pub(crate) final_latency: Latency,
    /// From the end of the voice itself.
    pub(crate) voice_latency: Latency,
    /// From the beginning of a voice to its first partial.
    pub(crate) partial_latency: Latency,
}

impl Status {
    pub(super) fn new(settings: &Settings, tap: Tap) -> Self {
        let model = if settings.url.is_empty() { settings.model.clone() } else { settings.url.clone() };
        let model = settings.command.first().cloned().unwrap_or(model);
        let changing = Changing {
            health: Health::Starting,
            level: Level::All,
            counters: Counters::default(),
            pace: 0.0,
            waiting: 0,
        };
        Self {
            engine: settings.engine.as_str(),
            model,
            test_double: models::is_test_double(settings),
            tap,
            changing: Mutex::new(changing),
            legs: AtomicU64::new(0),
            finals: AtomicU64::new(0),
            nothing: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
            orders_lost: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            final_latency: Latency::default(),
            voice_latency: Latency::default(),
            partial_latency: Latency::default(),
        }
    }

    pub(super) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets of calls that nobody took in time, so far.
    pub(super) fn packets_dropped(&self) -> u64 {
        self.tap.dropped()
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how it is; what is new is written to Ark's own log.
    pub(super) fn set_health(&self, health: Health) {
        let mut changing = self.changing();
        if changing.health == health {
            return;
        }
        match &health {
            Health::Broken { why } => {
                tracing::error!(engine = self.engine, %why, "nobody reads along: calls go on without");
            }
            Health::Degraded { why } => tracing::warn!(engine = self.engine, %why, "reading along is behind"),
            Health::Well => tracing::info!(engine = self.engine, "what is said is read along"),
            Health::Starting => {}
        }
        changing.health = health;
    }

    pub(super) fn set_load(&self, level: Level, counters: Counters, pace: f64, waiting: usize) {
        let mut changing = self.changing();
        (changing.level, changing.counters, changing.pace) = (level, counters, pace);
        changing.waiting = waiting as u64;
    }

    /// As programs and people see it.
    #[must_use]
    pub fn view(&self) -> SpeechView {
        let changing = self.changing();
        SpeechView {
            engine: self.engine.to_owned(),
            model: self.model.clone(),
            test_double: self.test_double,
            health: changing.health.clone(),
            level: changing.level.as_str().to_owned(),
            legs: self.legs.load(Ordering::Relaxed),
            waiting: changing.waiting,
            real_time_factor: (changing.pace * 1_000.0).round() / 1_000.0,
            final_ms_p95: self.final_latency.quantile_ms(0.95),
        }
    }

    /// For `/metrics`.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let view = self.view();
        let counters = self.changing().counters;
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let sample = |name, help, kind, value: f64| Sample { name, help, kind, label: None, value };
        let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
        let broken = f64::from(u8::from(matches!(view.health, Health::Broken { .. })));
        let level = match view.level.as_str() {
            "all" => 0.0,
            "finals" => 1.0,
            "merged" => 2.0,
            _ => 3.0,
        };
        let mut samples = vec![
            sample("ark_speech_broken", "1 while the engine does not read.", gauge, broken),
            sample(
                "ark_speech_level",
                "0 all, 1 finals alone, 2 utterances merged, 3 finals after the call.",
                gauge,
                level,
            ),
            sample("ark_speech_legs", "Legs that are listened to.", gauge, load(&self.legs)),
            sample("ark_speech_waiting", "Utterances that wait for the engine.", gauge, view.waiting as f64),
            sample("ark_speech_real_time_factor", "Computing for each second of voice.", gauge, view.real_time_factor),
            sample("ark_speech_computing_seconds_total", "Computing.", counter, counters.computing.as_secs_f64()),
            sample("ark_speech_voice_seconds_total", "Voice that was read.", counter, counters.voice.as_secs_f64()),
            sample("ark_speech_finals_total", "Utterances in the log.", counter, load(&self.finals)),
            sample("ark_speech_nothing_total", "Utterances that were no speech.", counter, load(&self.nothing)),
            sample("ark_speech_failed_total", "Utterances that the engine did not read.", counter, load(&self.failed)),
            sample("ark_speech_deferred_total", "Utterances left for after the call.", counter, load(&self.deferred)),
            sample(
                "ark_speech_merged_total",
                "Utterances read with their neighbours.",
                counter,
                counters.merged as f64,
            ),
            sample("ark_speech_partials_total", "Partials shown.", counter, load(&self.shown)),
            sample("ark_speech_partials_shed_total", "Partials left out.", counter, counters.partials_shed as f64),
            sample(
                "ark_speech_packets_dropped_total",
                "Packets that nobody took in time.",
                counter,
                self.tap.dropped() as f64,
            ),
            sample(
                "ark_speech_orders_lost_total",
                "Legs that are not read for want of room.",
                counter,
                load(&self.orders_lost),
            ),
        ];
        samples
            .extend(self.final_latency.samples("ark_speech_final_seconds_bucket", "From the endpoint to the final."));
        samples.extend(
            self.voice_latency.samples("ark_speech_voice_seconds_bucket", "From the end of the voice to the final."),
        );
        samples.extend(
            self.partial_latency.samples("ark_speech_partial_seconds_bucket", "From the voice to the first partial."),
        );
        samples
    }
}
