//! Connections for questions: so many at once. Each goes on from one question to the next while somebody waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};

use crate::limits;
use crate::net::deadline::within;
use crate::outbound::attempt::Connection;

/// The turns that nobody has.
pub struct Turns {
    give: Sender<Option<Kept>>,
    take: Receiver<Option<Kept>>,
    waiting: AtomicUsize,
}

/// The right to have a connection, until it is dropped.
pub struct Turn<'t> {
    turns: &'t Turns,
    kept: Option<Kept>,
    /// Whether it was waited for.
    pub was_short: bool,
}

/// A connection behind its last question.
pub struct Kept {
    /// The target's name.
    pub target: String,
    pub connection: Connection,
    /// How many have been asked on it.
    pub questions: usize,
    /// When the last one was.
    pub since: Instant,
}

/// Somebody who waits, until it is dropped.
struct Waiting<'t>(&'t AtomicUsize);

impl Turns {
    pub fn new() -> Self {
        let (give, take) = bounded(limits::VERIFY_CONNECTIONS);
        for _ in 0..limits::VERIFY_CONNECTIONS {
            let _ = give.try_send(None); // there is room for as many
        }
        Self {
            give,
            take,
            waiting: AtomicUsize::new(0),
        }
    }

    /// The next one that is free; None: none within this time.
    pub async fn take(&self, limit: Duration) -> Option<Turn<'_>> {
        let free = self.take.try_recv().ok();
        let was_short = free.is_none();
        let kept = match free {
            Some(kept) => kept,
            None => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                let freed = async { self.take.recv().await.map_err(std::io::Error::other) };
                within(limit, freed).await.ok()?
            }
        };
        Some(Turn {
            turns: self,
            kept,
            was_short,
        })
    }
}

impl Turn<'_> {
    /// The connection that came with it, if it is with this target and not too old.
    pub fn kept(&mut self, target: &str) -> Option<Kept> {
        let kept = self.kept.take()?;
        let is_fresh = kept.since.elapsed() < limits::CONNECTION_IDLE;
        (kept.target == target && is_fresh).then_some(kept)
    }

    /// Behind a question: the next one goes over the same connection if somebody waits. Else it is ended with politeness,
    /// which must not hold the client up.
    pub async fn done_with(&mut self, kept: Kept) {
        let is_wanted = self.turns.waiting.load(Ordering::Relaxed) > 0;
        if is_wanted && kept.connection.is_ready() && kept.questions < limits::VERIFY_QUESTIONS {
            self.kept = Some(kept);
            return;
        }
        let quit = async {
            kept.connection.quit().await;
            Ok(())
        };
        let _ = within(limits::VERIFY_QUIT, quit).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // It came from there, so there is room.
        let _ = self.turns.give.try_send(self.kept.take());
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
