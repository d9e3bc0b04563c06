//! Replaces addresses of the From field as a message streams by: a field is held back until its end, and nothing else is.

use crate::limits;
use crate::policy::sender::Senders;
use std::ops::Range;

/// The filter of one message.
#[derive(Debug, Default)]
pub(super) struct Filter {
    place: Place,
    /// A field that is, or may yet be, From.
    held: Vec<u8>,
    out: Vec<u8>,
    /// Octets that were added.
    added: u64,
    /// Octets that were taken away.
    removed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Held is the start of a line that may begin the field.
    #[default]
    Name,
    /// Held is the field, up to within a line.
    From,
    /// Held is the field, up to a line's end: a space goes on with it.
    FromLineEnd,
    /// In a line that goes out as it is.
    Other,
    /// Behind the header.
    Body,
}

impl Filter {
    /// What the filter takes at most beside a chunk: octets.
    pub const MEMORY: usize = limits::SPOOL_PART
        + 2 * limits::FROM_FIELD
        + limits::FROM_ADDRESSES * (limits::MAILBOX + size_of::<Range<usize>>());

    /// Whether the header is over: what follows needs no filter.
    pub fn is_done(&self) -> bool {
        self.place == Place::Body && self.held.is_empty()
    }

    /// The size of what goes out for a message of `size` octets, by what has passed.
    pub fn size(&self, size: u64) -> u64 {
        size.saturating_add(self.added).saturating_sub(self.removed)
    }

    /// Whether anything was replaced in what has passed.
    pub fn has_replaced(&self) -> bool {
        self.added > 0
    }

    /// What goes out for the next octets of the message.
    pub fn pass(&mut self, chunk: &[u8], senders: &Senders) -> &[u8] {
        self.out.clear();
        for (at, &byte) in chunk.iter().enumerate() {
            if self.place == Place::Body {
                self.out.extend_from_slice(&chunk[at..]);
                break;
            }
            self.take(byte, senders);
        }
        &self.out
    }

    /// What is held back at the message's end.
    pub fn finish(&mut self, senders: &Senders) -> &[u8] {
        self.out.clear();
        match self.place {
            Place::From | Place::FromLineEnd => self.release_field(senders),
            _ => self.release(),
        }
        self.place = Place::Body;
        &self.out
    }

    fn take(&mut self, byte: u8, senders: &Senders) {
        if self.place == Place::FromLineEnd {
            if !matches!(byte, b' ' | b'\t') {
                self.release_field(senders);
                self.place = Place::Name;
            } else {
                self.place = Place::From;
            }
        }
        match self.place {
            Place::Other => {
                self.out.push(byte);
                if byte == b'\n' {
                    self.place = Place::Name;
                }
            }
            Place::Name => {
                self.held.push(byte);
                self.name();
            }
            _ => {
                self.held.push(byte);
                if byte == b'\n' {
                    self.place = Place::FromLineEnd;
                }
                // Longer than any true one: it goes out as it is.
                if self.held.len() >= limits::FROM_FIELD {
                    self.release();
                    self.place = match byte {
                        b'\n' => Place::Name,
                        _ => Place::Other,
                    };
                }
            }
        }
    }

    /// What the line that is held becomes.
    fn name(&mut self) {
        const NAME: &[u8] = b"from";
        let held = &self.held[..];
        let (name, rest) = held.split_at(held.len().min(NAME.len()));
        if matches!(held, b"\r") {
            return;
        }
        if matches!(held, b"\r\n" | b"\n") {
            self.release();
            self.place = Place::Body;
        } else if !NAME[..name.len()].eq_ignore_ascii_case(name) || held.len() > limits::FROM_FIELD
        {
            let ended = held.ends_with(b"\n");
            self.release();
            self.place = if ended { Place::Name } else { Place::Other };
        } else {
            match rest.split_last() {
                Some((b':', _)) => self.place = Place::From,
                None | Some((b' ' | b'\t', _)) => {}
                Some((b'\n', _)) => {
                    self.release();
                    self.place = Place::Name;
                }
                Some(_) => {
                    self.release();
                    self.place = Place::Other;
                }
            }
        }
    }

    fn release(&mut self) {
        self.out.append(&mut self.held);
    }

    fn release_field(&mut self, senders: &Senders) {
        let colon = self.held.iter().position(|&byte| byte == b':');
        let body = colon.map_or(self.held.len(), |colon| colon + 1);
        let mut done = 0;
        for Range { start, end } in addresses(&self.held, body) {
            let address = str::from_utf8(&self.held[start..end]).unwrap_or_default();
            if let Some(by) = senders.instead_of(address) {
                self.out.extend_from_slice(&self.held[done..start]);
                self.out.extend_from_slice(by.as_bytes());
                self.added += by.len() as u64;
                self.removed += (end - start) as u64;
                done = end;
            }
        }
        self.out.extend_from_slice(&self.held[done..]);
        self.held.clear();
    }
}

/// Where the addresses stand in a field whose body begins at `from` (RFC 5322 3.4): in angle brackets, else alone between
/// commas. Quoted strings and comments are passed over.
fn addresses(field: &[u8], from: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mailbox = Mailbox::default();
    let (mut quoted, mut escaped, mut comments) = (false, false, 0_usize);
    let mut angle = None;
    for (at, &byte) in field.iter().enumerate().skip(from) {
        let plain = !quoted && comments == 0 && angle.is_none();
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || comments > 0 => escaped = true,
            b'"' if comments == 0 => quoted = !quoted,
            b'(' if !quoted => comments += 1,
            b')' if !quoted => comments = comments.saturating_sub(1),
            b'<' if plain => angle = Some(at + 1),
            b'>' if !quoted && comments == 0 => {
                mailbox.angle = angle.take().map(|start| start..at);
            }
            b',' | b';' if plain => {
                found.extend(std::mem::take(&mut mailbox).address());
                if found.len() == limits::FROM_ADDRESSES {
                    return found;
                }
            }
            // The name of a group.
            b':' if plain => mailbox = Mailbox::default(),
            _ => {}
        }
        let ends = matches!(
            byte,
            b',' | b';' | b':' | b'<' | b'>' | b')' | b' ' | b'\t' | b'\r' | b'\n'
        );
        if angle.is_none() && comments == 0 && (quoted || !ends) {
            mailbox.word(at);
        }
    }
    if !quoted && comments == 0 && angle.is_none() {
        found.extend(mailbox.address());
    }
    found
}

/// What is seen of one mailbox of a list.
#[derive(Default)]
struct Mailbox {
    angle: Option<Range<usize>>,
    word: Option<Range<usize>>,
    /// There are several words: a display name, or nothing that makes sense.
    words: bool,
}

impl Mailbox {
    fn word(&mut self, at: usize) {
        match &mut self.word {
            Some(word) if word.end == at => word.end += 1,
            Some(_) => self.words = true,
            None => self.word = Some(at..at + 1),
        }
    }

    fn address(self) -> Option<Range<usize>> {
        let word = self.word.filter(|_| !self.words);
        self.angle.or(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sender::FromField;

    fn senders() -> Senders {
        let rules = vec!["pi@isp.example".parse().unwrap()];
        Senders::new(&["raspberrypi"], rules, FromField::Replaced).unwrap()
    }

    fn passed(message: &str, step: usize) -> String {
        let (mut filter, senders, mut out) = (Filter::default(), senders(), Vec::new());
        for chunk in message.as_bytes().chunks(step) {
            out.extend_from_slice(filter.pass(chunk, &senders));
        }
        out.extend_from_slice(filter.finish(&senders));
        assert_eq!(filter.size(message.len() as u64), out.len() as u64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_address_is_replaced_and_the_rest_of_the_field_kept() {
        for (field, wanted) in [
            ("root", "pi@isp.example"),
            (" root@raspberrypi", " pi@isp.example"),
            (
                " root@raspberrypi (Cron Daemon)",
                " pi@isp.example (Cron Daemon)",
            ),
            (" Cron <root@raspberrypi>", " Cron <pi@isp.example>"),
            (" \"root, <x>\" <root>", " \"root, <x>\" <pi@isp.example>"),
            (
                " \"a\\\"<b>\"\r\n\t<root@raspberrypi>",
                " \"a\\\"<b>\"\r\n\t<pi@isp.example>",
            ),
            (
                " root, Ann <ann@example.org>",
                " pi@isp.example, Ann <ann@example.org>",
            ),
            (" (x, y <z>) root", " (x, y <z>) pi@isp.example"),
            (" ann@example.org", " ann@example.org"),
            (" some words here", " some words here"),
            (
                " staff: root, ann@example.org;",
                " staff: pi@isp.example, ann@example.org;",
            ),
            (" <>", " <>"),
            (" <root", " <root"),
            (" \"root", " \"root"),
        ] {
            for step in [1, 2, 3, 7, 1000] {
                for name in ["From", "fROM", "From "] {
                    let message = |field: &str| {
                        format!(
                            "Fro: root\r\n{name}:{field}\r\nFromage: root\r\nTo: root\r\n\r\nFrom: root\r\n"
                        )
                    };
                    assert_eq!(passed(&message(field), step), message(wanted), "{step}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_field_passes_as_it_is() {
        let long = format!("From: {}root\r\n\r\n", " ".repeat(limits::FROM_FIELD));
        let blank = format!("From{}: root\r\n\r\n", " ".repeat(2 * limits::FROM_FIELD));
        for message in [
            "",
            "\r\n",
            "\r\nFrom: root\r\n",
            "From",
            "From\r\nroot",
            "From root\r\n",
            "\r",
            "To: x",
            &long,
            &blank,
            " From: root\r\n\r\n",
        ] {
            for step in [1, 2, 1000] {
                assert_eq!(passed(message, step), message);
            }
        }
        assert_eq!(passed("From: root", 1), "From: pi@isp.example");
        assert_eq!(passed("From: root\r\n", 3), "From: pi@isp.example\r\n");
    }

    #[test]
    fn the_body_needs_no_filter() {
        let (mut filter, senders) = (Filter::default(), senders());
        filter.pass(b"From: root\r\n", &senders);
        assert!(!filter.is_done());
        filter.pass(b"\r\nbody", &senders);
        assert!(filter.is_done());
    }
}
