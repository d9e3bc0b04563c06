//! The spool's only file calls, as a trait, so that tests can cut the power between any two of them.

use super::filesystem::{self, FileSystem};
use crate::limits;
use rustix::fs::Advice;
use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Instant;

/// A place that holds files.
pub trait Disk: Send + Sync + 'static {
    /// Makes the folder if it is missing (mode 0700).
    ///
    /// # Errors
    /// The system's.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes an empty file (mode 0600), or empties the one that is there.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file within its folder.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Octets that may still be written to the file system of a folder; None: nobody knows.
    ///
    /// # Errors
    /// The system's.
    fn free(&self, folder: &Path) -> io::Result<Option<u64>>;
    /// The kind of file system that holds a folder.
    ///
    /// # Errors
    /// The system's.
    fn file_system(&self, _folder: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem::InPlace)
    }
    /// The names in a folder; those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes new names and renames durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Locks a file, made if it is missing, until the returned value is dropped. None: another process has it.
    ///
    /// # Errors
    /// The system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads until the buffer is full.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` where the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes the whole buffer.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once all that was written is on the disk.
    ///
    /// # Errors
    /// The system's. What was written since the last success must then be taken for lost.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length in octets.
    ///
    /// # Errors
    /// The system's.
    fn length(&self) -> io::Result<u64>;
    /// Has what was synced read from the disk again, not from memory, as far as the system can do that.
    fn forget(&self) {}
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Disk for Real {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(file))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        filesystem::write_in_place(&file);
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn free(&self, folder: &Path) -> io::Result<Option<u64>> {
        let figures = rustix::fs::statvfs(folder)?;
        Ok(figures.f_bavail.checked_mul(figures.f_frsize))
    }

    fn file_system(&self, folder: &Path) -> io::Result<FileSystem> {
        FileSystem::of(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        // A command at work on a stopped spool is soon done.
        let late = Instant::now() + limits::SPOOL_LOCK;
        loop {
            match try_lock(path)? {
                None if Instant::now() < late => thread::sleep(limits::SPOOL_LOCK_LOOK),
                locked => return Ok(locked),
            }
        }
    }
}

/// Locks a file, made if it is missing. None: another process has it.
fn try_lock(path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Box::new(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(problem)) => Err(problem),
    }
}

/// The operating system's files, of which none is changed, made or locked: for a look at a spool, on a read-only file
/// system, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

impl Disk for ReadOnly {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Without the segments that are still being made: they are not the spool's yet, and a start would remove what is
    /// left of them.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Real.list(folder)?;
        names.retain(|name| !name.ends_with(".new"));
        Ok(names)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// The operating system's files that are there already: a command that changes a stopped relay's queue makes no file,
/// which would be of its own user and not of the relay's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Existing;

impl Disk for Existing {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Real.open(path)
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Real.remove(path)
    }

    fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Real.list(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Real.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        // Whoever has it may be a relay that starts: it is to be asked instead.
        try_lock(path)
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn forget(&self) {
        // Where the system cannot, what is read proves less, and is still read.
        let _ = rustix::fs::fadvise(self, 0, None, Advice::DontNeed);
    }
}
