//! Turns for handshakes: so many at once, because their peak is what memory must be kept for.

use crate::limits;
use crate::net::deadline::within;
use smol::Timer;
use smol::lock::{Semaphore, SemaphoreGuard};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The turns of all listeners together.
pub struct Turns {
    free: Semaphore,
    waiting: AtomicUsize,
}

impl Turns {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            free: Semaphore::new(most),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn; it ends when the guard is dropped. None: none came within [`limits::HANDSHAKE_TURN`].
    pub async fn take(&self) -> Option<SemaphoreGuard<'_>> {
        if let Some(turn) = self.free.try_acquire() {
            return Some(turn);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waits = Waits(&self.waiting);
        within(limits::HANDSHAKE_TURN, async {
            Ok(self.free.acquire().await)
        })
        .await
        .ok()
    }

    /// Returns once a turn has been held for [`limits::HANDSHAKE_HURRIED`] and others wait: a client that does not go on
    /// with its handshake must not keep them out.
    pub async fn overdue(&self) {
        loop {
            Timer::after(limits::HANDSHAKE_HURRIED).await;
            if self.waiting.load(Ordering::Acquire) > 0 {
                return;
            }
        }
    }
}

/// Counted among those that wait.
struct Waits<'t>(&'t AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_gets_the_next_turn_and_is_counted() {
        smol::block_on(async {
            let turns = Turns::new(1);
            let first = turns.take().await.expect("a free turn");
            let mut second = std::pin::pin!(turns.take());
            assert!(smol::future::poll_once(&mut second).await.is_none());
            assert_eq!(turns.waiting.load(Ordering::Acquire), 1);
            drop(first);
            assert!(second.await.is_some());
            assert_eq!(turns.waiting.load(Ordering::Acquire), 0);
        });
    }
}
