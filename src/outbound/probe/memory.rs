//! What next hops said of recipients, for a while. Bounded: a flood of made-up names displaces what nobody needs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::limits;

/// The target's reply, where it refuses a recipient for good.
pub type Refused = Option<String>;

/// By address.
#[derive(Default)]
pub struct Memory(HashMap<String, Known>);

struct Known {
    refused: Option<Box<str>>,
    until: Instant,
    /// When it was last of use.
    needed: Instant,
}

impl Memory {
    /// What is known of an address; None: nothing.
    pub fn get(&mut self, name: &str, now: Instant) -> Option<Refused> {
        let known = self.0.get_mut(name).filter(|known| known.until > now)?;
        known.needed = now;
        Some(known.refused.as_deref().map(str::to_owned))
    }

    /// Where it is full, what is over goes, else what was not needed for longest. To look for it costs less than the
    /// question that the new one took.
    pub fn put(&mut self, name: &str, refused: Option<Box<str>>, lasts: Duration, now: Instant) {
        if self.0.len() >= limits::VERIFY_ENTRIES {
            self.0.retain(|_, known| known.until > now);
        }
        if self.0.len() >= limits::VERIFY_ENTRIES && !self.0.contains_key(name) {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.needed);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| self.0.remove(&name));
        }
        let known = Known {
            refused,
            until: now + lasts,
            needed: now,
        };
        self.0.insert(name.to_owned(), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_displaces_what_nobody_needs() {
        let (mut memory, begin) = (Memory::default(), Instant::now());
        let long = Duration::from_secs(1 << 20);
        memory.put("ann", None, long, begin);
        memory.put("eve", Some("550 5.1.1 no".into()), long, begin);
        memory.put("old", None, long, begin);
        let mut now = begin;
        for n in 0..3 * limits::VERIFY_ENTRIES {
            now += Duration::from_secs(1);
            memory.put(&n.to_string(), None, long, now);
            assert_eq!(memory.get("ann", now), Some(None), "{n}");
            let eve = memory.get("eve", now).flatten();
            assert_eq!(eve.as_deref(), Some("550 5.1.1 no"), "{n}");
            assert!(memory.0.len() <= limits::VERIFY_ENTRIES);
        }
        assert_eq!(memory.get("old", now), None);
        assert_eq!(memory.0.len(), limits::VERIFY_ENTRIES);
    }

    #[test]
    fn what_is_over_goes_first() {
        let (mut memory, begin) = (Memory::default(), Instant::now());
        let short = Duration::from_secs(9);
        for n in 0..limits::VERIFY_ENTRIES {
            memory.put(&n.to_string(), None, short, begin);
        }
        let later = begin + short;
        assert_eq!(memory.get("0", later), None);
        memory.put("ann", None, short, later);
        assert_eq!(memory.0.len(), 1);
    }
}
