//! The publisher: one channel, a window of confirms, and everything unconfirmed again after a reconnect, in order.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
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

/// A message that was sent.
struct Sent {
    message: Outgoing,
    confirm: PublisherConfirm,
    deadline: Instant,
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
    /// Handed to the client library and not out yet; `basic_publish` does not return while the broker is blocked.
    sending: Option<(Outgoing, Sending, Instant)>,
    /// Shards of which a message was refused: what follows in them is sent again behind it.
    refused: HashSet<Shard>,
    again: Vec<Outgoing>,
    pause: Duration,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        let (window, refused, again) = (VecDeque::new(), HashSet::new(), Vec::new());
        Self { shared, link, window, sending: None, refused, again, pause: NACK_PAUSE_MIN }
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
        let sending = self.sending.take().map(|(message, ..)| message);
        let mut messages: Vec<Outgoing> = again.chain(window).chain(sending).collect();
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
            if let Some(ended) = self.settle_ready() {
                return ended;
            }
            if !self.refused.is_empty() && self.window.is_empty() && self.sending.is_none() {
                self.rest(&mut link, live.generation).await;
            }
            self.fill(channel);
            self.shared.unconfirmed.store(self.window.len(), Ordering::Relaxed);
            let is_blocked = blocked.borrow().is_some();
            let deadline = self.deadline().filter(|_| !is_blocked);
            tokio::select! {
                ended = self.progress() => if let Some(ended) = ended { return ended },
                () = shared.outbox.news.notified(), if self.sending.is_none() => {}
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

    /// Begins to send the next message when the window has room.
    fn fill(&mut self, channel: &Channel) {
        if self.sending.is_some() || self.window.len() >= self.shared.window || !self.refused.is_empty() {
            return;
        }
        let Some(message) = self.shared.outbox.take() else { return };
        let (channel, exchange, key) = (channel.clone(), message.exchange.clone(), message.key.clone());
        let properties = wire::with_attempt(&message.properties, message.attempts);
        let body = Arc::clone(&message.body);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sending = async move { channel.basic_publish(exchange, key, options, &body, properties).await };
        self.sending = Some((message, Box::pin(sending), Instant::now() + CONFIRM_TIMEOUT));
    }

    fn deadline(&self) -> Option<Instant> {
        let sending = self.sending.as_ref().map(|(.., deadline)| *deadline);
        self.window.front().map(|sent| sent.deadline).into_iter().chain(sending).min()
    }

    /// The broker had closed its ears: nothing was late.
    fn prolong(&mut self) {
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        self.window.iter_mut().for_each(|sent| sent.deadline = deadline);
        if let Some((.., sending)) = &mut self.sending {
            *sending = deadline;
        }
    }

    /// Waits until a message is out or the oldest one is confirmed.
    async fn progress(&mut self) -> Option<Ended> {
        std::future::poll_fn(|context| {
            if let Some((_, sending, _)) = &mut self.sending
                && let Poll::Ready(out) = sending.as_mut().poll(context)
            {
                let Some((message, ..)) = self.sending.take() else { return Poll::Ready(None) };
                return Poll::Ready(match out {
                    Ok(confirm) => {
                        let deadline = Instant::now() + CONFIRM_TIMEOUT;
                        self.window.push_back(Sent { message, confirm, deadline });
                        None
                    }
                    Err(_) => {
                        self.again_after_window(message);
                        Some(Ended::Channel)
                    }
                });
            }
            if let Some(sent) = self.window.front_mut()
                && let Poll::Ready(confirmed) = Pin::new(&mut sent.confirm).poll(context)
            {
                return Poll::Ready(self.settle(&confirmed));
            }
            Poll::Pending
        })
        .await
    }

    /// The channel ended while a message was going out: it stands behind everything in the window.
    fn again_after_window(&mut self, message: Outgoing) {
        let never: Sending = Box::pin(std::future::pending());
        self.sending = Some((message, never, Instant::now()));
    }

    /// Settles what is confirmed already, without waiting.
    fn settle_ready(&mut self) -> Option<Ended> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while let Some(sent) = self.window.front_mut() {
            let Poll::Ready(confirmed) = Pin::new(&mut sent.confirm).poll(&mut context) else { return None };
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
            let (exchange, key) = (message.exchange.to_string(), message.key.to_string());
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
            OnRefusal::Drop => {
                let waiting = self.shared.outbox.count();
                self.finish(message, Err(BusError::Full { waiting }));
            }
        }
        None
    }

    fn finish(&self, message: Outgoing, result: Result<(), BusError>) {
        self.shared.outbox.settled(message.body.len());
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
