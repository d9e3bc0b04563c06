//! A segment that may be written to, as it was at one moment.

use super::super::disk::DiskFile;
use super::super::record::BLOCK;
use std::io;

/// A segment's octets in memory.
///
/// They are read from the last block to the first, against the direction in which a relay writes: whatever stands before a
/// record that is there was written earlier and read later, so that no record is missing before another.
pub struct Snapshot(Vec<u8>);

impl Snapshot {
    /// Reads a whole segment.
    ///
    /// # Errors
    /// The disk's.
    pub fn of(file: &dyn DiskFile) -> io::Result<Self> {
        let length = usize::try_from(file.length()?).unwrap_or(0);
        let mut octets = vec![0; length];
        for (number, block) in octets.chunks_mut(BLOCK).enumerate().rev() {
            file.read_at(block, (number * BLOCK) as u64)?;
        }
        Ok(Self(octets))
    }
}

impl DiskFile for Snapshot {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let octets = self.0.get(start..end);
        buffer.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
