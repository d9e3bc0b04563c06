//! What an open transaction has taken.

use super::entry::Weight;
use super::generations::Generations;
use super::record::Place;
use super::segments::Class;
use super::shared::Shared;
use super::transaction::Error;
use std::sync::Arc;

/// Room in the index and segments kept for a transaction. Dropping it gives all back, wherever it is then: with the
/// session, on its way to the writer, or in a reply that nobody waits for any more.
pub struct Claim {
    pub shared: Arc<Shared>,
    /// Those that hold a part.
    generations: Option<Generations>,
    /// Of all its parts.
    octets: u64,
    /// What it is counted for, and whose share it is of.
    weight: Weight,
    recipients: u32,
    arriving: bool,
}

impl Claim {
    /// For a transaction of a share; 0: nobody's.
    #[must_use]
    pub fn new(shared: Arc<Shared>, share: u16) -> Self {
        Self {
            shared,
            generations: None,
            octets: 0,
            weight: Weight::new(share, 0),
            recipients: 0,
            arriving: false,
        }
    }

    /// Takes room in the index for one more recipient.
    pub fn reserve(&mut self) -> bool {
        let room = self.shared.state().queue.reserve();
        self.recipients += u32::from(room);
        room
    }

    /// Its data is arriving: a sync may wait for it.
    pub fn data_begins(&mut self) {
        if !self.arriving {
            self.arriving = true;
            self.shared.inbox.data_begins();
        }
    }

    /// Its data has arrived: true if it was counted until now.
    pub fn data_ended(&mut self) -> bool {
        std::mem::take(&mut self.arriving)
    }

    /// Keeps the segment that the next part, of so many octets, goes to.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no room for its class, or the transaction is spread over too many segments.
    /// [`Error::OverShare`].
    pub fn admit(&mut self, class: Class, place: Place, octets: usize) -> Result<(), Error> {
        let mut state = self.shared.state();
        if !state.segments.admits(class) {
            return Err(Error::Full);
        }
        let octets = self.octets + octets as u64;
        let weight = Weight::new(self.weight.share(), octets);
        let more = weight.kib() - self.weight.kib();
        if !state.share_has_room(weight.share(), self.weight.kib(), more.into()) {
            return Err(Error::OverShare);
        }
        let generation = place.generation;
        let held = self.generations.as_ref();
        let known = held.is_some_and(|held| held.last() >= generation);
        let count = held.map_or(0, Generations::count) + 1;
        if !known && !state.segments.may_spread(count, octets) {
            return Err(Error::Full);
        }
        state.shares.give_back(self.weight);
        state.shares.add(weight);
        (self.octets, self.weight) = (octets, weight);
        if known {
            return Ok(());
        }
        match &mut self.generations {
            Some(generations) => generations.add(generation),
            none => *none = Some(Generations::of(generation)),
        }
        state.segments.hold([generation]);
        Ok(())
    }

    /// What it has taken belongs to an entry of the index now, which needs these generations and has this weight.
    pub fn hand_over(&mut self) -> (Option<Generations>, Weight) {
        self.recipients = 0;
        (self.generations.take(), std::mem::take(&mut self.weight))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.generations.is_some() || self.recipients > 0 {
            let mut state = self.shared.state();
            if let Some(generations) = &self.generations {
                state.segments.release(generations.iter());
            }
            state.shares.give_back(self.weight);
            state.queue.unreserve(self.recipients);
        }
        if self.arriving {
            self.shared.inbox.data_ended();
        }
    }
}
