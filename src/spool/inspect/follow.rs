//! Reading the log as far as it goes, and again what a running relay has added since.

use super::super::disk::{Disk, ReadOnly};
use super::super::entry::Entry;
use super::super::folder::Folder;
use super::super::header::SegmentHeader;
use super::super::marks::Mark;
use super::super::note::Note;
use super::super::record::{Header, Kind, Place};
use super::super::recover::life;
use super::super::replay::{Recovered, Replay};
use super::super::scan::{Found, Scanner};
use super::super::seal::Sealer;
use super::super::{Id, LaneOf, OpenError};
use super::snapshot::Snapshot;
use super::{Queued, Waiting};
use crate::limits;
use crate::policy::routes::Lane;
use std::collections::HashMap;

/// Octets of a deferral's mark without what is behind it.
const DEFER: usize = 26;

/// The log so far.
pub struct Follower<'a> {
    salt: u64,
    sealer: Option<&'a Sealer>,
    /// The message of which every note is kept, not the last ones only.
    history: Option<Id>,
    replay: Replay,
    lane_of: LaneOf,
    notes: HashMap<u64, Vec<Note>>,
    /// Messages with notes above which those of finished ones are forgotten.
    forget_above: usize,
    /// The newest generation that was read, and the places in it of the records that were.
    newest: u64,
    seen: Vec<u32>,
    /// A gap in the segment that is read.
    gap: bool,
    /// A record behind such a gap.
    doubt: bool,
}

impl<'a> Follower<'a> {
    pub fn new((salt, sealer): (u64, Option<&'a Sealer>), history: Option<Id>) -> Self {
        Self {
            salt,
            sealer,
            history,
            replay: Replay::default(),
            lane_of: Box::new(|_| Lane(0)),
            notes: HashMap::new(),
            forget_above: limits::SPOOL_FORGET,
            newest: 0,
            seen: Vec::new(),
            gap: false,
            doubt: false,
        }
    }

    /// Reads the segments that were begun since the last call, and again the one that was the newest then, to which more
    /// may have been added.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&mut self, folder: &Folder, headers: &[SegmentHeader]) -> Result<(), OpenError> {
        let mut lives: Vec<&SegmentHeader> = headers
            .iter()
            .filter(|header| header.generation >= self.newest.max(1))
            .collect();
        lives.sort_unstable_by_key(|header| header.generation);
        let mut window = Vec::new();
        let last = lives.last().map_or(0, |header| header.generation);
        for header in lives {
            let numbers = (header.generation, header.segment);
            if header.generation > self.newest {
                self.newest = header.generation;
                self.seen.clear();
            }
            self.gap = false;
            let path = folder.segment(header.segment);
            let io = |problem| OpenError::io(&path, &problem);
            let mut file = ReadOnly.open(&path).map_err(io)?;
            if header.generation == last {
                file = Box::new(Snapshot::of(&*file).map_err(io)?);
            }
            let life = life(self.sealer, header).map_err(io)?;
            let memory = std::mem::take(&mut window);
            let mut scanner = Scanner::new(&*file, self.salt, numbers, life, memory);
            scanner.run(|found| self.found(found)).map_err(io)?;
            window = scanner.into_window();
        }
        Ok(())
    }

    /// Whether no segment has been begun since.
    pub fn is_up_to_date(&self, headers: &[SegmentHeader]) -> bool {
        headers
            .iter()
            .all(|header| header.generation <= self.newest)
    }

    /// Whether something was passed over that a running relay may have written just then, before what was read next.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    fn found(&mut self, found: Found<'_>) {
        // Gaps are the start's to judge: here they are places without a message.
        let Found::Record {
            place,
            header,
            payload,
        } = found
        else {
            self.gap = true;
            return;
        };
        self.doubt |= self.gap;
        if let Err(at) = self.seen.binary_search(&place.offset) {
            self.seen.insert(at, place.offset);
            self.replay.record(place, &header, payload, &self.lane_of);
            self.note(&header, payload);
        }
    }

    /// Keeps what a deferral's mark says for people.
    fn note(&mut self, header: &Header, payload: &[u8]) {
        let mark = Mark::read(header.kind, header.id, payload);
        let (Kind::Defer, Some(Mark::Defer { id, .. })) = (header.kind, mark) else {
            return;
        };
        let Some(note) = payload.get(DEFER..).and_then(Note::read) else {
            return;
        };
        let notes = self.notes.entry(id).or_default();
        if self.history != Some(Id(id)) {
            supersede(notes, &note);
        }
        notes.push(note);
        if self.notes.len() > self.forget_above {
            let replay = &self.replay;
            self.notes.retain(|&id, _| replay.knows(id));
            self.forget_above = limits::SPOOL_FORGET.max(2 * self.notes.len());
        }
    }

    /// The queue at the log's end; `headers` are the last that were read.
    pub fn into_queued(self, headers: &[SegmentHeader]) -> Vec<Queued> {
        let Self {
            replay, mut notes, ..
        } = self;
        let holds = |place: Place| {
            headers.iter().any(|header| {
                (header.segment, header.generation) == (place.segment, place.generation)
            })
        };
        let live = replay.into_messages().filter(|found| holds(found.place));
        let mut queued: Vec<Queued> = live
            .map(|found| {
                let notes = notes.remove(&found.id).unwrap_or_default();
                of_queue(found, notes)
            })
            .collect();
        queued.sort_by_key(|message| message.id);
        queued
    }
}

/// What a new note says of some recipients takes the place of what earlier ones said.
fn supersede(notes: &mut Vec<Note>, new: &Note) {
    let told = new
        .replies
        .iter()
        .fold(0, |all, reply| all | reply.recipients);
    for note in notes.iter_mut() {
        note.replies
            .iter_mut()
            .for_each(|reply| reply.recipients &= !told);
        note.replies.retain(|reply| reply.recipients != 0);
    }
    notes.retain(|note| !note.replies.is_empty());
}

fn of_queue(found: Recovered, notes: Vec<Note>) -> Queued {
    let (held, waiting): (Vec<&Entry>, Vec<&Entry>) =
        found.entries.iter().partition(|entry| entry.is_held());
    let waiting = waiting.into_iter().map(|entry| Waiting {
        recipients: entry.remaining(),
        next: entry.next.into(),
        attempts: entry.tries.count(),
    });
    Queued {
        id: Id(found.id),
        waiting: waiting.collect(),
        notes,
        broken: found.broken,
        refers: found.refers.map(|(id, _)| Id(id)),
        held: held.iter().fold(0, |all, entry| all | entry.remaining()),
        place: found.place,
    }
}
