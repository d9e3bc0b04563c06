//! Why the sending side gives a connection up.

use core::fmt;

use crate::smtp::reply_reader::ReplyError;

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The greeting, EHLO or HELO was answered with 4xx or 5xx.
    Refused,
    /// 421: the host closes (RFC 5321 3.8).
    Closing,
    /// TLS is required and STARTTLS not offered.
    NoStartTls,
    /// STARTTLS was refused.
    StartTlsRefused,
    /// CHUNKING is offered, and BDAT was refused as a command (RFC 3030).
    ChunkRefused,
    /// Octets came behind the 220 to STARTTLS: someone may have put them there in clear (CVE-2011-0411).
    BehindStartTls,
    /// A reply that no command asked for.
    Unsolicited,
    /// A reply that the command cannot have.
    Unexpected,
    /// What came is no reply.
    NoReply(ReplyError),
}

impl Failure {
    /// Whether the failure is a reply, which then says more than the failure.
    #[must_use]
    pub fn is_reply(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Closing
                | Self::StartTlsRefused
                | Self::ChunkRefused
                | Self::Unexpected
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the host refuses mail",
            Self::Closing => "the host closes the connection",
            Self::NoStartTls => "TLS is required and the host does not offer STARTTLS",
            Self::StartTlsRefused => "the host offers STARTTLS and refuses it",
            Self::ChunkRefused => "the host offers CHUNKING and refuses BDAT",
            Self::BehindStartTls => "octets in clear came behind the reply to STARTTLS",
            Self::Unsolicited => "the host sent a reply that nothing asked for",
            Self::Unexpected => "the host sent a reply that the command cannot have",
            Self::NoReply(problem) => return problem.fmt(f),
        })
    }
}
