//! What an open transaction has taken.

use super::record::Place;
use super::segments::Class;
use super::shared::Shared;
use std::sync::Arc;

/// Room in the index and segments kept for a transaction. Dropping it gives all back, wherever it is then: with the
/// session, on its way to the writer, or in a reply that nobody waits for any more.
pub struct Claim {
    pub shared: Arc<Shared>,
    /// The first and last generation that hold a part.
    generations: Option<(u64, u64)>,
    recipients: u32,
    arriving: bool,
}

impl Claim {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            generations: None,
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

    /// Keeps the segment that the next part goes to. False: there is no room for its class.
    pub fn admit(&mut self, class: Class, place: Place) -> bool {
        let mut state = self.shared.state();
        if !state.segments.admits(class) {
            return false;
        }
        let generation = place.generation;
        match &mut self.generations {
            None => {
                self.generations = Some((generation, generation));
                state.segments.hold(generation..=generation);
            }
            Some((_, last)) if *last < generation => {
                state.segments.hold(*last + 1..=generation);
                *last = generation;
            }
            Some(_) => {}
        }
        true
    }

    /// How many generations the message spans beyond one.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.generations.map_or(0, |(first, last)| last - first)
    }

    /// What it has taken belongs to an entry of the index now.
    pub fn hand_over(&mut self) {
        self.generations = None;
        self.recipients = 0;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.generations.is_some() || self.recipients > 0 {
            let mut state = self.shared.state();
            if let Some((first, last)) = self.generations {
                state.segments.release(first..=last);
            }
            state.queue.unreserve(self.recipients);
        }
        if self.arriving {
            self.shared.inbox.data_ended();
        }
    }
}
