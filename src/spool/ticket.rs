//! Entries that somebody works on.

use super::Id;
use super::marks::Mark;
use super::queue;
use super::shared::Shared;
use crate::policy::routes::Lane;
use std::fmt;
use std::sync::Arc;

/// An entry taken by [`super::Spool::next_due`]: nobody else gets it until the ticket is settled, split, released or
/// dropped (which releases it).
#[must_use]
pub struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) slot: u32,
    id: Id,
    /// The entry is still in flight.
    flies: bool,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, slot: u32, id: u64) -> Self {
        Self {
            shared,
            slot,
            id: Id(id),
            flies: true,
        }
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Splits the entry: see [`super::Spool::split`].
    pub(super) fn split(mut self, groups: &[(Lane, u128)]) {
        self.flies = false;
        let mut state = self.shared.state();
        let Some(&entry) = state.queue.get(self.slot) else {
            return;
        };
        let mut rest = entry.remaining();
        let mut parts = Vec::new();
        for (lane, mask) in groups {
            let mask = mask & rest;
            if mask != 0 {
                rest &= !mask;
                parts.push((queue::joined(None, *lane), mask));
            }
        }
        if rest != 0 {
            parts.push((queue::MIXED, rest));
        }
        let part = |(lane, mask)| {
            let mut entry = entry;
            entry.lane = lane;
            entry.set_remaining(mask);
            entry
        };
        let mut parts = parts.into_iter().map(part);
        if let (Some(first), Some(entry)) = (parts.next(), state.queue.get_mut(self.slot)) {
            *entry = first;
        }
        for part in parts {
            state.queue.insert_beside(self.slot, part);
        }
        state.end_flight(self.slot);
        drop(state);
        self.shared.due_changed();
    }

    /// Some of the recipients with a ticket of their own, for a next attempt that counts none; None where it has none of
    /// them. Nothing is written: on the disk they are still to do.
    pub fn part(&self, mask: u128) -> Option<Self> {
        let mut state = self.shared.state();
        let entry = state.queue.get_mut(self.slot)?;
        let mask = mask & entry.remaining();
        if mask == 0 {
            return None;
        }
        let mut part = *entry;
        part.set_remaining(mask);
        entry.set_remaining(entry.remaining() & !mask);
        let slot = state.queue.fly_beside(self.slot, part);
        Some(Self::new(self.shared.clone(), slot, part.id))
    }

    /// Ends the flight by what an attempt did; the marks are still to be written.
    pub(super) fn land(mut self, outcome: Outcome) -> [Option<Mark>; 2] {
        self.flies = false;
        let mut state = self.shared.state();
        let Some(entry) = state.queue.get_mut(self.slot) else {
            return [None, None];
        };
        let done = outcome.done & entry.remaining();
        let rest = entry.remaining() & !done;
        let mark = (done != 0).then_some(Mark::Done {
            id: entry.id,
            mask: done,
        });
        entry.set_remaining(rest);
        let defer = outcome.defer.filter(|_| rest != 0).map(|deferral| {
            entry.tries = match deferral.unreached {
                true => entry.tries.one_more().unreached(),
                false => entry.tries.one_more(),
            };
            entry.set_next(deferral.next);
            Mark::Defer {
                id: entry.id,
                mask: rest,
                next: deferral.next,
                tries: entry.tries,
            }
        });
        state.queue.unreserve(done.count_ones());
        let landing = state.end_flight(self.slot);
        drop(state);
        if landing.is_first {
            self.shared.due_changed();
        }
        [mark, defer.or(landing.let_go)]
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.flies && self.shared.state().end_flight(self.slot).is_first {
            self.shared.due_changed();
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}

/// What the index knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub id: Id,
    /// The lane of all its recipients, unless `mixed`.
    pub lane: Lane,
    /// Its recipients belong to several lanes: read it, then [`super::Spool::split`] it.
    pub mixed: bool,
    /// Attempts that ended in a deferral.
    pub attempts: u16,
    /// Whether a report tells the sender of the delay.
    pub delay_told: bool,
    /// The recipients that are still to do, by ordinal.
    pub recipients: u128,
}

/// What an attempt did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Recipients that need nothing more: delivered, or failed where no DSN is due.
    pub done: u128,
    /// When to try the others again; None: at once, uncounted.
    pub defer: Option<Deferral>,
}

/// A next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// Unix seconds.
    pub next: u64,
    /// Whether no host of the destination was reached: the first success wakes it ([`super::Spool::wake`]).
    pub unreached: bool,
}
