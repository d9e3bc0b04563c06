//! What a running relay says of its certificates, a line each: fields with a tab between them, without control characters.

use crate::limits;
use crate::operator::certificates::{Looker, State};
use crate::tls::table::listed::{Listed, Origin, Unread};
use log::Level;
use std::fmt;
use std::path::absolute;

/// One line of the answer to [`super::words::Question::Certificates`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who looks for renewals.
    Looker(Looker),
    /// So many seconds ago a look came to its end.
    Looked(u64),
    /// What the disk has as a whole is not served: why.
    Refused(String),
    /// What the table warns of.
    Trouble(String),
    /// A certificate that is served.
    Serves(Served),
    /// So many of the compiled-in table's are not told.
    Untold(usize),
}

/// A certificate that a running relay serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// As [`source`] has it.
    pub source: String,
    /// The beginning of its SHA-256.
    pub fingerprint: String,
    /// The last second of its validity.
    pub until: Option<u64>,
    pub key: String,
    pub issuer: String,
    /// The first few entries that lead to it.
    pub names: String,
    /// Why it serves on, though the disk has something else in its place.
    pub kept: Option<String>,
}

/// Where a certificate is from, for both ends, which may work in different folders.
pub fn source(origin: &Origin) -> String {
    match origin {
        Origin::Disk(path) => plain(&absolute(path).unwrap_or_else(|_| path.clone()).display()),
        Origin::Compiled => origin.to_string(),
    }
}

impl Served {
    fn of(listed: &Listed) -> Self {
        Self {
            source: source(&listed.origin),
            fingerprint: listed.fingerprint.clone(),
            until: listed.about.valid.map(|valid| valid.until),
            key: listed.about.key.clone(),
            issuer: listed.about.issuer.clone(),
            names: listed.first_names(),
            kept: listed.kept.clone(),
        }
    }
}

/// The lines, each made as it is asked for: to read a thousand certificates takes a while. Of the compiled-in table as many
/// as `check` tells.
pub fn lines(state: &State) -> impl Iterator<Item = Said> {
    let troubles = state.table.troubles().iter();
    let troubles = troubles.filter(|trouble| trouble.level == Level::Warn);
    let looked = Said::Looked(state.looked.elapsed().as_secs());
    let first = [Said::Looker(state.looker.clone()), looked]
        .into_iter()
        .chain(state.refused.clone().map(Said::Refused))
        .chain(troubles.map(|trouble| Said::Trouble(trouble.to_string())));
    let is_compiled = |one: &Unread<'_>| *one.origin() == Origin::Compiled;
    let compiled = state.table.unread().filter(is_compiled).count();
    let untold = compiled.saturating_sub(limits::CHECK_CERTIFICATES);
    let mut passed = 0;
    let told = state.table.unread().filter(move |one| {
        passed += usize::from(is_compiled(one));
        !is_compiled(one) || passed <= limits::CHECK_CERTIFICATES
    });
    let serves = told.map(|one| Said::Serves(Served::of(&one.read())));
    let last = (untold > 0).then_some(Said::Untold(untold));
    first.chain(serves).chain(last)
}

/// On one line and without tabs; so long that a line of them is shorter than [`limits::CONTROL_REPLY`].
fn plain(text: &impl ToString) -> String {
    let mut all = String::new();
    for character in text.to_string().chars() {
        if all.len() + character.len_utf8() > MOST {
            break;
        }
        all.push(if character.is_control() {
            '?'
        } else {
            character
        });
    }
    all
}

/// Octets of a field.
const MOST: usize = limits::CONTROL_REPLY / 5;

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looker(Looker::Nobody) => f.write_str("reader none"),
            Self::Looker(Looker::Relay) => f.write_str("reader self"),
            Self::Looker(Looker::Apart(pid)) => write!(f, "reader {pid}"),
            Self::Looker(Looker::Gone(why)) => write!(f, "reader gone {}", plain(why)),
            Self::Looked(seconds) => write!(f, "looked {seconds}"),
            Self::Refused(why) => write!(f, "refused {}", plain(why)),
            Self::Trouble(text) => write!(f, "trouble {}", plain(text)),
            Self::Untold(count) => write!(f, "untold {count}"),
            Self::Serves(served) => {
                let until = served.until.map(|until| until.to_string());
                let fields = [
                    &*served.source,
                    &served.fingerprint,
                    until.as_deref().unwrap_or("-"),
                    &served.key,
                    &served.issuer,
                    &served.names,
                    served.kept.as_deref().unwrap_or(""),
                ];
                let fields: Vec<String> = fields.iter().map(plain).collect();
                write!(f, "serves {}", fields.join("\t"))
            }
        }
    }
}

impl Said {
    /// Reads what Display wrote.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        Some(match word {
            "reader" => Self::Looker(match rest {
                "none" => Looker::Nobody,
                "self" => Looker::Relay,
                other => match other.strip_prefix("gone ") {
                    Some(why) => Looker::Gone(why.to_owned()),
                    None => Looker::Apart(other.parse().ok()?),
                },
            }),
            "looked" => Self::Looked(rest.parse().ok()?),
            "refused" => Self::Refused(rest.to_owned()),
            "trouble" => Self::Trouble(rest.to_owned()),
            "untold" => Self::Untold(rest.parse().ok()?),
            "serves" => {
                let fields: Vec<&str> = rest.split('\t').collect();
                let [source, fingerprint, until, key, issuer, names, kept] = *fields.as_slice()
                else {
                    return None;
                };
                Self::Serves(Served {
                    source: source.to_owned(),
                    fingerprint: fingerprint.to_owned(),
                    until: until.parse().ok(),
                    key: key.to_owned(),
                    issuer: issuer.to_owned(),
                    names: names.to_owned(),
                    kept: Some(kept.to_owned()).filter(|kept| !kept.is_empty()),
                })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_as_it_is_written() {
        let served = Served {
            source: "/etc/letsencrypt/live/mx.test".to_owned(),
            fingerprint: "00:FF".to_owned(),
            until: Some(1_800_000_000),
            key: "RSA 2048".to_owned(),
            issuer: "R3 \"x\"".to_owned(),
            names: "mx.test default".to_owned(),
            kept: Some("no such file".to_owned()),
        };
        let unknown = Served {
            until: None,
            kept: None,
            ..served.clone()
        };
        for said in [
            Said::Looker(Looker::Nobody),
            Said::Looker(Looker::Relay),
            Said::Looker(Looker::Apart(12)),
            Said::Looker(Looker::Gone("signal: 9".to_owned())),
            Said::Looked(3),
            Said::Refused("why not".to_owned()),
            Said::Trouble("certificate clash".to_owned()),
            Said::Untold(7),
            Said::Serves(served),
            Said::Serves(unknown),
        ] {
            assert_eq!(Said::parse(&said.to_string()), Some(said));
        }
        for line in ["", "ok", "reader", "reader x", "serves a\tb", "untold all"] {
            assert_eq!(Said::parse(line), None, "{line}");
        }
    }

    #[test]
    fn what_others_wrote_stays_in_its_line_and_its_field() {
        let long = "é".repeat(limits::CONTROL_REPLY);
        let said = Said::Serves(Served {
            source: format!("/a\tb\n{long}"),
            fingerprint: String::new(),
            until: None,
            key: String::new(),
            issuer: "a\tb\r\n".to_owned(),
            names: long.clone(),
            kept: Some(long),
        });
        let line = said.to_string();
        assert!(line.len() < limits::CONTROL_REPLY && !line.contains('\n'));
        let Some(Said::Serves(read)) = Said::parse(&line) else {
            panic!("{line}");
        };
        assert!(read.source.starts_with("/a?b?") && read.issuer == "a?b??");
    }
}
