//! A peer's replies, cut from bytes as they come.
//!
//! A reply is one or more lines, `250-text` … `250 text` (RFC 5321 4.2.1). The reader keeps the code, the enhanced code
//! (RFC 2034) and the first [`limits::PEER_REPLY_TEXT`] octets of text, whatever the peer sends; length and number of
//! lines are bounded. Kept text is printable ASCII only, so that it can go into a log line or a DSN as it is.

use core::fmt;

use heapless::String;

use crate::limits;

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about: addresses, mailbox, mail system, network, protocol, content, policy.
    pub subject: u16,
    /// Which of these.
    pub detail: u16,
}

/// What a peer answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: String<{ limits::PEER_REPLY_TEXT }>,
}

/// What a reply means for whom it answers, by the first digit of its code (RFC 5321 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2xx
    Done,
    /// 3xx
    GoOn,
    /// 4xx
    Temporary,
    /// 5xx
    Permanent,
}

/// The end of a line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// More lines of the same reply follow.
    More,
    /// The reply is whole.
    Last,
}

/// Why what a peer sends is no reply. The connection cannot be in step any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not begin with a code of 200 to 599, followed by a space, a hyphen or its end.
    Malformed,
    /// A line passed [`limits::PEER_REPLY_LINE`].
    LineTooLong,
    /// A reply passed [`limits::PEER_REPLY_LINES`].
    TooManyLines,
}

/// Reads replies; holds no more of them than one [`Reply`].
#[derive(Debug, Default)]
pub struct ReplyReader {
    reply: Reply,
    place: Place,
    last_line: bool,
    line_start: usize,
    line_octets: usize,
    lines: usize,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the first octet of a reply.
    #[default]
    Between,
    /// At the given digit of the code.
    Code(u8),
    Separator,
    Text,
}

impl ReplyReader {
    /// A reader at the beginning of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The reply read so far; whole after [`Line::Last`], until the next octet is read.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// Whether no octet of a next reply has been read.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.place == Place::Between
    }

    /// How many lines of the reply have ended.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The kept text of the line that ended last, without its code and enhanced code.
    #[must_use]
    pub fn line(&self) -> &str {
        self.reply.text.get(self.line_start..).unwrap_or_default()
    }

    /// Drops the text of the line that ended last, to leave the room to the next.
    pub fn forget_line(&mut self) {
        let kept = self.line_start.min(self.reply.text.len());
        let kept = self.reply.text[..kept].trim_end().len();
        self.reply.text.truncate(kept);
        self.line_start = kept;
    }

    /// Reads to the end of a line at most; tells how many octets were read.
    pub fn read(&mut self, input: &[u8]) -> (usize, Result<Option<Line>, ReplyError>) {
        for (index, &octet) in input.iter().enumerate() {
            match self.octet(octet) {
                Ok(None) => {}
                other => return (index + 1, other),
            }
        }
        (input.len(), Ok(None))
    }

    fn octet(&mut self, octet: u8) -> Result<Option<Line>, ReplyError> {
        if self.place == Place::Between {
            self.reply = Reply::default();
            self.line_start = 0;
            self.line_octets = 0;
            self.lines = 0;
            self.place = Place::Code(0);
        }
        self.line_octets += 1;
        if self.line_octets > limits::PEER_REPLY_LINE {
            return Err(ReplyError::LineTooLong);
        }
        match self.place {
            Place::Between | Place::Code(_) => self.code_digit(octet)?,
            Place::Separator => return self.separator(octet),
            Place::Text if octet == b'\n' => return self.end_of_line().map(Some),
            Place::Text => self.keep(octet),
        }
        Ok(None)
    }

    fn code_digit(&mut self, octet: u8) -> Result<(), ReplyError> {
        let Place::Code(place) = self.place else {
            return Err(ReplyError::Malformed);
        };
        let legal = match place {
            0 => (b'2'..=b'5').contains(&octet),
            _ => octet.is_ascii_digit(),
        };
        if !legal {
            return Err(ReplyError::Malformed);
        }
        // The last line's code counts, should they differ.
        let before = if place == 0 { 0 } else { self.reply.code };
        if place == 0 {
            self.line_start = self.reply.text.len();
        }
        self.reply.code = before * 10 + u16::from(octet - b'0');
        self.place = if place == 2 {
            Place::Separator
        } else {
            Place::Code(place + 1)
        };
        Ok(())
    }

    /// The octet behind the code. A code alone on its line is a whole reply too (RFC 5321 4.2).
    fn separator(&mut self, octet: u8) -> Result<Option<Line>, ReplyError> {
        self.last_line = octet != b'-';
        self.place = Place::Text;
        match octet {
            b' ' | b'-' | b'\r' => Ok(None),
            b'\n' => self.end_of_line().map(Some),
            _ => Err(ReplyError::Malformed),
        }
    }

    fn keep(&mut self, octet: u8) {
        let character = match octet {
            b'\r' => return,
            b'\t' => ' ',
            b' '..=b'~' => char::from(octet),
            _ => '?',
        };
        if self.line() == "" {
            if character == ' ' {
                return;
            }
            if self.line_start > 0 {
                // A full buffer is the documented limit: the rest of the text is dropped.
                let _ = self.reply.text.push(' ');
                self.line_start = self.reply.text.len();
            }
        }
        let _ = self.reply.text.push(character);
    }

    fn end_of_line(&mut self) -> Result<Line, ReplyError> {
        self.lines += 1;
        if self.lines > limits::PEER_REPLY_LINES {
            return Err(ReplyError::TooManyLines);
        }
        self.take_enhanced_code();
        let trimmed = self.reply.text.trim_end().len();
        self.reply.text.truncate(trimmed.max(self.line_start));
        self.line_octets = 0;
        if self.last_line {
            self.place = Place::Between;
            return Ok(Line::Last);
        }
        self.place = Place::Code(0);
        Ok(Line::More)
    }

    /// Moves a line's enhanced code out of its text; servers repeat it on each line (RFC 2034 4).
    fn take_enhanced_code(&mut self) {
        let class = (self.reply.code / 100) as u8;
        // One of a line with another class says nothing of the reply, whose code is the last line's.
        self.reply.enhanced = self.reply.enhanced.filter(|code| code.class == class);
        let Some((code, rest)) = EnhancedCode::split_from(self.line()) else {
            return;
        };
        if code.class != class {
            return;
        }
        let rest: String<{ limits::PEER_REPLY_TEXT }> = String::try_from(rest).unwrap_or_default();
        self.reply.enhanced.get_or_insert(code);
        self.reply.text.truncate(self.line_start);
        // It came out of the same buffer, so it fits.
        let _ = self.reply.text.push_str(&rest);
    }
}

impl Reply {
    /// The three digits, 200 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the reply's first digit says.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.code / 100 {
            2 => Class::Done,
            3 => Class::GoOn,
            4 => Class::Temporary,
            _ => Class::Permanent,
        }
    }

    /// The peer's enhanced code where it gave one of the reply's class, else `class.0.0`.
    #[must_use]
    pub fn enhanced(&self) -> EnhancedCode {
        self.enhanced.unwrap_or(EnhancedCode {
            class: (self.code / 100) as u8,
            subject: 0,
            detail: 0,
        })
    }

    /// Printable ASCII without the codes; lines are joined by a space.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The reply on one line, as the peer gave it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if self.text.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.text)
    }
}

impl EnhancedCode {
    /// `"5.1.1 rest"` into the code and `rest`.
    pub(super) fn split_from(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = word.split('.').map(|digits| {
            let plain = digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u16>().ok()).flatten()
        });
        let mut number = || numbers.next().flatten();
        let (class, subject, detail) = (number()?, number()?, number()?);
        let whole = numbers.next().is_none() && matches!(class, 2 | 4 | 5);
        whole.then_some((
            Self {
                class: class as u8,
                subject,
                detail,
            },
            rest.trim_start(),
        ))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the peer sent a line that is no SMTP reply"),
            Self::LineTooLong => write!(
                f,
                "the peer sent a reply line of more than {} octets",
                limits::PEER_REPLY_LINE
            ),
            Self::TooManyLines => write!(
                f,
                "the peer sent a reply of more than {} lines",
                limits::PEER_REPLY_LINES
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one reply from `input`, `step` octets at a time; its text and how much was read.
    fn read_by(input: &[u8], step: usize) -> Result<(Reply, usize), ReplyError> {
        let mut reader = ReplyReader::new();
        let mut read = 0;
        while read < input.len() {
            let end = (read + step).min(input.len());
            let (taken, line) = reader.read(&input[read..end]);
            read += taken;
            if line? == Some(Line::Last) {
                return Ok((reader.reply().clone(), read));
            }
        }
        panic!("the reply has not ended")
    }

    #[test]
    fn replies_are_the_same_at_every_split() {
        for (input, shown) in [
            ("250 ok\r\n", "250 ok"),
            ("250\r\n", "250"),
            ("250 \r\n", "250"),
            ("250 ok\n", "250 ok"),
            ("250 2.1.0 Sender ok\r\n", "250 2.1.0 Sender ok"),
            ("250 2.1.0\r\n", "250 2.1.0"),
            (
                "550-5.1.1 No such user.\r\n550 5.1.1  Try another.\r\n",
                "550 5.1.1 No such user. Try another.",
            ),
            ("220-mx\r\n220-\r\n220 ready \r\n", "220 mx ready"),
            ("250-early\r\n550 late\r\n", "550 early late"),
            ("550 2.0.0 lies\r\n", "550 2.0.0 lies"),
            ("550 5.1 x\r\n", "550 5.1 x"),
            ("550 5.1.1.1 x\r\n", "550 5.1.1.1 x"),
            ("550 5.1.1000 x\r\n", "550 5.1.1000 x"),
        ] {
            for step in 1..=input.len() {
                let (reply, read) = read_by(input.as_bytes(), step).unwrap();
                assert_eq!(reply.to_string(), shown);
                assert_eq!(read, input.len());
            }
        }
    }

    #[test]
    fn only_one_reply_is_read_and_the_rest_is_left() {
        let (reply, read) = read_by(b"250 one\r\n250 two\r\n", 20).unwrap();
        assert_eq!((reply.text(), read), ("one", 9));
    }

    #[test]
    fn text_is_safe_for_logs() {
        let (reply, _) = read_by(b"550 a\x1b[2J\tb\0\xc3\xa9\r\x07\r\n", 5).unwrap();
        assert_eq!(reply.text(), "a?[2J b????");
    }

    #[test]
    fn without_an_enhanced_code_the_class_speaks() {
        let (reply, _) = read_by(b"451 busy\r\n", 3).unwrap();
        assert_eq!(reply.enhanced().to_string(), "4.0.0");
        assert_eq!(reply.class(), Class::Temporary);
        let (reply, _) = read_by(b"552 5.2.2 full\r\n", 3).unwrap();
        assert_eq!(reply.enhanced().to_string(), "5.2.2");
        assert_eq!(reply.text(), "full");
        // The last line's code counts, and the first line's enhanced code is of another class.
        let (reply, _) = read_by(b"250-2.0.0 Ok\r\n550 no\r\n", 3).unwrap();
        assert_eq!(reply.enhanced().to_string(), "5.0.0");
        assert_eq!(reply.to_string(), "550 Ok no");
        let (reply, _) = read_by(b"250-2.0.0 Ok\r\n550 5.1.1 no\r\n", 3).unwrap();
        assert_eq!(reply.enhanced().to_string(), "5.1.1");
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for input in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "25\r\n",
            "2500 x\r\n",
            "250:x\r\n",
            "150 x\r\n",
            "650 x\r\n",
            "250-a\r\nb\r\n",
        ] {
            assert_eq!(
                read_by(input.as_bytes(), 1),
                Err(ReplyError::Malformed),
                "{input:?}"
            );
        }
    }

    #[test]
    fn a_reply_that_never_ends_is_an_error_and_keeps_a_bounded_text() {
        let long = [b'2'; 3]
            .into_iter()
            .chain(core::iter::repeat_n(b' ', 5_000_000));
        let long: Vec<u8> = long.collect();
        assert_eq!(read_by(&long, 4096), Err(ReplyError::LineTooLong));

        let lines = "220-a line of a banner\r\n".repeat(limits::PEER_REPLY_LINES + 1);
        assert_eq!(read_by(lines.as_bytes(), 7), Err(ReplyError::TooManyLines));

        let most = format!(
            "{}220 end\r\n",
            "220-a line of a banner\r\n".repeat(limits::PEER_REPLY_LINES - 1)
        );
        let (reply, _) = read_by(most.as_bytes(), 7).unwrap();
        assert_eq!(reply.text().len(), limits::PEER_REPLY_TEXT);
        assert!(reply.text().starts_with("a line of a banner a line"));
    }
}
