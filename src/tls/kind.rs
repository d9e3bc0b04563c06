//! The kinds of keys, in the order in which they are preferred.
//!
//! `build.rs` includes this file by path.

use std::fmt;

use async_rustls::rustls::SignatureAlgorithm;

/// What a certificate's key signs with. An entry of the table has at most one certificate of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ECDSA, on whichever curve: small, quick to sign with, and known to nearly every client.
    Ecdsa,
    /// Ed25519: public authorities issue none, and many clients do not know it.
    Ed25519,
    /// RSA: known to every client; a signature costs ten times as much.
    Rsa,
    /// Whatever else the crypto provider can load.
    Other,
}

impl Kind {
    /// All of them, the preferred first.
    pub const ALL: [Self; 4] = [Self::Ecdsa, Self::Ed25519, Self::Rsa, Self::Other];

    /// Of a key that signs so.
    pub fn of(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::ECDSA => Self::Ecdsa,
            SignatureAlgorithm::ED25519 => Self::Ed25519,
            SignatureAlgorithm::RSA => Self::Rsa,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
            Self::Other => "another kind",
        })
    }
}
