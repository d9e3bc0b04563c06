//! What a client's certificate calls its owner, fit to stand in Received and in the log.

use webpki::EndEntityCert;

use crate::limits;

/// The DER of the attribute type id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The common name, else the first DNS name, else nothing.
pub(super) fn of(certificate: &EndEntityCert<'_>) -> Box<str> {
    match common_name(certificate.subject()) {
        Some(name) => fit(&String::from_utf8_lossy(name)),
        None => fit(certificate.valid_dns_names().next().unwrap_or_default()),
    }
}

/// Anyone can have anything in a certificate: what could end a comment of a header field (RFC 5322 3.2.2), a quoted value
/// of a log line or a line is replaced, and a long name is cut.
fn fit(name: &str) -> Box<str> {
    let fit = |c: char| match c {
        c if c.is_ascii_alphanumeric() || " -._@:+=/*,".contains(c) => c,
        _ => '?',
    };
    let name: String = name.chars().map(fit).take(limits::CLIENT_NAME).collect();
    name.trim().into()
}

/// Of the content of a Name (RFC 5280 4.1.2.4): a sequence of sets of sequences of type and value.
fn common_name(mut subject: &[u8]) -> Option<&[u8]> {
    while let Some((_, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((_, attribute, rest)) = element(set) {
            set = rest;
            let (_, kind, value) = element(attribute)?;
            if kind == COMMON_NAME {
                return element(value).map(|(_, text, _)| text);
            }
        }
    }
    None
}

/// The first element of DER: its tag, its content, and what follows. Lengths of up to four octets, tags of one.
pub(in crate::tls) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(short) {
        length @ ..0x80 => (length, rest),
        long => {
            let (octets, rest) = rest.split_at_checked(long & 0x7f)?;
            let fold = |length: usize, &octet: &u8| length << 8 | usize::from(octet);
            let is_usual = (1..=4).contains(&octets.len());
            (is_usual.then(|| octets.iter().fold(0, fold))?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::super::super::certificates::{made_for, made_named};
    use super::*;
    use async_rustls::pki_types::CertificateDer;

    fn name(der: Vec<u8>) -> String {
        let der = CertificateDer::from(der);
        of(&EndEntityCert::try_from(&der).unwrap()).into_string()
    }

    #[test]
    fn a_certificate_has_its_common_name_or_its_first_dns_name() {
        assert_eq!(
            name(made_named("laptop of Ann", &["a.example"]).der),
            "laptop of Ann"
        );
        assert_eq!(
            name(made_for(None, &["a.example", "b.example"]).der),
            "a.example"
        );
        assert_eq!(name(made_for(None, &[]).der), "");
    }

    #[test]
    fn a_name_can_break_neither_a_header_nor_a_log_line() {
        let evil = "a\r\nX: b) (c\\ \"d\" \u{e9}\u{202e};\0";
        assert_eq!(
            name(made_named(evil, &[]).der),
            "a??X: b? ?c? ?d? ?????".replace("?????", "????")
        );
        let long = "x".repeat(10_000);
        assert_eq!(name(made_named(&long, &[]).der).len(), limits::CLIENT_NAME);
    }

    #[test]
    fn no_der_is_too_odd() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x02, 0],
            &[0x30, 0x82, 1],
        ] {
            assert_eq!(element(der), None, "{der:?}");
            assert_eq!(common_name(der), None);
        }
        assert_eq!(element(&[4, 0x81, 1, 7, 9]), Some((4, &[7][..], &[9][..])));
        assert_eq!(common_name(&[0x31, 2, 0x30, 0]), None);
    }
}
