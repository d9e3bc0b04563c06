//! Messages that are kept for a DSN which refers to them.
//!
//! A DSN whose sender asked for the whole message (RET=FULL) does not copy it: the failed recipients stay in the index, as
//! an entry that is never due, until the DSN leaves. So recovery, checkpoints and the mover keep the message as they keep
//! any other. While the DSN is with somebody, who may be reading, the message is not moved; while it is moved, nobody is
//! given the DSN.

use super::super::entry::NEVER;
use super::super::tries::Tries;
use super::{Entry, Queue};
use crate::limits;

/// What a DSN holds.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// The entry of the message that it refers to.
    slot: u32,
}

impl Queue {
    /// Is there room for one more DSN that refers to a message?
    #[must_use]
    pub fn may_hold(&self) -> bool {
        self.holds.len() < limits::DSN_HOLDS
    }

    /// Takes recipients out of an entry in flight, and keeps them for a DSN that has just come.
    pub fn hold(&mut self, slot: u32, mask: u128, (dsn, dsn_slot): (u64, u32)) {
        let Some(entry) = self.get_mut(slot) else {
            return;
        };
        let mut held = *entry;
        held.set_remaining(entry.remaining() & mask);
        entry.set_remaining(entry.remaining() & !mask);
        held.set_next(NEVER);
        (held.tries, held.lane) = (Tries::HELD, dsn_slot);
        if held.remaining() != 0 {
            let slot = self.link(slot, held);
            self.holds.insert(dsn, Hold { slot });
        }
    }

    /// The same, of entries that recovery found held.
    pub fn hold_again(&mut self, slot: u32, (dsn, dsn_slot): (u64, u32)) {
        if let Some(entry) = self.get_mut(slot) {
            entry.lane = dsn_slot;
            self.holds.insert(dsn, Hold { slot });
        }
    }

    /// What a DSN refers to.
    #[must_use]
    pub fn held_for(&self, dsn: u64) -> Option<&Entry> {
        let hold = self.holds.get(&dsn)?;
        self.get(hold.slot)
    }

    /// A DSN that holds a message.
    #[must_use]
    pub fn holder(&self, id: u64) -> Option<u64> {
        let mut holds = self.holds.iter();
        let its = |hold: &Hold| self.get(hold.slot).is_some_and(|entry| entry.id == id);
        holds.find(|(_, hold)| its(hold)).map(|(dsn, _)| *dsn)
    }

    /// A DSN has left: the slot that it held.
    pub fn let_go(&mut self, dsn: u64) -> Option<u32> {
        self.holds.remove(&dsn).map(|hold| hold.slot)
    }

    /// The slot of the DSN for which one is held.
    pub(super) fn dsn_of(&self, slot: u32) -> Option<u32> {
        let held = self.get(slot).filter(|entry| entry.is_held());
        held.map(|entry| entry.lane)
    }
}
