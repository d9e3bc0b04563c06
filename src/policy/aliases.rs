//! aliases(5): names of this machine that stand for other addresses: `--alias`.
//!
//! Read and resolved once; a look-up only follows numbers. What aliases(5) allows and a relay should not do, programs,
//! files and `:include:`, is an error that names the line.

mod grammar;

use super::recipients::BadLine;
use super::relay::{mailbox_key, plain_name, without_tag};
use super::routes;
use crate::limits;
use crate::smtp::address::Mailbox;
use grammar::{Entry, Written};

/// What a domain is to aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Another host's: aliases are not asked.
    Elsewhere,
    /// Aliases are asked, and what they do not name is a mailbox.
    Mailboxes,
    /// The machine's own name, which nothing delivers for: there are aliases and no one else.
    NamesOnly,
}

/// A file that was read whole: each name leads to somebody.
#[derive(Debug)]
pub struct Aliases {
    /// By name, sorted.
    entries: Vec<Alias>,
}

#[derive(Debug)]
struct Alias {
    /// As [`plain_name`] gives it.
    name: Box<str>,
    line: usize,
    leads: Box<[Lead]>,
}

#[derive(Debug)]
enum Lead {
    /// A whole address.
    Mailbox(Box<str>),
    /// An entry, by its number.
    Alias(usize),
}

impl Aliases {
    /// Reads a file. `home` tells what a domain (as written in the file) is; names without a domain get `hostname`.
    ///
    /// # Errors
    /// [`BadLine`] for what the grammar or a relay does not allow, a name that comes twice, a target that nothing here
    /// delivers to, a name that leads to nobody, or to more recipients than one message can have.
    pub fn parse(text: &str, hostname: &str, home: impl Fn(&str) -> Home) -> Result<Self, BadLine> {
        let mut read = grammar::entries(text)?;
        read.sort_by(|a, b| a.name.cmp(&b.name).then(a.line.cmp(&b.line)));
        if let Some(twice) = read.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(BadLine {
                line: twice[1].line,
                why: format!(
                    "{:?} stands in line {} already: give all its targets there",
                    twice[1].name, twice[0].line
                ),
            });
        }
        let names: Vec<Box<str>> = read
            .iter()
            .map(|entry| entry.name.as_str().into())
            .collect();
        let resolve = |entry: Entry| resolved(entry, &names, hostname, &home);
        let entries: Result<Vec<Alias>, BadLine> = read.into_iter().map(resolve).collect();
        let aliases = Self { entries: entries? };
        for number in 0..aliases.entries.len() {
            aliases.check(number)?;
        }
        Ok(aliases)
    }

    /// How many names.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The addresses that a name stands for, none twice; a sub-address (`user+tag`) that is no name itself is its user's.
    /// None where no alias is named so. `name` is as [`plain_name`] gives it.
    #[must_use]
    pub fn expand(&self, name: &str) -> Option<Vec<&str>> {
        let number = self
            .number(name)
            .or_else(|| self.number(without_tag(name)?))?;
        self.addresses(number).ok()
    }

    fn number(&self, name: &str) -> Option<usize> {
        let at = self
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name));
        at.ok()
    }

    /// The addresses at the ends of all ways from an entry; each entry is passed once, so that loops end.
    fn addresses(&self, number: usize) -> Result<Vec<&str>, String> {
        let (mut found, mut keys) = (Vec::new(), Vec::new());
        let (mut passed, mut next) = (vec![number], 0);
        let mut octets = 0;
        while let Some(&number) = passed.get(next) {
            next += 1;
            for lead in self
                .entries
                .get(number)
                .map_or(&[][..], |entry| &entry.leads)
            {
                match lead {
                    Lead::Alias(other) if passed.contains(other) => {}
                    Lead::Alias(_) if passed.len() == limits::ALIASES_PASSED => {
                        return Err(format!("leads over more than {} names", passed.len()));
                    }
                    Lead::Alias(other) => passed.push(*other),
                    Lead::Mailbox(address) => {
                        let key = mailbox_key(address);
                        if keys.contains(&key) {
                            continue;
                        }
                        if found.len() == limits::RECIPIENTS {
                            let most = limits::RECIPIENTS;
                            return Err(format!(
                                "leads to more than {most} recipients, which no message can have"
                            ));
                        }
                        octets += address.len();
                        if octets > limits::ALIAS_ADDRESSES {
                            let most = limits::ALIAS_ADDRESSES;
                            return Err(format!("leads to addresses of more than {most} octets"));
                        }
                        keys.push(key);
                        found.push(&**address);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether an entry leads to somebody, and to no more than a message can have.
    fn check(&self, number: usize) -> Result<(), BadLine> {
        let Some(entry) = self.entries.get(number) else {
            return Ok(());
        };
        let why = match self.addresses(number) {
            Ok(found) if !found.is_empty() => return Ok(()),
            Ok(_) => "leads round in a circle to nobody".to_owned(),
            Err(why) => why,
        };
        Err(BadLine {
            line: entry.line,
            why: format!("{:?} {why}", entry.name),
        })
    }
}

/// An entry's targets as other entries' numbers and whole addresses.
fn resolved(
    entry: Entry,
    names: &[Box<str>],
    hostname: &str,
    home: &impl Fn(&str) -> Home,
) -> Result<Alias, BadLine> {
    let mut leads = Vec::with_capacity(entry.targets.len());
    for (line, target) in entry.targets {
        let (text, is_final) = match target {
            Written::Address(text) => (text, false),
            Written::Mailbox(text) => (text, true),
        };
        let bad = |why: String| BadLine { line, why };
        let address = match text.rsplit_once('@') {
            Some((_, domain)) if !domain.ends_with('"') => text.clone(),
            _ => format!("{text}@{hostname}"),
        };
        let mailbox = Mailbox::parse(&address)
            .map_err(|_| bad(format!("{text:?} is no address, such as ann@example.org")))?;
        let domain = routes::domain(&address);
        let its_home = home(domain);
        let name = plain_name(mailbox.local_part().as_str());
        if its_home != Home::Elsewhere && !is_final && name != entry.name {
            let number = |name: &str| names.binary_search_by(|known| (**known).cmp(name)).ok();
            if let Some(number) = number(&name).or_else(|| number(without_tag(&name)?)) {
                leads.push(Lead::Alias(number));
                continue;
            }
        }
        if its_home == Home::NamesOnly {
            return Err(bad(format!(
                "{text:?} is no other alias, and {domain} has no mailboxes: give a whole address, or --domain \
                 {domain}=maildir:DIR"
            )));
        }
        leads.push(Lead::Mailbox(address.into()));
    }
    Ok(Alias {
        name: entry.name.into(),
        line: entry.line,
        leads: leads.into(),
    })
}

#[cfg(test)]
mod tests;
