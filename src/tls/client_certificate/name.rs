//! What a client's certificate calls its owner, fit to stand in Received and in the log.

use webpki::EndEntityCert;

use crate::limits;
use crate::tls::der;

/// The common name, else the first DNS name, else nothing.
pub(super) fn of(certificate: &EndEntityCert<'_>) -> Box<str> {
    match der::attribute(certificate.subject(), der::COMMON_NAME) {
        Some((_, name)) => fit(&String::from_utf8_lossy(name)),
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
}
