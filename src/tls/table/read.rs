//! What a [`Table`] is read from: the compiled-in table's files, and the folders of `--certs`.
//!
//! [`Table`]: super::Table

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::sign::CertifiedKey;

use super::super::compiled::{Compiled, Source, Span};
use super::super::folders::{self, Folder, Skipped};
use super::super::pair::Pair;
use super::TableError;
use crate::limits;

/// The chains that the compiled-in table has on the disk, by their place in it.
pub(super) type Files = BTreeMap<u32, Arc<CertifiedKey>>;

/// The compiled-in table's chains on the disk, each read once and checked against every name that it is for. A bad one is
/// an error, unless `before` has it: then that one serves on, and the log says so.
pub(super) fn files(
    compiled: &'static Compiled,
    provider: &CryptoProvider,
    before: Option<&Files>,
) -> Result<Files, TableError> {
    let mut wanted: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
    for (name, at) in compiled.uses() {
        if let Some(Source::Files { .. }) = compiled.pairs.get(at as usize) {
            wanted.entry(at).or_default().push(name);
        }
    }
    let mut files = Files::new();
    for (at, names) in wanted {
        let Some(Source::Files { chain, key }) = compiled.pairs.get(at as usize) else {
            continue;
        };
        let read = file(compiled, (chain, key), &names, provider);
        let certified = match (read, before.and_then(|before| before.get(&at))) {
            (Ok(read), _) => Arc::new(read),
            (Err(error), Some(good)) => {
                log::warn!("certificate kept as it was reason={:?}", error.to_string());
                Arc::clone(good)
            }
            (Err(error), None) => return Err(error),
        };
        files.insert(at, certified);
    }
    Ok(files)
}

fn file(
    compiled: &Compiled,
    (chain, key): (Span, Span),
    names: &[&str],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TableError> {
    let (chain, key) = (
        Path::new(compiled.text(chain)),
        Path::new(compiled.text(key)),
    );
    let pair = Pair::read(chain, key, provider, limits::CERTIFICATE_FILE);
    let pair = pair.map_err(|error| TableError::Entry {
        name: names.first().copied().unwrap_or_default().to_string(),
        error,
    })?;
    let not_its = |name: &&&str| **name != "default" && !pair.covers(name);
    match names.iter().find(not_its) {
        None => Ok(pair.certified),
        Some(name) => Err(TableError::NotCovered {
            name: name.to_string(),
            chain: chain.into(),
            has: pair.names,
        }),
    }
}

/// The folders of all `dirs`; see [`folders::read`].
pub(super) fn all_folders(
    dirs: &[PathBuf],
    provider: &CryptoProvider,
    before: &[Folder],
) -> Result<(Vec<Folder>, Vec<Skipped>), TableError> {
    let before: HashMap<&Path, &Folder> = before
        .iter()
        .map(|folder| (&*folder.path, folder))
        .collect();
    let (mut folders, mut skipped) = (Vec::new(), Vec::new());
    for dir in dirs {
        let read = folders::read(dir, provider, &before);
        let (good, bad) = read.map_err(|error| TableError::Folder {
            dir: dir.clone(),
            error,
        })?;
        folders.extend(good);
        skipped.extend(bad);
    }
    if folders.len() > limits::CERTIFICATE_FOLDERS {
        return Err(TableError::TooMany(folders.len()));
    }
    Ok((folders, skipped))
}
