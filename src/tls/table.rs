//! Which certificate a client gets: the compiled-in table, over it the folders of `--certs`, and the default.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::sign::CertifiedKey;

use super::compiled::{Compiled, Records, Source};
use super::folders::Folder;
use super::found::Found;
use super::provider;
use super::validity::{Renewal, Validity};
pub use choice::Verdict;
use dates::Dates;
pub use error::TableError;
pub use troubles::Trouble;

mod choice;
mod dates;
mod default;
mod dropped;
mod error;
pub mod listed;
mod names;
mod parsed;
mod read;
mod troubles;

/// The table of `config/domains`, as the build checked and laid it out.
pub static COMPILED: Compiled = {
    #[allow(unused_imports)] // a table may have no name but `default`
    use super::compiled::Span;
    include!(concat!(env!("OUT_DIR"), "/domains.rs"))
};

/// Stands in for a table that has only the development certificate once there is a real one.
static EMPTY: Compiled = Compiled {
    text: "",
    der: &[],
    names: Records::new(&[]),
    choices: Records::new(&[]),
    pairs: Records::new(&[]),
    certificates: Records::new(&[]),
    default: None,
    first: None,
    development: false,
};

/// Names and their certificates. Fixed once loaded: a renewal loads another one.
pub struct Table {
    compiled: &'static Compiled,
    /// The compiled-in table's pairs that are read at boot, by their place in it.
    files: read::Files,
    /// Those of them whose files are bad now.
    kept: read::Kept,
    /// The `--certs` folders.
    folders: Vec<Folder>,
    /// Their names, sorted, and each name's folders by the kinds of their keys.
    names: Vec<names::Served>,
    /// Embedded pairs that were asked for, the latest last.
    parsed: Mutex<Vec<(u32, parsed::Parsed)>>,
    default: Option<default::Default>,
    /// Of folders that are gone, or have other certificates now, the certificates that the default still has.
    gone: Vec<Folder>,
    /// When which certificates are within their dates as they were when it was put together.
    holds: dates::Holds,
    provider: Arc<CryptoProvider>,
    troubles: Vec<Trouble>,
}

impl Table {
    /// Puts the table together: `compiled` ([`COMPILED`]), and what was found of the files it names and of `--certs`.
    ///
    /// A bad folder of `--certs` is skipped, and one of the [`Self::troubles`]; everything else that is wrong is an error. `default` is
    /// `--default-cert`: a name in the table or a folder's. Without it the default is the hostname's entry, else the
    /// table's `default` line, else the first name. A development certificate is not served beside one under `--certs`.
    pub fn load(
        compiled: &'static Compiled,
        found: &Found,
        default: Option<&str>,
        hostname: &str,
    ) -> Result<Self, TableError> {
        Self::read(compiled, found, (default, hostname), None)
    }

    /// Puts the table together anew, as [`Self::load`] with the same arguments, but keeps of this one each certificate
    /// whose files are bad now, and the default where none can be chosen, or the hostname's is gone. Otherwise a folder that is
    /// gone is gone.
    pub fn load_again(
        &self,
        compiled: &'static Compiled,
        found: &Found,
        default: Option<&str>,
        hostname: &str,
    ) -> Result<Self, TableError> {
        Self::read(compiled, found, (default, hostname), Some(self))
    }

    fn read(
        compiled: &'static Compiled,
        found: &Found,
        (default, hostname): (Option<&str>, &str),
        before: Option<&Self>,
    ) -> Result<Self, TableError> {
        let provider = provider();
        let mut troubles = Vec::new();
        let known = before.map(|before| &*before.folders);
        let read::Folders {
            good: folders,
            skipped,
            dropped,
        } = read::folders(found, known, &mut troubles)?;
        let superseded = compiled.development && !folders.is_empty();
        let compiled = if superseded { &EMPTY } else { compiled };
        let dates = Dates::at(found.moment);
        let (names, clashes) = names::names_of(&folders, &dates);
        let files = before.map(|before| &before.files);
        let (files, kept) = read::files(compiled, found, files, &mut troubles)?;
        let mut table = Self {
            compiled,
            files,
            kept,
            names,
            folders,
            parsed: Mutex::default(),
            default: None,
            gone: Vec::new(),
            holds: dates.holds(),
            provider,
            troubles,
        };
        let clashes: Vec<Trouble> = clashes.iter().map(|clash| table.clash(clash)).collect();
        table.troubles.extend(clashes);
        if let Some(twice) = table.twice() {
            if before.is_none() {
                return Err(twice);
            }
            let clash = format!("certificate clash {twice}");
            table.troubles.push(Trouble::warning(clash));
        }
        table.default = table.choose_default((default, hostname), &skipped, before, &dates)?;
        table.holds = dates.holds();
        let dropped = table.all_dropped(&dropped);
        table.troubles.extend(dropped);
        Ok(table)
    }

    /// Whether the same certificates are within their dates at `now` (seconds since 1970) as when it was put together: else
    /// it is to be put together anew, so that one that is goes before one that is not.
    pub fn holds_at(&self, now: u64) -> bool {
        let (from, until) = self.holds;
        (from..until).contains(&now)
    }

    /// Whether there is no certificate: STARTTLS cannot be offered.
    pub fn is_empty(&self) -> bool {
        self.default.is_none()
    }

    /// The number of names, `.parent` entries and wildcards counted as one each.
    pub fn len(&self) -> usize {
        let names = self.names.chunk_by(|(a, _), (b, _)| a == b);
        let added = names.filter(|of_name| self.compiled.find(&of_name[0].0).is_none());
        self.compiled.names.len() + added.count()
    }

    /// Whether the default is the build's own certificate for `localhost`: boot warns of it.
    pub fn is_development(&self) -> bool {
        self.compiled.development
    }

    /// The name that the default certificate was chosen by.
    pub fn default_name(&self) -> Option<&str> {
        Some(&self.default.as_ref()?.name)
    }

    /// What was bad as the table was put together, and which folders give way to others.
    pub fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }

    /// The certificates that are out of date at `now` (seconds since 1970) or soon will be: for each, a piece of a log
    /// line that names it and says since when.
    pub fn out_of_date(&self, now: u64) -> impl Iterator<Item = String> {
        let mut told = HashSet::new();
        let entries = self.compiled.uses().filter_map(move |(name, pair)| {
            let trouble = self.trouble(pair, now)?;
            let new = told.insert(pair);
            new.then(|| format!("entry={name} reason={trouble:?}"))
        });
        let folders = self.folders.iter().chain(&self.gone);
        let folders = folders.filter_map(move |folder| {
            let trouble = trouble(&folder.certified, now)?;
            let path = folder.path.display();
            Some(format!("folder={path} reason={trouble:?}"))
        });
        entries.chain(folders)
    }

    /// What is wrong with the dates of a pair of the compiled-in table at `now`, without touching its DER.
    fn trouble(&self, pair: u32, now: u64) -> Option<String> {
        match self.compiled.pairs.get(pair as usize)? {
            Source::Embedded { valid, .. } => valid?.trouble(now, Renewal::ByHand),
            Source::Files { .. } => trouble(self.files.get(&pair)?, now),
        }
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

/// What is wrong with the dates of a chain's first certificate.
fn trouble(certified: &CertifiedKey, now: u64) -> Option<String> {
    let leaf = certified.cert.first()?;
    Validity::of(leaf)?.trouble(now, Renewal::of(leaf))
}

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod dates_tests;
#[cfg(test)]
mod dropped_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod tests;
