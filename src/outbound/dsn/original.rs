//! The original's header lines, as they go back.

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
