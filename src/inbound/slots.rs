//! Session slots: how many sessions there may be at once, in all and from one address, fixed at boot.

use crate::limits;
use crate::policy::relay::Trust;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots of all listeners together.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_from_one: usize,
    /// What trusted clients leave for others.
    for_strangers: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    trusted: usize,
    /// Strangers' sessions by origin; never more entries than slots.
    by_origin: HashMap<Origin, usize>,
}

/// Where a session counts: an IPv4 address, or an IPv6 /64, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(u128);

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// This client's address has its share.
    FromAddress,
}

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Shared>,
    /// None: a trusted client, or one that is known by now.
    origin: Option<Origin>,
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX)),
        }
    }
}

impl Slots {
    /// `most` in all, `most_from_one` from a stranger's address.
    #[must_use]
    pub fn new(most: usize, most_from_one: usize) -> Self {
        let for_strangers = limits::SLOTS_FOR_STRANGERS.min(most / 4);
        Self(Arc::new(Shared {
            most,
            most_from_one,
            for_strangers,
            taken: Mutex::default(),
        }))
    }

    /// A slot for a client.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, client: IpAddr, trust: Trust) -> Result<Slot, Full> {
        let mut taken = self.0.taken();
        if taken.all >= self.0.most {
            return Err(Full::All);
        }
        let origin = match trust {
            Trust::Trusted if taken.trusted >= self.0.most - self.0.for_strangers => {
                return Err(Full::All);
            }
            Trust::Trusted => {
                taken.trusted += 1;
                None
            }
            // Nobody is known by a certificate before the handshake, which takes a slot: see Slot::exempt.
            Trust::Certified | Trust::Stranger => {
                let origin = Origin::of(client);
                let sessions = taken.by_origin.entry(origin).or_default();
                if *sessions >= self.0.most_from_one {
                    return Err(Full::FromAddress);
                }
                *sessions += 1;
                Some(origin)
            }
        };
        taken.all += 1;
        Ok(Slot {
            slots: Arc::clone(&self.0),
            origin,
        })
    }

    /// Whether 90 % of the slots are taken: deadlines tighten.
    #[must_use]
    pub fn crowded(&self) -> bool {
        self.taken() * 10 >= self.0.most * 9
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken().all
    }
}

impl Slot {
    /// The client is one of ours after all: its session counts no longer as its address's, as far as there is room beside
    /// what is left for strangers.
    pub fn exempt(&mut self) {
        let mut taken = self.slots.taken();
        if taken.trusted >= self.slots.most - self.slots.for_strangers {
            return;
        }
        if let Some(origin) = self.origin.take() {
            taken.leave(origin);
            taken.trusted += 1;
        }
    }
}

impl Taken {
    /// A stranger's session ends, or is none any more.
    fn leave(&mut self, origin: Origin) {
        if let Some(sessions) = self.by_origin.get_mut(&origin) {
            *sessions -= 1;
            if *sessions == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        match self.origin {
            Some(origin) => taken.leave(origin),
            None => taken.trusted -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn stranger(slots: &Slots, address: &str) -> Result<Slot, Full> {
        slots.take(from(address), Trust::Stranger)
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let slots = Slots::new(10, 10);
        let mut held: Vec<Slot> = (0..8).flat_map(|_| stranger(&slots, "192.0.2.1")).collect();
        assert!(!slots.crowded());
        held.extend(stranger(&slots, "192.0.2.1"));
        assert!(slots.crowded());
        held.extend(stranger(&slots, "192.0.2.1"));
        assert_eq!(stranger(&slots, "192.0.2.2").unwrap_err(), Full::All);
        held.pop();
        assert_eq!(slots.taken(), 9);
        assert!(stranger(&slots, "192.0.2.2").is_ok());
    }

    #[test]
    fn one_address_has_its_share() {
        let slots = Slots::new(10, 1);
        let first = stranger(&slots, "192.0.2.1").unwrap();
        for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(stranger(&slots, same).unwrap_err(), Full::FromAddress);
        }
        let _others = [
            stranger(&slots, "192.0.2.2").unwrap(),
            stranger(&slots, "2001:db8:0:1::1").unwrap(),
        ];
        assert_eq!(
            stranger(&slots, "2001:db8:0:1:ffff::9").unwrap_err(),
            Full::FromAddress
        );
        assert!(stranger(&slots, "2001:db8:0:2::1").is_ok());
        drop(first);
        assert!(stranger(&slots, "192.0.2.1").is_ok());
        assert!(
            slots.0.taken().by_origin.len() <= 3,
            "forgotten with the last session"
        );
    }

    #[test]
    fn who_becomes_known_leaves_the_share_of_its_address() {
        let slots = Slots::new(40, 1);
        let mut known: Vec<Slot> = Vec::new();
        for _ in 0..40 {
            let Ok(mut slot) = stranger(&slots, "192.0.2.1") else {
                break;
            };
            slot.exempt();
            slot.exempt();
            known.push(slot);
        }
        // 32 beside those for strangers, and one that stayed one.
        assert_eq!((known.len(), slots.taken()), (33, 33));
        assert!(stranger(&slots, "192.0.2.2").is_ok());
        drop(known);
        assert_eq!(slots.taken(), 0);
        assert_eq!(slots.0.taken().trusted, 0);
        assert!(slots.0.taken().by_origin.is_empty());
    }

    #[test]
    fn trusted_clients_are_exempt_but_leave_some_for_others() {
        let slots = Slots::new(40, 1);
        let trusted: Vec<Slot> = (0..40)
            .flat_map(|_| slots.take(from("127.0.0.1"), Trust::Trusted))
            .collect();
        assert_eq!(trusted.len(), 32);
        assert!(stranger(&slots, "192.0.2.1").is_ok());
        let tiny = Slots::new(1, 1);
        assert!(tiny.take(from("127.0.0.1"), Trust::Trusted).is_ok());
    }
}
