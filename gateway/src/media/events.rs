//! Events on their way to the call core: a bounded channel, and what waits when it is full.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::{
    api::{Event, LegId},
    limits::EVENT_BACKLOG,
    metrics::ThreadMetrics,
};

/// The sending side of one thread. Nothing is lost while the core is slow: events wait here in order, and a thread
/// whose backlog is long takes no more commands, which bounds it.
pub(crate) struct EventOut {
    sender: Sender<Event>,
    waiting: VecDeque<Event>,
    metrics: Option<Arc<ThreadMetrics>>,
}

impl EventOut {
    pub(crate) fn new(sender: Sender<Event>, metrics: Option<Arc<ThreadMetrics>>) -> Self {
        Self { sender, waiting: VecDeque::new(), metrics }
    }

    /// Sends, or keeps. True: it waits.
    pub(crate) fn push(&mut self, event: Event) -> bool {
        if self.waiting.is_empty() {
            match self.sender.try_send(event) {
                Ok(()) => return false,
                // The core is gone: nobody is left to tell.
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(event)) => self.waiting.push_back(event),
            }
        } else {
            self.waiting.push_back(event);
        }
        self.count();
        true
    }

    /// Sends what waits, as far as the channel takes it; `sent` is told whose event went.
    pub(crate) fn flush(&mut self, mut sent: impl FnMut(LegId)) {
        if self.waiting.is_empty() {
            return;
        }
        while let Some(event) = self.waiting.pop_front() {
            let leg = event.leg();
            match self.sender.try_send(event) {
                Ok(()) => sent(leg),
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(64);
        }
        self.count();
    }

    /// Whether something waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether so much waits that no new work may be taken.
    pub(crate) fn is_stuck(&self) -> bool {
        self.waiting.len() >= EVENT_BACKLOG
    }

    fn count(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.events_waiting.store(self.waiting.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_channel_keeps_events_in_order_and_a_closed_one_forgets_them() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut out = EventOut::new(sender, None);
        let event = |leg| Event::RtpTimeout { leg: LegId(leg) };
        assert_eq!([0, 1, 2, 3].map(|leg| out.push(event(leg))), [false, false, true, true]);
        let mut got = vec![receiver.try_recv().unwrap().leg().0];
        assert!(out.push(event(4)), "an event does not overtake those that wait");
        let mut flushed = Vec::new();
        out.flush(|leg| flushed.push(leg.0));
        assert_eq!(flushed, [2]);
        while out.is_waiting() {
            got.push(receiver.try_recv().unwrap().leg().0);
            out.flush(|_| {});
        }
        got.extend(std::iter::from_fn(|| receiver.try_recv().ok()).map(|event| event.leg().0));
        assert_eq!(got, [0, 1, 2, 3, 4]);
        drop(receiver);
        assert!(!out.push(event(5)));
        assert!(!out.is_waiting());
    }
}
