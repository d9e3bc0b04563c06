//! Every test that writes, again: the power is cut after each call that it made to a disk, and again while the spool
//! recovers from that.
//!
//! A test that holds a [`Cuts`] runs once, whole. What it asked of its disks is recorded, and so is what the spool
//! promised it meanwhile ([`Ledger`](super::ledger::Ledger)). Then each prefix of the calls is taken for what was done
//! when the power went: what no sync followed is there, or not, or torn; a spool is opened on it; and what it holds is held
//! against what was promised until then. The spool is closed again, and that is cut after every call, too.
//!
//! Bounded: a disk that was asked for more than [`some`] calls is cut after so many of them, most of them around syncs (what
//! a cut before a sync may lose comprises what the cuts before it may), fewer where many messages are queued; and every
//! fourth of these starts is cut itself, after [`WHILE_RECOVERING`] of its calls at most. `FACTEUR_CUTS=all` cuts after each
//! call, `FACTEUR_CUTS=N` after N (`scripts/powercut`). The short scenarios of [`powercut`](super::powercut) are always cut
//! after each.

use super::fake::{self, Fake, History};
use super::history::{Moment, Unsynced};
use super::image::Image;
use super::ledger::{Digest, Due, Opened, Queued};
use super::*;
use std::collections::BTreeSet;

/// Cuts for each disk of a test, unless somebody wants more.
const SOME: usize = 8;
/// Cuts while recovering from one of them.
const WHILE_RECOVERING: usize = 12;

/// How many cuts there are for each disk.
pub fn some() -> usize {
    match std::env::var("FACTEUR_CUTS").as_deref() {
        Err(_) => SOME,
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().expect("FACTEUR_CUTS: all, or a number"),
    }
}

/// While it lives, a test's disks are recorded; then the power is cut.
pub struct Cuts {
    before: Option<Vec<Fake>>,
    most: usize,
}

impl Cuts {
    /// After some calls to each disk that the test makes from now on.
    pub fn everywhere() -> Self {
        Self {
            before: fake::record(Some(Vec::new())),
            most: some(),
        }
    }

    /// After each call to this disk.
    pub fn after_each(disk: &Fake) -> Self {
        Self {
            before: fake::record(Some(vec![disk.clone()])),
            most: usize::MAX,
        }
    }
}

impl Drop for Cuts {
    fn drop(&mut self) {
        let disks = fake::record(self.before.take());
        if !std::thread::panicking() {
            for disk in disks.into_iter().flatten() {
                sweep(&disk.history(), self.most);
            }
        }
    }
}

/// Cuts the power.
pub fn sweep(history: &History, most: usize) {
    let key = KEY.with_borrow(Option::clone);
    let mut moment = Moment::before(&history.base, &history.calls);
    for (count, cut) in telling(history, most).into_iter().enumerate() {
        moment.go_to(cut);
        let Some(opened) = history.ledger.last_opened(&moment) else {
            continue;
        };
        set_key(opened.key.as_ref());
        let due = history.ledger.due(&moment);
        for (number, fate) in fates(&moment, count, most).into_iter().enumerate() {
            let what = format!("cut after call {cut} of {}, {fate:?}", history.calls.len());
            let left = moment.cut(fate);
            let disk = start(&left, opened, &due, &what);
            if most == usize::MAX || count % 4 == 0 {
                let salt = (cut * 100 + number + 1) as u64;
                while_recovering(&disk.history(), salt, (opened, &due, most), &what);
            }
        }
    }
    set_key(key.as_ref());
}

/// After how many calls the power is cut.
fn telling(history: &History, most: usize) -> Vec<usize> {
    let last = history.calls.len();
    // A start on many messages takes as long as many starts.
    let most = most.div_ceil(1 + history.ledger.messages() / 50);
    if last < most {
        return (0..=last).collect();
    }
    let mut moment = Moment::before(&history.base, &history.calls);
    let mut around = Vec::new();
    for cut in 0..=last {
        moment.at = cut;
        if moment.next_syncs() {
            around.extend([cut, cut + 1]);
        }
    }
    around.dedup();
    let mut all = spread(&around, most * 2 / 3);
    all.extend(spread(&(0..=last).collect::<Vec<_>>(), most / 3));
    all.sort_unstable();
    all.dedup();
    all
}

/// Some of many, from the first to the last.
fn spread(of: &[usize], most: usize) -> Vec<usize> {
    let step = of.len().div_ceil(most.max(1)).max(1);
    of.iter().rev().step_by(step).copied().collect()
}

/// What may become of what is not synced.
fn fates(moment: &Moment, count: usize, most: usize) -> Vec<Unsynced> {
    let seed = moment.salt << 32 | moment.at as u64;
    if moment.is_firm() {
        return vec![Unsynced::Lost];
    }
    let ends = [Unsynced::Lost, Unsynced::Kept];
    let mut fates = vec![Unsynced::Torn(seed)];
    match most == usize::MAX {
        true => fates.extend([
            ends[0],
            ends[1],
            Unsynced::Torn(!seed),
            Unsynced::Torn(seed + 1_000_000),
        ]),
        false => fates.push(ends[count % 2]),
    }
    // Each set of names that may be there, if they are few.
    let sets: Vec<u32> = match moment.loose_names() {
        0 => Vec::new(),
        few @ 1..=4 => (0..1 << few).collect(),
        _ => (0..16)
            .map(|set| fastrand::Rng::with_seed(seed + set).u32(..))
            .collect(),
    };
    let named = |set| Unsynced::Named(set, seed + u64::from(set));
    fates.extend(sets.into_iter().map(named));
    fates
}

/// Cuts the power again while the first cut's start, and the stop behind it, write to the disk.
fn while_recovering(
    history: &History,
    salt: u64,
    (opened, due, most): (&Opened, &Due, usize),
    what: &str,
) {
    let mut moment = Moment::before(&history.base, &history.calls);
    let all: Vec<usize> = (0..=history.calls.len()).collect();
    moment.salt = salt;
    let mut cuts = spread(&all, WHILE_RECOVERING);
    cuts.reverse();
    for (count, cut) in cuts.into_iter().enumerate() {
        moment.go_to(cut);
        for fate in fates(&moment, count, most) {
            let what = format!("{what}, then after {cut}, {fate:?}");
            start(&moment.cut(fate), opened, due, &what);
        }
    }
}

/// Opens what a cut left, holds it against what was promised, and stops again.
pub fn start(left: &Image, opened: &Opened, due: &Due, what: &str) -> Fake {
    let disk = Fake::of(left.clone());
    let spool = open(&disk, opened.segments).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    for finding in spool.findings() {
        let torn = matches!(finding, Finding::Torn { .. });
        assert!(torn, "{what}: {finding}");
    }
    what_is_held_has_its_dsn(&spool, what);
    let told = told(&spool);
    let queued = queued(&spool, what);
    let compared = due.compare(&queued);
    if let Err(wrong) = compared.and_then(|()| due.compare_delays(&told, &queued)) {
        panic!("{what}: {wrong}");
    }
    block_on(spool.close()).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    let silent = open(&Fake::of(disk.image()), opened.segments).unwrap();
    assert_eq!(silent.findings(), [], "{what}: a torn tail is told of once");
    disk
}

/// Nothing is kept for a DSN that is gone, and none but DSNs hold anything.
fn what_is_held_has_its_dsn(spool: &Spool, what: &str) {
    let state = spool.handle.shared.state();
    let held = state.queue.entries().filter(|entry| entry.is_held());
    for entry in held {
        let dsn = state.queue.get(entry.lane).map(|dsn| dsn.id);
        let holds = dsn.and_then(|dsn| state.queue.held_for(dsn));
        assert_eq!(holds.map(|held| held.id), Some(entry.id), "{what}");
    }
}

/// The messages of whose delay a DSN tells.
fn told(spool: &Spool) -> BTreeSet<Id> {
    let state = spool.handle.shared.state();
    let told = state.queue.entries().filter(|entry| entry.tries.is_told());
    told.map(|entry| Id(entry.id)).collect()
}

/// What is in a queue, read to its end.
pub fn queued(spool: &Spool, what: &str) -> Queued {
    let mut queued = Queued::new();
    for ticket in due(spool, ALWAYS) {
        let mut message = block_on(spool.read(&ticket)).unwrap();
        let mut digest = Digest::default();
        while let Some(octets) = block_on(message.next_chunk()).unwrap() {
            digest.add(octets);
        }
        let recipients = spool.info(&ticket).recipients;
        let (mask, _) = queued.entry(ticket.id()).or_insert((0, digest));
        assert_eq!(*mask & recipients, 0, "{what}: {} twice", ticket.id());
        *mask |= recipients;
    }
    queued
}
