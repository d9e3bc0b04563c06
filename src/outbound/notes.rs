//! How many notes the postmaster gets of failures that have no sender to be told (RFC 5321 6.1).
//!
//! Whoever can make this relay send reports that nobody takes could fill the spool with notes of them, and the
//! postmaster's mailbox. So there are some in a row, then one in a while, which tells how many there were.

use crate::limits;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The notes that may be written.
pub(super) struct Notes(Mutex<Bucket>);

struct Bucket {
    left: usize,
    /// From when on the next one grows.
    since: Instant,
    untold: u64,
}

impl Notes {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Bucket {
            left: limits::NOTES_AT_ONCE,
            since: now,
            untold: 0,
        }))
    }

    /// Takes one, with the failures since the last one that nobody was told of. None: this one is counted among them.
    pub(super) fn take(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket();
        bucket.fill(now);
        if bucket.left == 0 {
            bucket.untold += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.untold))
    }

    /// One that was taken could not be written.
    pub(super) fn give_back(&self, untold: u64) {
        let mut bucket = self.bucket();
        bucket.left += 1;
        bucket.untold += untold + 1;
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // Whole between any two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let span = limits::NOTE_EVERY;
        let passed = now.saturating_duration_since(self.since);
        let spans = passed.as_secs() / span.as_secs();
        let grown = usize::try_from(spans).unwrap_or(usize::MAX);
        self.left = self.left.saturating_add(grown).min(limits::NOTES_AT_ONCE);
        self.since = match self.left == limits::NOTES_AT_ONCE {
            true => now,
            false => self.since + Duration::from_secs(spans * span.as_secs()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_some_notes_then_one_in_a_while_that_tells_of_the_others() {
        let start = Instant::now();
        let notes = Notes::new(start);
        for _ in 0..limits::NOTES_AT_ONCE {
            assert_eq!(notes.take(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(notes.take(start), None);
        }
        let later = start + limits::NOTE_EVERY;
        assert_eq!(notes.take(later), Some(1000));
        assert_eq!(notes.take(later), None);
        notes.give_back(3);
        assert_eq!(notes.take(later), Some(5));
        let much_later = later + 1000 * limits::NOTE_EVERY;
        let row = (0..1000).filter(|_| notes.take(much_later).is_some());
        assert_eq!(row.count(), limits::NOTES_AT_ONCE);
    }
}
