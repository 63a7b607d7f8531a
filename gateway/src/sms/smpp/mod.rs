//! A sender of short messages by SMPP 3.4: one connection, bound as a transceiver, made when it is needed and again after it broke.
//!
//! A message is refused, or submitted once: of a part that was written and not answered it is not known what became of it, and it
//! is not written again. A centre that is busy (throttled, its queue full) is asked again a few times.

mod pdu;
mod text;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::SmsError;
use super::receipts::{Fate, Receipts};
use crate::config::SmsSmpp;
use crate::retry::wait;
use crate::webhooks::reach::{Io, Place, dial};
use pdu::{Bind, ESME_RINVCMDID, ESME_RMSGQFUL, ESME_ROK, ESME_RTHROTTLED, HEAD_BYTES, Pdu, Submit, command};

/// How often an idle connection is asked whether it lives.
const ENQUIRE_EVERY: Duration = Duration::from_secs(30);
/// Tries of a part while the centre is busy, the first included.
const BUSY_TRIES: u32 = 4;
/// Pause after the first of them; doubled.
const BUSY_FIRST: Duration = Duration::from_millis(500);
/// The longest such pause.
const BUSY_MAX: Duration = Duration::from_secs(8);
/// Pause after a connection failed; doubled, up to [`AWAY_MAX`]. Until it is over messages are refused at once.
const AWAY_FIRST: Duration = Duration::from_secs(1);
/// As above.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Most messages under way that a site may ask for.
const WINDOW_MAX: usize = 1_000;

/// A centre and the way to it.
pub(super) struct Client {
    place: Place,
    settings: Settings,
    window: Semaphore,
    state: Mutex<State>,
    reference: AtomicU32,
    receipts: Arc<Receipts>,
}

struct Settings {
    system_id: String,
    password: String,
    system_type: String,
    from: String,
    timeout: Duration,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    failures: u32,
    again_at: Option<Instant>,
}

/// One bound connection.
struct Session {
    out: Mutex<WriteHalf<Box<dyn Io>>>,
    waiting: StdMutex<HashMap<u32, oneshot::Sender<Pdu>>>,
    sequence: AtomicU32,
    over: AtomicBool,
    receipts: Arc<Receipts>,
}

/// What came of a request.
enum Asked {
    Answered(Pdu),
    /// Nothing was written.
    NotSent(String),
    /// It was written, and no answer came.
    Silent(String),
}

impl Client {
    pub(super) fn new(config: &SmsSmpp) -> Result<Self, String> {
        let scheme = if config.tls { "https" } else { "http" };
        let place = Place::parse(&format!("{scheme}://{}", config.address))
            .ok()
            .filter(|place| place.path() == "/" && place.authority().rsplit_once(':').is_some())
            .ok_or_else(|| format!("`{}` is no host and port: \"smsc.example:2775\"", config.address))?;
        let password = config.password.read()?;
        if config.system_id.is_empty() || config.system_id.len() > 15 || password.len() > 8 {
            return Err("SMPP takes a system_id of 1 to 15 bytes and a password of at most 8".to_owned());
        }
        if !(1..=WINDOW_MAX).contains(&config.window) {
            return Err(format!("`window` is 1 to {WINDOW_MAX}"));
        }
        let settings = Settings {
            system_id: config.system_id.clone(),
            password,
            system_type: config.system_type.clone(),
            from: config.from.clone(),
            timeout: config.timeout.0,
        };
        let window = Semaphore::new(config.window);
        let reference = AtomicU32::new(rand::random());
        Ok(Self { place, settings, window, state: Mutex::default(), reference, receipts: Arc::default() })
    }

    /// Submits all parts of a message; what comes back tells when one of them did not arrive.
    pub(super) async fn send(&self, to: &str, words: &str) -> Result<Fate, SmsError> {
        let mut ids = Vec::new();
        let reference = self.reference.fetch_add(1, Ordering::Relaxed).to_be_bytes()[3];
        for part in text::parts(words, reference) {
            let submit = Submit {
                from: &self.settings.from,
                to,
                with_header: part.with_header,
                data_coding: part.data_coding,
                message: &part.bytes,
            };
            ids.push(self.submit(submit.body()).await?);
        }
        Ok(self.receipts.wait_for(&ids))
    }

    /// Submits one part; the centre's id of it.
    async fn submit(&self, body: Vec<u8>) -> Result<String, SmsError> {
        let _place = self.window.acquire().await.map_err(|_| SmsError::Failed("the gateway ends".to_owned()))?;
        let mut why = String::new();
        for attempt in 1..=BUSY_TRIES {
            let session = self.session().await?;
            match session.ask(command::SUBMIT_SM, body.clone(), self.settings.timeout).await {
                Asked::Answered(answer) => match answer.status {
                    ESME_ROK => {
                        let id = answer.message_id();
                        tracing::debug!(%id, "the message centre took a part");
                        return Ok(id);
                    }
                    status @ (ESME_RTHROTTLED | ESME_RMSGQFUL) => why = format!("it is busy ({status:#x})"),
                    status => {
                        return Err(SmsError::Failed(format!("the message centre refused it: status {status:#x}")));
                    }
                },
                Asked::NotSent(error) => why = error,
                Asked::Silent(error) => return Err(SmsError::Unknown(error)),
            }
            if attempt < BUSY_TRIES {
                tokio::time::sleep(wait(BUSY_FIRST, BUSY_MAX, attempt, 0.5 + rand::random::<f64>() / 2.0)).await;
            }
        }
        Err(SmsError::Failed(format!("the message centre does not take it: {why}")))
    }

    /// The connection that is there, or a new one.
    async fn session(&self) -> Result<Arc<Session>, SmsError> {
        let mut state = self.state.lock().await;
        if let Some(session) = state.session.as_ref().filter(|session| !session.over.load(Ordering::Acquire)) {
            return Ok(Arc::clone(session));
        }
        state.session = None;
        if let Some(at) = state.again_at.filter(|at| *at > Instant::now()) {
            let left = at.saturating_duration_since(Instant::now()).as_secs() + 1;
            return Err(SmsError::Failed(format!("the message centre is away; it is tried again in {left} s")));
        }
        let bound = tokio::time::timeout(self.settings.timeout, self.bind()).await;
        match bound.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(session) => {
                (state.failures, state.again_at) = (0, None);
                state.session = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let pause = wait(AWAY_FIRST, AWAY_MAX, state.failures, 1.0);
                state.again_at = Some(Instant::now() + pause);
                Err(SmsError::Failed(format!("the message centre cannot be reached: {error}")))
            }
        }
    }

    async fn bind(&self) -> Result<Arc<Session>, String> {
        let stream = dial(&self.place, true).await?;
        let (input, out) = tokio::io::split(stream);
        let session = Arc::new(Session {
            out: Mutex::new(out),
            waiting: StdMutex::default(),
            sequence: AtomicU32::new(1),
            over: AtomicBool::new(false),
            receipts: Arc::clone(&self.receipts),
        });
        tokio::spawn(Arc::clone(&session).listen(input));
        let Settings { system_id, password, system_type, .. } = &self.settings;
        let body = Bind { system_id, password, system_type }.body();
        match session.ask(command::BIND_TRANSCEIVER, body, self.settings.timeout).await {
            Asked::Answered(answer) if answer.status == ESME_ROK => {
                tokio::spawn(enquire(Arc::downgrade(&session), self.settings.timeout));
                Ok(session)
            }
            Asked::Answered(answer) => {
                session.end();
                Err(format!("it refuses system_id or password: status {:#x}", answer.status))
            }
            Asked::NotSent(error) | Asked::Silent(error) => {
                session.end();
                Err(error)
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(session) = &self.state.get_mut().session {
            session.end();
        }
    }
}

impl Session {
    /// Asks something and waits for the answer.
    async fn ask(&self, id: u32, body: Vec<u8>, timeout: Duration) -> Asked {
        // Sequence numbers are 1 to 0x7fffffff (SMPP 3.4, 3.2).
        let sequence = (self.sequence.fetch_add(1, Ordering::Relaxed) - 1) % 0x7fff_ffff + 1;
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(sequence, answer);
        if self.over.load(Ordering::Acquire) {
            self.waiting().remove(&sequence);
            return Asked::NotSent("the connection broke".to_owned());
        }
        if let Err(error) = self.write(&Pdu::new(id, sequence, body)).await {
            self.waiting().remove(&sequence);
            self.end();
            return Asked::Silent(error.to_string());
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => Asked::Answered(answer),
            Ok(Err(_)) => Asked::Silent("the connection broke before the answer".to_owned()),
            Err(_) => {
                self.waiting().remove(&sequence);
                // What a centre says so late cannot be told from what comes next.
                self.end();
                Asked::Silent(format!("no answer within {} s", timeout.as_secs_f64()))
            }
        }
    }

    async fn write(&self, pdu: &Pdu) -> std::io::Result<()> {
        let mut out = self.out.lock().await;
        out.write_all(&pdu.encode()).await?;
        out.flush().await
    }

    /// Reads until the connection is over.
    async fn listen(self: Arc<Self>, mut input: ReadHalf<Box<dyn Io>>) {
        while let Ok(pdu) = read(&mut input).await {
            if self.over.load(Ordering::Acquire) || !self.hear(pdu).await {
                break;
            }
        }
        self.end();
        let _ = self.out.lock().await.shutdown().await;
    }

    /// Whether it goes on.
    async fn hear(&self, pdu: Pdu) -> bool {
        if pdu.id & command::RESPONSE != 0 {
            if let Some(answer) = self.waiting().remove(&pdu.sequence) {
                let _ = answer.send(pdu);
            }
            return true;
        }
        let answer = match pdu.id {
            command::ENQUIRE_LINK | command::UNBIND => pdu.answer(ESME_ROK, Vec::new()),
            command::DELIVER_SM => {
                if let Some(receipt) = pdu::receipt(&pdu.body) {
                    // The number is not in the words: the centre's own id is enough to find it there.
                    if receipt.state == "DELIVRD" {
                        tracing::debug!(id = %receipt.id, "a short message was delivered");
                    } else {
                        tracing::warn!(id = %receipt.id, state = %receipt.state, error = %receipt.error, "a short message was not delivered");
                    }
                    self.receipts.told(&receipt.id, &receipt.state, &receipt.error);
                }
                pdu.answer(ESME_ROK, vec![0])
            }
            _ => Pdu { id: command::GENERIC_NACK, status: ESME_RINVCMDID, sequence: pdu.sequence, body: Vec::new() },
        };
        self.write(&answer).await.is_ok() && pdu.id != command::UNBIND
    }

    /// Nobody waits for it any more.
    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.waiting().clear();
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u32, oneshot::Sender<Pdu>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks now and then whether the centre is there.
async fn enquire(session: std::sync::Weak<Session>, timeout: Duration) {
    loop {
        tokio::time::sleep(ENQUIRE_EVERY).await;
        let Some(session) = session.upgrade().filter(|session| !session.over.load(Ordering::Acquire)) else { return };
        if !matches!(session.ask(command::ENQUIRE_LINK, Vec::new(), timeout).await, Asked::Answered(_)) {
            return session.end();
        }
    }
}

async fn read(input: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Pdu> {
    let mut head = [0; HEAD_BYTES];
    input.read_exact(&mut head).await?;
    let (mut pdu, length) = Pdu::head(&head).map_err(std::io::Error::other)?;
    pdu.body = vec![0; length];
    input.read_exact(&mut pdu.body).await?;
    Ok(pdu)
}

#[cfg(test)]
mod tests;
