//! Which certificate a client gets: the compiled-in table, over it the folders of `--certs`, and the default.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use async_rustls::rustls::sign::CertifiedKey;

use super::compiled::{Compiled, Source, folded};
use super::folders::{Folder, Skipped};
use super::validity::Validity;
use super::{Verdict, provider};
use crate::limits;
pub use error::TableError;

mod error;
mod read;

/// The table of `config/domains`, as the build checked and laid it out.
pub static COMPILED: Compiled = {
    use super::compiled::Source::*;
    use super::compiled::{Name, Span};
    #[allow(unused_imports)] // a table of files on the disk has no dates
    use super::validity::Validity;
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
    files: read::Files,
    /// The `--certs` folders.
    folders: Vec<Folder>,
    /// Their names, sorted, and each name's folder; a wildcard as `.parent`.
    names: Vec<(Box<str>, usize)>,
    /// Embedded chains that were asked for, the latest last.
    parsed: Mutex<Vec<(u32, Arc<CertifiedKey>)>>,
    default: Option<(String, Arc<CertifiedKey>)>,
    provider: Arc<CryptoProvider>,
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
        Self::read(compiled, dirs, (default, hostname), None)
    }

    /// Puts the table together anew, as [`Self::load`] with the same arguments, but keeps of this one each certificate
    /// whose files are bad now. A folder that is gone is gone.
    pub fn load_again(
        &self,
        compiled: &'static Compiled,
        dirs: &[PathBuf],
        default: Option<&str>,
        hostname: &str,
    ) -> Result<Self, TableError> {
        Self::read(compiled, dirs, (default, hostname), Some(self))
    }

    fn read(
        compiled: &'static Compiled,
        dirs: &[PathBuf],
        (default, hostname): (Option<&str>, &str),
        before: Option<&Self>,
    ) -> Result<Self, TableError> {
        let provider = provider();
        let known = before.map_or(&[][..], |before| &before.folders);
        let (folders, skipped) = read::all_folders(dirs, &provider, known)?;
        let superseded = compiled.development && !folders.is_empty();
        let compiled = if superseded { &EMPTY } else { compiled };
        let mut table = Self {
            compiled,
            files: read::files(compiled, &provider, before.map(|before| &before.files))?,
            names: read::names_of(&folders),
            folders,
            parsed: Mutex::default(),
            default: None,
            provider,
        };
        table.default = match default {
            Some(name) => Some(table.asked_default(name, &skipped)?),
            None => table.own_default(hostname, &skipped)?,
        };
        Ok(table)
    }

    /// The certificate for a client that sent `sni`, if there is any at all: exactly the name's, else that of the nearest
    /// parent (a wildcard under `--certs` covers one label, a `.parent` line any number), else the default.
    pub fn find(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        sni.and_then(|name| self.named(name))
            .or_else(|| Some(Arc::clone(&self.default.as_ref()?.1)))
    }

    /// By which entry [`Self::find`] chooses for `sni`.
    pub fn verdict(&self, sni: Option<&str>) -> Verdict {
        let Some(name) = sni.map(folded) else {
            return Verdict::NoName;
        };
        if self.folder(&name).is_some() || self.compiled.find(&name).is_some() {
            return Verdict::Exact;
        }
        let found = name
            .match_indices('.')
            .enumerate()
            .find_map(|(label, (at, _))| {
                let parent = &name[at..];
                if label == 0 && self.folder(parent).is_some() {
                    return Some(Verdict::Wildcard(format!("*{parent}").into()));
                }
                let line = self.compiled.find(parent);
                line.map(|_| Verdict::Parent(parent.into()))
            });
        found.unwrap_or(Verdict::UnknownName)
    }

    /// Whether there is no certificate: STARTTLS cannot be offered.
    pub fn is_empty(&self) -> bool {
        self.default.is_none()
    }

    /// The number of names, `.parent` entries and wildcards counted as one each.
    pub fn len(&self) -> usize {
        let added = |name: &str| self.compiled.find(name).is_none();
        let added = self.names.iter().filter(|(name, _)| added(name));
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

    /// The certificates that are out of date at `now` (seconds since 1970) or soon will be: for each, a piece of a log
    /// line that names it and says since when.
    pub fn out_of_date(&self, now: u64) -> impl Iterator<Item = String> {
        let default = self.compiled.default.map(|pair| ("default", pair));
        let entries = self.compiled.names.iter();
        let entries = entries.map(|name| (self.compiled.text(name.text), name.pair));
        let mut told = HashSet::new();
        let entries = entries.chain(default).filter_map(move |(name, pair)| {
            let trouble = self.validity(pair)?.trouble(now)?;
            let new = told.insert(pair);
            new.then(|| format!("entry={name} reason={trouble:?}"))
        });
        let folders = self.folders.iter().filter_map(move |folder| {
            let trouble = validity(&folder.certified)?.trouble(now)?;
            let path = folder.path.display();
            Some(format!("folder={path} reason={trouble:?}"))
        });
        entries.chain(folders)
    }

    /// The dates of a chain of the compiled-in table.
    fn validity(&self, pair: u32) -> Option<Validity> {
        match self.compiled.pairs.get(pair as usize)? {
            Source::Embedded { valid, .. } => *valid,
            Source::Files { .. } => validity(self.files.get(&pair)?),
        }
    }

    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = folded(name);
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
            .names
            .binary_search_by(|(known, _)| (**known).cmp(name));
        let (_, folder) = self.names[at.ok()?];
        Some(Arc::clone(&self.folders[folder].certified))
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
        let Some(Source::Embedded { chain, key, .. }) = self.compiled.pairs.get(at as usize) else {
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
        skipped: &[Skipped],
    ) -> Result<(String, Arc<CertifiedKey>), TableError> {
        let asked = folded(name);
        if let Some(folder) = self.folder_called(&asked) {
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
                names: self.all_names().collect(),
            }),
        }
    }

    fn own_default(
        &self,
        hostname: &str,
        skipped: &[Skipped],
    ) -> Result<Option<(String, Arc<CertifiedKey>)>, TableError> {
        let name = folded(hostname);
        // Another domain's certificate in its place would be the wrong one for everybody, without a word.
        if let Some(bad) = skipped.iter().find(|bad| bad.name == name)
            && self.folder_called(&name).is_none()
        {
            let reason = bad.reason.clone();
            return Err(TableError::BadHostname { name, reason });
        }
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
                let first = self.folders.first();
                Ok(first.map(|folder| (folder.name.clone(), Arc::clone(&folder.certified))))
            }
        }
    }

    /// The folder of exactly this name, whatever its certificate is for.
    fn folder_called(&self, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.name == name)
    }

    /// All names, the compiled-in first.
    fn all_names(&self) -> impl Iterator<Item = String> {
        let compiled = self.compiled.names.iter();
        let compiled = compiled.map(|name| self.compiled.text(name.text).to_string());
        compiled.chain(self.names.iter().map(|(name, _)| name.to_string()))
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

/// The dates of a chain's first certificate.
fn validity(certified: &CertifiedKey) -> Option<Validity> {
    Validity::of(certified.cert.first()?)
}

#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod tests;
