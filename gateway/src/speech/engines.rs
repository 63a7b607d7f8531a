//! The engines of `[speech]`, made from their settings: those that compute or ask and wait, one for each thread, and the servers that
//! are fed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_transcribe::engine::funasr::FunAsr;
use ark_transcribe::engine::openai::{OpenAi, Outcome};
use ark_transcribe::engine::vosk::Vosk;
use ark_transcribe::engine::{Dialogue, Engine, exec};
use ark_transcribe::limits::{ANSWER_BYTES_MAX, WORD_CHARS_MAX, WORDS_MAX};
use ark_transcribe::{EngineError, Language, Recognised, Utterance};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::models;
use crate::config::{Speech as Settings, SpeechEngine};

/// Makes an engine for one thread. May take seconds: a model is loaded.
pub type MakeEngine = Arc<dyn Fn() -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;

/// How `[speech]` reads.
#[derive(Clone)]
pub enum Made {
    /// Threads compute, or ask and wait. `threads`: how many; none: what the budget in cores says.
    Threads {
        /// Makes one engine.
        make: MakeEngine,
        /// None: as the budget says.
        threads: Option<usize>,
    },
    /// A server is fed.
    Server(Server),
}

/// A server that is fed while a voice goes on.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in the log.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// An answer that takes longer is none.
    pub timeout: Duration,
}

/// What a server speaks.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// FunASR's two passes.
    FunAsr(FunAsr),
    /// vosk-server.
    Vosk(Vosk),
}

impl Server {
    /// Begins to talk about an utterance.
    #[must_use]
    pub fn talk(&self, name: &str, language: Option<Language>) -> Box<dyn Dialogue> {
        match &self.protocol {
            Protocol::FunAsr(server) => Box::new(server.talk(name, language)),
            Protocol::Vosk(server) => Box::new(server.talk(language)),
        }
    }
}

/// Requests to a server of OpenAI's interface at a time.
const REQUESTS: usize = 8;

/// The site's words, within bounds.
#[must_use]
pub fn words(settings: &Settings) -> Arc<[String]> {
    let word = |word: &String| word.chars().take(WORD_CHARS_MAX).collect::<String>();
    settings.words.iter().take(WORDS_MAX).map(word).filter(|word| !word.trim().is_empty()).collect()
}

/// How `[speech]` reads. Nothing is loaded or asked yet.
#[must_use]
pub fn make(settings: &Settings) -> Made {
    let (url, timeout) = (settings.url.trim_end_matches('/').to_owned(), settings.timeout.0);
    match settings.engine {
        SpeechEngine::Funasr => {
            let server = FunAsr { rate_hz: settings.rate_hz, words: words(settings), figures: true };
            Made::Server(Server { name: "funasr".to_owned(), url, protocol: Protocol::FunAsr(server), timeout })
        }
        SpeechEngine::Vosk => {
            let server = Vosk { rate_hz: settings.rate_hz, ..Vosk::default() };
            Made::Server(Server { name: "vosk".to_owned(), url, protocol: Protocol::Vosk(server), timeout })
        }
        SpeechEngine::Openai => {
            let settings = settings.clone();
            let make = move || OpenAiServer::new(&settings).map(|engine| Box::new(engine) as Box<dyn Engine>);
            Made::Threads { make: Arc::new(make), threads: Some(REQUESTS) }
        }
        SpeechEngine::Exec => {
            let command = settings.command.clone();
            let make = move || Process::start(&command, timeout).map(|engine| Box::new(engine) as Box<dyn Engine>);
            Made::Threads { make: Arc::new(make), threads: None }
        }
        SpeechEngine::Whisper | SpeechEngine::Off => Made::Threads { make: whisper(settings.clone()), threads: None },
    }
}

/// Whisper's engines share one model, which the first of them loads.
#[cfg(feature = "whisper")]
fn whisper(settings: Settings) -> MakeEngine {
    use ark_transcribe::engine::whisper::Model;
    use std::sync::{Mutex, PoisonError};
    let loaded: Mutex<Option<Arc<Model>>> = Mutex::new(None);
    Arc::new(move || {
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let model = match &*loaded {
            Some(model) => Arc::clone(model),
            None => {
                let path = models::look(&settings).map_err(EngineError::Broken)?;
                Arc::clone(loaded.insert(Model::load(&path)?))
            }
        };
        Ok(Box::new(model.engine(settings.full_window)?) as Box<dyn Engine>)
    })
}

#[cfg(not(feature = "whisper"))]
fn whisper(settings: Settings) -> MakeEngine {
    Arc::new(move || {
        let _ = models::look(&settings);
        Err(EngineError::Broken("this ark was built without whisper".to_owned()))
    })
}

/// A server of OpenAI's interface.
struct OpenAiServer {
    server: OpenAi,
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
    timeout: Duration,
    name: String,
}

impl OpenAiServer {
    fn new(settings: &Settings) -> Result<Self, EngineError> {
        let key = settings.key.as_ref().map(|key| key.read()).transpose().map_err(EngineError::Broken)?;
        let timeout = settings.timeout.0;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .build()
            .into();
        let base = settings.url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        Ok(Self {
            server: OpenAi::new(settings.model.clone()),
            agent,
            url: format!("{base}/v1/audio/transcriptions"),
            authorization: key.map(|key| format!("Bearer {key}")),
            timeout,
            name: format!("openai:{}", settings.model),
        })
    }

    fn ask(&mut self, utterance: &Utterance) -> Result<Outcome, EngineError> {
        let boundary = format!("{:032x}", rand::random::<u128>());
        let request = self.server.request(utterance, &boundary);
        let mut post = self.agent.post(&self.url).header("content-type", &request.content_type);
        if let Some(authorization) = &self.authorization {
            post = post.header("authorization", authorization);
        }
        let mut answer = post.send(&request.body[..]).map_err(|error| match error {
            ureq::Error::Timeout(_) => EngineError::Late(self.timeout),
            error => EngineError::Retry(error.to_string()),
        })?;
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64).read_to_vec();
        let body = read.map_err(|error| EngineError::Garbage(error.to_string()))?;
        Ok(self.server.answer(status, &body))
    }
}

impl Engine for OpenAiServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn recognise(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError> {
        // The second time it is asked for what it knows.
        for _ in 0..2 {
            if let Outcome::Done(answer) = self.ask(utterance)? {
                return answer;
            }
        }
        Err(EngineError::Broken("the server refuses both forms of an answer".to_owned()))
    }
}

/// A process of the site's own. One that dies or does not answer is ended; the next question starts another one.
struct Process {
    command: Vec<String>,
    timeout: Duration,
    name: String,
    running: Option<Running>,
    number: u64,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(command: &[String], timeout: Duration) -> Result<Self, EngineError> {
        let name = command.first().map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).unwrap_or_default();
        let mut engine =
            Self { command: command.to_vec(), timeout, name: format!("exec:{name}"), running: None, number: 0 };
        engine.running = Some(engine.spawn()?);
        Ok(engine)
    }

    fn spawn(&self) -> Result<Running, EngineError> {
        let program = self.command.first().ok_or_else(|| EngineError::Broken("no command".to_owned()))?;
        let broken = |error: std::io::Error| EngineError::Broken(format!("{program}: {error}"));
        let mut child = Command::new(program)
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(broken)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(EngineError::Broken(format!("{program}: it has no standard input and output")));
        };
        let (sender, lines) = bounded(4);
        // It ends with the process's output, or when nobody reads any more.
        let read = move || {
            let mut reader = BufReader::new(stdout);
            loop {
                let mut line = Vec::new();
                let mut limited = (&mut reader).take(ANSWER_BYTES_MAX as u64 + 1);
                let told = match limited.read_until(b'\n', &mut line) {
                    Ok(0) => return,
                    Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
                    Err(error) => Err(error),
                };
                if sender.send(told).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("ark-speech-exec".to_owned()).spawn(read).map_err(broken)?;
        Ok(Running { child, stdin, lines })
    }

    fn ask(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError> {
        self.number += 1;
        let id = self.number;
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.spawn()?,
        };
        let gone = |error: std::io::Error| EngineError::Retry(format!("the process takes no question: {error}"));
        running
            .stdin
            .write_all(exec::question(id, utterance).as_bytes())
            .and_then(|()| running.stdin.flush())
            .map_err(gone)?;
        let until = Instant::now() + self.timeout;
        loop {
            let line = running.lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.map_err(|error| match error {
                RecvTimeoutError::Timeout => EngineError::Late(self.timeout),
                RecvTimeoutError::Disconnected => EngineError::Retry("the process has ended".to_owned()),
            })?;
            let line = line.map_err(|error| EngineError::Retry(error.to_string()))?;
            match exec::answer(id, &line) {
                Ok(None) => {}
                // It goes on: an error of its own is no reason to end it.
                Ok(Some(answer)) => {
                    self.running = Some(running);
                    return Ok(answer);
                }
                Err(error @ EngineError::Retry(_)) => {
                    self.running = Some(running);
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Engine for Process {
    fn name(&self) -> &str {
        &self.name
    }

    fn recognise(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError> {
        self.ask(utterance)
    }
}
