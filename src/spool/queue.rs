//! The queue's index: one entry of fixed size for each message and set of recipients with one next try.

pub use super::entry::{Entry, MIXED, all, joined};

use super::entry::SPARSE;
use super::generations::Generations;
use super::record::Place;
use crate::limits;
use held::Hold;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

mod held;

/// All entries and their due order. Memory is reserved once, and touched as it is used.
pub struct Queue {
    /// An id of 0 marks a vacant slot.
    slots: Vec<Entry>,
    vacant: Vec<u32>,
    due: BinaryHeap<Reverse<(u32, u32)>>,
    /// The generations of a message where other mail lies between its parts. Each stands for a part of it there, so the
    /// table takes less than a thousandth of the spool's size.
    sparse: HashMap<u64, Generations>,
    /// Slots whose entries somebody works on: as many as attempts.
    flying: HashSet<u32>,
    /// Slots of messages that are being moved, and whether they came up in the due order meanwhile.
    lifted: HashMap<u32, bool>,
    /// Recipients of all entries, and those of open transactions: a split can never want for a slot.
    recipients: usize,
    last_id: u64,
    /// Microseconds that ids are ahead of the clock, because they never go back when it does.
    ahead: u64,
    /// By the DSN's id.
    holds: HashMap<u64, Hold>,
}

impl Queue {
    #[must_use]
    pub fn new(last_id: u64) -> Self {
        Self {
            slots: Vec::with_capacity(limits::QUEUE_ENTRIES),
            vacant: Vec::with_capacity(limits::QUEUE_ENTRIES),
            due: BinaryHeap::with_capacity(limits::QUEUE_ENTRIES),
            sparse: HashMap::new(),
            flying: HashSet::new(),
            lifted: HashMap::new(),
            recipients: 0,
            last_id,
            ahead: 0,
            holds: HashMap::new(),
        }
    }

    /// An id never given before.
    pub fn new_id(&mut self, now_micros: u64) -> u64 {
        self.last_id = now_micros.saturating_add(self.ahead).max(self.last_id + 1);
        self.last_id
    }

    /// The newest id given, or found by recovery; 0: none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.last_id
    }

    /// Shifts each next try by so many seconds, because the clock was set and shows `now_micros`; one that would be later
    /// than `longest_wait` from now is due at once. Returns the first id of the time since, and how many microseconds ids
    /// are ahead of the clock from now on. Linear in the index.
    pub fn clock_was_set(
        &mut self,
        by: i64,
        now_micros: u64,
        longest_wait: Duration,
    ) -> (u64, u64) {
        let latest = now_micros / 1_000_000 + longest_wait.as_secs();
        for entry in self.slots.iter_mut() {
            if entry.next == 0 || entry.is_held() {
                continue;
            }
            let next = u64::from(entry.next).saturating_add_signed(by);
            entry.set_next(if next > latest { 0 } else { next });
        }
        let mut keys = std::mem::take(&mut self.due).into_vec();
        for Reverse((next, slot)) in &mut keys {
            *next = self.slots.get(*slot as usize).map_or(0, |entry| entry.next);
        }
        self.due = keys.into();
        // Mail that came after the clock was set, and before anybody saw it, is of the time since.
        let unset = now_micros
            .saturating_add(self.ahead)
            .saturating_add_signed(by.saturating_mul(-1_000_000));
        let first = (self.last_id + 1).min(unset.saturating_add(1_000_000));
        self.ahead = self.last_id.saturating_sub(now_micros);
        (first, self.ahead)
    }

    /// Is there room for one more recipient?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.recipients < limits::QUEUE_ENTRIES
    }

    /// Takes room for one recipient; false: there is none.
    pub fn reserve(&mut self) -> bool {
        let room = self.has_room();
        self.recipients += usize::from(room);
        room
    }

    /// Gives room for recipients back.
    pub fn unreserve(&mut self, recipients: u32) {
        self.recipients = self.recipients.saturating_sub(recipients as usize);
    }

    /// Counts recipients that recovery found.
    pub fn reserve_recovered(&mut self, recipients: u32) {
        self.recipients += recipients as usize;
    }

    /// Puts a message's first entry in, whose recipients' room is taken already. Returns its slot, and true if it is the
    /// first that is due.
    pub fn insert(&mut self, mut entry: Entry, generations: &Generations) -> (u32, bool) {
        entry.span = self.span(entry.id, generations);
        let slot = self.put(entry);
        self.slots[slot as usize].sibling = slot;
        (slot, self.wait(slot))
    }

    /// Puts another entry of a message in, beside the one in a slot: where it is, and what it weighs, is that one's. Its slot.
    pub fn insert_beside(&mut self, slot: u32, entry: Entry) -> u32 {
        let added = self.link(slot, entry);
        self.wait(added);
        added
    }

    /// The same, already in flight.
    pub fn fly_beside(&mut self, slot: u32, entry: Entry) -> u32 {
        let added = self.link(slot, entry);
        self.flying.insert(added);
        added
    }

    /// Adds an entry to a message's, in no order yet; its slot.
    fn link(&mut self, slot: u32, mut entry: Entry) -> u32 {
        let Some(other) = self.get(slot) else {
            return slot;
        };
        (entry.span, entry.sibling, entry.weight) = (other.span, other.sibling, other.weight);
        (entry.generation, entry.offset) = (other.generation, other.offset);
        let added = self.put(entry);
        self.slots[slot as usize].sibling = added;
        added
    }

    fn put(&mut self, entry: Entry) -> u32 {
        match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// How an entry tells its generations; those that it cannot go to the table.
    fn span(&mut self, id: u64, generations: &Generations) -> u16 {
        match *generations {
            Generations::Run { first, last } if last - first < SPARSE.into() => {
                (last - first) as u16
            }
            _ => {
                self.sparse.insert(id, generations.clone());
                SPARSE
            }
        }
    }

    /// Puts a slot in the due order, unless it is held.
    fn wait(&mut self, slot: u32) -> bool {
        let Some(entry) = self.get(slot).filter(|entry| !entry.is_held()) else {
            return false;
        };
        let key = (entry.next, slot);
        let first = self.due.peek().is_none_or(|&Reverse(head)| key < head);
        self.due.push(Reverse(key));
        first
    }

    /// Takes the first entry that is due.
    pub fn take_due(&mut self, now: u64) -> Option<(u32, Entry)> {
        loop {
            let &Reverse((next, slot)) = self.due.peek()?;
            if u64::from(next) > now {
                return None;
            }
            self.due.pop();
            if let Some(came_up) = self.lifted.get_mut(&slot) {
                *came_up = true;
                continue;
            }
            self.flying.insert(slot);
            let entry = *self.get(slot)?;
            return Some((slot, entry));
        }
    }

    /// Could an entry be taken by then, or once what is being moved is put down?
    #[cfg(test)]
    pub fn may_come_up(&self, now: u64) -> bool {
        !self.lifted.is_empty() || self.next_due().is_some_and(|next| next <= now)
    }

    /// When the first entry is due, in unix seconds.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.due.peek().map(|&Reverse((next, _))| next.into())
    }

    /// An entry in flight.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize).filter(|entry| entry.id != 0)
    }

    /// An entry in flight, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots
            .get_mut(slot as usize)
            .filter(|entry| entry.id != 0)
    }

    /// Ends an entry's flight: back in the due order. True if it is the first.
    pub fn put_back(&mut self, slot: u32) -> bool {
        self.flying.remove(&slot);
        self.wait(slot)
    }

    /// Ends an entry's flight: out of the index. If it was its message's last, the message's generations come with it.
    pub fn remove(&mut self, slot: u32) -> Option<(Entry, Option<Generations>)> {
        let entry = *self.get(slot)?;
        let last = self.unlink(slot, entry.sibling);
        let generations = last.then(|| self.generations(&entry));
        if last {
            self.sparse.remove(&entry.id);
        }
        self.slots[slot as usize].id = 0;
        self.flying.remove(&slot);
        self.vacant.push(slot);
        Some((entry, generations))
    }

    /// Takes a slot out of its message's ring. True: it was alone.
    fn unlink(&mut self, slot: u32, next: u32) -> bool {
        let before = self.ring(slot).last();
        if let Some(before) = before {
            self.slots[before as usize].sibling = next;
        }
        next == slot
    }

    /// The slots of a message, from one of them on; a message has few.
    fn ring(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let next = move |&slot: &u32| {
            let next = self.get(slot)?.sibling;
            (next != first).then_some(next)
        };
        std::iter::successors(Some(first), next).take(u128::BITS as usize)
    }

    /// Which generations hold a part of an entry's message.
    #[must_use]
    pub fn generations(&self, entry: &Entry) -> Generations {
        let last = entry.generation;
        match entry.span {
            SPARSE => {
                let listed = self.sparse.get(&entry.id).cloned();
                listed.unwrap_or(Generations::of(last))
            }
            span => Generations::Run {
                first: last.saturating_sub(span.into()),
                last,
            },
        }
    }

    /// Has an entry's message a part in a generation?
    #[must_use]
    pub fn reaches(&self, entry: &Entry, generation: u64) -> bool {
        match entry.span {
            SPARSE => self.generations(entry).iter().any(|one| one == generation),
            span => {
                let last = entry.generation;
                (last.saturating_sub(span.into())..last + 1).contains(&generation)
            }
        }
    }

    /// How many slots there are, vacant ones among them.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// A message by the lowest of its slots, if none of its entries is in flight.
    #[must_use]
    pub fn resting(&self, slot: u32) -> Option<&Entry> {
        let entry = self.get(slot)?;
        let rests = |slot: &u32| !self.flying.contains(slot) && !self.lifted.contains_key(slot);
        let dsn_rests = |slot: u32| self.dsn_of(slot).is_none_or(|dsn| rests(&dsn));
        self.ring(slot)
            .all(|other| other >= slot && rests(&other) && dsn_rests(other))
            .then_some(entry)
    }

    /// Takes a message that rests from the due order, to move it; all its entries.
    pub fn lift(&mut self, slot: u32, id: u64) -> Option<Vec<u32>> {
        self.resting(slot).filter(|entry| entry.id == id)?;
        let slots: Vec<u32> = self.ring(slot).collect();
        let dsns = slots.iter().filter_map(|&slot| self.dsn_of(slot));
        let lifted: Vec<u32> = slots.iter().copied().chain(dsns).collect();
        self.lifted.extend(lifted.iter().map(|&slot| (slot, false)));
        Some(slots)
    }

    /// Puts a lifted message down where it is now. Returns where it was.
    pub fn relocate(
        &mut self,
        slots: &[u32],
        place: Place,
        to: &Generations,
    ) -> Option<Generations> {
        let first = *slots.first()?;
        let before = *self.get(first)?;
        let from = self.generations(&before);
        self.sparse.remove(&before.id);
        let span = self.span(before.id, to);
        // All of them, also what a DSN holds whose commit was slow and came only after the message was lifted.
        let ring: Vec<u32> = self.ring(first).collect();
        for slot in ring {
            if let Some(entry) = self.get_mut(slot) {
                (entry.generation, entry.offset, entry.span) =
                    (place.generation, place.offset, span);
            }
        }
        Some(from)
    }

    /// Gives a lifted message back to the due order. True if it is the first.
    pub fn put_down(&mut self, slots: &[u32]) -> bool {
        let mut first = false;
        for &slot in slots {
            for slot in [Some(slot), self.dsn_of(slot)].into_iter().flatten() {
                if self.lifted.remove(&slot) == Some(true) {
                    first |= self.wait(slot);
                }
            }
        }
        first
    }

    /// Makes what waits and is meant due at once, but what is being moved: `changed` is shown each entry that was not. Linear
    /// in the index.
    pub fn hasten(&mut self, is_meant: impl Fn(&Entry) -> bool, mut changed: impl FnMut(&Entry)) {
        let mut keys = std::mem::take(&mut self.due).into_vec();
        for Reverse((next, slot)) in &mut keys {
            if let Some(entry) = self.slots.get_mut(*slot as usize)
                && !self.lifted.contains_key(slot)
                && entry.next != 0
                && is_meant(entry)
            {
                entry.set_next(0);
                *next = 0;
                changed(entry);
            }
        }
        self.due = keys.into();
    }

    /// Takes one message's waiting entries into flight, unless it is being moved; linear in the index.
    pub fn take(&mut self, id: u64) -> Vec<u32> {
        let mut taken = Vec::new();
        let (slots, lifted) = (&self.slots, &self.lifted);
        self.due.retain(|&Reverse((_, slot))| {
            let is_its = slots.get(slot as usize).is_some_and(|entry| entry.id == id)
                && !lifted.contains_key(&slot);
            if is_its {
                taken.push(slot);
            }
            !is_its
        });
        self.flying.extend(&taken);
        taken
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter(|entry| entry.id != 0)
    }

    #[must_use]
    pub fn waiting(&self) -> usize {
        let came_up = self.lifted.values().filter(|came_up| **came_up);
        self.due.len() + came_up.count()
    }

    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }
}

#[cfg(test)]
mod tests;
