//! A segment's header as bytes (FORMAT.md).

use super::record::{BLOCK, u32_at, u64_at};
use super::seal::CHECK;
use crate::limits;

/// The format that this code writes; it reads the one before, too.
pub const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"FACTEUR\n";
/// Header fields before the checksum, all within one sector, so that a torn write leaves the old header or the new one.
const SEGMENT_FIELDS: usize = 40 + CHECK;
/// Those of version 1, which knew no sealing.
const FIELDS_1: usize = 40;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub segment: u32,
    /// 0: never used.
    pub generation: u64,
    pub salt: u64,
    /// Segments that the spool was to have when this was written; 0: nobody knows.
    pub spool: u32,
    /// Tells the key with which this life is sealed; zeros: it is not.
    pub check: [u8; CHECK],
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
            check: [0; CHECK],
        }
    }

    /// Is this life sealed?
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.check != [0; CHECK]
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
        block[36..FIELDS_1].copy_from_slice(&self.spool.to_le_bytes());
        block[FIELDS_1..SEGMENT_FIELDS].copy_from_slice(&self.check);
        let crc = crc32fast::hash(&block[..SEGMENT_FIELDS]);
        block[SEGMENT_FIELDS..SEGMENT_FIELDS + 4].copy_from_slice(&crc.to_le_bytes());
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
        let fields = match version {
            1 => FIELDS_1,
            VERSION => SEGMENT_FIELDS,
            other => return Err(Version(other)),
        };
        let (whole, rest) = block.split_at_checked(fields).ok_or(Damaged)?;
        if u32_at(rest, 0) != Some(crc32fast::hash(whole)) {
            return Err(Damaged);
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
            check: *whole[FIELDS_1..].first_chunk().unwrap_or(&[0; CHECK]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SegmentHeader {
        /// As version 1 wrote it.
        pub fn block_1(&self) -> Vec<u8> {
            let mut block = self.block();
            block[8] = 1;
            let crc = crc32fast::hash(&block[..FIELDS_1]);
            block[FIELDS_1..].fill(0);
            block[FIELDS_1..FIELDS_1 + 4].copy_from_slice(&crc.to_le_bytes());
            block
        }
    }

    #[test]
    fn segment_headers_tell_what_is_wrong() {
        let header = SegmentHeader {
            segment: 3,
            generation: 7,
            salt: 9,
            spool: 64,
            check: [5; CHECK],
        };
        let block = header.block();
        assert_eq!(SegmentHeader::read(&block), Ok(header));
        let flipped = |at: usize| {
            let mut block = block.clone();
            block[at] ^= 1;
            SegmentHeader::read(&block)
        };
        assert_eq!(flipped(0), Err(NotASegment::Foreign));
        assert_eq!(flipped(8), Err(NotASegment::Version(3)));
        for at in [17, 45, 59] {
            assert_eq!(flipped(at), Err(NotASegment::Damaged));
        }
    }

    #[test]
    fn headers_of_version_1_are_read() {
        let header = SegmentHeader::unused(3, 9, 64);
        assert_eq!(SegmentHeader::read(&header.block_1()), Ok(header));
        let mut flipped = header.block_1();
        flipped[17] ^= 1;
        assert_eq!(SegmentHeader::read(&flipped), Err(NotASegment::Damaged));
    }
}
