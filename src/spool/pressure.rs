//! When segments run short, and which of them are kept by little.

use super::generations::Generations;
use super::segments::{Health, Segments};
use crate::limits;

/// How short of segments the spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// It will soon take no mail.
    Short,
    /// Mail can begin no other segment.
    Full,
}

/// Messages that rest in a segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub messages: u32,
    pub kib: u32,
}

impl Segments {
    /// How short of segments the spool is, if at all.
    #[must_use]
    pub fn pressure(&self) -> Option<Pressure> {
        let free = self.free + self.coming;
        let some = (self.count() + self.coming).div_ceil(limits::SPOOL_MOVE_BELOW);
        match free.saturating_sub(limits::SPOOL_RESERVE) {
            0 => Some(Pressure::Full),
            few if few <= some => Some(Pressure::Short),
            _ => None,
        }
    }

    /// Changes with what a look for segments to be freed depends on.
    #[must_use]
    pub fn sight(&self) -> (u64, usize) {
        (self.last_generation, self.free)
    }

    /// Before a look: nothing was seen.
    pub fn look_again(&mut self) {
        for segment in self.log.values_mut() {
            segment.seen = Seen::default();
        }
    }

    /// A message rests in a segment; `kib` is its weight there.
    pub fn see(&mut self, generation: u64, kib: u32) {
        if let Some(segment) = self.log.get_mut(&generation) {
            segment.seen.messages += 1;
            segment.seen.kib = segment.seen.kib.saturating_add(kib);
        }
    }

    /// The segments that a look found sparsest, at most `most` KiB in each: nothing is there but messages that rest. While
    /// mail can still be taken, the one that was just filled is left alone.
    #[must_use]
    pub fn sparsest(&self, pressure: Pressure, most: u32) -> Vec<u64> {
        let newest = self.log.keys().next_back().copied();
        let young = newest.map_or(0, |newest| newest - u64::from(pressure == Pressure::Short));
        let mut sparse: Vec<(u32, u64)> = self
            .log
            .range(..young)
            .filter(|(generation, segment)| {
                segment.holds > 0
                    && segment.holds == segment.seen.messages
                    && segment.seen.kib <= most
                    && self.may_be_moved(**generation)
            })
            .map(|(generation, segment)| (segment.seen.kib, *generation))
            .collect();
        sparse.sort_unstable();
        sparse
            .into_iter()
            .map(|(_, generation)| generation)
            .collect()
    }

    fn may_be_moved(&self, generation: u64) -> bool {
        let segment = self.log.get(&generation);
        // A damaged one is renewed when its messages have left.
        let ends = |health| match health {
            Health::Good | Health::Failed => true,
            Health::Damaged => self.untold.is_empty(),
            Health::Stays => false,
        };
        self.current != Some(generation)
            && segment.is_some_and(|segment| ends(segment.health) && !segment.stuck)
    }

    /// Would a segment be free once so many messages have left it?
    #[must_use]
    pub fn would_be_free(&self, generation: u64, messages: u32) -> bool {
        let segment = self.log.get(&generation);
        self.may_be_moved(generation) && segment.is_some_and(|segment| segment.holds == messages)
    }

    /// A message cannot be read: its segments stay until it is out of the queue.
    pub fn set_stuck(&mut self, generations: &Generations) {
        for generation in generations.iter() {
            if let Some(segment) = self.log.get_mut(&generation) {
                segment.stuck = true;
            }
        }
    }
}
