//! Extensions of a certificate (RFC 5280 4.2) that webpki does not tell of.
//!
//! `build.rs` includes this file by path.

use super::der::{element, elements};

/// id-ce-subjectAltName, 2.5.29.17, and id-ce-basicConstraints, 2.5.29.19.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The version, its tag and content: an INTEGER of 2.
const VERSION_3: (u8, &[u8]) = (0xa0, &[2, 1, 2]);

/// The tags of the list of extensions, of a BOOLEAN, of a DNS name, of an OCTET STRING.
const EXTENSIONS: u8 = 0xa3;
const BOOLEAN: u8 = 1;
const DNS_NAME: u8 = 0x82;
const OCTET_STRING: u8 = 4;

/// Whether it may issue others. Certificates before v3 do not say: they may, as far as anybody knows.
pub fn is_authority(certificate: &[u8]) -> bool {
    let Some(signed) = signed(certificate) else {
        return false;
    };
    if elements(signed).all(|element| element != VERSION_3) {
        return true;
    }
    let constraints = find(signed, BASIC_CONSTRAINTS).and_then(element);
    let authority = constraints.and_then(|(_, constraints, _)| element(constraints));
    authority.is_some_and(|(tag, value, _)| tag == BOOLEAN && value != [0])
}

/// The DNS names in it, as they stand there, whatever they are.
pub fn dns_names(certificate: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = signed(certificate).and_then(|signed| find(signed, ALTERNATIVE_NAMES));
    let names = list
        .and_then(element)
        .map_or(&[][..], |(_, names, _)| names);
    elements(names).filter_map(|(tag, name)| (tag == DNS_NAME).then_some(name))
}

/// The content of its TBSCertificate.
fn signed(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    element(certificate).map(|(_, signed, _)| signed)
}

/// The value of an extension: an identifier, perhaps whether it is critical, and an OCTET STRING.
fn find<'a>(signed: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (_, list) = elements(signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let (_, list, _) = element(list)?;
    let (_, found) = elements(list).find(|(_, extension)| {
        element(extension).is_some_and(|(_, identifier, _)| identifier == wanted)
    })?;
    let value = elements(found).find(|(tag, _)| *tag == OCTET_STRING);
    value.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::super::certificates::{Authority, der, made, version_1};
    use super::*;

    #[test]
    fn an_authority_is_known_and_every_name_is_seen() {
        let own = made(&["mx.example.org", "*.test"]);
        assert!(dns_names(&own.der).eq([&b"mx.example.org"[..], b"*.test"]));
        assert!(!is_authority(&own.der));
        assert!(is_authority(&der(&version_1(&own))));
        let authority = der(&Authority::new("root").pem());
        assert!(is_authority(&authority));
        assert_eq!(dns_names(&authority).count(), 0);
    }

    #[test]
    fn junk_is_nothing_wherever_it_is_cut_or_changed() {
        let whole = made(&["mx.example.org"]).der;
        for at in 0..whole.len() {
            assert_eq!(dns_names(&whole[..at]).count(), 0);
            assert!(!is_authority(&whole[..at]));
            let mut junk = whole.clone();
            junk[at] ^= 0xff;
            let _ = (is_authority(&junk), dns_names(&junk).count());
        }
    }
}
