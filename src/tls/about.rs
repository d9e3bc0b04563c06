//! What a certificate says of itself to its owner: what its key is, and who issued it.

use async_rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::der::{self, element};
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
        let issuer = read.as_ref().and_then(|read| name(read.issuer()));
        let unknown = || "unknown".to_owned();
        Self {
            key: key.unwrap_or_else(unknown),
            issuer: issuer.unwrap_or_else(unknown),
            valid: Validity::of(certificate),
        }
    }
}

/// The attributes that name an issuer, the preferred first.
const NAMES: [&[u8]; 2] = [der::COMMON_NAME, der::ORGANIZATION];

/// The DER tag of a BMPString, whose characters are UTF-16.
const BMP_STRING: u8 = 0x1e;

/// Of the content of a Name (RFC 5280 4.1.2.4).
fn name(rdns: &[u8]) -> Option<String> {
    let found = NAMES
        .into_iter()
        .find_map(|kind| der::attribute(rdns, kind));
    let (tag, text) = found?;
    let text = match tag {
        BMP_STRING => {
            let units: Vec<u16> = text
                .as_chunks()
                .0
                .iter()
                .copied()
                .map(u16::from_be_bytes)
                .collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(text).into_owned(),
    };
    Some(text.chars().take(limits::CERTIFICATE_ISSUER).collect())
}

/// Algorithms by the DER of their identifiers (RFC 3279 2.3, RFC 8410 3).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Curves (RFC 5480 2.1.1.1).
const CURVES: [(&[u8], &str); 3] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
];

/// Of the content of a SubjectPublicKeyInfo: an algorithm with its parameters, and a bit string.
fn key(info: &[u8]) -> Option<String> {
    let (_, algorithm, rest) = element(info)?;
    let (_, kind, parameters) = element(algorithm)?;
    match kind {
        ED25519 => Some("Ed25519".to_owned()),
        EC => {
            let (_, curve, _) = element(parameters)?;
            let known = CURVES.iter().find(|(oid, _)| *oid == curve);
            Some(format!(
                "ECDSA {}",
                known.map_or("of another curve", |(_, name)| name)
            ))
        }
        RSA => Some(format!("RSA {}", der::rsa_bits(rest)?)),
        _ => None,
    }
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

    /// The content of a Name with one attribute in each of its sets.
    fn rdns(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8][..], content].concat();
        let sets = attributes.iter().map(|(kind, tag, text)| {
            let inner = [wrap(6, kind), wrap(*tag, text)].concat();
            wrap(0x31, &wrap(0x30, &inner))
        });
        sets.collect::<Vec<_>>().concat()
    }

    #[test]
    fn an_issuer_is_told_by_its_common_name_or_its_organization() {
        let [common, organization] = NAMES;
        let own = rdns(&[(organization, 0x0c, b"Org"), (common, 0x0c, b"R3")]);
        assert_eq!(name(&own).as_deref(), Some("R3"));
        let own = rdns(&[
            (&[0x55, 0x04, 0x06], 0x13, b"FR"),
            (organization, 0x0c, "Société".as_bytes()),
        ]);
        assert_eq!(name(&own).as_deref(), Some("Société"));
        let own = rdns(&[(common, BMP_STRING, &[0, b'R', 0x20, 0xac, 7])]);
        assert_eq!(name(&own).as_deref(), Some("R€"));
        let empty = rdns(&[(common, 0x0c, b""), (organization, 0x0c, b"Org")]);
        assert_eq!(name(&empty).as_deref(), Some("Org"));
        let long = rdns(&[(common, 0x0c, &[b'x'; 100])]);
        assert_eq!(
            name(&long).map(|name| name.len()),
            Some(limits::CERTIFICATE_ISSUER)
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
        for (part, whole) in [(key as fn(&[u8]) -> Option<String>, &info), (name, &issuer)] {
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
