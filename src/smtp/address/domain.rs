//! What stands behind the `@`: a domain name or an address literal (RFC 5321 4.1.2 and 4.1.3).

use super::{BadAddress, is_utf8_text};
use crate::limits;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A domain name, or an address literal in its brackets.
///
/// Names are equal without regard to ASCII case (RFC 5321 2.4), literals by their address. That `bücher.example` and
/// `xn--bcher-kva.example` are one domain too, [`crate::policy::idn`] knows.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    text: &'a str,
    literal: Option<IpAddr>,
}

/// Octets of a label, as DNS has it (RFC 1035 2.3.4).
const LABEL: usize = 63;

/// Characters of a label that is not ASCII: each takes at least one octet of its A-label, behind `xn--` (RFC 5890 4.2).
const U_LABEL: usize = LABEL - "xn--".len();

impl<'a> Domain<'a> {
    /// Reads a domain that fills the whole text. Underscores pass: they are in use. Labels beyond ASCII are taken as they
    /// are (RFC 6531 3.3); whether IDNA knows them is for those to ask who look them up.
    ///
    /// # Errors
    /// [`BadAddress`] where the grammar or a limit forbids it.
    pub fn parse(text: &'a str) -> Result<Self, BadAddress> {
        if text.len() > limits::DOMAIN {
            return Err(BadAddress);
        }
        let literal = match text.strip_prefix('[') {
            Some(rest) => Some(literal(rest.strip_suffix(']').ok_or(BadAddress)?)?),
            None if text.split('.').all(is_label) => None,
            None => return Err(BadAddress),
        };
        Ok(Self { text, literal })
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The address of a literal; None for a name.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        self.literal
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl PartialEq for Domain<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.literal, other.literal) {
            (None, None) => self.text.eq_ignore_ascii_case(other.text),
            (one, other) => one == other,
        }
    }
}

impl Eq for Domain<'_> {}

impl fmt::Display for Domain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

fn is_label(label: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_text(c);
    let short = if label.is_ascii() {
        label.len() <= LABEL
    } else {
        label.chars().count() <= U_LABEL
    };
    short
        && !label.is_empty()
        && label.chars().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// `192.0.2.1` or `IPv6:2001:db8::1`.
fn literal(text: &str) -> Result<IpAddr, BadAddress> {
    let tagged = text
        .split_at_checked("IPv6:".len())
        .filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
    let address = match tagged {
        Some((_, six)) => six.parse().map(|six: Ipv6Addr| six.into()),
        None => text.parse().map(|four: Ipv4Addr| four.into()),
    };
    address.map_err(|_| BadAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_equal_in_any_case_and_literals_by_their_address() {
        let same = |one, other| Domain::parse(one).unwrap() == Domain::parse(other).unwrap();
        assert!(same("Mx.Example", "mX.example") && !same("a.example", "b.example"));
        assert!(same("[IPv6:2001:db8::1]", "[ipv6:2001:DB8:0::1]"));
        assert!(!same("[192.0.2.1]", "[192.0.2.2]") && !same("[192.0.2.1]", "192.0.2.1"));
    }

    #[test]
    fn literals_tell_their_address() {
        for (text, address) in [("[192.0.2.1]", "192.0.2.1"), ("[IPv6:::1]", "::1")] {
            let literal = Domain::parse(text).unwrap().literal();
            assert_eq!(literal, Some(address.parse().unwrap()));
        }
        assert_eq!(Domain::parse("192.0.2.1").unwrap().literal(), None);
    }

    #[test]
    fn a_label_beyond_ascii_may_take_more_octets_than_its_a_label() {
        // 59 letters of the same script make an A-label of 63 octets or a little more: IDNA decides, not we.
        for (count, legal) in [(22, true), (59, true), (60, false)] {
            let domain = std::format!("{}.example", "\u{e01}".repeat(count));
            assert_eq!(Domain::parse(&domain).is_ok(), legal, "{count}");
        }
        assert!(Domain::parse(&"d".repeat(63)).is_ok() && Domain::parse(&"d".repeat(64)).is_err());
    }
}
