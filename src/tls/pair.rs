//! A certificate chain and its key, read from PEM: does the key fit, is the chain in order, which names is it for?
//!
//! `build.rs` includes this file by path, so that the build and the boot check the same.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_rustls::pki_types::pem::{self, PemObject as _};
use async_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, unusable};
use super::chain::{self, Link};
use super::compiled::folded;
use super::extension;

/// A chain whose first certificate the key fits and whose others each issued one before it.
#[derive(Debug)]
pub struct Pair {
    /// The chain, its end-entity certificate first, and the key ready to sign.
    pub certified: Arc<CertifiedKey>,
    /// The key as it stood in its file: PKCS#8, SEC1 or PKCS#1. Wiped from memory when it is dropped, as the file's text is;
    /// the PEM decoder of rustls-pki-types and the loader of rustls have copies of their own, which they free as they are.
    pub key: Zeroizing<PrivateKeyDer<'static>>,
    /// The DNS names of the certificate, lower-case; wildcards as `*.parent`.
    pub names: Vec<String>,
    /// Those that it cannot be used by, as they stand in it: `*.org`, and what is no name.
    pub useless: Vec<String>,
}

/// What is wrong with a pair of files: one line that names the file.
#[derive(Debug)]
pub enum PairError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It is no regular file, or larger than a chain can be.
    NotPem(PathBuf),
    /// A PEM section is broken.
    Broken(PathBuf, pem::Error),
    /// The chain's file holds no certificate.
    NoCertificate(PathBuf),
    /// A certificate of the chain (counted from 1) does not parse.
    BadCertificate(PathBuf, usize, webpki::Error),
    /// The key's file holds no private key.
    NoKey(PathBuf),
    /// The private key asks for a password.
    EncryptedKey(PathBuf),
    /// The private key does not parse or is of a kind that cannot sign here: what is known of it.
    BadKey(PathBuf, Option<Algorithm>),
    /// The key fits no certificate of the chain.
    Mismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A link of the chain is missing.
    Chain(PathBuf, chain::Fault),
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, e) => write!(f, "{}: {e}", path.display()),
            Self::NotPem(path) => write!(f, "{}: not a PEM file", path.display()),
            Self::Broken(path, e) => write!(f, "{}: {}", path.display(), broken(e)),
            Self::NoCertificate(path) => write!(f, "{}: no PEM certificate in it", path.display()),
            Self::BadCertificate(path, n, webpki::Error::UnsupportedCertVersion) => write!(
                f,
                "{}: certificate {n} is of X.509 v1, which cannot be used: only v3 can",
                path.display()
            ),
            Self::BadCertificate(path, n, e) => {
                write!(f, "{}: certificate {n} {}", path.display(), unreadable(e))
            }
            Self::NoKey(path) => write!(
                f,
                "{}: no PEM private key in it (PKCS#8, SEC1 or PKCS#1)",
                path.display()
            ),
            Self::EncryptedKey(path) => write!(
                f,
                "{}: the private key has a password; `openssl pkey` writes it without one",
                path.display()
            ),
            Self::BadKey(path, known) => write!(f, "{}: {}", path.display(), unusable(*known)),
            Self::Mismatch { chain, key } => write!(
                f,
                "the key {} fits no certificate of {}",
                key.display(),
                chain.display()
            ),
            Self::Chain(path, fault) => write!(f, "{}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for PairError {}

/// What is wrong with a PEM section, for people: the library shows its octets as numbers.
fn broken(problem: &pem::Error) -> &'static str {
    match problem {
        pem::Error::MissingSectionEnd { .. } => {
            "it ends before the -----END line of its last section: is it half written?"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a -----BEGIN line is broken: it should end in five hyphens"
        }
        pem::Error::Base64Decode(_) => {
            "what stands between a -----BEGIN and its -----END line is no base64"
        }
        _ => "not a PEM file",
    }
}

/// What is wrong with a certificate, for people: the library shows the names of its own cases.
fn unreadable(problem: &webpki::Error) -> &'static str {
    match problem {
        webpki::Error::UnsupportedCriticalExtension => {
            "has an extension that is critical (RFC 5280 4.2) and not known here"
        }
        webpki::Error::InvalidSerialNumber => "has a serial number that is none (RFC 5280 4.1.2.2)",
        _ => "cannot be read: it is damaged, or no certificate of X.509",
    }
}

impl Pair {
    /// Reads and checks the chain's and the key's file (they may be the same), of at most `max` bytes each.
    pub fn read(
        chain: &Path,
        key: &Path,
        provider: &CryptoProvider,
        max: usize,
    ) -> Result<Self, PairError> {
        let certificates = read_chain(chain, &read_file(chain, max)?)?;
        let der = read_key(key, &read_file(key, max)?)?;
        Self::check(certificates, der, (chain, key), provider)
    }

    /// Checks a chain and a key that were read from these two files.
    pub fn check(
        certificates: Vec<CertificateDer<'static>>,
        der: PrivateKeyDer<'static>,
        (chain, key): (&Path, &Path),
        provider: &CryptoProvider,
    ) -> Result<Self, PairError> {
        let der = Zeroizing::new(der);
        let signing = provider
            .key_provider
            .load_private_key(der.clone_key())
            .map_err(|_| PairError::BadKey(key.into(), Algorithm::of_private(&der)))?;
        let Some(public) = signing.public_key() else {
            return Err(PairError::BadKey(key.into(), None));
        };
        let links = links(chain, &certificates)?;
        let fits = |link: &Link<'_>| link.read.subject_public_key_info() == public;
        let Some(leaf) = links.iter().position(fits) else {
            return Err(PairError::Mismatch {
                chain: chain.into(),
                key: key.into(),
            });
        };
        let algorithms = provider.signature_verification_algorithms.all;
        let order = chain::order(leaf, &links, algorithms)
            .map_err(|fault| PairError::Chain(chain.into(), fault))?;
        let ordered = order.iter().map(|&at| certificates[at].clone()).collect();
        let names = links[leaf].read.valid_dns_names().map(folded).collect();
        let useless = useless(&links[leaf]);
        Ok(Self {
            useless,
            certified: Arc::new(CertifiedKey::new(ordered, signing)),
            key: der,
            names,
        })
    }

    /// Whether the certificate is for the table's entry: a host name, or `.parent`, which needs the name `*.parent`.
    pub fn covers(&self, entry: &str) -> bool {
        if let Some(parent) = entry.strip_prefix('.') {
            return self
                .names
                .iter()
                .any(|name| name.strip_prefix("*.") == Some(parent));
        }
        let (Some(leaf), Ok(name)) = (self.certified.cert.first(), ServerName::try_from(entry))
        else {
            return false;
        };
        EndEntityCert::try_from(leaf)
            .is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

/// The certificate's DNS names that webpki does not hold to be any.
fn useless(leaf: &Link<'_>) -> Vec<String> {
    let good: HashSet<&[u8]> = leaf.read.valid_dns_names().map(str::as_bytes).collect();
    let names = extension::dns_names(leaf.der).filter(|name| !good.contains(name));
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// A regular file of at most `max` bytes. A pipe would block the boot, and a device might never end.
///
/// It may hold a key: the text is wiped when it is dropped, and has its room from the start, so that it leaves no copies behind
/// as it grows.
pub(super) fn read_file(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, PairError> {
    let unreadable = |e| PairError::Unreadable(path.into(), e);
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > max as u64 {
        return Err(PairError::NotPem(path.into()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 32)); // the last read finds the end
    File::open(path)
        .and_then(|file| file.take(max as u64).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Ok(bytes)
}

/// The certificates in a file's text, as they stand there.
pub(super) fn read_chain(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| PairError::Broken(path.into(), e))?;
    if chain.is_empty() {
        return Err(PairError::NoCertificate(path.into()));
    }
    Ok(chain)
}

fn read_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";
            if pem.windows(ENCRYPTED.len()).any(|at| at == ENCRYPTED) {
                return Err(PairError::EncryptedKey(path.into()));
            }
            Err(PairError::NoKey(path.into()))
        }
        Err(e) => Err(PairError::Broken(path.into(), e)),
    }
}

/// The certificates as they are read.
fn links<'a>(
    path: &Path,
    certificates: &'a [CertificateDer<'static>],
) -> Result<Vec<Link<'a>>, PairError> {
    let link = |(at, der)| match EndEntityCert::try_from(der) {
        Ok(read) => Ok(Link { der, read }),
        Err(e) => Err(PairError::BadCertificate(path.into(), at + 1, e)),
    };
    certificates.iter().enumerate().map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Folder, issued, made, made_rsa, traditional, version_1};
    use super::super::provider;
    use super::*;

    fn read(folder: &Folder, chain: &str, key: &str) -> Result<Pair, String> {
        let chain = folder.write("chain.pem", chain);
        let key = folder.write("key.pem", key);
        let pair = Pair::read(&chain, &key, &provider(), 100_000);
        pair.map_err(|e| {
            e.to_string()
                .replace(folder.path().to_str().unwrap(), "DIR")
        })
    }

    #[test]
    fn a_key_fits_its_chain_in_each_of_the_three_forms() {
        let folder = Folder::new();
        let (ec, rsa) = (
            made(&["MX.example.org", "*.example.net"]),
            made_rsa(&["mx.example.org"]),
        );
        let pair = read(&folder, &ec.chain, &ec.key).unwrap();
        assert_eq!(pair.names, ["mx.example.org", "*.example.net"]);
        assert_eq!(pair.certified.cert[0].as_ref(), ec.der);
        let sec1 = traditional("EC PRIVATE KEY", &ec.key);
        let sec1 = read(&folder, &ec.chain, &sec1).unwrap();
        assert!(matches!(*sec1.key, PrivateKeyDer::Sec1(_)));
        assert!(read(&folder, &rsa.chain, &rsa.key).is_ok());
        let pkcs1 = traditional("RSA PRIVATE KEY", &rsa.key);
        let pkcs1 = read(&folder, &rsa.chain, &pkcs1).unwrap();
        assert!(matches!(*pkcs1.key, PrivateKeyDer::Pkcs1(_)));
    }

    #[test]
    fn one_file_may_hold_both() {
        let folder = Folder::new();
        let made = made(&["mx.example.org"]);
        let both = made.key + &made.chain;
        assert!(read(&folder, &both, &both).is_ok());
    }

    #[test]
    fn names_and_wildcards_cover_entries() {
        let folder = Folder::new();
        let made = made(&["mx.example.org", "*.example.net"]);
        let pair = read(&folder, &made.chain, &made.key).unwrap();
        for (entry, covered) in [
            ("mx.example.org", true),
            ("a.example.net", true),
            (".example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.org", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(pair.covers(entry), covered, "{entry}");
        }
    }

    #[test]
    fn a_chain_is_put_in_order_or_refused() {
        let folder = Folder::new();
        let (leaf, intermediate, root) = issued(&["mx.example.org"]);
        let in_order = leaf.chain.clone() + &intermediate + &root;
        let reversed = root.clone() + &intermediate + &leaf.chain;
        let in_order = read(&folder, &in_order, &leaf.key).unwrap();
        let reversed = read(&folder, &reversed, &leaf.key).unwrap();
        assert_eq!(in_order.certified.cert.len(), 3);
        assert_eq!(in_order.certified.cert, reversed.certified.cert);
        let twice = leaf.chain.clone() + &leaf.chain + &intermediate;
        let twice = read(&folder, &twice, &leaf.key).unwrap();
        assert_eq!(twice.certified.cert, in_order.certified.cert[..2]);
        assert_eq!(
            read(&folder, &(leaf.chain + &root), &leaf.key).unwrap_err(),
            "DIR/chain.pem: a link of the chain is missing: the certificate was issued by intermediate, and certificate 2 \
             (subject root) issued none of the others"
        );
        let (alone, ..) = issued(&["mx.example.org"]);
        assert_eq!(
            read(&folder, &alone.chain, &alone.key).unwrap_err(),
            "DIR/chain.pem: the certificate of its issuer is missing: certbot's fullchain.pem has it, and a private root \
             belongs here too if it signs by itself"
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line_with_the_file() {
        let folder = Folder::new();
        let (own, other) = (made(&["mx.example.org"]), made(&["mx.example.org"]));
        let encrypted = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let broken = own.chain.replace("-----END", "~~~~~END");
        let old = version_1(&own);
        let half = &own.chain[..own.chain.len() / 2];
        let hyphen = own.chain.replace("CERTIFICATE-----\n", "CERTIFICATE----\n");
        let no_base64 = own.chain.replacen("\nM", "\n!", 1);
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        // The words apart, so that no scanner takes this for a key.
        let no_key = ["BEGIN", "END"].map(|word| format!("-----{word} PRIVATE {}-----\n", "KEY"));
        let no_key = &*no_key.join("AAAA\n");
        for (chain, key, expected) in [
            (
                &*own.chain,
                &*other.key,
                "the key DIR/key.pem fits no certificate of DIR/chain.pem",
            ),
            ("", &own.key, "DIR/chain.pem: no PEM certificate in it"),
            (
                &own.key,
                &own.key,
                "DIR/chain.pem: no PEM certificate in it",
            ),
            (
                &own.chain,
                "",
                "DIR/key.pem: no PEM private key in it (PKCS#8, SEC1 or PKCS#1)",
            ),
            (
                &own.chain,
                &encrypted,
                "DIR/key.pem: the private key has a password; `openssl pkey` writes it without one",
            ),
            (
                half,
                &own.key,
                "DIR/chain.pem: it ends before the -----END line of its last section: is it half written?",
            ),
            (
                &own.chain,
                &own.key[..60],
                "DIR/key.pem: it ends before the -----END line of its last section: is it half written?",
            ),
            (
                &hyphen,
                &own.key,
                "DIR/chain.pem: a -----BEGIN line is broken: it should end in five hyphens",
            ),
            (
                &no_base64,
                &own.key,
                "DIR/chain.pem: what stands between a -----BEGIN and its -----END line is no base64",
            ),
            (
                &broken,
                &own.key,
                "DIR/chain.pem: it ends before the -----END",
            ),
            (
                garbled,
                &own.key,
                "DIR/chain.pem: certificate 1 cannot be read: it is damaged, or no certificate of X.509",
            ),
            (
                &old,
                &own.key,
                "DIR/chain.pem: certificate 1 is of X.509 v1, which cannot be used: only v3 can",
            ),
            (
                &own.chain,
                no_key,
                "DIR/key.pem: the private key is damaged, or of an unknown kind: RSA of 2048 ",
            ),
        ] {
            let error = read(&folder, chain, key).unwrap_err();
            assert!(error.starts_with(expected), "{error}, expected {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = Folder::new();
        let made = made(&["mx.example.org"]);
        let chain = folder.write("chain.pem", &made.chain);
        let error = |path: &Path, max| {
            let read = Pair::read(&chain, path, &provider(), max);
            read.unwrap_err().to_string()
        };
        let missing = folder.path().join("missing");
        assert!(
            error(&missing, 100_000).ends_with("/missing: No such file or directory (os error 2)")
        );
        assert!(error(folder.path(), 100_000).ends_with(": not a PEM file"));
        let large = folder.write("large.pem", &"x".repeat(5000));
        assert!(error(&large, 4999).ends_with("/large.pem: not a PEM file"));
        assert!(error(&large, 5000).contains("/large.pem: no PEM private key"));
    }
}
