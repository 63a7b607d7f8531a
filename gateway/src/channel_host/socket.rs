//! One WebSocket at a provider, from its opening to its end.

use std::time::Duration;

use ark_conversation::channel::{Frame, In, SocketId};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::account::{Inputs, Said};
use super::limits::{PING_EVERY, REPLY_BYTES_MAX};
use super::wire::Wire;
use crate::webhooks::reach::Io;

/// How long opening may take, and taking one frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pings without a sign of life before a socket is given up.
const SILENT_PINGS: u32 = 3;

/// What a machine wants done with its socket.
#[derive(Debug)]
pub(super) enum Do {
    Send(Frame),
    Close { code: u16, reason: String },
}

/// Opens a socket and serves it until it ends; says so to the machine.
pub(super) async fn run(
    wire: std::sync::Arc<Wire>,
    socket: SocketId,
    url: String,
    todo: mpsc::Receiver<Do>,
    inputs: Inputs,
) {
    let why = match open(&wire, &url).await {
        Ok(stream) => {
            inputs.say(Said::Input(In::SocketOpen { socket, asked: None })).await;
            serve(stream, socket, todo, &inputs).await
        }
        Err(why) => why,
    };
    inputs.say(Said::SocketOver { socket, why }).await;
}

async fn open(wire: &Wire, url: &str) -> Result<WebSocketStream<Box<dyn Io>>, String> {
    let opening = async {
        let (stream, _) = wire.socket(url).await?;
        let request = url.into_client_request().map_err(|error| error.to_string())?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(REPLY_BYTES_MAX);
        config.max_frame_size = Some(REPLY_BYTES_MAX);
        let opened = client_async_with_config(request, stream, Some(config)).await;
        opened.map(|(stream, _)| stream).map_err(|error| error.to_string())
    };
    timeout(PATIENCE, opening).await.map_err(|_| "it did not open in time".to_owned())?
}

async fn serve(
    mut stream: WebSocketStream<Box<dyn Io>>,
    socket: SocketId,
    mut todo: mpsc::Receiver<Do>,
    inputs: &Inputs,
) -> String {
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        let sent = tokio::select! {
            next = stream.next() => {
                silent = 0;
                let frame = match next {
                    None => return "the provider closed it".to_owned(),
                    Some(Err(error)) => return error.to_string(),
                    Some(Ok(Message::Text(text))) => Frame::Text(text.to_string()),
                    Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes.to_vec()),
                    Some(Ok(Message::Close(close))) => {
                        let _ = timeout(PATIENCE, stream.close(None)).await;
                        return close.map_or_else(|| "the provider closed it".to_owned(), |close| format!("the provider closed it: {}", close.reason));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                };
                inputs.say(Said::Input(In::Frame { socket, frame })).await;
                continue;
            }
            next = todo.recv() => match next {
                Some(Do::Send(Frame::Text(text))) => timeout(PATIENCE, stream.send(Message::Text(text.into()))).await,
                Some(Do::Send(Frame::Binary(bytes))) => timeout(PATIENCE, stream.send(Message::Binary(bytes.into()))).await,
                Some(Do::Close { code, reason }) => {
                    let close = CloseFrame { code: code.into(), reason: Utf8Bytes::from(reason) };
                    let _ = timeout(PATIENCE, stream.close(Some(close))).await;
                    return "it was closed here".to_owned();
                }
                None => {
                    let _ = timeout(PATIENCE, stream.close(None)).await;
                    return "the gateway stops".to_owned();
                }
            },
            _ = ping.tick() => {
                silent += 1;
                if silent > SILENT_PINGS {
                    return "it is silent and answers no ping".to_owned();
                }
                timeout(PATIENCE, stream.send(Message::Ping(Vec::new().into()))).await
            }
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "it takes nothing any more".to_owned(),
        }
    }
}
