//! The text of a delivery status notification (RFC 3464): what the sender of a failed message is told.
//!
//! Pure: it builds the part before the original's header lines, filters these, and builds what comes after them; the
//! caller streams all three into the spool. Everything is ASCII, with `utf-8-addr-xtext` (RFC 6533 3) and quoted-printable
//! where the message was not, unless the sender's own address is UTF-8: then the parts are RFC 6533's `message/global-*`,
//! because nothing else could reach them anyway.

mod words;

use crate::limits;
use crate::smtp::address::{self, Encoded, OriginalRecipient};
use crate::smtp::date::Date;
use crate::smtp::xtext::XText;
use std::fmt::Write as _;
use std::net::IpAddr;
use words::{advice, headline, introduction};

/// Why one recipient did not get the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The recipient, as RCPT had it.
    pub address: String,
    /// ORCPT as it came (RFC 3461 4.2).
    pub original: Option<String>,
    /// The enhanced status code, `5.1.1` (RFC 3463).
    pub status: String,
    /// The host that it is about, where it is about one.
    pub host: Option<String>,
    /// The reply's code; 0 where the diagnostic is our own words.
    pub code: u16,
    /// What the host said with its codes, or our own words.
    pub diagnostic: String,
    /// Who gave up.
    pub cause: Cause,
}

/// Who gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A next hop said no, for good.
    Refused,
    /// It could not be tried, or not be handed over as it is.
    Impossible,
    /// The last of many attempts failed, and the message has become too old.
    Expired,
}

/// A DSN for the failed recipients of one message.
#[derive(Debug)]
pub struct Dsn<'a> {
    /// `--hostname`.
    pub hostname: &'a str,
    /// The DSN's own queue id, for its Message-ID.
    pub id: &'a str,
    /// The failed message's queue id.
    pub original_id: &'a str,
    /// ENVID as it came, in xtext (RFC 3461 4.4).
    pub envid: Option<&'a str>,
    /// Whom to tell: the failed message's sender.
    pub to: &'a str,
    /// When the message was accepted, and the present time: seconds since 1970.
    pub arrived: u64,
    /// The present time, likewise.
    pub now: u64,
    /// The recipients that it is about, at least one.
    pub failures: &'a [Failure],
    /// Whether the original's header lines hold octets above 127.
    pub header_8bit: bool,
    /// Sixteen random octets as a number; it makes the boundary one that no text can contain by accident or design.
    pub salt: u128,
}

/// The most octets that the text of one takes while it is built, with the copy that is quoted.
pub const MOST_MEMORY: usize = 2
    * limits::RECIPIENTS
    * (3 * limits::MAILBOX + 3 * limits::ORCPT + 2 * limits::PEER_REPLY_TEXT + 256)
    + limits::DSN_HEADER;

/// How octets above 127 travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ascii,
    Global,
}

impl Dsn<'_> {
    fn form(&self) -> Form {
        if self.to.is_ascii() {
            Form::Ascii
        } else {
            Form::Global
        }
    }

    /// Whether the DSN's own header and body hold UTF-8, so that a next hop needs SMTPUTF8 and 8BITMIME.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.form() == Form::Global
    }

    fn boundary(&self) -> String {
        // `=_` never occurs in quoted-printable (RFC 2045 6.7).
        format!("=_facteur_{:032x}", self.salt)
    }

    /// The DSN's own header lines, with the empty line that ends them.
    #[must_use]
    pub fn head(&self) -> String {
        let mut text = String::with_capacity(640);
        let _ = write!(
            text,
            "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}.dsn@{host}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n",
            host = self.hostname,
            to = clean(self.to, self.form()),
            subject = headline(self.failures).subject,
            date = Date(self.now),
            id = self.id,
            boundary = self.boundary(),
        );
        if self.is_global() {
            text += "Content-Transfer-Encoding: 8bit\r\n";
        }
        text += "\r\n";
        text
    }

    /// The parts for people and for programs, and the beginning of the one with the original's header lines.
    #[must_use]
    pub fn before(&self) -> String {
        let boundary = self.boundary();
        let (encoding, status_type, header_type) = match self.form() {
            Form::Ascii => ("7bit", "message/delivery-status", "text/rfc822-headers"),
            Form::Global => (
                "8bit",
                "message/global-delivery-status",
                "message/global-headers",
            ),
        };
        let people = self.for_people();
        let mut text = format!("--{boundary}\r\nContent-Description: Notification\r\n");
        if self.form() == Form::Ascii && !people.is_ascii() {
            text += "Content-Type: text/plain; charset=utf-8\r\n\
                     Content-Transfer-Encoding: quoted-printable\r\n\r\n";
            text += &quoted(&people);
        } else {
            let charset = if people.is_ascii() {
                "us-ascii"
            } else {
                "utf-8"
            };
            let _ = write!(
                text,
                "Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{people}"
            );
        }
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Description: Delivery report\r\nContent-Type: {status_type}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        self.for_programs(&mut text);
        let header_encoding = match self.filter().coding {
            Coding::Quoted => "quoted-printable",
            Coding::SevenBit => "7bit",
            Coding::EightBit => "8bit",
        };
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Description: Header of the message\r\nContent-Type: {header_type}\r\n\
             Content-Transfer-Encoding: {header_encoding}\r\n\r\n"
        );
        text
    }

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
            room: limits::DSN_HEADER,
            ended: false,
        }
    }

    /// What ends the DSN.
    #[must_use]
    pub fn after(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary())
    }

    fn for_people(&self) -> String {
        let headline = headline(self.failures);
        let mut text = format!(
            "This is the mail relay at {}.\r\n\r\n{}\r\n",
            self.hostname, headline.opening
        );
        for failure in self.failures.iter().take(limits::DSN_EXPLAINED) {
            let _ = write!(
                text,
                "\r\n    {}\r\n\r\n",
                clean(&failure.address, Form::Global)
            );
            wrap(
                &mut text,
                "  ",
                &clean(&introduction(failure), Form::Global),
            );
            wrap(&mut text, "    ", &clean(&failure.diagnostic, Form::Global));
            text += "\r\n";
            wrap(&mut text, "  ", advice(&failure.status, failure.cause));
        }
        if let Some(rest) = self
            .failures
            .get(limits::DSN_EXPLAINED..)
            .filter(|rest| !rest.is_empty())
        {
            text += "\r\nNor to these, of which the report below tells more:\r\n\r\n";
            for failure in rest {
                let _ = write!(text, "    {}\r\n", clean(&failure.address, Form::Global));
            }
        }
        let _ = write!(
            text,
            "\r\nIt will not be tried again. If you ask somebody for help, show them this whole\r\n\
             message. The number of your message here was {}.\r\n",
            self.original_id
        );
        text
    }

    /// The machine's part: RFC 3464 2.
    fn for_programs(&self, text: &mut String) {
        let _ = write!(
            text,
            "Reporting-MTA: dns; {}\r\n{}X-Queue-ID: {}\r\nArrival-Date: {}\r\n",
            self.hostname,
            self.envelope_id(),
            self.original_id,
            Date(self.arrived)
        );
        for failure in self.failures {
            let address = clean(&failure.address, Form::Global);
            let recipient = match self.form() {
                _ if address.is_ascii() => format!("rfc822; {address}"),
                Form::Global => format!("utf-8; {address}"),
                Form::Ascii => format!("utf-8; {}", address::in_ascii(&address)),
            };
            let _ = write!(
                text,
                "\r\n{}Final-Recipient: {recipient}\r\nAction: failed\r\nStatus: {}\r\n",
                self.original_recipient(failure),
                clean(&failure.status, Form::Ascii)
            );
            if let Some(host) = &failure.host {
                let _ = write!(text, "Remote-MTA: dns; {}\r\n", mta_name(host));
            }
            let kind = if failure.code == 0 {
                "x-facteur"
            } else {
                "smtp"
            };
            let words = format!(
                "Diagnostic-Code: {kind}; {}",
                clean(&failure.diagnostic, Form::Ascii)
            );
            fold(text, &words);
        }
    }

    /// What the sender calls the transaction, out of its xtext (RFC 3464 2.2.1, RFC 3461 6.3).
    fn envelope_id(&self) -> String {
        let read = self.envid.map(|envid| XText::parse(envid, limits::ENVID));
        let Some(Ok(envid)) = read else {
            return String::new();
        };
        let envid = clean(&decoded(envid), Form::Ascii);
        format!("Original-Envelope-Id: {envid}\r\n")
    }

    /// Whom the sender wrote to, out of its xtext (RFC 3464 2.3.1). None where it would not fit into one line.
    fn original_recipient(&self, failure: &Failure) -> String {
        let read = failure.original.as_deref().map(OriginalRecipient::parse);
        let Some(Ok(original)) = read else {
            return String::new();
        };
        let address: String = match original.address() {
            Encoded::XText(text) => decoded(text),
            Encoded::Utf8(address) => address.chars().collect(),
        };
        let address = match clean(&address, Form::Global) {
            beyond if self.form() == Form::Ascii && !beyond.is_ascii() => {
                address::in_ascii(&beyond).to_string()
            }
            plain => plain,
        };
        let field = format!("Original-Recipient: {}; {address}\r\n", original.kind());
        if field.len() > LONGEST_LINE {
            return String::new();
        }
        field
    }
}

/// What xtext stands for.
fn decoded(text: XText<'_>) -> String {
    let octets: Vec<u8> = text.octets().collect();
    String::from_utf8_lossy(&octets).into_owned()
}

/// A host as RFC 3464 2.3.5 wants it: an address stands in brackets (RFC 5321 4.1.3).
fn mta_name(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(four)) => format!("[{four}]"),
        Ok(IpAddr::V6(six)) => format!("[IPv6:{six}]"),
        Err(_) => clean(host, Form::Ascii),
    }
}

/// How the original's header lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// An octet above 127 that slipped in becomes `?`.
    SevenBit,
    EightBit,
    Quoted,
}

/// Lets the original's header lines through, bounded, and ends with them.
#[derive(Debug)]
pub struct HeaderLines {
    coding: Coding,
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

const LONGEST_LINE: usize = 998;

/// Text from outside without what could begin a line, or is not allowed in this form.
fn clean(text: &str, form: Form) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => ' ',
            c if !c.is_ascii() && form == Form::Ascii => '?',
            c => c,
        })
        .collect()
}

/// Words in lines of up to 76 columns, each line indented; a longer word stands alone, cut at 900 octets.
fn wrap(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_ascii_whitespace().flat_map(pieces) {
        let width = word.chars().count();
        if column > 0 && column + 1 + width <= 76 {
            text.push(' ');
            column += 1;
        } else {
            if column > 0 {
                *text += "\r\n";
            }
            *text += indent;
            column = indent.len();
        }
        *text += word;
        column += width;
    }
    *text += "\r\n";
}

/// A header field folded at spaces (RFC 5322 2.2.3).
fn fold(text: &mut String, field: &str) {
    let mut lines = String::new();
    wrap(&mut lines, " ", field);
    *text += lines.trim_start();
}

fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let cut = (0..=rest.len().min(900))
            .rev()
            .find(|&at| rest.is_char_boundary(at))?;
        let (piece, after) = rest.split_at(cut);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() * 2);
    for line in text.lines() {
        quote_line(line.as_bytes(), &mut out);
        out.extend_from_slice(b"\r\n");
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One line as quoted-printable (RFC 2045 6.7), in lines of at most 76 columns.
fn quote_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain =
            matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        let width = if plain { 1 } else { 3 };
        if column + width > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if plain {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += width;
    }
}

#[cfg(test)]
mod tests;
