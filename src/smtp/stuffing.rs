//! The body of a message on its way out: dot-stuffing (RFC 5321 4.5.2) and line ends.
//!
//! A chunk of the body comes back as slices of itself, with what must be added between them; nothing is copied. Whatever
//! the input, every line that goes out ends in CR LF and no CR or LF stands alone: a bare one becomes a line's end, and the
//! final dot always stands on a line of its own. So nothing inside a message can end it early for any peer, however
//! leniently that peer reads (SMTP smuggling).

use memchr::memchr2;

/// Remembers, between chunks, where in a line the output stands.
#[derive(Clone, Debug, Default)]
pub struct Stuffer {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    Inside,
    AfterCr,
}

impl Stuffer {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What to send for the next chunk of the body: the slices, in order.
    pub fn stuff<'a>(&'a mut self, chunk: &'a [u8]) -> Pieces<'a> {
        Pieces {
            place: &mut self.place,
            rest: chunk,
        }
    }

    /// What to send after the last chunk: the end of the last line, if that is missing, and the dot.
    #[must_use]
    pub fn finish(self) -> &'static [u8] {
        match self.place {
            Place::LineStart => b".\r\n",
            Place::Inside => b"\r\n.\r\n",
            Place::AfterCr => b"\n.\r\n",
        }
    }
}

/// The slices that [`Stuffer::stuff`] makes of a chunk. Read them all: the place in the line moves with them.
#[derive(Debug)]
pub struct Pieces<'a> {
    place: &'a mut Place,
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let first = *self.rest.first()?;
        match (*self.place, first) {
            (Place::LineStart, b'.') => {
                // The dot goes out now, and once more as the first octet of the next slice.
                *self.place = Place::Inside;
                Some(&self.rest[..1])
            }
            (Place::AfterCr, b'\n') => {
                let end = self.run_from(1);
                Some(self.split(end))
            }
            (Place::AfterCr, _) => {
                *self.place = Place::LineStart;
                Some(b"\n")
            }
            (_, b'\n') => {
                *self.place = Place::LineStart;
                self.rest = &self.rest[1..];
                Some(b"\r\n")
            }
            _ => {
                let end = self.run_to_line_end(0);
                Some(self.split(end))
            }
        }
    }
}

impl<'a> Pieces<'a> {
    /// Cuts the next slice. A slice that ends before a dot at the start of a line takes that dot along and leaves it.
    fn split(&mut self, end: usize) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &rest[end..];
        if *self.place == Place::LineStart && self.rest.first() == Some(&b'.') {
            *self.place = Place::Inside;
            return &rest[..=end];
        }
        &rest[..end]
    }

    /// The end of the longest slice that can go out as it is; `at` is the start of a line.
    fn run_from(&mut self, at: usize) -> usize {
        *self.place = Place::LineStart;
        match self.rest.get(at) {
            None | Some(b'.' | b'\n') => at,
            Some(_) => self.run_to_line_end(at),
        }
    }

    fn run_to_line_end(&mut self, mut at: usize) -> usize {
        loop {
            let Some(offset) = memchr2(b'\r', b'\n', &self.rest[at..]) else {
                *self.place = Place::Inside;
                return self.rest.len();
            };
            let found = at + offset;
            if self.rest[found] == b'\n' {
                *self.place = Place::Inside;
                return found;
            }
            if self.rest.get(found + 1) != Some(&b'\n') {
                *self.place = Place::AfterCr;
                return found + 1;
            }
            at = found + 2;
            *self.place = Place::LineStart;
            if matches!(self.rest.get(at), None | Some(b'.' | b'\n')) {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What goes out for a body that comes in these chunks.
    fn sent<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut stuffer = Stuffer::new();
        let mut out = Vec::new();
        for chunk in chunks {
            for piece in stuffer.stuff(chunk) {
                assert!(!piece.is_empty());
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(stuffer.finish());
        out
    }

    /// The body that a receiver makes of it, which must end exactly at the last octet.
    fn received(wire: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut lines = wire.split_inclusive(|&b| b == b'\n').peekable();
        while let Some(line) = lines.next() {
            assert!(line.ends_with(b"\r\n"), "a bare LF or a missing line end");
            let text = &line[..line.len() - 2];
            assert!(!text.contains(&b'\r'), "a bare CR");
            if text == b"." {
                assert!(lines.peek().is_none(), "ended early");
                return body;
            }
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        panic!("no end of data in {wire:?}")
    }

    #[test]
    fn bodies_and_what_goes_out() {
        for (body, wire) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..x\r\n", "...x\r\n.\r\n"),
            ("a\r\n.b\r\n.\r\n", "a\r\n..b\r\n..\r\n.\r\n"),
            ("a.b\r\n", "a.b\r\n.\r\n"),
            ("a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n.", "a\r\n\r\n..\r\n.\r\n"),
            ("\n\n", "\r\n\r\n.\r\n"),
            ("\0.\r\n", "\0.\r\n.\r\n"),
        ] {
            assert_eq!(sent([body.as_bytes()]), wire.as_bytes(), "{body:?}");
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let body = body.as_bytes();
                    let chunks = [&body[..first], &body[first..second], &body[second..]];
                    assert_eq!(sent(chunks), wire.as_bytes(), "{body:?} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn a_body_without_dots_goes_out_in_one_slice() {
        let body = b"Subject: x\r\n\r\none\r\ntwo.\r\n";
        let mut stuffer = Stuffer::new();
        let pieces: Vec<&[u8]> = stuffer.stuff(body).collect();
        assert_eq!(pieces, [body]);
    }

    proptest! {
        #[test]
        fn nothing_in_a_body_ends_it_early(
            octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x'), Just(0)], 0..64),
            cut in 0_usize..64,
        ) {
            let (one, two) = octets.split_at(cut.min(octets.len()));
            let wire = sent([one, two]);
            prop_assert_eq!(&wire, &sent([&octets[..]]));
            let body = received(&wire);
            // What a receiver gets is the body with each line end made CR LF.
            let text = String::from_utf8(octets).unwrap();
            let mut expected = text.replace("\r\n", "\n").replace('\r', "\n");
            if !expected.is_empty() && !expected.ends_with('\n') {
                expected.push('\n');
            }
            prop_assert_eq!(String::from_utf8(body).unwrap(), expected.replace('\n', "\r\n"));
        }
    }
}
