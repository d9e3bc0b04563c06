//! Mailboxes and paths (RFC 5321 4.1.2), parsed once: a [`Mailbox`] cannot hold what the grammar forbids.
//!
//! Each of these types is text and what was found in it; only `parse` makes one, and each is written as it was read.

mod domain;
mod original;
mod utf8;

pub use domain::Domain;
pub use original::{Encoded, OriginalRecipient};
pub use utf8::{Utf8Address, in_ascii};

use crate::limits;
use core::fmt;

/// A mailbox as it goes over the wire, without angle brackets: `local-part@domain`.
///
/// Local parts are told apart by case, domains are not (RFC 5321 2.4).
#[derive(Clone, Copy, Debug)]
pub struct Mailbox<'a> {
    text: &'a str,
    domain: Domain<'a>,
}

impl<'a> Mailbox<'a> {
    /// Reads a mailbox that fills the whole text.
    ///
    /// # Errors
    /// [`BadAddress`] where the grammar or a limit forbids it.
    pub fn parse(text: &'a str) -> Result<Self, BadAddress> {
        let (_, rest) = LocalPart::cut(text)?;
        let domain = Domain::parse(rest.strip_prefix('@').ok_or(BadAddress)?)?;
        if text.len() > limits::MAILBOX {
            return Err(BadAddress);
        }
        Ok(Self { text, domain })
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// What stands before the `@`, with its quotes if it has any.
    #[must_use]
    pub fn local_part(&self) -> LocalPart<'a> {
        LocalPart(&self.text[..self.text.len() - "@".len() - self.domain.as_str().len()])
    }

    /// What stands behind it.
    #[must_use]
    pub fn domain(&self) -> Domain<'a> {
        self.domain
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl PartialEq for Mailbox<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.local_part() == other.local_part() && self.domain == other.domain
    }
}

impl Eq for Mailbox<'_> {}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A dot-string or a quoted string (RFC 5321 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPart<'a>(&'a str);

impl<'a> LocalPart<'a> {
    /// Reads a local part that fills the whole text.
    ///
    /// # Errors
    /// [`BadAddress`] where the grammar or a limit forbids it.
    pub fn parse(text: &'a str) -> Result<Self, BadAddress> {
        match Self::cut(text)? {
            (local, "") => Ok(local),
            _ => Err(BadAddress),
        }
    }

    /// Reads one at the front of the text; what follows it is given back.
    fn cut(text: &'a str) -> Result<(Self, &'a str), BadAddress> {
        let end = if text.starts_with('"') {
            quoted_string(text)?
        } else {
            dot_string(text)?
        };
        if end > limits::LOCAL_PART {
            return Err(BadAddress);
        }
        let (local, rest) = text.split_at(end);
        Ok((Self(local), rest))
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Its characters as they are meant: quotes around it say nothing (RFC 5321 4.1.2), nor do backslashes before others.
    fn plain(&self) -> impl Iterator<Item = char> {
        let inside = self
            .0
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let quoted = inside.is_some();
        let mut chars = inside.unwrap_or(self.0).chars();
        core::iter::from_fn(move || match chars.next() {
            Some('\\') if quoted => chars.next(),
            other => other,
        })
    }

    /// Whether it names the postmaster (RFC 5321 4.5.1: in any case).
    #[must_use]
    pub fn is_postmaster(&self) -> bool {
        self.plain()
            .map(|c| c.to_ascii_lowercase())
            .eq("postmaster".chars())
    }
}

impl fmt::Display for LocalPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What stands between the angle brackets of MAIL and RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'a> {
    /// `<>`, the null reverse-path.
    Null,
    /// A local part alone: `<Postmaster>`, or a trusted client's short form.
    Bare(LocalPart<'a>),
    /// `<local-part@domain>`.
    Mailbox(Mailbox<'a>),
}

/// The text is no address that SMTP can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl<'a> Path<'a> {
    /// Reads `<path>` at the front of the text; what follows it is given back. A source route is dropped (RFC 5321 4.1.2).
    ///
    /// # Errors
    /// [`BadAddress`] where the grammar or a limit forbids it.
    pub fn parse(text: &'a str) -> Result<(Self, &'a str), BadAddress> {
        let inside = text.strip_prefix('<').ok_or(BadAddress)?;
        if let Some(rest) = inside.strip_prefix('>') {
            return Ok((Self::Null, rest));
        }
        let inside = without_route(inside)?;
        let (local, after) = LocalPart::cut(inside)?;
        if let Some(rest) = after.strip_prefix('>') {
            return Ok((Self::Bare(local), rest));
        }
        let domain = after.strip_prefix('@').ok_or(BadAddress)?;
        let end = domain.find('>').ok_or(BadAddress)?;
        let text = &inside[..local.as_str().len() + 1 + end];
        Ok((Self::Mailbox(Mailbox::parse(text)?), &domain[end + 1..]))
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bare(local) => local.as_str().is_ascii(),
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Bare(local) => write!(f, "<{local}>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// `@one,@two:user@domain` without its route.
fn without_route(text: &str) -> Result<&str, BadAddress> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, mailbox) = text.split_once(':').ok_or(BadAddress)?;
    for hop in route.split(',') {
        Domain::parse(hop.strip_prefix('@').ok_or(BadAddress)?)?;
    }
    Ok(mailbox)
}

/// The length of `atom *("." atom)`.
fn dot_string(text: &str) -> Result<usize, BadAddress> {
    let end = text
        .find(|c| !is_atext(c) && c != '.')
        .unwrap_or(text.len());
    if text[..end].split('.').any(str::is_empty) {
        return Err(BadAddress);
    }
    Ok(end)
}

/// `atext` of RFC 5322 3.2.3, and what RFC 6531 3.3 adds to it.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c)
}

/// A non-ASCII character that is no control.
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// The length of a quoted string, with both its quotes.
fn quoted_string(text: &str) -> Result<usize, BadAddress> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (escaped, c) {
            (false, '"') => return Ok(at + 1),
            (false, '\\') => escaped = true,
            (_, ' '..='~') => escaped = false,
            (false, c) if is_utf8_text(c) => {}
            _ => return Err(BadAddress),
        }
    }
    Err(BadAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_paths_are_written_as_they_are_read() {
        let long = format!("<{}@{}.example>", "l".repeat(255), "d".repeat(63));
        for text in [
            "<>",
            "<a@b>",
            "<a.b+c@x_y.example>",
            "<Postmaster>",
            "<\"a b\\\"c@d\"@e.f>",
            "<u@[192.0.2.1]>",
            "<u@[IPv6:2001:db8::1]>",
            "<\u{e9}@\u{fc}.example>",
            "<u=x@y>",
            &long,
        ] {
            let (path, rest) = Path::parse(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((path.to_string().as_str(), rest), (text, ""));
        }
        assert_eq!(Path::parse("<a@b> SIZE=1").unwrap().1, " SIZE=1");
    }

    #[test]
    fn a_source_route_is_dropped() {
        let (path, _) = Path::parse("<@a.example,@b:u@d>").unwrap();
        assert_eq!(path.to_string(), "<u@d>");
        for text in ["<@a:u@>", "<@a u@d>", "<@:u@d>", "<@a,b:u@d>"] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn illegal_addresses_are_refused() {
        let long = [
            format!("<{}@b>", "l".repeat(256)),
            format!("<a@{}>", "d".repeat(64)),
            format!("<a@{}b>", "d.".repeat(128)),
            format!("<{}@{}b>", "l".repeat(255), "d.".repeat(127)).replace("b>", "bbbbb>"),
        ];
        for text in [
            "",
            "a@b",
            "<a@b",
            "<a@>",
            "<@b>",
            "<a b@c>",
            "<a..b@c>",
            "<.a@b>",
            "<a.@b>",
            "<a@b@c>",
            "<a@-b>",
            "<a@b->",
            "<a@b..c>",
            "<a@.b>",
            "<a@b.>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<a@[300.1.1.1]>",
            "<a@[IPv6:x]>",
            "<a@[192.0.2.1>",
            "<a\u{85}@b>",
            "<a\0@b>",
            "<a@b\u{7f}>",
            "<\"a\u{1}\"@b>",
            "<a<b@c>",
            "<(a)@b>",
        ]
        .into_iter()
        .chain(long.iter().map(String::as_str))
        {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mailbox_knows_its_parts() {
        let mailbox = Mailbox::parse("\"a@b\"@c.example").unwrap();
        assert_eq!(
            (mailbox.local_part().as_str(), mailbox.domain().as_str()),
            ("\"a@b\"", "c.example")
        );
        assert!(mailbox.is_ascii() && !Mailbox::parse("\u{e9}@c").unwrap().is_ascii());
    }
}
