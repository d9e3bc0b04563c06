//! Domains as DNS and the tables of this relay know them: by their A-labels (RFC 5890), in lower case.
//!
//! Nothing else converts. Envelopes keep what their senders wrote; only where domains are compared or looked up do
//! `bücher.example`, `BÜCHER.example` and `xn--bcher-kva.example` become one. The mapping is that of UTS 46: case, width
//! and composed letters do not matter, and what could not be a domain's owner's wish is none.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use std::borrow::Cow;

/// Nothing that IDNA allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADomain;

/// What no mapping may turn a character into: all of ASCII but letters, digits, `-`, `_` and the dot.
const FORBIDDEN: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// A domain's A-labels, in lower case. ASCII is only lower-cased: address literals and what is no domain stay as they are.
///
/// # Errors
/// [`NotADomain`] where a label is not one of IDNA's, or the name is too long for DNS once converted.
pub fn a_labels(domain: &str) -> Result<Cow<'_, str>, NotADomain> {
    if domain.is_ascii() {
        return Ok(lower_case(domain));
    }
    Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            FORBIDDEN,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| NotADomain)
}

/// What a domain is compared by: its A-labels. What IDNA refuses is the same as itself and no other.
#[must_use]
pub fn key(domain: &str) -> Cow<'_, str> {
    a_labels(domain).unwrap_or_else(|NotADomain| lower_case(domain))
}

fn lower_case(domain: &str) -> Cow<'_, str> {
    if domain.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_write_a_domain_are_one() {
        for (written, known) in [
            ("Example.ORG", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("ｂücher．example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("mx_1.bücher.example", "mx_1.xn--bcher-kva.example"),
            ("[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(a_labels(written).unwrap(), known, "{written}");
            assert_eq!(key(written), known);
        }
    }

    #[test]
    fn what_idna_refuses_is_no_domain() {
        let long = format!("{}.example", "ü".repeat(59));
        for written in [
            "ü..example",
            "-ü.example",
            "ü-.example",
            "a b.ü",
            "ü.a\u{ff20}b",        // becomes @
            "\u{2100}.example",    // becomes a/c
            "\u{e000}.example",    // private use
            "\u{202e}ab.example",  // turns the reading direction
            "a\u{5d0}.example",    // mixes directions
            "xn--a-ecp.ü.example", // no A-label
            &long,
        ] {
            assert_eq!(a_labels(written), Err(NotADomain), "{written:?}");
            assert_eq!(key(written), written);
        }
    }

    #[test]
    fn lower_case_ascii_is_borrowed() {
        assert!(matches!(a_labels("mx.example"), Ok(Cow::Borrowed(_))));
    }
}
