//! A queued message while it is moved.

use super::generations::Generations;
use super::marks::Left;
use super::record::Place;
use super::shared::{Shared, State};
use std::sync::Arc;

/// A message that nobody is given while it is moved. It is put down where it was when this is dropped, wherever that is
/// then: with the mover, in the writer's inbox, or in a batch whose sync failed. So its marks and its copy never cross.
pub struct Lifted {
    shared: Arc<Shared>,
    /// None once it is put down.
    slots: Option<Vec<u32>>,
    /// Where it was, and where its parts are.
    pub place: Place,
    pub generations: Generations,
    /// What is to be done, for each of its entries.
    pub left: Vec<Left>,
}

impl Lifted {
    /// Lifts a message by its lowest slot; None: it is gone, or somebody works on it.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, slot: u32, id: u64) -> Option<Self> {
        let mut state = shared.state();
        let entry = *state.queue.resting(slot).filter(|entry| entry.id == id)?;
        let place = Place {
            generation: entry.generation,
            segment: state.segments.number(entry.generation)?,
            offset: entry.offset,
        };
        let generations = state.queue.generations(&entry);
        let slots = state.queue.lift(slot, id)?;
        let entries = slots.iter().filter_map(|&slot| state.queue.get(slot));
        let left = entries.map(Left::of).collect();
        Some(Self {
            shared: shared.clone(),
            slots: Some(slots),
            place,
            generations,
            left,
        })
    }

    /// Its copy is on the disk: from now on that one counts. True if it is the first that is due.
    pub fn put_down_at(&mut self, state: &mut State, place: Place, to: &Generations) -> bool {
        let Some(slots) = self.slots.take() else {
            return false;
        };
        if let Some(from) = state.queue.relocate(&slots, place, to) {
            state.segments.release(from.iter());
        }
        state.queue.put_down(&slots)
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take()
            && self.shared.state().queue.put_down(&slots)
        {
            self.shared.due_changed();
        }
    }
}
