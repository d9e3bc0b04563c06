//! The memory ceiling: what the relay can come to use, known at boot.

use super::config::Config;
use crate::inbound::mailboxes::{Mailboxes, Wish};
use crate::limits;
use crate::outbound::attempt::Connection;
use crate::outbound::probe::Prober;
use crate::outbound::schedule::Schedule;
use std::fmt;

/// The ceiling's parts, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    base: usize,
    sessions: usize,
    per_session: usize,
    handshakes: usize,
    index: usize,
    dns: usize,
    /// `--recipients` and `--alias`, while they are read again and the old ones still serve.
    directory: usize,
    outbound: usize,
    /// While the queue is read at start, before there are sessions and attempts.
    recovery: usize,
}

/// What one session can hold at once: at rest, a record and a read under way, replies, an open transaction.
const PER_SESSION: usize = limits::SESSION_FIXED
    + limits::TLS_JOINED
    + limits::READ_CHUNK
    + limits::REPLIES_WAITING
    + 2 * limits::REPLY
    + limits::SPOOL_PART
    + MAILBOXES;

/// Which mailboxes its message has.
const MAILBOXES: usize = Mailboxes::memory(limits::RECIPIENTS);

/// What an alias stands for, while it goes into the spool.
const EXPANSION: usize = limits::ALIAS_ADDRESSES
    + limits::RECIPIENTS * (size_of::<String>() + size_of::<(&str, u64)>() + size_of::<Wish>());

/// The old ones and the new: a list that grows is twice in memory for a moment.
fn directory(config: &Config) -> usize {
    let list = 4 * limits::RECIPIENTS_LISTED * size_of::<u64>();
    let aliases = limits::ALIAS_FILE + 2 * limits::ALIAS_ITEMS * limits::ALIAS_ITEM;
    config.recipients.as_ref().map_or(0, |_| list) + config.alias.as_ref().map_or(0, |_| aliases)
}

impl Ceiling {
    /// The ceiling of a relay with this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let asks_clients = config.client_ca.is_some() || !config.relay_clientcerts.is_empty();
        let client_chain = if asks_clients {
            limits::CLIENT_CHAIN
        } else {
            0
        };
        // Where a message's parts lie apart, their segments are remembered one by one.
        let parts = usize::try_from(config.spool.size).unwrap_or(usize::MAX) / limits::SPOOL_PART;
        Self {
            base: limits::BASE_MEMORY,
            sessions: config.sessions,
            per_session: PER_SESSION
                + client_chain
                + config.alias.as_ref().map_or(0, |_| EXPANSION)
                + if config.verify_rcpt {
                    Prober::QUESTION
                } else {
                    0
                },
            handshakes: limits::HANDSHAKES * limits::HANDSHAKE_PEAK,
            index: limits::QUEUE_ENTRIES * limits::QUEUE_ENTRY
                + parts * size_of::<u64>()
                + limits::DSN_HOLDS * 64,
            dns: limits::DNS_CACHE,
            directory: directory(config),
            outbound: Schedule::most_memory(config.outbound)
                + config.outbound * limits::CONNECTION_TLS
                + if config.verify_rcpt {
                    Prober::MEMORY
                        + limits::VERIFY_CONNECTIONS * (Connection::MEMORY + limits::CONNECTION_TLS)
                } else {
                    0
                },
            recovery: limits::QUEUE_ENTRIES * limits::RECOVERY_ENTRY,
        }
    }

    fn at_work(&self) -> usize {
        self.sessions * self.per_session + self.handshakes + self.outbound
    }

    /// Octets in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.base + self.index + self.dns + self.directory + self.at_work().max(self.recovery)
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |octets: usize| octets.div_ceil(1024);
        write!(
            f,
            "memory ceiling {} KiB = base {} + queue index {} + dns answers {} + ",
            kib(self.total()),
            kib(self.base),
            kib(self.index),
            kib(self.dns)
        )?;
        if self.directory > 0 {
            write!(f, "names {} + ", kib(self.directory))?;
        }
        if self.at_work() < self.recovery {
            return write!(f, "reading the queue at start {}", kib(self.recovery));
        }
        let (sessions, each) = (self.sessions, kib(self.per_session));
        write!(
            f,
            "{sessions} sessions x {each} + handshakes {} + outbound {}",
            kib(self.handshakes),
            kib(self.outbound)
        )
    }
}
