//! Sense checks of `[speech]`.

use super::{Checker, Config, Key};
use crate::config::SpeechEngine;

impl Checker<'_> {
    pub(super) fn speech(&mut self, config: &Config) {
        let speech = &config.speech;
        let at = |key| [Key("speech"), Key(key)];
        match speech.engine {
            SpeechEngine::Off => return,
            SpeechEngine::Whisper => {
                if !cfg!(feature = "whisper") {
                    let help =
                        "build ark with its default features, or choose a server: \"funasr\", \"openai\", \"vosk\"";
                    self.error(&at("engine"), "this ark was built without whisper", help);
                }
                if speech.model.is_empty() {
                    let help = "`ark model list` shows what there is; for example model = \"small\"";
                    self.error(&at("model"), "whisper needs a model", help);
                }
            }
            SpeechEngine::Funasr | SpeechEngine::Vosk => {
                let fits = ["ws://", "wss://"]
                    .iter()
                    .any(|scheme| speech.url.strip_prefix(scheme).is_some_and(|h| !h.is_empty()));
                if !fits {
                    self.error(
                        &at("url"),
                        "the engine's server is a WebSocket",
                        "for example url = \"ws://10.0.0.9:10095\"",
                    );
                }
                if ![8_000, 16_000].contains(&speech.rate_hz) {
                    self.error(
                        &at("rate_hz"),
                        format!("{} Hz is not what these servers take", speech.rate_hz),
                        "8000 or 16000",
                    );
                }
            }
            SpeechEngine::Openai => {
                let scheme = ["http://", "https://"]
                    .iter()
                    .any(|scheme| speech.url.strip_prefix(scheme).is_some_and(|h| !h.is_empty()));
                if !scheme {
                    self.error(
                        &at("url"),
                        "the engine's server is missing",
                        "for example url = \"http://10.0.0.9:8000\"",
                    );
                }
                if speech.model.is_empty() {
                    self.error(
                        &at("model"),
                        "the server wants to know its model's name",
                        "for example model = \"whisper-1\"",
                    );
                }
            }
            SpeechEngine::Exec if speech.command.is_empty() => {
                let help = "for example command = [\"/usr/local/bin/recognise\", \"--model\", \"zh\"]";
                self.error(&at("command"), "the process is missing", help);
            }
            SpeechEngine::Exec => {}
        }
        if !(speech.cores.is_finite() && (0.05..=256.0).contains(&speech.cores)) {
            self.error(&at("cores"), format!("{} cores cannot be", speech.cores), "0.05 to 256");
        }
        if !(0.05..=0.95).contains(&speech.threshold) {
            self.error(
                &at("threshold"),
                format!("{} is no score", speech.threshold),
                "0.05 to 0.95; 0.5 fits most lines",
            );
        }
        let most = ark_transcribe::limits::UTTERANCE_MAX;
        if speech.longest.0 > most || speech.longest.0.as_secs() < 1 {
            self.error(&at("longest"), "an utterance is read as a whole", "\"1s\" to \"30s\"");
        }
        let fits = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if speech.sha256.as_ref().is_some_and(|hash| !fits(hash)) {
            self.error(&at("sha256"), "that is no SHA-256", "64 hexadecimal digits, as `sha256sum FILE` prints them");
        }
        if speech.words.len() > ark_transcribe::limits::WORDS_MAX {
            self.error(&at("words"), format!("{} words are too many", speech.words.len()), "at most 500");
        }
    }
}
