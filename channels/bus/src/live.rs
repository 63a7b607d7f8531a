//! The live road inside one process: what is announced, for whoever listens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_conversation::LiveEvent;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::limits::{LIVE_EVENTS, SUBSCRIBERS_MAX};
use crate::{BusError, Missed};

/// A live event, or that some may have been missed.
type Heard = Result<Arc<LiveEvent>, Missed>;

/// What is announced here, kept for a while for each listener: the newest [`LIVE_EVENTS`].
pub(crate) struct Live {
    /// None: closed.
    sender: Mutex<Option<broadcast::Sender<Heard>>>,
    announced: AtomicU64,
}

impl Default for Live {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(LIVE_EVENTS);
        Self { sender: Mutex::new(Some(sender)), announced: AtomicU64::new(0) }
    }
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Option<broadcast::Sender<Heard>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Said by this gateway.
    pub(crate) fn announce(&self, events: impl IntoIterator<Item = Arc<LiveEvent>>) {
        let mut announced = 0;
        self.give(events.into_iter().inspect(|_| announced += 1));
        self.announced.fetch_add(announced, Ordering::Relaxed);
    }

    /// Said by this gateway or another.
    pub(crate) fn give(&self, events: impl IntoIterator<Item = Arc<LiveEvent>>) {
        let sender = self.lock();
        for event in events {
            // That nobody listens is no error.
            let _ = sender.as_ref().map(|sender| sender.send(Ok(event)));
        }
    }

    /// Others may have said something that was not heard.
    pub(crate) fn tell_of_a_hole(&self) {
        let _ = self.lock().as_ref().map(|sender| sender.send(Err(Missed::Lagged { missed: 1 })));
    }

    pub(crate) fn overhear(&self) -> Result<Overheard, BusError> {
        let sender = self.lock();
        let sender = sender.as_ref().ok_or(BusError::Closed)?;
        let subscribers = sender.receiver_count();
        if subscribers >= SUBSCRIBERS_MAX {
            return Err(BusError::TooManySubscribers { subscribers });
        }
        Ok(Overheard(sender.subscribe()))
    }

    pub(crate) fn close(&self) {
        self.lock().take();
    }

    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }
}

/// One listener's place on the live road; dropping it ends it.
pub struct Overheard(broadcast::Receiver<Heard>);

impl Overheard {
    /// The next live event, waiting for it. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// [`Missed::Lagged`] when some were not kept for this listener, or the carrier was away; [`Missed::Closed`] at the end.
    pub async fn next(&mut self) -> Result<Arc<LiveEvent>, Missed> {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(RecvError::Lagged(missed)) => Err(Missed::Lagged { missed }),
            Err(RecvError::Closed) => Err(Missed::Closed),
        }
    }

    /// The next live event if there is one now; `None` when there is not.
    pub fn try_next(&mut self) -> Option<Result<Arc<LiveEvent>, Missed>> {
        match self.0.try_recv() {
            Ok(heard) => Some(heard),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Lagged(missed)) => Some(Err(Missed::Lagged { missed })),
            Err(TryRecvError::Closed) => Some(Err(Missed::Closed)),
        }
    }
}
