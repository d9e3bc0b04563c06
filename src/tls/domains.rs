//! `config/domains`: read, checked and laid out as the table that is compiled in.
//!
//! `build.rs` includes this file by path; in the crate it is only tested.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use async_rustls::pki_types::{CertificateDer, DnsName};
use async_rustls::rustls::crypto::CryptoProvider;

use super::compiled::{Name, Source, Span, folded};
use super::pair::Pair;
use super::validity::Validity;

/// The largest chain or key that is embedded, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The parts of a `Compiled`, growing.
#[derive(Debug, Default)]
pub struct Layout {
    /// See `Compiled::text`.
    pub text: String,
    /// See `Compiled::der`.
    pub der: Vec<u8>,
    /// See `Compiled::names`.
    pub names: Vec<Name>,
    /// See `Compiled::pairs`.
    pub pairs: Vec<Source>,
    /// See `Compiled::certificates`.
    pub certificates: Vec<Span>,
    /// See `Compiled::default`.
    pub default: Option<u32>,
    /// See `Compiled::first`.
    pub first: Option<Span>,
    /// See `Compiled::development`.
    pub development: bool,
    /// The first line of each embedded chain: its number, its name, and the chain's place in `pairs`.
    lines: Vec<(usize, String, u32)>,
    /// The files that were embedded: the build runs again when one changes.
    pub files: Vec<PathBuf>,
    shared: HashMap<Vec<u8>, Span>,
}

/// One line of the file.
struct Line<'a> {
    number: usize,
    name: String,
    chain: &'a str,
    key: &'a str,
}

/// A chain that a line named before, and the names in its certificate if it was embedded.
struct Known {
    at: u32,
    embedded: Option<Pair>,
}

/// Lays out the table of `text`, relative paths being below `certs`. The error begins with the file and line.
pub fn read(text: &str, certs: &Path, provider: &CryptoProvider) -> Result<Layout, String> {
    let mut layout = Layout::default();
    let mut known: HashMap<(&str, &str), Known> = HashMap::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for line in parse(text) {
        let line = line?;
        let fault = |problem: String| format!("config/domains:{}: {problem}", line.number);
        if let Some(before) = lines.insert(line.name.clone(), line.number) {
            let problem = format!("{} stands in line {before} already", line.name);
            return Err(fault(problem));
        }
        let Known { at, embedded } = match known.entry((line.chain, line.key)) {
            Entry::Occupied(before) => before.into_mut(),
            Entry::Vacant(new) => new.insert(layout.add(&line, certs, provider).map_err(fault)?),
        };
        if let Some(pair) = embedded {
            covered(&line.name, pair).map_err(fault)?;
        }
        layout.name(&line.name, *at);
    }
    layout.sort();
    Ok(layout)
}

fn parse(text: &str) -> impl Iterator<Item = Result<Line<'_>, String>> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = at + 1;
        let parsed = match words[..] {
            [] => return None,
            [name, chain, key] => entry_name(name).map(|name| Line {
                number,
                name,
                chain,
                key,
            }),
            _ => Err(format!("{:?} is not `NAME CHAIN KEY`", line.trim())),
        };
        Some(parsed.map_err(|problem| format!("config/domains:{number}: {problem}")))
    })
}

/// A host name, `.parent` or `default`, lower-case and without a final dot.
fn entry_name(word: &str) -> Result<String, String> {
    if !word.is_ascii() {
        return Err(format!("{word:?} is to be written as an A-label (xn--…)"));
    }
    if let Some(parent) = word.strip_prefix('*') {
        return Err(format!("{word:?} is to be written as {parent:?}"));
    }
    let name = folded(word);
    let host = name.strip_prefix('.').unwrap_or(&name);
    if DnsName::try_from(host).is_err() {
        return Err(format!(
            "{word:?} is no name: a host name, .parent or default"
        ));
    }
    Ok(name)
}

/// The name must be in the certificate, or clients that check refuse it.
fn covered(name: &str, pair: &Pair) -> Result<(), String> {
    if name == "default" || pair.covers(name) {
        return Ok(());
    }
    let has = match pair.names.is_empty() {
        true => "no DNS name".to_string(),
        false => pair.names.join(" "),
    };
    Err(match name.strip_prefix('.') {
        Some(parent) => format!("{name} needs a certificate for *.{parent}; this one has {has}"),
        None => format!("the certificate is not for {name}; it has {has}"),
    })
}

impl Layout {
    /// The build's own certificate, for a table without a line.
    pub fn development(chain: &[u8], key: &[u8]) -> Self {
        let mut layout = Self::default();
        layout.embed(&[chain], key);
        layout.name("localhost", 0);
        layout.development = true;
        layout
    }

    /// What is wrong, or soon will be, with the dates of the embedded certificates at `now` (seconds since 1970).
    pub fn out_of_date(&self, now: u64) -> impl Iterator<Item = String> {
        self.lines.iter().filter_map(move |(number, name, pair)| {
            let Source::Embedded { valid, .. } = self.pairs[*pair as usize] else {
                return None;
            };
            let trouble = valid?.trouble(now)?;
            Some(format!(
                "config/domains:{number}: the certificate for {name}: {trouble}"
            ))
        })
    }

    fn add(
        &mut self,
        line: &Line<'_>,
        certs: &Path,
        provider: &CryptoProvider,
    ) -> Result<Known, String> {
        let (chain, key) = (Path::new(line.chain), Path::new(line.key));
        let at = self.pairs.len() as u32;
        if chain.is_absolute() != key.is_absolute() {
            return Err(format!(
                "{} and {} must both be relative (embedded) or both be absolute (read at boot)",
                line.chain, line.key
            ));
        }
        if chain.is_absolute() {
            let chain = self.text(line.chain);
            let key = self.text(line.key);
            self.pairs.push(Source::Files { chain, key });
            return Ok(Known { at, embedded: None });
        }
        let (chain, key) = (certs.join(chain), certs.join(key));
        let pair = Pair::read(&chain, &key, provider, MAX_FILE).map_err(|e| e.to_string())?;
        let ders: Vec<&[u8]> = pair.certified.cert.iter().map(AsRef::as_ref).collect();
        self.embed(&ders, pair.key.secret_der());
        self.files.extend([chain, key]);
        self.lines.push((line.number, line.name.clone(), at));
        let embedded = Some(pair);
        Ok(Known { at, embedded })
    }

    fn embed(&mut self, chain: &[&[u8]], key: &[u8]) {
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
        self.pairs.push(Source::Embedded { chain, key, valid });
    }

    fn name(&mut self, name: &str, pair: u32) {
        if name == "default" {
            self.default = Some(pair);
            return;
        }
        let text = self.text(name);
        self.first.get_or_insert(text);
        self.names.push(Name { text, pair });
    }

    /// By bytes, as the look-up compares.
    fn sort(&mut self) {
        let text = &self.text;
        let of = |span: Span| &text[span.at as usize..(span.at + span.len) as usize];
        self.names.sort_by(|a, b| of(a.text).cmp(of(b.text)));
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

    /// The table as a Rust expression: a `Compiled` whose bytes are in two files of the build's folder. The Debug form of
    /// structs of integers is their source text.
    pub fn source(&self) -> String {
        format!(
            "Compiled {{\n    text: include_str!(concat!(env!(\"OUT_DIR\"), \"/domains.txt\")),\n    der: \
             include_bytes!(concat!(env!(\"OUT_DIR\"), \"/domains.der\")),\n    names: &{:?},\n    pairs: &{:?},\n    \
             certificates: &{:?},\n    default: {:?},\n    first: {:?},\n    development: {:?},\n}}\n",
            self.names, self.pairs, self.certificates, self.default, self.first, self.development
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Folder, issued, made, made_between};
    use super::super::provider;
    use super::*;

    /// certs/ with two certificates: of mx.example.org and a.example.com, and of *.example.net.
    fn certs() -> Folder {
        let folder = Folder::new();
        folder.lineage("mx", &made(&["mx.example.org", "a.example.com"]));
        folder.lineage("wild", &made(&["*.example.net"]));
        folder
    }

    fn error(text: &str) -> String {
        let certs = certs();
        let error = read(text, certs.path(), &provider()).unwrap_err();
        error.replace(certs.path().to_str().unwrap(), "certs")
    }

    #[test]
    fn a_good_table_is_laid_out_sorted_and_each_chain_once() {
        let certs = certs();
        let text = "# comment\n\n default mx/fullchain.pem mx/privkey.pem # of the host\n\
                    MX.Example.org. mx/fullchain.pem mx/privkey.pem\n\
                    .example.net\twild/fullchain.pem\twild/privkey.pem\n\
                    far.example /etc/far/chain.pem /etc/far/key.pem\n\
                    a.example.com mx/fullchain.pem mx/privkey.pem\n";
        let layout = read(text, certs.path(), &provider()).unwrap();
        let of = |span: Span| &layout.text[span.at as usize..(span.at + span.len) as usize];
        let names: Vec<_> = layout
            .names
            .iter()
            .map(|name| (of(name.text), name.pair))
            .collect();
        let expected = [
            (".example.net", 1),
            ("a.example.com", 0),
            ("far.example", 2),
            ("mx.example.org", 0),
        ];
        assert_eq!(names, expected);
        assert_eq!(layout.default, Some(0));
        assert_eq!(layout.first.map(of), Some("mx.example.org"));
        assert_eq!(layout.pairs.len(), 3);
        assert!(
            matches!(layout.pairs[2], Source::Files { chain, .. } if of(chain) == "/etc/far/chain.pem")
        );
        assert_eq!(
            layout.files.len(),
            4,
            "absolute paths are not watched by the build"
        );
        assert!(!layout.development);
    }

    #[test]
    fn the_source_is_an_expression_of_integers_and_two_files() {
        let layout = Layout::development(b"chain", b"key");
        let expected = r#"Compiled {
    text: include_str!(concat!(env!("OUT_DIR"), "/domains.txt")),
    der: include_bytes!(concat!(env!("OUT_DIR"), "/domains.der")),
    names: &[Name { text: Span { at: 0, len: 9 }, pair: 0 }],
    pairs: &[Embedded { chain: Span { at: 0, len: 1 }, key: Span { at: 5, len: 3 }, valid: None }],
    certificates: &[Span { at: 0, len: 5 }],
    default: None,
    first: Some(Span { at: 0, len: 9 }),
    development: true,
}
"#;
        assert_eq!(layout.source(), expected);
        assert_eq!(
            (&*layout.text, &*layout.der),
            ("localhost", &b"chainkey"[..])
        );
    }

    #[test]
    fn the_build_warns_of_a_certificate_that_has_expired() {
        const DAY: u64 = 86_400;
        let folder = Folder::new();
        let old = made_between(&["old.example.org"], DAY, 20_000 * DAY);
        folder.lineage("old", &old);
        folder.lineage("mx", &made(&["mx.example.org"]));
        let text = "mx.example.org mx/fullchain.pem mx/privkey.pem\n\n\
                    old.example.org old/fullchain.pem old/privkey.pem\n\
                    default old/fullchain.pem old/privkey.pem\n";
        let layout = read(text, folder.path(), &provider()).unwrap();
        let told = |now| layout.out_of_date(now).collect::<Vec<_>>();
        assert_eq!(
            told(20_400 * DAY),
            ["config/domains:3: the certificate for old.example.org: it expired 400 days ago"]
        );
        assert_eq!(told(19_000 * DAY), Vec::<String>::new());
        assert!(
            layout
                .source()
                .contains("valid: Some(Validity { from: 86400, until: 1728000000 })")
        );
    }

    #[test]
    fn an_issuer_that_chains_share_is_stored_once() {
        let folder = Folder::new();
        let (mut leaf, intermediate, root) = issued(&["a.example.org"]);
        leaf.chain += &intermediate;
        folder.lineage("short", &leaf);
        leaf.chain += &root;
        folder.lineage("long", &leaf);
        let text = "default short/fullchain.pem short/privkey.pem\n\
                    a.example.org long/fullchain.pem long/privkey.pem\n";
        let layout = read(text, folder.path(), &provider()).unwrap();
        assert_eq!(layout.certificates.len(), 5);
        assert_eq!(layout.certificates[..2], layout.certificates[2..4]);
        let bytes: u32 = layout.certificates[2..].iter().map(|span| span.len).sum();
        assert!(
            (layout.der.len() as u32) < bytes + 300,
            "one key, three certificates"
        );
    }

    #[test]
    fn every_fault_fails_the_build_with_its_line() {
        let mx = "mx/fullchain.pem mx/privkey.pem";
        for (text, expected) in [
            (
                "\n# x\nmx.example.org mx/fullchain.pem wild/privkey.pem".to_string(),
                "config/domains:3: the key certs/wild/privkey.pem fits no certificate of certs/mx/fullchain.pem",
            ),
            (
                format!("other.example.org {mx}"),
                "config/domains:1: the certificate is not for other.example.org; it has mx.example.org a.example.com",
            ),
            (
                format!("mx.example.org {mx}\nx.y.example.net wild/fullchain.pem wild/privkey.pem"),
                "config/domains:2: the certificate is not for x.y.example.net; it has *.example.net",
            ),
            (
                format!(".example.org {mx}"),
                "config/domains:1: .example.org needs a certificate for *.example.org; this one has mx.example.org a.example.com",
            ),
            (
                format!("mx.example.org {mx}\n\nMX.example.org. {mx}"),
                "config/domains:3: mx.example.org stands in line 1 already",
            ),
            (
                format!("default {mx}\ndefault {mx}"),
                "config/domains:2: default stands in line 1 already",
            ),
            (
                "default mx/fullchain.pem".to_string(),
                "config/domains:1: \"default mx/fullchain.pem\" is not `NAME CHAIN KEY`",
            ),
            (
                format!("*.example.net {mx}"),
                "config/domains:1: \"*.example.net\" is to be written as \".example.net\"",
            ),
            (
                format!("münchen.example {mx}"),
                "config/domains:1: \"münchen.example\" is to be written as an A-label (xn--…)",
            ),
            (
                format!("192.0.2.1 {mx}"),
                "config/domains:1: \"192.0.2.1\" is no name: a host name, .parent or default",
            ),
            (
                "a.example.com mx/fullchain.pem /etc/key.pem".to_string(),
                "config/domains:1: mx/fullchain.pem and /etc/key.pem must both be relative (embedded) or both be \
                 absolute (read at boot)",
            ),
            (
                "default mx/fullchain.pem missing.pem".to_string(),
                "config/domains:1: certs/missing.pem: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(error(&text), expected);
        }
    }
}
