//! Commands, cut into their words (RFC 5321 4.1.1).

use super::address::Path;
use super::reply::{self, Reply};

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Ehlo(&'a str),
    Helo(&'a str),
    /// The path and the parameters behind it.
    Mail(Path<'a>, &'a str),
    Rcpt(Path<'a>, &'a str),
    Data,
    /// BDAT (RFC 3030): so many octets follow, and whether they are the last.
    Bdat(u64, bool),
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    StartTls,
    /// A request of another protocol: a browser was made to speak to us.
    Http,
}

/// The first words of HTTP requests.
const HTTP: [&[u8]; 6] = [b"GET", b"POST", b"CONNECT", b"PUT", b"OPTIONS", b"HEAD"];

/// Whether a line begins as an HTTP request does.
#[must_use]
pub fn is_http(line: &[u8]) -> bool {
    let word = line.split(|&b| b == b' ').next().unwrap_or(line);
    HTTP.contains(&word)
}

impl<'a> Command<'a> {
    /// Reads a line where TLS is required and not up: only what leads there is taken (RFC 3207 4).
    ///
    /// # Errors
    /// The reply that the line gets: 530 for all other commands. A chunk is still read as one, and refused later: its octets
    /// must not become commands.
    pub fn parse_in_clear(line: &'a [u8]) -> Result<Self, Reply> {
        let word = line.split(|&b| b == b' ').next().unwrap_or(line);
        let may_come = [
            b"EHLO".as_slice(),
            b"HELO",
            b"NOOP",
            b"RSET",
            b"STARTTLS",
            b"QUIT",
            b"BDAT",
        ];
        if is_http(line) || may_come.iter().any(|verb| word.eq_ignore_ascii_case(verb)) {
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
        if is_http(line) {
            return Ok(Self::Http);
        }
        let Ok(line) = core::str::from_utf8(line) else {
            return Err(reply::BAD_SYNTAX);
        };
        let line = line.trim_end_matches([' ', '\t']); // RFC 5321 4.1.1: trailing white space is tolerated
        let (verb, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let argument = rest.trim_start_matches(' ');
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        match () {
            () if is("MAIL") => mail(argument),
            () if is("RCPT") => rcpt(argument),
            () if is("DATA") => without_argument(Self::Data, argument),
            () if is("BDAT") => bdat(argument),
            () if is("EHLO") => Ok(Self::Ehlo(hello_word(argument)?)),
            () if is("HELO") => Ok(Self::Helo(hello_word(argument)?)),
            () if is("RSET") => without_argument(Self::Rset, argument),
            () if is("NOOP") => Ok(Self::Noop),
            () if is("QUIT") => without_argument(Self::Quit, argument),
            () if is("STARTTLS") => without_argument(Self::StartTls, argument),
            () if is("VRFY") && argument.is_empty() => Err(reply::ARGUMENT_NEEDED),
            () if is("VRFY") => Ok(Self::Vrfy),
            () if is("EXPN") => Ok(Self::Expn),
            () if is("HELP") => Ok(Self::Help),
            () => Err(reply::UNKNOWN_COMMAND),
        }
    }
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
        assert_eq!(Command::parse(b"NOOP \xff").map_err(Reply::code), Err(501));
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
        ] {
            assert_eq!(
                Command::parse(line.as_bytes()),
                Err(reply::BAD_CHUNK),
                "{line}"
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
            assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Http));
        }
        assert_eq!(code("GETX /"), 500);
    }
}
