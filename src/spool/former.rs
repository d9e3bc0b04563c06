//! Lives that are over, and that a start may find all the same: the header of the next life could not be written.
//!
//! Until it can, the marks about such a life's messages are needed as if those were still to be delivered: without them a
//! start would bring back what was delivered long ago.

use super::segments::{Health, Segments};
use std::collections::BTreeMap;

/// These lives' generations, each with its segment's number.
#[derive(Debug, Default)]
pub(super) struct Former {
    lives: BTreeMap<u64, u32>,
    /// The one that the latest segment to be begun had before.
    latest: Option<u64>,
}

impl Former {
    /// A segment is about to begin its next life.
    pub fn ends(&mut self, generation: Option<u64>) {
        self.latest = generation;
    }

    /// It could not: who knows what is on the disk.
    pub fn may_be_there(&mut self, number: u32) {
        let latest = self.latest.take();
        self.lives
            .extend(latest.map(|generation| (generation, number)));
    }

    /// Its file has another header, or is no more.
    pub fn is_over(&mut self, number: u32) {
        self.lives.retain(|_, segment| *segment != number);
    }

    /// Those between these generations, from the oldest on.
    pub fn between(&self, after: u64, before: u64) -> impl Iterator<Item = u64> {
        self.lives.range(after..before).map(|(&life, _)| life)
    }
}

impl Segments {
    /// The header of the segment that was opened is on the disk.
    pub fn begun(&mut self, number: u32) {
        self.former.is_over(number);
        self.refresh();
    }

    /// May a start find this life?
    #[must_use]
    pub fn may_be_found(&self, generation: u64) -> bool {
        self.log.contains_key(&generation) || self.former.lives.contains_key(&generation)
    }

    /// One that only former lives keep, when there is no other: their checkpoint needs a place, and a disk on which one
    /// segment fails for good must not end the spool. If the power goes before the checkpoint is there, at worst what was
    /// delivered is delivered again.
    pub(super) fn take_for_former(&mut self) -> Option<(Option<u64>, u32)> {
        let former = std::mem::take(&mut self.former);
        let taken = self.take_oldest(Health::Good);
        self.former = former;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_without_a_successor_needs_its_marks_until_it_has_one() {
        let mut segments = Segments::default();
        (1..=4).for_each(|number| segments.add_unused(number));
        for generation in 1..=4 {
            segments.open();
            segments.hold([generation]);
        }
        segments.release(1..=4);
        // The first one's next life begins in vain; the second one's, too.
        let first = segments.open().unwrap();
        assert_eq!((first.segment, first.generation), (1, 5));
        segments.give_up(5);
        assert_eq!(segments.shortage(), (1, 3), "itself, and those with marks");
        assert_eq!(segments.blocked(), (vec![2, 3, 4], vec![1]));
        let second = segments.open().unwrap();
        assert_eq!((second.segment, second.generation), (2, 6));
        segments.give_up(6);
        assert!(segments.may_be_found(1) && segments.may_be_found(2));
        assert_eq!(segments.blocked(), (vec![3, 4], vec![1, 2]));
        // The third one's succeeds, and its checkpoint frees the fourth.
        assert_eq!(segments.open().unwrap().segment, 3);
        segments.begun(3);
        assert_eq!(segments.blocked(), (vec![4], vec![1, 2]));
        segments.set_cleared(&[4]);
        assert_eq!(segments.shortage(), (3, 0));
        assert_eq!(segments.open().unwrap().segment, 4);
        segments.begun(4);
        // At last the first one gets a header, whichever its former lives were.
        assert_eq!(segments.open().unwrap().segment, 1);
        segments.begun(1);
        assert!(!segments.may_be_found(1) && segments.may_be_found(2));
    }
}
