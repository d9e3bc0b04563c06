//! How far a lane is trusted with slots, and the lines in which lanes wait for one.

use super::Key;
use crate::limits;
use std::collections::VecDeque;

/// What is known of a lane's destination, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has taken mail, and not failed since.
    Proven,
    /// Nothing.
    Unknown,
    /// It failed, or has retries only.
    Suspect,
}

pub(super) const STANDINGS: [Standing; 3] =
    [Standing::Proven, Standing::Unknown, Standing::Suspect];

/// How many slots lanes of each standing have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Workers([usize; STANDINGS.len()]);

impl Workers {
    pub fn add(&mut self, standing: Standing, count: usize) {
        self.0[standing as usize] += count;
    }

    pub fn take_away(&mut self, standing: Standing, count: usize) {
        let workers = &mut self.0[standing as usize];
        *workers = workers.saturating_sub(count);
    }

    /// When one of that standing has left.
    #[must_use]
    pub fn without(mut self, standing: Standing) -> Self {
        self.take_away(standing, 1);
        self
    }

    #[must_use]
    pub fn no_suspect(self) -> bool {
        self.0[Standing::Suspect as usize] == 0
    }

    /// Whether lanes of this standing have not used up their part of the slots: a suspect one leaves `reserve` to the
    /// others, and one of which nothing is known half of that to those that are proven.
    #[must_use]
    pub fn leave_a_part(self, standing: Standing, slots: usize, reserve: usize) -> bool {
        let [_, unknown, suspect] = self.0;
        let beside_proven = unknown + suspect < slots - reserve / 2;
        match standing {
            Standing::Proven => true,
            Standing::Unknown => beside_proven,
            Standing::Suspect => beside_proven && suspect < slots - reserve,
        }
    }
}

/// Lanes that wait for a slot, a line for each standing. A lane has one place at most.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: [VecDeque<Key>; STANDINGS.len()],
    /// Of the slots that did not go to a suspect lane, the last one went to a proven one.
    proven_had_its_turn: bool,
    /// Messages of lanes that are not suspect since a suspect one got a slot.
    ahead: usize,
}

impl Lines {
    pub fn is_empty(&self, standing: Standing) -> bool {
        self.lines[standing as usize].is_empty()
    }

    pub fn first(&self, standing: Standing) -> Option<Key> {
        self.lines[standing as usize].front().copied()
    }

    pub fn enter(&mut self, standing: Standing, key: Key) {
        self.lines[standing as usize].push_back(key);
    }

    /// Linear in the line, but for its first.
    pub fn quit(&mut self, standing: Standing, key: Key) {
        let line = &mut self.lines[standing as usize];
        if line.front() == Some(&key) {
            line.pop_front();
        } else {
            line.retain(|&waits| waits != key);
        }
    }

    /// Which line is to be looked at first. Proven lanes and those of which nothing is known take turns: as many busy ones
    /// as there are slots would keep all others waiting as long as there is mail for them. For the same reason a suspect
    /// one is let pass now and then, if no other is at work: a slot of many, and of one the time of one attempt.
    pub fn order(&self, workers: Workers) -> [Standing; STANDINGS.len()] {
        let [proven, unknown, suspect] = STANDINGS;
        let [first, second] = match self.proven_had_its_turn {
            true => [unknown, proven],
            false => [proven, unknown],
        };
        match self.ahead >= limits::SUSPECT_TURN && workers.no_suspect() {
            true => [suspect, first, second],
            false => [first, second, suspect],
        }
    }

    /// A lane of that line has got a slot.
    pub fn had_its_turn(&mut self, standing: Standing) {
        match standing {
            Standing::Suspect => self.ahead = 0,
            other => self.proven_had_its_turn = other == Standing::Proven,
        }
    }

    /// A lane of that standing has got a message.
    pub fn served(&mut self, standing: Standing) {
        if standing != Standing::Suspect {
            self.ahead = self.ahead.saturating_add(1);
        }
    }

    /// Whether another lane than this one waits there.
    pub fn has_others(&self, standing: Standing, key: Key) -> bool {
        let line = &self.lines[standing as usize];
        line.len() > 1 || line.front().is_some_and(|&first| first != key)
    }

    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    pub fn clear(&mut self) {
        self.lines.iter_mut().for_each(VecDeque::clear);
    }
}

/// The destinations that took mail, as far as they are remembered: of two with one place the later one. 0 is nobody.
#[derive(Debug)]
pub(super) struct Proven(Vec<u32>);

impl Proven {
    pub const MEMORY: usize = limits::LANES_PROVEN * size_of::<u32>();

    pub fn new() -> Self {
        Self(vec![0; limits::LANES_PROVEN])
    }

    pub fn remember(&mut self, key: Key) {
        if let Key::To(lane) = key {
            self.0[lane.0 as usize % limits::LANES_PROVEN] = lane.0;
        }
    }

    pub fn forget(&mut self, key: Key) {
        if let Key::To(lane) = key
            && self.holds(key)
        {
            self.0[lane.0 as usize % limits::LANES_PROVEN] = 0;
        }
    }

    /// To sort recipients needs no destination.
    pub fn holds(&self, key: Key) -> bool {
        match key {
            Key::Mixed => true,
            Key::To(lane) => {
                lane.0 != 0 && self.0[lane.0 as usize % limits::LANES_PROVEN] == lane.0
            }
        }
    }
}
