//! Sessions with clients: from the accepted socket to the spool.
//!
//! A [`listener`] takes connections while there are slots, a [`session`] joins one connection to the server machine. An
//! idle session owns no buffer: bytes are read into a scratch of the thread, and what is left over is copied.

pub mod listener;
pub mod received;
pub mod session;
pub mod slots;
mod transaction;

use crate::policy::relay::Relay;
use crate::policy::routes::Routes;
use crate::spool::Spool;
use async_rustls::rustls::ServerConfig;
use smol::channel::Receiver;
use smol::lock::Semaphore;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What all sessions share.
pub struct Inbound {
    pub hostname: String,
    pub relay: Relay,
    pub routes: Arc<Routes>,
    pub spool: Spool,
    /// None where there is no certificate: STARTTLS is not offered. Replaced when certificates are read again.
    pub tls: RwLock<Option<Arc<ServerConfig>>>,
    /// Octets of the largest message.
    pub message_size: u64,
    pub slots: slots::Slots,
    /// Turns for handshakes: their peak is what memory must be kept for.
    pub handshakes: Semaphore,
    pub counters: Counters,
    /// Closed when the relay is to stop.
    pub stop: Receiver<()>,
}

/// What happened since boot.
#[derive(Debug, Default)]
pub struct Counters {
    pub sessions: AtomicU64,
    /// Connections that found no free slot.
    pub turned_away: AtomicU64,
    pub tls_sessions: AtomicU64,
    pub tls_failures: AtomicU64,
    pub messages: AtomicU64,
    pub refused_recipients: AtomicU64,
}

impl Inbound {
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the relay is about to stop.
    fn stopping(&self) -> bool {
        self.stop.is_closed()
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
