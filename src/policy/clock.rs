//! What a wall clock that is set while the relay runs means for the times that were noted before.
//!
//! A board without a clock of its own boots in 1970, or where it was switched off, and learns the time from the network
//! later. A message's age is then not what the clock says now less what it said then: a jump shifts every time that was
//! noted before it.

use crate::limits;
use heapless::Vec;
use std::time::Duration;

/// The eras of this boot's clock, from one jump to the next, by the queue ids that were given in them (an id is a time, in
/// microseconds since 1970).
#[derive(Debug)]
pub struct Eras {
    /// In the order of `from`; the first one's is 0.
    eras: Vec<Era, { limits::CLOCK_ERAS }>,
    /// The wall clock less the steady one at the last look, in seconds.
    lead: i64,
    /// The steady clock at start.
    started: Duration,
    /// The same at the last look.
    looked: Duration,
    /// The same at start, or when the box woke last.
    woke: Duration,
}

/// The time between two jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The first id.
    pub from: u64,
    /// What is to be added to an id's seconds.
    pub shift: i64,
}

/// When a message came, in unix seconds of the clock as it is now, from its id in microseconds. Eras in the order of `from`;
/// without one, what its id says.
#[must_use]
pub fn accepted(eras: &[Era], id: u64) -> u64 {
    let era = eras.iter().rev().find(|era| era.from <= id);
    (id / 1_000_000).saturating_add_signed(era.map_or(0, |era| era.shift))
}

/// The same, for people, by a clock that says `wall`; None: it came by one that did not know the time, and nobody knows by
/// how much that was wrong. As long as the clock does not know the time itself, an id that could be right is taken for it.
#[must_use]
pub fn arrived(eras: &[Era], id: u64, wall: u64) -> Option<u64> {
    let floor = limits::CLOCK_FLOOR.as_secs();
    let (at, latest) = match wall < floor {
        true => (id / 1_000_000, u64::MAX),
        false => (accepted(eras, id), wall + limits::CLOCK_JUMP.as_secs()),
    };
    (floor..=latest).contains(&at).then_some(at)
}

impl Eras {
    /// For a boot at which the clocks say `wall` (unix seconds) and `steady` (since whenever).
    #[must_use]
    pub fn new(wall: u64, steady: Duration) -> Self {
        let mut eras = Vec::new();
        // The list has room for one.
        let _ = eras.push(Era { from: 0, shift: 0 });
        Self {
            eras,
            lead: lead(wall, steady),
            started: steady,
            looked: steady,
            woke: steady,
        }
    }

    /// Has the wall clock been set by more than [`limits::CLOCK_JUMP`] since the last look? By how many seconds; then
    /// [`Self::jumped`] is due. Where the steady clock itself went on by more than that, the box slept in between.
    pub fn look(&mut self, wall: u64, steady: Duration) -> Option<i64> {
        let since = steady.saturating_sub(std::mem::replace(&mut self.looked, steady));
        if since > limits::CLOCK_JUMP {
            self.woke = steady;
        }
        let lead = lead(wall, steady);
        let by = lead - std::mem::replace(&mut self.lead, lead);
        (by.unsigned_abs() > limits::CLOCK_JUMP.as_secs()).then_some(by)
    }

    /// Shifts every time noted so far. Ids from `first_id` on are given in the new era, `ahead` (seconds) of the clock,
    /// because they never go back.
    pub fn jumped(&mut self, by: i64, first_id: u64, ahead: u64) {
        for era in &mut self.eras {
            era.shift = era.shift.saturating_add(by);
        }
        if self.eras.is_full() {
            // The two oldest become one in which nothing is held for older than it is: at worst it lives longer.
            let oldest = self.eras.remove(0);
            if let Some(first) = self.eras.first_mut() {
                first.from = 0;
                first.shift = first.shift.max(oldest.shift);
            }
        }
        let shift = i64::try_from(ahead).map_or(i64::MIN, |ahead| -ahead);
        let _ = self.eras.push(Era {
            from: first_id,
            shift,
        });
    }

    /// When a message came, in unix seconds of the clock as it is now, from its id in microseconds.
    #[must_use]
    pub fn accepted(&self, id: u64) -> u64 {
        accepted(&self.eras, id)
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn all(&self) -> &[Era] {
        &self.eras
    }

    /// How old a message is. One that came before this boot, by a clock that did not know the time, is as old as this boot.
    #[must_use]
    pub fn age(&self, id: u64, wall: u64, steady: Duration) -> Duration {
        let accepted = self.accepted(id);
        let age = Duration::from_secs(wall.saturating_sub(accepted));
        if accepted < limits::CLOCK_FLOOR.as_secs() {
            age.min(self.up(steady))
        } else {
            age
        }
    }

    /// Whether a message of which an attempt has just failed may be given up as too old. Not by a clock that cannot know
    /// the time, and not in the first hour of a boot, or behind a sleep: a box that was off for a week has mail that is a
    /// week old, and perhaps no network yet.
    #[must_use]
    pub fn is_too_old(&self, id: u64, wall: u64, steady: Duration, lifetime: Duration) -> bool {
        wall >= limits::CLOCK_FLOOR.as_secs()
            && steady.saturating_sub(self.woke) >= limits::EXPIRY_GRACE.min(lifetime)
            && self.age(id, wall, steady) >= lifetime
    }

    fn up(&self, steady: Duration) -> Duration {
        steady.saturating_sub(self.started)
    }
}

fn lead(wall: u64, steady: Duration) -> i64 {
    let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    seconds(wall).saturating_sub(seconds(steady.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = limits::CLOCK_FLOOR.as_secs();
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    const FIVE_DAYS: Duration = Duration::from_secs(5 * DAY);

    /// A box: its clocks, and the ids that its queue gives.
    struct Box {
        eras: Eras,
        wall: u64,
        steady: Duration,
        last_id: u64,
        ahead: u64,
    }

    impl Box {
        fn boots(wall: u64, last_id: u64) -> Self {
            let steady = Duration::from_secs(77);
            let mut this = Self {
                eras: Eras::new(wall, steady),
                wall,
                steady,
                last_id,
                ahead: 0,
            };
            let newest = last_id / 1_000_000;
            if newest > wall {
                this.jumps(wall as i64 - newest as i64);
            }
            this
        }

        /// It is looked at both clocks often enough.
        fn runs(&mut self, mut seconds: u64) {
            while seconds > 0 {
                let step = seconds.min(HOUR);
                self.sleeps(step);
                seconds -= step;
            }
        }

        fn sleeps(&mut self, seconds: u64) {
            self.wall += seconds;
            self.steady += Duration::from_secs(seconds);
            assert_eq!(self.eras.look(self.wall, self.steady), None);
        }

        fn is_set(&mut self, wall: u64) {
            self.wall = wall;
            if let Some(by) = self.eras.look(self.wall, self.steady) {
                self.jumps(by);
            }
        }

        fn jumps(&mut self, by: i64) {
            self.ahead = (self.last_id / 1_000_000).saturating_sub(self.wall);
            self.eras.jumped(by, self.last_id + 1, self.ahead);
        }

        fn accepts(&mut self) -> u64 {
            self.last_id = (self.last_id + 1).max((self.wall + self.ahead) * 1_000_000);
            self.last_id
        }

        fn age(&self, id: u64) -> u64 {
            self.eras.age(id, self.wall, self.steady).as_secs()
        }

        fn gives_up(&self, id: u64) -> bool {
            self.eras.is_too_old(id, self.wall, self.steady, FIVE_DAYS)
        }
    }

    #[test]
    fn without_a_jump_age_is_what_the_clock_says() {
        let mut a_box = Box::boots(FLOOR + DAY, 0);
        let id = a_box.accepts();
        a_box.runs(5 * DAY - 1);
        assert_eq!((a_box.age(id), a_box.gives_up(id)), (5 * DAY - 1, false));
        a_box.runs(1);
        assert!(a_box.gives_up(id));
    }

    #[test]
    fn a_clock_that_starts_in_1970_ages_mail_by_what_has_passed() {
        let mut a_box = Box::boots(30, 0);
        let early = a_box.accepts();
        a_box.runs(60);
        a_box.is_set(FLOOR + 300 * DAY);
        assert_eq!(a_box.eras.accepted(early), FLOOR + 300 * DAY - 60);
        let late = a_box.accepts();
        a_box.runs(2 * HOUR);
        assert_eq!(
            (a_box.age(early), a_box.age(late)),
            (2 * HOUR + 60, 2 * HOUR)
        );
        assert!(!a_box.gives_up(early) && !a_box.gives_up(late));
        a_box.runs(5 * DAY);
        assert!(a_box.gives_up(early) && a_box.gives_up(late));
    }

    #[test]
    fn nothing_expires_while_the_clock_is_unset() {
        let mut a_box = Box::boots(30, 0);
        let id = a_box.accepts();
        a_box.runs(90 * DAY);
        assert!(!a_box.gives_up(id));
    }

    #[test]
    fn a_box_without_a_clock_that_was_off_goes_on_where_its_queue_was() {
        let before = (FLOOR + 100 * DAY) * 1_000_000;
        let mut a_box = Box::boots(30, before);
        let since = a_box.accepts();
        a_box.runs(HOUR);
        assert_eq!((a_box.age(before), a_box.age(since)), (HOUR, HOUR));
        a_box.is_set(FLOOR + 107 * DAY);
        let fresh = a_box.accepts();
        assert_eq!(a_box.eras.accepted(fresh), FLOOR + 107 * DAY);
        assert_eq!((a_box.age(before), a_box.age(since)), (HOUR, HOUR));
        assert!(!a_box.gives_up(before));
    }

    #[test]
    fn a_box_that_was_off_for_a_week_tries_for_an_hour_before_it_gives_up() {
        let old = (FLOOR + DAY) * 1_000_000;
        let mut a_box = Box::boots(FLOOR + 8 * DAY, old);
        assert_eq!((a_box.age(old), a_box.gives_up(old)), (7 * DAY, false));
        a_box.runs(limits::EXPIRY_GRACE.as_secs());
        assert!(a_box.gives_up(old));
    }

    #[test]
    fn a_box_that_slept_for_a_week_tries_for_an_hour_before_it_gives_up() {
        let mut a_box = Box::boots(FLOOR + DAY, 0);
        let id = a_box.accepts();
        a_box.runs(2 * HOUR);
        a_box.sleeps(7 * DAY);
        let age = 7 * DAY + 2 * HOUR;
        assert_eq!((a_box.age(id), a_box.gives_up(id)), (age, false));
        a_box.runs(limits::EXPIRY_GRACE.as_secs());
        assert!(a_box.gives_up(id));
    }

    #[test]
    fn a_clock_that_was_years_ahead_is_set_right() {
        let mut a_box = Box::boots(FLOOR + 9000 * DAY, 0);
        let early = a_box.accepts();
        a_box.runs(HOUR);
        a_box.is_set(FLOOR + DAY);
        a_box.runs(2 * DAY);
        let late = a_box.accepts();
        assert!(late > early);
        a_box.runs(HOUR);
        assert_eq!(
            (a_box.age(early), a_box.age(late)),
            (2 * DAY + 2 * HOUR, HOUR)
        );
    }

    #[test]
    fn mail_of_an_earlier_boot_without_a_clock_counts_from_this_boot() {
        let early = 90 * 1_000_000;
        let mut a_box = Box::boots(FLOOR + DAY, early);
        a_box.runs(2 * HOUR);
        assert_eq!((a_box.age(early), a_box.gives_up(early)), (2 * HOUR, false));
        a_box.runs(5 * DAY);
        assert!(a_box.gives_up(early));
    }

    #[test]
    fn people_are_told_no_time_that_nobody_knows() {
        let early = 90 * 1_000_000;
        let a_box = Box::boots(FLOOR + DAY, early);
        let told = |a_box: &Box, id| arrived(a_box.eras.all(), id, a_box.wall);
        assert_eq!(told(&a_box, early), None, "of an earlier boot, in 1970");
        let mut a_box = Box::boots(30, (FLOOR + DAY) * 1_000_000);
        let (before, since) = (a_box.last_id, a_box.accepts());
        a_box.runs(HOUR);
        assert_eq!(told(&a_box, before), Some(FLOOR + DAY), "as it was noted");
        a_box.is_set(FLOOR + 2 * DAY);
        assert_eq!(told(&a_box, since), Some(FLOOR + 2 * DAY - HOUR));
        let ahead = (FLOOR + 9000 * DAY) * 1_000_000;
        assert_eq!(arrived(&[], ahead, FLOOR), None, "years ahead");
        assert_eq!(
            arrived(&[], ahead, FLOOR + 9000 * DAY),
            Some(FLOOR + 9000 * DAY)
        );
    }

    #[test]
    fn small_steps_are_followed_and_many_jumps_are_survived() {
        let mut a_box = Box::boots(FLOOR + DAY, 0);
        let id = a_box.accepts();
        a_box.is_set(FLOOR + DAY + limits::CLOCK_JUMP.as_secs());
        assert_eq!(a_box.age(id), limits::CLOCK_JUMP.as_secs(), "no jump");
        for _ in 0..3 * limits::CLOCK_ERAS {
            a_box.is_set(a_box.wall + 2 * DAY);
            a_box.runs(1);
        }
        let late = a_box.accepts();
        assert!(a_box.age(id) < 2 * HOUR && a_box.age(late) == 0);
    }
}
