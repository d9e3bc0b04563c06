//! What the index knows of a message and a set of its recipients with one next try.

use super::record::Place;
use super::tries::Tries;
use crate::policy::routes::Lane;

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
    pub span: u16,
    pub tries: Tries,
    pub lane: u32,
    /// Unix seconds; 0: at once.
    pub next: u32,
    /// The slot of the message's next entry; the last one's is the first, so that a lone one's is its own.
    pub sibling: u32,
    /// The message's, in each of its entries.
    pub weight: Weight,
}

const _: () = assert!(size_of::<Entry>() == 56, "the memory ceiling counts on it");

/// What is held has a next try that never comes, and a number of tries that nothing else reaches. Both: of a spool that an
/// older version wrote, the latter alone would say nothing.
#[must_use]
pub fn is_held(next: u64, tries: Tries) -> bool {
    next >= NEVER && tries == Tries::HELD
}

/// Later than any next try, in unix seconds.
pub const NEVER: u64 = u32::MAX as u64;

/// The generations of a message stand in the table beside the index.
pub const SPARSE: u16 = u16::MAX;

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
            tries: Tries::default(),
            lane: 0,
            next: 0,
            sibling: 0,
            weight: Weight::default(),
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

    /// Held for a DSN: its lane is the DSN's slot.
    #[must_use]
    pub fn is_held(&self) -> bool {
        is_held(self.next.into(), self.tries)
    }

    pub fn set_next(&mut self, seconds: u64) {
        self.next = seconds.try_into().unwrap_or(u32::MAX);
    }
}

/// What a message takes of the spool, in KiB, and whose share it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight(u32);

/// A gibibyte: more than this is counted as this.
const MOST_KIB: u32 = (1 << KIB_BITS) - 1;
const KIB_BITS: u32 = 20;
/// What is left of 32 bits numbers the shares.
pub const SHARES: usize = 1 << (u32::BITS - KIB_BITS);

impl Weight {
    /// Of so many octets in the log.
    #[must_use]
    pub fn new(share: u16, octets: u64) -> Self {
        let kib = u32::try_from(octets.div_ceil(1024)).unwrap_or(MOST_KIB);
        Self(u32::from(share) << KIB_BITS | kib.min(MOST_KIB))
    }

    /// The share's number; 0: nobody's.
    #[must_use]
    pub fn share(self) -> u16 {
        (self.0 >> KIB_BITS) as u16
    }

    #[must_use]
    pub fn kib(self) -> u32 {
        self.0 & MOST_KIB
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_all_bits() {
        assert_eq!((all(0), all(1), all(100)), (0, 1, (1 << 100) - 1));
        assert_eq!(all(128), u128::MAX);
        let place = Place {
            generation: 1,
            segment: 1,
            offset: 4096,
        };
        let mut entry = Entry::new(1, place, 3);
        entry.set_remaining(1 << 99 | 1);
        entry.set_next(u64::MAX);
        assert_eq!(entry.remaining(), 1 << 99 | 1);
        assert_eq!(entry.next, u32::MAX);
    }

    #[test]
    fn weights_are_whole_kibibytes_of_a_share() {
        let read = |share, octets| {
            let weight = Weight::new(share, octets);
            (weight.share(), weight.kib())
        };
        assert_eq!(read(0, 0), (0, 0));
        assert_eq!(read(4095, 1025), (4095, 2));
        assert_eq!(read(7, u64::MAX), (7, MOST_KIB));
    }
}
