//! How much of the spool each stranger's address holds: at most a quarter, so that one of them cannot fill it.

use super::entry::{SHARES, Weight};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

/// Where a stranger's mail comes from: an IPv4 address, or an IPv6 /64, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

/// Before an IPv4 address: nobody sends from the multicast range of IPv6.
const IPV4: u64 = 0xffff_ffff << 32;

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(IPV4 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }
}

impl Source {
    /// As it stands on the disk.
    #[must_use]
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// What [`Self::number`] gave.
    #[must_use]
    pub(super) fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// Counters of what strangers hold, open transactions included. Addresses that hash alike have one quarter together, so
/// that the memory is fixed; which ones do, nobody can know before a start.
pub struct Shares {
    /// In KiB; the first one is not used.
    held: Vec<u32>,
    keys: RandomState,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            held: vec![0; SHARES],
            keys: RandomState::new(),
        }
    }
}

impl Shares {
    /// The number of a source's share; 0: it has no limit.
    #[must_use]
    pub fn of(&self, source: Option<Source>) -> u16 {
        let most = SHARES as u64 - 1;
        source.map_or(0, |source| (self.keys.hash_one(source) % most) as u16 + 1)
    }

    /// What a share holds, in KiB.
    #[must_use]
    pub fn held(&self, share: u16) -> u32 {
        self.held.get(usize::from(share)).copied().unwrap_or(0)
    }

    /// Counts more of a share's.
    pub fn add(&mut self, weight: Weight) {
        self.change(weight.share(), |held| held.saturating_add(weight.kib()));
    }

    /// Counts it no more.
    pub fn give_back(&mut self, weight: Weight) {
        self.change(weight.share(), |held| held.saturating_sub(weight.kib()));
    }

    fn change(&mut self, share: u16, to: impl Fn(u32) -> u32) {
        if share != 0
            && let Some(held) = self.held.get_mut(usize::from(share))
        {
            *held = to(*held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_ipv4() {
        let source = |address: &str| Source::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("0.0.0.0"), source("::"));
    }

    #[test]
    fn what_is_counted_comes_back() {
        let mut shares = Shares::default();
        let share = shares.of(Some(Source(7)));
        assert_ne!(share, 0);
        shares.add(Weight::new(share, 5000));
        shares.add(Weight::new(0, 5000));
        assert_eq!((shares.held(share), shares.held(0)), (5, 0));
        shares.give_back(Weight::new(share, 4096));
        assert_eq!(shares.held(share), 1);
    }
}
