//! The file calls of a Maildir delivery; only the Maildir threads make them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A Maildir.
#[derive(Debug)]
pub struct Folder<'p> {
    path: &'p Path,
}

/// A file in `tmp` that is not yet whole. To drop it leaves it there, where readers clear after 36 hours.
#[derive(Debug)]
pub struct Partial {
    file: File,
    folder: PathBuf,
    name: String,
}

impl<'p> Folder<'p> {
    /// The Maildir at a path, made with all that is missing: 0700, because it is mail.
    ///
    /// # Errors
    /// Those of `mkdir` and `fsync`.
    pub fn at(path: &'p Path) -> io::Result<Self> {
        let new = path.join("new");
        if !new.is_dir() {
            // `new` is made last: where it is, all are.
            let missing: Vec<&Path> = path
                .ancestors()
                .take_while(|folder| !folder.is_dir())
                .collect();
            for folder in [path.join("cur"), path.join("tmp"), new] {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&folder)?;
            }
            sync_folder(path)?;
            for above in missing.iter().filter_map(|folder| folder.parent()) {
                sync_folder(if above.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    above
                })?;
            }
        }
        Ok(Self { path })
    }

    /// A new file in `tmp`, 0600.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn create(&self, hostname: &str) -> io::Result<Partial> {
        let name = unique_name(hostname);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join("tmp").join(&name))?;
        Ok(Partial {
            file,
            folder: self.path.to_path_buf(),
            name,
        })
    }
}

impl Partial {
    /// # Errors
    /// Those of `write`.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)
    }

    /// Makes the content durable and the message visible; returns the folder whose entry is not yet durable.
    ///
    /// # Errors
    /// Those of `fsync` and `rename`, with the file.
    pub fn sync_and_move(self) -> Result<PathBuf, (io::Error, Self)> {
        let new = self.folder.join("new");
        let moved = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(self.path(), new.join(&self.name)));
        match moved {
            Ok(()) => Ok(new),
            Err(error) => Err((error, self)),
        }
    }

    /// It is given up. If it cannot be removed, it stays in tmp.
    pub fn remove(self) {
        let _ = fs::remove_file(self.path());
    }

    fn path(&self) -> PathBuf {
        self.folder.join("tmp").join(&self.name)
    }
}

/// Makes a folder's entries durable.
///
/// # Errors
/// Those of `open` and `fsync`.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name that no other delivery on this machine has: time, process, counter, and a random part for clocks that jump.
fn unique_name(hostname: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{}.M{}P{}Q{}R{:08x}.{}",
        now.as_secs(),
        now.subsec_micros(),
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed),
        fastrand::u32(..),
        hostname.replace(['/', ':'], "_")
    )
}
