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
    /// Of one stranger's address.
    most_from_one: usize,
    /// All less what strangers leave for trusted clients.
    most_strangers: usize,
    /// All less what trusted clients leave for others.
    most_trusted: usize,
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
    /// None: a trusted client.
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
    /// `most` in all, `most_from_one` from a stranger's address. Strangers leave some to trusted clients, and those to them.
    #[must_use]
    pub fn new(most: usize, most_from_one: usize) -> Self {
        let left = |slots: usize| most - slots.min(most / 4);
        Self(Arc::new(Shared {
            most,
            most_from_one,
            most_strangers: left(limits::SLOTS_FOR_TRUSTED),
            most_trusted: left(limits::SLOTS_FOR_STRANGERS),
            taken: Mutex::default(),
        }))
    }

    /// A slot for a client. Where slots run out for strangers, an address that has one gets no second, so that a few addresses
    /// cannot keep all others out; unless one may have them all.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, client: IpAddr, trust: Trust) -> Result<Slot, Full> {
        let mut taken = self.0.taken();
        if self.0.free(&taken, trust) == 0 {
            return Err(Full::All);
        }
        let origin = match trust {
            Trust::Trusted => {
                taken.trusted += 1;
                None
            }
            Trust::Stranger => {
                let share = match self.0.crowded(&taken, trust) {
                    true if self.0.most_from_one < self.0.most => 1,
                    _ => self.0.most_from_one,
                };
                let origin = Origin::of(client);
                let sessions = taken.by_origin.entry(origin).or_default();
                if *sessions >= share {
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

    /// Whether slots run out for such clients: deadlines tighten.
    #[must_use]
    pub fn crowded(&self, trust: Trust) -> bool {
        self.0.crowded(&self.0.taken(), trust)
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more of them may come.
    fn free(&self, taken: &Taken, trust: Trust) -> usize {
        let (theirs, most) = match trust {
            Trust::Trusted => (taken.trusted, self.most_trusted),
            Trust::Stranger => (taken.all - taken.trusted, self.most_strangers),
        };
        (most - theirs).min(self.most - taken.all)
    }

    fn crowded(&self, taken: &Taken, trust: Trust) -> bool {
        let free = self.free(taken, trust);
        match trust {
            // What strangers hold is no reason to hurry a trusted client while there is room for the next.
            Trust::Trusted => free == 0 || taken.trusted * 10 >= self.most_trusted * 9,
            Trust::Stranger => free * 10 <= self.most_strangers,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        let Some(origin) = self.origin else {
            taken.trusted -= 1;
            return;
        };
        if let Some(sessions) = taken.by_origin.get_mut(&origin) {
            *sessions -= 1;
            if *sessions == 0 {
                taken.by_origin.remove(&origin);
            }
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
        let slots = Slots::new(12, 12); // 3 of them are kept for trusted clients
        let mut held: Vec<Slot> = (0..8).flat_map(|_| stranger(&slots, "192.0.2.1")).collect();
        assert!(!slots.crowded(Trust::Stranger));
        held.extend(stranger(&slots, "192.0.2.1"));
        assert!(slots.crowded(Trust::Stranger) && held.len() == 9);
        assert_eq!(stranger(&slots, "192.0.2.2").unwrap_err(), Full::All);
        held.pop();
        assert_eq!(slots.0.taken().all, 8);
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
    fn the_last_slots_are_for_addresses_that_have_none() {
        let slots = Slots::new(40, 20);
        let few: Vec<Slot> = (0..80)
            .flat_map(|number| stranger(&slots, &format!("192.0.2.{}", number % 4)))
            .collect();
        assert_eq!(
            few.len(),
            29,
            "all but a tenth of the 32 that strangers may have"
        );
        let refused = stranger(&slots, "192.0.2.1").unwrap_err();
        assert_eq!(refused, Full::FromAddress);
        let last: Vec<Slot> = (0..9)
            .flat_map(|number| stranger(&slots, &format!("198.51.100.{number}")))
            .collect();
        assert_eq!(last.len(), 3);
        assert_eq!(stranger(&slots, "203.0.113.1").unwrap_err(), Full::All);
    }

    #[test]
    fn trusted_clients_and_others_leave_some_to_each_other() {
        let trusted = |slots: &Slots| slots.take(from("127.0.0.1"), Trust::Trusted);
        let slots = Slots::new(40, 1);
        let held: Vec<Slot> = (0..40).flat_map(|_| trusted(&slots)).collect();
        assert_eq!(held.len(), 32, "no share of an address binds them");
        assert!(stranger(&slots, "192.0.2.1").is_ok() && slots.crowded(Trust::Trusted));
        let slots = Slots::new(40, 40);
        let held: Vec<Slot> = (0..40)
            .flat_map(|_| stranger(&slots, "192.0.2.1"))
            .collect();
        assert_eq!(held.len(), 32);
        assert!(!slots.crowded(Trust::Trusted), "nobody hurries them");
        let held: Vec<Slot> = (0..40).flat_map(|_| trusted(&slots)).collect();
        assert_eq!((held.len(), trusted(&slots).unwrap_err()), (8, Full::All));
        assert!(slots.crowded(Trust::Trusted));
        let tiny = Slots::new(1, 1);
        assert!(trusted(&tiny).is_ok() && stranger(&tiny, "192.0.2.1").is_ok());
    }
}
