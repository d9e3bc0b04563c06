//! Certificates for tests, made on the spot, in folders that vanish with the test.
//!
//! Included by path from the unit tests of `src/tls` and from `tests/tls.rs`.
#![allow(dead_code)] // each includer uses a part of it

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_rustls::pki_types::CertificateDer;
use async_rustls::pki_types::pem::PemObject as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
    SignatureAlgorithm,
};

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("facteur-certificates-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and the folders that it is in; returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A folder as certbot lays it.
    pub fn lineage(&self, name: &str, made: &Made) {
        self.write(&format!("{name}/fullchain.pem"), &made.chain);
        self.write(&format!("{name}/privkey.pem"), &made.key);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate with its chain and key, in PEM, and the DER of the first.
pub struct Made {
    pub chain: String,
    pub key: String,
    pub der: Vec<u8>,
}

/// A self-signed certificate for `names`, with an ECDSA key.
pub fn made(names: &[&str]) -> Made {
    made_with(names, &KeyPair::generate().unwrap())
}

/// The same with an RSA key of 2048 bits.
pub fn made_rsa(names: &[&str]) -> Made {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    made_with(names, &key)
}

/// The same with an Ed25519 key.
pub fn made_ed25519(names: &[&str]) -> Made {
    made_with(names, &KeyPair::generate_for(&PKCS_ED25519).unwrap())
}

/// The same, valid from and until so many seconds since 1970.
pub fn made_between(names: &[&str], from: u64, until: u64) -> Made {
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = params(names, "self-signed");
    (params.not_before, params.not_after) = (at(from), at(until));
    self_signed(&params, &KeyPair::generate().unwrap())
}

/// The same, called so by its common name.
pub fn made_named(title: &str, names: &[&str]) -> Made {
    made_for(Some(title), names)
}

/// The same, with or without a common name.
pub fn made_for(title: Option<&str>, names: &[&str]) -> Made {
    let mut params = params(names, "");
    params.distinguished_name = DistinguishedName::new();
    if let Some(title) = title {
        params.distinguished_name.push(DnType::CommonName, title);
    }
    self_signed(&params, &KeyPair::generate().unwrap())
}

fn made_with(names: &[&str], key: &KeyPair) -> Made {
    self_signed(&params(names, "self-signed"), key)
}

fn self_signed(params: &CertificateParams, key: &KeyPair) -> Made {
    let certificate = params.self_signed(key).unwrap();
    Made {
        chain: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(&[], name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// The certificate for mx.example.org, two intermediates' and a root's, each signed by the next, with keys of these kinds.
pub fn signed_in_turn(kinds: [&'static SignatureAlgorithm; 4]) -> [CertificateDer<'static>; 4] {
    let [leaf, near, far, root] = kinds.map(|kind| KeyPair::generate_for(kind).unwrap());
    let root = CertifiedIssuer::self_signed(authority("root"), root).unwrap();
    let far = CertifiedIssuer::signed_by(authority("far"), far, &root).unwrap();
    let near = CertifiedIssuer::signed_by(authority("near"), near, &far).unwrap();
    let leaf = params(&["mx.example.org"], "leaf").signed_by(&leaf, &near);
    let leaf = leaf.unwrap().der().clone();
    [
        leaf,
        near.der().clone(),
        far.der().clone(),
        root.der().clone(),
    ]
}

/// A certificate; its intermediate's as one root signed it; that root's; another root's; the intermediate's as that one
/// signed it.
pub fn cross_signed() -> [CertificateDer<'static>; 5] {
    let key = || KeyPair::generate().unwrap();
    let root = |name| CertifiedIssuer::self_signed(authority(name), key()).unwrap();
    let (new, old) = (root("new root"), root("old root"));
    let intermediate = key();
    let again = KeyPair::try_from(intermediate.serialized_der()).unwrap();
    let by_new = CertifiedIssuer::signed_by(authority("intermediate"), intermediate, &new).unwrap();
    let by_old = CertifiedIssuer::signed_by(authority("intermediate"), again, &old).unwrap();
    let leaf = params(&["mx.example.org"], "leaf").signed_by(&key(), &by_new);
    let others = [&by_new, &new, &old, &by_old].map(|issuer| issuer.der().clone());
    let [by_new, new, old, by_old] = others;
    [leaf.unwrap().der().clone(), by_new, new, old, by_old]
}

/// A certificate for `names`, its intermediate's and the root's, apart.
pub fn issued(names: &[&str]) -> (Made, String, String) {
    let key = || KeyPair::generate().unwrap();
    let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(authority("intermediate"), key(), &root).unwrap();
    let leaf_key = key();
    let leaf = params(names, "leaf")
        .signed_by(&leaf_key, &intermediate)
        .unwrap();
    let made = Made {
        chain: leaf.pem(),
        key: leaf_key.serialize_pem(),
        der: leaf.der().to_vec(),
    };
    (made, intermediate.pem(), root.pem())
}

fn params(names: &[&str], title: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, title);
    params
}

/// The certificate in PEM, as if it were of X.509 v1.
pub fn version_1(made: &Made) -> String {
    let mut der = made.der.clone();
    let version = [0xa0, 3, 2, 1, 2]; // [0] { INTEGER 2 } is v3
    let at = der.windows(5).position(|at| at == version).unwrap();
    der[at + 4] = 0;
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64(&der)
    )
}

/// The key inside a PKCS#8 key, under the older label that openssl's -traditional writes: `EC PRIVATE KEY` (SEC1) or
/// `RSA PRIVATE KEY` (PKCS#1).
pub fn traditional(label: &str, pkcs8_pem: &str) -> String {
    let key = KeyPair::from_pem(pkcs8_pem).unwrap();
    let whole = key.serialized_der().to_vec();
    let (_, sequence, _) = element(&whole);
    let (_, _, rest) = element(sequence); // the version
    let (_, _, rest) = element(rest); // the algorithm
    let (tag, inner, _) = element(rest);
    assert_eq!(tag, 0x04, "an OCTET STRING holds the key");
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        base64(inner)
    )
}

/// The first DER element: tag, content, what follows.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (head, len) = match der[1] {
        short if short < 0x80 => (2, short as usize),
        long => {
            let bytes = &der[2..2 + (long & 0x7f) as usize];
            let len = bytes.iter().fold(0, |len, &byte| len << 8 | byte as usize);
            (2 + bytes.len(), len)
        }
    };
    (der[0], &der[head..head + len], &der[head + len..])
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            match digit <= group.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

/// An authority for clients' certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(title: &str) -> Self {
        Self(
            CertifiedIssuer::self_signed(Self::params(title), KeyPair::generate().unwrap())
                .unwrap(),
        )
    }

    fn params(title: &str) -> CertificateParams {
        let mut params = params(&[], title);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// One that this one has signed.
    pub fn below(&self, title: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(Self::params(title), key, &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these purposes (none: for any), valid from and until so many days from 1970.
    pub fn signs(&self, title: &str, usages: &[ExtendedKeyUsagePurpose], days: (u64, u64)) -> Made {
        let at = |days: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(days * 86_400);
        let mut params = params(&[], title);
        params.extended_key_usages = usages.to_vec();
        (params.not_before, params.not_after) = (at(days.0), at(days.1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Made {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// The same for a client, valid for long.
    pub fn signs_client(&self, title: &str) -> Made {
        self.signs(title, &[ExtendedKeyUsagePurpose::ClientAuth], (0, 100_000))
    }
}

/// The DER of the first certificate of a PEM text.
pub fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}
