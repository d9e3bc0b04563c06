//! Files that flags name: regular ones. A pipe would hold up the boot until somebody writes to it, and a device might never
//! end.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a regular file, or what a link to one leads to, without waiting for anybody.
///
/// # Errors
/// The system's; or that it is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Without it the opening of a pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}
