//! What the running relay does at this moment: the disk does not say it.

use super::super::control::{self, Now};
use super::Queued;
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
    /// Why nothing is known of it: it does not run, or it says nothing.
    pub unknown: Option<String>,
}

impl Present {
    /// Asks the relay on this spool, if one runs.
    pub fn of(spool: &Path) -> Self {
        let mut present = Self::default();
        match control::now(spool) {
            Ok(Some(told)) => {
                for (now, id, recipients) in told {
                    present.now.entry(id).or_default().push((now, recipients));
                }
            }
            Ok(None) => present.unknown = Some("no relay runs".to_owned()),
            Err(why) => present.unknown = Some(format!("what is being tried is not known: {why}")),
        }
        present
    }

    /// When recipients of a message that wait together are tried, or some of them.
    pub fn try_of(&self, id: Id, waiting: &Waiting, recipients: u128) -> Try {
        let told = self.now.get(&id).into_iter().flatten();
        let its = told.filter(|(_, those)| those & recipients & waiting.recipients != 0);
        let tries = its.map(|(now, _)| match now {
            Now::Trying => Try::Now,
            Now::Due => Try::At(0),
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
