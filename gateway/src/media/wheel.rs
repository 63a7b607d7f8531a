//! When each leg sends: 20 slots of one millisecond, by absolute deadlines. Pure: the time is an argument.

use super::{
    limits::{CATCH_UP_FRAMES, FRAME, SLOT, SLOTS},
    sys::nanos,
};

/// Where a leg stands in the wheel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    slot: u8,
    position: u16,
}

impl Seat {
    /// Which slot it is in.
    pub(crate) fn slot(self) -> usize {
        usize::from(self.slot)
    }
}

/// Which legs send in which slot. A new leg sits down in the emptiest one, so that the load is even over the 20 ms.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    slots: [Vec<u16>; SLOTS],
}

impl Wheel {
    /// Seats a leg.
    pub(crate) fn add(&mut self, leg: u16) -> Seat {
        let slot = (0..SLOTS).min_by_key(|slot| self.slots[*slot].len()).unwrap_or(0);
        self.slots[slot].push(leg);
        Seat { slot: slot as u8, position: (self.slots[slot].len() - 1) as u16 }
    }

    /// Seats a leg half a round from its other seat: it sends twice in a round.
    pub(crate) fn add_opposite(&mut self, leg: u16, seat: Seat) -> Seat {
        let slot = (usize::from(seat.slot) + SLOTS / 2) % SLOTS;
        self.slots[slot].push(leg);
        Seat { slot: slot as u8, position: (self.slots[slot].len() - 1) as u16 }
    }

    /// Frees a seat. `Some`: that leg has moved to that position of the same slot.
    pub(crate) fn remove(&mut self, seat: Seat) -> Option<(u16, Seat)> {
        let slot = &mut self.slots[usize::from(seat.slot)];
        slot.swap_remove(usize::from(seat.position));
        if slot.is_empty() {
            slot.shrink_to_fit();
        }
        slot.get(usize::from(seat.position)).map(|moved| (*moved, seat))
    }

    /// The `position`th leg of a slot.
    pub(crate) fn leg(&self, slot: usize, position: usize) -> Option<u16> {
        self.slots[slot].get(position).copied()
    }

    /// How many legs are in each slot.
    #[cfg(test)]
    pub(crate) fn load(&self) -> [usize; SLOTS] {
        std::array::from_fn(|slot| self.slots[slot].len())
    }
}

/// A slot that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// Which.
    pub(crate) slot: usize,
    /// When it should have begun.
    pub(crate) at_ns: u64,
    /// Frames of every leg that a stall has made too old to be sent: skip them first.
    pub(crate) skip_frames: u32,
}

/// Steps through the slots by deadlines that do not depend on when they were met, so that no delay adds up.
#[derive(Debug)]
pub(crate) struct Pace {
    next_ns: u64,
    slot: usize,
}

impl Pace {
    /// The first slot is due at `start_ns`.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self { next_ns: start_ns, slot: 0 }
    }

    /// When the next slot is due.
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// The next slot, if it is due. After a stall every missed slot is due at once, up to [`CATCH_UP_FRAMES`] rounds;
    /// what is older is skipped.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<Due> {
        let behind = now_ns.checked_sub(self.next_ns)?;
        let missed = u32::try_from(behind / nanos(FRAME)).unwrap_or(u32::MAX);
        let skip_frames = missed.saturating_sub(CATCH_UP_FRAMES);
        self.next_ns += u64::from(skip_frames) * nanos(FRAME);
        let due = Due { slot: self.slot, at_ns: self.next_ns, skip_frames };
        self.next_ns += nanos(SLOT);
        self.slot = (self.slot + 1) % SLOTS;
        Some(due)
    }

    /// Whether a whole frame was missed.
    pub(crate) fn has_stalled(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.next_ns) >= nanos(FRAME)
    }

    /// Nothing was to be sent for a while: go on from now, without catching up.
    pub(crate) fn restart(&mut self, now_ns: u64) {
        self.next_ns = self.next_ns.max(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn legs_spread_evenly_and_stay_even_when_some_leave() {
        let mut wheel = Wheel::default();
        let mut seats: Vec<_> = (0..1_000).map(|leg| wheel.add(leg)).collect();
        assert_eq!(wheel.load(), [50; SLOTS]);
        for leg in (0..1_000).step_by(3) {
            if let Some((moved, seat)) = wheel.remove(seats[leg]) {
                seats[usize::from(moved)] = seat;
            }
        }
        for leg in (1..1_000).filter(|leg| leg % 3 != 0) {
            let Seat { slot, position } = seats[leg];
            assert_eq!(wheel.leg(usize::from(slot), usize::from(position)), Some(leg as u16));
        }
        for leg in 2_000..2_334 {
            wheel.add(leg);
        }
        assert_eq!(wheel.load(), [50; SLOTS]);
    }

    #[test]
    fn slots_are_a_millisecond_apart_whenever_they_are_looked_at() {
        let mut pace = Pace::new(100 * MS);
        assert_eq!(pace.due(100 * MS - 1), None);
        for slot in 0..45_u64 {
            let now = (100 + slot) * MS + 300_000 * (slot % 3);
            let due = pace.due(now).unwrap();
            assert_eq!((due.slot as u64, due.at_ns, due.skip_frames), (slot % 20, (100 + slot) * MS, 0));
            assert_eq!(pace.due(now), None);
        }
    }

    #[test]
    fn a_stall_is_a_frame_that_was_missed() {
        let mut pace = Pace::new(0);
        assert!(!pace.has_stalled(19 * MS));
        assert!(pace.has_stalled(20 * MS));
        while pace.due(20 * MS).is_some() {}
        assert!(!pace.has_stalled(20 * MS));
    }

    #[test]
    fn a_stall_of_three_frames_is_caught_up_and_leaves_nobody_late() {
        let mut pace = Pace::new(0);
        let now = 79 * MS;
        let sent = std::iter::from_fn(|| pace.due(now)).inspect(|due| assert_eq!(due.skip_frames, 0)).count();
        assert_eq!(sent, 80);
        assert_eq!(pace.next_ns(), 80 * MS);
    }

    #[test]
    fn a_longer_stall_is_caught_up_by_three_frames_and_the_rest_skipped_once() {
        let mut pace = Pace::new(0);
        let now = 1_000 * MS;
        let first = pace.due(now).unwrap();
        assert_eq!((first.skip_frames, first.slot), (47, 0));
        let rest: Vec<_> = std::iter::from_fn(|| pace.due(now)).collect();
        assert!(rest.iter().all(|due| due.skip_frames == 0));
        assert_eq!(rest.len(), 60, "three rounds and the slot of now");
        assert_eq!(pace.next_ns(), 1_001 * MS);
    }

    #[test]
    fn after_an_idle_time_nothing_is_caught_up() {
        let mut pace = Pace::new(0);
        pace.restart(5_000 * MS);
        assert_eq!(pace.due(5_000 * MS).map(|due| due.skip_frames), Some(0));
        assert_eq!(pace.due(5_000 * MS), None);
    }
}
