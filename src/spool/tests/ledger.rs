//! What the spool promised, and when: by the number of calls to the disk until then.

use super::history::Moment;
use super::{Id, Key};
use std::collections::{BTreeMap, BTreeSet};

/// Octets, as far as they must be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    length: u64,
    crc: u32,
}

impl Digest {
    pub fn add(&mut self, octets: &[u8]) {
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc);
        crc.update(octets);
        self.crc = crc.finalize();
        self.length += octets.len() as u64;
    }
}

/// Recipients of which it was said that they need nothing more.
#[derive(Clone)]
struct End {
    mask: u128,
    /// From then on both outcomes are right.
    begun: usize,
    said: Option<usize>,
    /// In the same commit as this DSN.
    report: Option<Id>,
}

#[derive(Clone)]
struct Promise {
    begun: usize,
    acknowledged: Option<usize>,
    recipients: u128,
    octets: Digest,
    ends: Vec<End>,
}

/// How a spool was opened.
#[derive(Clone)]
pub struct Opened {
    at: usize,
    pub segments: usize,
    pub key: Option<Key>,
}

/// All that was promised of one disk.
#[derive(Clone, Default)]
pub struct Ledger {
    messages: BTreeMap<Id, Promise>,
    /// Messages of whose delay these DSNs tell.
    delays: Vec<(Id, Id)>,
    /// When somebody asked, and was told, that all before is on the disk.
    proofs: Vec<(usize, usize)>,
    opened: Vec<Opened>,
}

impl Ledger {
    /// That all this is there.
    pub fn of(queued: &Queued) -> Self {
        let mut ledger = Self::default();
        for (id, (recipients, octets)) in queued {
            ledger.begins(0, *id, *recipients, *octets);
            ledger.acknowledged(0, *id);
        }
        ledger
    }

    pub fn opened(&mut self, at: usize, segments: usize, key: Option<Key>) {
        self.opened.push(Opened { at, segments, key });
    }

    /// A message is on its way to the disk.
    pub fn begins(&mut self, at: usize, id: Id, recipients: u128, octets: Digest) {
        let promise = Promise {
            begun: at,
            acknowledged: None,
            recipients,
            octets,
            ends: Vec::new(),
        };
        self.messages.insert(id, promise);
    }

    /// It is acknowledged.
    pub fn acknowledged(&mut self, at: usize, id: Id) {
        if let Some(promise) = self.messages.get_mut(&id) {
            promise.acknowledged = Some(at);
            self.proofs.push((promise.begun, at));
        }
    }

    /// Somebody is about to say that recipients need nothing more.
    pub fn ends(&mut self, at: usize, id: Id, mask: u128, report: Option<Id>) {
        if let Some(promise) = self.messages.get_mut(&id) {
            promise.ends.push(End {
                mask,
                begun: at,
                said: None,
                report,
            });
        }
    }

    /// A DSN tells of a message's delay.
    pub fn delayed(&mut self, id: Id, report: Id) {
        self.delays.push((id, report));
    }

    /// It is said, that is: written.
    pub fn ended(&mut self, at: usize, id: Id) {
        let promise = self.messages.get_mut(&id);
        if let Some(end) = promise.and_then(|promise| promise.ends.last_mut()) {
            end.said = Some(at);
        }
    }

    /// All that was said before `begun` is on the disk, and was so at `at`.
    pub fn proved(&mut self, begun: usize, at: usize) {
        self.proofs.push((begun, at));
    }

    /// What it comes to after kill -9: all that was written is there, and calls are counted anew.
    pub fn kept(&self) -> Self {
        let mut messages = self.messages.clone();
        for promise in messages.values_mut() {
            promise.begun = 0;
            promise.acknowledged = promise.acknowledged.map(|_| 0);
            for end in &mut promise.ends {
                end.begun = 0;
                end.said = end.said.map(|_| 0);
            }
        }
        Self {
            messages,
            delays: self.delays.clone(),
            proofs: vec![(0, 0)],
            opened: Vec::new(),
        }
    }

    /// How many messages there were.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Those that were on their way by then.
    pub fn begun(&self, moment: &Moment) -> impl Iterator<Item = Id> {
        let at = moment.at;
        let begun = self
            .messages
            .iter()
            .filter(move |(_, promise)| promise.begun <= at);
        begun.map(|(id, _)| *id)
    }

    /// How the spool was opened last.
    pub fn last_opened(&self, moment: &Moment) -> Option<&Opened> {
        let mut latest = self.opened.iter().rev();
        latest.find(|opened| opened.at <= moment.at)
    }

    fn is_firm(&self, end: &End, moment: &Moment) -> bool {
        let proves = |at: usize| {
            let mut proofs = self.proofs.iter();
            proofs.any(|(begun, said)| *begun >= at && *said <= moment.at)
        };
        end.said.is_some_and(|at| {
            let synced = end.report.is_some() || moment.is_synced_since(at) || proves(at);
            at <= moment.at && synced
        })
    }

    /// What a start must find after a power cut at a moment.
    pub fn due(&self, moment: &Moment) -> Due {
        let mut due = Due::default();
        let sent = |(_, promise): &(&Id, &Promise)| promise.begun <= moment.at;
        for (id, promise) in self.messages.iter().filter(sent) {
            let begun = |end: &&End| end.begun <= moment.at;
            let ends: Vec<&End> = promise.ends.iter().filter(begun).collect();
            let masks = |which: &dyn Fn(&End) -> bool| {
                let some = ends.iter().filter(|end| which(end));
                some.fold(0, |all, end| all | end.mask)
            };
            let gone = masks(&|end| self.is_firm(end, moment));
            let may = promise.recipients & !gone;
            let acknowledged = promise.acknowledged.is_some_and(|at| at <= moment.at);
            let wanted = Wanted {
                must: if acknowledged {
                    may & !masks(&|_| true)
                } else {
                    0
                },
                may,
                octets: promise.octets,
                ends: !ends.is_empty(),
            };
            if acknowledged {
                due.acknowledged.insert(*id);
            }
            due.messages.insert(*id, wanted);
            let by_hand = masks(&|end| end.report.is_none());
            let told = ends
                .iter()
                .filter_map(|end| Some((end.mask & !by_hand, end.report?)));
            due.reports
                .extend(told.map(|(mask, report)| (*id, mask, report)));
        }
        let known = |id: &Id| due.messages.contains_key(id);
        let both = |(id, report): &&(Id, Id)| known(id) && known(report);
        due.delays = self.delays.iter().filter(both).copied().collect();
        due
    }
}

/// A message that a start may find.
struct Wanted {
    must: u128,
    may: u128,
    octets: Digest,
    /// Somebody began to say that recipients need nothing more.
    ends: bool,
}

/// What a start must find, and what it may.
#[derive(Default)]
pub struct Due {
    messages: BTreeMap<Id, Wanted>,
    /// Recipients that are gone only if their DSN is there.
    reports: Vec<(Id, u128, Id)>,
    /// Messages, and the DSNs that tell of their delay.
    delays: Vec<(Id, Id)>,
    acknowledged: BTreeSet<Id>,
}

/// What a start found: recipients that are left, octets.
pub type Queued = BTreeMap<Id, (u128, Digest)>;

impl Due {
    /// Holds what was found against it; the first that is wrong.
    pub fn compare(&self, queued: &Queued) -> Result<(), String> {
        for (id, wanted) in &self.messages {
            let left = queued.get(id).map_or(0, |(mask, _)| *mask);
            if wanted.must & !left != 0 {
                return Err(format!("{id} is lost: {left:b} of {:b}", wanted.must));
            }
            if left & !wanted.may != 0 {
                return Err(format!("{id} is back: {left:b} of {:b}", wanted.may));
            }
        }
        for (id, (_, octets)) in queued {
            match self.messages.get(id) {
                None => return Err(format!("{id}: nobody sent it")),
                Some(wanted) if wanted.octets != *octets => return Err(format!("{id} is changed")),
                Some(_) => {}
            }
        }
        for (id, mask, report) in &self.reports {
            let left = queued.get(id).map_or(0, |(mask, _)| *mask);
            let told = queued.contains_key(report) || self.may_be_gone(*report);
            if mask & !left != 0 && !told {
                return Err(format!("{id} is finished by {report}, which is not there"));
            }
        }
        Ok(())
    }

    /// Holds against it what of whose delay a DSN tells, as the index has it: neither without the other.
    pub fn compare_delays(&self, told: &BTreeSet<Id>, queued: &Queued) -> Result<(), String> {
        for (id, report) in &self.delays {
            let there = queued.contains_key(report);
            let is_told = told.contains(id);
            let must = there || self.acknowledged.contains(report);
            if must && !is_told && queued.contains_key(id) {
                return Err(format!("{id} is delayed, and {report} will come twice"));
            }
            if is_told && !there && !self.may_be_gone(*report) {
                return Err(format!("{report} of the delay of {id} is not there"));
            }
        }
        Ok(())
    }

    /// Delivered, or about to be.
    fn may_be_gone(&self, id: Id) -> bool {
        self.messages.get(&id).is_some_and(|wanted| wanted.ends)
    }
}
