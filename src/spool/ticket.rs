//! Entries that somebody works on.

use super::Id;
use crate::policy::routes::Lane;

/// An entry taken by [`super::Spool::next_due`]: nobody else gets it until the ticket is settled, split, released or
/// dropped (which releases it).
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    pub(super) id: Id,
}

impl Ticket {
    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }
}

/// What the index knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub id: Id,
    /// The lane of all its recipients, unless `mixed`.
    pub lane: Lane,
    /// Its recipients belong to several lanes: read it, then [`super::Spool::split`] it.
    pub mixed: bool,
    /// Attempts that ended in a deferral.
    pub attempts: u16,
    /// When the message came, in unix seconds.
    pub accepted: u64,
    /// The recipients that are still to do, by ordinal.
    pub recipients: u128,
}

/// What an attempt did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Recipients that need nothing more: delivered, or failed where no DSN is due.
    pub done: u128,
    /// When to try the others again; None: at once, uncounted.
    pub defer: Option<Deferral>,
}

/// A next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// Unix seconds.
    pub next: u64,
}
