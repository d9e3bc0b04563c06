//! Which message is tried when: due messages go into their lanes, and workers are started, counted and ended.

use super::attempt::{ChunkRefusers, Connector, Resting};
use super::by_hand::Hand;
use super::clocks::{Clock, Clocks, Steady};
use super::damage;
use super::destinations::Destination;
use super::down::Down;
use super::dsn;
use super::lanes::{Age, Key, Lanes, Left, Pushed};
use super::maildir::Maildir;
use super::notes::Notes;
use super::remote::Unreached;
use super::route::Router;
use super::trying::Trying;
use super::worker;
use crate::limits;
use crate::policy::directory::Names;
use crate::policy::retry;
use crate::policy::routes::Routes;
use crate::policy::sender::Senders;
use crate::policy::target::Target;
use crate::spool::{Spool, Ticket};
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded};
use smol::lock::Semaphore;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// What the owner set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--hostname`: in DSNs and the names of Maildir files.
    pub hostname: String,
    /// `--outbound`.
    pub outbound: usize,
    /// `--retry`.
    pub retry: retry::Schedule,
    /// `--lifetime`.
    pub lifetime: Duration,
    /// `--relay-sender`.
    pub senders: Senders,
}

/// What the schedule works with.
pub struct Parts {
    /// Where the mail is.
    pub spool: Spool,
    /// Whom reports go to, and what the flags say of destinations.
    pub names: Arc<Names>,
    /// What DNS says of them.
    pub router: Arc<Router>,
    /// How next hops are spoken to.
    pub connector: Connector,
    /// Where the workers run.
    pub executor: Arc<Executor<'static>>,
    /// Microseconds since 1970.
    pub clock: Clock,
    /// Tells when that one is set.
    pub steady: Steady,
}

/// What has happened since start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Recipients that a next hop or a Maildir took.
    pub delivered: AtomicU64,
    /// Deferrals of a recipient.
    pub deferred: AtomicU64,
    /// Recipients given up.
    pub failed: AtomicU64,
    /// DSNs queued.
    pub dsns: AtomicU64,
    /// Notes to the postmaster queued, of failures that have no sender to be told.
    pub notes: AtomicU64,
}

/// The sending side at work. [`Schedule::stop`] ends it; dropped without, its tasks end when their executor does.
pub struct Schedule {
    shared: Arc<Shared>,
    stop: Sender<()>,
}

/// What the dispatcher and the workers share.
pub(super) struct Shared {
    pub spool: Spool,
    pub names: Arc<Names>,
    pub routes: Arc<Routes>,
    pub router: Arc<Router>,
    pub connector: Connector,
    pub clocks: Clocks,
    pub settings: Settings,
    pub maildir: Option<Maildir>,
    pub counters: Counters,
    /// For who looks.
    pub trying: Trying,
    /// Destinations that cannot be reached.
    pub down: Down,
    /// Turns at writing a DSN.
    pub dsn_turns: Semaphore,
    /// How many notes the postmaster may get.
    pub notes: Notes,
    /// Closed when the relay stops.
    pub stopping: Receiver<()>,
    executor: Arc<Executor<'static>>,
    lanes: Mutex<Book>,
    workers: AtomicU64,
}

/// The lanes of this schedule.
pub(super) type Book = Lanes<Ticket, Waker, Arc<LaneFailure>>;

/// Why no host of a destination could be reached.
#[derive(Debug)]
pub(super) struct LaneFailure {
    pub destination: Destination,
    pub unreached: Unreached,
}

impl Schedule {
    /// Starts the dispatcher on the executor, and the Maildir threads if a route needs them.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(parts: Parts, settings: Settings) -> io::Result<Self> {
        let into_maildirs = parts
            .names
            .routes
            .targets()
            .any(|target| matches!(target, Target::Maildir(_)));
        let maildir = into_maildirs
            .then(|| Maildir::start(&settings.hostname))
            .transpose()?;
        Ok(Self::start_with(parts, settings, maildir))
    }

    fn start_with(parts: Parts, settings: Settings, maildir: Option<Maildir>) -> Self {
        let (stop, stopping) = bounded(1);
        let shared = Arc::new(Shared {
            lanes: Mutex::new(Lanes::new(settings.outbound, limits::QUEUE_ENTRIES)),
            trying: Trying::new(settings.outbound),
            clocks: Clocks::start(parts.clock, parts.steady, settings.retry.last, &parts.spool),
            spool: parts.spool,
            routes: Arc::clone(&parts.names.routes),
            names: parts.names,
            router: parts.router,
            connector: parts.connector,
            executor: Arc::clone(&parts.executor),
            settings,
            maildir,
            counters: Counters::default(),
            down: Down::default(),
            dsn_turns: Semaphore::new(limits::DSNS_AT_ONCE),
            notes: Notes::new(Instant::now()),
            stopping,
            workers: AtomicU64::new(0),
        });
        for lane in shared.spool.unreached() {
            shared.down.remember(lane, Instant::now());
        }
        parts.executor.spawn(dispatch(Arc::clone(&shared))).detach();
        parts
            .executor
            .spawn(damage::tell(Arc::clone(&shared)))
            .detach();
        Self { shared, stop }
    }

    /// What has happened since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// What a postmaster does by hand, while the schedule runs.
    #[must_use]
    pub fn hand(&self) -> Hand {
        Hand(Arc::clone(&self.shared))
    }

    /// The wall clock, watched for jumps: the one to begin transactions of the spool by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.clocks.micros())
    }

    /// Starts no more attempts, waits for those past the final dot (at most `limits::DRAIN_OUTBOUND`) and cuts the others
    /// off; their messages stay in the queue. Returns when nothing is under way any more, and logs what was done.
    pub async fn stop(self) {
        let (waiting, calls) = self.shared.lanes().stop();
        self.stop.close();
        for ticket in waiting {
            self.shared.spool.release(ticket);
        }
        calls.into_iter().for_each(Waker::wake);
        let last = poll_fn(|context| {
            match self
                .shared
                .lanes()
                .is_empty_of_workers(|| context.waker().clone())
            {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let deadline = async {
            smol::Timer::after(limits::DRAIN_OUTBOUND + limits::DRAIN_MARKS).await;
            log::warn!(
                "drain outbound=\"not every attempt ended in time\" workers={}",
                self.shared.lanes().workers()
            );
        };
        smol::future::or(last, deadline).await;
        self.log_counters();
    }

    fn log_counters(&self) {
        let (of_mail, of_hosts) = (&self.shared.counters, &self.shared.connector.counters);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        log::info!(
            "outbound delivered={} deferred={} failed={} dsns={} notes={} connections={} unopened={} clear-after-tls={} unconfirmed={}",
            count(&of_mail.delivered),
            count(&of_mail.deferred),
            count(&of_mail.failed),
            count(&of_mail.dsns),
            count(&of_mail.notes),
            count(&of_hosts.opened),
            count(&of_hosts.unopened),
            count(&of_hosts.fell_back_to_clear),
            count(&of_hosts.unconfirmed),
        );
    }

    /// The most memory that the schedule and its workers take, without what a connection's TLS needs: octets.
    #[must_use]
    pub const fn most_memory(outbound: usize) -> usize {
        Book::most_memory(limits::QUEUE_ENTRIES)
            + outbound * worker::MOST_MEMORY
            + limits::HOSTS_RESTING * Resting::ENTRY
            + limits::LANES_DOWN * Down::ENTRY
            + limits::CHUNK_REFUSERS * ChunkRefusers::ENTRY
            + limits::DSNS_AT_ONCE * dsn::MOST_MEMORY
            + limits::MAILDIR_THREADS * limits::MAILDIR_STACK
            + limits::MAILDIR_BATCH * limits::MAILDIR_CHUNK
    }
}

impl Shared {
    pub(super) fn lanes(&self) -> MutexGuard<'_, Book> {
        // The book is whole between any two of its calls, so a panic elsewhere has not broken it.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.clocks.now()
    }

    /// A worker for a lane in which it is counted already.
    pub(super) fn start_worker(self: &Arc<Self>, key: Key) {
        let number = self.workers.fetch_add(1, Ordering::Relaxed) as u32;
        self.executor
            .spawn(worker::run(Arc::clone(self), key, number))
            .detach();
    }

    /// What a worker's end entails.
    pub(super) fn after(self: &Arc<Self>, left: Left<Waker>) {
        if let Some(key) = left.start {
            self.start_worker(key);
        }
        if let Some(watcher) = left.watcher {
            watcher.wake();
        }
    }
}

/// Takes what is due and puts it into its lane, until the relay stops.
async fn dispatch(shared: Arc<Shared>) {
    let dispatching = async {
        loop {
            room(&shared).await;
            let ticket = shared.spool.next_due(|| shared.now()).await;
            let info = shared.spool.info(&ticket);
            let key = if info.mixed {
                Key::Mixed
            } else {
                Key::To(info.lane)
            };
            // To sort a message's recipients needs no destination, so it never waits behind dead ones.
            let age = if info.mixed || info.attempts == 0 {
                Age::Fresh
            } else {
                Age::Retry
            };
            let pushed = shared.lanes().push(key, age, ticket);
            match pushed {
                Ok(Pushed::Start(key)) => shared.start_worker(key),
                Ok(Pushed::Wake(waker)) => waker.wake(),
                Ok(Pushed::Nothing) => {}
                Err(ticket) => return shared.spool.release(ticket),
            }
        }
    };
    let stopped = async {
        // Nothing is ever sent: it ends when the channel is closed.
        let _ = shared.stopping.recv().await;
    };
    smol::future::or(stopped, dispatching).await;
}

/// Waits until one more lane fits into the book.
async fn room(shared: &Shared) {
    poll_fn(
        |context| match shared.lanes().has_room(|| context.waker().clone()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        },
    )
    .await;
}

#[cfg(test)]
mod tests;
