//! The power is cut after every call to the disk, and again while the spool recovers.

use super::fake::Unsynced;
use super::*;
use std::collections::HashMap;

/// What the spool promised, and when: by the number of calls to the disk until then.
#[derive(Default)]
pub struct Promises {
    /// Acknowledged, with their octets.
    pub accepted: HashMap<Id, (usize, Vec<u8>)>,
    /// Their settlement began: both outcomes are right until the mark is synced.
    pub settling: HashMap<Id, usize>,
    pub settled: HashMap<Id, usize>,
}

/// A run that is recorded.
pub struct Run {
    pub disk: Fake,
    pub base: Image,
    pub spool: Spool,
    pub promises: Promises,
    count: usize,
}

impl Run {
    fn new(segments: usize) -> Self {
        Self::on(fresh(segments), segments)
    }

    pub fn on(base: Image, segments: usize) -> Self {
        let disk = Fake::of(base.clone());
        let spool = open(&disk, segments).unwrap();
        Self {
            disk,
            base,
            spool,
            promises: Promises::default(),
            count: 0,
        }
    }

    fn accept(&mut self, length: usize) -> Id {
        self.count += 1;
        let body = body(self.count, length);
        let id = block_on(accept(&self.spool, &["x@a", "y@a"], &body)).unwrap();
        let octets = [b"Received: here\r\n", &body[..]].concat();
        self.promises
            .accepted
            .insert(id, (self.disk.calls(), octets));
        id
    }

    /// A transaction of several parts that is given up.
    pub fn abort(&mut self) {
        block_on(async {
            let mut transaction = self.spool.begin(MICROS, None).unwrap();
            transaction.sender(&Sender::default()).await.unwrap();
            transaction.recipient("x@a").await.unwrap();
            // Given up in any case; it fails where a commit before it did.
            let _ = transaction.body(&body(0, 50_000)).await;
        });
    }

    fn deliver(&mut self, ids: &[Id]) {
        for ticket in due(&self.spool, ALWAYS) {
            let id = ticket.id();
            if ids.contains(&id) {
                self.promises.settling.insert(id, self.disk.calls());
                block_on(deliver(&self.spool, ticket));
                self.promises.settled.insert(id, self.disk.calls());
            }
        }
    }

    fn defer(&mut self, id: Id) {
        for ticket in due(&self.spool, NOW) {
            if ticket.id() == id {
                let outcome = Outcome {
                    done: 1,
                    defer: Some(Deferral { next: NOW + 60 }),
                };
                block_on(self.spool.settle(ticket, outcome));
            }
        }
    }

    /// Opens what the cut left, and holds it against the promises.
    pub fn check(&self, image: &Image, cut: usize, segments: usize, what: &str) -> Fake {
        let disk = Fake::of(image.clone());
        let spool = open(&disk, segments).unwrap();
        for finding in spool.findings() {
            assert!(matches!(finding, Finding::Torn { .. }), "{what}: {finding}");
        }
        let queued: HashMap<_, _> = contents(&spool)
            .into_iter()
            .map(|(id, _, octets)| (id, octets))
            .collect();
        for (id, (when, octets)) in &self.promises.accepted {
            let settling = self.promises.settling.get(id).is_some_and(|at| *at <= cut);
            match queued.get(id) {
                Some(found) => assert!(found == octets, "{what}: {id} is changed"),
                None => assert!(*when > cut || settling, "{what}: {id} is lost"),
            }
        }
        for (id, when) in &self.promises.settled {
            let finished = *when <= cut && self.disk.synced_between(*when, cut);
            assert!(
                !finished || !queued.contains_key(id),
                "{what}: {id} is back"
            );
        }
        disk
    }

    fn check_all(&self, segments: usize, fates: &[Unsynced], step: usize) {
        for cut in (0..=self.disk.calls()).step_by(step * stride()) {
            for fate in fates {
                let image = self.disk.cut(&self.base, cut, *fate);
                let what = format!("cut after {cut}, {fate:?}");
                self.check(&image, cut, segments, &what);
            }
        }
    }
}

const FATES: [Unsynced; 4] = [
    Unsynced::Lost,
    Unsynced::Kept,
    Unsynced::Torn(1),
    Unsynced::Torn(2),
];

fn short_run() -> Run {
    let mut run = Run::new(6);
    let first = run.accept(100);
    let second = run.accept(4096);
    run.abort();
    run.deliver(&[first]);
    let large = run.accept(70_000);
    run.defer(second);
    run.deliver(&[second]);
    run.accept(10);
    run.deliver(&[large]);
    run.accept(3000);
    run
}

#[test]
fn no_cut_loses_a_message_or_brings_one_back() {
    in_clear_and_sealed(|| {
        short_run().check_all(6, &FATES, 1);
    });
}

#[test]
fn no_cut_while_recovering_does_either() {
    in_clear_and_sealed(|| {
        let run = short_run();
        let mut holes = 0;
        for cut in (0..=run.disk.calls()).step_by(stride()) {
            for fate in [Unsynced::Torn(3), Unsynced::Torn(4)] {
                let image = run.disk.cut(&run.base, cut, fate);
                let disk = run.check(&image, cut, 6, &format!("{cut} {fate:?}"));
                // The note of a hole is written in the background.
                let spool = open(&Fake::of(image.clone()), 6).unwrap();
                if spool.findings().is_empty() {
                    continue;
                }
                holes += 1;
                drop(spool);
                let again = Fake::of(image.clone());
                block_on(open(&again, 6).unwrap().close()).unwrap();
                for second in 0..=again.calls() {
                    for fate in FATES {
                        let left = again.cut(&image, second, fate);
                        let what = format!("cuts {cut} and {second}, {fate:?}");
                        run.check(&left, cut, 6, &what);
                    }
                }
                let silent = open(&again, 6).unwrap();
                assert_eq!(silent.findings(), [], "a torn tail is told of once");
                drop(disk);
            }
        }
        assert!(holes > 0, "no cut tore anything");
    });
}

#[test]
fn no_cut_does_either_while_segments_are_left_and_used_again() {
    in_clear_and_sealed(|| {
        let mut run = Run::new(7);
        let old = run.accept(200);
        let large = run.accept(4_500_000);
        run.deliver(&[large]);
        let large = run.accept(4_500_000);
        run.deliver(&[large]);
        let mut later = Vec::new();
        for _ in 0..4 {
            later.push(run.accept(2_500_000));
            let finished: Vec<_> = later.split_off(later.len() - 1);
            run.deliver(&finished);
        }
        run.deliver(&[old]);
        run.accept(100);
        run.check_all(7, &[Unsynced::Torn(5)], 3);
        run.check_all(7, &[Unsynced::Lost, Unsynced::Kept], 7);
    });
}

#[test]
fn no_cut_does_either_to_a_message_whose_parts_lie_apart() {
    in_clear_and_sealed(|| {
        let mut run = Run::new(7);
        let octets = body(9, 20_000);
        let mut slow = block_on(async {
            let mut slow = run.spool.begin(MICROS, None).unwrap();
            slow.sender(&Sender::default()).await.unwrap();
            slow.recipient("x@a").await.unwrap();
            slow.body(&octets).await.unwrap();
            slow
        });
        for _ in 0..2 {
            let large = run.accept(4_500_000);
            run.deliver(&[large]);
        }
        block_on(slow.body(&octets)).unwrap();
        let id = block_on(slow.commit(Last::default())).unwrap().id();
        let promise = (run.disk.calls(), octets.repeat(2));
        run.promises.accepted.insert(id, promise);
        let large = run.accept(4_500_000);
        run.deliver(&[large]);
        run.check_all(7, &[Unsynced::Torn(6)], 5);
        run.check_all(7, &[Unsynced::Lost, Unsynced::Kept], 11);
    });
}

#[test]
fn no_cut_does_either_while_old_messages_are_moved() {
    let mut run = Run::new(8);
    let old = [
        run.accept(100),
        run.accept(40_000),
        run.accept(10),
        run.accept(3000),
    ];
    run.abort();
    run.defer(old[0]);
    run.defer(old[1]);
    let is_there = |run: &Run| {
        let state = run.spool.handle.shared.state();
        state.queue.entries().any(|entry| entry.generation == 1)
    };
    let mut before = 0;
    for _ in 0..30 {
        if !is_there(&run) {
            break;
        }
        before = run.disk.calls();
        let large = run.accept(1_500_000);
        run.deliver(&[large]);
        if run.count == 8 {
            run.deliver(&old[2..3]);
        }
    }
    assert!(!is_there(&run), "they were not moved");
    let behind = run.disk.calls();
    run.deliver(&old[..1]);
    let large = run.accept(4_500_000);
    run.deliver(&[large]);
    run.check_all(8, &[Unsynced::Torn(7)], 7);
    for cut in before..=behind {
        for fate in FATES {
            let image = run.disk.cut(&run.base, cut, fate);
            let what = format!("cut after {cut}, {fate:?}");
            let again = run.check(&image, cut, 8, &what).image();
            run.check(&again, cut, 8, &format!("{what}, and again"));
        }
    }
}
