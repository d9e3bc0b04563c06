//! Checkpoints: they repeat what a segment's marks say about older messages, so that the segment can be used again.

use super::batch::Log;
use super::marks::{Left, Range};
use super::record::{self, Kind};
use super::segments::Class;
use super::transaction::Error;
use crate::limits;

impl Log {
    /// Writes checkpoints when segments run short and some are kept only by their marks, and wakes the mover when some are
    /// kept by little.
    pub fn upkeep(&mut self) {
        if self.checkpointing {
            return;
        }
        let state = self.shared.state();
        if state.segments.wants_renewal() && !self.shared.is_read_only() {
            self.shared.mover.call();
        } else if state.segments.pressure().is_some() {
            self.shared.mover.ring(state.segments.sight());
        }
        if !state.segments.wants_checkpoint() || self.current.is_none() {
            return;
        }
        let shortage = Some(state.segments.shortage());
        if self.no_checkpoint == shortage {
            return;
        }
        let (blocked, held) = state.segments.blocked();
        drop(state);
        self.checkpointing = true;
        let written = held
            .iter()
            .try_for_each(|&generation| self.checkpoint(generation))
            .and_then(|()| self.note_again(&held));
        self.checkpointing = false;
        match written {
            // Before a segment's header is written again, the checkpoint must be on the disk.
            Ok(()) if self.flush(Kind::Padding) => {
                self.shared.state().segments.set_cleared(&blocked);
                log::debug!("checkpoint segments={} freed={}", held.len(), blocked.len());
            }
            Ok(()) => {}
            Err(problem) => {
                self.no_checkpoint = shortage;
                log::debug!("checkpoint not written: {problem}");
            }
        }
    }

    /// Repeats the notes of holes in these generations: without one, what a failed commit left would be taken for damage,
    /// or for mail.
    fn note_again(&mut self, generations: &[u64]) -> Result<(), Error> {
        let is_there = |hole: &Range| generations.contains(&hole.generation);
        let holes: Vec<Range> = self.noted.iter().copied().filter(is_there).collect();
        holes.into_iter().try_for_each(|hole| self.note(hole))
    }

    /// Writes what is still to do of the messages of one generation, in ranges that stand alone.
    fn checkpoint(&mut self, generation: u64) -> Result<(), Error> {
        let mut left: Vec<Left> = self
            .shared
            .state()
            .queue
            .entries()
            .filter(|entry| entry.generation == generation)
            .map(Left::of)
            .collect();
        left.sort_unstable();
        let mut from = record::FIRST;
        let mut rest = left.as_slice();
        loop {
            let mut payload = Range {
                generation,
                from,
                to: 0,
            }
            .bytes()
            .to_vec();
            let mut count = 0;
            // The entries of one message stay together: a range is cut between two offsets.
            while let Some(next) = rest.get(count) {
                let same = count > 0 && rest[count - 1].offset == next.offset;
                if payload.len() > limits::SPOOL_PART && !same {
                    break;
                }
                next.put(&mut payload);
                count += 1;
            }
            let to = rest.get(count).map_or(record::END, |next| next.offset);
            payload[..16].copy_from_slice(
                &Range {
                    generation,
                    from,
                    to,
                }
                .bytes(),
            );
            self.make_room(Class::Mark, payload.len())?;
            self.append(Kind::Checkpoint, 0, &[&payload])?;
            rest = &rest[count..];
            from = to;
            if rest.is_empty() && to == record::END {
                return Ok(());
            }
        }
    }
}
