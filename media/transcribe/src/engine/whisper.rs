//! whisper.cpp in this process: a model that is loaded once, and a state for each thread that reads.

use std::path::Path;
use std::sync::{Arc, Once};

use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use super::{Engine, seconds};
use crate::types::{EngineError, Language, Recognised, Segment, Utterance};

/// Whisper's encoder makes one frame of 20 ms: this many samples.
const ENCODER_SAMPLES: usize = 320;
/// Frames behind the voice that the decoder needs to see that it has ended.
const ENCODER_MARGIN: usize = 16;
/// Frames of the least window; shorter ones make it guess.
const ENCODER_LEAST: usize = 96;
/// Windows come in steps, so that buffers are used again.
const ENCODER_STEP: usize = 32;
/// whisper.cpp reads nothing from less than a second.
const SAMPLES_MIN: usize = 17_600;

static LOGGING: Once = Once::new();

/// What stands at the beginning of a model's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tokens that it can write.
    pub vocabulary: u32,
    /// Frames of its whole window.
    pub audio_ctx: u32,
    /// Width and layers of the encoder.
    pub audio_state: u32,
    /// See there.
    pub audio_layers: u32,
    /// 80 or 128.
    pub mels: u32,
    /// Whether it knows other languages than English.
    pub multilingual: bool,
}

impl Header {
    /// The bytes that are looked at.
    pub const BYTES: usize = 48;
    /// The first four bytes of a model in ggml's format.
    const MAGIC: u32 = 0x6767_6d6c;

    /// Reads the header, and refuses what whisper.cpp would allocate madly for.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        let mut next = || words.next().ok_or_else(|| "it is too short for a model".to_owned());
        if next()? != Self::MAGIC {
            return Err("it is no whisper model in ggml format (ggml-*.bin)".to_owned());
        }
        let (vocabulary, audio_ctx, audio_state, audio_heads) = (next()?, next()?, next()?, next()?);
        let (audio_layers, text_ctx, text_state, text_heads) = (next()?, next()?, next()?, next()?);
        let (text_layers, mels, kind) = (next()?, next()?, next()?);
        let within = [
            ("vocabulary", vocabulary, 51_864..=52_000),
            ("audio context", audio_ctx, 1_500..=1_500),
            ("encoder width", audio_state, 32..=2_048),
            ("encoder heads", audio_heads, 1..=64),
            ("encoder layers", audio_layers, 1..=64),
            ("text context", text_ctx, 64..=1_024),
            ("decoder width", text_state, 32..=2_048),
            ("decoder heads", text_heads, 1..=64),
            ("decoder layers", text_layers, 1..=64),
            ("mel bands", mels, 80..=128),
            ("number format", kind, 0..=3_000),
        ];
        for (what, value, range) in within {
            if !range.contains(&value) {
                return Err(format!("its header says {what} {value}: the file is damaged, or no whisper model"));
            }
        }
        Ok(Self { vocabulary, audio_ctx, audio_state, audio_layers, mels, multilingual: vocabulary >= 51_865 })
    }
}

/// A model in memory. States share it.
pub struct Model {
    context: WhisperContext,
    header: Header,
    name: String,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("name", &self.name).field("header", &self.header).finish_non_exhaustive()
    }
}

impl Model {
    /// Loads a file. Takes from 50 ms to some seconds.
    ///
    /// # Errors
    /// [`EngineError::Broken`]: no file, no model, or a damaged one.
    pub fn load(path: &Path) -> Result<Arc<Self>, EngineError> {
        LOGGING.call_once(whisper_rs::install_logging_hooks);
        let broken = |why: String| EngineError::Broken(format!("{}: {why}", path.display()));
        let header = read_header(path).map_err(broken)?;
        let path_text = path.to_str().ok_or_else(|| broken("its name is not UTF-8".to_owned()))?;
        let context =
            WhisperContext::new_with_params(path_text, WhisperContextParameters::default()).map_err(|error| {
                broken(format!("whisper.cpp cannot load it ({error}): the file is damaged or not complete"))
            })?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Arc::new(Self { context, header, name }))
    }

    /// What its file says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// An engine for one thread, which shares the model with others. `full_window`: the encoder always looks at 30 s, which some
    /// fine-tuned models want, and which costs five times as much and more.
    ///
    /// # Errors
    /// [`EngineError::Retry`]: no memory.
    pub fn engine(self: &Arc<Self>, full_window: bool) -> Result<Whisper, EngineError> {
        let state = self.context.create_state();
        let state =
            state.map_err(|error| EngineError::Retry(format!("no room for another state of whisper: {error}")))?;
        Ok(Whisper {
            model: Arc::clone(self),
            state,
            name: format!("whisper:{}", self.name),
            full_window,
            samples: Vec::new(),
        })
    }
}

fn read_header(path: &Path) -> Result<Header, String> {
    use std::io::Read as _;
    let mut bytes = [0; Header::BYTES];
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.read_exact(&mut bytes).map_err(|_| "it is too short for a model".to_owned())?;
    Header::read(&bytes)
}

/// What a model's file says of itself, without loading it.
///
/// # Errors
/// What is wrong with it, in words.
pub fn header_of(path: &Path) -> Result<Header, String> {
    read_header(path)
}

/// See the module's documentation.
pub struct Whisper {
    model: Arc<Model>,
    state: WhisperState,
    name: String,
    full_window: bool,
    samples: Vec<f32>,
}

impl std::fmt::Debug for Whisper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whisper").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The encoder's window for so many samples.
#[must_use]
pub fn audio_ctx(samples: usize, whole: u32) -> u32 {
    let frames = samples.div_ceil(ENCODER_SAMPLES) + ENCODER_MARGIN;
    (frames.next_multiple_of(ENCODER_STEP).max(ENCODER_LEAST) as u32).min(whole)
}

impl Engine for Whisper {
    fn name(&self) -> &str {
        &self.name
    }

    fn recognise(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError> {
        self.samples.clear();
        self.samples.extend(utterance.samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
        self.samples.resize(self.samples.len().max(SAMPLES_MIN), 0.0);
        let prompt = prompt(&utterance.words);
        let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        params.set_n_threads(1);
        let language = if self.model.header.multilingual { utterance.language } else { Some(Language::En) };
        params.set_language(Some(language.map_or("auto", Language::as_str)));
        params.set_print_special(false);
        params.set_print_progress(false);
        params.set_print_realtime(false);
        params.set_print_timestamps(false);
        // A second pass with another temperature costs as much again, for a voice that most likely says nothing.
        params.set_temperature_inc(0.0);
        params.set_no_context(true);
        params.set_no_timestamps(utterance.partial);
        if let Some(prompt) = &prompt {
            params.set_initial_prompt(prompt);
        }
        if !self.full_window {
            params.set_audio_ctx(audio_ctx(self.samples.len(), self.model.header.audio_ctx) as i32);
        }
        let read = self.state.full(params, &self.samples);
        read.map_err(|error| EngineError::Retry(format!("whisper.cpp: {error}")))?;
        Ok(self.answer(utterance))
    }
}

impl Whisper {
    fn answer(&self, utterance: &Utterance) -> Recognised {
        let end = self.model.context.token_eot();
        let (mut text, mut segments) = (String::new(), Vec::new());
        let (mut sure, mut tokens) = (0.0, 0_u32);
        for segment in (0..self.state.full_n_segments()).filter_map(|index| self.state.get_segment(index)) {
            let Ok(words) = segment.to_str_lossy() else { continue };
            let (before, counted) = (sure, tokens);
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                if token.token_id() < end {
                    sure += token.token_probability();
                    tokens += 1;
                }
            }
            text.push_str(&words);
            // In hundredths of a second; without time tokens they mean nothing.
            let (from, to) = (segment.start_timestamp(), segment.end_timestamp());
            if !utterance.partial && from >= 0 && to >= from {
                let confidence = (tokens > counted).then(|| (sure - before) / (tokens - counted) as f32);
                let (start, end) = (seconds(from as f64 / 100.0), seconds(to as f64 / 100.0));
                segments.push(Segment { start, end, text: words.into_owned(), confidence });
            }
        }
        let language = utterance.language.or_else(|| {
            let id = self.state.full_lang_id_from_state();
            whisper_rs::get_lang_str(id).and_then(Language::parse)
        });
        Recognised { text, segments, confidence: (tokens > 0).then(|| sure / tokens as f32), language }
    }
}

/// The site's words as a prompt, within what whisper reads of one.
fn prompt(words: &[String]) -> Option<String> {
    let mut prompt = String::new();
    for word in words {
        if prompt.chars().count() + word.chars().count() > 400 {
            break;
        }
        if !prompt.is_empty() {
            prompt.push_str(", ");
        }
        prompt.extend(word.chars().filter(|c| !c.is_control()));
    }
    (!prompt.is_empty()).then_some(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_as_long_as_the_voice() {
        assert_eq!(audio_ctx(16_000, 1_500), 96);
        assert_eq!(audio_ctx(5 * 16_000, 1_500), 288);
        assert_eq!(audio_ctx(30 * 16_000, 1_500), 1_500);
    }

    #[test]
    fn what_is_no_model_is_refused_in_words() {
        assert!(Header::read(b"").unwrap_err().contains("too short"));
        assert!(Header::read(&[b'R'; 64]).unwrap_err().contains("no whisper model"));
        let mut bytes = Vec::new();
        for word in [Header::MAGIC, 51_865, 1_500, 384, 6, 4, 448, 384, 6, 4, 80, 1] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        assert!(Header::read(&bytes).unwrap().multilingual);
        bytes[8] = 0xFF;
        assert!(Header::read(&bytes).unwrap_err().contains("audio context"));
    }
}
