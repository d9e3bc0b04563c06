//! Hosts that offer CHUNKING and refuse BDAT, as a filter in front of them may: they get DATA for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;

/// Their addresses and until when that is believed, [`limits::CHUNK_REFUSERS`] at most.
#[derive(Debug, Default)]
pub struct ChunkRefusers(Mutex<HashMap<SocketAddr, Instant>>);

impl ChunkRefusers {
    /// What an entry takes, with the table's own part: octets.
    pub const ENTRY: usize = 2 * (size_of::<(SocketAddr, Instant)>() + 1);

    /// Whether the host there is one of them.
    #[must_use]
    pub fn knows(&self, address: SocketAddr, now: Instant) -> bool {
        self.table().get(&address).is_some_and(|until| now < *until)
    }

    /// The host there has refused BDAT. Returns whether that is news.
    pub fn remember(&self, address: SocketAddr, now: Instant) -> bool {
        let mut table = self.table();
        let before = table.get(&address).copied();
        if before.is_none() && table.len() >= limits::CHUNK_REFUSERS {
            let soonest = table.iter().min_by_key(|(_, until)| **until);
            let soonest = soonest.map(|(&address, _)| address);
            soonest.and_then(|soonest| table.remove(&soonest));
        }
        table.insert(address, now + limits::CHUNK_REFUSER_LAST);
        before.is_none_or(|until| until <= now)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        // It is whole between any two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn they_are_known_for_a_while_and_no_more_of_them_than_the_table_takes() {
        let (refusers, now) = (ChunkRefusers::default(), Instant::now());
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        for port in 0..=u16::try_from(limits::CHUNK_REFUSERS).unwrap() {
            let now = now + Duration::from_millis(port.into());
            assert!(refusers.remember(address(port), now));
            assert!(!refusers.remember(address(port), now));
        }
        assert!(!refusers.knows(address(0), now) && refusers.knows(address(1), now));
        let later = now + limits::CHUNK_REFUSER_LAST + Duration::from_secs(1);
        assert!(!refusers.knows(address(1), later) && refusers.remember(address(1), later));
    }
}
