//! Whether a recipient exists elsewhere: asked by a closure, for the sending side is not known here.

use std::future::Future;
use std::pin::Pin;

use super::Inbound;
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
    /// The address again, unless it is refused. Trusted clients are asked about, too: what they send may bounce as well.
    pub(super) async fn verified(&self, address: String) -> Result<String, Reply> {
        match &self.verify {
            Some(verify) if verify(&address).await == Existence::Refused => {
                Err(reply::UNKNOWN_MAILBOX)
            }
            _ => Ok(address),
        }
    }
}
