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
    /// The message is condemned from here on: what was kept of it is of no use. Told once. Where a message has several
    /// faults, which of them is named hangs on how it came in; its end names the same.
    Doomed(Reply),
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
        if self.doomed.is_some() {
            return None;
        }
        let Some(why) = self.fault() else {
            return Some(Taken::Text(text));
        };
        self.doomed = Some(why);
        Some(Taken::Doomed(why))
    }

    fn fault(&self) -> Option<Reply> {
        if self.line_ends == LineEnds::Strict && self.scanner.bare() {
            Some(reply::BARE_IN_DATA)
        } else if self.size > self.largest {
            Some(reply::TOO_BIG)
        } else if self.watch.seen().received > limits::RECEIVED_LINES {
            Some(reply::MAIL_LOOP)
        } else {
            None
        }
    }

    fn end(&self) -> Result<Summary, Reply> {
        // A strict scanner may find a bare line end behind the last piece of text.
        match self.doomed.or_else(|| self.fault()) {
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

    /// Reads to the end; what condemned the message on the way must be what its end says.
    fn end(message: &str, line_ends: LineEnds) -> Result<u64, Reply> {
        let (mut intake, mut input) = (Intake::new(line_ends, 100), message.as_bytes());
        let mut doomed = None;
        loop {
            let (used, taken) = intake.take(input);
            input = &input[used..];
            match taken {
                Taken::End(end) => {
                    assert!(doomed.is_none() || end.err() == doomed, "{message:?}");
                    return end.map(|summary| summary.size);
                }
                Taken::FarTooBig => return Err(reply::FAR_TOO_BIG),
                Taken::Doomed(why) => assert_eq!(doomed.replace(why), None, "told once"),
                Taken::Text(_) => {
                    assert_eq!(doomed, None, "nothing is kept of a condemned message")
                }
                Taken::Nothing => panic!("no end in {message:?}"),
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
        let mut intake = Intake::new(LineEnds::Strict, 1 << 20);
        let message = "Received: x\r\n".repeat(limits::RECEIVED_LINES + 1) + "\r\n.\r\n";
        assert_eq!(
            intake.take(message.as_bytes()).1,
            Taken::Doomed(reply::MAIL_LOOP)
        );
    }
}
