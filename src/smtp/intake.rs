//! One message being read: its data, what it tells, and what condemns it.

use super::data::{LineEnds, Piece, Scanner};
use super::header::{Seen, Watch};
use super::reply::{self, Reply};
use crate::limits;

/// What a message was, told at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Octets, as kept.
    pub size: u64,
    pub seen: Seen,
    /// A CR or LF that stood alone was made CR LF.
    pub mended: bool,
}

/// What came out of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// All of it is used up.
    Nothing,
    /// A piece that is to be kept.
    Text(&'a [u8]),
    /// Twice the largest message: not worth reading on.
    FarTooBig,
    /// The end: the message, or the refusal that it earned.
    End(Result<Summary, Reply>),
}

/// Reads message data; a message that is condemned is read to its end and dropped.
#[derive(Clone, Copy, Debug)]
pub struct Intake {
    scanner: Scanner,
    line_ends: LineEnds,
    watch: Watch,
    size: u64,
    largest: u64,
    doomed: Option<Reply>,
}

impl Intake {
    /// `largest` is in octets.
    #[must_use]
    pub fn new(line_ends: LineEnds, largest: u64) -> Self {
        let scanner = Scanner::new(line_ends);
        Self {
            scanner,
            line_ends,
            watch: Watch::default(),
            size: 0,
            largest,
            doomed: None,
        }
    }

    /// Condemns the message from outside; the first reason stays.
    pub fn doom(&mut self, refusal: Reply) {
        self.doomed.get_or_insert(refusal);
    }

    /// Takes the front of the input: how much of it is used, and what came of it.
    pub fn take<'a>(&mut self, input: &'a [u8]) -> (usize, Taken<'a>) {
        let mut used = 0;
        loop {
            let (more, piece) = self.scanner.next(&input[used..]);
            used += more;
            match piece {
                None => return (used, Taken::Nothing),
                Some(Piece::End) => return (used, Taken::End(self.end())),
                Some(Piece::Text(text)) => {
                    self.note(text);
                    if self.size > self.largest.saturating_mul(2) {
                        return (used, Taken::FarTooBig);
                    }
                    if self.doomed.is_none() {
                        return (used, Taken::Text(text));
                    }
                }
            }
        }
    }

    fn note(&mut self, text: &[u8]) {
        self.size += text.len() as u64;
        self.watch.see(text);
        if self.size > self.largest {
            self.doom(reply::TOO_BIG);
        } else if self.watch.seen().received > limits::RECEIVED_LINES {
            self.doom(reply::MAIL_LOOP);
        }
    }

    fn end(&self) -> Result<Summary, Reply> {
        // A strict scanner may tell of a bare line end only behind the last piece of text.
        let bare = self.scanner.bare();
        match self.doomed {
            Some(refusal) => Err(refusal),
            None if bare && self.line_ends == LineEnds::Strict => Err(reply::BARE_IN_DATA),
            None => Ok(Summary {
                size: self.size,
                seen: self.watch.seen(),
                mended: bare,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(message: &str, line_ends: LineEnds) -> Result<u64, Reply> {
        let (mut intake, mut input) = (Intake::new(line_ends, 100), message.as_bytes());
        loop {
            match intake.take(input) {
                (_, Taken::End(end)) => return end.map(|summary| summary.size),
                (_, Taken::FarTooBig) => return Err(reply::FAR_TOO_BIG),
                (used, Taken::Text(_)) => input = &input[used..],
                (_, Taken::Nothing) => panic!("no end in {message:?}"),
            }
        }
    }

    #[test]
    fn the_size_limit_is_exact() {
        let of = |octets: usize| {
            end(
                &format!("{}\r\n.\r\n", "x".repeat(octets - 2)),
                LineEnds::Strict,
            )
        };
        assert_eq!(
            [of(100), of(101), of(200), of(201)],
            [
                Ok(100),
                Err(reply::TOO_BIG),
                Err(reply::TOO_BIG),
                Err(reply::FAR_TOO_BIG)
            ]
        );
    }

    #[test]
    fn a_bare_line_end_condemns_only_where_they_are_strict() {
        for message in ["a\nb\r\n.\r\n", "a\r\r\n.\r\n", "\n\r\n.\r\n"] {
            assert_eq!(
                end(message, LineEnds::Strict),
                Err(reply::BARE_IN_DATA),
                "{message:?}"
            );
            assert!(end(message, LineEnds::Mended).is_ok(), "{message:?}");
        }
    }

    #[test]
    fn a_loop_is_cut() {
        let mut intake = Intake::new(LineEnds::Strict, 1 << 20);
        let message = "Received: x\r\n".repeat(limits::RECEIVED_LINES + 1) + "\r\n.\r\n";
        let mut input = message.as_bytes();
        let end = loop {
            match intake.take(input) {
                (used, Taken::Text(_)) => input = &input[used..],
                (_, other) => break other,
            }
        };
        assert_eq!(end, Taken::End(Err(reply::MAIL_LOOP)));
    }
}
