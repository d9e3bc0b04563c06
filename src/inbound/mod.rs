//! Sessions with clients: from the accepted socket to the spool.
//!
//! A [`listener`] takes connections while there are slots, a [`session`] joins one connection to the server machine. An
//! idle session owns no buffer: what comes is read into a scratch of the thread, and copied into one that lasts until it is
//! used up.

pub mod listener;
pub mod mailboxes;
mod pace;
pub mod received;
pub mod session;
pub mod slots;
pub mod tls_counters;
mod transaction;
pub mod turns;
pub mod verify;

use crate::policy::directory::Names;
use crate::spool::Spool;
use crate::tls::server::Config;
use smol::channel::Receiver;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tls_counters::TlsCounters;

/// What all sessions share.
pub struct Inbound {
    /// In the greeting, EHLO and Received.
    pub hostname: String,
    /// Who may send to whom, and who exists.
    pub names: Arc<Names>,
    /// `--verify-rcpt`.
    pub verify: Option<verify::Verify>,
    /// Where accepted mail is kept.
    pub spool: Spool,
    /// None where there is no certificate: STARTTLS is not offered. Replaced when certificates are read again.
    pub tls: RwLock<Option<Arc<Config>>>,
    /// Whether there is one; fixed at boot.
    pub has_tls: bool,
    /// Octets of the largest message.
    pub message_size: u64,
    /// Places for sessions.
    pub slots: slots::Slots,
    /// Turns for handshakes.
    pub handshakes: turns::Turns,
    /// What happened since boot.
    pub counters: Arc<Counters>,
    /// Closed when the relay is to stop.
    pub stop: Receiver<()>,
    /// Closed when open transactions have had their time, too.
    pub cut: Receiver<()>,
    /// Microseconds since 1970, of a clock that is watched for jumps: ids are made of it.
    pub clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// What happened since boot.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that got a slot.
    pub sessions: AtomicU64,
    /// Connections that found no free slot.
    pub turned_away: AtomicU64,
    /// When the log last told of one, in units of [`crate::limits::TURNED_AWAY_LOG`] since 1970.
    pub told: AtomicU64,
    /// Handshakes that came to their end.
    pub tls_sessions: AtomicU64,
    /// Handshakes that did not.
    pub tls_failures: AtomicU64,
    /// What they agreed on, and why they did not.
    pub tls: TlsCounters,
    /// Messages accepted.
    pub messages: AtomicU64,
    /// RCPTs refused.
    pub refused_recipients: AtomicU64,
}

impl Inbound {
    fn tls(&self) -> Option<Arc<Config>> {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sessions, turned_away, tls, tls_failures, messages, refused] = [
            &self.sessions,
            &self.turned_away,
            &self.tls_sessions,
            &self.tls_failures,
            &self.messages,
            &self.refused_recipients,
        ]
        .map(|counter| counter.load(Ordering::Relaxed));
        write!(
            f,
            "sessions={sessions} turned-away={turned_away} tls={tls} tls-failures={tls_failures} "
        )?;
        write!(f, "messages={messages} refused-recipients={refused}")
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
