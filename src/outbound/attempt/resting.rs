//! Addresses that took no connection lately: they are left alone for a while, so that mail for a host that is down costs one
//! attempt in a while, not one a message.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// The addresses that are left alone, [`limits::HOSTS_RESTING`] at most.
#[derive(Debug, Default)]
pub struct Resting(Mutex<HashMap<SocketAddr, Rest>>);

#[derive(Debug)]
struct Rest {
    /// From here on it may be dialled again.
    until: Instant,
    /// How long this rest is; the next one is twice as long.
    length: Duration,
    why: String,
}

impl Resting {
    /// What an entry takes, with the reason on the heap and the table's own part: octets.
    pub const ENTRY: usize =
        2 * (size_of::<(SocketAddr, Rest)>() + 1) + limits::HOST_RESTING_REASON;

    /// Why the address is to be left alone at `now`; None: it may be dialled.
    #[must_use]
    pub fn why(&self, address: SocketAddr, now: Instant) -> Option<String> {
        let table = self.table();
        let rest = table.get(&address)?;
        (now < rest.until).then(|| rest.why.clone())
    }

    /// Until when it is to be left alone; None: it may be dialled.
    #[must_use]
    pub fn until(&self, address: SocketAddr, now: Instant) -> Option<Instant> {
        let until = self.table().get(&address)?.until;
        (now < until).then_some(until)
    }

    /// The address took no connection, because of `why`.
    pub fn failed(&self, address: SocketAddr, why: &str, now: Instant) {
        let mut table = self.table();
        let before = table.get(&address);
        let length = match before {
            // Dialled at the same time as one that failed before: that is no second failure.
            Some(rest) if now < rest.until => return,
            // What failed an hour ago says little.
            Some(rest) if now < rest.until + limits::HOST_REST_LAST => {
                (rest.length * 2).min(limits::HOST_REST_LAST)
            }
            _ => limits::HOST_REST_FIRST,
        };
        if before.is_none() && table.len() >= limits::HOSTS_RESTING {
            let soonest = table.iter().min_by_key(|(_, rest)| rest.until);
            let soonest = soonest.map(|(&address, _)| address);
            soonest.and_then(|soonest| table.remove(&soonest));
        }
        let mut end = why.len().min(limits::HOST_RESTING_REASON);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        let rest = Rest {
            until: now + length,
            length,
            why: why[..end].to_owned(),
        };
        table.insert(address, rest);
    }

    /// The address took a connection.
    pub fn works(&self, address: SocketAddr) {
        self.table().remove(&address);
    }

    /// All may be dialled again: a postmaster knows better.
    pub fn forget_all(&self) {
        self.table().clear();
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SocketAddr, Rest>> {
        // It is whole between any two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_rest_up_to_the_last() {
        let (resting, mut now) = (Resting::default(), Instant::now());
        let mut length = limits::HOST_REST_FIRST;
        for _ in 0..20 {
            assert_eq!(resting.why(address(25), now), None);
            resting.failed(address(25), "refused", now);
            // The lane's other connections failed with it.
            resting.failed(address(25), "refused", now);
            let end = now + length;
            let before = end - Duration::from_millis(1);
            assert_eq!(resting.why(address(25), before).as_deref(), Some("refused"));
            assert_eq!(resting.until(address(25), before), Some(end));
            assert_eq!(resting.why(address(26), before), None);
            now = end;
            length = (length * 2).min(limits::HOST_REST_LAST);
        }
        assert_eq!(length, limits::HOST_REST_LAST);
        now += limits::HOST_REST_LAST;
        resting.failed(address(25), "refused", now);
        assert_eq!(
            resting.why(address(25), now + limits::HOST_REST_FIRST),
            None
        );
    }

    #[test]
    fn a_success_and_a_postmaster_end_it() {
        let (resting, now) = (Resting::default(), Instant::now());
        for port in [1, 2, 3] {
            resting.failed(address(port), "refused", now);
        }
        resting.works(address(1));
        assert_eq!(resting.why(address(1), now), None);
        assert!(resting.why(address(2), now).is_some());
        resting.forget_all();
        assert_eq!(resting.why(address(2), now), None);
    }

    #[test]
    fn the_table_is_bounded_and_drops_what_ends_first() {
        let (resting, now) = (Resting::default(), Instant::now());
        let most = u16::try_from(limits::HOSTS_RESTING).unwrap();
        let long = "\u{e9}".repeat(limits::HOST_RESTING_REASON);
        for port in 0..=most {
            let now = now + Duration::from_millis(port.into());
            resting.failed(address(port), &long, now);
        }
        assert_eq!(resting.table().len(), limits::HOSTS_RESTING);
        assert_eq!(resting.why(address(0), now), None);
        let why = resting.why(address(most), now).unwrap();
        assert!(why.len() <= limits::HOST_RESTING_REASON);
    }
}
