//! The text of a delivery status notification (RFC 3464): what the sender of a message is told of it.
//!
//! Pure: it builds the part before the original's header lines, filters these, and builds what comes after them; the
//! caller streams all three into the spool. Everything is ASCII, with `utf-8-addr-xtext` (RFC 6533 3) and quoted-printable
//! where the message was not, unless the sender's own address is UTF-8: then the parts are RFC 6533's `message/global-*`,
//! because nothing else could reach them anyway.

mod original;
mod people;
mod programs;
mod text;
mod words;

use crate::limits;
use crate::smtp::date::Date;
use original::Coding;
pub use original::{Fitness, HeaderLines};
use std::fmt::Write as _;
use text::{clean, quoted};

/// What is to be told of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
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
    /// What happened.
    pub cause: Cause,
    /// When it was last tried, in unix seconds; None: it was not.
    pub tried: Option<u64>,
}

/// What happened to a recipient's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A next hop said no, for good.
    Refused,
    /// It could not be tried, or not be handed over as it is.
    Impossible,
    /// The last of many attempts failed, and the message has become too old.
    Expired,
    /// It is tried again.
    Delayed {
        /// As long as this, in unix seconds.
        until: u64,
    },
    /// It is in the mailbox.
    Delivered,
    /// A next hop took it that does not tell of what becomes of it (RFC 3464 2.3.3).
    Relayed,
    /// The address stands for several others, to which it is on its way.
    Expanded,
}

/// What a report is, to people and programs alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    Expanded,
}

impl Cause {
    fn action(self) -> Action {
        match self {
            Self::Refused | Self::Impossible | Self::Expired => Action::Failed,
            Self::Delayed { .. } => Action::Delayed,
            Self::Delivered => Action::Delivered,
            Self::Relayed => Action::Relayed,
            Self::Expanded => Action::Expanded,
        }
    }

    /// Whether it is the end of it, and a bad one.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self.action() == Action::Failed
    }
}

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader<'a> {
    /// Who sent the message.
    Sender,
    /// The postmaster, because there is no sender to tell (RFC 5321 6.1).
    Postmaster {
        /// Empty; or an address of ours that has no mailbox.
        sender: &'a str,
        /// Failures of this kind before this one that nobody was told of.
        untold: u64,
    },
}

/// What of the message goes back (RFC 3461 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Header,
    Whole,
}

/// A DSN for some recipients of one message.
#[derive(Debug)]
pub struct Dsn<'a> {
    /// `--hostname`.
    pub hostname: &'a str,
    /// The DSN's own queue id, for its Message-ID.
    pub id: &'a str,
    /// The message's queue id.
    pub original_id: &'a str,
    /// ENVID as it came, in xtext (RFC 3461 4.4).
    pub envid: Option<&'a str>,
    /// Whom to tell.
    pub to: &'a str,
    /// Who that is.
    pub reader: Reader<'a>,
    /// When the message was accepted, in seconds since 1970; None: by a clock that did not know the time.
    pub arrived: Option<u64>,
    /// The present time, likewise.
    pub now: u64,
    /// The recipients that it is about, at least one.
    pub reports: &'a [Report],
    /// Whether the original's header lines hold octets above 127.
    pub header_8bit: bool,
    /// What of the message goes back.
    pub extent: Extent,
    /// Sixteen random octets as a number; it makes the boundary one that no text can contain by accident or design.
    pub salt: u128,
}

/// The most octets that the text of one takes while it is built, with the copy that is quoted.
pub const MOST_MEMORY: usize = 2
    * limits::RECIPIENTS
    * (3 * limits::MAILBOX + 3 * limits::ORCPT + 2 * limits::PEER_REPLY_TEXT + 384)
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
            subject = words::subject(self.reports, self.reader),
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

    /// The parts for people and for programs, and the beginning of the one with the original, or its header lines.
    #[must_use]
    pub fn before(&self) -> String {
        let boundary = self.boundary();
        let (encoding, status_type) = match self.form() {
            Form::Ascii => ("7bit", "message/delivery-status"),
            Form::Global => ("8bit", "message/global-delivery-status"),
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
        let (what, original_type, original_encoding) = self.original_type();
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Description: {what}\r\nContent-Type: {original_type}\r\n\
             Content-Transfer-Encoding: {original_encoding}\r\n\r\n"
        );
        text
    }

    /// Description, type and encoding of the part with the original. A whole message must not be encoded (RFC 2046 5.2.1):
    /// only one that needs none goes back ([`Fitness`]).
    fn original_type(&self) -> (&'static str, &'static str, &'static str) {
        let form = self.form();
        if self.extent == Extent::Whole {
            return match form {
                Form::Ascii => ("The message", "message/rfc822", "7bit"),
                Form::Global => ("The message", "message/global", "8bit"),
            };
        }
        let header_type = match form {
            Form::Ascii => "text/rfc822-headers",
            Form::Global => "message/global-headers",
        };
        let encoding = match self.filter().coding {
            Coding::Quoted => "quoted-printable",
            Coding::SevenBit => "7bit",
            Coding::EightBit => "8bit",
        };
        ("Header of the message", header_type, encoding)
    }

    /// What ends the DSN.
    #[must_use]
    pub fn after(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary())
    }
}

#[cfg(test)]
mod tests;
