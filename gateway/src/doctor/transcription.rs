//! Who reads along: the model, or the server.

use std::time::Duration;

use super::Check;
use crate::config::{Config, SpeechEngine};
use crate::speech::models;
use crate::webhooks::reach::{Place, dial};

/// How long a server may take to be reached.
const PATIENCE: Duration = Duration::from_secs(3);
const NAME: &str = "transcription";

/// Looks at what `[speech]` names; none: nobody reads along, which is no fault.
pub(super) async fn look(config: &Config) -> Option<Check> {
    let speech = config.speech.clone();
    match speech.engine {
        SpeechEngine::Off => None,
        SpeechEngine::Whisper => {
            let looked = tokio::task::spawn_blocking(move || whisper(&speech)).await;
            looked.ok()
        }
        SpeechEngine::Exec => {
            let program = speech.command.first().cloned().unwrap_or_default();
            let found = if program.contains('/') {
                std::path::Path::new(&program).is_file()
            } else {
                std::env::var_os("PATH")
                    .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&program).is_file()))
            };
            Some(if found {
                Check::ok(NAME, format!("exec: {program} is there"))
            } else {
                Check::warning(
                    NAME,
                    format!("exec: there is no program {program}"),
                    "correct [speech] command; calls go on without",
                )
            })
        }
        SpeechEngine::Funasr | SpeechEngine::Vosk | SpeechEngine::Openai => {
            Some(server(&speech.url, speech.engine).await)
        }
    }
}

async fn server(url: &str, engine: SpeechEngine) -> Check {
    let name = engine.as_str();
    let http = if let Some(rest) = url.strip_prefix("ws") { format!("http{rest}") } else { url.to_owned() };
    let reached = match Place::parse(&http) {
        Ok(place) => {
            tokio::time::timeout(PATIENCE, dial(&place, true)).await.map_err(|_| "no answer in 3 s".to_owned())
        }
        Err(why) => Err(why),
    };
    match reached.and_then(|dialled| dialled.map(drop)) {
        Ok(()) => Check::ok(NAME, format!("{name}: {url} can be reached")),
        Err(why) => Check::warning(
            NAME,
            format!("{name}: {url} cannot be reached: {why}"),
            "start the server, or correct [speech] url; calls go on without",
        ),
    }
}

fn whisper(speech: &crate::config::Speech) -> Check {
    let path = match models::look(speech) {
        Ok(path) => path,
        Err(why) => {
            return Check::warning(
                NAME,
                format!("whisper: {why}"),
                "put it right, and calls are read along; they go on without",
            );
        }
    };
    #[cfg(feature = "whisper")]
    if let Err(error) = ark_transcribe::engine::whisper::Model::load(&path) {
        return Check::warning(
            NAME,
            error.to_string(),
            "`ark model verify` says whether it is whole; calls go on without",
        );
    }
    if models::is_test_double(speech) {
        let what = format!("whisper: {} is {}", models::TEST_DOUBLE, models::TEST_DOUBLE_WARNING);
        return Check::warning(NAME, what, "choose a real model: `ark model list`");
    }
    Check::ok(NAME, format!("whisper: {} can be loaded", path.display()))
}
