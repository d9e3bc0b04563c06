//! What the running relay does at this moment: the disk does not say it.

use super::super::control::{self, Now};
use super::Queued;
use crate::policy::clock::{self, Era};
use crate::spool::{Id, Waiting};
use std::collections::HashMap;
use std::path::Path;

/// When recipients are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Try {
    /// An attempt is under way.
    Now,
    /// Unix seconds; 0: at once.
    At(u64),
}

/// What a relay says of itself.
#[derive(Default)]
pub struct Present {
    now: HashMap<Id, Vec<(Now, u128)>>,
    /// What happened to its clock, oldest first.
    eras: Vec<Era>,
    /// Why nothing is known of it: it does not run, or it says nothing.
    pub unknown: Option<String>,
}

impl Present {
    /// Asks the relay on this spool, if one runs.
    pub fn of(spool: &Path) -> Self {
        let mut present = Self::default();
        match control::now(spool) {
            Ok(Some(told)) => {
                for line in told {
                    present.add(line);
                }
            }
            Ok(None) => present.unknown = Some("no relay runs".to_owned()),
            Err(why) => present.unknown = Some(format!("what is being tried is not known: {why}")),
        }
        present
    }

    fn add(&mut self, told: control::Present) {
        match told {
            control::Present::Done((now, id, recipients)) => {
                self.now.entry(id).or_default().push((now, recipients));
            }
            control::Present::Era(era) => self.eras.push(era),
        }
    }

    /// When a message came, in unix seconds; None: before the clock was set, and nobody knows how long.
    pub fn accepted(&self, id: Id, now: u64) -> Option<u64> {
        clock::arrived(&self.eras, id.number(), now)
    }

    /// When something was said, from the time that was noted; None likewise.
    pub fn said(&self, at: u64, now: u64) -> Option<u64> {
        let micros = at.saturating_mul(1_000_000);
        let as_noted = clock::arrived(&[], micros, now);
        as_noted.or_else(|| clock::arrived(&self.eras, micros, now))
    }

    /// When recipients of a message that wait together are tried, or some of them.
    pub fn try_of(&self, id: Id, waiting: &Waiting, recipients: u128) -> Try {
        let told = self.now.get(&id).into_iter().flatten();
        let its = told.filter(|(_, those)| those & recipients & waiting.recipients != 0);
        let tries = its.map(|(now, _)| match now {
            Now::Trying => Try::Now,
            Now::Due => Try::At(0),
            Now::Waits(next) => Try::At(*next),
        });
        tries.min().unwrap_or(Try::At(waiting.next))
    }

    /// When the first of a message's recipients are tried.
    pub fn first_try_of(&self, queued: &Queued) -> Try {
        let waiting = queued.waiting.iter();
        let tries = waiting.map(|waiting| self.try_of(queued.id, waiting, waiting.recipients));
        tries.min().unwrap_or(Try::At(0))
    }
}
