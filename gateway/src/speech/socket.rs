//! Connections to servers that are fed: one for each utterance, from its first voice to its answer.

use std::sync::Arc;
use std::time::Duration;

use ark_transcribe::engine::{Answer, Dialogue, Frame};
use ark_transcribe::limits::ANSWER_BYTES_MAX;
use ark_transcribe::{EngineError, Recognised};
use crossbeam_channel::Sender;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::engines::Server;
use crate::media::LegId;
use crate::webhooks::reach::{Io, Place, dial};

/// What an utterance's connection hears.
pub(super) enum ToServer {
    /// More of the voice, at 16 kHz.
    Audio(Arc<[i16]>),
    /// That was all.
    Finish,
}

/// What it says.
pub(super) struct FromServer {
    pub(super) leg: LegId,
    pub(super) utterance: u32,
    pub(super) said: Talk,
}

/// See there.
pub(super) enum Talk {
    SoFar { text: String, settled: usize },
    Done(Result<Recognised, EngineError>),
}

/// How often it is looked whether the server is overdue.
const LOOK: Duration = Duration::from_millis(100);

/// Serves an utterance to its end. Whatever happens, it says [`Talk::Done`] once.
pub(super) async fn run(
    server: Arc<Server>,
    (leg, utterance): (LegId, u32),
    mut talk: Box<dyn Dialogue>,
    mut feed: mpsc::Receiver<ToServer>,
    said: Sender<FromServer>,
) {
    let say = |talk: Talk| {
        // The thread that listens has gone: there is nobody to tell.
        let _ = said.try_send(FromServer { leg, utterance, said: talk });
    };
    match timeout(server.timeout, open(&server.url)).await {
        Ok(Ok(stream)) => {
            let answer = serve(&server, stream, talk.as_mut(), &mut feed, &say).await;
            say(Talk::Done(answer));
        }
        Ok(Err(why)) => say(Talk::Done(Err(EngineError::Retry(format!("{}: {why}", server.url))))),
        Err(_) => say(Talk::Done(Err(EngineError::Late(server.timeout)))),
    }
}

async fn open(url: &str) -> Result<WebSocketStream<Box<dyn Io>>, String> {
    let place = Place::parse(&url.replacen("ws", "http", 1))?;
    // Where the site's own file says that its server is, it is.
    let stream = dial(&place, true).await?;
    let request = url.into_client_request().map_err(|error| error.to_string())?;
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(ANSWER_BYTES_MAX);
    config.max_frame_size = Some(ANSWER_BYTES_MAX);
    let opened = client_async_with_config(request, stream, Some(config)).await;
    opened.map(|(stream, _)| stream).map_err(|error| error.to_string())
}

async fn serve(
    server: &Server,
    mut stream: WebSocketStream<Box<dyn Io>>,
    talk: &mut dyn Dialogue,
    feed: &mut mpsc::Receiver<ToServer>,
    say: &impl Fn(Talk),
) -> Result<Recognised, EngineError> {
    let mut finished: Option<Instant> = None;
    let mut look = tokio::time::interval(LOOK);
    loop {
        while let Some(frame) = talk.transmit() {
            let message = match frame {
                Frame::Text(text) => Message::Text(text.into()),
                Frame::Binary(bytes) => Message::Binary(bytes.into()),
            };
            match timeout(server.timeout, stream.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => talk.closed(),
                Err(_) => return Err(EngineError::Late(server.timeout)),
            }
        }
        while let Some(answer) = talk.poll() {
            match answer {
                Answer::SoFar { text, settled } => say(Talk::SoFar { text, settled }),
                Answer::Done(answer) => {
                    // Politeness: the answer is there.
                    let _ = timeout(LOOK, stream.close(None)).await;
                    return answer;
                }
            }
        }
        tokio::select! {
            next = stream.next() => match next {
                Some(Ok(Message::Text(text))) => talk.receive(&Frame::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => talk.receive(&Frame::Binary(bytes.to_vec())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => talk.closed(),
            },
            next = feed.recv(), if finished.is_none() => match next {
                Some(ToServer::Audio(samples)) => talk.audio(&samples),
                Some(ToServer::Finish) | None => {
                    talk.finish();
                    finished = Some(Instant::now());
                }
            },
            _ = look.tick() => if let Some(since) = finished {
                talk.waited(since.elapsed(), server.timeout);
            },
        }
    }
}
