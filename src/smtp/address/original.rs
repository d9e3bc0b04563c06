//! Whom the sender wrote to, as RCPT says it: ORCPT (RFC 3461 4.2).

use super::{BadAddress, Utf8Address, is_atext};
use crate::limits;
use crate::smtp::xtext::XText;
use core::fmt;

/// An address type, `;` and an address of it, kept and passed on octet for octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalRecipient<'a> {
    text: &'a str,
    /// Octets of the type.
    kind: usize,
    address: Encoded<'a>,
}

/// How an original recipient's address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded<'a> {
    /// `rfc822` and every other type (RFC 3461 4.2).
    XText(XText<'a>),
    /// `utf-8` (RFC 6533 3).
    Utf8(Utf8Address<'a>),
}

impl<'a> OriginalRecipient<'a> {
    /// Reads `rfc822;ann+2Bx@example.org` or `utf-8;ren\x{E9}@example.org`. The address of a type that is not `utf-8` is
    /// xtext. One of `utf-8` may be so, too, for RFC 3461 says it of all types, unless a backslash makes its meaning doubtful.
    ///
    /// # Errors
    /// [`BadAddress`] where the grammar or [`limits::ORCPT`] forbids it.
    pub fn parse(text: &'a str) -> Result<Self, BadAddress> {
        let (kind, address) = text.split_once(';').ok_or(BadAddress)?;
        if text.len() > limits::ORCPT || !is_type(kind) {
            return Err(BadAddress);
        }
        let xtext = || XText::parse(address, limits::ORCPT).map_err(|_| BadAddress);
        let encoded = if !kind.eq_ignore_ascii_case("utf-8") {
            Encoded::XText(xtext()?)
        } else if let Ok(utf8) = Utf8Address::parse(address) {
            Encoded::Utf8(utf8)
        } else if !address.contains('\\') {
            Encoded::XText(xtext()?)
        } else {
            return Err(BadAddress);
        };
        Ok(Self {
            text,
            kind: kind.len(),
            address: encoded,
        })
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The address type, in the sender's case.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        &self.text[..self.kind]
    }

    /// The address, still encoded.
    #[must_use]
    pub fn address(&self) -> Encoded<'a> {
        self.address
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6533 3).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The same for a host without SMTPUTF8. It can be longer than [`limits::ORCPT`].
    #[must_use]
    pub fn in_ascii(self) -> impl fmt::Display + 'a {
        InAscii(self)
    }
}

impl fmt::Display for OriginalRecipient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

struct InAscii<'a>(OriginalRecipient<'a>);

impl fmt::Display for InAscii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.address {
            Encoded::XText(_) => f.write_str(self.0.text),
            Encoded::Utf8(address) => write!(f, "{};{}", self.0.kind(), address.in_ascii()),
        }
    }
}

/// An atom (RFC 3461 4.2), as the value of a parameter can hold it: without `=` (RFC 5321 4.1.2).
fn is_type(kind: &str) -> bool {
    !kind.is_empty()
        && kind
            .chars()
            .all(|c| c.is_ascii() && is_atext(c) && c != '=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn it_is_written_as_it_was_read() {
        for (text, kind, utf8) in [
            ("rfc822;ann+2Bx@example.org", "rfc822", false),
            ("RFC822;a\\x{zz}", "RFC822", false),
            ("x-400;/G+3D", "x-400", false),
            ("utf-8;ann@example.org", "utf-8", true),
            ("UTF-8;ren\\x{e9}@example.org", "UTF-8", true),
            ("utf-8;ren\u{e9}@example.org", "utf-8", true),
            ("utf-8;ann+2Bx@example.org", "utf-8", false),
        ] {
            let read = OriginalRecipient::parse(text).unwrap();
            assert_eq!((read.to_string().as_str(), read.kind()), (text, kind));
            assert_eq!(matches!(read.address(), Encoded::Utf8(_)), utf8, "{text}");
        }
    }

    #[test]
    fn a_host_without_smtputf8_gets_it_in_ascii() {
        for (text, ascii) in [
            ("utf-8;\u{e9}\\x{2b}@x", "utf-8;\\x{E9}\\x{2B}@x"),
            ("rfc822;ann+2Bx@x", "rfc822;ann+2Bx@x"),
        ] {
            let read = OriginalRecipient::parse(text).unwrap();
            assert_eq!(read.in_ascii().to_string(), ascii);
        }
    }

    #[test]
    fn the_rest_is_refused() {
        let long = std::format!("rfc822;{}", "a".repeat(limits::ORCPT));
        for text in [
            "",
            "ann@example.org",
            ";ann@example.org",
            "rfc822;",
            "rfc 822;a",
            "a=b;c",
            "\u{e9};a",
            "rfc822;ren\u{e9}@x",
            "rfc822;a=b",
            "rfc822;a+zz",
            "utf-8;a\\x{zz}",
            "utf-8;a+2B\\x{E9}",
            "utf-8;a+2B\u{e9}",
            "utf-8;a b",
            &long,
        ] {
            assert_eq!(OriginalRecipient::parse(text), Err(BadAddress), "{text:?}");
        }
    }
}
