//! What is said over the control socket, and how it reads.

use crate::outbound::by_hand::{Removed, Tell};
use crate::policy::clock::Era;
use crate::spool::Id;
use std::fmt::{self, Write as _};

pub const PROTOCOL: &str = "facteur-queue 2";
/// Says that a request was read, before anything is done about it.
pub const HEARD: &str = "heard";
/// Behind the last line of an answer of several.
pub const END: &str = "ok";
/// How figures of handshakes begin.
pub const TLS: &str = "tls ";

/// Whether a relay's spool takes new mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It does, as long as there is room.
    Open,
    /// Its disk failed, and no fresh segment has proved good since; or it is stopping.
    Closed,
}

impl Intake {
    pub fn answer(self) -> &'static str {
        match self {
            Self::Open => "ok open",
            Self::Closed => "ok closed",
        }
    }
}

/// What is asked of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Change(Request),
    /// `check` asks for the [`Intake`].
    State,
    /// What it is trying, and what is due though the disk does not say so: lines, and [`END`].
    Now,
    /// `check` asks for the figures of its handshakes: lines that begin with [`TLS`], and [`END`].
    Tls,
    /// `check` asks which certificates it serves: lines ([`super::Said`]), and [`END`].
    Certificates,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(request) => request.fmt(f),
            Self::State => write!(f, "{PROTOCOL} state"),
            Self::Now => write!(f, "{PROTOCOL} now"),
            Self::Tls => write!(f, "{PROTOCOL} tls"),
            Self::Certificates => write!(f, "{PROTOCOL} certificates"),
        }
    }
}

impl Question {
    /// Reads what Display wrote.
    ///
    /// # Errors
    /// One line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let others = [Self::State, Self::Now, Self::Tls, Self::Certificates];
        let other = others.into_iter().find(|other| other.to_string() == line);
        other.map_or_else(|| Request::parse(line).map(Self::Change), Ok)
    }
}

/// What is done now for some recipients of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// An attempt is under way.
    Trying,
    /// It is next: somebody made it due before its time.
    Due,
    /// It is tried then, in unix seconds of a clock that was set since that was noted.
    Waits(u64),
}

/// A line of the answer to [`Question::Now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    Done(DoneNow),
    /// What happened to the relay's clock; oldest first.
    Era(Era),
}

/// As [`Present::Era`] has it.
pub fn put_era(era: Era, lines: &mut String) {
    // A String takes all.
    let _ = writeln!(lines, "era {} {}", era.from, era.shift);
}

impl Present {
    /// Reads such a line.
    pub fn parse(line: &str) -> Option<Self> {
        let Some(era) = line.strip_prefix("era ") else {
            return Now::parse(line).map(Self::Done);
        };
        let (from, shift) = era.split_once(' ')?;
        Some(Self::Era(Era {
            from: from.parse().ok()?,
            shift: shift.parse().ok()?,
        }))
    }
}

/// What is done now, for which recipients (by ordinal) of which message.
pub type DoneNow = (Now, Id, u128);

impl Now {
    fn word(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Due => "due",
            Self::Waits(_) => "waits",
        }
    }

    /// A line of the answer to [`Question::Now`]; `recipients` by ordinal.
    pub fn put(self, id: Id, recipients: u128, lines: &mut String) {
        // A String takes all.
        let _ = write!(lines, "{} {id} {recipients:x}", self.word());
        if let Self::Waits(next) = self {
            let _ = write!(lines, " {next}");
        }
        lines.push('\n');
    }

    /// Reads such a line.
    pub fn parse(line: &str) -> Option<DoneNow> {
        let (word, rest) = line.split_once(' ')?;
        let (id, mask) = rest.split_once(' ')?;
        let (mask, next) = match mask.split_once(' ') {
            Some((mask, next)) => (mask, Some(next.parse().ok()?)),
            None => (mask, None),
        };
        let now = match (word, next) {
            ("trying", None) => Self::Trying,
            ("due", None) => Self::Due,
            ("waits", Some(next)) => Self::Waits(next),
            _ => return None,
        };
        Some((now, Id::parse(id)?, u128::from_str_radix(mask, 16).ok()?))
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Retry(Option<Id>),
    Drop(Id, Tell),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(None) => write!(f, "{PROTOCOL} retry"),
            Self::Retry(Some(id)) => write!(f, "{PROTOCOL} retry {id}"),
            Self::Drop(id, Tell::Nobody) => write!(f, "{PROTOCOL} drop {id}"),
            Self::Drop(id, Tell::Sender) => write!(f, "{PROTOCOL} drop {id} dsn"),
        }
    }
}

impl Request {
    /// The message that it is about; None: all.
    #[must_use]
    pub fn id(self) -> Option<Id> {
        match self {
            Self::Retry(id) => id,
            Self::Drop(id, _) => Some(id),
        }
    }

    /// Reads what Display wrote.
    ///
    /// # Errors
    /// One line.
    fn parse(line: &str) -> Result<Self, String> {
        let asked = line
            .strip_prefix(PROTOCOL)
            .ok_or_else(|| format!("this relay speaks {PROTOCOL:?}"))?;
        let words: Vec<&str> = asked.split_ascii_whitespace().take(4).collect();
        let id = |word: &str| Id::parse(word).ok_or_else(|| format!("{word:?} is no queue id"));
        match *words.as_slice() {
            ["retry"] => Ok(Self::Retry(None)),
            ["retry", word] => Ok(Self::Retry(Some(id(word)?))),
            ["drop", word] => Ok(Self::Drop(id(word)?, Tell::Nobody)),
            ["drop", word, "dsn"] => Ok(Self::Drop(id(word)?, Tell::Sender)),
            _ => Err(format!("{asked:?} is no request")),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// So many deliveries are due now.
    Due(usize),
    Removed(Removed),
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due(count) => write!(f, "ok {count}"),
            Self::Removed(removed) => write!(f, "ok {} {}", removed.recipients, removed.told),
        }
    }
}

impl Done {
    /// Reads an answer's line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let strange = || format!("the relay answers {line:?}");
        match line.split_once(' ') {
            Some(("no", why)) => Err(why.to_owned()),
            Some(("ok", figures)) => match figures.split_once(' ') {
                None => figures.parse().map(Self::Due).map_err(|_| strange()),
                Some((recipients, told)) => Ok(Self::Removed(Removed {
                    recipients: recipients.parse().map_err(|_| strange())?,
                    told: told.parse().map_err(|_| strange())?,
                })),
            },
            _ => Err(strange()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn requests_and_answers_are_read_as_they_are_written() {
        let id = Id::parse("1j0t7dfr3v2").expect("an id");
        for request in [
            Request::Retry(None),
            Request::Retry(Some(id)),
            Request::Drop(id, Tell::Nobody),
            Request::Drop(id, Tell::Sender),
        ] {
            let line = request.to_string();
            assert_eq!(Request::parse(&line), Ok(request));
            assert!(line.len() < limits::CONTROL_REQUEST);
        }
        let removed = Removed {
            recipients: 2,
            told: 1,
        };
        for done in [Done::Due(12), Done::Removed(removed)] {
            assert_eq!(Done::parse(&done.to_string()), Ok(done));
        }
        assert_eq!(Done::parse("no way"), Err("way".to_owned()));
    }

    #[test]
    fn questions_and_what_is_done_now_are_read_as_they_are_written() {
        let id = Id::parse("1j0t7dfr3v2").expect("an id");
        let retry = Question::Change(Request::Retry(Some(id)));
        for question in [
            Question::State,
            Question::Now,
            Question::Tls,
            Question::Certificates,
            retry,
        ] {
            assert_eq!(Question::parse(&question.to_string()), Ok(question));
        }
        let mut lines = String::new();
        Now::Trying.put(id, u128::MAX, &mut lines);
        Now::Due.put(id, 1, &mut lines);
        Now::Waits(7).put(id, 1, &mut lines);
        let era = Era {
            from: 7,
            shift: -12,
        };
        put_era(era, &mut lines);
        let read: Vec<_> = lines.lines().map(Present::parse).collect();
        let done = [
            (Now::Trying, id, u128::MAX),
            (Now::Due, id, 1),
            (Now::Waits(7), id, 1),
        ]
        .map(Present::Done);
        assert_eq!(
            read,
            [done[0], done[1], done[2], Present::Era(era)].map(Some)
        );
        for line in [
            "",
            "ok",
            "trying",
            "due 1j0t7dfr3v2",
            "due x 1",
            "is 1j0t7dfr3v2 1",
            "era 7",
            "due 1j0t7dfr3v2 1 7",
            "waits 1j0t7dfr3v2 1",
            "era 7 x",
        ] {
            assert_eq!(Present::parse(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_in_one_line() {
        for line in [
            "",
            "retry",
            "facteur-queue 1 retry",
            "facteur-queue 2",
            "facteur-queue 2 retry all",
            "facteur-queue 2 drop",
            "facteur-queue 2 drop 1j0t7dfr3v2 dsn please",
            "facteur-queue 2 list",
        ] {
            let why = Request::parse(line).expect_err(line);
            assert!(!why.contains('\n'), "{why}");
        }
        assert!(Done::parse("ok many").is_err() && Done::parse("").is_err());
    }
}
