//! What an attempt came to, for each recipient.

use std::fmt;

use crate::smtp::client::Failure;
use crate::smtp::peer_offer::Lack;
use crate::smtp::reply_reader::{Class, Reply};

use crate::outbound::route::RouteError;

/// Too many recipients (RFC 3463 3.6).
const TOO_MANY: &str = "4.5.3";

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A host took the message for it.
    Delivered {
        /// Its name.
        host: String,
        /// What it said to the final dot.
        reply: String,
        /// Whose it is to tell the sender so.
        duty: Duty,
    },
    /// To try again can help.
    Deferred(Reason),
    /// To try again cannot help.
    Failed(Reason),
}

/// Who tells the sender of success, where NOTIFY asks for that (RFC 3461 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It is in the mailbox, or with a host that knows nothing of NOTIFY.
    Ours,
    /// The host took NOTIFY along.
    NextHops,
}

/// Why a recipient did not get the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The peer's reply code; 0 where the reason is no reply.
    pub code: u16,
    /// The peer's enhanced code, or `class.0.0` where it gave none, or ours (RFC 3463), as text.
    pub status: String,
    /// The reply with its codes, or our words. One line of printable characters.
    pub text: String,
    /// The host it is about; None where it is about none.
    pub host: Option<String>,
    /// The text for the log and the queue, where it says more of this machine than the sender is to know.
    pub inside: Option<String>,
}

impl Reason {
    /// A reason that no host gave.
    pub(in crate::outbound) fn ours(status: &str, text: impl Into<String>) -> Self {
        Self {
            code: 0,
            status: status.to_owned(),
            text: text.into(),
            host: None,
            inside: None,
        }
    }

    pub(super) fn of_reply(reply: &Reply, host: &str) -> Self {
        Self {
            code: reply.code(),
            status: reply.enhanced().to_string(),
            text: reply.to_string(),
            host: Some(host.to_owned()),
            inside: None,
        }
    }

    /// The text as people of this machine see it.
    #[must_use]
    pub fn within(&self) -> &str {
        self.inside.as_deref().unwrap_or(&self.text)
    }

    /// Whether the host takes this recipient, too, but not in one transaction with as many others.
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        matches!(self.code, 452 | 552) && self.status == TOO_MANY
    }

    pub(super) fn of_host(status: &str, text: String, host: &str) -> Self {
        Self {
            code: 0,
            status: status.to_owned(),
            text,
            host: Some(host.to_owned()),
            inside: None,
        }
    }

    /// The host's failing; `reply` is its last reply.
    pub(super) fn of_failure(failure: Failure, reply: &Reply, host: &str) -> Self {
        let status = match failure {
            Failure::Refused | Failure::Closing => return Self::of_reply(reply, host),
            Failure::NoStartTls | Failure::StartTlsRefused => "4.7.4",
            Failure::BehindStartTls => "4.7.0",
            Failure::Unsolicited
            | Failure::Unexpected
            | Failure::ChunkRefused
            | Failure::NoReply(_) => "4.5.0",
        };
        let text = if failure.is_reply() {
            format!("{failure}: {reply}")
        } else {
            failure.to_string()
        };
        Self::of_host(status, text, host)
    }

    pub(super) fn of_lack(lack: Lack, host: &str) -> Self {
        Self::of_host(&lack.enhanced().to_string(), lack.to_string(), host)
    }
}

impl Outcome {
    /// By the class of a reply to a recipient or a message; [`Class::GoOn`] is never one.
    pub(super) fn of_reply(class: Class, reply: &Reply, host: &str, duty: Duty) -> Self {
        match class {
            Class::Done => Self::Delivered {
                host: host.to_owned(),
                reply: reply.to_string(),
                duty,
            },
            Class::Permanent => Self::Failed(Reason::of_reply(reply, host)),
            Class::GoOn | Class::Temporary => Self::Deferred(Reason::of_reply(reply, host)),
        }
    }

    /// 452 to a recipient behind others that were taken, or 552 by the words of RFC 821: too many for one transaction, so the
    /// rest are to come again (RFC 5321 4.5.3.1.10). None, also where the enhanced code says something else.
    pub(super) fn of_too_many(reply: &Reply, host: &str) -> Option<Self> {
        let mut reason = Reason::of_reply(reply, host);
        let of_mailbox = ["5.1.", "5.2."];
        let too_many = match reason.code {
            552 => !of_mailbox.iter().any(|s| reason.status.starts_with(s)),
            452 => ["4.0.0", "4.5.0", TOO_MANY].contains(&reason.status.as_str()),
            _ => false,
        };
        reason.status = TOO_MANY.to_owned();
        too_many.then_some(Self::Deferred(reason))
    }

    pub(in crate::outbound) fn of_route(error: &RouteError) -> Self {
        let reason = Reason::ours(error.code(), error.text());
        match error {
            RouteError::Permanent { .. } => Self::Failed(reason),
            RouteError::Temporary { .. } => Self::Deferred(reason),
        }
    }

    /// The host's words or ours.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Delivered { reply, .. } => reply,
            Self::Deferred(reason) | Self::Failed(reason) => &reason.text,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or("-");
        write!(
            f,
            "status={} host={host} reply={:?}",
            self.status,
            self.within()
        )
    }
}
