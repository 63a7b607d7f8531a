//! Prompts are made before a plan goes live: recorded files where there are some, else synthesised once and cached;
//! decoded, and encoded once for every codec of the site. A call then finds its audio in an immutable map and does no I/O.

mod builtin;
mod encoded;
mod reading;
mod synthesis;

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_dialplans::{Lang, Piece, Plan, PromptSeconds, Utterance};
use ark_media::codec::CodecRef;
use ark_media::prompt::{EncodedPrompt, Pcm, decode};

use crate::call::Sounds;
use crate::config::Config;
use builtin::Builtin;
use encoded::{Encoded, Rest, encode};
use synthesis::Synthesiser;

/// Audio in one RTP packet.
const FRAME: Duration = Duration::from_millis(20);
/// The longest pause that a plan asks for.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Prompts named in an error; the rest is counted.
const NAMED_MAX: usize = 8;

/// Why a plan's prompts are not complete.
#[derive(Debug, thiserror::Error)]
#[error("{} of the plan's prompts have no audio:\n{}{}", .missing.len(), named(.missing), .advice)]
pub struct PrepareError {
    /// What is missing and why, each in a line.
    pub missing: Vec<String>,
    /// What to do.
    pub advice: &'static str,
}

fn named(missing: &[String]) -> String {
    let mut text: String = missing.iter().take(NAMED_MAX).map(|line| format!("  {line}\n")).collect();
    if missing.len() > NAMED_MAX {
        text.push_str(&format!("  and {} more\n", missing.len() - NAMED_MAX));
    }
    text
}

/// Everything that one version of a plan may say, ready to be sent.
pub struct PromptLibrary {
    prompts: HashMap<String, Encoded>,
    builtin: Arc<Builtin>,
    rest: Rest,
}

impl PromptLibrary {
    /// How many texts and words it holds.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether it holds nothing but the built-in sounds.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }
}

impl PromptSeconds for PromptLibrary {
    fn seconds(&self, utterance_key: &str) -> Option<Duration> {
        self.prompts.get(utterance_key).map(|encoded| encoded.duration())
    }
}

impl Sounds for PromptLibrary {
    fn piece(&self, piece: &Piece, codec: CodecRef) -> Option<Arc<EncodedPrompt>> {
        self.rest.begin(codec);
        if let Piece::Pause(pause) = piece {
            return Some(EncodedPrompt::silence((*pause).min(PAUSE_MAX), codec, FRAME));
        }
        self.prompts.get(&piece.key()?)?.of(codec)
    }

    fn ringback(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        self.builtin.ringback(codec)
    }

    fn music(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        self.builtin.music(codec)
    }

    fn beep(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        self.builtin.beep(codec)
    }

    fn error_tone(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        self.builtin.error_tone(codec)
    }
}

/// Makes prompts; shared by everything that publishes plans.
#[derive(Clone)]
pub struct Preparer {
    recordings: Option<PathBuf>,
    synthesiser: Arc<Synthesiser>,
    builtin: Arc<Builtin>,
    /// What calls of this site may speak.
    codecs: Arc<[CodecRef]>,
    /// What is said before a call is recorded, in each language: the words, and the recorded file that replaces them.
    consent: Arc<[Piece]>,
    /// What was made before, by cached file: another version of a plan says nearly the same.
    made: Arc<Mutex<HashMap<String, Encoded>>>,
}

/// Synthesised prompts kept encoded in memory. A second takes 8 kB in each of PCMA, PCMU and G.722, and 32 kB more until
/// it was wanted in Opus and G.729 too.
const MADE_MAX: usize = 20_000;

impl Preparer {
    /// By `[prompts]` and `[files]`; synthesised prompts are kept in the folder `prompts` of the files.
    pub fn new(config: &Config) -> Self {
        let codecs: Arc<[CodecRef]> = config.codecs().into();
        Self {
            recordings: config.prompts.dir.clone(),
            synthesiser: Arc::new(Synthesiser::new(&config.prompts, config.files.prompts())),
            builtin: Arc::new(Builtin::new(&codecs)),
            codecs,
            consent: consent(&config.recording),
            made: Arc::default(),
        }
    }

    /// Makes everything that `plan` may say. Relative recordings are looked for in `folder` (the plan's own), then in
    /// `[prompts] dir`. Shows its progress on a terminal when it takes longer than a blink.
    ///
    /// # Errors
    /// [`PrepareError`]: which prompts have no audio, and why.
    pub async fn prepare(&self, plan: Arc<Plan>, folder: PathBuf) -> Result<PromptLibrary, PrepareError> {
        let mut utterances = plan.utterances();
        utterances.extend(self.announcements(&plan));
        let mut progress = Progress::new(utterances.len());
        let mut prompts = HashMap::with_capacity(utterances.len());
        let mut missing = Vec::new();
        let mut to_speak = Vec::new();
        for utterance in utterances {
            match self.recorded(&utterance, &folder) {
                Some(Ok(pcm)) => {
                    prompts.insert(utterance.key, encode(&pcm, &self.codecs));
                    progress.one_more();
                }
                Some(Err(why)) => missing.push(why),
                None => match self.made_before(&utterance) {
                    Some(encoded) => {
                        prompts.insert(utterance.key, encoded);
                        progress.one_more();
                    }
                    None => to_speak.push(utterance),
                },
            }
        }
        let spoken = self.synthesiser.speak_all(to_speak, || progress.one_more()).await;
        let mut synthesis_failed = false;
        for (utterance, result) in spoken {
            match result {
                Ok(pcm) => {
                    let pcm = trimmed(&pcm, if is_word(&utterance) { WORD_MARGIN } else { TEXT_MARGIN });
                    let encoded = encode(&pcm, &self.codecs);
                    self.keep(&utterance, &encoded);
                    prompts.insert(utterance.key, encoded);
                }
                Err(why) => {
                    synthesis_failed = true;
                    missing.push(format!("{} ({}): {why}", utterance.key, shortened(&utterance.text)));
                }
            }
        }
        progress.done();
        if missing.is_empty() {
            let all = prompts.values().chain(self.builtin.all()).cloned().collect();
            return Ok(PromptLibrary { prompts, builtin: Arc::clone(&self.builtin), rest: Rest::new(all) });
        }
        let advice = if synthesis_failed {
            "Install espeak-ng (`apt-get install espeak-ng`), set [prompts] espeak to where it is, or record these prompts."
        } else {
            "Put the recorded files where the plan names them, beside the plan or in [prompts] dir."
        };
        Err(PrepareError { missing, advice })
    }

    /// What a plan has that is only written: no prompt.
    pub fn silent(&self) -> PromptLibrary {
        let rest = Rest::new(self.builtin.all().into_iter().cloned().collect());
        PromptLibrary { prompts: HashMap::new(), builtin: Arc::clone(&self.builtin), rest }
    }

    /// What calls of this plan hear before they are recorded.
    fn announcements(&self, plan: &Plan) -> impl Iterator<Item = Utterance> {
        self.consent.iter().filter_map(|piece| match piece {
            Piece::Text { lang, text, recording, .. } if plan.languages.contains(lang) => {
                Some(Utterance { lang: *lang, key: piece.key()?, text: Arc::clone(text), recording: recording.clone() })
            }
            _ => None,
        })
    }

    fn made_before(&self, utterance: &Utterance) -> Option<Encoded> {
        let name = self.synthesiser.file_name(utterance.lang, &utterance.text);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&made_key(name, utterance)).cloned()
    }

    fn keep(&self, utterance: &Utterance, encoded: &Encoded) {
        let name = self.synthesiser.file_name(utterance.lang, &utterance.text);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MADE_MAX {
            made.clear();
        }
        made.insert(made_key(name, utterance), Arc::clone(encoded));
    }

    /// The recorded file of a piece: `None` when the plan names none.
    fn recorded(&self, utterance: &Utterance, folder: &Path) -> Option<Result<Pcm, String>> {
        let name = utterance.recording.as_deref()?;
        let named = Path::new(name);
        let places = [Some(folder.join(named)), self.recordings.as_ref().map(|dir| dir.join(named))];
        let found = places.iter().flatten().find(|path| path.is_file());
        let Some(path) = found else {
            let looked: Vec<String> = places.iter().flatten().map(|p| p.display().to_string()).collect();
            // The text is there too: a recording that is missing costs a voice, not the prompt.
            tracing::warn!(prompt = %utterance.key, looked = %looked.join(", "), "a recording is missing; its text is synthesised");
            return None;
        };
        let bytes = std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()));
        Some(bytes.and_then(|bytes| decode(bytes, &path.display().to_string()).map_err(|error| error.to_string())))
    }
}

/// The piece that says in this language that a call is recorded, where the site says so: its audio is made with every plan.
pub(crate) fn consent_piece(lang: Lang, text: &str, recording: Option<&str>) -> Piece {
    Piece::Text {
        prompt: "ark.recorded".into(),
        index: 0,
        lang,
        text: text.into(),
        recording: recording.map(Into::into),
    }
}

fn consent(recording: &crate::config::Recording) -> Arc<[Piece]> {
    if !recording.announces() {
        return Arc::default();
    }
    let zh = consent_piece(Lang::Zh, &recording.announcement_zh, recording.announcement_file_zh.as_deref());
    let en = consent_piece(Lang::En, &recording.announcement_en, recording.announcement_file_en.as_deref());
    [zh, en].into()
}

/// One text outside any plan, kept in `cache` like the others: what the caller of `ark demo` says.
///
/// # Errors
/// Why the synthesiser did not speak, in words.
pub(crate) async fn speak_once(
    settings: &crate::config::Prompts,
    cache: PathBuf,
    lang: Lang,
    text: &str,
) -> Result<Pcm, String> {
    Synthesiser::new(settings, cache).speak(lang, text).await
}

/// A word is trimmed more closely than the same text as a prompt.
fn made_key(file: String, utterance: &Utterance) -> String {
    if is_word(utterance) { file + "#word" } else { file }
}

fn is_word(utterance: &Utterance) -> bool {
    utterance.key.contains("/word/")
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(24).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Louder than this is speech: 1 % of full scale.
const SPEECH_LEVEL: u16 = 328;
/// Silence kept before and after a trimmed word, so that joined words do not run into each other.
const WORD_MARGIN: Duration = Duration::from_millis(30);

/// Silence kept after a text: espeak-ng adds a third of a second, which is heard as a hole where a number follows, and
/// delays every answer.
const TEXT_MARGIN: Duration = Duration::from_millis(100);

/// Speech without the synthesiser's silence around it: words are joined to numbers, and texts to words. `after` is kept
/// behind it, [`WORD_MARGIN`] before.
fn trimmed(pcm: &Pcm, after: Duration) -> Pcm {
    let loud = |sample: &i16| sample.unsigned_abs() > SPEECH_LEVEL;
    let samples = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(0) * pcm.rate_hz as usize / 1000;
    let (Some(first), Some(last)) = (pcm.samples.iter().position(loud), pcm.samples.iter().rposition(loud)) else {
        return pcm.clone();
    };
    let from = first.saturating_sub(samples(WORD_MARGIN));
    let to = (last + samples(after)).min(pcm.samples.len());
    Pcm { samples: pcm.samples.get(from..to).unwrap_or_default().to_vec(), rate_hz: pcm.rate_hz }
}

/// The synthesiser's text for a language is not always what is written.
pub(crate) fn voice_of(lang: Lang, config: &crate::config::Prompts) -> &str {
    match lang {
        Lang::Zh => &config.voice_zh,
        Lang::En => &config.voice_en,
    }
}

/// A line on the terminal while many prompts are made.
struct Progress {
    total: usize,
    made: usize,
    began: Instant,
    shown: bool,
    terminal: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, made: 0, began: Instant::now(), shown: false, terminal: std::io::stderr().is_terminal() }
    }

    #[expect(clippy::print_stderr, reason = "a progress line for the person at the terminal")]
    fn one_more(&mut self) {
        self.made += 1;
        if self.terminal && self.began.elapsed() > Duration::from_millis(500) {
            self.shown = true;
            eprint!("\rprompts: {} of {}", self.made, self.total);
        }
    }

    #[expect(clippy::print_stderr, reason = "a progress line for the person at the terminal")]
    fn done(&mut self) {
        if self.shown {
            eprintln!("\rprompts: {} of {} in {:.1} s", self.made, self.total, self.began.elapsed().as_secs_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_loses_the_silence_around_it_and_keeps_a_margin() {
        let mut samples = vec![0_i16; 8_000];
        samples.extend(std::iter::repeat_n(10_000, 800));
        samples.extend(std::iter::repeat_n(0, 8_000));
        let pcm = Pcm { samples, rate_hz: 8_000 };
        assert_eq!(trimmed(&pcm, WORD_MARGIN).samples.len(), 240 + 800 + 239);
        assert_eq!(trimmed(&pcm, TEXT_MARGIN).samples.len(), 240 + 800 + 799);
        let silence = Pcm { samples: vec![0; 100], rate_hz: 8_000 };
        assert_eq!(trimmed(&silence, WORD_MARGIN).samples.len(), 100);
    }

    #[test]
    fn the_error_names_what_is_missing_and_what_to_do() {
        let missing = (0..10).map(|n| format!("zh/prompt/p{n}/0 (您好): no espeak-ng")).collect();
        let text = PrepareError { missing, advice: "Install espeak-ng." }.to_string();
        assert!(text.starts_with("10 of the plan's prompts have no audio:\n  zh/prompt/p0/0"), "{text}");
        assert!(text.contains("and 2 more") && text.ends_with("Install espeak-ng."), "{text}");
    }
}
