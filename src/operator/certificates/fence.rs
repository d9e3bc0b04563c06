//! Landlock around the process that reads certificates: of all files it may read those of the certificates' folders, and
//! write none.
//!
//! The rules are made once, so they have to let in what certbot is going to write: beside each `--certs`, the folders that
//! its links lead to now, and archive/ beside live/. Links of a later day that lead elsewhere are refused, until facteur is
//! started again.

use crate::tls::found::Change;
use crate::tls::reader::files_of;
use crate::tls::table::COMPILED;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The newest that is known here; of an older kernel as much as it has.
const NEWEST: ABI = ABI::V6;

/// How much of it the kernel has, for the log.
pub fn raise(dirs: &[PathBuf]) -> &'static str {
    let fence = ruleset().and_then(|ruleset| {
        let ruleset = folders(dirs).iter().try_fold(ruleset, let_in)?;
        ruleset.restrict_self()
    });
    match fence.map(|fence| fence.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => "full",
        Ok(RulesetStatus::PartiallyEnforced) => "partly",
        Ok(RulesetStatus::NotEnforced) => "none",
        // The library's own words would be 20 KB of the binary, for what no kernel is known to do.
        Err(_) => "refused",
    }
}

/// Nothing may be done with files, TCP, and processes outside.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

fn let_in(ruleset: RulesetCreated, folder: &PathBuf) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(folder) {
        Ok(folder) => {
            let reading = AccessFs::ReadFile | AccessFs::ReadDir;
            ruleset.add_rule(PathBeneath::new(folder, reading))
        }
        // It is not there, or no longer.
        Err(_) => Ok(ruleset),
    }
}

/// Says of a file or a folder that may not be read what to do. This process may read any file, so that it is the fence that
/// forbids it, and the fence knows folders by what they are, not by their paths: live/ made anew is another one.
pub fn explain(change: &mut Change) {
    let reason = match change {
        Change::Folder { read, .. } | Change::File { read, .. } => read.as_mut().err(),
        Change::Listed { problem, .. } => problem.as_mut(),
        Change::Gone { .. } => None,
    };
    let forbidden = io::Error::from(rustix::io::Errno::ACCESS).to_string();
    if let Some(reason) = reason.filter(|reason| reason.ends_with(&forbidden)) {
        reason.push_str(
            "; with --user only folders that were there at start, and those that their links led to, are read: restart facteur to have others read",
        );
    }
}

/// The folders that are read, none of them in another.
fn folders(dirs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut add = |folder: &Path| {
        let Ok(folder) = folder.canonicalize() else {
            return;
        };
        if !folder.ancestors().any(|above| all.contains(above)) {
            all.insert(folder);
        }
    };
    for dir in dirs {
        add(dir);
        if dir.ends_with("live") {
            add(&dir.with_file_name("archive"));
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            add(&entry.path());
            for file in ["fullchain.pem", "privkey.pem"] {
                add_target(&entry.path().join(file), &mut add);
            }
        }
    }
    for (_, chain, key) in files_of(&COMPILED) {
        for file in [chain, key] {
            file.parent().into_iter().for_each(&mut add);
            add_target(file, &mut add);
        }
    }
    all
}

/// The folder that a file's links lead to.
fn add_target(file: &Path, add: &mut impl FnMut(&Path)) {
    if let Ok(target) = file.canonicalize() {
        target.parent().into_iter().for_each(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn certbot_s_folders_and_where_links_lead_are_let_in() {
        let root = std::env::temp_dir().join(format!("facteur-fence.{}", std::process::id()));
        let root = fs::create_dir_all(&root).and_then(|()| root.canonicalize());
        let root = root.expect("a folder");
        for folder in ["le/live/mx", "le/archive/mx", "elsewhere", "le/accounts"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        for file in ["le/archive/mx/fullchain1.pem", "elsewhere/key.pem"] {
            fs::write(root.join(file), "").expect("a file");
        }
        let links = [
            ("../../archive/mx/fullchain1.pem", "fullchain.pem"),
            ("../../../elsewhere/key.pem", "privkey.pem"),
        ];
        for (target, link) in links {
            symlink(target, root.join("le/live/mx").join(link)).expect("a link");
        }
        let let_in = folders(&[root.join("le/live")]);
        let expected = ["elsewhere", "le/archive", "le/live"].map(|name| root.join(name));
        assert_eq!(let_in, BTreeSet::from(expected));
        fs::remove_dir_all(root).expect("removed");
    }
}
