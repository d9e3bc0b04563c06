//! What a certificate says of itself to its owner: what its key is, and who issued it.

use async_rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::algorithm::Algorithm;
use super::der::{self, element};
use super::title;
use super::validity::Validity;
use crate::limits;

/// Read from a certificate; what cannot be read is `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Kind and size: `ECDSA P-256`, `RSA 2048`, `Ed25519`.
    pub key: String,
    /// The issuer's common name, else its organization; at most [`limits::CERTIFICATE_ISSUER`] characters, of any kind:
    /// quote them.
    pub issuer: String,
    /// Its dates, where they can be read.
    pub valid: Option<Validity>,
}

impl About {
    /// Of a certificate in DER, or of anything else.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let read = EndEntityCert::try_from(certificate).ok();
        let key = read.as_ref().and_then(|read| {
            let info = read.subject_public_key_info();
            let (_, info, _) = element(&info)?;
            key(info)
        });
        let issuer = read
            .as_ref()
            .and_then(|read| title::of(read.issuer(), limits::CERTIFICATE_ISSUER));
        let unknown = || "unknown".to_owned();
        Self {
            key: key.unwrap_or_else(unknown),
            issuer: issuer.unwrap_or_else(unknown),
            valid: Validity::of(certificate),
        }
    }
}

/// Of the content of a SubjectPublicKeyInfo: an algorithm with its parameters, and a bit string.
fn key(info: &[u8]) -> Option<String> {
    let (_, algorithm, rest) = element(info)?;
    let algorithm = Algorithm::of(algorithm, || der::rsa_bits(rest))?;
    Some(algorithm.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{
        issued, made, made_ed25519, made_for, made_rsa, signed_in_turn,
    };
    use super::*;
    use rcgen::{PKCS_ECDSA_P256_SHA256 as P256, PKCS_ECDSA_P384_SHA384 as P384};

    fn about(der: Vec<u8>) -> (String, String) {
        let read = About::of(&CertificateDer::from(der));
        (read.key, read.issuer)
    }

    #[test]
    fn a_certificate_has_a_key_and_an_issuer() {
        let told = |key: &str, issuer: &str| (key.to_owned(), issuer.to_owned());
        let names = &["mx.example.org"];
        assert_eq!(about(made(names).der), told("ECDSA P-256", "self-signed"));
        assert_eq!(about(made_rsa(names).der), told("RSA 2048", "self-signed"));
        assert_eq!(
            about(made_ed25519(names).der),
            told("Ed25519", "self-signed")
        );
        assert_eq!(
            about(issued(names).0.der),
            told("ECDSA P-256", "intermediate")
        );
        let [leaf, ..] = signed_in_turn([&P384, &P256, &P256, &P256]);
        assert_eq!(about(leaf.to_vec()), told("ECDSA P-384", "near"));
        assert_eq!(
            about(made_for(None, names).der),
            told("ECDSA P-256", "unknown")
        );
    }

    #[test]
    fn junk_is_unknown_wherever_it_is_cut() {
        let whole = made_rsa(&["mx.example.org"]).der;
        for end in 0..whole.len() {
            assert_eq!(
                about(whole[..end].to_vec()),
                ("unknown".to_owned(), "unknown".to_owned())
            );
        }
        let read = EndEntityCert::try_from(&CertificateDer::from(whole)).map(|read| {
            let info = read.subject_public_key_info();
            (info.to_vec(), read.issuer().to_vec())
        });
        let (info, issuer) = read.unwrap();
        let title = |issuer: &[u8]| title::of(issuer, 64);
        for (part, whole) in [
            (key as fn(&[u8]) -> Option<String>, &info),
            (title, &issuer),
        ] {
            for at in 0..whole.len() {
                let _ = part(&whole[..at]);
                for bit in 0..8 {
                    let mut junk = whole.clone();
                    junk[at] ^= 1 << bit;
                    let _ = part(&junk);
                }
            }
        }
    }
}
