//! The queue's index: one entry of fixed size for each message and set of recipients with one next try.

use super::generations::Generations;
use super::record::Place;
use crate::limits;
use crate::policy::routes::Lane;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// An entry. Addresses stay on the disk.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub id: u64,
    /// Recipients still to do; two halves, because a u128 would be aligned to 16.
    remaining: [u64; 2],
    /// The final part.
    pub generation: u64,
    pub offset: u32,
    /// How many generations before it the first part is, if all between hold one; else [`SPARSE`].
    span: u16,
    pub attempts: u16,
    pub lane: u32,
    /// Unix seconds; 0: at once.
    next: u32,
}

const _: () = assert!(size_of::<Entry>() == 48, "the memory ceiling counts on it");

/// The generations of a message stand in the table beside the index.
const SPARSE: u16 = u16::MAX;

impl Entry {
    /// A new message's entry, due at once.
    #[must_use]
    pub fn new(id: u64, place: Place, recipients: u8) -> Self {
        let mut entry = Self {
            id,
            remaining: [0; 2],
            generation: place.generation,
            offset: place.offset,
            span: 0,
            attempts: 0,
            lane: 0,
            next: 0,
        };
        entry.set_remaining(all(recipients));
        entry
    }

    #[must_use]
    pub fn remaining(&self) -> u128 {
        u128::from(self.remaining[0]) | u128::from(self.remaining[1]) << 64
    }

    pub fn set_remaining(&mut self, mask: u128) {
        self.remaining = [mask as u64, (mask >> 64) as u64];
    }

    #[must_use]
    pub fn next(&self) -> u64 {
        self.next.into()
    }

    pub fn set_next(&mut self, seconds: u64) {
        self.next = seconds.try_into().unwrap_or(u32::MAX);
    }
}

/// The mask of that many recipients.
#[must_use]
pub fn all(recipients: u8) -> u128 {
    1_u128
        .checked_shl(recipients.into())
        .map_or(u128::MAX, |bit| bit - 1)
}

/// Lanes whose recipients differ have none; this number of [`Lane`] is kept for them.
pub const MIXED: u32 = u32::MAX;

/// The lane of recipients seen one after another.
#[must_use]
pub fn joined(so_far: Option<u32>, lane: Lane) -> u32 {
    let lane = lane.0.min(MIXED - 1);
    match so_far {
        Some(other) if other != lane => MIXED,
        _ => lane,
    }
}

/// All entries and their due order. Memory is reserved once, and touched as it is used.
pub struct Queue {
    /// An id of 0 marks a vacant slot.
    slots: Vec<Entry>,
    vacant: Vec<u32>,
    due: BinaryHeap<Reverse<(u32, u32)>>,
    /// How many entries a message has, and its generations, where other mail lies between its parts. Each generation
    /// stands for a part of it there, so the table takes less than a thousandth of the spool's size.
    sparse: HashMap<u64, (u32, Generations)>,
    in_flight: usize,
    /// Recipients of all entries, and those of open transactions: a split can never want for a slot.
    recipients: usize,
    last_id: u64,
}

impl Queue {
    #[must_use]
    pub fn new(last_id: u64) -> Self {
        Self {
            slots: Vec::with_capacity(limits::QUEUE_ENTRIES),
            vacant: Vec::with_capacity(limits::QUEUE_ENTRIES),
            due: BinaryHeap::with_capacity(limits::QUEUE_ENTRIES),
            sparse: HashMap::new(),
            in_flight: 0,
            recipients: 0,
            last_id,
        }
    }

    /// An id never given before.
    pub fn new_id(&mut self, now_micros: u64) -> u64 {
        self.last_id = now_micros.max(self.last_id + 1);
        self.last_id
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

    /// Puts an entry in, whose recipients' room is taken already. Returns true if it is the first that is due.
    pub fn insert(&mut self, mut entry: Entry, generations: &Generations) -> bool {
        entry.span = match *generations {
            Generations::Run { first, last } if last - first < SPARSE.into() => {
                (last - first) as u16
            }
            _ => {
                let kept = self.sparse.entry(entry.id);
                kept.or_insert_with(|| (0, generations.clone())).0 += 1;
                SPARSE
            }
        };
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        self.wait(slot)
    }

    /// Puts a slot in the due order.
    fn wait(&mut self, slot: u32) -> bool {
        let Some(entry) = self.get(slot) else {
            return false;
        };
        let key = (entry.next, slot);
        let first = self.due.peek().is_none_or(|&Reverse(head)| key < head);
        self.due.push(Reverse(key));
        first
    }

    /// Takes the first entry that is due.
    pub fn take_due(&mut self, now: u64) -> Option<(u32, Entry)> {
        let &Reverse((next, slot)) = self.due.peek()?;
        if u64::from(next) > now {
            return None;
        }
        self.due.pop();
        self.in_flight += 1;
        let entry = *self.get(slot)?;
        Some((slot, entry))
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
        self.in_flight -= 1;
        self.wait(slot)
    }

    /// Ends an entry's flight: out of the index. Its generations come with it.
    pub fn remove(&mut self, slot: u32) -> Option<(Entry, Generations)> {
        let vacant = self.get_mut(slot)?;
        let entry = *vacant;
        vacant.id = 0;
        self.in_flight -= 1;
        self.vacant.push(slot);
        Some((entry, self.leave(&entry)))
    }

    /// The generations of an entry that leaves.
    fn leave(&mut self, entry: &Entry) -> Generations {
        let last = entry.generation;
        if entry.span != SPARSE {
            let first = last - u64::from(entry.span);
            return Generations::Run { first, last };
        }
        match self.sparse.get_mut(&entry.id) {
            Some((entries, generations)) if *entries > 1 => {
                *entries -= 1;
                generations.clone()
            }
            _ => {
                let left = self.sparse.remove(&entry.id);
                left.map_or(Generations::of(last), |(_, generations)| generations)
            }
        }
    }

    /// Makes what waits due at once, all or one message's: `changed` is shown each entry that was not. Linear in the index.
    pub fn hasten(&mut self, id: Option<u64>, mut changed: impl FnMut(&Entry)) {
        let mut keys = std::mem::take(&mut self.due).into_vec();
        for Reverse((next, slot)) in &mut keys {
            if let Some(entry) = self.slots.get_mut(*slot as usize)
                && entry.next != 0
                && id.is_none_or(|id| id == entry.id)
            {
                (entry.next, *next) = (0, 0);
                changed(entry);
            }
        }
        self.due = keys.into();
    }

    /// Takes one message's waiting entries into flight; linear in the index.
    pub fn take(&mut self, id: u64) -> Vec<u32> {
        let mut taken = Vec::new();
        let slots = &self.slots;
        self.due.retain(|&Reverse((_, slot))| {
            let is_its = slots.get(slot as usize).is_some_and(|entry| entry.id == id);
            if is_its {
                taken.push(slot);
            }
            !is_its
        });
        self.in_flight += taken.len();
        taken
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter(|entry| entry.id != 0)
    }

    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, next: u64) -> Entry {
        let place = Place {
            generation: 1,
            segment: 1,
            offset: 4096,
        };
        let mut entry = Entry::new(id, place, 3);
        entry.set_next(next);
        entry
    }

    fn run() -> Generations {
        Generations::of(1)
    }

    #[test]
    fn a_spread_message_keeps_its_generations_until_its_last_entry_leaves() {
        let mut queue = Queue::new(0);
        let mut spread = Generations::of(1);
        spread.add(7);
        queue.insert(entry(1, 0), &spread);
        queue.insert(entry(1, 0), &spread);
        for left in [1, 0] {
            let (slot, _) = queue.take_due(1).unwrap();
            assert_eq!(queue.remove(slot).unwrap().1, spread);
            assert_eq!(queue.sparse.len(), left);
        }
    }

    #[test]
    fn entries_come_when_they_are_due_and_once() {
        let mut queue = Queue::new(0);
        assert!(queue.insert(entry(1, 50), &run()));
        assert!(queue.insert(entry(2, 40), &run()));
        assert!(!queue.insert(entry(3, 60), &run()));
        assert_eq!(queue.next_due(), Some(40));
        assert!(queue.take_due(39).is_none());
        let (slot, first) = queue.take_due(100).unwrap();
        assert_eq!(first.id, 2);
        assert_eq!(queue.take_due(100).unwrap().1.id, 1);
        assert_eq!(queue.take_due(59).map(|(_, entry)| entry.id), None);
        assert!(queue.put_back(slot));
        assert_eq!(queue.take_due(100).unwrap().1.id, 2);
        assert_eq!((queue.waiting(), queue.in_flight()), (1, 2));
        assert_eq!(queue.remove(slot).unwrap().0.id, 2);
        queue.insert(entry(4, 0), &run());
        assert_eq!(queue.take_due(1).unwrap().0, slot, "the slot is used again");
    }

    #[test]
    fn one_message_is_hastened_or_taken_and_the_others_keep_their_time() {
        let mut queue = Queue::new(0);
        for (id, next) in [(1, 50), (2, 40), (1, 60), (3, 0)] {
            queue.insert(entry(id, next), &run());
        }
        let mut changed = Vec::new();
        queue.hasten(Some(1), |entry| changed.push(entry.id));
        assert_eq!(changed, [1, 1]);
        let due = |queue: &mut Queue| queue.take_due(1).map(|(slot, entry)| (entry.id, slot));
        let mut first: Vec<_> = (0..3).filter_map(|_| due(&mut queue)).collect();
        first.sort_unstable();
        assert_eq!(first, [(1, 0), (1, 2), (3, 3)]);
        assert_eq!((due(&mut queue), queue.next_due()), (None, Some(40)));
        queue.put_back(2);
        assert_eq!(queue.take(1), [2], "the other one is in flight");
        assert_eq!((queue.waiting(), queue.in_flight()), (1, 3));
        queue.hasten(None, |_| {});
        assert_eq!(due(&mut queue), Some((2, 1)));
    }

    #[test]
    fn masks_keep_all_bits() {
        assert_eq!((all(0), all(1), all(100)), (0, 1, (1 << 100) - 1));
        assert_eq!(all(128), u128::MAX);
        let mut entry = entry(1, u64::MAX);
        entry.set_remaining(1 << 99 | 1);
        assert_eq!(entry.remaining(), 1 << 99 | 1);
        assert_eq!(entry.next(), u64::from(u32::MAX));
    }

    #[test]
    fn room_is_counted_in_recipients() {
        let mut queue = Queue::new(0);
        for _ in 0..limits::QUEUE_ENTRIES {
            assert!(queue.reserve());
        }
        assert!(!queue.reserve());
        queue.unreserve(1);
        assert!(queue.reserve());
    }
}
