//! What a postmaster does to the queue by hand: try now, take out.

use super::entry::Entry;
use super::log::Request;
use super::marks::Mark;
use super::{Id, Spool, Ticket, within};
use crate::limits;
use crate::policy::routes::Lane;
use std::collections::HashSet;
use std::io;

/// How long a change of the next try lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Until the spool is closed: whoever works on the queue acts on it at once.
    WhileOpen,
    /// Beyond that.
    OnDisk,
}

impl Spool {
    /// Makes what waits for a later try due at once, all or one message's. Returns how many entries that were; those in
    /// flight are left as they are.
    pub async fn hasten(&self, id: Option<Id>, lasting: Lasting) -> usize {
        let shared = &self.handle.shared;
        let (mut count, mut marks) = (0, Vec::new());
        let is_meant = |entry: &Entry| id.is_none_or(|id| id.0 == entry.id);
        shared.state().queue.hasten(is_meant, |entry| {
            count += 1;
            if lasting == Lasting::OnDisk {
                marks.push(Mark::Defer {
                    id: entry.id,
                    mask: entry.remaining(),
                    next: 0,
                    tries: entry.tries,
                });
            }
        });
        shared.due_changed();
        for pair in marks.chunks(2) {
            let marks = [pair.first().copied(), pair.get(1).copied()];
            self.mark(marks, Vec::new()).await;
        }
        count
    }

    /// Makes due what waits because no host of its destination was reached ([`super::Deferral::unreached`]), until the spool
    /// is closed. Returns how many entries that were.
    pub fn wake(&self, lane: Lane) -> usize {
        let shared = &self.handle.shared;
        let is_meant = |entry: &Entry| entry.lane == lane.0 && entry.tries.is_unreached();
        let mut count = 0;
        shared.state().queue.hasten(is_meant, |_| count += 1);
        shared.due_changed();
        count
    }

    /// The lanes of what would be woken.
    #[must_use]
    pub fn unreached(&self) -> HashSet<Lane> {
        let state = self.handle.shared.state();
        let unreached = state.queue.entries().filter(|it| it.tries.is_unreached());
        unreached.map(|entry| Lane(entry.lane)).collect()
    }

    /// Takes a message's entries that wait, due or not.
    #[must_use]
    pub fn take(&self, id: Id) -> Vec<Ticket> {
        let shared = &self.handle.shared;
        let slots = shared.state().queue.take(id.0);
        let ticket = |slot| Ticket::new(shared.clone(), slot, id.0);
        slots.into_iter().map(ticket).collect()
    }

    /// The DSN for which a message is held, if it is ([`super::Reported::held`]).
    #[must_use]
    pub fn holder(&self, id: Id) -> Option<Id> {
        self.handle.shared.state().queue.holder(id.0).map(Id)
    }

    /// How many entries a message has, in flight or not; what is only held for a DSN is none.
    #[must_use]
    pub fn entries_of(&self, id: Id) -> usize {
        let state = self.handle.shared.state();
        let its = state.queue.entries();
        let its = its.filter(|entry| entry.id == id.0 && !entry.is_held());
        its.count()
    }

    /// The recipients, by ordinal, of deferred messages, and when they are tried next, whatever the disk says, in unix
    /// seconds; 0: made due by [`Self::hasten`], and not concluded since. Of the entries from a slot on, so many at a time;
    /// with the slot at which to go on.
    #[must_use]
    pub fn next_tries(&self, from: u32) -> (Vec<(Id, u128, u64)>, Option<u32>) {
        let state = self.handle.shared.state();
        let slots = state.queue.slots();
        let end = slots.min(from.saturating_add(limits::CONTROL_NOW as u32));
        let entries = (from..end).filter_map(|slot| state.queue.get(slot));
        let deferred = entries.filter(|entry| !entry.is_held() && entry.tries.count() > 0);
        let next = |entry: &Entry| (Id(entry.id), entry.remaining(), entry.next.into());
        (deferred.map(next).collect(), (end < slots).then_some(end))
    }

    /// Returns when all marks so far are on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync(&self) -> io::Result<()> {
        let (reply, synced) = smol::channel::bounded(1);
        self.handle.shared.inbox.push(Request::Sync(reply));
        within(limits::SPOOL_COMMIT, async { synced.recv().await.ok() })
            .await
            .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
