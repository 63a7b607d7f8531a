//! Joining history and the live feed of one conversation: each record once, in order.

/// What a record is to a reader that stands at a place in a conversation's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The next one: show it. The cursor has moved on.
    Next,
    /// Seen before: skip it.
    Old,
    /// Records are missing before it: read the store after `after`, feed what it gives through the cursor, then this
    /// one again.
    Gap {
        /// The last `seq` that was seen.
        after: u64,
    },
}

/// A reader's place in one conversation's log: the last `seq` that it has seen.
///
/// The way to follow a conversation: subscribe; read the store after the cursor until it gives nothing more; then
/// take records from the subscription. On [`Seen::Gap`] and on [`crate::Missed::Lagged`] read the store again.
/// Nothing is shown twice or skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    seen: u64,
}

impl Cursor {
    /// Stands after record `seq`; 0 is before the first.
    #[must_use]
    pub const fn after(seq: u64) -> Self {
        Self { seen: seq }
    }

    /// The last `seq` seen: what to read the store after.
    #[must_use]
    pub const fn seen(self) -> u64 {
        self.seen
    }

    /// Tells what record `seq` is to this reader, and moves on when it is the next one.
    pub const fn accept(&mut self, seq: u64) -> Seen {
        if seq <= self.seen {
            Seen::Old
        } else if seq == self.seen + 1 {
            self.seen = seq;
            Seen::Next
        } else {
            Seen::Gap { after: self.seen }
        }
    }
}
