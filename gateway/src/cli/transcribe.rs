//! `ark transcribe FILE | --call ID`: what is said in a file, or in the recording of a call.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_conversation::{Event, Tenant};
use ark_transcribe::stream::StreamConfig;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::{self, Failure, Outcome};
use super::{CliResult, Site, site_store};
use crate::call::recording_channels;
use crate::config::{Config, SpeechEngine, SpeechLanguage};
use crate::speech::engines::{Made, make};
use crate::speech::file::{self, Said};
use crate::speech::{models, settled};

/// Write down what is said in a sound file, or in the recording of a call that is over
///
/// With whisper and a model of your own, or with the engine of the site's `[speech]`. Each channel is read for itself: who speaks is
/// told apart by the channel. Numbers of cards are masked as the site says.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["file", "call"]))]
pub(super) struct TranscribeCommand {
    /// The sound file: WAV, MP3, Ogg, FLAC, M4A, Opus
    file: Option<PathBuf>,
    /// A call's conversation, or an unambiguous end of its id: its newest recording is read
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// A whisper model: a name of `ark model list`, or a file. Without it the engine of `[speech]`
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// What is spoken; without it the engine finds out
    #[arg(long, value_enum)]
    language: Option<Spoken>,
    /// Print as JSON: {"segments":[{"start","end","text","confidence"}]}, seconds from the beginning
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: Site,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spoken {
    /// Mandarin
    Zh,
    /// English
    En,
}

pub(super) fn run(command: &TranscribeCommand) -> CliResult {
    let mut config = command.site.load()?.config;
    if let Some(model) = &command.model {
        config.speech.engine = SpeechEngine::Whisper;
        config.speech.model.clone_from(model);
        config.speech.sha256 = None;
    }
    if let Some(language) = command.language {
        config.speech.language = match language {
            Spoken::Zh => SpeechLanguage::Zh,
            Spoken::En => SpeechLanguage::En,
        };
    }
    let path = match (&command.file, &command.call) {
        (Some(file), _) => file.clone(),
        (None, Some(call)) => recording_of(&config, call)?,
        (None, None) => return Err(Failure::Refused("name a file, or a call with --call".to_owned())),
    };
    let said = transcribe(&config, &path)?;
    print(command.json, &said.0, said.1)?;
    Ok(Outcome::Done)
}

/// What is said in a file, and how many channels it has.
fn transcribe(config: &Config, path: &Path) -> Result<(Vec<Said>, usize), Failure> {
    let settings = &config.speech;
    let made = match settings.engine {
        SpeechEngine::Off => {
            let how =
                "name a whisper model with --model, or an engine in [speech]; `ark model list` has the public models";
            return Err(Failure::environment(format!("nobody can read it: {how}")));
        }
        _ => make(settings),
    };
    let Made::Threads { make, .. } = made else {
        let name = settings.engine.as_str();
        let how = "it is fed while a call goes on; name a whisper model with --model";
        return Err(Failure::Refused(format!("[speech] engine = \"{name}\" reads no files: {how}")));
    };
    if models::is_test_double(settings) {
        output::note(&format!("{}: {}", models::TEST_DOUBLE, models::TEST_DOUBLE_WARNING));
    }
    let channels = file::channels(path).map_err(Failure::environment)?;
    let mut engine = make().map_err(|error| Failure::environment(error.to_string()))?;
    let config: StreamConfig = settled(settings);
    let total: usize = channels.iter().map(Vec::len).sum();
    let mut bar = Progress::new(Duration::from_secs_f64(total as f64 / 16_000.0));
    let (mut said, mut before) = (Vec::new(), Duration::ZERO);
    for (channel, samples) in channels.iter().enumerate() {
        let read = file::read(samples, channel, &config, &mut *engine, |at| bar.at(before + at));
        said.extend(read.map_err(|error| Failure::environment(error.to_string()))?);
        before += Duration::from_secs_f64(samples.len() as f64 / 16_000.0);
    }
    bar.end();
    said.sort_by_key(|one| one.start);
    Ok((said, channels.len()))
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

fn print(as_json: bool, said: &[Said], channels: usize) -> Result<(), Failure> {
    let names = recording_channels(channels);
    let of = |one: &Said| names.get(one.channel).filter(|_| channels > 1).map(|name| name.as_str());
    if as_json {
        let segment = |one: &Said| -> Value {
            let confidence = one.confidence.map(|sure| (f64::from(sure) * 1_000.0).round() / 1_000.0);
            let mut segment = json!({ "start": seconds(one.start), "end": seconds(one.end), "text": one.text, "confidence": confidence });
            if let Some(channel) = of(one) {
                segment["channel"] = channel.into();
            }
            segment
        };
        return output::json(&json!({ "segments": said.iter().map(segment).collect::<Vec<_>>() }));
    }
    if said.is_empty() {
        output::note("nothing is said in it");
    }
    for one in said {
        let at = |time: Duration| format!("{}:{:05.2}", time.as_secs() / 60, time.as_secs_f64() % 60.0);
        let who = of(one).map_or_else(String::new, |name| format!("{name:<8} "));
        output::line(format!("{} - {}  {who}{}", at(one.start), at(one.end), one.text))?;
    }
    Ok(())
}

/// The newest recording of a call.
fn recording_of(config: &Config, given: &str) -> Result<PathBuf, Failure> {
    let find = async {
        let store = site_store::open_to_read(config).map_err(site_store::failure)?;
        let tenant = Tenant::default();
        let id = site_store::resolve(&*store, &tenant, given).await?;
        let (mut after, mut found) = (0, None);
        loop {
            let records =
                store.read(&tenant, id, after, 500).await.map_err(|error| Failure::environment(error.to_string()))?;
            let Some(last) = records.last() else { break };
            after = last.seq;
            for record in &records {
                if let Event::RecordingFinished(event) = &record.event.event {
                    found = Some(event.reference.clone());
                }
            }
        }
        found.ok_or_else(|| Failure::Refused(format!("conversation {id} has no recording that is complete")))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::environment(format!("no runtime: {error}")))?;
    let reference = runtime.block_on(find)?;
    crate::http::file_below(config.files.folder(), &reference)
        .ok_or_else(|| Failure::environment(format!("{reference} is not kept below [files]")))
}

/// Says how far it is, to people who look.
struct Progress {
    total: Duration,
    last: Option<Instant>,
    shown: bool,
}

impl Progress {
    fn new(total: Duration) -> Self {
        Self { total, last: None, shown: io::stderr().is_terminal() }
    }

    fn at(&mut self, done: Duration) {
        if self.shown && self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(200)) {
            self.last = Some(Instant::now());
            let share = (done.as_secs_f64() / self.total.as_secs_f64().max(0.001)).clamp(0.0, 1.0);
            let full = (share * 30.0) as usize;
            let _ = write!(io::stderr(), "\r[{:30}] {:3.0} %", "=".repeat(full), share * 100.0);
        }
    }

    fn end(&self) {
        if self.shown && self.last.is_some() {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
    }
}
