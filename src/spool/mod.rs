//! The durable queue: a log of checksummed records in preallocated segments.

pub mod disk;
mod envelope;
mod id;
mod message;
mod ticket;
mod transaction;

pub use disk::{Disk, DiskFile};
pub use envelope::{Facts, Last, Recipient, Return, Sender};
pub use id::Id;
pub use message::{Message, ReadError};
pub use ticket::{Deferral, Info, Outcome, Ticket};
pub use transaction::{Durable, Error, Transaction};

use crate::policy::routes::Lane;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the spool is and how large.
#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    /// Octets; rounded down to whole segments.
    pub size: u64,
}

/// Which lane an address belongs to.
pub type LaneOf = Box<dyn Fn(&str) -> Lane + Send + Sync>;

/// The queue; clones share it.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<()>,
}

/// Why a spool does not open.
#[derive(Debug)]
pub struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why no transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room on the disk or in the index: 452 4.3.1.
    Full,
    /// The disk fails, or the spool is closing: 451 4.3.0.
    ReadOnly,
}

/// Figures for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recipients-with-one-next-try that wait, due or not.
    pub queued: u64,
    /// Tickets held.
    pub in_flight: u64,
    /// Octets that new mail may use now.
    pub free: u64,
    /// Octets of the whole spool.
    pub capacity: u64,
    /// Calls of fdatasync since start.
    pub flushes: u64,
    /// Messages accepted since start.
    pub commits: u64,
    /// Octets written to segments since start.
    pub written: u64,
    /// True while no fresh segment has proved good after an error.
    pub read_only: bool,
}

impl Spool {
    /// Opens or makes the spool, recovers the queue and starts the spool's threads.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(
        options: &Options,
        disk: impl Disk,
        lane_of: LaneOf,
        now: u64,
    ) -> Result<Self, OpenError> {
        let _ = (options, disk, lane_of, now);
        todo!()
    }

    /// Begins a transaction; `size_hint` is what MAIL's SIZE claims, in octets.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin(&self, now_micros: u64, size_hint: Option<u64>) -> Result<Transaction, Refusal> {
        let _ = (&self.shared, now_micros, size_hint);
        todo!()
    }

    /// Begins a delivery status notification; it may use the segments that are kept free of mail.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin_dsn(&self, now_micros: u64) -> Result<Transaction, Refusal> {
        let _ = now_micros;
        todo!()
    }

    /// Waits for an entry that is due, and takes it. `now` gives unix seconds.
    pub async fn next_due(&self, now: impl Fn() -> u64) -> Ticket {
        let _ = now;
        todo!()
    }

    /// What the index knows of an entry.
    #[must_use]
    pub fn info(&self, ticket: &Ticket) -> Info {
        let _ = ticket;
        todo!()
    }

    /// Reads an entry's envelope; its body follows by [`Message::next_chunk`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, ticket: &Ticket) -> Result<Message, ReadError> {
        let _ = ticket;
        todo!()
    }

    /// Replaces an entry by one for each group; each is due at once. Recipients in no group stay together in one entry.
    pub fn split(&self, ticket: Ticket, groups: &[(Lane, u128)]) {
        let _ = (ticket, groups);
        todo!()
    }

    /// Records what an attempt did. Returns when that is written, not synced.
    pub async fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let _ = (ticket, outcome);
        todo!()
    }

    /// Puts an entry back as it was; it is due at once.
    pub fn release(&self, ticket: Ticket) {
        drop(ticket);
    }

    /// Figures for status and metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        todo!()
    }

    /// Syncs what is written, marks the spool as cleanly closed and stops its threads. New transactions are refused.
    ///
    /// # Errors
    /// The disk's: the next start then recovers as after a crash.
    pub async fn close(self) -> Result<(), io::Error> {
        todo!()
    }
}
