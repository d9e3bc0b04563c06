//! How often a message was tried, what its sender was told of that, and whether any host was reached.

/// Attempts that ended in a deferral, whether a report tells of the delay, and whether the last attempt reached no host:
/// sixteen bits, in the index and on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tries(u16);

impl Tries {
    /// What is held for a DSN, and not tried again ([`super::held`]).
    pub const HELD: Self = Self(u16::MAX);
    const TOLD: u16 = 1 << 15;
    const UNREACHED: u16 = 1 << 14;
    /// More than this are counted as this.
    const MOST: u16 = Self::UNREACHED - 2;

    /// As the disk has it.
    #[must_use]
    pub fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    #[must_use]
    pub fn count(self) -> u16 {
        self.0 & !(Self::TOLD | Self::UNREACHED)
    }

    /// A report of the delay is queued, or was.
    #[must_use]
    pub fn is_told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    /// The last attempt reached no host of the destination: it says nothing of the message.
    #[must_use]
    pub fn is_unreached(self) -> bool {
        self.0 & Self::UNREACHED != 0 && self != Self::HELD
    }

    /// One that reached a host, unless [`Self::unreached`] follows.
    #[must_use]
    pub fn one_more(self) -> Self {
        let count = self.count().saturating_add(1).min(Self::MOST);
        Self(count | self.0 & Self::TOLD)
    }

    #[must_use]
    pub fn unreached(self) -> Self {
        Self(self.0 | Self::UNREACHED)
    }

    #[must_use]
    pub fn told(self) -> Self {
        Self(self.0 | Self::TOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_kept_however_often_it_is_tried() {
        let mut tries = Tries::default();
        assert_eq!((tries.one_more().count(), tries.is_told()), (1, false));
        tries = tries.one_more().told();
        for _ in 0..70_000 {
            tries = tries.one_more();
        }
        assert_eq!((tries.count(), tries.is_told()), (Tries::MOST, true));
        let unreached = tries.unreached();
        assert!(unreached.is_unreached() && unreached.is_told());
        assert_eq!(unreached.count(), Tries::MOST);
        assert_ne!(unreached, Tries::HELD);
        assert!(!unreached.one_more().is_unreached() && !Tries::HELD.is_unreached());
        assert_eq!(Tries::of_bits(tries.bits()), tries);
    }
}
