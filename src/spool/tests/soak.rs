//! Months in seconds: mail that flows past old messages, syncs that fail, power cuts, and starts on what they left.

use super::fake::Unsynced;
use super::powercut::Run;
use super::*;
use std::collections::{HashMap, HashSet};

const SEGMENTS: usize = 7;

struct Soak {
    random: fastrand::Rng,
    image: Image,
    /// Queued at the last start.
    queued: HashMap<Id, Vec<u8>>,
    /// Not queued any more at some start: they never come back.
    gone: HashSet<Id>,
    /// In this life syncs fail: when a mark is proved is not seen from outside.
    fails: bool,
    moved: usize,
}

impl Soak {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            image: fresh(SEGMENTS),
            queued: HashMap::new(),
            gone: HashSet::new(),
            fails: false,
            moved: 0,
        }
    }

    /// Mail from one start to a power cut, and what the next start makes of that.
    fn life(&mut self, what: &str) {
        let mut run = Run::on(self.image.clone(), SEGMENTS);
        for (id, octets) in &self.queued {
            run.promises.accepted.insert(*id, (0, octets.clone()));
        }
        self.fails = self.random.u8(..3) == 0;
        let places = self.places(&run.spool);
        for _ in 0..self.random.usize(10..60) {
            self.act(&mut run);
        }
        let moved = |(id, place): (&u64, &u64)| places.get(id).is_some_and(|old| old != place);
        self.moved += self
            .places(&run.spool)
            .iter()
            .filter(|at| moved(*at))
            .count();
        let last = run.disk.calls();
        let cut = last - self.random.usize(..40.min(last + 1));
        let fate = match self.random.u8(..4) {
            0 => Unsynced::Lost,
            1 => Unsynced::Kept,
            _ => Unsynced::Torn(self.random.u64(..)),
        };
        let image = run.disk.cut(&run.base, cut, fate);
        let what = format!("{what}: cut after {cut} of {last}, {fate:?}");
        let disk = run.check(&image, cut, SEGMENTS, &what);
        self.image = match self.random.bool() {
            true => image,
            // What the start noted in the log is there, too.
            false => disk.image(),
        };
        let spool = open(&Fake::of(self.image.clone()), SEGMENTS).unwrap();
        let left = contents(&spool).into_iter();
        let left: HashMap<_, _> = left.map(|(id, _, octets)| (id, octets)).collect();
        for id in left.keys() {
            assert!(!self.gone.contains(id), "{what}: {id} is back");
        }
        // The id of a message that came behind the cut is given again: the clock stands still here.
        let known = run
            .promises
            .accepted
            .iter()
            .filter(|(_, promise)| promise.0 <= cut);
        let known = known.map(|(id, _)| *id);
        self.gone.extend(known.filter(|id| !left.contains_key(id)));
        self.queued = left;
    }

    fn places(&self, spool: &Spool) -> HashMap<u64, u64> {
        let state = spool.handle.shared.state();
        let entries = state.queue.entries();
        entries.map(|entry| (entry.id, entry.generation)).collect()
    }

    fn act(&mut self, run: &mut Run) {
        match self.random.u8(..20) {
            0..10 => {
                let length = self.random.usize(100_000..900_000);
                let id = self.accept(run, length);
                self.settle(run, id, u128::MAX);
            }
            10..13 => {
                let length = self.random.usize(..40_000);
                let id = self.accept(run, length);
                let done = self.random.u8(..2).into();
                self.settle(run, id, done);
            }
            13..16 => {
                let id = self.any(run);
                let done = self.random.u8(..2).into();
                self.settle(run, id, done);
            }
            16..18 => {
                let id = self.any(run);
                self.settle(run, id, u128::MAX);
            }
            18 => run.abort(),
            _ => run.disk.fail_syncs(self.fails.into()),
        }
    }

    fn any(&mut self, run: &Run) -> Option<Id> {
        let all: Vec<_> = run.promises.accepted.keys().copied().collect();
        self.random.choice(all)
    }

    /// None: the disk failed, or there is no room.
    fn accept(&mut self, run: &mut Run, length: usize) -> Option<Id> {
        while run.spool.counts().read_only {
            std::thread::sleep(Duration::from_millis(1));
        }
        let body = body(self.random.usize(..), length);
        let id = block_on(accept(&run.spool, &["x@a", "y@a"], &body)).ok()?;
        let octets = [b"Received: here\r\n", &body[..]].concat();
        let promise = (run.disk.calls(), octets);
        run.promises.accepted.insert(id, promise);
        Some(id)
    }

    /// Ends or puts off the recipients of a message.
    fn settle(&self, run: &mut Run, id: Option<Id>, done: u128) {
        let Some(ticket) = due(&run.spool, ALWAYS)
            .into_iter()
            .find(|t| Some(t.id()) == id)
        else {
            return;
        };
        let id = ticket.id();
        let ends = done & 3 == 3 || run.spool.info(&ticket).recipients & !done == 0;
        if ends {
            run.promises.settling.insert(id, run.disk.calls());
        }
        let defer = Some(Deferral { next: NOW + 9 });
        block_on(run.spool.settle(ticket, Outcome { done, defer }));
        if ends && !self.fails {
            run.promises.settled.insert(id, run.disk.calls());
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
