//! Reading along: what is said in calls, in words, while it is said.
//!
//! The switch says which legs are listened to ([`Order`]); media threads copy their packets into a [`crate::media::Tap`] and go on.
//! One thread listens to all legs ([`listen`]): it lays their packets out, finds who speaks, and asks engines; a few threads at the
//! lowest priority compute ([`workers`]), or tasks talk to a server ([`socket`]). Finals go to the log, partials to those who look
//! just now, and both to the switch, whose plans may hear them. Whatever fails here is counted, said in `ark doctor`, metrics and
//! the log of the conversation, and never touches the call.

pub mod engines;
pub mod file;
mod kept;
pub mod known;
mod later;
pub(crate) mod limits;
mod listen;
pub mod models;
mod socket;
mod status;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::Role;
use ark_conversation::{ConversationId, LegId as LegNumber, Live, Tenant};
use ark_transcribe::Language;
use crossbeam_channel::{Sender, bounded};

use crate::config::{Config, SpeechEngine};
use crate::conversations::LogSink;
use crate::media::{LegId, Tap};

pub use listen::settled;
pub use status::{Health, SpeechView, Status};

/// What the switch says.
#[derive(Debug)]
pub enum Order {
    /// Listen to a leg.
    Begin(Box<LegInfo>),
    /// What is expected on it from now on.
    Ask {
        /// Which leg.
        leg: LegId,
        /// What.
        ask: Box<Ask>,
    },
    /// It is not listened to any more.
    End {
        /// Which leg.
        leg: LegId,
    },
    /// A call is recorded from now on.
    Recording {
        /// Which call.
        conversation: ConversationId,
        /// When its first sample was.
        began: Instant,
        /// Its name.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Whether each leg has a channel.
        legs: bool,
    },
    /// The recording is complete.
    Recorded {
        /// Which call.
        conversation: ConversationId,
        /// Its name.
        name: String,
    },
}

/// What is expected of somebody: by a plan that asks, or of people who talk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// What is spoken; none: not known.
    pub language: Option<Language>,
    /// A plan's endpoints: pre-roll, pause, longest.
    pub endpointing: Option<(Duration, Duration, Duration)>,
    /// Phrases that are likely.
    pub hints: Vec<String>,
    /// What is said belongs to the plan alone: to no log, no page, and no engine outside.
    pub secret: bool,
}

/// A leg that is listened to.
#[derive(Clone, Debug)]
pub struct LegInfo {
    /// The media leg.
    pub leg: LegId,
    /// Whose data it is.
    pub tenant: Tenant,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The call's source in the log.
    pub source: String,
    /// The leg's number in the conversation.
    pub number: LegNumber,
    /// Who is there.
    pub speaker: Role,
    /// When the customer's leg was answered: all times count from there.
    pub zero: Instant,
    /// What is expected at first.
    pub ask: Ask,
}

/// What the switch hears of a leg.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Somebody began to speak.
    Began,
    /// What they said.
    Said {
        /// The words, as they were read: for the plan alone.
        text: String,
        /// 0 to 1, where the engine says it.
        confidence: Option<f32>,
        /// What was spoken.
        language: Option<Language>,
    },
    /// They said something that could not be read.
    NotUnderstood,
}

/// Where what is heard goes.
pub trait Hearers: Send + Sync {
    /// To the switch. Never waits.
    fn switch(&self, leg: LegId, heard: Heard);
    /// To those who look just now. Never waits.
    fn live(&self, live: Live);
}

/// The switch's way to the thread that listens. Never waits.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: Sender<Order>,
    status: Arc<Status>,
}

impl Orders {
    /// Leaves an order. What finds no room is counted: that leg is not read.
    pub fn give(&self, order: Order) {
        if self.sender.try_send(order).is_err() {
            self.status.count(&self.status.orders_lost);
        }
    }
}

/// What reads along, made before the media engine, which needs its tap.
pub struct Prepared {
    /// For the media threads.
    pub tap: Tap,
    /// For the switch.
    pub orders: Orders,
    packets: crossbeam_channel::Receiver<crate::media::TapPacket>,
    order_queue: crossbeam_channel::Receiver<Order>,
    status: Arc<Status>,
    engine: engines::Made,
}

/// Prepares what `[speech]` says; `None`: nobody reads along. What is wrong with the engine is said by [`Status`], and tried again:
/// it never keeps a gateway from starting.
#[must_use]
pub fn prepare(config: &Config) -> Option<Prepared> {
    if config.speech.engine == SpeechEngine::Off {
        return None;
    }
    let (tap, packets) = Tap::new();
    let (sender, order_queue) = bounded(limits::ORDERS);
    let engine = engines::make(&config.speech);
    let status = Arc::new(Status::new(&config.speech, tap.clone()));
    Some(Prepared { tap, orders: Orders { sender, status: Arc::clone(&status) }, packets, order_queue, status, engine })
}

/// Who reads along, while the gateway runs.
pub struct Speech {
    status: Arc<Status>,
    listener: Option<std::thread::JoinHandle<()>>,
    stop: Sender<()>,
}

impl Speech {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(
        config: &Config,
        prepared: Prepared,
        log: LogSink,
        hearers: Arc<dyn Hearers>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let parts = listen::Parts {
            config: config.speech.clone(),
            packets: prepared.packets,
            orders: prepared.order_queue,
            stopped,
            status: Arc::clone(&prepared.status),
            engine: prepared.engine,
            log,
            hearers,
            runtime: tokio::runtime::Handle::current(),
            later: config.files.folder().join("speech-later.json"),
        };
        let listener = std::thread::Builder::new().name("ark-speech".to_owned()).spawn(move || listen::run(parts))?;
        Ok(Self { status: prepared.status, listener: Some(listener), stop })
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Reads what is being read, within [`limits::STOP_MAX`], and ends.
    pub async fn end(mut self) {
        let _ = self.stop.try_send(());
        let Some(listener) = self.listener.take() else { return };
        let joined = tokio::task::spawn_blocking(move || listener.join());
        let _ = tokio::time::timeout(limits::STOP_MAX + Duration::from_secs(1), joined).await;
    }
}
