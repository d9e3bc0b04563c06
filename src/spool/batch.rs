//! Appending to the log: one batch between two syncs, one segment after another.

use super::disk::DiskFile;
use super::folder;
use super::generations::Generations;
use super::header::SegmentHeader;
use super::log::PartRequest;
use super::marks::{Mark, Range};
use super::queue::Entry;
use super::record::{self, BLOCK, HEADER, Kind, Place};
use super::seal::{CHECK, Life, Sealer};
use super::segments::Class;
use super::shared::Shared;
use super::transaction::Error;
use crate::limits;
use smol::channel::Sender;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The segment that is written.
pub struct Current {
    pub file: Box<dyn DiskFile>,
    pub generation: u64,
    pub number: u32,
    /// Where the open batch begins: all before is synced.
    pub batch: u32,
    /// Written up to here; the stage follows.
    pub written: u32,
    /// What seals its records; None: they are in clear.
    pub life: Option<Life>,
}

/// A new life's file, and what seals it.
type Begun = (Box<dyn DiskFile>, Option<Life>);

/// The writer's state.
pub struct Log {
    pub shared: Arc<Shared>,
    pub current: Option<Current>,
    pub stage: Vec<u8>,
    /// Final parts that wait for the sync.
    pub waiting: Vec<(PartRequest, Place)>,
    /// Replies due when the stage is written.
    unwritten: Vec<Sender<()>>,
    /// Marks of the open batch, to be written again elsewhere if its sync fails.
    pub unsynced: Vec<Mark>,
    marks_since: Option<Instant>,
    /// Ranges that hold nothing acknowledged, still to be noted in the log.
    pub holes: Vec<Range>,
    /// Those that are noted: a checkpoint of their segment repeats them, because the segment with the note may go first.
    pub noted: Vec<Range>,
    /// The open batch holds notes: it says nothing of those before it.
    pub noting: bool,
    /// Batches that failed since start: parts that follow one of theirs fail too.
    pub failed: Vec<Range>,
    /// When a fresh segment is tried again.
    pub mend_at: Option<Instant>,
    /// What was free and blocked when a checkpoint found no room.
    pub no_checkpoint: Option<(usize, usize)>,
    /// One is being written.
    pub checkpointing: bool,
    /// Segments whose last life was in clear, while this one's are sealed.
    pub in_clear: Vec<u32>,
}

impl Log {
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        current: Option<Current>,
        holes: Vec<Range>,
        noted: Vec<Range>,
    ) -> Self {
        Self {
            shared,
            current,
            stage: Vec::with_capacity(limits::SPOOL_STAGE + record::RECORD_MAX + BLOCK),
            waiting: Vec::new(),
            unwritten: Vec::new(),
            unsynced: Vec::new(),
            marks_since: None,
            holes,
            noted,
            noting: false,
            failed: Vec::new(),
            mend_at: None,
            no_checkpoint: None,
            checkpointing: false,
            in_clear: Vec::new(),
        }
    }

    /// When the writer must act though nothing comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.mend_at
            .or(self.marks_since.map(|since| since + limits::SPOOL_MARKS))
    }

    /// Appends a part, and replies at once or, for a final one, after the sync.
    pub fn part(&mut self, mut part: PartRequest) {
        let follows_failed = part.previous.is_some_and(|place| {
            self.failed
                .iter()
                .any(|range| range.generation == place.generation && range.from <= place.offset)
        });
        let result = match follows_failed || self.mend_at.is_some() {
            true => Err(self.refusal()),
            false => self.append_part(&mut part),
        };
        match result {
            Ok(place) if part.last.is_some() => self.waiting.push((part, place)),
            result => part.answer(result),
        }
    }

    fn append_part(&mut self, part: &mut PartRequest) -> Result<Place, Error> {
        self.make_room(part.class, part.buffer.len())?;
        let place = self.place().ok_or(Error::Full)?;
        let octets = part.buffer.len();
        part.claim.admit(part.class, place, octets)?;
        let kind = match part.last {
            Some(_) => Kind::Final,
            None => Kind::Part,
        };
        self.append(kind, part.id, &[&part.buffer])?;
        Ok(place)
    }

    /// Appends marks; the reply goes out when they are written.
    pub fn marks(&mut self, marks: [Option<Mark>; 2], note: &[u8], reply: Sender<()>) {
        for mark in marks.into_iter().flatten() {
            let note = match mark {
                Mark::Defer { .. } => note,
                Mark::Done { .. } => &[],
            };
            self.mark(mark, note);
        }
        self.unwritten.push(reply);
    }

    /// Appends a mark, and behind it what people may want to know. Without room the message is at worst delivered again
    /// after a restart.
    pub fn mark(&mut self, mark: Mark, note: &[u8]) {
        let mending = self.mend_at.is_some();
        if !mending || mark.kind() == Kind::Done {
            self.unsynced.push(mark);
        }
        if mending {
            return;
        }
        self.marks_since.get_or_insert_with(Instant::now);
        let payload = mark.payload();
        let written = self
            .make_room(Class::Mark, payload.len() + note.len())
            .and_then(|()| self.append(mark.kind(), mark.id(), &[&payload, note]));
        if let Err(problem) = written {
            log::warn!("mark id={} not written: {problem}", super::Id(mark.id()));
        }
    }

    /// Where the next record goes.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let current = self.current.as_ref()?;
        Some(Place {
            generation: current.generation,
            segment: current.number,
            offset: current.written + self.stage.len() as u32,
        })
    }

    /// Sees to it that the current segment has room for a record, the rest of its block, and the room's class.
    ///
    /// # Errors
    /// [`Error`].
    pub fn make_room(&mut self, class: Class, payload: usize) -> Result<(), Error> {
        let fits = |at: u32| {
            let end = at as usize + record::room(payload);
            end == record::END as usize || end + HEADER <= record::END as usize
        };
        if self.may_hold(class) && self.place().is_some_and(|place| fits(place.offset)) {
            return Ok(());
        }
        if !self.shared.state().segments.may_open(class) {
            return Err(Error::Full);
        }
        if self.current.is_some() && !self.flush(Kind::End) {
            return Err(self.refusal());
        }
        self.begin_segment()?;
        self.upkeep();
        match self.place() {
            Some(place) if fits(place.offset) => Ok(()),
            _ => Err(Error::Full),
        }
    }

    /// Once there is a key, a segment that was begun in clear takes no more mail; marks name nobody.
    fn may_hold(&self, class: Class) -> bool {
        let sealed = self.current.as_ref().is_none_or(|at| at.life.is_some());
        sealed || self.shared.sealer.is_none() || class == Class::Mark
    }

    /// Writes and syncs the header of a fresh segment: a record of the new life must never reach the disk before it, or it
    /// would look like damage to the old one.
    pub fn begin_segment(&mut self) -> Result<(), Error> {
        let opened = self.shared.state().segments.open();
        let place = opened.ok_or(Error::Full)?;
        let path = self.shared.folder.segment(place.segment);
        let begun = self.begin_life(place, &path);
        self.count_written(2 * BLOCK);
        self.shared.tallies.flushes.fetch_add(1, Ordering::Relaxed);
        match begun {
            Ok((file, life)) => {
                self.shared.state().segments.begun(place.segment);
                self.current = Some(Current {
                    file,
                    generation: place.generation,
                    number: place.segment,
                    batch: record::FIRST,
                    written: record::FIRST,
                    life,
                });
                self.no_checkpoint = None;
                Ok(())
            }
            Err(problem) => {
                log::error!(
                    "spool file={} error={:?}",
                    path.display(),
                    problem.to_string()
                );
                self.shared.state().segments.give_up(place.generation);
                self.note_failure(Range {
                    generation: place.generation,
                    from: record::FIRST,
                    to: record::END,
                });
                self.note_problem(&problem);
                self.mend_later();
                Err(self.refusal())
            }
        }
    }

    /// The new life's file, and what seals it.
    fn begin_life(&mut self, place: Place, path: &Path) -> io::Result<Begun> {
        let sealer = self.shared.sealer.as_ref();
        let life = sealer.map(|sealer| sealer.life(place.generation, place.segment));
        let life = life.transpose()?;
        let header = SegmentHeader {
            segment: place.segment,
            generation: place.generation,
            salt: self.shared.salt,
            spool: self.shared.segments,
            check: sealer.map_or([0; CHECK], Sealer::check),
        };
        let file = self.shared.disk.open(path)?;
        if let Some(at) = self.in_clear.iter().position(|&n| n == place.segment) {
            let wiped = folder::wipe(&*file, header);
            self.count_written(limits::SPOOL_SEGMENT);
            self.shared.tallies.flushes.fetch_add(2, Ordering::Relaxed);
            wiped?;
            self.in_clear.remove(at);
            log::info!("spool wiped segment={:06}.seg", place.segment);
        }
        folder::write_header(&*file, header)?;
        Ok((file, life))
    }

    /// Appends a record to the stage, for which there is room.
    ///
    /// # Errors
    /// [`Error::Io`] if the stage had to be written and was not.
    pub fn append(&mut self, kind: Kind, id: u64, payload: &[&[u8]]) -> Result<(), Error> {
        let (Some(place), Some(current)) = (self.place(), self.current.as_ref()) else {
            return Err(Error::Full);
        };
        let batch = self.batch_number(current);
        record::write(
            &mut self.stage,
            self.shared.salt,
            place,
            (kind, id, batch),
            payload,
            current.life.as_ref(),
        )
        .map_err(Error::Io)?;
        if self.stage.len() >= limits::SPOOL_STAGE && !self.write_stage() {
            return Err(self.refusal());
        }
        Ok(())
    }

    /// The block with which the open batch begins; 0, which is none, if it holds notes.
    fn batch_number(&self, current: &Current) -> u16 {
        match self.noting {
            true => 0,
            false => (current.batch as usize / BLOCK) as u16,
        }
    }

    /// Writes the stage, whole blocks at a time (so that the system need not read what it overwrites).
    fn write_stage(&mut self) -> bool {
        let Some(current) = &mut self.current else {
            return true;
        };
        let length = self.stage.len();
        if length == 0 {
            return true;
        }
        let end = (current.written as usize + length).next_multiple_of(BLOCK);
        self.stage.resize(end - current.written as usize, 0);
        let result = current.file.write_at(&self.stage, current.written.into());
        let octets = self.stage.len();
        self.stage.clear();
        current.written += length as u32;
        self.count_written(octets);
        match result {
            Ok(()) => true,
            Err(problem) => {
                self.fail(problem);
                false
            }
        }
    }

    fn count_written(&self, octets: usize) {
        let tally = &self.shared.tallies.written;
        tally.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Marks must be in the system's hands before their settlement returns, so that kill -9 repeats nothing.
    pub fn written(&mut self) {
        if !self.unwritten.is_empty() {
            self.write_stage();
            for reply in self.unwritten.drain(..) {
                // Nobody waits any more: it is written all the same.
                let _ = reply.try_send(());
            }
        }
    }

    /// Ends the batch.
    pub fn sync(&mut self) {
        match self.mend_at {
            Some(_) => self.mend(),
            None => {
                self.marks_since = None;
                self.flush(Kind::Padding);
            }
        }
    }

    /// Ends the batch now, for one who waits for marks to be on the disk.
    pub fn sync_for(&mut self, reply: &Sender<io::Result<()>>) {
        let result = match self.mend_at.is_none() && self.flush(Kind::Padding) {
            true => Ok(()),
            false => Err(io::Error::other("the disk fails: see the log")),
        };
        // Nobody waits any more: it is on the disk all the same.
        let _ = reply.try_send(result);
    }

    /// Fills the batch's last block, syncs, and tells those who waited. False: the batch failed.
    pub fn flush(&mut self, kind: Kind) -> bool {
        let Some(current) = &self.current else {
            return true;
        };
        let at = current.written as usize + self.stage.len();
        if at != current.batch as usize || (kind == Kind::End && at < record::END as usize) {
            self.fill_block(kind, at);
            if !self.write_stage() {
                return false;
            }
        }
        let Some(current) = &mut self.current else {
            return false;
        };
        if current.written == current.batch {
            return true;
        }
        let synced = current.file.sync_data();
        self.shared.tallies.flushes.fetch_add(1, Ordering::Relaxed);
        match synced {
            Ok(()) => {
                current.batch = current.written;
                self.unsynced.clear();
                self.marks_since = None;
                self.acknowledge();
                true
            }
            Err(problem) => {
                self.fail(problem);
                false
            }
        }
    }

    /// Appends padding up to the end of the block.
    fn fill_block(&mut self, kind: Kind, at: usize) {
        let mut rest = at.next_multiple_of(BLOCK) - at;
        if rest == 0 && kind == Kind::Padding {
            return;
        }
        if rest < HEADER {
            rest += BLOCK;
        }
        if at + rest > record::END as usize {
            return;
        }
        let (Some(place), Some(current)) = (self.place(), self.current.as_ref()) else {
            return;
        };
        let batch = self.batch_number(current);
        let zeros = [0; 2 * BLOCK];
        let payload = &zeros[..rest - HEADER];
        let what = (kind, 0, batch);
        // It has nothing to seal, so it cannot fail.
        let _ = record::write(
            &mut self.stage,
            self.shared.salt,
            place,
            what,
            &[payload],
            None,
        );
    }

    /// The batch is on the disk: its messages enter the queue.
    fn acknowledge(&mut self) {
        let room = self.place().map_or(0, |place| record::END - place.offset);
        let mut first = false;
        let mut state = self.shared.state();
        state.segments.room = room;
        let mut commits = 0;
        for (part, place) in &mut self.waiting {
            let Some(last) = &mut part.last else { continue };
            let (generations, weight) = part.claim.hand_over();
            let generations = generations.unwrap_or(Generations::of(place.generation));
            if let Some(lifted) = &mut last.moved {
                first |= lifted.put_down_at(&mut state, *place, &generations);
                continue;
            }
            commits += 1;
            if let Some(id) = last.tells_of {
                state.segments.untold.remove(&id);
            }
            let mut entry = Entry::new(part.id, *place, last.recipients);
            (entry.lane, entry.weight) = (last.lane, weight);
            let (dsn, is_first) = state.queue.insert(entry, &generations);
            first |= is_first;
            if let Some(reports) = last.reports.as_deref() {
                state.reported(reports, (part.id, dsn));
            }
        }
        drop(state);
        if first {
            self.shared.due_changed();
        }
        self.shared
            .tallies
            .commits
            .fetch_add(commits, Ordering::Relaxed);
        for (part, place) in self.waiting.drain(..) {
            part.answer(Ok(place));
        }
    }

    /// A clean stop.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(&mut self) -> io::Result<()> {
        // A commit of its own, so that what it says of the log before it holds however it is torn itself.
        let before = self.flush(Kind::Padding);
        let closed = self
            .make_room(Class::Mark, 0)
            .and_then(|()| self.append(Kind::Closed, 0, &[]));
        let synced = self.flush(Kind::Padding);
        self.written();
        match (closed, before && synced) {
            (Ok(()), true) => Ok(()),
            (Err(Error::Io(problem)), _) => Err(problem),
            (Err(Error::Full | Error::OverShare), _) => Err(io::ErrorKind::StorageFull.into()),
            (Ok(()), false) => Err(io::Error::other("sync failed")),
        }
    }
}
