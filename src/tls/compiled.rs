//! The table of `config/domains` as the build lays it out: integers and bytes without a pointer, so that it stays on
//! read-only pages that nothing touches at boot.
//!
//! `build.rs` includes this file by path and prints these types as source text.

use super::validity::Validity;

/// A piece of [`Compiled::text`] or [`Compiled::der`], or a run of [`Compiled::certificates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it begins.
    pub at: u32,
    /// How long it is.
    pub len: u32,
}

/// A name and its chain.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The name in the text: `mx.example.org`, or `.example.org` for all below it.
    pub text: Span,
    /// The place of its chain in [`Compiled::pairs`].
    pub pair: u32,
}

/// Where a chain and its key are.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// In the binary: a run of certificates, and a key in the DER. The first certificate's dates are apart, so that boot
    /// can look at them without touching the DER's pages.
    Embedded {
        /// Certificates in DER, one after another.
        chain: Span,
        /// The private key in DER.
        key: Span,
        /// When the leaf is valid, where that could be read.
        valid: Option<Validity>,
    },
    /// On the disk, read at boot: two absolute paths in the text.
    Files {
        /// Where the chain's path stands.
        chain: Span,
        /// Where the key's path stands.
        key: Span,
    },
}

/// The table. Names are sorted by their bytes; chains are in the order of the file's lines.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// Names and paths, one after another.
    pub text: &'static str,
    /// Certificates and keys, one after another; one that many chains share is there once.
    pub der: &'static [u8],
    /// The names, sorted.
    pub names: &'static [Name],
    /// The chains.
    pub pairs: &'static [Source],
    /// The certificates of all embedded chains, in the DER.
    pub certificates: &'static [Span],
    /// The chain of the `default` line.
    pub default: Option<u32>,
    /// The name of the first line that is not `default`.
    pub first: Option<Span>,
    /// `config/domains` was empty, and this is the build's own certificate for `localhost`.
    pub development: bool,
}

/// `name` as names are kept and compared: lower-case, without the final dot.
pub fn folded(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Compiled {
    /// A piece of the text.
    pub fn text(&self, span: Span) -> &'static str {
        let end = span.at as usize + span.len as usize;
        self.text.get(span.at as usize..end).unwrap_or_default()
    }

    /// A piece of the DER.
    pub fn der(&self, span: Span) -> &'static [u8] {
        let end = span.at as usize + span.len as usize;
        self.der.get(span.at as usize..end).unwrap_or_default()
    }

    /// The DER of each certificate of an embedded chain.
    pub fn chain(&self, span: Span) -> impl Iterator<Item = &'static [u8]> {
        let end = span.at as usize + span.len as usize;
        let run = self.certificates.get(span.at as usize..end);
        run.unwrap_or_default().iter().map(|&span| self.der(span))
    }

    /// The chain of exactly this entry (`mx.example.org` or `.example.org`, lower-case), by binary search.
    pub fn find(&self, entry: &str) -> Option<u32> {
        let found = self
            .names
            .binary_search_by(|name| self.text(name.text).cmp(entry));
        found.ok().map(|at| self.names[at].pair)
    }
}
