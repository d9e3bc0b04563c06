//! What the spool's callers and its threads share.

use super::LaneOf;
use super::Reported;
use super::disk::Disk;
use super::folder::Folder;
use super::log::Inbox;
use super::lost::Lost;
use super::marks::Mark;
use super::mover::Bell;
use super::queue::{Entry, Queue};
use super::read::ReadQueue;
use super::record::Place;
use super::seal::Sealer;
use super::segments::Segments;
use super::shares::Shares;
use smol::channel::{Receiver, Sender};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The index and the segments' table: one lock, held briefly, never across a file call.
pub struct State {
    pub queue: Queue,
    pub segments: Segments,
    pub shares: Shares,
}

impl State {
    /// May a transaction that holds `own` KiB of a share grow by so many more? A stranger may always have one message,
    /// however little a quarter is.
    #[must_use]
    pub fn share_has_room(&self, share: u16, own: u32, more: u64) -> bool {
        let held = self.shares.held(share);
        let quarter = self.segments.octets() / 4 / 1024;
        share == 0 || held <= own || u64::from(held) + more <= quarter
    }

    /// A DSN, with its slot, tells of recipients of an entry in flight: it is theirs to settle them, and their message is
    /// held for it if it refers to that; or it tells of their delay.
    pub fn reported(&mut self, reports: &(u32, u64, Reported), dsn: (u64, u32)) {
        let (slot, id, reported) = *reports;
        if let Some(entry) = self.queue.get_mut(slot).filter(|entry| entry.id == id) {
            let mask = reported.done & entry.remaining();
            entry.set_remaining(entry.remaining() & !mask);
            if reported.delayed & entry.remaining() != 0 {
                entry.tries = entry.tries.told();
            }
            self.queue.unreserve(mask.count_ones());
            self.queue.hold(slot, reported.held, dsn);
        }
    }

    /// Where an entry's message is.
    #[must_use]
    pub fn place(&self, entry: &Entry) -> Option<Place> {
        Some(Place {
            generation: entry.generation,
            segment: self.segments.number(entry.generation)?,
            offset: entry.offset,
        })
    }

    /// Puts an entry in flight back, or out of the index if nothing of it is left.
    pub fn end_flight(&mut self, slot: u32) -> Landing {
        let entry = self.queue.get(slot);
        if entry.is_some_and(|entry| entry.remaining() != 0) {
            return Landing {
                is_first: self.queue.put_back(slot),
                let_go: None,
            };
        }
        let gone = self.remove(slot);
        Landing {
            is_first: false,
            let_go: gone.and_then(|dsn| self.let_go(dsn)),
        }
    }

    /// Takes an entry out of the index; the message's id, if it was its last.
    fn remove(&mut self, slot: u32) -> Option<u64> {
        let (entry, generations) = self.queue.remove(slot)?;
        self.segments.release(generations?.iter());
        self.shares.give_back(entry.weight);
        Some(entry.id)
    }

    /// What a DSN that has left referred to needs nothing more.
    fn let_go(&mut self, dsn: u64) -> Option<Mark> {
        let slot = self.queue.let_go(dsn)?;
        let entry = *self.queue.get(slot)?;
        self.queue.unreserve(entry.remaining().count_ones());
        self.remove(slot);
        Some(Mark::Done {
            id: entry.id,
            mask: entry.remaining(),
        })
    }
}

/// What came of the end of a flight.
pub struct Landing {
    /// It is the first that is due.
    pub is_first: bool,
    /// It was a DSN, and the last of it: what it referred to is done. If nobody writes that down, the next start sees it.
    pub let_go: Option<Mark>,
}

/// Figures that the writer counts.
#[derive(Default)]
pub struct Tallies {
    pub flushes: AtomicU64,
    pub commits: AtomicU64,
    pub written: AtomicU64,
}

/// What the spool's callers and its threads share.
pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub folder: Folder,
    /// In every checksum of this spool.
    pub salt: u64,
    /// What seals its records, and opens them.
    pub sealer: Option<Sealer>,
    /// How many segments it is to have, some of which may still be missing.
    pub segments: u32,
    pub lane_of: LaneOf,
    state: Mutex<State>,
    pub inbox: Inbox,
    pub reads: ReadQueue,
    pub mover: Bell,
    /// What the start found damaged, until somebody takes it to tell of it.
    pub lost: Mutex<Vec<Lost>>,
    pub tallies: Tallies,
    /// No fresh segment has proved good since an error.
    pub read_only: AtomicBool,
    /// That error was a full disk.
    pub disk_full: AtomicBool,
    /// No new transactions.
    pub closing: AtomicBool,
    due: (Sender<()>, Receiver<()>),
    /// Stops the background zeroing.
    pub fill_stop: (Mutex<bool>, Condvar),
}

impl Shared {
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: Folder,
        (salt, sealer, segments): (u64, Option<Sealer>, u32),
        lane_of: LaneOf,
        state: State,
    ) -> Self {
        Self {
            disk,
            folder,
            salt,
            sealer,
            segments,
            lane_of,
            state: Mutex::new(state),
            inbox: Inbox::default(),
            reads: ReadQueue::default(),
            mover: Bell::default(),
            lost: Mutex::default(),
            tallies: Tallies::default(),
            read_only: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            due: smol::channel::bounded(1),
            fill_stop: (Mutex::new(false), Condvar::new()),
        }
    }

    /// The index and the table of segments.
    pub fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Tells a waiter that the head of the due order changed.
    pub fn due_changed(&self) {
        // Full: it will look anyway.
        let _ = self.due.0.try_send(());
    }

    /// Waits for [`Self::due_changed`].
    pub async fn due(&self) {
        // The sender lives as long as this.
        let _ = self.due.1.recv().await;
    }

    /// Whether new mail is refused for the disk's sake.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed) || self.closing.load(Ordering::Relaxed)
    }

    /// Ends the spool's threads; the writer syncs nothing more.
    pub fn stop(&self) {
        self.closing.store(true, Ordering::Relaxed);
        *locked(&self.fill_stop.0) = true;
        self.fill_stop.1.notify_all();
        self.mover.stop();
        self.reads.stop();
        self.inbox.stop();
    }
}

/// A lock that a panic elsewhere does not spread from: each holder leaves whole values behind.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
