//! The addresses that exist: `--recipients`.
//!
//! An address a line, `user@name`, or `@name` where a domain takes every local part. Kept as hashes with a key of this
//! process's own, 8 octets each, so that a hundred thousand of them are less than a MiB, and nobody outside can look for two
//! addresses that share one.

use super::relay::{plain_name, without_tag};
use super::{idn, target};
use crate::limits;
use crate::smtp::address::LocalPart;
use std::hash::{BuildHasher as _, RandomState};

/// A list that was read whole.
#[derive(Debug)]
pub struct Recipients {
    keys: RandomState,
    /// Sorted.
    hashes: Vec<u64>,
}

/// A line that is wrong: of which file, its reader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl Recipients {
    /// A list that is in memory; see [`Self::collect`].
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn parse(text: &str, is_ours: impl Fn(&str) -> bool) -> Result<Self, BadLine> {
        Self::collect(text.lines().map(Ok), is_ours)
    }

    /// Reads a list line by line. `is_ours` tells a `--domain`, given as A-labels in lower case.
    ///
    /// # Errors
    /// [`BadLine`] for what is no address, for a domain that is no `--domain`, and for the first address beyond
    /// [`limits::RECIPIENTS_LISTED`].
    pub fn collect(
        lines: impl Iterator<Item = Result<impl AsRef<str>, BadLine>>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Self, BadLine> {
        let keys = RandomState::new();
        let mut hashes = Vec::new();
        for (number, line) in lines.enumerate() {
            let line = line?;
            let bad = |why: String| BadLine {
                line: number + 1,
                why,
            };
            let address = without_comment(line.as_ref());
            if address.is_empty() {
                continue;
            }
            let (name, domain) = parts(address).ok_or_else(|| {
                bad(format!(
                    "{address:?} is no address, such as ann@example.org, or @example.org for all"
                ))
            })?;
            if !is_ours(&domain) {
                return Err(bad(format!(
                    "{address:?}: {domain} is no --domain; give --domain {domain}[=TARGET] or take the line out"
                )));
            }
            if hashes.len() == limits::RECIPIENTS_LISTED {
                return Err(bad(format!(
                    "more than {} addresses: give @{domain} for a whole domain",
                    limits::RECIPIENTS_LISTED
                )));
            }
            hashes.push(keys.hash_one((&*name, &*domain)));
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(Self { keys, hashes })
    }

    /// How many addresses.
    #[must_use]
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether the mailbox exists. `name` is as [`plain_name`] gives it, `domain` in A-labels and lower case.
    #[must_use]
    pub fn knows(&self, name: &str, domain: &str) -> bool {
        self.holds("", domain) || self.lists(name, domain)
    }

    /// Whether the mailbox that `user+tag` is a sub-address of exists, while `user+tag` itself is not listed: its name.
    #[must_use]
    pub fn user_of<'a>(&self, name: &'a str, domain: &str) -> Option<&'a str> {
        without_tag(name).filter(|user| self.lists(user, domain))
    }

    fn lists(&self, name: &str, domain: &str) -> bool {
        !name.is_empty() && self.holds(name, domain)
    }

    fn holds(&self, name: &str, domain: &str) -> bool {
        let hash = self.keys.hash_one((name, domain));
        self.hashes.binary_search(&hash).is_ok()
    }
}

/// The line up to a `#` that begins it or stands behind a blank: others belong to addresses.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    let comment = line.char_indices().find(|&(_, c)| {
        let begins = c == '#' && before.is_ascii_whitespace();
        before = c;
        begins
    });
    line[..comment.map_or(line.len(), |(at, _)| at)].trim_ascii()
}

/// A line's local part as it is compared, empty for all, and its domain in A-labels.
fn parts(address: &str) -> Option<(String, String)> {
    let (local, domain) = address.rsplit_once('@')?;
    let domain = target::host_name(domain)?;
    idn::a_labels(&domain).ok()?;
    let name = match local {
        "" => String::new(),
        _ => plain_name(LocalPart::parse(local).ok()?.as_str()),
    };
    Some((name, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipients, BadLine> {
        let ours = ["a.example", "b.example", "xn--bcher-kva.example"];
        Recipients::parse(text, |domain| ours.contains(&domain))
    }

    #[test]
    fn listed_mailboxes_exist_and_no_others() {
        let text = "# staff\n ann@a.example  # the boss\r\n\n\"Bob B\"@A.Example\n@b.example\nu#1@bücher.example\n";
        let list = parse(text).unwrap();
        assert_eq!(list.count(), 4);
        for (local, domain, known) in [
            ("ann", "a.example", true),
            ("ANN", "a.example", true),
            ("\"ann\"", "a.example", true),
            ("\"bob b\"", "a.example", true),
            ("ann", "b.example", true),
            ("anyone", "b.example", true),
            ("u#1", "xn--bcher-kva.example", true),
            ("u", "xn--bcher-kva.example", false),
            ("bob", "a.example", false),
            ("\"\"", "a.example", false),
            ("ann", "c.example", false),
        ] {
            let name = plain_name(local);
            assert_eq!(list.knows(&name, domain), known, "{local}@{domain}");
        }
    }

    #[test]
    fn a_sub_address_is_its_user_s() {
        let list = parse("ann@a.example\nbob+x@a.example").unwrap();
        for (name, user) in [
            ("ann+shop", Some("ann")),
            ("ann+a+b", Some("ann")),
            ("bob+y", None),
            ("+ann", None),
            ("ann", None),
        ] {
            assert_eq!(list.user_of(name, "a.example"), user, "{name}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line, part) in [
            ("ann@a.example\nann", 2, "\"ann\" is no address"),
            ("ann@c.example", 1, "c.example is no --domain"),
            ("\n\na b@a.example", 3, "is no address"),
            ("ann@", 1, "is no address"),
            ("a@b@a.example", 1, "is no address"),
            (
                "ann@a.example bob@a.example",
                1,
                "is no address, such as ann@example.org",
            ),
        ] {
            let bad = parse(text).unwrap_err();
            assert_eq!(bad.line, line, "{text:?}");
            assert!(bad.why.contains(part), "{text:?}: {}", bad.why);
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let mut text = String::new();
        for n in 0..=limits::RECIPIENTS_LISTED {
            text += &format!("u{n}@a.example\n");
        }
        let bad = parse(&text).unwrap_err();
        assert_eq!(bad.line, limits::RECIPIENTS_LISTED + 1);
    }
}
