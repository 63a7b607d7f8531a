//! Which shard's queue has stopped giving although messages wait in it.
//!
//! A broker may stop delivering to a single active consumer and say nothing (rabbitmq/rabbitmq-server issues 14141 and 17317 tell of
//! two ways); the cure is to subscribe anew. So a shard that gave nothing for a while, and of which the reader holds nothing, is asked
//! how many messages wait; when some do, twice in a row, the channel is made anew, and the broker gives them to the next one. A
//! queue without a leader looks the same for its moments; then nothing is lost by it.

use std::sync::Arc;

use crate::limits::STALL_TICKS_MAX;

/// A delivery that the reader has not settled yet; dropping it says that it is no more in its hands.
#[derive(Clone, Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "counted by its references")] Arc<()>);

/// What is known of one shard. A tick is [`crate::limits::STALL_CHECK`].
#[derive(Debug)]
pub(super) struct Watch {
    held: Arc<()>,
    gave: bool,
    /// Ticks since the last delivery, or since the channel was made.
    quiet: u32,
    /// Quiet ticks before it is asked; doubled by each stall, so that a queue that another reader has costs little.
    patience: u32,
    /// Messages waited when it was last asked.
    waited: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { held: Arc::default(), gave: false, quiet: 0, patience: 1, waited: false }
    }
}

impl Watch {
    /// It gave a delivery.
    pub(super) fn gave(&mut self) -> Held {
        self.gave = true;
        Held(Arc::clone(&self.held))
    }

    /// A tick passed. True when the broker should be asked how many messages wait.
    pub(super) fn tick(&mut self) -> bool {
        if std::mem::take(&mut self.gave) {
            *self = Self { held: Arc::clone(&self.held), ..Self::default() };
            return false;
        }
        self.quiet = self.quiet.saturating_add(1);
        let holds = Arc::strong_count(&self.held) > 1;
        if holds {
            self.waited = false;
        }
        !holds && self.quiet >= self.patience
    }

    /// The broker says how many messages wait. True when they wait in vain.
    pub(super) fn waiting(&mut self, messages: u32) -> bool {
        let stalled = messages > 0 && self.waited && !self.gave;
        self.waited = messages > 0;
        stalled
    }

    /// The channel is made anew; `stalled` when it was because of this shard.
    pub(super) fn anew(&mut self, stalled: bool) {
        let patience = if stalled { (self.patience * 2).min(STALL_TICKS_MAX) } else { self.patience };
        *self = Self { patience, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_wait_twice_while_nothing_is_given_or_held_wait_in_vain() {
        let mut watch = Watch::default();
        assert!(watch.tick());
        assert!(!watch.waiting(7), "once may be chance");
        assert!(watch.tick());
        assert!(watch.waiting(7));
    }

    #[test]
    fn an_empty_queue_one_that_gives_and_one_whose_messages_the_reader_holds_are_well() {
        let mut watch = Watch::default();
        for _ in 0..5 {
            assert!(watch.tick());
            assert!(!watch.waiting(0));
        }
        assert!(watch.tick());
        assert!(!watch.waiting(3));
        let held = watch.gave();
        assert!(!watch.tick(), "it gave");
        assert!(!watch.tick(), "the reader holds one");
        drop(held);
        assert!(watch.tick());
        assert!(!watch.waiting(3), "what it was told before the delivery does not count");
        watch.gave();
        assert!(!watch.waiting(3), "it gave while it was asked");
    }

    #[test]
    fn a_queue_that_stalls_again_and_again_is_asked_more_and_more_seldom() {
        let mut watch = Watch::default();
        let mut asked = Vec::new();
        for tick in 0_u32..600 {
            if watch.tick() {
                asked.push(tick);
                if watch.waiting(1) {
                    watch.anew(true);
                }
            }
        }
        assert!((10..80).contains(&asked.len()), "{asked:?}");
        watch.gave();
        assert!(!watch.tick());
        assert!(watch.tick(), "after a delivery it is asked at once again");
    }
}
