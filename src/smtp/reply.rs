//! Replies as facteur writes them: code, enhanced code (RFC 3463), text.

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
    fn a_reply_is_written_whole_or_not_at_all() {
        let mut out: Vec<u8, 32> = Vec::new();
        write(&mut out, OK);
        write(&mut out, RECIPIENT_OK);
        assert_eq!(out.as_slice(), b"250 2.0.0 Ok\r\n");
        assert_eq!((OK.code(), TOO_BIG.code()), (250, 552));
    }
}
