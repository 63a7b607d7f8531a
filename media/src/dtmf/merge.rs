//! One key press that arrives by two roads is counted once.

use std::collections::VecDeque;
use std::time::Instant;

use super::Digit;
use crate::limits::{MERGE_WINDOW, MERGER_PENDING_MAX};

/// How a key press came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Road {
    /// RTP telephone-event.
    Rtp,
    /// SIP INFO.
    Info,
    /// Tones in the audio.
    Inband,
}

/// A press that was counted, the roads that it came by so far, and when it was heard of last.
#[derive(Debug, Clone, Copy)]
struct Press {
    digit: Digit,
    roads: [bool; 3],
    at: Instant,
}

/// Joins each press of one road with the presses of the same key on the others, if they come within [`MERGE_WINDOW`] of
/// it (of its end, for a key that is still held). Two presses on one road are always two.
#[derive(Debug, Default)]
pub struct Merger {
    pending: VecDeque<Press>,
}

impl Merger {
    /// A merger that has seen nothing. It allocates here and never again.
    pub fn new() -> Self {
        Self { pending: VecDeque::with_capacity(MERGER_PENDING_MAX) }
    }

    /// A key press came by `road`. True: count it. False: it is the twin of one that was counted.
    pub fn press(&mut self, now: Instant, digit: Digit, road: Road) -> bool {
        self.pending.retain(|press| now.saturating_duration_since(press.at) <= MERGE_WINDOW);
        let twin = |press: &&mut Press| press.digit == digit && !press.roads[road as usize];
        if let Some(twin) = self.pending.iter_mut().find(twin) {
            twin.roads[road as usize] = true;
            return false;
        }
        if self.pending.len() == MERGER_PENDING_MAX {
            self.pending.pop_front();
        }
        let mut press = Press { digit, roads: [false; 3], at: now };
        press.roads[road as usize] = true;
        self.pending.push_back(press);
        true
    }

    /// The last press of this key on this road is still going on, or ends now: its twin may come later still,
    /// because phones send INFO when the key is released.
    pub fn hold(&mut self, now: Instant, digit: Digit, road: Road) {
        let known = |press: &&mut Press| press.digit == digit && press.roads[road as usize];
        if let Some(press) = self.pending.iter_mut().rev().find(known) {
            press.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn count(presses: &[(u64, char, Road)]) -> String {
        let start = crate::fuzz::start();
        let mut merger = Merger::new();
        presses
            .iter()
            .filter(|(ms, c, road)| {
                merger.press(start + Duration::from_millis(*ms), Digit::from_char(*c).unwrap(), *road)
            })
            .map(|(_, c, _)| *c)
            .collect()
    }

    #[test]
    fn a_key_that_comes_by_both_roads_counts_once_whichever_is_first() {
        assert_eq!(count(&[(0, '5', Road::Rtp), (100, '5', Road::Info)]), "5");
        assert_eq!(count(&[(0, '5', Road::Info), (400, '5', Road::Rtp)]), "5");
        assert_eq!(count(&[(0, '5', Road::Info), (401, '5', Road::Rtp)]), "55");
        assert_eq!(count(&[(0, '5', Road::Info), (10, '6', Road::Rtp)]), "56");
    }

    #[test]
    fn a_key_that_comes_by_all_three_roads_counts_once() {
        use Road::{Inband, Info, Rtp};
        assert_eq!(count(&[(0, '5', Rtp), (60, '5', Inband), (150, '5', Info)]), "5");
        assert_eq!(count(&[(0, '5', Inband), (20, '5', Rtp), (300, '5', Inband), (310, '5', Rtp)]), "55");
    }

    #[test]
    fn two_true_presses_count_twice() {
        use Road::{Info, Rtp};
        assert_eq!(count(&[(0, '5', Rtp), (150, '5', Rtp)]), "55");
        assert_eq!(count(&[(0, '5', Rtp), (50, '5', Info), (150, '5', Rtp), (200, '5', Info)]), "55");
        assert_eq!(count(&[(0, '5', Rtp), (100, '5', Rtp), (200, '5', Info), (250, '5', Info)]), "55");
    }

    #[test]
    fn a_key_held_for_seconds_still_meets_its_info() {
        let start = crate::fuzz::start();
        let mut merger = Merger::new();
        let digit = Digit::from_char('#').unwrap();
        assert!(merger.press(start, digit, Road::Rtp));
        merger.hold(start + Duration::from_millis(300), digit, Road::Rtp);
        merger.hold(start + Duration::from_secs(2), digit, Road::Rtp);
        assert!(!merger.press(start + Duration::from_millis(2200), digit, Road::Info));
    }
}
