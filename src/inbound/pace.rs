//! How fast a message comes.

use crate::limits;
use std::time::Duration;

/// The waits for one message's octets, and how many came. Time that the relay itself took, for its disk, is nobody's fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    waited: Duration,
    octets: u64,
}

impl Pace {
    /// After so long a wait, so many octets came.
    pub fn add(&mut self, waited: Duration, octets: usize) {
        self.waited += waited;
        self.octets += octets as u64;
    }

    /// Whether the average is below what is asked for, once all waits together are longer than that's grace.
    #[must_use]
    pub fn is_too_slow(&self, crowded: bool) -> bool {
        let (grace, floor) = match crowded {
            false => (limits::DATA_RATE_GRACE, limits::DATA_RATE_FLOOR),
            true => (limits::DATA_CROWDED, limits::DATA_RATE_FLOOR_CROWDED),
        };
        self.waited > grace && self.octets < self.waited.as_secs() * floor as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_counts_after_the_grace() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.add(second, 1));
        assert!(!pace.is_too_slow(true));
        pace.add(second, 1);
        assert!(pace.is_too_slow(true) && !pace.is_too_slow(false));
        pace.add(Duration::ZERO, 11 * limits::DATA_RATE_FLOOR_CROWDED);
        assert!(!pace.is_too_slow(true));
        (0..50).for_each(|_| pace.add(second, limits::DATA_RATE_FLOOR / 2));
        assert!(pace.is_too_slow(true));
        assert!(!pace.is_too_slow(false), "it had come fast before");
        (0..60).for_each(|_| pace.add(second, 1));
        assert!(pace.is_too_slow(false));
    }
}
