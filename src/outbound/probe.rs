//! Whether a recipient exists, as its next hop has it: `--verify-rcpt`.
//!
//! What is not known is accepted: a next hop that is down, slow or busy must not cost mail.

mod memory;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::Semaphore;

use super::attempt::{Connector, Resting, Said};
use super::route::Router;
use crate::limits;
use crate::net::deadline::within;
use crate::policy::target::Target;
use memory::Memory;

/// Asks next hops, and remembers what they said. One is made at boot and shared.
pub struct Prober {
    router: Arc<Router>,
    connector: Connector,
    turns: Semaphore,
    memory: Mutex<Memory>,
}

/// The target's reply, where it refuses a recipient for good.
pub type Refused = Option<String>;

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
            memory: Mutex::default(),
        }
    }

    /// What is remembered of the address, or of a target that said nothing; None: nothing.
    pub fn known(&self, target: &Target, address: &str) -> Option<Refused> {
        let (mut memory, now) = (self.memory(), Instant::now());
        let known = memory.get(address, now);
        known.or_else(|| memory.get(&target.to_string(), now))
    }

    /// Asks the target. Takes [`limits::VERIFY_WAIT`] at most, and then the address is not refused.
    pub async fn ask(&self, target: &Target, address: &str) -> Refused {
        let _turn = self.turns.try_acquire()?;
        let asked = within(limits::VERIFY_WAIT, async {
            // Its domain matters to a target by MX alone, and that is never asked.
            match self.router.hops(target, "").await {
                Ok(mut hops) => Ok(self.connector.ask(&mut hops, address).await),
                Err(_) => Ok(Said::Nothing),
            }
        });
        match asked.await.unwrap_or(Said::Nothing) {
            Said::Accepted => self.remember(address, None, limits::VERIFY_ACCEPTED),
            Said::Refused(mut reply) => {
                reply.truncate(limits::REPLY_QUOTED + 16); // it is ASCII
                log::info!("verify to={address:?} target={target} result=refused reply={reply:?}");
                self.remember(address, Some(reply), limits::VERIFY_REFUSED)
            }
            Said::Undecided => None,
            Said::Nothing => {
                log::info!("verify to={address:?} target={target} result=unknown then=accepted");
                self.remember(&target.to_string(), None, limits::VERIFY_PAUSE)
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, name: &str, refused: Refused, lasts: Duration) -> Refused {
        let refused: Option<Box<str>> = refused.map(Into::into);
        self.memory()
            .put(name, refused.clone(), lasts, Instant::now());
        refused.map(Into::into)
    }
}
