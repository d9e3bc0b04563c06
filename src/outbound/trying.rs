//! What is being tried at this moment, for who looks: nothing is decided by it.

use crate::spool::{Id, Info};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An attempt under way.
pub(super) struct Attempt {
    worker: u32,
    id: Id,
    /// By ordinal.
    recipients: u128,
}

/// The attempts under way: as many as workers, at most.
pub(super) struct Trying(Mutex<Vec<Attempt>>);

/// Ends an entry of the book with the attempt, however that ends.
pub(super) struct Entered<'a> {
    book: &'a Trying,
    worker: u32,
}

impl Trying {
    pub(super) fn new(workers: usize) -> Self {
        Self(Mutex::new(Vec::with_capacity(workers)))
    }

    /// A worker begins an attempt.
    pub(super) fn enter(&self, worker: u32, info: &Info) -> Entered<'_> {
        self.book().push(Attempt {
            worker,
            id: info.id,
            recipients: info.recipients,
        });
        Entered { book: self, worker }
    }

    /// Which recipients of which messages it is tried for.
    pub(super) fn all(&self) -> Vec<(Id, u128)> {
        let book = self.book();
        let all = book.iter().map(|attempt| (attempt.id, attempt.recipients));
        all.collect()
    }

    fn book(&self) -> MutexGuard<'_, Vec<Attempt>> {
        // It is whole between any two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.book
            .book()
            .retain(|attempt| attempt.worker != self.worker);
    }
}
