//! Replies as facteur writes them: code, enhanced code (RFC 3463), text.

use super::reply_reader::EnhancedCode;
use crate::limits;
use core::fmt::{self, Write};
use heapless::VecView;

/// A whole reply of one line, without its CR LF: `550 5.7.1 Relay access denied`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply(pub &'static str);

impl Reply {
    /// The code of three digits.
    #[must_use]
    pub fn code(self) -> u16 {
        self.0
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    }
}

macro_rules! replies {
    ($($name:ident = $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: Reply = Reply($text);
        )*
        #[cfg(test)]
        const ALL: &[Reply] = &[$($name),*];
    };
}

replies! {
    OK = "250 2.0.0 Ok";
    SENDER_OK = "250 2.1.0 Sender ok";
    RECIPIENT_OK = "250 2.1.5 Recipient ok";
    RESET_OK = "250 2.0.0 Reset";
    CANNOT_VERIFY = "252 2.0.0 Cannot verify, send some mail";
    HELP = "214 2.0.0 See RFC 5321";
    BYE = "221 2.0.0 Bye";
    READY_FOR_TLS = "220 2.0.0 Ready to start TLS";
    SEND_DATA = "354 End data with <CR><LF>.<CR><LF>";

    SHUTTING_DOWN = "421 4.3.2 Shutting down";
    TOO_MANY_SESSIONS = "421 4.3.2 Too many sessions, try again later";
    TOO_MANY_FROM_ADDRESS = "421 4.7.0 Too many sessions from your address";
    NO_MESSAGE = "421 4.7.0 No message, and others wait";
    TOO_MANY_ERRORS = "421 4.7.0 Too many errors";
    TIMED_OUT = "421 4.4.2 Timed out";
    TOO_SLOW = "421 4.4.2 Data arrives too slowly";
    FAR_TOO_BIG = "421 4.3.4 Message far above the limit";
    AFTER_STARTTLS = "421 4.7.0 Commands came behind STARTTLS in clear";
    VERIFY_LATER = "450 4.3.2 Cannot verify this recipient now, try again later";
    DISK_ERROR = "451 4.3.0 Cannot store mail now";
    SPOOL_FULL = "452 4.3.1 Insufficient storage, try again later";
    TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients";

    UNKNOWN_COMMAND = "500 5.5.1 Command unrecognized";
    LINE_TOO_LONG = "500 5.5.2 Line too long";
    BARE_LINE_END = "500 5.5.2 CR and LF must stand together";
    BAD_SYNTAX = "501 5.5.4 Syntax error";
    NO_ARGUMENT = "501 5.5.4 No argument allowed";
    ARGUMENT_NEEDED = "501 5.5.4 An argument is needed";
    BAD_PARAMETER = "501 5.5.4 Bad parameter";
    BAD_CHUNK = "501 5.5.4 Bad chunk size, closing";
    BAD_SENDER = "501 5.1.7 Bad sender address";
    BAD_RECIPIENT = "501 5.1.3 Bad recipient address";
    NOT_IMPLEMENTED = "502 5.5.1 Command not implemented";
    BAD_SEQUENCE = "503 5.5.1 Bad sequence of commands";
    HELLO_FIRST = "503 5.5.1 EHLO first";
    ALREADY_TLS = "503 5.5.1 TLS is already up";
    TLS_FIRST = "530 5.7.0 Must issue a STARTTLS command first";
    TLS_NEEDED = "530 5.7.10 REQUIRETLS needs TLS";
    UNKNOWN_MAILBOX = "550 5.1.1 No such mailbox here";
    BARE_IN_DATA = "550 5.5.2 The message has a CR or LF that stands alone";
    UTF8_SENDER = "550 5.6.7 This address needs SMTPUTF8";
    RELAY_DENIED = "550 5.7.1 Relay access denied";
    TOO_BIG = "552 5.3.4 Message size exceeds the limit";
    NO_DOMAIN = "553 5.1.2 This is no domain name that IDNA allows";
    UTF8_RECIPIENT = "553 5.6.7 This address needs SMTPUTF8";
    MAIL_LOOP = "554 5.4.6 Too many hops";
    UNKNOWN_PARAMETER = "555 5.5.4 Parameter not recognized";
}

/// A refusal of a recipient in the words of the host that has its mailbox: `550 5.1.1 nobody`.
///
/// What another host says is its own affair until a client reads it as ours: so this is one line of printable ASCII with
/// the code of a refused recipient and an enhanced code of its class, and bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    code: u16,
    enhanced: EnhancedCode,
    text: &'a str,
}

impl<'a> Quoted<'a> {
    /// From a reply in one line. None where it is no refusal, or has no words that can be passed on.
    #[must_use]
    pub fn of(line: &'a str) -> Option<Self> {
        const UNKNOWN: EnhancedCode = EnhancedCode {
            class: 5,
            subject: 1,
            detail: 1,
        };
        let (digits, rest) = line.split_at_checked(3)?;
        let code = match digits.parse().ok()? {
            code @ 550..=554 => code,
            // What is wrong with our own command is none of the client's.
            500..=599 => 550,
            _ => return None,
        };
        let rest = rest.strip_prefix(' ')?;
        let (enhanced, text) = match EnhancedCode::split_from(rest) {
            Some((enhanced, text)) if enhanced.class == 5 => (enhanced, text),
            Some((_, text)) => (UNKNOWN, text),
            None => (UNKNOWN, rest),
        };
        let text = text.trim_ascii();
        let is_safe = text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
        let text = text.get(..text.len().min(limits::REPLY_QUOTED))?;
        (is_safe && !text.is_empty()).then_some(Self {
            code,
            enhanced,
            text,
        })
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

/// Formats into a fixed buffer.
///
/// What does not fit is cut off: callers leave room for the longest reply ([`crate::limits::REPLY`]).
pub struct Writer<'a>(pub &'a mut VecView<u8>);

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes())
            .map_err(|_| fmt::Error)
    }
}

/// Appends a reply of one line.
pub fn write(out: &mut VecView<u8>, reply: Reply) {
    write_line(out, format_args!("{}", reply.0));
}

/// Appends any line and its CR LF; all of it or nothing.
pub fn write_line(out: &mut VecView<u8>, line: fmt::Arguments<'_>) {
    let before = out.len();
    if Writer(out).write_fmt(format_args!("{line}\r\n")).is_err() {
        out.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapless::Vec;

    /// RFC 2034 4: every 2xx, 4xx and 5xx has its enhanced code, of the same class; 3xx has none.
    #[test]
    fn every_reply_has_the_enhanced_code_of_its_class() {
        for Reply(text) in ALL {
            let (code, words) = text.split_once(' ').expect("a text");
            let enhanced = words.split(' ').next().unwrap_or("");
            let digits: std::vec::Vec<_> = enhanced.split('.').map(str::parse::<u16>).collect();
            let same_class = matches!(digits[..], [Ok(class), Ok(_), Ok(_)] if enhanced.starts_with(&code[..1]) && class > 1);
            assert_eq!(same_class, !code.starts_with('3'), "{text}");
            assert!(text.len() < 80 && text.is_ascii(), "{text}");
        }
    }

    #[test]
    fn words_from_elsewhere_are_one_safe_line() {
        let long = std::format!("550 5.1.1 {}", "x".repeat(600));
        let cut = std::format!("550 5.1.1 {}", "x".repeat(limits::REPLY_QUOTED));
        assert!(cut.len() + 2 <= 512, "RFC 5321 4.5.3.1.5");
        for (said, told) in [
            ("550 5.1.1 nobody", Some("550 5.1.1 nobody")),
            ("553 5.2.1 closed", Some("553 5.2.1 closed")),
            ("550 nobody here", Some("550 5.1.1 nobody here")),
            ("550 4.1.1 odd", Some("550 5.1.1 odd")),
            ("501 5.5.4 your RCPT", Some("550 5.5.4 your RCPT")),
            ("550 5.1.1 a\tb", None),
            ("550 5.1.1 a\r\n250 ok", None),
            ("550 5.1.1 n\u{f6}", None),
            ("5\u{f6} x", None),
            ("550 5.1.1", None),
            ("550", None),
            ("250 2.1.5 ok", None),
            ("450 4.2.1 later", None),
            (&long, Some(&*cut)),
        ] {
            let quoted = Quoted::of(said).map(|quoted| std::format!("{quoted}"));
            assert_eq!(quoted.as_deref(), told, "{said}");
        }
    }

    #[test]
    fn a_reply_is_written_whole_or_not_at_all() {
        let mut out: Vec<u8, 32> = Vec::new();
        write(&mut out, OK);
        write(&mut out, RECIPIENT_OK);
        assert_eq!(out.as_slice(), b"250 2.0.0 Ok\r\n");
        assert_eq!((OK.code(), TOO_BIG.code()), (250, 552));
    }
}
