//! Months in seconds: mail that flows past old messages, syncs that fail, power cuts, and starts on what they left.

use super::history::{Moment, Unsynced};
use super::ledger::Ledger;
use super::*;
use std::collections::{HashMap, HashSet};

const SEGMENTS: usize = 7;

struct Soak {
    random: fastrand::Rng,
    image: Image,
    /// Accepted, and perhaps still there.
    known: Vec<Id>,
    /// Not queued any more at some start: they never come back.
    gone: HashSet<Id>,
    /// In this life syncs fail.
    fails: bool,
    moved: usize,
}

impl Soak {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            image: fresh(SEGMENTS),
            known: Vec::new(),
            gone: HashSet::new(),
            fails: false,
            moved: 0,
        }
    }

    /// Mail from one start to a power cut, and what the next start makes of that.
    fn life(&mut self, what: &str) {
        let disk = Fake::of(self.image.clone());
        let spool = open(&disk, SEGMENTS).unwrap();
        self.fails = self.random.u8(..3) == 0;
        let places = self.places(&spool);
        for _ in 0..self.random.usize(10..60) {
            self.act(&spool, &disk);
        }
        let now = self.places(&spool);
        let moved = |(id, place): &(&u64, &u64)| places.get(id).is_some_and(|old| old != *place);
        self.moved += now.iter().filter(moved).count();
        drop(spool);
        self.cut(&disk, what);
    }

    fn cut(&mut self, disk: &Fake, what: &str) {
        let history = disk.history();
        let last = history.calls.len();
        let mut moment = Moment::before(&history.base, &history.calls);
        moment.go_to(last - self.random.usize(..40.min(last + 1)));
        let fate = match self.random.u8(..4) {
            0 => Unsynced::Lost,
            1 => Unsynced::Kept,
            _ => Unsynced::Torn(self.random.u64(..)),
        };
        let left = moment.cut(fate);
        let what = format!("{what}: cut after {} of {last}, {fate:?}", moment.at);
        let opened = history.ledger.last_opened(&moment).unwrap();
        let disk = cuts::start(&left, opened, &history.ledger.due(&moment), &what);
        self.image = match self.random.bool() {
            true => left,
            // What the start noted in the log is there, too.
            false => disk.image(),
        };
        let spool = open(&Fake::of(self.image.clone()), SEGMENTS).unwrap();
        let queued = cuts::queued(&spool, &what);
        for id in queued.keys() {
            assert!(!self.gone.contains(id), "{what}: {id} is back");
        }
        // The id of a message that came behind the cut is given again: the clock stands still here.
        let known = history.ledger.begun(&moment);
        self.gone
            .extend(known.filter(|id| !queued.contains_key(id)));
        self.known = queued.keys().copied().collect();
        self.image.promised = Some(Ledger::of(&queued));
    }

    fn places(&self, spool: &Spool) -> HashMap<u64, u64> {
        let state = spool.handle.shared.state();
        let entries = state.queue.entries();
        entries.map(|entry| (entry.id, entry.generation)).collect()
    }

    fn act(&mut self, spool: &Spool, disk: &Fake) {
        match self.random.u8(..20) {
            0..10 => {
                let length = self.random.usize(100_000..900_000);
                let id = self.accept(spool, length);
                self.settle(spool, id, u128::MAX);
            }
            10..13 => {
                let length = self.random.usize(..40_000);
                let id = self.accept(spool, length);
                let done = self.random.u8(..2).into();
                self.settle(spool, id, done);
            }
            13..16 => {
                let id = self.random.choice(self.known.iter().copied());
                let done = self.random.u8(..2).into();
                self.settle(spool, id, done);
            }
            16..18 => {
                let id = self.random.choice(self.known.iter().copied());
                self.settle(spool, id, u128::MAX);
            }
            18 => abort(spool),
            _ => disk.fail_syncs(self.fails.into()),
        }
    }

    /// None: the disk failed, or there is no room.
    fn accept(&mut self, spool: &Spool, length: usize) -> Option<Id> {
        while spool.counts().read_only {
            std::thread::sleep(Duration::from_millis(1));
        }
        let body = body(self.random.usize(..), length);
        let id = block_on(accept(spool, &["x@a", "y@a"], &body)).ok()?;
        self.known.push(id);
        Some(id)
    }

    /// Ends or puts off the recipients of a message.
    fn settle(&self, spool: &Spool, id: Option<Id>, done: u128) {
        let mut tickets = due(spool, ALWAYS).into_iter();
        if let Some(ticket) = tickets.find(|ticket| Some(ticket.id()) == id) {
            block_on(defer(spool, ticket, done, NOW + 9));
        }
    }
}

#[test]
fn nothing_is_lost_or_comes_back_over_many_lives() {
    let lives = std::env::var("FACTEUR_SOAK").map_or(3, |lives| lives.parse().unwrap());
    let mut moved = 0;
    for seed in 0..lives {
        let mut soak = Soak::new(seed);
        for life in 0..8 {
            soak.life(&format!("seed {seed}, life {life}"));
        }
        moved += soak.moved;
    }
    assert!(moved > 0, "nothing was moved");
}
