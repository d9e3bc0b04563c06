//! xtext (RFC 3461 4): how DSN parameters carry any text in printable ASCII. It is kept and passed on octet for octet.

use core::fmt;

/// Text in its xtext form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XText<'a>(&'a str);

/// The text is no xtext, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadXText;

impl<'a> XText<'a> {
    /// Reads xtext of at most so many octets.
    ///
    /// # Errors
    /// [`BadXText`].
    pub fn parse(text: &'a str, most: usize) -> Result<Self, BadXText> {
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            let legal = match octet {
                b'+' => is_digit(octets.next()) && is_digit(octets.next()),
                b'=' => false,
                other => (33..=126).contains(&other),
            };
            if !legal {
                return Err(BadXText);
            }
        }
        if text.is_empty() || text.len() > most {
            Err(BadXText)
        } else {
            Ok(Self(text))
        }
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The octets that it stands for. They need not be UTF-8, and can be controls.
    pub fn octets(&self) -> impl Iterator<Item = u8> + 'a {
        let mut octets = self.0.bytes();
        core::iter::from_fn(move || match octets.next()? {
            b'+' => Some(value(octets.next()?)? << 4 | value(octets.next()?)?),
            other => Some(other),
        })
    }
}

impl fmt::Display for XText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Any text as xtext.
#[must_use]
pub fn written(text: &str) -> impl fmt::Display + '_ {
    Written(text)
}

struct Written<'a>(&'a str);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|octet| match octet {
            33..=126 if !b"+=".contains(&octet) => write!(f, "{}", octet as char),
            _ => write!(f, "+{octet:02X}"),
        })
    }
}

/// What an upper-case hexadecimal digit is worth; `+2b` is no xtext.
fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_digit(octet: Option<u8>) -> bool {
    octet.and_then(value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_xtext_is_kept_as_it_came() {
        for text in ["a", "QQ314159", "a+2Bb+3D", "!~", "+00"] {
            assert_eq!(XText::parse(text, 100).unwrap().to_string(), text);
        }
    }

    #[test]
    fn octets_are_what_it_stands_for() {
        for (text, octets) in [
            ("a+2Bb+3D", "a+b=".as_bytes()),
            ("+FF+00", &[255, 0]),
            ("x", b"x"),
        ] {
            let read = XText::parse(text, 100).unwrap();
            assert!(read.octets().eq(octets.iter().copied()), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = "\"a b\"+x=y\u{e9}@z";
        let written = written(text).to_string();
        assert_eq!(written, "\"a+20b\"+2Bx+3Dy+C3+A9@z");
        let read = XText::parse(&written, 100).unwrap();
        assert!(read.octets().eq(text.bytes()));
    }

    #[test]
    fn the_rest_is_refused() {
        for text in [
            "", "a b", "a=b", "+", "+2", "+2b", "+2G", "a\u{e9}", "\t", "\u{7f}", "abcdef",
        ] {
            assert_eq!(XText::parse(text, 5), Err(BadXText), "{text}");
        }
    }
}
