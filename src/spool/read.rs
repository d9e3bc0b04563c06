//! The reader: the spool's other thread, so that a slow read holds up no executor and no sync.

use super::DiskFile;
use super::items::PartFields;
use super::message::ReadError;
use super::record::{self, HEADER, Header, Kind, PART_FIELDS, Place};
use super::shared::{Shared, locked};
use crate::limits;
use rustix::io::Errno;
use smol::channel::Sender;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

/// A part to read.
pub struct Job {
    pub place: Place,
    pub id: u64,
    /// Memory for the payload.
    pub buffer: Vec<u8>,
    /// Find the places of all parts before it, too.
    pub follow: bool,
    pub reply: Sender<Result<Answer, ReadError>>,
}

/// A part as it was read.
pub struct Answer {
    pub payload: Vec<u8>,
    /// The parts before it, from the first on.
    pub before: Vec<Place>,
}

/// The reader's queue; each caller waits, so it is bounded by attempts.
#[derive(Default)]
pub struct ReadQueue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    wake: Condvar,
    /// How many segments have got another file.
    pub renewed: AtomicU32,
}

impl ReadQueue {
    /// Adds a job; after [`Self::stop`] it is dropped, which its caller sees.
    pub fn push(&self, job: Job) {
        let mut jobs = locked(&self.jobs);
        if !jobs.1 {
            jobs.0.push_back(job);
            drop(jobs);
            self.wake.notify_one();
        }
    }

    /// Ends the reader.
    pub fn stop(&self) {
        let mut jobs = locked(&self.jobs);
        jobs.1 = true;
        jobs.0.clear();
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Job> {
        let mut jobs = locked(&self.jobs);
        loop {
            if jobs.1 {
                return None;
            }
            if let Some(job) = jobs.0.pop_front() {
                return Some(job);
            }
            jobs = match self.wake.wait(jobs) {
                Ok(jobs) => jobs,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

/// The reader thread.
pub fn run(shared: &Shared) {
    let mut reader = Reader {
        shared,
        files: Vec::new(),
        renewed: 0,
    };
    while let Some(job) = shared.reads.take() {
        let answer = reader.answer(job.place, job.id, job.buffer, job.follow);
        if let Err(ReadError::Io(problem)) = &answer
            && problem.raw_os_error() == Some(Errno::IO.raw_os_error())
        {
            shared.state().segments.set_damaged(job.place.generation);
        }
        // Nobody waits any more.
        let _ = job.reply.try_send(answer);
    }
}

struct Reader<'a> {
    shared: &'a Shared,
    /// The files used last, the newest at the end.
    files: Vec<(u32, Box<dyn DiskFile>)>,
    /// How many segments had been renewed when they were opened.
    renewed: u32,
}

impl Reader<'_> {
    fn answer(
        &mut self,
        place: Place,
        id: u64,
        mut buffer: Vec<u8>,
        follow: bool,
    ) -> Result<Answer, ReadError> {
        let renewed = self.shared.reads.renewed.load(Ordering::Relaxed);
        if self.renewed != renewed {
            // One of the files may no longer be a segment.
            self.files.clear();
            self.renewed = renewed;
        }
        let header = self.part(place, id, &mut buffer)?;
        if !record::payload_is_whole(&header, &buffer, self.shared.salt, place) {
            return Err(self.damaged(place));
        }
        let length = self.open(&header, place, &mut buffer)?;
        buffer.truncate(length);
        let before = match follow {
            true => self.before(place, id, &buffer)?,
            false => Vec::new(),
        };
        Ok(Answer {
            payload: buffer,
            before,
        })
    }

    /// Uncovers a payload in place; its length.
    fn open(&self, header: &Header, place: Place, payload: &mut [u8]) -> Result<usize, ReadError> {
        let sealer = self.shared.sealer.as_ref().filter(|_| header.sealed);
        let life = sealer.map(|sealer| sealer.life(place.generation, place.segment));
        let life = life.transpose().map_err(ReadError::Io)?;
        record::open(header, payload, place, life.as_ref()).ok_or_else(|| self.damaged(place))
    }

    /// Reads a record's payload into the buffer.
    fn part(&mut self, place: Place, id: u64, buffer: &mut Vec<u8>) -> Result<Header, ReadError> {
        let file = self.file(place.segment)?;
        let room = (record::END.saturating_sub(place.offset)) as usize;
        buffer.resize(limits::SPOOL_FIRST_READ.min(room), 0);
        read(file, buffer, place.offset)?;
        let header = self.header(place, id, buffer)?;
        let length = header.length as usize;
        let had = buffer.len().min(length);
        buffer.resize(length, 0);
        if had < length {
            read(
                self.file(place.segment)?,
                &mut buffer[had..],
                place.offset + had as u32,
            )?;
        }
        buffer.drain(..HEADER);
        Ok(header)
    }

    fn header(&self, place: Place, id: u64, bytes: &[u8]) -> Result<Header, ReadError> {
        record::header(bytes, self.shared.salt, place)
            .filter(|header| matches!(header.kind, Kind::Part | Kind::Final) && header.id == id)
            .ok_or_else(|| self.damaged(place))
    }

    /// Walks the back pointers; their records are checked when they are read.
    fn before(&mut self, last: Place, id: u64, payload: &[u8]) -> Result<Vec<Place>, ReadError> {
        let mut fields = PartFields::read(payload).ok_or_else(|| self.damaged(last))?;
        let mut places = Vec::new();
        let mut bytes = [0; HEADER + PART_FIELDS];
        while let Some(place) = fields.previous {
            let number = fields.number;
            read(self.file(place.segment)?, &mut bytes, place.offset)?;
            self.header(place, id, &bytes)?;
            fields = PartFields::read(&bytes[HEADER..])
                .filter(|fields| fields.number.checked_add(1) == Some(number))
                .ok_or_else(|| self.damaged(place))?;
            places.push(place);
        }
        places.reverse();
        Ok(places)
    }

    /// What was written here does not come back: the segment is renewed when its messages are gone.
    fn damaged(&self, place: Place) -> ReadError {
        let segments = &mut self.shared.state().segments;
        segments.set_damaged(place.generation);
        ReadError::Damaged {
            segment: place.segment,
            offset: place.offset,
        }
    }

    fn file(&mut self, number: u32) -> Result<&dyn DiskFile, ReadError> {
        match self.files.iter().position(|(other, _)| *other == number) {
            Some(at) => self.files[at..].rotate_left(1),
            None => {
                let path = self.shared.folder.segment(number);
                let file = self.shared.disk.open(&path).map_err(ReadError::Io)?;
                if self.files.len() >= limits::SPOOL_OPEN_FILES {
                    self.files.remove(0);
                }
                self.files.push((number, file));
            }
        }
        match self.files.last() {
            Some((_, file)) => Ok(&**file),
            None => Err(ReadError::Io(io::ErrorKind::NotFound.into())),
        }
    }
}

fn read(file: &dyn DiskFile, buffer: &mut [u8], offset: u32) -> Result<(), ReadError> {
    file.read_at(buffer, offset.into()).map_err(ReadError::Io)
}
