//! Records and segment headers as bytes (FORMAT.md).

use super::seal::{Life, SEAL};
use crate::limits;
use std::io;

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

/// The flag of a sealed record.
const SEALED: u8 = 1;

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
    /// In the order of their numbers, from 1.
    const ALL: [Self; 9] = [
        Self::Part,
        Self::Final,
        Self::Done,
        Self::Defer,
        Self::Checkpoint,
        Self::Padding,
        Self::End,
        Self::Resume,
        Self::Closed,
    ];

    /// A search for records asks at every place.
    fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).wrapping_sub(1)).copied()
    }

    /// Does its payload say anything about mail?
    fn is_secret(self) -> bool {
        !matches!(
            self,
            Self::Padding | Self::End | Self::Resume | Self::Closed
        )
    }

    /// Octets at the payload's start that are not hidden: which parts are of one message, their headers tell anyway, and
    /// whoever looks for them need not read them whole.
    fn in_clear(self) -> usize {
        match self {
            Self::Part | Self::Final => PART_FIELDS,
            _ => 0,
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// Octets of header and payload.
    pub length: u32,
    /// The block with which its commit begins; 0: it holds notes of what is torn, and says nothing of commits before.
    pub batch: u16,
    /// The message that a part or a mark concerns, else 0.
    pub id: u64,
    /// The payload is hidden, and opens with the spool's key.
    pub sealed: bool,
    payload_crc: u32,
}

/// Octets that a sealed payload's authenticity covers besides what is hidden.
type Known = heapless::Vec<u8, { 4 + 16 + PART_FIELDS }>;

impl Header {
    /// The header behind its checksums.
    fn fields(&self) -> [u8; 16] {
        let mut fields = [0; 16];
        fields[..4].copy_from_slice(&self.length.to_le_bytes());
        fields[4] = self.kind as u8;
        fields[5] = if self.sealed { SEALED } else { 0 };
        fields[6..8].copy_from_slice(&self.batch.to_le_bytes());
        fields[8..].copy_from_slice(&self.id.to_le_bytes());
        fields
    }

    /// What else must be as it was for the payload to open. Life and segment are in the key.
    fn known(&self, place: Place, in_clear: &[u8]) -> Known {
        let mut known = Known::new();
        for piece in [&place.offset.to_le_bytes()[..], &self.fields(), in_clear] {
            // It has room for the longest of each.
            let _ = known.extend_from_slice(piece);
        }
        known
    }

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

/// Appends a record, sealed if there is something to hide and something to seal it with; the payload is given in pieces.
/// Padding's payload is no more than its length, and unchecked.
///
/// # Errors
/// It cannot be sealed: nothing is appended.
pub fn write(
    out: &mut Vec<u8>,
    salt: u64,
    place: Place,
    (kind, id, batch): (Kind, u64, u16),
    payload: &[&[u8]],
    life: Option<&Life>,
) -> io::Result<()> {
    let life = life.filter(|_| kind.is_secret());
    let start = out.len();
    let at = start + HEADER;
    out.resize(at, 0);
    for piece in payload {
        out.extend_from_slice(piece);
    }
    let length = out.len() - start + life.map_or(0, |_| SEAL);
    let mut header = Header {
        kind,
        length: length as u32,
        batch,
        id,
        sealed: life.is_some(),
        payload_crc: 0,
    };
    if let Some(life) = life {
        let hidden = (at + kind.in_clear()).min(out.len());
        let known = header.known(place, &out[at..hidden]);
        if let Err(problem) = life.seal(&known, out, hidden) {
            out.truncate(start);
            return Err(problem);
        }
    }
    let seed = seed(salt, place);
    header.payload_crc = checksum(!seed, &out[at..]);
    out[start + 4..start + 8].copy_from_slice(&header.payload_crc.to_le_bytes());
    out[start + 8..at].copy_from_slice(&header.fields());
    let crc = checksum(seed, &out[start + 4..at]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + aligned(length), 0);
    Ok(())
}

/// Octets that a record takes with what lies behind it before the next may begin, sealed or not.
#[must_use]
pub const fn room(payload: usize) -> usize {
    aligned(HEADER + payload + SEAL)
}

/// Uncovers a payload that is whole, in place; how many octets it has, from the start. None: it was sealed otherwise, or
/// there is no key.
#[must_use]
pub fn open(
    header: &Header,
    payload: &mut [u8],
    place: Place,
    life: Option<&Life>,
) -> Option<usize> {
    if !header.sealed {
        return Some(payload.len());
    }
    let (in_clear, hidden) = payload.split_at_mut_checked(header.kind.in_clear())?;
    let known = header.known(place, in_clear);
    let length = life?.open(&known, hidden)?;
    Some(in_clear.len() + length)
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
        sealed: bytes[13] & SEALED != 0,
        payload_crc: u32_at(bytes, 4)?,
    })
}

/// True if a payload is what was written.
#[must_use]
pub fn payload_is_whole(header: &Header, payload: &[u8], salt: u64, place: Place) -> bool {
    matches!(header.kind, Kind::Padding | Kind::End)
        || checksum(!seed(salt, place), payload) == header.payload_crc
}

/// A record whose payload was changed, with checksums that are right again.
#[cfg(test)]
pub fn resummed(record: &[u8], salt: u64, place: Place, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut record = record.to_vec();
    change(&mut record[HEADER..]);
    let seed = seed(salt, place);
    let payload = checksum(!seed, &record[HEADER..]).to_le_bytes();
    record[4..8].copy_from_slice(&payload);
    let header = checksum(seed, &record[4..HEADER]).to_le_bytes();
    record[..4].copy_from_slice(&header);
    record
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
    use super::super::seal::{Key, Sealer};
    use super::*;

    const PLACE: Place = Place {
        generation: 7,
        segment: 3,
        offset: FIRST,
    };

    /// Places that differ from [`PLACE`] in one thing.
    fn elsewhere() -> [Place; 3] {
        let (mut generation, mut segment, mut offset) = (PLACE, PLACE, PLACE);
        generation.generation -= 1;
        segment.segment -= 1;
        offset.offset += 8;
        [generation, segment, offset]
    }

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let mut bytes = Vec::new();
        let what = (Kind::Done, 42, 1);
        write(&mut bytes, 9, PLACE, what, &[b"ab", b"c"], None).unwrap();
        let read = header(&bytes, 9, PLACE).unwrap();
        assert_eq!((read.kind, read.id, read.length), (Kind::Done, 42, 27));
        assert_eq!(read.span() as usize, bytes.len());
        assert!(payload_is_whole(&read, &bytes[HEADER..27], 9, PLACE));
        assert!(!payload_is_whole(&read, b"abd", 9, PLACE));
        for elsewhere in elsewhere() {
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
    fn a_sealed_record_opens_only_as_it_was_written() {
        let sealer = Sealer::new(&Key::fresh().unwrap(), 9).unwrap();
        let life = |place: Place| sealer.life(place.generation, place.segment).unwrap();
        let text = [b"twenty octets in clear".as_slice(), b" and a secret"].concat();
        let mut bytes = Vec::new();
        let what = (Kind::Final, 42, 1);
        write(&mut bytes, 9, PLACE, what, &[&text], Some(&life(PLACE))).unwrap();
        assert_eq!(bytes.len(), room(text.len()));
        let read = header(&bytes, 9, PLACE).unwrap();
        let payload = &bytes[HEADER..read.length as usize];
        assert!(payload_is_whole(&read, payload, 9, PLACE));
        assert_eq!(payload[..PART_FIELDS], text[..PART_FIELDS]);
        let opens = |header: &Header, place, life: Option<Life>, payload: &[u8]| {
            let mut payload = payload.to_vec();
            let length = open(header, &mut payload, place, life.as_ref());
            length.is_some_and(|length| payload[..length] == text)
        };
        assert!(opens(&read, PLACE, Some(life(PLACE)), payload));
        assert!(!opens(&read, PLACE, None, payload), "without a key");
        for at in 0..payload.len() {
            let mut flipped = payload.to_vec();
            flipped[at] ^= 1;
            assert!(
                !opens(&read, PLACE, Some(life(PLACE)), &flipped),
                "octet {at}"
            );
        }
        for place in elsewhere() {
            assert!(
                !opens(&read, place, Some(life(place)), payload),
                "{place:?}"
            );
        }
        for other in [
            Header {
                kind: Kind::Part,
                ..read
            },
            Header {
                length: read.length + 1,
                ..read
            },
            Header { batch: 2, ..read },
            Header { id: 43, ..read },
        ] {
            assert!(
                !opens(&other, PLACE, Some(life(PLACE)), payload),
                "{other:?}"
            );
        }
    }

    #[test]
    fn what_says_nothing_of_mail_is_not_sealed() {
        let sealer = Sealer::new(&Key::fresh().unwrap(), 9).unwrap();
        let life = sealer.life(PLACE.generation, PLACE.segment).unwrap();
        for kind in [Kind::Padding, Kind::End, Kind::Resume, Kind::Closed] {
            let mut bytes = Vec::new();
            write(&mut bytes, 9, PLACE, (kind, 0, 1), &[], Some(&life)).unwrap();
            assert_eq!(bytes.len(), HEADER);
            assert!(!header(&bytes, 9, PLACE).unwrap().sealed);
        }
    }
}
