//! Session slots: how many sessions there may be at once, fixed at boot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The slots of all listeners together.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: AtomicUsize,
    most: usize,
}

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Shared>);

impl Slots {
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            taken: AtomicUsize::new(0),
            most,
        }))
    }

    /// A free slot, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        let free = |taken| (taken < self.0.most).then_some(taken + 1);
        self.0
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .ok()?;
        Some(Slot(Arc::clone(&self.0)))
    }

    /// Whether 90 % of the slots are taken: deadlines tighten.
    #[must_use]
    pub fn crowded(&self) -> bool {
        self.taken() * 10 >= self.0.most * 9
    }

    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_run_out_and_come_back() {
        let slots = Slots::new(10);
        let mut held: Vec<Slot> = (0..8).filter_map(|_| slots.take()).collect();
        assert!(!slots.crowded());
        held.extend(slots.take());
        assert!(slots.crowded());
        held.extend(slots.take());
        assert!(slots.take().is_none());
        held.pop();
        assert_eq!(slots.taken(), 9);
        assert!(slots.take().is_some());
    }
}
