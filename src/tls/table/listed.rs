//! The table as its owner is told of it: a certificate at a time, with the names that it serves.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_rustls::pki_types::CertificateDer;
use async_rustls::rustls::sign::CertifiedKey;

use super::super::about::About;
use super::super::client_certificate::Fingerprint;
use super::super::compiled::Source;
use super::Table;
use crate::limits;

/// One certificate of the table.
#[derive(Debug)]
pub struct Listed {
    /// Where it is from.
    pub origin: Origin,
    /// What it says of itself.
    pub about: About,
    /// The entries that lead to it, sorted: `mx.example.org`, `.example.org` for all names below it, `*.example.org` for
    /// those one label below, and `default` last. None: others serve all its names.
    pub names: Vec<String>,
    /// The beginning of its SHA-256.
    pub fingerprint: String,
    /// Why it serves on though the disk has something else in its place now, where it has.
    pub kept: Option<String>,
}

/// Where a certificate is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file that the compiled-in table names, or a folder of `--certs`.
    Disk(PathBuf),
    /// The binary.
    Compiled,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(path) => path.display().fmt(f),
            Self::Compiled => f.write_str("compiled in"),
        }
    }
}

/// A certificate of the table that is not read yet.
pub struct Unread<'a> {
    origin: Origin,
    leaf: CertificateDer<'a>,
    names: Vec<String>,
    kept: Option<String>,
}

impl Unread<'_> {
    /// Where it is from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Why it serves on, where the disk has something else in its place now.
    #[must_use]
    pub fn kept(&self) -> Option<&str> {
        self.kept.as_deref()
    }

    /// Reads it.
    #[must_use]
    pub fn read(self) -> Listed {
        Listed {
            about: About::of(&self.leaf),
            fingerprint: Fingerprint::of(&self.leaf).short(),
            origin: self.origin,
            names: self.names,
            kept: self.kept,
        }
    }
}

impl Listed {
    /// The first few of its names.
    #[must_use]
    pub fn first_names(&self) -> String {
        let (first, rest) = self
            .names
            .split_at(self.names.len().min(limits::CHECK_NAMES));
        match (first, rest.len()) {
            ([], _) => "none, others serve them".to_owned(),
            (first, 0) => first.join(" "),
            (first, more) => format!("{} and {more} more", first.join(" ")),
        }
    }
}

impl Table {
    /// Every certificate, those that end first before the others.
    pub fn listed(&self) -> Vec<Listed> {
        let mut all: Vec<Listed> = self.unread().map(Unread::read).collect();
        let until = |listed: &Listed| listed.about.valid.map_or(0, |valid| valid.until);
        all.sort_by(|a, b| {
            let key = |listed: &Listed| (until(listed), listed.names.is_empty());
            let names = (&a.names, &a.origin).cmp(&(&b.names, &b.origin));
            key(a).cmp(&key(b)).then(names)
        });
        all
    }

    /// Every certificate, the compiled-in table's first. To read thousands takes a while.
    pub fn unread(&self) -> impl Iterator<Item = Unread<'_>> {
        self.unread_lines().chain(self.unread_folders())
    }

    fn unread_folders(&self) -> impl Iterator<Item = Unread<'_>> {
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (name, at) in &self.names {
            let star = if name.starts_with('.') { "*" } else { "" };
            names.entry(*at).or_default().push(format!("{star}{name}"));
        }
        let folders = self.folders.iter().chain(&self.gone).enumerate();
        folders.filter_map(move |(at, folder)| {
            let leaf = leaf(&folder.certified)?;
            let origin = Origin::Disk(folder.path.clone());
            let names = names.remove(&at).unwrap_or_default();
            Some(self.entry(origin, leaf, names, folder.kept.clone()))
        })
    }

    /// The compiled-in table's.
    fn unread_lines(&self) -> impl Iterator<Item = Unread<'_>> {
        let mut names: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (name, pair) in self.compiled.uses() {
            let names = names.entry(pair).or_default();
            // The `default` lines may have given way, and so does a name that a folder has.
            if name != "default" && (name.starts_with('.') || self.folders_of(name).is_none()) {
                names.push(name.to_owned());
            }
        }
        names.into_iter().filter_map(|(at, names)| {
            let (origin, leaf) = self.line_leaf(at)?;
            Some(self.entry(origin, leaf, names, self.kept.get(&at).cloned()))
        })
    }

    /// The first certificate of a compiled-in pair, without its key being parsed.
    fn line_leaf(&self, at: u32) -> Option<(Origin, CertificateDer<'_>)> {
        match self.compiled.pairs.get(at as usize)? {
            Source::Embedded { chain, .. } => {
                let leaf = self.compiled.chain(chain).next()?;
                Some((Origin::Compiled, leaf.into()))
            }
            Source::Files { chain, .. } => {
                let path = Origin::Disk(self.compiled.text(chain).into());
                Some((path, leaf(self.files.get(&at)?)?))
            }
        }
    }

    fn entry<'a>(
        &self,
        origin: Origin,
        leaf: CertificateDer<'a>,
        mut names: Vec<String>,
        kept: Option<String>,
    ) -> Unread<'a> {
        let default = self.default.iter().flat_map(|default| &default.pairs);
        let mut shown = default.filter_map(|pair| pair.cert.first());
        names.sort();
        if shown.any(|own| *own == leaf) {
            names.push("default".to_owned());
        }
        Unread {
            origin,
            leaf,
            names,
            kept,
        }
    }
}

/// The certificate itself, without its chain.
fn leaf(certified: &CertifiedKey) -> Option<CertificateDer<'_>> {
    Some(CertificateDer::from(certified.cert.first()?.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::super::certificates::{Folder, made, made_ed25519, made_rsa};
    use super::super::super::found::Found;
    use super::super::tests::{line, table_of};
    use super::*;

    /// A line for each certificate, with `dir` as DIR.
    fn told(table: &Table, dir: &Folder) -> Vec<String> {
        let dir = dir.path().display().to_string();
        let listed = table.listed();
        let line = |l: &Listed| format!("{}: {} {}", l.origin, l.about.key, l.names.join(" "));
        let mut lines: Vec<String> = listed
            .iter()
            .map(|l| line(l).replace(&dir, "DIR"))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_certificate_is_told_with_the_names_that_it_serves() {
        let (certs, disk) = (Folder::new(), Folder::new());
        let both = ["mx.example.org", "*.example.org"];
        certs.lineage("both", &made(&both));
        certs.lineage("rsa", &made_rsa(&both));
        certs.lineage("default", &made(&["default.example"]));
        let text = line("mx.example.org", "both")
            + &line("mx.example.org", "rsa")
            + &line(".example.org", "both")
            + &line("default", "default");
        let compiled = table_of(&text, &certs);
        let load = |default| {
            let found = Found::now(compiled, &[disk.path().to_path_buf()]);
            Table::load(compiled, &found, default, "relay.invalid").unwrap()
        };
        let compiled_in = [
            "compiled in: ECDSA P-256 .example.org mx.example.org",
            "compiled in: ECDSA P-256 default",
            "compiled in: RSA 2048 mx.example.org",
        ];
        assert_eq!(told(&load(None), &disk), compiled_in);
        // Folders take names over, for one label below; and another is the default.
        disk.lineage("mx.example.org", &made_ed25519(&both));
        let expected = [
            "DIR/mx.example.org: Ed25519 *.example.org mx.example.org default",
            "compiled in: ECDSA P-256 ",
            "compiled in: ECDSA P-256 .example.org",
            "compiled in: RSA 2048 ",
        ];
        assert_eq!(told(&load(Some("mx.example.org")), &disk), expected);
    }
}
