//! Lays out the table of `config/domains` as the records and bytes that are compiled in.
//!
//! `build.rs` includes this file by path; in the crate it is only tested.

use std::collections::{BTreeMap, HashMap};

use async_rustls::pki_types::CertificateDer;

use super::compiled::{Name, Source, Span, laid};
use super::kind::Kind;
use super::validity::Validity;

/// The parts of a `Compiled`, growing until [`Layout::finish`].
#[derive(Debug, Default)]
pub struct Layout {
    /// See `Compiled::text`.
    pub text: String,
    /// See `Compiled::der`.
    pub der: Vec<u8>,
    /// See `Compiled::names`.
    pub names: Vec<Name>,
    /// See `Compiled::choices`.
    pub choices: Vec<u32>,
    /// See `Compiled::pairs`.
    pub pairs: Vec<Source>,
    /// See `Compiled::certificates`.
    pub certificates: Vec<Span>,
    /// See `Compiled::default`.
    pub default: Option<Span>,
    /// See `Compiled::first`.
    pub first: Option<Span>,
    /// See `Compiled::development`.
    pub development: bool,
    /// The pairs of each name, by the names' bytes, as the look-up compares.
    entries: BTreeMap<String, Vec<u32>>,
    /// The first line's name.
    first_name: Option<String>,
    shared: HashMap<Vec<u8>, Span>,
}

impl Layout {
    /// The build's own certificate, for a table without a line.
    pub fn development(chain: &[u8], key: &[u8]) -> Self {
        let mut layout = Self::default();
        let pair = layout.embed(&[chain], key, Kind::Ecdsa);
        layout.entry("localhost", pair);
        layout.development = true;
        layout.finish()
    }

    /// Adds a chain and its key; its place.
    pub fn embed(&mut self, chain: &[&[u8]], key: &[u8], kind: Kind) -> u32 {
        let leaf = chain.first().map(|&der| CertificateDer::from(der));
        let at = self.certificates.len() as u32;
        for der in chain {
            let span = self.der(der);
            self.certificates.push(span);
        }
        let len = chain.len() as u32;
        let chain = Span { at, len };
        let key = self.der(key);
        let valid = leaf.and_then(|leaf| Validity::of(&leaf));
        #[rustfmt::skip]
        self.pairs.push(Source::Embedded { chain, key, kind, valid });
        self.pairs.len() as u32 - 1
    }

    /// Adds the paths of a chain and its key; their place.
    pub fn files(&mut self, chain: &str, key: &str) -> u32 {
        let (chain, key) = (self.text(chain), self.text(key));
        self.pairs.push(Source::Files { chain, key });
        self.pairs.len() as u32 - 1
    }

    /// Gives a name, or `default`, the pair at this place, beside those that it has.
    pub fn entry(&mut self, name: &str, pair: u32) {
        if name != "default" {
            self.first_name.get_or_insert_with(|| name.to_string());
        }
        self.entries.entry(name.to_string()).or_default().push(pair);
    }

    /// The kind of key of the pair at this place; None where only boot will read it.
    pub fn kind(&self, pair: u32) -> Option<Kind> {
        match self.pairs[pair as usize] {
            Source::Embedded { kind, .. } => Some(kind),
            Source::Files { .. } => None,
        }
    }

    /// Lays out the names, once all are there.
    pub fn finish(mut self) -> Self {
        for (name, pairs) in std::mem::take(&mut self.entries) {
            let at = self.choices.len() as u32;
            let len = pairs.len() as u32;
            self.choices.extend(pairs);
            let pairs = Span { at, len };
            if name == "default" {
                self.default = Some(pairs);
                continue;
            }
            let text = self.text(&name);
            if self.first_name.as_ref() == Some(&name) {
                self.first = Some(text);
            }
            self.names.push(Name { text, pairs });
        }
        self
    }

    fn text(&mut self, piece: &str) -> Span {
        let at = self.text.len() as u32;
        self.text.push_str(piece);
        let len = piece.len() as u32;
        Span { at, len }
    }

    /// An intermediate certificate that a thousand chains share is stored once.
    fn der(&mut self, piece: &[u8]) -> Span {
        let at = self.der.len() as u32;
        let len = piece.len() as u32;
        *self.shared.entry(piece.to_vec()).or_insert_with(|| {
            self.der.extend_from_slice(piece);
            Span { at, len }
        })
    }

    /// The files of the build's folder that [`Layout::source`] includes: names and contents. Bytes, because the compiler
    /// takes them as they are, however many.
    pub fn contents(&self) -> [(&'static str, Vec<u8>); 6] {
        [
            ("domains.text", self.text.clone().into_bytes()),
            ("domains.der", self.der.clone()),
            ("domains.names", laid(&self.names)),
            ("domains.choices", laid(&self.choices)),
            ("domains.pairs", laid(&self.pairs)),
            ("domains.certificates", laid(&self.certificates)),
        ]
    }

    /// The table as a Rust expression, a `Compiled` made of [`Layout::contents`]. The Debug form of structs of integers
    /// is their source text.
    pub fn source(&self) -> String {
        let include = |what: &str, name: &str| {
            format!("include_{what}!(concat!(env!(\"OUT_DIR\"), \"/domains.{name}\"))")
        };
        let mut fields = vec![
            format!("text: {}", include("str", "text")),
            format!("der: {}", include("bytes", "der")),
        ];
        for name in ["names", "choices", "pairs", "certificates"] {
            fields.push(format!("{name}: Records::new({})", include("bytes", name)));
        }
        fields.push(format!("default: {:?}", self.default));
        fields.push(format!("first: {:?}", self.first));
        fields.push(format!("development: {}", self.development));
        let fields = fields.iter().map(|field| format!("    {field},\n"));
        format!("Compiled {{\n{}}}\n", fields.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::compiled::Records;
    use super::*;

    #[test]
    fn the_source_is_an_expression_of_integers_and_files() {
        let layout = Layout::development(b"chain", b"key");
        let expected = r#"Compiled {
    text: include_str!(concat!(env!("OUT_DIR"), "/domains.text")),
    der: include_bytes!(concat!(env!("OUT_DIR"), "/domains.der")),
    names: Records::new(include_bytes!(concat!(env!("OUT_DIR"), "/domains.names"))),
    choices: Records::new(include_bytes!(concat!(env!("OUT_DIR"), "/domains.choices"))),
    pairs: Records::new(include_bytes!(concat!(env!("OUT_DIR"), "/domains.pairs"))),
    certificates: Records::new(include_bytes!(concat!(env!("OUT_DIR"), "/domains.certificates"))),
    default: None,
    first: Some(Span { at: 0, len: 9 }),
    development: true,
}
"#;
        assert_eq!(layout.source(), expected);
        for (name, _) in layout.contents() {
            assert!(expected.contains(&format!("\"/{name}\"")), "{name}");
        }
        assert_eq!(
            (&*layout.text, &*layout.der),
            ("localhost", &b"chainkey"[..])
        );
    }

    #[test]
    fn records_are_read_as_they_were_laid() {
        let span = |at| Span { at, len: u32::MAX };
        let valid = Validity {
            from: 3,
            until: u64::MAX,
        };
        let embedded = |kind, valid| Source::Embedded {
            chain: span(1),
            key: span(2),
            kind,
            valid,
        };
        let pairs = [
            embedded(Kind::Ecdsa, Some(valid)),
            embedded(Kind::Other, None),
            Source::Files {
                chain: span(3),
                key: span(4),
            },
        ];
        let read = Records::<Source>::new(laid(&pairs).leak());
        assert!(read.iter().eq(pairs));
        assert_eq!((read.len(), read.get(3)), (3, None));
        let names = [Name {
            text: span(5),
            pairs: span(6),
        }];
        let read = Records::<Name>::new(laid(&names).leak());
        assert!(read.iter().eq(names));
        let run = |at, len| Records::<u32>::new(laid(&[7, 8, 9]).leak()).run(Span { at, len });
        assert!(run(1, 2).eq([8, 9]));
        assert!(run(2, 9).eq([9]), "what is not there is left out");
    }
}
