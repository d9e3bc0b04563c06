//! Lines cut from a buffer: CR LF and nothing else ends one.

use crate::limits;
use memchr::memchr2;

/// Cuts command lines; keeps one fact between reads: whether an over-long line is being skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The line's first octets, where one is being skipped.
    skipping: Option<Start>,
    /// The last skipped byte was CR.
    after_cr: bool,
}

/// The first octets of an over-long line: enough to tell what it was meant to be.
pub type Start = [u8; 8];

/// What stands at the front of the input, and how much of it that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole line.
    Line {
        /// The line without its CR LF.
        text: &'a [u8],
        /// The octets it took, with them.
        used: usize,
    },
    /// No whole line yet. What is behind `used` must be shown again, with more behind it.
    Partial {
        /// The octets that are done with.
        used: usize,
    },
    /// An over-long line has come to its end.
    TooLong {
        /// How it began.
        start: Start,
        /// The octets it took since it was last looked at, with its CR LF.
        used: usize,
    },
    /// A CR without LF, or a LF without CR: who sends it sees other lines than we do.
    Bare {
        /// What stands before it, or nothing where that is over-long.
        text: &'a [u8],
    },
}

impl Lines {
    /// Looks at the front of the input.
    pub fn cut<'a>(&mut self, input: &'a [u8]) -> Cut<'a> {
        if let Some(start) = self.skipping {
            return self.skip(start, input);
        }
        let Some(end) = memchr2(b'\r', b'\n', input) else {
            return self.partial(input);
        };
        match (input[end], input.get(end + 1)) {
            (b'\r', Some(b'\n')) if end + 2 <= limits::COMMAND_LINE => Cut::Line {
                text: &input[..end],
                used: end + 2,
            },
            (b'\r', Some(b'\n')) => Cut::TooLong {
                start: start(input),
                used: end + 2,
            },
            (b'\r', None) => self.partial(input),
            // Had it come octet by octet, it would have been skipped by now: the text must not hang on that.
            (b'\r', Some(_)) if end + 1 >= limits::COMMAND_LINE => Cut::Bare { text: b"" },
            _ if end >= limits::COMMAND_LINE => Cut::Bare { text: b"" },
            _ => Cut::Bare {
                text: &input[..end],
            },
        }
    }

    fn partial<'a>(&mut self, input: &'a [u8]) -> Cut<'a> {
        if input.len() < limits::COMMAND_LINE {
            return Cut::Partial { used: 0 };
        }
        self.skipping = Some(start(input));
        self.after_cr = input.last() == Some(&b'\r');
        Cut::Partial { used: input.len() }
    }

    fn skip<'a>(&mut self, start: Start, input: &'a [u8]) -> Cut<'a> {
        for (at, byte) in input.iter().enumerate() {
            match (self.after_cr, byte) {
                (true, b'\n') => {
                    *self = Self::default();
                    return Cut::TooLong {
                        start,
                        used: at + 1,
                    };
                }
                (false, b'\r') => self.after_cr = true,
                (false, b'\n') | (true, _) => return Cut::Bare { text: &input[..0] },
                (false, _) => {}
            }
        }
        Cut::Partial { used: input.len() }
    }
}

fn start(input: &[u8]) -> Start {
    input.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input in pieces of `step` bytes, keeping what was not used, and says what was cut.
    fn cut_all(input: &[u8], step: usize) -> Vec<String> {
        let (mut lines, mut kept, mut seen) = (Lines::default(), Vec::new(), Vec::new());
        for piece in input.chunks(step) {
            kept.extend_from_slice(piece);
            loop {
                let (word, used) = match lines.cut(&kept) {
                    Cut::Line { text, used } => (String::from_utf8_lossy(text).into_owned(), used),
                    Cut::TooLong { start, used } => {
                        assert_eq!(&start, b"xxxxxxxx");
                        ("(too long)".into(), used)
                    }
                    Cut::Bare { text } => {
                        let start = String::from_utf8_lossy(&text[..text.len().min(4)]);
                        seen.push(format!("{start}(bare)"));
                        return seen;
                    }
                    Cut::Partial { used } => {
                        kept.drain(..used);
                        break;
                    }
                };
                seen.push(word);
                kept.drain(..used);
            }
            assert!(
                kept.len() < limits::COMMAND_LINE,
                "a partial line is bounded"
            );
        }
        seen
    }

    #[test]
    fn lines_are_the_same_at_every_split() {
        let long = [
            b"x".repeat(limits::COMMAND_LINE - 1),
            b"\r\nNOOP\r\n".to_vec(),
        ]
        .concat();
        for step in 1..40 {
            assert_eq!(
                cut_all(b"EHLO a\r\n\r\nQUIT\r\n", step),
                ["EHLO a", "", "QUIT"]
            );
            assert_eq!(cut_all(&long, step), ["(too long)", "NOOP"]);
        }
        assert_eq!(cut_all(&long, long.len()), ["(too long)", "NOOP"]);
    }

    #[test]
    fn the_longest_line_that_fits_is_a_line() {
        let fits = [b"x".repeat(limits::COMMAND_LINE - 2), b"\r\n".to_vec()].concat();
        for step in [1, 7, fits.len()] {
            assert_eq!(cut_all(&fits, step), ["x".repeat(limits::COMMAND_LINE - 2)]);
        }
    }

    #[test]
    fn a_bare_cr_or_lf_is_told() {
        let skipped = |end: &str| ["x".repeat(3_000), end.into()].concat().into_bytes();
        for step in [1, 2, 5_000] {
            for input in [
                b"NOOP\nQUIT\r\n".to_vec(),
                b"NOOP\rQUIT\r\n".to_vec(),
                b"NOOP\r\r\n".to_vec(),
            ] {
                assert_eq!(cut_all(&input, step), ["NOOP(bare)"], "{input:?}");
            }
            assert_eq!(cut_all(&skipped("\nQUIT\r\n"), step), ["(bare)"]);
            assert_eq!(cut_all(&skipped("\rQUIT\r\n"), step), ["(bare)"]);
        }
    }

    #[test]
    fn what_stands_before_a_bare_cr_or_lf_is_the_same_at_every_split() {
        for before in limits::COMMAND_LINE - 3..limits::COMMAND_LINE + 3 {
            for end in ["\nQUIT\r\n", "\rQUIT\r\n"] {
                let input = ["x".repeat(before), end.into()].concat().into_bytes();
                let whole = cut_all(&input, input.len());
                for step in [1, 2, 2_047, 2_048, 2_049] {
                    assert_eq!(cut_all(&input, step), whole, "{before} {end:?} {step}");
                }
            }
        }
    }
}
