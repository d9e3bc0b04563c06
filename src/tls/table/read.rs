//! What a [`Table`] is made from: the compiled-in table's files, and the folders of `--certs`, as they were found.
//!
//! What is bad and was good before serves on: a renewal that went wrong, or is half written, must not take a certificate
//! away.
//!
//! [`Table`]: super::Table

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_rustls::rustls::sign::CertifiedKey;

use super::super::compiled::{Compiled, Source};
use super::super::folders::{Folder, Skipped};
use super::super::found::{Dir, Found};
use super::super::pair::Pair;
use super::super::reader::files_of;
use super::dropped::{self, Dropped, How};
use super::{TableError, Trouble};
use crate::limits;
use crate::policy::idn;

/// The chains that the compiled-in table has on the disk, by their place in it.
pub(super) type Files = BTreeMap<u32, Arc<CertifiedKey>>;

/// Why those of them that were good before are kept as they were.
pub(super) type Kept = BTreeMap<u32, String>;

/// The compiled-in table's chains on the disk, each checked against every name that it is for. A bad one is an error,
/// unless `before` has it.
pub(super) fn files(
    compiled: &'static Compiled,
    found: &Found,
    before: Option<&Files>,
    troubles: &mut Vec<Trouble>,
) -> Result<(Files, Kept), TableError> {
    let mut wanted: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
    for (name, at) in compiled.uses() {
        if let Some(Source::Files { .. }) = compiled.pairs.get(at as usize) {
            wanted.entry(at).or_default().push(name);
        }
    }
    let (mut files, mut kept) = (Files::new(), Kept::new());
    for (at, chain, _) in files_of(compiled) {
        let names = wanted.get(&at).map(Vec::as_slice).unwrap_or_default();
        let certified = match (
            file(found, at, chain, names),
            before.and_then(|b| b.get(&at)),
        ) {
            (Ok(read), _) => read,
            (Err(error), Some(good)) => {
                let reason = error.to_string();
                troubles.push(Trouble::warning(format!(
                    "certificate kept as it was reason={reason:?}"
                )));
                kept.insert(at, reason);
                Arc::clone(good)
            }
            (Err(error), None) => return Err(error),
        };
        files.insert(at, certified);
    }
    Ok((files, kept))
}

fn file(
    found: &Found,
    at: u32,
    chain: &Path,
    names: &[&str],
) -> Result<Arc<CertifiedKey>, TableError> {
    let entry = |problem: &str| TableError::Entry {
        name: names.first().copied().unwrap_or_default().to_string(),
        problem: problem.to_string(),
    };
    let pair = match found.files.get(&at) {
        Some(Ok(pair)) => pair,
        Some(Err(reason)) => return Err(entry(reason)),
        None => return Err(entry(&format!("{}: not read", chain.display()))),
    };
    let not_its = |name: &&&str| **name != "default" && !pair.covers(name);
    match names.iter().find(not_its) {
        None => Ok(Arc::clone(&pair.certified)),
        Some(name) => Err(TableError::NotCovered {
            name: name.to_string(),
            chain: chain.into(),
            has: pair.names.clone(),
        }),
    }
}

/// What came of the folders.
pub(super) struct Folders {
    pub good: Vec<Folder>,
    pub skipped: Vec<Skipped>,
    pub dropped: Vec<Dropped>,
}

/// The folders of all `--certs`. A bad one is skipped, unless `before` has it; one that cannot be listed is an error at
/// boot, and later leaves its folders as they were.
pub(super) fn folders(
    found: &Found,
    before: Option<&[Folder]>,
    troubles: &mut Vec<Trouble>,
) -> Result<Folders, TableError> {
    let known = before.unwrap_or_default().iter();
    let mut known: HashMap<&Path, &Folder> = known.map(|folder| (&*folder.path, folder)).collect();
    let (mut folders, mut skipped, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for dir in &found.dirs {
        if let Some(problem) = &dir.problem {
            unlisted(dir, problem, before, troubles)?;
        }
        for (path, read) in dir.entries() {
            let at = path.display();
            match (read, known.remove(&*path)) {
                (Ok(pair), before) => {
                    troubles.extend(useless(&path, pair));
                    dropped.extend(before.and_then(|before| fewer(before, pair)));
                    folders.push(folder(&path, pair));
                }
                (Err(reason), Some(good)) => {
                    troubles.push(Trouble::warning(format!(
                        "certificate kept as it was folder={at} reason={reason:?}"
                    )));
                    folders.push(Folder {
                        kept: Some(reason.clone()),
                        ..good.clone()
                    });
                }
                (Err(reason), None) => {
                    troubles.push(Trouble::warning(format!(
                        "certificate skipped folder={at} reason={reason:?}"
                    )));
                    let (name, reason) = (name(&path), reason.clone());
                    skipped.push(Skipped { name, reason });
                }
            }
        }
    }
    let gone = before.unwrap_or_default().iter();
    let gone = gone.filter(|folder| known.contains_key(&*folder.path));
    dropped.extend(gone.map(|gone| Dropped {
        folder: gone.path.clone(),
        names: gone.names.clone(),
        how: How::Removed,
    }));
    Ok(Folders {
        good: folders,
        skipped,
        dropped,
    })
}

/// The names that a folder has no more.
fn fewer(before: &Folder, pair: &Pair) -> Option<Dropped> {
    let names = match Arc::ptr_eq(&before.certified, &pair.certified) {
        true => Vec::new(),
        false => dropped::dropped(&before.names, &pair.names),
    };
    (!names.is_empty()).then(|| Dropped {
        folder: before.path.clone(),
        names,
        how: How::Renewed,
    })
}

fn unlisted(
    dir: &Dir,
    problem: &str,
    before: Option<&[Folder]>,
    troubles: &mut Vec<Trouble>,
) -> Result<(), TableError> {
    if before.is_none() {
        let (dir, problem) = (dir.path.clone(), problem.to_owned());
        return Err(TableError::Folder { dir, problem });
    }
    let at = dir.path.display();
    troubles.push(Trouble::warning(format!(
        "certificates kept as they were folder={at} reason={problem:?}"
    )));
    Ok(())
}

/// Names that no client's name could lead to are told, or their owner would wait for them.
fn useless(path: &Path, pair: &Pair) -> Option<Trouble> {
    let shown = pair.useless.len().min(limits::CHECK_NAMES);
    let (first, rest) = pair.useless.split_at_checked(shown)?;
    let mut names = first.join(" ");
    match rest.len() {
        _ if first.is_empty() => return None,
        0 => {}
        more => names += &format!(" and {more} more"),
    }
    let at = path.display();
    let reason = "no client's name can be matched by them: a * needs two labels or more behind it, and the rest is to be a host name";
    let line = format!("certificate names folder={at} names={names:?} reason={reason:?}");
    Some(Trouble::warning(line))
}

fn folder(path: &Path, pair: &Pair) -> Folder {
    Folder {
        path: path.into(),
        name: name(path),
        names: pair.names.clone(),
        certified: Arc::clone(&pair.certified),
        kept: None,
    }
}

/// A folder's own name, lower-case and as A-labels.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    idn::key(&name.to_string_lossy()).into_owned()
}
