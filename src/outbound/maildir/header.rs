//! The message's own Return-Path lines, taken out of its header as it streams by: the delivery writes its own.

/// The field that is taken out. A colon follows.
const NAME: &[u8] = b"return-path";

/// The most octets that are held back from one piece to the next.
pub const MOST_HELD: usize = NAME.len();

/// Lets everything through but Return-Path fields of the header, with their continuation lines.
#[derive(Debug, Default)]
pub struct WithoutReturnPath {
    at: At,
    /// The octets that may be the field's name, as the message writes them.
    held: [u8; MOST_HELD],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    /// At the start of the line behind one that was taken out.
    StartBehindField,
    /// Behind a CR at the start of a line.
    PerhapsEnd,
    /// So many octets of a line are those of the name.
    Name(usize),
    Line,
    Field,
    Body,
}

impl WithoutReturnPath {
    /// Gives the octets of this piece that stay to `keep`, in order.
    pub fn pass(&mut self, piece: &[u8], mut keep: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(&octet) = rest.first() {
            let take = match self.at {
                At::Body => rest.len(),
                At::Line | At::Field => memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1),
                _ => 1,
            };
            let (taken, behind) = rest.split_at(take);
            let ends = taken.last() == Some(&b'\n');
            let next = match (self.at, octet) {
                (At::Body, _) => At::Body,
                (At::Line, _) if ends => At::Start,
                (At::Field, _) if ends => At::StartBehindField,
                (same @ (At::Line | At::Field), _) => same,
                (At::StartBehindField, b' ' | b'\t') => At::Field,
                (At::Name(count), b':') if count == NAME.len() => At::Field,
                (At::Start | At::StartBehindField, octet) if is_name(0, octet) => At::Name(1),
                (At::Name(count), octet) if is_name(count, octet) => At::Name(count + 1),
                (At::Start | At::StartBehindField, b'\r') => At::PerhapsEnd,
                (At::Start | At::StartBehindField | At::PerhapsEnd, b'\n') => At::Body,
                (At::Name(_), b'\n') => At::Start,
                (At::Start | At::StartBehindField | At::PerhapsEnd | At::Name(_), _) => At::Line,
            };
            match (self.at, next) {
                (_, At::Name(count)) => self.hold(count, octet),
                (_, At::Field | At::StartBehindField) => {}
                (At::Name(count), _) => {
                    keep(self.held.get(..count).unwrap_or_default());
                    keep(taken);
                }
                _ => keep(taken),
            }
            self.at = next;
            rest = behind;
        }
    }

    /// What is still held back when the message ends.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        match self.at {
            At::Name(count) => self.held.get(..count).unwrap_or_default(),
            _ => &[],
        }
    }

    fn hold(&mut self, count: usize, octet: u8) {
        if let Some(place) = self.held.get_mut(count - 1) {
            *place = octet;
        }
    }
}

fn is_name(index: usize, octet: u8) -> bool {
    NAME.get(index)
        .is_some_and(|wanted| octet.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str, size: usize) -> String {
        let mut filter = WithoutReturnPath::default();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            filter.pass(piece, |kept| out.extend_from_slice(kept));
        }
        out.extend_from_slice(filter.held());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_header_s_return_path_is_taken_out_however_it_is_cut() {
        for (text, left) in [
            (
                "Return-Path: <a@b>\r\nSubject: x\r\n\r\nReturn-Path: stays\r\n",
                "Subject: x\r\n\r\nReturn-Path: stays\r\n",
            ),
            (
                "Subject: x\r\n y\r\nRETURN-PATH:\r\n\t<a@b>\r\n (c)\r\nTo: z\r\n\r\n",
                "Subject: x\r\n y\r\nTo: z\r\n\r\n",
            ),
            ("return-path: a\r\nreturn-path: b\r\n\r\n.\r\n", "\r\n.\r\n"),
            (
                "Return-Pathology: x\r\nReturn\r\nR",
                "Return-Pathology: x\r\nReturn\r\nR",
            ),
            (
                " Return-Path: folded\r\nreturn-path",
                " Return-Path: folded\r\nreturn-path",
            ),
            ("\r\nReturn-Path: body\r\n", "\r\nReturn-Path: body\r\n"),
            (
                "return-path: x\nA: b\n\nReturn-Path: c\n",
                "A: b\n\nReturn-Path: c\n",
            ),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(passed(text, size), left, "{text:?} in pieces of {size}");
            }
        }
    }
}
