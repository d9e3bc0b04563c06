//! Looks at the disk: which certificates are there, and what has changed since the last look.
//!
//! **Why stat and not inotify.** certbot's links lead into archive/, so that each link's target would have to be watched
//! beside it, and again after each renewal; network file systems tell nothing of what other machines do; and a folder that
//! is yet to come can only be watched through its parents. A stat that follows the links sees all of it, and costs a few
//! microseconds a file.
//!
//! **What is half done.** certbot removes a link and makes it anew, one after the other for the four of a lineage, so a
//! look may fall between: no file, or a new chain beside an old key. A good pair is taken as soon as it is seen. What is
//! bad, gone or cannot be listed must be so at two looks in a row before it is told. What has changed is read at the next
//! look again, for file systems whose times are coarse: FAT's go by two seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_rustls::rustls::crypto::CryptoProvider;

use super::compiled::{Compiled, Source};
use super::found::{Change, Read};
use super::pair::Pair;
use super::provider;
use crate::limits;

/// How sure a look is of what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Files are changed behind our back: what is bad is told when the next look finds it bad as well.
    Patient,
    /// Boot, or the owner asks: all is read, and told as it is.
    Final,
}

/// Looks, and remembers what it has told.
pub struct Reader {
    dirs: Vec<Dir>,
    /// The compiled-in table's, with their place in it.
    files: Vec<(u32, Files)>,
    provider: Arc<CryptoProvider>,
}

impl Reader {
    /// Will look for the folders of `dirs` (`--certs`) and the files that `compiled` names.
    pub fn new(compiled: &'static Compiled, dirs: &[PathBuf]) -> Self {
        let files = files_of(compiled);
        let files = files.map(|(at, chain, key)| (at, Files::new(chain.into(), key.into())));
        Self {
            dirs: dirs.iter().map(|path| Dir::new(path)).collect(),
            files: files.collect(),
            provider: provider(),
        }
    }

    /// Whether there is nothing that a look could see.
    pub fn is_idle(&self) -> bool {
        self.dirs.is_empty() && self.files.is_empty()
    }

    /// Looks once, and tells each change since the last look.
    pub fn look(&mut self, how: Look, tell: &mut impl FnMut(Change)) {
        let provider = &self.provider;
        let mut room = limits::CERTIFICATE_FOLDERS;
        for (dir, known) in self.dirs.iter_mut().enumerate() {
            match folders(&known.path, &mut room) {
                Ok(names) => known.look(dir, &names, (how, provider), tell),
                Err(problem) => known.unlisted(dir, problem, how, tell),
            }
        }
        for (at, files) in &mut self.files {
            if let Some(read) = files.look(how, |chain, key| read(chain, key, provider)) {
                tell(Change::File { at: *at, read });
            }
        }
    }
}

/// The chains that the compiled-in table has on the disk: their place in it, and the paths of the chain and the key.
pub fn files_of(
    compiled: &'static Compiled,
) -> impl Iterator<Item = (u32, &'static Path, &'static Path)> {
    (0..).zip(compiled.pairs.iter()).filter_map(|(at, pair)| {
        let Source::Files { chain, key } = pair else {
            return None;
        };
        let path = |span| Path::new(compiled.text(span));
        Some((at, path(chain), path(key)))
    })
}

/// One `--certs`.
struct Dir {
    path: PathBuf,
    listed: Told,
    folders: BTreeMap<OsString, Folder>,
}

struct Folder {
    files: Files,
    /// The last look did not find it.
    missing: bool,
}

impl Dir {
    fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            listed: Told::default(),
            folders: BTreeMap::new(),
        }
    }

    /// Looks at those that are there, and for those that were.
    fn look(
        &mut self,
        dir: usize,
        names: &BTreeSet<OsString>,
        (how, provider): (Look, &CryptoProvider),
        tell: &mut impl FnMut(Change),
    ) {
        if self.listed.good(0) {
            let problem = None;
            tell(Change::Listed { dir, problem });
        }
        self.folders.retain(|name, folder| {
            let gone = !names.contains(name) && (folder.missing || how == Look::Final);
            folder.missing = !names.contains(name);
            if gone {
                let name = name.clone();
                tell(Change::Gone { dir, name });
            }
            !gone
        });
        for name in names {
            let folder = self.folders.entry(name.clone());
            let folder = folder.or_insert_with(|| Folder::new(&self.path.join(name)));
            let read = |chain: &Path, key: &Path| named(chain, read(chain, key, provider)?);
            if let Some(read) = folder.files.look(how, read) {
                let name = name.clone();
                tell(Change::Folder { dir, name, read });
            }
        }
    }

    fn unlisted(&mut self, dir: usize, problem: String, how: Look, tell: &mut impl FnMut(Change)) {
        if self.listed.bad(hash_of(&problem), how) == Doubt::News {
            let problem = Some(problem);
            tell(Change::Listed { dir, problem });
        }
    }
}

impl Folder {
    fn new(path: &Path) -> Self {
        Self {
            files: Files::new(path.join("fullchain.pem"), path.join("privkey.pem")),
            missing: false,
        }
    }
}

/// A chain's and its key's file.
struct Files {
    chain: PathBuf,
    key: PathBuf,
    stamps: Option<[Stamp; 2]>,
    /// The next look reads them whatever their stamps.
    again: bool,
    told: Told,
}

/// What changes when a file does: device, inode, length, the times of its content and of its inode. None: no such file.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

impl Files {
    fn new(chain: PathBuf, key: PathBuf) -> Self {
        Self {
            chain,
            key,
            stamps: None,
            again: false,
            told: Told::default(),
        }
    }

    /// What is in them, where that is news.
    fn look(&mut self, how: Look, read: impl Fn(&Path, &Path) -> Read) -> Option<Read> {
        let stamps = [stamp(&self.chain), stamp(&self.key)];
        let changed = self.stamps.replace(stamps) != Some(stamps);
        if !changed && !self.again && how == Look::Patient {
            return None;
        }
        self.again = changed && how == Look::Patient;
        let read = read(&self.chain, &self.key);
        let news = match &read {
            Ok(pair) => self.told.good(hash_of(&pair.certified.cert)),
            Err(reason) => match self.told.bad(hash_of(reason), how) {
                Doubt::News => true,
                Doubt::Known => false,
                Doubt::Unsure => {
                    self.again = true;
                    false
                }
            },
        };
        news.then_some(read)
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    let times = [
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    ];
    Some((about.dev(), about.ino(), about.len(), times))
}

fn read(chain: &Path, key: &Path, provider: &CryptoProvider) -> Read {
    Pair::read(chain, key, provider, limits::CERTIFICATE_FILE).map_err(|e| e.to_string())
}

/// A folder is served by the names of its certificate.
pub(super) fn named(chain: &Path, pair: Pair) -> Read {
    match pair.names.is_empty() {
        false => Ok(pair),
        true => Err(format!(
            "{}: the certificate has no DNS name (subjectAltName)",
            chain.display()
        )),
    }
}

/// What was told last of something, as a hash, and whether the last look found it bad.
#[derive(Default)]
struct Told {
    what: Option<u64>,
    doubted: bool,
}

/// What to do with something bad.
#[derive(PartialEq, Eq)]
enum Doubt {
    News,
    Known,
    /// Look again.
    Unsure,
}

impl Told {
    /// Whether this is news.
    fn good(&mut self, what: u64) -> bool {
        self.doubted = false;
        self.what.replace(what) != Some(what)
    }

    fn bad(&mut self, what: u64, how: Look) -> Doubt {
        let sure = std::mem::replace(&mut self.doubted, true) || how == Look::Final;
        match sure {
            false => Doubt::Unsure,
            true if self.what.replace(what) == Some(what) => Doubt::Known,
            true => Doubt::News,
        }
    }
}

fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The names of the folders in `dir`, of which there is room for so many. Symbolic links are followed; what is no folder
/// (certbot's README) and what begins with a dot is none of ours.
fn folders(dir: &Path, room: &mut usize) -> Result<BTreeSet<OsString>, String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || is_no_folder(&entry) {
            continue;
        }
        *room = room.checked_sub(1).ok_or_else(|| {
            let most = limits::CERTIFICATE_FOLDERS;
            format!("more than {most} folders under --certs; so many are kept at most")
        })?;
        names.insert(name);
    }
    match names.is_empty().then(|| one_too_deep(dir)).flatten() {
        Some(problem) => Err(problem),
        None => Ok(names),
    }
}

/// The folder of one certificate, where that of them all is meant.
fn one_too_deep(dir: &Path) -> Option<String> {
    if !["fullchain.pem", "privkey.pem"]
        .iter()
        .any(|file| dir.join(file).exists())
    {
        return None;
    }
    let whole = std::path::absolute(dir).ok()?;
    let above = whole.parent()?.display();
    Some(format!(
        "it is the folder of one certificate, with fullchain.pem and privkey.pem in it: give that of them all, --certs {above}"
    ))
}

fn is_no_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_dir() => false,
        // A link that leads nowhere may be a folder's whose target is away.
        _ => fs::metadata(entry.path()).is_ok_and(|about| !about.is_dir()),
    }
}

#[cfg(test)]
mod tests;
