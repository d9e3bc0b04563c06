//! TLS: the table of names and certificates, the two sides' configurations, and the proof of a finished handshake.
//!
//! TLS 1.2 and 1.3 only, no tickets, no resumption. One function, [`provider`], picks the crypto
//! library for all of it.

pub mod about;
pub mod algorithm;
#[cfg(test)]
#[path = "../../tests/certificates/mod.rs"]
mod certificates;
pub mod chain;
pub mod client;
pub mod client_certificate;
pub mod compiled;
pub mod der;
#[cfg(test)] // build.rs is its user; here it is tested
mod domains;
mod established;
pub mod extension;
pub mod failure;
mod folders;
pub mod found;
pub mod handed;
pub mod hello;
pub mod kind;
#[cfg(test)] // likewise
mod layout;
pub mod pair;
pub mod reader;
pub mod server;
pub mod table;
pub mod title;
pub mod validity;

pub use established::Established;
pub use found::Found;
pub use table::{Table, TableError, Verdict};

use std::sync::Arc;

use async_rustls::rustls::crypto::CryptoProvider;

#[cfg(test)] // domains.rs, which the build includes, finds it here
use crate::policy::idn;

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("no crypto provider: build with the feature aws-lc-rs (the default) or ring");

/// The crypto library's suites, groups and keys. With aws-lc-rs the post-quantum hybrid X25519MLKEM768 comes first.
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = async_rustls::rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = async_rustls::rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

/// The provider's name, for `--version`.
pub const PROVIDER: &str = if cfg!(feature = "aws-lc-rs") {
    "aws-lc-rs"
} else {
    "ring"
};
