//! The table of `config/domains` as the build lays it out: integers and bytes without a pointer, so that it stays on
//! read-only pages that nothing touches before it is asked for, and that the linker need not relocate.
//!
//! `build.rs` includes this file by path; it writes the records that the crate reads.

use std::marker::PhantomData;

use super::kind::Kind;
use super::validity::Validity;

/// A piece of [`Compiled::text`] or [`Compiled::der`], or a run of [`Compiled::choices`] or [`Compiled::certificates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it begins.
    pub at: u32,
    /// How long it is.
    pub len: u32,
}

/// A name and its pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name in the text: `mx.example.org`, or `.example.org` for all below it.
    pub text: Span,
    /// Its run of [`Compiled::choices`].
    pub pairs: Span,
}

/// Where a pair, a chain and its key, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the binary: a run of certificates, and a key in the DER. What boot and look-up want to know stands apart, so
    /// that the DER's pages stay untouched until a client is to be shown them.
    Embedded {
        /// Certificates in DER, one after another.
        chain: Span,
        /// The private key in DER.
        key: Span,
        /// What kind of key it is.
        kind: Kind,
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

/// A record of a fixed number of little-endian words.
pub trait Record: Sized {
    /// How many words.
    const WORDS: usize;

    /// From as many words; None where no such record was written.
    fn from_words(words: &[u32]) -> Option<Self>;

    /// As many words.
    fn words(&self) -> Vec<u32>;
}

/// Records in read-only memory, as [`laid`] lays them.
#[derive(Debug)]
pub struct Records<T: 'static> {
    bytes: &'static [u8],
    kind: PhantomData<T>,
}

// Derived, it would ask that T be Copy.
impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Records<T> {}

impl<T> Records<T> {
    /// Of what [`laid`] gave.
    pub const fn new(bytes: &'static [u8]) -> Self {
        let kind = PhantomData;
        Self { bytes, kind }
    }
}

impl<T: Record> Records<T> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.bytes.len() / (4 * T::WORDS)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The record at this place.
    pub fn get(self, at: usize) -> Option<T> {
        let size = 4 * T::WORDS;
        let begin = at.checked_mul(size)?;
        let record = self.bytes.get(begin..begin.checked_add(size)?)?;
        let mut words = [0; Source::WORDS]; // the longest
        for (word, bytes) in words.iter_mut().zip(record.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        T::from_words(words.get(..T::WORDS)?)
    }

    /// All, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = T> {
        (0..self.len()).filter_map(move |at| self.get(at))
    }

    /// Those of a run.
    pub fn run(self, span: Span) -> impl Iterator<Item = T> {
        let begin = span.at as usize;
        (begin..begin + span.len as usize).filter_map(move |at| self.get(at))
    }
}

/// Records as bytes, for [`Records::new`].
pub fn laid<T: Record>(records: &[T]) -> Vec<u8> {
    let words = records.iter().flat_map(Record::words);
    words.flat_map(u32::to_le_bytes).collect()
}

/// A place in another table.
impl Record for u32 {
    const WORDS: usize = 1;

    fn from_words(words: &[u32]) -> Option<Self> {
        words.first().copied()
    }

    fn words(&self) -> Vec<u32> {
        vec![*self]
    }
}

impl Record for Span {
    const WORDS: usize = 2;

    fn from_words(words: &[u32]) -> Option<Self> {
        let &[at, len] = words else { return None };
        Some(Self { at, len })
    }

    fn words(&self) -> Vec<u32> {
        vec![self.at, self.len]
    }
}

impl Record for Name {
    const WORDS: usize = 4;

    fn from_words(words: &[u32]) -> Option<Self> {
        let (text, pairs) = words.split_at_checked(2)?;
        let (text, pairs) = (Span::from_words(text)?, Span::from_words(pairs)?);
        Some(Self { text, pairs })
    }

    fn words(&self) -> Vec<u32> {
        [self.text.words(), self.pairs.words()].concat()
    }
}

/// The first word of a [`Source`]: files, or 1 and the kind's place in [`Kind::ALL`].
const FILES: u32 = 0;

impl Record for Source {
    const WORDS: usize = 9;

    fn from_words(words: &[u32]) -> Option<Self> {
        let (head, dates) = words.split_at_checked(5)?;
        let &[what, chain, chain_len, key, key_len] = head else {
            return None;
        };
        let span = |at, len| Span { at, len };
        let (chain, key) = (span(chain, chain_len), span(key, key_len));
        if what == FILES {
            return Some(Self::Files { chain, key });
        }
        let &[from, from_high, until, until_high] = dates else {
            return None;
        };
        let long = |low, high| u64::from(high) << 32 | u64::from(low);
        let (from, until) = (long(from, from_high), long(until, until_high));
        Some(Self::Embedded {
            chain,
            key,
            kind: *Kind::ALL.get(what as usize - 1)?,
            valid: (from <= until).then_some(Validity { from, until }),
        })
    }

    fn words(&self) -> Vec<u32> {
        let (what, chain, key, valid) = match *self {
            Self::Files { chain, key } => (FILES, chain, key, None),
            #[rustfmt::skip]
            Self::Embedded { chain, key, kind, valid } => (1 + kind as u32, chain, key, valid),
        };
        // None is a validity that ends before it begins.
        let valid = valid.unwrap_or(Validity { from: 1, until: 0 });
        let dates = [valid.from, valid.until];
        let dates = dates.map(|date| vec![date as u32, (date >> 32) as u32]);
        [vec![what], chain.words(), key.words(), dates.concat()].concat()
    }
}

/// The table. Names are sorted by their bytes; pairs are in the order of the file's lines.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// Names and paths, one after another.
    pub text: &'static str,
    /// Certificates and keys, one after another; one that many chains share is there once.
    pub der: &'static [u8],
    /// The names, sorted.
    pub names: Records<Name>,
    /// The places in [`Compiled::pairs`] that the names have, one of a kind of key for each name.
    pub choices: Records<u32>,
    /// The chains and keys.
    pub pairs: Records<Source>,
    /// The certificates of all embedded chains, in the DER.
    pub certificates: Records<Span>,
    /// The run of [`Compiled::choices`] of the `default` lines.
    pub default: Option<Span>,
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
        self.certificates.run(span).map(|span| self.der(span))
    }

    /// The pairs of exactly this entry (`mx.example.org` or `.example.org`, lower-case), by binary search: a run of
    /// [`Compiled::choices`].
    pub fn find(&self, entry: &str) -> Option<Span> {
        let (mut low, mut high) = (0, self.names.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let name = self.names.get(middle)?;
            match self.text(name.text).cmp(entry) {
                std::cmp::Ordering::Equal => return Some(name.pairs),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Every entry with its run of [`Compiled::choices`], `default` the last.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let names = self.names.iter();
        let names = names.map(|name| (self.text(name.text), name.pairs));
        names.chain(self.default.map(|pairs| ("default", pairs)))
    }

    /// Every entry with the place of each of its pairs in [`Compiled::pairs`].
    pub fn uses(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let pairs = |pairs| self.choices.run(pairs);
        self.entries()
            .flat_map(move |(name, run)| pairs(run).map(move |pair| (name, pair)))
    }
}
