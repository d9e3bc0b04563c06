//! Reading a segment from its start: records, and the gaps where there is none.

use super::disk::DiskFile;
use super::marks::Gap;
use super::record::{self, ALIGN, BLOCK, HEADER, Header, Kind, Place};
use std::io;

const WINDOW: usize = 64 * 1024;
const _: () = assert!(WINDOW > record::RECORD_MAX + HEADER);

/// What stands at a place.
pub enum Found<'a> {
    Record {
        place: Place,
        header: Header,
        payload: &'a [u8],
    },
    /// A record should stand here, and what does is not what was written.
    Gap(Gap),
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
    window: Vec<u8>,
    /// Where the window's first octet is in the file.
    start: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the first record; `window` is only memory to use again.
    #[must_use]
    pub fn new(
        file: &'a dyn DiskFile,
        salt: u64,
        (generation, segment): (u64, u32),
        mut window: Vec<u8>,
    ) -> Self {
        window.clear();
        Self {
            file,
            salt,
            segment,
            generation,
            window,
            start: 0,
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
            let size = WINDOW.min(record::END as usize - at);
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
            let to_boundary = at.next_multiple_of(512).max(at + 1) - at;
            let (piece, behind) = rest.split_at_mut(to_boundary.min(rest.len()));
            if let Err(problem) = self.file.read_at(piece, at as u64) {
                piece.fill(0);
                let segment = self.segment;
                log::error!("spool segment={segment:06}.seg offset={at} error=\"{problem}\"");
            }
            at += piece.len();
            rest = behind;
        }
    }

    fn header(&mut self, at: usize) -> Option<Header> {
        let (salt, place) = (self.salt, self.place(at));
        record::header(self.bytes(at, HEADER), salt, place)
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
                }));
                sealed = false;
                at = next;
                continue;
            };
            let place = self.place(at);
            let salt = self.salt;
            let payload = &self.bytes(at, header.length as usize)[HEADER..];
            let end = at + header.span() as usize;
            if record::payload_is_whole(&header, payload, salt, place) {
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
                }));
            }
            at = end;
        }
        Ok(Tail {
            offset: at as u32,
            sealed: sealed || at >= record::END as usize,
        })
    }
}
