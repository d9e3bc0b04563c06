//! Commands, cut into their words (RFC 5321 4.1.1).

use super::address::Path;
use super::reply::{self, Reply};

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The client's name for itself: the first word, whatever it is.
    Ehlo(&'a str),
    /// As for EHLO.
    Helo(&'a str),
    /// The path and the parameters behind it.
    Mail(Path<'a>, &'a str),
    /// As for MAIL; never the null path.
    Rcpt(Path<'a>, &'a str),
    /// DATA, without an argument.
    Data,
    /// BDAT (RFC 3030): so many octets follow, and whether they are the last.
    Bdat(u64, bool),
    /// RSET, without an argument.
    Rset,
    /// NOOP; its words mean nothing.
    Noop,
    /// VRFY of something.
    Vrfy,
    /// EXPN, with or without a list.
    Expn,
    /// HELP; its words mean nothing.
    Help,
    /// QUIT, without an argument.
    Quit,
    /// STARTTLS, without an argument (RFC 3207 4).
    StartTls,
    /// AUTH (RFC 4954), whatever stands behind it: there are no accounts.
    Auth,
}

/// The first words of HTTP requests.
const HTTP: [&[u8]; 6] = [b"GET", b"POST", b"CONNECT", b"PUT", b"OPTIONS", b"HEAD"];

/// Whether a line begins as an HTTP request does: a browser was made to speak to us.
#[must_use]
pub fn is_http(line: &[u8]) -> bool {
    let word = line.split(|&b| b == b' ').next().unwrap_or(line);
    HTTP.contains(&word)
}

/// The first word of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Mail,
    Rcpt,
    Data,
    Bdat,
    Ehlo,
    Helo,
    Rset,
    Noop,
    Quit,
    StartTls,
    Vrfy,
    Expn,
    Help,
    Auth,
}

impl Verb {
    /// In any case (RFC 5321 2.4).
    fn read(word: &[u8]) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        Some(match () {
            () if is("MAIL") => Self::Mail,
            () if is("RCPT") => Self::Rcpt,
            () if is("DATA") => Self::Data,
            () if is("BDAT") => Self::Bdat,
            () if is("EHLO") => Self::Ehlo,
            () if is("HELO") => Self::Helo,
            () if is("RSET") => Self::Rset,
            () if is("NOOP") => Self::Noop,
            () if is("QUIT") => Self::Quit,
            () if is("STARTTLS") => Self::StartTls,
            () if is("VRFY") => Self::Vrfy,
            () if is("EXPN") => Self::Expn,
            () if is("HELP") => Self::Help,
            () if is("AUTH") => Self::Auth,
            () => return None,
        })
    }

    /// Whether it is taken where TLS is required and not up (RFC 3207 4). A chunk is still read as one, and refused later:
    /// its octets must not become commands.
    fn leads_to_tls(self) -> bool {
        matches!(
            self,
            Self::Ehlo
                | Self::Helo
                | Self::Noop
                | Self::Rset
                | Self::StartTls
                | Self::Quit
                | Self::Bdat
        )
    }
}

impl<'a> Command<'a> {
    /// Reads a line where TLS is required and not up: only what leads there is taken (RFC 3207 4).
    ///
    /// # Errors
    /// The reply that the line gets: 530 for all other commands.
    pub fn parse_in_clear(line: &'a [u8]) -> Result<Self, Reply> {
        let (word, _) = cut_verb(line);
        let leads_on = Verb::read(word).is_some_and(Verb::leads_to_tls);
        if leads_on || begins_chunk(line) {
            Self::parse(line)
        } else {
            Err(reply::TLS_FIRST)
        }
    }

    /// Reads a line without its CR LF.
    ///
    /// # Errors
    /// The reply that the line gets.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reply> {
        let (word, rest) = cut_verb(line);
        let (verb, argument) = match (Verb::read(word), core::str::from_utf8(rest)) {
            (None, _) | (_, Err(_)) if begins_chunk(line) => return Err(reply::BAD_CHUNK),
            (None, _) => return Err(reply::UNKNOWN_COMMAND),
            (Some(_), Err(_)) => return Err(reply::BAD_SYNTAX),
            (Some(verb), Ok(rest)) => (verb, rest.trim_start_matches(' ')),
        };
        match verb {
            Verb::Mail => mail(argument),
            Verb::Rcpt => rcpt(argument),
            Verb::Data => without_argument(Self::Data, argument),
            Verb::Bdat => bdat(argument),
            Verb::Ehlo => Ok(Self::Ehlo(hello_word(argument)?)),
            Verb::Helo => Ok(Self::Helo(hello_word(argument)?)),
            Verb::Rset => without_argument(Self::Rset, argument),
            Verb::Noop => Ok(Self::Noop),
            Verb::Quit => without_argument(Self::Quit, argument),
            Verb::StartTls => without_argument(Self::StartTls, argument),
            Verb::Vrfy if argument.is_empty() => Err(reply::ARGUMENT_NEEDED),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Expn => Ok(Self::Expn),
            Verb::Help => Ok(Self::Help),
            Verb::Auth => Ok(Self::Auth),
        }
    }
}

/// Whether a line was meant to announce a chunk (RFC 3030), if not well: what follows it is no command.
#[must_use]
pub fn begins_chunk(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

/// The first word, and what stands behind it; white space at the end is tolerated (RFC 5321 4.1.1).
fn cut_verb(line: &[u8]) -> (&[u8], &[u8]) {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let end = line
        .iter()
        .rposition(|b| !is_blank(b))
        .map_or(0, |at| at + 1);
    let line = &line[..end];
    line.split_at(line.iter().position(|&b| b == b' ').unwrap_or(end))
}

fn without_argument<'a>(command: Command<'a>, argument: &str) -> Result<Command<'a>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(reply::NO_ARGUMENT)
    }
}

/// `SIZE [LAST]`; what cannot be read is fatal, for the octets behind it must not become commands.
fn bdat(argument: &str) -> Result<Command<'_>, Reply> {
    let (size, last) = argument.split_once(' ').unwrap_or((argument, ""));
    let last = match last.trim_matches(' ') {
        "" => false,
        word if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(reply::BAD_CHUNK),
    };
    let digits = !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit());
    match size.parse() {
        Ok(size) if digits => Ok(Command::Bdat(size, last)),
        _ => Err(reply::BAD_CHUNK),
    }
}

/// The first word behind EHLO; any will do, but there must be one.
fn hello_word(argument: &str) -> Result<&str, Reply> {
    match argument.split(' ').next() {
        Some("") | None => Err(reply::ARGUMENT_NEEDED),
        Some(word) if word.len() > crate::limits::HELLO_WORD => Err(reply::BAD_SYNTAX),
        Some(word) => Ok(word),
    }
}

fn mail(argument: &str) -> Result<Command<'_>, Reply> {
    let path = after_keyword(argument, "FROM:").ok_or(reply::BAD_SYNTAX)?;
    let (path, parameters) = Path::parse(path).map_err(|_| reply::BAD_SENDER)?;
    Ok(Command::Mail(path, parameters))
}

fn rcpt(argument: &str) -> Result<Command<'_>, Reply> {
    let path = after_keyword(argument, "TO:").ok_or(reply::BAD_SYNTAX)?;
    match Path::parse(path) {
        Ok((Path::Null, _)) | Err(_) => Err(reply::BAD_RECIPIENT),
        Ok((path, parameters)) => Ok(Command::Rcpt(path, parameters)),
    }
}

/// What follows `FROM:` or `TO:`, with the space that some clients put there.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let head = argument.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword)
        .then(|| argument[keyword.len()..].trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> u16 {
        Command::parse(line.as_bytes()).map_or_else(Reply::code, |_| 0)
    }

    #[test]
    fn verbs_are_read_in_any_case_with_white_space_behind() {
        assert_eq!(
            Command::parse(b"eHlO mx.example  x"),
            Ok(Command::Ehlo("mx.example"))
        );
        assert_eq!(Command::parse(b"quit \t"), Ok(Command::Quit));
        assert_eq!(Command::parse(b"NOOP some words"), Ok(Command::Noop));
        let Ok(Command::Mail(path, parameters)) = Command::parse(b"mail from: <a@b> SIZE=1") else {
            panic!("MAIL")
        };
        assert_eq!(
            (path.to_string().as_str(), parameters),
            ("<a@b>", " SIZE=1")
        );
        assert!(matches!(
            Command::parse(b"RCPT TO:<Postmaster>"),
            Ok(Command::Rcpt(Path::Bare(local), "")) if local.is_postmaster()
        ));
    }

    #[test]
    fn wrong_lines_get_their_code() {
        for (line, expected) in [
            ("", 500),
            ("FOO", 500),
            ("QUITX", 500),
            (" QUIT", 500),
            ("EHLO", 501),
            ("EHLO ", 501),
            ("DATA x", 501),
            ("QUIT x", 501),
            ("RSET x", 501),
            ("STARTTLS x", 501),
            ("VRFY", 501),
            ("MAIL", 501),
            ("MAIL FROM", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM:a@b", 501),
            ("MAIL TO:<a@b>", 501),
            ("RCPT TO:<>", 501),
            ("RCPT FROM:<a@b>", 501),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
        for (line, expected) in [
            (b"NOOP \xff".as_slice(), reply::BAD_SYNTAX),
            (b"RCPT TO:<\xff@b>", reply::BAD_SYNTAX),
            (b"\xff\xfe", reply::UNKNOWN_COMMAND),
            (b"\0", reply::UNKNOWN_COMMAND),
            (b"RCPT TO:<a\0@b>", reply::BAD_RECIPIENT),
            (b"BDAT 6\xff", reply::BAD_CHUNK),
        ] {
            assert_eq!(Command::parse(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn a_chunk_has_a_size_that_can_be_read() {
        assert_eq!(Command::parse(b"BDAT 10"), Ok(Command::Bdat(10, false)));
        assert_eq!(Command::parse(b"bdat 0 last "), Ok(Command::Bdat(0, true)));
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT +1",
            "BDAT 1 FIRST",
            "BDAT 99999999999999999999",
            "BDAT LAST",
            "BDAT\t6",
            "bdat6",
        ] {
            assert_eq!(
                Command::parse(line.as_bytes()),
                Err(reply::BAD_CHUNK),
                "{line}"
            );
            assert_eq!(
                Command::parse_in_clear(line.as_bytes()),
                Err(reply::BAD_CHUNK)
            );
        }
    }

    #[test]
    fn other_protocols_are_known() {
        for line in [
            "GET / HTTP/1.1",
            "POST /",
            "CONNECT x:25",
            "PUT",
            "OPTIONS *",
            "HEAD /",
        ] {
            assert!(is_http(line.as_bytes()), "{line}");
        }
        assert!(
            !["GETX /", "get /", "NOOP", ""]
                .iter()
                .any(|line| is_http(line.as_bytes()))
        );
    }
}
