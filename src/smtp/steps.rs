//! What the receiving machine asks of its caller, and what it is told.

use super::address::Path;
use super::data::LineEnds;
use super::intake::Summary;
use super::parameters::{MailParameters, RcptParameters};
use super::reply::Reply;

/// What is the same for every command of a session; borrowed by each call.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Our name in the greeting and in the reply to EHLO.
    pub hostname: &'a str,
    /// Octets of the largest message.
    pub message_size: u64,
    /// STARTTLS is offered outside TLS.
    pub starttls: bool,
    /// Outside TLS, only a few commands are taken (RFC 3207 4).
    pub require_tls: bool,
    /// What a bare CR or LF in a message is taken for.
    pub line_ends: LineEnds,
}

/// What the caller is to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Bring more input; what was not used must come again, in front of it.
    Input,
    /// A command was answered: show the rest of the input, for more may be whole in it.
    Next,
    /// Write out the replies, then go on: there is no room for another.
    Output,
    /// EHLO (extended) or HELO was answered; any transaction is gone.
    Hello {
        /// The client's name for itself.
        word: &'a str,
        /// EHLO.
        extended: bool,
    },
    /// MAIL; wants [`Server::verdict`].
    Mail {
        /// Where reports go.
        sender: Path<'a>,
        /// What stands behind it.
        parameters: MailParameters<'a>,
    },
    /// RCPT; wants [`Server::verdict`].
    Rcpt {
        /// Never the null path.
        recipient: Path<'a>,
        /// What stands behind it.
        parameters: RcptParameters<'a>,
    },
    /// DATA; wants [`Server::verdict`].
    Data,
    /// A piece of the message as it is to be kept.
    Body(&'a [u8]),
    /// The message is condemned, and what was kept of it is of no use. What its end will be told is not certain yet.
    Doomed,
    /// The message is whole; wants [`Server::accepted`] or [`Server::verdict`] with a refusal.
    EndOfData(Summary),
    /// The end of a condemned message got this reply; the transaction is gone.
    Refused(Reply),
    /// The transaction, if there was one, is gone.
    Reset,
    /// Write out the 220, then do the handshake and call [`Server::tls_is_up`].
    StartTls,
    /// Write out the replies and close.
    Close(Ended),
    /// Close without a word.
    Vanish,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By QUIT.
    Quit,
    /// More than one session may make.
    TooManyErrors,
    /// A command with a CR or LF that stands alone.
    BareLineEnd,
    /// Commands behind STARTTLS in the same read (CVE-2011-0411).
    Injection,
    /// A message, or a refused chunk, of twice the largest size.
    FarTooBig,
    /// A BDAT whose size cannot be read.
    BadChunk,
    /// The caller said so, by [`Server::shut`].
    Shut,
}

/// The answer to what a step asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Accept,
    /// No, with this reply.
    Refuse(Reply),
}
