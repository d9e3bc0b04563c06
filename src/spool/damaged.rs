//! Messages whose final part cannot be read, and what of them the log says is still to be done.

use super::marks::{Gap, Left, Range};
use super::record::{Kind, Place};
use std::collections::HashMap;

/// By id: the final part's place, and the recipients that need nothing more.
#[derive(Default)]
pub struct Damaged(HashMap<u64, (Place, u128)>);

impl Damaged {
    /// A gap; that of a final part costs its message.
    pub fn gap(&mut self, gap: &Gap) {
        if let (Some(Kind::Final), Some(id)) = (gap.kind, gap.id) {
            self.0.insert(id, (gap.place, 0));
        }
    }

    /// Its copy can be read, so nothing is lost.
    pub fn forget(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Recipients that need nothing more.
    pub fn done(&mut self, id: u64, mask: u128) {
        if let Some((_, done)) = self.0.get_mut(&id) {
            *done |= mask;
        }
    }

    /// Of those in the range only what is listed is live.
    pub fn checkpoint(&mut self, range: Range, left: &[Left]) {
        for (place, done) in self.0.values_mut() {
            if range.holds(place.generation, place.offset) {
                let listed = left.iter().filter(|left| left.offset == place.offset);
                *done |= !listed.fold(0, |all, left| all | left.mask);
            }
        }
    }

    /// What stands in the range was never acknowledged.
    pub fn refuse(&mut self, range: Range) {
        self.0
            .retain(|_, (place, _)| !range.holds(place.generation, place.offset));
    }

    /// The messages of which something is left, with the recipients that need nothing more.
    pub fn left(self) -> impl Iterator<Item = (u64, u128)> {
        let all = self.0.into_iter().map(|(id, (_, done))| (id, done));
        all.filter(|(_, done)| *done != u128::MAX)
    }
}
