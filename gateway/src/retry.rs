//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Full jitter: any time up to a bound that doubles with each attempt, so that a receiver that comes back is not met by
/// everything at once. `attempts`: how often it was tried; `draw` is from 0 to 1.
pub(crate) fn wait(first: Duration, most: Duration, attempts: u32, draw: f64) -> Duration {
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.min(most).mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_drawn_from_all_of_it() {
        let (first, most) = (Duration::from_secs(5), Duration::from_secs(3_600));
        assert_eq!(wait(first, most, 1, 1.0), first);
        assert_eq!(wait(first, most, 4, 1.0), first * 8);
        assert_eq!(wait(first, most, 4, 0.25), first * 2);
        assert_eq!(wait(first, most, 1, 0.0), Duration::ZERO);
        assert_eq!(wait(first, most, u32::MAX, 1.0), most);
    }
}
