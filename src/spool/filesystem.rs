//! What the file system under the spool can promise.
//!
//! The spool writes every octet of its segments ahead of use, so that later writes go where there is room already. Two kinds
//! of file system break that: those that never write in place, on which the disk may be found full under a segment, and
//! those that are in memory, on which nothing outlives a power cut.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// A kind of file system, as far as it concerns the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Writes over what is there: all that was promised holds.
    InPlace,
    /// Writes elsewhere unless a file is marked NOCOW, and even then once after a snapshot.
    Btrfs,
    /// Never writes in place.
    CopyOnWrite(&'static str),
    /// Is gone with the power.
    Memory(&'static str),
}

/// The kernel's numbers (statfs(2), linux/magic.h and the file systems' own headers).
const KINDS: [(u32, FileSystem); 6] = [
    (0x9123_683e, FileSystem::Btrfs),
    (0x2fc1_2fc1, FileSystem::CopyOnWrite("ZFS")),
    (0xca45_1a4e, FileSystem::CopyOnWrite("bcachefs")),
    (0x0000_3434, FileSystem::CopyOnWrite("NILFS2")),
    (0x0102_1994, FileSystem::Memory("tmpfs")),
    (0x8584_58f6, FileSystem::Memory("ramfs")),
];

impl FileSystem {
    fn numbered(number: u32) -> Self {
        let kind = KINDS.iter().find(|kind| kind.0 == number);
        kind.map_or(Self::InPlace, |kind| kind.1)
    }

    /// The one that holds a folder.
    ///
    /// # Errors
    /// The system's.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let figures = rustix::fs::statfs(folder)?;
        // The number has 32 bits; the field's width and sign are the architecture's.
        Ok(Self::numbered(figures.f_type as u32))
    }

    /// The warning that its owner gets; None: nothing is amiss.
    #[must_use]
    pub fn warning(self) -> Option<Warning> {
        (self != Self::InPlace).then_some(Warning(self))
    }
}

/// Why the file system is no good place for a spool, in a line.
#[derive(Clone, Copy, Debug)]
pub struct Warning(FileSystem);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FileSystem::InPlace => Ok(()),
            FileSystem::Btrfs => f.write_str(
                "btrfs copies what is written over, unless marked NOCOW (new segments are) and without snapshots: a full disk may refuse mail that --spool-size has room for",
            ),
            FileSystem::CopyOnWrite(name) => write!(
                f,
                "{name} copies what is written over: a full disk may refuse mail that --spool-size has room for; keep room free there, or use ext4 or XFS"
            ),
            FileSystem::Memory(name) => write!(
                f,
                "{name} is in memory: a restart of the machine loses acknowledged mail; use a disk"
            ),
        }
    }
}

/// Has an empty file written in place where the file system can be told so.
pub fn write_in_place(file: &File) {
    use rustix::fs::{IFlags, fstatfs, ioctl_getflags, ioctl_setflags};
    let is_btrfs = fstatfs(file)
        .is_ok_and(|figures| FileSystem::numbered(figures.f_type as u32) == FileSystem::Btrfs);
    if !is_btrfs {
        return;
    }
    let set = ioctl_getflags(file).and_then(|flags| ioctl_setflags(file, flags | IFlags::NOCOW));
    if let Err(problem) = set {
        log::warn!("spool NOCOW: {problem}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_keep_the_promise_is_named() {
        let warning = |number| FileSystem::numbered(number).warning();
        let ext4 = 0xef53;
        assert!(warning(ext4).is_none());
        for (number, name) in [
            (0x9123_683e, "btrfs copies"),
            (0x2fc1_2fc1, "ZFS copies"),
            (0x0102_1994, "tmpfs is in memory"),
        ] {
            let said = warning(number).expect("a warning").to_string();
            assert!(said.starts_with(name), "{said}");
        }
        assert_eq!(
            FileSystem::of("/proc".as_ref()).ok(),
            Some(FileSystem::InPlace)
        );
        assert!(FileSystem::of("/nowhere".as_ref()).is_err());
    }
}
