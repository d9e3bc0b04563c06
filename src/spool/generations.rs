//! Which lives of segments hold a message's parts.

/// The generations that hold a part of one message, oldest first; those between two of its parts are not among them
/// unless they hold one, so that a message that came slowly keeps no other mail's segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generations {
    /// All from the first to the last: nearly every message.
    Run { first: u64, last: u64 },
    /// With others between them.
    Sparse(Vec<u64>),
}

impl Generations {
    /// One generation.
    #[must_use]
    pub fn of(generation: u64) -> Self {
        Self::Run {
            first: generation,
            last: generation,
        }
    }

    /// The newest of them.
    #[must_use]
    pub fn last(&self) -> u64 {
        match self {
            Self::Run { last, .. } => *last,
            Self::Sparse(all) => all.last().copied().unwrap_or(0),
        }
    }

    /// Adds a generation; parts are written in the log's order, so it is the newest, or known already.
    pub fn add(&mut self, generation: u64) {
        if generation <= self.last() {
            return;
        }
        match self {
            Self::Run { last, .. } if *last + 1 == generation => *last = generation,
            Self::Run { .. } => {
                let mut all: Vec<u64> = self.iter().collect();
                all.push(generation);
                *self = Self::Sparse(all);
            }
            Self::Sparse(all) => all.push(generation),
        }
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Run { first, last } => (last - first) as usize + 1,
            Self::Sparse(all) => all.len(),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let (run, listed) = match self {
            Self::Run { first, last } => (*first..last + 1, &[][..]),
            Self::Sparse(all) => (0..0, all.as_slice()),
        };
        run.chain(listed.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_a_part_is_kept() {
        let mut generations = Generations::of(3);
        for next in [3, 4, 5, 5] {
            generations.add(next);
        }
        assert_eq!(generations, Generations::Run { first: 3, last: 5 });
        for next in [9, 9, 12] {
            generations.add(next);
        }
        let all: Vec<_> = generations.iter().collect();
        assert_eq!(all, [3, 4, 5, 9, 12]);
        assert_eq!((generations.count(), generations.last()), (5, 12));
    }
}
