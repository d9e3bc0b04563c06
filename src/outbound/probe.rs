//! Whether a recipient exists, as its next hop has it: `--verify-rcpt`.
//!
//! What is not known is accepted: a next hop that is down, slow or busy must not cost mail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::Semaphore;

use super::attempt::{Connector, Resting, Said};
use super::route::Router;
use crate::limits;
use crate::net::deadline::within;
use crate::policy::target::Target;

/// Asks next hops, and remembers what they said. One is made at boot and shared.
pub struct Prober {
    router: Arc<Router>,
    connector: Connector,
    turns: Semaphore,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of an address or, under its name, of a target that said nothing.
struct Known {
    refused: bool,
    until: Instant,
}

impl Prober {
    /// What it can come to hold, beside its connections: octets.
    pub const MEMORY: usize =
        limits::VERIFY_ENTRIES * limits::VERIFY_ENTRY + limits::HOSTS_RESTING * Resting::ENTRY;

    /// With connections of its own, beside those of the schedule.
    #[must_use]
    pub fn new(router: Arc<Router>, connector: Connector) -> Self {
        Self {
            router,
            connector,
            turns: Semaphore::new(limits::VERIFY_CONNECTIONS),
            known: Mutex::default(),
        }
    }

    /// Whether the target refuses the address for good. Takes [`limits::VERIFY_WAIT`] at most, and then it is not refused.
    pub async fn is_refused(&self, target: &Target, address: &str) -> bool {
        let host = target.to_string();
        if let Some(refused) = self.known(address).or_else(|| self.known(&host)) {
            return refused;
        }
        let Some(_turn) = self.turns.try_acquire() else {
            return false;
        };
        let asked = within(limits::VERIFY_WAIT, async {
            // Its domain matters to a target by MX alone, and that is never asked.
            match self.router.hops(target, "").await {
                Ok(mut hops) => Ok(self.connector.ask(&mut hops, address).await),
                Err(_) => Ok(Said::Nothing),
            }
        });
        match asked.await.unwrap_or(Said::Nothing) {
            Said::Accepted => self.remember(address, false, limits::VERIFY_ACCEPTED),
            Said::Refused(reply) => {
                log::info!("verify to={address:?} target={target} result=refused reply={reply:?}");
                self.remember(address, true, limits::VERIFY_REFUSED)
            }
            Said::Undecided => false,
            Said::Nothing => {
                log::info!("verify to={address:?} target={target} result=unknown then=accepted");
                self.remember(&host, false, limits::VERIFY_PAUSE)
            }
        }
    }

    fn known(&self, name: &str) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(name).filter(|known| known.until > Instant::now());
        found.map(|known| known.refused)
    }

    fn remember(&self, name: &str, refused: bool, lasts: Duration) -> bool {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::VERIFY_ENTRIES {
            known.retain(|_, known| known.until > now);
        }
        if known.len() >= limits::VERIFY_ENTRIES {
            known.clear();
        }
        let until = now + lasts;
        known.insert(name.to_owned(), Known { refused, until });
        refused
    }
}
