//! The memory ceiling: what the relay can come to use, known at boot.

use super::config::Config;
use crate::limits;
use crate::outbound::schedule::Schedule;
use std::fmt;

/// The ceiling's parts, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    base: u64,
    sessions: u64,
    per_session: u64,
    handshakes: u64,
    index: u64,
    outbound: u64,
}

impl Ceiling {
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let per_session = (limits::SESSION_FIXED + limits::READ_CHUNK + limits::SPOOL_PART) as u64;
        Self {
            base: limits::BASE_MEMORY as u64,
            sessions: config.sessions as u64,
            per_session,
            handshakes: (limits::HANDSHAKES * limits::HANDSHAKE_PEAK) as u64,
            index: (limits::QUEUE_ENTRIES * limits::QUEUE_ENTRY) as u64,
            outbound: (Schedule::most_memory(config.outbound)
                + config.outbound * limits::CONNECTION_TLS) as u64,
        }
    }

    /// Octets in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.base + self.sessions * self.per_session + self.handshakes + self.index + self.outbound
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |octets: u64| octets.div_ceil(1024);
        write!(
            f,
            "memory ceiling {} KiB = base {} + {} sessions x {} + handshakes {} + queue index {} + outbound {}",
            kib(self.total()),
            kib(self.base),
            self.sessions,
            kib(self.per_session),
            kib(self.handshakes),
            kib(self.index),
            kib(self.outbound),
        )
    }
}
