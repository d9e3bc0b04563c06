//! Whether a recipient exists elsewhere: asked by a closure, for the sending side is not known here.

use std::future::Future;
use std::pin::Pin;

use super::Inbound;
use super::transaction::Allowed;
use crate::smtp::reply::{self, Reply};

/// What is known of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// Its next hop refuses it for good.
    Refused,
    /// It exists, or nobody knows.
    NotRefused,
}

/// Asks about an address that policy has allowed. It bounds its time itself.
pub type Verify =
    Box<dyn Fn(&str) -> Pin<Box<dyn Future<Output = Existence> + Send>> + Send + Sync>;

impl Inbound {
    /// The recipient again, unless it is refused. Trusted clients are asked about, too: what they send may bounce as well. An
    /// alias is the owner's word, and is not; nor is Postmaster, who is to be reached wherever there is mail (RFC 5321 4.5.1).
    pub(super) async fn verified(&self, allowed: Allowed) -> Result<Allowed, Reply> {
        let local = allowed.address.rsplit_once('@').map(|(local, _)| local);
        let asked = allowed.stands_for == [allowed.address.as_str()]
            && !local.is_some_and(|local| local.eq_ignore_ascii_case("postmaster"));
        match &self.verify {
            Some(verify) if asked && verify(&allowed.address).await == Existence::Refused => {
                Err(reply::UNKNOWN_MAILBOX)
            }
            _ => Ok(allowed),
        }
    }
}
