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
    /// What its header and body hold.
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
    /// The message is condemned from here on: what was kept of it is of no use. Told once, as early as can be; for what, its
    /// end tells.
    Doomed,
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
    /// Why, where that is not a fault of the message.
    doomed: Option<Reply>,
    /// Nothing more is kept.
    condemned: bool,
}

impl Intake {
    /// For DATA; `largest` is in octets.
    #[must_use]
    pub fn new(line_ends: LineEnds, largest: u64) -> Self {
        Self {
            scanner: Scanner::new(line_ends),
            line_ends,
            watch: Watch::default(),
            size: 0,
            largest,
            doomed: None,
            condemned: false,
        }
    }

    /// For a message in chunks (RFC 3030).
    #[must_use]
    pub fn of_chunks(line_ends: LineEnds, largest: u64) -> Self {
        let scanner = Scanner::of_chunks(line_ends);
        Self {
            scanner,
            ..Self::new(line_ends, largest)
        }
    }

    /// Condemns the message from outside; the first reason stays.
    pub fn doom(&mut self, refusal: Reply) {
        self.doomed.get_or_insert(refusal);
        self.condemned = true;
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
                    if let Some(taken) = self.piece(text) {
                        return (used, taken);
                    }
                }
            }
        }
    }

    /// After the last octet of the last chunk: what was still held back, a piece a call, then the end.
    pub fn finish(&mut self) -> Taken<'static> {
        while let Some(Piece::Text(text)) = self.scanner.finish() {
            if let Some(taken) = self.piece(text) {
                return taken;
            }
        }
        Taken::End(self.end())
    }

    /// What is to be done with a piece; None: nothing.
    fn piece<'a>(&mut self, text: &'a [u8]) -> Option<Taken<'a>> {
        self.size += text.len() as u64;
        self.watch.see(text);
        if self.size > self.largest.saturating_mul(2) {
            return Some(Taken::FarTooBig);
        }
        if self.condemned {
            return None;
        }
        if self.fault().is_none() {
            return Some(Taken::Text(text));
        }
        self.condemned = true;
        Some(Taken::Doomed)
    }

    /// The worst fault so far: what comes first here is named, in whatever order and reads they came in.
    fn fault(&self) -> Option<Reply> {
        if self.line_ends == LineEnds::Strict && self.scanner.bare() {
            Some(reply::BARE_IN_DATA)
        } else if self.watch.seen().received > limits::RECEIVED_LINES {
            Some(reply::MAIL_LOOP)
        } else if self.size > self.largest {
            Some(reply::TOO_BIG)
        } else {
            None
        }
    }

    fn end(&self) -> Result<Summary, Reply> {
        // A strict scanner may find a bare line end behind the last piece of text. A fault of the message's own is named before
        // a trouble of ours: it would be there at the next try, too.
        match self.fault().or(self.doomed) {
            Some(refusal) => Err(refusal),
            None => Ok(Summary {
                size: self.size,
                seen: self.watch.seen(),
                mended: self.scanner.bare(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads to the end in pieces of so many octets.
    fn end_by(mut intake: Intake, message: &str, step: usize) -> Result<u64, Reply> {
        let mut doomed = false;
        for mut input in message.as_bytes().chunks(step) {
            loop {
                let (used, taken) = intake.take(input);
                input = &input[used..];
                match taken {
                    Taken::End(end) => {
                        assert!(!doomed || end.is_err(), "{message:?}");
                        return end.map(|summary| summary.size);
                    }
                    Taken::FarTooBig => return Err(reply::FAR_TOO_BIG),
                    Taken::Doomed => assert!(!std::mem::replace(&mut doomed, true), "told once"),
                    Taken::Text(_) => assert!(!doomed, "nothing is kept of a condemned message"),
                    Taken::Nothing => break,
                }
            }
        }
        panic!("no end in {message:?}")
    }

    fn end(message: &str, line_ends: LineEnds) -> Result<u64, Reply> {
        end_by(Intake::new(line_ends, 100), message, message.len())
    }

    #[test]
    fn of_several_faults_the_same_is_named_at_every_split() {
        let received = "Received: x\r\n".repeat(limits::RECEIVED_LINES + 1);
        let largest = received.len() as u64;
        for (faults, expected) in [
            (
                received.clone() + "too big\r\na\nb\r\n",
                reply::BARE_IN_DATA,
            ),
            (format!("a:\n{received}too big"), reply::BARE_IN_DATA),
            (format!("a:\r\n{received}"), reply::MAIL_LOOP),
            ("x".repeat(received.len()), reply::TOO_BIG),
            (format!("a\nb{}", received.repeat(2)), reply::FAR_TOO_BIG),
        ] {
            let message = faults + "\r\n.\r\n";
            for step in [1, 2, 3, 7, 1_000, message.len()] {
                let intake = Intake::new(LineEnds::Strict, largest);
                assert_eq!(end_by(intake, &message, step), Err(expected), "{step}");
            }
        }
    }

    #[test]
    fn a_fault_of_the_message_is_named_before_ours() {
        for (text, expected) in [
            ("a\nb\r\n.\r\n", reply::BARE_IN_DATA),
            ("ab\r\n.\r\n", reply::SPOOL_FULL),
        ] {
            let mut intake = Intake::new(LineEnds::Strict, 100);
            intake.doom(reply::SPOOL_FULL);
            assert_eq!(end_by(intake, text, 1), Err(expected));
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
        let expected = [
            Ok(100),
            Err(reply::TOO_BIG),
            Err(reply::TOO_BIG),
            Err(reply::FAR_TOO_BIG),
        ];
        assert_eq!([of(100), of(101), of(200), of(201)], expected);
    }

    #[test]
    fn a_bare_line_end_condemns_only_where_they_are_strict() {
        for message in [
            "a\nb\r\n.\r\n",
            "a\r\r\n.\r\n",
            "\n\r\n.\r\n",
            "a\nb\r\nc\r\n.x\r\n.\r\n",
        ] {
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
        for (lines, loops) in [
            (limits::RECEIVED_LINES, false),
            (limits::RECEIVED_LINES + 1, true),
        ] {
            let message = "Received: x\r\n".repeat(lines) + "\r\n.\r\n";
            let end = end_by(Intake::new(LineEnds::Strict, 1 << 20), &message, 1_000);
            assert_eq!(end.err(), loops.then_some(reply::MAIL_LOOP));
        }
    }
}
