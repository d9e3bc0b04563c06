//! Whether a recipient exists elsewhere: asked by a closure, for the sending side is not known here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::Inbound;
use super::transaction::Allowed;
use crate::limits;
use crate::policy::relay::Trust;
use crate::smtp::reply::{self, Quoted, Reply};

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existence {
    /// Its next hop refuses it for good, with this reply.
    Refused(String),
    /// It exists, or its next hop does not say.
    NotRefused,
    /// Its next hop could not be asked, because of a limit of ours.
    Unasked,
}

/// What may be done to learn of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Its next hop may be asked.
    Ask,
    /// Only what it said before counts.
    Remember,
}

/// An answer, and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub existence: Existence,
    /// Questions to next hops: none or one.
    pub asked: usize,
}

/// Asks about an address that policy has allowed. It bounds its time itself.
pub type Verify =
    Box<dyn Fn(&str, May) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Why a recipient is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ours(Reply),
    /// By its next hop, whose reply this is.
    NextHops(String),
}

impl Refusal {
    /// The words of a next hop, where they can be passed on; else ours.
    pub fn words(&self) -> Result<Quoted<'_>, Reply> {
        match self {
            Self::Ours(reply) => Err(*reply),
            Self::NextHops(reply) => Quoted::of(reply).ok_or(reply::UNKNOWN_MAILBOX),
        }
    }
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        Self::Ours(reply)
    }
}

/// As the client is told.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Ok(words) => words.fmt(f),
            Err(reply) => f.write_str(reply.0),
        }
    }
}

impl Inbound {
    /// The recipient again, unless it is refused. Trusted clients are asked about, too: what they send may bounce as well. An
    /// alias is the owner's word, and is not; nor is Postmaster, who is to be reached wherever there is mail (RFC 5321 4.5.1).
    /// `asks` counts the session's questions. What cannot be asked now, a stranger is to ask again: who floods us with
    /// questions must not get in unasked.
    pub(super) async fn verified(
        &self,
        trust: Trust,
        allowed: Allowed,
        asks: &mut usize,
    ) -> Result<Allowed, Refusal> {
        let local = allowed.address.rsplit_once('@').map(|(local, _)| local);
        let is_itself = allowed.stands_for == [allowed.address.as_str()]
            && !local.is_some_and(|local| local.eq_ignore_ascii_case("postmaster"));
        let Some(verify) = self.verify.as_ref().filter(|_| is_itself) else {
            return Ok(allowed);
        };
        let may = match *asks < limits::VERIFY_ASKS {
            true => May::Ask,
            false => May::Remember,
        };
        let answer = verify(&allowed.address, may).await;
        *asks += answer.asked;
        match answer.existence {
            Existence::Refused(reply) => Err(Refusal::NextHops(reply)),
            Existence::Unasked if trust == Trust::Stranger => Err(reply::VERIFY_LATER.into()),
            Existence::Unasked | Existence::NotRefused => Ok(allowed),
        }
    }
}
