//! `--certs DIR`: a folder a certificate, as certbot lays them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::sign::CertifiedKey;

use super::pair::Pair;
use crate::limits;
use crate::policy::idn;

/// `DIR/NAME/fullchain.pem` and `privkey.pem`, checked.
#[derive(Clone)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// Its own name, lower-case and in A-labels.
    pub name: String,
    /// Every DNS name of its certificate; wildcards as `*.parent`.
    pub names: Vec<String>,
    pub certified: Arc<CertifiedKey>,
}

/// A folder that is not served, and why.
pub(super) struct Skipped {
    pub name: String,
    pub reason: String,
}

/// The folders of `dir` in the order of their names. Symbolic links are followed (certbot's point into archive/); what is
/// no folder (certbot's README) and what begins with a dot is none of ours.
///
/// A bad one is named in the log. If `before` has it, what was read then serves on: a renewal that went wrong, or is half
/// written, must not take a certificate away.
pub(super) fn read(
    dir: &Path,
    provider: &CryptoProvider,
    before: &HashMap<&Path, &Folder>,
) -> io::Result<(Vec<Folder>, Vec<Skipped>)> {
    let mut entries: Vec<OsString> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    let (mut folders, mut skipped) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = dir.join(&entry);
        let name = idn::key(&entry.to_string_lossy()).into_owned();
        if name.starts_with('.') || fs::metadata(&path).is_ok_and(|about| !about.is_dir()) {
            continue;
        }
        let at = path.display();
        match (read_folder(&path, provider), before.get(&*path)) {
            (Ok((names, certified)), _) => folders.push(Folder {
                path,
                name,
                names,
                certified,
            }),
            (Err(reason), Some(&good)) => {
                log::warn!("certificate kept as it was folder={at} reason={reason:?}");
                folders.push(good.clone());
            }
            (Err(reason), None) => {
                log::warn!("certificate skipped folder={at} reason={reason:?}");
                skipped.push(Skipped { name, reason });
            }
        }
    }
    Ok((folders, skipped))
}

fn read_folder(
    path: &Path,
    provider: &CryptoProvider,
) -> Result<(Vec<String>, Arc<CertifiedKey>), String> {
    let (chain, key) = (path.join("fullchain.pem"), path.join("privkey.pem"));
    let pair =
        Pair::read(&chain, &key, provider, limits::CERTIFICATE_FILE).map_err(|e| e.to_string())?;
    if pair.names.is_empty() {
        return Err(format!(
            "{}: the certificate has no DNS name (subjectAltName)",
            chain.display()
        ));
    }
    Ok((pair.names, Arc::new(pair.certified)))
}
