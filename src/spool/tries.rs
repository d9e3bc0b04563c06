//! How often a message was tried, and what its sender was told of that.

/// Attempts that ended in a deferral, and whether a report tells of the delay: sixteen bits, in the index and on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tries(u16);

impl Tries {
    /// What is held for a DSN, and not tried again ([`super::held`]).
    pub const HELD: Self = Self(u16::MAX);
    const TOLD: u16 = 1 << 15;
    /// More than this are counted as this.
    const MOST: u16 = Self::TOLD - 2;

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
        self.0 & !Self::TOLD
    }

    /// A report of the delay is queued, or was.
    #[must_use]
    pub fn is_told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    #[must_use]
    pub fn one_more(self) -> Self {
        let count = self.count().saturating_add(1).min(Self::MOST);
        Self(count | self.0 & Self::TOLD)
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
        assert_eq!(Tries::of_bits(tries.bits()), tries);
    }
}
