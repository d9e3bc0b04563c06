//! Whose turn it is: which lanes may have one more worker, and who gets a slot that is given up.

use super::standing::{STANDINGS, Standing, Workers};
use super::{Key, Lanes, NONE};
use crate::limits;

impl<T, W, F: Clone> Lanes<T, W, F> {
    /// Slots that are kept for lanes without a worker that are not suspect.
    fn reserve(&self) -> usize {
        (self.slots / limits::OUTBOUND_RESERVE_PART).min(self.slots - 1)
    }

    pub(super) fn may_start(&self, key: Key) -> bool {
        let Some(state) = self.lanes.get(&key) else {
            return false;
        };
        let free = self.slots.saturating_sub(self.workers);
        match (state.workers, state.standing) {
            (0, standing) => free > 0 && self.has_part_left(standing, self.by_standing),
            (_, Standing::Suspect) => false,
            (workers, _) => {
                workers < state.most
                    && free > self.reserve()
                    && !self.somebody_waits(key, self.by_standing)
            }
        }
    }

    /// Counts one more worker for a lane.
    pub(super) fn start(&mut self, key: Key) {
        self.leave_line(key);
        if let Some(state) = self.lanes.get_mut(&key) {
            state.workers += 1;
            self.workers += 1;
            self.by_standing.add(state.standing, 1);
            self.lines.had_its_turn(state.standing);
        }
    }

    /// Puts a lane that has messages and no worker into the line for a slot. Returns whether it now stands there.
    pub(super) fn line_up(&mut self, key: Key) -> bool {
        let Some(state) = self.lanes.get_mut(&key) else {
            return false;
        };
        if state.workers > 0 || state.head == NONE {
            return false;
        }
        if !std::mem::replace(&mut state.in_line, true) {
            self.lines.enter(state.standing, key);
        }
        true
    }

    /// Takes it out of the line. Returns whether it stood there.
    pub(super) fn leave_line(&mut self, key: Key) -> bool {
        let Some(state) = self.lanes.get_mut(&key) else {
            return false;
        };
        let stood = std::mem::take(&mut state.in_line);
        if stood {
            self.lines.quit(state.standing, key);
        }
        stood
    }

    /// Whether a lane other than this one could use a slot, if these workers were at work. One whose part is used up could
    /// not.
    pub(super) fn somebody_waits(&self, key: Key, workers: Workers) -> bool {
        let could = |standing| {
            self.has_part_left(standing, workers) && self.lines.has_others(standing, key)
        };
        STANDINGS.into_iter().any(could)
    }

    fn has_part_left(&self, standing: Standing, workers: Workers) -> bool {
        workers.leave_a_part(standing, self.slots, self.reserve())
    }

    /// The lane that gets a slot now, if there is one; its worker is counted.
    pub(super) fn next_in_line(&mut self) -> Option<Key> {
        let order = self.lines.order(self.by_standing).into_iter();
        let mut firsts = order.filter_map(|standing| self.lines.first(standing));
        let key = firsts.find(|&key| self.may_start(key))?;
        self.start(key);
        Some(key)
    }

    pub(super) fn set_standing(&mut self, key: Key, standing: Standing) {
        let stood = self.leave_line(key);
        if let Some(state) = self.lanes.get_mut(&key) {
            let before = std::mem::replace(&mut state.standing, standing);
            self.by_standing.take_away(before, state.workers);
            self.by_standing.add(standing, state.workers);
        }
        if stood {
            self.line_up(key);
        }
    }
}
