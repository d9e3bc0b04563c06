//! Reading a segment from its start: records, and the gaps where there is none.

use super::disk::DiskFile;
use super::marks::Gap;
use super::record::{self, ALIGN, BLOCK, HEADER, Header, Kind, Place, SECTOR};
use super::seal::Life;
use crate::limits;
use std::fmt;
use std::io;

const _: () = assert!(
    limits::SPOOL_SCAN > record::RECORD_MAX + HEADER,
    "a record is looked at whole"
);

/// What stands at a place.
pub enum Found<'a> {
    Record {
        place: Place,
        header: Header,
        payload: &'a [u8],
    },
    /// A record should stand here, and what does is not what was written.
    Gap(Gap),
    /// The disk gave an error for all of this.
    Unreadable(Unreadable),
}

/// A range that the disk does not give.
#[derive(Debug)]
pub struct Unreadable {
    pub segment: u32,
    pub from: usize,
    /// Behind the last octet.
    pub to: usize,
    /// The first problem of it.
    pub problem: io::Error,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "segment={:06}.seg offset={} to={} error={:?}",
            self.segment,
            self.from,
            self.to,
            self.problem.to_string()
        )
    }
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Behind the last trace of a record.
    pub offset: u32,
    /// By an End record, or by being full.
    pub sealed: bool,
}

/// One segment, read through a window.
pub struct Scanner<'a> {
    file: &'a dyn DiskFile,
    salt: u64,
    segment: u32,
    generation: u64,
    /// What opens its records; without it those that are sealed count as damaged.
    life: Option<Life>,
    window: Vec<u8>,
    /// Where the window's first octet is in the file.
    start: usize,
    /// Not yet told of; what is read again is joined to it.
    unreadable: Vec<Unreadable>,
}

impl<'a> Scanner<'a> {
    /// Begins at the first record; `window` is only memory to use again.
    #[must_use]
    pub fn new(
        file: &'a dyn DiskFile,
        salt: u64,
        (generation, segment): (u64, u32),
        life: Option<Life>,
        mut window: Vec<u8>,
    ) -> Self {
        window.clear();
        Self {
            file,
            salt,
            segment,
            generation,
            life,
            window,
            start: 0,
            unreadable: Vec::new(),
        }
    }

    /// The window's memory.
    #[must_use]
    pub fn into_window(self) -> Vec<u8> {
        self.window
    }

    fn place(&self, at: usize) -> Place {
        Place {
            generation: self.generation,
            segment: self.segment,
            offset: at as u32,
        }
    }

    /// The octets from a place on, as many as there are up to `length`. A block that cannot be read counts as zeros.
    fn bytes(&mut self, at: usize, length: usize) -> &[u8] {
        let end = (at + length).min(record::END as usize);
        let inside = self.start <= at && end <= self.start + self.window.len();
        if !inside {
            self.start = at;
            let size = limits::SPOOL_SCAN.min(record::END as usize - at);
            self.window.resize(size, 0);
            if self.file.read_at(&mut self.window, at as u64).is_err() {
                self.read_in_pieces();
            }
        }
        &self.window[at - self.start..end - self.start]
    }

    /// Where the disk fails, as much as can be is read around it.
    fn read_in_pieces(&mut self) {
        let mut at = self.start;
        let mut rest = self.window.as_mut_slice();
        while !rest.is_empty() {
            let to_boundary = (at + 1).next_multiple_of(SECTOR) - at;
            let (piece, behind) = rest.split_at_mut(to_boundary.min(rest.len()));
            if let Err(problem) = self.file.read_at(piece, at as u64) {
                piece.fill(0);
                let to = at + piece.len();
                match self.unreadable.last_mut() {
                    Some(range) if at <= range.to => range.to = range.to.max(to),
                    _ => self.unreadable.push(Unreadable {
                        segment: self.segment,
                        from: at,
                        to,
                        problem,
                    }),
                }
            }
            at += piece.len();
            rest = behind;
        }
    }

    fn header(&mut self, at: usize) -> Option<Header> {
        let (salt, place) = (self.salt, self.place(at));
        record::header(self.bytes(at, HEADER), salt, place)
    }

    /// What the record at `at` says, uncovered in the window, whose octets before the next record are not read again. None:
    /// it is not what was written.
    fn payload(&mut self, at: usize, header: &Header) -> Option<&[u8]> {
        let (salt, place) = (self.salt, self.place(at));
        self.bytes(at, header.length as usize);
        let (from, to) = (at - self.start, at - self.start + header.length as usize);
        let payload = self.window.get_mut(from + HEADER..to)?;
        if !record::payload_is_whole(header, payload, salt, place) {
            return None;
        }
        let length = record::open(header, payload, place, self.life.as_ref())?;
        payload.get(..length)
    }

    /// The next place at or behind `at` where a record's header stands.
    fn search(&mut self, at: usize) -> Option<(usize, Header)> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let mut at = at.next_multiple_of(ALIGN);
        while at < record::END as usize {
            if let Some(header) = self.header(at) {
                return Some((at, header));
            }
            // Most of what is searched was never written: no header is all zeros.
            at += match self.bytes(at, BLOCK) == ZEROS {
                true => BLOCK - HEADER,
                false => ALIGN,
            };
        }
        None
    }

    /// Tells everything that stands in the segment, in order.
    ///
    /// # Errors
    /// None at present: what cannot be read is a gap.
    pub fn run(&mut self, mut tell: impl FnMut(Found<'_>)) -> io::Result<Tail> {
        let mut at = record::FIRST as usize;
        let mut sealed = false;
        while at < record::END as usize {
            let Some(header) = self.header(at) else {
                let Some((next, _)) = self.search(at + ALIGN) else {
                    break;
                };
                // A part's payload may hold the next record's place only by chance: its checksum is seeded.
                tell(Found::Gap(Gap {
                    place: self.place(at),
                    to: next as u32,
                    id: None,
                    kind: None,
                }));
                sealed = false;
                at = next;
                continue;
            };
            let place = self.place(at);
            let end = at + header.span() as usize;
            if let Some(payload) = self.payload(at, &header) {
                sealed = header.kind == Kind::End;
                tell(Found::Record {
                    place,
                    header,
                    payload,
                });
            } else {
                sealed = false;
                tell(Found::Gap(Gap {
                    place,
                    to: end as u32,
                    id: Some(header.id),
                    kind: Some(header.kind),
                }));
            }
            at = end;
        }
        for range in self.unreadable.drain(..) {
            tell(Found::Unreadable(range));
        }
        Ok(Tail {
            offset: at as u32,
            sealed: sealed || at >= record::END as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives zeros, but for the ranges that it does not give.
    struct Bad(Vec<(u64, u64)>);

    impl DiskFile for Bad {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let end = offset + buffer.len() as u64;
            buffer.fill(0);
            match self.0.iter().any(|bad| bad.0 < end && offset < bad.1) {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(()),
            }
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn length(&self) -> io::Result<u64> {
            Ok(limits::SPOOL_SEGMENT as u64)
        }
    }

    fn unreadable(bad: &[(u64, u64)]) -> Vec<(usize, usize)> {
        let mut told = Vec::new();
        let file = Bad(bad.to_vec());
        let mut scanner = Scanner::new(&file, 1, (1, 1), None, Vec::new());
        scanner
            .run(|found| {
                if let Found::Unreadable(range) = found {
                    told.push((range.from, range.to));
                }
            })
            .unwrap();
        told
    }

    #[test]
    fn a_range_that_cannot_be_read_is_told_of_once() {
        let end = record::END as usize;
        let cut = unreadable(&[(5000, u64::MAX)]);
        assert_eq!(cut, [(4608, end)], "a file that was cut off");
        let all = unreadable(&[(0, u64::MAX)]);
        assert_eq!(all, [(record::FIRST as usize, end)]);
        let two = unreadable(&[(1_000_000, 1_000_100), (2_000_000, 2_600_000)]);
        assert_eq!(two, [(999_936, 1_000_448), (1_999_872, 2_600_448)]);
    }
}
