//! Records and segment headers as bytes (FORMAT.md).

use crate::limits;

/// Blocks are what a disk writes whole; a commit never shares one with the next.
pub const BLOCK: usize = 4096;
/// What a disk reads whole: where it fails, so much is lost with an octet.
pub const SECTOR: usize = 512;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// Octets of a record's header.
pub const HEADER: usize = 24;
/// Octets of a part's own fields, behind the header.
pub const PART_FIELDS: usize = 20;
/// No record is longer: a full part and a head as long again.
pub const RECORD_MAX: usize = 2 * limits::SPOOL_PART + BLOCK;
/// Where the first record of a segment is.
pub const FIRST: u32 = BLOCK as u32;
/// Where the last record of a segment ends: the last block repeats the header.
pub const END: u32 = (limits::SPOOL_SEGMENT - BLOCK) as u32;

const _: () = assert!(
    limits::SPOOL_SEGMENT.is_multiple_of(BLOCK) && limits::SPOOL_SEGMENT <= BLOCK << 16,
    "a segment is whole blocks, and its blocks are numbered in 16 bits"
);

/// The format that this code reads and writes.
pub const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"FACTEUR\n";
/// Header fields, all within one sector, so that a torn write leaves the old header or the new one.
const SEGMENT_HEADER: usize = 44;

/// A record's place: which life of which segment, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub generation: u64,
    pub segment: u32,
    pub offset: u32,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A piece of a message that goes on.
    Part = 1,
    /// A message's last piece.
    Final = 2,
    /// Recipients that need nothing more.
    Done = 3,
    /// Recipients to be tried again later.
    Defer = 4,
    /// What is still to do of the messages in a range.
    Checkpoint = 5,
    /// The rest of a commit's last block.
    Padding = 6,
    /// The same, and no record follows in this segment.
    End = 7,
    /// A range that holds nothing that was acknowledged.
    Resume = 8,
    /// A clean stop.
    Closed = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::*;
        [
            Part, Final, Done, Defer, Checkpoint, Padding, End, Resume, Closed,
        ]
        .into_iter()
        .find(|&kind| kind as u8 == byte)
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// Octets of header and payload.
    pub length: u32,
    /// The block with which its commit begins.
    pub batch: u16,
    /// The message that a part or a mark concerns, else 0.
    pub id: u64,
    payload_crc: u32,
}

impl Header {
    /// Where the next record begins, seen from this one's start.
    #[must_use]
    pub fn span(&self) -> u32 {
        aligned(self.length as usize) as u32
    }
}

/// A length rounded up to where the next record may begin.
#[must_use]
pub const fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// What checksums begin with: a record that is stale, moved, or written by a message's author never has the right one.
fn seed(salt: u64, place: Place) -> u32 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.generation.to_le_bytes());
    bytes[16..20].copy_from_slice(&place.segment.to_le_bytes());
    bytes[20..].copy_from_slice(&place.offset.to_le_bytes());
    crc32fast::hash(&bytes)
}

fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends a record; the payload is given in pieces. Padding's payload is no more than its length, and unchecked.
pub fn write(
    out: &mut Vec<u8>,
    salt: u64,
    place: Place,
    (kind, id, batch): (Kind, u64, u16),
    payload: &[&[u8]],
) {
    let seed = seed(salt, place);
    let length = HEADER + payload.iter().map(|piece| piece.len()).sum::<usize>();
    let start = out.len();
    out.resize(start + HEADER, 0);
    let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
    for piece in payload {
        hasher.update(piece);
        out.extend_from_slice(piece);
    }
    let header = &mut out[start..start + HEADER];
    header[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    header[12] = kind as u8;
    header[14..16].copy_from_slice(&batch.to_le_bytes());
    header[16..24].copy_from_slice(&id.to_le_bytes());
    let crc = checksum(seed, &header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + aligned(length), 0);
}

/// Reads a record's header; None where there is none.
#[must_use]
pub fn header(bytes: &[u8], salt: u64, place: Place) -> Option<Header> {
    let bytes = bytes.get(..HEADER)?;
    let kind = Kind::of(bytes[12])?;
    let length = u32_at(bytes, 8)?;
    let end = place.offset.checked_add(aligned(length as usize) as u32)?;
    let limit = match kind {
        Kind::Padding | Kind::End => 2 * BLOCK,
        _ => RECORD_MAX,
    };
    if (length as usize) < HEADER || length as usize > limit || end > END {
        return None;
    }
    if u32_at(bytes, 0)? != checksum(seed(salt, place), &bytes[4..]) {
        return None;
    }
    Some(Header {
        kind,
        length,
        batch: u16_at(bytes, 14)?,
        id: u64_at(bytes, 16)?,
        payload_crc: u32_at(bytes, 4)?,
    })
}

/// True if a payload is what was written.
#[must_use]
pub fn payload_is_whole(header: &Header, payload: &[u8], salt: u64, place: Place) -> bool {
    matches!(header.kind, Kind::Padding | Kind::End)
        || checksum(!seed(salt, place), payload) == header.payload_crc
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub segment: u32,
    /// 0: never used.
    pub generation: u64,
    pub salt: u64,
    /// Segments that the spool was to have when this was written; 0: nobody knows.
    pub spool: u32,
}

/// What a file's first block is, if no segment header of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASegment {
    /// No facteur spool.
    Foreign,
    /// Another format's version.
    Version(u32),
    /// Of segments of another size, in octets.
    Size(u32),
    /// Its checksum is wrong.
    Damaged,
}

impl SegmentHeader {
    /// The header of a segment that was never used.
    #[must_use]
    pub fn unused(segment: u32, salt: u64, spool: u32) -> Self {
        Self {
            segment,
            generation: 0,
            salt,
            spool,
        }
    }

    /// The header's block.
    #[must_use]
    pub fn block(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.segment.to_le_bytes());
        block[16..24].copy_from_slice(&self.generation.to_le_bytes());
        block[24..32].copy_from_slice(&self.salt.to_le_bytes());
        block[32..36].copy_from_slice(&(limits::SPOOL_SEGMENT as u32).to_le_bytes());
        block[36..40].copy_from_slice(&self.spool.to_le_bytes());
        let crc = crc32fast::hash(&block[..40]);
        block[40..SEGMENT_HEADER].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads a header's block.
    ///
    /// # Errors
    /// [`NotASegment`].
    pub fn read(block: &[u8]) -> Result<Self, NotASegment> {
        use NotASegment::*;
        if !block.starts_with(MAGIC) {
            return Err(Foreign);
        }
        let version = u32_at(block, 8).ok_or(Damaged)?;
        let whole = block.get(..40).ok_or(Damaged)?;
        let sound = u32_at(block, 40) == Some(crc32fast::hash(whole));
        match (version, sound) {
            (VERSION, true) => {}
            (VERSION, false) => return Err(Damaged),
            (other, _) => return Err(Version(other)),
        }
        let octets = u32_at(block, 32).ok_or(Damaged)?;
        if octets as usize != limits::SPOOL_SEGMENT {
            return Err(Size(octets));
        }
        Ok(Self {
            segment: u32_at(block, 12).ok_or(Damaged)?,
            generation: u64_at(block, 16).ok_or(Damaged)?,
            salt: u64_at(block, 24).ok_or(Damaged)?,
            spool: u32_at(block, 36).ok_or(Damaged)?,
        })
    }
}

/// Little-endian numbers at a place, if the bytes reach so far.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[must_use]
pub fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        generation: 7,
        segment: 3,
        offset: FIRST,
    };

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let mut bytes = Vec::new();
        write(&mut bytes, 9, PLACE, (Kind::Final, 42, 1), &[b"ab", b"c"]);
        let read = header(&bytes, 9, PLACE).unwrap();
        assert_eq!((read.kind, read.id, read.length), (Kind::Final, 42, 27));
        assert_eq!(read.span() as usize, bytes.len());
        assert!(payload_is_whole(&read, &bytes[HEADER..27], 9, PLACE));
        assert!(!payload_is_whole(&read, b"abd", 9, PLACE));
        for elsewhere in [
            Place {
                generation: 6,
                ..PLACE
            },
            Place {
                segment: 2,
                ..PLACE
            },
            Place {
                offset: FIRST + 8,
                ..PLACE
            },
        ] {
            assert_eq!(header(&bytes, 9, elsewhere), None);
        }
        assert_eq!(header(&bytes, 8, PLACE), None, "another spool's salt");
        for at in 0..HEADER {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(header(&flipped, 9, PLACE), None, "octet {at}");
        }
    }

    #[test]
    fn segment_headers_tell_what_is_wrong() {
        let header = SegmentHeader {
            segment: 3,
            generation: 7,
            salt: 9,
            spool: 64,
        };
        let block = header.block();
        assert_eq!(SegmentHeader::read(&block), Ok(header));
        let flipped = |at: usize| {
            let mut block = block.clone();
            block[at] ^= 1;
            SegmentHeader::read(&block)
        };
        assert_eq!(flipped(0), Err(NotASegment::Foreign));
        assert_eq!(flipped(8), Err(NotASegment::Version(0)));
        assert_eq!(flipped(17), Err(NotASegment::Damaged));
    }
}
