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

    /// Whether the average is below [`limits::DATA_RATE_FLOOR`], once all waits together are longer than `grace`.
    #[must_use]
    pub fn is_too_slow(&self, grace: Duration) -> bool {
        self.waited > grace && self.octets < self.waited.as_secs() * limits::DATA_RATE_FLOOR as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_counts_after_the_grace() {
        let (second, grace) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.add(second, 1));
        assert!(!pace.is_too_slow(grace));
        pace.add(second, 1);
        assert!(pace.is_too_slow(grace));
        pace.add(Duration::ZERO, 11 * limits::DATA_RATE_FLOOR);
        assert!(!pace.is_too_slow(grace));
    }
}
