//! The original: its header lines, as they go back, and whether the whole of it may.

use super::text::{LONGEST_LINE, quote_line};
use super::{Dsn, Form, Reader};
use crate::limits;

/// How the original's header lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// An octet above 127 that slipped in becomes `?`.
    SevenBit,
    EightBit,
    Quoted,
}

/// Lets the original's header lines through, bounded, and ends with them.
#[derive(Debug)]
pub struct HeaderLines {
    pub(super) coding: Coding,
    /// The line begun, without its line end; bounded by RFC 5322's 998.
    line: Vec<u8>,
    room: usize,
    ended: bool,
}

impl HeaderLines {
    /// Takes the message's next octets, appends what goes into the DSN. Returns false once nothing more is wanted.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> bool {
        for &octet in octets {
            match octet {
                _ if self.ended => break,
                b'\n' => self.end_line(out),
                // The rest of a line longer than 998 is cut off (RFC 5322 2.1.1).
                b'\r' => {}
                _ if self.line.len() < LONGEST_LINE => self.line.push(octet),
                _ => {}
            }
        }
        !self.ended
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        self.ended = line.is_empty() || line.len() + 2 > self.room;
        if self.ended {
            return;
        }
        self.room -= line.len() + 2;
        match self.coding {
            Coding::Quoted => quote_line(&line, out),
            Coding::EightBit => out.extend_from_slice(&line),
            Coding::SevenBit => {
                out.extend(line.iter().map(|&b| if b.is_ascii() { b } else { b'?' }))
            }
        }
        out.extend_from_slice(b"\r\n");
        self.line = line;
        self.line.clear();
    }
}

impl Dsn<'_> {
    /// What the original's octets are to be passed through.
    #[must_use]
    pub fn filter(&self) -> HeaderLines {
        HeaderLines {
            coding: match (self.form(), self.header_8bit) {
                (Form::Global, _) => Coding::EightBit,
                (Form::Ascii, true) => Coding::Quoted,
                (Form::Ascii, false) => Coding::SevenBit,
            },
            line: Vec::new(),
            room: match self.reader {
                Reader::Sender => limits::DSN_HEADER,
                Reader::Postmaster { .. } => limits::NOTE_HEADER,
            },
            ended: false,
        }
    }
}

/// Whether a whole message may be a part as it is (RFC 2045 2.7, 2.8): in lines of at most 998 octets, without NUL or a bare
/// CR or LF; and without octets above 127, unless the sender's own address has some.
///
/// Nobody knows yet whether the DSN's next hop takes 8BITMIME, there is no encoding for a part that is a message, and a DSN
/// that is refused is the end of it: of what does not fit the header goes back, which can be encoded.
#[derive(Debug)]
pub struct Fitness {
    eight_bit: bool,
    column: usize,
    last: u8,
    fits: bool,
}

impl Fitness {
    /// For a DSN to this address.
    #[must_use]
    pub fn for_reader(to: &str) -> Self {
        Self {
            eight_bit: !to.is_ascii(),
            column: 0,
            last: 0,
            fits: true,
        }
    }

    /// Takes the message's next octets. False: it does not fit.
    pub fn push(&mut self, octets: &[u8]) -> bool {
        for &octet in octets {
            let after_cr = self.last == b'\r';
            self.fits &= match octet {
                0 => false,
                b'\n' => after_cr,
                _ if after_cr => false,
                _ => self.eight_bit || octet.is_ascii(),
            };
            self.column = match octet {
                b'\n' => 0,
                b'\r' => self.column,
                _ => self.column + 1,
            };
            self.fits &= self.column <= LONGEST_LINE;
            self.last = octet;
        }
        self.fits
    }

    /// Whether all that came fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.fits && self.last != b'\r'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_mime_allows_for_a_part_that_is_a_message_goes_back_whole() {
        let line = |length| format!("{}\r\n", "x".repeat(length)).into_bytes();
        for (octets, to_ascii, to_utf8) in [
            (b"Subject: x\r\n\r\nhi\r\n".to_vec(), true, true),
            ("Subject: \u{e9}\r\n\r\nhi\r\n".into(), false, true),
            (b"\xff\r\n".to_vec(), false, true),
            (b"a\0\r\n".to_vec(), false, false),
            (b"a\rb\r\n".to_vec(), false, false),
            (b"a\nb\r\n".to_vec(), false, false),
            (b"a\r\r\n".to_vec(), false, false),
            (b"no line end".to_vec(), true, true),
            (b"half of one\r".to_vec(), false, false),
            (line(998), true, true),
            (line(999), false, false),
            ("x".repeat(999).into(), false, false),
        ] {
            for (to, fits) in [("ann@a.test", to_ascii), ("\u{e4}nn@a.test", to_utf8)] {
                let mut fitness = Fitness::for_reader(to);
                for octet in &octets {
                    fitness.push(std::slice::from_ref(octet));
                }
                let text = String::from_utf8_lossy(&octets);
                assert_eq!(fitness.fits(), fits, "{to} {text:?}");
            }
        }
    }
}
