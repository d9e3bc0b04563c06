//! Which entry a client's name leads to, and which of its pairs the client can verify.

use std::fmt;
use std::sync::Arc;

use async_rustls::rustls::SignatureScheme;
use async_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use async_rustls::rustls::sign::CertifiedKey;

use super::super::compiled::{Span, folded};
use super::super::kind::Kind;
use super::Table;
use super::names::Served;
use super::parsed::Parsed;

/// What a client's server name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The entry of exactly that name.
    Exact,
    /// A line of the compiled-in table for all names below this one: `.example.org`.
    Parent(Box<str>),
    /// A wildcard under `--certs`: `*.example.org`.
    Wildcard(Box<str>),
    /// The default: none was sent, or it was an address.
    NoName,
    /// The default: there is no entry for it.
    UnknownName,
}

/// As the log has it.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Parent(parent) => write!(f, "parent={parent}"),
            Self::Wildcard(wildcard) => write!(f, "wildcard={wildcard}"),
            Self::NoName => f.write_str("default (no name)"),
            Self::UnknownName => f.write_str("default (unknown name)"),
        }
    }
}

/// The pairs of a name.
#[derive(Clone, Copy)]
pub(super) enum Entry<'a> {
    /// Of `--certs`.
    Folders(&'a [Served]),
    /// Of the compiled-in table: a run of its choices.
    Compiled(Span),
}

impl Table {
    /// The certificate for a client that sent `sni` and can verify signatures of `schemes`, if there is any at all.
    ///
    /// The entry is that of exactly the name, else of the nearest parent (a wildcard under `--certs` covers one label, a
    /// `.parent` line any number), else the default. Of an entry's certificates it is the first by [`Kind`] whose key
    /// signs with one of `schemes`; where none does, one of the default's that does; else the entry's first, and the
    /// handshake fails with its alert.
    pub fn find(
        &self,
        sni: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let default = &self.default.as_ref()?.pairs;
        let verifiable = |pair: &Arc<CertifiedKey>| pair.key.choose_scheme(schemes).is_some();
        let mut first = None;
        if let Some((_, entry)) = sni.and_then(|name| self.lookup(&folded(name))) {
            for pair in self.pairs_of(entry).filter_map(Result::ok) {
                if verifiable(&pair) {
                    return Some(pair);
                }
                first.get_or_insert(pair);
            }
        }
        let instead = default.iter().find(|pair| verifiable(pair)).cloned();
        instead.or(first).or_else(|| default.first().cloned())
    }

    /// What `sni` leads to, for the log. (Which of the entry's certificates a client gets hangs on what it can verify.)
    pub fn verdict(&self, sni: Option<&str>) -> Verdict {
        let Some(name) = sni else {
            return Verdict::NoName;
        };
        let found = self.lookup(&folded(name));
        found.map_or(Verdict::UnknownName, |(verdict, _)| verdict)
    }

    /// The entry for a folded name, or for `.parent` itself.
    pub(super) fn lookup(&self, name: &str) -> Option<(Verdict, Entry<'_>)> {
        if let Some(found) = self.folders_of(name).or_else(|| self.line_of(name)) {
            return Some((Verdict::Exact, found));
        }
        name.match_indices('.')
            .enumerate()
            .find_map(|(label, (at, _))| {
                let parent = &name[at..];
                if label == 0
                    && let Some(folders) = self.folders_of(parent)
                {
                    let wildcard = format!("*{parent}");
                    return Some((Verdict::Wildcard(wildcard.into()), folders));
                }
                Some((Verdict::Parent(parent.into()), self.line_of(parent)?))
            })
    }

    /// The `--certs` folders of exactly this name (`.parent` for a wildcard).
    pub(super) fn folders_of(&self, name: &str) -> Option<Entry<'_>> {
        let begin = self.names.partition_point(|(known, _)| **known < *name);
        let rest = &self.names[begin..];
        let found = &rest[..rest.partition_point(|(known, _)| **known == *name)];
        (!found.is_empty()).then_some(Entry::Folders(found))
    }

    /// The compiled-in entry of exactly this name or `.parent`.
    fn line_of(&self, name: &str) -> Option<Entry<'_>> {
        self.compiled.find(name).map(Entry::Compiled)
    }

    /// An entry's certificates, the preferred first; each is parsed as it is asked for.
    pub(super) fn pairs_of(&self, entry: Entry<'_>) -> impl Iterator<Item = Parsed> {
        let (folders, run) = match entry {
            Entry::Folders(served) => (served, None),
            Entry::Compiled(run) => (&[][..], Some(run)),
        };
        let of_folders = folders.iter().map(|(_, at)| &self.folders[*at].certified);
        let of_folders = of_folders.map(|certified| Ok(Arc::clone(certified)));
        let kinds = Kind::ALL.into_iter();
        let of_lines = kinds.flat_map(move |kind| {
            let run = run
                .into_iter()
                .flat_map(|run| self.compiled.choices.run(run));
            run.filter(move |&pair| self.kind(pair) == Some(kind))
        });
        of_folders.chain(of_lines.map(|pair| self.pair(pair)))
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}
