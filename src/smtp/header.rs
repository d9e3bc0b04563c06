//! What a message's header tells as it streams by.

/// The longest field name that is looked for, with its colon.
const NAME: usize = 11;

/// What was seen of a message so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Received lines (RFC 5321 6.3).
    pub received: usize,
    /// A Date field.
    pub date: bool,
    /// A Message-ID field.
    pub message_id: bool,
    /// An octet above 127 in the header.
    pub eight_bit_header: bool,
    /// An octet above 127 in the body.
    pub eight_bit_body: bool,
    /// The first line is no header field: a blank line must stand between it and the lines that are put before it.
    pub no_header: bool,
    /// The first line is a mailbox's `From ` line, which some scripts leave in and which no header may hold.
    pub from_line: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a line's first octets, this many of them kept.
    Name(usize),
    /// In white space between a name of so many octets and its colon (obsolete, RFC 5322 4.5, and in use).
    BeforeColon(usize),
    /// In a header line whose name is known.
    Rest,
    Body,
}

/// Watches the pieces of a message pass.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    seen: Seen,
    place: Place,
    name: [u8; NAME],
    first_line: bool,
    /// An octet above 127 in a line that may yet turn out to be no field, but the body's first.
    eight_bit_line: bool,
    /// The last octet was CR.
    after_cr: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            seen: Seen::default(),
            place: Place::Name(0),
            name: [0; NAME],
            first_line: true,
            eight_bit_line: false,
            after_cr: false,
        }
    }
}

impl Watch {
    /// What was seen so far. A last line that has neither a colon nor an end (RFC 3030) is none of the header's.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let mut all = *self;
        if matches!(self.place, Place::Name(1..) | Place::BeforeColon(_)) {
            all.not_a_field();
        }
        all.seen
    }

    /// Takes the next piece, with CR LF line ends and dots removed.
    pub fn see(&mut self, piece: &[u8]) {
        for (at, &byte) in piece.iter().enumerate() {
            if self.place == Place::Body {
                self.seen.eight_bit_body |= !piece[at..].is_ascii();
                return;
            }
            self.header_octet(byte);
        }
    }

    fn header_octet(&mut self, byte: u8) {
        match self.place {
            Place::Name(_) | Place::BeforeColon(_) => self.eight_bit_line |= byte > 127,
            Place::Rest | Place::Body => self.seen.eight_bit_header |= byte > 127,
        }
        let line_end = self.after_cr && byte == b'\n';
        self.after_cr = byte == b'\r';
        match self.place {
            Place::Name(_) if line_end => self.nameless_line(),
            Place::Rest if line_end => {
                self.place = Place::Name(0);
                self.first_line = false;
            }
            Place::Name(kept) => self.name_octet(kept, byte),
            Place::BeforeColon(_) if line_end => self.not_a_field(),
            Place::BeforeColon(kept) => match byte {
                b':' => self.field(kept),
                b' ' | b'\t' | b'\r' => {}
                _ if self.is_from_line(kept) => {
                    self.seen.from_line = true;
                    self.go_on_in_header();
                }
                _ => self.not_a_field(),
            },
            Place::Rest | Place::Body => {}
        }
    }

    fn name_octet(&mut self, kept: usize, byte: u8) {
        if byte == b':' {
            self.field(kept);
        } else if kept == 0 && (byte == b' ' || byte == b'\t') && !self.first_line {
            self.place = Place::Rest; // a continuation line
        } else if kept > 0 && (byte == b' ' || byte == b'\t') {
            self.place = Place::BeforeColon(kept);
        } else if byte != b'\r' && !(33..=126).contains(&byte) && byte < 128 {
            self.not_a_field();
        } else {
            if kept < NAME {
                self.name[kept] = byte;
            }
            self.place = Place::Name(kept.saturating_add(1));
        }
    }

    /// A mailbox's `From ann@example.org Mon …`, or the same quoted.
    fn is_from_line(&self, kept: usize) -> bool {
        self.first_line && matches!(&self.name[..kept.min(NAME)], b"From" | b">From")
    }

    fn field(&mut self, kept: usize) {
        let name = &self.name[..kept.min(NAME)];
        let is = |wanted: &[u8]| kept == wanted.len() && name.eq_ignore_ascii_case(wanted);
        self.seen.received += usize::from(is(b"Received"));
        self.seen.date |= is(b"Date");
        self.seen.message_id |= is(b"Message-ID");
        if kept == 0 {
            self.not_a_field();
        } else {
            self.go_on_in_header();
        }
    }

    fn go_on_in_header(&mut self) {
        self.seen.eight_bit_header |= core::mem::take(&mut self.eight_bit_line);
        self.place = Place::Rest;
    }

    /// A line without a colon: empty, it ends the header; otherwise the body has begun without one.
    fn nameless_line(&mut self) {
        let empty = self.place == Place::Name(1);
        if empty {
            self.place = Place::Body;
        } else {
            self.not_a_field();
        }
    }

    fn not_a_field(&mut self) {
        self.seen.no_header |= self.first_line;
        self.seen.eight_bit_body |= core::mem::take(&mut self.eight_bit_line);
        self.place = Place::Body;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(message: &str, step: usize) -> Seen {
        let mut watch = Watch::default();
        message
            .as_bytes()
            .chunks(step)
            .for_each(|piece| watch.see(piece));
        watch.seen()
    }

    #[test]
    fn fields_are_counted_at_every_split() {
        let message = "Received: a\r\n\tReceived: folded\r\nreceived: b\r\nX-Received: c\r\nDate: d\r\nMESSAGE-id: <e>\r\n\
                       \r\nReceived: body\r\n";
        for step in 1..message.len() {
            let expected = Seen {
                received: 2,
                date: true,
                message_id: true,
                ..Seen::default()
            };
            assert_eq!(seen(message, step), expected, "{step}");
        }
    }

    #[test]
    fn eight_bits_are_found_where_they_are() {
        for step in 1..20 {
            let header = seen("Subject: \u{e9}\r\n\r\nx\r\n", step);
            assert!(header.eight_bit_header && !header.eight_bit_body);
            let body = seen("Subject: e\r\n\r\n\u{e9}\r\n", step);
            assert!(!body.eight_bit_header && body.eight_bit_body);
            for text in [
                "Gr\u{fc}\u{df}e an alle\r\n",
                "Gr\u{fc}\u{df}e\r\n",
                "Gr\u{fc}\u{df}e",
                "Subject: e\r\nGr\u{fc}\u{df}e an alle\r\n",
                "e \u{e9}\r\n",
            ] {
                let line = seen(text, step);
                assert!(
                    !line.eight_bit_header && line.eight_bit_body,
                    "{text:?} {step}"
                );
            }
            for text in [
                "x\u{e9}: y\r\n",
                "Date: x\r\n \u{e9}\r\n",
                "From \u{e9} Mon\r\n",
            ] {
                let line = seen(text, step);
                assert!(
                    line.eight_bit_header && !line.eight_bit_body,
                    "{text:?} {step}"
                );
            }
        }
    }

    #[test]
    fn a_message_without_header_is_told() {
        for step in 1..10 {
            for text in [
                "Hello there\r\n",
                "Hello\r\nDate: x\r\n",
                " x: y\r\n",
                ": x\r\n",
                "Hello",
                "Hello there",
            ] {
                assert!(seen(text, step).no_header, "{text:?} {step}");
                assert!(!seen(text, step).date);
            }
            for text in [
                "\r\nHello\r\n",
                "Date: x\r\nno field\r\n",
                "Date : x\r\n\r\n",
                "",
            ] {
                assert!(!seen(text, step).no_header, "{text:?} {step}");
            }
            assert!(seen("Date : x\r\n\r\n", step).date);
            let mailbox = seen("From a@b Mon\r\nDate: x\r\n\r\n", step);
            assert!(mailbox.from_line && mailbox.date && !mailbox.no_header);
            assert!(seen(">From a\r\n", step).from_line && !seen("From : a@b\r\n", step).from_line);
            assert_eq!(seen("Received \t: x\r\nreceived: y\r\n", step).received, 2);
            assert!(!seen("Subject: x\r\nDate x: y\r\n", step).date);
        }
    }
}
