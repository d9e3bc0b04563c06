//! The order in which a chain's certificates are sent, and whether each is signed by the next.
//!
//! Names alone do not tell: an authority renews its intermediates under the same name, and a chain with last year's is
//! refused by every client that checks. Nothing but names and signatures is looked at: dates, constraints and usage are
//! the clients' to check, and a whole path cannot be verified without knowing what they trust.
//!
//! `build.rs` includes this file by path, so that the build and the boot check the same.

use std::fmt;

use async_rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::{EndEntityCert, Error};

use super::der::element;
use super::title;

/// What is wrong with a chain. Its certificates are counted from 1, as they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is the only one, and another issued it.
    Alone,
    /// The first one's issuer is missing, and this one issued none of the others.
    Unlinked {
        /// The certificate.
        stranger: usize,
        /// Its subject.
        subject: String,
        /// The issuer that is missing.
        issuer: String,
    },
    /// It does not belong there: the others are a chain without it.
    Unrelated {
        /// The certificate.
        stranger: usize,
        /// Its subject.
        subject: String,
        /// Whose certificate could come next, where the others do not end with a root.
        issuer: Option<String>,
    },
    /// It has the name of another's issuer, but that one's signature is not of its key.
    OtherKey {
        /// The certificate.
        issuer: usize,
        /// The other.
        issued: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str(
                "the certificate of its issuer is missing: certbot's fullchain.pem has it, and a private root belongs here \
                 too if it signs by itself",
            ),
            Self::Unlinked { stranger, subject, issuer } => write!(
                f,
                "a link of the chain is missing: the certificate was issued by {issuer}, and certificate {stranger} \
                 (subject {subject}) issued none of the others"
            ),
            Self::Unrelated { stranger, subject, issuer } => {
                write!(
                    f,
                    "unrelated certificate {stranger} (subject {subject}): it issued none of the others; take it out"
                )?;
                match issuer {
                    Some(issuer) => write!(f, ", or add that of {issuer} if this one issued it"),
                    None => Ok(()),
                }
            }
            Self::OtherKey { issuer, issued } => write!(
                f,
                "certificate {issuer} has the name of the issuer of certificate {issued}, but its key did not sign that: \
                 another certificate of that name is needed"
            ),
        }
    }
}

/// A certificate of a chain.
pub struct Link<'a> {
    /// As it is sent.
    pub der: &'a CertificateDer<'a>,
    /// As it is read.
    pub read: EndEntityCert<'a>,
}

impl Link<'_> {
    fn named_issuer_of(&self, other: &Self) -> bool {
        self.read.subject() == other.read.issuer()
    }

    /// Whom it is for, in a line.
    fn subject(&self) -> String {
        let named = title(self.read.subject());
        named
            .or_else(|| self.read.valid_dns_names().next().map(str::to_owned))
            .unwrap_or_else(|| "without a name".to_owned())
    }

    fn issuer(&self) -> String {
        title(self.read.issuer()).unwrap_or_else(|| "somebody without a name".to_owned())
    }
}

/// A name that may stand in a line without quotes.
fn title(rdns: &[u8]) -> Option<String> {
    const MOST: usize = 64;
    let plain = |c: char| match c {
        '"' | '\\' => '?',
        c if c.is_control() => '?',
        c => c,
    };
    title::of(rdns, MOST).map(|title| title.chars().map(plain).collect())
}

/// The algorithms of signatures that can be checked.
pub type Algorithms<'a> = &'a [&'a dyn SignatureVerificationAlgorithm];

/// The places of the certificates in the order to send them, that of the `leaf` first.
///
/// A chain in the wrong order is put right. TLS 1.2 (RFC 5246 7.4.2) wants each certificate to certify the one before it;
/// others that issued one of these (cross-signed, as Let's Encrypt's were) follow at the end. What stands twice goes once.
pub fn order(
    leaf: usize,
    links: &[Link<'_>],
    algorithms: Algorithms<'_>,
) -> Result<Vec<usize>, Fault> {
    let issued = |issuer: usize, at: usize| {
        links[issuer].named_issuer_of(&links[at])
            && signed_by(links[at].der, &links[issuer].read, algorithms)
    };
    let mut rest: Vec<usize> = (0..links.len())
        .filter(|&at| links[at].der != links[leaf].der)
        .filter(|&at| !links[..at].iter().any(|known| known.der == links[at].der))
        .collect();
    let mut order = vec![leaf];
    let mut last = leaf;
    while !links[last].named_issuer_of(&links[last])
        && let Some(found) = rest.iter().position(|&at| issued(at, last))
    {
        last = rest.remove(found);
        order.push(last);
    }
    while let Some(found) = rest
        .iter()
        .position(|&at| order.iter().any(|&known| issued(at, known)))
    {
        order.push(rest.remove(found));
    }
    let Some(&stranger) = rest.first() else {
        // A root need not be sent (RFC 8446 4.4.2), but no root can be told from an intermediate by its name alone, and
        // without the latter no client that checks can go on. A file that is half written looks the same.
        let alone = order.len() == 1 && !links[leaf].named_issuer_of(&links[leaf]);
        return if alone { Err(Fault::Alone) } else { Ok(order) };
    };
    let mut others = (0..links.len()).filter(|&at| at != stranger);
    let named = others.find(|&at| links[stranger].named_issuer_of(&links[at]));
    Err(match named {
        Some(at) if !issued(stranger, at) => Fault::OtherKey {
            issuer: stranger + 1,
            issued: at + 1,
        },
        _ => does_not_belong(stranger, leaf, last, links),
    })
}

/// What is wrong where `stranger` issued none of the others, and the path of the `leaf` ends with `last`.
fn does_not_belong(stranger: usize, leaf: usize, last: usize, links: &[Link<'_>]) -> Fault {
    let is_root = links[last].named_issuer_of(&links[last]);
    let (subject, issuer) = (links[stranger].subject(), links[last].issuer());
    let stranger = stranger + 1;
    match is_root || last != leaf {
        true => Fault::Unrelated {
            stranger,
            subject,
            issuer: (!is_root).then_some(issuer),
        },
        #[rustfmt::skip]
        false => Fault::Unlinked { stranger, subject, issuer },
    }
}

/// Whether the signature on `certificate` is that of `issuer`'s key. One that none of `algorithms` can check is held to be
/// good: an old root's SHA-1 says nothing against the chain.
fn signed_by(
    certificate: &CertificateDer<'_>,
    issuer: &EndEntityCert<'_>,
    algorithms: Algorithms<'_>,
) -> bool {
    let Some(signed) = parts(certificate) else {
        return false;
    };
    let mut known = false;
    for &algorithm in algorithms {
        if algorithm.signature_alg_id().as_ref() != signed.algorithm {
            continue;
        }
        match issuer.verify_signature(algorithm, signed.message, signed.signature) {
            // The algorithm is for keys of another curve; the next may be for this one's.
            Err(Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => known = true,
            verdict => return verdict.is_ok(),
        }
    }
    !known
}

/// The parts of a certificate: what is signed, how, and the signature (RFC 5280 4.1.1).
struct Signed<'a> {
    message: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parts(certificate: &[u8]) -> Option<Signed<'_>> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    let [_, certificate, _] = tagged(certificate, SEQUENCE)?;
    let [message, _, rest] = tagged(certificate, SEQUENCE)?;
    let [_, algorithm, rest] = tagged(rest, SEQUENCE)?;
    let [_, signature, _] = tagged(rest, BIT_STRING)?;
    Some(Signed {
        message,
        algorithm,
        signature: signature.strip_prefix(&[0])?, // bits that are not used
    })
}

/// The first element of `der`, which is to have this tag: itself, its content, and what follows.
fn tagged(der: &[u8], tag: u8) -> Option<[&[u8]; 3]> {
    let (found, content, rest) = element(der)?;
    let whole = &der[..der.len() - rest.len()];
    (found == tag).then_some([whole, content, rest])
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{made, made_named, signed_in_turn};
    use super::super::provider;
    use super::*;
    use rcgen::{
        PKCS_ECDSA_P256_SHA256 as P256, PKCS_ECDSA_P384_SHA384 as P384, PKCS_ED25519 as ED25519,
        PKCS_RSA_SHA256 as RSA,
    };

    fn ordered(leaf: usize, chain: &[CertificateDer<'static>]) -> Result<Vec<usize>, Fault> {
        let links: Vec<_> = chain
            .iter()
            .map(|der| Link {
                der,
                read: EndEntityCert::try_from(der).unwrap(),
            })
            .collect();
        let algorithms = provider().signature_verification_algorithms.all;
        order(leaf, &links, algorithms)
    }

    #[test]
    fn any_order_is_put_right_and_what_stands_twice_goes_once() {
        let [leaf, near, far, root] = signed_in_turn([&P256, &P384, &RSA, &ED25519]);
        let chain = |chain: &[&CertificateDer<'static>]| -> Vec<_> {
            chain.iter().copied().cloned().collect()
        };
        let mixed = chain(&[&root, &near, &leaf, &far]);
        assert_eq!(ordered(2, &mixed), Ok(vec![2, 1, 3, 0]));
        let twice = chain(&[&leaf, &leaf, &near, &near, &far]);
        assert_eq!(ordered(0, &twice), Ok(vec![0, 2, 4]));
    }

    #[test]
    fn a_chain_with_a_gap_or_a_stranger_is_refused() {
        let [leaf, near, far, root] = signed_in_turn([&P256; 4]);
        let stranger = CertificateDer::from(made(&["mx.example.org"]).der);
        let words = |chain: &[CertificateDer<'static>]| {
            let fault = ordered(0, chain).unwrap_err();
            fault.to_string()
        };
        for (chain, expected) in [
            (
                vec![leaf.clone(), far.clone()],
                "a link of the chain is missing: the certificate was issued by near, and certificate 2 (subject far) issued \
                 none of the others",
            ),
            (
                vec![leaf.clone(), root.clone(), far.clone()],
                "a link of the chain is missing: the certificate was issued by near, and certificate 2 (subject root) issued \
                 none of the others",
            ),
            (
                vec![leaf.clone(), near.clone(), root.clone()],
                "unrelated certificate 3 (subject root): it issued none of the others; take it out, or add that of far if \
                 this one issued it",
            ),
            (
                vec![
                    leaf.clone(),
                    near.clone(),
                    far.clone(),
                    root.clone(),
                    stranger.clone(),
                ],
                "unrelated certificate 5 (subject self-signed): it issued none of the others; take it out",
            ),
            (
                vec![stranger.clone(), leaf.clone()],
                "unrelated certificate 2 (subject leaf): it issued none of the others; take it out",
            ),
        ] {
            assert_eq!(words(&chain), expected);
        }
        let evil = made_named("a\"b\\c\nd", &["mx.example.org"]).der;
        let told = words(&[stranger, evil.into()]);
        assert!(told.contains("(subject a?b?c?d)"), "{told}");
    }

    #[test]
    fn an_issuer_of_the_right_name_and_another_key_is_refused() {
        for (kinds, others) in [
            ([&P256; 4], [&P256; 4]),
            ([&RSA; 4], [&RSA; 4]),
            ([&P256; 4], [&P384; 4]),
            ([&P384; 4], [&RSA; 4]),
            ([&ED25519; 4], [&P256; 4]),
        ] {
            let [leaf, near, ..] = signed_in_turn(kinds);
            let [_, other_near, other_far, _] = signed_in_turn(others);
            let fault = |issuer, issued| Err(Fault::OtherKey { issuer, issued });
            assert_eq!(ordered(0, &[leaf.clone(), other_near]), fault(2, 1));
            let far = [leaf.clone(), near.clone(), other_far];
            assert_eq!(ordered(0, &far), fault(3, 2));
        }
    }

    #[test]
    fn the_right_one_of_two_with_a_name_is_found_and_a_cross_signed_one_follows() {
        let [leaf, near, far, root] = signed_in_turn([&P256; 4]);
        let chain = [leaf.clone(), far.clone(), root, near.clone()];
        assert_eq!(ordered(0, &chain), Ok(vec![0, 3, 1, 2]));
        // Two of the same name and key: the one that stands first is in the path.
        let crossed = super::super::certificates::cross_signed();
        assert_eq!(ordered(0, &crossed), Ok(vec![0, 1, 2, 4, 3]));
    }

    #[test]
    fn only_what_signs_itself_may_be_alone() {
        let [leaf, near, _, root] = signed_in_turn([&P256; 4]);
        let own = CertificateDer::from(made(&["mx.example.org"]).der);
        assert_eq!(ordered(0, std::slice::from_ref(&leaf)), Err(Fault::Alone));
        assert_eq!(ordered(0, &[leaf.clone(), leaf]), Err(Fault::Alone));
        assert_eq!(ordered(0, &[near]), Err(Fault::Alone));
        for whole in [own, root] {
            assert_eq!(ordered(0, &[whole]), Ok(vec![0]));
        }
    }

    #[test]
    fn what_cannot_be_checked_is_not_held_against_it() {
        let [leaf, near, ..] = signed_in_turn([&P256; 4]);
        let near = EndEntityCert::try_from(&near).unwrap();
        assert!(signed_by(&leaf, &near, &[]));
        // A changed signature is.
        let mut changed = leaf.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let algorithms = provider().signature_verification_algorithms.all;
        assert!(!signed_by(&changed.into(), &near, algorithms));
    }
}
