//! Message data as it arrives: end of data, dots removed, line ends put right or found wrong.
//!
//! CR LF `.` CR LF ends a message and nothing else does (RFC 5321 4.1.1.4, 4.5.2). A scanner that also believed in LF or CR
//! alone would see two messages where the sender's filter saw one: that is SMTP smuggling.

use memchr::memchr2;

/// What a CR or LF that stands alone is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// An error, told by [`Scanner::bare`]; the data is read on to its real end.
    Strict,
    /// A line end, made CR LF: printers, cameras and scripts send bare LF. It is never part of an end of data.
    Mended,
}

/// A piece of the message as it should be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Octets to keep, in order.
    Text(&'a [u8]),
    /// The end of data was read.
    End,
}

/// What was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// CR LF, or nothing yet.
    LineStart,
    /// CR LF `.`: the dot is dropped, whatever follows.
    Dot,
    /// CR LF `.` CR.
    DotCr,
    /// Inside a line.
    Text,
    /// This many CRs that are not passed on yet.
    Cr(u32),
    /// This many CRs turned out to be bare: each becomes a line end.
    BareCr(u32),
}

/// Reads message data at any split into pieces.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    place: Place,
    line_ends: LineEnds,
    /// A dot at a line's start is the sender's addition (RFC 5321 4.5.2), and alone it is the end.
    stuffed: bool,
    bare: bool,
}

impl Scanner {
    /// For DATA.
    #[must_use]
    pub fn new(line_ends: LineEnds) -> Self {
        Self {
            place: Place::LineStart,
            line_ends,
            stuffed: true,
            bare: false,
        }
    }

    /// For BDAT (RFC 3030): counted octets, in which dots mean nothing.
    #[must_use]
    pub fn of_chunks(line_ends: LineEnds) -> Self {
        Self {
            stuffed: false,
            ..Self::new(line_ends)
        }
    }

    /// After the last octet of counted data: what was still held back, a piece a call.
    pub fn finish(&mut self) -> Option<Piece<'static>> {
        let (Place::Cr(held) | Place::BareCr(held)) = self.place else {
            return None;
        };
        self.bare = true;
        self.place = if held > 1 {
            Place::BareCr(held - 1)
        } else {
            Place::Text
        };
        (held > 0).then_some(Piece::Text(b"\r\n"))
    }

    /// Whether a CR or LF stood alone so far.
    #[must_use]
    pub fn bare(&self) -> bool {
        self.bare
    }

    /// The next piece, and how many bytes of the input it took; `None` once all of the input is used.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            match (self.place, byte) {
                (Place::LineStart, b'.') if self.stuffed => {
                    self.place = Place::Dot;
                    used += 1;
                }
                (Place::Dot, b'\r') => {
                    self.place = Place::DotCr;
                    used += 1;
                }
                (Place::DotCr, b'\n') => {
                    self.place = Place::LineStart;
                    return (used + 1, Some(Piece::End));
                }
                (Place::DotCr, _) => self.place = Place::Cr(1),
                (Place::Cr(_), b'\n') => {
                    self.place = Place::LineStart;
                    return (used + 1, Some(Piece::Text(b"\r\n")));
                }
                (Place::Cr(held), b'\r') => {
                    self.bare = true;
                    self.place = Place::Cr(held.saturating_add(1));
                    used += 1;
                }
                (Place::Cr(held), _) => {
                    self.bare = true;
                    self.place = Place::BareCr(held);
                }
                (Place::BareCr(0), _) => self.place = Place::Text,
                (Place::BareCr(held), _) => {
                    self.place = Place::BareCr(held - 1);
                    return (used, Some(Piece::Text(b"\r\n")));
                }
                (Place::LineStart | Place::Dot | Place::Text, _) => {
                    let (more, text) = self.text(&input[used..]);
                    used += more;
                    if !text.is_empty() {
                        return (used, Some(Piece::Text(text)));
                    }
                }
            }
        }
        (used, None)
    }

    /// The longest run that can be kept as it is: whole chunks of ordinary text come out as one slice.
    fn text<'a>(&mut self, input: &'a [u8]) -> (usize, &'a [u8]) {
        let mut at = 0;
        self.place = Place::Text;
        while let Some(found) = memchr2(b'\r', b'\n', &input[at..]) {
            let end = at + found;
            if input[end] == b'\n' {
                self.bare = true;
                match self.line_ends {
                    LineEnds::Strict => at = end + 1,
                    LineEnds::Mended if end == 0 => return (1, b"\r\n"),
                    LineEnds::Mended => return (end, &input[..end]),
                }
            } else if input.get(end + 1) == Some(&b'\n') {
                at = end + 2;
                if matches!(input.get(at), None | Some(b'.')) {
                    self.place = Place::LineStart;
                    return (at, &input[..at]);
                }
            } else {
                self.place = Place::Cr(1);
                return (end + 1, &input[..end]);
            }
        }
        (input.len(), input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans in pieces cut at the given places; what was kept, how often it ended, and whether a line end was bare.
    fn scan(input: &[u8], cuts: &[usize], line_ends: LineEnds) -> (Vec<u8>, usize, bool) {
        let (mut scanner, mut kept, mut ends, mut from) =
            (Scanner::new(line_ends), Vec::new(), 0, 0);
        for &to in cuts.iter().chain([&input.len()]) {
            let mut piece = &input[from..to];
            loop {
                let (used, found) = scanner.next(piece);
                piece = &piece[used..];
                match found {
                    Some(Piece::Text(text)) => kept.extend_from_slice(text),
                    Some(Piece::End) => ends += 1,
                    None => break,
                }
            }
            assert!(piece.is_empty(), "everything is used");
            from = to;
        }
        (kept, ends, scanner.bare())
    }

    /// Every split into three pieces, and one byte at a time.
    fn at_every_split(input: &[u8], check: impl Fn(&[usize])) {
        for first in 0..=input.len() {
            for second in first..=input.len() {
                check(&[first, second]);
            }
        }
        check(&(0..input.len()).collect::<Vec<_>>());
    }

    #[test]
    fn legal_data_is_kept_byte_for_byte() {
        for (sent, kept) in [
            (".\r\n", ""),
            ("a\r\n.\r\n", "a\r\n"),
            ("..\r\n...\r\n.x\r\n\r\n.\r\n", ".\r\n..\r\nx\r\n\r\n"),
            ("a.\r\nb .\r\n.\r\n", "a.\r\nb .\r\n"),
            ("\0\u{e9}\t\r\n.\r\n", "\0\u{e9}\t\r\n"),
        ] {
            for line_ends in [LineEnds::Strict, LineEnds::Mended] {
                at_every_split(sent.as_bytes(), |cuts| {
                    let expected = (kept.as_bytes().to_vec(), 1, false);
                    assert_eq!(
                        scan(sent.as_bytes(), cuts, line_ends),
                        expected,
                        "{sent:?} at {cuts:?}"
                    );
                });
            }
        }
    }

    #[test]
    fn no_false_end_ends_a_message() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r\n.\r\r\n",
            "\r.\r\n",
            "\r\r.\r\r",
            "\n\n.\n\n",
            "\r\n.\r\0\n",
            "\n.\r",
            "\r\n..\r\n",
        ] {
            let sent = format!("a{end}MAIL FROM:<x@y>\r\n.\r\n");
            for line_ends in [LineEnds::Strict, LineEnds::Mended] {
                at_every_split(sent.as_bytes(), |cuts| {
                    let (kept, ends, _) = scan(sent.as_bytes(), cuts, line_ends);
                    assert_eq!(ends, 1, "{end:?} at {cuts:?}");
                    assert!(
                        kept.ends_with(b"MAIL FROM:<x@y>\r\n"),
                        "{end:?} at {cuts:?}"
                    );
                });
            }
        }
    }

    #[test]
    fn dots_mean_nothing_in_chunks() {
        let sent = b".\r\n..\r\n\r\n.\r\nend\r";
        at_every_split(sent, |cuts| {
            let (mut scanner, mut kept, mut from) =
                (Scanner::of_chunks(LineEnds::Mended), Vec::new(), 0);
            for &to in cuts.iter().chain([&sent.len()]) {
                let mut piece = &sent[from..to];
                while let (used, Some(Piece::Text(text))) = scanner.next(piece) {
                    kept.extend_from_slice(text);
                    piece = &piece[used..];
                }
                from = to;
            }
            assert!(!scanner.bare(), "{cuts:?}");
            while let Some(Piece::Text(text)) = scanner.finish() {
                kept.extend_from_slice(text);
            }
            assert!(
                scanner.bare() && kept == b".\r\n..\r\n\r\n.\r\nend\r\n",
                "{cuts:?} {kept:?}"
            );
        });
    }

    #[test]
    fn strict_tells_what_stood_alone() {
        for (sent, bare) in [
            ("a\nb\r\n.\r\n", true),
            ("a\rb\r\n.\r\n", true),
            ("a\r\r\n.\r\n", true),
            ("\n\r\n.\r\n", true),
            (".\n\r\n.\r\n", true),
            ("a\r\n\r\n.\r\n", false),
        ] {
            at_every_split(sent.as_bytes(), |cuts| {
                let (_, ends, found) = scan(sent.as_bytes(), cuts, LineEnds::Strict);
                assert_eq!((ends, found), (1, bare), "{sent:?} at {cuts:?}");
            });
        }
    }

    #[test]
    fn mended_line_ends_are_cr_lf_and_never_part_of_an_end() {
        for (sent, kept) in [
            ("a\nb\r\n.\r\n", "a\r\nb\r\n"),
            ("a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\rb\r\n.\r\n", "a\r\nb\r\n"),
            ("a\r\rb\r\n.\r\n", "a\r\n\r\nb\r\n"),
            ("a\r\r\n.\r\n", "a\r\n"),
            ("a\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\nb\r\n"),
            ("a\n\n\r\n.\r\n", "a\r\n\r\n\r\n"),
            (".\nb\r\n.\r\n", "\r\nb\r\n"),
        ] {
            at_every_split(sent.as_bytes(), |cuts| {
                let (found, ends, bare) = scan(sent.as_bytes(), cuts, LineEnds::Mended);
                assert_eq!(
                    (String::from_utf8_lossy(&found).as_ref(), ends, bare),
                    (kept, 1, true),
                    "{sent:?} at {cuts:?}"
                );
            });
        }
    }
}
