//! What the disk holds at a moment: the folders of `--certs`, and the files that the compiled-in table names.
//!
//! It is put together from changes, which a [`super::Reader`] tells: one in this process, or one in a child that may read
//! what this process may not ([`super::handed`] carries them over).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use async_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroize as _;

use super::compiled::Compiled;
use super::pair::Pair;
use super::reader::{Look, Reader};

/// What came of reading a chain and its key: the pair, checked, or one line that says why there is none.
pub type Read = Result<Pair, String>;

/// What is not as it was at the last look.
#[derive(Debug)]
pub enum Change {
    /// A folder of `--certs` is there, or has other files.
    Folder {
        /// The place of its `--certs` among them.
        dir: usize,
        /// Its name.
        name: OsString,
        /// What is in it.
        read: Read,
    },
    /// A folder is there no more.
    Gone {
        /// The place of its `--certs` among them.
        dir: usize,
        /// Its name.
        name: OsString,
    },
    /// A `--certs` folder cannot be listed, or can again: why not. What is known of it stays.
    Listed {
        /// Its place among them.
        dir: usize,
        /// The system's reason.
        problem: Option<String>,
    },
    /// A chain that the compiled-in table has on the disk.
    File {
        /// Its place in [`Compiled::pairs`].
        at: u32,
        /// What is in its files.
        read: Read,
    },
}

/// What the disk holds. Bad pairs are in it as such: what is served instead is the table's decision.
#[derive(Debug)]
pub struct Found {
    /// When, in seconds since 1970; 0: dates of certificates play no part.
    pub moment: u64,
    pub(super) dirs: Vec<Dir>,
    /// The compiled-in table's, by their place in it.
    pub(super) files: BTreeMap<u32, Read>,
    fresh: Vec<Fresh>,
}

/// Where a good pair is new.
#[derive(Debug)]
pub enum Fresh {
    /// In a folder of `--certs`.
    Folder(PathBuf),
    /// In files of the compiled-in table: their place in it, and what is in them.
    File(u32, Arc<CertifiedKey>),
}

/// One `--certs`.
#[derive(Debug)]
pub(super) struct Dir {
    pub path: PathBuf,
    /// Why it cannot be listed.
    pub problem: Option<String>,
    /// What is in it, in the order of the names.
    pub folders: BTreeMap<OsString, Read>,
}

impl Found {
    /// Nothing yet, under these `--certs`.
    pub fn nothing(dirs: &[PathBuf]) -> Self {
        let dir = |path: &PathBuf| Dir {
            path: path.clone(),
            problem: None,
            folders: BTreeMap::new(),
        };
        Self {
            moment: 0,
            dirs: dirs.iter().map(dir).collect(),
            files: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }

    /// What is there now: one look of a [`Reader`].
    pub fn now(compiled: &'static Compiled, dirs: &[PathBuf]) -> Self {
        let mut found = Self::nothing(dirs);
        Reader::new(compiled, dirs).look(Look::Final, &mut |change| found.apply(change));
        found
    }

    /// Where a good pair is new since this was asked last.
    pub fn take_fresh(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.fresh)
    }

    /// Takes over a change. One of a `--certs` that is not among these is none.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Folder { dir, name, read } => {
                if let Some(dir) = self.dirs.get_mut(dir) {
                    if read.is_ok() {
                        self.fresh.push(Fresh::Folder(dir.path.join(&name)));
                    }
                    dir.folders.insert(name, without_key(read));
                }
            }
            Change::Gone { dir, name } => {
                if let Some(dir) = self.dirs.get_mut(dir) {
                    dir.folders.remove(&name);
                }
            }
            Change::Listed { dir, problem } => {
                if let Some(dir) = self.dirs.get_mut(dir) {
                    dir.problem = problem;
                }
            }
            Change::File { at, read } => {
                if let Ok(pair) = &read {
                    let certified = Arc::clone(&pair.certified);
                    self.fresh.push(Fresh::File(at, certified));
                }
                self.files.insert(at, without_key(read));
            }
        }
    }
}

impl Dir {
    /// Its folders with their paths.
    pub fn entries(&self) -> impl Iterator<Item = (PathBuf, &Read)> {
        let folders = self.folders.iter();
        folders.map(|(name, read)| (self.path.join(name), read))
    }
}

/// The key that signs is all that is kept; its file's octets were for handing it over.
fn without_key(mut read: Read) -> Read {
    if let Ok(pair) = &mut read {
        pair.key.zeroize();
    }
    read
}
