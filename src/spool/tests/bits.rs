//! A bit that flips, in each octet of a small spool.
//!
//! Bounded: one generated bit of each octet that says something, and of each 64th of the zeros around; `FACTEUR_BITS=all`
//! flips all eight bits of all octets up to the first block that was never written (`scripts/powercut`).

use super::cuts::queued;
use super::ledger::Queued;
use super::*;
use crate::spool::record::BLOCK;

const FILE: &str = "000001.seg";

/// A closed spool of three messages and two marks, and what is queued.
fn small() -> (Image, Queued) {
    let disk = Fake::of(fresh(6));
    let spool = open(&disk, 6).unwrap();
    for number in 0..3 {
        let octets = body(number, 30);
        block_on(accept(&spool, &["x@a", "y@a"], &octets)).unwrap();
    }
    let mut tickets = due(&spool, NOW).into_iter();
    for done in [0, 1] {
        block_on(defer(&spool, tickets.next().unwrap(), done, NOW + 60));
    }
    drop(tickets);
    let whole = queued(&spool, "whole");
    block_on(spool.close()).unwrap();
    (disk.image(), whole)
}

/// Which bits are flipped: file, octet, bit.
fn flips(image: &Image) -> Vec<(&'static str, u64, u8)> {
    let all = std::env::var_os("FACTEUR_BITS").is_some_and(|bits| bits == "all");
    let octets = image.all(FILE);
    let end = octets.len() - BLOCK;
    let written = octets[..end].iter().rposition(|octet| *octet != 0).unwrap();
    let log = 0..(written + 1).next_multiple_of(BLOCK) + BLOCK;
    let copy = end..octets.len();
    let mut flips = Vec::new();
    for at in log.chain(copy) {
        // A record's header and what it says, with the zeros among them.
        let around = &octets[at.saturating_sub(16)..(at + 16).min(octets.len())];
        let says = around.iter().any(|octet| *octet != 0);
        match (all, says || at % 64 == 0) {
            (true, _) => flips.extend((0..8).map(|bit| (FILE, at as u64, bit))),
            (false, true) => flips.push((FILE, at as u64, (at * 5 % 8) as u8)),
            (false, false) => {}
        }
    }
    // A segment that was never used has no more than a header.
    flips.extend((0..80).map(|at| ("000002.seg", at, (at * 5 % 8) as u8)));
    flips
}

#[test]
fn a_bit_that_flips_costs_a_message_at_most_and_the_others_are_delivered() {
    for key in [None, Some(Key::fresh().unwrap())] {
        set_key(key.as_ref());
        let (image, whole) = small();
        for (file, at, bit) in flips(&image) {
            let what = format!("{file}, octet {at}, bit {bit}");
            let mut image = image.clone();
            image.flip(file, at, 1 << bit);
            let disk = Fake::of(image);
            let spool = open(&disk, 6).unwrap_or_else(|problem| panic!("{what}: {problem}"));
            compare(&spool, &whole, &what);
            for ticket in due(&spool, ALWAYS) {
                block_on(deliver(&spool, ticket));
            }
            block_on(spool.close()).unwrap_or_else(|problem| panic!("{what}: {problem}"));
            let again = open(&disk, 6).unwrap();
            assert_eq!(ids(&again), [], "{what}: what is delivered stays so");
        }
    }
}

/// A message at most is gone, or a mark; all else is as it was. None of it in silence.
fn compare(spool: &Spool, whole: &Queued, what: &str) {
    let left = queued(spool, what);
    let mut hurt = 0;
    for (id, (recipients, octets)) in whole {
        match left.get(id) {
            None => hurt += 1,
            Some((found, same)) => {
                assert_eq!(same, octets, "{what}: {id} is changed");
                // Without its mark a delivered recipient is tried again.
                hurt += usize::from(found != recipients);
            }
        }
    }
    assert!(left.keys().all(|id| whole.contains_key(id)), "{what}");
    assert!(hurt <= 1, "{what}: {hurt} messages");
    let told = spool.findings();
    assert!(hurt == 0 || !told.is_empty(), "{what}: in silence");
}
