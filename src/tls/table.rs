//! Which certificate a client gets: the compiled-in table, over it the folders of `--certs`, and the default.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use async_rustls::rustls::sign::CertifiedKey;

use super::compiled::{Compiled, Source};
use super::folders::{self, Folder, Skipped};
use super::pair::{Pair, PairError};
use super::provider;
use crate::limits;

/// The table of `config/domains`, as the build checked and laid it out.
pub static COMPILED: Compiled = {
    use super::compiled::Source::*;
    use super::compiled::{Name, Span};
    include!(concat!(env!("OUT_DIR"), "/domains.rs"))
};

/// Stands in for a table that has only the development certificate once there is a real one.
static EMPTY: Compiled = Compiled {
    text: "",
    der: &[],
    names: &[],
    pairs: &[],
    certificates: &[],
    default: None,
    first: None,
    development: false,
};

/// Names and their certificates. Fixed once loaded: a renewal loads another one.
pub struct Table {
    compiled: &'static Compiled,
    /// The compiled-in table's chains that are read at boot, by their place in it.
    files: BTreeMap<u32, Arc<CertifiedKey>>,
    /// The names of the `--certs` folders, sorted; a wildcard as `.parent`.
    folders: Vec<(Box<str>, Arc<CertifiedKey>)>,
    /// Embedded chains that were asked for, the latest last.
    parsed: Mutex<Vec<(u32, Arc<CertifiedKey>)>>,
    default: Option<(String, Arc<CertifiedKey>)>,
    provider: Arc<CryptoProvider>,
}

/// Why there is no table: one line that names the thing.
#[derive(Debug)]
pub enum TableError {
    /// A file of the compiled-in table that is read at boot.
    Entry { name: String, error: PairError },
    /// Its certificate is for other names.
    NotCovered {
        name: String,
        chain: PathBuf,
        has: Vec<String>,
    },
    /// An embedded chain does not parse with this crypto provider.
    Embedded { name: String, problem: String },
    /// A `--certs` folder that cannot be listed.
    Folder { dir: PathBuf, error: std::io::Error },
    /// More than [`limits::CERTIFICATE_FOLDERS`] certificates under `--certs`.
    TooMany(usize),
    /// `--default-cert` names a folder that was skipped.
    BadDefault { name: String, reason: String },
    /// `--default-cert` names nothing; what it could have named.
    UnknownDefault { name: String, names: Vec<String> },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { name, error } => write!(f, "config/domains, entry {name}: {error}"),
            Self::NotCovered { name, chain, has } => write!(
                f,
                "config/domains, entry {name}: {} is not for it; it has {}",
                chain.display(),
                listed(has)
            ),
            Self::Embedded { name, problem } => {
                write!(f, "config/domains, entry {name}: {problem}")
            }
            Self::Folder { dir, error } => write!(f, "--certs {}: {error}", dir.display()),
            Self::TooMany(count) => write!(
                f,
                "--certs: {count} certificates; at most {} are kept",
                limits::CERTIFICATE_FOLDERS
            ),
            Self::BadDefault { name, reason } => write!(f, "--default-cert {name}: {reason}"),
            Self::UnknownDefault { name, names } => write!(
                f,
                "--default-cert {name}: no such certificate; there are {}",
                listed(names)
            ),
        }
    }
}

impl std::error::Error for TableError {}

/// The first few of `names`, for one line.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len() {
        0 => "none".to_string(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

impl Table {
    /// Puts the table together: `compiled` ([`COMPILED`]), the files it names, and the folders of `dirs` (`--certs`).
    ///
    /// A bad folder in `dirs` is skipped and named in the log; everything else that is wrong is an error. `default` is
    /// `--default-cert`: a name in the table or a folder's. Without it the default is the hostname's entry, else the
    /// table's `default` line, else the first name. A development certificate is not served beside one under `dirs`.
    pub fn load(
        compiled: &'static Compiled,
        dirs: &[PathBuf],
        default: Option<&str>,
        hostname: &str,
    ) -> Result<Self, TableError> {
        let provider = provider();
        let (folders, skipped) = read_folders(dirs, &provider)?;
        let superseded = compiled.development && !folders.is_empty();
        let compiled = if superseded { &EMPTY } else { compiled };
        let mut table = Self {
            compiled,
            files: read_files(compiled, &provider)?,
            folders: names_of(&folders),
            parsed: Mutex::default(),
            default: None,
            provider,
        };
        table.default = match default {
            Some(name) => Some(table.asked_default(name, &folders, &skipped)?),
            None => table.own_default(hostname, &folders)?,
        };
        Ok(table)
    }

    /// The certificate for a client that sent `sni`, if there is any at all: exactly the name's, else that of the nearest
    /// parent (a wildcard under `--certs` covers one label, a `.parent` line any number), else the default.
    pub fn find(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        sni.and_then(|name| self.named(name))
            .or_else(|| Some(Arc::clone(&self.default.as_ref()?.1)))
    }

    /// Whether there is no certificate: STARTTLS cannot be offered.
    pub fn is_empty(&self) -> bool {
        self.default.is_none()
    }

    /// The number of names, `.parent` entries and wildcards counted as one each.
    pub fn len(&self) -> usize {
        let added = |name: &str| self.compiled.find(name).is_none();
        let added = self.folders.iter().filter(|(name, _)| added(name));
        self.compiled.names.len() + added.count()
    }

    /// Whether the default is the build's own certificate for `localhost`: boot warns of it.
    pub fn is_development(&self) -> bool {
        self.compiled.development
    }

    /// The name that the default certificate was chosen by.
    pub fn default_name(&self) -> Option<&str> {
        self.default.as_ref().map(|(name, _)| name.as_str())
    }

    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(found) = self.folder(&name).or_else(|| self.entry(&name)) {
            return Some(found);
        }
        let mut label = 0;
        name.match_indices('.').find_map(|(at, _)| {
            label += 1;
            let parent = &name[at..];
            let wildcard = (label == 1).then(|| self.folder(parent)).flatten();
            wildcard.or_else(|| self.entry(parent))
        })
    }

    /// The `--certs` certificate of exactly this name (`.parent` for a wildcard).
    fn folder(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let at = self
            .folders
            .binary_search_by(|(known, _)| (**known).cmp(name));
        Some(Arc::clone(&self.folders[at.ok()?].1))
    }

    /// The compiled-in certificate of exactly this name or `.parent`.
    fn entry(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let pair = self.compiled.find(name)?;
        // The build has checked it: what fails here is a key kind that this provider lacks.
        self.pair(pair)
            .inspect_err(|problem| {
                log::error!("certificate unusable name={name} reason={problem:?}")
            })
            .ok()
    }

    /// A chain of the compiled-in table; an embedded one is parsed on first use.
    fn pair(&self, at: u32) -> Result<Arc<CertifiedKey>, String> {
        if let Some(read) = self.files.get(&at) {
            return Ok(Arc::clone(read));
        }
        if let Some(parsed) = self.recall(at) {
            return Ok(parsed);
        }
        let parsed = Arc::new(self.parse(at)?);
        let mut cache = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= limits::CERTIFICATES_PARSED {
            cache.remove(0);
        }
        cache.push((at, Arc::clone(&parsed)));
        Ok(parsed)
    }

    fn recall(&self, at: u32) -> Option<Arc<CertifiedKey>> {
        let mut cache = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.iter().rposition(|(pair, _)| *pair == at)?;
        let used = cache.remove(found);
        let parsed = Arc::clone(&used.1);
        cache.push(used);
        Some(parsed)
    }

    fn parse(&self, at: u32) -> Result<CertifiedKey, String> {
        let Some(Source::Embedded { chain, key }) = self.compiled.pairs.get(at as usize) else {
            return Err("the table names no such chain".to_string());
        };
        let chain = self.compiled.chain(*chain).map(CertificateDer::from);
        let key = PrivateKeyDer::try_from(self.compiled.der(*key))?;
        let key = self
            .provider
            .key_provider
            .load_private_key(key)
            .map_err(|e| e.to_string())?;
        Ok(CertifiedKey::new(chain.collect(), key))
    }

    fn asked_default(
        &self,
        name: &str,
        folders: &[Folder],
        skipped: &[Skipped],
    ) -> Result<(String, Arc<CertifiedKey>), TableError> {
        let asked = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let found = folders.iter().find(|folder| folder.name == asked);
        if let Some(folder) = found {
            return Ok((asked, Arc::clone(&folder.certified)));
        }
        if let Some(bad) = skipped.iter().find(|bad| bad.name == asked) {
            let (name, reason) = (asked, bad.reason.clone());
            return Err(TableError::BadDefault { name, reason });
        }
        match self.named(asked.strip_prefix('*').unwrap_or(&asked)) {
            Some(found) => Ok((asked, found)),
            None => Err(TableError::UnknownDefault {
                name: name.to_string(),
                names: self.names().collect(),
            }),
        }
    }

    fn own_default(
        &self,
        hostname: &str,
        folders: &[Folder],
    ) -> Result<Option<(String, Arc<CertifiedKey>)>, TableError> {
        if let Some(own) = self.named(hostname) {
            return Ok(Some((hostname.to_string(), own)));
        }
        let first = self.compiled.first.map(|span| self.compiled.text(span));
        let compiled = match self.compiled.default {
            Some(pair) => Some(("default".to_string(), self.pair(pair))),
            // By its name, so that a folder of that name goes before it.
            None => first.map(|name| {
                let problem = || "unusable with this crypto provider".to_string();
                (name.to_string(), self.named(name).ok_or_else(problem))
            }),
        };
        match compiled {
            Some((name, Ok(found))) => Ok(Some((name, found))),
            Some((name, Err(problem))) => Err(TableError::Embedded { name, problem }),
            None => {
                let first = folders.first();
                Ok(first.map(|folder| (folder.name.clone(), Arc::clone(&folder.certified))))
            }
        }
    }

    /// All names, the compiled-in first.
    fn names(&self) -> impl Iterator<Item = String> {
        let compiled = self.compiled.names.iter();
        let compiled = compiled.map(|name| self.compiled.text(name.text).to_string());
        compiled.chain(self.folders.iter().map(|(name, _)| name.to_string()))
    }
}

/// The line of the boot log.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.default_name().unwrap_or("none");
        write!(f, "names={} default={default}", self.len())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({self})")
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

/// The compiled-in table's chains on the disk, each read once and checked against every name that it is for.
fn read_files(
    compiled: &'static Compiled,
    provider: &CryptoProvider,
) -> Result<BTreeMap<u32, Arc<CertifiedKey>>, TableError> {
    let mut files: BTreeMap<u32, Pair> = BTreeMap::new();
    let named = compiled.names.iter();
    let named = named.map(|name| (compiled.text(name.text), name.pair));
    for (name, at) in named.chain(compiled.default.map(|at| ("default", at))) {
        let Some(Source::Files { chain, key }) = compiled.pairs.get(at as usize) else {
            continue;
        };
        let chain = Path::new(compiled.text(*chain));
        let pair = match files.entry(at) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unread) => {
                let key = Path::new(compiled.text(*key));
                let pair = Pair::read(chain, key, provider, limits::CERTIFICATE_FILE);
                unread.insert(pair.map_err(|error| TableError::Entry {
                    name: name.to_string(),
                    error,
                })?)
            }
        };
        if name != "default" && !pair.covers(name) {
            return Err(TableError::NotCovered {
                name: name.to_string(),
                chain: chain.into(),
                has: pair.names.clone(),
            });
        }
    }
    let files = files.into_iter();
    Ok(files
        .map(|(at, pair)| (at, Arc::new(pair.certified)))
        .collect())
}

fn read_folders(
    dirs: &[PathBuf],
    provider: &CryptoProvider,
) -> Result<(Vec<Folder>, Vec<Skipped>), TableError> {
    let (mut folders, mut skipped) = (Vec::new(), Vec::new());
    for dir in dirs {
        let (good, bad) = folders::read(dir, provider).map_err(|error| TableError::Folder {
            dir: dir.clone(),
            error,
        })?;
        for Skipped { path, reason, .. } in &bad {
            log::warn!(
                "certificate skipped folder={} reason={reason:?}",
                path.display()
            );
        }
        folders.extend(good);
        skipped.extend(bad);
    }
    if folders.len() > limits::CERTIFICATE_FOLDERS {
        return Err(TableError::TooMany(folders.len()));
    }
    Ok((folders, skipped))
}

/// Every name that the folders' certificates are for, sorted. Where several have a name, the folder of exactly that name
/// has it, else the first.
fn names_of(folders: &[Folder]) -> Vec<(Box<str>, Arc<CertifiedKey>)> {
    let mut names: BTreeMap<&str, &Folder> = BTreeMap::new();
    for folder in folders {
        for name in &folder.names {
            let first = *names.entry(name).or_insert(folder);
            if folder.name == *name && first.name != *name {
                names.insert(name, folder);
            }
        }
    }
    let entry = |name: &str| Box::<str>::from(name.strip_prefix('*').unwrap_or(name));
    let mut names: Vec<_> = names
        .into_iter()
        .map(|(name, folder)| (entry(name), Arc::clone(&folder.certified)))
        .collect();
    names.sort_by(|(a, _), (b, _)| a.cmp(b));
    names
}

#[cfg(test)]
mod tests;
