//! Clients that show a certificate: whom we know by it, and what is told of the others.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use async_rustls::rustls::crypto::CryptoProvider;
use async_rustls::rustls::server::danger::ClientCertVerifier;
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::extension;
use super::pair::{PairError, read_chain, read_file};
use super::provider;
use super::validity::Validity;
use crate::limits;
pub use fingerprint::Fingerprint;

mod asking;
mod fingerprint;
mod name;

/// The clients that are known by their certificates. Fixed once read.
pub struct Clients {
    /// The roots of `--client-ca`, and the certificates that they were read from.
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<CertificateDer<'static>>,
    fingerprints: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

/// A certificate that a client showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What it calls its owner: printable ASCII without quotes, brackets or line ends, at most [`limits::CLIENT_NAME`]
    /// octets. Anyone can write anything there.
    pub name: Box<str>,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What a client's certificate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and why.
    Unverified(&'static str),
    /// A root of `--client-ca` vouches for it.
    Verified,
    /// It or its key is named by `--relay-clientcert`.
    Fingerprint,
}

impl Verdict {
    /// Whether the client is one of ours.
    #[must_use]
    pub fn is_known(self) -> bool {
        !matches!(self, Self::Unverified(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unverified(why) => write!(f, "unverified, {why}"),
            Self::Verified => f.write_str("verified"),
            Self::Fingerprint => f.write_str("fingerprint"),
        }
    }
}

impl Clients {
    /// Those of `--client-ca` (PEM) and of `--relay-clientcert`.
    ///
    /// # Errors
    /// What is wrong with the file; one without a certificate is an error.
    pub fn read(ca: Option<&Path>, fingerprints: Vec<Fingerprint>) -> Result<Self, PairError> {
        let roots = match ca {
            Some(path) => read_chain(path, &read_file(path, limits::CERTIFICATE_FILE)?)?,
            None => Vec::new(),
        };
        let mut anchors = Vec::with_capacity(roots.len());
        for (at, root) in roots.iter().enumerate() {
            let anchor = anchor_from_trusted_cert(root).map_err(|problem| {
                PairError::BadCertificate(ca.unwrap_or(Path::new("")).into(), at + 1, problem)
            })?;
            anchors.push(anchor.to_owned());
        }
        Ok(Self {
            anchors,
            roots,
            fingerprints,
            provider: provider(),
        })
    }

    /// What of `--client-ca` is no authority's certificate: a line of it, where there is one.
    #[must_use]
    pub fn no_authorities(&self) -> Option<String> {
        let is_none = |root: &&CertificateDer<'_>| !extension::is_authority(root);
        let mut found = self.roots.iter().filter(is_none);
        let first = EndEntityCert::try_from(found.next()?).ok();
        let name = first.map(|first| name::of(&first)).unwrap_or_default();
        let more = match found.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "--client-ca: the certificate of '{name}'{more} is no authority's (CA:FALSE) and vouches for nobody but itself; \
             a client is known by its own certificate with --relay-clientcert SHA256"
        ))
    }

    /// How many roots vouch for clients.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.roots.len()
    }

    /// What asks for certificates in the handshake.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        asking::Asking::with(self.provider.signature_verification_algorithms)
    }

    /// What the chain that a client showed is worth at `now` (seconds since 1970).
    ///
    /// A fingerprint is the owner's word for this very key: dates and issuers do not matter to it, as in Postfix.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: u64) -> Option<Shown> {
        let (shown, intermediates) = chain.split_first()?;
        let algorithms = &self.provider.signature_verification_algorithms;
        let certificate = match asking::provable(shown, algorithms) {
            Ok(certificate) => certificate,
            Err(why) => {
                let parsed = EndEntityCert::try_from(shown);
                let name = parsed.map_or_else(|_| "".into(), |parsed| name::of(&parsed));
                return Some(Shown {
                    name,
                    verdict: Verdict::Unverified(why),
                });
            }
        };
        let key = certificate.subject_public_key_info();
        let its = [Fingerprint::of(shown), Fingerprint::of(&key)];
        let verdict = match self.fingerprints.iter().any(|known| its.contains(known)) {
            true => Verdict::Fingerprint,
            false => self.vouched(&certificate, shown, intermediates, now),
        };
        Some(Shown {
            name: name::of(&certificate),
            verdict,
        })
    }

    /// Whether a root vouches for it. The work is bounded by [`limits::CLIENT_CHAIN_CERTIFICATES`] and by webpki (100
    /// signatures), and begins with a root's signature: strangers cannot choose the keys that it takes.
    fn vouched(
        &self,
        certificate: &EndEntityCert<'_>,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: u64,
    ) -> Verdict {
        if self.anchors.is_empty() {
            return Verdict::Unverified("unknown");
        }
        if now < limits::CLOCK_FLOOR.as_secs() {
            return Verdict::Unverified("the clock is not set");
        }
        if intermediates.len() >= limits::CLIENT_CHAIN_CERTIFICATES {
            return Verdict::Unverified("its chain is too long");
        }
        // One that is a root itself, as openssl req -x509 makes them: webpki takes none that may sign others.
        if self.roots.iter().any(|root| root == shown) {
            return match Validity::of(shown) {
                Some(dates) if (dates.from..=dates.until).contains(&now) => Verdict::Verified,
                _ => Verdict::Unverified("out of date"),
            };
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        let usage = KeyUsage::client_auth();
        let path = certificate.verify_for_usage(
            algorithms,
            &self.anchors,
            intermediates,
            time,
            usage,
            None,
            None,
        );
        match path {
            Ok(_) => Verdict::Verified,
            Err(problem) => Verdict::Unverified(why(&problem)),
        }
    }
}

fn why(problem: &Error) -> &'static str {
    match problem {
        Error::UnknownIssuer => "no path to --client-ca",
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => "out of date",
        Error::RequiredEkuNotFoundContext(_) => "not made for clients",
        Error::CaUsedAsEndEntity => "an authority's own",
        _ => "its path to --client-ca is broken",
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (roots, fingerprints) = (self.roots.len(), self.fingerprints.len());
        write!(f, "Clients(roots={roots} fingerprints={fingerprints})")
    }
}

#[cfg(test)]
mod tests;
