//! `config/domains`: read and checked.
//!
//! `build.rs` includes this file by path; in the crate it is only tested.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use async_rustls::pki_types::DnsName;
use async_rustls::rustls::crypto::CryptoProvider;

use super::compiled::{Source, folded};
use super::idn;
use super::kind::Kind;
use super::layout::Layout;
use super::pair::Pair;
use super::validity::Renewal;

/// The largest chain or key that is embedded, in bytes.
const MAX_FILE: usize = 1 << 20;

/// What the file says, checked.
#[derive(Debug)]
pub struct Domains {
    /// The table that it describes.
    pub layout: Layout,
    /// The files that were embedded: the build runs again when one changes.
    pub files: Vec<PathBuf>,
    /// The first line of each embedded chain.
    embedded: Vec<Embedded>,
}

/// A chain that was embedded, and the line that named it first.
#[derive(Debug)]
struct Embedded {
    number: usize,
    name: String,
    /// Its place in the layout.
    pair: u32,
}

/// One line of the file.
struct Line<'a> {
    number: usize,
    name: String,
    chain: &'a str,
    key: &'a str,
}

/// A pair that a line named, and the names in its certificate if it was embedded.
struct Known {
    at: u32,
    embedded: Option<Pair>,
}

/// Reads the table of `text`, relative paths being below `certs`. The error begins with the file and line.
pub fn read(text: &str, certs: &Path, provider: &CryptoProvider) -> Result<Domains, String> {
    let mut domains = Domains {
        layout: Layout::default(),
        files: Vec::new(),
        embedded: Vec::new(),
    };
    let mut known: HashMap<(&str, &str), Known> = HashMap::new();
    let mut entries: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
    for line in parse(text) {
        let line = line?;
        let fault = |problem: String| format!("config/domains:{}: {problem}", line.number);
        let Known { at, embedded } = match known.entry((line.chain, line.key)) {
            Entry::Occupied(before) => before.into_mut(),
            Entry::Vacant(new) => new.insert(domains.add(&line, certs, provider).map_err(fault)?),
        };
        let lines = entries.entry(line.name.clone()).or_default();
        another(&line.name, *at, lines, &domains.layout).map_err(fault)?;
        if let Some(pair) = embedded {
            covered(&line.name, pair).map_err(fault)?;
        }
        lines.push((line.number, *at));
        domains.layout.entry(&line.name, *at);
    }
    domains.layout = domains.layout.finish();
    if u32::try_from(domains.layout.der.len()).is_err() {
        return Err("config/domains: more than 4 GiB of certificates and keys".to_string());
    }
    Ok(domains)
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

/// A host name, `.parent` or `default`, as clients send it: in A-labels, lower-case and without a final dot.
///
/// A-labels that are no valid IDN stay as they are: there are such hosts, and the certificate has to be for them too.
fn entry_name(word: &str) -> Result<String, String> {
    if let Some(parent) = word.strip_prefix('*') {
        return Err(format!("{word:?} is to be written as {parent:?}"));
    }
    let name = folded(word);
    let (dot, host) = match name.strip_prefix('.') {
        Some(parent) => (".", parent),
        None => ("", &*name),
    };
    let host = idn::a_labels(host).ok();
    match host.filter(|host| DnsName::try_from(&**host).is_ok()) {
        Some(host) => Ok(format!("{dot}{host}")),
        None => Err(format!(
            "{word:?} is no name: a host name, .parent or default"
        )),
    }
}

/// A name may stand in several lines if each has another kind of key. Boot looks at those whose keys it reads.
fn another(name: &str, pair: u32, before: &[(usize, u32)], layout: &Layout) -> Result<(), String> {
    for &(number, other) in before {
        if other == pair {
            return Err(format!("{name} stands in line {number} already"));
        }
        if let Some(kind) = layout.kind(pair)
            && layout.kind(other) == Some(kind)
        {
            return Err(format!(
                "{name} stands in line {number} already with such a key ({kind}); it may have one of each kind"
            ));
        }
    }
    Ok(())
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

impl Domains {
    /// What is wrong, or soon will be, with the dates of the embedded certificates at `now` (seconds since 1970).
    pub fn out_of_date(&self, now: u64) -> impl Iterator<Item = String> {
        self.embedded.iter().filter_map(move |line| {
            let Source::Embedded { valid, .. } = self.layout.pairs[line.pair as usize] else {
                return None;
            };
            let trouble = valid?.trouble(now, Renewal::ByHand)?;
            let Embedded { number, name, .. } = line;
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
        if chain.is_absolute() != key.is_absolute() {
            return Err(format!(
                "{} and {} must both be relative (embedded) or both be absolute (read at boot)",
                line.chain, line.key
            ));
        }
        if chain.is_absolute() {
            let at = self.layout.files(line.chain, line.key);
            return Ok(Known { at, embedded: None });
        }
        let (chain, key) = (certs.join(chain), certs.join(key));
        let pair = Pair::read(&chain, &key, provider, MAX_FILE).map_err(|e| e.to_string())?;
        let ders: Vec<&[u8]> = pair.certified.cert.iter().map(AsRef::as_ref).collect();
        let kind = Kind::of(pair.certified.key.algorithm());
        let at = self.layout.embed(&ders, pair.key.secret_der(), kind);
        self.files.extend([chain, key]);
        self.embedded.push(Embedded {
            number: line.number,
            name: line.name.clone(),
            pair: at,
        });
        let embedded = Some(pair);
        Ok(Known { at, embedded })
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Folder, issued, made, made_between, made_rsa};
    use super::super::compiled::Span;
    use super::super::provider;
    use super::super::validity::Validity;
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
        let Domains { layout, files, .. } = read(text, certs.path(), &provider()).unwrap();
        let of = |span: Span| &layout.text[span.at as usize..(span.at + span.len) as usize];
        let pairs = |run: Span| &layout.choices[run.at as usize..(run.at + run.len) as usize];
        let names: Vec<_> = layout
            .names
            .iter()
            .map(|name| (of(name.text), pairs(name.pairs)))
            .collect();
        let expected = [
            (".example.net", &[1][..]),
            ("a.example.com", &[0]),
            ("far.example", &[2]),
            ("mx.example.org", &[0]),
        ];
        assert_eq!(names, expected);
        assert_eq!(layout.default.map(pairs), Some(&[0][..]));
        assert_eq!(layout.first.map(of), Some("mx.example.org"));
        assert_eq!(layout.pairs.len(), 3);
        assert!(
            matches!(layout.pairs[2], Source::Files { chain, .. } if of(chain) == "/etc/far/chain.pem")
        );
        assert_eq!(
            files.len(),
            4,
            "absolute paths are not watched by the build"
        );
        assert!(!layout.development);
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
        let domains = read(text, folder.path(), &provider()).unwrap();
        let told = |now| domains.out_of_date(now).collect::<Vec<_>>();
        assert_eq!(
            told(20_400 * DAY),
            ["config/domains:3: the certificate for old.example.org: it expired 400 days ago"]
        );
        assert_eq!(told(19_000 * DAY), Vec::<String>::new());
        let dates = Validity {
            from: DAY,
            until: 20_000 * DAY,
        };
        assert!(
            matches!(domains.layout.pairs[1], Source::Embedded { valid: Some(valid), .. } if valid == dates)
        );
    }

    #[test]
    fn a_name_has_one_pair_of_each_kind_of_key() {
        let folder = Folder::new();
        let names = &["mx.example.org"];
        folder.lineage("ec", &made(names));
        folder.lineage("rsa", &made_rsa(names));
        folder.lineage("ec2", &made(names));
        let line =
            |folder: &str| format!("mx.example.org {folder}/fullchain.pem {folder}/privkey.pem\n");
        let (ec, rsa, ec2, far) = (line("ec"), line("rsa"), line("ec2"), line("/etc/far"));
        let read = |text: String| read(&text, folder.path(), &provider());
        let good = read(ec.clone() + &rsa + &far).unwrap().layout;
        assert_eq!(good.names.len(), 1);
        assert_eq!((good.choices, good.pairs.len()), (vec![0, 1, 2], 3));
        for (text, expected) in [
            (
                ec.clone() + &rsa + &ec2,
                "config/domains:3: mx.example.org stands in line 1 already with such a key (ECDSA); it may have one of \
                 each kind",
            ),
            (
                far.clone() + &ec + &far,
                "config/domains:3: mx.example.org stands in line 1 already",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
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
        let layout = read(text, folder.path(), &provider()).unwrap().layout;
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
                format!("a..münchen.example {mx}"),
                "config/domains:1: \"a..münchen.example\" is no name: a host name, .parent or default",
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
