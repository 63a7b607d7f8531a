//! What became of messages that were handed over.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::BusError;

/// Resolves when the carrier has every message that was handed over in one call, or has given one of them up.
///
/// Dropping it changes nothing: the messages are carried all the same.
#[derive(Debug)]
#[must_use = "await it to know that the carrier has the messages, or drop it on purpose"]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Done(Result<(), BusError>),
    Waiting(oneshot::Receiver<Result<(), BusError>>),
}

impl Receipt {
    pub(crate) const fn done() -> Self {
        Self(State::Done(Ok(())))
    }

    /// A stub of a receipt that nobody waits for.
    pub(crate) fn stray() -> Stub {
        Stub { shared: Arc::new(Shared(Mutex::new((None, Ok(()))))), carried: false }
    }

    /// A receipt and the stubs that complete it, one for each of `count` messages.
    pub(crate) fn of(count: usize) -> (Self, Vec<Stub>) {
        if count == 0 {
            return (Self::done(), Vec::new());
        }
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::new(Shared(Mutex::new((Some(sender), Ok(())))));
        let stubs = (0..count).map(|_| Stub { shared: Arc::clone(&shared), carried: false }).collect();
        (Self(State::Waiting(receiver)), stubs)
    }
}

impl Future for Receipt {
    type Output = Result<(), BusError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Done(result) => Poll::Ready(result.clone()),
            // The bus was dropped with the message still waiting.
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|sent| sent.unwrap_or(Err(BusError::Closed)))
            }
        }
    }
}

type Told = (Option<oneshot::Sender<Result<(), BusError>>>, Result<(), BusError>);

#[derive(Debug)]
struct Shared(Mutex<Told>);

impl Drop for Shared {
    fn drop(&mut self) {
        let (sender, result) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.take() {
            let _ = sender.send(result.clone());
        }
    }
}

/// One message's part of a receipt: the last one to go completes it. One that is dropped without a word was not carried.
#[derive(Debug)]
pub(crate) struct Stub {
    shared: Arc<Shared>,
    carried: bool,
}

impl Stub {
    /// The carrier has it.
    pub(crate) fn carried(mut self) {
        self.carried = true;
    }

    /// It was given up; the first reason is the receipt's.
    pub(crate) fn failed(mut self, error: BusError) {
        self.tell(error);
        self.carried = true;
    }

    fn tell(&mut self, error: BusError) {
        let mut told = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.1.is_ok() {
            told.1 = Err(error);
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if !self.carried {
            self.tell(BusError::Closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_resolves_with_its_last_message_and_tells_the_first_failure() {
        assert_eq!(Receipt::of(0).0.await, Ok(()));
        let (mut receipt, mut stubs) = Receipt::of(3);
        stubs.pop().unwrap().carried();
        stubs.pop().unwrap().failed(BusError::Full { waiting: 1 });
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut receipt).poll(&mut context).is_pending());
        stubs.pop().unwrap().failed(BusError::Closed);
        assert_eq!(receipt.await, Err(BusError::Full { waiting: 1 }));
        let (receipt, stubs) = Receipt::of(2);
        drop(stubs);
        assert_eq!(receipt.await, Err(BusError::Closed), "what was dropped unsent was not carried");
    }
}
