//! The publisher: one channel, a window of confirms, and everything unconfirmed again after a reconnect, in order.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::time::Instant;

use super::link::{Link, Live};
use super::outbox::{OnRefusal, Outgoing};
use super::{Shared, connect, wire};
use crate::limits::{COMMAND_TIMEOUT, CONFIRM_TIMEOUT, NACK_PAUSE_MAX, NACK_PAUSE_MIN};
use crate::{BusError, Shard};

/// Times that a message may come back as unroutable before it is given up: the topology is laid anew in between.
const UNROUTABLE_MAX: u32 = 3;

type Sending = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send>>;

/// A message in the window.
struct Sent {
    message: Outgoing,
    way: Way,
    deadline: Instant,
}

/// How far a message is.
enum Way {
    /// In the hands of the client library, in its place behind those before it; that does not come back while the broker
    /// is blocked.
    Sending(Sending),
    /// Out.
    Unconfirmed(PublisherConfirm),
}

/// Why a channel is used no more.
enum Ended {
    /// The connection is gone, or does not answer.
    Connection,
    /// The channel only: it was closed, or a message came back because a queue is missing.
    Channel,
    /// The bus was closed.
    Closed,
}

pub(super) struct Publisher {
    shared: Arc<Shared>,
    link: Link,
    window: VecDeque<Sent>,
    /// Taken from the queue and not in the window yet: empty, but for its room.
    taken: Vec<Outgoing>,
    /// Messages and bytes that are settled and not yet taken off the queue's account.
    settled: (usize, usize),
    /// Shards of which a message was refused: what follows in them is sent again behind it.
    refused: HashSet<Shard>,
    again: Vec<Outgoing>,
    pause: Duration,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        let (window, refused) = (VecDeque::new(), HashSet::new());
        let (taken, again) = (Vec::new(), Vec::new());
        Self { shared, link, window, taken, settled: (0, 0), refused, again, pause: NACK_PAUSE_MIN }
    }

    /// Runs until the bus is closed.
    pub(super) async fn run(mut self) {
        while let Some(live) = self.link.up().await {
            let ended = match open(&live).await {
                Some(channel) => self.pump(&live, &channel).await,
                None => Ended::Connection,
            };
            self.take_back();
            match ended {
                Ended::Closed => break,
                Ended::Connection => {
                    self.link.report_dead(live.generation);
                    self.link.gone(live.generation).await;
                }
                Ended::Channel => {
                    // The connection lives: only the channel is made anew, and what may be missing is declared.
                    if let Err(error) = self.shared.prepare(&live.broker, &live.connection).await {
                        tracing::warn!(%error, "the topology cannot be declared");
                        self.link.report_dead(live.generation);
                        self.link.gone(live.generation).await;
                    }
                }
            }
        }
        self.take_back();
        self.shared.outbox.close();
    }

    /// Everything that is not confirmed goes back to the front of the queue, in the order in which it was sent.
    fn take_back(&mut self) {
        let again = std::mem::take(&mut self.again).into_iter();
        let window = self.window.drain(..).map(|sent| sent.message);
        let mut messages: Vec<Outgoing> = again.chain(window).collect();
        for message in &mut messages {
            message.attempts += 1;
        }
        self.shared.counters.republished.fetch_add(messages.len() as u64, Ordering::Relaxed);
        self.shared.unconfirmed.store(0, Ordering::Relaxed);
        self.refused.clear();
        self.shared.outbox.put_back(messages.into_iter());
    }

    /// Sends and settles until something ends it.
    async fn pump(&mut self, live: &Live, channel: &Channel) -> Ended {
        let mut blocked = live.blocked.subscribe();
        let shared = Arc::clone(&self.shared);
        let mut link = self.link.clone();
        loop {
            if !self.refused.is_empty() && self.window.is_empty() {
                self.rest(&mut link, live.generation).await;
            }
            self.shared.unconfirmed.store(self.window.len(), Ordering::Relaxed);
            let is_blocked = blocked.borrow().is_some();
            let deadline = self.window.front().map(|sent| sent.deadline).filter(|_| !is_blocked);
            tokio::select! {
                ended = self.progress(channel, is_blocked) => if let Some(ended) = ended { return ended },
                () = shared.outbox.news.notified() => {}
                () = link.gone(live.generation) => return self.closed_or(Ended::Connection),
                _ = blocked.changed() => if blocked.borrow().is_none() { self.prolong() },
                () = until(deadline) => {
                    tracing::warn!(broker = %live.broker, "no confirm within {CONFIRM_TIMEOUT:?}");
                    return Ended::Connection;
                }
            }
        }
    }

    fn closed_or(&self, ended: Ended) -> Ended {
        if *self.shared.closing.borrow() { Ended::Closed } else { ended }
    }

    /// Settles what is confirmed and fills the window again, all that can be at once; waits while neither is possible.
    async fn progress(&mut self, channel: &Channel, blocked: bool) -> Option<Ended> {
        std::future::poll_fn(|context| {
            let before = self.window.len();
            let ended = self.settle_ready(context);
            let moved = self.window.len() != before;
            let (messages, bytes) = std::mem::take(&mut self.settled);
            if messages > 0 {
                self.shared.outbox.settled(messages, bytes);
            }
            if ended.is_some() {
                return Poll::Ready(ended);
            }
            let sent = !blocked && self.fill(channel);
            if moved || sent { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Hands the client library as many messages as the window has room for, in order; whether it was any.
    ///
    /// Each is on its way once its future was polled the first time, so none waits until the one before it is out: the
    /// library writes them to the socket together. What comes of them is looked at when they are the oldest.
    fn fill(&mut self, channel: &Channel) -> bool {
        let room = self.shared.window.saturating_sub(self.window.len());
        if room == 0 || !self.refused.is_empty() {
            return false;
        }
        self.shared.outbox.take(room, &mut self.taken);
        if self.taken.is_empty() {
            return false;
        }
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let mut context = Context::from_waker(Waker::noop());
        for message in self.taken.drain(..) {
            let (exchange, key, properties) = wire::envelope(&message, &self.shared);
            let (channel, body) = (channel.clone(), Arc::clone(&message.body));
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let mut sending: Sending =
                Box::pin(async move { channel.basic_publish(exchange, key, options, &body, properties).await });
            let way = match sending.as_mut().poll(&mut context) {
                Poll::Ready(Ok(confirm)) => Way::Unconfirmed(confirm),
                // It is told again when it is the oldest.
                Poll::Ready(Err(error)) => Way::Sending(Box::pin(std::future::ready(Err(error)))),
                Poll::Pending => Way::Sending(sending),
            };
            self.window.push_back(Sent { message, way, deadline });
        }
        true
    }

    /// The broker had closed its ears: nothing was late.
    fn prolong(&mut self) {
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        self.window.iter_mut().for_each(|sent| sent.deadline = deadline);
    }

    /// Settles the oldest messages as far as they are confirmed.
    fn settle_ready(&mut self, context: &mut Context<'_>) -> Option<Ended> {
        while let Some(sent) = self.window.front_mut() {
            if let Way::Sending(sending) = &mut sent.way {
                match sending.as_mut().poll(context) {
                    Poll::Ready(Ok(confirm)) => sent.way = Way::Unconfirmed(confirm),
                    // It stays where it is: everything in the window goes back.
                    Poll::Ready(Err(_)) => {
                        sent.way = Way::Sending(Box::pin(std::future::pending()));
                        return Some(Ended::Channel);
                    }
                    Poll::Pending => return None,
                }
            }
            let Way::Unconfirmed(confirm) = &mut sent.way else { return None };
            let Poll::Ready(confirmed) = Pin::new(confirm).poll(context) else { return None };
            if let Some(ended) = self.settle(&confirmed) {
                return Some(ended);
            }
        }
        None
    }

    /// Settles the oldest message of the window. Only a bare acknowledgement is a success.
    fn settle(&mut self, confirmed: &lapin::Result<Confirmation>) -> Option<Ended> {
        let returned = match confirmed {
            Ok(Confirmation::Ack(None)) => {
                let sent = self.window.pop_front()?;
                if self.refused.contains(&sent.message.shard) && sent.message.on_refusal == OnRefusal::OfferAgain {
                    // It overtook one that was refused: it comes again behind it, so that the order holds.
                    self.again.push(sent.message);
                } else {
                    self.pause = NACK_PAUSE_MIN;
                    self.shared.counters.confirmed.fetch_add(1, Ordering::Relaxed);
                    self.finish(sent.message, Ok(()));
                }
                return None;
            }
            Ok(Confirmation::Ack(Some(_)) | Confirmation::NotRequested) => true,
            Ok(Confirmation::Nack(_)) => false,
            // The channel or the connection ended: everything in the window goes back.
            Err(_) => return Some(Ended::Channel),
        };
        let sent = self.window.pop_front()?;
        if returned { self.settle_returned(sent.message) } else { self.settle_refused(sent.message) }
    }

    /// No queue wanted it.
    fn settle_returned(&mut self, message: Outgoing) -> Option<Ended> {
        let commanded = message.on_refusal == OnRefusal::Drop;
        if commanded || message.attempts >= UNROUTABLE_MAX {
            let (exchange, key, _) = wire::envelope(&message, &self.shared);
            let (exchange, key) = (exchange.to_string(), key.to_string());
            self.finish(message, Err(BusError::Unroutable { exchange, key }));
            return None;
        }
        // A queue is missing: what stands is declared anew, then it is sent again.
        self.again.push(message);
        Some(Ended::Channel)
    }

    /// The broker has no room for it.
    fn settle_refused(&mut self, message: Outgoing) -> Option<Ended> {
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        match message.on_refusal {
            OnRefusal::OfferAgain => {
                self.refused.insert(message.shard);
                self.again.push(message);
            }
            OnRefusal::Tell(shard) => self.finish(message, Err(BusError::ShardFull { shard })),
            OnRefusal::Say => {
                let (exchange, key, _) = wire::envelope(&message, &self.shared);
                let full = format!("{exchange}.{key} is full: its reader does not keep up");
                self.finish(message, Err(BusError::Broker(full)));
            }
            OnRefusal::Drop => {
                let waiting = self.shared.outbox.count();
                self.finish(message, Err(BusError::Full { waiting }));
            }
        }
        None
    }

    fn finish(&mut self, message: Outgoing, result: Result<(), BusError>) {
        self.settled.0 += 1;
        self.settled.1 += message.body.len();
        match result {
            Ok(()) => message.stub.carried(),
            Err(error) => message.stub.failed(error),
        }
    }

    /// After a refusal: a pause, then what was refused and what had overtaken it go out again, in order.
    async fn rest(&mut self, link: &mut Link, generation: u64) {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(NACK_PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = link.gone(generation) => {}
        }
        self.take_back();
    }
}

async fn open(live: &Live) -> Option<Channel> {
    let channel = connect::channel(&live.broker, &live.connection).await.ok()?;
    let select = channel.confirm_select(ConfirmSelectOptions::default());
    connect::timed(&live.broker, COMMAND_TIMEOUT, select).await.ok()?;
    Some(channel)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits until everything that was handed over is settled.
pub(super) async fn drained(shared: &Shared) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while shared.outbox.count() > 0 {
        look.tick().await;
    }
}

/// How many messages are in the window.
pub(super) fn unconfirmed(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
