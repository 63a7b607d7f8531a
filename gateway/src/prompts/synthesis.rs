//! Texts spoken by espeak-ng, an external program, each once: the result is kept as a WAV file named by what made it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_dialplans::{Lang, Utterance};
use ark_media::prompt::{Pcm, decode};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::reading::for_synthesis;
use super::voice_of;
use crate::config::Prompts;

/// Synthesisers that run at a time.
const PARALLEL: usize = 2;
/// Part of every cached file's name: raise it when what is made of a text changes.
const CACHE_VERSION: &str = "1";
/// espeak-ng's Mandarin voice that takes pinyin among the characters.
const PINYIN_VOICE: &str = "cmn-latn-pinyin";
/// The longest text that is synthesised in one piece.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Files that were begun, so that each has a name of its own.
static PARTS: AtomicU64 = AtomicU64::new(0);

/// Runs espeak-ng and keeps what it made.
pub(super) struct Synthesiser {
    settings: Prompts,
    cache: PathBuf,
}

impl Synthesiser {
    pub(super) fn new(settings: &Prompts, cache: PathBuf) -> Self {
        Self { settings: settings.clone(), cache }
    }

    /// Speaks every text, a few at a time; `made` is called after each.
    pub(super) async fn speak_all(
        self: &std::sync::Arc<Self>,
        utterances: Vec<Utterance>,
        mut made: impl FnMut(),
    ) -> Vec<(Utterance, Result<Pcm, String>)> {
        let mut done = Vec::with_capacity(utterances.len());
        let mut running = JoinSet::new();
        let mut waiting = utterances.into_iter();
        loop {
            while running.len() < PARALLEL {
                let Some(utterance) = waiting.next() else { break };
                let this = std::sync::Arc::clone(self);
                running.spawn(async move {
                    let result = this.speak(utterance.lang, &utterance.text).await;
                    (utterance, result)
                });
            }
            match running.join_next().await {
                Some(Ok(spoken)) => {
                    made();
                    done.push(spoken);
                }
                Some(Err(error)) => tracing::error!(%error, "a prompt's task failed"),
                None => return done,
            }
        }
    }

    /// One text, from the cache or spoken now.
    pub(super) async fn speak(&self, lang: Lang, text: &str) -> Result<Pcm, String> {
        let spoken = self.spoken(lang, text);
        let file = self.cache.join(self.file_name(lang, text));
        if let Ok(bytes) = tokio::fs::read(&file).await {
            match decode(bytes, &file.display().to_string()) {
                Ok(pcm) => return Ok(pcm),
                Err(error) => tracing::warn!(%error, "a cached prompt is broken and is made again"),
            }
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("the text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        // Two prompts may have one text and be made at the same time, and several processes may share a cache.
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = file.with_extension(format!("{}-{number}.part.wav", std::process::id()));
        let made = self.make(lang, &spoken, &part, &file).await;
        if made.is_err() {
            let _ = tokio::fs::remove_file(&part).await;
        }
        made
    }

    async fn make(&self, lang: Lang, spoken: &str, part: &Path, file: &Path) -> Result<Pcm, String> {
        self.run(lang, spoken, part).await?;
        let bytes = tokio::fs::read(part).await.map_err(|error| format!("{}: {error}", part.display()))?;
        let pcm = decode(bytes, &part.display().to_string()).map_err(|error| error.to_string())?;
        // Whole files only have their name: a crash leaves a .part, which is made again.
        tokio::fs::rename(part, file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(pcm)
    }

    /// SHA-256 of everything that the sound depends on.
    pub(super) fn file_name(&self, lang: Lang, text: &str) -> String {
        let mut hash = Sha256::new();
        let spoken = self.spoken(lang, text);
        for part in [CACHE_VERSION, voice_of(lang, &self.settings), &self.settings.speed.to_string(), &spoken] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}.wav")
    }

    /// What the voice is given. Only the usual Mandarin voice reads pinyin.
    fn spoken(&self, lang: Lang, text: &str) -> String {
        if lang == Lang::Zh && voice_of(lang, &self.settings) != PINYIN_VOICE {
            return text.to_owned();
        }
        for_synthesis(lang, text)
    }

    async fn run(&self, lang: Lang, text: &str, to: &Path) -> Result<(), String> {
        let program = &self.settings.espeak;
        let mut child = Command::new(program)
            .arg("-v")
            .arg(voice_of(lang, &self.settings))
            .arg("-s")
            .arg(self.settings.speed.to_string())
            .arg("-b")
            .arg("1")
            .arg("--stdin")
            .arg("-w")
            .arg(to)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes()).await.map_err(|error| format!("the text was not taken: {error}"))?;
        }
        let patience: Duration = self.settings.timeout.0;
        let output = tokio::time::timeout(patience, child.wait_with_output())
            .await
            .map_err(|_| format!("{} took longer than {} s", program.display(), patience.as_secs()))?
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} ended with {}: {}", program.display(), output.status, said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cached_file_depends_on_voice_speed_and_text() {
        let synthesiser = Synthesiser::new(&Prompts::default(), PathBuf::new());
        let name = synthesiser.file_name(Lang::Zh, "您好");
        assert_eq!(name, synthesiser.file_name(Lang::Zh, "您好"));
        assert_ne!(name, synthesiser.file_name(Lang::En, "您好"));
        assert_ne!(name, synthesiser.file_name(Lang::Zh, "您"));
        let faster = Synthesiser::new(&Prompts { speed: 200, ..Prompts::default() }, PathBuf::new());
        assert_ne!(name, faster.file_name(Lang::Zh, "您好"));
    }

    #[tokio::test]
    async fn a_missing_synthesiser_is_said_by_name() {
        let folder = std::env::temp_dir();
        let settings = Prompts { espeak: "/nowhere/espeak-ng".into(), ..Prompts::default() };
        let synthesiser = Synthesiser::new(&settings, folder);
        let said = synthesiser.speak(Lang::En, "no such text was ever made").await.unwrap_err();
        assert!(said.contains("/nowhere/espeak-ng cannot be run"), "{said}");
    }
}
