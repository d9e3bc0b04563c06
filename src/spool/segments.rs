//! Which segments are in the log, who needs them, and which may be written again.

use super::former::Former;
use super::items::ITEM;
use super::pressure::Seen;
use super::record::{self, PART_FIELDS, Place};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is to be written: how much of the reserve it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Mail,
    Dsn,
    /// The copy of a message that is moved, which frees more than it takes.
    Move,
    Mark,
}

impl Class {
    /// Segments that must stay free beside the one that is written.
    fn keeps(self) -> usize {
        match self {
            Self::Mail => limits::SPOOL_RESERVE,
            Self::Dsn | Self::Move => limits::SPOOL_RESERVE - 1,
            Self::Mark => 0,
        }
    }
}

/// The most octets of a message that fits into an empty spool of that size, whatever part of the current segment is used
/// up already.
pub const fn room_for_mail(size: u64) -> u64 {
    let segments = size / limits::SPOOL_SEGMENT as u64;
    let used = limits::SPOOL_RESERVE as u64 + 1;
    let parts = (record::END - record::FIRST) as usize / record::room(limits::SPOOL_PART);
    let body = limits::SPOOL_PART - PART_FIELDS - ITEM;
    // What a message says besides its body, at its longest.
    let recipients = limits::RECIPIENTS + limits::EXPANSIONS;
    let envelope = (recipients + 1) * (limits::MAILBOX + 2 * ITEM) + 2 * limits::SPOOL_PART;
    (segments.saturating_sub(used) * (parts * body) as u64).saturating_sub(envelope as u64)
}

const SMALLEST: u64 = (limits::SPOOL_SEGMENTS * limits::SPOOL_SEGMENT) as u64;
const _: () = assert!(
    room_for_mail(SMALLEST) >= SMALLEST / 4,
    "a quarter of a spool is what a message may have by default"
);

/// Whether a segment gives back what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// A write or a sync failed: it is used again after all others.
    Failed,
    /// It did not; it is to be renewed when nobody needs it.
    Damaged,
    /// Nothing could be put in its place: it stays until the next start.
    Stays,
}

/// A segment in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    /// Entries and open transactions that need it.
    pub(super) holds: u32,
    pub(super) health: Health,
    /// Its marks stand in a later checkpoint, too.
    cleared: bool,
    /// Something in it cannot be moved.
    pub(super) stuck: bool,
    /// What the mover's last look found in it.
    pub(super) seen: Seen,
}

impl Segment {
    fn is_held(&self) -> bool {
        self.holds > 0
    }

    /// Is it written over by its turn? One that is not would let what a start finds in it outlive younger segments' marks
    /// about that, so that a checkpoint has to repeat them.
    fn takes_turns(&self) -> bool {
        self.health == Health::Good
    }
}

/// All segments. Those in the log are known by their generation, which is the log's order.
#[derive(Debug, Default)]
pub struct Segments {
    pub(super) log: BTreeMap<u64, Segment>,
    /// Never used, in the order in which they will be.
    unused: VecDeque<u32>,
    /// Being zero-written in the background.
    pub coming: usize,
    pub(super) current: Option<u64>,
    pub(super) last_generation: u64,
    /// Room left in the current one, in octets.
    pub room: u32,
    pub(super) free: usize,
    blocked: usize,
    /// Damaged, and needed by nobody.
    pub(super) renewable: usize,
    /// Damaged messages of which somebody is still to be told: until then nothing damaged is renewed.
    pub untold: BTreeSet<u64>,
    pub(super) former: Former,
}

impl Segments {
    /// Adds a segment that was never used.
    pub fn add_unused(&mut self, number: u32) {
        self.unused.push_back(number);
        self.free += 1;
    }

    /// A segment's life is over, and its file as good as new.
    pub fn set_renewed(&mut self, generation: u64, number: u32) {
        self.log.remove(&generation);
        self.former.is_over(number);
        self.unused.push_front(number);
        self.refresh();
    }

    /// Adds a segment that recovery found in the log; [`Self::refresh`] counts them all.
    pub fn add_recovered(&mut self, generation: u64, number: u32) {
        self.insert(generation, number);
    }

    /// Leaves numbers out: a segment that cannot be read now may have used them.
    pub fn skip_generations(&mut self, count: u64) {
        self.last_generation += count;
    }

    fn insert(&mut self, generation: u64, number: u32) {
        let segment = Segment {
            number,
            holds: 0,
            health: Health::Good,
            cleared: false,
            stuck: false,
            seen: Seen::default(),
        };
        self.log.insert(generation, segment);
        self.last_generation = self.last_generation.max(generation);
    }

    /// Goes on with the newest segment.
    pub fn set_current(&mut self, generation: Option<u64>) {
        self.current = generation;
        self.refresh();
    }

    /// The file that holds a generation.
    #[must_use]
    pub fn number(&self, generation: u64) -> Option<u32> {
        self.log.get(&generation).map(|segment| segment.number)
    }

    /// Counts one more need of some generations.
    pub fn hold(&mut self, generations: impl IntoIterator<Item = u64>) {
        for generation in generations {
            if let Some(segment) = self.log.get_mut(&generation) {
                segment.holds += 1;
            }
        }
    }

    /// Counts one need less.
    pub fn release(&mut self, generations: impl IntoIterator<Item = u64>) {
        let mut emptied = false;
        for generation in generations {
            if let Some(segment) = self.log.get_mut(&generation) {
                segment.holds = segment.holds.saturating_sub(1);
                // The current one is counted neither way, and is the newest, so that nothing behind it changes.
                emptied |= segment.holds == 0 && self.current != Some(generation);
            }
        }
        if emptied {
            self.refresh();
        }
    }

    /// May a transaction hold so many segments, if its octets are so many?
    ///
    /// Each costs a whole segment, however little of it is the transaction's: where mail flows past a slow sender, it may
    /// hold a quarter of the spool as long as half is free, and a few segments beyond its own octets at any time.
    #[must_use]
    pub fn may_spread(&self, segments: usize, octets: u64) -> bool {
        let own = usize::try_from(octets / limits::SPOOL_SEGMENT as u64).unwrap_or(usize::MAX);
        let beyond = segments.saturating_sub(own);
        let all = self.count() + self.coming;
        let roomy = 2 * (self.free + self.coming) >= all;
        beyond <= limits::SPOOL_SPREAD || (roomy && beyond <= all / 4)
    }

    /// Counts again what is free and what is blocked: a walk over the log, for what happens a few times a segment's life.
    ///
    /// The marks in a segment concern messages in segments no younger than itself: once none of those is held, nobody
    /// needs the marks. Until then they do, unless a checkpoint repeats them.
    pub fn refresh(&mut self) {
        let (mut free, mut blocked, mut renewable) = (self.unused.len(), 0, 0);
        for (_, segment, marks_needed) in self.unheld() {
            match segment.health {
                _ if marks_needed => blocked += 1,
                Health::Good | Health::Failed => free += 1,
                Health::Damaged => renewable += 1,
                Health::Stays => {}
            }
        }
        (self.free, self.blocked, self.renewable) = (free, blocked, renewable);
    }

    /// The segments that nobody needs, but, where that is said, for their marks; from the oldest on.
    pub(super) fn unheld(&self) -> impl Iterator<Item = (u64, &Segment, bool)> {
        let (mut older_held, mut older) = (false, 0);
        self.log.iter().filter_map(move |(generation, segment)| {
            older_held |= self.former.between(older, *generation).next().is_some();
            older = *generation;
            let marks_needed = older_held && !segment.cleared;
            older_held |= segment.is_held() || !segment.takes_turns();
            let unheld = !segment.is_held() && self.current != Some(*generation);
            unheld.then_some((*generation, segment, marks_needed))
        })
    }

    /// May this be appended to the current segment?
    #[must_use]
    pub fn admits(&self, class: Class) -> bool {
        // A segment that only marks could begin is as good for what frees others.
        let keeps = match class {
            Class::Move => 0,
            other => other.keeps(),
        };
        self.free + self.coming >= keeps
    }

    /// May a new segment be begun for this?
    #[must_use]
    pub fn may_open(&self, class: Class) -> bool {
        // Nobody needs the current one but, at most, for its marks: then a checkpoint in the new one frees it.
        let current = self.current.and_then(|current| self.log.get(&current));
        let current_too = current.is_some_and(|at| !at.is_held() && at.takes_turns());
        self.free > 0 && self.free + self.coming + usize::from(current_too) > class.keeps()
    }

    /// Begins a segment: the oldest that is free, so that no segment outlives the marks about its messages. One that gave
    /// an error is the last resort.
    pub fn open(&mut self) -> Option<Place> {
        self.set_current(None);
        let fresh = |segments: &mut Self| Some((None, segments.unused.pop_front()?));
        let (before, number) = self
            .take_oldest(Health::Good)
            .or_else(|| fresh(self))
            .or_else(|| self.take_for_former())
            .or_else(|| self.take_oldest(Health::Failed))?;
        self.former.ends(before);
        let generation = self.last_generation + 1;
        self.insert(generation, number);
        self.room = record::END - record::FIRST;
        self.set_current(Some(generation));
        Some(Place {
            generation,
            segment: number,
            offset: record::FIRST,
        })
    }

    /// Ends the life of the oldest free one of that health.
    pub(super) fn take_oldest(&mut self, health: Health) -> Option<(Option<u64>, u32)> {
        let oldest = self.unheld().find_map(|(generation, segment, marks)| {
            (segment.health == health && !marks).then_some(generation)
        });
        let segment = self.log.remove(&oldest?)?;
        Some((oldest, segment.number))
    }

    /// The current segment gave an error.
    pub fn set_failed(&mut self, generation: u64) {
        if let Some(segment) = self.log.get_mut(&generation)
            && segment.health == Health::Good
        {
            segment.health = Health::Failed;
        }
        self.set_current(None);
    }

    /// A segment that did not prove good: it holds nothing.
    pub fn give_up(&mut self, generation: u64) {
        if let Some(segment) = self.log.get_mut(&generation) {
            segment.cleared = true;
            self.former.may_be_there(segment.number);
        }
        self.set_failed(generation);
    }

    /// Is it time to write checkpoints?
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.blocked > 0 && self.free + self.coming <= limits::SPOOL_RESERVE + 1
    }

    /// How many are free, and how many only their marks keep.
    #[must_use]
    pub fn shortage(&self) -> (usize, usize) {
        (self.free, self.blocked)
    }

    /// The segments that only their marks keep in the log, and the older ones that those marks concern.
    #[must_use]
    pub fn blocked(&self) -> (Vec<u64>, Vec<u64>) {
        let mut held = Vec::new();
        let mut blocked = Vec::new();
        let (mut concerned, mut older) = (0, 0);
        for (generation, segment) in &self.log {
            held.extend(self.former.between(older, *generation));
            older = *generation;
            let is_current = self.current == Some(*generation);
            if !segment.is_held() && !is_current && !held.is_empty() && !segment.cleared {
                blocked.push(*generation);
                concerned = held.len();
            }
            if segment.is_held() || !segment.takes_turns() {
                held.push(*generation);
            }
        }
        held.truncate(concerned);
        (blocked, held)
    }

    /// A synced checkpoint repeats the marks of these.
    pub fn set_cleared(&mut self, generations: &[u64]) {
        for generation in generations {
            if let Some(segment) = self.log.get_mut(generation) {
                segment.cleared = true;
            }
        }
        self.refresh();
    }

    /// Octets that new mail may take.
    #[must_use]
    pub fn free_for_mail(&self) -> u64 {
        let free = self.free + self.coming;
        if free < limits::SPOOL_RESERVE {
            return 0;
        }
        let whole =
            free - limits::SPOOL_RESERVE + usize::from(free == self.free && self.may_open_alone());
        whole as u64 * u64::from(record::END - record::FIRST) + u64::from(self.room)
    }

    /// The current segment is needed by nobody: beginning another one frees it.
    fn may_open_alone(&self) -> bool {
        self.free == limits::SPOOL_RESERVE && self.may_open(Class::Mail)
    }

    /// Octets of all, those to come included.
    #[must_use]
    pub fn octets(&self) -> u64 {
        (self.count() + self.coming) as u64 * limits::SPOOL_SEGMENT as u64
    }

    /// How many could be begun now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.free
    }

    /// All segments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.log.len() + self.unused.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Segments {
        let mut segments = Segments::default();
        (1..=5).for_each(|number| segments.add_unused(number));
        segments
    }

    #[test]
    fn marks_about_an_older_message_keep_a_segment_until_a_checkpoint() {
        let mut segments = five();
        let first = segments.open().unwrap().generation;
        segments.hold([first]);
        let second = segments.open().unwrap().generation;
        segments.open().unwrap();
        assert_eq!((segments.free, segments.blocked), (2, 1));
        assert_eq!(segments.blocked(), (vec![second], vec![first]));
        segments.set_cleared(&[second]);
        assert_eq!((segments.free, segments.blocked), (3, 0));
        assert_eq!(segments.open().unwrap().segment, 2, "the cleared one");
    }

    #[test]
    fn the_oldest_free_segment_is_used_first() {
        let mut segments = five();
        for _ in 0..3 {
            let generation = segments.open().unwrap().generation;
            segments.hold([generation]);
        }
        segments.release(1..=2);
        assert_eq!(segments.open().unwrap().segment, 1);
        assert_eq!(segments.open().unwrap().segment, 2);
    }

    #[test]
    fn a_segment_that_gave_an_error_is_used_after_all_others() {
        let mut segments = five();
        let first = segments.open().unwrap().generation;
        segments.set_failed(first);
        let second = segments.open().unwrap();
        assert_eq!(second.segment, 2);
        segments.give_up(second.generation);
        assert_eq!(segments.free, 5);
        for expected in [3, 4, 5, 1, 2] {
            let next = segments.open().unwrap();
            assert_eq!(next.segment, expected);
            segments.hold([next.generation]);
        }
    }

    #[test]
    fn marks_about_what_an_error_ended_are_kept_until_a_checkpoint() {
        let mut segments = five();
        let first = segments.open().unwrap().generation;
        segments.set_failed(first);
        let marks = segments.open().unwrap().generation;
        segments.open().unwrap();
        assert_eq!((segments.free, segments.blocked), (3, 1));
        assert_eq!(segments.blocked(), (vec![marks], vec![first]));
    }

    #[test]
    fn mail_leaves_the_reserve_to_dsns_and_marks() {
        let mut segments = five();
        for expected in [true, true, false] {
            assert_eq!(segments.may_open(Class::Mail), expected);
            if expected {
                let generation = segments.open().unwrap().generation;
                segments.hold([generation]);
            }
        }
        assert!(
            segments.admits(Class::Mail),
            "the current one may be filled"
        );
        assert!(segments.may_open(Class::Dsn));
        let reserve = segments.open().unwrap().generation;
        segments.hold([reserve]);
        assert!(!segments.admits(Class::Mail) && segments.admits(Class::Dsn));
        assert!(!segments.may_open(Class::Dsn) && segments.may_open(Class::Mark));
        assert_eq!(segments.free_for_mail(), 0);
        segments.release(1..=2);
        assert!(segments.admits(Class::Mail) && segments.may_open(Class::Mail));
    }

    #[test]
    fn a_full_segment_that_nobody_needs_makes_room_by_itself() {
        let mut segments = five();
        segments.unused.pop_back();
        segments.refresh();
        let only = segments.open().unwrap().generation;
        segments.hold([only]);
        assert!(!segments.may_open(Class::Mail));
        segments.release([only]);
        assert!(segments.may_open(Class::Mail));
    }

    #[test]
    fn deliveries_cost_the_same_in_a_large_spool() {
        let mut segments = Segments::default();
        let many = 100_000;
        for number in 1..=many {
            segments.add_recovered(number.into(), number);
        }
        segments.hold(1..=u64::from(many));
        segments.set_current(Some(many.into()));
        segments.release([u64::from(many)]);
        let before = std::time::Instant::now();
        for _ in 0..many {
            segments.hold([u64::from(many)]);
            segments.release([u64::from(many)]);
        }
        // A walk over all segments for each would take minutes.
        assert!(before.elapsed().as_secs() < 10, "{:?}", before.elapsed());
    }
}
