//! The durable queue: a log of checksummed records in preallocated segments. `FORMAT.md` gives the octets.
//!
//! **What is promised.** A [`Durable`] exists only after `fdatasync` returned: its message survives a crash, a power cut
//! and a full disk. What is recorded as finished stays finished. A bad block costs at most its own message.
//!
//! **Why a log.** A file a message costs a journal commit and several blocks of metadata each. Here every octet of the
//! spool is written once ahead of use, so that later writes change no metadata and cannot meet a full disk; and one
//! `fdatasync` serves every transaction that waits ([`log`]: when; [`batch`]: how).
//!
//! **Why nothing acknowledged is in danger.** A commit begins on a block of its own and fills its last one, so no block
//! that was synced is written again until its segment is used anew. A record's checksum is seeded with its place and a
//! secret, so that neither what an earlier use left behind nor what a message contains is ever taken for a record
//! ([`record`]). A segment's new header is synced before its first record. What follows a gap tells whether the gap is
//! damage, which is kept and told of, or the torn end of a commit that nobody was told of ([`recover`]).
//!
//! **When a segment is used again.** When no live message has a part in it ([`generations`]: however far apart a message's
//! parts are, what lies between them is not kept), and nobody needs its marks: they concern
//! messages in older segments, so either none of those is live, or a checkpoint repeats what they say ([`segments`],
//! [`checkpoint`]). The oldest free one is taken first. Three segments are kept free of mail: a marks-only segment is
//! always released by a checkpoint in the next one, so deferrals and deliveries go on however full the spool is, and one
//! more serves DSNs.
//!
//! **At rest.** With a key, what a record says is sealed before it reaches the stage, so that nothing else of the spool
//! need know ([`seal`]). A segment's life is sealed or in clear as a whole. One that was written in clear is zeroed before
//! a sealed life begins in it: behind a sealed header, nothing is ever left in clear.
//!
//! **When an old message holds a segment.** A message's octets are written once, unless segments run short: then those of
//! a segment that is held by little are appended again, and the segment is free ([`mover`]; [`look`]: which, and at what
//! price). Until the copy is on the disk nobody gets the message, so that its marks cannot miss it, and the original counts
//! ([`lifted`]). A copy carries its state with it, so that it needs nothing before it. An original that is not yet written
//! over can do no harm: the segments of a log are written over from the oldest on, so it goes before its copy, or a
//! checkpoint of its segment, which does not list it, comes before both.
//!
//! **What a stranger can hold.** A quarter of the spool, by its address ([`shares`]); it is written with the message, and
//! counted again at a start.
//!
//! **When the disk fails.** What a failed write or sync held is refused and never tried again; the writer goes to a
//! fresh segment, and new mail waits until that one has proved good ([`mend`]).
//!
//! **When the disk damages a segment.** What is whole in it is delivered or moved on, and of the rest people are told; then
//! the file is set aside for their eyes, and another that gives back what was written takes its place ([`renewal`]).
//!
//! **Memory.** The index has 56 octets for an entry, reserved at start ([`queue`]); addresses and bodies stay on the
//! disk. Only a message whose parts lie apart has its segments listed beside the index, eight octets each. A transaction
//! gathers one part at a time.

mod batch;
mod by_hand;
mod checkpoint;
mod claim;
mod damaged;
pub mod disk;
mod entry;
mod envelope;
mod filesystem;
mod findings;
mod folder;
mod former;
mod generations;
mod header;
mod id;
mod inspect;
mod items;
mod known;
mod lifted;
mod log;
mod look;
mod lost;
mod marks;
mod mend;
mod message;
mod mover;
mod note;
mod octets;
mod open;
mod pressure;
mod queue;
mod read;
mod record;
mod recover;
mod renewal;
mod replay;
mod scan;
mod seal;
mod segments;
mod shared;
mod shares;
#[cfg(test)]
mod tests;
mod ticket;
mod transaction;
mod tries;

pub use by_hand::Lasting;
pub use disk::{Disk, DiskFile};
pub use envelope::{Addressee, Facts, Last, Recipient, Reported, Role, Sender, Settles};
pub use filesystem::FileSystem;
pub use findings::Finding;
pub use id::Id;
pub use inspect::{Inspector, Queued, Waiting};
pub use lost::Lost;
pub use message::{Message, ReadError};
pub use note::{Note, Reply};
pub use open::OpenError;
pub use seal::Key;
pub use shares::Source;
pub use ticket::{Deferral, Info, Outcome, Ticket};
pub use transaction::{Durable, Error, Transaction};

use crate::limits;
use crate::policy::routes::Lane;
use claim::Claim;
use log::Request;
use message::Referred;
use segments::Class;
use shared::Shared;
use smol::channel::Receiver;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where the spool is and how large.
#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    /// Octets; rounded down to whole segments.
    pub size: u64,
    /// Seals what is written from now on; None for a spool in clear.
    pub key: Option<Key>,
}

/// Which lane an address belongs to.
pub type LaneOf = Box<dyn Fn(&str) -> Lane + Send + Sync>;

/// The queue; clones share it.
#[derive(Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

/// Ends the threads with the last clone.
struct Handle {
    shared: Arc<Shared>,
    /// Closed once no thread is left.
    ended: Receiver<()>,
    findings: Vec<Finding>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Why no transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room on the disk or in the index: 452 4.3.1.
    Full,
    /// The sender's address would hold more than a quarter of the spool: 452 4.3.1.
    OverShare,
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
    /// True while no new mail is taken: no fresh segment has proved good after an error, or the spool has stopped.
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
        open::open(options, Arc::new(disk), lane_of, now)
    }

    /// The most octets that one message may have to fit into an empty spool of `size` octets; 0 if the size is too small.
    /// Other mail may leave less.
    #[must_use]
    pub const fn room_for_mail(size: u64) -> u64 {
        segments::room_for_mail(size)
    }

    /// Octets of the smallest spool; a quarter of it, and of any larger one, is room enough for a message.
    #[must_use]
    pub const fn smallest() -> u64 {
        (limits::SPOOL_SEGMENTS * limits::SPOOL_SEGMENT) as u64
    }

    /// What the start found wrong; it is in the log, too.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.handle.findings
    }

    /// The damaged messages that the start found and somebody can be told of; once.
    #[must_use]
    pub fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut *shared::locked(&self.handle.shared.lost))
    }

    /// Nobody is to be told of a damaged message: what is left of it need not stay in the spool.
    pub fn let_go(&self, id: Id) {
        let shared = &self.handle.shared;
        shared.state().segments.untold.remove(&id.0);
        shared.inbox.push(Request::Upkeep);
    }

    /// Begins a transaction of a client that is trusted with the whole spool; `size_hint` is what MAIL's SIZE claims, in
    /// octets.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin(&self, now_micros: u64, size_hint: Option<u64>) -> Result<Transaction, Refusal> {
        self.begin_from(None, now_micros, size_hint)
    }

    /// The same; a stranger's `source` may hold a quarter of the spool, and one message at any time.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin_from(
        &self,
        source: Option<Source>,
        now_micros: u64,
        size_hint: Option<u64>,
    ) -> Result<Transaction, Refusal> {
        self.transaction(now_micros, Class::Mail, size_hint.unwrap_or(0), source)
    }

    /// Begins a delivery status notification; it may use some of the segments that are kept free of mail.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin_dsn(&self, now_micros: u64) -> Result<Transaction, Refusal> {
        self.transaction(now_micros, Class::Dsn, 0, None)
    }

    fn transaction(
        &self,
        now_micros: u64,
        class: Class,
        size: u64,
        source: Option<Source>,
    ) -> Result<Transaction, Refusal> {
        let shared = &self.handle.shared;
        if shared.is_read_only() {
            return Err(match shared.disk_full.load(Ordering::Relaxed) {
                true => Refusal::Full,
                false => Refusal::ReadOnly,
            });
        }
        let mut state = shared.state();
        let room = match class {
            Class::Mail => {
                state.segments.free_for_mail() >= size.saturating_add(record::BLOCK as u64)
            }
            _ => state.segments.admits(class),
        };
        if !room || !state.queue.has_room() {
            return Err(Refusal::Full);
        }
        let share = state.shares.of(source);
        let least = size.saturating_add(record::BLOCK as u64);
        if !state.share_has_room(share, 0, least.div_ceil(1024)) {
            return Err(Refusal::OverShare);
        }
        let id = state.queue.new_id(now_micros);
        drop(state);
        let claim = Claim::new(shared.clone(), share);
        Ok(Transaction::new(id, class, claim, source))
    }

    /// The newest message's id, given in this life or found on the disk; that of 1970 if there is none.
    #[must_use]
    pub fn newest(&self) -> Id {
        Id(self.handle.shared.state().queue.newest())
    }

    /// Shifts each next try by so many seconds, because the clock was set; one that would be later than `longest_wait` from
    /// now is due at once. Returns the first id of the time since, and how far ahead of the clock ids are from now on.
    pub fn clock_was_set(
        &self,
        by: i64,
        now_micros: u64,
        longest_wait: Duration,
    ) -> (Id, Duration) {
        let shared = &self.handle.shared;
        let mut state = shared.state();
        let (first, ahead) = state.queue.clock_was_set(by, now_micros, longest_wait);
        drop(state);
        shared.due_changed();
        (Id(first), Duration::from_micros(ahead))
    }

    /// Waits for an entry that is due, and takes it. `now` gives unix seconds.
    pub async fn next_due(&self, now: impl Fn() -> u64) -> Ticket {
        loop {
            let wait = match self.take_due(now()) {
                Ok(ticket) => return ticket,
                Err(wait) => wait,
            };
            let timer = async {
                smol::Timer::after(wait).await;
            };
            smol::future::or(self.handle.shared.due(), timer).await;
        }
    }

    /// An entry that is due, or how long to wait before the next look.
    fn take_due(&self, now: u64) -> Result<Ticket, Duration> {
        let shared = &self.handle.shared;
        let mut state = shared.state();
        let taken = state.queue.take_due(now);
        let next = state.queue.next_due();
        drop(state);
        match taken {
            Some((slot, entry)) => {
                if next.is_some() {
                    // For another waiter.
                    shared.due_changed();
                }
                Ok(Ticket::new(shared.clone(), slot, entry.id))
            }
            None => {
                let seconds = next.map_or(u64::MAX, |next| next.saturating_sub(now));
                Err(Duration::from_secs(seconds).min(limits::QUEUE_RECHECK))
            }
        }
    }

    /// What the index knows of an entry.
    #[must_use]
    pub fn info(&self, ticket: &Ticket) -> Info {
        let state = ticket.shared.state();
        let entry = state.queue.get(ticket.slot);
        let lane = entry.map_or(0, |entry| entry.lane);
        Info {
            id: ticket.id(),
            lane: Lane(lane),
            mixed: lane == queue::MIXED,
            attempts: entry.map_or(0, |entry| entry.tries.count()),
            delay_told: entry.is_some_and(|entry| entry.tries.is_told()),
            recipients: entry.map_or(0, |entry| entry.remaining()),
        }
    }

    /// Reads an entry's envelope; its body follows by [`Message::next_chunk`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, ticket: &Ticket) -> Result<Message, ReadError> {
        self.read_with(ticket, self.info(ticket).recipients).await
    }

    /// The same, with these recipients of the message, which may be other entries'.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_with(&self, ticket: &Ticket, wanted: u128) -> Result<Message, ReadError> {
        let id = ticket.id().number();
        let (place, refers, attempts) = {
            let state = ticket.shared.state();
            let entry = state.queue.get(ticket.slot);
            let attempts = entry.map_or(0, |one| one.tries.count());
            let place = entry.and_then(|one| state.place(one));
            let held = state.queue.held_for(id);
            let refers = held.and_then(|held| {
                let (id, place) = (held.id, state.place(held)?);
                Some(Referred { id, place })
            });
            (place, refers, attempts)
        };
        let place = place.ok_or(ReadError::Io(io::ErrorKind::NotFound.into()))?;
        let shared = ticket.shared.clone();
        let mut message = Message::open(shared, id, place, wanted, refers).await?;
        message.attempts = attempts;
        Ok(message)
    }

    /// Replaces an entry by one for each group; each is due at once. Recipients in no group stay together in one entry.
    pub fn split(&self, ticket: Ticket, groups: &[(Lane, u128)]) {
        ticket.split(groups);
    }

    /// Records what an attempt did. Returns when that is written, not synced.
    pub async fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.settle_noting(ticket, outcome, &Note::default()).await;
    }

    /// The same, and keeps what was said about the deferred, for who looks into the queue.
    pub async fn settle_noting(&self, ticket: Ticket, outcome: Outcome, note: &Note) {
        let marks = ticket.land(outcome);
        if marks == [None, None] {
            return;
        }
        self.mark(marks, note.bytes()).await;
    }

    async fn mark(&self, marks: [Option<marks::Mark>; 2], note: Vec<u8>) {
        let (reply, written) = smol::channel::bounded(1);
        let request = Request::Marks(marks, note, reply);
        self.handle.shared.inbox.push(request);
        within(limits::SPOOL_COMMIT, async {
            // Dropped: the spool is closed.
            let _ = written.recv().await;
            Some(())
        })
        .await;
    }

    /// Whether one more DSN may refer to its message ([`Reported::held`]).
    #[must_use]
    pub fn may_hold(&self) -> bool {
        self.handle.shared.state().queue.may_hold()
    }

    /// Puts an entry back as it was; it is due at once.
    pub fn release(&self, ticket: Ticket) {
        drop(ticket);
    }

    /// Figures for status and metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let shared = &self.handle.shared;
        let state = shared.state();
        Counts {
            queued: state.queue.waiting() as u64,
            in_flight: state.queue.in_flight() as u64,
            free: state.segments.free_for_mail(),
            capacity: state.segments.octets(),
            flushes: shared.tallies.flushes.load(Ordering::Relaxed),
            commits: shared.tallies.commits.load(Ordering::Relaxed),
            written: shared.tallies.written.load(Ordering::Relaxed),
            read_only: shared.is_read_only(),
        }
    }

    /// Syncs what is written, marks the spool as cleanly closed and stops its threads. New transactions are refused.
    ///
    /// # Errors
    /// The disk's: the next start then recovers as after a crash.
    pub async fn close(self) -> Result<(), io::Error> {
        let shared = &self.handle.shared;
        shared.closing.store(true, Ordering::Relaxed);
        let (reply, closed) = smol::channel::bounded(1);
        shared.inbox.push(Request::Close(reply));
        let late = || Err(io::ErrorKind::TimedOut.into());
        let result = within(limits::SPOOL_COMMIT, async { closed.recv().await.ok() })
            .await
            .unwrap_or_else(late);
        shared.stop();
        within(limits::SPOOL_COMMIT, async {
            self.handle.ended.recv().await.ok()
        })
        .await;
        shared.folder.unlock();
        result
    }
}

/// A deadline for the spool's threads; None when it has passed.
async fn within<T>(deadline: Duration, wanted: impl Future<Output = Option<T>>) -> Option<T> {
    let late = async {
        smol::Timer::after(deadline).await;
        None
    };
    smol::future::or(wanted, late).await
}
