//! Kinds and sizes of keys, by the identifiers in which certificates and keys name them, and which of them can sign here.
//!
//! `build.rs` includes this file by path.

use std::fmt;

use async_rustls::pki_types::PrivateKeyDer;

use super::der::{self, element, elements};

/// What a key is for, and of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// ECDSA on the curve of this name; none of those that have one here.
    Ecdsa(Option<&'static str>),
    /// Ed25519.
    Ed25519,
    /// Another one, by its name.
    Other(&'static str),
}

/// What can be used, for people.
const USABLE: &str = if cfg!(feature = "aws-lc-rs") {
    "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 can"
} else {
    "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can"
};

/// Why a private key that is known to be this cannot sign here, as the end of a line.
pub fn unusable(known: Option<Algorithm>) -> String {
    match known {
        None => format!("the private key is damaged, or of an unknown kind: {USABLE}"),
        Some(known) if known.is_usable() => format!("the private key ({known}) is damaged"),
        Some(other) => format!("the private key is {other}, which cannot be used: {USABLE}"),
    }
}

/// Identifiers in DER (RFC 3279 2.3, RFC 8410 3).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const OTHERS: [(&[u8], &str); 4] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "RSA-PSS",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2b, 0x65, 0x6e], "X25519"),
];

/// Curves (RFC 5480 2.1.1.1, SEC 2, RFC 5639 4.1).
const CURVES: [(&[u8], &str); 8] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x21], "P-224"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        "brainpoolP256r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        "brainpoolP384r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        "brainpoolP512r1",
    ),
];

impl Algorithm {
    /// Of the content of an AlgorithmIdentifier, with what tells the bits of an RSA key.
    pub fn of(identifier: &[u8], rsa_bits: impl FnOnce() -> Option<usize>) -> Option<Self> {
        let (_, kind, parameters) = element(identifier)?;
        match kind {
            ED25519 => Some(Self::Ed25519),
            EC => {
                let (_, curve, _) = element(parameters)?;
                Some(Self::on(curve))
            }
            RSA => rsa_bits().map(Self::Rsa),
            _ => {
                let other = OTHERS.iter().find(|(known, _)| *known == kind);
                other.map(|(_, name)| Self::Other(name))
            }
        }
    }

    fn on(curve: &[u8]) -> Self {
        let known = CURVES.iter().find(|(known, _)| *known == curve);
        Self::Ecdsa(known.map(|(_, name)| *name))
    }

    /// Of a private key, as far as it can be read.
    pub fn of_private(key: &PrivateKeyDer<'_>) -> Option<Self> {
        match key {
            PrivateKeyDer::Pkcs1(key) => {
                der::private_rsa_bits(key.secret_pkcs1_der()).map(Self::Rsa)
            }
            PrivateKeyDer::Sec1(key) => {
                // RFC 5915 3: a version, the key, and [0] the curve.
                let (_, key, _) = element(key.secret_sec1_der())?;
                let (_, parameters) = elements(key).find(|(tag, _)| *tag == 0xa0)?;
                element(parameters).map(|(_, curve, _)| Self::on(curve))
            }
            PrivateKeyDer::Pkcs8(key) => {
                // RFC 5958 2: a version, the algorithm, and in an OCTET STRING the key.
                let (_, key, _) = element(key.secret_pkcs8_der())?;
                let mut parts = elements(key).skip(1);
                let (_, identifier) = parts.next()?;
                let (_, inner) = parts.next()?;
                Self::of(identifier, || der::private_rsa_bits(inner))
            }
            _ => None,
        }
    }

    /// Whether keys like this can sign here, so that one that does not is damaged.
    pub fn is_usable(self) -> bool {
        let largest = if cfg!(feature = "aws-lc-rs") {
            8192
        } else {
            4096
        };
        match self {
            Self::Rsa(bits) => (2048..=largest).contains(&bits),
            Self::Ecdsa(Some("P-256" | "P-384")) | Self::Ed25519 => true,
            Self::Ecdsa(Some("P-521")) => cfg!(feature = "aws-lc-rs"),
            Self::Ecdsa(_) | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ecdsa(curve) => write!(f, "ECDSA {}", curve.unwrap_or("of another curve")),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(name) => f.write_str(name),
        }
    }
}
