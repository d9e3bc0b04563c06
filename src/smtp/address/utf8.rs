//! Addresses of the type `utf-8`, as ORCPT and DSNs carry them (RFC 6533 3).

use super::{BadAddress, is_utf8_text};
use core::fmt::{self, Write as _};

/// An address in its `utf-8` form: a character stands for itself, or as `\x{HEX}`.
///
/// All of RFC 6533's three forms but that a space in quotes, `+`, `=` and `\` have to be written in HEX; no control can be
/// written at all. It is kept and passed on octet for octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Address<'a>(&'a str);

impl<'a> Utf8Address<'a> {
    /// Reads `utf-8-addr-unitext`, of which `utf-8-addr-xtext` is the part that is ASCII.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(text: &'a str) -> Result<Self, BadAddress> {
        let mut rest = text;
        while !rest.is_empty() {
            (_, rest) = first(rest).ok_or(BadAddress)?;
        }
        if text.is_empty() {
            Err(BadAddress)
        } else {
            Ok(Self(text))
        }
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether it can be sent without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// The address that it stands for.
    pub fn chars(&self) -> impl Iterator<Item = char> + Clone + 'a {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (c, behind) = first(rest)?;
            rest = behind;
            Some(c)
        })
    }

    /// The same address as `utf-8-addr-xtext`, which travels without SMTPUTF8.
    #[must_use]
    pub fn in_ascii(&self) -> impl fmt::Display + 'a {
        InAscii(self.chars())
    }
}

impl fmt::Display for Utf8Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An address as `utf-8-addr-xtext`: visible ASCII as it is, `\x{E9}` for the rest and for `\`, `+` and `=`.
#[must_use]
pub fn in_ascii(address: &str) -> impl fmt::Display + '_ {
    InAscii(address.chars())
}

struct InAscii<I>(I);

impl<I: Iterator<Item = char> + Clone> fmt::Display for InAscii<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.clone().try_for_each(|c| match c {
            c if is_qchar(c) => f.write_char(c),
            c => write!(f, "\\x{{{:02X}}}", u32::from(c)),
        })
    }
}

/// The first character that the text stands for, and what follows it.
fn first(text: &str) -> Option<(char, &str)> {
    if let Some(escape) = text.strip_prefix('\\') {
        let (hex, behind) = escape.strip_prefix("x{")?.split_once('}')?;
        return Some((embedded(hex)?, behind));
    }
    let mut chars = text.chars();
    let c = chars.next().filter(|&c| is_qchar(c) || is_utf8_text(c))?;
    Some((c, chars.as_str()))
}

/// `QCHAR`: visible ASCII that needs no escape.
fn is_qchar(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=')
}

/// `HEXPOINT`: what cannot stand for itself, or is not ASCII; no more digits than it takes, but two at least.
fn embedded(hex: &str) -> Option<char> {
    let padded = hex.len() > 2 && hex.starts_with('0');
    if !(2..=6).contains(&hex.len()) || padded || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
    (matches!(c, ' ' | '\\' | '+' | '=') || is_utf8_text(c)).then_some(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn characters_and_escapes_stand_for_an_address() {
        for (text, address, ascii) in [
            ("ann@example.org", "ann@example.org", "ann@example.org"),
            ("ren\u{e9}@x", "ren\u{e9}@x", "ren\\x{E9}@x"),
            (
                "ren\\x{e9}\u{e9}@x",
                "ren\u{e9}\u{e9}@x",
                "ren\\x{E9}\\x{E9}@x",
            ),
            ("a\\x{2B}b\\x{3D}@x", "a+b=@x", "a\\x{2B}b\\x{3D}@x"),
            (
                "\"\\x{5C}\"\\x{20}\"@x",
                "\"\\\" \"@x",
                "\"\\x{5C}\"\\x{20}\"@x",
            ),
            (
                "\\x{10FFFD}\\x{D7FF}",
                "\u{10fffd}\u{d7ff}",
                "\\x{10FFFD}\\x{D7FF}",
            ),
        ] {
            let read = Utf8Address::parse(text).unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(read.chars().collect::<String>(), address);
            assert_eq!(read.in_ascii().to_string(), ascii);
            assert_eq!(in_ascii(address).to_string(), ascii);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "a b",
            "a+b",
            "a=b",
            "a\\b",
            "\\x{}",
            "\\x{E}",
            "\\x{41}",
            "\\x{0A}",
            "\\x{00}",
            "\\x{7F}",
            "\\x{85}",
            "\\x{0E9}",
            "\\x{D800}",
            "\\x{110000}",
            "\\x{+E9}",
            "\\x{E9",
            "\\xE9",
            "\\X{E9}",
            "a\u{85}",
            "\t",
        ] {
            assert_eq!(Utf8Address::parse(text), Err(BadAddress), "{text:?}");
        }
    }
}
