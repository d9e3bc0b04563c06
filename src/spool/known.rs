//! A message as the log tells it, and what is to be done of it.

use super::entry::{NEVER, Weight, is_held};
use super::generations::Generations;
use super::marks::Left;
use super::record::Place;
use super::tries::Tries;

/// Recipients with one next try.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub mask: u128,
    pub next: u64,
    pub tries: Tries,
}

impl Group {
    #[must_use]
    pub fn of(left: &Left) -> Self {
        Self {
            mask: left.mask,
            next: left.next.into(),
            tries: left.tries,
        }
    }
}

/// A message whose final part was seen.
pub struct Known {
    pub id: u64,
    pub place: Place,
    pub generations: Generations,
    pub lane: u32,
    pub first: Group,
    /// After deferrals that differ; rarely any.
    pub more: Vec<Group>,
    pub weight: Weight,
    /// A part of it is missing.
    pub broken: bool,
}

impl Group {
    fn is_held(&self) -> bool {
        is_held(self.next, self.tries)
    }
}

impl Known {
    /// Recipients that are held for a DSN.
    #[must_use]
    pub fn held(&self) -> u128 {
        let held = self.groups().filter(|group| group.is_held());
        held.fold(0, |all, group| all | group.mask)
    }

    /// These are held from now on, if they are still there.
    pub fn hold(&mut self, mask: u128) {
        let mask = self.take(mask);
        self.add(Group {
            mask,
            next: NEVER,
            tries: Tries::HELD,
        });
    }

    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        std::iter::once(&self.first).chain(&self.more)
    }

    pub fn is_live(&self) -> bool {
        self.groups().any(|group| group.mask != 0)
    }

    /// Takes recipients out of every group; returns those that were in one.
    pub fn take(&mut self, mask: u128) -> u128 {
        let mut taken = 0;
        for group in std::iter::once(&mut self.first).chain(&mut self.more) {
            taken |= group.mask & mask;
            group.mask &= !mask;
        }
        self.more.retain(|group| group.mask != 0);
        taken
    }

    /// A report tells these recipients' sender of the delay.
    pub fn tell(&mut self, mask: u128) {
        let groups: Vec<Group> = self.groups().copied().collect();
        for group in groups {
            let mask = self.take(group.mask & mask);
            let tries = group.tries.told();
            self.add(Group {
                mask,
                tries,
                ..group
            });
        }
    }

    pub fn add(&mut self, group: Group) {
        let same = std::iter::once(&mut self.first)
            .chain(&mut self.more)
            .find(|other| {
                // What is held for two DSNs stays apart.
                other.mask == 0
                    || !group.is_held() && (other.next, other.tries) == (group.next, group.tries)
            });
        match same {
            _ if group.mask == 0 => {}
            Some(other) => {
                *other = Group {
                    mask: other.mask | group.mask,
                    ..group
                }
            }
            None => self.more.push(group),
        }
    }
}
