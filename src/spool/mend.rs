//! When the disk fails: what the open batch held is refused, and a fresh segment must prove good before new mail is taken.

use super::batch::Log;
use super::marks::Range;
use super::record::{self, Kind};
use super::segments::Class;
use super::transaction::Error;
use crate::limits;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Log {
    /// Keeps what must be noted in the log, and drops what concerns lives that are over.
    pub fn note_failure(&mut self, range: Range) {
        let state = self.shared.state();
        let is_there = |range: &Range| state.segments.may_be_found(range.generation);
        self.failed.retain(is_there);
        self.holes.retain(is_there);
        self.noted.retain(is_there);
        self.failed.push(range);
        self.holes.push(range);
    }

    /// A write or a sync failed: nothing of the batch is ever tried again, but its marks in a fresh segment.
    pub fn fail(&mut self, problem: io::Error) {
        let Some(current) = self.current.take() else {
            return;
        };
        log::error!(
            "spool segment={:06}.seg offset={} error={:?}: {} transactions refused",
            current.number,
            current.batch,
            problem.to_string(),
            self.waiting.len()
        );
        let range = Range {
            generation: current.generation,
            from: current.batch,
            to: record::END,
        };
        self.note_failure(range);
        self.stage.clear();
        self.shared.state().segments.set_failed(current.generation);
        self.note_problem(&problem);
        // Before the answers: whoever tries again at once is refused at MAIL.
        self.mend_later();
        for (part, _) in std::mem::take(&mut self.waiting) {
            part.answer(Err(self.refusal()));
        }
    }

    /// Remembers whether the disk is full or broken: on file systems that copy what is written over it may be full.
    pub fn note_problem(&self, problem: &io::Error) {
        let full = problem.kind() == io::ErrorKind::StorageFull;
        self.shared.disk_full.store(full, Ordering::Relaxed);
    }

    /// What those are told whom the disk's last error concerns.
    pub fn refusal(&self) -> Error {
        match self.shared.disk_full.load(Ordering::Relaxed) {
            true => Error::Full,
            false => Error::Io(io::Error::other("an earlier write failed")),
        }
    }

    /// New mail is refused until a fresh segment has proved good; the first try is soon.
    pub fn mend_later(&mut self) {
        let again = self.shared.read_only.swap(true, Ordering::Relaxed);
        if !again {
            log::error!("spool takes no new mail until a fresh segment proves good");
        }
        let now = Instant::now();
        self.mend_at = Some(match again {
            true => now + limits::SPOOL_MEND,
            false => now,
        });
        self.current = None;
    }

    /// Tries a fresh segment: it is good once the note of the hole and the marks of the failed batch are synced.
    pub fn mend(&mut self) {
        if self.mend_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.mend_at = None;
        if self.begin_segment().is_err() {
            // Full, too: something may become free.
            self.mend_later();
            return;
        }
        if self.note_holes() {
            self.shared.read_only.store(false, Ordering::Relaxed);
            log::warn!("spool takes mail again: a fresh segment proves good");
        }
    }

    /// Writes and syncs what recovery must pass over in silence, and the marks of a failed batch. Torn itself, this must
    /// not make what is noted look like damage: it does not count as a batch that came behind. False: it failed.
    pub fn note_holes(&mut self) -> bool {
        self.noting = true;
        for hole in self.holes.clone() {
            if let Err(problem) = self.note(hole) {
                log::warn!("spool hole not noted: {problem}");
            }
        }
        for mark in std::mem::take(&mut self.unsynced) {
            // What was said is left out: it decides nothing.
            self.mark(mark, &[]);
        }
        let noted = self.mend_at.is_none() && self.flush(Kind::Padding);
        self.noting = false;
        if noted {
            self.noted.append(&mut self.holes);
        }
        noted
    }

    /// Appends the note of a hole.
    ///
    /// # Errors
    /// [`Error`].
    pub fn note(&mut self, hole: Range) -> Result<(), Error> {
        let bytes = hole.bytes();
        self.make_room(Class::Mark, bytes.len())?;
        self.append(Kind::Resume, 0, &[&bytes])
    }
}
