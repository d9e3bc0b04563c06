//! Which messages to move so that segments become free.

use super::pressure::Pressure;
use super::shared::{Shared, State};
use crate::limits;
use std::collections::BTreeMap;

/// Messages by their lowest slot, with the ids that these had when they were seen.
pub type Messages = Vec<(u32, u64)>;

const SEGMENT_KIB: u32 = (limits::SPOOL_SEGMENT / 1024) as u32;

impl Pressure {
    /// What may be written to free a segment, in KiB: little while there is still time for its messages to leave by
    /// themselves, at most half of it when mail would be refused.
    fn price(self) -> u32 {
        match self {
            Self::Short => SEGMENT_KIB / 8,
            Self::Full => SEGMENT_KIB / 2,
        }
    }
}

/// The messages that keep the sparsest segment, if moving them is worth it. None: there is none, or no need.
pub fn choose(shared: &Shared) -> Option<Messages> {
    shared.state().segments.pressure()?;
    see_all(shared);
    let state = shared.state();
    let pressure = state.segments.pressure()?;
    let sparsest = state.segments.sparsest(pressure, pressure.price());
    let mut tried = sparsest.into_iter().take(limits::SPOOL_MOVE_TRIES);
    tried.find_map(|generation| movable(&state, generation, pressure.price()))
}

/// Counts which messages rest in which segments; a few at a time, so that no commit waits long.
fn see_all(shared: &Shared) {
    shared.state().segments.look_again();
    let mut slot = 0;
    loop {
        let mut state = shared.state();
        let State {
            queue, segments, ..
        } = &mut *state;
        let end = queue.slots().min(slot + limits::SPOOL_LOOK as u32);
        if slot >= end {
            return;
        }
        for slot in slot..end {
            let Some(entry) = queue.resting(slot) else {
                continue;
            };
            let generations = queue.generations(entry);
            let each = entry.weight.kib().div_ceil(generations.count() as u32);
            for generation in generations.iter() {
                segments.see(generation, each);
            }
        }
        slot = end;
    }
}

/// All messages with a part in a segment; None if one of them does not rest, or if moving them, with all their parts,
/// costs more than `price` for each segment that becomes free.
fn movable(state: &State, generation: u64, price: u32) -> Option<Messages> {
    let mut messages = Vec::new();
    let mut kib = 0;
    let mut leave: BTreeMap<u64, u32> = BTreeMap::new();
    for slot in 0..state.queue.slots() {
        let Some(entry) = state.queue.get(slot) else {
            continue;
        };
        if !state.queue.reaches(entry, generation) {
            continue;
        }
        let Some(entry) = state.queue.resting(slot) else {
            // Another entry of a message that is seen by its lowest slot, or one in flight: then the counts differ below.
            continue;
        };
        messages.push((slot, entry.id));
        kib += u64::from(entry.weight.kib());
        for generation in state.queue.generations(entry).iter() {
            *leave.entry(generation).or_default() += 1;
        }
    }
    leave.retain(|generation, messages| state.segments.would_be_free(*generation, *messages));
    let worth = kib <= leave.len() as u64 * u64::from(price);
    (worth && leave.contains_key(&generation)).then_some(messages)
}
