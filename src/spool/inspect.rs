//! A look at a spool's queue from outside, whether a relay works on it or not.
//!
//! **Why it reads the files, and does not ask the relay.** A look must not disturb: this way the relay gives no memory, no
//! lock and no thread to it, and nothing that a caller does (stop reading, ask a thousand times) can slow it down. It shows
//! the same, stopped or running, and when the relay hangs: that is when people look. And what was said at the last
//! attempt is kept on the disk only. The price is a pass over the log, a fraction of a second for 256 MiB in the page cache.
//!
//! **Why the picture is true.** It is what a start would recover: the same scan and the same replay, but that nothing is
//! mended, noted, made, removed or locked. A running relay goes on meanwhile, so the log is followed until no segment has
//! been begun since the last look at the headers. A segment whose life ended before it could be read held nothing that
//! counts, by the rules under which segments are used again: what it said of messages elsewhere stands in a checkpoint
//! that is read, too, and messages whose own segment has a new life are left out here.
//!
//! Memory is the caller's process's, and grows with the queue.

mod follow;
mod snapshot;

use super::disk::ReadOnly;
use super::folder::Folder;
use super::header::SegmentHeader;
use super::message::Referred;
use super::note::Note;
use super::queue::Queue;
use super::record::Place;
use super::seal::Key;
use super::segments::Segments;
use super::shared::{Shared, State};
use super::shares::Shares;
use super::{Id, Message, OpenError, ReadError, open, read};
use crate::limits;
use crate::policy::routes::Lane;
use follow::Follower;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Recipients of a message that wait for the same try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// By ordinal.
    pub recipients: u128,
    /// Unix seconds; 0: at once.
    pub next: u64,
    /// Attempts that ended in a deferral.
    pub attempts: u16,
}

/// A message of the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    pub id: Id,
    pub waiting: Vec<Waiting>,
    /// What was said to its recipients, oldest first: to each the last, or all if the history was asked for. It is
    /// forgotten with the segment that holds it.
    pub notes: Vec<Note>,
    /// A part of it is missing: it will not be sent.
    pub broken: bool,
    /// It is a DSN, and has this message's octets among its own.
    pub refers: Option<Id>,
    /// Recipients that failed, and whose message is kept for the DSN that tells of that.
    pub held: u128,
    place: Place,
}

impl Queued {
    /// The recipients that are still to do, by ordinal.
    #[must_use]
    pub fn recipients(&self) -> u128 {
        self.waiting
            .iter()
            .fold(0, |all, waiting| all | waiting.recipients)
    }
}

/// A spool as it was at one moment.
pub struct Inspector {
    shared: Arc<Shared>,
    queued: Vec<Queued>,
    segments: u32,
    /// Of them, those that are there.
    made: u32,
    /// Of these, files of which neither header can be read.
    unreadable: Vec<PathBuf>,
    keeps_up: bool,
}

impl Inspector {
    /// Reads the queue of the spool in a folder, with its key if it has one; with a message's id, the history of that one.
    ///
    /// # Errors
    /// [`OpenError`]; a folder without segments is one that is not found.
    pub fn look(path: &Path, key: Option<&Key>, history: Option<Id>) -> Result<Self, OpenError> {
        let folder = Folder::to_look_at(path);
        let mut headers = settled_headers(&folder)?;
        let Some(SegmentHeader { salt, .. }) = headers.first().copied() else {
            return Err(OpenError::Io {
                path: path.to_owned(),
                problem: io::Error::new(io::ErrorKind::NotFound, "there is no spool in it"),
            });
        };
        let highest = headers
            .iter()
            .map(|header| header.segment.max(header.spool));
        let segments = highest.max().unwrap_or(0);
        let sealer = open::sealer(key, path, salt, &headers)?;
        let start = || Follower::new((salt, sealer.as_ref()), history);
        let mut follower = start();
        let mut keeps_up = follow(&mut follower, &folder, &mut headers)?;
        if follower.is_in_doubt() {
            // What is a gap again is damage, or was torn.
            follower = start();
            keeps_up = follow(&mut follower, &folder, &mut headers)?;
        }
        let queued = follower.into_queued(&headers);
        let state = State {
            queue: Queue::new(0),
            segments: Segments::default(),
            shares: Shares::default(),
        };
        let lane_of = Box::new(|_: &str| Lane(0));
        let shared = Shared::new(
            Arc::new(ReadOnly),
            folder,
            (salt, sealer, segments),
            lane_of,
            state,
        );
        let unreadable = unreadable(&shared.folder, segments)?;
        let inspector = Self {
            shared: Arc::new(shared),
            queued,
            segments,
            made: (headers.len() + unreadable.len()) as u32,
            unreadable,
            keeps_up,
        };
        let reader = inspector.shared.clone();
        thread::Builder::new()
            .spawn(move || read::run(&reader))
            .map_err(|problem| OpenError::io(path, &problem))?;
        Ok(inspector)
    }

    /// What was queued, oldest first.
    #[must_use]
    pub fn queued(&self) -> &[Queued] {
        &self.queued
    }

    /// The DSN for which a message is kept, if some of its recipients failed and it is to go back whole.
    #[must_use]
    pub fn holder(&self, message: &Queued) -> Option<Id> {
        if message.held == 0 {
            return None;
        }
        let mut all = self.queued.iter();
        let dsn = all.find(|other| other.refers == Some(message.id));
        dsn.map(|dsn| dsn.id)
    }

    /// Whether the log was read to its end. Where the relay writes faster than that can be read, messages that it has moved
    /// on meanwhile may be missing.
    #[must_use]
    pub fn keeps_up(&self) -> bool {
        self.keeps_up
    }

    /// Octets that the spool has, or is to have.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.segments) * limits::SPOOL_SEGMENT as u64
    }

    /// Octets of it that are not there, still to be zeroed or for want of room.
    #[must_use]
    pub fn missing(&self) -> u64 {
        u64::from(self.segments.saturating_sub(self.made)) * limits::SPOOL_SEGMENT as u64
    }

    /// Segments' files that are there and no use: neither of their headers can be read, so they are kept as they are.
    #[must_use]
    pub fn unreadable(&self) -> &[PathBuf] {
        &self.unreadable
    }

    /// Reads the envelope of a message, with these of its recipients; its body follows by [`Message::next_chunk`]. None:
    /// the relay has finished it since, and its segment has a new life.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(
        &self,
        message: &Queued,
        recipients: u128,
    ) -> Result<Option<Message>, ReadError> {
        let number = message.id.number();
        let refers = message.refers.and_then(|original| {
            let queued = &self.queued;
            let at = queued.binary_search_by_key(&original, |other| other.id);
            let place = queued.get(at.ok()?)?.place;
            let id = original.number();
            Some(Referred { id, place })
        });
        match Message::open(
            self.shared.clone(),
            number,
            message.place,
            recipients,
            refers,
        )
        .await
        {
            Ok(message) => Ok(Some(message)),
            Err(_) if !self.holds(message.place) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Whether a segment still has the life that a place is in.
    fn holds(&self, place: Place) -> bool {
        let header = self.shared.folder.header(&ReadOnly, place.segment);
        matches!(header, Ok(Some(header)) if header.generation == place.generation)
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Reads the log until no segment has been begun meanwhile; false: one always had.
fn follow(
    follower: &mut Follower<'_>,
    folder: &Folder,
    headers: &mut Vec<SegmentHeader>,
) -> Result<bool, OpenError> {
    for _ in 0..limits::QUEUE_LOOK_AGAIN {
        follower.read(folder, headers)?;
        *headers = settled_headers(folder)?;
        if follower.is_up_to_date(headers) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The headers as they are at one moment: what two readings agree on. In one alone, a segment that was begun could be
/// missing beside one that was begun later.
fn settled_headers(folder: &Folder) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut before = headers(folder)?;
    for _ in 0..limits::QUEUE_LOOK_AGAIN {
        let now = headers(folder)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

/// The headers that can be read; all must be of one spool.
fn headers(folder: &Folder) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut headers: Vec<SegmentHeader> = Vec::new();
    for number in folder.segments(&ReadOnly)? {
        match folder.header(&ReadOnly, number)? {
            Some(header) if headers.first().is_some_and(|h| h.salt != header.salt) => {
                return Err(OpenError::Foreign(folder.segment(number)));
            }
            header => headers.extend(header),
        }
    }
    Ok(headers)
}

/// Of the segments of a spool that has so many, the files of which no header can be read.
fn unreadable(folder: &Folder, segments: u32) -> Result<Vec<PathBuf>, OpenError> {
    let mut files = Vec::new();
    for number in folder.segments(&ReadOnly)? {
        if number <= segments && folder.header(&ReadOnly, number)?.is_none() {
            files.push(folder.segment(number));
        }
    }
    Ok(files)
}
